"""The door in front of a server that asks for no token. The server behind it is a stand-in."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.test_channels import INSIDE, TOKEN

KNOWN = {"Authorization": f"token {TOKEN}"}


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The program in the container, as a module."""
    monkeypatch.syspath_prepend(str(INSIDE))
    import door  # type: ignore[import-not-found,unused-ignore]

    yield door
    sys.modules.pop("door")


class Behind(http.server.BaseHTTPRequestHandler):
    """Answers what it was asked."""

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        secret = [key for key in ("Cookie", "Authorization") if self.headers[key]]
        body = json.dumps([self.command, self.path, sent, secret]).encode()
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("X-Own", "kept")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(server: http.server.HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def door(inside: Any, folder: Path, **more: Any) -> Iterator[tuple[int, http.server.HTTPServer]]:
    """The port of the door, and what is behind it."""
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    front = inside.Door(("127.0.0.1", 0), inside.Handler)
    front.token, front.used, front.behind = TOKEN, str(folder / "used"), behind.server_address[1]
    for name, value in more.items():
        setattr(front, name, value)
    with served(behind), served(front) as port:
        yield port, behind


def ask(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, str, Any]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.request(method, path, body, headers)
    answer = line.getresponse()
    text = answer.read().decode()
    line.close()
    return answer.status, text, answer.headers


def test_the_door_lets_in_who_has_the_token_and_hands_no_token_on(inside: Any, tmp_path: Path) -> None:
    with door(inside, tmp_path) as (port, _):
        for path, headers in (
            ("/", {}),
            ("/?token=", {}),
            (f"/?token={TOKEN}x", {}),
            (f"/?Token={TOKEN}", {}),
            ("/", {"Authorization": f"token {TOKEN[:-1]}"}),
            ("/", {"Authorization": TOKEN}),
            ("/", {"Cookie": f"tfslurm={TOKEN}"}),
            ("/", {"Cookie": "tfslurm-=é".encode().decode("latin-1")}),
        ):
            for method in ("GET", "POST", "HEAD"):
                assert ask(port, path, method, **headers)[0] == 403, (path, headers)
        assert not (tmp_path / "used").exists(), "a stranger is no user"
        status, text, headers = ask(port, f"//x/?a=1&token={TOKEN}&b=%2F")
        assert (status, text, headers["Location"]) == (303, "", "/x/?a=1&b=%2F")
        cookie, *rest = headers["Set-Cookie"].split("; ")
        assert rest == ["Path=/", "HttpOnly", "SameSite=Lax"]
        status, text, headers = ask(port, "/data?x=1", Cookie=f"other=1; {cookie}")
        assert (status, json.loads(text), headers["X-Own"]) == (200, ["GET", "/data?x=1", "", []], "kept")
        assert json.loads(ask(port, "/data", "POST", "[1]", **KNOWN)[1]) == ["POST", "/data", "[1]", []]
        assert ask(port, "/none", **KNOWN)[0] == 404
        assert ask(port, "/", "HEAD", **KNOWN)[:2] == (200, "")
        assert (tmp_path / "used").exists()


def test_the_door_refuses_what_is_too_large_and_says_when_nothing_is_behind_it(inside: Any, tmp_path: Path) -> None:
    with door(inside, tmp_path) as (port, behind):
        for size in (str(inside.MOST_BYTES + 1), "-1", "x"):
            assert ask(port, "/", "POST", None, **{"Content-Length": size}, **KNOWN)[0] == 413
        behind.server_close()
        assert ask(port, "/", **KNOWN)[0] == 502


def test_a_server_for_programs_takes_the_token_in_the_address_and_refuses_in_json(inside: Any, tmp_path: Path) -> None:
    with door(inside, tmp_path, is_api=True, most_bytes=3) as (port, behind):
        assert json.loads(ask(port, f"/m?a=1&token={TOKEN}", "POST", "[1]")[1]) == ["POST", "/m?a=1", "[1]", []]
        assert json.loads(ask(port, "/m", Authorization=f"Bearer {TOKEN}")[1]) == ["GET", "/m", "", []]
        status, text, _ = ask(port, "/m?token=x", "POST", "[1]")
        assert (status, "it has the token" in json.loads(text)["error"]) == (403, True)
        status, text, _ = ask(port, "/m", "POST", "[11]", **KNOWN)
        assert (status, json.loads(text)["error"]) == (413, "too much at once: 3 bytes is the most")
        assert ask(port, "/m", "POST", None, **{"Transfer-Encoding": "chunked"}, **KNOWN)[0] == 411
        behind.server_close()
        assert "error" in json.loads(ask(port, "/m", **KNOWN)[1])


def test_who_waits_to_be_told_to_send_is_told(inside: Any, tmp_path: Path) -> None:
    with door(inside, tmp_path) as (port, _), socket.create_connection(("127.0.0.1", port), 30) as line:
        head = f"POST / HTTP/1.1\r\nAuthorization: token {TOKEN}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        line.sendall(head.encode())
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"[1]")
        text = rest(line)
        assert b" 200 OK" in text and b'"[1]", []]' in text


@pytest.mark.parametrize(
    ("head", "body", "answer"),
    [("GET /\xe9", b"", b" 400 "), ("POST /", b"[1]", b'"[1]", []]')],
    ids=["a-path-that-is-no-text", "two-lengths"],
)
def test_an_odd_request_is_answered(inside: Any, tmp_path: Path, head: str, body: bytes, answer: bytes) -> None:
    own = f"Authorization: token {TOKEN}\r\nContent-Length: {len(body)}\r\nContent-Length: 9\r\n"
    with door(inside, tmp_path) as (port, _), socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(f"{head} HTTP/1.1\r\n{own}\r\n".encode("latin-1") + body)
        assert answer in rest(line)


def rest(line: socket.socket) -> bytes:
    """All that comes yet."""
    return b"".join(iter(lambda: line.recv(1000), b""))


def test_who_shows_no_token_makes_room_and_is_hung_up_on(
    inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(inside, "PATIENCE_S", 0.0)
    with door(inside, tmp_path) as (port, _):
        silent = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(3)]
        assert silent[0].recv(1) == b"", "the oldest made room"
        silent[2].sendall(b"GET / HT")
        monkeypatch.setattr(inside, "PATIENCE_S", 60.0)
        assert ask(port, "/", **KNOWN)[0] == 200
        monkeypatch.setattr(inside, "SHOWS_S", 0.0)
        for each in silent:
            assert each.recv(1) == b""
            each.close()
        monkeypatch.setattr(inside, "SHOWS_S", 20.0)
        assert ask(port, "/", **KNOWN)[0] == 200


def test_who_goes_before_all_is_sent_asks_for_nothing(inside: Any, tmp_path: Path) -> None:
    with door(inside, tmp_path) as (port, behind), socket.create_connection(("127.0.0.1", port), 30) as line:
        behind.server_close()  # who asks for something is told that nothing answers
        line.sendall(f"POST / HTTP/1.1\r\nAuthorization: token {TOKEN}\r\nContent-Length: 3\r\n\r\n[".encode())
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
