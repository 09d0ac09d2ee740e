"""Stand-ins for what cuts a submission off: a login node that dies at a step, a lost line, a killed client."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfslurm.errors import HostError
from tfslurm.host.command import Raw
from tfslurm.host.local import LocalHost

# What the programs on a login node call: each call is a step.
TOOLS = (
    *("cat", "chmod", "cmp", "find", "flock", "getent", "head", "id", "ls", "mkdir", "mktemp", "mv", "readlink", "rm"),
    *("sha256sum", "sort", "stat", "tail", "tar", "wc", "xargs"),
)


@dataclass(frozen=True)
class Steps:
    """A folder for PATH in which each program is a step; before one of them, whatever runs in its command is killed."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, programs: Path) -> Steps:
        """The steps of ``programs`` and of coreutils."""
        steps = cls(folder)
        steps.bin.mkdir(parents=True)
        (folder / "count").mkdir()
        steps.cut(0)
        real = {name: shutil.which(name) for name in TOOLS} | {path.name: str(path) for path in programs.iterdir()}
        for name, path in real.items():
            if path:
                (steps.bin / name).write_text(STEP.format(folder=shlex.quote(str(folder)), real=shlex.quote(path)))
                (steps.bin / name).chmod(0o755)
        return steps

    @property
    def bin(self) -> Path:
        """The folder of the programs."""
        return self.folder / "bin"

    def cut(self, at: int) -> None:
        """Count anew, and kill what runs before step ``at``, from 1; 0: kill nothing."""
        for path in (self.folder / "count").iterdir():
            path.unlink()
        (self.folder / "at").write_text(f"{at}\n")

    def taken(self) -> int:
        """How many steps there were."""
        return len(list((self.folder / "count").iterdir()))


# LocalHost gives each command a process group of its own, which `kill 0` means. A file that only one can make counts:
# the two ends of a pipe begin at once.
STEP = """#!/bin/sh
# A stand-in: it does what its namesake does, and counts; see tests/fakes/cuts.py.
set -C; step=1; until true 2>/dev/null >{folder}/count/$step; do step=$((step + 1)); done; set +C
read -r at <{folder}/at
[ "$step" -ne "$at" ] || kill -9 0
exec {real} "$@"
"""


class Killed(BaseException):
    """The end of a client that is killed: nobody catches it, so that nothing more is written."""


@dataclass
class NearHost(LocalHost):
    """A stand-in for a login node and the line to it: this machine, some programs first on PATH.

    ``heard`` are the programs that it was asked to run. With ``lost_at`` the command of that number (from 1) does not
    arrive, or runs and is not answered where it ``arrives``; ``error`` is what the caller sees then.
    """

    name: str
    programs: Path
    lost_at: int = 0
    arrives: bool = False
    error: type[BaseException] = HostError
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.name, programs=str(self.programs))

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command, or lose it."""
        self.heard.append(called(argv))
        is_lost = len(self.heard) == self.lost_at
        raw = None if is_lost and not self.arrives else super().execute(argv, input, timeout_s, max_bytes)
        if is_lost or raw is None:
            raise (
                HostError(f"{self.name}: the line was lost", transient=True) if self.error is HostError else self.error
            )
        return raw


def called(argv: Sequence[str]) -> str:
    """The program of a command, whatever ``env`` takes away or sets before it."""
    words = list(argv)
    while words[0] in ("env", "-u") or "=" in words[0]:
        del words[: 2 if words[0] == "-u" else 1]
    return words[0]
