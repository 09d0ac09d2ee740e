"""Which token server may have the login that is stored for a registry.

A registry names its token server itself, so whoever answers in its place could name his own. See docs/adr/0032.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

TOKEN_SERVERS = "TFSLURM_TOKEN_SERVERS"  # noqa: S105 - a variable's name
"The user's own: `registry.example.org=auth.example.com,…`."

KNOWN: Mapping[str, str] = {
    # docs.docker.com/reference/api/registry/auth
    r"docker\.io": r"auth\.docker\.io",
    # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1945
    r"nvcr\.io": r"authn\.nvidia\.com",
    # registry.REGION, NAME-registry.REGION.cr, ID.REGION.personal.cr; no bucket of a customer has such a name
    r"([a-z0-9-]+\.)+aliyuncs\.com": r"dockerauth(-ee)?[.-](ap|cn|eu|me|us)(-[a-z0-9]+){1,2}\.aliyuncs\.com",
}
"A registry -> the token servers on other hosts that are its own. Patterns of whole host names."

TENANTS = frozenset(
    {
        *("aliyuncs.com", "amazonaws.com", "azurecr.cn", "azurecr.io", "icr.io", "jfrog.io", "myhuaweicloud.com"),
        *("ocir.io", "pkg.dev", "scw.cloud", "tencentcloudcr.com", "tencentyun.com"),
    }
)
"Domains below which each customer has names of his own, though the Public Suffix List has them not."

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{0,30}}|\[[0-9A-Fa-f:.]{{2,45}}\]")
_URL = re.compile(rf"https?://(?:{_HOST.pattern})(?::[0-9]{{1,5}})?(?:[/?][!-\[\]^-~]*)?")
_LONGEST = 8192


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal before a login is sent. Empty when the text is no plain URL.

    Plain: a host name or an address, no user, no white space, no backslash: two readers of a URL that differ about its
    host would send a login elsewhere than was checked.
    """
    found = _URL.fullmatch(url)
    if not found or len(url) > _LONGEST:
        return "", "", 0
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), port


def may_have_login(registry: str, base: str, realm: str) -> bool:
    """Whether the login that is stored for a registry may go to a token server; ``base`` is the registry's own URL.

    The same host may, on any port where it has a name and shows it by https; so may a host of the same registrable
    domain, one in KNOWN, and one that the user names in $TFSLURM_TOKEN_SERVERS.
    """
    here, there = origin(base), origin(realm)
    if not there[1]:
        return False
    if here == there:
        return True
    name = registry.partition(":")[0].lower()
    if there[1] in listed_servers().get(registry.lower(), ()):
        return there[0] == "https" or (is_loopback(there[1]) and is_loopback(here[1]))
    if there[0] != "https" or is_address(here[1]) or is_address(there[1]):
        return False
    known = any(re.fullmatch(own, name) and re.fullmatch(server, there[1]) for own, server in KNOWN.items())
    return known or here[1] == there[1] or is_of_one_owner(here[1], there[1])


def without_scope(realm: str) -> str:
    """A token server's address, without what its query says of our request: every scope that it is given counts.

    Source: CNCF distribution, "Token Authentication Specification": ``scope`` may be given several times.
    """
    parts = urlsplit(realm)
    ours = ("scope", "service", "account", "client_id", "offline_token", "grant_type", "refresh_token", "access_type")
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0].lower() not in ours]
    return parts._replace(query=urlencode(kept), fragment="").geturl()


def listed_servers() -> dict[str, set[str]]:
    """The token servers that the user names: registry -> hosts."""
    found: dict[str, set[str]] = {}
    for pair in os.environ.get(TOKEN_SERVERS, "").replace(",", " ").split():
        registry, _, host = pair.lower().partition("=")
        if _HOST.fullmatch(host):
            found.setdefault(registry, set()).add(host.strip("[]"))
    return found


def is_of_one_owner(one: str, other: str) -> bool:
    """Whether two host names are below one registrable domain, by the Public Suffix List that its package has."""
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList(accept_unknown=False)
    domain = suffixes.privatesuffix(one)
    return domain is not None and domain not in TENANTS and domain == suffixes.privatesuffix(other)


def is_address(host: str) -> bool:
    """Whether a host is an IP address or this machine, of which each port may be somebody else's."""
    if host in ("localhost", "") or "." not in host or host.rpartition(".")[2].isdigit():
        return True
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine by its very name: the only place where plain http is spoken.

    Source: docs.docker.com/reference/cli/dockerd, "Insecure registries": 127.0.0.0/8 is insecure by definition.
    """
    bare = origin(f"http://{host}")[1] or host
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
