"""Ports of this machine that lead through a login node, by both transports: a real sshd of our own, and one jump."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.echo import answered, connected, echoing
from tfslurm.host import Host
from tfslurm.host.forward import TcpAddress

from .line import Line
from .test_host import USER, Connect, Server, connect, running_sshd, runtime, sshd

__all__ = ["connect", "runtime", "sshd"]


@contextmanager
def over_a_line(server: Server, connect: Connect) -> Iterator[tuple[Host, Line]]:
    """A login node behind a line that can break, and behind a jump through itself."""
    with Line(server.port) as line:
        server.configure(
            f"Host node\n HostName 127.0.0.1\n HostKeyAlias [127.0.0.1]:{server.port}\n Port {server.port}\n"
        )
        (server.home / ".ssh" / "known_hosts").write_text(
            "".join(f"[127.0.0.1]:{port} {server.host_key}\n" for port in (server.port, line.port))
        )
        jump = f"{USER}@127.0.0.1:{line.port}"
        yield connect(server, server.login("node", proxy_jump=jump)), line


def test_ports_and_sockets_beyond_a_jump_are_reached_byte_for_byte(
    sshd: Server, connect: Connect, tmp_path: Path
) -> None:
    data = random.Random(3).randbytes(2_000_000)
    with over_a_line(sshd, connect) as (host, _), echoing() as port, echoing(tmp_path / "it is: 100%") as path:
        with host.forward(port) as first, host.forward(path) as second:
            assert answered(first, data) == answered(second, data) == data + b"end"
            with connected(first) as one, connected(second) as other:
                other.sendall(b"y")
                one.sendall(b"x")
                assert (one.recv(1), other.recv(1)) == (b"x", b"y")
        for forward in (first, second):
            with pytest.raises(ConnectionRefusedError):
                connected(forward)
        assert host.run(["true"]).exit_code == 0


def test_after_a_lost_line_the_same_port_leads_there_again(sshd: Server, connect: Connect, runtime: Path) -> None:
    said: list[str] = []
    with over_a_line(sshd, connect) as (host, line), echoing() as target:  # noqa: SIM117
        with host.forward(target, say=said.append) as forward:
            port = forward.port
            with connected(forward) as open_one:
                open_one.sendall(b"x")
                assert open_one.recv(1) == b"x"
                line.cut()
                with suppress(ConnectionResetError):
                    assert open_one.recv(1) == b""
            for _ in range(2):
                assert answered(forward, b"again") == b"againend"
                assert forward.port == port
            assert said == ["alpha: the line was lost; logging in again"]
    assert list(runtime.glob("tfslurm/*.forward")) == []


def test_what_the_site_or_nobody_serves_is_told(
    tmp_path: Path, sshd: Server, connect: Connect, request: pytest.FixtureRequest
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = TcpAddress("127.0.0.1", free.getsockname()[1])
    said: list[str] = []
    with running_sshd(tmp_path / "forbids", "AllowTcpForwarding no") as forbids, echoing() as target:
        for server, place in ((forbids, target), (sshd, nobody)):
            with connect(server).forward(place, say=said.append) as forward:
                assert answered(forward, b"x") == b""
    if "paramiko" in request.node.name:  # ssh closes the connection, and says why to nobody
        forbidden = "the site forbids it; ask its administrators to allow forwarding (AllowTcpForwarding) to you"
        assert said == [f"alpha: {target}: {forbidden}", f"alpha: {nobody}: nobody listens there"]
