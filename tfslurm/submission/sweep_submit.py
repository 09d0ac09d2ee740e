"""A sweep is submitted: all of it is written down first, then sent as far as there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tfslurm.document.tree import printable
from tfslurm.errors import SubmitRejected, TfslurmError, complaint
from tfslurm.handoff.recovery import settle_all
from tfslurm.job_plan import JobPlan
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.sweep_states import has_ended, is_given_up
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.slurm.profile import SiteProfile
from tfslurm.spec import read_sweep
from tfslurm.submission.code_folder import TellOfCode, snapshot, tell_of_private, tell_of_sent
from tfslurm.submission.own_folders import own_places
from tfslurm.submission.pinning import Pinning, pin_on_first_use, report_move
from tfslurm.submission.preflight import tell_of_driver
from tfslurm.submission.prepare import Asked, prepare
from tfslurm.submission.scan_gate import guard
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import send_image
from tfslurm.submission.sweep_arrays import (
    Swept,
    array_size,
    entries_of,
    parts,
    placed,
    points_of,
    template_of,
)
from tfslurm.submission.sweep_batches import room_at, send_wave, size
from tfslurm.sweeps.points import sweep_of
from tfslurm.sweeps.spread import Room
from tfslurm.sweeps.summary import summary
from tfslurm.tracker import TrackedSweep, Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.site_cache import site_profile
from tfslurm.workspace.threads import at_once


def lines_of(told: Sequence[tuple[str, str]]) -> list[str]:
    """The lines of a summary."""
    return [f"{head:8} {printable(text)}" for head, text in told]


def submit_sweep(
    session: Session,
    asked: Asked,
    chosen: Sequence[Known],
    *,
    force: bool,
    again: bool,
    told: Callable[[str], None],
    shown: Callable[[TrackedSweep, Sequence[str]], None],
) -> TrackedSweep:
    """The sweep, its Slurm jobs sent as far as there is room; each is ``told`` as it is queued.

    ``shown`` is called with all of them at the end: what it has printed counts as seen. If an earlier call
    was interrupted, its sweep continues.

    Raises:
        TfslurmError: the same sweep is there and is not wanted ``again``; or not all could be sent, of which the
            rest goes when the command is given again.
    """
    read_secrets(asked.experiment.secrets)
    swept, tracker = swept_for(session, asked, chosen, tell_of_code=tell_of_sent), session.tracker
    for base in swept.bases:
        inside, drivers = tracker.image(base.plan.pin.digest), tracker.drivers(base.plan.cluster)
        tell_of_driver(session, base.plan, inside, drivers, force=force)
    guard(session, swept.bases)
    with tracker.claim(swept.asked_sha256, wait=True):
        sweep = left_open(swept, tracker)
        if sweep:
            session.say(f"an earlier submit was interrupted: continuing {sweep.sweep_id}")
        else:
            if not again:
                refuse_twice(session, swept)
            sweep = planned(session, asked, swept, chosen)
        for base, known in zip(swept.bases, chosen, strict=True):
            send_image(base, session.reach(known))
        jobs: list[str] = []
        troubles = send_all(session, sweep, swept, chosen, jobs.append, told)
        shown(sweep, jobs)
        if troubles:
            tell_of_rest(session, sweep, troubles)
            raise troubles[0]
        tracker.sweeps.tell(sweep.sweep_id)
    report_move(session, asked, swept.bases[0].plan.pin, chosen)
    return sweep


def swept_for(
    session: Session,
    asked: Asked,
    chosen: Sequence[Known],
    pinning: Pinning = pin_on_first_use,
    *,
    tell_of_code: TellOfCode = tell_of_private,
) -> Swept:
    """The sweep as it is asked for, with the image pinned (now, if it never was) and the code as it is now."""
    sweep = sweep_of(asked.experiment)
    pin = pinning(session, asked, chosen)
    entries = entries_of(asked.experiment, pin, sweep)
    points = points_of(entries, asked.experiment)
    own = own_places(session.tracker if session.has_tracker else None, chosen)
    code = snapshot(asked)
    tell_of_code(session.say, code)
    bases = tuple(
        prepare(asked, pin, each.cluster, each.text, each.user, now(), points, code=code, own=own) for each in chosen
    )
    return Swept(sweep, entries, bases, asked.experiment.sweep or {}, template_of(asked))


def left_open(swept: Swept, tracker: Tracker) -> TrackedSweep | None:
    """The same sweep whose jobs nobody has seen all of: an earlier call was cut off."""
    return next((sweep for sweep in tracker.sweeps.same(swept.asked_sha256) if not sweep.told), None)


def refuse_twice(session: Session, swept: Swept) -> None:
    """Refuse the sweep if a point of the same sweep waits, is queued or runs.

    Raises:
        TfslurmError: which sweep it is.
    """
    tracker, checkpoint = session.tracker, swept.bases[0].plan.checkpoint
    requeues = bool(checkpoint and checkpoint.requeue)
    for sweep in tracker.sweeps.same(swept.asked_sha256):
        jobs = [job for job in tracker.sweeps.jobs(sweep.sweep_id) if not job.final]
        if jobs:
            refresh_all(session, clusters_to_ask(tracker, jobs))
        points = tracker.sweeps.points(sweep.sweep_id)
        jobs = [point.job for point in points if point.job and not has_ended(point)]
        live = sum(not is_given_up(job, requeues=requeues) for job in jobs)
        live += sum(size(each.plan) for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id))
        if live:
            told = f"{sweep.sweep_id}: {live} of its {len(points)} points have not ended"
            fix = f"`tfslurm wait {sweep.sweep_id}` waits for it, --again submits it once more"
            raise TfslurmError(f"{swept.name}: the same sweep is there already: {told}; {fix}")


def tell_of_rest(session: Session, sweep: TrackedSweep, troubles: Sequence[TfslurmError]) -> None:
    """Say what became of a sweep that could not be sent whole; one that was refused altogether is forgotten."""
    tracker = session.tracker
    if all(isinstance(trouble, SubmitRejected) for trouble in troubles) and tracker.sweeps.forget(sweep.sweep_id):
        return
    points = tracker.sweeps.points(sweep.sweep_id)
    sent = sum(point.job is not None for point in points)
    what = f"{sent} of {len(points)} points are queued"
    session.say(
        f"{sweep.sweep_id}: {what}; the same command continues it, `tfslurm cancel {sweep.sweep_id}` gives it up"
    )


def planned(session: Session, asked: Asked, swept: Swept, chosen: Sequence[Known]) -> TrackedSweep:
    """The new sweep, its whole intent written down and shown; nothing has left yet."""
    idle = read_sweep(swept.given).spread == "idle" and len(chosen) > 1
    asked_there = at_once(
        [partial(ask_site, session, known, base.plan, idle) for known, base in zip(chosen, swept.bases, strict=True)]
    )
    names = [known.cluster.name for known in chosen]
    sites = {name: site() for name, site in zip(names, asked_there, strict=True)}
    sizes = {base.plan.cluster: array_size(base.plan, sites[base.plan.cluster][0]) for base in swept.bases}
    rooms = {name: room for name, (_, room) in sites.items() if room}
    if idle and len(rooms) < len(names):
        session.say(
            f"note: tfslurm does not know when jobs begin on {', '.join(name for name in names if name not in rooms)}"
        )
    places = placed(swept.sweep, names, asked.experiment.sweep or {}, rooms, asked.experiment.resources.time_s)
    moment = now()
    sweep = swept.tracked(moment)
    arrays = parts(swept, places, sizes, sweep.sweep_id, moment, session.tracker.chain_head)
    session.say(*lines_of([("id", sweep.sweep_id), *summary(swept.name, swept.sweep, places, names), *told_of(arrays)]))
    session.tracker.sweeps.add(sweep, arrays)
    return sweep


def told_of(arrays: Sequence[tuple[JobPlan, str, object]]) -> list[tuple[str, str]]:
    """The lines that say what will be sent, job by job."""
    lines = []
    for plan, _, _ in arrays:
        if points := plan.points:
            each = f", {points.points_per_job} points each" if points.points_per_job > 1 else ""
            lines.append(("job", f"{plan.cluster}: --array={points.option}{each}"))
    return lines


def ask_site(session: Session, known: Known, plan: JobPlan, idle: bool) -> tuple[SiteProfile, Room | None]:
    """The limits of a site, as kept or as it says now; and if that is wanted how soon it would run such jobs.

    Raises:
        HostError: it does not answer.
    """
    host = session.reach(known)
    return site_profile(known, host), room_at(plan, host) if idle else None


def queued_of(sweep: TrackedSweep, tracker: Tracker) -> list[tuple[JobPlan, str]]:
    """The plans of a sweep that are in a queue, or were, each with its job's id."""
    ids = {job.plan_id: job.job_id.partition("_")[0] for job in tracker.sweeps.jobs(sweep.sweep_id)}
    plans = [each.plan for each in tracker.sweeps.plans(sweep.sweep_id)]
    return [(plan, ids[plan.plan_id]) for plan in plans if plan.plan_id in ids]


def send_all(
    session: Session, sweep: TrackedSweep, swept: Swept, chosen: Sequence[Known], *told: Callable[[str], None]
) -> list[TfslurmError]:
    """Tell the jobs that are queued and submit the waiting points, by cluster; one that fails stops no other."""
    tracker = session.tracker
    troubles: list[TfslurmError] = []

    def tell(job: str) -> None:
        for one in told:
            one(job)

    for plan, job in queued_of(sweep, tracker):
        tell(f"{plan.cluster}:{job}")
    for known, base in zip(chosen, swept.bases, strict=True):
        try:
            host = session.reach(known)
            before = {job for _, job in queued_of(sweep, tracker)}
            settle_all(known, tracker, host)
            for plan, job in queued_of(sweep, tracker):
                if job not in before:
                    tell(f"{plan.cluster}:{job}")
            wave = send_wave(sweep, known, tracker, host, code=base.code, secrets=read_secrets, told=tell)
            if wave.left:
                session.say(f"{known.cluster.name}: {wave.left} points wait for room in your queue (MaxSubmitJobs)")
        except TfslurmError as error:
            troubles.append(error)
            if known is not chosen[-1]:
                session.say(*complaint(error))
    return troubles


def as_value(sweep: TrackedSweep, jobs: Sequence[str], tracker: Tracker) -> dict[str, Any]:
    """The submitted jobs, for --json."""
    points = tracker.sweeps.points(sweep.sweep_id)
    return {
        "sweep": sweep.sweep_id,
        "jobs": [{"job": job} for job in jobs],
        "points": len(points),
        "waiting": sum(point.job is None for point in points),
    }
