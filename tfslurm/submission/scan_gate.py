"""The rules for what is known against an image, before its job is submitted. Nothing is scanned here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError
from tfslurm.image.scan_rule import HELD, PASSES, Judgement, summary
from tfslurm.submission.prepare import Prepared
from tfslurm.workspace.session import Session


def guard(session: Session, jobs: Sequence[Prepared]) -> None:
    """Say what the rules say, and refuse a job that they hold.

    Raises:
        TfslurmError: a job is held, with the reason and what to do.
    """
    for job in jobs:
        if job.scan is None:
            continue
        session.say(*(f"note: {printable(note)}" for note in job.scan.notes))
        text = f"{job.plan.cluster}: {words_of(job.scan, job.plan.spec_file)}"
        if job.scan.refuses:
            raise TfslurmError(text)
        if job.scan.evidence.answer != PASSES:
            session.say(f"warning: {text}")


def words_of(judgement: Judgement, file: str) -> str:
    """The answer in one line, with what to do."""
    found = judgement.evidence
    if found.answer == PASSES:
        return f"{PASSES}: {summary(found)}"
    scan = f"`tfslurm image scan {Path(file)}`"
    if found.answer == HELD:
        fix = f"use an image that has the fixes ({scan} lists them); or, if it cannot hurt here, add to the rule"
        return f"scan: held: {printable(found.why)}; {fix} `ignore: [{{id: …, until: …, why: …}}]`"
    again = f"{scan[:-1]} --again`" if judgement.has_report else scan
    less = "" if judgement.refuses else " (on_unknown: warn)"
    return f"scan: not verifiable{less}: {printable(found.why)}; {again}"
