"""clv_composite: published values, closed forms, bad input, lineage and quality."""

import json
import re
from types import SimpleNamespace

from shared import registry

import lifetimes
import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import _parse_json_data
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
PAST = ("frequency", "recency", "T")
ROWS = [[2, 30.0, 38.0, 20.0, 35.0, 0, 2], [0, 0, 38.0, 0, 35.0, 0, 0]]
ONE, NEW = (dict(zip(model_code.COLUMNS, row, strict=True)) for row in ROWS)


@pytest.fixture(scope="module")
def sample():
    return customers.customer_table(cdnow.load_sample(), CUTOFF)


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
    """Return what the model server's parser and the model make of a body."""
    parsed = _parse_json_data(
        json.dumps(body), model.metadata, model.metadata.get_input_schema()
    )
    return model.predict(parsed.data, params=parsed.params)


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
    history = (sample[name] for name in PAST)
    orders = purchases.conditional_expected_number_of_purchases_up_to_time(39, *history)
    mean = money.conditional_expected_average_profit(
        sample["frequency"], sample["monetary_value"]
    )
    forecast = component.textbook(sample, 39, **fitted)
    np.testing.assert_allclose(forecast["expected_purchases"], orders, rtol=1e-9)
    np.testing.assert_allclose(forecast["clv"], orders * mean, rtol=1e-9)


def test_textbook_overflows_for_no_frequent_buyer():
    daily = {"frequency": 5000, "recency": 715, "T": 716, "monetary_value": 9}
    forecast = component.textbook(pd.DataFrame([daily]), 52, **PUBLISHED)
    assert 300 < forecast["expected_purchases"][0] < 364


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"q": 0.9}, "q <= 1, so the mean order is infinite"),
        ({"a": 3e5, "b": 2e6}, "a is beyond 100"),
        ({"b": np.nan}, "not finite"),
        ({"r": np.inf}, "not finite"),
    ],
)
def test_a_textbook_without_a_finite_forecast_is_left_out(change, reason):
    with pytest.raises(ValueError, match=f"{reason}.*'alpha'"):
        fitting.check_textbook(PUBLISHED | change)


@pytest.mark.parametrize("fitter", ["BetaGeoFitter", "GammaGammaFitter"])
@pytest.mark.parametrize("failures", range(1, len(fitting.STARTS) + 1))
def test_the_textbook_is_started_elsewhere_before_it_is_given_up(
    sample, monkeypatch, failures, fitter, capsys
):
    """A stand-in for orders where the optimiser stops at the package's start."""
    fit, starts = getattr(lifetimes, fitter).fit, []

    def fail_first(self, *data, initial_params):
        starts.append(initial_params)
        print("the optimiser's state")
        if len(starts) <= failures:
            raise RuntimeError("\n  The model did not\n  converge.\n")
        return fit(self, *data, initial_params=initial_params)

    monkeypatch.setattr(getattr(lifetimes, fitter), "fit", fail_first)
    if failures < len(fitting.STARTS):
        fitted = fitting.fit_textbook(sample).parameters
        for name in "aq":
            assert fitted[name] == pytest.approx(PUBLISHED[name], abs=0.006)
        assert len(starts) == failures + 1
    else:
        reason = (
            f"{fitter} failed from 4 starts: RuntimeError: The model did not converge."
        )
        with pytest.raises(ValueError) as error:
            fitting.fit_textbook(sample)
        assert str(error.value) == reason
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", [220, 232])
def test_bootstraps_that_failed_from_the_first_start_are_fitted(sample, seed):
    fitted = fitting.fit_textbook(
        sample.sample(frac=1, replace=True, random_state=seed)
    )
    assert 3.5 < fitted.parameters["q"] < 4.5


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


SUMMER_AND_WINTER = [f"2026-03-{day} 09:00+0{day - 27}:00" for day in (28, 29)]


@pytest.mark.parametrize(
    "message, change",
    [
        ("'date' holds object.*astype.str", {"date": HISTORY["date"].astype(str)}),
        ("'date' holds int64.*astype.str", {"date": [20260101] * 7}),
        ("'date' holds object.*utc=True", {"date": SUMMER_AND_WINTER * 3 + [None]}),
        ("'value' holds object.*astype.float", {"value": HISTORY["value"].astype(str)}),
        ("'value', row 2: .*-8.0", {"value": [10, 20, -8.0, np.nan, 1, 1, 1]}),
        ("'value', row 0: inf", {"value": [np.inf] * 7}),
        ("'customer_id', row 1: None is", {"customer_id": ["a", None, *"aaaaa"]}),
    ],
)
def test_bad_transactions_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        customers.daily_orders(HISTORY.assign(**change))


@pytest.mark.parametrize("column", ["customer_id", "date", "value"])
def test_a_missing_column_of_the_orders_is_named(column):
    with pytest.raises(ValueError, match=f"lack the columns .'{column}'"):
        customers.daily_orders(HISTORY.drop(columns=column))


@pytest.mark.parametrize(
    "column, cells",
    [
        ("date", TEXTS[:1] * 7),
        ("date", [20260101] * 7),
        ("date", [pd.Timestamp("2026-01-01").date()] * 7),
        ("date", SUMMER_AND_WINTER[:1] * 6 + SUMMER_AND_WINTER[1:]),
        ("date", [pd.Timestamp(text) for text in SUMMER_AND_WINTER * 3] + [pd.NaT]),
        ("value", ["8.5"] * 7),
        ("value", [True] * 7),
    ],
)
def test_the_remedy_for_a_type_works(column, cells):
    """The remedy is run as the message prints it."""
    orders = HISTORY.assign(**{column: pd.Series(cells)})
    with pytest.raises(ValueError) as caught:
        customers.daily_orders(orders)
    remedy = str(caught.value).rpartition("use ")[2]
    remedy = remedy.replace("your zone", "'Europe/Berlin'")
    mended = eval(remedy, {"pd": pd, "orders": orders})
    daily = customers.daily_orders(orders.assign(**{column: mended}).dropna())
    if cells[0] in (TEXTS[0], 20260101):
        assert daily["date"].eq(pd.Timestamp("2026-01-01")).all()
    if "+01:00" in str(cells[0]):
        assert daily["date"].isin(pd.to_datetime(["2026-03-28", "2026-03-29"])).all()


@pytest.mark.parametrize(
    "message, cutoff, horizon",
    [
        ("CUTOFF is None: set the last day", None, 39.0),
        ("CUTOFF is NaT: set the last day", pd.NaT, 39.0),
        ("CUTOFF is '1997-09-30'.*pd.Timestamp", "1997-09-30", 39.0),
        ("CUTOFF is .*12:00.*without time", pd.Timestamp("1997-09-30 12:00"), 39.0),
        ("CUTOFF is .*or time zone", pd.Timestamp("1997-09-30", tz="UTC"), 39.0),
        ("HORIZON is 600: .*520 weeks; .*ten years", CUTOFF, 600),
        ("HORIZON is 0: set 1/7", CUTOFF, 0),
        ("HORIZON is nan: set 1/7", CUTOFF, float("nan")),
        ("HORIZON is '39': set 1/7", CUTOFF, "39"),
        ("HORIZON is True: set 1/7", CUTOFF, True),
    ],
)
def test_settings_without_a_meaning_are_refused(message, cutoff, horizon):
    with pytest.raises(ValueError, match=message):
        checks.check_settings(cutoff, horizon)


def before(orders):
    return orders["date"] <= CUTOFF


@pytest.mark.parametrize(
    "message, change",
    [
        ("there are no orders", lambda o: o.head(0)),
        (
            "no order before CUTOFF 1997-09-30: .* begin on 1997-10-01 .* later CUTOFF",
            lambda o: o[~before(o)],
        ),
        (
            "no order after CUTOFF 1997-09-30: .* end on 1997-09-30; .* earlier",
            lambda o: o[before(o)],
        ),
        (
            "nobody returned: the customers of before .* nothing in the 39.0 weeks",
            lambda o: o.assign(customer_id=o["customer_id"].where(before(o), -1)),
        ),
        (
            "customers of before CUTOFF 1997-09-30 spent nothing",
            lambda o: o.assign(value=o["value"].where(before(o), 0)),
        ),
        (
            "all orders have the value 0: column 'value' must hold what was paid",
            lambda o: o.assign(value=0.0),
        ),
        (
            "nobody returned: none of the 2357 customers .* paid for another order",
            lambda o: o.assign(value=o["value"].mask(before(o), 0)),
        ),
        (
            "nobody returned: none of the 2357 customers of before 1997-04-19",
            lambda o: o[~before(o) | ~o[before(o)].duplicated("customer_id")],
        ),
        (
            "too few customers to fit: 30 had ordered .* 300 and 70 are needed",
            lambda o: o[o["customer_id"].isin(o["customer_id"].unique()[:30])],
        ),
        (
            "2357 had ordered by 1997-04-19, and 69 of them .* 70 are needed",
            lambda o: keep_returners(o, 69),
        ),
    ],
)
def test_orders_that_do_not_fit_the_settings_are_refused(message, change):
    """In the shop's terms, and before anything is fitted or logged."""
    orders = change(customers.daily_orders(cdnow.load_sample()))
    with pytest.raises(ValueError, match=message):
        checks.scored_weeks(orders, CUTOFF, 39.0)
        first = orders["date"].min()
        checks.check_history(orders, CUTOFF, customers.learning_days(first, CUTOFF)[0])


def keep_returners(orders, number):
    """Return the orders with that many returners after the first learning day."""
    late = (orders["date"] > pd.Timestamp("1997-04-19")) & before(orders)
    returners = orders.loc[late & (orders["value"] > 0), "customer_id"].unique()
    return orders[~late | orders["customer_id"].isin(returners[:number])]


def test_a_horizon_beyond_the_orders_is_scored_up_to_their_end():
    orders = customers.daily_orders(cdnow.load_sample())
    assert checks.scored_weeks(orders, CUTOFF, 26.0) == 26
    assert checks.scored_weeks(orders, CUTOFF, 39.0) == 39
    assert checks.scored_weeks(orders, CUTOFF, 52.0) == 39
    late = pd.Timestamp("1998-06-16")
    assert checks.scored_weeks(orders, late, 39.0) == 2


def test_a_metric_that_is_not_finite_is_refused():
    checks.check_finite({"Gini": 0.7})
    with pytest.raises(ValueError, match="metric 'Gini' is nan"):
        checks.check_finite({"RMSE": 1.0, "Gini": float("nan")})


def test_features_known_answer():
    """By hand, from the definitions: a changed constant shows here."""
    by_hand = [np.log(3), 1, np.log(9), np.log(39), 8 * 3 / 46, np.log(2.25 / 42.4)]
    by_hand += [np.log(26), np.log(1), np.log(3)]
    rows = pd.DataFrame([ONE, NEW, ONE | {"frequency": 210}])
    x = model_code.features(rows)
    np.testing.assert_allclose(x.iloc[0], by_hand)
    assert x["has_repeat"].tolist() == [1, 0, 1]
    assert x["since_per_gap"].max() == 20


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(ValueError, match="'T', row 0: got 10{78,79}; .* to 2600"):
        model_code.checked(pd.DataFrame([ONE | {"T": 10**400}], dtype=object))


@pytest.mark.parametrize("columns", [[*ONE][1:], [*ONE, [*ONE][0]]])
def test_a_column_is_needed_once(columns):
    message = f"give column '{[*ONE][0]}' exactly once: orders after"
    with pytest.raises(ValueError, match=message):
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
    p_return = model_code.return_probability(wait, horizon)
    orders = model_code.expected_orders(wait, pd.Series([0.3]), horizon)
    assert p_return[0] == pytest.approx(waits.cdf(horizon))
    assert orders[0] == pytest.approx(waits.cdf(horizon) + 0.3 * left, rel=1e-7)


def test_every_form_of_a_request_gives_the_same_answer(model):
    frame = pd.DataFrame([ONE, NEW], index=["x", "y"])
    answer = model.predict(frame)
    assert answer.index.tolist() == ["x", "y"] and (answer["horizon_weeks"] == 39).all()
    split = {"columns": list(frame), "data": frame.to_numpy().tolist()}
    for body in (
        {"dataframe_split": split},
        {"dataframe_records": [ONE, NEW], "params": {"horizon_weeks": 39}},
        {"inputs": frame.to_dict("list")},
    ):
        pd.testing.assert_frame_equal(
            over_rest(model, body).set_axis(["x", "y"]), answer
        )
    for same in (frame.astype(int), frame.astype(object), frame[frame.columns[::-1]]):
        pd.testing.assert_frame_equal(model.predict(same.assign(items=1)), answer)
    assert model.predict(frame.head(0)).shape == (0, 5)
    twice = pd.concat([frame, frame])
    pd.testing.assert_frame_equal(model.predict(twice), pd.concat([answer, answer]))


def test_answers_are_the_mean_of_the_two_forecasts(model, sample):
    parts = model.unwrap_python_model().parts
    table, weeks = sample.head(200), {"horizon_weeks": 26.0}
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
    np.testing.assert_allclose(model.predict(table, params=weeks), expected)


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
    for weeks in (1 / 7, 4.0, 52.0, 520.0):
        answer = model.predict(frame, params={"horizon_weeks": weeks}).to_numpy()
        assert np.isfinite(answer).all() and (answer >= 0).all()
        assert (answer[:, 1] <= 7.05 * weeks).all()
        totals.append(answer[:, 0].sum())
    assert totals == sorted(totals)


NO_HORIZONS = [0, -4, 0.1, 521, 1e308, float("nan"), float("inf"), None]


@pytest.mark.parametrize("weeks", NO_HORIZONS)
def test_a_horizon_out_of_bounds_is_refused(model, weeks):
    with pytest.raises(mlflow.MlflowException, match="horizon_weeks.* 520 weeks"):
        model.predict(pd.DataFrame([ONE]), params={"horizon_weeks": weeks})


BAD_CELLS = [
    ("T", None, "got (nan|None); weeks from the first .* a number from 0 to 2600"),
    ("T", "x" * 10**6, "got 'x{79};"),
    ("T", 2601, "got 2601.*; .* to 2600"),
    ("recency", True, "got True"),
    ("first_order_value", 1e300, "got 1e.300; .* to 1e.09"),
    ("frequency", "39", "got '39'"),
    ("frequency", 1.5, "got 1.5.* a whole number"),
    ("orders_4w", 0.5, "got 0.5.* a whole number"),
    ("orders_13w", -1, "got -1.*from 0 to 91"),
]


@pytest.mark.parametrize("column, cell, message", BAD_CELLS)
def test_a_cell_out_of_bounds_is_refused_by_name(model, column, cell, message):
    refused(model, ONE | {column: cell}, f"column '{column}', row", message)


CONTRADICTIONS = [
    ({"recency": 39}, ["recency", "T"], "recency 39, T 38 contradict"),
    ({"recency": 0}, ["frequency", "recency"], "frequency 2, recency 0 contradict"),
    ({"frequency": 0}, ["frequency", "recency"], "from 1 to 7 . recency"),
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


def refused(model, row, place, message):
    """Hold that the second of two rows is refused, from Python and over REST."""
    frame = pd.DataFrame([ONE, row], index=["good", "bad" * 300], dtype=object)
    quoted = f"{place} '(bad)+b?: {message}"
    with pytest.raises(mlflow.MlflowException, match=quoted) as error:
        model.predict(frame)
    assert error.value.get_http_status_code() == 400 and len(str(error.value)) < 400
    with pytest.raises(mlflow.MlflowException, match=f"{place} 1: {message}"):
        over_rest(model, {"dataframe_records": [ONE, row]})


days = st.lists(st.integers(0, 300) | st.integers(0, 30), min_size=1, max_size=60)
dense = st.integers(1, 150).map(lambda length: list(range(length)))
values = st.sampled_from([0.0, 0.1, 19.99, 1e7])
some_histories = st.lists(
    st.tuples(days | dense, st.integers(0, 40), values), min_size=1, max_size=8
)


def orders_of(days_ago, value=1.0, customer="a"):
    """Return a customer's orders from how many days before CUTOFF they were."""
    date = CUTOFF - pd.to_timedelta(list(days_ago), unit="D")
    return pd.DataFrame({"customer_id": customer, "date": date, "value": value})


@given(some_histories, st.integers(-40, 300))
@settings(max_examples=30, deadline=None)
def test_rows_of_real_histories_pass_at_any_cutoff(histories, earlier):
    transactions = pd.concat(
        orders_of(np.array(ago) + shift, value, customer)
        for customer, (ago, shift, value) in enumerate(histories)
    )
    cutoff = CUTOFF - pd.Timedelta(days=earlier)
    table = customers.customer_table(transactions, cutoff)
    for rounded in (table, table.round(2), table.round(1)):
        pd.testing.assert_frame_equal(
            model_code.checked(rounded), rounded.reset_index(drop=True)
        )


def a_history_for(row):
    """Return orders, as days before the cutoff, that come as near to the row as any.

    The first and last order are given; then each of the three periods is filled up.
    """
    first = round(7 * row["T"])
    last = first - round(7 * row["recency"])
    counts = [row["orders_4w"], row["orders_13w"], row["frequency"] + 1]
    ago = {first, last}
    begin = last
    for until, count in zip((28, 91, first + 1), counts, strict=True):
        for day in range(begin, min(until, first + 1)):
            if sum(d < until for d in ago) < count:
                ago.add(day)
        begin = max(begin, until)
    return [day for day in ago if day >= 0]


contradictory_or_not = st.tuples(
    days | dense,
    st.lists(
        st.tuples(
            st.sampled_from(["frequency", "recency", "T", "orders_4w", "orders_13w"]),
            st.sampled_from([-28, -7, -2, -1, 1, 2, 7, 28]),
        ),
        min_size=1,
        max_size=3,
    ),
)


@given(contradictory_or_not)
@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_pass_exactly_if_some_history_gives_them(case):
    """The judge of what a history gives is `customer_table`."""
    ago, changes = case
    row = customers.customer_table(orders_of(ago), CUTOFF).iloc[0]
    for column, change in changes:
        weeks = column in ("recency", "T")
        row[column] = max(0, row[column] + (change / 7 if weeks else change))
    if row["frequency"] == 0:
        row["monetary_value"] = 0
    built = customers.customer_table(orders_of(a_history_for(row)), CUTOFF).iloc[0]
    counted = ["frequency", "recency", "T", "orders_4w", "orders_13w"]
    possible = np.allclose(built[counted], row[counted])
    try:
        model_code.checked(row.to_frame().T)
        passes = True
    except ValueError as error:
        passes = False
        assert re.match(r"columns? \['\w+', '\w+'|column '\w+'", str(error))
    assert passes == possible


@pytest.mark.parametrize("cell", [True, "3", None, float("nan"), 1e12])
@pytest.mark.parametrize("name", ["retention", "frequency", "aov", "textbook"])
def test_a_part_refuses_what_is_no_number(store, name, cell):
    part = mlflow.pyfunc.load_model(registered(name))
    row = part.input_example.iloc[0].to_dict()
    assert np.isfinite(over_rest(part, {"dataframe_records": [row]})).all(axis=None)
    for column in row:
        message = f"column '{column}', row 1: got"
        with pytest.raises(mlflow.MlflowException, match=message):
            over_rest(part, {"dataframe_records": [row, row | {column: cell}]})


def test_the_textbook_part_refuses_what_it_cannot_answer(store):
    part = mlflow.pyfunc.load_model(registered("textbook"))
    row = {"frequency": 1, "recency": 9, "T": 8, "monetary_value": 3}
    with pytest.raises(mlflow.MlflowException, match="recency must be at most T"):
        part.predict(pd.DataFrame([row]))
    for weeks in NO_HORIZONS:
        with pytest.raises(mlflow.MlflowException, match="horizon_weeks"):
            part.predict(pd.DataFrame([row | {"T": 9}]), {"horizon_weeks": weeks})


def registered(part):
    """Return the URI of the part's newest version under its registered name."""
    return registry.versions(f"clv_composite_{part}")[-1].source


def test_components_are_registered_pinned_and_in_the_lineage(store):
    client = mlflow.MlflowClient()
    logged = client.get_logged_model(store.removeprefix("models:/"))
    run = client.get_run(logged.source_run_id)
    parts = [client.get_logged_model(part.model_id) for part in run.inputs.model_inputs]
    assert {part.name for part in parts} == {
        "retention",
        "frequency",
        "aov",
        "textbook",
    }
    for part in parts:
        assert part.model_uri == registered(part.name)
    built = {
        key: (pinned.name, newest.name)
        for key, pinned, newest in registry.components(Model.load(store))
    }
    assert built == {part.name: (f"clv_composite_{part.name}",) * 2 for part in parts}
    runs = [run, *(client.get_run(part.source_run_id) for part in parts)]
    assert len({each.info.run_name for each in runs}) == 5
    for each in runs:
        assert each.data.metrics and each.data.params and each.inputs.dataset_inputs


def test_the_registry_tells_of_a_newer_component(store, monkeypatch, capsys):
    versions = registry.versions("clv_composite")
    (version,) = (version for version in versions if version.source == store)
    champion = SimpleNamespace(**dict(version) | {"aliases": ["champion"]})
    newer = SimpleNamespace(version="7000")
    parts = [(*built[:2], newer) for built in registry.components(Model.load(store))]
    monkeypatch.setattr(registry, "open_store", lambda: True)
    monkeypatch.setattr(
        registry, "versions", lambda name: [champion] * (name == champion.name)
    )
    monkeypatch.setattr(registry, "components", lambda model: parts)
    assert registry.print_versions() == 0
    line = "built from aov: clv_composite_aov version .*; version 7000 is newer: "
    assert re.search(f"{line}make rebuild RECIPE=clv_comp", capsys.readouterr().out)


def test_the_model_answers_from_a_copy_alone_and_holds_no_pickle(
    store, tmp_path, monkeypatch
):
    copy = mlflow.artifacts.download_artifacts(store, dst_path=str(tmp_path))
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    suffixes.discard(".pyc")  # where the model was loaded from its folder before
    assert suffixes <= {"", ".py", ".json", ".yaml", ".txt"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'missing.db'}")
    assert mlflow.pyfunc.load_model(copy).predict(pd.DataFrame([ONE]))["clv"][0] > 0


def test_scores_known_answer():
    spent = pd.Series([0.0, 0.0, 30.0, 10.0])
    assert [*evaluation.scores(spent, spent).values()][1:] == [1, 0, 0]
    assert evaluation.scores(spent, spent * 0 + 5)["total error in percent"] == -50
    assert evaluation.scores(spent, -spent + 31)["Gini"] == -1


def test_the_quality_on_the_holdout_and_in_the_back_test(store):
    model = mlflow.get_logged_model(store.removeprefix("models:/"))
    run = mlflow.get_run(model.source_run_id)
    metrics = run.data.metrics
    assert metrics["deviance"] <= 16.4
    assert metrics["BG/NBD deviance"] == pytest.approx(17.94, abs=0.01)
    assert metrics["Gini"] >= 0.72 > metrics["BG/NBD Gini"] + 0.04
    assert abs(metrics["total error in percent"]) <= 3
    assert metrics["BG/NBD total error in percent"] == pytest.approx(-17.3, abs=0.05)
    assert metrics["RMSE"] <= 92 < metrics["BG/NBD RMSE"]
    assert run.data.params["back-test cutoff"] == "1997-07-01"
    assert abs(metrics["back-test total error in percent"]) <= 10
    assert metrics["back-test deviance"] <= 18 and metrics["back-test Gini"] >= 0.66
