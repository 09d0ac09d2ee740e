"""A command in a channel, with this process's own streams and terminal. Uses paramiko."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress

import paramiko

from tfslurm.host.attached import Keyboard, raw_terminal, window_size
from tfslurm.host.attached_output import CHUNK_BYTES, Output, write_all
from tfslurm.host.paramiko_line import hang_up
from tfslurm.host.pipe import CODE_S, Said


def talk_attached(channel: paramiko.Channel, line: str, output: Output, *, terminal: bool) -> int:
    """Run a line to its end; its exit code, or -1 where the line was lost."""
    if terminal:
        columns, rows = window_size()
        channel.get_pty(os.environ.get("TERM") or "xterm", columns, rows)
    channel.exec_command(line.encode("utf-8", "surrogateescape"))
    errors = threading.Thread(target=_read_errors, args=(channel,), name="errors", daemon=True)
    errors.start()
    resize = channel.resize_pty if terminal else None
    with raw_terminal() if terminal else nullcontext(), Keyboard(channel.sendall, channel.shutdown_write, resize):
        while chunk := channel.recv(CHUNK_BYTES):
            output.write(chunk)
        errors.join()
        return channel.recv_exit_status()


def _read_errors(channel: paramiko.Channel) -> None:
    with suppress(OSError, EOFError):
        while chunk := channel.recv_stderr(CHUNK_BYTES):
            write_all(2, chunk)


class ChannelPipe:
    """A command in a channel, with streams for the caller; ``released`` is called once, when it is closed."""

    def __init__(self, channel: paramiko.Channel, line: str, released: Callable[[], object]) -> None:
        self._channel, self._released, self._said = channel, released, Said()
        self._guard, self._is_closed = threading.Lock(), False
        channel.exec_command(line.encode("utf-8", "surrogateescape"))
        threading.Thread(target=self._read_errors, name="errors", daemon=True).start()

    def read(self, most: int) -> bytes:
        """The next bytes; none after the last."""
        try:
            return self._channel.recv(most)
        except (OSError, EOFError):
            return b""

    def write(self, data: bytes) -> None:
        """Send all of them; OSError where nobody reads."""
        try:
            self._channel.sendall(data)
        except EOFError:
            raise OSError("the channel is closed") from None

    def end(self) -> tuple[int, str]:
        """Close it; the exit code, -1 where none came, and the last words on stderr."""
        code = -1
        if self._channel.status_event.wait(CODE_S):
            code = self._channel.exit_status
        self.close()
        return code, self._said.text()

    def close(self) -> None:
        """Close it, which ends the command when it reads or writes."""
        with self._guard:
            before, self._is_closed = self._is_closed, True
        if not before:
            hang_up(self._channel)
            self._released()

    def _read_errors(self) -> None:
        with suppress(OSError, EOFError):
            while chunk := self._channel.recv_stderr(CHUNK_BYTES):
                self._said.add(chunk)
