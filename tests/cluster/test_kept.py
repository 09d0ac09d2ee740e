"""`submit --keep-on-failure`: the container of a program that failed stays for exec; its record is of the failure."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .bed import wait_until
from .desk import USER, Desk
from .jobs import PATIENCE_S, WAITING, Job, ask, plan, sh, submit
from .processes import children, parent, processes
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")
ENGINES = [("alpha", "docker"), ("beta", "podman")]
FAILS = "echo out >/out/left; echo tmp >/tmp/left; ln -s /out/trap /run/tfslurm/keep; echo wrong >&2; exit 3"
LOOK = "cat /tmp/left /out/left; nvidia-smi -L | wc -l; echo $FOO; printf %s $KEY | wc -c; echo more >/out/left"
SUM = "54034ac5c6e9ea95734ec2b729fd6d62abf64af34a9f9ce5d466cb788191a73d"
"The sha256 of `out`, a line."


def sacct(job: Job) -> str:
    """The job's state, once it is over."""

    def state() -> str:
        words = [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            "--format=State,ExitCode",
            f"--jobs={job.job_id}",
        ]
        return run_as(USER, words, job.plan.cluster).stdout.strip()

    assert wait_until(lambda: not state().startswith(("RUNNING", "PENDING", "COMPLETING")), PATIENCE_S)
    return state()


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def kept(job: Job) -> dict[str, Any]:
    """How its container was kept, once that has an end; it is awaited."""
    path = job.facts() / "kept.json"
    assert wait_until(lambda: path.exists() and json.loads(path.read_text())["ended_at"], PATIENCE_S), job.said()
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("cluster", "engine"), ENGINES)
def test_a_failed_job_can_be_entered_and_its_record_is_that_of_the_failure(
    cluster: str, engine: str, desk: Desk
) -> None:
    desk.set_up_podman()
    desk.describe(cluster, engine=engine)
    file = desk.experiment("fails", ["sh", "-c", FAILS], resources={"gpus": 1}, env={"FOO": "bar"}, secrets=["KEY"])

    def typed(*words: str | Path, **more: Any) -> tuple[int, str, str]:
        done = desk.tfslurm(*words, cluster=cluster, **more)
        return done.returncode, done.stdout, done.stderr

    asked = ("submit", file, "--cluster", cluster, "--keep-on-failure", "30m", "--wait")
    code, out, said = typed(*asked, env={"KEY": "abcd"})
    job, folder = out.strip(), desk.run_folder(out.strip())
    assert code == 3, said
    assert "note: if the program fails, the job may hold 1 GPU and 1 CPU for 30 min more" in said
    assert f"{job}: exit 3: wrong; " in said and f"{job}: its container and 1 GPU are kept until " in said
    assert typed("exec", job, "sh", "-c", LOOK) == (0, "tmp\nout\n1\nbar\n4\n", "")
    code, _, said = typed("logs", "-f", job)
    assert (code, f"`tfslurm exec {job}` goes in" in said) == (0, True), said
    assert (folder.parent / "secrets").exists()
    assert typed("cancel", job)[0] == 0
    assert wait_until(lambda: desk.status(job)["state"] == "CANCELLED", PATIENCE_S)
    assert "exit 3; cancelled while its container was kept" in typed("status", job)[1]
    assert not ask(engine, "ps", "--all", "--quiet", f"--filter=label=tfslurm.job_id={job.partition(':')[2]}").stdout
    assert not (folder.parent / "secrets").exists()
    record = json.loads(typed("provenance", job, "--json")[1])
    (attempt,) = record["attempts"]
    assert (record["job"]["state"], attempt["exit_code"], attempt["ended_by"]) == ("CANCELLED", 3, "program")
    assert (attempt["kept"]["ended_by"], attempt["kept"]["commands"]) == ("stop", 1)
    assert seconds(attempt["kept"]["until_at"]) - seconds(record["job"]["started_at"]) in (300, 301), "its time limit"
    assert [(each["path"], each["sha256"]) for each in record["experiment"]["outputs"]] == [("left", SUM)]
    assert [line for line in record["warnings"] if "the outputs may differ from their sums" in line]
    assert f"{job}: its container was kept for 0:00:" in typed("status", job, "--efficiency")[2]
    code, _, said = typed("fetch", job)
    assert (code, "left" in said) == (1, True), said


@pytest.mark.parametrize(
    ("cluster", "engine", "command", "code", "cause"),
    [("alpha", "docker", "tail /dev/zero", 137, "memory"), ("beta", "podman", FAILS, 3, "program")],
    ids=["docker-memory", "podman-program"],
)
def test_when_the_time_is_up_the_job_ends_as_it_would_have(
    cluster: str, engine: str, command: str, code: int, cause: str
) -> None:
    job = submit(plan(cluster, engine=engine, outputs="/out", command=sh(command), keep_on_failure_s=1))
    end = job.end()
    assert (end["exit_code"], end["cause"], "kept_until_at" in end) == (code, cause, True), job.said()
    found = kept(job)
    assert (found["ended_by"], found["reason"], bool(found["began_at"])) == ("time", None, True), job.said()
    assert sacct(job).startswith("FAILED|")
    job.leaves_no_container()
    assert job.task_end()["exit_code"] == job.inspected()["State"]["ExitCode"] == code
    assert not (job.attempt() / "program" / "0").exists()


def test_a_program_that_does_well_keeps_nothing() -> None:
    job = submit(plan(command=("true",), keep_on_failure_s=1800))
    assert "kept_until_at" not in job.end()
    job.leaves_no_container()
    assert not (job.facts() / "kept.json").exists()


@pytest.mark.parametrize(
    ("cluster", "engine", "what"), [("alpha", "docker", "slurmstepd"), ("beta", "podman", "script")]
)
def test_what_attends_a_kept_container_may_be_killed_and_leaves_none(cluster: str, engine: str, what: str) -> None:
    job = submit(plan(cluster, engine=engine, outputs="/out", command=sh(FAILS), keep_on_failure_s=1800))
    assert wait_until((job.facts() / "kept.json").exists, PATIENCE_S), job.said()
    os.kill(parent(job.script()) if what == "slurmstepd" else job.script(), signal.SIGKILL)
    assert kept(job)["ended_by"] == "lost", job.said()
    job.leaves_no_container()
    assert sacct(job) == "FAILED|3:0", job.said()
    assert job.end()["exit_code"] == job.task_end()["exit_code"] == 3


def test_a_srun_that_is_killed_as_the_program_has_failed_changes_nothing_of_its_end() -> None:
    """What tells the batch script of the failure is halted, so that it hears of the srun's end first."""
    job = submit(plan(outputs="/out", command=sh(f"{WAITING}; exit 3"), keep_on_failure_s=1800))
    job.runs()
    sruns = [pid for pid, line in processes() if line.startswith("srun ") and str(job.plan.run_dir) in line]
    batch = parent(min(sruns))
    looks = [pid for pid in children(batch) if pid not in sruns]
    assert looks
    for pid in looks:
        os.kill(pid, signal.SIGSTOP)
    job.go()
    assert wait_until((job.facts() / "to-keep").exists, PATIENCE_S), job.said()
    for pid in sruns:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert (job.end()["exit_code"], job.end()["cause"]) == (job.task_end()["exit_code"], "program") == (3, "program")
    job.leaves_no_container()
