from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.made import plan
from tfslurm.errors import TrackerError
from tfslurm.tracker import Tracker


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "deep" / "tracker.sqlite")


def test_intent_comes_before_the_id(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "name: alpha\n")
    assert [(left.plan, left.stage) for left in tracker.plans(stage="planned")] == [(made, "planned")]
    assert tracker.jobs() == []
    tracker.submit(made, "17")
    tracker.submit(made, "17")
    assert [job.key for job in tracker.jobs()] == ["alpha:17"]
    assert tracker.plans(stage="planned") == []
    assert tracker.plans(plan_id=made.plan_id)[0].cluster_text == "name: alpha\n"


def test_a_refused_plan_keeps_the_reason_and_has_no_job(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "")
    tracker.refuse(made.plan_id, "Invalid account")
    assert [(left.stage, left.note) for left in tracker.plans()] == [("refused", "Invalid account")]


def test_what_was_seen_and_the_record_are_kept(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "")
    tracker.submit(made, "17")
    (job,) = tracker.jobs()
    tracker.see(job, "COMPLETED", True, {"exit_code": 0})
    tracker.keep(job, {"schema": "x", "name": "é\ud800"})
    (after,) = tracker.jobs(cluster="alpha", job_id="17")
    assert (after.state, after.final, after.status) == ("COMPLETED", True, {"exit_code": 0})
    assert tracker.record(after) == {"schema": "x", "name": "é\ud800"}
    assert tracker.jobs(unfinished=True) == []


def test_the_same_id_at_another_time_is_another_job(tracker: Tracker) -> None:
    for moment in ("2026-11-23T07:50:01.000001Z", "2026-11-24T07:50:01.000001Z"):
        made = plan(planned_at=moment)
        tracker.plan(made, "")
        tracker.submit(made, "17")
    assert len(tracker.jobs(cluster="alpha", job_id="17")) == 2


def test_local_ids_count_from_one_without_a_gap_or_a_repeat(tmp_path: Path) -> None:
    path = tmp_path / "tracker.sqlite"
    Tracker(path).close()
    taken: list[str] = []

    def take(number: int) -> None:
        tracker = Tracker(path)
        made = plan(planned_at=f"2026-11-23T07:50:{number:02d}.000000Z")
        tracker.plan(made, "")
        taken.append(tracker.local_id(made))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, taken)) == list(range(1, 21))


def test_several_processes_that_make_the_tracker_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tfslurm.tracker import Tracker; Tracker(Path(sys.argv[1])).jobs()"
    )
    path = str(tmp_path / "new" / "tracker.sqlite")
    running = [subprocess.Popen([sys.executable, "-c", code, path]) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6


def test_no_write_ahead_log_is_used_since_network_homes_cannot_share_it(tracker: Tracker) -> None:
    mode = sqlite3.connect(tracker.path).execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "delete"


def test_only_the_user_can_read_it(tracker: Tracker) -> None:
    assert tracker.path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_tracker_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tracker.sqlite"
    path.write_text("this is not a database, it is far too honest for that" * 50)
    with pytest.raises(TrackerError, match="tracker rebuild"):
        Tracker(path)


def test_a_newer_trackers_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "tracker.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(TrackerError, match="newer"):
        Tracker(path)


def test_a_plan_is_claimed_by_one_at_a_time(tracker: Tracker) -> None:
    other = Tracker(tracker.path)
    with tracker.claim("0123456789ab") as mine:
        assert mine
        with other.claim("0123456789ab") as theirs, other.claim("ba9876543210") as another:
            assert (theirs, another) == (False, True)
    with other.claim("0123456789ab") as theirs:
        assert theirs
    assert list(tracker.path.with_name("claims").iterdir()) == []


def test_a_claim_dies_with_its_process(tracker: Tracker) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tfslurm.tracker import Tracker\n"
        "with Tracker(Path(sys.argv[1])).claim('0123456789ab'): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tracker.path)]).returncode == -9
    assert list(tracker.path.with_name("claims").iterdir())
    with tracker.claim("0123456789ab") as mine:
        assert mine
