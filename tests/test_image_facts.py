"""What is inside an image: read from the probe's document, and asked of whoever already knows it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import PIN
from tfslurm.errors import TfslurmError
from tfslurm.image.facts import image_facts
from tfslurm.packages.facts import facts_of
from tfslurm.workspace.session import Session

FACTS: dict[str, Any] = {
    "schema": "tfslurm.image/1",
    "python": "3.11.2",
    "glibc": "2.36",
    "packages": [{"name": "Python_Dateutil", "version": "2.9"}, {"name": "tensorflow", "version": "2.16.1"}],
    "errors": [],
}


def test_the_facts_of_an_image_have_normalized_names_and_the_platform_of_wheels() -> None:
    found = image_facts(json.dumps(FACTS).encode(), "linux/amd64")
    assert found.packages == {"python-dateutil": "2.9", "tensorflow": "2.16.1"} and found.tensorflow == "2.16.1"
    assert found.platform == "manylinux_2_36_x86_64"
    musl = image_facts(json.dumps({**FACTS, "glibc": None}).encode(), "linux/arm64")
    assert (musl.glibc, musl.platform) == ("", "linux_aarch64")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": "tfslurm.image/2"}, "is not what the probe"),
        ({"python": None, "errors": ["probe ended with 127: no python"]}, "could not be asked: probe ended with 127"),
        ({"python": "3.11.2; rm"}, "could not be asked"),
        ({"packages": [7]}, "its list of packages is none"),
    ],
)
def test_a_document_that_says_no_python_is_refused_with_its_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        image_facts(json.dumps({**FACTS, **changes}).encode(), "linux/amd64")


def test_a_cluster_that_ran_the_image_is_asked_once_and_nobody_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    file = laptop.root / "images" / f"{PIN.digest.removeprefix('sha256:')}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(FACTS))
    with Session(print) as session:
        first = facts_of(session, PIN, [laptop.known])
        file.unlink()
        assert facts_of(session, PIN, [laptop.known]) == facts_of(session, PIN, []) == first


@pytest.mark.parametrize(
    ("srun", "code", "told"),
    [
        ("Requested nodes are busy", 1, "alpha: no node was free within 600 s"),
        (
            "alpha1: task 0: Exited with exit code 127",
            127,
            "^image .+: has no Python, and `packages` are for one; name",
        ),
        ("Invalid partition name specified", 1, "alpha: srun: error: Invalid partition name specified"),
    ],
)
def test_an_image_of_which_nobody_knows_is_told_with_what_was_tried(
    srun: str, code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    pin = replace(PIN, digest="sha256:" + "7" * 64)
    laptop.slurm.program("srun", f"echo 'srun: error: {srun}' >&2; exit {code}")
    engine = tmp_path / "engine" / "docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\nexit 1\n")  # a stand-in: it has no image
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    said: list[str] = []
    with Session(said.append) as session, pytest.raises(TfslurmError, match=told):
        facts_of(session, pin, [laptop.known])
    assert said == ["looking into tensorflow/tensorflow:2.16.1-gpu: a short job on alpha runs a container of it"]
