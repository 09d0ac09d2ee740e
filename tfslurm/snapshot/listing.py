"""The names of the files that belong to a folder: in a Git working tree those that `git add --all` would take."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError, refuse
from tfslurm.host.command import Raw
from tfslurm.snapshot.git import git_output, run_git, succeeded, top_of
from tfslurm.snapshot.left_out import LeftOut

UNREAD = rb"(?m)^(?:warning|error): ((?:could not|unable to|cannot|failed to) \w+[^'\n]*'([^\n]{1,300}).*)"
"What git says of something that it could not read, before it ends with 0, and the beginning of its name."
IGNORED_IN_NAMES = "[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]"
"What a Mac does not see in a file's name (Git's own list, utf8.c)."

MOST_FILES = 100_000
MOST_DEEP = 200
"Folders, from the top of the file system: what walks down here and on the node does so by recursion."
CACHES = frozenset(
    (
        *(".git", ".hg", ".svn", ".DS_Store", ".ipynb_checkpoints"),
        *("__pycache__", ".venv", ".tox", ".nox", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    )
)
"Names of files and folders that are no part of a snapshot outside Git; *.pyc neither."


class Listing(NamedTuple):
    """The names below a folder, and those of the repositories nested in it, whose files are among the names."""

    names: tuple[str, ...]
    nested: tuple[str, ...]


def listed_by_git(folder: Path, left_out: LeftOut, below: str = "") -> Listing:
    """Return the names that belong to a folder: tracked and untracked ones that are there, not ignored or left out.

    ``below`` is the folder's own name in the one that ``left_out`` is of, with a `/`: that of a nested repository.

    Raises:
        InputError: a submodule is not checked out, something cannot be read, there is more than code has, or the
            repository names what is no file below it.
    """
    names: list[str] = []
    nested: list[str] = []
    unfilled: list[bytes] = []
    real, usable = {"": True}, {""}
    for raw, is_tracked in _listed(folder).items():
        name = os.fsdecode(raw).rstrip("/")
        refuse_beyond(folder, name, len(names))
        parent, _, last = name.rpartition("/")
        if not raw or not _is_below_real_folders(folder, parent, real):
            continue
        _refuse_odd(folder, name, last)
        if not is_tracked:
            _refuse_unusable(folder, parent, usable)
        mode = _mode_of(folder, name)
        if not mode or _is_left_out(left_out, f"{below}{name}", stat.S_ISDIR(mode), is_tracked):
            continue
        if not stat.S_ISDIR(mode):
            names.append(name)
        elif os.path.lexists(folder / name / ".git"):
            inner = _nested(folder / name, left_out, f"{below}{name}/")
            nested += [name, *(f"{name}/{inside}" for inside in inner.nested)]
            names += [f"{name}/{inside}" for inside in inner.names]
            refuse_beyond(folder, name, len(names))
        else:
            unfilled.append(raw)
    _refuse_submodules(folder, unfilled)
    return Listing(tuple(names), tuple(nested))


def listed_without_git(folder: Path, left_out: LeftOut) -> Listing:
    """Return the names that belong to a folder outside Git: all but CACHES, and what is left out.

    Raises:
        InputError: something cannot be read, or there is more than code has.
    """
    return Listing(tuple(_walk(folder, left_out)), ())


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


def refuse_beyond(folder: Path, name: str, files: int) -> None:
    """Refuse a name that is too deep, and one file too many.

    Raises:
        InputError: this is no folder of code.
    """
    fix = "name what is no code in `code: {path: …, exclude: […]}` or .gitignore, or name a smaller folder"
    if files > MOST_FILES:
        raise refuse(str(folder), f"holds more than {MOST_FILES:,} files and folders", fix)
    if str(folder).count("/") + name.count("/") > MOST_DEEP:
        raise refuse(str(folder), f"holds what lies more than {MOST_DEEP} folders deep, in {name[:40]!r}…", fix)


def _mode_of(folder: Path, name: str) -> int:
    """Return the mode of what has a name; 0 where nothing has it now."""
    try:
        return os.lstat(f"{folder}/{name}").st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise refuse(f"{folder}/{name}", f"cannot be read: {error.strerror}") from None


def _is_left_out(left_out: LeftOut, name: str, is_folder: bool, is_tracked: bool) -> bool:
    if left_out.patterns and left_out.excludes(name, is_folder=is_folder):
        return True
    return not is_tracked and left_out.is_result(name if is_folder else name.rpartition("/")[0])


def _listed(folder: Path) -> dict[bytes, bool]:
    """Return what git lists, once each, and whether it is tracked. What git could not read it says, and ends with 0."""
    options = ("-z", "-t", "--cached", "--others", "--exclude-standard")
    done = succeeded(folder, "ls-files", *options)
    _refuse_unread(folder, done)
    listed = dict(_tagged(done))
    if run_git(folder, "config", "--type=bool", "core.ignoreCase").stdout == b"true\n":
        exact = succeeded(folder, "ls-files", *options, ignoreCase="false")
        _refuse_hidden(folder, listed, dict(_tagged(exact)))
    return listed


def _tagged(done: Raw) -> Iterator[tuple[bytes, bool]]:
    """Rows of `<tag> <name>`: `?` is untracked."""
    for row in done.stdout.split(b"\0"):
        if row:
            yield row[2:], not row.startswith(b"? ")


def _refuse_unread(folder: Path, done: Raw) -> None:
    """Refuse a folder of which git says that it could not read a part, or the names that it ignores.

    A user's own list of ignored names, elsewhere, may be another user's (`su` keeps HOME).
    """
    for said in re.finditer(UNREAD, done.stderr):
        named = os.fsdecode(said[2]).rpartition("'")[0]
        if named.startswith("/") and not Path(named).is_relative_to(folder):
            continue
        why = f"git cannot read all of it: {os.fsdecode(said[1][:300])}"
        raise refuse(str(folder), why, "`chmod u+rwX` it, or ignore it; a .gitignore must be a file, not a link")


def _refuse_hidden(folder: Path, listed: Iterable[bytes], exact: Iterable[bytes]) -> None:
    """Refuse files that git takes for others, whose names differ in capital letters alone.

    On a Mac both names are of one file.
    """
    twins = {os.fsdecode(name).casefold(): os.fsdecode(name) for name in listed}
    for name in sorted(map(os.fsdecode, set(exact) - set(listed))):
        twin = twins.get(name.casefold())
        if twin and not _is_one(folder / name, folder / twin):
            why = f"git takes {name!r} for {twin!r} (core.ignoreCase)"
            raise refuse(str(folder), why, f"`git -C {folder} config core.ignoreCase false`, or rename one of them")


def _is_one(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _refuse_submodules(folder: Path, unfilled: Sequence[bytes]) -> None:
    """Refuse a submodule without its .git; git lists others where a file became a folder."""
    if not unfilled:
        return
    rows = git_output(folder, "ls-files", "-z", "--stage").split(b"\0")
    submodules = {row.partition(b"\t")[2] for row in rows if row.startswith(b"160000")}
    for name in map(os.fsdecode, filter(submodules.__contains__, unfilled)):
        why = f"the submodule {name!r} is not checked out"
        fix = f"`git -C {folder} submodule update --init -- {name}`, if you know who made the repository"
        raise refuse(str(folder), why, fix)


def _nested(folder: Path, left_out: LeftOut, below: str) -> Listing:
    if top_of(folder) != folder:
        raise _unusable(folder)
    return listed_by_git(folder, left_out, below)


def _refuse_unusable(folder: Path, parent: str, usable: set[str]) -> None:
    """Refuse a nested repository of which git lists single files, so that what it ignores is among them."""
    while parent not in usable:
        usable.add(parent)
        git = folder / parent / ".git"
        if git.is_dir() and not os.access(git, os.R_OK | os.X_OK):
            raise _unusable(git.parent)
        if (git.is_file() or os.path.lexists(git / "HEAD")) and top_of(git.parent) != git.parent:
            raise _unusable(git.parent)
        parent = parent.rpartition("/")[0]


def _unusable(folder: Path) -> InputError:
    why = "has a .git that git cannot use, and without it nobody knows which files are ignored"
    return refuse(str(folder), why, "repair it, remove that folder, or ignore it (.gitignore)")


def _is_below_real_folders(folder: Path, parent: str, known: dict[str, bool]) -> bool:
    """Say whether no part of the parent is a symbolic link: Git lists the link and perhaps the files it hides."""
    if parent not in known:
        above, _, last = parent.rpartition("/")
        known[parent] = _is_below_real_folders(folder, above, known)
        if known[parent]:
            _refuse_odd(folder, parent, last)
            known[parent] = not (folder / parent).is_symlink()
    return known[parent]


def _refuse_odd(folder: Path, name: str, last: str) -> None:
    """Refuse a name whose last part Git itself refuses (verify_path in its read-cache.c).

    Git checks what it adds to its list of files, not a list that somebody wrote by hand: `../../.ssh/id_rsa`, `/etc`.
    """
    plain = re.sub(IGNORED_IN_NAMES, "", last).casefold().partition(":")[0].rstrip(" .")
    if last in ("", ".", "..") or name.startswith("/") or plain in (".git", "git~1"):
        why = f"its repository names {name!r} as one of its files, and git adds no such name"
        raise refuse(str(folder), why, "do not run what is in it before you know who made it")
