"""The reason why a job waits, or failed, in plain words. Pure."""

from __future__ import annotations

from tfslurm import slurm
from tfslurm.run_folder import ending
from tfslurm.tracker import TrackedJob

LONGEST = 160
"Characters of a reason in a line of `status`."


def why(job: TrackedJob) -> str:
    """The reason why a job waits, and until when, or why it failed; '' if there is none."""
    reason, start = reason_of(job), job.status.get("started_at")
    return f"{reason}; expected to start {start}" if job.state == "PENDING" and start else reason


def reason_of(job: TrackedJob) -> str:
    """The reason why a job waits, or why it failed."""
    code = job.status.get("exit_code")
    if job.state == "PENDING":
        return slurm.explain_reason(str(job.status.get("reason") or ""))
    own = str(job.status.get("reason") or "")
    if job.state == "LOST":
        return own or "the scheduler does not know it and it left no end file"
    cause = str(job.status.get("cause") or ending.cause_of(own))
    if cause in (ending.UNFINISHED, ending.NO_SCHEDULER):
        return own
    if job.state == "PREEMPTED":
        return "pushed out by another job, and not queued again there; outputs are kept"
    return how_it_failed(job.key, int(code), cause, own) if code else own if " " in own else ""


def how_it_failed(job: str, code: int, cause: str, reason: str) -> str:
    """The exit code, and whose it is: the program's own, or that of what stands around it."""
    if code in (75, 78) and cause == ending.PROGRAM:
        return f"exit {code}, the program's own"
    if code == 78:
        return f"exit 78: a link of the chain did not hold{said(job, reason, 'which')}"
    if code == 75:
        return f"exit 75: what runs the program failed, not the program{said(job, reason, 'what')}"
    return f"exit {code}: {reason}" if " " in reason else f"exit {code}"


def said(job: str, reason: str, what: str) -> str:
    """The reason, or the beginning of a long one, and the command that shows the rest."""
    text = reason.removeprefix("tfslurm: ")
    if " " not in text:
        return f"; `tfslurm logs {job}` says {what}"
    return f": {text}" if len(text) <= LONGEST else f": {text[:LONGEST].rstrip()}…; `tfslurm logs {job}` says all"
