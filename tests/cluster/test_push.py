"""Pushes to real registries (docker-registry): open, with a password, with tokens, read-only, full."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.registry import (
    MANIFEST,
    Asked,
    Said,
    StandIn,
    Start,
    digest_of,
    image_config,
    image_manifest,
    no_settings_of_this_machine,
    start,
)
from tfslurm.errors import RegistryError
from tfslurm.image import parse_reference
from tfslurm.registry import resolve, uploads
from tfslurm.registry.ping import takes_a_push
from tfslurm.registry.push import Target, Upload

from .own_registries import PASSWORD, USER, TokenServer, docker_config, htpasswd, serve

__all__ = ["no_settings_of_this_machine", "start"]
LAYER = os.urandom(700_000)
DIGEST = digest_of(LAYER)
TEAM, BASE, SECRET = "team/tf", "base/tf", "secret/tf"


def reading(blob: bytes) -> Callable[[int], Iterator[bytes]]:
    return lambda offset: (blob[at : at + 2**16] for at in range(offset, len(blob), 2**16))


def push_image(name: str, tag: str = "1") -> str:
    """A config and a layer, and then their manifest; its digest comes out."""
    config = image_config()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": len(LAYER)}
    manifest = image_manifest(config, layers=[layer])
    with Target(name, pause=list[float]().append) as target:
        for blob in (config, LAYER):
            if not target.has_blob(digest_of(blob), len(blob)):
                target.push_blob(digest_of(blob), len(blob), reading(blob))
        return target.push_manifest(manifest, MANIFEST, tag)


def is_pushed(name: str, tag: str = "1") -> None:
    digest = push_image(name, tag)
    assert resolve(parse_reference(f"{name}:{tag}"), {}, "linux/amd64", "2026-11-23T08:00:00Z").digest == digest


def refused(name: str) -> str:
    with pytest.raises(RegistryError) as caught:
        push_image(name)
    assert "\n" not in str(caught.value) and PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("locked")
    yield from serve(folder, htpasswd(folder))


def log_in(address: str, user: str = USER, password: str = PASSWORD) -> None:
    docker_config(Path(os.environ["DOCKER_CONFIG"]), address, password, user)


def test_an_image_is_pushed_and_pinned_and_what_is_there_is_not_sent_again(open_registry: str) -> None:
    is_pushed(f"{open_registry}/{TEAM}")
    with Target(f"{open_registry}/{TEAM}") as target:
        assert target.has_blob(DIGEST, len(LAYER)) and not target.has_blob("sha256:" + "0" * 64)
        assert target.manifest_digest("1") and target.manifest_digest("none") == ""


def test_a_blob_is_mounted_and_one_that_is_not_there_is_pushed(open_registry: str) -> None:
    push_image(f"{open_registry}/{BASE}")
    with Target(f"{open_registry}/mounted/tf") as target:
        assert target.mount_blob(DIGEST, len(LAYER), BASE)
        other = os.urandom(1000)
        assert not target.mount_blob(digest_of(other), len(other), BASE)
        target.push_blob(digest_of(other), len(other), reading(other))
        assert target.has_blob(digest_of(other), len(other))


def test_an_upload_that_was_killed_is_continued_after_its_last_piece(
    open_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE", 200_000)
    kept, read_from, blob = list[Upload](), list[int](), os.urandom(700_000)

    def killed(upload: Upload) -> None:
        kept.append(upload)
        if upload.offset == 400_000:
            raise KeyboardInterrupt

    def read(offset: int) -> Iterator[bytes]:
        read_from.append(offset)
        return reading(blob)(offset)

    with Target(f"{open_registry}/killed/tf") as target, pytest.raises(KeyboardInterrupt):
        target.push_blob(digest_of(blob), len(blob), read, keep=killed)
    with Target(f"{open_registry}/killed/tf") as target:
        assert not target.has_blob(digest_of(blob))
        target.push_blob(digest_of(blob), len(blob), read, begun=kept[-1])
        assert target.has_blob(digest_of(blob), len(blob))
    assert read_from == [0, 400_000]


def test_a_request_that_broke_off_is_begun_again(open_registry: str) -> None:
    blob, read_from = os.urandom(700_000), list[int]()

    def cut_once(offset: int) -> Iterator[bytes]:
        read_from.append(offset)
        yield blob[offset : offset + 300_000]
        if len(read_from) == 1:
            raise RegistryError("its source broke off", transient=True)
        yield blob[offset + 300_000 :]

    with Target(f"{open_registry}/cut/tf", pause=list[float]().append) as target:
        target.push_blob(digest_of(blob), len(blob), cut_once)
        assert target.has_blob(digest_of(blob), len(blob))
    assert read_from == [0, 0]


def test_a_password_opens_a_registry_and_a_wrong_one_is_told(locked_registry: str) -> None:
    name = f"{locked_registry}/{TEAM}"
    assert f"nobody has the right to push there without a login: `docker login {locked_registry}`" in refused(name)
    log_in(locked_registry, password="wrong")
    assert "the stored login alice has no right to push there" in refused(name)
    log_in(locked_registry)
    is_pushed(name)


def test_a_credential_helper_has_the_login_for_a_push(
    locked_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\nread -r asked\n[ \"$asked\" = {locked_registry} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    config.write_text(json.dumps({"credHelpers": {locked_registry: "test"}}))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    is_pushed(f"{locked_registry}/{TEAM}", "by-helper")


@contextmanager
def with_tokens(start: Start, folder: Path) -> Iterator[tuple[str, TokenServer]]:
    """A registry that wants tokens, whose server is on another port: its login is named as the user may name it."""
    both = {"pull", "push"}
    rights = {USER: {TEAM: both, BASE: both}, "bob": {TEAM: {"pull"}}, "": {TEAM: {"pull"}}}
    tokens, server = TokenServer(folder, rights), start("127.0.0.2")
    server.paths["/token"] = tokens
    for address in serve(folder, tokens.auth(f"{server.url}/token")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TFSLURM_TOKEN_SERVERS", f"{address}=127.0.0.2")
            yield address, tokens


def test_tokens_are_for_what_is_pushed_or_mounted_and_for_no_more(start: Start, tmp_path: Path) -> None:
    with with_tokens(start, tmp_path) as (address, tokens):
        name = f"{address}/{TEAM}"
        assert "HTTP 401" in refused(name) and "without a login" in refused(name)
        log_in(address, "bob")
        assert "the stored login bob has no right to push there" in refused(name)
        log_in(address)
        is_pushed(name)
        identity = {"auths": {address: {"identitytoken": f"of-{USER}"}}}
        (Path(os.environ["DOCKER_CONFIG"]) / "config.json").write_text(json.dumps(identity))
        is_pushed(name, "by-identity-token")
        push_image(f"{address}/{BASE}")
        log_in(address)
        with Target(name) as target:
            assert target.mount_blob(DIGEST, len(LAYER), BASE)
            assert not target.mount_blob(digest_of(b"x"), 1, SECRET)
            target.push_blob(digest_of(b"x"), 1, reading(b"x"))
    assert [f"repository:{TEAM}:pull,push", f"repository:{BASE}:pull"] in tokens.scopes
    assert {scope.partition(":")[2].partition(":")[0] for scopes in tokens.scopes for scope in scopes} == {
        TEAM, BASE, SECRET,
    }  # fmt: skip


def asked_to_push(name: str) -> str:
    """Why a push is refused when it is asked for; '' where it is not."""
    try:
        with Target(name) as target:
            target.ask_to_push()
    except RegistryError as error:
        return str(error)
    return ""


def test_the_right_to_push_is_known_before_a_push_and_nothing_of_the_question_is_listed(
    start: Start, locked_registry: str, tmp_path: Path
) -> None:
    with with_tokens(start, tmp_path) as (address, _):
        name = f"{address}/{TEAM}"
        assert "a push: HTTP 401" in asked_to_push(name)
        log_in(address, "bob")
        assert "the stored login bob has no right to push there" in asked_to_push(name)
        log_in(address)
        assert asked_to_push(name) == ""
        takes_a_push(name)
        with pytest.raises(RegistryError, match=r"a push: HTTP 401 .*the stored login alice has no right to push"):
            takes_a_push(f"{address}/{SECRET}")
        assert "no right to push" in asked_to_push(f"{address}/{SECRET}")
    log_in(locked_registry)
    assert asked_to_push(f"{locked_registry}/never/there") == ""
    takes_a_push(f"{locked_registry}/never/there")
    connection = http.client.HTTPConnection(locked_registry, timeout=30)
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    connection.request("GET", "/v2/_catalog", headers={"Authorization": f"Basic {pair}"})
    listed = connection.getresponse().read()
    connection.close()
    assert b"repositories" in listed and b"never/there" not in listed


def in_front(server: StandIn, address: str, change: Callable[[Asked, Said], Said]) -> None:
    """A proxy (a stand-in) before a real registry, which changes its answers."""

    def forward(asked: Asked) -> Said:
        connection = http.client.HTTPConnection(address, timeout=30)
        headers = {key: value for key, value in asked.headers.items() if key.lower() not in ("host", "connection")}
        connection.request(asked.method, asked.path, asked.body, headers | {"Host": server.address})
        answer = connection.getresponse()
        dropped = ("connection", "content-length", "date", "server")
        kept = {key: value for key, value in answer.getheaders() if key.lower() not in dropped}
        said = Said(answer.status, answer.read(), kept)
        connection.close()
        if asked.method == "HEAD":
            said = Said(said.status, b"", {**kept, "Content-Length": answer.headers["Content-Length"] or "0"}, 1)
        return change(asked, said)

    server.answer = forward  # type: ignore[method-assign]


def test_several_challenges_and_redirects_before_a_real_registry(start: Start, locked_registry: str) -> None:
    front, asked = start("127.0.0.3"), list[Asked]()

    def change(one: Asked, said: Said) -> Said:
        asked.append(one)
        if said.status == 401:
            several = 'Negotiate abc==, Digest realm="a, b", nonce="x", Basic realm="test"'
            return replace(said, headers={**said.headers, "Www-Authenticate": several})
        if one.method == "GET" and "/blobs/" in one.path and said.status == 200 and "moved" not in one.path:
            return Said(307, headers={"Location": f"{one.path}?moved=1"})
        return said

    in_front(front, locked_registry, change)
    log_in(front.address)
    is_pushed(f"{front.address}/front/tf")
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert {one.headers["Authorization"] for one in asked if one.path != "/v2/"} == {None, f"Basic {pair}"}
    assert any("moved" in one.path for one in asked)


def test_a_registry_that_is_read_only_or_a_cache_of_another_says_so(open_registry: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for address in serve(tmp_path / "a", storage="maintenance: {readonly: {enabled: true}}"):
        assert "it is read-only, or keeps only copies of another registry" in refused(f"{address}/{TEAM}")
    for address in serve(tmp_path / "b", f"proxy: {{remoteurl: 'http://{open_registry}'}}\n"):
        assert "it is read-only, or keeps only copies of another registry" in refused(f"{address}/{TEAM}")


def test_a_registry_without_room_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    """Its disk is a file system of its own, of 512 KiB."""
    (tmp_path / "data").mkdir()
    mounted = ["mount", "--types=tmpfs", "--options=size=512k", "tmpfs", str(tmp_path / "data")]
    subprocess.run(mounted, check=True)
    try:
        for address in serve(tmp_path):
            assert "its disk, a quota, or its limit of one upload is reached" in refused(f"{address}/{TEAM}")
            with Target(f"{address}/{TEAM}") as target:
                assert target.manifest_digest("1") == ""
    finally:
        subprocess.run(["umount", str(tmp_path / "data")], check=True)
