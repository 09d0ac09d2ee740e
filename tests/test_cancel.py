"""What is known of jobs that are cancelled before they begin, with programs that print what Slurm does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.site import Site, at_home, queue_row
from tests.made import plan
from tfslurm.cli import run
from tfslurm.errors import HostError
from tfslurm.job_plan import Points
from tfslurm.monitoring.cancel import cancel, cancel_waiting, keep_cancelled
from tfslurm.slurm.values import ROW
from tfslurm.tracker import JobUpdate, TrackedJob, Tracker

Row = tuple[TrackedJob, str]


class Queue(Site):
    """A cluster whose squeue says one thing before a cancel, and another after it."""

    def says(self, before: list[Row], after: list[Row]) -> None:
        for name, rows in (("before", before), ("after", after)):
            text = "".join(queue_row(*row) + ROW + "\n" for row in rows)
            (self.folder / name).write_text(text)
        self.program("squeue", 'if grep -q scancel "$SITE/calls"; then cat "$SITE/after"; else cat "$SITE/before"; fi')
        for name in ("scancel", "scontrol"):
            self.program(name, f'echo "{name} $*" >>"$SITE/words"')

    def words(self) -> list[str]:
        path = self.folder / "words"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))


def tasks(queue: Queue, packed: int = 1) -> list[TrackedJob]:
    points = Points("s-1", 4, "x", points_per_job=packed)
    made = replace(plan(points=points, parameters={}), cluster=queue.name, root=str(queue.root))
    queue.tracker.plan(made, "")
    queue.tracker.submit(made, "17")
    return queue.tracker.jobs(cluster=queue.name)


def test_tasks_that_waited_and_are_gone_from_the_queue_never_began(queue: Queue) -> None:
    jobs = tasks(queue)
    began = [(job, "CANCELLED") for job in jobs[1:2]]  # with a node, as this queue's rows have
    queue.says([(job, "PENDING") for job in jobs[:3]] + [(jobs[3], "RUNNING")], began)
    gone: set[str] = set()
    cancel(jobs, gone, queue.known, queue.host)
    assert gone == {jobs[0].key, jobs[2].key}
    assert queue.words() == ["scancel 17_0 17_1 17_2 17_3"]
    keep_cancelled([jobs[0]], queue.tracker)
    assert (queue.job("17_0").state, queue.job("17_0").final) == ("CANCELLED", True)


def test_only_a_job_that_slurm_knows_by_its_name_is_cancelled(queue: Queue) -> None:
    own, given_again, forgotten = queue.submit("5", "6", "7")
    queue.says([(own, "RUNNING"), (given_again._replace(name="thesis"), "RUNNING")], [])
    cancel([own, given_again, forgotten], set(), queue.known, queue.host)
    assert queue.words() == ["scancel 5"]
    cancel([given_again, forgotten], set(), queue.known, queue.host)
    cancel_waiting([given_again, forgotten], set(), queue.known, queue.host)
    assert queue.words() == ["scancel 5"]


def test_only_what_waits_is_taken_back_and_what_runs_goes_on(queue: Queue) -> None:
    jobs = tasks(queue)
    another = jobs[2]._replace(name="another")  # Slurm gave the id of the third again
    queue.says([(jobs[0], "PENDING"), (jobs[1], "RUNNING"), (another, "PENDING")], [])
    gone: set[str] = set()
    cancel_waiting(jobs, gone, queue.known, queue.host)
    assert gone == {jobs[0].key}
    hold, stop, release = queue.words()
    assert (hold.split()[1], stop, release) == ("hold", "scancel 17_0", "scontrol release 17_1")


def test_points_of_one_job_are_taken_back_together(queue: Queue) -> None:
    jobs = tasks(queue, packed=2)
    waits = [job._replace(job_id=job.slurm_id) for job in jobs[::2]]
    queue.says([(job, "PENDING") for job in waits], [])
    gone: set[str] = set()
    cancel_waiting(jobs[:2], gone, queue.known, queue.host)
    assert gone == {jobs[0].key, jobs[1].key}
    assert queue.words()[1] == "scancel 17_0"


def test_a_refusal_is_an_error_unless_the_job_has_ended_meanwhile(queue: Queue) -> None:
    jobs = queue.submit("5")
    queue.says([(jobs[0], "RUNNING")], [(jobs[0], "RUNNING")])
    queue.program("scancel", "echo 'scancel: error: Invalid user' >&2; exit 1")
    with pytest.raises(HostError, match="alpha: scancel: error: Invalid user"):
        cancel(jobs, set(), queue.known, queue.host)
    queue.program("scancel", "echo 'Job/step already completing or completed, or already finished' >&2; exit 1")
    cancel(jobs, set(), queue.known, queue.host)


def test_a_refusal_is_told_though_another_job_of_the_command_has_ended(queue: Queue) -> None:
    jobs = queue.submit("5", "6")
    queue.says([(job, "RUNNING") for job in jobs], [(jobs[1], "RUNNING")])
    ended = "scancel: error: Kill job error on job id 5: Job/step already completing or completed, or already finished"
    queue.program("scancel", f"echo 'setlocale: no such' >&2; echo '{ended}' >&2; exit 1")
    cancel(jobs, set(), queue.known, queue.host)
    refused = "scancel: error: Kill job error on job id 6: Access/permission denied"
    queue.program("scancel", f"echo '{refused}' >&2; echo '{ended}' >&2; exit 1")
    with pytest.raises(HostError, match="job id 6: Access/permission denied"):
        cancel(jobs, set(), queue.known, queue.host)


def test_a_command_that_is_refused_keeps_no_other_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.monitoring.cancel.MOST_IDS", 1)
    jobs = queue.submit("5", "6")
    queue.says([(job, "RUNNING") for job in jobs], [])
    queue.program("scancel", 'echo "scancel $*" >>"$SITE/words"; [ "$1" = 6 ] || { echo error >&2; exit 1; }')
    with pytest.raises(HostError, match="alpha: error"):
        cancel(jobs, set(), queue.known, queue.host)
    assert queue.words() == ["scancel 5", "scancel 6"]


def test_cancelling_what_has_ended_says_that_there_is_nothing_to_cancel(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_home(queue, monkeypatch)
    for job in queue.submit("7", "8"):
        queue.tracker.update_jobs([JobUpdate(job, "COMPLETED", True, job.status)])
    assert run(["cancel", "alpha:7", "alpha:8"]) == 0
    assert capsys.readouterr().err == "nothing to cancel: all of them have ended\n"
