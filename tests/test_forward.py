"""Ports of this machine that lead to a place beyond a host, where the host is this machine itself."""

from __future__ import annotations

import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.echo import answered, connected, echoing
from tfslurm.errors import InputError
from tfslurm.host.forward import Direct, Target, TcpAddress, UnixSocket, checked
from tfslurm.host.local import LocalHost
from tfslurm.host.openssh_forward import escaped


@pytest.mark.parametrize("kind", ["port", "socket"])
def test_many_connections_at_once_are_each_handed_on_byte_for_byte(tmp_path: Path, kind: str) -> None:
    sent = [random.Random(seed).randbytes(200_000) for seed in range(20)]
    place = tmp_path / "service" if kind == "socket" else None
    with echoing(place) as target, LocalHost().forward(target) as forward, ThreadPoolExecutor(20) as at_once:
        received = list(at_once.map(lambda data: answered(forward, data), sent))
    assert received == [data + b"end" for data in sent]
    assert forward.problem == ""


def test_the_port_is_the_loopbacks_and_is_closed_with_all_that_goes_through_it() -> None:
    with echoing() as target:
        with LocalHost().forward(target) as forward:
            line = connected(forward)
            line.sendall(b"x")
            assert (line.recv(1), line.getpeername()[0]) == (b"x", "127.0.0.1")
        assert line.recv(1) == b""
        line.close()
    with pytest.raises(ConnectionRefusedError):
        connected(forward)
    forward.close()


def test_a_port_that_is_taken_is_refused_and_one_that_is_asked_for_is_had() -> None:
    with echoing() as target, LocalHost().forward(target) as forward:
        with pytest.raises(InputError, match=f"port {forward.port}: is in use on this machine; name another"):
            LocalHost().forward(target, port=forward.port)
        with pytest.raises(InputError, match="port 70000: is no number"):
            LocalHost().forward(target, port=70000)
    with echoing() as target, LocalHost().forward(target, port=forward.port) as other:
        assert (other.port, answered(other, b"x")) == (forward.port, b"xend")


def test_where_nobody_listens_the_reason_is_told_once_and_a_later_connection_is_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "service"
    with LocalHost("here").forward(UnixSocket(str(place)), say=said.append) as forward:
        for _ in range(3):
            assert answered(forward, b"x") == b""
        assert said == [f"here: {place}: No such file or directory"] == [forward.problem]
        with echoing(place):
            assert answered(forward, b"x") == b"xend"
        assert forward.problem == ""


def test_who_does_not_end_a_connection_that_the_other_end_has_ended_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tfslurm.host.forward.LINGERS_S", 0.0)
    monkeypatch.setattr("tfslurm.host.forward.MOST_CONNECTIONS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        target = TcpAddress("127.0.0.1", server.getsockname()[1])
        with LocalHost().forward(target) as forward:
            lines = [connected(forward) for _ in range(2)]
            for line in lines:  # the second is taken when the first has lost its place, though it is open here
                server.accept()[0].close()
                assert line.recv(1) == b""
            for line in lines:
                line.close()


def test_a_connection_may_be_silent_for_as_long_as_it_likes() -> None:
    with echoing() as target:
        line = Direct("here", target).dial()
        assert line.gettimeout() is None
        line.close()


@pytest.mark.parametrize(
    "target",
    [
        TcpAddress("", 1),
        TcpAddress("-oProxyCommand=x", 1),
        TcpAddress("a b", 1),
        TcpAddress("node1/x", 1),
        TcpAddress("node1", 0),
        TcpAddress("node1", 70000),
        UnixSocket("relative"),
        UnixSocket("/a\nb"),
        UnixSocket("/a/${HOME}"),
        UnixSocket("/" + "a" * 107),
    ],
    ids=str,
)
def test_what_can_be_no_place_is_refused(target: Target) -> None:
    with pytest.raises(ValueError, match=r"^not "):
        checked(target)


def test_a_path_is_one_field_of_the_specification() -> None:
    assert escaped(r"/a:b\c%d") == r"/a\:b\\c%%d"
    with socket.create_server(("127.0.0.1", 0)) as free:
        assert checked(TcpAddress("127.0.0.1", free.getsockname()[1]))
