"""A repository that somebody else made: its settings run no program, and none of its lists leads out of the folder."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.repository import git, repository, write
from tfslurm.errors import InputError, TfslurmError
from tfslurm.snapshot import take

KEYS = (
    *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.gitProxy", "core.askPass"),
    *("core.alternateRefsCommand", "sequence.editor", "diff.external", "diff.evil.textconv", "diff.evil.command"),
    *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "merge.evil.driver", "credential.helper"),
    *("gpg.program", "gpg.ssh.program", "interactive.diffFilter", "uploadpack.packObjectsHook", "hook.evil.command"),
    *("remote.origin.uploadpack", "remote.origin.vcs", "pager.ls-files", "pager.rev-parse", "pager.config"),
    *("alias.ls-files", "alias.rev-parse", "alias.cat-file", "alias.config", "alias.symbolic-ref", "alias.ls-tree"),
)
COMMITTED = TemporaryDirectory(prefix="tfslurm-committed-")  # removed at the end
HOOKS = ("post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc", "fsmonitor-watchman")


@cache
def committed() -> Path:
    """The repository of two commits that each test begins with a copy of."""
    folder = Path(COMMITTED.name)
    repository(folder, {"a.py": "a", "sub/b.py": "b", ".gitattributes": "* filter=evil\n"})
    write(folder, {".gitattributes": "* filter=evil diff=evil merge=evil\n"})
    git(folder, "commit", "-q", "--all", "-m", "second")
    return folder


class Stranger:
    """A repository whose owner wants a program to run on the machine of whoever looks at it; it would leave a mark."""

    def __init__(self, folder: Path) -> None:
        self.mark, self.program = folder / "mark", folder / "program"
        self.program.write_text(f"#!/bin/sh\ntouch '{self.mark}'\ncat\n")
        self.program.chmod(0o755)
        self.folder = shutil.copytree(committed(), folder / "repo")

    def config(self, key: str, value: str = "", *, where: str = "--local") -> None:
        value = value or (f"!{self.program}" if key.startswith(("alias.", "credential.")) else str(self.program))
        git(self.folder, "config", where, key, value)
        if key == "hook.evil.command":
            git(self.folder, "config", "hook.evil.event", "post-index-change")

    def is_looked_at(self) -> None:
        """As it is, with a changed file, and from a folder in it; being refused is as good as any answer."""
        for change in ("a", "changed"):
            (self.folder / "a.py").write_text(change)
            for folder in (self.folder, self.folder / "sub"):
                with suppress(TfslurmError):
                    take(folder)
        assert not self.mark.exists()


@pytest.fixture(name="stranger")
def _stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_no_setting_of_a_repository_runs(stranger: Stranger, key: str) -> None:
    stranger.config(key)
    stranger.is_looked_at()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["include", "includeIf", "worktree", "hooks", "hooksPath", "daemon"])
def test_nor_does_one_that_comes_another_way(stranger: Stranger, how: str) -> None:
    hooks = stranger.folder / ".git" / "hooks"
    if how == "hooksPath":
        hooks = stranger.folder / "hooks"
        stranger.config("core.hooksPath", "hooks")
    if how.startswith("hooks"):
        hooks.mkdir(exist_ok=True)
        for name in HOOKS:
            (hooks / name).symlink_to(stranger.program)
    elif how == "worktree":
        stranger.config("extensions.worktreeConfig", "true")
        stranger.config("core.fsmonitor", where="--worktree")
    elif how == "daemon":
        stranger.config("core.fsmonitor", "true")
    else:
        (stranger.folder / "more").write_text(f"[core]\n\tfsmonitor = {stranger.program}\n")
        stranger.config(f"{how}{'.gitdir:**' if how == 'includeIf' else ''}.path", "../more")
    stranger.is_looked_at()
    assert not (stranger.folder / ".git" / "fsmonitor--daemon").exists()
    assert not (stranger.folder / ".git" / "fsmonitor--daemon.ipc").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["nested", "gitfile", "bare", "bare with a working tree"])
def test_nor_does_that_of_another_repository_in_it(tmp_path: Path, stranger: Stranger, how: str) -> None:
    stranger.config("core.fsmonitor")
    outer = repository(tmp_path / "outer", {"train.py": "1"})
    inner = outer / "inner"
    if how == "nested":
        stranger.folder.rename(inner)
        assert {"inner/a.py", "train.py"} <= {entry.name for entry in take(outer).entries}
    elif how == "gitfile":
        write(inner, {"a.py": "a", ".git": f"gitdir: {stranger.folder / '.git'}\n"})
        take(inner)
        take(outer)
    else:
        (stranger.folder / ".git").rename(inner)
        git(inner, "config", "core.bare", str(how == "bare").lower())
        if how != "bare":
            git(inner, "config", "core.worktree", ".")
        take(outer)
        with pytest.raises(InputError, match="is no part of a working tree"):
            take(inner)
    assert not stranger.mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["ext::{program} %S", "file:///nowhere", "ssh://host/x", "evil::x"])
def test_no_object_is_fetched(tmp_path: Path, stranger: Stranger, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial clone asks its remote for objects that it lacks, by whatever its URL names."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git-remote-evil").symlink_to(stranger.program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": url.format(program=stranger.program),
        "remote.origin.uploadpack": str(stranger.program),
        "core.sshCommand": str(stranger.program),
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        "protocol.evil.allow": "always",
    }.items():
        stranger.config(key, value)
    commit, tree = git(stranger.folder, "rev-parse", "HEAD"), git(stranger.folder, "rev-parse", "HEAD^{tree}")
    for gone in (tree, commit):
        (stranger.folder / ".git" / "objects" / gone[:2] / gone[2:]).unlink()
        stranger.is_looked_at()


@pytest.mark.parametrize("path", [".git/config", ".git/HEAD", ".git/index", ".gitignore", "included"])
def test_a_pipe_is_not_waited_for_without_end(stranger: Stranger, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.snapshot.git.PATIENCE_S", 0.5)
    if path == "included":
        stranger.config("include.path", "../included")
    (stranger.folder / path).unlink(missing_ok=True)
    os.mkfifo(stranger.folder / path)
    try:
        take(stranger.folder)
    except TfslurmError as error:
        assert "gave no answer in 0 s; `find" in str(error) or "git:" in str(error)


def test_a_commit_that_unfolds_without_end_is_not_unfolded(stranger: Stranger) -> None:
    """Ten folders in each of ten folders, and so on: some KiB that stand for 10^9 files."""
    tree = git(stranger.folder, "rev-parse", "HEAD^{tree}")
    for _ in range(9):
        rows = "".join(f"040000 tree {tree}\td{number}\n" for number in range(10))
        made = subprocess.run(
            ["git", "mktree"], cwd=stranger.folder, input=rows, capture_output=True, text=True, check=True
        )
        tree = made.stdout.strip()
    git(stranger.folder, "update-ref", "HEAD", git(stranger.folder, "commit-tree", "-m", "x", tree))
    assert take(stranger.folder).dirty is True


def stored(folder: Path, kind: str, body: bytes) -> str:
    """The id of an object that was written by hand."""
    whole = f"{kind} {len(body)}\0".encode() + body
    name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    path = folder / ".git" / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole, 1))
    return name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("commit", b"tree --help\n"), ("commit", b"tree a\0b\n"), ("commit", b"tree HEAD^{/x}\n"), ("commit", b""),
        ("commit", b"tree ab\n"), ("commit", b"tree " + b"A" * 40 + b"\n"), ("blob", b"tree " + b"a" * 40 + b"\n"),
        ("tag", b"object " + b"a" * 40 + b"\n"), ("tree", b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", [".", "sub"])
def test_a_head_that_is_no_commit_is_told(stranger: Stranger, kind: str, body: bytes, where: str) -> None:
    """What a commit names as its tree becomes a word of git's command line."""
    name = stored(stranger.folder, kind, body)
    (stranger.folder / ".git" / "HEAD").write_text(f"{name}\n")
    with pytest.raises(TfslurmError, match=f"{name} is damaged"):
        take(stranger.folder / where)


def test_a_tree_of_many_rows_is_read_once(stranger: Stranger) -> None:
    rows = b"".join(b"100644 %07d\0" % number + bytes(20) for number in range(200_000))
    tree = stored(stranger.folder, "tree", rows)
    commit = stored(stranger.folder, "commit", f"tree {tree}\n".encode())
    (stranger.folder / ".git" / "HEAD").write_text(f"{commit}\n")
    began = time.process_time()
    assert take(stranger.folder / "sub").dirty is True
    assert time.process_time() - began < 3


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of a program's data elsewhere")
@pytest.mark.parametrize("path", [".gitignore", ".git/HEAD", ".git/info/exclude"])
def test_a_file_with_holes_takes_no_memory(stranger: Stranger, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of an archive that git reads as gigabytes."""
    monkeypatch.setattr("tfslurm.snapshot.git.MOST_MEMORY", 2**25)
    file = stranger.folder / path
    file.parent.mkdir(exist_ok=True)
    file.touch()
    os.truncate(file, 2**28)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with suppress(TfslurmError):
        take(stranger.folder)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < max(before, 2**26 // 1024) + 1


@pytest.mark.parametrize("head", ["", "garbage\n", "ref: x\n"])
@pytest.mark.parametrize("where", [".", "sub"])
def test_a_repository_that_is_broken_is_not_taken_for_none(stranger: Stranger, head: str, where: str) -> None:
    """Else what it ignores is sent."""
    (stranger.folder / ".git" / "HEAD").write_text(head)
    with pytest.raises(InputError, match=r"a \.git that git cannot use"):
        take(stranger.folder / where)


def test_names_of_any_bytes_and_length_do_not_stop_a_record(stranger: Stranger) -> None:
    (stranger.folder / ".git" / "HEAD").write_bytes(b"ref: refs/heads/\xff\n")
    config = stranger.folder / ".git" / "config"
    plain = config.read_bytes()
    for url, kept in ((b"https://u:p@h/\xff", r"https://h/\xff"), (b"https://h/" + b"a" * 2**20, None)):
        config.write_bytes(plain + b'[remote "origin"]\n\turl = ' + url + b"\n")
        found = take(stranger.folder)
        assert (found.branch, found.remote) == (r"\xff", kept)


def test_a_git_file_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    """Without its repository nobody knows what it ignores: a file of passwords, say."""
    write(tmp_path, {"a.py": "a", ".gitignore": ".env\n", ".env": "secret", ".git": "gitdir: /nowhere/repo\n"})
    with pytest.raises(TfslurmError, match="not a git repository: /nowhere/repo"):
        take(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["commit", "tree"])
def test_an_object_larger_than_any_commit_is_not_read(stranger: Stranger, kind: str) -> None:
    """Zeros pack well: 300 KiB of a repository stand for 300 MB of memory."""
    body = f"tree {git(stranger.folder, 'rev-parse', 'HEAD^{tree}')}\n".encode() + bytes(300_000_000)
    name = stored(stranger.folder, kind, body)
    (stranger.folder / ".git" / "HEAD").write_text(f"{name}\n")
    with pytest.raises(InputError, match="has 300000046 bytes, and no commit"):
        take(stranger.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ("xx/yy/secret", "../../secret"),
        ("sub/xx/xx/secret", "sub/../../secret"),
        ("xgit/config", ".git/config"),
        ("xGIT/config", ".GIT/config"),
        ("sub/xgit/config", "sub/.git/config"),
        ("git-1/config", "git~1/config"),
        ("xxxgitx/config", ".g\u200cit/config"),
        ("x/sub/b.py", "./sub/b.py"),
        ("subx/b.py", "sub//b.py"),
    ],
)
def test_a_list_of_files_that_was_written_by_hand_is_refused(tmp_path: Path, listed: str, named: str) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = repository(tmp_path / "a" / "repo", {"sub/b.py": "b"})
    write(folder, {listed: "x"})
    git(folder, "add", "--all")
    index_names(folder, listed, named)
    with pytest.raises(InputError, match=r"names .* as one of its files, and git adds no such name"):
        take(folder)


def test_an_absolute_name_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = repository(tmp_path / "repo", {"a.py": "a"})
    listed = "x" * len(str(secret))
    write(folder, {listed: "x"})
    git(folder, "add", "--all")
    index_names(folder, listed, str(secret))
    with pytest.raises(InputError, match="as one of its files"):
        take(folder)


def index_names(folder: Path, listed: str, named: str) -> None:
    """Write another name of the same length into Git's index, with a checksum that fits."""
    index = folder / ".git" / "index"
    old, new = listed.encode(), named.encode()
    assert len(old) == len(new)
    body = index.read_bytes()[:-20]
    assert body.count(old) == 1
    body = body.replace(old, new)
    index.write_bytes(body + hashlib.sha1(body, usedforsecurity=False).digest())


@pytest.mark.parametrize("where", [lambda home: home, lambda home: home / "elsewhere"])
def test_a_working_tree_that_is_elsewhere_is_refused(tmp_path: Path, where: Callable[[Path], Path]) -> None:
    write(tmp_path, {".ssh/id": "secret", "elsewhere/x": "x"})
    folder = repository(tmp_path / "downloads" / "repo")
    git(folder, "config", "core.worktree", str(where(tmp_path)))
    with pytest.raises(InputError, match="working tree"):
        take(folder)


def test_a_nested_repository_whose_working_tree_is_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    inner = repository(folder / "inner")
    git(inner, "config", "core.worktree", str(tmp_path))
    with pytest.raises(InputError, match="working tree"):
        take(folder)


def test_a_callers_own_settings_stay_and_its_traces_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Stranger(tmp_path)
    (tmp_path / "ignore").write_text("*.log\n")
    write(stranger.folder, {"big.log": "x"})
    for key, value in {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.excludesFile",
        "GIT_CONFIG_VALUE_0": str(tmp_path / "ignore"),
        "GIT_CONFIG_KEY_1": "core.fsmonitor",
        "GIT_CONFIG_VALUE_1": str(stranger.program),
        "GIT_TRACE": str(stranger.mark),
        "GIT_CONFIG": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(key, value)
    assert "big.log" not in {entry.name for entry in take(stranger.folder).entries}
    assert not stranger.mark.exists()
