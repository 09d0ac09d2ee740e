"""Compiled templates that are kept: they change nothing but the time that a script takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_render import BUILT_IN, FILES, plan
from tfslurm.local_files import KeptFiles
from tfslurm.render import render

NAME = "job.sbatch.j2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tfslurm").mkdir(mode=0o700)
    return tmp_path / "tfslurm" / "compiled"


class Counted(KeptFiles):
    """Counts what is written, which is what was compiled."""

    written = 0

    def write(self, name: str, data: bytes) -> None:
        self.written += 1
        super().write(name, data)


def test_a_template_is_compiled_once_and_again_when_it_changes(folder: Path) -> None:
    kept = Counted(folder)
    scripts = {render(plan(), BUILT_IN, NAME, FILES, kept) for _ in range(3)} | {render(plan(), BUILT_IN, NAME, FILES)}
    assert (len(scripts), kept.written) == (1, 1)
    assert folder.stat().st_mode & 0o777 == 0o700
    changed = {NAME: BUILT_IN[NAME] + "# more\n"}
    assert render(plan(), changed, NAME, FILES, kept) == scripts.pop() + "# more\n"
    assert kept.written == 2


def flip(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def put_instead(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda file: os.truncate(file, 100),
    "empty": lambda file: os.truncate(file, 0),
    "one byte": flip,
    "no code": lambda file: file.write_bytes(b"x" * 5000),
    "too large": lambda file: os.truncate(file, 2**21),
    "others may write": lambda file: file.chmod(0o620),
    "a folder": lambda file: put_instead(file, Path.mkdir),
    "a pipe": lambda file: put_instead(file, os.mkfifo),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_anothers_is_not_used(folder: Path, damage: str) -> None:
    script = render(plan(), BUILT_IN, NAME, FILES, Counted(folder))
    (file,) = folder.iterdir()
    DAMAGES[damage](file)
    kept = Counted(folder)
    assert render(plan(), BUILT_IN, NAME, FILES, kept) == script
    assert kept.written == 1


def test_a_folder_that_cannot_be_made_costs_time_and_nothing_else(folder: Path) -> None:
    folder.write_text("in the way")
    assert render(plan(), BUILT_IN, NAME, FILES, KeptFiles(folder)) == render(plan(), BUILT_IN, NAME, FILES)
