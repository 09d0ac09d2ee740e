"""The node side with podman, without root: real Slurm, real podman; the GPUs and their CDI description are stand-ins.

What test_node.py shows of docker and does not depend on the engine is not shown again.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made import HOSTILE
from tfslurm.job_plan import JobPlan
from tfslurm.spec import Mount, Resources

from . import images, registry
from .bed import HOME, HOOK_LOG, MIRROR, REGISTRY, wait_until
from .desk import SMALL, Desk, as_yaml
from .gpus import of_node
from .podman import podman
from .test_limits import MIB, submitted_with, usage
from .test_node import (
    KILL_WAIT_S,
    PATIENCE_S,
    USER,
    WAITING,
    Job,
    data,
    owned,
    put,
    ran,
    refused,
    root,
    sh,
    slurm,
    submit,
)
from .test_node import plan as docker_plan
from .test_reap import actions, labels, reap
from .users import run_as


def plan(cluster: str = "alpha", **changes: Any) -> JobPlan:
    return docker_plan(cluster, **{"engine": "podman", **changes})


@pytest.fixture(params=["alpha", "beta"])
def tenant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Another job, which holds the first free GPU of the second node of a cluster."""
    cluster: str = request.param
    argv = ["sbatch", "--parsable", f"--nodelist={cluster}2", "--gres=gpu:1", "--mem=50M", "--output=/dev/null"]
    job_id = run_as(USER, [*argv, "--wrap", "sleep 60"], cluster).stdout.strip()
    shown = ["squeue", "--noheader", "--format=%T", f"--jobs={job_id}"]
    assert wait_until(lambda: run_as(USER, shown, cluster).stdout.strip() == "RUNNING", PATIENCE_S)
    yield cluster
    run_as(USER, ["scancel", job_id], cluster)


# ----------------------------------------------------------------------------------------------------------------- GPUs


def test_the_container_gets_the_very_gpus_that_slurm_gave_by_cdi(tenant: str) -> None:
    before = HOOK_LOG.stat().st_size
    job = submit(
        plan(tenant, resources=Resources(gpus=2), options={"nodelist": f"{tenant}2"}, outputs="/out", command=sh(
            f"ls /dev/nvidia[0-9]*; {WAITING}"
        ))
    )  # fmt: skip
    job.runs()
    shown = slurm(job, "scontrol", "-d", "show", "job", job.job_id)
    job.go()
    assert job.end()["exit_code"] == 0, job.said()
    match = re.search(r"GRES=gpu(?::\w+)?:2\(IDX:([0-9,-]+)\)", shown)
    assert match, shown
    indices = [n for part in match[1].split(",") for n in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)]
    given = [of_node(f"{tenant}2")[index] for index in indices]
    assert job.fact("gpus.txt").split() == [gpu.uuid for gpu in given]
    assert job.output().split() == [f"/dev/nvidia{gpu.minor}" for gpu in given]
    assert job.fact("container/gpu-check.txt") == "ok\n"
    assert re.findall(r"UUID: ([^)]+)", job.fact("container/nvidia-smi-L.txt")) == [gpu.uuid for gpu in given]
    ours = [line for line in HOOK_LOG.read_bytes()[before:].splitlines() if given[0].uuid.encode() in line]
    assert ours == [], "nobody's hook had a part in it"


def test_a_gpu_that_no_cdi_description_names_is_the_engines_failure() -> None:
    """nvidia-smi is a stand-in here, which lists a GPU that the bed does not have."""
    stranger = "GPU-99999999-0000-0000-0000-000000000000"
    folder = root("alpha") / f"bin-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho 'GPU 0: X (UUID: {stranger})'\n")
    (folder / "nvidia-smi").chmod(0o755)
    asked = plan(resources=Resources(gpus=1))
    job = Job(asked, "1", put(asked) / "1")
    env = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "1"}
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = run_as(USER, ["bash", job.folder.parent / "job.sbatch", "task"], "alpha", env={**env, **path})
    assert done.returncode == 75, done.stderr
    assert "unresolvable CDI devices" in job.fact("refused.txt")
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


def test_without_gpus_the_container_has_none() -> None:
    job = ran(plan(command=sh("ls /dev/nvidia* 2>/dev/null; echo $NVIDIA_VISIBLE_DEVICES")))
    assert job.output() == "void\n", job.said()
    assert job.fact("container/gpu-check.txt") == "ok\n"


# ------------------------------------------------------------------------------------------------------------ lifetimes


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_cancelled_program_that_ignores_sigterm_leaves_no_container(cluster: str) -> None:
    job = submit(plan(cluster, outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10), job.said()
    assert job.end() == {**job.end(), "exit_code": 137, "signal": 9, "reason": "stopped by SIGTERM"}, job.said()
    assert job.task_end()["exit_code"] == 137
    assert job.task_end()["started_at"]


def test_a_cancelled_program_may_end_in_its_own_way() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap 'echo bye; exit 42' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    assert job.end()["exit_code"] == 42, job.said()
    assert job.output() == "bye\n"
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


def test_when_the_podman_client_is_killed_the_container_ends_and_the_end_is_written() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    container = job.fact("container-id.txt").strip()
    for pid in clients(container):
        os.kill(pid, signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert ": podman: the client that attends the container ended before it" in job.end()["reason"]
    assert job.inspected()["State"]["Running"] is False
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


def clients(container: str) -> list[int]:
    """`podman start` and the part of itself that it runs in the user's namespace, the first one first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"podman", b"start"] and container.encode() in words:
            found.append(int(folder.name))
    return sorted(found)


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_when_the_node_script_is_killed_the_container_ends_and_is_looked_at_and_removed(cluster: str) -> None:
    podman(USER, "system", "migrate")  # so that it is the job that keeps the user's namespace, and takes it along
    job = submit(plan(cluster, outputs="/out", command=sh(WAITING)))
    job.runs()
    container = job.fact("container-id.txt").strip()
    parent = int(Path(f"/proc/{clients(container)[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert ": the task's script: it ended with 137 before its container did" in job.end()["reason"]
    assert job.inspected()["Id"] == container
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first
    assert ran(plan(cluster)).end()["exit_code"] == 0, "and the next job starts cleanly"


@pytest.mark.parametrize("code", [0, 7, 75, 78, 125, 126, 127])
def test_the_programs_own_exit_code_is_the_jobs(code: int) -> None:
    job = ran(plan(command=sh(f"exit {code}")))
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, ""), job.said()
    assert job.task_end() == {**job.task_end(), "exit_code": code, "oom_killed": False, "signal": None}
    assert not (job.facts() / "refused.txt").exists()


def test_a_program_that_needs_more_memory_than_was_granted_is_ended_by_the_jobs_own_cgroup() -> None:
    """Without root podman can set no limit on cgroup v1; the container is below the task's cgroup, which has one."""
    job = ran(plan(options={"mem": "256M"}, command=("tail", "/dev/zero")))
    assert job.end()["exit_code"] == 137, job.said()
    assert job.inspected()["HostConfig"]["Memory"] == 0
    (path,) = re.findall(r"^\d+:memory:(.*)$", job.fact("container/cgroup.txt"), re.MULTILINE)
    assert f"/job_{job.job_id}/" in path
    hierarchies = Path("/sys/fs/cgroup")
    assert wait_until(lambda: not list(hierarchies.glob(f"*/slurm*/uid_*/job_{job.job_id}")), PATIENCE_S)


# --------------------------------------------------------------------------------------------- what reaches the program


def test_hostile_words_reach_the_program_byte_for_byte() -> None:
    words = tuple(word for word in HOSTILE if word.isprintable() or word.isascii())
    env = {**{f"V{at}": word for at, word in enumerate(words)}, "DOS": "a\r\nb"}
    script = "cat /proc/$$/cmdline >/out/argv; cat /proc/$$/environ >/out/environ"
    job = ran(plan(command=sh(script, *words), env=env, outputs="/out"))
    assert job.end()["exit_code"] == 0, job.said()
    argv = (job.folder / "out" / "argv").read_bytes().split(b"\0")[4:-1]
    environ = (job.folder / "out" / "environ").read_bytes().split(b"\0")
    assert argv == [word.encode() for word in words]
    assert {f"{k}={v}".encode() for k, v in env.items()} <= set(environ)


def test_a_variable_that_podman_would_change_ends_with_78() -> None:
    """Of the experiment's variables it is given only those that NVIDIA's hook reads."""
    said = refused(submit(plan(env={"NVIDIA_DOS": "a\r\nb"})))
    assert ": env: NVIDIA_DOS holds CR LF, of which podman makes LF;" in said


def test_hostile_mounts_are_mounted_as_they_are_named() -> None:
    allowed = data("alpha") / uuid.uuid4().hex
    names = ("a, b", 'say "x"', "it's", "$HOME `id`", "é", "a=b,readonly")
    for name in names:
        (allowed / name).mkdir(parents=True)
        (allowed / name / "here").write_text(name)
    owned(allowed)
    mounts = tuple(Mount(str(allowed / name), f"/in/{name}", at % 2 == 0) for at, name in enumerate(names))
    tried = 'touch "/in/$d/new" 2>/dev/null && echo writable || echo read-only'
    script = f'for d in "$@"; do cat "/in/$d/here"; echo; {tried}; done'
    job = ran(plan(command=sh(script, *names), mounts=mounts, mounts_allow=(str(allowed),)))
    wanted = [word for at, name in enumerate(names) for word in (name, "read-only" if at % 2 == 0 else "writable")]
    assert job.output().splitlines() == wanted, job.said()


def test_a_secret_reaches_the_program_and_nothing_else() -> None:
    value = f"s3cret {uuid.uuid4().hex} 'q' $x\n\n"
    job = ran(plan(command=sh('printf %s "$TOKEN" >/out/token'), secrets=("TOKEN",), outputs="/out"), {"TOKEN": value})
    assert job.end()["exit_code"] == 0, job.said()
    token = job.folder / "out" / "token"
    assert token.read_bytes() == value.encode()
    token.unlink()
    word = value.split()[1].encode()
    run_dir = Path(job.plan.run_dir)
    assert [path for path in run_dir.rglob("*") if path.is_file() and word in path.read_bytes()] == []


def test_the_program_is_the_user_and_what_it_writes_is_the_users() -> None:
    script = "id -u; id -g; id -un; touch $HOME/x /out/x && echo ok; grep -E 'NoNewPrivs|CapBnd' /proc/self/status"
    job = ran(plan(command=sh(script), outputs="/out"))
    entry = pwd.getpwnam(USER)
    lines = job.output().splitlines()
    assert lines[:4] == [str(entry.pw_uid), str(entry.pw_gid), USER, "ok"], job.said()
    assert [line.split()[1] for line in lines[4:]] == ["0000000000000000", "1"]
    written = (job.folder / "out" / "x").stat()
    assert (written.st_uid, written.st_gid) == (entry.pw_uid, entry.pw_gid)
    others = [str(gid) for gid in os.getgrouplist(USER, entry.pw_gid) if gid != entry.pw_gid]
    assert f"\tgroups-dropped\t{' '.join(others)}\n" in job.fact("events.tsv"), "runc cannot keep them"


def test_what_went_elsewhere_than_the_outputs_is_named() -> None:
    job = ran(plan(command=sh("echo kept >/out/a; echo lost >/tmp/lost"), outputs="/out"))
    assert "A /tmp/lost" in job.fact("container-diff.txt").splitlines()
    assert (job.folder / "out" / "a").read_text() == "kept\n"


# ------------------------------------------------------------------------------------------------------- what must hold


def test_what_the_first_source_does_not_have_is_pulled_from_the_next_by_the_same_digest() -> None:
    repository = f"tfslurm/fresh-{uuid.uuid4().hex[:12]}"
    digest = images.push_small(repository, "1", {"/mark": repository}, address=MIRROR)
    sources = tuple(f"{place}/{repository}@{digest}" for place in (REGISTRY, MIRROR))
    job = ran(plan(digest=digest, image_sources=sources, command=("cat", "/mark")))
    assert job.output() == repository, job.said()
    assert job.fact("image-source.txt") == f"{sources[1]}\n"
    assert job.fact("image-pulled.txt") == f"pulled from {sources[1]}\n"
    (image,) = json.loads(job.fact("image-inspect.json"))
    assert sources[1] in image["RepoDigests"]
    assert job.inspected()["Image"] == image["Id"]
    again = ran(plan(digest=digest, image_sources=sources))
    assert again.fact("image-pulled.txt") == "present\n"
    podman(USER, "image", "rm", "--force", sources[1])


def test_a_digest_that_no_registry_has_any_more_ends_with_78() -> None:
    repository = f"tfslurm/fresh-{uuid.uuid4().hex[:12]}"
    digest = images.push_small(repository, "1", {"/mark": repository})
    registry.delete_manifest(REGISTRY, repository, digest)
    job = submit(plan(digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",)))
    assert f"is not obtainable as {digest}" in refused(job)


def test_an_image_without_a_shell_ends_with_78_and_says_so() -> None:
    repository = f"tfslurm/bare-{uuid.uuid4().hex[:12]}"
    digest = images.push(images.Image((images.layer_of({"/mark": "x"}, ("/tmp",)),)), repository, "1")
    job = submit(plan(digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",)))
    assert "has no /bin/sh" in refused(job)
    podman(USER, "image", "rm", "--force", f"{REGISTRY}/{repository}@{digest}")


# ------------------------------------------------------------------------------------------------ as a user has it


@pytest.fixture
def podman_desk(desk: Desk) -> Desk:
    """A desk of a user who has told podman what this site needs."""
    (desk.folder / "config" / "containers").symlink_to(HOME / USER / ".config" / "containers")
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


def test_without_a_scheduler_podman_runs_the_same_experiment(podman_desk: Desk) -> None:
    described = {"name": "local", "root": str(podman_desk.root("alpha") / "local"), "engine": "podman"}
    podman_desk.write("config/tfslurm/clusters/local.yaml", as_yaml(described))
    done = podman_desk.tfslurm(
        "run", podman_desk.experiment("here", ["sh", "-c", "id -u >/out/id; exit 3"]), cluster=None
    )
    assert done.returncode == 3, done.stderr
    (folder,) = (podman_desk.root("alpha") / "local").glob("runs/*/1")
    assert (folder / "out" / "id").read_text() == f"{pwd.getpwnam(USER).pw_uid}\n"
    assert podman_desk.record("local:1")["attempts"][0]["tasks"][0]["container"]["exit_code"] == 3


def test_check_finds_podman_ready(podman_desk: Desk) -> None:
    podman_desk.describe("alpha", engine="podman")
    done = podman_desk.tfslurm("check", "alpha", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["fact"]: row for row in json.loads(done.stdout)["alpha"]}
    assert found["gpu/engine"]["status"] == "ok"
    assert found["gpu/engine"]["value"] == "podman 4.3.1, storage overlay, runtime runc"
    assert found["gpu/gpu-support"]["value"] == "CDI descriptions of nvidia.com/gpu: /etc/cdi/tfslurm-bed.json"
    assert (found["gpu/cgroup"]["status"], "without root" in found["gpu/cgroup"]["value"]) == ("warn", True)


# -------------------------------------------------------------------------------------------------------- cgroup_parent


def test_a_required_cgroup_parent_ends_with_78_on_cgroup_v1() -> None:
    line = refused(submit(docker_plan(cgroup_parent="require")))
    assert ": cgroup_parent: the node has cgroup v1, so the container cannot be put below the job's cgroup;" in line


@pytest.mark.parametrize(("value", "why"), [("auto", "the node has cgroup v1"), ("off", "the cluster file says off")])
def test_without_a_cgroup_parent_docker_is_given_the_limits_and_the_reason_is_kept(value: str, why: str) -> None:
    job = ran(docker_plan(cgroup_parent=value))
    assert job.end()["exit_code"] == 0, job.said()
    assert job.fact("cgroup-parent.txt") == f"none: {why}\n"
    host = job.inspected()["HostConfig"]
    assert (host["CgroupParent"], host["Memory"]) == ("", 256 * 2**20)


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_under_podman_the_umask_is_the_users_and_use_is_known_or_said_to_be_the_jobs(cluster: str) -> None:
    script = "umask; : >/out/file; sleep 2"
    job = submitted_with(plan(cluster, engine="podman", outputs="/out", command=sh(script)), "0027")
    assert job.end()["exit_code"] == 0, job.said()
    assert job.output().strip() == "0027"
    assert (job.folder / "out" / "file").stat().st_mode & 0o777 == 0o640
    assert {path.lstat().st_uid for path in (job.folder, *job.folder.rglob("*"))} == {pwd.getpwnam(USER).pw_uid}
    if (job.facts() / "container-usage.txt").exists():
        assert int(usage(job)["memory_peak_bytes"]) <= 256 * MIB
    else:
        assert "the container has no cgroup of its own" in job.fact("container-usage.txt.error")


def test_what_podman_left_is_removed_as_well(desk: Desk) -> None:
    desk.describe("alpha", engine="podman")
    entry = pwd.getpwnam(USER)
    for name, place in (("config", ".config"), ("data", ".local/share")):  # the desk has XDG folders of its own
        (desk.folder / name).mkdir(exist_ok=True)
        os.chown(desk.folder / name, entry.pw_uid, entry.pw_gid)
        (desk.folder / name / "containers").symlink_to(Path(entry.pw_dir) / place / "containers")
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
