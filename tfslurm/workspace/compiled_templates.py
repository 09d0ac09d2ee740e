"""Compiled templates, kept beside the tracker: to compile the built-in one takes a tenth of a `submit`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tfslurm.errors import InputError
from tfslurm.local_files import make_folder, read_kept, write_file

MOST_BYTES = 2**20
FOLDER = "compiled"


@dataclass
class CompiledTemplates:
    """The files of one folder among the user's ``data``, which is the user's alone; ``render`` says what they hold."""

    data: Path

    def read(self, name: str) -> bytes | None:
        """The data kept under a name; None where there is none, or where others could have written in the file."""
        folder = self.data / FOLDER
        try:
            make_folder(folder)
            return read_kept(folder / name, MOST_BYTES)
        except (OSError, InputError):
            return None

    def write(self, name: str, data: bytes) -> None:
        """Keep it, whole or not at all; where this machine refuses, the template is compiled again next time."""
        with suppress(OSError, InputError):
            write_file(self.data / FOLDER / name, data)
