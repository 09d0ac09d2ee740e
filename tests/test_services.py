"""Commands and terminals in jobs, as far as the queue alone decides: Slurm is a stand-in, and starts nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop
from tests.typed import Said, Type, typed_in
from tfslurm.errors import InputError
from tfslurm.host.local import LocalHost
from tfslurm.job_plan.holding import HOLD
from tfslurm.services.shell import holding, how_far
from tfslurm.submission.prepare import read_experiment


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop.made(tmp_path, monkeypatch)


@pytest.fixture
def typed(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typed_in(laptop.folder, {}, monkeypatch, capsys)


def submitted(laptop: Laptop, typed: Type) -> str:
    done: Said = typed("submit", laptop.experiment())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_that_waits_or_has_ended_cannot_be_entered(laptop: Laptop, typed: Type) -> None:
    job = submitted(laptop, typed)
    done = typed("exec", job, "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"error: {job}: is PENDING.*; try again when `tfslurm status {job}` says RUNNING", done.stderr)
    assert typed("cancel", job).returncode == 0
    done = typed("exec", "--json", job, "true")
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (1, 1)
    assert f"{job}: has ended (CANCELLED), and its container with it" in done.stderr


def test_what_names_no_job_and_what_has_no_document_is_refused(laptop: Laptop, typed: Type) -> None:
    done = typed("exec", "4711", "true")
    assert (done.returncode, "'4711': is not in the tracker" in done.stderr) == (2, True)
    done = typed("exec", "--json", "4711")
    assert (done.returncode, "a shell has no document" in done.stderr) == (2, True)
    done = typed("shell", "--json", laptop.experiment())
    assert (done.returncode, "a terminal has no document" in done.stderr) == (2, True)
    assert laptop.folders() == []


def test_the_program_of_a_shells_job_is_a_word_and_what_will_be_typed(laptop: Laptop) -> None:
    asked = read_experiment(laptop.folder / laptop.experiment(checkpoint={"signal": "USR1", "before_end": 60}))
    held = holding(asked, ["python", "-c", "{{ x }} '"]).experiment
    assert ([str(word) for word in held.command], held.checkpoint) == ([HOLD, "python", "-c", "{{ x }} '"], None)
    several = read_experiment(laptop.folder / laptop.experiment(resources={"nodes": 2}))
    with pytest.raises(InputError, match="is 2; a terminal is in one container"):
        holding(several, [])


@pytest.mark.parametrize(
    ("event", "step"),
    [("pull\tx", "pulls the image"), ("task-began\t", ""), ("\x1b[31m\t\t", ""), ("", ""), ("held\tx", "")],
)
def test_how_far_a_task_is_stands_in_its_folder(tmp_path: Path, event: str, step: str) -> None:
    assert how_far(LocalHost(), str(tmp_path / "none")) == (False, "")
    facts = tmp_path / "attempt-2" / "facts" / "task-0"
    facts.mkdir(parents=True)
    (tmp_path / "latest").write_text("attempt-2\n")
    assert how_far(LocalHost(), str(tmp_path)) == (False, "")
    (facts / "events.tsv").write_text(f"2026-11-29T06:00:00Z\ttask-began\t\n2026-11-29T06:00:01Z\t{event}\n")
    assert how_far(LocalHost(), str(tmp_path)) == (False, step)
    place = tmp_path / "attempt-2" / "program" / "0"
    place.mkdir(parents=True)
    (place / "hold").touch()
    assert how_far(LocalHost(), str(tmp_path)) == (False, step), "what is no pipe is not believed"
