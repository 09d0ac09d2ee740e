"""A rerun elsewhere: what is not the same there is said first, and what is missing keeps it from starting."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any

from .desk import Desk

PROGRAM = "cat /data/digits; printf '{\"accuracy\": 0.9}' >/out/metrics.json"
DATA = b"0123456789"
SUM = sha256(DATA).hexdigest()


def test_what_another_cluster_does_not_have_the_same_way_is_said_before_it_starts(desk: Desk) -> None:
    folders = {cluster: desk.data(cluster) / cluster for cluster in ("alpha", "beta")}  # other paths, one name
    for cluster, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "digits").write_bytes(DATA)
        desk.describe(cluster, mounts={"names": {"digits": str(folder)}})
    desk.write("code/run.sh", PROGRAM)
    file = desk.experiment(
        "far", ["sh", "run.sh"], code="code", gpu_check="off", resources={"gpus": 1}, clusters=["alpha", "beta"],
        mounts=[{"source": "digits:digits", "target": "/data/digits", "hash": True}],
        reproduce={"metric": "accuracy", "tolerance": 0.01},
    )  # fmt: skip
    first = desk.submit(file)
    assert desk.ended(first) == "COMPLETED"

    begun = time.monotonic()
    done = desk.tfslurm("rerun", first, "--cluster", "beta", "--check")
    assert done.returncode == 0 and time.monotonic() - begun < 60, done.stdout + done.stderr
    assert "ok       data /data/digits  " in done.stdout and "10 bytes, sha256 as in the record\n" in done.stdout
    assert "GPU kind: NVIDIA A100-SXM4-40GB / Tesla V100-SXM2-16GB\n" in done.stdout
    assert "driver: 550.54.14 / 535.54.03\n" in done.stdout
    assert "rule         no seed, another environment (GPU kind, driver): within 0.01 of the metric\n" in done.stdout
    assert jobs(desk) == [first]  # nothing was started

    desk.describe("beta", engine="podman", mounts={"names": {"digits": str(folders["beta"])}})
    desk.set_up_podman()
    ran = desk.tfslurm("rerun", first, "--cluster", "beta", "--wait")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "not as before: engine: docker / podman\n" in ran.stderr and "bit-identical" in ran.stdout

    before = jobs(desk)
    (folders["beta"] / "digits").write_bytes(DATA[::-1])  # as large as it was
    other = tried(desk, first, 2, "--dry-run", "--json")["losses"][0]
    assert (other["what"], other["stops"]) == ("data /data/digits", True)
    assert sha256(DATA[::-1]).hexdigest() in other["here"]
    (folders["beta"] / "digits").unlink()
    for words, code in (((), 2), (("--anyway",), 2), (("--check",), 1)):
        gone = desk.tfslurm("rerun", first, "--cluster", "beta", *words)
        said = gone.stdout + gone.stderr
        assert gone.returncode == code, said
        assert all(each in said for each in ("10 bytes", SUM, str(folders["alpha"] / "digits"), "is not there"))
    assert "FAIL     data /data/digits  " in said and "ok       engine" in said
    copy = desk.write("copy/digits", DATA.decode())
    desk.describe("beta", engine="podman", mounts={"allow": [str(copy.parent)]})
    found = tried(desk, first, 0, "--dry-run", "--json", "--data", f"/data/digits={copy}")
    assert found["plan"]["mounts"][0]["source"] == str(copy)
    asked = ("--set", "resources.gpus=5", "--set", "slurm.partition=nowhere")
    lost = tried(desk, first, 2, "--dry-run", "--json", *asked)["losses"]
    assert [loss["what"] for loss in lost if loss["stops"]] == ["partition", "data /data/digits"]
    lost = tried(desk, first, 1, "--dry-run", "--json", *asked[:2], "--data", f"/data/digits={copy}")["losses"]
    assert [loss["fix"] for loss in lost if loss["stops"]] == ["--set resources.gpus=4, or another partition"]
    assert jobs(desk) == before


def tried(desk: Desk, job: str, code: int, *words: str) -> Any:
    """What `rerun JOB` says of beta as JSON."""
    done = desk.tfslurm("rerun", job, "--cluster", "beta", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def jobs(desk: Desk) -> list[str]:
    """The jobs that were submitted from this desk."""
    return [job["job"] for job in json.loads(desk.tfslurm("status", "--all", "--json").stdout)]
