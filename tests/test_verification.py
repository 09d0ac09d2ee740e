"""What `verify` says of a record by itself: one byte changed anywhere is seen, and named."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.test_record import CASES, case
from tfslurm.errors import InputError
from tfslurm.image import lock_text
from tfslurm.job_plan import identity, to_json
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.model import Asked, Code, Output, record_sha256, seal
from tfslurm.record.verification import inner_parts, output_parts, plan_part
from tfslurm.retrieval.files_now import FilesNow
from tfslurm.retrieval.record_files import read_record
from tfslurm.retrieval.verification import code_part

SPEC = "name: tensorflow\n"


@cache
def record(name: str = "tensorflow") -> Record:
    """A recorded job's record with the texts that a job of today has."""
    source = case(name)
    made = source.build()
    assert made.asked is not None
    asked: Asked = replace(made.asked, spec=SPEC, lock=lock_text(source.plan.pin))
    experiment = replace(made.experiment, spec_sha256=sha256(SPEC.encode()).hexdigest())
    return seal(replace(made, asked=asked, experiment=experiment))


def statuses(made: Record) -> dict[str, str]:
    return {part.name: part.status for part in inner_parts(made, record_json(made))}


@pytest.mark.parametrize("name", CASES)
def test_a_record_as_it_was_made_is_unchanged(name: str) -> None:
    assert statuses(record(name)) == {"record": "unchanged", "experiment": "unchanged", "lock": "unchanged"}


def test_the_part_that_was_changed_is_named() -> None:
    made = record()
    assert made.asked is not None
    spec = seal(replace(made, asked=replace(made.asked, spec=SPEC + " ")))
    assert statuses(spec) == {"record": "unchanged", "experiment": "changed", "lock": "unchanged"}
    image = seal(replace(made, image=replace(made.image, digest="sha256:" + "0" * 64)))
    assert statuses(image) == {"record": "unchanged", "experiment": "unchanged", "lock": "changed"}
    broken = seal(replace(made, asked=replace(made.asked, lock=made.asked.lock + "more: 1\n")))
    assert statuses(broken)["lock"] == "changed"
    assert statuses(replace(made, warnings=("another",)))["record"] == "changed"
    assert statuses(seal(replace(made, asked=None)))["lock"] == "not verifiable"


def leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all scalars of a document."""
    if isinstance(value, dict):
        return [place for key, each in value.items() for place in leaves(each, (*at, key))]
    if isinstance(value, list):
        return [place for index, each in enumerate(value) for place in leaves(each, (*at, index))]
    return [at]


def edited(values: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one value changed, dropped or doubled."""
    made = copy.deepcopy(values)
    *way, last = chance.choice(leaves(made))
    inner: Any = made
    for key in way:
        inner = inner[key]
    old = inner[last]
    text = chance.choice(["0", "x", " ", ""]) if isinstance(old, str) else ""
    others: list[Callable[[], Any]] = [
        lambda: None if old is not None else "x",
        lambda: (
            not old if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old}{text or 'y'}"
        ),
        lambda: f"{old}"[:-1] if old else "z",
    ]
    if chance.random() < 0.1:
        if isinstance(inner, dict):
            del inner[last]
        else:
            inner.append(copy.deepcopy(old))
        return made
    inner[last] = chance.choice(others)()
    return made


@pytest.mark.slow
def test_no_random_edit_of_a_record_passes_as_unchanged() -> None:
    chance = random.Random(20261128)
    values = {name: record_json(record(name)) for name in ("tensorflow", "requeued")}
    for each in values.values():
        each["environment"]["packages"] = (each["environment"]["packages"] or [])[:2]
        each["integrity"]["record_sha256"] = record_sha256(each)
    seen = 0
    for number in range(10_000):
        whole = values["tensorflow" if number % 4 else "requeued"]
        made = edited(whole, chance)
        if made == whole:
            continue
        seen += 1
        try:
            read = record_from_json(made)
        except ValueError:
            continue  # no record any more
        if made["integrity"]["signature"] != whole["integrity"]["signature"]:
            continue
        assert next(iter(inner_parts(read, made))).status == "changed", made
    assert seen > 9_000


def test_a_plan_is_held_against_both_of_its_ids() -> None:
    plan = case("gpu").plan
    values = json.loads(json.dumps(to_json(plan)))
    made = replace(record("gpu"), plan_id=identity(values)[1], plan_sha256=identity(values)[0])
    assert plan_part(made, values).status == "unchanged"
    assert plan_part(made, None).status == "missing"
    for key, value in (("command", ["x"]), ("planned_at", "2026-11-23T08:29:33.491070Z"), ("code", 7)):
        assert plan_part(made, {**values, key: value}).status == "changed"
    others: list[dict[str, Any]] = [{}, {"points": 1}, {"code": []}]
    for other in others:
        assert plan_part(made, other).status == "changed"
    assert plan_part(replace(made, plan_sha256=None), values).status == "not verifiable"


@pytest.mark.parametrize("kept", [True, False])
def test_the_files_of_the_code_that_differ_are_named_where_the_list_was_kept(kept: bool) -> None:
    code = Code(None, None, None, None, "c" * 40)
    made = replace(record(), code=code)
    folder = PurePosixPath("/r/code", code.tree)
    then = b"".join(b"%s  ./%s\0" % (sha256(text).hexdigest().encode(), text) for text in (b"a.py", b"b.py", b"c.py"))
    was = then.replace(b"./c.py", b"./d.py").replace(then[:64], b"0" * 64) + b"x ./b.py\0"
    now = FilesNow({}, {}, {folder: was}, {code.tree: then if kept else b"forged"})
    part = code_part(made, {"code": {"contents_sha256": sha256(then).hexdigest()}}, folder, now)
    assert part.status == "changed"
    assert part.reason.startswith("a.py, b.py, c.py, d.py in /r/code/") is kept


def test_outputs_are_told_one_by_one_where_they_differ() -> None:
    made = record()
    outputs = (Output("a", 1, "1"), Output("b", 1, "2"), Output("c", 1, "3"), Output("d", None, "4"))
    made = replace(made, experiment=replace(made.experiment, outputs=outputs))
    parts = {part.name: part.status for part in output_parts(made, {"a": "1", "b": "9", "c": None, "d": "4"})}
    assert parts == {
        "outputs": "unchanged", "output b": "changed", "output c": "missing", "output d": "not verifiable",
    }  # fmt: skip
    unknown = replace(made, experiment=replace(made.experiment, outputs=None))
    assert [part.status for part in output_parts(unknown, {})] == ["not verifiable"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "tfslurm.record/2"}', "[" * 100_000, '{"a": NaN}'])
def test_a_file_that_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(InputError, match="is no record"):
        read_record(file)
