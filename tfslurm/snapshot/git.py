"""What Git knows about a folder: which files belong to it and where they come from. The only user of git itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfslurm.errors import TfslurmError, refuse


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files come from; None is a fact that Git lacks."""

    remote: str | None
    "the URL without credentials"
    commit: str | None
    branch: str | None
    "None on a detached HEAD"
    dirty: bool
    "whether the folder differs from the commit"


def is_in_git(folder: Path) -> bool:
    """Say whether the folder lies in a Git working tree."""
    try:
        done = _git(folder, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        if any((parent / ".git").exists() for parent in [folder, *folder.parents]):
            raise TfslurmError(f"{folder}: is in a Git repository, but there is no git on PATH; install git") from None
        return False
    if done.returncode and b"not a git repository" not in done.stderr:
        raise TfslurmError(f"{folder}: git: {_said(done)}")
    return done.stdout.strip() == b"true"


def git_names(folder: Path) -> Iterator[str]:
    """Yield the names below the folder, in it and in the repositories nested in it."""
    listing = _git_output(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    real = {"": True}
    for raw in dict.fromkeys(listing.split(b"\0")):
        name = os.fsdecode(raw).rstrip("/")
        path = folder / name
        if not name or not os.path.lexists(path) or not _below_real_folders(folder, name.rpartition("/")[0], real):
            continue
        if path.is_symlink() or not path.is_dir():
            yield name
        elif (path / ".git").exists():
            yield from (f"{name}/{below}" for below in git_names(path))
        elif _git_output(folder, "ls-files", "-z", "--stage", "--", f":(literal){name}").startswith(b"160000"):
            why = f"the submodule {name!r} is not checked out"
            raise refuse(str(folder), why, f"`git -C {folder} submodule update --init -- {name}`")


def _below_real_folders(folder: Path, parent: str, known: dict[str, bool]) -> bool:
    """Say whether no part of the parent is a symbolic link: Git lists the link and, until told, the files it hides."""
    if parent not in known:
        above = _below_real_folders(folder, parent.rpartition("/")[0], known)
        known[parent] = above and not (folder / parent).is_symlink()
    return known[parent]


def origin(folder: Path) -> Origin:
    """Return remote, commit and branch, and whether the folder differs from the commit."""
    commit = branch = None
    dirty = False
    status = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--", ".")
    for line in os.fsdecode(_git_output(folder, *status)).split("\0"):
        if line.startswith("# branch.oid ") and line != "# branch.oid (initial)":
            commit = line.removeprefix("# branch.oid ")
        elif line.startswith("# branch.head ") and line != "# branch.head (detached)":
            branch = line.removeprefix("# branch.head ")
        elif line and not line.startswith("# "):
            dirty = True
    return Origin(remote=_remote(folder, branch), commit=commit, branch=branch, dirty=dirty)


def _remote(folder: Path, branch: str | None) -> str | None:
    """Return the URL of the branch's remote, else of origin, else of any."""
    done = _git(folder, "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$")
    values: dict[str, str] = {}
    for row in os.fsdecode(done.stdout).split("\0"):
        key, _, value = row.partition("\n")
        values.setdefault(key, value)
    mine = values.get(f"branch.{branch}.remote", "origin")
    urls = [value for key, value in values.items() if key.endswith(".url")]
    url = values.get(f"remote.{mine}.url") or next(iter(urls), None)
    return without_credentials(url) if url else None


def without_credentials(url: str) -> str:
    """Return a remote's URL without password, token or query: `https://user:token@host/x` -> `https://host/x`.

    The user name of an SSH URL (`git@host:x`) says where to go and stays.
    """
    found = re.match(r"(.*?://)(?:([^/?#]*)@)?([^?#]*)", url, re.DOTALL)
    if not found:
        return re.sub(r"^([^/@:]+):[^/@]*@", r"\1@", url)
    scheme, user, place = found.groups()
    keep = f"{user.split(':', 1)[0]}@" if user and "ssh" in scheme else ""
    return scheme + keep + place


def _git_output(folder: Path, *arguments: str) -> bytes:
    done = _git(folder, *arguments)
    if done.returncode:
        raise TfslurmError(f"{folder}: git {arguments[0]}: {_said(done)}")
    return done.stdout


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder: English messages, no lock in .git, and no GIT_DIR of a hook that points elsewhere."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("GIT_CONFIG") or key[:4] != "GIT_"}
    environment = {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(os.fsdecode(done.stderr).split()) or f"exit {done.returncode}"
