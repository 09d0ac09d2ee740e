"""`verify` of a crate: one byte changed anywhere is seen and named, and so is what roc-validator does not look at."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests import validator
from tests.crates import JOB, files_in, made_crate, summed
from tfslurm.export.anonymous import anonymous
from tfslurm.export.crate.contents import SUMS
from tfslurm.record import record_from_json, record_json
from tfslurm.record.crate_metadata import METADATA
from tfslurm.record.crate_verification import read_sums
from tfslurm.record.model import seal
from tfslurm.record.verification import Part
from tfslurm.retrieval.crate_files import Crate, CrateFile, crate_at
from tfslurm.retrieval.crate_verification import CheckedCrate, crate_parts
from tfslurm.retrieval.verify import verified_crate
from tfslurm.workspace.session import Session

EDITS = 10_000
NOT_HERE = {"chain", "anchor", "signature", "people", "input /var/tmp/tfslurm-bed/scratch/alpha/alice/data"}
"What is not verifiable: this machine's tracker did not make the record, and nobody signed it."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crate")
    made_crate(folder)
    return folder


@pytest.fixture
def crate(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "crate"))


def parts(folder: Path, *, partial: bool = False) -> list[Part]:
    with Session(print) as session:
        found = verified_crate(session, crate_at(session, folder), partial=partial)
        return [part for each in found for part in each.parts]


def bad(folder: Path) -> dict[str, str]:
    """Name -> reason of the parts that do not hold."""
    return {part.name: part.reason for part in parts(folder) if part.is_bad}


def test_a_whole_crate_is_unchanged_in_every_part(made: Path) -> None:
    found = parts(made)
    assert {part.name for part in found if part.status != "unchanged"} == NOT_HERE
    names = {part.name for part in found}
    assert {"record", "experiment", "lock", "plan", "script", "outputs", "code", "facts", "metadata", SUMS} <= names


def test_a_zip_of_it_is_too(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "crate"), "zip", made))
    assert not bad(path)
    assert {part.name for part in parts(path) if part.status != "unchanged"} == NOT_HERE


# Which part names a byte that was changed in a file, where the sums and the metadata were made to fit.
NAMED = {
    "record.json": "record",
    "record.canonical.json": "canonical bytes",
    "exp.yaml": "exp.yaml",
    "exp.lock.yaml": "exp.lock.yaml",
    "job.sbatch": "script",
    "plan.json": "plan",
    f"{JOB}/out/metrics.json": "output metrics.json",
    f"{JOB}/attempt-1/stdout.log": "log attempt-1/stdout.log",
    f"{JOB}/attempt-1/facts/task-0/gpus.txt": "facts",
    "train.py": "code",
}


IN_FOLDERS = ("train.py", f"{JOB}/attempt-1/facts/task-0/gpus.txt")
"Whose folders the metadata list."


def path_of(crate: Path, name: str) -> Path:
    return next(crate.glob(f"code/*/{name}")) if name == "train.py" else crate / name


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.find(b"1", len(data) // 3)
    data[place if place >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def fit_metadata(crate: Path) -> None:
    """Do what somebody does who changes a file and does not want it to be seen."""
    values = json.loads((crate / METADATA).read_text())
    for entity in values["@graph"]:
        path = crate / entity["@id"]
        if entity["@type"] == "File" and path.is_file() and path.name != SUMS:
            entity |= {"sha256": sha256(path.read_bytes()).hexdigest(), "contentSize": str(path.stat().st_size)}
    (crate / METADATA).write_text(json.dumps(values, indent=1))
    summed(crate)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_changed_byte_is_named_even_where_the_sums_were_made_to_fit(crate: Path, name: str) -> None:
    change_byte(path_of(crate, name))
    file = str(path_of(crate, name).relative_to(crate))
    found = bad(crate)
    assert f"file {file}" in found and (f"{METADATA}: {file}" in found or name in IN_FOLDERS)
    fit_metadata(crate)
    found = bad(crate)
    assert NAMED[name] in found and f"file {file}" not in found, found


def test_the_file_of_the_code_that_was_changed_is_named_by_the_sums_or_by_git(
    crate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree,) = (crate / "code").iterdir()
    repository = tmp_path / "repository"
    shutil.copytree(tree, repository)
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    change_byte(tree / "train.py")
    (tree / "more.py").write_text("x")
    assert bad(crate)["code"].startswith("more.py, train.py changed, came or went: Git gives its files the tree ")
    fit_metadata(crate)
    assert bad(crate)["code"].startswith("Git gives its files the tree ")
    monkeypatch.chdir(repository)
    assert bad(crate)["code"].startswith("more.py, train.py changed, came or went: ")


def edit(crate: Path, change: Callable[[dict[str, dict[str, Any]]], object]) -> None:
    """Change the metadata's entities by their ids, and make the sums fit."""
    values = json.loads((crate / METADATA).read_text())
    entities = {entity["@id"]: entity for entity in values["@graph"]}
    action = next(each for each in entities.values() if each["@type"] == "CreateAction")
    image = next(each for each in entities.values() if each["@type"] == "ContainerImage")
    change({**entities, "action": action, "#image": image})
    (crate / METADATA).write_text(json.dumps(values))
    summed(crate)


@pytest.mark.parametrize("run", ["#another", "urn:uuid:00000000-0000-0000-0000-000000000000"])
def test_a_run_that_is_in_no_record_is_named(crate: Path, run: str) -> None:
    values = json.loads((crate / METADATA).read_text())
    action = next(each for each in values["@graph"] if each["@type"] == "CreateAction")
    values["@graph"].append({**action, "@id": run, "name": "accuracy 0.99"})
    (crate / METADATA).write_text(json.dumps(values))
    summed(crate)
    assert bad(crate) == {"metadata": f"no record in the crate has the run {run}"}


@pytest.mark.slow
def test_what_was_appended_to_a_log_is_told_and_never_read_into_memory(crate: Path) -> None:
    log = crate / f"{JOB}/attempt-1/stdout.log"
    os.truncate(log, log.stat().st_size + 2**27)
    fit_metadata(crate)
    tracemalloc.start()
    found = parts(crate)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not [part for part in found if part.is_bad] and most < 2**27
    assert any(f"{2**27} bytes were appended" in part.reason for part in found if part.name == "logs")


DOCKER = "https://w3id.org/ro/terms/workflow-run#DockerImage"
BROKEN: dict[str, tuple[Callable[[dict[str, dict[str, Any]]], object], str]] = {
    "no image": (lambda all: all["action"].pop("containerImage"), "it has no containerImage"),
    "no digest": (lambda all: all["#image"].pop("sha256"), "a tag names no fixed bytes"),
    "prefix": (lambda all: all["#image"].update(sha256="sha256:" + "a" * 64), "not 64 hexadecimal digits"),
    "wrong text": (lambda all: all["#image"].update(sha256="latest"), "not 64 hexadecimal digits"),
    "upper case": (lambda all: all["#image"].update(sha256="A" * 64), "not 64 hexadecimal digits"),
    "another image": (lambda all: all["#image"].update(sha256="b" * 64), "its image has the sha256 bbbb"),
    "another tag": (lambda all: all["#image"].update(tag="9"), "its image is named "),
    "another registry": (lambda all: all["#image"].update(registry="ghcr.io"), "its image is named ghcr.io/"),
    "kind as text": (lambda all: all["#image"].update(additionalType=DOCKER), "additionalType of its image is ''"),
    "short kind": (lambda all: all["#image"].update(additionalType={"@id": "DockerImage"}), "'DockerImage', not a"),
    "no status": (lambda all: all["action"].pop("actionStatus"), "no actionStatus says how"),
    "error": (lambda all: all["action"].update(error="exit 1"), "it completed, and has an error"),
    "other status": (
        lambda all: all["action"].update(actionStatus="http://schema.org/FailedActionStatus"),
        "and the record's state COMPLETED",
    ),
    "time with Z": (lambda all: all["action"].update(endTime="2026-11-23T08:22:58Z"), "endTime ends in Z"),
    "no time": (lambda all: all["action"].update(endTime="yesterday"), "is no time"),
    "other time": (
        lambda all: all["action"].update(endTime="2026-11-24T08:22:58+00:00"),
        "and the record's 2026-11-23",
    ),
    "profile": (
        lambda all: all["./"].update(conformsTo={"@id": "https://w3id.org/ro/wfrun/process/0.6"}),
        "its profile 0.6 is not for RO-Crate 1.1",
    ),
    "version": (
        lambda all: all[METADATA].update(conformsTo={"@id": "https://w3id.org/ro/crate/1.3"}),
        "its profile 0.5 is not for RO-Crate 1.3",
    ),
    "size": (lambda all: all["job.sbatch"].update(contentSize="7"), "job.sbatch has 33 bytes, and it says 7"),
    "hash": (lambda all: all["job.sbatch"].update(sha256="0" * 64), "job.sbatch has the sha256"),
    "a file that is not there": (lambda all: all["job.sbatch"].update({"@id": "gone"}), "gone is not there"),
    "no run": (lambda all: all["action"].update({"@type": "Action"}), "it names no run"),
    "another run": (lambda all: all["action"].update({"@id": "#other"}), "no run in the metadata has the record's id"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_crate_that_is_broken_is_named_right(crate: Path, name: str) -> None:
    change, why = BROKEN[name]
    edit(crate, change)
    assert any(why in reason for reason in bad(crate).values()), bad(crate)


def test_an_output_that_no_record_names_is_named_whatever_the_sums_say(crate: Path) -> None:
    (crate / "59/out/paper.csv").write_text("accuracy\n0.99\n")
    fit_metadata(crate)
    assert bad(crate) == {"output paper.csv": "the record does not name it: it was put there after the job had ended"}


def test_files_that_came_later_or_are_gone_and_links_are_named(crate: Path) -> None:
    (crate / "more.txt").write_text("x")
    (crate / "more.sig").write_text("x")
    (crate / "record.json.sig").write_text("x")
    (crate / JOB / "out" / "metrics.json").unlink()
    (crate / "job.sbatch").unlink()
    (crate / "job.sbatch").symlink_to("/etc/passwd")
    found = bad(crate)
    assert "does not name it" in found["file more.txt"] and "does not name it" in found["file more.sig"]
    assert "file record.json.sig" not in found
    assert "not there any more" in found[f"file {JOB}/out/metrics.json"]
    assert "the record names it" in found["output metrics.json"]
    assert "file job.sbatch" in found


@pytest.mark.parametrize("name", [METADATA, SUMS, "record.json"])
def test_what_a_crate_must_have_is_missed(crate: Path, name: str) -> None:
    (crate / name).unlink()
    assert bad(crate), name


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "tfslurm.record/2"}', "[" * 10_000])
def test_a_record_that_is_none_any_more_is_named_and_hides_nothing_else(crate: Path, text: str) -> None:
    (crate / "record.json").write_text(text)
    (crate / "job.sbatch").write_text("x")
    found = bad(crate)
    assert {"record.json", "file record.json", "file job.sbatch"} <= {*found}


def test_a_crate_of_another_tool_is_held_against_what_it_says_alone(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "golden" / "foreign-crate.json", tmp_path / METADATA)
    values = json.loads((tmp_path / METADATA).read_text())
    values["@graph"][-2] |= {"@id": "data.csv", "contentSize": "3", "sha256": "0" * 64}
    (tmp_path / METADATA).write_text(json.dumps(values))
    (tmp_path / "data.csv").write_text("a,b")
    found = {part.name: part for part in parts(tmp_path)}
    assert found[f"{METADATA}: data.csv"].status == "changed"
    assert found[SUMS].status == "not verifiable"
    assert found["metadata"].status == "not verifiable" and "no actionStatus" in found["metadata"].reason
    values["@graph"][-2] |= {"sha256": sha256(b"a,b").hexdigest()}
    values["@graph"][4] |= {"actionStatus": "http://schema.org/CompletedActionStatus"}
    (tmp_path / METADATA).write_text(json.dumps(values))
    assert [(part.name, part.status) for part in parts(tmp_path)] == [
        ("metadata", "not verifiable"),
        ("listed files", "unchanged"),
        (SUMS, "not verifiable"),
    ]


# --------------------------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"0" * 64 + b"  a",
        b"0" * 64 + b" a\n",
        b"0" * 64 + b" *a\n",
        b"A" * 64 + b"  a\n",
        b"0" * 63 + b"  a\n",
        b"0" * 64 + b"  \n",
        (b"0" * 64 + b"  a\n") * 2,
        b"\n" + b"0" * 64 + b"  a\n",
    ],
)
def test_sums_that_sha256sum_does_not_write_so_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        read_sums(text)


def test_names_that_are_escaped_are_read_as_they_are() -> None:
    text = b"\\" + b"1" * 64 + b"  a\\nb\\\\c\n" + b"2" * 64 + b"  d\\n\n" + b"3" * 64 + b"  \xff\n"
    assert read_sums(text) == {"a\nb\\c": "1" * 64, "d\\n": "2" * 64, "\udcff": "3" * 64}


# ------------------------------------------------------------------------------------------------------- random edits


def edits(folder: Path, chance: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Edits without end: a file, and what it holds then; None: it is gone."""
    names = files_in(folder)
    contents = {name: (folder / name).read_bytes() for name in names}
    while True:
        name = chance.choice(names)
        data = contents[name]
        place = chance.randrange(len(data)) if data else 0
        lines = data.splitlines(keepends=True)
        line = chance.randrange(len(lines)) if lines else 0
        made = chance.choice(
            [
                data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :] if data else b"x",
                data[:place] + data[place + 1 :],
                data[:place] + bytes([chance.randrange(256)]) + data[place:],
                data[:place],
                data + b"\n",
                b"".join([*lines[:line], *lines[line + 1 :]]),
                b"".join([*lines[:line], *lines[line : line + 1], *lines[line:]]),
                b"".join(chance.sample(lines, len(lines))),
                contents[chance.choice(names)],
                None,
            ]
        )
        if made != data:
            yield name, made
            yield f"{name}.new", data


class Edited(CheckedCrate):
    """A crate one of whose files holds something else, without a file that is written."""

    def __init__(self, whole: CheckedCrate, name: str, data: bytes | None) -> None:
        files = {path: each for path, each in whole.crate.files.items() if path != name}
        now = {path: each for path, each in whole.now.items() if path != name}
        if data is not None:
            files[name] = CrateFile("f", len(data))
            now[name] = sha256(data).hexdigest()
        self.crate, self.now, self.metadata, self.why = whole.crate._replace(files=files), now, whole.metadata, ""
        self.name, self.data = name, data

    def text(self, path: str, most: int = 2**24) -> bytes | None:
        return self.data if path == self.name else super().text(path, most)


@pytest.mark.slow
def test_no_random_edit_of_a_crate_passes_as_unchanged(made: Path) -> None:
    with Session(print) as session:
        found: Crate = crate_at(session, made)
        whole = CheckedCrate(found)
    every = edits(made, random.Random(13))
    for _ in range(EDITS):
        name, data = next(every)
        assert any(part.is_bad for part in crate_parts(Edited(whole, name, data))), (name, data)
    assert not [part for part in crate_parts(whole) if part.is_bad]


def test_an_output_whose_names_were_replaced_is_no_change(crate: Path) -> None:

    record = record_from_json(json.loads((crate / "record.json").read_text()))
    hidden = anonymous(record)
    hidden = seal(replace(hidden, job=replace(hidden.job, job_id=JOB)))
    assert hidden.experiment.outputs and hidden.record_id != record.record_id
    (crate / "record.json").write_text(json.dumps(record_json(hidden)))
    (crate / "record.canonical.json").unlink()
    (crate / JOB / "out" / "metrics.json").write_text("someone\n")
    fit_metadata(crate)
    edit(crate, lambda all: all["action"].update({"@id": hidden.record_id}))
    found = {part.name: part for part in parts(crate)}
    assert (
        found["output metrics.json"].status == "not verifiable"
        and "were replaced" in found["output metrics.json"].reason
    )
    (crate / JOB / "out" / "metrics.json").write_text("another\n")
    assert "output metrics.json" in bad(crate)


def take_out(crate: Path, path: str, why: str) -> None:
    """Take a file, or a folder, out of a crate so that nothing in it names it but a note; '' for no note."""
    values = json.loads((crate / METADATA).read_text())
    outputs = {
        each["path"]: each["sha256"]
        for each in json.loads((crate / "record.json").read_text())["experiment"]["outputs"]
    }
    note = {"@id": "#absent", "@type": "PropertyValue", "name": path, "description": f"Not in this crate: {why}"}
    note["value"] = f"sha256:{outputs.get(path.partition('/out/')[2], '')}"
    kept = [each for each in values["@graph"] if not each["@id"].startswith(path)]
    for each in kept:
        for key in ("hasPart", "result", "object", "subjectOf"):
            if isinstance(each.get(key), list):
                each[key] = [ref for ref in each[key] if not ref["@id"].startswith(path)]
        if why and each["@type"] == "CreateAction":
            each["result"].append({"@id": "#absent"})
    (crate / METADATA).write_text(json.dumps({**values, "@graph": [*kept, *([note] if why else [])]}))
    whole = crate / path
    shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
    summed(crate)


CUT = {
    f"{JOB}/out/sub/model.h5": "output sub/model.h5",
    f"{JOB}/attempt-1/stdout.log": "log attempt-1/stdout.log",
    "plan.json": "plan",
    "job.sbatch": "script",
    "code/": "code",
    f"{JOB}/attempt-1/": "facts",
}


@pytest.mark.parametrize("why", ["", "too large"])
@pytest.mark.parametrize("path", CUT)
def test_what_was_taken_out_of_a_crate_is_missing_whatever_the_crate_says(crate: Path, path: str, why: str) -> None:
    take_out(crate, path, why)
    found = {part.name: part for part in parts(crate)}
    assert found[CUT[path]].status == "missing", found[CUT[path]]
    assert not any(name.startswith(("file ", METADATA)) for name in bad(crate)), bad(crate)
    assert ("statement result" in bad(crate)) is (bool(why) and "/out/" not in path)  # tfslurm notes outputs alone


def test_a_crates_own_list_of_what_it_lacks_is_believed_by_who_says_so(crate: Path) -> None:
    take_out(crate, f"{JOB}/out/sub/model.h5", "left out by --without-outputs")
    found = {part.name: part for part in parts(crate, partial=True)}
    assert not any(part.is_bad for part in found.values())
    assert "left out by --without-outputs; so says the crate" in found["output sub/model.h5"].reason
    take_out(crate, f"{JOB}/out/metrics.json", "")
    assert [part.name for part in parts(crate, partial=True) if part.is_bad] == ["output metrics.json"]


def test_a_note_of_a_file_with_another_hash_is_a_change(crate: Path) -> None:
    take_out(crate, f"{JOB}/out/sub/model.h5", "too large")
    edit(crate, lambda all: all["#absent"].update(value="sha256:" + "0" * 64))
    assert "statement result" in bad(crate)


def test_a_record_alone_names_files_that_are_elsewhere(crate: Path) -> None:
    for path in files_in(crate):
        if path not in ("record.json", "record.canonical.json"):
            (crate / path).unlink()
    summed(crate)
    assert not bad(crate)
    (crate / "notes.txt").write_text("x")
    summed(crate)
    assert {"output metrics.json", "plan", "code", "facts"} <= {*bad(crate)}


PLANTED: dict[str, tuple[Callable[[dict[str, dict[str, Any]]], object], str]] = {
    "name": (lambda all: all["action"].update(name="gpu: job alpha:60"), "statement run"),
    "command": (lambda all: all["action"].update(description="python better.py"), "statement run"),
    "error": (lambda all: all["action"].update(error="none"), "statement run"),
    "user": (lambda all: value_of(all, "agent").update(name="mallory"), "statement agent"),
    "job": (lambda all: value_of(all, "identifier").update(value="alpha:60"), "statement identifier"),
    "node": (lambda all: value_of(all, "location").update(name="gpu-9"), "statement node"),
    "program": (lambda all: value_of(all, "instrument").update(version="d" * 40), "statement program"),
    "GPU": (lambda all: named_value(all, "GPU").update(value="NVIDIA H200 (143771 MiB), GPU-1"), "statement facts of"),
    "driver": (lambda all: named_value(all, "NVIDIA driver").update(value="999.1"), "statement facts of"),
    "more parameters": (lambda all: planted_value(all, "object", "decay", 0.1), "statement parameter or input"),
    "more variables": (lambda all: planted_value(all, "environment", "TF_X", "1"), "statement variable"),
    "more results": (lambda all: planted_value(all, "result", "accuracy", 0.999), "statement result"),
    "date": (lambda all: all["./"].update(datePublished="2020-01-01"), "statement date"),
    "image": (lambda all: all["./"].update(description=f"In sha256:{'a' * 64}."), "statement image"),
}


def value_of(entities: dict[str, dict[str, Any]], key: str) -> dict[str, Any]:
    """The entity that the run refers to by a key."""
    return entities[entities["action"][key]["@id"]]


def named_value(entities: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The value of a name."""
    return next(each for each in entities.values() if each["@type"] == "PropertyValue" and each["name"] == name)


def planted_value(entities: dict[str, dict[str, Any]], key: str, name: str, value: object) -> None:
    """Put one more value into the metadata: in the place of the license, of which the records know nothing."""
    entities["#no-licence"].clear()
    entities["#no-licence"].update({"@id": "#planted", "@type": "PropertyValue", "name": name, "value": value})
    held = entities["action"].get(key, [])
    entities["action"][key] = [*(held if isinstance(held, list) else [held]), {"@id": "#planted"}]


@pytest.mark.parametrize("name", PLANTED)
def test_what_a_record_knows_cannot_be_told_otherwise_by_the_metadata(crate: Path, name: str) -> None:
    change, part = PLANTED[name]
    edit(crate, change)
    assert any(each.startswith(part) for each in bad(crate)), bad(crate)


def test_a_fact_of_another_version_of_tfslurm_is_no_change_and_people_are_nobodys_word(crate: Path) -> None:
    edit(crate, lambda all: planted_value(all, "resourceUsage", "peak CPU", 7))
    edit(crate, lambda all: next(each for each in all.values() if each.get("familyName")).update(name="Mallory"))
    found = {part.name: part for part in parts(crate)}
    assert not any(part.is_bad for part in found.values())
    assert "knows no such fact" in found["statement use"].reason
    assert found["people"].status == "not verifiable" and "Mallory" in found["people"].reason


# What `verify` leaves to roc-validator: its own check, as it names it, finds that.
LEFT: dict[str, tuple[Callable[[dict[str, Any], dict[str, dict[str, Any]]], object], str]] = {
    "whole": (lambda document, all: None, ""),
    "no licence": (lambda document, all: all["./"].pop("license"), "license"),
    "no instrument": (lambda document, all: all["action"].pop("instrument"), "instrument"),
    "unknown key": (lambda document, all: all["action"].update(gpuModel="A100"), "gpuModel"),
    "no context": (lambda document, all: document["@context"].pop(), "containerImage"),
    "no publisher": (lambda document, all: all["./"].pop("publisher"), "publisher"),
    "kind as text": (lambda document, all: all["#image"].update(additionalType=DOCKER), "additionalType"),
    "error": (
        lambda document, all: all["action"].update(
            error="exit 1", actionStatus="http://schema.org/CompletedActionStatus"
        ),
        "error",
    ),
    "time with Z": (lambda document, all: all["action"].update(endTime="2026-11-23T08:28:05Z"), "endTime"),
}


@pytest.mark.slow
def test_roc_validator_refuses_the_broken_crates_that_verify_leaves_to_it(tmp_path: Path) -> None:
    for number, (change, _) in enumerate(LEFT.values()):
        document = json.loads((Path(__file__).parent / "golden" / "foreign-crate.json").read_text())
        entities = {entity["@id"]: entity for entity in document["@graph"]}
        action = next(each for each in entities.values() if each["@type"] == "CreateAction")
        change(document, {**entities, "action": action})
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / METADATA).write_text(json.dumps(document))
        (tmp_path / str(number) / "record.json").write_text("{}")
    wanted = [("RECOMMENDED", "1.1", tmp_path / str(number)) for number in range(len(LEFT))]
    found = dict(zip(LEFT, validator.issues(*wanted, cache=tmp_path / "cache"), strict=True))
    assert found["whole"] == []
    for name, (_, word) in LEFT.items():
        assert name == "whole" or any(word in issue for issue in found[name]), (name, found[name])
