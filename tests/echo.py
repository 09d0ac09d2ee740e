"""A service that sends back what it gets, for tests of what carries connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tfslurm.host.forward import Forward, Target, TcpAddress, UnixSocket


@contextmanager
def echoing(path: Path | None = None) -> Iterator[Target]:
    """A listening service: a port of this machine, or a Unix socket."""
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        target: Target = UnixSocket(str(path))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        target = TcpAddress("127.0.0.1", listener.getsockname()[1])
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    try:
        yield target
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def accept(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            line, _ = listener.accept()
            threading.Thread(target=echo, args=(line,), daemon=True).start()


def echo(line: socket.socket) -> None:
    with line, suppress(OSError):
        while chunk := line.recv(2**16):
            line.sendall(chunk)
        line.sendall(b"end")


def connected(forward: Forward) -> socket.socket:
    return socket.create_connection(("127.0.0.1", forward.port), 30)


def answered(forward: Forward, data: bytes) -> bytes:
    """What comes back of data whose end is told while the other direction is still open."""
    with connected(forward) as line:
        sender = threading.Thread(target=send, args=(line, data))
        sender.start()
        received = b"".join(iter(lambda: line.recv(2**16), b""))
        sender.join()
    return received


def send(line: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
