"""Before the program: does TensorFlow list the GPUs, can the driver run the image's CUDA, whose GPU is whose.

The TensorFlow is the real one; the GPUs are stand-ins that nothing drives, so it rightly lists none of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from . import images, registry
from .bed import REGISTRY
from .desk import Desk, Done, until
from .docker import docker
from .gpus import of_node

TENSORFLOW = "tensorflow/tensorflow:2.16.1-gpu"
GPU = {"gpus": 1, "memory": "2G", "cpus": 2}


def ran(desk: Desk, name: str, *words: str, cluster: str = "alpha", **keys: Any) -> tuple[Done, str]:
    """What `submit --wait` gave, and the job."""
    resources = {**GPU, **keys.pop("resources", {})}
    file = desk.experiment(name, keys.pop("command", ["sh", "-c", "echo ran >/out/ran"]), resources=resources, **keys)
    done = desk.tfslurm("submit", file, "--cluster", cluster, "--wait", *words, cluster=cluster)
    return done, done.stdout.split()[-1]


def ran_at_all(desk: Desk, job: str) -> bool:
    return (desk.run_folder(job) / "out" / "ran").exists()


def refused(desk: Desk, job: str) -> str:
    """The refusal: exit 78 in the record, the same line in the attempt's end, and no program ran."""
    record, folder = desk.record(job), desk.run_folder(job) / "attempt-1"
    assert (record["job"]["state"], record["job"]["exit_code"]) == ("FAILED", 78)
    line = (folder / "facts" / "task-0" / "refused.txt").read_text().strip()
    assert json.loads((folder / "exit.json").read_text())["reason"] == line
    assert not ran_at_all(desk, job)
    return line


# ----------------------------------------------------------------------------------------------------------- TensorFlow


@pytest.fixture(scope="module")
def without(shared: Desk) -> str:
    """A GPU job of the real TensorFlow, which lists no GPU here; nothing in its file speaks of the check."""
    done, job = ran(shared, "without", image=TENSORFLOW)
    assert done.returncode == 78, done.stderr
    return job


def test_a_tensorflow_that_lists_no_gpu_stops_the_job_before_the_program(shared: Desk, without: str) -> None:
    line = refused(shared, without)
    assert re.match(r"tfslurm: alpha\d: tensorflow: TensorFlow 2\.16\.1 lists 0 of 1 granted GPU; it would", line)
    assert 'gpu_check: "off" runs it all the same' in line


def test_its_record_has_the_numbers_and_its_folder_what_tensorflow_said(shared: Desk, without: str) -> None:
    verdict = shared.record(without)["verified"]["tensorflow_gpu"]
    assert verdict == {"status": "failed", "reason": "TensorFlow 2.16.1 lists 0 of 1 granted GPU"}
    log = shared.run_folder(without) / "attempt-1" / "program" / "0" / "tensorflow-gpu.log"
    assert "Could not find cuda drivers on your machine" in log.read_text()


def test_the_other_links_of_that_job_hold_and_are_told(shared: Desk, without: str) -> None:
    verified = shared.record(without)["verified"]
    assert {link: verified[link]["status"] for link in ("image", "gpus", "driver")} == {
        "image": "ok", "gpus": "ok", "driver": "ok",
    }  # fmt: skip


def test_a_no_is_not_kept_so_a_mended_node_is_believed_at_once(shared: Desk, without: str) -> None:
    assert list(shared.root("alpha").glob("images/*.gpus/*TensorFlow*")) == []
    digest = registry.tag_digest(REGISTRY, "tensorflow/tensorflow", "2.16.1-gpu") or ""
    assert not (shared.root("alpha") / "images" / f"{digest.removeprefix('sha256:')}.gpus").exists()


def test_a_check_that_is_off_is_not_made_and_the_record_says_so(shared: Desk, without: str) -> None:
    done, job = ran(shared, "off", "--set", "gpu_check=off", image=TENSORFLOW)
    assert done.returncode == 0, done.stderr
    assert ran_at_all(shared, job)
    verdict = shared.record(job)["verified"]["tensorflow_gpu"]
    assert verdict == {"status": "unknown", "reason": "not checked: gpu_check is off"}


def test_a_job_that_is_cancelled_while_tensorflow_is_asked_ends_at_once(shared: Desk) -> None:
    keys = {"image": TENSORFLOW, "resources": GPU}
    job = shared.submit(shared.experiment("cancelled", ["sh", "-c", "echo ran >/out/ran"], **keys))
    until(
        lambda: bool(
            list(shared.root("alpha").glob(f"runs/cancelled-*/{job.partition(':')[2]}/**/tensorflow-gpu.log"))
        ),
        60,
    )
    shared.tfslurm("cancel", job)
    assert shared.ended(job) == "CANCELLED"
    until((shared.run_folder(job) / "attempt-1" / "exit.json").exists, 30)
    assert not ran_at_all(shared, job)
    verdict = shared.record(job)["verified"]["tensorflow_gpu"]
    why = "the check in the container did not report to its end: what was reported has no end"
    assert verdict == {"status": "unknown", "reason": why}
    plan = json.loads((shared.run_folder(job).parent / "plan.json").read_text())
    assert docker("ps", "--all", "--quiet", "--filter", f"label=tfslurm.plan_id={plan['plan_id']}").stdout == ""


def test_an_image_without_tensorflow_runs_and_its_unknown_is_kept_for_the_next_job(shared: Desk) -> None:
    """The small image has no Python at all. Both jobs are for the same node: what is kept is kept of it."""
    first_done, first = ran(shared, "first", slurm={"nodelist": "alpha2"})
    second_done, second = ran(shared, "second", slurm={"nodelist": "alpha2"})
    assert (first_done.returncode, second_done.returncode) == (0, 0), first_done.stderr + second_done.stderr
    verdicts = [shared.record(job)["verified"]["tensorflow_gpu"] for job in (first, second)]
    assert [verdict["status"] for verdict in verdicts] == ["unknown", "unknown"]
    absent = "TensorFlow is not in the image: there is neither python3 nor python"
    assert verdicts[0]["reason"] == absent
    number = first.partition(":")[2]
    name = of_node("alpha2")[0].name
    kept = rf"{absent} \(cached: observed 20\S+Z by job {number}, alpha2, driver 550\.54\.14, 1 x {name}\)"
    assert re.fullmatch(kept, verdicts[1]["reason"])
    argv = (shared.run_folder(second) / "attempt-1/facts/task-0/container-argv").read_bytes().decode()
    assert "gpu-check.py" not in argv, "nothing is asked in the container"


def test_a_job_for_no_gpu_is_not_asked(shared: Desk) -> None:
    done, job = ran(shared, "cpu", resources={"gpus": 0})
    assert done.returncode == 0, done.stderr
    assert not (shared.run_folder(job) / "attempt-1/facts/task-0/container/tensorflow-gpu.txt").exists()
    assert shared.record(job)["verified"]["tensorflow_gpu"]["reason"] == "the job asked for no GPU"


# --------------------------------------------------------------------------------------------------------------- driver


def pushed(desk: Desk, env: tuple[str, ...]) -> Iterator[str]:
    """The small image with another environment, in the registry while it is needed."""
    repository = f"bed/cuda-{desk.token}"
    digest = images.push_small(repository, "1", env=env)
    yield f"{REGISTRY}/{repository}:1"
    images.remove(f"{REGISTRY}/{repository}@{digest}")
    registry.delete_manifest(REGISTRY, repository, digest)


@pytest.fixture
def thirteen(desk: Desk) -> Iterator[str]:
    """The small image with a CUDA on it that no driver of the bed can run."""
    yield from pushed(desk, ("CUDA_VERSION=13.0.0",))


@pytest.fixture
def gap(desk: Desk) -> Iterator[str]:
    """The small image with a requirement that 535 fulfils and 550 does not."""
    yield from pushed(desk, ("CUDA_VERSION=12.4.0", "NVIDIA_REQUIRE_CUDA=cuda>=12.9 driver>=535,driver<536"))


def test_a_driver_that_is_too_old_for_the_images_cuda_ends_with_78_and_the_verdict(desk: Desk, thirteen: str) -> None:
    done, job = ran(desk, "old", image=thirteen)
    assert done.returncode == 78, done.stderr
    line = refused(desk, job)
    assert "driver: too old: driver 550.54.14 is older than 580, the oldest that the image (CUDA 13.0.0) admits" in line
    verdict = desk.record(job)["verified"]["driver"]
    assert verdict["status"] == "failed"
    assert "driver 550.54.14 is older than 580" in verdict["reason"]


def test_a_driver_known_to_be_too_old_is_told_before_hours_in_the_queue(desk: Desk, thirteen: str) -> None:
    """Known by a record that was read; --force overrules, and the node looks again."""
    file = desk.experiment("again", ["sh", "-c", "echo ran >/out/ran"], image=thirteen, resources=GPU)
    first = desk.submit(file)
    assert desk.ended(first) == "FAILED"
    node = desk.record(first)["attempts"][0]["tasks"][0]["node"]
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    why = "driver 550.54.14 is older than 580, the oldest that runs CUDA 13.0.0"
    assert f"alpha: driver: too old: {why}" in done.stderr
    assert f"({node}; last seen 20" in done.stderr and f"by job {first})" in done.stderr
    assert desk.jobs("alpha") == [first.partition(":")[2]], "nothing was queued"
    forced = desk.tfslurm("submit", file, "--cluster", "alpha", "--force", "--wait")
    assert forced.returncode == 78, forced.stderr
    assert "submitted all the same (--force)" in forced.stderr


def test_check_says_per_partition_whether_the_driver_suits_an_image_and_submit_remembers(
    desk: Desk, thirteen: str
) -> None:
    file = desk.experiment("later", "true", image=thirteen, resources=GPU)
    for asked in (thirteen, file):
        done = desk.tfslurm("check", "alpha", "--image", asked, "--json")
        assert done.returncode == 1, done.stderr
        facts = {fact["fact"]: fact for fact in json.loads(done.stdout)["alpha"]}
        for place in ("gpu", "debug"):
            assert facts[f"{place}/image-driver"]["status"] == "FAIL"
            assert f"{thirteen}: too old: driver 550.54.14" in facts[f"{place}/image-driver"]["value"]
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert "by tfslurm check)" in done.stderr
    assert not file.with_suffix(".lock.yaml").exists() or "13.0.0" in file.with_suffix(".lock.yaml").read_text()


def test_an_older_driver_of_the_same_major_version_is_a_note(desk: Desk) -> None:
    """beta's 535.54.03 runs the image's CUDA 12.3 by minor-version compatibility."""
    done = desk.tfslurm("check", "beta", "--image", TENSORFLOW, cluster="beta")
    assert "gpu/image-driver" in done.stdout and "minor-version compatible: driver 535.54.03" in done.stdout
    file = desk.experiment("note", "true", image=TENSORFLOW, resources=GPU)
    done = desk.tfslurm("submit", file, "--cluster", "beta", "--set", "gpu_check=off", cluster="beta")
    assert done.returncode == 0, done.stderr
    assert "note: beta: driver 535.54.03 runs CUDA 12.3.0: nothing to do (-v: why)\n" in done.stderr


def test_what_only_the_hook_refuses_is_told_as_the_drivers_fault_too(desk: Desk, gap: str) -> None:
    """535 would do and 550 would not: one oldest version cannot say that, the hook's own stand-in does."""
    done, job = ran(desk, "gap", image=gap)
    assert done.returncode == 78, done.stderr
    line = refused(desk, job)
    assert "driver: too old: NVIDIA's hook refuses driver 550.54.14: unsatisfied condition: cuda>=12.9" in line
    assert desk.record(job)["verified"]["driver"]["status"] == "failed"


# --------------------------------------------------------------------------------------------------- whose GPU is whose

SHARES = """\
nvidia-smi -L >/out/$SLURM_NODEID.$SLURM_LOCALID
printf '%s\\n' "${CUDA_VISIBLE_DEVICES-unset}" >>/out/visible
"""


def given(desk: Desk, job: str, rank: int) -> list[str]:
    return (desk.run_folder(job) / f"attempt-1/facts/task-{rank}/gpus.txt").read_text().split()


@pytest.mark.parametrize(("cluster", "source"), [("alpha", "cgroup"), ("beta", "index-unconstrained")])
def test_each_task_of_a_node_has_its_own_share_of_the_gpus(cluster: str, source: str, desk: Desk) -> None:
    """Two nodes, two tasks on each, four GPUs per node: every GPU of both nodes is somebody's, and nobody's twice."""
    resources = {"gpus": 4, "cpus": 2, "memory": "300M", "nodes": 2, "tasks_per_node": 2}
    done, job = ran(desk, "shares", cluster=cluster, resources=resources, command=["sh", "-c", SHARES])
    assert done.returncode == 0, done.stderr
    shares = [given(desk, job, rank) for rank in range(4)]
    assert [len(share) for share in shares] == [2, 2, 2, 2]
    assert [sorted(shares[0] + shares[1]), sorted(shares[2] + shares[3])] == [
        sorted(gpu.uuid for gpu in of_node(f"{cluster}{number}")) for number in (1, 2)
    ]
    record = desk.record(job)
    tasks = record["attempts"][0]["tasks"]
    assert [task["gpu_source"] for task in tasks] == [source] * 4
    assert [[gpu["uuid"] for gpu in task["gpus"]] for task in tasks] == shares
    assert record["verified"]["gpus"]["status"] == "ok"
    for rank in range(4):
        seen = re.findall(r"UUID: ([^)]+)", desk.out(job, f"{rank // 2}.{rank % 2}"))
        assert seen == shares[rank], "inside the container"
    assert desk.out(job, "visible").split() == ["unset"] * 4, "the container numbers its GPUs from 0"


@pytest.mark.parametrize(
    ("gpus", "keys"), [(1, {}), (2, {"slurm": {"gpu-bind": "none"}})], ids=["one GPU", "gpu-bind none"]
)
def test_tasks_that_cannot_or_need_not_share_see_all_gpus(gpus: int, keys: dict[str, Any], desk: Desk) -> None:
    resources = {"gpus": gpus, "cpus": 2, "memory": "300M", "tasks_per_node": 2}
    done, job = ran(desk, "all", resources=resources, command=["true"], **keys)
    assert done.returncode == 0, done.stderr
    assert given(desk, job, 0) == given(desk, job, 1)
    assert len(given(desk, job, 0)) == gpus
