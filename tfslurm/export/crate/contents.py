"""The contents of a crate: its runs, its files, and the files that are not in it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tfslurm.record import Record, crate_metadata
from tfslurm.run_folder import paths

if TYPE_CHECKING:
    from tfslurm.export.citation.settings import Authorship

METADATA = crate_metadata.METADATA
RECORD = "record.json"
CANONICAL = "record.canonical.json"
"The bytes of the record whose hash is its record_sha256."
SIGNATURE = "record.json.sig"
RECORDS = "records/"
"Of a sweep: a record for each job, and in CANONICALS the bytes that were hashed."
CANONICALS = "records/canonical/"
SWEEP = "sweep.json"
SUMS = "SHA256SUMS"
REPRODUCING = "REPRODUCING.md"
SPEC = "exp.yaml"
LOCK = "exp.lock.yaml"
PACKAGES = "packages.txt"
"The wheels of the lock file, as pip reads them."
CODE = "code/"
RUNS = "runs/"
"Where a sweep has several run folders, each lies in the one of its plan's id."
IMAGE = ".oci.tar"
"How the name of an image's archive ends: image-DIGITS.oci.tar, with the first 16 digits of the digest."
SCANS: Mapping[str, str] = {"scan": ".json", "sbom": ".cdx.json"}
"Of a scan of an image its report and its SBOM, and how their names end; before that the first digits of the digest."
NOT_WANTED = "left out by --without-outputs"
VERSIONS = ("1.1", "1.3")
"Of RO-Crate; the first is the usual one."


class CrateFile(NamedTuple):
    """A file of a crate. Bytes of its path that are no UTF-8 are surrogates."""

    path: str  # below the crate's folder
    bytes: int
    sha256: str


def image_name(digest: str) -> str:
    """The name in a crate of the archive of an image."""
    return f"image-{digest.removeprefix('sha256:')[:16]}{IMAGE}"


def scan_name(digest: str, kind: str, sum_of: str) -> str:
    """The name in a crate of the report of a scan of an image, or of its SBOM; ``sum_of`` is its sha256."""
    return f"{kind}-{digest.removeprefix('sha256:')[:16]}-{sum_of[:16]}{SCANS[kind]}"


class LeftOut(NamedTuple):
    """A file that is not in the crate although a run left it, and why."""

    path: str  # that it would have in the crate
    why: str
    sha256: str = ""  # as the record has it


class Run(NamedTuple):
    """A job with the place of its files in the crate."""

    record: Record
    base: str  # of its run folder: '' is the crate's own, else RUNS/PLANID/
    file: str  # with the record

    @property
    def key(self) -> str:
        """The name of the job: ``alpha:1234``."""
        return f"{self.record.job.cluster}:{self.record.job.job_id}"

    @property
    def folder(self) -> str:
        """The job's folder."""
        return f"{self.base}{self.record.job.job_id}/"

    @property
    def outputs(self) -> str:
        """The folder of what the program left."""
        return f"{self.folder}{paths.OUTPUTS}/"

    def attempt(self, number: int) -> str:
        """The folder of an attempt."""
        return f"{self.folder}{paths.attempt(number)}/"


@dataclass(frozen=True)
class Crate:
    """Everything that is said in the metadata."""

    title: str
    runs: tuple[Run, ...]
    files: tuple[CrateFile, ...]  # without METADATA and SUMS
    left_out: tuple[LeftOut, ...]
    by: Authorship
    version: str = VERSIONS[0]
    anonymous: bool = False
    notes: tuple[str, ...] = ()  # what a reader must know first, such as points that have no record
    rewritten: tuple[str, ...] = ()  # files that are not as the run left them: names were replaced

    def with_files(self, files: Iterable[CrateFile]) -> Crate:
        """The same with these files."""
        return replace(self, files=tuple(files))

    @property
    def lacking(self) -> list[LeftOut]:
        """The files that should be in the crate: those that a record has the hash of, and nobody left out by wish."""
        return [] if self.anonymous else [each for each in self.left_out if each.sha256 and each.why != NOT_WANTED]

    @cached_property
    def by_path(self) -> Mapping[str, CrateFile]:
        """The files by their paths, in their order."""
        return {each.path: each for each in sorted(self.files)}

    @cached_property
    def _paths(self) -> list[str]:
        return [*self.by_path]

    def below(self, folder: str) -> Iterator[CrateFile]:
        """The files below a folder, whose name ends in a slash."""
        for place in range(bisect_left(self._paths, folder), len(self._paths)):
            if not self._paths[place].startswith(folder):
                return
            yield self.by_path[self._paths[place]]

    @cached_property
    def absent(self) -> Mapping[str, list[LeftOut]]:
        """What is left out of a job's outputs although the record has its hash, by the folder of the outputs."""
        found: dict[str, list[LeftOut]] = {}
        for run in self.runs:
            found[run.outputs] = []
        for each in self.left_out:
            if each.sha256:
                folder = next((start for start in starts(each.path) if start in found), "")
                found.setdefault(folder, []).append(each)
        return found


def starts(path: str) -> Iterator[str]:
    """The folders that a path lies in, each with its slash."""
    yield from (path[: place + 1] for place, letter in enumerate(path) if letter == "/")
