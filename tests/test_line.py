"""The proxy with which lines are made slow and broken does what the tests believe of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.cluster.line import Cut, Line


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=give_back, args=(connection,), daemon=True).start()

    def give_back(connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(2**16):
                    connection.sendall(chunk)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def connected(line: Line) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=20)


def received(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or those that came before the end."""
    got = b""
    try:
        while len(got) < count and (chunk := connection.recv(2**16)):
            got += chunk
    except ConnectionResetError:
        pass
    return got


def test_every_byte_goes_through_in_order(echo: int) -> None:
    sent = bytes(range(256)) * 4096
    with Line(echo) as line, connected(line) as connection:
        threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
        assert received(connection, len(sent)) == sent


def test_a_round_trip_takes_twice_the_delay_however_many_bytes_are_under_way(echo: int) -> None:
    with Line(echo, delay_s=0.1) as line, connected(line) as connection:
        began = time.monotonic()
        for _ in range(10):
            connection.sendall(b"x" * 1000)
        assert received(connection, 10_000) == b"x" * 10_000
        taken = time.monotonic() - began
    assert taken >= 0.2
    assert taken < 2.0, "ten messages were not ten round trips"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_line_that_breaks_after_so_many_bytes_lets_exactly_these_through(echo: int, direction: str) -> None:
    with Line(echo, cut=Cut(direction, 1234)) as line, connected(line) as connection:
        connection.sendall(b"y" * 2000)
        got = received(connection, 2000)
    assert len(got) == 1234 if direction == "down" else len(got) <= 1234
    assert set(got) <= {ord("y")}


def test_a_cut_breaks_what_is_open_and_nothing_after(echo: int) -> None:
    with Line(echo) as line:
        with connected(line) as broken:
            broken.sendall(b"a")
            assert received(broken, 1) == b"a"
            line.cut()
            assert received(broken, 1) == b""
        assert line.cuts in (1, 2), "the end of one side may have closed the other one before that was cut"
        with connected(line) as after:
            after.sendall(b"b")
            assert received(after, 1) == b"b"
