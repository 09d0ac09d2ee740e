"""A job is the plan's alone: all input variables of sbatch and srun set at once, wherever one types `submit`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .bed import wait_until
from .desk import USER, Desk
from .users import run_as

INPUTS = json.loads((Path(__file__).parents[1] / "slurm_output" / "input_variables.json").read_text("utf-8"))
STEERS = re.compile("SBATCH_|SLURM_|SRUN_|SLURMD_|PMI_")
HARM = {
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_GRES": "gpu:9",
    "SLURM_TASK_PROLOG": "/bin/false",
    "SLURM_MPI_TYPE": "nosuch",
    "SLURM_PARTITION": "nosuch",
    "SLURM_HINT": "nomultithread",
    "SLURM_EXPORT_ENV": "NONE",
    "SBATCH_PARTITION": "nosuch",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_OUTPUT": "/nowhere",
    "SBATCH_EXPORT": "NONE",
    "POSIXLY_CORRECT": "1",
    "BASHOPTS": "failglob:nullglob",
    "SHELLOPTS": "posix:noglob",
    "BASH_ENV": "/nowhere",
    "DOCKER_DEFAULT_PLATFORM": "linux/arm64",
    "DOCKER_CONTEXT": "nosuch",
    "DOCKER_CONFIG": "/nowhere",
    "TMOUT": "1",
    "BASH_FUNC_mkdir%%": "() { false; }",
    "TAR_OPTIONS": "--nosuch",
    "CONTAINER_HOST": "ssh://nowhere",
    "CDPATH": "/tmp",
}
# What differs between two jobs that are the same: identity, place and moment, and the node's CPUs that were free.
VOLATILE = re.compile("(PID|PORT|ADDR|NODENAME|NODELIST|JOB_?ID|JOB_NAME|CPU_BIND|CPU_BIND_LIST|SUBMIT_DIR|_TIME)$")


def steering() -> dict[str, str]:
    """Every name that the manuals and the programs of 20.11 to 26.05 know, and what shells and engines read."""
    kinds = (INPUTS[program][kind] for program in ("sbatch", "srun") for kind in ("manual", "program"))
    names = {name for kind in kinds for name in kind if STEERS.match(name)} - {"SLURM_CONF", "SLURM_SPANK_"}
    assert sum(name.startswith("SBATCH_") for name in names) > 40 and sum("SLURM_" in name for name in names) > 30
    return {**dict.fromkeys(names, "1"), **HARM}


def places(desk: Desk, submit: list[str]) -> Mapping[str, list[str]]:
    """Where it is typed -> the words that do it there, with all variables set."""
    own = desk.environment("alpha")
    typed = ["env", *(f"{name}={text}" for name, text in steering().items()), *submit]
    line = shlex.join(typed)
    small = ("--mem=200M", "--time=3", "--partition=gpu")
    script = desk.write("inside.sh", f"#!/bin/sh\n{line}\n", 0o755)
    empty = [f"HOME={Path('~' + USER).expanduser()}", "PATH=/usr/bin:/bin", "SHELL=/bin/sh", f"LOGNAME={USER}"]
    xdg = [f"{name}={text}" for name, text in own.items() if name.startswith("XDG")]
    return {
        "terminal": typed,
        "salloc": ["salloc", "-Q", *small, "--gpus=1", "--ntasks-per-node=2", *typed],
        "srun --pty": [
            "script",
            "-qefc",
            shlex.join(["srun", "--pty", "--cpus-per-task=1", *small, *typed]),
            "/dev/null",
        ],
        "batch": ["sbatch", "--wait", "--parsable", *small, "--output", str(desk.folder / "inside.out"), str(script)],
        "ssh": ["ssh", "-p", "2201", "127.0.0.1", shlex.join(["env", *xdg, *typed])],
        "cron": ["env", "-i", *empty, *xdg, "sh", "-c", shlex.join(submit)],
    }


def told(desk: Desk, job: str) -> dict[str, Any]:
    """What the record and the task's own Slurm variables say of a job, but for what makes it another one."""
    record = desk.record(job)
    facts = desk.run_folder(job) / "attempt-1" / "facts" / "task-0"
    pairs = (pair.partition("=") for pair in (facts / "slurm.env").read_text().split("\0") if pair)
    variables = {name: text for name, _, text in pairs if not VOLATILE.search(name)}
    ends = {
        key: record["job"][key] for key in ("state", "exit_code", "signal", "partition", "time_limit_s", "restarts")
    }
    rest = {key: record[key] for key in ("asked", "experiment", "verified", "plan_sha256", "warnings", "code")}
    return {"variables": variables, "memory": desk.out(job, "memory").strip(), **ends, **rest}


def submitted(desk: Desk, place: str, words: list[str]) -> str:
    """The job that was submitted there."""
    done = run_as(USER, words, "alpha", cwd=desk.folder, env=desk.environment("alpha"))
    said = (desk.folder / "inside.out").read_text() if place == "batch" else done.stdout
    found = re.search(r"alpha:[0-9]+", said)
    assert found, (place, done.stdout, done.stderr, said)
    return found[0]


def test_the_job_is_the_same_wherever_and_in_whatever_shell_it_was_submitted(desk: Desk) -> None:
    seen = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes >/out/memory"
    file = desk.experiment("same", ["sh", "-c", seen], resources={"cpus": 2}, gpu_check="off")
    submit = [str(desk.program), "submit", str(file), "--cluster", "alpha", "--again"]
    jobs: dict[str, str] = {"clean": desk.submit(file)}
    with ThreadPoolExecutor() as pool:
        asked = {place: pool.submit(submitted, desk, place, words) for place, words in places(desk, submit).items()}
    jobs |= {place: job.result() for place, job in asked.items()}
    script = next(desk.root("alpha").glob("runs/*/job.sbatch"))
    sbatch_reads = {*INPUTS["sbatch"]["program"], *INPUTS["sbatch"]["manual"], "BASH_ENV", "SHELLOPTS"}
    dirty = {name: text for name, text in steering().items() if name not in sbatch_reads}
    hand = ["salloc", "-Q", "--mem-per-cpu=100M", "--time=3", "--partition=gpu", "--gpus=1"]
    env = [f"{name}={text}" for name, text in dirty.items()]
    done = run_as(
        USER, [*hand, "env", *env, "sbatch", "--parsable", str(script)], "alpha", env=desk.environment("alpha")
    )
    assert done.returncode == 0, done.stderr
    jobs["by hand"] = f"alpha:{done.stdout.strip()}"
    desk.tfslurm("wait", *(job for place, job in jobs.items() if place != "by hand"))
    end = script.parent / done.stdout.strip() / "attempt-1" / "exit.json"
    wait_until(end.exists, 60)
    assert desk.tfslurm("tracker", "rebuild", "alpha").returncode == 0
    same = told(desk, jobs.pop("clean"))
    assert (same["state"], same["exit_code"], same["memory"]) == ("COMPLETED", 0, str(400 * 2**20))
    for place, job in jobs.items():
        other = told(desk, job)
        if place == "by hand":  # what Slurm sets in no job of this kind, and srun does not read, is left as it was
            other["variables"] = {name: other["variables"].get(name) for name in same["variables"]}
        assert {key: (other[key], same[key]) for key in same if other[key] != same[key]} == {}, place


def test_a_site_that_takes_memory_per_cpu_and_gpus_per_node_gets_them_so(desk: Desk) -> None:
    """Its submit filter refuses the usual options; the container's limit is what was asked for."""
    refuses = 'for script; do :; done; ! grep -E \'^#SBATCH --(mem|gres)=\' "$script" >&2 || exit 1; exec $real "$@"'
    shell = desk.wrap("sbatch", refuses)
    seen = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes >/out/memory; nvidia-smi -L >/out/gpus"
    given = {"cpus": 2, "memory": "301M", "gpus": 1}
    file = desk.experiment("per-cpu", ["sh", "-c", seen], resources=given, gpu_check="off")
    refused = desk.tfslurm("submit", file, "--cluster", "alpha", env=shell)
    assert refused.returncode == 1 and "#SBATCH --mem=301M" in refused.stderr
    desk.describe("alpha", ask={"memory": "mem-per-cpu", "gpus": "gpus-per-node"})
    job = desk.submit(file, env=shell)
    assert desk.ended(job) == "COMPLETED"
    assert int(desk.out(job, "memory")) == 301 * 2**20
    assert desk.out(job, "gpus").count("UUID") == 1
    assert desk.record(job)["verified"]["gpus"]["status"] == "ok"
