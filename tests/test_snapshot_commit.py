"""`dirty` is about bytes: it is false exactly where the commit names those that are sent. Real git, real files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repository import GIT_ENVIRONMENT, git, repository, write
from tfslurm.errors import TfslurmError
from tfslurm.snapshot import take


def assume_unchanged(folder: Path) -> None:
    git(folder, "update-index", "--assume-unchanged", "sub/b.py")
    write(folder, {"sub/b.py": "another"})


def skip_worktree(folder: Path) -> None:
    git(folder, "update-index", "--skip-worktree", "sub/b.py")
    write(folder, {"sub/b.py": "another"})


def sparse(folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "sub")
    assert not (folder / "other").exists()


def sparse_index(folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "--sparse-index", "sub")


def clean_filter(folder: Path) -> None:
    git(folder, "config", "filter.same.clean", "cat >/dev/null; printf b")
    write(folder, {".git/info/attributes": "b.py filter=same\n", "sub/b.py": "x"})


def line_ends(folder: Path) -> None:
    git(folder, "config", "core.autocrlf", "true")
    write(folder, {"other/lines.txt": b"one\r\ntwo\r\n"})


def ignored_stat(folder: Path) -> None:
    """The same size and time, which is all that Git looks at."""
    path = folder / "sub" / "b.py"
    git(folder, "config", "core.checkStat", "minimal")
    git(folder, "config", "core.trustctime", "false")
    os.utime(path, (1, 1))
    git(folder, "update-index", "--refresh")
    path.write_text("x")
    os.utime(path, (1, 1))


def no_file_mode(folder: Path) -> None:
    git(folder, "config", "core.fileMode", "false")
    (folder / "sub" / "b.py").chmod(0o755)


def excluded(folder: Path) -> None:
    """Nothing is sent that is ignored, but what is tracked and gone is not the commit's either."""
    git(folder, "update-index", "--assume-unchanged", "sub/b.py")
    (folder / "sub" / "b.py").unlink()
    write(folder, {"sub/c.py": "c", ".git/info/exclude": "c.py\n"})


HIDDEN = (
    *(assume_unchanged, skip_worktree, sparse, sparse_index, clean_filter, line_ends, ignored_stat),
    *(no_file_mode, excluded),
)


@pytest.mark.slow
@pytest.mark.parametrize("hide", HIDDEN)
def test_what_git_calls_clean_is_dirty_where_the_bytes_are_others(tmp_path: Path, hide: Callable[[Path], None]) -> None:
    folder = repository(tmp_path / "repo", {"sub/b.py": "b", "sub/a.py": "a", "other/lines.txt": "one\ntwo\n"})
    assert take(folder).dirty is False
    hide(folder)
    found = take(folder)
    assert (found.dirty, found.commit) == (True, git(folder, "rev-parse", "HEAD"))
    assert git(folder, "status", "--porcelain") == "" or hide in (line_ends, excluded)


def test_a_folder_of_a_repository_is_compared_alone(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"top.py": "t", "exp/one/train.py": "1", "exp/two/train.py": "2"})
    write(folder, {"top.py": "changed", "exp/new/train.py": "n"})
    assert take(folder / "exp" / "one").dirty is False
    assert take(folder / "exp").dirty is True
    assert take(folder / "exp" / "new").dirty is True
    write(folder, {"exp/one/train.py": "changed"})
    assert take(folder / "exp" / "one").dirty is True


def with_submodule(tmp_path: Path) -> Path:
    """A repository with a submodule, in which there is another, among names that sort around theirs."""
    inmost = repository(tmp_path / "inmost", {"z.py": "z"})
    inner = repository(tmp_path / "inner", {"lib.py": "lib", "lib/a.py": "a"})
    git(inner, "submodule", "add", "-q", str(inmost), "deep/inmost")
    git(inner, "commit", "-q", "-m", "submodule")
    folder = repository(tmp_path / "repo", {"lib.py": "1", "lib-a": "2", "lib0": "3"})
    git(folder, "submodule", "add", "-q", str(inner), "lib")
    git(folder, "submodule", "update", "-q", "--init", "--recursive")
    git(folder, "commit", "-q", "-m", "submodule")
    return folder


@pytest.mark.slow
def test_a_submodule_is_clean_at_its_commit_only(tmp_path: Path) -> None:
    folder = with_submodule(tmp_path)
    inmost = folder / "lib" / "deep" / "inmost"
    assert take(folder).dirty is False
    assert {"lib/lib/a.py", "lib/deep/inmost/z.py"} <= {entry.name for entry in take(folder).entries}
    assert take(inmost).dirty is False
    write(inmost, {"new.py": "n"})
    assert take(folder).dirty is True
    git(inmost, "add", "--all")
    git(inmost, "commit", "-q", "-m", "more")
    assert (take(inmost).dirty, take(folder / "lib").dirty, take(folder).dirty) == (False, True, True)


def test_a_repository_that_the_commit_does_not_name_is_dirty(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    repository(folder / "nested", {"a.py": "a"})
    assert take(folder).dirty is True


def lfs_pointer(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"


def test_a_file_in_lfs_is_the_commits_where_its_sha256_is(tmp_path: Path) -> None:
    """As `git lfs` leaves it, which is not asked: the pointer is committed, and the file is here."""
    files = {"train.py": "1", "model.h5": lfs_pointer(b"weights"), "run.sh": lfs_pointer(b"#!/bin/sh\n")}
    folder = repository(tmp_path / "repo", files)
    assert take(folder).dirty is False, "the pointers themselves are the commit's too"
    write(folder, {"model.h5": b"weights", "run.sh": b"#!/bin/sh\n"})
    assert take(folder).dirty is False
    (folder / "run.sh").chmod(0o755)
    assert take(folder).dirty is True
    (folder / "run.sh").chmod(0o644)
    write(folder, {"model.h5": b"Weights"})
    assert take(folder).dirty is True
    write(folder, {"model.h5": b"weights", "new.h5": b"weights"})
    assert take(folder).dirty is True
    (folder / "new.h5").unlink()
    (folder / "train.py").unlink()
    assert take(folder).dirty is True


def test_a_repository_with_sha256_ids_is_compared_too(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", "--object-format=sha256")
    write(folder, {"a/b/train.py": "1", "model.h5": lfs_pointer(b"weights")})
    (folder / "link").symlink_to("a")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "first")
    found = take(folder)
    assert (found.dirty, len(found.commit or ""), len(found.tree)) == (False, 64, 40)
    assert take(folder / "a" / "b").dirty is False
    write(folder, {"model.h5": b"weights"})
    assert take(folder).dirty is False
    write(folder, {"a/b/train.py": "2"})
    assert (take(folder).dirty, take(folder / "a").dirty) == (True, True)


@pytest.mark.parametrize("where", [".", "sub"])
def test_a_replaced_object_does_not_make_it_clean(tmp_path: Path, where: str) -> None:
    folder = repository(tmp_path / "repo", {"sub/b.py": "b"})
    first = git(folder, "rev-parse", "HEAD")
    write(folder, {"sub/b.py": "another"})
    git(folder, "commit", "-q", "-am", "second")
    git(folder, "replace", first, "HEAD")
    git(folder, "update-ref", "refs/heads/main", first)
    found = take(folder / where)
    assert (found.commit, found.dirty) == (first, True)


@pytest.mark.parametrize("forged", ["HEAD", "HEAD^{tree}", "HEAD:one"])
def test_an_object_that_is_not_what_its_name_says_is_told(tmp_path: Path, forged: str) -> None:
    """Git does not hash what it reads: a stranger's .git can put other words under a commit that everybody knows."""
    folder = repository(tmp_path / "repo", {"one/two/b.py": "b"})
    known = git(folder, "rev-parse", forged)
    write(folder, {"one/two/b.py": "another"})
    git(folder, "commit", "-q", "-am", "second")
    kind = git(folder, "cat-file", "-t", known)
    content = subprocess.run(
        ["git", "cat-file", kind, git(folder, "rev-parse", forged)],
        cwd=folder,
        env=GIT_ENVIRONMENT,
        capture_output=True,
        check=True,
    ).stdout
    git(folder, "reset", "-q", "--soft", "HEAD~")
    path = folder / ".git" / "objects" / known[:2] / known[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))
    with pytest.raises(TfslurmError, match="is damaged"):
        take(folder / "one" / "two")


def test_a_commit_of_nothing_and_none_at_all_are_dirty(tmp_path: Path) -> None:
    folder = repository(tmp_path / "empty", {})
    write(folder, {"a.py": "a"})
    assert (take(folder).dirty, take(folder).commit) == (True, git(folder, "rev-parse", "HEAD"))
    git(folder, "checkout", "-q", "--orphan", "new")
    assert (take(folder).dirty, take(folder).commit, take(folder).branch) == (True, None, "new")
