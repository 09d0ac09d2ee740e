"""A door in front of a server that asks for no token: what comes with the token of the service is handed on.

It listens where relay.py connects. A browser gets a cookie for the token that it comes with; of a server for programs
(``is_api``) the token in the address is enough, and refusals are JSON. It holds so many connections at once; of those
that have shown no token the oldest makes room. board.py and model_server.py open it. Needs Python 3.6 and later.
"""

# ruff: noqa: UP006, UP031, UP035, PTH123, SIM105 - an image's Python may be as old as 3.6
import hashlib
import hmac
import http.client
import http.server
import json
import re
import socket
import socketserver
import threading
import time
import urllib.parse
from typing import Any, Dict

HOST, PORT, BEHIND = "127.0.0.1", 8888, 8889
MOST_BYTES = 2**24
"Of what a page sends."
MOST_AT_ONCE = 128
"Connections."
PATIENCE_S = 1.0
"After which one that has shown no token makes room for another."
SHOWS_S = 20.0
"In which a connection shows the token."
DRAIN_S = 2.0
CHUNK_BYTES = 2**16
HANGS_S = 300.0
BETWEEN = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
"Headers of one connection (RFC 9110, 7.6.1), and the one that http.client writes itself."


class Door(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Hands on what comes with the token, one request for each connection."""

    daemon_threads = True
    request_queue_size = 128
    token = used = ""
    behind = BEHIND
    most_bytes = MOST_BYTES
    is_api = False

    def __init__(self, *args: Any) -> None:
        self.guard = threading.Lock()
        self.open = 0
        self.waiting: Dict[Any, float] = {}
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, and make room for it; where there are twice as many, and none makes room, it is closed."""
        with self.guard:
            if self.open >= MOST_AT_ONCE and self.waiting:
                oldest = min(self.waiting, key=lambda each: self.waiting[each])
                if time.monotonic() - self.waiting[oldest] >= PATIENCE_S:
                    del self.waiting[oldest]
                    hang_up(oldest)
            is_full = self.open >= 2 * MOST_AT_ONCE
            if not is_full:
                self.open += 1
                self.waiting[request] = time.monotonic()
        if is_full:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.leave(request)

    def service_actions(self) -> None:
        """Twice a second: hang up on who has shown no token for too long."""
        with self.guard:
            late = [each for each, since in self.waiting.items() if time.monotonic() - since > SHOWS_S]
            for each in late:
                del self.waiting[each]
                hang_up(each)

    def leave(self, request: Any) -> None:
        with self.guard:
            self.waiting.pop(request, None)
            self.open -= 1

    def let_in(self, request: Any) -> None:
        """It has shown the token: somebody uses the server."""
        with self.guard:
            self.waiting.pop(request, None)
        with open(self.used, "w"):
            pass

    def handle_error(self, *_: object) -> None:
        """Nothing: a page was closed before it had come."""


def hang_up(line: Any) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    timeout = HANGS_S
    server_version, sys_version = "tfslurm", ""
    error_message_format, error_content_type = "%(message)s\n", "text/plain"
    server: Door

    def do_GET(self) -> None:
        """Let the request in, or refuse it."""
        path, _, query = self.path.partition("?")
        asked = urllib.parse.parse_qsl(query, keep_blank_values=True)
        is_named = any(key == "token" and self.is_token(value) for key, value in asked)
        if is_named:
            rest = urllib.parse.urlencode([each for each in asked if each[0] != "token"])
            path = "/" + path.lstrip("/") + ("?" + rest if rest else "")
        if is_named and not self.server.is_api:
            self.send_response(303)
            self.send_header("Set-Cookie", "%s=%s; Path=/; HttpOnly; SameSite=Lax" % (self.cookie, self.server.token))
            self.send_header("Location", path)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif is_named or self.is_known():
            self.server.let_in(self.connection)
            self.hand_on(path if is_named else self.path)
        else:
            self.refuse(403, "open the URL that tfslurm printed: it has the token\n")

    do_POST = do_HEAD = do_GET

    @property
    def cookie(self) -> str:
        """Its own name for each service: all ports of a machine share their cookies."""
        return "tfslurm-" + hashlib.sha256(self.server.token.encode()).hexdigest()[:16]

    def is_known(self) -> bool:
        """Whether the request has the token in its cookie or its header."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() in ("token", "bearer") and self.is_token(token):
            return True
        pairs = (each.strip().partition("=") for each in self.headers.get("Cookie", "").split(";"))
        return any(name == self.cookie and self.is_token(value) for name, _, value in pairs)

    def is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.server.token.encode())

    def hand_on(self, path: str) -> None:
        """Ask the server behind the same, without the token, and hand on what it answers."""
        size = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            self.refuse(411, "send it whole, with its Content-Length\n")
            return
        if not re.match("[0-9]{1,18}$", size) or int(size) > self.server.most_bytes:
            self.refuse(413, "too much at once: %d bytes is the most\n" % self.server.most_bytes)
            return
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in {*BETWEEN, "cookie", "authorization", "expect", "content-length"}
        }
        body = self.rfile.read(int(size)) if int(size) else None
        if body is not None and len(body) < int(size):
            return  # who sent it has gone
        line = http.client.HTTPConnection(HOST, self.server.behind, timeout=HANGS_S)
        try:
            line.request(self.command, path, body, headers)
            answer = line.getresponse()
        except (ValueError, http.client.InvalidURL):
            self.refuse(400, "the path has characters that no URL has; write them as %20 is written\n")
            return
        except (OSError, http.client.HTTPException):
            self.refuse(502, "the server behind the door does not answer\n")
            return
        try:
            self.send_response_only(answer.status, answer.reason)
            for key, value in answer.getheaders():
                if key.lower() not in BETWEEN:
                    self.send_header(key, value)
            self.end_headers()
            while self.command != "HEAD":
                chunk = answer.read(CHUNK_BYTES)
                if not chunk:
                    break
                self.wfile.write(chunk)
        finally:
            line.close()

    def refuse(self, status: int, text: str) -> None:
        """Answer with a reason; then read on a little, for who still sends would not see it."""
        kind = "text/plain"
        if self.server.is_api:
            kind, text = "application/json", json.dumps({"error": text.strip()})
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())
        if self.command == "POST":
            self.drain()

    def drain(self) -> None:
        self.wfile.flush()
        until = time.monotonic() + DRAIN_S
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(DRAIN_S)
            while time.monotonic() < until and self.connection.recv(CHUNK_BYTES):
                pass
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Nothing: the first line of a request has the token in it."""
