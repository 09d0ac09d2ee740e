"""`tfslurm reap` and the Epilog on the test bed: what a dead job left is removed, and nothing else."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from .bed import CLUSTERS, DOCKER_HOST, wait_until
from .desk import SMALL, USER, Desk, gate, until
from .docker import docker
from .processes import processes
from .slurm import write_epilog
from .users import run_as

GONE = "999999"  # a job id that no cluster of the bed has given


@pytest.fixture
def box() -> Iterator[Any]:
    """Makes containers with the labels of tfslurm's, or others; removed afterwards."""
    made: list[str] = []

    def make(owner: str = USER, running: bool = True, **labels: str) -> str:
        entry = pwd.getpwnam(owner)
        words = [word for key, value in labels.items() for word in ("--label", f"tfslurm.{key}={value}")]
        run = ("run", "--detach") if running else ("create",)
        done = docker(*run, "--user", f"{entry.pw_uid}:{entry.pw_gid}", *words, SMALL, "sleep", "600")
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        return made[-1]

    yield make
    for each in made:
        docker("rm", "--force", each)


def labels(cluster: str, node: str, job: str = GONE, user: str = USER, **more: str) -> dict[str, str]:
    """The labels of a container of that job."""
    own = {"uid": str(pwd.getpwnam(user).pw_uid), "user": user, "cluster": cluster, "job_id": job}
    slurm = {} if cluster == "local" else {"slurm_cluster": cluster, "slurm_job_id": job}
    return {**own, **slurm, "plan_id": "0" * 12, "attempt": "1", "rank": "0", "node": node, **more}


def there(container: str) -> bool:
    return docker("container", "inspect", container).returncode == 0


def kill_outright(job: str, folder: Path) -> None:
    """SIGKILL for the batch script and all that it started, so that nobody is left to end the container."""
    batch = f"job{int(job.partition(':')[2]):05d}/slurm_script"
    mine = [pid for pid, line in processes() if str(folder) in line or batch in line or folder.parent.name in line]
    assert len(mine) >= 3
    for pid in sorted(mine):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reap(desk: Desk, *words: str, code: int = 0) -> dict[str, Any]:
    done = desk.tfslurm("reap", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def actions(found: dict[str, Any], cluster: str) -> dict[str, str]:
    """Container -> what became of it, of all that were listed."""
    return {each["container_id"]: each["action"] for each in found[cluster]["containers"]}


# ------------------------------------------------------------------------------------------------- what a dead job left


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_what_is_left_of_a_job_that_slurm_does_not_know_is_listed_then_removed(
    desk: Desk, box: Any, cluster: str
) -> None:
    node = f"{cluster}1"
    running, created = box(**labels(cluster, node)), box(running=False, **labels(cluster, node, "999998_7"))
    listed = reap(desk, cluster, "--node", node, "--dry-run")
    assert {actions(listed, cluster)[each] for each in (running, created)} == {"remove"}
    assert there(running) and there(created)
    done = desk.tfslurm("reap", cluster, "--node", node)
    assert done.returncode == 0, done.stderr
    line = f"{cluster}:{GONE}  {node}  {running[:12]} running  removed: no process on the node holds it, and Slurm does"
    assert line in done.stdout
    assert not there(running)
    assert not there(created)
    assert f"looked at {node}" in done.stderr


def test_a_job_that_was_killed_outright_leaves_nothing_after_reap(desk: Desk) -> None:
    exp = desk.experiment("killed", ["sh", "-c", f"touch /out/here; {gate()}"])
    job = desk.submit(exp, cluster="beta")
    until(lambda: (list(desk.root("beta").glob("runs/*/*/out/here"))) != [], 60, "the program did not start")
    folder = desk.run_folder(job)
    container = (folder / "attempt-1/facts/task-0/container-id.txt").read_text().strip()
    kill_outright(job, folder)
    desk.ended(job)
    assert there(container), "somebody was left to remove it"
    until(lambda: docker("inspect", "--format={{.State.Running}}", container).stdout.strip() == "false", 15)
    found = reap(desk, "beta")
    assert actions(found, "beta")[container] == "removed"
    assert not there(container)


def test_a_local_job_that_was_killed_outright_leaves_nothing_after_reap(desk: Desk, box: Any) -> None:
    host = socket.gethostname()
    left, elsewhere = box(**labels("local", host)), box(**labels("local", "another-machine"))
    of_slurm = box(**labels("alpha", host))
    found = reap(desk, "local")
    assert actions(found, "local")[left] == "removed"
    assert not there(left)
    assert there(elsewhere) and there(of_slurm)


# ------------------------------------------------------------------------------------------------ what is never touched


def test_other_users_other_nodes_and_other_containers_are_never_touched(desk: Desk, box: Any) -> None:
    kept = {
        "bob's": box("bob", **labels("alpha", "alpha1", user="bob")),
        "bob's, with alice's label": box("bob", **labels("alpha", "alpha1")),
        "on another node": box(**labels("alpha", "alpha2")),
        "of another cluster": box(**labels("beta", "alpha1")),
        "without labels": box(),
        "with a part of them": box(uid=str(pwd.getpwnam(USER).pw_uid)),
    }
    named = docker("rename", kept["without labels"], f"tfslurm-alpha-{GONE}-0-0-{uuid4().hex[:6]}")
    assert named.returncode == 0, named.stderr
    found = reap(desk, "alpha", "--node", "alpha1")
    assert not set(actions(found, "alpha")) & set(kept.values())
    assert {name for name, container in kept.items() if not there(container)} == set()


def test_a_running_job_is_never_touched_even_where_the_tracker_does_not_know_it(desk: Desk, box: Any) -> None:
    exp = desk.experiment("runs", ["sh", "-c", f"touch /out/here; {gate()}"])
    job = desk.submit(exp)
    until(lambda: (list(desk.root("alpha").glob("runs/*/*/out/here"))) != [], 60, "the program did not start")
    (begin,) = desk.root("alpha").glob("runs/*/*/attempt-1/begin.json")
    node = json.loads(begin.read_text())["nodelist"]
    # a second container of the same job, which nobody holds: the scheduler alone protects it
    unheld = box(**labels("alpha", node, job.partition(":")[2]))
    container = (begin.parent / "facts/task-0/container-id.txt").read_text().strip()
    desk.tracker.unlink()
    found = reap(desk, "alpha", "--node", node)
    whys = {each["container_id"]: (each["action"], each["why"]) for each in found["alpha"]["containers"]}
    assert whys[container][0] == "keep"
    assert "holds it" in whys[container][1]
    assert whys[unheld] == ("keep", "its job is RUNNING")
    assert there(container) and there(unheld)
    (begin.parent.parent / "out" / "go").touch()
    end = begin.parent / "exit.json"
    until(end.exists, 30)
    assert json.loads(end.read_text())["exit_code"] == 0


def test_a_container_that_a_client_holds_is_kept_though_the_scheduler_does_not_know_its_job(
    desk: Desk, box: Any
) -> None:
    entry = pwd.getpwnam(USER)
    held = box(running=False, **labels("alpha", "alpha1"))
    client = subprocess.Popen(
        ["docker", "start", "--attach", "--interactive", held],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "DOCKER_HOST": DOCKER_HOST, "HOME": entry.pw_dir},
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(USER, entry.pw_gid),
    )
    try:
        until(lambda: docker("inspect", "--format={{.State.Running}}", held).stdout.strip() == "true", 15)
        found = reap(desk, "alpha", "--node", "alpha1")
        assert actions(found, "alpha")[held] == "keep"
        assert there(held)
    finally:
        client.send_signal(signal.SIGKILL)
        client.communicate()
    assert actions(reap(desk, "alpha", "--node", "alpha1"), "alpha")[held] == "removed"


# --------------------------------------------------------------------------------------------- what cannot be looked at


def test_a_node_that_is_not_there_is_a_problem_and_the_others_are_looked_at(desk: Desk) -> None:
    found = reap(desk, "alpha", "--node", "alpha1", "--node", "alpha99", code=1)
    assert found["alpha"]["nodes"] == ["alpha1"]
    assert found["alpha"]["problems"] == ["alpha99: the cluster has no node of that name"]


def test_nothing_is_removed_while_the_scheduler_does_not_answer(desk: Desk, box: Any) -> None:
    left = box(**labels("alpha", "alpha1"))
    env = desk.wrap("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    done = desk.tfslurm("reap", "alpha", "--node", "alpha1", env=env)
    assert done.returncode == 1
    assert "squeue" in done.stderr
    assert there(left)


def test_without_tracked_jobs_it_says_which_option_names_a_node(desk: Desk) -> None:
    done = desk.tfslurm("reap", "alpha")
    assert done.returncode == 0, done.stderr
    assert "no tracked job ran on a node; name one with --node" in done.stderr
    done = desk.tfslurm("reap", "--node", "alpha1")
    assert done.returncode == 2
    assert "name one: `tfslurm reap CLUSTER --node NAME`" in done.stderr


# ---------------------------------------------------------------------------------------------------------- the Epilog


@pytest.fixture
def epilog(bed: None) -> Path:
    """The Epilog of the cluster gamma, as slurmd runs it; the text is the project's as it is now."""
    conf = CLUSTERS["gamma"].slurm_conf.read_text()
    path = write_epilog(CLUSTERS["gamma"])
    assert f"Epilog={path}" in conf, "gamma has no Epilog yet: python3 -m tests.cluster up"
    return path


def test_the_epilog_removes_what_is_left_of_its_job_and_nothing_else(epilog: Path, box: Any) -> None:
    script = "#!/bin/sh\nuntil [ -e %s ]; do sleep 0.1; done\n"
    go = Path(f"/tmp/tfslurm-epilog-{uuid4().hex}")
    words = ["sbatch", "--parsable", "--mem=50M", "--output=/dev/null", "--chdir=/"]
    done = run_as(USER, words, "gamma", stdin=script % go)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    own = [box(**labels("gamma", "gamma1", job)), box(running=False, **labels("gamma", "gamma1", job))]
    kept = {
        "another job's": box(**labels("gamma", "gamma1")),
        "the same id on another cluster": box(**labels("alpha", "gamma1", job)),
        "another user's": box("bob", **labels("gamma", "gamma1", job, user="bob")),
        "another node's": box(**labels("gamma", "gamma2", job)),
        "not tfslurm's": box(),
    }
    go.touch()
    try:
        assert wait_until(lambda: not any(there(each) for each in own), 60), "the Epilog did not remove them"
        assert {name for name, each in kept.items() if not there(each)} == set()
        shown = ["scontrol", "show", "node", "gamma1"]
        assert "DRAIN" not in run_as(USER, shown, "gamma").stdout
    finally:
        go.unlink()


def test_a_job_whose_every_process_was_killed_leaves_nothing_where_there_is_the_epilog(
    epilog: Path, desk: Desk
) -> None:
    exp = desk.experiment("epilog", ["sh", "-c", f"touch /out/here; {gate()}"])
    job = desk.submit(exp, cluster="gamma")
    until(lambda: (list(desk.root("gamma").glob("runs/*/*/out/here"))) != [], 60, "the program did not start")
    container = (desk.run_folder(job) / "attempt-1/facts/task-0/container-id.txt").read_text().strip()
    kill_outright(job, desk.run_folder(job))
    until(lambda: not there(container), 30, "the container is still there")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "is not set: nothing was looked at"),
        ({"DOCKER_HOST": "unix:///nowhere.sock"}, "docker ps failed: "),
    ],
)
def test_the_epilog_never_fails_a_node(bed: None, tmp_path: Path, env: dict[str, str], words: str) -> None:
    asked = (
        {"SLURM_JOB_ID": "1", "SLURM_CLUSTER_NAME": "c", "SLURM_JOB_UID": "2001", "SLURMD_NODENAME": "n"} if env else {}
    )
    script = Path(__file__).parent.parent.parent / "job_templates" / "probes" / "epilog.sh"
    # no `logger` in its PATH: what it says is on stderr
    text = script.read_text().replace("logger --tag", "no-such-logger --tag")
    done = subprocess.run(
        ["/bin/bash", "-s"], input=text, env={**asked, **env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert words in done.stderr
