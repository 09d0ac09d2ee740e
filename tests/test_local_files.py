"""Files on this machine, in folders where a stranger was first: links, pipes, sockets, devices, wide modes."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfslurm.errors import InputError
from tfslurm.local_files import make_folder, open_to_append, read_file, read_text, write_file


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


OTHERS: dict[str, Callable[[Path], object]] = {
    "a symbolic link": lambda path: path.symlink_to("precious"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a socket": a_socket,
}


def test_a_file_is_written_whole_and_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_file(path, b"one")
    assert (path.read_bytes(), mode(path)) == (b"one", 0o600)
    write_file(path, b"two", mode=0o666)
    assert (path.read_bytes(), mode(path)) == (b"two", 0o600), "a private file stays private"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    write_file(tmp_path / "wide", b"", mode=0o666)
    assert mode(tmp_path / "wide") == 0o644


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("kind", OTHERS)
def test_nothing_is_written_into_what_a_stranger_put_there(tmp_path: Path, kind: str, replace: bool) -> None:
    (tmp_path / "precious").write_text("mine")
    OTHERS[kind](tmp_path / "target")
    before = (tmp_path / "target").lstat()
    with pytest.raises((InputError, FileExistsError)) as caught:
        write_file(tmp_path / "target", b"theirs", replace=replace)
    assert not replace or f"target: is {kind}, and a regular file is wanted; " in str(caught.value)
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "target").lstat() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_file_only_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    write_file(tmp_path / "new", b"1", replace=False)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "new", b"2", replace=False)
    assert (tmp_path / "new").read_bytes() == b"1"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "dangling", b"2", replace=False)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_file(tmp_path / "none" / "x", b"")


def test_no_device_is_replaced() -> None:
    with pytest.raises(InputError, match="/dev/null: is a device"):
        write_file(Path("/dev/null"), b"x")


@pytest.mark.parametrize("kind", OTHERS)
def test_nothing_is_appended_to_what_a_stranger_put_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "precious").write_text("mine")
    OTHERS[kind](tmp_path / "log")
    with pytest.raises(OSError):
        os.close(open_to_append(tmp_path / "log"))
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_pipe_that_somebody_reads_is_not_appended_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="not a regular file"):
        open_to_append(tmp_path / "log")
    os.close(reader)


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for word in (b"one ", b"two"):
        with os.fdopen(open_to_append(tmp_path / "log"), "wb") as file:
            file.write(word)
    assert ((tmp_path / "log").read_bytes(), mode(tmp_path / "log")) == (b"one two", 0o600)


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_what_is_no_file_is_not_read_and_not_waited_for(tmp_path: Path, kind: str, through_a_link: bool) -> None:
    OTHERS[kind](tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(InputError, match=f"is {kind}, and a regular file is wanted; name a regular file"):
        read_file(tmp_path / ("link" if through_a_link else "real"))


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/tty", "/proc/self/fd/0/x", "/nowhere/x"])
def test_devices_and_absent_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is a device|cannot be read: (Not a directory|No such)"):
        read_file(Path(name))


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="sparse: is larger than 4 MiB"):
        read_file(tmp_path / "sparse")
    (tmp_path / "just").write_bytes(b"12345")
    assert read_file(tmp_path / "just", 5) == b"12345"
    with pytest.raises(InputError, match="is larger than"):
        read_file(tmp_path / "just", 4)
    (tmp_path / "latin").write_bytes(b"a\xff")
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 1\)"):
        read_text(tmp_path / "latin")


def test_a_private_folder_is_narrowed_and_is_ones_own(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    make_folder(made)
    assert mode(made) == 0o700
    made.chmod(0o775)
    make_folder(made)
    assert mode(made) == 0o700
    make_folder(tmp_path / "open", private=False)
    assert mode(tmp_path / "open") == 0o755


def test_a_private_folder_of_another_user_is_refused() -> None:
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="belongs to another user"):
            make_folder(Path("/usr"))
    finally:
        if is_root:
            os.seteuid(0)
