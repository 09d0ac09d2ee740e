"""A port of this machine that leads to a place beyond a host: one listener here, each connection carried by the host.

The listener is this process's own, whatever carries the connections: its port stays the same, and stays taken, while a
line is down. A connection that is open when the line is lost is lost with it; the next one brings the line back.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from tfslurm.errors import HostError, TfslurmError, refuse

LOOPBACK = "127.0.0.1"
"Of this machine: nobody else's machine reaches it."
MOST_CONNECTIONS = 256
"At once; further ones wait in the kernel."
CHUNK_BYTES = 2**16
LINGERS_S = 5.0
"In which a program here ends a connection that the other end has ended; one that does not would keep its place."
CONNECT_S = 20.0
LONGEST_PATH = 107
"Bytes of a Unix socket's path. Source: unix(7)."
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port of a machine, by the name or address that the far host has for it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A Unix socket of the far host, by its absolute path there."""

    path: str

    def __str__(self) -> str:
        return self.path


Target = TcpAddress | UnixSocket


class Stream(Protocol):
    """An open connection; a socket is one, and a channel of paramiko's."""

    def recv(self, nbytes: int, /) -> bytes:
        """The next bytes; none after the last."""

    def sendall(self, data: bytes, /) -> object:
        """Send all of them."""

    def shutdown(self, how: int, /) -> object:
        """Close one direction (SHUT_RD, SHUT_WR) or both."""

    def close(self) -> object:
        """Close it."""


class Carrier(Protocol):
    """What carries a forward's connections over a host's line."""

    def dial(self) -> Stream:
        """Open a connection to the target, over a new line where the old one is gone.

        Raises:
            HostError: the host is not reached, it refuses, or nothing listens there.
        """

    def close(self) -> None:
        """Undo what was set up on the line."""


class Forward:
    """A context manager: ``127.0.0.1:PORT`` leads to the target until it is closed.

    ``problem`` says why the last connection could not be made; '' where it could, or none was tried.
    """

    def __init__(self, name: str, target: Target, port: int, carrier: Carrier, say: Say | None = None) -> None:
        self.name, self.target, self.problem = name, target, ""
        self._carrier, self._say = carrier, say
        self._listener = listening(port)
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._guard = threading.Lock()
        self._open: set[Stream] = set()
        threading.Thread(target=self._accept, name=f"forward {self.port}", daemon=True).start()

    def __enter__(self) -> Forward:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port, and every connection that is open; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._guard:
            streams = list(self._open)
        for stream in streams:
            _end(stream)
        self._carrier.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            self._free.acquire()
            try:
                near, _ = self._listener.accept()
            except OSError:
                self._free.release()
                self._closing.wait(0.2)  # no file descriptors are left: others may be closed soon
                continue
            threading.Thread(target=self._carry, args=(near,), name="forwarded", daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        """One connection, from its first byte to its last."""
        try:
            self._keep(near)
            far = self._carrier.dial()
            self.problem = ""
            try:
                self._keep(far)
                has_ended = threading.Event()
                words = (far, near, has_ended)
                back = threading.Thread(target=_copy_back, args=words, name="forwarded back", daemon=True)
                back.start()
                _copy(near, far)
                has_ended.set()
                back.join()
            finally:
                self._drop(far)
        except TfslurmError as error:
            self._tell(str(error))
        finally:
            self._drop(near)
            self._free.release()

    def _keep(self, stream: Stream) -> None:
        with self._guard:
            self._open.add(stream)
        if self._closing.is_set():
            _end(stream)

    def _drop(self, stream: Stream) -> None:
        with self._guard:
            self._open.discard(stream)
        _end(stream)

    def _tell(self, problem: str) -> None:
        """Say a problem once, however many connections meet it."""
        with self._guard:
            is_new, self.problem = problem != self.problem, problem
        if is_new and self._say and not self._closing.is_set():
            self._say(problem)


def listening(port: int) -> socket.socket:
    """A listening socket of the loopback.

    Raises:
        InputError: the port is taken, or not the user's to have.
    """
    fix = "name another one, or 0 for any that is free"
    if not 0 <= port < 2**16:
        raise refuse(f"port {port}", "is no number of a port", fix)
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        why = "is in use on this machine" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        raise refuse(f"port {port}", why, fix) from None


def _copy(source: Stream, sink: Stream) -> None:
    """Hand on what is sent, then its end: the other direction stays open."""
    with suppress(OSError, EOFError):
        while chunk := source.recv(CHUNK_BYTES):
            sink.sendall(chunk)
    with suppress(OSError, EOFError):
        sink.shutdown(socket.SHUT_WR)


def _copy_back(far: Stream, near: socket.socket, has_ended: threading.Event) -> None:
    """Hand on what the other end sends; after its end the near side has a while to end too."""
    _copy(far, near)
    if not has_ended.wait(LINGERS_S):
        with suppress(OSError):
            near.shutdown(socket.SHUT_RD)


def _end(stream: Stream) -> None:
    """Close both directions, which wakes who reads."""
    with suppress(OSError, EOFError):
        stream.shutdown(socket.SHUT_RDWR)
    with suppress(OSError, EOFError):
        stream.close()


class Direct:
    """Connections from this machine itself: there is no line to cross."""

    def __init__(self, name: str, target: Target) -> None:
        self._name, self._target = name, checked(target)

    def dial(self) -> socket.socket:
        """Open a connection; see Carrier."""
        target = self._target
        try:
            if isinstance(target, TcpAddress):
                line = socket.create_connection((target.host, target.port), CONNECT_S)
                line.settimeout(None)  # connected, it may be silent for as long as it likes
                return line
            return unix_connection(target.path)
        except OSError as error:
            raise HostError(f"{self._name}: {target}: {error.strerror or error}", transient=True) from None

    def close(self) -> None:
        """There is nothing to undo."""


def unix_connection(path: str) -> socket.socket:
    """A connection to a Unix socket of this machine; OSError where nobody listens there."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(path)
    except OSError:
        line.close()
        raise
    return line


def checked(target: Target) -> Target:
    """The target itself.

    Raises:
        ValueError: it can be no place on any machine.
    """
    if isinstance(target, TcpAddress):
        is_name = target.host and target.host.isprintable() and not set(target.host) & set(" /\\[]")
        if not is_name or target.host.startswith("-") or not 0 < target.port < 2**16:
            raise ValueError(f"not an address: {target}")
        return target
    path = target.path
    if not path.startswith("/") or not path.isprintable() or "$" in path or len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"not the path of a Unix socket: {path!r}")  # ssh expands $
    return target
