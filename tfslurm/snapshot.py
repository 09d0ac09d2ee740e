"""A folder on this machine as it is now: its files, their Git tree id, where they come from, and a tar stream of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its name below the folder, Git mode (100644, 100755, 120000), blob id and size."""

    name: str
    mode: int
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a folder held when it was looked at. Outside Git the last four are None; so is a fact that Git lacks."""

    folder: Path
    entries: tuple[Entry, ...]
    tree: str
    "40 hex: what `git write-tree` gives for the same files; the SWHID is swh:1:dir:<tree>"
    bytes: int
    remote: str | None = None
    "the URL without credentials"
    commit: str | None = None
    branch: str | None = None
    "None on a detached HEAD"
    dirty: bool | None = None
    "whether the folder differs from the commit"

    @property
    def files(self) -> int:
        return len(self.entries)

    def stream(self) -> Iterator[bytes]:
        """Yield a deterministic tar of the files, for host.put_tree; raises a transient TfslurmError where one changed."""
        raise NotImplementedError


def take(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> Snapshot:
    """Return what the folder holds now.

    Raises:
        InputError: the folder is missing, empty or larger than the limit, or a symbolic link leaves it.
    """
    raise NotImplementedError
