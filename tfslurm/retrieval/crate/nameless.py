"""A second folder for a crate, without what says who ran it: texts are rewritten, and what cannot be is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from tfslurm.errors import RecordError
from tfslurm.export.anonymous import anonymous
from tfslurm.export.anonymous.names import READERS
from tfslurm.export.crate.contents import RECORD, RECORDS, RUNS, CrateFile, LeftOut, Run
from tfslurm.retrieval.anonymity import table_for
from tfslurm.retrieval.crate.finishing import move
from tfslurm.retrieval.crate.gather import write
from tfslurm.retrieval.destination import Destination
from tfslurm.run_folder import paths
from tfslurm.workspace.session import Session

MOST = 2**28
"Bytes of a file that is read at once; a larger one is looked at in pieces, and not rewritten."
OVERLAP = 2**13
"Bytes that two pieces have in common: more than any name has."
MOST_READ = 2**24
"Bytes of a file in which names are looked for."
OBSERVED = "the observations on the node say who ran it and where; the record has what they found"
PLANNED = "it says who ran it and where; the record has what it asked for"
HOLDS = "it holds what says who ran it, and cannot be rewritten"


class Nameless:
    """The runs without names, and their files in a second folder.

    ``rewritten`` are the files that are not as they were.
    """

    def __init__(self, session: Session, runs: Sequence[Run], files: Sequence[CrateFile], fetched: Path) -> None:
        self.fetched = fetched
        sources = {each.path: (fetched / each.path).read_bytes() for each in files if names_who(each)}
        self.table = table_for(session, [run.record for run in runs], sources)
        bases = list(dict.fromkeys(run.base for run in runs))
        self.bases = {base: f"{RUNS}{number}/" if base else "" for number, base in enumerate(bases, 1)}
        self.before = {run.folder: run for run in runs}
        self.after = {run.folder: self.nameless_run(run, len(runs) == 1) for run in runs}
        self.rewritten: list[str] = []

    @property
    def runs(self) -> list[Run]:
        """The runs as the crate has them."""
        return [*self.after.values()]

    def nameless_run(self, run: Run, is_only: bool) -> Run:
        """A run with its record's anonymous form, under a number of its own."""
        record, base = anonymous(run.record, self.table), self.bases[run.base]
        return Run(record, base, RECORD if is_only else f"{base}{RECORDS}{record.job.job_id}.json")

    def bring(self, files: Sequence[CrateFile], crate: Path) -> tuple[list[CrateFile], list[LeftOut]]:
        """Write the files that may be seen into the crate's folder; the others are left out by a name that may be."""
        kept: list[CrateFile] = []
        left_out: dict[str, LeftOut] = {}
        with Destination(crate, make=True, keeps=False) as destination:
            for each in files:
                path, why = self.place(each.path)
                if not why:
                    made = self.copied(each, path, destination)
                    kept += [made] if made else []
                    why = "" if made else HOLDS
                if why:
                    left_out[path] = LeftOut(path, why, each.sha256 if paths.OUTPUTS in path.split("/") else "")
        return kept, [*left_out.values()]

    def renamed(self, left_out: Sequence[LeftOut]) -> list[LeftOut]:
        """What was left out before, without names."""
        return [LeftOut(self.place(each.path)[0], self.table.text(each.why), each.sha256) for each in left_out]

    def place(self, path: str) -> tuple[str, str]:
        """The path of a file without names, and why it is not kept; of observations, that of their folder."""
        for folder in starts(path):
            if run := self.after.get(folder):
                rest = path[len(folder) :]
                attempt, _, name = rest.partition("/")
                if paths.ATTEMPT.match(rest) and not paths.LOG.fullmatch(name):
                    return f"{run.folder}{attempt}/", OBSERVED
                return run.folder + self.table.text(rest), ""
        base = next((each for each in self.bases if each and path.startswith(each)), "")
        rest = self.bases.get(base, "") + self.table.text(path[len(base) :])
        return rest, PLANNED if PurePosixPath(path).name in (paths.PLAN, paths.POINTS) else ""

    def copied(self, each: CrateFile, path: str, destination: Destination) -> CrateFile | None:
        """A file in the crate; None where it holds a name that cannot be taken out of it."""
        source = self.fetched / each.path
        if each.bytes > MOST:
            if any(self.table.leaks(piece) for piece in pieces(source)):
                return None
            destination.make(os.fsencode(path.rpartition("/")[0]))
            move(source, destination.folder / path)
            return CrateFile(path, each.bytes, each.sha256)
        data = self.table.scrub(source.read_bytes())
        if data is None:
            return None
        found = sha256(data).hexdigest()
        if found != each.sha256:
            self.rewritten.append(path)
        write(destination, path, data, source.stat().st_mode)
        return CrateFile(path, len(data), found)

    def refuse_names(self, texts: Mapping[str, bytes]) -> None:
        """Refuse to write files of tfslurm's own that hold a name.

        Raises:
            RecordError: one does.
        """
        for path, data in texts.items():
            if found := self.table.leaks(data):
                why = f"would hold {', '.join(found[:5])}, which says who ran it"
                raise RecordError(f"{path}: {why}; give no name in --title or --license")


def names_who(each: CrateFile) -> bool:
    """Whether a file is one in which names are looked for."""
    is_observed = paths.OUTPUTS not in each.path.split("/") and PurePosixPath(each.path).name in READERS
    return is_observed and each.bytes <= MOST_READ


def starts(path: str) -> Iterator[str]:
    """The folders that a path lies in, the innermost last."""
    yield from (path[: place + 1] for place, letter in enumerate(path) if letter == "/")


def pieces(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces that overlap."""
    kept = b""
    with path.open("rb") as file:
        while piece := file.read(MOST // 4):
            yield kept + piece
            kept = piece[-OVERLAP:]
