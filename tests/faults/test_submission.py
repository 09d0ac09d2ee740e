"""The short form of `python -m tests.faults.submission`: a cut of every kind."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import bed
from tests.faults.submission import KINDS, Point, run

__all__ = ["bed"]


@pytest.fixture(scope="module")
def points(bed: None) -> list[Point]:
    """Each kind over each of its lines; the local ones take turns where accounting is and where none is."""
    chosen = []
    for number, (kind, (_, _, lines)) in enumerate(KINDS.items()):
        for over in lines:
            cluster = "gamma" if over == "local" and number % 2 else "alpha"
            chosen.append(Point(kind, cluster, over, seed=number))
    return chosen


def test_after_any_cut_the_same_command_leaves_one_job_and_tells_its_id(points: list[Point]) -> None:
    found = run(points)
    assert [each for each in found if not each.is_right] == []
    assert {each.point.kind for each in found if each.was_cut} >= {
        "line cut after N bytes",
        "controller does not answer",
    }
