"""Real registries (docker-registry) of a test's own, on free ports, and a token server (a stand-in) for one of them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.fakes.registry import Asked, Said, error

OCI = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG = f"{OCI}.index.v1+json", f"{OCI}.manifest.v1+json", f"{OCI}.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
USER, PASSWORD = "alice", "p:ä ss/wörd"


@dataclasses.dataclass(frozen=True)
class Served:
    """A registry that runs, and how to push to it."""

    address: str
    authorization: str = ""

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> http.client.HTTPMessage:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        headers = {"Content-Type": content_type or "application/octet-stream"}
        try:
            login = {"Authorization": self.authorization} if self.authorization else {}
            connection.request(method, path, body, headers | login)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {said!r}"
            return answer.headers
        finally:
            connection.close()

    def blob(self, repository: str, body: bytes) -> str:
        digest = digest_of(body)
        where = self.request("POST", f"/v2/{repository}/blobs/uploads/")["Location"]
        path = where.partition(self.address)[2] or where
        self.request("PUT", f"{path}&digest={digest}", body)
        return digest

    def manifest(self, repository: str, reference: str, value: dict[str, Any]) -> str:
        body = json.dumps(value).encode()
        said = self.request("PUT", f"/v2/{repository}/manifests/{reference}", body, value["mediaType"])
        assert said["Docker-Content-Digest"] == digest_of(body)
        return digest_of(body)


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def image(served: Served, repository: str, architecture: str, *, docker: bool = False) -> tuple[dict[str, Any], str]:
    """Pushes config and layers of one platform; its manifest and the config's digest come out."""
    config = {
        "os": "linux",
        "architecture": architecture,
        "created": "2024-03-08T20:12:55Z",
        "config": {
            "Env": ["CUDA_VERSION=12.3.0", "HOME=/root", f"NVARCH={architecture}"],
            "Entrypoint": ["/entry", "--flag"],
        },
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    body = json.dumps(config).encode()
    layers = [b"layer one " + architecture.encode(), b"layer two"]
    types = (DOCKER_MANIFEST, DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip")
    manifest_type, config_type, layer_type = types if docker else (MANIFEST, CONFIG, f"{OCI}.layer.v1.tar+gzip")
    parts = [{"mediaType": layer_type, "digest": served.blob(repository, one), "size": len(one)} for one in layers]
    config_digest = served.blob(repository, body)
    about = {"mediaType": config_type, "digest": config_digest, "size": len(body)}
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest_type, "config": about, "layers": parts}
    return manifest, config_digest


def index(served: Served, repository: str, tag: str, *, docker: bool = False) -> dict[str, str]:
    """Pushes an index of amd64, arm64/v8 and an attestation; digests come out by name."""
    entries, digests = [], {}
    wanted: tuple[tuple[str, str], ...] = (("amd64", ""), ("arm64", "v8"), ("unknown", ""))
    for platform in wanted:
        manifest, config = image(served, repository, platform[0], docker=docker)
        size = len(json.dumps(manifest).encode())
        digests[platform[0]] = served.manifest(repository, digest_of(json.dumps(manifest).encode()), manifest)
        digests[f"{platform[0]} config"] = config
        digests[f"{platform[0]} size"] = str(
            sum(part["size"] for part in (*manifest["layers"], manifest["config"])),
        )
        about = {"os": "unknown" if platform[0] == "unknown" else "linux", "architecture": platform[0]}
        about |= {"variant": platform[1]} if platform[1] else {}
        entry = {"mediaType": manifest["mediaType"], "digest": digests[platform[0]], "size": size, "platform": about}
        entries.append(entry)
    value = {"schemaVersion": 2, "mediaType": DOCKER_LIST if docker else INDEX, "manifests": entries}
    digests["index"] = served.manifest(repository, tag, value)
    return digests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: Path, auth: str = "", storage: str = "") -> Iterator[str]:
    """A docker-registry process on a free port until the generator ends; its address comes out."""
    address = f"127.0.0.1:{free_port()}"
    kept = f"filesystem: {{rootdirectory: {folder}/data}}{storage and f', {storage}'}"
    text = f"version: 0.1\nlog: {{level: error}}\nstorage: {{{kept}}}\n"
    (folder / "registry.yml").write_text(f"{text}http: {{addr: '{address}'}}\n{auth}")
    environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("wb") as log:
        argv = ["docker-registry", "serve", str(folder / "registry.yml")]
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
    try:
        await_answer(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def await_answer(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the port is listened on; the registry has no other sign of being ready."""
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        assert process.poll() is None, "docker-registry ended"
        try:
            socket.create_connection((host, int(port)), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("docker-registry does not listen")


def htpasswd(folder: Path) -> str:
    """The `auth` of a registry that alice alone may use."""
    import bcrypt  # paramiko brings it

    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
    return f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"


class TokenServer:
    """What a token server says: tokens that docker-registry accepts, for the actions that ``rights`` give a user.

    ``rights``: user ('' without a login) -> repository -> actions. Source: CNCF distribution, "Token Authentication
    Implementation".
    """

    def __init__(self, folder: Path, rights: Mapping[str, Mapping[str, set[str]]]) -> None:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509 import CertificateBuilder, Name, NameAttribute, random_serial_number
        from cryptography.x509.oid import NameOID

        self.rights, self.scopes = rights, list[list[str]]()
        self._key = ec.generate_private_key(ec.SECP256R1())
        name, now = Name([NameAttribute(NameOID.COMMON_NAME, "tests")]), datetime.now(timezone.utc)
        builder = CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        builder = builder.serial_number(random_serial_number()).not_valid_before(now - timedelta(hours=1))
        certificate = builder.not_valid_after(now + timedelta(hours=9)).sign(self._key, hashes.SHA256())
        self._chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
        self.bundle = folder / "root.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def auth(self, realm: str) -> str:
        """The `auth` of a registry that believes these tokens."""
        words = f"realm: '{realm}', service: tests, issuer: tests, rootcertbundle: {self.bundle}"
        return f"auth: {{token: {{{words}}}}}\n"

    def __call__(self, asked: Asked) -> Said:
        """A token for a request: a login by Basic, or the identity token ``of-USER``."""
        from urllib.parse import parse_qs, urlsplit

        sent = parse_qs(asked.body.decode() if asked.method == "POST" else urlsplit(asked.path).query)
        scopes = " ".join(sent.get("scope", [])).split()
        self.scopes.append(scopes)
        basic = base64.b64decode((asked.headers["Authorization"] or "").removeprefix("Basic ")).decode()
        user, _, password = basic.partition(":")
        if sent.get("refresh_token"):
            user, password = sent["refresh_token"][0].removeprefix("of-"), PASSWORD
        if user and (password != PASSWORD or user not in self.rights):
            return error(401, "UNAUTHORIZED", "wrong user or password")
        rights, access = self.rights.get(user, {}), []
        for kind, repository, actions in (scope.split(":") for scope in scopes):
            allowed = sorted(set(actions.split(",")) & rights.get(repository, set()))
            access.append({"type": kind, "name": repository, "actions": allowed})
        return Said(200, json.dumps({"token": self._token(user, access)}).encode())

    def _token(self, user: str, access: list[dict[str, Any]]) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": user,
            "aud": "tests",
            "nbf": now - 60,
            "exp": now + 600,
            "iat": now,
            "jti": "x",
        }
        parts = [{"typ": "JWT", "alg": "ES256", "x5c": self._chain}, {**claims, "access": access}]
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return b".".join((signed, _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big")))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def docker_config(folder: Path, address: str, password: str = PASSWORD, user: str = USER) -> str:
    """A folder for $DOCKER_CONFIG with a login."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": pair}}}))
    return str(folder)
