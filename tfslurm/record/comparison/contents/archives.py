"""A zip archive of any origin, read within bounds: its members in number, in bytes, and one at a time. Pure."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

MOST_MEMBERS = 10_000
MOST_UNPACKED = 512 * 2**20
"Bytes of all members, as the archive says; to say less is refused while a member is unpacked."
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"Those that unpack in little memory."


@contextmanager
def opened(content: bytes) -> Iterator[zipfile.ZipFile]:
    """The archive, for as long as it is looked into.

    Raises:
        ValueError: it is none, is beyond the bounds, or has two members of one name, now or while it is read.
    """
    try:
        if content.count(b"PK\1\2") > 2 * MOST_MEMBERS:  # each has at least one; its list is read before it is counted
            raise ValueError(f"it has more than {MOST_MEMBERS} members")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            listed = archive.infolist()
            if len(listed) > MOST_MEMBERS or len({each.filename for each in listed}) < len(listed):
                raise ValueError(f"it has more than {MOST_MEMBERS} members, or two of one name")
            if any(each.compress_type not in PACKINGS or each.flag_bits & 1 for each in listed):
                raise ValueError("its members are encrypted, or packed in another way than by deflate")
            if sum(each.file_size for each in listed) > MOST_UNPACKED:
                raise ValueError("it holds more bytes than are read")
            yield archive
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it is no archive that can be read: {error}") from error


def member(archive: zipfile.ZipFile, name: str, most: int = MOST_UNPACKED) -> bytes:
    """The content of a member.

    Raises:
        ValueError: it has more bytes than ``most``.
    """
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name[:120]} has more than {most} bytes")
    return content
