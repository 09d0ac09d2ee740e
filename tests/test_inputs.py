"""Mounts with `hash: true`: what the file may say, what the plan and the record make of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.made import CLUSTER, experiment, plan
from tests.test_record import case
from tfslurm.cluster import Cluster
from tfslurm.document import dump
from tfslurm.errors import InputError, RecordError
from tfslurm.job_plan import JobPlan, from_json, identity, to_json
from tfslurm.record import Record
from tfslurm.record.model import Input
from tfslurm.render import hashed as places
from tfslurm.run_folder.plan_file import read_plan
from tfslurm.spec import Experiment, Mount
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.review import mount_text


def asked(**keys: object) -> Experiment:
    mount = {"source": "/data/a", "target": "/a", **keys}
    return parse_experiment(dump({"name": "a", "image": "x:1", "command": "true", "mounts": [mount]}), "exp.yaml")


# --- exp.yaml


@pytest.mark.parametrize("source", ["/data/a", "moons:train", "run:alpha:1234/out"])
def test_any_source_can_be_hashed(source: str) -> None:
    (mount,) = asked(source=source, hash=True).mounts
    assert (mount.hash, mount.read_only) == (True, True)
    (mount,) = asked(source=source).mounts
    assert mount.hash is False


def test_a_writable_mount_is_not_hashed() -> None:
    with pytest.raises(InputError) as raised:
        asked(hash=True, read_only=False)
    (problem,) = raised.value.problems
    assert str(problem).startswith("exp.yaml:") and "mounts[0].hash: the program could change what was hashed" in str(
        problem
    )
    assert str(problem).endswith("remove `read_only: false`, or `hash: true`")


@pytest.mark.parametrize("value", ["yes", 1, "true", None, "full"])
def test_hash_is_true_or_false(value: object) -> None:
    with pytest.raises(InputError, match=r"mounts\[0\]\.hash"):
        asked(hash=value)


@pytest.mark.parametrize("other", ["/data/a", "/data", "/data/a/b"])
def test_what_the_program_may_change_through_another_mount_is_not_hashed(other: str) -> None:
    both = experiment(mounts=(Mount("/data/a", "/a", hash=True), Mount(other, "/b", read_only=False)))
    with pytest.raises(InputError, match=r"mounts\[0\].hash: .* change .* '/b', where it is mounted writable"):
        plan(both)
    plan(replace(both, mounts=(both.mounts[0], Mount("/data/ab", "/b", read_only=False))))


def test_a_name_is_compared_by_the_folder_that_it_stands_for() -> None:
    cluster: Cluster = replace(CLUSTER, data={"moons": PurePosixPath("/data/moons")})
    named = Mount("moons:train", "/a", name="moons:train", hash=True)
    both = experiment(mounts=(named, Mount("/data/moons", "/b", read_only=False)))
    with pytest.raises(InputError, match=r"mounts\[0\].hash: the program could change"):
        plan(both, cluster)
    assert plan(experiment(mounts=(named,)), cluster).mounts[0].source == "/data/moons/train"


# --- the plan


def hashed(*mounts: Mount) -> JobPlan:
    return plan(experiment(mounts=mounts))


def test_a_plan_says_which_mounts_are_hashed_and_an_older_one_keeps_its_identity() -> None:
    one, other = Mount("/data/a", "/a"), Mount("/data/b", "/b", hash=True)
    assert places(hashed(one, other).mounts) == (1,)
    assert [mount_text(each) for each in (one, other)] == ["/data/a -> /a (ro)", "/data/b -> /b (ro, hashed)"]
    plain = to_json(hashed(one))
    assert "hash" not in plain["mounts"][0], "so a plan of an older version has the same"
    assert to_json(hashed(other))["mounts"][0]["hash"] is True
    assert from_json(json.loads(json.dumps(to_json(hashed(other))))) == hashed(other)
    assert identity(plain) == (hashed(one).plan_sha256, hashed(one).plan_id)
    assert hashed(replace(one, hash=True)).plan_sha256 != hashed(one).plan_sha256, "it asks for another record"
    assert hashed(replace(one, hash=True)).gpu_check_key == hashed(one).gpu_check_key


def test_a_plan_in_a_run_folder_with_a_writable_hashed_mount_is_refused() -> None:
    values = to_json(hashed(Mount("/data/a", "/a", hash=True)))
    values["mounts"][0]["read_only"] = False
    values["plan_sha256"], values["plan_id"] = identity(values)
    with pytest.raises(RecordError, match="'/a' is mounted writable, and its files are to be hashed"):
        read_plan(f"digits-{values['plan_id']}", json.dumps(values).encode(), CLUSTER, "alice")


# --- the record


MOUNTS = (
    Mount("/data/a", "/a", hash=True),
    Mount("/data/b", "/b", read_only=False),
    Mount("/data/c", "/c", run="run:alpha:1/out", hash=True),
    Mount("/data/d", "/d", name="lab:d"),
    Mount("/data/e", "/e"),
)
ASKED = "it was not asked for: write `hash: true`"
SEEN: list[dict[str, Any]] = [
    {"mount": 0, "bytes": 7, "sha256": "a1" * 32, "tree_sha256": None, "hashed": "full", "why": ""},
    {"mount": 2, "bytes": 8, "sha256": None, "tree_sha256": "b2" * 32, "hashed": "cached", "why": ""},
    {"mount": 3, "bytes": 9, "sha256": None, "tree_sha256": None, "hashed": "no", "why": ASKED},
    {"mount": 4, "bytes": None, "sha256": None, "tree_sha256": None, "hashed": "no", "why": ASKED},
]


def with_inputs(*attempts: object) -> Record:
    """The record of a job whose attempts left these inputs.json; None: none."""
    files = dict(case("gpu").files)
    for number, each in enumerate(attempts, 1):
        files[f"attempt-{number}/begin.json"] = files["attempt-1/begin.json"]
        if each is not None:
            files[f"attempt-{number}/inputs.json"] = each if isinstance(each, bytes) else json.dumps(each).encode()
    return case("gpu").build(files=files, plan=replace(plan(), mounts=MOUNTS))


def notes_of(record: Record, what: str) -> dict[str, str]:
    return {path: why for path, why in record.unknown.items() if path.startswith(what)}


def test_an_input_is_what_the_node_saw_of_a_read_only_mount() -> None:
    record = with_inputs(SEEN)
    assert record.inputs == (
        Input(None, "/data/a", 7, "a1" * 32, None, "full", ""),
        Input("run:alpha:1/out", "/data/c", 8, None, "b2" * 32, "cached", ""),
        Input("lab:d", "/data/d", 9, None, None, "no", ASKED),
        Input(None, "/data/e", None, None, None, "no", ASKED),
    )
    assert notes_of(record, "inputs") == {"inputs[3].bytes": "a folder is measured only with `hash: true`"}
    assert not [line for line in record.warnings if line.startswith("inputs")]


def test_a_mount_that_was_to_be_hashed_and_was_not_is_a_warning() -> None:
    why = "./x cannot be read; let alice read it (chmod), or mount a folder without it"
    unread = {"mount": 2, "bytes": None, "sha256": None, "tree_sha256": None, "hashed": "no", "why": why}
    record = with_inputs([SEEN[0], unread])
    assert f"inputs: /data/c was not hashed: {why}" in record.warnings
    assert notes_of(record, "inputs[1]") == {"inputs[1].bytes": why}
    assert (record.inputs or ())[2].why == "inputs.json does not name it"


def test_an_older_run_folder_has_no_word_of_its_inputs() -> None:
    record = with_inputs(None)
    assert {(each.hashed, each.why, each.bytes) for each in record.inputs or ()} == {
        ("no", "inputs.json was not written", None)
    }
    assert len(notes_of(record, "inputs")) == 4


def test_data_that_changed_between_two_attempts_is_a_warning() -> None:
    other = [{**SEEN[0], "sha256": "c3" * 32}, *SEEN[1:]]
    changed = "inputs: /data/a changed between the attempts of the job"
    assert changed in with_inputs(other, SEEN).warnings
    assert changed not in with_inputs(SEEN, SEEN).warnings
    assert changed not in with_inputs(None, SEEN).warnings
    assert (with_inputs(other, SEEN).inputs or ())[0].sha256 == "a1" * 32


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"7", b"[7]", b"\xff", [{}],
        *([{**SEEN[0], **wrong}] for wrong in ({"bytes": -1}, {"bytes": 1.5}, {"bytes": True}, {"bytes": 2**60})),
        *([{**SEEN[0], **wrong}] for wrong in ({"sha256": "A1" * 32}, {"sha256": 7}, {"sha256": "a1" * 31})),
        *([{**SEEN[0], **wrong}] for wrong in ({"hashed": "yes"}, {"hashed": "no"}, {"hashed": [1]}, {"why": "x"})),
        *([{**SEEN[0], **wrong}] for wrong in ({"tree_sha256": "b2" * 32}, {"sha256": None}, {"mount": "0"})),
    ],
)  # fmt: skip
def test_what_no_node_writes_is_no_input(raw: object) -> None:
    record = with_inputs(raw)
    assert {each.hashed for each in record.inputs or ()} == {"no"}
    assert all("inputs.json cannot be read" in each.why for each in record.inputs or ())
