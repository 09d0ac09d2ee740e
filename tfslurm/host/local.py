"""Commands on this machine: subprocess without a shell, each in a process group that dies with it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from tfslurm.errors import HostError
from tfslurm.host.command import Feeder, Raw, Received, Transport, no_program, too_late


class LocalHost(Transport):
    """This machine; ``environment`` is laid over the process's own, ``programs`` is a folder to put before PATH."""

    def __init__(
        self, name: str = "localhost", environment: Mapping[str, str] | None = None, *, programs: str = ""
    ) -> None:
        self.name = name
        self._environment = {**os.environ, **(environment or {})}
        if programs:
            self._environment["PATH"] = f"{programs}:{self._environment.get('PATH') or os.defpath}"

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command to its end."""
        return run_process(Received(self.name, argv, max_bytes), argv, input, timeout_s, self._environment)


def run_process(
    received: Received,
    argv: Sequence[str],
    input: bytes | Iterable[bytes],
    timeout_s: float,
    environment: Mapping[str, str],
) -> Raw:
    """Run a program of this machine to its end; see Host for what is raised."""
    name = received.name
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
    feeder = Feeder(input, process.stdin.write, process.stdin.close) if process.stdin else None
    ends = time.monotonic() + timeout_s
    try:
        _read(process, received, ends)
        code = process.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise too_late(name, received.argv, timeout_s) from None
    finally:
        _close(process)
    if received.full:
        raise received.too_much()
    if feeder:
        feeder.finish()
    return received.ended(code if code >= 0 else 128 - code)


def _read(process: subprocess.Popen[bytes], received: Received, ends: float) -> None:
    """Read both streams to their ends, or to the limit of one, where the process is killed."""
    with selectors.DefaultSelector() as selector:
        for stream, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None  # noqa: S101 - asked for
            selector.register(pipe, selectors.EVENT_READ, stream)
        while selector.get_map():
            ready = selector.select(max(0.0, ends - time.monotonic()))
            if time.monotonic() >= ends:  # also of what drips without end
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in ready:
                chunk = os.read(key.fd, 2**16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif not received.add(key.data, chunk):
                    _kill(process)
                    return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    """End the process if it has not ended; what left the group and holds the pipes open is not waited for."""
    if process.returncode is None:
        _kill(process)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
