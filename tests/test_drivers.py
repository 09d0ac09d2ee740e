"""What is known of a cluster's drivers before a job is queued: kept in the tracker, judged for an image."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.made import EXPERIMENT, PIN, plan
from tfslurm.cli.check import image_facts
from tfslurm.errors import TfslurmError
from tfslurm.image import driver_verdict, oldest_driver
from tfslurm.job_plan import JobPlan
from tfslurm.retrieval.records import remember
from tfslurm.spec import Resources
from tfslurm.submission.preflight import tell
from tfslurm.tracker import SeenDriver, Tracker

EARLY, LATE = "2026-11-23T07:00:00Z", "2026-11-23T08:00:00Z"
FULL, MINOR, OLD = "550.54.14", "535.54.03", "470.57.02"


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "tracker.sqlite")


def seen(version: str, node: str = "alpha1", partition: str = "gpu", cluster: str = "alpha") -> SeenDriver:
    return SeenDriver(cluster, partition, node, version, EARLY, "tfslurm check")


def asked(environment: dict[str, str] | None = None, *, gpus: int = 1, **changes: Any) -> JobPlan:
    pin = replace(PIN, environment={"CUDA_VERSION": "12.3.0"} if environment is None else environment)
    return plan(replace(EXPERIMENT, resources=Resources(gpus=gpus)), pin=pin, **changes)


def told(tracker: Tracker, made: JobPlan, *drivers: SeenDriver) -> str:
    for driver in drivers:
        tracker.note_driver(driver)
    return tell(made, tracker)


# --- what is remembered


def test_the_later_sight_of_a_node_counts_whatever_comes_first(tracker: Tracker) -> None:
    late = seen(FULL)._replace(seen_at=LATE, seen_by="job alpha:17")
    for one in (late, seen(OLD), seen(MINOR, node="alpha2"), seen(OLD, cluster="beta")):
        tracker.note_driver(one)
    assert tracker.drivers("alpha") == [late, seen(MINOR, node="alpha2")]


def test_the_drivers_of_a_record_are_remembered_with_its_job(tracker: Tracker) -> None:
    tracker.plan(made := plan(), "")
    tracker.submit(made, "17")
    (job,) = tracker.jobs()
    tasks = [{"node": "alpha1", "driver_version": FULL}, {"node": "alpha2", "driver_version": None}]
    record = {"job": {"partition": "gpu", "ended_at": LATE, "started_at": EARLY}, "attempts": [{"tasks": tasks}]}
    remember(job, record, tracker)
    assert tracker.drivers("alpha") == [SeenDriver("alpha", "gpu", "alpha1", FULL, LATE, "job alpha:17")]


def test_a_tracker_from_before_drivers_were_kept_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "tracker.sqlite"
    Tracker(path).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE drivers")
    db.close()
    later = Tracker(path)
    later.note_driver(seen(FULL))
    assert later.drivers("alpha") == [seen(FULL)]


# --- what is said at submit


def test_nothing_known_and_all_well_are_not_worth_a_word(tracker: Tracker) -> None:
    assert told(tracker, asked()) == ""
    assert told(tracker, asked(), seen(FULL)) == ""


def test_minor_version_compatibility_is_told_with_where_it_was_seen(tracker: Tracker) -> None:
    assert (
        told(tracker, asked(), seen(MINOR)) == "note: alpha: driver 535.54.03 runs CUDA 12.3.0: nothing to do (-v: why)"
    )
    words = tell(asked(), tracker, whole=True)
    assert words.startswith("note: alpha: driver: minor-version compatible: driver 535.54.03 runs CUDA 12.3.0 ")
    assert words.endswith("(alpha1; last seen 2026-11-23T07:00:00Z by tfslurm check)")


def test_too_old_everywhere_is_an_error_with_its_fixes(tracker: Tracker) -> None:
    with pytest.raises(TfslurmError) as caught:
        told(tracker, asked(), seen(OLD), seen("418.39", node="alpha2"))
    words = str(caught.value)
    assert words.startswith(
        "alpha: driver: too old: driver 470.57.02 is older than 525.60.13, the oldest that runs CUDA"
    )
    assert "(alpha1; last seen" in words and "(alpha2; last seen" in words
    assert words.endswith("if the driver was updated since: `tfslurm check alpha`, or --force")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("other", [FULL, MINOR])
def test_too_old_on_some_nodes_is_a_warning_that_names_them(other: str, tracker: Tracker) -> None:
    words = told(tracker, asked(), seen(OLD), seen(other, node="alpha2"))
    assert words.startswith(
        "warning: alpha: driver: too old on some nodes, where the job would end with 78: driver 470"
    )
    assert "alpha1" in words and "alpha2" not in words


@pytest.mark.parametrize(
    "made",
    [
        asked(gpus=0),
        asked({}),
        asked(options={"partition": "debug"}),
        asked({"CUDA_VERSION": "12.3.0", "NVIDIA_DISABLE_REQUIRE": "1"}),
    ],
    ids=["no GPU", "an image that names no CUDA", "another partition", "checks that were switched off"],
)
def test_a_driver_that_says_nothing_about_the_job_is_not_told(made: JobPlan, tracker: Tracker) -> None:
    assert told(tracker, made, seen(OLD)) == ""


@pytest.mark.parametrize("options", [{}, {"partition": "debug,gpu"}], ids=["none named", "several named"])
def test_every_partition_that_the_job_may_go_to_counts(options: dict[str, str], tracker: Tracker) -> None:
    with pytest.raises(TfslurmError):
        told(tracker, asked(options=options), seen(OLD))


# --- what `check --image` says


def test_each_partition_has_its_verdict() -> None:
    drivers = [seen(FULL), seen(MINOR, partition="v100"), seen(OLD, partition="k80"), seen(OLD, partition="mixed")]
    drivers.append(seen(FULL, node="alpha9", partition="mixed"))
    facts = image_facts(PIN, {"gpu", "new"}, drivers)
    assert [(fact.fact, fact.status) for fact in facts] == [
        ("gpu/image-driver", "ok"),
        ("k80/image-driver", "FAIL"),
        ("mixed/image-driver", "warn"),
        ("new/image-driver", "unknown"),
        ("v100/image-driver", "ok"),
    ]
    assert facts[4].value.startswith("tensorflow/tensorflow:2.16.1-gpu: minor-version compatible: driver 535.54.03")
    assert facts[3].value == "tensorflow/tensorflow:2.16.1-gpu: no driver was seen there yet"


def test_a_cluster_of_which_no_driver_is_known_says_so() -> None:
    (fact,) = image_facts(PIN, set(), [])
    assert (fact.fact, fact.status) == ("image-driver", "unknown")


# --- the oldest driver that the node is told


REQUIRE = "cuda>=12.3 brand=tesla,driver>=470,driver<471 brand=geforce,driver>=535,driver<536"


@pytest.mark.parametrize(
    ("environment", "oldest"),
    [
        ({"CUDA_VERSION": "12.3.0"}, "525.60.13"),
        ({"CUDA_VERSION": "11.8.0"}, "450.80.02"),
        ({"CUDA_VERSION": "10.0"}, "410.48"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": REQUIRE}, "470"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "cuda>=12.3"}, "545.23.06"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "driver>535"}, "535.0.0.1"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "driver<540"}, "525.60.13"),
        ({"CUDA_VERSION": "99.0"}, ""),
        ({"CUDA_VERSION": "13.0.0", "NVIDIA_DISABLE_REQUIRE": "true"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_no_driver_below_the_oldest_is_anything_but_too_old(environment: dict[str, str], oldest: str) -> None:
    assert oldest_driver(environment) == oldest
    if oldest:
        assert driver_verdict(environment, oldest).status != "too old"
        below = [f"{major}.{minor}" for major in range(300, 700) for minor in (0, 54, 80)]
        numbers = tuple(map(int, oldest.split(".")))
        for version in (text for text in below if tuple(map(int, text.split("."))) < numbers):
            assert driver_verdict(environment, version).status == "too old", version


def test_the_plan_tells_it_to_the_node_for_gpu_jobs_alone() -> None:
    assert (asked().minimum_driver, asked().minimum_driver_for) == ("525.60.13", "CUDA 12.3.0")
    assert asked(gpus=0).minimum_driver == ""


@pytest.mark.parametrize("env", [{"CUDA_VERSION": "11.0.3"}, {"CUDA_VERSION": ""}, {"cuda_version": "9.0"}])
def test_a_variable_of_the_experiment_makes_no_driver_new_enough(env: dict[str, str], tracker: Tracker) -> None:
    made = replace(asked(), env=env)
    assert made.minimum_driver == "525.60.13"
    with pytest.raises(TfslurmError, match="too old"):
        told(tracker, made, seen(OLD))


def test_who_answers_for_the_driver_himself_says_so(tracker: Tracker) -> None:
    made = replace(asked(), env={"NVIDIA_DISABLE_REQUIRE": "1"})
    assert made.minimum_driver == "" and told(tracker, made, seen(OLD)) == ""
