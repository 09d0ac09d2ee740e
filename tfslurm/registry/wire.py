"""One repository of one registry over HTTP: the requests, the login dance, the limits, and errors in one line.

Sources: OCI distribution specification (end-points, error codes), CNCF distribution "Token Authentication
Specification" (the dance), RFC 9110 (redirects, Retry-After).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urljoin

import requests
import urllib3
from requests.auth import AuthBase

from tfslurm import __version__
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.registry.certificates import trusted
from tfslurm.registry.credentials import Credentials, stored_credentials
from tfslurm.registry.deadline import Deadline, WatchedAdapter
from tfslurm.registry.errors import Answer, Route, WrongSetting, log_in, refusal, silence, too_slow
from tfslurm.registry.proxies import proxy_of
from tfslurm.registry.realms import TOKEN_SERVERS, challenges, is_loopback, may_have_login, origin, without_scope

MANIFEST_LIMIT = 4 * 2**20
CONFIG_LIMIT = 8 * 2**20
_CONNECT_S, _READ_S = 5.0, 30.0
_SLOWEST_BYTES_PER_S = 50_000  # of a blob: what is slower ends
_PIECE = 2**20
_HOPS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_SERVICE = 300
_LONGEST_TOKEN = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for one request with its whole answer, for everything that one place is asked, and for all places."""

    request_s: float = 45.0
    place_s: float = 180.0
    pin_s: float = 400.0


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


class Remote:
    """A repository where it is asked for: ``registry/repository``, its connections and its token."""

    def __init__(self, name: str, engine: str = "docker", patience: Patience | None = None) -> None:
        self.name = name
        self._engine = engine  # whose logins come first
        self._patience = patience or Patience()
        self._ends = time.monotonic() + self._patience.place_s
        self.registry, _, self.repository = name.partition("/")
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{self.repository}/"
        self._credentials: Credentials | None = None
        self._authorization = ""
        self._schemes: tuple[str, ...] = ()  # of the last challenge
        self._knocked = False  # at /v2/, for a challenge
        self._withheld = ""  # the token server that did not get the stored login
        self._session = _Session()
        self._session.trust_env = False  # proxies and certificates are chosen here, and checked
        self._adapter = WatchedAdapter()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._session.headers.update({"User-Agent": f"tfslurm/{__version__}", "Accept-Encoding": "identity"})

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def ask(
        self, path: str, what: str, *, accept: str = "*/*", limit: int = MANIFEST_LIMIT, method: str = "GET"
    ) -> Answer:
        """The answer to ``path`` below the repository, redirects followed, whatever its status.

        ``what`` says in words what is asked for. Raises RegistryError when no whole answer comes.
        """
        return self._follow(path, what, partial(self._send, method, what=what, accept=accept, limit=limit))

    def download(self, path: str, what: str, size: int, offset: int, take: Callable[[int, bytes], None]) -> Answer:
        """The answer to a question for a blob of ``size`` bytes: its body goes to ``take``, as place and bytes, as it
        comes. A registry may begin at ``offset``, or at 0.

        Raises RegistryError when it breaks off, sends more than ``size``, or is slower than anybody would wait.
        """

        def read(response: requests.Response) -> bytes:
            begun = offset if response.status_code == 206 else 0
            if response.status_code not in (200, 206):
                return self._read(response, what, MANIFEST_LIMIT)
            while piece := response.raw.read(_PIECE, decode_content=False):
                if begun + len(piece) > size:
                    raise RegistryError(f"{self.name}: {what}: more than the {size} bytes that its manifest names came")
                take(begun, piece)
                begun += len(piece)
            return b""

        seconds = self._patience.request_s + (size - offset) / _SLOWEST_BYTES_PER_S
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self._follow(
            path, what, partial(self._send, "GET", what=what, read=read, more=headers, patience=seconds)
        )

    def _follow(self, path: str, what: str, send: Callable[..., Answer]) -> Answer:
        url = urljoin(self._base, quote(path, safe="/:?=&%"))
        for _ in range(_HOPS):
            answer = self._ask_once(url, what, send)
            if answer.status not in _REDIRECTS:
                return answer
            url = self._redirected(url, answer, what)
        raise RegistryError(f"{self.name}: {what}: more than {_HOPS} redirects; the registry is misconfigured")

    def refused(self, what: str, answer: Answer, fix: str = "") -> RegistryError:
        """The error for an answer that is not the one wanted."""
        clean = Answer(answer.status, answer.headers, self._clean(answer.body))
        if self._withheld and answer.status in (401, 403, 404):
            name = f"{self.registry}={self._withheld}"
            fix = (
                f"the stored login was not sent to {self._withheld}, which is not known as {self.registry}'s own token "
                f"server; if its administrators say that it is: export {TOKEN_SERVERS}={name}"
            )
        elif answer.status == 401 and self._schemes and not {"bearer", "basic"} & set(self._schemes):
            fix = f"it wants {', '.join(self._schemes)}, and only Bearer and Basic are known here: name a mirror"
        return refusal(self.name, what, clean, self._credentials, self._engine, fix)

    @property
    def how_to_see_more(self) -> str:
        """What to try where a registry that knows logins says that something is not there; empty if it knows none."""
        if self._credentials is None:
            return ""
        who = "with an account that may see it" if self._credentials else "if it is private"
        return f", or {log_in(self.registry, self._engine)} {who}"

    @property
    def is_anonymous(self) -> bool:
        """Whether it wanted a login, and there was none to give."""
        return self._credentials is not None and not self._credentials

    @property
    def login_failure(self) -> str:
        """What kept a stored login from being read, if one was wanted and none was found."""
        return "" if self._credentials is None or self._credentials else self._credentials.why_none

    def _ask_once(self, url: str, what: str, send: Callable[..., Answer]) -> Answer:
        ours = origin(url) == origin(self._base)
        answer = send(url, authorization=self._authorization if ours else "")
        if ours and (authorization := self._wanted(answer, what)):
            self._authorization = authorization
            answer = send(url, authorization=authorization)
        return answer

    def _wanted(self, answer: Answer, what: str) -> str:
        """The Authorization that the registry wants; empty if it wants none, or there is none to give.

        Some registries hide what is private behind 403 or 404, or answer 401 without a scheme that is known here, and
        say only at /v2/ how to log in (end-1 of the OCI distribution specification, which docker asks first).
        """
        if answer.status == 401 and (self._authorization or self._knocked or answerable(answer)):
            return self._answer_challenge(answer, what)
        if answer.status not in (401, 403, 404) or self._authorization or self._knocked:
            return ""
        self._knocked = True
        try:
            if not answerable(answer):
                self._schemes = tuple(challenges_of(answer))[:5]
                answer = self._send("GET", urljoin(self._base, "/v2/"), what, limit=64 * 2**10)
            return self._answer_challenge(answer, what) if answer.status in (401, 403, 404) else ""
        except RegistryError:
            return ""  # then the first answer counts

    def _redirected(self, url: str, answer: Answer, what: str) -> str:
        """The target of a redirect: never from https to http."""
        try:
            target = urljoin(url, answer.headers.get("location", ""))
        except ValueError:
            target = ""
        scheme, host, _ = origin(target)
        if scheme == "https" or (scheme == "http" and is_loopback(host) and origin(url)[0] == "http"):
            return target
        why = f"it redirects to {host or 'nowhere'} without https"
        raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")

    def _answer_challenge(self, answer: Answer, what: str) -> str:
        """The Authorization that a 401 asks for; empty when there is no login to give it."""
        asked = challenges_of(answer)
        self._schemes = tuple(asked)[:5] or self._schemes
        if self._credentials is None and asked:
            self._credentials = stored_credentials(self.registry, self.repository, self._engine)
        login = self._credentials or Credentials()
        if login.registry_token and f"Bearer {login.registry_token}" != self._authorization:
            return f"Bearer {header_value(login.registry_token)}"
        if "bearer" in asked:
            return f"Bearer {self._token(asked['bearer'], what)}"
        return login.basic if "basic" in asked else ""

    def _token(self, said: Mapping[str, str], what: str) -> str:
        """A token from the server that the challenge names; anonymous when there is no login that it may have.

        It is asked for what we want of the registry, whatever the challenge would have us ask for.
        """
        realm, login = said.get("realm", ""), self._credentials or Credentials()
        scheme, host, _ = origin(realm)
        if scheme != "https" and not (scheme == "http" and is_loopback(host) and is_loopback(self.registry)):
            why = f"it sends to {host or 'nowhere'} for a token, without https"
            raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")
        if login and not may_have_login(self.registry, self._base, realm):
            self._withheld, login = host, Credentials()
        realm = without_scope(realm)
        fields = {"scope": f"repository:{self.repository}:pull"}
        if service := said.get("service", "")[:_LONGEST_SERVICE]:
            fields["service"] = service
        if login.identity_token:
            form = fields | {
                "grant_type": "refresh_token",
                "client_id": "tfslurm",
                "refresh_token": login.identity_token,
            }
            answer = self._send("POST", realm, what, form=form)
        else:
            answer = self._send("GET", realm, what, authorization=login.basic, query=fields)
        if not 200 <= answer.status < 300:
            raise self.refused(f"{what}: a token from {host}", answer)
        try:
            given = read_json(answer.body)
            return header_value(given.get("token") or given["access_token"])
        except (ValueError, LookupError, AttributeError, TypeError):
            raise RegistryError(f"{self.name}: {what}: {host} answered without a token; try again later") from None

    def _send(
        self, method: str, url: str, what: str, *, authorization: str = "", accept: str = "*/*",
        limit: int = MANIFEST_LIMIT, query: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None,
        read: Callable[[requests.Response], bytes] | None = None, more: Mapping[str, str] | None = None,
        patience: float = 0.0,
    ) -> Answer:  # fmt: skip
        """One request and its whole answer, at most ``limit`` bytes of it; ``read`` reads the body otherwise."""
        _, host, port = origin(url)
        place = host if port in (80, 443) else f"{host}:{port}"
        seconds = min(patience or self._patience.request_s, self._ends - time.monotonic())
        if not host:
            raise RegistryError(f"{self.name}: {what}: {url[:200]!r} is no address of a registry; correct the name")
        if seconds <= 0:
            raise too_slow(self.name, what, place, max(0.0, self._patience.place_s))
        route, proxy = self._route(url, what)
        headers = {"Accept": accept, **(more or {})}
        with Deadline(seconds) as deadline:
            try:
                with self._session.request(
                    method, url, headers=headers, params=query, data=form, auth=_Header(authorization),
                    timeout=(_CONNECT_S, _READ_S), allow_redirects=False, stream=True,
                    proxies={"http": proxy, "https": proxy} if proxy else {},
                ) as response:  # fmt: skip
                    lower = {key.lower(): value for key, value in response.headers.items()}
                    body = read(response) if read else self._read(response, what, limit)
                    answer = Answer(response.status_code, lower, body)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if deadline.passed:
                    raise too_slow(self.name, what, place, seconds) from None
                raise silence(self.name, what, place, error, route) from None
            if deadline.passed:  # an answer without a length looks whole when its connection ends
                raise too_slow(self.name, what, place, seconds)
            return answer

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

    def _read(self, response: requests.Response, what: str, limit: int) -> bytes:
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

    def _clean(self, body: bytes) -> bytes:
        """A registry's words without any secret of ours that they may repeat."""
        for secret in (*(self._credentials or Credentials()).secrets, *self._authorization.split()[1:]):
            body = body.replace(secret.encode(), b"***")
        return body


def challenges_of(answer: Answer) -> dict[str, Mapping[str, str]]:
    """What an answer says of how to log in: the schemes that it names, with their words."""
    asked = challenges(answer.headers.get("www-authenticate", ""))
    return {scheme: words for scheme, words in asked.items() if scheme.isprintable()}


def answerable(answer: Answer) -> bool:
    """Whether one of the schemes that an answer names is known here."""
    return bool({"bearer", "basic"} & set(challenges_of(answer)))


def header_value(token: object) -> str:
    """A token as it may stand in a header; ValueError where it is none."""
    if (
        not isinstance(token, str)
        or not 0 < len(token) <= _LONGEST_TOKEN
        or not token.isascii()
        or not token.isprintable()
    ):
        raise ValueError("no token")
    return token
