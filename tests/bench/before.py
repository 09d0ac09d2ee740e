"""An older commit beside this tree: the same command of both in turn, from one machine, on one queue."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench import node
from tests.bench.measure import Row, turns
from tests.bench.processes import VENV, command, prepare
from tests.bench.ssh import port, queue_held, reach
from tests.bench.status import ENDED, QUEUED, Filled, filled, say, wait_until_forgotten
from tests.bench.sweep import emptied
from tests.cluster.bed import BED, BedError
from tests.cluster.desk import Desk, a_desk
from tests.cluster.install import CHECKOUT

PYTHON = "/usr/bin/python3"
SLOWER = 1.03  # the most that a row may take of what the older commit took


def rows(rounds: int, commit: str) -> list[Row]:
    """The commands that the other parts measure, of this tree beside that commit's."""
    named = name(commit)
    prepare()
    programs = {"now": VENV / "bin" / "tfslurm", "then": older(named) / "bin" / "tfslurm"}
    return [*submissions(rounds, programs), *on_a_node(rounds, programs), *statuses(rounds, programs)]


def name(commit: str) -> str:
    """The whole name of a commit of this repository."""
    ask = ["git", "-C", str(CHECKOUT), "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}"]
    named = subprocess.run(ask, capture_output=True, text=True)
    if named.returncode:
        raise BedError(f"no commit {commit}: {named.stderr.strip()}; `git log --oneline` lists them")
    return named.stdout.strip()


def older(commit: str) -> Path:
    """A virtual environment with the tfslurm of that commit, and the libraries that this tree's has."""
    venv, stamp = BED / "bench-before-venv", BED / "bench-before-venv" / "made-from"
    if stamp.exists() and stamp.read_text() == commit:
        return venv
    kept = subprocess.run([VENV / "bin" / "pip", "freeze", "--exclude", "tfslurm"], capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        constraints, source = Path(folder) / "constraints", Path(folder) / "source"
        constraints.write_text(kept.stdout)
        source.mkdir()
        tar = subprocess.run(["git", "-C", CHECKOUT, "archive", commit], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", source], input=tar, check=True)
        pip = [str(venv / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install", "--compile"]
        create = [PYTHON, "-m", "venv", "--clear", str(venv)]
        for step in (create, [*pip, "--constraint", str(constraints), str(source)]):
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                raise BedError(f"{commit} cannot be installed: {done.stderr.strip()[-800:]}")
    stamp.write_text(commit)
    return venv


def beside(what: str, found: Mapping[str, float]) -> Row:
    """One row: now beside then."""
    row = Row(what, found["now"], "the older commit", found["then"], SLOWER)
    say(row.as_markdown())
    return row


def desks(made: Desk, programs: Mapping[str, Path]) -> dict[str, Desk]:
    """The same desk with each of the programs."""
    return {when: replace(made, program=program) for when, program in programs.items()}


def submissions(rounds: int, programs: Mapping[str, Path]) -> Iterator[Row]:
    """Help; one job and a sweep on a login node; one job over ssh."""
    with a_desk() as made, queue_held():
        both = desks(made, programs)
        one = made.experiment("one", ["true"], code="code", resources={"gpus": 1})
        made.write("code/train.py", "print(1)\n")
        words, points = ["true", "{{ n }}"], {"sweep": {"grid": {"n": {"range": [1000]}}}}
        sweep = made.experiment("points", words, resources={"gpus": 1}, **points)
        helps = {when: command(made.folder, str(program), "--help") for when, program in programs.items()}
        yield beside("`tfslurm --help`", turns(rounds * 2, helps))
        what = "`tfslurm submit` of a pinned experiment"
        yield beside(what, turns(rounds * 2, submitting(both, one, "alpha"), emptied))
        yield beside("the same of 1,000 points", turns(rounds, submitting(both, sweep, "alpha"), emptied))
        reach(made, port())
        yield beside(f"{what} over loopback ssh", turns(rounds, submitting(both, one, None), emptied))


def submitting(both: Mapping[str, Desk], file: Path, cluster: str | None) -> dict[str, partial[int]]:
    """One submission of each."""
    return {when: partial(submitted, desk, file, cluster) for when, desk in both.items()}


def submitted(desk: Desk, file: Path, cluster: str | None) -> int:
    """One submission, started anew."""
    return desk.tfslurm("submit", file, "--cluster", "alpha", "--again", cluster=cluster).returncode


def on_a_node(rounds: int, programs: Mapping[str, Path]) -> Iterator[Row]:
    """The batch scripts of both, in turn inside one allocation."""
    _, now, then = node.times(rounds, [programs["now"], programs["then"]])
    yield beside("the batch script on a node, image present", {"now": now, "then": then})


def statuses(rounds: int, programs: Mapping[str, Path]) -> Iterator[Row]:
    """A thousand queued jobs on a login node, and thousands that have ended over ssh."""
    with filled() as jobs:
        wait_until_forgotten()
        what = f"`tfslurm status` of {QUEUED:,} queued jobs"
        yield beside(what, turns(rounds * 2, asking(jobs, programs, "alpha"), lambda: jobs.take(jobs.queued)))
        reach(jobs.desk, port())
        what = f"`tfslurm status` over ssh: {ENDED:,} ended, {QUEUED:,} queued"
        yield beside(what, turns(rounds, asking(jobs, programs, None), lambda: jobs.take(jobs.all)))


def asking(jobs: Filled, programs: Mapping[str, Path], cluster: str | None) -> dict[str, partial[int]]:
    """One `status` of each."""
    return {when: partial(asked, desk, cluster) for when, desk in desks(jobs.desk, programs).items()}


def asked(desk: Desk, cluster: str | None) -> int:
    """One `status`, started anew."""
    return desk.tfslurm("status", cluster=cluster).returncode
