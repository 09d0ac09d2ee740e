"""A person's terminal: a real pty in which a command is typed, whose window has a size."""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .desk import USER, ids

PATIENCE_S = 60


class Terminal:
    """A command of alice's with this terminal; a context manager, which ends it."""

    def __init__(self, argv: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> None:
        entry = pwd.getpwnam(USER)
        self._ours, theirs = os.openpty()
        os.fchown(theirs, *ids())
        self._shown = b""
        self.settings: list[Any] = termios.tcgetattr(theirs)
        self._size(24, 80)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *map(str, argv)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={"HOME": entry.pw_dir, "USER": USER, "LANG": "C.UTF-8", "TERM": "xterm-256color", **environment},
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(USER, entry.pw_gid),
        )
        self._theirs = theirs

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        os.close(self._ours)

    def types(self, text: str | bytes) -> None:
        """Type it, and read what is shown meanwhile: a terminal that nobody reads takes no more keys."""
        left = text.encode() if isinstance(text, str) else text
        os.set_blocking(self._ours, False)
        while left:
            _, can_write, _ = select.select([], [self._ours], [], 0.05)
            if can_write:
                left = left[os.write(self._ours, left[:4096]) :]
            self._read(0)
        os.set_blocking(self._ours, True)

    def shows(self, text: str) -> str:
        """What is shown up to this text, which is waited for."""
        wanted = text.encode()
        while wanted not in self._shown:
            assert self._read(PATIENCE_S), self._shown[-2000:]
        before, _, self._shown = self._shown.partition(wanted)
        return before.decode("utf-8", "replace")

    def resize(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        self._size(rows, columns)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def ends(self) -> int:
        """The exit code, once the command has ended."""
        while self.process.poll() is None:
            self._read(0.1)
        return self.process.returncode

    def rest(self) -> str:
        """What is shown and was not asked for."""
        while self._read(0):
            pass
        shown, self._shown = self._shown, b""
        return shown.decode("utf-8", "replace")

    def now(self) -> list[Any]:
        """The settings of the terminal as they are."""
        return termios.tcgetattr(self._theirs)

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, patience_s: float) -> bool:
        if not select.select([self._ours], [], [], patience_s)[0]:
            return False
        chunk = os.read(self._ours, 2**16)
        self._shown += chunk
        return bool(chunk)


def types_all_that_a_person_does(window: Terminal) -> str:
    """Colours, the window's size, Ctrl-C, Ctrl-D and a large paste in a shell with FOO; what is in /out/pasted then."""
    pasted = "".join(f"{random.Random(7).randbytes(30).hex()} {number}\n" for number in range(4000))
    assert len(pasted) > 256_000
    window.types("PS1='rea''dy> '\n")
    window.shows("ready> ")
    # docker's client gives the window its size after it has started the command
    size = "until stty size 2>/dev/null; do sleep 0.1; done"
    window.types(f"{size}; printf '\\033[31mred\\033[0m\\n'; echo $FOO:$TERM\n")
    window.shows("24 80\r\n\x1b[31mred\x1b[0m\r\nbar baz:xterm-256color\r\nready> ")
    window.resize(40, 100)
    window.types("until [ \"$(stty size)\" = '40 100' ]; do sleep 0.1; done; echo re''sized\n")
    window.shows("resized\r\n")
    window.types("echo be''gun; sleep 1000; echo co''de $?\n")
    window.shows("begun\r\n")
    window.types("\x03")
    window.shows("ready> ")
    window.types("stty -echo; cat >/out/pasted; stty echo; echo do''ne\n")
    window.types(pasted)
    window.types("\x04")
    window.shows("done\r\n")
    return pasted
