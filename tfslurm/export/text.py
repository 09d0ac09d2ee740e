"""Record -> one screen for a reader: the chain link by link, then the details. Pure; no colours, which are the command
line's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfslurm.export.chain import FEW as FEW_GPUS
from tfslurm.export.chain import chain, unknown
from tfslurm.export.rows import Row, rows_text
from tfslurm.image.scan_rule import summary
from tfslurm.job_plan.holding import served_by, service_in
from tfslurm.record import Record, TaskFacts, record_json

FEW = 6  # files named before the rest is counted
FEW_PACKAGES = 12


def record_text(record: Record, values: Mapping[str, Any] | None = None, reruns: Sequence[str] = ()) -> str:
    """The record for a file or a pipe, no line of which is broken."""
    return rows_text(record_rows(record, values, reruns))


def record_rows(record: Record, values: Mapping[str, Any] | None = None, reruns: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of the screen. A fact that is not known is written as ``unknown``, with the reason where there is one.

    ``values`` are the JSON values that the record was read from, ``reruns`` the jobs that repeat it.
    """
    links = [*chain(record, record_json(record) if values is None else values)]
    yield from links
    yield Row("", "")
    for part in (
        time_rows,
        attempt_rows,
        node_rows,
        code_rows,
        asked_rows,
        environment_rows,
        build_rows,
        energy_rows,
        output_rows,
    ):
        yield from part(record)
    yield from origin_rows(record, reruns)
    yield Row("id", record.record_id)
    said = [each.text for each in links]
    yield from (Row("warning", each) for each in record.warnings if not any(each in text for text in said))


def origin_rows(record: Record, reruns: Sequence[str]) -> Iterator[Row]:
    """The run that it repeats, and the jobs that repeat it."""
    if origin := record.derived_from:
        changed = " ".join(f"{name}={value}" for name, value in origin.set.items())
        known = f"  record sha256:{origin.record_sha256[:12]}…" if origin.record_sha256 else ""
        yield Row("repeats", f"{origin.job}{f', with {changed}' if changed else ''}{known}")
    if reruns:
        more = f" and {len(reruns) - FEW} more" if len(reruns) > FEW else ""
        yield Row("reruns", f"{', '.join(reruns[-FEW:])}{more}")


def why(record: Record, path: str, value: object) -> str:
    """The value, or ``unknown`` and the reason for it."""
    return unknown(record, path) if value is None else str(value)


def time_rows(record: Record) -> Iterator[Row]:
    """When it ran and for how long; whose job it was."""
    job = record.job
    known = []
    if job.elapsed_s is not None:
        limit = f" of {clock(job.time_limit_s)}" if job.time_limit_s else ""
        again = f", requeued {job.restarts}×" if job.restarts else ""
        known.append(f"{clock(job.elapsed_s)}{limit}{again}")
    known += [f"{word} {moment}" for word, moment in (("from", job.started_at), ("to", job.ended_at)) if moment]
    if known:
        yield Row("ran", " ".join(known))
    about = (job.name, job.user, f"partition {job.partition}" if job.partition else "")
    yield Row("as", ", ".join(filter(None, (*about, f"submitted {job.submitted_at}" if job.submitted_at else ""))))


def clock(seconds: int) -> str:
    """3723 as 1:02:03."""
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def attempt_rows(record: Record) -> Iterator[Row]:
    """Every attempt of a requeued job: how it ended, and where it ran."""
    for one in record.attempts if len(record.attempts) > 1 else ():
        nodes = ", ".join(dict.fromkeys(task.node or "unknown" for task in one.tasks))
        code = f", exit {one.exit_code}" if one.exit_code is not None else ""
        reason = f": {one.reason}" if one.reason else ""
        label = "attempts" if one is record.attempts[0] else ""
        yield Row(label, f"{one.index} {one.state or 'unknown'} on {nodes or 'no node'}{code}{reason}")


def node_rows(record: Record) -> Iterator[Row]:
    """The nodes of the last attempt: system, processor, memory; the GPUs of each task if the chain only counts them."""
    tasks = record.attempts[-1].tasks if record.attempts else ()
    seen: set[str] = set()
    many = len({gpu.uuid for task in tasks for gpu in task.gpus or ()}) > FEW_GPUS
    for task in tasks:
        system = describe(task)
        if system not in seen:
            yield Row("on" if not seen else "", system)
            seen.add(system)
    for task in tasks if many else ():
        uuids = " ".join(gpu.uuid for gpu in task.gpus or ())
        yield Row("task" if task is tasks[0] else "", f"{task.rank} {task.node or 'unknown'}: {uuids or 'no GPU'}")


def describe(task: TaskFacts) -> str:
    """The machine of a task."""
    cpus = f"{task.cpus_schedulable} of its CPUs" if task.cpus_schedulable else None
    memory = f"{task.memory_mib} MiB" if task.memory_mib else None
    sizes = sorted({gpu.memory_mib for gpu in task.gpus or () if gpu.memory_mib})
    gpu = f"GPU with {' or '.join(map(str, sizes))} MiB" if sizes else None
    own = task.libcuda_in_container if task.libcuda_in_container != task.driver_version else None
    libcuda = f"libcuda {own} in the container" if own else None
    known = [text for text in (task.os, task.kernel, task.cpu_model, cpus, memory, gpu, libcuda) if text]
    return ", ".join(known) or "a node of which nothing was observed"


def code_rows(record: Record) -> Iterator[Row]:
    """The code."""
    code = record.code
    if code is None:
        yield Row("code", "none was sent with the job")
        return
    yield Row("code", f"tree {code.tree}")
    if code.commit:
        changed = ", with changes on top" if code.dirty else ""
        yield Row("", f"commit {code.commit}{f' ({code.branch})' if code.branch else ''}{changed}")
    if code.remote:
        yield Row("", code.remote)


def asked_rows(record: Record) -> Iterator[Row]:
    """The command, its parameters and its mounts."""
    experiment = record.experiment
    yield Row("command", shlex.join(experiment.command))
    if experiment.parameters:
        pairs = (
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in experiment.parameters.items()
        )
        yield Row("with", " ".join(pairs))
    if (service := service_in(experiment.command)) and (model := served_by(service)):
        many = f"{model.files} file{'s' if model.files != 1 else ''}, {model.bytes} bytes"
        yield Row("serves", f"{model.name}, version {model.version}: {model.path} of {model.run} ({many})")
        yield Row("", f"contents sha256:{model.sha256}, which the model server holds its files against")
    hashes = {each.path: each.sha256 or each.tree_sha256 for each in record.inputs or ()}
    for mount in experiment.mounts:
        mode = "read-only" if mount.get("read_only") else "writable"
        digest = hashes.get(str(mount.get("source")))
        known = f"  sha256:{digest[:12]}…" if digest else ""
        yield Row("mount", f"{mount.get('source')} at {mount.get('target')}, {mode}{known}")


def environment_rows(record: Record) -> Iterator[Row]:
    """The software in the image."""
    inside = record.environment
    versions = (
        ("TensorFlow", inside.tensorflow),
        ("Python", inside.python),
        ("CUDA", both(inside.cuda, inside.cuda_present)),
        ("cuDNN", both(inside.cudnn, inside.cudnn_present)),
    )
    known = [f"{name} {version}" for name, version in versions if version]
    packages = [f"{len(inside.packages)} packages"] if inside.packages else []
    system = [inside.os + (f" with glibc {inside.glibc}" if inside.glibc else "")] if inside.os else []
    what = ", ".join([*known, *packages, *system]) if known else f"unknown ({why_nothing_is_known_inside(record)})"
    form = " for ".join(filter(None, (record.image.digest_kind, record.image.platform)))
    yield Row("inside", f"{what} ({form})")
    if layer := inside.layer:
        added = [f"{each.name} {each.version}" for each in inside.layer_packages or ()]
        more = f" and {len(added) - FEW_PACKAGES} more" if len(added) > FEW_PACKAGES else ""
        named = ", ".join(added[:FEW_PACKAGES]) + more if added else why(record, "environment.layer_packages", None)
        contents = f", contents sha256:{layer.contents_sha256[:12]}…" if layer.contents_sha256 else ""
        yield Row("added", f"{named} (layer {layer.key[:12]}…{contents})")
    if record.asked and (scan := record.asked.scan):
        yield Row("scan", f"{scan.answer}: {summary(scan)}")


def why_nothing_is_known_inside(record: Record) -> str:
    """Why no version of the image's software is in the record; where nothing has looked into it, what may tell them."""
    reasons = [reason for path, reason in record.unknown.items() if path.split(".")[0] == "environment"]
    if reasons and not reasons[0].endswith("was not written"):
        return reasons[0]
    asks = shlex.join(["tfslurm", "image", "inspect", record.image.reference])
    return f"no job with this image has looked into it there; `{asks}` shows what the registry and your other jobs tell"


def build_rows(record: Record) -> Iterator[Row]:
    """How the image was made, where tfslurm made it."""
    made = record.asked.build if record.asked else None
    if not made:
        return
    yield Row("built", f"on {made.base.reference} ({made.base.digest}) by {made.builder}, {made.built_at[:19]}Z")
    wheels = made.packages.wheels if made.packages else ()
    added = [f"{each.name} {each.version}" for each in wheels]
    added += [f"{each.name} {each.version}" for each in made.apt_installed]
    if added:
        more = f" and {len(added) - FEW_PACKAGES} more" if len(added) > FEW_PACKAGES else ""
        yield Row("", f"with {', '.join(added[:FEW_PACKAGES])}{more}")
    yield Row("", f"Dockerfile sha256:{made.dockerfile_sha256[:12]}…, {layers(len(made.layers))} above the base")


def layers(count: int) -> str:
    """1 layer, 2 layers."""
    return f"{count} layer{'' if count == 1 else 's'}"


def both(built: str | None, present: str | None) -> str | None:
    """What TensorFlow was built with, and the library that the image holds."""
    return f"{built} (the image has {present})" if built and present else built


def energy_rows(record: Record) -> Iterator[Row]:
    """What the GPUs used, where that is known."""
    if record.energy:
        yield Row("energy", f"{record.energy.joules:g} J by {record.energy.source}")


def output_rows(record: Record) -> Iterator[Row]:
    """The outputs."""
    outputs = record.experiment.outputs
    if outputs is None:
        yield Row("outputs", why(record, "experiment.outputs", None))
    for index, output in enumerate((outputs or ())[:FEW]):
        size = f"{output.bytes} bytes" if output.bytes is not None else "unknown size"
        yield Row("outputs" if not index else "", f"{output.path}  {size}  sha256:{output.sha256[:12]}…")
    if outputs and len(outputs) > FEW:
        yield Row("", f"and {len(outputs) - FEW} more")
    if outputs == ():
        yield Row("outputs", "none")
