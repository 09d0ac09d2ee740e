from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.made import NOW, plan
from tfslurm.errors import TrackerError
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import JobUpdate, TrackedSweep, Tracker
from tfslurm.tracker.errors import trouble
from tfslurm.tracker.submissions import ran_on


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
    tracker.update_jobs([JobUpdate(job, "COMPLETED", True, {"exit_code": 0})])
    tracker.keep(job, {"schema": "x", "name": "é\ud800"})
    (after,) = tracker.jobs(cluster="alpha", job_id="17")
    assert (after.state, after.final, after.status) == ("COMPLETED", True, {"exit_code": 0})
    assert tracker.record(after) == {"schema": "x", "name": "é\ud800"}
    assert tracker.jobs(unfinished=True) == []


def test_the_nodes_where_jobs_ran_come_from_one_question_the_last_jobs_first(tracker: Tracker) -> None:
    ran = [["n1"], ["n2", "n3"], None, ["n1"], [], ["n4", "n2"], ["é"]]
    for number, nodes in enumerate(ran):
        made = plan(planned_at=f"2026-11-23T07:50:{number:02}.000001Z")
        tracker.plan(made, "")
        tracker.submit(made, str(number))
        (job,) = tracker.jobs(job_id=str(number))
        tracker.update_jobs([JobUpdate(job, "RUNNING", False, {} if nodes is None else {"nodes": nodes})])
    assert ran_on(tracker, "alpha") == ["é", "n4", "n2", "n1", "n3"]
    assert ran_on(tracker, "beta") == []


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


@pytest.mark.slow
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


# --- what keeps the file from being used, each in its own words


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")


def shadowed(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words", "moves_away"),
    [
        (damaged, "is damaged", True),
        (newer, "made by a newer tfslurm", False),
        (shadowed, "may not be opened", False),
    ],
)
def test_only_a_damaged_file_is_to_be_moved_away(
    tmp_path: Path, spoil: Callable[[Path], None], words: str, moves_away: bool
) -> None:
    path = tmp_path / "tracker.sqlite"
    Tracker(path).close()
    spoil(path)
    with pytest.raises(TrackerError, match=words) as caught:
        Tracker(path).jobs()
    assert ("move the file away" in str(caught.value)) is moves_away
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database is locked"), "another process"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "may not be written"),
        (sqlite3.OperationalError("database or disk is full"), "no space left, or your quota"),
        (sqlite3.OperationalError("disk I/O error"), "the disk refused"),
        (sqlite3.OperationalError("unable to open database file"), "may not be opened"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left, or your quota"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left, or your quota"),
        (OSError(errno.EACCES, "Permission denied"), "may not be written"),
        (OSError(errno.EROFS, "Read-only file system"), "may only be read"),
        (OSError(errno.ENOTDIR, "Not a directory"), "a file stands where a folder must be"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_each_trouble_has_its_words_and_none_says_to_move_a_whole_file_away(error: Any, words: str) -> None:
    told = str(trouble(Path("/home/alice/tracker.sqlite"), error))
    assert words in told
    assert "move the file away" not in told
    assert "XDG_DATA_HOME" in told or "wait for that" in told


def test_a_file_that_may_not_be_opened_and_its_folder_are_named() -> None:
    told = str(trouble(Path("/home/alice/tracker.sqlite"), sqlite3.OperationalError("unable to open database file")))
    assert "give yourself the right to write the file and its folder" in told


def test_another_thread_is_told_to_use_its_own_and_not_to_move_the_file_away(tracker: Tracker) -> None:
    with ThreadPoolExecutor() as pool, pytest.raises(TrackerError, match="another thread of this program") as caught:
        pool.submit(tracker.jobs).result()
    assert "move the file away" not in str(caught.value)


def test_an_interrupt_while_a_change_waits_for_its_turn_leaves_the_file_to_others(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python raises Ctrl-C when SQLite has come back, and by then the change has begun."""
    db = tracker._db

    class Interrupted:
        def execute(self, statement: str, *values: Any) -> Any:
            done = db.execute(statement, *values)
            if statement.startswith("BEGIN"):
                raise KeyboardInterrupt
            return done

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracker, "_db", Interrupted())
        tracker.refuse("0123456789ab", "")
    assert not db.in_transaction


def test_a_name_that_is_no_utf_8_is_that_of_no_sweep(tracker: Tracker) -> None:
    assert tracker.sweeps.named("\udced\udca0\udc80") == []


def test_a_full_disk_is_told_as_such_and_what_was_kept_stays(tracker: Tracker) -> None:
    made = plan()
    tracker.plan(made, "")
    tracker._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no more room
    with pytest.raises(TrackerError, match="no space left"):
        for number in range(200):
            tracker.plan(plan(planned_at=f"2026-11-23T07:50:01.{number:06d}Z"), "x" * 4096)
    assert made in [left.plan for left in tracker.plans()]


NAMES = ("../../x", "", "a/b", "Ä", "a b", ".hidden", "a\n")


@pytest.mark.parametrize(
    ("table", "column"),
    [("jobs", "cluster"), ("jobs", "job_id"), ("jobs", "name"), ("sweeps", "sweep_id"), ("points", "point_id")],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_the_file_that_would_lead_elsewhere_is_refused(
    tracker: Tracker, table: str, column: str, name: str
) -> None:
    sweep = TrackedSweep("digits-0a1b2c", "x", "digits", NOW, "", {}, told=True)
    made = plan()
    tracker.sweeps.add(sweep, [(made, "", [Entry("0" * 12, "{}", {}, ("x",))])])
    tracker.plan(made, "")
    tracker.submit(made, "17")
    with sqlite3.connect(tracker.path) as db:
        db.execute(f"UPDATE {table} SET {column} = ?", (name,))
    with pytest.raises(TrackerError, match="stands where a name must be"):
        tracker.jobs()
        tracker.sweeps.all()
        tracker.sweeps.entries(made.plan_id)


@pytest.mark.parametrize("text", ["", "[", "{}", "null", "[" * 100_000, '{"schema": "tfslurm.plan/1"}'])
def test_a_plan_in_the_file_that_is_none_is_one_line(tracker: Tracker, text: str) -> None:
    tracker.plan(plan(), "")
    with sqlite3.connect(tracker.path) as db:
        db.execute("UPDATE plans SET plan = ?", (text,))
    with pytest.raises(TrackerError, match="cannot be read") as caught:
        tracker.plans()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", ".", "..", "a/b"])
def test_a_claim_makes_no_file_elsewhere(tracker: Tracker, name: str) -> None:
    with pytest.raises(TrackerError), tracker.claim(name):
        pass
