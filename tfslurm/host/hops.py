"""The machines on the way to a login node, each with everything that ssh's settings say about it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tfslurm.cluster import Login
from tfslurm.errors import HostError
from tfslurm.host.known_hosts import KnownKey, known_keys, revoked_keys
from tfslurm.host.ssh_config import Settings, settings_for
from tfslurm.host.ssh_tokens import Tokens, expanded, expanded_path, tokens_of
from tfslurm.host.user import user_name

MOST_HOPS = 10
USE_OPENSSH = "set `login: {transport: openssh}` in the cluster file"
DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
DEFAULT_KNOWN = {
    "userknownhostsfile": ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
    "globalknownhostsfile": ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
}
WAYS_IN = {
    "gssapi-with-mic": {"gssapiauthentication": "GSSAPIAuthentication"},
    "hostbased": {"hostbasedauthentication": "HostbasedAuthentication"},
    "publickey": {"pkcs11provider": "PKCS11Provider"},
}
"What a machine accepts -> the settings by which ssh, and not paramiko, could do that."
WAYS_TO_KNOW = {"knownhostscommand": "KnownHostsCommand", "verifyhostkeydns": "VerifyHostKeyDNS"}
KEYWORDS = {
    "ciphers": "Ciphers",
    "macs": "MACs",
    "kexalgorithms": "KexAlgorithms",
    "hostkeyalgorithms": "HostKeyAlgorithms",
    "pubkeyacceptedalgorithms": "PubkeyAcceptedAlgorithms",
}
OFF = ("", "no", "false", "none")


@dataclass(frozen=True, slots=True)
class Hop:
    """One machine on the way, with everything that ~/.ssh/config says about it."""

    cluster: str
    host: str
    port: int
    user: str
    alias: str
    "the name in known_hosts, where that is another (HostKeyAlias)"
    identities: tuple[Path, ...]
    certificates: tuple[Path, ...]
    identities_only: bool
    agent: str
    "the agent's socket; '': there is none, or it is not to be asked"
    known_hosts: tuple[Path, ...]
    revoked: tuple[Path, ...]
    "the files of RevokedHostKeys"
    proxy_jump: str | None
    proxy_command: str | None
    settings: Settings

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == 22 else f":{self.port}")

    def ssh(self) -> str:
        """The command that logs in there."""
        return shlex.join(["ssh", *([] if self.port == 22 else ["-p", str(self.port)]), f"{self.user}@{self.host}"])

    def value(self, key: str, default: str = "") -> str:
        """The one value of a keyword."""
        return next(iter(self.settings.get(key, ())), default)

    def allows(self, method: str) -> bool:
        """Whether a way to log in is to be tried: publickey, keyboard-interactive, password."""
        keys = {"publickey": "pubkeyauthentication", "keyboard-interactive": "kbdinteractiveauthentication"}
        preferred = self.value("preferredauthentications")
        is_off = self.value(keys.get(method, f"{method}authentication"), "yes").lower() in OFF
        return not is_off and (not preferred or any(fnmatchcase(method, each) for each in preferred.split(",")))

    def unused(self, keywords: Mapping[str, str]) -> str:
        """What the user has set that paramiko cannot do, with the fix; '' where there is nothing."""
        names = [name for key, name in keywords.items() if self.value(key).lower() not in OFF]
        return (
            f"; paramiko cannot do what {' and '.join(names)} of your ssh settings says: {USE_OPENSSH}" if names else ""
        )

    def algorithms(self, key: str, own: Sequence[str]) -> tuple[str, ...]:
        """The algorithms that the settings allow, in their order; ``own`` are paramiko's, '' stands for no setting.

        Of a list with `+`, `-` or `^` in front it is paramiko's own list that is changed. Without ``own`` the names
        come out as they are.

        Raises:
            HostError: none of paramiko's is allowed.
        """
        text = self.value(key)
        if not text:
            return tuple(own)
        sign, patterns = (text[0], text[1:].split(",")) if text[0] in "+-^" else ("", text.split(","))
        if not own:
            return () if sign else tuple(patterns)
        if "curve25519-sha256" in patterns:
            patterns.append("curve25519-sha256@libssh.org")  # its older name, the only one that paramiko has
        named = [name for each in patterns for name in own if fnmatchcase(name, each)]
        rest = [name for name in own if name not in named]
        chosen = {"": named, "-": rest, "^": [*named, *rest], "+": list(own)}[sign]
        if not chosen:
            raise HostError(f"{self.cluster}: {self}: paramiko has none of {KEYWORDS[key]} {text}; {USE_OPENSSH}")
        return tuple(dict.fromkeys(chosen))

    def environment(self) -> Mapping[str, str]:
        """The variables that the settings send to the machine (SendEnv, SetEnv)."""
        patterns = self.settings.get("sendenv", ())
        sent = {key: value for key, value in os.environ.items() if any(fnmatchcase(key, each) for each in patterns)}
        return {**sent, **dict(word.split("=", 1) for word in self.settings.get("setenv", ()) if "=" in word)}

    def known(self) -> tuple[KnownKey, ...]:
        """Every known_hosts line that speaks of it, and every key that no machine may have.

        Raises:
            HostError: revoked keys are named, and cannot be read.
        """
        name, port = (self.alias, 22) if self.alias else (self.host, self.port)
        texts = [(path, path.read_text("utf-8", "replace")) for path in self.known_hosts if path.is_file()]
        known = [key for path, text in texts for key in known_keys(text, str(path), name, port)]
        return (*known, *(key for path in self.revoked for key in self._revoked_in(path)))

    def _revoked_in(self, path: Path) -> tuple[KnownKey, ...]:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as error:
            why = f"RevokedHostKeys {path} cannot be read: {error.strerror}; correct ~/.ssh/config"
            raise HostError(f"{self.cluster}: {self}: {why}") from None
        if text.startswith("SSHKRL\n"):
            why = f"RevokedHostKeys {path} is a KRL, which paramiko cannot read"
            raise HostError(f"{self.cluster}: {self}: {why}; {USE_OPENSSH}")
        return revoked_keys(text, str(path))


def route(name: str, login: Login, home: Path) -> tuple[Hop, ...]:
    """Return the machines to go through, the login node last.

    Raises:
        HostError: the settings cannot be understood, or the jumps never end.
    """
    last = hop_to(name, login, home)
    jumps = (last.proxy_jump or "").split(",")
    hops = [last]
    for spec in reversed([jump.strip() for jump in jumps if jump.strip()]):
        if len(hops) > MOST_HOPS:
            raise _endless(name, login)
        hops.insert(0, hop_to(name, _login(name, spec), home))
    while len(hops) > 1 and hops[0].proxy_jump:  # only the first jump goes its own way, as in OpenSSH
        if len(hops) > MOST_HOPS:
            raise _endless(name, login)
        before = [hop_to(name, _login(name, spec.strip()), home) for spec in hops[0].proxy_jump.split(",")]
        hops = [*before, *hops]
    return tuple(hops)


def _endless(name: str, login: Login) -> HostError:
    return HostError(f"{name}: {login.host}: more than {MOST_HOPS} jumps; does ProxyJump name itself?")


def _login(name: str, spec: str) -> Login:
    found = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(?:\[([^]]+)\]|([^:@\[\]]+))(?::(\d+))?/?", spec)
    if not found:
        raise HostError(f"{name}: proxy_jump {spec!r} is not [user@]host[:port]")
    user, bracketed, plain, port = found.groups()
    return Login(host=bracketed or plain, user=user, port=int(port) if port else None)


def hop_to(name: str, login: Login, home: Path) -> Hop:
    """Look one machine up; what the cluster file says wins.

    Raises:
        HostError: the settings cannot be understood, or say what paramiko cannot do.
    """
    found = settings_for(name, login, home)
    try:
        return _hop(name, login, found, tokens_of(login.host, found, home))
    except HostError as error:
        raise HostError(f"{name}: {login.host}: {error}") from None


def _hop(name: str, login: Login, found: Settings, tokens: Tokens) -> Hop:
    def first(key: str) -> str:
        value = next(iter(found.get(key, ())), "")
        return "" if value.lower() == "none" else value

    def paths(key: str, default: tuple[str, ...] = ()) -> tuple[Path, ...]:
        texts = [text for text in found.get(key) or default if text.lower() != "none"]
        return tuple(expanded_path(text, tokens, key) for text in texts)

    if message := first("refuseconnection"):
        raise HostError(f"your ssh settings refuse the connection: {message}")
    for key, value in (("ProxyUseFdpass", first("proxyusefdpass")), ("BindInterface", first("bindinterface"))):
        if value.lower() not in OFF:
            raise HostError(f"`{key} {value}` of your ssh settings is beyond paramiko; {USE_OPENSSH}")
    jump = login.proxy_jump or first("proxyjump")
    command = "" if login.proxy_jump else first("proxycommand")
    return Hop(
        cluster=name,
        host=tokens["h"],
        port=_number(tokens["p"], "Port"),
        user=first("user") or user_name(),
        alias=first("hostkeyalias"),
        identities=paths("identityfile", DEFAULT_KEYS),
        certificates=paths("certificatefile"),
        identities_only=first("identitiesonly").lower() == "yes",
        agent=_agent(next(iter(found.get("identityagent", ())), "SSH_AUTH_SOCK"), tokens),
        known_hosts=tuple(path for key, default in DEFAULT_KNOWN.items() for path in paths(key, default)),
        revoked=paths("revokedhostkeys"),
        proxy_jump=jump if jump not in ("", "none") else None,
        proxy_command=expanded(command, tokens, "ProxyCommand") if command else None,
        settings=found,
    )


def _number(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise HostError(f"{where} {text!r} is not a number; correct ~/.ssh/config")
    return int(text)


def _agent(text: str, tokens: Tokens) -> str:
    """The socket that IdentityAgent names: a path, `none`, or a variable that holds it."""
    if text.lower() == "none":
        return ""
    if text == "SSH_AUTH_SOCK" or re.fullmatch(r"\$\w+", text):
        return os.environ.get(text.removeprefix("$"), "")
    return str(expanded_path(text, tokens, "IdentityAgent"))
