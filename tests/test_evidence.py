"""A record is found by any name: its job, image, commit, plan or point; what is nobody's name is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import CODE, CONFIG, PIN, plan
from tests.test_record import case
from tfslurm.errors import InputError
from tfslurm.job_plan import JobPlan, identify
from tfslurm.record import Record, record_json
from tfslurm.record.model import seal
from tfslurm.record.verification import inner_parts
from tfslurm.retrieval.evidence import evidence_of, named
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.session import Session

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "0123456" + "f" * 33
IMAGE = "sha256:" + "a1" * 31 + "ff"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    Laptop.made(tmp_path, monkeypatch)
    return Session(print)


def put(tracker: Tracker, job_id: str, **changes: Any) -> JobPlan:
    """A plan with its job, and the record that was kept of it."""
    made = identify(replace(plan(), **changes))
    tracker.plan(made, "name: alpha\n")
    tracker.submit(made, job_id)
    (job,) = tracker.jobs(job_id=job_id)
    tracker.keep(job, record_json(record_of(made, job_id)))
    return made


def record_of(made: JobPlan, job_id: str) -> Record:
    record = case("gpu").build(plan=made)
    return seal(replace(record, job=replace(record.job, cluster=made.cluster, job_id=job_id)))


def keys(session: Session, name: str) -> list[str]:
    return [each.key for each in named(session, name)]


def test_jobs_are_found_by_image_commit_and_plan(session: Session) -> None:
    tracker = session.tracker
    first = put(tracker, "17", code=replace(CODE, commit=COMMIT))
    put(tracker, "18", code=replace(CODE, commit=OTHER), command=("two",))
    put(tracker, "19", pin=replace(PIN, digest=IMAGE, manifest_digest="", config_digest=""), command=("three",))
    assert keys(session, PIN.digest) == keys(session, CONFIG) == ["alpha:17", "alpha:18"]
    assert keys(session, CONFIG[: len("sha256:") + 12]) == ["alpha:17", "alpha:18"]
    assert keys(session, IMAGE) == keys(session, f"docker.io/tensorflow/tensorflow@{IMAGE}") == ["alpha:19"]
    assert keys(session, COMMIT) == keys(session, COMMIT[:8]) == keys(session, first.plan_id) == ["alpha:17"]
    (found,) = evidence_of(session, COMMIT[:8])
    assert (found.record.job.job_id, found.host, found.folder) == ("17", None, None)
    assert "cluster file" in found.why or "run folder" in found.why
    assert [each.key for each in evidence_of(session, CONFIG, reach=False)] == ["alpha:17", "alpha:18"]


def test_a_record_is_found_by_its_hash_even_where_its_job_has_another_one_now(session: Session) -> None:
    made = put(session.tracker, "17")
    (job,) = session.tracker.jobs(job_id="17")
    hashes = []
    for warning in ("one", "two"):
        record = replace(record_of(made, "17"), warnings=(warning,))
        (kept,) = session.tracker.chain.keep([(job, seal(record))])
        hashes.append(kept.integrity.record_sha256)
    for digest, warning in zip(hashes, ("one", "two"), strict=True):
        for name in (f"sha256:{digest}", f"sha256:{digest[:12]}"):
            (found,) = evidence_of(session, name, reach=False)
            assert (found.record.warnings, found.record.integrity.record_sha256) == ((warning,), digest)
            assert not [part for part in inner_parts(found.record, found.values) if part.is_bad]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sha256:" + "a1" * 8, "is the beginning of 2"),
        ("sha256:" + "c" * 64, "no job of this machine's tracker"),
        ("sha256:" + "a1" * 5, "neither the id of a job"),
        (COMMIT[:7], "is the beginning of 2"),
        (COMMIT[:6], "not in the tracker|neither the id"),
        ("f" * 40, "neither the id of a job"),
        ("f" * 12, "neither the id of a job"),
        ("alpha:20", "not in the tracker"),
        ("a" * 5000, "neither the id of a job"),
        ("a/" * 3000, "cannot be read: File name too long"),
        ("", "neither the id of a job"),
        ("/runs/x-0123456789ab", "no cluster that is known here has this run folder"),
        ("alpha:/runs/x-0123456789ab/17", "no cluster that is known here has this run folder"),
    ],
)
def test_a_name_that_means_nothing_or_too_much_is_refused(session: Session, name: str, why: str) -> None:
    put(session.tracker, "17", code=replace(CODE, commit=COMMIT))
    put(session.tracker, "18", code=replace(CODE, commit=OTHER), command=("two",))
    put(session.tracker, "19", pin=replace(PIN, digest=IMAGE), command=("three",))
    with pytest.raises(InputError, match=why):
        named(session, name)


def test_a_plan_in_the_tracker_that_is_no_json_hides_no_other(session: Session) -> None:
    put(session.tracker, "17", code=replace(CODE, commit=COMMIT))
    with session.tracker.change() as db:
        row = "INSERT INTO plans VALUES ('f00', 'x', 'alpha', 'x', '2026', 'submitted', '', '{', '')"
        db.execute(row)
    assert keys(session, COMMIT) == ["alpha:17"]


def test_provenance_lists_several_jobs_and_prints_all_their_records_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    for job_id, word in (("17", "one"), ("18", "two")):
        made = put(laptop.tracker, job_id, command=(word,), cluster="alpha")
        (job,) = laptop.tracker.jobs(job_id=job_id)
        finish(laptop.tracker, job, record_of(made, job_id))
    assert laptop.type("provenance", PIN.digest) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["JOB", "alpha:17", "alpha:18"]
    assert laptop.type("provenance", PIN.digest, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [each["job"]["job_id"] for each in records] == ["17", "18"]


def finish(tracker: Tracker, job: TrackedJob, record: Record) -> None:
    """Have the job ended, with a record that says so."""
    ended = seal(replace(record, job=replace(record.job, state="COMPLETED")))
    tracker.keep(job, record_json(ended))
