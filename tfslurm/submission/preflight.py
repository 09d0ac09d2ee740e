"""The NVIDIA drivers that were seen on a cluster, and whether they can run an image: told before hours in the queue.

What is known comes from records that were read and from `tfslurm check`; it may be out of date: the node looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.errors import HostError, TfslurmError
from tfslurm.host import Host
from tfslurm.image import Pin, Verdict, driver_verdict, lacking
from tfslurm.job_plan import JobPlan
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.config import Known
from tfslurm.workspace.known_images import known_images
from tfslurm.workspace.session import Session

FAULT = ": it finds no GPU, or stops with an error of cuDNN"
WAY_OUT = 'use 2.17.0-gpu, or install tensorflow[and-cuda] over the image without "-gpu"'
STATUSES = ("full", "minor-version compatible", "unknown", "too old")  # from good to bad


class Preflight(NamedTuple):
    """How the drivers seen on some nodes suit an image, each with its verdict."""

    verdicts: tuple[tuple[SeenDriver, Verdict], ...]

    @property
    def status(self) -> str:
        """The worst verdict; but ``too old`` only where it is every node's, and ``some too old`` where it is not."""
        found = {verdict.status for _, verdict in self.verdicts}
        if "too old" in found and len(found) > 1:
            return "some too old"
        return max(found, key=STATUSES.index, default="unknown")

    def words(self, status: str = "") -> str:
        """The reason of each verdict (of this status, if one is named), with the nodes that it is of."""
        told: dict[str, list[SeenDriver]] = {}
        for seen, verdict in self.verdicts:
            if verdict.status == (status or verdict.status):
                told.setdefault(verdict.reason, []).append(seen)
        return "; ".join(f"{why} ({where(seen)})" for why, seen in told.items())


def where(seen: Sequence[SeenDriver]) -> str:
    """``alpha1, alpha2; seen 2026-11-23T09:00:00Z by tfslurm check``: the latest sight of them."""
    last = max(seen, key=lambda one: one.seen_at)
    return f"{', '.join(one.node for one in seen)}; last seen {last.seen_at} by {last.seen_by}"


def suits(environment: Mapping[str, str], seen: Iterable[SeenDriver]) -> Preflight:
    """The verdicts on an image, from its own variables."""
    return Preflight(tuple((one, driver_verdict(environment, one.version)) for one in seen))


def preflight(plan: JobPlan, known: Sequence[SeenDriver]) -> Preflight | None:
    """How the drivers seen on the job's partitions suit its image; None where that says nothing about the job.

    That is partitions on which no driver was seen yet, and an image or `env` with
    NVIDIA_DISABLE_REQUIRE, by which somebody answers for the driver himself. Without a partition all that are known of
    the cluster count, for which one Slurm will choose is not known here.
    """
    named = [name for name in plan.options.get("partition", "").split(",") if name]
    seen = [one for one in known if not named or one.partition in named]
    environment = plan.driver_environment if seen else {}
    if not seen or environment.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "t", "true"):
        return None
    return suits(environment, seen)


def tell_of_driver(
    session: Session, plan: JobPlan, inside: Mapping[str, Any], drivers: Sequence[SeenDriver], *, force: bool
) -> None:
    """Say how the drivers seen there suit the image, if that is worth a word; without --force too old is an error.

    ``inside`` and ``drivers`` are what the tracker knows of the image and of the cluster.
    """
    try:
        told = tell(plan, inside, drivers, whole=session.trace is not None)
    except TfslurmError as error:
        if not force:
            raise
        told = f"warning: {error}: submitted all the same (--force)"
    if told:
        session.say(told)


def tell(plan: JobPlan, inside: Mapping[str, Any], drivers: Sequence[SeenDriver], *, whole: bool = False) -> str:
    """The warnings about drivers, and an image that is known to see no GPU, before the job is queued; '' for none.

    A note, which asks for nothing, is one short line unless the ``whole`` of it is wanted.

    Raises:
        TfslurmError: every driver seen there is too old.
    """
    if not plan.resources.gpus:
        return ""
    why = sees_no_gpu(plan.pin, inside)
    known = f"warning: {plan.cluster}: image: {why}" if why else ""
    return "\n".join(filter(None, (known, about_drivers(plan, drivers, whole=whole))))


def about_drivers(plan: JobPlan, drivers: Sequence[SeenDriver], *, whole: bool) -> str:
    """The part of it about drivers."""
    found = preflight(plan, drivers)
    if found is None or found.status in ("full", "unknown"):
        return ""
    place = f"{plan.cluster}: driver"
    if found.status == "too old":
        fix = "use an image with an older CUDA or another partition; if the driver was updated since: "
        fix += f"`tfslurm check {plan.cluster}`, or --force; if you answer for the driver, on the node as well: "
        fix += 'env: {NVIDIA_DISABLE_REQUIRE: "1"}'
        raise TfslurmError(f"{place}: too old: {found.words()}; {fix}")
    if found.status == "some too old":
        return f"warning: {place}: too old on some nodes, where the job would end with 78: {found.words('too old')}"
    reasons = found.words("minor-version compatible")
    if whole:
        return f"note: {place}: minor-version compatible: {reasons}"
    heads = dict.fromkeys(verdict.reason.partition(" (")[0] for _, verdict in found.verdicts)
    return f"note: {plan.cluster}: {', '.join(heads)}: nothing to do (-v: why)"


def sees_no_gpu(pin: Pin, inside: Mapping[str, Any]) -> str:
    """Why TensorFlow in an image finds no GPU, with the way out; '' where nothing of that is known.

    What a record said of it counts (``inside``, see Tracker.image). Else it is known by their tags that the official
    images of TensorFlow 2.18 to 2.21 hold the CUDA and cuDNN of 2.17; a copy on a mirror has the same tag.
    """
    said = [inside.get(key) for key in ("cuda", "cuda_present", "cudnn", "cudnn_present")]
    if inside and (why := lacking(*said)):
        return f"{pin.reference}: TensorFlow {inside['tensorflow']} was built with {why}{FAULT}; {WAY_OUT}"
    if all(said):
        return ""
    name = pin.repository.rpartition("/")[2]
    for known in known_images().finds_no_gpu:
        if known.repository == name and known.tag.fullmatch(pin.tag):
            version = pin.tag.partition("-")[0]
            return f"{pin.reference}: TensorFlow {version} {known.why}{FAULT} ({known.named}); {WAY_OUT}"
    return ""


def preemption_note(plan: JobPlan, known: Known, host: Host) -> str:
    """One line where the job asks to be queued again and its partition cancels what it pushes out; else ''."""
    if not plan.checkpoint or not plan.checkpoint.requeue:
        return ""
    from tfslurm.workspace.site_cache import site_profile

    try:
        modes = site_profile(known, host).preemption
    except HostError:
        return ""  # the job is queued; this is a note
    names = [name for name in plan.options.get("partition", "").split(",") if "CANCEL" in modes.get(name, "").upper()]
    if not names:
        return ""
    where = f"partition {', '.join(names)}" if names[0] else "the default partition"
    return (
        f"{plan.cluster}: {where} cancels a job that is pushed out (PreemptMode=CANCEL): "
        "`checkpoint: {requeue: true}` serves the time limit there, not preemption"
    )
