"""Commands on this machine: subprocess without a shell, each in a process group that dies with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfslurm.host.command import Raw, Received, Transport, run_process

if TYPE_CHECKING:
    from tfslurm.host.attached_output import Output
    from tfslurm.host.pipe import Pipe

# What a shell reads before its first command, tools for options, and tfslurm's own Python. A site's own functions stay,
# for a job's prologue.
SHELL_OPTIONS = frozenset(
    (
        *("BASHOPTS", "BASH_COMPAT", "BASH_ENV", "BASH_XTRACEFD", "CDPATH", "ENV", "EXECIGNORE", "FUNCNEST"),
        *("GLOBIGNORE", "GREP_OPTIONS", "POSIXLY_CORRECT", "SHELLOPTS", "TAR_OPTIONS", "TMOUT"),
        "PYDANTIC_DISABLE_PLUGINS",
    )
)


def without_shell_options(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that change what any shell, tar or grep does."""
    return {name: text for name, text in environment.items() if name not in SHELL_OPTIONS and not is_function(name)}


def is_function(name: str) -> bool:
    """Whether bash exported a function so, other than those of environment modules."""
    return name.startswith("BASH_FUNC_") and "module" not in name and name != "BASH_FUNC_ml%%"


class LocalHost(Transport):
    """This machine; ``environment`` is laid over the process's own, ``programs`` is a folder to put before PATH."""

    def __init__(
        self, name: str = "localhost", environment: Mapping[str, str] | None = None, *, programs: str = ""
    ) -> None:
        self.name = name
        self._environment = {**without_shell_options(os.environ), **(environment or {})}
        if programs:
            self._environment["PATH"] = f"{programs}:{self._environment.get('PATH') or os.defpath}"

    def execute_attached(self, argv: Sequence[str], output: Output, *, terminal: bool) -> int:
        """Run one command with our own streams; a terminal is the one that it finds there."""
        from tfslurm.host.attached import run_attached

        return run_attached(self.name, argv, self._environment, output, terminal=terminal)

    def start_pipe(self, argv: Sequence[str]) -> Pipe:
        """Start one command whose streams stay open."""
        from tfslurm.host.process_pipe import ProcessPipe

        return ProcessPipe(self.name, argv, self._environment)

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command to its end."""
        return run_process(Received(self.name, argv, max_bytes), argv, input, timeout_s, self._environment)
