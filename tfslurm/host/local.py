"""Commands on this machine: subprocess without a shell, each in a process group that dies with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from tfslurm.errors import HostError
from tfslurm.host.command import Feeder, Raw, Transport, no_program, too_late


class LocalHost(Transport):
    """This machine; ``environment`` is laid over the process's own, ``programs`` is a folder to put before PATH."""

    def __init__(
        self, name: str = "localhost", environment: Mapping[str, str] | None = None, *, programs: str = ""
    ) -> None:
        self.name = name
        self._environment = {**os.environ, **(environment or {})}
        if programs:
            self._environment["PATH"] = f"{programs}:{self._environment.get('PATH') or os.defpath}"

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float) -> Raw:
        """Run one command to its end."""
        return run_process(self.name, argv, input, timeout_s, self._environment)


def run_process(
    name: str, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, environment: Mapping[str, str]
) -> Raw:
    """Run a program of this machine to its end; see Host for what is raised."""
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE if input != b"" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        raise no_program(name, argv[0], remote=False) from None
    except OSError as error:
        raise HostError(f"{name}: cannot start {argv[0]!r}: {error.strerror}") from error
    stdin, process.stdin = process.stdin, None  # communicate would close it at once
    feeder = Feeder(input, stdin.write, stdin.close) if stdin else None
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise too_late(name, argv, timeout_s) from None
    finally:
        if process.returncode is None:
            _kill(process)
    if feeder:
        feeder.finish()
    code = process.returncode
    return Raw(code if code >= 0 else 128 - code, stdout, stderr)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children; what left the group and holds the pipes open is not waited for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
