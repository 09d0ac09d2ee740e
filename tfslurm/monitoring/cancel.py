"""Cancel jobs on their cluster, and write down the end of those that will never begin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from tfslurm import slurm
from tfslurm.errors import Completed, HostError, TfslurmError, last_words, refuse
from tfslurm.host import Host
from tfslurm.monitoring.choose import Filters, chosen
from tfslurm.monitoring.exit_files import ExitRequest, read_ends
from tfslurm.monitoring.lookup import find_job, find_sweep, stable_names
from tfslurm.monitoring.poll import PENDING, queued
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.sweep_states import CANCELLED as MARK
from tfslurm.monitoring.wait import clusters_to_ask, sent_of
from tfslurm.run_folder.ending import End
from tfslurm.slurm import JobStatus
from tfslurm.slurm.values import lines_of
from tfslurm.tracker import JobUpdate, TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_of
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

CANCELLED = "CANCELLED"
ENDED = "already finished"  # in scontrol's words: Job/step already completing or completed, or already finished
MOST_IDS = 1000  # in one command


def cancel_named(
    session: Session, given: Sequence[str], *, waiting_only: bool = False
) -> tuple[list[TrackedJob], dict[str, str]]:
    """Cancel jobs, and the waiting points of sweeps, by the names that a user gives them.

    The jobs as they are known then, and cluster -> one line for those that do not answer. ``waiting_only``: of the jobs
    those that have not begun.

    Raises:
        InputError: there is no such job, or it can be cancelled only with others.
        TfslurmError: it is one of this machine, and nothing of it was found here.
    """
    tracker = session.tracker
    names = [name for text in given for name in stable_names(tracker, text)]
    swept = [name for name in names if tracker.sweeps.named(name)]
    if swept:
        refresh_all(session, clusters_to_ask(tracker, ()))  # what was cut off has jobs, or waits
    dropped = sum(drop_waiting(tracker, name) for name in swept)
    if dropped:
        session.say(f"{dropped} points that were waiting will not be sent")
    found = [job for name in names for job in sent_of(tracker, name)]
    found = found if len(found) == 1 else [job for job in found if not job.final]
    refuse_parts(found, tracker)
    if not (found or dropped):
        session.say("nothing to cancel: all of them have ended")
    if waiting_only:
        found = [job for job in found if job.cluster != LOCAL]  # where nothing waits
    gone: set[str] = set()
    before = partial(cancel_waiting if waiting_only else cancel, found, gone)
    there = [job for job in found if job.cluster != LOCAL]
    silent = refresh_all(session, clusters_of(there, tracker), there, before)
    keep_cancelled([job for job in found if job.key in gone], tracker)
    silent |= cancel_here(session, [job for job in found if job.cluster == LOCAL])
    after = [find_job(tracker, job.key) for job in found if job.cluster not in silent]
    if not waiting_only:
        mark_cancelled([job for job in after if not job.final and job.cluster != LOCAL], tracker)
    for job in after:
        if job.cluster == LOCAL and not job.final:
            raise TfslurmError(f"{job.key}: nothing of it runs on this machine; end it where it was started")
    return after, silent


def to_cancel(session: Session, given: Sequence[str], filters: Filters, *, everything: bool) -> list[str]:
    """The sweeps and jobs that words, filters or --all stand for, and that have not ended.

    With filters for states a sweep's jobs are named one by one, and clusters are asked for the states first: jobs of
    one that does not answer are left out.

    Raises:
        InputError: a name is none, or nothing says which jobs are meant.
    """
    tracker = session.tracker
    if not (given or everything or any(filters)):
        fix = "name jobs or sweeps, or choose them: --all, --name, --since, --state, --sweep"
        raise refuse("cancel", "no job is named", fix)
    names = [name for text in given for name in stable_names(tracker, text)]
    if names and not any(filters):
        return names
    silent: dict[str, str] = {}
    silent |= refresh_all(session, clusters_to_ask(tracker, None, silent))
    for line in silent.values():
        session.say(f"error: {line}; its jobs are not cancelled")
    jobs = chosen(tracker, names, filters, unfinished=True)
    jobs = [job for job in jobs if job.cluster not in silent]
    if filters.states:
        return [job.key for job in jobs]
    owners = tracker.sweeps.owners({job.plan_id for job in jobs})
    unsent = [] if names or filters.sweep else tracker.sweeps.waiting()
    more = [each.sweep_id for each in unsent if filters.fit_name(each.plan.name, each.plan.planned_at)]
    return list(dict.fromkeys([*(owners.get(job.plan_id, job.key) for job in jobs), *more]))


def mark_cancelled(jobs: Sequence[TrackedJob], tracker: Tracker) -> None:
    """Write down of jobs that have not ended that they were cancelled: Slurm may need a while to end them."""
    tracker.update_jobs([JobUpdate(job, job.state, False, {**job.status, MARK: True}) for job in jobs])


def drop_waiting(tracker: Tracker, name: str) -> int:
    """Drop the points of a sweep that wait to be sent; return how many these are."""
    sweep = find_sweep(tracker, name)
    with tracker.claim(sweep.sweep_id, wait=True):  # whoever is sending it has come to an end
        waiting = tracker.sweeps.waiting(sweep_id=sweep.sweep_id)
        tracker.sweeps.drop(sweep.sweep_id)
        tracker.sweeps.tell(sweep.sweep_id)
    return sum(each.plan.points.count for each in waiting if each.plan.points)


def refuse_parts(jobs: Sequence[TrackedJob], tracker: Tracker) -> None:
    """Refuse to cancel a part of a Slurm job: it can only be cancelled as a whole.

    Raises:
        InputError: one does.
    """
    named = {job.key for job in jobs}
    shared = {(job.cluster, job.slurm_id, job.plan_id): job for job in jobs if job.is_packed}
    for other in tracker.jobs(unfinished=True) if shared else ():
        job = shared.get((other.cluster, other.slurm_id, other.plan_id))
        if job and other.key not in named:
            whole = f"{job.cluster}:{job.slurm_id}"
            why = f"shares Slurm's job {whole} with other points, such as {other.key}"
            raise refuse(f"job {job.key}", why, f"`tfslurm cancel {whole}` ends them all")


def cancel(jobs: Sequence[TrackedJob], gone: set[str], known: Known, host: Host) -> None:
    """Cancel those of the jobs that are on a cluster; the keys of tasks that will never begin go into ``gone``.

    Slurm gets the ids of jobs that it knows by the names of these: an id may be another job's by now, or have
    been read from a run folder. It forgets a task of an array that was cancelled before it began, and accounting is
    behind, or there is none. So tfslurm lists the waiting tasks before and after.

    Raises:
        HostError: the cluster or its scheduler does not answer, or refuses.
    """
    here = [job for job in jobs if job.cluster == known.cluster.name]
    listed = queued(known.cluster.name, host)
    are_tasks = any(job.place is not None for job in here)
    waits = waiting(here, listed) if are_tasks else ()
    in_pieces(known_ids(here, listed), known, host, slurm.cancel_argv)
    gone.update(never_began(here, waits, known, host))


def cancel_here(session: Session, jobs: Sequence[TrackedJob]) -> dict[str, str]:
    """End jobs of this machine, whether the command that started one lives or not; why not, as of a silent cluster.

    One that was killed before it wrote its end is noted as cancelled before anybody looks and calls it failed.
    """
    from tfslurm.handoff.local_process import end_job, end_killed

    places, clusters = session.tracker.places(LOCAL), clusters_of(jobs, session.tracker)
    try:
        for job in (each for each in jobs if each.plan_id in places):
            place = places[job.plan_id]
            if end_job(place.run_dir, job.job_id):
                host = session.reach(clusters[0])
                (end,) = read_ends(host, [ExitRequest(place.run_dir, job.job_id, forget=True)])
                if not isinstance(end, End):
                    end_killed(job, place, host)
                    keep_cancelled([job], session.tracker)
    except HostError as error:
        return {LOCAL: str(error)}
    return refresh_all(session, clusters, jobs)


def cancel_waiting(jobs: Sequence[TrackedJob], gone: set[str], known: Known, host: Host) -> None:
    """The same for those of the jobs alone that wait. They are held first, so that none begins in between.

    Raises:
        HostError: as cancel.
    """
    ids = known_ids(jobs, queued(known.cluster.name, host))
    in_pieces(ids, known, host, slurm.hold_argv)
    listed = queued(known.cluster.name, host)
    waits = [each for each in waiting(jobs, listed) if each in ids]
    in_pieces(waits, known, host, slurm.cancel_argv)
    others = [each for each in ids if each in listed and each not in waits and not slurm.is_final(listed[each].state)]
    in_pieces(others, known, host, partial(slurm.hold_argv, release=True))
    gone.update(never_began(jobs, waits, known, host))


def known_ids(jobs: Sequence[TrackedJob], listed: dict[str, JobStatus]) -> list[str]:
    """Slurm's ids of those that it knows by their names, each once."""
    names = {job.slurm_id: job.job_name for job in jobs}
    return [each for each, name in names.items() if each in listed and listed[each].name == name]


def waiting(jobs: Sequence[TrackedJob], listed: dict[str, JobStatus]) -> list[str]:
    """Slurm's ids of those that wait. Ids are given out again, names with their plan's id are not."""
    names = {job.slurm_id: job.job_name for job in jobs}
    found = ((each, listed[each], name) for each, name in names.items() if each in listed)
    return [each for each, status, name in found if (status.state, status.name) == (PENDING, name)]


def never_began(jobs: Sequence[TrackedJob], waits: Collection[str], known: Known, host: Host) -> list[str]:
    """The keys of the jobs that waited, were cancelled since, and did not have a node in between."""
    if not waits:
        return []
    listed = queued(known.cluster.name, host)
    states = {each: (listed[each].state, listed[each].nodes) for each in waits if each in listed}
    over = {each for each in waits if states.get(each, (CANCELLED, ())) == (CANCELLED, ())}
    return [job.key for job in jobs if job.slurm_id in over]


def keep_cancelled(jobs: Sequence[TrackedJob], tracker: Tracker) -> None:
    """Write down as cancelled the jobs that will never begin, whatever accounting says of them, and when."""
    tracker.update_jobs([JobUpdate(job, CANCELLED, True, {**job.status, "state": CANCELLED}) for job in jobs])


def in_pieces(ids: Sequence[str], known: Known, host: Host, argv: Callable[[Sequence[str]], tuple[str, ...]]) -> None:
    """One command for each piece of the ids, as a command's words are limited; one that fails keeps no other back.

    Raises:
        HostError: one did not end well, and the cause was not that jobs had ended.
    """
    refused: list[Completed] = []
    for start in range(0, len(ids), MOST_IDS):
        answer = host.run(argv(ids[start : start + MOST_IDS]))
        complaints = [line for line in lines_of(answer.stderr) if ENDED not in line and line.strip()]
        if answer.exit_code != 0 and (ENDED not in answer.stderr or any("error" in line for line in complaints)):
            refused.append(answer._replace(stderr="\n".join(complaints)))
    if refused:
        raise HostError(f"{known.cluster.name}: {last_words(refused[0])}", transient=True)
