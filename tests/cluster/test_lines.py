"""The whole of a job's life from a machine without Slurm: both transports, every way to a login node of the bed."""

from __future__ import annotations

import json
import os
import pwd
import random
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .bed import JUMP_PORT, OTP_PORT
from .desk import USER, Desk, Done, gate, ids, open_gate
from .line import Line
from .login import next_code

WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "alpha": ("alpha", {"host": "127.0.0.1", "port": 2201}),
    "beta": ("beta", {"host": "127.0.0.1", "port": 2202}),
    "one jump": ("alpha", {"host": "127.0.0.1", "port": 2201, "proxy_jump": f"127.0.0.1:{JUMP_PORT}"}),
    "two jumps of ssh_config": ("beta", {"host": "beta-by-two-hops"}),
    "key and code": ("alpha", {"host": "127.0.0.1", "port": OTP_PORT}),
}
TALKS = "echo said; echo told >&2; echo kept >/out/kept; " + gate() + "; echo done"


@dataclass
class Person:
    """Somebody at a desk with a terminal, who types the code that the login node asks for."""

    desk: Desk
    runtime: str
    asked: list[str] = field(default_factory=list)
    "what the terminal showed when a code was typed"

    def tfslurm(self, *words: str | Path, during: Callable[[], None] | None = None) -> Done:
        """What `tfslurm …` gave; ``during`` runs once it has printed its first line."""
        entry = pwd.getpwnam(USER)
        ours, terminal = os.openpty()
        os.fchown(terminal, *ids())
        person = {"HOME": entry.pw_dir, "USER": USER, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": self.runtime}
        process = subprocess.Popen(
            ["setsid", "--ctty", str(self.desk.program), *map(str, words)],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what readline leaves is for communicate
            cwd=self.desk.folder,
            env={**person, **self.desk.environment(None)},
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(USER, entry.pw_gid),
        )
        os.close(terminal)
        typist = threading.Thread(target=self._answer, args=(ours,))
        typist.start()
        first = b""
        if during and process.stdout:
            first = process.stdout.readline()
            during()
        out, err = process.communicate(timeout=90)
        typist.join(30)
        os.close(ours)
        return Done(process.args, process.returncode, (first + out).decode(), err.decode())

    def _answer(self, terminal: int) -> None:
        shown = ""
        while select.select([terminal], [], [], 90)[0]:
            try:
                shown += os.read(terminal, 4096).decode()
            except OSError:  # the last of those who had it open has gone
                return
            if "One-time password" in shown and shown.rstrip().endswith(":"):
                self.asked.append(shown)
                shown = ""
                os.write(terminal, next_code(USER).encode() + b"\n")


@pytest.fixture
def person(desk: Desk) -> Iterator[Person]:
    """A person whose shared connections, if any, are closed at the end."""
    runtime = tempfile.mkdtemp(dir="/tmp", prefix="tfs")
    os.chown(runtime, *ids())
    yield Person(desk, runtime)
    for path in Path(runtime, "tfslurm").glob("*"):
        subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)
    shutil.rmtree(runtime, ignore_errors=True)


def live(person: Person, cluster: str) -> int:
    """Live a job's life, and another's that is cancelled; how many commands that took."""
    desk = person.desk
    commands = 0

    def typed(*words: str | Path, during: Callable[[], None] | None = None) -> str:
        nonlocal commands
        commands += 1
        done = person.tfslurm(*words, during=during)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    job = typed("submit", desk.experiment("life", ["sh", "-c", TALKS]), "--cluster", cluster).strip()
    assert re.fullmatch(rf"{cluster}:\d+", job)
    assert typed("logs", "-f", job, during=lambda: open_gate(desk, job)) == "said\ndone\n"
    assert typed("logs", job) == "said\ndone\n"
    (status,) = json.loads(typed("status", job, "--json"))
    assert (status["job"], status["state"], status["exit_code"]) == (job, "COMPLETED", 0)
    record = json.loads(typed("provenance", job, "--json"))
    assert (record["job"]["job_id"], record["job"]["state"]) == (job.partition(":")[2], "COMPLETED")
    typed("fetch", job, desk.folder / "fetched")
    assert (desk.folder / "fetched" / "kept").read_text() == "kept\n"
    other = typed("submit", desk.experiment("stopped", ["sh", "-c", gate()]), "--cluster", cluster).strip()
    assert typed("cancel", other).split()[0] == other
    assert desk.jobs(cluster, "PENDING", "RUNNING") == []
    return commands


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
@pytest.mark.parametrize("way", WAYS)
def test_a_job_lives_its_life_by_every_way(person: Person, way: str, transport: str) -> None:
    cluster, login = WAYS[way]
    person.desk.describe(cluster, login={**login, "transport": transport})
    commands = live(person, cluster)
    if way != "key and code":
        assert person.asked == []
    elif transport == "openssh":
        assert len(person.asked) == 1
    else:
        assert len(person.asked) == commands - 1  # the status of a job that has ended is known here
        assert all(f"alpha: {USER}@127.0.0.1:{OTP_PORT}" in shown for shown in person.asked)


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_whoever_waits_for_a_job_is_let_in_once(person: Person, transport: str) -> None:
    desk = person.desk
    desk.describe("alpha", login={**WAYS["key and code"][1], "transport": transport})
    job = person.tfslurm("submit", desk.experiment("slow", ["sh", "-c", gate()]), "--cluster", "alpha").stdout.strip()
    person.asked.clear()
    opens = threading.Timer(10, open_gate, [desk, job])
    opens.start()
    done = person.tfslurm("wait", job, "-v")
    opens.join()
    told = [line for line in done.stderr.splitlines() if not line.startswith("+ ")]
    assert (done.returncode, told[-1]) == (0, f"{job} COMPLETED"), done.stderr
    assert done.stderr.count(" squeue ") > 2
    assert len(person.asked) == (1 if transport == "paramiko" else 0)  # openssh's is still there from the submit


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_wait_goes_on_where_its_line_was_cut(person: Person, transport: str) -> None:
    desk = person.desk
    with Line(2201) as line:
        desk.describe("alpha", login={"host": "alpha-by-proxy", "port": line.port, "transport": transport})
        file = desk.experiment("slow", ["sh", "-c", gate()])
        job = person.tfslurm("submit", file, "--cluster", "alpha").stdout.strip()
        cut, opens = threading.Timer(5, line.cut), threading.Timer(10, open_gate, [desk, job])
        cut.start()
        opens.start()
        done = person.tfslurm("wait", job, "-v")
        opens.join()
    told = [line for line in done.stderr.splitlines() if not line.startswith("+ ")]
    assert (done.returncode, told[-1]) == (0, f"{job} COMPLETED"), done.stderr
    assert line.cuts >= 1


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_without_a_terminal_a_code_cannot_be_asked_for(desk: Desk, transport: str) -> None:
    desk.describe("alpha", login={**WAYS["key and code"][1], "transport": transport})
    with desk.start("submit", desk.experiment("x", ["true"]), "--cluster", "alpha", cluster=None) as process:
        _, said = process.communicate(timeout=60)
    why = "not let in: .*(there is no terminal to answer|run this on a terminal)"
    assert (process.returncode, bool(re.search(why, said))) == (1, True), said


def test_clusters_that_ask_at_once_are_answered_one_after_the_other(person: Person) -> None:
    desk = person.desk
    made = {desk.submit(desk.experiment(name, ["sh", "-c", gate()]), cluster=name) for name in ("alpha", "beta")}
    for name in ("alpha", "beta"):
        desk.describe(name, login=WAYS["key and code"][1])
    done = person.tfslurm("status", "--json")
    assert done.returncode == 0, (done.stderr, person.asked)
    assert {job["job"] for job in json.loads(done.stdout)} == made
    asked = [re.findall("(alpha|beta): .*@", shown) for shown in person.asked]
    assert sorted(asked) == [["alpha"], ["beta"]]


def test_a_login_node_that_accepts_and_says_nothing_is_given_up(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        login = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        desk.describe("alpha", login={**login, "transport": "paramiko"})
        desk.describe("beta", login={**login, "transport": "openssh"})
        file = desk.experiment("x", ["true"])
        waiting = [desk.start("submit", file, "--cluster", name, cluster=None) for name in ("alpha", "beta")]
        for process in waiting:
            with process:
                _, said = process.communicate(timeout=90)
            told = [line for line in said.splitlines() if line.startswith("error: ")]
            assert (process.returncode, len(told)) == (1, 1), said
            assert "127.0.0.1" in told[0]
    assert desk.jobs("alpha") == desk.jobs("beta") == []


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
@pytest.mark.parametrize(("host", "why"), [("alpha-changed", "CHANGED.*keygen -R"), ("alpha-unknown", "keyscan.* >>")])
def test_a_host_key_that_is_not_the_known_one_is_refused(desk: Desk, host: str, why: str, transport: str) -> None:
    desk.describe("alpha", login={"host": host, "transport": transport})
    done = desk.tfslurm("submit", desk.experiment("x", ["true"]), "--cluster", "alpha", cluster=None)
    assert (done.returncode, bool(re.search(f"host key.*{why}", done.stderr))) == (1, True), done.stderr
    assert desk.jobs("alpha") == []


# --- a line that drops, and one that is not there


NUMBERS = 80
COUNTS = f"""i=0; while [ $i -lt {NUMBERS} ]; do
i=$((i+1)); printf 'é'; printf 'a\\303'; printf '\\251 %s\\n' $i; echo "ü $i" >&2; sleep 0.1; done"""


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_line_that_drops_loses_and_repeats_nothing(person: Person, transport: str) -> None:
    desk = person.desk
    with Line(2201) as line:
        login = {"host": "alpha-by-proxy", "port": line.port, "transport": transport}
        desk.describe("alpha", login=login)
        job = person.tfslurm("submit", desk.experiment("counts", ["sh", "-c", COUNTS]), "--cluster", "alpha").stdout
        ended, chance = threading.Event(), random.Random(7)

        def scissors() -> None:
            while (
                not ended.wait(chance.uniform(0.3, 1.5)) and line.cuts < 16
            ):  # a login may take longer than a line lasts
                line.cut()

        thread = threading.Thread(target=scissors)
        done = person.tfslurm("logs", "-f", job.strip(), during=thread.start)
        ended.set()
        thread.join()
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"éaé {number}" for number in range(1, NUMBERS + 1)]
        *said, last = done.stderr.splitlines()
        assert said == [f"ü {number}" for number in range(1, NUMBERS + 1)]
        assert last == f"warning: {job.strip()}: the program left nothing in /out"
        assert line.cuts > 4


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_cluster_that_is_down_is_told_in_one_line_and_the_others_answer(person: Person, transport: str) -> None:
    desk = person.desk
    alpha, beta = (
        desk.submit(desk.experiment(name, ["sh", "-c", f"echo on; {gate()}"]), cluster=name)
        for name in ("alpha", "beta")
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        silent = free.getsockname()[1]
    desk.describe("alpha", login={"host": "127.0.0.1", "port": silent, "transport": transport})
    desk.describe("beta", login={**WAYS["beta"][1], "transport": transport})
    for command in ("logs", "provenance"):
        done = person.tfslurm(command, alpha)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert re.search(r"alpha: .*127\.0\.0\.1.* cannot be reached: .*refused", done.stderr)
    done = person.tfslurm("cancel", alpha, beta)
    assert (done.returncode, done.stdout.split()[:1]) == (1, [beta]), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "alpha: " in done.stderr
    done = person.tfslurm("reap", "alpha", "beta", "--dry-run")
    assert (done.returncode, "beta: looked at" in done.stderr) == (1, True), done.stderr
    assert "alpha: " in done.stderr
