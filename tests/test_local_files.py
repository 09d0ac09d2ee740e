"""Files on this machine, in folders where a stranger was first: links, pipes, sockets, devices, wide modes."""

from __future__ import annotations

import ast
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_layers import PACKAGE
from tfslurm.errors import InputError
from tfslurm.local_files import make_file, make_folder, open_to_append, read_file, read_text, refuse_links, write_file


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def a_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{folder}/{path.name}")  # an address has 108 bytes at most
    os.close(folder)


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


def test_a_private_folder_of_another_user_is_refused() -> None:
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="belongs to another user"):
            make_folder(Path("/usr"))
        with pytest.raises(PermissionError, match="belongs to another user"):
            make_file(Path("/etc/hosts"))
    finally:
        if is_root:
            os.seteuid(0)


def test_a_private_file_is_made_once(tmp_path: Path) -> None:
    make_file(tmp_path / "tracker")
    assert mode(tmp_path / "tracker") == 0o600
    (tmp_path / "tracker").write_text("kept")
    (tmp_path / "own").symlink_to("tracker")
    for name in ("tracker", "own"):
        make_file(tmp_path / name)
    assert (tmp_path / "tracker").read_text() == "kept"


@pytest.mark.parametrize("name", ["link", "link/below", "real/link", "real/link/below", "real/../link", "dangling"])
def test_no_link_of_the_folder_one_stands_in_leads_away(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "here" / "real").mkdir(parents=True)
    for link in ("link", "real/link"):
        (tmp_path / "here" / link).symlink_to(tmp_path / "home")
    (tmp_path / "here" / "dangling").symlink_to("/nowhere")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=r"is a symbolic link to '.*', and tfslurm writes through none; remove it, or"):
        refuse_links(Path(name))
    refuse_links(Path("real/new"))
    refuse_links(Path("../here/real"))
    refuse_links(tmp_path / "here" / "link" / "below")
    with pytest.raises(InputError, match="is a symbolic link"):
        refuse_links(tmp_path / "here" / "link")


def test_where_one_may_not_look_is_no_link_and_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        refuse_links(tmp_path / "closed" / "x")
        with pytest.raises(InputError, match="cannot be written: Permission denied"):
            write_file(tmp_path / "closed" / "x", b"")
    finally:
        if is_root:
            os.seteuid(0)


# --- nothing else of the package writes

METHODS = {"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "rename", "mkdir", "extractall"}
"Of a Path or an archive; `replace` with one argument too."
OS_WRITES = ("link", "symlink", "rename", "replace", "mkdir", "makedirs", "mkfifo", "mknod", "truncate", "ftruncate")
OPENS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"}
ELSEWHERE = {
    "local_files.py": "this is the place",
    "retrieval/destination.py": "what is fetched: below a folder that is held open, never through a link",
    "retrieval/zip_files.py": "an archive, into a new folder that is this user's alone, no name of it leads out of",
    "host/files.py": "an archive in memory",
    "host/terminal.py": "the terminal",
    "host/openssh.py": "a nameless file for what ssh says, and the folder of its socket, whose owner is checked",
    "host/ssh_config.py": "the temporary folder of what ssh is given to read: a random name, this user's alone",
    "cli/failure.py": "/dev/null in place of a pipe that broke",
    "cli/files.py": "the folder that `init` was told to write into",
    "cli/sign.py": "the folder that `sign` was told to write into; its files by write_file",
    "retrieval/crate/finishing.py": "a crate, in a folder of its own beside its name until it is whole",
    "reruns/code_files.py": "the links of a run's code, in a new folder of this command's own, after all its files",
    "packages/wheels.py": "a temporary folder of the user's cache, and wheels that pip put there, moved by rename",
    "images/building/context.py": "what a builder reads: a new folder of this command's own, with modes of the image",
    "images/building/layers.py": "layers of gigabytes, in a new folder of this command's own",
    "images/save.py": "an archive of gigabytes, beside its name until it is whole, never through a link",
}


def writers(path: Path) -> Iterator[str]:
    """What in a module opens for writing, makes or moves a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (isinstance(node, ast.Attribute) and node.attr in OPENS) or (isinstance(node, ast.Call) and writes(node)):
            yield f"{path}:{node.lineno}: {ast.unparse(node)[:60]}"


def writes(call: ast.Call) -> bool:
    """Whether a call does."""
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and for_writing(call, 1)
    if not isinstance(call.func, ast.Attribute):
        return False
    name, owner = call.func.attr, call.func.value
    module = owner.id if isinstance(owner, ast.Name) else ""
    if module == "os":
        return name in OS_WRITES
    if module in ("shutil", "tempfile"):
        return name not in ("which", "get_terminal_size")
    if name == "replace":
        return len(call.args) == 1 and not call.keywords
    return name in METHODS or (name == "open" and for_writing(call, 0))


def for_writing(call: ast.Call, place: int) -> bool:
    """Whether the mode of an `open` is one that writes."""
    modes = [*call.args[place : place + 1], *(key.value for key in call.keywords if key.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax+") for mode in modes)


@pytest.mark.slow
def test_only_one_place_writes_files() -> None:
    found = {str(path.relative_to(PACKAGE)): list(writers(path)) for path in PACKAGE.rglob("*.py")}
    wrong = [line for name, lines in found.items() if name not in ELSEWHERE for line in lines]
    assert not wrong, "\n".join(["write with tfslurm.local_files:", *wrong])
    assert all(found[name] for name in ELSEWHERE), "an exception that is none any more"


def test_that_test_sees_writers(tmp_path: Path) -> None:
    texts = (
        *("open('x', 'w')", "open('x', mode='a')", "p.open('ab')", "p.write_text('')", "p.write_bytes(b'')"),
        *("os.open(p, os.O_WRONLY)", "os.open(p, flags | os.O_CREAT)", "shutil.copy(a, b)", "p.touch()"),
        *("p.symlink_to(q)", "tempfile.mkstemp()", "os.replace(a, b)", "p.replace(q)", "p.mkdir()", "open('x', 'r+')"),
    )
    for text in texts:
        (tmp_path / "module.py").write_text(text)
        assert list(writers(tmp_path / "module.py")), text
    (tmp_path / "module.py").write_text("open('x'); p.open('rb'); 'a'.replace('b', 'c'); os.open(p, os.O_RDONLY)")
    assert not list(writers(tmp_path / "module.py"))
