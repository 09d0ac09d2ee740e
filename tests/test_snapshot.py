"""A snapshot is what `git add --all` would take, under the id that Git itself gives to it. Real git, real files."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.repository import git, repository, write
from tfslurm.errors import InputError, TfslurmError
from tfslurm.snapshot import take
from tfslurm.snapshot.files import blob_id, entry_of
from tfslurm.snapshot.git import without_credentials


def write_tree(folder: Path, index: Path, prefix: str = "") -> str:
    """The id that git itself gives to everything in the folder, from an index of its own."""
    environment = {"GIT_INDEX_FILE": str(index)}
    git(folder, "add", "--all", ".", **environment)
    return git(folder, "write-tree", *([f"--prefix={prefix}"] if prefix else []), **environment)


def unpack(stream: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as archive:
        return {member.name: member for member in archive}


def test_the_tree_id_is_gits_own(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"a.py": "a", "gone.py": "g", "deep/er/b.py": "b", ".gitignore": "*.h5\n"})
    write(folder, {"a.py": "changed", "new.txt": "n", "big.h5": "ignored", "empty": "", "deep/er/line\nbreak": "x"})
    write(folder, {"a/file": "after a.py, before a0", "a0": "0", "a-b": "-", "名前/é.py": "u", "quote\"'\\ x": "q"})
    write(folder, {os.fsdecode(b"not-utf8-\xff"): "raw", "windows\r\n.txt": "a\r\nb\r\n"})
    (folder / "gone.py").unlink()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("./deep/")
    (folder / "dangling").symlink_to("nowhere")
    snapshot = take(folder)
    assert snapshot.tree == write_tree(folder, tmp_path / "index")
    assert "big.h5" not in {entry.name for entry in snapshot.entries}
    assert "gone.py" not in {entry.name for entry in snapshot.entries}
    assert snapshot.bytes == sum(entry.size for entry in snapshot.entries)


def test_a_subfolder_of_a_repository_is_a_tree_of_its_own(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"top.py": "t", "exp/one/train.py": "1", "exp/one/.hidden": "h"})
    write(folder, {"exp/one/untracked": "u"})
    snapshot = take(folder / "exp" / "one")
    assert snapshot.tree == write_tree(folder, tmp_path / "index", "exp/one/")
    assert [entry.name for entry in snapshot.entries] == [".hidden", "train.py", "untracked"]


def test_a_clean_checkout_has_the_commits_own_tree_and_is_not_dirty(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    git(folder, "remote", "add", "origin", "https://alice:s3cret@git.example/lab/digits.git")
    snapshot = take(folder)
    assert snapshot.tree == git(folder, "rev-parse", "HEAD^{tree}")
    assert (snapshot.commit, snapshot.branch, snapshot.dirty) == (git(folder, "rev-parse", "HEAD"), "main", False)
    assert snapshot.remote == "https://git.example/lab/digits.git"


@pytest.mark.parametrize("name", ["train.py", "untracked.py"])
def test_a_changed_or_a_new_file_makes_it_dirty(tmp_path: Path, name: str) -> None:
    folder = repository(tmp_path / "repo")
    write(folder, {name: "print(2)\n"})
    assert take(folder).dirty is True


def test_a_detached_head_has_no_branch_and_a_new_repository_no_commit(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    git(folder, "checkout", "-q", "--detach")
    assert take(folder).branch is None
    new = tmp_path / "new"
    new.mkdir()
    git(new, "init", "-q", "-b", "main")
    write(new, {"train.py": "1"})
    snapshot = take(new)
    assert (snapshot.commit, snapshot.branch, snapshot.dirty, snapshot.remote) == (None, "main", True, None)


def test_nothing_is_written_into_the_repository(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    write(folder, {"train.py": "print(2)\n", "new": "n"})

    def state() -> dict[str, float]:
        return {str(path): path.stat().st_mtime_ns for path in (folder / ".git").rglob("*")}

    before = state()
    take(folder)
    assert state() == before


def test_a_linked_worktree_and_a_hooks_environment_do_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(tmp_path / "repo")
    other = repository(tmp_path / "other", {"x": "x"})
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    snapshot = take(tmp_path / "side")
    assert (snapshot.branch, [entry.name for entry in snapshot.entries]) == ("side", ["train.py"])


def test_a_submodule_is_entered_and_one_that_is_not_checked_out_is_refused(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"lib.py": "lib", ".gitignore": "x.bin\n"})
    folder = repository(tmp_path / "repo")
    git(folder, "submodule", "add", "-q", str(inner), "vendor/inner")
    git(folder, "commit", "-q", "-m", "submodule")
    write(folder, {"vendor/inner/x.bin": "ignored there", "vendor/inner/new.py": "n"})
    names = {entry.name for entry in take(folder).entries}
    assert {"vendor/inner/lib.py", "vendor/inner/new.py", ".gitmodules"} <= names
    assert "vendor/inner/x.bin" not in names
    git(tmp_path, "clone", "-q", str(folder), "clone")
    with pytest.raises(InputError, match=r"submodule 'vendor/inner' is not checked out; .*submodule update --init"):
        take(tmp_path / "clone")


def test_a_folder_that_became_a_link_is_a_link_only(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"old/x.py": "x", "new/x.py": "x"})
    (folder / "old" / "x.py").unlink()
    (folder / "old").rmdir()
    (folder / "old").symlink_to("new")
    assert take(folder).tree == write_tree(folder, tmp_path / "index")


def test_outside_git_all_but_caches_is_taken(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "1", "exp.lock.yaml": "image:\n", "pkg/__pycache__/a.pyc": "c"})
    write(tmp_path, {".venv/bin/python": "v", "pkg/a.py": "a", "pkg/b.pyc": "b", ".env": "E=1", "out/model.keras": "m"})
    (tmp_path / "again").symlink_to("pkg")
    os.mkfifo(tmp_path / "pipe")
    snapshot = take(tmp_path)
    names = [entry.name for entry in snapshot.entries]
    assert names == [".env", "again", "exp.lock.yaml", "out/model.keras", "pkg/a.py", "train.py"]
    assert (snapshot.commit, snapshot.branch, snapshot.dirty, snapshot.remote) == (None, None, None, None)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "inner/../../outside", "here/../.."])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "code"
    write(folder, {"inner/a.py": "a"})
    (folder / "here").symlink_to(".")
    (folder / "leaves").symlink_to(target)
    with pytest.raises(InputError, match=r"leaves: is a symbolic link to .* not in the snapshot; .*mounts"):
        take(folder)


def test_too_much_is_refused_with_the_largest_files_and_the_fix(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    write(folder, {f"data/{number}.npy": b"" for number in range(1, 8)})
    for number in range(1, 8):
        os.truncate(folder / "data" / f"{number}.npy", number * 10 * 2**20)
    with pytest.raises(InputError, match=r"largest: data/7\.npy \(70\.0 MiB\), data/6\.npy") as caught:
        take(folder)
    said = str(caught.value)
    assert "280.0 MiB in 8 files, more than 256.0 MiB" in said
    assert ".gitignore" in said
    assert "data/2.npy" not in said


def test_a_missing_an_empty_and_a_wholly_ignored_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        take(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        take(tmp_path / "empty")
    folder = repository(tmp_path / "repo", {".gitignore": "scratch/\n"})
    write(folder, {"scratch/train.py": "1"})
    with pytest.raises(InputError, match="everything is ignored"):
        take(folder / "scratch")


def test_the_stream_is_the_same_for_the_same_files_and_lists_them(tmp_path: Path) -> None:
    content: dict[str, str | bytes] = {"a.py": "a", "b/line\nbreak": "b", "b/" + "long" * 60: "l", "empty": ""}
    streams: list[bytes] = []
    for name in ("one", "two"):
        write(tmp_path / name, content)
        (tmp_path / name / "link").symlink_to("b")
        (tmp_path / name / "a.py").chmod(0o755)
        os.utime(tmp_path / name / "a.py", (len(streams), len(streams)))
        streams.append(b"".join(take(tmp_path / name).stream()))
    assert streams[0] == streams[1]
    members = unpack(streams[0])
    assert (members["tree/a.py"].mode, members["tree/empty"].mode, members["tree/link"].linkname) == (0o700, 0o600, "b")
    assert {(member.mtime, member.uid, member.uname) for member in members.values()} == {(0, 0, "")}
    with tarfile.open(fileobj=io.BytesIO(streams[0])) as archive:
        listed = archive.extractfile("contents")
        assert listed is not None
        rows = listed.read().split(b"\0")
    assert rows[0] == hashlib.sha256(b"a").hexdigest().encode() + b"  ./a.py"
    assert rows[-3:] == [b"1 ./link -> b", b"x ./a.py", b""]


@pytest.mark.parametrize("how", ["content", "size", "gone", "mode", "kind", "link"])
def test_a_file_that_changes_before_it_is_sent_is_a_transient_error(tmp_path: Path, how: str) -> None:
    write(tmp_path, {"a.py": "a", "train.py": "one"})
    (tmp_path / "link").symlink_to("a.py")
    snapshot = take(tmp_path)
    path = tmp_path / "train.py"
    if how == "content":
        path.write_text("two")
    elif how == "size":
        path.write_text("longer")
    elif how == "mode":
        path.chmod(0o755)
    elif how == "link":
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("train.py")
    else:
        path.unlink()
        if how == "kind":
            path.symlink_to("a.py")
    with pytest.raises(TfslurmError, match=r"while the snapshot was taken; .*try again") as caught:
        list(snapshot.stream())
    assert caught.value.transient


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(tmp_path: Path, what: str) -> None:
    """Who may write in a shared folder could have another's files taken along: the same name, elsewhere."""
    for place in ("code/sub/deep", "private/deep"):
        write(tmp_path / place, {"id": "same"})
        (tmp_path / place / "link").symlink_to("id")
    snapshot = take(tmp_path / "code")
    name = f"sub/deep/{'id' if what == 'file' else 'link'}"
    status = os.lstat(tmp_path / "code" / name)
    (tmp_path / "code" / "sub").rename(tmp_path / "gone")
    (tmp_path / "code" / "sub").symlink_to(tmp_path / "private")
    with pytest.raises(TfslurmError, match="while the snapshot was taken") as caught:
        list(snapshot.stream())
    assert caught.value.transient
    with pytest.raises(TfslurmError, match="while the snapshot was taken"):
        entry_of(tmp_path / "code", name, status)


def test_nor_does_the_folder_itself(tmp_path: Path) -> None:
    for place in ("mine/code", "private/code"):
        write(tmp_path / place, {"id": "same"})
    snapshot = take(tmp_path / "mine" / "code")
    (tmp_path / "mine").rename(tmp_path / "gone")
    (tmp_path / "mine").symlink_to("private")
    with pytest.raises(TfslurmError, match="while the snapshot was taken"):
        list(snapshot.stream())


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "nothing"])
def test_what_was_a_link_and_is_none_is_a_transient_error(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "link"
    link.symlink_to("a.py")
    status = os.lstat(link)
    link.unlink()
    if kind == "file":
        link.touch()
    elif kind == "folder":
        link.mkdir()
    elif kind == "pipe":
        os.mkfifo(link)
    with pytest.raises(TfslurmError, match="link: changed while the snapshot was taken"):
        entry_of(tmp_path, "link", status)


def test_a_file_has_one_content_for_all_its_hashes(tmp_path: Path) -> None:
    """Else a file that changes in between is recorded as one, and called the commit's as another."""
    write(tmp_path, {"a.py": "one"})
    (entry,) = take(tmp_path).entries
    write(tmp_path, {"a.py": "two"})
    with pytest.raises(TfslurmError, match=r"a\.py: changed while the snapshot was taken"):
        blob_id(tmp_path, entry, "sha256")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "plain"])
@pytest.mark.parametrize(
    ("part", "times", "why"),
    [("d", 300, "more than 200 folders deep"), ("d", 1500, "more than 200 folders deep"), ("d" * 200, 30, "read")],
)
def test_a_folder_deeper_than_any_code_is_refused(tmp_path: Path, kind: str, part: str, times: int, why: str) -> None:
    if kind == "git":
        repository(tmp_path)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(times):
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        with pytest.raises(InputError, match=why):
            take(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / part], check=True)  # pytest's own way to remove it is by recursion


@pytest.mark.parametrize("kind", ["git", "plain", "nested"])
def test_more_files_than_any_code_has_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {f"{number % 3}/{number}": "" for number in range(12)})
    if kind != "plain":
        repository(tmp_path, {})
    if kind == "nested":
        for number in range(2):
            repository(tmp_path / str(number))
    assert take(tmp_path).files in (12, 14)
    monkeypatch.setattr("tfslurm.snapshot.listing.MOST_FILES", 8)
    with pytest.raises(InputError, match="holds more than 8 files and folders"):
        take(tmp_path)


def test_a_file_that_became_a_folder_is_no_submodule(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"a": "a", "b": "b"})
    for name in ("a", "b"):
        (folder / name).unlink()
        write(folder, {f"{name}/x": name})
    assert take(folder).tree == write_tree(folder, tmp_path / "index")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:token@host/a.git", "https://host/a.git"),
        ("https://token@host:8443/a", "https://host:8443/a"),
        ("https://host/a?private_token=x#y", "https://host/a"),
        ("https://u:p@ss@host/a", "https://host/a"),
        ("ssh://git:pw@host:2222/a.git", "ssh://git@host:2222/a.git"),
        ("git+ssh://git@host/a", "git+ssh://git@host/a"),
        ("codecommit::https://u:p@host/a", "codecommit::https://host/a"),
        ("git@host:lab/a.git", "git@host:lab/a.git"),
        ("git:pw@host:lab/a.git", "git@host:lab/a.git"),
        ("/srv/a@b.git", "/srv/a@b.git"),
        ("file:///srv/a.git", "file:///srv/a.git"),
    ],
)
def test_credentials_never_stay_in_a_remote(url: str, kept: str) -> None:
    assert without_credentials(url) == kept


def test_the_branchs_own_remote_is_named_first(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    git(folder, "remote", "add", "upstream", "https://up.example/a")
    assert take(folder).remote == "https://up.example/a"
    git(folder, "remote", "add", "origin", "https://origin.example/a")
    assert take(folder).remote == "https://origin.example/a"
    git(folder, "config", "branch.main.remote", "upstream")
    assert take(folder).remote == "https://up.example/a"


@pytest.mark.slow
def test_two_thousand_small_files_are_one_snapshot(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {f"pkg{n % 40}/module{n}.py": f"value = {n}\n" * 20 for n in range(2000)})
    write(folder, {"new.py": "n"})
    assert take(folder).files == 2001
