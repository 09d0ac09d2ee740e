"""`tfslurm plan` and `tfslurm submit` of an experiment with a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tfslurm.cli.console import complain, emit, say, show, tracer
from tfslurm.cli.pin import pin_on_first_use, report_move
from tfslurm.cli.review import reached, tell_of_private
from tfslurm.cli.sweeps import has_ended
from tfslurm.document.tree import printable
from tfslurm.errors import SubmitRejected, TfslurmError
from tfslurm.handoff.recovery import settle_all
from tfslurm.host import Host
from tfslurm.plan import JobPlan
from tfslurm.slurm.profile import SiteProfile
from tfslurm.spec import fill, read_sweep
from tfslurm.submission.prepare import Asked, prepare
from tfslurm.submission.submit import read_secrets
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
from tfslurm.sweep.points import sweep_of
from tfslurm.sweep.spread import Room
from tfslurm.sweep.summary import summary, to_json
from tfslurm.tracker import TrackedSweep, Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known
from tfslurm.workspace.connections import connections
from tfslurm.workspace.site_cache import site_profile
from tfslurm.workspace.threads import at_once


def show_sweep(asked: Asked, clusters: Sequence[str], as_json: bool) -> None:
    """Print the points and where they would go; no cluster is asked."""
    experiment = asked.experiment
    given: Mapping[str, Any] = experiment.sweep or {}
    sweep, said = sweep_of(experiment), read_sweep(given)
    fill(experiment, sweep.points[0].parameters)
    reach = reached(asked)
    places = None
    if said.spread != "idle" or len(clusters) == 1:
        places = placed(sweep, clusters, given, {}, experiment.resources.time_s)
    if as_json:
        emit(to_json(experiment.name, sweep, places))
    else:
        packed = said.points_per_job
        more = [("job", f"up to {packed} points one after another in each")] if packed > 1 else []
        show("\n".join(lines_of([*summary(experiment.name, sweep, places, clusters), *reach, *more])))


def lines_of(told: Sequence[tuple[str, str]]) -> list[str]:
    """The lines of a summary."""
    return [f"{head:8} {printable(text)}" for head, text in told]


def submit_sweep(
    asked: Asked, chosen: Sequence[Known], tracker: Tracker, *, force: bool, again: bool, as_json: bool, verbose: int
) -> TrackedSweep:
    """The sweep, its Slurm jobs sent as far as there is room; each is printed as it is queued.

    Where an earlier call was cut off, its sweep is gone on with.

    Raises:
        TfslurmError: the very same sweep is there and is not wanted ``again``; or not all could be sent, of which the
            rest goes when the command is given again.
    """
    from tfslurm.cli.submit import tell_of_driver

    read_secrets(asked.experiment.secrets)
    swept = swept_for(asked, chosen)
    for base in swept.bases:
        tell_of_driver(base, tracker, force=force)
    with tracker.claim(swept.asked_sha256, wait=True), connections(tracer(verbose)) as reach:
        sweep = left_open(swept, tracker)
        if sweep:
            say(f"an earlier submit was cut off: going on with {sweep.sweep_id}")
        else:
            if not again:
                refuse_twice(swept, tracker, verbose)
            sweep = planned(asked, swept, chosen, tracker, reach)
        jobs = [f"{plan.cluster}:{job_id}" for plan, job_id in queued_of(sweep, tracker)]
        print_all(jobs, as_json)
        troubles = send_all(sweep, swept, chosen, tracker, jobs, reach, as_json=as_json)
        if as_json:
            emit(as_value(sweep, jobs, tracker))
        sys.stdout.flush()
        if troubles:
            tell_of_rest(sweep, troubles, tracker)
            raise troubles[0]
        tracker.sweeps.tell(sweep.sweep_id)
    report_move(asked, swept.bases[0].plan.pin, chosen, tracker)
    return sweep


def swept_for(asked: Asked, chosen: Sequence[Known]) -> Swept:
    """The sweep as it is asked for, with the image pinned (now, if it never was)."""
    sweep = sweep_of(asked.experiment)
    pin = pin_on_first_use(asked, chosen)
    entries = entries_of(asked.experiment, pin, sweep)
    points = points_of(entries, asked.experiment)
    bases = tuple(prepare(asked, pin, known.cluster, known.text, known.user, now(), points) for known in chosen)
    tell_of_private(bases)
    return Swept(sweep, entries, bases, asked.experiment.sweep or {}, template_of(asked))


def left_open(swept: Swept, tracker: Tracker) -> TrackedSweep | None:
    """The same sweep whose jobs nobody has seen all of: an earlier call was cut off."""
    return next((sweep for sweep in tracker.sweeps.same(swept.asked_sha256) if not sweep.told), None)


def refuse_twice(swept: Swept, tracker: Tracker, verbose: int) -> None:
    """Nothing, where no point of the same sweep waits, is queued or runs.

    Raises:
        TfslurmError: which sweep it is.
    """
    from tfslurm.cli.status import clusters_to_ask, look

    for sweep in tracker.sweeps.same(swept.asked_sha256):
        jobs = [job for job in tracker.sweeps.jobs(sweep.sweep_id) if not job.final]
        if jobs:
            look(tracker, clusters_to_ask(tracker, jobs), verbose)
        points = tracker.sweeps.points(sweep.sweep_id)
        live = sum(point.job is not None and not has_ended(point) for point in points)
        live += sum(size(each.plan) for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id))
        if live:
            told = f"{sweep.sweep_id}: {live} of its {len(points)} points have not ended"
            raise TfslurmError(
                f"{swept.name}: the very same sweep is there already: {told}; --again submits it once more"
            )


def tell_of_rest(sweep: TrackedSweep, troubles: Sequence[TfslurmError], tracker: Tracker) -> None:
    """Say what became of a sweep that could not be sent whole; one that was refused altogether is forgotten."""
    if all(isinstance(trouble, SubmitRejected) for trouble in troubles) and tracker.sweeps.forget(sweep.sweep_id):
        return
    points = tracker.sweeps.points(sweep.sweep_id)
    sent = sum(point.job is not None for point in points)
    what = f"{sent} of {len(points)} points are queued"
    say(f"{sweep.sweep_id}: {what}; the same command goes on with it, `tfslurm cancel {sweep.sweep_id}` gives it up")


def planned(
    asked: Asked, swept: Swept, chosen: Sequence[Known], tracker: Tracker, reach: Callable[[Known], Host]
) -> TrackedSweep:
    """The new sweep, its whole intent written down and shown; nothing has left yet."""
    idle = read_sweep(swept.given).spread == "idle" and len(chosen) > 1
    asked_there = at_once(
        [partial(ask_site, known, base.plan, idle, reach) for known, base in zip(chosen, swept.bases, strict=True)]
    )
    names = [known.cluster.name for known in chosen]
    sites = {name: site() for name, site in zip(names, asked_there, strict=True)}
    sizes = {base.plan.cluster: array_size(base.plan, sites[base.plan.cluster][0]) for base in swept.bases}
    rooms = {name: room for name, (_, room) in sites.items() if room}
    if idle and len(rooms) < len(names):
        say(f"note: how soon jobs begin is not known of {', '.join(name for name in names if name not in rooms)}")
    places = placed(swept.sweep, names, asked.experiment.sweep or {}, rooms, asked.experiment.resources.time_s)
    moment = now()
    sweep = swept.tracked(moment)
    arrays = parts(swept, places, sizes, sweep.sweep_id, moment)
    say(*lines_of([("id", sweep.sweep_id), *summary(swept.name, swept.sweep, places, names), *told_of(arrays)]))
    tracker.sweeps.add(sweep, arrays)
    return sweep


def told_of(arrays: Sequence[tuple[JobPlan, str, object]]) -> list[tuple[str, str]]:
    """What will be sent, job by job."""
    lines = []
    for plan, _, _ in arrays:
        if points := plan.points:
            each = f", {points.points_per_job} points each" if points.points_per_job > 1 else ""
            lines.append(("job", f"{plan.cluster}: --array={points.option}{each}"))
    return lines


def ask_site(
    known: Known, plan: JobPlan, idle: bool, reach: Callable[[Known], Host]
) -> tuple[SiteProfile, Room | None]:
    """What a site allows, as kept or as it says now; and if that is wanted how soon it would run such jobs.

    Raises:
        HostError: it does not answer.
    """
    host = reach(known)
    return site_profile(known, host), room_at(plan, host) if idle else None


def queued_of(sweep: TrackedSweep, tracker: Tracker) -> list[tuple[JobPlan, str]]:
    """The plans of a sweep that are in a queue, or were, each with its job's id."""
    ids = {job.plan_id: job.job_id.partition("_")[0] for job in tracker.sweeps.jobs(sweep.sweep_id)}
    plans = [each.plan for each in tracker.sweeps.plans(sweep.sweep_id)]
    return [(plan, ids[plan.plan_id]) for plan in plans if plan.plan_id in ids]


def print_all(jobs: Sequence[str], as_json: bool) -> None:
    """One line for each."""
    for job in () if as_json else jobs:
        show(job)


def send_all(
    sweep: TrackedSweep,
    swept: Swept,
    chosen: Sequence[Known],
    tracker: Tracker,
    jobs: list[str],
    reach: Callable[[Known], Host],
    *,
    as_json: bool,
) -> list[TfslurmError]:
    """Send what waits, cluster by cluster; what goes wrong on one keeps no other from getting its points."""
    troubles: list[TfslurmError] = []

    def told(job: str) -> None:
        jobs.append(job)
        print_all([job], as_json)

    for known, base in zip(chosen, swept.bases, strict=True):
        try:
            host = reach(known)
            before = {job for _, job in queued_of(sweep, tracker)}
            settle_all(known, tracker, host)
            found = [f"{plan.cluster}:{job}" for plan, job in queued_of(sweep, tracker) if job not in before]
            print_all(found, as_json)
            jobs += found
            wave = send_wave(sweep, known, tracker, host, code=base.code, secrets=read_secrets, told=told)
            if wave.left:
                say(f"{known.cluster.name}: {wave.left} points wait for room in your queue (MaxSubmitJobs)")
        except TfslurmError as error:
            troubles.append(error)
            if known is not chosen[-1]:
                complain(error)
    return troubles


def as_value(sweep: TrackedSweep, jobs: Sequence[str], tracker: Tracker) -> dict[str, Any]:
    """What was submitted, for --json."""
    points = tracker.sweeps.points(sweep.sweep_id)
    return {
        "sweep": sweep.sweep_id,
        "jobs": [{"job": job} for job in jobs],
        "points": len(points),
        "waiting": sum(point.job is None for point in points),
    }
