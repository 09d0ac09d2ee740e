"""known_hosts text -> the keys under which a machine is known. Pure. Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tfslurm.errors import HostError


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line that speaks of the machine; ``marker`` is empty, ``@revoked`` or ``@cert-authority``.

    ``of_port``: it names the very port.
    """

    kind: str
    blob: bytes
    marker: str
    file: str
    line: int
    of_port: bool = True


def known_keys(text: str, file: str, host: str, port: int) -> tuple[KnownKey, ...]:
    """Return the keys of a machine; for a port other than 22 those of `[host]:port` and, as OpenSSH, of `host`."""
    names = [host.lower()] if port == 22 else [f"[{host.lower()}]:{port}", host.lower()]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        matching = [name for name in names if _matches(words[0], name)]
        if not matching:
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        found.append(KnownKey(words[1], blob, marker, file, number, names[0] in matching))
    return tuple(found)


def revoked_keys(text: str, file: str) -> tuple[KnownKey, ...]:
    """Return the keys of a RevokedHostKeys file, one public key a line, as revoked for every machine."""
    lines = "".join(f"@revoked * {line}\n" for line in text.splitlines())
    return known_keys(lines, file, "*", 22)


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in patterns.split("|")[2:4])
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
    matched = False
    for pattern in patterns.lower().split(","):
        # brackets are letters here: `[host]:2222`
        if fnmatchcase(name, pattern.lstrip("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint as `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Place:
    """The machine that a message is about: the cluster, the address, and where its key is kept under which name."""

    cluster: str
    host: str
    port: int = 22
    alias: str = ""
    file: str = "~/.ssh/known_hosts"

    @property
    def name(self) -> str:
        """The name in known_hosts."""
        return self.alias or (self.host if self.port == 22 else f"[{self.host}]:{self.port}")


def verify(place: Place, kind: str, blob: bytes, known: Sequence[KnownKey]) -> None:
    """Accept a machine's key only where it is known.

    A key that is known for the port stands before one of the machine's other ports, as in OpenSSH.

    Raises:
        HostError: the key is unknown, changed or revoked, with what to do.
    """
    if exact := [key for key in known if key.of_port and not key.marker and key.kind == kind]:
        known = [*exact, *(key for key in known if key.marker)]
    same = [key for key in known if key.blob == blob]
    shown = f"{kind} {fingerprint(blob)}"
    if revoked := next((key for key in same if key.marker == "@revoked"), None):
        raise HostError(revoked_key(place, f" ({shown})", f" in {revoked.file}:{revoked.line}"))
    if any(not key.marker for key in same):
        return
    if other := next((key for key in known if not key.marker and key.kind == kind), None):
        raise HostError(changed_key(place, f"({shown}) is not the one in {other.file}:{other.line}", other.file))
    if any(key.marker == "@cert-authority" for key in known):
        why = "is known by its certificate authority only, which paramiko cannot check"
        raise HostError(
            f"{place.cluster}: {place.name}: {why}; set `login: {{transport: openssh}}` in the cluster file"
        )
    raise HostError(unknown_key(place, f" ({shown})"))


def revoked_key(place: Place, shown: str = "", where: str = "") -> str:
    """The message about a machine that shows a revoked key."""
    return (
        f"{place.cluster}: {place.name}: its host key{shown} is REVOKED{where}: somebody who stole that key may be "
        f"answering; do not log in; ask the cluster's administrators which key is right, and leave the revoked one as "
        f"it is"
    )


def unknown_key(place: Place, shown: str = "") -> str:
    """The message about a machine whose key is not known."""
    scan = shlex.join(["ssh-keyscan", *([] if place.port == 22 else ["-p", str(place.port)]), place.host])
    if place.alias:
        scan += f" | sed 's/^[^ ]*/{place.alias}/'"
    return (
        f"{place.cluster}: {place.host}: its host key{shown} is unknown and is never added unasked; compare it with "
        f"the one that the cluster's administrators publish, then: {scan} >> {shown_file(place.file)}"
    )


def changed_key(place: Place, shown: str = "", file: str = "") -> str:
    """The message about a machine that shows another key than before."""
    usual = not file or Path(file) == Path.home() / ".ssh" / "known_hosts"
    fix = shlex.join(["ssh-keygen", "-R", place.name, *([] if usual else ["-f", file])])
    return (
        f"{place.cluster}: {place.name}: its host key CHANGED {shown}: somebody may be listening; ask the cluster's "
        f"administrators whether it was replaced, and only then: {fix}"
    )


def shown_file(file: str) -> str:
    """A file name for a shell, short where it is in the home."""
    home = f"{Path.home()}/"
    short = f"~/{file.removeprefix(home)}" if file.startswith(home) else file
    return short if " " not in file else shlex.quote(file)
