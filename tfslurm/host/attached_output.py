"""What an attached command prints on its way to this process's own standard output."""

from __future__ import annotations

import os
import sys

from tfslurm.errors import HostError

CHUNK_BYTES = 2**16
MOST_BEFORE = 2**16
"Bytes that may come before the mark."


class Output:
    """Standard output, from the mark on; what came before it is kept for a message."""

    def __init__(self, mark: bytes) -> None:
        self._mark, self._before = mark, b""
        self.has_begun = not mark

    def write(self, data: bytes) -> None:
        """Hand on what is to be handed on."""
        if not self.has_begun:
            self._before += data
            _, found, data = self._before.partition(self._mark)
            if not found:
                self._before = self._before[-MOST_BEFORE:]
                return
            self.has_begun = True
        write_all(1, data)

    def before(self) -> str:
        """The last words before the mark, on one line."""
        return " ".join(self._before.decode("utf-8", "replace").split())[-400:]


def write_all(number: int, data: bytes) -> None:
    """Write to a file descriptor; who has closed it wants no more."""
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]


def not_begun(name: str, code: int, output: Output) -> HostError:
    """The error for a command that never printed its mark."""
    said = output.before()
    return HostError(f"{name}: the command was not started (exit {code}){': ' if said else ''}{said}")


def flush() -> None:
    """What Python has kept back of our own words comes before the command's."""
    sys.stdout.flush()
    sys.stderr.flush()
