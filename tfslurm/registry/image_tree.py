"""Everything below a digest: an index with the manifests that it names, and what each of them is made of.

Sources: OCI image specification, image-index.md and manifest.md; docs.docker.com/build/metadata/attestations (the
entries of an index for no platform); OCI layer.md, "Non-Distributable Layers", and docker's "Image Manifest V 2,
Schema 2" (``urls``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.registry.documents import (
    LARGEST,
    MOST_LAYERS,
    Blob,
    Manifest,
    Unreadable,
    checked_digest,
    choose,
    objects,
    platform_name,
    platforms,
)
from tfslurm.registry.resolve import manifest_at
from tfslurm.registry.wire import Remote

MOST_DOCUMENTS = 300
"Of one image: each costs a request."
MOST_BYTES = 16 * 2**20
"Of all of them together."
DEEPEST = 3
"An index in an index in an index."
MOST_URLS, LONGEST_URL = 10, 300


class Part(NamedTuple):
    """A config or a layer, as a manifest names it; ``urls``: where it lies, if no registry has to have it."""

    digest: str
    size: int
    urls: tuple[str, ...] = ()


class Child(NamedTuple):
    """A manifest that an index names; ``platform``: os/architecture[/variant], '' for one that is for none."""

    digest: str
    size: int
    platform: str


class ImageTree(NamedTuple):
    """An image with all that it names. ``documents``: each before those that it names, the first is the one asked for.

    ``platforms``: os/architecture[/variant] -> the digest of its manifest; ``elsewhere``: layers that lie in no
    registry.
    """

    served_by: str
    documents: tuple[Manifest, ...]
    platforms: Mapping[str, str]
    blobs: tuple[Blob, ...]
    elsewhere: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Of all blobs, each once, as they travel."""
        return sum(blob.size for blob in self.blobs)

    def bytes_of(self, platform: str) -> int:
        """Of the config and the layers of a platform, as they travel."""
        (found,) = (each for each in self.documents if each.digest == self.platforms[platform])
        return sum({part.digest: part.size for part in parts(found) if not part.urls}.values())


def tree_at(remote: Remote, digest: str, platform: str, only: Sequence[str] = ()) -> ImageTree:
    """The image at one place. ``platform``: of the image, if it is a single manifest.

    ``only``: of an index, the manifests of these platforms, and not the index itself, because a registry may refuse an
    index whose manifests it lacks (OCI distribution specification, "Pushing Manifests").

    Raises:
        RegistryError: the place does not serve it whole, or serves what no image is.
    """
    what = f"{digest[:19]}…"
    try:
        top = manifest_at(remote, digest, what)
        named = platforms(top) if top.kind == "index" else {platform: top.digest}
        found = dict[str, Manifest]()
        if only:
            named = dict(choose(named, each) for each in only)
            for name, wanted in reversed(named.items()):
                chosen = top if wanted == top.digest else manifest_at(remote, wanted, f"{what} for {name}")
                gather(remote, chosen, what, found)
        else:
            gather(remote, top, what, found)
        documents = tuple(reversed(found.values()))
        blobs, elsewhere = blobs_of(documents)
    except Unreadable as why:
        raise Unreadable(f"{remote.name}: {what}: {why}") from None
    return ImageTree(remote.name, documents, named, blobs, elsewhere)


def gather(remote: Remote, document: Manifest, what: str, found: dict[str, Manifest], depth: int = 0) -> None:
    """Add a document to ``found``, after all those that it names.

    Raises:
        RegistryError: one is not to be had, has another size than the index says, or they are too many.
    """
    named = children(document) if document.kind == "index" else ()
    if len(named) > MOST_DOCUMENTS:
        raise Unreadable(f"it names {len(named)} manifests, and {MOST_DOCUMENTS} are the most")
    for child in named:
        if child.digest in found:
            continue
        if depth == DEEPEST:
            raise Unreadable(f"its indexes are more than {DEEPEST} levels deep; it is no image to be mirrored")
        below = manifest_at(remote, child.digest, f"{what}{f' for {child.platform}' if child.platform else ''}")
        if len(below.body) != child.size:
            why = f"{child.digest[:19]}… has {len(below.body)} bytes, and {child.size} by the index that names it"
            raise Unreadable(f"{why}; do not use this source")
        gather(remote, below, what, found, depth + 1)
    found[document.digest] = document
    if len(found) > MOST_DOCUMENTS or sum(len(each.body) for each in found.values()) > MOST_BYTES:
        raise Unreadable(
            f"{MOST_DOCUMENTS} manifests, of {MOST_BYTES / 2**20:g} MiB together, are the most of an image"
        )


def children(index: Manifest) -> tuple[Child, ...]:
    """The manifests that an index names, in its order."""
    return tuple(
        Child(checked_digest(entry), size_of(entry), platform_of(entry)) for entry in objects(index.value, "manifests")
    )


def platform_of(entry: Mapping[str, object]) -> str:
    """The platform of an entry of an index; '' for an attestation."""
    about = entry.get("platform")
    return platform_name(about) if isinstance(about, Mapping) and about.get("os") != "unknown" else ""


def parts(manifest: Manifest) -> tuple[Part, ...]:
    """The config of a manifest, then its layers; of an index nothing. The manifest may be that of any artifact.

    Raises:
        Unreadable: it is not made as a manifest is.
    """
    if manifest.kind == "index":
        return ()
    config, layers = manifest.value.get("config"), objects(manifest.value, "layers")
    if not isinstance(config, Mapping) or len(layers) > MOST_LAYERS:
        raise Unreadable("it names no config, or too many layers; it is no image")
    return tuple(Part(checked_digest(entry), size_of(entry), urls_of(entry)) for entry in (config, *layers))


def urls_of(entry: Mapping[str, object]) -> tuple[str, ...]:
    """The addresses of a layer that lies elsewhere."""
    urls = entry.get("urls")
    return tuple(str(url)[:LONGEST_URL] for url in urls[:MOST_URLS]) if isinstance(urls, list) else ()


def size_of(entry: Mapping[str, object]) -> int:
    """The size that a descriptor says.

    Raises:
        Unreadable: it says none that could be.
    """
    size = entry.get("size")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise Unreadable("a part of it has no size that could be; it is no image")
    return size


def blobs_of(documents: Sequence[Manifest]) -> tuple[tuple[Blob, ...], tuple[Part, ...]]:
    """The blobs of all of them, each once, and the layers that lie elsewhere.

    Raises:
        Unreadable: two manifests give one blob two sizes.
    """
    found: dict[str, Part] = {}
    for part in (part for document in documents for part in parts(document)):
        known = found.setdefault(part.digest, part)
        if known.size != part.size:
            raise Unreadable(f"{part.digest[:19]}… has {known.size} bytes by one manifest and {part.size} by another")
    here = tuple(Blob(part.digest, part.size) for part in found.values() if not part.urls)
    return here, tuple(part for part in found.values() if part.urls)
