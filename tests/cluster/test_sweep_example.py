"""examples/sweep over both clusters: as it is, with a real TensorFlow, and unbalanced as its comments say."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .desk import SMALL, Desk, ids
from .install import CHECKOUT

FOLDER = CHECKOUT / "examples" / "sweep"
SEEDS = "seed: {range: [0, 6]}"
UNBALANCED = ("  # spread: even\n", "  # where: ")
IMAGE = "image: tensorflow/tensorflow:2.16.1-gpu\n"
PROGRAM = "train_point.py"
COMMAND = f"command: python {PROGRAM} "


def example(desk: Desk, *changes: tuple[str, str]) -> Path:
    """The example's file in a folder of the user's, with these pieces of it replaced."""
    folder = desk.folder / "sweep"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.lock.yaml"))
    file = folder / "exp.yaml"
    text = file.read_text("utf-8")
    for old, new in ((SEEDS, "seed: [0, 1]"), *changes):
        assert old in text, old
        text = text.replace(old, new, 1)
    file.write_text(text, "utf-8")
    for path in (folder, *folder.iterdir()):
        os.chown(path, *ids())
    return file


def rows(desk: Desk, file: Path) -> tuple[list[dict[str, Any]], str]:
    """The results of its four points, two on each cluster, and what `results` says on stderr."""
    done = desk.tfslurm("submit", file, "--set", "lr=0.01", "--set", "gpu_check=off", "--wait", timeout_s=270)
    assert done.returncode == 0, done.stderr
    found = desk.tfslurm("results", "digits-sweep", "--json")
    told = json.loads(found.stdout)
    assert [(row["parameters"]["depth"], row["parameters"]["seed"]) for row in told] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert {row["state"] for row in told} == {"COMPLETED"}
    assert sorted(row["cluster"] for row in told) == ["alpha", "alpha", "beta", "beta"]
    return told, found.stderr


def test_the_example_ends_with_a_table(desk: Desk) -> None:
    told, said = rows(desk, example(desk))
    assert all(0.8 < row["metrics"]["accuracy"] <= 1 and row["driver"] and row["gpu"] for row in told)
    assert "confounded" not in said
    table = desk.tfslurm("results", "digits-sweep").stdout
    assert table.splitlines()[0].split()[:4] == ["point", "depth", "lr", "seed"], table


def test_the_unbalanced_variant_warns_that_depth_and_cluster_cannot_be_told_apart(desk: Desk) -> None:
    """With a program that does not train: what is read are the clusters and the parameters."""
    changes = [(line, line.replace("# ", "", 1)) for line in UNBALANCED]
    quick = [(IMAGE, f"image: {SMALL}\n"), (COMMAND, f"command: sh {PROGRAM} ")]
    file = example(desk, ("  spread: blocked ", "  # spread: blocked "), *changes, *quick)
    desk.write(f"sweep/{PROGRAM}", "echo '{\"accuracy\": 0.9}' >/out/metrics.json\n")
    said = rows(desk, file)[1]
    assert "warning: depth is confounded with cluster" in said
