"""What became of any number of jobs: programs stand for Slurm's here, all else is as it is on a login node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.no_lines import NoLines
from tests.fakes.site import Site, at_home, queue_row, sacct_row
from tests.made import plan, session
from tfslurm import reap
from tfslurm.cli import run
from tfslurm.cluster import Cluster
from tfslurm.document.moments import seconds_between
from tfslurm.errors import HostError, SlurmParseError, TfslurmError
from tfslurm.handoff.recovery import settle_all
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import Points
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.exit_files import UNWRITTEN, ExitRequest, last_end, read_ends
from tfslurm.monitoring.poll import IN_TURN
from tfslurm.monitoring.refresh import refresh, refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.retrieval.records import status_of
from tfslurm.run_folder.ending import End
from tfslurm.slurm import accounting_argv, has_no_accounting
from tfslurm.slurm.jobs import LONGEST_LINE, SACCT_FIELDS
from tfslurm.slurm.values import FIELD, ROW
from tfslurm.tracker import JobUpdate, TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_of
from tfslurm.workspace.config import Known
from tfslurm.workspace.threads import at_once


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))
    made.queue([])
    made.accounts([])
    return made


@pytest.mark.slow
def test_hundreds_of_jobs_are_three_commands_and_the_finished_ones_none_afterwards(site: Site) -> None:
    jobs = site.submit(*(str(1_000_000 + number) for number in range(500)))
    queued, failed, done = jobs[:100], jobs[100:200], jobs[200:]
    site.queue([(job, "PENDING", "Priority") for job in queued])
    site.accounts([*((job, "FAILED", "3:0") for job in failed), *((job, "COMPLETED", "0:0") for job in done)])
    for job in failed:
        site.ended(job, exit_code=137, reason="the program's own")
    heard: list[str] = []
    spoken = CountingHost(site.host, heard)
    assert refresh(site.known, site.tracker, spoken) == ""
    assert heard == ["squeue", "sacct", "bash"]
    assert site.calls() == ["squeue", "sacct"]
    counts = {state: list(site.states().values()).count(state) for state in ("PENDING", "FAILED", "COMPLETED")}
    assert counts == {"PENDING": 100, "FAILED": 100, "COMPLETED": 300}
    assert site.job(failed[0].job_id).status["exit_code"] == 137
    assert site.job(queued[0].job_id).status["reason"] == "Priority"

    heard.clear()
    site.refresh()
    assert site.calls() == ["squeue"]


@dataclass(frozen=True)
class CountingHost(NoLines):
    """A machine that notes the programs it is asked to run."""

    host: LocalHost
    heard: list[str]
    name: str = "alpha"

    def run(self, argv: Sequence[str], **more: Any) -> Any:
        words = iter(argv)
        program = next(word for word in words if word != "-u" or not next(words))
        if program == "env":
            program = next(word for word in argv if word in ("squeue", "sacct", "scancel"))
        self.heard.append(program)
        return self.host.run(argv, **more)

    def run_bytes(self, argv: Sequence[str], **more: Any) -> bytes:
        raise AssertionError(argv)


def test_a_job_that_was_cancelled_before_it_began_left_no_end_to_read(site: Site) -> None:
    (job,) = site.submit("7")
    row = sacct_row(job, "CANCELLED").split(FIELD)
    row[SACCT_FIELDS.index("NodeList")] = "None assigned"
    (site.folder / "sacct").write_text(FIELD.join(row) + "\n")
    heard: list[str] = []
    refresh(site.known, site.tracker, CountingHost(site.host, heard))
    assert (heard, site.states()) == (["squeue", "sacct"], {"7": "CANCELLED"})


def test_what_the_queue_settles_is_asked_nobody_else(site: Site) -> None:
    running, done = site.submit("1", "2")
    site.queue([(running, "RUNNING", "None"), (done, "COMPLETED", "None")])
    site.refresh()
    assert site.states() == {"1": "RUNNING", "2": "COMPLETED"}
    assert site.job("2").status["exit_code"] == 0
    assert site.calls() == ["squeue"]
    site.tracker.update_jobs([JobUpdate(done, "RUNNING", False, {})])
    assert site.job("2").state == "COMPLETED", "what has ended stays as it ended"


def test_a_job_with_another_ones_id_is_not_taken_for_it(site: Site) -> None:
    (job,) = site.submit("7")
    other = job._replace(name="other")
    site.queue([(other, "RUNNING", "None")])
    site.accounts([(other, "COMPLETED", "0:0")])
    site.refresh()
    assert site.states() == {"7": "LOST"}


@pytest.mark.parametrize("program", ["squeue", "sacct"])
def test_an_unknown_state_is_an_error_and_changes_nothing(site: Site, program: str) -> None:
    (job,) = site.submit("7")
    site.queue([(job, "ASCENDED", "None")] if program == "squeue" else [])
    site.accounts([(job, "ASCENDED", "0:0")])
    with pytest.raises(SlurmParseError, match="ASCENDED"):
        site.refresh()
    assert site.states() == {"7": "PENDING"}


def test_a_silent_controller_is_an_error_and_changes_nothing(site: Site) -> None:
    site.submit("7")
    site.program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(HostError, match="alpha: squeue: slurm_load_jobs error: Unable to contact") as caught:
        site.refresh()
    assert caught.value.transient
    assert site.states() == {"7": "PENDING"}


def test_a_silent_slurmdbd_leaves_what_nobody_else_settles_as_it_was(site: Site) -> None:
    queued, ended, gone = site.submit("1", "2", "3")
    site.queue([(queued, "RUNNING", "None")])
    site.ended(ended, exit_code=0)
    site.program("sacct", "echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1")
    silence = site.refresh()
    assert silence.startswith("alpha: sacct: sacct: error: Problem talking to the database: Connection refused: 1 of ")
    assert site.states() == {"1": "RUNNING", "2": "COMPLETED", "3": "PENDING"}
    site.accounts([(gone, "NODE_FAIL", "1:0")])
    assert site.refresh() == ""
    assert site.states()["3"] == "NODE_FAIL"


def test_without_accounting_the_jobs_own_ends_decide(site: Site) -> None:
    jobs = site.submit("1", "2", "3", "4", "5")
    site.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    site.ended(jobs[0], exit_code=0, ended_at="2026-11-23T08:00:00Z")
    site.ended(jobs[1], exit_code=3, reason="bad data")
    site.ended(jobs[2], exit_code=0, reason="requeued after SIGUSR1")
    site.ended(jobs[3], 2, exit_code=0)
    site.ended(jobs[3], 10, text="{not whole")
    site.ended(jobs[3], 9, exit_code=5)
    assert site.refresh() == ""
    assert site.states() == {"1": "COMPLETED", "2": "FAILED", "3": "LOST", "4": "LOST", "5": "LOST"}
    assert site.job("1").status["ended_at"] == "2026-11-23T08:00:00Z"
    assert (site.job("2").status["exit_code"], site.job("2").status["reason"]) == (3, "bad data")
    site.program("sacct", "exit 127")
    assert not has_no_accounting("Connection refused")


def test_secrets_go_when_a_job_is_lost_for_the_second_time(site: Site) -> None:
    (one,) = site.submit("1", secrets=("TOKEN",))
    folder = Path(site.root) / "runs" / one.job_name / "secrets"
    folder.mkdir(parents=True)
    site.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    site.queue([(one, "RUNNING", "None")])
    site.refresh()
    site.queue([])
    site.refresh()
    assert (site.states(), folder.is_dir()) == ({"1": "LOST"}, True), "it may have been asked at a bad moment"
    site.program("sacct", "echo 'slurmdbd: connection refused' >&2; exit 1")
    site.refresh()
    assert folder.is_dir(), "accounting may know it"
    site.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    site.refresh()
    assert not folder.exists()


def test_secrets_go_when_no_job_of_their_plan_will_start_again(site: Site) -> None:
    (one,) = site.submit("1_1", secrets=("TOKEN",))
    made = site.tracker.plans()[0].plan
    site.tracker.submit(made, "1_2")
    folder = Path(made.run_dir) / "secrets"
    folder.mkdir(parents=True)
    two = site.job("1_2")
    site.queue([(one, "CANCELLED", "None"), (two, "PENDING", "Priority")])
    site.refresh()
    assert folder.exists(), "1_2 needs them"
    site.queue([(two, "CANCELLED", "None")])
    site.refresh()
    assert not folder.exists()


def test_secrets_of_a_job_that_nobody_knows_any_more_go_at_the_second_look(site: Site) -> None:
    """Killed whole, where there is no accounting: it is LOST for ever, and no look will say that it has ended."""
    site.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    (one,) = site.submit("1_1", secrets=("TOKEN",))
    made = site.tracker.plans()[0].plan
    site.tracker.submit(made, "1_2")
    folder = Path(made.run_dir) / "secrets"
    folder.mkdir(parents=True)
    two = site.job("1_2")
    site.queue([(two, "PENDING", "Priority")])
    for _ in range(3):
        site.refresh()
        assert site.states() == {"1_1": "LOST", "1_2": "PENDING"}
        assert folder.exists(), "1_2 needs them"
    site.queue([])
    site.refresh()
    assert site.states() == {"1_1": "LOST", "1_2": "LOST"}
    assert folder.exists(), "one look may have asked for the wrong user"
    site.refresh()
    assert not folder.exists()
    assert one.plan_id == two.plan_id


def test_tasks_that_slurm_shows_as_their_whole_array_were_cancelled_before_they_began(site: Site) -> None:
    made = replace(plan(points=Points("s-1", 3, "x"), parameters={}), cluster=site.name, root=str(site.root))
    site.tracker.plan(made, "")
    site.tracker.submit(made, "17")
    jobs = site.tracker.jobs(cluster=site.name)
    site.ended(jobs[1], exit_code=0, signal=None, reason="")  # and Slurm has forgotten it
    site.queue([(jobs[0]._replace(job_id="17"), "CANCELLED", "None"), (jobs[2], "RUNNING", "None")])
    site.accounts([])
    site.refresh()
    assert site.states() == {"17_0": "CANCELLED", "17_1": "COMPLETED", "17_2": "RUNNING"}


def test_a_running_array_is_not_taken_for_the_end_of_a_task_that_nobody_knows(site: Site) -> None:
    made = replace(plan(points=Points("s-1", 1, "x"), parameters={}), cluster=site.name, root=str(site.root))
    site.tracker.plan(made, "")
    site.tracker.submit(made, "17")
    (job,) = site.tracker.jobs(cluster=site.name)
    site.queue([(job._replace(job_id="17"), "PENDING", "None")])
    site.refresh()
    assert site.states() == {"17_0": "LOST"}


TURNS = ("2026-11-23T08:00:00.000Z", "2026-11-23T08:00:07.900Z")


@pytest.fixture
def packed(site: Site) -> list[TrackedJob]:
    """Six points of an array whose tasks 17_0 and 17_1 run three each."""
    points = Points("s-1", 6, "x", points_per_job=3)
    made = replace(plan(points=points, parameters={}), cluster=site.name, root=str(site.root))
    site.tracker.plan(made, "")
    site.tracker.submit(made, "17")
    return site.tracker.jobs(cluster=site.name)


def told(site: Site, job: TrackedJob, state: str, reason: str = "None") -> None:
    """What squeue says of the Slurm job of a point; of the other nothing has changed."""
    other = job._replace(job_id="17_1" if job.slurm_id == "17_0" else "17_0")
    site.queue([(job._replace(job_id=job.slurm_id), state, reason), (other, "PENDING", "Resources")])


def test_points_of_one_job_have_their_turns_while_it_runs(site: Site, packed: list[TrackedJob]) -> None:
    site.ended(packed[0], exit_code=3, signal=None, began_at=TURNS[0], ended_at=TURNS[1], reason="")
    (Path(site.root) / "runs" / packed[1].job_name / "17_0.1" / "attempt-1").mkdir(parents=True)
    told(site, packed[0], "RUNNING")
    site.refresh()
    waits = dict.fromkeys(("17_1.3", "17_1.4", "17_1.5"), "PENDING")
    assert site.states() == {"17_0.0": "FAILED", "17_0.1": "RUNNING", "17_0.2": "PENDING", **waits}
    status = site.job("17_0.0").status
    assert [status[key] for key in ("exit_code", "started_at", "elapsed_s")] == [3, TURNS[0], 7]
    assert site.job("17_0.2").status["reason"] == IN_TURN
    assert site.job("17_1.3").status["reason"] == "Resources"
    assert site.calls() == ["squeue"]


def test_the_last_point_of_a_job_ends_with_it_so_that_its_secrets_go(site: Site, packed: list[TrackedJob]) -> None:
    for job in packed[:3]:
        site.ended(job, exit_code=0, signal=None, began_at=TURNS[0], ended_at=TURNS[1], reason="")
    told(site, packed[0], "RUNNING")
    site.refresh()
    assert [site.states()[f"17_0.{place}"] for place in range(3)] == ["COMPLETED", "COMPLETED", "RUNNING"]
    told(site, packed[0], "COMPLETED")
    site.refresh()
    assert site.states()["17_0.2"] == "COMPLETED"


@pytest.mark.parametrize("state", ["TIMEOUT", "CANCELLED", "NODE_FAIL", "FAILED"])
def test_what_ends_a_job_ends_the_points_that_had_no_end_of_their_own(
    site: Site, packed: list[TrackedJob], state: str
) -> None:
    site.ended(packed[0], exit_code=0, signal=None, began_at=TURNS[0], ended_at=TURNS[1], reason="")
    site.ended(packed[1], exit_code=143, signal=15, began_at=TURNS[0], ended_at=TURNS[1], reason="stopped by SIGTERM")
    told(site, packed[0], state)
    site.accounts([(packed[0]._replace(job_id="17_0"), state, "0:0")])
    site.refresh()
    states = [site.states()[f"17_0.{place}"] for place in range(3)]
    assert states == ["COMPLETED", state, state]
    assert site.job("17_0.1").status["exit_code"] == 143


def test_a_job_that_ended_well_has_lost_the_point_that_left_no_end(site: Site, packed: list[TrackedJob]) -> None:
    site.ended(packed[0], exit_code=0, signal=None, reason="")
    site.ended(packed[2], exit_code=0, signal=None, reason="")
    told(site, packed[0], "COMPLETED")
    site.refresh()
    assert [site.states()[f"17_0.{place}"] for place in range(3)] == ["COMPLETED", "LOST", "COMPLETED"]
    assert site.job("17_0.0").status["elapsed_s"] is None


def test_many_ids_are_asked_for_by_user_and_time_so_that_no_word_is_too_long() -> None:
    few = accounting_argv("alice", ["1", "2_7", "2_8"], "2026-11-23T07:00:00Z")
    assert {"--jobs=1,2", "--starttime=2026-11-23T07:00:00"} < set(few)
    tasks = accounting_argv("alice", ["1", *(f"2_{task}" for task in range(5000))], "2026-11-23T07:00:00Z")
    assert "--jobs=1,2" in tasks
    many = accounting_argv("alice", [str(10**7 + number) for number in range(20_000)], "2026-11-23T07:00:00Z")
    assert {"--user=alice", "--starttime=2026-11-23T07:00:00", "--endtime=now+365days"} < set(many)
    assert max(len(" ".join(argv)) for argv in (few, tasks, many)) < LONGEST_LINE


# --- end files


@pytest.mark.slow
def test_any_number_of_end_files_are_one_command(tmp_path: Path) -> None:
    run = tmp_path / "a root, $(touch x) 'é'" / "runs" / "digits-0123456789ab"
    for job, attempt, text in (("1", 1, '{"exit_code": 1}'), ("1", 2, '{"exit_code": 2}'), ("2_3", 1, "[]")):
        (run / job / f"attempt-{attempt}").mkdir(parents=True)
        (run / job / f"attempt-{attempt}" / "exit.json").write_text(text + "\n")
    (run / "4" / "attempt-1").mkdir(parents=True)
    (run / "5" / "attempt-x").mkdir(parents=True)
    jobs = ("1", "2_3", "4", "5", "6")
    ends = read_ends(LocalHost(), [ExitRequest(PurePosixPath(run), job) for job in jobs])
    assert ends == [End(2, None, None, None, "program", ""), UNWRITTEN, UNWRITTEN, None, None]
    assert read_ends(LocalHost(), []) == []
    assert (
        len(read_ends(LocalHost(), [ExitRequest(PurePosixPath("/nowhere"), str(job)) for job in range(6000)])) == 6000
    )


NO_END = [
    *('{"exit_code": "7"}', '{"exit_code": 1e400}', '{"exit_code": -1}', '{"exit_code": 256}', '{"exit_code": true}'),
    *('{"exit_code": %s}' % ("9" * 5000), '{"signal": [9]}', '{"signal": 0}', '{"reason": 7}', '{"ended_at": {}}'),
    *("[" * 60000, "null", "7", '"x"', "{", "\x01"),
]


@pytest.mark.parametrize("text", NO_END)
def test_an_end_that_node_sh_does_not_write_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "1" / "attempt-1").mkdir(parents=True)
    (tmp_path / "1" / "attempt-1" / "exit.json").write_text(text)
    assert read_ends(LocalHost(), [ExitRequest(PurePosixPath(tmp_path), "1")]) == [None]


@pytest.mark.parametrize("moment", ["", "x", "9" * 5000, "99999-01-01T00:00:00Z", "2026-11-23T08:00:00", None, 7, []])
def test_a_moment_that_is_none_gives_no_seconds(moment: object) -> None:
    assert seconds_between(moment, "2026-11-23T08:00:00Z") is None
    assert seconds_between("2026-11-23T08:00:00Z", "2026-11-23T08:00:07Z") == 7


def test_an_answer_for_fewer_jobs_than_were_asked_about_is_an_error(site: Site) -> None:
    site.program("bash", "printf '{}\\0'")
    with pytest.raises(HostError, match="own ends could not be read"):
        read_ends(site.host, [ExitRequest(site.root, "1"), ExitRequest(site.root, "2")])


def test_the_last_attempt_is_the_one_with_the_largest_number() -> None:
    nine, ten = b'{"exit_code": 9}', b'{"exit_code": 10}'
    end = last_end({"attempt-9/exit.json": nine, "attempt-10/exit.json": ten})
    assert end and end.exit_code == 10
    assert last_end({"attempt-9/exit.json": nine, "attempt-10/began": b""}) is None
    assert last_end({}) is None


# --- several clusters


def several(tmp_path: Path, *names: str) -> list[Site]:
    tracker = Tracker(tmp_path / "tfslurm" / "tracker.sqlite")
    sites = []
    for name in names:
        (tmp_path / name).mkdir()
        site = Site(tmp_path / name, tracker, name)
        site.queue([(job, "RUNNING", "None") for job in site.submit("1")])
        site.accounts([])
        sites.append(site)
    return sites


def test_clusters_are_asked_at_once_and_one_that_is_down_keeps_no_other_waiting(tmp_path: Path) -> None:
    sites = several(tmp_path, "a", "b", "c")
    meet = 'touch "$SITE/../here-$(basename "$SITE")"; n=0; until [ -e "$SITE/../here-{}" ] || [ $n -gt 100 ]; do '
    for one, other in ((0, "c"), (2, "a")):  # each waits for the other: one after the other they would never end
        wait = meet.format(other) + "sleep 0.1; n=$((n + 1)); done; [ $n -le 100 ] || exit 1"
        sites[one].program("squeue", f'{wait}; cat "$SITE/squeue"')
    sites[1].program("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    silent = refresh_all(session(sites[0].tracker), [site.known for site in sites])
    assert silent == {"b": "b: squeue: Unable to contact slurm controller"}
    assert [site.states() for site in sites] == [{"1": "RUNNING"}, {"1": "PENDING"}, {"1": "RUNNING"}]


def test_a_cluster_that_is_not_understood_is_one_line_with_its_name(tmp_path: Path) -> None:
    one, other = several(tmp_path, "a", "b")
    one.queue([(one.job("1"), "ASCENDED", "None")])
    silent = refresh_all(session(one.tracker), [one.known, other.known])
    assert list(silent) == ["a"]
    assert silent["a"].startswith("a: job state: cannot read Slurm's answer 'ASCENDED'")
    assert other.states() == {"1": "RUNNING"}


def test_a_cluster_says_nothing_of_what_another_one_of_its_name_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects have an `alpha`: that the one does not know the other's jobs does not make them lost."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(tmp_path / "tfslurm" / "tracker.sqlite")
    text = "name: alpha\nroot: /scratch/{0}\nlogin: {{host: {0}.example}}\n"
    one, other = (Site(tmp_path / name, tracker, text=text.format(name)) for name in "ab")
    one.folder.mkdir()
    (mine,) = one.submit("1", secrets=("TOKEN",))
    sent, left = (
        replace(plan(planned_at=f"2026-11-23T08:00:0{second}.000000Z"), cluster="alpha", root=str(other.root))
        for second in range(2)
    )
    for each in (sent, left):
        tracker.plan(each, other.text)
    tracker.submit(sent, "2")
    theirs = other.job("2")
    one.queue([(mine, "RUNNING", "None")])
    one.accounts([])
    for _ in range(2):
        assert refresh(one.known, tracker, one.host) == refresh(one.known, tracker, one.host, [theirs]) == ""
        settle_all(one.known, tracker, one.host)
    assert one.states() == {"1": "RUNNING", "2": "PENDING"}
    assert [each.plan.plan_id for each in tracker.plans(stage="planned")] == [left.plan_id]
    for asked in (
        clusters_to_ask(tracker, None),
        clusters_to_ask(tracker, [mine, theirs]),
        clusters_of([mine, theirs], tracker),
    ):
        assert sorted(str(known.cluster.root) for known in asked) == ["/scratch/a", "/scratch/b"]
    with monkeypatch.context() as patch, session(tracker) as mind:
        patch.setattr("tfslurm.workspace.session.open_host", lambda cluster, trace: nullcontext(cluster))
        first, second = (mind.reach(known) for known in clusters_of([mine, theirs], tracker))
        assert first != second


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_clusters_that_are_silent(tmp_path: Path) -> None:
    sites = several(tmp_path, "a", "b")
    for site in sites:
        site.program("squeue", 'touch "$SITE/begun"; exec sleep 20')
        (tmp_path / "tfslurm" / "clusters").mkdir(exist_ok=True)
        text = f"name: {site.name}\nroot: {site.root}\nslurm_bin: {site.folder}/bin\n"
        (tmp_path / "tfslurm" / "clusters" / f"{site.name}.yaml").write_text(text)
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "tfslurm", "status"]
    with subprocess.Popen(argv, cwd=sites[0].folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not all((site.folder / "begun").exists() for site in sites):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (130, "interrupted")


def test_works_begin_together_and_answer_in_their_order() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(name: str) -> str:
        both.wait()
        if name == "b":
            raise TfslurmError("b is down")
        return name

    first, second = at_once([partial(work, "a"), partial(work, "b")])
    with pytest.raises(TfslurmError, match="b is down"):
        second()
    assert first() == "a"
    (alone,) = at_once([threading.get_ident])
    assert alone() == threading.get_ident()


# --- what `wait` prints


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (78, "image: none here", "exit 78: not started: image: none here"),
        (78, "none", "exit 78: not started; `tfslurm logs alpha:7` says why"),
        (
            78,
            f"tfslurm: n1: image: {'x' * 200}",
            f"exit 78: not started: n1: image: {'x' * 200}",
        ),
        (75, "docker: no answer", "exit 75: what runs the program failed, not the program: docker: no answer"),
        (75, "none", "exit 75: what runs the program failed, not the program; `tfslurm logs alpha:7` says what"),
        (3, "", "exit 3"),
    ],
)
def test_wait_prints_how_the_job_failed_and_what_to_type(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    reason: str,
    told: str,
) -> None:
    at_home(site, monkeypatch)
    (job,) = site.submit("7")
    site.queue([(job, "FAILED", "None")])
    site.accounts([(job, "FAILED", f"{code}:0")])
    site.ended(job, exit_code=code, reason=reason)
    assert run(["wait", "alpha:7"]) == code
    more = "" if "`tfslurm logs" in told else "; `tfslurm logs alpha:7` shows what it printed"
    assert capsys.readouterr().err.splitlines() == ["alpha:7 FAILED", f"alpha:7: {told}{more}"]


def test_wait_prints_why_the_job_waits_and_at_ctrl_c_that_it_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_home(site, monkeypatch)
    (job,) = site.submit("7")
    site.queue([(job, "PENDING", "PartitionTimeLimit")])

    def ctrl_c(pace: Pace, clusters: Sequence[Known]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pace, "wait", ctrl_c)
    assert run(["wait", "alpha:7"]) == 130
    assert capsys.readouterr().err.splitlines() == [
        "alpha:7 PENDING (it asks for more time than its partition allows, so it will never start)",
        "alpha:7: `tfslurm cancel alpha:7`, then ask for what `tfslurm check alpha` lists",
        "",
        "alpha:7 goes on; `tfslurm wait alpha:7`, `tfslurm cancel alpha:7`",
        "interrupted",
    ]


def test_what_a_job_says_of_its_own_end_stands_beside_slurm_s_word(site: Site) -> None:
    (job,) = site.submit("5")
    site.ended(job, exit_code=75, signal=None, cause="engine", reason="tfslurm: n1: docker: it went away")
    site.queue([(job, "FAILED", "NonZeroExitCode")])
    site.accounts([(job, "FAILED", "75:0")])
    site.refresh()
    ended = site.job("5")
    assert ended.status["cause"] == "engine"
    status = status_of(ended)
    assert status and (status.state, status.exit_code) == ("FAILED", 75)


# --- how often


def test_wait_leaves_the_site_s_interval_between_two_questions(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("tfslurm.monitoring.backoff.time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    at_home(site, monkeypatch, "poll: {min_interval: 7}\n")
    (job,) = site.submit("7")
    site.queue([(job, "COMPLETED", "None")])
    (site.folder / "running").write_text(queue_row(job, "RUNNING") + ROW)
    asked = 'echo asked >>"$SITE/asked"; [ "$(wc -l <"$SITE/asked")" -gt 2 ] || exec cat "$SITE/running"'
    site.program("squeue", f'{asked}; cat "$SITE/squeue"')
    assert run(["wait", "alpha:7"]) == 0
    assert capsys.readouterr().err.splitlines() == ["alpha:7 RUNNING", "alpha:7 COMPLETED"]
    assert len((site.folder / "asked").read_text().split()) == 3
    assert slept == [7, 7]


def test_a_watcher_slows_down_while_nothing_changes_and_never_asks_sooner_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    quick, slow = (
        Known(Cluster(name=name, root=PurePosixPath("/r"), min_interval_s=least), "", None)
        for name, least in (("quick", 0), ("slow", 30))
    )
    pace = Pace(first_s=2, factor=2, most_s=5)
    assert pace.due([quick, slow]) == [quick, slow]
    pace.asked([quick, slow], changed=True)
    assert pace.due([quick, slow]) == []
    for changed, waited in ((False, 2), (False, 4), (False, 5), (True, 5)):
        pace.wait([quick, slow])
        assert slept[-1] == waited
        now += waited
        assert pace.due([quick, slow]) == [quick]
        pace.asked([quick], changed=changed)
    pace.wait([quick, slow])
    assert slept[-1] == 2
    now = 130.0
    assert pace.due([slow]) == [slow]


@pytest.mark.slow
@pytest.mark.parametrize("field", [2, 8, 9, 10, 12])
@pytest.mark.parametrize("text", ["\x01" * 12_000_000, "é" * 12_000_000, "n[1-3]" * 7], ids=["controls", "é", "nodes"])
def test_what_a_cluster_says_of_a_job_can_be_read_from_the_tracker_again(site: Site, field: int, text: str) -> None:
    (job,) = site.submit("5")
    words = queue_row(job, "RUNNING").split(FIELD)
    words[field] = text
    site.say("squeue", [FIELD.join(words)], ROW + "\n")
    with suppress(SlurmParseError):
        refresh(site.known, site.tracker, site.host)
    assert len(str(site.job("5").status)) < 100_000


def test_points_of_one_job_have_no_more_nodes_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.monitoring.poll.MOST_NAMED", 5)
    jobs = site.submit("5", "6", "7")
    site.queue([(job, "RUNNING", "None") for job in jobs])
    with pytest.raises(SlurmParseError, match="the nodes of your jobs"):
        refresh(site.known, site.tracker, site.host)
    assert all(job.state == "PENDING" for job in site.tracker.jobs())


def test_an_answer_that_is_not_understood_is_no_answer(tmp_path: Path) -> None:
    """Whoever goes on where a cluster does not answer goes on here too: reap, fetch, provenance, a note of submit."""
    one, _ = several(tmp_path, "a", "b")
    (one.folder / "rows").write_text("n\n" * 100_001)
    one.program("sinfo", 'cat "$SITE/rows"')
    (reaped,) = reap.reap_clusters(session(one.tracker), [one.known], reap.ReapOptions(("n",), dry_run=True))
    assert "there are more than" in reaped.problems[0]
