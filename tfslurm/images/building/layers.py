"""The layers that a build added, out of the archive that an engine saved, laid out anew: equal files are equal bytes.

No file is later than SOURCE_DATE_EPOCH, no owner has a name, what only the build needed is left out, and the
compression depends on the bytes alone. Sources: OCI image specification, layer.md; reproducible-builds.org,
SOURCE_DATE_EPOCH; github.com/moby/moby, image/spec/spec.md (manifest.json of an archive).
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from copy import copy as copy_of
from hashlib import sha256
from pathlib import Path
from posixpath import normpath
from typing import IO, Any, BinaryIO, NamedTuple, cast

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TfslurmError
from tfslurm.image.build_lock import MOST_LAYERS, BuiltLayer
from tfslurm.image.dockerfile import FOLDER

LEVEL = 6
MOST_ENTRIES = 2_000_000
"Files of a layer."
MOST_NOTE = 8 * 2**20
MOST_CONFIG = 8 * 2**20
NOTES = (f"{FOLDER}/apt.before", f"{FOLDER}/apt.after")
MOUNTED = frozenset(("etc/hosts", "etc/hostname", "etc/resolv.conf"))
"An engine mounts its own over these while it builds, and some leave the empty place of them in a layer."
XATTR = "SCHILY.xattr."


class NewLayer(NamedTuple):
    """A layer and its file."""

    about: BuiltLayer
    file: Path


class Archive(NamedTuple):
    """What an engine saved: the image's config, and the name of each layer's member in order."""

    tar: tarfile.TarFile
    config: Mapping[str, object]
    layers: tuple[str, ...]


class Noted(NamedTuple):
    """What is in a layer beside its files: the texts of NOTES, and whether any file is left in it."""

    notes: Mapping[str, bytes]
    entries: int


def opened(file: BinaryIO) -> Archive:
    """The archive of one image.

    Raises:
        TfslurmError: it is none.
    """
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - read again and again, and left by the caller
        listed = read_json(member_bytes(tar, "manifest.json", MOST_CONFIG))
        if not isinstance(listed, list) or len(listed) != 1:
            raise ValueError("its manifest.json names no image, or several")
        one = listed[0]
        config = read_json(member_bytes(tar, one["Config"], MOST_CONFIG))
        layers = tuple(str(name) for name in one["Layers"])
    except (ValueError, KeyError, TypeError, OSError, tarfile.TarError) as error:
        raise TfslurmError(f"the engine saved no archive of one image: {error}") from error
    if not isinstance(config, dict) or len(layers) > MOST_LAYERS:
        raise TfslurmError(f"the engine saved an image without a config, or with more than {MOST_LAYERS} layers")
    return Archive(tar, config, layers)


def member_bytes(tar: tarfile.TarFile, name: str, most: int) -> bytes:
    """A small file of the archive.

    Raises:
        ValueError: it is not there, or is large.
    """
    file = tar.extractfile(real(tar, name))
    body = file.read(most + 1) if file else b""
    if not file or len(body) > most:
        raise ValueError(f"{name[:80]!r} is no file of at most {most} bytes")
    return body


def real(tar: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """The member of a name, or the one that it links to: an engine saves a layer once."""
    found = tar.getmember(name)
    if found.issym():
        found = tar.getmember(normpath(f"{name.rpartition('/')[0]}/{found.linkname}"))
    return found


def relaid(archive: Archive, name: str, made_by: str, target: Path, epoch: int) -> tuple[NewLayer, Noted]:
    """One layer of the archive, written to ``target`` as it is pushed; its notes come out beside it.

    Raises:
        TfslurmError: it is no layer, or the disk refuses.
    """
    try:
        with target.open("wb") as out:
            sink = Sink(out)
            source = archive.tar.extractfile(real(archive.tar, name))
            if source is None:
                raise ValueError("it is no file")
            with tarfile.open(fileobj=cast(BinaryIO, sink), mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8",
                              errors="surrogateescape") as into:  # fmt: skip
                noted = copy(plain(source), into, epoch)
            sink.close()
    except (ValueError, KeyError, EOFError, tarfile.TarError, zlib.error) as error:
        raise TfslurmError(f"a layer that the engine saved cannot be read: {error}") from error
    except OSError as error:
        raise TfslurmError(
            f"{target.parent}: {error.strerror}; free some space, or set TMPDIR to another folder"
        ) from error
    return NewLayer(BuiltLayer(sink.digest, sink.diff_id, sink.size, made_by), target), noted


def plain(source: IO[bytes]) -> IO[bytes]:
    """The tar of a layer; some engines save it compressed.

    Raises:
        ValueError: by something else than gzip.
    """
    head = source.read(4)
    source.seek(0)
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(source, "rb"))
    if head == b"\x28\xb5\x2f\xfd":
        raise ValueError("it is compressed with zstd; build with another engine or store of images")
    return source


def copy(source: IO[bytes], into: tarfile.TarFile, epoch: int) -> Noted:
    """Copy the entries that belong to the image.

    Raises:
        ValueError, TarError: it is no tar, or of too many files.
    """
    notes: dict[str, bytes] = {}
    count = 0
    layer: Any = tarfile.open(fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    target: Any = into
    with layer:
        number = 0
        while member := layer.next():
            number += 1
            layer.members.clear()
            target.members.clear()
            name = member.name.removeprefix("./").strip("/")
            if number > MOST_ENTRIES:
                raise ValueError(f"it has more than {MOST_ENTRIES} files")
            if name in NOTES and (file := layer.extractfile(member)):
                notes[name] = file.read(MOST_NOTE)
            if is_of_the_build(name):
                continue
            count += name != ""
            content = layer.extractfile(member) if member.isreg() else None
            into.addfile(anew(member, epoch), content)
    return Noted(notes, count)


def is_of_the_build(name: str) -> bool:
    """Whether only the build needed it."""
    return name.partition("/")[0] in (FOLDER, f".wh.{FOLDER}") or name in MOUNTED


def anew(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """The same entry without what is of this build alone."""
    kept = {key: value for key, value in member.pax_headers.items() if key.startswith(XATTR)}
    found: Any = copy_of(member)
    found.mtime, found.uname, found.gname, found.pax_headers = min(int(member.mtime), epoch), "", "", kept
    if member.issparse():
        found.type, found.sparse = tarfile.REGTYPE, None
    return cast(tarfile.TarInfo, found)


class Sink:
    """Takes a tar, and writes it compressed; both are hashed on the way."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._plain, self._packed = out, sha256(), sha256()
        self._press = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)  # 31: with gzip's header, in which there is no time
        self.size = 0

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self._plain.update(data)
        self._put(self._press.compress(data))
        return len(data)

    def close(self) -> None:
        """Write the rest."""
        self._put(self._press.flush())
        self._out.flush()

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._out.write(data)
        self.size += len(data)

    @property
    def diff_id(self) -> str:
        """The digest of the tar."""
        return f"sha256:{self._plain.hexdigest()}"

    @property
    def digest(self) -> str:
        """The digest of what was written."""
        return f"sha256:{self._packed.hexdigest()}"


def added(notes: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """The packages of apt that came into the image, or into another version, by their names."""
    before, after = (packages_in(notes.get(name, b"")) for name in NOTES)
    for name in sorted(after):
        if before.get(name) != after[name]:
            yield name, after[name]


def packages_in(text: bytes) -> dict[str, str]:
    """Name -> version of dpkg's list."""
    rows = (line.split("\t") for line in text.decode("utf-8", "replace").splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3}
