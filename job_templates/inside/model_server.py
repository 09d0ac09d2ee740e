"""A saved model behind the REST API of TensorFlow Serving, in the container of a service, with the image's TensorFlow.

    model_server.py SERVED

SERVED is JSON: the model's `name` and `version`, the `run` that made it and its `path` there, and `sha256`, that of the
list of its files as sha256sum writes it (of a file: its own). The model is mounted at /model, or as /model.keras.
This holds the files against `sha256`, opens door.py, and starts itself once more behind it, to load the model and to
answer; where a request ends that process by a signal, it is started again, a few times. Ends with 78 where the model is
another, or cannot be loaded.

Needs Python 3.8 and later, and TensorFlow 2.
"""

# ruff: noqa: UP006, UP031, UP035, UP037, PTH104, PTH107, PTH110
# ruff: noqa: PTH113, PTH114, PTH118, PTH123 - an image's Python may be as old as 3.8
import hashlib
import http.server
import importlib.util
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from typing import Any, List, Mapping, Sequence

STATE = "/dev/shm/tfslurm-service"  # noqa: S108 - the container's own
FOLDER, FILE = "/model", "/model.keras"
BEHIND = "--behind"
ITSELF = (sys.executable, __file__)
MOST_BYTES = 2**25
"Of a request."
MOST_STARTS = 5
CANNOT = 78
CHUNK_BYTES = 2**20


class Refused(Exception):
    """Why no model is served."""


def main(words: Sequence[str]) -> int:
    try:
        if words[0] == BEHIND:
            return serve(json.loads(words[1]))
        return guard(json.loads(words[0]), words[0])
    except Refused as error:
        print("tfslurm: serve: %s" % error, file=sys.stderr, flush=True)
        return CANNOT


def guard(served: Mapping[str, Any], word: str) -> int:
    """Open the door, and keep a process behind it that answers; its exit code."""
    notice("looks whether the model is the one that was asked for")
    check(place(), served)
    notice("loads the model")
    front = beside("door")
    door = front.Door((front.HOST, front.PORT), front.Handler)
    door.token, door.used = read(os.path.join(STATE, "token")), os.path.join(STATE, "used")
    door.is_api, door.most_bytes = True, MOST_BYTES
    threading.Thread(target=door.serve_forever, daemon=True).start()
    children: List["subprocess.Popen[bytes]"] = []
    signal.signal(signal.SIGTERM, lambda *_: stop(children))
    loaded = os.path.join(STATE, "loaded")
    while True:
        children.append(subprocess.Popen([*ITSELF, BEHIND, word]))
        code = children[-1].wait()
        if code >= 0 or len(children) >= MOST_STARTS or not os.path.exists(loaded):
            return code if code >= 0 else 128 - code
        os.remove(loaded)
        notice("a request ended the model server by signal %d: it loads the model again" % -code)
        check(place(), served)  # by now the run may have written another


def stop(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    """End with the process behind."""
    for each in children[-1:]:
        each.kill()
    os._exit(143)


def place() -> str:
    """Where the model is."""
    return FILE if os.path.isfile(FILE) else FOLDER


def check(where: str, served: Mapping[str, Any]) -> None:
    """Refuse a model that is not the one that was asked for."""
    found = contents_sha256(where)
    if found != served["sha256"]:
        raise Refused(
            "%s of %s has changed: its contents are sha256:%s, and were sha256:%s when it was asked for"
            % (served["path"], served["run"], found, served["sha256"])
        )


def contents_sha256(where: str) -> str:
    """The sha256 of a file; of a folder that of a line for each file, `SHA256  PATH`, sorted by the paths' bytes."""
    if os.path.isfile(where):
        return file_sha256(where)
    lines = []
    for folder, folders, files in os.walk(where):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) or (name in files and not os.path.isfile(path)):
                raise Refused("%s is a link, or no file" % os.path.relpath(path, where))
        for name in files:
            path = os.path.join(folder, name)
            lines.append((os.fsencode(os.path.relpath(path, where)), file_sha256(path)))
    listed = b"".join(digest.encode() + b"  " + path + b"\n" for path, digest in sorted(lines))
    return hashlib.sha256(listed).hexdigest()


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def serve(served: Mapping[str, Any]) -> int:
    """Load the model, and answer, until this process is ended."""
    import numpy
    import tensorflow

    front, rest = beside("door"), beside("served_model")
    try:
        model = rest.Model(served, rest.load(tensorflow, place()), numpy, tensorflow)
    except rest.Refused as error:
        raise Refused(str(error)) from None
    server = Server((front.HOST, front.BEHIND), Handler)
    server.model = model
    with open(os.path.join(STATE, "loaded"), "w"):
        pass
    print("tfslurm: serve: %s is loaded" % served["name"], flush=True)
    server.serve_forever()
    return 0


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers what the door hands on, which bounds how many connections there are."""

    daemon_threads = True
    request_queue_size = 128
    model: Any

    def handle_error(self, *_: object) -> None:
        """Nothing: who asked has gone."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = "tfslurm", ""

    def do_GET(self) -> None:
        self.say(*self.server.model.answered(self.path, None))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MOST_BYTES))
        self.say(*self.server.model.answered(self.path, body))

    def say(self, status: int, value: Any) -> None:
        text = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Tfslurm-Model-Sha256", str(self.server.model.served["sha256"]))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing: a log of every request would fill the job's."""


def notice(text: str) -> None:
    """Say something to the log, and to whoever is connected."""
    print("tfslurm: serve: %s" % text, flush=True)
    part = os.path.join(STATE, "notice.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.rename(part, part[: -len(".part")])


def beside(name: str) -> Any:
    """The module that lies beside this file, under a name like its own."""
    path = "%s%s.py" % (__file__[: -len("model_server.py")], name)
    spec = importlib.util.spec_from_file_location(name, path)
    if not (spec and spec.loader):
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
