"""Requests to one place over HTTP: connections, deadlines, redirects, and bodies that are read within a limit.

Source: RFC 9110 (redirects, content codings).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import requests
import urllib3
from requests.auth import AuthBase

from tfslurm import __version__
from tfslurm.errors import RegistryError
from tfslurm.registry.certificates import trusted
from tfslurm.registry.deadline import Deadline, WatchedAdapter
from tfslurm.registry.errors import Answer, Route, WrongSetting, silence, too_slow
from tfslurm.registry.proxies import proxy_of
from tfslurm.registry.realms import is_loopback, origin

MANIFEST_LIMIT = 4 * 2**20
CONFIG_LIMIT = 8 * 2**20
REDIRECTS = (301, 302, 303, 307, 308)
SLOWEST_BYTES_PER_S = 50_000
"Of a blob: what is slower ends."
_CONNECT_S, _READ_S = 5.0, 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for one request with its whole answer, for everything that one place is asked, and for all places."""

    request_s: float = 45.0
    place_s: float = 180.0
    pin_s: float = 400.0


class Body(Iterable[bytes]):
    """The body of a request, sent as it comes: ``size`` bytes, in the pieces that a call of ``pieces`` gives. A request
    that is sent again, after a token was got for it, calls it again."""

    def __init__(self, size: int, pieces: Callable[[], Iterator[bytes]]) -> None:
        self._size, self._pieces = size, pieces

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces()


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``what`` says in words what is asked for; ``limit``: the bytes of its answer that are read at most;
    ``patience_s``: for it with its whole answer, 0: as for any; ``idle_s``: for each read of the answer alone."""

    method: str
    url: str
    what: str
    authorization: str = ""
    accept: str = "*/*"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    form: Mapping[str, str] | None = None
    body: bytes | Body | None = None
    limit: int = MANIFEST_LIMIT
    patience_s: float = 0.0
    idle_s: float = _READ_S


class _Header(AuthBase):
    """Sets Authorization, or nothing: either way requests then leaves ~/.netrc unread."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.value:
            request.headers["Authorization"] = self.value
        return request


class _Session(requests.Session):
    """Leaves redirects alone; requests reads their bodies whole and parses their targets even if it follows none."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No target."""


class Transport:
    """The connections to a place that messages call ``name``, and the time that it has."""

    def __init__(self, name: str, patience: Patience) -> None:
        self.name, self.patience = name, patience
        self._ends = time.monotonic() + patience.place_s
        self._session = _Session()
        self._session.trust_env = False  # proxies and certificates are chosen here, and checked
        self._adapter = WatchedAdapter()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._session.headers.update({"User-Agent": f"tfslurm/{__version__}", "Accept-Encoding": "identity"})

    def close(self) -> None:
        """End every connection."""
        self._session.close()

    def send(self, asked: Request) -> Answer:
        """One request and its whole answer."""
        with self.answering(asked) as response:
            return Answer(response.status_code, headers_of(response), self.read(response, asked.what, asked.limit))

    @contextmanager
    def answering(self, asked: Request) -> Iterator[requests.Response]:
        """The answer to a request, of which nothing is read but its headers; its time ends with the block.

        Raises:
            RegistryError: no answer comes, or it, or what the block reads of it, has not ended in time.
        """
        _, host, port = origin(asked.url)
        place, what = host if port in (80, 443) else f"{host}:{port}", asked.what
        seconds = min(asked.patience_s or self.patience.request_s, self._ends - time.monotonic())
        if not host:
            raise RegistryError(
                f"{self.name}: {what}: {asked.url[:200]!r} is no address of a registry; correct the name"
            )
        if seconds <= 0:
            raise too_slow(self.name, what, place, max(0.0, self.patience.place_s))
        route, proxy = self._route(asked.url, what)
        with Deadline(seconds) as deadline:
            try:
                with deadline.connecting():
                    response = self._answer_to(asked, proxy)
                with response:
                    yield response
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if deadline.passed:
                    raise too_slow(self.name, what, place, seconds) from None
                raise silence(self.name, what, place, error, route) from None
            if deadline.passed:  # an answer without a length looks whole when its connection ends
                raise too_slow(self.name, what, place, seconds)

    def _answer_to(self, asked: Request, proxy: str) -> requests.Response:
        """The library's own answer. Each write has the time that a connection has, so a body gets more of it."""
        return self._session.request(
            asked.method,
            asked.url,
            headers={"Accept": asked.accept, **asked.headers},
            params=list(asked.query) or None,
            data=asked.form if asked.body is None else asked.body,
            auth=_Header(asked.authorization),
            timeout=(_CONNECT_S if asked.body is None else _READ_S, asked.idle_s),
            allow_redirects=False,
            stream=True,
            proxies={"http": proxy, "https": proxy} if proxy else {},
        )

    def _route(self, url: str, what: str) -> tuple[Route, str]:
        """What of this shell's settings counts for a URL, and the URL of its proxy; none to this machine itself."""
        scheme, host, port = origin(url)
        if is_loopback(host):
            return Route(), ""
        try:
            variable, proxy = proxy_of(scheme, host, port)
            named, self._adapter.certificates = trusted() if scheme == "https" else ("", "")
        except WrongSetting as wrong:
            raise RegistryError(f"{self.name}: {what}: {wrong}") from None
        return Route(variable, named), proxy

    def read(self, response: requests.Response, what: str, limit: int) -> bytes:
        """The body, as it was before anybody compressed it; never more than the limit of either.

        By http.client, because urllib3's own reading of chunks takes a line of any length.
        """
        body = bytearray()
        while piece := response.raw.read(64 * 2**10, decode_content=False):
            body += piece
            if len(body) > limit:
                raise self._too_large(what, limit)
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("identity", "") or not body:
            return bytes(body)
        if coding not in ("gzip", "x-gzip"):
            why = f"the answer is in {coding[:40]!r}, which was not asked for"
            raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")
        unpacked = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            whole = unpacked.decompress(bytes(body), limit + 1)
        except zlib.error:
            whole = b""
        if len(whole) > limit:
            raise self._too_large(what, limit)
        if not unpacked.eof:
            why = "the answer says that it is gzip, and is not"
            raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")
        return whole

    def _too_large(self, what: str, limit: int) -> RegistryError:
        why = f"the answer is larger than {limit / 2**20:g} MiB"
        return RegistryError(f"{self.name}: {what}: {why}; this is no image that docker could run")

    def target(self, url: str, answer: Answer, what: str, doing: str = "it redirects") -> str:
        """The address that an answer names (Location), relative or whole: never from https to http.

        Raises:
            RegistryError: it names none, or one that may not be asked; ``doing`` says what leads there.
        """
        try:
            target = urljoin(url, answer.headers.get("location", ""))
        except ValueError:
            target = ""
        scheme, host, _ = origin(target)
        if scheme == "https" or (scheme == "http" and is_loopback(host) and origin(url)[0] == "http"):
            return target
        why = f"{doing} to {host or 'nowhere'} without https"
        raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")


def headers_of(response: requests.Response) -> dict[str, str]:
    """The headers of an answer; names are lower case."""
    return {key.lower(): value for key, value in response.headers.items()}
