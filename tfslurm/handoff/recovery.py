"""Recovery of a submission that never got its id: the run folder is asked, then the scheduler, by its token."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tfslurm import slurm
from tfslurm.errors import Completed, HostError, last_words
from tfslurm.handoff.protocol import look_back
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan, identify
from tfslurm.remote_programs import program
from tfslurm.slurm import JobStatus
from tfslurm.tracker import TrackedPlan, Tracker
from tfslurm.workspace.clock import earlier, now
from tfslurm.workspace.clusters_of_jobs import speaks_for
from tfslurm.workspace.config import Known

ON_THE_WAY_S = 1.0


def settle_all(known: Known, tracker: Tracker, host: Host) -> None:
    """Settle every open plan of a cluster."""
    if not tracker.plans(stage="planned"):
        return
    with claim_open(known, tracker) as open_plans:
        for left in open_plans:
            close(left, settle(left, host, taken(known.cluster.name, tracker)), tracker)


@contextmanager
def claim_open(known: Known, tracker: Tracker) -> Iterator[list[TrackedPlan]]:
    """The open plans of a cluster, nobody else's until the block ends; not those of another one of its name.

    Leaves out a plan that another process is submitting or settling now.
    """
    with ExitStack() as claims:
        there = [left for left in tracker.plans(stage="planned") if left.plan.cluster == known.cluster.name]
        ids = [left.plan.plan_id for left in there if speaks_for(known, left.cluster_text)]
        mine = [plan_id for plan_id in ids if claims.enter_context(tracker.claim(plan_id))]
        yield [left for plan_id in mine for left in tracker.plans(stage="planned", plan_id=plan_id)]


def taken(cluster: str, tracker: Tracker) -> frozenset[str]:
    """Slurm's ids of the jobs on a cluster that have not ended: no new job has one of these.

    A site whose Slurm began anew gives ids out again: then the queue names the job that has it.
    """
    return frozenset(job.slurm_id.partition("_")[0] for job in tracker.jobs(cluster=cluster, unfinished=True))


def settle(left: TrackedPlan, host: Host, others: Collection[str] = ()) -> str | None:
    """The fate of a plan that never got its id: the id if the scheduler has the job, else None; nothing is kept.

    ``others`` are the ids of other jobs: that the run folder names one of these is a doubt.

    Raises:
        HostError: the scheduler does not answer, or knows several such jobs, or the run folder, in which a job that
            appears after all would run, could not be removed; the plan stays open.
    """
    seen = look_back(host, left.plan)
    job_id = seen.job_id if seen.job_id not in others else None
    job_id = job_id or (None if seen.is_nothing else find_twice(left.plan, host))
    if not job_id and not seen.is_nothing and (why := give_up(left.plan, host)):
        raise HostError(f"{left.plan.cluster}: {why}, and run the same command again", transient=True)
    return job_id


def close(left: TrackedPlan, job_id: str | None, tracker: Tracker) -> None:
    """Keep what became of it."""
    if job_id:
        tracker.submit(left.plan, job_id)
    else:
        came_to_nothing(left.plan, left.cluster_text, "never reached the scheduler", tracker)


def came_to_nothing(plan: JobPlan, cluster_text: str, why: str, tracker: Tracker) -> None:
    """Note that no job was queued; the points of a sweep then wait to be sent as another plan."""
    if plan.points:
        again = identify(replace(plan, planned_at=now()))
        tracker.sweeps.wait_again(plan.plan_id, why, again, cluster_text)
    else:
        tracker.refuse(plan.plan_id, why)


def find_twice(plan: JobPlan, host: Host) -> str | None:
    """As find_by_token; asked again a little later, as what a killed sbatch said may still be on its way."""
    found = find_by_token(plan, host)
    if not found:
        time.sleep(ON_THE_WAY_S)
        found = find_by_token(plan, host)
    return found


def find_by_token(plan: JobPlan, host: Host) -> str | None:
    """The id of the job that carries the plan's token, or None where the scheduler knows none.

    Raises:
        HostError: the scheduler does not answer, or knows several.
    """
    answer = host.run(slurm.queue_argv(), max_bytes=slurm.MOST_BYTES)
    if answer.exit_code != 0:
        raise unreachable(plan, answer)
    listed = slurm.parse_queue(answer.stdout)
    if job_id := the_one(plan, [each for each in listed if plan.comment == each.comment or plan.job_name == each.name]):
        return job_id
    answer = host.run(
        slurm.sacct_argv(names=[plan.job_name], since=earlier(plan.planned_at)), max_bytes=slurm.MOST_BYTES
    )
    if answer.exit_code != 0:
        return None
    return the_one(plan, [each for each in slurm.parse_sacct(answer.stdout) if plan.job_name == each.name])


def the_one(plan: JobPlan, found: Sequence[JobStatus]) -> str | None:
    """The id of the one job, or array, that all of these are; None where there are none.

    Raises:
        HostError: they are several jobs.
    """
    ids = sorted({each.array_job_id or each.job_id.partition("+")[0] for each in found}, key=int)
    if len(ids) > 1:
        shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
        why = f"{len(ids)} jobs have the name {plan.job_name}: {shown}; only one of them is tfslurm's"
        fix = f"look at them (scontrol show job {ids[0]}), cancel the others (scancel), then run the same command again"
        raise HostError(f"{plan.cluster}: {why}; {fix}")
    return ids[0] if ids else None


def unreachable(plan: JobPlan, completed: Completed) -> HostError:
    """The scheduler does not answer: what is known, and what to do."""
    return HostError(
        f"{plan.cluster}: sbatch: {last_words(completed)}; the plan {plan.plan_id} is kept: "
        "run the same command again, it first asks whether the job was queued",
        transient=True,
    )


def in_doubt(plan: JobPlan, completed: Completed, job_id: str | None) -> HostError:
    """The error where sbatch's answer names no job for certain and the queue shows none.

    ``job_id`` is the id that it did name, which another job has.
    """
    why = f"which job {plan.cluster}:{job_id} has, that has not ended" if job_id else "which names no job for certain"
    printed = f"printed {completed.stdout[:200]!r}, {why}"
    said = f"was killed (exit {completed.exit_code})" if completed.exit_code else printed
    fix = "run the same command again, it first asks whether the job was queued"
    return HostError(
        f"{plan.cluster}: sbatch {said}, and the queue does not show {plan.job_name}; "
        f"the plan {plan.plan_id} is kept: {fix}",
        transient=True,
    )


def give_up(plan: JobPlan, host: Host) -> str:
    """Remove the run folder: nothing was queued, and it may hold secrets. '' if it is gone, else why it is not.

    Raises:
        HostError: the machine cannot be reached.
    """
    done = host.run(program("remove-run", str(plan.run_dir.parent), plan.run_dir.name))
    if done.exit_code == 0:
        return ""
    held = f", with the values of {', '.join(plan.secrets)}" if plan.secrets else ""
    return f"{plan.run_dir} could not be removed and stays{held}: {last_words(done)}; remove it there"
