"""Pins against a real registry (docker-registry), one with a login too, and a real docker daemon; all on loopback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfslurm.errors import RegistryError
from tfslurm.image import Reference, parse_reference, sources
from tfslurm.registry import pin_local_image, resolve

from .own_registries import (
    DOCKER_LIST,
    INDEX,
    PASSWORD,
    USER,
    Served,
    docker_config,
    free_port,
    htpasswd,
    image,
    index,
    serve,
)

NOW = "2026-11-23T08:00:00Z"


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for address in serve(tmp_path_factory.mktemp("registry")):
        yield Served(address)


@pytest.fixture(scope="module")
def other_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for address in serve(tmp_path_factory.mktemp("other")):
        yield Served(address)


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("locked")
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for address in serve(folder, htpasswd(folder)):
        yield Served(address, f"Basic {pair}")


def reference(served: Served, rest: str) -> Reference:
    return parse_reference(f"{served.address}/{rest}")


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_a_tag_becomes_the_digest_of_its_index_with_the_facts_of_its_platform(
    open_registry: Served, docker: bool
) -> None:
    digests = index(open_registry, "team/tf", "2.16.1-gpu", docker=docker)
    pin = resolve(reference(open_registry, "team/tf:2.16.1-gpu"), {}, "linux/amd64", NOW)
    assert (pin.digest, pin.digest_kind, pin.pin_kind) == (digests["index"], "index", "registry")
    assert (pin.manifest_digest, pin.config_digest) == (digests["amd64"], digests["amd64 config"])
    assert pin.size_bytes == int(digests["amd64 size"])
    assert pin.media_type == (DOCKER_LIST if docker else INDEX)
    assert (pin.platform, pin.created, pin.pinned_at) == ("linux/amd64", "2024-03-08T20:12:55Z", NOW)
    assert (pin.entrypoint, dict(pin.environment)) == (
        ("/entry", "--flag"),
        {"CUDA_VERSION": "12.3.0", "NVARCH": "amd64"},
    )
    assert pin.served_by == f"{open_registry.address}/team/tf"
    assert pin.reference == f"{open_registry.address}/team/tf:2.16.1-gpu"


def test_another_platform_is_taken_when_asked_for_its_variant_named_or_not(open_registry: Served) -> None:
    digests = index(open_registry, "team/arm", "1")
    for asked in ("linux/arm64", "linux/arm64/v8"):
        pin = resolve(reference(open_registry, "team/arm:1"), {}, asked, NOW)
        assert (pin.platform, pin.manifest_digest) == ("linux/arm64/v8", digests["arm64"])
        assert pin.digest == digests["index"]


def test_a_platform_that_is_not_there_is_told_with_those_that_are(open_registry: Served) -> None:
    index(open_registry, "team/tf", "2")
    with pytest.raises(RegistryError, match=r"no linux/s390x in it; its platforms are: linux/amd64, linux/arm64/v8$"):
        resolve(reference(open_registry, "team/tf:2"), {}, "linux/s390x", NOW)


def test_a_single_manifest_is_its_own_platform(open_registry: Served) -> None:
    manifest, config = image(open_registry, "team/single", "amd64")
    digest = open_registry.manifest("team/single", "1", manifest)
    pin = resolve(reference(open_registry, "team/single:1"), {}, "linux/amd64", NOW)
    assert (pin.digest, pin.digest_kind, pin.manifest_digest, pin.config_digest) == (digest, "manifest", digest, config)
    with pytest.raises(RegistryError, match="its platforms are: linux/amd64"):
        resolve(reference(open_registry, "team/single:1"), {}, "linux/arm64", NOW)


def test_a_digest_is_fetched_as_such_whatever_tag_stands_with_it(open_registry: Served) -> None:
    digests = index(open_registry, "team/tf", "3")
    pin = resolve(reference(open_registry, f"team/tf:gone@{digests['index']}"), {}, "linux/amd64", NOW)
    assert (pin.digest, pin.tag) == (digests["index"], "gone")
    pin = resolve(reference(open_registry, f"team/tf@{digests['arm64']}"), {}, "linux/arm64", NOW)
    assert (pin.digest, pin.digest_kind) == (digests["arm64"], "manifest")


def test_a_tag_that_is_not_there_is_told_with_the_nearest_that_are(open_registry: Served) -> None:
    manifest, _ = image(open_registry, "team/near", "amd64")
    for tag in ("2.16.1", "2.16.1-gpu", "2.17.0-gpu", "zzz"):
        open_registry.manifest("team/near", tag, manifest)
    with pytest.raises(RegistryError) as caught:
        resolve(reference(open_registry, "team/near:2.16.1-gpuu"), {}, "linux/amd64", NOW)
    message = str(caught.value)
    assert "2.16.1-gpuu: HTTP 404 MANIFEST_UNKNOWN: manifest unknown; the nearest of its 4 tags: 2.16.1-gpu," in message
    assert "\n" not in message
    assert not caught.value.transient


def test_a_repository_that_is_not_there_is_told(open_registry: Served) -> None:
    with pytest.raises(RegistryError, match=r"HTTP 404 MANIFEST_UNKNOWN: .*; correct the name or the tag"):
        resolve(reference(open_registry, "nobody/nothing:1"), {}, "linux/amd64", NOW)


def test_the_first_mirror_that_has_the_image_answers(open_registry: Served, other_registry: Served) -> None:
    origin = index(open_registry, "hub/tf", "1")
    mirrored = index(other_registry, "copies/tf", "1")
    assert origin["index"] == mirrored["index"]
    mirrors = {f"{open_registry.address}/hub": [f"{other_registry.address}/none", f"{other_registry.address}/copies"]}
    pin = resolve(reference(open_registry, "hub/tf:1"), mirrors, "linux/amd64", NOW)
    assert pin.served_by == f"{other_registry.address}/copies/tf"
    assert pin.name == f"{open_registry.address}/hub/tf"
    places = (f"{other_registry.address}/copies/tf", f"{open_registry.address}/hub/tf")
    digests = (origin["index"], origin["amd64"])
    assert sources(pin, mirrors)[2:] == tuple(f"{place}@{digest}" for place in places for digest in digests)


def test_a_digest_that_no_place_has_is_told_for_each_place(open_registry: Served, other_registry: Served) -> None:
    dead = f"127.0.0.1:{free_port()}"
    mirrors = {open_registry.address: [dead, other_registry.address]}
    with pytest.raises(RegistryError) as caught:
        resolve(reference(open_registry, "hub/tf@sha256:" + "0" * 64), mirrors, "linux/amd64", NOW)
    message = str(caught.value)
    assert "tried 3 registries; none has it" in message
    assert f"{dead}/hub/tf: sha256:000000000000…: {dead} refuses connections" in message
    assert message.count("HTTP 404 MANIFEST_UNKNOWN") == 2


def test_a_stored_login_opens_a_registry(
    locked_registry: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = index(locked_registry, "private/tf", "2")
    monkeypatch.setenv("DOCKER_CONFIG", docker_config(tmp_path, locked_registry.address))
    pin = resolve(reference(locked_registry, "private/tf:2"), {}, "linux/amd64", NOW)
    assert pin.digest == digests["index"]


def test_a_credential_helper_is_asked_as_docker_asks_it(
    locked_registry: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = index(locked_registry, "private/tf", "3")
    answer = json.dumps({"ServerURL": locked_registry.address, "Username": USER, "Secret": PASSWORD})
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\nread -r asked\n[ \"$asked\" = {locked_registry.address} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {locked_registry.address: "test"}}))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    pin = resolve(reference(locked_registry, "private/tf:3"), {}, "linux/amd64", NOW)
    assert pin.digest == digests["index"]


@pytest.mark.parametrize("key", ["{address}", "{address}/private", "{address}/private/tf"])
def test_a_login_that_podman_stored_is_read_whatever_it_is_for(
    locked_registry: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    digests = index(locked_registry, "private/tf", "4")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    argv = ["podman", "login", "--tls-verify=false", "--username", USER, "--password-stdin"]
    subprocess.run([*argv, key.format(address=locked_registry.address)], input=PASSWORD.encode(), check=True)
    pin = resolve(reference(locked_registry, "private/tf:4"), {}, "linux/amd64", NOW, engine="podman")
    assert pin.digest == digests["index"]
    assert PASSWORD not in repr(pin)


@pytest.mark.parametrize("password", ["", "wrong-secret"])
def test_a_login_that_lacks_or_is_wrong_is_told_with_the_mend_and_no_secret(
    locked_registry: Served, tmp_path: Path, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if password:
        docker_config(tmp_path, locked_registry.address, password)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(RegistryError) as caught:
        resolve(reference(locked_registry, "private/tf:1"), {}, "linux/amd64", NOW)
    message = str(caught.value)
    assert "HTTP 401 UNAUTHORIZED: authentication required" in message
    assert f"`docker login {locked_registry.address}`" in message
    assert ("stored login alice" in message) is bool(password)
    for secret in filter(None, (password, base64.b64encode(f"{USER}:{password}".encode()).decode())):
        assert secret not in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"auths": ', "line 1 is not JSON"),
        ('{"auths": {"ADDRESS": {"auth": "%%%"}}}', "its `auths` are not as docker writes them"),
        ('{"credsStore": "is-not-installed"}', "helper docker-credential-is-not-installed is not in PATH"),
    ],
)
def test_a_configuration_that_gives_no_login_is_told_where_a_login_is_needed(
    locked_registry: Served,
    open_registry: Served,
    tmp_path: Path,
    text: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(text.replace("ADDRESS", locked_registry.address))
    with pytest.raises(RegistryError, match=f"HTTP 401.*{told}"):
        resolve(reference(locked_registry, "private/tf:1"), {}, "linux/amd64", NOW)
    index(open_registry, "team/tf", "5")
    assert resolve(reference(open_registry, "team/tf:5"), {}, "linux/amd64", NOW).digest


@pytest.fixture(scope="module")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A docker daemon of its own, without a network for containers: none is run here."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("docker"):
        pytest.fail("needs root, dockerd and docker")
    folder = tmp_path_factory.mktemp("d")
    host = f"unix://{folder}/s"
    argv = [
        *("dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"),
        *(f"--host={host}", "--iptables=false", "--bridge=none", "--storage-driver=vfs"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + 60
        while subprocess.run(["docker", "--host", host, "version"], capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"dockerd does not run here: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        yield host
    finally:
        process.terminate()
        process.wait(60)


def docker(host: str, *words: str, given: bytes = b"") -> str:
    done = subprocess.run(["docker", "--host", host, *words], input=given, capture_output=True, check=True)
    return done.stdout.decode().strip()


EMPTY_TAR = b"\0" * 10240


def test_docker_and_tfslurm_agree_on_what_a_pushed_tag_is(docker_host: str, open_registry: Served) -> None:
    name = f"{open_registry.address}/pushed/tf"
    change = ("--change", 'ENTRYPOINT ["/entry"]', "--change", "ENV CUDA_VERSION=12.3.0")
    docker(docker_host, "import", *change, "-", f"{name}:1", given=EMPTY_TAR)
    docker(docker_host, "push", "--quiet", f"{name}:1")
    pin = resolve(parse_reference(f"{name}:1"), {}, "linux/amd64", NOW)
    inspected = json.loads(docker(docker_host, "image", "inspect", f"{name}:1"))[0]
    assert inspected["RepoDigests"] == [f"{name}@{pin.digest}"] == list(sources(pin, {}))
    assert inspected["Id"] == pin.config_digest
    assert (pin.entrypoint, pin.environment) == (("/entry",), {"CUDA_VERSION": "12.3.0"})


def test_an_image_that_only_the_daemon_has_is_pinned_by_its_id(
    docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker(docker_host, "import", "--change", "ENV CUDA_VERSION=12.3.0", "-", "built/here:1", given=EMPTY_TAR)
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    pin = pin_local_image(parse_reference("built/here:1"), NOW)
    image_id = docker(docker_host, "image", "inspect", "--format", "{{.Id}}", "built/here:1")
    assert (pin.digest, pin.config_digest, pin.digest_kind, pin.pin_kind) == (image_id, image_id, "config", "image-id")
    assert pin.platform == "linux/amd64"
    assert sources(pin, {}) == (image_id,)
    with pytest.raises(RegistryError, match=r"built/here:2: the docker daemon has no such image; build or load it"):
        pin_local_image(parse_reference("built/here:2"), NOW)
