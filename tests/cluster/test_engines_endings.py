"""How a job ends with every engine: its program's exit code, and what is left when it is stopped or killed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from .bed import wait_until
from .desk import USER
from .jobs import MIB, PATIENCE_S, WAITING, its_script_is_killed, owned, plan, ran, sh, slurm, stand_in, submit
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")
ENGINES = ("docker", "podman")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_cancelled_program_that_ignores_sigterm_leaves_no_container(engine: str, cluster: str) -> None:
    job = submit(plan(cluster, engine=engine, outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    job.leaves_no_container()
    assert job.end() == {**job.end(), "exit_code": 137, "signal": 9, "reason": "stopped by SIGTERM"}, job.said()
    assert job.task_end()["exit_code"] == 137
    assert job.task_end()["started_at"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cancelled_program_may_end_in_its_own_way(engine: str) -> None:
    job = submit(plan(engine=engine, outputs="/out", command=sh(f"trap 'echo bye; exit 42' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    assert job.end()["exit_code"] == 42, job.said()
    assert job.output() == "bye\n"
    job.leaves_no_container()


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_job_whose_engine_does_not_stop_its_container_writes_down_its_end_before_slurm_kills_it(cluster: str) -> None:
    real = run_as(USER, ["which", "docker"], cluster).stdout.strip()
    wrapper = stand_in("docker", f'if [ "$1" = stop ]; then exec sleep 300; fi; exec {real} "$@"')
    owned(wrapper)
    path = f'{{% extends "job.sbatch.j2" %}}{{% block prologue %}}export PATH={wrapper}:$PATH{{% endblock %}}'
    job = submit(plan(cluster, outputs="/out", command=sh(f"trap '' TERM; {WAITING}")), template=path)
    job.runs()
    slurm(job, "scancel", job.job_id)
    end = job.end()
    assert (end["exit_code"], end["cause"]) == (137, "stopped"), job.said()
    # beta's Slurm signals every process of a step, the engine's client among them
    assert ("engine-mute\tstop: " if cluster == "alpha" else "client-lost\t") in job.fact("events.tsv")
    job.leaves_no_container()


@pytest.mark.parametrize("engine", ENGINES)
def test_when_the_engines_client_is_killed_the_container_ends_and_the_end_is_written(engine: str) -> None:
    job = submit(plan(engine=engine, outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    for pid in job.client():
        os.kill(pid, signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert f": {engine}: the client that attends the container ended before it" in job.end()["reason"]
    assert job.inspected()["State"]["Running"] is False
    assert "client-lost" in job.fact("events.tsv")
    job.leaves_no_container()


def test_when_the_node_script_is_killed_the_container_ends_and_is_looked_at_and_removed() -> None:
    """Podman's turn is in tests/faults/test_daemons.py."""
    job = its_script_is_killed(plan(engine="docker", outputs="/out", command=sh(WAITING)))
    assert job.inspected()["State"]["ExitCode"] == 143, "its watcher sent SIGTERM"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("code", [75, 78, 125, 127])  # tfslurm's own and the engines'; others end other tests' jobs
def test_the_programs_own_exit_code_is_the_jobs(engine: str, code: int) -> None:
    job = ran(plan(engine=engine, command=sh(f"exit {code}")))
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, ""), job.said()
    assert job.task_end() == {**job.task_end(), "exit_code": code, "oom_killed": False, "signal": None}
    assert not (job.facts() / "refused.txt").exists()
    shown = ("scontrol", "show", "job", job.job_id)
    assert wait_until(lambda: f"ExitCode={code}:0" in slurm(job, *shown), 10), slurm(job, *shown)


@pytest.mark.parametrize(("engine", "cluster"), [("docker", "alpha"), ("docker", "beta"), ("podman", "alpha")])
def test_a_program_that_needs_more_memory_than_was_granted_is_ended(engine: str, cluster: str) -> None:
    """Docker sets the limit. Without root podman can set none on cgroup v1, but the task's cgroup has one on alpha."""
    job = ran(plan(cluster, engine=engine, options={"mem": "256M"}, command=("tail", "/dev/zero")))
    assert job.end()["exit_code"] == 137, job.said()
    host = job.inspected()["HostConfig"]
    if engine == "docker":
        assert job.task_end() == {**job.task_end(), "oom_killed": True, "signal": 9}
        assert host["Memory"] == host["MemorySwap"] == 256 * MIB
        return
    assert host["Memory"] == 0
    (path,) = re.findall(r"^\d+:memory:(.*)$", job.fact("container/cgroup.txt"), re.MULTILINE)
    assert f"/job_{job.job_id}/" in path
    hierarchies = Path("/sys/fs/cgroup")
    assert wait_until(lambda: not list(hierarchies.glob(f"*/slurm*/uid_*/job_{job.job_id}")), PATIENCE_S)
