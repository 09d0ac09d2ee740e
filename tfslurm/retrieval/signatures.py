"""Sign records with an ssh key, and verify who signed one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tfslurm.errors import InputError, NoProgram, RecordError, TfslurmError, refuse
from tfslurm.local_files import read_file, write_file
from tfslurm.record.model import Signature, record_bytes
from tfslurm.record.ssh_signature import FORMAT, LONGEST, NAMESPACE, SshSignature, parse_signature
from tfslurm.record.verification import Part
from tfslurm.retrieval.ssh_keygen import agent_keys, checked, principals, sign_files, stands_for
from tfslurm.snapshot.git import user_setting

PUBLIC = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+(?: [^\n]*)?")
LARGEST_KEY = 2**16
MOST_PRINCIPALS = 20  # of one key that are tried
NAME = "signature"


def sign_values(records: Sequence[Mapping[str, Any]], key: Path | None) -> list[Signature]:
    """The signatures of records (as JSON values), all made with one key; without one with the user's usual.

    Raises:
        InputError: the key is in no file that can be read.
        TfslurmError: there is no usual key, or ssh-keygen does not sign with it.
        RecordError: one of them cannot be hashed.
    """
    with TemporaryDirectory(prefix="tfslurm-sign-") as folder:
        if key and not is_ssh_key(read_file(key, LARGEST_KEY)):
            raise refuse(str(key), "is no ssh key", "name a private key, or a public one that your agent has")
        signing = key or default_key(Path(folder))
        files = [Path(folder) / str(number) for number in range(len(records))]
        for file, values in zip(files, records, strict=True):
            write_file(file, record_bytes(values))
        sign_files(signing, files)
        return [signed(file.with_name(f"{file.name}.sig")) for file in files]


def signed(file: Path) -> Signature:
    """The signature that ssh-keygen wrote.

    Raises:
        TfslurmError: it is one that nothing here would verify.
    """
    try:
        return signature_of(read_file(file, LONGEST))
    except ValueError as error:
        raise TfslurmError(f"ssh-keygen: its signature {error}; take a key of another kind") from error


def signature_of(content: bytes) -> Signature:
    """The signature that a file of ssh-keygen's holds.

    Raises:
        ValueError: it is none.
    """
    text = content.decode("ascii", "replace")
    said = parse_signature(text)
    return Signature(FORMAT, said.key_fingerprint, said.namespace, text)


def default_key(folder: Path) -> Path:
    """The key that signs the user's commits in git, if it is one of ssh; else the agent's only one.

    A public key that is in no file is written into the ``folder``.

    Raises:
        TfslurmError: there is none, or the agent has several.
    """
    named = user_setting(folder, "user.signingkey")
    literal = named.removeprefix("key::")
    if PUBLIC.fullmatch(literal):
        return public_file(literal, folder)
    with suppress(RuntimeError, InputError):  # `~` of nobody, and what is no file
        path = Path(named).expanduser()
        if path.is_absolute() and is_ssh_key(read_file(path, LARGEST_KEY)):
            return path
    keys = agent_keys()
    plain = [key for key in keys if "-cert-v01@" not in key.split(" ")[0]] or keys
    if len(plain) == 1:
        return public_file(plain[0], folder)
    several = f"the agent has {len(plain)}: {', '.join(' '.join(key.split(' ')[2:]) or key[:20] for key in plain[:5])}"
    why = several if plain else "git's user.signingkey names no ssh key, and no agent has one"
    fix = "name one with --key ~/.ssh/id_ed25519, or set it once: `git config --global user.signingkey FILE`"
    raise TfslurmError(f"sign: no key to sign with: {why}; {fix}")


def public_file(key: str, folder: Path) -> Path:
    """A file with a public key, whose private key the agent holds."""
    file = folder / "key.pub"
    write_file(file, f"{key}\n".encode())
    return file


def is_ssh_key(content: bytes) -> bool:
    """Whether a file holds a private or public key of ssh."""
    text = content.decode("utf-8", "replace")
    return bool(re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", text) or PUBLIC.match(text))


def signature_part(said: Signature | None, values: Mapping[str, Any], signers: Path | None) -> Part:
    """Whether somebody stands for a record, by a file of allowed signers if one is given.

    With such a file, a record that nobody in it signed lacks its signature: it is 'missing'.

    Raises:
        NoProgram: there are signers, and no ssh-keygen that verifies.
        InputError: the file of signers cannot be read.
    """
    allowed = read_file(signers) if signers else None
    if said is None:
        return Part(NAME, "missing" if signers else "not verifiable", "the record is not signed")
    try:
        found = own_account(said)
        data = record_bytes(values)
    except (ValueError, RecordError) as error:
        return Part(NAME, "changed", str(error))
    key = f"the key {found.key_fingerprint} ({found.key_type})"
    with TemporaryDirectory(prefix="tfslurm-verify-") as folder:
        file = Path(folder) / "record.sig"
        write_file(file, said.value.encode())
        try:
            if allowed is not None and (who := signer(data, file, allowed)):
                return Part(NAME, "unchanged", f"{who} signed it with {key}")
            is_over_this = checked(data, file)
        except NoProgram as error:
            if signers:
                raise
            return Part(NAME, "not verifiable", str(error))
    if not is_over_this:
        return Part(NAME, "changed", f"what {key} signed is not this record")
    if signers:
        why = f"{key} signed it, and {signers} does not let that key sign in the namespace {NAMESPACE} today"
        return Part(NAME, "missing", why)
    return Part(NAME, "not verifiable", f"{key} signed it; --signers FILE says whose key that is")


def signature_beside(
    said: Signature | None, content: bytes | None, values: Mapping[str, Any], signers: Path | None
) -> Part:
    """The same for a record with a file of its signature beside it, which may have been added later; None: no file.

    Raises: as ``signature_part``.
    """
    try:
        beside = signature_of(content) if content is not None else None
    except ValueError as error:
        return Part(NAME, "changed", f"the signature beside the record {error}")
    if said and beside and said != beside:
        return Part(NAME, "changed", "the signature beside the record is not the one in it")
    return signature_part(said or beside, values, signers)


def own_account(said: Signature) -> SshSignature:
    """What a signature says of itself, which the record must say of it too.

    Raises:
        ValueError: they differ, or it is no signature over a record.
    """
    if said.format != FORMAT:
        raise ValueError(f"the signature's format is {said.format[:40]!r}, not {FORMAT!r}")
    try:
        found = parse_signature(said.value)
    except ValueError as error:
        raise ValueError(f"the signature {error}") from None
    for space in (found.namespace, said.namespace):
        if space != NAMESPACE:
            raise ValueError(f"the signature is in the namespace {space[:60]!r}: it was not given for a record")
    if found.key_fingerprint != said.key_fingerprint:
        raise ValueError(f"the signature is by the key {found.key_fingerprint}, and the record names another")
    return found


def signer(data: bytes, signature: Path, allowed: bytes) -> str:
    """The principal that stands for a signature over these bytes, as the file of allowed signers has it; '': none."""
    signers = signature.with_name("allowed_signers")  # a copy: the file may be changed, or be a pipe, by now
    write_file(signers, allowed)
    names = principals(signature, signers)[:MOST_PRINCIPALS]
    return next((name for name in names if stands_for(name, data, signature, signers)), "")
