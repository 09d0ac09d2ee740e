"""The keys that may open a machine: those of the agent, those in files, and the certificates that belong to them."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paramiko.agent import AgentSSH

from tfslurm.host.hops import USE_OPENSSH, Hop
from tfslurm.host.terminal import ALONE, ask, has_terminal

LIST_S = 20
SIGN_S = 180
"How long an agent may think about a signature: somebody may have to confirm it."


class Offer(NamedTuple):
    """A key to try, as messages name it; ``certificate`` goes in place of its public half."""

    label: str
    key: paramiko.PKey
    certificate: paramiko.pkey.PublicBlob | None = None

    @property
    def kind(self) -> str:
        """The name of its algorithm."""
        return self.certificate.key_type if self.certificate else self.key.get_name()


class _Agent(AgentSSH):
    """The agent behind one socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        line = socket.socket(socket.AF_UNIX)
        try:
            line.settimeout(LIST_S)
            line.connect(path)
            self._connect(line)  # type: ignore[attr-defined]
            line.settimeout(SIGN_S)
        except BaseException:
            line.close()
            raise

    def close(self) -> None:
        """Leave it."""
        self._close()  # type: ignore[attr-defined]


def offer_keys(hop: Hop, transport: paramiko.Transport, allowed: Sequence[str], tried: list[str]) -> Sequence[str]:
    """Offer key after key; return what the machine still asks for. ``tried`` is told what was refused, and why."""
    if not hop.agent:
        return _offer(hop, transport, allowed, _keys(hop, (), tried), tried)
    try:
        agent = _Agent(hop.agent)
    except (OSError, paramiko.SSHException) as error:
        if hop.value("identityagent"):
            tried.append(f"the agent {hop.agent} ({getattr(error, 'strerror', None) or error})")
        return _offer(hop, transport, allowed, _keys(hop, (), tried), tried)
    with closing(agent):
        return _offer(hop, transport, allowed, _keys(hop, agent.get_keys(), tried), tried)


def _offer(
    hop: Hop, transport: paramiko.Transport, allowed: Sequence[str], offers: Iterator[Offer], tried: list[str]
) -> Sequence[str]:
    for offer in offers:
        if why := _unfit(hop, offer):
            tried.append(f"{offer.label} ({why})")
            continue
        offer.key.public_blob = offer.certificate
        try:
            return transport.auth_publickey(hop.user, offer.key)
        except paramiko.BadAuthenticationType as refusal:
            return refusal.allowed_types
        except paramiko.AuthenticationException:
            tried.append(offer.label)
        except paramiko.SSHException as error:
            tried.append(f"{offer.label} ({error})")
        if not transport.is_active():
            break
    return allowed


def _unfit(hop: Hop, offer: Offer) -> str:
    """Why the settings keep a key from being offered; '' where they do not."""
    wanted = hop.algorithms("pubkeyacceptedalgorithms", ())
    kinds = [offer.kind.replace("ssh-rsa", form) for form in ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")]
    if wanted and not any(fnmatchcase(kind, each) for kind in kinds for each in wanted):
        return f"{offer.kind} is not among PubkeyAcceptedAlgorithms"
    least = hop.value("requiredrsasize")
    if offer.key.get_name() == "ssh-rsa" and least.isdigit() and 0 < offer.key.get_bits() < int(least):
        return f"RSA of {offer.key.get_bits()} bits, and RequiredRSASize is {least}"
    return ""


def _keys(hop: Hop, agent: Sequence[paramiko.PKey], tried: list[str]) -> Iterator[Offer]:
    """Yield the agent's keys, the configured ones first, then the files that the agent does not hold."""
    public = {path: _public_blob(path) for path in hop.identities}
    held = {key.asbytes(): key for key in agent}
    certificates = _certificates(hop, tried)
    named = [blob for blob in public.values() if blob in held]
    for blob in [*named, *([] if hop.identities_only else [blob for blob in held if blob not in named])]:
        yield from _with_certificates("a key of the agent", held[blob], certificates)
    for path, public_blob in public.items():
        if not path.exists() and not path.name.startswith("id_"):  # ssh looks for those whether or not they are named
            tried.append(f"{path} (No such file or directory)")
        elif public_blob not in held and path.is_file() and (key := _load(path, tried)):
            yield from _with_certificates(str(path), key, certificates)


def _with_certificates(
    label: str, key: paramiko.PKey, certificates: Sequence[tuple[Path, paramiko.pkey.PublicBlob]]
) -> Iterator[Offer]:
    """Yield a key with each certificate that is for it, then by itself, as OpenSSH does."""
    name, plain = key.get_name(), key.asbytes()
    fields = plain[4 + len(name) :]
    for path, blob in certificates:
        if blob.key_type.startswith(name) and _certified(blob.key_blob).startswith(fields):
            yield Offer(f"{label} with {path}", key, blob)
    yield Offer(label, key)


def _certified(blob: bytes) -> bytes:
    """The part of a certificate from the key on: it begins with its type and a nonce. Source: PROTOCOL.certkeys."""
    message = paramiko.Message(blob)
    message.get_string()
    message.get_string()
    return message.get_remainder()


def _certificates(hop: Hop, tried: list[str]) -> list[tuple[Path, paramiko.pkey.PublicBlob]]:
    """The certificates that the settings name, and those that lie beside a key."""
    beside = [Path(f"{path}-cert.pub") for path in hop.identities]
    found = []
    for path in dict.fromkeys([*hop.certificates, *beside]):
        try:
            blob = paramiko.pkey.PublicBlob.from_file(str(path))
        except (OSError, ValueError, paramiko.SSHException) as error:
            if path in hop.certificates:
                tried.append(f"{path} ({getattr(error, 'strerror', None) or error})")
            continue
        found.append((path, blob))
    return found


def _public_blob(path: Path) -> bytes | None:
    try:
        return base64.b64decode(Path(f"{path}.pub").read_text("utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _load(path: Path, tried: list[str]) -> paramiko.PKey | None:
    """Read a key file, with its passphrase where the user can be asked for it."""
    password: str | None = None
    if (blob := _public_blob(path)) and paramiko.Message(blob).get_binary().startswith(b"sk-"):
        tried.append(f"{path} (a FIDO key: load it with ssh-add, or {USE_OPENSSH})")
        return None
    for attempt in range(4):
        try:
            return _read(path, password.encode() if password is not None else None)
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


def _read(path: Path, password: bytes | None) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path, password)  # type: ignore[arg-type]
    except paramiko.SSHException:  # it misreads every other ECDSA key without a comment
        loaded = serialization.load_ssh_private_key(path.read_bytes(), password)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise
        return paramiko.ECDSAKey(vals=(loaded, loaded.public_key()))
