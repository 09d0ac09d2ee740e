"""A login node over paramiko: no ssh program is needed. One connection carries all commands of one tfslurm.

What paramiko's SSHClient leaves to its caller is done here and in login.py: ~/.ssh/config, jumps, host keys that are
looked up and never added, keys before questions, both output streams drained at once.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import paramiko

from tfslurm.cluster import Login
from tfslurm.errors import HostError
from tfslurm.host.command import NOISE, Feeder, Raw, Received, Transport, remote_line, remote_result, too_late
from tfslurm.host.known_hosts import verify
from tfslurm.host.paramiko_login import Hop, authenticate, route
from tfslurm.host.ssh_config import config_text

CONNECT_S = 20
ANSWER_S = 180
"How long the far side may think about a login: somebody may have to confirm it on a phone."
KEEPALIVE_S = 30
MOST_SESSIONS = 8
"sshd's MaxSessions is 10 by default; others may share the connection's limit."


class ParamikoHost(Transport):
    """A login node; a context manager, because a connection wants to be closed."""

    def __init__(
        self,
        name: str,
        login: Login,
        environment: Mapping[str, str] | None = None,
        *,
        home: Path | None = None,
        programs: str = "",
    ) -> None:
        self.name = name
        self._login = login
        self._environment = environment or {}
        self._programs = programs
        self._home = home or Path.home()
        self._open = ExitStack()
        self._line: paramiko.Transport | None = None
        self._sessions = threading.BoundedSemaphore(MOST_SESSIONS)
        self._reaching = threading.Lock()

    def __enter__(self) -> ParamikoHost:
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command to its end."""
        deadline = time.monotonic() + timeout_s
        line = remote_line(argv, self._environment, timeout_s, self._programs)
        received = Received(self.name, argv, max_bytes, spare=NOISE)
        with self._sessions, self._told("the line was lost"):
            channel = self._session()
            try:
                raw = _talk(channel, line, input, deadline, received)
            finally:
                _hang_up(channel)
        if received.full:
            self._close()  # a server that heeds no limit would go on sending
            raise received.too_much()
        if raw is None:
            raise too_late(self.name, argv, timeout_s)
        if raw.exit_code == -1:
            raise HostError(f"{self.name}: the line was lost while {argv[0]} ran; try again", transient=True)
        return remote_result(self.name, argv, raw)

    # --- the connection

    def _session(self) -> paramiko.Channel:
        """Return a new channel, over a new connection where the old one is gone, be it without a word."""
        with self._reaching:
            if self._line and self._line.is_active():
                try:
                    return self._line.open_session(timeout=CONNECT_S)
                except paramiko.ChannelException:  # it answers, and says no
                    raise
                except (paramiko.SSHException, EOFError, OSError):
                    pass
            return self._connect().open_session(timeout=CONNECT_S)

    def _connect(self) -> paramiko.Transport:
        self._close()
        lines: list[paramiko.Transport] = []
        with ExitStack() as opened:
            for hop in route(self.name, self._login, config_text(self._home / ".ssh" / "config"), self._home):
                with self._told(f"{hop}: cannot be reached"):
                    lines.append(_start(self.name, hop, _socket(hop, lines[-1] if lines else None, opened), opened))
                    authenticate(self.name, hop, lines[-1])
            self._line, self._open = lines[-1], opened.pop_all()
        return lines[-1]

    def _close(self) -> None:
        self._line = None
        self._open.close()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostError(f"{self.name}: {what}: {_trouble(error)}", transient=True) from error


def _trouble(error: Exception) -> str:
    """Why a line could not be opened, or broke, and what to do."""
    if isinstance(error, socket.gaierror):
        return "no address is known for that name; correct `host` or `proxy_jump` of `login` in the cluster file"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; correct `port` of `login` in the cluster file, or try again"
    return f"{str(error) or type(error).__name__}; try again"


def _start(name: str, hop: Hop, line: paramiko.Channel | socket.socket, opened: ExitStack) -> paramiko.Transport:
    """Encrypt a line to one machine, whose key must be known."""
    transport = paramiko.Transport(line)
    opened.callback(_hang_up, transport)
    transport.banner_timeout, transport.auth_timeout = CONNECT_S, ANSWER_S
    known = hop.known()
    options = transport.get_security_options()
    kinds = {kind for key in known if not key.marker for kind in _algorithms(key.kind)}
    options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)
    transport.start_client(timeout=CONNECT_S)
    key = transport.get_remote_server_key()
    verify(name, hop.key_name, hop.port, key.get_name(), key.asbytes(), known)
    transport.set_keepalive(KEEPALIVE_S)
    return transport


def _hang_up(line: paramiko.Transport | paramiko.Channel) -> None:
    """Close a line, which tells the far side: where that has gone already there is nobody to tell."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        line.close()


def _algorithms(kind: str) -> tuple[str, ...]:
    """The signatures that a key of this kind can make: RSA's have other names than its keys."""
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)


def _socket(hop: Hop, before: paramiko.Transport | None, opened: ExitStack) -> paramiko.Channel | socket.socket:
    if before:
        return before.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=CONNECT_S)
    if not hop.proxy_command:
        return opened.enter_context(socket.create_connection((hop.host, hop.port), timeout=CONNECT_S))
    # A socket, because paramiko.ProxyCommand spins for ever when its command ends.
    ours, its = socket.socketpair()
    with its:
        command = ["sh", "-c", f"exec {hop.proxy_command}"]
        process = subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno(), start_new_session=True)
    opened.callback(process.wait)
    opened.callback(process.kill)
    return opened.enter_context(ours)


# --- one command


def _talk(
    channel: paramiko.Channel, line: str, input: bytes | Iterable[bytes], deadline: float, received: Received
) -> Raw | None:
    """Run a line and return what came of it; None where it was too late, or too much. Both streams are read at once."""
    # paramiko waits for the answer without end: a line that froze is given up by closing the channel
    giving_up = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [channel])
    giving_up.daemon = True
    giving_up.start()
    try:
        channel.exec_command(line.encode("utf-8", "surrogateescape"))
    finally:
        giving_up.cancel()
    readers = [_Reader(channel, channel.recv, received, "stdout")]
    readers += [_Reader(channel, channel.recv_stderr, received, "stderr")]
    feeder = Feeder(input, channel.sendall, channel.shutdown_write)
    for reader in readers:
        reader.join(max(0.0, deadline - time.monotonic()))
    alive = any(reader.is_alive() for reader in readers)
    if received.full or alive or not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
        return None
    feeder.finish()
    return received.ended(channel.recv_exit_status())


class _Reader(threading.Thread):
    """Reads a stream to its end, so that a full window of one never blocks the other; too much closes the channel."""

    def __init__(
        self, channel: paramiko.Channel, read: Callable[[int], bytes], received: Received, stream: str
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._channel, self._read, self._received, self._stream = channel, read, received, stream
        self.start()

    def run(self) -> None:
        """Collect until the stream ends, holds too much, or the line is lost."""
        with suppress(OSError, EOFError):
            while chunk := self._read(2**16):
                if not self._received.add(self._stream, chunk):
                    _hang_up(self._channel)
                    return
