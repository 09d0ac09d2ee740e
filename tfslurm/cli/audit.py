"""tfslurm audit."""

from __future__ import annotations

import click

from tfslurm.audit import Audited, audit
from tfslurm.cli.console import emit, say, table
from tfslurm.cli.options import common
from tfslurm.workspace.session import Session

COLOURS = {"ok": "green", "note": "cyan", "unknown": "yellow", "rot": "red"}


@click.command("audit")
@click.argument("names", nargs=-1, metavar="[JOB|SWEEP|RECORD]...")
@click.option("--all", "everything", is_flag=True, help="Audit every job of the tracker, not only the last 20.")
@common
def audit_command(session: Session, names: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Check whether records would still run today.

    For each record, audit asks whether a registry or a mirror still serves the image, whether its tag has moved,
    whether the partition's driver has changed, and whether the code and the outputs are still on the cluster. It asks
    with HEAD, which counts as no pull. It asks each image once, and each cluster once.

    rot: something is gone, or keeps the record from running again. note: another run would differ. unknown: it was not
    answered. The exit code is 1 if something rots. Without a name, audit looks at the jobs of the last 20 submissions.
    """
    found = audit(session, names, everything=everything)
    if as_json:
        emit([as_value(each) for each in found])
    elif found:
        table(
            ["RECORD", "STATUS", "WHY, AND WHAT TO DO"],
            [row(each) for each in found],
            lambda cell: COLOURS.get(cell, ""),
        )
        counts = {status: sum(each.status == status for each in found) for status in ("rot", "unknown", "note", "ok")}
        say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    else:
        say("no records; a job has one when it has ended")
    return 1 if any(each.status == "rot" for each in found) else 0


def row(each: Audited) -> list[str]:
    """A record with what is amiss with it."""
    amiss = [finding for finding in each.findings if finding.status != "ok"]
    said = [f"{one.name}: {one.reason}" + (f"; {one.fix}" if one.fix else "") for one in amiss]
    return [each.job, each.status, " | ".join(said) or "image, driver, code and outputs are there"]


def as_value(each: Audited) -> dict[str, object]:
    """The same for --json."""
    findings = [finding._asdict() for finding in each.findings]
    return {
        "job": each.job,
        "record_id": each.record_id,
        "image": each.image,
        "status": each.status,
        "findings": findings,
    }
