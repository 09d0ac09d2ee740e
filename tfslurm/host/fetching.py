"""The outputs of a job, and their bytes in pieces: for files that are too many or too large for one answer.

Names go in on stdin and come back between NULs, because not every byte of a name survives every login shell.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import Completed, HostError
from tfslurm.host.files import files_in, named, patience_s
from tfslurm.host.protocol import Host
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths

MOST_LISTED = 256 * 2**20
"Bytes of a list of outputs."
MOST_FILES = 1_000_000
"In it, each with its hash: they take half a gigabyte here."
MOST_UNREAD = 2**20
SUM_LINE = 84
SUM = re.compile(r"(?:([0-9a-f]{64}) ([0-9]{1,18})|- -)")
BLOCK = 512
"The unit of find's %b."
LAST_SECOND = 2**33 - 1
"As a file's time: the year 2242, before 64 bits of nanoseconds end."
# What find prints of a file.
FILE = re.compile(
    r"(?P<size>[0-9]{1,18}) (?P<blocks>[0-9]{1,18}) (?P<mode>[0-7]{1,5}) "
    r"(?P<seconds>-?[0-9]{1,20})(?:\.(?P<rest>[0-9]+))? (?P<path>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below the outputs: ``kind`` is find's letter f, l, d (an empty folder), D (another) or o for the rest.

    ``used`` are the bytes that it takes up there, fewer than ``bytes`` where it has holes. Bytes of ``path`` and
    ``target`` (of a link) that are not UTF-8 are kept as surrogates.
    """

    kind: str
    path: str
    bytes: int = 0
    mode: int = 0
    mtime_ns: int = 0
    target: str = ""
    used: int = 0

    @property
    def has_holes(self) -> bool:
        """Whether most of the file is zeros that nobody wrote."""
        return self.kind == "f" and 2 * self.used < self.bytes


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that are there now; ``recorded`` is path -> sha256 as the job's last attempt wrote it, if it did."""

    entries: tuple[Entry, ...]
    recorded: Mapping[str, str]
    unread: tuple[str, ...]  # what find could not look into, in its words


def look(host: Host, folder: PurePosixPath) -> Outputs:
    """Return what one job has in its outputs; ``folder`` is the job's own.

    Raises:
        HostError: the folder or its `out` is not there, or the machine could not be reached.
        CommandFailed: the machine refused.
    """
    done = host.run(program("list-outputs", str(folder)), timeout_s=600, max_bytes=MOST_LISTED)
    if done.exit_code > 1:
        raise named(done, "look into", folder)
    if done.stdout.count("\0") > 2 * MOST_FILES + 2:
        fix = "pack them there into archives (tar), or bring them with rsync"
        raise HostError(f"{host.name}: {folder / 'out'}: holds more than {MOST_FILES} files; {fix}")
    told, _, unread = done.stdout.rpartition("\0unread\0")
    words = (told or unread).split("\0")
    if words[0] in ("no folder", "no outputs"):
        missing = folder if words[0] == "no folder" else folder / paths.OUTPUTS
        why = "is not there: the job has not begun, or it was removed, or you may not look there"
        raise HostError(f"{host.name}: {missing}: {why}")
    entries, recorded = listed(words, done, folder)
    return Outputs(entries, recorded, tuple(dict.fromkeys(unread[:MOST_UNREAD].splitlines())))


def look_at(host: Host, folder: PurePosixPath, files: Sequence[str], folders: Sequence[str]) -> Outputs:
    """Return what these files and folders of a run folder, or of one that is laid out so, are and hold.

    ``recorded`` are the sums of the small files as they are now. Nothing is listed where the folder is not there.

    Raises:
        HostError: it holds too many files, or the machine could not be reached.
        CommandFailed: it is a link or another user's, or cannot be read.
    """
    names = b"".join(as_bytes(name) + b"\0" for name in folders)
    argv = program("list-run", str(folder), *files)
    done = host.run(argv, input=names, timeout_s=600, max_bytes=MOST_LISTED)
    if done.exit_code:
        raise named(done, "look into", folder)
    if done.stdout.count("\0") > 2 * MOST_FILES + 2:
        raise HostError(f"{host.name}: {folder}: holds more than {MOST_FILES} files")
    if not done.stdout:
        return Outputs((), {}, ())
    entries, recorded = listed(done.stdout.split("\0"), done, folder)
    return Outputs(tuple(replace(each, path=each.path.removeprefix("./")) for each in entries), recorded, ())


def listed(words: Sequence[str], done: Completed, folder: PurePosixPath) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """The entries before the word `recorded`, and the sums after it.

    Raises:
        CommandFailed: they are no such list.
    """
    if "recorded" not in words:
        raise named(done, "look into", folder)
    middle = len(words) - 1 - words[::-1].index("recorded")  # the last one: a link may lead to a file of that name
    sums = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", word, re.DOTALL) for word in words[middle + 1 :])
    recorded = {found[2]: found[1] for found in sums if found}
    try:
        return tuple(_entries(words[:middle])), recorded
    except ValueError:
        raise named(done, "look into", folder) from None


def _entries(words: Iterable[str]) -> Iterable[Entry]:
    words = iter(words)
    for word in words:
        kind, _, path = word.partition(" ")
        if kind == "f":
            found = FILE.fullmatch(path)
            if not found:
                raise ValueError(word)
            seconds = max(0, min(int(found["seconds"]), LAST_SECOND))
            mtime_ns = seconds * 10**9 + int((found["rest"] or "")[:9].ljust(9, "0"))
            size, used = int(found["size"]), int(found["blocks"]) * BLOCK
            yield Entry(kind, found["path"], size, int(found["mode"], 8), mtime_ns, used=used)
        elif kind in ("d", "D"):
            mode, _, path = path.partition(" ")
            yield Entry(kind, path, mode=int(mode[:5], 8))
        elif kind == "l":
            yield Entry(kind, path, target=next(words, ""))
        else:
            yield Entry(kind, path)


class Hashed(NamedTuple):
    """The sha256 of the first bytes of a file, and how many it has in all."""

    sha256: str
    bytes: int


def hashed(host: Host, folder: PurePosixPath, beginnings: Sequence[tuple[str, int]]) -> list[Hashed | None]:
    """Return the hash of the first so many bytes of each of these files; None where one cannot be read."""
    if not beginnings:
        return []
    asked = b"".join(b"%d\0%s\0" % (count, as_bytes(path)) for path, count in beginnings)
    patience = patience_s(sum(count for _, count in beginnings) // 10)  # a disk there, not the line
    argv = program("hash-files", str(folder))
    said = host.run_bytes(argv, input=asked, timeout_s=patience, max_bytes=SUM_LINE * len(beginnings))
    lines = said.decode("ascii", "replace").splitlines()
    found = [SUM.fullmatch(line) for line in lines]
    if len(found) != len(beginnings) or not all(found):
        raise HostError(f"{host.name}: {folder}: its files could not be hashed there: {said[-200:]!r}")
    return [Hashed(each[1], int(each[2])) if each and each[1] else None for each in found]


def sums(host: Host, folder: PurePosixPath, beginnings: Sequence[tuple[str, int]]) -> list[str]:
    """Return the sha256 of the first so many bytes of each of these files; '' where one cannot be read."""
    return [each.sha256 if each else "" for each in hashed(host, folder, beginnings)]


def pack(host: Host, folder: PurePosixPath, files: Sequence[Entry]) -> dict[str, bytes]:
    """Return path -> content of these files as they are now, in one stream; those that cannot be read are left out."""
    names = b"".join(b"./%s\0" % as_bytes(file.path) for file in files)
    size = sum(file.bytes + 1024 for file in files)
    most = 2 * size + 8 * len(names) + 2**24  # tar's own headers come on top, and a file may have grown since
    stream = host.run_bytes(program("pack-files", str(folder)), input=names, timeout_s=patience_s(size), max_bytes=most)
    wanted = {file.path: file.bytes for file in files}
    packed = files_in(host.name, folder, stream)
    return {path: content[: wanted[path]] for path, content in packed if path in wanted}


def piece(host: Host, folder: PurePosixPath, file: Entry, offset: int, count: int) -> bytes:
    """Return at most ``count`` bytes of a file from byte ``offset`` on; fewer where it ends or cannot be read.

    Of a file with holes the line carries what is left when zeros are taken out.
    """
    through = ("gzip", "-1") if file.has_holes else ()
    argv = program("piece-of-file", str(folder), str(offset), str(count), *through)
    most = count + 2**16  # gzip's own words
    said = host.run_bytes(argv, input=as_bytes(file.path) + b"\0", timeout_s=patience_s(count), max_bytes=most)
    if not said or not file.has_holes:
        return said[:count]
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(said, count)
    except zlib.error as error:
        why = f"{host.name}: {folder / file.path}: it arrived damaged: {error}"
        raise HostError(why, transient=True) from error


def as_bytes(path: str) -> bytes:
    """A path as the machine has it, whatever the locale here."""
    return path.encode("utf-8", "surrogateescape")
