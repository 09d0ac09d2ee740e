"""Slurm's dialect of 24.11 and 26.05: what these printed, recorded as root on machines of their own.

Each file begins with the command and ends with its exit code. The fields are parted by bars, which the parsers' own
separators replace here; no value that was recorded holds one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tfslurm import slurm
from tfslurm.slurm.jobs import QUEUE_FIELDS, SACCT_FIELDS
from tfslurm.slurm.rejection import explain_rejection
from tfslurm.slurm.site import parse_config, parse_preemption
from tfslurm.slurm.values import FIELD, ROW

FOLDER = Path(__file__).parent / "slurm_output"
pytestmark = pytest.mark.parametrize("version", ["24.11", "26.05"])


def said(version: str, name: str) -> list[str]:
    """The lines that it printed."""
    lines = (FOLDER / version / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith(("$ ", "[rc="))]


def rows(version: str, name: str, fields: int) -> list[str]:
    """The first fields of each line, parted as tfslurm asks for them."""
    return [FIELD.join(line.split("|")[:fields]) for line in said(version, name)]


def test_the_queue_is_read(version: str) -> None:
    listed = rows(version, "squeue-fields", len(QUEUE_FIELDS))
    jobs = {job.job_id: job for job in slurm.parse_queue("".join(f"{row}{ROW}\n" for row in listed))}
    assert jobs["2"].state == "COMPLETED"
    assert (jobs["10"].state, jobs["10"].reason) == ("PENDING", "PartitionTimeLimit")
    assert jobs["3"].state == "RUNNING"
    assert {job.user for job in jobs.values()} == {"alice"}
    assert jobs["7_0"].array_job_id == "7"


def test_accounting_is_read_also_of_a_job_that_never_began(version: str) -> None:
    listed = rows(version, "sacct-fields", len(SACCT_FIELDS))
    jobs = {job.job_id: job for job in slurm.parse_sacct("".join(f"{row}\n" for row in listed))}
    assert (jobs["1"].state, jobs["1"].exit_code) == ("COMPLETED", 0)
    assert all(job.state in slurm.STATES for job in jobs.values())
    assert (jobs["4"].state, jobs["4"].exit_code) == ("FAILED", 3)
    refused = jobs["11"]  # Start is None there, where older ones print the end
    assert refused.state == "FAILED" and refused.started_at is None


def test_the_configuration_is_read(version: str) -> None:
    config = parse_config("\n".join(said(version, "show-config")))
    assert config.version.startswith(version)
    assert config.max_array_size == 1001


def test_preemption_is_read(version: str) -> None:
    preemption = parse_preemption("".join(f"{row}\n" for row in rows(version, "sinfo-preempt", 2)))
    assert preemption["gpu"] == preemption["debug"] == "OFF"


def test_refusals_have_the_words_that_are_known(version: str) -> None:
    for name in ("account", "partition"):
        text = "\n".join(said(version, f"sbatch-bad-{name}"))
        assert f"nvalid {name}" in text
        assert explain_rejection(text, (), (), {name: "nope"}) is not None
