"""Which points of a sweep are run again, and what is said of an image, code or command that has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import CLUSTER, CODE, PIN, experiment, plan
from tests.repository import write
from tfslurm.errors import TfslurmError
from tfslurm.host.files import put_tree, tree_contents
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import JobPlan
from tfslurm.snapshot import take
from tfslurm.snapshot.files import contents
from tfslurm.spec import Mount
from tfslurm.submission.changed_code import changed_code, in_words
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.sweep_arrays import Swept, entries_of, points_of
from tfslurm.submission.sweep_resume import ask_of_rebuilt, changes, confirm, is_wanted
from tfslurm.sweeps.points import sweep_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import PlacedPoint, TrackedJob, TrackedPlan
from tfslurm.tracker.rows import REBUILT
from tfslurm.workspace.session import Session, refuse_all

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
    assert said(replace(base(), mounts=(Mount("/data/e", "/data"),))) == ["the mounts have changed"]


def test_a_sweep_from_before_tfslurm_had_variables_of_its_own_has_not_changed_by_them() -> None:
    older = replace(base(), env={"SEED": "7"})
    swept = Swept(sweep_of(ASKED), (), (Prepared(base(), "", None, CLUSTER, ""),), {}, "")
    assert changes([Prepared(older, "", None, CLUSTER, "")], swept) == []
    buffered = replace(base(), env={"SEED": "7", "PYTHONUNBUFFERED": ""})
    assert changes([Prepared(buffered, "", None, CLUSTER, "")], swept) == ["the command or its variables have changed"]


def changed(folder: Path, root: Path, before: dict[str, str], after: dict[str, str]) -> str:
    """What is said of a folder that was sent, and then changed."""
    write(folder, before)
    older = take(folder)
    there = PurePosixPath(root, "code", older.tree)
    put_tree(LocalHost(), there, files=older.files, bytes=older.bytes, stream=older.stream())
    rmtree(folder)
    write(folder, after)
    return in_words(tree_contents(LocalHost(), there), contents(take(folder).entries))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": "1"}, {"a": "2"}, "a"),
        ({"a": "1", "b -> c": "1"}, {"a": "1", "b -> c": "2", "d/e": "1"}, "b -> c; new: d/e"),
        ({"a": "1", "d/e": "1"}, {"a": "1"}, "gone: d/e"),
        ({"a": "1"}, {"b": "1"}, "new: b; gone: a"),
        ({f"f{n:02}": "1" for n in range(12)}, {f"f{n:02}": "2" for n in range(12)}, None),
        ({"line\nbreak": "1"}, {"line\nbreak": "2"}, "line\nbreak"),
    ],
)
def test_the_files_that_changed_are_named(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], told: str | None
) -> None:
    found = changed(tmp_path / "code", tmp_path / "root", before, after)
    assert found == (told or ", ".join(f"f{n:02}" for n in range(10)) + " and 2 more")


def test_a_file_that_became_executable_or_leads_elsewhere_has_changed(tmp_path: Path) -> None:
    write(tmp_path / "code", {"a": "1", "b": "1"})
    (tmp_path / "code" / "x -> y").symlink_to("a")
    older = contents(take(tmp_path / "code").entries)
    (tmp_path / "code" / "b").chmod(0o755)
    (tmp_path / "code" / "x -> y").unlink()
    (tmp_path / "code" / "x -> y").symlink_to("b")
    assert in_words(older, contents(take(tmp_path / "code").entries)) == "b, x -> y"


def test_code_that_is_gone_or_never_was_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    laptop.experiment(code="code")
    known, now, then = laptop.known, take(laptop.folder / "code"), base(code=CODE)
    with Session(print) as session:
        assert changed_code(session, known, replace(then, code=None), now) == "there was none, and there is some now"
        assert changed_code(session, known, then, None) == "there was code, and there is none now"
        told = changed_code(session, known, replace(then, root=str(laptop.root)), now)
    assert told == f"{laptop.root}/code/{CODE.tree} is gone, so its files are not known"


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
