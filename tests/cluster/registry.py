"""The registry that stands in for Docker Hub, its independent mirror, and their HTTP interface for tests."""

from __future__ import annotations

import hashlib
import http.client
import io
import shutil
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from .bed import BED, CONF, MIRROR, REGISTRY, BedError, conf_text, write_if_changed
from .daemons import Daemon

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = ", ".join(
    (
        MANIFEST,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)


class _Answer:
    """Status, headers and body of one request."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def daemons() -> list[Daemon]:
    """The registry and the mirror; each has its own storage."""
    return [_daemon("registry", REGISTRY), _daemon("registry-mirror", MIRROR)]


def _daemon(name: str, address: str) -> Daemon:
    storage = BED / name
    storage.mkdir(parents=True, exist_ok=True)
    text = conf_text("registry.yml", storage=storage, address=address)
    path = CONF / f"{name}.yml"
    write_if_changed(path, text)
    return Daemon(
        name,
        ("/usr/bin/docker-registry", "serve", str(path)),
        lambda: answers(address),
        texts=(text,),
        ports=(int(address.rpartition(":")[2]),),
        env={"OTEL_TRACES_EXPORTER": "none"},
    )


def answers(address: str) -> bool:
    """Whether a registry is there."""
    try:
        return _request(address, "GET", "/v2/").status == 200
    except OSError:
        return False


def _request(
    address: str, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: dict[str, str] | None = None
) -> _Answer:
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return _Answer(connection.getresponse())
    finally:
        connection.close()


def manifest(address: str, repository: str, reference: str) -> tuple[bytes, str] | None:
    """The manifest's bytes and its digest; None when the registry has no such tag or digest."""
    answer = _request(address, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": _ACCEPT})
    if answer.status == 404:
        return None
    _expect(answer, 200, f"reading {repository}:{reference} from {address}")
    return answer.body, str(answer.headers["Docker-Content-Digest"])


def tag_digest(address: str, repository: str, tag: str) -> str | None:
    """What the tag points to now; None when there is no such tag."""
    path = f"/v2/{repository}/manifests/{tag}"
    answer = _request(address, "HEAD", path, headers={"Accept": _ACCEPT})
    return str(answer.headers["Docker-Content-Digest"]) if answer.status == 200 else None


def delete_manifest(address: str, repository: str, digest: str) -> None:
    """Removes a manifest and every tag that points to it; the blobs stay."""
    _expect(
        _request(address, "DELETE", f"/v2/{repository}/manifests/{digest}"), 202, f"deleting {digest} from {address}"
    )


def put_manifest(address: str, repository: str, tag: str, body: bytes, media_type: str = MANIFEST) -> str:
    """Stores a manifest under a tag; its digest comes out."""
    headers = {"Content-Type": media_type}
    answer = _request(address, "PUT", f"/v2/{repository}/manifests/{tag}", body, headers)
    _expect(answer, 201, f"storing {repository}:{tag} at {address}")
    return str(answer.headers["Docker-Content-Digest"])


def put_blob(address: str, repository: str, source: bytes | Path, digest: str = "") -> str:
    """Stores a blob unless the repository has it; its digest comes out."""
    digest = digest or digest_of(source)
    if _request(address, "HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
        return digest
    length = len(source) if isinstance(source, bytes) else source.stat().st_size
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        _upload(address, repository, digest, stream, length)
    return digest


def copy_blob(source: str, target: str, repository: str, digest: str) -> None:
    """Copies one blob from one registry to another, unless it is there."""
    if _request(target, "HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
        return
    connection = http.client.HTTPConnection(source, timeout=120)
    try:
        connection.request("GET", f"/v2/{repository}/blobs/{digest}")
        response = connection.getresponse()
        if response.status != 200:
            raise BedError(f"registry: reading {digest} from {source}: HTTP {response.status}")
        _upload(target, repository, digest, response, int(response.headers["Content-Length"]))
    finally:
        connection.close()


def _upload(address: str, repository: str, digest: str, stream: IO[bytes], length: int) -> None:
    opened = _request(address, "POST", f"/v2/{repository}/blobs/uploads/")
    _expect(opened, 202, f"opening an upload to {address}")
    target = urlsplit(str(opened.headers["Location"]))
    path = f"{target.path}?{target.query}&digest={digest}"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
    _expect(_request(address, "PUT", path, stream, headers), 201, f"storing {digest} at {address}")


def digest_of(source: bytes | Path) -> str:
    """sha256:… of bytes or of a file."""
    if isinstance(source, bytes):
        return f"sha256:{hashlib.sha256(source).hexdigest()}"
    digest = hashlib.sha256()
    with source.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _expect(answer: _Answer, status: int, doing: str) -> None:
    if answer.status != status:
        raise BedError(f"registry: {doing}: HTTP {answer.status} {answer.body[:200]!r}; see registry*.log of the bed")


def purge() -> None:
    """Removes everything that was pushed."""
    for name in ("registry", "registry-mirror"):
        shutil.rmtree(BED / name, ignore_errors=True)
