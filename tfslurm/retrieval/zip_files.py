"""Unpack a .zip that a stranger may have made into a new folder: whole, within bounds, and nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tfslurm.errors import refuse
from tfslurm.local_files import open_file

MOST_FILES = 100_000
MOST_LISTED = 64 * 2**20
"Bytes of the list of its files, which is read whole."
MOST_DEEP = 64
MOST_BYTES = 64 * 2**30
FREELY = 256 * 2**20
"So much may come out of any; beyond it, at most MOST_TIMES what is in it."
MOST_TIMES = 200
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
END, PLACE_64, END_BYTES = b"PK\x05\x06", b"PK\x06\x07", 22
LONGEST_END = END_BYTES + 2**16
LONGEST_NAME = 1024
CHUNK = 2**20
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FIX = "unpack it where it may do no harm, look into it, and name the folder"


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder.

    Raises:
        InputError: it is no .zip, is damaged or encrypted, or holds what no crate does: a name that leads elsewhere, a
            name twice, a link or a device, more files or bytes than the bounds.
    """
    try:
        with open_file(path) as file:
            refuse_long_list(path, file)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                refuse_members(path, members, os.fstat(file.fileno()).st_size, shutil.disk_usage(folder).free)
                for member in members:
                    write(archive, member, folder)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise refuse(str(path), f"is no .zip that can be read: {error}", FIX) from error
    except OSError as error:
        raise refuse(str(path), f"cannot be unpacked: {error.strerror or error}", FIX) from error


def refuse_long_list(path: Path, file: BinaryIO) -> None:
    """Refuse an archive whose list of files is longer than any crate's, before it is read. Source: APPNOTE.TXT, 4.3.

    Raises:
        InputError: it is.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LONGEST_END))
    tail = file.read(LONGEST_END)
    at = len(tail) - END_BYTES
    if tail[at : at + 4] != END or tail[-2:] != b"\0\0":
        at = tail.rfind(END)
    sizes = [int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0]
    if tail[max(0, at - 20) : max(0, at - 16)] == PLACE_64:  # a larger record counts: the one named there, or before it
        place = int.from_bytes(tail[at - 12 : at - 4], "little")
        file.seek(min(place + 40, size))
        sizes = [int.from_bytes(each[:8], "little") for each in (file.read(8), tail[max(0, at - 36) : at - 28])]
    listed = max(sizes)
    if listed > MOST_LISTED:
        raise refuse(str(path), f"its list of files has {listed} bytes, and at most {MOST_LISTED} are read", FIX)
    file.seek(0)


def refuse_members(path: Path, members: Sequence[zipfile.ZipInfo], size: int, free: int) -> None:
    """Refuse members that no crate has; ``size`` is the archive's own, ``free`` the room that there is.

    Raises:
        InputError: the first thing that does not hold.
    """
    if len(members) > MOST_FILES:
        raise refuse(str(path), f"holds more than {MOST_FILES} files", FIX)
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        why = refusal(member)
        name = member.filename.rstrip("/")
        if not why and (name in files or (name in folders and not member.is_dir())):
            why = "stands in it twice"
        above = {str(each) for each in PurePosixPath(name).parents} - {"."}
        if not why and above & files:
            why = "lies below a file"
        if why:
            raise refuse(f"{path}: {name[:200]!r}", why, FIX)
        folders |= above
        (folders if member.is_dir() else files).add(name)
        if member.is_dir() and name in files:
            raise refuse(f"{path}: {name[:200]!r}", "stands in it twice", FIX)
    total = sum(member.file_size for member in members)
    most = min(MOST_BYTES, FREELY + MOST_TIMES * size)
    if total > min(most, free):
        why = f"{total} bytes would come out of {size}; at most {most} may, and {free} are free"
        raise refuse(str(path), why, FIX)


def refusal(member: zipfile.ZipInfo) -> str:
    """The reason why no crate holds a member; '' where there is none."""
    name = member.filename.rstrip("/")
    parts = name.split("/")
    mode = member.external_attr >> 16
    reasons = (
        (member.filename != member.orig_filename, "its name holds a NUL"),
        (not name or name.startswith("/") or "" in parts, "is no name below the crate"),
        ("." in parts or ".." in parts, "leads out of the crate"),
        (
            len(parts) > MOST_DEEP or len(os.fsencode(name)) > LONGEST_NAME,
            "has a longer name than a crate's files have",
        ),
        (bool(member.flag_bits & ENCRYPTED), "is encrypted"),
        (stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR), "is a link, or another thing that is no file"),
        (member.compress_type not in METHODS, "is packed in a way that not every program reads"),
    )
    return next((why for is_so, why in reasons if is_so), "")


def write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; nothing of its name is there."""
    target = folder / member.filename
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o700 if member.external_attr >> 16 & stat.S_IXUSR else 0o600
    with archive.open(member) as source, os.fdopen(os.open(target, NEW, mode), "wb") as file:
        shutil.copyfileobj(source, file, CHUNK)
