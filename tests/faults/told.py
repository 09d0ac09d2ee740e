"""Jobs that somebody or something ends: the user, the time limit, another job."""

from __future__ import annotations

from tests.cluster.bed import CLUSTERS, wait_until
from tests.cluster.slurm import slurm
from tests.cluster.users import run_as
from tests.faults.case import DEAF, WAITS, Case, Expected
from tests.faults.job import USER, Job

DEAF_TOO = "ignored TERM, killed"
REQUEUES = {"checkpoint": {"signal": "USR1", "before_end": 60, "requeue": True}}
SAVES = f"trap 'echo saved >/out/saved; exit 42' TERM USR1; {WAITS}"  # where Slurm signals all, SIGTERM may be first
AGAIN = 'if [ "$TFSLURM_ATTEMPT" = 2 ]; then exit 0; fi; '
POLITE = f"trap 'echo bye >/out/bye; exit 42' TERM; {WAITS}"


def cancel(job: Job) -> None:
    """scancel."""
    job.struck()
    job.slurm("scancel", job.number)


def cancel_with_kill(job: Job) -> None:
    """scancel --signal=KILL."""
    job.struck()
    job.slurm("scancel", "--signal=KILL", job.number)


def cancel_all_with_kill(job: Job) -> None:
    """scancel --full --signal=KILL: the batch script too."""
    job.struck()
    job.slurm("scancel", "--full", "--signal=KILL", job.number)


def reach_the_limit(job: Job) -> None:
    """The administrator moves the end of the job to now; Slurm acts at its next look."""
    site = CLUSTERS[job.cluster]
    move = ("scontrol", "update", f"JobId={job.number}", "EndTime=now")
    # in the second in which a job began its end cannot lie
    assert wait_until(lambda: slurm(site, *move).returncode == 0, 5), slurm(site, *move).stderr
    events = job.folder / "attempt-1/facts/task-0/events.tsv"
    assert wait_until(lambda: "told-to-stop" in events.read_text(), 90), job.said()
    job.struck()


def requeue(job: Job) -> None:
    """scontrol requeue."""
    job.struck()
    job.slurm("scontrol", "requeue", job.number)


def preempt(job: Job) -> None:
    """A job in the partition high wants the CPUs that this one has."""
    job.struck()
    options = ("--partition=high", f"--nodelist={job.node}", "--cpus-per-task=9", "--mem=50M", "--output=/dev/null")
    done = run_as(USER, ["sbatch", "--parsable", *options, "--wrap", "true"], job.cluster)
    assert done.returncode == 0, done.stderr


CASES = (
    Case("scancel", cancel, Expected("CANCELLED", 42, 42, "stop", "cancelled; its program ended with 42"), POLITE),
    Case(
        "scancel, TERM ignored",
        cancel,
        Expected("CANCELLED", 137, 137, "stop", f"cancelled; {DEAF_TOO}"),
        DEAF,
        quick=True,
    ),
    Case("scancel --signal=KILL", cancel_with_kill, Expected("CANCELLED", 143, 143, "stop", "cancelled")),
    Case("scancel --full --signal=KILL", cancel_all_with_kill, Expected("CANCELLED", 143, 143, "stop", "cancelled")),
    Case(
        "time limit",
        reach_the_limit,
        Expected("TIMEOUT", 137, 137, "stop", f"reached; {DEAF_TOO}; more `time`, or"),
        DEAF,
        quick=True,
    ),
    Case(
        "scontrol requeue",
        requeue,
        Expected("COMPLETED", 0, 137, "stop", attempts=2),
        f"{AGAIN}trap '' USR1; {DEAF}",
        REQUEUES,
    ),
    Case(
        "preemption",
        preempt,
        Expected("COMPLETED", 0, 42, "stop", attempts=2),
        f"{AGAIN}{SAVES}",
        {**REQUEUES, "resources": {"cpus": 9}},
        {"partition": "low"},
    ),
)
