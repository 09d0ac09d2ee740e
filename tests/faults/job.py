"""One job of a user's with a container that runs, and what a fault is done to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.bed import wait_until
from tests.cluster.desk import Desk
from tests.cluster.processes import clients, parent, processes
from tests.cluster.users import run_as
from tests.faults.engine import Engine

USER = "alice"
PATIENCE_S = 60


@dataclass
class Job:
    """A submitted job: where it is, who runs it, and when it was struck."""

    desk: Desk
    engine: Engine
    cluster: str
    node: str
    key: str  # alpha:1234
    struck_at: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """Slurm's id."""
        return self.key.partition(":")[2]

    @property
    def folder(self) -> Path:
        """The job's folder, which is there once it has begun."""
        return self.desk.run_folder(self.key)

    @property
    def plan_id(self) -> str:
        """The id of its plan, by which its containers are labelled."""
        (run,) = self.desk.root(self.cluster).glob("runs/*")
        return run.name.rpartition("-")[2]

    def runs(self) -> None:
        """The program has started; it is awaited."""
        run = self.desk.root(self.cluster) / "runs"
        happened = wait_until(lambda: any(run.glob(f"*/{self.number}/out/here")), PATIENCE_S)
        assert happened, f"{self.key}: its program has not started in {PATIENCE_S} s: {self.said()}"
        assert wait_until(lambda: self.engine.runs(self.container()), PATIENCE_S), self.said()

    def struck(self) -> None:
        """From this moment on the container has so long to be gone."""
        self.struck_at = time.monotonic()

    def go(self) -> None:
        """Let the program end."""
        run_as(USER, ["touch", self.folder / "out" / "go"])

    def container(self) -> str:
        """The id of the container of its first attempt."""
        return (self.folder / "attempt-1/facts/task-0/container-id.txt").read_text().strip()

    def slurm(self, *argv: str) -> str:
        """What one of Slurm's commands said to the user."""
        done = run_as(USER, argv, self.cluster)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return done.stdout

    def detail(self) -> str:
        """`scontrol show job` of it; empty once Slurm has forgotten it."""
        return run_as(USER, ["scontrol", "show", "job", self.number], self.cluster).stdout

    def is_gone(self) -> bool:
        """Whether no container of it exists any more."""
        return not self.engine.containers(self.plan_id)

    def clients(self) -> list[int]:
        """The process that attends its container, and what that started of itself (podman); they are awaited."""
        return clients(self.engine.name, self.container())

    def node_script(self) -> int:
        """The bash that holds the lifeline of its container."""
        return parent(self.clients()[0])

    def left_processes(self) -> list[str]:
        """Processes of the job that are alive: they hold its locks, if anything does."""
        marks = {f"SLURM_JOB_ID={self.number}".encode(), f"SLURM_CLUSTER_NAME={self.cluster}".encode()}
        return [f"{pid} {line}" for pid, line in processes() if marks <= environment(pid)]

    def begin_now(self) -> None:
        """Let a requeued job begin, which Slurm would let wait; at once is too early, its node still clears up."""
        pending = wait_until(lambda: all(word in self.detail() for word in ("Restarts=1", "JobState=PENDING")), 60)
        assert pending, f"{self.key}: was not requeued: {self.detail()}"
        self.slurm("scontrol", "update", f"JobId={self.number}", "StartTime=now+3")

    def record(self) -> dict[str, Any]:
        """Its record, as a user gets it."""
        return self.desk.record(self.key)

    def said(self) -> str:
        """Everything that could explain a surprise."""
        run = self.desk.root(self.cluster) / "runs"
        names = (
            "slurm-*.out",
            f"{self.number}/**/stderr*.log",
            f"{self.number}/**/events.tsv",
            f"{self.number}/**/exit.json",
        )
        files = [file for name in names for file in run.glob(f"*/{name}")]
        return "\n".join(f"--- {file}\n{file.read_text(errors='replace')}" for file in files)


def environment(pid: int) -> set[bytes]:
    """The variables of a process; none where it is gone, or is the kernel's."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def kill(pid: int) -> None:
    """End a process as nothing can prevent."""
    os.kill(pid, signal.SIGKILL)


def submit(
    desk: Desk,
    engine: Engine,
    cluster: str,
    node: str,
    script: str,
    slurm: Mapping[str, object],
    keys: Mapping[str, object],
) -> Job:
    """A job on that node, whose program waits for its gate; it runs."""
    desk.describe(cluster, engine=engine.name)
    desk.set_up_podman()
    told = {"nodelist": node, **slurm}
    file = desk.experiment("fault", ["sh", "-c", script], slurm=told, **dict(keys))
    job = Job(desk, engine, cluster, node, desk.submit(file, cluster=cluster))
    job.runs()
    return job
