"""clv_composite: published values, the closed forms, bad input, lineage and forecast quality."""

import json
import re
from types import SimpleNamespace

from shared import registry
from shared.recipes import ROOT

import lifetimes
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import _parse_json_data
from scipy.integrate import quad
from scipy.stats import lognorm

from recipes.clv_composite import (
    cdnow,
    component,
    customers,
    evaluation,
    fitting,
    model_code,
)
from tests import conftest

HERE = ROOT / "recipes" / "clv_composite"
CUTOFF, PAST = "1997-09-30", ("frequency", "recency", "T")
ROWS = [[2, 30.0, 38.0, 20.0, 35.0, 1, 2], [0, 0, 38.0, 0, 35.0, 1, 1]]
ONE, NEW = (dict(zip(model_code.COLUMNS, row, strict=True)) for row in ROWS)


@pytest.fixture(scope="module")
def sample():
    return customers.customer_table(cdnow.load(sample=True), CUTOFF)


@pytest.fixture(scope="module")
def store(logged):
    """Use the store that the driver logged into; return the model's URI."""
    rows = json.loads((logged / "build/log-all.json").read_text())
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(conftest.store(logged)["MLFLOW_TRACKING_URI"])
    yield next(row["model_uri"] for row in rows if row["recipe"] == "clv_composite")
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def model(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        return mlflow.pyfunc.load_model(store)


def over_rest(model, body):
    """Return what the model server's own parser and the model make of a request body."""
    parsed = _parse_json_data(
        json.dumps(body), model.metadata, model.metadata.get_input_schema()
    )
    return model.predict(parsed.data, params=parsed.params)


def test_textbook_is_that_of_the_papers_and_overflows_for_nobody(sample):
    fitted, measures = fitting.fit_textbook(sample)
    printed = {
        "r": 0.243,
        "alpha": 4.414,
        "a": 0.793,
        "b": 2.426,
        "p": 6.25,
        "q": 3.74,
        "v": 15.44,
    }
    for name, value in printed.items():
        assert fitted[name] == pytest.approx(
            value, abs=0.006 if name in "pqv" else 0.00055
        ), name
    assert measures["log-likelihood"] == pytest.approx(-9582.4, abs=0.06)
    purchases, money = lifetimes.BetaGeoFitter(), lifetimes.GammaGammaFitter()
    purchases.params_ = money.params_ = pd.Series(fitted)
    history = (sample[name] for name in PAST)
    orders = purchases.conditional_expected_number_of_purchases_up_to_time(39, *history)
    mean = money.conditional_expected_average_profit(
        sample["frequency"], sample["monetary_value"]
    )
    got = component.textbook(sample, 39, **fitted)
    np.testing.assert_allclose(got["expected_purchases"], orders, rtol=1e-9)
    np.testing.assert_allclose(got["clv"], orders * mean, rtol=1e-9)
    daily = pd.DataFrame(
        [{"frequency": 5000, "recency": 715, "T": 716, "monetary_value": 9}]
    )
    assert 300 < component.textbook(daily, 52, **fitted)["expected_purchases"][0] < 364
    with pytest.raises(ValueError):  # no return in it: it cannot converge
        fitting.fit_textbook(sample.assign(frequency=0, recency=0, monetary_value=0))


def test_a_textbook_without_a_mean_is_refused(sample, monkeypatch):
    fitted = lifetimes.GammaGammaFitter()
    fitted.params_ = pd.Series(
        {"p": 6.25, "q": 0.9, "v": 15.4}
    )  # a stand-in for such a shop's
    monkeypatch.setattr(lifetimes.GammaGammaFitter, "fit", lambda *_: fitted)
    with pytest.raises(ValueError, match="parameters without a mean: .*'q'"):
        fitting.fit_textbook(sample)


TEXTS = [
    "2026-01-01",
    "2026-01-01 18:00",
    "2026-01-29",
    "2026-04-09",
    "2026-04-16 09:00",
]
DAYS = pd.to_datetime([*TEXTS, "2026-02-05", "2026-05-01"], format="ISO8601")
VALUES = [10.0, 20.0, 8.0, 12.0, 99.0, 5.0, 1.0]  # the first two are one order of 30
HISTORY = pd.DataFrame(
    {"customer_id": [*"aaaaab", "late"], "date": DAYS, "value": VALUES}
)


@pytest.mark.parametrize("zone", [None, "Pacific/Auckland"])
def test_rows_known_answer(zone):
    history = HISTORY.assign(date=HISTORY["date"].dt.tz_localize(zone))
    table = customers.customer_table(history, "2026-04-16")
    assert list(table) == list(model_code.COLUMNS) and table.index.tolist() == [
        "a",
        "b",
    ]
    known = [[3, 15, 15, (8 + 12 + 99) / 3, 30, 2, 3], [0, 0, 10, 0, 5, 0, 1]]
    np.testing.assert_allclose(table, known)
    found = customers.outcomes(history, pd.Index(["a", "b"]), "2026-01-29", weeks=10)
    assert found.values.tolist() == [[1, 12.0, 10.0, True], [1, 5.0, 1.0, True]]
    # a: seen on 29 January, back after 10 weeks, and 1 more order 1 week on
    rows = customers.training_rows(history, "2026-05-07", (28 / 126, 98 / 126))
    names = ["frequency", "orders", "wait", "weeks_left", "rate", "order_value"]
    assert rows.loc[0, names].tolist() == [1, 2, 10, 4, 1 / 4, (12 + 99) / 2]
    assert rows["once"].tolist() == [True, False, True]


def test_nothing_after_the_cutoff_is_seen():
    orders = cdnow.load()
    assert (len(orders), orders["customer_id"].nunique()) == (69_659, 23_570)
    known = orders[orders["date"] <= CUTOFF]
    changed = pd.concat([orders[orders["date"] > CUTOFF].assign(value=1e6), known])
    for make in (customers.customer_table, customers.training_rows):
        pd.testing.assert_frame_equal(
            make(known, CUTOFF), make(changed, CUTOFF), rtol=1e-12
        )


def test_bad_transactions_are_refused():
    for message, change in {
        "'date' holds object; use pd.to_datetime": {
            "date": HISTORY["date"].astype(str)
        },
        "'value' holds object; use pd.to_numeric": {
            "value": HISTORY["value"].astype(str)
        },
        "'value', row 2: .*-8.0": {"value": [10, 20, -8.0, np.nan, 1, 1, 1]},
        "'customer_id', row 1: None is": {"customer_id": ["a", None, *"aaaaa"]},
    }.items():
        with pytest.raises(ValueError, match=message):
            customers.customer_table(HISTORY.assign(**change), "2026-04-16")


def test_features_known_answer():
    """By hand, from the definitions: a changed constant or a lost feature shows here."""
    known = [
        np.log(3),
        1,
        np.log(9),
        np.log(39),
        8 * 3 / 46,
        np.log(2.25 / 42.4),
        np.log(26),
    ]
    got = model_code.features(pd.DataFrame([ONE, NEW, ONE | {"frequency": 210}]))
    np.testing.assert_allclose(got.iloc[0], [*known, np.log(2), np.log(3)])
    assert got["has_repeat"].tolist() == [1, 0, 1] and got["since_per_gap"].max() == 20


@pytest.mark.parametrize("columns", [[*ONE][1:], [*ONE, [*ONE][0]]])
def test_a_column_is_needed_once(columns):
    with pytest.raises(ValueError, match=f"'{[*ONE][0]}' is needed, once: "):
        model_code.checked(pd.DataFrame([ONE])[columns])


@pytest.mark.parametrize(
    "location, sigma", [(1.0, 0.5), (4.5, 2.0), (9.0, 2.5), (-2.0, 1.0)]
)
@pytest.mark.parametrize("horizon", [0.2, 520.0])
def test_closed_form_equals_the_integral(location, sigma, horizon):
    """E[max(H - W, 0)] is the integral of P(W <= t) over t from 0 to H."""
    waits = lognorm(s=sigma, scale=np.exp(location))
    left, _ = quad(waits.cdf, 0, horizon, epsabs=1e-12, epsrel=1e-10, limit=200)
    wait = pd.DataFrame({"median": [np.exp(location)], "sigma": [sigma]})
    back, orders = model_code.expected_orders(wait, np.array([0.3]), horizon)
    assert back[0] == pytest.approx(waits.cdf(horizon))
    assert orders[0] == pytest.approx(waits.cdf(horizon) + 0.3 * left, rel=1e-7)


def test_every_way_to_ask_gives_the_same_answer(model):
    frame = pd.DataFrame([ONE, NEW], index=["x", "y"])
    answer = model.predict(frame)
    assert answer.index.tolist() == ["x", "y"] and (answer["horizon_weeks"] == 39).all()
    for body in (
        {
            "dataframe_split": {
                "columns": list(frame),
                "data": frame.to_numpy().tolist(),
            }
        },
        {"dataframe_records": [ONE, NEW], "params": {"horizon_weeks": 39}},
        {"inputs": frame.to_dict("list")},
    ):
        pd.testing.assert_frame_equal(
            over_rest(model, body).set_axis(["x", "y"]), answer
        )
    for same in (frame.astype(int), frame.astype(object), frame[frame.columns[::-1]]):
        pd.testing.assert_frame_equal(model.predict(same.assign(items=1)), answer)
    assert model.predict(frame.head(0)).shape == (0, 5)


def test_answers_are_the_mean_of_the_two_forecasts(model, sample):
    parts, table = model.unwrap_python_model().parts, sample.head(200)
    x, weeks = model_code.features(table), {"horizon_weeks": 26.0}
    rate, aov = (
        parts[n].predict(x).iloc[:, 0].to_numpy() for n in ("frequency", "aov")
    )
    back, orders = model_code.expected_orders(parts["retention"].predict(x), rate, 26)
    other, answer = (m.predict(table, params=weeks) for m in (parts["textbook"], model))
    mean, clv = (
        (orders + other["expected_purchases"]) / 2,
        (orders * aov + other["clv"]) / 2,
    )
    known = np.column_stack([clv, mean, clv / mean, back, np.full(200, 26)])
    np.testing.assert_allclose(answer, known)


def test_answers_are_finite_and_plausible_at_the_bounds(model):
    past = [(0, 0, 0), (0, 0, 2600), (1, 0.5, 1), (1, 1, 2600), (9100, 1300, 2600)]
    past += [(7, 1, 1), (18200, 2600, 2600), (2, 2600, 2600)]
    rows = [[*p, v * (p[0] > 0), v, 0, 0] for p in past for v in (0, 1e9)]
    frame, before = pd.DataFrame(rows, columns=list(ONE)), 0.0
    for weeks in (1 / 7, 4.0, 52.0, 520.0):
        answer = model.predict(frame, params={"horizon_weeks": weeks}).to_numpy()
        assert np.isfinite(answer).all() and (answer >= 0).all()
        assert (answer[:, 1] <= 7.05 * weeks).all() and before < (
            before := answer[:, 0].sum()
        )
    for weeks in (0, -4, 0.1, 521, 1e308, float("nan"), float("inf"), None):
        with pytest.raises(mlflow.MlflowException, match="horizon_weeks.* 520"):
            model.predict(frame, params={"horizon_weeks": weeks})


BAD = {
    "T: got (nan|None); weeks from the first order .* from 0 to": {"T": None},
    "T: got 'x{79};": {"T": "x" * 10**6},
    "T: got 2601.*; .* to 2600": {"T": 2601},
    "recency: got True": {"recency": True},
    "recency: got 39.*at most T": {"recency": 39},
    "recency: got 0.*more than 0 .*where frequency > 0": {"recency": 0},
    "recency: got 30.*else 0": {"frequency": 0},
    "first_order_value: got 1e.300; .* to 1e.09": {"first_order_value": 1e300},
    "frequency: got '39'": {"frequency": "39"},
    "frequency: got 1.5.*whole": {"frequency": 1.5},
    "frequency: got 212.*; .* 7 a week": {"frequency": 212},
    "monetary_value: got 20": NEW | {"monetary_value": 20},
    "orders_4w: got 0.5": {"orders_4w": 0.5},
    "orders_13w: got 2.*; .*from orders_4w": {"orders_4w": 3},
    "orders_13w: got 4.*; .*frequency . 1": {"orders_13w": 4},
}


@pytest.mark.parametrize("message, bad", BAD.items())
def test_bad_row_is_refused_by_name(model, message, bad):
    column, said = message.split(":", 1)
    frame = pd.DataFrame([ONE, ONE | bad], index=["good", "bad"], dtype=object)
    with pytest.raises(
        mlflow.MlflowException, match=f"'{column}', row 'bad':{said}"
    ) as caught:
        model.predict(frame)
    assert caught.value.get_http_status_code() == 400 and len(str(caught.value)) < 300
    with pytest.raises(mlflow.MlflowException, match=f"'{column}', row 1:{said}"):
        over_rest(model, {"dataframe_records": [ONE, ONE | bad]})


def test_components_are_registered_pinned_and_in_the_lineage(store):
    client = mlflow.MlflowClient()
    run = client.get_run(
        client.get_logged_model(store.removeprefix("models:/")).source_run_id
    )
    parts = [
        client.get_logged_model(entry.model_id) for entry in run.inputs.model_inputs
    ]
    assert {part.name for part in parts} == {
        "retention",
        "frequency",
        "aov",
        "textbook",
    }
    for part in parts:
        versions = client.search_model_versions(f"name = 'clv_{part.name}'")
        assert part.model_uri in {version.source for version in versions}
    found = registry.components(Model.load(store))
    built = {key: (pinned.name, newest.name) for key, pinned, newest in found}
    assert built == {part.name: (f"clv_{part.name}",) * 2 for part in parts}
    runs = [run, *(client.get_run(part.source_run_id) for part in parts)]
    assert len({logged.info.run_name for logged in runs}) == 5
    for logged in runs:
        assert (
            logged.data.metrics and logged.data.params and logged.inputs.dataset_inputs
        )


def test_the_registry_tells_of_a_newer_component(store, monkeypatch, capsys):
    (version,) = (v for v in registry.versions("clv_composite") if v.source == store)
    used = SimpleNamespace(**dict(version) | {"aliases": ["champion"]})
    newer = SimpleNamespace(version="7000")
    found = [(*built[:2], newer) for built in registry.components(Model.load(store))]
    monkeypatch.setattr(registry, "open_store", lambda: True)
    monkeypatch.setattr(registry, "versions", lambda name: [used] * (name == used.name))
    monkeypatch.setattr(registry, "components", lambda model: found)
    assert registry.show() == 0
    said = "built from aov: clv_aov version .*; version 7000 is newer: make rebuild RECIPE=clv_comp"
    assert re.search(said, capsys.readouterr().out)


def test_the_model_answers_from_a_copy_alone_and_holds_no_pickle(
    store, tmp_path, monkeypatch
):
    copy = mlflow.artifacts.download_artifacts(store, dst_path=str(tmp_path))
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".py", ".json", ".yaml", ".txt"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'missing.db'}")
    assert mlflow.pyfunc.load_model(copy).predict(pd.DataFrame([ONE]))["clv"][0] > 0


def test_scores_and_the_quality_on_the_holdout(store):
    actual = pd.Series([0.0, 0.0, 30.0, 10.0])
    assert [*evaluation.scores(actual, actual).values()][1:] == [1, 0, 0]
    assert evaluation.scores(actual, actual * 0 + 5)["total error in percent"] == -50
    assert evaluation.scores(actual, -actual + 31)["Gini"] == -1
    run = mlflow.get_run(
        mlflow.get_logged_model(store.removeprefix("models:/")).source_run_id
    )
    got = run.data.metrics
    assert (
        got["deviance"]
        <= 16.4
        < got["BG/NBD deviance"]
        == pytest.approx(17.94, abs=0.01)
    )
    assert got["Gini"] >= 0.72 > got["BG/NBD Gini"] + 0.04
    assert (
        abs(got["total error in percent"])
        <= 3
        < abs(got["BG/NBD total error in percent"])
    )
    assert got["RMSE"] <= 92 < got["BG/NBD RMSE"] == pytest.approx(92.94, abs=0.01)
