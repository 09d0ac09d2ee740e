"""The reason why a job waits, or failed, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from signal import Signals

from tfslurm import slurm
from tfslurm.document.moments import seconds_between
from tfslurm.run_folder import ending
from tfslurm.slurm import Outlook
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clock import local_time
from tfslurm.workspace.config import LOCAL
from tfslurm.workspace.session import Say

LONGEST = 160
"Characters of a node's reason in a line."
IN_TABLE = 100
"And in the table of `status`."
NO_FOLDER = "its run folder is not there any more: it was removed, or the file system is not mounted"
WHILE_KEPT = {"CANCELLED": "cancelled", "TIMEOUT": "its time limit was reached", "PREEMPTED": "pushed out"}
CANCELLED = "cancelled"
"The reason of a job that ended as it was told to."
KILLED = 128 + Signals.SIGKILL
CODES: Mapping[int, str] = {
    126: "its program cannot be executed: it has no execute permission, or was made for another system",
    127: "its program, or one that it starts, is not in the image",
    128 + Signals.SIGABRT: "it aborted",
    128 + Signals.SIGBUS: "often /dev/shm is full: more `shm`",
    128 + Signals.SIGILL: "the node's CPU lacks an instruction that it uses",
    KILLED: "it was killed from outside tfslurm; if its memory grew, more `memory`",
    128 + Signals.SIGSEGV: "it crashed",
}
"Exit codes that a shell, or a signal, gives a program -> what that means."


def is_kept(job: TrackedJob) -> bool:
    """Whether a job's program has failed, and its container is kept for who wants to look."""
    return job.state == "RUNNING" and bool(job.status.get("kept_until_at"))


def kept(job: TrackedJob) -> str:
    """Until when a container is kept, what it costs, and how to use it; '' where it is not."""
    if not is_kept(job):
        return ""
    gpus = job.status.get("kept_gpus")
    what = f"its container and {gpus} GPU{'s' if gpus > 1 else ''} are" if isinstance(gpus, int) and gpus else ""
    ways = f"`tfslurm exec {job.key}` goes in, `tfslurm cancel {job.key}` ends it"
    return f"{what or 'its container is'} kept until {local_time(end_of_keeping(job))}: {ways}"


def end_of_keeping(job: TrackedJob) -> str:
    """Until when a container is kept: no longer than the job's time limit lets it."""
    moments = [str(job.status["kept_until_at"]), *map(str, filter(None, [job.status.get("ended_at")]))]
    return min(moments, key=lambda moment: moment[:19])


def why(job: TrackedJob, longest: int = LONGEST) -> str:
    """The reason why a job waits, and until when, or why it failed, as ``reason_of``; '' if there is none."""
    reason, start = reason_of(job, longest), job.status.get("started_at")
    if is_kept(job):
        return f"{reason}; {kept(job)}"
    return f"{reason}; expected to start {start}" if job.state == "PENDING" and start else reason


def reason_of(job: TrackedJob, longest: int = LONGEST) -> str:
    """The reason why a job waits, or why it failed; a reason of the node's with ``longest`` characters of it."""
    own = str(job.status.get("reason") or "")
    if job.state == "PENDING":
        return waiting(own)
    if job.state == "LOST":
        return own or "the scheduler does not know it and it left no end file"
    cause = str(job.status.get("cause") or ending.cause_of(own))
    if cause in (ending.UNFINISHED, ending.NO_SCHEDULER):
        return own
    code = int(job.status.get("exit_code") or 0)
    if job.status.get("kept_until_at") and job.state in WHILE_KEPT:
        failed = own if cause == ending.MEMORY else f"exit {code}"
        return f"{failed}; {WHILE_KEPT[job.state]} while its container was kept"
    if cause in ("", ending.PROGRAM, ending.STOPPED, ending.MEMORY) and (said := by_state(job, code)):
        return f"{said}; {own}" if own == NO_FOLDER else said
    if cause == ending.MEMORY:
        return f"{own}; ask for more `memory`"
    return how_it_failed(job.key, code, cause, own, longest) if code else own if " " in own else ""


def waiting(reason: str) -> str:
    """Slurm's reason, and whether the job can start at all."""
    words, outlook = slurm.explain_reason(reason), slurm.outlook(reason)
    if outlook is Outlook.NEVER:
        return f"{words}, so it will never start"
    if outlook is Outlook.LIMITED:
        return f"{words}; it never starts if it alone asks for more"
    return words


def to_start(job: TrackedJob) -> str:
    """What to do about a job that waits and cannot start by itself; '' for any other."""
    outlook = slurm.outlook(str(job.status.get("reason") or "")) if job.state == "PENDING" else Outlook.OPEN
    if outlook is Outlook.NEVER:
        fix = f"ask for what `tfslurm check {job.cluster}` lists"
        return f"`tfslurm cancel {job.key}`, then {fix}"
    if outlook is Outlook.HELD:
        who = "ask the administrators, or `" if "Admin" in str(job.status["reason"]) else "`"
        return f"it waits until it is released: {who}scontrol release {job.slurm_id}` on {job.cluster}"
    if outlook is Outlook.BLOCKED:
        return f"it waits until that changes: ask the administrators of {job.cluster}, or `tfslurm cancel {job.key}`"
    return ""


def tell_of_start(say: Say, jobs: Iterable[TrackedJob]) -> None:
    """Say which of these jobs, just queued, cannot start by themselves, and what to do.

    What counts is the reason that Slurm gave when it took them.
    """
    for job in jobs:
        if fix := to_start(job):
            say(f"warning: {job.key}: {reason_of(job)}: {fix}")


def by_state(job: TrackedJob, code: int) -> str:
    """The reason that Slurm's state of a job gives; '' for a state that gives none, such as FAILED."""
    killed = (
        "; ignored TERM, killed" if code == KILLED else f"; its program ended with {code}" if 0 < code < 128 else ""
    )
    limit = job.status.get("time_limit_s")
    if job.state == "TIMEOUT" or (limit and has_run_out(job, int(limit))):
        of = f" of {clock(int(limit))}" if limit else ""
        return f"time limit{of} reached{killed}; more `time`, or `checkpoint`"
    if job.state == "CANCELLED":
        has_begun = job.status.get("nodes") or job.cluster == LOCAL
        return f"{CANCELLED}{killed}" if has_begun else "cancelled before it started"
    if job.state == "OUT_OF_MEMORY":
        own = str(job.status.get("reason") or "")
        is_told = str(job.status.get("cause") or ending.cause_of(own)) == ending.MEMORY
        return f"{own if is_told else 'memory used up'}; ask for more `memory`"
    kept = "" if job.status.get("reason") == NO_FOLDER else "; outputs are kept"
    return {
        "BOOT_FAIL": "a node did not start; submit again",
        "DEADLINE": f"its deadline was reached{killed}",
        "NODE_FAIL": "a node of it failed; submit again",
        "PREEMPTED": f"pushed out by another job, and not queued again there{kept}",
    }.get(job.state, "")


def has_run_out(job: TrackedJob, limit: int) -> bool:
    """Whether a job was stopped after its time limit, where Slurm forgot it and only its own end file tells."""
    ran = seconds_between(job.status.get("started_at"), job.status.get("ended_at"))
    return job.state == "FAILED" and job.status.get("cause") == ending.STOPPED and ran is not None and ran >= limit


def how_it_failed(job: str, code: int, cause: str, reason: str, longest: int) -> str:
    """The exit code, and whose it is: the program's own, or that of what stands around it."""
    if code in (75, 78) and cause == ending.PROGRAM:
        return f"exit {code}, the program's own"
    if code == 78:
        return f"exit 78: not started{said(job, reason, 'why', longest)}"
    if code == 75:
        return f"exit 75: what runs the program failed, not the program{said(job, reason, 'what', longest)}"
    if " " in reason:
        return f"exit {code}: {reason}"
    return f"exit {code}: {CODES[code]}" if code in CODES else f"exit {code}{signal_in(code)}"


def signal_in(code: int) -> str:
    """`` (SIGTERM)`` for 143; '' where the code is not that of a signal."""
    return f" ({Signals(code - 128).name})" if code - 128 in set(Signals) else ""


def said(job: str, reason: str, what: str, longest: int) -> str:
    """The reason, or the beginning of a long one, and the command that shows the rest."""
    text = reason.removeprefix("tfslurm: ")
    if " " not in text:
        return f"; `tfslurm logs {job}` says {what}"
    if len(text) <= longest:
        return f": {text}"
    head = text[: longest + 1].rpartition(" ")[0] or text[:longest]  # no path is cut
    return f": {head}…; `tfslurm logs {job}` says all"


def clock(seconds: int) -> str:
    """H:MM:SS."""
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
