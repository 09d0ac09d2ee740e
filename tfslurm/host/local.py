"""Commands on this machine: subprocess without a shell, each in a process group that dies with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from tfslurm.host.command import Raw, Received, Transport, run_process


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
