"""`tfslurm image build` from the files to the record: real docker and podman, a node of Slurm, and a registry."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made_wheels import wheel
from tfslurm.image import read_lock
from tfslurm.image.build_lock import BuildLock

from . import images
from .bed import BIN, REGISTRY
from .desk import SMALL, Desk, as_yaml, ids, until
from .docker import docker
from .python_image import REFERENCE, push
from .users import run_as

DOCKERFILE = (
    "ARG BASE\nFROM ${BASE}\nCOPY hello.txt /opt/hello.txt\nRUN cp /opt/hello.txt /opt/second\nENV GREETING=hi\n"
)


KIT = {"DOCKER_BUILDKIT": "1", "PATH": f"{BIN}:/usr/bin:/bin"}
"Debian's docker, whose BuildKit is in its daemon; a newer client before it on PATH would want buildx."


@pytest.fixture
def bench(desk: Desk) -> Iterator[Desk]:
    """A desk whose clusters name a registry of its own, and which has podman's settings."""
    desk.describe("alpha", registry=f"{REGISTRY}/build/{desk.token}")
    desk.describe("beta", registry=f"{REGISTRY}/build/{desk.token}", engine="podman")
    desk.set_up_podman()
    desk.write("Dockerfile", DOCKERFILE)
    desk.write("hello.txt", "hello world\n")
    yield desk


def experiment(desk: Desk, name: str, command: list[str], **build: object) -> Path:
    """An experiment whose image is built."""
    resources = {"gpus": 0, "cpus": 1, "memory": "400M", "time": "00:05:00"}
    keys = {"name": f"{name}-{desk.token}", "build": build, "command": command, "outputs": "/out"}
    return desk.write(f"{name}.yaml", as_yaml({**keys, "resources": resources}))


def build_of(file: Path) -> BuildLock:
    """What the lock file says of the build."""
    found = read_lock(file.with_suffix(".lock.yaml").read_text(), "lock").build
    assert found is not None
    return found


def left(name: str) -> list[str]:
    """What docker has of a build whose Dockerfile sets this label: images and containers."""
    images = docker("images", "--all", "--quiet", "--filter", f"label=desk={name}").stdout.split()
    return [*images, *docker("ps", "--all", "--quiet", "--filter", f"label=desk={name}").stdout.split()]


def test_a_built_image_goes_from_its_files_to_the_record_and_a_second_build_is_equal(bench: Desk) -> None:
    file = experiment(
        bench, "built", ["sh", "-c", "cat /opt/second; echo $GREETING"], base=SMALL, dockerfile="Dockerfile"
    )
    done = bench.tfslurm("image", "build", file)
    assert done.returncode == 0, done.stderr
    made = build_of(file)
    assert made.builder.startswith("docker ")
    assert [layer.made_by.split()[-1] for layer in made.layers] == ["/opt/hello.txt", "/opt/second"]
    job = bench.submit(file)
    assert bench.ended(job) == "COMPLETED"
    assert bench.tfslurm("logs", job).stdout == "hello world\nhi\n"
    record = bench.record(job)
    assert record["asked"]["build"]["dockerfile"].splitlines()[1] == f"FROM {made.base.name}@{made.base.digest}"
    assert record["asked"]["build"]["digest"] == record["image"]["digest"] == made.digest
    assert bench.tfslurm("verify", job).returncode == 0
    again = bench.tfslurm("image", "build", file)
    assert again.returncode == 0 and "equal to the image that was pinned, byte for byte" in again.stdout, again.stderr


def test_dockers_buildkit_builds_twice_the_same_and_leaves_nothing(bench: Desk) -> None:
    bench.write("Dockerfile", f"{DOCKERFILE}LABEL desk={bench.token}\n")
    file = experiment(bench, "kit", ["cat", "/opt/second"], base=SMALL, dockerfile="Dockerfile")
    done = bench.tfslurm("image", "build", file, env=KIT)
    assert done.returncode == 0, done.stderr
    made = build_of(file)
    assert made.builder.startswith("docker 20.") and made.builder.endswith(" (BuildKit)")
    assert [layer.made_by.endswith("# buildkit") for layer in made.layers] == [True, True]
    again = bench.tfslurm("image", "build", file, env=KIT)
    assert again.returncode == 0 and "equal to the image that was pinned, byte for byte" in again.stdout, again.stdout
    assert not left(bench.token)
    job = bench.submit(file)
    assert bench.ended(job) == "COMPLETED"
    assert bench.tfslurm("logs", job).stdout == "hello world\n"


def test_podman_builds_the_same_twice_and_so_does_a_node(bench: Desk) -> None:
    file = experiment(bench, "pod", ["cat", "/opt/second"], base=SMALL, dockerfile="Dockerfile")
    done = bench.tfslurm("image", "build", file, "--cluster", "beta", cluster="beta")
    assert done.returncode == 0, done.stderr
    assert build_of(file).builder.startswith("podman ")
    again = bench.tfslurm("image", "build", file, "--cluster", "beta", "--builder", "node", cluster="beta")
    assert again.returncode == 0 and "equal to the image that was pinned" in again.stdout, again.stdout + again.stderr
    assert "building on a node of beta with podman" in again.stderr
    assert not list(bench.root("beta").glob("builds/*"))


def test_a_node_builds_with_docker_where_this_machine_has_no_engine(bench: Desk) -> None:
    file = experiment(bench, "node", ["true"], base=SMALL, dockerfile="Dockerfile")
    unreachable = {"DOCKER_HOST": "unix:///nowhere.sock"}
    done = bench.tfslurm("image", "build", file, "--builder", "docker", env=unreachable)
    assert done.returncode == 1 and "no program that builds images answers: docker: " in done.stderr
    done = bench.tfslurm("image", "build", file, "--builder", "node")
    assert done.returncode == 0, done.stderr
    here = bench.tfslurm("image", "build", file)
    assert here.returncode == 0 and "equal to the image that was pinned" in here.stdout, here.stdout
    bench.write("Dockerfile", "ARG BASE\nFROM ${BASE}\nRUN echo broken; exit 3\n")
    done = bench.tfslurm("image", "build", file, "--builder", "node")
    assert done.returncode == 1 and "the build on a node failed; it said last:" in done.stderr
    assert "returned a non-zero code: 3" in done.stderr
    assert not list(bench.root("alpha").glob("builds/*"))


def test_wheels_are_installed_by_their_hashes_without_a_network(bench: Desk) -> None:
    push()
    index = bench.folder / "wheels"
    greet = {"greet_once/__init__.py": "def main():\n    print('hello once')\n"}
    greet_once = wheel("greet-once", "2.0", greet, scripts={"greet-once": "greet_once:main"})
    for each in (greet_once, wheel("answers", "1.5", {"answers.py": "ANSWER = 42\n"})):
        os.chown(each.put(index), *ids())
    index.chmod(0o755)
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    file = experiment(bench, "pip", ["sh", "-c", "greet-once; python3 -c 'import answers; print(answers.ANSWER)'"],
                      base=REFERENCE, pip=["greet-once", "answers>=1"])  # fmt: skip
    done = bench.tfslurm("image", "build", file, env=env, timeout_s=240)
    assert done.returncode == 0, done.stderr
    made = build_of(file)
    assert made.packages is not None and [each.name for each in made.packages.wheels] == ["answers", "greet-once"]
    assert len(made.layers) == 1  # the wheels themselves are in none
    for path in index.iterdir():
        path.unlink()
    again = bench.tfslurm("image", "build", file, env=env)
    assert again.returncode == 0 and "equal to the image that was pinned" in again.stdout, again.stdout + again.stderr
    job = bench.submit(file, env=env)
    assert bench.ended(job) == "COMPLETED"
    assert bench.tfslurm("logs", job).stdout == "hello once\n42\n"


def test_what_apt_installs_is_written_down_with_its_version(bench: Desk) -> None:
    """The engine and the image are real; apt-get and dpkg-query in it stand in, for no network reaches a Debian."""
    programs = {
        "usr/bin/dpkg-query": "#!/bin/sh\ncat /var/dpkg 2>/dev/null\n",
        "usr/bin/apt-get": "#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\n"
        'case "$1" in lib*) printf "$1\\t1.6\\tamd64\\n" >>/var/dpkg; echo $1 >/usr/bin/added; esac\n',
        "var/dpkg": "libc6\t2.36\tamd64\n",
    }
    images.push_small(f"build/{bench.token}/apt", "1", programs)
    base = f"{REGISTRY}/build/{bench.token}/apt:1"
    file = experiment(bench, "apt", ["cat", "/usr/bin/added"], base=base, apt=["libgl1"])
    done = bench.tfslurm("image", "build", file)
    assert done.returncode == 0, done.stderr
    made = build_of(file)
    assert [(each.name, each.version) for each in made.apt_installed] == [("libgl1", "1.6")]
    assert len(made.layers) == 1


@pytest.mark.parametrize(
    ("builder", "env"), [("docker", {}), ("podman", {}), ("docker", KIT)], ids=["docker", "podman", "buildkit"]
)
def test_a_build_that_is_interrupted_is_stopped_and_leaves_nothing(
    bench: Desk, builder: str, env: dict[str, str]
) -> None:
    mark = f"61.{int(bench.token, 16) % 10**6}{len(builder)}{len(env)}"
    steps = f"LABEL desk={bench.token}\nRUN echo a > /opt-a\nRUN sleep {mark}\n"
    bench.write("Dockerfile", f"ARG BASE\nFROM ${{BASE}}\n{steps}")
    file = experiment(bench, "late", ["true"], base=SMALL, dockerfile="Dockerfile")
    typed = bench.start("image", "build", file, "--builder", builder, env=env)
    until(lambda: runs(mark), 60, "the build did not begin")
    os.killpg(typed.pid, signal.SIGINT)
    _, said = typed.communicate(timeout=60)
    assert typed.returncode == 130 and said.endswith("interrupted\n"), said
    until(lambda: not runs(mark), 20, "a step of the build goes on")
    assert not file.with_suffix(".lock.yaml").exists()
    assert not left(bench.token)
    seen = run_as("alice", ["podman", "images", "--all", "--quiet", "--filter", f"label=desk={bench.token}"],
                  env=bench.environment("alpha"))  # fmt: skip
    assert seen.returncode == 0 and not seen.stdout, seen.stdout + seen.stderr


def runs(mark: str) -> bool:
    """Whether the step is running."""
    return subprocess.run(["pgrep", "--full", f"^sleep {mark}$"], capture_output=True).returncode == 0
