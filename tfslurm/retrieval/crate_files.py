"""The files of a crate on this machine: a folder, read in place, or a .zip, unpacked into one of this command's own.

A crate may be a stranger's. Nothing is read through a link, nothing is written but into the new folder, and the number
of files, their depth and their size have bounds.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, refuse
from tfslurm.export.crate.contents import RECORD, RECORDS, RUNS
from tfslurm.record.crate_metadata import METADATA, Metadata, metadata_of
from tfslurm.workspace.session import Session

RECORD_FILE = re.compile(rf"(?P<base>(?:{RUNS}[^/]+/)?)(?:{re.escape(RECORD)}|{RECORDS}[^/]+\.json)")
MOST_FILES = 100_000
MOST_DEEP = 64
MOST_JSON = 64 * 2**20
CHUNK = 2**20
KINDS = {stat.S_IFREG: "f", stat.S_IFLNK: "l"}


class CrateFile(NamedTuple):
    """A file in a crate: find's letter for its kind, f, l or o for the rest; its size in bytes."""

    kind: str
    bytes: int


class Crate(NamedTuple):
    """A crate as it was named, its folder, and everything in it that is no folder, by its path.

    ``is_unpacked``: the folder is this command's own, and is gone when it ends.
    """

    name: str
    folder: Path
    files: Mapping[str, CrateFile]
    is_unpacked: bool = False

    @property
    def records(self) -> list[str]:
        """The paths of tfslurm's records in it; none: another tool made it."""
        return sorted(path for path in self.files if RECORD_FILE.fullmatch(path))

    def content(self, path: str, most: int = MOST_JSON) -> bytes:
        """The bytes of one of its regular files.

        Raises:
            InputError: it has none of this path, or one that is larger, or that cannot be read.
        """
        with opened(self, path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise refuse(f"{self.name}: {path}", f"is larger than {most} bytes", "take a whole crate")
        return data

    def values(self, path: str) -> dict[str, Any]:
        """The object in one of its JSON files.

        Raises:
            InputError: it is not there, or holds none.
        """
        try:
            found = read_json(self.content(path))
            if not isinstance(found, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise refuse(f"{self.name}: {path}", f"cannot be read: {error}", "take a whole crate") from error
        return found

    def metadata(self) -> Metadata:
        """What it says of itself.

        Raises:
            InputError: its metadata is not there, or is none.
        """
        try:
            return metadata_of(self.values(METADATA))
        except ValueError as error:
            raise refuse(
                f"{self.name}: {METADATA}", f"is no metadata of a crate: {error}", "take a whole crate"
            ) from None

    def sha256(self, path: str, first: int | None = None) -> str | None:
        """The hash of one of its files, or of its ``first`` bytes; None: there is no regular file that can be read."""
        digest = sha256()
        try:
            with opened(self, path) as file:
                while chunk := file.read(CHUNK if first is None else max(0, min(CHUNK, first))):
                    digest.update(chunk)
                    first = None if first is None else first - len(chunk)
        except (InputError, OSError):
            return None
        return digest.hexdigest()


def opened(crate: Crate, path: str) -> BinaryIO:
    """A regular file of a crate, open to be read; no folder on the way to it is a link, for none was listed.

    Raises:
        InputError: it is not there, is no regular file, or cannot be read.
    """
    where = f"{crate.name}: {path}"
    if path not in crate.files or crate.files[path].kind != "f":
        raise refuse(where, "there is no such file" if path not in crate.files else "is no regular file")
    try:
        file = os.open(crate.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refuse(where, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise refuse(where, "is no regular file")
    return os.fdopen(file, "rb")


def base_of(path: str) -> str:
    """The beginning of the paths of a record's run folder in its crate: '' or ends with a slash."""
    found = RECORD_FILE.fullmatch(path)
    return found["base"] if found else ""


def is_crate(path: Path) -> bool:
    """Whether a path is one of a crate: a .zip, a folder with a crate's metadata or a record, or that metadata."""
    if is_folder(path):
        return any((path / name).is_file() for name in (METADATA, RECORD))
    is_file = os.path.isfile(path)  # noqa: PTH113  (false for a name that no file can have)
    return is_file and (path.suffix == ".zip" or path.name == METADATA)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name; there is none of a name that is too long for one."""
    return os.path.isdir(path)  # noqa: PTH112


def crate_at(session: Session, path: Path) -> Crate:
    """The crate that lies there.

    Raises:
        InputError: it is no crate, or one beyond the bounds.
    """
    is_packed = path.suffix == ".zip" and not path.is_dir()
    if is_packed:
        from tempfile import TemporaryDirectory

        from tfslurm.retrieval.zip_files import unpack

        folder = Path(session.keep(TemporaryDirectory(prefix="tfslurm-crate-")))
        unpack(path, folder)
    else:
        folder = path if path.is_dir() else path.parent
    folder = only_folder(folder)
    return Crate(str(path), folder, dict(listed(folder)), is_packed)


def only_folder(folder: Path) -> Path:
    """The folder of the crate: many a .zip holds it as its only one."""
    if (folder / METADATA).is_file() or (folder / RECORD).is_file():
        return folder
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink() else folder


def listed(folder: Path) -> Iterator[tuple[str, CrateFile]]:
    """Everything below a folder that is no folder, links among it.

    Raises:
        InputError: there is more, or it lies deeper, than a crate may have; or a folder cannot be read.
    """
    todo = [PurePosixPath()]
    count = 0
    while todo:
        here = todo.pop()
        try:
            with os.scandir(folder / here) as entries:
                for entry in entries:
                    count += 1
                    status = entry.stat(follow_symlinks=False)
                    path = here / entry.name
                    if count > MOST_FILES or len(path.parts) > MOST_DEEP:
                        why = f"holds more than {MOST_FILES} files, or one more than {MOST_DEEP} folders deep"
                        raise refuse(str(folder), why, "name the folder of a crate")
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(path)
                    else:
                        kind = KINDS.get(stat.S_IFMT(status.st_mode), "o")
                        yield str(path), CrateFile(kind, status.st_size)
        except OSError as error:
            raise refuse(str(folder / here), f"cannot be read: {error.strerror}") from error
