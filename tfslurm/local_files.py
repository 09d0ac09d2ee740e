"""Write tfslurm's own files on this machine, and read files that somebody else may have made.

A folder may be a stranger's: whoever made it may have put a link where tfslurm writes, or a pipe where it reads.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from tfslurm.errors import InputError, refuse

ANOTHERS = "belongs to another user"
TEXT_BYTES = 4 * 2**20
"More than any text that is written by hand."
MOST_KEPT = 2**20  # bytes of what a later command is spared
KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def write_file(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Write a file, whole or not at all; nothing is written through a link that has its name.

    ``mode`` is narrowed by the umask, and by that of the file that it replaces. ``replace`` false: only a new file.

    Raises:
        FileExistsError: there is one already, and it is not to be replaced.
        InputError: something else has its name (a link, a folder, a pipe), or this machine refuses.
    """
    with _explained(path, "written"), _folder(path.parent) as folder:
        if replace:
            _replace(folder, path, data, mode)
        else:
            _write(folder, path.name, data, mode)


def open_to_append(path: Path) -> int:
    """A descriptor that appends to a regular file, made the user's alone if need be; no link leads to it.

    Raises:
        OSError: it is a link (ELOOP), another thing that is no file (EINVAL), or this machine refuses.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return file


def make_folder(path: Path) -> None:
    """Make a folder that is this user's alone, and parents where they are missing; one that is there is narrowed.

    Raises:
        OSError: another user owns the folder, or the link that leads to it, or this machine refuses.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_foreign(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)


def make_file(path: Path) -> None:
    """Make an empty file that is this user's alone, or find one that is this user's own.

    Raises:
        OSError: another user owns it, or the link that leads to it, or this machine refuses.
    """
    if os.path.lexists(path):
        _refuse_foreign(path)
    else:
        os.close(open_to_append(path))


def refuse_links(path: Path) -> None:
    """Refuse a path with a symbolic link in it: somebody else may have put it into the current folder.

    Of an absolute path, whose beginning is the machine's own, only the last part is checked.

    Raises:
        InputError: a part of the path is a symbolic link.
    """
    for part in (path,) if path.is_absolute() else (path, *path.parents):
        if os.path.islink(part):  # noqa: PTH114  (false where one may not look: writing there says why)
            why = f"is a symbolic link to {os.readlink(part)!r}, and tfslurm writes through none"  # noqa: PTH115
            raise refuse(str(part), why, f"remove it, or name {os.path.realpath(part)}")


def read_file(path: Path, limit: int = TEXT_BYTES, check: Callable[[os.stat_result], None] | None = None) -> bytes:
    """The bytes of a regular file. A pipe, a device, a socket or a folder is refused, and never waited for.

    ``check`` is called with what the opened file is, and may refuse it.

    Raises:
        InputError: it is no regular file, holds more than ``limit`` bytes, or cannot be read.
    """
    with _explained(path, "read"), open_file(path) as opened:
        if check:
            check(os.fstat(opened.fileno()))
        data = opened.read(limit + 1)
    if len(data) > limit:
        size = f"{limit / 2**20:g} MiB" if limit >= 2**20 else f"{limit / 2**10:g} KiB"
        raise refuse(str(path), f"is larger than {size}", "name another file")
    return data


def read_own(path: Path, limit: int, fix: str) -> bytes:
    """The bytes of a file that nobody but the user or root can change; ``fix`` is what helps beside taking it back.

    What is looked at and what is read is one open file: an exchange in between changes nothing.

    Raises:
        InputError: it cannot be read, is no regular file, is far too large, or somebody else can change it.
    """

    def only_mine(status: os.stat_result) -> None:
        if why := changed_by_others(status):
            raise refuse(str(path), why, f"{take_back(path, status)}, or {fix}")

    return read_file(path, limit, only_mine)


def open_file(path: Path) -> BinaryIO:
    """A regular file, open to be read.

    Raises:
        InputError: it is something else.
        OSError: it is not there, or cannot be read.
    """
    _only_regular(path, path.stat())  # before it is opened, which a device may act on
    opened = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    try:
        _only_regular(path, os.fstat(opened.fileno()))
    except BaseException:
        opened.close()
        raise
    return opened


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """The text of such a file.

    Raises:
        InputError: as ``read_file``, or it is not UTF-8.
    """
    return as_text(path, read_file(path, limit))


def as_text(path: Path, data: bytes) -> str:
    """The text that a file's bytes are.

    Raises:
        InputError: they are not UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def folder_trouble(folder: Path) -> str:
    """Why nothing is read from a folder: it is none, or somebody else could put files into it; '' where nothing is."""
    try:
        status = folder.stat()
        if not stat.S_ISDIR(status.st_mode):
            return "is not a folder"
        os.scandir(folder).close()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return changed_by_others(status)


def take_back(path: Path, status: os.stat_result) -> str:
    """The command after which nobody else can change a file or folder."""
    return f"`chmod go-w {shlex.quote(str(path))}`" if status.st_uid == os.geteuid() else "make it yours"


def changed_by_others(status: os.stat_result) -> str:
    """Who, besides the user and root, can change a file or folder, as a predicate; '' where nobody can."""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to {owner_name(status.st_uid)}, who can change it at any time"
    if status.st_mode & stat.S_IWOTH:
        return "can be changed by everybody here"
    if status.st_mode & stat.S_IWGRP and not any(is_private(status.st_gid, uid) for uid in (0, os.geteuid())):
        return f"can be changed by the group {group_name(status.st_gid)}"
    return ""


def is_private(gid: int, uid: int) -> bool:
    """Whether a group is the user's alone, as `useradd` makes one for each user (umask 002 relies on it)."""
    try:
        person, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return person.pw_gid == gid and group.gr_name == person.pw_name and set(group.gr_mem) <= {person.pw_name}


def owner_name(uid: int) -> str:
    """A user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """A group's name, or the number where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


def claimed(path: Path, wait: bool) -> IO[str] | None:
    """The file, ours until it is closed; None where another process has it and is not waited for.

    It is locked, and the kernel releases the lock when the process ends.
    """
    while True:
        file = os.fdopen(open_to_append(path), "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            pass  # whoever had it has removed it: another is made
        except BaseException:
            file.close()
            raise
        file.close()


def _refuse_foreign(path: Path) -> None:
    """Refuse a file or folder that is not this user's own, and a link to it that is not; root may use any."""
    for status in (path.lstat(), path.stat()):
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise PermissionError(errno.EPERM, ANOTHERS, str(path))


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, InputError):
        raise
    except OSError as error:
        raise refuse(str(path), f"cannot be {done}: {error.strerror}") from error


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _replace(folder: int, path: Path, data: bytes, mode: int) -> None:
    with suppress(FileNotFoundError):
        status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        _only_regular(path, status)
        mode &= stat.S_IMODE(status.st_mode)
    temporary = f".tfslurm-{os.urandom(8).hex()}.tmp"
    _write(folder, temporary, data, mode)
    try:
        os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):  # Ctrl-C after the rename is to be heard
            os.unlink(temporary, dir_fd=folder)
        raise


def _write(folder: int, name: str, data: bytes, mode: int) -> None:
    """Write a new file, or none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, mode, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(file)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


def _only_regular(path: Path, status: os.stat_result) -> None:
    """Refuse anything but a regular file.

    Raises:
        InputError: it is something else, in words.
    """
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((name for is_kind, name in KINDS if is_kind(status.st_mode)), "no regular file")
    fix = "remove it, or name the file that it points to" if stat.S_ISLNK(status.st_mode) else "name a regular file"
    raise refuse(str(path), f"is {kind}, and a regular file is wanted", fix)


@dataclass
class KeptFiles:
    """What a later command is spared: the files of a folder that is the user's alone, each whole or not there.

    Nothing is kept where the folder above it is not there, and no more than MOST_KEPT bytes.
    """

    folder: Path

    def read(self, name: str) -> bytes | None:
        """The data kept under a name; None where there is none, or where others could have written in the file."""

        def only_mine(status: os.stat_result) -> None:
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                raise refuse(name, "is another user's")

        path = self.folder / name
        try:
            if not path.exists():
                return None
            make_folder(self.folder)
            return read_file(path, MOST_KEPT, only_mine)
        except (OSError, InputError):
            return None

    def write(self, name: str, data: bytes) -> None:
        """Keep it; where this machine refuses, the work is done again next time."""
        with suppress(OSError, InputError):
            if self.folder.parent.is_dir() and len(data) <= MOST_KEPT:
                make_folder(self.folder)
                write_file(self.folder / name, data)
