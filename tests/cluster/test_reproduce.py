"""A stranger's way: a crate, an account with nothing but an engine and tfslurm, one command, and the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from .bed import DOCKER_HOST, HOME, LOGIN_PATH
from .desk import Desk, Done
from .users import run_as

STRANGER = "bob"
PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s}' "$1" >/out/metrics.json
printf 'weights of seed %s, summed by %s threads' "$1" "$(nproc)" >/out/weights.bin
"""
SEEDS = {"grid": {"seed": [1, 2, 3, 5, 6]}, "points_per_job": 5}
PLANTED = PROGRAM + "head -c 16 /dev/urandom >>/out/weights.bin\n"


class Account:
    """The empty home of somebody who has docker, podman and tfslurm, and no cluster."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.home = HOME / STRANGER / f"stranger-{uuid4().hex[:8]}"
        self.home.mkdir()
        shutil.chown(self.home, STRANGER, STRANGER)

    def got(self, crate: Path) -> Path:
        """A copy of a crate here."""
        copy = self.home / crate.name
        shutil.copyfile(crate, copy)
        return copy

    def prefer_podman(self) -> None:
        """From now on containers run by podman, which has what its user has set for it on this host."""
        clusters = self.home / ".config" / "tfslurm" / "clusters"
        clusters.mkdir(parents=True)
        clusters.parents[1].joinpath("containers").symlink_to(HOME / STRANGER / ".config" / "containers")
        root = self.home / ".local" / "share" / "tfslurm" / "local"
        clusters.joinpath("local.yaml").write_text(f"name: local\nroot: {root}\nengine: podman\n")
        for path in (clusters, *clusters.iterdir(), *list(clusters.parents)[:2]):
            shutil.chown(path, STRANGER, STRANGER)

    def tfslurm(self, *words: str | Path, before: tuple[str, ...] = ()) -> Done:
        """What a command gave that is typed here; ``before``: the program that it is typed behind."""
        env = {"HOME": str(self.home), "PATH": LOGIN_PATH, "DOCKER_HOST": DOCKER_HOST}
        return run_as(STRANGER, [*before, self.program, *words], cwd=self.home, env=env)


@pytest.fixture
def account(desk: Desk) -> Iterator[Account]:
    made = Account(desk.program)
    yield made
    shutil.rmtree(made.home, ignore_errors=True)


def test_a_stranger_runs_a_crate_again_and_is_told_what_is_the_same(desk: Desk, account: Account) -> None:
    desk.write("code/run.sh", PROGRAM)
    promised = {"metric": "accuracy", "tolerance": 0.02, "files": ["weights.bin"]}
    asked = {"code": "code", "resources": {"cpus": 2}, "reproduce": promised}
    file = desk.experiment("paper", ["sh", "run.sh", "{{ seed }}"], parameters={"seed": 4}, **asked)
    sweep = desk.experiment("seeds", ["sh", "run.sh", "{{ seed }}"], sweep=SEEDS, **asked)
    paper, seeds = desk.submit(file, cluster="gamma"), f"seeds-{desk.token}"
    assert desk.tfslurm("submit", sweep, "--cluster", "gamma", "--wait").returncode == 0
    desk.write("code/run.sh", PLANTED)
    planted = desk.submit(file, "--again", cluster="gamma")
    assert desk.tfslurm("wait", paper, planted).returncode == 0
    crates = [account.got(crate_of(desk, name, file)) for name, file in ((paper, "paper"), (planted, "planted"))]
    several = account.got(crate_of(desk, seeds, "seeds"))

    same = account.tfslurm("rerun", crates[0], "--local")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "environment  identical\n" in same.stdout and "inputs       identical\n" in same.stdout
    assert "results      bit-identical\n" in same.stdout and "identical: weights.bin\n" in same.stdout

    narrow = account.tfslurm("rerun", crates[0], "--local", before=("taskset", "--cpu-list", "0"))
    assert narrow.returncode == 0, narrow.stdout + narrow.stderr
    assert "schedulable CPUs: 2 / 1\n" in narrow.stdout and "results      within tolerance\n" in narrow.stdout

    other = account.tfslurm("rerun", crates[0], "--local", "--set", "seed=7")
    assert other.returncode == 3 and "one run is too few seeds to say" in other.stdout, other.stdout
    told = account.tfslurm("diff", several, "local:3")
    assert told.returncode == 0 and "results      within the seeds' 95 % prediction interval\n" in told.stdout

    found = account.tfslurm("rerun", crates[1], "--local")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "results      bits differ\n" in found.stdout and "the program itself is not deterministic\n" in found.stdout
    changed = account.tfslurm("diff", crates[0], "local:4")
    assert "inputs       code differs\n" in changed.stdout and "\n+head -c 16 /dev/urandom" in changed.stdout

    account.prefer_podman()
    podman = account.tfslurm("rerun", crates[0], "--local")
    assert podman.returncode == 0, podman.stdout + podman.stderr
    assert "environment  same image, other: engine\n" in podman.stdout
    assert "results      bit-identical\n" in podman.stdout


def crate_of(desk: Desk, name: str, file: str) -> Path:
    """The crate of a job or a sweep, as a zip."""
    path = desk.folder / f"{file}.zip"
    author = ("--author", "Doe, Alice", "--license", "MIT")
    made = desk.tfslurm("provenance", name, "--format", "rocrate", *author, "-o", path)
    assert made.returncode == 0, made.stderr
    return path
