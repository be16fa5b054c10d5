"""The recorded entries of reference_qa are what its sources give today."""

import numpy as np
import pandas as pd
import pytest

from tests.conftest import siblings


@pytest.mark.verify
def test_the_entries_are_the_references_and_the_vectors_the_models(local_services):
    corpus, library = siblings("reference_qa", "passages", "library")
    recorded = pd.read_parquet(corpus.FILE)
    assert library.REFERENCE.is_dir(), "Python's reference is missing: make system"
    assert recorded.attrs["source"] == corpus.SOURCE
    hooks = ("sys.unraisablehook", "threading.excepthook")  # pytest's own are there
    made = [entry for entry in corpus.entries() if entry.name not in hooks]
    table = pd.DataFrame(made)[["name", "text", "link", "prior", "in_scope"]]
    kept = recorded[~recorded["name"].isin(hooks)].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, kept.drop(columns="vector"))
    few = [0, 1, 2, 3000, 3001, 6000, 6001, len(made) - 2, len(made) - 1]
    again = corpus.numbers([made[number] for number in few]).astype(int)
    vectors = [np.frombuffer(kept["vector"][number], np.int8) for number in few]
    assert np.abs(again - np.stack(vectors)).max() <= 1
