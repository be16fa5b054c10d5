"""pc_fast: causal-learn as the oracle, tests, colliders, confidence, refusals."""

import importlib
import runpy

from shared.recipes import find

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.pc_fast import linear, ours, theirs
from recipes.pc_causal_discovery import model_code as lesson
from recipes.pc_causal_discovery import networks
from recipes.pc_fast import model_code
from recipes.pc_fast.model_code import TESTS, discover
from tests.conftest import lengthened

directed_cycle = importlib.import_module("pc_fast.orientation").directed_cycle
RECIPE = find("pc_fast")
CELLS = networks.real_cells()


def cyclic(graph):
    return bool(directed_cycle(graph & ~graph.T))


def random_cases():
    """Yield 75 times (data, alpha, test): numbers, or cut into three or two."""
    for seed in range(25):
        random = np.random.default_rng(seed)
        columns = int(random.integers(4, 13))
        rows = int(random.choice([200, 500, 2000]))
        data = linear(columns, rows, seed, degree=random.choice([1.5, 2.5, 4]))
        alpha = float(random.choice([0.01, 0.05]))
        yield data, alpha, "fisherz"
        for test, cuts in (("gsq", [-0.5, 0.5]), ("chisq", [0.0])):
            yield np.digitize(data / data.std(axis=0), cuts)[:, :7], alpha, test


def test_graphs_are_those_of_causal_learn():
    """But for directed cycles, which we never leave, and where its p-values are 0."""
    graphs = [(theirs(*case), ours(*case)) for case in random_cases()]
    assert not any(cyclic(got) for _, got in graphs)
    comparable = [pair for pair in graphs if not cyclic(pair[0])]
    assert len(comparable) >= 74
    assert sum((got == expected).all() for expected, got in comparable) >= 72


@pytest.mark.parametrize("name", ["asia", "sachs", "cells"])
def test_the_lesson_has_the_same_edges(name):
    table = CELLS if name == "cells" else networks.sample(name, 2000, seed=1)
    edges = discover(table, orientation="maxp").itertuples(index=False, name=None)
    expected = lesson.discover(table).itertuples(index=False, name=None)
    assert set(edges) == set(expected)


def test_the_request_has_the_known_answer():
    body = RECIPE.json("request.json")
    answer = discover(pd.DataFrame(**body["dataframe_split"]), **body["params"])
    assert answer.to_dict("records") == RECIPE.json("response.json")["predictions"]


def test_fisher_z_is_that_of_the_partial_correlation():
    data = np.random.default_rng(3).normal(size=(600, 4))
    data[:, :2] += data[:, [2]] + 0.2 * data[:, [3]]
    data[:, 0] += 0.5 * data[:, 1]  # far in the tail: 1 - ndtr(z) would be 0
    rest = np.column_stack([np.ones(600), data[:, 2:]])
    x, y = (data[:, i] - rest @ np.linalg.lstsq(rest, data[:, i])[0] for i in (0, 1))
    z = np.arctanh(np.corrcoef(x, y)[0, 1]) * np.sqrt(600 - 2 - 3)
    p = TESTS["fisherz"](data).p_values(np.array([[0, 1, 2, 3]]))
    assert 0 < p < 1e-16
    np.testing.assert_allclose(p, 2 * stats.norm.sf(abs(z)), rtol=1e-6)


@pytest.mark.parametrize(
    ("test", "power"), [("gsq", "log-likelihood"), ("chisq", "pearson")]
)
def test_contingency_tests_add_up_the_strata(test, power):
    data = np.random.default_rng(5).integers(0, 3, (400, 3))
    data[:, 1] = np.where(np.arange(400) % 9 == 0, data[:, 0], data[:, 1])
    data[0, 2] = 3  # a stratum of one row tells nothing
    parts = [
        stats.chi2_contingency(
            pd.crosstab(part[:, 0], part[:, 1]), correction=False, lambda_=power
        )
        for part in (data[data[:, 2] == level] for level in range(4))
    ]
    expected = stats.chi2.sf(sum(p.statistic for p in parts), sum(p.dof for p in parts))
    copies = np.column_stack(
        [data, *[data[:, 2]] * 6]
    )  # 4**7 combinations, of which 4 occur
    for given in ([2], range(2, 9)):
        p = TESTS[test](copies).p_values(np.array([[0, 1, *given]]))
        np.testing.assert_allclose(p, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "pairs, collider",
    [
        ([(0.5, 0.01)], True),  # joining y makes x and z dependent
        ([(0.5, 0.06)], False),  # not at the level
        ([(0.04, 0.01)], False),  # they were dependent without y already
        (
            [(0.5, 0.01), (0.001, 0.5)],
            False,
        ),  # leaving y out of another set does so more clearly
        ([(0.5, 0.001), (0.01, 0.5)], True),  # less clearly
        ([], False),
    ],
)
def test_a_collider_is_confirmed_where_dependence_appears_with_it(pairs, collider):
    from pc_fast.orientation import confirmed

    without, with_y = np.array(pairs).reshape(-1, 2).T
    assert confirmed(without[None], with_y[None], alpha=0.05).tolist() == [collider]


def test_bootstrap_gives_shares_and_repeats_itself():
    first = discover(CELLS.head(200), bootstrap=20)
    assert (first["confidence"] <= first["adjacency"]).all() and first[
        "adjacency"
    ].max() > 0.9
    pd.testing.assert_frame_equal(first, discover(CELLS.head(200), bootstrap=20))
    assert not first.equals(discover(CELLS.head(200), bootstrap=20, seed=1))


def test_separating_sets_separate():
    table = networks.sample("asia", 5000, seed=1)
    rows = discover(table, separating_sets=True)
    at = table.columns.get_loc
    test = TESTS["gsq"](table.to_numpy())
    assert len(rows) == 8 * 7 / 2
    for row in rows[rows["type"] == "separated"].to_dict("records"):
        question = [at(row["from"]), at(row["to"]), *map(at, row["separating_set"])]
        assert test.p_values(np.array([question]))[0] > 0.05


def test_equal_columns_are_answered_with_one_of_them():
    table = networks.sample("asia", 2000, seed=1)
    rows = discover(table.assign(again=table["smoke"].map({"yes": 1, "no": 0})))
    assert rows.iloc[-1].tolist() == ["smoke", "again", "equal"]
    pd.testing.assert_frame_equal(rows.iloc[:-1], discover(table), check_dtype=False)


def test_a_required_edge_stays_whatever_the_data_say():
    rows = discover(CELLS, knowledge={"required": [["Raf", "Jnk"]]}).to_dict("records")
    assert {"from": "Raf", "to": "Jnk", "type": "directed"} in rows


def test_a_stratum_with_one_value_of_x_or_y_says_nothing():
    random = np.random.default_rng(7)
    stratum = np.repeat([0, 1, 2], 200)
    x = np.where(stratum == 1, 0, random.integers(0, 3, 600))
    y = np.where(stratum == 2, 1, random.integers(0, 3, 600))
    data = np.column_stack([x, y, stratum])
    for test in ("gsq", "chisq"):
        p, reverse = TESTS[test](data).p_values(np.array([[0, 1, 2], [1, 0, 2]]))
        alone = TESTS[test](data[stratum == 0, :2]).p_values(np.array([[0, 1]]))[0]
        assert p == pytest.approx(alone, rel=1e-9) and 0 < p < 1
        assert p == pytest.approx(reverse, rel=1e-9)
        one_value = TESTS[test](data[stratum == 1]).p_values(np.array([[0, 1], [1, 0]]))
        assert one_value.tolist() == [1, 1]


def test_each_set_of_neighbours_is_asked_about_once():
    from pc_fast.orientation import conditioning_sets

    sets = conditioning_sets(shared=1, of_x=1, of_z=2, largest=9)
    x_side, z_side = {2, 3}, {2, 4, 5}
    assert list(sets.values()) == list(range(len(sets))) and len(sets) == 4 + 8 - 2
    assert all(given <= x_side or given <= z_side for given in sets)
    small = conditioning_sets(shared=1, of_x=1, of_z=2, largest=1)
    assert max(map(len, small)) == 1


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_units_change_nothing(scale):
    scaled = discover(CELLS.assign(Raf=CELLS["Raf"] * scale))
    pd.testing.assert_frame_equal(scaled, discover(CELLS, test="fisherz"))


def test_two_columns_and_four_rows_are_enough():
    discover(CELLS[["Raf", "Mek"]].head(4))
    assert discover(CELLS[["Raf", "Mek"]])["type"].tolist() == ["undirected"]


def with_cell(value):
    table = CELLS.astype(object)
    table.loc[3, "Mek"] = value
    return table


def test_whole_numbers_of_up_to_20_values_are_categories_and_so_is_a_categorical():
    from pc_fast.table import is_categorical

    steps = pd.Series(np.random.default_rng(2).permutation(105))
    kinds = (steps % 20, steps % 21, (steps % 3).astype("category"))
    assert [is_categorical(column) for column in kinds] == [True, False, True]
    table = networks.sample("asia", 500, seed=1)
    pd.testing.assert_frame_equal(discover(table.astype("category")), discover(table))


def test_the_reference_is_the_lesson_s():
    own = runpy.run_path(str(RECIPE.path / "cells.py"))
    edges = {
        (cause, effect)
        for cause, effects in own["REFERENCE"].items()
        for effect in effects
    }
    assert edges == set(networks.true_edges("sachs"))
    assert own["real_cells"]().equals(CELLS)


IDS = [f"id {number}" for number in range(len(CELLS))]
YES_NO = CELLS.assign(Raf=np.where(CELLS["Raf"] > 40, "y", "n"))
REFUSED = {
    "one column": (
        CELLS[["Raf"]],
        {},
        "853 rows x 1 columns: give two columns or more",
    ),
    "a sum": (
        CELLS.assign(Jnk=CELLS["Raf"] + CELLS["Mek"]),
        {},
        "determine each other",
    ),
    "text among numbers": (with_cell("1.75"), {}, "'1.75' makes"),
    "true among numbers": (with_cell(True), {}, "True makes"),
    "no table": ("x", {}, "give a table"),
    "alpha as text": (CELLS, {"alpha": "0.05"}, "alpha='0.05'"),
    "seed true": (CELLS, {"seed": True}, "seed=True"),
    "bootstrap null": (CELLS, {"bootstrap": None}, "bootstrap=None"),
    "unknown": (CELLS, {"alhpa": 0.1}, "alhpa=0.1: Extra inputs"),
    "unknown and long": (CELLS, {"x" * 1000: 1}, "=1: Extra"),
    "unknown knowledge": (CELLS, {"knowledge": {"x" * 1000: []}}, "Extra inputs"),
    "unknown test": (CELLS, {"test": "anova"}, "test='anova'"),
    "a gap": (with_cell(None), {}, "column 'Mek', row 3: the value is missing"),
    "a name that is no text": (
        CELLS.set_axis([("x", "Raf"), *CELLS.columns[1:]], axis=1),
        {},
        "is not text",
    ),
    "a name twice": (CELLS.rename(columns={"Mek": "Raf"}), {}, "more than once"),
    "constant": (CELLS.assign(Raf=1.5), {}, "'Raf' is constant"),
    "identifiers": (CELLS.assign(Raf=IDS), {}, "853 categories"),
    "mixed": (YES_NO, {}, "mixed columns"),
    "fisherz on text": (YES_NO, {"test": "fisherz"}, "'Raf'. are text or booleans"),
    "gsq on numbers": (CELLS, {"test": "gsq"}, "needs categories"),
    "half a pair": (CELLS, {"knowledge": {"required": [["Raf"]]}}, "Field required"),
    "tiers as text": (
        CELLS,
        {"knowledge": {"tiers": "Raf"}},
        "knowledge.tiers[.0]*='Raf': Input should be a valid list",
    ),
    "tier as text": (
        CELLS,
        {"knowledge": {"tiers": ["Raf"]}},
        "knowledge.tiers[.0]*='Raf': Input should be a valid list",
    ),
    "max_k below -1": (CELLS, {"max_k": -2}, "max_k=-2"),
    "few rows to resample": (CELLS.head(32), {"bootstrap": 9}, "give 33"),
    "one column twice": (
        CELLS[["Raf"]].assign(again=CELLS["Raf"]),
        {},
        "all columns say the same",
    ),
    "knowledge of the second of two equal columns": (
        CELLS.assign(again=CELLS["Raf"]),
        {"knowledge": {"tiers": [["again"]]}},
        "'again' says the same as 'Raf'",
    ),
    "two tiers": (
        CELLS,
        {"knowledge": {"tiers": [["Raf"], ["Mek", "Raf"]]}},
        "'Raf' is in two tiers",
    ),
    "its own cause": (
        CELLS,
        {"knowledge": {"forbidden": [["Raf", "Raf"]]}},
        "'Raf' can't cause itself",
    ),
    "required against the tiers": (
        CELLS,
        {"knowledge": {"tiers": [["Mek"], ["Raf"]], "required": [["Raf", "Mek"]]}},
        "'Raf' -> 'Mek' is required, and forbidden",
    ),
    "dates": (
        CELLS.assign(day=pd.Timestamp("2020-01-01")),
        {},
        "column 'day' is of datetime64",
    ),
    "a cycle": (
        CELLS,
        {"knowledge": {"required": [["Raf", "Mek"], ["Mek", "Raf"]]}},
        "cycle",
    ),
    "no column": (
        CELLS,
        {"knowledge": {"required": [["Raf", "MEK"]]}},
        "no column 'MEK'",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_and_where(case):
    table, params, text = case
    with pytest.raises(mlflow.MlflowException, match=text) as refused:
        model_code.CausalDiscovery().predict(None, table, params)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("name", REFUSED)
def test_no_refusal_quotes_more_than_80_characters(name):
    table, params, _ = REFUSED[name]
    with pytest.raises(mlflow.MlflowException) as refused:
        model_code.CausalDiscovery().predict(
            None, lengthened(table), lengthened(params)
        )
    assert "x" * 81 not in str(refused.value)


def test_a_cycle_of_what_the_data_keep_is_told_in_80_characters():
    random = np.random.default_rng(0).normal(size=(200, 3))
    table = pd.DataFrame(
        random + random.sum(axis=1, keepdims=True), columns=["a", "b", "c" * 100]
    )
    a, b, c = table
    with pytest.raises(
        ValueError, match="the data keep it makes the cycle a -> b -> c+$"
    ) as error:
        discover(table, knowledge={"forbidden": [[b, a], [c, b], [a, c]]})
    assert "c" * 80 not in str(error.value)
