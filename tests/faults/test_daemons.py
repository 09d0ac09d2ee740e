"""Slurm's own daemons are stopped, the real ones: what a user's commands say then, and what they find afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import accounting, daemons, slurm
from tests.cluster.bed import CLUSTERS, wait_until
from tests.cluster.conftest import bed, desk
from tests.cluster.desk import USER, Desk, gate, open_gate
from tests.cluster.docker import docker
from tests.cluster.jobs import WAITING, its_script_is_killed, plan, ran, sh
from tests.cluster.jupyter_image import REFERENCE, push
from tests.cluster.podman import podman
from tests.cluster.processes import processes
from tests.cluster.test_jupyter import ROOM, is_open, opened

__all__ = ["bed", "desk"]
ALPHA, BETA = CLUSTERS["alpha"], CLUSTERS["beta"]


@contextmanager
def stopped(daemon: daemons.Daemon) -> Iterator[None]:
    """That daemon does not run meanwhile."""
    assert daemons.stop([daemon.name]) == [daemon.name]
    try:
        yield
    finally:
        daemons.start([daemon])
        slurm.await_nodes(ALPHA)


def states(desk: Desk, code: int) -> tuple[dict[str, str], list[str]]:
    """What `tfslurm status` says of each job, and on stderr."""
    done = desk.tfslurm("status", "--json")
    assert done.returncode == code, done.stderr
    return {job["job"]: job["state"] for job in json.loads(done.stdout)}, done.stderr.splitlines()


@pytest.mark.usefixtures("bed")
def test_while_slurmctld_is_stopped_each_command_says_so_in_a_line_and_the_next_ones_lose_nothing(desk: Desk) -> None:
    (controller,) = slurm.controllers([ALPHA])
    runs = desk.submit(desk.experiment("runs", ["sh", "-c", gate()]))
    file = desk.experiment("late", ["true"])
    desk.submit(file, "--wait")  # its tag has been asked for
    with stopped(controller):
        done = desk.tfslurm("submit", file, "--cluster", "alpha")
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode, done.stdout, len(errors)) == (1, "", 1), done.stderr
        seen, said = states(desk, 1)
        assert seen[runs] in ("PENDING", "RUNNING")
        assert [line.endswith("; shown is what was last seen there") for line in said] == [True], said
    late = desk.submit(file)
    open_gate(desk, runs)
    assert [desk.ended(job) for job in (runs, late)] == ["COMPLETED", "COMPLETED"]
    everything = json.loads(desk.tfslurm("status", "--all", "--json").stdout)
    assert len([job for job in everything if job["name"].startswith("late")]) == 2, (
        "the one before and the one after; none of what was asked meanwhile"
    )


@pytest.mark.usefixtures("bed")
def test_while_slurmdbd_is_stopped_jobs_are_submitted_run_and_are_followed(desk: Desk) -> None:
    with stopped(accounting.slurmdbd()):
        job = desk.submit(desk.experiment("unaccounted", ["sh", "-c", "exit 9"]))
        assert desk.tfslurm("wait", job).returncode == 9
        assert states(desk, 0) == ({job: "FAILED"}, [])
    assert desk.ended(job) == "FAILED"


@pytest.mark.usefixtures("bed")
def test_who_has_a_notebook_open_is_told_of_a_node_that_is_gone_and_of_the_time_limit_and_nothing_is_left(
    desk: Desk,
) -> None:
    push()
    file = desk.experiment("ends", ["true"], image=REFERENCE, resources=ROOM)
    words = ("jupyter", str(file), "--cluster", "beta", "--set")
    with opened(desk, *words, "slurm.nodelist=beta1") as late, opened(desk, *words, "slurm.nodelist=beta2") as lost:
        number = late.job.partition(":")[2]
        assert slurm.slurm(BETA, "scontrol", "update", f"JobId={number}", "EndTime=now").returncode == 0
        gone = ("scontrol", "update", "NodeName=beta2", "State=DOWN", "Reason=test")
        try:
            assert slurm.slurm(BETA, *gone).returncode == 0
            for each, why in ((lost, "a node of it failed"), (late, "time limit of")):
                code, said = each.ends()
                assert (code != 0, f"{each.job}: has ended (" in said, why in said) == (True, True, True), said
                assert not is_open(each.browser)
        finally:
            slurm.slurm(BETA, "scontrol", "update", "NodeName=beta2", "State=RESUME")
            slurm.await_nodes(BETA)
    for each in (late, lost):
        assert wait_until(lambda job=each.job: not left(desk, job), 30), left(desk, each.job)  # type: ignore[misc]


def left(desk: Desk, job: str) -> list[str]:
    """Containers of a job, and processes that name its folder."""
    label = f"label=tfslurm.slurm_job_id={job.partition(':')[2]}"
    folder = str(desk.run_folder(job))
    found = docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").stdout.split()
    return found + [line for _, line in processes() if folder in line]


@pytest.mark.usefixtures("bed")
@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_when_the_node_script_is_killed_podmans_container_ends_too_and_the_next_job_starts_cleanly(
    cluster: str,
) -> None:
    """It may not learn the code: the user's namespace, and what waits for the container in it, go with the job.

    Here, because `podman system migrate` stops every container of the user's, also those of other tests.
    """
    podman(USER, "system", "migrate")  # so that it is the job that keeps the namespace, and takes it along
    its_script_is_killed(plan(cluster, engine="podman", outputs="/out", command=sh(WAITING)))
    assert ran(plan(cluster, engine="podman")).end()["exit_code"] == 0
    assert podman(USER, "info").returncode == 0, "from here on a process beside all jobs keeps it"
