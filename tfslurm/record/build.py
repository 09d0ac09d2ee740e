"""The files of one job, its plan and Slurm's word -> Record. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from tfslurm.errors import RecordError
from tfslurm.job_plan import JobPlan, mount_json
from tfslurm.job_plan.holding import HOLD, service_in
from tfslurm.job_plan.layer import LAYER_TARGET
from tfslurm.record import facts
from tfslurm.record.asked import read_asked, read_determinism
from tfslurm.record.energy import read_energy
from tfslurm.record.engines import container_answer
from tfslurm.record.environment import read_environment, with_layer
from tfslurm.record.folder import Folder
from tfslurm.record.inputs import about_inputs, read_inputs
from tfslurm.record.job import Ending, read_ending, read_job
from tfslurm.record.kept import about_kept, read_kept
from tfslurm.record.logs import read_logs
from tfslurm.record.model import (
    Attempt,
    Code,
    Experiment,
    Image,
    Input,
    Integrity,
    LostFile,
    Output,
    Record,
    seal,
)
from tfslurm.record.numbers import without_unfit
from tfslurm.record.schema import SCHEMA
from tfslurm.record.task import read_task
from tfslurm.record.unsaved_files import lost_files
from tfslurm.record.verified import Observed, verify
from tfslurm.record.warnings import warnings_of
from tfslurm.run_folder import paths
from tfslurm.slurm import JobStatus

FEW = 5  # foreign files named before the rest is counted, and complaints of nvidia-smi
LONGEST_COMPLAINT = 200


def build_record(
    plan: JobPlan,
    job_id: str,
    files: Mapping[str, bytes],
    status: JobStatus | None = None,
    *,
    image_facts: bytes | None = None,
    point: Mapping[str, Any] | None = None,
) -> Record:
    """The record of one job, sealed; a file that is missing or cut off makes facts null, with the reason.

    ``files`` are those below the job's folder, by relative path ('attempt-1/begin.json'); logs and the outputs
    themselves need not be among them. ``status`` is Slurm's word, None where Slurm does not know the job any more.
    ``image_facts`` is ROOT/images/<digest>.json; ``point`` the task's line of points.jsonl, whose ``parameters``,
    ``command`` and ``env`` stand over the plan's.
    """
    root = Folder(files, "", "")
    indexes = paths.attempts_in(files)
    folders = [root.below(paths.attempt(index), f"attempts[{place}]") for place, index in enumerate(indexes)]
    endings = [read_ending(folder, status, is_last=folder is folders[-1]) for folder in folders]
    observed = [one for place, folder in enumerate(folders) for one in read_tasks(plan, folder, indexes[place])]
    attempts = tuple(
        read_attempt(index, ending, folder, [one for one in observed if one.attempt == index])
        for index, ending, folder in zip(indexes, endings, folders, strict=True)
    )
    reasons = [ending.reason for ending in endings]
    job = read_job(plan, job_id, root, folders, endings, status)
    experiment = read_experiment(plan, root, folders, observed, point or {})
    inputs = read_inputs(plan, root, folders)
    record = Record(
        schema=SCHEMA,
        record_id=record_urn(plan.cluster, job_id, plan.plan_id),
        plan_id=plan.plan_id,
        plan_sha256=plan.plan_sha256,
        run_folder=str(plan.run_dir),
        derived_from=plan.derived_from,
        job=job,
        experiment=experiment,
        asked=read_asked(plan, root),
        inputs=inputs,
        determinism=read_determinism(experiment.env, experiment.parameters, plan, attempts, root),
        image=read_image(plan),
        code=read_code(plan),
        attempts=attempts,
        environment=with_layer(read_environment(root, plan.pin.digest, image_facts), plan, observed, root),
        energy=read_energy(observed, root),
        verified=verify(plan, observed),
        warnings=(*told(plan, inputs, folders, attempts), *filter(None, reasons[-1:])),
        unknown=root.unknown,
        integrity=Integrity(None, "", None),
    )
    record = warnings_of(plan, record)
    try:
        return seal(record)
    except RecordError:
        return seal(without_unfit(record, root.unknown))


def told(
    plan: JobPlan, inputs: tuple[Input, ...], folders: list[Folder], attempts: tuple[Attempt, ...]
) -> Iterator[str]:
    """The warnings that the job's files alone give."""
    yield from foreign_files(plan, folders)
    yield from about_inputs(plan, inputs, folders)
    yield from complaints(folders)
    yield from entered(plan, folders, sum(one.kept.commands for one in attempts if one.kept))
    yield from about_kept(attempts)


def complaints(folders: list[Folder]) -> Iterator[str]:
    """Warnings of nvidia-smi itself, on any node, each once."""
    listed = re.compile(r"attempt-\d+/facts/task-\d+/nvidia-smi-(L\.txt|query\.csv)")
    files = folders[-1].files if folders else {}
    texts = [files[name] for name in sorted(files) if listed.fullmatch(name)]
    found = dict.fromkeys(line for raw in texts for line in facts.parse_complaints(raw))
    yield from (f"nvidia-smi: {line[:LONGEST_COMPLAINT]}" for line in [*found][:FEW])


def entered(plan: JobPlan, folders: list[Folder], after: int) -> Iterator[str]:
    """A warning where commands ran beside the program, in its container: they may have changed what it did.

    So many ran ``after`` it.
    """
    listed = re.compile(r"(?:.*/)?facts/task-\d+/entered\.tsv")
    texts = [raw for name, raw in (folders[-1].files if folders else {}).items() if listed.fullmatch(name)]
    if HOLD in plan.command:
        yield "container: what ran in it was typed in a terminal (tfslurm shell), and is not known here"
    elif (service := service_in(plan.command)) and service.kind == "jupyter":
        yield f"container: what ran in it was typed in a browser (tfslurm {service.kind}), and is not known here"
    elif count := sum(b"\ttfslurm-service-" not in line for raw in texts for line in raw.splitlines()) - after:
        what = f"{count} commands were" if count > 1 else "1 command was"
        yield f"container: {what} run in it beside the program (tfslurm exec), which may have changed what it did"


def foreign_files(plan: JobPlan, folders: list[Folder]) -> Iterator[str]:
    """A warning where the last attempt found files in the job's folder that are not the user's."""
    raw = folders[-1].raw("foreign-files") if folders else None
    found = [entry.partition(" ") for entry in (raw or b"").decode("utf-8", "backslashreplace").split("\0") if entry]
    if found:
        names = [f"{name} (uid {uid})".replace("\n", "\\n") for uid, _, name in found[:FEW]]
        many = f"{len(found)} files in the job's folder do" if len(found) > 1 else "1 file in the job's folder does"
        more = ", …" if len(found) > FEW else ""
        yield f"{many} not belong to {plan.user}, who may be unable to remove them: {', '.join(names)}{more}"


def read_attempt(index: int, ending: Ending, folder: Folder, observed: list[Observed]) -> Attempt:
    """One run of the job, as it wrote itself down."""
    return Attempt(
        index=index,
        state=ending.state,
        ended_by=ending.ended_by,
        started_at=ending.began_at,
        ended_at=ending.ended_at,
        exit_code=ending.exit_code,
        reason=ending.reason,
        warned_at=ending.warned_at,
        tasks=tuple(one.task for one in observed),
        logs=read_logs(folder, observed),
        kept=read_kept(folder),
    )


def read_tasks(plan: JobPlan, folder: Folder, index: int) -> list[Observed]:
    """The tasks of one attempt by rank."""
    ranks = paths.tasks_in(folder.names)
    if not ranks:
        folder.note("tasks", folder.text("refused.txt") or "no task of this attempt left an observation")
    observed = []
    for place, rank in enumerate(ranks):
        below = folder.below(paths.task(rank), f"{folder.path}.tasks[{place}]")
        observed.append(Observed(index, read_task(below, rank, plan.engine), below))
    return observed


def read_experiment(
    plan: JobPlan, root: Folder, folders: list[Folder], observed: list[Observed], point: Mapping[str, Any]
) -> Experiment:
    """The experiment as it was asked for, and its outputs."""
    return Experiment(
        name=plan.name,
        spec_sha256=plan.spec_sha256,
        parameters=point.get("parameters", plan.parameters),
        command=tuple(point.get("command", plan.command)),
        mounts=tuple(mount_json(mount) for mount in plan.mounts),
        env={**plan.env, **point.get("env", {})},
        outputs=read_outputs(plan, root, folders),
        lost=read_lost(plan, root, [one for one in observed if one.attempt == observed[-1].attempt]),
    )


def read_outputs(plan: JobPlan, root: Folder, folders: list[Folder]) -> tuple[Output, ...] | None:
    """The outputs as the last attempt that ended left them; () where the experiment keeps none."""
    if not plan.outputs:
        return ()
    if not folders:
        root.note("experiment.outputs", "no attempt of the job left a file")
        return None
    last = folders[-1].at("experiment")
    hashes = last.fact("outputs", paths.OUTPUT_SUMS, facts.parse_hashes)
    if hashes is None:
        return None
    sizes = last.fact("outputs[*].bytes", paths.OUTPUT_SIZES, facts.parse_sizes) or {}
    return tuple(Output(path, sizes.get(path), hashes[path]) for path in sorted(hashes))


def read_lost(plan: JobPlan, root: Folder, observed: list[Observed]) -> tuple[LostFile, ...] | None:
    """The files that the last attempt's tasks wrote outside every mount; None if the engine could not list them."""
    found: dict[str, LostFile] = {}
    for one in observed:
        files = one.files.at("experiment")
        if one.task.container is None:
            continue  # nothing ran that could have lost anything
        changes = files.fact("lost", "container-diff.txt", facts.parse_diff)
        if changes is None:
            return None
        found.update((entry.path, entry) for entry in lost_files(changes, mount_targets(plan, files)))
    if not observed:
        root.note("experiment.lost", "no task of the job left an observation")
        return None
    return tuple(found[path] for path in sorted(found))


def mount_targets(plan: JobPlan, files: Folder) -> tuple[str, ...]:
    """The container paths that are kept elsewhere: those of the plan, and those that the engine says were mounted."""
    mounted = files.quiet().fact("", "container-inspect.json", lambda raw: container_answer(raw).mounts) or ()
    asked = [str(mount.target) for mount in plan.mounts] + ([plan.outputs] if plan.outputs else [])
    asked += [LAYER_TARGET] if plan.packages else []
    return tuple(path for path in dict.fromkeys([*asked, "/workspace", *mounted]) if path)


def read_image(plan: JobPlan) -> Image:
    """The pin, which every node was held to."""
    pin = plan.pin
    return Image(
        reference=pin.reference,
        registry=pin.registry,
        repository=pin.repository,
        tag=pin.tag or None,
        digest=pin.digest,
        digest_kind=pin.digest_kind,
        config_digest=pin.config_digest or None,
        platform=pin.platform or None,
        served_by=pin.served_by or None,
        pinned_at=pin.pinned_at or None,
    )


def read_code(plan: JobPlan) -> Code | None:
    """The code snapshot; None where the experiment brings no code."""
    code = plan.code
    return Code(code.remote, code.commit, code.branch, code.dirty, code.tree) if code else None


def record_urn(cluster: str, job_id: str, plan_id: str) -> str:
    """The same id for the same job, however often its record is built. Source: RFC 9562, section 5.8 (version 8).

    ``plan_id`` holds the moment of submission, so a job id that Slurm uses again gives another record.
    """
    digest = bytearray(sha256(f"tfslurm.record {cluster} {job_id} {plan_id}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
