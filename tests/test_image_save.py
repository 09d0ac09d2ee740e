"""An image is saved as an archive with the bytes that its digest names, whatever happens on the way.

By a stand-in for a registry (tests/fakes/registry.py), which breaks off and lies as a real one cannot be made to.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import (
    CONFIG,
    INDEX,
    MANIFEST,
    NOW,
    SCHEMA_2,
    Asked,
    Said,
    StandIn,
    Start,
    digest_of,
    image_config,
    no_settings_of_this_machine,
    start,
)
from tfslurm.cli import run
from tfslurm.errors import InputError, RegistryError
from tfslurm.image import Pin, parse_reference
from tfslurm.images import save_image
from tfslurm.registry import image_source, resolve

__all__ = ["no_settings_of_this_machine", "start"]
BASE = "/v2/team/tf"
LAYERS = (os.urandom(5 * 2**20), b"two", b"two")


def serve(server: StandIn, kind: str = MANIFEST, **change: object) -> str:
    """An image of two layers, one of them twice, under the tag 1; its manifest's digest comes out."""
    config = image_config()
    blobs = [config, *LAYERS]
    kinds = [CONFIG, *["application/vnd.oci.image.layer.v1.tar+gzip"] * len(LAYERS)]
    about, *layers = (
        {"mediaType": kind, "digest": digest_of(blob), "size": len(blob)}
        for kind, blob in zip(kinds, blobs, strict=True)
    )
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind, "config": about, "layers": layers}
    manifest = json.dumps(value | change).encode()
    for blob in blobs:
        server.paths[f"{BASE}/blobs/{digest_of(blob)}"] = ranged(blob)
    server.put(f"{BASE}/manifests/{digest_of(manifest)}", manifest, kind)
    return server.put(f"{BASE}/manifests/1", manifest, kind)


def ranged(blob: bytes) -> Callable[[Asked], Said]:
    """A blob, or what is asked of it."""

    def answer(asked: Asked) -> Said:
        wanted = asked.headers["Range"]
        begun = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        return Said(206 if wanted else 200, blob[begun:])

    return answer


def pin_of(server: StandIn, tag: str = "1") -> Pin:
    return resolve(parse_reference(f"{server.address}/team/tf:{tag}"), {}, "linux/amd64", NOW)


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [MANIFEST, SCHEMA_2], ids=["oci", "docker"])
def test_the_archive_holds_the_very_manifest_and_every_blob_once(start: Start, tmp_path: Path, kind: str) -> None:
    registry = start()
    digest = serve(registry, kind)
    saved = save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert (saved.digest, saved.digest_kind, saved.manifest_digest) == (digest, "manifest", digest)
    found = contents(tmp_path / "a.tar")
    blobs = {name.rpartition("/")[2]: data for name, data in found.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    assert digest.removeprefix("sha256:") in blobs and len(blobs) == 4
    (top,) = json.loads(found["index.json"])["manifests"]
    name = f"{registry.address}/team/tf:1"
    assert top == {
        "mediaType": kind, "digest": digest, "size": len(blobs[digest[7:]]),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }  # fmt: skip
    (docker,) = json.loads(found["manifest.json"])
    assert docker["RepoTags"] == [name] and len(docker["Layers"]) == 3 and set(docker["Layers"]) < set(found)
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert saved.bytes == (tmp_path / "a.tar").stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("a.")] == ["a.tar"]
    again = save_image(pin_of(registry), {}, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes() and not again.was_there
    assert save_image(pin_of(registry), {}, tmp_path / "a.tar").was_there


def test_of_an_index_the_index_and_the_platforms_manifest_are_kept(start: Start, tmp_path: Path) -> None:
    registry = start()
    digest = serve(registry)
    size = len(registry.paths[f"{BASE}/manifests/1"].body)  # type: ignore[union-attr]
    entries = [
        {"mediaType": MANIFEST, "digest": name, "size": size, "platform": {"os": "linux", "architecture": machine}}
        for machine, name in (("arm64", "sha256:" + "0" * 64), ("amd64", digest))
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    top = registry.put(f"{BASE}/manifests/2", body, INDEX)
    registry.paths[f"{BASE}/manifests/{top}"] = registry.paths[f"{BASE}/manifests/2"]
    saved = save_image(pin_of(registry, "2"), {}, tmp_path / "a.tar")
    assert (saved.digest, saved.digest_kind, saved.manifest_digest) == (top, "index", digest)
    found = contents(tmp_path / "a.tar")
    assert found[f"blobs/sha256/{top[7:]}"] == body and f"blobs/sha256/{digest[7:]}" in found
    assert [each["digest"] for each in json.loads(found["index.json"])["manifests"]] == [top]


# --- what is cut off is continued


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0, 1, 700, 3000, 4000, 2**20, 5 * 2**20 + 9000, -1, -1025, -2000])
@pytest.mark.parametrize("spoilt", [False, True], ids=["whole", "spoilt"])
def test_an_archive_that_was_cut_off_anywhere_becomes_the_same(
    start: Start, tmp_path: Path, cut: int, spoilt: bool
) -> None:
    registry = start()
    serve(registry)
    save_image(pin_of(registry), {}, tmp_path / "whole.tar")
    whole = (tmp_path / "whole.tar").read_bytes()
    begun = bytearray(whole[:cut])
    if spoilt and begun:
        begun[len(begun) // 2] ^= 1
    (tmp_path / "a.tar.part").write_bytes(begun)
    registry.asked.clear()
    save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == whole
    large = [one for one in registry.asked if one.path.endswith(digest_of(LAYERS[0]))]
    if not spoilt and cut == 2**20:
        (one,) = large
        assert int(one.headers["Range"].removeprefix("bytes=").rstrip("-")) > 2**20 - 10_000
    if not spoilt and (cut < 0 or cut > 2**22):
        assert not large


def breaking(blob: bytes, times: int, *, ranges: bool = True) -> Callable[[Asked], Said]:
    """A blob whose connection breaks off some bytes further each time."""
    left = [times]

    def answer(asked: Asked) -> Said:
        whole = ranged(blob)(asked) if ranges else Said(200, blob)
        left[0] -= 1
        length = {"Content-Length": str(len(whole.body))}
        return replace(whole, body=whole.body[: 2**20], headers=length, size=1) if left[0] >= 0 else whole

    return answer


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "from the beginning each time"])
def test_a_line_that_breaks_is_taken_up_where_it_broke(start: Start, tmp_path: Path, ranges: bool) -> None:
    registry = start()
    serve(registry)
    registry.paths[f"{BASE}/blobs/{digest_of(LAYERS[0])}"] = breaking(LAYERS[0], 3, ranges=ranges)
    save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert contents(tmp_path / "a.tar")[f"blobs/sha256/{digest_of(LAYERS[0])[7:]}"] == LAYERS[0]
    assert sum(one.path.endswith(digest_of(LAYERS[0])) for one in registry.asked) == 4


def test_a_line_that_breaks_for_good_leaves_a_part_that_the_next_call_continues(start: Start, tmp_path: Path) -> None:
    registry = start()
    serve(registry)
    path = f"{BASE}/blobs/{digest_of(LAYERS[0])}"
    good, registry.paths[path] = registry.paths[path], breaking(LAYERS[0][: 2**20] + b"x", 1000)
    registry.paths[path] = lambda asked: Said(500)
    with pytest.raises(RegistryError, match="HTTP 500"):
        save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert (tmp_path / "a.tar.part").stat().st_size > 1000 and not (tmp_path / "a.tar").exists()
    registry.paths[path] = good
    save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar.part").exists()


PROGRAM = """
import sys
from pathlib import Path
from tests.test_image_save import NOW, parse_reference, resolve, save_image
def step(what, done, total):
    print(done, flush=True)
    sys.stdin.readline()
pin = resolve(parse_reference(sys.argv[1]), {}, "linux/amd64", NOW)
save_image(pin, {}, Path(sys.argv[2]), step=step)
"""


@pytest.mark.slow
def test_two_that_write_one_archive_do_not_mix(start: Start, tmp_path: Path) -> None:
    registry = start()
    serve(registry)
    argv = [sys.executable, "-c", PROGRAM, f"{registry.address}/team/tf:1", str(tmp_path / "a.tar")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stdin
        assert running.stdout.readline()
        with pytest.raises(InputError, match="is being written by another process"):
            save_image(pin_of(registry), {}, tmp_path / "a.tar")
        running.kill()
    saved = save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert saved.bytes == (tmp_path / "a.tar").stat().st_size


def test_ctrl_c_keeps_what_arrived_and_the_same_command_continues(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, asked_for, may_answer = start(), threading.Event(), threading.Event()
    digest = serve(registry)
    large = f"{BASE}/blobs/{digest_of(LAYERS[0])}"

    def stall(asked: Asked) -> Said:
        asked_for.set()
        assert may_answer.wait(60)
        return ranged(LAYERS[0])(asked)

    registry.paths[large] = stall
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    words = ["image", "save", f"{registry.address}/team/tf:1", "-o", str(tmp_path / "a.tar")]
    argv = [sys.executable, "-m", "tfslurm", *words]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as running:
        assert asked_for.wait(60)
        running.send_signal(signal.SIGINT)
        assert running.stderr
        said = running.stderr.read()
    may_answer.set()
    assert running.returncode == 130 and "a.tar.part is kept; the same command continues it" in said
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest


# --- bytes and places that are not what they are said to be


def test_other_bytes_than_the_digest_names_are_not_kept(start: Start, tmp_path: Path) -> None:
    registry = start()
    serve(registry)
    registry.paths[f"{BASE}/blobs/{digest_of(LAYERS[0])}"] = ranged(LAYERS[0][:-1] + b"!")
    for _ in range(2):
        with pytest.raises(RegistryError, match=r"the bytes received have the digest .* do not use this source"):
            save_image(pin_of(registry), {}, tmp_path / "a.tar")
        assert (tmp_path / "a.tar.part").stat().st_size < 10_000


def test_a_blob_that_is_larger_than_its_manifest_says_is_cut_off(start: Start, tmp_path: Path) -> None:
    registry = start()
    serve(registry)
    registry.paths[f"{BASE}/blobs/{digest_of(LAYERS[0])}"] = Said(200, size=64 * 2**20)
    with pytest.raises(RegistryError, match="do not use this source"):
        save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert (tmp_path / "a.tar.part").stat().st_size < len(LAYERS[0]) + 10_000


def test_a_mirror_that_lacks_a_blob_or_lies_about_the_image_is_passed_over(start: Start, tmp_path: Path) -> None:
    registry, liar, poor = start(), start("127.0.0.2"), start("127.0.0.3")
    digest = serve(registry)
    serve(poor)
    del poor.paths[f"{BASE}/blobs/{digest_of(LAYERS[0])}"]
    other = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {}, "layers": []}).encode()
    liar.paths[f"{BASE}/manifests/{digest}"] = Said(200, other, {"Content-Type": MANIFEST})
    mirrors = {registry.address: [liar.address, poor.address]}
    saved = save_image(pin_of(registry), mirrors, tmp_path / "a.tar")
    assert saved.served_by == f"{poor.address}/team/tf"
    assert any(one.path.endswith(digest_of(b"two")) for one in poor.asked)
    assert [one.path for one in registry.asked if "blobs" in one.path][-1].endswith(digest_of(LAYERS[0]))


LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + "0" * 64, "size": 3}


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([{**LAYER, "urls": ["https://elsewhere.example/x"]}], "lies elsewhere than in a registry"),
        ([{**LAYER, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}], "lies elsewhere"),
        ([{**LAYER, "digest": "sha512:" + "0" * 128}], "checked with sha256"),
        ([{**LAYER, "digest": "sha256:../../../../etc/passwd"}], "a sha256 digest has 64"),
        ([{**LAYER, "size": -1}], "no size that could be"),
        ([{**LAYER, "size": 2**60}], "no size that could be"),
        ([{**LAYER, "size": True}], "no size that could be"),
        ([LAYER] * 1001, "1001 layers"),
    ],
)
def test_a_manifest_with_layers_that_cannot_be_kept_is_refused(
    start: Start, tmp_path: Path, layers: list[dict[str, Any]], why: str
) -> None:
    registry = start()
    digest = serve(registry, layers=layers)
    pin = replace(PIN, registry=registry.address, digest=digest, manifest_digest=digest)
    with pytest.raises(RegistryError, match=why) as caught:
        save_image(pin, {}, tmp_path / "a.tar")
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("a.tar*"))


def test_an_image_that_no_disk_has_room_for_is_refused_before_anything_is_written(start: Start, tmp_path: Path) -> None:
    registry = start()
    digest = serve(registry, layers=[{**LAYER, "size": 2**49}])
    pin = replace(PIN, registry=registry.address, digest=digest, manifest_digest=digest)
    with pytest.raises(InputError, match=r"needs 512.0 TiB more, and .* are free there; free some space"):
        save_image(pin, {}, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


PIN = Pin(
    reference="x/team/tf:1", registry="x", repository="team/tf", tag="1", digest="", digest_kind="manifest",
    pin_kind="registry", platform="linux/amd64", manifest_digest="", config_digest="", size_bytes=0,
    media_type=MANIFEST, created="", served_by="", pinned_at=NOW, entrypoint=(), environment={},
)  # fmt: skip


def test_an_image_of_one_daemon_is_refused_with_the_way_out(tmp_path: Path) -> None:
    pin = replace(PIN, digest="sha256:" + "a" * 64, digest_kind="config", pin_kind="image-id")
    with pytest.raises(InputError, match=r"of one docker daemon, and no registry has its bytes; run `docker save`"):
        save_image(pin, {}, tmp_path / "a.tar")


def test_a_file_that_is_there_is_never_replaced(start: Start, tmp_path: Path) -> None:
    registry = start()
    serve(registry)
    (tmp_path / "a.tar").write_text("mine")
    (tmp_path / "link.tar").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b.tar.part").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "c.tar.part")
    for name, why in (
        ("a.tar", "is not this image's archive"),
        ("link.tar", "is a symbolic link"),
        ("b.tar", "cannot be written"),
        ("c.tar", "is no regular file"),
        ("no/a.tar", "cannot be written"),
    ):
        with pytest.raises(InputError, match=why):
            save_image(pin_of(registry), {}, tmp_path / name)
    assert (tmp_path / "a.tar").read_text() == "mine" and not (tmp_path / "elsewhere").exists()


def test_a_place_is_not_asked_without_end(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = start()
    serve(registry)
    monkeypatch.setattr(image_source, "TRIES", 2)
    path = f"{BASE}/blobs/{digest_of(LAYERS[0])}"
    registry.paths[path] = lambda asked: Said(503)
    with pytest.raises(RegistryError, match="HTTP 503"):
        save_image(pin_of(registry), {}, tmp_path / "a.tar")
    assert sum(one.path == path for one in registry.asked) == 2
