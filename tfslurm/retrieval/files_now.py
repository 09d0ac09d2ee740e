"""The files that records name, as they are now on one machine: asked for together, in few questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.document.sizes import size_text
from tfslurm.errors import CommandFailed, HostError
from tfslurm.host import Host
from tfslurm.host.fetching import hashed
from tfslurm.host.files import fitting, input_contents, patience_s, read_all, tree_contents
from tfslurm.job_plan.folders import job_folder
from tfslurm.record.model import Record
from tfslurm.record.verification import Beginning, log_path
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.layers import layer_lists
from tfslurm.run_folder import paths
from tfslurm.workspace.session import Session

MOST_BYTES = 2**24
"Of a plan, or a script."
SCRIPT_BYTES = 2**16
MOST_PLANS = 200
AT_ONCE = 4 * 2**30
"Bytes that are hashed before something is said of them."
TOLD = 2**30
"The least that a folder had of which it is said that it is read."
SHA256 = re.compile(r"[0-9a-f]{64}")
ROOT = PurePosixPath("/")
Asked = tuple[PurePosixPath, int]
"A file, and how many bytes from its beginning are hashed."


@dataclass
class FilesNow:
    """What one machine has. A path that is not in ``files`` is not there, or cannot be read."""

    plans: Mapping[PurePosixPath, Any]  # run folder -> plan.json as JSON values; {} where it is no JSON
    files: Mapping[Asked, Beginning]
    lists: dict[PurePosixPath, bytes | HostError | CommandFailed] = field(default_factory=dict)  # of folders; b"": none
    kept: dict[str, bytes] = field(default_factory=dict)  # tree, or tree_sha256 -> the list of its files as it was


def files_now(session: Session, host: Host, evidences: Sequence[Evidence]) -> FilesNow:
    """Everything that the records name on this machine.

    Raises:
        HostError: it does not answer.
    """
    folders = list(dict.fromkeys(each.folder for each in evidences if each.folder))
    plans: dict[PurePosixPath, Any] = {}
    for start in range(0, len(folders), MOST_PLANS):
        some = [folder / paths.PLAN for folder in folders[start : start + MOST_PLANS]]
        plans |= {path.parent: json_or_nothing(text) for path, text in read_all(host, some).items()}
    asked = list(dict.fromkeys(one for each in evidences for one in named_files(each)))
    found = FilesNow(plans, dict(hashes(session, host, asked)))
    for code in dict.fromkeys(each.code for each in evidences if each.code):
        try:
            found.lists[code] = tree_contents(host, code)
        except CommandFailed as error:
            found.lists[code] = error
    look_into_code(host, found)
    found.lists.update(layer_lists(host, evidences))
    look_into_inputs(session, host, evidences, found)
    return found


def look_into_code(host: Host, found: FilesNow) -> None:
    """Read the lists of the trees of code that are not as their plans say, as they were when they arrived."""
    said = {code.get("contents_sha256") for plan in found.plans.values() if (code := code_in(plan))}
    others = {
        code.name: paths.code_list(code)
        for code, listed in found.lists.items()
        if isinstance(listed, bytes) and listed and sha256(listed).hexdigest() not in said
    }
    there = read_all(host, [*others.values()])
    found.kept |= {tree: there[path] for tree, path in others.items() if path in there}


def code_in(plan: Any) -> dict[str, Any]:
    """What the values of a plan say of the code; {}: nothing that can be read."""
    code = plan.get("code") if isinstance(plan, dict) else None
    return code if isinstance(code, dict) else {}


def look_into_inputs(session: Session, host: Host, evidences: Sequence[Evidence], found: FilesNow) -> None:
    """Read what was mounted, each folder and file once; what takes too long is no reason to say nothing of the rest."""
    trees = {
        PurePosixPath(each.path): each
        for evidence in evidences
        for each in evidence.record.inputs or ()
        if (each.sha256 or each.tree_sha256) and each.bytes is not None and is_whole(each.path)
    }
    for path, each in trees.items():
        size = each.bytes or 0
        if size > TOLD:
            session.say(f"{host.name}: hashing {path}, which had {size_text(size)}")
        try:
            found.lists[path] = input_contents(host, path, timeout_s=int(patience_s(size // 10)))
        except (HostError, CommandFailed) as error:
            found.lists[path] = error
    roots = {evidence.folder.parent.parent for evidence in evidences if evidence.folder}
    sums = {sha256(listed).hexdigest() for listed in found.lists.values() if isinstance(listed, bytes)}
    changed = {str(each.tree_sha256) for each in trees.values()} - sums
    files = [paths.input_list(root, tree) for root in roots for tree in changed if SHA256.fullmatch(tree)]
    found.kept |= {file.name: content for file, content in read_all(host, files).items()}


def json_or_nothing(text: bytes) -> Any:
    """JSON values; {} where it is none."""
    try:
        return read_json(text[:MOST_BYTES])
    except ValueError:
        return {}


def named_files(evidence: Evidence) -> Iterator[Asked]:
    """The script, the outputs, the logs. One byte more than a file had is another file."""
    record, folder = evidence.record, evidence.folder
    if folder is None:
        return
    yield script_of(folder)
    job = job_folder(folder, record.job.job_id)
    for output in outputs_of(record):
        yield job / paths.OUTPUTS / output[0], output[1] + 1
    yield from logs_of(record, job).values()


def script_of(folder: PurePosixPath) -> Asked:
    """The script in a run folder."""
    return folder / paths.JOB_SCRIPT, MOST_BYTES


def outputs_of(record: Record) -> Iterator[tuple[str, int]]:
    """The outputs whose size is known."""
    for each in record.experiment.outputs or ():
        if each.bytes is not None and is_below(each.path):
            yield each.path, each.bytes


def logs_of(record: Record, job: PurePosixPath) -> dict[str, Asked]:
    """The logs that were hashed, by their path in the job's folder."""
    return {
        path: (job / path, log.bytes)
        for attempt in record.attempts
        for log in attempt.logs or ()
        if log.bytes is not None and is_below(path := log_path(attempt, log))
    }


def is_below(path: str) -> bool:
    """Whether a path of a record, which anybody can write, stays in the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def is_whole(path: str) -> bool:
    """Whether a path of a record is one on a cluster."""
    return path.startswith("/") and ".." not in PurePosixPath(path).parts and "\0" not in path


def hashes(session: Session, host: Host, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Beginning]]:
    """The hashes of the files that are there; large ones in several steps, with a word before each.

    Raises:
        HostError: the machine does not answer.
    """
    total, done, left = sum(map(weight, asked)), 0, list(asked)
    while left:
        some = left[: fitting(map(weight, left), AT_ONCE)]
        size = sum(map(weight, some))
        if total > AT_ONCE:
            session.say(
                f"{host.name}: hashing {len(some)} files, {size_text(done)} of at most {size_text(total)} are done"
            )
        beginnings = [(str(path.relative_to(ROOT)), count) for path, count in some]
        for each, found in zip(some, hashed(host, ROOT, beginnings), strict=True):
            if found:
                yield each, Beginning(*found)
        left, done = left[len(some) :], done + size


def weight(asked: Asked) -> int:
    """About the bytes that will be read; of a script a record does not say how many it has."""
    return SCRIPT_BYTES if asked[0].name == paths.JOB_SCRIPT else asked[1]


def changed_in(then: bytes, now: bytes) -> list[str]:
    """The names in which two lists of a folder's files differ: ``<sha256 or size>  ./name`` entries between NULs."""
    before, after = (set(text.split(b"\0")) for text in (then, now))
    entries = (each.decode("utf-8", "backslashreplace") for each in before ^ after if each)
    return sorted({entry.partition(" ")[2].strip().partition(" -> ")[0].removeprefix("./") for entry in entries})
