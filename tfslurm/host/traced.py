"""A machine whose commands are told before they run (`-v`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfslurm.errors import Completed, command_line
from tfslurm.host.protocol import MOST_BYTES, Host

if TYPE_CHECKING:
    from tfslurm.host.forward import Forward, Say, Target
    from tfslurm.host.pipe import Pipe


@dataclass(frozen=True, slots=True)
class TracedHost:
    """The same machine; ``tell`` gets each command as one pastable line. What goes in on stdin is not told."""

    host: Host
    tell: Callable[[str], None]

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.host.name

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> Completed:
        """As the machine's own."""
        self._told(argv)
        return self.host.run(argv, input=input, timeout_s=timeout_s, max_bytes=max_bytes)

    def run_bytes(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> bytes:
        """As the machine's own."""
        self._told(argv)
        return self.host.run_bytes(argv, input=input, timeout_s=timeout_s, max_bytes=max_bytes)

    def attach(self, argv: Sequence[str], *, terminal: bool = False, mark: bytes = b"") -> int:
        """As the machine's own."""
        self._told(argv)
        return self.host.attach(argv, terminal=terminal, mark=mark)

    def open_pipe(self, argv: Sequence[str], mark: bytes) -> Pipe:
        """As the machine's own; what goes through is not told."""
        self._told(argv)
        return self.host.open_pipe(argv, mark)

    def forward(self, target: Target, *, port: int = 0, say: Say | None = None) -> Forward:
        """As the machine's own."""
        made = self.host.forward(target, port=port, say=say)
        self.tell(f"{self.name}: 127.0.0.1:{made.port} leads to {target}")
        return made

    def _told(self, argv: Sequence[str]) -> None:
        self.tell(f"{self.name}: {command_line(argv)}")
