"""The verdict on each thing that a record needs, from what was asked of registries, clusters and the tracker. Pure.

``rot`` is said of what keeps the record from running again, or of evidence that is gone; ``note`` of what another run
would differ in. What could not be asked, or was not answered, is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from tfslurm.image import Pin, driver_verdict
from tfslurm.record import Record
from tfslurm.registry.served import Served
from tfslurm.submission.preflight import sees_no_gpu
from tfslurm.tracker import SeenDriver

Status = Literal["ok", "note", "rot", "unknown"]
WORST: tuple[Status, ...] = ("rot", "unknown", "note", "ok")


class Finding(NamedTuple):
    """One thing that a record needs: its status, the reason, and what to do; '': nothing."""

    name: str
    status: Status
    reason: str
    fix: str = ""


class Audited(NamedTuple):
    """One record, and all that was found about it."""

    job: str
    record_id: str
    image: str
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of them."""
        return next((status for status in WORST if any(each.status == status for each in self.findings)), "ok")


class There(NamedTuple):
    """What is left of a record's files: code, packages, the outputs that were looked for and those that are not there.

    ``why``: nothing could be looked at.
    """

    why: str = ""
    has_code: bool = False
    looked_for: int = 0
    missing: tuple[str, ...] = ()
    has_layer: bool = False


def image_finding(found: Served, digest: str) -> Finding:
    """Whether a registry still has the image."""
    if found.place:
        return Finding("image", "ok", f"{found.place} serves {short(digest)}")
    if found.is_gone:
        fix = "push a copy to a mirror, from a node that has it or an archive of `tfslurm image save`"
        return Finding("image", "rot", f"no registry has {short(digest)}: {found.why}", fix)
    return Finding("image", "unknown", found.why)


def short(digest: str) -> str:
    """A digest for a reader, who has it whole in the record."""
    return f"{digest[:19]}…"


def tag_findings(found: Served, pin: Pin) -> Iterator[Finding]:
    """Whether the tag still stands for the digest: another one keeps no record from running, which names the digest."""
    if not pin.tag or not found.place:
        return
    if found.tag_is_gone:
        yield Finding("tag", "note", f"{found.place} has no tag {pin.tag} any more; the digest is served")
    elif not found.tag_now:
        yield Finding("tag", "unknown", f"{found.place} does not say what {pin.tag} stands for")
    elif found.tag_now not in (pin.digest, pin.manifest_digest):
        yield Finding("tag", "note", f"{pin.tag} stands for {short(found.tag_now)} now; the record names the digest")
    else:
        yield Finding("tag", "ok", f"{pin.tag} still stands for the digest")


def gpu_findings(record: Record, pin: Pin) -> Iterator[Finding]:
    """Whether the image is one in which TensorFlow is known to find no GPU."""
    asked = record.asked.resources.get("gpus") if record.asked else None
    has_gpus = bool(asked) or any(task.gpus for attempt in record.attempts for task in attempt.tasks)
    why = sees_no_gpu(pin, asdict(record.environment)) if has_gpus else ""
    if why:
        head, _, fix = why.rpartition("; ")
        worked = record.verified.tensorflow_gpu.status == "ok"
        said = f"{head}; it found the GPUs in this job" if worked else head
        yield Finding("tensorflow", "note" if worked else "rot", said, fix)


def driver_findings(record: Record, pin: Pin, seen: Sequence[SeenDriver]) -> Iterator[Finding]:
    """Whether the partition still has the driver that the record names, by the last observation of each node."""
    tasks = [task for attempt in record.attempts[-1:] for task in attempt.tasks if task.gpus]
    had = dict.fromkeys(task.driver_version for task in tasks if task.driver_version)
    if not tasks:
        return
    if not had:
        yield Finding("driver", "unknown", "the record does not name the driver")
        return
    mine = [each for each in seen if each.partition == record.job.partition]
    if not mine:
        fix = f"`tfslurm check {record.job.cluster}` looks"
        yield Finding("driver", "unknown", f"no driver of partition {record.job.partition} was seen since", fix)
        return
    now = {each.version: each for each in sorted(mine, key=lambda each: each.seen_at)}
    named = ", ".join(f"{version} ({each.node}, seen {each.seen_at[:10]})" for version, each in now.items())
    own = {key: value for key, value in record.experiment.env.items() if key.startswith("NVIDIA_")}
    variables = {**pin.environment, **own}
    old = [version for version in now if driver_verdict(variables, version).status == "too old"]
    if len(old) == len(now):
        yield Finding("driver", "rot", f"too old for the image now: {named}", driver_verdict(variables, old[0]).reason)
    elif set(now) <= set(had):
        yield Finding("driver", "ok", f"as in the record: {named}")
    else:
        some = f"; too old for the image: {', '.join(old)}" if old else ""
        yield Finding("driver", "note", f"was {', '.join(had)}, is {named}{some}")


def code_finding(record: Record, there: There) -> Finding:
    """Whether the snapshot of the code is still there."""
    code = record.code
    if code is None:
        return Finding("code", "ok", "none was sent with the job")
    if there.why:
        return Finding("code", "unknown", there.why)
    if there.has_code:
        return Finding("code", "ok", f"{code.tree} is there")
    if code.commit and code.remote and code.dirty is False:
        why = f"the snapshot {code.tree} is gone, and nobody was asked whether {code.remote} still has {code.commit}"
        return Finding("code", "unknown", why, f"git fetch {code.remote} {code.commit}")
    why = "it differed from its commit" if code.commit and code.dirty else "it was on no commit that others can fetch"
    return Finding("code", "rot", f"the snapshot {code.tree} is gone, and {why}", "look for a copy of your own")


def packages_findings(record: Record, there: There) -> Iterator[Finding]:
    """Whether the layer of packages is still there; a rerun makes it again of its wheels, which an index must have."""
    layer = record.environment.layer
    if layer is None:
        return
    if there.why:
        yield Finding("packages", "unknown", there.why)
    elif there.has_layer:
        yield Finding("packages", "ok", f"the layer {layer.key[:12]}… is there")
    else:
        why = f"the layer {layer.key[:12]}… is gone, and nobody was asked whether its wheels are still on an index"
        yield Finding("packages", "unknown", why, "`tfslurm rerun` fetches them by their hashes, and says so if not")


def outputs_finding(record: Record, there: There) -> Finding:
    """Whether the outputs are still there; whether they are unchanged is for `verify`."""
    outputs = record.experiment.outputs
    if outputs is None:
        return Finding("outputs", "unknown", record.unknown.get("experiment.outputs", "the record does not list them"))
    if not outputs:
        return Finding("outputs", "ok", "the job left none")
    if there.why:
        return Finding("outputs", "unknown", there.why)
    if not there.missing:
        return Finding("outputs", "ok", f"{there.looked_for} of {len(outputs)} files are there")
    first = f"{there.missing[0]} and {len(there.missing) - 1} more" if len(there.missing) > 1 else there.missing[0]
    fix = "compare your own copies with the record's sha256, or run it again"
    return Finding("outputs", "rot", f"{len(there.missing)} of {there.looked_for} files are gone: {first}", fix)


def outputs_of(record: Record, most: int) -> list[str]:
    """The outputs of a record that can be looked for, so many at most."""
    named = [each.path for each in record.experiment.outputs or ()]
    plain = [path for path in named if path and "\0" not in path and is_below(path)]
    return plain[:most]


def is_below(path: str) -> bool:
    """Whether a path stays below the folder that it is relative to."""
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
