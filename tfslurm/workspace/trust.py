"""Cluster files of folders that are not the user's configuration: whose they are, and which contents the user trusts.

A trusted file is remembered by its folder's real path, its name and the sha256 of its content (docs/adr/0024).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, Problem, refuse
from tfslurm.local_files import claimed, make_folder, owner_name, read_own, write_file

LONGEST_LIST = 2**20
OWN_FIX = "copy what you need of it into your own ~/.config/tfslurm/clusters"


class Trusted(NamedTuple):
    """The files that the user trusts: real path of a folder -> name of a file -> sha256.

    ``past`` has every content that was ever trusted there, ``revoked`` those that are not any more: jobs may still be
    known by them.
    """

    folders: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    past: Mapping[str, frozenset[str]] = MappingProxyType({})
    revoked: frozenset[str] = frozenset()

    def knows(self, folder: Path) -> bool:
        """Whether files of this folder were trusted."""
        return str(folder) in self.folders

    def sha256(self, folder: Path, name: str) -> str:
        """The trusted content of a file; '' where none is."""
        return self.folders.get(str(folder), {}).get(name, "")

    def trusting(self, folder: Path, files: Mapping[str, bytes]) -> Trusted:
        """The same, with exactly these files of the folder."""
        hashes = {name: content_id(data) for name, data in files.items()}
        now = frozenset(hashes.values())
        past = {**self.past, str(folder): self.past.get(str(folder), frozenset()) | now}
        return Trusted({**self.folders, str(folder): hashes}, past, self.revoked - now)

    def revoking(self, folder: Path) -> Trusted:
        """The same without the folder; its contents are not taken from the tracker any more either."""
        left = {name: hashes for name, hashes in self.folders.items() if name != str(folder)}
        past = {name: hashes for name, hashes in self.past.items() if name != str(folder)}
        gone = self.past.get(str(folder), frozenset()).difference(*past.values())
        return Trusted(left, past, self.revoked | gone)


def content_id(data: bytes) -> str:
    """The sha256 by which a content is remembered."""
    return hashlib.sha256(data).hexdigest()


def read_trusted(path: Path) -> Trusted:
    """The trusted files, as the list says; none where there is no list.

    Raises:
        InputError: the file is not such a list, or is not the user's own.
    """
    if not os.path.lexists(path):
        return Trusted()
    try:
        value = read_json(read_own(path, LONGEST_LIST, OWN_FIX))
        folders = {
            str(folder): {str(k): str(v) for k, v in files.items()} for folder, files in value["folders"].items()
        }
        past = {str(folder): frozenset(hashes) for folder, hashes in value["past"].items()}
        return Trusted(folders, past, frozenset(value["revoked"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        fix = "remove it, and trust your folders again with `tfslurm trust`"
        raise refuse(str(path), "is not a list of trusted folders", fix) from error


def change_trusted(path: Path, change: Callable[[Trusted], Trusted]) -> None:
    """Change the list as it is now: what another process has revoked or trusted in the meantime stays so.

    Raises:
        InputError: it is not such a list, or cannot be written.
    """
    try:
        make_folder(path.parent)
        with closing(claimed(path.with_suffix(".lock"), wait=True)):  # type: ignore[type-var]  # never None
            write_trusted(path, change(read_trusted(path)))
    except OSError as error:
        fix = "set XDG_DATA_HOME to a folder that may be written"
        raise refuse(str(path), f"cannot be written: {error.strerror}", fix) from error


def write_trusted(path: Path, trusted: Trusted) -> None:
    """Write the list, whole or not at all, for the user alone.

    Raises:
        InputError: it cannot be written, or would be larger than what is read.
    """
    past = {folder: sorted(hashes) for folder, hashes in trusted.past.items()}
    value = {"version": 1, "folders": trusted.folders, "past": past, "revoked": sorted(trusted.revoked)}
    data = json.dumps(value, indent=2).encode()
    if len(data) > LONGEST_LIST:
        fix = "trust a folder with fewer files, or `tfslurm trust --revoke` what you do not use"
        raise refuse(str(path), f"would be larger than {LONGEST_LIST // 2**10} KiB: nothing has changed", fix)
    write_file(path, data)


def refuse_reach(cluster: Cluster, beside: Collection[Path] = ()) -> None:
    """Refuse a cluster of another file than the user's own that runs other programs here than the site's.

    slurm.conf names plugins, and ``slurm_bin`` programs. Their contents are not part of the file that was trusted, so
    without ``login`` they must be root's or slurm's, up to the root of the file system. With one they are the login
    node's, which may have these folders too: nothing may lie in those that came with the file (``beside``).

    Raises:
        InputError: each of the two that somebody else could exchange, with its line.
    """
    named: list[tuple[tuple[str, ...], str]] = [
        (("environment", key), value) for key, value in cluster.environment.items() if key == "SLURM_CONF"
    ]
    if cluster.slurm_bin is not None:
        named.append((("slurm_bin",), str(cluster.slurm_bin)))
    problems: list[Problem] = []
    fix = "if you want that, write it in your own ~/.config/tfslurm/clusters"
    for key, value in named:
        if why := not_of_the_site(Path(value)) if cluster.login is None else came_along(Path(value), beside):
            what = "runs on this machine" if cluster.login is None else "runs as you"
            problems.append(cluster.problem(key, f"{why}, and what it names {what}", fix))
    for name, value in cluster.engine_environment.items():  # a place of the nodes, which may have the folder too
        if why := came_along(Path(value.removeprefix("unix://")), beside):
            where = ("engine_environment", name)
            problems.append(cluster.problem(where, f"{why}, and what it names decides what the engine runs", fix))
    if problems:
        raise InputError(problems)


def came_along(path: Path, beside: Collection[Path]) -> str:
    """Whether a path lies in a folder that came with the file that names it, as a predicate; '' where it does not."""
    for folder in beside:
        for place in (Path(os.path.normpath(path)), Path(os.path.realpath(path))):
            if place.is_relative_to(folder):
                return f"{path} lies in {folder}, whose files may change without a word"
    return ""


def not_of_the_site(path: Path) -> str:
    """Why somebody else than root or slurm could exchange what a path names; '' where nobody can."""
    if Path(os.path.realpath(path)) != path:
        return f"{path} is, or leads through, a link"
    for place in (path, *path.parents):
        try:
            status = place.lstat()
        except OSError as error:
            return f"{place} cannot be looked at ({error.strerror})"
        if status.st_uid != 0 and owner_name(status.st_uid) != "slurm":
            return f"{place} belongs to {owner_name(status.st_uid)}"
        is_sticky = status.st_mode & stat.S_ISVTX and place != path  # nobody can exchange what is another's in it
        others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)
        if status.st_mode & others and not is_sticky:
            return f"{place} can be changed by others than root and slurm"
    return ""
