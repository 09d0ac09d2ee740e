"""The end of an attempt, and of each of its tasks: the one reader of the node scripts' exit.json. Pure.

``cause`` is one word for programs, ``reason`` a sentence for people. Nothing but this file reads a cause out of a
sentence, and only of run folders whose scripts wrote no cause yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.document.moments import parse_time

PROGRAM = "program"
MEMORY = "memory"
STOPPED = "stopped"
REQUEUED = "requeued"
UNFINISHED = "unfinished"
NO_SCHEDULER = "no_scheduler"
REFUSED = "refused"
ENGINE = "engine"
LOST = "lost"
SCRIPT = "script"
CAUSES: Mapping[str, str] = {
    PROGRAM: "it ended by itself, whatever its exit code",
    MEMORY: "the memory of its container was used up",
    STOPPED: "it was stopped from outside: cancelled, out of time, preempted",
    REQUEUED: "another attempt follows",
    UNFINISHED: "the program was warned and saved, and no other attempt can follow",
    NO_SCHEDULER: "another attempt would follow, and there is no scheduler to ask for it",
    REFUSED: "a check before the start failed (image, GPUs, driver, mounts), so the program was not started",
    ENGINE: "the container engine failed",
    LOST: "what attends the job on its node failed",
    SCRIPT: "another part of job.sbatch, such as a prologue, ended it",
}
KEPT_UNTIL: Mapping[str, str] = {
    "time": "its time was up",
    "stop": "the job was stopped: cancelled, out of time, preempted; or its srun or batch script died",
    "engine": "the container engine did not start it again, or lost it",
    "lost": "what attends the job on its node failed",
}
LONGEST_REASON = 500
CAUSE = re.compile(r"[a-z][a-z_]{0,31}")


class End(NamedTuple):
    """The end of one attempt in its own words.

    ``exit_code`` is 128 + n after signal n. ``began_at`` and ``ended_at`` are RFC 3339, None where they were not
    written. ``cause`` is one of CAUSES, a word of a newer version, or '' where an older one wrote none that is known.
    ``kept_until_at`` is until when the container of a program that failed is kept at most; None: it is not.
    """

    exit_code: int
    signal: int | None
    began_at: str | None
    ended_at: str | None
    cause: str
    reason: str
    kept_until_at: str | None = None


class KeptEnd(NamedTuple):
    """How long a container was kept after its program had failed, and what ended that; None: not yet, or not at all."""

    began_at: str | None
    until_at: str | None
    ended_at: str | None
    ended_by: str | None
    reason: str | None


class TaskEnd(NamedTuple):
    """The end of one task of an attempt."""

    exit_code: int
    oom_killed: bool
    started_at: str | None
    ended_at: str | None


def parse_end(raw: bytes | str) -> End:
    """Read ``attempt-N/exit.json``.

    Raises:
        ValueError: it is not what a node script writes.
    """
    values = read_object(raw)
    reason = values.get("reason") or ""
    cause = values.get("cause")
    if not isinstance(reason, str):
        raise ValueError("its reason is no text")
    if cause is not None and not (isinstance(cause, str) and CAUSE.fullmatch(cause)):
        raise ValueError("its cause is no word")
    signal = values.get("signal")
    return End(
        exit_code=number(values.get("exit_code"), 255),
        signal=None if signal is None else number(signal, 64),
        began_at=time_of(values.get("began_at")),
        ended_at=time_of(values.get("ended_at")),
        cause=cause or cause_of(reason),
        reason=reason,
        kept_until_at=time_of(values.get("kept_until_at")),
    )


def parse_kept(raw: bytes | str) -> KeptEnd:
    """Read ``attempt-N/facts/task-0/kept.json``.

    Raises:
        ValueError: it is not what a node script writes.
    """
    values = read_object(raw)
    ended_by, reason = values.get("ended_by"), values.get("reason")
    if ended_by is not None and ended_by not in KEPT_UNTIL:
        raise ValueError("its ended_by is no word of a node script")
    if reason is not None and not isinstance(reason, str):
        raise ValueError("its reason is no text")
    began_at, until_at, ended_at = (time_of(values.get(key)) for key in ("began_at", "until_at", "ended_at"))
    return KeptEnd(
        began_at, until_at, ended_at, ended_by, " ".join(reason.split())[:LONGEST_REASON] if reason else None
    )


def parse_task_end(raw: bytes | str) -> TaskEnd:
    """Read ``attempt-N/facts/task-N/exit.json``.

    Raises:
        ValueError: it is not what a node script writes.
    """
    values = read_object(raw)
    if not isinstance(values.get("oom_killed"), bool):
        raise ValueError("its oom_killed is neither true nor false")
    times = (time_of(values.get(key) or None) for key in ("started_at", "ended_at"))
    return TaskEnd(number(values.get("exit_code"), 255), values["oom_killed"], *times)


def cause_of(reason: str) -> str:
    """The cause in the sentence of an older node script; '' if it names none."""
    if reason.startswith("not requeued"):
        return NO_SCHEDULER if reason.endswith("there is no scheduler here") else UNFINISHED
    begins = {"requeued after ": REQUEUED, "stopped by SIG": STOPPED, "the container's memory was used up": MEMORY}
    return next((cause for words, cause in begins.items() if reason.startswith(words)), "" if reason else PROGRAM)


def read_object(raw: bytes | str) -> Mapping[str, Any]:
    """A JSON object."""
    values = read_json(raw)
    if not isinstance(values, dict):
        raise ValueError("it holds no JSON object")
    return values


def number(value: object, most: int) -> int:
    """A whole number from 0 to ``most``."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{str(value)[:40]} is no number from 0 to {most}")
    return value


def time_of(value: object) -> str | None:
    """A moment as it was written, RFC 3339; None where it was not."""
    return None if value is None or parse_time(value) is None else str(value)
