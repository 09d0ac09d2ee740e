"""Questions to the user: on the controlling terminal only, never on stdin or stdout, which may be pipes."""

from __future__ import annotations

import atexit
import getpass
import os
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tfslurm.document.visible import visible

TERMINAL = Path("/dev/tty")
ALONE = threading.RLock()
"Held from a question's first word to the verdict on its answer: several clusters may be logged in to at once."


def has_terminal() -> bool:
    """Say whether somebody can be asked."""
    with suppress(OSError):
        os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY))
        return True
    return False


def ask(prompt: str, *, echo: bool) -> str:
    """Return what the user types; call it only where there is a terminal."""
    if not echo:
        with given_back():
            return getpass.getpass(visible(prompt))
    with TERMINAL.open("r", encoding="utf-8") as keyboard, TERMINAL.open("w", encoding="utf-8") as screen:
        screen.write(visible(prompt))
        screen.flush()
        return keyboard.readline().rstrip("\n")


@contextmanager
def given_back() -> Iterator[None]:
    """Show what is typed again afterwards, also where Ctrl-C ends the process while one of its threads asks."""
    terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY)
    restore = partial(termios.tcsetattr, terminal, termios.TCSANOW, termios.tcgetattr(terminal))
    atexit.register(restore)
    try:
        yield
    finally:
        atexit.unregister(restore)
        os.close(terminal)


def tell(text: str) -> None:
    """Show a text before a question."""
    if text.strip():
        with TERMINAL.open("w", encoding="utf-8") as screen:
            screen.write(visible(text.strip()) + "\n")
