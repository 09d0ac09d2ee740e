"""What points measured and how far they are: read with one command, shown in tables."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.made import CLUSTER, plan
from tfslurm.cli.results import as_csv, as_text, as_value, short, with_real_numbers
from tfslurm.cli.sweeps import by_cluster, failures
from tfslurm.host import open_host
from tfslurm.job_plan import Points
from tfslurm.monitoring.sweep_states import progress
from tfslurm.record.metrics import metrics_of
from tfslurm.retrieval import results as measured
from tfslurm.retrieval.endings import Ending
from tfslurm.retrieval.fetch_jobs import folder_name
from tfslurm.retrieval.results import Result, command_of, read_results
from tfslurm.retrieval.results_table import mixed, table_of
from tfslurm.sweeps.confounding import confounded
from tfslurm.sweeps.points import point_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import PlacedPoint, TrackedJob, TrackedSweep

SWEEP = TrackedSweep("digits-0a1b2c", "asked", "digits", "2026-11-23T07:50:01.000000Z", "", {}, told=True)


def placed(number: int, state: str, *, final: bool = True, cluster: str = "alpha") -> PlacedPoint:
    made = point_of({"lr": number})
    status = {"started_at": "2026-11-23T08:00:00Z", "elapsed_s": 7, "exit_code": 9 if state == "FAILED" else None}
    job = TrackedJob(cluster, f"17_{number}", SWEEP.planned_at, "plan", "digits", state, final, status)
    return PlacedPoint(Entry(made.id, made.text, {}, ()), "plan", number, job)


def test_any_number_of_points_are_one_command_and_missing_files_are_absent_facts(tmp_path: Path) -> None:
    made = plan(cluster=CLUSTER, parameters={"lr": "1"}, points=Points("s", 2, "x"))
    here = replace(made, root=str(tmp_path))
    out = Path(here.run_dir) / "17_0" / "out"
    out.mkdir(parents=True)
    (out / "metrics.json").write_text('{"loss": 0.5, "at": {"step": 3}, "all": [1]}')
    facts = Path(here.run_dir) / "17_0" / "attempt-2" / "facts" / "task-0"
    facts.mkdir(parents=True)
    (facts / "nvidia-driver-module.txt").write_text("535.104.05\n")
    local = replace(CLUSTER, root=PurePosixPath(tmp_path))
    with open_host(local) as host:
        one, other = read_results([placed(0, "COMPLETED"), placed(1, "FAILED")], {"plan": here}, host)
    assert (one.metrics, one.driver, one.gpu, one.seconds) == ({"loss": 0.5, "at.step": 3}, "535.104.05", None, 7)
    assert (one.job, one.cluster, one.digest) == ("alpha:17_0", "alpha", here.pin.digest)
    assert (other.metrics, other.driver, other.state) == ({}, None, "FAILED")


@pytest.mark.parametrize(
    ("glob", "metrics"),
    [
        ("metrics.json", {}),
        ("fold*/m.json", {"fold 1/m:loss": 1, "fold2/m:loss": 2}),
        ("**/m.json", {"deep/er/m:loss": 3, "fold 1/m:loss": 1, "fold2/m:loss": 2}),
        ("fold 1/m.json", {"loss": 1}),
        ("$(touch here)*", {}),
        ("-rf", {"loss": 4}),
    ],
)
def test_other_files_than_metrics_json_are_named_by_a_glob(glob: str, metrics: dict[str, int], tmp_path: Path) -> None:
    here = replace(plan(cluster=CLUSTER, parameters={"lr": "1"}, points=Points("s", 1, "x")), root=str(tmp_path))
    out = Path(here.run_dir) / "17_0" / "out"
    for number, name in enumerate(("fold 1/m.json", "fold2/m.json", "deep/er/m.json", "-rf"), 1):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f'{{"loss": {number}}}')
    with open_host(replace(CLUSTER, root=PurePosixPath(tmp_path))) as host:
        (found,) = read_results([placed(0, "COMPLETED")], {"plan": here}, host, glob)
    assert (found.metrics, found.why) == (metrics, "")
    assert {path.name for path in out.iterdir()} == {"fold 1", "fold2", "deep", "-rf"}


@pytest.mark.parametrize("where", ["file", "folder", "out", "job"])
def test_a_link_in_the_outputs_leads_to_nothing_of_the_users(where: str, tmp_path: Path) -> None:
    here = replace(plan(cluster=CLUSTER, parameters={"lr": "1"}, points=Points("s", 1, "x")), root=str(tmp_path / "r"))
    home = tmp_path / "home"
    (home / "out" / "sub").mkdir(parents=True)
    for name in ("m.json", "out/m.json", "out/sub/m.json"):
        (home / name).write_text('{"auth": "secret"}')
    job = Path(here.run_dir) / "17_0"
    job.parent.mkdir(parents=True)
    if where == "job":
        job.symlink_to(home)
    else:
        job.mkdir()
        if where == "out":
            (job / "out").symlink_to(home / "out")
        else:
            (job / "out").mkdir()
            name, target = ("sub", "out/sub") if where == "folder" else ("m.json", "m.json")
            (job / "out" / name).symlink_to(home / target)
    for glob in ("m.json", "sub/m.json", "**/m.json", "*/m.json"):
        with open_host(replace(CLUSTER, root=PurePosixPath(tmp_path / "r"))) as host:
            (found,) = read_results([placed(0, "COMPLETED")], {"plan": here}, host, glob)
        assert "secret" not in str(found)
        assert found.metrics == {}
        assert not found.why or found.why.endswith("is empty, or is or lies in a link, which is not followed")


def test_too_many_files_are_said() -> None:
    files = {f"{number}.json": b"{}" for number in range(101)}
    assert metrics_of(files, "*.json") == ({}, "more than 100 files fit *.json")


@pytest.mark.parametrize(("text", "why"), [(b"{", "m.json cannot be read"), (b"[1]", "m.json is no JSON object")])
def test_metrics_that_are_none_are_said(text: bytes, why: str) -> None:
    found, said = metrics_of({"m.json": text, "n.json": b'{"a": 1}'}, "*.json")
    assert found == {"n:a": 1}
    assert said.startswith(why)


UNWIELDY = {
    "one name in another": {"a" * 60_000: {str(number): 1 for number in range(60_000)}},
    "a chain of names": {"a" * 400: {"b" * 400: {"c" * 400: 1}}},
    "more than a table has": {str(number): 1 for number in range(2000)},
}


@pytest.mark.parametrize("given", UNWIELDY.values(), ids=UNWIELDY.keys())
def test_metrics_that_nobody_could_look_at_are_said_and_take_no_memory(given: dict[str, object]) -> None:
    text = json.dumps(given).encode()
    tracemalloc.start()
    found, said = metrics_of({"m.json": text}, "m.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found, bool(said)) == ({}, True)
    assert len(said) < 200
    assert peak < 2**26


@pytest.mark.slow
def test_a_point_that_left_megabytes_hides_no_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MOST_IN_ALL", 2**18)
    here = replace(plan(cluster=CLUSTER, parameters={"lr": "1"}, points=Points("s", 9, "x")), root=str(tmp_path))
    for number in range(9):
        out, facts = (Path(here.run_dir) / f"17_{number}" / each for each in ("out", "attempt-1/facts/task-0"))
        out.mkdir(parents=True)
        facts.mkdir(parents=True)
        (facts / "nvidia-driver-module.txt").write_text("535.104.05\n")
        for part in range(90):
            (out / f"{part}.json").write_text('{"loss": 1}' + " " * (2**20 if number else 0))
    points = [placed(number, "COMPLETED") for number in range(9)]
    with open_host(replace(CLUSTER, root=PurePosixPath(tmp_path))) as host:
        first, *others = read_results(points, {"plan": here}, host, "*.json")
    assert (len(first.metrics), first.why) == (90, "")
    assert {each.driver for each in (first, *others)} == {"535.104.05"}
    assert all(each.why for each in others)


@pytest.mark.slow
def test_a_table_of_names_that_differ_from_point_to_point_stays_small() -> None:
    gathered = [replace(result(**{f"m{place}-{number}": 1 for number in range(500)})) for place in range(1000)]
    assert sum(map(len, table_of(gathered))) < 6_000_000


def result(**metrics: object) -> Result:
    return Result(
        "abc", {"lr": 0.1, "job": "x"}, "alpha:17_0", "alpha", "COMPLETED", None, None, "sha256:1", 7, metrics
    )


def test_a_metric_or_a_parameter_never_takes_the_column_of_another() -> None:
    (row,) = table_of([result(lr=1, state=2, loss=3)])
    assert {key: row[key] for key in ("lr", "metric.lr", "metric.state", "loss", "parameter.job", "job", "state")} == {
        "lr": 0.1,
        "metric.lr": 1,
        "metric.state": 2,
        "loss": 3,
        "parameter.job": "x",
        "job": "alpha:17_0",
        "state": "COMPLETED",
    }


def test_tables_have_an_empty_cell_where_nothing_was_observed() -> None:
    rows = table_of([result(loss=1), result()])
    header, _, second = as_csv(rows).splitlines()
    assert dict(zip(header.split(","), second.split(","), strict=True))["loss"] == ""
    assert as_text([]) == "no point was sent yet\n"
    assert json.dumps("\x1b")[1:-1] not in as_text(table_of([result(note="\x1b[2J")]))
    assert "\x1b" not in as_text(table_of([result(note="\x1b[2J")]))


def of_code(number: int, **changed: Any) -> Result:
    """Points of two widths; ``changed`` is what those of width 0 have otherwise."""
    job, digest, metrics = f"alpha:17_{number}", f"sha256:{'1' * 64}", {"loss": number / 3, "step": 12345}
    made = Result(
        f"p{number}", {"width": number % 2}, job, "alpha", "COMPLETED", "T4", "550", digest, number, metrics,
        code="a" * 40, command="python train.py --width '{{ width }}'",
    )  # fmt: skip
    return made if number % 2 else replace(made, **changed)


CHANGED = {
    "code": ("code", "b" * 40, "code"),
    "no code": ("code", None, "code"),
    "another command": ("command", "python train.py --fast", "command"),
    "another variable": ("command", "TF_X=1 python train.py --width '{{ width }}'", "command"),
    "image": ("digest", "sha256:" + "2" * 64, "image"),
}


@pytest.mark.parametrize(("key", "value", "name"), CHANGED.values(), ids=CHANGED.keys())
def test_points_that_ran_something_else_are_told_apart_in_every_form(key: str, value: str | None, name: str) -> None:
    """A sweep was resumed with a file, or a folder, that had changed: all points of one width ran the new one."""
    gathered = [of_code(number, **{key: value}) for number in range(8)]
    rows = table_of(gathered)
    assert [row[key] for row in rows] == [value if number % 2 == 0 else getattr(of_code(1), key) for number in range(8)]
    assert key in as_csv(rows).splitlines()[0].split(",")
    assert key in as_text(rows).splitlines()[0].split()
    assert [as_value(each)[key] for each in gathered] == [row[key] for row in rows]
    (said,) = mixed(gathered)
    assert said.startswith(f"the points did not all run the same {name}: 4 of 8 ")
    (found,) = confounded([each.row for each in gathered])
    assert str(found).startswith(f"width is confounded with {name} (Cram")


def test_points_that_ran_the_same_have_no_column_for_it() -> None:
    gathered = [of_code(number) for number in range(8)]
    assert not {"code", "command"} & set(table_of(gathered)[0])
    assert not list(mixed(gathered))
    assert not confounded([each.row for each in gathered])
    assert (as_value(gathered[0])["code"], as_value(gathered[0])["command"]) == (gathered[0].code, gathered[0].command)
    many = [of_code(number * 2, code=f"{number:040x}") for number in range(8)]
    assert next(mixed(many)).endswith("; and 3 others")


def test_a_text_table_has_four_digits_and_names_once_what_is_the_same_for_all() -> None:
    header, *lines, last = as_text(table_of([of_code(number) for number in range(3)])).splitlines()
    assert header.split() == ["point", "width", "loss", "step", "seconds", "job"]
    assert lines[1].split() == ["p1", "1", "0.3333", "12345", "1", "alpha:17_1"]
    assert last == f"all 3: cluster alpha, gpu T4, driver 550, digest sha256:{'1' * 12}, state COMPLETED"
    assert "all 1" not in as_text(table_of([of_code(1)])), "one row needs no second line"
    assert "gpu not observed" in as_text(table_of([result(), result()]))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.123456, "0.1235"), (1e-7 / 3, "3.333e-08"), (123456.78, "123457"), (1e20, "1e+20"), (0.0, "0"),
        (-12.34567, "-12.35"), ("0.123456", "0.123456"), (float("inf"), "inf"), (123456789, "123456789"), (None, ""),
        (True, "True"),
    ],
)  # fmt: skip
def test_a_number_is_cut_to_what_a_person_compares(value: object, cell: str) -> None:
    assert short("loss", value) == cell


def test_the_command_of_a_point_is_what_was_written_and_what_it_was_given() -> None:
    made = plan(cluster=CLUSTER, parameters={"lr": "1"}, points=Points("s", 2, "x"))
    older = replace(made, env={"TF_X": "a b"})
    assert command_of(replace(made, env={})) == command_of(replace(made, env={"PYTHONUNBUFFERED": "1"}))
    assert command_of(older) == f"'TF_X=a b' {command_of(replace(made, env={}))}"
    assert command_of(replace(made, env={"PYTHONUNBUFFERED": ""})) != command_of(replace(made, env={}))


def test_progress_counts_what_has_ended() -> None:
    points = [
        placed(0, "COMPLETED"),
        placed(1, "FAILED"),
        placed(2, "LOST", final=False),
        placed(3, "PENDING", final=False),
    ]
    assert progress(points).startswith("[######################--------] 3 of 4 points ended, about ")
    assert progress(points[3:]) == f"[{'-' * 30}] 0 of 1 points ended"
    assert progress(points[:1]) == f"[{'#' * 30}] 1 of 1 points ended"


def test_states_are_counted_for_each_cluster_and_failures_for_each_cause() -> None:
    points = [
        placed(0, "COMPLETED"),
        placed(1, "FAILED"),
        placed(2, "FAILED", cluster="beta"),
        placed(3, "TIMEOUT"),
        PlacedPoint(placed(4, "").entry, "waits", 0, None),
    ]
    assert by_cluster(points, {"waits": "beta"}) == [
        ["CLUSTER", "COMPLETED", "NOT SENT", "FAILED", "TIMEOUT"],
        ["alpha", "1", "", "1", "1"],
        ["beta", "", "1", "1", ""],
    ]
    steps = {"alpha:17_1": "loss is nan at step 12", "beta:17_2": "loss is nan at step 7"}
    lines = failures(SWEEP, points, {job: Ending("stderr", (line,)) for job, line in steps.items()})
    late = "time limit reached; more `time`, or `checkpoint`"
    assert lines == [
        "2 x FAILED: exit 9: loss is nan at step 12; for example alpha:17_1 "
        f'{{"lr":1}}: tfslurm logs digits-0a1b2c:{points[1].entry.id}',
        f'1 x TIMEOUT: {late}; for example alpha:17_3 {{"lr":3}}: tfslurm logs digits-0a1b2c:{points[3].entry.id}',
    ]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"lr": 0.1, "seed": 3}, "lr=0.1,seed=3"),
        ({"opt": "adam", "deep": True}, "deep=true,opt=adam"),
        ({"text": "a/../b"}, "text=a_.._b-"),
        ({"text": "x" * 500}, "text=" + "x" * 145 + "-"),
        ({"_": ""}, "_="),
    ],
)
def test_a_folder_has_the_parameters_in_its_name_and_where_that_is_not_all_the_id(
    parameters: dict[str, str | int | float | bool], name: str
) -> None:
    made = point_of(parameters)
    found = folder_name(Entry(made.id, made.text, {}, ()))
    assert found == (name + made.id if name.endswith("-") else name)


def test_a_loss_that_diverged_is_a_number_again_where_a_column_has_numbers_only() -> None:
    losses, notes = [0.5, "NaN", "-Infinity", None], ["NaN", "ok", "Infinity", None]
    rows = with_real_numbers([{"loss": loss, "note": note} for loss, note in zip(losses, notes, strict=True)])
    assert str([row["loss"] for row in rows]) == "[0.5, nan, -inf, None]"
    assert [row["note"] for row in rows] == notes
    assert with_real_numbers([]) == []
