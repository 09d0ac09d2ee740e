"""How an image is resolved, against stand-ins for registries (tests/fakes/registry.py).

What a real registry does is tested with one, in tests/cluster/test_registry.py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes.registry import (
    CONFIG,
    INDEX,
    LIST,
    MANIFEST,
    NOW,
    SCHEMA_2,
    TOKEN,
    Asked,
    Said,
    StandIn,
    Start,
    ask,
    digest_of,
    encoded,
    error,
    guarded,
    image_config,
    image_manifest,
    log_in,
    no_settings_of_this_machine,
    reference,
    refusal,
    serve_image,
    start,
)
from tfslurm.errors import InputError, RegistryError
from tfslurm.image import parse_reference
from tfslurm.registry import pin_local_image, resolve
from tfslurm.registry.documents import Unreadable, choose

__all__ = ["no_settings_of_this_machine", "start"]


def test_all_four_kinds_of_manifest_are_asked_for_and_nothing_is_sent_that_was_not_asked(start: Start) -> None:
    registry = start()
    digest = serve_image(registry)
    pin = ask(registry)
    assert (pin.digest, pin.size_bytes) == (digest, 7 + len(image_config()))
    first, *_ = registry.asked
    assert set(first.headers["Accept"].split(", ")) == {INDEX, MANIFEST, LIST, SCHEMA_2}
    assert first.headers["User-Agent"].startswith("tfslurm/")
    assert all(one.headers["Authorization"] is None for one in registry.asked)
    assert [one.method for one in registry.asked] == ["GET", "GET"]


# The token dance, as Docker Hub does it.


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_an_anonymous_token_is_asked_for_once_with_service_and_scope(start: Start, key: str) -> None:
    def give(asked: Asked) -> Said:
        assert asked.query == {"service": "registry.example", "scope": "repository:team/tf:pull"}
        assert asked.headers["Authorization"] is None
        return Said(200, json.dumps({key: TOKEN}).encode())

    registry, tokens = guarded(start, give)
    assert ask(registry).tag == "1"
    assert len(tokens.asked) == 1
    assert [one.headers["Authorization"] for one in registry.asked] == [None, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]


def test_a_stored_login_goes_to_the_token_server_and_only_there(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(asked: Asked) -> Said:
        right = asked.headers["Authorization"] == f"Basic {encoded('alice', 'secret')}"
        return Said(200, json.dumps({"token": TOKEN if right else "wrong"}).encode())

    registry, _ = guarded(start, give)
    monkeypatch.setenv("TFSLURM_TOKEN_SERVERS", f"{registry.address}=127.0.0.2")
    log_in(registry.address, auth=encoded("alice", "secret"))
    assert ask(registry).tag == "1"
    assert not any(one.headers["Authorization"].startswith("Basic") for one in registry.asked[1:])


def test_an_identity_token_is_exchanged(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(asked: Asked) -> Said:
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        assert (asked.method, form["grant_type"], form["refresh_token"]) == ("POST", "refresh_token", "identity-secret")
        assert (form["service"], form["scope"]) == ("registry.example", "repository:team/tf:pull")
        return Said(200, json.dumps({"access_token": TOKEN}).encode())

    registry, _ = guarded(start, give)
    monkeypatch.setenv("TFSLURM_TOKEN_SERVERS", f"{registry.address}=127.0.0.2")
    log_in(registry.address, identitytoken="identity-secret")
    assert ask(registry).tag == "1"


def test_a_refused_identity_token_has_no_user_to_name(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, _ = guarded(start, lambda _: error(401, "DENIED", "no"))
    monkeypatch.setenv("TFSLURM_TOKEN_SERVERS", f"{registry.address}=127.0.0.2")
    log_in(registry.address, identitytoken="identity-secret")
    assert "the stored login may not read it" in refusal(registry)


def test_no_secret_is_repeated_even_when_the_token_server_says_it_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_back = f"no: alice hunter2-secret {encoded('alice', 'hunter2-secret')}\nsecond line\x1b[31m"
    registry, _ = guarded(start, lambda _: error(401, "DENIED", said_back))
    monkeypatch.setenv("TFSLURM_TOKEN_SERVERS", f"{registry.address}=127.0.0.2")
    log_in(registry.address, auth=encoded("alice", "hunter2-secret"))
    message = refusal(registry)
    assert "a token from 127.0.0.2: HTTP 401 DENIED: no: alice *** *** second line" in message
    assert "stored login alice may not read it" in message
    assert "\x1b" not in message


def test_a_token_that_does_not_open_the_registry_is_told_and_not_shown(start: Start) -> None:
    registry, _ = guarded(start, lambda _: Said(200, b'{"token": "another-token"}'))
    message = refusal(registry)
    assert "HTTP 401 UNAUTHORIZED: authentication required; it is private, or there is no such repository" in message
    assert f"`docker login {registry.address}`" in message
    assert "another-token" not in message
    assert len(registry.asked) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": ', b"<html>"])
def test_a_token_server_that_gives_none_is_told(start: Start, body: bytes) -> None:
    registry, _ = guarded(start, lambda _: Said(200, body))
    assert "127.0.0.2 answered without a token" in refusal(registry)


@pytest.mark.parametrize("realm", ["http://auth.example/token", "ftp://127.0.0.1/", "", "http://[bad", "file:///etc"])
def test_a_login_is_never_sent_to_a_token_server_without_https(start: Start, tmp_path: Path, realm: str) -> None:
    registry = start()
    challenge = f'Bearer realm="{realm}",service="x"'
    registry.guard = lambda _: error(401, "UNAUTHORIZED", "x", WWW_Authenticate=challenge)
    log_in(registry.address, auth=encoded("alice", "secret"))
    assert "for a token, without https" in refusal(registry)


def test_netrc_is_not_a_login(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    registry = start()
    serve_image(registry)
    ask(registry)
    assert all(one.headers["Authorization"] is None for one in registry.asked)


# Bytes that are not what they are said to be.


def test_a_header_that_names_another_digest_is_refused(start: Start) -> None:
    registry = start()
    manifest = image_manifest(image_config())
    lie = "sha256:" + "0" * 64
    registry.put("/v2/team/tf/manifests/1", manifest, MANIFEST, **{"Docker-Content-Digest": lie})
    message = refusal(registry)
    assert f"the bytes received are {digest_of(manifest)}, its Docker-Content-Digest header says {lie}" in message


def test_a_header_in_sha512_is_compared_in_sha512(start: Start) -> None:
    registry = start()
    serve_image(registry)
    manifest = image_manifest(image_config())
    for digest, right in ((hashlib.sha512(manifest).hexdigest(), True), ("0" * 128, False)):
        path = "/v2/team/tf/manifests/1"
        registry.put(path, manifest, MANIFEST, **{"Docker-Content-Digest": f"sha512:{digest}"})
        assert ask(registry).digest == digest_of(manifest) if right else "the bytes received" in refusal(registry)


def test_a_registry_without_the_header_is_believed_by_its_bytes(start: Start) -> None:
    registry = start()
    digest = serve_image(registry)
    registry.put("/v2/team/tf/manifests/1", image_manifest(image_config()), MANIFEST, **{"Docker-Content-Digest": ""})
    assert ask(registry).digest == digest


def test_a_mirror_with_other_bytes_is_passed_over_and_told_when_nobody_has_them(start: Start) -> None:
    origin, mirror = start(), start("127.0.0.3")
    digest = serve_image(origin)
    other = image_manifest(image_config(architecture="arm64"))
    mirror.put(f"/v2/team/tf/manifests/{digest}", other, MANIFEST)
    wanted, mirrors = reference(origin, f"team/tf:1@{digest}"), {origin.address: [mirror.address]}
    assert resolve(wanted, mirrors, "linux/amd64", NOW).served_by == f"{origin.address}/team/tf"
    assert len(mirror.asked) == 1
    origin.paths.clear()
    with pytest.raises(RegistryError) as caught:
        resolve(wanted, mirrors, "linux/amd64", NOW)
    assert f"the bytes received are {digest_of(other)}, what was asked for is {digest}" in str(caught.value)
    assert f"{origin.address}/team/tf: {digest[:19]}…: HTTP 404" in str(caught.value)


def test_a_config_with_other_bytes_is_refused(start: Start) -> None:
    registry = start()
    serve_image(registry)
    registry.paths[f"/v2/team/tf/blobs/{digest_of(image_config())}"] = Said(200, b"{}")
    assert "1, its config: the bytes received are" in refusal(registry)


def test_a_platform_manifest_with_other_bytes_is_refused(start: Start) -> None:
    registry = start()
    entry = {"digest": "sha256:" + "1" * 64, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    registry.put("/v2/team/tf/manifests/1", index, INDEX)
    registry.put(f"/v2/team/tf/manifests/{entry['digest']}", image_manifest(image_config()), MANIFEST)
    assert "1 for linux/amd64: the bytes received are" in refusal(registry)


SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.mark.parametrize(
    ("body", "media_type", "told"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', SCHEMA_1, "schema 1 manifest, which docker no longer pulls"),
        (b"<html>Please log in to the hotel</html>", "text/html", "not the JSON object that a registry serves"),
        (b"[" * 100_000, MANIFEST, "not the JSON object"),
        (b'{"schemaVersion": 2}', "application/json", "of type 'application/json', which is no image"),
        (image_manifest(image_config(), manifests=[]), MANIFEST, "read as two kinds"),
        (image_manifest(image_config()), INDEX, "read as two kinds"),
        (image_manifest(image_config(), layers=None), MANIFEST, "read as two kinds"),
        (image_manifest(image_config(), config=None), MANIFEST, "names no config"),
        (image_manifest(image_config(), layers=[{"size": "7"}]), MANIFEST, "a layer has no size"),
        (image_manifest(image_config(), layers=[7]), MANIFEST, "not a list of objects"),
        (
            image_manifest(b"{}", config={"mediaType": "application/vnd.cncf.helm.config.v1+json"}),
            MANIFEST,
            "helm.config.v1+json' rather than an image",
        ),
        (
            image_manifest(b"{}", config={"mediaType": CONFIG, "digest": "sha256:../../x"}),
            MANIFEST,
            "it cannot be pinned",
        ),
        (
            json.dumps({"mediaType": INDEX, "manifests": [{"platform": {"os": "unknown"}}]}).encode(),
            INDEX,
            "its platforms are: none",
        ),
    ],
)
def test_a_document_that_is_no_image_is_refused_with_its_reason(
    start: Start, body: bytes, media_type: str, told: str
) -> None:
    registry = start()
    serve_image(registry)
    registry.put("/v2/team/tf/manifests/1", body, media_type)
    assert told in refusal(registry)


def test_an_answer_without_end_is_cut_off(start: Start) -> None:
    registry = start()
    registry.paths["/v2/team/tf/manifests/1"] = Said(200, size=64 * 2**20, headers={"Content-Type": MANIFEST})
    assert "1: the answer is larger than 4 MiB" in refusal(registry)
    serve_image(registry)
    blob = f"/v2/team/tf/blobs/{digest_of(image_config())}"
    registry.paths[blob] = Said(200, size=64 * 2**20)
    assert "1, its config: the answer is larger than 8 MiB" in refusal(registry)


# Redirects.


def test_a_blob_may_be_on_another_host_which_never_sees_the_token(start: Start) -> None:
    registry, _ = guarded(start, lambda _: Said(200, json.dumps({"token": TOKEN}).encode()))
    storage = start("127.0.0.4")
    storage.paths["/bucket/config"] = Said(200, image_config())
    blob = f"/v2/team/tf/blobs/{digest_of(image_config())}"
    registry.paths[blob] = Said(307, headers={"Location": f"{storage.url}/bucket/config?signature=x"})
    assert ask(registry).tag == "1"
    (asked,) = storage.asked
    assert asked.headers["Authorization"] is None
    assert asked.query == {"signature": "x"}


def test_a_redirect_on_the_same_host_keeps_the_token(start: Start) -> None:
    registry, _ = guarded(start, lambda _: Said(200, json.dumps({"token": TOKEN}).encode()))
    blob = f"/v2/team/tf/blobs/{digest_of(image_config())}"
    registry.paths["/moved"] = Said(200, image_config())
    registry.paths[blob] = Said(302, headers={"Location": "/moved"})
    assert ask(registry).tag == "1"
    assert registry.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("where", ["http://storage.example/x", "", "ftp://127.0.0.1/x", "http://[bad"])
def test_a_redirect_to_another_host_without_https_is_refused(start: Start, where: str) -> None:
    registry = start()
    serve_image(registry)
    blob = f"/v2/team/tf/blobs/{digest_of(image_config())}"
    registry.paths[blob] = Said(302, headers={"Location": where})
    assert ("without https" if where else "more than 5 redirects") in refusal(registry)


def test_a_redirect_without_an_end_is_not_read(start: Start) -> None:
    registry = start()
    serve_image(registry)
    blob = f"/v2/team/tf/blobs/{digest_of(image_config())}"
    registry.paths[blob] = Said(302, headers={"Location": "/moved"}, size=64 * 2**20)
    assert "the answer is larger than 8 MiB" in refusal(registry)


# What a registry may refuse.


def test_a_rate_limit_is_told_with_when_to_come_back(start: Start) -> None:
    registry = start()
    registry.guard = lambda _: error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", Retry_After="37")
    with pytest.raises(RegistryError) as caught:
        ask(registry)
    assert "HTTP 429 TOOMANYREQUESTS: You have reached your pull rate limit.; its rate limit" in str(caught.value)
    assert "try again in 37 s" in str(caught.value)
    assert caught.value.transient


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_registry_in_trouble_may_be_tried_again(start: Start, status: int) -> None:
    registry = start()
    registry.guard = lambda _: Said(status, b"<html>oops</html>")
    with pytest.raises(RegistryError, match=f"1: HTTP {status}; try again later") as caught:
        ask(registry)
    assert caught.value.transient


def test_a_registry_without_an_address_is_answered_with_a_mirror() -> None:
    with pytest.raises(RegistryError, match=r"is known for nowhere\.invalid; check that name, .* name a mirror"):
        resolve(parse_reference("nowhere.invalid/team/tf:1"), {}, "linux/amd64", "2026-11-23T08:00:00Z")


def test_all_pages_of_tags_are_looked_at_for_the_nearest(start: Start) -> None:
    registry = start()

    def pages(asked: Asked) -> Said:
        if "last" in asked.query:
            return Said(200, b'{"tags": ["2.16.1-gpu"]}')
        link = '</v2/team/tf/tags/list?last=b&n=2>; rel="next"'
        return Said(200, b'{"tags": ["a", "b"]}', {"Link": link})

    registry.paths["/v2/team/tf/tags/list"] = pages
    assert refusal(registry, "team/tf:2.16.1-gpux").endswith("the nearest of its 3 tags: 2.16.1-gpu")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": null}', b'{"tags": 3}'])
def test_a_registry_that_lists_no_tags_still_says_that_the_tag_is_not_there(start: Start, body: bytes) -> None:
    registry = start()
    registry.paths["/v2/team/tf/tags/list"] = Said(200, body)
    assert refusal(registry).endswith("HTTP 404 MANIFEST_UNKNOWN: manifest unknown; correct the name or the tag")


def test_a_moving_tag_is_not_asked_for(start: Start) -> None:
    registry = start()
    for rest in ("team/tf", "team/tf:latest", "team/tf:nightly"):
        with pytest.raises(InputError, match="name a release"):
            ask(registry, rest)
    assert registry.asked == []


# The way there.


def test_https_is_never_given_up_for_a_host_that_is_not_this_machine(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start()
    proxy.paths["registry.invalid:443"] = proxy.paths[""] = Said(200, b"this is not TLS")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with pytest.raises(RegistryError) as caught:
        resolve(parse_reference("registry.invalid/team/tf:1"), {}, "linux/amd64", NOW)
    assert "registry.invalid" in str(caught.value)
    assert {one.method for one in proxy.asked} == {"CONNECT"}


def test_a_proxy_that_refuses_is_told_without_its_password(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = start()
    proxy.guard = lambda _: Said(407)
    monkeypatch.setenv("https_proxy", f"http://alice:proxy-secret@{proxy.address}")
    with pytest.raises(
        RegistryError, match=r"the proxy that https_proxy names wants a login, or another one \(407\); put user"
    ) as caught:
        resolve(parse_reference("registry.invalid/team/tf:1"), {}, "linux/amd64", NOW)
    assert "proxy-secret" not in str(caught.value)
    assert not caught.value.transient


def test_a_registry_on_this_machine_is_reached_past_any_proxy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, proxy = start(), start()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    serve_image(registry)
    assert ask(registry).tag == "1"
    assert proxy.asked == []


def test_a_host_without_an_address_is_told() -> None:
    with pytest.raises(RegistryError, match=r"registry\.invalid/team/tf: tag 1: .*registry\.invalid") as caught:
        resolve(parse_reference("registry.invalid/team/tf:1"), {}, "linux/amd64", NOW)
    assert caught.value.transient


# The docker daemon, where its answers depend on a store that the daemons at hand do not have.


def daemon_with(server: StandIn, monkeypatch: pytest.MonkeyPatch, image: dict[str, Any], **info: object) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")

    def answer(asked: Asked) -> Said:
        path = urlsplit(asked.path).path
        json_type = {"Content-Type": "application/json"}
        if path == "/version":
            return Said(200, b'{"ApiVersion": "1.48"}', json_type)
        if path == "/v1.48/info":
            return Said(200, json.dumps({"Name": "node1", **info}).encode(), json_type)
        if path == "/v1.48/images/docker.io/built/here:1/json":
            return Said(200, json.dumps(image).encode(), json_type)
        return Said(404, b'{"message": "No such image"}', json_type)

    server.answer = answer  # type: ignore[method-assign]


LOCAL = {"Id": "sha256:" + "d" * 64, "Os": "linux", "Architecture": "arm64", "Variant": "v8", "Size": 12, "Config": {}}
CONTAINERD = [["driver-type", "io.containerd.snapshotter.v1"]]


@pytest.mark.parametrize(
    ("image", "status", "kind"),
    [
        (LOCAL, [], "config"),
        (LOCAL | {"Descriptor": {"mediaType": INDEX}}, CONTAINERD, "index"),
        (LOCAL | {"Descriptor": {"mediaType": MANIFEST}}, CONTAINERD, "manifest"),
    ],
)
def test_what_an_image_id_is_a_digest_of_is_what_the_daemon_says(
    start: Start, monkeypatch: pytest.MonkeyPatch, image: dict[str, Any], status: list[Any], kind: str
) -> None:
    daemon_with(start(), monkeypatch, image, DriverStatus=status)
    pin = pin_local_image(parse_reference("built/here:1"), NOW)
    assert (pin.digest, pin.digest_kind, pin.pin_kind) == (LOCAL["Id"], kind, "image-id")
    assert (pin.platform, pin.size_bytes, pin.served_by) == ("linux/arm64/v8", 12, "docker daemon node1")
    assert pin.config_digest == (LOCAL["Id"] if kind == "config" else "")
    assert pin.manifest_digest == (LOCAL["Id"] if kind == "manifest" else "")


def test_an_image_id_of_unknown_kind_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon_with(start(), monkeypatch, LOCAL, DriverStatus=CONTAINERD)
    with pytest.raises(RegistryError, match="does not say what its image ids are digests of; update docker"):
        pin_local_image(parse_reference("built/here:1"), NOW)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"Os": "linux\nevil"}, "its platform cannot be pinned"),
        ({"Architecture": "amd64 x"}, "its platform cannot be pinned"),
        ({"Config": {"Entrypoint": ["a\0"]}}, "its config's Entrypoint holds what no program can be given"),
        ({"Config": {"Env": ["CUDA_VERSION=\0"]}}, "its config's Env holds what no program can be given"),
        ({"Config": {"Env": ["CUDA_VERSION=" + "1" * 2**18]}}, "are the most"),
    ],
)
def test_a_local_image_that_no_lock_file_can_hold_is_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any], why: str
) -> None:
    daemon_with(start(), monkeypatch, LOCAL | odd, DriverStatus=[])
    with pytest.raises(RegistryError, match=f"^docker.io/built/here:1: .*{why}"):
        pin_local_image(parse_reference("built/here:1"), NOW)


def test_no_docker_daemon_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = start()
    gone.shutdown()
    gone.server_close()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{gone.address}")
    with pytest.raises(RegistryError, match=r"no docker daemon answers .*; start it, or name it in DOCKER_HOST"):
        pin_local_image(parse_reference("built/here:1"), NOW)


# ------------------------------------------------------------------------------------------------ names of platforms

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("available", "wanted", "name"),
    [
        ({"linux/amd64/v1": A, "linux/amd64/v3": B}, "linux/amd64", "linux/amd64/v1"),
        ({"linux/amd64/v3": B, "linux/amd64/v2": B, "linux/amd64/v1": A}, "linux/amd64", "linux/amd64/v1"),
        ({"linux/amd64": A, "linux/amd64/v1": B}, "linux/amd64", "linux/amd64"),
        ({"linux/x86_64": A, "linux/arm64": B}, "linux/amd64", "linux/amd64"),
        ({"linux/arm64/v8": A, "linux/arm64/v9": B}, "linux/arm64", "linux/arm64/v8"),
        ({"linux/aarch64": A, "linux/amd64": B}, "linux/arm64", "linux/arm64"),
        ({"linux/arm/v6": B, "linux/arm/v7": A}, "linux/arm", "linux/arm/v7"),
        ({"linux/amd64/v3": A}, "linux/amd64", "linux/amd64/v3"),
    ],
)
def test_a_variant_that_a_name_means_by_itself_is_taken_as_docker_does(
    available: dict[str, str], wanted: str, name: str
) -> None:
    assert choose(available, wanted) == (name, A)


def test_among_variants_of_which_none_is_meant_by_itself_the_digests_are_named() -> None:
    with pytest.raises(Unreadable) as caught:
        choose({"linux/amd64/v2": A, "linux/amd64/v3": B, "windows/amd64": A}, "linux/amd64")
    words = f"name the digest of the one that is meant (NAME@DIGEST): linux/amd64/v2 {A}, linux/amd64/v3 {B}"
    assert words in str(caught.value)
    with pytest.raises(Unreadable, match=r"there is no linux/amd64 in it; its platforms are: windows/amd64"):
        choose({"windows/amd64": A}, "linux/amd64")
