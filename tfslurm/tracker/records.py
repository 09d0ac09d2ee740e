"""The records of jobs in the tracker's file: JSON, compressed, because a million of them share a disk."""

from __future__ import annotations

import sqlite3
import zlib

from tfslurm.document.bounded_json import MAX_BYTES
from tfslurm.errors import TrackerError
from tfslurm.job_plan.folders import UNTRUE
from tfslurm.tracker.rows import TrackedJob


def put_record(db: sqlite3.Connection, job: TrackedJob, text: str) -> None:
    """The JSON text of a job's record, in place of an older one."""
    values = (job.cluster, job.job_id, job.submitted_at, packed(text))
    db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", values)


def record_text(db: sqlite3.Connection, job: TrackedJob) -> str | None:
    """The JSON text of a job's record; None: it has none.

    Raises:
        TrackerError: what the file has is none.
    """
    query = "SELECT record FROM records WHERE (cluster, job_id, submitted_at) = (?, ?, ?)"
    found = db.execute(query, (job.cluster, job.job_id, job.submitted_at)).fetchone()
    return unpacked(found["record"], job.key) if found else None


def packed(text: str) -> bytes:
    """A text as the file holds it."""
    return zlib.compress(text.encode("utf-8", "surrogatepass"))


def unpacked(data: object, job: str) -> str:
    """The text that the file holds.

    Raises:
        TrackerError: it is none, or larger than any record.
    """
    reading = zlib.decompressobj()
    try:
        text = reading.decompress(data if isinstance(data, bytes) else b"", MAX_BYTES)
        if not reading.eof:
            raise ValueError("it is cut off, or larger than any record")
        return text.decode("utf-8", "surrogatepass")
    except (ValueError, zlib.error) as error:
        raise TrackerError(f"tracker: the record of {job} cannot be read: {error}; {UNTRUE}") from error
