"""clv_composite: published values, closed forms, bad input, lineage."""

import re

from shared import registry

import lifetimes
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model
from scipy.integrate import quad
from scipy.stats import lognorm

from recipes.clv_composite import (
    cdnow,
    checks,
    component,
    customers,
    evaluation,
    fitting,
    model_code,
)
from tests import conftest

CUTOFF = pd.Timestamp("1997-09-30")
ROWS = [[2, 30.0, 38.0, 20.0, 35.0, 0, 2], [0, 0, 38.0, 0, 35.0, 0, 0]]
ONE, NEW = (dict(zip(model_code.COLUMNS, row, strict=True)) for row in ROWS)


@pytest.fixture(scope="module")
def sample():
    return customers.customer_table(cdnow.load_sample(), CUTOFF)


@pytest.fixture(scope="module")
def model_uri(logged):
    """Use the store that the driver logged into; return the model's URI."""
    mlflow.set_tracking_uri(conftest.store_uri(logged))
    yield conftest.model_uri(logged, "clv_composite")
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def model(model_uri):
    return mlflow.pyfunc.load_model(model_uri)


# The textbook model.

PUBLISHED = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
PUBLISHED |= {"p": 6.25, "q": 3.74, "v": 15.44}


def test_textbook_is_that_of_the_papers(sample):
    _, fitted, measures = fitting.fit_textbook(sample)
    for name, value in PUBLISHED.items():
        digits = 0.006 if name in "pqv" else 0.00055
        assert fitted[name] == pytest.approx(value, abs=digits), name
    assert measures["log-likelihood"] == pytest.approx(-9582.4, abs=0.06)
    purchases, money = lifetimes.BetaGeoFitter(), lifetimes.GammaGammaFitter()
    purchases.params_ = money.params_ = pd.Series(fitted)
    history = (sample[name] for name in ("frequency", "recency", "T"))
    orders = purchases.conditional_expected_number_of_purchases_up_to_time(39, *history)
    mean = money.conditional_expected_average_profit(
        sample["frequency"], sample["monetary_value"]
    )
    forecast = component.textbook(sample, 39, **fitted)
    np.testing.assert_allclose(forecast["expected_purchases"], orders, rtol=1e-9)
    np.testing.assert_allclose(forecast["clv"], orders * mean, rtol=1e-9)


class Fitter:
    """A stand-in for a fitter that converges only where every parameter is -1."""

    def fit(self, *data, initial_params):
        print("the optimiser's state")
        if (initial_params == -1).all():
            return self
        raise RuntimeError("\n  The model did not\n  converge.\n")


def test_a_fit_is_started_elsewhere_before_it_is_given_up(monkeypatch, capsys):
    fitter = Fitter()
    assert fitting.fit_from_starts(fitter, 4) is fitter
    monkeypatch.setattr(fitting, "STARTS", fitting.STARTS[:3])
    message = "Fitter failed from 3 starts: RuntimeError: The model did not converge."
    with pytest.raises(ValueError, match=message):
        fitting.fit_from_starts(fitter, 4)
    assert capsys.readouterr().out == ""


# From orders to rows.

TEXTS = ["2026-01-01", "2026-01-01 18:00", "2026-01-29", "2026-04-09"]
TEXTS += ["2026-04-16 09:00", "2026-02-05", "2026-05-01"]
VALUES = [10.0, 20.0, 8.0, 12.0, 99.0, 5.0, 1.0]  # the first two are one order of 30
HISTORY = pd.DataFrame(
    {
        "customer_id": [*"aaaaab", "late"],
        "date": pd.to_datetime(TEXTS, format="ISO8601"),
        "value": VALUES,
    }
)


@pytest.mark.parametrize("zone", [None, "Pacific/Auckland"])
def test_rows_known_answer(zone, monkeypatch):
    history = HISTORY.assign(date=HISTORY["date"].dt.tz_localize(zone))
    table = customers.customer_table(history, pd.Timestamp("2026-04-16"))
    assert list(table) == list(model_code.COLUMNS)
    assert table.index.tolist() == ["a", "b"]
    by_hand = [[3, 15, 15, (8 + 12 + 99) / 3, 30, 2, 3], [0, 0, 10, 0, 5, 0, 1]]
    np.testing.assert_allclose(table, by_hand)
    day = pd.Timestamp("2026-01-29")
    later = customers.outcomes(history, pd.Index(["a", "b"]), day, weeks=10)
    assert later.values.tolist() == [[1, 12.0, 10.0, True], [1, 5.0, 1.0, True]]
    # a: seen on 29 January, back after 10 weeks, and 1 more order 1 week on
    monkeypatch.setattr(customers, "LEARN_AT", (28 / 126, 98 / 126))
    rows = customers.training_rows(history, pd.Timestamp("2026-05-07"))
    names = ["frequency", "orders", "wait", "weeks_left", "rate", "order_value"]
    assert rows.loc[0, names].tolist() == [1, 2, 10, 4, 1 / 4, (12 + 99) / 2]
    assert rows["once"].tolist() == [True, False, True]


def test_nothing_after_the_cutoff_is_seen():
    orders = cdnow.load()
    assert (len(orders), orders["customer_id"].nunique()) == (69_659, 23_570)
    before = orders[orders["date"] <= CUTOFF]
    after = orders[orders["date"] > CUTOFF]
    changed = pd.concat([after.assign(value=1e6), before])
    for make in (customers.customer_table, customers.training_rows):
        pd.testing.assert_frame_equal(
            make(before, CUTOFF), make(changed, CUTOFF), rtol=1e-12
        )


def test_bad_transactions_are_refused():
    """With what to do, for a type as code to paste."""

    def refused(message, **columns):
        with pytest.raises(ValueError, match=message):
            customers.daily_orders(HISTORY.assign(**columns))

    refused("'value', row 2: .*-8.0", value=[10, 20, -8.0, np.nan, 1, 1, 1])
    refused("'value', row 0: inf", value=[np.inf] * 7)
    refused("'customer_id', row 1: None is", customer_id=["a", None, *"aaaaa"])
    refused("int64.*use pd.to_datetime.*astype.str..$", date=[20260101] * 7)
    winter, summer = "2026-03-28 09:00+01:00", "2026-03-29 09:00+02:00"
    refused("object.*utc=True.*tz_convert.your zone.$", date=[winter] * 6 + [summer])
    refused("object.*use orders..value...astype.float.$", value=["8.5"] * 7)
    with pytest.raises(ValueError, match="lack the columns .'value'"):
        customers.daily_orders(HISTORY.drop(columns="value"))


# The settings.


def test_settings_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="CUTOFF is '1997-09-30'.*pd.Timestamp"):
        checks.check_settings("1997-09-30", 39.0)
    with pytest.raises(ValueError, match="HORIZON is 600: .*520 weeks; .*ten years"):
        checks.check_settings(CUTOFF, 600)


def test_orders_that_do_not_fit_the_settings_are_refused():
    """In the shop's terms, and before anything is fitted or logged."""

    def refused(message, orders):
        with pytest.raises(ValueError, match=message):
            checks.scored_weeks(orders, CUTOFF, 39.0)
            days = customers.learning_days(orders["date"].min(), CUTOFF)
            checks.check_history(orders, CUTOFF, days[0])

    orders = customers.daily_orders(cdnow.load_sample())
    before = orders["date"] <= CUTOFF
    refused("there are no orders", orders.head(0))
    refused("no order before CUTOFF .* begin on 1997-10-01", orders[~before])
    refused("no order after CUTOFF .* end on 1997-09-30", orders[before])
    free_later = orders.assign(value=orders["value"].where(before, 0))
    refused("nobody returned: .* spent nothing in the 39.0 weeks", free_later)
    first_customers = orders["customer_id"].unique()[:299]
    few_customers = orders[orders["customer_id"].isin(first_customers)]
    refused("too few customers to fit: 299 had .* 300 and 70", few_customers)


def test_a_horizon_beyond_the_orders_is_scored_up_to_their_end():
    orders = customers.daily_orders(cdnow.load_sample())
    assert checks.scored_weeks(orders, CUTOFF, 26.0) == 26
    assert checks.scored_weeks(orders, CUTOFF, 52.0) == 39


def test_scores_known_answer():
    spent = pd.Series([0.0, 0.0, 30.0, 10.0])
    assert [*evaluation.scores(spent, spent).values()][1:] == [1, 0, 0]
    assert evaluation.scores(spent, spent * 0 + 5)["total error in percent"] == -50
    assert evaluation.scores(spent, -spent + 31)["Gini"] == -1
    with pytest.raises(ValueError, match="metric 'Gini' is nan"):
        checks.check_finite({"RMSE": 1.0, "Gini": float("nan")})


# The composite.


def test_features_known_answer():
    """By hand, from the definitions: a changed constant shows here."""
    by_hand = [np.log(3), 1, np.log(9), np.log(39), 8 * 3 / 46, np.log(2.25 / 42.4)]
    by_hand += [np.log(26), np.log(1), np.log(3)]
    rows = pd.DataFrame([ONE, NEW, ONE | {"frequency": 210}])
    x = model_code.features(rows)
    np.testing.assert_allclose(x.iloc[0], by_hand)
    assert x["has_repeat"].tolist() == [1, 0, 1]
    assert x["since_per_gap"].max() == 20


@pytest.mark.parametrize("location, sigma", [(1.0, 0.5), (9.0, 2.5), (-2.0, 1.0)])
@pytest.mark.parametrize("horizon", [0.2, 520.0])
def test_closed_form_equals_the_integral(location, sigma, horizon):
    """E[max(H - W, 0)] is the integral of P(W <= t) over t from 0 to H."""
    waits = lognorm(s=sigma, scale=np.exp(location))
    left, _ = quad(waits.cdf, 0, horizon, epsabs=1e-12, epsrel=1e-10, limit=200)
    wait = pd.DataFrame({"median": [np.exp(location)], "sigma": [sigma]})
    p_return = model_code.return_probability(wait, horizon)
    orders = model_code.expected_orders(wait, pd.Series([0.3]), horizon)
    assert p_return[0] == pytest.approx(waits.cdf(horizon))
    assert orders[0] == pytest.approx(waits.cdf(horizon) + 0.3 * left, rel=1e-7)


def test_answers_are_the_mean_of_the_two_forecasts(model, sample):
    parts = model.unwrap_python_model().parts
    table, weeks = sample.head(200), {"horizon_weeks": 26.0}
    answer = model.predict(table[table.columns[::-1]].assign(items=1), params=weeks)
    x = model_code.features(table)
    wait = parts["retention"].predict(None, x)
    rate = parts["frequency"].predict(None, x)["rate"]
    order_value = parts["aov"].predict(None, x)["order_value"]
    textbook = parts["textbook"].predict(None, table, weeks)
    ours = model_code.expected_orders(wait, rate, 26)
    orders = (ours + textbook["expected_purchases"]) / 2
    clv = (ours * order_value + textbook["clv"]) / 2
    p_return = model_code.return_probability(wait, 26)
    expected = np.column_stack([clv, orders, clv / orders, p_return, np.full(200, 26)])
    np.testing.assert_allclose(answer, expected)
    assert answer.index.equals(table.index)


def row_of(frequency, recency, age, value):
    """Return a row whose orders but the first are the last days up to `recency`."""
    first = round(7 * age)
    last = first - round(7 * recency)
    ago = [first, *range(last, last + frequency)]
    recent = [sum(days < 7 * weeks for days in ago) for weeks in (4, 13)]
    return [frequency, recency, age, value * (frequency > 0), value, *recent]


def test_answers_are_finite_and_plausible_at_the_bounds(model):
    past = [(0, 0, 0), (0, 0, 2600), (1, 4 / 7, 1), (1, 1, 2600), (9100, 1300, 2600)]
    past += [(7, 1, 1), (18200, 2600, 2600), (2, 2600, 2600)]
    rows = [row_of(*p, value) for p in past for value in (0, 1e9)]
    frame = pd.DataFrame(rows, columns=list(ONE))
    totals = []
    for weeks in (1 / 7, 52.0, 520.0):
        answer = model.predict(frame, params={"horizon_weeks": weeks}).to_numpy()
        assert np.isfinite(answer).all() and (answer >= 0).all()
        assert (answer[:, 1] <= 7.05 * weeks).all()
        totals.append(answer[:, 0].sum())
    assert totals == sorted(totals)


# What it refuses.


@pytest.mark.parametrize("weeks", [0, 521, float("nan")])
def test_a_horizon_out_of_bounds_is_refused(model, weeks):
    with pytest.raises(mlflow.MlflowException, match="horizon_weeks.* 520 weeks"):
        model.predict(pd.DataFrame([ONE]), params={"horizon_weeks": weeks})


def test_a_part_refuses_what_it_cannot_answer(model):
    parts = model.unwrap_python_model().parts
    row = pd.DataFrame([ONE])
    x = model_code.features(row).assign(log_age=1e12)
    with pytest.raises(mlflow.MlflowException, match="'log_age', row 0: got 1"):
        parts["aov"].predict(None, x)
    with pytest.raises(mlflow.MlflowException, match="horizon_weeks.* 520 weeks"):
        parts["textbook"].predict(None, row, {"horizon_weeks": 521})
    with pytest.raises(mlflow.MlflowException, match="recency must be at most T"):
        parts["textbook"].predict(None, row.assign(recency=39))


def refused(model, row, place, message):
    """Hold that the second of two rows is refused, in a short sentence."""
    frame = pd.DataFrame([ONE, row], index=["good", "bad" * 300], dtype=object)
    quoted = f"{place} '(bad)+b?: {message}"
    with conftest.refusal(quoted) as error:
        model.predict(frame)
    assert len(str(error.value)) < 400


BAD_CELLS = [
    ("T", None, "got (nan|None); weeks from the first .* a number from 0 to 2600"),
    ("T", 2601, "got 2601.*; .* to 2600"),
    ("recency", True, "got True"),
    ("frequency", "39", "got '39'"),
    ("frequency", 1.5, "got 1.5.* a whole number"),
    ("orders_13w", -1, "got -1.*from 0 to 91"),
]


@pytest.mark.parametrize("column, cell, message", BAD_CELLS)
def test_a_cell_out_of_bounds_is_refused_by_name(model, column, cell, message):
    refused(model, ONE | {column: cell}, f"column '{column}', row", message)


CONTRADICTIONS = [
    ({"recency": 39}, ["recency", "T"], "recency 39, T 38 contradict"),
    ({"recency": 0}, ["frequency", "recency"], "frequency 2, recency 0 contradict"),
    ({"frequency": 211}, ["frequency", "recency"], "from 1 to 7 . recency"),
    (NEW | {"monetary_value": 20}, ["monetary_value", "frequency"], "must be 0 where"),
    ({"orders_4w": 1}, ["orders_4w", "T", "recency"], "is below 4 weeks"),
    ({"recency": 36}, ["orders_4w", "T", "recency"], "at least 1 if"),
    ({"orders_13w": 0}, ["orders_13w", "T", "recency"], "at least 1 if"),
    ({"orders_13w": 3}, ["orders_13w", "frequency", "T"], "must be 0 if T"),
    (
        {"frequency": 99, "recency": 37, "orders_4w": 9, "orders_13w": 80},
        ["orders_13w", "orders_4w"],
        "at least orders_4w, with at most one a day between",
    ),
    (
        {"frequency": 209, "orders_13w": 8},
        ["orders_13w", "frequency", "T"],
        "at least 1 and at most one a day",
    ),
]


@pytest.mark.parametrize("change, columns, message", CONTRADICTIONS)
def test_a_contradiction_is_refused_by_its_columns(model, change, columns, message):
    names = re.escape(str(columns))
    refused(model, ONE | change, f"columns {names}, row", f".*{message}")


@pytest.mark.parametrize("cutoff", ["1997-01-01", "1997-03-31", "1998-06-30"])
def test_rows_of_real_customers_pass_at_any_cutoff(cutoff):
    table = customers.customer_table(cdnow.load_sample(), cutoff)
    for rounded in (table, table.round(2), table.round(1)):
        pd.testing.assert_frame_equal(
            model_code.checked(rounded), rounded.reset_index(drop=True)
        )


def test_components_are_registered_pinned_and_in_the_lineage(model_uri):
    client = mlflow.MlflowClient()
    logged = client.get_logged_model(model_uri.removeprefix("models:/"))
    run = client.get_run(logged.source_run_id)
    parts = [client.get_logged_model(part.model_id) for part in run.inputs.model_inputs]
    names = {"retention", "frequency", "aov", "textbook"}
    assert {part.name for part in parts} == names
    for part in parts:
        newest = registry.versions(f"clv_composite_{part.name}")[-1]
        assert part.model_uri == newest.source
    copied = Model.load(model_uri).flavors["python_function"]["artifacts"]
    for part in parts:
        assert copied[part.name]["uri"] == part.model_uri
