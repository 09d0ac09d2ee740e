"""A snapshot of a folder on this machine: its files, their Git tree id, their origin, and a tar stream.

In a Git working tree the files are what `git add --all` would take: tracked, changed and untracked ones, deleted ones
left out, .gitignore honoured; submodules and nested repositories are entered. Content is what is on disk, before any
filter of Git's (line ends, LFS), because that is what runs. Outside Git they are all files except CACHES. Results that
were fetched, and what `exclude` names, are left out of both. Nothing is written into .git.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfslurm.document.sizes import size_text
from tfslurm.errors import InputError, refuse
from tfslurm.snapshot.commit import is_committed
from tfslurm.snapshot.files import SYMLINK, Entry, changed, contents, entry_of, refuse_beyond, tar_stream, tree_id
from tfslurm.snapshot.git import branch_of, head_of, remote_of, top_of
from tfslurm.snapshot.left_out import LeftOut
from tfslurm.snapshot.listing import Listing, listing

__all__ = ["Snapshot", "take", "take_all", "take_some"]

LIMIT_BYTES = 256 * 2**20

CACHES = frozenset(
    (
        *(".git", ".hg", ".svn", ".DS_Store", ".ipynb_checkpoints"),
        *("__pycache__", ".venv", ".tox", ".nox", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    )
)
"Names of files and folders that are no part of a snapshot outside Git; *.pyc neither."

ANNEXED = "/.git/annex/objects/"

Chunks = Iterator[bytes]


class Snapshot(NamedTuple):
    """The content of a folder at one moment. Outside Git the four after ``bytes`` are None; so is what Git lacks."""

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
    left_out: tuple[str, ...] = ()
    "what a reader would miss: results that were fetched, what `exclude` fits, links to what is not sent"

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
    listed = listing(folder, left_out) if top else Listing(tuple(_walk(folder, left_out)), ())
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
    listed = listing(folder, left_out).names if top else tuple(_walk(folder, left_out))
    return _taken(folder, filter(is_wanted, listed), left_out, is_repository=top is not None)


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
        _refuse_leaving(folder, entry)
    unsaid = tuple(_leading_out(folder, entries))
    return Snapshot(folder=folder, entries=entries, tree=tree_id(entries), bytes=total, left_out=unsaid)


def _walk(folder: Path, left_out: LeftOut) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise refuse(str(error.filename), f"cannot be read: {error.strerror}")

    count, patterns = 0, left_out.patterns
    for here, folders, names in os.walk(folder, onerror=fail):
        count += len(folders) + len(names)
        refuse_beyond(folder, f"{here.removeprefix(str(folder))}/", count)
        below = here.removeprefix(str(folder)).removeprefix("/")
        if below and left_out.is_result(below):
            folders.clear()
            continue
        before = f"{below}/" if below else ""
        links = [name for name in folders if os.path.islink(f"{here}/{name}")]  # noqa: PTH114
        real = [name for name in folders if name not in CACHES and name not in links]
        folders[:] = [name for name in real if not (patterns and left_out.excludes(before + name, is_folder=True))]
        for name in [*names, *links]:
            is_kept = name not in CACHES and not name.endswith(".pyc")
            if is_kept and not (patterns and left_out.excludes(before + name)):
                yield before + name


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
    annexed = ANNEXED in f"/{written}"
    if annexed or entry.target.startswith("/") or written == ".." or written.startswith("../") or not inside:
        why = f"is a symbolic link to {entry.target!r}, which is not in the snapshot"
        fix = "name it in `code: {exclude: […]}`, put the file itself there, or use `mounts` for data on the cluster"
        raise refuse(
            f"{folder}/{entry.name}", why, f"`git annex get` and `git annex unlock` {entry.name}" if annexed else fix
        )


def _leading_out(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the links whose target is here, and is not sent: there they will lead nowhere."""
    links = [entry for entry in entries if entry.mode == SYMLINK]
    if not links:
        return
    sent = {entry.name for entry in entries}
    sent |= {str(above) for entry in entries for above in PurePosixPath(entry.name).parents}
    for entry in links:
        real = os.path.realpath(folder / entry.name)
        if os.path.lexists(real) and os.path.relpath(real, folder) not in sent:
            yield f"the target of {entry.name}, which is a link to {entry.target}"


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
