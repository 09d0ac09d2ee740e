"""The points of a sweep that failed, were lost or were never sent are submitted again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError, refuse
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.variables import OWN_VARIABLES
from tfslurm.monitoring.sweep_states import LOST, has_failed, state_of
from tfslurm.snapshot import Snapshot
from tfslurm.spec import Mount
from tfslurm.submission.changed_code import changed_code
from tfslurm.submission.own_folders import guarded_now, own_places
from tfslurm.submission.prepare import Prepared, read_experiment
from tfslurm.submission.review import quoted
from tfslurm.submission.scan_gate import asked_again, guard
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.sweep_arrays import Swept, array_size, parts_of, placed
from tfslurm.submission.sweep_batches import send_wave
from tfslurm.submission.sweep_submit import swept_for
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import PlacedPoint, TrackedPlan, TrackedSweep, Tracker, WaitingPlan
from tfslurm.workspace.clock import now
from tfslurm.workspace.clusters_of_jobs import known_from
from tfslurm.workspace.config import Known, choose_clusters
from tfslurm.workspace.session import Say, Session
from tfslurm.workspace.site_cache import site_profile

SHOWN = 5  # points whose words are shown before the rest is counted


def asked_anew(session: Session, file: Path, sets: Sequence[str], sweep: TrackedSweep) -> Swept:
    """The experiment as its file asks for it now.

    Raises:
        InputError: its problems, or it is another experiment's.
    """
    asked = read_experiment(file, sets, sweeps=True)
    if asked.experiment.sweep is None or asked.experiment.name != sweep.name:
        raise refuse(str(file), f"is not the sweep {sweep.name!r}", "name the file that it was submitted from")
    names = list(dict.fromkeys(each.plan.cluster for each in session.tracker.sweeps.plans(sweep.sweep_id)))
    swept = swept_for(session, asked, choose_clusters(asked.experiment.clusters or names, (), session.say))
    guard(session, swept.bases)
    return swept


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
    session: Session,
    sweep: TrackedSweep,
    wanted: Sequence[PlacedPoint],
    swept: Swept | None,
    agree: Callable[[str], bool],
) -> bool:
    """Write down what will be sent, and say it; whether that, or what waited before, is anything."""
    tracker = session.tracker
    before = tracker.sweeps.plans(sweep.sweep_id)
    bases = {each.plan.cluster: sent_before(each) for each in before}
    if wanted and not swept:
        ask_of_rebuilt(before, [point.entry for point in wanted], session.say, agree)
    homes = {each.plan.plan_id: each.plan.cluster for each in before}
    where = [(point.entry, homes[point.plan_id]) for point in wanted]
    if swept:
        confirm(changes(bases.values(), swept, partial(files_changed, session)), session.say, agree)
        where = as_asked_now(where, sweep, swept, tracker)
        bases |= {base.plan.cluster: base for base in swept.bases}
    else:
        bases = asked_again(session, bases, (name for _, name in where))
    made = planned_there(session, where, bases, sweep)
    if swept:
        tracker.sweeps.ask(sweep.sweep_id, swept.asked_sha256, swept.template, swept.given)
    tracker.sweeps.add(sweep, made)
    return bool(tracker.sweeps.waiting(sweep_id=sweep.sweep_id))


def planned_there(
    session: Session, where: Sequence[tuple[Entry, str]], bases: Mapping[str, Prepared], sweep: TrackedSweep
) -> list[tuple[JobPlan, str, tuple[Entry, ...]]]:
    """The arrays that run the points on these clusters; how many go where is said.

    Raises:
        TfslurmError: a mount that the cluster does not let be mounted now: the plan was made, or read, some time ago.
    """
    moment, own = now(), own_places(session.tracker)
    made = []
    for cluster, count in Counter(name for _, name in where).items():
        known = known_from(cluster, bases[cluster].cluster_text)
        base = bases[cluster]._replace(plan=guarded_now(bases[cluster].plan, known.cluster, own))
        size = array_size(base.plan, site_profile(known, session.reach(known)))
        here = [entry for entry, name in where if name == cluster]
        made += parts_of(base, here, size, sweep.sweep_id, moment, session.tracker.chain_head)
        session.say(f"{sweep.sweep_id}: {count} point{'s' if count > 1 else ''} to {cluster}")
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


def files_changed(session: Session, then: Prepared, base: Prepared) -> str:
    """The files in which the code of two plans differs."""
    return changed_code(session, known_from(then.plan.cluster, then.cluster_text), then.plan, base.code)


def changes(
    before: Iterable[Prepared], swept: Swept, files: Callable[[Prepared, Prepared], str] = lambda then, base: ""
) -> list[str]:
    """The changes of image, code, command and mounts since the sweep was last sent; ``files`` names those of code."""
    old = {base.plan.cluster: base for base in before}
    told: dict[str, None] = {}
    trees: dict[tuple[str, str], str] = {}
    for base in swept.bases:
        sent = old.get(base.plan.cluster) or next(iter(old.values()))
        then, plan = sent.plan, base.plan
        if then.pin.digest != plan.pin.digest:
            told[f"the image was {then.pin.digest}, and is {plan.pin.digest}"] = None
        pair = then.code.tree if then.code else "", plan.code.tree if plan.code else ""
        if pair[0] != pair[1]:
            if pair not in trees:
                trees[pair] = files(sent, base)
            told[f"the code has changed{trees[pair] and ': '}{trees[pair]}"] = None
        # A sweep of an older tfslurm had none of its own variables, which change no result.
        if (then.command, {**OWN_VARIABLES, **then.env}) != (plan.command, {**OWN_VARIABLES, **plan.env}):
            told["the command or its variables have changed"] = None
        if then.mounts != plan.mounts:
            told["the mounts have changed"] = None
    return list(told)


def confirm(told: Sequence[str], say: Say, agree: Callable[[str], bool]) -> None:
    """Say what has changed and ask whether to go on.

    Raises:
        TfslurmError: it is not wanted.
    """
    for line in told:
        say(f"warning: {line}: points that ran before are not like those that run now")
    if told and not agree("submit these points all the same?"):
        raise TfslurmError("nothing was submitted")


def ask_of_rebuilt(
    plans: Iterable[TrackedPlan], entries: Sequence[Entry], say: Say, agree: Callable[[str], bool]
) -> None:
    """Show what would be sent from plans that were read from run folders, and ask: this tracker was never told of it.

    Raises:
        TfslurmError: it is not wanted.
    """
    rebuilt = [each.plan for each in plans if each.is_rebuilt]
    if not rebuilt:
        return
    points = [f"point    {' '.join(map(repr, (*map('='.join, entry.env.items()), *entry.argv)))}" for entry in entries]
    say("this sweep was not asked for with this tracker: it was read from run folders, and they say that it runs:")
    for line in (*of_run_folders(rebuilt), *points[:SHOWN]):
        say(f"  {printable(line)}")
    if len(entries) > SHOWN:
        say(f"  and {len(entries) - SHOWN} more points")
    if not agree("submit that?"):
        raise TfslurmError("nothing was submitted; with EXP.yaml the points run as your own file says")


def of_run_folders(plans: Iterable[JobPlan]) -> list[str]:
    """What plans that were read from run folders would run and reach, each line once."""
    told: dict[str, None] = {}
    for plan in plans:
        told[f"image    {plan.pin.reference} = {plan.pin.digest}, from {', '.join(plan.image_sources)}"] = None
        told[f"command  {' '.join(map(repr, plan.command))}"] = None
        told[f"mounts   {', '.join(map(mounted, plan.mounts)) or 'none'}"] = None
        told[f"env      {' '.join(repr(f'{name}={value}') for name, value in plan.env.items()) or 'none'}"] = None
        told[f"code     {plan.code.tree if plan.code else 'none'}; network {plan.network}"] = None
        told[
            f"options  {' '.join(f'{name}={quoted(value)}' for name, value in plan.asked_options.items()) or 'none'}"
        ] = None
        told[f"secrets  {', '.join(plan.secrets) or 'none'}: their values would be read from this shell"] = None
    return list(told)


def mounted(mount: Mount) -> str:
    """A mount in a few words."""
    return f"{quoted(mount.source)} -> {quoted(mount.target)}{'' if mount.read_only else ' (may be written)'}"


def send_again(
    session: Session, sweep: TrackedSweep, swept: Swept | None, told: Callable[[str], None]
) -> list[TfslurmError]:
    """Submit the waiting points, each job ``told`` as it is queued; what went wrong, when all clusters were tried."""
    code: dict[str, Snapshot | None] = {base.plan.cluster: base.code for base in swept.bases} if swept else {}
    tracker = session.tracker
    fresh = tracker.sweeps.named(sweep.sweep_id)[0]
    texts = {each.plan.cluster: each.cluster_text for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)}
    troubles: list[TfslurmError] = []
    for name, text in texts.items():
        known: Known = known_from(name, text)
        try:
            host = session.reach(known)
            wave = send_wave(fresh, known, tracker, host, code=code.get(name), secrets=read_secrets, told=told)
        except TfslurmError as error:
            troubles.append(error)
            continue
        if wave.left:
            session.say(f"{name}: {wave.left} points wait for room in your queue (MaxSubmitJobs)")
    return troubles
