"""Questions on a terminal, where the command that asks may end at any moment."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
from contextlib import suppress

ASKS = """\
from threading import Thread; from tfslurm.host.terminal import ask; import time
Thread(target=ask, args=("code: ",), kwargs={"echo": False}, daemon=True).start(); time.sleep(30)
"""


def test_a_command_that_ends_while_one_of_its_threads_asks_leaves_a_terminal_that_shows_what_is_typed() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKS])
    try:
        read_until(terminal, b"code: ")
        assert not shows_what_is_typed(terminal)
        os.write(terminal, b"\x03")
        read_until(terminal, b"KeyboardInterrupt")
        with suppress(OSError):  # the other side is closed: the process has ended
            while os.read(terminal, 4096):
                pass
        assert shows_what_is_typed(terminal)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, words: bytes) -> None:
    """Return when they have been shown."""
    shown = b""
    while words not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 4096)


def shows_what_is_typed(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
