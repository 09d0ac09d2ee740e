"""The packages of an experiment on the nodes: wheels that were sent become one layer, with docker and with podman.

Slurm, docker, podman, Python and pip are real; the wheels are made by the tests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.made_wheels import MadeWheel, wheel
from tfslurm.image import Pin, parse_reference
from tfslurm.image.packages import Wheel, package_lock
from tfslurm.job_plan import JobPlan, identify
from tfslurm.registry import resolve

from .jobs import owned, plan, ran, root, sh
from .python_image import REFERENCE, push

IN_LAYER = """\
import greet_twice, sys
print(greet_twice.__file__, open(greet_twice.__file__.replace("__init__.py", "words.txt")).read().strip())
print(sys.path)
"""


def greet(version: str = "2.0") -> MadeWheel:
    """A wheel with a program, for a layer that no other test has: its key is of its bytes."""
    return wheel(
        "greet-twice",
        version,
        {"greet_twice/__init__.py": "def main():\n    print('hello')\n", "greet_twice/words.txt": f"{uuid4().hex}\n"},
        scripts={"greet-twice": "greet_twice:main"},
    )


@cache
def pin() -> Pin:
    """That of an image whose Python has pip."""
    push()
    return resolve(parse_reference(REFERENCE), {}, "linux/amd64", "2026-11-29T06:00:00Z")


def asked(wheels: Sequence[MadeWheel], command: tuple[str, ...], *, cluster: str = "alpha", **changes: Any) -> JobPlan:
    """A plan with these wheels in that image."""
    named = [Wheel(w.name, w.version, w.file, w.sha256, len(w.content), f"https://h/{w.file}") for w in wheels]
    about = {"asked": "0" * 64, "python": "3.11.2", "platform": "manylinux_2_36_x86_64", "resolver": "pip 24.0"}
    lock = package_lock(named, image=pin().digest, index="", **about)
    source = f"{pin().name}@{pin().digest}"
    made = plan(cluster, pin().digest, command=command, outputs="/out", options={"mem": "400M"}, **changes)
    return identify(replace(made, pin=pin(), image_sources=(source,), packages=lock))


def layer_of(made: JobPlan) -> Path:
    assert made.packages
    return root(made.cluster) / "packages" / made.packages.key


def put_wheels(made: JobPlan, wheels: Sequence[MadeWheel]) -> Path:
    """The folder of the layer, as a client leaves it."""
    folder = layer_of(made)
    for each in wheels:
        each.put(folder / "wheels")
    for path in (folder.parent, folder, folder / "wheels"):
        path.chmod(0o700)
    owned(folder.parent)
    return folder


@pytest.fixture(autouse=True)
def _no_layers() -> Iterator[None]:
    yield
    for cluster in ("alpha", "beta"):
        shutil.rmtree(root(cluster) / "packages", ignore_errors=True)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_the_packages_are_found_before_the_images_and_can_only_be_read(engine: str) -> None:
    wheels = (greet(), wheel("six", "99.0"))  # the image has another six
    script = f"""
set -e
python3 -c '{IN_LAYER}'
python3 -c 'import six; print("six", six.VERSION)'
greet-twice
command -v greet-twice
! touch /opt/tfslurm/packages/mine 2>/dev/null
echo "$PYTHONPATH"; echo "$PATH"
"""
    made = asked(wheels, sh(script), engine=engine, env={"PYTHONPATH": "/workspace/own"})
    folder = put_wheels(made, wheels)
    job = ran(made)
    assert job.end()["exit_code"] == 0, job.said()
    said = job.output().splitlines()
    assert said[0].startswith("/opt/tfslurm/packages/greet_twice/__init__.py ")
    assert said[2:] == [
        "six 99.0",
        "hello",
        "/opt/tfslurm/packages/bin/greet-twice",
        "/workspace/own:/opt/tfslurm/packages",
        f"{pin().environment['PATH']}:/opt/tfslurm/packages/bin",
    ]
    layer = json.loads((folder / "layer" / "layer.json").read_text())
    assert layer["key"] == folder.name
    assert [each["name"] for each in layer["installed"]["packages"]] == ["greet-twice", "six"]
    assert (job.fact("packages-installed.txt"), job.fact("packages-check.txt")) == (
        "installed by this task\n",
        "ok: every file is what was installed\n",
    )
    assert sorted(path.name for path in folder.iterdir()) == ["layer", "lock", "wheels"]
