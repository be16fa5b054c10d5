"""pc_causal_discovery: known graphs, causal-learn as the oracle, refusals, quality floors."""

import json
import subprocess
import sys
from graphlib import TopologicalSorter

import mlflow
import numpy as np
import pandas as pd
import pytest
from causallearn.graph.GraphNode import GraphNode
from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge
from scipy import stats

from benchmarks.pc_causal_discovery import MAXP, linear, ours, random_cases, theirs
from recipes.pc_causal_discovery import evaluation, model_code, networks
from recipes.pc_causal_discovery.model_code import TESTS, ConditionalTest, discover
from shared.recipes import find

RECIPE = find("pc_causal_discovery")


def said(table, **params):
    """Return the edges as text: "a -> b", or "a - b"."""
    sign = {"directed": "->", "undirected": "-"}
    rows = discover(table, **params).to_dict("records")
    return {f"{row['from']} {sign[row['type']]} {row['to']}" for row in rows}


def cells(rows=200):
    return networks.real_cells().head(rows)


# --- known answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrows", "edges"),
    [
        ("ab bc", {"a - b", "b - c"}),  # a chain and its reverse can't be told apart
        ("ab cb", {"a -> b", "c -> b"}),  # a collider can
        ("ab cb bd", {"a -> b", "c -> b", "b -> d"}),  # and directs what follows
        ("ab ac", {"a - b", "a - c"}),
        ("bc", {"b - c"}),  # a and d are on their own
    ],
)
@pytest.mark.parametrize("kind", ["continuous", "text"])
def test_small_graphs_are_found(arrows, edges, kind):
    assert said(grown(arrows, kind), alpha=0.001) == edges


def grown(arrows, kind, rows=4000):
    """Return columns a to d, each made of its causes and chance; text columns hold yes and no."""
    random = np.random.default_rng(7)
    causes = {name: [arrow[0] for arrow in arrows.split() if arrow[1] == name] for name in "abcd"}
    made = {}
    for name in TopologicalSorter(causes).static_order():
        push = sum((made[cause] for cause in causes[name]), np.zeros(rows))
        if kind == "continuous":
            made[name] = push + random.normal(size=rows)
        else:
            made[name] = np.where(random.random(rows) < 1 / (1 + np.exp(-2 * push)), 1, -1)
    table = pd.DataFrame(made)[list("abcd")]
    return table if kind == "continuous" else table.replace({1: "yes", -1: "no"})


def test_the_request_has_the_known_answer():
    body = RECIPE.json("request.json")
    answer = discover(pd.DataFrame(**body["dataframe_split"]), **body["params"])
    assert answer.to_dict("records") == RECIPE.json("response.json")["predictions"]


def test_predict_equals_the_plain_function():
    params = {"bootstrap": 5, "separating_sets": True}
    answer = model_code.CausalDiscovery().predict(None, cells(), params)
    pd.testing.assert_frame_equal(answer, discover(cells(), **params))


def test_fisher_z_is_that_of_the_partial_correlation():
    data = np.random.default_rng(3).normal(size=(60, 4))
    data[:, :2] += data[:, [2]] + 0.2 * data[:, [3]]
    rest = np.column_stack([np.ones(60), data[:, 2:]])
    x, y = (data[:, i] - rest @ np.linalg.lstsq(rest, data[:, i])[0] for i in (0, 1))
    z = np.arctanh(np.corrcoef(x, y)[0, 1]) * np.sqrt(60 - 2 - 3)
    p = TESTS["fisherz"](data).p_values(np.array([[0, 1, 2, 3]]))
    assert 0.01 < p < 0.99
    np.testing.assert_allclose(p, 2 * stats.norm.sf(abs(z)), rtol=1e-9)


@pytest.mark.parametrize(("test", "power"), [("gsq", "log-likelihood"), ("chisq", "pearson")])
def test_contingency_tests_add_up_the_strata(test, power):
    data = np.random.default_rng(5).integers(0, 3, (400, 3))
    data[:, 1] = np.where(np.arange(400) % 9 == 0, data[:, 0], data[:, 1])
    parts = [
        stats.chi2_contingency(pd.crosstab(part[:, 0], part[:, 1]), correction=False, lambda_=power)
        for part in (data[data[:, 2] == level] for level in range(3))
    ]
    expected = stats.chi2.sf(sum(p.statistic for p in parts), sum(p.dof for p in parts))
    assert 1e-6 < expected < 0.99
    p = TESTS[test](data).p_values(np.array([[0, 1, 2]]))
    np.testing.assert_allclose(p, expected, rtol=1e-9)


class Given(ConditionalTest):
    """Answers from a table of p-values; what is not in it is dependent."""

    columns = 4

    def __init__(self, known):
        self.known = known

    def p_values(self, questions):
        return np.array([self.known.get(tuple(question), 0.0) for question in questions.tolist()])


def test_the_best_of_several_separating_sets_is_kept():
    test = Given({(0, 3, 1): 0.2, (0, 3, 2): 0.6, (3, 0, 1): 0.2, (3, 0, 2): 0.6, (1, 2): 0.3})
    full = ~np.eye(4, dtype=bool)
    adjacent, separators = model_code.skeleton(test, 0.05, full, np.zeros_like(full), largest=4)
    assert separators == {(0, 3): (2,), (1, 2): ()}
    assert not adjacent[0, 3] and not adjacent[1, 2] and adjacent.sum() == 8


@pytest.mark.parametrize(
    "pairs, collider",
    [
        ([(0.5, 0.01)], True),  # joining y makes x and z dependent
        ([(0.5, 0.06)], False),  # not at the level
        ([(0.04, 0.01)], False),  # they were dependent without y already
        ([(0.5, 0.01), (0.001, 0.5)], False),  # leaving y out of another set does so more clearly
        ([(0.5, 0.001), (0.01, 0.5)], True),  # less clearly
        ([], False),
    ],
)
def test_a_collider_is_confirmed_where_dependence_appears_with_it(pairs, collider):
    """Pairs of p-values, without y and with it."""
    from pc_fast.orientation import confirmed

    assert confirmed(pairs, alpha=0.05) is collider


# --- causal-learn as the oracle -----------------------------------------------------------------


def with_knowledge(knowledge):
    """Return tiers and forbidden edges in causal-learn's form."""
    known = BackgroundKnowledge()
    for tier, columns in enumerate(knowledge["tiers"]):
        for name in columns:
            known.add_node_to_tier(GraphNode(name), tier)
    for cause, effect in knowledge["forbidden"]:
        known.add_forbidden_by_node(GraphNode(cause), GraphNode(effect))
    return {**MAXP, "background_knowledge": known}


def cyclic(graph):
    return bool(model_code.directed_cycle(graph & ~graph.T))


def test_graphs_are_those_of_causal_learn():
    """The exceptions are graphs in which causal-learn leaves a directed cycle; ours never does."""
    same, exceptions = 0, 0
    for case in random_cases():
        expected, got = theirs(*case, **MAXP), ours(*case)
        assert not cyclic(got)
        if cyclic(expected):
            exceptions += 1
        else:
            np.testing.assert_array_equal(got, expected)
            same += 1
    assert same >= 220
    assert exceptions <= 5


def test_graphs_with_knowledge_are_those_of_causal_learn():
    """But for Meek's fourth rule, which causal-learn lacks, and the cycles that it leaves."""
    same = 0
    for seed in range(60):
        data = linear(8, 500, seed, degree=3)
        names = [f"X{i + 1}" for i in range(8)]
        shuffled = np.random.default_rng(seed).permutation(names).tolist()
        knowledge = {
            "tiers": [shuffled[:2], shuffled[2:4], shuffled[4:6]],
            "forbidden": [[shuffled[6], shuffled[7]], [shuffled[7], shuffled[6]]],
        }
        expected = theirs(data, 0.05, "fisherz", **with_knowledge(knowledge))
        got = ours(data, 0.05, "fisherz", knowledge=knowledge)
        np.testing.assert_array_equal(got | got.T, expected | expected.T)
        assert not cyclic(got)
        same += (got == expected).all()
    assert same >= 55


def test_cpdag_of_a_reference_network_is_causal_learns():
    from causallearn.graph.Dag import Dag
    from causallearn.utils.DAG2CPDAG import dag2cpdag

    names = list(networks.reference_network("insurance")[0])
    nodes = {name: GraphNode(name) for name in names}
    dag = Dag(list(nodes.values()))
    for cause, effect in networks.true_edges("insurance"):
        dag.add_directed_edge(nodes[cause], nodes[effect])
    edges = evaluation.cpdag(names, networks.true_edges("insurance"))
    graph = dag2cpdag(dag)
    got = evaluation.marks(edges)
    assert got.keys() == {
        frozenset((edge.get_node1().get_name(), edge.get_node2().get_name()))
        for edge in graph.get_graph_edges()
    }
    for pair, head in got.items():
        cause, effect = sorted(pair, key=lambda name: name == head)
        assert graph.is_parent_of(nodes[cause], nodes[effect]) == bool(head)


def test_shd_counts_pairs_that_differ():
    truth = pd.DataFrame(
        [("a", "b", "directed"), ("b", "c", "undirected"), ("c", "d", "undirected")],
        columns=["from", "to", "type"],
    )
    found = pd.DataFrame(
        [("b", "a", "directed"), ("c", "b", "undirected"), ("a", "d", "directed")],
        columns=["from", "to", "type"],
    )
    quality = evaluation.compare(found, truth)
    assert quality["shd"] == 3  # a -> b reversed, c - d missing, a -> d superfluous
    assert quality["precision"] == quality["recall"] == pytest.approx(2 / 3)


# --- behaviour ----------------------------------------------------------------------------------


def test_order_of_columns_does_not_change_the_skeleton():
    table = networks.real_cells()
    turned = table[table.columns[::-1]]
    pairs = [{frozenset(edge.split()[::2]) for edge in said(t)} for t in (table, turned)]
    assert pairs[0] == pairs[1]


def test_separating_sets_separate():
    table = networks.sample("asia", 5000, seed=1)
    rows = discover(table, separating_sets=True)
    separated = rows[rows["type"] == "separated"]
    assert len(rows) == 8 * 7 / 2
    assert separated["separating_set"].str.len().max() >= 1
    at = table.columns.get_loc
    test = TESTS["gsq"](table.to_numpy())
    for row in separated.to_dict("records"):
        question = [at(row["from"]), at(row["to"]), *map(at, row["separating_set"])]
        assert test.p_values(np.array([question]))[0] > model_code.DEFAULTS["alpha"]


def test_knowledge_directs_keeps_and_bans():
    table = cells(853)
    assert "Raf -> Mek" in said(table, knowledge={"required": [["Raf", "Mek"]]})
    assert "Mek -> Raf" in said(table, knowledge={"tiers": [["Mek"], ["Raf"]]})
    assert "Raf -> Jnk" in said(table, knowledge={"required": [["Raf", "Jnk"]]})  # no data for it
    banned = {"forbidden": [["Raf", "Mek"], ["Mek", "Raf"]]}
    pairs = [set(edge.split()[::2]) for edge in said(table, knowledge=banned)]
    assert {"Raf", "Mek"} not in pairs


def test_knowledge_of_directions_uses_the_fourth_rule():
    """d -> c is known; a - b, a - d, a - c undirected; b -> c: then a -> c, or a cycle follows."""
    graph = np.zeros((4, 4), dtype=bool)
    a, b, c, d = range(4)
    for x, y in ((a, b), (a, d), (a, c)):
        graph[x, y] = graph[y, x] = True
    graph[b, d] = graph[d, c] = True  # b -> d -> c, b and c not adjacent
    known = np.zeros((4, 4), dtype=bool)
    known[c, d] = known[d, b] = True
    directed = model_code.meek(graph, known)
    assert directed[a, c] and not directed[c, a]


def test_bootstrap_gives_shares_and_repeats_itself():
    first = discover(cells(), bootstrap=20)
    assert first[["confidence", "adjacency"]].stack().between(0, 1).all()
    assert (first["confidence"] <= first["adjacency"]).all()
    assert first["adjacency"].max() > 0.9
    pd.testing.assert_frame_equal(first, discover(cells(), bootstrap=20))
    assert not first.equals(discover(cells(), bootstrap=20, seed=1))


def test_whole_numbers_and_text_are_the_same_categories():
    text = networks.sample("asia", 2000, seed=2)
    numbers = text.apply(lambda column: pd.Series(pd.factorize(column)[0]))
    as_floats = numbers.astype(float)  # as JavaScript and JSON may deliver them
    assert said(text) == said(numbers) == said(as_floats) == said(text.astype("category"))


def test_mixed_columns_are_binned_on_request():
    table = cells(853)[["Raf", "Mek", "Erk", "Akt"]]
    table = table.assign(Raf=np.where(table["Raf"] > table["Raf"].median(), "high", "low"))
    with pytest.raises(ValueError, match=r"'Raf' categorical, 'Mek', 'Erk', 'Akt' continuous"):
        discover(table)
    assert {"Raf - Mek", "Erk - Akt"} <= said(table, bins=3)


def test_hub_with_many_rare_combinations_is_counted_right():
    """More combinations than rows: the renumbered strata must give what plain counting gives."""
    data = np.random.default_rng(1).integers(0, 9, (300, 8))
    test = TESTS["gsq"](data)
    (p,) = test.p_values(np.array([[0, 1, 2, 3, 4, 5, 6, 7]]))
    assert p == 1  # every stratum holds one row: no degree of freedom
    many = np.array([[0, y, *sorted({1, 2, 3} - {y})] for y in (1, 2, 3)] * 10)
    one_by_one = [test.p_values(question[None])[0] for question in many]
    np.testing.assert_allclose(test.p_values(many), one_by_one, rtol=1e-9)


# --- refusals -----------------------------------------------------------------------------------


def with_value(value, row=3):
    table = cells().astype(object if isinstance(value, str) else float)
    table.loc[row, "Mek"] = value
    return table


REFUSED = {
    "empty table": (pd.DataFrame(), {}, "0 rows x 0 columns"),
    "no rows": (cells(0), {}, "0 rows x 11 columns"),
    "one column": (cells()[["Raf"]], {}, "200 rows x 1 columns"),
    "fewer rows than columns": (cells(9), {}, "9 rows x 11 columns: .* more rows"),
    "missing": (with_value(np.nan), {}, "column 'Mek', row 3: the value is missing"),
    "infinite": (with_value(np.inf), {}, "column 'Mek', row 3: the value is infinite"),
    "text among numbers": (with_value("12,3"), {}, "column 'Mek', row 3: '12,3' makes"),
    "a list": (cells().assign(Raf=[[1]] * 200), {}, "column 'Raf', row 0: .* makes"),
    "dates": (cells().assign(Raf=pd.date_range("2020", periods=200)), {}, "column 'Raf'"),
    "constant": (cells().assign(Jnk=1.5), {}, "column 'Jnk' is constant"),
    "duplicate values": (cells().assign(Jnk=cells()["Raf"]), {}, "'Raf', 'Jnk' determine"),
    "scaled": (cells().assign(Jnk=2 * cells()["Raf"] + 1), {}, "'Raf', 'Jnk' determine"),
    "a sum": (
        cells().assign(Jnk=cells()["Raf"] + cells()["Mek"]),
        {},
        "'Raf', 'Mek', 'Jnk' determine each other",
    ),
    "recoded categories": (
        networks.sample("asia", 500, 0).assign(x=lambda t: t["smoke"].map({"yes": 1, "no": 0})),
        {},
        "columns 'smoke' and 'x' say the same",
    ),
    "an identifier": (
        networks.sample("asia", 500, 0).assign(x=[f"id {i}" for i in range(500)]),
        {},
        "column 'x' has 500 categories in 500 rows",
    ),
    "numbered columns": (cells().set_axis(range(11), axis=1), {}, "column name 0 is not text"),
    "column twice": (cells().rename(columns={"Raf": "Mek"}), {}, "'Mek' occurs more than once"),
    "alpha": (cells(), {"alpha": 1.0}, "alpha=1.0: give between 0 and 1"),
    "unknown test": (cells(), {"test": "kci"}, "test='kci': give auto, fisherz, gsq, chisq"),
    "bins": (cells(), {"bins": 1}, "bins=1"),
    "orientation": (cells(), {"orientation": "best"}, "orientation='best'"),
    "max_k": (cells(), {"max_k": -2}, "max_k=-2"),
    "bootstrap": (cells(), {"bootstrap": -1}, "bootstrap=-1"),
    "bootstrap of few rows": (cells(20), {"bootstrap": 5}, "three times as many rows"),
    "fisherz on text": (networks.sample("asia", 500, 0), {"test": "fisherz"}, "column 'asia' has"),
    "gsq on numbers": (cells(), {"test": "gsq"}, "gsq needs categories; 'Raf', .* bins=3"),
    "bins that leave one class": (
        cells().assign(Jnk=np.where(np.arange(200) < 190, 0.5, np.arange(200) + 0.1)),
        {"bins": 2},
        "column 'Jnk' is nearly constant",
    ),
}
KNOWLEDGE_REFUSED = {
    "unknown column": ({"required": [["Raf", "MEK"]]}, "table has no column 'MEK'"),
    "unknown part": ({"order": [["Raf"]]}, "'order' is none of tiers, required, forbidden"),
    "no pair": ({"forbidden": [["Raf"]]}, r"\['Raf'\] is not \[cause, effect\]"),
    "a loop": ({"required": [["Raf", "Raf"]]}, "is not"),
    "two tiers": ({"tiers": [["Raf"], ["Raf"]]}, "'Raf' is in two tiers"),
    "contradiction": (
        {"required": [["Raf", "Mek"]], "forbidden": [["Raf", "Mek"]]},
        "'Raf' -> 'Mek' is both required and forbidden",
    ),
    "against the tiers": (
        {"required": [["Raf", "Mek"]], "tiers": [["Mek"], ["Raf"]]},
        "'Raf' -> 'Mek' is both required and forbidden",
    ),
    "both ways": ({"required": [["Raf", "Mek"], ["Mek", "Raf"]]}, "make the cycle"),
    "a cycle": (
        {"required": [["Raf", "Mek"], ["Mek", "Erk"], ["Erk", "Raf"]]},
        "the required edges make the cycle",
    ),
    "a cycle of bans": (
        {"forbidden": [["PKA", "Akt"], ["Akt", "Erk"], ["Erk", "PKA"]]},
        "with the edges that the data keep it makes the cycle",
    ),
}
REFUSED |= {
    f"knowledge, {name}": (cells(853), {"knowledge": knowledge}, text)
    for name, (knowledge, text) in KNOWLEDGE_REFUSED.items()
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_and_where(case):
    table, params, text = case
    with pytest.raises(ValueError, match=text):
        discover(table, **params)
    with pytest.raises(mlflow.MlflowException, match=text) as refused:
        model_code.CausalDiscovery().predict(None, table, params)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


# --- the logged model ---------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(model.input_example).to_dict("records")))
"""


def test_what_is_shipped_is_the_package_and_answers_elsewhere(tmp_path):
    """`code_paths` copies whatever lies in the folder, so nothing but the modules may."""
    package = RECIPE.path / "pc_fast"
    left = [p.name for p in package.rglob("*") if p.name != "__pycache__" and p.suffix != ".pyc"]
    assert [name for name in left if not name.endswith(".py")] == []
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=RECIPE.path / "model_code.py",
        code_paths=[str(package)],
        signature=mlflow.models.ModelSignature(params=model_code.PARAMS),
        input_example=cells(),
        pip_requirements=str(RECIPE.path / "requirements.txt"),
    )
    shipped = [p.relative_to(tmp_path / "model/code") for p in (tmp_path / "model/code").rglob("*")]
    assert {str(p) for p in shipped} == {"pc_fast", *(f"pc_fast/{name}" for name in left)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, tmp_path / "model"],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == discover(cells()).to_dict("records")


# --- quality ------------------------------------------------------------------------------------


def test_real_cells_give_no_false_edge():
    table = networks.real_cells()
    assert table.shape == (853, 11)
    truth = evaluation.cpdag(list(table), networks.true_edges("sachs"))
    quality = evaluation.compare(discover(table), truth)
    assert quality["precision"] == 1
    assert quality["recall"] >= 0.47
    assert quality["shd"] <= 11


# Mean SHD of three samples of 10,000 rows, with slack for another NumPy's random numbers.
@pytest.mark.parametrize(
    ("network", "most"),
    [("asia", 4.0), ("sachs", 0.5), ("child", 6.5), ("alarm", 5.5)],
)
def test_reference_networks_are_recovered(network, most):
    names = list(networks.reference_network(network)[0])
    truth = evaluation.cpdag(names, networks.true_edges(network))
    shd = [
        evaluation.compare(discover(networks.sample(network, 10_000, seed)), truth)["shd"]
        for seed in range(3)
    ]
    assert np.mean(shd) <= most
