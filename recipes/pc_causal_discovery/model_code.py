"""Find the causal graph behind a table with the PC algorithm: rows in, edges out.

`driver.py` logs this file by its path. MLflow stores its text and runs it each time the
model is loaded; the last line names the model.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any, Literal

import mlflow
import networkx as nx
import numpy as np
import pandas as pd
from causallearn.graph.GraphNode import GraphNode
from causallearn.search.ConstraintBased.PC import pc
from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge
from mlflow.types.schema import (
    Array,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
)
from pandas.api.types import infer_dtype
from pydantic import BaseModel, Field, ValidationError

MOST_LABELS = 20  # a column of whole numbers with more values holds measurements
ROWS_PER_CATEGORY = 5  # on average; with fewer the G-square test is unreliable

# causal-learn's graph is a matrix over the table's columns i and j:
#     i -> j      graph[i, j] is TAIL (the mark at i), graph[j, i] is ARROW (at j)
#     i - j       both are TAIL
#     no edge     both are 0
TAIL = -1
ARROW = 1

Edge = tuple[str, str, str]  # from, to, "directed" or "undirected"


class Knowledge(BaseModel, extra="forbid"):
    """What is known of causes and effects before looking at the data."""

    tiers: list[list[str]] = []  # no column causes one of an earlier tier
    required: list[tuple[str, str]] = []  # (cause, effect)
    forbidden: list[tuple[str, str]] = []  # (cause, effect)


class Settings(BaseModel, extra="forbid", strict=True):
    """The parameters of a request."""

    # Two columns are independent if a p-value is above alpha. Computed p-values are not
    # exact below 1e-15, so alpha may not be less.
    alpha: float = Field(default=0.05, ge=1e-15, lt=1)
    test: Literal["auto", "fisherz", "gsq", "chisq"] = "auto"
    knowledge: Knowledge = Knowledge()


# The same parameters in MLflow's form: driver.py puts PARAMS into the signature. The
# signature has no input columns, so that a request may bring any table.
NAME_LISTS = Array(Array(DataType.string))
KNOWLEDGE = Object(
    [
        Property("tiers", NAME_LISTS, required=False),
        Property("required", NAME_LISTS, required=False),
        Property("forbidden", NAME_LISTS, required=False),
    ]
)
PARAMS = ParamSchema(
    [
        ParamSpec("alpha", "double", Settings().alpha),
        ParamSpec("test", "string", Settings().test),
        ParamSpec("knowledge", KNOWLEDGE, {}),
    ]
)


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the edges of the causal graph behind `table`: `from`, `to` and `type`.

    `table` has a row per observation; `params` are those of Settings. A directed edge
    says that the first column causes the second one. Where the data allow both
    directions, the edge is undirected.
    """
    settings = Settings(**params)
    check_table(table, settings.test)
    check_knowledge(settings.knowledge, table)
    test = choose_test(table, settings.test)
    data = encode(table, test)

    names = table.columns.tolist()
    background = to_causal_learn(settings.knowledge)
    result = pc(
        data,
        settings.alpha,
        test,
        uc_rule=1,  # maxP: the highest p-value decides whether x -> z <- y is there
        uc_priority=3,  # of two such colliders that contradict, keep the clearer one
        background_knowledge=background,
        node_names=names,
        show_progress=False,
    )
    graph = undirect_cycles(result.G.graph, names, background)
    edges = read_edges(graph, names)
    check_answer(edges, settings.knowledge)
    return pd.DataFrame(edges, columns=["from", "to", "type"])


def choose_test(table: pd.DataFrame, test: str) -> str:
    """Replace "auto" by G-square if all columns are categories, else by Fisher's z."""
    if test != "auto":
        return test
    if all(is_categorical(table[name]) for name in table):
        return "gsq"
    return "fisherz"


def is_categorical(cells: pd.Series) -> bool:
    """Tell whether a column is text, boolean or whole numbers of few values."""
    if not is_numeric(cells):
        return True
    whole = (cells.astype(float) % 1 == 0).all()
    few = min(MOST_LABELS, len(cells) / ROWS_PER_CATEGORY)
    return bool(whole and cells.nunique() <= few)


def is_numeric(cells: pd.Series) -> bool:
    """Tell whether all values are numbers; over REST the dtype is object."""
    return infer_dtype(cells) in ("integer", "floating", "mixed-integer-float")


def encode(table: pd.DataFrame, test: str) -> np.ndarray:
    """Return `table` as an array of numbers, with a code for each category."""
    columns = []
    for name in table:
        if test == "fisherz":
            values = table[name].to_numpy(dtype=float)
            # No correlation changes with the scale, but the square of 1e300 overflows.
            columns.append(values / np.abs(values).max())
        else:
            codes, _ = pd.factorize(table[name])
            columns.append(codes)
    return np.column_stack(columns)


def to_causal_learn(knowledge: Knowledge) -> BackgroundKnowledge:
    """Return the knowledge in causal-learn's form."""
    background = BackgroundKnowledge()
    # causal-learn compares nodes by name, so each call may make a node of its own.
    for number, tier in enumerate(knowledge.tiers):
        for name in tier:
            background.add_node_to_tier(GraphNode(name), number)
    for cause, effect in knowledge.required:
        background.add_required_by_node(GraphNode(cause), GraphNode(effect))
    for cause, effect in knowledge.forbidden:
        background.add_forbidden_by_node(GraphNode(cause), GraphNode(effect))
    return background


def undirect_cycles(
    graph: np.ndarray, names: list[str], background: BackgroundKnowledge
) -> np.ndarray:
    """Return the graph with the edges of directed cycles undirected.

    A causal graph has no cycle. Tests that contradict each other can leave one, and
    then the data don't decide these directions. An edge that knowledge directs stays
    directed.
    """
    graph = graph.copy()
    arrows = nx.DiGraph(np.argwhere(is_directed(graph)).tolist())
    for i, j in arrows.edges:
        on_cycle = nx.has_path(arrows, j, i)
        if on_cycle and not is_known(names[i], names[j], background):
            graph[j, i] = TAIL  # where the ARROW was; the TAIL at i stays
    return graph


def is_directed(graph: np.ndarray) -> np.ndarray:
    """Tell for each i and j whether the graph has the edge i -> j."""
    return (graph == TAIL) & (graph.T == ARROW)


def is_known(cause: str, effect: str, background: BackgroundKnowledge) -> bool:
    """Tell whether knowledge directs the edge: requires it, or forbids its reverse."""
    start = GraphNode(cause)
    end = GraphNode(effect)
    return background.is_required(start, end) or background.is_forbidden(end, start)


def read_edges(graph: np.ndarray, names: list[str]) -> list[Edge]:
    """Return the edges of the graph.

    Those with tails at both ends are undirected. So are those with arrows at both ends:
    some tests say one direction, some the other.
    """
    directed = is_directed(graph)
    edges = []
    for i, j in combinations(range(len(names)), 2):
        if directed[i, j]:
            edges.append((names[i], names[j], "directed"))
        elif directed[j, i]:
            edges.append((names[j], names[i], "directed"))
        elif graph[i, j] != 0:
            edges.append((names[i], names[j], "undirected"))
    return edges


class CausalDiscovery(mlflow.pyfunc.PythonModel):
    """Take any table and answer with the edges of its causal graph, see `discover`."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return the edges; a bad request raises MlflowException, HTTP status 400."""
        try:
            # A REST request with "inputs" comes as a dict of columns.
            if not isinstance(model_input, pd.DataFrame | dict):
                raise ValueError("give a table of named columns, as dataframe_split")
            return discover(pd.DataFrame(model_input), **(params or {}))
        except ValueError as error:
            message = describe(error)
            raise mlflow.MlflowException.invalid_parameter_value(message) from None


# The checks. Each raises ValueError with one sentence that says what to do.


def describe(error: ValueError) -> str:
    """Return the message; of pydantic's errors, the one on the first parameter."""
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors()[0]
    parameter = ".".join(map(str, fault["loc"]))
    return f"{parameter[:80]}={quote(fault['input'])}: {fault['msg']}"


def quote(*values: Any) -> str:
    """Return values as a message shows them, each in at most 80 characters."""
    return ", ".join(repr(value)[:80] for value in values)


Faults = tuple[list[Any], str]  # the columns at fault, and the message


def check_table(table: pd.DataFrame, test: str) -> None:
    """Refuse a table that no test can use; one message names all columns at fault."""
    check_shape(table)
    searches: list[Callable[[pd.DataFrame], Faults]] = [
        find_constant,
        find_unreadable,
        find_crowded,
        partial(find_redundant, test=test),
    ]
    messages = []
    rest = table
    for search in searches:
        names, message = search(rest)
        if names:
            messages.append(message)
            rest = rest.drop(columns=names)  # a column is named once
    if len(rest.columns) < 2:
        messages.append(f"give at least 2 columns: {len(rest.columns)} can be used")
    elif unsuitable_columns(rest, test):
        messages.append(f"numbers and categories are mixed: {unmix(rest)}")
    if messages:
        raise ValueError("; ".join(messages))


def check_shape(table: pd.DataFrame) -> None:
    """Refuse columns without a name of their own, and too few rows."""
    names = table.columns.tolist()
    unclear = [n for n in names if not isinstance(n, str) or names.count(n) > 1]
    if unclear:
        raise ValueError(
            f"give each column a name of its own, as text: {quote(*unclear)}"
        )
    least_for_categories = 2 * ROWS_PER_CATEGORY  # at least two categories
    # Fisher's z needs rows - 3 - (columns - 2) >= 1, that is rows >= columns + 2.
    least_for_fisherz = len(names) + 2
    least = max(least_for_categories, least_for_fisherz)
    if len(table) < least:
        raise ValueError(
            f"give at least {least} rows for {len(names)} columns: {len(table)} rows"
        )


def find_constant(table: pd.DataFrame) -> Faults:
    names = [name for name in table if is_constant(table[name])]
    return names, f"drop the constant columns: {quote(*names)}"


def is_constant(cells: pd.Series) -> bool:
    """Tell whether there is one value, or numbers that differ by rounding alone."""
    readable = cells[~is_unreadable(cells)]
    if readable.empty:
        return False
    if not is_numeric(readable):
        return readable.nunique() == 1
    values = readable.to_numpy(dtype=float)
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())


def find_unreadable(table: pd.DataFrame) -> Faults:
    names = []
    places = []
    for name in table:
        cells = table[name]
        unreadable = is_unreadable(cells)
        if unreadable.any():
            names.append(name)
            row = int(unreadable.argmax())
            label = quote(cells.index.tolist()[row])
            value = quote(cells.tolist()[row])
            places.append(f"column {quote(name)}, row {label}: {value}")
    remedy = "give finite numbers in all rows, or text in all"
    return names, f"{remedy}: {'; '.join(places)}"


def is_unreadable(cells: pd.Series) -> pd.Series:
    """Tell which cells are missing, infinite or not of the column's usual kind."""
    kinds = cells.astype(object).map(kind_of)
    usable = kinds[kinds != "other"]
    if usable.empty:
        return pd.Series(True, index=cells.index)
    usual = usable.value_counts().index[0]
    return kinds != usual


def kind_of(value: Any) -> str:
    """Return whether a cell is a finite number, text, a boolean or none of these."""
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, str):
        return "text"
    number = isinstance(value, int | float | np.integer | np.floating)
    if number and -1e308 <= value <= 1e308:  # what a float can hold, and not NaN
        return "number"
    return "other"


def find_crowded(table: pd.DataFrame) -> Faults:
    """Find columns with too many categories for their rows, such as names."""
    most = len(table) // ROWS_PER_CATEGORY
    text = [name for name in table if not is_numeric(table[name])]
    names = [name for name in text if table[name].nunique() > most]
    return names, f"merge into at most {most} categories, or drop: {quote(*names)}"


def find_redundant(table: pd.DataFrame, test: str) -> Faults:
    """Find columns that earlier columns determine.

    Given these, such a column doesn't vary, and no test can use it.
    """
    test = choose_test(table, test)
    suitable = table.drop(columns=unsuitable_columns(table, test))
    if suitable.empty:
        return [], ""
    data = encode(suitable, test)
    is_determined = is_sum(data) if test == "fisherz" else is_copy(data)
    names = suitable.columns[is_determined].tolist()
    return names, f"drop the columns that others determine: {quote(*names)}"


def is_sum(data: np.ndarray) -> np.ndarray:
    """Tell for each column whether it is a weighted sum of those before it."""
    centred = data - data.mean(axis=0)
    scaled = centred / np.linalg.norm(centred, axis=0)
    # A QR decomposition regresses each column on those before it: the diagonal of R
    # holds the lengths of the residuals. The columns themselves have the length 1.
    residuals = np.abs(np.linalg.qr(scaled, mode="r").diagonal())
    return residuals < 1e-5  # no residual, but for rounding


def is_copy(data: np.ndarray) -> np.ndarray:
    """Tell for each column whether one before it has the same categories, renamed.

    `encode` numbers categories as they appear, so that such columns are equal.
    """
    return pd.DataFrame(data.T).duplicated().to_numpy()


def unsuitable_columns(table: pd.DataFrame, test: str) -> list[str]:
    """Return the columns that the test can't read: it needs numbers, or categories."""
    fits = is_numeric if choose_test(table, test) == "fisherz" else is_categorical
    return [name for name in table.columns if not fits(table[name])]


def unmix(table: pd.DataFrame) -> str:
    """Return how one test can read all columns."""
    remedies = []
    for test in ("fisherz", "gsq"):
        unsuitable = unsuitable_columns(table, test)
        if not unsuitable:
            remedies.append(f"set test to {test}")
        elif len(table.columns) - len(unsuitable) >= 2:
            remedies.append(f"set test to {test} and drop {quote(*unsuitable)}")
    return ", or ".join(remedies) or "give two columns of numbers, or two of categories"


def check_knowledge(knowledge: Knowledge, table: pd.DataFrame) -> None:
    """Refuse knowledge of columns that the table lacks, or that are in two tiers."""
    names = [name for tier in knowledge.tiers for name in tier]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"knowledge: name only once in the tiers: {quote(*twice)}")
    for pair in knowledge.required + knowledge.forbidden:
        names.extend(pair)
    missing = [name for name in dict.fromkeys(names) if name not in table.columns]
    if missing:
        raise ValueError(f"knowledge: the table has no column {quote(*missing)}")


def check_answer(edges: list[Edge], knowledge: Knowledge) -> None:
    """Refuse knowledge that the data contradict: a required edge lost, or a cycle."""
    directed = [(cause, effect) for cause, effect, kind in edges if kind == "directed"]
    # causal-learn directs required edges, but doesn't put back those that a test drops.
    lost = [pair for pair in knowledge.required if pair not in directed]
    if lost:
        raise ValueError(
            f"knowledge: don't require {quote(*lost)}: the data or other knowledge "
            "rule it out"
        )
    arrows = nx.DiGraph(directed)
    if not nx.is_directed_acyclic_graph(arrows):
        cycle = nx.find_cycle(arrows)
        raise ValueError(f"knowledge: leave out one of the cycle {quote(*cycle)}")


mlflow.models.set_model(CausalDiscovery())
