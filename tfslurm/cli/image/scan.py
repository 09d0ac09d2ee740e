"""tfslurm image scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, say, show, table
from tfslurm.cli.image.cells import cut
from tfslurm.cli.options import common
from tfslurm.document.tree import printable
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.image.trivy_report import Finding
    from tfslurm.images.scan import ScanResult

MOST = 50
"Vulnerabilities that are shown before the rest is counted; --json has all."
ORDER = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")


def severities(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The severities that were named with commas; all, if none was."""
    wanted = tuple(each.strip().upper() for each in (value or "").split(",") if each.strip())
    if wrong := [each for each in wanted if each not in ORDER]:
        raise click.BadParameter(f"{wrong[0]!r} is not a severity ({', '.join(ORDER)})")
    return wanted or ORDER


@click.command()
@click.argument("name", metavar="JOB|RECORD|CRATE|IMAGE|EXP.yaml")
@click.option("--again", is_flag=True, help="Scan although a scan of this image is kept.")
@click.option("--severity", "wanted", metavar="LIST", callback=severities, help="Show these alone: HIGH,CRITICAL.")
@click.option("--fixable", is_flag=True, help="Show only what is fixed in a newer version.")
@click.option("--archive", type=click.Path(path_type=Path), help="Read the image from an archive of `image save`.")
@common
def scan(
    session: Session,
    name: str,
    again: bool,
    wanted: tuple[str, ...],
    fixable: bool,
    archive: Path | None,
    as_json: bool,
) -> int:
    """Show the vulnerabilities that are known of an image, by trivy.

    trivy reads the image by its digest from the registry that serves it, mirrors first, with the logins that `pin`
    uses. Its report, and an SBOM of CycloneDX, are kept once per digest; --again makes new ones. If trivy is not on
    PATH, docker or podman runs its image. `scan` in an experiment or a cluster file is the rule by which submit holds a
    job.

    Exit codes: 0 there is a report, 1 trivy could make none.
    """
    from tfslurm.images.named import image_named
    from tfslurm.images.scan import FIX, NO_DATABASE, scan_image

    found = scan_image(session, image_named(session, name), again=again, archive=archive)
    shown = [
        each
        for each in (found.report.findings if found.report else ())
        if each.severity in wanted and (each.fixed or not fixable)
    ]
    if as_json:
        emit(as_value(found, shown))
    else:
        for head, text in lines_of(found):
            show(f"{head:<10}{text}")
        show_findings(shown)
        if found.report and found.report.findings and not shown:
            show("none of these is shown: no vulnerability fits --severity and --fixable")
    if found.report is None:
        say(f"tfslurm: {printable(found.kept.why)}{f'; {FIX}' if found.kept.why.startswith(NO_DATABASE) else ''}")
        return 1
    return 0


def as_value(found: ScanResult, shown: Sequence[Finding]) -> dict[str, Any]:
    """The scan as JSON values."""
    from tfslurm.workspace.scans import REPORT, SBOM, scan_file

    kept, report = found.kept, found.report
    sums = {REPORT: kept.report_sha256, SBOM: kept.sbom_sha256}
    return {
        **asdict(kept),
        "files": {kind: str(scan_file(kept.digest, kind, each)) if each else None for kind, each in sums.items()},
        "os": report.os if report else None,
        "os_is_over": report.is_over if report else None,
        "packages": report.packages if report else None,
        "counts": report.counts if report else None,
        "vulnerabilities": [each._asdict() for each in shown] if report else None,
    }


def lines_of(found: ScanResult) -> Iterator[tuple[str, str]]:
    """A scan as a person reads it: each line a word and a text."""
    from tfslurm.workspace.scans import REPORT, SBOM, scan_file

    kept, report = found.kept, found.report
    yield "image", f"{kept.image} ({kept.platform})"
    database = f", database of {kept.database_updated_at}" if kept.database_updated_at else ""
    yield "scanned", f"{kept.scanned_at[:19]}Z by {kept.tool}{database}"
    if report:
        looked = "an unknown number of" if report.packages is None else str(report.packages)
        yield "packages", f"{looked} packages{f' on {report.os}' if report.os else ''}"
        if report.is_over:
            yield "warning", f"{report.os} gets no security updates any more, so little may be known of its packages"
        if report.packages == 0:
            yield "warning", "trivy found no package that it knows, so it can know nothing against the image"
        yield "known", counts_of(report.findings)
        yield "report", str(scan_file(kept.digest, REPORT, kept.report_sha256 or ""))
    if kept.sbom_sha256:
        yield "sbom", str(scan_file(kept.digest, SBOM, kept.sbom_sha256))


def counts_of(findings: Sequence[Finding]) -> str:
    """``2 CRITICAL (1 with a fix), 5 HIGH (0 with a fix)``."""
    found = Counter(each.severity for each in findings)
    fixed = Counter(each.severity for each in findings if each.fixed)
    told = [f"{found[severity]} {severity} ({fixed[severity]} with a fix)" for severity in ORDER if found[severity]]
    return ", ".join(told) or "nothing"


def show_findings(findings: Sequence[Finding]) -> None:
    """The vulnerabilities as a table, the worst first."""
    if not findings:
        return
    show("")
    rows = [
        [each.severity, each.id, each.package, each.installed, each.fixed or "no fix", cut(each.title)]
        for each in findings[:MOST]
    ]
    table(["severity", "id", "package", "installed", "fixed in", "title"], rows)
    if len(findings) > MOST:
        show(f"and {len(findings) - MOST} more, in --json")
