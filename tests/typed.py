"""Commands that a test types in its own process, which takes a tenth of the time of a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tfslurm.cli import run


class Said(NamedTuple):
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


Type = Callable[..., Said]


def typed_in(
    folder: Path, environment: Mapping[str, str | Path], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """`tfslurm …`, typed in this folder by a user with these variables; the process is there from now on."""
    patch.chdir(folder)
    for name, value in environment.items():
        patch.setenv(name, str(value))

    def call(*words: str | Path) -> Said:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return call
