"""The files of runs, brought into a crate's folder: listed first, so that their size is known, then sent and verified.

An output counts when it has the sha256 of the record, any other file when it has the one that it had when it was
listed. What is missing, differs or cannot be kept is named.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath

from tfslurm.errors import CommandFailed, HostError
from tfslurm.export.crate.contents import CODE, NOT_WANTED, CrateFile, LeftOut, Run
from tfslurm.host import Host
from tfslurm.host.fetching import Entry, Outputs, look_at
from tfslurm.host.files import tree_contents
from tfslurm.record.model import Log, plain
from tfslurm.record.schema import SCHEMA
from tfslurm.retrieval.crate.places import Placed
from tfslurm.retrieval.destination import Destination, part_of
from tfslurm.retrieval.fetch import Fetch, Progress, patiently
from tfslurm.retrieval.selection import Outcome, Selection
from tfslurm.run_folder import paths

FILES = (paths.JOB_SCRIPT, paths.PLAN, paths.POINTS)
GOOD = ("fetched", "present")
CHANGED = "it is not what the record says: its sha256 differs"
MOVED = "it changed while it was copied"
GONE = "it is not in the run folder any more"
NO_LINK = "a link is not kept in a crate"
NO_FILE = "it is no file"


@dataclass
class Source:
    """One folder on a machine whose files go below one folder of the crate."""

    host: Host
    folder: PurePosixPath
    base: str  # in the crate, '' or with a slash at its end
    entries: list[Entry] = field(default_factory=list)
    sums: dict[str, str] = field(default_factory=dict)  # path -> sha256 that it must have
    by_record: set[str] = field(default_factory=set)  # the paths whose sum is the record's
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """How much is to be sent."""
        return sum(entry.bytes for entry in self.entries)

    def leave_out(self, path: str, why: str) -> None:
        """Name a file that is not kept."""
        self.left_out.append(LeftOut(self.base + path, why, self.sums[path] if path in self.by_record else ""))

    def bring(self, crate: Path, progress: Progress) -> Iterator[CrateFile]:
        """Send the files; those that did not arrive as they must be are left out."""
        with Destination(crate / self.base, make=True, keeps=False) as destination:
            transfer = Fetch(self.host, self.folder, destination, Selection(overwrite=True), progress)
            transfer.run(Outputs(tuple(self.entries), self.sums, ()))
        for outcome in transfer.outcomes:
            if outcome.status in GOOD:
                yield CrateFile(self.base + outcome.path, outcome.bytes, outcome.sha256)
            else:
                self.leave_out(outcome.path, self.reason(outcome))

    def reason(self, outcome: Outcome) -> str:
        """Why a file did not arrive."""
        if outcome.status != "mismatch":
            return outcome.why
        return CHANGED if outcome.path in self.by_record else MOVED


def sources(placed: Sequence[Placed], progress: Progress, *, with_outputs: bool) -> tuple[list[Source], list[LeftOut]]:
    """The folders with what is to be brought of each, and what can be had of none.

    Raises:
        HostError: a machine does not answer.
        CommandFailed: it refuses.
    """
    found: list[Source] = []
    lost: list[LeftOut] = []
    for _, group in groupby(sorted(placed, key=lambda each: each.run.base), key=lambda each: each.run.base):
        these = [*group]
        evidence = these[0].evidence
        if evidence.host is None or evidence.folder is None:
            for each in these:
                lost += [*outputs_of(each.run, evidence.why)]
                lost.append(LeftOut(each.run.folder, f"the job's files cannot be read: {evidence.why}"))
            continue
        source = Source(evidence.host, evidence.folder, these[0].run.base)
        list_runs(source, [each.run for each in these], progress, with_outputs=with_outputs)
        found.append(source)
    codes = {each.evidence.code: each.evidence for each in placed if each.evidence.code and each.evidence.host}
    for folder, evidence in codes.items():
        if folder and evidence.host:
            source = Source(evidence.host, folder.parent, CODE)
            list_code(source, folder.name, progress)
            found.append(source)
    return found, lost


def outputs_of(run: Run, why: str) -> Iterator[LeftOut]:
    """The outputs that a record names, none of which can be had."""
    yield from (LeftOut(run.outputs + each.path, why, each.sha256) for each in run.record.experiment.outputs or ())


def list_runs(source: Source, runs: Sequence[Run], progress: Progress, *, with_outputs: bool) -> None:
    """Look at a run folder, and hold what is there against the records."""
    folders = [run.record.job.job_id for run in runs]
    there = patiently(partial(look_at, source.host, source.folder, FILES, folders), progress)
    source.sums.update(there.recorded)
    recorded = dict(sums_of(runs))
    named = {plainly(entry.path): entry for entry in there.entries}
    for path, sha256 in recorded.items():
        entry = named.get(path)
        key = entry.path if entry else path
        source.sums[key] = sha256
        source.by_record.add(key)
        if not entry:
            source.leave_out(path, GONE)
    outputs = tuple(f"{job_id}/{paths.OUTPUTS}/" for job_id in folders)
    hashed = {path: log.bytes for run in runs for path, log in logs_of(run)}
    for entry in there.entries:
        most = hashed.get(entry.path)
        if not with_outputs and entry.path.startswith(outputs):
            source.leave_out(entry.path, NOT_WANTED)
        else:  # of a log, what was hashed: somebody may have appended to it
            take(source, entry if most is None else replace(entry, bytes=min(entry.bytes, most)))


def sums_of(runs: Iterable[Run]) -> Iterator[tuple[str, str]]:
    """Path -> sha256 of the files that the records name; below the run folder, as text."""
    for run in runs:
        job_id = run.record.job.job_id
        for each in run.record.experiment.outputs or ():
            yield f"{job_id}/{paths.OUTPUTS}/{each.path}", each.sha256
        for path, log in logs_of(run):
            if log.sha256:
                yield path, log.sha256


def logs_of(run: Run) -> Iterator[tuple[str, Log]]:
    """The logs of a job by their paths below the run folder."""
    for attempt in run.record.attempts:
        folder = f"{run.record.job.job_id}/{paths.attempt(attempt.index)}"
        yield from ((f"{folder}/{log.name}", log) for log in attempt.logs or ())


def take(source: Source, entry: Entry) -> None:
    """Have a file brought; what is none is named."""
    if entry.kind == "f" and is_text(entry.path):
        source.entries.append(entry)
    elif entry.kind == "f":
        source.leave_out(entry.path, "its name is not UTF-8, which neither a crate's metadata nor a zip can hold")
    elif entry.kind == "l":
        source.leave_out(entry.path, f"{NO_LINK}; it led to {entry.target}")
    else:
        source.leave_out(entry.path, NO_FILE)


def list_code(source: Source, tree: str, progress: Progress) -> None:
    """Look at a tree of code; each file must have the sum that it has in the list by which the tree is verified."""
    there = patiently(partial(look_at, source.host, source.folder, (), [tree]), progress)
    if not there.entries:
        source.left_out.append(LeftOut(f"{CODE}{tree}/", "the code is not on the cluster any more"))
        return
    try:
        listed = patiently(partial(tree_contents, source.host, source.folder / tree), progress)
    except (CommandFailed, HostError) as error:
        source.left_out.append(LeftOut(f"{CODE}{tree}/", f"the code cannot be read: {str(error).splitlines()[0]}"))
        return
    for row in listed.decode("utf-8", "surrogateescape").split("\0"):
        sha256, _, name = row.partition("  ./")
        if len(sha256) == 64:
            source.sums[f"{tree}/{name}"] = sha256
    for entry in there.entries:
        take(source, entry)


def plainly(path: str) -> str:
    """A path as a record has it."""
    text: str = plain(path, SCHEMA)
    return text


def is_text(path: str) -> bool:
    """Whether a name is UTF-8."""
    return path.encode("utf-8", "replace").decode("utf-8") == path


def write(destination: Destination, path: str, data: bytes, mode: int = 0o644) -> None:
    """A file of a crate, whole."""
    name = os.fsencode(path)
    destination.write(part_of(name), 0, data, mode & 0o777)
    destination.land(part_of(name), name, time.time_ns(), replace=True)
