"""Many connections over one pipe to a service. The other end is job_templates/inside/relay.py, which has the frames."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, TfslurmError
from tfslurm.host.pipe import Pipe

HELLO, OPEN, DATA, END, CLOSE, MORE, SAID, PING = range(8)
HEAD = struct.Struct(">BII")
CHUNK_BYTES = 2**16
WINDOW_BYTES = 2**18
"What may be under way on one connection in one direction."
SILENT_S = 60.0
"The other end says something every 15 s."
PING_S = 15.0
"And this one: where the line is lost, the other end would wait for more, and its srun on the login node with it."
SOON_S, LOOK_S = 3.0, 1.0
LONGEST_HELLO = 4096


class Channel:
    """One connection through the pipe: a forward's Stream."""

    def __init__(self, number: int, send: Callable[[int, int, bytes], None]) -> None:
        self._number, self._send = number, send
        self._changed = threading.Condition()
        self._coming = bytearray()
        self._room, self._taken = WINDOW_BYTES, 0
        self._has_ended = self._is_closed = self._has_shut = False

    def recv(self, nbytes: int, /) -> bytes:
        """The next bytes; none after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._coming or self._has_ended or self._is_closed)
            chunk = bytes(self._coming[:nbytes])
            del self._coming[:nbytes]
            self._taken += len(chunk)
            more, self._taken = (self._taken, 0) if self._taken >= WINDOW_BYTES // 4 else (0, self._taken)
        if more:
            with suppress(OSError):
                self._send(MORE, self._number, struct.pack(">I", more))
        return chunk

    def sendall(self, data: bytes, /) -> None:
        """Send all of them, as the other end has room.

        Raises:
            OSError: the connection is closed.
        """
        rest = memoryview(data)
        while rest:
            with self._changed:
                self._changed.wait_for(lambda: self._room or self._is_closed)
                if self._is_closed:
                    raise OSError("the connection is closed")
                size = min(self._room, CHUNK_BYTES, len(rest))
                self._room -= size
            self._send(DATA, self._number, bytes(rest[:size]))
            rest = rest[size:]

    def shutdown(self, how: int, /) -> None:
        """Say that nothing more will be sent; or end both directions."""
        if how == socket.SHUT_WR:
            with self._changed:
                before, self._has_shut = self._has_shut, True
            if not before:
                self._send(END, self._number, b"")
        elif self.lose():
            self._send(CLOSE, self._number, b"")

    def close(self) -> None:
        """End both directions."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def lose(self) -> bool:
        """Close it on this side; whether it was open."""
        with self._changed:
            before, self._is_closed = self._is_closed, True
            self._changed.notify_all()
        return not before

    def take(self, kind: int, data: bytes) -> None:
        """Take a frame of the other end.

        Raises:
            ValueError: it sends more than there is room for.
        """
        with self._changed:
            if kind == DATA:
                self._coming += data
                if len(self._coming) > WINDOW_BYTES:
                    raise ValueError("more than there is room for")
            elif kind == MORE:
                self._room = min(self._room + struct.unpack(">I", data)[0], WINDOW_BYTES)
            elif kind == END:
                self._has_ended = True
            self._changed.notify_all()
        if kind == CLOSE:
            self.lose()


class Channels:
    """The connections of one pipe. ``lost`` is set when it ends, on whichever side; ``say`` gets what the service says.

    Raises:
        HostError: the pipe ended before the service answered.
    """

    def __init__(self, pipe: Pipe, say: Callable[[str], None]) -> None:
        self._pipe, self._say = pipe, say
        self._writing, self._guard = threading.Lock(), threading.Lock()
        self._open: dict[int, Channel] = {}
        self._last = 0
        self._greeted, self.lost = threading.Event(), threading.Event()
        self._hello: dict[str, Any] = {}
        self.heard = time.monotonic()
        for work in (self._read, self._ping):
            threading.Thread(target=work, name="service", daemon=True).start()

    def greeted(self, starts: str = "") -> str:
        """Wait until the service answers; its token. ``starts`` is said once, where that takes a while.

        Raises:
            HostError: the pipe ended before.
        """
        told_at = time.monotonic() + SOON_S
        while not self._greeted.wait(LOOK_S):
            if self.is_silent:
                self.close()
            if starts and time.monotonic() > told_at:
                self._say(starts)
                starts = ""
        token = self._hello.get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or len(token) < 16:
            self.close()
            raise HostError("the way to the service was lost before it answered", transient=True)
        return token

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard for longer than the other end is ever silent."""
        return time.monotonic() - self.heard > SILENT_S

    def dial(self) -> Channel:
        """Open a connection to the service.

        Raises:
            HostError: the pipe has ended.
        """
        with self._guard:
            self._last += 1
            number = self._last
            channel = self._open[number] = Channel(number, self._send)
        try:
            self._send(OPEN, number, b"")
        except OSError:
            self.close()
            raise HostError("the way to the service was lost", transient=True) from None
        return channel

    def close(self) -> None:
        """End the pipe, and every connection."""
        self._pipe.close()
        self.lost.set()
        self._greeted.set()
        with self._guard:
            channels = list(self._open.values())
            self._open.clear()
        for channel in channels:
            channel.lose()

    def _send(self, kind: int, number: int, data: bytes) -> None:
        if kind == CLOSE:
            with self._guard:
                self._open.pop(number, None)
        with self._writing:
            self._pipe.write(HEAD.pack(kind, number, len(data)) + data)

    def _ping(self) -> None:
        """Say now and then that somebody is here."""
        with suppress(OSError):
            self._send(PING, 0, b"")
            while not self.lost.wait(PING_S):
                self._send(PING, 0, b"")

    def _read(self) -> None:
        try:
            while True:
                kind, number, size = HEAD.unpack(self._exactly(HEAD.size))
                if size > CHUNK_BYTES:
                    break
                data = self._exactly(size)
                self.heard = time.monotonic()
                self._take(kind, number, data)
        except (EOFError, ValueError, struct.error, TfslurmError):
            pass
        finally:
            self.close()

    def _take(self, kind: int, number: int, data: bytes) -> None:
        if kind == HELLO:
            said = read_json(data, most=LONGEST_HELLO)
            self._hello = said if isinstance(said, dict) else {}
            self._greeted.set()
        elif kind == SAID:
            self._say(" ".join(data[:400].decode("utf-8", "replace").split()))  # one line: a second would look as ours
        elif channel := self._open.get(number):
            channel.take(kind, data)

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            chunk = self._pipe.read(size - len(parts))
            if not chunk:
                raise EOFError
            parts += chunk
        return bytes(parts)
