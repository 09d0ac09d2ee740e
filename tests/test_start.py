"""Jobs that can never start are told of where they are submitted, and a sweep that is waited for shows its bar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop.made(tmp_path, monkeypatch)


def waits_for(laptop: Laptop, reason: str) -> None:
    """Every job of this squeue waits for this reason; it writes down that it was called."""
    body = f'echo "$*" >>"{laptop.folder}/asked"; printf "101\\037%s\\n" "{reason}"'
    laptop.slurm.program("squeue", body)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "told", "fix"),
    [
        ("PartitionTimeLimit", "it asks for more time than its partition allows", "`tfslurm cancel alpha:101`, then"),
        ("QOSMaxWallDurationPerJobLimit", "its QOS allows one job", "`tfslurm check alpha` lists"),
        ("PartitionNodeLimit", "so it will never start", "`tfslurm cancel alpha:101`"),
        ("DependencyNeverSatisfied", "so it will never start", "`tfslurm cancel alpha:101`"),
        ("AssocGrpCPUMinutesLimit", "have used up its CPU time", "ask the administrators of alpha"),
        ("ReqNodeNotAvail,_UnavailableNodes:n1", "down, drained or reserved (n1)", "it waits until that changes"),
        ("JobHeldAdmin", "an administrator holds it", "scontrol release 101"),
    ],
)
def test_submit_says_of_a_job_that_cannot_start_why_and_what_to_do(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], reason: str, told: str, fix: str
) -> None:
    waits_for(laptop, reason)
    laptop.type("submit", laptop.experiment())
    out, said = capsys.readouterr()
    (line,) = [line for line in said.splitlines() if line.startswith("warning: alpha:101: ")]
    assert (out, told in line, fix in line) == ("alpha:101\n", True, True), line
    assert (laptop.folder / "asked").read_text().count("\n") == 1


@pytest.mark.parametrize("reason", ["Priority", "None", "BeginTime", "QOSMaxJobsPerUserLimit", "SomethingNew"])
def test_a_job_that_only_waits_is_submitted_without_a_word(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    waits_for(laptop, reason)
    laptop.type("submit", laptop.experiment(), "--json")
    out, said = capsys.readouterr()
    assert [job["job"] for job in json.loads(out)] == ["alpha:101"]
    assert "alpha:101" not in said


def test_a_queue_that_does_not_answer_takes_nothing_from_a_job_that_is_queued(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.slurm.program("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    laptop.type("submit", laptop.experiment())
    out, said = capsys.readouterr()
    assert (out, "warning" in said) == ("alpha:101\n", False)


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["101", "101;alpha", "checking 3 rules\\n101\\nbye"])
def test_the_question_names_the_id_that_sbatch_gave_also_among_the_words_of_a_wrapper(
    laptop: Laptop, answer: str
) -> None:
    waits_for(laptop, "Priority")
    laptop.slurm.program("sbatch", f"printf '%b\\n' '{answer}'")
    laptop.type("submit", laptop.experiment())
    assert (laptop.folder / "asked").read_text().endswith(" --jobs=101\n")


def test_a_job_that_sbatch_refuses_is_not_asked_about(laptop: Laptop) -> None:
    waits_for(laptop, "Priority")
    laptop.slurm.program("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos' >&2; exit 1")
    assert laptop.type("submit", laptop.experiment()) == 1
    assert not (laptop.folder / "asked").exists()


def test_the_first_array_of_a_sweep_is_asked_about_and_told_of_once(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    waits_for(laptop, "PartitionTimeLimit")
    laptop.type("submit", laptop.experiment(sweep={"grid": {"n": {"range": [0, 3]}}}, command=["echo", "{{ n }}"]))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "never start" in line]
    assert line.startswith("warning: alpha:101: ")
    assert (laptop.folder / "asked").read_text().count("\n") == 1
