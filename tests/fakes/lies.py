"""Lies of a registry (a stand-in): each changes what an honest one (tests/fakes/registry.py) answers."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tests.fakes.registry import CONFIG, INDEX, LIST, MANIFEST, SCHEMA_2, Asked, Lie, Registry, Said, digest_of, error

NAME, TAG = "team/tf", "1"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYERS = (os.urandom(100_000), os.urandom(3000))
ZEROS = "sha256:" + "0" * 64


def described(kind: str, body: bytes) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}


@dataclass(frozen=True)
class Image:
    """An image of two platforms; ``config`` and ``manifest`` are those of linux/amd64."""

    config: bytes
    manifest: bytes
    other: bytes
    index: bytes

    def put(self, registry: Registry) -> str:
        """Serves it under the tag; its digest comes out."""
        for blob in (self.config, *LAYERS):
            registry.blobs[NAME, digest_of(blob)] = blob
        for body, kind in ((self.manifest, MANIFEST), (self.other, MANIFEST), (self.index, INDEX)):
            registry.manifests[NAME, digest_of(body)] = body, kind
        registry.manifests[NAME, TAG] = self.index, INDEX
        return digest_of(self.index)


def image(
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    entry: Mapping[str, Any] | None = None,
) -> Image:
    """An image; what is given stands in the place of what is true."""
    true = {"os": "linux", "architecture": "amd64", "config": {"Env": ["CUDA_VERSION=12.3.0"]}}
    config_body = json.dumps(true | dict(config or {})).encode()
    layers = [described(LAYER_TYPE, layer) for layer in LAYERS]
    named = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, config_body), "layers": layers}
    body = json.dumps(named | dict(manifest or {})).encode()
    other = json.dumps(named | {"annotations": {"for": "arm64"}}).encode()
    platforms = [{"os": "linux", "architecture": each} for each in ("arm64", "amd64")]
    entries = [
        described(MANIFEST, each) | {"platform": about} for each, about in zip((other, body), platforms, strict=True)
    ]
    entries[1] |= dict(entry or {})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    return Image(config_body, body, other, index)


TRUE = image()


Telling: TypeAlias = Callable[[Asked, Said], Said]


def at(part: str, *methods: str) -> Callable[[Telling], Lie]:
    """A lie about the paths that contain a word, where they are read, or asked by other methods."""

    def only(lie: Telling) -> Lie:
        def told(asked: Asked, said: Said) -> Said:
            return lie(asked, said) if asked.method in (methods or ("GET", "HEAD")) and part in asked.path else said

        return told

    return only


def headers(**more: str) -> Telling:
    """Headers in the place of honest ones."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return lambda asked, said: replace(said, headers={**said.headers, **named})


def body(change: Callable[[bytes], bytes], **more: str) -> Telling:
    """Another body."""
    return lambda asked, said: headers(**more)(asked, replace(said, body=change(said.body)))


def instead(said: Said) -> Telling:
    """Another answer."""
    return lambda asked, honest: said


def moved(location: str, status: int = 307) -> Telling:
    """A redirect."""
    return instead(Said(status, headers={"Location": location} if location else {}))


def manifest_of(data: bytes, says: bytes | None = None, kind: str = MANIFEST) -> Telling:
    """Another manifest, with a digest in its header or none."""
    digest = {"Docker-Content-Digest": digest_of(says)} if says else {}
    return instead(Said(200, data, {"Content-Type": kind, **digest}))


def flipped(data: bytes) -> bytes:
    """The same number of bytes, one of them another."""
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:] if len(data) > 1 else b"x"


def spaced(data: bytes) -> bytes:
    return data + b" "


def cut_short(asked: Asked, said: Said) -> Said:
    """A Content-Length of more than comes."""
    return replace(said, headers={**said.headers, "Content-Length": str(len(said.body) + 10)}, size=1)


def one_byte(asked: Asked, said: Said) -> Said:
    """The length of all that is left, and a byte of it."""
    length = {"Content-Length": str(len(said.body))}
    return replace(said, body=said.body[:1], headers={**said.headers, **length}, size=1)


def one_byte_without_length(asked: Asked, said: Said) -> Said:
    return replace(said, body=said.body[:1], size=1)


def sixteen(asked: Asked, said: Said) -> Said:
    """A Content-Length of less than comes."""
    return replace(said, headers={**said.headers, "Content-Length": "16"}, size=1)


def zipped(data: bytes) -> bytes:
    return gzip.compress(data)


def bomb() -> bytes:
    """64 MiB of zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()


BOMB = bomb()
BY_TAG, BY_ANY, BY_SHA256 = at("/manifests/1"), at("/manifests/"), at("/manifests/sha256")
THE_MANIFEST, THE_CONFIG, THE_LAYER = (at(digest_of(each)) for each in (TRUE.manifest, TRUE.config, LAYERS[0]))
BOTH = json.dumps({**json.loads(TRUE.index), **json.loads(TRUE.manifest), "mediaType": INDEX}).encode()
OTHER_BYTES = r"the bytes received are sha256:\w+, (its Docker-Content-Digest header|its manifest|what was asked for)"
TWO_KINDS = "can be read as two kinds"

DOCUMENTS: dict[str, tuple[Lie, str]] = {
    "the tag's bytes are others than its header says": (BY_TAG(body(spaced)), OTHER_BYTES),
    "a header names another digest": (BY_ANY(headers(Docker_Content_Digest=ZEROS)), OTHER_BYTES),
    "a header's digest is of no known kind": (BY_ANY(headers(Docker_Content_Digest="md5:" + "0" * 32)), OTHER_BYTES),
    "a header names two": (BY_TAG(headers(Docker_Content_Digest=f"{digest_of(TRUE.index)}, {ZEROS}")), OTHER_BYTES),
    "another manifest for a digest": (THE_MANIFEST(manifest_of(TRUE.other, TRUE.other)), OTHER_BYTES),
    "another manifest and the header asked for": (THE_MANIFEST(manifest_of(TRUE.other, TRUE.manifest)), OTHER_BYTES),
    "the index for its manifest": (THE_MANIFEST(manifest_of(TRUE.index, kind=INDEX)), OTHER_BYTES),
    "an index that is called a manifest": (BY_TAG(headers(Content_Type=MANIFEST)), TWO_KINDS),
    "a manifest that is called docker's list": (BY_SHA256(headers(Content_Type=LIST)), TWO_KINDS),
    "a manifest that is called docker's": (BY_SHA256(headers(Content_Type=SCHEMA_2)), TWO_KINDS),
    "index and manifest in one": (BY_TAG(manifest_of(BOTH, kind=INDEX)), TWO_KINDS),
    "a page for readers": (BY_ANY(manifest_of(b"<html>log in</html>", kind="text/html")), "not the JSON object"),
    "nothing": (BY_TAG(instead(Said(200))), "not the JSON object"),
    "schema 1": (BY_TAG(instead(Said(200, b'{"schemaVersion": 1}'))), "a schema 1 manifest"),
    "a part": (BY_TAG(lambda asked, said: replace(said, status=206)), "HTTP 206"),
    "two lengths": (BY_TAG(headers(Content_Length="7")), "broke off"),
    "less than its length": (BY_TAG(cut_short), "broke off"),
    "more than its length": (BY_TAG(sixteen), OTHER_BYTES),
    "gzip that is none": (BY_TAG(headers(Content_Encoding="gzip")), "it is gzip, and is not"),
    "gzip of gzip": (BY_TAG(body(lambda data: zipped(zipped(data)), Content_Encoding="gzip")), OTHER_BYTES),
    "gzip without end": (BY_TAG(body(lambda _: BOMB, Content_Encoding="gzip")), "larger than 4 MiB"),
    "a manifest without end": (BY_TAG(instead(Said(200, size=5 * 2**20))), "larger than 4 MiB"),
    "a config without end": (THE_CONFIG(instead(Said(200, size=9 * 2**20))), "larger than 8 MiB"),
    "a config with one other byte": (THE_CONFIG(body(flipped)), OTHER_BYTES),
    "a config of another image": (THE_CONFIG(body(lambda _: image({"os": "windows"}).config)), OTHER_BYTES),
    "a redirect to nowhere": (BY_TAG(moved("")), "more than 5 redirects"),
    "a redirect to a file": (BY_TAG(moved("file:///etc/passwd")), "redirects to nowhere without https"),
    "a redirect without https": (BY_TAG(moved("http://evil.example/")), "redirects to evil.example without https"),
    "a redirect with a password": (BY_TAG(moved("https://a:b@evil.example/")), "redirects to nowhere without https"),
    "a redirect without an end": (BY_TAG(moved(f"/v2/{NAME}/manifests/1", 308)), "more than 5 redirects"),
}
"Lies that a pin meets: about documents and the ways to them."

HELM = "application/vnd.cncf.helm.config.v1+json"
SAYS_ARM = "index says that it is for linux/amd64, and its config says linux/arm64"
IMAGES: dict[str, tuple[Image, str]] = {
    "another architecture than its index says": (image({"architecture": "arm64"}), SAYS_ARM),
    "another system than its index says": (image({"os": "windows"}), "its config says windows/amd64"),
    "another size than its index says": (image(entry={"size": 1}), r"is said to have 1 bytes, and has \d+"),
    "a size that is a text": (image(entry={"size": "1 MiB"}), "is said to have 1 MiB bytes"),
    "an index that is not there": (image(entry={"digest": ZEROS}), "it has no such digest"),
    "a digest that is a path": (image(entry={"digest": "sha256:../../../../etc/passwd"}), "a sha256 digest has 64"),
    "a digest that nobody can check": (image(entry={"digest": "md5:" + "0" * 32}), "it cannot be pinned"),
    "no platform of ours": (image(entry={"platform": {"os": "plan9"}}), "there is no linux/amd64 in it"),
    "an artifact": (image(manifest={"config": described(HELM, b"{}")}), "rather than an image"),
    "another size of its config": (
        image(manifest={"config": described(CONFIG, TRUE.config) | {"size": 9}}),
        r"its config is said to have 9 bytes, and has \d+",
    ),
    "a layer of a size that cannot be": (
        image(manifest={"layers": [described(LAYER_TYPE, b"") | {"size": -1}]}),
        "no size that could be",
    ),
    "layers that are no list": (image(manifest={"layers": {}}), TWO_KINDS),
    "variables that are no texts": (image({"config": {"Env": [{"a": 1}]}}), "not a list of texts"),
    "an entrypoint that is a number": (image({"config": {"Entrypoint": 7}}), "not a list of texts"),
}
"Images whose bytes fit their digests, and whose words do not fit each other."

OTHER_PART = "bytes 5-99999/100000"
BYTES: dict[str, tuple[Lie, str]] = {
    "one other byte": (THE_LAYER(body(flipped)), "the bytes received have the digest"),
    "another layer": (THE_LAYER(body(lambda _: LAYERS[1])), "sends 3000 bytes, and its manifest names 100000"),
    "more than its manifest names": (THE_LAYER(body(spaced)), "says that it sends 100001 bytes"),
    "more, without a length": (THE_LAYER(instead(Said(200, size=2**20))), "do not use this source|more than the"),
    "less than its length": (THE_LAYER(cut_short), "says that it sends 100010 bytes"),
    "a byte at a time": (THE_LAYER(one_byte), "broke off"),
    "a byte at a time, without a length": (THE_LAYER(one_byte_without_length), "it ended before its 100000 bytes"),
    "a page for readers": (THE_LAYER(body(lambda _: b"<html>")), "says that it sends 6 bytes"),
    "gzip around it": (THE_LAYER(body(zipped, Content_Encoding="gzip")), "says that it sends"),
    "a part that was not asked for": (
        THE_LAYER(lambda asked, said: replace(said, status=206, headers={"Content-Range": OTHER_PART})),
        f"says that it sends '{OTHER_PART}'",
    ),
    "no layer": (THE_LAYER(instead(Said(404))), "HTTP 404"),
    "no layer, with success": (THE_LAYER(instead(Said(204))), "HTTP 204"),
    "a redirect to other bytes": (THE_LAYER(moved(f"/v2/{NAME}/blobs/{digest_of(LAYERS[1])}")), "sends 3000 bytes"),
}
"Lies that a save meets: about layers."

BEGUN, SENT, DONE = (at("/blobs/uploads/", method) for method in ("POST", "PATCH", "PUT"))
SENT_OR_LOOKED = at("/blobs/uploads/", "PATCH", "GET")
STORED = at("/manifests/", "PUT")
GONE = error(404, "BLOB_UPLOAD_UNKNOWN", "gone")
PUSHES: dict[str, tuple[Lie, str]] = {
    "it kept other bytes of the config": (THE_CONFIG(body(flipped)), "says that it took it, and serves sha256:"),
    "it has no config": (THE_CONFIG(instead(Said(404))), "says that it took it, and answers HTTP 404 for it"),
    "it has a config without end": (THE_CONFIG(instead(Said(200, size=2**22))), "larger than 0.0"),
    "it has no layer": (THE_LAYER(instead(Said(404))), "says that it took it, and does not have it"),
    "its layer has another size": (THE_LAYER(body(spaced)), "says that it has '100001' bytes of it, and it has 100000"),
    "its layer has another digest": (
        THE_LAYER(headers(Docker_Content_Digest=ZEROS)),
        "Docker-Content-Digest header says",
    ),
    "it took another digest": (DONE(headers(Docker_Content_Digest=ZEROS)), "Docker-Content-Digest header says"),
    "no place to send it to": (BEGUN(instead(Said(202))), "HTTP 405|HTTP 404|HTTP 4"),
    "a file to send it to": (BEGUN(headers(Location="file:///etc/passwd")), "its upload goes to nowhere without https"),
    "a place without https": (
        BEGUN(headers(Location="http://evil.example/")),
        "its upload goes to evil.example without",
    ),
    "a place with a password": (BEGUN(headers(Location="http://a:b@127.0.0.1/")), "its upload goes to nowhere without"),
    "a place in two lines": (BEGUN(headers(Location="/v2/ x\ty")), "its upload goes to nowhere without https"),
    "uploads that move without end": (BEGUN(moved("/v2/team/tf/blobs/uploads/")), "more than 5 redirects"),
    "a piece that goes elsewhere": (SENT(headers(Location="http://evil.example/")), "its upload goes to evil.example"),
    "it has more than was sent": (SENT(headers(Range="0-999999")), "says that it has 1000000 bytes of it, and"),
    "it never has more": (
        SENT_OR_LOOKED(lambda asked, said: replace(said, headers={"Range": "0-2"})),
        "HTTP 4|says that it has 3 bytes",
    ),
    "uploads that are gone": (
        SENT_OR_LOOKED(instead(GONE)),
        "HTTP 404 BLOB_UPLOAD_UNKNOWN: gone; its upload went away: try again",
    ),
    "a commit of what is gone": (DONE(instead(GONE)), "HTTP 404 BLOB_UPLOAD_UNKNOWN: gone; its upload went away"),
    "ranges that never fit": (SENT_OR_LOOKED(instead(Said(416, headers={"Range": "0-5"}))), "HTTP 416"),
    "trouble without end": (SENT_OR_LOOKED(instead(Said(503))), "HTTP 503; try again later"),
    "a limit without end": (
        BEGUN(instead(Said(429, headers={"Retry-After": "0"}))),
        "rate limit is reached: try again in 0 s",
    ),
    "an answer without end": (SENT(instead(Said(202, size=5 * 2**20))), "larger than 4 MiB"),
    "a digest that does not fit": (DONE(instead(error(400, "DIGEST_INVALID", "no"))), "HTTP 400 DIGEST_INVALID: no"),
    "it did not keep the manifest": (BY_ANY(instead(Said(404))), "says that it took it, and answers HTTP 404 for it"),
    "it kept another manifest": (BY_ANY(manifest_of(TRUE.other)), r"says that it took sha256:\w+, and serves sha256:"),
    "the header of another manifest": (
        BY_ANY(headers(Docker_Content_Digest=ZEROS)),
        "Docker-Content-Digest header says",
    ),
    "another media type": (BY_ANY(headers(Content_Type=SCHEMA_2)), f"serves it as '{re.escape(SCHEMA_2)}', and it is"),
    "it took another manifest": (STORED(headers(Docker_Content_Digest=ZEROS)), "Docker-Content-Digest header says"),
    "a manifest's place elsewhere": (STORED(moved("http://evil.example/")), "redirects to evil.example without https"),
}
"Lies that a push meets."
