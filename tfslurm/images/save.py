"""Save a pinned image as an archive: every byte is hashed on its way, and an interrupted one is continued.

By our own registry client alone: skopeo rewrites a manifest of docker's kind as one of OCI's when it writes such an
archive, and then the archive holds another digest than the record (docs/adr/0055).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

from tfslurm.document.sizes import size_text
from tfslurm.errors import RegistryError, TfslurmError, refuse
from tfslurm.image import Pin
from tfslurm.images.archive import END, Member, members, size_of
from tfslurm.local_files import refuse_links
from tfslurm.registry.documents import Blob
from tfslurm.registry.image_source import ImageSource

PART = ".part"
_READ = 2**20
Step = Callable[[str, int, int], None]
"Called with a name, the bytes done and the bytes in all."


class Saved(NamedTuple):
    """An archive that is whole: the digest that it holds, the manifest of its platform, and who served it."""

    file: Path
    image: str
    digest: str
    digest_kind: str
    manifest_digest: str
    platform: str
    bytes: int
    served_by: str
    was_there: bool = False


def save_image(
    pin: Pin,
    mirrors: Mapping[str, Sequence[str]],
    file: Path,
    *,
    engine: str = "docker",
    step: Step = lambda what, done, total: None,
) -> Saved:
    """Write the archive of an image to ``file``; it stands in ``file.part`` until it is whole.

    Mirrors are asked first, with the logins of ``engine`` first. Where ``file.part`` is there, what is good of it is
    kept, whoever wrote it: it is hashed again.

    Raises:
        InputError: the image is in no registry, or the file is there and is not this archive, or cannot be written.
        RegistryError: no place serves the image, or other bytes than its digest names; what arrived is kept.
    """
    if pin.pin_kind == "image-id":
        why = f"is pinned by the id {pin.digest[:19]}… of one docker daemon, and no registry has its bytes"
        raise refuse(pin.reference, why, "run `docker save` there; or push it to a registry, and pin it there")
    refuse_links(file)
    with ImageSource(pin, mirrors, engine) as source:
        contents = source.contents()
        wanted = members(contents, f"{pin.name}:{pin.tag}" if pin.tag else "")
        top = contents.documents[0]
        saved = Saved(
            file, f"{pin.name}@{top.digest}", top.digest, top.kind, contents.manifest.digest, contents.platform,
            size_of(wanted), contents.served_by,
        )  # fmt: skip
        if os.path.lexists(file):
            refuse_other(file, wanted)
            return saved._replace(was_there=True)
        with part_of(file, saved.bytes) as part:
            write(part, wanted, source, lambda done: step(file.name, done, saved.bytes))
            part.flush()
            os.fsync(part.fileno())
            file.with_name(file.name + PART).rename(file)
    return saved


def refuse_other(file: Path, wanted: Sequence[Member]) -> None:
    """Refuse a file that is there and is not the archive.

    Raises:
        InputError: it is something else.
    """
    if file.is_file() and file.stat().st_size == size_of(list(wanted)):
        with file.open("rb") as there:
            if good_until(there, wanted) == (len(wanted), 0) and there.read() == END:
                return
    why = "is there, and is not this image's archive"
    raise refuse(str(file), why, "remove it, or name another file with -o" if file.is_file() else "name a file with -o")


@contextmanager
def part_of(file: Path, size: int) -> Iterator[IO[bytes]]:
    """The file that the archive is written to until it is whole, for this process alone.

    Raises:
        InputError: it cannot be written, another process writes it, or there is no room for ``size`` bytes.
    """
    path = file.with_name(file.name + PART)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        raise refuse(str(path), f"cannot be written: {error.strerror}", "name another file with -o") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise refuse(str(path), "is no regular file", "remove it, or name another file with -o")
    with os.fdopen(number, "r+b") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refuse(str(path), "is being written by another process", "wait for that") from None
        free, lacks = shutil.disk_usage(path.parent).free, size - os.fstat(part.fileno()).st_size
        if free < lacks:
            why = f"needs {size_text(lacks)} more, and {size_text(free)} are free there"
            raise refuse(str(path), why, "free some space, or name a file elsewhere with -o")
        yield part


def write(part: IO[bytes], wanted: Sequence[Member], source: ImageSource, step: Callable[[int], None]) -> None:
    """Write what is not there yet.

    Raises:
        RegistryError: a blob is not to be had, or is not what its digest names.
        TfslurmError: the disk refuses.
    """
    count, have = good_until(part, wanted)
    try:
        start = part.tell() - have
        part.truncate(part.tell())
        for number, member in enumerate(wanted[count:]):
            part.seek(start)
            write_member(part, member, source, have if number == 0 else 0, step)
            start = part.tell()
        part.write(END)
        part.truncate()
    except OSError as error:
        raise TfslurmError(f"{part.name}: {error.strerror}; free some space, then call this again") from error


def write_member(part: IO[bytes], member: Member, source: ImageSource, have: int, step: Callable[[int], None]) -> None:
    """Write one member from the place where the file stands; ``have`` of its bytes, header included, are good."""
    start = part.tell()
    part.seek(start + have)
    part.write(member.header[have:])
    begin = start + len(member.header)
    if member.content is not None:
        part.seek(begin)
        part.write(member.content)
    else:
        download(part, member, source, begin, max(0, have - len(member.header)), step)
    part.write(member.padding)


def download(
    part: IO[bytes], member: Member, source: ImageSource, begin: int, have: int, step: Callable[[int], None]
) -> None:
    """Write the bytes of a blob, of which the file has some from ``begin`` on."""
    had, summed = have, sha256()
    hash_from(part, begin, have, summed.update)
    with closing(source.pieces(Blob(member.sha256, member.size), have)) as pieces:
        for piece in pieces:
            part.write(piece)
            summed.update(piece)
            have += len(piece)
            step(begin + have)
    found = f"sha256:{summed.hexdigest()}"
    if found != member.sha256:
        part.truncate(begin)
        if not had:
            raise RegistryError(f"{member.name}: the bytes received have the digest {found}; do not use this source")
        part.seek(begin)
        download(part, member, source, begin, 0, step)  # what was there already may have been wrong


def hash_from(part: IO[bytes], begin: int, size: int, update: Callable[[bytes], None]) -> None:
    """Have bytes of the file hashed; it stands after them then."""
    part.seek(begin)
    while size and (piece := part.read(min(_READ, size))):
        update(piece)
        size -= len(piece)


def good_until(part: IO[bytes], wanted: Sequence[Member]) -> tuple[int, int]:
    """How many members are whole and right, and how many bytes of the next one are; the file stands after these."""
    start = 0
    for count, member in enumerate(wanted):
        part.seek(start)
        header = part.read(len(member.header))
        if header != member.header:
            part.seek(start)
            return count, 0
        begin = start + len(header)
        end = part.seek(0, os.SEEK_END)
        whole = begin + member.size + len(member.padding)
        if end < whole and member.content is None and end < begin + member.size:
            part.seek(end)
            return count, end - start
        if not is_right(part, member, begin):
            part.seek(start)
            return count, 0
        start = whole
    part.seek(start)
    return len(wanted), 0


def is_right(part: IO[bytes], member: Member, begin: int) -> bool:
    """Whether the content of a member, and the zeros after it, are in the file."""
    part.seek(begin)
    if member.content is not None:
        return part.read(member.size + len(member.padding)) == member.content + member.padding
    summed = sha256()
    hash_from(part, begin, member.size, summed.update)
    return f"sha256:{summed.hexdigest()}" == member.sha256 and part.read(len(member.padding)) == member.padding
