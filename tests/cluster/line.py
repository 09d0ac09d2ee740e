"""A line to a login node, as far away as a test wants it: a proxy on this machine that can be slow, and can break."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class Cut:
    """Where a line breaks: after ``limit`` bytes to the login node ('up') or from it ('down')."""

    direction: str
    limit: int


def is_connected(line: socket.socket) -> bool:
    """Whether the other end is still there."""
    try:
        line.getpeername()
    except OSError:
        return False
    return True


class Line:
    """A TCP proxy to a port of this machine; a context manager, which closes it.

    Bytes arrive ``delay_s`` after they were sent, in order, however many are under way: a round trip takes twice that.
    """

    def __init__(self, target: int, *, delay_s: float = 0.0, cut: Cut | None = None) -> None:
        self.cuts = 0  # how many open lines `cut` has broken
        self.refused = 0  # how many connections came while it was `down`
        self._is_down = False
        self._target, self._delay_s = target, delay_s
        self._limits = {cut.direction: cut.limit} if cut else {}
        self._open: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._begin(self._accept)

    @property
    def port(self) -> int:
        """The port to connect to instead."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Break every line that is open."""
        lines, self._open = self._open, []
        self.cuts += sum(map(is_connected, lines))  # before the first is broken: its other side follows by itself
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Break what is open, and let nothing through meanwhile."""
        self._is_down = True
        self.cut()
        try:
            yield
        finally:
            self._is_down = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for each in self._all:
            each.close()

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._is_down:
                    near.close()
                    self.refused += 1
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [near, far]
                self._all += [near, far]
                for direction, source, sink in (("up", near, far), ("down", far, near)):
                    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    self._begin(self._take, source, under_way, self._limits.get(direction))
                    self._begin(self._give, source, sink, under_way)

    def _take(
        self, source: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]], limit: int | None
    ) -> None:
        """Read what is sent, up to the limit; an empty chunk says that no more comes."""
        with suppress(OSError):
            while limit != 0 and (chunk := source.recv(CHUNK_BYTES)):
                if limit is not None:
                    chunk = chunk[:limit]
                    limit -= len(chunk)
                under_way.put((time.monotonic() + self._delay_s, chunk))
        under_way.put((time.monotonic() + self._delay_s, b""))

    def _give(
        self, source: socket.socket, sink: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]
    ) -> None:
        """Send each chunk when it is due; after the last one both ends are closed."""
        with suppress(OSError):
            while True:
                due, chunk = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not chunk:
                    break
                sink.sendall(chunk)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
