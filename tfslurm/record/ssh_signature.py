"""The text of an ssh signature -> what it says of itself; it is verified by ssh-keygen alone. Pure.

Source: PROTOCOL.sshsig of OpenSSH; RFC 4251, 5 (string, uint32); PROTOCOL.certkeys for certificates.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256
from typing import NamedTuple

NAMESPACE = "tfslurm-record-v1"
FORMAT = "ssh"
LONGEST = 65536  # characters; of an RSA key of 16,384 bits with its certificate it has some 12,000
BEGIN, END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
LINE = 70
CERTIFICATE = "-cert-v01@openssh.com"
OF_PLAIN = {  # strings of a public key behind its name; those of a certificate begin with a nonce
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


class SshSignature(NamedTuple):
    """A signature as it describes itself."""

    key_type: str
    key_fingerprint: str  # of a certificate: of the key in it, as ssh-keygen prints it
    namespace: str


def parse_signature(text: str) -> SshSignature:
    """What a signature says of its key and namespace. Only the form that ssh-keygen writes is taken, to the byte.

    Raises:
        ValueError: it has another form, a hash or a kind of key that OpenSSH does not sign with.
    """
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    body = text.removeprefix(BEGIN).removesuffix(END)
    try:
        blob = b64decode(body.replace("\n", ""), validate=True)
    except ValueError:
        raise ValueError("is not what ssh-keygen writes") from None
    if armoured(blob) != text:
        raise ValueError("is not in the lines that ssh-keygen writes")
    if blob[:10] != b"SSHSIG\0\0\0\1":
        raise ValueError("is no ssh signature of version 1")
    public, rest = string(blob[10:])
    namespace, rest = string(rest)
    reserved, rest = string(rest)
    hashed, rest = string(rest)
    made, rest = string(rest)
    if rest or reserved or hashed not in (b"sha256", b"sha512"):
        raise ValueError("has parts that ssh-keygen does not write")
    if string(made)[0] == b"ssh-rsa":
        raise ValueError("is made with SHA-1")
    key_type, key = plain_key(public)
    return SshSignature(key_type, fingerprint(key), namespace.decode("utf-8", "backslashreplace"))


def armoured(blob: bytes) -> str:
    """The text that stands for the bytes of a signature."""
    text = b64encode(blob).decode()
    lines = (text[at : at + LINE] + "\n" for at in range(0, len(text), LINE))
    return f"{BEGIN}{''.join(lines)}{END}"


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key, as ssh-keygen prints it."""
    return f"SHA256:{b64encode(sha256(key).digest()).decode().rstrip('=')}"


def plain_key(public: bytes) -> tuple[str, bytes]:
    """The kind of a public key, and the key without the certificate that it may be in.

    Raises:
        ValueError: it is no key of a kind that is known here.
    """
    name, rest = string(public)
    kind = name.decode("ascii", "replace")
    plain = kind.removesuffix(CERTIFICATE) + ("@openssh.com" if kind.startswith("sk-") and CERTIFICATE in kind else "")
    parts = OF_PLAIN.get(plain)
    if parts is None:
        raise ValueError(f"is made with a key of a kind that is not known: {kind[:40]!r}")
    if kind == plain:
        return kind, public
    _, rest = string(rest)
    found = [packed(plain.encode())]
    for _ in range(parts):
        part, rest = string(rest)
        found.append(packed(part))
    return kind, b"".join(found)


def string(data: bytes) -> tuple[bytes, bytes]:
    """The first string of some, and the rest.

    Raises:
        ValueError: it is cut off.
    """
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size:
        raise ValueError("is cut off")
    return data[4 : 4 + size], data[4 + size :]


def packed(part: bytes) -> bytes:
    """A string with its length."""
    return len(part).to_bytes(4, "big") + part
