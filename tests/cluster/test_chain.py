"""The chain, link by link, on real Slurm and a real docker daemon: tag, digest, node, driver, GPUs, outputs, record.

What a test compares with is never what tfslurm wrote: it is Slurm's word, docker's, the hook's log or the registry's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import images, registry, tensorflow
from .bed import BED_JSON, CLUSTERS, MIRROR, REGISTRY
from .desk import USER, Desk, gate, ids, open_gate, until
from .docker import docker
from .gpus import of_node
from .install import CHECKOUT
from .slurm import slurm
from .users import run_as

LATER = "now+1hour"  # a job that begins then waits until a test says otherwise
SAVED = """
echo "attempt $TFSLURM_ATTEMPT" >>/out/history
if [ -e /out/saved ]; then echo "goes on at $(cat /out/saved)" >>/out/history; : >"$TFSLURM_FINISHED"; exit 0; fi
trap 'echo 41 >/out/saved; echo "saved" >>/out/history; exit 0' USR1
while :; do sleep 0.2; done
"""


@dataclass(frozen=True)
class Long:
    """The jobs that take longest: all of them run while the other tests do."""

    digits: str
    checkpoint: str


@pytest.fixture(scope="module", autouse=True)
def long(shared: Desk) -> Long:
    """The two long jobs, submitted before anything else."""
    # Slurm may warn up to 60 s early (sbatch(1), --signal): 20 to 80 s after the start, never before the program runs.
    asked = {"resources": {"time": "00:02:00"}, "checkpoint": {"signal": "USR1", "before_end": 40, "requeue": True}}
    checkpoint = shared.submit(shared.experiment("checkpoint", ["sh", "-c", SAVED], **asked))
    example = CHECKOUT / "examples" / "digits"
    folder = shared.folder / "digits"
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("__pycache__", "*.lock.yaml"))
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, *ids())
    # The bed's GPUs are stand-ins that nothing drives: TensorFlow rightly lists none (test_gpu_check.py expects that).
    return Long(shared.submit(folder / "exp.yaml", "--set", "gpu_check=off"), checkpoint)


# ----------------------------------------------------------------------------------------------------------------- GPUs


@dataclass(frozen=True)
class Tenants:
    """A 2-GPU job of alice's that runs beside a 1-GPU job of bob's: what Slurm said of both while they ran."""

    node: str
    job: str
    granted: tuple[str, ...]
    neighbours: tuple[str, ...]
    container: str


@pytest.fixture(scope="module", params=["alpha", "beta"])
def tenants(shared: Desk, request: pytest.FixtureRequest) -> Iterator[Tenants]:
    cluster = str(request.param)
    node = f"{cluster}2"
    mine: list[str] = []
    try:
        bobs = with_the_first_gpu(cluster, node, mine)
        two = shared.experiment(
            f"two-{cluster}",
            ["sh", "-c", f"nvidia-smi -L; ls /dev/nvidia*; {gate()}"],
            resources={"gpus": 2},
            slurm={"nodelist": node},
        )
        job = shared.submit(two, cluster=cluster)
        number = job.partition(":")[2]
        until(lambda: container_of(cluster, number) != "", 60)
        yield Tenants(node, job, granted(cluster, number), granted(cluster, bobs), container_of(cluster, number))
    finally:
        run_as("bob", ["scancel", *mine], cluster)


def with_the_first_gpu(cluster: str, node: str, submitted: list[str]) -> str:
    """A job of bob's, one of ``submitted``, that has the first GPU of a node on which other tests have jobs too."""
    asked = ["sbatch", "--parsable", "--gpus-per-node=1", f"--nodelist={node}", "--mem=64M", "--output=/dev/null"]
    while True:
        done = run_as("bob", [*asked, "--wrap=sleep 300"], cluster)
        assert done.returncode == 0, done.stderr
        submitted.append(job := done.stdout.strip())
        until(lambda job=job: "IDX" in detail(cluster, job), 120)  # type: ignore[misc]
        if granted(cluster, job) == (of_node(node)[0].uuid,):
            others = [each for each in submitted if each != job]
            if others:
                run_as("bob", ["scancel", *others], cluster)
            return job


def detail(cluster: str, number: str) -> str:
    """What Slurm says of a job, its share of each node included."""
    return slurm(CLUSTERS[cluster], "scontrol", "show", "job", "--details", number).stdout


def granted(cluster: str, number: str) -> tuple[str, ...]:
    """The UUIDs of the GPUs that Slurm gave to a job that runs, by the bed's inventory."""
    found = re.search(r"Nodes=(\S+) .*GRES=gpu\S*\(IDX:([\d,-]+)\)", detail(cluster, number))
    assert found, detail(cluster, number)
    pairs = [part.partition("-")[::2] for part in found[2].split(",")]
    numbers = [index for low, high in pairs for index in range(int(low), int(high or low) + 1)]
    return tuple(of_node(found[1])[index].uuid for index in numbers)


def container_of(cluster: str, number: str) -> str:
    """The id of the running container of a job, as docker knows it; the probe of its image is another one."""
    labels = [f"--filter=label=tfslurm.{key}={value}" for key, value in (("cluster", cluster), ("job_id", number))]
    lines = docker("ps", "--no-trunc", "--format={{.ID}} {{.Names}}", *labels).stdout.splitlines()
    return "".join(line.split()[0] for line in lines if not line.endswith("-probe"))


def hooked(container: str) -> tuple[str, ...]:
    """The UUIDs that docker's hook was called with for a container."""
    lines = Path(json.loads(BED_JSON.read_text())["hook_log"]).read_text().splitlines()
    (found,) = [entry["uuids"] for entry in map(json.loads, lines) if entry["container"] == container]
    return tuple(found)


def test_beside_a_neighbour_the_container_gets_exactly_the_gpus_that_slurm_gave(shared: Desk, tenants: Tenants) -> None:
    assert len(tenants.granted) == 2
    assert not set(tenants.granted) & set(tenants.neighbours)
    assert tenants.granted != tuple(gpu.uuid for gpu in of_node(tenants.node)[:2])  # or counting from 0 would do
    assert hooked(tenants.container) == tenants.granted

    open_gate(shared, tenants.job)
    assert shared.ended(tenants.job) == "COMPLETED"
    said = shared.tfslurm("logs", tenants.job).stdout
    assert re.findall(r"UUID: ([^)]+)\)", said) == list(tenants.granted)
    minors = [gpu.minor for gpu in of_node(tenants.node) if gpu.uuid in tenants.granted]
    assert re.findall(r"^/dev/nvidia(\d+)$", said, re.MULTILINE) == [str(minor) for minor in sorted(minors, key=str)]


def test_the_record_names_those_gpus_and_no_others(shared: Desk, tenants: Tenants) -> None:
    open_gate(shared, tenants.job)
    assert shared.ended(tenants.job) == "COMPLETED"
    record = shared.record(tenants.job)
    (task,) = record["attempts"][0]["tasks"]
    assert tuple(gpu["uuid"] for gpu in task["gpus"]) == tenants.granted
    assert task["container"]["id"] == tenants.container
    assert record["verified"]["gpus"]["status"] == "ok"


# ----------------------------------------------------------------------------------------------------------------- tags


@pytest.fixture
def repository(desk: Desk) -> Iterator[str]:
    """The name of a repository of this test's own; its images are gone afterwards."""
    name = f"desk-{desk.token}/variant"
    yield name
    for address in (REGISTRY, MIRROR):
        if digest := registry.tag_digest(address, name, "1"):
            registry.delete_manifest(address, name, digest)
        form = "--format={{.Repository}}@{{.Digest}} {{.Repository}}:{{.Tag}}"
        for reference in set(docker("image", "ls", "--digests", form, f"{address}/{name}").stdout.split()):
            images.remove(reference)


def variant(repository: str, which: str) -> str:
    """Push the image whose /etc/variant says ``which`` under the tag 1; its digest comes out."""
    return images.push_small(repository, "1", {"/etc/variant": which})


def reads_variant(desk: Desk, repository: str, **keys: Any) -> Path:
    return desk.experiment(
        "variant", ["cp", "/etc/variant", "/out/variant"], image=f"{REGISTRY}/{repository}:1", **keys
    )


def pinned(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.with_suffix(".lock.yaml").read_text("utf-8"))["image"])


def test_a_tag_that_moves_after_the_pin_is_reported_and_followed_only_when_told(desk: Desk, repository: str) -> None:
    old, file = variant(repository, "one"), reads_variant(desk, repository)
    assert desk.tfslurm("pin", file).stdout == f"{REGISTRY}/{repository}@{old}\n"
    new = variant(repository, "two")
    assert registry.tag_digest(REGISTRY, repository, "1") == new != old

    again = desk.tfslurm("pin", file)
    assert again.returncode == 0
    assert again.stdout == f"{REGISTRY}/{repository}@{old}\n"
    assert f"the tag has moved: {old} when pinned" in again.stderr
    submitted = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert f"the tag has moved: {old} when pinned" in submitted.stderr
    assert f"{new} now" in submitted.stderr
    assert f"`tfslurm pin {file} --update` follows" in submitted.stderr
    assert pinned(file)["digest"] == old
    first = submitted.stdout.strip()

    assert desk.tfslurm("pin", file, "--update").stdout == f"{REGISTRY}/{repository}@{new}\n"
    assert pinned(file)["digest"] == new
    second = desk.submit(file)
    assert [desk.ended(job) for job in (first, second)] == ["COMPLETED", "COMPLETED"]
    assert [desk.out(job, "variant") for job in (first, second)] == ["one", "two"]
    assert [desk.record(job)["image"]["digest"] for job in (first, second)] == [old, new]


def test_a_lock_file_with_fewer_variables_is_written_anew_when_told(desk: Desk, repository: str) -> None:
    """An older tfslurm kept fewer of the image's variables."""
    variant(repository, "one")
    file = reads_variant(desk, repository)
    desk.tfslurm("pin", file)
    lock, whole = file.with_suffix(".lock.yaml"), pinned(file)["environment"]
    assert "PATH" in whole
    lock.write_text(re.sub(r"(?m)^  environment:\n(    .*\n?)+", "  environment: {}\n", lock.read_text("utf-8")))
    assert "still stands for the pinned digest" in desk.tfslurm("pin", file).stderr
    assert pinned(file)["environment"] == {}
    assert "written; commit it" in desk.tfslurm("pin", file, "--update").stderr
    assert pinned(file)["environment"] == whole


def test_a_tag_that_moves_while_the_job_waits_changes_nothing(desk: Desk, repository: str) -> None:
    old = variant(repository, "one")
    job = desk.submit(reads_variant(desk, repository, slurm={"begin": LATER}))
    new = variant(repository, "two")
    images.pull(f"{REGISTRY}/{repository}:1")  # the node's daemon has the new one under the tag by now
    begin_now("alpha", job)
    assert desk.ended(job) == "COMPLETED"
    assert desk.out(job, "variant") == "one"
    record = desk.record(job)
    assert record["image"]["digest"] == old != new
    assert any(old in digest for digest in record["attempts"][0]["tasks"][0]["image_digests"])
    assert record["verified"]["image"]["status"] == "ok"


def test_a_digest_that_is_nowhere_any_more_stops_the_job_before_its_program(desk: Desk, repository: str) -> None:
    old = variant(repository, "one")
    images.copy(repository, "1")
    file = reads_variant(desk, repository, slurm={"begin": LATER})
    job = desk.submit(file)
    for address in (REGISTRY, MIRROR):
        registry.delete_manifest(address, repository, old)
        images.remove(f"{address}/{repository}@{old}")
    variant(repository, "two")  # the tag goes on, and is no way out
    begin_now("alpha", job)

    assert desk.tfslurm("wait", job).returncode == 78
    assert not (desk.run_folder(job) / "out" / "variant").exists()
    status = desk.tfslurm("status", job).stdout
    assert "FAILED" in status
    assert "exit 78: not started" in status
    said = desk.tfslurm("logs", job).stderr
    assert f"{REGISTRY}/{repository}:1 is not obtainable as {old}" in said
    record = desk.record(job)
    assert (record["job"]["state"], record["job"]["exit_code"]) == ("FAILED", 78)
    assert record["verified"]["image"]["status"] == "failed"
    assert f"is not obtainable as {old}" in record["verified"]["image"]["reason"]
    assert "is not obtainable" in desk.tfslurm("provenance", job).stdout


def begin_now(cluster: str, job: str) -> None:
    """Let a job begin that was submitted for LATER, or waits to be run again: its node may still clear up."""
    done = run_as(USER, ["scontrol", "update", f"JobId={job.partition(':')[2]}", "StartTime=now+3"], cluster)
    assert done.returncode == 0, done.stderr


def test_an_image_of_the_daemon_alone_is_pinned_by_its_id_and_runs(desk: Desk) -> None:
    name = f"local-{desk.token}:1"
    built = run_as(USER, ["docker", "build", "--quiet", f"--tag={name}", "-"], "alpha", stdin=dockerfile(desk.token))
    assert built.returncode == 0, built.stderr
    image_id = built.stdout.strip()
    try:
        file = desk.experiment("local", ["sh", "-c", "echo $WHICH >/out/which"], image=name)
        assert desk.tfslurm("pin", file, "--local").stdout.endswith(f"@{image_id}\n")
        lock = pinned(file)
        assert (lock["pin_kind"], lock["digest_kind"], lock["digest"]) == ("image-id", "config", image_id)
        job = desk.submit(file)
        assert desk.ended(job) == "COMPLETED"
        assert desk.out(job, "which") == f"{desk.token}\n"
        record = desk.record(job)
        assert (record["image"]["digest"], record["image"]["digest_kind"]) == (image_id, "config")
        assert record["verified"]["image"] == {
            "status": "ok",
            "reason": "the node has this digest as its id, and the container was made from it",
        }
    finally:
        images.remove(image_id)


def dockerfile(which: str) -> str:
    return f"FROM {REGISTRY}/{images.SMALL}:{images.SMALL_TAG}\nENV WHICH={which}\n"


# ------------------------------------------------------------------------------------------------ what took the longest


def test_a_job_that_was_warned_is_queued_again_and_goes_on_where_it_was(shared: Desk, long: Long) -> None:
    number = long.checkpoint.partition(":")[2]
    until(lambda: all(word in detail("alpha", number) for word in ("Restarts=1", "JobState=PENDING")), 120)
    begin_now("alpha", long.checkpoint)  # Slurm would let a requeued job wait for two minutes (cred_expire)
    assert shared.ended(long.checkpoint) == "COMPLETED"
    assert shared.out(long.checkpoint, "history").splitlines() == [
        "attempt 1",
        "saved",
        "attempt 2",
        "goes on at 41",
    ]
    record = shared.record(long.checkpoint)
    went = [(attempt["index"], attempt["state"]) for attempt in record["attempts"]]
    assert went == [(1, "REQUEUED"), (2, "COMPLETED")]
    assert record["job"]["restarts"] == 1
    assert {output["path"] for output in record["experiment"]["outputs"]} == {"history", "saved"}


@pytest.fixture(scope="module")
def trained(shared: Desk, long: Long) -> dict[str, Any]:
    """The record of examples/digits, whose job has ended."""
    assert shared.ended(long.digits) == "COMPLETED", shared.tfslurm("logs", long.digits).stderr
    return shared.record(long.digits)


def test_the_example_learns_the_digits(shared: Desk, long: Long, trained: dict[str, Any]) -> None:
    assert json.loads(shared.out(long.digits, "metrics.json"))["accuracy"] > 0.95
    assert (trained["job"]["state"], trained["job"]["exit_code"]) == ("COMPLETED", 0)


def test_its_record_holds_each_link_from_the_tag_to_the_job(long: Long, trained: dict[str, Any]) -> None:
    digest = registry.tag_digest(REGISTRY, tensorflow.REPOSITORY, tensorflow.TAG)
    image = [trained["image"][key] for key in ("reference", "tag", "digest")]
    assert image == ["tensorflow/tensorflow:2.16.1-gpu", "2.16.1-gpu", digest]
    assert f"alpha:{trained['job']['job_id']}" == long.digits
    (node,) = trained["job"]["nodes"]
    (task,) = trained["attempts"][0]["tasks"]
    (gpu,) = task["gpus"]
    (known,) = [each for each in of_node(node) if each.uuid == gpu["uuid"]]
    assert (task["node"], task["driver_version"], gpu["name"]) == (node, known.driver, known.name)
    assert hooked(task["container"]["id"]) == (known.uuid,)
    assert any(str(digest) in name for name in task["image_digests"])
    assert trained["environment"]["tensorflow"] == "2.16.1"
    assert {link: trained["verified"][link]["status"] for link in ("image", "gpus", "driver")} == {
        "image": "ok",
        "gpus": "ok",
        "driver": "ok",
    }
    unchecked = {"status": "unknown", "reason": "not checked: gpu_check is off"}
    assert trained["verified"]["tensorflow_gpu"] == unchecked


def test_its_record_lists_every_output_with_its_sha256(shared: Desk, long: Long, trained: dict[str, Any]) -> None:
    folder = shared.run_folder(long.digits) / "out"
    left = {
        str(path.relative_to(folder)): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }
    listed = {output["path"]: (output["bytes"], output["sha256"]) for output in trained["experiment"]["outputs"]}
    assert listed == left
    assert {"metrics.json", "model/saved_model.pb"} < set(listed)


def test_a_person_reads_the_same_in_one_screen_of_text(shared: Desk, long: Long, trained: dict[str, Any]) -> None:
    done = shared.tfslurm("provenance", long.digits)
    (task,) = trained["attempts"][0]["tasks"]
    facts = [
        long.digits, "COMPLETED", trained["image"]["digest"], task["node"], task["driver_version"],
        task["gpus"][0]["uuid"], "TensorFlow 2.16.1", "metrics.json", trained["integrity"]["record_sha256"],
    ]  # fmt: skip
    assert [fact for fact in facts if fact not in done.stdout] == []
    assert len(done.stdout.splitlines()) <= 50


def test_a_paper_states_what_the_record_has(shared: Desk, long: Long, trained: dict[str, Any]) -> None:
    done = shared.tfslurm("cite", long.digits)
    assert done.returncode == 0, done.stderr
    (task,) = trained["attempts"][0]["tasks"]
    facts = [trained["image"]["digest"], task["driver_version"], task["gpus"][0]["name"], "TensorFlow 2.16.1 (built"]
    assert [fact for fact in (*facts, f"swh:1:dir:{trained['code']['tree']}") if fact not in done.stdout] == []
    (shared.folder / "kept.json").write_text(json.dumps(trained))
    assert shared.tfslurm("cite", "./kept.json").stdout == done.stdout, "a record in a file is cited as its job"
    (shared.folder / "kept.json").write_text(json.dumps({**trained, "warnings": ["another"]}))
    changed = shared.tfslurm("cite", "./kept.json")
    assert (changed.returncode, changed.stdout) == (1, "") and "it was changed" in changed.stderr


def test_one_byte_changed_in_what_a_record_names_is_found(desk: Desk) -> None:
    desk.write("code/train.py", "print(1)\n")
    data = desk.data("alpha")
    inside, file = data / "train" / "1.npy", data / "one.npz"
    inside.parent.mkdir(parents=True)
    for path in (inside, file):
        path.write_text("1\n")
    for path in (data, *data.rglob("*")):
        os.chown(path, *ids())
    desk.describe("alpha", mounts={"allow": [str(data)]})
    mounts: list[dict[str, Any]] = [
        {"source": str(data / "train"), "target": "/train", "hash": True},
        {"source": str(file), "target": "/one", "hash": True},
    ]
    script = ["sh", "-c", "echo 1 >/out/a; echo 2 >/out/b; echo epoch 1; echo 1 >&2"]
    job = desk.submit(desk.experiment("kept", script, code="code", outputs="/out", mounts=mounts))
    assert desk.ended(job) == "COMPLETED"

    def parts() -> dict[str, str]:
        done = desk.tfslurm("verify", job, "--json")
        found = {part["name"]: part["status"] for part in json.loads(done.stdout)["parts"]}
        assert done.returncode == (1 if {"changed", "missing"} & set(found.values()) else 0)
        return {name: status for name, status in found.items() if name not in ("chain", "anchor", "signature")}

    names = ("record", "experiment", "lock", "plan", "script", "outputs", "logs", "code", "facts")
    whole = dict.fromkeys((*names, f"input {data / 'train'}", f"input {file}"), "unchanged")
    assert parts() == whole
    folder = desk.run_folder(job)
    (tree,) = filter(Path.is_dir, (folder.parent.parent.parent / "code").iterdir())
    changed = {
        folder / "out" / "a": "output a",
        folder / "attempt-1" / "stdout.log": "log attempt-1/stdout.log",
        folder / "attempt-1" / "stderr.log": "log attempt-1/stderr.log",
        folder.parent / "job.sbatch": "script",
        tree / "train.py": "code",
        inside: f"input {data / 'train'}",
        file: f"input {file}",
        folder / "attempt-1" / "outputs.sha256": "facts",
        folder.parent / "plan.json": "plan",
    }
    for path, name in changed.items():
        before = path.read_bytes()
        path.write_bytes(before.replace(b"1", b"3", 1))
        assert {part for part, status in parts().items() if status == "changed"} == {name}
        path.write_bytes(before)
    (folder / "attempt-1" / "stdout.log").write_text("epoch 1\nmore\n")
    assert "bytes were appended" in desk.tfslurm("verify", job).stdout
    (folder / "out" / "b").unlink()
    assert parts() == {**whole, "output b": "missing"}
    (desk.folder / "kept.json").write_text(json.dumps(desk.record(job)))
    several = desk.tfslurm("verify", job, "./kept.json")
    assert "2 records:" in several.stdout and several.stdout.count("missing        output b") == 2
