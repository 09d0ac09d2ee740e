"""Which runs are made together: points, a sample of them, other seeds; and what that is refused for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.test_comparison import declared, experiment, image, job, run, seeded
from tfslurm.document import dump
from tfslurm.errors import InputError, RecordError, TfslurmError
from tfslurm.host.local import LocalHost
from tfslurm.record.model import Template
from tfslurm.reruns.chosen import Chosen, chosen_points, chosen_seeds, refuse_parameters, sweep_of
from tfslurm.retrieval.evidence import Evidence
from tfslurm.spec.parsing import parse_experiment
from tfslurm.sweeps import points

HOST = LocalHost("alpha")


def made(job_id: str, *changes: Any) -> Evidence:
    record = run(declared("accuracy", 0.02), *changes).record
    record = replace(record, job=replace(record.job, job_id=job_id), record_id=job_id)
    return Evidence(record, {}, HOST, PurePosixPath("/none"))


def sweep(*more: Any) -> list[Evidence]:
    """12 points: 3 values of lr, 4 seeds."""
    pairs = [(lr, seed) for lr in (0.1, 0.01, 0.001) for seed in range(4)]
    return [made(f"7_{at}", seeded(seed, lr=lr), *more) for at, (lr, seed) in enumerate(pairs)]


def test_all_points_are_made_again_or_a_sample_that_has_each_value() -> None:
    every = chosen_points("s", sweep(), None)
    assert (len(every.points), every.said, every.of_seeds) == (12, ("all 12 points",), False)
    some = chosen_points("s", sweep(), 4)
    assert sorted(point["seed"] for point in some.points) == [0, 1, 2, 3]
    assert {point["lr"] for point in some.points} == {0.1, 0.01, 0.001}
    assert [each.record.experiment.parameters for each in some.originals] == [*some.points]
    assert some.said[0].startswith("4 of 12 points, so that each value") and "lr (" in some.said[0]
    assert some == chosen_points("s", sweep(), 4)


def test_points_without_a_result_are_left_out_and_a_point_counts_once() -> None:
    found = sweep()
    failed = made("7_11", seeded(3, lr=0.001), job(state="FAILED"))
    again = made("9_0", seeded(0, lr=0.1))
    chosen = chosen_points("s", [*found[:-1], failed, again], None)
    assert len(chosen.points) == 11 and again in chosen.originals and found[0] not in chosen.originals
    assert chosen.said[1].startswith("1 of 12 points are left out: they are not COMPLETED")
    with pytest.raises(RecordError, match="none of its 1 points is COMPLETED"):
        chosen_points("s", [failed], None)


def test_the_points_are_a_sweep_that_exp_yaml_can_have() -> None:
    chosen = chosen_points("s", sweep(), 5)
    given = {
        "results": "fold*/metrics.json",
        "max_parallel": 3,
        "points_per_job": 2,
        "grid": {"lr": [1]},
        "spread": "even",
    }
    value = sweep_of(chosen, given)
    text = dump({"name": "a", "image": "a:1", "command": "x {{ lr }} {{ seed }}", "parameters": {"lr": 9, "seed": 9},
                 "outputs": "/out", "sweep": value})  # fmt: skip
    read = points.sweep_of(parse_experiment(text, "exp.yaml"))
    assert [dict(point.parameters) for point in read.points] == [*map(dict, chosen.points)]
    assert value.keys() == {"include", "results", "max_parallel", "points_per_job"}


@pytest.mark.parametrize(
    "other",
    [
        image(digest="sha256:" + "0" * 64),
        experiment(name="other"),
        experiment(mounts=({"source": "/data", "target": "/in", "read_only": False},)),
        lambda record: replace(record, code=None),
        lambda record: replace(record, asked=replace(record.asked, secrets=("KEY",))),
        lambda record: replace(record, asked=replace(record.asked, template=Template("evil.j2", None, "rm"))),
    ],
)
def test_runs_of_several_experiments_are_no_sweep(other: Any) -> None:
    with pytest.raises(InputError, match="stands for runs of 2 experiments, such as alpha:7_0, alpha:8"):
        chosen_points("s", [*sweep(), made("8", other)], None)


def test_one_run_has_no_points() -> None:
    with pytest.raises(InputError, match=r"is one run, and not a sweep.*--seeds 5"):
        chosen_points("alpha:8", [made("8")], 5)
    assert len(chosen_points("alpha:8", [made("8")], None).points) == 1


def test_a_strangers_parameters_are_sampled_whatever_they_are() -> None:
    odd: list[Any] = [[1], {"a": 1}, None, "x\x1b[2J", 10**4000, True, 1.5, "\ud800"]
    found = [made(str(at), experiment(parameters={f"p{at % 2}": value})) for at, value in enumerate(odd)]
    assert len(chosen_points("s", found, 3).points) == 3


# --------------------------------------------------------------------------------------------------------------- seeds


def seeds(chosen: Chosen, name: str = "seed") -> list[object]:
    return [point[name] for point in chosen.points]


def test_other_seeds_follow_the_runs_own_and_nothing_else_changes() -> None:
    one = made("8", seeded(7, lr=0.1))
    chosen = chosen_seeds("alpha:8", [one], 5, {})
    assert seeds(chosen) == [8, 9, 10, 11, 12] and {point["lr"] for point in chosen.points} == {0.1}
    assert (chosen.said, chosen.originals, chosen.of_seeds) == (("5 other seeds: seed 8 to 12",), (one,), True)
    assert seeds(chosen_seeds("n", [made("8", seeded("7"))], 5, {})) == ["8", "9", "10", "11", "12"]
    last = 2**31 - 1
    assert seeds(chosen_seeds("n", [made("8", seeded(last))], 5, {})) == [last - 5 + at for at in range(5)]


def test_several_seeds_advance_together() -> None:
    both = made("8", experiment(parameters={"seed": 1, "data.seed": 40, "lr": 2}))
    chosen = chosen_seeds("n", [both], 6, {})
    assert (seeds(chosen), seeds(chosen, "data.seed")) == ([2, 3, 4, 5, 6, 7], [41, 42, 43, 44, 45, 46])
    assert chosen.said == ("6 other seeds: seed 2 to 7; data.seed 41 to 46",)


@pytest.mark.parametrize(
    ("changes", "count", "settings", "why"),
    [
        ((seeded(1),), 4, {}, "4 are too few to say anything; write --seeds 5"),
        ((seeded(1),), 0, {}, "0 are too few"),
        ((), 5, {}, "no parameter of alpha:8 is a seed; write `parameters: {seed: 0}`"),
        ((experiment(command=("x", "--seed", "3")),), 5, {}, "seed 3 stands in its command as it is"),
        ((seeded("abc"),), 5, {}, "parameter seed of alpha:8 is abc: other seeds are whole numbers"),
        ((seeded(True),), 5, {}, "is true: other seeds are whole numbers"),
        ((seeded(-1),), 5, {}, "is -1: other seeds"),
        ((seeded(10**30),), 5, {}, "other seeds are whole numbers"),
        ((seeded(1.5),), 5, {}, "is 1.5: other seeds"),
        ((seeded([1]),), 5, {}, "other seeds are whole numbers"),
        ((seeded(1), declared(None)), 5, {}, "declares none; --set reproduce.metric=accuracy names it"),
        ((seeded(1), job(state="FAILED")), 5, {}, "alpha:8 is FAILED: there is no result"),
    ],
)
def test_seeds_that_would_say_nothing_are_refused(
    changes: tuple[Any, ...], count: int, settings: dict[str, str], why: str
) -> None:
    with pytest.raises(TfslurmError, match=re.escape(why)):
        chosen_seeds("alpha:8", [made("8", *changes)], count, settings)


def test_a_metric_may_be_named_now_and_seeds_are_of_one_run() -> None:
    bare = made("8", seeded(1), declared(None))
    assert len(chosen_seeds("n", [bare], 5, {"reproduce.metric": "accuracy"}).points) == 5
    with pytest.raises(InputError, match="stands for 12 runs, and --seeds takes one; name one, such as alpha:7_0"):
        chosen_seeds("s", sweep(), 5, {})


@pytest.mark.parametrize("name", ["lr", "parameters.lr", "sweep", "sweep.max_parallel", "parameters"])
def test_parameters_are_not_set_for_many_runs_at_once(name: str) -> None:
    with pytest.raises(InputError, match=f"--set {name}"):
        refuse_parameters({"resources.time": "01:00:00", name: "1"})
    refuse_parameters({"resources.time": "01:00:00", "reproduce.metric": "accuracy"})
