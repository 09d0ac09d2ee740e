"""The names that `import tfslurm` gives."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tfslurm
from tests.fakes.laptop import Laptop
from tests.fakes.site import Site, at_home
from tfslurm.api.arguments import as_text
from tfslurm.api.jobs import table
from tfslurm.api.session import session, session_of
from tfslurm.errors import InputError, TfslurmError
from tfslurm.sweeps.overrides import values_given
from tfslurm.tracker import Tracker


def test_each_public_name_is_there_and_the_docs_speak_of_it() -> None:
    assert all(hasattr(tfslurm, name) for name in tfslurm.__all__)
    assert set(tfslurm.__all__) <= set(dir(tfslurm))
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        getattr(tfslurm, "no_such_name")  # noqa: B009 - mypy would find it
    page = (Path(__file__).parent.parent / "docs" / "python.md").read_text()
    functions = (
        *("plan(", "submit(", "sweep(", "job(", "jobs(", "cite(", "verify(", "diff(", "rerun("),
        *("jupyter(", "tensorboard(", "serve("),
        *("image_inspect(", "image_build(", "image_mirror(", "image_scan("),
    )
    for name in (*functions, "Job", "Sweep", "JobFailed", "InputError", "HostError", "SubmitRejected"):
        assert name in page


def test_the_names_for_type_checkers_are_those_of_the_table() -> None:
    tree = ast.parse(Path(tfslurm.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(tfslurm.__all__) - {"__version__"} <= imported


def test_to_import_tfslurm_imports_nothing_of_it() -> None:
    script = "import sys, tfslurm; print(sorted(n for n in sys.modules if n.startswith('tfslurm.') or n == 'click'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_error_is_a_tfslurm_error() -> None:
    named = [getattr(tfslurm, name) for name in tfslurm.__all__]
    errors = [each for each in named if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) == 9
    assert all(issubclass(each, TfslurmError) for each in errors)


@pytest.mark.parametrize("value", ["a,b", "[a]", "a\\", "a b", 0.1, 3, True])
def test_a_text_is_one_value(value: Any) -> None:
    assert values_given(as_text("x", value)) == ("true" if value is True else str(value),)


@pytest.mark.parametrize(
    "values",
    [["a,b", "c"], ["a\\", "b"], ["[a", "b]"], [1, ""], [0.1, True], ("x", "y,z"), range(3), [Decimal(2)]],
)
def test_a_list_has_the_values_of_an_axis_with_their_types(values: Any) -> None:
    assert values_given(as_text("x", values)) == tuple(2.0 if isinstance(each, Decimal) else each for each in values)


@pytest.mark.parametrize("value", [None, [], {}, {"a": 1}, b"a", [[1]], [None], float("nan")])
def test_what_is_no_value_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InputError, match=r"x=.*is no value"):
        as_text("x", value)


def test_a_key_of_the_file_takes_its_text_as_it_is() -> None:
    assert [as_text("env.X", "a,b"), as_text("command", ["a", "b"])] == ["a,b", '["a", "b"]']


def test_a_table_in_html_shows_no_markup_of_others() -> None:
    assert table([("a", "b"), ("<script>", 1)]) == (
        "<table><tr><th>a</th><th>b</th></tr><tr><td>&lt;script&gt;</td><td>1</td></tr></table>"
    )


def test_no_room_hides_a_public_name() -> None:
    """A subpackage becomes an attribute of its package when it is imported, whatever stood there."""
    package = Path(tfslurm.__file__).parent
    rooms = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert {"job_plan", "sweeps", "errors"} <= rooms
    assert not rooms & set(tfslurm.__all__)


def test_a_plan_is_what_submit_would_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    file = laptop.experiment(command=["python", "train.py", "{{ lr }}"])
    try:
        planned = tfslurm.plan(file, lr=0.1, settings={"resources.time": "00:05:00"})
        assert planned.plan.command[-1] == "0.1"
        assert planned.plan.options["time"] == "0-00:05:00"
        assert planned.script.startswith("#!/bin/bash")
        assert repr(planned) == f"Planned({planned.plan.job_name!r} on alpha)"
        assert not laptop.slurm.ids()
        with pytest.raises(tfslurm.InputError, match=r"settings 'time': is not a key of exp\.yaml"):
            tfslurm.plan(file, lr=0.1, settings={"time": "00:05:00"})
        with pytest.raises(tfslurm.InputError, match=r"argument image: is a key of exp\.yaml; write settings="):
            tfslurm.plan(file, lr=0.1, image="ubuntu:22.04")
        for name in ("resources.time=3", "slurm.partition=gpu", "env.A=B", "lr=0", " resources.time"):
            with pytest.raises(tfslurm.InputError, match=f"{name}"):
                tfslurm.plan(file, lr=0.1, settings={name: 1})
        for name in ("lr=0", "gpu", "resource.time"):
            with pytest.raises(tfslurm.InputError, match=f"--set {name}: nothing uses it"):
                tfslurm.plan(file, **{"lr": 0.1, name: 1})  # type: ignore[arg-type]
        with pytest.raises(tfslurm.InputError, match="sweep"):
            tfslurm.plan(laptop.experiment(command=["true", "{{ n }}"], sweep={"grid": {"n": [1, 2]}}))
        with pytest.raises(tfslurm.InputError, match="no-such-000000"):
            tfslurm.sweep("no-such-000000")
    finally:
        session().__exit__(None, None, None)
        session_of.cache_clear()


def test_jobs_and_states_warn_of_a_cluster_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    try:
        sent = tfslurm.submit(laptop.experiment(command=["true", "{{ x }}"], parameters={"seed": 7}), x=[1, 2])
        assert isinstance(sent, tfslurm.Sweep)
        assert sent.states == {"PENDING": 2}
        assert [job.parameters for job in sent.jobs] == [{"x": 1, "seed": 7}, {"x": 2, "seed": 7}]
        one = tfslurm.submit("exp.yaml", x="a", seed=8)
        assert isinstance(one, tfslurm.Job) and one.parameters == {"x": "a", "seed": 8}
        one.cancel()
        assert not caplog.messages
        (laptop.slurm.bin / "squeue").write_text("#!/bin/sh\necho it is down >&2\nexit 1\n")
        assert sent.states == {"PENDING": 2}
        assert len(tfslurm.jobs()) == 3
        assert [line.startswith("alpha: ") and "it is down" in line for line in caplog.messages] == [True, True]
    finally:
        session_of.cache_clear()


@pytest.mark.parametrize("is_silent", [False, True], ids=["its words", "none to be had"])
def test_a_failed_job_is_told_whatever_its_cluster_says_and_moves_no_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_silent: bool
) -> None:
    (tmp_path / "tfslurm").mkdir()
    site = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))
    at_home(site, monkeypatch)
    (job,) = site.submit("101")
    site.queue([])
    site.accounts([])
    site.ended(job, exit_code=2, signal=None, cause="program", reason="it \x1b]0;x\x07")
    attempt = Path(site.root) / "runs" / job.job_name / "101" / "attempt-1"
    (attempt / "facts" / "task-0").mkdir(parents=True)
    (attempt / "facts" / "task-0" / "container-id.txt").write_text("ab\n")
    (attempt / "stderr.log").write_text("too\x1b[2J bad\nat last")
    if is_silent:
        site.program("bash", 'case $* in *endings.sh*) exit 9 ;; esac; exec /bin/bash "$@"')
    try:
        with caplog.at_level(logging.INFO, "tfslurm"), pytest.raises(tfslurm.JobFailed) as caught:
            tfslurm.job("alpha:101").wait(check=True)
    finally:
        session_of.cache_clear()
    said = "".join([str(caught.value), *caplog.messages])
    assert "\x1b" not in said
    assert "\\x1b]0;x" in said
    assert ("bad\nat last" in said) is not is_silent


FORKS = """
import os, sys
from tfslurm.api.session import session

mine = session()
mine._open.callback(lambda: print("left by", os.getpid() - parent, flush=True))
parent = os.getpid()
if not os.fork():
    print(session() is mine, flush=True)
    sys.exit()
os.wait()
print(session() is mine, flush=True)
"""


def test_a_process_that_is_forked_has_a_session_of_its_own_and_leaves_its_parents_alone() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["False", "True", "left by 0", ""]


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="`pip install pandas`"):
        tfslurm.Sweep("digits-3fa85f").frame()
