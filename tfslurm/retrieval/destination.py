"""The folder on this machine that a job's outputs arrive in: no link is followed, nothing is deleted.

A file arrives under another name beside its own (``.NAME.tfslurm-part``) and gets its own when it is whole. Nobody may
read it who could not read it on the cluster: the folder of a job is its owner's alone there, and so it is here. In a
folder that was here before and that others may enter, each file and folder is the user's alone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tfslurm.errors import TfslurmError, refuse
from tfslurm.local_files import refuse_links

PART = ".tfslurm-part"
LONGEST = 255
BLOCK = 2**20
ZEROS = bytes(2**16)
"So many zeros in a row are left out: a file with holes is one here too."
IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO)
NO_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class Obstacle(Exception):
    """A reason why one file cannot be put here; the others can."""


@dataclass(frozen=True, slots=True)
class Here:
    """The present holder of a name: nothing (all None), a file by its size, a link by its target, or an obstacle."""

    size: int | None = None
    target: bytes | None = None
    obstacle: str = ""


class Destination:
    """A folder, made if need be (unless ``make`` is false: then it may be missing); a context manager.

    Paths are relative to it, as bytes. ``modes`` are those that folders below it have on the cluster; a folder that it
    makes here is open to nobody else, and neither is one whose mode is not known. With ``keeps`` a file that was
    written outlives the machine's crash; where only the whole folder counts, that is not worth the time.

    Raises (all methods):
        Obstacle: one path alone is concerned.
        FileNotFoundError: a file that was here is not any more.
        TfslurmError: this machine refuses (no space, no permission).
    """

    def __init__(self, folder: Path, *, make: bool, keeps: bool = True) -> None:
        self.folder, self._make, self.keeps, self._root = folder, make, keeps, -1
        self._most = 0o777
        self.modes: Mapping[bytes, int] = {}

    def __enter__(self) -> Destination:
        refuse_links(self.folder)
        try:
            if self._make:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._root = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise refuse(str(self.folder), f"cannot be the destination: {error.strerror}", "name another") from error
        if self._make:
            status = os.fstat(self._root)
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
                self._most = 0o700
            self._alone()
        return self

    def __exit__(self, *what: object) -> None:
        if self._root >= 0:
            os.close(self._root)

    def _alone(self) -> None:
        """Keep the folder for this command, where the file system has such locks."""
        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = "another `tfslurm fetch` is writing here; wait for it, or name another folder"
            raise TfslurmError(f"{self.folder}: {why}", transient=True) from None
        except OSError:
            pass

    @contextmanager
    def _within(self, path: bytes, *, make: bool = False) -> Iterator[tuple[int, bytes]]:
        """The open folder that holds a path, reached without following a link, and the path's last name."""
        *parents, name = path.split(b"/")
        folder = os.dup(self._root)
        try:
            for depth, parent in enumerate(parents, 1):
                if make:
                    mode = self.modes.get(b"/".join(parents[:depth]), 0)
                    with suppress(FileExistsError):
                        os.mkdir(parent, mode & self._most | 0o700, dir_fd=folder)
                inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, name
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._told(path, error) from error
        finally:
            os.close(folder)

    def _told(self, path: bytes, error: OSError) -> Exception:
        if error.errno in IN_THE_WAY:
            return Obstacle("something else has its name, or that of a folder above it, here; move that away")
        if error.errno in NO_NAME:
            return Obstacle(f"cannot have this name here: {error.strerror}")
        where = self.folder / os.fsdecode(path)
        why = f"{error.strerror}; tfslurm keeps what has arrived: fix that, and the same command continues from there"
        return TfslurmError(f"{where}: {why}")

    # --- what is here

    def here(self, path: bytes) -> Here:
        """The present holder of a path."""
        if self._root < 0:
            return Here()
        try:
            with self._within(path) as (folder, name):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    return Here(size=status.st_size)
                if stat.S_ISLNK(status.st_mode):
                    return Here(target=os.readlink(name, dir_fd=folder))
        except FileNotFoundError:
            return Here()
        except Obstacle as why:
            return Here(obstacle=str(why))
        return Here(obstacle="a folder, or another thing that is no file, has its name here; move that away")

    def sha256(self, path: bytes, most: int | None = None) -> str:
        """The sha256 of a file that is here, or of its first ``most`` bytes."""
        digest = hashlib.sha256()
        with self._within(path) as (folder, name), self._open(name, os.O_RDONLY, folder) as file:
            left = os.fstat(file).st_size if most is None else most
            while left and (block := os.read(file, min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
        return digest.hexdigest()

    # --- what arrives

    def write(self, path: bytes, offset: int, content: bytes, mode: int) -> None:
        """Put bytes at an offset of a partial file; what it has after that is cut off."""
        mode = mode & self._most | 0o600
        flags = os.O_WRONLY | os.O_CREAT
        with self._within(path, make=True) as (folder, name), self._open(name, flags, folder, mode) as file:
            self._refuse_foreign(file)
            here = stat.S_IMODE(os.fstat(file).st_mode)
            if here & ~mode:
                os.fchmod(file, here & mode)
            os.ftruncate(file, offset)
            put_at(file, offset, content)
            os.ftruncate(file, offset + len(content))
            if self.keeps:
                os.fsync(file)

    def _refuse_foreign(self, file: int) -> None:
        """Refuse a partial file that is another user's, or that somebody could read under another name."""
        status = os.fstat(file)
        if status.st_nlink > 1 or (status.st_uid != os.geteuid() and status.st_uid != self._owner()):
            raise OSError(errno.EEXIST, "is somebody else's")

    def _owner(self) -> int:
        """Whose a file is that is made here: a file system may say that all of them are one user's."""
        name = f".{os.urandom(8).hex()}{PART}"
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o600, dir_fd=self._root)
        try:
            return os.fstat(file).st_uid
        finally:
            os.close(file)
            os.unlink(name, dir_fd=self._root)

    def land(self, part: bytes, path: bytes, mtime_ns: int, *, replace: bool) -> None:
        """Give a whole partial file its own name; another file of that name is replaced only where that is wanted."""
        with self._within(path) as (folder, name):
            here = self.here(path)
            if here.obstacle or here.target is not None or (here.size is not None and not replace):
                raise Obstacle("something else of that name is here now")
            last = part.rpartition(b"/")[2]
            os.utime(last, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)
            os.rename(last, name, src_dir_fd=folder, dst_dir_fd=folder)

    def link(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        with self._within(path, make=True) as (folder, name):
            os.symlink(target, name, dir_fd=folder)

    def make(self, path: bytes) -> None:
        """Make an empty folder, or find one here."""
        with self._within(path + b"/.", make=True):
            pass

    @contextmanager
    def _open(self, name: bytes, flags: int, folder: int, mode: int = 0) -> Iterator[int]:
        """A regular file: no link is followed, no pipe waited for."""
        file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EEXIST, "is no regular file")
            yield file
        finally:
            os.close(file)


def put_at(file: int, offset: int, content: bytes) -> None:
    """Write bytes at an offset, but no long rows of zeros."""
    rest = memoryview(content)
    while rest:
        block = rest[: len(ZEROS)]
        done = len(block) if block.nbytes == len(ZEROS) and bytes(block) == ZEROS else os.pwrite(file, block, offset)
        rest, offset = rest[done:], offset + done


def is_part(path: bytes) -> bool:
    """Say whether a path has a part that could be the name of a partial file."""
    least = len(PART) + 2
    return any(
        len(name) >= least and name.startswith(b".") and name.endswith(PART.encode()) for name in path.split(b"/")
    )


def part_of(path: bytes) -> bytes:
    """The path of the partial file beside a path, its own also where the file's name is as long as names can be."""
    folder, slash, name = path.rpartition(b"/")
    if len(name) + len(PART) + 1 > LONGEST:
        name = name[:100] + b"." + hashlib.sha256(name).hexdigest()[:32].encode()
    return folder + slash + b"." + name + PART.encode()
