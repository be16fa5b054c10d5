"""Load and ask the models that read feedback: openai_call and openai_batch."""

from types import SimpleNamespace

import pandas as pd

GOOD = "a fine thing"


def load(code, config):
    """Return the module's model, loaded with this configuration."""
    model = code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def as_table(*texts, index=None):
    return pd.DataFrame({"text": texts}, index=index, dtype=object)


def stream(model, text):
    """Return the pieces, joined, and the row at the end."""
    *pieces, row = model.predict_stream(None, {"text": text})
    return "".join(piece["delta"] for piece in pieces), row
