"""clv_composite: published values, the closed form, bad input, lineage and forecast quality."""

import json
import os
import subprocess
import sys
from importlib.resources import files

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import _parse_json_data
from scipy.integrate import quad
from scipy.stats import lognorm

from benchmarks.clv_composite import composite, mae_table
from recipes.clv_composite import (
    baselines,
    cdnow,
    components,
    customers,
    evaluation,
    model_code,
    retention_model,
)
from shared.recipes import ROOT

HERE = ROOT / "recipes" / "clv_composite"
pytestmark = pytest.mark.xdist_group("clv_composite")  # one process: the driver runs once
ONE = {
    "frequency": 2.0, "recency": 30.0, "T": 38.0, "monetary_value": 20.0,
    "first_order_value": 35.0, "items_per_order": 1.5, "orders_4w": 1.0, "orders_13w": 2.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def transactions():
    return cdnow.load()


@pytest.fixture(scope="module")
def sample():
    return cdnow.load(sample=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Run the driver as a person does, into a store of its own; return the model's URI."""
    folder = tmp_path_factory.mktemp("clv")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, HERE / "driver.py"],
        cwd=folder, env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("model "))
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def model(store):
    return mlflow.pyfunc.load_model(store)


# The data and the baselines: what the papers print


def test_master_is_complete(transactions):
    assert len(transactions) == 69_659
    assert transactions["customer_id"].nunique() == 23_570
    assert transactions["value"].sum() == pytest.approx(2_500_315.63)
    assert str(transactions["date"].max().date()) == "1998-06-30"


def test_customer_table_equals_the_published_summary(sample):
    """Fader, Hardie and Lee's own table of the sample: x, t_x and T of 2,357 customers."""
    file = "cdnow_customers_summary_with_transactions.csv"
    published = pd.read_csv(str(files("lifetimes") / "datasets" / file))
    table = customers.customer_table(sample, "1997-09-30").sort_index()
    assert len(table) == len(published) == 2357
    assert table["frequency"].tolist() == published["x"].tolist()
    for ours, theirs in (("recency", "t_x"), ("T", "T"), ("monetary_value", "zbar")):
        np.testing.assert_allclose(table[ours], published[theirs], atol=0.0051)


@pytest.mark.parametrize(
    "kind, printed, correlation",
    [
        ("BG/NBD", {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}, 0.626),
        ("Pareto/NBD", {"r": 0.553, "alpha": 10.578, "s": 0.606, "beta": 11.669}, 0.630),
    ],
)
def test_purchase_models_reproduce_the_papers(sample, kind, printed, correlation):
    table = customers.customer_table(sample, "1997-09-30")
    fitted = baselines.fit_purchases(table, kind)
    assert fitted.params_.to_dict() == pytest.approx(printed, abs=0.00055)
    orders = customers.outcomes(sample, table.index, pd.Timestamp("1997-09-30"), 39)["orders"]
    expected = baselines.predict(table, 39, kind)["expected_purchases"]
    assert np.corrcoef(orders, expected)[0, 1] == pytest.approx(correlation, abs=0.0006)


def test_bgnbd_log_likelihood_is_the_published_one(sample):
    table = customers.customer_table(sample, "1997-09-30")
    fitted = baselines.fit_purchases(table, "BG/NBD")
    history, ones = (table["frequency"], table["recency"], table["T"]), np.ones(len(table))
    mean = fitted._negative_log_likelihood(np.log(fitted.params_.to_numpy()), *history, ones, 0)
    assert -mean * len(table) == pytest.approx(-9582.4, abs=0.06)


def test_gamma_gamma_reproduces_the_note(sample):
    table = customers.customer_table(sample, "1997-09-30")
    assert ((table["frequency"] > 0) & (table["monetary_value"] > 0)).sum() == 946
    fitted = baselines.fit_value(table).params_.to_dict()
    assert fitted == pytest.approx({"p": 6.25, "q": 3.74, "v": 15.44}, abs=0.006)


# Rows out of transactions


def history(*rows):
    return pd.DataFrame(rows, columns=["customer_id", "date", "items", "value"]).assign(
        date=lambda table: pd.to_datetime(table["date"], format="ISO8601")
    )


PURCHASES = history(
    ("a", "2026-01-01", 1, 10.0),
    ("a", "2026-01-01 18:00", 2, 20.0),  # the same day: one order of 3 items and 30
    ("a", "2026-01-29", 1, 8.0),
    ("a", "2026-04-09", 4, 12.0),
    ("a", "2026-04-16 09:00", 1, 99.0),
    ("b", "2026-02-05", 2, 5.0),
    ("late", "2026-05-01", 1, 1.0),
)


def test_customer_table_known_answer():
    table = customers.customer_table(PURCHASES, "2026-04-16")
    assert table.index.tolist() == ["a", "b"]
    a, b = table.to_dict("records")
    assert a == pytest.approx({
        "frequency": 3, "recency": 15, "T": 15, "monetary_value": (8 + 12 + 99) / 3,
        "first_order_value": 30, "items_per_order": 9 / 4, "orders_4w": 2, "orders_13w": 3,
    })  # fmt: skip
    assert b == pytest.approx({
        "frequency": 0, "recency": 0, "T": 10, "monetary_value": 0,
        "first_order_value": 5, "items_per_order": 2, "orders_4w": 0, "orders_13w": 1,
    })  # fmt: skip
    assert list(table.columns) == list(model_code.COLUMNS)


def test_outcomes_known_answer():
    found = customers.outcomes(
        PURCHASES, pd.Index(["a", "b"]), pd.Timestamp("2026-01-29"), weeks=10
    )
    assert found.to_dict("index") == {
        "a": {"orders": 1, "value": 12.0, "wait": 10.0, "returned": True},
        "b": {"orders": 1, "value": 5.0, "wait": 1.0, "returned": True},
    }
    none = customers.outcomes(PURCHASES, pd.Index(["b"]), pd.Timestamp("2026-02-05"), weeks=8)
    assert none.to_dict("records") == [{"orders": 0, "value": 0.0, "wait": 8.0, "returned": False}]


def test_nothing_after_the_cutoff_is_seen(transactions):
    known = transactions[transactions["date"] <= "1997-09-30"]
    later = transactions[transactions["date"] > "1997-09-30"].assign(value=1e6, items=1000)
    changed = pd.concat([later, known])
    for make in (
        lambda t: customers.customer_table(t, "1997-09-30"),
        lambda t: customers.training_rows(t, "1997-09-30", (0.5, 0.9)),
    ):
        pd.testing.assert_frame_equal(make(known), make(changed), check_exact=False, rtol=1e-12)


def test_training_rows_use_each_customer_once_for_retention(transactions):
    rows = customers.training_rows(transactions, "1997-09-30", (0.5, 0.7, 0.9))
    assert len(rows) == 3 * 23_570 and rows["once"].sum() == 23_570
    at = np.arange(len(rows)) // 23_570
    assert rows.groupby(at)["once"].mean().between(0.33, 0.34).all()


def test_training_targets_known_answer():
    """Of a: seen on 29 January, back after 10 weeks, and 1 more order 1 week on."""
    rows = customers.training_rows(PURCHASES, "2026-05-07", (28 / 126, 98 / 126))
    a = rows.iloc[0]
    assert (a["frequency"], a["orders"], a["wait"], a["weeks_left"]) == (1, 2, 10, 4)
    assert (a["rate"], a["order_value"]) == (1 / 4, (12 + 99) / 2)
    assert rows["once"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="items"), r"lack the columns \['items'\]"),
        (lambda t: t.assign(date=t["date"].astype(str)), "'date' holds no dates"),
        (lambda t: t.assign(value=t["value"].where(t.index != 3)), "'value', row 3: nan is"),
        (lambda t: t.assign(value=t["value"].where(t.index != 2, -4)), "'value', row 2: -4.0 is"),
        (lambda t: t.assign(customer_id=t["customer_id"].where(t.index != 1)), "row 1: nan is"),
    ],
)
def test_bad_transactions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        customers.customer_table(change(PURCHASES), "2026-04-16")


# The maths


def test_features_known_answer():
    """By hand, from the definitions: a changed constant or a lost feature shows here."""
    got = model_code.features(pd.DataFrame([ONE, ONE | {"frequency": 0.0, "recency": 0.0}]))
    expected = {
        "log_repeats": np.log(3), "has_repeat": 1.0, "log_since": np.log(9), "log_age": np.log(39),
        "since_per_gap": 8 / (46 / 3), "log_rate": np.log(2.25 / 42.4),
        "log_order_value": np.log(1 + 75 / 3), "log_items": np.log(2.5),
        "log_orders_4w": np.log(2), "log_orders_13w": np.log(3),
    }  # fmt: skip
    assert got.iloc[0].to_dict() == pytest.approx(expected)
    assert got.iloc[1][["has_repeat", "log_repeats", "log_order_value"]].tolist() == (
        pytest.approx([0, 0, np.log(36)])
    )


@pytest.mark.parametrize("location, scale", [(1.0, 0.5), (4.5, 2.0), (9.0, 2.5), (-2.0, 1.0)])
@pytest.mark.parametrize("horizon", [0.1, 4.0, 39.0, 520.0])
def test_closed_form_equals_the_integral(location, scale, horizon):
    """E[max(H - W, 0)] is the integral of P(W <= t) over t from 0 to H."""
    waits = lognorm(s=scale, scale=np.exp(location))
    weeks_left, _ = quad(waits.cdf, 0, horizon, epsabs=1e-12, epsrel=1e-10, limit=200)
    timing = pd.DataFrame({"location": [location], "scale": [scale]})
    row = model_code.compose(timing, np.array([0.3]), np.array([25.0]), horizon).iloc[0]
    purchases = waits.cdf(horizon) + 0.3 * weeks_left
    assert row["p_return"] == pytest.approx(waits.cdf(horizon))
    assert row["expected_purchases"] == pytest.approx(purchases, rel=1e-7)
    assert row["clv"] == pytest.approx(25 * purchases, rel=1e-7)
    assert (row["aov"], row["horizon_weeks"]) == (25, horizon)


def test_retention_model_uses_its_coefficients():
    retention = retention_model.Retention()
    retention.intercept, retention.scale = 4.0, 1.9
    retention.coefficients = pd.Series({"b": 2.0, "a": -1.0})
    x = pd.DataFrame({"a": [1.0, 2.0], "unused": [9.0, 9.0], "b": [0.5, 0.0]}, index=["p", "q"])
    answer = retention.predict(None, x)
    assert answer.to_dict("index") == {
        "p": {"location": 4.0, "scale": 1.9}, "q": {"location": 2.0, "scale": 1.9},
    }  # fmt: skip


def test_retention_fit_finds_the_truth():
    """Log-normal waits with known coefficients, half of them censored."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(20_000, 2)), columns=["a", "b"])
    wait = np.exp(3 + 0.5 * x["a"] - 0.8 * x["b"] + 1.2 * rng.normal(size=len(x)))
    rows = pd.DataFrame({"wait": wait.clip(upper=20), "returned": wait < 20})
    fitted, _ = components.fit_retention(x, rows)
    assert fitted["intercept"] == pytest.approx(3, abs=0.05)
    assert fitted["scale"] == pytest.approx(1.2, abs=0.05)
    assert fitted["coefficients"] == pytest.approx({"a": 0.5, "b": -0.8}, abs=0.05)


def test_scores_known_answers():
    actual = pd.Series([0.0, 0.0, 30.0, 10.0])
    perfect = evaluation.scores(actual, actual)
    assert (perfect["gini"], perfect["rmse"], perfect["total_error_pct"]) == (1, 0, 0)
    flat = evaluation.scores(actual, pd.Series([5.0, 5.0, 5.0, 5.0]))
    assert flat["total_error_pct"] == -50
    assert (flat["mae"], flat["mae_matched"]) == (10, 10)
    assert evaluation.scores(actual, -actual + 31)["gini"] == -1


# The logged model


def test_known_answer_over_rest(model):
    body = (HERE / "request.json").read_text(encoding="utf-8")
    expected = json.loads((HERE / "response.json").read_text(encoding="utf-8"))
    answer = over_rest(model, body)
    for name, tolerance in expected["tolerance"].items():
        known = [row[name] for row in expected["predictions"]]
        np.testing.assert_allclose(answer[name], known, rtol=tolerance)


def over_rest(model, body):
    """Return what the model server's own parser and the model make of a request body."""
    parsed = _parse_json_data(body, model.metadata, model.metadata.get_input_schema())
    return model.predict(parsed.data, params=parsed.params)


def test_every_way_to_ask_gives_the_same_answer(model):
    rows = [ONE, ONE | {"frequency": 0, "recency": 0, "monetary_value": 0, "orders_13w": 1}]
    frame = pd.DataFrame(rows)
    answer = model.predict(frame)
    split = {"columns": list(frame), "data": frame.to_numpy().tolist()}
    for body in (
        {"dataframe_split": split},
        {"dataframe_records": rows},
        {"inputs": frame.to_dict("list")},
        {"dataframe_records": rows, "params": {"horizon_weeks": 39}},
    ):
        pd.testing.assert_frame_equal(over_rest(model, json.dumps(body)), answer)
    counts = ("frequency", "orders_4w", "orders_13w")
    whole = frame.assign(**{name: frame[name].astype(int) for name in counts})
    pd.testing.assert_frame_equal(model.predict(whole), answer)
    assert list(answer) == ["clv", "expected_purchases", "aov", "p_return", "horizon_weeks"]


def test_predict_equals_the_plain_functions(model, transactions):
    table = customers.customer_table(transactions, "1997-09-30").head(200)
    parts = model.unwrap_python_model().parts
    x = model_code.features(table)
    timing, rate, aov = (parts[name].predict(x) for name in ("retention", "frequency", "aov"))
    expected = model_code.compose(timing, rate, aov, 26.0)
    answer = model.predict(table, params={"horizon_weeks": 26})
    pd.testing.assert_frame_equal(answer, expected)
    assert (answer["horizon_weeks"] == 26).all()


def test_index_is_kept_and_no_rows_give_no_rows(model):
    answer = model.predict(pd.DataFrame([ONE, ONE], index=["x", "y"]))
    assert answer.index.tolist() == ["x", "y"]
    empty = model.predict(pd.DataFrame([ONE]).head(0))
    assert empty.shape == (0, 5) and (empty.dtypes == "float64").all()


def test_a_longer_horizon_is_worth_more(model):
    values = [
        model.predict(pd.DataFrame([ONE]), params={"horizon_weeks": weeks})["clv"][0]
        for weeks in (0.01, 1, 13, 39, 52, 260)
    ]
    assert np.all(np.diff(values) > 0) and 0 <= values[0] < 0.5


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"T": float("nan")}, "'T', row 'bad': got nan; weeks from the first order .* >= 0"),
        ({"T": None}, "'T', row 'bad': got nan"),
        ({"frequency": "2"}, "'frequency', row 'bad': '2' is not a number"),
        ({"T": float("inf")}, "'T', row 'bad': got inf"),
        ({"frequency": True}, "'frequency', row 'bad': True is not a number"),
        ({"frequency": -1}, "'frequency', row 'bad': got -1"),
        ({"frequency": 1.5}, "'frequency', row 'bad': got 1.5.*whole"),
        ({"recency": 39}, "'recency', row 'bad': got 39.*at most T"),
        ({"recency": 0}, "'recency', row 'bad': got 0.*more than 0 .*where frequency > 0"),
        ({"frequency": 0, "orders_13w": 1}, "'recency', row 'bad': got 30.*else 0"),
        ({"frequency": 0, "recency": 0, "orders_13w": 1}, "'monetary_value', row 'bad': got 20"),
        ({"orders_4w": 0.5}, "'orders_4w', row 'bad': got 0.5"),
        ({"orders_4w": 3}, "'orders_13w', row 'bad': got 2; .*from orders_4w"),
        ({"orders_13w": 4}, "'orders_13w', row 'bad': got 4; .*frequency \\+ 1"),
        ({"first_order_value": -0.01}, "'first_order_value', row 'bad': got -0.01"),
    ],
)
def test_bad_row_is_refused_by_name(model, bad, message):
    frame = pd.DataFrame([ONE, ONE | bad], index=["good", "bad"], dtype=object)
    with pytest.raises(ValueError, match=message):
        model_code.checked(frame)
    with pytest.raises(mlflow.MlflowException, match=message) as caught:
        model.predict(frame)
    assert caught.value.get_http_status_code() == 400


def test_bad_request_is_refused(model):
    for bad in ("long", [39.0]):  # in a `double` column: MLflow's own check
        with pytest.raises(mlflow.MlflowException, match="enforce schema"):
            model.predict(pd.DataFrame([ONE, ONE | {"T": bad}]))
    with pytest.raises(mlflow.MlflowException, match="items_per_order"):
        model.predict(pd.DataFrame([ONE]).drop(columns="items_per_order"))
    for weeks in (0, -4, float("nan"), float("inf")):
        with pytest.raises(mlflow.MlflowException, match="'horizon_weeks'.*weeks > 0"):
            model.predict(pd.DataFrame([ONE]), params={"horizon_weeks": weeks})
    for bad, message in (
        ({"orders_4w": True}, "'orders_4w', row 1: True is not a number"),
        ({"frequency": "2"}, "'frequency', row 1: '2' is not a number"),
        ({"frequency": 1.5}, "'frequency', row 1: got 1.5.*whole"),
        ({"T": None}, "'T', row 1: got nan"),
    ):
        with pytest.raises(mlflow.MlflowException, match=message):
            over_rest(model, json.dumps({"dataframe_records": [ONE, ONE | bad]}))


def test_components_are_registered_pinned_and_in_the_lineage(store):
    client = mlflow.MlflowClient()
    composite = client.get_logged_model(store.removeprefix("models:/"))
    run = client.get_run(composite.source_run_id)
    used = {entry.model_id for entry in run.inputs.model_inputs}
    names = ("clv_retention", "clv_frequency", "clv_aov")
    versions = [client.get_model_version(name, "1") for name in names]
    assert {f"models:/{model}" for model in used} == {version.source for version in versions}
    assert len(used) == 3
    assert len({version.run_id for version in versions} | {run.info.run_id}) == 4
    for version in versions:
        assert client.get_run(version.run_id).data.metrics


def test_the_model_stands_alone_and_holds_no_pickle(store, tmp_path, monkeypatch):
    """It answers from a copy of its files when the components and the store are gone."""
    copy = mlflow.artifacts.download_artifacts(store, dst_path=str(tmp_path))
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".py", ".json", ".yaml", ".txt", ".skops"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'missing.db'}")
    answer = mlflow.pyfunc.load_model(copy).predict(pd.DataFrame([ONE]))
    assert answer["clv"][0] > 0
    pins = {path.read_text() for path in tmp_path.rglob("requirements.txt")}
    assert len(pins) == 1, "one list for the composite and its components"


# How good the forecasts are


def test_quality_at_a_second_cutoff(transactions):
    """Half a year of history, 13 weeks ahead: the settings are not made for one split."""
    ours = composite(transactions, "1997-06-30", 13)
    table = customers.customer_table(transactions, "1997-06-30")
    spent = customers.outcomes(transactions, table.index, pd.Timestamp("1997-06-30"), 13)["value"]
    scores = evaluation.scores(spent, ours["clv"])
    textbook = evaluation.scores(spent, baselines.predict(table, 13)["clv"])
    assert scores["deviance"] <= 12.8 < textbook["deviance"] - 0.4
    assert scores["gini"] >= 0.665 > textbook["gini"] + 0.04
    assert abs(scores["total_error_pct"]) <= 8 and scores["rmse"] <= 43


def test_no_calibration_of_its_ranking_reaches_the_best_mae(transactions):
    """Even a curve fitted on the holdout stays above 33.9 unless the deviance gives way."""
    *_, strict, loose = mae_table(transactions)
    assert strict["deviance"] <= 16.51 and 34.2 < strict["mae_matched"] < 34.5
    assert loose["deviance"] > 17 and loose["mae_matched"] < 33.9


def test_quality_on_the_holdout(store):
    run = mlflow.get_run(mlflow.get_logged_model(store.removeprefix("models:/")).source_run_id)
    scores = run.data.metrics
    assert scores["deviance"] <= 16.5 < scores["bgnbd_deviance"]
    assert scores["gini"] >= 0.715 > scores["bgnbd_gini"]
    assert abs(scores["total_error_pct"]) <= 8 < abs(scores["bgnbd_total_error_pct"])
    assert scores["rmse"] <= 92.87 < scores["bgnbd_rmse"]
    assert scores["bgnbd_rmse"] == pytest.approx(92.94, abs=0.01)
