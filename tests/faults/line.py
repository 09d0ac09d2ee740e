"""A line to a login node that breaks: a proxy that forwards bytes and cuts both ends after so many."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """Where a line breaks: after ``limit`` bytes to the login node ('up') or from it ('down')."""

    direction: str
    limit: int


@contextmanager
def cutting(port: int, cut: Cut) -> Iterator[int]:
    """The port of a proxy to ``port`` here, for one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=_serve, args=(listener, port, cut), daemon=True)
    serving.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join(10)


def _serve(listener: socket.socket, port: int, cut: Cut) -> None:
    try:
        near, _ = listener.accept()
    except OSError:
        return
    far = socket.create_connection(("127.0.0.1", port))
    limits = {"up": (near, far, None), "down": (far, near, None)}
    pumps = [
        threading.Thread(target=_pump, args=(source, sink, cut.limit if name == cut.direction else None), daemon=True)
        for name, (source, sink, _) in limits.items()
    ]
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    near.close()
    far.close()


def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    """Forward until the end, or until ``limit`` bytes have gone; then both sides are cut."""
    gone = 0
    with suppress(OSError):
        while chunk := source.recv(2**14):
            if limit is not None:
                chunk = chunk[: limit - gone]
            gone += len(chunk)
            sink.sendall(chunk)
            if gone == limit:
                break
    for side in (source, sink):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
