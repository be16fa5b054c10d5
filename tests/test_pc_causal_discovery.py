"""pc_causal_discovery: known graphs, knowledge, refusals and remedies, real cells."""

import re

from shared.recipes import find

import mlflow
import numpy as np
import pandas as pd
import pytest

from benchmarks.pc_causal_discovery import (
    PUBLIC,
    has_cycle,
    public_table,
    random_table,
)
from recipes.pc_causal_discovery import evaluation, model_code, networks
from recipes.pc_causal_discovery.model_code import discover
from tests.conftest import lengthened

RECIPE = find("pc_causal_discovery")
CELLS = networks.real_cells()
ASIA = networks.sample("asia", 500, 0)


def arrows(table, **params):
    """Return the edges as texts, such as "a -> b" and "b - c"."""
    sign = {"directed": "->", "undirected": "-"}
    rows = discover(table, **params).to_dict("records")
    return {f"{row['from']} {sign[row['type']]} {row['to']}" for row in rows}


def collider(kind):
    a, c, noise = np.random.default_rng(7).normal(size=(3, 4000))
    table = pd.DataFrame({"a": a, "b": a + c + noise, "c": c})
    if kind == "numbers":
        return table
    return (table > 0).replace({True: "yes", False: "no"})


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_a_collider_is_found(kind):
    assert arrows(collider(kind)) == {"a -> b", "c -> b"}


def test_the_request_has_the_known_answer():
    body = RECIPE.json("request.json")
    answer = discover(pd.DataFrame(**body["dataframe_split"]), **body["params"])
    assert answer.to_dict("records") == RECIPE.json("response.json")["predictions"]


@pytest.mark.parametrize("scale", [1e300, 1e-300, -3.0])
def test_units_change_nothing(scale):
    assert arrows(CELLS.assign(Raf=CELLS["Raf"] * scale)) == arrows(CELLS)


def test_knowledge_directs_and_bans():
    assert "Raf -> Mek" in arrows(CELLS, knowledge={"required": [["Raf", "Mek"]]})
    assert "Mek -> Raf" in arrows(CELLS, knowledge={"tiers": [["Mek"], ["Raf"]]})
    assert "Mek -> Raf" in arrows(CELLS, knowledge={"forbidden": [["Raf", "Mek"]]})
    both = {"forbidden": [["Raf", "Mek"], ["Mek", "Raf"]]}
    edges = arrows(CELLS, knowledge=both)
    assert not {"Raf - Mek", "Raf -> Mek", "Mek -> Raf"} & edges


STEPS = np.random.default_rng(2).permutation(100)
WHOLE, MORE, HALVES = STEPS % 20, STEPS % 21, STEPS % 20 + 0.5
KINDS = {
    "20 values, 5 rows of each": (WHOLE, WHOLE, "gsq"),
    "JSON doesn't keep 1 and 1.0 apart": (WHOLE * 1.0, WHOLE, "gsq"),
    "text and whole numbers": (STEPS % 3 > 0, WHOLE, "gsq"),
    "21 values": (MORE, MORE, "fisherz"),
    "halves": (HALVES, HALVES, "fisherz"),
    "one column of measurements": (WHOLE, HALVES, "fisherz"),
    "a half among objects": (np.array([0.5, *MORE[1:]], object), MORE, "fisherz"),
}


@pytest.mark.parametrize("first, second, test", KINDS.values(), ids=KINDS)
def test_the_test_follows_from_the_columns(first, second, test):
    table = pd.DataFrame({"x": first, "y": np.roll(second, 1)})
    assert model_code.choose_test(table, "auto") == test
    numeric = model_code.encode(table, test).dtype == float
    assert numeric == (test == "fisherz")


def cyclic(seed=217):
    """Return few rows, whose tests contradict each other: pc() leaves a cycle."""
    a, b, c, d, e = np.random.default_rng(seed).normal(size=(60, 5)).T
    b += a
    c += b
    d += c + a
    return pd.DataFrame({"a": a, "b": b, "c": c, "d": d, "e": e + d})


def test_a_directed_cycle_comes_back_undirected():
    """The cycle is b -> a -> d -> e -> b."""
    undirected = {"a - d", "a - b", "d - e", "b - e"}
    assert arrows(cyclic()) == {"c -> b", "c -> d"} | undirected


@pytest.mark.parametrize(
    "part, lists",
    [
        ("required", [["a", "d"]]),
        ("tiers", [["a"], ["d"]]),
        ("forbidden", [["d", "a"]]),
    ],
)
def test_knowledge_keeps_its_direction_on_a_cycle(part, lists):
    undirected = {"a - b", "d - e", "b - e"}
    edges = arrows(cyclic(), knowledge={part: lists})
    assert edges == {"c -> b", "c -> d", "a -> d"} | undirected


@pytest.mark.parametrize("seed, hidden", [(2043, 0), (2057, 0), (2066, 3), (2040, 3)])
def test_random_tables_are_answered_without_a_cycle(seed, hidden):
    """Without `undirect_cycles` the first three leave one; the benchmark tries 300."""
    edges = discover(random_table(seed, hidden))
    assert not has_cycle(edges)
    pairs = {frozenset(p) for p in edges[["from", "to"]].to_numpy().tolist()}
    assert len(pairs) == len(edges)
    assert set(edges["type"]) <= {"directed", "undirected"}


SLOW = re.compile("cyto_full|breast_cancer|randhie|star98")  # for the benchmark only


@pytest.mark.parametrize("file", [file for file in PUBLIC if not SLOW.search(file)])
def test_public_tables_are_answered(file):
    """One of them makes causal-learn's pc() leave a cycle."""
    assert not has_cycle(discover(public_table(file)))


def with_cells(value, *names, table=CELLS):
    table = table.astype(object)
    for name in names:
        table.loc[3, name] = value
    return table


def known(part, *pairs):
    return {"knowledge": {part: list(pairs)}}


IDS = [f"id {number}" for number in range(500)]
LINE = np.linspace(0, 1, 500)
DAY = pd.Timestamp("2020-01-01")
YES_NO = ASIA[["smoke", "bronc"]]
PAIR = ASIA[["lung"]].assign(x=LINE)
CONSTANT = CELLS.assign(Jnk=1.5, Raf=3)
CONSTANT_GAP = with_cells(None, "Jnk", table=CELLS.assign(Jnk=1.5))
COPIES = CELLS.assign(Jnk=CELLS["Raf"], PKA=CELLS["Mek"] + CELLS["Plcg"])
TEXT = CELLS.assign(Raf=np.where(CELLS["Raf"] > 40, "y", "n"))
CLASSES = ASIA.assign(x=LINE, y=LINE**2)
DEFECTS = CELLS.assign(Jnk=1.5, Raf=0, PKA=CELLS["Mek"] * 2, id=IDS + IDS[:353])
GROUPS = [f"group {number % 100}" for number in range(500)]
NO_COLUMN = known("required", ["Raf", "MEK"], ["P39", "Raf"])
LOST = known("required", ["Raf", "Jnk"], ["Raf", "Mek"], ["Mek", "Jnk"])
TWICE = known("tiers", ["Raf", "Mek"], ["Raf", "Mek"])
REFUSED = {
    "no rows": (CELLS.head(0), {}, "at least 13 rows for 11 columns: 0 rows"),
    "few rows": (YES_NO.head(9), {}, "at least 10 rows"),
    "one column": (CELLS[["Raf"]], {}, "give at least 2 columns"),
    "missing": (
        with_cells(None, "Mek", "Jnk"),
        {},
        "finite numbers.*column 'Mek', row 3: None; column 'Jnk', row 3: None",
    ),
    "infinite": (with_cells(np.inf, "Mek"), {}, "column 'Mek', row 3: inf"),
    "true among numbers": (with_cells(True, "Mek"), {}, "'Mek', row 3: True"),
    "a huge cell": (with_cells("x" * 10_000, "Mek"), {}, "'Mek', row 3: 'xxx"),
    "text among numbers": (with_cells("1.7", "Mek"), {}, "'Mek', row 3: '1.7'"),
    "beyond floats": (with_cells(10**400, "Mek"), {}, "'Mek', row 3: 1000"),
    "a list": (with_cells([1, 2], "Mek"), {}, r"'Mek', row 3: \[1, 2\]"),
    "constant": (CONSTANT, {}, "drop the constant columns: 'Raf', 'Jnk'$"),
    "a constant with a gap": (CONSTANT_GAP, {}, "constant columns: 'Jnk'$"),
    "nearly constant": (CELLS.assign(Jnk=1 + 1e-16 * CELLS["Raf"]), {}, "'Jnk'$"),
    "copies": (COPIES, {}, "drop the columns that others determine: 'PKA', 'Jnk'$"),
    "copies of text": (
        ASIA.assign(x=ASIA["smoke"].map({"yes": 1, "no": 0}), y=ASIA["lung"]),
        {},
        "others determine: 'x', 'y'$",
    ),
    "everything at once": (
        DEFECTS,
        {},
        "'Raf', 'Jnk'; merge into at most 170 categories, or drop: 'id'; "
        "drop the columns that others determine: 'PKA'$",
    ),
    "everything, and a gap": (
        with_cells(None, "Plcg", table=DEFECTS.drop(columns="id")),
        {},
        "constant columns: 'Raf', 'Jnk'; .*'Plcg', row 3: None; .*determine: 'PKA'$",
    ),
    "identifiers": (
        ASIA.assign(x=IDS, y=IDS),
        {},
        "merge into at most 100 categories, or drop: 'x', 'y'$",
    ),
    "names": (
        CELLS.rename(columns={"Raf": "Mek", "Jnk": 7}),
        {},
        "name of its own, as text: 'Mek', 'Mek', 7$",
    ),
    "text and numbers": (TEXT, {}, "set test to fisherz and drop 'Raf'$"),
    "numbers and text": (CLASSES, {}, "set test to gsq and drop 'x', 'y'$"),
    "one of each": (PAIR, {}, "give two columns of numbers, or two of categories"),
    "fisherz on text": (ASIA, {"test": "fisherz"}, "mixed: set test to gsq$"),
    "gsq on numbers": (CELLS, {"test": "gsq"}, "mixed: set test to fisherz$"),
    "alpha": (CELLS, {"alpha": 1.0}, "alpha=1.0"),
    "alpha true": (CELLS, {"alpha": True}, "alpha=True"),
    "alpha below rounding": (CELLS, {"alpha": 1e-16}, "greater than or equal to 0.0"),
    "bins": (CELLS, {"bins": 3}, "bins=3"),
    "unknown": (CELLS, {"alhpa": 0.1}, "alhpa=0.1"),
    "unknown and long": (CELLS, {"x" * 1000: 1}, "=1: Extra"),
    "alpha as text": (CELLS, {"alpha": "0.05"}, "alpha='0.05'"),
    "no table": ("x", {}, "give a table"),
    "tiers as text": (CELLS, known("tiers", "Raf"), "tiers.0='Raf'"),
    "no column": (CELLS, NO_COLUMN, "no column 'MEK', 'P39'$"),
    "required": (CELLS, LOST, r"don't require \('Raf', 'Jnk'\).*'Jnk'.*rule it out"),
    "two tiers": (CELLS, TWICE, "only once in the tiers: 'Raf', 'Mek'"),
    "dates": (
        CELLS.assign(x=DAY, y=DAY),
        {},
        "column 'x', row 0: Timestamp.*column 'y', row 0: Timestamp",
    ),
}
FOLLOWED = {  # what a reader sends who does what the refusal says
    "no rows": (CELLS.head(13), {}),
    "few rows": (YES_NO.head(20), {}),
    "one column": (CELLS[["Raf", "Mek"]], {}),
    "missing": (CELLS, {}),
    "constant": (CELLS.drop(columns=["Raf", "Jnk"]), {}),
    "copies": (CELLS.drop(columns=["PKA", "Jnk"]), {}),
    "everything at once": (DEFECTS.drop(columns=["Raf", "Jnk", "PKA", "id"]), {}),
    "identifiers": (ASIA.assign(x=GROUPS), {}),
    "names": (CELLS.set_axis([f"column {at}" for at in range(11)], axis=1), {}),
    "text and numbers": (TEXT.drop(columns="Raf"), {"test": "fisherz"}),
    "numbers and text": (ASIA, {"test": "gsq"}),
    "one of each": (pd.DataFrame({"x": LINE, "y": np.sin(99 * LINE)}), {}),
    "fisherz on text": (ASIA, {"test": "gsq"}),
    "gsq on numbers": (CELLS, {"test": "fisherz"}),
    "alpha below rounding": (CELLS, {"alpha": 1e-15}),
    "required": (CELLS, known("required", ["Raf", "Mek"])),
    "two tiers": (CELLS, known("tiers", ["Raf"], ["Mek"])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_what_and_where_and_following_it_helps(name):
    table, params, said = REFUSED[name]
    with pytest.raises(mlflow.MlflowException, match=said) as refused:
        model_code.CausalDiscovery().predict(None, table, params)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "x" * 81 not in str(refused.value)
    if name in FOLLOWED:
        better_table, better_params = FOLLOWED[name]
        discover(better_table, **better_params)


@pytest.mark.parametrize("name", REFUSED)
def test_no_refusal_quotes_more_than_80_characters(name):
    table, params, _ = REFUSED[name]
    with pytest.raises(mlflow.MlflowException) as refused:
        model_code.CausalDiscovery().predict(
            None, lengthened(table), lengthened(params)
        )
    assert "x" * 81 not in str(refused.value)


def test_knowledge_alone_can_make_a_cycle():
    reverse = [["a", "b"], ["d", "a"], ["e", "d"], ["b", "e"]]
    with pytest.raises(ValueError, match="leave out one of the cycle"):
        discover(cyclic(), **known("forbidden", *reverse))
    discover(cyclic(), **known("forbidden", *reverse[1:]))


@pytest.mark.parametrize("drawn, shd, recall", [(False, 11, 0.47), (True, 0, 1)])
def test_no_edge_is_false_in_real_cells_and_in_drawn_ones(drawn, shd, recall, capfd):
    table = networks.sample("sachs", 10_000, 0) if drawn else CELLS
    truth = evaluation.cpdag(list(table), networks.true_edges("sachs"))
    quality = evaluation.compare(discover(table), truth)
    assert quality["precision"] == 1
    assert quality["recall"] >= recall
    assert quality["SHD"] <= shd
    assert capfd.readouterr() == ("", "")


def test_of_the_truth_only_colliders_keep_their_arrows():
    for pairs, kind in (("ab", "cb"), "directed"), (("ab", "bc"), "undirected"):
        edges = evaluation.cpdag(list("abc"), [tuple(pair) for pair in pairs])
        assert edges.to_numpy().tolist() == [[*pair, kind] for pair in pairs]


def test_the_picture_tells_found_from_missed():
    truth = evaluation.cpdag(list(CELLS), networks.true_edges("sachs"))
    figure = evaluation.draw(
        list(CELLS), discover(CELLS), truth.drop(truth.index[0]), ""
    )
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "found, in the reference (7)",
        "found, not in it (1)",
        "in it, not found (9)",
    ]
