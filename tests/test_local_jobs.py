"""A job of this machine, from its first moment on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.site import Site, at_home
from tests.made import plan
from tfslurm.cli import run
from tfslurm.errors import HostError
from tfslurm.handoff import local_process
from tfslurm.monitoring.reasons import why
from tfslurm.monitoring.rebuild_tracker import state_of
from tfslurm.submission import local
from tfslurm.tracker import Tracker


def test_a_job_that_is_interrupted_as_it_begins_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is a stand-in: a process that would sleep for minutes."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    for name, answer in (("guard", None), ("refresh", ""), ("start", ("1", process))):
        monkeypatch.setattr(local, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(local, "find_job", lambda *_: SimpleNamespace(key="local:1"))
    session: Any = SimpleNamespace(tracker=None, reach=lambda _: None, say=interrupted)
    known: Any = SimpleNamespace(cluster=SimpleNamespace(name="local", login=None))
    job: Any = None
    try:
        with pytest.raises(KeyboardInterrupt):
            local.begin(session, known, job, {})
        assert process.poll() == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_no_other_command_gives_up_a_job_that_is_about_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, its process and docker are stand-ins."""
    site = Site(tmp_path, Tracker(tmp_path / "tracker.sqlite"), name="local")
    site.program("docker", "")
    made = replace(plan(), cluster="local", root=str(site.root))
    folder, states = Path(made.run_dir), list[str]()

    def sent(*_: object) -> None:
        folder.mkdir(parents=True)
        other = Site(tmp_path, Tracker(tmp_path / "tracker.sqlite"), name="local")
        other.refresh()
        states.extend(each.stage for each in other.tracker.plans(plan_id=made.plan_id))

    def cannot(*_: object) -> None:
        raise HostError("bash: the job cannot be started")

    monkeypatch.setattr(local, "send_files", sent)
    monkeypatch.setattr(local, "attempt", cannot)
    prepared: Any = SimpleNamespace(plan=made, cluster_text="")
    with pytest.raises(HostError):
        local.start(prepared, site.tracker, site.host, {})
    assert (folder.exists(), states) == (True, ["planned"])
    let_go(folder / local_process.LOCK)
    site.refresh()
    assert site.states() == {"1": "FAILED"}, "it never ran, and does not stay as one that runs"


def test_a_job_under_nohup_outlives_its_terminal() -> None:
    before = {told: signal.getsignal(told) for told in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        local.hear_ends()
        heard = [signal.getsignal(told) for told in before]
        assert heard == [signal.default_int_handler, signal.SIG_IGN]
    finally:
        for told, handler in before.items():
            signal.signal(told, handler)


# ------------------------------------------------------------------------------------- one that another command started

WAITS = """
mkdir --parents "$PWD/1/attempt-1"
trap 'kill -s KILL $!; printf %s "$END" >"$PWD/1/attempt-1/exit.json"; exit 143' TERM
(trap 'touch "$PWD/told"' TERM; touch "$PWD/began"; sleep 600 & wait; wait) &
wait
"""
DEAF = 'trap "" TERM; touch "$PWD/began"; while :; do sleep 600; done'
LEAVES = '(touch "$PWD/began"; exec sleep 600) & wait'
"Stand-ins for job.sbatch: the first ends its child, whose own child goes on, and writes its end; the last leaves one."
END = '{"exit_code": 143, "signal": 15, "cause": "stopped", "reason": "stopped by SIGTERM"}'
Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """This machine, with one job, and an engine that has no containers and notes what it is asked."""
    site = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"), name="local")
    site.submit("1")
    site.program("docker", f'echo "$*" >>"{tmp_path}/asked"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    at_home(site, monkeypatch)
    folder_of(site).mkdir(parents=True)
    return site


def folder_of(here: Site) -> Path:
    return Path(here.root) / "runs" / here.job("1").job_name


@pytest.fixture
def start(here: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the job with a script, as the command does that is to be killed; nothing of it is left afterwards."""
    monkeypatch.setenv("END", END)
    with ExitStack() as stack:

        def started(script: str) -> subprocess.Popen[bytes]:
            folder = folder_of(here)
            (folder / "job.sbatch").write_text(script)
            process = local_process.attempt(folder, "1", {}, local_process.held(folder))
            let_go(folder / local_process.LOCK)
            stack.callback(process.wait)
            stack.callback(kill, folder)
            while not (folder / "began").exists():
                assert process.poll() is None
            return process

        yield started


def let_go(lock: Path) -> None:
    """Close the run folder's lock in this process, as the death of the command that started the job does."""
    for name in Path("/proc/self/fd").iterdir():
        if local_process.is_file(name, lock.lstat()):
            os.close(int(name.name))


def kill(folder: Path) -> None:
    for pid in living(folder):
        os.kill(pid, signal.SIGKILL)


def living(folder: Path) -> list[int]:
    """Those that were started in the run folder, by another way than the code's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").samefile(folder):
                found.append(int(process.name))
    return found


def test_cancel_ends_a_job_of_this_machine_as_its_own_end_says(here: Site, start: Start) -> None:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, "TFSLURM_LOCAL_JOB_ID": "1"}) as stranger:
        try:
            process = start(WAITS)
            assert run(["cancel", "local:1"]) == 0
            assert (process.wait(), living(folder_of(here))) == (143, [])
            assert not (folder_of(here) / "told").exists(), "its script ends it"
            assert stranger.poll() is None, "it has not the lock of the run folder"
        finally:
            stranger.kill()
    job = here.job("1")
    assert (job.state, job.final, job.status["exit_code"], why(job)) == ("CANCELLED", True, 143, "cancelled")


@pytest.mark.slow
def test_cancel_kills_a_script_that_does_not_end(here: Site, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "end_job", partial(local_process.end_job, grace_s=0.5))
    process = start(DEAF)
    assert run(["cancel", "local:1"]) == 0
    assert (process.wait(), living(folder_of(here))) == (-signal.SIGKILL, [])
    assert (here.job("1").state, here.job("1").final) == ("CANCELLED", True)
    plan_id = here.job("1").plan_id
    assert f"label=tfslurm.plan_id={plan_id}" in (here.folder / "asked").read_text(), "it may have left a container"


def test_cancel_ends_what_a_killed_script_has_left(here: Site, start: Start) -> None:
    process = start(LEAVES)
    process.kill()
    process.wait()
    assert living(folder_of(here))
    assert run(["cancel", "--all", "--yes"]) == 0
    assert living(folder_of(here)) == []
    assert (here.job("1").state, here.job("1").final) == ("CANCELLED", True)


def test_cancel_of_what_runs_elsewhere_says_so(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cancel", "local:1"]) == 1
    assert "local:1: nothing of it runs on this machine; end it where it was started" in capsys.readouterr().err
    assert not here.job("1").final


def test_a_job_that_was_stopped_was_cancelled_also_in_a_tracker_that_was_rebuilt() -> None:
    files = {"attempt-1/exit.json": END.encode()}
    assert (state_of("local", files), state_of("alpha", files)) == ("CANCELLED", "FAILED")
