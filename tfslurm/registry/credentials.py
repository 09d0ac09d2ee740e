"""The login that `docker login` or `podman login` stored for an image: read when a registry asks, never printed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError
from tfslurm.local_files import read_file
from tfslurm.registry.credential_helpers import HelperFailed, ask_helper

_LARGEST = 4 * 2**20
_HUB = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io")
_API_PATHS = ("", "v1", "v2")  # of a key with one of these, older clients mean the whole registry


@dataclass(frozen=True, slots=True)
class Credentials:
    """A stored login. ``why_none`` says what kept one from being read; the secrets never appear in a repr.

    ``identity_token`` is exchanged for a token by the token server; ``registry_token`` is one already.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    why_none: str = ""

    def __bool__(self) -> bool:
        return bool((self.user and self.password) or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of ``Authorization`` for basic authentication (RFC 7617, in UTF-8); empty without a password."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Basic {pair}" if self.password else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every form in which the login travels, so that none is ever repeated in a message."""
        basic = self.basic.removeprefix("Basic ")
        return tuple(filter(None, (self.password, self.identity_token, self.registry_token, basic)))


class _Place(NamedTuple):
    """A file with logins. ``hosts``: each key counts for its whole host, as docker reads it; ``legacy``: no `auths`."""

    path: Path
    hosts: bool = True
    legacy: bool = False
    wanted_by: str = ""


def stored_credentials(registry: str, repository: str = "", engine: str = "docker") -> Credentials:
    """The login for ``registry/repository`` as the engines' own clients store it; empty if there is none.

    Read: ``$DOCKER_AUTH_CONFIG``; ``config.json`` in ``$DOCKER_CONFIG``, else in ``~/.docker``; ``~/.dockercfg``; and
    podman's ``$REGISTRY_AUTH_FILE`` and ``containers/auth.json``. Those of ``engine`` come first, and the first login
    counts. In each: ``credHelpers`` and ``credsStore``, then ``auths``, where the longest key that begins the image's
    name counts (``registry/team``). ``why_none`` names a file or a credential helper that failed, which never stops an
    image that needs no login.
    Sources: docs.docker.com/reference/cli/docker/login, "Credential stores"; docker/cli, cli/config/configfile;
    containers-auth.json(5).
    """
    failures: list[str] = []
    for name, content, place in _contents(engine, failures):
        try:
            found = _login(content, registry, repository, place, failures)
        except (AttributeError, KeyError, TypeError, ValueError):
            failures.append(f"{name} gave no login (its `auths` are not as docker writes them)")
            continue
        if found:
            return replace(found, why_none="; ".join(failures))
    return Credentials(why_none="; ".join(failures))


def _contents(engine: str, failures: list[str]) -> Iterator[tuple[str, Any, _Place]]:
    """The name and content of each place that has logins."""
    if text := os.environ.get("DOCKER_AUTH_CONFIG"):
        try:
            yield "DOCKER_AUTH_CONFIG", read_json(text, most=_LARGEST), _Place(Path())
        except ValueError as error:
            failures.append(f"DOCKER_AUTH_CONFIG gave no login ({_kind(error)})")
    for place in _places(engine):
        if not os.path.lexists(place.path):
            if place.wanted_by:
                failures.append(f"{place.wanted_by} names {place.path}, which is not there")
            continue
        try:
            content = read_json(read_file(place.path, _LARGEST) or b"{}")
        except (InputError, OSError, ValueError) as error:
            failures.append(f"{place.path} gave no login ({_kind(error)})")
            continue
        yield str(place.path), {"auths": content} if place.legacy else content, place


def _places(engine: str) -> list[_Place]:
    """The files that may have a login, in the order in which they count."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  (Path.home raises where there is none)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    session = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}")
    named = os.environ.get("REGISTRY_AUTH_FILE", "")
    docker = [
        _Place(Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"),
        _Place(home / ".dockercfg", legacy=True),
    ]
    podman = [
        *([_Place(Path(named), hosts=False, wanted_by="REGISTRY_AUTH_FILE")] if named else []),
        *(_Place(folder / "containers" / "auth.json", hosts=False) for folder in dict.fromkeys((session, settings))),
    ]
    return [*podman, *docker] if engine == "podman" else [*docker, *podman]


def _login(
    content: Mapping[str, Any], registry: str, repository: str, place: _Place, failures: list[str]
) -> Credentials:
    """The login that one file has; empty if it has none."""
    names = _HUB if registry == "docker.io" else (registry, f"https://{registry}")
    helpers = content.get("credHelpers") or {}
    server = next((name for name in names if name in helpers), names[0])
    if helper := helpers.get(server) or content.get("credsStore"):
        try:
            if found := ask_helper(str(helper), server):
                return _of_helper(*found)
        except HelperFailed as failed:
            failures.append(str(failed))
    auths = content.get("auths") or {}
    if not isinstance(auths, dict):
        raise TypeError("no object")
    for key in _keys(auths, names, repository, hosts=place.hosts):
        if found_here := _of_entry(auths[key]):
            return found_here
    return Credentials()


def _keys(auths: Mapping[str, Any], names: tuple[str, ...], repository: str, *, hosts: bool) -> Iterator[str]:
    """The keys that mean an image, the most telling first."""
    parts = repository.split("/") if repository else []
    for length in range(len(parts), -1, -1):
        yield from (key for name in names if (key := "/".join((name, *parts[:length]))) in auths)
    for key in auths:
        scheme, separator, rest = key.rpartition("://")
        host, _, path = rest.partition("/")
        whole = hosts or (separator and scheme in ("http", "https")) or path.strip("/") in _API_PATHS
        if whole and host in names:
            yield key


def _of_entry(entry: Mapping[str, Any]) -> Credentials:
    """The login in one entry of `auths`. Raises ValueError, AttributeError or TypeError for what docker cannot read."""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if text := entry.get("auth"):
        pair = base64.b64decode(text, validate=True).decode("utf-8")
        user, colon, password = pair.partition(":")
        if not colon:
            raise ValueError("no pair")
        password = password.strip("\0")
    identity, token = entry.get("identitytoken") or "", entry.get("registrytoken") or ""
    if not all(isinstance(each, str) for each in (user, password, identity, token)):
        raise TypeError("no text")
    return Credentials(user, "" if identity else password, identity, token)


def _of_helper(user: str, secret: str) -> Credentials:
    """A helper's answer; it writes a token with the user name ``<token>``."""
    return Credentials(identity_token=secret) if user == "<token>" else Credentials(user, secret)


def _kind(error: Exception) -> str:
    """The kind of an error, without its own text, which may hold what stands in the file."""
    if isinstance(error, InputError):
        return error.problems[0].why
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    return f"line {error.lineno} is not JSON" if isinstance(error, json.JSONDecodeError) else "it is not JSON"
