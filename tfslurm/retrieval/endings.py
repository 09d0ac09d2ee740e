"""What jobs that have ended left for a reader: why each failed, its last lines, and work that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfslurm.errors import HostError, RecordError, TfslurmError
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.job_plan.layer import LAYER_TARGET
from tfslurm.monitoring.lookup import plan_of
from tfslurm.monitoring.reasons import CODES, is_kept, kept, reason_of
from tfslurm.record.facts import parse_diff
from tfslurm.record.unsaved_files import in_words, lost_files
from tfslurm.remote_programs import program
from tfslurm.retrieval.telling import fix_for, telling_line
from tfslurm.run_folder import ending
from tfslurm.run_folder.paths import batch_log
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_of, speaks_for
from tfslurm.workspace.session import Session

LINES = 15
"The last lines of a job's stderr that are shown."
LONGEST_LINE = 400
MOST_BYTES = 16384
"Of the end of a file, and of the list of what is gone."
MOST_CAUSES = 10
MOST_NAMES = 20
MOST_JOBS = 200
"That are read on one cluster."
LONGEST_REASON = 2000
HEAD = re.compile(rb"(err|out|script|none) ([0-9]{1,6}) ([0-9]{1,6}) ([01])")
NAMES = {"err": "stderr", "out": "stdout", "script": "batch script's output"}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SHELL = re.compile(r"^/run/tfslurm-entry\.sh: ((exec|line [0-9]+|[0-9]+): )*")


class Ending(NamedTuple):
    """What one job left: the last ``lines`` of a ``stream`` of it, and ``lost``, a sentence on work that is gone."""

    stream: str = ""
    lines: tuple[str, ...] = ()
    lost: str = ""

    @property
    def telling(self) -> str:
        """The line that tells why a program failed; '' where none does."""
        return SHELL.sub("", telling_line(self.lines))


def read_endings(session: Session, jobs: Sequence[TrackedJob]) -> dict[str, Ending]:
    """Job -> what it left, with one command for each cluster; without jobs of clusters that do not answer now."""
    found: dict[str, Ending] = {}
    for known in clusters_of(jobs, session.tracker) if jobs else ():
        try:
            host = session.reach(known)
            here = [job for job in jobs if job.cluster == known.cluster.name and job.key not in found]
            mine = [(job, plan) for job, plan in planned(here, session.tracker) if speaks_for(known, plan[1])]
            found |= read_on(host, [(job, plan[0]) for job, plan in mine[:MOST_JOBS]])
        except TfslurmError:
            continue  # how they ended is known
    return found


def planned(jobs: Iterable[TrackedJob], tracker: Tracker) -> list[tuple[TrackedJob, tuple[JobPlan, str]]]:
    """Each job with its plan, and the text of the cluster that it was sent to."""
    plans: dict[str, tuple[JobPlan, str]] = {}
    kept: list[tuple[TrackedJob, tuple[JobPlan, str]]] = []
    for job in jobs:
        if job.plan_id not in plans:
            try:
                plan = plan_of(job, tracker)
            except RecordError:
                continue
            plans[job.plan_id] = plan, tracker.plans(plan_id=job.plan_id)[0].cluster_text
        kept.append((job, plans[job.plan_id]))
    return kept


def read_on(host: Host, jobs: Sequence[tuple[TrackedJob, JobPlan]]) -> dict[str, Ending]:
    """The same for jobs of one cluster.

    Raises:
        HostError: it does not answer, or not for all of them.
    """
    if not jobs:
        return {}
    asked = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for job, plan in jobs for word in words(job, plan))
    most = len(jobs) * (2 * MOST_BYTES + 64)
    said = host.run_bytes(program("endings", str(MOST_BYTES), str(MOST_BYTES)), input=asked, max_bytes=most + 2**20)
    found: dict[str, Ending] = {}
    for job, plan in jobs:
        head, _, said = said.partition(b"\n")
        match = HEAD.fullmatch(head)
        if match is None:
            raise HostError(f"{host.name}: what its jobs left could not be read", transient=True)
        stream, (tail, listed) = match[1].decode(), (int(match[2]), int(match[3]))
        lost = lost_in(said[tail : tail + listed], plan) or nothing_left(job, plan, has_outputs=match[4] == b"1")
        found[job.key] = Ending(NAMES[stream], last_lines(said[:tail]), lost) if stream in NAMES else Ending()
        said = said[tail + listed :]
    return found


def words(job: TrackedJob, plan: JobPlan) -> tuple[str, ...]:
    """The words of endings.sh for one job."""
    folder = job_folder(plan.run_dir, job.job_id)
    return str(plan.run_dir.parent), plan.run_dir.name, folder.name, batch_log(job.job_id)


def last_lines(content: bytes) -> tuple[str, ...]:
    """The lines in the end of a file, as a terminal would have left each of them: the first may be cut."""
    text = content.decode("utf-8", "replace").rstrip()
    rows = (re.split("[\r\b]", COLOUR.sub("", line).rstrip("\r\b"))[-1] for line in text.split("\n"))
    return tuple(row[:LONGEST_LINE] for row in rows) if text else ()


def lost_in(listed: bytes, plan: JobPlan) -> str:
    """The sentence on files that are gone with the container; '' for none, or where the list is none."""
    if len(listed) == MOST_BYTES:
        listed = listed.rpartition(b"\n")[0]
    try:
        changes = parse_diff(listed)
    except ValueError:
        return ""
    asked = [*(str(mount.target) for mount in plan.mounts), *([LAYER_TARGET] if plan.packages else [])]
    kept = [*asked, *([plan.outputs] if plan.outputs else []), "/workspace", f"/home/{plan.user}"]
    return in_words(lost_files(changes, kept), plan.outputs)


def nothing_left(job: TrackedJob, plan: JobPlan, *, has_outputs: bool) -> str:
    """The sentence on a job that ended well and left nothing; '' where it has outputs, or was to have none."""
    is_empty = plan.outputs and job.state == "COMPLETED" and not has_outputs
    return f"the program left nothing in {plan.outputs}" if is_empty else ""


# --- in words


def why_it_failed(job: TrackedJob, ending_of: Ending | None) -> str:
    """The whole reason of a job that failed, with the line of its program that tells, and what to do about it."""
    reason = reason_of(job, LONGEST_REASON)
    told = ending_of.telling if ending_of and is_the_program_s(job) else ""
    if not told:
        return reason or job.state
    code = job.status.get("exit_code")
    reason = f"exit {code}" if code in (126, 127) and reason.endswith(CODES[int(code)]) else reason
    fix = fix_for(told)
    return f"{reason}: {told}{fix and '; '}{fix}"


def is_the_program_s(job: TrackedJob) -> bool:
    """Whether a job failed because its program did, by itself."""
    own = str(job.status.get("reason") or "")
    cause = str(job.status.get("cause") or ending.cause_of(own))
    return (job.state == "FAILED" or is_kept(job)) and bool(job.status.get("exit_code")) and cause == ending.PROGRAM


def report(
    session: Session, jobs: Sequence[TrackedJob], *, tails: bool = True, reasons: bool = True
) -> dict[str, Ending]:
    """Say why jobs failed, by cause, and of which the work is gone; what they left, by job.

    ``tails``: show the last lines of a job's stderr too, where all failed for one reason. Without ``reasons`` the
    caller says why.
    """
    failed = [job for job in jobs if job.state != "COMPLETED"]
    well = [job for job in jobs if job.state == "COMPLETED"]
    endings = read_endings(session, [*failed[:MOST_JOBS], *well[:MOST_JOBS]])
    causes = by_cause(failed, endings)
    for cause, (first, *others) in causes[:MOST_CAUSES]:
        told = endings.get(first.key, Ending())
        if tails and len(causes) == 1 and is_worth_showing(first, told):
            session.say(f"{first.key}: the last lines of its {told.stream}:")
            session.say(*(f"  {line}" for line in told.lines[-LINES:]))
        many = and_more(others)
        logs = f"`tfslurm logs {first.key}`"
        more = f"; {logs} shows what it printed" if tails and logs not in cause and first.state != "CANCELLED" else ""
        if reasons:
            session.say(f"{first.key}{many}: {cause}{more}")
    if len(causes) > MOST_CAUSES:
        session.say(f"and {len(causes) - MOST_CAUSES} more causes")
    for job in failed:
        if is_kept(job):
            session.say(f"{job.key}: {kept(job)}")
    lost = [
        (job, endings[job.key].lost)
        for job in jobs
        if job.key in endings and endings[job.key].lost and not is_kept(job)
    ]
    for job, sentence in lost[:1]:
        session.say(f"warning: {job.key}{and_more([other for other, _ in lost[1:]])}: {sentence}")
    return endings


def is_worth_showing(job: TrackedJob, left: Ending) -> bool:
    """Whether the last lines of a job say more than its reason: not those of a job that was refused, or cancelled."""
    is_refused = left.stream == NAMES["script"] and job.status.get("exit_code") in (75, 78)
    return bool(left.lines) and job.state != "CANCELLED" and not is_refused


def and_more(jobs: Sequence[TrackedJob]) -> str:
    """`` and 2 more (alpha:3, alpha:4)``; '' for none."""
    names = ", ".join(job.key for job in jobs[:MOST_NAMES]) + (", …" if len(jobs) > MOST_NAMES else "")
    return f" and {len(jobs)} more ({names})" if jobs else ""


def by_cause(jobs: Iterable[TrackedJob], endings: Mapping[str, Ending]) -> list[tuple[str, list[TrackedJob]]]:
    """The jobs that failed by reason, numbers in it left aside: the reason of the first; the most frequent first."""
    found: dict[str, tuple[str, list[TrackedJob]]] = {}
    for job in jobs:
        cause = why_it_failed(job, endings.get(job.key))
        found.setdefault(re.sub(r"[0-9]+", "0", f"{job.state} {cause.replace(job.key, '')}"), (cause, []))[1].append(
            job
        )
    return sorted(found.values(), key=lambda each: -len(each[1]))
