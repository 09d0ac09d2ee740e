"""What a registry tells of an image without a pull, and what two images differ in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.fakes.registry import (
    CONFIG,
    MANIFEST,
    Said,
    StandIn,
    Start,
    digest_of,
    image_manifest,
    no_settings_of_this_machine,
    start,
)
from tests.test_audit import a_record, pin_of
from tfslurm.image import Pin, lock_text, parse_lock
from tfslurm.images.known import known_of, ubuntu_end
from tfslurm.record.model import Environment, Package
from tfslurm.registry.documents import Unreadable, read_details

__all__ = ["no_settings_of_this_machine", "start"]
LAYERS = [("aa", 2**20), ("bb", 3 * 2**20)]
STEPS = [{"created_by": "ADD rootfs"}, {"created_by": "ENV A=1", "empty_layer": True}, {"created_by": "RUN pip"}]
UBUNTU = {"org.opencontainers.image.ref.name": "ubuntu", "org.opencontainers.image.version": "20.04"}


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_settings_of_this_machine: None) -> Iterator[Laptop]:
    yield Laptop.made(tmp_path, monkeypatch)


def config(history: object = STEPS, **runtime: object) -> bytes:
    said = {"Env": ["CUDA_VERSION=12.3.0", "API_TOKEN=hidden"], "Cmd": ["/bin/bash"], "Labels": UBUNTU, **runtime}
    return json.dumps({"os": "linux", "architecture": "amd64", "config": said, "history": history}).encode()


def serve(server: StandIn, body: bytes, tag: str = "1", layers: list[tuple[str, int]] = LAYERS) -> str:
    """Serve an image; its digest."""
    listed = [{"mediaType": "x", "digest": f"sha256:{two * 32}", "size": size} for two, size in layers]
    manifest = image_manifest(body, layers=listed)
    server.paths[f"/v2/team/tf/blobs/{digest_of(body)}"] = Said(200, body, {"Content-Type": CONFIG})
    server.put(f"/v2/team/tf/manifests/{digest_of(manifest)}", manifest, MANIFEST)
    return server.put(f"/v2/team/tf/manifests/{tag}", manifest, MANIFEST)


def typed(laptop: Laptop, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = laptop.type("image", *words)
    said = capsys.readouterr()
    return code, said.out or said.err


def test_an_image_is_shown_without_a_pull(start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    registry = start()
    digest = serve(registry, config())
    name = f"{registry.address}/team/tf:1"
    code, said = typed(laptop, capsys, "inspect", name)
    assert code == 0
    assert f"image       {registry.address}/team/tf@{digest}" in said
    assert said.startswith("warning     its Ubuntu 20.04 has had no standard security updates since 2025-05;")
    assert "to pull     4.0 MiB in 2 layers" in said
    assert "sha256:bbbbbbbbbbbb  3.0 MiB  RUN pip" in said
    assert "not known: no record here" in said
    assert "hidden" not in said
    assert "API_TOKEN=(not shown" in said
    assert all(f"sha256:{two * 32}" not in one.path for one in registry.asked for two, _ in LAYERS)
    value = json.loads(typed(laptop, capsys, "inspect", name, "--json")[1])
    assert (value["digest"], value["bytes"]) == (digest, 4 * 2**20 + len(config()))
    assert value["environment"]["CUDA_VERSION"] == "12.3.0"
    assert [layer["command"] for layer in value["layers"]] == ["ADD rootfs", "RUN pip"]
    assert value["inside"] == {}


def test_a_job_s_record_says_what_is_inside_and_an_experiment_s_lock_file_which_image(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    digest = serve(registry, config())
    found = Environment("3.11.2", "2.16.1", "12.3", "8", "Debian", "2.36", (Package("numpy", "1.26.4"),), "probe")
    a_record(laptop, pin_of(registry, digest), environment=found)
    code, said = typed(laptop, capsys, "inspect", "alpha:17")
    assert (code, "python 3.11.2, tensorflow 2.16.1" in said, "numpy 1.26.4" in said) == (0, True, True)
    name = laptop.experiment(image=f"{registry.address}/team/tf:1")
    (laptop.folder / "exp.lock.yaml").unlink()
    assert laptop.type("pin", name) == 0
    serve(registry, config(Cmd=["sh"]))  # the tag moves
    assert json.loads(typed(laptop, capsys, "inspect", name, "--json")[1])["digest"] == digest


def test_two_images_are_compared_by_layers_settings_and_packages(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    one = serve(registry, config(), "one")
    other = serve(registry, config([], Env=["CUDA_VERSION=12.5.1"]), "two", [LAYERS[0], ("cc", 5)])
    for number, (digest, numpy) in enumerate([(one, "1.26.4"), (other, "2.0.1")]):
        found = Environment("3.11", "2", None, None, None, None, (Package("numpy", numpy), Package("six", "1")), None)
        a_record(laptop, pin_of(registry, digest), number, environment=found)
    names = [f"{registry.address}/team/tf:{tag}" for tag in ("one", "two")]
    code, said = typed(laptop, capsys, "diff", *names, "--json")
    value = json.loads(said)
    assert (code, value["is_same"]) == (1, False)
    assert [layer["digest"][7:9] for layer in value["common"]] == ["aa"]
    assert [layer["digest"][7:9] for layer in value["only_b"]] == ["cc"]
    changes = {each["what"]: (each["a"], each["b"]) for each in value["settings"]}
    assert changes["variable CUDA_VERSION"] == ("12.3.0", "12.5.1")
    assert value["packages"] == [{"what": "numpy", "a": "1.26.4", "b": "2.0.1"}]
    assert "variable CUDA_VERSION" in typed(laptop, capsys, "diff", *names)[1]
    assert typed(laptop, capsys, "diff", names[0], "alpha:17") == (
        0,
        typed(laptop, capsys, "diff", names[0], names[0])[1],
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (config() + b" ", "its config is sha256:"),
        (config().replace(b"12.3.0", b"12.4.0"), "its config is sha256:"),
    ],
)
def test_a_config_that_is_not_the_manifest_s_is_refused(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str], body: bytes, why: str
) -> None:
    registry = start()
    digest = serve(registry, config())
    a_record(laptop, pin_of(registry, digest))
    registry.paths[f"/v2/team/tf/blobs/{digest_of(config())}"] = Said(200, body[: len(config())], {})
    if len(body) > len(config()):
        registry.paths[f"/v2/team/tf/blobs/{digest_of(config())}"] = Said(200, body, {})
        why = "it says that it sends 349 bytes"
    code, said = typed(laptop, capsys, "inspect", "alpha:17")
    assert (code, why in said) == (1, True), said


@pytest.mark.parametrize(
    "change",
    [
        {"history": "none"},
        {"history": [1, None, {"created_by": 3}]},
        {"Labels": ["a"], "ExposedPorts": 3, "Volumes": "x", "User": 7, "WorkingDir": None},
        {"Labels": {"a": {"b": 1}}},
    ],
)
def test_a_config_of_odd_shapes_says_nothing_there(change: dict[str, Any]) -> None:
    found = read_details(config(**change), 2)
    assert all(isinstance(text, str) for text in found.labels.values())
    assert found.command == ("/bin/bash",)
    if "history" in change:
        assert found.steps == ()


@pytest.mark.parametrize("body", [b"[]", b"{", config(Env=[1]), config(Cmd="bash"), config(Env=["A=\0"])])
def test_what_is_no_config_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_details(body, 2)


def test_control_characters_of_an_image_do_not_reach_the_terminal(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    serve(registry, config([{"created_by": "RUN \x1b[31mred\nline"}] * 2, Labels={"a\x1b]0;x\x07": "b\nc"}))
    code, said = typed(laptop, capsys, "inspect", f"{registry.address}/team/tf:1")
    assert code == 0
    assert "\x1b" not in said
    assert "\x07" not in said


def test_a_long_command_of_a_layer_is_cut_and_a_crate_that_is_not_there_is_said(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    serve(registry, config([{"created_by": f"RUN {'install this; ' * 500}"}] * 2))
    code, said = typed(laptop, capsys, "inspect", f"{registry.address}/team/tf:1")
    assert code == 0 and "RUN install this; install" in said and max(map(len, said.splitlines())) < 200
    code, said = typed(laptop, capsys, "inspect", "gone.zip")
    assert (code, "gone.zip: cannot be read: No such file or directory" in said) == (2, True), said


def details(**runtime: object) -> Any:
    return read_details(config(**runtime), 2)


@pytest.mark.parametrize(
    ("runtime", "month", "said"),
    [
        ({"Labels": {}}, "2026-11", []),
        ({"Labels": {}, "Env": []}, "2026-11", ["its variables name no CUDA"]),
        ({"Labels": {}, "Cmd": ["bash", "-c", "jupyter notebook"]}, "2026-11", ["starts Jupyter, as root"]),
        ({"Labels": {}, "Cmd": None, "Entrypoint": ["jupyter-lab"], "User": "jo"}, "2026-11", ["Jupyter, as jo"]),
        ({}, "2025-04", []),
        ({}, "2025-06", ["its Ubuntu 20.04 has had no"]),
        ({"Labels": {**UBUNTU, "org.opencontainers.image.ref.name": "other"}}, "2026-11", []),
    ],
)
def test_what_is_known_of_an_image(runtime: dict[str, object], month: str, said: list[str]) -> None:
    found = list(known_of(A_PIN, details(**runtime), {}, month))
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))


def test_a_gpu_image_that_finds_no_gpu_is_named_by_tag_or_by_what_was_seen() -> None:
    plain = details(Labels={})
    pin = replace(A_PIN, repository="tensorflow/tensorflow", tag="2.19.0-gpu")
    assert "finds no GPU" in next(known_of(pin, plain, {}, "2026-11"))
    seen = {"tensorflow": "2.17.0", "cuda": "12.3", "cuda_present": "12.3", "cudnn": "8", "cudnn_present": "8"}
    assert list(known_of(pin, plain, seen, "2026-11")) == []
    assert ubuntu_end({**UBUNTU, "org.opencontainers.image.version": "99.04"}, "2026-11") == ""


A_PIN = Pin(
    "r/team/tf:1", "r", "team/tf", "1", "sha256:" + "0" * 64, "manifest", "registry", "linux/amd64", "", "", 0, "", "",
    "", "2026-01-01T00:00:00Z", (), {},
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "gpus", "said"),
    [
        ({"PATH": "/bin"}, 1, "its configuration names no CUDA"),
        ({"PATH": "/bin"}, 0, ""),
        ({"CUDA_VERSION": "12.3.0"}, 0, "it is made for GPUs, and the job asks for none"),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, 0, "it is made for GPUs"),
        ({"LD_LIBRARY_PATH": "/usr/local/cuda/compat"}, 0, "it is made for GPUs"),
        ({"CUDA_VERSION": "12.3.0"}, 2, ""),
        ({}, 1, ""),
    ],
)
def test_plan_says_it_where_the_variant_of_the_image_does_not_suit_the_job(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], environment: dict[str, str], gpus: int, said: str
) -> None:
    name = laptop.experiment(resources={"gpus": gpus})
    lock = laptop.folder / "exp.lock.yaml"
    pin = parse_lock(lock.read_text(), "lock", json.loads((laptop.folder / name).read_text())["image"])
    lock.write_text(lock_text(replace(pin, environment=environment)))
    assert laptop.type("plan", name, "--json") == 0
    notes = [note for note in json.loads(capsys.readouterr().out)[0]["notes"] if note.startswith("image: ")]
    assert len(notes) == bool(said)
    assert all(note.startswith(f"image: {said}") for note in notes)
