"""The scans that records name, for a crate: those that this machine keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tfslurm.errors import TfslurmError
from tfslurm.export.crate.contents import LeftOut, Run, scan_name
from tfslurm.workspace.scans import REPORT, SBOM, kept_file

KINDS: Mapping[str, str] = {"scan": REPORT, "sbom": SBOM}


def scans_of(runs: Iterable[Run]) -> tuple[dict[str, bytes], list[LeftOut]]:
    """The reports and SBOMs that the records have the sha256 of, by their names in a crate; and those not to be had."""
    found: dict[str, bytes] = {}
    lost: list[LeftOut] = []
    for digest, kind, sum_of in dict.fromkeys(each for run in runs for each in sums_of(run)):
        name = scan_name(digest, kind, sum_of)
        try:
            found[name] = kept_file(digest, KINDS[kind], sum_of)
        except TfslurmError:
            lost.append(LeftOut(name, "whoever submitted the job keeps it, and this machine does not have it"))
    return found, lost


def sums_of(run: Run) -> list[tuple[str, str, str]]:
    """Digest, kind and sha256 of what the record of a run names."""
    scan = run.record.asked.scan if run.record.asked else None
    sums = {"scan": scan.report_sha256, "sbom": scan.sbom_sha256} if scan else {}
    return [(run.record.image.digest, kind, each) for kind, each in sums.items() if each]
