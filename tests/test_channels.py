"""Many connections over one pipe: the real relay.py in a process of its own, and a server of this machine."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tfslurm.errors import CommandFailed, HostError, InputError
from tfslurm.host.forward import Forward, UnixSocket
from tfslurm.host.local import LocalHost
from tfslurm.host.pipe import Pipe
from tfslurm.job_plan.holding import Service, service_in
from tfslurm.services.channels import HEAD, PING, Channels
from tfslurm.services.service import idle_s

INSIDE = Path(__file__).parent.parent / "job_templates" / "inside"
TOKEN = "t" * 43
MARK = b"<begun>"
START = "import sys; sys.stdout.write('noise<begun>'); sys.stdout.flush(); sys.path.insert(0, sys.argv[1])\n"


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, from its end on; the word `hang` makes it read nothing more."""

    def handle(self) -> None:
        data = b""
        while chunk := self.request.recv(2**16):
            data += chunk
            if data.startswith(b"hang"):
                self.server.released.wait(30)  # type: ignore[attr-defined]
                return
        self.request.sendall(data)


@contextmanager
def served() -> Iterator[int]:
    """The port of an echo server of this machine."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@contextmanager
def connected(state: Path, port: int, said: list[str] | None = None) -> Iterator[Channels]:
    """The connections of a relay to a port."""
    code = START + "import relay; relay.connect(sys.argv[2], int(sys.argv[3]))"
    pipe = LocalHost().open_pipe([sys.executable, "-c", code, str(INSIDE), str(state), str(port)], MARK)
    channels = Channels(pipe, (said if said is not None else []).append)
    try:
        yield channels
    finally:
        channels.close()


def ready(state: Path) -> None:
    (state / "token").write_text(TOKEN)
    (state / "ready").write_text("2026-11-29T07:00:00Z")


def test_large_texts_cross_both_ways_at_once_and_one_that_hangs_stops_no_other(tmp_path: Path) -> None:
    ready(tmp_path)
    with served() as port, connected(tmp_path, port) as channels:
        assert channels.greeted() == TOKEN
        hanging = channels.dial()
        stuck = threading.Thread(target=send_much, args=(hanging,))
        stuck.start()
        with Forward("x", UnixSocket("/"), 0, channels) as forward:
            texts = [bytes([n]) * (300_000 * n) for n in range(1, 6)]
            found: dict[int, bytes] = {}
            threads = [threading.Thread(target=ask, args=(forward.port, text, found)) for text in texts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [found[len(text)] == text for text in texts] == [True] * 5
        stuck.join()  # the forward has closed the pipe, and with it what hung


def send_much(channel: object) -> None:
    with pytest.raises(OSError):
        channel.sendall(b"hang" + b"x" * 20_000_000)  # type: ignore[attr-defined]


def ask(port: int, text: bytes, found: dict[int, bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(text)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := line.recv(2**16):
            answer += chunk
    found[len(text)] = answer


def test_a_server_that_is_not_there_closes_the_connection_and_the_pipes_end_is_told(tmp_path: Path) -> None:
    ready(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as none:
        port = none.getsockname()[1]
    with connected(tmp_path, port) as channels:
        channels.greeted()
        assert channels.dial().recv(10) == b""
    assert channels.lost.is_set()
    with pytest.raises(HostError, match="was lost"):
        channels.dial()


def test_what_is_noticed_is_said_and_nothing_is_handed_over_before_the_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfslurm.services.channels.SOON_S", 0.0)
    monkeypatch.setattr("tfslurm.services.channels.LOOK_S", 0.01)
    (tmp_path / "notice").write_text("nobody\nuses it")
    said: list[str] = []
    with connected(tmp_path, 1, said) as channels:
        wait = threading.Thread(target=wait_in_vain, args=(channels,))
        wait.start()
        while len(said) < 2:
            assert not channels.lost.is_set()
            wait.join(0.05)
    wait.join()
    assert sorted(said) == ["jupyter starts", "nobody uses it"]


@contextmanager
def relay_that_watches(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The relay by itself, which waits a moment for a word of the other side; it says often that it is there."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import relay; relay.SILENT_S = 0.1; "
    code += "relay.PING_S = relay.LOOK_S = 0.02; relay.connect(sys.argv[2], 1)"
    argv = [sys.executable, "-c", code, str(INSIDE), str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_relay_whose_other_side_falls_silent_ends_and_with_it_the_step_on_the_login_node(tmp_path: Path) -> None:
    with relay_that_watches(tmp_path) as process:
        assert process.stdin
        process.stdin.write(HEAD.pack(PING, 0, 0))
        assert process.wait(30) == 0, "although its input is open"


def test_a_relay_of_a_client_that_never_says_that_it_is_there_goes_on(tmp_path: Path) -> None:
    with relay_that_watches(tmp_path) as process:
        assert process.stdin and process.stdout
        process.stdin.write(HEAD.pack(1, 5, 0))  # as an older tfslurm opens a connection
        pings = 0
        while pings < 9:
            kind, _, size = HEAD.unpack(process.stdout.read(HEAD.size))
            process.stdout.read(size)
            pings += kind == PING
        assert process.poll() is None


def test_a_client_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.services.channels.PING_S", 0.01)
    asked, enough = threading.Event(), threading.Event()
    frames: list[bytes] = []

    class Open(Hostile):
        def read(self, most: int) -> bytes:
            asked.wait(30)
            return b""

        def write(self, data: bytes) -> None:
            frames.append(data)
            if len(frames) == 3:
                enough.set()

    channels = Channels(Open(), print)
    assert enough.wait(30) and set(frames) == {HEAD.pack(PING, 0, 0)}
    asked.set()
    assert channels.lost.wait(30)


def wait_in_vain(channels: Channels) -> None:
    with pytest.raises(HostError, match="before it answered"):
        channels.greeted("jupyter starts")


class Hostile:
    """A pipe that says what a test wants."""

    def __init__(self, *frames: tuple[int, int, bytes]) -> None:
        self._left = b"".join(HEAD.pack(kind, number, len(data)) + data for kind, number, data in frames)
        self.is_closed = False

    def read(self, most: int) -> bytes:
        chunk, self._left = self._left[:most], self._left[most:]
        return chunk

    def write(self, data: bytes) -> None:
        pass

    def end(self) -> tuple[int, str]:
        return -1, ""

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    "frame",
    [
        (0, 0, b"no json"),
        (0, 0, json.dumps({"token": "short"}).encode()),
        (0, 0, json.dumps({"token": "x" * 20 + "\n"}).encode()),
        (0, 0, b"[]"),
        (99, 7, b""),
    ],
)
def test_a_node_that_says_what_it_should_not_is_not_believed(frame: tuple[int, int, bytes]) -> None:
    pipe = Hostile(frame)
    held: Pipe = pipe
    with pytest.raises(HostError, match="before it answered"):
        Channels(held, print).greeted()
    assert pipe.is_closed


def test_more_than_there_is_room_for_ends_the_pipe() -> None:
    read, wait = struct.Struct(">BII"), threading.Event()

    class Slow(Hostile):
        def read(self, most: int) -> bytes:
            wait.wait(30)
            return super().read(most)

    pipe = Slow(*[(2, 1, b"x" * 2**16)] * 5, (2, 1, b""))
    channels = Channels(pipe, print)
    channel = channels.dial()
    wait.set()
    assert channels.lost.wait(30) and pipe.is_closed and read.size == HEAD.size
    with pytest.raises(OSError):
        channel.sendall(b"x")


def test_a_command_that_ends_before_its_mark_is_an_error_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.stderr.write('no step\\n'); sys.exit(78)"
    with pytest.raises(CommandFailed, match="exit 78: no step") as failed:
        LocalHost().open_pipe([sys.executable, "-c", code], MARK)
    assert failed.value.completed.exit_code == 78
    monkeypatch.setattr("tfslurm.host.process_pipe.END_S", 0.01)  # until it is ended, which still writes
    with pytest.raises(HostError, match="was not started"):
        LocalHost().open_pipe([sys.executable, "-c", "print('x' * 200000)"], MARK)
    with pytest.raises(HostError, match="no-such-program"):
        LocalHost().open_pipe(["no-such-program"], MARK)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800)])
def test_a_time_without_use_has_a_unit(text: str, seconds: int) -> None:
    assert idle_s("--idle-after", text) == seconds
    with pytest.raises(InputError, match="is no time; write 30m"):
        idle_s("--idle-after", f"{text}x")


def test_a_service_is_known_by_its_command() -> None:
    service = Service("jupyter", 60)
    assert service_in(("tini", *service.command)) == service
    assert service_in(("python3", "train.py")) is None
    assert service_in(service.command[:2]) is None
