"""Have an image scanned by trivy, by its digest, and keep what it found: report, SBOM, and what they were made with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, InputError, TfslurmError, refuse
from tfslurm.image.trivy_report import MOST_BYTES, Report, Unreadable, read_report
from tfslurm.images.named import NamedImage
from tfslurm.images.read_archive import read_archive
from tfslurm.images.trivy import DATABASE, Database, Trivy, refusal, trivy_for
from tfslurm.local_files import open_to_append, read_file
from tfslurm.registry.image_source import ImageSource
from tfslurm.workspace.clock import now
from tfslurm.workspace.scans import REPORT, SBOM, KeptScan, keep_scan, kept_file, kept_scan
from tfslurm.workspace.session import Session

NO_DATABASE = "trivy has no vulnerability database and could not get one"
FIX = "name a mirror of it in TRIVY_DB_REPOSITORY, or bring it from a machine with internet: docs/scanning.md"


class ScanResult(NamedTuple):
    """A scan, and its report; None: trivy made none, and ``kept.why`` says why."""

    kept: KeptScan
    report: Report | None


class Target(NamedTuple):
    """The image as trivy is told it: its words, and the digests that its answer must be of."""

    words: tuple[str, ...]
    source: str
    platform: str
    manifest_digest: str
    config_digest: str


def scan_image(session: Session, named: NamedImage, *, again: bool = False, archive: Path | None = None) -> ScanResult:
    """The scan of an image: the one that is kept, or a new one where it is wanted ``again`` or has no report.

    Trivy reads the image from the first place that serves it, or from an archive that holds the bytes of its digest.
    Report and SBOM are kept; an SBOM alone where trivy has no vulnerability database.

    Raises:
        InputError: the image is in no registry; the archive is of another image.
        RegistryError: no place serves it.
        NoProgram: trivy is not here.
        HostError: trivy could not even make an SBOM.
        TfslurmError: what it wrote is no report of this image, or cannot be kept.
    """
    pin = named.pin
    if not again and (found := usable(pin.digest)):
        return found
    if pin.pin_kind == "image-id":
        why = f"is pinned by the id {pin.digest[:19]}… of one docker daemon, and no registry has its bytes"
        raise refuse(pin.reference, why, "push it to a registry, and pin it there")
    with target_of(session, named, archive) as (trivy, target):
        session.say(f"{pin.name}@{pin.digest[:19]}…: scanning, from {target.source}")
        files = {SBOM: made(trivy, SBOM, "cyclonedx", target)}
        check_sbom(files[SBOM])
        report, why = None, ""
        try:
            files[REPORT] = reported(session, trivy, target)
        except HostError as error:
            why = str(error)
        else:
            report = checked(files[REPORT], target)
        tool, database = trivy.version()
    if report is None:
        database = Database(None, None)
    kept = KeptScan(
        image=f"{pin.name}@{pin.digest}",
        digest=pin.digest,
        platform=target.platform,
        manifest_digest=target.manifest_digest,
        source=target.source,
        tool=tool,
        database_version=database.version,
        database_updated_at=database.updated_at,
        scanned_at=now(),
        report_sha256=sum_of(files, REPORT),
        sbom_sha256=sum_of(files, SBOM),
        why=why,
    )
    keep_scan(kept, files)
    return ScanResult(kept, report)


def usable(digest: str) -> ScanResult | None:
    """The scan that is kept, if its report is there and can be read."""
    try:
        kept = kept_scan(digest)
        if kept is None or kept.report_sha256 is None:
            return None
        return ScanResult(kept, read_report(kept_file(digest, REPORT, kept.report_sha256)))
    except (TfslurmError, Unreadable):
        return None


@contextmanager
def target_of(session: Session, named: NamedImage, archive: Path | None) -> Iterator[tuple[Trivy, Target]]:
    """Trivy, ready to read the image from where it is.

    Raises:
        InputError: the archive is of another image.
        RegistryError: no place serves it.
    """
    pin = named.pin
    if archive is not None:
        found = read_archive(archive, pin)
        with trivy_for(named.engine, trace=session.trace) as trivy:
            copy = trivy.work / "image.tar"  # laid out anew: of the archive itself only the bytes of the digest count
            with os.fdopen(open_to_append(copy), "wb") as file:
                file.writelines(found.stream())
            is_of = found.pin
            yield (
                trivy,
                Target(
                    ("--input", str(copy)), str(archive), is_of.platform, is_of.manifest_digest, is_of.config_digest
                ),
            )
        return
    with ImageSource(pin, named.mirrors, named.engine) as source:
        contents = source.contents()
    digest = contents.manifest.digest
    with trivy_for(named.engine, contents.served_by, session.trace) as trivy:
        words = ("--image-src", "remote", f"{contents.served_by}@{digest}")
        yield trivy, Target(words, contents.served_by, contents.platform, digest, contents.blobs[0].digest)


def reported(session: Session, trivy: Trivy, target: Target) -> bytes:
    """The report of the known vulnerabilities. Where a new database is not to be had, the one that is there is used.

    Raises:
        HostError: trivy made none, with its reason.
    """
    words = ("--scanners", "vuln", "--list-all-pkgs")
    try:
        return made(trivy, REPORT, "json", target, *words)
    except HostError as error:
        if trivy.version()[1].updated_at is None:
            raise HostError(f"{NO_DATABASE}: {error}" if DATABASE in str(error) else str(error)) from error
        session.say(f"note: {error}; the database that is here is used")
        return made(trivy, REPORT, "json", target, *words, "--skip-db-update")


def made(trivy: Trivy, kind: str, form: str, target: Target, *words: str) -> bytes:
    """The file that one call of trivy writes.

    Raises:
        HostError: it wrote none, with its reason.
    """
    file = trivy.work / kind
    common = ("image", "--no-progress", "--timeout", "1h", "--format", form, "--output", str(file))
    done = trivy.asked(*common, *words, *target.words)
    if done.exit_code or not file.exists():
        raise HostError(f"trivy: {refusal(done)}")
    try:
        return read_file(file, MOST_BYTES)
    except InputError as error:
        raise HostError(f"trivy: its {kind} {error.problems[0].why}") from error


def checked(data: bytes, target: Target) -> Report:
    """The report, if it is of this image.

    Raises:
        TfslurmError: it is none, or another image's.
    """
    try:
        report = read_report(data)
    except Unreadable as error:
        raise TfslurmError(f"trivy: what it wrote {error}; use another version of trivy") from error
    if report.image_id != target.config_digest:
        raise TfslurmError(f"trivy: its report is of {report.image_id or 'no image'}, not of {target.config_digest}")
    return report


def check_sbom(data: bytes) -> None:
    """Refuse what is no SBOM.

    Raises:
        TfslurmError: it is none.
    """
    try:
        value = read_json(data, most=MOST_BYTES)
        if value["bomFormat"] != "CycloneDX":
            raise ValueError("it is of another format")
    except (ValueError, KeyError, TypeError) as error:
        raise TfslurmError(f"trivy: its output is no SBOM of CycloneDX: {error}") from error


def sum_of(files: Mapping[str, bytes], kind: str) -> str | None:
    """The sha256 of one of the files; None: there is none."""
    return sha256(files[kind]).hexdigest() if kind in files else None
