"""The short form of the matrix: what `python -m tests.faults --quick` shows, one test for each fault."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.cluster.conftest import bed
from tests.faults.engine import ENGINES
from tests.faults.judge import GONE_WITHIN_S, Row
from tests.faults.matrix import CASES, quick, run

__all__ = ["bed"]
SHORT = [case.name for case in CASES if case.quick]


@pytest.fixture(scope="module")
def rows(bed: None) -> Mapping[str, Row]:
    """Every fault of the short form, done on docker."""
    return {row.fault: row for row in run(quick(("alpha", "beta"), ENGINES["docker"]), ENGINES["docker"])}


@pytest.mark.parametrize("fault", SHORT)
def test_after_a_fault_nothing_is_left_and_the_record_says_what_happened(rows: Mapping[str, Row], fault: str) -> None:
    row = rows[fault]
    assert (row.record, row.ending, row.left) == ((), (), ())
    assert row.gone_s is not None and row.gone_s <= GONE_WITHIN_S, f"its container was gone after {row.gone_s} s"


def test_the_short_form_has_every_kind_of_fault() -> None:
    assert {name.split()[0] for name in SHORT} >= {
        "normal",
        "failure",
        "out",
        "scancel,",
        "time",
        "client",
        "node",
        "dockerd",
    }
