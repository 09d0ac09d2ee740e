"""Does a crate still say what it said, and is it true of its files and its records? Each part with a status. Pure.

These are the things that roc-validator 0.13 does not look at, beside the files: which image, of what form its hash is,
whether the action's status fits its error, which versions go together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from tfslurm.document.moments import datetime_of
from tfslurm.record.crate_metadata import METADATA, Metadata, RunClaim
from tfslurm.record.model import Attempt, Record, record_bytes
from tfslurm.record.verification import Part, compared

KINDS = tuple(f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("DockerImage", "SIFImage"))
PROCESS = re.compile(r"https://w3id\.org/ro/wfrun/(?:process|workflow|provenance)/(?P<version>[0-9.]+)")
PAIRS = {"1.1": ("0.1", "0.2", "0.3", "0.4", "0.5"), "1.3": ("0.6",)}
"RO-Crate -> the run profiles made for it. Source: ResearchObject/workflow-run-crate, docs/profiles/0.6/changelog.md."
HEX = re.compile(r"[0-9a-f]{64}")
LINE = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
ESCAPED = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
FEW = 10
"Files that are named before the rest is counted."


def read_sums(content: bytes) -> dict[str, str]:
    """Path -> the sha256 that SHA256SUMS says, whose lines are exactly as sha256sum writes them.

    Raises:
        ValueError: a line is none of these, or a name stands in it twice.
    """
    if not content.endswith(b"\n"):
        raise ValueError("its last line has no end")
    found: dict[str, str] = {}
    for number, line in enumerate(content[:-1].split(b"\n"), 1):
        match = LINE.fullmatch(line)
        if not match:
            raise ValueError(f"line {number} is no sum and name")
        name = re.sub(rb"\\[\\nr]", lambda each: ESCAPED[each[0]], match[3]) if match[1] else match[3]
        path = name.decode("utf-8", "surrogateescape")
        if path in found:
            raise ValueError(f"line {number} names {path[:200]!r} again")
        found[path] = match[2].decode()
    return found


def sums_parts(name: str, said: Mapping[str, str], now: Mapping[str, str | None]) -> Iterator[Part]:
    """The files beside the sums of a crate; ``now``: path -> sha256, None: it cannot be read.

    A file that no line names is bad: nothing says that it was part of the crate.
    """
    held = [compared(f"file {path}", each, now.get(path), path) for path, each in said.items()]
    wrong = [part for part in held if part.status != "unchanged"]
    kept = len(held) - len(wrong)
    strange = f"{name} does not name it: it was put into the crate later, or its line was removed"
    wrong += [Part(f"file {path}", "changed", strange) for path in now if path not in said and path != name]
    yield from few(wrong)
    if kept:
        yield Part(name, "unchanged", f"{kept} of {len(held)} files have the sha256 that it says")


def few(parts: list[Part]) -> Iterator[Part]:
    """The first parts, and one that counts the rest."""
    yield from parts[:FEW]
    if len(parts) > FEW:
        yield Part("files", "changed", f"{len(parts) - FEW} more files are not as they were")


def metadata_parts(found: Metadata, *, is_own: bool) -> Iterator[Part]:
    """The metadata by itself: the image of each run, its status, its times, and the versions.

    ``is_own``: tfslurm wrote it, so that what does not fit was changed. What another tool wrote otherwise is no change,
    and keeps a reader from verifying.
    """
    wrong = [f"{run.name or run.id}: {why}" for run in found.runs for why in (*image_faults(run), *run_faults(run))]
    wrong += version_faults(found)
    if not found.runs:
        wrong.append("it names no run (CreateAction)")
    yield from (Part("metadata", "changed" if is_own else "not verifiable", why) for why in wrong[:FEW])
    if not wrong and is_own:
        yield Part("metadata", "unchanged", "each run has its image by digest, a status and times, as its profile asks")
    elif not wrong:
        yield Part("metadata", "not verifiable", "it is well made; nothing shows that what it says was observed")


def image_faults(run: RunClaim) -> Iterator[str]:
    """What is wrong with the image of a run."""
    image = run.image
    if image is None:
        yield "it has no containerImage: in which image it ran is not said"
        return
    if image.id and image.kind not in KINDS:
        yield f"additionalType of its image is {image.kind[:80]!r}, not a reference to {KINDS[0]}"
    if not image.sha256:
        yield "its image has no sha256: a tag names no fixed bytes"
    elif not HEX.fullmatch(image.sha256):
        yield f"sha256 of its image is {image.sha256[:80]!r}, not 64 hexadecimal digits"


def run_faults(run: RunClaim) -> Iterator[str]:
    """What is wrong with the status and the times of a run."""
    if not run.status and run.ended_at:
        yield "it has ended, and no actionStatus says how"
    if run.error and run.status == "CompletedActionStatus":
        yield "it completed, and has an error"
    for name, moment in (("startTime", run.started_at), ("endTime", run.ended_at)):
        if moment.endswith(("Z", "z")):
            yield f"{name} ends in Z, where the profile wants +00:00"
        elif moment and seconds_of(moment) is None:
            yield f"{name} {moment[:80]!r} is no time"


def version_faults(found: Metadata) -> Iterator[str]:
    """A profile that was made for another version of RO-Crate."""
    profiles = [match["version"] for url in found.profiles if (match := PROCESS.fullmatch(url.rstrip("/")))]
    if not found.version:
        yield "it does not say which version of RO-Crate it is"
    for version in profiles:
        if found.version and version not in PAIRS.get(found.version, ()):
            yield f"its profile {version} is not for RO-Crate {found.version}"


def seconds_of(moment: str) -> float | None:
    """A time in seconds; None: it is none."""
    try:
        return datetime_of(moment).timestamp()
    except (ValueError, OverflowError):
        return None


def file_parts(found: Metadata, sizes: Mapping[str, int], now: Mapping[str, str | None]) -> Iterator[Part]:
    """The files that the metadata lists, by size and hash where it says them."""
    wrong: list[Part] = []
    seen = 0
    for each in found.files:
        name = f"{METADATA}: {each.path}"
        if each.path not in sizes:
            wrong.append(Part(name, "missing", f"{each.path} is not there"))
        elif each.bytes is not None and each.bytes != sizes[each.path]:
            wrong.append(Part(name, "changed", f"{each.path} has {sizes[each.path]} bytes, and it says {each.bytes}"))
        elif each.sha256 and each.sha256 != now.get(each.path):
            wrong.append(Part(name, "changed", f"{each.path} has the sha256 {now.get(each.path)}, not {each.sha256}"))
        elif each.sha256:
            seen += 1
    yield from few(wrong)
    if seen:
        others = len(found.files) - seen - len(wrong)
        rest = f"; it says none of {others} more" if others else ""
        told = f"{seen} of {len(found.files)} have the sha256 that the metadata says{rest}"
        yield Part("listed files", "unchanged", told)
    elif found.files and not wrong:
        yield Part("listed files", "not verifiable", "the metadata says no sha256 of any file")


def agreement(record: Record, found: Metadata) -> Part:
    """A record beside the runs that the metadata tells of it: image, times, end."""
    name = "metadata of the record"
    runs = {run.id: run for run in found.runs}
    if record.attempts and record.record_id not in runs:
        return Part(name, "missing", f"no run in the metadata has the record's id {record.record_id}")
    wrong: list[str] = []
    for attempt in record.attempts:
        is_last = attempt is record.attempts[-1]
        run = runs.get(record.record_id if is_last else f"{record.record_id}#attempt-{attempt.index}")
        wrong += [f"attempt {attempt.index} is not in it"] if run is None else differences(record, attempt, run)
    return Part(name, "changed", "; ".join(wrong)) if wrong else Part(name, "unchanged", "image, times and end agree")


def strange_runs(found: Metadata, records: Iterable[Record]) -> Iterator[Part]:
    """The runs in the metadata of a crate of tfslurm's that are no attempt of its records."""
    known = {
        record.record_id if attempt is record.attempts[-1] else f"{record.record_id}#attempt-{attempt.index}"
        for record in records
        for attempt in record.attempts
    }
    strange = [run for run in found.runs if run.id not in known]
    yield from few([Part("metadata", "changed", f"no record in the crate has the run {run.id}") for run in strange])


def differences(record: Record, attempt: Attempt, run: RunClaim) -> Iterator[str]:
    """What a run in the metadata says otherwise than the record's attempt."""
    digest = record.image.digest.removeprefix("sha256:")
    if run.image is None or run.image.sha256 != digest:
        yield f"its image has the sha256 {run.image.sha256 if run.image else 'of nothing'}, and the record {digest}"
    about = record.image
    name = "/".join(filter(None, (about.registry, about.repository))) + (f":{about.tag}" if about.tag else "")
    if run.image is not None and run.image.name != name:
        yield f"its image is named {run.image.name}, and the record's {name}"
    for key, said, known in (
        ("startTime", run.started_at, attempt.started_at),
        ("endTime", run.ended_at, attempt.ended_at),
    ):
        if bool(said) != bool(known) or (said and known and seconds_of(said) != seconds_of(known)):
            yield f"its {key} is {said or 'not there'}, and the record's {known or 'not known'}"
    completed = attempt.state == "COMPLETED"
    if run.status and completed != (run.status == "CompletedActionStatus"):
        yield f"its status is {run.status}, and the record's state {attempt.state}"


def text_parts(
    record: Record, values: Mapping[str, Any], canon: bytes | None, texts: Mapping[str, bytes | None]
) -> Iterator[Part]:
    """The files that repeat what is in the record: its canonical bytes, and the texts of exp.yaml and its lock file.

    ``texts``: name -> content, None: it is not in the crate.
    """
    if canon is not None:
        is_same = canon == record_bytes(values)
        said, now = record.integrity.record_sha256, sha256(canon).hexdigest()
        yield compared("canonical bytes", said, now, "the file with the canonical bytes")
        if not is_same and said == now:
            yield Part("canonical bytes", "changed", "they are not those of the record")
    asked = record.asked
    wanted = {"exp.yaml": asked.spec, "exp.lock.yaml": asked.lock} if asked else {}
    for name, text in wanted.items():
        content = texts.get(name)
        if content is not None and text is not None and content != text.encode("utf-8", "surrogateescape"):
            yield Part(name, "changed", f"{name} is not the text that the record has")
