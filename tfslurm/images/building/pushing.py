"""Push a built image: what the registry has is not sent, and what it serves afterwards is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tfslurm.errors import RegistryError
from tfslurm.image import parse_reference
from tfslurm.images.building.assembled import Assembled, BaseImage
from tfslurm.local_files import open_file
from tfslurm.registry.documents import MANIFEST_TYPES, Blob, sha256_of
from tfslurm.registry.image_source import ImageSource
from tfslurm.registry.push import Target
from tfslurm.workspace.session import Session

PIECE = 2**20
Step = Callable[[str, int, int], None]
"Called with a name, the bytes done and the bytes in all."


def ask_to_push(session: Session, name: str, engine: str) -> None:
    """Say in one line that ``name`` (registry/repository) takes a push, before minutes are spent on what it gets.

    Raises:
        RegistryError: it refuses one, or does not answer; nothing was built.
    """
    with Target(name, engine) as target:
        try:
            target.ask_to_push()
        except RegistryError as error:
            raise RegistryError(f"{error}; nothing was built", transient=error.transient) from error
    session.say(f"{name} takes a push")


def push(image: Assembled, base: BaseImage, source: ImageSource, name: str, tag: str, engine: str, step: Step) -> int:
    """Push the image to ``name`` (registry/repository) under a tag; the bytes that were sent, those of the base aside.

    The manifest goes last, so that a push that breaks off leaves no image. What is served is compared with it.

    Raises:
        RegistryError: the registry refuses, or serves something else afterwards.
    """
    digest = image.built.digest
    total = sum(blob.size for blob, _ in base.layers) + sum(each.about.bytes for each in image.layers)
    done = sent = 0
    with Target(name, engine) as target:
        for blob, _ in base.layers:
            bring(target, blob, base, source, name)
            done += blob.size
            step(name, done, total)
        for each in image.layers:
            if not target.has_blob(each.about.digest, each.about.bytes):
                target.push_blob(each.about.digest, each.about.bytes, reader(each.file))
                sent += each.about.bytes
            done += each.about.bytes
            step(name, done, total)
        config = image.built.config
        if not target.has_blob(sha256_of(config), len(config)):
            target.push_blob(sha256_of(config), len(config), lambda offset: iter([config[offset:]]))
        for reference in (digest, tag):
            target.push_manifest(image.built.manifest, MANIFEST_TYPES[0], reference)
            if (served := target.manifest_digest(reference)) != digest:
                raise RegistryError(f"{name}: pushed {digest}, and {reference} is served as {served or 'nothing'}")
    return sent


def bring(target: Target, blob: Blob, base: BaseImage, source: ImageSource, name: str) -> None:
    """Have the registry hold a layer of the base: it may have it, or in another repository, or it is sent."""
    if target.has_blob(blob.digest, blob.size):
        return
    there, here = parse_reference(f"{base.contents.served_by}:x"), parse_reference(f"{name}:x")
    if there.registry == here.registry and target.mount_blob(blob.digest, blob.size, there.repository):
        return
    target.push_blob(blob.digest, blob.size, lambda offset: source.pieces(blob, offset))


def reader(file: Path) -> Callable[[int], Iterator[bytes]]:
    """The bytes of a file from an offset on."""

    def read(offset: int) -> Iterator[bytes]:
        with open_file(file) as opened:
            opened.seek(offset)
            while piece := opened.read(PIECE):
                yield piece

    return read
