"""A crate of recorded jobs: it says what the records hold, its files are those of the jobs, the rest is named."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests import validator
from tests.fakes.laptop import Laptop
from tests.made import session
from tests.run_folders import BY, LOGS, OUTPUTS, TREE, evidence, quiet, write
from tfslurm.cli import run
from tfslurm.errors import HostError, InputError, RecordError
from tfslurm.export.citation.settings import Authorship
from tfslurm.export.crate.contents import Crate
from tfslurm.export.crate.entities import uri
from tfslurm.host.command import Raw
from tfslurm.host.local import LocalHost
from tfslurm.record import record_json
from tfslurm.record.model import Energy, Input, Log, record_sha256
from tfslurm.retrieval.crate.writing import Wanted, write_crate
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.signatures import sign_values
from tfslurm.tracker import Tracker

ODD = (
    "line\nbreak",
    "with space",
    "-n",
    "é",
    "日本語",
    "back\\slash",
    "*?[a]",
    "'\"$x`",
    "100%",
    "a#b",
    "a:b",
    "\x1b[2J",
)


USED = Energy(1234.5, "nvidia-smi")
GIVEN = (
    Input("moons:train", "/data/moons", 12, None, "d" * 64, "full", ""),
    Input(None, "/data/x.csv", None, None, None, "no", "without `hash: true`"),
)


def made(folder: Path, *evidences: Evidence, name: str = "crate", by: Authorship = BY, **wanted: Any) -> Crate:
    """A crate in ``folder``."""
    tracker = Tracker(folder / "tracker.sqlite")
    want = Wanted(folder / name, by, **wanted)
    return write_crate(session(tracker), evidences, want, quiet)


def graph(folder: Path) -> dict[str, dict[str, Any]]:
    """The entities of a crate by their ids."""
    document = json.loads((folder / "ro-crate-metadata.json").read_text())
    return {each["@id"]: each for each in document["@graph"]}


def listed(value: Any) -> list[str]:
    """The ids that a property refers to."""
    return [each["@id"] for each in (value if isinstance(value, list) else [value] if value else [])]


def actions(folder: Path) -> list[dict[str, Any]]:
    """The actions in a crate, in their order."""
    found = graph(folder)
    return [found[each] for each in listed(found["./"].get("mentions"))]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a crate."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_crate_has_the_files_of_the_run_folder_and_the_records_own_bytes(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    made(tmp_path, found)
    there = files(tmp_path / "crate")
    assert json.loads(there["record.json"]) == found.values
    assert sha256(there["record.canonical.json"]).hexdigest() == record_sha256(found.values)
    for name, data in OUTPUTS.items():
        assert there[f"146/out/{name}"] == data
    assert there["146/attempt-1/stdout.log"] == LOGS["stdout.log"]
    assert there[f"code/{TREE}/train.py"] == b"print(1)\n" and there[f"code/{TREE}/lib/net.py"] == b""
    assert there["job.sbatch"] and there["plan.json"] and there["exp.yaml"] and there["exp.lock.yaml"]
    assert b"`tfslurm rerun . --local` runs it again and compares" in there["REPRODUCING.md"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing else is left"


def test_coreutils_finds_the_sums_of_a_crate_good_whatever_its_names(tmp_path: Path) -> None:
    made(tmp_path, evidence(tmp_path, outputs={name: name.encode() for name in ODD}))
    crate = tmp_path / "crate"
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=crate, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(b": OK") == len(files(crate)) - 1
    (crate / "record.json").write_bytes(b"{}")
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=crate, capture_output=True).returncode


def test_each_output_is_named_by_an_address_that_leads_back_to_it(tmp_path: Path) -> None:
    outputs = {name: name.encode() for name in (*ODD, "deep/er/x", "empty")} | {"empty": b""}
    made(tmp_path, evidence(tmp_path, outputs=outputs))
    found = graph(tmp_path / "crate")
    results = [each for each in listed(actions(tmp_path / "crate")[0]["result"]) if "/out/" in each]
    assert {unquote(each) for each in results} == {f"146/out/{name}" for name in outputs}
    for each in results:
        data = (tmp_path / "crate" / unquote(each)).read_bytes()
        assert (found[each]["sha256"], found[each]["contentSize"]) == (sha256(data).hexdigest(), str(len(data)))
        assert each.isascii() and ":" not in each and " " not in each
    assert all("\x1b" not in text for text in (tmp_path / "crate" / "ro-crate-metadata.json").read_text().splitlines())


@pytest.mark.parametrize(("path", "address"), [("a b", "a%20b"), ("a:b", "a%3Ab"), ("é", "%C3%A9"), ("%2e", "%252e")])
def test_an_address_is_a_path_of_a_uri(path: str, address: str) -> None:
    assert uri(path) == address


def test_the_action_says_what_the_record_does(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    made(tmp_path, found)
    entities, (action,) = graph(tmp_path / "crate"), actions(tmp_path / "crate")
    assert action["@id"] == found.record.record_id
    assert action["description"] == "python train.py --lr 0.1"
    assert action["actionStatus"].endswith("CompletedActionStatus") and "error" not in action
    assert action["endTime"].endswith("+00:00")
    image = entities[action["containerImage"]["@id"]]
    assert image["sha256"] == found.record.image.digest.removeprefix("sha256:")
    assert (image["registry"], image["name"], image["tag"]) == ("docker.io", "tensorflow/tensorflow", "2.16.1-gpu")
    program = entities[action["instrument"]["@id"]]
    assert program["@id"].endswith(f"swh:1:dir:{TREE}#train.py") and program["name"] == "train.py"
    assert program["hasPart"] == {"@id": f"code/{TREE}/"} and program["@type"] == "SoftwareApplication"
    assert program["version"] == "c" * 40 + "-dirty"
    assert entities[action["agent"]["@id"]]["name"] == "alice"
    assert entities[action["identifier"]["@id"]]["value"] == "alpha:146"
    place = entities[action["location"]["@id"]]
    machine = {entities[each]["name"]: entities[each]["value"] for each in listed(place["additionalProperty"])}
    assert machine["NVIDIA driver"] == "550.54.14" and machine["GPU"].startswith(
        "NVIDIA A100-SXM4-40GB (40960 MiB), GPU-"
    )
    parameters = {entities[each]["name"] for each in listed(action["object"]) if each.startswith("#parameter")}
    assert parameters == {*found.record.experiment.parameters}
    variables = [entities[each] for each in listed(action.get("environment"))]
    assert {each["name"]: each["value"] for each in variables} == dict(found.record.experiment.env)


def test_what_the_run_used_and_what_it_was_given_are_values(tmp_path: Path) -> None:
    made(tmp_path, evidence(tmp_path, energy=USED, inputs=GIVEN))
    entities, (action,) = graph(tmp_path / "crate"), actions(tmp_path / "crate")
    given = {entities[each]["name"]: entities[each]["value"] for each in listed(action["object"]) if "#input" in each}
    assert given == {
        "moons:train": f"sha256 of its list of files: {'d' * 64}",
        "/data/x.csv": "not hashed: without `hash: true`",
    }
    used = {entities[each]["name"]: entities[each] for each in listed(action["resourceUsage"])}
    assert (used["energy of the GPUs"]["value"], used["energy of the GPUs"]["unitCode"][-5:]) == (1234.5, "nit/J")
    assert all(each["propertyID"].startswith("https://") for each in used.values())


def test_of_a_log_the_crate_has_what_the_record_has_the_hash_of(tmp_path: Path) -> None:
    logs = tuple(Log(name, len(data), sha256(data).hexdigest()) for name, data in LOGS.items())
    attempts = tuple(replace(each, logs=logs) for each in evidence(tmp_path).record.attempts)
    found = evidence(tmp_path, attempts=attempts)
    with (Path(str(found.folder)) / "146" / "attempt-1" / "stdout.log").open("ab") as log:
        log.write(b"appended later\n")
    assert not made(tmp_path, found).left_out
    assert (tmp_path / "crate" / "146" / "attempt-1" / "stdout.log").read_bytes() == LOGS["stdout.log"]
    (Path(str(found.folder)) / "146" / "attempt-1" / "stdout.log").write_bytes(b"another text, as long\n.")
    crate = made(tmp_path, found, name="other")
    assert [each.path for each in crate.lacking] == ["146/attempt-1/stdout.log"]


def test_an_output_that_changed_or_is_gone_is_not_in_the_crate_and_is_named(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    out = Path(str(found.folder)) / "146" / "out"
    (out / "metrics.json").write_bytes(b'{"accuracy": 0.99}\n')
    (out / "sub" / "model.h5").unlink()
    (out / "best").symlink_to("metrics.json")
    os.mkfifo(out / "pipe")
    (out / os.fsdecode(b"raw-\xff")).write_bytes(b"x")
    (out / "later.txt").write_bytes(b"came later")
    crate = made(tmp_path, found)
    there = files(tmp_path / "crate")
    assert [path for path in there if "/out/" in path] == ["146/out/later.txt"]
    told = {each.path: each.why for each in crate.left_out}
    assert told["146/out/metrics.json"].startswith("it is not what the record says")
    assert told["146/out/sub/model.h5"] == "it is not in the run folder any more"
    assert told["146/out/best"].endswith("it led to metrics.json") and told["146/out/pipe"] == "it is no file"
    assert "UTF-8" in told[os.fsdecode(b"146/out/raw-\xff")]
    guide = there["REPRODUCING.md"].decode()
    assert all(
        name in guide for name in ("metrics.json`: it is not what", "model.h5`: it is not in", "raw-\\udcff", "pipe")
    )
    (action,) = actions(tmp_path / "crate")
    absent = [graph(tmp_path / "crate")[each] for each in listed(action["result"]) if each.startswith("#absent")]
    assert {each["name"] for each in absent} == {"146/out/metrics.json", "146/out/sub/model.h5"}
    assert "5 files" in graph(tmp_path / "crate")["./"]["description"]


def test_without_outputs_each_is_named_with_its_hash(tmp_path: Path) -> None:
    made(tmp_path, evidence(tmp_path), with_outputs=False)
    assert not (tmp_path / "crate" / "146" / "out").exists()
    results = listed(actions(tmp_path / "crate")[0]["result"])
    absent = [graph(tmp_path / "crate")[each] for each in results if each.startswith("#absent")]
    assert {each["value"] for each in absent} == {f"sha256:{sha256(data).hexdigest()}" for data in OUTPUTS.values()}


def test_a_requeued_job_is_an_action_for_each_attempt(tmp_path: Path) -> None:
    made(tmp_path, evidence(tmp_path, "requeued"))
    first, last = actions(tmp_path / "crate")
    assert first["@id"] == last["@id"] + "#attempt-1" and first["name"].endswith("attempt 1 of 2")
    assert first["actionStatus"].endswith("FailedActionStatus") and first["error"]
    assert last["actionStatus"].endswith("CompletedActionStatus") and "error" not in last
    assert [each for each in listed(first["result"]) if "/out/" in each] == []
    assert "63/attempt-1/stdout.log" in listed(first["result"]) and "63/attempt-2/stdout.log" in listed(last["result"])


def test_a_failed_job_says_why(tmp_path: Path) -> None:
    made(tmp_path, evidence(tmp_path, "failed", outputs={}))
    (action,) = actions(tmp_path / "crate")
    assert action["actionStatus"].endswith("FailedActionStatus")
    assert action["error"].startswith("FAILED") and "exit code 3" in action["error"]


def test_of_a_job_that_never_began_nothing_is_claimed(tmp_path: Path) -> None:
    never = evidence(tmp_path, job_id="146_1", attempts=())
    with pytest.raises(RecordError, match="never began"):
        made(tmp_path, never)
    made(tmp_path, evidence(tmp_path, job_id="146_0"), never)
    (action,) = actions(tmp_path / "crate")
    assert "146_0" in action["name"]
    assert "alpha:146_1 never began" in graph(tmp_path / "crate")["./"]["description"]


@pytest.mark.slow
def test_a_sweep_is_an_action_for_each_point_with_its_own_parameters(tmp_path: Path) -> None:
    points = []
    for number in range(3):
        base = evidence(tmp_path, job_id=f"146_{number}").record
        experiment = replace(base.experiment, parameters={"lr": number})
        points.append(evidence(tmp_path, job_id=f"146_{number}", experiment=experiment))
    made(tmp_path, *points)
    there, entities = files(tmp_path / "crate"), graph(tmp_path / "crate")
    assert [json.loads(there[f"records/146_{number}.json"]) for number in range(3)] == [each.values for each in points]
    for number in range(3):
        data = there[f"records/canonical/146_{number}.json"]
        assert sha256(data).hexdigest() == points[number].record.integrity.record_sha256
    found = actions(tmp_path / "crate")
    values = [[entities[each]["value"] for each in listed(one["object"]) if "#parameter" in each] for one in found]
    assert values == [[0], [1], [2]]
    assert len({one["containerImage"]["@id"] for one in found}) == 1 and len({one["@id"] for one in found}) == 3


def test_runs_of_two_run_folders_lie_apart(tmp_path: Path) -> None:
    one = evidence(tmp_path / "a", job_id="7", plan_id="a" * 12)
    other = evidence(tmp_path / "b", job_id="7", plan_id="b" * 12)
    made(tmp_path, one, other)
    there = files(tmp_path / "crate")
    for each in "ab":
        assert {f"runs/{each * 12}/{name}" for name in ("records/7.json", "plan.json", "7/out/metrics.json")} <= {
            *there
        }
    assert len({each["@id"] for each in actions(tmp_path / "crate")}) == 1, "it is the same record id in this test"


@pytest.mark.slow
def test_two_exports_of_a_record_are_equal_to_the_byte(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    made(tmp_path, found, name="a.zip")
    os.utime(Path(str(found.folder)) / "146" / "out" / "metrics.json", (1, 1))
    made(tmp_path, found, name="b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    made(tmp_path, found, name="folder")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files(tmp_path / "folder")
        assert all(stat.S_ISREG(info.external_attr >> 16) for info in archive.infolist())
        assert {info.date_time for info in archive.infolist()} == {archive.infolist()[0].date_time}


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    (tmp_path / "crate").mkdir()
    with pytest.raises(InputError, match="is there already"):
        made(tmp_path, found)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        made(tmp_path, found, name="link")
    with pytest.raises(InputError, match="is no folder"):
        made(tmp_path, found, name="not/there")


def test_a_record_that_was_changed_makes_no_crate(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    changed = {**found.values, "warnings": ["another"]}
    with pytest.raises(RecordError, match="take the original"):
        made(tmp_path, found._replace(values=changed))
    assert not (tmp_path / "crate").exists()


def test_a_run_folder_that_cannot_be_read_is_said_in_the_crate(tmp_path: Path) -> None:
    crate = made(tmp_path, evidence(tmp_path)._replace(host=None, folder=None, why="alpha does not answer"))
    assert {each.why for each in crate.left_out if "/out/" in each.path} == {"alpha does not answer"}
    assert (tmp_path / "crate" / "record.json").exists()


class Tiring(LocalHost):
    """This machine, whose line is lost at a command, and then for good."""

    def __init__(self, lost_at: int) -> None:
        super().__init__("alpha")
        self.left, self.sent = lost_at, 0

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        self.left -= 1
        if not self.left:
            raise HostError("alpha: the line was lost", transient=True)
        raw = super().execute(argv, input, timeout_s, max_bytes)
        self.sent += len(raw.stdout)
        return raw


def test_an_export_that_was_interrupted_is_taken_up_again(tmp_path: Path) -> None:
    big = os.urandom(5 * 2**20)
    found = evidence(tmp_path, outputs={"big": big, "small": b"x"})
    with pytest.raises(HostError, match="the same command continues from there"):
        made(tmp_path, found._replace(host=Tiring(6)))
    (part,) = tmp_path.glob(".tfslurm-crate-*")
    assert not (tmp_path / "crate").exists()
    write(part / "crate" / "146" / "out", {"left from before": b"not in the record"})
    again = Tiring(0)
    made(tmp_path, found._replace(host=again))
    assert (tmp_path / "crate" / "146" / "out" / "big").read_bytes() == big
    assert again.sent < len(big), "the first pieces were not sent again"
    assert sorted(path.name for path in (tmp_path / "crate" / "146" / "out").iterdir()) == ["big", "small"]
    assert not part.exists()


def test_a_crate_of_another_program_in_the_way_is_not_followed(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    run = Path(str(found.folder))
    outside = tmp_path / "outside"
    write(outside, {"secret": b"not yours"})
    (run / "146" / "out" / "link").symlink_to(outside)
    shutil.rmtree(run / "146" / "attempt-1")
    (run / "146" / "attempt-1").symlink_to(outside)
    made(tmp_path, found)
    assert not any(b"not yours" in data for data in files(tmp_path / "crate").values())


def test_a_signature_in_a_crate_is_verified_as_its_guide_says(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", key], check=True)
    found = evidence(tmp_path)
    (signature,) = sign_values([found.values], key)
    record = replace(found.record, integrity=replace(found.record.integrity, signature=signature))
    made(tmp_path, found._replace(record=record, values=record_json(record)))
    crate = tmp_path / "crate"
    (crate / "signers").write_text(f"NAME {key.with_suffix('.pub').read_text()}")
    (line,) = [each for each in (crate / "REPRODUCING.md").read_text().splitlines() if "ssh-keygen" in each]
    done = subprocess.run(["sh", "-c", line], cwd=crate, capture_output=True, text=True)
    assert done.returncode == 0 and 'Good "tfslurm-record-v1" signature for NAME' in done.stdout, done.stderr
    (crate / "record.canonical.json").write_bytes(b"{}")
    assert subprocess.run(["sh", "-c", line], cwd=crate, capture_output=True).returncode != 0


# --- for a double-blind review


def planted(folder: Path) -> tuple[Evidence, list[bytes]]:
    """A job with the names of its user and its cluster's folders wherever a user can write, and these names."""
    root = str(folder / "runs").encode()
    outputs = {
        "notes of alice.txt": b"made by alice in " + root + b"\n",
        "model.h5": b"\x89HDF\r\n\x1a\n\0\x01weights",
        "leaky.bin": b"\0\x01\x02/home/alice/x\0" + root,
        "alice/x.json": b'{"user": "alice", "mail": "alice@lab.example.org"}',
    }
    found = evidence(folder, outputs=outputs)
    write(Path(str(found.folder)) / "146", {"attempt-1/stdout.log": b"I am alice on " + root + b", epoch 1\n"})
    write(Path(str(found.code)), {"train.py": b"# alice@lab.example.org\nprint(1)\n"})
    return found, [b"alice", root, b"lab.example.org", b"doelab", b"c" * 40, b"/146/", b":146"]


def test_an_anonymous_crate_says_nowhere_who_ran_it(tmp_path: Path) -> None:
    found, names = planted(tmp_path / "alices")
    crate = made(tmp_path, found, anonymous=True, by=Authorship(licence="MIT"))
    there = files(tmp_path / "crate")
    assert {path: name for path, data in there.items() for name in names if name in data} == {}
    assert {path for path in there for name in names if name.decode() in f"/{path}"} == set()
    told = {each.path.rpartition("/")[2]: each.why for each in crate.left_out}
    assert "cannot be rewritten" in told["leaky.bin"]
    job = crate.runs[0].folder
    assert there[f"{job}out/model.h5"] == b"\x89HDF\r\n\x1a\n\0\x01weights"
    assert b"epoch 1" in there[f"{job}attempt-1/stdout.log"] and b"print(1)" in there[f"code/{TREE}/train.py"]
    assert not [path for path in there if "facts" in path or path.endswith(("plan.json", "begin.json", ".sig"))]
    record = json.loads(there["record.json"])
    assert record_sha256(record) == record["integrity"]["record_sha256"]
    guide = there["REPRODUCING.md"].decode()
    assert "Changed for a double-blind review" in guide and f"code/{TREE}/train.py" in guide
    assert "tfslurm rerun" not in guide
    people = graph(tmp_path / "crate")
    assert [people[each]["name"] for each in listed(people["./"]["author"])] == ["Anonymous"]
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "crate").returncode == 0
    made(tmp_path, found, name="crate.zip", anonymous=True, by=Authorship())
    data = (tmp_path / "crate.zip").read_bytes()
    assert not [name for name in names[:-2] if name in data]


@pytest.mark.slow
def test_a_sweep_has_one_table_of_names_in_its_anonymous_crate(tmp_path: Path) -> None:
    points = [evidence(tmp_path / "alices", job_id=f"146_{number}") for number in range(2)]
    points.append(evidence(tmp_path / "other", job_id="9", plan_id="b" * 12))
    crate = made(tmp_path, *points, anonymous=True, by=Authorship())
    there = files(tmp_path / "crate")
    records = [json.loads(data) for path, data in there.items() if "/records/" in path and "canonical" not in path]
    assert len(records) == 3 and len({each["job"]["user"] for each in records}) == 1
    assert {run.base for run in crate.runs} == {"runs/1/", "runs/2/"}
    assert all(there[run.file] and there[f"{run.folder}out/metrics.json"] for run in crate.runs)
    assert not [path for path, data in there.items() if b"alice" in data or "b" * 12 in path]


# --- the command


def test_the_command_writes_a_crate_of_a_crate_and_refuses_what_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Laptop.made(tmp_path, monkeypatch)
    made(tmp_path, evidence(tmp_path))
    (tmp_path / "crate" / "146" / "out" / "metrics.json").write_bytes(b"{}")
    words = ["provenance", str(tmp_path / "crate"), "--format", "rocrate", "--author", "Doe, Alice"]
    assert run([*words, "-o", "again.zip"]) == 1
    said = capsys.readouterr()
    assert "146/out/metrics.json: it is not what the record says" in said.err
    assert "note: no licence is known" in said.err and "--affiliation" in said.err
    assert said.out.startswith("again.zip: RO-Crate 1.1 of 1 job, ")
    with zipfile.ZipFile("again.zip") as archive:
        assert "146/out/metrics.json" not in archive.namelist()
        assert archive.read("record.json") == (tmp_path / "crate" / "record.json").read_bytes()
    assert run([*words, "-o", "none", "--without-outputs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == 1 and not Path("none/146/out").exists()
    for wrong, why in (
        ([], "-o FOLDER"),
        (["-o", "again.zip"], "is there already"),
        (["-o", "x", "--license", "all mine!"], "no name of SPDX"),
        (["-o", "x", "--anonymous"], "names nobody"),
    ):
        assert run([*words, *wrong]) == 2
        assert why in capsys.readouterr().err
    assert run(["provenance", str(tmp_path / "crate"), "--ro-crate", "1.3"]) == 2
    assert "--ro-crate: is for --format rocrate" in capsys.readouterr().err


# --- the validator


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_validator_finds_nothing_wanting_in_any_crate(tmp_path: Path) -> None:
    """Whatever is REQUIRED or RECOMMENDED by RO-Crate 1.1 and Process Run Crate 0.5; of 1.3 what is REQUIRED."""
    single = evidence(tmp_path / "single", outputs=dict.fromkeys((*ODD, "deep/er/x"), b"x") | {"empty": b""})
    sweep = [evidence(tmp_path / "sweep", job_id=f"146_{number}") for number in range(3)]
    crates: dict[str, Crate] = {}
    wished: dict[str, dict[str, Any]] = {
        "single": {"found": [single]},
        "requeued": {"found": [evidence(tmp_path / "requeued", "requeued", energy=USED, inputs=GIVEN)]},
        "failed": {"found": [evidence(tmp_path / "failed", "failed", outputs={})]},
        "codeless": {"found": [evidence(tmp_path / "codeless", code=None)._replace(code=None)]},
        "lost": {"found": [evidence(tmp_path / "lost")._replace(host=None, folder=None, why="no answer")]},
        "sweep": {"found": [*sweep, evidence(tmp_path / "b", job_id="8", plan_id="b" * 12)]},
        "anonymous": {"found": [planted(tmp_path / "p")[0]], "anonymous": True, "by": Authorship(licence="MIT")},
        "single-13": {"found": [single], "version": "1.3"},
        "codeless-13": {"found": [evidence(tmp_path / "codeless", code=None)._replace(code=None)], "version": "1.3"},
    }
    for name, wish in wished.items():
        crates[name] = made(tmp_path, *wish.pop("found"), name=f"{name}-crate", **wish)
    levels = [("REQUIRED" if "13" in name else "RECOMMENDED", each.version) for name, each in crates.items()]
    wanted = [(*level, tmp_path / f"{name}-crate") for level, name in zip(levels, crates, strict=True)]
    found_in = dict(zip(crates, validator.issues(*wanted, cache=tmp_path / "cache"), strict=True))
    assert {name: issues for name, issues in found_in.items() if issues} == {}
