"""A stand-in for a cluster's Slurm: its programs in a folder for PATH, and a scheduler that a test moves."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")
SILENT = ("sinfo", "sacctmgr")  # a site may keep these from its users
# As a module, which Python need not compile at each call as it does a script.
START = (
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from slurm_programs import main; main(*sys.argv[1:])"
)
HEAD = "#!/bin/sh\n# A stand-in for Slurm's %s: see tests/fakes/slurm_programs.py.\n"


@dataclass(frozen=True)
class FakeSlurm:
    """The programs and the jobs of one cluster, in a folder of the test's; jobs stay PENDING until a test says more."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, user: str = "alice", *, first: int = 101, accounting: bool = True) -> FakeSlurm:
        """A new one; ``user`` owns every job, ``first`` is the first job's id."""
        slurm = cls(folder)
        (slurm.state / "jobs").mkdir(parents=True)
        (slurm.state / "user").write_text(user)
        (slurm.state / "first").write_text(str(first))
        if accounting:
            (slurm.state / "accounting").touch()
        for name in PROGRAMS:
            words = (sys.executable, "-I", "-S", "-c", START, name, str(slurm.state))
            slurm.program(name, f'exec {shlex.join(words)} "$@"')
        for name in SILENT:
            slurm.program(name, f"echo '{name}: error: Access/permission denied' >&2; exit 1")
        return slurm

    @property
    def bin(self) -> Path:
        """The folder of the programs."""
        return self.folder / "bin"

    @property
    def state(self) -> Path:
        """What the programs keep."""
        return self.folder / "state"

    def program(self, name: str, body: str) -> None:
        """Put another program in the place of one, or one more beside them."""
        self.bin.mkdir(exist_ok=True)
        (self.bin / name).write_text(f"{HEAD % name}{body}\n")
        (self.bin / name).chmod(0o755)

    def jobs(self) -> list[dict[str, Any]]:
        """Every job that was ever taken, in the order of their ids."""
        found = [json.loads(path.read_text()) for path in (self.state / "jobs").glob("*.json")]
        return sorted(found, key=lambda job: int(job["id"]))

    def ids(self) -> list[str]:
        """Their ids."""
        return [str(job["id"]) for job in self.jobs()]

    def start(self, job_id: str) -> None:
        """A job, or the task '101_2' of an array, begins."""
        self._change(job_id, state="RUNNING", began=int(time.time()))

    def end(self, job_id: str, state: str = "COMPLETED", exit_code: str = "0:0") -> None:
        """A job or task ends."""
        self._change(job_id, state=state, began=int(time.time()), ended=int(time.time()), exit=exit_code)

    def completing(self, job_id: str) -> None:
        """A job, or a task, is being cleaned up: its programs may still run."""
        self._change(job_id, state="COMPLETING", began=int(time.time()))

    def forget(self, job_id: str) -> None:
        """The controller forgets an ended job; accounting does not."""
        self._write({**self._job(job_id), "forgotten": True})

    def limit(self, most: int | None) -> None:
        """So many jobs may wait or run at once; None: any number."""
        (self.state / "limit").unlink(missing_ok=True)
        if most is not None:
            (self.state / "limit").write_text(str(most))

    def silent(self, is_silent: bool) -> None:
        """Whether the controller answers nobody."""
        (self.state / "silent").unlink(missing_ok=True)
        if is_silent:
            (self.state / "silent").touch()

    def calls(self) -> list[str]:
        """The programs that were called since this was last asked."""
        path = self.state / "calls"
        called = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return called

    def _job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = json.loads((self.state / "jobs" / f"{job_id.partition('_')[0]}.json").read_text())
        return job

    def _change(self, job_id: str, **changes: Any) -> None:
        job, task = self._job(job_id), job_id.partition("_")[2]
        for index in [task] if task else job["tasks"]:
            job["tasks"][index] |= changes
        self._write(job)

    def _write(self, job: dict[str, Any]) -> None:
        (self.state / "jobs" / f"{job['id']}.json").write_text(json.dumps(job))
