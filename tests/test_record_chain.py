"""The chain of a tracker's records: it grows with each job that has ended, is never rewritten, and shows each break."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.made import array, entries, plan, session
from tests.test_record import case
from tests.test_tracker_versions import older
from tfslurm.document.canonical import canonical
from tfslurm.errors import RecordError
from tfslurm.job_plan import from_json, identity, to_json
from tfslurm.record import Record, record_json
from tfslurm.record.chain import ChainEntry, broken_entries, has_sha256
from tfslurm.record.model import Signature, record_sha256, seal
from tfslurm.retrieval.chain import chain_parts
from tfslurm.retrieval.records import keep, keep_all, kept_record
from tfslurm.tracker import JobUpdate, TrackedJob, Tracker
from tfslurm.tracker.records import packed, unpacked

SIGNATURE = Signature("ssh", "SHA256:x", "tfslurm-record-v1", "-----BEGIN SSH SIGNATURE-----\n")


def job_of(tracker: Tracker, job_id: str, *, final: bool = True, head: str = "") -> TrackedJob:
    """A job of the tracker, of a plan of its own."""
    made = plan(planned_at=f"2026-11-23T07:{int(job_id) % 60:02d}:01.{job_id.zfill(6)}Z", chain_head=head)
    tracker.plan(made, "")
    tracker.submit(made, job_id)
    (job,) = tracker.jobs(cluster="alpha", job_id=job_id)
    return end(tracker, job) if final else job


def end(tracker: Tracker, job: TrackedJob) -> TrackedJob:
    tracker.update_jobs([JobUpdate(job, "COMPLETED", True, {})])
    return job._replace(state="COMPLETED", final=True)


def record_of(job: TrackedJob, *warnings: str) -> Record:
    """A small record of a job, as a run folder gives it: sealed, and without a place in any chain."""
    made = case("tensorflow").build()
    few = replace(made.environment, packages=None)
    about = replace(made.job, cluster=job.cluster, job_id=job.job_id)
    return seal(replace(made, job=about, environment=few, warnings=warnings))


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "tracker.sqlite")


def chained(tracker: Tracker, count: int) -> list[Record]:
    """So many jobs that ended, each read by itself."""
    jobs = [job_of(tracker, str(number)) for number in range(1, count + 1)]
    return [keep(job, record_of(job), tracker) for job in jobs]


def broken(tracker: Tracker) -> list[str]:
    return list(broken_entries(tracker.chain.entries(1, 10_000), tracker.chain.last()))


def test_each_record_names_the_one_before_it_and_the_first_names_none(tracker: Tracker) -> None:
    records = chained(tracker, 4)
    digests = [each.integrity.record_sha256 for each in records]
    assert [each.integrity.previous for each in records] == [None, *digests[:-1]]
    assert [record_sha256(record_json(each)) for each in records] == digests, "the hash covers what is before"
    assert tracker.chain_head == digests[-1]
    assert not broken(tracker)


def test_a_job_that_is_read_again_has_the_same_record_with_its_signature(tracker: Tracker) -> None:
    first, second = chained(tracker, 2)
    job = tracker.jobs()[0]
    assert tracker.chain.sign(job, first.integrity.record_sha256, SIGNATURE)
    again = keep(job, record_of(job), tracker)
    assert again == replace(first, integrity=replace(first.integrity, signature=SIGNATURE))
    assert kept_record(job, tracker) == again
    assert tracker.chain_head == second.integrity.record_sha256
    assert not tracker.chain.sign(job, second.integrity.record_sha256, SIGNATURE), "not its record"
    assert not broken(tracker), "no signature is part of the chain"


def test_a_record_that_says_something_else_now_is_another_link(tracker: Tracker) -> None:
    first, second = chained(tracker, 2)
    job = tracker.jobs()[0]
    third = keep(job, record_of(job, "Slurm has forgotten it"), tracker)
    assert third.integrity.previous == second.integrity.record_sha256
    assert kept_record(job, tracker) == third
    entries = list(tracker.chain.entries(1, 100))
    assert [entry.record_sha256 for entry in entries] == [
        each.integrity.record_sha256 for each in (first, second, third)
    ]
    assert entries[0].values == json.loads(json.dumps(record_json(first))), "what was chained stays"
    back = keep(job, record_of(job), tracker)
    assert (back.integrity.previous, tracker.chain.last()) == (third.integrity.record_sha256, 4)
    assert not broken(tracker)


def test_a_record_is_chained_when_its_job_has_ended(tracker: Tracker) -> None:
    job = job_of(tracker, "1", final=False)
    before = keep(job, record_of(job), tracker)
    assert (before.integrity.previous, tracker.chain.last()) == (None, 0)
    assert kept_record(job, tracker) == before
    ended = keep(end(tracker, job), record_of(job, "at its end"), tracker)
    assert tracker.chain.last() == 1
    keep(job, record_of(job), tracker)  # another process read it before it ended, and is late
    assert kept_record(job, tracker) == ended
    assert not broken(tracker)


def test_records_are_chained_together_or_not_at_all(tracker: Tracker) -> None:
    jobs = [job_of(tracker, str(number)) for number in (1, 2, 3)]
    good = record_of(jobs[0])
    bad = replace(good, experiment=replace(good.experiment, parameters={"lr": float("nan")}))
    with pytest.raises(RecordError):
        keep_all([(jobs[0], good), (jobs[1], bad), (jobs[2], good)], tracker)
    assert (tracker.chain.last(), [tracker.record(job) for job in jobs]) == (0, [None, None, None])


@pytest.mark.slow
def test_a_process_that_is_killed_in_between_leaves_a_whole_chain(tracker: Tracker, tmp_path: Path) -> None:
    chained(tracker, 1)
    job_of(tracker, "2")
    code = (
        "import os, sys; from pathlib import Path; from tfslurm.tracker import Tracker, chain; "
        "from tests.test_record_chain import record_of, keep; tracker = Tracker(Path(sys.argv[1])); "
        "chain.put_record = lambda *_: os._exit(9); job = tracker.jobs()[1]; keep(job, record_of(job), tracker)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "tracker.sqlite")], check=False)
    assert done.returncode == 9
    after = Tracker(tmp_path / "tracker.sqlite")
    assert (after.chain.last(), after.record(after.jobs()[1]), broken(after)) == (1, None, [])


@pytest.mark.slow
def test_two_commands_at_once_make_one_chain(tracker: Tracker, tmp_path: Path) -> None:
    for number in range(1, 17):
        job_of(tracker, str(number))
    code = (
        "import sys; from pathlib import Path; from tfslurm.tracker import Tracker; "
        "from tests.test_record_chain import record_of, keep; tracker = Tracker(Path(sys.argv[1])); "
        "[keep(job, record_of(job), tracker) for job in tracker.jobs()[:: int(sys.argv[2])]]"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "tracker.sqlite")]
    both = [subprocess.Popen([*words, step]) for step in ("1", "-1")]
    assert [each.wait() for each in both] == [0, 0]
    assert tracker.chain.last() == 16
    assert not broken(tracker)


@pytest.mark.slow
def test_a_thousand_records_of_a_sweep_are_chained_at_once(tracker: Tracker) -> None:
    made = array(entries(1000))
    tracker.plan(made, "")
    tracker.submit(made, "77")
    tracker.update_jobs([JobUpdate(job, "COMPLETED", True, {}) for job in tracker.jobs()])
    jobs = tracker.jobs()
    one = record_of(jobs[0])
    found = [(job, replace(one, job=replace(one.job, job_id=job.job_id))) for job in jobs]
    begun = time.process_time()
    kept = keep_all(found, tracker)
    chained = time.process_time()
    assert not broken(tracker)
    looked = time.process_time()
    assert (chained - begun < 8, looked - chained < 4) == (True, True)
    assert keep_all(found[:10], tracker) == kept[:10]
    assert tracker.chain.last() == len(kept) == 1000


# --- what was changed


def edit_record(tracker: Tracker, job_id: str) -> None:
    """Change one byte of the record that the tracker keeps."""
    with tracker.change() as db:
        (data,) = db.execute("SELECT record FROM records WHERE job_id = ?", (job_id,)).fetchone()
        text = unpacked(data, "it")
        changed = text.replace('"rank": 0', '"rank": 1', 1)
        assert changed != text
        db.execute("UPDATE records SET record = ? WHERE job_id = ?", (packed(changed), job_id))


def run_sql(*statements: str) -> Callable[[Tracker], None]:
    def run(tracker: Tracker) -> None:
        with tracker.change() as db:
            for statement in statements:
                db.execute(statement)

    return run


def remove(job_id: str) -> tuple[str, ...]:
    """The statements that remove a job and its record."""
    return tuple(f"DELETE FROM {table} WHERE job_id = '{job_id}'" for table in ("records", "jobs"))


SWAP = (
    "UPDATE chain SET place = -place WHERE place IN (2, 3)",
    "UPDATE chain SET place = 5 + place WHERE place < 0",
)
CHANGES: dict[str, tuple[Callable[[Tracker], None], str]] = {
    "a byte in the middle": (
        lambda tracker: edit_record(tracker, "3"),
        r"^entry 3 \(alpha:3\): its record was changed",
    ),
    "a byte at the end": (lambda tracker: edit_record(tracker, "5"), r"^entry 5 \(alpha:5\): its record was changed"),
    "the last entry removed": (
        run_sql("DELETE FROM chain WHERE place = 5"),
        r"^entry 5 is not there any more: the end",
    ),
    "the last two removed": (
        run_sql("DELETE FROM chain WHERE place > 3", *remove("4"), *remove("5")),
        r"^entries 4 to 5 are not there any more: the end",
    ),
    "one in the middle removed": (run_sql("DELETE FROM chain WHERE place = 3"), r"^entry 3 is not there any more$"),
    "the first removed": (run_sql("DELETE FROM chain WHERE place = 1"), r"^entry 1 is not there any more$"),
    "a record removed": (
        run_sql("DELETE FROM records WHERE job_id = '2'"),
        r"^entry 2 \(alpha:2\): its record is not there any more, or cannot be read",
    ),
    "a record that is no JSON": (
        run_sql("UPDATE records SET record = x'7b' WHERE job_id = '2'"),
        r"^entry 2 \(alpha:2\): its record is not there any more, or cannot be read",
    ),
    "two swapped": (run_sql(*SWAP), r"^entry 2 \(alpha:3\) follows the record"),
    "two records swapped": (
        run_sql("UPDATE records SET record = (SELECT record FROM records WHERE job_id = '4') WHERE job_id = '2'"),
        r"^entry 2 \(alpha:2\): its record was changed",
    ),
    "another hash": (
        run_sql(f"UPDATE chain SET record_sha256 = '{'0' * 64}' WHERE place = 4"),
        r"^entry 4 \(alpha:4\): its record was changed",
    ),
    "another one before it": (
        run_sql(f"UPDATE chain SET previous = '{'0' * 64}' WHERE place = 4"),
        r"^entry 4 \(alpha:4\) follows the record 0{16}…, and before it is",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_verify_says_which_link_was_changed(tracker: Tracker, what: str) -> None:
    records = chained(tracker, 5)
    made = session(tracker)
    seen = next(iter(chain_parts(made, records[1])))
    assert (seen.status, seen.reason) == ("unchanged", "entry 2 of 5: each names the record before it")
    change, why = CHANGES[what]
    change(tracker)
    part = next(iter(chain_parts(made, records[1])))
    assert part.status == "changed", part
    assert re.search(why, part.reason), part.reason


def test_an_end_that_a_job_was_submitted_with_is_missed(tracker: Tracker) -> None:
    """Whoever cuts the end off, its jobs too, and the counter with it, leaves the plans that name it."""
    records = chained(tracker, 3)
    later = job_of(tracker, "9", final=False, head=records[-1].integrity.record_sha256)
    cut = ("DELETE FROM chain WHERE place = 3", *remove("3"))
    run_sql(*cut, "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'chain'")(tracker)
    part = next(iter(chain_parts(session(tracker), records[0])))
    assert part.status == "changed"
    assert part.reason == (
        f"the record that was the last one when plan {later.plan_id} was made is not in the chain any more"
    )


def test_in_a_long_chain_every_link_is_looked_at_and_some_records_are_read(tracker: Tracker) -> None:
    records = chained(tracker, 8)
    made = session(tracker)

    def said(place: int) -> tuple[str, str]:
        part = next(iter(chain_parts(made, records[place - 1], 3)))
        return part.status, part.reason

    assert said(5) == (
        "unchanged",
        "entry 5 of 8: each names the record before it; the records of entries 4 to 6 are whole",
    )
    assert said(8)[1].endswith("the records of entries 7 to 8 are whole")
    edit_record(tracker, "5")
    assert [said(place)[0] for place in (3, 4, 6, 7)] == ["unchanged", "changed", "changed", "unchanged"]
    run_sql(f"UPDATE chain SET previous = '{'0' * 64}' WHERE place = 2")(tracker)
    assert said(8) == ("changed", "entry 2 does not follow the one before it")
    run_sql("DELETE FROM chain WHERE place = 7")(tracker)
    assert "entry 7 is not there any more" in said(8)[1]
    run_sql("DELETE FROM chain WHERE place = 3")(tracker)
    assert said(5)[1].startswith("entry 4 (alpha:4) follows the record "), "before it is none"


def test_a_record_of_another_tracker_is_not_verifiable_here(tracker: Tracker) -> None:
    first, second = chained(tracker, 2)
    other = session(Tracker(tracker.path.with_name("other.sqlite")))
    for record, why in ((first, "it is the first of another"), (second, "it follows the record")):
        parts = {part.name: part for part in chain_parts(other, record)}
        assert {part.status for part in parts.values()} == {"not verifiable"}
        assert why in parts["chain"].reason


def test_a_record_that_was_exchanged_with_its_hash_is_not_the_one_that_was_chained(tracker: Tracker) -> None:
    chained(tracker, 3)
    forged = seal(replace(record_of(tracker.jobs()[1], "forged"), plan_id=tracker.jobs()[1].plan_id))
    made = session(tracker)
    part = next(iter(chain_parts(made, forged)))
    assert (part.status, part.reason) == ("not verifiable", "this tracker has another record of the job, entry 2 of 3")
    with tracker.change() as db:
        text = packed(json.dumps(record_json(forged)))
        db.execute("UPDATE records SET record = ? WHERE job_id = '2'", (text,))
    part = next(iter(chain_parts(made, forged)))
    assert (part.status, part.reason.partition(":")[0]) == ("changed", "entry 2 (alpha")


def test_a_tracker_from_before_the_chain_is_used_and_its_records_are_read(tmp_path: Path) -> None:
    path = older(tmp_path / "tracker.sqlite", jobs=2)
    values = record_json(case("tensorflow").build())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE jobs SET record = ? WHERE record IS NOT NULL", (json.dumps(values),))
    tracker = Tracker(path)
    job = tracker.jobs()[0]
    old = kept_record(job, tracker)
    assert (record_json(old), old.integrity.previous) == (values, None)
    assert [part.status for part in chain_parts(session(tracker), old)] == ["not verifiable"] * 2
    assert keep(job, old, tracker) == old, "the first entry of the chain is as it was"
    assert (tracker.chain.last(), broken(tracker)) == (1, [])


def swap(entries: list[ChainEntry], at: int, chance: random.Random) -> None:
    other = (at + chance.randrange(1, len(entries))) % len(entries)
    one, two = entries[at], entries[other]
    entries[at], entries[other] = two._replace(place=one.place), one._replace(place=two.place)


EDITS: tuple[Callable[[list[ChainEntry], int, random.Random], None], ...] = (
    lambda them, at, chance: them.__setitem__(at, them[at]._replace(values=byte_changed(them[at].values, chance))),
    lambda them, at, chance: them.__delitem__(at),
    lambda them, at, chance: them.__setitem__(at, them[at]._replace(record_sha256=digit(them[at], chance))),
    lambda them, at, chance: them.__setitem__(at, them[at]._replace(previous=digit(them[at], chance))),
    swap,
    lambda them, at, chance: them.__setitem__(at, them[at]._replace(values=them[at - 1].values)),
)


def byte_changed(values: Any, chance: random.Random) -> Any:
    """The values with one character of their text changed; None where it is no JSON any more."""
    text = json.dumps(values)
    while True:
        at = chance.randrange(len(text))
        made = text[:at] + chance.choice('0123456789abcdef ,:{}[]"xN') + text[at + 1 :]
        try:
            found = json.loads(made)
        except ValueError:
            return None
        if found != values:
            return found


def digit(entry: ChainEntry, chance: random.Random) -> str:
    at = chance.randrange(64)
    said = entry.record_sha256
    return said[:at] + chance.choice([each for each in "0123456789abcdef" if each != said[at]]) + said[at + 1 :]


@pytest.mark.slow
def test_no_random_edit_of_a_chain_passes_as_unchanged() -> None:
    entries: list[ChainEntry] = []
    for place in range(1, 7):
        before = entries[-1].record_sha256 if entries else None
        values = {"job": f"{place}", "use": place / 8, "integrity": {"previous": before, "signature": None}}
        digest = sha256(canonical({**values, "integrity": {"previous": before}}, "it")).hexdigest()
        values["integrity"] = {"previous": before, "record_sha256": digest, "signature": None}
        entries.append(ChainEntry(place, f"alpha:{place}", digest, before, values))
    assert not list(broken_entries(entries, 6))
    chance = random.Random(20261128)
    unseen = 0
    for _ in range(10_000):
        made = list(entries)
        chance.choice(EDITS)(made, chance.randrange(6), chance)
        if not list(broken_entries(made, 6)):
            only_signature = [each._replace(values=without_signature(each.values)) for each in made]
            assert only_signature == [each._replace(values=without_signature(each.values)) for each in entries], made
            unseen += 1
    assert unseen < 500, "a signature is looked at by itself"


def without_signature(values: Any) -> Any:
    return {**values, "integrity": {**values["integrity"], "signature": None}}


@pytest.mark.parametrize(
    "value", [1.0, 1e-7, 1e16, 1e22, -0.0, 0.1, 2**53 - 1, "\x7f", "é", "\U0001f9ea", {"\U0001f9ea": 1, "\ufffd": 2}]
)
def test_the_fast_way_to_a_hash_says_what_the_canonical_one_says(value: object) -> None:
    values = {"a": value, "integrity": {"previous": None}}
    assert has_sha256(values, record_sha256(values))
    assert not has_sha256({**values, "a": [value]}, record_sha256(values))


@pytest.mark.parametrize(
    "values", [{}, {"integrity": 1}, {"integrity": {}, "a": float("nan")}, {"integrity": {}, "a": "\ud800"}]
)
def test_values_that_no_record_has_have_no_hash(values: dict[str, Any]) -> None:
    assert not has_sha256(values, "0" * 64)


# --- the anchor


def test_a_plan_names_the_end_of_the_chain_beside_what_is_asked(tracker: Tracker) -> None:
    head = chained(tracker, 1)[0].integrity.record_sha256
    without, with_head = plan(), plan(chain_head=head)
    assert without.comment == f"tfslurm:{without.plan_id}"
    assert with_head.comment == f"tfslurm:{with_head.plan_id}:{head}"
    assert with_head.directives["comment"] == with_head.comment
    assert with_head.plan_sha256 == without.plan_sha256, "the same is asked"
    assert with_head.plan_id != without.plan_id, "the plan's id, and with it the job's name, covers it"
    assert "chain_head" not in to_json(without), "as a plan of an older version"
    assert from_json(json.loads(json.dumps(to_json(with_head)))) == with_head
    assert identity(to_json(with_head)) == (with_head.plan_sha256, with_head.plan_id)


def test_the_jobs_that_were_submitted_since_are_the_anchors_of_a_link(tracker: Tracker) -> None:
    records = chained(tracker, 3)
    heads = [each.integrity.record_sha256 for each in records]
    job_of(tracker, "20", final=False, head=heads[1])
    job_of(tracker, "21", final=False, head=heads[2])
    assert [[(each.job, each.place) for each in tracker.chain.anchors(place)] for place in (1, 2, 3)] == [
        [("alpha:20", 2), ("alpha:21", 3)], [("alpha:20", 2), ("alpha:21", 3)], [("alpha:21", 3)],
    ]  # fmt: skip
    assert not tracker.chain.lost_heads()
