"""Registries that answer slowly, without end or in disguise, and token servers that a stored login is not for.

They are sockets of this machine that speak HTTP by hand, because no library says it so badly.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes.registry import MANIFEST, digest_of, image_config, image_manifest
from tfslurm.errors import RegistryError
from tfslurm.image import Pin, lock_text, parse_lock, parse_reference
from tfslurm.registry import resolve
from tfslurm.registry.challenges import challenges
from tfslurm.registry.realms import may_have_login, origin
from tfslurm.registry.wire import Patience

NOW = "2026-11-23T08:00:00Z"
INDEX = "application/vnd.oci.image.index.v1+json"
Answering: TypeAlias = Callable[["Asked"], None]


class Asked(socketserver.StreamRequestHandler):
    """One connection; ``says`` answers each request by hand."""

    server: Server
    path = ""
    authorization = ""

    def handle(self) -> None:
        with suppress(OSError):
            while line := self.rfile.readline(2**16):
                self.path = line.split()[1].decode()
                self.authorization = ""
                while (header := self.rfile.readline(2**16)) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    if name.lower() == "authorization":
                        self.authorization = value.strip()
                self.server.asked.append((self.path, self.authorization))
                self.server.says(self)
        self.server.left.set()

    def say(self, body: bytes, status: str = "200 OK", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def drip(self, before: bytes, piece: bytes, pause_s: float = 0.01) -> None:
        """A beginning, then a little now and then until the other side hangs up."""
        self.wfile.write(before)
        while True:
            self.wfile.write(piece)
            time.sleep(pause_s)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    address_family = socket.AF_INET

    def __init__(self, says: Answering) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.says, self.asked, self.left = says, list[tuple[str, str]](), threading.Event()
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Clients hang up: that is what the tests are about."""


Start: TypeAlias = Callable[[Answering], Server]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Server] = []

    def run(says: Answering) -> Server:
        running.append(Server(says))
        return running[-1]

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()


def pin(address: str, *, request_s: float = 0.25, place_s: float = 20.0, pin_s: float = 60.0) -> Pin:
    reference = parse_reference(f"{address}/team/tf:1")
    return resolve(reference, {}, "linux/amd64", NOW, patience=Patience(request_s, place_s, pin_s))


def log_in(folder: Path, address: str, **entry: str) -> None:
    entry = entry or {"auth": base64.b64encode(b"alice:REGPASS").decode()}
    (folder / "docker" / "config.json").write_text(json.dumps({"auths": {address: entry}}))


def image(asked: Asked) -> None:
    """A whole image, in words that are true."""
    config = image_config()
    manifest = image_manifest(config)
    if "/blobs/" in asked.path:
        asked.say(config)
    else:
        asked.say(manifest, Content_Type=MANIFEST, Docker_Content_Digest=digest_of(manifest))


def only_token(asked: Asked, says: Answering) -> None:
    """A registry that wants a token, whose server answers as ``says``."""
    if asked.path.startswith("/token"):
        says(asked)
    else:
        host = asked.server.address
        asked.say(b"{}", "401 Unauthorized", WWW_Authenticate=f'Bearer realm="http://{host}/token",service="s"')


def elsewhere(asked: Asked, says: Answering) -> None:
    """A registry whose redirects lead to a slow place."""
    if "/elsewhere" in asked.path:
        says(asked)
    else:
        asked.say(b"", "307 Temporary Redirect", Location=f"http://{asked.server.address}/elsewhere")


def silent(asked: Asked) -> None:
    time.sleep(3600)


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Answering] = {
    "says nothing": silent,
    "a status line that never ends": lambda asked: asked.drip(b"HTTP/1.1 ", b"2"),
    "a header that never ends": lambda asked: asked.drip(HEAD, b"X"),
    "headers that never end": lambda asked: asked.drip(HEAD, b"X: y\r\n", 0.05),
    "100 Continue": lambda asked: asked.drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
    "a body with a length": lambda asked: asked.drip(HEAD + b"Content-Length: 100000\r\n\r\n", b"a"),
    "a body without one": lambda asked: asked.drip(HEAD + b"\r\n", b" "),
    "chunks": lambda asked: asked.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "the size of a chunk": lambda asked: asked.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "what follows the chunks": lambda asked: asked.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "a token": lambda asked: only_token(asked, lambda again: again.drip(HEAD, b"X")),
    "a token's body": lambda asked: only_token(asked, lambda again: again.drip(HEAD + b"\r\n", b" ")),
    "after a redirect": lambda asked: elsewhere(asked, lambda again: again.drip(HEAD, b"X")),
    "a refusal": lambda asked: asked.drip(b"HTTP/1.1 500 No\r\nContent-Length: 99999\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("says", SLOW.values(), ids=SLOW.keys())
def test_a_request_ends_by_its_deadline_however_little_is_sent(start: Start, says: Answering) -> None:
    server, began, threads = start(says), time.monotonic(), set(threading.enumerate())
    with pytest.raises(RegistryError, match=rf"^{server.address}/team/tf: tag 1: {server.address} ") as told:
        pin(server.address)
    assert time.monotonic() - began < 8
    assert told.value.transient
    assert "had not answered in full after 0." in str(told.value)
    assert "try again later" in str(told.value)
    ours = [each for each in set(threading.enumerate()) - threads if each.name.startswith("Thread-") and each.daemon]
    assert not [each for each in ours if isinstance(each, threading.Timer) and each.is_alive()]


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_ended_too(start: Start) -> None:
    """TLS: the server sends a record of a handshake byte by byte."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            line, _ = listening.accept()
            with line:
                line.sendall(b"\x16\x03\x03\x40\x00")
                while True:
                    line.sendall(b"\x02")
                    time.sleep(0.01)

    threading.Thread(target=serve, daemon=True).start()
    began = time.monotonic()
    # a name that is not loopback's own, so that https is spoken
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RegistryError, match="had not answered in full") as told:
        patch.setattr(
            socket, "getaddrinfo", lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listening.getsockname())]
        )
        pin(f"registry.example.org:{listening.getsockname()[1]}", request_s=0.5)
    listening.close()
    assert told.value.transient
    assert time.monotonic() - began < 15


def test_a_proxy_that_never_answers_is_ended_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = start(lambda asked: asked.drip(b"HTTP/1.1 200 ", b"x"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    began = time.monotonic()
    with pytest.raises(RegistryError, match="had not answered in full"):
        pin("registry.example.org")
    assert time.monotonic() - began < 8


@pytest.mark.slow
def test_everything_together_has_a_deadline_of_its_own(start: Start) -> None:
    def slowly(asked: Asked) -> None:
        time.sleep(0.07)
        elsewhere(asked, lambda again: again.say(b"", "307 T", Location=f"http://{again.server.address}/elsewhere"))

    server, began = start(slowly), time.monotonic()
    with pytest.raises(RegistryError, match="had not answered in full"):
        pin(server.address, request_s=5, place_s=0.2)
    with pytest.raises(RegistryError, match="tried 3 registries; none has it"):
        reference = parse_reference(f"{server.address}/team/tf:1")
        mirrors = {server.address: (f"{server.address}/a", f"{server.address}/b")}
        resolve(reference, mirrors, "linux/amd64", NOW, patience=Patience(5, 5, 0.2))
    assert time.monotonic() - began < 8


def test_an_honest_registry_on_a_connection_that_is_used_again_is_not_hurt(start: Start) -> None:
    server = start(image)
    for _ in range(3):
        assert pin(server.address, request_s=5).tag == "1"
    assert len(server.asked) == 6


def test_no_connection_outlives_the_question_because_its_error_is_kept(start: Start) -> None:
    server = start(lambda asked: asked.say(b"x", Content_Encoding="zstd"))
    with pytest.raises(RegistryError, match="which was not asked for") as told:
        pin(server.address, request_s=5)
    assert server.left.wait(30) and told.value.__traceback__


ENDLESS: dict[str, Answering] = {
    "a body": lambda asked: asked.drip(HEAD + b"Content-Length: 99999999999999\r\n\r\n", bytes(2**16), 0),
    "one chunk": lambda asked: asked.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n", bytes(2**16), 0),
    "the size of a chunk": lambda asked: asked.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 2**16, 0),
    "after the last chunk": lambda asked: asked.drip(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: " + b"y" * 2**16, 0
    ),
    "a header": lambda asked: asked.drip(HEAD, b"X" * 2**16, 0),
    "headers": lambda asked: asked.drip(HEAD, b"X: " + b"y" * 60000 + b"\r\n", 0),
    "the status line": lambda asked: asked.drip(b"HTTP/1.1 200 ", b"x" * 2**16, 0),
    "gzip": lambda asked: asked.say(bomb(), Content_Encoding="gzip", Content_Type=MANIFEST),
    "gzip twice": lambda asked: asked.say(b"x", Content_Encoding="gzip, gzip"),
    "zstd": lambda asked: asked.say(b"x", Content_Encoding="zstd"),
    "no gzip": lambda asked: asked.say(b"x", Content_Encoding="gzip"),
    "a refusal": lambda asked: asked.say(b'{"errors":[{"code":"X","message":"' + b"y" * 10**6 + b'"}]}', "500 X"),
    "a challenge": lambda asked: asked.say(b"", "401 U", WWW_Authenticate="Bearer " + "a" * 60000),
    "platforms": lambda asked: asked.say(many_platforms(), Content_Type="application/vnd.oci.image.index.v1+json"),
    "tags": lambda asked: (
        asked.say(json.dumps({"tags": [f"t{n}" for n in range(100_000)] + ["x" * 10**6]}).encode())
        if "tags" in asked.path
        else asked.say(b"{}", "404 No")
    ),
}


def chunk_of(asked: Asked, size: bytes) -> None:
    """A body whose one chunk has this size, and then all that fits."""
    with suppress(OSError):
        asked.wfile.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n")
        while True:
            asked.wfile.write(b"a" * 2**16)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-ffffffffffffffff", b"ffffffffffffffff", b"F_F_F_F_F_F"])
def test_a_chunk_of_any_size_is_no_way_into_memory(start: Start, size: bytes) -> None:
    server, began = start(lambda asked: chunk_of(asked, size)), time.monotonic()
    tracemalloc.start()
    with pytest.raises(RegistryError, match=r"broke off|larger than 4 MiB"):
        pin(server.address, request_s=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 * 2**20
    assert time.monotonic() - began < 2


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's own patience is not ours to set, so its answer is what comes late here."""
    answered = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: answered.wait(60))
    began = time.monotonic()
    try:
        with pytest.raises(
            RegistryError, match=r"slow\.example\.org (did not answer in time|had not answered in full)"
        ):
            resolve(
                parse_reference("slow.example.org/tf:1"), {}, "linux/amd64", NOW, patience=Patience(0.25, 20.0, 60.0)
            )
    finally:
        answered.set()
    assert time.monotonic() - began < 5


def bomb() -> bytes:
    """A gigabyte of zeros in a megabyte: one packed piece, again and again. Its end is that of a file, without sums."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + piece * 1000 + packer.flush()


def many_platforms() -> bytes:
    about = {"mediaType": MANIFEST, "size": 1, "digest": "sha256:" + "1" * 64}
    entries = [about | {"platform": {"os": f"os{number}", "architecture": "x"}} for number in range(15000)]
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    return json.dumps(index).encode()


@pytest.mark.slow
@pytest.mark.parametrize("says", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_costs_little_memory_and_one_short_line(start: Start, says: Answering) -> None:
    server = start(says)
    tracemalloc.start()
    with pytest.raises(RegistryError) as told:
        pin(server.address, request_s=10, place_s=15)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(told.value)) < 3000
    assert "\n" not in str(told.value)
    assert peak < 150 * 2**20


def odd(asked: Asked, config: dict[str, object], manifest: dict[str, object], variant: str = "") -> None:
    """A whole image whose bytes fit their digests, in words that no image has."""
    body = json.dumps({"os": "linux", "architecture": "amd64", "config": {}} | config).encode()
    named = json.dumps(json.loads(image_manifest(body)) | manifest).encode()
    about = {"os": "linux", "architecture": "amd64", "variant": variant}
    entry = {"mediaType": MANIFEST, "size": 1, "digest": digest_of(named), "platform": about}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    if "/blobs/" in asked.path:
        asked.say(body)
    elif variant and "sha256" not in asked.path:
        asked.say(json.dumps(index).encode(), Content_Type=INDEX)
    else:
        asked.say(named, Content_Type=MANIFEST)


ODD: dict[str, tuple[dict[str, object], dict[str, object], str, str]] = {
    "half a character in a variable": ({"config": {"Env": ["TF_X=\ud800"]}}, {}, "", "no program can be given"),
    "half a character in the entrypoint": ({"config": {"Entrypoint": ["\udfff"]}}, {}, "", "no program can be given"),
    "NUL": ({"config": {"Entrypoint": ["a\0b"]}}, {}, "", "no program can be given"),
    "a million words": ({"config": {"Entrypoint": ["a"] * 10**6}}, {}, "", "has 1999999 characters"),
    "a variable of 2 MB": ({"config": {"Env": ["CUDA_X=" + "A" * 2_000_000]}}, {}, "", "has 2000007 characters"),
    "a size of 300 digits": ({}, {"layers": [{"size": 10**299}]}, "", "no size that could be"),
    "a platform with a line end": ({"architecture": "amd64/x\n"}, {}, "", "there is no linux/amd64 in it"),
    "a variant with a colour": ({}, {}, "v8\x1b[31m", "there is no linux/amd64 in it"),
    "a variant with half a character": ({}, {}, "\ud800", "there is no linux/amd64 in it"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ODD)
def test_what_no_lock_file_could_hold_is_refused_before_one_is_written(case: str, start: Start) -> None:
    config, manifest, variant, why = ODD[case]
    server = start(lambda asked: odd(asked, config, manifest, variant))
    with pytest.raises(RegistryError, match=why) as told:
        pin(server.address, request_s=5)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("created", ["x" * 10**6, "\ud800", "\u202e2026"])
def test_a_moment_that_is_none_is_not_kept(created: str, start: Start) -> None:
    server = start(lambda asked: odd(asked, {"created": created}, {}))
    found = pin(server.address, request_s=5)
    assert found.created == "" and parse_lock(lock_text(found), "exp.lock.yaml") == found


def test_an_answer_in_gzip_is_read_as_it_was(start: Start) -> None:
    config = image_config()
    manifest = image_manifest(config)

    def says(asked: Asked) -> None:
        body = config if "/blobs/" in asked.path else manifest
        asked.say(gzip.compress(body), Content_Encoding="gzip", Content_Type=MANIFEST)

    assert pin(start(says).address, request_s=5).digest == digest_of(manifest)


# --- who may have a stored login


OWN = [
    ("docker.io", "registry-1.docker.io", "https://auth.docker.io/token"),
    ("ghcr.io", "ghcr.io", "https://ghcr.io/token"),
    ("quay.io", "quay.io", "https://quay.io/v2/auth"),
    ("gcr.io", "gcr.io", "https://gcr.io/v2/token"),
    ("us-docker.pkg.dev", "us-docker.pkg.dev", "https://us-docker.pkg.dev/v2/token"),
    ("public.ecr.aws", "public.ecr.aws", "https://public.ecr.aws/token/"),
    ("registry.gitlab.com", "registry.gitlab.com", "https://gitlab.com/jwt/auth"),
    ("registry.example.org", "registry.example.org", "https://gitlab.example.org/jwt/auth"),
    ("gitlab.example.org:5050", "gitlab.example.org:5050", "https://gitlab.example.org/jwt/auth"),
    ("harbor.example.ac.cn", "harbor.example.ac.cn", "https://harbor.example.ac.cn/service/token"),
    ("nvcr.io", "nvcr.io", "https://nvcr.io/proxy_auth"),
    ("nvcr.io", "nvcr.io", "https://authn.nvidia.com/token"),
    ("x.azurecr.io", "x.azurecr.io", "https://x.azurecr.io/oauth2/token"),
    *(
        (name, name, f"https://{realm}.aliyuncs.com/auth")
        for name in ("registry.cn-hangzhou.aliyuncs.com", "crpi-1.cn-hangzhou.personal.cr.aliyuncs.com")
        for realm in ("dockerauth.cn-hangzhou", "dockerauth-ee.cn-beijing", "dockerauth-cn-zhangjiakou")
    ),
]
OTHERS = [
    ("docker.io", "registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
    ("docker.io", "registry-1.docker.io", "https://evil.example/auth.docker.io"),
    ("docker.io", "registry-1.docker.io", "https://auth.docker.io@evil.example/token"),
    ("docker.io", "registry-1.docker.io", "https://evil.example\\@auth.docker.io/token"),
    ("docker.io", "registry-1.docker.io", "https://evil.example#@auth.docker.io/token"),
    ("docker.io", "registry-1.docker.io", "http://auth.docker.io/token"),
    ("docker.io", "registry-1.docker.io", "https://auth.docker.io./token"),
    ("docker.io", "registry-1.docker.io", "https://authXdocker.io/token"),
    ("evil.co.uk", "evil.co.uk", "https://bank.co.uk/token"),
    ("evil.co.uk", "evil.co.uk", "https://co.uk/token"),
    ("mallory.github.io", "mallory.github.io", "https://alice.github.io/token"),
    ("x.azurecr.io", "x.azurecr.io", "https://evil.azurecr.io/token"),
    ("1.dkr.ecr.us-east-1.amazonaws.com", "1.dkr.ecr.us-east-1.amazonaws.com", "https://x.s3.amazonaws.com/"),
    (
        "registry.cn-hangzhou.aliyuncs.com",
        "registry.cn-hangzhou.aliyuncs.com",
        "https://evil.oss-cn-hangzhou.aliyuncs.com/",
    ),
    (
        "registry.cn-hangzhou.aliyuncs.com",
        "registry.cn-hangzhou.aliyuncs.com",
        "https://dockerauth.oss-cn-hangzhou.aliyuncs.com/",
    ),
    ("registry.internal", "registry.internal", "https://auth.internal/token"),
    ("registry", "registry", "https://registry:444/token"),
    ("10.0.0.5:5000", "10.0.0.5:5000", "https://10.0.0.5:6000/token"),
    ("10.0.0.5:5000", "10.0.0.5:5000", "https://10.0.0.6/token"),
    ("127.0.0.1:5000", "127.0.0.1:5000", "http://127.0.0.1:6001/token"),
    ("localhost:5000", "localhost:5000", "http://localhost:6001/token"),
    ("registry.example.org", "registry.example.org", "https://2130706433/token"),
    ("registry.example.org", "registry.example.org", "file:///etc/passwd"),
    ("registry.example.org", "registry.example.org", ""),
]


def base_of(host: str) -> str:
    return f"{'http' if host.startswith(('127.', 'localhost')) else 'https'}://{host}/v2/"


@pytest.mark.parametrize(("registry", "host", "realm"), OWN)
def test_a_registrys_own_token_server_may_have_its_login(registry: str, host: str, realm: str) -> None:
    assert may_have_login(registry, base_of(host), realm)


@pytest.mark.slow
@pytest.mark.parametrize(("registry", "host", "realm"), OTHERS)
def test_any_other_server_may_not(registry: str, host: str, realm: str) -> None:
    assert not may_have_login(registry, base_of(host), realm)


def test_a_user_may_name_a_token_server_of_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSLURM_TOKEN_SERVERS", "reg.example.org=auth.example.com, 127.0.0.1:5000=127.0.0.2,bad,x=/y")
    assert may_have_login("reg.example.org", "https://reg.example.org/v2/", "https://auth.example.com/token")
    assert not may_have_login("reg.example.org", "https://reg.example.org/v2/", "http://auth.example.com/token")
    assert not may_have_login("other.example.org", "https://other.example.org/v2/", "https://auth.example.com/token")
    assert may_have_login("127.0.0.1:5000", "http://127.0.0.1:5000/v2/", "http://127.0.0.2:9/token")
    assert not may_have_login("x", "https://x/v2/", "https://y/")


@pytest.mark.parametrize("entry", [{}, {"identitytoken": "REFRESHPASS"}])
def test_a_token_server_that_is_not_the_registrys_gets_no_login_and_only_our_scope(
    start: Start, tmp_path: Path, entry: dict[str, str]
) -> None:
    collector = start(lambda asked: asked.say(b'{"token": "t"}'))
    challenge = f'Bearer realm="http://{collector.address}/token",service="s",scope="repository:secret/other:pull,push"'

    def says(asked: Asked) -> None:
        if asked.authorization:
            asked.say(b"{}", "403 Forbidden")
        else:
            asked.say(b"{}", "401 Unauthorized", WWW_Authenticate=challenge)

    server = start(says)
    log_in(tmp_path, server.address, **entry)
    with pytest.raises(
        RegistryError, match=r"the stored login was not sent to 127\.0\.0\.1, which is not known"
    ) as told:
        pin(server.address, request_s=5)
    assert f"export TFSLURM_TOKEN_SERVERS={server.address}=127.0.0.1" in str(told.value)
    assert collector.asked == [("/token?scope=repository%3Ateam%2Ftf%3Apull&service=s", "")]
    assert [sent for _, sent in server.asked] == ["", "Bearer t"]


@pytest.mark.parametrize("entry", [{}, {"identitytoken": "REFRESHPASS"}])
@pytest.mark.parametrize(
    "query",
    [
        "scope=repository:secret/other:pull",
        "%73cope=repository:secret/other:pull&SCOPE=x",
        "service=other&account=mallory&offline_token=true",
        "x=1;scope=repository:secret/other:pull",
    ],
)
def test_a_token_server_is_asked_for_our_scope_alone_whatever_stands_in_its_address(
    start: Start, tmp_path: Path, query: str, entry: dict[str, str]
) -> None:
    def says(asked: Asked) -> None:
        if asked.path.startswith("/token"):
            asked.say(b'{"token": "t"}')
        else:
            realm = f"http://{asked.server.address}/token?tenant=7&{query}#scope"
            asked.say(b"{}", "401 Unauthorized", WWW_Authenticate=f'Bearer realm="{realm}",service="s"')

    server = start(says)
    log_in(tmp_path, server.address, **entry)
    with pytest.raises(RegistryError):
        pin(server.address, request_s=5)
    path = next(path for path, _ in server.asked if path.startswith("/token"))
    sent = parse_qs(urlsplit(path).query)
    scopes = {key: value for key, value in sent.items() if key.lower() == "scope"}
    assert sent["tenant"] == ["7"] and ";" not in path
    assert not {"account", "offline_token"} & set(sent)
    assert scopes == ({} if entry else {"scope": ["repository:team/tf:pull"]})


def test_a_redirect_of_the_token_request_is_not_followed(start: Start, tmp_path: Path) -> None:
    collector = start(lambda asked: asked.say(b'{"token": "t"}'))
    server = start(
        lambda asked: only_token(asked, lambda it: it.say(b"", "307 T", Location=f"http://{collector.address}/"))
    )
    log_in(tmp_path, server.address)
    with pytest.raises(RegistryError, match=r"a token from 127\.0\.0\.1: HTTP 307"):
        pin(server.address, request_s=5)
    assert collector.asked == []


@pytest.mark.parametrize("token", ['"a\\r\\nX: y"', '""', "7", "null", "[]", '"' + "a" * 70000 + '"', '"\\u00e9"'])
def test_a_token_that_cannot_stand_in_a_header_is_none(start: Start, token: str) -> None:
    server = start(lambda asked: only_token(asked, lambda again: again.say(f'{{"token": {token}}}'.encode())))
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1 answered without a token"):
        pin(server.address, request_s=5)


def test_basic_goes_to_the_registry_alone(start: Start, tmp_path: Path) -> None:
    collector = start(lambda asked: asked.say(b"{}", "401 U", WWW_Authenticate='Basic realm="x"'))
    server = start(lambda asked: asked.say(b"", "307 T", Location=f"http://{collector.address}/after"))
    log_in(tmp_path, server.address)
    with pytest.raises(RegistryError):
        pin(server.address, request_s=5)
    assert [sent for _, sent in collector.asked] == [""]


def test_several_challenges_are_told_apart() -> None:
    assert challenges('Basic realm="x", Bearer realm="https://a/b",service="s \\"1\\""') == {
        "basic": {"realm": "x"},
        "bearer": {"realm": "https://a/b", "service": 's "1"'},
    }
    assert challenges("Negotiate, Bearer realm=x")["bearer"] == {"realm": "x"}
    assert challenges('Negotiate abc==, bearer realm="x"')["bearer"] == {"realm": "x"}
    assert challenges('Digest realm="a, b", nonce=1, BEARER Realm="q"')["bearer"] == {"realm": "q"}
    assert challenges('Bearer, bEaReR realm="https://a/b"')["bearer"] == {"realm": "https://a/b"}
    assert challenges('Bearer realm="a", Bearer realm="b"')["bearer"] == {"realm": "a"}
    assert challenges('Hawk ts="1"; x, AWS4 a/b;c,bearer realm=q , service="s"')["bearer"] == {
        "realm": "q",
        "service": "s",
    }
    assert challenges('Digest realm="\\", Bearer realm=evil", Basic realm=y')["basic"] == {"realm": "y"}
    assert "bearer" not in challenges('Digest realm="\\", Bearer realm=evil", Basic realm=y')
    assert (challenges(""), challenges("\x00"), challenges('="x"')) == ({}, {}, {})
    for text in ("a" * 60000, "a " * 30000, "a=" * 30000, 'a="' * 20000, "\\" * 60000, "a," * 30000):
        began = time.monotonic()
        challenges(text)
        origin(f"https://{text}")
        assert time.monotonic() - began < 5
