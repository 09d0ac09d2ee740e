"""What only podman does on the test bed, without root: CDI, refusals of its own, limits, and a user's commands."""

from __future__ import annotations

import json
import pwd
import re

import pytest

from tfslurm.spec import Resources

from .desk import SMALL, USER, Desk
from .jobs import MIB, Job, plan, put, refused, sh, stand_in, submit, submit_with_umask
from .test_reap import actions, labels, reap
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")


def test_a_gpu_that_no_cdi_description_names_is_the_engines_failure() -> None:
    """nvidia-smi is a stand-in here, which lists a GPU that the bed does not have."""
    stranger = "GPU-99999999-0000-0000-0000-000000000000"
    tool = stand_in("nvidia-smi", f"echo 'GPU 0: X (UUID: {stranger})'")
    asked = plan(engine="podman", resources=Resources(gpus=1))
    job = Job(asked, "1", put(asked) / "1")
    env = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "1", "PATH": f"{tool}:/usr/bin:/bin"}
    done = run_as(USER, ["bash", job.folder.parent / "job.sbatch", "task"], "alpha", env=env)
    assert done.returncode == 75, done.stderr
    assert "unresolvable CDI devices" in job.fact("refused.txt")
    job.leaves_no_container()


def test_a_variable_that_podman_would_change_ends_with_78() -> None:
    """Of the experiment's variables it is given only those that NVIDIA's hook reads."""
    said = refused(submit(plan(engine="podman", env={"NVIDIA_DOS": "a\r\nb"})))
    assert ": env: NVIDIA_DOS holds CR LF, of which podman makes LF;" in said


# ------------------------------------------------------------------------------------------------ as a user has it


@pytest.fixture
def podman_desk(desk: Desk) -> Desk:
    """A desk of a user who has told podman what this site needs."""
    desk.set_up_podman()
    return desk


def test_an_experiment_on_a_cluster_with_podman_leaves_a_whole_record(podman_desk: Desk) -> None:
    podman_desk.describe("alpha", engine="podman")
    script = "nvidia-smi -L >/out/seen; echo lost >/tmp/lost"
    job = podman_desk.submit(
        podman_desk.experiment("podman", ["sh", "-c", script], resources={"gpus": 1, "memory": "256M"})
    )
    assert podman_desk.ended(job) == "COMPLETED", podman_desk.tfslurm("provenance", job).stdout
    record = podman_desk.record(job)
    (task,) = record["attempts"][0]["tasks"]
    assert [gpu["uuid"] for gpu in task["gpus"]] == re.findall(r"UUID: ([^)]+)", podman_desk.out(job, "seen"))
    assert {key: record["verified"][key]["status"] for key in ("image", "gpus")} == {"image": "ok", "gpus": "ok"}
    assert (task["limits"]["memory"], task["container"]["exit_code"]) == ("job", 0)
    assert [lost["path"] for lost in record["experiment"]["lost"]] == ["/tmp/lost"]
    assert [output["path"] for output in record["experiment"]["outputs"]] == ["seen"]


def test_where_slurm_confines_nothing_the_record_says_that_no_limit_held(podman_desk: Desk) -> None:
    podman_desk.describe("beta", engine="podman")
    job = podman_desk.submit(podman_desk.experiment("free", ["true"]), cluster="beta")
    assert podman_desk.ended(job) == "COMPLETED", podman_desk.tfslurm("provenance", job).stdout
    record = podman_desk.record(job)
    assert record["attempts"][0]["tasks"][0]["limits"]["memory"] == "none"
    assert any(line.startswith("limits: nothing held a container") for line in record["warnings"])


def test_check_finds_podman_ready(podman_desk: Desk) -> None:
    podman_desk.describe("alpha", engine="podman")
    done = podman_desk.tfslurm("check", "alpha", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["fact"]: row for row in json.loads(done.stdout)["alpha"]}
    assert found["gpu/engine"]["status"] == "ok"
    assert found["gpu/engine"]["value"] == "podman 4.3.1, storage overlay, runtime runc"
    assert found["gpu/gpu-support"]["value"] == "CDI descriptions of nvidia.com/gpu: /etc/cdi/tfslurm-bed.json"
    assert (found["gpu/cgroup"]["status"], "without root" in found["gpu/cgroup"]["value"]) == ("warn", True)


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_under_podman_the_umask_is_the_users_and_use_is_known_or_said_to_be_the_jobs(cluster: str) -> None:
    script = "umask; : >/out/file; sleep 2"
    job = submit_with_umask(plan(cluster, engine="podman", outputs="/out", command=sh(script)), "0027")
    assert job.end()["exit_code"] == 0, job.said()
    assert job.output().strip() == "0027"
    assert (job.folder / "out" / "file").stat().st_mode & 0o777 == 0o640
    assert {path.lstat().st_uid for path in (job.folder, *job.folder.rglob("*"))} == {pwd.getpwnam(USER).pw_uid}
    if (job.facts() / "container-usage.txt").exists():
        assert int(job.usage()["memory_peak_bytes"]) <= 256 * MIB
    else:
        assert "the container has no cgroup of its own" in job.fact("container-usage.txt.error")


def test_what_podman_left_is_removed_as_well(podman_desk: Desk) -> None:
    desk = podman_desk
    desk.describe("alpha", engine="podman")
    entry = pwd.getpwnam(USER)
    words = [word for key, value in labels("alpha", "alpha1").items() for word in ("--label", f"tfslurm.{key}={value}")]
    who = ["--userns", "keep-id", "--user", f"{entry.pw_uid}:{entry.pw_gid}"]
    made = run_as(USER, ["podman", "create", *who, *words, SMALL, "sleep", "600"], "alpha")
    assert made.returncode == 0, made.stderr
    left = made.stdout.strip()
    try:
        listed = reap(desk, "alpha", "--node", "alpha1", "--dry-run")
        assert actions(listed, "alpha")[left] == "remove"
        assert actions(reap(desk, "alpha", "--node", "alpha1"), "alpha")[left] == "removed"
        assert run_as(USER, ["podman", "container", "exists", left], "alpha").returncode == 1
    finally:
        run_as(USER, ["podman", "rm", "--force", left], "alpha")
