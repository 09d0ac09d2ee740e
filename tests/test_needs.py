"""What a service needs of its image: told before its job is queued, as far as the cluster's file of facts says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import CONFIG, PIN
from tests.test_image_facts import FACTS
from tests.typed import Type
from tfslurm.errors import InputError
from tfslurm.image import PackageLock, Wheel
from tfslurm.image.packages import package_lock
from tfslurm.job_plan.holding import Service
from tfslurm.services.needs import NEEDS, is_added, refuse_lacking
from tfslurm.submission.prepare import read_experiment
from tfslurm.workspace.session import Session


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    made = Laptop.made(tmp_path, monkeypatch)
    engine = tmp_path / "engine" / "docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\nexit 1\n")  # a stand-in: it has no image
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    return made


def note(laptop: Laptop, **facts: Any) -> None:
    """Write what a probe on the cluster found in the image."""
    file = laptop.root / "images" / f"{CONFIG.removeprefix('sha256:')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**FACTS, **facts}))


NO_PYTHON = {"python": None, "packages": None, "errors": ["probe ended with 127: no python in the image: "]}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, "has no Jupyter; write `packages: [jupyterlab]`, or `image: tensorflow/tensorflow:2.16.1-gpu-jupyter`"),
        (NO_PYTHON, "has no Python, with which services run; name an image with Python 3.6 or later as `python3`"),
        ({"python": "3.5.2"}, "has Python 3.5.2, and services need 3.6 or later; name an image"),
    ],
    ids=["no Jupyter", "no Python", "an old Python"],
)
def test_an_image_that_is_known_to_be_unfit_is_refused_before_its_job_is_queued(
    laptop: Laptop, typed: Type, facts: dict[str, Any], why: str
) -> None:
    note(laptop, **facts)
    done = typed("jupyter", laptop.experiment(outputs="/out"))
    assert (done.returncode, f"exp.yaml:1: image: {PIN.reference} {why}" in done.stderr) == (2, True), done.stderr
    assert laptop.folders() == []


def asked_of(laptop: Laptop, kind: str, *, temporary: bool = False, **keys: Any) -> list[str]:
    """What is said where nothing is refused."""
    said: list[str] = []
    with Session(said.append) as session:
        asked = read_experiment(laptop.folder / laptop.experiment(outputs="/out", **keys))
        refuse_lacking(session, asked._replace(is_temporary=temporary), laptop.known, Service(kind, 60))
    return said


def test_what_is_not_known_refuses_nothing(laptop: Laptop) -> None:
    assert asked_of(laptop, "jupyter") == []
    note(laptop, python=None, errors=["probe ended with 1: no memory"])
    assert asked_of(laptop, "jupyter") == []


def test_an_image_that_has_it_under_any_of_its_names_is_taken(laptop: Laptop) -> None:
    note(laptop, packages=[{"name": "jupyter_server", "version": "2.1"}, {"name": "tb-nightly", "version": "2.2"}])
    assert asked_of(laptop, "jupyter") == asked_of(laptop, "tensorboard") == []


def test_a_run_without_tensorboard_is_told_how_its_files_are_seen(laptop: Laptop) -> None:
    note(laptop)
    with pytest.raises(InputError, match=r"^image \S+: has no TensorBoard; write .* `tfslurm fetch` its out"):
        asked_of(laptop, "tensorboard", temporary=True)
    assert asked_of(laptop, "something else that Python runs") == []


@pytest.mark.parametrize(
    "keys", [{"env": {"PYTHONPATH": "/lab"}}, {"mounts": [{"source": "/data", "target": "/opt/x"}]}]
)
def test_what_the_experiment_may_bring_is_only_warned_of(laptop: Laptop, keys: dict[str, Any]) -> None:
    note(laptop)
    (said,) = asked_of(laptop, "jupyter", **keys)
    assert said.startswith(f"warning: image {PIN.reference}: has no Jupyter, unless the experiment brings it; else")


def test_packages_bring_it_under_the_name_of_their_wheel(laptop: Laptop) -> None:
    def lock(name: str) -> PackageLock:
        wheels = (Wheel(name, "1", f"{name.replace('-', '_')}-1-py3-none-any.whl", "0" * 64, 1, ""),)
        return package_lock(wheels, image="", asked="", python="", platform="", resolver="", index="")

    assert is_added(lock("jupyterlab"), NEEDS["jupyter"]) and not is_added(lock("six"), NEEDS["jupyter"])
    assert not is_added(None, NEEDS["jupyter"])
