"""The files that a comparison reads: outputs and code from where the records say, in bounds, and no further."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.made import SWEEP, entries, session
from tests.made import array as array_of
from tests.test_comparison import OTHER_MACHINE, declared, job, metrics, run, seeded
from tfslurm.cli import run as typed
from tfslurm.errors import InputError
from tfslurm.export.diff_report import report
from tfslurm.export.difference import diff_json, verdict_lines
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import DerivedFrom
from tfslurm.record import record_json
from tfslurm.record.comparison.differences import differences
from tfslurm.record.model import Code, Output, seal
from tfslurm.retrieval import comparing
from tfslurm.retrieval.code_trees import MOST_OF_ONE, code_of, id_of, tree_on
from tfslurm.retrieval.comparing import (
    changed_records,
    code_changes,
    of_run_and_seeds,
    of_sample,
    of_sweeps,
    of_two,
    read_all,
)
from tfslurm.retrieval.evidence import Evidence
from tfslurm.snapshot import take
from tfslurm.tracker import Tracker

HOST = LocalHost("alpha")
WITHIN, OUTSIDE = (f"{word} the seeds' 95 % prediction interval" for word in ("within", "outside"))


def evidence(folder: Path, job_id: str, files: dict[str, str], *made: Any) -> Evidence:
    """A job's record, and its outputs below a run folder."""
    found = run(*made, files=files).record
    record = seal(replace(found, job=replace(found.job, job_id=job_id), record_id=job_id))
    for path, text in files.items():
        file = folder / job_id / "out" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Evidence(record, record_json(record), HOST, PurePosixPath(folder))


def code(folder: Path, evidence: Evidence, files: dict[str, str]) -> Evidence:
    """The same with code that lies where a cluster keeps it."""
    source = folder / "source"
    subprocess.run(["rm", "-rf", source], check=True)
    for path, text in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    snapshot = take(source)
    there = folder / "code" / snapshot.tree
    there.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-r", source, there], check=True)
    record = replace(evidence.record, code=Code(None, None, None, None, snapshot.tree))
    return evidence._replace(record=record, code=PurePosixPath(there))


# ------------------------------------------------------------------------------------------------------------- outputs


def test_only_what_has_the_hash_of_the_record_is_compared(tmp_path: Path) -> None:
    values = {"metrics.json": metrics(accuracy=0.98, seconds=1.5), "w.h5": "same"}
    a = evidence(tmp_path, "1", values, declared("accuracy", 0.02))
    b = evidence(tmp_path, "2", {**values, "metrics.json": metrics(accuracy=0.98, seconds=2.5)})
    found = of_two(a, b, None, tmp_path)
    assert (found.results, found.exit_code) == ("bit-identical", 0)
    (apart,) = found.pairs[0].comparison.results.files.those("same content")
    assert (apart.path, apart.why) == ("metrics.json", "seconds")
    assert "<tr><th>results</th><td>bit-identical</td></tr>" in found._repr_html_()
    (tmp_path / "2" / "out" / "metrics.json").write_text(metrics(accuracy=0.98, seconds=1.5))
    (lost,) = of_two(a, b, None, tmp_path).pairs[0].comparison.results.files.those("not comparable")
    assert "alpha:2: it was changed after the job ended" in lost.why
    (tmp_path / "2" / "out" / "metrics.json").unlink()
    (lost,) = of_two(a, b, None, tmp_path).pairs[0].comparison.results.files.those("not comparable")
    assert "alpha:2: it is not there any more" in lost.why


def test_outputs_that_lead_elsewhere_or_are_too_large_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"a": 1}')
    folder = tmp_path / "run"
    made = evidence(folder, "1", {"metrics.json": "{}"})
    hostile = (
        Output("../../../secret.json", 8, sha256(b'{"a": 1}').hexdigest()),
        Output("big.json", 2**40, "0" * 64), Output("old.json", None, "0" * 64), Output("none.json", 3, "0" * 64),
    )  # fmt: skip
    (folder / "1" / "out" / "link").symlink_to(tmp_path)
    record = replace(made.record, experiment=replace(made.record.experiment, outputs=hostile))
    (found,) = read_all([(made._replace(record=record), [each.path for each in hostile])])
    assert found.contents == {}
    assert found.unread["../../../secret.json"] == "its path leads out of the outputs"
    assert "1099511627776 bytes" in found.unread["big.json"]
    assert found.unread["old.json"] == "a record of this age does not have its size"
    assert found.unread["none.json"] == "it is not there any more"
    nameless = replace(record, job=replace(record.job, job_id="../1"))
    (lost,) = read_all([(made._replace(record=nameless), ["none.json"])])
    assert "is not the id of a job" in lost.why_unread("none.json")
    (gone,) = read_all([(made._replace(folder=PurePosixPath("/no/such/folder")), ["metrics.json"])])
    why = "it cannot be read on alpha: /no/such/folder: No such file or directory"
    assert gone.why_unread("metrics.json") == why
    rows = {row.what: (row.a, row.b) for row in differences(gone, read_all([(made, ["metrics.json"])])[0])}
    assert rows == {}
    (far,) = read_all([(made._replace(host=None, why="beta does not answer"), ["metrics.json"])])
    assert far.why_unread("metrics.json") == "beta does not answer"


def test_the_outputs_of_many_jobs_of_one_run_folder_come_in_one_command(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counted(LocalHost):
        def execute(self, argv: Any, *rest: Any) -> Any:
            asked.append("command")
            return super().execute(argv, *rest)

    host = Counted("alpha")
    group = [
        evidence(tmp_path, f"7_{seed}", {"metrics.json": metrics(accuracy=0.9 + seed / 1000)}, seeded(seed), declared())
        for seed in range(6)
    ]
    group = [each._replace(host=host) for each in group]
    single = evidence(tmp_path, "8", {"metrics.json": metrics(accuracy=0.95)}, seeded(9), declared())
    found = of_run_and_seeds("sweep", "alpha:8", group, [single._replace(host=host)], None, tmp_path)
    assert asked == ["command"]
    assert (found.results, found.exit_code, found.inputs) == (
        OUTSIDE,
        1,
        "parameters differ",
    )
    mirrored = of_run_and_seeds("alpha:8", "sweep", [single], group, None, tmp_path)
    assert (mirrored.results, mirrored.a, mirrored.b) == (
        OUTSIDE,
        "alpha:8",
        "sweep",
    )
    assert mirrored.pairs[0].comparison.results.values == ("0.95", None)
    twin = evidence(tmp_path, "9", {"metrics.json": metrics(accuracy=0.903)}, seeded(3), declared())
    assert of_run_and_seeds("sweep", "alpha:9", group, [twin], None, tmp_path).results == "bit-identical"
    far = evidence(tmp_path, "10", {"metrics.json": metrics(accuracy=0.904)}, seeded(3), declared(), OTHER_MACHINE)
    assert of_run_and_seeds("sweep", "alpha:10", group, [far], None, tmp_path).results == WITHIN
    with pytest.raises(InputError, match="none of its 6 points has the parameters of alpha:8"):
        other = evidence(tmp_path, "8", {}, seeded(3, lr=1))
        of_run_and_seeds("sweep", "alpha:8", group, [other], None, tmp_path)


def test_the_points_of_two_sweeps_are_compared_one_by_one(tmp_path: Path) -> None:
    def sweep(name: str, seeds: tuple[int, ...], more: float = 0.0) -> list[Evidence]:
        return [
            evidence(
                tmp_path, f"{name}_{seed}", {"metrics.json": metrics(accuracy=seed + more)}, seeded(seed), declared()
            )
            for seed in seeds
        ]

    same = of_sweeps("a", "b", sweep("1", (0, 1)), sweep("2", (0, 1)), None, tmp_path)
    assert (same.results, same.exit_code) == ("bit-identical", 0)
    other = of_sweeps("a", "b", sweep("1", (0, 1, 2)), [*sweep("2", (0,)), *sweep("3", (1, 5), 0.5)], None, tmp_path)
    assert (other.results, other.exit_code) == ("1 bit-identical, 1 bits differ", 1)
    assert (other.only_in_a, other.only_in_b) == (("alpha:1_2",), ("alpha:3_5",))
    assert [row.a for row in other.differences if row.what == "metric accuracy"] == ["differs for 1 of 2 points"]
    lines = dict(verdict_lines(other))
    assert lines["only in A"] == "alpha:1_2" and lines["results"] == other.results
    assert json.loads(json.dumps(diff_json(other)))["pairs"][1]["parameters"] == {"seed": 1}
    none = of_sweeps("a", "b", sweep("1", (0,)), sweep("3", (5,)), None, tmp_path)
    assert (none.results, none.exit_code) == ("not comparable", 3)


@pytest.mark.parametrize("values", [{}, {"integrity": 7}])
def test_what_has_no_hash_at_all_does_not_have_its_own(values: dict[str, Any], tmp_path: Path) -> None:
    made = evidence(tmp_path, "1", {"w.h5": "1"})
    assert [*changed_records([made])] == []
    assert "alpha:1: its record was changed" in next(changed_records([made, made._replace(values=values)]))


# ---------------------------------------------------------------------------------------------------------------- code


def test_code_is_compared_line_by_line_where_both_trees_are_what_they_are_named(tmp_path: Path) -> None:
    a = code(tmp_path, evidence(tmp_path, "1", {}), {"train.py": "a\nb\n", "same.py": "x\n"})
    b = code(tmp_path, evidence(tmp_path, "2", {}), {"train.py": "a\nc\n", "same.py": "x\n"})
    found, why = code_changes(a, b, tmp_path)
    assert (why, [each.path for each in found]) == ("", ["train.py"])
    assert found[0].lines[-3:] == (" a", "-b", "+c")
    assert "train.py" in of_two(a, b, None, tmp_path).pairs[0].comparison.inputs.evidence[0]
    assert b.code
    (Path(b.code) / "train.py").write_text("a\nX\n")
    assert "was changed: it is not the tree of its name any more" in code_changes(a, b, tmp_path)[1]
    subprocess.run(["rm", "-r", b.code], check=True)
    Path(b.code).symlink_to(tmp_path)
    refused = f"alpha:2: {b.code} cannot be read on alpha: {b.code} is a link, or another user's; move it away"
    assert code_changes(a, b, tmp_path)[1] == refused
    Path(b.code).unlink()
    assert "is not there any more" in code_changes(a, b, tmp_path)[1]
    assert code_changes(a, a, tmp_path) == ((), "")


def test_a_large_tree_is_listed_whole_and_read_in_part(tmp_path: Path) -> None:
    large = "x" * MOST_OF_ONE
    a = code(tmp_path, evidence(tmp_path, "1", {}), {"big.py": f"{large}\n", "b.py": "x\n"})
    b = code(tmp_path, evidence(tmp_path, "2", {}), {"big.py": f"{large}!\n", "b.py": "x\n"})
    (found,), why = code_changes(a, b, tmp_path)
    assert (found.path, found.lines, why) == ("big.py", (), "")
    assert f"{MOST_OF_ONE + 1} bytes" in found.note


def test_code_that_is_gone_comes_from_the_repository_that_has_its_tree(tmp_path: Path) -> None:
    a = code(tmp_path, evidence(tmp_path, "1", {}), {"train.py": "a\n", "d/run.sh": "b\n"})
    gone = a._replace(code=None, host=None, why="alpha does not answer")
    assert code_of(gone, tmp_path) == (None, "alpha:1: alpha does not answer")
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    assert code_of(gone, repository)[0] is None
    subprocess.run(["cp", "-r", f"{a.code}/.", repository], check=True)
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@b.example"]
    for words in (["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    found, why = code_of(gone, repository)
    assert found and a.record.code and a.code
    assert (why, found["train.py"].content, id_of(found, "0" * 40)) == ("", b"a\n", a.record.code.tree)
    assert found == tree_on(HOST, a.code, a.record.code.tree)[0]


@pytest.mark.parametrize("tree", ["../../etc", "--help", "", "x" * 40])
def test_a_tree_that_is_none_is_looked_for_nowhere(tree: str, tmp_path: Path) -> None:
    made = evidence(tmp_path, "1", {})
    record = replace(made.record, code=Code(None, None, None, None, tree))
    found, why = code_of(made._replace(record=record), tmp_path)
    assert found is None and "is not the id of a tree" in why


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`tfslurm diff a.json b.json` of two records in files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name, value in (("a", "1"), ("b", "2")):
        made = evidence(tmp_path, value, {"w.h5": value}, declared("accuracy", 0.1))
        Path(f"{name}.json").write_text(json.dumps(made.values))
    return lambda *words: typed(["diff", *words])


def test_records_in_files_are_compared_as_far_as_they_go(
    two: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert two("a.json", "a.json") == 0
    assert capsys.readouterr().out.startswith("environment  identical\n")
    assert two("a.json", "b.json") == 1
    shown = capsys.readouterr().out
    assert "results      bits differ\n             seed, environment and inputs are the same, so" in shown
    assert "\n             differs: w.h5: its bytes differ" in shown
    assert two("a.json", "b.json", "--json") == 1
    assert json.loads(capsys.readouterr().out)["agree"] is False


@pytest.mark.parametrize("at", ["A", "B"])
def test_a_record_that_was_changed_is_compared_only_by_who_says_so(
    at: str, two: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads(Path("a.json").read_text())
    values["environment"]["python"] = "3.9"
    Path("changed.json").write_text(json.dumps(values))
    names = ("changed.json", "a.json") if at == "A" else ("a.json", "changed.json")
    assert two(*names) == 3
    said = capsys.readouterr()
    assert "alpha:1: its record was changed after it was made" in said.err and "--anyway" in said.err and not said.out
    assert two(*names, "--anyway") == 0
    assert capsys.readouterr().out.startswith("warning      alpha:1: its record was changed after it was made")
    assert two(*names, "--anyway", "--json") == 0
    assert "its record was changed" in json.loads(capsys.readouterr().out)["warnings"][0]


@pytest.mark.parametrize(
    "words", [("--tolerance", "nan"), ("--tolerance", "-1"), ("--metric", ""), ("--tolerance", "x")]
)
def test_a_measure_that_is_none_is_refused(two: Callable[..., int], words: tuple[str, ...]) -> None:
    assert two("a.json", "b.json", *words) == 2


def test_nothing_of_a_strangers_record_acts_on_a_terminal(
    two: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\u202eevil\n  faked: line"
    values = json.loads(Path("b.json").read_text())
    values["experiment"]["parameters"] = {evil: evil}
    values["experiment"]["command"] = [evil]
    values["experiment"]["outputs"] = [{"path": evil, "bytes": 1, "sha256": evil}]
    values["attempts"][0]["tasks"][0]["cpu_model"] = evil
    values["job"]["cluster"] = evil
    Path("b.json").write_text(json.dumps(values))
    for words in ((), ("--json",)):
        assert two("a.json", "b.json", "--anyway", *words) in (1, 3)
        said = capsys.readouterr()
        for text in (said.out, said.err):
            assert "\x1b" not in text and "\u202e" not in text
            assert not any(line.startswith("  faked") for line in text.splitlines())


def test_what_is_brought_is_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MOST_IN_ALL", 5)
    made = evidence(tmp_path, "1", {"a.json": "[1]", "b.json": "[2]"})
    (found,) = read_all([(made, ["a.json", "b.json"])])
    assert "more than 5 bytes" in found.why_unread("b.json")


def test_reruns_of_some_points_are_a_sample_and_a_lost_one_is_none(tmp_path: Path) -> None:
    def point(name: str, seed: int, *changes: Any) -> Evidence:
        return evidence(tmp_path, f"{name}_{seed}", {"w.h5": str(seed)}, seeded(seed), *changes)

    def again(of: str) -> list[Evidence]:
        return [point("2", seed, lambda each: replace(each, derived_from=DerivedFrom(of))) for seed in (0, 2)]

    array = job(array_job_id="1")
    one = [point("1", seed, array) for seed in range(4)]
    user = session(Tracker(tmp_path / "tracker.sqlite"))

    def verdict(other: list[Evidence], turned: bool = False) -> Any:
        sides = (other, one) if turned else (one, other)
        return of_sample(user, of_sweeps("a", SWEEP.sweep_id, *sides, None, tmp_path), *sides)

    for origin in ("alpha:1", "alpha:1_2", "a"):
        found = verdict(again(origin))
        assert (found.only_in_a, found.not_rerun, found.agree) == ((), ("alpha:1_1", "alpha:1_3"), True)
    assert dict(verdict_lines(found))["not rerun"] == "alpha:1_1, alpha:1_3"
    assert diff_json(found)["not_rerun"] == ["alpha:1_1", "alpha:1_3"]
    assert "The 2 points that were not rerun" in report(found)
    assert verdict(again("alpha:1"), turned=True).not_rerun == ("alpha:1_1", "alpha:1_3")
    stranger = [*again("alpha:1"), point("3", 9)]
    for other in ([point("2", 0), point("2", 2)], again("beta:1"), stranger):
        found = verdict(other)
        assert (len(found.only_in_a), found.not_rerun, found.agree) == (2, (), None)
    user.tracker.sweeps.add(SWEEP, [(array_of(entries()), "", entries())])
    found = verdict(again("alpha:1"))
    assert (found.not_rerun, found.agree) == ((), None), "of the three that were sent, one has no record"
