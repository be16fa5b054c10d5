"""pc_fast: causal-learn as the oracle, tests, colliders, confidence, refusals."""

import importlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.pc_fast import linear, ours, theirs
from recipes.pc_causal_discovery import model_code as lesson
from recipes.pc_causal_discovery import networks
from recipes.pc_fast import cells, model_code
from recipes.pc_fast.model_code import TESTS, discover
from tests.conftest import refusal

orientation = importlib.import_module("pc_fast.orientation")
CELLS = cells.real_cells()


# Graphs, compared with those of others.


def cyclic(graph):
    return bool(orientation.directed_cycle(graph & ~graph.T))


def random_cases():
    """Yield 18 times (data, alpha, test): numbers, or cut into three or two."""
    for seed in range(6):
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
    assert len(comparable) >= 17
    assert sum((got == expected).all() for expected, got in comparable) >= 17


@pytest.mark.parametrize("name", ["asia", "cells"])
def test_the_lesson_has_the_same_edges(name):
    table = CELLS if name == "cells" else networks.sample(name, 2000, seed=1)
    edges = discover(table, orientation="maxp").itertuples(index=False, name=None)
    expected = lesson.discover(table).itertuples(index=False, name=None)
    assert set(edges) == set(expected)


def test_the_reference_is_the_lesson_s():
    edges = {
        (cause, effect)
        for cause, effects in cells.REFERENCE.items()
        for effect in effects
    }
    assert edges == set(networks.true_edges("sachs"))
    assert CELLS.equals(networks.real_cells())


# Tests of independence, compared with their definitions.


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
    "test, power", [("gsq", "log-likelihood"), ("chisq", "pearson")]
)
def test_contingency_tests_add_up_the_strata(test, power):
    data = np.random.default_rng(5).integers(0, 3, (400, 3))
    data[:, 1] = np.where(np.arange(400) % 9 == 0, data[:, 0], data[:, 1])
    data[0, 2] = 3  # a stratum of one row tells nothing
    strata = [data[data[:, 2] == level] for level in range(4)]
    parts = [
        stats.chi2_contingency(
            pd.crosstab(rows[:, 0], rows[:, 1]), correction=False, lambda_=power
        )
        for rows in strata
    ]
    expected = stats.chi2.sf(sum(p.statistic for p in parts), sum(p.dof for p in parts))
    copies = np.column_stack([data, *[data[:, 2]] * 6])  # 4 of 4**7 combinations occur
    for given in ([2], range(2, 9)):
        p = TESTS[test](copies).p_values(np.array([[0, 1, *given]]))
        np.testing.assert_allclose(p, expected, rtol=1e-9)
    one_value = TESTS[test](strata[3]).p_values(np.array([[0, 1], [1, 0]]))
    assert one_value.tolist() == [1, 1]


def test_separating_sets_separate():
    table = networks.sample("asia", 5000, seed=1)
    rows = discover(table, separating_sets=True)
    at = table.columns.get_loc
    test = TESTS["gsq"](table.to_numpy())
    assert len(rows) == 8 * 7 / 2
    for row in rows[rows["type"] == "separated"].to_dict("records"):
        question = [at(row["from"]), at(row["to"]), *map(at, row["separating_set"])]
        assert test.p_values(np.array([question]))[0] > 0.05


def test_a_collider_is_confirmed_where_dependence_appears_with_it():
    def confirmed(*p_values):
        """Take a pair for each set: given the set, and given y too."""
        without, with_y = np.array(p_values).T
        return orientation.confirmed(without[None], with_y[None], alpha=0.05).item()

    assert confirmed((0.5, 0.01))  # joining y makes x and z dependent
    assert not confirmed((0.5, 0.06))  # not at the level
    assert not confirmed((0.04, 0.01))  # they were dependent without y already
    # Leaving y out of another set does so more clearly, or less clearly.
    assert not confirmed((0.5, 0.01), (0.001, 0.5))
    assert confirmed((0.5, 0.001), (0.01, 0.5))


# Settings and columns.


def test_bootstrap_gives_shares_and_repeats_itself():
    first = discover(CELLS.head(200), bootstrap=20)
    assert (first["confidence"] <= first["adjacency"]).all()
    assert first["adjacency"].max() > 0.9
    pd.testing.assert_frame_equal(first, discover(CELLS.head(200), bootstrap=20))
    assert not first.equals(discover(CELLS.head(200), bootstrap=20, seed=1))


def test_equal_columns_are_answered_with_one_of_them():
    table = networks.sample("asia", 2000, seed=1)
    rows = discover(table.assign(again=table["smoke"].map({"yes": 1, "no": 0})))
    assert rows.iloc[-1].tolist() == ["smoke", "again", "equal"]
    pd.testing.assert_frame_equal(rows.iloc[:-1], discover(table), check_dtype=False)


def test_a_required_edge_stays_whatever_the_data_say():
    rows = discover(CELLS, knowledge={"required": [["Raf", "Jnk"]]}).to_dict("records")
    assert {"from": "Raf", "to": "Jnk", "type": "directed"} in rows


def test_units_change_nothing():
    scaled = discover(CELLS.assign(Raf=CELLS["Raf"] * 1e300))
    pd.testing.assert_frame_equal(scaled, discover(CELLS, test="fisherz"))


def test_two_columns_and_four_rows_are_enough():
    discover(CELLS[["Raf", "Mek"]].head(4))
    assert discover(CELLS[["Raf", "Mek"]])["type"].tolist() == ["undirected"]


def test_whole_numbers_of_up_to_20_values_are_categories_and_so_is_a_categorical():
    table = importlib.import_module("pc_fast.table")
    steps = pd.Series(np.random.default_rng(2).permutation(105))
    columns = (steps % 20, steps % 21, (steps % 3).astype("category"))
    assert [table.is_categorical(c) for c in columns] == [True, False, True]
    assert not table.is_categorical(steps.head(20) % 10)  # 2 rows of each


def with_cell(value):
    table = CELLS.astype(object)
    table.loc[3, "Mek"] = value
    return table


def refused(table, params, message):
    with refusal(message):
        model_code.CausalDiscovery().predict(None, table, params)


IDS = [f"id {number}" for number in range(len(CELLS))]
YES_NO = CELLS.assign(Raf=np.where(CELLS["Raf"] > 40, "y", "n"))
BAD_TABLES = {
    "a gap": (with_cell(None), "column 'Mek', row 3: the value is missing"),
    "text among numbers": (with_cell("1.75"), "row 3: '1.75' makes"),
    "infinite": (with_cell(-1e309).astype(float), "row 3: the value is infinite"),
    "few rows": (CELLS.head(12), "12 rows x 11 columns: .* two rows more"),
    "constant": (CELLS.assign(Raf=1.5), "'Raf' is constant"),
    "identifiers": (CELLS.assign(Raf=IDS), "853 categories"),
    "a sum": (CELLS.assign(Jnk=CELLS["Raf"] + CELLS["Mek"]), "determine each other"),
    "equal columns": (CELLS[["Raf"]].assign(again=CELLS["Raf"]), "say the same"),
    "mixed": (YES_NO, "mixed columns"),
    "no table": ("x", "give a table"),
}


@pytest.mark.parametrize("table, message", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(table, message):
    refused(table, {}, message)


def test_bad_params_are_refused():
    refused(CELLS, {"alpha": "0.05"}, "alpha='0.05'")
    refused(CELLS, {"x" * 1000: 0.1}, "xxx=0.1: Extra inputs")
    refused(CELLS, {"test": "gsq"}, "needs categories")
    refused(YES_NO, {"test": "fisherz"}, "'Raf'. are text or booleans")
    refused(CELLS.head(32), {"bootstrap": 9}, "give 33")


RAF_CAUSES_MEK = {"required": [["Raf", "Mek"]]}
CYCLE = [["Raf", "Mek"], ["Mek", "Akt"], ["Akt", "Raf"]]
BAD_KNOWLEDGE = [
    ({"required": [["Raf", "MEK"]]}, "no column 'MEK'"),
    ({"tiers": [["again"]]}, "'again' says the same as 'Jnk'"),
    ({"tiers": [["Raf"], ["Mek", "Raf"]]}, "'Raf' is in two tiers"),
    ({"forbidden": [["Raf", "Raf"]]}, "'Raf' can't cause itself"),
    (RAF_CAUSES_MEK | {"tiers": [["Mek"], ["Raf"]]}, "'Mek' is required, and forbid"),
    ({"required": CYCLE}, "the required edges make the cycle"),
    ({"forbidden": CYCLE}, "with what the data keep it makes the cycle"),
]


@pytest.mark.parametrize("knowledge, message", BAD_KNOWLEDGE)
def test_bad_knowledge_is_refused(knowledge, message):
    random = np.random.default_rng(0).normal(size=(200, 3))
    dependent = random + random.sum(axis=1, keepdims=True)
    table = pd.DataFrame(dependent, columns=["Raf", "Mek", "Akt"])
    table["Jnk"] = table["again"] = np.random.default_rng(1).normal(size=200)
    refused(table, {"knowledge": knowledge}, message)
