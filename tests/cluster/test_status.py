"""What became of jobs, whoever is silent and whatever the user's shell has set: few questions, and nothing lost."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .bed import CLUSTERS, LOGIN_PATH, SLURMDBD_PORT
from .desk import USER, Desk, a_desk, until
from .users import run_as

# Each of them would change what Slurm's commands print, or whom they ask.
DIRTY = {
    "SQUEUE_FORMAT": "%i",
    "SQUEUE_FORMAT2": "JobID:8",
    "SQUEUE_STATES": "SUSPENDED",
    "SQUEUE_SORT": "-i",
    "SQUEUE_USERS": "nobody",
    "SACCT_FORMAT": "JobID",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_CLUSTERS": "nowhere",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_JOB_NAME": "another",
}


@dataclass(frozen=True)
class Jobs:
    """Jobs on alpha that ended while nobody looked: well, with 137, cancelled before it began; and one that waits."""

    desk: Desk
    well: str
    ill: str
    never: str
    waits: str

    def told(self, env: Mapping[str, str] | None = None, code: int = 0) -> tuple[dict[str, dict[str, Any]], str]:
        """What `tfslurm status --json` says by job, and on stderr."""
        done = self.desk.tfslurm("status", "--json", env=env)
        assert done.returncode == code, done.stderr
        return {job["job"]: job for job in json.loads(done.stdout)}, done.stderr

    def calls(self) -> list[str]:
        """The programs that were called since the last time."""
        file = self.desk.folder / "calls"
        called = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return called


@pytest.fixture(scope="module")
def ended(bed: None) -> Iterator[Jobs]:
    """Made once; each test gets the tracker as it is here, with nothing seen yet."""
    with a_desk() as desk:
        later = desk.experiment("later", "true", slurm={"begin": "now+1hour"})
        well = desk.submit(desk.experiment("well", "true"), env=DIRTY)
        ill = desk.submit(desk.experiment("ill", ["sh", "-c", "exit 137"]))
        never, waits = desk.submit(later), desk.submit(later, "--again")
        assert run_as(USER, ["scancel", never.partition(":")[2]], "alpha").returncode == 0
        until(lambda: len(desk.jobs("alpha", "COMPLETED", "FAILED", "CANCELLED")) == 3, 90)
        until(lambda: accounting_knows(well, ill, never), 60, "slurmdbd has not heard of it")
        shutil.copy2(desk.tracker, desk.tracker.with_suffix(".before"))
        yield Jobs(desk, well, ill, never, waits)


def accounting_knows(*jobs: str) -> bool:
    """Whether slurmdbd has heard that these jobs have ended, and their names, which may come later."""
    ids = ",".join(job.partition(":")[2] for job in jobs)
    form = ["--noheader", "--allocations", "--parsable2", f"--jobs={ids}", "--format=End,JobName"]
    lines = run_as(USER, ["sacct", *form], "alpha").stdout.splitlines()
    known = [not line.startswith(("Unknown", "None")) and not line.endswith("|allocation") for line in lines]
    return known == [True] * len(jobs)


@pytest.fixture
def jobs(ended: Jobs) -> Jobs:
    """Nothing of them has been seen yet."""
    tracker = ended.desk.tracker
    tracker.write_bytes(tracker.with_suffix(".before").read_bytes())
    ended.desk.describe("alpha")
    ended.calls()
    return ended


def counting(jobs: Jobs, *, forgotten: bool = False) -> dict[str, str]:
    """squeue and sacct that write down that they were called; ``forgotten``: the controller knows no job any more."""
    file = jobs.desk.folder / "calls"
    end = {"squeue": "exit 0" if forgotten else 'exec $real "$@"', "sacct": 'exec $real "$@"'}
    folders = [
        jobs.desk.wrap(program, f"echo {program} >>{file}; {end[program]}")["PATH"].partition(":")[0] for program in end
    ]
    return {"PATH": ":".join([*folders, LOGIN_PATH])}


def test_all_jobs_are_one_squeue_and_one_sacct_whatever_the_shell_has_set(jobs: Jobs) -> None:
    told, _ = jobs.told({**counting(jobs), **DIRTY})
    assert {job: told[job]["state"] for job in told} == {
        jobs.well: "COMPLETED",
        jobs.ill: "FAILED",
        jobs.never: "CANCELLED",
        jobs.waits: "PENDING",
    }
    assert told[jobs.ill]["exit_code"] == 137
    assert told[jobs.waits]["started_at"] is None
    assert told[jobs.waits]["expected_start_at"].endswith("Z")
    assert sorted(jobs.calls()) == ["sacct", "squeue"]
    jobs.told({**counting(jobs), **DIRTY})
    assert jobs.calls() == ["squeue"], "what has ended is not asked about again"


def test_jobs_that_the_controller_forgot_are_told_by_accounting_and_their_own_ends(jobs: Jobs) -> None:
    told, _ = jobs.told(counting(jobs, forgotten=True))
    states = [told[job]["state"] for job in (jobs.well, jobs.ill, jobs.never)]
    assert states == ["COMPLETED", "FAILED", "CANCELLED"]
    assert (told[jobs.ill]["exit_code"], told[jobs.ill]["nodes"] != []) == (137, True)
    assert sorted(jobs.calls()) == ["sacct", "squeue"]


def other_conf(jobs: Jobs, **settings: object) -> Path:
    """A slurm.conf of alpha in which these settings are others."""
    lines = CLUSTERS["alpha"].slurm_conf.read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in settings]
    changed = [f"{key}={value}" for key, value in settings.items()]
    path = jobs.desk.write("other/slurm.conf", "\n".join([*kept, *changed]) + "\n")
    for name in ("gres.conf", "cgroup.conf"):
        shutil.copy(CLUSTERS["alpha"].slurm_conf.with_name(name), path.parent)
    return path


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said: a daemon that is stopped (SIGSTOP)."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


def test_a_stopped_controller_is_one_line_and_the_next_command_finds_all(jobs: Jobs, mute: int) -> None:
    conf = other_conf(jobs, SlurmctldPort=mute, MessageTimeout=2)
    jobs.desk.describe("alpha", environment={"SLURM_CONF": str(conf)})
    begun = time.monotonic()
    told, said = jobs.told(code=1)
    assert time.monotonic() - begun < 40
    assert {each["state"] for each in told.values()} == {"PENDING"}
    (line,) = said.splitlines()
    assert line.startswith("error: alpha: squeue: ")
    assert line.endswith("; shown is what was last seen there")
    jobs.desk.describe("alpha")
    told, _ = jobs.told()
    assert [told[job]["state"] for job in (jobs.well, jobs.ill, jobs.never)] == ["COMPLETED", "FAILED", "CANCELLED"]


def test_while_slurmdbd_is_down_the_queue_and_the_jobs_own_ends_tell_and_nothing_is_called_lost(jobs: Jobs) -> None:
    conf = other_conf(jobs, AccountingStoragePort=SLURMDBD_PORT + 1)
    jobs.desk.describe("alpha", environment={"SLURM_CONF": str(conf)})
    told, said = jobs.told(counting(jobs, forgotten=True), code=1)
    states = [told[job]["state"] for job in (jobs.well, jobs.ill, jobs.never)]
    assert states == ["COMPLETED", "FAILED", "PENDING"]
    assert told[jobs.ill]["exit_code"] == 137
    (line,) = said.splitlines()
    assert line.startswith("error: alpha: sacct: ")
    jobs.desk.describe("alpha")
    told, _ = jobs.told(counting(jobs, forgotten=True))
    assert told[jobs.never]["state"] == "CANCELLED"


def test_a_site_is_asked_once_a_day_and_what_is_old_says_so(desk: Desk) -> None:
    calls = desk.folder / "calls"
    env = desk.wrap("scontrol", f'echo asked >>{calls}; exec $real "$@"')

    def value(*words: str) -> str:
        done = desk.tfslurm("check", "alpha", "--no-node", "--json", *words, env=env)
        assert done.returncode == 0, done.stdout
        (fact,) = (fact for fact in json.loads(done.stdout)["alpha"] if fact["fact"] == "MaxArraySize")
        return str(fact["value"])

    first = value()
    until(lambda: "asked" in value(), 10)
    assert value().startswith(f"{first}; asked ")
    assert calls.read_text().split() == ["asked"]
    assert value("--fresh") == first
    assert len(calls.read_text().split()) == 2
