"""What became of jobs: one queue query for all of a cluster, then accounting, then the job's own end file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any

from tfslurm import slurm
from tfslurm.errors import HostError, RecordError, refuse
from tfslurm.host import Host, get, read_from
from tfslurm.plan import JobPlan
from tfslurm.record import Record, build_record, record_from_json, record_json
from tfslurm.slurm import JobStatus
from tfslurm.submit.drivers import remember
from tfslurm.submit.places import LOCAL
from tfslurm.submit.send import settle_all
from tfslurm.tracker import TrackedJob, Tracker

JOB = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9._-]*):)?(?P<id>[0-9]+(?:_[0-9]+)?)")
BULKY = ("out", "attempt-*/*.log", "attempt-*/home", "attempt-*/workspace", "attempt-*/outputs.*")
LOST = "LOST"
REQUEUED = "requeued after "  # how node.sh says that an attempt's end is not the job's


def find_job(tracker: Tracker, text: str) -> TrackedJob:
    """The job that a user names: ``1234``, ``1234_7`` or ``alpha:1234_7``; the latest where an id was used again.

    Raises:
        InputError: not a job's name, not one of this tracker's jobs, or an id that two clusters have.
    """
    match = JOB.fullmatch(text)
    if not match:
        raise refuse(f"job {text!r}", "is not a job", "write 1234, 1234_7 or alpha:1234_7")
    found = {job.cluster: job for job in tracker.jobs(cluster=match["cluster"], job_id=match["id"])}
    if not found:
        fix = "`tfslurm status --all` lists those that are; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"job {text!r}", "is not in the tracker", fix)
    if len(found) > 1:
        keys = ", ".join(job.key for job in found.values())
        raise refuse(f"job {text!r}", f"exists on several clusters: {keys}", "name the cluster too")
    return next(iter(found.values()))


def refresh(cluster: str, user: str, tracker: Tracker, host: Host, jobs: Sequence[TrackedJob] | None = None) -> None:
    """Bring the tracker up to date for the unfinished jobs of one cluster (or just for ``jobs``).

    Raises:
        HostError: the cluster or its scheduler does not answer; the tracker is as it was.
    """
    settle_all(cluster, tracker, host)
    left = [job for job in (tracker.jobs(cluster=cluster, unfinished=True) if jobs is None else jobs) if not job.final]
    known = told_by_slurm(cluster, user, host, left) if left and cluster != LOCAL else {}
    for job in left:
        status = known.get(job.job_id)
        if status and slurm.is_final(status.state) and status.state != "COMPLETED":
            forget_secrets(job, tracker, host)
        if status is None:
            see_end_file(job, tracker, host)
            continue
        if status.state == "COMPLETED":
            status = replace(status, exit_code=0)  # what the state means, and squeue prints none; source: squeue(1)
        elif status.started_at and slurm.is_final(status.state):
            status = with_own_end(job, status, tracker, host)
        tracker.see(job, status.state, slurm.is_final(status.state), asdict(status))


def forget_secrets(job: TrackedJob, tracker: Tracker, host: Host) -> None:
    """Remove the secrets of a job that will not start again; one that ended by itself removed them already."""
    plan = plan_of(job, tracker)
    if plan.secrets:
        host.run(["rm", "-rf", "--", str(plan.run_dir / "secrets")])


def told_by_slurm(cluster: str, user: str, host: Host, jobs: Sequence[TrackedJob]) -> dict[str, JobStatus]:
    """What the controller, and for those that left its queue or failed accounting, say of these very jobs, by id."""
    listed = queued(cluster, user, host)
    known = {job.job_id: listed[job.job_id] for job in jobs if is_same(job, listed.get(job.job_id))}
    unsure = [job for job in jobs if job.job_id not in known or is_half_told(known[job.job_id])]
    kept = accounted(host, unsure) if unsure else {}
    for job in unsure:
        status = kept.get(job.job_id)
        # accounting is behind the controller: it may say RUNNING of a job that has ended, or not know its name yet
        if status and is_same(job, status) and (job.job_id not in known or slurm.is_final(status.state)):
            known[job.job_id] = status
    return known


def is_same(job: TrackedJob, status: JobStatus | None) -> bool:
    """Whether a status is of this very job: ids are given out again, names with their plan's id are not."""
    return status is not None and status.name == job.job_name


def is_half_told(status: JobStatus) -> bool:
    """Whether the job failed and it is not said how: squeue prints no exit codes."""
    return status.state == "FAILED" and status.exit_code is None and status.signal is None


def with_own_end(job: TrackedJob, status: JobStatus, tracker: Tracker, host: Host) -> JobStatus:
    """The status with the exit code that the job itself wrote down, and its reason, where it got to that.

    sacct shows an exit code above 128 as a signal, and none at all for a job that was cancelled.
    """
    end = own_end(job, tracker, host)
    if not end:
        return status
    return replace(status, exit_code=int(end.get("exit_code") or 0), reason=str(end.get("reason") or ""))


def queued(cluster: str, user: str, host: Host) -> dict[str, JobStatus]:
    """Every job of the user that the controller still knows, by id."""
    answer = host.run(slurm.queue_argv(user))
    if answer.exit_code != 0:
        said = (answer.stderr.strip() or f"exit {answer.exit_code}").splitlines()[-1]
        raise HostError(f"{cluster}: squeue: {said}", transient=True)
    return {status.job_id: status for status in slurm.parse_queue(answer.stdout)}


def accounted(host: Host, jobs: Sequence[TrackedJob]) -> dict[str, JobStatus]:
    """What accounting says of jobs that left the queue, the last attempt of each; nothing where there is none."""
    since = min(job.submitted_at for job in jobs)
    answer = host.run(slurm.sacct_argv(job_ids=[job.job_id for job in jobs], since=since))
    if answer.exit_code != 0:
        return {}
    return {status.job_id: status for status in slurm.parse_sacct(answer.stdout)}


def see_end_file(job: TrackedJob, tracker: Tracker, host: Host) -> None:
    """Decide by the end that the job itself wrote; without one the job is LOST, or still running here."""
    end = own_end(job, tracker, host)
    if end is None or str(end.get("reason")).startswith(REQUEUED):
        if job.cluster != LOCAL:
            tracker.see(job, LOST, False, {})
        return
    code, signal = int(end.get("exit_code") or 0), end.get("signal")
    state = slurm.state_from_exit(code, signal)
    ending = {"state": state, "exit_code": code, "signal": signal, "ended_at": end.get("ended_at")}
    ending["reason"] = str(end.get("reason") or "")
    tracker.see(job, state, slurm.is_final(state), {**dict(job.status), **ending})


def own_end(job: TrackedJob, tracker: Tracker, host: Host) -> Mapping[str, Any] | None:
    """The end that the job's last attempt wrote, or None while it runs."""
    folder = job_dir(plan_of(job, tracker), job.job_id)
    return last_end(get(host, folder, exclude=(*BULKY, "attempt-*/facts")))


def last_end(files: Mapping[str, bytes]) -> Mapping[str, Any] | None:
    """The end of the last attempt, or None while it runs."""
    attempts = sorted({int(m[1]) for name in files if (m := re.match(r"attempt-([0-9]+)/", name))})
    if not attempts:
        return None
    text = files.get(f"attempt-{attempts[-1]}/exit.json", b"")
    try:
        end = json.loads(text)
    except ValueError:
        return None
    return end if isinstance(end, dict) else None


def job_dir(plan: JobPlan, job_id: str) -> PurePosixPath:
    """The folder of one job of a plan, on the cluster."""
    return plan.run_dir / job_id


def plan_of(job: TrackedJob, tracker: Tracker) -> JobPlan:
    """The plan that a job was submitted from.

    Raises:
        RecordError: the tracker lost it.
    """
    found = tracker.plans(plan_id=job.plan_id)
    if not found:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    return found[0].plan


def read_record(job: TrackedJob, tracker: Tracker, host: Host) -> Record:
    """The record as the run folder and the scheduler tell it now; kept in the tracker too.

    Where the run folder is gone, the record that was kept is given.

    Raises:
        RecordError: the job has not started, or nothing of it is left anywhere.
    """
    plan = plan_of(job, tracker)
    folder = job_dir(plan, job.job_id)
    files = get(host, folder, exclude=("out", "attempt-*/*.log", "attempt-*/home", "attempt-*/workspace"))
    if not files:
        if job.record:
            return kept_record(job)
        if job.final:
            raise RecordError(
                f"{job.key}: {job.state}: it left nothing in {folder}; `tfslurm logs {job.key}` may say why"
            )
        raise RecordError(f"{job.key}: has not started yet ({job.state}); its record begins when it does")
    digest = plan.pin.digest.removeprefix("sha256:")
    facts = read_from(host, plan.images_dir / f"{digest}.json", 0, 4 * 2**20) or None
    record = build_record(plan, job.job_id, files, status_of(job), image_facts=facts)
    kept = record_json(record)
    tracker.keep(job, kept)
    remember(job, kept, tracker)
    return record


def kept_record(job: TrackedJob) -> Record:
    """The record as it was last read.

    Raises:
        RecordError: it was never read, or the tracker's copy is not one.
    """
    try:
        return record_from_json(job.record or {})
    except ValueError as error:
        raise RecordError(f"{job.key}: the tracker has no record of it that can be read: {error}") from error


def status_of(job: TrackedJob) -> JobStatus | None:
    """What the scheduler last said of a job, or None where it never did."""
    if "job_id" not in job.status:
        return None
    return JobStatus(**{**job.status, "nodes": tuple(job.status["nodes"])})
