"""Connections over the shared connection of ssh, which listens on a Unix socket of the user. Source: ssh(1), -O."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tfslurm.errors import HostError
from tfslurm.host.forward import Target, TcpAddress, checked, unix_connection


class Shared:
    """A carrier: the shared connection hands on what connects to its socket.

    ``ask`` has it do something (`forward`, `cancel`) with a specification, and says why it does not, '' where it does;
    ``revive`` logs in again where that connection is gone.
    """

    def __init__(
        self, name: str, target: Target, folder: Path, ask: Callable[[str, str], str], revive: Callable[[], None]
    ) -> None:
        self._name, self._target = name, checked(target)
        self._ask, self._revive = ask, revive
        self._path = folder / f"{secrets.token_hex(8)}.forward"
        self._reviving = Lock()
        self._listen()

    def dial(self) -> socket.socket:
        """Open a connection; see Carrier. One that leads nowhere is closed by the far side, without a reason."""
        with suppress(OSError):
            return unix_connection(str(self._path))
        with self._reviving:
            with suppress(OSError):  # another one has just brought it back
                return unix_connection(str(self._path))
            self._revive()
            self._listen()
        try:
            return unix_connection(str(self._path))
        except OSError as error:
            raise HostError(f"{self._name}: {self._target}: {error.strerror}; try again", transient=True) from None

    def close(self) -> None:
        """End the forward; the shared connection stays for others."""
        self._ask("cancel", self._specification)
        self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        self._path.unlink(missing_ok=True)
        if why := self._ask("forward", self._specification):
            raise HostError(f"{self._name}: {self._target}: ssh does not forward: {why}", transient=True)

    @property
    def _specification(self) -> str:
        target = self._target
        if isinstance(target, TcpAddress):
            host = f"[{target.host}]" if ":" in target.host else target.host
            return f"{escaped(str(self._path))}:{host}:{target.port}"
        return f"{escaped(str(self._path))}:{escaped(target.path)}"


def escaped(path: str) -> str:
    """A path as a field of ssh's -L: backslashes and colons are escaped there, and a % begins a token."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("%", "%%")
