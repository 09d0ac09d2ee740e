"""A point that was cut from a sweep's crate, with its record and all that is said of it, is missed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.made import array, entries
from tests.run_folders import evidence
from tests.test_crate import made as write
from tfslurm.job_plan import to_json
from tfslurm.record.verification import Part
from tfslurm.retrieval.crate_files import crate_at
from tfslurm.retrieval.crate_points import point_parts
from tfslurm.retrieval.crate_verification import CheckedCrate
from tfslurm.retrieval.evidence import in_crate
from tfslurm.sweeps.points_file import point_json
from tfslurm.workspace.session import Session

POINTS = entries(3)
LINES = "".join(json.dumps({"id": entry.id, **point_json(entry)}) + "\n" for entry in POINTS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write(folder, *(evidence(folder, job_id=f"146_{number}") for number in range(3)))
    return folder / "crate"


@pytest.fixture
def crate(written: Path, tmp_path: Path) -> Path:
    """Of a sweep of three points."""
    folder = tmp_path / "crate"
    shutil.copytree(written, folder)
    (folder / "plan.json").write_text(json.dumps(to_json(array(POINTS))))
    (folder / "points.jsonl").write_text(LINES)
    return folder


def found(folder: Path, *, partial: bool = False) -> list[Part]:
    with Session(print) as session:
        crate = crate_at(session, folder)
        runs = {path: in_crate(crate, path) for path in crate.records}
        return list(point_parts(CheckedCrate(crate, partial=partial), runs))


def test_each_point_has_its_record(crate: Path) -> None:
    (part,) = found(crate)
    assert (part.name, part.status) == ("points", "unchanged")
    assert part.reason == "each of the 3 points that the plans name has its record"


def test_a_point_that_was_taken_out_is_missing_unless_the_crate_is_believed(crate: Path) -> None:
    (crate / "records" / "146_1.json").unlink()
    (part,) = found(crate)
    assert part.is_bad
    assert part.reason.startswith("1 of the 3 points that the plans name have no record here: alpha:146_1;")
    (part,) = found(crate, partial=True)
    assert (part.status, "--partial" in part.reason) == ("not verifiable", True)


def test_a_point_that_sweep_json_alone_names_is_missing_too(crate: Path) -> None:
    more = {"point": "f" * 12, "cluster": "beta", "job_id": "9_0"}
    (crate / "sweep.json").write_text(json.dumps({"points": [{"point": POINTS[0].id, "job_id": None}, more]}))
    (part,) = found(crate)
    assert part.reason.startswith("1 of the 4 points that the plans name have no record here: beta:9_0;")


def test_an_array_that_was_taken_out_is_missed_by_the_plan_of_another(crate: Path) -> None:
    (crate / "plan.json").write_text(json.dumps(to_json(array(POINTS, of_sweep=5))))
    (crate / "sweep.json").unlink(missing_ok=True)
    whole, part = found(crate)
    assert (whole.status, part.name, part.status) == ("unchanged", "sweep", "not verifiable")
    assert part.reason.startswith("a plan says that its sweep has 5 points, and the crate names 3: it is of a part")
    (crate / "sweep.json").write_text(json.dumps({"points": [{"point": POINTS[0].id, "job_id": None}]}))
    assert [(each.name, each.is_bad) for each in found(crate)] == [("points", False), ("sweep", True)]
    assert [each.status for each in found(crate, partial=True)] == ["unchanged", "not verifiable"]


@pytest.mark.parametrize("text", ["[]", "{", '{"points": 3}', '{"points": [1, {"point": 7}]}', '{"points": [null]}'])
def test_a_sweep_json_that_is_none_names_nothing(crate: Path, text: str) -> None:
    (crate / "sweep.json").write_text(text)
    assert [part.status for part in found(crate)] == ["unchanged"]


@pytest.mark.parametrize("name", ["plan.json", "points.jsonl"])
@pytest.mark.parametrize("text", [None, "", "{}", "x", LINES + LINES])
def test_without_the_plans_own_points_nothing_is_shown(crate: Path, name: str, text: str | None) -> None:
    (crate / name).unlink() if text is None else (crate / name).write_text(text)
    assert [part.status for part in found(crate)] == ["not verifiable"]


def test_of_a_crate_of_one_job_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, evidence(tmp_path, job_id="146_0"))
    assert found(tmp_path / "crate") == []
