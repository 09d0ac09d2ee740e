"""The errors for a registry's refusal, or its silence, in one line: who, what, why, and the fix."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import requests
import urllib3

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.registry.credentials import Credentials

_LONGEST = 200
NO_ADDRESS = "check that name, the network and HTTPS_PROXY, or name a mirror: `mirrors` in the cluster file"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def refusal(name: str, what: str, answer: Answer, login: Credentials | None, fix: str = "") -> RegistryError:
    """The error for an HTTP answer that is not the one wanted; ``fix`` overrides what its status suggests.

    ``login`` is what was tried, None when the registry asked for none.

    The codes of the registry's own text: OCI distribution specification, "Error Codes".
    """
    said, status = own_words(answer.body), answer.status
    why = f"HTTP {status}" + (f" {said}" if said else "")
    if login is not None and not login and login.why_none:
        why += f" ({login.why_none})"
    fix = fix or _fix(name, status, answer.headers, login)
    return RegistryError(f"{name}: {what}: {why}; {fix}", transient=status in (408, 429) or status >= 500)


def own_words(body: bytes) -> str:
    """``CODE: message`` of the registry's first error, in one printable line; empty when it gave none."""
    try:
        first = read_json(body)["errors"][0]
        words = ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    line = "".join(letter if letter.isprintable() else " " for letter in words)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _fix(name: str, status: int, headers: Mapping[str, str], login: Credentials | None) -> str:
    registry = name.partition("/")[0]
    log_in = f"`docker login{'' if registry == 'docker.io' else f' {registry}'}`"
    if status in (401, 403):
        if login:
            return f"the stored login {login.user} may not read it: {log_in} with one that may"
        return f"it is private, or there is no such repository: {log_in}, or correct the name"
    if status == 429:
        return f"its rate limit is reached: try again {_when(headers)}, {log_in}, or name a mirror"
    if status == 404:
        return "correct the name"
    return "try again later, or name a mirror" if status >= 500 else "ask who runs the registry"


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
    name: str, what: str, host: str, error: requests.RequestException | urllib3.exceptions.HTTPError
) -> RegistryError:
    """The error when no answer came: the names of the cause, never the library's text, which holds whole URLs."""
    why, fix, transient = _cause(host, error)
    return RegistryError(f"{name}: {what}: {why}; {fix}", transient=transient)


def _cause(host: str, error: Exception) -> tuple[str, str, bool]:
    causes = tuple(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = "name your site's certificates in REQUESTS_CA_BUNDLE; they are never left unchecked"
            return f"TLS: the certificate of {host} does not hold: {cause.verify_message}", fix, False
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy did not lead to {host}", "check HTTPS_PROXY and NO_PROXY", True
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
