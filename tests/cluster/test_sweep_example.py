"""examples/sweep over both clusters, with a real TensorFlow: as it is, and unbalanced as its comments say."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from .desk import Desk, ids
from .install import CHECKOUT

BLOCKED = "  spread: blocked "
SEEDS = "seed: {range: [0, 6]}"
UNBALANCED = ("  # spread: even\n", "  # where: ")


@pytest.mark.parametrize("variant", ["blocked", "unbalanced"])
def test_the_example_ends_with_a_table_and_warns_where_depth_and_cluster_cannot_be_told_apart(
    desk: Desk, variant: str
) -> None:
    folder = desk.folder / "sweep"
    shutil.copytree(CHECKOUT / "examples" / "sweep", folder, ignore=shutil.ignore_patterns("*.lock.yaml"))
    file = folder / "exp.yaml"
    text = file.read_text("utf-8")
    assert BLOCKED in text and SEEDS in text
    text = text.replace(SEEDS, "seed: [0, 1]")
    assert all(line in text for line in UNBALANCED)
    if variant == "unbalanced":
        text = text.replace(BLOCKED, "  # spread: blocked ")
        for line in UNBALANCED:
            text = text.replace(line, line.replace("# ", "", 1))
    file.write_text(text, "utf-8")
    for path in (folder, *folder.iterdir()):
        os.chown(path, *ids())
    done = desk.tfslurm("submit", file, "--set", "lr=0.01", "--set", "gpu_check=off", "--wait", timeout_s=600)
    assert done.returncode == 0, done.stderr
    found = desk.tfslurm("results", "digits-sweep", "--json")
    rows = json.loads(found.stdout)
    assert [(row["parameters"]["depth"], row["parameters"]["seed"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert {row["state"] for row in rows} == {"COMPLETED"}
    assert all(0.8 < row["metrics"]["accuracy"] <= 1 and row["driver"] and row["gpu"] for row in rows)
    assert sorted(row["cluster"] for row in rows) == ["alpha", "alpha", "beta", "beta"]
    warned = "warning: depth is confounded with cluster" in found.stderr
    assert (warned, "confounded" in found.stderr) == (variant == "unbalanced",) * 2
    table = desk.tfslurm("results", "digits-sweep").stdout
    assert table.splitlines()[0].split()[:4] == ["point", "depth", "lr", "seed"], table
