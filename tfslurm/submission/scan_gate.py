"""The rules for what is known against an image, before its job is submitted. Nothing is scanned here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfslurm.document.tree import printable
from tfslurm.errors import InputError, TfslurmError
from tfslurm.job_plan import JobPlan
from tfslurm.spec import Ignored, Scan
from tfslurm.submission.prepare import Prepared, judged
from tfslurm.workspace.clock import now
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.image.scan_rule import Judgement


def guard(session: Session, jobs: Sequence[Prepared]) -> None:
    """Say what the rules say, and refuse a job that they hold.

    Raises:
        TfslurmError: a job is held, with the reason and what to do.
    """
    for job in jobs:
        if job.scan is None:
            continue
        from tfslurm.image.scan_rule import PASSES

        session.say(*(f"note: {printable(note)}" for note in job.scan.notes))
        text = f"{job.plan.cluster}: {words_of(job.scan, job.plan.spec_file)}"
        if job.scan.refuses:
            raise TfslurmError(text)
        if job.scan.evidence.answer != PASSES:
            session.say(f"warning: {text}")


def asked_again(session: Session, bases: Mapping[str, Prepared], clusters: Iterable[str]) -> dict[str, Prepared]:
    """The plans of an earlier submission by their cluster; those of these clusters have what the rules say now.

    Raises:
        TfslurmError: one is held, or nobody can say and the rule wants that somebody can.
    """
    moment = now()
    fresh = {name: judged_again(bases[name], moment) for name in dict.fromkeys(clusters)}
    guard(session, list(fresh.values()))
    return {**bases, **fresh}


def judged_again(base: Prepared, moment: str) -> Prepared:
    """A plan with the answer of its experiment's rule and of its cluster's, as its file is now."""
    scan = judged(rule_of(base.plan), base.cluster.scan, base.plan.pin, moment)
    return base._replace(plan=replace(base.plan, scan=scan.evidence if scan else None), scan=scan)


def rule_of(plan: JobPlan) -> Scan | None:
    """The experiment's rule as the plan was made with it; None: it had none.

    What it ignores is read from the text of exp.yaml; from the evidence, where a ``--set`` named it.
    """
    applied = next((each for each in plan.scan.rules if each.of == "experiment"), None) if plan.scan else None
    if applied is None or plan.scan is None:
        return None
    from tfslurm.spec.parsing import parse_experiment

    found = [Ignored(each.id, each.until, each.why) for each in plan.scan.ignored if each.of == "experiment"]
    with suppress(InputError):
        written = parse_experiment(plan.spec_text, plan.spec_file).scan
        found += [each for each in (written.ignore if written else ()) if each.id not in {one.id for one in found}]
    return Scan(applied.fail_on, tuple(found), applied.max_age_s, applied.on_unknown)


def words_of(judgement: Judgement, file: str) -> str:
    """The answer in one line, with what to do."""
    from tfslurm.image.scan_rule import HELD, PASSES, summary

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
