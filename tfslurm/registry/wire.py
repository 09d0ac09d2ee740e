"""One repository of one registry over HTTP: the door to what transport, scopes and challenges do.

Source: OCI distribution specification (end-points, error codes).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import quote, urljoin

import requests

from tfslurm.errors import RegistryError
from tfslurm.registry.errors import Answer
from tfslurm.registry.realms import is_loopback, origin
from tfslurm.registry.scopes import Login
from tfslurm.registry.transport import CONFIG_LIMIT, MANIFEST_LIMIT, REDIRECTS, Patience, Transport

__all__ = ["CONFIG_LIMIT", "MANIFEST_LIMIT", "Patience", "Remote"]
_SLOWEST_BYTES_PER_S = 50_000  # of a blob: what is slower ends
_PIECE = 2**20
_HOPS = 5


class Remote:
    """A repository where it is asked for: ``registry/repository``, its connections and its token."""

    def __init__(self, name: str, engine: str = "docker", patience: Patience | None = None) -> None:
        self.name = name
        self._patience = patience or Patience()
        self.registry, _, self.repository = name.partition("/")
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{self.repository}/"
        self._transport = Transport(name, self._patience)
        self._login = Login(self._transport, self._base, engine)
        self.refused = self._login.refused

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def ask(
        self, path: str, what: str, *, accept: str = "*/*", limit: int = MANIFEST_LIMIT, method: str = "GET"
    ) -> Answer:
        """The answer to ``path`` below the repository, redirects followed, whatever its status.

        ``what`` says in words what is asked for. Raises RegistryError when no whole answer comes.
        """
        send = partial(self._transport.send, method, what=what, accept=accept, limit=limit)
        return self._follow(path, what, send)

    def greet(self, what: str) -> Answer:
        """The answer to ``GET /v2/``, without a login."""
        return self._transport.send("GET", urljoin(self._base, "/v2/"), what, limit=64 * 2**10)

    def download(self, path: str, what: str, size: int, offset: int, take: Callable[[int, bytes], None]) -> Answer:
        """The answer to a question for a blob of ``size`` bytes: its body goes to ``take``, as place and bytes, as it
        comes. A registry may begin at ``offset``, or at 0.

        Raises RegistryError when it breaks off, sends more than ``size``, or is slower than anybody would wait.
        """

        def read(response: requests.Response) -> bytes:
            begun = offset if response.status_code == 206 else 0
            if response.status_code not in (200, 206):
                return self._transport.read(response, what, MANIFEST_LIMIT)
            while piece := response.raw.read(_PIECE, decode_content=False):
                if begun + len(piece) > size:
                    raise RegistryError(f"{self.name}: {what}: more than the {size} bytes that its manifest names came")
                take(begun, piece)
                begun += len(piece)
            return b""

        seconds = self._patience.request_s + (size - offset) / _SLOWEST_BYTES_PER_S
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        send = partial(self._transport.send, "GET", what=what, read=read, more=headers, patience=seconds)
        return self._follow(path, what, send)

    @property
    def how_to_see_more(self) -> str:
        """What to try where a registry that knows logins says that something is not there; empty if it knows none."""
        return self._login.how_to_see_more

    @property
    def is_anonymous(self) -> bool:
        """Whether it wanted a login, and there was none to give."""
        return self._login.is_anonymous

    @property
    def login_failure(self) -> str:
        """What kept a stored login from being read, if one was wanted and none was found."""
        return self._login.failure

    def _follow(self, path: str, what: str, send: Callable[..., Answer]) -> Answer:
        url = urljoin(self._base, quote(path, safe="/:?=&%"))
        for _ in range(_HOPS):
            answer = self._ask_once(url, what, send)
            if answer.status not in REDIRECTS:
                return answer
            url = self._transport.redirected(url, answer, what)
        raise RegistryError(f"{self.name}: {what}: more than {_HOPS} redirects; the registry is misconfigured")

    def _ask_once(self, url: str, what: str, send: Callable[..., Answer]) -> Answer:
        ours = origin(url) == origin(self._base)
        answer = send(url, authorization=self._login.authorization if ours else "")
        if ours and (authorization := self._login.wanted(answer, what)):
            self._login.authorization = authorization
            answer = send(url, authorization=authorization)
        return answer
