"""The bed is what its README says: without this, a check that passes on it proves nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from . import images, registry
from .bed import BIN, CLUSTERS, DOCKER_HOST, HOOK_LOG, MIRROR, REGISTRY, SCRATCH, SYSTEM_PATH
from .gpus import Gpu, of_node
from .users import run_as

SMALL = f"{REGISTRY}/{images.SMALL}:{images.SMALL_TAG}"
UUIDS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")


def smi(*arguments: str, node: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": SYSTEM_PATH, **({"SLURMD_NODENAME": node} if node else {})}
    return subprocess.run([BIN / "nvidia-smi", *arguments], env=environment, capture_output=True, text=True)


def container(gpus: list[Gpu], *argv: str, env: str = "A=b") -> subprocess.CompletedProcess[str]:
    asked = f'"device={",".join(gpu.uuid for gpu in gpus)}"'
    return run_as("alice", ["docker", "run", "--rm", "--init", "--gpus", asked, "--env", env, SMALL, *argv], "alpha")


def hooked(container_id: str) -> dict[str, object]:
    lines = [json.loads(line) for line in HOOK_LOG.read_text().splitlines()]
    found: dict[str, object] = next(line for line in lines if line["container"].startswith(container_id))
    return found


def test_a_confined_job_sees_only_its_own_gpus() -> None:
    done = run_as("alice", ["srun", "--gpus-per-node=2", "--nodelist=alpha2", *UUIDS], "alpha")
    seen = done.stdout.split()
    assert len(seen) == 2, done.stderr
    assert set(seen) < {gpu.uuid for gpu in of_node("alpha2")}


def test_an_unconfined_job_sees_every_gpu_of_its_node_and_an_index_of_its_own() -> None:
    script = f"{' '.join(UUIDS)}; echo $CUDA_VISIBLE_DEVICES"
    done = run_as("alice", ["srun", "--gpus-per-node=2", "--nodelist=beta2", "sh", "-c", script], "beta")
    *seen, mine = done.stdout.split()
    assert seen == [gpu.uuid for gpu in of_node("beta2")]
    assert len(mine.split(",")) == 2


def test_a_job_without_gpus_sees_none_where_devices_are_confined() -> None:
    done = run_as("alice", ["srun", "--nodelist=alpha1", "nvidia-smi"], "alpha")
    assert (done.stdout.strip(), done.returncode) == ("No devices were found", 6)


def test_batch_scripts_tasks_and_login_shells_find_docker_and_nvidia_smi() -> None:
    script = "command -v nvidia-smi; echo $DOCKER_HOST"
    output = SCRATCH / "beta" / "alice" / f"test-bed-{os.getpid()}.out"
    batch = run_as("alice", ["sbatch", "--wait", "--output", output, "--export=NONE", "--wrap", script], "beta")
    assert batch.returncode == 0, batch.stderr
    seen = [output.read_text(), run_as("alice", ["srun", "sh", "-c", script], "beta").stdout]
    seen.append(run_as("alice", ["sh", "-c", script], "beta").stdout)
    output.unlink()
    assert [text.split() for text in seen] == [[str(BIN / "nvidia-smi"), DOCKER_HOST]] * 3


@pytest.mark.parametrize("numbers", [[1, 2], [3], [2, 0]])
def test_a_container_has_the_gpus_it_asked_for_and_no_other(numbers: list[int]) -> None:
    asked = [of_node("alpha1")[number] for number in numbers]
    done = container(asked, "sh", "-c", "hostname; nvidia-smi -L; ls /dev/nvidia*")
    host, *lines = done.stdout.splitlines()
    wanted = [f"GPU {i}: {gpu.name} (UUID: {gpu.uuid})" for i, gpu in enumerate(asked)]
    assert lines[: len(asked)] == wanted, done.stderr
    assert sorted(lines[len(asked) :]) == sorted(f"/dev/nvidia{gpu.minor}" for gpu in asked)
    assert hooked(host)["uuids"] == [gpu.uuid for gpu in asked]


def test_an_unknown_gpu_is_refused_in_the_real_words() -> None:
    stranger = "GPU-00000000-0000-0000-0000-000000000000"
    asked = ["docker", "run", "--rm", "--gpus", f'"device={stranger}"', SMALL, "true"]
    done = run_as("alice", asked, "alpha")
    assert done.returncode == 125
    assert f"nvidia-container-cli: device error: {stranger}: unknown device" in done.stderr


@pytest.mark.parametrize(
    ("node", "require", "works"),
    [
        ("alpha1", "cuda>=12.4", True),
        ("alpha1", "cuda>=12.5", False),
        ("beta1", "cuda>=12.3", False),
        ("beta1", "cuda>=12.3 brand=tesla,driver>=535,driver<536", True),
        ("alpha1", "cuda>=12.5 brand=tesla,driver>=550,driver<551", False),
        ("alpha1", "cuda>=12.5 brand=nvidia,driver>=550,driver<551", True),
        ("gamma1", "driver=545,cuda=12", True),
    ],
)
def test_the_driver_of_the_gpus_node_decides_about_nvidia_require(node: str, require: str, works: bool) -> None:
    done = container(of_node(node)[:1], "true", env=f"NVIDIA_REQUIRE_CUDA={require}")
    assert (done.returncode == 0) is works, done.stderr
    assert works or "requirement error: unsatisfied condition: cuda>=12." in done.stderr


def test_nvidia_disable_require_lets_it_start() -> None:
    asked = ["docker", "run", "--rm", "--gpus", f'"device={of_node("beta1")[0].uuid}"']
    env = ["--env", "NVIDIA_REQUIRE_CUDA=cuda>=99.0", "--env", "NVIDIA_DISABLE_REQUIRE=1"]
    assert run_as("alice", [*asked, *env, SMALL, "true"], "beta").returncode == 0


def test_nvidia_smi_answers_like_the_real_one() -> None:
    first = of_node("beta1")[0]
    query = "--query-gpu=index,name,driver_version,memory.total,utilization.gpu"
    assert smi(query, "--format=csv", "-i", first.uuid, node="beta1").stdout.splitlines() == [
        "index, name, driver_version, memory.total [MiB], utilization.gpu [%]",
        "0, Tesla V100-SXM2-16GB, 535.54.03, 16384 MiB, 0 %",
    ]
    bare = smi("--query-gpu=memory.total", "--format=csv,noheader,nounits", node="gamma1")
    assert bare.stdout.split() == ["15360", "15360"]
    wrong = smi("--query-gpu=index,colour", "--format=csv")
    assert (wrong.stdout.strip(), wrong.returncode) == ('Field "colour" is not a valid field to query.', 2)
    assert smi("-i", "9", "--query-gpu=uuid", "--format=csv", node="alpha1").returncode == 6


def test_an_account_that_does_not_exist_is_refused_on_alpha() -> None:
    assert "Invalid account" in run_as("alice", ["srun", "--account=nonesuch", "true"], "alpha").stderr
    assert run_as("alice", ["srun", "--account=guest", "true"], "alpha").returncode == 0


@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_sacct_answers_where_there_is_accounting(cluster: str) -> None:
    done = run_as("alice", ["sacct"], cluster)
    assert (done.returncode == 0) is CLUSTERS[cluster].accounting
    assert CLUSTERS[cluster].accounting or "accounting storage is disabled" in done.stderr


@pytest.fixture
def variant() -> Iterator[tuple[str, str]]:
    """A tag whose image was pushed for this test, with its digest."""
    digest = images.push_small("bed/variant", "1", {"/etc/variant": "one"}, labels={"a": "b"})
    yield f"{REGISTRY}/bed/variant:1", digest
    images.remove(f"{REGISTRY}/bed/variant:1")
    images.remove(f"{REGISTRY}/bed/variant@{digest}")


def test_a_pushed_variant_runs_by_its_digest_and_a_deleted_one_is_gone(variant: tuple[str, str]) -> None:
    _, digest = variant
    assert images.push_small("bed/variant", "1", {"/etc/variant": "one"}, labels={"a": "b"}) == digest
    done = run_as("alice", ["docker", "run", "--rm", f"{REGISTRY}/bed/variant@{digest}", "cat", "/etc/variant"], "beta")
    assert done.stdout == "one", done.stderr
    other = images.push_small("bed/variant", "1", {"/etc/variant": "two"})
    assert registry.tag_digest(REGISTRY, "bed/variant", "1") == other != digest
    registry.delete_manifest(REGISTRY, "bed/variant", digest)
    assert registry.manifest(REGISTRY, "bed/variant", digest) is None
    assert registry.tag_digest(MIRROR, "bed/variant", "1") is None


def test_both_registries_serve_the_tensorflow_image_under_one_digest() -> None:
    found = {registry.tag_digest(address, "tensorflow/tensorflow", "2.16.1-gpu") for address in (REGISTRY, MIRROR)}
    assert len(found) == 1
    assert None not in found


@pytest.mark.parametrize("cluster", [name for name, cluster in CLUSTERS.items() if cluster.ssh_port])
def test_a_user_logs_in_with_a_key_and_has_the_clusters_environment(cluster: str) -> None:
    ssh = ["ssh", "-o", "BatchMode=yes", "-p", str(CLUSTERS[cluster].ssh_port), "127.0.0.1"]
    done = run_as("alice", [*ssh, "squeue --version >/dev/null && echo $SLURM_CONF && id -u"])
    assert done.stdout.split() == [str(CLUSTERS[cluster].slurm_conf), "2001"], done.stderr
