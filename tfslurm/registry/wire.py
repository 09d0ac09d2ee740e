"""One repository of one registry over HTTP: the requests, the login dance, the limits, and errors in one line.

Sources: OCI distribution specification (end-points, error codes), CNCF distribution "Token Authentication
Specification" (the dance), RFC 9110 (redirects, Retry-After).
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import AuthBase

from tfslurm import __version__
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.registry.credentials import Credentials, stored_credentials
from tfslurm.registry.trouble import Answer, refusal, silence

MANIFEST_LIMIT = 4 * 2**20
CONFIG_LIMIT = 8 * 2**20
_CONNECT_S, _READ_S, _WHOLE_S = 5.0, 30.0, 120.0
_HOPS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_NO_PROXY = {"http": "", "https": "", "all": ""}
_CHALLENGE = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class _Header(AuthBase):
    """Sets Authorization, or nothing: either way requests then leaves ~/.netrc unread."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.value:
            request.headers["Authorization"] = self.value
        return request


class _Session(requests.Session):
    """Leaves redirects alone; requests would read their bodies whole and parse their targets even when told not to."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No target."""


class Remote:
    """A repository where it is asked for: ``registry/repository``, its connections and its token."""

    def __init__(self, name: str, docker_config: str | None = None) -> None:
        self.name = name
        self.registry, _, self.repository = name.partition("/")
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{self.repository}/"
        self._docker_config = docker_config
        self._credentials: Credentials | None = None
        self._authorization = ""
        self._session = _Session()
        self._session.headers.update({"User-Agent": f"tfslurm/{__version__}", "Accept-Encoding": "identity"})

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def ask(
        self, path: str, what: str, *, method: str = "GET", accept: str = "*/*", limit: int = MANIFEST_LIMIT
    ) -> Answer:
        """The answer to ``path`` below the repository, redirects followed, whatever its status.

        ``what`` says in words what is asked for. Raises RegistryError when no whole answer comes.
        """
        url = urljoin(self._base, quote(path, safe="/:?=&%"))
        for _ in range(_HOPS):
            answer = self._ask_once(url, what, method, accept, limit)
            if answer.status not in _REDIRECTS:
                return answer
            url = self._redirected(url, answer, what)
        raise RegistryError(f"{self.name}: {what}: more than {_HOPS} redirects; the registry is misconfigured")

    def refused(self, what: str, answer: Answer, mend: str = "") -> RegistryError:
        """The error for an answer that is not the one wanted."""
        clean = Answer(answer.status, answer.headers, self._clean(answer.body))
        return refusal(self.name, what, clean, self._credentials, mend)

    def _ask_once(self, url: str, what: str, method: str, accept: str, limit: int) -> Answer:
        ours = _origin(url) == _origin(self._base)
        known = self._authorization if ours else ""
        answer = self._send(method, url, what, authorization=known, accept=accept, limit=limit)
        if answer.status == 401 and ours and (authorization := self._answer_challenge(answer, what)):
            self._authorization = authorization
            answer = self._send(method, url, what, authorization=authorization, accept=accept, limit=limit)
        return answer

    def _redirected(self, url: str, answer: Answer, what: str) -> str:
        """Where a redirect leads: never from https to http."""
        try:
            target = urljoin(url, answer.headers.get("location", ""))
        except ValueError:
            target = ""
        scheme, host, _ = _origin(target)
        if scheme == "https" or (scheme == "http" and is_loopback(host) and _origin(url)[0] == "http"):
            return target
        why = f"it redirects to {host or 'nowhere'} without https"
        raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")

    def _answer_challenge(self, answer: Answer, what: str) -> str:
        """The Authorization that a 401 asks for; empty when there is no login to give it."""
        challenge = answer.headers.get("www-authenticate", "")
        if self._credentials is None:
            self._credentials = stored_credentials(self.registry, self._docker_config)
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "bearer":
            return f"Bearer {self._token(challenge, what)}"
        return self._credentials.basic if scheme == "basic" else ""

    def _token(self, challenge: str, what: str) -> str:
        """A token from the server that the challenge names; anonymous when there is no login."""
        said = {key.lower(): re.sub(r"\\(.)", r"\1", text) or word for key, text, word in _CHALLENGE.findall(challenge)}
        realm, login = said.get("realm", ""), self._credentials or Credentials()
        scheme, host, _ = _origin(realm)
        if scheme != "https" and not (scheme == "http" and is_loopback(host) and is_loopback(self.registry)):
            why = f"it sends to {host or 'nowhere'} for a token, without https"
            raise RegistryError(f"{self.name}: {what}: {why}; ask who runs the registry")
        fields = {"scope": f"repository:{self.repository}:pull"}
        fields |= {key: said[key] for key in ("service", "scope") if said.get(key)}
        if login.identity_token:
            form = fields | {
                "grant_type": "refresh_token",
                "client_id": "tfslurm",
                "refresh_token": login.identity_token,
            }
            answer = self._send("POST", realm, what, form=form)
        else:
            answer = self._send("GET", realm, what, authorization=login.basic, query=fields)
        if answer.status != 200:
            raise self.refused(f"{what}: a token from {host}", answer)
        try:
            given = read_json(answer.body)
            return str(given.get("token") or given["access_token"])
        except (ValueError, LookupError, AttributeError, TypeError):
            raise RegistryError(f"{self.name}: {what}: {host} answered without a token; try again later") from None

    def _send(
        self, method: str, url: str, what: str, *, authorization: str = "", accept: str = "*/*",
        limit: int = MANIFEST_LIMIT, query: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request and its whole answer, at most ``limit`` bytes of it."""
        _, host, port = _origin(url)
        place = host if port in (80, 443) else f"{host}:{port}"
        try:
            with self._session.request(
                method, url, headers={"Accept": accept}, params=query, data=form, auth=_Header(authorization),
                timeout=(_CONNECT_S, _READ_S), allow_redirects=False, stream=True,
                proxies=_NO_PROXY if is_loopback(host) else None,
            ) as response:  # fmt: skip
                lower = {key.lower(): value for key, value in response.headers.items()}
                return Answer(response.status_code, lower, self._read(response, what, limit))
        except requests.RequestException as error:
            raise silence(self.name, what, place, error) from None

    def _read(self, response: requests.Response, what: str, limit: int) -> bytes:
        ends = time.monotonic() + _WHOLE_S
        body = bytearray()
        for piece in response.iter_content(64 * 2**10):
            body += piece
            if len(body) > limit:
                why = f"the answer is larger than {limit / 2**20:g} MiB"
                raise RegistryError(f"{self.name}: {what}: {why}; this is no image that docker could run")
            if time.monotonic() > ends:
                why = f"the answer was not complete after {_WHOLE_S:g} s"
                raise RegistryError(f"{self.name}: {what}: {why}; try again later", transient=True)
        return bytes(body)

    def _clean(self, body: bytes) -> bytes:
        """What a registry said, without any secret of ours that it may have said back."""
        for secret in (*(self._credentials or Credentials()).secrets, *self._authorization.split()[1:]):
            body = body.replace(secret.encode(), b"***")
        return body


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine by its very name: the only place where plain http is spoken.

    Source: docs.docker.com/reference/cli/dockerd, "Insecure registries": 127.0.0.0/8 is insecure by definition.
    """
    bare = _origin(f"http://{host}")[1]
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal before a login is sent. Empty when the text is no URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", "", 0
