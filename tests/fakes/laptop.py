"""A stand-in for a user's machine: a folder with an experiment that is pinned, one cluster, a tracker of its own."""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.slurm import FakeSlurm
from tests.made import CONFIG, PIN
from tfslurm.cli import run
from tfslurm.image import lock_text
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known, choose_clusters, open_tracker


@dataclass(frozen=True)
class Laptop:
    """The folder in which commands are typed; the cluster `alpha` is this machine with the programs of ``slurm``."""

    folder: Path
    slurm: FakeSlurm

    @classmethod
    def made(cls, folder: Path, patch: pytest.MonkeyPatch) -> Laptop:
        """A new one, in which this process is from now on."""
        slurm = FakeSlurm.made(folder / "slurm", getpass.getuser())
        laptop = cls(folder / "home", slurm)
        laptop.folder.mkdir()
        laptop.describe(slurm.bin)
        patch.chdir(laptop.folder)
        patch.setenv("XDG_CONFIG_HOME", str(laptop.folder / "config"))
        patch.setenv("XDG_DATA_HOME", str(laptop.folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(laptop.folder / "cache"))
        return laptop

    @property
    def root(self) -> Path:
        """The cluster's."""
        return self.folder.parent / "root"

    @property
    def tracker(self) -> Tracker:
        """The user's."""
        return open_tracker()

    @property
    def known(self) -> Known:
        """The cluster as its file describes it."""
        (known,) = choose_clusters(["alpha"], (), print)
        return known

    def describe(self, programs: Path) -> None:
        """Write the cluster's file: its programs are in this folder."""
        path = self.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"name": "alpha", "root": str(self.root), "slurm_bin": str(programs)}))

    def experiment(self, **keys: Any) -> str:
        """The name of an experiment's file; its image is one that was loaded, so that no registry is asked for it."""
        pin = replace(PIN, pin_kind="image-id", digest=CONFIG, digest_kind="config", manifest_digest="")
        described = {"name": "digits", "image": pin.reference, "command": ["python", "train.py"], **keys}
        (self.folder / "code").mkdir(exist_ok=True)
        (self.folder / "code" / "train.py").write_text("print(1)\n")
        (self.folder / "exp.yaml").write_text(json.dumps(described))
        (self.folder / "exp.lock.yaml").write_text(lock_text(pin))
        return "exp.yaml"

    def type(self, *words: str) -> int:
        """The exit code of a command."""
        return run(list(words))

    def folders(self) -> list[str]:
        """The run folders that hold a job; without one there may be a mark that nothing comes any more."""
        return sorted(path.parent.name for path in (self.root / "runs").glob("*/job.sbatch"))

    def known_ids(self) -> list[str]:
        """The jobs of the tracker."""
        return [job.job_id for job in self.tracker.jobs()]
