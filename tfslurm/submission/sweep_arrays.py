"""An experiment with a sweep -> the arrays that run its points, each a plan of its own, and the intent of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfslurm.cluster import Cluster
from tfslurm.document.canonical import canonical
from tfslurm.errors import refuse
from tfslurm.image import Pin
from tfslurm.job_plan import JobPlan, Points, identify
from tfslurm.remote_programs import packaged
from tfslurm.slurm.profile import SiteProfile
from tfslurm.snapshot import Snapshot
from tfslurm.spec import Experiment, fill, read_sweep
from tfslurm.submission.prepare import Asked, Prepared, find_templates, rendered
from tfslurm.sweeps.arrays import arrays
from tfslurm.sweeps.points import MAX_TEXT, Sweep, too_large
from tfslurm.sweeps.points_file import Entry, encode
from tfslurm.sweeps.spread import Room, Rule, spread
from tfslurm.tracker import TrackedSweep, WaitingPlan
from tfslurm.workspace.folders import data_folder
from tfslurm.workspace.packaged_files import BUILT_IN_TEMPLATE

WORD = 8  # bytes that any word takes beside its own
ARRAY_SIZE = 1001  # Slurm's default, where the site did not say


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep as it was asked for: its points with their words, and for each cluster the array of all of them.

    ``given`` is the plain value of ``sweep``.
    """

    sweep: Sweep
    entries: tuple[Entry, ...]
    bases: tuple[Prepared, ...]
    given: Mapping[str, Any]
    template: str

    @property
    def name(self) -> str:
        """The experiment's."""
        return self.bases[0].plan.name

    @property
    def asked_sha256(self) -> str:
        """Of what is asked: the same whenever it is asked, and wherever its points go."""
        plans = sorted(base.plan.plan_sha256 for base in self.bases)
        where = {key: self.given.get(key) for key in ("spread", "where")}
        return hashlib.sha256(canonical({"plans": plans, **where}, "sweep")).hexdigest()

    def tracked(self, now: str) -> TrackedSweep:
        """The sweep to write into the tracker."""
        token = hashlib.sha256(f"{self.asked_sha256} {now}".encode()).hexdigest()[:6]
        return TrackedSweep(
            f"{self.name}-{token}", self.asked_sha256, self.name, now, self.template, self.given, told=False
        )


def entries_of(experiment: Experiment, pin: Pin, sweep: Sweep) -> tuple[Entry, ...]:
    """The points with the words of their commands, and their variables that differ.

    Raises:
        InputError: a placeholder without a value, or more words than can be held.
    """
    differ = [name for name, word in experiment.env.items() if word.names]
    written = sum(WORD + sum(len(part) for part in word.parts if isinstance(part, str)) for word in experiment.command)
    if written * len(sweep.points) > MAX_TEXT:
        raise too_large(experiment)
    made, size = [], 0
    for point in sweep.points:
        argv, env = fill(experiment, point.parameters)
        size += len(point.text) + sum(len(word) + WORD for word in (*argv, *env.values()))
        if size > MAX_TEXT:
            raise too_large(experiment)
        made.append(Entry(point.id, point.text, {name: env[name] for name in differ}, (*pin.entrypoint, *argv)))
    return tuple(made)


def points_of(entries: Sequence[Entry], experiment: Experiment, sweep_id: str = "") -> Points:
    """The plan's description of the points that it runs."""
    asked = read_sweep(experiment.sweep)
    sha256 = hashlib.sha256(encode(entries)).hexdigest()
    return Points(sweep_id, len(entries), sha256, asked.max_parallel or 0, asked.points_per_job)


def template_of(asked: Asked) -> str:
    """The text of the experiment's own template; '' where it has none."""
    texts, name = find_templates(asked)
    return "" if name == BUILT_IN_TEMPLATE else texts[name]


def placed(
    sweep: Sweep, clusters: Sequence[str], given: Mapping[str, Any], rooms: Mapping[str, Room], job_s: int | None
) -> tuple[str, ...]:
    """The cluster of each point; one cluster takes them all, whatever the file says of others."""
    asked = read_sweep(given)
    rules = [Rule(rule.values, rule.cluster) for rule in asked.where or ()]
    how = "even" if len(clusters) == 1 else asked.spread
    point_s = (job_s or 3600) / asked.points_per_job
    return spread(sweep.points, clusters, how, where=rules, rooms=rooms, point_s=point_s)


def parts(
    swept: Swept, places: Sequence[str], sizes: Mapping[str, int], sweep_id: str, now: str, chain_head: str = ""
) -> list[tuple[JobPlan, str, tuple[Entry, ...]]]:
    """The plans of all arrays with their clusters' texts and their points: those of a cluster in order."""
    made = []
    for base in swept.bases:
        here = [entry for entry, place in zip(swept.entries, places, strict=True) if place == base.plan.cluster]
        made += parts_of(base, here, sizes[base.plan.cluster], sweep_id, now, chain_head)
    return made


def parts_of(
    base: Prepared, entries: Sequence[Entry], size: int, sweep_id: str, now: str, chain_head: str = ""
) -> list[tuple[JobPlan, str, tuple[Entry, ...]]]:
    """The arrays of one cluster's points, each of at most ``size`` tasks; ``max_parallel`` of all these run at once.

    Raises:
        InputError: there are more arrays than may run at once.
    """
    assert base.plan.points is not None  # noqa: S101 - the base of a sweep has all points
    whole = max(base.plan.points.count, base.plan.points.of_sweep)
    most, packed = base.plan.points.max_parallel, base.plan.points.points_per_job
    cut = list(arrays(len(entries), size, packed))
    if most and most < len(cut):
        why = f"is {most}, and the {len(entries)} points of {base.plan.cluster} are {len(cut)} job arrays there"
        raise refuse("sweep.max_parallel", why, f"write at least {len(cut)}, or name more clusters")
    made = []
    for number, array in enumerate(cut):
        own = tuple(entries[array.offset : array.offset + array.points])
        share = most // len(cut) + (number < most % len(cut)) if most else 0
        others = whole if whole > len(own) else 0
        points = Points(sweep_id, len(own), hashlib.sha256(encode(own)).hexdigest(), share, packed, others)
        plan = identify(replace(base.plan, points=points, planned_at=now, chain_head=chain_head))
        made.append((plan, base.cluster_text, own))
    return made


def array_size(plan: JobPlan, profile: SiteProfile) -> int:
    """The most tasks of one array: what the site lets an index be, and half of what a user may have queued at once."""
    limit = submit_limit(plan, profile)
    size = profile.max_array_size or ARRAY_SIZE
    return size if limit is None else max(2, min(size, limit // 2))


def submit_limit(plan: JobPlan, profile: SiteProfile) -> int | None:
    """How many jobs the user may have queued at once there; None: no limit is known."""
    named = {key: plan.options.get(key, "") for key in ("account", "partition", "qos")}
    return profile.max_submit_jobs(**named)


def prepared(
    waiting: WaitingPlan, template: str, cluster: Cluster, entries: Iterable[Entry], code: Snapshot | None
) -> Prepared:
    """A plan that waits, ready to be sent."""
    plan = waiting.plan
    texts = {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE), **({plan.template: template} if plan.template else {})}
    script = rendered(plan, texts, data_folder())
    return Prepared(plan, script, code, cluster, waiting.cluster_text, tuple(entries))
