"""The login that `docker login` stored for a registry: read when a registry asks, never printed."""

from __future__ import annotations

import base64
import json
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from tfslurm.document.bounded_json import read_json


@dataclass(frozen=True, slots=True)
class Credentials:
    """A stored login. ``why_none`` says what kept one from being read; the secrets never appear in a repr."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    why_none: str = ""

    def __bool__(self) -> bool:
        return bool((self.user and self.password) or self.identity_token)

    @property
    def basic(self) -> str:
        """The value of ``Authorization`` for basic authentication (RFC 7617, in UTF-8); empty without a password."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Basic {pair}" if self.password else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every form in which the login travels, so that none is ever repeated in a message."""
        return tuple(filter(None, (self.password, self.identity_token, self.basic.removeprefix("Basic "))))


def stored_credentials(registry: str, docker_config: str | None = None) -> Credentials:
    """The login for ``registry`` from docker's configuration; empty when there is none.

    Read as the docker client reads it: ``auths``, ``credHelpers`` and ``credsStore`` of ``config.json`` in
    ``docker_config`` (a folder), else in ``$DOCKER_CONFIG``, else in ``~/.docker``; Docker Hub stands there as
    ``https://index.docker.io/v1/``. ``why_none`` names a configuration or a credential helper that fails, which never
    stops an image that needs no login. Source: docs.docker.com/reference/cli/docker/login, "Credential stores".
    """
    from docker import auth, errors
    from docker.utils import config

    logging.getLogger("docker").setLevel(logging.WARNING)  # its debug lines name users
    path = f"{docker_config}/config.json" if docker_config else str(config.find_config_file(None) or "")
    if not path or not Path(path).exists():
        return Credentials()
    try:
        content = read_json(Path(path).read_text("utf-8")) if path.endswith(".json") else None
        if not content:
            return Credentials()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # docker warns of an absent helper, then raises
            entry = auth.load_config(config_path=path, config_dict=content).resolve_authconfig(registry) or {}
    except (errors.DockerException, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return Credentials(why_none=f"{path} gave no login ({_kind(error)})")
    return Credentials(
        user=str(entry.get("username") or entry.get("Username") or ""),
        password=str(entry.get("password") or entry.get("Password") or ""),
        identity_token=str(entry.get("IdentityToken") or ""),
    )


def _kind(error: Exception) -> str:
    """The kind of an error, without its own text, which may hold what a credential helper printed."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} is not JSON"
    if type(error).__module__.startswith("docker"):
        return "its credential helper is missing or failed"
    return "its `auths` are not as docker writes them"
