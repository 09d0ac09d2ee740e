"""The facts of a check of a rerun: image, code, data, secrets, disk, time. From what was seen; nobody is asked here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tfslurm.check import Fact
from tfslurm.check.fact import gib
from tfslurm.image import Pin
from tfslurm.record import Record
from tfslurm.registry.served import Served
from tfslurm.reruns.expected import Compared, Took
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.lost_inputs import data_of
from tfslurm.reruns.place import Lies, Place
from tfslurm.slurm.rejection import duration
from tfslurm.snapshot import Snapshot
from tfslurm.spec import Experiment

GPU_FACTS = ("driver", "gpu-support")
ASKED = ("reach", "root", "node", "engine", "engine-access", "images-free", *GPU_FACTS)
"Facts of `tfslurm check` that a rerun needs; of the others those that fail."
SPARE_MIB = 1024
"What a run leaves beside its outputs is far less."


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. ``place`` is the cluster's name."""

    original: str
    place: str
    facts: tuple[Fact, ...]
    losses: tuple[Loss, ...]
    compared: Compared
    took: Took

    @property
    def can_start(self) -> bool:
        """Whether nothing is known that keeps the rerun from starting."""
        return not any(fact.status == "FAIL" for fact in self.facts) and not any(loss.stops for loss in self.losses)


def needed(facts: Sequence[Fact], gpus: int) -> list[Fact]:
    """The facts of a cluster that matter to one job, without the partition that they are of."""
    plain = [replace(fact, fact=re.sub(r"^[^ /]*/", "", fact.fact)) for fact in facts]
    kept = [fact for fact in plain if fact.fact in ASKED or (fact.status == "FAIL" and "." not in fact.fact)]
    return [fact for fact in kept if gpus or fact.fact not in GPU_FACTS]


def image_fact(pin: Pin, on_node: Sequence[str], node: str, answer: Served, archive: str) -> Fact:
    """Where the image is to be had: on the node, from a registry, from an ``archive`` ('': there is none)."""
    short = f"{pin.digest[:19]}…"
    if on_node:
        return Fact("image", "ok", f"{short} is on {node or 'the node'}")
    pull = f", {size(pin.size_bytes)} to pull" if pin.size_bytes else ""
    if answer.place:
        return Fact("image", "ok", f"{answer.place} serves {short}{pull}")
    if archive:
        return Fact("image", "ok", f"{short} is {archive}, every byte of which was compared; no registry is needed")
    fix = "ask the author for a crate with its image (`tfslurm provenance --with-image`), or name a mirror"
    if answer.is_gone:
        return Fact("image", "FAIL", f"nobody has {short}: {answer.why}", fix)
    return Fact("image", "unknown", f"{short} is not on the node; {answer.why}", fix)


def code_fact(record: Record, code: Snapshot | None) -> Fact:
    """The code, which was brought here and whose tree id was computed."""
    if record.code is None:
        return Fact("code", "ok", "none was sent with the job")
    if code is None:
        return Fact("code", "ok", "given with --set")
    whole = f"{code.files} file{'' if code.files == 1 else 's'}, {code.bytes} bytes"
    if code.tree == record.code.tree:
        return Fact("code", "ok", f"{whole}, with the tree id {code.tree[:12]}… of the record")
    return Fact("code", "warn", f"{whole}; it was changed: tree id {code.tree[:12]}…, not {record.code.tree[:12]}…")


def data_facts(record: Record, experiment: Experiment, place: Place, losses: Sequence[Loss]) -> Iterator[Fact]:
    """One fact for each mount."""
    lost = {loss.what: loss for loss in losses}
    for data in data_of(record, experiment, place.cluster):
        name = f"data {data.target}"
        if loss := lost.get(name):
            yield Fact(name, "FAIL" if loss.stops else "warn", f"{loss.here}; it had {loss.asked}", loss.fix)
            continue
        lies = place.data.get(data.path) or Lies("unknown", why="it was not looked at")
        if lies.kind == "unknown" or data.is_other_run:
            yield Fact(name, "unknown", f"{data.path}: {lies.why or 'another run has that name here'}")
            continue
        size = f"{lies.bytes} bytes" if lies.bytes is not None else "size unknown"
        if lies.sha256:
            yield Fact(name, "ok", f"{data.path}: {size}, sha256 as in the record")
        else:
            yield Fact(name, "warn", f"{data.path}: {size}, not compared by hash: {lies.why}")


def secret_facts(experiment: Experiment, place: Place, losses: Sequence[Loss]) -> Iterator[Fact]:
    """The secrets by their names."""
    there = [name for name in experiment.secrets if name in place.secrets]
    if there:
        yield Fact("secrets", "ok", f"set in this shell: {', '.join(there)}")
    for loss in losses:
        if loss.what.startswith("secret "):
            yield Fact(loss.what, "FAIL", loss.here, loss.fix)


def disk_fact(record: Record, code: Snapshot | None, free_mib: int | None) -> Fact:
    """Whether the run folder's file system has room for what the original left."""
    left = sum(output.bytes or 0 for output in record.experiment.outputs or ())
    needs = (left + (code.bytes if code else 0)) // 2**20
    words = f"the original left {size(left)}"
    if free_mib is None:
        return Fact("disk", "unknown", f"{words}; the free space was not seen")
    words = f"{gib(free_mib)} free; {words}"
    if needs > free_mib:
        return Fact("disk", "FAIL", words, "make room, or name another `root:`")
    return Fact("disk", "ok" if free_mib - needs >= SPARE_MIB else "warn", words)


def size(count: int) -> str:
    """Bytes for a reader."""
    return f"{count} bytes" if count < 2**20 else gib(count // 2**20)


def time_fact(record: Record, experiment: Experiment, place: Place, losses: Sequence[Loss]) -> Fact:
    """The time limit beside the time that the original took."""
    asked, ran = experiment.resources.time_s, record.job.elapsed_s
    took = f"the original took {duration(ran)}" if ran is not None else "how long the original took is not known"
    if loss := next((loss for loss in losses if loss.what == "time limit"), None):
        return Fact("time", "FAIL", f"{loss.here}, and the job asks for {loss.asked}", loss.fix)
    if place.is_local:
        return Fact("time", "ok", f"no limit here; {took}")
    limit = duration(asked) if asked else "the partition's default limit"
    if asked and ran is not None and ran > asked:
        return Fact("time", "warn", f"{limit} is asked for, and {took}", "ask for more: --set resources.time=…")
    return Fact("time", "ok", f"{limit} is asked for; {took}")
