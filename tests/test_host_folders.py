"""What the login node does with the folders that hold run folders and code, in the real sh, on real folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import pytest

from tfslurm.errors import CommandFailed
from tfslurm.host import File, put, put_tree
from tfslurm.host.folders import Sharing, shared_above
from tfslurm.host.local import LocalHost
from tfslurm.snapshot import take

HOST = LocalHost("here", {})
FILES = {"job.sbatch": File(b"#!/bin/sh\n", 0o755), "secrets/TOKEN": File(b"s3cret", 0o600)}


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in sorted(root.rglob("*"))}


def send(root: Path, sharing: Sharing = Sharing()) -> None:  # noqa: B008 - it is frozen
    put(HOST, PurePosixPath(root / "runs" / "a-0123456789ab"), FILES, sharing=sharing)


@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077])
def test_runs_and_code_are_the_users_alone_whatever_the_umask_says(umask: int, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    code = take(tmp_path / "src")
    before = os.umask(umask)
    try:
        send(tmp_path / "deep" / "root")
        there = PurePosixPath(tmp_path / "deep" / "root" / "code" / code.tree)
        put_tree(HOST, there, files=1, bytes=1, stream=code.stream())
    finally:
        os.umask(before)
    found = modes(tmp_path)
    for name in ("deep", "deep/root", "deep/root/runs", "deep/root/code", "deep/root/runs/a-0123456789ab"):
        assert found[name] & 0o077 == 0, (name, oct(found[name]))


def test_what_was_wider_is_narrowed_by_the_next_submission(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("runs", "code", "images"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o2777)
    root.chmod(0o2775)
    send(root)
    assert stat.S_IMODE(root.stat().st_mode) & 0o022 == 0
    assert {modes(root)[name] & 0o077 for name in ("runs", "code", "images")} == {0}


@pytest.mark.parametrize("name", ["runs", "code", "images"])
def test_a_link_in_the_place_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandFailed, match=f"{root}/{name} is a link; move it away"):
        send(root)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o755, False), (0o2775, True), (0o777, True), (0o1777, False), (0o757, True)]
)
def test_a_folder_above_in_which_others_may_write_is_refused_with_the_way_out(
    mode: int, refused: bool, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    os.chown(project, os.geteuid(), 12345)  # a group that is nobody's own
    project.chmod(mode)
    (tmp_path / "way").symlink_to(project)
    for root in (project / "root", tmp_path / "way" / "other"):
        if refused:
            with pytest.raises(CommandFailed) as caught:
                send(root)
            assert f" (mode {mode:o}) is on the way to {root}, and others can replace" in str(caught.value)
            assert "write shared_parents: accept in the cluster file" in str(caught.value)
            assert list((root / "runs").iterdir()) == []
            (found,) = shared_above(HOST, PurePosixPath(root))[:1]
            assert (found.mode, found.uid) == (f"{mode:o}", str(os.geteuid()))
            send(root, Sharing(accept=True))
        else:
            send(root)
            assert shared_above(HOST, PurePosixPath(root)) == ()


def test_the_group_that_may_read_gets_the_run_folder_without_its_secrets(tmp_path: Path) -> None:
    root = tmp_path / "root"
    group = os.getgroups()[-1] if os.getgroups() else os.getegid()
    send(root, Sharing(group=str(group)))
    found = modes(root)
    assert found["runs"] == found["runs/a-0123456789ab"] == 0o2750
    assert found["runs/a-0123456789ab/job.sbatch"] & 0o077 == 0o050
    assert found["runs/a-0123456789ab/secrets"] & 0o077 == 0
    with pytest.raises(CommandFailed, match="cannot be given to nosuchgroup; name a group of yours"):
        send(tmp_path / "other", Sharing(group="nosuchgroup"))
