"""Blobs and manifests are pushed, whatever a registry makes of an upload: by a stand-in (tests/fakes/registry.py).

What real registries do is tested with them, in tests/cluster/test_push.py.
"""

from __future__ import annotations

import base64
import json
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BufferedIOBase
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.fakes.registry import (
    MANIFEST,
    TOKEN,
    Answering,
    Asked,
    Registry,
    Said,
    Start,
    StartRegistry,
    digest_of,
    encoded,
    error,
    image_config,
    image_manifest,
    log_in,
    no_settings_of_this_machine,
    start,
    start_registry,
    started,
)
from tfslurm.errors import RegistryError
from tfslurm.registry import uploads
from tfslurm.registry.push import Target, Upload

__all__ = ["no_settings_of_this_machine", "start", "start_registry"]
BLOB = os.urandom(300_000)
DIGEST = digest_of(BLOB)
NAME = "team/tf"
BASE = f"/v2/{NAME}"
Reading: TypeAlias = Callable[[int], Iterator[bytes]]


def reading(blob: bytes, size: int = 70_000) -> Reading:
    """The pieces of a blob from a place on."""
    return lambda offset: (blob[at : at + size] for at in range(offset, len(blob), size))


def target(registry: Registry, repository: str = NAME, waits: list[float] | None = None) -> Target:
    return Target(f"{registry.address}/{repository}", pause=(waits if waits is not None else []).append)


def push(registry: Registry, blob: bytes = BLOB, **more: object) -> None:
    with target(registry) as there:
        there.push_blob(digest_of(blob), len(blob), reading(blob), **more)  # type: ignore[arg-type]


def refused(registry: Registry, blob: bytes = BLOB) -> str:
    with pytest.raises(RegistryError) as caught:
        push(registry, blob)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def asked(registry: Registry) -> list[str]:
    return [one.method for one in registry.asked if one.path != "/v2/"]


def refusing(method: str, said: Said, times: int = 1) -> Answering:
    """A guard that refuses a method so often."""
    left = [times]

    def guard(asked: Asked) -> Said:
        if asked.method != method or left[0] <= 0:
            return Said(200)
        left[0] -= 1
        return said

    return guard


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 100 000 bytes in place of 32 MiB."""
    monkeypatch.setattr(uploads, "PIECE", 100_000)
    monkeypatch.setattr(uploads, "SMALL_PIECE", 20_000)


# --- blobs


def test_a_blob_that_is_there_is_found_by_its_head_alone(start_registry: StartRegistry) -> None:
    registry = start_registry()
    with target(registry) as there:
        assert not there.has_blob(DIGEST, len(BLOB))
        registry.blobs[NAME, DIGEST] = BLOB
        assert there.has_blob(DIGEST, len(BLOB)) and there.has_blob(DIGEST)
        with pytest.raises(RegistryError, match=r"says that it has '300000' bytes of it, and it has 7; do not use"):
            there.has_blob(DIGEST, 7)
    assert {one.method for one in registry.asked if one.path != "/v2/"} == {"HEAD"}


def test_a_small_blob_goes_in_one_piece_as_docker_sends_it_and_is_read_back(start_registry: StartRegistry) -> None:
    registry = start_registry()
    push(registry)
    assert registry.blobs == {(NAME, DIGEST): BLOB}
    assert asked(registry) == ["POST", "PATCH", "PUT", "GET"]
    patch = registry.asked[1]
    assert patch.headers["Content-Length"] == str(len(BLOB)) and patch.headers["Content-Range"] is None
    assert registry.asked[2].query == {"s": "1", "digest": DIGEST}


def test_a_push_is_asked_for_and_leaves_no_upload(start_registry: StartRegistry) -> None:
    registry = start_registry()
    with target(registry) as there:
        there.ask_to_push()
    assert asked(registry) == ["POST", "DELETE"] and not registry.uploads and not registry.blobs


@pytest.mark.parametrize(
    ("claims", "begins"),
    [
        ({"access": [{"type": "repository", "name": NAME, "actions": ["pull", "push"]}]}, False),
        ({"access": [{"type": "repository", "name": NAME, "actions": ["pull"]}]}, True),
        ({"access": [{"type": "repository", "name": "other/tf", "actions": ["push"]}]}, True),
        ({"access": [7]}, True),
        ({"access": {"name": NAME}}, True),
        ({}, True),
        (None, True),
    ],
)
def test_a_token_that_names_the_right_to_push_is_answer_enough(
    start_registry: StartRegistry, claims: object, begins: bool
) -> None:
    registry = start_registry()
    words = [b"{}", json.dumps(claims).encode(), b"signed"]
    token = ".".join(base64.urlsafe_b64encode(word).decode().rstrip("=") for word in words)
    token = token if claims is not None else "opaque"
    registry.paths["/token"] = Said(200, json.dumps({"token": token}).encode())
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="s"'}

    def guard(one: Asked) -> Said:
        is_open = one.path.startswith("/token") or one.headers["Authorization"] == f"Bearer {token}"
        return Said(200) if is_open else Said(401, headers=challenge)

    registry.guard = guard
    with target(registry) as there:
        there.ask_to_push(by_token=True)
    assert ("POST" in asked(registry)) is begins


@pytest.mark.parametrize("redirects", [False, True], ids=["its-upload-is-there", "it-redirects-there"])
def test_a_registry_cannot_have_anything_deleted_elsewhere(start_registry: StartRegistry, redirects: bool) -> None:
    registry, elsewhere = start_registry(), start_registry()
    there_too = {"Location": f"{elsewhere.url}/indices"}
    method, said = ("DELETE", Said(307, headers=there_too)) if redirects else ("POST", Said(202, headers=there_too))
    registry.lies = [lambda one, honest: said if one.method == method else honest]
    with target(registry) as there:
        there.ask_to_push()
    assert not elsewhere.asked and ("DELETE" in asked(registry)) is redirects


def test_a_registry_that_cannot_cancel_an_upload_takes_a_push_all_the_same(start_registry: StartRegistry) -> None:
    registry = start_registry()
    registry.guard = refusing("DELETE", error(405, "UNSUPPORTED", "not here"))
    with target(registry) as there:
        there.ask_to_push()
    assert asked(registry) == ["POST", "DELETE"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error(403, "DENIED", "no"), "HTTP 403 DENIED: no; nobody has the right to push there without a login"),
        (error(404, "NAME_UNKNOWN", "no"), "HTTP 404 NAME_UNKNOWN: no; create that repository or project there"),
        (error(405, "UNSUPPORTED", "no"), "HTTP 405 UNSUPPORTED: no; it is read-only, or keeps only copies"),
        (Said(202, headers={"Location": "ftp://elsewhere/"}), "a push: "),
    ],
)
def test_a_push_that_is_refused_is_told_when_it_is_asked_for(
    start_registry: StartRegistry, said: Said, words: str
) -> None:
    registry = start_registry()
    registry.guard = lambda one: said if one.method == "POST" else Said(200)
    if said.status == 202:
        registry.guard, registry.lies = None, [lambda one, honest: said if one.method == "POST" else honest]
    with pytest.raises(RegistryError) as caught, target(registry) as there:
        there.ask_to_push()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_one_goes_in_pieces_each_of_which_is_told(start_registry: StartRegistry) -> None:
    registry, kept = start_registry(), list[Upload]()
    push(registry, keep=kept.append)
    ranges = [one.headers["Content-Range"] for one in registry.asked if one.method == "PATCH"]
    assert ranges == ["0-99999", "100000-199999", "200000-299999"]
    assert [one.offset for one in kept] == [100_000, 200_000, 300_000]
    assert registry.blobs[NAME, DIGEST] == BLOB


@pytest.mark.usefixtures("small_pieces")
def test_an_upload_of_an_earlier_call_is_continued_or_begun_again_where_it_went_away(
    start_registry: StartRegistry,
) -> None:
    registry, kept = start_registry(), list[Upload]()
    registry.guard = lambda one: Said(500 if "200000" in str(one.headers["Content-Range"]) else 200)
    with pytest.raises(RegistryError, match="HTTP 500"):
        push(registry, keep=kept.append)
    registry.guard, registry.asked = None, []
    push(registry, begun=kept[-1])
    assert asked(registry) == ["GET", "PATCH", "PUT", "GET"] and registry.blobs[NAME, DIGEST] == BLOB
    registry.asked, gone = [], kept[-1]._replace(location=f"{registry.url}{BASE}/blobs/uploads/gone")
    push(registry, begun=gone)
    assert asked(registry) == ["GET", "POST", "PATCH", "PATCH", "PATCH", "PUT", "GET"]


@pytest.mark.parametrize("status", [404, 416, 500, 503])
@pytest.mark.usefixtures("small_pieces")
def test_a_piece_that_fails_is_sent_again(start_registry: StartRegistry, status: int) -> None:
    registry, waits = start_registry(), list[float]()
    registry.guard = refusing("PUT", error(500, "X", "x"))
    failed = list[int]()

    def lie(one: Asked, said: Said) -> Said:
        if str(one.headers["Content-Range"]).startswith("100000") and not failed:
            failed.append(1)
            del registry.uploads["u0"][100_000:]
            if status == 404:
                del registry.uploads["u0"]
            return error(status, "X", "x")
        return said

    registry.lies = [lie]
    with target(registry, waits=waits) as there:
        there.push_blob(DIGEST, len(BLOB), reading(BLOB))
    assert registry.blobs[NAME, DIGEST] == BLOB
    assert waits[0] == 1 and len(waits) <= 3


@pytest.mark.usefixtures("small_pieces")
def test_a_202_with_a_shorter_range_is_continued_from_there(start_registry: StartRegistry) -> None:
    registry, short = start_registry(), list[int]()

    def lie(one: Asked, said: Said) -> Said:
        if one.method == "PATCH" and not short:
            short.append(1)
            del registry.uploads["u0"][40_000:]
            return replace(said, headers=said.headers | {"Range": "bytes=0-39999"})
        return said

    registry.lies = [lie]
    push(registry)
    ranges = [one.headers["Content-Range"] for one in registry.asked if one.method == "PATCH"]
    assert ranges[:2] == ["0-99999", "40000-139999"] and registry.blobs[NAME, DIGEST] == BLOB


@pytest.mark.parametrize("status", [400, 405, 413, 416, 501])
@pytest.mark.usefixtures("small_pieces")
def test_a_registry_that_takes_no_pieces_gets_the_whole(start_registry: StartRegistry, status: int) -> None:
    registry = start_registry()
    registry.lies = [lambda one, said: error(status, "X", "no") if one.headers["Content-Range"] else said]
    push(registry)
    assert registry.blobs[NAME, DIGEST] == BLOB


@pytest.mark.usefixtures("small_pieces")
def test_a_registry_that_takes_little_at_once_gets_small_pieces(start_registry: StartRegistry) -> None:
    registry = start_registry()
    registry.lies = [lambda one, said: error(413, "X", "large") if len(one.body) > 20_000 else said]
    push(registry)
    assert registry.blobs[NAME, DIGEST] == BLOB
    assert {len(one.body) for one in registry.asked if one.method == "PATCH"} == {100_000, 300_000, 20_000}


@pytest.mark.usefixtures("small_pieces")
def test_no_piece_but_the_last_is_smaller_than_the_registry_wants(start_registry: StartRegistry) -> None:
    registry = start_registry()
    registry.lies = [
        lambda one, said: (
            replace(said, headers=said.headers | {"OCI-Chunk-Min-Length": "170000"}) if one.method == "POST" else said
        )
    ]
    push(registry)
    assert [len(one.body) for one in registry.asked if one.method == "PATCH"] == [170_000, 130_000]


def test_what_a_location_may_be(start_registry: StartRegistry, start: Start) -> None:
    """Relative, whole, with a query or without, and on another host, which gets the bytes and no login."""
    registry, other = start_registry(), start("127.0.0.2")
    log_in(registry.address, auth=encoded("alice", "secret"))
    asks = error(401, "UNAUTHORIZED", "x", WWW_Authenticate='Basic realm="x"')
    registry.guard = lambda one: Said(200) if one.headers["Authorization"] else asks
    received = list[bytes]()

    def store(one: Asked) -> Said:
        received.append(one.body)
        registry.blobs[NAME, DIGEST] = b"".join(received)
        return Said(201 if one.method == "PUT" else 202)

    other.paths["/put/here"] = store
    for place in (f"{registry.url}{BASE}/blobs/uploads/u0", "u1", f"{other.url}/put/here?signed=yes"):
        headers = {"Location": place}
        registry.lies = [lambda one, said, to=headers: replace(said, headers=to) if one.method == "POST" else said]  # type: ignore[misc]
        registry.blobs.clear()
        registry.lies.append(lambda one, said: replace(said, headers={}) if one.method == "PATCH" else said)
        push(registry)
        assert registry.blobs[NAME, DIGEST] == BLOB
    assert [one.headers["Authorization"] for one in other.asked] == [None, None]
    assert other.asked[1].query == {"signed": "yes", "digest": DIGEST}


def test_nothing_is_kept_of_bytes_that_their_digest_does_not_name(start_registry: StartRegistry) -> None:
    registry = start_registry()
    with target(registry) as there:
        for bytes_, why in (
            (BLOB[:-1] + b"!", r"the bytes to be pushed have the digest sha256:\w+; do not use this source"),
            (BLOB[:-1], "its source ended after 299999 of 300000 bytes"),
        ):
            with pytest.raises(RegistryError, match=why):
                there.push_blob(DIGEST, len(BLOB), reading(bytes_))
    assert not registry.blobs and "PUT" not in asked(registry)


def test_a_source_that_fails_or_is_interrupted_ends_the_push(start_registry: StartRegistry) -> None:
    registry = start_registry()

    def failing(failure: BaseException) -> Reading:
        def read(offset: int) -> Iterator[bytes]:
            yield BLOB[:1000]
            raise failure

        return read

    with target(registry) as there:
        for failure in (RegistryError("the source is gone"), KeyboardInterrupt(), OSError(5, "Input/output error")):
            with pytest.raises(RegistryError if isinstance(failure, OSError) else type(failure)):
                there.push_blob(DIGEST, len(BLOB), failing(failure))
        assert not registry.blobs
        there.push_blob(DIGEST, len(BLOB), reading(BLOB))
    assert registry.blobs[NAME, DIGEST] == BLOB


@pytest.mark.parametrize("method", ["PATCH", "PUT", ""])
def test_a_source_is_left_when_the_push_ends_however_it_ends(start_registry: StartRegistry, method: str) -> None:
    """It may be a connection to another registry; the error of the push, which is kept here, keeps it else."""
    registry, at, left = start_registry(), list[int](), list[int]()
    registry.guard = refusing(method, error(507, "X", "no space left"))

    def read(offset: int) -> Iterator[bytes]:
        at.append(offset)
        try:
            yield from reading(BLOB)(offset)
        finally:
            left.append(offset)

    with target(registry) as there:
        failure = None
        try:
            there.push_blob(DIGEST, len(BLOB), read)
        except RegistryError as refusal:
            failure = refusal
        assert bool(failure) == bool(method)
        assert left == at == [0]


class Sink(Registry):
    """A registry that says that it has everything, and keeps nothing."""

    size = 0

    def received(self, sent: BufferedIOBase, size: int) -> bytes:
        for left in range(size, 0, -(2**16)):
            self.size += len(sent.read(min(left, 2**16)))
        return b""

    def as_a_registry(self, asked: Asked, path: str) -> Said:
        statuses = {"POST": 202, "PATCH": 202, "PUT": 201}
        if asked.method == "HEAD":
            return Said(200, headers={"Content-Length": str(self.size)}, size=1)
        return Said(statuses[asked.method], headers={"Location": "u0"})


@pytest.fixture
def start_sink() -> Iterator[Callable[..., Sink]]:
    yield from started(Sink)


@pytest.mark.slow
def test_a_blob_of_any_size_costs_little_memory(start_sink: Callable[..., Sink]) -> None:
    registry, piece, size = start_sink(), bytes(2**20), 96 * 2**20
    digest = digest_of(piece * 96)
    tracemalloc.start()
    with target(registry) as there:
        there.push_blob(digest, size, lambda offset: (piece for _ in range(offset, size, 2**20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert registry.size == size and peak < 8 * 2**20


def test_an_empty_blob_and_one_of_one_byte(start_registry: StartRegistry) -> None:
    registry = start_registry()
    for blob in (b"", b"x"):
        push(registry, blob)
        assert registry.blobs[NAME, digest_of(blob)] == blob


# --- mounts


def test_a_blob_of_another_repository_is_mounted(start_registry: StartRegistry) -> None:
    registry = start_registry()
    registry.blobs["base/tf", DIGEST] = BLOB
    with target(registry) as there:
        assert there.mount_blob(DIGEST, len(BLOB), "base/tf")
    assert asked(registry) == ["POST", "HEAD"] and registry.asked[0].query == {"mount": DIGEST, "from": "base/tf"}
    assert registry.blobs[NAME, DIGEST] == BLOB


def test_a_mount_that_is_none_begins_the_upload_that_the_push_uses(start_registry: StartRegistry) -> None:
    registry = start_registry()
    with target(registry) as there:
        assert not there.mount_blob(DIGEST, len(BLOB), "base/tf")
        there.push_blob(DIGEST, len(BLOB), reading(BLOB))
    assert asked(registry).count("POST") == 1 and registry.blobs[NAME, DIGEST] == BLOB


def test_the_token_of_a_mount_may_read_the_other_repository_and_a_refusal_of_it_is_no_end(
    start_registry: StartRegistry,
) -> None:
    registry = start_registry()
    scopes = list[list[str]]()

    def guard(one: Asked) -> Said:
        if one.path.startswith("/token"):
            scopes.append([value for key, value in parse_qsl(urlsplit(one.path).query) if key == "scope"])
            return error(403, "DENIED", "no") if "secret" in one.path else Said(200)
        challenge = f'Bearer realm="{registry.url}/token",service="s"'
        right = one.headers["Authorization"] == f"Bearer {TOKEN}"
        return Said(200) if right else error(401, "UNAUTHORIZED", "x", WWW_Authenticate=challenge)

    registry.guard = guard
    registry.paths["/token"] = Said(200, json.dumps({"token": TOKEN}).encode())
    registry.blobs["base/tf", DIGEST] = BLOB
    with target(registry) as there:
        assert there.mount_blob(DIGEST, len(BLOB), "base/tf")
        assert not there.mount_blob(DIGEST, len(BLOB), "secret/tf")
    own = f"repository:{NAME}:pull,push"
    assert scopes[0] == [own, "repository:base/tf:pull"] and [own] in scopes


# --- manifests


def image_in(registry: Registry) -> bytes:
    config = image_config()
    registry.blobs[NAME, digest_of(config)] = config
    return image_manifest(config, layers=[])


def test_a_manifest_is_stored_and_what_is_served_then_is_compared(start_registry: StartRegistry) -> None:
    registry = start_registry()
    manifest = image_in(registry)
    digest = digest_of(manifest)
    with target(registry) as there:
        assert there.manifest_digest("1") == ""
        assert there.push_manifest(manifest, MANIFEST, "1") == digest
        assert there.manifest_digest("1") == there.manifest_digest(digest) == digest
        with pytest.raises(RegistryError, match=r"the manifest to be pushed is sha256"):
            there.push_manifest(manifest + b" ", MANIFEST, digest)
    assert [one.method for one in registry.asked if "manifests" in one.path] == ["HEAD", "PUT", "GET", "HEAD", "HEAD"]
    assert registry.manifests[NAME, "1"] == (manifest, MANIFEST)


def test_a_registry_that_names_no_digest_is_asked_for_the_bytes(start_registry: StartRegistry) -> None:
    registry = start_registry()
    manifest = image_in(registry)
    registry.manifests[NAME, "1"] = manifest, MANIFEST
    registry.lies = [lambda one, said: replace(said, headers={"Content-Type": MANIFEST})]
    with target(registry) as there:
        assert there.manifest_digest("1") == digest_of(manifest)
        registry.manifests[NAME, digest_of(b"other")] = manifest, MANIFEST
        with pytest.raises(RegistryError, match=r"Docker-Content-Digest header says .* for sha256:"):
            there.manifest_digest(digest_of(b"other"))
        registry.guard = refusing("HEAD", error(403, "DENIED", "no"), 9)
        with pytest.raises(RegistryError, match="HTTP 403"):
            there.manifest_digest("1")


def test_a_manifest_without_its_blobs_is_refused_in_the_registrys_words(start_registry: StartRegistry) -> None:
    with target(start_registry()) as there, pytest.raises(RegistryError, match="HTTP 400 MANIFEST_BLOB_UNKNOWN"):
        there.push_manifest(image_manifest(image_config(), layers=[]), MANIFEST, "1")


# --- refusals


FULL = "its disk, a quota, or its limit of one upload is reached: delete images there, or ask who runs it"
REFUSALS: dict[str, tuple[Said, str]] = {
    "401": (error(401, "UNAUTHORIZED", "x"), "nobody has the right to push there without a login: `docker login HOST`"),
    "403": (error(403, "DENIED", "x"), "nobody has the right to push there without a login"),
    "404": (error(404, "NAME_UNKNOWN", "x"), "create that repository or project there, or correct the name"),
    "405": (error(405, "UNSUPPORTED", "x"), "it is read-only, or keeps only copies of another registry"),
    "413": (error(413, "SIZE_INVALID", "x"), FULL),
    "507": (error(507, "X", "x"), FULL),
    "quota": (error(403, "DENIED", "will exceed the configured upper limit"), FULL),
    "no space": (Said(500, b'{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Err":28}}]}'), FULL),
    "429": (error(429, "TOOMANYREQUESTS", "x", Retry_After="3600"), "its rate limit is reached: try again in 3600 s"),
    "503": (error(503, "UNAVAILABLE", "x"), "try again later, or name a mirror"),
}


@pytest.mark.parametrize(("said", "why"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_one_line_with_what_to_do(start_registry: StartRegistry, said: Said, why: str) -> None:
    registry = start_registry()
    registry.lies = [lambda one, honest: said if one.method == "POST" else honest]
    assert why.replace("HOST", registry.address) in refused(registry)
    assert not registry.blobs


def test_a_login_without_the_right_is_named(start_registry: StartRegistry) -> None:
    registry = start_registry()
    log_in(registry.address, auth=encoded("alice", "secret"))
    asks = error(401, "UNAUTHORIZED", "x", WWW_Authenticate='Basic realm="x"')
    registry.guard = lambda one: error(403, "DENIED", "secret") if one.headers["Authorization"] else asks
    message = refused(registry)
    assert "HTTP 403 DENIED: ***; the stored login alice has no right to push there: `docker login 127.0.0.1" in message


def test_a_short_wait_that_a_rate_limit_asks_for_is_waited_and_no_more_than_three(
    start_registry: StartRegistry,
) -> None:
    registry, waits = start_registry(), list[float]()
    registry.guard = refusing("PATCH", error(429, "TOOMANYREQUESTS", "x", Retry_After="7"), 2)
    with target(registry, waits=waits) as there:
        there.push_blob(DIGEST, len(BLOB), reading(BLOB))
        assert waits == [7, 7] and registry.blobs
        registry.guard = refusing("HEAD", error(429, "TOOMANYREQUESTS", "x", Retry_After="1"), 99)
        with pytest.raises(RegistryError, match="try again in 1 s"):
            there.has_blob(DIGEST)
    assert waits[2:] == [1, 1, 1]


@pytest.mark.parametrize("entry", ["auth", "identitytoken"])
def test_a_token_for_a_push_is_asked_for_with_the_login_and_got_again_when_it_ends(
    start_registry: StartRegistry, entry: str
) -> None:
    registry, given = start_registry(), list[str]()

    def guard(one: Asked) -> Said:
        if one.path.startswith("/token"):
            sent = dict(parse_qsl(one.body.decode())) or one.query
            right = one.headers["Authorization"] == f"Basic {encoded('alice', 'secret')}"
            assert right or sent["refresh_token"] == "identity-secret"
            assert sent["scope"] == f"repository:{NAME}:pull,push"
            given.append(f"token{len(given)}")
            return Said(200)
        asks = f'Bearer realm="{registry.url}/token",service="s"'
        ended = one.method == "PATCH" and len(given) < 2
        right = bool(given) and one.headers["Authorization"] == f"Bearer {given[-1]}" and not ended
        return Said(200) if right else error(401, "UNAUTHORIZED", "x", WWW_Authenticate=asks)

    registry.guard = guard
    registry.paths["/token"] = lambda _: Said(200, json.dumps({"token": given[-1]}).encode())
    log_in(registry.address, **{entry: encoded("alice", "secret") if entry == "auth" else "identity-secret"})
    push(registry)
    assert registry.blobs[NAME, DIGEST] == BLOB and len(given) == 2


def test_no_secret_is_in_a_message_of_a_push(start_registry: StartRegistry) -> None:
    registry = start_registry()
    log_in(registry.address, auth=encoded("alice", "hunter2-secret"))
    asks = error(401, "UNAUTHORIZED", "x", WWW_Authenticate='Basic realm="x"')
    registry.guard = lambda one: (
        error(403, "DENIED", one.headers["Authorization"]) if one.headers["Authorization"] else asks
    )
    assert not re.search("hunter2|" + re.escape(encoded("alice", "hunter2-secret")), refused(registry))
