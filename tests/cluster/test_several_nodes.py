"""Several nodes and tasks on the test bed: who the others are, how one failure ends all, and a training over two nodes.

The nodes are pretend nodes of one machine, and their names mean nothing to it: what Slurm says of them must do.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfslurm.spec import Resources

from .bed import CLUSTERS, LOGIN_PATH
from .desk import Desk, ids
from .install import CHECKOUT
from .jobs import Job, plan, ran, sh, slurm, stand_in, submit
from .test_chain import hooked

SLOW_S = 600  # several TensorFlows on a machine that has other things to do
TWO_NODES = Resources(gpus=0, nodes=2)
PRINT_CONFIG = 'printf %s "$TF_CONFIG" >/out/$SLURM_PROCID.json'


def told(job: Job, rank: int) -> dict[str, Any]:
    """TF_CONFIG as the task of this rank had it."""
    found: dict[str, Any] = json.loads((job.folder / "out" / f"{rank}.json").read_text())
    return found


def test_every_task_is_told_who_and_where_all_are() -> None:
    job = ran(plan(resources=TWO_NODES, network="host", outputs="/out", command=sh(PRINT_CONFIG)))
    assert job.end()["exit_code"] == 0, job.said()
    first, second = told(job, 0), told(job, 1)
    assert first["cluster"] == second["cluster"]
    assert (first["task"], second["task"]) == ({"type": "worker", "index": 0}, {"type": "worker", "index": 1})
    workers = [address.rpartition(":") for address in first["cluster"]["worker"]]
    assert [host for host, _, _ in workers] == ["127.0.0.1", "127.0.0.1"]  # slurm.conf's NodeAddr
    ports = {int(port) for _, _, port in workers}
    assert len(ports) == 2, "the two nodes are one machine"
    assert ports <= set(range(20000, 32000))
    assert [job.inspected(rank)["HostConfig"]["NetworkMode"] for rank in (0, 1)] == ["host", "host"]


def test_the_names_that_slurm_uses_mean_an_address_in_the_container() -> None:
    """SlurmClusterResolver takes the names from SLURM_STEP_NODELIST; on the host itself they mean nothing."""
    with pytest.raises(OSError):
        socket.gethostbyname("alpha2")
    job = ran(plan(resources=TWO_NODES, network="host", command=sh("cat /etc/hosts; env")))
    assert "127.0.0.1\talpha1\n" in job.output()
    assert "127.0.0.1\talpha2\n" in job.output()
    said = dict(line.split("=", 1) for line in job.output().splitlines() if line.startswith("SLURM_"))
    wanted = {
        "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "alpha[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    }  # fmt: skip
    assert {key: said.get(key) for key in wanted} == wanted


@pytest.fixture
def taken() -> Iterator[Any]:
    """Listens on ports of this machine until the test is over."""
    held: list[socket.socket] = []

    def listen(ports: range) -> None:
        for port in ports:
            made = socket.socket()
            made.bind(("0.0.0.0", port))
            made.listen()
            held.append(made)

    yield listen
    for each in held:
        each.close()


def test_a_port_that_somebody_listens_on_is_not_chosen(taken: Any) -> None:
    """The next job's first choice is made from its id, so it is known; the two tasks then go two ports further each."""
    asked = plan(resources=TWO_NODES, network="host", outputs="/out", command=sh(PRINT_CONFIG), options={"hold": ""})
    job = submit(asked)
    first = 20000 + int(job.job_id) * 64 % 12000
    taken(range(first, first + 4))
    slurm(job, "scontrol", "release", job.job_id)
    assert job.end()["exit_code"] == 0, job.said()
    assert told(job, 0)["cluster"]["worker"] == [f"127.0.0.1:{first + 4}", f"127.0.0.1:{first + 5}"]


def test_the_experiments_own_tf_config_stands_over_it() -> None:
    job = ran(plan(resources=TWO_NODES, network="host", env={"TF_CONFIG": "{}"}, command=sh('echo "$TF_CONFIG"')))
    assert job.output() == "{}\n"


@pytest.mark.parametrize(
    ("resources", "network"),
    [(TWO_NODES, "none"), (Resources(gpus=0, tasks_per_node=2), "bridge"), (Resources(0), "host")],
)
def test_where_nobody_else_can_be_reached_nothing_is_said_of_others(resources: Resources, network: str) -> None:
    job = ran(plan(resources=resources, network=network, command=sh('echo "${TF_CONFIG-nothing}"')))
    assert job.output() == "nothing\n"
    assert not (job.attempt() / "tasks.txt").exists()


def test_names_that_the_nodes_resolver_knows_are_used_as_they_are() -> None:
    """getent is a stand-in here, of a site whose DNS knows its nodes."""
    path = with_stand_in("getent", '[ "$1" = hosts ] && echo "192.0.2.7 $2"')
    asked = plan(
        resources=TWO_NODES, network="host", outputs="/out", command=sh(PRINT_CONFIG), options={"export": path}
    )
    job = ran(asked)
    assert job.end()["exit_code"] == 0, job.said()
    hosts = [address.rpartition(":")[0] for address in told(job, 0)["cluster"]["worker"]]
    assert hosts == ["alpha1", "alpha2"]
    assert not job.inspected()["HostConfig"]["ExtraHosts"]


def test_a_node_whose_name_means_nothing_and_that_slurm_cannot_tell_ends_with_78_before_any_task() -> None:
    """scontrol is a stand-in here, of a site that has none on its nodes."""
    path = with_stand_in("scontrol", "exit 127")
    job = ran(plan(resources=TWO_NODES, network="host", options={"export": path}))
    end = job.end()
    assert end["exit_code"] == 78, job.said()
    assert end["reason"].startswith("the name alpha")
    assert "means no address on alpha1, and Slurm tells none" in end["reason"]
    assert "ask the site to put node names into its DNS or /etc/hosts" in job.said()
    assert not list((job.attempt() / "facts").iterdir()), "no task began"


def with_stand_in(program: str, script: str) -> str:
    """The value of --export under which ``program`` is a shell script of ours on the nodes."""
    return f"ALL,PATH={stand_in(program, script)}:{LOGIN_PATH}"


ONE_FAILS = """
if [ "$SLURM_PROCID" = 1 ]; then until [ -e /out/here ]; do sleep 0.05; done; exit 3; fi
trap 'echo told >/out/told; exit 9' TERM; touch /out/here
while :; do sleep 0.05; done
"""


def test_one_task_that_fails_ends_the_others_and_speaks_for_the_job() -> None:
    job = ran(plan(resources=TWO_NODES, network="host", outputs="/out", command=sh(ONE_FAILS)))
    end = job.end()
    assert (end["exit_code"], end["reason"]) == (3, "task 1 ended with 3, so the others were ended"), job.said()
    assert [job.task_end(rank)["exit_code"] for rank in (0, 1)] == [9, 3]
    assert (job.folder / "out" / "told").exists(), "the other had time to end in its own way"
    assert job.containers() == []


# ------------------------------------------------------------------------------------------------------------- training


RESOLVES = """
import json, pathlib, tensorflow
resolver = tensorflow.distribute.cluster_resolver.SlurmClusterResolver(
    gpus_per_node=1, gpus_per_task=1, auto_set_gpu=False)
said = {"workers": resolver.cluster_spec().as_dict()["worker"], "rank": resolver.get_task_info()[1]}
pathlib.Path(f"/out/{said['rank']}.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def resolving(shared: Desk) -> str:
    """A job of two tasks whose SlurmClusterResolver says what it makes of Slurm's variables."""
    file = shared.experiment(
        "resolving",
        ["python", "-c", RESOLVES],
        image="tensorflow/tensorflow:2.16.1-gpu",
        resources={"nodes": 2, "memory": "2G"},
    )
    return shared.submit(file)


@pytest.fixture(scope="module")
def training(shared: Desk) -> str:
    """The example, run over both nodes of alpha; its end is awaited."""
    folder = shared.folder / "digits-multiworker"
    skip = shutil.ignore_patterns("__pycache__", "*.lock.yaml")
    shutil.copytree(CHECKOUT / "examples" / "digits-multiworker", folder, ignore=skip)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, *ids())
    job = shared.submit(folder / "exp.yaml")
    shared.tfslurm("wait", job, timeout_s=SLOW_S)
    assert shared.status(job)["state"] == "COMPLETED", logs(shared.run_folder(job))
    return job


def logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-3000:] for path in folder.glob("attempt-*/std*.log"))


def test_a_training_over_two_nodes_ends_with_the_same_weights_on_both(shared: Desk, training: str) -> None:
    first, second = (shared.out(training, f"weights-{rank}.sha256") for rank in (0, 1))
    assert len(first.strip()) == 64
    assert first == second
    metrics = json.loads(shared.out(training, "metrics.json"))
    assert metrics["workers"] == 2
    assert metrics["accuracy"] > 0.5, "ten classes; it has learnt something"


def test_slurms_variables_are_those_that_the_slurm_cluster_resolver_needs(shared: Desk, resolving: str) -> None:
    shared.tfslurm("wait", resolving, timeout_s=SLOW_S)
    assert shared.status(resolving)["state"] == "COMPLETED", logs(shared.run_folder(resolving))
    for rank in (0, 1):
        said = json.loads(shared.out(resolving, f"{rank}.json"))
        assert said == {"workers": ["alpha1:8888", "alpha2:8888"], "rank": rank}


def test_the_record_has_both_tasks_with_their_nodes(shared: Desk, training: str) -> None:
    record = shared.record(training)
    (attempt,) = record["attempts"]
    assert [(task["rank"], task["node"]) for task in attempt["tasks"]] == list(enumerate(CLUSTERS["alpha"].nodes))
    assert record["job"]["nodes"] == list(CLUSTERS["alpha"].nodes)
    assert {task["container"]["exit_code"] for task in attempt["tasks"]} == {0}
    assert {record["verified"][link]["status"] for link in ("image", "gpus", "driver")} == {"ok"}
    assert sorted(each["path"] for each in record["experiment"]["outputs"]) == [
        "metrics.json", "weights-0.sha256", "weights-1.sha256",
    ]  # fmt: skip


def test_the_gpus_of_every_node_are_in_one_record(desk: Desk) -> None:
    """The GPUs are stand-ins; which ones each container got is known from the hook's log."""
    file = desk.experiment("gpus", ["nvidia-smi", "-L"], resources={"gpus": 1, "nodes": 2})
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED"
    record = desk.record(job)
    tasks = record["attempts"][0]["tasks"]
    uuids = [gpu["uuid"] for task in tasks for gpu in task["gpus"]]
    assert uuids == [uuid for task in tasks for uuid in hooked(task["container"]["id"])]
    assert len(set(uuids)) == 2
    for text in (record["verified"]["gpus"]["reason"], desk.tfslurm("provenance", job).stdout.partition("GPUs: ")[2]):
        assert all(uuid in text for uuid in uuids)
