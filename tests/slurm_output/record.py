"""`python3 -m tests.slurm_output.record` (as root, with the test bed up): records what the Slurm installed here prints.

Every file begins with the command, its exit code and its Slurm; a blank line; then exactly what it printed. Nothing in
this folder is written by hand: a newer Slurm gets a folder of its own by running this again.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

from tests.cluster.users import run_as
from tfslurm import slurm
from tfslurm.slurm.site import config_argv

HERE = Path(__file__).parent
WORK = Path("/var/tmp/tfslurm-recordings")
SCRIPTS = {
    "ok": "exit 0",
    "fail": "exit 3",
    "sleep": "exec sleep 600",
    "kill": "kill -USR1 $$",
    "memory": "tail /dev/zero",
    "tasks": "[[ $SLURM_ARRAY_TASK_ID != 3 ]]",
}
REFUSED = {
    "partition": ("--partition=nosuch",),
    "account": ("--account=nolab",),
    "gres-count": ("--gres=gpu:8",),
    "gres-type": ("--gres=gpu:a100:1",),
    "gres-name": ("--gres=fpga:1",),
    "memory": ("--mem=900G",),
    "array": ("--array=0-2000",),
    "feature": ("--constraint=nosuch",),
    "node": ("--nodelist=nosuch",),
    "reservation": ("--reservation=nosuch",),
    "time": ("--time=abc",),
}


def alice(argv: Sequence[str], cluster: str = "alpha") -> CompletedProcess[str]:
    return run_as("alice", argv, cluster)


def submit(script: str, *options: str) -> str:
    done = alice(["sbatch", "--parsable", "--output=/dev/null", *options, str(WORK / f"{script}.sh")])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait(what: str, holds: Callable[[], bool], timeout_s: float = 200) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.5)


def state(job_id: str) -> str:
    return alice(["squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T"]).stdout.split()[0]


def keep(
    name: str, argv: Sequence[str], cluster: str = "alpha", *, stream: str = "stdout", user: str = "alice"
) -> None:
    done = run_as(user, argv, cluster)
    version = alice(["sbatch", "--version"]).stdout.split()[-1]
    folder = HERE / version.rpartition(".")[0]
    folder.mkdir(exist_ok=True)
    head = f"$ {shlex.join(argv)}\n# exit {done.returncode}, {stream}, Slurm {version}, cluster {cluster}\n\n"
    (folder / f"{name}.txt").write_text(head + (done.stderr if stream == "stderr" else done.stdout), newline="")


def manual(command: str) -> str:
    """The manual page of a command of the Slurm installed here, as wide lines."""
    shown = {"MANWIDTH": "200", "PATH": "/usr/bin:/bin"}
    return subprocess.run(["man", command], capture_output=True, text=True, env=shown, check=True).stdout


def keep_manual() -> None:
    """The names, and only those, that the manual pages give: options of sbatch, variables that each command reads."""
    variables = {}
    for command in ("sbatch", "squeue", "sacct", "sinfo", "scancel"):
        inputs = manual(command).partition("OUTPUT ENVIRONMENT")[0]
        variables[command] = sorted(set(re.findall(rf"^\s+({command.upper()}_\w+)(?:\s|$)", inputs, re.MULTILINE)))
    words = [line.split() for line in manual("sbatch").splitlines() if line.strip().startswith(("-", "–"))]
    options = {
        word.partition("=")[0].partition("[")[0].strip("-,")
        for line in words
        for word in line[:2]
        if word.startswith("--")
    }
    version = alice(["sbatch", "--version"]).stdout.split()[-1]
    names = {"slurm": version, "options": sorted(options - {""}), "variables": variables}
    (HERE / version.rpartition(".")[0] / "manual.json").write_text(json.dumps(names, indent=1) + "\n")


def main() -> None:
    keep_manual()
    WORK.mkdir(exist_ok=True)
    for name, text in SCRIPTS.items():
        (WORK / f"{name}.sh").write_text(f"#!/bin/bash\n{text}\n")
    jobs = {
        "completed": submit("ok", "--job-name=a|b c", "--comment=tfslurm:0123456789ab\nand a|second line"),
        "failed": submit("fail", "--job-name=two\nlines"),
        "timeout": submit("sleep", "--time=1", "--partition=debug"),
        "killed": submit("kill"),
        "memory": submit("memory", "--mem=50M"),
        "array": submit("tasks", "--array=1-4"),
        "cancelled": submit("sleep"),
        "requeued": submit("sleep", "--comment=tfslurm:requeued"),
    }
    for name in ("cancelled", "requeued"):
        wait(f"{name} runs", lambda name=name: state(jobs[name]) == "RUNNING")  # type: ignore[misc]
    alice(slurm.cancel_argv([jobs["cancelled"]]))
    alice(["scontrol", "requeue", jobs["requeued"]])
    jobs["pending"] = submit("ok", "--begin=now+1hour")
    jobs["limited"] = submit("sleep", "--array=0-20:5%1")
    wait("the time limit", lambda: state(jobs["timeout"]) == "TIMEOUT")
    keep("squeue", slurm.queue_argv())
    keep("squeue-nobody", slurm.queue_argv(), user="bob")
    wait("the requeued job again", lambda: state(jobs["requeued"]) == "RUNNING")
    ids = list(jobs.values())
    keep("sacct", slurm.sacct_argv(job_ids=ids))
    alice(slurm.cancel_argv([jobs[name] for name in ("requeued", "pending", "limited")]))
    wait("the end", lambda: state(jobs["requeued"]) == "CANCELLED")
    keep("sacct-ended", slurm.sacct_argv(job_ids=ids))
    keep("sacct-by-name", slurm.sacct_argv(names=["a|b c"], since="2024-01-01T00:00:00Z"))
    keep_the_rest()


def keep_the_rest() -> None:
    keep("scontrol-config", config_argv())
    keep("scontrol-config-no-accounting", config_argv(), "gamma")
    keep("sinfo", slurm.partitions_argv())
    keep("sacctmgr", slurm.accounts_argv("alice"))
    keep("sacct-no-accounting", slurm.sacct_argv(job_ids=["1"]), "gamma", stream="stderr")
    keep("sacctmgr-no-accounting", slurm.accounts_argv("alice"), "gamma", stream="stderr")
    held = (*slurm.sbatch_argv("--hold"), str(WORK / "ok.sh"))
    keep("sbatch", held)
    for name, options in REFUSED.items():
        keep(f"refused-{name}", (*slurm.sbatch_argv(options[0]), str(WORK / "ok.sh")), stream="stderr")
    alice(["scancel", "--user=alice", "--state=PENDING", "--name=ok.sh"])


if __name__ == "__main__":
    main()
