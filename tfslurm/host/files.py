"""Files on a machine, as tar streams through one command each: they arrive whole or not at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import CommandFailed, Completed, HostError
from tfslurm.host.folder_permissions import ALONE, Sharing
from tfslurm.host.protocol import Host
from tfslurm.remote_programs import program

SLOWEST_BYTES_PER_S = 250_000
"What a line must carry at least before a transfer is given up."
MOST_FILES = 20_000
"Of one folder, and in one answer."


LONGEST_S = 86_400.0


class File(NamedTuple):
    """The content of a file and its permission bits."""

    content: bytes
    mode: int = 0o600


def put(
    host: Host, folder: PurePosixPath, files: Mapping[str, File], *, mode: int = 0o700, sharing: Sharing = ALONE
) -> None:
    """Write a new run folder, ``ROOT/runs/NAME``, with these files, whole or not at all.

    Keys are relative names (``secrets/WANDB_API_KEY``); folders below get ``mode`` too. Missing parents are made, for
    the user alone.

    Raises:
        CommandFailed: the folder exists already, others can replace it, or the machine refused (permissions, quota, no
            space).
        HostError: the machine could not be reached; nothing was written.
    """
    content = as_tar(files, mode)
    words = (str(folder.parent), folder.name, f"{mode:o}", str(len(files)), *sharing)
    done = host.run(program("put", *words), input=content, timeout_s=patience_s(len(content)))
    _check(done, "write", folder)


def put_tree(
    host: Host,
    folder: PurePosixPath,
    *,
    files: int,
    bytes: int,
    stream: Iterable[bytes],
    look: bool = True,
    sharing: Sharing = ALONE,
) -> bool:
    """Write a code snapshot once: True where it was sent, False where the folder was there already.

    ``put_tree(host, plan.code_dir, files=snapshot.files, bytes=snapshot.bytes, stream=snapshot.stream())``. The tree is
    checked on the far side against the snapshot's SHA-256 list before it appears, and nobody can write in it after.
    Without ``look`` the stream is begun at once: one command, for a folder that is hardly there.

    Raises:
        CommandFailed: others can replace the folder, the machine refused, or other bytes arrived than were sent.
        HostError: the folder is there but not whole (a purge of old files), or the machine could not be reached.
    """
    there = ""
    if look:
        there = _check(host.run(program("count-tree", str(folder)), timeout_s=120), "look into", folder).strip()
    if not there:
        argv = program("put-tree", str(folder.parent), folder.name, *sharing)
        done = host.run(argv, input=stream, timeout_s=patience_s(bytes + 1024 * files))
        there = _check(done, "write", folder).strip()
    if there not in ("", str(files)):
        why = f"holds {there} of its {files} files; was it cleaned up?"
        raise HostError(f"{host.name}: {folder}: {why} Remove it there (chmod -R u+w, rm -r), then try again")
    return not there


def tree_contents(host: Host, folder: PurePosixPath) -> bytes:
    """Return the list of what a code snapshot holds there, as ``snapshot.files.contents`` writes it; empty: it is gone.

    Raises:
        CommandFailed: the folder is a link or another user's, or cannot be read.
        HostError: the machine could not be reached.
    """
    return host.run_bytes(program("list-tree", str(folder)), timeout_s=300, max_bytes=64 * 2**20)


def input_contents(host: Host, folder: PurePosixPath, *, timeout_s: int) -> bytes:
    """Return the list of a mounted folder's files as they are now, whose sha256 a record has as ``tree_sha256``.

    Of a mounted file its own sha256 comes out, in the first 64 bytes. Links in the place of either are followed, as the
    mount has followed them. Every file is read there, one after the other. Nothing comes out where it is not there.

    Raises:
        CommandFailed: it cannot be read.
        HostError: the machine could not be reached, or it took longer.
    """
    return host.run_bytes(program("list-inputs", str(folder)), timeout_s=timeout_s, max_bytes=256 * 2**20)


def get(
    host: Host,
    folder: PurePosixPath,
    *,
    exclude: Sequence[str] = (),
    below: Sequence[str] = (),
    max_bytes: int = 64 * 2**20,
    max_file_bytes: int = 16 * 2**20,
) -> Mapping[str, bytes]:
    """Return the regular files below a folder, relative name -> content; nothing where the folder does not exist.

    ``below``: only those in these folders in it, that are the user's own.

    ``exclude`` are shell patterns against the whole name from the folder, or from one of ``below`` (``*`` crosses
    ``/``; a folder takes what it holds): ``("*/out", "secrets")``. Files that change while they are read are kept as
    far as they were read. No link is followed. A file that is too large, or does not fit in ``max_bytes`` beside the
    smaller ones, is left out; one with its name and ``.error`` says so.

    Raises:
        CommandFailed: a file could not be read, or the folder is a link or another user's.
    """
    pruned = [word for pattern in exclude for word in ("-path", f"{'*' if below else '.'}/{pattern}", "-prune", "-o")]
    limit = max_bytes + 2**12 * MOST_FILES + 2**24  # names and tar's own headers come on top
    argv = program("get", str(folder), str(max_file_bytes), str(max_bytes), str(MOST_FILES), *pruned)
    try:
        names = b"".join(b"%s\0" % each.encode("utf-8", "surrogateescape") for each in below)
        stream = host.run_bytes(argv, input=names, timeout_s=patience_s(max_bytes), max_bytes=limit)
    except CommandFailed as failure:
        raise named(failure.completed, "read", folder) from None
    head, _, stream = stream.partition(b"\0") if stream.startswith(b"\0") else stream.partition(b"\0\0")
    found: dict[str, bytes] = {}
    for line in head.split(b"\0") if head else ():
        size, _, path = line.partition(b" ")
        if not size.isdigit() or len(size) > 20:
            raise HostError(f"{host.name}: {folder}: the answer is no list of files; does a start-up file print there?")
        why = b"it was not read: it has %s bytes, more than is read of one job" % size
        found[f"{path.decode('utf-8', 'surrogateescape')}.error"] = why
    if stream:
        found.update(files_in(host.name, folder, stream))
    return found


def read_all(host: Host, files: Sequence[PurePosixPath], max_bytes: int = 64 * 2**20) -> dict[PurePosixPath, bytes]:
    """Return the content of each of these regular files that is there; no link is followed.

    Raises:
        TooMuchOutput: they have more bytes.
        HostError: the machine could not be reached.
    """
    if not files:
        return {}
    names = b"".join(b".%s\0" % str(file).encode("utf-8", "surrogateescape") for file in files)
    limit = max_bytes + 2**12 * len(files) + 2**20  # tar's own headers
    stream = host.run_bytes(program("pack-files", "/"), input=names, timeout_s=patience_s(max_bytes), max_bytes=limit)
    return {PurePosixPath("/") / path: content for path, content in files_in(host.name, PurePosixPath("/"), stream)}


def files_in(name: str, folder: PurePosixPath, stream: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the regular files of a tar stream, which holds them as they are: nothing is unpacked.

    A stream that is compressed, or a file with holes, could stand for any number of bytes, and one that leads back to
    what was read already for any number of files; tar there makes none of them.

    Raises:
        HostError: it is no such stream.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            read = -1
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if member.offset <= read or member.size < 0:
                    raise ValueError("it leads back to its beginning")
                read = member.offset
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content:
                    yield member.name.removeprefix("./"), content.read()
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, RecursionError) as error:
        why = f"the answer is no tar stream: {error}; does a start-up file print there?"
        raise HostError(f"{name}: {folder}: {why}") from None


def read_from(host: Host, path: PurePosixPath, offset: int, max_bytes: int = 2**20) -> bytes:
    """Return at most ``max_bytes`` of a regular file from byte ``offset`` on; empty at its end or where there is none.

    A link is not followed.
    """
    argv = program("read-part", str(path), str(offset + 1), str(max_bytes))
    return host.run_bytes(argv, max_bytes=max_bytes)


def as_tar(files: Mapping[str, File], mode: int) -> bytes:
    """The stream that receive.sh reads."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        made: set[PurePosixPath] = set()
        for name, file in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) in ("", "."):
                raise ValueError(f"{name!r} is no name below a folder")
            for parent in [parent for parent in reversed(path.parents) if parent.name and parent not in made]:
                made.add(parent)
                archive.addfile(_member(parent, mode, tarfile.DIRTYPE, 0))
            member = _member(path, file.mode, tarfile.REGTYPE, len(file.content))
            archive.addfile(member, io.BytesIO(file.content))
    return stream.getvalue()


def _member(path: PurePosixPath, mode: int, kind: bytes, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))
    info.mode, info.type, info.size = mode, kind, size
    return info


def patience_s(size: int) -> float:
    """How long a transfer of so many bytes may take; a size that somebody else wrote down may be any number."""
    return min(120 + size / SLOWEST_BYTES_PER_S, LONGEST_S)


def _check(done: Completed, verb: str, folder: PurePosixPath) -> str:
    if done.exit_code:
        raise named(done, verb, folder)
    return done.stdout


def named(done: Completed, verb: str, folder: PurePosixPath) -> CommandFailed:
    """The failure under what was meant, because the script itself tells a user nothing."""
    return CommandFailed(Completed((verb, str(folder)), done.exit_code, done.stdout, done.stderr, done.host))


def fitting(sizes: Iterable[int], most: int) -> int:
    """How many of these fit in so many bytes, at least one, at most MOST_FILES."""
    count, together = 0, 0
    for size in sizes:
        together += size
        if count and (together > most or count == MOST_FILES):
            break
        count += 1
    return count
