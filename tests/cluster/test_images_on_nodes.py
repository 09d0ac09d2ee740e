"""How a node gets its image, on the test bed: real registries, some of them started, stopped or damaged by the test."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tfslurm.spec import Resources

from . import images, registry
from .bed import CLUSTERS, LOG, MIRROR, REGISTRY, SYSTEM_PATH, wait_until
from .desk import USER, Desk
from .jobs import PATIENCE_S, Job, fresh_image, plan, ran, refused, sh, submit
from .users import run_as

INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


class Shop:
    """A registry of one test's own, which can be away, and can ask for a password."""

    def __init__(self, folder: Path, password: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.password = password
        self.process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """It answers afterwards."""
        config = self.folder / "registry.yml"
        text = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.folder}/data}}}}\n"
        text += f'http: {{addr: "{self.address}", secret: of-one-test}}\n'
        if self.password:
            hashed = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(4)).decode()
            (self.folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
            text += f"auth: {{htpasswd: {{realm: shop, path: {self.folder}/htpasswd}}}}\n"
        config.write_text(text)
        with (self.folder / "registry.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/docker-registry", "serve", str(config)],
                env={"PATH": SYSTEM_PATH, "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        assert wait_until(self._answers, PATIENCE_S), (self.folder / "registry.log").read_text()

    def _answers(self) -> bool:
        host, _, port = self.address.partition(":")
        with socket.socket() as knock:
            return knock.connect_ex((host, int(port))) == 0

    def close(self) -> None:
        """Nobody answers afterwards; what was pushed stays."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def blob(self, digest: str) -> Path:
        """The file in which it keeps a manifest or a layer."""
        value = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A registry that runs, empty."""
    made = Shop(tmp_path)
    made.open()
    yield made
    made.close()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Shop]:
    """A registry that holds what is pushed to it while it is open."""
    made = Shop(tmp_path)
    yield made
    made.close()


def pulled_from_registry(repository: str) -> list[str]:
    """The manifests that docker fetched from the bed's registry, one entry for each GET in its access log."""
    asked = re.compile(rf'"GET /v2/{re.escape(repository)}/manifests/(\S+) HTTP/1\.1" 200 \d+ "" "docker/')
    return asked.findall((LOG / "registry.log").read_text(errors="replace"))


def fetched_layers(repository: str) -> list[str]:
    """The blobs that docker fetched from the bed's registry."""
    asked = re.compile(rf'"GET /v2/{re.escape(repository)}/blobs/(\S+) HTTP/1\.1" 200 \d+ "" "docker/')
    return asked.findall((LOG / "registry.log").read_text(errors="replace"))


# ------------------------------------------------------------------------------------------------------ once for a node


def test_twenty_array_tasks_that_begin_on_one_node_without_the_image_pull_it_once() -> None:
    repository, digest = fresh_image()
    source = f"{REGISTRY}/{repository}@{digest}"
    small = {"array": "0-19", "nodelist": "alpha1", "mem": "60M"}
    array = submit(plan(digest=digest, image_sources=(source,), options=small))
    ends = [array.folder.parent / f"{array.job_id}_{index}" / "attempt-1" / "exit.json" for index in range(20)]
    assert wait_until(lambda: all(end.exists() for end in ends), 6 * PATIENCE_S), array.said()
    assert {json.loads(end.read_text())["exit_code"] for end in ends} == {0}
    said = [(end.parent / "facts/task-0/image-pulled.txt").read_text().strip() for end in ends]
    assert said.count(f"pulled from {source}") == 1
    assert set(said) <= {f"pulled from {source}", "pulled from another task's pull", "present"}
    assert pulled_from_registry(repository) == [digest]
    layers = fetched_layers(repository)
    assert len(layers) == len(set(layers))
    images.remove(source)


def test_the_tasks_of_one_job_that_share_a_node_pull_once_and_before_any_of_them_starts() -> None:
    repository, digest = fresh_image()
    source = f"{REGISTRY}/{repository}@{digest}"
    four = Resources(gpus=0, cpus=4, nodes=2, tasks_per_node=4)
    asked = plan(digest=digest, image_sources=(source,), resources=four, prepull=True, options={"mem": "400M"})
    job = ran(asked)
    assert job.end()["exit_code"] == 0, job.said()
    assert pulled_from_registry(repository) == [digest]
    prepared = [rank for rank in range(8) if "\tprepare-began\t" in job.fact("events.tsv", rank)]
    assert prepared == [0, 4], "one task of each node"
    begun = [moment(job, rank, "task-began") for rank in range(8)]
    assert max(moment(job, rank, "image") for rank in prepared) < min(begun)
    said = [job.fact("image-pulled.txt", rank).strip() for rank in range(8)]
    mine = {said[rank] for rank in prepared}  # the two nodes are one machine
    assert f"pulled from {source}" in mine
    assert mine - {f"pulled from {source}"} <= {"pulled from another task's pull", "present"}
    assert len(mine) == 2
    assert {said[rank] for rank in range(8) if rank not in prepared} == {"present"}
    images.remove(source)


def moment(job: Job, rank: int, event: str) -> str:
    """When it first happened to a task; the texts sort by time."""
    lines = (line.split("\t") for line in job.fact("events.tsv", rank).splitlines())
    return next(line[0] for line in lines if line[1] == event)


def test_a_node_that_cannot_prepull_stops_the_job_before_any_program_starts() -> None:
    repository, digest = fresh_image()
    registry.delete_manifest(REGISTRY, repository, digest)
    two = Resources(gpus=0, nodes=2)
    asked = plan(
        digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",), resources=two, prepull=True,
        outputs="/out", command=sh("touch /out/ran"),
    )  # fmt: skip
    job = ran(asked)
    assert job.end()["exit_code"] == 78, job.said()
    assert f"is not obtainable as {digest}" in job.end()["reason"]
    assert list((job.folder / "out").iterdir()) == []
    assert job.containers() == []


# --------------------------------------------------------------------------------------------------------- away for now


def test_a_registry_that_is_away_when_the_pull_begins_is_asked_again(away: Shop) -> None:
    away.open()
    repository, digest = fresh_image(away.address)
    away.close()
    job = submit(
        plan(digest=digest, image_sources=(f"{away.address}/{repository}@{digest}",), command=("cat", "/mark"))
    )
    events = job.facts() / "events.tsv"
    assert wait_until(lambda: events.exists() and "\tpull-failed\t" in events.read_text(), PATIENCE_S), job.said()
    away.open()
    assert job.end()["exit_code"] == 0, job.said()
    assert job.output() == repository
    assert "connection refused" in job.fact("image-pull.log")
    assert job.fact("image-pulled.txt") == f"pulled from {away.address}/{repository}@{digest}\n"
    images.remove(f"{away.address}/{repository}@{digest}")


def test_a_registry_that_is_away_is_no_failure_where_the_digest_is_present(away: Shop) -> None:
    away.open()
    repository, digest = fresh_image(away.address)
    images.pull(f"{away.address}/{repository}@{digest}")
    away.close()
    job = ran(plan(digest=digest, image_sources=(f"{away.address}/{repository}@{digest}",), command=("cat", "/mark")))
    assert (job.end()["exit_code"], job.output()) == (0, repository)
    assert job.fact("image-pulled.txt") == "present\n"
    images.remove(f"{away.address}/{repository}@{digest}")


@pytest.mark.parametrize("prepull", [False, True])
def test_a_job_that_is_cancelled_between_two_tries_ends_at_once(away: Shop, prepull: bool) -> None:
    digest = "sha256:" + "5a" * 32
    sources = (f"{away.address}/nothing@{digest}",)
    two = Resources(gpus=0, nodes=2)
    job = submit(plan(digest=digest, image_sources=sources, resources=two, prepull=prepull))
    assert wait_until(lambda: any(tries(job.facts(rank)) for rank in (0, 1)), PATIENCE_S), job.said()
    assert run_as(USER, ["scancel", job.job_id], "alpha").returncode == 0
    end = job.end()
    assert (end["exit_code"], end["reason"]) == (143, "stopped by SIGTERM"), job.said()
    for rank in (0, 1):
        assert (job.task_end(rank)["exit_code"], job.task_end(rank)["started_at"]) == (143, None)


def tries(facts: Path) -> int:
    """How often a task has failed to pull so far."""
    events = facts / "events.tsv"
    return events.read_text().count("\tpull-failed\t") if events.exists() else 0


def test_tasks_that_waited_for_a_pull_that_failed_do_not_begin_it_again(away: Shop) -> None:
    digest = "sha256:" + uuid.uuid4().hex * 2
    own = {"array": "0-3", "nodelist": "alpha1", "mem": "60M"}
    array = submit(plan(digest=digest, image_sources=(f"{away.address}/nothing@{digest}",), options=own))
    attempts = [array.folder.parent / f"{array.job_id}_{index}" / "attempt-1" for index in range(4)]
    assert wait_until(lambda: all((each / "exit.json").exists() for each in attempts), 4 * PATIENCE_S), array.said()
    ends = [json.loads((each / "exit.json").read_text()) for each in attempts]
    assert [end["exit_code"] for end in ends] == [78, 78, 78, 78]
    assert all(f"is not obtainable as {digest}: " in end["reason"] for end in ends)
    waited = ["another task of yours tried on this node while this one waited" in end["reason"] for end in ends]
    assert any(waited)
    assert [tries(each / "facts/task-0") for each in attempts] == [0 if each else 4 for each in waited]


# ---------------------------------------------------------------------------------------------------- equal or refused


def test_a_mirror_with_other_bytes_under_the_digest_is_refused_and_the_next_is_taken(shop: Shop) -> None:
    """The mirror is a real registry, whose stored manifest was written over."""
    repository, digest = fresh_image()
    images.copy(repository, "1", REGISTRY, shop.address)
    other = images.push_small(repository, "2", {"/mark": "other"}, address=shop.address)
    shop.blob(digest).write_bytes(shop.blob(other).read_bytes())
    sources = tuple(f"{place}/{repository}@{digest}" for place in (shop.address, REGISTRY))
    job = ran(plan(digest=digest, image_sources=sources, command=("cat", "/mark")))
    assert job.output() == repository, job.said()
    assert "manifest verification failed" in job.fact("image-pull.log")
    assert job.fact("image-source.txt") == f"{sources[1]}\n"
    assert job.fact("events.tsv").count(f"\tpull\t{sources[0]}") == 1, "such an answer cannot change"
    images.remove(sources[1])


def test_a_mirror_with_other_bytes_in_a_layer_is_refused_too(shop: Shop) -> None:
    repository, digest = fresh_image(shop.address)
    found = registry.manifest(shop.address, repository, "1")
    assert found
    layer = json.loads(found[0])["layers"][-1]["digest"]
    raw = bytearray(shop.blob(layer).read_bytes())
    raw[len(raw) // 2] ^= 1
    shop.blob(layer).write_bytes(raw)
    line = refused(submit(plan(digest=digest, image_sources=(f"{shop.address}/{repository}@{digest}",))))
    assert f"is not obtainable as {digest}" in line


@pytest.fixture
def index(desk: Desk) -> Iterator[tuple[str, str, str]]:
    """A repository with an index of one platform; the mirror has only the manifest, under an index of its own."""
    repository = f"desk-{desk.token}/index"
    manifest = images.push_small(repository, "1-amd64", {"/etc/mark": desk.token})
    images.copy(repository, "1-amd64")
    digests = []
    for address, note in ((REGISTRY, "origin"), (MIRROR, "mirror")):
        found = registry.manifest(REGISTRY, repository, "1-amd64")
        assert found
        entry = {
            "mediaType": registry.MANIFEST, "digest": manifest, "size": len(found[0]),
            "platform": {"os": "linux", "architecture": "amd64"}, "annotations": {"pushed-to": note},
        }  # fmt: skip
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
        digests.append(registry.put_manifest(address, repository, "1", body, INDEX))
    assert digests[0] != digests[1]
    yield repository, digests[0], manifest
    for address in (REGISTRY, MIRROR):
        for digest in (digests[0], manifest):
            images.remove(f"{address}/{repository}@{digest}")


def test_a_mirror_that_pushed_its_own_index_serves_the_same_manifest_and_the_record_says_which(
    desk: Desk, index: tuple[str, str, str]
) -> None:
    repository, pinned, manifest = index
    for cluster in CLUSTERS:
        desk.describe(cluster, mirrors={})
    file = desk.experiment("index", ["cp", "/etc/mark", "/out/mark"], image=f"{REGISTRY}/{repository}:1")
    assert desk.tfslurm("pin", file).returncode == 0
    desk.describe("alpha")  # the mirror comes first
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED"
    assert desk.out(job, "mark") == desk.token
    record = desk.record(job)
    assert (record["image"]["digest"], record["image"]["digest_kind"]) == (pinned, "index")
    (task,) = record["attempts"][0]["tasks"]
    assert task["image_source"] == f"{MIRROR}/{repository}@{manifest}"
    assert task["image_pulled"] == f"pulled from {MIRROR}/{repository}@{manifest}"
    verdict = record["verified"]["image"]
    assert verdict["status"] == "ok"
    assert (
        f"the manifest that this index names for linux/amd64, {manifest}, as {MIRROR}/{repository}" in verdict["reason"]
    )
    assert pulled_from_registry(repository) == []


# ------------------------------------------------------------------------------------------------------------- password


@pytest.fixture
def private(tmp_path: Path) -> Iterator[tuple[Shop, str, str]]:
    """A registry with a password, and an image in it."""
    made = Shop(tmp_path, uuid.uuid4().hex)
    made.password, password = "", made.password
    made.open()
    repository, digest = fresh_image(made.address)
    made.close()
    made.password = password
    made.open()
    yield made, repository, digest
    run_as(USER, ["docker", "logout", made.address])
    images.remove(f"{made.address}/{repository}@{digest}")
    made.close()


def test_a_private_registry_is_opened_by_dockers_own_login_on_the_node(private: tuple[Shop, str, str]) -> None:
    shop, repository, digest = private
    asked = plan(digest=digest, image_sources=(f"{shop.address}/{repository}@{digest}",), command=("cat", "/mark"))
    line = refused(submit(asked))
    assert "no basic auth credentials" in line
    login = ["docker", "login", "--username", USER, "--password-stdin", shop.address]
    assert run_as(USER, login, stdin=shop.password).returncode == 0
    job = ran(plan(digest=digest, image_sources=asked.image_sources, command=("cat", "/mark")))
    assert (job.end()["exit_code"], job.output()) == (0, repository), job.said()
    for path in job.folder.parent.rglob("*"):
        assert not path.is_file() or shop.password not in path.read_text(errors="replace"), path
