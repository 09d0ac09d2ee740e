"""A crate of runs: made in a folder beside the one that was asked for, which appears when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.document.moments import datetime_of
from tfslurm.document.sizes import size_text
from tfslurm.document.visible import visible_json
from tfslurm.errors import refuse
from tfslurm.export.citation.settings import Authorship
from tfslurm.export.crate import contents
from tfslurm.export.crate.checksums import sums
from tfslurm.export.crate.contents import Crate, CrateFile, LeftOut, Run
from tfslurm.export.crate.graph import metadata
from tfslurm.export.crate.reproducing import reproducing
from tfslurm.export.crate.software import requirements_of
from tfslurm.local_files import refuse_links
from tfslurm.record import record_json
from tfslurm.record.chain import bytes_with
from tfslurm.record.model import record_bytes
from tfslurm.retrieval.crate.finishing import finish, is_archive, room
from tfslurm.retrieval.crate.gather import sources, write
from tfslurm.retrieval.crate.places import Placed, places
from tfslurm.retrieval.crate.scans import scans_of
from tfslurm.retrieval.destination import Destination
from tfslurm.retrieval.evidence import Evidence, refuse_changed
from tfslurm.retrieval.fetch import Progress
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.retrieval.crate.nameless import Nameless

SPARE = 2**24
"Bytes that stay free beside a crate."


class Wanted(NamedTuple):
    """The crate that a user wants; its name ends in `.zip` for an archive."""

    output: Path
    by: Authorship
    version: str = contents.VERSIONS[0]
    anonymous: bool = False
    with_outputs: bool = True
    with_image: bool = False

    @property
    def is_archive(self) -> bool:
        """Whether it is one file."""
        return is_archive(self.output)


class Gathered(NamedTuple):
    """The files that are in the crate's folder, and what was left out."""

    runs: Sequence[Run]
    values: Sequence[Mapping[str, Any]]  # of their records
    files: list[CrateFile]
    left_out: list[LeftOut]
    nameless: Nameless | None = None


def write_crate(
    session: Session,
    evidences: Sequence[Evidence],
    wanted: Wanted,
    progress: Callable[[], AbstractContextManager[Progress]],
    *,
    notes: Sequence[str] = (),
    texts: Mapping[str, bytes] | None = None,
    images: Callable[[Path], Iterator[Path]] = lambda folder: iter(()),
) -> Crate:
    """Write a crate of these records with the files that they name; what it says of itself is returned.

    ``texts`` are further files for it; ``images`` writes the archives of images into a folder. Nothing appears under
    the wanted name before all is there; an interrupted call is continued by the same one.

    Raises:
        InputError: the name is taken, or this machine refuses to write.
        RecordError: a record was changed, or none of the jobs began.
        HostError: a cluster does not answer.
    """
    refuse_taken(wanted.output)
    refuse_changed(evidences)
    placed = places(evidences)
    work = work_folder(evidences, wanted)
    refuse_links(work)
    with progress() as shown:
        gathered = gather(session, placed, wanted, work, shown)
    gathered.files.extend(map(file_in, images(work / "crate")))
    scans, lost = ({}, []) if wanted.anonymous else scans_of(gathered.runs)
    gathered.left_out.extend(lost)
    crate = Crate(
        title_of(gathered.runs, wanted.by.title),
        tuple(gathered.runs),
        (),
        tuple(sorted(gathered.left_out)),
        wanted.by,
        wanted.version,
        wanted.anonymous,
        (*notes, *unfinished(gathered.runs)),
        tuple(sorted(gathered.nameless.rewritten)) if gathered.nameless else (),
    )
    crate = complete(crate, gathered, work / "crate", {} if wanted.anonymous else {**(texts or {}), **scans})
    finish(work, wanted.output, [*crate.by_path, contents.METADATA, contents.SUMS], moment_of(crate.runs))
    return crate


def file_in(path: Path) -> CrateFile:
    """A large file that was written into the crate's folder."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return CrateFile(path.name, path.stat().st_size, digest.hexdigest())


def refuse_taken(output: Path) -> None:
    """Refuse a name that is in use.

    Raises:
        InputError: it is, or a link is on the way.
    """
    refuse_links(output)
    if not output.parent.is_dir():
        raise refuse(str(output.parent), "is no folder", "make it, or name another place")
    if os.path.lexists(output):
        raise refuse(str(output), "is there already, and a crate is written into nothing that is there", "name another")


def work_folder(evidences: Sequence[Evidence], wanted: Wanted) -> Path:
    """The folder in which a crate is made; the same for the same crate, so that what has arrived is not sent again."""
    what = [each.record.integrity.record_sha256 for each in evidences]
    key = json.dumps(
        [what, wanted.output.name, wanted.version, wanted.anonymous, wanted.with_outputs, wanted.with_image]
    )
    return wanted.output.parent / f".tfslurm-crate-{sha256(key.encode()).hexdigest()[:16]}"


def gather(session: Session, placed: Sequence[Placed], wanted: Wanted, work: Path, progress: Progress) -> Gathered:
    """Bring the files of the runs into the crate's folder."""
    found, left_out = sources(placed, progress, with_outputs=wanted.with_outputs)
    announce(session, sum(len(each.entries) for each in found), sum(each.bytes for each in found), wanted)
    fetched = work / ("fetched" if wanted.anonymous else "crate")
    with Destination(fetched, make=True):
        pass
    files = [file for source in found for file in source.bring(fetched, progress)]
    left_out += [each for source in found for each in source.left_out]
    runs = [each.run for each in placed]
    if not wanted.anonymous:
        return Gathered(runs, [each.evidence.values for each in placed], files, left_out)
    from tfslurm.retrieval.anonymity import tell_unclear
    from tfslurm.retrieval.crate.nameless import Nameless  # costly, and seldom asked for

    hidden = Nameless(session, runs, files, fetched)
    tell_unclear(session, hidden.table)
    kept, more = hidden.bring(files, work / "crate")
    values = [record_json(run.record) for run in hidden.runs]
    return Gathered(hidden.runs, values, kept, [*hidden.renamed(left_out), *more], hidden)


def announce(session: Session, count: int, size: int, wanted: Wanted) -> None:
    """Say what is to be brought before it is, and refuse it where it has no room.

    Raises:
        InputError: there is no room for it.
    """
    less = "; --without-outputs leaves out what the program left" if wanted.with_outputs and size > 2**30 else ""
    session.say(f"{wanted.output}: {count} files, {size_text(size)}{less}")
    free = room(wanted.output.parent)
    needed = size * (1 + wanted.is_archive + wanted.anonymous) + SPARE
    if needed > free:
        fix = "name a place with more room, or add --without-outputs"
        raise refuse(str(wanted.output), f"needs {size_text(needed)} and {size_text(free)} are free", fix)


def title_of(runs: Sequence[Run], title: str) -> str:
    """The title that was given, or the experiment's name; the job's after it."""
    first = runs[0].record
    what = title or first.experiment.name
    return f"{what}: job {runs[0].key}" if len(runs) == 1 else f"{what}: {len(runs)} jobs"


def unfinished(runs: Sequence[Run]) -> Iterator[str]:
    """Notes on jobs of which a reader could expect more."""
    for run in runs:
        if not run.record.attempts:
            yield f"The job {run.key} never began, so nothing is claimed of it."
        elif not run.record.attempts[-1].ended_at:
            yield f"The job {run.key} had not ended when this was made."


def complete(crate: Crate, gathered: Gathered, folder: Path, texts: Mapping[str, bytes]) -> Crate:
    """Write what is tfslurm's own into the crate's folder: records, experiment, and at last what describes them all."""
    own = {**texts, **records(gathered)}
    with Destination(folder, make=True, keeps=False) as destination:
        for path, data in own.items():
            write(destination, path, data)
        made = [CrateFile(path, len(data), sha256(data).hexdigest()) for path, data in own.items()]
        crate = crate.with_files([*gathered.files, *made])
        told = reproducing(crate).encode()
        guide = CrateFile(contents.REPRODUCING, len(told), sha256(told).hexdigest())
        crate = crate.with_files([*crate.files, guide])
        described = metadata(crate).encode()
        listed = [*crate.files, CrateFile(contents.METADATA, len(described), sha256(described).hexdigest())]
        last = {contents.REPRODUCING: told, contents.METADATA: described, contents.SUMS: sums(listed)}
        if gathered.nameless:
            gathered.nameless.refuse_names({**own, **last})
        for path, data in last.items():
            write(destination, path, data)
    return crate


def records(gathered: Gathered) -> dict[str, bytes]:
    """The records with their canonical bytes and signatures, and the experiment of each run folder."""
    found: dict[str, bytes] = {}
    for run, values in zip(gathered.runs, gathered.values, strict=True):
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
        found[run.file] = f"{visible_json(text)}\n".encode()
        found[canonical_name(run)] = bytes_with(values, run.record.integrity.record_sha256) or record_bytes(values)
        signature = run.record.integrity.signature
        if signature:
            found[f"{run.file}.sig"] = signature.value.encode()
        asked = run.record.asked
        if asked:
            found |= {run.base + contents.LOCK: asked.lock.encode("utf-8", "surrogateescape")}
            if listed := requirements_of(run.record):
                found |= {run.base + contents.PACKAGES: listed.encode()}
        if asked and asked.spec is not None:
            found |= {run.base + contents.SPEC: asked.spec.encode("utf-8", "surrogateescape")}
    return found


def canonical_name(run: Run) -> str:
    """The file with a record's canonical bytes."""
    if run.file == contents.RECORD:
        return contents.CANONICAL
    return f"{run.base}{contents.CANONICALS}{run.record.job.job_id}.json"


def moment_of(runs: Sequence[Run]) -> datetime:
    """The end of the last run; the time that an archive gives its files."""
    ends = [run.record.job.ended_at or run.record.job.started_at or run.record.image.pinned_at for run in runs]
    known = sorted(each for each in ends if each)
    with suppress(ValueError):
        return datetime_of(known[-1] if known else "")
    return datetime(1980, 1, 1)
