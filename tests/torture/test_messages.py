"""No message carries more than 80 characters of a value."""

import json
from types import SimpleNamespace

from shared.recipes import find

import mlflow
import numpy as np
import pandas as pd
import pytest

from recipes.pc_causal_discovery import networks

LONG, OTHER = "x" * 1000, "x" * 1001
CELLS = networks.real_cells()
NAMED = CELLS.rename(columns={"Raf": LONG, "Mek": OTHER})
CLASSES = NAMED.assign(**{LONG: np.where(CELLS["Raf"] > 40, "y", "n")})
NEARLY = 0.5 + 0.1 * (np.arange(len(CELLS)) < 3)
ONE = dict(
    frequency=2, recency=30.0, T=38.0, monetary_value=20.0, first_order_value=35.0
)
ONE |= {"orders_4w": 0, "orders_13w": 2}
RANDOM = np.random.default_rng(217).normal(size=(60, 5))


BOTH = {"knowledge": {part: [[LONG, OTHER]] for part in ("required", "forbidden")}}


def cell(table, value, name="Mek", row=3):
    table = table.astype(object)
    table.loc[row, name] = value
    return table


def cyclic():
    """These few rows make causal-learn's pc() leave a cycle."""
    a, b, c, d, e = RANDOM.T
    b = b + a
    c = c + b
    d = d + c + a
    return pd.DataFrame(
        {f"a{LONG}": a, f"b{LONG}": b, "c": c, f"d{LONG}": d, f"e{LONG}": e + d}
    )


REVERSE = [
    [f"a{LONG}", f"b{LONG}"],
    [f"d{LONG}", f"a{LONG}"],
    [f"e{LONG}", f"d{LONG}"],
    [f"b{LONG}", f"e{LONG}"],
]


def knows(part, *lists):
    return {"knowledge": {part: list(lists)}}


def at(label, **columns):
    return pd.DataFrame({k: [v] for k, v in columns.items()}, index=[label])


SAID: dict[
    str, list
] = {  # the recipe: what it is asked, with which params, and what it says of it
    "circle_area": [
        (at(LONG, diameter=-1.0), {}, "-1.0 is not a length"),
        (at("a", diameter=LONG), {}, "is not a length"),
        (at(LONG, diameter=None), {}, "None is not a length"),
    ],
    "clv_composite": [
        (at(LONG, **ONE | {"T": -1}), {}, "got -1; weeks from the first"),
        (at("a", **ONE | {"T": LONG}), {}, "weeks from the first"),
        (at("a", **ONE), {"horizon_weeks": LONG}, "give a number from 1/7"),
    ],
    "canny_edge_qc": [(at(LONG, image=b"junk"), {}, "not a complete image")],
    "label_reader": [(at(LONG, image=b"junk"), {}, "not a complete image")],
    "openai_call": [(at(LONG, text=5 * LONG), {}, "need 1 to 4000 characters")],
    "openai_batch": [
        (at(LONG, text=5 * LONG), {}, "need 1 to 4000 characters"),
        (at("a", text="fine"), {"input_price": LONG}, "valid number"),
    ],
    "pc_causal_discovery": [
        (cell(NAMED, None, LONG), {}, "row 3: None"),
        (cell(CELLS, LONG), {}, "give finite numbers"),
        (cell(CELLS.rename({3: LONG}), None, row=LONG), {}, "give finite numbers"),
        (NAMED.rename(columns={OTHER: LONG}), {}, "a name of its own"),
        (CLASSES.assign(x=CLASSES[LONG]), {}, "set test to fisherz and drop"),
        (NAMED.assign(**{LONG: 1.5}), {}, "drop the constant columns"),
        (NAMED.assign(**{OTHER: NAMED[LONG]}), {}, "that others determine"),
        (
            CELLS.assign(**{LONG: [f"id {i}" for i in range(len(CELLS))]}),
            {},
            "at most 170 categories",
        ),
        (CELLS, knows("required", ["Raf", LONG]), "has no column"),
        (CELLS, knows("tiers", [LONG], [LONG]), "once in the tiers"),
        (NAMED, knows("required", [LONG, "Jnk"]), "rule it out"),
        (cyclic(), knows("forbidden", *REVERSE), "leave out one of the cycle"),
        (CELLS, {"alpha": LONG}, "alpha="),
        (CELLS, {LONG: 1}, "=1: Extra"),
    ],
    "pc_fast": [
        (cell(NAMED, None, LONG), {}, "row 3: the value is missing"),
        (cell(CELLS.rename({3: LONG}), None, row=LONG), {}, "the value is missing"),
        (cell(CELLS, LONG), {}, "makes the column"),
        (CELLS.set_axis([("x", LONG), *CELLS.columns[1:]], axis=1), {}, "is not text"),
        (NAMED.rename(columns={OTHER: LONG}), {}, "occurs more than once"),
        (NAMED.assign(**{LONG: 1.5}), {}, "is constant"),
        (
            NAMED.assign(**{LONG: [f"id {i}" for i in range(len(CELLS))]}),
            {},
            "853 categories",
        ),
        (CLASSES, {}, "mixed columns"),
        (CLASSES, {"test": "fisherz"}, "are text or booleans"),
        (NAMED, {"test": "gsq"}, "needs categories"),
        (
            NAMED.assign(**{OTHER: NAMED[LONG] + NAMED["Jnk"]}),
            {},
            "determine each other",
        ),
        (
            NAMED.assign(**{OTHER: NAMED[LONG]}),
            knows("required", ["c", OTHER]),
            "says the same as",
        ),
        (CELLS, {LONG: 1}, "=1: Extra"),
        (CELLS, {"alpha": LONG}, "alpha="),
        (CELLS, {"test": LONG}, "test="),
        (CELLS, {"knowledge": {LONG: []}}, "Extra inputs"),
        (CELLS, {"knowledge": {"tiers": LONG}}, "should be a valid list"),
        (CELLS, knows("required", ["Raf", LONG]), "has no column"),
        (NAMED, knows("required", [LONG]), "Field required"),
        (NAMED, knows("tiers", [LONG], [LONG]), "in two tiers"),
        (NAMED, BOTH, "is required, and forbidden"),
        (NAMED, knows("required", [LONG, OTHER], [OTHER, LONG]), "make the cycle"),
    ],
}


@pytest.mark.parametrize(
    "name, asked, params, says",
    [
        pytest.param(name, *case, id=f"{name}, {case[2]}")
        for name in SAID
        for case in SAID[name]
    ],
)
def test_a_value_is_quoted_in_80_characters_at_most(folder, name, asked, params, says):
    model = mlflow.pyfunc.load_model(str(folder(find(name)))).unwrap_python_model()
    params = {"params": params} if params else {}
    try:
        # circle_area's predict asks for no context.
        context = [] if name == "circle_area" else [None]
        answer = model.predict(*context, asked, **params)
        said = answer["detail"].iloc[0]  # an error is data here
    except mlflow.MlflowException as error:
        said = str(error)
    assert says in said and "x" * 81 not in said, said[:500]


def test_nor_does_a_calibration_that_is_refused(folder, tmp_path):
    model = mlflow.pyfunc.load_model(
        str(folder(find("canny_edge_qc")))
    ).unwrap_python_model()
    (tmp_path / "known.json").write_text(json.dumps({"threshold": LONG}))
    with pytest.raises(ValueError, match="make the file with calibrate") as error:
        model.load_context(
            SimpleNamespace(artifacts={"calibration": tmp_path / "known.json"})
        )
    assert "x" * 81 not in str(error.value)
