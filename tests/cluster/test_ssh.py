"""ssh into the container of a job that runs: OpenSSH's own client, and the sshd of an image, on both engines."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from .desk import USER, Desk, gate, until
from .ssh_image import REFERENCE, push
from .users import run_as

SERVER = "cd /out && echo up && exec python3 -m http.server --bind 127.0.0.1 8000"


def typed(desk: Desk, cluster: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """What a client of OpenSSH's gave, typed at the desk."""
    return run_as(USER, [*words], cwd=desk.folder, env=desk.environment(cluster), timeout_s=90)


@contextmanager
def forwarded(desk: Desk, cluster: str, settings: Path, host: str) -> Iterator[Path]:
    """A Unix socket that `ssh -L` leads to a server in the container."""
    place = desk.folder / "forwarded"
    words: list[str | Path] = [
        "-F",
        settings,
        "-o",
        "ExitOnForwardFailure=yes",
        "-L",
        f"{place}:127.0.0.1:8000",
        host,
        SERVER,
    ]
    process = replace(desk, program=Path("/usr/bin/ssh")).start(*words, cluster=cluster)
    try:
        assert process.stdout and process.stdout.readline() == "up\n"
        yield place
    finally:
        process.kill()
        process.communicate()


def got(place: Path, path: str) -> str:
    """What a server behind a socket answers, once it listens; '' before."""
    with suppress(ConnectionError), socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))
        line.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return line.makefile("rb").read().decode().partition("\r\n\r\n")[2]
    return ""


def runs(desk: Desk, cluster: str) -> None:
    """Wait until the program of the one job has begun."""
    logs = "runs/*/*/attempt-1/stdout.log"
    until(lambda: any(log.read_text() == "begun\n" for log in desk.root(cluster).glob(logs)), 60)


@pytest.mark.parametrize(("cluster", "engine"), [("alpha", "docker"), ("beta", "podman")])
def test_ssh_sftp_and_a_forward_lead_into_a_container(desk: Desk, cluster: str, engine: str) -> None:
    push()
    if engine == "podman":
        desk.set_up_podman()
        desk.describe(cluster, engine=engine)
    gpus = 1 if engine == "docker" else 0
    keys = {"image": REFERENCE, "env": {"VALUE": "a 'b'\n$c"}, "network": "none", "resources": {"gpus": gpus}}
    job = desk.submit(desk.experiment("entered", ["sh", "-c", f"echo begun && {gate()}"], **keys), cluster=cluster)
    runs(desk, cluster)
    done = desk.tfslurm("exec", "--json", "--ssh-config", job, cluster=cluster)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    host, settings = told["host"], desk.write("ssh.conf", told["config"])
    ask = 'nvidia-smi -L 2>/dev/null | grep -c UUID; id -u; echo "$VALUE"; exit 3'
    done = typed(desk, cluster, "ssh", "-F", settings, host, ask)
    assert (done.returncode, done.stdout) == (3, f"{gpus}\n2001\na 'b'\n$c\n"), done.stderr
    batch = desk.write("batch", "put batch /out/put\nget /etc/debian_version got\n")
    done = typed(desk, cluster, "sftp", "-b", batch, "-F", settings, host)
    assert (done.returncode, desk.out(job, "put")) == (0, batch.read_text()), done.stderr
    assert re.fullmatch(r"12\.\d+\n", (desk.folder / "got").read_text())
    with forwarded(desk, cluster, settings, host) as place:
        until(lambda: got(place, "/put") == batch.read_text(), 30)
    known = desk.folder / "cache" / "tfslurm" / "ssh" / host
    right = known.read_text()
    assert re.fullmatch(rf"{host} ssh-ed25519 \S+\n", right)
    other = desk.write("other", right.replace(right[-9:-1], "AAAAAAAA"))
    done = typed(desk, cluster, "ssh", "-F", settings, "-o", f"UserKnownHostsFile={other}", host, "true")
    assert (done.returncode, "Host key verification failed" in done.stderr) == (255, True), done.stderr
    desk.tfslurm("cancel", job, cluster=cluster)
    assert any("beside the program (tfslurm exec)" in each for each in desk.record(job)["warnings"])
    done = typed(desk, cluster, "ssh", "-F", settings, host, "true")
    assert (done.returncode, f"{job}: " in done.stderr) == (255, True), done.stderr


def test_an_image_without_sshd_is_told_with_the_way_to_one(desk: Desk) -> None:
    job = desk.submit(desk.experiment("without", ["sh", "-c", f"echo begun && {gate()}"]))
    runs(desk, "alpha")
    done = desk.tfslurm("exec", "--ssh-config", job)
    assert done.returncode == 1
    fix = "build an image with it: `build: {base: IMAGE, apt: [openssh-server]}`"
    assert done.stderr == f"error: {job}: the image has no sshd: ssh cannot lead into its container; {fix}\n"
