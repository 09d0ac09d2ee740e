"""Which cluster files count: the user's own, and those of another folder that the user trusts, or names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from tfslurm.document import Refused
from tfslurm.document.tree import printable
from tfslurm.errors import InputError, refuse
from tfslurm.local_files import folder_trouble, read_own, take_back
from tfslurm.spec import names
from tfslurm.workspace.folders import UserFolders
from tfslurm.workspace.trust import OWN_FIX, Trusted, content_id, read_trusted

NEARBY = Path("cluster_configs")
LARGEST = 2**16
"A cluster file has some hundred bytes, and is shown before it is trusted."
UNREAD = "fix that first, or remove it: without it another file of the same name would count"
Origin = Literal["own", "trusted", "named", "kept", "built in"]
Tell = Callable[[str], None]


class ClusterFile(NamedTuple):
    """A file that describes a cluster; ``data`` is its content as it was found to be the trusted one."""

    path: Path
    origin: Origin
    data: bytes | None = None


class Unused(NamedTuple):
    """A file that is not read, why, and what to do."""

    path: Path
    why: str
    fix: str


class ClusterFiles(NamedTuple):
    """Name -> the file that counts; name -> one not read, where none counts; name -> one behind the user's own.

    ``folders``: the user's, where they were looked for.
    """

    used: dict[str, ClusterFile]
    unused: dict[str, Unused]
    shadowed: dict[str, Path]
    folders: UserFolders


_named: list[Path] = []


def name_folder(folder: Path | None) -> None:
    """Take this command's cluster files from ``folder`` in place of ./cluster_configs (--clusters DIR)."""
    _named[:] = [folder] if folder else []


def cluster_files(folders: UserFolders, asked: Sequence[str] = ()) -> ClusterFiles:
    """The user's own files, then those of the folder of --clusters, else of ./cluster_configs where they are trusted.

    The file's name is the cluster's. A file of the user's own is never hidden by another. A cluster that is ``asked``
    for and is in none of these is looked for in the other folders that the user trusts.

    Raises:
        InputError: the user's own folder or that of --clusters can be changed by others; two folders have a name.
    """
    if _named:
        others = {name: ClusterFile(path, "named") for name, path in named_files(_named[0]).items()}
        unused: dict[str, Unused] = {}
    else:
        others, unused = trusted_files(NEARBY, folders)
    files = ClusterFiles(own_files(folders.config / "clusters"), {}, {}, folders)
    mine = set(files.used)
    paths = {name: each.path for name, each in unused.items()} | {name: each.path for name, each in others.items()}
    for name in mine & paths.keys():
        if os.path.realpath(paths[name]) != os.path.realpath(files.used[name].path):
            files.shadowed[name] = paths[name]
    files.unused.update({name: each for name, each in unused.items() if name not in mine})
    files.used.update({name: each for name, each in others.items() if name not in mine})
    if not _named:
        for name in asked:
            if name not in files.used and name not in files.unused:
                look_elsewhere(name, files)
    return files


def look_elsewhere(name: str, files: ClusterFiles) -> None:
    """Look for a cluster in the folders that the user trusts, wherever they are.

    Raises:
        InputError: two of them have it.
    """
    remembered = read_trusted(files.folders.trusted).folders
    having = [Path(folder) for folder, hashes in remembered.items() if f"{name}.yaml" in hashes]
    found = [trusted_files(folder, files.folders) for folder in having]
    used = [trusted[name] for trusted, _ in found if name in trusted]
    if len(used) > 1:
        places = " and ".join(str(file.path) for file in used)
        raise refuse(f"cluster {name!r}", f"is in {places}", "name one folder with --clusters DIR")
    for trusted, unused in found:
        if name in trusted:
            files.used[name] = trusted[name]
        elif name in unused and not used:
            files.unused[name] = unused[name]


def own_files(folder: Path) -> dict[str, ClusterFile]:
    """The user's own files. Only where there is no such folder are there none: else another's would stand in for one.

    Raises:
        InputError: it cannot be read, or can be changed by others.
    """
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError:
        pass  # told by what comes next
    found = names_in(folder)
    if why := folder_trouble(folder):
        raise refuse(str(folder), why, UNREAD if why.startswith("cannot") else take_back(folder, folder.stat()))
    return {name: ClusterFile(folder / f"{name}.yaml", "own") for name in found}


def names_in(folder: Path) -> list[str]:
    """The names of the clusters that a folder has a file of; none where it cannot be read."""
    try:
        return sorted(path.stem for path in folder.iterdir() if path.suffix == ".yaml")
    except OSError:
        return []


def named_files(folder: Path) -> dict[str, Path]:
    """The cluster files of a folder that the user named.

    Raises:
        InputError: it is no folder, has none, or somebody else can put files there.
    """
    if why := folder_trouble(folder):
        raise refuse(str(folder), why, OWN_FIX if folder.is_dir() else "DIR is a folder of cluster files")
    found = {name: folder / f"{name}.yaml" for name in names_in(folder)}
    if not found:
        inner = folder / NEARBY
        raise refuse(
            str(folder), "has no cluster file (NAME.yaml)", f"did you mean {inner}?" if names_in(inner) else ""
        )
    return found


def trusted_files(folder: Path, folders: UserFolders) -> tuple[dict[str, ClusterFile], dict[str, Unused]]:
    """The files of a folder whose content the user trusts, and the others; of one never trusted, none is read."""
    found: dict[str, ClusterFile] = {}
    unused: dict[str, Unused] = {}
    offered = [name for name in names_in(folder) if is_name(name)]
    if not offered or os.path.realpath(folder) == os.path.realpath(folders.config / "clusters"):
        return found, unused
    real = Path(os.path.realpath(folder))
    trusted = read_trusted(folders.trusted)
    trouble = folder_trouble(real) if trusted.knows(real) else ""
    for name in offered:
        path = folder / f"{name}.yaml"
        fix = f"look at it, then `tfslurm trust {folder}`"
        if not trusted.knows(real):
            unused[name] = Unused(path, "you have not trusted it", fix)
        elif trouble:
            unused[name] = Unused(path, f"its folder {trouble}", OWN_FIX)
        elif not trusted.sha256(real, path.name):
            unused[name] = Unused(path, "it is new since you trusted its folder", fix)
        else:
            data, why = content_of(real / path.name, trusted)
            if why:
                unused[name] = Unused(path, why, fix)
            else:
                found[name] = ClusterFile(path, "trusted", data)
    return found, unused


def is_name(text: str) -> bool:
    """Whether a cluster can have this name."""
    try:
        return bool(names.name(text))
    except Refused:
        return False


def content_of(path: Path, trusted: Trusted) -> tuple[bytes, str]:
    """The content of a file of a trusted folder, and why it is not used; '' where it is the trusted one."""
    try:
        data = read_own(path, LARGEST, OWN_FIX)
    except InputError as error:
        return b"", error.problems[0].why
    same = content_id(data) == trusted.sha256(path.parent, path.name)
    return data, "" if same else "it has changed since you trusted it"


def tell_unused(files: ClusterFiles, asked: Sequence[str], tell: Tell) -> None:
    """Say which files are not used: those behind a named cluster, or, without names, those that are not trusted."""
    for name in asked:
        if name in files.shadowed:
            why = f"{files.used[name].path} is yours and has that name"
            tell(printable(f"note: {files.shadowed[name]} is not used: {why}"))
    left = [each for name, each in files.unused.items() if not asked or name in asked]
    for (why, fix), group in groupby(left, key=lambda each: (each.why, each.fix)):
        paths = [str(each.path) for each in group]
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        tell(printable(f"note: {', '.join(paths[:3])}{more}: not used: {why}; {fix}"))
