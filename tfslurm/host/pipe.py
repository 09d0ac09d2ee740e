"""A command of a host whose standard input and output stay open, for bytes in both directions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from tfslurm.errors import CommandFailed, Completed, HostError

CHUNK_BYTES = 2**16
MOST_BEFORE = 2**16
"Bytes that may come before the mark."
MARK_S = 60.0
CODE_S = 5.0
"For the exit code behind the last byte."
LAST_BYTES = 4000


class Pipe(Protocol):
    """A command that runs. One thread reads, and one at a time writes."""

    def read(self, most: int) -> bytes:
        """The next bytes; none after the last, or where the line was lost."""

    def write(self, data: bytes) -> None:
        """Send all of them; OSError where nobody reads."""

    def end(self) -> tuple[int, str]:
        """Close it; the exit code, or -1 where none came, and the last words on stderr."""

    def close(self) -> None:
        """Close it; a second call does nothing."""


class Said:
    """The last bytes of what a command says on stderr."""

    def __init__(self) -> None:
        self._last = b""

    def add(self, data: bytes) -> None:
        """Keep the end of it."""
        self._last = (self._last + data)[-LAST_BYTES:]

    def text(self) -> str:
        """What is kept."""
        return self._last.decode("utf-8", "replace")


class Begun:
    """A pipe whose first bytes were read already."""

    def __init__(self, pipe: Pipe, first: bytes) -> None:
        self._pipe, self._first = pipe, first
        self.write, self.end, self.close = pipe.write, pipe.end, pipe.close

    def read(self, most: int) -> bytes:
        """The next bytes; none after the last."""
        if self._first:
            first, self._first = self._first[:most], self._first[most:]
            return first
        return self._pipe.read(most)


def begun(name: str, argv: Sequence[str], pipe: Pipe, mark: bytes) -> Pipe:
    """The pipe from its mark on.

    Raises:
        CommandFailed: the command ended before that.
        HostError: the mark did not come in time, or too much came before it.
    """
    timer = threading.Timer(MARK_S, pipe.close)
    timer.daemon = True
    timer.start()
    before = b""
    try:
        while mark not in before and len(before) <= MOST_BEFORE and (chunk := pipe.read(CHUNK_BYTES)):
            before += chunk
    except BaseException:
        pipe.close()
        raise
    finally:
        timer.cancel()
    _, found, rest = before.partition(mark)
    if found:
        return Begun(pipe, rest)
    if len(before) > MOST_BEFORE:
        pipe.close()
        pipe.end()
        raise HostError(f"{name}: {argv[0]} was not started: start-up files there print more than {MOST_BEFORE} bytes")
    code, said = pipe.end()
    if code > 0:
        raise CommandFailed(Completed(tuple(argv), code, "", said, name))
    why = f"the line was lost, or it did not answer in {MARK_S:.0f} s"
    raise HostError(f"{name}: {argv[0]} was not started: {why}", transient=True)
