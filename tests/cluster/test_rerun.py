"""A job of alpha again from its record: where it ran, on this machine from its crate alone, on beta, and changed."""

from __future__ import annotations

from .desk import Desk, as_yaml

BY = ("--author", "Doe, Alice")
PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s}' "$1" >/out/metrics.json
printf 'weights of seed %s by %s' "$1" "$RATE" >/out/weights.bin
ls -l /workspace >/dev/null; cat /data/digits >/out/data
"""


def test_a_job_is_repeated_from_its_record_and_from_its_crate(desk: Desk) -> None:
    desk.write("code/run.sh", PROGRAM, 0o755)
    for cluster in ("alpha", "beta"):
        desk.data(cluster).mkdir(parents=True)
        (desk.data(cluster) / "digits").write_text("0123456789")
    data = {"source": str(desk.data("alpha")), "target": "/data", "hash": True}
    file = desk.experiment(
        "runs", ["./run.sh", "{{ seed }}"], code={"path": "code", "writable": True}, env={"RATE": "{{ lr }}"},
        parameters={"seed": 4, "lr": 0.1}, mounts=[data],
        reproduce={"metric": "accuracy", "files": ["weights.bin"]}, slurm={"nice": 7, "hint": "nomultithread"},
    )  # fmt: skip
    first = desk.submit(file)
    assert desk.ended(first) == "COMPLETED"
    again = desk.tfslurm("rerun", first, "--wait")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "results      bit-identical\n             identical: weights.bin\n" in again.stdout
    done = desk.tfslurm("provenance", first, "--format", "rocrate", "--license", "CC0-1.0", *BY, "-o", "crate.zip")
    assert done.returncode == 0, done.stderr
    held = desk.write("digits/digits", "0123456789").parent
    root = {"root": str(desk.folder / "data" / "tfslurm" / "local"), "mounts": {"allow": [str(held)]}}
    desk.write("config/tfslurm/clusters/local.yaml", as_yaml({"name": "local", **root}))
    here = desk.tfslurm("rerun", "crate.zip", "--local", "--data", f"/data={held}", cluster=None)
    assert here.returncode == 0, here.stdout + here.stderr
    assert "inputs       identical\n" in here.stdout and "bit-identical" in here.stdout
