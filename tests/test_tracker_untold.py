"""What the tracker knows of jobs whose ids nobody has seen, of code that was sent, and of plans that are being sent."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.made import CLUSTER, CODE, NOW, plan
from tfslurm.tracker import Tracker


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "tracker.sqlite")


def test_an_id_is_untold_from_its_intent_until_somebody_has_seen_it(tracker: Tracker) -> None:
    shown, other = plan(), plan(planned_at="2026-11-24T07:50:01.000001Z")
    for each, number in ((shown, "1"), (other, "2")):
        tracker.plan(each, "", untold=True)
        tracker.submit(each, number)
    tracker.tell([shown.plan_id])
    assert [job.job_id for job in tracker.jobs(untold=True)] == ["2"]
    assert [job.job_id for job in tracker.jobs()] == ["1", "2"]


def test_who_did_not_wait_for_an_id_is_not_told_later(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "")
    tracker.submit(made, "1")
    assert tracker.jobs(untold=True) == []


def test_a_refused_plan_has_no_id_to_tell(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "", untold=True)
    tracker.refuse(made.plan_id, "Invalid account")
    tracker.submit(made, "1")
    assert tracker.jobs(untold=True) == []


def test_code_was_sent_where_a_plan_with_that_tree_was_submitted(tracker: Tracker) -> None:
    made = plan()
    assert not tracker.has_sent(made)
    tracker.plan(made, "")
    assert not tracker.has_sent(made), "an intent has sent nothing"
    tracker.submit(made, "1")
    later = "2026-11-24T07:50:01.000001Z"
    assert tracker.has_sent(plan(planned_at=later))
    others = (
        plan(planned_at=later, code=replace(CODE, tree="0" * 40)),
        plan(planned_at=later, cluster=replace(CLUSTER, name="beta")),
        plan(planned_at=later, cluster=replace(CLUSTER, root=CLUSTER.root / "elsewhere")),
    )
    assert [tracker.has_sent(other) for other in others] == [False, False, False]


def test_a_claim_that_is_waited_for_comes_when_the_other_ends(tracker: Tracker) -> None:
    order: list[str] = []
    waits = threading.Event()

    def other() -> None:
        second = Tracker(tracker.path)
        waits.set()
        with second.claim(NOW, wait=True) as mine:
            order.append(f"second {mine}")
        second.close()

    thread = threading.Thread(target=other)
    with tracker.claim(NOW) as mine:
        thread.start()
        assert waits.wait(10)
        thread.join(0.2)  # long enough for it to come in, if it could
        order.append(f"first {mine}")
    thread.join(10)
    assert order == ["first True", "second True"]
