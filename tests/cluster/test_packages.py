"""`packages` of an experiment from the file to the record: a wheel that the image lacks, by docker and by podman.

Slurm, docker, podman, Python, uv and pip are real; the wheels are made by the tests, and a folder of them is the index.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.made_wheels import wheel
from tfslurm.image import read_lock

from .desk import Desk, ids
from .python_image import REFERENCE, push

GREET = {"greet_twice/__init__.py": "def main():\n    print('hello hello')\n"}


def put_wheels(folder: Path) -> None:
    """An index of two wheels, and a six that the image has."""
    made = wheel(
        "greet-twice", "2.0", GREET, requires=["six", "answers>=1"], scripts={"greet-twice": "greet_twice:main"}
    )
    for each in (made, wheel("answers", "1.5", {"answers.py": "ANSWER = 42\n"}), wheel("six", "9.0")):
        os.chown(each.put(folder), *ids())
    folder.chmod(0o755)


def test_what_the_image_lacks_is_there_for_the_program_on_every_cluster_by_one_lock(desk: Desk) -> None:
    push()
    index = desk.folder / "wheels"
    put_wheels(index)
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    env["DOCKER_HOST"] = "unix:///nowhere"  # the login node has no engine
    desk.describe("beta", engine="podman")
    desk.set_up_podman()
    program = "import answers, greet_twice, six; print(answers.ANSWER, six.VERSION); greet_twice.main()"
    file = desk.experiment("greets", ["python3", "-c", program], image=REFERENCE, packages=["greet-twice"])
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", env=env, timeout_s=240)
    assert done.returncode == 0, done.stderr
    assert "a short job on alpha runs a container of it" in done.stderr
    assert re.search(r"locked 2 wheels, [0-9.]+ KiB: answers 1\.5, greet-twice 2\.0", done.stderr)
    lock = read_lock(file.with_suffix(".lock.yaml").read_text(), "").packages
    assert lock is not None and lock.python.startswith("3.11.") and lock.platform == "manylinux_2_36_x86_64"
    (job,) = re.findall(r"alpha:[0-9]+", done.stdout)
    assert desk.tfslurm("logs", job).stdout == "42 of the image\nhello hello\n"
    for each in index.iterdir():
        each.unlink()
    again = desk.tfslurm("submit", file, "--cluster", "beta", "--wait", cluster="beta", env=env, timeout_s=240)
    assert again.returncode == 0 and "locked" not in again.stderr, again.stderr
    (other,) = re.findall(r"beta:[0-9]+", again.stdout)
    assert desk.tfslurm("logs", other).stdout == "42 of the image\nhello hello\n"
    records = [json.loads(desk.tfslurm("provenance", each, "--json").stdout) for each in (job, other)]
    layers = [record["environment"]["layer"] for record in records]
    assert layers[0]["key"] == layers[1]["key"] == lock.key
    assert layers[0]["contents_sha256"] == layers[1]["contents_sha256"]


CHOICE = """\
import json, os, subprocess, sys
from importlib import import_module

environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}  # the layer's is not there
words = ["--break-system-packages", "--dry-run", "--quiet", "--report", "-", "--no-index", "--find-links", "/opt/index"]
pip = [sys.executable, "-m", "pip", "install", *words, "greet-twice[loud]", "six"]
done = subprocess.run(pip, stdout=subprocess.PIPE, env=environment, check=True)
for name in sorted(each["download_info"]["url"].rpartition("/")[2] for each in json.loads(done.stdout)["install"]):
    print(name)
import_module("greet_twice").main()
"""
MARKED = {
    "posix": "os_name == 'posix' and python_full_version >= '3.11.1' and implementation_name == 'cpython'",
    "windows": "sys_platform == 'win32' or platform_machine == 'arm64'",
    "old": "python_version < '3.11'",
    "louder": "extra == 'loud'",
}


@pytest.mark.parametrize(("cluster", "engine"), [("alpha", "docker"), ("beta", "podman")])
def test_without_uv_pip_here_locks_what_pip_of_the_image_chooses_in_a_job(
    cluster: str, engine: str, desk: Desk
) -> None:
    push()
    index = desk.data(cluster)
    put_wheels(index)
    needs = [f"{name}; {marker}" for name, marker in MARKED.items()]
    more = wheel("greet-twice", "3.0", GREET, requires=[*needs, "answers>=1", "six"])
    for each in (more, *map(wheel, MARKED)):
        os.chown(each.put(index), *ids())
    hidden = desk.write("hidden/uv.py", "")  # stands before the uv beside tfslurm, and has no program
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    desk.describe(cluster, engine=engine)
    desk.set_up_podman()
    file = desk.experiment(
        "same",
        ["python3", "-c", CHOICE],
        image=REFERENCE,
        packages=["greet-twice[loud]", "six"],
        mounts=[{"source": str(index), "target": "/opt/index"}],
    )
    words = ("submit", file, "--cluster", cluster, "--wait")
    done = desk.tfslurm(*words, cluster=cluster, env={**env, "PYTHONPATH": str(hidden.parent)}, timeout_s=240)
    assert done.returncode == 0, done.stderr
    lock = read_lock(file.with_suffix(".lock.yaml").read_text(), "").packages
    assert lock is not None and lock.resolver.startswith("pip ") and f"{lock.resolver} asks the folders" in done.stderr
    assert [each.name for each in lock.wheels] == ["answers", "greet-twice", "louder", "posix"]
    (job,) = re.findall(rf"{cluster}:[0-9]+", done.stdout)
    assert desk.tfslurm("logs", job).stdout.splitlines() == [*(each.file for each in lock.wheels), "hello hello"]
