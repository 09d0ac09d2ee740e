"""What the login node does with the folders that hold run folders and code, in the real sh, on real folders."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import struct
from pathlib import Path, PurePosixPath

import pytest

from tests.test_node_folders import shared
from tfslurm.errors import CommandFailed
from tfslurm.host import File, put, put_tree
from tfslurm.host.files import as_tar
from tfslurm.host.folder_permissions import Sharing, shared_above
from tfslurm.host.local import LocalHost
from tfslurm.remote_programs import program
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
    for name in ("runs", "code", "images", "inputs"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o2777)
    root.chmod(0o2775)
    send(root)
    assert stat.S_IMODE(root.stat().st_mode) & 0o022 == 0
    assert {modes(root)[name] & 0o077 for name in ("runs", "code", "images", "inputs")} == {0}


@pytest.mark.parametrize("name", ["runs", "code", "images", "inputs"])
def test_a_link_in_the_place_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandFailed, match=f"{root}/{name} is a link; move it away"):
        send(root)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
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
            send(root, Sharing(accept="accept"))
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


@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077])
def test_the_group_that_may_read_writes_nothing_whatever_the_umask_says(umask: int, tmp_path: Path) -> None:
    """Nor in what sbatch leaves, which runs with the umask that the job then has."""
    group = str(os.getgroups()[-1] if os.getgroups() else os.getegid())
    sbatch = ("sh", "-c", f"umask; : >{tmp_path}/root/runs/a-0123456789ab/slurm-1.out")
    words = (str(tmp_path / "root" / "runs"), "a-0123456789ab", "700", "2", "", "0", group, "", "0")
    before = os.umask(umask)
    try:
        done = HOST.run(program("hand-over", *words, *sbatch), input=as_tar(FILES, 0o700))
    finally:
        os.umask(before)
    assert done.stdout.startswith("0027\n"), done.stderr
    found = modes(tmp_path / "root")
    assert {"runs/a-0123456789ab/sbatch.answer", "runs/a-0123456789ab/slurm-1.out"} <= {*found}
    assert not [name for name, mode in found.items() if mode & 0o022]


def an_acl(path: Path, uid: int) -> None:
    """Let one more user write, as `setfacl -m u:UID:rwx` does. The form is that of Linux's posix_acl_xattr.h."""
    nobody = 2**32 - 1
    entries = [(0x01, 7, nobody), (0x02, 7, uid), (0x04, 0, nobody), (0x10, 7, nobody), (0x20, 0, nobody)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError:
        pytest.skip("this file system has no ACLs")


def test_a_private_group_is_not_private_where_an_acl_lets_others_write(tmp_path: Path) -> None:
    """The bits of the group are then the most that anybody named in the ACL may do."""
    project, root = tmp_path / "project", tmp_path / "project" / "root"
    project.mkdir()
    os.chown(project, -1, pwd.getpwuid(os.geteuid()).pw_gid)
    project.chmod(0o770)
    send(root)
    assert shared_above(HOST, PurePosixPath(root)) == ()
    an_acl(project, 12345)
    assert stat.S_IMODE(project.stat().st_mode) == 0o770
    (found,) = shared_above(HOST, PurePosixPath(root))
    assert found.folder == str(project)
    assert f"0770 {os.geteuid()} {project}"[1:] in shared(tmp_path, root / "runs" / "a-0123456789ab")
    with pytest.raises(CommandFailed, match=r"project \(mode 770\) is on the way"):
        put(HOST, PurePosixPath(root / "runs" / "b-0123456789ab"), FILES)


@pytest.mark.parametrize("case", ["another user's", "a link"])
@pytest.mark.parametrize("look", [True, False])
def test_a_tree_of_code_that_another_user_made_first_is_not_taken(case: str, look: bool, tmp_path: Path) -> None:
    """Its files are what is sent, and whoever owns them, or has them open, changes them later."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    code = take(tmp_path / "src")
    there = tmp_path / "root" / "code" / code.tree
    there.parent.mkdir(parents=True)
    if case == "a link":
        there.symlink_to(tmp_path / "src")
    else:
        if os.geteuid() != 0:
            pytest.skip("root alone gives a folder away")
        shutil.copytree(tmp_path / "src", there)
        os.chown(there, 12345, -1)
    with pytest.raises(CommandFailed, match=f"{code.tree} is a link, or another user's;"):
        put_tree(HOST, PurePosixPath(there), files=1, bytes=1, stream=code.stream(), look=look)
