"""One test's own corner of the bed, as an ordinary user has it: experiments, cluster files, tracker and run folders."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from .bed import CLUSTERS, DOCKER_HOST, HOME, LOGIN_PATH, MIRROR, REGISTRY, SCRATCH, wait_until
from .docker import docker
from .install import install
from .users import login_environment, run_as

USER = "alice"
SMALL = f"{REGISTRY}/tfslurm/small:1"
# In a wrapped program: the `tfslurm submit` that it runs under, however far up, is killed.
KILL_CLIENT = (
    "client=$PPID; until tr '\\0' ' ' </proc/$client/cmdline | grep -q 'bin/tfslurm submit'; "
    "do client=$(ps -o ppid= -p $client | tr -d ' '); done; kill -9 $client"
)
Done = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str]
# Double-quoted YAML is JSON but for what YAML calls unprintable.
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


@dataclass(frozen=True)
class Desk:
    """A folder of the user's with its own XDG folders; what is submitted from it has its token in its name."""

    token: str
    program: Path

    @property
    def folder(self) -> Path:
        """Where the experiments are, and where commands are typed."""
        return HOME / USER / f"desk-{self.token}"

    def root(self, cluster: str) -> Path:
        """The root of the run folders on a cluster."""
        return SCRATCH / cluster / USER / f"desk-{self.token}"

    def data(self, cluster: str) -> Path:
        """A folder of the user's beside that root, which experiments may mount."""
        return SCRATCH / cluster / USER / f"data-{self.token}"

    @property
    def tracker(self) -> Path:
        """The tracker's file."""
        return self.folder / "data" / "tfslurm" / "tracker.sqlite"

    def environment(self, cluster: str | None) -> dict[str, str]:
        """What is in the environment of the commands that are typed here."""
        own = {f"XDG_{kind.upper()}_HOME": str(self.folder / kind) for kind in ("config", "data", "cache")}
        return {**(login_environment(cluster) if cluster else {"PATH": LOGIN_PATH, "DOCKER_HOST": DOCKER_HOST}), **own}

    def tfslurm(
        self,
        *words: str | Path,
        cluster: str | None = "alpha",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> Done:
        """What `tfslurm …` gave, typed on a cluster's login node (None: a machine without Slurm)."""
        environment = {**self.environment(cluster), **(env or {})}
        return run_as(USER, [self.program, *words], cwd=self.folder, env=environment, timeout_s=timeout_s)

    def start(
        self,
        *words: str | Path,
        cluster: str | None = "alpha",
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
    ) -> Process:
        """The running `tfslurm …`, in a session of its own as a terminal gives it; stderr is a pipe."""
        entry = pwd.getpwnam(USER)
        person = {"HOME": entry.pw_dir, "USER": USER, "LANG": "C.UTF-8"}
        return subprocess.Popen(
            [str(word) for word in (self.program, *words)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**person, **self.environment(cluster), **(env or {})},
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(USER, entry.pw_gid),
            start_new_session=True,
        )

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file of the user's in this folder."""
        path = self.folder / name
        for folder in (path.parent, *path.parent.parents):
            if folder.exists():
                break
            folder.mkdir(parents=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)
        for each in (path, *path.relative_to(self.folder).parents):
            os.chown(self.folder / each, *ids())
        return path

    def describe(self, cluster: str, file: str = "", **more: object) -> Path:
        """Write the file of one of the bed's clusters."""
        keys: dict[str, object] = {
            "name": cluster,
            "root": str(self.root(cluster)),
            "mirrors": {"docker.io": [REGISTRY], REGISTRY: [MIRROR]},
            "slurm": {"partition": "gpu"},
            "mounts": {"allow": [str(self.root(cluster)), str(self.data(cluster))]},
            "environment": {"SLURM_CONF": str(CLUSTERS[cluster].slurm_conf)},
        }
        return self.write(f"config/tfslurm/clusters/{file or cluster}.yaml", as_yaml({**keys, **more}))

    def set_up_podman(self) -> None:
        """Give the desk, which has a configuration folder of its own, the user's settings of podman."""
        (self.folder / "config" / "containers").symlink_to(HOME / USER / ".config" / "containers")

    def experiment(self, name: str, command: str | list[str], **keys: object) -> Path:
        """Write NAME.yaml: the small image, no GPU, outputs in /out; ``keys`` stand over these."""
        small = {"gpus": 0, "cpus": 1, "memory": "400M", "time": "00:05:00"}
        resources = keys.pop("resources", {})
        assert isinstance(resources, dict)
        told = {"name": f"{name}-{self.token}", "image": SMALL, "command": command, "outputs": "/out"}
        return self.write(f"{name}.yaml", as_yaml({**told, "resources": {**small, **resources}, **keys}))

    def submit(self, file: Path, *words: str, cluster: str = "alpha", env: Mapping[str, str] | None = None) -> str:
        """The job that `tfslurm submit` made: ``alpha:1234``."""
        done = self.tfslurm("submit", file, "--cluster", cluster, *words, cluster=cluster, env=env)
        assert done.returncode == 0, done.stderr
        job = done.stdout.strip()
        assert re.fullmatch(rf"{cluster}:\d+", job), done.stdout
        return job

    def ended(self, job: str) -> str:
        """How a job ended, once it has: the state that `tfslurm wait` shows."""
        done = self.tfslurm("wait", job, "--json", timeout_s=240)
        assert done.stdout, done.stderr
        (found,) = json.loads(done.stdout)
        return str(found["state"])

    def status(self, job: str) -> dict[str, Any]:
        """A job as `tfslurm status --json` shows it."""
        done = self.tfslurm("status", job, "--json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)
        return dict(found)

    def record(self, job: str) -> dict[str, Any]:
        """The record of a job."""
        done = self.tfslurm("provenance", job, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def run_folder(self, job: str) -> Path:
        """The folder of one job: attempt-1/ and out/ are in it."""
        cluster, _, number = job.partition(":")
        base = self.folder / "data" / "tfslurm" / "local" if cluster == "local" else self.root(cluster)
        (found,) = base.glob(f"runs/*/{number}")
        return found

    def out(self, job: str, name: str) -> str:
        """A file that the program left in its outputs."""
        return (self.run_folder(job) / "out" / name).read_text("utf-8")

    def wrap(self, program: str, body: str) -> dict[str, str]:
        """The environment in which ``program`` is a shell script of ours; ``$real`` in it is the real one's path."""
        real = shutil.which(program, path=LOGIN_PATH)
        path = self.write(f"wrapped-{uuid4().hex[:6]}/{program}", f"#!/bin/sh\nreal={real}\n{body}\n", 0o755)
        return {"PATH": f"{path.parent}:{LOGIN_PATH}"}

    def jobs(self, cluster: str, *states: str) -> list[str]:
        """The ids of this desk's jobs on a cluster, as Slurm itself says; default: all that it knows."""
        wanted = f"--states={','.join(states) or 'all'}"
        done = run_as(USER, ["squeue", "--noheader", f"--user={USER}", wanted, "--format=%i %j"], cluster)
        assert done.returncode == 0, done.stderr
        own = {path.name for path in self.root(cluster).glob("runs/*")}
        return [line.split()[0] for line in done.stdout.splitlines() if line.partition(" ")[2] in own]

    def clear(self) -> None:
        """Afterwards nothing of it is left: no job, no container, no file."""
        live = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING")
        used = [cluster for cluster in CLUSTERS if self.root(cluster).exists()]
        for cluster in used:
            if left := self.jobs(cluster, *live):
                run_as(USER, ["scancel", *left], cluster)
        for cluster in used:
            with suppress(AssertionError):
                until(lambda cluster=cluster: not self.jobs(cluster, *live), 40)  # type: ignore[misc]
        containers = docker("ps", "--all", "--format", '{{.ID}} {{.Label "tfslurm.plan_id"}}').stdout.splitlines()
        plans = {path.name.rpartition("-")[2] for cluster in used for path in self.root(cluster).glob("runs/*")}
        for line in containers:
            container, _, plan = line.partition(" ")
            if plan and plan in plans:
                docker("rm", "--force", "--volumes", container)
        there = (folder for cluster in CLUSTERS for folder in (self.root(cluster), self.data(cluster)))
        for folder in (self.folder, *there):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_desk() -> Iterator[Desk]:
    """An empty desk with the files of the bed's three clusters; cleared afterwards."""
    desk = Desk(uuid4().hex[:8], install())
    try:
        desk.folder.mkdir()
        os.chown(desk.folder, *ids())
        for cluster in CLUSTERS:
            desk.describe(cluster)
        yield desk
    finally:
        desk.clear()


def ids() -> tuple[int, int]:
    """The user's uid and gid."""
    entry = pwd.getpwnam(USER)
    return entry.pw_uid, entry.pw_gid


def as_yaml(keys: Mapping[str, object]) -> str:
    """One key a line, its value as JSON, which is YAML once the unprintable is escaped."""
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items())
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", "".join(lines))


def until(happened: Callable[[], bool], patience_s: float, what: str = "") -> None:
    """Return when it has happened.

    Raises:
        AssertionError: it has not within the time.
    """
    assert wait_until(happened, patience_s), what or f"nothing happened in {patience_s} s"


def gate(name: str = "go") -> str:
    """A line of shell that waits, in a container, for a file in its outputs."""
    return f"until [ -e /out/{name} ]; do sleep 0.1; done"


def open_gate(desk: Desk, job: str, name: str = "go") -> None:
    """Let a program go on that waits at a ``gate``."""
    (desk.run_folder(job) / "out" / name).touch()
