"""Questions on a terminal, where the command that asks may end at any moment."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import paramiko
import pytest

from tfslurm.cluster import Login
from tfslurm.host.hops import route
from tfslurm.host.paramiko_login import _with_answers

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


@pytest.mark.parametrize(
    "prompt", ["Passphrase for /home/alice/.ssh/id_ed25519: ", "x\r\n\x1b[2JPassword: ", "\nPassphrase for a: ", ""]
)
def test_a_machines_question_stands_behind_its_name(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is called cannot be its own choice: else it could ask for the passphrase of a key."""
    asked: list[str] = []

    def ask(prompt: str, *, echo: bool) -> str:
        asked.append(prompt)
        return "answer"

    monkeypatch.setattr("tfslurm.host.paramiko_login.has_terminal", lambda: True)
    monkeypatch.setattr("tfslurm.host.paramiko_login.tell", lambda text: None)
    monkeypatch.setattr("tfslurm.host.paramiko_login.ask", ask)

    class Line:
        """A connection to a machine that asks."""

        def auth_interactive(self, user: str, handler: Callable[[str, str, list[tuple[str, bool]]], list[str]]) -> None:
            assert handler("title", "", [(prompt, False)]) == ["answer"]

    monkeypatch.setenv("PATH", "/nowhere")
    (hop,) = route("alpha", Login(host="login.evil", user="alice"), Path("/nowhere"))
    _with_answers("alpha", hop, cast(paramiko.Transport, Line()), (), [])
    (shown,) = asked
    assert shown.startswith("(alice@login.evil) ")
    assert shown.isprintable() and shown.endswith(" ")
