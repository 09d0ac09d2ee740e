"""A long program of this machine whose lines are wanted as they come, and which may clean up before it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import HostError
from tfslurm.host.command import no_program, too_late
from tfslurm.host.local import without_shell_options

HERE = "here"
KEPT_LINES = 40
LONGEST_LINE = 400
MOST_PENDING = 2**16
"Bytes of a line without an end: then it is cut."
GRACE_S = 20.0
COLOURS = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")


class Ended(NamedTuple):
    """How it ended: its exit code, 128 + n for death by signal n, and the last lines that it printed."""

    exit_code: int
    lines: tuple[str, ...]


def attend(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    timeout_s: float = 3600.0,
    first_to_stop: str = "",
) -> Ended:
    """Run a program to its end; what it prints on either stream is handed on line by line, and little of it is kept.

    If this is interrupted, or takes too long, the program gets SIGTERM and GRACE_S seconds to clean up, then SIGKILL.
    ``first_to_stop`` names a program that it starts: where one of these runs, it is the one that is asked to end.

    Raises:
        HostError: it is no program, or did not end in time.
    """
    values = {**without_shell_options(os.environ), **(environment or {})}
    try:
        process = subprocess.Popen(
            argv,
            env=values,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        raise no_program(HERE, argv[0], remote=False) from None
    except OSError as error:
        raise HostError(f"here: cannot start {argv[0]!r}: {error.strerror}") from error
    last: deque[str] = deque(maxlen=KEPT_LINES)

    def take(line: str) -> None:
        last.append(line)
        on_line(line)

    try:
        _read(process, time.monotonic() + timeout_s, take)
        code = process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        raise too_late(HERE, argv, timeout_s) from None
    finally:
        _stop(process, first_to_stop)
    return Ended(code if code >= 0 else 128 - code, tuple(last))


def _read(process: subprocess.Popen[bytes], ends: float, take: Callable[[str], object]) -> None:
    """Hand on each line until the output ends, or the time does."""
    from selectors import EVENT_READ, DefaultSelector

    assert process.stdout is not None  # noqa: S101 - asked for
    pending = b""
    with DefaultSelector() as selector:
        selector.register(process.stdout, EVENT_READ)
        while True:
            ready = selector.select(max(0.0, ends - time.monotonic()))
            if not ready or time.monotonic() >= ends:
                raise subprocess.TimeoutExpired(process.args, 0)
            chunk = os.read(process.stdout.fileno(), MOST_PENDING)
            *whole, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
            if len(pending) > MOST_PENDING or (pending and not chunk):
                whole, pending = [*whole, pending], b""
            for line in whole:
                if text := printable(line):
                    take(text)
            if not chunk:
                return


def printable(line: bytes) -> str:
    """A line without what would act on a terminal, and no longer than a reader needs."""
    text = COLOURS.sub("", line[: 4 * LONGEST_LINE].decode("utf-8", "replace")).rstrip()
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST_LINE]


def _stop(process: subprocess.Popen[bytes], first: str) -> None:
    """End the process and its children, which may clean up first."""
    if process.returncode is None and first:
        for child in _called(first, process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGTERM)
            _wait(process)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            _wait(process)
    if process.stdout:
        process.stdout.close()


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end for GRACE_S; what it still prints is thrown away, so that it does not wait for a reader."""
    ends = time.monotonic() + GRACE_S
    assert process.stdout is not None  # noqa: S101 - asked for
    os.set_blocking(process.stdout.fileno(), False)
    while process.poll() is None and time.monotonic() < ends:
        with suppress(BlockingIOError):
            os.read(process.stdout.fileno(), MOST_PENDING)
        time.sleep(0.05)


def _called(name: str, group: int) -> list[int]:
    """The processes of a group that were started under this name."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if words[0] == name.encode() and os.getpgid(int(place.name)) == group:
                found.append(int(place.name))
    return found
