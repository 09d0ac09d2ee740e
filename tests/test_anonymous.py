"""The anonymous form of a record and of files: no name in any byte, in whatever way it is written; all else stays."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import made
from tests.test_building import LOCK
from tests.test_record import CASES, case
from tfslurm.cluster import Login
from tfslurm.export.anonymous import Name, StandIns, anonymous, names_in_files, planted, stand_ins_of
from tfslurm.export.anonymous.names import cluster_names, email_names, person_names
from tfslurm.image import Pin, lock_text, parse_lock
from tfslurm.image.build_lock import Base
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.model import Asked, Code, Energy, Input, Integrity, SharedFolder, Signature, Template, seal
from tfslurm.record.verification import inner_parts, is_anonymous
from tfslurm.retrieval.anonymity import who_am_i

USER, GROUP, ACCOUNT, QOS = "zaphod", "magrathea", "betelgeuse", "towelqos"
CLUSTER, NODE, PARTITION, RESERVATION = "vogsphere", "ursa07", "krikkit", "milliways"
OWNER, REPOSITORY, HUB = "deepthought-lab", "answer-to-all", "git.slartibart.example"
REGISTRY, LICENCE, MIRROR = (
    "fjords.slartibart.example:5000",
    "infinite@improb.slartibart.example:2",
    "pull.trillian.example",
)
HOME = f"/home/{USER}"
ROOT = f"/scratch/{GROUP}/{USER}/tfslurm"
NAMES = (
    *(USER, GROUP, ACCOUNT, QOS, CLUSTER, NODE, PARTITION, RESERVATION, OWNER, REPOSITORY, HUB, "slartibart"),
    *("trillian", "improb", "fjords", "0badc0ffee11", "c0ffee" * 6, "SHA256:fordprefect", "GPU-b050a5f6"),
)
EVERYWHERE = (
    f"{USER}@{HUB} {ROOT}/data {NODE} {ACCOUNT} {PARTITION} ssh://git@{HUB}/{OWNER}/{REPOSITORY}.git {CLUSTER}:77"
)


def full() -> Record:
    """A record with names in every key that can hold one."""
    record = case("tensorflow").build()
    pin = replace(
        parse_lock(record.asked.lock if record.asked else "", ""),
        reference=f"{REGISTRY}/{OWNER}/tf:1",
        registry=REGISTRY,
        repository=f"{OWNER}/tf",
        tag="1",
        served_by=f"{MIRROR}/{OWNER}/tf",
    )
    record = in_image(in_job(record), pin)
    asked = record.asked
    assert asked
    return seal(
        replace(
            record,
            plan_id="0badc0ffee11",
            run_folder=f"{ROOT}/runs/answer-0badc0ffee11",
            experiment=replace(
                record.experiment,
                name=f"answer-of-{USER}",
                spec_sha256="ab" * 32,
                parameters={f"path_{USER}": f"{HOME}/x", "note": EVERYWHERE, "lr": 0.1},
                command=("python", f"/workspace/{USER}/train.py", f"--data={ROOT}/data", EVERYWHERE),
                mounts=({"source": f"{ROOT}/data", "target": f"/data/{USER}", "run": f"{CLUSTER}:12/out"},),
                env={f"{USER.upper()}_HOME": HOME, "NOTE": EVERYWHERE},
            ),
            asked=with_names(asked, pin),
            inputs=(Input(f"lab:{GROUP}", f"{ROOT}/data", None, None, None, "no", EVERYWHERE),),
            code=Code(
                f"git@{HUB}:{OWNER}/{REPOSITORY}.git", "c0ffee" * 6 + "c0ff", f"{USER}/fix", True, "4b825d" * 6 + "4b82"
            ),
            energy=Energy(3.5, f"counter of {NODE}"),
            warnings=(f"1 file in the job's folder does not belong to {USER}: {ROOT}/x (uid 4711)", EVERYWHERE),
            unknown={**record.unknown, f"experiment.parameters.{USER}": EVERYWHERE},
            integrity=Integrity("12" * 32, "", Signature("ssh", "SHA256:fordprefect", "tfslurm-record-v1", "x")),
        )
    )


def in_job(record: Record) -> Record:
    task = record.attempts[0].tasks[0]
    below = replace(task.limits, cgroup_parent="/slurm/uid_4711/job_146")
    task = replace(task, node=NODE, limits=below)
    shared = (SharedFolder(ROOT, "0777", "4711"), SharedFolder(f"/scratch/{GROUP}", "0777", "0"))
    job = replace(
        record.job, cluster=CLUSTER, user=USER, name="answer-0badc0ffee11", partition=PARTITION, nodes=(NODE,)
    )
    attempt = replace(record.attempts[0], tasks=(task,), reason=EVERYWHERE)
    return replace(record, job=replace(job, shared_folders=shared), attempts=(attempt,))


def in_image(record: Record, pin: Pin) -> Record:
    named = {"reference": pin.reference, "registry": pin.registry, "repository": pin.repository, "tag": pin.tag}
    task = replace(
        record.attempts[0].tasks[0],
        image_digests=(f"{pin.name}@{pin.digest}", pin.digest),
        image_source=f"{pin.served_by}@{pin.digest}",
        image_pulled=f"pulled from {pin.served_by}",
    )
    attempt = replace(record.attempts[0], tasks=(task,))
    return replace(record, image=replace(record.image, **named, served_by=pin.served_by), attempts=(attempt,))


def with_names(asked: Asked, pin: Pin) -> Asked:
    options = {
        "account": ACCOUNT,
        "partition": f"{PARTITION},gpu",
        "qos": QOS,
        "reservation": RESERVATION,
        "mail-user": f"{USER}@{HUB}",
        "licenses": LICENCE,
        "chdir": HOME,
        "output": f"{ROOT}/%j.out",
        "nodelist": "ursa[07-09]",
        "comment": EVERYWHERE,
        "time": "10",
    }
    spec = f"# by {USER}, {EVERYWHERE}\nname: answer\nslurm: {{account: {ACCOUNT}}}\n"
    template = Template(f"{USER}.j2", "cd" * 32, f"#SBATCH --account={ACCOUNT}\n# {EVERYWHERE}\n")
    return replace(asked, options=options, spec=spec, template=template, lock=lock_text(pin))


def in_bytes(names: tuple[str, ...], data: bytes) -> list[str]:
    return [name for name in names if name.lower().encode() in data.lower()]


# ------------------------------------------------------------------------------------------------------------- record


def test_no_byte_of_an_anonymous_record_holds_a_name() -> None:
    record = full()
    raw = json.dumps(record_json(record)).encode()
    assert in_bytes(NAMES, raw) == [*NAMES], "each is planted"
    table = stand_ins_of([record])
    clean = json.dumps(record_json(anonymous(record, table))).encode()
    assert in_bytes(NAMES, clean) == []
    assert in_bytes(planted(record), clean) == [] and table.leaks(clean) == []
    assert b"4711" not in clean and b'"146"' not in clean
    assert {USER, HUB, ACCOUNT, ROOT, "0badc0ffee11"} <= set(planted(record))


def test_how_an_image_was_built_is_left_out_and_its_base_is_a_name_too() -> None:
    record = full()
    assert record.asked
    name, digest = "hub.elsewhere.example/somebody-else/base", "sha256:" + "ab" * 32
    build = replace(LOCK, base=Base(f"{name}:1", name, digest), source="https://git.example/somebody-else/code")
    told = replace(record.asked, build=build, spec=f"build: {{base: '{name}:1'}}\n")
    built = replace(record, asked=told)
    clean = anonymous(built, stand_ins_of([built]))
    assert clean.asked and clean.asked.build is None
    assert in_bytes(("hub.elsewhere", "somebody-else"), json.dumps(record_json(clean)).encode()) == []


def test_what_does_not_say_who_or_where_stays() -> None:
    record = full()
    other = anonymous(record)
    assert (
        other.image.digest == record.image.digest and other.code and record.code and other.code.tree == record.code.tree
    )
    assert other.experiment.outputs == record.experiment.outputs and other.environment == record.environment
    assert other.verified.driver == record.verified.driver and other.job.ended_at == record.job.ended_at
    assert other.experiment.parameters["lr"] == 0.1 and other.asked and other.asked.options["time"] == "10"
    assert other.attempts[0].tasks[0].cpu_flags == record.attempts[0].tasks[0].cpu_flags
    assert other.energy and other.energy.joules == 3.5


def test_the_same_name_has_the_same_stand_in_and_a_path_keeps_its_end() -> None:
    other = anonymous(full())
    asked = other.asked
    assert asked and asked.spec
    assert other.job.user == "user-1" and asked.spec.startswith("# by user-1, ")
    assert f"{{account: {asked.options['account']}}}" in asked.spec
    assert asked.options["partition"].startswith(f"{other.job.partition},")
    source = other.experiment.mounts[0]["source"]
    assert re.fullmatch("/path-[0-9]+/data", source) and f"--data={source}" in other.experiment.command
    assert other.attempts[0].tasks[0].node == other.job.nodes[0] == "node-1"
    assert other.attempts[0].tasks[0].limits.cgroup_parent == "/slurm/uid_1/job_1"
    assert other.job.shared_folders and [each.uid for each in other.job.shared_folders] == ["1000", "0"]
    pin = parse_lock(asked.lock, "lock")
    assert (pin.reference, pin.digest) == (other.image.reference, other.image.digest)
    assert other.image.reference.endswith("/hidden/image-1:1")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_anonymous_record_is_a_whole_record_that_says_what_it_is(name: str) -> None:
    record = case(name).build()
    other = anonymous(record)
    values = record_json(other)
    assert record_from_json(values) == other and not is_anonymous(record) and is_anonymous(other)
    assert {part.status for part in inner_parts(other, values)} <= {"unchanged", "not verifiable"}
    assert "the anonymous form" in next(inner_parts(other, values)).reason
    assert other.record_id != record.record_id and other.integrity.record_sha256 != record.integrity.record_sha256
    assert (other.run_folder, other.plan_id, other.plan_sha256, other.integrity.signature) == (None,) * 4
    assert "left out" in other.unknown["run_folder"] and "guesses a name" in other.unknown["plan_sha256"]
    assert anonymous(record) == other, "again"
    assert "alice" not in json.dumps(values)


def test_hashes_of_texts_that_held_names_are_not_those_of_the_original() -> None:
    record = full()
    other = anonymous(record)
    values = json.dumps(record_json(other))
    assert record.asked and other.asked and record.job.script_sha256
    for oracle in (record.job.script_sha256, record.experiment.spec_sha256, record.asked.template.sha256, "12" * 32):
        assert str(oracle) not in values
    assert {part.name: part.status for part in inner_parts(other, record_json(other))}["experiment"] == "unchanged"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["node-1", "node-2", "NODE-1", "user-1", "registry-1.uni.example:5000", "host-7"])
def test_no_stand_in_is_another_ones_name(name: str) -> None:
    record = case("tensorflow").build()
    task = replace(record.attempts[0].tasks[0], node=name, image_source=f"{name}/tensorflow/tensorflow@sha256:x")
    job = replace(record.job, nodes=(name, "node-2"), user="user-1")
    record = replace(record, job=job, attempts=(replace(record.attempts[0], tasks=(task,)),))
    table = stand_ins_of([record])
    values = json.dumps(record_json(anonymous(record, table))).encode()
    assert table.leaks(values) == [] and in_bytes((name, "node-2", "user-1"), values) == []


def test_an_empty_name_is_none() -> None:
    table = StandIns([Name("user", ""), Name("host", " "), Name("path", ""), Name("path", "/"), Name("user", "alice")])
    assert table.planted == ("alice",) and table.unclear == () and table.text("a  b") == "a  b"


def test_points_of_one_export_share_a_table() -> None:
    one = case("tensorflow").build()
    two = replace(one, job=replace(one.job, job_id="9_3", array_job_id="9", user="bobolink"))
    table = stand_ins_of([one, two])
    first, second = anonymous(one, table), anonymous(two, table)
    assert (first.job.user, second.job.user, first.job.cluster) == ("user-1", "user-2", second.job.cluster)
    assert (first.job.job_id, second.job.job_id, second.job.array_job_id) == ("1", "2_3", "2")


@pytest.mark.slow
@pytest.mark.parametrize("user", ["a", "data", "python", "gpu", "x1", "alpha", "v100"])
def test_a_name_that_is_an_ordinary_word_is_replaced_where_its_place_says_that_it_is_one(user: str) -> None:
    record = case("tensorflow").build()
    record = replace(
        record,
        job=replace(record.job, user=user, cluster="main"),
        experiment=replace(record.experiment, command=("python", "train.py", "/data", f"USER={user}", "a", "main:7")),
        warnings=(f"tfslurm.user={user} is not {user}",),
    )
    table = stand_ins_of([record])
    other = anonymous(record, table)
    assert other.job.user == "user-1" and user in table.unclear and user not in table.planted
    assert other.experiment.command[:3] == ("python", "train.py", "/data")
    assert other.experiment.command[3:] == ("USER=user-1", "a", "cluster-1:7")
    assert other.warnings == (f"tfslurm.user=user-1 is not {user}",)
    assert other.environment == record.environment and other.attempts[0].tasks[0].gpus != ()
    assert table.leaks(f'{{"user": "{user}"}}'.encode()) == [user] and table.leaks(b"python /data a gpu") == []


@pytest.mark.slow
@pytest.mark.parametrize("account", ["energy", "account", "user", "warnings", "invalid", "hidden", "path"])
def test_a_name_that_is_a_key_of_the_export_does_not_keep_it_from_being_written(account: str) -> None:
    record = case("tensorflow").build()
    assert record.asked
    record = replace(record, asked=replace(record.asked, options={"account": account}))
    table = stand_ins_of([record])
    other = anonymous(record, table)
    assert other.asked and other.asked.options == {"account": "account-1"} and account in table.unclear
    assert table.leaks(json.dumps(record_json(other)).encode()) == []


def test_an_image_by_a_known_publisher_keeps_its_name() -> None:
    other = anonymous(case("tensorflow").build())
    assert other.image.reference == "tensorflow/tensorflow:2.16.1-gpu"
    assert other.asked and parse_lock(other.asked.lock, "", "tensorflow/tensorflow:2.16.1-gpu")


# -------------------------------------------------------------------------------------------------------------- files

TABLE = StandIns(
    [
        *(Name("user", "alice"), Name("user", "müller"), Name("host", "node-x7"), Name("account", "lab_of_doom")),
        *(
            Name("person", "Marvin Android"),
            Name("user", "fade"),
            Name("path", "/scratch/grp/proj-x"),
            Name("user", "王"),
        ),
        *email_names("arthur.dent@earth.example"),
    ]
)
WRITTEN = (
    *(
        "by alice, 2026",
        "ALICE",
        "Alice's",
        "alice_data",
        "data_alice",
        "alice2",
        "/home/alice/x",
        "aliceData",
        "runAlice",
    ),
    *("user%3Dalice%26x", "%2Falice", r"line\nalice", r"\u0020alice", r"\x20alice", "\x1b[31malice\x1b[0m", "alice\0b"),
    *("müller", "MÜLLER", "mu\u0308ller", r"m\u00fcller", "m%C3%BCller", r"m\xfcller", "王", r"\u738b"),
    *("xnode-x7y", "NODE-X7", "lab_of_doom", r"lab\_of\_doom", "prelab_of_doompost"),
    *(
        "Marvin Android",
        "Marvin%20Android",
        "MARVIN ANDROID",
        "arthur.dent@earth.example",
        "arthur.dent%40earth.example",
    ),
    *("/scratch/grp/proj-x/data", r"\/scratch\/grp\/proj-x", "%2Fscratch%2Fgrp%2Fproj-x", "file:///scratch/grp/proj-x"),
    *('__author__ = "alice"', "# Copyright alice", '{"user": "alice"}', "fade", "earth.example"),
)


@pytest.mark.parametrize("text", WRITTEN)
def test_a_name_is_found_and_replaced_however_it_is_written(text: str) -> None:
    for around in ("{}", "a line\nbefore {} and after\n", '["{}"]'):
        data = around.format(text).encode()
        assert TABLE.leaks(data) != []
        cleaned = TABLE.scrub(data)
        assert cleaned is not None and cleaned != data and TABLE.leaks(cleaned) == []


CHANCE = (
    *("malice in numericalice", "chalice", "palicer", "sha256:3fade9" + "0fade1" * 10, "3488fade9958", "node-x70"),
    *(
        "the account of fadeout",
        "/scratch/grp/proj-x2",
        "/scratch/grp/proj-x.tar",
        "import numpy as np\n",
        "GPU 0: 40 GiB",
    ),
)


@pytest.mark.parametrize("text", CHANCE)
def test_what_only_holds_the_letters_of_a_name_stays(text: str) -> None:
    table = StandIns(
        [Name("user", "alice"), Name("user", "fade"), Name("host", "node-x7"), Name("path", "/scratch/grp/proj-x")]
    )
    expected = text.replace("/scratch/grp", "/path-2").encode()
    assert table.scrub(text.encode()) == expected
    assert table.leaks(expected) == []


def packed(data: bytes) -> dict[str, bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", data)
    named = io.BytesIO()
    with zipfile.ZipFile(named, "w") as archive:
        archive.writestr("of/alice/x", b"")
    return {
        "gzip": gzip.compress(data),
        "bzip2": bz2.compress(data),
        "xz": lzma.compress(data),
        "zip": file.getvalue(),
        "name in zip": named.getvalue(),
        "zip in gzip": gzip.compress(file.getvalue()),
        "utf-16 without a mark": data.decode().encode("utf-16-le"),
        "utf-32, as NumPy has it": b"<U40\x01" + data.decode().encode("utf-32-le") + bytes(40),
        "base64 of the name": base64.b64encode(re.sub(b".*(alice|nobody).*", rb"\1", data)),
        "base64 in capitals": base64.b64encode(data.upper()),
        "base64 in lines": base64.encodebytes(b"." * 45 + data),
        "base64 in a notebook's lines": base64.encodebytes(b"." * 45 + data).replace(b"\n", b"\\n"),
        "zlib": zlib.compress(data),
        "lzma": lzma.compress(data, lzma.FORMAT_ALONE),
        "zstd": b"\x28\xb5\x2f\xfd" + data[-1:],
        "base64": base64.b64encode(b"xx" + data),
        "base64 for addresses": base64.urlsafe_b64encode(b"x" + data),
        "hexadecimal": data.hex().encode(),
        "binary": b"\x89PNG\x01\x02" + data,
        "cut off": gzip.compress(data)[:-9],
    }


@pytest.mark.parametrize("form", packed(b"alice"))
def test_a_name_that_is_packed_is_found_and_its_file_left_out(form: str) -> None:
    assert TABLE.leaks(packed(b"this is by alice, of course")[form]) != []
    assert TABLE.scrub(packed(b"this is by alice, of course")[form]) is None
    clean = packed(b"this is by nobody, of course")[form]
    if form not in ("name in zip", "cut off", "zstd"):
        assert TABLE.leaks(clean) == [] and TABLE.scrub(clean) == clean


@pytest.mark.parametrize("text", ["x^2 + y^2 = 1", "x\x01", "]\0 is no lzma"])
def test_a_text_that_begins_like_a_packed_file_stays(text: str) -> None:
    assert TABLE.scrub(text.encode()) == text.encode()


@pytest.mark.parametrize("name", ["alice", "ALICE", "user=alice:secret"])
def test_base64_with_a_name_does_not_keep_a_record_from_being_written(name: str) -> None:
    cleaned = TABLE.text(f'"TOKEN": "{base64.b64encode(name.encode()).decode()}", "seed": "12345678"')
    assert TABLE.leaks(cleaned.encode()) == [] and "hidden" in cleaned and "12345678" in cleaned


@pytest.mark.slow
def test_a_bomb_is_left_out_in_bounded_memory() -> None:
    assert TABLE.leaks(gzip.compress(bytes(2**28 + 1), 1)) == ["(more than can be unpacked)"]


def test_utf_16_with_its_mark_is_rewritten() -> None:
    cleaned = TABLE.scrub("by alice".encode("utf-16"))
    assert cleaned and cleaned.decode("utf-16") == "by user-1"


def test_other_peoples_addresses_and_homes_go_too() -> None:
    text = b"mail zarniwoop@frogstar.example, /home/zarniwoop/x, /Users/zarniwoop, @tf.function x@w.T uid=4711 gid: 12"
    assert TABLE.scrub(text) == (
        b"mail somebody@example.invalid, /home/somebody/x, /Users/somebody, @tf.function x@w.T uid=1000 gid: 1000"
    )


def test_the_files_of_a_run_folder_name_what_the_record_does_not() -> None:
    files = {
        **case("tensorflow").files,
        "plan.json": json.dumps({"read_group": "hoopy", "roots": ["/gpfs/hoopy/x"]}).encode(),
    }
    files["a/facts/task-0/group"] = b"hoopy:x:5:frood,other1\n"
    files["a/facts/task-0/passwd"] = b"alice:x:5:5:Alice B. Prosser,,,:/home/prosser:/bin/sh\n"
    table = stand_ins_of([case("tensorflow").build()], names_in_files(files))
    wanted = {
        "hoopy",
        "/gpfs/hoopy/x",
        "frood",
        "other1",
        "Prosser",
        "Alice B. Prosser",
        "Prosser, Alice B.",
        "prosser",
    }
    assert {each.lower() for each in wanted} <= {each.lower() for each in table.planted}
    assert {"vm", "normal"} <= set(table.unclear) and "lab" in table.planted
    for raw in files.values():
        cleaned = table.scrub(raw)
        assert cleaned is not None and in_bytes(("alice", "hoopy", "prosser", "frood"), cleaned) == []
    for bad in (b"", b"\xff", b"[]", b"{", b'{"nodelist": "a[", "user": 3}'):
        assert (
            names_in_files({"plan.json": bad, "x/begin.json": bad, "slurm.env": bad, "passwd": bad, "group": bad})
            is not None
        )


def test_a_clusters_file_and_this_machine_name_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = Tricia McMillan\nemail = tricia@bbc.example\n")
    (tmp_path / "CITATION.cff").write_text(
        "authors:\n- {family-names: Desiato, given-names: Hotblack, orcid: https://orcid.org/0000-0002-1825-0097}\n"
    )
    found = {name.text for name in who_am_i(tmp_path)}
    assert {"Tricia McMillan", "tricia@bbc.example", "Desiato, Hotblack", "0000-0002-1825-0097"} <= found
    login = Login(host="login.krakafoon.example", user="gargravarr", proxy_jump="me@jump.krakafoon.example:22")
    names = {name.text for name in cluster_names(replace(made.CLUSTER, login=login))}
    assert {"login.krakafoon.example", "krakafoon", "gargravarr", "me", "/scratch/alice/tfslurm"} <= names


@pytest.mark.parametrize(
    ("person", "names"),
    [
        ("Doe, Alice B.", {"Alice B. Doe", "Doe, Alice B.", "Doe Alice B.", "Doe"}),
        ("Alice Doe", {"Alice Doe", "Doe, Alice", "Doe Alice", "Doe"}),
        ("Madonna", {"Madonna"}),
    ],
)
def test_a_person_is_known_in_both_orders(person: str, names: set[str]) -> None:
    assert {name.text for name in person_names(person)} == names


def test_an_address_in_a_url_is_found() -> None:
    data = quote("https://x.example/?next=/scratch/grp/proj-x/alice", safe="").encode()
    assert {"alice", "/scratch/grp/proj-x"} <= set(TABLE.leaks(data))
