"""A scan of an image and the rules for it -> may its job be submitted? Pure.

Three answers: it passes, it is held, or nobody can say. Each rule is judged by itself, the worst answer counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from tfslurm.document.moments import datetime_of
from tfslurm.image.trivy_report import SEVERITIES, Finding, Report
from tfslurm.spec import Ignored, Scan

PASSES, UNKNOWN, HELD = "passes", "not verifiable", "held"
ANSWERS = (PASSES, UNKNOWN, HELD)
"From good to bad."
FEW = 10
"Vulnerabilities named before the rest is counted."
DAY_S = 86400
LONGEST_TEXT = 8000
"Characters of a text of the evidence."


@dataclass(frozen=True, slots=True)
class ScanRule:
    """A rule as it was applied; ``of`` is whose: 'experiment' or 'cluster'."""

    of: str
    fail_on: str
    max_age_s: int
    on_unknown: str


@dataclass(frozen=True, slots=True)
class IgnoredFinding:
    """A vulnerability of the image that a rule would hold the job for, and that it ignores."""

    of: str
    id: str
    until: str
    why: str


@dataclass(frozen=True, slots=True)
class ScanEvidence:
    """What is known against the image of a job when it was submitted. A fact that is not known is None.

    ``why``: why the answer is another than 'passes', or why there is no report; '' else. ``counts`` are findings by
    severity.
    """

    answer: str  # one of ANSWERS
    why: str
    report_sha256: str | None
    sbom_sha256: str | None
    tool: str | None  # 'trivy 0.76.0'
    database_version: int | None
    database_updated_at: str | None
    scanned_at: str | None
    counts: Mapping[str, int] | None
    rules: tuple[ScanRule, ...]
    ignored: tuple[IgnoredFinding, ...] = ()


class Scanned(NamedTuple):
    """A scan that is kept on this machine; ``why``: why there is no report, or why it does not count; '' else."""

    report: Report | None
    why: str
    report_sha256: str | None = None
    sbom_sha256: str | None = None
    tool: str | None = None
    database_version: int | None = None
    database_updated_at: str | None = None
    scanned_at: str | None = None


class Judgement(NamedTuple):
    """The answer, the findings that hold the job, and what a user should know beside that.

    ``refuses``: the job may not be submitted. ``has_report``: there is a scan with a report.
    """

    evidence: ScanEvidence
    holding: tuple[Finding, ...]
    refuses: bool
    has_report: bool
    notes: tuple[str, ...]


def judge(rules: Mapping[str, Scan | None], scanned: Scanned | None, now: str) -> Judgement | None:
    """The answer of these rules, by whose they are, for a scan (None: there is none); None where there is no rule.

    ``now`` is RFC 3339 in UTC.
    """
    given = {of: rule for of, rule in rules.items() if rule}
    if not given:
        return None
    known = scanned or Scanned(None, "this image was never scanned here")
    answers = {of: answer_of(rule, known, now) for of, rule in given.items()}
    worst = max(answers.values(), key=lambda each: ANSWERS.index(each[0]))
    holding = tuple(dict.fromkeys(each for _, _, findings in answers.values() for each in findings))
    evidence = ScanEvidence(
        answer=worst[0],
        why=held(holding, {of: given[of] for of, each in answers.items() if each[2]}) if holding else worst[1],
        report_sha256=known.report_sha256,
        sbom_sha256=known.sbom_sha256,
        tool=known.tool,
        database_version=known.database_version,
        database_updated_at=known.database_updated_at,
        scanned_at=known.scanned_at,
        counts=known.report.counts if known.report else None,
        rules=tuple(ScanRule(of, rule.fail_on, rule.max_age_s, rule.on_unknown) for of, rule in given.items()),
        ignored=tuple(ignored(given, known.report, now)),
    )
    refuses = bool(holding) or any(
        answers[of][0] == UNKNOWN and rule.on_unknown == "refuse" for of, rule in given.items()
    )
    return Judgement(evidence, holding, refuses, known.report is not None, tuple(notes(given, known.report, now)))


def answer_of(rule: Scan, scanned: Scanned, now: str) -> tuple[str, str, tuple[Finding, ...]]:
    """The answer of one rule, why, and the findings that it holds the job for.

    Those count though the database is too old: what it knew then is still known.
    """
    report = scanned.report
    if report and (holding := tuple(each for each in over(rule, report) if not covers(rule, each, now))):
        return HELD, "", holding
    if rule.fail_on == "none":
        return PASSES, scanned.why, ()
    if report is None:
        return UNKNOWN, scanned.why, ()
    if why := not_fresh(rule, scanned.database_updated_at, now):
        return UNKNOWN, why, ()
    if report.packages == 0:
        return UNKNOWN, "the scan found no package in the image that trivy knows", ()
    return PASSES, "", ()


def not_fresh(rule: Scan, updated_at: str | None, now: str) -> str:
    """Why the database of a scan does not count; '': it does."""
    try:
        age = datetime_of(now) - datetime_of(updated_at or "")
    except (ValueError, TypeError):
        return "the date of its vulnerability database is not known"
    if age > timedelta(seconds=rule.max_age_s):
        return f"its vulnerability database is of {str(updated_at)[:10]}, and counts for {age_text(rule.max_age_s)}"
    if age < timedelta(seconds=-DAY_S):
        return f"its vulnerability database is of {str(updated_at)[:10]}, which is in the future"
    return ""


def age_text(seconds: int) -> str:
    """2592000 as ``30d``; 43200 as ``12h``."""
    return f"{seconds // DAY_S}d" if seconds % DAY_S == 0 else f"{seconds // 3600}h"


def over(rule: Scan, report: Report) -> Iterator[Finding]:
    """The findings with the severity of a rule, or a higher one; LOW, the strictest, takes the unknown ones too."""
    if rule.fail_on == "none":
        return
    lowest = 0 if rule.fail_on == "LOW" else SEVERITIES.index(rule.fail_on)
    yield from (each for each in report.findings if SEVERITIES.index(each.severity) >= lowest)


def covers(rule: Scan, finding: Finding, now: str) -> bool:
    """Whether a rule ignores a finding today."""
    return any(each.id == finding.id and not has_expired(each, now) for each in rule.ignore)


def has_expired(ignore: Ignored, now: str) -> bool:
    """Whether the last day has passed."""
    return now[:10] > ignore.until


def ignored(rules: Mapping[str, Scan], report: Report | None, now: str) -> Iterator[IgnoredFinding]:
    """What the rules ignore of the findings that they would hold the job for."""
    for of, rule in rules.items():
        found = {each.id for each in over(rule, report)} if report else set()
        for each in rule.ignore:
            if each.id in found and not has_expired(each, now):
                yield IgnoredFinding(of, each.id, each.until, each.why)


def notes(rules: Mapping[str, Scan], report: Report | None, now: str) -> Iterator[str]:
    """What of the rules' lists does not count: expired, and of no vulnerability that the scan found."""
    known = {each.id for each in report.findings} if report else None
    for of, rule in rules.items():
        for each in rule.ignore:
            if has_expired(each, now):
                yield f"scan.ignore: {each.id} counted until {each.until} ({of}), and does not any more"
            elif known is not None and each.id not in known:
                yield f"scan.ignore: {each.id} ({of}) is not among the vulnerabilities that the scan found"


def held(holding: Sequence[Finding], rules: Mapping[str, Scan]) -> str:
    """Why a job is held: the vulnerabilities, with the version in which each is fixed."""
    ids = list(dict.fromkeys(each.id for each in holding))
    told = [named(one, [each for each in holding if each.id == one]) for one in ids[:FEW]]
    more = [f"and {len(ids) - FEW} more"] if len(ids) > FEW else []
    levels = {
        of: "CRITICAL" if rule.fail_on == "CRITICAL" else f"{rule.fail_on} or higher" for of, rule in rules.items()
    }
    by = " and ".join(f"{level} (the {of}'s rule)" for of, level in levels.items())
    what = "vulnerability" if len(ids) == 1 else "vulnerabilities"
    return f"{len(ids)} known {what} of severity {by}: {', '.join([*told, *more])}"


def named(one: str, findings: Sequence[Finding]) -> str:
    """``CVE-2026-1 CRITICAL in openssl 3.0.1, fixed in 3.0.2``, with the first of its packages."""
    first = findings[0]
    package = f" in {first.package} {first.installed}".rstrip() if first.package else ""
    others = f" and {len(findings) - 1} more packages" if len(findings) > 1 else ""
    return f"{one} {first.severity}{package}{others} ({f'fixed in {first.fixed}' if first.fixed else 'no fix known'})"


def summary(evidence: ScanEvidence) -> str:
    """The findings by severity, with the tool and the date of its database."""
    if evidence.counts is None:
        return f"no scan: {evidence.why}"
    counts = ", ".join(f"{count} {severity}" for severity, count in evidence.counts.items() if count)
    by = f"{evidence.tool}, database of {(evidence.database_updated_at or 'unknown date')[:10]}"
    more = f"; {len(evidence.ignored)} ignored" if evidence.ignored else ""
    return f"{counts or 'nothing known'} ({by}){more}"
