"""The way to a server in a container: carries connections to it over standard input and output, as a step of the job.

Only the job's own user can make a step of it, so it also hands over the server's token. It waits until the server
answers (service.py writes that down) and ends with its input. A frame is a byte for its kind, 4 for the connection's
number, 4 for the length of its text, then the text; each side says how much more of a connection it has room for.

Needs Python 3.6 and later. The other end is tfslurm/services/channels.py.
"""

# ruff: noqa: SIM105, UP006, UP035, PTH118, PTH123 - an image's Python may be as old as 3.6
import json
import os
import socket
import struct
import threading
import time
from typing import Dict, List

STATE = "/dev/shm/tfslurm-service"  # noqa: S108 - the container's own
HOST, PORT = "127.0.0.1", 8888
HELLO, OPEN, DATA, END, CLOSE, MORE, SAID, PING = range(8)
HEAD = struct.Struct(">BII")
CHUNK_BYTES = 2**16
WINDOW_BYTES = 2**18
"""What may be under way on one connection in one direction."""
LOOK_S = 0.2
PING_S = 15.0
SILENT_S = 120.0
"""The other side says something every 15 s. A line that is lost ends no process by itself for a long time."""


class Connection:
    """One connection to the server, and how many bytes of it the other side has room for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.changed = threading.Condition()
        self.room = WINDOW_BYTES
        self.coming: List[bytes] = []
        self.has_ended = self.is_closed = False

    def put(self, data: bytes) -> None:
        with self.changed:
            self.coming.append(data)
            self.changed.notify_all()

    def next(self) -> bytes:
        with self.changed:
            while not (self.coming or self.has_ended or self.is_closed):
                self.changed.wait()
            return self.coming.pop(0) if self.coming else b""

    def take_room(self) -> int:
        with self.changed:
            while not (self.room or self.is_closed):
                self.changed.wait()
            return 0 if self.is_closed else min(self.room, CHUNK_BYTES)

    def change(self, room: int = 0, ended: bool = False, closed: bool = False) -> None:
        with self.changed:
            self.room += room
            self.has_ended, self.is_closed = self.has_ended or ended, self.is_closed or closed
            self.changed.notify_all()


WRITING = threading.Lock()


def send(kind: int, number: int, data: bytes = b"") -> None:
    """Write one frame; nobody is there any more where it cannot be written."""
    view = memoryview(HEAD.pack(kind, number, len(data)) + data)
    with WRITING:
        try:
            while view:
                view = view[os.write(1, view) :]
        except OSError:
            os._exit(0)


def connect(state: str = STATE, port: int = PORT) -> None:
    """Carry connections until standard input ends."""
    threading.Thread(target=greet, args=(state,), daemon=True).start()
    connections: Dict[int, Connection] = {}
    heard, watched = [0.0], False
    while True:
        kind, number, size = HEAD.unpack(exactly(HEAD.size))
        data = exactly(size) if size <= CHUNK_BYTES else exactly(-1)
        heard[0] = time.monotonic()
        if kind == PING and not watched:  # an older tfslurm sends none
            watched = True
            threading.Thread(target=watch, args=(heard,), daemon=True).start()
        known = connections.get(number)
        if kind == OPEN:
            connections[number] = Connection(number)
            threading.Thread(target=carry, args=(connections, number, port), daemon=True).start()
        elif known and kind == DATA:
            known.put(data)
        elif known and kind == MORE:
            known.change(room=struct.unpack(">I", data)[0])
        elif known and kind in (END, CLOSE):
            known.change(ended=True, closed=kind == CLOSE)


def watch(heard: List[float]) -> None:
    """End where the other side, which says that it is there, has not done so for too long: the step ends with this."""
    while time.monotonic() - heard[0] < SILENT_S:
        time.sleep(LOOK_S)
    os._exit(0)


def exactly(size: int) -> bytes:
    """So many bytes of standard input; this process ends where it does."""
    parts = b""
    while len(parts) < size:
        chunk = os.read(0, size - len(parts))
        if not chunk:
            os._exit(0)
        parts += chunk
    if size < 0:
        os._exit(1)
    return parts


def greet(state: str) -> None:
    """Hand over the token when the server answers, then each notice as it comes."""
    pinged, told = time.monotonic(), ""
    is_greeted = False
    while True:
        ready_at = "" if is_greeted else read(os.path.join(state, "ready"))
        if ready_at:
            hello = {"token": read(os.path.join(state, "token")), "ready_at": ready_at}
            send(HELLO, 0, json.dumps(hello).encode())
            is_greeted = True
        text = read(os.path.join(state, "notice"))
        if text != told:
            told = text
            send(SAID, 0, text.encode()[:1000])
        if time.monotonic() - pinged > PING_S:
            pinged = time.monotonic()
            send(PING, 0)
        time.sleep(1.0 if is_greeted else LOOK_S)


def carry(connections: Dict[int, Connection], number: int, port: int) -> None:
    """One connection from its first byte to its last."""
    known = connections[number]
    try:
        line = socket.create_connection((HOST, port), 20)
    except OSError:
        pass
    else:
        line.settimeout(None)
        back = threading.Thread(target=read_server, args=(line, known), daemon=True)
        back.start()
        write_server(line, known)
        back.join()
        line.close()
    send(CLOSE, number)
    connections.pop(number, None)


def read_server(line: socket.socket, known: Connection) -> None:
    """Hand on what the server says, as far as there is room."""
    try:
        while True:
            room = known.take_room()
            chunk = line.recv(room) if room else b""
            if not chunk:
                break
            known.change(room=-len(chunk))
            send(DATA, known.number, chunk)
    except OSError:
        pass
    send(END, known.number)


def write_server(line: socket.socket, known: Connection) -> None:
    """Hand on what the user's side says, and its end: the whole connection's where it has closed."""
    try:
        while True:
            chunk = known.next()
            if not chunk:
                break
            line.sendall(chunk)
            send(MORE, known.number, struct.pack(">I", len(chunk)))
    except OSError:
        known.change(closed=True)
    try:
        line.shutdown(socket.SHUT_RDWR if known.is_closed else socket.SHUT_WR)
    except OSError:
        pass


def read(path: str) -> str:
    """The text of a file; '' where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    connect()
