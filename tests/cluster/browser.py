"""The little of a browser that a notebook's test needs: HTTP, and a kernel that runs a cell over its websocket."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Browser:
    """Somebody on this machine who knows a port, and a token or ''."""

    port: int
    token: str = ""

    def ask(self, path: str, value: object = None, method: str = "") -> tuple[int, Any]:
        """The status and the JSON that come back; the text where it is none. With a value it is a POST."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = None if value is None else json.dumps(value)
        headers = {"Authorization": f"token {self.token}"} if self.token else {}
        line.request(method or ("POST" if body else "GET"), path, body, headers)
        answer = line.getresponse()
        text = answer.read()
        line.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode()

    def kernel(self) -> str:
        """The id of a new kernel."""
        status, kernel = self.ask("/api/kernels", {"name": "python3"})
        assert status == 201, kernel
        return str(kernel["id"])

    def run(self, kernel: str, code: str) -> str:
        """What a cell prints."""
        with Socket(self, f"/api/kernels/{kernel}/channels") as channels:
            own = uuid4().hex
            header = {"msg_id": own, "username": "", "session": uuid4().hex, "msg_type": "execute_request"}
            content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
            asked = {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
            channels.send(json.dumps({**asked, "channel": "shell", "buffers": []}))
            printed = ""
            while True:
                said = json.loads(channels.next())
                if said["parent_header"].get("msg_id") != own:
                    continue
                if said["msg_type"] == "stream":
                    printed += said["content"]["text"]
                assert said["msg_type"] != "error", said["content"]
                if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
                    return printed


class Socket:
    """A websocket (RFC 6455) of texts; a context manager."""

    def __init__(self, browser: Browser, path: str) -> None:
        self._line = socket.create_connection(("127.0.0.1", browser.port), 60)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{browser.port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Authorization: token {browser.token}"]
        self._line.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._line.makefile("rb")
        assert b" 101 " in self._file.readline()
        while self._file.readline().strip():
            pass

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._line.close()

    def send(self, text: str) -> None:
        """Send a text, masked by zeros."""
        data = text.encode()
        assert len(data) < 2**16
        self._line.sendall(struct.pack(">BBH4x", 0x81, 0x80 | 126, len(data)) + data)

    def next(self) -> str:
        """The next text; pings are passed over."""
        while True:
            kind, size = struct.unpack(">BB", self._file.read(2))
            if size >= 126:
                (size,) = struct.unpack(">H" if size == 126 else ">Q", self._file.read(2 if size == 126 else 8))
            data = self._file.read(size)
            if kind & 0x0F == 1:
                return data.decode()
