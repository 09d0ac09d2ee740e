"""The node side on the test bed: real Slurm, a real docker daemon; the GPUs and their hook are stand-ins."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.made import HOSTILE
from tests.node_side import put_node_side
from tfslurm.image import Pin
from tfslurm.job_plan import CodeState, JobPlan, identify, to_json
from tfslurm.render import render
from tfslurm.spec import Checkpoint, Mount, Resources
from tfslurm.submission.prepare import sent_files

from . import images, registry
from .bed import BIN, DOCKER_HOST, DOCKER_SOCKET, HOOK_LOG, MIRROR, REGISTRY, SCRATCH, wait_until
from .desk import Desk
from .docker import docker
from .gpus import of_node
from .podman import podman
from .users import run_as

TEMPLATES = Path(__file__).parent.parent.parent / "job_templates"
USER = "alice"
PATIENCE_S = 60
KILL_WAIT_S = 5


# ---------------------------------------------------------------------------------------------- what a test is built of


@cache
def small() -> str:
    digest = registry.tag_digest(REGISTRY, images.SMALL, images.SMALL_TAG)
    assert digest
    return digest


def plan(cluster: str = "alpha", digest: str = "", **changes: Any) -> JobPlan:
    digest = digest or small()
    name = f"{REGISTRY}/{images.SMALL}"
    resources = changes.get("resources", Resources(gpus=0))
    options = {"time": "5", "nodes": str(resources.nodes), "ntasks-per-node": str(resources.tasks_per_node)}
    options |= {"cpus-per-task": "1", "mem": "256M", "no-requeue": ""}
    if resources.gpus:
        options["gres"] = f"gpu:{resources.gpus}"
    options |= changes.pop("options", {})
    if "requeue" in options:
        del options["no-requeue"]
    pin = Pin(
        f"{name}:1", REGISTRY, images.SMALL, "1", digest, "manifest", "registry", "linux/amd64", digest, "", 1, "", "",
        name, "2024-05-01T12:00:00Z", (), {},
    )  # fmt: skip
    values: dict[str, Any] = {
        "name": "node-side", "user": USER, "cluster": cluster, "root": str(root(cluster)), "engine": "docker",
        "pin": pin, "image_sources": (f"{name}@{digest}",), "command": ("true",), "env": {}, "mounts": (),
        "mounts_allow": (), "outputs": None, "secrets": (), "resources": resources, "network": "none",
        "code": None, "options": options, "template": "", "checkpoint": None, "parameters": {},
        "spec_file": "exp.yaml", "spec_sha256": "12" * 32, "planned_at": uuid.uuid4().hex, "tfslurm_version": "0",
    }  # fmt: skip
    return identify(JobPlan(**{**values, **changes}))


def root(cluster: str) -> Path:
    return SCRATCH / cluster / USER / "test-node"


def data(cluster: str) -> Path:
    return SCRATCH / cluster / USER / "test-data"


def owned(path: Path) -> None:
    entry = pwd.getpwnam(USER)
    for item in (path, *path.rglob("*")):
        os.chown(item, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def put(asked: JobPlan, secrets: Mapping[str, str] | None = None, template: str = "") -> Path:
    """The run folder as the client leaves it."""
    folder = Path(asked.run_dir)
    folder.mkdir(parents=True)
    texts = {"job.sbatch.j2": (TEMPLATES / "job.sbatch.j2").read_text(), "my.j2": template}
    name = "my.j2" if template else "job.sbatch.j2"
    (folder / "job.sbatch").write_text(render(asked, texts, name, sent_files(asked)))
    (folder / "plan.json").write_text(json.dumps(to_json(asked)))
    put_node_side(folder, asked.engine, points=asked.points is not None)
    for name, value in (secrets or {}).items():
        (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
        (folder / "secrets" / name).write_bytes(value.encode())
        (folder / "secrets" / name).chmod(0o600)
    for parent in (Path(asked.root), folder.parent):
        os.chown(parent, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
    owned(folder)
    return folder


@dataclasses.dataclass(frozen=True)
class Job:
    """One submitted job and the files it leaves."""

    plan: JobPlan
    job_id: str
    folder: Path

    def attempt(self, number: int = 1) -> Path:
        return self.folder / f"attempt-{number}"

    def facts(self, rank: int = 0, attempt: int = 1) -> Path:
        return self.attempt(attempt) / "facts" / f"task-{rank}"

    def fact(self, name: str, rank: int = 0, attempt: int = 1) -> str:
        return (self.facts(rank, attempt) / name).read_text("utf-8")

    def end(self, attempt: int = 1) -> dict[str, Any]:
        """The attempt's end; it is awaited."""
        path = self.attempt(attempt) / "exit.json"
        assert wait_until(path.exists, PATIENCE_S), self.said()
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def task_end(self, rank: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.fact("exit.json", rank))
        return found

    def inspected(self, rank: int = 0) -> dict[str, Any]:
        (found,) = json.loads(self.fact("container-inspect.json", rank))
        assert isinstance(found, dict)
        return found

    def output(self) -> str:
        return (self.attempt() / "stdout.log").read_text("utf-8")

    def said(self) -> str:
        """Everything that could explain a surprise."""
        files = [
            *self.folder.parent.glob("slurm-*.out"),
            *self.folder.glob("**/stderr*.log"),
            *self.folder.glob("**/events.tsv"),
        ]
        return "\n".join(f"--- {file}\n{file.read_text(errors='replace')}" for file in files)

    def runs(self) -> None:
        """The program has started; it is awaited."""
        assert wait_until((self.folder / "out" / "here").exists, PATIENCE_S), self.said()

    def go(self) -> None:
        (self.folder / "out" / "go").touch()

    def containers(self) -> list[str]:
        words = ("ps", "--all", "--quiet", "--filter", f"label=tfslurm.plan_id={self.plan.plan_id}")
        done = podman(USER, *words) if self.plan.engine == "podman" else docker(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def process(self, *words: str) -> int:
        """The one process of this job whose command line holds the words; it is awaited."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid, line in processes() if all(word in line for word in words)]
            return len(found) == 1

        assert wait_until(look, 10), found
        return found[0]


def processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def submit(asked: JobPlan, secrets: Mapping[str, str] | None = None, template: str = "") -> Job:
    folder = put(asked, secrets, template)
    done = run_as(USER, ["sbatch", "--parsable", folder / "job.sbatch"], asked.cluster, cwd=Path("/tmp"))
    assert done.returncode == 0, done.stderr
    return Job(asked, done.stdout.strip(), folder / done.stdout.strip())


def ran(asked: JobPlan, secrets: Mapping[str, str] | None = None, template: str = "") -> Job:
    job = submit(asked, secrets, template)
    job.end()
    return job


def slurm(job: Job, *argv: str) -> str:
    done = run_as(USER, argv, job.plan.cluster)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sh(script: str, *words: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh", *words)


WAITING = "touch /out/here; until [ -e /out/go ]; do sleep 0.05; done"
REFUSED = "tfslurm: {where}: {what}"


def refused(job: Job) -> str:
    """The refusal: exit 78, one line in the facts, in the attempt's end and on stderr, and no program ran."""
    end = job.end()
    (line,) = job.fact("refused.txt").splitlines()
    assert (end["exit_code"], end["reason"]) == (78, line), job.said()
    assert line in (job.folder.parent / f"slurm-{job.job_id}.out").read_text()
    assert job.task_end()["exit_code"] == 78
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first
    assert re.match(r"tfslurm: [^:]+: \w+: .+; .+", line)
    return line


# ----------------------------------------------------------------------------------------------------------------- GPUs


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Another job, which holds GPU 0 of the second node of a cluster, once no test of another file has it."""
    cluster: str = request.param
    argv = ["sbatch", "--parsable", f"--nodelist={cluster}2", "--gres=gpu:1", "--mem=50M", "--output=/dev/null"]
    job_id = ""

    def holds_the_first() -> bool:
        nonlocal job_id
        job_id = run_as(USER, [*argv, "--wrap", "sleep 60"], cluster).stdout.strip()
        shown = ["scontrol", "-d", "show", "job", job_id]
        assert wait_until(lambda: "JobState=RUNNING" in run_as(USER, shown, cluster).stdout, PATIENCE_S)
        if "(IDX:0)" in run_as(USER, shown, cluster).stdout:
            return True
        run_as(USER, ["scancel", job_id], cluster)
        return False

    assert wait_until(holds_the_first, PATIENCE_S)
    yield cluster
    run_as(USER, ["scancel", job_id], cluster)


@pytest.mark.parametrize(
    ("tenant", "source"), [("alpha", "cgroup"), ("beta", "index-unconstrained")], indirect=["tenant"]
)
def test_beside_another_job_the_container_gets_the_very_gpus_that_slurm_gave(tenant: str, source: str) -> None:
    asked = plan(
        tenant, resources=Resources(gpus=2), options={"nodelist": f"{tenant}2"}, outputs="/out", command=sh(WAITING)
    )
    job = submit(asked)
    job.runs()
    shown = slurm(job, "scontrol", "-d", "show", "job", job.job_id)
    job.go()
    assert job.end()["exit_code"] == 0, job.said()
    match = re.search(r"GRES=gpu(?::\w+)?:2\(IDX:([0-9,-]+)\)", shown)
    assert match, shown
    indices = [n for part in match[1].split(",") for n in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)]
    given = [of_node(f"{tenant}2")[index].uuid for index in indices]
    assert 0 not in indices, "the other job holds GPU 0"
    assert hook_line(job)["uuids"] == given
    assert job.fact("gpus.txt").split() == given
    assert job.fact("gpu-source.txt") == f"{source}\n"
    assert job.fact("container/gpu-check.txt") == "ok\n"
    assert re.findall(r"UUID: ([^)]+)", job.fact("container/nvidia-smi-L.txt")) == given
    assert job.fact("nvidia-smi-query.csv").startswith(
        "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id\n"
    )


def hook_line(job: Job) -> dict[str, Any]:
    lines = [json.loads(line) for line in HOOK_LOG.read_text().splitlines()]
    (found,) = [line for line in lines if line["container"] == job.fact("container-id.txt").strip()]
    assert isinstance(found, dict)
    return found


def test_without_gpus_the_container_is_told_void() -> None:
    job = ran(plan(command=sh("ls /dev/nvidia* 2>/dev/null; true")))
    assert "NVIDIA_VISIBLE_DEVICES=void" in job.inspected()["Config"]["Env"]
    assert job.inspected()["HostConfig"]["DeviceRequests"] is None
    assert (job.fact("gpus.txt"), job.fact("gpu-source.txt")) == ("", "none\n")
    assert job.output() == ""
    assert job.fact("container/gpu-check.txt") == "ok\n"


def test_fewer_gpus_than_the_plan_asks_for_end_with_78() -> None:
    job = submit(plan(resources=Resources(gpus=2), options={"gres": "gpu:1"}))
    assert ": gpus: 1 granted to this task, 2 asked for per node;" in refused(job)


FIRST, SECOND, THIRD = (f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "123")
GRANTED = {
    "fewer are visible than were granted": ("0,1", (FIRST,), "nvidia-smi lists 1 GPUs to this task, Slurm granted 2"),
    "nothing is visible": ("0,1", (), "nvidia-smi lists 0 GPUs to this task, Slurm granted 2"),
    "a granted UUID is not visible": (
        f"{FIRST},{THIRD}",
        (FIRST, SECOND),
        f"{THIRD} was granted and nvidia-smi does not",
    ),
    "one UUID is granted twice": (f"{FIRST},{FIRST}", (FIRST, SECOND), "is not the UUID of one more GPU"),
    "MIG devices cannot be counted": ("0,1", (FIRST, "MIG-a", "MIG-b", "MIG-c"), "cannot be told apart among 3"),
    "an index points nowhere": ("0,7", (FIRST, SECOND, THIRD), "cannot be told apart among 3"),
}


@pytest.mark.parametrize("case", GRANTED)
def test_gpus_that_do_not_agree_with_what_was_granted_end_with_78(case: str, tmp_path: Path) -> None:
    """nvidia-smi is a stand-in here, for the bed's cannot be made to disagree; nothing gets as far as a container."""
    granted, visible, words = GRANTED[case]
    said = by_hand(tmp_path, visible, {"CUDA_VISIBLE_DEVICES": granted, "SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "2"})
    assert words in said


def test_without_a_scheduler_the_user_says_which_gpus(tmp_path: Path) -> None:
    said = by_hand(tmp_path, (FIRST, SECOND, THIRD), {"TFSLURM_LOCAL_JOB_ID": "1"})
    assert "3 GPUs are here and 2 are wanted, which ones is not said; set CUDA_VISIBLE_DEVICES" in said


def test_a_docker_daemon_that_does_not_answer_ends_with_75(tmp_path: Path) -> None:
    folder = put(plan())
    env = {"SLURM_JOB_ID": "1", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = run_as(USER, ["bash", folder / "job.sbatch", "task"], "alpha", env=env)
    assert done.returncode == 75, done.stderr
    assert re.match(r"tfslurm: \S+: docker: .*nowhere/docker.sock.*; ask the administrator", done.stderr)
    assert json.loads((folder / "1/attempt-1/facts/task-0/exit.json").read_text())["exit_code"] == 75
    assert "nowhere" in (folder / "1/attempt-1/facts/task-0/engine-info.json.error").read_text()


def by_hand(tmp_path: Path, visible: tuple[str, ...], env: Mapping[str, str]) -> str:
    """What the task role says with such an nvidia-smi and such variables; it refuses."""
    folder = put(plan(resources=Resources(gpus=2)))
    lines = [
        f"  MIG 1g.5gb Device {n}: (UUID: {u})" if "MIG" in u else f"GPU {n}: X (UUID: {u})"
        for n, u in enumerate(visible)
    ]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\ncat <<'END'\n" + "".join(line + "\n" for line in lines) + "END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    tmp_path.chmod(0o755)
    path = f"{stand_in(tmp_path)}:{BIN}:/usr/local/bin:/usr/bin:/bin"
    done = run_as(USER, ["bash", folder / "job.sbatch", "task"], "alpha", env={**env, "PATH": path})
    assert done.returncode == 78, done.stderr
    return done.stderr


def stand_in(tmp_path: Path) -> Path:
    """The same folder where the user may look into it: pytest's own is root's."""
    folder = SCRATCH / "alpha" / USER / "test-node" / f"bin-{uuid.uuid4().hex}"
    shutil.copytree(tmp_path, folder)
    folder.chmod(0o755)
    return folder


# ------------------------------------------------------------------------------------------------------------ lifetimes


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_cancelled_program_that_ignores_sigterm_leaves_no_container(cluster: str) -> None:
    job = submit(plan(cluster, outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10), job.said()
    assert job.end() == {**job.end(), "exit_code": 137, "signal": 9, "reason": "stopped by SIGTERM"}
    assert job.task_end()["exit_code"] == 137
    assert job.task_end()["started_at"]


def test_a_cancelled_program_may_end_in_its_own_way() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap 'echo bye; exit 42' TERM; {WAITING}")))
    job.runs()
    slurm(job, "scancel", job.job_id)
    assert job.end()["exit_code"] == 42
    assert job.output() == "bye\n"
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


def test_a_second_sigterm_changes_nothing() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    for _ in range(3):
        slurm(job, "scancel", "--signal=TERM", job.job_id)
    assert job.end()["exit_code"] == 137
    assert [
        job.fact("events.tsv").count(f"\t{event}\t") for event in ("told-to-stop", "client-ended", "client-lost")
    ] == [1, 1, 0]


def test_when_the_docker_client_is_killed_the_container_ends_and_the_end_is_written() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    os.kill(job.process("docker start", job.fact("container-id.txt").strip()), signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert ": docker: the client that attends the container ended before it" in job.end()["reason"]
    assert job.inspected()["State"]["Running"] is False
    assert "client-lost" in job.fact("events.tsv")
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


def test_when_the_node_script_is_killed_the_container_ends_and_is_looked_at_and_removed() -> None:
    job = submit(plan(outputs="/out", command=sh(WAITING)))
    job.runs()
    container = job.fact("container-id.txt").strip()
    client = job.process("docker start", container)
    parent = int(Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert ": the task's script: it ended with 137 before its container did" in job.end()["reason"]
    assert job.inspected()["Id"] == container
    assert job.inspected()["State"]["ExitCode"] == 143, "its watcher sent SIGTERM"
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first


@pytest.mark.parametrize("code", [0, 7, 75, 78, 125])
def test_the_programs_own_exit_code_is_the_jobs(code: int) -> None:
    job = ran(plan(command=sh(f"exit {code}")))
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, "")
    assert job.task_end() == {**job.task_end(), "exit_code": code, "oom_killed": False, "signal": None}
    assert not (job.facts() / "refused.txt").exists()
    shown = slurm(job, "scontrol", "show", "job", job.job_id)
    assert wait_until(lambda: f"ExitCode={code}:0" in slurm(job, "scontrol", "show", "job", job.job_id), 10), shown


@pytest.mark.parametrize(("command", "code"), [(("no-such-program",), 127), (("/etc/passwd",), 126)])
def test_a_program_that_cannot_be_run_is_told_as_a_shell_does(command: tuple[str, ...], code: int) -> None:
    job = ran(plan(command=command))
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, ""), job.said()


def test_a_program_that_needs_more_memory_than_was_granted_is_recorded_as_such() -> None:
    job = ran(plan(options={"mem": "64M"}, command=("tail", "/dev/zero")))
    assert job.end()["exit_code"] == 137
    assert job.task_end() == {**job.task_end(), "oom_killed": True, "signal": 9}
    assert job.inspected()["HostConfig"]["Memory"] == job.inspected()["HostConfig"]["MemorySwap"] == 64 * 2**20


def saving(script: str, cluster: str = "alpha", signal_name: str = "USR1", bound: int = 20) -> Job:
    """A job whose program is warned early; ``script`` is what it does on the signal. It has begun."""
    asked = Checkpoint(signal_name, 60, requeue=True, max_requeues=bound)
    command = sh(f"echo $TFSLURM_ATTEMPT >>/out/attempts; {script}; {WAITING}")
    job = submit(plan(cluster, command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked))
    job.runs()
    return job


def warn(job: Job) -> None:
    """As Slurm does before the time limit."""
    slurm(job, "scancel", "--signal=URG", job.job_id)


def again(job: Job, attempt: int) -> dict[str, Any]:
    """The end of an attempt that was queued again; it need not wait for two minutes."""
    until_queued_again(job)
    slurm(job, "scontrol", "update", f"JobId={job.job_id}", "StartTime=now+3")  # at once is too early
    return job.end(attempt)


def until_queued_again(job: Job) -> None:
    shown = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    assert wait_until(lambda: slurm(job, *shown).strip() == "PENDING", PATIENCE_S), job.said()


def events(job: Job, attempt: int = 1) -> list[str]:
    return [line.split("\t")[1] for line in job.fact("events.tsv", attempt=attempt).splitlines()]


@pytest.mark.parametrize(("cluster", "name"), [("alpha", "USR1"), ("beta", "USR1"), ("beta", "TERM")])
def test_a_warned_program_gets_its_signal_once_and_the_job_goes_on_in_a_second_attempt(cluster: str, name: str) -> None:
    count = f"trap 'echo got >>/out/got' {name}; [ $TFSLURM_ATTEMPT = 2 ] && exit 0"
    job = saving(f"{count}; touch /out/here; until [ -e /out/got ]; do sleep 0.1; done; sleep 1; exit 0", cluster, name)
    warn(job)
    warn(job)
    end = job.end()
    assert (end["exit_code"], end["reason"]) == (0, f"requeued after SIG{name}"), job.said()
    assert (job.folder / "out" / "got").read_text() == "got\n", "beta signals every process of a step"
    assert events(job).count("signal-delivered") == events(job).count("told-to-save") == 1
    assert again(job, 2)["exit_code"] == 0, job.said()
    assert (job.folder / "out" / "attempts").read_text() == "1\n2\n"
    began = json.loads((job.attempt(2) / "begin.json").read_text())
    assert (began["attempt"], began["restart_count"]) == (2, 1)
    assert (job.attempt(1) / "stdout.log").exists() and (job.attempt(2) / "stdout.log").exists()


ENDS_AFTER_A_WARNING = {
    "has finished": ("touch $TFSLURM_FINISHED; exit 0", 0, ""),
    "has failed": ("exit 3", 3, ""),
}


@pytest.mark.parametrize("case", ENDS_AFTER_A_WARNING)
def test_a_warned_program_that_has_ended_for_good_is_not_queued_again(case: str) -> None:
    script, code, reason = ENDS_AFTER_A_WARNING[case]
    job = saving(f"trap '{script}' USR1")
    warn(job)
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, reason), job.said()
    state = ["scontrol", "show", "job", job.job_id]
    assert wait_until(lambda: f"ExitCode={code}:0" in slurm(job, *state), 10)
    assert "Restarts=0" in slurm(job, *state)


def test_a_program_without_a_handler_is_queued_again_with_what_it_had_saved() -> None:
    job = saving("[ $TFSLURM_ATTEMPT = 2 ] && exit 0")
    warn(job)
    assert (job.end()["exit_code"], job.end()["reason"]) == (138, "requeued after SIGUSR1")
    assert again(job, 2)["exit_code"] == 0


def test_an_attempt_that_changed_nothing_is_the_last() -> None:
    asked = Checkpoint("USR1", 60, requeue=True)
    command = sh('echo up; trap "exit 0" USR1; while :; do sleep 0.1; done')
    job = submit(plan(command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked))
    assert wait_until(lambda: (job.attempt() / "stdout.log").exists() and "up" in job.output(), PATIENCE_S), job.said()
    warn(job)
    assert job.end()["exit_code"] == 75, job.said()
    assert job.end()["reason"].startswith("not requeued after SIGUSR1: this attempt changed nothing in its outputs")


def test_no_job_is_queued_again_more_often_than_it_may() -> None:
    job = saving("trap 'exit 0' USR1", bound=1)
    warn(job)
    assert job.end()["reason"] == "requeued after SIGUSR1"
    (job.folder / "out" / "here").unlink()
    until_queued_again(job)
    slurm(job, "scontrol", "update", f"JobId={job.job_id}", "StartTime=now+3")
    job.runs()
    warn(job)
    assert job.end(2)["exit_code"] == 75
    assert "it was queued again 1 times already; raise checkpoint.max_requeues" in job.end(2)["reason"]


def test_where_scontrol_is_not_on_the_node_the_end_says_how_to_go_on() -> None:
    links = 'mkdir "$attempt_dir/bin"; ln --symbolic /usr/bin/* "$attempt_dir/bin"; rm "$attempt_dir/bin/scontrol"'
    prologue = f'{links}; PATH="$attempt_dir/bin"'
    template = f'{{% extends "job.sbatch.j2" %}}{{% block prologue %}}{prologue}{{% endblock %}}'
    asked = Checkpoint("USR1", 60, requeue=True)
    command = sh(f"trap 'exit 0' USR1; {WAITING}")
    job = submit(plan(command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked), template=template)
    job.runs()
    warn(job)
    assert job.end()["exit_code"] == 75, job.said()
    assert f"; `scontrol requeue {job.job_id}` on a login node" in job.end()["reason"]


def test_a_cancelled_program_gets_its_signal_before_it_is_stopped() -> None:
    job = saving("trap 'echo saved >/out/saved; exit 0' USR1; trap 'echo stopped >/out/saved; exit 1' TERM")
    slurm(job, "scancel", job.job_id)
    assert job.end()["reason"] == "stopped by SIGTERM"
    assert (job.folder / "out" / "saved").read_text() == "saved\n"
    shown = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    assert wait_until(lambda: slurm(job, *shown).strip() == "CANCELLED", PATIENCE_S)


def test_what_ignores_its_signal_until_the_time_is_up_is_queued_again() -> None:
    asked = Checkpoint("USR1", 50, requeue=True)
    command = sh(f"[ $TFSLURM_ATTEMPT = 2 ] && exit 0; trap '' USR1; {WAITING}")
    options = {"requeue": "", "time": "1", "signal": "URG@50"}
    job = submit(plan(command=command, outputs="/out", options=options, checkpoint=asked))
    job.runs()
    assert wait_until((job.attempt() / "exit.json").exists, 150), job.said()
    assert job.end()["reason"] == "requeued after SIGUSR1", job.said()
    assert again(job, 2)["exit_code"] == 0


# --------------------------------------------------------------------------------------------- what reaches the program


def test_hostile_words_reach_the_program_byte_for_byte() -> None:
    words = tuple(word for word in HOSTILE if word.isprintable() or word.isascii())
    env = {f"V{at}": word for at, word in enumerate(words)}
    script = "cat /proc/$$/cmdline >/out/argv; cat /proc/$$/environ >/out/environ"
    job = ran(plan(command=sh(script, *words), env=env, outputs="/out"))
    assert job.end()["exit_code"] == 0, job.said()
    argv = (job.folder / "out" / "argv").read_bytes().split(b"\0")[4:-1]
    environ = (job.folder / "out" / "environ").read_bytes().split(b"\0")
    assert argv == [word.encode() for word in words]
    assert sorted(pair for pair in environ if re.match(rb"V[0-9]+=", pair)) == sorted(
        f"{key}={value}".encode() for key, value in env.items()
    )


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
    script = 'printf %s "$TOKEN" >/out/token; [ -n "$OTHER" ]'
    job = ran(plan(command=sh(script), secrets=("TOKEN", "OTHER"), outputs="/out"), {"TOKEN": value, "OTHER": "2"})
    assert job.end()["exit_code"] == 0, job.said()
    token = job.folder / "out" / "token"
    assert token.read_bytes() == value.encode()
    token.unlink()
    run_dir = Path(job.plan.run_dir)
    word = value.split()[1].encode()
    assert [path for path in run_dir.rglob("*") if path.is_file() and word in path.read_bytes()] == []
    assert not (run_dir / "secrets").exists(), "no later attempt needs them"


def test_the_program_is_the_user_with_his_groups_a_home_and_no_way_to_more() -> None:
    script = "id -u; id -g; id -G; id -un; echo $HOME; touch $HOME/x && echo ok"
    job = ran(plan(command=sh(f"{script}; grep -E 'NoNewPrivs|CapBnd' /proc/self/status")))
    entry = pwd.getpwnam(USER)
    lines = job.output().splitlines()
    assert lines[:2] == [str(entry.pw_uid), str(entry.pw_gid)]
    withheld = {DOCKER_SOCKET.stat().st_gid}  # whoever is in it may speak to the daemon, which is root
    assert withheld < set(os.getgrouplist(USER, entry.pw_gid))
    assert {int(group) for group in lines[2].split()} == set(os.getgrouplist(USER, entry.pw_gid)) - withheld
    assert lines[3:6] == [USER, f"/home/{USER}", "ok"]
    assert [line.split()[1] for line in lines[6:]] == ["0000000000000000", "1"]


@pytest.mark.parametrize("writable", [False, True])
def test_code_is_the_working_directory_and_only_a_private_copy_is_writable(writable: bool) -> None:
    tree = (uuid.uuid4().hex * 2)[:40]
    folder = root("alpha") / "code" / tree
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("code\n")
    (folder / "train.txt").chmod(0o444)
    folder.chmod(0o555)
    owned(folder.parent)
    script = "pwd; cat train.txt; echo new 2>/dev/null >train.txt && echo writable || echo read-only"
    job = ran(plan(command=sh(script), code=CodeState(tree, writable, 1, 5)))
    assert job.output().split() == ["/workspace", "code", "writable" if writable else "read-only"], job.said()
    assert (folder / "train.txt").read_text() == "code\n"


def test_outputs_are_kept_listed_and_hashed_and_what_went_elsewhere_is_named() -> None:
    script = "printf abc >/out/a; mkdir '/out/d\ne'; printf de '/out/d\ne/f'; : >'/out/d\ne/g'; echo lost >/tmp/lost"
    job = ran(plan(command=sh(script), outputs="/out"))
    assert job.end()["exit_code"] == 0
    sums = (job.attempt() / "outputs.sha256").read_bytes().split(b"\0")[:-1]
    abc = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sums[0] == abc + b"  ./a"
    assert sums[1].endswith(b"  ./d\ne/g")
    assert sorted((job.attempt() / "outputs.sizes").read_bytes().split(b"\0")[:-1]) == [b"0 d\ne/g", b"3 a"]
    assert "A /tmp/lost" in job.fact("container-diff.txt").splitlines()


# ------------------------------------------------------------------------------------------------------- what must hold


def test_a_mount_that_is_not_there_ends_with_78() -> None:
    gone = str(SCRATCH / "alpha" / "no-such-data")
    job = submit(plan(mounts=(Mount(gone, "/data"),), mounts_allow=(str(SCRATCH),)))
    assert f": mounts: {gone} does not exist on this node" in refused(job)


@pytest.mark.parametrize("target", ["/etc", "/etc/ssh", "/", "/var/run", "/home"])
def test_a_link_out_of_the_allowed_folders_ends_with_78(target: str) -> None:
    allowed = data("alpha") / uuid.uuid4().hex
    allowed.mkdir(parents=True)
    (allowed / "link").symlink_to(target)
    job = submit(plan(mounts=(Mount(str(allowed / "link"), "/data"),), mounts_allow=(str(allowed), "/etc")))
    assert f": mounts: {allowed}/link is really {Path(target).resolve()}, which " in refused(job)


def test_a_secret_whose_file_is_gone_ends_with_78() -> None:
    assert ": secrets: TOKEN is not in " in refused(submit(plan(secrets=("TOKEN",))))


def test_the_variable_that_carries_the_gpus_cannot_be_taken_over() -> None:
    job = submit(plan(env={"NVIDIA_VISIBLE_DEVICES": "all"}))
    assert ": env: NVIDIA_VISIBLE_DEVICES is set by tfslurm" in refused(job)


def fresh_image(address: str = REGISTRY) -> tuple[str, str]:
    """A repository and a digest that the daemon has never seen."""
    repository = f"tfslurm/fresh-{uuid.uuid4().hex[:12]}"
    return repository, images.push_small(repository, "1", {"/mark": repository}, address=address)


def test_a_digest_that_no_registry_has_any_more_ends_with_78() -> None:
    repository, digest = fresh_image()
    registry.delete_manifest(REGISTRY, repository, digest)
    job = submit(
        plan(digest=digest, image_sources=tuple(f"{place}/{repository}@{digest}" for place in (MIRROR, REGISTRY)))
    )
    line = refused(job)
    assert f"is not obtainable as {digest}" in line
    assert job.fact("events.tsv").count("\tpull\t") == 2, "an answer that cannot change is asked for once"


def test_what_the_first_source_does_not_have_is_pulled_from_the_next_by_the_same_digest() -> None:
    repository, digest = fresh_image(MIRROR)
    sources = tuple(f"{place}/{repository}@{digest}" for place in ("127.0.0.1:9", REGISTRY, MIRROR))
    job = ran(plan(digest=digest, image_sources=sources, command=("cat", "/mark")))
    assert job.output() == repository
    assert job.fact("image-source.txt") == f"{sources[2]}\n"
    assert job.fact("image-pulled.txt") == f"pulled from {sources[2]}\n"
    again = ran(plan(digest=digest, image_sources=sources))
    assert again.fact("image-pulled.txt") == "present\n"
    images.remove(sources[2])


def test_an_image_without_a_shell_ends_with_78_and_says_so() -> None:
    repository = f"tfslurm/bare-{uuid.uuid4().hex[:12]}"
    digest = images.push(images.Image((images.layer_of({"/mark": "x"}, ("/tmp",)),)), repository, "1")
    job = submit(plan(digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",)))
    assert "has no /bin/sh" in refused(job)
    images.remove(f"{REGISTRY}/{repository}@{digest}")


def test_what_is_in_the_image_is_asked_once_and_its_absence_is_said() -> None:
    repository, digest = fresh_image()
    asked = plan(digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",))
    job = ran(asked)
    facts = json.loads((root("alpha") / "images" / f"{digest.removeprefix('sha256:')}.json").read_text())
    assert facts["schema"] == "tfslurm.image/1"
    assert (facts["python"], facts["packages"]) == (None, None)
    assert "no python in the image" in facts["errors"][0]
    assert "probed" in job.fact("events.tsv")
    assert "probing" not in ran(dataclasses.replace(asked, plan_id=uuid.uuid4().hex[:12])).fact("events.tsv")
    images.remove(f"{REGISTRY}/{repository}@{digest}")


# ----------------------------------------------------------------------------------------------------------- whole jobs


def test_two_nodes_leave_the_facts_of_both() -> None:
    job = ran(plan(resources=Resources(gpus=1, nodes=2), command=sh("echo $SLURM_PROCID $SLURMD_NODENAME")))
    assert job.end()["exit_code"] == 0, job.said()
    for rank, node in enumerate(("alpha1", "alpha2")):
        assert f"SLURMD_NODENAME={node}\0" in job.fact("slurm.env", rank)
        (gpu,) = job.fact("gpus.txt", rank).split()
        assert gpu in {gpu.uuid for gpu in of_node(node)}
        assert job.task_end(rank)["exit_code"] == 0
        log = job.attempt() / ("stdout.log" if rank == 0 else f"stdout.{rank}.log")
        assert log.read_text() == f"{rank} {node}\n"


def test_an_array_task_has_its_own_folder() -> None:
    folder = put(plan(command=sh("echo $SLURM_ARRAY_TASK_ID")))
    done = run_as(USER, ["sbatch", "--parsable", "--array=3", folder / "job.sbatch"], "alpha", cwd=Path("/"))
    job = Job(plan(), done.stdout.strip(), folder / f"{done.stdout.strip()}_3")
    assert job.end()["exit_code"] == 0
    assert job.output() == "3\n"


def test_every_fact_is_there_and_every_json_is_json() -> None:
    job = ran(plan(resources=Resources(gpus=1)))
    names = {path.name for path in job.facts().iterdir()}
    assert names >= {
        "slurm.env", "uname.txt", "os-release", "hostname", "cpuinfo.txt", "meminfo.txt", "nvidia-smi-L.txt",
        "nvidia-smi-query.csv", "gpus.txt", "gpu-source.txt", "engine-info.json",
        "image-source.txt", "image-pulled.txt", "image-inspect.json", "container-argv", "container-id.txt", "container",
        "container-inspect.json", "container-diff.txt", "events.tsv", "exit.json",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".error", ".stderr", ".tmp"))]
    for path in (*job.attempt().rglob("*.json"),):
        json.loads(path.read_text())
    began = json.loads((job.attempt() / "begin.json").read_text())
    assert list(began) == [
        "cluster", "job_id", "array_job_id", "array_task_id", "attempt", "restart_count", "user", "uid", "gid",
        "submit_host", "nodelist", "partition", "job_name", "script_sha256", "began_at",
    ]  # fmt: skip
    (image,) = json.loads(job.fact("image-inspect.json"))
    assert job.inspected()["Image"] == image["Id"]
    assert job.fact("image-source.txt").strip() in image["RepoDigests"]


# ------------------------------------------------------------------------------------- what a program can make believe

FORGES = {
    "facts": """
        for name in gpu-check.txt nvidia-smi-L.txt tensorflow-gpu.txt cgroup.txt program-started-at.txt report.txt; do
            echo 'ok: forged' >/run/tfslurm/$name
        done""",
    "pipes": "for name in gpu-check.txt report.txt finished; do mkfifo /run/tfslurm/$name; done",
    "links": "ln -s /etc/passwd /run/tfslurm/gpu-check.txt; ln -s / /run/tfslurm/finished",
    "much": "head -c 70000000 /dev/zero >/run/tfslurm/nvidia-smi-L.txt",
    "report": """
        ls -l /run/tfslurm-report | cut -c 1-10
        cat /run/tfslurm-report || chmod 600 /run/tfslurm-report || echo closed
        for line in 'gpus ok: forged' 'no image: forged' end; do
            timeout 1 sh -c 'echo "$1" >/run/tfslurm-report' sh "$line" &
        done; wait""",
}


def test_nothing_that_a_program_writes_beside_its_outputs_is_a_fact_or_keeps_the_task(desk: Desk) -> None:
    """All at once, and it ends with the code of a refusal; the record is read as a user reads it."""
    script = "\n".join(FORGES.values()).replace("mkfifo", "mkfifo -m 600")
    job = desk.submit(desk.experiment("forges", ["sh", "-c", f"{script}\nexit 78"], resources={"gpus": 1}))
    assert desk.ended(job) == "FAILED"
    record, folder = desk.record(job), desk.run_folder(job) / "attempt-1"
    assert (record["job"]["exit_code"], record["attempts"][0]["ended_by"], record["attempts"][0]["reason"]) == (
        78, "program", "",
    )  # fmt: skip
    facts = folder / "facts" / "task-0"
    assert not (facts / "refused.txt").exists() and (facts / "report.txt").read_text() == "whole\n"
    asked = {**record["asked"], "spec": None}
    told = {**record, "experiment": {**record["experiment"], "command": None}, "asked": asked}
    assert "forged" not in json.dumps(told) and not list(facts.rglob("*.pipe"))
    (gpu,) = record["attempts"][0]["tasks"][0]["gpus"]
    assert record["verified"]["gpus"] == {"status": "ok", "reason": f"the container saw exactly {gpu['uuid']}"}
    said = (folder / "stdout.log").read_text()
    assert said.split() == ["p-w-------", "closed"], "nobody in the container can read what was reported"
    kept = list(desk.root("alpha").glob("images/*.gpus/*"))
    assert len(kept) == 1 and "forged" not in kept[0].read_text(), "another job of this image would believe it"


def test_a_report_that_is_cut_off_is_not_believed(tmp_path: Path) -> None:
    """The check of TensorFlow runs the experiment's modules, which end everything there."""
    (tmp_path / "x").touch()
    evil = "#!/bin/sh\necho 'gpus ok: forged' >/run/tfslurm-report\nkill -9 -1\n"
    code = data("alpha") / "evil-code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "python3").write_text(evil)
    (code / "python3").chmod(0o755)
    owned(code)
    job = ran(plan(resources=Resources(gpus=1), mounts=(Mount(str(code), "/evil"),), mounts_allow=(str(data("alpha")),),
                   env={"PATH": "/evil:/usr/bin:/bin"}, gpu_check="always"))  # fmt: skip
    assert job.end()["exit_code"] == 137, job.said()
    assert job.fact("report.txt") == "what was reported has no end\n"
    assert list((job.facts() / "container").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"entrypoint": ("sh", "-c", 'echo \t<é> & "x"')},
            r'entrypoint \["sh" "-c" "echo \\t<\\u00e9> & \\"x\\""\], the image has \[\]',
        ),
        ({"environment": {"CUDA_VERSION": "12.3.0"}}, 'variable "CUDA_VERSION=12.3.0", the image has none such'),
        ({"environment": {"PATH": "/evil"}}, 'variable "PATH=/evil", the image has "PATH=/usr'),
        ({"platform": "linux/arm64/v8"}, "platform linux/arm64, the image has linux/amd64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_lock_file_that_says_other_than_the_image_ends_with_78(
    engine: str, change: dict[str, Any], words: str
) -> None:
    pin = dataclasses.replace(plan().pin, **change)
    line = refused(submit(plan(pin=pin, engine=engine, resources=Resources(gpus=0))))
    assert re.search(f": image: the lock file says {words}", line), line


def test_a_prologue_that_fails_leaves_an_end() -> None:
    job = ran(plan(), template='{% extends "job.sbatch.j2" %}{% block prologue %}false{% endblock %}')
    assert job.end() == {**job.end(), "exit_code": 1, "reason": "the script ended with 1 before its tasks did"}


def test_a_prologue_sets_what_the_tasks_see() -> None:
    text = '{% extends "job.sbatch.j2" %}{% block prologue %}export SLURM_MARK="a b"{% endblock %}'
    assert "SLURM_MARK=a b\0" in ran(plan(), template=text).fact("slurm.env")


def test_a_comment_that_sbatch_could_misread_reaches_slurm_whole() -> None:
    comment = """exp#3 'one' "two" $HOME; x"""
    job = ran(plan(options={"comment": comment}))
    shown = slurm(job, "scontrol", "show", "job", job.job_id)
    assert f"Comment={comment}" in [line.strip() for line in shown.splitlines()]


def test_without_a_scheduler_the_same_script_runs_the_same_container() -> None:
    folder = put(
        plan(command=sh("echo here; exit 3"), resources=Resources(gpus=0), cluster="local", root=str(root("alpha")))
    )
    env = {"TFSLURM_LOCAL_JOB_ID": "1"}
    done = run_as(USER, ["bash", folder / "job.sbatch"], "alpha", env=env)
    job = Job(plan(), "1", folder / "1")
    assert (done.returncode, job.end()["exit_code"]) == (3, 3), done.stderr
    assert job.output() == "here\n"
    assert json.loads((job.attempt() / "begin.json").read_text())["cluster"] == "local"


def test_a_local_run_that_is_told_to_stop_stops_its_container() -> None:
    asked = plan(command=sh(f"trap 'exit 5' TERM; {WAITING}"), outputs="/out")
    folder = put(asked)
    job = Job(asked, "1", folder / "1")
    process = subprocess.Popen(
        ["bash", folder / "job.sbatch"],
        user=USER, group=USER, extra_groups=os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid),
        env={"TFSLURM_LOCAL_JOB_ID": "1", "PATH": f"{BIN}:/usr/bin:/bin:/usr/local/bin", "DOCKER_HOST": DOCKER_HOST},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    job.runs()
    process.terminate()
    assert process.wait(PATIENCE_S) == 5
    assert job.end()["reason"] == "stopped by SIGTERM"
    assert wait_until(lambda: not job.containers(), KILL_WAIT_S + 10)  # the end is written first
