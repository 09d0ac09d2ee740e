"""Does a record, and what it names, still hold? Each part with a status and the reason for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from tfslurm.errors import InputError, RecordError
from tfslurm.image import parse_lock
from tfslurm.job_plan import identity
from tfslurm.record.model import Attempt, Log, Output, Record, record_sha256
from tfslurm.run_folder import paths

ANONYMOUS = "left out of the anonymous form of the record"
"Why such a record has no run folder."
Status = Literal["unchanged", "changed", "missing", "not verifiable"]


class Beginning(NamedTuple):
    """The sha256 of as many first bytes of a file as a record says of it, and how many it has in all now."""

    sha256: str
    bytes: int


class Part(NamedTuple):
    """One thing that a record says, and whether it still is so."""

    name: str
    status: Status
    reason: str

    @property
    def is_bad(self) -> bool:
        """Whether it is known not to hold."""
        return self.status in ("changed", "missing")


def compared(name: str, said: str | None, is_now: str | None, what: str) -> Part:
    """A hash beside what it is now; ``is_now`` None: there is no such thing any more."""
    if not said:
        return Part(name, "not verifiable", f"the record does not have the sha256 of {what}")
    if is_now is None:
        return Part(name, "missing", f"{what} is not there any more")
    if is_now != said:
        return Part(name, "changed", f"{what} has the sha256 {is_now}, and the record says {said}")
    return Part(name, "unchanged", f"sha256 {said}")


def is_anonymous(record: Record) -> bool:
    """Whether a record says that it is the anonymous form of one."""
    return record.run_folder is None and record.unknown.get("run_folder") == ANONYMOUS


def inner_parts(record: Record, values: Mapping[str, Any]) -> Iterator[Part]:
    """What a record shows by itself: its own hash, and the texts of the experiment and of its lock file.

    ``values`` are the JSON values that it was read from, in which a key with null and no key are two things.
    """
    now = record_sha256(values)
    whole = compared("record", record.integrity.record_sha256, now, "the content of the record")
    note = "; it is the anonymous form of a record, and not the one that was made when the job ran"
    yield whole._replace(reason=whole.reason + note) if is_anonymous(record) else whole
    asked = record.asked
    if asked is None:
        yield Part("experiment", "not verifiable", "a record of this age does not have the text of exp.yaml")
        yield Part("lock", "not verifiable", "a record of this age does not have the text of the lock file")
        return
    text = asked.spec
    if text is None:
        yield Part("experiment", "not verifiable", "the record does not have the text of exp.yaml")
    else:
        now = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        yield compared("experiment", record.experiment.spec_sha256, now, "the text of exp.yaml in the record")
    yield lock_part(record, asked.lock)


def lock_part(record: Record, text: str) -> Part:
    """The lock file's text beside the image of the record."""
    digest, why = pinned(text)
    if why:
        return Part("lock", "changed", why)
    if digest != record.image.digest:
        return Part("lock", "changed", f"it pins {digest}, and the record's image is {record.image.digest}")
    return Part("lock", "unchanged", f"it pins {digest}")


@lru_cache(maxsize=256)
def pinned(text: str) -> tuple[str, str]:
    """The digest that the text of a lock file pins, or why it is none; the runs of one experiment have the same."""
    try:
        return parse_lock(text, "the lock file in the record").digest, ""
    except InputError as error:
        return "", str(error.problems[0].why)


def plan_part(record: Record, values: Mapping[str, Any] | None) -> Part:
    """plan.json beside the two ids that the record has of it; None: it is not there."""
    if values is None:
        return Part("plan", "missing", "plan.json is not there any more")
    try:
        said = identity(values)
    except (RecordError, InputError, ValueError, KeyError, TypeError, AttributeError):
        return Part("plan", "changed", "plan.json is no plan")
    if record.plan_sha256 is None:
        return Part("plan", "not verifiable", "a record of this age does not name its plan")
    if said != (record.plan_sha256, record.plan_id):
        return Part("plan", "changed", f"plan.json is the plan {said[1]}, and the record says {record.plan_id}")
    return Part("plan", "unchanged", f"plan {record.plan_id}")


def output_parts(record: Record, now: Mapping[str, str | None]) -> Iterator[Part]:
    """One part for all outputs that are unchanged, and one for each other; ``now``: path -> sha256, None: not there."""
    outputs = record.experiment.outputs
    if outputs is None:
        why = record.unknown.get("experiment.outputs", "the record does not list them")
        yield Part("outputs", "not verifiable", why)
        return
    parts = [output_part(each, now[each.path]) for each in outputs]
    kept = sum(part.status == "unchanged" for part in parts)
    if kept or not parts:
        yield Part("outputs", "unchanged", f"{kept} of {len(parts)} files have the sha256 of the record")
    yield from (part for part in parts if part.status != "unchanged")


def log_parts(record: Record, now: Mapping[str, Beginning | None]) -> Iterator[Part]:
    """One part for all logs that are unchanged, and one for each other; ``now``: ``attempt-1/stdout.log`` -> itself."""
    kept: list[Part] = []
    others: list[Part] = []
    for place, attempt in enumerate(record.attempts):
        if attempt.logs is None:
            why = record.unknown.get(f"attempts[{place}].logs", "a record of this age does not have their hashes")
            others.append(Part(f"logs of {paths.attempt(attempt.index)}", "not verifiable", why))
        for number, log in enumerate(attempt.logs or ()):
            path = log_path(attempt, log)
            part = log_part(f"log {path}", log, now.get(path))
            if log.sha256 is None:
                part = part._replace(reason=record.unknown.get(f"attempts[{place}].logs[{number}].sha256", part.reason))
            (kept if part.status == "unchanged" else others).append(part)
    if kept or not others:
        more = "; ".join(f"{part.name[4:]}: {part.reason}" for part in kept if part.reason)
        many = f"{len(kept)} of {len(kept) + len(others)} have the sha256 of the record"
        none = "no program of the job has begun, so there are none"
        yield Part("logs", "unchanged", (f"{many}; {more}" if more else many) if kept else none)
    yield from others


def log_path(attempt: Attempt, log: Log) -> str:
    """A log in its job's folder."""
    return f"{paths.attempt(attempt.index)}/{log.name}"


def log_part(name: str, log: Log, now: Beginning | None) -> Part:
    """One log; what was appended since it was hashed is no change, and said."""
    if log.bytes is None or log.sha256 is None:
        return Part(name, "not verifiable", "it was not hashed")
    if now is not None and now.bytes < log.bytes:
        return Part(name, "changed", f"it has {now.bytes} bytes, and the record says {log.bytes}")
    part = compared(name, log.sha256, now.sha256 if now else None, f"its first {log.bytes} bytes" if now else "it")
    if now is None or part.status == "changed":
        return part
    more = now.bytes - log.bytes
    return part._replace(reason=f"{more} bytes were appended after the hash" if more else "")


def output_part(output: Output, now: str | None) -> Part:
    """One output beside its sha256 now."""
    name = f"output {output.path}"
    if output.bytes is None:
        return Part(name, "not verifiable", "a record of this age does not have its size")
    return compared(name, output.sha256, now, output.path)
