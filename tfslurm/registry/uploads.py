"""One blob on its way into a registry: in pieces that are answered one by one, taken up where a line broke.

Registries differ in what they take, so a blob is sent in one of several manners; see docs/adr/0066.
Source: OCI distribution specification, "Pushing a blob in chunks" and "Pushing a blob monolithically".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlencode

from tfslurm.errors import RegistryError
from tfslurm.registry.errors import Answer
from tfslurm.registry.transport import SLOWEST_BYTES_PER_S, Body, Request
from tfslurm.registry.wire import Remote

PIECE, SMALL_PIECE = 32 * 2**20, 4 * 2**20
TRIES = 5
"In a row without a byte that is new."
_COMMIT_S = 600.0  # a registry on object storage copies the blob then
_OTHER_MANNER = (400, 405, 411, 413, 416, 501)
_BYTES = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")

Read = Callable[[int], Iterator[bytes]]
"The bytes of a blob from a place on, in pieces of any size up to some MiB; called again where a line breaks."
Ask = Callable[[Request], Answer]


class WrongBytes(RegistryError):
    """The bytes that were read to be pushed are not those that the digest names; none were kept."""


class Upload(NamedTuple):
    """An upload that was begun: where it goes on, and the bytes that the registry has of it."""

    location: str
    offset: int


class BlobUpload:
    """The upload of one blob of ``size`` bytes; ``keep`` gets each state from which it could be continued."""

    def __init__(
        self, remote: Remote, ask: Ask, digest: str, size: int, read: Read, keep: Callable[[Upload], None]
    ) -> None:
        self._remote, self._ask, self._digest, self._size, self._keep = remote, ask, digest, size, keep
        self._what = f"{digest[:19]}…"
        self._source = Source(digest, size, read)
        self._least = 0  # bytes of a piece that is not the last

    def run(self, begun: Upload | None, pause: Callable[[float], None]) -> None:
        """Send the blob, and have it kept under its digest.

        Raises:
            RegistryError: the registry refuses it, or the source has other bytes; nothing is kept then.
        """
        with closing(self._source):
            self._run(begun, pause)

    def _run(self, begun: Upload | None, pause: Callable[[float], None]) -> None:
        pieces = (PIECE, self._size, SMALL_PIECE) if self._size > PIECE else (self._size, SMALL_PIECE)
        for number, piece in enumerate(pieces):
            try:
                self._send(piece, begun, pause)
                break
            except _Unfit as unfit:
                if number == len(pieces) - 1 or piece <= SMALL_PIECE:
                    raise unfit.error from None
                begun = None

    def _send(self, piece: int, begun: Upload | None, pause: Callable[[float], None]) -> None:
        """Send what is not there yet, in pieces of so many bytes. Raises _Unfit where another size may do."""
        at, tries, furthest = begun, 0, begun.offset if begun else 0
        while True:
            try:
                at = self._looked(at) if at else self._begin()
                while at.offset < self._size:
                    at = self._send_piece(at, min(max(piece, self._least), self._size - at.offset))
                    self._keep(at)
                    if at.offset > furthest:
                        tries, furthest = 0, at.offset
                self._commit(at)
                break
            except RegistryError as error:
                if not error.transient or tries == TRIES:
                    raise (_Unfit(error) if isinstance(error, _WentAway) else error) from None
                tries += 1
                pause(tries)

    def _begin(self) -> Upload:
        answer = self._ask(Request("POST", self._remote.address("blobs/uploads/"), self._what))
        if answer.status != 202:
            raise self._remote.refused(self._what, answer)
        least = answer.headers.get("oci-chunk-min-length", "")
        self._least = int(least) if re.fullmatch("[0-9]{1,15}", least) else 0
        return Upload(self._next(self._remote.address("blobs/uploads/"), answer), 0)

    def _looked(self, at: Upload) -> Upload:
        """The upload as the registry has it now; begun again where it has it no more."""
        answer = self._ask(Request("GET", at.location, self._what))
        offset = _reached(answer)
        if answer.status not in (200, 202, 204) or offset is None or offset > self._size:
            return self._begin()
        location = self._next(at.location, answer) if "location" in answer.headers else at.location
        return Upload(location, 0 if offset == 1 else offset)  # 0-0 is said of an empty one too

    def _send_piece(self, at: Upload, length: int) -> Upload:
        headers = dict(_BYTES)
        if length < self._size:
            headers["Content-Range"] = f"{at.offset}-{at.offset + length - 1}"
        body = Body(length, lambda: self._source.pieces(at.offset, length))
        seconds = self._remote.patience.request_s + length / SLOWEST_BYTES_PER_S
        answer = self._ask(Request("PATCH", at.location, self._what, headers=headers, body=body, patience_s=seconds))
        if answer.status == 404 or (answer.status == 416 and at.offset):
            raise self._went_away(answer)
        if answer.status in _OTHER_MANNER:
            raise _Unfit(self._remote.refused(self._what, answer))
        if answer.status not in (201, 202, 204):
            raise self._remote.refused(self._what, answer)
        location = self._next(at.location, answer) if "location" in answer.headers else at.location
        return Upload(location, self._reached_by(answer, at.offset, length))

    def _reached_by(self, answer: Answer, begun: int, length: int) -> int:
        """The bytes that the registry has after a piece, as it says; all that was sent where it says nothing."""
        sent, offset = begun + length, _reached(answer)
        if offset is None or (offset == 1 and length == self._size):
            return sent
        if offset > sent:
            why = f"it says that it has {offset} bytes of it, and {sent} were sent"
            raise RegistryError(f"{self._remote.name}: {self._what}: {why}; ask who runs the registry")
        if offset <= begun:
            why = f"it says that it has {offset} bytes of it after {sent} were sent"
            raise _Unfit(RegistryError(f"{self._remote.name}: {self._what}: {why}; ask who runs the registry"))
        return offset

    def _commit(self, at: Upload) -> None:
        self._source.check()
        url = f"{at.location}{'&' if '?' in at.location else '?'}{urlencode({'digest': self._digest})}"
        seconds = _COMMIT_S + self._size / SLOWEST_BYTES_PER_S
        put = Request("PUT", url, self._what, headers=_BYTES, body=b"", patience_s=seconds, idle_s=_COMMIT_S)
        answer = self._ask(put)
        if answer.status in (404, 416):
            raise self._went_away(answer)
        if answer.status == 400:
            raise _Unfit(self._remote.refused(self._what, answer))
        if answer.status not in (200, 201, 204):
            raise self._remote.refused(self._what, answer)
        same_digest(self._remote, self._what, answer, self._digest)

    def _went_away(self, answer: Answer) -> RegistryError:
        return _WentAway(
            str(self._remote.refused(self._what, answer, "its upload went away: try again")), transient=True
        )

    def _next(self, url: str, answer: Answer) -> str:
        return self._remote.transport.target(url, answer, self._what, "its upload goes")


class Source:
    """The bytes of a blob as they are asked for, hashed on their way."""

    def __init__(self, digest: str, size: int, read: Read) -> None:
        self._digest, self._size, self._read = digest, size, read
        self._open = self._reading(0)  # nothing is read before a byte of it is asked for
        self._at, self._rest = -1, b""
        self._sum, self._summed = hashlib.sha256(), 0

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """So many bytes from a place on, from the same reading where that stands there.

        Raises:
            RegistryError: they end before, or cannot be read.
        """
        if self._at != offset:
            self.close()
            self._open, self._at, self._rest = self._reading(offset), offset, b""
        while length:
            piece = self._rest or self._next()
            taken, self._rest = piece[:length], piece[length:]
            if self._at <= self._summed < self._at + len(taken):
                self._sum.update(taken[self._summed - self._at :])
                self._summed = self._at + len(taken)
            self._at += len(taken)
            length -= len(taken)
            yield taken

    def close(self) -> None:
        """End the reading, and with it the connection or the file that it reads; it may stand anywhere."""
        self._open.close()

    def _reading(self, offset: int) -> Generator[bytes, None, None]:
        yield from self._read(offset)

    def check(self) -> None:
        """Compare what was sent with the digest, where all of it was sent from here.

        Raises:
            RegistryError: it is something else.
        """
        found = f"sha256:{self._sum.hexdigest()}"
        if self._summed == self._size and found != self._digest:
            why = f"the bytes to be pushed have the digest {found}; do not use this source"
            raise WrongBytes(f"{self._digest}: {why}")

    def _next(self) -> bytes:
        try:
            while not (piece := next(self._open, None)):
                if piece is None:
                    why = f"its source ended after {self._at} of {self._size} bytes; try again"
                    raise RegistryError(f"{self._digest}: {why}")
        except OSError as error:
            raise RegistryError(f"{self._digest}: its bytes cannot be read: {error.strerror}") from error
        return piece


class _WentAway(RegistryError):
    """An upload that the registry has no more, or has otherwise than it said."""


class _Unfit(Exception):
    """The registry does not take a blob in this manner; the error counts if it takes it in no other."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(str(error))
        self.error = error


def same_digest(remote: Remote, what: str, answer: Answer, digest: str) -> None:
    """Compare the digest that an answer names, if it names one.

    Raises:
        RegistryError: it names another.
    """
    says = answer.headers.get("docker-content-digest", digest)
    if says != digest:
        why = f"its Docker-Content-Digest header says {says[:140]!r} for {digest}"
        raise RegistryError(f"{remote.name}: {what}: {why}; do not push there, and tell who runs it")


def _reached(answer: Answer) -> int | None:
    """The bytes that an upload has, by its Range (with or without a unit); None where it does not say."""
    found = _RANGE.fullmatch(answer.headers.get("range", ""))
    return int(found[1]) + 1 if found else None
