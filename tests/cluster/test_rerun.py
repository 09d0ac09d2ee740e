"""A job of alpha again: from its record where it ran, from its crate on beta, whose data lie elsewhere, and here."""

from __future__ import annotations

import json
from dataclasses import replace

from tfslurm.record import record_from_json, record_json
from tfslurm.record.model import seal
from tfslurm.record.schema import FIRST

from .desk import Desk, as_yaml

CRATE = ("--format", "rocrate", "--license", "CC0-1.0", "--author", "Doe, Alice")
PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s}' "$1" >/out/metrics.json
printf 'weights of seed %s by %s from %s' "$1" "$RATE" "$(cat /data/digits)" >/out/weights.bin
"""


def with_data(desk: Desk) -> None:
    """Have the same data on alpha, on beta and here, each in another place of the same name."""
    for cluster in ("alpha", "beta", "local"):
        folder = desk.folder / "digits" if cluster == "local" else desk.data(cluster)
        folder.mkdir(parents=True)
        (folder / "digits").write_text("0123456789")
        mounts = {"allow": [str(folder)], "names": {"digits": str(folder)}}
        if cluster == "local":
            root = str(desk.folder / "data" / "tfslurm" / "local")
            desk.write("config/tfslurm/clusters/local.yaml", as_yaml({"name": "local", "root": root, "mounts": mounts}))
        else:
            desk.describe(cluster, mounts=mounts)


def test_a_job_is_repeated_from_its_record_and_from_its_crate(desk: Desk) -> None:
    with_data(desk)
    desk.write("code/run.sh", PROGRAM, 0o755)
    file = desk.experiment(
        "runs", ["./run.sh", "{{ seed }}"], code={"path": "code", "writable": True}, env={"RATE": "{{ lr }}"},
        parameters={"seed": 4, "lr": 0.1}, mounts=[{"source": "digits:", "target": "/data", "hash": True}],
        reproduce={"metric": "accuracy", "files": ["weights.bin"]}, slurm={"nice": 7, "hint": "nomultithread"},
    )  # fmt: skip
    first = desk.submit(file)
    assert desk.ended(first) == "COMPLETED"
    record = desk.record(first)
    assert record["derived_from"] is None
    assert desk.tfslurm("provenance", first, *CRATE, "-o", "crate.zip").returncode == 0
    there = desk.tfslurm("rerun", "crate.zip", "--cluster", "beta", "--set", "seed=5", "--json", cluster="beta")
    assert there.returncode == 0, there.stderr
    assert "note: slurm option partition is left out: it is of the cluster where the original ran" in there.stderr
    beta = json.loads(there.stdout)["job"]

    (desk.folder / "code" / "run.sh").write_text("exit 3\n")  # the record has the code, whatever lies here now
    again = desk.tfslurm("rerun", first, "--wait")
    assert again.returncode == 0, again.stdout + again.stderr
    alpha = again.stdout.partition("\n")[0]
    assert again.stdout.partition("\n")[2].startswith("environment  identical\n")
    assert "inputs       identical\n" in again.stdout and "command, 2 parameters, data at /data\n" in again.stdout
    assert "results      bit-identical\n             identical: weights.bin\n" in again.stdout
    origin = {"job": first, "record_sha256": record["integrity"]["record_sha256"], "record_id": record["record_id"]}
    made = desk.record(alpha)
    assert made["derived_from"] == {**origin, "set": {}}
    assert (made["asked"]["options"], made["code"]["tree"]) == (record["asked"]["options"], record["code"]["tree"])

    here = desk.tfslurm("rerun", "crate.zip", "--local", "--set", "lr=0.2", "--json", cluster=None)
    assert here.returncode in (1, 3), here.stdout + here.stderr
    found = json.loads(here.stdout)
    assert found["variation"] == {"lr": "0.2"} and found["pairs"][0]["inputs"]["differs"] == ["parameters"]
    assert desk.out("local:1", "weights.bin") == "weights of seed 4 by 0.2 from 0123456789"

    older = record_json(seal(replace(record_from_json(record), schema=FIRST)))
    desk.write("old.json", json.dumps(older))
    unsaid = desk.tfslurm("rerun", "old.json")
    assert unsaid.returncode == 2 and "say where: --set outputs=/out" in unsaid.stderr
    old = desk.tfslurm("rerun", "old.json", "--set", "outputs=/out", "--set", "resources.memory=400M", "--json")
    assert old.returncode == 0 and "the record is of an older tfslurm" in old.stderr, old.stderr
    old_job = json.loads(old.stdout)["job"]

    assert desk.ended(beta) == "COMPLETED"
    assert desk.record(beta)["derived_from"] == {**origin, "set": {"seed": "5"}}
    assert desk.out(beta, "weights.bin") == "weights of seed 5 by 0.1 from 0123456789"
    assert desk.ended(old_job) == "COMPLETED"
    assert desk.out(old_job, "weights.bin") == desk.out(first, "weights.bin")
    shown = desk.tfslurm("provenance", first).stdout
    assert f"\nreruns   {beta}, {alpha}, local:1, {old_job}\n" in shown
    assert f"\nrepeats  {first}, with seed=5  record sha256:" in desk.tfslurm("provenance", beta).stdout
    assert desk.tfslurm("provenance", alpha, *CRATE, "-o", "again").returncode == 0
    graph = json.loads((desk.folder / "again" / "ro-crate-metadata.json").read_text())["@graph"]
    (about,) = (each["isBasedOn"]["@id"] for each in graph if "isBasedOn" in each)
    assert about == record["record_id"]
    assert desk.tfslurm("verify", "again", cluster=None).returncode == 0
