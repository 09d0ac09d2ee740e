"""The tokens (`%h`), variables (`${HOME}`) and `~` in values of ssh's settings. Source: ssh_config(5), TOKENS."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfslurm.errors import HostError
from tfslurm.host.ssh_files import at_home
from tfslurm.host.user import user_name

Tokens = Mapping[str, str]


def tokens_of(host: str, found: Mapping[str, Sequence[str]], home: Path) -> Tokens:
    """Return the tokens for a machine; ``host`` is its name as it was given, ``found`` its settings."""

    def first(key: str, default: str) -> str:
        return next(iter(found.get(key, ())), default)

    local, me = socket.gethostname(), user_name()
    address, port, user = first("hostname", host), first("port", "22"), first("user", me)
    jump = re.sub(r".*@|:\d+$", "", first("proxyjump", "").rpartition(",")[2])
    return {
        "%": "%",
        "h": address,
        "n": host,
        "p": port,
        "r": user,
        "k": first("hostkeyalias", host),
        "d": str(home),
        "u": me,
        "i": str(os.getuid()),
        "l": local,
        "L": local.partition(".")[0],
        "j": jump,
        "T": "NONE",
        "C": hashlib.sha1(f"{local}{address}{port}{user}{jump}".encode(), usedforsecurity=False).hexdigest(),
    }


def expanded(text: str, tokens: Tokens, where: str) -> str:
    """Return a value with its tokens replaced.

    Raises:
        HostError: one of them is not known there.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in tokens:
            raise HostError(f"{where} {text!r}: %{found[1]} is not a token that it can have; correct ~/.ssh/config")
        return tokens[found[1]]

    return re.sub(r"%(.?)", value, text)


def expanded_path(text: str, tokens: Tokens, where: str) -> Path:
    """Return the file that a value names: with `~`, variables and tokens replaced.

    Raises:
        HostError: a token is not known there, or a variable is not set.
    """

    def variable(found: re.Match[str]) -> str:
        if found[1] == "HOME":
            return tokens["d"].replace("%", "%%")
        if found[1] not in os.environ:
            raise HostError(f"{where} {text!r}: the variable {found[1]} is not set; set it, or correct ~/.ssh/config")
        return os.environ[found[1]].replace("%", "%%")

    home = Path(tokens["d"])
    path = at_home(text, home) if text.startswith("~") else text
    return home / expanded(re.sub(r"\$\{(\w+)\}", variable, path), tokens, where)
