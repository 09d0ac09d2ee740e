"""A plan as a person reads it: each line a word and a text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfslurm.document.tree import printable
from tfslurm.image.packages import summary
from tfslurm.job_plan import CodeState, JobPlan, to_json
from tfslurm.spec.notes import notes
from tfslurm.submission.prepare import Asked, Prepared
from tfslurm.submission.review import mount_text, option_texts, quoted, reached, written_env
from tfslurm.submission.scan_gate import words_of
from tfslurm.workspace.known_images import unsuited

Lines = Iterator[tuple[str, str]]


def text_of(lines: Iterable[tuple[str, str]]) -> str:
    """The lines, with their words below each other."""
    return "\n".join(f"{name:8} {printable(text)}" for name, text in lines)


def lines_of_job(job: Prepared, asked: Asked) -> Lines:
    """All of the plan of one job, or of the array of a sweep."""
    made = job.plan
    yield "job", f"{made.name} on {made.cluster}, as {made.user}"
    pin = made.pin
    known = f"{pin.digest_kind}, pinned {pin.pinned_at}" if pin.digest_kind != "unknown" else "no registry was asked"
    yield "image", f"{pin.reference} = {pin.digest} ({known})"
    if base := made.build.base if made.build else None:
        yield "built", f"on {base.reference} = {base.digest}; --review shows how"
    archive = f"the archive sha256:{made.image_archive}, which is sent with it"
    yield "from", archive if made.image_archive else ", ".join(made.image_sources)
    if made.packages:
        yield "packages", f"{summary(made.packages)} (by {made.packages.resolver}, layer {made.packages.key[:12]})"
    elif asked.experiment.packages is not None:
        yield "packages", "the image already holds all of them"
    yield "command", " ".join(map(quoted, made.command))
    yield "code", code_text(made.code) if made.code else "none"
    yield from (("left out", line) for line in (job.code.left_out if job.code else ()))
    yield from reached(asked, env_of(made, asked))
    yield "mounts", ", ".join(map(mount_text, made.mounts)) or "none"
    kept = f"{quoted(made.outputs)} -> {made.run_dir}/<job>/out" if made.outputs else ""
    yield "outputs", kept or "none: nothing the program writes is kept"
    if job.scan:
        yield "scan", words_of(job.scan, made.spec_file).removeprefix("scan: ")
    yield from asks_for(made)
    yield "sbatch", " ".join(option_texts(made.asked_options))
    if not made.points:  # each array of a sweep has an id of its own, once it is sent
        yield "plan", f"{made.plan_id}, sha256 of what is asked {made.plan_sha256}"


def lines_unpinned(asked: Asked) -> Lines:
    """What the file itself says, where the image is not pinned and so nothing is prepared."""
    experiment = asked.experiment
    yield "image", f"{experiment.image}: not pinned"
    yield "command", " ".join(quoted(str(word)) for word in experiment.command)
    yield from reached(asked, written_env(experiment))
    yield "mounts", ", ".join(map(mount_text, experiment.mounts)) or "none"
    yield "outputs", experiment.outputs or "none: nothing the program writes is kept"
    yield "sbatch", " ".join(option_texts({**experiment.slurm, **experiment.plugin_options})) or "as the cluster's file"


def env_of(made: JobPlan, asked: Asked) -> Mapping[str, str]:
    """The variables of the program; those of a sweep as they are written."""
    return written_env(asked.experiment) if made.points else made.env


def asks_for(made: JobPlan) -> Lines:
    """What the job gets of its nodes, and what warns it of its end."""
    asked, ends = made.resources, made.checkpoint
    yield "gpus", f"{asked.gpus} per node, {asked.nodes} node(s), {asked.tasks_per_node} task(s) per node"
    yield "shm", f"{asked.shm_mib} MiB" if asked.shm_mib else f"{made.engine}'s default, 64 MiB"
    if ends:
        again = f", then queued again, at most {ends.max_requeues} times" if ends.requeue else ""
        yield "ends", f"checkpoint: {ends.signal} {ends.before_end_s} s before the time limit{again}"


def code_text(code: CodeState) -> str:
    """The tree of the code, and how it stands to its commit."""
    state = ""
    if code.dirty is not None and code.commit is None:
        state = ", no commit yet"
    elif code.dirty:
        state = f", dirty: not the files of commit {code.commit}"
    return f"tree {code.tree}, {code.files} files, {code.size_bytes} bytes{state}"


def as_value(job: Prepared, asked: Asked) -> dict[str, Any]:
    """The plan of one job or array for --json; ``left_out`` and ``notes`` are for a reader."""
    left_out = list(job.code.left_out) if job.code else []
    return {**to_json(job.plan), "script": job.script, "left_out": left_out, "notes": notes_of(asked, job)}


def notes_of(asked: Asked, job: Prepared | None) -> list[str]:
    """What the writer may not have meant, and what is not set yet."""
    code = job.code if job else None
    files = {entry.name for entry in code.entries} if code else None
    unset = [name for name in asked.experiment.secrets if not os.environ.get(name)]
    missing = [f"secrets: {', '.join(unset)}: not set in this shell, and submit refuses that"] if unset else []
    scan = job.scan.notes if job and job.scan else ()
    return [*notes(asked.experiment, files), *missing, *(of_variant(job.plan) if job else ()), *scan]


def of_variant(plan: JobPlan) -> Iterator[str]:
    """That the variant of the image does not suit the job."""
    yield from (f"image: {what}" for what in unsuited(plan.pin, plan.resources.gpus))
