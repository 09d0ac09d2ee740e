"""Reports of trivy, and what the rules of an experiment and of a cluster make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfslurm.image.scan_rule import Judgement, Scanned, judge, summary
from tfslurm.image.trivy_report import MOST_BYTES, Finding, Unreadable, read_report
from tfslurm.spec import Ignored, Scan

FOLDER = Path(__file__).parent / "trivy"
REAL = (FOLDER / "report-0.76.json").read_bytes()  # trivy 0.76.0 wrote it, of a small image and a database of ours
NOW = "2026-11-29T12:00:00.000000Z"
FRESH = "2026-11-28T06:00:00Z"


def report(*findings: dict[str, Any], **more: Any) -> bytes:
    """A report of schema 2 with one result."""
    return json.dumps({"SchemaVersion": 2, "Results": [{"Target": "x", "Vulnerabilities": findings, **more}]}).encode()


def scanned(data: bytes = REAL, updated_at: str | None = FRESH) -> Scanned:
    """A scan with this report."""
    return Scanned(read_report(data), "", "a" * 64, "b" * 64, "trivy 0.76.0", 2, updated_at, NOW)


def judged(*rules: Scan, scan: Scanned | None = None) -> Judgement:
    """The answer of an experiment's rule, and of a cluster's."""
    found = judge(dict(zip(("experiment", "cluster"), rules, strict=False)), scan, NOW)
    assert found
    return found


def test_a_report_of_the_real_trivy_is_read() -> None:
    found = read_report(REAL)
    assert (found.schema, found.tool, found.os, found.packages, found.is_over) == (
        2,
        "trivy 0.76.0",
        "debian 12.5",
        3,
        False,
    )
    assert found.image_id == "sha256:c39475c665c8ec9a77f7d192c413ae6f2221737514b7176b962a81ab64a4bff3"
    assert [each[:5] for each in found.findings] == [
        ("CVE-2026-10001", "CRITICAL", "openssl", "3.0.1-1", "3.0.2-1"),
        ("CVE-2026-10002", "HIGH", "zlib1g", "1.2.13-1", ""),
        ("CVE-2026-10004", "MEDIUM", "demo", "1.0", "2.0"),
        ("CVE-2026-10003", "UNKNOWN", "zlib1g", "1.2.13-1", ""),
    ]
    assert found.findings[1].title == "made up: \\x1b[31mred\\x1b[0m", "no terminal takes it for a colour"
    assert found.counts == {"CRITICAL": 1, "HIGH": 1, "MEDIUM": 1, "LOW": 0, "UNKNOWN": 1}


def test_the_first_schema_is_read() -> None:
    """Written by hand after the form that trivy 0.15's and 0.17's pages show: a list, and null for no finding."""
    found = read_report((FOLDER / "report-schema-1.json").read_bytes())
    assert (found.schema, found.tool, found.image_id, found.packages) == (1, "", "", None)
    assert [each.id for each in found.findings] == ["CVE-2018-10002", "CVE-2018-10001"]
    assert read_report(b"null").findings == read_report(b"[]").findings == ()


def test_fields_that_are_absent_are_empty() -> None:
    found = read_report(report({"VulnerabilityID": "CVE-1-1"}, {"VulnerabilityID": "GHSA-x", "Severity": "low"}))
    assert found.findings == (Finding("GHSA-x", "LOW", target="x"), Finding("CVE-1-1", "UNKNOWN", target="x"))
    several: list[dict[str, Any]] = [{}, {"Results": None}, {"Results": [], "Metadata": None, "Trivy": None}]
    for bare in several:
        assert read_report(json.dumps({"SchemaVersion": 2, **bare}).encode()).findings == ()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no report"),
        (b"{", "is no report"),
        (b"[" * 200 + b"]" * 200, "is nested deeper than 100 levels"),
        (b'{"SchemaVersion": 3}', "has the schema '3'"),
        (b'{"SchemaVersion": true}', "has the schema 'True'"),
        (b"{}", "has the schema '0'"),
        (b'"x"', "it is no object"),
        (b'{"SchemaVersion": 2, "Results": {}}', "it.Results is no list"),
        (b'{"SchemaVersion": 2, "Results": [1]}', "Results[0] is no object"),
        (b'{"SchemaVersion": 2, "SchemaVersion": 2}', "twice"),
        (report({"Severity": "LOW"}), "Results[0].Vulnerabilities[0] has no VulnerabilityID"),
        (report({"VulnerabilityID": 7}), "VulnerabilityID is no text"),
        (
            report({"VulnerabilityID": "CVE-1-1", "Severity": "IMPORTANT"}),
            "the severity 'IMPORTANT', which this version",
        ),
        (report({"VulnerabilityID": "CVE-1-1", "Title": []}), "Title is no text"),
        (b" " * (MOST_BYTES + 1), "is longer than"),
    ],
)
def test_what_cannot_be_judged_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_report(data)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("fail_on", "answer", "ids"),
    [
        ("CRITICAL", "held", ["CVE-2026-10001"]),
        ("HIGH", "held", ["CVE-2026-10001", "CVE-2026-10002"]),
        ("MEDIUM", "held", ["CVE-2026-10001", "CVE-2026-10002", "CVE-2026-10004"]),
        ("LOW", "held", ["CVE-2026-10001", "CVE-2026-10002", "CVE-2026-10004", "CVE-2026-10003"]),
        ("none", "passes", []),
    ],
)
def test_a_severity_and_those_above_it_hold_a_job(fail_on: str, answer: str, ids: list[str]) -> None:
    found = judged(Scan(fail_on), scan=scanned())
    assert (found.evidence.answer, [each.id for each in found.holding], found.refuses) == (answer, ids, bool(ids))


def test_an_ignored_one_holds_no_job_until_its_last_day_has_passed() -> None:
    today, yesterday = (Ignored("CVE-2026-10001", f"2026-11-{day}", "why not") for day in (29, 28))
    found = judged(Scan(ignore=(today,)), scan=scanned())
    assert (found.evidence.answer, found.notes) == ("passes", ())
    assert [(each.of, each.id, each.why) for each in found.evidence.ignored] == [
        ("experiment", "CVE-2026-10001", "why not")
    ]
    assert summary(found.evidence).endswith("1 UNKNOWN (trivy 0.76.0, database of 2026-11-28); 1 ignored")
    found = judged(Scan(ignore=(yesterday, Ignored("CVE-1-1", "2099-01-01", "x"))), scan=scanned())
    assert (found.evidence.answer, found.evidence.ignored) == ("held", ())
    assert found.notes == (
        "scan.ignore: CVE-2026-10001 counted until 2026-11-28 (experiment), and does not any more",
        "scan.ignore: CVE-1-1 (experiment) is not among the vulnerabilities that the scan found",
    )


def test_the_stricter_rule_counts_and_one_cannot_ignore_for_the_other() -> None:
    ignore = (Ignored("CVE-2026-10001", "2099-01-01", "x"),)
    found = judged(Scan("none"), Scan("CRITICAL"), scan=scanned())
    assert found.evidence.why == (
        "1 known vulnerability of severity CRITICAL (the cluster's rule): CVE-2026-10001 CRITICAL in openssl 3.0.1-1 "
        "(fixed in 3.0.2-1)"
    )
    assert judged(Scan("CRITICAL", ignore), Scan("CRITICAL"), scan=scanned()).evidence.answer == "held"
    assert judged(Scan("CRITICAL", ignore), Scan("CRITICAL", ignore), scan=scanned()).evidence.answer == "passes"
    both = judged(Scan(max_age_s=86400), Scan("none", max_age_s=99 * 86400), scan=scanned(report()))
    assert both.evidence.answer == "not verifiable"
    assert [(rule.of, rule.max_age_s) for rule in both.evidence.rules] == [
        ("experiment", 86400),
        ("cluster", 99 * 86400),
    ]


@pytest.mark.parametrize(
    ("scan", "why"),
    [
        (None, "this image was never scanned here"),
        (Scanned(None, "the scan made no report: no database"), "the scan made no report: no database"),
        (scanned(report(), None), "the date of its vulnerability database is not known"),
        (scanned(report(), "2026-10-30T11:59:59Z"), "its vulnerability database is of 2026-10-30, and counts for 30d"),
        (
            scanned(report(), "2026-12-03T00:00:00Z"),
            "its vulnerability database is of 2026-12-03, which is in the future",
        ),
        (scanned(report(Packages=[])), "the scan found no package in the image that trivy knows"),
    ],
)
def test_nobody_can_say_and_the_rule_says_what_becomes_of_the_job(scan: Scanned | None, why: str) -> None:
    for on_unknown, refuses in (("warn", False), ("refuse", True)):
        found = judged(Scan(on_unknown=on_unknown), scan=scan)
        assert (found.evidence.answer, found.evidence.why, found.refuses) == ("not verifiable", why, refuses)
    assert judged(Scan("none", on_unknown="refuse"), scan=scan).evidence.answer == "passes"


def test_what_an_old_database_knew_is_still_known_and_a_new_one_that_lists_packages_passes() -> None:
    assert judged(Scan(), scan=scanned(updated_at="2020-01-01T00:00:00Z")).evidence.answer == "held"
    assert judged(Scan(), scan=scanned(report(Packages=[{"Name": "x"}]))).evidence.answer == "passes"


def test_many_are_counted_and_packages_of_one_vulnerability_too() -> None:
    many = [{"VulnerabilityID": f"CVE-1-{number}", "Severity": "HIGH", "PkgName": "x"} for number in range(100, 120)]
    again = {"VulnerabilityID": "CVE-1-100", "Severity": "HIGH", "PkgName": "y"}
    why = judged(Scan("HIGH"), scan=scanned(report(*many, again))).evidence.why
    assert "20 known vulnerabilities of severity HIGH or higher" in why and why.endswith(", and 10 more")
    assert "CVE-1-100 HIGH in x and 1 more packages (no fix known)" in why


def test_without_a_rule_there_is_no_answer() -> None:
    assert judge({"experiment": None, "cluster": None}, scanned(), NOW) is None
