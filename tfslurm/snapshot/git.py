"""Ask Git about a folder: where its working tree begins, its commit, branch and remote. The only user of git itself.

The folder may be a stranger's, with settings of its own, and git runs programs that settings name. It is therefore
asked only for what needs no program: it lists names and prints objects. It never compares, converts or fetches a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import HostError, NoProgram, TfslurmError, TooMuchOutput, refuse
from tfslurm.host.command import Raw, Received, run_process
from tfslurm.remote_programs import program

PATIENCE_S = 120.0
"A repository can hold a pipe where git expects a file, and git would wait for it."
MOST_BYTES = 64 * 2**20
"Of one answer of git's: some 10 KiB in a repository can stand for more files, or a larger object, than any disk holds."
MOST_MEMORY = 2**30
"Of git itself: a file with holes for a .gitignore, or an object that is another's difference, may ask for any amount."

SETTINGS = {
    "core.fsmonitor": "",  # a program that lists what changed
    "core.hooksPath": os.devnull,
    "safe.bareRepository": "explicit",  # git 2.38: settings beside files that only look like a repository
}
ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",  # git 2.45; for others:
    "GIT_ALLOW_PROTOCOL": "none",
}
LONGEST_ROW = 80
"Bytes of a row of ls-tree beside the name: mode, kind, id of 64 digits, blanks."
LONGEST_URL = 2048


class Head(NamedTuple):
    """The commit that is checked out, and the tree that it has for the folder; ``tree`` '': it has no such folder."""

    commit: str
    tree: str

    @property
    def algorithm(self) -> str:
        """The hash of this repository's ids."""
        return "sha256" if len(self.commit) == 64 else "sha1"


def top_of(folder: Path) -> Path | None:
    """Return the top of the working tree that a folder (without links in its path) lies in; None outside Git.

    Raises:
        InputError: the folder lies in a repository, not in its working tree, or that is set to be elsewhere.
        TfslurmError: git is missing, or does not want to look there.
    """
    holder = next((each for each in (folder, *folder.parents) if os.path.lexists(each / ".git")), None)
    try:
        done = run_git(folder, "rev-parse", "--is-inside-work-tree", "--show-toplevel")
    except NoProgram:
        if holder:
            raise TfslurmError(f"{folder}: is in a Git repository, but there is no git on PATH; install git") from None
        return None
    if not os.access(folder, os.X_OK):
        raise refuse(str(folder), "cannot be entered: Permission denied", "name a folder of yours")
    inside, _, top = os.fsdecode(done.stdout).partition("\n")
    if inside == "false" or b"safe.bareRepository" in done.stderr:
        why = "is no part of a working tree: Git keeps a repository in it, or its core.worktree names another folder"
        raise refuse(str(folder), why, "name the folder that your files are in")
    if done.exit_code:
        # `not a git repository: /x` is another thing: a .git that leads nowhere
        if re.search(rb"^fatal: not a git repository [(]", done.stderr, re.MULTILINE):
            if holder and os.path.lexists(holder / ".git" / "HEAD") and b"mount point" not in done.stderr:
                why = "has a .git that git cannot use, and without it nobody knows which files are ignored"
                raise refuse(str(holder), why, "repair it (is .git/HEAD empty?), or move that .git away")
            return None
        raise TfslurmError(f"{folder}: git: {said_of(done)}")
    found = Path(top.removesuffix("\n"))
    if holder is None or not found.samefile(holder):
        why = f"its repository has its working tree in {found}, not beside its .git"
        raise refuse(str(folder), why, f"`git -C {folder} config --show-origin core.worktree` shows who says so")
    return holder


def head_of(folder: Path, top: Path) -> Head | None:
    """Return the commit, and its tree for a folder below the top; None before the first commit.

    Raises:
        TfslurmError: an object is not what it is named as, so that the repository says nothing certain.
    """
    found = _object(folder, "HEAD", "commit")
    if found is None:
        named = _text(run_git(folder, "rev-parse", "--quiet", "--verify", "HEAD").stdout).strip()
        if named:
            raise _damaged(folder, named, "missing")
        return None
    commit, content = found
    tree = content.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")
    if len(tree) != len(commit) or not re.fullmatch("[0-9a-f]+", tree):  # it becomes a word of git's command line
        raise _damaged(folder, commit)
    for part in folder.relative_to(top).parts:
        held = _object(folder, tree, "tree")
        tree = _folder_in(held[1] if held else b"", os.fsencode(part), len(commit) // 2)
        if not tree:
            break
    return Head(commit, tree)


def _object(folder: Path, name: str, kind: str) -> tuple[str, bytes] | None:
    """Return the id and the content of an object, which must be of this kind and hash to its id; None where none is.

    Its size is asked first, for git itself would hold all of it in memory.
    """
    asked = name.encode() + b"\n"
    size = git_output(folder, "cat-file", "--batch-check=%(objectsize)", input=asked).strip()
    if size.isdigit() and int(size) > MOST_BYTES:
        why = f"git object {name} has {int(size)} bytes, and no commit or folder has so many"
        raise refuse(str(folder), why, "do not run what is in it before you know who made it")
    said = git_output(folder, "cat-file", "--batch", input=asked)
    head, _, content = said.partition(b"\n")
    words = head.decode("ascii", "replace").split()
    if len(words) != 3:
        return None
    algorithm = "sha256" if len(words[0]) == 64 else "sha1"
    content = content[:-1]
    whole = f"{words[1]} {len(content)}\0".encode() + content
    if words[1] != kind or hashlib.new(algorithm, whole, usedforsecurity=False).hexdigest() != words[0]:
        raise _damaged(folder, words[0])
    return words[0], content


def _damaged(folder: Path, name: str, how: str = "damaged") -> TfslurmError:
    return TfslurmError(f"{folder}: git object {name} is {how}; `git fsck` shows more")


def _folder_in(tree: bytes, name: bytes, id_bytes: int) -> str:
    """Return the id of a folder in a tree object: rows of `<mode> <name>NUL<id>`; '' where it has none."""
    wanted, at = b"40000 " + name, 0
    while (end := tree.find(b"\0", at)) >= 0:
        if tree[at:end] == wanted:
            return tree[end + 1 : end + 1 + id_bytes].hex()
        at = end + 1 + id_bytes
    return ""


def committed_files(folder: Path, tree: str, names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return name -> mode and id of the files of a commit's tree; {} where they are surely not those ``names``."""
    most = sum(len(os.fsencode(name)) + LONGEST_ROW for name in names)
    try:
        rows = git_output(folder, "ls-tree", "-r", "-z", "--full-tree", tree, most=most).split(b"\0")
    except TooMuchOutput:
        return {}
    return dict(_committed(row) for row in rows if row)


def _committed(row: bytes) -> tuple[str, tuple[int, str]]:
    facts, _, name = row.partition(b"\t")
    mode, _, blob = facts.split()
    return os.fsdecode(name), (int(mode, 8), blob.decode())


def branch_of(folder: Path) -> str | None:
    """Return the branch that is checked out; None on a detached HEAD."""
    ref = _text(run_git(folder, "symbolic-ref", "--quiet", "HEAD").stdout).removesuffix("\n")
    return ref.removeprefix("refs/heads/") or None


def remote_of(folder: Path, branch: str | None) -> str | None:
    """Return the URL of the branch's remote, else of origin, else of any, without credentials; None if too long."""
    done = run_git(folder, "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$")
    values: dict[str, str] = {}
    for row in _text(done.stdout).split("\0"):
        key, _, value = row.partition("\n")
        values.setdefault(key, value)
    mine = values.get(f"branch.{branch}.remote", "origin")
    urls = [value for key, value in values.items() if key.endswith(".url")]
    url = values.get(f"remote.{mine}.url") or next(iter(urls), None)
    return without_credentials(url) if url and len(url) <= LONGEST_URL else None


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


def user_name(folder: Path) -> str:
    """The user's name by the settings of the user and the machine, never by those of the folder; '': none."""
    return user_setting(folder, "user.name")


def user_setting(folder: Path, key: str) -> str:
    """One of the user's own settings of git; '': it is not set, or git cannot say."""
    try:
        done = run_git(folder, "config", "--global", "--get", key, most=2000)
    except (NoProgram, TooMuchOutput, TfslurmError):
        return ""
    return "" if done.exit_code else done.stdout.decode("utf-8", "replace").strip()


def git_output(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES) -> bytes:
    """Return what git prints; see `run_git`.

    Raises:
        TfslurmError: git failed.
    """
    return succeeded(folder, *arguments, input=input, most=most).stdout


def succeeded(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES, **core: str) -> Raw:
    """Run git, which must end with 0; see `run_git`.

    Raises:
        TfslurmError: git failed.
    """
    done = run_git(folder, *arguments, input=input, most=most, **core)
    if done.exit_code:
        raise TfslurmError(f"{folder}: git {arguments[0]}: {said_of(done)}")
    return done


def run_git(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES, **core: str) -> Raw:
    """Run git in a folder: English messages, no program, nothing written, no GIT_DIR of a hook that points elsewhere.

    The user's own settings in GIT_CONFIG_… stay (a CI names `safe.directory` so); those of SETTINGS come after them,
    and those of ``core``, by their names in that section.

    Raises:
        NoProgram: there is no git.
        TooMuchOutput: it printed more than ``most`` bytes, which are fewer than those of any answer.
        InputError: it printed more than that, or gave no answer in time.
    """
    set_here = {**SETTINGS, **{f"core.{key}": value for key, value in core.items()}}
    settings = [word for key, value in set_here.items() for word in ("-c", f"{key}={value}")]
    argv = ["git", "-C", str(folder), "--no-pager", *settings, *arguments]
    if not shutil.which("git"):
        raise NoProgram("git is not on PATH; install it")
    environment = dict(_environment())
    bounded = ["/bin/sh", *program("bounded", str(MOST_MEMORY // 1024), *argv)[1:]]
    try:
        return run_process(Received(str(folder), argv, most), bounded, input, PATIENCE_S, environment)
    except TooMuchOutput:
        if most < MOST_BYTES:
            raise
        why = f"git {arguments[0]} says more of it than {MOST_BYTES // 2**20} MiB"
        raise refuse(str(folder), why, "name what is no code in .gitignore, or name a smaller folder") from None
    except HostError:
        why = f"git {arguments[0]} gave no answer in {PATIENCE_S:.0f} s"
        raise refuse(str(folder), why, f"`find {folder} -type p` lists pipes, which git waits for") from None


def _environment() -> Iterator[tuple[str, str]]:
    for key, value in os.environ.items():
        if not key.startswith("GIT_") or key.startswith("GIT_CONFIG_"):
            yield key, value
    yield from ENVIRONMENT.items()


def _text(raw: bytes) -> str:
    """A text that a record can hold: a name in Git is any bytes, and those that are no UTF-8 are written out."""
    return raw.decode("utf-8", "backslashreplace")


def said_of(done: Raw) -> str:
    """Return what a git that failed printed, on one line."""
    return " ".join(os.fsdecode(done.stderr[:2000]).split()) or f"exit {done.exit_code}"


class Blob(NamedTuple):
    """A file of a tree: its Git mode, its id, its bytes (-1: of a submodule, which has none)."""

    mode: int
    id: str
    size: int


def files_of_tree(folder: Path, tree: str) -> dict[str, Blob]:
    """Return name -> file of a tree that the repository has; ``tree`` is 40 or 64 hexadecimal digits.

    Raises:
        TfslurmError: the repository does not have it.
    """
    rows = git_output(folder, "ls-tree", "-r", "-z", "-l", "--full-tree", tree).split(b"\0")
    found = re.compile(rb"([0-7]{6}) (blob|commit) ([0-9a-f]+) +([0-9]+|-)\t(.+)", re.DOTALL)
    matches = (found.fullmatch(row) for row in rows if row)
    return {
        os.fsdecode(row[5]): Blob(int(row[1], 8), row[3].decode(), -1 if row[4] == b"-" else int(row[4]))
        for row in matches
        if row
    }


def contents_of(folder: Path, blobs: Iterable[Blob]) -> dict[str, bytes]:
    """Return id -> content of these files; each has been hashed to its id, and what is not there is left out.

    Raises:
        TfslurmError: git failed.
    """
    wanted = [blob for blob in blobs if blob.size >= 0]
    most = sum(blob.size + 128 for blob in wanted) + 2**16
    asked = "".join(f"{blob.id}\n" for blob in wanted).encode()
    said = git_output(folder, "cat-file", "--batch", input=asked, most=most)
    found: dict[str, bytes] = {}
    while said:
        head, _, said = said.partition(b"\n")
        words = head.decode("ascii", "replace").split()
        if len(words) != 3 or not words[2].isdigit():
            continue
        content, said = said[: int(words[2])], said[int(words[2]) + 1 :]
        algorithm = "sha256" if len(words[0]) == 64 else "sha1"
        whole = f"{words[1]} {len(content)}\0".encode() + content
        if hashlib.new(algorithm, whole, usedforsecurity=False).hexdigest() == words[0]:
            found[words[0]] = content
    return found
