"""What the node reads of cgroups, on folders laid out as the kernel's: v1, and v2 under the names of several Slurms.

The layouts are those of Slurm 24.11 and 26.05 with docker 28 and podman 5.8, recorded on machines with cgroup v2.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.node_side import sourced

ID = "7b6c19ed" * 8
V2_24 = "/system.slice/slurmstepd.scope/job_7/step_0/user"
V2_26 = "/system.slice/um1_slurmstepd.scope/sEKNKTV3WPV500/step_0/user"
V1 = "/slurm/uid_2101/job_7/step_0"
PODMAN = f"/user.slice/user-2101.slice/user@2101.service/user.slice/libpod-{ID}.scope/container"


def said(folder: Path, script: str) -> str:
    """What a script prints that has the node's functions, with cgroups and processes below a folder."""
    facts = folder / "facts"
    (facts / "container").mkdir(parents=True, exist_ok=True)
    settings = f"facts={facts} container_id={ID} cgroup_root={folder}/cgroup proc_root={folder}/proc cgroup_path=''"
    whole = f"set -euo pipefail\n{sourced('podman')}\n{settings}\n{script}"
    done = subprocess.run(["bash", "-c", whole], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -------------------------------------------------------------------------------------------- killed for want of memory


@pytest.mark.parametrize(
    ("own", "counts", "killed"),
    [
        (
            f"0::{V2_24}/task_0",
            {f"{V2_24}/task_0/memory.events": 0, "/system.slice/slurmstepd.scope/job_7/memory.events": 2},
            2,
        ),
        (f"0::{V2_26}/task_0", {"/system.slice/um1_slurmstepd.scope/sEKNKTV3WPV500/memory.events": 1}, 1),
        (f"0::{V2_24}/task_0", {"/system.slice/slurmstepd.scope/memory.events": 9}, 0),
        ("0::/user.slice/session-1.scope", {"/user.slice/memory.events": 9}, 0),
        (f"4:memory:{V1}/task_0\n0::/", {f"memory{V1}/task_0/memory.oom_control": 1}, 1),
        (f"4:memory:{V1}/task_0", {f"memory{V1}/memory.oom_control": 3, "memory/slurm/memory.oom_control": 9}, 3),
        ("4:memory:/", {"memory/memory.oom_control": 9}, 0),
    ],
)
def test_only_what_was_killed_in_the_jobs_own_cgroups_counts(
    own: str, counts: dict[str, int], killed: int, tmp_path: Path
) -> None:
    put(tmp_path / "proc/self/cgroup", f"{own}\n")
    for name, count in counts.items():
        put(tmp_path / "cgroup" / name.lstrip("/"), f"oom_kill_disable 0\nunder_oom 0\noom 4\noom_kill {count}\n")
    assert said(tmp_path, "cgroup::count_oom; echo $cgroup_oom") == f"{killed}\n"


@pytest.mark.parametrize(
    ("client", "state", "before", "stopped", "is_job"),
    [
        ("137", "143", 0, "", True),  # podman's client was chosen by the kernel, the lifeline ended the program
        ("137", "137", 0, "", True),
        ("0", "-1", 0, "", True),
        ("137", "137", 1, "", False),  # an earlier point of the same job
        ("137", "137", 0, "TERM", False),
        ("1", "1", 0, "", False),
    ],
)
def test_a_kill_that_the_kernel_counted_in_the_job_is_want_of_memory_and_not_the_engines_failure(
    client: str, state: str, before: int, stopped: str, is_job: bool, tmp_path: Path
) -> None:
    put(tmp_path / "proc/self/cgroup", f"0::{V2_24}/task_0\n")
    put(tmp_path / f"cgroup{V2_24}/memory.events", "oom_kill 1\n")
    script = f"client_code={client} state_code={state} oom_before={before} stopped='{stopped}'\n"
    assert said(tmp_path, f'{script}container::_job_memory; echo "[$job_oom]"') == f"[{'yes' if is_job else ''}]\n"


@pytest.mark.parametrize(
    ("parent", "oom", "words"),
    [
        ("none: the node has cgroup v1", "", "memory (64 MiB) used up"),
        (V2_24, "", "memory (64 MiB) of the whole job, in which the engine's client counts too used up"),
        ("none: podman", "job", "memory (64 MiB) of the whole job, in which the engine's client counts too used up"),
    ],
)
def test_the_reason_names_whose_memory_it_was(parent: str, oom: str, words: str, tmp_path: Path) -> None:
    task = tmp_path / "facts/task-0"
    put(task / "exit.json", '{"exit_code": 137, "oom_killed": true}')
    put(task / "cgroup-parent.txt", f"{parent}\n")
    put(task / "oom.txt", oom)
    settings = f"attempt_dir={tmp_path} memory_mib=64 end_reason='' end_cause=''"
    assert said(tmp_path, f"{settings}; supervision::memory; echo $end_cause $end_reason") == f"memory {words}\n"


# ------------------------------------------------------------------------------------------- where a container is put

WATCHED = """
engine::process() { echo 77; }
memory_file='' cpu_file='' memory=0 samples=0
usage::_ask && echo "found $memory_source"
if [[ -e $facts/container-usage.txt.error ]]; then tail -n 1 "$facts/container-usage.txt.error"; fi
"""


@pytest.mark.parametrize(
    ("line", "is_started", "answer"),
    [
        (f"0::{PODMAN}", False, "found memory.peak\n"),
        ("0::/user.slice/user-2101.slice/session-1.scope", False, ""),  # the runtime has not moved it yet
        ("0::/user.slice/user-2101.slice/session-1.scope", True, "the container has no cgroup of its own for memory"),
        ("4:memory:/slurm/job_7\n3:cpuacct:/slurm/job_7", False, "the container has no cgroup of its own for memory"),
    ],
)
def test_a_container_is_looked_for_until_its_program_has_started(
    line: str, is_started: bool, answer: str, tmp_path: Path
) -> None:
    put(tmp_path / "proc/77/cgroup", f"{line}\n")
    put(tmp_path / f"cgroup{PODMAN}/memory.peak", "5\n")
    put(tmp_path / f"cgroup{PODMAN}/cpu.stat", "usage_usec 7\n")
    if is_started:
        put(tmp_path / "facts/container/program-started-at.txt", "2026-11-28T10:00:00Z\n")
    assert said(tmp_path, WATCHED + "true").startswith(answer)
    assert bool(answer) or not (tmp_path / "facts/container-usage.txt.error").exists()
    assert (tmp_path / "facts/container-cgroup.txt").read_text() == f"{line}\n", "as it is seen from outside"


def test_a_container_of_docker_below_the_job_is_seen_from_outside(tmp_path: Path) -> None:
    put(tmp_path / f"cgroup{V2_26}/{ID}/memory.peak", "5\n")
    put(tmp_path / f"cgroup{V2_26}/{ID}/cpu.stat", "usage_usec 7\n")
    said(tmp_path, f"engine_cgroups=() cgroup_path={V2_26} memory_file='' cpu_file=''; usage::_find")
    assert (tmp_path / "facts/container-cgroup.txt").read_text() == f"0::{V2_26}/{ID}\n"


def test_a_program_that_ends_before_its_cgroup_is_found_says_so(tmp_path: Path) -> None:
    script = "engine::cgroup_folders() { engine_cgroups=(); }; usage::_pause() { :; }; client=99999999; usage::_watch"
    said(tmp_path, script)
    assert (tmp_path / "facts/container-usage.txt.error").read_text().endswith("before its cgroup was found\n")


def test_podman_does_not_warn_on_the_programs_standard_error(tmp_path: Path) -> None:
    script = "engine::info() { echo '{}' >$facts/engine-info.json; }; engine::available; env | grep CGROUPSV1"
    assert said(tmp_path, script) == "PODMAN_IGNORE_CGROUPSV1_WARNING=1\n"
