"""Hold a crate against its sums, its metadata and its records: every file of it is hashed once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, RecordError, TfslurmError
from tfslurm.export.crate.contents import (
    CANONICAL,
    CANONICALS,
    CODE,
    LOCK,
    RECORD,
    SIGNATURE,
    SPEC,
    SUMS,
    CrateFile,
    Run,
)
from tfslurm.job_plan import JobPlan, from_json
from tfslurm.record import Record, build_record, record_json
from tfslurm.record.comparison.code import CodeFile
from tfslurm.record.crate_metadata import METADATA, Metadata
from tfslurm.record.crate_verification import (
    agreement,
    few,
    file_parts,
    metadata_parts,
    read_sums,
    strange_runs,
    sums_parts,
    text_parts,
)
from tfslurm.record.verification import (
    Beginning,
    Part,
    compared,
    inner_parts,
    is_anonymous,
    log_parts,
    log_path,
    output_parts,
    plan_part,
)
from tfslurm.retrieval.code_trees import SHOWN, changed_files
from tfslurm.retrieval.crate_files import Crate
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.records import NOT_NEEDED
from tfslurm.run_folder import paths
from tfslurm.run_folder.plan_file import point_values, read_points
from tfslurm.slurm import JobStatus
from tfslurm.snapshot.files import EXECUTABLE, blob_id, entry_of, tree_id
from tfslurm.sweeps.arrays import place_in_array
from tfslurm.workspace.threads import at_once

ADDED = SIGNATURE
"What may come into a crate after its sums were written: a signature, which is verified by itself."
ALONE = (RECORD, CANONICAL, SIGNATURE, SUMS)
MOST_FACTS, MOST_FACT = 64 * 2**20, 16 * 2**20
MOST_TEXT = 2**24
MOST_THREADS = 8


class CheckedCrate:
    """A crate with the sha256 that each of its files has now, and what its metadata says.

    ``partial``: its own word on what it does not hold is believed.
    """

    def __init__(self, crate: Crate, *, partial: bool = False) -> None:
        self.crate = crate
        self.partial = partial
        self.now = hashes(crate)
        self.metadata: Metadata | None = None
        self.why = ""
        try:
            self.metadata = crate.metadata()
        except InputError as error:
            self.why = error.problems[0].why

    @property
    def sizes(self) -> Mapping[str, int]:
        """Path -> bytes of its regular files."""
        return {path: each.bytes for path, each in self.crate.files.items() if each.kind == "f"}

    @property
    def is_record_alone(self) -> bool:
        """Whether it is what `sign` writes: a record, and no file of its job."""
        return all(path in ALONE for path in self.crate.files)

    def text(self, path: str, most: int = MOST_TEXT) -> bytes | None:
        """The content of a file; None: it is not there, or too large."""
        try:
            return self.crate.content(path, most)
        except InputError:
            return None


def hashes(crate: Crate) -> dict[str, str | None]:
    """Path -> sha256 of every file of a crate, by a thread for each processor; None: it cannot be read."""
    names = [*crate.files]
    count = min(os.cpu_count() or 1, MOST_THREADS, len(names)) or 1
    works = [partial(hashes_of, crate, names[start::count]) for start in range(count)]
    found = {path: each for answer in at_once(works) for path, each in answer().items()}
    return {path: found[path] for path in names}


def hashes_of(crate: Crate, names: Sequence[str]) -> dict[str, str | None]:
    """The same of some files."""
    return {path: crate.sha256(path) for path in names}


def crate_parts(checked: CheckedCrate) -> Iterator[Part]:
    """The crate as a whole: its metadata, its sums, and the files that these name."""
    crate = checked.crate
    yield from (
        Part(f"file {path}", "changed", "is no regular file") for path, each in crate.files.items() if each.kind != "f"
    )
    if checked.metadata is None:
        is_there = METADATA in crate.files  # the sums name it where it was; a folder that `sign` wrote has none
        yield Part("metadata", "changed" if is_there else "not verifiable", checked.why)
    else:
        yield from metadata_parts(checked.metadata, is_own=bool(crate.records))
        yield from file_parts(checked.metadata, checked.sizes, checked.now)
    content = checked.text(SUMS)
    if content is None:
        why = f"{SUMS} is not in the crate: that its files are whole is not shown"
        yield Part(SUMS, "missing" if crate.records else "not verifiable", why)
        return
    try:
        said = read_sums(content)
        if crate.records and [*said] != sorted(said):
            raise ValueError("its lines are not in the order in which tfslurm writes them")
    except ValueError as error:
        yield Part(SUMS, "changed", str(error))
        return
    now = {path: each for path, each in checked.now.items() if path in said or path != ADDED}
    yield from sums_parts(SUMS, said, now)


def record_parts(checked: CheckedCrate, evidence: Evidence) -> Iterator[Part]:
    """One record of a crate, and the files of its job that are in it."""
    record, crate = evidence.record, checked.crate
    yield from inner_parts(record, evidence.values)
    base = base_of(evidence, crate)
    is_alone = RECORD in crate.files and not base
    canon = checked.text(CANONICAL if is_alone else f"{base}{CANONICALS}{record.job.job_id}.json")
    texts = {name: checked.text(base + name) for name in (SPEC, LOCK)}
    yield from text_parts(record, evidence.values, canon, texts)
    if checked.metadata is not None:
        yield agreement(record, checked.metadata)
    text = checked.text(base + paths.PLAN)
    try:
        plan: Any = read_json(text) if text else None
    except ValueError:
        plan = {}
    yield plan_part(record, plan) if text else absent(checked, base + paths.PLAN, "plan", record.plan_sha256)
    script, said = checked.now.get(base + paths.JOB_SCRIPT), record.job.script_sha256
    if script:
        yield compared("script", said, script, paths.JOB_SCRIPT)
    else:
        yield absent(checked, base + paths.JOB_SCRIPT, "script", said)
    yield from outputs(checked, record, base)
    yield from logs(checked, record, base)
    for each in record.inputs or ():
        yield Part(f"input {each.name or each.path}", "not verifiable", "what was mounted is not in a crate")
    yield code(checked, record)
    yield facts(checked, evidence, base, text)


def changed_texts(evidence: Evidence) -> list[str]:
    """The files in a crate that repeat what its record has, and say otherwise, each with the reason; [] without one.

    Whoever edits them there may believe that a rerun takes them.
    """
    crate = evidence.crate
    if crate is None:
        return []
    base = base_of(evidence, crate)
    texts = {name: crate.content(base + name, MOST_TEXT) for name in (SPEC, LOCK) if base + name in crate.files}
    parts = text_parts(evidence.record, evidence.values, None, texts)
    return [f"{crate.name}: {part.reason}" for part in parts if part.is_bad]


def run_parts(checked: CheckedCrate, evidences: Mapping[str, Evidence]) -> Iterator[Part]:
    """The runs that the metadata tell of, beside the records in the crate, by their paths there."""
    from tfslurm.export.crate.statements import statement_parts  # brings the writer of crates along

    if checked.metadata is None or not evidences:
        return
    yield from strange_runs(checked.metadata, [each.record for each in evidences.values()])
    runs = [Run(each.record, base_of(each, checked.crate), path) for path, each in evidences.items()]
    listed = (CrateFile(path, size, checked.now.get(path) or "") for path, size in checked.sizes.items())
    files = (each for each in listed if each.path not in (METADATA, SUMS))
    yield from statement_parts(checked.metadata, runs, files)


def base_of(evidence: Evidence, crate: Crate) -> str:
    """The beginning of the paths of a record's run folder in the crate: '' or ends with a slash."""
    inside = (evidence.folder or PurePosixPath()).relative_to(crate.folder.absolute())
    return f"{inside}/" if inside.parts else ""


def absent(checked: CheckedCrate, path: str, name: str, said: str | None) -> Part:
    """A file that a job has and the crate does not. Where its record has its hash, it is missing.

    Whoever takes a file out of a crate can also write there that it was never in it.
    """
    if checked.is_record_alone:
        return Part(name, "not verifiable", "here is the record alone, without the files of its job")
    why = (checked.metadata.absent if checked.metadata else {}).get(path, "")
    reason = f"{path} is not in this crate"
    if not said:
        return Part(name, "not verifiable", f"{reason}, and the record does not have its hash")
    if not why:
        return Part(name, "missing", f"{reason}, and the record names it")
    if checked.partial:
        return Part(name, "not verifiable", f"{reason}: {why}; so says the crate, which is believed (--partial)")
    return Part(name, "missing", f"{reason}, and the record names it; the crate says: {why}")


def outputs(checked: CheckedCrate, record: Record, base: str) -> Iterator[Part]:
    """The outputs."""
    folder = f"{base}{record.job.job_id}/{paths.OUTPUTS}/"
    now = {each.path: checked.now.get(folder + each.path) for each in record.experiment.outputs or ()}
    for part in output_parts(record, now):
        yield judged(checked, record, part, folder + part.name.removeprefix("output "))
    if record.experiment.outputs is not None:
        there = (path.removeprefix(folder) for path in checked.crate.files if path.startswith(folder))
        why = "the record does not name it: it was put there after the job had ended"
        yield from few([Part(f"output {path}", "changed", why) for path in there if path not in now])


def judged(checked: CheckedCrate, record: Record, part: Part, path: str) -> Part:
    """A part of a file that is not in the crate, or in whose text names were replaced; else as it was."""
    if part.status == "missing":
        return absent(checked, path, part.name, "its hash")
    files = checked.metadata.files if checked.metadata else ()
    said = next((each.sha256 for each in files if each.path == path), None)
    if part.status == "changed" and is_anonymous(record) and said == checked.now.get(path):
        why = "names in it were replaced in the anonymous form; it has the sha256 that the metadata says"
        return Part(part.name, "not verifiable", why)
    return part


def logs(checked: CheckedCrate, record: Record, base: str) -> Iterator[Part]:
    """The logs: of one to which something was appended before the crate was made, as many bytes as were hashed."""
    folder = f"{base}{record.job.job_id}/"
    now: dict[str, Beginning | None] = {}
    for path, log in ((log_path(attempt, log), log) for attempt in record.attempts for log in attempt.logs or ()):
        size, whole = checked.sizes.get(folder + path), checked.now.get(folder + path)
        if size is not None and whole is not None and log.bytes is not None and size > log.bytes:
            whole = checked.crate.sha256(folder + path, log.bytes)
        now[path] = Beginning(whole, size) if whole is not None and size is not None else None
    for part in log_parts(record, now):
        yield judged(checked, record, part, folder + part.name.removeprefix("log "))


def code(checked: CheckedCrate, record: Record) -> Part:
    """The code: the id that Git gives to the files that are there must be that of the record."""
    if record.code is None:
        return Part("code", "unchanged", "none was sent with the job")
    tree = record.code.tree
    prefix = f"{CODE}{tree}/"
    names = [path for path in checked.crate.files if path.startswith(prefix)]
    if not names:
        return absent(checked, prefix, "code", tree)
    folder = Path(os.path.realpath(checked.crate.folder / prefix))
    algorithm = "sha1" if len(tree) == 40 else "sha256"
    try:
        entries = [entry_of(folder, name := path.removeprefix(prefix), (folder / name).lstat()) for path in names]
        if algorithm != "sha1":
            entries = [each._replace(blob=blob_id(folder, each, algorithm)) for each in entries]
        now = tree_id(entries, algorithm)
    except (TfslurmError, OSError) as error:
        return Part("code", "not verifiable", str(error).splitlines()[0])
    if now != tree and is_anonymous(record):
        return Part(
            "code", "not verifiable", "names in its files were replaced, or files left out, in the anonymous form"
        )
    if now != tree:
        held = {each.name: CodeFile(each.sha256, is_executable=each.mode == EXECUTABLE) for each in entries}
        differ = changed_files(tree, held, None, Path()) or ", ".join(other_sums(checked, prefix))
        which = f"{differ} changed, came or went: " if differ else ""
        return Part("code", "changed", f"{which}Git gives its files the tree {now}, and the record says {tree}")
    return Part("code", "unchanged", f"Git gives its files the tree {tree}")


def other_sums(checked: CheckedCrate, prefix: str) -> list[str]:
    """The first files below a folder whose sums are not those of the crate."""
    try:
        said = read_sums(checked.text(SUMS) or b"")
    except ValueError:
        return []
    names = sorted(path for path in {*said, *checked.now} if path.startswith(prefix))
    return [path.removeprefix(prefix) for path in names if said.get(path) != checked.now.get(path)][:SHOWN]


def facts(checked: CheckedCrate, evidence: Evidence, base: str, plan_text: bytes | None) -> Part:
    """The observations that the record was built from: they must give the same record again."""
    record = evidence.record
    files = facts_of(checked, f"{base}{record.job.job_id}/")
    if not files:
        is_left_out = is_anonymous(record) or checked.is_record_alone or not record.attempts
        return Part("facts", "not verifiable" if is_left_out else "missing", "what was observed is not in the crate")
    try:
        if plan_text is None:
            raise RecordError("the plan is not in the crate, without which no record can be built")
        plan = from_json(read_json(plan_text))
        point = point_of(checked, plan, record, base)
        built = [build_record(plan, record.job.job_id, files, each, point=point) for each in (status_of(record), None)]
    except (RecordError, ValueError, KeyError, TypeError) as error:
        return Part("facts", "not verifiable", str(error).splitlines()[0])
    differ = [differences(evidence.values, record_json(each)) for each in built]
    if not all(differ):
        return Part("facts", "unchanged", "what was observed gives the same record; the image was not looked into")
    fewest: list[str] = min(differ, key=len)
    return Part("facts", "changed", f"the observed facts give another record: {', '.join(fewest)}")


def differences(said: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The parts in which two records differ, but for what was found in the image, which is not in a crate."""
    return [key for key in said if key not in ("integrity", "environment") and not same(said, now, key)]


def same(said: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    """Whether a part of two records is the same; why a fact of the image is not known is not compared."""
    if key != "unknown":
        return bool(said[key] == now.get(key))
    texts = [
        {path: why for path, why in each.items() if not path.startswith("environment")}
        for each in (said[key], now[key])
    ]
    return texts[0] == texts[1]


def facts_of(checked: CheckedCrate, prefix: str) -> dict[str, bytes]:
    """The observations of a job, relative path -> content; what is too large is left out."""
    found: dict[str, bytes] = {}
    left = MOST_FACTS
    for path, each in sorted(checked.crate.files.items(), key=lambda item: item[1].bytes):
        name = path.removeprefix(prefix)
        needed = path.startswith(prefix) and not any(
            fnmatchcase(name, form) for rule in NOT_NEEDED for form in (rule, f"{rule}/*")
        )
        if needed and each.bytes <= min(MOST_FACT, left) and (content := checked.text(path, MOST_FACT)) is not None:
            found[name] = content
            left -= len(content)
    return found


def point_of(checked: CheckedCrate, plan: JobPlan, record: Record, base: str) -> Mapping[str, Any] | None:
    """The point that the job ran; None where its plan has no points.

    Raises:
        RecordError: the crate does not have the plan's points, or the job is none of them.
    """
    if not plan.points:
        return None
    entries = read_points(plan, checked.text(base + paths.POINTS, 2**27) or b"")
    place = place_in_array(record.job.job_id)
    if place is None or place >= len(entries):
        raise RecordError(f"{record.job.job_id} is none of the plan's points")
    return point_values(entries[place])


def status_of(record: Record) -> JobStatus | None:
    """Slurm's word on a job as its record kept it; None where it kept none."""
    job = record.job
    if job.state is None:
        return None
    same: dict[str, Any] = {key: getattr(job, key) for key in JobStatus._fields if hasattr(job, key)}
    return JobStatus(**{**same, "partition": job.partition or "", "reason": "", "comment": ""})
