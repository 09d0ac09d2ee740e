"""Which points of a sweep are run again, and what is said of an image, code or command that has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.made import CLUSTER, CODE, PIN, experiment, plan
from tfslurm.errors import TfslurmError
from tfslurm.job_plan import JobPlan
from tfslurm.spec import Mount
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.sweep_arrays import Swept, entries_of, points_of
from tfslurm.submission.sweep_resume import ask_of_rebuilt, changes, confirm, is_wanted
from tfslurm.sweeps.points import sweep_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import PlacedPoint, TrackedJob, TrackedPlan
from tfslurm.tracker.rows import REBUILT
from tfslurm.workspace.session import refuse_all

ASKED = experiment(sweep={"grid": {"lr": [0.1, 0.01]}})


def point(state: str) -> PlacedPoint:
    job = TrackedJob("alpha", "17_0", "", "plan", "digits", state, state != "LOST", {}) if state else None
    return PlacedPoint(Entry("id", "{}", {}, ()), "plan", 0, job)


@pytest.mark.parametrize(
    ("failed_only", "states", "wanted"),
    [
        (False, (), ["FAILED", "TIMEOUT", "LOST", ""]),
        (True, (), ["FAILED", "TIMEOUT"]),
        (False, ("TIMEOUT",), ["TIMEOUT"]),
        (False, ("TIMEOUT", "LOST"), ["TIMEOUT", "LOST"]),
    ],
)
def test_the_command_line_says_which_points_are_meant(
    failed_only: bool, states: tuple[str, ...], wanted: list[str]
) -> None:
    offered = ["FAILED", "TIMEOUT", "LOST", ""]
    assert [state for state in offered if is_wanted(point(state), failed_only, states)] == wanted


def base(**given: Any) -> JobPlan:
    sweep = sweep_of(ASKED)
    points = points_of(entries_of(ASKED, PIN, sweep), ASKED)
    return plan(ASKED, parameters={}, points=points, **given)


def said(now: JobPlan) -> list[str]:
    sweep = sweep_of(ASKED)
    after = Prepared(now, "", None, CLUSTER, "")
    return changes([Prepared(base(), "", None, CLUSTER, "")], Swept(sweep, (), (after,), {}, ""))


def test_only_what_has_changed_is_said() -> None:
    assert said(base()) == []
    assert said(base(code=replace(CODE, tree="f" * 40))) == ["the code has changed"]
    assert said(base(code=None)) == ["the code has changed"]
    assert said(replace(base(), command=("python", "other.py"))) == ["the command or its variables have changed"]
    (line,) = said(base(pin=replace(PIN, digest="sha256:" + "0" * 64)))
    assert line.startswith("the image was sha256:a1a1")


def test_a_sweep_from_before_tfslurm_had_variables_of_its_own_has_not_changed_by_them() -> None:
    older = replace(base(), env={"SEED": "7"})
    swept = Swept(sweep_of(ASKED), (), (Prepared(base(), "", None, CLUSTER, ""),), {}, "")
    assert changes([Prepared(older, "", None, CLUSTER, "")], swept) == []
    buffered = replace(base(), env={"SEED": "7", "PYTHONUNBUFFERED": ""})
    assert changes([Prepared(buffered, "", None, CLUSTER, "")], swept) == ["the command or its variables have changed"]


def test_a_change_is_asked_about_and_nothing_is_not() -> None:
    told: list[str] = []
    confirm([], told.append, refuse_all)
    assert not told
    confirm(["the code has changed"], told.append, lambda question: True)
    assert told[0].startswith("warning: the code has changed")


def test_a_change_that_is_not_wanted_submits_nothing() -> None:
    with pytest.raises(TfslurmError, match="nothing was submitted"):
        confirm(["the code has changed"], lambda line: None, refuse_all)


def test_of_what_was_read_from_run_folders_all_that_it_could_reach_is_shown() -> None:
    lines: list[str] = []
    shown = replace(
        base(), mounts=(Mount("/data/d", "/d", read_only=False),), network="host", env={"SEED": "7"}, secrets=("TOKEN",)
    )
    kept = TrackedPlan(shown, "submitted", REBUILT, "")
    entry = Entry("id", "{}", {"LR": "0.1"}, ("sh", "-c", "true"))
    ask_of_rebuilt([kept], [entry], lines.append, lambda question: True)
    told = "\n".join(lines)
    for words in (
        f"image    {PIN.reference} = {PIN.digest}",
        "mounts   /data/d -> /d (may be written)",
        "env      'SEED=7'",
        f"code     {CODE.tree}; network host",
        "options  partition=gpu",
        "secrets  TOKEN",
        "point    'LR=0.1' 'sh' '-c' 'true'",
    ):
        assert words in told
    forged = replace(
        shown, mounts=(Mount("/data/d", "/d, /x -> /y", read_only=False),), secrets=("A\n  secrets  none",)
    )
    ask_of_rebuilt([TrackedPlan(forged, "submitted", REBUILT, "")], [entry], lines.append, lambda question: True)
    told = "\n".join(lines)
    assert "mounts   /data/d -> '/d, /x -> /y' (may be written)" in told
    assert "secrets  A\\n  secrets  none: their" in told
    lines.clear()
    ask_of_rebuilt([kept._replace(note="")], [entry], lines.append, refuse_all)
    assert not lines
