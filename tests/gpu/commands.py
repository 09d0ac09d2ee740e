"""Commands that are bounded in time and in output, whose raw answers are kept in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_BYTES = 4 * 2**20  # of one output
TIMED_OUT, NOT_STARTED = 124, 127
LEAST_S = 0.5
"A command that would have less is not started."
LINGERS_S = 1.0
"For what a command left behind that holds its pipes."


@dataclass(frozen=True)
class Ran:
    """What a command gave; ``why`` says what befell it, where it did not end by itself."""

    code: int
    out: str
    err: str
    why: str = ""

    @property
    def said(self) -> str:
        """Its last words, for a reader."""
        return self.why or f"exit {self.code}: {(self.err.strip() or self.out.strip())[-300:]}"


@dataclass
class Commands:
    """Runs commands until a deadline, which each step moves on."""

    raw: Path
    deadline: float
    log: list[dict[str, Any]] = field(default_factory=list)

    def run(
        self, name: str, argv: Sequence[str], limit_s: float, *, env: Mapping[str, str] | None = None, text: str = ""
    ) -> Ran:
        """One command; its outputs are kept as ``NAME.out`` and ``NAME.err``. ``text`` is its standard input."""
        left = min(limit_s, self.deadline - time.monotonic())
        began = time.monotonic()
        if left < LEAST_S:
            ran = Ran(TIMED_OUT, "", "", "not started: the time of this step is up")
        else:
            ran = _bounded(argv, left, {**os.environ, "LC_ALL": "C", **(env or {})}, text)
        seconds = round(time.monotonic() - began, 3)
        self.log.append({"name": name, "argv": [*argv], "code": ran.code, "seconds": seconds, "why": ran.why})
        self.keep(f"{name}.out", ran.out)
        if ran.err:
            self.keep(f"{name}.err", ran.err)
        (self.raw / "commands.json").write_text(json.dumps(self.log, indent=1) + "\n")
        return ran

    def keep(self, name: str, text: str) -> None:
        """Keep what was read elsewhere."""
        (self.raw / re.sub(r"[^\w.+-]", "_", name)).write_text(text, "utf-8", "surrogateescape")


def _bounded(argv: Sequence[str], limit_s: float, env: Mapping[str, str], text: str) -> Ran:
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True
        )
    except OSError as error:
        return Ran(NOT_STARTED, "", "", f"cannot be started: {error}")
    assert process.stdin
    try:
        with contextlib.suppress(OSError):
            process.stdin.write(text.encode("utf-8", "surrogateescape"))
            process.stdin.close()
        out, err, why = _read(process, time.monotonic() + limit_s, limit_s)
    finally:
        _end(process)
    code = TIMED_OUT if why else process.returncode
    return Ran(code, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"), why)


def _read(process: subprocess.Popen[bytes], until: float, limit_s: float) -> tuple[bytes, bytes, str]:
    """Both outputs, until both end, the process has ended, the time is up, or it prints too much."""
    out, err, why = bytearray(), bytearray(), ""
    assert process.stdout and process.stderr
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, err)
        while selector.get_map() and time.monotonic() < until and not why:
            for key, _ in selector.select(0.2):
                piece = os.read(key.fd, 65536)
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
                if len(key.data) > MOST_BYTES:
                    why = f"ended: it printed more than {MOST_BYTES} bytes"
            if process.poll() is not None:
                until = min(until, time.monotonic() + LINGERS_S)
    if not why:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            why = f"ended: no answer in {limit_s:.0f} s"
    return bytes(out), bytes(err), why


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all that the command started. What the kernel cannot end is left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
