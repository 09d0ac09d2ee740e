"""Read an archive of an image that a stranger may have made, and compare every byte of it with the pinned digest.

Of the archive only its blobs count, by the digests in their names: what its ``index.json`` and ``manifest.json`` say is
not read. The bytes that are sent on are laid out anew from the manifest that the digest names, so that whatever reads
them finds this image alone, under a tag that nobody else uses.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError, refuse
from tfslurm.image import Pin
from tfslurm.images.archive import END, Member, blob_name, members, size_of
from tfslurm.local_files import open_file
from tfslurm.registry.documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MOST_LAYERS,
    Manifest,
    Unreadable,
    blobs,
    choose,
    config_digest,
    platforms,
    read_config,
    read_manifest,
    size_bytes,
)
from tfslurm.registry.image_source import Contents
from tfslurm.registry.wire import CONFIG_LIMIT, MANIFEST_LIMIT
from tfslurm.submission.image_archive import ImageArchive

MOST_MEMBERS = MOST_LAYERS + 100
MOST_HEADERS = 4 * 2**20
"Bytes of all headers: tar's own extensions may be of any size."
CHUNK = 2**20
BLOB = re.compile(r"(?:\./)?blobs/sha256/([0-9a-f]{64})")
OTHERS = re.compile(r"(?:\./)?(?:oci-layout|index\.json|manifest\.json|repositories|blobs/?|blobs/sha256/?)?")
FIX = "take the archive that `tfslurm image save` wrote, or pull from a registry that has the digest"


class Place(NamedTuple):
    """The place of a blob in the archive's file."""

    begin: int
    size: int


class Headers:
    """The file as tarfile may read it: headers alone, and no more of them than an archive needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MOST_HEADERS

    def read(self, size: int) -> bytes:
        """Some bytes.

        Raises:
            ValueError: they are too many.
        """
        self._left -= max(0, size)
        if size < 0 or self._left < 0:
            raise ValueError(f"its headers have more than {MOST_HEADERS} bytes")
        return self._file.read(size)

    def seek(self, place: int) -> int:
        """Go there."""
        return self._file.seek(place)

    def tell(self) -> int:
        """The place where the file stands."""
        return self._file.tell()


def read_archive(path: Path, pin: Pin, step: Callable[[int, int], None] = lambda done, total: None) -> ImageArchive:
    """The archive of the pinned image, proved: its manifest has the digest, and every blob the one that is its name.

    ``step`` is called with the bytes that were compared, and those in all.

    Raises:
        InputError: it is no such archive, is cut off, lacks a blob or has another one, or holds anything beside.
    """
    if pin.pin_kind == "image-id":
        why = f"{pin.digest[:19]}… is the id that one docker daemon gave the image: no archive can be compared with it"
        raise refuse(str(path), why, "`docker load` it on the node")
    try:
        with open_file(path) as file:
            there = blobs_in(file)
            contents, found = image_in(file, there, pin)
            wanted = members(contents, f"{pin.name}:tfslurm-{pin.digest.partition(':')[2][:12]}")
            refuse_others(wanted, there)
            total, summed = size_of(wanted), sha256()
            for piece in pieces(file, wanted, there):
                summed.update(piece)
                step(file.tell(), total)
    except (RegistryError, ValueError, tarfile.TarError, OverflowError, EOFError, RecursionError) as error:
        raise refuse(str(path), f"is no archive of {pin.name}@{pin.digest}: {error}", FIX) from error
    except OSError as error:
        raise refuse(str(path), f"cannot be read: {error.strerror or error}", FIX) from error
    return ImageArchive(found, summed.hexdigest(), total, partial(stream, path, wanted, there))


def blobs_in(file: BinaryIO) -> dict[str, Place]:
    """Digest -> place of each blob; nothing is unpacked.

    Raises:
        ValueError: it holds what no such archive does: a link, a device, a name that leads elsewhere, a name twice.
        TarError: it is no tar, or one that is compressed.
    """
    found: dict[str, Place] = {}
    end = file.seek(0, 2)
    file.seek(0)
    with tarfile.open(fileobj=Headers(file), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
        read, count = -1, 0
        while member := archive.next():
            archive.members.clear()
            count += 1
            name = member.name[:100]
            if member.offset <= read or member.size < 0 or count > MOST_MEMBERS:
                raise ValueError(f"it leads back to its beginning, or holds more than {MOST_MEMBERS} files")
            read = member.offset
            if not (member.isdir() or (member.isreg() and not member.issparse())):
                raise ValueError(f"{name!r} is a link, or another thing that is no plain file")
            if member.offset_data + member.size > end:
                raise ValueError(f"it is cut off in {name!r}")
            blob = BLOB.fullmatch(member.name)
            if not blob and not OTHERS.fullmatch(member.name):
                raise ValueError(f"it holds {name!r}, which is no part of an image")
            if blob and (member.isdir() or f"sha256:{blob[1]}" in found):
                raise ValueError(f"{name!r} stands in it twice, or is a folder")
            if blob:
                found[f"sha256:{blob[1]}"] = Place(member.offset_data, member.size)
    return found


def image_in(file: BinaryIO, there: Mapping[str, Place], pin: Pin) -> tuple[Contents, Pin]:
    """What the image is made of by the manifest that the digest names, and the pin with what the image itself says.

    Raises:
        RegistryError: a document is not there, or is none of an image's.
        ValueError: it is not the one that its name says.
    """
    top = manifest_in(file, there, pin.digest)
    platform, manifest = pin.platform, top
    if top.kind == "index":
        platform, digest = choose(platforms(top), pin.platform)
        manifest = manifest_in(file, there, digest)
        if manifest.kind == "index":
            raise Unreadable("its index names another index; it is no image that docker could run")
    config = config_digest(manifest)
    facts = read_config(document(file, there, config, CONFIG_LIMIT))
    if manifest is top:
        platform = choose({facts.platform: manifest.digest}, platform)[0]
    documents: tuple[Manifest, ...] = (top,) if manifest is top else (top, manifest)
    found = replace(
        pin, digest_kind=top.kind, platform=platform, manifest_digest=manifest.digest, config_digest=config,
        size_bytes=size_bytes(manifest), media_type=top.media_type, created=facts.created,
        entrypoint=facts.entrypoint, environment=facts.environment,
    )  # fmt: skip
    return Contents("", platform, documents, blobs(manifest)), found


def manifest_in(file: BinaryIO, there: Mapping[str, Place], digest: str) -> Manifest:
    """An index or a manifest; one of OCI's need not say which of them it is, and then what it lists does.

    Raises:
        RegistryError, ValueError: it is not there, or is none.
    """
    body = document(file, there, digest, MANIFEST_LIMIT)
    value = read_json(body)
    lists = "manifests" in value if isinstance(value, dict) else False
    unsaid = (INDEX_TYPES if lists else MANIFEST_TYPES)[0]
    return read_manifest(body, "" if isinstance(value, dict) and value.get("mediaType") else unsaid)


def document(file: BinaryIO, there: Mapping[str, Place], digest: str, most: int) -> bytes:
    """The bytes of a manifest or a config.

    Raises:
        RegistryError: they are not there, or are too many.
        ValueError: they are others than the digest names.
    """
    place = there.get(digest)
    if place is None:
        raise Unreadable(f"{digest} is not in it")
    if place.size > most:
        raise Unreadable(f"{digest[:19]}… has {place.size} bytes, and at most {most} are read")
    file.seek(place.begin)
    body = file.read(place.size)
    found = f"sha256:{sha256(body).hexdigest()}"
    if found != digest:
        raise ValueError(f"what it holds as {digest} has the digest {found}")
    return body


def refuse_others(wanted: Sequence[Member], there: Mapping[str, Place]) -> None:
    """Refuse an archive that lacks a blob of the image, has one of another size, or has more.

    Raises:
        ValueError: it does.
    """
    sizes = {each.name: each.size for each in wanted}
    for digest, place in there.items():
        size = sizes.get(blob_name(digest))
        if size is None:
            raise ValueError(f"it holds {digest}, which is no part of this image")
        if size != place.size:
            raise ValueError(f"{digest[:19]}… has {place.size} bytes in it, and {size} by its manifest")
    for each in wanted:
        if each.sha256 and each.sha256 not in there:
            raise ValueError(f"{each.sha256} is not in it")


def pieces(file: BinaryIO, wanted: Sequence[Member], there: Mapping[str, Place]) -> Iterator[bytes]:
    """The bytes of the archive as it is sent on; each blob is compared with its digest on the way.

    Raises:
        ValueError: a blob is not what its digest names.
    """
    for member in wanted:
        yield member.header
        summed = sha256()
        for piece in [member.content] if member.content is not None else blob(file, there[member.sha256]):
            summed.update(piece)
            yield piece
        found = f"sha256:{summed.hexdigest()}"
        if member.sha256 and found != member.sha256:
            raise ValueError(f"what it holds as {member.sha256} has the digest {found}")
        yield member.padding
    yield END


def blob(file: BinaryIO, place: Place) -> Iterator[bytes]:
    """The bytes of one blob."""
    file.seek(place.begin)
    left = place.size
    while left and (piece := file.read(min(CHUNK, left))):
        left -= len(piece)
        yield piece


def stream(path: Path, wanted: Sequence[Member], there: Mapping[str, Place]) -> Iterator[bytes]:
    """The same bytes once more, for a machine that compares their sha256.

    Raises:
        InputError: the file was changed meanwhile.
    """
    try:
        with open_file(path) as file:
            yield from pieces(file, wanted, there)
    except (ValueError, OSError) as error:
        raise refuse(str(path), f"was changed while it was sent: {error}", FIX) from error
