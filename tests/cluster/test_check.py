"""`tfslurm check` against real clusters, as one of their users types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.bed import BIN, CLUSTERS, HOME, LOGIN_PATH, SCRATCH
from tests.cluster.install import install
from tests.cluster.own_registries import htpasswd, serve
from tests.cluster.users import run_as

USER = "alice"
Found = dict[str, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def program() -> Path:
    return install()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the user's on the clusters' file system, with room for cluster files."""
    owner = HOME / USER
    made = SCRATCH / "alpha" / USER / f"check-{uuid4().hex[:8]}"
    (made / "config" / "tfslurm" / "clusters").mkdir(parents=True)
    for path in (made, made / "config" / "tfslurm" / "clusters"):
        os.chown(path, owner.stat().st_uid, owner.stat().st_gid)
    yield made
    shutil.rmtree(made)


def describe(folder: Path, cluster: str, name: str = "", root: str = "", more: str = "slurm: {partition: gpu}") -> None:
    """A cluster file for one of the bed's clusters."""
    text = (
        f"name: {name or cluster}\nroot: {root or folder / 'runs'}\n{more}\n"
        f'mirrors: {{docker.io: ["127.0.0.1:5000"]}}\nenvironment: {{SLURM_CONF: {CLUSTERS[cluster].slurm_conf}}}\n'
    )
    (folder / "config" / "tfslurm" / "clusters" / f"{name or cluster}.yaml").write_text(text, "utf-8")


def typed(program: Path, folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`tfslurm check …`, with no other cluster files than those of the folder."""
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data"), **env}
    return run_as(USER, [program, "check", *words], cwd=folder, env=own)


def checked(program: Path, folder: Path, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Found:
    """cluster -> fact -> its row, of --json."""
    done = typed(program, folder, "--json", *words, **(env or {}))
    assert done.returncode == code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert all(set(row) == {"fact", "status", "value", "do"} for rows in document.values() for row in rows)
    return {name: {row["fact"]: row for row in rows} for name, rows in document.items()}


def test_a_confined_cluster_has_every_fact_of_a_node_observed(program: Path, folder: Path) -> None:
    own = f"127.0.0.1:5000/{folder.name}"
    describe(folder, "alpha", more=f"slurm: {{partition: gpu, account: lab}}\nregistry: {own}")
    facts = checked(program, folder)["alpha"]
    assert facts[f"push {own}"]["status"] == "ok"
    assert facts["reach"]["value"].startswith("this machine, ")
    assert facts["slurm"]["value"] == "22.05.8, slurmctld of alpha answers"
    assert facts["accounting"]["value"] == "slurmdbd answers; job comments are kept"
    assert facts["slurm.account"]["status"] == "ok"
    assert facts["registry 127.0.0.1:5000"]["status"] == "ok"
    for name in (
        "root-shared",
        "engine",
        "engine-access",
        "init",
        "tools",
        "requeue",
        "steps",
        "registry 127.0.0.1:5000",
    ):
        assert facts[f"gpu/{name}"]["status"] == "ok", facts[f"gpu/{name}"]
    assert facts["gpu/devices"]["value"].startswith("confined: nvidia-smi lists 1 where 1 was granted")
    assert facts["gpu/driver"]["value"].startswith("550.54.14; NVIDIA A100-SXM4-40GB")
    assert facts["gpu/gpu-support"]["status"] == "unknown"
    assert [path.name for path in (folder / "runs").iterdir()] == [], "the token stays behind"


def test_clusters_that_differ_are_told_apart(program: Path, folder: Path) -> None:
    describe(folder, "beta")
    describe(folder, "gamma")
    found = checked(program, folder)
    assert found["beta"]["gpu/devices"]["status"] == "warn"
    assert "unconfined: nvidia-smi lists 4 where 1 was granted" in found["beta"]["gpu/devices"]["value"]
    assert found["gamma"]["accounting"]["status"] == "warn"
    assert found["gamma"]["MaxSubmitJobs"]["status"] == "unknown"
    assert found["gamma"]["gpu/devices"]["value"].startswith("unconfined: nvidia-smi lists 2 where 1")


def test_names_that_do_not_exist_fail_with_those_that_do(program: Path, folder: Path) -> None:
    describe(folder, "alpha", more="slurm: {partition: gpus, account: labs}")
    facts = checked(program, folder, "--no-node", code=1)["alpha"]
    assert (facts["slurm.partition"]["status"], facts["slurm.partition"]["do"]) == ("FAIL", "write one of: gpu, debug")
    assert (facts["slurm.account"]["status"], facts["slurm.account"]["do"]) == ("FAIL", "write one of: lab, guest")


def test_a_registry_that_takes_no_push_is_a_warning_with_the_reason(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    for locked in serve(tmp_path, htpasswd(tmp_path)):
        describe(folder, "gamma", more=f"registry: {locked}/alice")
        push = checked(program, folder, "--no-node")["gamma"][f"push {locked}/alice"]
        assert push["status"] == "warn" and "cannot push there: HTTP 401" in push["value"]
        assert push["do"].startswith(f"nobody has the right to push there without a login: `docker login {locked}`")


def test_clusters_that_are_down_do_not_keep_the_others_from_answering(program: Path, folder: Path) -> None:
    describe(folder, "gamma")
    describe(folder, "alpha", "far", more="login: {host: 127.0.0.1, port: 1}")
    describe(folder, "beta", "deaf")
    deaf = folder / "config" / "tfslurm" / "clusters" / "deaf.yaml"
    broken = folder / "slurm.conf"
    text = CLUSTERS["beta"].slurm_conf.read_text().replace("SlurmctldPort=17200", "SlurmctldPort=1")
    broken.write_text(f"{text}\nMessageTimeout=2\n")
    deaf.write_text(deaf.read_text().replace(str(CLUSTERS["beta"].slurm_conf), str(broken)))
    found = checked(program, folder, "--no-node", code=1)
    assert found["gamma"]["slurm"]["status"] == "ok"
    assert (found["far"]["reach"]["status"], found["far"]["slurm"]["status"]) == ("FAIL", "unknown")
    assert found["deaf"]["slurm"]["status"] == "FAIL"
    assert found["deaf"]["MaxArraySize"]["status"] == "unknown"
    done = typed(program, folder, "--no-node", "gamma", "far")
    assert done.stdout.splitlines()[-1].endswith("then `tfslurm check far`"), done.stdout


def test_a_login_node_is_asked_over_ssh(program: Path, folder: Path) -> None:
    describe(folder, "alpha", more=f"login: {{host: 127.0.0.1, port: {CLUSTERS['alpha'].ssh_port}}}")
    facts = checked(program, folder)["alpha"]
    assert facts["reach"]["value"].startswith("paramiko to 127.0.0.1, ")
    assert facts["gpu/root-shared"]["status"] == "ok"


def test_a_root_that_cannot_be_written_fails(program: Path, folder: Path) -> None:
    describe(folder, "gamma", root="/usr/tfslurm")
    facts = checked(program, folder, code=1)["gamma"]
    assert facts["root"]["status"] == "FAIL"
    assert "Permission denied" in facts["root"]["value"]
    assert facts["gpu/root-shared"]["status"] == "unknown"


def test_a_root_that_the_nodes_do_not_share_fails(program: Path, folder: Path) -> None:
    root = folder / "own"
    describe(folder, "gamma", root=str(root))
    root.mkdir()
    apart = 'mount -t tmpfs -o mode=1777 none "$1"; shift; exec runuser -u "$1" -- "${@:2}"'
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}
    environment = {"HOME": str(HOME / USER), **own, "PATH": LOGIN_PATH}
    words = ["env", "-i", *(f"{key}={value}" for key, value in environment.items()), str(program), "check", "--json"]
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", apart, "apart", str(root), USER, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    facts = {row["fact"]: row for row in json.loads(done.stdout)["gamma"]}
    assert done.returncode == 1
    assert (facts["root"]["status"], "tmpfs" in facts["root"]["value"]) == ("warn", True)
    assert facts["gpu/root-shared"]["status"] == "FAIL"
    assert "No such file" in facts["gpu/root-shared"]["value"]


@pytest.fixture
def gamma_is_full() -> Iterator[None]:
    """A job has every GPU of gamma."""
    held = run_as(USER, ["sbatch", "--parsable", "--gres=gpu:2", "--output=/dev/null", "--wrap", "sleep 300"], "gamma")
    job = held.stdout.strip()
    try:
        deadline = time.monotonic() + 120
        while run_as(USER, ["squeue", "-h", "-j", job, "-o", "%T"], "gamma").stdout.strip() != "RUNNING":
            assert time.monotonic() < deadline, "gamma has other work"
        yield
    finally:
        run_as(USER, ["scancel", job], "gamma")


@pytest.mark.usefixtures("gamma_is_full")
def test_a_busy_partition_is_a_warning_that_says_how_long_was_waited(program: Path, folder: Path) -> None:
    describe(folder, "gamma")
    facts = checked(program, folder, "--wait", "2")["gamma"]
    assert facts["gpu/node"]["status"] == "warn"
    assert facts["gpu/node"]["value"].startswith("nothing was free within 2 s")
    assert facts["gpu/devices"]["status"] == "unknown"


@pytest.mark.usefixtures("gamma_is_full")
def test_an_interrupt_does_not_wait_for_a_busy_partition(program: Path, folder: Path) -> None:
    describe(folder, "gamma")
    begun = time.monotonic()
    stopped = [
        "timeout",
        "--foreground",
        "--preserve-status",
        "--signal=INT",
        "4",
        str(program),
        "check",
        "--wait",
        "30",
    ]
    done = run_as(
        USER, stopped, cwd=folder, env={f"XDG_{kind.upper()}_HOME": str(folder / kind) for kind in ("config", "data")}
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert time.monotonic() - begun < 15


def test_without_a_node_nothing_of_a_node_is_claimed(program: Path, folder: Path) -> None:
    describe(folder, "alpha")
    facts = checked(program, folder, "--no-node")["alpha"]
    assert {row["status"] for name, row in facts.items() if name in ("node", "devices", "driver", "engine")} == {
        "unknown"
    }
    assert facts["devices"]["value"].endswith("Slurm's configuration says ConstrainDevices=yes")


def test_an_allocation_around_it_is_not_taken_for_its_own(program: Path, folder: Path) -> None:
    describe(folder, "gamma")
    strange = {"SLURM_JOB_ID": "1", "SLURM_PARTITION": "nope", "SLURM_NTASKS": "9", "SINFO_FORMAT": "%P"}
    assert checked(program, folder, env=strange)["gamma"]["gpu/node"]["status"] == "ok"


def test_one_line_per_fact_and_the_next_command_last(program: Path, folder: Path) -> None:
    describe(folder, "gamma")
    done = typed(program, folder, "gamma")
    *lines, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert all(line.split()[1] in ("ok", "warn", "unknown") for line in lines), done.stdout
    assert last == "next: `tfslurm init` writes an experiment to start from"
    assert "\x1b" not in done.stdout
    assert "did you mean 'gamma'?" in typed(program, folder, "gama").stderr


def test_this_machine_without_a_scheduler_is_looked_at_directly(program: Path, folder: Path) -> None:
    done = typed(program, folder, "local", XDG_DATA_HOME=str(folder / "data"), PATH=f"{BIN}:{LOGIN_PATH}")
    lines = [line.split()[1:3] for line in done.stdout.splitlines()[:-1]]
    assert ["ok", "engine"] in lines, done.stdout
    assert ["ok", "root-shared"] in lines
