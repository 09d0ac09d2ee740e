"""Commands and shells in the containers of jobs that run: both engines and transports, through jumps, in a real pty."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bed import JUMP_PORT, wait_until
from .desk import Desk, gate
from .line import Line
from .terminal import Terminal, types_all_that_a_person_does
from .test_lines import Person, person
from .users import run_as

__all__ = ["person"]

SECRET = "not-to-be-seen-4711"
WAYS: dict[str, tuple[str, str, dict[str, str | int]]] = {
    "paramiko": ("alpha", "docker", {"host": "127.0.0.1", "port": 2201, "proxy_jump": f"127.0.0.1:{JUMP_PORT}"}),
    "openssh": ("beta", "podman", {"host": "beta-by-two-hops"}),
}


def job_that_runs(desk: Desk, cluster: str) -> str:
    """A job whose program has begun."""
    command = ["sh", "-c", f"echo on; {gate()}"]
    env = {"TOKEN": SECRET}
    file = desk.experiment("runs", command, env={"FOO": "bar baz"}, secrets=["TOKEN"])
    job = desk.submit(file, cluster=cluster, env=env)
    assert wait_until(lambda: desk.tfslurm("logs", job, cluster=cluster).stdout == "on\n", 60)
    return job


@pytest.fixture(params=["paramiko", "openssh"])
def way(request: pytest.FixtureRequest, person: Person) -> Iterator[tuple[Person, str]]:
    """A person at a machine without Slurm, and a job that runs behind jumps: docker by paramiko, podman by openssh."""
    cluster, engine, login = WAYS[request.param]
    desk = person.desk
    desk.set_up_podman()
    desk.describe(cluster, engine=engine)
    job = job_that_runs(desk, cluster)
    desk.describe(cluster, engine=engine, login={**login, "transport": request.param})
    yield person, job
    desk.describe(cluster, engine=engine)


def terminal(person: Person, *words: str) -> Terminal:
    desk = person.desk
    environment = {**desk.environment(None), "XDG_RUNTIME_DIR": person.runtime}
    return Terminal([desk.program, *words], desk.folder, environment)


def test_a_shell_in_a_terminal_is_as_one_at_hand_and_without_one_bytes_are_handed_on(way: tuple[Person, str]) -> None:
    person, job = way
    use_a_shell(person, job)
    hand_bytes_on(person, job)


def use_a_shell(person: Person, job: str) -> None:
    """A person types in it; the terminal is as it was afterwards."""
    with terminal(person, "exec", job) as window:
        pasted = types_all_that_a_person_does(window)
        window.types("exit 3\n")
        assert window.ends() == 3
        assert "error" not in window.rest()
        assert window.now() == window.settings
    assert (person.desk.run_folder(job) / "out" / "pasted").read_text() == pasted


def hand_bytes_on(person: Person, job: str) -> None:
    """Megabytes, each stream for itself, an exit code, one JSON document; and a secret that no command line shows."""
    desk = person.desk
    sent = random.Random(11).randbytes(3_000_000)
    environment = {**desk.environment(None), "XDG_RUNTIME_DIR": person.runtime}
    script = "echo $TOKEN >&2; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' >/out/seen; cat; exit 4"
    words = [str(desk.program), "exec", "-v", job, "sh", "-c", script]
    done = run_as_person(desk, words, sent, environment)
    assert (done.returncode, done.stdout == sent) == (4, True), done.stderr
    *traced, said = done.stderr.decode().splitlines()
    assert said == SECRET
    shown = (desk.run_folder(job) / "out" / "seen").read_text()
    assert "exec 0022 tfslurm-exec-" in shown
    assert not [text for text in (*traced, shown) if SECRET in text]
    done = run_as_person(
        desk, [str(desk.program), "exec", "--json", job, "--", "cat", "/proc/self/cmdline"], b"", environment
    )
    assert json.loads(done.stdout) == {"job": job, "exit_code": 0, "stdout": "cat\0/proc/self/cmdline\0", "stderr": ""}


def run_as_person(
    desk: Desk, words: list[str], sent: bytes, environment: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["runuser", "-u", "alice", "--", "env", "-i", "HOME=/var/tmp/tfslurm-bed/home/alice", "LANG=C.UTF-8",
         *(f"{key}={value}" for key, value in environment.items()), *words],
        input=sent, capture_output=True, timeout=120, cwd=desk.folder, check=False,
    )  # fmt: skip


def test_a_lost_line_and_the_end_of_the_job_end_the_command(person: Person) -> None:
    desk = person.desk
    job = job_that_runs(desk, "alpha")
    with Line(2201) as line:
        desk.describe("alpha", login={"host": "alpha-by-proxy", "port": line.port, "transport": "openssh"})
        with terminal(person, "exec", job, "sh", "-c", "echo be''gun; exec sleep 1234") as window:
            window.shows("begun\r\n")
            line.cut()
            assert window.ends() == 1
            assert re.search("alpha: the line was lost", window.rest())
            assert window.now() == window.settings
        assert wait_until(lambda: not processes("sleep 1234"), 30)
        with terminal(person, "exec", job, "sh", "-c", "echo be''gun; exec sleep 4321") as window:
            window.shows("begun\r\n")
            desk.describe("alpha")
            assert desk.tfslurm("cancel", job).returncode == 0
            assert window.ends() != 0
        assert wait_until(lambda: not processes("sleep 4321"), 30)
    assert desk.ended(job) == "CANCELLED"


def processes(words: str) -> list[str]:
    found = [path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") for path in commands()]
    return [line for line in found if line.strip() == words]


def commands() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path


def test_what_cannot_be_entered_is_refused_with_its_reason(desk: Desk) -> None:
    job = job_that_runs(desk, "alpha")
    waits = desk.submit(desk.experiment("waits", ["true"], slurm={"begin": "now+1hour"}))
    array = desk.experiment("array", ["sh", "-c", gate()], sweep={"grid": {"x": [1, 2]}}, env={"X": "{{ x }}"})
    swept = desk.tfslurm("submit", array, "--cluster", "alpha").stdout.split()[-1]

    def refused(*words: str, code: int = 1) -> str:
        done = desk.tfslurm("exec", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        return done.stderr

    assert f"{waits}: is PENDING" in refused(waits, "true")
    assert f"job {job.partition(':')[2]!r}" not in refused(job, "--", "false")  # its own code, without a word
    for command, code, why in (("nosuchprog", 127, "not found"), ("/etc/passwd", 126, "cannot be executed")):
        assert refused(job, command, code=code) == f"tfslurm: {command}: {why} in the container\n"
    assert "has 1 task: 0" in refused("--rank", "1", job, "true", code=2)
    assert "is 2 jobs" in refused(swept, "true", code=2)
    assert "is not in the tracker" in refused("99999", "true", code=2)
    words = ["srun", f"--jobid={job.partition(':')[2]}", "--overlap", "true"]
    assert run_as("bob", words, "alpha").returncode != 0
    desk.tfslurm("cancel", job)
    desk.ended(job)
    assert f"{job}: has ended (CANCELLED), and its container with it" in refused(job, "true")
