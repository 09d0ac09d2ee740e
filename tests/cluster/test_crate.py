"""Crates of real jobs: a single one with odd outputs over ssh, one that failed, and a sweep on two clusters."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests import validator

from .desk import Desk

LEAVE = r"""cd /out; echo '{"accuracy": 0.98}' >metrics.json; : >empty; mkdir sub; head -c 3000000 /dev/zero >sub/big
for n in 'line\nbreak' 'a b' 'é' '100%%'; do name=$(printf -- "$n."); printf x >"./${name%.}"; done
ln -s metrics.json best; ln -s /etc/passwd escape; echo "epoch 1"; echo oops >&2"""
OUTPUTS = {"metrics.json", "empty", "sub/big", "line\nbreak", "a b", "é", "100%"}
BY = ("--author", "Doe, Alice (0000-0002-1825-0097)", "--affiliation", "Example University (https://ror.org/03yrm5c26)")
CRATE = ("--format", "rocrate", "--license", "CC-BY-4.0", *BY)


def entities(folder: Path) -> dict[str, dict[str, Any]]:
    """The entities of a crate by their ids."""
    return {each["@id"]: each for each in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}


def actions(folder: Path) -> list[dict[str, Any]]:
    """The actions in a crate."""
    return [each for each in entities(folder).values() if each["@type"] == "CreateAction"]


@pytest.mark.timeout(400)
def test_crates_of_real_jobs_are_whole_and_as_the_standard_wants_them(desk: Desk, tmp_path: Path) -> None:
    desk.write("code/train.sh", LEAVE + "\n")
    single = desk.submit(desk.experiment("single", ["sh", "train.sh"], code="code"), cluster="beta")
    failed = desk.submit(desk.experiment("failed", ["sh", "-c", "echo sorry >&2; exit 3"]))
    file = desk.experiment("points", ["echo", "{{ lr }}"], sweep={"grid": {"lr": [1, 2]}, "spread": "even"})
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--cluster", "beta", "--wait")
    assert done.returncode == 0, done.stderr
    assert (desk.ended(single), desk.ended(failed)) == ("COMPLETED", "FAILED")
    for name, what in (("single", single), ("failed", failed), ("points", f"points-{desk.token}")):
        image = ("--with-image",) if name == "failed" else ()
        done = desk.tfslurm(
            "provenance", what, *CRATE, *image, "-o", name, cluster=None if name == "single" else "alpha"
        )
        assert done.returncode == 0, done.stderr
    folders = {name: desk.folder / name for name in ("single", "failed", "points")}

    out = folders["single"] / single.partition(":")[2] / "out"
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == OUTPUTS
    assert not [path for path in folders["single"].rglob("*") if path.is_symlink()]
    (action,) = actions(folders["single"])
    results = {unquote(each["@id"]).partition("/out/")[2] for each in action["result"]}
    assert results - {""} == OUTPUTS
    assert "alpha" not in action["name"] and action["location"]["@id"] in entities(folders["single"])
    (action,) = actions(folders["failed"])
    assert action["actionStatus"].endswith("FailedActionStatus") and "exit code 3" in action["error"]
    (image_file,) = folders["failed"].glob("image-*.oci.tar")
    digest = desk.record(failed)["image"]["digest"].removeprefix("sha256:")
    with tarfile.open(image_file) as members:
        blob = members.extractfile(f"blobs/sha256/{digest}")
        assert blob and sha256(blob.read()).hexdigest() == digest
    assert entities(folders["failed"])[image_file.name]["about"]["@id"] == action["containerImage"]["@id"]
    assert f"docker load --input {image_file.name}" in (folders["failed"] / "REPRODUCING.md").read_text()
    assert len(actions(folders["points"])) == 2 and len([*folders["points"].glob("runs/*/records/*.json")]) == 2
    for folder in folders.values():
        checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder)
        assert checked.returncode == 0
    done = desk.tfslurm("provenance", single, "--format", "rocrate", "--anonymous", "-o", "review.zip", cluster="beta")
    assert done.returncode == 0, done.stderr
    for name in (*folders, "review.zip"):
        verified = desk.tfslurm("verify", name, cluster=None)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    with zipfile.ZipFile(desk.folder / "review.zip") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    known = ("alice", "beta1", "beta2", str(desk.root("beta")), str(desk.folder), single)
    assert {
        (path, each) for path, data in held.items() for each in known if each in path or each.encode() in data
    } == set()

    (desk.run_folder(single) / "out" / "metrics.json").write_text("{}")
    done = desk.tfslurm("provenance", single, *CRATE, "-o", "changed.zip", cluster="beta")
    assert done.returncode == 1
    assert "out/metrics.json: it is not what the record says" in done.stderr
    wanted = [("RECOMMENDED", "1.1", folder) for folder in folders.values()]
    assert validator.issues(*wanted, cache=tmp_path / "cache") == [[], [], []]
