"""`tfslurm image list`: the images of the tracker's jobs, and where each is known to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.fakes.registry import Start, no_settings_of_this_machine, start
from tests.test_audit import a_record, pin_of
from tests.test_image_inspect import config, serve
from tests.typed import Said
from tfslurm.cli import run

__all__ = ["no_settings_of_this_machine", "start"]
UNKNOWN = "c" * 64
ARCHIVE = "d" * 64


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_settings_of_this_machine: None) -> Iterator[Laptop]:
    yield Laptop.made(tmp_path, monkeypatch)


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    capsys.readouterr()
    code = run(["image", "list", *words])
    return Said(code, *capsys.readouterr())


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    said = typed(capsys, *words, "--json")
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout))


def lay(laptop: Laptop, *names: str) -> Path:
    """Files below ROOT/images, as jobs leave them."""
    folder = laptop.root / "images"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x" * 100)
    return folder


def test_without_a_job_there_is_none(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys) == (0, "no image: no job was submitted from here, and no cluster knows one\n", "")


def test_each_digest_is_listed_once_with_its_tags_jobs_and_places(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    one, other = serve(registry, config()), serve(registry, config(Cmd=["sh"]), "2")
    for number, (digest, tag) in enumerate([(one, "1"), (one, "1"), (one, "latest"), (other, "2")]):
        a_record(laptop, pin_of(registry, digest, tag), number)
    lay(laptop, f"{one.removeprefix('sha256:')}.json", f"{UNKNOWN}.json", f"{ARCHIVE}.tar", "x.json", f"{UNKNOWN}.tmp")
    asked = len(registry.asked)
    found = listed(capsys)
    assert len(registry.asked) == asked  # without --check no registry hears of it
    by_digest = {each["digest"]: each for each in found["images"]}
    assert set(by_digest) == {one, other, f"sha256:{UNKNOWN}"}
    name = f"{registry.address}/team/tf"
    assert (by_digest[one]["jobs"], sorted(by_digest[one]["names"])) == (3, [f"{name}:1", f"{name}:latest"])
    assert (by_digest[one]["seen_on"], by_digest[other]["seen_on"]) == (["alpha"], [])
    assert by_digest[other]["newest"] == "alpha:20"
    unused = by_digest[f"sha256:{UNKNOWN}"]
    assert (unused["used"], unused["jobs"], unused["bytes"], unused["names"]) == (False, 0, None, [])
    (archive,) = found["archives"]
    assert (archive["bytes"], archive["needed_by"], archive["digest"]) == (100, 0, "")
    said = typed(capsys).stdout
    assert "no job of yours used it" in said
    assert f"to remove it: rm {laptop.root}/images/{ARCHIVE}.tar" in said


def test_check_asks_registries_with_head_alone_and_says_what_is_gone(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    one, other = serve(registry, config()), serve(registry, config(Cmd=["sh"]), "2")
    a_record(laptop, pin_of(registry, one), 0)
    a_record(laptop, pin_of(registry, other, "2"), 1)
    for path in [path for path in registry.paths if path.endswith((other, "/2"))]:
        del registry.paths[path]
    before = len(registry.asked)
    found = {each["digest"]: each["served"] for each in listed(capsys, "--check")["images"]}
    assert found[one]["place"] == f"{registry.address}/team/tf"
    assert (found[other]["place"], found[other]["is_gone"]) == ("", True)
    assert {one.method for one in registry.asked[before:] if "/manifests/" in one.path} == {"HEAD"}
    assert "GONE" in typed(capsys, "--check").stdout


def test_a_folder_that_is_somebody_else_s_way_is_told_and_the_rest_is_listed(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    registry = start()
    a_record(laptop, pin_of(registry, serve(registry, config())))
    laptop.root.mkdir(exist_ok=True)
    (laptop.root / "images").symlink_to(tmp_path)
    said = typed(capsys)
    assert said.returncode == 0
    assert "alpha: its images are not known:" in said.stderr
    assert "is a link, or another user's" in said.stderr
    assert f"{registry.address}/team/tf:1" in said.stdout
