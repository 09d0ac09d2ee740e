"""The compute paragraph: sums by hand, failed and other runs apart, nothing claimed that was not observed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.site import Site, at_home
from tfslurm.export.compute import VENUES, Run, compute_json, compute_text, summed
from tfslurm.retrieval.runs import runs_of
from tfslurm.tracker import Tracker
from tfslurm.workspace.session import Session

A100, EPYC = ("NVIDIA A100-SXM4-40GB (40960 MiB)",), ("AMD EPYC",)


def run(job: str = "1", **changes: Any) -> Run:
    usual = Run(
        job, True, "COMPLETED", 3600, 1, 2, 8, 16384, A100, EPYC, None, "tensorflow/tensorflow:2.16.1-gpu@sha256:0"
    )
    return usual._replace(**changes)


RUNS = [
    run("1"),
    run("2", seconds=7200),
    run("3", state="FAILED", seconds=1800),
    run("4", state="TIMEOUT", seconds=None),
    run("5", is_named=False, state="CANCELLED", seconds=900, gpu_names=None),
]


def test_the_sums_are_those_of_the_runs() -> None:
    total = summed(RUNS)
    assert (total.runs, total.unknown) == (5, 1)
    assert (total.hours, total.gpu_hours, total.cpu_hours) == (3.75, 7.5, 30.0)
    found = compute_json(RUNS)
    assert found["reported"] == {"runs": 2, "hours": 3.0, "gpu_hours": 6.0, "cpu_hours": 24.0, "unknown": 0}
    assert found["failed"]["runs"] == 2 and found["others"]["gpu_hours"] == 0.5
    assert [job["job"] for job in found["jobs"]] == ["1", "2", "3", "4", "5"]
    assert found["energy_joules"] is None


def test_the_paragraph_tells_results_failures_and_the_rest_apart() -> None:
    assert compute_text(RUNS, "text").splitlines() == [
        "Each run had 2 GPUs, 8 CPUs, 16 GiB of memory. GPU: NVIDIA A100-SXM4-40GB (40960 MiB). CPU: AMD EPYC.",
        "2 reported runs took 6.00 GPU hours: 1.00 to 2.00 h, median 1.50 h each.",
        "2 runs gave no result (1 FAILED, 1 TIMEOUT) and took 1.00 GPU hours.",
        "1 other run of the same experiments, preliminary, failed or repeated, took 0.5 GPU hours.",
        "In all: 7.50 GPU hours, 30.00 CPU hours, 5 runs.",
        "The time of 1 of them is not known, and is not in these sums.",
        "Time is Slurm's, from the begin to the end of each job; a GPU counts for as long as the job held it.",
    ]


@pytest.mark.parametrize("venue", [venue for venue in VENUES if venue != "json"])
def test_what_was_not_observed_is_said_to_be_so(venue: str) -> None:
    bare = run(gpu_names=None, cpu_names=None, seconds=None, memory_mib=None, state="RUNNING")
    text = compute_text([bare], venue)
    assert "None" not in text and "GPU: not observed" in text and "CPU: not observed" in text
    assert "kWh" not in text
    mixed = compute_text([run(), run("2", gpu_names=("Tesla V100 (16384 MiB)",)), run("3")], venue)
    assert "NVIDIA A100-SXM4-40GB (40960 MiB) (2 runs), Tesla V100 (16384 MiB) (1 run)" in mixed


@pytest.mark.parametrize("venue", VENUES[:-1])
def test_a_cpu_job_has_no_gpu_hours(venue: str) -> None:
    text = compute_text([run(gpus=0, gpu_names=())], venue)
    assert "GPU: none" in text
    assert "8.00 CPU hours" in text or venue == "sc"


def test_energy_is_told_with_the_runs_of_which_it_is_known() -> None:
    whole = [run(joules=3.6e6), run("2", joules=3.6e6)]
    assert "The GPUs used 2 kWh, the sum of nvidia-smi's readings" in compute_text(whole, "text")
    assert "Energy: the GPUs used 2 kWh, " in compute_text(whole, "cvpr")
    part = [*whole, run("3"), run("4", gpus=0, gpu_names=())]
    assert "The GPUs of 2 of 3 runs used 2 kWh" in compute_text(part, "neurips")
    assert compute_json(part)["energy_joules"] is None
    assert not any("kWh" in compute_text([run(), run("2")], venue) for venue in ("text", "neurips", "cvpr", "sc"))


def test_a_reviewer_gets_minutes() -> None:
    text = compute_text(RUNS, "sc")
    assert "  Artifact Execution: 60 to 120 minutes for each run, 180 in all, 2 runs\n" in text
    assert "Software: container image tensorflow/tensorflow:2.16.1-gpu@sha256:0\n" in text


def test_other_jobs_of_the_same_experiment_count_and_those_that_never_began_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))
    at_home(site, monkeypatch)
    good, bad, earlier, waits = site.submit("11", "12", "13", "14")
    site.queue([(waits, "PENDING", "Priority")])
    site.accounts([(good, "COMPLETED", "0:0"), (bad, "FAILED", "1:0"), (earlier, "CANCELLED", "0:0")])
    site.refresh()
    with Session(lambda *lines: None) as session:
        runs = runs_of(session, ["alpha:11", "alpha:12"])
        assert [(each.job, each.is_named, each.state, each.seconds) for each in runs] == [
            ("alpha:11", True, "COMPLETED", 7),
            ("alpha:12", True, "FAILED", 7),
            ("alpha:13", False, "CANCELLED", 7),
        ]
        assert runs_of(session, ["alpha:14"])[0].is_named is False
    json.dumps(compute_json(runs))
