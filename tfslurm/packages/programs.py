"""uv and pip as they are on this machine: where they are, how they are called, and the settings of the user.

Both read logins from their own settings, ~/.netrc and the environment. tfslurm hands settings on in the environment of
the program alone: never as words, which every user of the machine could see.
"""

from __future__ import annotations

import ast
import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

from tfslurm.errors import Completed, HostError, TfslurmError
from tfslurm.host.local import LocalHost
from tfslurm.image.facts import ImageFacts
from tfslurm.packages.run_pip import VARIABLE
from tfslurm.packages.targets import markers

PYPI = "https://pypi.org/simple"
GET = "pip install 'tfslurm[packages]' brings uv and pip"
MOST_BYTES = 256 * 2**20  # a report of pip holds the whole description of each package
MEMORY_BYTES = 4 * 2**30
"What uv or pip may allocate: an index may send a page without end. A large resolution takes some hundred MiB."
_RUN_PIP = str(Path(__file__).with_name("run_pip.py"))
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_LOGIN = re.compile(r"(?<=://)(?!/)[^/\s'\"]*@")
_OWN = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_USER": "0",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_PYTHON": "",
    "PIP_PROGRESS_BAR": "off",
    "PIP_NO_COLOR": "1",
    "NO_COLOR": "1",
    "PIP_QUIET": "0",
}


class Indexes(NamedTuple):
    """Where wheels are looked for, as pip's settings have it; texts may hold logins, and are never shown or kept.

    ``first`` empty: no index, only the folders. ``constraints`` are files of the site. ``merged``: the best version of
    all indexes is taken, as pip does; else that of the first index that has the package, as uv does.
    """

    first: str
    more: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    certificates: str = ""
    proxy: str = ""
    trusted: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    merged: bool = True


def without_logins(text: str) -> str:
    """The text, with no user or password in its addresses."""
    return _LOGIN.sub("", text)


def find_uv() -> tuple[str, ...]:
    """How uv is called; () where it is not installed."""
    if found := which("uv"):
        return (found,)
    if not find_spec("uv"):
        return ()
    with suppress(OSError, AttributeError):
        return (str(import_module("uv").find_uv_bin()),)
    return ()


def find_pip() -> tuple[str, ...]:
    """How pip is called: that of this Python, else of the one on PATH. () where there is none."""
    if find_spec("pip"):
        return (sys.executable, _RUN_PIP)
    for name in ("python3", "python"):
        found = which(name)
        if found and call((found, _RUN_PIP, "--version")).exit_code == 0:
            return (found, _RUN_PIP)
    return ()


def call(argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 600.0) -> Completed:
    """How a program ended that was run here, without a shell, with ``environment`` over this process's own.

    Raises:
        TfslurmError: it could not be started, or did not end in time.
    """
    try:
        host = LocalHost("this machine", {**_OWN, **(environment or {})})
        return host.run(bounded(argv), timeout_s=timeout_s, max_bytes=MOST_BYTES)
    except HostError as error:
        raise TfslurmError(without_logins(str(error)), transient=error.transient) from error


def bounded(argv: Sequence[str]) -> tuple[str, ...]:
    """The words that run a program with at most MEMORY_BYTES of its own; unchanged where no prlimit (util-linux) is.

    The limit is RLIMIT_DATA: both programs reserve far more addresses than they use, so RLIMIT_AS would stop them.
    """
    prlimit = which("prlimit")
    if not prlimit:
        return tuple(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    return (prlimit, f"--data={most}", "--", *argv)


def indexes(pip: Sequence[str], environment: Mapping[str, str] = os.environ) -> Indexes:
    """The settings of this user and site: pip's; variables of uv that name an index stand over them."""
    found = _pip_settings(call((*pip, "config", "list")).stdout) if pip else {}

    def words(name: str) -> tuple[str, ...]:
        return tuple(found.get(name, "").split())

    own = _uv_indexes(environment)
    no_index = found.get("no-index", "").lower() in ("1", "true", "yes", "on")
    index = "" if no_index else found.get("index-url") or PYPI
    more, folders = (() if no_index else words("extra-index-url")), words("find-links")
    if own:
        index, more, folders = own
    return Indexes(
        index,
        more,
        folders,
        found.get("cert") or environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE") or "",
        found.get("proxy", ""),
        words("trusted-host"),
        words("constraint"),
        own is None,
    )


def _pip_settings(text: str) -> dict[str, str]:
    """Name -> value of what `pip config list` prints: the environment over a command's section, that over all."""
    ranks = {"global": 0, "download": 1, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if not equals or section not in ranks:
            continue
        try:
            said = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
        if name not in found or ranks[section] >= found[name][0]:
            found[name.replace("_", "-")] = (ranks[section], said)
    return {name: said for name, (_, said) in found.items()}


def _uv_indexes(environment: Mapping[str, str]) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """Index, more of them and folders of uv's variables; None where they name none. An entry may be NAME=ADDRESS."""
    get = environment.get
    first = get("UV_DEFAULT_INDEX") or get("UV_INDEX_URL") or ""
    more = [*(get("UV_INDEX") or "").split(), *(get("UV_EXTRA_INDEX_URL") or "").split()]
    folders = tuple((get("UV_FIND_LINKS") or "").replace(",", " ").split())
    if not first and not more and not folders:
        return None
    bare = [re.sub(r"^[A-Za-z0-9._-]+=", "", each) for each in (first, *more)]
    return bare[0] or PYPI, tuple(bare[1:]), folders


def for_uv(
    places: Indexes, more_folders: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables by which uv looks there and nowhere else.

    What is in lower case stands over the same in capitals, as for pip; uv has it the other way.
    """
    given = {
        "UV_DEFAULT_INDEX": places.first,
        "UV_INDEX": " ".join(places.more),
        "UV_FIND_LINKS": ",".join((*more_folders, *places.folders)),
        "UV_INSECURE_HOST": " ".join(places.trusted),
        "UV_CONSTRAINT": " ".join(places.constraints),
        "SSL_CERT_DIR" if Path(places.certificates).is_dir() else "SSL_CERT_FILE": places.certificates,
        **{name.upper(): environment.get(name, "") for name in PROXIES},
        **(dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), places.proxy) if places.proxy else {}),
    }
    merged = places.merged and places.more  # so it does not say that an index refused the login
    own = {"UV_NO_PROGRESS": "1", **({"UV_INDEX_STRATEGY": "unsafe-best-match"} if merged else {})}
    return {**own, **{name: value for name, value in given.items() if value}}


def for_pip(places: Indexes, facts: ImageFacts, more_folders: Sequence[str] = ()) -> dict[str, str]:
    """The variables by which pip looks there and nowhere else, and takes the image's markers for its own.

    The rest of its settings it reads itself.
    """
    return {
        "PIP_INDEX_URL": places.first or PYPI,
        "PIP_NO_INDEX": "0" if places.first or places.more else "1",
        "PIP_EXTRA_INDEX_URL": " ".join(places.more),
        "PIP_FIND_LINKS": " ".join((*more_folders, *places.folders)),
        VARIABLE: "\n".join(f"{name}={value}" for name, value in markers(facts).items()),
    }
