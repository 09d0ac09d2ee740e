"""The check of a record without tfslurm, by the very commands that docs/integrity.md shows."""

from __future__ import annotations

import copy
import random
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import FENCE, text_of
from tests.test_record import CASES, case
from tests.test_signatures import made_key, public
from tests.test_verification import leaves
from tfslurm.cli.console import json_text
from tfslurm.cli.sign import write_folder
from tfslurm.record import record_json
from tfslurm.record.model import record_sha256
from tfslurm.retrieval.signatures import sign_values
from tfslurm.retrieval.signing import Signed

SECTION = text_of("integrity.md").partition("\n## Check a record without tfslurm\n")[2].partition("\n## ")[0]
BY_JQ, BY_BYTES, BY_KEY = (found[2] for found in FENCE.finditer(SECTION) if found[1] == "bash")


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    made = {**values, "integrity": {"previous": None, "record_sha256": "", "signature": None}}
    made["integrity"]["record_sha256"] = record_sha256(made)
    return made


def typed(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a stranger sees who types these lines."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a signed record, and the file of allowed signers."""
    key = made_key(tmp_path / "id")
    values = sealed(record_json(case("gpu").build()))
    (signature,) = sign_values([values], key)
    values["integrity"]["signature"] = asdict(signature)
    folder = tmp_path / "got"
    write_folder(Signed("it", values, None), folder)
    (folder / "allowed_signers").write_text(f'alice@example.org namespaces="tfslurm-record-v1" {public(key)}\n')
    return folder


def same_hashes(text: str) -> bool:
    digests = re.findall(r"\b[0-9a-f]{64}\b", text)
    assert len(digests) == 2
    return bool(digests[0] == digests[1])


def test_a_whole_record_passes_every_command_of_the_page(folder: Path) -> None:
    by_jq = typed(BY_JQ, folder)
    assert (by_jq.returncode, same_hashes(by_jq.stdout)) == (0, True), by_jq
    by_bytes = typed(BY_BYTES, folder)
    assert (by_bytes.returncode, by_bytes.stdout.count(": OK"), same_hashes(by_bytes.stdout)) == (0, 3, True), by_bytes
    by_key = typed(BY_KEY, folder)
    assert by_key.stdout.startswith('Good "tfslurm-record-v1" signature for alice@example.org with ED25519 key')


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


CHANGES: dict[str, tuple[Callable[[Path], None], tuple[bool, bool, bool]]] = {
    "the record": (replaced("record.json", '"rank": 0', '"rank": 1'), (False, False, True)),
    "its hash": (replaced("record.json", '"record_sha256": "', '"record_sha256": "0'), (False, False, True)),
    "the bytes": (replaced("record.canonical.json", '"rank":0', '"rank":1'), (True, False, False)),
    "the signature": (replaced("record.json.sig", "U1NIU0lH", "U1NIU0lI"), (True, False, False)),
    "the sums": (replaced("SHA256SUMS", "record.json\n", "record.json.sig\n"), (True, False, True)),
    "another signer": (replaced("allowed_signers", "alice@", "bob@"), (True, True, False)),
    "another namespace": (replaced("allowed_signers", "tfslurm-record-v1", "git"), (True, True, False)),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_is_seen_by_the_command_that_looks_at_it(what: str, folder: Path) -> None:
    change, passes = CHANGES[what]
    change(folder)
    by_jq, by_bytes, by_key = (typed(commands, folder) for commands in (BY_JQ, BY_BYTES, BY_KEY))
    digests = re.findall(r"\b[0-9a-f]{64}\b", by_jq.stdout)
    assert (len(set(digests)) == 1 < len(digests), by_bytes.returncode == 0, by_key.returncode == 0) == passes


def varied(chance: random.Random) -> dict[str, Any]:
    """A record with other values of the kinds that records hold."""
    values = copy.deepcopy(record_json(case(chance.choice(list(CASES))).build()))
    values["environment"]["packages"] = None
    places = leaves(values)
    for *way, last in chance.sample(places, 20):
        inner: Any = values
        for key in way:
            inner = inner[key]
        inner[last] = chance.choice(VALUES)(chance)
    values["experiment"]["parameters"] = {"".join(chance.sample("lr é_日", 4)): each(chance) for each in VALUES}
    return sealed(values)


VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda chance: "".join(chance.choices('ab é日🧪"\\\n\t\x1b/<>', k=chance.randrange(12))),
    lambda chance: chance.randrange(-(2**53) + 1, 2**53),
    lambda chance: round(chance.uniform(-1e6, 1e6), chance.randrange(6)),
    lambda chance: float(chance.randrange(1000)),
    lambda chance: chance.random() + 1e-4,
    lambda chance: chance.choice([None, True, False, 0, "", 0.1, 1e-4, 12.5, 100000.0]),
)


def by_jq(documents: list[str]) -> list[str]:
    """The hashes of records by the filter on the page; one jq for all of them."""
    (asked,) = re.findall(r"jq -cS '([^']+)'", BY_JQ)
    done = subprocess.run(["jq", "-cS", asked], input="".join(documents), capture_output=True, text=True, check=True)
    return [sha256(line.encode()).hexdigest() for line in done.stdout.split("\n")[:-1]]


@pytest.mark.slow
def test_jq_gives_the_hash_of_three_hundred_random_records() -> None:
    chance = random.Random(20261128)
    records = [varied(chance) for _ in range(300)]
    assert by_jq([json_text(each) for each in records]) == [each["integrity"]["record_sha256"] for each in records]


@pytest.mark.parametrize("value", ["\x7f", 1e-6, {"\U0001f9ea": 1, "\ufffd": 2}], ids=ascii)
def test_the_page_names_what_jq_writes_in_other_bytes(value: object) -> None:
    made = sealed({**record_json(case("gpu").build()), "warnings": [value]})
    assert by_jq([json_text(made)]) != [made["integrity"]["record_sha256"]]
