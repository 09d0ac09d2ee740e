"""Records as in-toto Statements, PROV-JSON and MLPerf's description: as their own libraries read them, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from prov.model import ProvBundle, ProvDocument

from tests.test_anonymous import NAMES, full, in_bytes
from tests.test_record import CASES, case
from tests.typed import Type, typed_in
from tfslurm.export.anonymous import anonymous
from tfslurm.export.in_toto import git_uri, in_toto_json
from tfslurm.export.mlperf import KEYS, system_descriptions
from tfslurm.export.prov import prov_json
from tfslurm.record import Record, record_json
from tfslurm.record.model import Code, Input, Log, Output
from tfslurm.record.task_model import Gpu

VERSION = "0.1.0"
CODE = Code("git@git.example:lab/digits.git", "c" * 40, "main", False, "4b825dc642cb6eb9a060e54bf8d69288fbee4904")
HOSTILE = ("a b", "\x1b[2J", "é日", "\udcff", "../x", "#", "a:b", '"', "\\", "{}", "%41", "x" * 3000)


def whole() -> Record:
    """A record with everything that the forms tell."""
    record = case("tensorflow").build()
    attempt = replace(record.attempts[0], logs=(Log("stdout.log", 3, "a" * 64), Log("stderr.log", None, None)))
    inputs = (
        Input("run:alpha:7/out/model", "/scratch/7/out/model", 3, None, "d" * 64, "full", ""),
        Input(None, "/data/x y", 3, "e" * 64, None, "cached", ""),
        Input("moons:train", "/data/moons", None, None, None, "no", "not asked for"),
    )
    mounts = (
        *record.experiment.mounts,
        {"source": "/scratch/7/out/model", "target": "/m", "run": "run:alpha:7/out/model"},
    )
    experiment = replace(record.experiment, mounts=mounts)
    return replace(record, code=CODE, attempts=(attempt,), inputs=inputs, experiment=experiment)


def seventh() -> Record:
    record = case("gpu").build()
    return replace(record, job=replace(record.job, job_id="7"))


def hostile() -> Record:
    record = whole()
    outputs = tuple(Output(path, 1, "b" * 64) for path in HOSTILE)
    parameters = {**dict.fromkeys(HOSTILE[:3], "\x1b[2J"), "big": 2**53 - 1, "real": 0.1, "yes": True}
    return replace(record, experiment=replace(record.experiment, outputs=outputs, parameters=parameters))


RECORDS: dict[str, Callable[[], Record]] = {
    **{name: case(name).build for name in CASES},
    "whole": whole,
    "hostile": hostile,
    "anonymous": lambda: anonymous(full()),
}


# ------------------------------------------------------------------------------------------------------------- in-toto


def statement_of(record: Record) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(in_toto_json([record], VERSION))
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
def test_a_statement_is_valid_by_in_totos_own_library_and_comes_back_as_it_was(name: str) -> None:
    record = RECORDS[name]()
    text = in_toto_json([record], VERSION)
    message = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    back = json_format.MessageToDict(message)
    assert back == json.loads(text) and back["_type"] == "https://in-toto.io/Statement/v1"
    assert "\x1b" not in text
    for each in json.loads(text)["subject"]:
        assert set(each["digest"]) == {"sha256"} and len(each["digest"]["sha256"]) == 64
    predicate = json.loads(text)["predicate"]
    assert predicate["buildDefinition"]["buildType"] and predicate["runDetails"]["builder"]["id"]
    assert isinstance(predicate["buildDefinition"]["externalParameters"], dict)


def test_a_statement_says_what_was_built_of_what() -> None:
    record = whole()
    made = statement_of(record)
    assert [each["name"] for each in made["subject"]] == ["seen"]
    definition, details = (made["predicate"][key] for key in ("buildDefinition", "runDetails"))
    needed = {each["name"]: each for each in definition["resolvedDependencies"]}
    image = needed["image"]
    assert image["digest"] == {"sha256": record.image.digest.removeprefix("sha256:")}
    assert image["uri"].startswith("pkg:oci/tensorflow@sha256%3A3488ae9") and "tag=2.16.1-gpu" in image["uri"]
    assert needed["code"]["digest"] == {"gitTree": CODE.tree, "gitCommit": CODE.commit}
    assert needed["code"]["uri"] == f"git+ssh://git@git.example/lab/digits.git@{CODE.commit}"
    assert needed["/data/x y"] == {
        "name": "/data/x y",
        "uri": "file:///data/x%20y",
        "digest": {"sha256": "e" * 64},
        "annotations": {"bytes": 3, "hashed": "cached"},
    }
    assert needed["run:alpha:7/out/model"]["digest"] == {"tfslurmTree": "d" * 64}
    assert "digest" not in needed["moons:train"] and needed["moons:train"]["annotations"]["why"] == "not asked for"
    left = {each["name"]: each for each in details["byproducts"]}
    assert (
        left["attempt-1/stdout.log"]["digest"] == {"sha256": "a" * 64} and "digest" not in left["attempt-1/stderr.log"]
    )
    assert left["record.canonical.json"]["digest"] == {"sha256": record.integrity.record_sha256}
    assert (
        details["metadata"]["invocationId"] == "alpha:146" and details["metadata"]["startedOn"] == record.job.started_at
    )


def test_code_that_was_changed_has_no_commit_as_its_digest() -> None:
    made = statement_of(replace(whole(), code=replace(CODE, dirty=True)))
    (code,) = (each for each in made["predicate"]["buildDefinition"]["resolvedDependencies"] if each["name"] == "code")
    assert code["digest"] == {"gitTree": CODE.tree} and code["annotations"]["commit"] == CODE.commit
    assert code["uri"] == "git+ssh://git@git.example/lab/digits.git"


@pytest.mark.parametrize("name", ["refused", "cancelled"])
def test_a_job_without_outputs_has_its_record_as_the_subject(name: str) -> None:
    record = case(name).build()
    made = statement_of(record)
    assert made["subject"] == [{"name": "record.canonical.json", "digest": {"sha256": record.integrity.record_sha256}}]
    assert made["predicate"]["runDetails"]["metadata"]["tfslurm_state"] == record.job.state


def test_an_image_that_is_in_no_registry_has_no_package_url() -> None:
    record = whole()
    made = statement_of(replace(record, image=replace(record.image, digest_kind="config")))
    assert "uri" not in made["predicate"]["buildDefinition"]["resolvedDependencies"][0]


def test_several_statements_stand_on_a_line_each() -> None:
    lines = in_toto_json([whole(), hostile(), seventh()], VERSION).splitlines()
    assert len(lines) == 3
    for line in lines:
        Statement.copy_from_pb(json_format.Parse(line, statement_pb2.Statement())).validate()


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://git.example/lab/x.git", "git+https://git.example/lab/x.git"),
        ("git@git.example:lab/x.git", "git+ssh://git@git.example/lab/x.git"),
        ("git.example:x", "git+ssh://git.example/x"),
        ("ssh://git@h/x", "git+ssh://git@h/x"),
        ("git://h/x", "git://h/x"),
        *(
            (text, "")
            for text in ("/srv/x.git", "../x", "", "file:///x", 'https://h/"x', "https://h/ x", "ext::sh -c x")
        ),
    ],
)
def test_a_remote_is_an_address_or_none(remote: str, uri: str) -> None:
    assert git_uri(remote) == uri


# ---------------------------------------------------------------------------------------------------------------- PROV


def records_in(document: ProvBundle) -> Iterator[object]:
    yield from document.get_records()


def told(value: Any) -> Any:
    """PROV-JSON without what its readers may write in another way: the names of relations, and the types of values."""
    if isinstance(value, dict) and set(value) == {"$", "type"}:
        return str(value["$"])
    if isinstance(value, dict):
        named = {key: told(each) for key, each in value.items() if not key.startswith("_:")}
        unnamed = sorted(json.dumps(told(each), sort_keys=True) for key, each in value.items() if key.startswith("_:"))
        return {**named, **({"unnamed": unnamed} if unnamed else {})}
    if isinstance(value, list):
        return sorted(map(str, map(told, value)))
    return str(value).replace("+00:00", "Z") if not isinstance(value, bool) else str(value).lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
def test_a_document_of_prov_comes_back_from_its_library_without_loss(name: str) -> None:
    text = prov_json([RECORDS[name]()], VERSION)
    document = ProvDocument.deserialize(content=text, format="json")
    back, said = (told(json.loads(str(each))) for each in (document.serialize(format="json"), text))
    assert {**back, "prefix": ""} == {**said, "prefix": ""}
    assert ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document
    assert "\x1b" not in text


def test_prov_names_what_was_used_made_and_by_whom() -> None:
    record = whole()
    made = json.loads(prov_json([record], VERSION))
    me = record.record_id.removeprefix("urn:")
    used = {each["prov:entity"] for each in made["used"].values()}
    assert used == {
        f"sha256:{record.image.digest[7:]}",
        f"tree:{CODE.tree}",
        *(f"{me}#inputs/{place}" for place in range(3)),
    }
    generated = {each["prov:entity"] for each in made["wasGeneratedBy"].values()}
    assert generated == {f"{me}#{name}" for name in ("out", "out/seen", "attempt-1/stdout.log", "attempt-1/stderr.log")}
    assert [*made["wasDerivedFrom"].values()] == [
        {"prov:generatedEntity": f"{me}#out", "prov:usedEntity": f"{me}#inputs/0"}
    ]
    (first, _) = made["wasAssociatedWith"].values()
    assert first == {
        "prov:activity": f"{me}#attempt-1",
        "prov:agent": "acct:alice@alpha",
        "prov:plan": f"{me}#exp.yaml",
    }
    assert made["entity"][f"{me}#out/seen"]["tfslurm:sha256"] == record.experiment.outputs[0].sha256  # type: ignore[index]
    assert {"prov:label", "prov:startTime", "tfslurm:gpuModel"} <= set(made["activity"][f"{me}#attempt-1"])


def test_each_attempt_is_an_activity_informed_by_the_one_before() -> None:
    record = case("requeued").build()
    made = json.loads(prov_json([record], VERSION))
    me = record.record_id.removeprefix("urn:")
    assert [*made["activity"]] == [f"{me}#attempt-1", f"{me}#attempt-2"]
    assert [*made["wasInformedBy"].values()] == [
        {"prov:informed": f"{me}#attempt-2", "prov:informant": f"{me}#attempt-1"}
    ]
    assert {each["prov:activity"] for each in made["wasGeneratedBy"].values()} == {f"{me}#attempt-2"}
    none = json.loads(prov_json([replace(record, attempts=())], VERSION))
    assert [*none["activity"]] == [f"{me}#job"]


def test_several_records_are_bundles_of_which_one_derives_from_another() -> None:
    first, second = seventh(), whole()
    text = prov_json([first, second], VERSION)
    document = ProvDocument.deserialize(content=text, format="json")
    assert len([*document.bundles]) == 2 and all([*records_in(bundle)] for bundle in document.bundles)
    made = json.loads(text)["bundle"]
    source = f"{first.record_id.removeprefix('urn:')}#out/model"
    (derived,) = made[second.record_id.removeprefix("urn:")]["wasDerivedFrom"].values()
    assert derived["prov:usedEntity"] == source
    assert source in made[second.record_id.removeprefix("urn:")]["entity"]


# -------------------------------------------------------------------------------------------------------------- MLPerf

TRAINING = """submitter division status system_name number_of_nodes host_processors_per_node host_processor_model_name
host_processor_core_count host_processor_vcpu_count host_processor_frequency host_processor_caches
host_processor_interconnect host_memory_capacity host_storage_type host_storage_capacity host_networking
host_networking_topology host_memory_configuration accelerators_per_node accelerator_model_name
accelerator_host_interconnect accelerator_frequency accelerator_on-chip_memories accelerator_memory_configuration
accelerator_memory_capacity accelerator_interconnect accelerator_interconnect_topology cooling hw_notes framework
other_software_stack operating_system sw_notes"""
INFERENCE = f"{TRAINING} system_type system_type_detail host_network_card_count".replace(
    "host_processor_vcpu_count", ""
)
"As the checkers of mlcommons/logging and mlcommons/inference have them; see tfslurm/export/mlperf.py."


@pytest.mark.parametrize("name", RECORDS)
def test_every_key_that_the_checkers_demand_is_a_text(name: str) -> None:
    (made,) = system_descriptions([RECORDS[name]()])
    assert {*TRAINING.split(), *INFERENCE.split()} == set(made) == set(KEYS)
    assert all(isinstance(value, str) for value in made.values())
    for key in (
        "division",
        "submitter",
        "status",
        "system_name",
        "system_type",
        "host_processor_core_count",
        "cooling",
    ):
        assert made[key] == "", "nobody observed it"


def test_the_description_has_what_was_observed() -> None:
    (made,) = system_descriptions([whole()])
    assert (made["accelerators_per_node"], made["number_of_nodes"]) == ("1", "1")
    assert (
        made["accelerator_model_name"] == "NVIDIA A100-SXM4-40GB" and made["accelerator_memory_capacity"] == "40960 MiB"
    )
    assert made["framework"] == "TensorFlow 2.16.1" and "NVIDIA driver 550.54.14" in made["other_software_stack"]
    assert made["sw_notes"].endswith(whole().image.digest)


def test_a_run_without_gpus_has_none_and_one_of_which_they_are_unknown_says_nothing() -> None:
    (none,) = system_descriptions([case("failed").build()])
    assert (none["accelerators_per_node"], none["accelerator_model_name"]) == ("0", "N/A")
    record = case("gpu").build()
    task = replace(record.attempts[0].tasks[0], gpus=None)
    (unknown,) = system_descriptions([replace(record, attempts=(replace(record.attempts[0], tasks=(task,)),))])
    assert (unknown["accelerators_per_node"], unknown["accelerator_model_name"]) == ("", "")
    (absent,) = system_descriptions([replace(record, attempts=())])
    assert absent["accelerators_per_node"] == ""


def test_tasks_that_share_a_gpu_count_it_once_and_nodes_that_differ_are_not_told_as_one() -> None:
    record = case("tasks").build()
    (made,) = system_descriptions([record])
    assert made["accelerators_per_node"] == "2"
    first, second = record.attempts[0].tasks
    gpus = (Gpu("GPU-1", "H100", 1), Gpu("GPU-2", "H100", 1))
    other = replace(second, node="alpha9", cpu_model="another", gpus=gpus)
    (mixed,) = system_descriptions([replace(record, attempts=(replace(record.attempts[0], tasks=(first, other)),))])
    assert (mixed["accelerator_model_name"], mixed["host_processor_model_name"], mixed["number_of_nodes"]) == (
        "",
        "",
        "2",
    )


def test_systems_that_are_the_same_are_described_once() -> None:
    assert len(system_descriptions([whole(), whole(), case("failed").build()])) == 2


# ----------------------------------------------------------------------------------------------------------- anonymous


def test_no_form_of_an_anonymous_record_holds_a_name() -> None:
    record = anonymous(full())
    for text in (
        in_toto_json([record], VERSION),
        prov_json([record], VERSION),
        json.dumps(system_descriptions([record])),
    ):
        assert in_bytes(NAMES, text.encode()) == []


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def type_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    environment = {"HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / "config", "XDG_DATA_HOME": tmp_path / "data"}
    return typed_in(tmp_path, environment, monkeypatch, capsys)


@pytest.mark.parametrize(
    "options", ["--format=in-toto", "--format=prov", "--format=mlperf", "--anonymous --json", "--docker"]
)
def test_a_record_that_was_changed_gets_no_form_that_hides_it(type_in: Type, tmp_path: Path, options: str) -> None:
    values = record_json(case("gpu").build())
    (tmp_path / "whole.json").write_text(json.dumps(values))
    values["job"]["user"] = "mallory"
    (tmp_path / "changed.json").write_text(json.dumps(values))
    assert type_in("provenance", "whole.json", *options.split())[0] == 0
    code, out, err = type_in("provenance", "changed.json", *options.split())
    assert code == 1 and "mallory" not in out and "is not what its record_sha256 says" in out + err


@pytest.mark.slow
def test_an_anonymous_form_says_which_names_cannot_be_told_from_words(type_in: Type, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(record_json(full())))
    code, out, err = type_in("provenance", "record.json", "--anonymous", "--json")
    assert code == 0 and in_bytes(NAMES, out.encode()) == [] and "'gpu'" in err and "ordinary words" in err
    code, out, err = type_in("provenance", "record.json", "--anonymous")
    assert code == 0 and in_bytes(NAMES, out.encode()) == [] and "user-1" in out
