"""A snapshot of a folder on this machine: its files, their Git tree id, their origin, and a tar stream.

In a Git working tree the files are what `git add --all` would take: tracked, changed and untracked ones, deleted ones
left out, .gitignore honoured; submodules and nested repositories are entered. Content is what is on disk, before any
filter of Git's (line ends, LFS), because that is what runs. Outside Git they are all files except CACHES. Results that
were fetched, and what `exclude` names, are left out of both. Nothing is written into .git.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tfslurm.errors import refuse
from tfslurm.snapshot.commit import is_committed
from tfslurm.snapshot.files import LIMIT_BYTES, Snapshot, taken_of
from tfslurm.snapshot.git import branch_of, head_of, remote_of, top_of
from tfslurm.snapshot.left_out import LeftOut
from tfslurm.snapshot.listing import listed_by_git, listed_without_git

__all__ = ["LIMIT_BYTES", "Snapshot", "take", "take_all", "take_some"]


def take(folder: Path, exclude: Sequence[str] = ()) -> Snapshot:
    """Return what the folder holds now; ``exclude`` are patterns as in .gitignore, but without `!`.

    Raises:
        InputError: the folder is missing, empty, too large or not to be read, or a symbolic link leaves it.
        TfslurmError: git failed, or (transient) a file changed while it was read.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise refuse(str(folder), "is not a folder", "`code` names a folder on this machine")
    top = top_of(folder)
    left_out = LeftOut(folder, exclude)
    listed = listed_by_git(folder, left_out) if top else listed_without_git(folder, left_out)
    taken = taken_of(folder, listed.names, left_out, is_repository=top is not None)
    is_whole = not left_out.patterns and not left_out.results
    if not is_whole:
        taken = taken._replace(left_out=(*left_out.lines(), *taken.left_out))
    if not top:
        return taken
    head, branch = head_of(folder, top), branch_of(folder)
    return taken._replace(
        remote=remote_of(folder, branch),
        commit=head.commit if head else None,
        branch=branch,
        dirty=not is_committed(folder, head, taken.entries, listed.nested),
    )


def take_some(folder: Path, exclude: Sequence[str], is_wanted: Callable[[str], bool]) -> Snapshot:
    """Return those files of a folder, of all that ``take`` would, whose names are wanted; nothing is said of Git.

    Raises:
        InputError: there is none, they are too large, or a symbolic link leaves the folder.
        TfslurmError: (transient) a file changed while it was read.
    """
    folder = folder.resolve()
    top = top_of(folder)
    left_out = LeftOut(folder, exclude)
    listed = listed_by_git(folder, left_out) if top else listed_without_git(folder, left_out)
    return taken_of(folder, filter(is_wanted, listed.names), left_out, is_repository=top is not None)


def take_all(folder: Path) -> Snapshot:
    """Return every file of a folder that tfslurm itself has written: no name is left out, and git is not asked.

    Raises:
        InputError: it is empty or too large, or a symbolic link leaves it.
        TfslurmError: (transient) a file changed while it was read.
    """
    folder = folder.resolve()
    names = [
        f"{here}/{name}".removeprefix(f"{folder}/")
        for here, folders, files in os.walk(folder)
        for name in (*files, *(each for each in folders if os.path.islink(f"{here}/{each}")))  # noqa: PTH114
    ]
    return taken_of(folder, names, LeftOut(folder), is_repository=False)
