"""clv_composite: published values, the closed forms, bad input, lineage and forecast quality."""

import json
import os
import subprocess
import sys
from importlib.resources import files

import lifetimes
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import _parse_json_data
from scipy.integrate import quad
from scipy.stats import lognorm

from recipes.clv_composite import cdnow, component, customers, evaluation, fitting, model_code
from shared.recipes import ROOT

HERE = ROOT / "recipes" / "clv_composite"
pytestmark = pytest.mark.xdist_group("clv_composite")  # one process: the driver runs once
CUTOFF = "1997-09-30"
ONE = {
    "frequency": 2, "recency": 30.0, "T": 38.0, "monetary_value": 20.0,
    "first_order_value": 35.0, "orders_4w": 1, "orders_13w": 2,
}  # fmt: skip
NEW = ONE | {"frequency": 0, "recency": 0, "monetary_value": 0, "orders_13w": 1}


@pytest.fixture(scope="module")
def transactions():
    return cdnow.load()


@pytest.fixture(scope="module")
def sample():
    return customers.customer_table(cdnow.load(sample=True), CUTOFF)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Run the driver as a person does, into a store of its own; return the model's URI."""
    folder = tmp_path_factory.mktemp("clv")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    more = {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, HERE / "driver.py"],
        cwd=folder, env=os.environ | more, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("model "))
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def model(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        return mlflow.pyfunc.load_model(store)


def over_rest(model, body):
    """Return what the model server's own parser and the model make of a request body."""
    parsed = _parse_json_data(body, model.metadata, model.metadata.get_input_schema())
    return model.predict(parsed.data, params=parsed.params)


def test_data_are_the_published_ones(transactions, sample):
    """All of CDNOW, and Fader, Hardie and Lee's own table of the sample: x, t_x and T."""
    assert (len(transactions), transactions["customer_id"].nunique()) == (69_659, 23_570)
    assert transactions["value"].sum() == pytest.approx(2_500_315.63)
    file = "cdnow_customers_summary_with_transactions.csv"
    published = pd.read_csv(str(files("lifetimes") / "datasets" / file))
    table = sample.sort_index()
    assert table["frequency"].tolist() == published["x"].tolist() and len(table) == 2357
    for ours, theirs in (("recency", "t_x"), ("T", "T"), ("monetary_value", "zbar")):
        np.testing.assert_allclose(table[ours], published[theirs], atol=0.0051)


def test_textbook_is_that_of_the_papers_and_overflows_for_nobody(sample):
    fitted, measures = fitting.fit_textbook(sample)
    printed = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
    assert {name: fitted[name] for name in printed} == pytest.approx(printed, abs=0.00055)
    assert measures["log-likelihood"] == pytest.approx(-9582.4, abs=0.06)
    value = {"p": 6.25, "q": 3.74, "v": 15.44}
    assert {name: fitted[name] for name in value} == pytest.approx(value, abs=0.006)

    theirs, money = lifetimes.BetaGeoFitter(), lifetimes.GammaGammaFitter()
    theirs.params_ = money.params_ = pd.Series(fitted)
    got = component.textbook(sample, 39, **fitted)
    history = (sample[name] for name in ("frequency", "recency", "T"))
    orders = theirs.conditional_expected_number_of_purchases_up_to_time(39, *history)
    np.testing.assert_allclose(got["expected_purchases"], orders, rtol=1e-9)
    mean = money.conditional_expected_average_profit(sample["frequency"], sample["monetary_value"])
    np.testing.assert_allclose(got["clv"], orders * mean, rtol=1e-9)
    daily = pd.DataFrame([{"frequency": 5000, "recency": 715, "T": 716, "monetary_value": 9}])
    expected = component.textbook(daily, 52, **fitted)["expected_purchases"][0]
    assert 300 < expected < 364  # lifetimes answers nan


def test_a_textbook_that_does_not_converge_is_a_value_error(sample):
    with pytest.raises(ValueError):
        fitting.fit_textbook(sample.assign(frequency=0, recency=0, monetary_value=0))


HISTORY = pd.DataFrame(
    [
        ("a", "2026-01-01", 10.0), ("a", "2026-01-01 18:00", 20.0),  # one day: one order of 30
        ("a", "2026-01-29", 8.0), ("a", "2026-04-09", 12.0), ("a", "2026-04-16 09:00", 99.0),
        ("b", "2026-02-05", 5.0), ("late", "2026-05-01", 1.0),
    ],
    columns=["customer_id", "date", "value"],
).assign(date=lambda table: pd.to_datetime(table["date"], format="ISO8601"))  # fmt: skip


@pytest.mark.parametrize("zone", [None, "Pacific/Auckland"])
def test_rows_known_answer(zone):
    history = HISTORY.assign(date=HISTORY["date"].dt.tz_localize(zone))
    table = customers.customer_table(history, "2026-04-16")
    assert list(table) == list(model_code.COLUMNS) and table.index.tolist() == ["a", "b"]
    assert table.to_numpy() == pytest.approx(
        np.array([[3, 15, 15, (8 + 12 + 99) / 3, 30, 2, 3], [0, 0, 10, 0, 5, 0, 1]])
    )
    found = customers.outcomes(history, pd.Index(["a", "b"]), "2026-01-29", weeks=10)
    assert found.to_dict("index") == {
        "a": {"orders": 1, "value": 12.0, "wait": 10.0, "returned": True},
        "b": {"orders": 1, "value": 5.0, "wait": 1.0, "returned": True},
    }
    # a: seen on 29 January, back after 10 weeks, and 1 more order 1 week on
    rows = customers.training_rows(history, "2026-05-07", (28 / 126, 98 / 126))
    a = rows.iloc[0]
    assert (a["frequency"], a["orders"], a["wait"], a["weeks_left"]) == (1, 2, 10, 4)
    assert (a["rate"], a["order_value"]) == (1 / 4, (12 + 99) / 2)
    assert rows["once"].tolist() == [True, False, True]


def test_nothing_after_the_cutoff_is_seen(transactions):
    known = transactions[transactions["date"] <= CUTOFF]
    changed = pd.concat([transactions[transactions["date"] > CUTOFF].assign(value=1e6), known])
    for make in (
        lambda t: customers.customer_table(t, CUTOFF),
        lambda t: customers.training_rows(t, CUTOFF, (0.5, 0.9)),
    ):
        pd.testing.assert_frame_equal(make(known), make(changed), check_exact=False, rtol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"date": HISTORY["date"].astype(str)}, "'date' holds object; use pd.to_datetime"),
        ({"value": HISTORY["value"].astype(str)}, "'value' holds object; use pd.to_numeric"),
        ({"value": HISTORY["value"].where(HISTORY.index != 3)}, "'value', row 3: .*nan.* is"),
        ({"value": HISTORY["value"].where(HISTORY.index != 2, -4)}, r"'value', row 2: .*-4.0.* is"),
        ({"customer_id": HISTORY["customer_id"].where(HISTORY.index != 1)}, "row 1: nan is"),
    ],
)
def test_bad_transactions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        customers.customer_table(HISTORY.assign(**change), "2026-04-16")


def test_features_known_answer():
    """By hand, from the definitions: a changed constant or a lost feature shows here."""
    expected = {
        "log_repeats": np.log(3), "has_repeat": 1.0, "log_since": np.log(9), "log_age": np.log(39),
        "since_per_gap": 8 * 3 / 46, "log_rate": np.log(2.25 / 42.4),
        "log_order_value": np.log(1 + 75 / 3), "log_orders_4w": np.log(2),
        "log_orders_13w": np.log(3),
    }  # fmt: skip
    got = model_code.features(pd.DataFrame([ONE, NEW]))
    assert got.iloc[0].to_dict() == pytest.approx(expected)
    assert got.iloc[1]["has_repeat"] == 0


@pytest.mark.parametrize("location, sigma", [(1.0, 0.5), (4.5, 2.0), (9.0, 2.5), (-2.0, 1.0)])
@pytest.mark.parametrize("horizon", [0.2, 39.0, 520.0])
def test_closed_form_equals_the_integral(location, sigma, horizon):
    """E[max(H - W, 0)] is the integral of P(W <= t) over t from 0 to H."""
    waits = lognorm(s=sigma, scale=np.exp(location))
    left, _ = quad(waits.cdf, 0, horizon, epsabs=1e-12, epsrel=1e-10, limit=200)
    wait = pd.DataFrame({"median": [np.exp(location)], "sigma": [sigma]})
    back, orders = model_code.expected_orders(wait, np.array([0.3]), horizon)
    assert back[0] == pytest.approx(waits.cdf(horizon))
    assert orders[0] == pytest.approx(waits.cdf(horizon) + 0.3 * left, rel=1e-7)


def test_retention_fit_finds_the_truth():
    """Log-normal waits with known coefficients, half of them censored."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(20_000, 2)), columns=["a", "b"])
    wait = np.exp(3 + 0.5 * x["a"] - 0.8 * x["b"] + 1.2 * rng.normal(size=len(x)))
    rows = pd.DataFrame({"wait": wait.clip(upper=20), "returned": wait < 20})
    fitted, _ = fitting.fit_retention(x, rows)
    assert fitted["intercept"] == pytest.approx(3, abs=0.05)
    assert fitted["constants"]["sigma"] == pytest.approx(1.2, abs=0.05)
    assert fitted["coefficients"] == pytest.approx({"a": 0.5, "b": -0.8}, abs=0.05)


def test_scores_known_answers():
    actual = pd.Series([0.0, 0.0, 30.0, 10.0])
    perfect, flat = (evaluation.scores(actual, p) for p in (actual, actual * 0 + 5))
    assert [perfect[k] for k in ("Gini", "RMSE", "total error in percent")] == [1, 0, 0]
    assert flat["total error in percent"] == -50
    assert evaluation.scores(actual, -actual + 31)["Gini"] == -1


def test_every_way_to_ask_gives_the_same_answer(model):
    rows = [ONE, NEW]
    frame = pd.DataFrame(rows, index=["x", "y"])
    answer = model.predict(frame)
    assert answer.index.tolist() == ["x", "y"] and (answer["horizon_weeks"] == 39).all()
    split = {"columns": list(frame), "data": frame.to_numpy().tolist()}
    for body in (
        {"dataframe_split": split},
        {"dataframe_records": rows, "params": {"horizon_weeks": 39}},
        {"inputs": frame.to_dict("list")},
    ):
        got = over_rest(model, json.dumps(body)).set_axis(["x", "y"])
        pd.testing.assert_frame_equal(got, answer)
    for same in (frame.astype(float), frame.astype(object), frame[frame.columns[::-1]]):
        pd.testing.assert_frame_equal(model.predict(same), answer)
    whole = frame.astype(int)  # as `items` is no column, it may be among them
    assert (model.predict(whole.assign(items=1)) == answer).all(axis=None)
    assert model.predict(frame.head(0)).shape == (0, 5)


def test_answers_are_the_mean_of_the_two_forecasts(model, transactions):
    table = customers.customer_table(transactions, CUTOFF).head(200)
    parts = model.unwrap_python_model().parts
    x, weeks = model_code.features(table), {"horizon_weeks": 26.0}
    rate, aov = (parts[n].predict(x).iloc[:, 0].to_numpy() for n in ("frequency", "aov"))
    back, orders = model_code.expected_orders(parts["retention"].predict(x), rate, 26)
    other = parts["textbook"].predict(table, params=weeks)
    answer = model.predict(table, params=weeks)
    np.testing.assert_allclose(answer["p_return"], back)
    mean = (orders + other["expected_purchases"]) / 2
    np.testing.assert_allclose(answer["expected_purchases"], mean)
    np.testing.assert_allclose(answer["clv"], (orders * aov + other["clv"]) / 2)
    np.testing.assert_allclose(answer["aov"], answer["clv"] / mean)


def test_answers_are_finite_and_plausible_at_the_bounds(model):
    rows = [
        ONE | {"frequency": n, "recency": recency, "T": age, "first_order_value": value,
               "monetary_value": value * (n > 0), "orders_4w": 0, "orders_13w": 0}
        for age in (0, 1, 2600) for recency in (0, age / 2, age) for value in (0, 1e9)
        for n in ({0} if not recency else {1, int(7 * recency)})
    ]  # fmt: skip
    before = 0.0
    for weeks in (1 / 7, 4.0, 52.0, 520.0):
        answer = model.predict(pd.DataFrame(rows), params={"horizon_weeks": weeks})
        assert np.isfinite(answer).all(axis=None) and (answer >= 0).all(axis=None)
        assert (answer["expected_purchases"] <= 7.05 * weeks).all()
        assert before < answer["clv"].sum() < np.inf
        before = answer["clv"].sum()


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"T": float("nan")}, "'T', row 'bad': got nan; weeks from the first order .* from 0 to"),
        ({"T": None}, "'T', row 'bad': got (nan|None)"),
        ({"frequency": "39"}, "'frequency', row 'bad': got '39'"),
        ({"T": [38.0]}, "'T', row 'bad': got .38.0.;"),
        ({"T": "x" * 10**6}, "'T', row 'bad': got 'x{79};"),
        ({"T": 2601}, "'T', row 'bad': got 2601.0; .* to 2600"),
        ({"recency": True}, "'recency', row 'bad': got True"),
        ({"first_order_value": 1e300}, "'first_order_value', row 'bad': got 1e.300; .* to 1e.09"),
        ({"frequency": -1}, "'frequency', row 'bad': got -1"),
        ({"frequency": 1.5}, "'frequency', row 'bad': got 1.5.*whole"),
        ({"frequency": 212}, "'frequency', row 'bad': got 212; .* 7 a week"),
        ({"recency": 39}, "'recency', row 'bad': got 39.*at most T"),
        ({"recency": 0}, "'recency', row 'bad': got 0.*more than 0 .*where frequency > 0"),
        ({"frequency": 0}, "'recency', row 'bad': got 30.*else 0"),
        (NEW | {"monetary_value": 20}, "'monetary_value', row 'bad': got 20"),
        ({"orders_4w": 0.5}, "'orders_4w', row 'bad': got 0.5"),
        ({"orders_4w": 3}, "'orders_13w', row 'bad': got 2; .*from orders_4w"),
        ({"orders_13w": 4}, "'orders_13w', row 'bad': got 4; .*frequency \\+ 1"),
    ],
)
def test_bad_row_is_refused_by_name(model, bad, message):
    frame = pd.DataFrame([ONE, ONE | bad], index=["good", "bad"], dtype=object)
    with pytest.raises(mlflow.MlflowException, match=message) as caught:
        model.predict(frame)
    assert caught.value.get_http_status_code() == 400 and len(str(caught.value)) < 300
    with pytest.raises(mlflow.MlflowException, match=message.replace("'bad'", "1")[:16]):
        over_rest(model, json.dumps({"dataframe_records": [ONE, ONE | bad]}))


@pytest.mark.parametrize("weeks", [0, -4, 0.1, 521, 1e308, float("nan"), float("inf")])
def test_bad_horizon_is_refused(model, weeks):
    with pytest.raises(mlflow.MlflowException, match="'?horizon_weeks.* 520"):
        model.predict(pd.DataFrame([ONE]), params={"horizon_weeks": weeks})


def test_components_are_registered_pinned_and_in_the_lineage(store):
    client = mlflow.MlflowClient()
    composite = client.get_logged_model(store.removeprefix("models:/"))
    run = client.get_run(composite.source_run_id)
    names = ("clv_retention", "clv_frequency", "clv_aov", "clv_textbook")
    parts = [client.get_model_version(name, "1") for name in names]
    used = {f"models:/{entry.model_id}" for entry in run.inputs.model_inputs}
    assert used == {part.source for part in parts} and len(used) == 4
    for logged in [run, *(client.get_run(part.run_id) for part in parts)]:
        assert logged.data.metrics and logged.data.params and logged.inputs.dataset_inputs
    assert len({client.get_run(part.run_id).info.run_name for part in parts}) == 4


def test_the_model_stands_alone_and_holds_no_pickle(store, tmp_path, monkeypatch):
    """It answers from a copy of its files when the components and the store are gone."""
    copy = mlflow.artifacts.download_artifacts(store, dst_path=str(tmp_path))
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".py", ".json", ".yaml", ".txt"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'missing.db'}")
    assert mlflow.pyfunc.load_model(copy).predict(pd.DataFrame([ONE]))["clv"][0] > 0


def test_quality_on_the_holdout(store):
    run = mlflow.get_run(mlflow.get_logged_model(store.removeprefix("models:/")).source_run_id)
    got = run.data.metrics
    assert got["deviance"] <= 16.4 < got["BG/NBD deviance"] == pytest.approx(17.94, abs=0.01)
    assert got["Gini"] >= 0.72 > got["BG/NBD Gini"] + 0.04
    assert abs(got["total error in percent"]) <= 3 < abs(got["BG/NBD total error in percent"])
    assert got["RMSE"] <= 92 < got["BG/NBD RMSE"] == pytest.approx(92.94, abs=0.01)
