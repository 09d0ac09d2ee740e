"""tfslurm resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from tfslurm.cli.console import agreed, common, emit, say, show, tracer
from tfslurm.cli.status import clusters_to_ask, look
from tfslurm.cli.sweep import as_value, swept_for
from tfslurm.cli.sweeps import LOST, has_failed, state_of
from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError, refuse
from tfslurm.host import Host
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.plan import JobPlan
from tfslurm.slurm import STATES
from tfslurm.snapshot import Snapshot
from tfslurm.spec import Mount
from tfslurm.submission.own_folders import guarded_now
from tfslurm.submission.prepare import Prepared, read_experiment
from tfslurm.submission.review import quoted
from tfslurm.submission.submit import read_secrets
from tfslurm.submission.sweep_arrays import Swept, array_size, parts_of, placed
from tfslurm.submission.sweep_batches import send_wave
from tfslurm.sweep.points_file import Entry
from tfslurm.tracker import PlacedPoint, TrackedPlan, TrackedSweep, Tracker, WaitingPlan
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known, choose_clusters, open_tracker
from tfslurm.workspace.connections import connections, known_from
from tfslurm.workspace.site_cache import site_profile

SHOWN = 5  # points whose words are shown before the rest is counted


@click.command(short_help="Submit again the points of a sweep that failed, were lost or were never sent.")
@click.argument("sweep")
@click.argument("experiment", type=click.Path(path_type=Path), metavar="[EXP.yaml]", required=False)
@click.option(
    "--failed-only", is_flag=True, help="Only points whose job failed; not those that were lost or never sent."
)
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only points in this state, such as TIMEOUT.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="As for submit; needs EXP.yaml.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask, if something has changed or `tracker rebuild` read the points from run folders.",
)
@common
def resume(
    sweep: str,
    experiment: Path | None,
    failed_only: bool,
    states: tuple[str, ...],
    sets: tuple[str, ...],
    yes: bool,
    as_json: bool,
    verbose: int,
) -> int:
    """Submit again the points of a sweep that failed, were lost or were never sent; print one line per Slurm job.

    The points run as you first asked for them, with the same image, code and command. With EXP.yaml they run as the
    file says now, and resume adds the points that are new in it. If the image, the code or the command has changed,
    resume says so and asks first. It leaves alone the points that are done, that run or that wait. If `tfslurm tracker
    rebuild` read the sweep from run folders, resume first shows what would run and what it could reach, and asks.
    """
    if sets and not experiment:
        raise click.UsageError("--set needs EXP.yaml")
    for state in states:
        if state not in STATES and state != LOST:
            raise refuse(f"--state {state}", "is not one of Slurm's states", "write for example FAILED or TIMEOUT")
    tracker = open_tracker()
    found = find_sweep(tracker, sweep)
    silent = look(tracker, clusters_to_ask(tracker, tracker.sweeps.jobs(found.sweep_id)), verbose)
    for line in silent.values():
        say(f"error: {line}; its points are left as last seen")
    swept = asked_anew(experiment, sets, found, tracker) if experiment else None
    with connections(tracer(verbose)) as reach:
        with tracker.claim(found.sweep_id, wait=True):
            wanted = [each for each in open_points(found, tracker) if is_wanted(each, failed_only, states)]
            waits = plan_again(found, wanted, swept, tracker, reach, yes)
        if not waits:
            say(f"{found.sweep_id}: nothing to submit again")
        send_again(found, swept, tracker, reach, as_json)
    tracker.sweeps.tell(found.sweep_id)
    return 1 if silent else 0


def asked_anew(file: Path, sets: Sequence[str], sweep: TrackedSweep, tracker: Tracker) -> Swept:
    """What the file asks for now.

    Raises:
        InputError: its problems, or it is another experiment's.
    """
    asked = read_experiment(file, sets, sweeps=True)
    if asked.experiment.sweep is None or asked.experiment.name != sweep.name:
        raise refuse(str(file), f"is not the sweep {sweep.name!r}", "name the file that it was submitted from")
    names = list(dict.fromkeys(each.plan.cluster for each in tracker.sweeps.plans(sweep.sweep_id)))
    return swept_for(asked, choose_clusters(asked.experiment.clusters or names, (), say))


def open_points(sweep: TrackedSweep, tracker: Tracker) -> list[PlacedPoint]:
    """The points that failed, were lost, or were never sent and do not wait."""
    waiting = {each.plan.plan_id for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)}
    points = tracker.sweeps.points(sweep.sweep_id)
    return [point for point in points if has_failed(point) or (point.job is None and point.plan_id not in waiting)]


def is_wanted(point: PlacedPoint, failed_only: bool, states: Sequence[str]) -> bool:
    """Whether the command line means this one."""
    if states:
        return state_of(point) in states
    return not failed_only or (point.job is not None and point.job.state != LOST)


def plan_again(
    sweep: TrackedSweep,
    wanted: Sequence[PlacedPoint],
    swept: Swept | None,
    tracker: Tracker,
    reach: Callable[[Known], Host],
    yes: bool,
) -> bool:
    """Write down what will be sent, and say it; whether that, or what waited before, is anything."""
    before = tracker.sweeps.plans(sweep.sweep_id)
    bases = {each.plan.cluster: sent_before(each) for each in before}
    if wanted and not swept:
        ask_of_rebuilt(before, [point.entry for point in wanted], yes)
    homes = {each.plan.plan_id: each.plan.cluster for each in before}
    where = [(point.entry, homes[point.plan_id]) for point in wanted]
    if swept:
        confirm(changes(bases.values(), swept), yes)
        where = as_asked_now(where, sweep, swept, tracker)
        bases |= {base.plan.cluster: base for base in swept.bases}
    made = planned_there(where, bases, sweep, reach)
    if swept:
        tracker.sweeps.ask(sweep.sweep_id, swept.asked_sha256, swept.template, swept.given)
    tracker.sweeps.add(sweep, made)
    return bool(tracker.sweeps.waiting(sweep_id=sweep.sweep_id))


def planned_there(
    where: Sequence[tuple[Entry, str]],
    bases: Mapping[str, Prepared],
    sweep: TrackedSweep,
    reach: Callable[[Known], Host],
) -> list[tuple[JobPlan, str, tuple[Entry, ...]]]:
    """The arrays that run the points on these clusters; how many go where is said.

    Raises:
        TfslurmError: a mount that the cluster does not let be mounted now: the plan was made, or read, some time ago.
    """
    moment = now()
    made = []
    for cluster, count in Counter(name for _, name in where).items():
        known = known_from(cluster, bases[cluster].cluster_text)
        base = replace(bases[cluster], plan=guarded_now(bases[cluster].plan, known.cluster))
        size = array_size(base.plan, site_profile(known, reach(known)))
        here = [entry for entry, name in where if name == cluster]
        made += parts_of(base, here, size, sweep.sweep_id, moment)
        say(f"{sweep.sweep_id}: {count} points to {cluster}")
    return made


def sent_before(kept: TrackedPlan | WaitingPlan) -> Prepared:
    """A plan of the sweep, of which others are made; its script is rendered anew."""
    known = known_from(kept.plan.cluster, kept.cluster_text)
    return Prepared(kept.plan, "", None, known.cluster, kept.cluster_text)


def as_asked_now(
    where: Sequence[tuple[Entry, str]], sweep: TrackedSweep, swept: Swept, tracker: Tracker
) -> list[tuple[Entry, str]]:
    """The points with the words that the file gives them now, and those that it has more of, with their clusters.

    A point that the file does not have any more is left alone.
    """
    entries = {entry.id: entry for entry in swept.entries}
    known = {point.entry.id for point in tracker.sweeps.points(sweep.sweep_id)}
    clusters = [base.plan.cluster for base in swept.bases]
    again = [(entries[entry.id], name) for entry, name in where if entry.id in entries and name in clusters]
    places = placed(swept.sweep, clusters, swept.given, {}, None)
    more = [(entry, name) for entry, name in zip(swept.entries, places, strict=True) if entry.id not in known]
    return [*again, *more]


def changes(before: Iterable[Prepared], swept: Swept) -> list[str]:
    """What of image, code and command is not as the sweep was last sent."""
    old = {base.plan.cluster: base.plan for base in before}
    told: dict[str, None] = {}
    for base in swept.bases:
        then, plan = old.get(base.plan.cluster) or next(iter(old.values())), base.plan
        if then.pin.digest != plan.pin.digest:
            told[f"the image was {then.pin.digest}, and is {plan.pin.digest}"] = None
        if (then.code and then.code.tree) != (plan.code and plan.code.tree):
            told["the code has changed"] = None
        if (then.command, then.env) != (plan.command, plan.env):
            told["the command or its variables have changed"] = None
    return list(told)


def confirm(told: Sequence[str], yes: bool) -> None:
    """Say what has changed and ask whether to go on.

    Raises:
        TfslurmError: it is not wanted.
    """
    for line in told:
        say(f"warning: {line}: points that ran before are not like those that run now")
    if told and not yes and not agreed("go on?"):
        raise TfslurmError("nothing was submitted")


def ask_of_rebuilt(plans: Iterable[TrackedPlan], entries: Sequence[Entry], yes: bool) -> None:
    """Show what would be sent from plans that were read from run folders, and ask: this tracker was never told of it.

    Raises:
        TfslurmError: it is not wanted.
    """
    rebuilt = [each.plan for each in plans if each.is_rebuilt]
    if not rebuilt:
        return
    told: dict[str, None] = {}
    for plan in rebuilt:
        told[f"image    {plan.pin.reference} = {plan.pin.digest}, from {', '.join(plan.image_sources)}"] = None
        told[f"command  {' '.join(map(repr, plan.command))}"] = None
        told[f"mounts   {', '.join(map(mounted, plan.mounts)) or 'none'}"] = None
        told[f"env      {' '.join(repr(f'{name}={value}') for name, value in plan.env.items()) or 'none'}"] = None
        told[f"code     {plan.code.tree if plan.code else 'none'}; network {plan.network}"] = None
        told[f"options  {' '.join(f'{name}={quoted(value)}' for name, value in plan.options.items()) or 'none'}"] = None
        told[f"secrets  {', '.join(plan.secrets) or 'none'}: their values would be read from this shell"] = None
    for entry in entries[:SHOWN]:
        told[f"point    {' '.join(map(repr, (*map('='.join, entry.env.items()), *entry.argv)))}"] = None
    say("this sweep was not asked for with this tracker: it was read from run folders, and they say that it runs:")
    for line in told:
        say(f"  {printable(line)}")
    if len(entries) > SHOWN:
        say(f"  and {len(entries) - SHOWN} more points")
    if not yes and not agreed("submit that?"):
        raise TfslurmError("nothing was submitted; with EXP.yaml the points run as your own file says")


def mounted(mount: Mount) -> str:
    """A mount in a few words."""
    return f"{quoted(mount.source)} -> {quoted(mount.target)}{'' if mount.read_only else ' (may be written)'}"


def send_again(
    sweep: TrackedSweep, swept: Swept | None, tracker: Tracker, reach: Callable[[Known], Host], as_json: bool
) -> None:
    """Send what waits, and print the jobs.

    Raises:
        TfslurmError: the first thing that went wrong, when all clusters were tried.
    """
    code: dict[str, Snapshot | None] = {base.plan.cluster: base.code for base in swept.bases} if swept else {}
    fresh = tracker.sweeps.named(sweep.sweep_id)[0]
    texts = {each.plan.cluster: each.cluster_text for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)}
    jobs: list[str] = []

    def told(job: str) -> None:
        jobs.append(job)
        if not as_json:
            show(job)

    troubles: list[TfslurmError] = []
    for name, text in texts.items():
        known: Known = known_from(name, text)
        try:
            wave = send_wave(fresh, known, tracker, reach(known), code=code.get(name), secrets=read_secrets, told=told)
        except TfslurmError as error:
            troubles.append(error)
            continue
        if wave.left:
            say(f"{name}: {wave.left} points wait for room in your queue (MaxSubmitJobs)")
    if as_json:
        emit(as_value(sweep, jobs, tracker))
    if troubles:
        raise troubles[0]
