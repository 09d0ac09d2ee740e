"""A sweep again in one submission, a sample of it, and one of its points with other seeds."""

from __future__ import annotations

import json

from .desk import Desk
from .test_python import python

PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s}' "$2" >/out/metrics.json
printf 'weights of %s %s' "$1" "$2" >/out/weights.bin
[ "$1 $2" != "0.2 3" ] || date +%s%N >>/out/weights.bin # planted: the time is in the result
"""
SAMPLE = """
import tfslurm

again = tfslurm.rerun("FIRST", points=2)
found = tfslurm.diff("FIRST", again.wait())
print(again.id, found.not_rerun, found.only_in_a, [pair.b for pair in found.pairs])
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
    (original,), (array,) = ({pair[side].partition("_")[0] for pair in told["pairs"]} for side in ("a", "b"))
    assert desk.record(told["pairs"][0]["b"])["derived_from"]["job"] == original != array, "one array serves a sweep"
    assert not told["only_in_a"] and len(told["made"]) == 1

    shown = desk.tfslurm("rerun", first, "--points", "2", "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert {each["cluster"] for each in plan["points"]} == {"alpha"} and len(plan["points"]) == 2
    assert plan["how"][0].startswith("2 of 4 points, so that each value is there")
    sample = python(desk, SAMPLE.replace("FIRST", first))
    made, _, rest = sample.partition(" ")
    assert made not in (first, *told["made"]) and rest.count(f"{original}_") == 2 and ") () [" in rest, sample

    seeds = desk.tfslurm("rerun", told["pairs"][0]["a"], "--seeds", "5", "--wait", "--format", "markdown")
    assert seeds.returncode == 0, seeds.stdout + seeds.stderr
    assert seeds.stdout.startswith("# Comparison of ") and "5 other seeds: seed 3 to 7" in seeds.stderr
    assert "within the seeds' 95 % prediction interval" in seeds.stdout and "\n| 5 | 0.95 | 0.0158 |" in seeds.stdout
    refused = desk.tfslurm("rerun", first, "--seeds", "5")
    assert refused.returncode == 2 and "stands for 4 runs, and --seeds takes one" in refused.stderr
