"""Record -> one screen of text for a reader. Pure; no colours, which are the command line's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from tfslurm.record import Attempt, Record, TaskFacts

WIDTH = 13
FEW = 6  # files named before the rest is counted


def record_text(record: Record) -> str:
    """The record for a terminal: what ran, with what, where, what came of it, and how each link is known.

    A fact that is not known is written as ``unknown``, with the reason where the record has one.
    """
    parts = (job_lines, image_lines, node_lines, code_lines, asked_lines, environment_lines, output_lines, link_lines)
    lines = [line for part in parts for line in part(record)]
    lines += list(note_lines(record))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def row(label: str, text: str) -> Iterator[str]:
    """A label and its text; further lines stand under the first. No control character reaches the terminal."""
    clean = "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)
    for index, line in enumerate(clean.split("\n")):
        yield f"{label if not index else '':<{WIDTH}}{line}"


def why(record: Record, path: str, value: object) -> str:
    """The value, or ``unknown`` and the reason for it."""
    if value is not None:
        return str(value)
    reason = record.unknown.get(path)
    return f"unknown ({reason})" if reason else "unknown"


def job_lines(record: Record) -> Iterator[str]:
    """The job: user, times, state and end."""
    job = record.job
    yield from row("job", f"{job.cluster}:{job.job_id}  {why(record, 'job.state', job.state)}{ending(record)}")
    yield from row("", f"{job.name}, {job.user}" + (f", partition {job.partition}" if job.partition else ""))
    times = [
        f"{word} {time}"
        for word, time in (("submitted", job.submitted_at), ("started", job.started_at), ("ended", job.ended_at))
        if time
    ]
    if times:
        yield from row("", ", ".join(times))
    if job.elapsed_s is not None:
        limit = f" of {clock(job.time_limit_s)}" if job.time_limit_s else ""
        again = f", requeued {job.restarts}×" if job.restarts else ""
        yield from row("", f"ran {clock(job.elapsed_s)}{limit}{again}")


def ending(record: Record) -> str:
    """Exit code or signal, where there is one."""
    job = record.job
    if job.signal is not None:
        return f", signal {job.signal}"
    return f", exit {job.exit_code}" if job.exit_code is not None else ""


def clock(seconds: int) -> str:
    """3723 as 1:02:03."""
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def image_lines(record: Record) -> Iterator[str]:
    """The pin, and whether the node kept to it."""
    image = record.image
    yield from row("image", image.reference)
    yield from row("", f"{image.digest} ({image.digest_kind}{f', {image.platform}' if image.platform else ''})")
    if image.served_by:
        yield from row("", f"pinned {image.pinned_at or 'at an unknown time'}, served by {image.served_by}")


def node_lines(record: Record) -> Iterator[str]:
    """The nodes of the last attempt: one line per task, its GPUs under it."""
    if not record.attempts:
        yield from row("node", "unknown (no attempt of the job left a file)")
        return
    place = len(record.attempts) - 1
    last: Attempt = record.attempts[place]
    if len(record.attempts) > 1:
        yield from attempt_lines(record)
    for index, task in enumerate(last.tasks):
        yield from task_lines(record, task, f"attempts[{place}].tasks[{index}]", many=len(last.tasks) > 1)
    if not last.tasks:
        yield from row("node", why(record, f"attempts[{place}].tasks", None))


def attempt_lines(record: Record) -> Iterator[str]:
    """Every attempt: how it ended, and where it ran."""
    for one in record.attempts:
        nodes = ", ".join(dict.fromkeys(task.node or "unknown" for task in one.tasks))
        code = f", exit {one.exit_code}" if one.exit_code is not None else ""
        why = f": {one.reason}" if one.reason else ""
        label = "attempts" if one is record.attempts[0] else ""
        yield from row(label, f"{one.index} {one.state or 'unknown'} on {nodes or 'no node'}{code}{why}")


def task_lines(record: Record, task: TaskFacts, path: str, *, many: bool) -> Iterator[str]:
    """One task: node, system, processor, driver, GPUs."""
    system = ", ".join(text for text in (task.os, task.kernel, task.cpu_model) if text)
    memory = f", {task.memory_mib} MiB" if task.memory_mib else ""
    rank = f" rank {task.rank}" if many else ""
    yield from row("node" + rank, f"{why(record, f'{path}.node', task.node)}: {system or 'unknown'}{memory}")
    if task.image_source:
        source = task.image_source.removesuffix(f"@{record.image.digest}")
        yield from row("", f"image of {source}: {task.image_pulled or 'unknown'}")
    if task.gpus == ():
        yield from row("GPU", "none was asked for")
        return
    driver = why(record, f"{path}.driver_version", task.driver_version)
    yield from row("driver", driver + (f" ({task.driver_source})" if task.driver_source else ""))
    if task.gpus is None:
        yield from row("GPU", why(record, f"{path}.gpus", None))
    for gpu in task.gpus or ():
        yield from row(
            "GPU", f"{gpu.uuid}  {gpu.name or 'unknown'}" + (f", {gpu.memory_mib} MiB" if gpu.memory_mib else "")
        )


def code_lines(record: Record) -> Iterator[str]:
    """The code."""
    code = record.code
    if code is None:
        yield from row("code", "none was sent with the job")
        return
    yield from row("code", f"tree {code.tree}")
    if code.commit:
        changed = ", with changes on top" if code.dirty else ""
        yield from row("", f"commit {code.commit}{f' ({code.branch})' if code.branch else ''}{changed}")
    if code.remote:
        yield from row("", code.remote)


def asked_lines(record: Record) -> Iterator[str]:
    """The command, its parameters and its mounts."""
    experiment = record.experiment
    if experiment.parameters:
        pairs = (
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in experiment.parameters.items()
        )
        yield from row("parameters", " ".join(pairs))
    yield from row("command", shlex.join(experiment.command))
    for mount in experiment.mounts:
        mode = "read-only" if mount.get("read_only") else "writable"
        yield from row("mount", f"{mount.get('source')} at {mount.get('target')}, {mode}")


def environment_lines(record: Record) -> Iterator[str]:
    """The software in the image."""
    inside = record.environment
    versions = (
        ("TensorFlow", inside.tensorflow),
        ("Python", inside.python),
        ("CUDA", inside.cuda),
        ("cuDNN", inside.cudnn),
    )
    known = [f"{name} {version}" for name, version in versions if version]
    packages = f", {len(inside.packages)} packages" if inside.packages else ""
    text = ", ".join(known) + packages if known else why(record, "environment", None)
    yield from row("inside", text)
    if inside.os:
        yield from row("", inside.os + (f", glibc {inside.glibc}" if inside.glibc else ""))


def output_lines(record: Record) -> Iterator[str]:
    """The outputs."""
    outputs = record.experiment.outputs
    if outputs is None:
        yield from row("outputs", why(record, "experiment.outputs", None))
    for index, output in enumerate((outputs or ())[:FEW]):
        size = f"{output.bytes} bytes" if output.bytes is not None else "unknown size"
        yield from row("outputs" if not index else "", f"{output.path}  {size}  sha256:{output.sha256[:12]}…")
    if outputs and len(outputs) > FEW:
        yield from row("", f"and {len(outputs) - FEW} more")
    if outputs == ():
        yield from row("outputs", "none")


def link_lines(record: Record) -> Iterator[str]:
    """The verdict on each link of the chain."""
    links = record.verified
    named = (
        ("image", links.image),
        ("GPUs", links.gpus),
        ("driver", links.driver),
        ("TensorFlow", links.tensorflow_gpu),
        ("code", links.code),
    )
    for index, (name, verdict) in enumerate(named):
        yield from row("verified" if not index else "", f"{verdict.status:<8}{name}: {verdict.reason}")


def note_lines(record: Record) -> Iterator[str]:
    """The warnings, then what identifies the record."""
    for warning in record.warnings:
        yield from row("warning", warning)
    yield from row("record", record.record_id)
    yield from row("", f"sha256:{record.integrity.record_sha256}" + (", signed" if record.integrity.signature else ""))
