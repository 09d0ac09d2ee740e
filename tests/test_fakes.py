"""The stand-ins for Slurm refuse what the real programs refuse, so that no test passes on what no cluster takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fakes.slurm import PROGRAMS, FakeSlurm
from tfslurm.errors import Completed
from tfslurm.slurm import cancel_argv, hold_argv, parse_queue, parse_sacct, queue_argv, sacct_argv


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm.made(tmp_path)


def called(slurm: FakeSlurm, *words: str) -> Completed:
    done = subprocess.run(words, env={"PATH": f"{slurm.bin}:/usr/bin:/bin"}, capture_output=True, text=True)
    return Completed(words, done.returncode, done.stdout, done.stderr, "")


def script(slurm: FakeSlurm, *options: str) -> str:
    path = slurm.folder / "job.sbatch"
    path.write_text("".join(f"{line}\n" for line in ("#!/bin/sh", *(f"#SBATCH {option}" for option in options))))
    return str(path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_says_in_its_first_lines_what_it_is_and_refuses_an_option_that_it_does_not_know(
    name: str, slurm: FakeSlurm
) -> None:
    assert (slurm.bin / name).read_text().splitlines()[1].startswith(f"# A stand-in for Slurm's {name}")
    done = called(slurm, name, "--no-such-option")
    assert (done.exit_code != 0, done.stdout) == (True, "")
    assert f"{name}: unrecognized option '--no-such-option'" in done.stderr


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--no-such-directive=1", "unrecognized option '--no-such-directive=1'"),
        ("-p gpu", "unrecognized option '-p'"),
        ("--array=3-", "Invalid job array specification"),
    ],
)
def test_a_script_that_sbatch_would_refuse_is_no_job(option: str, why: str, slurm: FakeSlurm) -> None:
    done = called(slurm, "sbatch", "--parsable", script(slurm, option))
    assert (done.exit_code != 0, slurm.jobs()) == (True, [])
    assert why in done.stderr


def test_a_job_is_in_the_queue_then_in_accounting_until_it_is_cancelled(slurm: FakeSlurm) -> None:
    file = script(slurm, "--job-name=a-0123", "--array=0-2%2", "--comment='x y'")
    assert called(slurm, "sbatch", "--parsable", file).stdout == "101\n"
    slurm.start("101_1")
    queued = parse_queue(called(slurm, *queue_argv()).stdout)
    assert [(job.job_id, job.state, job.comment) for job in queued] == [
        ("101_0", "PENDING", "x y"),
        ("101_2", "PENDING", "x y"),
        ("101_1", "RUNNING", "x y"),
    ]
    assert called(slurm, *hold_argv(["101_0"])).exit_code == 0
    assert called(slurm, *cancel_argv(["101_0", "101_2"])).exit_code == 0
    slurm.end("101_1", "FAILED", "3:0")
    slurm.forget("101")
    assert called(slurm, *queue_argv()).stdout == ""
    kept = parse_sacct(called(slurm, *sacct_argv(names=["a-0123"])).stdout)
    assert {job.job_id: (job.state, job.exit_code) for job in kept} == {
        "101_0": ("CANCELLED", None),
        "101_1": ("FAILED", 3),
        "101_2": ("CANCELLED", None),
    }
    done = called(slurm, *cancel_argv(["101_1"]))
    assert (done.exit_code, "already completing or completed" in done.stderr) == (1, True)
    assert "Invalid job id specified" in called(slurm, *cancel_argv(["7"])).stderr
