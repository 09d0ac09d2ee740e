"""What the node side does on Slurm's warning: the program saves, and the job is queued again; real Slurm and docker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tfslurm.spec import Checkpoint

from .bed import wait_until
from .jobs import PATIENCE_S, WAITING, Job, plan, sh, slurm, submit

pytestmark = pytest.mark.usefixtures("bed")


@pytest.fixture(scope="module", autouse=True)
def deaf(bed: None) -> Job:
    """A job that ignores its signal for a minute; the other tests run in the meantime."""
    asked = Checkpoint("USR1", 50, requeue=True)
    command = sh(f"[ $TFSLURM_ATTEMPT = 2 ] && exit 0; trap '' USR1; {WAITING}")
    options = {"requeue": "", "time": "1", "signal": "URG@50"}
    return submit(plan(command=command, outputs="/out", options=options, checkpoint=asked))


def saving(script: str, cluster: str = "alpha", signal_name: str = "USR1", bound: int = 20) -> Job:
    """A job whose program is warned early; ``script`` is what it does on the signal. It has begun."""
    asked = Checkpoint(signal_name, 60, requeue=True, max_requeues=bound)
    command = sh(f"echo $TFSLURM_ATTEMPT >>/out/attempts; {script}; {WAITING}")
    job = submit(plan(cluster, command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked))
    job.runs()
    return job


def warn(job: Job) -> None:
    """As Slurm does before the time limit."""
    slurm(job, "scancel", "--signal=URG", job.job_id)


def again(job: Job, attempt: int) -> dict[str, Any]:
    """The end of an attempt that was queued again; it need not wait for two minutes."""
    until_queued_again(job)
    slurm(job, "scontrol", "update", f"JobId={job.job_id}", "StartTime=now+3")  # at once is too early
    return job.end(attempt)


def until_queued_again(job: Job) -> None:
    shown = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    assert wait_until(lambda: slurm(job, *shown).strip() == "PENDING", PATIENCE_S), job.said()


def events(job: Job, attempt: int = 1) -> list[str]:
    return [line.split("\t")[1] for line in job.fact("events.tsv", attempt=attempt).splitlines()]


@pytest.mark.parametrize(("cluster", "name"), [("alpha", "USR1"), ("beta", "USR1"), ("beta", "TERM")])
def test_a_warned_program_gets_its_signal_once_and_the_job_goes_on_in_a_second_attempt(cluster: str, name: str) -> None:
    count = f"trap 'echo got >>/out/got' {name}; [ $TFSLURM_ATTEMPT = 2 ] && exit 0"
    job = saving(f"{count}; touch /out/here; until [ -e /out/got ]; do sleep 0.1; done; sleep 1; exit 0", cluster, name)
    warn(job)
    warn(job)
    end = job.end()
    assert (end["exit_code"], end["reason"]) == (0, f"requeued after SIG{name}"), job.said()
    assert (job.folder / "out" / "got").read_text() == "got\n", "beta signals every process of a step"
    assert events(job).count("signal-delivered") == events(job).count("told-to-save") == 1
    assert again(job, 2)["exit_code"] == 0, job.said()
    assert (job.folder / "out" / "attempts").read_text() == "1\n2\n"
    began = json.loads((job.attempt(2) / "begin.json").read_text())
    assert (began["attempt"], began["restart_count"]) == (2, 1)
    assert (job.attempt(1) / "stdout.log").exists() and (job.attempt(2) / "stdout.log").exists()


ENDS_AFTER_A_WARNING = {
    "has finished": ("touch $TFSLURM_FINISHED; exit 0", 0, ""),
    "has failed": ("exit 3", 3, ""),
}


@pytest.mark.parametrize("case", ENDS_AFTER_A_WARNING)
def test_a_warned_program_that_has_ended_for_good_is_not_queued_again(case: str) -> None:
    script, code, reason = ENDS_AFTER_A_WARNING[case]
    job = saving(f"trap '{script}' USR1")
    warn(job)
    assert (job.end()["exit_code"], job.end()["reason"]) == (code, reason), job.said()
    state = ["scontrol", "show", "job", job.job_id]
    assert wait_until(lambda: f"ExitCode={code}:0" in slurm(job, *state), 10)
    assert "Restarts=0" in slurm(job, *state)


def test_a_program_without_a_handler_is_queued_again_with_what_it_had_saved() -> None:
    job = saving("[ $TFSLURM_ATTEMPT = 2 ] && exit 0")
    warn(job)
    assert (job.end()["exit_code"], job.end()["reason"]) == (138, "requeued after SIGUSR1")
    assert again(job, 2)["exit_code"] == 0


def test_an_attempt_that_changed_nothing_is_the_last() -> None:
    asked = Checkpoint("USR1", 60, requeue=True)
    command = sh('echo up; trap "exit 0" USR1; while :; do sleep 0.1; done')
    job = submit(plan(command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked))
    assert wait_until(lambda: (job.attempt() / "stdout.log").exists() and "up" in job.output(), PATIENCE_S), job.said()
    warn(job)
    assert job.end()["exit_code"] == 75, job.said()
    assert job.end()["reason"].startswith("not requeued after SIGUSR1: this attempt changed nothing in its outputs")


def test_no_job_is_queued_again_more_often_than_it_may() -> None:
    job = saving("trap 'exit 0' USR1", bound=1)
    warn(job)
    assert job.end()["reason"] == "requeued after SIGUSR1"
    (job.folder / "out" / "here").unlink()
    until_queued_again(job)
    slurm(job, "scontrol", "update", f"JobId={job.job_id}", "StartTime=now+3")
    job.runs()
    warn(job)
    assert job.end(2)["exit_code"] == 75
    assert "it was queued again 1 times already; raise checkpoint.max_requeues" in job.end(2)["reason"]


def test_where_scontrol_is_not_on_the_node_the_end_says_how_to_go_on() -> None:
    links = 'mkdir "$attempt_dir/bin"; ln --symbolic /usr/bin/* "$attempt_dir/bin"; rm "$attempt_dir/bin/scontrol"'
    prologue = f'{links}; PATH="$attempt_dir/bin"'
    template = f'{{% extends "job.sbatch.j2" %}}{{% block prologue %}}{prologue}{{% endblock %}}'
    asked = Checkpoint("USR1", 60, requeue=True)
    command = sh(f"trap 'exit 0' USR1; {WAITING}")
    job = submit(plan(command=command, outputs="/out", options={"requeue": ""}, checkpoint=asked), template=template)
    job.runs()
    warn(job)
    assert job.end()["exit_code"] == 75, job.said()
    assert f"; `scontrol requeue {job.job_id}` on a login node" in job.end()["reason"]


def test_a_cancelled_program_gets_its_signal_before_it_is_stopped() -> None:
    job = saving("trap 'echo saved >/out/saved; exit 0' USR1; trap 'echo stopped >/out/saved; exit 1' TERM")
    slurm(job, "scancel", job.job_id)
    assert job.end()["reason"] == "stopped by SIGTERM"
    assert (job.folder / "out" / "saved").read_text() == "saved\n"
    shown = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    assert wait_until(lambda: slurm(job, *shown).strip() == "CANCELLED", PATIENCE_S)


def test_what_ignores_its_signal_until_the_time_is_up_is_queued_again(deaf: Job) -> None:
    assert wait_until((deaf.attempt() / "exit.json").exists, 150), deaf.said()
    assert deaf.end()["reason"] == "requeued after SIGUSR1", deaf.said()
    assert again(deaf, 2)["exit_code"] == 0
