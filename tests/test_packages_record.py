"""What a record says of the packages that an experiment adds to its image, in all its forms."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from tests.made_wheels import wheel
from tests.test_record import TASK, Case, case
from tfslurm.audit.findings import There, packages_findings
from tfslurm.errors import InputError
from tfslurm.export.anonymous import anonymous, planted
from tfslurm.export.citation.settings import settings_of
from tfslurm.export.citation.statement import Table, plain, statement
from tfslurm.export.crate.software import requirements_of
from tfslurm.export.docker_run import docker_run, install_line
from tfslurm.export.text import record_text
from tfslurm.host.files import tree_contents
from tfslurm.host.local import LocalHost
from tfslurm.image import read_lock
from tfslurm.image.packages import PackageLock, Wheel, package_lock
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.comparison import Run
from tfslurm.record.comparison.differences import differences
from tfslurm.record.comparison.environment import environment
from tfslurm.record.model import Layer, Package, Verdict, record_sha256
from tfslurm.record.verification import Part
from tfslurm.reruns.check import packages_facts
from tfslurm.reruns.workspace import Wish, keep_packages
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.layers import layer_dir, layer_lists, layer_part

CONTENTS = "c0" * 32
OK = "ok: every file is what was installed\n"


def lock_of(one: Case, version: str = "3.1.1", url: str = "https://files.pythonhosted.org/x/") -> PackageLock:
    wheels = (wheel("pandas", version), wheel("python-dateutil", "2.9"))
    named = [Wheel(w.name, w.version, w.file, w.sha256, len(w.content), f"{url}{w.file}") for w in wheels]
    about = {"asked": "0" * 64, "python": "3.11.2", "platform": "manylinux_2_36_x86_64", "resolver": "pip 24.0"}
    return package_lock(named, image=one.plan.pin.digest, index="https://pypi.org/simple", **about)


def layer_json(lock: PackageLock, **changes: Any) -> bytes:
    packages = [{"name": each.name, "version": each.version} for each in lock.wheels]
    values = {
        "schema": "tfslurm.packages/1", "key": lock.key, "image": lock.image, "files": 12, "bytes": 3456,
        "contents_sha256": CONTENTS, "installed_at": "2026-11-29T06:00:00.000Z", "installed_by": "alpha:7",
        "node": "alpha1", "engine": "docker",
        "installed": {"python": "3.11.2", "pip": "24.0", "packages": packages},
    }  # fmt: skip
    return json.dumps({**values, **changes}).encode()


def built(name: str = "gpu", files: dict[str, bytes] | None = None, **lock: str) -> Record:
    one = case(name)
    packages = lock_of(one, **lock)
    there = {f"{TASK}packages.json": layer_json(packages), f"{TASK}packages-check.txt": OK.encode()}
    there |= {f"{TASK}packages-installed.txt": b"present\n"}
    return one.build(plan=replace(one.plan, packages=packages), files={**one.files, **there, **(files or {})})


def test_a_record_has_the_layer_its_packages_and_the_verdict_on_it() -> None:
    record = built()
    inside = record.environment
    assert inside.layer_packages == (Package("pandas", "3.1.1"), Package("python-dateutil", "2.9"))
    assert inside.layer and (inside.layer.contents_sha256, inside.layer.files, inside.layer.pip) == (
        CONTENTS, 12, "24.0",
    )  # fmt: skip
    assert record.verified.packages == Verdict("ok", "every file is what was installed; 2 wheels, installed before")
    values = record_json(record)
    assert (
        list(values["environment"])[-2:] == ["layer_packages", "layer"] and list(values["verified"])[-1] == "packages"
    )
    assert record_from_json(json.loads(json.dumps(values))) == record
    assert record_sha256(values) == record.integrity.record_sha256
    assert record.asked and read_lock(record.asked.lock, "lock").packages == lock_of(case("gpu"))


def test_a_record_without_packages_has_none_of_these_keys() -> None:
    values = record_json(case("gpu").build())
    assert not {"layer", "layer_packages"} & values["environment"].keys() and "packages" not in values["verified"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({f"{TASK}packages.json": b"{}"}, "packages.json cannot be read: KeyError: 'schema'"),
        ({f"{TASK}packages.json": b"\xff"}, "packages.json cannot be read"),
        ({f"{TASK}packages.json": layer_json(lock_of(case("gpu")), key="e" * 64)}, "the layer on the node was eeee"),
        ({f"{TASK}packages.json": layer_json(lock_of(case("gpu")), files="many")}, "it is no layer"),
        ({f"{TASK}packages.json": layer_json(lock_of(case("gpu")), contents_sha256="x")}, "it is no layer"),
        ({f"{TASK}packages.json": layer_json(lock_of(case("gpu")), installed=[])}, "it is no layer"),
    ],
)
def test_a_node_that_wrote_something_else_is_not_believed(files: dict[str, bytes], why: str) -> None:
    record = built(files=files)
    assert record.environment.layer == Layer(lock_of(case("gpu")).key)
    assert why in record.unknown["environment.layer"] and record.environment.layer_packages is None


def test_a_list_that_is_none_is_unknown_and_the_layer_stays_known() -> None:
    odd = layer_json(lock_of(case("gpu")), installed={"python": 3, "pip": "24.0", "packages": "all"})
    record = built(files={f"{TASK}packages.json": odd})
    assert record.environment.layer and record.environment.layer.contents_sha256 == CONTENTS
    assert record.environment.layer.python is None
    assert record.unknown["environment.layer_packages"] == "the installer did not list them"


def test_a_layer_that_changed_and_a_task_that_never_had_it_are_told_apart() -> None:
    gone = b"tfslurm: alpha1: packages: /r/packages/k/layer does not hold what was installed; remove it\n"
    failed = built(files={f"{TASK}packages-check.txt": b"failed: it does not hold\n"})
    assert failed.verified.packages == Verdict("failed", "it does not hold")
    one = case("gpu")
    plan = replace(one.plan, packages=lock_of(one))
    refused = one.build(plan=plan, files={**one.files, f"{TASK}refused.txt": gone})
    assert refused.verified.packages and refused.verified.packages.status == "failed"
    assert "the program was not started: alpha1: packages:" in refused.verified.packages.reason
    assert refused.unknown["environment.layer"] == "no task of the last attempt came so far that it had the packages"


def test_the_screen_has_the_link_and_what_was_added() -> None:
    said = record_text(built())
    assert "packages: every file is what was installed; 2 wheels, installed before" in said
    key = lock_of(case("gpu")).key
    assert f"pandas 3.1.1, python-dateutil 2.9 (layer {key[:12]}…, contents sha256:{CONTENTS[:12]}…)" in said


def test_two_runs_with_other_packages_differ_in_these() -> None:
    a, b, none = built(), built(version="3.2.0"), case("gpu").build()
    assert environment(a, built()).differs == ()
    lines = environment(a, b).evidence
    assert "added packages: pandas 3.1.1 / pandas 3.2.0" in lines
    assert any(line.startswith("added packages: pandas 3.1.1, python-dateutil 2.9 / none") for line in
               environment(a, none).evidence)  # fmt: skip
    other = built(files={f"{TASK}packages.json": layer_json(lock_of(case("gpu")), contents_sha256="d1" * 32)})
    assert environment(a, other).differs == ("added files",)
    rows = {each.what: (each.a, each.b) for each in differences(Run(a), Run(b))}
    assert rows["added package pandas"] == ("3.1.1", "3.2.0")
    assert "packages layer" in rows
    assert [what for what in rows if what.startswith("added ")] == ["added package pandas"]


def test_what_was_not_observed_is_not_taken_for_the_same() -> None:
    blind = built(files={f"{TASK}packages.json": b"{}"})
    assert ("added files", blind.unknown["environment.layer"]) in environment(blind, built()).unknown


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "These Python packages were added to it: pandas 3.1.1 and python-dateutil 2.9 (layer "),
        ("zh", "在该镜像之外另加入以下 Python 包：pandas 3.1.1和python-dateutil 2.9（层 "),
    ],
)
def test_a_citation_names_the_packages(language: str, sentence: str) -> None:
    parts = statement(settings_of([built()]), language)
    assert sentence in "".join(plain(part) for part in parts if not isinstance(part, Table))


def test_runs_with_other_packages_are_other_groups_of_a_citation() -> None:
    assert len(settings_of([built(), built(version="3.2.0")]).groups) == 2


def test_an_anonymous_form_keeps_the_hashes_and_hides_where_the_wheels_came_from() -> None:
    record = built(url="file:///home/alice/wheels/")
    made = anonymous(record)
    assert made.environment.layer and made.environment.layer.key == lock_of(case("gpu")).key
    assert made.environment.layer.installed_by is None and "environment.layer.installed_by" in made.unknown
    text = json.dumps(record_json(made))
    assert "/home/alice" not in text and not [name for name in planted(record) if name in text]
    assert made.asked
    packages = read_lock(made.asked.lock, "lock").packages
    assert packages and [each.sha256 for each in packages.wheels] == [
        each.sha256 for each in lock_of(case("gpu")).wheels
    ]
    kept = anonymous(built())
    assert kept.asked and "https://files.pythonhosted.org/x/pandas" in kept.asked.lock


def test_a_package_that_has_somebodys_name_is_not_in_an_anonymous_lock() -> None:
    one = case("gpu")
    mine = wheel(f"{one.plan.user}-tools", "1.0")
    named = [Wheel(mine.name, "1.0", mine.file, mine.sha256, 9, f"https://files.pythonhosted.org/{mine.file}")]
    about = {"asked": "0" * 64, "python": "3.11.2", "platform": "manylinux_2_36_x86_64", "resolver": "pip 24.0"}
    lock = package_lock(named, image=one.plan.pin.digest, index="", **about)
    files = {**one.files, f"{TASK}packages.json": layer_json(lock)}
    record = one.build(plan=replace(one.plan, packages=lock), files=files)
    made = anonymous(record)
    assert made.asked and read_lock(made.asked.lock, "lock").packages is None
    assert one.plan.user not in json.dumps(record_json(made))


def on_disk(root: Path) -> Evidence:
    """A record whose layer is in a folder of this machine."""
    lock = lock_of(case("gpu"))
    site = root / "packages" / lock.key / "layer" / "site"
    (site / "pandas").mkdir(parents=True)
    (site / "pandas" / "__init__.py").write_text("VERSION = '3.1.1'\n")
    (site / "tool").write_text("#!/bin/sh\n")
    (site / "tool").chmod(0o700)
    host = LocalHost("alpha")
    contents = sha256(tree_contents(host, PurePosixPath(site))).hexdigest()
    record = built(files={f"{TASK}packages.json": layer_json(lock, contents_sha256=contents)})
    return Evidence(record, record_json(record), host, PurePosixPath(root / "runs" / "digits-0123456789ab"))


def test_verify_compares_the_layer_with_the_record(tmp_path: Path) -> None:
    evidence = on_disk(tmp_path)

    def part() -> Part | None:
        assert evidence.host
        return layer_part(evidence, layer_lists(evidence.host, [evidence]))

    folder = layer_dir(evidence)
    assert folder and (found := part()) and found.status == "unchanged"
    (Path(folder) / "pandas" / "more.py").write_text("")
    assert (found := part()) and found.status == "changed" and str(folder) in found.reason
    shutil.rmtree(folder)
    assert (found := part()) and (found.name, found.status) == ("packages", "missing")
    record = case("gpu").build()
    bare = evidence._replace(record=record)
    assert layer_part(bare, {}) is None


def test_a_key_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    evidence = on_disk(tmp_path)
    inside = evidence.record.environment
    evil = replace(inside, layer=replace(inside.layer, key="../../etc"))  # type: ignore[type-var]
    moved = evidence._replace(record=replace(evidence.record, environment=evil))
    assert layer_dir(moved) is None
    found = layer_part(moved, {})
    assert found and found.status == "not verifiable"


def test_audit_says_whether_the_layer_is_there() -> None:
    record = built()
    findings = {
        "ok": There("", has_layer=True),
        "unknown": There(""),
    }
    for status, there in findings.items():
        (found,) = packages_findings(record, there)
        assert (found.name, found.status) == ("packages", status)
    (silent,) = packages_findings(record, There("alpha: no answer"))
    assert silent.reason == "alpha: no answer"
    assert list(packages_findings(case("gpu").build(), There(""))) == []


def test_the_line_of_docker_mounts_the_packages_where_the_job_had_them() -> None:
    found = docker_run(built(), packages="packages")
    assert """--mount type=bind,source="$PWD"/packages,target=/opt/tfslurm/packages,readonly""" in found.line
    assert "--env=PYTHONPATH=/opt/tfslurm/packages" in found.line and not found.fill.get("/PATH/TO/packages")
    alone = docker_run(built())
    assert "source=/PATH/TO/packages,target=/opt/tfslurm/packages" in alone.line
    assert "the packages of layer" in alone.fill["/PATH/TO/packages"]
    assert "packages" not in docker_run(case("gpu").build()).line


def test_a_crate_has_the_wheels_with_their_hashes_as_pip_reads_them() -> None:
    lines = requirements_of(built()).splitlines()
    first = lock_of(case("gpu")).wheels[0]
    assert lines[0] == f"pandas==3.1.1 --hash=sha256:{first.sha256}" and len(lines) == 2
    assert requirements_of(case("gpu").build()) == ""
    line = install_line(built(), "packages.txt", "packages")
    assert line.endswith("--require-hashes --target /crate/packages --requirement /crate/packages.txt")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"packages": "[six]"}, "--set packages: a rerun has the packages of its original, by their hashes"),
        (
            {"image": "tensorflow/tensorflow:2.17.0"},
            "--set image: the packages of the original were locked for sha256:",
        ),
    ],
)
def test_a_rerun_refuses_settings_that_would_lose_the_packages(
    settings: dict[str, str], why: str, tmp_path: Path
) -> None:
    record = built()
    assert record.asked
    before: Any = record.asked
    nobody: Any = None
    with pytest.raises(InputError, match=why):
        keep_packages(nobody, before, nobody, Wish(settings=settings), tmp_path / "exp.lock.yaml")
    keep_packages(nobody, before, nobody, Wish(), tmp_path / "exp.lock.yaml")
    assert not (tmp_path / "exp.lock.yaml").exists()


def test_a_check_of_a_rerun_says_where_the_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    evidence = on_disk(tmp_path)
    session: Any = SimpleNamespace(reach=lambda known: LocalHost("alpha"), say=lambda *words: None)
    known: Any = SimpleNamespace(cluster=SimpleNamespace(root=PurePosixPath(tmp_path)))
    key = lock_of(case("gpu")).key
    assert packages_facts(session, known, case("gpu").build()) == []
    (gone,) = packages_facts(session, known, evidence.record)  # the folder is there, and not what was made of it
    assert (gone.fact, gone.status) == ("packages", "FAIL") and gone.value.startswith(f"2 wheels, layer {key[:12]}…: ")
    (tmp_path / "packages" / key / "layer" / "layer.json").write_text("{}")
    (there,) = packages_facts(session, known, evidence.record)
    assert (there.status, there.value) == ("ok", f"2 wheels, layer {key[:12]}…: on the cluster")
    shutil.rmtree(tmp_path / "packages" / key / "layer")
    for each in (wheel("pandas", "3.1.1"), wheel("python-dateutil", "2.9")):
        each.put(tmp_path / "cache" / "tfslurm" / "wheels" / each.sha256)
    (here,) = packages_facts(session, known, evidence.record)
    assert here.value.endswith(": 2 are here, and are sent")
