"""The JSON report of trivy -> what is known against an image. Pure.

Two forms are read: an object with ``SchemaVersion`` 2 (trivy 0.20 and later), and a plain list of results before that.
What a report does not say is '' or None. What this version cannot judge is refused, for it would look like a good
image. Source: aquasecurity/trivy#782, #1265, pkg/types/report.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.document.tree import printable

SEVERITIES = ("UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL")
"From the lowest to the highest."
MOST_BYTES = 64 * 2**20
MOST_FINDINGS = 200_000
LONGEST = 300
"Characters of a text that is kept; those that could disturb a terminal are written as escapes."


class Unreadable(ValueError):
    """It is no report, or says something that this version cannot judge."""


class Finding(NamedTuple):
    """One vulnerability of one package in the image; each text but the first two is '' where the report has none.

    ``fixed`` is the version in which it is fixed; '': there is none yet. ``target`` is where in the image the package
    was found.
    """

    id: str
    severity: str  # one of SEVERITIES
    package: str = ""
    installed: str = ""
    fixed: str = ""
    title: str = ""
    target: str = ""


class Report(NamedTuple):
    """A report. ``packages``: how many packages trivy looked at; None: the report does not list them.

    ``image_id`` is the digest of the image's config, ``os`` such as ``debian 12.15``; both '' where it does not say.
    ``is_over``: the distribution of the image gets no security updates any more.
    """

    schema: int
    tool: str  # 'trivy 0.76.0'; '': it does not say
    created_at: str
    image_id: str
    os: str
    is_over: bool
    packages: int | None
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each severity, from the highest."""
        found = Counter(each.severity for each in self.findings)
        return {severity: found[severity] for severity in reversed(SEVERITIES)}


def read_report(data: bytes) -> Report:
    """The report that these bytes are; its findings from the highest severity, then by id and package.

    Raises:
        Unreadable: they are none, they are too many, or it says something that this version cannot judge.
    """
    try:
        value = read_json(data, most=MOST_BYTES)
    except ValueError as error:
        raise Unreadable(f"is no report: {error}") from None
    if isinstance(value, list) or value is None:  # `null` where there was no result
        value, schema = {"Results": value}, 1
    else:
        schema = _object(value, "it").get("SchemaVersion", 0)
    if schema not in (1, 2) or isinstance(schema, bool):
        raise Unreadable(f"has the schema {str(schema)[:20]!r}, and this version reads 1 and 2")
    results = _list(value, "Results", "it")
    findings = tuple(islice(_findings(results), MOST_FINDINGS + 1))
    if len(findings) > MOST_FINDINGS:
        raise Unreadable(f"has more than {MOST_FINDINGS} vulnerabilities")
    metadata = _object(value.get("Metadata") or {}, "Metadata")
    system = _object(metadata.get("OS") or {}, "Metadata.OS")
    version = _text(_object(value.get("Trivy") or {}, "Trivy"), "Version")
    return Report(
        schema=schema,
        tool=f"trivy {version}" if version else "",
        created_at=_text(value, "CreatedAt"),
        image_id=_text(metadata, "ImageID"),
        os=f"{_text(system, 'Family')} {_text(system, 'Name')}".strip(),
        is_over=system.get("EOSL") is True,
        packages=_packages(results),
        findings=tuple(sorted(findings, key=lambda each: (-SEVERITIES.index(each.severity), each))),
    )


def _packages(results: list[Any]) -> int | None:
    """How many packages the results list; None where none of them lists any."""
    lists = [_list(each, "Packages", "Results") for each in results if isinstance(each, dict) and "Packages" in each]
    if not lists:
        return None if results else 0
    return sum(map(len, lists))


def _findings(results: list[Any]) -> Iterator[Finding]:
    for place, result in enumerate(results):
        target = _text(_object(result, f"Results[{place}]"), "Target")
        for number, each in enumerate(_list(result, "Vulnerabilities", f"Results[{place}]")):
            where = f"Results[{place}].Vulnerabilities[{number}]"
            yield _finding(_object(each, where), where, target)


def _finding(value: Mapping[str, Any], where: str, target: str) -> Finding:
    named, severity = _text(value, "VulnerabilityID"), _text(value, "Severity").upper() or "UNKNOWN"
    if not named:
        raise Unreadable(f"{where} has no VulnerabilityID")
    if severity not in SEVERITIES:
        raise Unreadable(f"{where} has the severity {severity[:20]!r}, which this version does not know")
    package, installed, fixed = (_text(value, key) for key in ("PkgName", "InstalledVersion", "FixedVersion"))
    return Finding(named, severity, package, installed, fixed, _text(value, "Title"), target)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{where} is no object")
    return value


def _list(value: object, key: str, where: str) -> list[Any]:
    found = _object(value, where).get(key)
    if found is not None and not isinstance(found, list):
        raise Unreadable(f"{where}.{key} is no list")
    return found or []


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise Unreadable(f"{key} is no text")
    return printable((found or "")[:LONGEST])
