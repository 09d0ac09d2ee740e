"""Channels to places beyond a login node. Uses paramiko."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import paramiko

from tfslurm.host.forward import LOOPBACK, Target, TcpAddress

CONNECT_S = 20
PROHIBITED, NOT_CONNECTED = 1, 2
SOCKET = "direct-streamlocal@openssh.com"
"Source: OpenSSH, PROTOCOL, 2.4."


class StreamingTransport(paramiko.Transport):
    """A transport that opens channels to Unix sockets too, of which paramiko knows nothing.

    paramiko's open_channel ends the message of a kind that it does not know where that kind's own fields begin; they
    are added as the message goes out.
    """

    _fields = threading.local()

    def open_socket(self, path: str) -> paramiko.Channel:
        """A channel to a Unix socket of the far machine; raises as open_channel does."""
        self._fields.path = path
        try:
            return self.open_channel(SOCKET, timeout=CONNECT_S)
        finally:
            self._fields.path = None

    def _send_user_message(self, data: Any) -> None:
        path = getattr(self._fields, "path", None)
        if path is not None:
            self._fields.path = None  # the first message of this thread is the one that opens the channel
            data.add_string(path)
            data.add_string("")
            data.add_int(0)
        super()._send_user_message(data)  # type: ignore[misc]


def open_to(line: paramiko.Transport, target: Target) -> paramiko.Channel:
    """A channel to a target beyond the line; raises as open_channel does."""
    if isinstance(target, TcpAddress):
        return line.open_channel("direct-tcpip", (target.host, target.port), (LOOPBACK, 0), timeout=CONNECT_S)
    assert isinstance(line, StreamingTransport)  # noqa: S101  (Line.start makes no other)
    return line.open_socket(target.path)


def refusal(error: paramiko.ChannelException) -> str:
    """Why the far side opens no channel, and what to do. Source: RFC 4254, 5.1."""
    if error.code == PROHIBITED:
        return "the site forbids it; ask its administrators to allow forwarding (AllowTcpForwarding) to you"
    return "nobody listens there" if error.code == NOT_CONNECTED else error.text


class Channels:
    """A carrier: each connection is a channel of its own."""

    def __init__(self, opened: Callable[[], paramiko.Channel]) -> None:
        self.dial = opened

    def close(self) -> None:
        """There is nothing to undo: channels are closed one by one."""
