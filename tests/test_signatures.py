"""`sign` and `verify --signers`, by the real ssh-keygen: who stands for a record, and what passes for nobody's."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import tfslurm
from tests.crates import files_in, made_crate
from tests.fakes.laptop import Laptop
from tests.test_record import case
from tests.test_record_chain import job_of, record_of
from tfslurm.errors import InputError, NoProgram, TfslurmError
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.model import Signature, record_bytes
from tfslurm.record.ssh_signature import NAMESPACE, armoured, parse_signature
from tfslurm.record.verification import Part
from tfslurm.retrieval.records import keep
from tfslurm.retrieval.signatures import default_key, sign_values, signature_part

KINDS = {"ed25519": [], "rsa": ["-b", "2048"], "ecdsa": []}


def made_key(path: Path, kind: str = "ed25519", *words: str, passphrase: str = "") -> Path:
    """A new key pair."""
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", f"alice {kind}", "-f", str(path), *words]
    subprocess.run(argv, check=True)
    return path


def public(key: Path) -> str:
    return Path(f"{key}.pub").read_text().strip()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return made_key(tmp_path / "id")


@pytest.fixture
def values() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(record_json(case("tensorflow").build())))
    return made


def with_signature(values: dict[str, Any], key: Path | None) -> Record:
    (signature,) = sign_values([values], key)
    return record_from_json({**values, "integrity": {**values["integrity"], "signature": asdict(signature)}})


def allowed(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "allowed_signers"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def part_of(record: Record, signers: Path | None = None) -> Part:
    return signature_part(record.integrity.signature, record_json(record), signers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_who_signed_a_record_is_told_by_the_file_of_signers(kind: str, tmp_path: Path, values: dict[str, Any]) -> None:
    key = made_key(tmp_path / "it", kind, *KINDS[kind])
    record = with_signature(values, key)
    said = record.integrity.signature
    assert said is not None
    assert (said.format, said.namespace) == ("ssh", "tfslurm-record-v1")
    printed = subprocess.run(["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, capture_output=True, text=True)
    assert said.key_fingerprint == printed.stdout.split()[1]
    assert record.integrity.record_sha256 == sha256(record_bytes(record_json(record))).hexdigest()
    signers = allowed(tmp_path, f'alice@example.org namespaces="{NAMESPACE}" {public(key)}')
    part = part_of(record, signers)
    assert part.status == "unchanged"
    assert part.reason.startswith(f"alice@example.org signed it with the key {said.key_fingerprint} (")
    alone = part_of(record)
    named = part.reason.removeprefix("alice@example.org signed it with ")
    assert (alone.status, alone.reason) == (
        "not verifiable",
        f"{named} signed it; --signers FILE says whose key that is",
    )


def test_a_certificate_stands_for_whom_its_authority_names(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    authority = made_key(tmp_path / "ca")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "it", "-n", "alice@example.org", f"{key}.pub"]
    subprocess.run(argv, check=True)
    record = with_signature(values, tmp_path / "id-cert.pub")
    signers = allowed(tmp_path, f"*@example.org cert-authority {public(authority)}")
    part = part_of(record, signers)
    assert part.status == "unchanged", part
    printed = subprocess.run(["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, capture_output=True, text=True)
    assert printed.stdout.split()[1] in part.reason


def test_a_record_that_was_changed_is_not_what_was_signed(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    record = with_signature(values, key)
    signers = allowed(tmp_path, f"alice {public(key)}")
    other = replace(record, warnings=("another",))
    for given in (None, signers):
        part = part_of(other, given)
        assert (part.status, "what the key" in part.reason) == ("changed", True)


LINES = {
    "another's key": ("alice {other}", "missing"),
    "another namespace": ('alice namespaces="git" {key}', "missing"),
    "several of which one is it": ('bob namespaces="git",valid-before="20200101" {key}\ncarol {key}', "unchanged"),
    "not any more": ('alice valid-before="20200101" {key}', "missing"),
    "not yet": ('alice valid-after="20990101" {key}', "missing"),
    "anybody": ("* {key}", "unchanged"),
    "a pattern": ("*@example.org,!bob@example.org {key}", "unchanged"),
    "a name that is an option": ("-oProxyCommand=touch${IFS}never {key}", "unchanged"),
    "a name that acts on a terminal": ("\x1b[2Jalice {key}", "missing"),
    "no line": ("", "missing"),
    "no such file's form": ("\0\0\0", "missing"),
    "a comment": ("# alice {key}", "missing"),
    "a key that is cut off": ("alice ssh-ed25519 AAAA", "missing"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", LINES)
def test_a_file_of_signers_says_no_more_than_it_says(
    what: str, tmp_path: Path, key: Path, values: dict[str, Any]
) -> None:
    line, status = LINES[what]
    text = line.replace("{key}", public(key)).replace("{other}", public(made_key(tmp_path / "other")))
    part = part_of(with_signature(values, key), allowed(tmp_path, text))
    assert part.status == status, part
    assert not (tmp_path / "never").exists()


def test_an_unsigned_record_is_missing_its_signature_only_where_signers_are_given(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    record = record_from_json(values)
    assert part_of(record).status == "not verifiable"
    assert part_of(record, allowed(tmp_path, "")).status == "missing"


def test_a_signature_of_another_thing_is_none_of_a_record(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    """A signature that somebody gave for a commit or a file is not one for a record with the same bytes."""
    file = tmp_path / "bytes"
    file.write_bytes(record_bytes(values))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key), str(file)], check=True)
    text = Path(f"{file}.sig").read_text()
    record = with_signature(values, key)
    said = record.integrity.signature
    assert said is not None
    signers = allowed(tmp_path, f"alice {public(key)}")
    for namespace in (NAMESPACE, "git"):
        forged = replace(said, value=text, namespace=namespace)
        part = signature_part(forged, values, signers)
        assert (part.status, "'git'" in part.reason) == ("changed", True), part


def test_each_field_of_a_signature_is_held_against_it(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    said = with_signature(values, key).integrity.signature
    assert said is not None
    signers = allowed(tmp_path, f"alice {public(key)}")
    changes: list[dict[str, str]] = [
        {"format": "gpg"}, {"namespace": "file"}, {"key_fingerprint": "SHA256:x"}, {"value": ""},
        {"value": said.value.strip()}, {"value": said.value.replace("\n", "\r\n")}, {"value": f"x\n{said.value}"},
        {"value": said.value + "x"}, {"value": said.value * 2}, {"value": "A" * 10**6},
        {"value": armoured(b"SSHSIG")}, {"value": armoured(b"SSHSIG\0\0\0\1" + b"\xff" * 40)},
    ]  # fmt: skip
    for change in changes:
        part = signature_part(replace(said, **change), values, signers)
        assert part.status == "changed", (change, part)


@pytest.mark.slow
def test_no_random_edit_of_a_signature_passes(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    said = with_signature(values, key).integrity.signature
    assert said is not None
    small = {"integrity": {"previous": None}, "a": 1}
    (said,) = sign_values([small], key)
    signers = allowed(tmp_path, f"alice {public(key)}")
    assert signature_part(said, small, signers).status == "unchanged"
    chance = random.Random(20261128)
    for _ in range(500):
        name = chance.choice(("format", "namespace", "key_fingerprint", "value", "value", "value"))
        text = getattr(said, name)
        at = chance.randrange(len(text))
        made = text[:at] + chance.choice(["", "A", "z", "+", "=", "\n", " ", text[at] * 2]) + text[at + 1 :]
        if made != text:
            part = signature_part(replace(said, **{name: made}), small, signers)
            assert part.status == "changed", (name, at, made, part)


def test_what_is_no_file_of_signers_is_refused(tmp_path: Path, key: Path, values: dict[str, Any]) -> None:
    record = with_signature(values, key)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * (5 * 2**20))
    for name in ("pipe", "huge", "absent", "."):
        with pytest.raises(InputError):
            part_of(record, tmp_path / name)


OLD = "#!/bin/sh\n# Stands in for an ssh-keygen before OpenSSH 8.0.\necho 'unknown option -- Y' >&2\nexit 1\n"


@pytest.mark.parametrize("text", ["", OLD], ids=["none", "old"])
def test_without_an_ssh_keygen_that_can_nothing_is_said_of_a_signature(
    text: str, tmp_path: Path, key: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = with_signature(values, key)
    signers = allowed(tmp_path, f"alice {public(key)}")
    folder = tmp_path / "bin"
    folder.mkdir()
    if text:
        (folder / "ssh-keygen").write_text(text)
        (folder / "ssh-keygen").chmod(0o755)
    sh = shutil.which("sh")
    assert sh
    monkeypatch.setenv("PATH", str(folder))
    part = part_of(record)
    assert (part.status, "install OpenSSH 8.2 or newer" in part.reason) == ("not verifiable", True), part
    with pytest.raises(NoProgram, match="install OpenSSH 8"):
        part_of(record, signers)
    with pytest.raises(NoProgram, match="install OpenSSH 8"):
        sign_values([values], key)


# --- which key


@pytest.mark.parametrize(
    ("name", "why"),
    [("absent", "cannot be read"), ("text", "is no ssh key"), ("pipe", "is a pipe"), ("-x", "is no ssh key")],
)
def test_what_is_no_key_is_refused(
    name: str, why: str, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for other in ("text", "-x"):
        Path(other).write_text("alice\n")
    with pytest.raises(InputError, match=why):
        sign_values([values], Path(name))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent of its own, empty, and a home without settings of git."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "home").mkdir()
        yield socket
        running.kill()


def load(key: Path, passphrase: str, tmp_path: Path) -> None:
    """Put a key into the agent, which is asked for its passphrase."""
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    ask.chmod(0o755)
    more = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    subprocess.run(["ssh-add", "-q", str(key)], env={**os.environ, **more}, check=True)


def test_the_agents_only_key_signs_and_no_passphrase_is_asked(
    agent: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(TfslurmError, match="no agent has one; name one with --key ~"):
        sign_values([values], None)
    key = made_key(tmp_path / "locked", passphrase="correct horse")
    load(key, "correct horse", tmp_path)
    record = with_signature(values, None)
    assert part_of(record, allowed(tmp_path, f"alice {public(key)}")).status == "unchanged"
    by_public = with_signature(values, Path(f"{key}.pub"))
    assert by_public.integrity.signature == record.integrity.signature
    load(made_key(tmp_path / "second"), "", tmp_path)
    with pytest.raises(TfslurmError, match="the agent has 2: alice ed25519, alice ed25519; name one"):
        sign_values([values], None)


@pytest.mark.parametrize("said", ["~/.ssh/mine", "{home}/.ssh/mine.pub", "key::{public}", "{public}"])
def test_the_key_of_gits_settings_is_taken_where_it_is_one_of_ssh(agent: Path, tmp_path: Path, said: str) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(mode=0o700)
    key = made_key(home / ".ssh" / "mine")
    text = said.replace("{home}", str(home)).replace("{public}", public(key))
    subprocess.run(["git", "config", "--global", "user.signingkey", text], check=True)
    found = default_key(tmp_path)
    assert found.read_text().strip() in (public(key), key.read_text().strip())


@pytest.mark.parametrize("said", ["0xDEADBEEF", "alice@example.org", "/etc/passwd", "/absent", "relative/key", "-x"])
def test_a_key_of_gits_settings_that_is_none_of_ssh_is_passed_over(agent: Path, tmp_path: Path, said: str) -> None:
    subprocess.run(["git", "config", "--global", "user.signingkey", said], check=True)
    with pytest.raises(TfslurmError, match="names no ssh key"):
        default_key(tmp_path)


def test_a_repositorys_own_settings_name_no_key(
    agent: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository may be a stranger's."""
    subprocess.run(["git", "init", "-q", str(tmp_path / "theirs")], check=True)
    monkeypatch.chdir(tmp_path / "theirs")
    subprocess.run(["git", "config", "user.signingkey", str(key)], check=True)
    with pytest.raises(TfslurmError, match="names no ssh key"):
        default_key(tmp_path)


# --- the commands


def test_a_job_is_signed_and_verified_by_the_commands(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    job = job_of(laptop.tracker, "7")
    made = keep(job, record_of(job), laptop.tracker)
    signers = allowed(tmp_path, f"alice {public(key)}")
    assert laptop.type("sign", "alpha:7", "--key", str(key), "-o", "signed") == 0
    told = capsys.readouterr()
    assert told.out.startswith("alpha:7: signed with SHA256:")
    folder = laptop.folder / "signed"
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert sums.stdout.count("OK") == 3
    assert sha256((folder / "record.canonical.json").read_bytes()).hexdigest() == made.integrity.record_sha256
    assert laptop.type("verify", "signed/record.json", "--signers", str(signers), "--json") == 0
    parts = {part["name"]: part for part in json.loads(capsys.readouterr().out)["parts"]}
    assert parts["signature"]["status"] == "unchanged"
    assert parts["chain"]["reason"] == "entry 1 of 1: each names the record before it"
    assert laptop.type("verify", "./signed", "--signers", str(signers), "--json") == 0, "the folder by itself"
    parts = {part["name"]: part["status"] for part in json.loads(capsys.readouterr().out)["parts"]}
    assert (parts["signature"], parts["SHA256SUMS"], parts["canonical bytes"]) == ("unchanged",) * 3
    assert laptop.type("verify", "alpha:7", "--signers", str(signers)) == 0
    assert "unchanged      signature: alice signed it" in capsys.readouterr().out
    (tmp_path / "allowed_signers").write_text(f"alice {public(made_key(tmp_path / 'other'))}\n")
    assert laptop.type("verify", "alpha:7", "--signers", str(signers)) == 1
    assert "missing        signature: " in capsys.readouterr().out


def test_python_verifies_with_signers_too(
    tmp_path: Path, key: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Laptop.made(tmp_path, monkeypatch)
    record = with_signature(values, key)
    signers = allowed(tmp_path, f"alice {public(key)}")
    parts = {part.name: part for part in tfslurm.verify(record, signers=signers).parts}
    assert (parts["signature"].status, parts["record"].status) == ("unchanged", "unchanged")
    unsigned = tfslurm.verify(record_from_json(values), signers=str(signers))
    assert not unsigned.is_unchanged
    assert {part.name: part.status for part in unsigned.parts}["signature"] == "missing"


def test_a_file_is_signed_in_its_place_and_one_that_was_changed_is_not(
    tmp_path: Path,
    key: Path,
    values: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    file = laptop.folder / "r.json"
    file.write_text(json.dumps(values))
    assert laptop.type("sign", "r.json", "--key", str(key), "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    after = json.loads(file.read_text())
    assert after["integrity"].pop("signature")["key_fingerprint"] == told["key_fingerprint"]
    assert {**after, "integrity": {**after["integrity"], "signature": None}} == values
    signed = file.read_bytes()
    assert laptop.type("sign", "./r.json", "--key", str(key), "-o", "there") == 0
    assert file.read_bytes() == signed, "with -o it stays"
    file.write_text(json.dumps({**values, "warnings": ["forged"]}))
    assert laptop.type("sign", "./r.json", "--key", str(key)) == 1
    assert "./r.json: was changed: it has another sha256 than it says; nothing was signed" in capsys.readouterr().err
    assert laptop.type("sign", "./r.json", "./r.json", "--key", str(key), "-o", "there") == 2


def test_the_signature_of_a_crate_goes_beside_its_record_and_is_verified_there(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    made_crate(laptop.folder / "crate")
    before = files_in(laptop.folder / "crate")
    signers = allowed(tmp_path, f"alice {public(key)}")
    assert laptop.type("verify", "./crate", "--signers", str(signers)) == 1
    assert "missing        signature: the record is not signed" in capsys.readouterr().out
    assert laptop.type("sign", "./crate", "--key", str(key)) == 0
    assert set(files_in(laptop.folder / "crate")) - set(before) == {"record.json.sig"}
    assert laptop.type("verify", "crate", "--signers", str(signers)) == 0
    assert "unchanged      signature: alice signed it" in capsys.readouterr().out
    beside = laptop.folder / "crate" / "record.json.sig"
    good = beside.read_text()
    for bad in ("", good.replace("A", "B", 1), good + "x", "x" * 100_000):
        beside.write_text(bad)
        assert laptop.type("verify", "crate", "--signers", str(signers)) == 1, bad[:80]
        assert "signature: the signature" in capsys.readouterr().out


def test_signatures_are_values_of_the_record(values: dict[str, Any], key: Path) -> None:
    record = with_signature(values, key)
    said = record.integrity.signature
    assert isinstance(said, Signature)
    assert parse_signature(said.value) == ("ssh-ed25519", said.key_fingerprint, NAMESPACE)
    assert record_from_json(json.loads(json.dumps(record_json(record)))) == record
