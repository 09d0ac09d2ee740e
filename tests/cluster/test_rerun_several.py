"""A sweep again in one submission, a sample of it, and one of its points with other seeds."""

from __future__ import annotations

import json

from .desk import Desk

PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s}' "$2" >/out/metrics.json
printf 'weights of %s %s' "$1" "$2" >/out/weights.bin
[ "$1 $2" != "0.2 3" ] || date +%s%N >>/out/weights.bin # planted: the time is in the result
"""


def test_a_sweep_is_repeated_whole_in_part_and_with_other_seeds(desk: Desk) -> None:
    desk.write("code/run.sh", PROGRAM, 0o755)
    file = desk.experiment(
        "points", ["sh", "run.sh", "{{ lr }}", "{{ seed }}"], code="code",
        reproduce={"metric": "accuracy", "files": ["weights.bin"]},
        sweep={"grid": {"lr": [0.1, 0.2], "seed": [2, 3]}},
    )  # fmt: skip
    first = json.loads(desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", "--json").stdout)["sweep"]

    whole = desk.tfslurm("rerun", first, "--wait", "--json")
    assert whole.returncode == 1, whole.stdout + whole.stderr
    told = json.loads(whole.stdout)
    answers = {json.dumps(pair["parameters"]): pair["results"]["answer"] for pair in told["pairs"]}
    assert answers.pop('{"lr": 0.2, "seed": 3}') == "bits differ"
    assert [*answers.values()] == ["bit-identical"] * 3 and told["how"] == ["all 4 points"]
    (made,) = told["made"]
    arrays = {pair["b"].partition("_")[0] for pair in told["pairs"]}
    assert len(arrays) == 1, "one array serves a sweep"
    assert not told["only_in_a"] and "points" in made

    some = desk.tfslurm("rerun", first, "--points", "2")
    assert some.returncode == 0 and "2 of 4 points, so that each value" in some.stderr, some.stderr
    (array,) = some.stdout.split()
    name = some.stderr.partition("`tfslurm wait ")[2].partition("`")[0]
    seeds = desk.tfslurm("rerun", told["pairs"][0]["a"], "--seeds", "5", "--wait", "--format", "markdown")
    assert seeds.returncode == 0, seeds.stdout + seeds.stderr
    assert "5 other seeds: seed 3 to 7" in seeds.stderr
    assert "within the seeds' 95 % prediction interval" in seeds.stdout and "\n| 5 | 0.95 | 0.0158 |" in seeds.stdout

    desk.tfslurm("wait", name)
    sample = json.loads(desk.tfslurm("diff", first, name, "--json").stdout)
    assert (len(sample["pairs"]), len(sample["not_rerun"]), sample["only_in_a"]) == (2, 2, [])
    assert {pair["b"].partition("_")[0] for pair in sample["pairs"]} == {array}
    assert desk.record(sample["pairs"][0]["b"])["derived_from"]["job"] == told["pairs"][0]["a"].partition("_")[0]
    refused = desk.tfslurm("rerun", first, "--seeds", "5")
    assert refused.returncode == 2 and "stands for 4 runs, and --seeds takes one" in refused.stderr
