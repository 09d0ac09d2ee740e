"""A login node over paramiko: no ssh program is needed. One connection carries all commands of one tfslurm.

What paramiko's SSHClient leaves to its caller is done here and in paramiko_line.py and paramiko_login.py: jumps, host
keys that are looked up and never added, keys before questions, both output streams drained at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import paramiko

from tfslurm.cluster import Login
from tfslurm.errors import HostError
from tfslurm.host.attached import attached_line
from tfslurm.host.attached_output import Output
from tfslurm.host.command import NOISE, Feeder, Raw, Received, Transport, remote_line, remote_result, too_late
from tfslurm.host.forward import Carrier, Say, Target, checked
from tfslurm.host.hops import route
from tfslurm.host.paramiko_attached import ChannelPipe, talk_attached
from tfslurm.host.paramiko_channels import Channels, open_to, refusal
from tfslurm.host.paramiko_line import CONNECT_S, Line, hang_up, trouble
from tfslurm.host.paramiko_login import authenticate

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
        self._variables: Mapping[str, str] = {}
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
                for key, value in self._variables.items():
                    channel.set_environment_variable(key, value)
                raw = _talk(channel, line, input, deadline, received)
            finally:
                hang_up(channel)
        if received.full:
            self._close()  # a server that heeds no limit would go on sending
            raise received.too_much()
        if raw is None:
            raise too_late(self.name, argv, timeout_s)
        if raw.exit_code == -1:
            raise HostError(f"{self.name}: the line was lost while {argv[0]} ran; try again", transient=True)
        return remote_result(self.name, argv, raw)

    def execute_attached(self, argv: Sequence[str], output: Output, *, terminal: bool) -> int:
        """Run one command with our own streams, in a channel of its own."""
        line = attached_line(argv, self._environment, self._programs)
        with self._sessions, self._told("the line was lost"):
            channel = self._session()
            try:
                for key, value in self._variables.items():
                    channel.set_environment_variable(key, value)
                code = talk_attached(channel, line, output, terminal=terminal)
            finally:
                hang_up(channel)
        if code == -1:
            raise HostError(f"{self.name}: the line was lost while {argv[0]} ran", transient=True)
        return code

    def start_pipe(self, argv: Sequence[str]) -> ChannelPipe:
        """Start one command whose streams stay open, in a channel of its own."""
        line = attached_line(argv, self._environment, self._programs)
        self._sessions.acquire()
        try:
            with self._told("the line was lost"):
                channel = self._session()
                for key, value in self._variables.items():
                    channel.set_environment_variable(key, value)
                return ChannelPipe(channel, line, self._sessions.release)
        except BaseException:
            self._sessions.release()
            raise

    def carrier(self, target: Target, say: Say | None) -> Carrier:
        """Connections as channels of the one connection; see Host.forward."""
        return Channels(partial(self._channel_to, checked(target), say))

    # --- the connection

    def _session(self, say: Say | None = None) -> paramiko.Channel:
        """Return a new channel, over a new connection where the old one is gone, be it without a word."""
        with self._reaching:
            if self._line and self._line.is_active():
                try:
                    return self._line.open_session(timeout=CONNECT_S)
                except paramiko.ChannelException:  # it answers, and says no
                    raise
                except (paramiko.SSHException, EOFError, OSError):
                    pass
            if say:
                say(f"{self.name}: the line was lost; logging in again")
            return self._connect().open_session(timeout=CONNECT_S)

    def _channel_to(self, target: Target, say: Say | None) -> paramiko.Channel:
        """Return a channel to a place beyond the machine; one that does not answer is no reason to log in again."""
        with self._told(str(target)):
            line = self._line
            if line and line.is_active():
                try:
                    return open_to(line, target)
                except paramiko.ChannelException as error:
                    raise HostError(f"{self.name}: {target}: {refusal(error)}", transient=True) from None
                except (paramiko.SSHException, EOFError, OSError) as error:
                    lost = error
                hang_up(self._session(say))
                if self._line is line:
                    raise lost
            else:
                hang_up(self._session(say))
            line = self._line
            if line is None:
                raise EOFError("the line was lost")
            return open_to(line, target)

    def _connect(self) -> paramiko.Transport:
        self._close()
        before: paramiko.Transport | None = None
        with ExitStack() as opened:
            for hop in route(self.name, self._login, self._home):
                line = Line(self.name, hop, opened)
                with self._told(f"{hop}: cannot be reached", line):
                    before = line.start(before)
                    authenticate(self.name, hop, before)
                self._variables = hop.environment()
            assert before is not None  # noqa: S101  (a route has a last machine)
            self._line, self._open = before, opened.pop_all()
        return before

    def _close(self) -> None:
        self._line = None
        self._open.close()

    @contextmanager
    def _told(self, what: str, line: Line | None = None) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = (line.end_of_command() if line else "") or trouble(error)
            raise HostError(f"{self.name}: {what}: {why}", transient=True) from error


# --- one command


def _talk(
    channel: paramiko.Channel, line: str, input: bytes | Iterable[bytes], deadline: float, received: Received
) -> Raw | None:
    """Run a line and return what came of it; None where it was too late, or too much. Both streams are read at once."""
    # paramiko waits for the answer without end: a line that froze is given up by closing the channel
    giving_up = threading.Timer(max(0.0, deadline - time.monotonic()), hang_up, [channel])
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
                    hang_up(self._channel)
                    return
