"""TensorBoard in the container of a service, behind a door that asks for the service's token: it has none of its own.

    board.py RUN...

RUN is a JSON list of a name and the values of the run's parameters; the outputs of the first are mounted at /runs/0.
TensorBoard gets a folder of links to what they hold, in the container's own memory: nothing is written to the runs. The
parameters' values for its HParams page are beside the links.

The door listens where relay.py connects; a browser gets a cookie for the token that it comes with. Needs nothing but
Python 3.6 and later, and TensorBoard. Ends where TensorBoard ends.
"""

# ruff: noqa: UP006, UP031, UP035, PTH102, PTH118, PTH123, PTH211 - an image's Python may be as old as 3.6
import hashlib
import hmac
import http.client
import http.cookies
import http.server
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import urllib.parse
from typing import Any, Dict, List, Sequence

STATE = "/dev/shm/tfslurm-service"  # noqa: S108 - the container's own
RUNS = "/runs"
HOST, PORT, BEHIND = "127.0.0.1", 8888, 8889
LOOK_S = 2.0
RELOAD_S = 5
MOST_LINKS = 1000
"Of one run."
MOST_BYTES = 2**24
"Of what a page sends."
CHUNK_BYTES = 2**16
HANGS_S = 300.0
BETWEEN = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
"Headers of one connection (RFC 9110, 7.6.1), and the one that http.client writes itself."


def main(words: Sequence[str]) -> int:
    runs = [json.loads(word) for word in words]
    logs = os.path.join(STATE, "logs")
    os.mkdir(logs, 0o700)
    for name, values in runs:
        os.mkdir(os.path.join(logs, name))
        note_parameters(os.path.join(logs, name), name, values)
    link(logs, runs)
    door = Door((HOST, PORT), Handler)
    door.token, door.used = read(os.path.join(STATE, "token")), os.path.join(STATE, "used")
    where = ["--host", HOST, "--port", str(BEHIND), "--logdir", logs, "--reload_interval", str(RELOAD_S)]
    own = dict(os.environ, TMPDIR=STATE)  # what it writes there is of no use afterwards
    board = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *where], env=own)
    signal.signal(signal.SIGTERM, lambda *_: board.terminate())
    threading.Thread(target=door.serve_forever, daemon=True).start()
    while True:
        try:
            code = board.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            link(logs, runs)
        else:
            return code if code >= 0 else 128 - code


def link(logs: str, runs: Sequence[List[Any]], outputs: str = RUNS) -> None:
    """Link what the runs have by now: folders, and files of events."""
    for at, (name, _) in enumerate(runs):
        try:
            found = sorted(os.scandir(os.path.join(outputs, str(at))), key=lambda each: each.name)[:MOST_LINKS]
        except OSError:
            continue
        for each in found:
            place = os.path.join(logs, name, each.name)
            if not os.path.lexists(place) and (each.is_dir() or "tfevents" in each.name):
                os.symlink(each.path, place)


def note_parameters(folder: str, name: str, values: Dict[str, Any]) -> None:
    """Write down the values for the page HParams, with TensorBoard's own code; without them the rest is there."""
    if not values:
        return
    try:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter

        noted = summary_v2.hparams_pb(values, trial_id=name)
        event = event_pb2.Event(wall_time=0, step=0, summary=noted)
        with open(os.path.join(folder, "events.out.tfevents.0.tfslurm"), "wb") as file:
            RecordWriter(file).write(event_pb2.Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
            RecordWriter(file).write(event.SerializeToString())
    except Exception as error:  # whatever this version of TensorBoard lacks
        print("tfslurm: tensorboard: %s: no parameters for HParams: %s" % (name, error), file=sys.stderr)


class Door(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Hands on what comes with the token, one request for each connection."""

    daemon_threads = True
    request_queue_size = 128
    token = used = ""
    behind = BEHIND

    def handle_error(self, *_: object) -> None:
        """Nothing: a page was closed before it had come."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    timeout = HANGS_S
    server_version = "tfslurm"
    server: Door

    def do_GET(self) -> None:
        """Let the request in, or refuse it."""
        path, _, query = self.path.partition("?")
        asked = urllib.parse.parse_qsl(query, keep_blank_values=True)
        given = [value for key, value in asked if key == "token"]
        if any(self.is_token(each) for each in given):
            rest = urllib.parse.urlencode([each for each in asked if each[0] != "token"])
            self.send_response(303)
            self.send_header("Set-Cookie", "%s=%s; Path=/; HttpOnly; SameSite=Lax" % (self.cookie, self.server.token))
            self.send_header("Location", "/" + path.lstrip("/") + ("?" + rest if rest else ""))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.is_known():
            self.hand_on()
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
        if kind == "token" and self.is_token(token):
            return True
        pairs = (each.strip().partition("=") for each in self.headers.get("Cookie", "").split(";"))
        return any(name == self.cookie and self.is_token(value) for name, _, value in pairs)

    def is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.server.token.encode())

    def hand_on(self) -> None:
        """Ask TensorBoard the same, without the token, and hand on what it answers."""
        with open(self.server.used, "w"):
            pass
        size = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not size.isdigit() or int(size) > MOST_BYTES:
            self.refuse(413, "too much at once\n")
            return
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in {*BETWEEN, "cookie", "authorization"}
        }
        line = http.client.HTTPConnection(HOST, self.server.behind, timeout=HANGS_S)
        try:
            line.request(self.command, self.path, self.rfile.read(int(size)) if int(size) else None, headers)
            answer = line.getresponse()
        except (OSError, http.client.HTTPException):
            self.refuse(502, "TensorBoard does not answer\n")
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
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the first line of a request has the token in it."""


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
