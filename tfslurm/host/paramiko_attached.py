"""A command in a channel, with this process's own streams and terminal. Uses paramiko."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext, suppress

import paramiko

from tfslurm.host.attached import Keyboard, raw_terminal, window_size
from tfslurm.host.attached_output import CHUNK_BYTES, Output, write_all


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
