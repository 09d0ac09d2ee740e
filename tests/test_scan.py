"""`tfslurm image scan` and its gate, with a stand-in for trivy; the real one is in tests/cluster/test_scan.py."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import made
from tests.fakes.laptop import Laptop
from tests.fakes.registry import Said, Start, digest_of, encoded, error, log_in, no_settings_of_this_machine, start
from tests.fakes.trivy import NO_DATABASE, FakeTrivy
from tests.made import session
from tests.run_folders import BY, evidence, quiet
from tests.test_image_inspect import config, serve
from tests.test_record import case
from tfslurm.export.anonymous import anonymous
from tfslurm.export.text import record_text
from tfslurm.image import Pin, parse_lock
from tfslurm.image.scan_rule import ScanEvidence, judge
from tfslurm.record import record_from_json, record_json
from tfslurm.reruns.experiment_text import experiment_text
from tfslurm.retrieval.crate.writing import Wanted, write_crate
from tfslurm.spec import Scan
from tfslurm.tracker import Tracker
from tfslurm.workspace.scans import KeptScan, keep_scan, kept_scan, scan_folder, scanned

__all__ = ["no_settings_of_this_machine", "start"]
HOLE = {"VulnerabilityID": "CVE-2026-1", "Severity": "CRITICAL", "PkgName": "openssl", "FixedVersion": "2"}
REST = ("HIGH", "MEDIUM", "LOW", "UNKNOWN")
SMALL = {"VulnerabilityID": "CVE-2026-2", "Severity": "LOW", "PkgName": "zlib", "Title": "\x1b[31m\u202ered"}


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_settings_of_this_machine: None) -> Iterator[Laptop]:
    yield Laptop.made(tmp_path, monkeypatch)


@pytest.fixture
def trivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTrivy:
    return FakeTrivy.made(tmp_path / "trivy", monkeypatch)


class Typed:
    """Commands, and what they printed."""

    def __init__(self, laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
        self.laptop, self.capsys = laptop, capsys
        self.out, self.err = "", ""

    def __call__(self, *words: str) -> int:
        self.capsys.readouterr()
        code = self.laptop.type(*words)
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def typed(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(laptop, capsys)


def report(*findings: dict[str, Any], image: str = digest_of(config())) -> dict[str, Any]:
    """A report of trivy's."""
    result = {"Target": "x", "Packages": [{"Name": "openssl"}], "Vulnerabilities": list(findings)}
    return {"SchemaVersion": 2, "Metadata": {"ImageID": image}, "Results": [result]}


def test_a_scan_is_made_once_kept_and_shown(start: Start, trivy: FakeTrivy, typed: Typed) -> None:
    registry = start()
    digest = serve(registry, config())
    name = f"{registry.address}/team/tf:1"
    trivy.says(report(HOLE, SMALL))
    assert typed("image", "scan", name) == 0
    assert "known     1 CRITICAL (1 with a fix), 1 LOW (0 with a fix)\n" in typed.out
    assert "\\x1b[31m" in typed.out and "\x1b" not in typed.out and "\u202e" not in typed.out
    assert "scanned" in typed.out and "by trivy 0.76.0, database of 2026-11-28T06:00:00Z" in typed.out
    calls = len(trivy.calls)
    assert typed("image", "scan", name, "--json") == 0
    assert len(trivy.calls) == calls == 3, "the kept one is shown"
    value = json.loads(typed.out)
    assert (value["digest"], value["counts"]["CRITICAL"], value["packages"]) == (digest, 1, 1)
    for kind in ("report", "sbom"):
        path = Path(value["files"][kind])
        assert digest_of(path.read_bytes()) == f"sha256:{value[f'{kind}_sha256']}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert typed("image", "scan", name, "--severity", "low,medium", "--fixable") == 0
    assert "CVE-2026" not in typed.out and "no vulnerability fits --severity and --fixable" in typed.out
    assert typed("image", "scan", name, "--severity", "worst") == 2 and "'WORST' is not a severity" in typed.err
    trivy.says(report(SMALL))
    assert typed("image", "scan", name, "--again") == 0 and "known     1 LOW" in typed.out
    assert Path(value["files"]["report"]).exists(), "an older record names it"


def test_a_login_reaches_trivy_by_a_file_of_ours_and_its_settings_do_not(
    start: Start, trivy: FakeTrivy, typed: Typed, laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = start()
    digest = serve(registry, config())
    log_in(registry.address, auth=encoded("carol", "CAROL-SECRET"))
    pair = f"Basic {encoded('carol', 'CAROL-SECRET')}"
    registry.guard = lambda asked: (
        Said(200)
        if asked.headers["Authorization"] == pair
        else error(401, "U", "x", WWW_Authenticate='Basic realm="x"')
    )
    (laptop.folder / "trivy.yaml").write_text("severity: [LOW]\n")
    (laptop.folder / ".trivyignore").write_text("CVE-2026-1\n")
    for name in ("TRIVY_SEVERITY", "TRIVY_PASSWORD", "TRIVY_IGNORE_UNFIXED"):
        monkeypatch.setenv(name, "LOW-SECRET")
    monkeypatch.setenv("TRIVY_DB_REPOSITORY", "mirror.example/db:2")
    monkeypatch.setenv("TRIVY_CACHE_DIR", "cache")
    trivy.says(report())
    assert typed("image", "scan", f"{registry.address}/team/tf:1", "-v") == 0, typed.err
    assert "trivy: env --chdir=" in typed.err and "SECRET" not in typed.err and pair not in typed.err
    for call in trivy.calls:
        assert "SECRET" not in json.dumps(call["argv"])
        own = {name for name in call["env"] if name.startswith("TRIVY_")}
        kept = {"TRIVY_DB_REPOSITORY", "TRIVY_CACHE_DIR"}
        assert own == {*kept, "TRIVY_DISABLE_TELEMETRY", "TRIVY_SKIP_VERSION_CHECK"}
        assert call["env"]["TRIVY_CACHE_DIR"] == str(laptop.folder / "cache")
        assert call["cwd"] == call["env"]["DOCKER_CONFIG"] != str(laptop.folder)
        assert call["config"] == {"auths": {registry.address: {"auth": encoded("carol", "CAROL-SECRET")}}}
        assert call["mode"] == "0o600"
        assert not Path(call["cwd"]).exists(), "it goes with the call"
    assert trivy.calls[0]["argv"][-1] == f"{registry.address}/team/tf@{digest}"
    assert "CAROL-SECRET" not in "".join(path.read_text() for path in scan_folder(digest).iterdir())


def test_without_a_database_the_sbom_alone_is_kept_and_the_next_call_tries_again(
    start: Start, trivy: FakeTrivy, typed: Typed
) -> None:
    registry = start()
    digest = serve(registry, config())
    name = f"{registry.address}/team/tf:1"
    trivy.refuses(NO_DATABASE)
    trivy.knows(None)
    assert typed("image", "scan", name) == 1
    assert typed.err.splitlines()[-1] == (
        "tfslurm: trivy has no vulnerability database and could not get one: trivy: DB error: Get "
        '"https://mirror.gcr.io/v2/": dial tcp: no such host; name a mirror of it in TRIVY_DB_REPOSITORY, or bring it '
        "from a machine with internet: docs/scanning.md"
    )
    kept = kept_scan(digest)
    assert kept and kept.sbom_sha256 and (kept.report_sha256, kept.database_updated_at) == (None, None)
    assert typed("image", "scan", name, "--json") == 1
    assert json.loads(typed.out)["vulnerabilities"] is None
    trivy.knows("2026-11-01T00:00:00Z")
    trivy.says(report(HOLE))
    assert typed("image", "scan", name) == 0
    assert "; the database that is here is used" in typed.err
    assert "database of 2026-11-01T00:00:00Z" in typed.out


@pytest.mark.parametrize(
    ("form", "answer", "why"),
    [
        ("json", report(image="sha256:" + "0" * 64), "trivy: its report is of sha256:000"),
        ("json", {"SchemaVersion": 2}, "trivy: its report is of no image, not of sha256:"),
        ("json", "{", "trivy: what it wrote is no report"),
        (
            "json",
            {"SchemaVersion": 4},
            "has the schema '4', and this version reads 1 and 2; use another version of trivy",
        ),
        ("cyclonedx", {"spdxVersion": "x"}, "trivy: its output is no SBOM of CycloneDX"),
        ("cyclonedx", "[" * 500 + "]" * 500, "is nested deeper than 100 levels"),
    ],
)
def test_what_is_no_report_of_this_image_is_refused_and_nothing_is_kept(
    start: Start, trivy: FakeTrivy, typed: Typed, form: str, answer: object, why: str
) -> None:
    registry = start()
    digest = serve(registry, config())
    trivy.says(report())
    trivy.says(answer, form)
    assert typed("image", "scan", f"{registry.address}/team/tf:1") == 1
    assert why in typed.err and typed.err.count("error:") == 1
    assert kept_scan(digest) is None


def test_refusals_of_trivy_and_its_absence_are_one_line(
    start: Start, trivy: FakeTrivy, typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = start()
    serve(registry, config())
    name = f"{registry.address}/team/tf:1"
    trivy.refuses("2026-11-29T00:00:00Z\tFATAL\tFatal error\tunable to find\n\x1b[2J the image\n", "cyclonedx")
    assert typed("image", "scan", name) == 1
    assert typed.err.splitlines()[-1] == "error: trivy: unable to find \\x1b[2J the image"
    trivy.refuses("", "cyclonedx")
    assert typed("image", "scan", name) == 1 and "it ended with exit code 1 and said nothing" in typed.err
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert typed("image", "scan", name) == 1
    assert "trivy: is not on this machine; put trivy on PATH (github.com/aquasecurity/trivy/releases)" in typed.err
    engine = tmp_path / "docker" / "docker"
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\necho "$@" >&2\nexit 125\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/bin")
    assert typed("image", "scan", name) == 1
    assert "is not on PATH, and docker cannot run docker.io/aquasec/trivy@sha256:62b1e65e" in typed.err
    monkeypatch.setenv("TFSLURM_TRIVY_IMAGE", "aquasec/trivy:latest")
    assert typed("image", "scan", name) == 1 and "has no digest; write NAME@sha256:" in typed.err


# --- the gate


def experiment(laptop: Laptop, **scan: Any) -> tuple[str, Pin]:
    """An experiment with a rule, and its pin."""
    name = laptop.experiment(scan=scan) if scan else laptop.experiment()
    return name, parse_lock((laptop.folder / "exp.lock.yaml").read_text(), "lock")


def keep(pin: Pin, *findings: dict[str, Any], updated_at: str = "2026-11-28T06:00:00Z") -> KeptScan:
    """A scan of its image, as `image scan` keeps one."""
    from hashlib import sha256

    files = {"report": json.dumps(report(*findings)).encode(), "sbom": b'{"bomFormat": "CycloneDX"}'}
    sums = {kind: sha256(data).hexdigest() for kind, data in files.items()}
    scan = KeptScan(
        pin.name, pin.digest, "linux/amd64", pin.digest, "here", "trivy 0.76.0", 2, updated_at, updated_at,
        sums["report"], sums["sbom"],
    )  # fmt: skip
    keep_scan(scan, files)
    return scan


def fresh() -> str:
    """A moment of today."""
    from tfslurm.workspace.clock import now

    return now()


def test_submit_plan_and_run_say_the_three_answers(laptop: Laptop, typed: Typed) -> None:
    file, pin = experiment(laptop, fail_on="HIGH")
    assert typed("plan", file) == 0
    never = "not verifiable (on_unknown: warn): this image was never scanned here; `tfslurm image scan exp.yaml`"
    assert f"\nscan     {never}\n" in typed.out
    keep(pin, HOLE, updated_at=fresh())
    assert typed("submit", file) == 1 and typed.out == "" and not laptop.folders()
    assert typed.err.startswith("error: alpha: scan: held: 1 known vulnerability of severity HIGH or higher (the")
    assert "CVE-2026-1 CRITICAL in openssl (fixed in 2)" in typed.err and "`tfslurm image scan exp.yaml`" in typed.err
    assert typed("run", file) == 1 and "error: local: scan: held: 1 known" in typed.err
    assert typed("plan", file) == 0 and "\nscan     held: 1 known vulnerability" in typed.out
    keep(pin, SMALL, updated_at="2026-01-01T00:00:00Z")
    file, _ = experiment(laptop, fail_on="HIGH", on_unknown="refuse")
    assert typed("submit", file) == 1
    assert typed.err.startswith("error: alpha: scan: not verifiable: its vulnerability database is of 2026-01-01, and")
    assert "`tfslurm image scan exp.yaml --again`" in typed.err
    keep(pin, SMALL, updated_at=fresh())
    assert typed("submit", file) == 0, typed.err
    assert "scan" not in typed.err
    (plan,) = laptop.root.glob("runs/*/plan.json")
    found = json.loads(plan.read_text())["scan"]
    assert (found["answer"], found["counts"]["LOW"], found["rules"][0]["fail_on"]) == ("passes", 1, "HIGH")


def test_a_warning_is_told_and_the_job_goes_and_a_sweep_is_held_too(laptop: Laptop, typed: Typed) -> None:
    file, pin = experiment(laptop, fail_on="HIGH")
    assert typed("submit", file) == 0
    assert "warning: alpha: scan: not verifiable (on_unknown: warn): this image was never scanned here;" in typed.err
    keep(pin, HOLE, updated_at=fresh())
    assert typed("submit", file, "--set", "lr=1,2") == 2  # nothing reads it: the name is refused first
    file = laptop.experiment(scan={"fail_on": "HIGH"}, command=["python", "train.py", "{{ lr }}"])
    assert typed("submit", file, "--set", "lr=1,2") == 1 and "scan: held: 1 known vulnerability" in typed.err
    assert typed("submit", file, "--set", "lr=1", "--set", "scan.fail_on=none") == 0


def test_resume_without_a_file_asks_the_rule_of_the_submission_again(laptop: Laptop, typed: Typed) -> None:
    ignore = [{"id": "CVE-2026-1", "until": "2099-01-01", "why": "x"}]
    keys = {"command": ["python", "train.py", "{{ lr }}"], "sweep": {"grid": {"lr": [1, 2]}}}
    file = laptop.experiment(scan={"fail_on": "CRITICAL", "ignore": ignore}, **keys)
    pin = parse_lock((laptop.folder / "exp.lock.yaml").read_text(), "lock")
    keep(pin, SMALL, updated_at=fresh())
    assert typed("submit", file, "--set", "scan.fail_on=HIGH") == 0, typed.err
    (job,) = laptop.slurm.ids()
    laptop.slurm.end(job, "FAILED", "1:0")
    worse = {**HOLE, "VulnerabilityID": "CVE-2026-9", "Severity": "HIGH"}
    keep(pin, HOLE, worse, updated_at=fresh())
    assert typed("resume", "last") == 1, typed.out
    assert "error: alpha: scan: held: 1 known vulnerability of severity HIGH or higher" in typed.err
    assert "CVE-2026-9" in typed.err and "CVE-2026-1 " not in typed.err and laptop.slurm.ids() == [job]
    keep(pin, HOLE, updated_at=fresh())  # the one that the file ignores
    path = laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "scan": {"fail_on": "CRITICAL"}}))
    assert typed("resume", "last") == 1 and "(the cluster's rule): CVE-2026-1" in typed.err
    path.write_text(json.dumps(described))
    assert typed("resume", "last") == 0, typed.err
    assert len(laptop.slurm.ids()) == 2
    plans = [json.loads(path.read_text()) for path in laptop.root.glob("runs/*/plan.json")]
    plans.sort(key=lambda plan: str(plan["planned_at"]))
    assert [[each["id"] for each in plan["scan"]["ignored"]] for plan in plans] == [[], ["CVE-2026-1"]]


def test_rebalance_takes_nothing_back_that_the_other_clusters_rule_would_hold(laptop: Laptop, typed: Typed) -> None:
    alpha = laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    beta, described = alpha.with_name("beta.yaml"), json.loads(alpha.read_text())
    other = {**described, "name": "beta", "root": str(laptop.root.with_name("beta"))}
    beta.write_text(json.dumps(other))
    sweep = {"grid": {"lr": [1, 2]}, "spread": "even"}
    file = laptop.experiment(command=["python", "train.py", "{{ lr }}"], sweep=sweep, clusters=["alpha", "beta"])
    pin = parse_lock((laptop.folder / "exp.lock.yaml").read_text(), "lock")
    keep(pin, HOLE, updated_at=fresh())
    assert typed("submit", file) == 0, typed.err
    before = laptop.slurm.jobs()
    beta.write_text(json.dumps({**other, "scan": {"fail_on": "CRITICAL"}}))
    assert typed("rebalance", "last", "--from", "alpha") == 1
    assert "error: beta: scan: held: 1 known vulnerability" in typed.err
    assert laptop.slurm.jobs() == before


def test_the_cluster_has_a_rule_of_its_own(laptop: Laptop, typed: Typed) -> None:
    file, pin = experiment(laptop)
    path = laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "scan": {"fail_on": "CRITICAL", "on_unknown": "refuse"}}))
    assert typed("submit", file) == 1 and "scan: not verifiable: this image was never scanned here" in typed.err
    keep(pin, HOLE, updated_at=fresh())
    ignore = [
        {"id": "CVE-2026-1", "until": "2099-01-01", "why": "x"},
        {"id": "CVE-1-1", "until": "2020-01-01", "why": "x"},
    ]
    file, _ = experiment(laptop, fail_on="LOW", ignore=ignore)
    assert typed("submit", file) == 1
    assert "(the cluster's rule): CVE-2026-1" in typed.err and "experiment's" not in typed.err
    assert "note: scan.ignore: CVE-1-1 counted until 2020-01-01 (experiment), and does not any more" in typed.err
    path.write_text(json.dumps({**described, "scan": {"ignore": ignore[:1]}}))
    assert typed("submit", file) == 0, typed.err


def test_a_plan_without_a_rule_is_what_it_was_and_the_rule_is_no_part_of_what_is_asked(
    laptop: Laptop, typed: Typed
) -> None:
    from tfslurm.job_plan import from_json, to_json

    file, pin = experiment(laptop)
    keep(pin, HOLE, updated_at=fresh())
    assert typed("plan", file, "--json") == 0
    (before,) = json.loads(typed.out)
    assert "scan" not in before
    file, _ = experiment(laptop, fail_on="none")
    assert typed("plan", file, "--json") == 0
    (after,) = json.loads(typed.out)
    assert after["scan"]["answer"] == "passes"
    values = {key: item for key, item in after.items() if key not in ("script", "left_out", "notes")}
    assert json.loads(json.dumps(to_json(from_json(values)))) == values


def test_a_kept_scan_that_was_changed_or_cut_off_does_not_count(laptop: Laptop) -> None:
    _, pin = experiment(laptop)
    assert scanned(pin.digest) is None
    kept = keep(pin, HOLE)
    (file,) = scan_folder(pin.digest).glob("report-*")
    file.write_bytes(file.read_bytes().replace(b"CRITICAL", b"LOW"))
    found = scanned(pin.digest)
    assert found and found.report is None and "was changed after the scan" in found.why
    file.unlink()
    assert "cannot be read" in getattr(scanned(pin.digest), "why", "")
    described = scan_folder(pin.digest) / "scan.json"
    for text in (
        "",
        "{",
        "[]",
        json.dumps({"schema": "tfslurm.scan/9"}),
        described.read_text().replace(kept.digest, "x"),
    ):
        described.write_text(text)
        assert "scan.json: is not the file of a scan" in getattr(scanned(pin.digest), "why", ""), text
    described.unlink()
    assert scanned(pin.digest) is None, "what was written before it alone counts for nothing"


def evidence_of(pin: Pin, kept: KeptScan) -> ScanEvidence:
    """What a plan has of a scan."""
    found = judge({"experiment": Scan("none")}, scanned(pin.digest), kept.scanned_at)
    assert found
    return found.evidence


def test_a_record_has_it_the_crate_has_the_files_and_anonymous_forms_have_neither(
    laptop: Laptop, tmp_path: Path
) -> None:
    found = evidence(tmp_path)
    assert "scan" not in found.values["asked"], "a record without a rule is what it was"
    pin = replace(made.PIN, digest=found.record.image.digest)
    kept = keep(pin, HOLE)
    assert found.record.asked
    asked = replace(found.record.asked, scan=evidence_of(pin, kept))
    found = evidence(tmp_path, asked=asked)
    assert found.values["asked"]["scan"]["report_sha256"] == kept.report_sha256
    assert record_from_json(found.values).asked == asked
    assert "\nscan     passes: 1 CRITICAL (trivy 0.76.0, database of 2026-11-28)\n" in record_text(found.record)
    tracker = Tracker(tmp_path / "tracker.sqlite")
    crate = write_crate(session(tracker), [found], Wanted(tmp_path / "crate", BY), quiet)
    digits = pin.digest.removeprefix("sha256:")[:16]
    assert kept.report_sha256 and kept.sbom_sha256
    names = {f"scan-{digits}-{kept.report_sha256[:16]}.json", f"sbom-{digits}-{kept.sbom_sha256[:16]}.cdx.json"}
    assert names <= {*crate.by_path} and names <= {path.name for path in (tmp_path / "crate").iterdir()}
    for file in scan_folder(pin.digest).glob("report-*"):
        file.unlink()
    less = write_crate(session(tracker), [found], Wanted(tmp_path / "less", BY), quiet)
    assert [each.path for each in less.left_out] == [f"scan-{digits}-{kept.report_sha256[:16]}.json"]
    assert not less.lacking
    hidden = anonymous(found.record)
    assert hidden.asked and hidden.asked.scan and hidden.asked.scan.counts == {"CRITICAL": 1, **dict.fromkeys(REST, 0)}
    assert (hidden.asked.scan.report_sha256, hidden.asked.scan.sbom_sha256) == (None, None)
    assert "anonymous" in hidden.unknown["asked.scan.report_sha256"]


def test_a_rerun_keeps_the_rule() -> None:
    rule = {"fail_on": "HIGH", "ignore": [{"id": "CVE-2026-1", "until": "2099-01-01", "why": "x"}]}
    built = case("gpu").build()
    assert built.asked
    asked = replace(built.asked, spec=json.dumps({"name": "digits", "image": "a:1", "command": "x", "scan": rule}))
    assert experiment_text(built, asked, is_same_cluster=True).tree["scan"] == rule


def test_facts_that_no_scan_had_are_null_with_the_reason() -> None:
    found = judge({"experiment": Scan()}, None, "2026-11-29T00:00:00Z")
    assert found
    built = case("gpu").build(plan=made.plan(scan=found.evidence))
    values = record_json(built)
    assert values["asked"]["scan"]["report_sha256"] is None
    assert values["unknown"]["asked.scan.report_sha256"] == "this image was never scanned here"
    assert "scan     not verifiable: no scan: this image was never scanned here" in record_text(built)


def test_the_rule_is_read_strictly(laptop: Laptop, typed: Typed) -> None:
    wrong = {
        "fail_on": "SEVERE",
        "max_age": 30,
        "on_unknown": "hold",
        "ignore": [
            {"id": "x", "until": "2027-13-01", "why": ""},
            {"id": "CVE-1-1", "until": "soon", "why": "a\nb"},
            {},
        ],
        "since": 1,
    }
    file, _ = experiment(laptop, **wrong)
    assert typed("plan", file) == 2
    for line in (
        "scan.fail_on: 'SEVERE' is not accepted; write one of: CRITICAL, HIGH, MEDIUM, LOW, none",
        "scan.max_age: 30 has no unit; write 30d for days",
        "scan.on_unknown: 'hold' is not accepted; write one of: warn, refuse",
        "scan.ignore[0].id: 'x' is not the id of a vulnerability; write it as a scan shows it",
        "scan.ignore[0].until: '2027-13-01' is not a day; write year, month and day",
        "scan.ignore[0].why: says nothing; write why",
        "scan.ignore[1].until: 'soon' is not a day",
        "scan.ignore[1].why: is no short line",
        "scan.ignore[2].id: is missing",
        "scan.since: is not a known key",
    ):
        assert line in typed.err, line

    (laptop.folder / file).write_text(
        "name: a\nimage: a:1\ncommand: x\nscan: {ignore: [{id: CVE-1-1, until: 2027-01-01, why: x}]}\n"
    )
    assert typed("plan", file) == 2 and 'YAML reads a date from 2027-01-01; write "2027-01-01" in quotes' in typed.err
