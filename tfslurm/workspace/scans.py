"""The scans of images that this user has made: once per digest, below the user's data.

`scans/DIGEST/scan.json` says which report and SBOM count; both lie beside it under names that are of their sha256, so
that the files which an older record names stay after a new scan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from tfslurm.document.bounded_json import read_json
from tfslurm.document.typed import build
from tfslurm.errors import InputError, TfslurmError
from tfslurm.image.scan_rule import Scanned
from tfslurm.image.trivy_report import MOST_BYTES, Unreadable, read_report
from tfslurm.local_files import make_folder, read_file, write_file
from tfslurm.workspace.folders import data_folder

SCHEMA = "tfslurm.scan/1"
REPORT, SBOM = "report", "sbom"
ENDS: Mapping[str, str] = {REPORT: ".json", SBOM: ".cdx.json"}
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeptScan:
    """What was found out about an image, by which tool, with which database. What is not known is None.

    ``why``: why there is no report; '': there is one. ``digest`` is the pinned one, ``manifest_digest`` that of the
    platform, which was scanned.
    """

    image: str
    digest: str
    platform: str
    manifest_digest: str
    source: str  # registry/repository, or an archive's file
    tool: str
    database_version: int | None
    database_updated_at: str | None
    scanned_at: str
    report_sha256: str | None
    sbom_sha256: str | None
    why: str = ""
    schema: str = SCHEMA


def scan_folder(digest: str) -> Path:
    """The folder of the scans of one image.

    Raises:
        TfslurmError: that is no digest.
    """
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise TfslurmError(f"{digest[:80]!r} is not the digest of an image")
    return data_folder() / "scans" / found[1]


def scan_file(digest: str, kind: str, sum_of: str) -> Path:
    """The file with a report or an SBOM of an image, by its sha256."""
    return scan_folder(digest) / f"{kind}-{sum_of[:16]}{ENDS[kind]}"


def kept_scan(digest: str) -> KeptScan | None:
    """The newest scan of an image; None: there is none.

    Raises:
        TfslurmError: its file is there, and is none.
    """
    file = scan_folder(digest) / "scan.json"
    if not file.exists():
        return None
    try:
        found = build(KeptScan, read_json(read_file(file)))
        sums = [each for each in (found.report_sha256, found.sbom_sha256) if each is not None]
        if found.schema != SCHEMA or found.digest != digest or not all(map(_SHA256.fullmatch, sums)):
            raise ValueError("it is of another image, or of another version of tfslurm")
    except InputError as error:
        raise TfslurmError(str(error)) from error
    except ValueError as error:
        raise TfslurmError(f"{file}: is not the file of a scan: {error}") from error
    return found


def keep_scan(scan: KeptScan, files: Mapping[str, bytes]) -> None:
    """Keep a scan and its ``files``, by their kinds; what says that they count is written last.

    Raises:
        TfslurmError: this machine refuses.
    """
    folder = scan_folder(scan.digest)
    try:
        make_folder(folder)
    except OSError as error:
        raise TfslurmError(f"{folder}: cannot be made: {error.strerror}") from error
    for kind, data in files.items():
        write_file(scan_file(scan.digest, kind, sha256(data).hexdigest()), data)
    write_file(folder / "scan.json", (json.dumps(asdict(scan), indent=1) + "\n").encode())


def kept_file(digest: str, kind: str, sum_of: str) -> bytes:
    """The bytes of a report or an SBOM.

    Raises:
        TfslurmError: they are not there, or others than their sha256 names.
    """
    file = scan_file(digest, kind, sum_of)
    try:
        data = read_file(file, MOST_BYTES)
    except (InputError, OSError) as error:
        raise TfslurmError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if sha256(data).hexdigest() != sum_of:
        raise TfslurmError(f"{file}: was changed after the scan")
    return data


def scanned(digest: str) -> Scanned | None:
    """The newest scan of an image as a rule judges it; None: there is none. What cannot be used says why."""
    try:
        kept = kept_scan(digest)
    except TfslurmError as error:
        return Scanned(None, str(error))
    if kept is None:
        return None
    facts = kept.tool, kept.database_version, kept.database_updated_at, kept.scanned_at
    if kept.report_sha256 is None:
        return Scanned(None, f"the scan made no report: {kept.why}", None, kept.sbom_sha256, *facts)
    try:
        report = read_report(kept_file(digest, REPORT, kept.report_sha256))
    except (TfslurmError, Unreadable) as error:
        return Scanned(None, f"the report of the scan {error}", None, kept.sbom_sha256, *facts)
    return Scanned(report, "", kept.report_sha256, kept.sbom_sha256, *facts)
