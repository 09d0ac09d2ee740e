"""One repository of one registry over HTTP: the door to what transport, scopes and challenges do.

Source: OCI distribution specification (end-points, error codes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import quote, urljoin

import requests

from tfslurm.errors import RegistryError
from tfslurm.registry.errors import Answer
from tfslurm.registry.realms import is_loopback, origin
from tfslurm.registry.scopes import Login, greeting
from tfslurm.registry.transport import (
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    REDIRECTS,
    SLOWEST_BYTES_PER_S,
    Patience,
    Request,
    Transport,
    headers_of,
)

__all__ = ["CONFIG_LIMIT", "MANIFEST_LIMIT", "Patience", "Remote"]
_PIECE = 2**20
_HOPS = 5


class Remote:
    """A repository where it is asked for: ``registry/repository``, its connections and its token.

    ``pushes``: whether it is written to, for which a token server and an error have other words.
    """

    def __init__(
        self, name: str, engine: str = "docker", patience: Patience | None = None, *, pushes: bool = False
    ) -> None:
        self.name, self._engine, self._pushes = name, engine, pushes
        self.patience = patience or Patience()
        self.registry, _, self.repository = name.partition("/")
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{self.repository}/"
        self.transport = Transport(name, self.patience)
        self._login = Login(self.transport, self._base, engine, pushes=pushes)
        self.refused = self._login.refused

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def address(self, path: str) -> str:
        """The address of a path below the repository."""
        return urljoin(self._base, quote(path, safe="/:?=&%"))

    def ask(
        self, path: str, what: str, *, accept: str = "*/*", limit: int = MANIFEST_LIMIT, method: str = "GET"
    ) -> Answer:
        """The answer to ``path`` below the repository, redirects followed, whatever its status.

        ``what`` says in words what is asked for. Raises RegistryError when no whole answer comes.
        """
        return self.follow(Request(method, self.address(path), what, accept=accept, limit=limit))

    def greet(self, what: str) -> Answer:
        """The answer to ``GET /v2/``, without a login."""
        return self.transport.send(greeting(self._base, what))

    def stream(self, path: str, what: str, size: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of a blob of ``size`` bytes, each piece with its place, as they come. A registry may begin at
        ``offset``, or at 0.

        Raises RegistryError when it has none, breaks off, sends more than ``size``, or is slower than anybody would
        wait.
        """
        seconds = self.patience.request_s + (size - offset) / SLOWEST_BYTES_PER_S
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        bodies = list[requests.Response]()
        with ExitStack() as answered:

            def send(asked: Request) -> Answer:
                with ExitStack() as one:
                    response = one.enter_context(self.transport.answering(asked))
                    body = b""
                    if response.status_code in (200, 206):
                        bodies.append(response)
                        answered.push(one.pop_all())
                    else:
                        body = self.transport.read(response, what, MANIFEST_LIMIT)
                    return Answer(response.status_code, headers_of(response), body)

            answer = self.follow(Request("GET", self.address(path), what, headers=headers, patience_s=seconds), send)
            if not bodies:
                raise self.refused(what, answer)
            begun = offset if answer.status == 206 else 0
            self._refuse_place(what, answer, begun, size)
            while piece := bodies[-1].raw.read(_PIECE, decode_content=False):
                if begun + len(piece) > size:
                    raise RegistryError(f"{self.name}: {what}: more than the {size} bytes that its manifest names came")
                yield begun, piece
                begun += len(piece)

    def _refuse_place(self, what: str, answer: Answer, begun: int, size: int) -> None:
        """Refuse what says of itself that it is not the rest of a blob of so many bytes.

        Raises RegistryError; nothing is said where the headers say nothing.
        """
        length = answer.headers.get("content-length", str(size - begun))
        place = answer.headers.get("content-range", f"bytes {begun}-{size - 1}/{size}")
        if answer.status == 206 and place not in (f"bytes {begun}-{size - 1}/{size}", f"bytes {begun}-{size - 1}/*"):
            why = f"it was asked for its bytes from {begun} to {size - 1}, and says that it sends {place[:60]!r}"
        elif length != str(size - begun):
            why = f"it says that it sends {length[:30]} bytes, and its manifest names {size - begun} from there on"
        else:
            return
        raise RegistryError(f"{self.name}: {what}: {why}; do not use this source")

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

    def has_token_to_push(self, what: str) -> bool:
        """Whether the registry gave a token that names the right to push to this repository.

        False also where it wants none, or where a token does not say what it is for.

        Raises:
            RegistryError: no whole answer comes, or the token server refuses.
        """
        self.ask("manifests/none", what, accept="*/*", method="HEAD")
        return "push" in self._login.actions

    def delete(self, url: str, what: str) -> None:
        """Ask the registry to delete what it has named, and nobody else: another address is not asked, nor a redirect.

        Raises:
            RegistryError: no whole answer comes.
        """
        if origin(url) == origin(self._base):
            self._ask_once(Request("DELETE", url, what), self._login, self.transport.send)

    def login_to_read(self, from_repository: str) -> Login:
        """A login that may also read another repository of the same registry."""
        return Login(self.transport, self._base, self._engine, pushes=self._pushes, from_repository=from_repository)

    def follow(
        self, asked: Request, send: Callable[[Request], Answer] | None = None, *, login: Login | None = None
    ) -> Answer:
        """The answer to a request, redirects followed, whatever its status.

        ``send`` sends it otherwise than whole, ``login`` is another than this repository's own.

        Raises RegistryError when no whole answer comes.
        """
        for _ in range(_HOPS):
            answer = self._ask_once(asked, login or self._login, send or self.transport.send)
            if answer.status not in REDIRECTS:
                return answer
            asked = replace(asked, url=self.transport.target(asked.url, answer, asked.what))
        raise RegistryError(f"{self.name}: {asked.what}: more than {_HOPS} redirects; the registry is misconfigured")

    def _ask_once(self, asked: Request, login: Login, send: Callable[[Request], Answer]) -> Answer:
        """The answer, after a login where one is wanted; no other place than the registry itself gets it."""
        ours = origin(asked.url) == origin(self._base)
        answer = send(replace(asked, authorization=login.authorization if ours else ""))
        if ours and (authorization := login.wanted(answer, asked.what)):
            login.authorization = authorization
            answer = send(replace(asked, authorization=authorization))
        return answer
