"""The warnings for a reader of a record before trusting it, one line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tfslurm.image import lacking
from tfslurm.job_plan import JobPlan
from tfslurm.record.model import Record
from tfslurm.record.unsaved_files import in_words

SHOWN = 5


def warnings_of(plan: JobPlan, record: Record) -> Record:
    """The record with these warnings after those it has; failed links stand in ``verified``."""
    return replace(record, warnings=(*record.warnings, *lines(plan, record)))


def lines(plan: JobPlan, record: Record) -> Iterator[str]:
    """The warnings, the gravest first."""
    yield from about_files(plan, record)
    yield from about_others(record)
    yield from about_origin(record)
    yield from about_code(record)
    if plan.pin.pin_kind == "image-id":
        yield "image: it is pinned by the id that one docker daemon gave it; nobody else can pull it by that"
    yield from about_libraries(plan, record)
    yield from about_node(plan, record)


def about_files(plan: JobPlan, record: Record) -> Iterator[str]:
    """Work that is gone, or was never kept."""
    if sentence := in_words(record.experiment.lost or (), plan.outputs):
        yield sentence
    if plan.outputs and record.experiment.outputs == () and record.job.state == "COMPLETED":
        yield f"the program left nothing in {plan.outputs}"


def about_others(record: Record) -> Iterator[str]:
    """Folders in which somebody else could have replaced what ran, or its record."""
    shared = record.job.shared_folders or ()
    if shared:
        named = ", ".join(f"{each.folder} (mode {each.mode}, uid {each.uid})" for each in shared[:SHOWN])
        yield f"folders: others could replace the run folder, its outputs and its record: {named}"


def about_origin(record: Record) -> Iterator[str]:
    """A rerun of a record that nobody made so."""
    origin = record.derived_from
    if origin and origin.record_id and not origin.record_sha256:
        yield f"it repeats {origin.job} by a record that was changed after it was made"


def about_code(record: Record) -> Iterator[str]:
    """Code that a reader may not be able to get."""
    code = record.code
    if code is None:
        return
    if code.dirty is None:
        yield "code: it was in no git repository"
    elif code.commit is None:
        yield "code: its git repository has no commit yet: the tree id names what ran"
    elif code.dirty:
        yield f"code: it differs from commit {code.commit}: the tree id, not the commit, names what ran"
    if code.commit is not None and code.remote is None:
        yield "code: its git repository has no remote, so nobody else can fetch the commit"


def about_libraries(plan: JobPlan, record: Record) -> Iterator[str]:
    """CUDA libraries in the image that are older than those that its TensorFlow was built with."""
    inside = record.environment
    why = lacking(inside.cuda, inside.cuda_present, inside.cudnn, inside.cudnn_present)
    if why and plan.resources.gpus:
        yield f"image: TensorFlow {inside.tensorflow} was built with {why}: it finds no GPU, or stops with an error"


def about_node(plan: JobPlan, record: Record) -> Iterator[str]:
    """Ways in which the node's word is weaker than it could be."""
    tasks = [task for attempt in record.attempts for task in attempt.tasks]
    if any(task.gpu_source == "index-unconstrained" for task in tasks):
        yield "gpus: the site does not confine jobs to their GPUs; other jobs could use the same ones"
    if plan.resources.memory_mib and any(task.limits.memory == "none" for task in tasks):
        yield "limits: nothing held a container to the job's memory: podman without root cannot, Slurm does not"
    if any(task.container and task.container.oom_killed for task in tasks):
        yield "the kernel ended a container because the job's memory was used up"
    if record.job.restarts:
        times = f"{record.job.restarts} times" if record.job.restarts > 1 else "once"
        yield f"the job was requeued {times}; its outputs hold what all attempts left"
