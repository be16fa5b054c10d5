"""Processes killed, interrupted, or out of disk while each makes a new store."""

from tests.test_store import kills


def test_kills_while_a_store_is_made(tmp_path, cases, counts):
    moments = max(4, cases(4, 40))
    made = kills(tmp_path, moments)
    counts["moments"], counts["broken"] = len(made), 0
    counts["whole"], counts["absent"] = made.count("True"), made.count("False")
    assert len(made) == moments and counts["absent"]
