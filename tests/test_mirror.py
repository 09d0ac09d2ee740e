"""An image is mirrored by its digest: nothing is sent twice, what broke off is continued, and what is false is refused.

By stand-ins for two registries (tests/fakes/shelf.py); tests/cluster/test_mirror.py has the real ones.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import CONFIG, INDEX, MANIFEST, Asked, Said, digest_of, error, no_settings_of_this_machine
from tests.fakes.shelf import Shelf, a_shelf
from tests.made import CLUSTER, PIN
from tests.typed import Said as Typed
from tests.typed import Type, typed_in
from tfslurm.cluster import parse_cluster
from tfslurm.errors import InputError, RegistryError
from tfslurm.image import Pin, mirror_names, parse_reference
from tfslurm.image.pin import pin_by_digest
from tfslurm.images.copy_blobs import in_threads
from tfslurm.images.mirror import mirror_image
from tfslurm.images.mirror_names import lines_for, mirrors_line, place_of, registry_of
from tfslurm.images.named import NamedImage
from tfslurm.workspace.threads import in_background

__all__ = ["no_settings_of_this_machine"]
LAYERS = [os.urandom(300_000), b"a layer", b"another"]
OCI = "application/vnd.oci"
FULL = b'{"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": {"Enclosed": {"Err": 28}}}]}'
"As docker-registry 2.8.2 answers when its disk is full."
DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def origin() -> Iterator[Shelf]:
    with a_shelf() as running:
        yield running


@pytest.fixture
def target() -> Iterator[Shelf]:
    with a_shelf() as running:
        yield running


def settings(folder: Path) -> dict[str, str | Path]:
    return {"XDG_CONFIG_HOME": folder / "config", "XDG_DATA_HOME": folder / "data"}


@pytest.fixture
def tfslurm(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_settings_of_this_machine: None,
) -> Type:
    return typed_in(tmp_path, settings(tmp_path), monkeypatch, capsys)


def with_mirrors(folder: Path, mirrors: dict[str, list[str]]) -> None:
    """A cluster of the user's own, alpha, has these mirrors."""
    path = folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"name: alpha\nroot: /tmp/alpha\nmirrors: {json.dumps(mirrors)}\n")


def mirrored(said: Typed) -> dict[str, Any]:
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def hows(found: dict[str, Any]) -> dict[str, int]:
    return {how: sum(blob["how"] == how for blob in found["blobs"]) for how in {each["how"] for each in found["blobs"]}}


def an_index(registry: Shelf, repository: str = "team/tf", *tags: str) -> tuple[str, str, str]:
    """An image of two platforms and an attestation; the digests of the index and of the two manifests."""
    amd = registry.lay_image(repository, LAYERS)
    arm = registry.lay_image(repository, [*LAYERS[:1], b"for arm"], machine="arm64")
    proof = registry.lay_image(repository, [b"{}"])
    entries = [
        registry.entry(repository, digest) | {"platform": {"os": system, "architecture": machine}}
        for digest, system, machine in ((amd, "linux", "amd64"), (arm, "linux", "arm64"), (proof, "unknown", "unknown"))
    ]
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return str(registry.lay(repository, value, *tags)["digest"]), amd, arm


# --- what is copied


@pytest.mark.slow
def test_the_mirror_serves_the_very_bytes_and_a_second_call_sends_nothing(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    digest = origin.lay_image("team/tf", LAYERS, "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", f"{target.address}/copies/")
    said = tfslurm(*words)
    assert said.returncode == 0, said.stderr
    first, *rest = said.stdout.splitlines()
    assert first.startswith(
        f"{target.address}/copies/team/tf@{digest}: blobs: 4 sent (293.0 KiB); it serves every digest"
    )
    assert rest == [
        "tag 1 stands for it there",
        f'write in the cluster file: mirrors: {{"{origin.address}": ["{target.address}/copies"]}}',
    ]
    for reference in ("1", digest):
        assert target.manifests["copies/team/tf", reference] == origin.manifests["team/tf", "1"]
    assert {name for _, name in target.blobs} == {name for _, name in origin.blobs}
    sent = target.bytes_taken
    assert sent == sum(map(len, origin.blobs.values()))
    pushed = target.count("POST", "PATCH", "PUT")
    again = mirrored(tfslurm(*words, "--json"))
    assert (again["bytes_sent"], hows(again), target.bytes_taken) == (0, {"there": 4}, sent)
    assert pushed == target.count("POST", "PATCH", "PUT")


@pytest.mark.slow
def test_of_an_index_all_platforms_go_and_attestations_and_their_sizes_are_said_first(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    index, amd, arm = an_index(origin, "team/tf", "1")
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert said.returncode == 0, said.stderr
    assert "an index of 2 platforms: linux/amd64 293.0 KiB, linux/arm64 293.0 KiB; --platform copies one" in said.stderr
    assert {digest for name, digest in target.manifests if name == "team/tf"} == {
        "1", *(each["digest"] for each in json.loads(origin.manifests["team/tf", index][0])["manifests"]), index
    }  # fmt: skip
    assert {amd, arm, index} <= {reference for _, reference in target.manifests}


def test_one_platform_is_its_manifest_without_the_index_and_without_a_tag(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    _, amd, arm = an_index(origin, "team/tf", "1")
    name = f"{origin.address}/team/tf:1"
    found = mirrored(tfslurm("image", "mirror", name, "--to", target.address, "--platform", "linux/arm64", "--json"))
    assert (found["digest"], found["documents"], found["tag"]) == (arm, [arm], "")
    assert set(target.manifests) == {("team/tf", arm)}
    both = mirrored(
        tfslurm(
            "image",
            "mirror",
            name,
            "--to",
            target.address,
            "--platform",
            "linux/amd64",
            "--platform",
            "linux/arm64",
            "--json",
        )
    )
    assert both["documents"] == [amd, arm] and set(both["platforms"]) == {"linux/amd64", "linux/arm64"}
    wrong = tfslurm("image", "mirror", name, "--to", target.address, "--platform", "linux/riscv64")
    assert wrong.returncode == 1 and "there is no linux/riscv64 in it; its platforms are: linux/amd64" in wrong.stderr


def test_a_dry_run_asks_and_writes_nothing(origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path) -> None:
    origin.lay_image("team/tf", LAYERS, "1")
    target.lay_blob("team/tf", LAYERS[0])
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address, "--dry-run")
    said = tfslurm(*words)
    assert "blobs: 1 there already (293.0 KiB), 3 to be sent (68 bytes)\n" in said.stdout
    assert {one.method for one in target.asked} <= {"HEAD", "GET"}
    assert not (tmp_path / "data" / "tfslurm" / "uploads").exists()


def test_a_layer_that_lies_elsewhere_is_left_out_and_named(origin: Shelf, target: Shelf, tfslurm: Type) -> None:
    foreign = {"mediaType": f"{OCI}.image.layer.nondistributable.v1.tar", "digest": DIGEST, "size": 7}
    config = origin.lay_blob("team/tf", b'{"os": "linux", "architecture": "amd64"}', CONFIG)
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config}
    origin.lay("team/tf", value | {"layers": [foreign | {"urls": ["https://elsewhere.example/layer"]}]}, "1")
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert said.returncode == 0 and "1111… lies at https://elsewhere.example/layer, and is not copied" in said.stderr
    assert ("team/tf", "1") in target.manifests and len(target.blobs) == 1


# --- mounts


@pytest.mark.slow
def test_blobs_that_another_repository_of_the_target_has_are_not_sent(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    origin.lay_image("team/tf", LAYERS, "1")
    origin.lay_image("team/derived", [*LAYERS, b"pandas"], "1")
    name = f"{origin.address}/team"
    mirrored(tfslurm("image", "mirror", f"{name}/tf:1", "--to", target.address, "--json"))
    sent = target.bytes_taken
    found = mirrored(tfslurm("image", "mirror", f"{name}/derived:1", "--to", target.address, "--json"))
    assert hows(found) == {"sent": 1, "mounted": 4} and target.bytes_taken - sent == found["bytes_sent"] == len(
        b"pandas"
    )
    same = mirrored(tfslurm("image", "mirror", f"{name}/tf:1", "--to", f"{origin.address}/copies", "--json"))
    assert hows(same) == {"mounted": 4} and origin.bytes_taken == 0


# --- interruptions


PROGRAM = "import sys; from tfslurm.cli import run; sys.exit(run(sys.argv[1:]))"
LARGE = b"0123456789abcdef" * (34 * 2**16)  # 34 MiB: two pieces


def started(folder: Path, *words: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = {**os.environ, "TERM": "xterm", **{name: str(path) for name, path in settings(folder).items()}}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def killed_at(number: int, running: list[subprocess.Popen[str]]) -> Callable[[Asked], Said]:
    """Kill the process when that piece of an upload of LARGE has come, before it counts as received."""
    pieces = []

    def first(asked: Asked) -> Said:
        if asked.method == "PATCH" and len(asked.body) > 2**20:
            pieces.append(asked)
            if len(pieces) == number:
                running[0].kill()
                return Said(500)
        return Said(200)

    return first


@pytest.mark.slow
def test_a_mirror_that_was_killed_goes_on_at_the_piece_where_it_was(
    origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path
) -> None:
    digest = origin.lay_image("team/tf", [LARGE, b"small"], "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    running: list[subprocess.Popen[str]] = []
    target.guard = killed_at(2, running)
    running.append(started(tmp_path, *words))
    assert running[0].wait() == -signal.SIGKILL
    running[0].communicate()
    target.guard = None
    before = target.bytes_taken
    assert before >= 2**25
    found = mirrored(tfslurm(*words, "--json"))
    assert target.bytes_taken - before == found["bytes_sent"]
    (large,) = (blob for blob in found["blobs"] if blob["bytes"] == len(LARGE))
    assert large["bytes_sent"] == len(LARGE) - 2**25
    assert target.blobs["team/tf", digest_of(LARGE)] == LARGE and ("team/tf", digest) in target.manifests
    assert not [*(tmp_path / "data" / "tfslurm" / "uploads").glob(f"*/{digest_of(LARGE)[7:]}.json")]


@pytest.mark.slow
def test_ctrl_c_ends_at_a_piece_and_the_same_command_continues(
    origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path
) -> None:
    origin.lay_image("team/tf", [LARGE], "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    running: list[subprocess.Popen[str]] = []

    def first(asked: Asked) -> Said:
        if asked.method == "PATCH" and len(asked.body) == 2**25:
            running[0].send_signal(signal.SIGINT)
            assert running[0].stderr and "Ctrl-C again ends at once" in running[0].stderr.readline()
        return Said(200)

    target.guard = first
    running.append(started(tmp_path, *words))
    assert running[0].wait() == 130
    running[0].communicate()
    found = mirrored(tfslurm(*words, "--json"))
    (large,) = (blob for blob in found["blobs"] if blob["bytes"] == len(LARGE))
    assert large["bytes_sent"] == len(LARGE) - 2**25


def test_ctrl_c_while_the_threads_begin_ends_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    off, told, begun = threading.Event(), list[str](), list[bool]()

    def begin(work: Callable[[], None]) -> Callable[[], None]:
        if begun:
            raise KeyboardInterrupt
        begun.append(in_background(work) is not None)
        return lambda: None

    @contextmanager
    def opened() -> Iterator[Callable[[int], bool]]:
        yield lambda _: off.wait(30)

    monkeypatch.setattr("tfslurm.images.copy_blobs.in_background", begin)
    with pytest.raises(KeyboardInterrupt):
        in_threads([1, 2], opened, off, told.append)
    assert off.is_set() and "Ctrl-C again ends at once" in told[0]


@pytest.mark.slow
def test_an_upload_that_the_registry_forgot_begins_again(
    origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path
) -> None:
    origin.lay_image("team/tf", [LARGE], "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    running: list[subprocess.Popen[str]] = []
    target.guard = killed_at(2, running)
    running.append(started(tmp_path, *words))
    running[0].communicate()
    target.guard = None
    target.uploads.clear()
    (large, *_) = mirrored(tfslurm(*words, "--json"))["blobs"]
    assert large["bytes_sent"] == len(LARGE) == len(target.blobs["team/tf", digest_of(LARGE)])


@pytest.mark.slow
def test_two_at_once_to_one_place_do_not_mix(origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path) -> None:
    origin.lay_image("team/tf", LAYERS, "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    answers: list[Typed] = []
    only_one = threading.Lock()

    def first(asked: Asked) -> Said:
        if asked.method == "POST" and only_one.acquire(blocking=False):
            other = started(tmp_path, *words)
            out, err = other.communicate()
            answers.append(Typed(other.returncode, out, err))
        return Said(200)

    target.guard = first
    assert tfslurm(*words).returncode == 0
    assert answers[0].returncode == 2
    assert "another tfslurm is uploading there on this machine; wait for it" in answers[0].stderr


@pytest.mark.slow
def test_what_is_said_while_a_bar_is_drawn_stands_on_a_line_of_its_own(
    origin: Shelf, target: Shelf, tmp_path: Path, no_settings_of_this_machine: None
) -> None:
    an_index(origin, "team/tf", "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    ours, its = pty.openpty()
    running = started(tmp_path, *words, stderr=its)
    os.close(its)
    shown = b""
    with suppress(OSError):  # the end, as a terminal says it
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert running.wait() == 0
    running.communicate()
    assert f"\x1b[2K{origin.address}/team/tf: an index of 2 platforms" in shown.decode()


# --- sources that break or lie


def test_a_mirror_that_lies_or_lacks_a_layer_is_passed_over(
    origin: Shelf, target: Shelf, tfslurm: Type, tmp_path: Path
) -> None:
    with a_shelf() as liar:
        digest = origin.lay_image("team/tf", LAYERS, "1")
        liar.lay_image("team/tf", LAYERS, "1")
        liar.blobs["team/tf", digest_of(LAYERS[0])] = b"x" * len(LAYERS[0])
        del liar.blobs["team/tf", digest_of(LAYERS[1])]
        with_mirrors(tmp_path, {origin.address: [liar.address]})
        found = mirrored(tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address, "--json"))
    assert found["served_by"] == f"{liar.address}/team/tf"
    assert all(target.blobs["team/tf", digest_of(layer)] == layer for layer in LAYERS)
    assert ("team/tf", digest) in target.manifests


def test_bytes_that_are_false_everywhere_are_refused_and_nothing_stands_for_the_image(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    origin.lay_image("team/tf", LAYERS, "1")
    origin.blobs["team/tf", digest_of(LAYERS[0])] = b"x" * len(LAYERS[0])
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert said.returncode == 1 and said.stderr.count("\n") == 1
    assert f"{origin.address}/team/tf: {digest_of(LAYERS[0])[:19]}…: it sends other bytes; do not use" in said.stderr
    assert not target.manifests and ("team/tf", digest_of(LAYERS[0])) not in target.blobs


@pytest.mark.parametrize("part", ["size", "digest", "config", "child"])
def test_documents_that_do_not_fit_are_refused_before_anything_is_sent(
    origin: Shelf, target: Shelf, tfslurm: Type, part: str
) -> None:
    amd = origin.lay_image("team/tf", LAYERS)
    value = json.loads(origin.manifests["team/tf", amd][0])
    if part == "size":
        value["layers"][0]["size"] = -1
    if part == "digest":
        value["layers"][0]["digest"] = "md5:" + "0" * 32
    if part == "config":
        del value["config"]
    if part == "child":
        listed = origin.entry("team/tf", amd) | {"platform": {"os": "linux", "architecture": "amd64"}, "size": 5}
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}
    digest = origin.lay("team/tf", value)["digest"]
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf@{digest}", "--to", target.address)
    assert said.returncode == 1 and said.stderr.count("\n") == 1 and not target.asked


def index_of(registry: Shelf, *entries: dict[str, Any]) -> dict[str, Any]:
    return registry.lay("team/tf", {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)})


def test_an_index_within_an_index_goes_after_what_it_names(origin: Shelf, target: Shelf, tfslurm: Type) -> None:
    image = origin.entry("team/tf", origin.lay_image("team/tf", LAYERS))
    image["platform"] = {"os": "linux", "architecture": "amd64"}
    other = origin.entry("team/tf", origin.lay_image("team/tf", LAYERS[1:]))
    top = index_of(origin, image, index_of(origin, other, image))["digest"]
    found = mirrored(tfslurm("image", "mirror", f"{origin.address}/team/tf@{top}", "--to", target.address, "--json"))
    assert len(found["documents"]) == 4 and {each for _, each in target.manifests} == set(found["documents"])


def test_an_index_of_more_than_an_image_has_is_refused(origin: Shelf, target: Shelf, tfslurm: Type) -> None:
    deep = origin.entry("team/tf", origin.lay_image("team/tf", LAYERS))
    for _ in range(5):
        deep = index_of(origin, deep)
    wide = index_of(origin, *({**deep, "digest": f"sha256:{number:064x}"} for number in range(301)))
    image = origin.lay_image("team/tf", LAYERS)
    fat = origin.lay(
        "team/tf", {**json.loads(origin.manifests["team/tf", image][0]), "annotations": {"a": "x" * 4_000_000}}
    )
    others = [
        origin.lay("team/tf", {**json.loads(origin.manifests["team/tf", fat["digest"]][0]), "n": number})
        for number in range(5)
    ]
    for top, why in (
        (deep, "more than 3 levels deep"),
        (wide, "it names 301 manifests, and 300 are the most"),
        (index_of(origin, *others), "16 MiB together, are the most"),
    ):
        origin.asked.clear()
        pinned = replace(PIN, **pin_fields(origin, top["digest"]))
        with pytest.raises(RegistryError, match=why):
            mirror_image(NamedImage(pinned, {}), place_of(pinned, target.address))
        assert len(origin.asked) < 10
    assert not target.asked


def pin_fields(registry: Shelf, digest: str) -> dict[str, Any]:
    return {"registry": registry.address, "repository": "team/tf", "digest": digest, "digest_kind": "index", "tag": ""}


def test_schema_1_is_refused_in_words(origin: Shelf, target: Shelf, tfslurm: Type) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    origin.lay("team/tf", {"schemaVersion": 1, "mediaType": kind, "fsLayers": []}, "1")
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert said.returncode == 1 and "it is a schema 1 manifest, which docker no longer pulls" in said.stderr


# --- the target


@pytest.mark.parametrize(
    ("method", "said", "expected"),
    [
        ("POST", error(403, "DENIED", "requested access is denied"), "DENIED"),
        ("POST", error(405, "UNSUPPORTED", "the registry is read-only"), "read-only"),
        ("PATCH", error(507, "UNKNOWN", "no space left on device"), "no space left"),
        ("PUT", Said(500, FULL), "its disk, a quota, or its limit of one upload is reached"),
    ],
)
def test_a_target_that_refuses_is_one_line(
    origin: Shelf, target: Shelf, tfslurm: Type, method: str, said: Said, expected: str
) -> None:
    origin.lay_image("team/tf", [b"one"], "1")
    target.guard = lambda asked: said if asked.method == method else Said(200)
    found = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert found.returncode == 1 and expected in found.stderr, found.stderr
    assert found.stderr.startswith(f"error: {target.address}/team/tf: ") and found.stderr.count("\n") == 1
    assert not target.manifests


def test_a_target_that_forgets_a_blob_is_found_out(origin: Shelf, target: Shelf, tfslurm: Type) -> None:
    origin.lay_image("team/tf", LAYERS, "1")

    def first(asked: Asked) -> Said:
        if asked.method == "GET" and asked.path.endswith("/manifests/1"):  # what was pushed last is looked at
            target.blobs.pop(("team/tf", digest_of(LAYERS[1])))
        return Said(200)

    target.guard = first
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    assert said.returncode == 1 and "it took this blob, and does not have it; try again" in said.stderr


def test_a_tag_that_stands_for_another_image_there_stays_unless_it_is_asked_for(
    origin: Shelf, target: Shelf, tfslurm: Type
) -> None:
    digest = origin.lay_image("team/tf", LAYERS, "1")
    other = target.lay_image("team/tf", [b"other"], "1")
    words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
    said = tfslurm(*words)
    assert f"the tag there stands for {other}, and stays; --tag moves it" in said.stdout
    assert digest_of(target.manifests["team/tf", "1"][0]) == other
    assert mirrored(tfslurm(*words, "--tag", "1", "--json"))["tag"] == "1"
    assert digest_of(target.manifests["team/tf", "1"][0]) == digest


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--tag", "bad/tag"), "is not a tag"),
        (("--tag", ""), ""),
        (
            ("--tag", "x", "--platform", "linux/amd64", "--platform", "linux/arm64"),
            "cannot stand for several manifests",
        ),
    ],
)
def test_a_tag_that_cannot_be_is_refused_before_anything_is_sent(
    origin: Shelf, target: Shelf, tfslurm: Type, words: tuple[str, ...], why: str
) -> None:
    an_index(origin, "team/tf", "1")
    said = tfslurm("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address, *words)
    assert said.returncode == (2 if why else 0) and why in said.stderr
    assert bool(target.asked) is not bool(why)


# --- attestations and signatures


def sign(registry: Shelf, repository: str, digest: str) -> tuple[str, str]:
    """An attestation by its subject, with one about itself, and a signature of cosign's; digests of the first two."""
    empty = registry.lay_blob(repository, b"{}", f"{OCI}.empty.v1+json")
    found = []
    subject = digest
    for text in (b"a bill of materials", b"a signature of the bill"):
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/x", "config": empty}
        about = registry.entry(repository, subject)
        named = registry.lay(repository, value | {"layers": [registry.lay_blob(repository, text)], "subject": about})
        if not registry.lists_referrers:
            listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named | {"artifactType": "text/x"}]}
            registry.lay(repository, listed, subject.replace(":", "-"))
        subject = named["digest"]
        found.append(subject)
    registry.lay_image(repository, [b"simple signing"], f"{digest.replace(':', '-')}.sig")
    return found[0], found[1]


@pytest.mark.parametrize(("here", "there"), [(True, False), (False, True)], ids=["lists to tags", "tags to lists"])
def test_attestations_and_signatures_go_where_they_are_asked_for(tfslurm: Type, here: bool, there: bool) -> None:
    with a_shelf(lists_referrers=here) as origin, a_shelf(lists_referrers=there) as target:
        digest = origin.lay_image("team/tf", LAYERS, "1")
        bill, signature = sign(origin, "team/tf", digest)
        words = ("image", "mirror", f"{origin.address}/team/tf:1", "--to", target.address)
        assert mirrored(tfslurm(*words, "--json"))["referrers"] == []
        assert ("team/tf", bill) not in target.manifests
        found = mirrored(tfslurm(*words, "--with-referrers", "--json"))
        assert {bill, signature} < set(found["referrers"]) and len(found["referrers"]) == 3
        tag = digest.replace(":", "-")
        assert target.manifests["team/tf", f"{tag}.sig"] == origin.manifests["team/tf", f"{tag}.sig"]
        assert (("team/tf", tag) in target.manifests) is not there
        if not there:
            (listed,) = json.loads(target.manifests["team/tf", tag][0])["manifests"]
            assert listed["digest"] == bill and listed["size"] == len(origin.manifests["team/tf", bill][0])
        puts = target.count("PUT")
        mirrored(tfslurm(*words, "--with-referrers", "--json"))
        assert target.count("PUT") == puts


# --- names


def pin(name: str = "docker.io/tensorflow/tensorflow") -> Pin:
    return pin_by_digest(parse_reference(f"{name}@{DIGEST}"), "2026-11-29T00:00:00Z")


@pytest.mark.parametrize(
    ("target", "flat", "name"),
    [
        ("registry.example", False, "registry.example/tensorflow/tensorflow"),
        ("registry.example:5000/team/mirror/", False, "registry.example:5000/team/mirror/tensorflow/tensorflow"),
        ("registry.example/team", True, "registry.example/team/tensorflow"),
        ("docker.io/alice", False, "docker.io/alice/tensorflow"),
        ("localhost:5000", False, "localhost:5000/tensorflow/tensorflow"),
    ],
)
@pytest.mark.parametrize(
    "before",
    [
        {},
        {"docker.io": ["old.example/m"]},
        {"docker.io/tensorflow": ["old.example:5000/x"], "quay.io": ["q.example"]},
        {"docker.io/tensorflow/tensorflow": ["old.example/y"], "docker.io": ["old.example"]},
    ],
)
def test_the_line_for_the_cluster_file_leads_to_the_mirror_first_and_keeps_the_others(
    target: str, flat: bool, name: str, before: dict[str, list[str]]
) -> None:
    place = place_of(pin(), target, flat=flat)
    assert place.name == name
    line = mirrors_line(pin(), place, before)
    after = parse_cluster(f"name: alpha\nroot: /scratch/alice\n{line}\n", file="alpha.yaml").mirrors
    assert mirror_names(pin().name, after) == (name, *mirror_names(pin().name, before))
    others = "quay.io/a/b"
    assert mirror_names(others, after) == mirror_names(others, before)
    assert mirrors_line(pin(), place, after) == ""


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("mirror", "'mirror' is no host of a registry"),
        ("alice/images", "'alice' is no host of a registry"),
        ("docker.io", "Docker Hub keeps images below the name of a user"),
        ("registry.example/x:1", "without a tag and a digest"),
        (f"registry.example/x@{DIGEST}", "without a tag and a digest"),
        ("https://registry.example/x", "has no scheme here; write registry.example/x"),
        ("https://me:hidden@registry.example/x", "--to https://registry.example/x: a registry has no scheme here"),
        ("me:hidden@registry.example", "a login does not stand here; run `docker login`"),
        ("registry.example/Upper", "a repository name is lower case"),
        ("docker.io/tensorflow", "that is where the image is"),
        ("registry.example/" + "a" * 250, "at most 255 characters"),
        ("", "is no host of a registry"),
        ("[::1]:5000/x", "a cluster file takes no address of IPv6"),
    ],
)
def test_a_target_that_is_none_is_refused(target: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        place_of(pin(), target)
    assert why in str(caught.value) and len(caught.value.problems) == 1 and "hidden" not in str(caught.value)


def test_an_image_that_is_below_the_target_already_is_not_laid_below_it_again() -> None:
    own = replace(pin(), registry="registry.example", repository="alice/tf")
    with pytest.raises(InputError, match=r"that is where the image is: registry\.example/alice/tf"):
        place_of(own, "registry.example/alice")
    assert place_of(own, "registry.example/copies").name == "registry.example/copies/alice/tf"


def test_clusters_with_the_same_mirrors_get_one_line() -> None:
    clusters = [replace(CLUSTER, name=name) for name in ("alpha", "beta")]
    place = place_of(pin(), "registry.example")
    assert list(lines_for(pin(), place, clusters).values()) == [("alpha", "beta")]


def test_without_a_target_it_is_the_registry_of_the_cluster_files() -> None:
    ours = replace(CLUSTER, registry="registry.example/lab")
    assert registry_of([CLUSTER, ours, ours]) == "registry.example/lab"
    for clusters, why in (
        ([CLUSTER], "no cluster file names a registry"),
        ([ours, replace(ours, registry="other.example")], "name 2: registry.example/lab, other.example"),
    ):
        with pytest.raises(InputError, match=f"--to: .*{why}; name one"):
            registry_of(clusters)


def test_an_image_of_one_daemon_is_refused() -> None:
    """Its id is no digest that a registry could serve."""
    local = replace(PIN, digest=DIGEST, digest_kind="config", pin_kind="image-id")
    with pytest.raises(InputError, match=r"of one docker daemon, and no registry has its bytes; push it to a registry"):
        mirror_image(NamedImage(local, {}), place_of(local, "registry.example"))
