"""The chain of the tracker's records: a record of a job that has ended names the hash of the one chained before it.

An entry is appended and never rewritten. Where a job's record becomes another one (Slurm has forgotten the job, a file
of its run folder was changed), the new record is another entry, and the entry before keeps the text of the old one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TrackerError
from tfslurm.tracker.records import put_record, unpacked
from tfslurm.tracker.rows import TrackedJob

if TYPE_CHECKING:
    from tfslurm.record import Record
    from tfslurm.record.chain import ChainEntry
    from tfslurm.record.model import Signature
    from tfslurm.tracker.index import Tracker

HEAD = "SELECT record_sha256 FROM chain ORDER BY place DESC LIMIT 1"
THIS_JOB = "(cluster, job_id, submitted_at) = (?, ?, ?)"
AT_ONCE = 500
MOST_ANCHORS = 5
MOST_GAPS = 3


class Anchor(NamedTuple):
    """A job that was submitted with the chain's head of then in its comment."""

    job: str  # CLUSTER:ID, of an array without its task
    plan_id: str
    head: str
    place: int  # of the head's entry


class Chain:
    """The chain of a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def version(self) -> str:
        """A text that is another one after any change of the tracker, by this process or another."""
        queries = ("PRAGMA data_version", "SELECT total_changes()")
        return " ".join(str(self._tracker.rows(query, ())[0][0]) for query in queries)

    def keep(self, found: Sequence[tuple[TrackedJob, Record]]) -> list[Record]:
        """The records of jobs that have ended as they are chained, in one step: all of them are, or none.

        A record that says the same as the job's last entry is that entry's, with its signature.
        """
        with self._tracker.change() as db:
            kept = [keep_one(db, job, record) for job, record in found]
            head = db.execute(HEAD).fetchone()
        self._tracker.chain_head = head[0] if head else ""
        return kept

    def sign(self, job: TrackedJob, digest: str, signature: Signature) -> bool:
        """Put a signature into the kept record with this hash; False: the tracker has another one now."""
        with self._tracker.change() as db:
            values = stored(db, job)
            if values is None or values["integrity"].get("record_sha256") != digest:
                return False
            values["integrity"]["signature"] = asdict(signature)
            put_record(db, job, json.dumps(values))
            return True

    def place_of(self, digest: str) -> int | None:
        """The place of the entry with this record; None: it is not in the chain."""
        rows = self._tracker.rows("SELECT place FROM chain WHERE record_sha256 = ?", (digest,))
        return int(rows[0]["place"]) if rows else None

    def places(self, beginning: str) -> list[int]:
        """The places of the entries whose record's hash begins with these hexadecimal digits."""
        query = "SELECT place FROM chain WHERE record_sha256 >= ? AND record_sha256 < ? ORDER BY place"
        return [int(row["place"]) for row in self._tracker.rows(query, (beginning, f"{beginning}g"))]

    def place_of_job(self, cluster: str, job_id: str, plan_id: str | None) -> int | None:
        """The place of a job's last entry; None: the job is not in the chain."""
        query = (
            "SELECT max(place) AS place FROM chain JOIN jobs USING (cluster, job_id, submitted_at) "
            "WHERE (chain.cluster, chain.job_id, plan_id) = (?, ?, ?)"
        )
        place = self._tracker.rows(query, (cluster, job_id, plan_id))[0]["place"]
        return None if place is None else int(place)

    def last(self) -> int:
        """The place of the last entry that there ever was; 0: there was none."""
        rows = self._tracker.rows("SELECT seq FROM sqlite_sequence WHERE name = 'chain'", ())
        return int(rows[0]["seq"]) if rows else 0

    def entries(self, first: int, most: int) -> Iterator[ChainEntry]:
        """So many entries from a place on, with their records."""
        from tfslurm.record.chain import ChainEntry

        query = (
            "SELECT place, record_sha256, previous, cluster||':'||job_id AS job, CASE WHEN place = (SELECT "
            "max(place) FROM chain AS own WHERE (own.cluster, own.job_id, own.submitted_at) = "
            "(chain.cluster, chain.job_id, chain.submitted_at)) THEN record ELSE replaced END AS data FROM chain "
            "LEFT JOIN records USING (cluster, job_id, submitted_at) WHERE place BETWEEN ? AND ? ORDER BY place"
        )
        for start in range(first, first + most, AT_ONCE):
            end = min(start + AT_ONCE, first + most) - 1
            for row in self._tracker.rows(query, (str(start), str(end))):
                values = values_of(row["data"])
                yield ChainEntry(int(row["place"]), str(row["job"]), str(row["record_sha256"]), row["previous"], values)

    def before(self, place: int) -> tuple[int, str | None]:
        """The place before one, and the hash of the entry there; None: there is none."""
        rows = self._tracker.rows("SELECT record_sha256 FROM chain WHERE place = ?", (str(place - 1),))
        return place - 1, rows[0]["record_sha256"] if rows else None

    def gaps(self) -> list[int]:
        """The first places whose entry does not name the one before it; the records are not read."""
        query = (
            "SELECT each.place FROM chain AS each LEFT JOIN chain AS before ON before.place = each.place - 1 WHERE "
            "each.place > 1 AND before.record_sha256 IS NOT each.previous ORDER BY each.place LIMIT ?"
        )
        return [int(row["place"]) for row in self._tracker.rows(query, (str(MOST_GAPS),))]

    def anchors(self, place: int) -> list[Anchor]:
        """The first jobs that were submitted to Slurm here once this entry was in the chain, the tightest first."""
        query = (
            "SELECT chain.place, head, anchors.plan_id, jobs.cluster, min(jobs.job_id) AS job_id FROM chain "
            "JOIN anchors ON head = record_sha256 JOIN jobs USING (plan_id) "
            "WHERE chain.place >= ? AND jobs.cluster != 'local' GROUP BY anchors.plan_id ORDER BY chain.place LIMIT ?"
        )
        rows = self._tracker.rows(query, (str(place), str(MOST_ANCHORS)))
        return [
            Anchor(f"{row['cluster']}:{row['job_id'].partition('_')[0]}", row["plan_id"], row["head"], row["place"])
            for row in rows
        ]

    def lost_heads(self) -> list[str]:
        """The plans that were submitted when the chain ended with a record that is not in it any more."""
        query = (
            "SELECT plan_id FROM anchors LEFT JOIN chain ON record_sha256 = head WHERE record_sha256 IS NULL LIMIT ?"
        )
        return [str(row["plan_id"]) for row in self._tracker.rows(query, (str(MOST_ANCHORS),))]


def keep_one(db: sqlite3.Connection, job: TrackedJob, found: Record) -> Record:
    """One record as it is chained."""
    from tfslurm.record import record_from_json, record_json

    key = (job.cluster, job.job_id, job.submitted_at)
    query = f"SELECT place, record_sha256, previous FROM chain WHERE {THIS_JOB} ORDER BY place DESC LIMIT 1"  # noqa: S608 - ours
    values, before = record_json(found), db.execute(query, key).fetchone()
    if before:
        same = after(values, before["previous"])
        if same["integrity"]["record_sha256"] == before["record_sha256"]:
            kept = stored(db, job)
            if kept and {**kept, "integrity": None} == {**same, "integrity": None}:
                return replace(found, integrity=record_from_json(kept).integrity)
            put_record(db, job, json.dumps(same))
            return replace(found, integrity=record_from_json(same).integrity)
        db.execute(
            f"UPDATE chain SET replaced = (SELECT record FROM records WHERE {THIS_JOB}) WHERE place = ?",  # noqa: S608 - ours
            (*key, before["place"]),
        )
    head = db.execute(HEAD).fetchone()
    made = after(values, head[0] if head else None)
    integrity = made["integrity"]
    db.execute(
        "INSERT INTO chain (record_sha256, previous, cluster, job_id, submitted_at) VALUES (?, ?, ?, ?, ?)",
        (integrity["record_sha256"], integrity["previous"], *key),
    )
    put_record(db, job, json.dumps(made))
    return replace(found, integrity=replace(found.integrity, **integrity))


def after(values: Mapping[str, Any], previous: str | None) -> dict[str, Any]:
    """The JSON values of a record, sealed as the one after another."""
    from tfslurm.record.model import record_sha256

    integrity = {"previous": previous, "record_sha256": "", "signature": None}
    made = {**values, "integrity": integrity}
    return {**made, "integrity": {**integrity, "record_sha256": record_sha256(made)}}


def keep_unchained(db: sqlite3.Connection, job: TrackedJob, text: str) -> None:
    """The record of a job that has not ended; one that is chained stays, whoever read the job before it ended."""
    key = (job.cluster, job.job_id, job.submitted_at)
    if not db.execute(f"SELECT 1 FROM chain WHERE {THIS_JOB}", key).fetchone():  # noqa: S608 - ours
        put_record(db, job, text)


def stored(db: sqlite3.Connection, job: TrackedJob) -> dict[str, Any] | None:
    """The values of a job's record; None: there is none that can be read."""
    key = (job.cluster, job.job_id, job.submitted_at)
    row = db.execute(f"SELECT record FROM records WHERE {THIS_JOB}", key).fetchone()  # noqa: S608 - ours
    return values_of(row["record"]) if row else None


def values_of(data: object) -> dict[str, Any] | None:
    """The values of a record as the file holds it; None: it is none."""
    try:
        values = read_json(unpacked(data, ""))
    except (TrackerError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and isinstance(values.get("integrity"), dict) else None
