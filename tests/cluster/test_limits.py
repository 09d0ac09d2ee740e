"""Limits and identity on the test bed: what the allocation gives is what the container has, and whose its files are."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tfslurm.job_plan import identify
from tfslurm.record.facts import parse_log_sums
from tfslurm.spec import Mount, Resources

from .bed import SCRATCH, wait_until
from .desk import USER, Desk
from .docker import docker
from .jobs import MIB, WAITING, Job, data, owned, plan, ran, sh, slurm, submit, submit_with_umask
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")
CLUSTERS = ("alpha", "beta")


def host_config(job: Job) -> dict[str, Any]:
    assert job.end()["exit_code"] == 0, job.said()
    found: dict[str, Any] = job.inspected()["HostConfig"]
    return found


def granted(job: Job, name: str) -> str:
    """One word of Slurm's own description of the job."""
    shown = slurm(job, "scontrol", "show", "job", job.job_id)
    (value,) = re.findall(rf"\b{name}=(\S+)", shown)
    return str(value)


# --------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_cpus_and_memory_are_those_of_the_allocation(cluster: str) -> None:
    asked = Resources(gpus=0, cpus=3, memory_mib=300)
    job = ran(plan(cluster, resources=asked, options={"cpus-per-task": "3", "mem": "300M"}))
    limits = host_config(job)
    assert granted(job, "NumCPUs") == "3"
    assert limits["CpusetCpus"] or limits["NanoCpus"] == 3 * 10**9 or (os.cpu_count() or 0) <= 3
    assert (limits["Memory"], limits["MemorySwap"]) == (300 * MIB, 300 * MIB)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_memory_for_each_cpu_is_counted_for_all_of_them(cluster: str) -> None:
    asked = plan(cluster, options={"mem-per-cpu": "70M", "cpus-per-task": "2"})
    options = {key: value for key, value in asked.options.items() if key != "mem"}
    job = ran(identify(replace(asked, options=options)))
    limits = host_config(job)
    assert limits["Memory"] == limits["MemorySwap"] == 140 * MIB


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_tasks_of_one_node_share_its_memory(cluster: str) -> None:
    asked = Resources(gpus=0, cpus=2, memory_mib=200, tasks_per_node=2)
    job = ran(plan(cluster, resources=asked, options={"mem": "200M"}))
    assert job.end()["exit_code"] == 0, job.said()
    assert [job.inspected(rank)["HostConfig"]["Memory"] for rank in (0, 1)] == [100 * MIB] * 2


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_shared_memory_processes_and_stack_are_limited_as_asked(cluster: str) -> None:
    script = (
        "df -k /dev/shm | tail -n 1; ulimit -s; ulimit -l; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max"
    )
    job = ran(plan(cluster, resources=Resources(gpus=0, shm_mib=96), command=sh(f"{script} 2>/dev/null; true")))
    limits = host_config(job)
    assert limits["ShmSize"] == 96 * MIB
    assert limits["PidsLimit"] == 16384
    shm, stack, _, pids = job.output().splitlines()
    assert shm.split()[1] == str(96 * 1024)
    assert (stack, pids) == (str(64 * 1024), "16384")


# ------------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("umask", ["0002", "0027", "0077"])
def test_the_umask_is_the_users(cluster: str, umask: str) -> None:
    asked = plan(cluster, outputs="/out", command=sh("umask; : >/out/file; mkdir /out/folder"))
    job = submit_with_umask(asked, umask)
    assert job.end()["exit_code"] == 0, job.said()
    assert job.output().strip() == umask
    assert (job.folder / "out" / "file").stat().st_mode & 0o777 == 0o666 & ~int(umask, 8)
    assert (job.folder / "out" / "folder").stat().st_mode & 0o777 == 0o777 & ~int(umask, 8)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_everything_in_the_jobs_folder_belongs_to_the_user(cluster: str) -> None:
    script = "mkdir -p /out/a/b; echo 1 >/out/a/b/c; ln -s nowhere /out/link; touch $HOME/cache"
    job = ran(plan(cluster, outputs="/out", command=sh(script)))
    assert job.end()["exit_code"] == 0, job.said()
    entry = pwd.getpwnam(USER)
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (job.folder, *job.folder.rglob("*"))}
    assert owners == {(entry.pw_uid, entry.pw_gid)}
    assert not (job.attempt() / "foreign-files").exists()


def test_a_mount_below_the_outputs_leaves_nothing_of_roots() -> None:
    below = data("alpha") / "below"
    (below / "folder").mkdir(parents=True, exist_ok=True)
    (below / "file").write_text("x")
    owned(below)
    mounts = (
        Mount(str(below / "folder"), "/out/deep/data"),
        Mount(str(below / "file"), "/out/settings.txt"),
        Mount(str(below / "folder"), f"/home/{USER}/.keras"),
    )
    script = f"ls -d /out/deep/data /out/settings.txt /home/{USER}/.keras"
    job = ran(plan(outputs="/out", mounts=mounts, mounts_allow=(str(SCRATCH),), command=sh(script)))
    assert job.end()["exit_code"] == 0, job.said()
    assert {path.lstat().st_uid for path in job.folder.rglob("*")} == {pwd.getpwnam(USER).pw_uid}


def test_what_does_not_belong_to_the_user_is_found_and_told() -> None:
    job = submit(plan(outputs="/out", command=sh(WAITING)))
    job.runs()
    left = job.folder / "out" / "root's"
    left.write_text("x")
    assert run_as(USER, ["touch", job.folder / "out" / "go"]).returncode == 0
    assert job.end()["exit_code"] == 0, job.said()
    assert (job.attempt() / "foreign-files").read_bytes() == b"0 out/root's\0"
    told = (job.folder.parent / f"slurm-{job.job_id}.out").read_text()
    assert f"holds files that do not belong to {USER}" in told
    left.unlink()


# ---------------------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_memory_and_cpu_time_of_the_container_are_kept(cluster: str) -> None:
    # 40 MB in a shell variable, kept for longer than it takes to the next look
    job = ran(plan(cluster, command=sh("v=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 2")))
    assert job.end()["exit_code"] == 0, job.said()
    found = job.usage()
    assert 40 * 10**6 < int(found["memory_peak_bytes"]) <= 256 * MIB
    assert 10_000 < int(found["cpu_usage_usec"]) < 60_000_000
    assert int(found["samples"]) >= 2


def test_use_is_kept_when_the_node_script_is_killed() -> None:
    job = submit(plan(outputs="/out", command=sh(WAITING)))
    job.runs()
    first = job.facts() / "container-usage.txt"  # a look before the program is there counts no memory
    assert wait_until(lambda: first.exists() and int(job.usage()["memory_peak_bytes"]) > 0, 30), job.said()
    os.kill(job.script(), signal.SIGKILL)
    assert job.end()["exit_code"] == 75, job.said()
    assert int(job.usage()["memory_peak_bytes"]) > 0


# --------------------------------------------------------------------------------------------------- as a user sees it


def test_status_shows_what_a_finished_job_used_of_what_it_asked_for(desk: Desk) -> None:
    script = "v=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 2; echo 1 >/out/x"
    job = desk.submit(desk.experiment("used", ["sh", "-c", script], resources={"cpus": 2, "memory": "200M"}))
    assert desk.ended(job) == "COMPLETED"
    done = desk.tfslurm("status", job, "--efficiency", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    used = found["efficiency"]
    assert (used["memory_asked_mib"], used["cpus_asked"], used["gpus_asked"]) == (200, 2, 0)
    assert 38 <= used["memory_used_mib"] <= 200
    assert 0 < used["cpus_used"] <= 2
    box = desk.record(job)["attempts"][0]["tasks"][0]["container"]
    assert (box["memory_limit_mib"], box["gpu_utilisation"]) == (200, [])
    assert box["started_at"] <= box["usage_until"] <= box["ended_at"]
    shown = desk.tfslurm("status", job, "--efficiency").stdout
    assert f"{used['memory_used_mib']} of 200 MiB ({used['memory_percent']} %)" in shown


def test_a_job_that_has_not_ended_has_no_efficiency_yet(desk: Desk) -> None:
    job = desk.submit(desk.experiment("waits", ["sh", "-c", "exit 0"], slurm={"begin": "now+1hour"}))
    done = desk.tfslurm("status", job, "--efficiency")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no finished job with a record" in done.stderr
    (found,) = json.loads(desk.tfslurm("status", job, "--efficiency", "--json").stdout)
    assert found["efficiency"] is None


# ------------------------------------------------------------------------------------------ what a program may use up


def test_the_cluster_bounds_logs_and_processes_and_the_program_goes_on(desk: Desk) -> None:
    desk.describe("alpha", limits={"pids": 64, "log_mib": 1})
    script = (
        "yes | head -c 5000000; for i in $(seq 100); do sleep 9 & done 2>/out/said; echo after; echo here >/out/end"
    )
    job = desk.submit(desk.experiment("bounded", ["sh", "-c", script]))
    desk.ended(job)
    folder = desk.run_folder(job) / "attempt-1"
    log = (folder / "stdout.log").read_text()
    sums = parse_log_sums((folder / "facts" / "task-0" / "logs.sha256").read_bytes())
    assert sums["stdout.log"] == (len(log), sha256(log.encode()).hexdigest()), "the last line is in it"
    words = "\ntfslurm: the log ends here: this cluster keeps 1 MiB of it (limits.log_mib)\n"
    assert (log[:2], log[MIB:]) == ("y\n", words)
    (container,) = json.loads((folder / "facts" / "task-0" / "container-inspect.json").read_text())
    assert container["HostConfig"]["PidsLimit"] == 64
    assert "fork" in desk.out(job, "said")


@pytest.fixture
def tiny(desk: Desk) -> Iterator[Path]:
    """A file system of 4 MiB that is alpha's root."""
    folder = desk.root("alpha") / "tiny"
    desk.root("alpha").mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    mine = pwd.getpwnam(USER)
    os.chown(desk.root("alpha"), mine.pw_uid, mine.pw_gid)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,uid={mine.pw_uid},mode=700", "tiny", folder], check=True)
    desk.describe("alpha", root=str(folder / "root"))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_full_file_system_the_container_and_the_secrets_are_removed_and_slurm_is_told(
    desk: Desk, tiny: Path
) -> None:
    script = "cat /dev/zero >/out/big; cat /dev/zero >/run/tfslurm/more; exit 0"
    file = desk.experiment("full", ["sh", "-c", script], secrets=["MY_TOKEN"])
    job = desk.submit(file, env={"MY_TOKEN": "told-to-nobody"})
    number = job.partition(":")[2]

    def code() -> str:
        shown = run_as(USER, ["scontrol", "show", "job", number], "alpha").stdout
        (state,) = re.findall(r"JobState=(\S+)", shown)
        return "" if state in ("PENDING", "RUNNING", "COMPLETING") else re.findall(r"ExitCode=(\S+)", shown)[0]

    assert wait_until(lambda: bool(code()), 90)
    assert code() == "75:0"
    (folder,) = (tiny / "root").glob("runs/*")
    assert not (folder / "secrets").exists()
    filters = ("--filter", f"label=tfslurm.slurm_job_id={number}", "--filter", "label=tfslurm.cluster=alpha")
    assert docker("ps", "--all", "--quiet", *filters).stdout == ""
