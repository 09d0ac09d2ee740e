"""Ask Git about a folder: the files that belong to it, its commit and remote. The only user of git itself.

The folder may be a stranger's, with settings of its own, and git runs programs that settings name. It is therefore
asked only for what needs no program: it lists names and prints objects. It never compares, converts or fetches a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import HostError, NoProgram, TfslurmError, TooMuchOutput, refuse
from tfslurm.host.command import Raw, Received, run_process
from tfslurm.remote_programs import program
from tfslurm.snapshot.files import refuse_beyond

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
IGNORED_IN_NAMES = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"What a Mac does not see in a file's name (Git's own list, utf8.c)."


class Listing(NamedTuple):
    """The names below a folder, and those of the repositories nested in it, whose files are among the names."""

    names: tuple[str, ...]
    nested: tuple[str, ...]


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
        done = _git(folder, "rev-parse", "--is-inside-work-tree", "--show-toplevel")
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
        raise TfslurmError(f"{folder}: git: {_said(done)}")
    found = Path(top.removesuffix("\n"))
    if holder is None or not found.samefile(holder):
        why = f"its repository has its working tree in {found}, not beside its .git"
        raise refuse(str(folder), why, f"`git -C {folder} config --show-origin core.worktree` shows who says so")
    return holder


def listing(folder: Path) -> Listing:
    """Return the names that belong to a folder: tracked and untracked ones that are there and not ignored.

    Raises:
        InputError: a submodule is not checked out, something cannot be read, there is more than code has, or the
            repository names what is no file below it.
    """
    names: list[str] = []
    nested: list[str] = []
    unfilled: list[bytes] = []
    real = {"": True}
    for raw in _listed(folder):
        name = os.fsdecode(raw).rstrip("/")
        refuse_beyond(folder, name, len(names))
        parent, _, last = name.rpartition("/")
        if not raw or not _is_below_real_folders(folder, parent, real):
            continue
        _refuse_odd(folder, name, last)
        try:
            mode = os.lstat(f"{folder}/{name}").st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise refuse(f"{folder}/{name}", f"cannot be read: {error.strerror}") from None
        if not stat.S_ISDIR(mode):
            names.append(name)
        elif os.path.lexists(folder / name / ".git"):
            inner = _nested(folder / name)
            nested += [name, *(f"{name}/{below}" for below in inner.nested)]
            names += [f"{name}/{below}" for below in inner.names]
            refuse_beyond(folder, name, len(names))
        else:
            unfilled.append(raw)
    _refuse_submodules(folder, unfilled)
    return Listing(tuple(names), tuple(nested))


def _listed(folder: Path) -> Iterable[bytes]:
    """Return what git lists, once each. Of a folder that it cannot read it says so, and ends with 0."""
    done = _succeeded(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    unread = re.search(rb"^warning: could not open directory (.{1,300})", done.stderr, re.MULTILINE)
    if unread:
        why = f"holds a folder that git cannot read: {os.fsdecode(unread[1])}"
        raise refuse(str(folder), why, "`chmod u+rx` it, or ignore it (.gitignore)")
    return dict.fromkeys(done.stdout.split(b"\0"))


def _refuse_submodules(folder: Path, unfilled: Sequence[bytes]) -> None:
    """Refuse a submodule without its .git; git lists others where a file became a folder."""
    if not unfilled:
        return
    rows = _git_output(folder, "ls-files", "-z", "--stage").split(b"\0")
    submodules = {row.partition(b"\t")[2] for row in rows if row.startswith(b"160000")}
    for name in map(os.fsdecode, filter(submodules.__contains__, unfilled)):
        why = f"the submodule {name!r} is not checked out"
        fix = f"`git -C {folder} submodule update --init -- {name}`, if you know who made the repository"
        raise refuse(str(folder), why, fix)


def _nested(folder: Path) -> Listing:
    if top_of(folder) != folder:
        raise refuse(str(folder), "has a .git that git cannot use", "remove that folder, or ignore it (.gitignore)")
    return listing(folder)


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
    plain = IGNORED_IN_NAMES.sub("", last).casefold().partition(":")[0].rstrip(" .")
    if last in ("", ".", "..") or name.startswith("/") or plain in (".git", "git~1"):
        why = f"its repository names {name!r} as one of its files, and git adds no such name"
        raise refuse(str(folder), why, "do not run what is in it before you know who made it")


def head_of(folder: Path, top: Path) -> Head | None:
    """Return the commit, and its tree for a folder below the top; None before the first commit.

    Raises:
        TfslurmError: an object is not what it is named as, so that the repository says nothing certain.
    """
    found = _object(folder, "HEAD", "commit")
    if found is None:
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
    size = _git_output(folder, "cat-file", "--batch-check=%(objectsize)", input=asked).strip()
    if size.isdigit() and int(size) > MOST_BYTES:
        why = f"git object {name} has {int(size)} bytes, and no commit or folder has so many"
        raise refuse(str(folder), why, "do not run what is in it before you know who made it")
    said = _git_output(folder, "cat-file", "--batch", input=asked)
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


def _damaged(folder: Path, name: str) -> TfslurmError:
    return TfslurmError(f"{folder}: git object {name} is damaged; `git fsck` shows more")


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
        rows = _git_output(folder, "ls-tree", "-r", "-z", "--full-tree", tree, most=most).split(b"\0")
    except TooMuchOutput:
        return {}
    return dict(_committed(row) for row in rows if row)


def _committed(row: bytes) -> tuple[str, tuple[int, str]]:
    facts, _, name = row.partition(b"\t")
    mode, _, blob = facts.split()
    return os.fsdecode(name), (int(mode, 8), blob.decode())


def branch_of(folder: Path) -> str | None:
    """Return the branch that is checked out; None on a detached HEAD."""
    ref = _text(_git(folder, "symbolic-ref", "--quiet", "HEAD").stdout).removesuffix("\n")
    return ref.removeprefix("refs/heads/") or None


def remote_of(folder: Path, branch: str | None) -> str | None:
    """Return the URL of the branch's remote, else of origin, else of any, without credentials; None if too long."""
    done = _git(folder, "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$")
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
    try:
        done = _git(folder, "config", "--global", "--get", "user.name", most=2000)
    except (NoProgram, TooMuchOutput, TfslurmError):
        return ""
    return "" if done.exit_code else done.stdout.decode("utf-8", "replace").strip()


def _git_output(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES) -> bytes:
    return _succeeded(folder, *arguments, input=input, most=most).stdout


def _succeeded(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES) -> Raw:
    done = _git(folder, *arguments, input=input, most=most)
    if done.exit_code:
        raise TfslurmError(f"{folder}: git {arguments[0]}: {_said(done)}")
    return done


def _git(folder: Path, *arguments: str, input: bytes = b"", most: int = MOST_BYTES) -> Raw:
    """Run git in a folder: English messages, no program, nothing written, no GIT_DIR of a hook that points elsewhere.

    The user's own settings in GIT_CONFIG_… stay (a CI names `safe.directory` so); those of SETTINGS come after them.

    Raises:
        NoProgram: there is no git.
        TooMuchOutput: it printed more than ``most`` bytes, which are fewer than those of any answer.
        InputError: it printed more than that, or gave no answer in time.
    """
    settings = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    argv = ["git", "-C", str(folder), "--no-pager", *settings, *arguments]
    if not shutil.which("git"):
        raise NoProgram("git is not on PATH; install it")
    bounded = ["/bin/sh", *program("bounded", str(MOST_MEMORY // 1024), *argv)[1:]]
    try:
        return run_process(Received(str(folder), argv, most), bounded, input, PATIENCE_S, dict(_environment()))
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


def _said(done: Raw) -> str:
    return " ".join(os.fsdecode(done.stderr[:2000]).split()) or f"exit {done.exit_code}"
