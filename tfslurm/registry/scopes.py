"""Who asks a registry, and for what: its challenge becomes a token for a scope, or the login itself.

Sources: CNCF distribution "Token Authentication Specification" and "Token Scope Documentation"; docs/adr/0032.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urljoin

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.registry.challenges import KNOWN, answerable, challenges_of, preferred
from tfslurm.registry.credentials import Credentials, stored_credentials
from tfslurm.registry.errors import Answer, log_in, refusal
from tfslurm.registry.realms import TOKEN_SERVERS, is_loopback, may_have_login, origin, without_scope
from tfslurm.registry.transport import Request, Transport

_LONGEST_SERVICE = 300
_LONGEST_TOKEN = 64 * 2**10


class Login:
    """The login for one repository of a registry: read when it is wanted, and what the registry gave for it.

    ``base`` is the address below which the repository is asked, ``engine`` the one whose logins come first. ``pushes``:
    whether it is written to. ``from_repository``: one beside it in the same registry, which is read too.
    """

    def __init__(
        self, transport: Transport, base: str, engine: str, *, pushes: bool = False, from_repository: str = ""
    ) -> None:
        self._transport, self._base, self._engine, self._pushes = transport, base, engine, pushes
        self.name = transport.name
        self.registry, _, self.repository = self.name.partition("/")
        self._scopes = [f"repository:{self.repository}:pull{',push' * pushes}"]
        if from_repository:
            self._scopes.append(f"repository:{from_repository}:pull")
        self.authorization = ""
        self._credentials: Credentials | None = None
        self._schemes: tuple[str, ...] = ()  # of the last challenge
        self._knocked = False  # at /v2/, for a challenge
        self._withheld = ""  # the token server that did not get the stored login

    def wanted(self, answer: Answer, what: str) -> str:
        """The Authorization that the registry wants; empty if it wants none, or there is none to give.

        Some registries hide what is private behind 403 or 404, or answer 401 without a scheme that is known here, and
        say only at /v2/ how to log in (end-1 of the OCI distribution specification, which docker asks first).
        """
        if answer.status == 401 and (self.authorization or self._knocked or answerable(answer)):
            return self._answer_challenge(answer, what)
        if answer.status not in (401, 403, 404) or self.authorization or self._knocked:
            return ""
        self._knocked = True
        try:
            if not answerable(answer):
                self._schemes = tuple(challenges_of(answer))[:5]
                answer = self._transport.send(greeting(self._base, what))
            return self._answer_challenge(answer, what) if answer.status in (401, 403, 404) else ""
        except RegistryError:
            return ""  # then the first answer counts

    def refused(self, what: str, answer: Answer, fix: str = "") -> RegistryError:
        """The error for an answer that is not the one wanted."""
        clean = Answer(answer.status, answer.headers, self._clean(answer.body))
        if self._withheld and answer.status in (401, 403, 404):
            name = f"{self.registry}={self._withheld}"
            fix = (
                f"the stored login was not sent to {self._withheld}, which is not known as {self.registry}'s own token "
                f"server; if its administrators say that it is: export {TOKEN_SERVERS}={name}"
            )
        elif answer.status == 401 and self._schemes and not set(KNOWN) & set(self._schemes):
            fix = f"it wants {', '.join(self._schemes)}, and only Bearer and Basic are known here: name a mirror"
        return refusal(self.name, what, clean, self._credentials, self._engine, fix, pushes=self._pushes)

    @property
    def how_to_see_more(self) -> str:
        """What to try where a registry that knows logins says that something is not there; empty if it knows none."""
        if self._credentials is None:
            return ""
        who = "with an account that may see it" if self._credentials else "if it is private"
        return f", or {log_in(self.registry, self._engine)} {who}"

    @property
    def is_anonymous(self) -> bool:
        """Whether the registry wanted a login, and there was none to give."""
        return self._credentials is not None and not self._credentials

    @property
    def failure(self) -> str:
        """What kept a stored login from being read, if one was wanted and none was found."""
        return "" if self._credentials is None or self._credentials else self._credentials.why_none

    @property
    def actions(self) -> frozenset[str]:
        """What the token says that it is for in this repository (``pull``, ``push``); empty where it does not say.

        Nothing is verified: the registry does that. Source: CNCF distribution, "Token Authentication Implementation".
        """
        scheme, _, token = self.authorization.partition(" ")
        claims = token.split(".")[1:2]
        if scheme != "Bearer" or not claims:
            return frozenset()
        try:
            access = read_json(base64.urlsafe_b64decode(claims[0] + "=" * (-len(claims[0]) % 4)))["access"]
            found = [each["actions"] for each in access if each["name"] == self.repository]
            return frozenset(str(action) for actions in found for action in actions)
        except (ValueError, LookupError, TypeError):
            return frozenset()

    def _answer_challenge(self, answer: Answer, what: str) -> str:
        """The Authorization that a 401 asks for; empty when there is no login to give it."""
        asked = challenges_of(answer)
        self._schemes = tuple(asked)[:5] or self._schemes
        if self._credentials is None and asked:
            self._credentials = stored_credentials(self.registry, self.repository, self._engine)
        login, scheme = self._credentials or Credentials(), preferred(asked)
        if login.registry_token and f"Bearer {login.registry_token}" != self.authorization:
            return f"Bearer {header_value(login.registry_token)}"
        if scheme == "bearer":
            return f"Bearer {self._token(asked['bearer'], what)}"
        return login.basic if scheme == "basic" else ""

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
        answer = self._ask_token_server(without_scope(realm), said.get("service", "")[:_LONGEST_SERVICE], login, what)
        if not 200 <= answer.status < 300:
            raise self.refused(f"{what}: a token from {host}", answer)
        try:
            given = read_json(answer.body)
            return header_value(given.get("token") or given["access_token"])
        except (ValueError, LookupError, AttributeError, TypeError):
            raise RegistryError(f"{self.name}: {what}: {host} answered without a token; try again later") from None

    def _ask_token_server(self, realm: str, service: str, login: Credentials, what: str) -> Answer:
        fields = [("service", service)] if service else []
        if not login.identity_token:
            query = [*(("scope", scope) for scope in self._scopes), *fields]
            return self._transport.send(Request("GET", realm, what, authorization=login.basic, query=query))
        form = {"grant_type": "refresh_token", "client_id": "tfslurm", "refresh_token": login.identity_token}
        form |= {"scope": " ".join(self._scopes), **dict(fields)}
        return self._transport.send(Request("POST", realm, what, form=form))

    def _clean(self, body: bytes) -> bytes:
        """A registry's words without any secret of ours that they may repeat."""
        for secret in (*(self._credentials or Credentials()).secrets, *self.authorization.split()[1:]):
            body = body.replace(secret.encode(), b"***")
        return body


def greeting(base: str, what: str) -> Request:
    """The question at /v2/, which says whether a registry is there, and how to log in."""
    return Request("GET", urljoin(base, "/v2/"), what, limit=64 * 2**10)


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
