"""pc_causal_discovery: known graphs, knowledge, refusals, what the page says of real cells."""

from shared.recipes import find

import mlflow
import numpy as np
import pandas as pd
import pytest

from recipes.pc_causal_discovery import evaluation, model_code, networks
from recipes.pc_causal_discovery.model_code import discover

RECIPE = find("pc_causal_discovery")
CELLS = networks.real_cells()
ASIA = networks.sample("asia", 500, 0)


def said(table, **params):
    sign = {"directed": "->", "undirected": "-"}
    rows = discover(table, **params).to_dict("records")
    return {f"{row['from']} {sign[row['type']]} {row['to']}" for row in rows}


def collider(kind):
    a, c, noise = np.random.default_rng(7).normal(size=(3, 4000))
    table = pd.DataFrame({"a": a, "b": a + c + noise, "c": c})
    return (
        table if kind == "numbers" else (table > 0).replace({True: "yes", False: "no"})
    )


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_a_collider_is_found(kind):
    assert said(collider(kind)) == {"a -> b", "c -> b"}


def test_the_request_has_the_known_answer():
    body = RECIPE.json("request.json")
    answer = discover(pd.DataFrame(**body["dataframe_split"]), **body["params"])
    assert answer.to_dict("records") == RECIPE.json("response.json")["predictions"]


@pytest.mark.parametrize("scale", [1e300, 1e-300, -3.0])
def test_units_change_nothing(scale):
    assert said(CELLS.assign(Raf=CELLS["Raf"] * scale)) == said(CELLS)


def test_knowledge_directs_and_bans_and_max_k_tests_less():
    assert "Raf -> Mek" in said(CELLS, knowledge={"required": [["Raf", "Mek"]]})
    assert "Mek -> Raf" in said(CELLS, knowledge={"tiers": [["Mek"], ["Raf"]]})
    assert "Mek -> Raf" in said(CELLS, knowledge={"forbidden": [["Raf", "Mek"]]})
    both = {"forbidden": [["Raf", "Mek"], ["Mek", "Raf"]]}
    assert not {"Raf - Mek", "Raf -> Mek", "Mek -> Raf"} & said(CELLS, knowledge=both)
    assert len(said(CELLS, max_k=0)) > len(said(CELLS, max_k=1)) >= len(said(CELLS))


def test_mixed_columns_are_binned_on_request():
    table = CELLS[["Raf", "Mek", "Erk", "Akt"]].assign(
        Raf=np.where(CELLS["Raf"] > 40, "y", "n")
    )
    with pytest.raises(ValueError, match="'Mek', 'Erk', 'Akt'. are numbers"):
        discover(table)
    assert "Erk - Akt" in said(table, bins=3)


STEPS = np.random.default_rng(2).permutation(100)
WHOLE, MORE, HALVES = STEPS % 20, STEPS % 21, STEPS % 20 + 0.5
KINDS = {
    "20 values, 5 rows of each": (WHOLE, "auto", "gsq"),
    "JSON doesn't keep 1 and 1.0 apart": (WHOLE * 1.0, "auto", "gsq"),
    "21 values": (MORE, "auto", "fisherz"),
    "halves": (HALVES, "auto", "fisherz"),
    "whole numbers and a half": (
        np.array([0.5, *MORE[1:]], dtype=object),
        "auto",
        "fisherz",
    ),
    "fisherz as told": (WHOLE, "fisherz", "fisherz"),
    "chisq as told": (STEPS % 3 > 0, "chisq", "chisq"),
}


@pytest.mark.parametrize("values, test, chosen", KINDS.values(), ids=KINDS)
def test_the_test_follows_from_the_columns(values, test, chosen):
    data, used = model_code.read(
        pd.DataFrame({"x": values, "y": np.roll(values, 1)}), test, 0
    )
    assert used == chosen and (data.dtype == float) == (chosen == "fisherz")


def with_cell(value):
    table = CELLS.astype(object)
    table.loc[3, "Mek"] = value
    return table


REFUSED = {
    "no rows": (CELLS.head(0), {}, "0 rows x 11 columns"),
    "one column": (CELLS[["Raf"]], {}, "853 rows x 1 columns"),
    "missing": (with_cell(None), {}, "column 'Mek', row 3: None; give finite"),
    "infinite": (with_cell(np.inf), {}, "column 'Mek', row 3: inf; give finite"),
    "true among numbers": (with_cell(True), {}, "column 'Mek', row 3: True; give"),
    "a huge cell": (with_cell("x" * 10_000), {}, "column 'Mek', row 3: 'xxx"),
    "text among numbers": (with_cell("1.75"), {}, "column 'Mek', row 3: '1.75'; give"),
    "constant": (CELLS.assign(Jnk=1.5), {}, "column 'Jnk' is constant"),
    "equal": (
        CELLS.assign(Jnk=CELLS["Raf"]),
        {},
        "'Raf', 'Jnk'.* determine each other",
    ),
    "an identifier": (
        ASIA.assign(x=[f"id {i}" for i in range(500)]),
        {},
        "column 'x': 500 categories",
    ),
    "numbered columns": (CELLS.set_axis(range(11), axis=1), {}, "column name 0"),
    "column twice": (CELLS.rename(columns={"Raf": "Mek"}), {}, "column name 'Mek'"),
    "fisherz on text": (ASIA, {"test": "fisherz"}, "test fisherz: "),
    "gsq on numbers": (CELLS, {"test": "gsq"}, "test gsq: .*bins=3"),
    "alpha": (CELLS, {"alpha": 1.0}, "alpha=1.0"),
    "alpha true": (CELLS, {"alpha": True}, "alpha=True"),
    "bins": (CELLS, {"bins": 1}, "bins=1"),
    "max_k": (CELLS, {"max_k": -2}, "max_k=-2"),
    "unknown": (CELLS, {"alhpa": 0.1}, "alhpa=0.1"),
    "no table": ("x", {}, "give a table"),
    "tiers as text": (
        CELLS,
        {"knowledge": {"tiers": ["Raf"]}},
        "knowledge.tiers.0='Raf'",
    ),
    "no column": (
        CELLS,
        {"knowledge": {"required": [["Raf", "MEK"]]}},
        "no column 'MEK'",
    ),
    "required, no edge": (
        CELLS,
        {"knowledge": {"required": [["Raf", "Jnk"]]}},
        "rule out .'Raf', 'Jnk'",
    ),
    "two tiers": (CELLS, {"knowledge": {"tiers": [["Raf"], ["Raf"]]}}, "in two tiers"),
    "equal text": (
        ASIA.assign(x=ASIA["smoke"]),
        {},
        "'smoke', 'x'.* determine each other",
    ),
    "beyond floats": (with_cell(10**400), {}, "column 'Mek', row 3: 1000"),
    "dates": (
        CELLS.assign(x=pd.Timestamp("2020-01-01")),
        {},
        "column 'x', row 0: Timestamp",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_and_where(case):
    table, params, text = case
    with pytest.raises(mlflow.MlflowException, match=text) as refused:
        model_code.CausalDiscovery().predict(None, table, params)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert len(str(refused.value)) < 250


def test_a_directed_cycle_is_said():
    """Tests that contradict each other: these few rows make causal-learn's pc() leave a cycle."""
    a, b, c, d, e = np.random.default_rng(217).normal(size=(60, 5)).T
    b += a
    c += b
    d += c + a
    with pytest.raises(
        ValueError, match="cycle through .'a', 'b', 'd', 'e'.: lower alpha"
    ):
        discover(pd.DataFrame({"a": a, "b": b, "c": c, "d": d, "e": e + d}))


@pytest.mark.parametrize("drawn, shd, recall", [(False, 11, 0.47), (True, 0, 1)])
def test_no_edge_is_false_in_real_cells_and_in_drawn_ones(drawn, shd, recall, capfd):
    table = networks.sample("sachs", 10_000, 0) if drawn else CELLS
    truth = evaluation.cpdag(list(table), networks.true_edges("sachs"))
    quality = evaluation.compare(discover(table), truth)
    assert (
        quality["precision"] == 1
        and quality["recall"] >= recall
        and quality["SHD"] <= shd
    )
    assert capfd.readouterr() == ("", "")


def test_of_the_truth_only_colliders_keep_their_arrows():
    for arrows, kind in (("ab", "cb"), "directed"), (("ab", "bc"), "undirected"):
        edges = evaluation.cpdag(list("abc"), [tuple(arrow) for arrow in arrows])
        assert edges.to_numpy().tolist() == [[*arrow, kind] for arrow in arrows]


def test_the_picture_tells_found_from_missed():
    truth = evaluation.cpdag(list(CELLS), networks.true_edges("sachs"))
    figure = evaluation.draw(
        list(CELLS), discover(CELLS), truth.drop(truth.index[0]), ""
    )
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == [
        "found, in the reference (7)",
        "found, not in it (1)",
        "in it, not found (9)",
    ]
