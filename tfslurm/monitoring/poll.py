"""Ask a cluster for the states of jobs: its queue, then its accounting, then the jobs' own end files.

One question to each for any number of jobs, and none where the one before settled them. Only a machine is spoken to
here, no tracker: it may go on in a thread for each cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm import slurm
from tfslurm.document.moments import seconds_between
from tfslurm.errors import HostError, NoProgram, SlurmParseError, last_words
from tfslurm.handoff.recovery import settle
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan
from tfslurm.monitoring.exit_files import GONE, UNWRITTEN, ExitRequest, Missing, read_ends
from tfslurm.monitoring.reasons import NO_FOLDER
from tfslurm.monitoring.sweep_states import CANCELLED
from tfslurm.run_folder.ending import REQUEUED, STOPPED, End
from tfslurm.slurm import JobStatus
from tfslurm.tracker import JobUpdate, Place, TrackedJob, TrackedPlan
from tfslurm.workspace.clock import earlier
from tfslurm.workspace.config import LOCAL

LOST = "LOST"
PENDING = "PENDING"
RUNNING = "RUNNING"
NO_END = "it could not write down its end: its file system may be full, read-only or gone; see `df`"
SIGNALLED = "signal {} ended its batch script, so its end is not written down: somebody or something killed it there"
KILLED = "it was killed, or this machine was restarted: nothing of it runs any more"
IN_TURN = "points of the same Slurm job run before it"
KEPT = JobStatus._fields
MOST_NAMED = 2**28  # characters of the nodes of all jobs: points that share a job have them each
PATIENCE_S = 120.0  # accounting has years to search


class Question(NamedTuple):
    """One question to a cluster: about its open plans, which are claimed, and about jobs that have not ended."""

    cluster: str
    user: str
    open: tuple[TrackedPlan, ...]
    jobs: tuple[TrackedJob, ...]
    places: Mapping[str, Place]
    others: Collection[str] = ()  # Slurm's ids of the cluster's unfinished jobs, none of which an open plan's job has


class ClusterAnswer(NamedTuple):
    """The answer. ``settled``: the open plans, each with its job's id, or None where nothing was queued.

    ``silence``: why some jobs could not be settled, which stay as last seen; '' where all were.
    """

    settled: tuple[tuple[TrackedPlan, str | None], ...]
    updates: tuple[JobUpdate, ...]
    silence: str = ""


def ask(question: Question, host: Host) -> ClusterAnswer:
    """The answer of the cluster now.

    Raises:
        HostError: it does not answer, or its controller does not.
        SlurmParseError: its answer is not understood; no state is guessed.
    """
    settled = [(left, settle(left, host, question.others)) for left in question.open]
    found = [(left, job_id) for left, job_id in settled if job_id]
    jobs = [*question.jobs, *(job for left, job_id in found for job in jobs_of(left, job_id))]
    places = {**question.places, **{left.plan.plan_id: place_of(left) for left, _ in found}}
    known: Mapping[str, JobStatus] = {}
    silence = ""
    if jobs and question.cluster != LOCAL:
        known, silence = states_from_slurm(question, host, jobs)
    killed = killed_here(jobs, places) if question.cluster == LOCAL else frozenset()
    lost = () if silence else [job.key for job in jobs if job.state == LOST and job.job_id not in known]
    ends = own_ends(host, jobs, known, places, killed, lost)
    updates: list[JobUpdate] = []
    for job in jobs:
        place = places[job.plan_id]
        update = update_of(job, known.get(job.job_id), ends.get(job.key), place, bool(silence))
        if update is None and job.key in killed:
            update = ended_here(job, place, host)
        updates += [still_cancelled(update)] if update else []
    unsettled = len(jobs) - len(updates) if silence else 0
    why = f"{question.cluster}: {silence}: {unsettled} of its jobs left the queue and no end" if unsettled else ""
    return ClusterAnswer(tuple(settled), tuple(updates), why)


def killed_here(jobs: Sequence[TrackedJob], places: Mapping[str, Place]) -> frozenset[str]:
    """Those of this machine's jobs of which nothing runs any more."""
    from tfslurm.handoff.local_process import is_killed

    return frozenset(job.key for job in jobs if is_killed(places[job.plan_id].run_dir))


def ended_here(job: TrackedJob, place: Place, host: Host) -> JobUpdate:
    """A job of this machine that was killed; what it left in its engine is removed."""
    from tfslurm.handoff.local_process import end_killed

    end_killed(job, place, host)
    return JobUpdate(job, "FAILED", True, {**job.status, "reason": KILLED})


def jobs_of(left: TrackedPlan, job_id: str) -> list[TrackedJob]:
    """The job of a plan that has just been settled, or the tasks of its array, as the tracker will have them."""
    plan = left.plan
    return [
        TrackedJob(plan.cluster, each, plan.planned_at, plan.plan_id, plan.name, PENDING, False, {})
        for each in plan.jobs(job_id)
    ]


def place_of(left: TrackedPlan) -> Place:
    """The place of the jobs of a plan that has just been settled."""
    plan = left.plan
    count, each = (plan.points.count, plan.points.points_per_job) if plan.points else (1, 1)
    return Place(
        plan.root,
        plan.name,
        plan.plan_id,
        bool(plan.secrets),
        count,
        plan.engine,
        count,
        each,
        kept_gpus=kept_gpus(plan),
    )


def kept_gpus(plan: JobPlan) -> int | None:
    """The GPUs of a job whose container is kept after a failure; None where it is not."""
    return plan.resources.gpus if plan.keep_on_failure_s else None


# --- the scheduler


def states_from_slurm(question: Question, host: Host, jobs: Sequence[TrackedJob]) -> tuple[dict[str, JobStatus], str]:
    """The states of these jobs by id: the controller's, and accounting's for jobs that left the queue or failed.

    With it why accounting did not answer; '' where it did, was not asked, or does not exist there.
    """
    listed = queued(question.cluster, host)
    known = {job.job_id: listed[job.slurm_id] for job in jobs if is_same(job, listed.get(job.slurm_id))}
    unsure = [job for job in jobs if job.job_id not in known or lacks_its_ending(known[job.job_id])]
    kept, silence = accounted(question.user, host, unsure) if unsure else ({}, "")
    for job in unsure:
        status = kept.get(job.slurm_id)
        # accounting is behind the controller: it may say RUNNING of a job that has ended, or not know its name yet
        if status and is_same(job, status) and (job.job_id not in known or slurm.is_final(status.state)):
            known[job.job_id] = status
    for job in unsure:
        if job.job_id not in known and (whole := of_array(job, kept) or of_array(job, listed)):
            known[job.job_id] = whole
    if sum(len(node) for status in known.values() for node in status.nodes) > MOST_NAMED:
        why = f"they have more than {MOST_NAMED} characters together; look at what squeue prints there"
        raise SlurmParseError("the nodes of your jobs", "", why=why)
    return known, silence


def of_array(job: TrackedJob, statuses: Mapping[str, JobStatus]) -> JobStatus | None:
    """The state of a task's whole array: Slurm lists no tasks of one that was cancelled before any of them began."""
    status = statuses.get(job.job_id.partition("_")[0]) if "_" in job.job_id else None
    return status if status and is_same(job, status) and slurm.is_final(status.state) else None


def is_whole(job: TrackedJob, status: JobStatus) -> bool:
    """Whether a status is of the whole array that the job is a task of; of one that has ended itself it is not true."""
    return status.job_id != job.slurm_id


def is_same(job: TrackedJob, status: JobStatus | None) -> bool:
    """Whether a status is of this very job: ids are given out again, names with their plan's id are not."""
    return status is not None and status.name == job.job_name


def lacks_its_ending(status: JobStatus) -> bool:
    """Whether the job failed and its exit code is not known: squeue prints none."""
    return status.state == "FAILED" and status.exit_code is None and status.signal is None


def queued(cluster: str, host: Host) -> dict[str, JobStatus]:
    """Every job of the user that the controller still knows, by id.

    Raises:
        HostError: it does not answer.
    """
    answer = host.run(slurm.queue_argv(), max_bytes=slurm.MOST_BYTES)
    if answer.exit_code != 0:
        raise HostError(f"{cluster}: squeue: {last_words(answer)}", transient=True)
    found: dict[str, JobStatus] = {}
    for status in slurm.parse_queue(answer.stdout):
        if status.job_id not in found or slurm.is_final(found[status.job_id].state):
            found[status.job_id] = status  # listed as running and as ended: it counts as running
    return found


def accounted(user: str, host: Host, jobs: Sequence[TrackedJob]) -> tuple[dict[str, JobStatus], str]:
    """Accounting's last attempt of each job that left the queue; and why there is none, '' where it answered."""
    since = min(job.submitted_at for job in jobs)
    argv = slurm.accounting_argv(user, [job.job_id for job in jobs], earlier(since))
    try:
        answer = host.run(argv, timeout_s=PATIENCE_S, max_bytes=slurm.MOST_BYTES)
    except NoProgram:
        return {}, ""  # there is no accounting
    except HostError as error:
        return {}, str(error).splitlines()[0]  # a line that is lost is noticed by the next question
    if answer.exit_code != 0:
        return {}, "" if slurm.has_no_accounting(answer.stderr) else f"sacct: {last_words(answer)}"
    return {status.job_id: status for status in slurm.parse_sacct(answer.stdout)}, ""


# --- the jobs themselves


def own_ends(
    host: Host,
    jobs: Sequence[TrackedJob],
    known: Mapping[str, JobStatus],
    places: Mapping[str, Place],
    killed: Collection[str],
    lost: Collection[str],
) -> dict[str, End | Missing | None]:
    """Job -> the end that it wrote itself, if Slurm has not settled it; secrets are removed where nothing runs.

    ``lost`` are those that were not known when Slurm was last asked, and are not now: they will not start again.
    sacct shows an exit code above 128 as a signal, and none at all for a job that was cancelled.
    """
    over = over_in(jobs, known, lost)
    requests = {job.key: request for job in jobs if (request := request_for(job, known.get(job.job_id), places, over))}
    requests |= {key: request._replace(forget=True) for key, request in requests.items() if key in killed}
    return dict(zip(requests, read_ends(host, list(requests.values())), strict=True))


def over_in(jobs: Sequence[TrackedJob], known: Mapping[str, JobStatus], lost: Collection[str]) -> dict[str, int]:
    """Plan -> how many of its jobs have ended, as Slurm says, or are lost."""
    counts: dict[str, int] = {}
    lost = frozenset(lost)
    for job in jobs:
        status = known.get(job.job_id)
        if job.key in lost or (status and slurm.is_final(status.state)):
            counts[job.plan_id] = counts.get(job.plan_id, 0) + 1
    return counts


def request_for(
    job: TrackedJob, status: JobStatus | None, places: Mapping[str, Place], over: Mapping[str, int]
) -> ExitRequest | None:
    """The request for a job's end file and for the removal of its secrets; None if neither is needed.

    One that ended by itself removed its secrets; those of another, and of an array, go when no job of its plan will
    start again. It is enough that a job is LOST at two questions: it is not in the queue, so nothing starts it.
    """
    place = places[job.plan_id]
    if status is None:
        forget = place.has_secrets and job.state == LOST and over.get(job.plan_id, 0) >= place.unfinished
        return ExitRequest(place.run_dir, job.job_id, forget)
    is_over, is_well = slurm.is_final(status.state), status.state == "COMPLETED"
    forget = is_over and place.has_secrets and over[job.plan_id] >= place.unfinished
    if is_whole(job, status) or (job.is_packed and status.state != PENDING):
        return ExitRequest(place.run_dir, job.job_id, forget)
    if place.kept_gpus is not None and status.state == RUNNING:
        return ExitRequest(place.run_dir, job.job_id)
    if not is_over or (is_well and not status.array_job_id):
        return None
    return ExitRequest(place.run_dir, job.job_id, forget) if forget or (has_begun(status) and not is_well) else None


def has_begun(status: JobStatus) -> bool:
    """Whether the job had a node: accounting gives one that never began its end as its start."""
    return bool(status.started_at and status.nodes)


def update_of(
    job: TrackedJob, status: JobStatus | None, end: End | Missing | None, place: Place, is_unsure: bool
) -> JobUpdate | None:
    """The update of a job; None if nobody knows anything and accounting, which might, did not answer."""
    if end is GONE and status and slurm.is_final(status.state):
        return JobUpdate(job, status.state, True, {**as_kept(status), "reason": NO_FOLDER})
    if status is None or (isinstance(end, End) and is_whole(job, status)):
        return by_its_end(job, end, is_unsure)
    if job.is_packed:
        return in_its_turn(job, status, end, place)
    kept = as_kept(status)
    if status.state == "COMPLETED":
        kept["exit_code"] = 0  # what the state means, and squeue prints none; source: squeue(1)
    elif isinstance(end, End) and has_begun(status) and (slurm.is_final(status.state) or end.kept_until_at):
        kept |= words_of(end)
        if end.kept_until_at:
            kept |= {"kept_until_at": until(end.kept_until_at, status), "kept_gpus": place.kept_gpus}
    elif end is UNWRITTEN and status.state == "FAILED" and (status.exit_code or status.signal):
        kept["reason"] = SIGNALLED.format(status.signal) if status.signal else NO_END  # it began, and ended by itself
    return JobUpdate(job, status.state, slurm.is_final(status.state), kept)


def until(moment: str, status: JobStatus) -> str:
    """Until when a container is kept at most: while the job runs, no longer than its time limit, which Slurm says."""
    limit = None if slurm.is_final(status.state) else status.ended_at
    return min(moment, limit or moment, key=lambda each: each[:19])


def still_cancelled(update: JobUpdate) -> JobUpdate:
    """The update, with the mark of a job that was cancelled until it has ended: its programs may take their time."""
    if update.final or not update.job.status.get(CANCELLED):
        return update
    return update._replace(status={**update.status, CANCELLED: True})


def in_its_turn(job: TrackedJob, status: JobStatus, end: End | Missing | None, place: Place) -> JobUpdate:
    """A point that shares its Slurm job with others: what it wrote itself, unless that is not its own end; else what
    became of the job, and PENDING before its turn.

    The last of them is not over before the job is, so that somebody looks again when it is.
    """
    is_over = slurm.is_final(status.state)
    kept = as_kept(status)
    if isinstance(end, End) and not is_cut_short(end) and (is_over or not place.is_last(job)):
        return ended(job, end, kept)
    if status.state == "COMPLETED":
        return JobUpdate(job, LOST, False, {})
    if status.state != PENDING:
        kept |= {"started_at": None, "elapsed_s": None}  # those are the job's
        if end in (None, GONE) and not is_over:
            return JobUpdate(job, PENDING, False, {**kept, "state": PENDING, "reason": IN_TURN})
    if isinstance(end, End) and is_over:
        kept |= words_of(end)
    return JobUpdate(job, status.state, is_over, kept)


def words_of(end: End) -> dict[str, Any]:
    """A job's own account of its end, which overrides Slurm's."""
    return {"exit_code": end.exit_code, "cause": end.cause, "reason": end.reason}


def is_cut_short(end: End) -> bool:
    """Whether Slurm ended an attempt: then Slurm's state is the job's."""
    return end.cause in (REQUEUED, STOPPED)


def by_its_end(job: TrackedJob, end: End | Missing | None, is_unsure: bool) -> JobUpdate | None:
    """Decided by the end that the job itself wrote; without one the job is LOST, or still running here."""
    if end is GONE and not is_unsure:
        return JobUpdate(job, LOST, job.cluster == LOCAL, {"reason": NO_FOLDER})
    if not isinstance(end, End) or end.cause == REQUEUED:
        return None if is_unsure or job.cluster == LOCAL else JobUpdate(job, LOST, False, {})
    return ended(job, end, job.status)


def ended(job: TrackedJob, end: End, before: Mapping[str, Any]) -> JobUpdate:
    """A job as it ended in its own words, which stand over what was known before."""
    state = slurm.state_from_exit(end.exit_code, end.signal, cancelled=job.cluster == LOCAL and end.cause == STOPPED)
    ending = {"state": state, "signal": end.signal, "ended_at": end.ended_at, **words_of(end)}
    if job.is_packed:  # what was known is of the job, not of this point
        ending |= {"started_at": end.began_at, "elapsed_s": seconds_between(end.began_at, end.ended_at)}
    return JobUpdate(job, state, slurm.is_final(state), {**before, **ending})


def as_kept(status: JobStatus) -> dict[str, Any]:
    """The status as the tracker keeps it."""
    return {**{name: getattr(status, name) for name in KEPT}, "nodes": list(status.nodes)}
