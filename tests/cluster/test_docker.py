"""What only docker does on the test bed: a daemon that may not answer, and a cgroup parent."""

from __future__ import annotations

import json
import re

import pytest

from .desk import USER
from .jobs import MIB, plan, put, ran, refused, submit
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")


def test_a_docker_daemon_that_does_not_answer_ends_with_75() -> None:
    folder = put(plan())
    env = {"SLURM_JOB_ID": "1", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = run_as(USER, ["bash", folder / "job.sbatch", "task"], "alpha", env=env)
    assert done.returncode == 75, done.stderr
    assert re.match(r"tfslurm: \S+: docker: .*nowhere/docker.sock.*; ask the administrator", done.stderr)
    assert json.loads((folder / "1/attempt-1/facts/task-0/exit.json").read_text())["exit_code"] == 75
    assert "nowhere" in (folder / "1/attempt-1/facts/task-0/engine-info.json.error").read_text()


@pytest.mark.parametrize(("command", "code"), [(("no-such-program",), 127), (("/etc/passwd",), 126)])
def test_a_program_that_cannot_be_run_is_told_as_a_shell_does(command: tuple[str, ...], code: int) -> None:
    job = ran(plan(command=command))
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, ""), job.said()


def test_a_required_cgroup_parent_ends_with_78_on_cgroup_v1() -> None:
    line = refused(submit(plan(cgroup_parent="require")))
    assert ": cgroup_parent: the node has cgroup v1, so the container cannot be put below the job's cgroup;" in line


@pytest.mark.parametrize(("value", "why"), [("auto", "the node has cgroup v1"), ("off", "the cluster file says off")])
def test_without_a_cgroup_parent_docker_is_given_the_limits_and_the_reason_is_kept(value: str, why: str) -> None:
    job = ran(plan(cgroup_parent=value))
    assert job.end()["exit_code"] == 0, job.said()
    assert job.fact("cgroup-parent.txt") == f"none: {why}\n"
    host = job.inspected()["HostConfig"]
    assert (host["CgroupParent"], host["Memory"]) == ("", 256 * MIB)
