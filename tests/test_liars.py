"""A registry that lies (a stand-in) is refused in one line; nothing is pinned or kept, and little memory is used."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.lies import (
    BEGUN,
    BYTES,
    DOCUMENTS,
    IMAGES,
    LAYERS,
    NAME,
    PUSHES,
    TAG,
    TRUE,
    Image,
    headers,
    instead,
)
from tests.fakes.registry import (
    MANIFEST,
    Asked,
    Lie,
    Registry,
    Said,
    Start,
    StartRegistry,
    digest_of,
    encoded,
    error,
    log_in,
    no_settings_of_this_machine,
    start,
    start_registry,
)
from tfslurm.cli import run
from tfslurm.errors import RegistryError
from tfslurm.image import Pin, parse_reference
from tfslurm.images import save_image
from tfslurm.registry import image_source, push, resolve, uploads
from tfslurm.registry.push import PATIENCE, Target
from tfslurm.registry.wire import Patience

__all__ = ["no_settings_of_this_machine", "start", "start_registry"]
SLACK = 40 * 2**20
"Bytes: of the answers that are refused only when they were read, with the library's own copies."


@contextmanager
def bounded() -> Iterator[None]:
    """Little time and little memory."""
    began = time.monotonic()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < SLACK
    assert time.monotonic() - began < 20


def pin_of(registry: Registry) -> Pin:
    return resolve(parse_reference(f"{registry.address}/{NAME}:{TAG}"), {}, "linux/amd64", "2026-11-23T08:00:00Z")


def is_refused(registry: Registry, folder: Path, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`tfslurm pin`, in a folder without clusters, says why in one line, and writes no lock file."""
    (folder / "exp.yaml").write_text(f'name: q\nimage: {registry.address}/{NAME}:{TAG}\ncommand: ["true"]\n')
    with bounded(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["pin", str(folder / "exp.yaml")]) == 1
    said = capsys.readouterr().err
    with pytest.raises(RegistryError, match=why):
        raise RegistryError(said)
    assert said.startswith(f"error: {registry.address}/{NAME}: ") and said.count("\n") == 1 and len(said) < 600
    assert [path.name for path in folder.glob("exp*")] == ["exp.yaml"]


def test_the_honest_one_is_pinned_and_saved(start_registry: StartRegistry, tmp_path: Path) -> None:
    registry = start_registry()
    digest = TRUE.put(registry)
    pin = pin_of(registry)
    assert (pin.digest, pin.platform) == (digest, "linux/amd64")
    assert save_image(pin, {}, tmp_path / "a.tar").digest == digest


@pytest.mark.parametrize(("lie", "why"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_lie_about_a_document_is_not_pinned(
    lie: Lie, why: str, start_registry: StartRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start_registry()
    TRUE.put(registry)
    registry.lies = [lie]
    is_refused(registry, tmp_path, why, capsys)


@pytest.mark.parametrize(("image", "why"), IMAGES.values(), ids=IMAGES)
def test_an_image_that_contradicts_itself_is_not_pinned(
    image: Image, why: str, start_registry: StartRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start_registry()
    image.put(registry)
    is_refused(registry, tmp_path, why, capsys)


@pytest.mark.parametrize(("lie", "why"), BYTES.values(), ids=BYTES)
def test_a_lie_about_a_layer_is_not_kept(
    lie: Lie, why: str, start_registry: StartRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = start_registry()
    TRUE.put(registry)
    pin = pin_of(registry)
    registry.lies = [lie]
    monkeypatch.setattr(image_source, "TRIES", 2)
    with bounded(), pytest.raises(RegistryError, match=why) as told:
        save_image(pin, {}, tmp_path / "a.tar")
    assert "\n" not in str(told.value) and len(str(told.value)) < 500
    assert not (tmp_path / "a.tar").exists()
    registry.lies = []
    assert save_image(pin, {}, tmp_path / "a.tar").digest == pin.digest


@pytest.mark.slow
@pytest.mark.parametrize(("lie", "why"), [*DOCUMENTS.values(), *BYTES.values()], ids=[*DOCUMENTS, *BYTES])
def test_a_lie_is_not_mirrored(
    lie: Lie, why: str, start_registry: StartRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registry, mirror = start_registry(), start_registry("127.0.0.2")
    TRUE.put(registry)
    registry.lies = [lie]
    monkeypatch.setattr(image_source, "TRIES", 2)
    monkeypatch.chdir(tmp_path)
    name = f"{registry.address}/{NAME}:{TAG}"
    with bounded():
        assert run(["image", "mirror", name, "--to", f"{mirror.address}/m"]) == 1
    *notes, told = capsys.readouterr().err.splitlines()
    assert told.startswith("error: ") and len(told) < 600
    assert not [line for line in notes if "error" in line]
    assert not mirror.manifests


def push_all(registry: Registry, patience: Patience = PATIENCE) -> None:
    """The image of linux/amd64, pushed under the tag."""
    waits = list[float]()
    with Target(f"{registry.address}/{NAME}", patience=patience, pause=waits.append) as target:
        for blob in (TRUE.config, *LAYERS):
            target.push_blob(digest_of(blob), len(blob), lambda offset, blob=blob: iter([blob[offset:]]))  # type: ignore[misc]
        for reference in (digest_of(TRUE.manifest), TAG):
            target.push_manifest(TRUE.manifest, MANIFEST, reference)


def is_no_push(registry: Registry, why: str, patience: Patience = PATIENCE) -> None:
    with bounded(), pytest.raises(RegistryError, match=why) as told:
        push_all(registry, patience)
    message = str(told.value)
    assert message.startswith(f"{registry.address}/{NAME}: ") and "\n" not in message and len(message) < 600
    assert (NAME, TAG) not in registry.manifests
    assert len(registry.asked) < 60


def test_the_honest_one_is_pushed_to(start_registry: StartRegistry) -> None:
    registry = start_registry()
    push_all(registry)
    assert registry.manifests[NAME, TAG] == (TRUE.manifest, MANIFEST)


@pytest.mark.parametrize(("lie", "why"), PUSHES.values(), ids=PUSHES)
def test_a_lie_about_a_push_is_told_and_no_tag_is_set(
    lie: Lie, why: str, start_registry: StartRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = start_registry()
    registry.lies = [lie]
    monkeypatch.setattr(push, "READ_BACK", 10_000)
    monkeypatch.setattr(uploads, "PIECE", 60_000)
    monkeypatch.setattr(uploads, "SMALL_PIECE", 20_000)
    is_no_push(registry, why)


def test_a_commit_that_never_ends_is_left(start_registry: StartRegistry) -> None:
    registry, ended = start_registry(), threading.Event()

    def wait(asked: Asked) -> Said:
        if asked.method == "PUT":
            ended.wait(60)
        return Said(200)

    registry.guard = wait
    try:
        is_no_push(registry, "had not answered in full after", Patience(place_s=1.0))
    finally:
        ended.set()


@pytest.mark.parametrize("has_it", [True, False])
def test_a_mount_of_what_is_not_there_is_no_mount(start_registry: StartRegistry, has_it: bool) -> None:
    registry, digest = start_registry(), digest_of(LAYERS[0])
    registry.lies = [BEGUN(instead(Said(201, headers={"Docker-Content-Digest": digest})))]
    if has_it:
        registry.blobs[NAME, digest] = LAYERS[0] + b"more"
    with Target(f"{registry.address}/{NAME}") as target, pytest.raises(RegistryError, match="do not use this registry"):
        target.mount_blob(digest, len(LAYERS[0]), "base/tf")


def test_a_login_is_not_sent_to_the_place_of_an_upload(start_registry: StartRegistry, start: Start) -> None:
    registry, thief = start_registry(), start("127.0.0.2")
    log_in(registry.address, auth=encoded("alice", "secret"))
    asks = error(401, "UNAUTHORIZED", "x", WWW_Authenticate='Basic realm="x"')
    registry.guard = lambda asked: Said(200) if asked.headers["Authorization"] else asks
    thief.guard = lambda asked: asks
    registry.lies = [BEGUN(headers(Location=f"{thief.url}/upload"))]
    is_no_push(registry, "HTTP 401")
    assert thief.asked and {asked.headers["Authorization"] for asked in thief.asked} == {None}
