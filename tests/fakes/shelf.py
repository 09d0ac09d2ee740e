"""A stand-in for a registry with images laid in, and with a list of referrers or without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.registry import CONFIG, INDEX, MANIFEST, Asked, Registry, Said, digest_of, started

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Shelf(Registry):
    """A registry with images. ``lists_referrers``: it has the list of OCI's distribution specification 1.1."""

    lists_referrers = False

    @property
    def bytes_taken(self) -> int:
        """The bytes of blobs that clients sent."""
        return sum(len(one.body) for one in self.asked if "/blobs/uploads/" in one.path)

    def count(self, *methods: str) -> int:
        """How many requests had one of these methods."""
        return sum(one.method in methods for one in self.asked)

    def lay_blob(self, repository: str, body: bytes, kind: str = LAYER) -> dict[str, Any]:
        """A blob that is there; what names it comes out."""
        self.blobs[repository, digest_of(body)] = body
        return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}

    def lay(self, repository: str, value: dict[str, Any], *tags: str) -> dict[str, Any]:
        """A manifest or an index that is there, under tags too; what names it comes out."""
        body = json.dumps(value).encode()
        for reference in (digest_of(body), *tags):
            self.manifests[repository, reference] = body, value["mediaType"]
        return self.entry(repository, digest_of(body))

    def lay_image(self, repository: str, layers: list[bytes], *tags: str, machine: str = "amd64") -> str:
        """An image with these layers; the digest of its manifest comes out."""
        config = json.dumps({"os": "linux", "architecture": machine, "config": {}}).encode()
        about = self.lay_blob(repository, config, CONFIG)
        named = [self.lay_blob(repository, layer) for layer in layers]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": named}
        return str(self.lay(repository, value, *tags)["digest"])

    def entry(self, repository: str, digest: str) -> dict[str, Any]:
        """What names a manifest that is there."""
        body, kind = self.manifests[repository, digest]
        return {"mediaType": kind, "digest": digest, "size": len(body)}

    def as_a_registry(self, asked: Asked, path: str) -> Said:
        """The list of referrers beside what any registry answers."""
        name, found, digest = path.removeprefix("/v2/").partition("/referrers/")
        if not found or not self.lists_referrers:
            return super().as_a_registry(asked, path)
        entries = [
            self.entry(repository, reference)
            for (repository, reference), (body, _) in self.manifests.items()
            if repository == name and json.loads(body).get("subject", {}).get("digest") == digest
        ]
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return Said(200, json.dumps(value).encode(), {"Content-Type": INDEX})


@contextmanager
def a_shelf(*, lists_referrers: bool = False) -> Iterator[Shelf]:
    """A registry that runs."""
    for start in started(Shelf):
        found = start()
        found.lists_referrers = lists_referrers
        yield found
