"""tfslurm fetch on the bed: over each transport, through a line that is cut, by a client that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .bed import CLUSTERS, LOGIN_PATH
from .desk import USER, Desk, gate, ids, open_gate
from .users import host_key, run_as

MIB = 2**20
LARGE = 40 * MIB
LEAVE = rf"""cd /out; head -c {LARGE} /dev/urandom >model.h5; mkdir -p ckpt/assets; i=0
while [ $i -lt 500 ]; do head -c 3000 /dev/urandom >ckpt/$i.bin; i=$((i+1)); done
for n in 'line\nbreak' -n 'raw-\377' 'a b' 'esc-\033[31m'; do name=$(printf -- "$n."); printf x >"./${{name%.}}"; done
ln -s ckpt/499.bin latest; ln -s /etc/passwd escape"""
FILES = 506
SIZE = LARGE + 500 * 3000 + 5


@pytest.fixture(scope="module")
def job(shared: Desk) -> str:
    """A job that left one large file, many small ones, and odd names."""
    made = shared.submit(shared.experiment("leaves", ["sh", "-c", LEAVE]))
    assert shared.ended(made) == "COMPLETED"
    return made


@dataclass
class Line:
    """A TCP proxy before a login node: counts what comes back, and is cut, or holds, once so many bytes have."""

    port: int
    cut_at: int = -1
    hold_at: int = -1
    held: threading.Event = field(default_factory=threading.Event)
    back: int = 0
    lines: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
                self.pairs.append((client, server))
                self.lines += 1
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self.carry, args=(source, sink, source is server), daemon=True).start()

    def carry(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.back += len(data) if back else 0
                if back and 0 <= self.hold_at < self.back:
                    self.held.set()
                    return
                if back and 0 <= self.cut_at < self.back:
                    self.cut_at = -1
                    self.cut()
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End every connection as a router that forgets them does; the next ones are as good as any."""
        for both in self.pairs:
            for end in both:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self.pairs.clear()


@contextlib.contextmanager
def a_line(desk: Desk, transport: str, cut_at: int = -1, hold_at: int = -1) -> Iterator[tuple[Line, dict[str, str]]]:
    """Alpha behind a proxy from now on, and the environment of a client that knows its key under the proxy's port."""
    port = CLUSTERS["alpha"].ssh_port
    assert port
    line = Line(port, cut_at, hold_at)
    threading.Thread(target=line.accept, daemon=True).start()
    mine = line.listener.getsockname()[1]
    kind, public = host_key("alpha").with_suffix(".pub").read_text().split()[:2]
    home = desk.write(f"home-{mine}/.ssh/known_hosts", f"[127.0.0.1]:{mine} {kind} {public}\n").parent
    key = Path(f"~{USER}/.ssh/id_ed25519").expanduser()
    desk.write(f"home-{mine}/.ssh/config", f"Host *\n UserKnownHostsFile {home}/known_hosts\n IdentityFile {key}\n")
    desk.describe("alpha", login={"host": "127.0.0.1", "port": mine, "transport": transport})
    # ssh looks in the home that the account has, whatever HOME says; the first of two settings counts.
    wrapped = desk.wrap("ssh", f'exec "$real" -o UserKnownHostsFile={home}/known_hosts -o IdentityFile={key} "$@"')
    try:
        yield line, {"HOME": str(home.parent), **wrapped}
    finally:
        line.listener.close()
        line.cut()
        desk.describe("alpha")


def as_it_was(desk: Desk, job: str, name: str) -> None:
    """Every byte and every name that the job left is here, but for the link that leads out."""
    there, here = desk.run_folder(job) / "out", desk.folder / name
    done = subprocess.run(["diff", "--recursive", "--no-dereference", there, here], capture_output=True)
    marks = "".join(f"Only in {here}: {name}\n" for name in (".gitignore", ".tfslurm-fetched"))
    assert done.stdout.decode() == f"{marks}Only in {there}: escape\n"
    assert (here / "latest").readlink() == Path("ckpt/499.bin")


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tfslurm-part")]


def test_a_dry_run_names_what_would_come_and_writes_nothing(shared: Desk, job: str) -> None:
    done = shared.tfslurm("fetch", job, "--dry-run", "--exclude", "ckpt")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert f"{LARGE:>12}  model.h5" in lines
    assert f"{1:>12}  esc-\\x1b[31m" in lines
    assert lines[-1] == f"{job}: 6 files, 40.0 MiB would be fetched into ./{job.replace(':', '-')}"
    assert not (shared.folder / job.replace(":", "-")).exists()


@pytest.mark.parametrize("transport", ["local", "paramiko", "openssh"])
def test_all_that_a_job_left_arrives_once(shared: Desk, job: str, transport: str) -> None:
    if transport != "local":
        port = CLUSTERS["alpha"].ssh_port
        shared.describe("alpha", login={"host": "127.0.0.1", "port": port, "transport": transport})
    where: list[str] = [] if transport == "local" else [transport]
    name = where[0] if where else job.replace(":", "-")
    try:
        cluster = "alpha" if transport == "local" else None
        done = shared.tfslurm("fetch", job, *where, cluster=cluster)
        assert (done.returncode, done.stdout) == (0, f"{job}: {FILES} files, 41.4 MiB in ./{name}, sha256 verified\n")
        assert done.stderr == (
            f"{job}: escape: is a link that may lead out of the outputs, to /etc/passwd; it is not followed\n"
        )
        as_it_was(shared, job, name)
        again = json.loads(shared.tfslurm("fetch", job, *where, "--json", cluster=cluster).stdout)
    finally:
        shared.describe("alpha")
    assert (again["final"], again["counts"]) == (True, {"present": FILES + 1, "skipped": 1})
    recorded = {output["path"]: output["sha256"] for output in shared.record(job)["experiment"]["outputs"]}
    assert {each["path"]: each["sha256"] for each in again["files"] if each["recorded"]} == recorded


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_line_that_is_cut_is_taken_up_where_it_was(shared: Desk, job: str, transport: str) -> None:
    with a_line(shared, transport, cut_at=24 * MIB) as (line, env):
        done = shared.tfslurm("fetch", job, f"cut-{transport}", cluster=None, env=env)
        assert done.returncode == 0, done.stderr
        assert "asking again in 1 s" in done.stderr
        assert line.cut_at < 0
        assert line.lines > 1
        assert line.back < SIZE + 14 * MIB, "what was whole when the line was cut came again"
    as_it_was(shared, job, f"cut-{transport}")
    assert not parts(shared.folder / f"cut-{transport}")


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_client_that_is_killed_goes_on_where_it_was(shared: Desk, job: str, transport: str) -> None:
    folder = shared.folder / f"killed-{transport}"
    with a_line(shared, transport, hold_at=24 * MIB) as (line, env):
        process = shared.start("fetch", job, folder, cluster=None, env=env)
        assert line.held.wait(60)
        process.kill()
        process.communicate()
    (part,) = parts(folder)
    arrived = part.stat().st_size
    assert arrived > 10 * MIB
    with a_line(shared, transport) as (line, env):
        done = shared.tfslurm("fetch", job, folder, cluster=None, env=env)
        assert done.returncode == 0, done.stderr
        assert f"({FILES - 1} were here already)" in done.stdout
        assert line.back < LARGE - arrived + MIB
    as_it_was(shared, job, folder.name)
    assert not parts(folder)


def test_a_full_disk_is_one_line_and_room_is_all_it_needs(shared: Desk, job: str) -> None:
    full = shared.write("full/.keep", "").parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=12m,uid={ids()[0]}", "tmpfs", full], check=True)
    try:
        done = shared.tfslurm("fetch", job, full)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: {full}/.model.h5.tfslurm-part: No space left on device; tfslurm keeps what has arrived: "
            "fix that, and the same command continues from there\n"
        )
        subprocess.run(["mount", "-o", "remount,size=64m", full], check=True)
        done = shared.tfslurm("fetch", job, full)
        assert done.returncode == 0, done.stderr
        as_it_was(shared, job, "full")
    finally:
        subprocess.run(["umount", full], check=True)


def test_what_cannot_be_read_there_or_written_here_is_named(shared: Desk, job: str) -> None:
    out = shared.run_folder(job) / "out"
    (out / "ckpt" / "assets").chmod(0)
    (out / "a b").chmod(0)
    try:
        done = shared.tfslurm("fetch", job, "partly", "--exclude", "*.bin")
    finally:
        (out / "ckpt" / "assets").chmod(0o755)
        (out / "a b").chmod(0o644)
    assert done.returncode == 1
    assert "ckpt/assets" in done.stderr
    assert "Permission denied; its content was not fetched" in done.stderr
    assert f"error: {job}: a b: is not there any more, or cannot be read there\n" in done.stderr
    assert f"{job}: 5 files, 40.0 MiB in ./partly, sha256 verified; not as wanted: 1 failed\n" in done.stdout
    done = shared.tfslurm("fetch", job, "/root/here")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: /root/here: cannot be the destination: Permission denied; name another\n"


def test_a_bar_is_for_terminals(shared: Desk, job: str) -> None:
    words = ["script", "--quiet", "--return", "--command", f"{shared.program} fetch {job} shown", "/dev/null"]
    env = {**shared.environment("alpha"), "TERM": "xterm-256color", "PATH": LOGIN_PATH}
    done = run_as(USER, words, "alpha", cwd=shared.folder, env=env)
    assert done.returncode == 0, done.stdout
    assert "fetching" in done.stdout
    assert f"{FILES} files, 41.4 MiB in ./shown, sha256 verified" in done.stdout


def test_a_running_job_gives_what_is_there_now_and_later_the_rest(desk: Desk) -> None:
    program = f"cd /out; echo one >log; echo kept >kept; echo on; {gate()}; echo two >>log; echo late >late"
    job = desk.submit(desk.experiment("runs", ["sh", "-c", program]))
    process = desk.start("logs", "-f", job)
    assert process.stdout
    assert process.stdout.readline() == "on\n"
    done = desk.tfslurm("fetch", job, "here")
    assert done.returncode == 0, done.stderr
    assert f"{job}: RUNNING: this is what is there now; it is not final" in done.stderr
    assert (desk.folder / "here" / "log").read_text() == "one\n"
    open_gate(desk, job)
    assert desk.ended(job) == "COMPLETED"
    process.communicate(timeout=60)
    done = desk.tfslurm("fetch", job, "here")
    assert done.returncode == 1
    assert f"{job}: log: a file of this name with other content is here; `--overwrite` replaces it" in done.stderr
    assert (desk.folder / "here" / "log").read_text() == "one\n"
    assert (desk.folder / "here" / "late").read_text() == "late\n"
    assert desk.tfslurm("fetch", job, "here", "--overwrite").returncode == 0
    assert (desk.folder / "here" / "log").read_text() == "one\ntwo\n"


def test_a_job_without_outputs_and_one_whose_folder_is_gone_are_told(desk: Desk) -> None:
    file = desk.experiment("none", "true")
    file.write_text(file.read_text().replace('outputs: "/out"\n', ""))
    job = desk.submit(file)
    done = desk.tfslurm("fetch", job)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"job {job}: keeps no outputs: its experiment has no `outputs`" in done.stderr
    gone = desk.submit(desk.experiment("gone", "true"))
    assert desk.ended(gone) == "COMPLETED"
    shutil.rmtree(desk.run_folder(gone))
    done = desk.tfslurm("fetch", gone)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"/{gone.partition(':')[2]}: is not there: " in done.stderr
    assert not os.path.lexists(desk.folder / gone.replace(":", "-"))
