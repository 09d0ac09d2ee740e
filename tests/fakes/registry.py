"""Stand-ins (http.server) for a registry, token server, proxy and docker daemon, where the real ones cannot be made to.

They lie, redirect, limit and ask for tokens as Docker Hub does; what a real registry does is tested with one, in
tests/cluster. A `StandIn` answers only what was laid out for it; a `Registry` also takes what is pushed to it, as
strictly as docker-registry does. Both keep what they were asked.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tfslurm.errors import RegistryError
from tfslurm.image import Pin, Reference, parse_reference
from tfslurm.registry import resolve

NOW = "2026-11-23T08:00:00Z"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA_2 = "application/vnd.docker.distribution.manifest.v2+json"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
LOGINS = ("REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass(frozen=True)
class Said:
    """One answer; ``size`` sends that many bytes without keeping them, and no Content-Length."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0


Answering: TypeAlias = Callable[[Asked], Said]


class StandIn(ThreadingHTTPServer):
    """A server on a free port of ``host``; ``paths`` maps a path without its query to an answer."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.address = f"{host}:{self.server_address[1]}"
        self.url = f"http://{self.address}"
        self.paths: dict[str, Said | Answering] = {}
        self.asked: list[Asked] = []
        self.guard: Answering | None = None

    def handle_error(self, *_: object) -> None:
        """A client that hangs up on too long an answer is what one test is about."""

    def received(self, sent: BufferedIOBase, size: int) -> bytes:
        """The body of a request."""
        return sent.read(size)

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        if self.guard and (refused := self.guard(asked)).status != 200:
            return refused
        there = self.paths.get(urlsplit(asked.path).path, error(404, "MANIFEST_UNKNOWN", "manifest unknown"))
        return there if isinstance(there, Said) else there(asked)

    def put(self, path: str, body: bytes, media_type: str, **headers: str) -> str:
        """Serves a manifest under a tag or digest; its digest comes out."""
        digest = digest_of(body)
        self.paths[path] = Said(200, body, {"Content-Type": media_type, "Docker-Content-Digest": digest} | headers)
        return digest


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def handle_one(self) -> None:
        body = self.server.received(self.rfile, int(self.headers.get("Content-Length") or 0))
        said = self.server.answer(Asked(self.command, self.path, self.headers, body))
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        if not said.size:
            self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(said.body)
        for _ in range(said.size // 2**16):
            self.wfile.write(b" " * 2**16)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_one

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at ``asked``."""


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def error(status: int, code: str, message: str, **headers: str) -> Said:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(status, body, {"Content-Type": "application/json"} | named)


Start: TypeAlias = Callable[..., StandIn]
Kind = TypeVar("Kind", bound=StandIn)


def started(kind: Callable[[str], Kind]) -> Iterator[Callable[..., Kind]]:
    """Starts servers of a kind, and ends them."""
    running: list[Kind] = []

    def run(host: str = "127.0.0.1") -> Kind:
        server = kind(host)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def start() -> Iterator[Start]:
    yield from started(StandIn)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES), *CERTIFICATES, *LOGINS):
        monkeypatch.delenv(name, raising=False)
    empty = tmp_path / "no-docker-config"
    empty.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(empty))
    monkeypatch.setenv("HOME", str(empty))


def image_config(**change: object) -> bytes:
    return json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Env": ["CUDA_VERSION=12.3.0"]}} | change
    ).encode()


def image_manifest(config_body: bytes, **change: object) -> bytes:
    about = {"mediaType": CONFIG, "digest": digest_of(config_body), "size": len(config_body)}
    value: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": [{"size": 7}]}
    return json.dumps(value | change).encode()


def serve_image(server: StandIn, tag: str = "1") -> str:
    """A whole image under /v2/team/tf; the digest of its manifest comes out."""
    config = image_config()
    manifest = image_manifest(config)
    server.paths[f"/v2/team/tf/blobs/{digest_of(config)}"] = Said(200, config)
    server.put(f"/v2/team/tf/manifests/{digest_of(manifest)}", manifest, MANIFEST)
    return server.put(f"/v2/team/tf/manifests/{tag}", manifest, MANIFEST)


def ask(server: StandIn, rest: str = "team/tf:1", engine: str = "docker") -> Pin:
    return resolve(reference(server, rest), {}, "linux/amd64", NOW, engine=engine)


def reference(server: StandIn, rest: str) -> Reference:
    return parse_reference(f"{server.address}/{rest}")


def refusal(server: StandIn, rest: str = "team/tf:1", engine: str = "docker") -> str:
    with pytest.raises(RegistryError) as caught:
        ask(server, rest, engine)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TOKEN = "token.for.the/tests+1="


def guarded(start: Start, give: Answering) -> tuple[StandIn, StandIn]:
    """A registry that wants a bearer token, and the token server on another host that gives it."""
    registry, tokens = start(), start("127.0.0.2")
    serve_image(registry)
    challenge = f'Bearer realm="{tokens.url}/token",service="registry.example",scope="repository:team/tf:pull"'
    unauthorized = error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)
    registry.guard = lambda asked: Said(200) if asked.headers["Authorization"] == f"Bearer {TOKEN}" else unauthorized
    tokens.paths["/token"] = give
    return registry, tokens


def log_in(registry: str, **entry: str) -> None:
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    config.write_text(json.dumps({"auths": {registry: entry}}))


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


Lie: TypeAlias = Callable[[Asked, Said], Said]


class Registry(StandIn):
    """A registry that keeps what is pushed; ``lies`` change its answers, in order, before they are sent."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.numbers = itertools.count()
        self.lies: list[Lie] = []

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        said = self.guard(asked) if self.guard else Said(200)
        if said.status == 200:
            path = urlsplit(asked.path).path
            there = self.paths.get(path)
            said = there(asked) if callable(there) else there or self.as_a_registry(asked, path)
        for lie in self.lies:
            said = lie(asked, said)
        return said

    def as_a_registry(self, asked: Asked, path: str) -> Said:
        """What an honest one answers. Source: OCI distribution specification."""
        if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(\w*)", path):
            return self.upload(asked, *found.groups())
        if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:\w+)", path):
            return self.blob(asked, self.blobs.get((found[1], found[2])), found[2])
        if found := re.fullmatch(r"/v2/(.+)/manifests/([\w.:-]+)", path):
            return self.manifest(asked, found[1], found[2])
        return Said(200) if path == "/v2/" else error(404, "NAME_UNKNOWN", "repository name not known")

    def upload(self, asked: Asked, repository: str, name: str) -> Said:
        digest = asked.query.get("digest", "")
        if asked.method == "POST":
            if source := self.blobs.get((asked.query.get("from", ""), asked.query.get("mount", ""))):
                self.blobs[repository, asked.query["mount"]] = source
                return Said(201, headers={"Docker-Content-Digest": asked.query["mount"]})
            name = f"u{next(self.numbers)}"
            self.uploads[name] = bytearray()
            return self.state(202, repository, name)
        if name not in self.uploads:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if asked.method == "GET":
            return self.state(204, repository, name)
        if asked.method == "DELETE":
            del self.uploads[name]
            return Said(204)
        begun = (asked.headers["Content-Range"] or "0").partition("-")[0]
        if asked.headers["Content-Range"] and int(begun) != len(self.uploads[name]):
            return self.state(416, repository, name)
        self.uploads[name] += asked.body
        if asked.method == "PATCH":
            return self.state(202, repository, name)
        body = bytes(self.uploads.pop(name))
        if digest_of(body) != digest:
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[repository, digest] = body
        return Said(201, headers={"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/blobs/{digest}"})

    def state(self, status: int, repository: str, name: str) -> Said:
        ends = max(0, len(self.uploads[name]) - 1)
        return Said(status, headers={"Location": f"/v2/{repository}/blobs/uploads/{name}?s=1", "Range": f"0-{ends}"})

    def blob(self, asked: Asked, body: bytes | None, digest: str) -> Said:
        if body is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        begun = int((asked.headers["Range"] or "bytes=0-")[6:].rstrip("-"))
        headers = {"Docker-Content-Digest": digest}
        if not begun:
            return Said(200, body, headers)
        return Said(206, body[begun:], headers | {"Content-Range": f"bytes {begun}-{len(body) - 1}/{len(body)}"})

    def manifest(self, asked: Asked, repository: str, name: str) -> Said:
        if asked.method == "PUT":
            value, digest = json.loads(asked.body), digest_of(asked.body)
            parts = [part for part in (value.get("config"), *value.get("layers", ())) if part and not part.get("urls")]
            named = [(repository, part.get("digest", "")) for part in parts]
            below = [(repository, entry["digest"]) for entry in value.get("manifests", ())]
            if not {*named} <= self.blobs.keys() or not {*below} <= self.manifests.keys():
                return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
            for each in {name, digest}:
                self.manifests[repository, each] = asked.body, asked.headers["Content-Type"]
            return Said(201, headers={"Docker-Content-Digest": digest})
        if (repository, name) not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        body, kind = self.manifests[repository, name]
        return Said(200, body, {"Content-Type": kind, "Docker-Content-Digest": digest_of(body)})


StartRegistry: TypeAlias = Callable[..., Registry]


@pytest.fixture
def start_registry() -> Iterator[StartRegistry]:
    yield from started(Registry)
