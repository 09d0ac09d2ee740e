"""Whole processes on the login node: help, and one job submitted, beside the peers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

from tests.bench.measure import Row, turns
from tests.cluster.bed import BED, BedError
from tests.cluster.install import CHECKOUT, give_files, source_identity
from tests.cluster.users import run_as

VENV = BED / "bench-venv"
USER = "alice"
SUBMITIT = """\
import submitit
def work(): return 1
executor = submitit.AutoExecutor(folder="bench-submitit")
executor.update_parameters(slurm_partition="gpu", timeout_min=5, gpus_per_node=1)
print(executor.submit(work).job_id)
"""
SIMPLE_SLURM = (
    'from simple_slurm import Slurm\nSlurm(partition="gpu", gres="gpu:1", output="/dev/null").sbatch("true")\n'
)


def rows(rounds: int) -> list[Row]:
    """The rows of the table that need no job to run."""
    prepare()
    home = give_files(USER)
    work = home / "bench"
    run_as(USER, ["mkdir", "-p", work])
    (work / "peer_submitit.py").write_text(SUBMITIT)
    (work / "peer_simple_slurm.py").write_text(SIMPLE_SLURM)
    python, tfslurm = str(VENV / "bin" / "python"), str(VENV / "bin" / "tfslurm")
    helps = turns(
        rounds,
        {"import click": command(work, python, "-c", "import click"), "help": command(work, tfslurm, "--help")},
    )
    hold_queue(True)
    try:
        digits = home / "examples" / "digits"
        other = home / "examples" / "digits-edited"
        must(command(digits.parent, "cp", "-r", digits.name, other.name))
        submit = [tfslurm, "submit", "exp.yaml", "--cluster", "alpha", "--again"]
        for folder in (digits, other):
            must(command(folder, *submit))
        submits = turns(
            rounds,
            {
                "tfslurm submit": command(digits, *submit),
                "after an edit": edited(other / "exp.yaml", command(other, *submit)),
                "submitit": command(work, python, "peer_submitit.py"),
                "simple_slurm": command(work, python, "peer_simple_slurm.py"),
            },
        )
    finally:
        run_as(USER, ["scancel", "--user", USER], "alpha")
        hold_queue(False)
    ours = submits["tfslurm submit"]
    return [
        Row("`tfslurm --help`", helps["help"], '`python -c "import click"`', helps["import click"], 1.5),
        Row("`tfslurm submit` of a pinned experiment", ours, "submitit, one job", submits["submitit"], 2.5),
        Row(
            "the same after an edit of exp.yaml, a file of its code",
            submits["after an edit"],
            "the same",
            submits["submitit"],
        ),
        Row("the same", ours, "simple_slurm, one job", submits["simple_slurm"]),
    ]


def prepare() -> None:
    """One virtual environment with tfslurm as it ships and the peers."""
    stamp = VENV / "made-from"
    if stamp.exists() and stamp.read_text() == source_identity():
        return
    steps = [["/usr/bin/python3", "-m", "venv", str(VENV)]] if not (VENV / "bin" / "pip").exists() else []
    pip = [str(VENV / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install", "--compile"]
    steps += [[*pip, str(CHECKOUT), "submitit"], [*pip, "--no-deps", "--force-reinstall", str(CHECKOUT)]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        if done.returncode:
            raise BedError(f"`{' '.join(step)}` failed: {done.stderr.strip()[-800:]}")
    stamp.write_text(source_identity())


def command(folder: Path, *argv: str) -> Callable[[], int]:
    """A command of the user on a login node of alpha, started anew at each call; it gives the exit code."""
    return lambda: run_as(USER, argv, "alpha", cwd=folder).returncode


def edited(file: Path, call: Callable[[], int]) -> Callable[[], int]:
    """The call, before which the file gets another line that says nothing."""
    text, lines = file.read_text(), count()

    def edit() -> int:
        file.write_text(f"{text}# {next(lines)}\n")
        return call()

    return edit


def must(call: Callable[[], int]) -> None:
    """The call, which has to succeed.

    Raises:
        BedError: it did not.
    """
    if call():
        raise BedError("bench: the experiment cannot be submitted; see `make demo`")


def hold_queue(hold: bool) -> None:
    """Keep queued jobs from starting, or let them."""
    state = "DOWN" if hold else "UP"
    done = subprocess.run(
        ["scontrol", "update", "PartitionName=gpu", f"State={state}"],
        env={**os.environ, "SLURM_CONF": str(BED / "conf" / "alpha" / "slurm.conf")},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BedError(f"partition gpu cannot be set {state}: {done.stderr.strip()}")
