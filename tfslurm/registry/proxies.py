"""The proxy that the variables of this shell name for an address; a value that cannot work is refused by name.

A proxy's URL often holds a password, so no part of a value stands in a message.
Sources: curl's and wget's manuals (names of the variables), golang.org/x/net/http/httpproxy (forms of NO_PROXY).
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from urllib.parse import urlsplit

from tfslurm.registry.errors import WrongSetting

SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_BREAKS_OFF = "#/?[]\\ "
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^\[\]:/?#@\\\s]+)(?::([0-9]{1,5}))?/?")


def proxy_of(scheme: str, host: str, port: int) -> tuple[str, str]:
    """The variable that names the proxy for an address, and the proxy's URL; two empty texts without one.

    ``https_proxy``, then ``all_proxy``, each in lower case first; an empty value means none. NO_PROXY leaves hosts out.

    Raises:
        WrongSetting: its value is no address of a proxy, or asks for SOCKS and PySocks is not installed.
    """
    if bypassed(host, port, _first("no_proxy")[1]):
        return "", ""
    for kind in (f"{scheme}_proxy", "all_proxy"):
        variable, value = _first(kind)
        if value:
            return variable, _checked(variable, value)
    return "", ""


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY leaves a host out: by its name, a domain above it, its address, a network, each with a port."""
    bare = host.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        address = None
    for entry in no_proxy.lower().replace(",", " ").split():
        name, given_port = _entry(entry)
        if given_port not in ("", str(port)):
            continue
        if entry == "*" or name == bare:
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                continue
        elif name and bare.endswith("." + name.removeprefix("*").lstrip(".")):
            return True
    return False


def _entry(entry: str) -> tuple[str, str]:
    """Name and port of one entry of NO_PROXY; an IPv6 address may stand in brackets or bare."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name + rest.partition(":")[0], rest.partition(":")[2]
    if entry.count(":") > 1:
        return entry, ""
    name, _, port = entry.partition(":")
    return name.rstrip("."), port


def _first(kind: str) -> tuple[str, str]:
    """Name and value of a variable; one in lower case counts before the same in capitals, even if it is empty."""
    for name in (kind, kind.upper()):
        if name in os.environ:
            return name, os.environ[name].strip()
    return kind, ""


def _checked(variable: str, value: str) -> str:
    """A proxy's URL with its scheme, as the HTTP library reads it."""
    scheme, separator, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if separator else ("http", value)
    login, at, place = rest.rpartition("@")
    if at and any(sign in _BREAKS_OFF or not sign.isprintable() for sign in login):
        why = "its user or password holds a special character"
        raise WrongSetting(f"{variable}: {why}; write it percent-encoded: # as %23, / as %2F, ? as %3F, a blank as %20")
    if scheme not in SCHEMES:
        raise WrongSetting(
            f"{variable}: its scheme is none of a proxy; write http://HOST:PORT, or one of {', '.join(SCHEMES[1:])}"
        )
    _check_place(variable, place)
    if scheme.startswith("socks") and importlib.util.find_spec("socks") is None:
        fix = "pip install 'requests[socks]' beside tfslurm, or name an http proxy"
        raise WrongSetting(f"{variable}: it names a SOCKS proxy, and PySocks is not installed; {fix}")
    return f"{scheme}://{rest.rstrip('/')}"


def _check_place(variable: str, place: str) -> None:
    """Refuse a host or a port that is none."""
    found = _HOST_AND_PORT.fullmatch(place)
    if not found:
        host, colon, port = place.rstrip("/").rpartition(":")
        if ":" in host and not host.startswith("["):
            why, fix = "its IPv6 address stands without brackets", "write http://[ADDRESS]:PORT"
        elif colon and host and not port.isdigit():
            why, fix = "its port is no number", "write http://HOST:PORT; the port of a proxy is often 3128 or 8080"
        else:
            why, fix = "it names no host", "write http://HOST:PORT"
        raise WrongSetting(f"{variable}: {why}; {fix}")
    if found[2] and not 0 < int(found[2]) < 2**16:
        raise WrongSetting(f"{variable}: its port is larger than 65535, or 0; write http://HOST:PORT")
    try:
        urlsplit(f"//{place}").port  # noqa: B018  (raises for an address in brackets that is none)
    except ValueError:
        raise WrongSetting(f"{variable}: the address in brackets is none; write http://[ADDRESS]:PORT") from None
