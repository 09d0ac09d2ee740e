"""Mirror an image by its digest: from registry to registry, without a daemon, and each byte as the digest has it.

Every document goes as the very bytes that its digest names, blobs first, because a registry takes a manifest only when
it has what that names (OCI distribution specification, "Pushing Manifests").
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from tfslurm.document.sizes import size_text
from tfslurm.errors import RegistryError, refuse
from tfslurm.image import Pin
from tfslurm.images.copy_blobs import Copied, Copying, Step, in_threads
from tfslurm.images.mirror_names import Place, check_tag
from tfslurm.images.named import NamedImage
from tfslurm.images.referrers import NOTHING, Referrers, leave_referrers, referrers_of
from tfslurm.images.uploads import Uploads
from tfslurm.registry.documents import Blob
from tfslurm.registry.image_source import ImageSource
from tfslurm.registry.image_tree import ImageTree, Part
from tfslurm.registry.push import Target
from tfslurm.registry.resolve import manifest_at
from tfslurm.registry.wire import Remote

T = TypeVar("T")
Tell = Callable[[str], None]


class Wanted(NamedTuple):
    """What of an image is mirrored, and how. ``platforms`` (): all of them. ``tag`` '': the image's own, if it is free
    there."""

    platforms: tuple[str, ...] = ()
    tag: str = ""
    with_referrers: bool = False
    dry_run: bool = False


class Mirrored(NamedTuple):
    """An image in its mirror. ``documents``: the digests of index and manifests; each was served there in the end.

    ``platforms``: os/architecture -> bytes of its config and layers. ``blobs``: what became of each; with a dry run
    ``how`` is ``there`` or ``lacking``. ``elsewhere``: layers that lie in no registry, and were left out. ``tag`` '':
    none was set; ``tag_kept``: the digest that this tag has there, where that is another one.
    """

    image: str
    target: str
    digest: str
    digest_kind: str
    served_by: str
    documents: tuple[str, ...]
    platforms: Mapping[str, int]
    blobs: tuple[Copied, ...]
    elsewhere: tuple[Part, ...]
    referrers: tuple[str, ...]
    tag: str
    tag_kept: str
    dry_run: bool

    def bytes_of(self, how: str) -> int:
        """The bytes of the blobs of which this became."""
        return sum(blob.bytes for blob in self.blobs if blob.how == how)

    @property
    def bytes_sent(self) -> int:
        """The bytes of blobs that went to the mirror."""
        return sum(blob.bytes_sent for blob in self.blobs)


def mirror_image(
    named: NamedImage,
    place: Place,
    wanted: Wanted = Wanted(),  # noqa: B008
    *,
    tell: Tell = lambda line: None,
    step: Step = lambda what, done, total: None,
) -> Mirrored:
    """Have a place serve an image: what is there is not sent again, and an interrupted call is continued.

    The image's mirrors are asked for it, then its own registry, and the place itself last.

    Raises:
        InputError: the image is in no registry, or another process mirrors to the same place.
        RegistryError: no place serves it whole, the target refuses it, or serves in the end what it should not.
    """
    pin = named.pin
    if pin.pin_kind == "image-id":
        why = f"is pinned by the id {pin.digest[:19]}… of one docker daemon, and no registry has its bytes"
        raise refuse(pin.reference, why, "push it to a registry and pin it there, then mirror that")
    if wanted.tag:
        check_tag(place, wanted.tag)
        if len(set(wanted.platforms)) > 1:
            raise refuse(f"--tag {wanted.tag}", "cannot stand for several manifests", "name one --platform, or none")
    with ImageSource(pin, named.mirrors, named.engine, last=place.name) as source:
        tree = source.tree(wanted.platforms)
        others = referrers_of(source, tree) if wanted.with_referrers else NOTHING
        for line in sizes(pin, tree, wanted):
            tell(line)
        blobs = tuple(dict.fromkeys([*tree.blobs, *others.blobs]))
        if wanted.dry_run:
            found = compared(blobs, place, named.engine, tell)
        else:
            with Uploads(place.name) as uploads:
                found = Copying(source, place, named.engine, uploads, step).copy(blobs, tell)
    if wanted.dry_run:
        tag, kept = "", ""
    else:
        tag, kept = leave_documents(pin, tree, others, place, named.engine, wanted)
        prove(tree, blobs, place, named.engine, tell)
    return Mirrored(
        f"{pin.name}@{pin.digest}", place.name, tree.documents[0].digest, tree.documents[0].kind, tree.served_by,
        tuple(each.digest for each in tree.documents), {name: tree.bytes_of(name) for name in tree.platforms},
        tuple(found), tree.elsewhere, tuple(each.manifest.digest for each in others.found), tag, kept, wanted.dry_run,
    )  # fmt: skip


def sizes(pin: Pin, tree: ImageTree, wanted: Wanted) -> Iterator[str]:
    """What a user may want to know before gigabytes go over the line."""
    if len(tree.platforms) > 1 and not wanted.platforms:
        each = ", ".join(f"{name} {size_text(tree.bytes_of(name))}" for name in tree.platforms)
        yield f"{pin.name}: an index of {len(tree.platforms)} platforms: {each}; --platform copies one of them"
    for part in tree.elsewhere:
        yield f"warning: its layer {part.digest[:19]}… lies at {part.urls[0]}, and is not copied"


def compared(blobs: Sequence[Blob], place: Place, engine: str, tell: Tell) -> list[Copied]:
    """Which of the blobs are there."""

    def look(target: Target, blob: Blob) -> Copied:
        return Copied(blob.digest, blob.size, "there" if target.has_blob(blob.digest, blob.size) else "lacking")

    return at_target(blobs, place, engine, look, tell)


def leave_documents(
    pin: Pin, tree: ImageTree, others: Referrers, place: Place, engine: str, wanted: Wanted
) -> tuple[str, str]:
    """Leave the manifests there, each after those that it names, then the tag.

    What comes out is the tag, and the digest that a tag has there which was not moved.

    Raises:
        RegistryError: the registry refuses one.
    """
    top = tree.documents[0]
    with Target(place.name, engine) as target:
        for document in reversed(tree.documents):
            if target.manifest_digest(document.digest) != document.digest:
                target.push_manifest(document.body, document.media_type, document.digest)
        leave_referrers(others, target, place, engine)
        tag = wanted.tag or (pin.tag if top.digest == pin.digest else "")
        there = target.manifest_digest(tag) if tag else ""
        if there not in ("", top.digest) and not wanted.tag:
            return "", there
        if tag and there != top.digest:
            target.push_manifest(top.body, top.media_type, tag)
    return tag, ""


def prove(tree: ImageTree, blobs: Sequence[Blob], place: Place, engine: str, tell: Tell) -> None:
    """Ask the mirror for all of it: every manifest's bytes are hashed, every blob is asked for by HEAD.

    Raises:
        RegistryError: it does not serve one, or serves another.
    """

    def look(target: Target, blob: Blob) -> None:
        if not target.has_blob(blob.digest, blob.size):
            raise RegistryError(
                f"{place.name}: {blob.digest[:19]}…: it took this blob, and does not have it; try again"
            )

    with Remote(place.name, engine) as remote:
        for document in tree.documents:
            manifest_at(remote, document.digest, f"{document.digest[:19]}…, in the mirror")
    at_target(blobs, place, engine, look, tell)


def at_target(
    blobs: Sequence[Blob], place: Place, engine: str, look: Callable[[Target, Blob], T], tell: Tell
) -> list[T]:
    """What ``look`` finds of each blob in the place, a few at once."""

    @contextmanager
    def opened() -> Iterator[Callable[[Blob], T]]:
        with Target(place.name, engine) as target:
            yield lambda blob: look(target, blob)

    return in_threads(blobs, opened, threading.Event(), tell)
