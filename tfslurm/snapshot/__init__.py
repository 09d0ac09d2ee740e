"""A snapshot of a folder on this machine: its files, their Git tree id, their origin, and a tar stream.

In a Git working tree the files are what `git add --all` would take: tracked, changed and untracked ones, deleted ones
left out, .gitignore honoured; submodules and nested repositories are entered. Content is what is on disk, before any
filter of Git's (line ends, LFS), because that is what runs. Outside Git they are all files except LEFT_OUT.
Nothing is written into .git.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError, refuse
from tfslurm.snapshot.commit import is_committed
from tfslurm.snapshot.files import SYMLINK, Entry, changed, contents, entry_of, refuse_beyond, tar_stream, tree_id
from tfslurm.snapshot.git import Listing, branch_of, head_of, listing, remote_of, top_of

__all__ = ["Snapshot", "take"]

LIMIT_BYTES = 256 * 2**20

LEFT_OUT = frozenset(
    (
        *(".git", ".hg", ".svn", ".DS_Store", ".ipynb_checkpoints"),
        *("__pycache__", ".venv", ".tox", ".nox", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    )
)
"Names of files and folders that are no part of a snapshot outside Git; *.pyc neither."

Chunks = Iterator[bytes]


class Snapshot(NamedTuple):
    """The content of a folder at one moment. Outside Git the last four are None; so is a fact that Git lacks."""

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
    "whether these files are not the commit's, byte for byte, whatever `git status` says"

    @property
    def files(self) -> int:
        """The number of files, symbolic links included."""
        return len(self.entries)

    @property
    def contents_sha256(self) -> str:
        """The SHA-256 of the list by which a node verifies the tree: every file's name, content and x bit, no other."""
        return hashlib.sha256(contents(self.entries)).hexdigest()

    def stream(self) -> Chunks:
        """Yield a tar of `tree/<name>` for every file and, last, their list `contents`, for host.put_tree.

        The same files give the same bytes: sorted, no times, no owner, and no permission for anybody else.

        Raises:
            TfslurmError: (transient) a file is no longer what it was when the snapshot was taken.
        """
        return tar_stream(self.folder, self.entries)


def take(folder: Path) -> Snapshot:
    """Return what the folder holds now.

    Raises:
        InputError: the folder is missing, empty, too large or not to be read, or a symbolic link leaves it.
        TfslurmError: git failed, or (transient) a file changed while it was read.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise refuse(str(folder), "is not a folder", "`code` names a folder on this machine")
    top = top_of(folder)
    listed = listing(folder) if top else Listing(tuple(_walk(folder)), ())
    found = dict(_stat_all(folder, listed.names))
    if not found:
        why = "has no file that git would keep: everything is ignored" if top else "holds no file"
        raise refuse(str(folder), why, "look into .gitignore there and above, and .git/info/exclude" if top else "")
    total = sum(status.st_size for status in found.values())
    if total > LIMIT_BYTES:
        raise _too_large(folder, found, total, top is not None)
    entries = tuple(entry_of(folder, name, found[name]) for name in sorted(found, key=os.fsencode))
    for entry in entries:
        _refuse_leaving(folder, entry)
    taken = Snapshot(folder=folder, entries=entries, tree=tree_id(entries), bytes=total)
    if not top:
        return taken
    head, branch = head_of(folder, top), branch_of(folder)
    return taken._replace(
        remote=remote_of(folder, branch),
        commit=head.commit if head else None,
        branch=branch,
        dirty=not is_committed(folder, head, entries, listed.nested),
    )


def _walk(folder: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise refuse(str(error.filename), f"cannot be read: {error.strerror}")

    count = 0
    for here, folders, names in os.walk(folder, onerror=fail):
        count += len(folders) + len(names)
        refuse_beyond(folder, f"{here.removeprefix(str(folder))}/", count)
        links = [name for name in folders if os.path.islink(f"{here}/{name}")]  # noqa: PTH114
        folders[:] = [name for name in folders if name not in LEFT_OUT and name not in links]
        for name in [*names, *links]:
            if name not in LEFT_OUT and not name.endswith(".pyc"):
                yield str(Path(here, name).relative_to(folder))


def _stat_all(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Pair names with what lstat says; sockets, pipes and devices are left out as Git does."""
    for name in names:
        try:
            status = os.lstat(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            raise changed(folder, name, "vanished") from None
        except OSError as error:
            raise refuse(f"{folder}/{name}", f"cannot be read: {error.strerror}") from None
        if stat.S_ISLNK(status.st_mode) or stat.S_ISREG(status.st_mode):
            yield name, status


def _refuse_leaving(folder: Path, entry: Entry) -> None:
    if entry.mode != SYMLINK:
        return
    written = os.path.normpath(Path(entry.name).parent / entry.target)
    real = os.path.realpath(folder / entry.name)
    inside = real == str(folder) or real.startswith(str(folder).rstrip("/") + "/")
    if entry.target.startswith("/") or written == ".." or written.startswith("../") or not inside:
        raise refuse(
            f"{folder}/{entry.name}",
            f"is a symbolic link to {entry.target!r}, which is not in the snapshot",
            "ignore it (.gitignore), put the file itself there, or use `mounts` for data on the cluster",
        )


def _too_large(folder: Path, found: Mapping[str, os.stat_result], total: int, repository: bool) -> InputError:
    largest = sorted(found, key=lambda name: -found[name].st_size)[:5]
    names = ", ".join(f"{name} ({found[name].st_size / 2**20:.1f} MiB)" for name in largest)
    size, most = (f"{number / 2**20:.1f} MiB" for number in (total, LIMIT_BYTES))
    why = f"holds {size} in {len(found)} files, more than {most}; largest: {names}"
    fix = "name what is no code in .gitignore, or keep data on the cluster and use `mounts`"
    return refuse(str(folder), why, fix if repository else f"`git init` here, then {fix}")
