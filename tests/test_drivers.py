"""What is known of a cluster's drivers before a job is queued: kept in the tracker, judged for an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.made import EXPERIMENT, PIN, plan
from tests.test_record import case
from tfslurm.cli.check import image_facts
from tfslurm.errors import TfslurmError
from tfslurm.image import driver_verdict, kept_environment, oldest_driver
from tfslurm.job_plan import JobPlan
from tfslurm.retrieval.records import keep
from tfslurm.spec import Resources
from tfslurm.submission.preflight import sees_no_gpu, tell
from tfslurm.tracker import SeenDriver, Tracker
from tfslurm.tracker.images import note_image

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
    tracker.note_drivers(drivers)
    return told_now(made, tracker)


def told_now(made: JobPlan, tracker: Tracker, *, whole: bool = False) -> str:
    return tell(made, tracker.image(made.pin.digest), tracker.drivers(made.cluster), whole=whole)


# --- what is remembered


def test_the_later_sight_of_a_node_counts_whatever_comes_first(tracker: Tracker) -> None:
    late = seen(FULL)._replace(seen_at=LATE, seen_by="job alpha:17")
    tracker.note_drivers([late, seen(OLD), seen(MINOR, node="alpha2"), seen(OLD, cluster="beta")])
    assert tracker.drivers("alpha") == [late, seen(MINOR, node="alpha2")]


def test_the_drivers_of_a_record_are_remembered_with_its_job(tracker: Tracker) -> None:
    tracker.plan(made := plan(), "")
    tracker.submit(made, "17")
    (job,) = tracker.jobs()
    record = case("gpu").build()
    attempt = record.attempts[-1]
    tasks = [
        replace(attempt.tasks[0], node=node, driver_version=version)
        for node, version in (("alpha1", FULL), ("alpha2", None))
    ]
    environment = replace(record.environment, tensorflow="2.16.1", cudnn="8", cudnn_present="8.9.6", os="Debian")
    about = replace(record.job, partition="gpu", ended_at=LATE)
    last = (replace(attempt, tasks=tuple(tasks)),)
    keep(job, replace(record, job=about, attempts=last, environment=environment), tracker)
    empty = {"cuda": None, "cuda_present": None}
    found = {**empty, "tensorflow": "2.16.1", "cudnn": "8", "cudnn_present": "8.9.6"}
    assert tracker.image(record.image.digest) == found
    assert tracker.drivers("alpha") == [SeenDriver("alpha", "gpu", "alpha1", FULL, LATE, "job alpha:17")]


# --- what is said at submit


def test_nothing_known_and_all_well_are_not_worth_a_word(tracker: Tracker) -> None:
    assert told(tracker, asked()) == ""
    assert told(tracker, asked(), seen(FULL)) == ""


def test_minor_version_compatibility_is_told_with_where_it_was_seen(tracker: Tracker) -> None:
    assert (
        told(tracker, asked(), seen(MINOR)) == "note: alpha: driver 535.54.03 runs CUDA 12.3.0: nothing to do (-v: why)"
    )
    words = told_now(asked(), tracker, whole=True)
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
    assert "if the driver was updated since: `tfslurm check alpha`, or --force; " in words
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
    facts = image_facts(PIN, {"gpu", "new"}, drivers, "")
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
    (fact,) = image_facts(PIN, set(), [], "")
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


# --- an image that brings its own libcuda

COMPAT: tuple[dict[str, str], ...] = (
    {"NVIDIA_REQUIRE_CUDA": "cuda>=9.0", "_CUDA_COMPAT_PATH": "/usr/local/cuda/compat"},  # NGC's
    {"NVIDIA_REQUIRE_CUDA": "cuda>=9.0", "LD_LIBRARY_PATH": "/usr/local/cuda/compat/lib:/usr/local/nvidia/lib"},
    {"NV_CUDA_COMPAT_PACKAGE": "cuda-compat-13-0"},
    {"_CUDA_COMPAT_PATH": "/opt/compat", "NVIDIA_REQUIRE_CUDA": "cuda>=11.0 brand=tesla,driver>=470"},
)


@pytest.mark.parametrize("own", COMPAT, ids=str)
@pytest.mark.parametrize("driver", ["535.183.06", "550.54.14", "570.86.15"])
def test_no_table_stands_over_the_libcuda_that_an_image_brings(
    own: dict[str, str], driver: str, tracker: Tracker
) -> None:
    variables = {"CUDA_VERSION": "13.0.1.012", "CUDA_DRIVER_VERSION": "580.82.07", **own}
    environment = kept_environment([f"{name}={value}" for name, value in variables.items()])  # as the lock file has it
    verdict = driver_verdict(environment, driver)
    assert verdict.status == "unknown"
    assert "unless the image's forward-compatibility package applies" in verdict.reason
    assert driver_verdict(environment, "580.82.07").status == "full"
    made = asked(environment)
    assert told(tracker, made, seen(driver)) == ""
    oldest = made.minimum_driver
    assert not oldest or tuple(map(int, oldest.split("."))) < (535,), "the node does not refuse it either"


@pytest.mark.parametrize("env", [{}, {"_CUDA_COMPAT_PATH": " "}, {"LD_LIBRARY_PATH": "/opt/compatible/lib:"}])
def test_what_only_looks_like_it_changes_nothing(env: dict[str, str]) -> None:
    assert driver_verdict({"CUDA_VERSION": "13.0.1", **env}, "535.183.06").status == "too old"


def test_what_the_image_itself_demands_stands_over_its_own_libcuda() -> None:
    demands = {"CUDA_VERSION": "13.0.1", "NVIDIA_REQUIRE_CUDA": "driver>=545", "_CUDA_COMPAT_PATH": "/x"}
    assert driver_verdict(demands, "535.183.06").status == "too old"


def test_too_old_names_the_way_out_that_holds_on_the_node_too(tracker: Tracker) -> None:
    with pytest.raises(TfslurmError, match=r'on the node as well: env: \{NVIDIA_DISABLE_REQUIRE: "1"\}'):
        told(tracker, asked(), seen(OLD))


@pytest.mark.parametrize(
    ("cuda", "driver", "status"),
    [
        ("9.2.148", "396.37", "full"),
        ("9.2.148", "396.26", "too old"),
        ("9.2.88", "396.26", "full"),
        ("13.2.2", "595.71.05", "full"),
        ("13.2.2", "595.58.03", "minor-version compatible"),
        ("13.3.0", "610.43.02", "full"),
        ("13.3.1", "610.43.02", "full"),
        ("13.3.0", "595.71.05", "minor-version compatible"),
        ("13.4.1", "615.12.03", "full"),
        ("13.4.2", "610.43.02", "minor-version compatible"),
        ("13.5.0", "620.10", "full"),
        ("13.5.0", "615.12.03", "minor-version compatible"),
        ("13.5.0", "575.57.08", "too old"),
    ],
)
def test_newer_toolkits_are_in_the_table(cuda: str, driver: str, status: str) -> None:
    assert driver_verdict({"CUDA_VERSION": cuda}, driver).status == status


# --- images that are known to see no GPU


@pytest.mark.parametrize("tag", ["2.18.0-gpu", "2.19.0-gpu-jupyter", "2.20.0-gpu", "2.21.0-gpu", "2.21.0rc1-gpu"])
@pytest.mark.parametrize("repository", ["tensorflow/tensorflow", "mirror/hub/tensorflow"])
def test_an_official_image_that_finds_no_gpu_is_told_before_the_job_is_queued(
    tag: str, repository: str, tracker: Tracker
) -> None:
    pin = replace(PIN, tag=tag, repository=repository, reference=f"{repository}:{tag}")
    words = told(tracker, plan(replace(EXPERIMENT, resources=Resources(gpus=1)), pin=pin), seen(FULL))
    assert words.startswith(f"warning: alpha: image: {repository}:{tag}: TensorFlow {tag.partition('-')[0]} wants CUDA")
    assert told_now(plan(replace(EXPERIMENT, resources=Resources(gpus=0)), pin=pin), tracker) == ""
    (fact,) = image_facts(pin, {"gpu"}, [seen(FULL)], sees_no_gpu(pin, tracker.image(pin.digest)))
    assert fact.status == "warn" and "use 2.17.0-gpu" in fact.do


@pytest.mark.parametrize("tag", ["2.17.0-gpu", "2.16.1-gpu-jupyter", "2.18.0", "2.21.0-jupyter", "2.22.0-gpu", ""])
def test_other_images_are_not(tag: str, tracker: Tracker) -> None:
    assert told(tracker, asked(), seen(FULL)) == ""
    assert told_now(plan(pin=replace(PIN, tag=tag)), tracker) == ""


# What a record says of the image with this digest, and what is told before the next job of it is queued.
KNOWN = [
    (
        ("12.5.1", "12.3.101", "9", "8.9.6"),
        "CUDA 12.5.1 and cuDNN 9, and the image holds CUDA 12.3.101 and cuDNN 8.9.6",
    ),
    (("12.5.1", None, "9", "8.9.6"), "cuDNN 9, and the image holds cuDNN 8.9.6"),
    (("12.5", "13.0.96", None, None), "CUDA 12.5, and the image holds CUDA 13.0.96"),
    (("12.5.1", "12.5.82", "9", "9.3.0"), ""),
    (("12.3", "12.3.101", "8", "8.9.6"), ""),
    (("12.5.1", "12.9.79", "9.3.0", "9.10.2"), ""),
]


@pytest.mark.parametrize(("inside", "why"), KNOWN)
@pytest.mark.parametrize("tag", ["2.18.0-gpu", "2.17.0-gpu"])
def test_what_was_seen_in_an_image_counts_more_than_its_tag(
    inside: tuple[str | None, ...], why: str, tag: str, tracker: Tracker
) -> None:
    keys = ("cuda", "cuda_present", "cudnn", "cudnn_present")
    pin = replace(PIN, tag=tag, reference=f"tensorflow/tensorflow:{tag}")
    note_image(tracker, pin.digest, {"tensorflow": "2.18.0", "python": "3.11", **dict(zip(keys, inside, strict=True))})
    said = sees_no_gpu(pin, tracker.image(pin.digest))
    assert (f"TensorFlow 2.18.0 was built with {why}: it finds no GPU" in said) is bool(why)
    assert bool(said) is bool(why)
    other = sees_no_gpu(pin, tracker.image("sha256:" + "0" * 64))
    assert bool(other) is ("2.18" in tag), "another digest is known by its tag"


def test_an_image_of_which_nothing_was_found_out_is_known_by_its_tag(tracker: Tracker) -> None:
    pin = replace(PIN, tag="2.18.0-gpu", reference="tensorflow/tensorflow:2.18.0-gpu")
    for environment in ({"tensorflow": "2.18.0", "cuda": "12.5.1"}, {"cuda": "12.5.1", "cuda_present": "12.5.82"}):
        note_image(tracker, pin.digest, environment)
        assert "wants CUDA 12.5" in sees_no_gpu(pin, tracker.image(pin.digest))
