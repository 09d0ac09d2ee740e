"""An image is mirrored from one real registry to another, and runs from there when the first one lost it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import registry
from .bed import MIRROR, REGISTRY
from .desk import Desk
from .jobs import fresh_image
from .own_registries import serve

pytestmark = pytest.mark.usefixtures("bed")
TENSORFLOW = f"{REGISTRY}/tensorflow/tensorflow:2.16.1-gpu"
MOST_MIB = 100


class Relay(ThreadingHTTPServer):
    """A proxy before the mirror, as nginx is by default: it hands on a request when all of it has come. It counts the
    bytes of blobs that it hands on, and kills a process in place of handing on piece ``fatal``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Relaying)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.bytes, self.pieces, self.fatal = 0, 0, 0
        self.victim: subprocess.Popen[str] | None = None

    def handle_error(self, *_: object) -> None:
        """The process that was killed hears no answer."""

    def may_pass(self, size: int) -> bool:
        """Whether a piece of so many bytes is handed on."""
        with self.lock:
            self.pieces += 1
            if self.pieces == self.fatal and self.victim:
                self.victim.kill()
            if self.victim and self.pieces >= self.fatal > 0:
                return False
            self.bytes += size
            return True


class Relaying(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.command in ("PATCH", "PUT") and "/blobs/" in self.path and body and not self.server.may_pass(len(body)):
            self.close_connection = True
            return
        there = http.client.HTTPConnection(MIRROR, timeout=120)
        try:
            there.request(self.command, self.path, body, dict(self.headers.items()))
            answer = there.getresponse()
            said = answer.read()
        finally:
            there.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = handle_one

    def log_message(self, *_: object) -> None:
        """Nothing: the test looks at the counts."""


@contextmanager
def relay() -> Iterator[Relay]:
    """A relay that runs."""
    running = Relay()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def mirrored(desk: Desk, *words: str | Path) -> dict[str, Any]:
    done = desk.tfslurm("image", "mirror", *words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def hows(found: dict[str, Any]) -> set[str]:
    return {blob["how"] for blob in found["blobs"]}


def test_the_job_runs_from_the_mirror_when_the_image_was_deleted_and_its_record_says_so(desk: Desk) -> None:
    repository, digest = fresh_image()
    desk.describe("alpha", mirrors={})
    file = desk.experiment("kept", ["cp", "/mark", "/out/mark"], image=f"{REGISTRY}/{repository}:1")
    assert desk.tfslurm("pin", file).returncode == 0
    target = f"{MIRROR}/kept-{desk.token}"
    done = desk.tfslurm("image", "mirror", file, "--to", target)
    assert done.returncode == 0, done.stderr
    name = f"{target}/{repository}"
    assert done.stdout.startswith(f"{name}@{digest}: blobs: 3 sent (")
    kept = name.partition("/")[2]
    assert registry.manifest(MIRROR, kept, digest) == registry.manifest(REGISTRY, repository, digest)
    assert registry.tag_digest(MIRROR, kept, "1") == digest
    (line,) = re.findall(r"write in alpha\.yaml.*: (mirrors: .*)", done.stdout)
    desk.describe("alpha", **yaml.safe_load(line))
    registry.delete_manifest(REGISTRY, repository, digest)
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED"
    assert desk.out(job, "mark") == repository
    record = desk.record(job)
    (task,) = record["attempts"][0]["tasks"]
    assert task["image_source"] == f"{name}@{digest}" and task["image_pulled"] == f"pulled from {name}@{digest}"
    # From the job, and from its record: the only place that has it is the mirror, and no byte is sent within it.
    again = mirrored(desk, job, "--to", f"{target}/again")
    assert (again["served_by"], hows(again), again["bytes_sent"]) == (name, {"mounted"}, 0)
    desk.write("record.json", json.dumps(record))
    assert hows(mirrored(desk, "record.json", "--to", target)) == {"there"}


def peak_of(process: int) -> int:
    """The most KiB of memory that a process has had since its program began; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    return int(found[1]) if found else 0


def test_the_tensorflow_image_goes_over_in_little_memory_and_a_killed_one_goes_on(desk: Desk) -> None:
    desk.describe("alpha", mirrors={})  # from the first registry to the second
    desk.describe("beta", mirrors={})
    desk.describe("gamma", mirrors={})
    with relay() as before:
        words = ("image", "mirror", TENSORFLOW, "--to", f"{before.address}/tf-{desk.token}", "--json")
        before.fatal = 12
        before.victim = desk.start(*words)
        before.victim.communicate()
        assert before.victim.returncode == -9
        before.victim = None
        first = before.bytes
        assert first > 5 * 2**25
        answer: list[str] = []
        peak_kib = 0
        with desk.start(*words) as running:
            reader = threading.Thread(target=lambda: answer.append(running.communicate()[0]))
            reader.start()
            while reader.is_alive():
                peak_kib = max(peak_kib, peak_of(running.pid))
                reader.join(0.005)
        found = json.loads(answer[0])
        assert running.returncode == 0
    assert before.bytes - first == found["bytes_sent"]
    large = max(found["blobs"], key=lambda blob: int(blob["bytes"]))
    assert large["bytes_sent"] <= large["bytes"] - 5 * 2**25
    assert 0 < peak_kib < MOST_MIB * 2**10
    for digest in found["documents"]:
        repository = found["target"].partition("/")[2]
        body = registry.manifest(MIRROR, repository, digest)
        assert body and body[1] == digest
        registry.delete_manifest(MIRROR, repository, digest)


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A disk of so many MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def refusal(desk: Desk, address: str) -> str:
    """The line with which a registry's refusal reaches the user."""
    done = desk.tfslurm("image", "mirror", f"{REGISTRY}/tfslurm/small:1", "--to", f"{address}/x")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {address}/x/tfslurm/small: ")
    assert registry.tag_digest(address, "x/tfslurm/small", "1") is None
    return done.stderr


def test_a_registry_that_is_read_only_or_full_is_one_line(desk: Desk, tmp_path: Path) -> None:
    (read_only, full) = (tmp_path / "read-only", tmp_path / "full")
    read_only.mkdir()
    full.mkdir()
    for address in serve(read_only, storage="maintenance: {readonly: {enabled: true}}"):
        assert "HTTP 405" in (line := refusal(desk, address)) and "it is read-only" in line
    with small_disk(full, 1):
        for address in serve(full):
            assert "its disk, a quota, or its limit of one upload is reached" in refusal(desk, address)


def test_without_the_right_to_push_the_login_to_use_is_named(desk: Desk, tmp_path: Path) -> None:
    import bcrypt  # paramiko brings it

    (tmp_path / "htpasswd").write_text(f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    for address in serve(tmp_path, f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n"):
        words = ("image", "mirror", f"{REGISTRY}/tfslurm/small:1", "--to", address)
        done = desk.tfslurm(*words)
        assert done.returncode == 1 and f"docker login {address}" in done.stderr
        login = base64.b64encode(b"alice:secret").decode()
        desk.write("docker/config.json", json.dumps({"auths": {address: {"auth": login}}}), 0o600)
        done = desk.tfslurm(*words, env={"DOCKER_CONFIG": str(desk.folder / "docker")})
        assert done.returncode == 0 and "secret" not in done.stdout + done.stderr, done.stderr
        left = subprocess.run(["grep", "-rl", "secret", desk.folder / "data"], capture_output=True, text=True)
        assert not left.stdout
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
