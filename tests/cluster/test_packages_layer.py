"""The packages of an experiment on the nodes: wheels that were sent become one layer, with docker and with podman.

Slurm, docker, podman, Python and pip are real; the wheels are made by the tests.
"""

from __future__ import annotations

import json
import re
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
from tfslurm.spec import Resources

from .bed import wait_until
from .jobs import owned, plan, ran, refused, root, sh, slurm, submit
from .python_image import REFERENCE, WITHOUT_PIP, push

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
def pin(image: str = REFERENCE) -> Pin:
    """That of an image whose Python has pip."""
    push()
    return resolve(parse_reference(image), {}, "linux/amd64", "2026-11-29T06:00:00Z")


def asked(
    wheels: Sequence[MadeWheel],
    command: tuple[str, ...],
    *,
    cluster: str = "alpha",
    image: str = REFERENCE,
    **changes: Any,
) -> JobPlan:
    """A plan with these wheels in that image."""
    named = [Wheel(w.name, w.version, w.file, w.sha256, len(w.content), f"https://h/{w.file}") for w in wheels]
    about = {"asked": "0" * 64, "python": "3.11.2", "platform": "manylinux_2_36_x86_64", "resolver": "pip 24.0"}
    held = pin(image)
    lock = package_lock(named, image=held.digest, index="", **about)
    made = plan(cluster, held.digest, command=command, outputs="/out", options={"mem": "400M"}, **changes)
    return identify(replace(made, pin=held, image_sources=(f"{held.name}@{held.digest}",), packages=lock))


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


FOUND = f"""
set -e
python3 -c '{IN_LAYER}'
python3 -c 'import six; print("six", six.VERSION)'
greet-twice
command -v greet-twice
! touch /opt/tfslurm/packages/mine 2>/dev/null
echo "$PYTHONPATH"; echo "$PATH"
"""


def found(wheels: Sequence[MadeWheel], cluster: str, engine: str) -> tuple[Any, ...]:
    """What came of installing them, by the cluster's own word; a job has found them in their place."""
    made = asked(wheels, sh(FOUND), cluster=cluster, engine=engine, env={"PYTHONPATH": "/workspace/own"})
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
    assert job.fact("packages-installed.txt") == "installed by this task\n"
    assert job.fact("packages-check.txt") == "ok: every file is what was installed\n"
    assert sorted(path.name for path in folder.iterdir()) == ["layer", "lock", "wheels"]
    layer = json.loads((folder / "layer" / "layer.json").read_text())
    assert [each["name"] for each in layer["installed"]["packages"]] == ["greet-twice", "six"]
    assert layer["key"] == folder.name
    return layer["key"], layer["contents_sha256"], layer["files"], layer["bytes"]


def test_both_engines_on_two_clusters_find_the_same_bytes_before_the_images_and_read_only() -> None:
    wheels = (greet(), wheel("six", "99.0"))  # the image has another six
    assert found(wheels, "alpha", "docker") == found(wheels, "beta", "podman")


def test_four_tasks_on_two_nodes_install_once_and_a_layer_that_somebody_changed_is_refused() -> None:
    wheels = (greet(),)
    made = asked(wheels, ("greet-twice",), resources=Resources(gpus=0, nodes=2, tasks_per_node=2))
    folder = put_wheels(made, wheels)
    left = folder / ".install.1.0.abcdefgh" / "layer" / "site"  # by an installation that was killed
    left.mkdir(parents=True)
    left.chmod(0o500)
    owned(folder)
    job = ran(made)
    assert job.end()["exit_code"] == 0, job.said()
    installed = [job.fact("packages-installed.txt", rank).strip() for rank in range(4)]
    assert sorted(installed) == ["installed by this task", "present", "present", "present"]
    assert len({job.fact("packages.json", rank) for rank in range(4)}) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["layer", "lock", "wheels"]
    words = folder / "layer" / "site" / "greet_twice" / "words.txt"
    words.chmod(0o600)
    words.write_text("changed\n")
    words.chmod(0o400)
    line = refused(ran(asked(wheels, ("greet-twice",))))
    assert f"packages: {folder}/layer does not hold what was installed" in line
    assert f"remove {folder}/layer (chmod -R u+w, rm -r), then submit again" in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("missing", r"packages: \S+/wheels/greet_twice-2\.0-py3-none-any\.whl is not there; submit again"),
        (
            "changed",
            r"packages: greet_twice-2\.0-py3-none-any\.whl has the sha256 [0-9a-f]{16}…, and the lock file says",
        ),
        ("open", r"packages: \S+/packages/[0-9a-f]{64} is not a folder for you alone; move it away"),
    ],
)
def test_wheels_that_are_not_those_of_the_lock_stop_the_job(change: str, reason: str) -> None:
    wheels = (greet(),)
    made = asked(wheels, ("greet-twice",))
    folder = put_wheels(made, wheels)
    if change == "missing":
        (folder / "wheels" / wheels[0].file).unlink()
    elif change == "changed":
        (folder / "wheels" / wheels[0].file).write_bytes(greet().content)
    else:
        folder.chmod(0o770)
    assert re.search(reason, refused(ran(made)))
    assert not (folder / "layer").exists() and not list(folder.glob(".install*"))


def test_an_image_without_pip_is_refused() -> None:
    wheels = (greet(),)
    made = asked(wheels, ("true",), image=WITHOUT_PIP)
    put_wheels(made, wheels)
    assert "packages: the image's Python has no pip, which installs packages; use an image with pip" in refused(
        ran(made)
    )


def test_a_job_that_ends_while_it_installs_leaves_nothing_that_counts() -> None:
    wheels = (greet(), wheel("many-files", files={f"many_files/m{number}.py": "" for number in range(2000)}))
    made = asked(wheels, ("greet-twice",))
    folder = put_wheels(made, wheels)
    job = submit(made)
    assert wait_until(lambda: bool(list(folder.glob(".install.*/layer/site"))), 60), job.said()
    slurm(job, "scancel", job.job_id)
    assert job.end()["exit_code"] != 0
    job.leaves_no_container()
    assert not (folder / "layer").exists() and not list(folder.glob(".install.*")), job.said()
    again = ran(asked(wheels, ("greet-twice",)))
    assert again.end()["exit_code"] == 0, again.said()
