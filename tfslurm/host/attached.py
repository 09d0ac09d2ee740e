"""A command that has this process's own standard input, output and error: how long it lasts is the user's to say.

With a terminal the far side has one too, and this one only hands on what is typed and shown. Without one the streams
are handed on byte for byte, once the command has printed ``mark``: before it come the words of start-up files.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress

from tfslurm.host.attached_output import CHUNK_BYTES, Output
from tfslurm.host.command import escaped, no_program, quoted
from tfslurm.remote_programs import one_line


def is_terminal() -> bool:
    """Whether standard input and output are one."""
    return os.isatty(0) and os.isatty(1)


def attached_line(argv: Sequence[str], environment: Mapping[str, str], programs: str = "") -> str:
    """The one line for a remote login shell; see command.remote_line. The command lasts as long as it wants."""
    command = ("env", *(f"{key}={value}" for key, value in environment.items()), *argv)
    if any("\n" in word for word in command):
        command = ("sh", "-c", one_line("unescaped"), "sh", *map(escaped, command))
    return " ".join(map(quoted, ("sh", "-c", one_line("plain"), "sh", programs, *command)))


def run_attached(
    name: str, argv: Sequence[str], environment: Mapping[str, str], output: Output, *, terminal: bool
) -> int:
    """Run a program of this machine with our own streams; its exit code, 128 + n where signal n ended it.

    With a terminal Ctrl-C goes to it, which says what comes of that; without one it ends the program and this call.

    Raises:
        HostError: it cannot be started.
    """
    stdout = None if output.has_begun else subprocess.PIPE
    with own_ctrl_c() if terminal else nullcontext():
        try:
            process = subprocess.Popen(argv, env=environment, stdout=stdout, start_new_session=not terminal)
        except (FileNotFoundError, PermissionError):
            raise no_program(name, argv[0], remote=False) from None
        try:
            if process.stdout:
                while chunk := process.stdout.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
                    output.write(chunk)
            code = process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                process.wait()
            if process.stdout:
                process.stdout.close()
    return code if code >= 0 else 128 - code


@contextmanager
def own_ctrl_c() -> Iterator[None]:
    """Leave Ctrl-C to the program that has the terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not ignored: the program would ignore it too
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Give every key to who reads standard input, and the terminal back as it was."""
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def window_size() -> tuple[int, int]:
    """Columns and rows of the terminal."""
    with suppress(OSError):
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
        if rows and columns:
            return columns, rows
    return 80, 24


class Keyboard(threading.Thread):
    """Hands on standard input until it ends or is closed, and each new size of the window."""

    def __init__(
        self, send: Callable[[bytes], object], end: Callable[[], object], resize: Callable[[int, int], object] | None
    ) -> None:
        super().__init__(name="keyboard", daemon=True)
        self._send, self._end, self._resize = send, end, resize
        self._wakes, self._wake = os.pipe()
        self._closing = False

    def __enter__(self) -> Keyboard:
        self._before = None
        if self._resize and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGWINCH, lambda *_: os.write(self._wake, b"w"))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        if self._before is not None:
            signal.signal(signal.SIGWINCH, self._before)
        os.write(self._wake, b"c")
        self.join(5)

    def run(self) -> None:
        """Hand on what comes, in pieces."""
        with suppress(OSError, EOFError):
            while not self._closing:
                ready, _, _ = select.select([0, self._wakes], [], [])
                if self._wakes in ready:
                    os.read(self._wakes, 64)
                    if self._resize and not self._closing:
                        self._resize(*window_size())
                if 0 in ready and not self._closing:
                    chunk = os.read(0, CHUNK_BYTES)
                    if not chunk:
                        self._end()
                        return
                    self._send(chunk)
