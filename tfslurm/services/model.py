"""A model server on a node for a model that a run left: an experiment of its own, which mounts the model read-only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.errors import InputError, TfslurmError, refuse
from tfslurm.host.fetching import Entry, Outputs, look, sums
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.holding import Served, Service, served_by, service_in
from tfslurm.monitoring.lookup import JOB, find_job, job_dir, plan_of
from tfslurm.monitoring.refresh import refresh
from tfslurm.record.model import Output
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.run_folder.paths import OUTPUTS
from tfslurm.services.beside import job_beside, refuse_sets
from tfslurm.submission.prepare import Asked
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

KIND = "serve"
FOLDER, FILE = "/model", "/model.keras"
"Where job_templates/inside/model_server.py finds it."
MEMORY = "4G"
SAVED = "saved_model.pb"
KERAS = ".keras"
MOST_FILES = 10_000
FEW = 10
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9]{1,18}")


class Found(NamedTuple):
    """A model in a run's outputs: ``path`` is its folder or file there, '' for all of them.

    ``base`` is the folder of its versions, where it lies in one, and else ``path``.
    """

    base: str
    version: int
    path: str

    @property
    def is_saved(self) -> bool:
        """Whether it is a SavedModel, and no file of Keras."""
        return not self.path.endswith(KERAS)


def model_of(
    session: Session, text: str, name: str, sets: Sequence[str], idle_after_s: int
) -> tuple[Asked, Known, Service]:
    """The experiment of a model server for ``JOB`` or ``JOB:PATH``, the cluster that has the model, and the service.

    The model is called ``name``, or as the run's experiment is. The image and packages are the run's.

    Raises:
        InputError: there is no such job or model, or there are several; a setting is not one of the job's own.
        TfslurmError: the run has no outputs yet, or the model is not what the run's record says.
        HostError: its cluster does not answer.
    """
    refuse_sets(sets, "a model server's job")
    job, path = job_and_path(session.tracker, text)
    name = name or job.name
    if not NAME.fullmatch(name):
        raise refuse(f"--name {name!r}", "is no name of a model", "write letters, digits and . _ -")
    plan = plan_of(job, session.tracker)
    if job.cluster == LOCAL:
        raise refuse(f"job {job.key}", "ran on this machine, and a service needs a cluster", "name a job of a cluster")
    refuse_service(job, plan)
    if not plan.outputs:
        raise refuse(f"job {job.key}", "kept nothing: its experiment had no `outputs`", "name another job")
    known = known_for(job, session.tracker)
    if not job.final:
        refresh(known, session.tracker, session.reach(known), [job])
        job = find_job(session.tracker, job.key)
    model, served = looked_at(session, known, job, path, name)
    source = f"run:{job.key}/out{f'/{model.path}' if model.path else ''}"
    mount = {"source": source, "target": FOLDER if model.is_saved else FILE, "hash": True}
    asked = job_beside(session, KIND, plan, [mount], sets, memory=MEMORY)
    return asked, known, Service(KIND, idle_after_s, (served.word,))


def looked_at(session: Session, known: Known, job: TrackedJob, path: str, name: str) -> tuple[Found, Served]:
    """The model, and what it is: by the sums of the job's record, or of a job that has none as it is now."""
    host, folder = session.reach(known), job_dir(plan_of(job, session.tracker), job.job_id)
    outputs = look(host, folder)
    model = chosen(session, job, outputs, path)
    files = files_of(outputs, model, job)
    recorded = [each for each in recorded_of(session, job) if is_below(each.path, model.path)] if job.final else []
    of_model = {each.path: each.sha256 for each in recorded}
    if of_model:
        refuse_changes(job, model, files, recorded)
    else:
        lacks = "its record has no sums of" if job.final else "there is no record yet of"
        session.say(f"{job.key}: {lacks} {shown(model.path)}: it is served as it is now")
        found = sums(host, folder / OUTPUTS, [(each.path, each.bytes) for each in files])
        of_model = {each.path: digest for each, digest in zip(files, found, strict=True)}
    size = sum(each.bytes for each in files)
    digest = contents_sha256(model, of_model)
    return model, Served(name, model.version, job.key, shown(model.path), len(files), size, digest)


def job_and_path(tracker: Tracker, text: str) -> tuple[TrackedJob, str]:
    """The job that begins ``JOB:PATH``, and the path; '' where there is none.

    Raises:
        InputError: it begins with no job, or the path leads elsewhere.
    """
    parts, first = text.split(":"), None
    for count in range(len(parts), 0, -1):
        head, path = ":".join(parts[:count]), ":".join(parts[count:])
        try:
            job = find_job(tracker, head)
        except InputError as error:
            first = error if first is None or JOB.fullmatch(head) else first
            continue
        path = path.rstrip("/")
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            fix = f"write {job.key}:PATH, as `tfslurm fetch` has it"
            raise refuse(f"path {path!r}", "is no path in the outputs of a job", fix)
        return job, path
    if text.endswith((".yaml", ".yml")):
        raise refuse(text, "names a file, and a model is served out of a job", "submit it, then `tfslurm serve last`")
    raise first or refuse(text, "names no job", "write JOB or JOB:PATH")


def refuse_service(job: TrackedJob, plan: JobPlan) -> None:
    """Refuse a job that shows or serves what others left: `last` may be one. A notebook may leave a model.

    Raises:
        InputError: it is one, with the job to name in its place.
    """
    service = service_in(plan.command)
    if service is None or service.kind == "jupyter":
        return
    served = served_by(service)
    of = f"{served.run}{'' if served.path == '.' else f':{served.path}'}" if served else ""
    fix = f"`tfslurm serve {of}` serves its model" if served else "name the job that has one"
    raise refuse(f"job {job.key}", f"is a service ({service.kind}), and leaves no model", fix)


def models_in(outputs: Outputs) -> list[Found]:
    """The models there: of one that has versions the highest."""
    paths = [each.path for each in outputs.entries if each.kind == "f"]
    found: dict[str, Found] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        base, _, last = folder.rpartition("/")
        if name == SAVED:
            model = Found(base, int(last), folder) if VERSION.fullmatch(last) else Found(folder, 1, folder)
            if model.base not in found or found[model.base].version < model.version:
                found[model.base] = model
        elif name.endswith(KERAS):
            found[path] = Found(path, 1, path)
    return sorted(found.values())


def chosen(session: Session, job: TrackedJob, outputs: Outputs, path: str) -> Found:
    """The one model at a path, or below it; a SavedModel rather than files of Keras beside it.

    Raises:
        InputError: there is none, or there are several.
    """
    if any(each.kind == "f" and each.path == f"{path}/{SAVED}" for each in outputs.entries):
        last = path.rpartition("/")[2]
        return Found(path, int(last) if VERSION.fullmatch(last) else 1, path)
    found = models_in(outputs)
    here = [each for each in found if each.base == path] or [each for each in found if is_below(each.path, path)]
    saved = [each for each in here if each.is_saved]
    if len(saved) == 1 or len(here) == 1:
        model = (saved or here)[0]
        if len(here) > 1:
            session.say(f"{job.key}: serves {shown(model.path)}; beside it are {names(here, model)}")
        return model
    where = f"{job.key}:{path}" if path else job.key
    if here:
        raise refuse(where, f"has several models: {names(here)}", f"name one: {job.key}:{shown(here[0].path)}")
    there = f"it has {names(found)}" if found else "save one with `model.export(FOLDER)`, or as NAME.keras"
    raise refuse(where, f"has no model: no folder with {SAVED}, and no file {KERAS}", there)


def names(found: Sequence[Found], but: Found | None = None) -> str:
    """The paths of some models in words."""
    paths = [shown(each.path) for each in found if each != but]
    return ", ".join(paths[:FEW]) + (f" and {len(paths) - FEW} more" if len(paths) > FEW else "")


def shown(path: str) -> str:
    """A path in the outputs as it is printed; a dot for all of them."""
    return path or "."


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or a file, or lies in it."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def files_of(outputs: Outputs, model: Found, job: TrackedJob) -> list[Entry]:
    """The files of a model.

    Raises:
        InputError: it has links, files without a fit name, or too many.
    """
    entries = [each for each in outputs.entries if is_below(each.path, model.path)]
    files = [each for each in entries if each.kind == "f"]
    odd = next((each.path for each in entries if each.kind not in "fdD" or not is_fit(each.path)), "")
    where = f"{job.key}:{shown(model.path)}"
    if odd:
        raise refuse(where, f"{odd!r} in it is a link, no file, or has an unfit name", "save the model without it")
    if len(files) > MOST_FILES:
        raise refuse(
            where, f"has {len(files)} files, and {MOST_FILES} is the most", "name the folder of the model alone"
        )
    return files


def is_fit(path: str) -> bool:
    """Whether a path stands in a line of sha256sum as it is."""
    return path.isprintable() and "\\" not in path


def recorded_of(session: Session, job: TrackedJob) -> list[Output]:
    """The outputs of a job, as its record has them; none where it has none."""
    record = records_of(session, [job]).get(job.key) or {}
    outputs = (record.get("experiment") or {}).get("outputs") or ()
    return [Output(each["path"], each["bytes"], each["sha256"]) for each in outputs]


def refuse_changes(job: TrackedJob, model: Found, files: Sequence[Entry], recorded: Sequence[Output]) -> None:
    """Refuse a model with other files than the run left. Their contents are held against their sums on the node.

    Raises:
        TfslurmError: a file is gone, new, or of another size.
    """
    there, then = {each.path: each.bytes for each in files}, {each.path: each.bytes for each in recorded}
    changes = [f"{path} is gone" for path in sorted(set(then) - set(there))]
    changes += [f"{path} is new" for path in sorted(set(there) - set(then))]
    both = sorted(set(there) & set(then))
    changes += [
        f"{path} has {there[path]} bytes, not {then[path]}" for path in both if then[path] not in (None, there[path])
    ]
    if changes:
        told = ", ".join(changes[:FEW])
        raise TfslurmError(
            f"{job.key}: {shown(model.path)} is not what its record says: {told}; `tfslurm verify {job.key}` shows all"
        )


def contents_sha256(model: Found, recorded: Mapping[str, str]) -> str:
    """The hash of a model's contents from those of its files, as model_server.py makes it."""
    if not model.is_saved:
        return recorded[model.path]
    below = {path[len(model.path) + 1 :] if model.path else path: digest for path, digest in recorded.items()}
    lines = sorted((path.encode("utf-8", "surrogateescape"), digest) for path, digest in below.items())
    listed = b"".join(digest.encode() + b"  " + path + b"\n" for path, digest in lines)
    return hashlib.sha256(listed).hexdigest()
