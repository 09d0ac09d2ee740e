"""Who lets us in: the hops to a login node, the keys that may open it, the questions it may ask. Uses paramiko."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from tfslurm.cluster import Login
from tfslurm.document.tree import printable
from tfslurm.errors import HostError
from tfslurm.host.known_hosts import KnownKey, known_keys, revoked_keys
from tfslurm.host.match_exec import settle_match_exec
from tfslurm.host.terminal import ALONE, ask, has_terminal, tell
from tfslurm.host.user import user_name

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
MOST_HOPS = 10


@dataclass(frozen=True, slots=True)
class Hop:
    """One machine on the way, with everything that ~/.ssh/config says about it."""

    host: str
    port: int
    user: str
    key_name: str
    "the name in known_hosts (HostKeyAlias)"
    identities: tuple[Path, ...]
    identities_only: bool
    agent: bool
    known_hosts: tuple[Path, ...]
    revoked: tuple[Path, ...]
    "the files of RevokedHostKeys"
    proxy_jump: str | None
    proxy_command: str | None

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == 22 else f":{self.port}")

    def ssh(self) -> str:
        """The command that logs in there."""
        return shlex.join(["ssh", *([] if self.port == 22 else ["-p", str(self.port)]), f"{self.user}@{self.host}"])

    def known(self) -> tuple[KnownKey, ...]:
        """Every known_hosts line that speaks of it, and every key that no machine may have.

        Raises:
            HostError: revoked keys are named, and cannot be read.
        """
        texts = [(path, path.read_text("utf-8", "replace")) for path in self.known_hosts if path.is_file()]
        known = [key for path, text in texts for key in known_keys(text, str(path), self.key_name, self.port)]
        return (*known, *(key for path in self.revoked for key in self._revoked_in(path)))

    def _revoked_in(self, path: Path) -> tuple[KnownKey, ...]:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as error:
            why = f"RevokedHostKeys {path} cannot be read: {error.strerror}; correct ~/.ssh/config"
            raise HostError(f"{self}: {why}") from None
        if text.startswith("SSHKRL\n"):
            why = f"RevokedHostKeys {path} is a KRL, which paramiko cannot read"
            raise HostError(f"{self}: {why}; set `login: {{transport: openssh}}` in the cluster file")
        return revoked_keys(text, str(path))


# --- the way there


def route(name: str, login: Login, config: str, home: Path) -> tuple[Hop, ...]:
    """Return the machines to go through, the login node last.

    Raises:
        HostError: the settings cannot be understood, or the jumps never end.
    """
    last = _hop(name, login, config, home)
    jumps = [] if login.proxy_jump in ("none", "") else (login.proxy_jump or last.proxy_jump or "").split(",")
    hops = [last]
    for spec in reversed([jump.strip() for jump in jumps if jump.strip()]):
        if len(hops) > MOST_HOPS:
            raise HostError(f"{name}: {login.host}: more than {MOST_HOPS} jumps; does ProxyJump name itself?")
        hops.insert(0, _hop(name, _login(name, spec), config, home))
    while len(hops) > 1 and hops[0].proxy_jump:  # only the first jump goes its own way, as in OpenSSH
        if len(hops) > MOST_HOPS:
            raise HostError(f"{name}: {login.host}: more than {MOST_HOPS} jumps; does ProxyJump name itself?")
        before = [_hop(name, _login(name, spec.strip()), config, home) for spec in hops[0].proxy_jump.split(",")]
        hops = [*before, *hops]
    return tuple(hops)


def _login(name: str, spec: str) -> Login:
    found = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(?:\[([^]]+)\]|([^:@\[\]]+))(?::(\d+))?/?", spec)
    if not found:
        raise HostError(f"{name}: proxy_jump {spec!r} is not [user@]host[:port]")
    user, bracketed, plain, port = found.groups()
    return Login(host=bracketed or plain, user=user, port=int(port) if port else None)


def _hop(name: str, login: Login, config: str, home: Path) -> Hop:
    """Look one machine up; what the cluster file says stands in front, so that it wins and fills %r and %p too."""
    user = f"User {login.user}" if login.user else ""
    number = f"Port {login.port}" if login.port else ""
    settle_match_exec()
    try:
        text = "\n".join([f"Host {login.host}", user, number, "Host *", config])
        found = paramiko.SSHConfig.from_text(text).lookup(login.host)
    except (paramiko.SSHException, KeyError, ValueError, ImportError) as error:
        fix = "set `login: {transport: openssh}` in the cluster file to use the system's ssh"
        raise HostError(f"{name}: ~/.ssh/config is not understood ({error}); {fix}") from error

    def paths(key: str, default: str) -> tuple[Path, ...]:
        words = found.get(key, default).replace('"', "").split()
        return tuple(home / word.removeprefix("~/") for word in words if word.lower() != "none")

    port = int(found.get("port", 22))
    named = [home / file.removeprefix("~/") for file in found.get("identityfile", [])]
    jump = found.get("proxyjump")
    return Hop(
        host=found["hostname"],
        port=port,
        user=found.get("user") or user_name(),
        key_name=found.get("hostkeyalias") or found["hostname"],
        identities=tuple(named or [home / ".ssh" / file for file in DEFAULT_KEYS]),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        agent=found.get("identityagent", "").lower() != "none",
        known_hosts=paths("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        + paths("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
        revoked=paths("revokedhostkeys", "none"),
        proxy_jump=jump if jump and jump.lower() != "none" else None,
        proxy_command=found.get("proxycommand"),
    )


# --- getting in


def authenticate(name: str, hop: Hop, transport: paramiko.Transport) -> None:
    """Log in: keys first, then what the machine asks, which only a terminal can answer.

    Raises:
        HostError: nothing opened the machine; says what was tried.
    """
    tried: list[str] = []
    try:
        transport.auth_none(hop.user)
        return
    except paramiko.BadAuthenticationType as refusal:
        allowed: Sequence[str] = refusal.allowed_types
    if "publickey" in allowed:
        allowed = _with_keys(hop, transport, allowed, tried)
    if not transport.is_authenticated() and "keyboard-interactive" in allowed:
        allowed = _with_answers(name, hop, transport, allowed, tried)
    if not transport.is_authenticated() and "password" in allowed and has_terminal():
        _with_password(name, hop, transport, tried)
    if not transport.is_active():
        after = "; ".join(tried) or "the first word"
        why = f"the line was closed during the login, after {after}; try again, or name one key with IdentitiesOnly"
        raise HostError(f"{name}: {hop}: {why}", transient=True)
    if not transport.is_authenticated():
        ways = ", ".join(allowed) or "nothing"
        why = f"not let in: tried {'; '.join(tried) or 'nothing, for there is no key'}; it accepts {ways}"
        raise HostError(f"{name}: {hop}: {why}; check the user name, load a key (ssh-add), or try: {hop.ssh()}")


def _with_keys(hop: Hop, transport: paramiko.Transport, allowed: Sequence[str], tried: list[str]) -> Sequence[str]:
    """Offer key after key; return what the machine still asks for."""
    agent = paramiko.Agent() if hop.agent else None
    try:
        return _offer(hop, transport, allowed, _keys(hop, agent.get_keys() if agent else (), tried), tried)
    finally:
        if agent:
            agent.close()


def _offer(
    hop: Hop,
    transport: paramiko.Transport,
    allowed: Sequence[str],
    keys: Iterator[tuple[str, paramiko.PKey]],
    tried: list[str],
) -> Sequence[str]:
    for label, key in keys:
        try:
            return transport.auth_publickey(hop.user, key)
        except paramiko.BadAuthenticationType as refusal:
            return refusal.allowed_types
        except paramiko.AuthenticationException:
            tried.append(label)
            if not transport.is_active():
                break
        except paramiko.SSHException as error:
            tried.append(f"{label} ({error})")
            if not transport.is_active():
                break
    return allowed


def _keys(hop: Hop, agent: Sequence[paramiko.PKey], tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the agent's keys, the configured ones first, then the files that the agent does not hold."""
    public = {path: _public_blob(path) for path in hop.identities}
    held = {key.asbytes(): key for key in agent}
    named = [blob for blob in public.values() if blob in held]
    for blob in [*named, *([] if hop.identities_only else [blob for blob in held if blob not in named])]:
        yield "a key of the agent", held[blob]
    for path, public_blob in public.items():
        if public_blob not in held and path.is_file() and (key := _load(path, tried)):
            yield str(path), key


def _public_blob(path: Path) -> bytes | None:
    try:
        return base64.b64decode(Path(f"{path}.pub").read_text("utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _load(path: Path, tried: list[str]) -> paramiko.PKey | None:
    """Read a key file, with its passphrase where the user can be asked for it."""
    password: str | None = None
    for attempt in range(4):
        try:
            return paramiko.PKey.from_path(path, password.encode() if password is not None else None)  # type: ignore[arg-type]
        except TypeError:  # what cryptography says of an encrypted key without a passphrase
            if not has_terminal():
                tried.append(f"{path} (encrypted, and no terminal to ask for its passphrase: ssh-add it)")
                return None
        except (OSError, ValueError, paramiko.SSHException) as error:
            if password is None or attempt == 3:
                tried.append(f"{path} ({error})")
                return None
        with ALONE:
            password = ask(f"Passphrase for {path}: ", echo=False)
    return None


def _with_answers(
    name: str, hop: Hop, transport: paramiko.Transport, allowed: Sequence[str], tried: list[str]
) -> Sequence[str]:
    """Let the machine ask (a password, a one-time code); without a terminal only what has no question succeeds."""
    unanswered: list[str] = []

    def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if prompts and not has_terminal():
            asked = prompts[0][0].strip()
            unanswered.append(f"it asks {asked!r}, and there is no terminal to answer")
            return [""] * len(prompts)
        if prompts:
            tell(f"{name}: {hop}: {title}\n{instructions}")
        # the machine chose the words, which could be those of another question: they stand behind its name, on one line
        return [ask(f"({hop}) {printable(prompt.strip())} ", echo=echo) for prompt, echo in prompts]

    try:
        with ALONE:  # to the verdict: of a code that two machines share, only then is it known as used
            return transport.auth_interactive(hop.user, answer)
    except paramiko.BadAuthenticationType as refusal:
        return refusal.allowed_types
    except paramiko.AuthenticationException:
        tried.append(f"keyboard-interactive ({'; '.join(unanswered) or 'the answer was not accepted'})")
    return allowed


def _with_password(name: str, hop: Hop, transport: paramiko.Transport, tried: list[str]) -> None:
    try:
        with ALONE:
            password = ask(f"{name}: {hop}'s password: ", echo=False)
            transport.auth_password(hop.user, password, fallback=False)
    except paramiko.AuthenticationException:
        tried.append("a password")
