"""Jobs as the client sends them, without the client: a plan, its run folder, sbatch, and the files that a job leaves.

For the tests of the node side, with either engine.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.node_side import put_node_side
from tfslurm.image import Pin
from tfslurm.job_plan import JobPlan, identify, to_json
from tfslurm.render import render
from tfslurm.spec import Resources
from tfslurm.submission.prepare import sent_files

from . import images, registry
from .bed import REGISTRY, SCRATCH, wait_until
from .desk import USER
from .docker import docker
from .podman import podman
from .processes import clients, parent
from .users import run_as

TEMPLATES = Path(__file__).parent.parent.parent / "job_templates"
PATIENCE_S = 60
KILL_WAIT_S = 5
MIB = 2**20
WAITING = "touch /out/here; until [ -e /out/go ]; do sleep 0.05; done"


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
    for above in (Path(asked.root), folder.parent):
        os.chown(above, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
    owned(folder)
    return folder


@dataclass(frozen=True)
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

    def usage(self) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in self.fact("container-usage.txt").splitlines())

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
        done = ask(self.plan.engine, "ps", "--all", "--quiet", f"--filter=label=tfslurm.plan_id={self.plan.plan_id}")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def client(self) -> list[int]:
        """The engine's client that attends the container, and what it started of itself (podman); they are awaited."""
        return clients(self.plan.engine, self.fact("container-id.txt").strip())

    def script(self) -> int:
        """The bash of the task, which started that client."""
        return parent(self.client()[0])

    def leaves_no_container(self) -> None:
        """It is awaited: the end is written first."""
        assert wait_until(lambda: not self.containers(), KILL_WAIT_S + 10), self.said()


def ask(engine: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What the engine's program gave: the user's podman, or the bed's docker."""
    return podman(USER, *words) if engine == "podman" else docker(*words)


def submit(asked: JobPlan, secrets: Mapping[str, str] | None = None, template: str = "") -> Job:
    folder = put(asked, secrets, template)
    done = run_as(USER, ["sbatch", "--parsable", folder / "job.sbatch"], asked.cluster, cwd=Path("/tmp"))
    assert done.returncode == 0, done.stderr
    return Job(asked, done.stdout.strip(), folder / done.stdout.strip())


def its_script_is_killed(asked: JobPlan) -> Job:
    """The job whose task's script was killed; its container was ended, looked at and removed."""
    job = submit(asked)
    job.runs()
    container = job.fact("container-id.txt").strip()
    os.kill(job.script(), signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert ": the task's script: it ended with 137 before its container did" in job.end()["reason"]
    assert job.inspected()["Id"] == container
    assert job.inspected()["State"]["Running"] is False
    job.leaves_no_container()
    return job


def submit_with_umask(asked: JobPlan, umask: str) -> Job:
    """The job, submitted from a shell with that umask."""
    folder = put(asked)
    words = f"umask {umask}; exec sbatch --parsable {folder}/job.sbatch"
    done = run_as(USER, ["bash", "-c", words], asked.cluster, cwd=Path("/tmp"))
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


def refused(job: Job) -> str:
    """The refusal: exit 78, one line in the facts, in the attempt's end and on stderr, and no program ran."""
    end = job.end()
    (line,) = job.fact("refused.txt").splitlines()
    assert (end["exit_code"], end["reason"]) == (78, line), job.said()
    assert line in (job.folder.parent / f"slurm-{job.job_id}.out").read_text()
    assert job.task_end()["exit_code"] == 78
    job.leaves_no_container()
    assert re.match(r"tfslurm: [^:]+: \w+: .+; .+", line)
    return line


def stand_in(program: str, script: str) -> Path:
    """A folder for PATH where the program is this shell script."""
    folder = root("alpha") / f"bin-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    return folder


def fresh_image(address: str = REGISTRY) -> tuple[str, str]:
    """A repository and a digest that no engine has ever seen."""
    repository = f"tfslurm/fresh-{uuid.uuid4().hex[:12]}"
    return repository, images.push_small(repository, "1", {"/mark": repository}, address=address)
