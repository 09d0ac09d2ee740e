"""The files of a job's outputs that a user wants, and the outcome for each. No file is touched here."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from tfslurm.host.fetching import Entry, as_bytes

BAD = ("conflict", "mismatch", "failed")
"Of a file that was wanted and is not here."


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that a user wants: shell patterns against whole relative names, where `*` crosses `/`."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    overwrite: bool = False
    dry_run: bool = False

    def takes(self, path: str) -> bool:
        """Whether a file is wanted."""
        return (not self.include or any(fits(path, glob) for glob in self.include)) and not any(
            fits(path, glob) for glob in self.exclude
        )


def fits(path: str, glob: str) -> bool:
    """Whether a pattern fits a file, or a folder that it lies in."""
    names = (path, *map(str, PurePosixPath(path).parents[:-1]))
    return any(fnmatchcase(name, glob.rstrip("/")) for name in names)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one file: fetched, wanted (a dry run), present, conflict, mismatch, failed, or skipped.

    ``sha256`` is that of the file there, '' where it was not asked for; ``recorded`` whether the job wrote it down.
    """

    path: str
    bytes: int
    status: str
    sha256: str = ""
    recorded: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """A file that is to be here."""

    entry: Entry
    sha256: str
    recorded: bool
    offset: int = 0  # so many bytes of its partial file are good

    @property
    def path(self) -> bytes:
        """Its path as the machines have it."""
        return as_bytes(self.entry.path)

    def ends(self, status: str, why: str = "") -> Outcome:
        """The outcome for it."""
        return Outcome(self.entry.path, self.entry.bytes, status, self.sha256, self.recorded, why)


def is_below(path: str) -> bool:
    """Whether a path stays below the folder that it is relative to."""
    return all(part not in ("", ".", "..") for part in path.split("/"))


def stays_inside(path: str, target: str) -> bool:
    """Whether a link stays below the folder: upwards first, not too far, then only down: no other link matters."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and not posixpath.isabs(target) and up <= path.count("/") and ".." not in parts[up:]
