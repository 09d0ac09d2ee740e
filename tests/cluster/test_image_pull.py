"""`tfslurm image pull` on the test bed: real jobs on real nodes, with docker and with podman."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from . import registry
from .bed import REGISTRY
from .desk import USER, Desk, until
from .jobs import fresh_image
from .users import run_as

NODES = {"alpha": ("alpha1", "alpha2"), "beta": ("beta1", "beta2")}


def pulled(desk: Desk, file: Path, cluster: str, *words: str) -> dict[str, dict[str, Any]]:
    """Node -> what became of the image there."""
    done = desk.tfslurm("image", "pull", file, "--cluster", cluster, "--json", *words)
    value = json.loads(done.stdout)
    found = {each["node"]: each for each in value["clusters"][cluster]["nodes"]}
    is_there = all(each["state"] in ("present", "pulled", "left out") for each in found.values())
    assert done.returncode == (0 if is_there else 1), done.stderr
    return found


def queue(cluster: str) -> list[str]:
    """The user's pulls that Slurm has not done with."""
    done = run_as(USER, ["squeue", "--noheader", f"--user={USER}", "--format=%j"], cluster)
    return [line for line in done.stdout.splitlines() if line.startswith("tfslurm-pull-")]


@pytest.mark.parametrize(("cluster", "engine"), [("alpha", "docker"), ("beta", "podman")])
def test_an_image_is_on_each_node_before_a_job_and_the_job_finds_it_there(
    desk: Desk, cluster: str, engine: str
) -> None:
    desk.describe(cluster, engine=engine)
    desk.set_up_podman()
    repository, digest = fresh_image()
    file = desk.experiment("early", "true", image=f"{REGISTRY}/{repository}:1", resources={"gpus": 1}, gpu_check="off")
    first = pulled(desk, file, cluster)
    assert tuple(sorted(first)) == NODES[cluster]
    places = {each["words"] for each in first.values() if each["state"] == "pulled"}
    assert f"{REGISTRY}/{repository}@{digest}" in places  # the nodes share this machine's engine: one of them pulled
    again = pulled(desk, file, cluster)
    assert {each["state"] for each in again.values()} == {"present"}
    assert desk.tfslurm("status", "--json").stdout == "[]\n"  # no list has them
    assert list(desk.root(cluster).glob("images/pull-*")) == []
    job = desk.submit(file, cluster=cluster)
    assert desk.ended(job) == "COMPLETED"
    (how,) = desk.run_folder(job).glob("attempt-1/facts/task-0/image-pulled.txt")
    assert how.read_text() == "present\n"


def test_a_node_that_cannot_have_the_image_says_why(desk: Desk) -> None:
    repository, digest = fresh_image()
    file = desk.experiment("gone", "true", image=f"{REGISTRY}/{repository}:1")
    assert desk.tfslurm("pin", file).returncode == 0
    registry.delete_manifest(REGISTRY, repository, digest)
    done = desk.tfslurm("image", "pull", file, "--cluster", "alpha", "--nodes", "alpha2")
    assert done.returncode == 1
    assert "alpha:alpha2  failed: image: " in done.stdout and "is not obtainable as" in done.stdout
    assert digest in done.stdout and done.stdout.endswith("on 0 of 1 node\n")


def test_ctrl_c_cancels_the_jobs_and_leaves_nothing(desk: Desk) -> None:
    repository, _ = fresh_image()
    file = desk.experiment("held", "true", image=f"{REGISTRY}/{repository}:1")
    held = desk.wrap("sbatch", 'exec "$real" --hold "$@"')  # as in a queue that is full
    path = {"PATH": f"{held['PATH'].partition(':')[0]}:{desk.environment('alpha')['PATH']}"}
    before = set(queue("alpha"))
    process = desk.start("image", "pull", file, "--cluster", "alpha", env=path)
    until(lambda: len(set(queue("alpha")) - before) == 1, 40, "no job was submitted")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelling the jobs of this pull" in said
    assert set(queue("alpha")) <= before
    assert list(desk.root("alpha").glob("images/pull-*")) == []
