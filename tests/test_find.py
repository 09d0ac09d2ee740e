"""Jobs found by their names, by `last` and by filters, and cancelled so; on a laptop beside a stand-in for Slurm."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tfslurm.errors import InputError
from tfslurm.monitoring.choose import since_given, states_given
from tfslurm.monitoring.lookup import find_job, find_jobs, find_sweep, one_name

SWEPT: dict[str, Any] = {"command": ["true", "{{ n }}"], "sweep": {"grid": {"n": {"range": [24]}}}}


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # nobody can be asked
    return Laptop.made(tmp_path, monkeypatch)


def submit(laptop: Laptop, name: str, number: int = 0, **keys: Any) -> str:
    """The name of a new job, or sweep, of an experiment."""
    before = {job.key for job in laptop.tracker.jobs()}
    env = {"NUMBER": str(number)}
    assert laptop.type("submit", laptop.experiment(name=name, env=env, **keys)) == 0
    new = [job for job in laptop.tracker.jobs() if job.key not in before]
    return laptop.tracker.sweeps.all()[-1].sweep_id if len(new) > 1 else new[0].key


def rows(text: str) -> list[list[str]]:
    return [re.split("  +", line) for line in text.splitlines()[1:]]


@pytest.mark.slow
def test_a_sweep_pushes_no_job_out_of_view_and_each_row_has_its_date(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    first = submit(laptop, "moons")
    laptop.slurm.end("101")
    swept = submit(laptop, "many", **SWEPT)
    for task in range(24):
        laptop.slurm.end(f"102_{task}")
    last = submit(laptop, "moons", 1)
    assert laptop.type("status") == 0
    capsys.readouterr()
    assert laptop.type("status") == 0
    shown = rows(capsys.readouterr().out)
    assert [row[0] for row in shown] == [first, swept, last]
    day = laptop.tracker.jobs()[0].submitted_at[:10]
    assert all(row[2].startswith(day) and re.fullmatch(r"\d\d:\d\d", row[2][11:]) for row in shown)
    for number in range(20):
        submit(laptop, "others", number)
        laptop.slurm.end(laptop.known_ids()[-1])
    capsys.readouterr()
    assert laptop.type("status") == 0
    shown = rows(capsys.readouterr().out)
    assert [row[0] for row in shown[:2]] == [last, "alpha:104"]  # it waits; of those that ended the last 20 submissions


def test_names_and_last_stand_wherever_a_job_does(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    one, swept, two = submit(laptop, "moons"), submit(laptop, "many", **SWEPT), submit(laptop, "moons", 1)
    tracker = laptop.tracker
    assert [find_job(tracker, text).key for text in ("last", "last~0", "moons", "moons~0", "moons~1")] == [two] * 4 + [
        one
    ]
    assert find_job(tracker, "last~2").key == one and one_name(tracker, "last~1") == swept
    assert find_sweep(tracker, "last").sweep_id == find_sweep(tracker, "many").sweep_id == swept
    assert len(find_jobs(tracker, "last~1")) == 24 and find_job(tracker, f"{swept}:{_point(laptop)}").place == 0
    assert [job.key for job in find_jobs(tracker, "moons")] == [one, two]
    laptop.slurm.end("101")
    capsys.readouterr()
    assert laptop.type("status", "moons", "--json") == 0
    assert [job["job"] for job in json.loads(capsys.readouterr().out)] == [one, two]
    assert [job.key for job in find_jobs(laptop.tracker, "moons")] == [two]  # the other one has ended
    for text, why in (
        ("moon", "neither the id of a job nor the name of a job or a sweep; did you mean `moons`?"),
        ("last~9", "you have not submitted so many jobs and sweeps"),
        ("last~99999999999", "you have not submitted so many jobs and sweeps"),
        ("moons~99999999999", "moons has 2 jobs"),
        ("many:", "names no point; write many for all points"),
        (f"{swept}:", "names no point"),
        ("moons~2", "moons has 2 jobs; `tfslurm status --name moons` lists them"),
        ("last~1", "is 24 jobs"),
        ("../x", "neither the id"),
        ("moons~-1", "neither the id"),
    ):
        with pytest.raises(InputError, match=re.escape(why)):
            find_job(laptop.tracker, text)
    with pytest.raises(InputError, match="so many sweeps"):
        find_sweep(tracker, "last~1")


def _point(laptop: Laptop) -> str:
    return laptop.tracker.sweeps.points(laptop.tracker.sweeps.all()[0].sweep_id)[0].entry.id


@pytest.mark.slow
def test_two_sweeps_of_a_name_are_told_with_their_dates(laptop: Laptop) -> None:
    first, second = submit(laptop, "sw", **SWEPT), submit(laptop, "sw", 1, **SWEPT)
    moment = r"\(\d{4}-\d\d-\d\d \d\d:\d\d\)"
    with pytest.raises(InputError, match=f"is the name of 2, the last: {first} {moment}, {second} {moment}; name one"):
        find_sweep(laptop.tracker, "sw")


def test_filters_choose_by_name_time_state_and_sweep(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = submit(laptop, "moons"), submit(laptop, "suns")
    swept = submit(laptop, "moons-many", **{**SWEPT, "sweep": {"grid": {"n": [1, 2]}}})
    laptop.slurm.end(one.partition(":")[2], "FAILED", "3:0")
    laptop.slurm.end("103_1", "FAILED", "3:0")

    def found(*words: str) -> list[str]:
        capsys.readouterr()
        assert laptop.type("status", *words, "--json") == 0
        return [job["job"] for job in json.loads(capsys.readouterr().out)]

    assert found("--name", "moons") == [one] and found("--name", "moons*") == [one, "alpha:103_0", "alpha:103_1"]
    assert found("--state", "f") == [one, "alpha:103_1"] == found("--state", "failed,timeout")
    assert found("--state", "PD", "--name", "s?ns") == [two]
    assert found("--sweep", "moons-many", "--state", "FAILED") == ["alpha:103_1"]
    assert found("--since", "1h", "--state", "FAILED", "--state", "PENDING") == found("--all")
    assert found("--since", "2999-01-01") == []
    assert laptop.type("status", "--sweep", swept) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["alpha:103_0", "alpha:103_1"]
    assert laptop.type("status", "--since", "2999-01-01") == 0
    assert capsys.readouterr().err == "no jobs fit\n"


@pytest.mark.parametrize("text", ["soon", "-1d", "12", "2026-13-01", "9999999d", "2026-11-28T99"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a time; write 30m, 12h"):
        since_given(text)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--name", "--since", "--state", "--sweep"])
@pytest.mark.parametrize("command", [["status"], ["cancel", "--yes", "--all"], ["cancel", "--yes", "moons"]])
def test_an_option_without_text_chooses_no_job(
    command: list[str], option: str, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(laptop, "moons")
    before = laptop.tracker.jobs()
    assert laptop.type(*command, option, "") == 2
    assert f"{option} " in capsys.readouterr().err
    assert laptop.tracker.jobs() == before and not before[0].final


def test_before_the_first_submission_last_says_so(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    assert laptop.type("status", "last") == 2
    assert "last: you have submitted none yet; " in capsys.readouterr().err


def test_states_are_taken_as_squeue_takes_them() -> None:
    assert states_given(["oom,R", "node fail", "completing"]) == ("OUT_OF_MEMORY", "RUNNING", "NODE_FAIL", "COMPLETING")
    with pytest.raises(InputError, match=r"--state FAILD: is not one of Slurm's states; did you mean `FAILED`"):
        states_given(["FAILD"])


def test_several_jobs_are_cancelled_by_name_state_or_all_of_them_after_a_question(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, other = submit(laptop, "moons"), submit(laptop, "moons", 1), submit(laptop, "suns")
    swept = submit(laptop, "many", **SWEPT)
    laptop.slurm.start("101")
    assert laptop.type("cancel") == 2
    assert "no job is named; name jobs or sweeps, or choose them: --all" in capsys.readouterr().err
    assert laptop.type("cancel", "many:") == 2 and "names no point" in capsys.readouterr().err
    for words in (["moons"], ["--name", "moons"], ["--all"], ["--state", "PENDING"]):
        assert laptop.type("cancel", *words) == 2
        told = capsys.readouterr().err
        assert "these have not ended: " in told and "there is no terminal to ask on; add --yes" in told
    assert {job.state for job in laptop.tracker.jobs()} == {"RUNNING", "PENDING"}
    assert laptop.type("cancel", "--name", "suns") == 0  # one is not asked about
    assert capsys.readouterr().out == f"{other} CANCELLED\n"
    assert laptop.type("cancel", "--state", "pd", "--name", "moons") == 0
    assert capsys.readouterr().out == f"{two} CANCELLED\n"
    assert laptop.type("cancel", "--all", "--yes") == 0
    assert [job.state for job in laptop.tracker.jobs()] == ["CANCELLED"] * 27
    assert one in capsys.readouterr().out and find_sweep(laptop.tracker, swept)
    assert laptop.type("cancel", "--all") == 0
    assert "nothing to cancel" in capsys.readouterr().err


def test_all_are_the_points_too_that_wait_to_be_sent(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    laptop.slurm.limit(4)
    assert laptop.type("submit", laptop.experiment(name="many", **SWEPT)) == 0
    assert laptop.tracker.sweeps.waiting()
    assert laptop.type("cancel", "--all") == 0
    assert "points that were waiting will not be sent" in capsys.readouterr().err
    assert not laptop.tracker.sweeps.waiting()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["cancel", "scancel"])
@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize("keys", [{}, SWEPT], ids=["job", "sweep"])
def test_after_a_cancel_the_same_is_submitted_at_once(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], by: str, requeue: bool, keys: dict[str, Any]
) -> None:
    checkpoint = {"signal": "USR1", "before_end": 60, "requeue": True}
    wanted = {"checkpoint": checkpoint, "outputs": "/out", "resources": {"time": "01:00:00"}}
    more: dict[str, Any] = wanted if requeue else {}
    submit(laptop, "moons", **{**keys, **more})
    laptop.slurm.start("101")
    assert laptop.type("submit", "exp.yaml") == 1
    assert "`tfslurm wait " in capsys.readouterr().err
    laptop.slurm.completing("101")
    laptop.slurm.program("scancel", "exit 0")
    if by == "cancel":
        assert laptop.type("cancel", "last") == 0
        assert "COMPLETING" in capsys.readouterr().out
    code = laptop.type("submit", "exp.yaml")
    told = capsys.readouterr()
    # Slurm may queue a job again that its program asked for; nobody said that this one is given up.
    assert (code, told.out) == ((1, "") if by == "scancel" and requeue else (0, "alpha:102\n"))


def test_a_wait_for_many_jobs_names_those_that_failed(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    submit(laptop, "many", **SWEPT)
    for task in range(24):
        state, code = {3: ("FAILED", "3:0"), 17: ("FAILED", "3:0"), 5: ("TIMEOUT", "0:15")}.get(
            task, ("COMPLETED", "0:0")
        )
        laptop.slurm.end(f"101_{task}", state, code)
    capsys.readouterr()
    assert laptop.type("wait", "last") == 3
    told = capsys.readouterr().err
    assert "alpha:101_3 and 1 more (alpha:101_17): " in told and "alpha:101_5: time limit" in told


@pytest.mark.slow
@pytest.mark.parametrize("command", [["wait"], ["status", "--watch"]])
@pytest.mark.parametrize("broken", ["name: [", "name: beta", "root: relative", "\x00", None])
def test_a_cluster_file_that_is_broken_for_a_moment_ends_no_wait(
    laptop: Laptop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    broken: str | None,
) -> None:
    """The first squeue breaks the file; the next one, of the file as it was, mends it, and the job has ended."""
    for module in ("monitoring.wait", "cli.status"):
        monkeypatch.setattr(f"tfslurm.{module}.FIRST_S", 0.0)
    job = submit(laptop, "moons")
    file, whole = laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml", laptop.folder / "whole"
    bad = laptop.folder / "bad"
    whole.write_text(file.read_text())
    bad.write_text(broken or "")
    (laptop.slurm.bin / "squeue").rename(laptop.slurm.bin / "listing")
    harm = f"cp {bad} {file}" if broken is not None else f"chmod 000 {file}; rm {file}; mkdir {file}"
    ended = 's/"state": "PENDING"/"state": "COMPLETED", "began": 1795000000, "ended": 1795000007, "exit": "0:0"/'
    laptop.slurm.program(
        "squeue",
        f"if [ ! -e {laptop.folder}/harmed ]; then touch {laptop.folder}/harmed; {harm}; else\n"
        f"rm -rf {file}; cp {whole} {file}; sed -i '{ended}' {laptop.slurm.state}/jobs/101.json; fi\n"
        f'exec {laptop.slurm.bin}/listing "$@"',
    )
    capsys.readouterr()
    assert laptop.type(*command, job) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "COMPLETED" in told.out + told.err
    assert "alpha" in told.err and "error: " in told.err


def test_json_of_a_job_that_runs_says_no_end_and_of_one_that_waits_no_beginning(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(laptop, "moons")
    later = 1_895_000_000
    laptop.slurm._change("101", began=later, ended=later + 60)

    def seen(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert laptop.type(*words, "--json") == 0
        return dict(json.loads(capsys.readouterr().out)[0])

    waits = seen("status")
    assert (waits["started_at"], waits["ended_at"], waits["limit_ends_at"]) == (None, None, None)
    assert waits["expected_start_at"].startswith("2030-") and waits["submitted_at"]
    laptop.slurm.start("101")
    runs = seen("status", "101")
    assert runs["started_at"] and runs["ended_at"] is None and runs["limit_ends_at"].startswith("2030-")
    assert "expected_start_at" not in runs
    laptop.slurm.end("101")
    ended = seen("wait", "moons")
    assert ended["ended_at"] and "limit_ends_at" not in ended
