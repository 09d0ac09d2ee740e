"""A build on a node of the cluster, where this machine has no engine: a short Slurm job, whose archive is read here."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfslurm.errors import HostError, TfslurmError
from tfslurm.host import Host, read_from
from tfslurm.image import sources
from tfslurm.image.dockerfile import marked
from tfslurm.images.building.context import DOCKERFILE, PIECE
from tfslurm.images.building.engine import Job
from tfslurm.local_files import open_file
from tfslurm.remote_programs import program
from tfslurm.slurm.nodes import engine_settings, is_busy, probe_argv, small
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

WAIT_S = 600
"For a node that is free."
MINUTES = 120
MEMORY = "4G"
LARGEST_READ = 16 * 2**20
MOST_ARCHIVE = 2**40


class OnNode(NamedTuple):
    """An archive on the cluster: where it is, its size, and what built it."""

    host: Host
    path: PurePosixPath
    size: int
    builder: str

    def remove(self) -> None:
        """Remove it there."""
        with suppress(TfslurmError):
            self.host.run(["rm", "-f", "--", str(self.path)])


def build_on_node(session: Session, known: Known, job: Job) -> OnNode:
    """Build on a node, and leave the archive in the root of the cluster.

    Raises:
        TfslurmError: the base cannot be pulled there, or the builder refused, with its own last words.
        HostError: no node was free, or the line was lost.
    """
    cluster, host = known.cluster, session.reach(known)
    archive = cluster.root / "builds" / f"{job.token}.tar"
    name = f"tfslurm-build-{job.token}"
    words = [cluster.engine, str(archive), job.tag, job.label, job.network, str(job.epoch)]
    words += [f"{job.base.name}@{job.base.digest}", *sources(job.base, job.mirrors)]
    where: dict[str, str | int] = {"job_name": name, "time": MINUTES, **small(cluster, MEMORY)}
    settings = engine_settings(cluster)
    argv = probe_argv(cluster.slurm, (*settings, *program("build-image", *words)), immediate=WAIT_S, **where)
    session.say(f"building on a node of {cluster.name} with {cluster.engine}, as the job {name}; this can take minutes")
    try:
        done = host.run(
            program("without-steering", *argv), input=packed(job.folder, job), timeout_s=WAIT_S + 60 * MINUTES
        )
    except BaseException:
        with suppress(TfslurmError):
            host.run(["scancel", "--name", name, "--me"])
            host.run(["rm", "-f", "--", str(archive)])
        raise
    if done.exit_code:
        said = done.stderr.strip()[-4000:] or f"srun ended with exit {done.exit_code}"
        if is_busy(done.stderr):
            raise HostError(f"{cluster.name}: no node was free within {WAIT_S} s; try again later", transient=True)
        raise TfslurmError(f"{cluster.name}: the build on a node failed; it said last:\n{said}")
    size = host.run(["stat", "--format=%s", "--", str(archive)]).stdout.strip()
    if not size.isdigit() or int(size) > MOST_ARCHIVE:
        raise TfslurmError(f"{cluster.name}: {archive}: the archive of the build is not there; is the root shared?")
    return OnNode(host, archive, int(size), " ".join(done.stdout.split())[:80])


def packed(folder: Path, job: Job) -> Iterator[bytes]:
    """The context as a tar, in pieces; the Dockerfile with the label by which leftovers are found."""
    text = marked(job.text, job.label).encode("utf-8", "surrogateescape")
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        for name in [*folders, *names]:
            path = Path(here) / name
            inside = str(path.relative_to(folder))
            info = tarfile.TarInfo(inside)
            status = path.lstat()
            info.mode, info.mtime = status.st_mode & 0o7777, job.epoch
            if name in links or path.is_symlink():
                info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
            elif path.is_dir():
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(text) if inside == DOCKERFILE else status.st_size
            yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            if info.isreg():
                yield from content(path, text if inside == DOCKERFILE else None)
                yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def content(path: Path, text: bytes | None) -> Iterator[bytes]:
    """The bytes of a file, or those that stand in its place."""
    if text is not None:
        yield text
        return
    with open_file(path) as file:
        while piece := file.read(PIECE):
            yield piece


class RemoteFile(io.RawIOBase):
    """A file of a cluster that is read in parts: what is skipped does not travel."""

    def __init__(self, found: OnNode) -> None:
        self._found, self._place = found, 0
        self._begin, self._part, self._ahead = 0, b"", 2**16

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._found.size}
        self._place = starts[whence] + place
        return self._place

    def tell(self) -> int:
        """The place where it stands."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; empty at its end."""
        wanted = self._found.size - self._place if size < 0 else min(size, self._found.size - self._place)
        found = bytearray()
        while len(found) < wanted and (piece := self._piece(wanted - len(found))):
            found += piece
        return bytes(found)

    def _piece(self, size: int) -> bytes:
        start = self._place - self._begin
        if not 0 <= start < len(self._part):
            goes_on = start == len(self._part)
            self._ahead = min(LARGEST_READ, 2 * self._ahead) if goes_on else 2**16
            self._part = read_from(self._found.host, self._found.path, self._place, self._ahead)
            self._begin, start = self._place, 0
        piece = self._part[start : start + size]
        self._place += len(piece)
        return piece
