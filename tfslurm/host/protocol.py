"""The interface of every machine, however it is reached: one command in, its output back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from tfslurm.errors import Completed

if TYPE_CHECKING:
    from tfslurm.host.forward import Forward, Say, Target
    from tfslurm.host.pipe import Pipe

MOST_BYTES = 16 * 2**20
"""The most that a command may print on stdout unless its caller expects more: memory is limited."""
MOST_STDERR = 4 * 2**20
"""The most that any command may print on stderr."""


class Host(Protocol):
    """A machine that runs commands: this one, or one behind SSH.

    ``input`` is what the command reads on stdin: bytes, or chunks that are made while they are sent. Where making a
    chunk fails, stdin ends there, the command is awaited, and the failure is raised on. Without input stdin is empty.

    ``max_bytes`` is the most that may arrive on stdout, what the machine's start-up files print included.

    Raises (both methods):
        TooMuchOutput: more than ``max_bytes`` arrived on stdout, or more than MOST_STDERR on stderr. The command is
            killed at once (behind SSH when it writes next), and no more than that is kept.
        HostError: the machine could not be reached, the command could not be started (a missing program is named with
            its machine), it did not end in ``timeout_s`` seconds (it and its children are then killed), or the line
            was lost. ``transient`` says whether trying again can help.
    """

    @property
    def name(self) -> str:
        """The user's name for this machine: the cluster's."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> Completed:
        """Return the command and how it ended, whatever its exit code; death by signal n is exit code 128 + n."""

    def run_bytes(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> bytes:
        """Return the command's stdout byte for byte; CommandFailed where its exit code is not 0."""

    def attach(self, argv: Sequence[str], *, terminal: bool = False, mark: bytes = b"") -> int:
        """Run a command with this process's own stdin, stdout and stderr, and return its exit code (128 + n: signal n).

        ``terminal``: it has a terminal there, whose window, keys and signals are those of the terminal here. Otherwise
        the streams are handed on byte for byte, stdout from the ``mark`` on, which the command prints first.

        Raises:
            HostError: the machine could not be reached, the line was lost, or the command failed before it printed
                the mark.
            KeyboardInterrupt: Ctrl-C, without a terminal there.
        """

    def open_pipe(self, argv: Sequence[str], mark: bytes) -> Pipe:
        """Start a command whose stdin and stdout stay open for the caller, from the ``mark`` on, which it prints first.

        It ends when the pipe is closed, as soon as it reads its stdin's end or writes.

        Raises:
            CommandFailed: it ended before it printed the mark.
            HostError: the machine could not be reached, or the mark did not come in time.
        """

    def forward(self, target: Target, *, port: int = 0, say: Say | None = None) -> Forward:
        """Return a context manager: in it ``127.0.0.1:PORT`` of this machine leads to a place that the host reaches.

        ``port`` 0 takes any that is free. Nothing is asked of the target before somebody connects. A connection that
        is open when the line is lost is lost; the next one brings the line back, with a login where the site demands
        one, and ``say`` is told so, and of each problem once.

        Raises:
            InputError: the port is taken, or not the user's to have.
            HostError: the machine could not be reached.
        """
