"""A program of this machine whose streams stay open for the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tfslurm.host.command import no_program
from tfslurm.host.pipe import CHUNK_BYTES, CODE_S, Said

END_S = 2.0


class ProcessPipe:
    """A program of this machine: the command itself, or the ssh that leads to it."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._said = Said()
        try:
            self._process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError):
            raise no_program(name, argv[0], remote=False) from None
        self._errors = threading.Thread(target=self._read_errors, name="errors", daemon=True)
        self._errors.start()

    def read(self, most: int) -> bytes:
        """The next bytes; none after the last."""
        with suppress(OSError, ValueError):
            if self._process.stdout:
                if chunk := self._process.stdout.read(most):
                    return bytes(chunk)
                self._process.stdout.close()
        return b""

    def write(self, data: bytes) -> None:
        """Send all of them; OSError where nobody reads."""
        view = memoryview(data)
        try:
            while view and self._process.stdin:
                view = view[self._process.stdin.write(view) :]
        except ValueError:
            raise OSError("it is closed") from None

    def end(self) -> tuple[int, str]:
        """Close it; see Pipe."""
        code = -1
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(CODE_S)
        self._errors.join(CODE_S)
        self.close()
        if self._process.stdout:
            self._process.stdout.close()
        return code, self._said.text()

    def close(self) -> None:
        """End its input, which ends it and what it started elsewhere; or else end it."""
        with suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
                return
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _read_errors(self) -> None:
        with suppress(OSError, ValueError):
            while self._process.stderr and (chunk := self._process.stderr.read(CHUNK_BYTES)):
                self._said.add(chunk)
        if self._process.stderr:
            self._process.stderr.close()
