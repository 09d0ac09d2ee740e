"""A snapshot of a folder on this machine: its files, their Git tree id, their origin, and a tar stream.

In a Git working tree the files are what `git add --all` would take: tracked, changed and untracked ones, deleted ones
left out, .gitignore honoured; submodules and nested repositories are entered. Content is what is on disk, before any
filter of Git's (line ends, LFS), because that is what runs. Outside Git they are all files except CACHES. Results that
were fetched, and what `exclude` names, are left out of both. Nothing is written into .git.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tfslurm.document.sizes import size_text
from tfslurm.errors import InputError, refuse
from tfslurm.snapshot.commit import is_committed
from tfslurm.snapshot.files import Snapshot, changed, entry_of, leading_out, refuse_leaving, tree_id
from tfslurm.snapshot.git import branch_of, head_of, remote_of, top_of
from tfslurm.snapshot.left_out import LeftOut
from tfslurm.snapshot.listing import listed_by_git, listed_without_git

__all__ = ["Snapshot", "take", "take_all", "take_some"]

LIMIT_BYTES = 256 * 2**20


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
    taken = _taken(folder, listed.names, left_out, is_repository=top is not None)
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
    return _taken(folder, filter(is_wanted, listed.names), left_out, is_repository=top is not None)


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
    return _taken(folder, names, LeftOut(folder), is_repository=False)


def _taken(folder: Path, names: Iterable[str], left_out: LeftOut, *, is_repository: bool) -> Snapshot:
    """The files of these names, each read and hashed."""
    found = dict(_stat_all(folder, names))
    if not found:
        raise _empty(folder, is_repository, left_out.lines())
    total = sum(status.st_size for status in found.values())
    if total > LIMIT_BYTES:
        raise _too_large(folder, found, total, is_repository)
    entries = tuple(entry_of(folder, name, found[name]) for name in sorted(found, key=os.fsencode))
    for entry in entries:
        refuse_leaving(folder, entry)
    unsaid = tuple(leading_out(folder, entries))
    return Snapshot(folder=folder, entries=entries, tree=tree_id(entries), bytes=total, left_out=unsaid)


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


def _empty(folder: Path, repository: bool, left_out: Sequence[str]) -> InputError:
    if left_out:
        return refuse(
            str(folder), f"holds no file but what is left out: {', '.join(left_out)}", "name less in `exclude`"
        )
    if repository:
        fix = "look into .gitignore there and above, and .git/info/exclude"
        return refuse(str(folder), "has no file that git would keep: everything is ignored", fix)
    return refuse(str(folder), "holds no file")


def _too_large(folder: Path, found: Mapping[str, os.stat_result], total: int, repository: bool) -> InputError:
    largest = sorted(found, key=lambda name: -found[name].st_size)[:5]
    names = ", ".join(f"{name} ({size_text(found[name].st_size)})" for name in largest)
    why = f"holds {size_text(total)} in {len(found)} files, more than {size_text(LIMIT_BYTES)}; largest: {names}"
    where = "`code: {exclude: […]}` or .gitignore" if repository else "`code: {path: …, exclude: […]}`"
    return refuse(str(folder), why, f"name what is no code in {where}, or keep data on the cluster and use `mounts`")
