"""The errors for a registry's refusal, or its silence, in one line: who, what, why, and the fix."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import requests
import urllib3

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.registry.credentials import Credentials

_LONGEST = 200
_NO_ROOM = tuple(os.strerror(number).lower() for number in (errno.ENOSPC, errno.EDQUOT))
NO_ADDRESS = "check that name, the network and HTTPS_PROXY, or name a mirror: `mirrors` in the cluster file"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WrongSetting(RegistryError):
    """A variable of this shell that cannot be used, and the fix; whoever asked puts the registry in front."""


class Route(NamedTuple):
    """What of this shell led to a registry: the variables that named the proxy and the certificates; empty: none."""

    proxy: str = ""
    certificates: str = ""


def log_in(registry: str, engine: str) -> str:
    """The command that stores a login for a registry."""
    return f"`{engine} login{'' if registry == 'docker.io' else f' {registry}'}`"


def refusal(
    name: str, what: str, answer: Answer, login: Credentials | None, engine: str, fix: str = "", *, pushes: bool = False
) -> RegistryError:
    """The error for an HTTP answer that is not the one wanted; ``fix`` overrides what its status suggests.

    ``login`` is what was tried, None when the registry asked for none; ``pushes``: whether it was for a push.

    The codes of the registry's own text: OCI distribution specification, "Error Codes".
    """
    said, status = own_words(answer.body), answer.status
    why = f"HTTP {status}" + (f" {said}" if said else "")
    if login is not None and not login and login.why_none:
        why += f" ({login.why_none})"
    is_full = pushes and has_no_room(answer)
    if not fix and is_full:
        fix = "its disk, a quota, or its limit of one upload is reached: delete images there, or ask who runs it"
    fix = (
        fix or (pushes and _push_fix(name, status, login, engine)) or _fix(name, status, answer.headers, login, engine)
    )
    transient = (status in (408, 429) or status >= 500) and not is_full
    return RegistryError(f"{name}: {what}: {why}; {fix}", transient=transient)


def own_words(body: bytes) -> str:
    """``CODE: message`` of the registry's first error, in one printable line; empty when it gave none."""
    try:
        first = read_json(body)["errors"][0]
        words = ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    line = "".join(letter if letter.isprintable() else " " for letter in words)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _fix(name: str, status: int, headers: Mapping[str, str], login: Credentials | None, engine: str) -> str:
    command = log_in(name.partition("/")[0], engine)
    if status in (401, 403):
        if login:
            return f"the stored login{login.user and ' '}{login.user} may not read it: {command} with one that may"
        return f"it is private, or there is no such repository: {command}, or correct the name"
    if status == 429:
        return f"its rate limit is reached: try again {_when(headers)}, {command}, or name a mirror"
    if status == 404:
        return "correct the name"
    return "try again later, or name a mirror" if status >= 500 else "ask who runs the registry"


def _push_fix(name: str, status: int, login: Credentials | None, engine: str) -> str:
    """What to do about an answer to a push; '' where it is as for a pull."""
    command = log_in(name.partition("/")[0], engine)
    if status in (401, 403):
        if login:
            who = f"the stored login{login.user and ' '}{login.user} has no right to push there"
            return f"{who}: {command} with one that has, or name another repository"
        return f"nobody has the right to push there without a login: {command}, or name another repository"
    if status == 404:
        return "create that repository or project there, or correct the name"
    if status in (405, 501):
        return "it is read-only, or keeps only copies of another registry: name another one"
    return ""


def has_no_room(answer: Answer) -> bool:
    """Whether a registry refuses a push because something is full, or too large.

    CNCF distribution passes its system's error on, as a number or words; Harbor says what quota an upload exceeds.
    """
    if answer.status in (413, 507):
        return True
    words = own_words(answer.body).lower()
    if answer.status < 500:
        return answer.status in (400, 401, 403) and ("quota" in words or "exceed" in words)
    try:
        detail = read_json(answer.body)["errors"][0]["detail"]
    except (ValueError, LookupError, TypeError):
        detail = ""
    inner = detail.get("Enclosed", detail) if isinstance(detail, dict) else {}
    number = inner.get("Err") if isinstance(inner, dict) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or any(why in str(detail).lower() for why in _NO_ROOM)


def seconds_to_wait(answer: Answer) -> float | None:
    """What a rate limit that was reached asks to wait (Retry-After in seconds); None: nothing that is known."""
    after = answer.headers.get("retry-after", "").strip()
    return float(after) if answer.status == 429 and re.fullmatch("[0-9]{1,9}", after) else None


def _when(headers: Mapping[str, str]) -> str:
    """Retry-After is seconds or a date (RFC 9110, 10.2.3)."""
    after = headers.get("retry-after", "").strip()
    if after.isdigit() and len(after) < 10:
        return f"in {after} s"
    dated = after.isprintable() and 0 < len(after) < 40
    return f"after {after}" if dated else "later (Docker Hub counts over 6 hours)"


def too_slow(name: str, what: str, host: str, seconds: float) -> RegistryError:
    """The error when an answer was begun and not ended by its deadline, however slowly it continues."""
    why = f"{host} had not answered in full after {seconds:.3g} s, and its connection was closed"
    return RegistryError(f"{name}: {what}: {why}; try again later, or name a mirror", transient=True)


def silence(
    name: str, what: str, host: str, error: requests.RequestException | urllib3.exceptions.HTTPError, route: Route
) -> RegistryError:
    """The error when no answer came: the names of the cause, never the library's text, which holds whole URLs."""
    why, fix, transient = _cause(host, error, route)
    return RegistryError(f"{name}: {what}: {why}; {fix}", transient=transient)


def _cause(host: str, error: Exception, route: Route) -> tuple[str, str, bool]:
    causes = tuple(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = "name your site's certificates in REQUESTS_CA_BUNDLE"
            if route.certificates:
                fix = f"only the certificates that {route.certificates} names count: add your site's there, or unset it"
            return (
                f"TLS: the certificate of {host} does not hold: {cause.verify_message}",
                f"{fix}; they are never left unchecked",
                False,
            )
    if route.proxy and (found := _of_proxy(host, causes, route.proxy)):
        return found
    if isinstance(error, requests.exceptions.SSLError):
        fix = "plain http is spoken only to this machine itself: give the registry a certificate"
        return f"TLS: {host} does not speak https", fix, False
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return f"{host} did not answer in time", "try again later, or check the network and HTTPS_PROXY", True
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"DNS: no address is known for {host}", NO_ADDRESS, True
        if isinstance(cause, ConnectionRefusedError):
            return f"{host} refuses connections", "check that the registry runs, and its port", True
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            return f"{host}: {cause.strerror}", "check the network and HTTPS_PROXY", True
    return f"{host} broke off ({type(error).__name__})", "try again later", True


def _of_proxy(host: str, causes: tuple[BaseException, ...], variable: str) -> tuple[str, str, bool] | None:
    """The cause where it is the proxy that a variable names."""
    wrong = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.InvalidProxyURL)
    if isinstance(causes[0], wrong) or any(isinstance(cause, ValueError) for cause in causes[:1]):
        return f"the proxy that {variable} names cannot be used", f"correct {variable}: http://HOST:PORT", False
    refused = (re.search(r"\b40[17]\b", str(cause)) for cause in causes if type(cause) is OSError)
    if status := next(filter(None, refused), None):  # a proxy says 407; tinyproxy says 401
        fix = f"put user and password into {variable}, percent-encoded: http://USER:PASSWORD@HOST:PORT"
        return f"the proxy that {variable} names wants a login, or another one ({status[0]})", fix, False
    if isinstance(causes[0], requests.exceptions.ProxyError) or _by_socks(causes):
        return f"the proxy that {variable} names did not lead to {host}", f"check {variable} and NO_PROXY", True
    return None


def _by_socks(causes: tuple[BaseException, ...]) -> bool:
    """Whether a SOCKS proxy failed, of which the HTTP library makes no error of its own."""
    return any(type(cause).__module__ == "socks" for cause in causes)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all it holds: urllib3 keeps causes in ``reason``, requests in ``args``, Python in its context."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [getattr(one, "reason", None), *one.args, one.__cause__, one.__context__]
            yield one
