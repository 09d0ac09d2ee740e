"""The layout of an archive: an OCI image layout in a tar, in which docker finds what it reads as well.

Each member's place follows from the manifest alone, so that an archive that was cut off is continued where it ends, and
two archives of one image are equal. Sources: OCI image specification, image-layout.md; github.com/moby/moby,
image/spec/spec.md, "Combined Image JSON + Filesystem Changeset Format" (manifest.json).
"""

from __future__ import annotations

import json
import tarfile
from typing import NamedTuple

from tfslurm.registry.documents import INDEX_TYPES
from tfslurm.registry.image_source import Contents

BLOCK = 512
END = bytes(2 * BLOCK)
REF_NAME = "org.opencontainers.image.ref.name"


class Member(NamedTuple):
    """One file of the archive. ``content`` None: it is a blob, which is downloaded."""

    name: str
    size: int
    sha256: str
    content: bytes | None

    @property
    def header(self) -> bytes:
        """Its header in the tar, the same for everybody at any time."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode = self.size, 0o644
        return info.tobuf(tarfile.PAX_FORMAT)

    @property
    def padding(self) -> bytes:
        """The zeros after its content."""
        return bytes(-self.size % BLOCK)


def members(contents: Contents, name: str) -> list[Member]:
    """The files of the archive of an image, small ones first; ``name``: REGISTRY/REPOSITORY:TAG, '' without a tag."""
    top = contents.documents[0]
    about: dict[str, object] = {"mediaType": top.media_type, "digest": top.digest, "size": len(top.body)}
    if name:
        about["annotations"] = {REF_NAME: name}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": [about]}
    config, *layers = (blob_name(blob.digest) for blob in contents.blobs)
    for_docker = [{"Config": config, "RepoTags": [name] if name else None, "Layers": layers}]
    values = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index, "manifest.json": for_docker}
    texts = {file: json.dumps(value, separators=(",", ":")).encode() for file, value in values.items()}
    small = [Member(file, len(text), "", text) for file, text in texts.items()]
    documents = [Member(blob_name(each.digest), len(each.body), each.digest, each.body) for each in contents.documents]
    large = [Member(blob_name(blob.digest), blob.size, blob.digest, None) for blob in contents.blobs]
    return list({member.name: member for member in [*small, *documents, *large]}.values())


def blob_name(digest: str) -> str:
    """The name of a blob in the layout."""
    return f"blobs/{digest.replace(':', '/')}"


def size_of(all_members: list[Member]) -> int:
    """The bytes of the whole archive."""
    return sum(len(each.header) + each.size + len(each.padding) for each in all_members) + len(END)
