"""pc_causal_discovery: known graphs, knowledge, refusals and remedies, real cells."""

import numpy as np
import pandas as pd
import pytest

from recipes.pc_causal_discovery import evaluation, model_code, networks
from recipes.pc_causal_discovery.model_code import discover
from tests.conftest import refusal

CELLS = networks.real_cells()
ASIA = networks.sample("asia", 500, 0)


def arrows(table, **params):
    """Return the edges as texts, such as "a -> b" and "b - c"."""
    sign = {"directed": "->", "undirected": "-"}
    rows = discover(table, **params).to_dict("records")
    return {f"{row['from']} {sign[row['type']]} {row['to']}" for row in rows}


def known(part, *pairs):
    return {"knowledge": {part: list(pairs)}}


# Known graphs.


def test_a_collider_is_found():
    a, c, noise = np.random.default_rng(7).normal(size=(3, 4000))
    numbers = pd.DataFrame({"a": a, "b": a + c + noise, "c": c})
    text = (numbers > 0).replace({True: "yes", False: "no"})
    assert arrows(numbers) == arrows(text) == {"a -> b", "c -> b"}


@pytest.mark.parametrize("scale", [1e300, -3.0])
def test_units_change_nothing(scale):
    assert arrows(CELLS.assign(Raf=CELLS["Raf"] * scale)) == arrows(CELLS)


@pytest.mark.parametrize("dtype", ["double[pyarrow]", "Float64", "object"])
def test_a_dtype_changes_nothing(dtype):
    assert arrows(CELLS.astype(dtype)) == arrows(CELLS)


def test_the_test_follows_from_the_columns():
    def test_for(first, second):
        table = pd.DataFrame({"x": first, "y": np.roll(second, 1)})
        test = model_code.choose_test(table, "auto")
        is_numeric = model_code.encode(table, test).dtype == float
        assert is_numeric == (test == "fisherz")
        return test

    steps = np.random.default_rng(2).permutation(100)
    whole, more = steps % 20, steps % 21
    assert test_for(whole, whole) == "gsq"  # 20 values, 5 rows of each
    assert test_for(steps % 3 > 0, whole * 1.0) == "gsq"
    assert test_for(more, more) == "fisherz"
    assert test_for(whole, whole + 0.5) == "fisherz"
    a_half_among_objects = np.array([0.5, *more[1:]], object)
    assert test_for(a_half_among_objects, more) == "fisherz"


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


# Knowledge, and cycles.


def test_knowledge_directs_and_bans():
    assert "Raf -> Mek" in arrows(CELLS, **known("required", ["Raf", "Mek"]))
    assert "Mek -> Raf" in arrows(CELLS, **known("tiers", ["Mek"], ["Raf"]))
    assert "Mek -> Raf" in arrows(CELLS, **known("forbidden", ["Raf", "Mek"]))
    banned = arrows(CELLS, **known("forbidden", ["Raf", "Mek"], ["Mek", "Raf"]))
    assert not {"Raf - Mek", "Raf -> Mek", "Mek -> Raf"} & banned


def cyclic():
    """Return few rows, whose tests contradict each other: pc() leaves a cycle."""
    a, b, c, d, e = np.random.default_rng(217).normal(size=(60, 5)).T
    b += a
    c += b
    d += c + a
    return pd.DataFrame({"a": a, "b": b, "c": c, "d": d, "e": e + d})


def test_a_directed_cycle_comes_back_undirected():
    """The cycle is b -> a -> d -> e -> b; knowledge keeps its direction."""
    rest = {"c -> b", "c -> d", "a - b", "d - e", "b - e"}
    assert arrows(cyclic()) == rest | {"a - d"}
    assert arrows(cyclic(), **known("required", ["a", "d"])) == rest | {"a -> d"}
    assert arrows(cyclic(), **known("forbidden", ["d", "a"])) == rest | {"a -> d"}


def test_knowledge_alone_can_make_a_cycle():
    reverse = [["a", "b"], ["d", "a"], ["e", "d"], ["b", "e"]]
    with pytest.raises(ValueError, match="leave out one of the cycle"):
        discover(cyclic(), **known("forbidden", *reverse))
    discover(cyclic(), **known("forbidden", *reverse[1:]))


# Refusals, and what a reader sends who does what they say.


def with_cells(value, *names):
    table = CELLS.astype(object)
    table.loc[3, list(names)] = value
    return table


def refused(table, params, message):
    with refusal(message):
        model_code.CausalDiscovery().predict(None, table, params)


IDS = [f"id {number}" for number in range(853)]
LINE = np.linspace(0, 1, 500)
YES_NO = ASIA[["smoke", "bronc"]]
TEXT = CELLS.assign(Raf=np.where(CELLS["Raf"] > 40, "y", "n"))
COPIES = ASIA.assign(x=ASIA["smoke"].map({"yes": 1, "no": 0}), y=ASIA["lung"])
DEFECTS = CELLS.assign(Jnk=1.5, Raf=0, PKA=CELLS["Mek"] * 2, id=IDS)
BAD_TABLES = {
    "few rows": (CELLS.head(12), "at least 13 rows for 11 columns: 12 rows"),
    "few rows of text": (YES_NO.head(9), "at least 10 rows"),
    "one column": (CELLS[["Raf"]], "give at least 2 columns"),
    "missing": (
        with_cells(None, "Mek", "Jnk"),
        "finite numbers.*column 'Mek', row 3: None; column 'Jnk', row 3: None",
    ),
    "true among numbers": (with_cells(True, "Mek"), "'Mek', row 3: True"),
    "a huge cell": (with_cells("x" * 10_000, "Mek"), "'Mek', row 3: 'xxx"),
    "beyond floats": (with_cells(10**400, "Mek"), "'Mek', row 3: 1000"),
    "nearly constant": (CELLS.assign(Jnk=1 + 1e-16 * CELLS["Raf"]), "'Jnk'$"),
    "copies of text": (COPIES, "drop the columns that others determine: 'x', 'y'$"),
    "everything at once": (
        DEFECTS,
        "'Raf', 'Jnk'; merge into at most 170 categories, or drop: 'id'; "
        "drop the columns that others determine: 'PKA'$",
    ),
    "names": (
        CELLS.rename(columns={"Raf": "Mek", "Jnk": 7}),
        "name of its own, as text: 'Mek', 'Mek', 7$",
    ),
    "text and numbers": (TEXT, "mixed: set test to fisherz and drop 'Raf'$"),
    "one of each": (
        ASIA[["lung"]].assign(x=LINE),
        "give two columns of numbers, or two of categories",
    ),
    "no table": ("x", "give a table"),
}
BAD_PARAMS = [
    ({"test": "gsq"}, "mixed: set test to fisherz$"),
    ({"alpha": 1e-16}, "greater than or equal to 0.0"),
    ({"alpha": "0.05"}, "alpha='0.05'"),
    ({"alhpa": 0.1}, "alhpa=0.1"),
    (known("forbidden", ["Raf", "MEK"], ["P39", "Raf"]), "no column 'MEK', 'P39'$"),
    (known("required", ["Raf", "Jnk"], ["Raf", "Mek"]), r"require \('Raf', 'Jnk'\): "),
    (known("tiers", ["Raf", "Mek"], ["Raf", "Mek"]), "once in the tiers: 'Raf', 'Mek'"),
]


@pytest.mark.parametrize("table, message", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(table, message):
    refused(table, {}, message)


@pytest.mark.parametrize("params, message", BAD_PARAMS)
def test_bad_params_are_refused(params, message):
    refused(CELLS, params, message)


def test_what_a_refusal_asks_for_is_answered():
    discover(CELLS.head(13))
    discover(YES_NO.head(20))
    discover(DEFECTS.drop(columns=["Raf", "Jnk", "PKA", "id"]))
    discover(TEXT.drop(columns="Raf"), test="fisherz")
    discover(pd.DataFrame({"x": LINE, "y": np.sin(99 * LINE)}))
    discover(CELLS, alpha=1e-15)
    discover(CELLS, **known("required", ["Raf", "Mek"]))
