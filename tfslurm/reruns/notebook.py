"""A notebook in the environment of a run: an experiment of its own, which has the run's outputs beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tfslurm.document import Refused, dump
from tfslurm.document.tree import printable
from tfslurm.errors import InputError, RecordError, TfslurmError, refuse
from tfslurm.image import PackageLock, Pin, lock_text
from tfslurm.image.packages import summary
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.holding import Service
from tfslurm.local_files import write_file
from tfslurm.monitoring.lookup import find_job, parameters_of
from tfslurm.reruns.code_files import CHANGED, whole, write_tree
from tfslurm.reruns.experiment_text import CODE, literally, mount_of, options_of, resources_of, users_own
from tfslurm.reruns.naming import PREFIX, named_by_record
from tfslurm.retrieval.code_trees import id_of, tree_in_git
from tfslurm.services.beside import by_digest, locked_as
from tfslurm.services.service import Attached, open_service
from tfslurm.services.shell import Seen
from tfslurm.services.shown_runs import Run
from tfslurm.services.tensorboard import begun
from tfslurm.snapshot import LIMIT_BYTES, Snapshot, take_all
from tfslurm.spec.names import template_file
from tfslurm.spec.requirements import requirement
from tfslurm.submission.packages import resolve_packages
from tfslurm.submission.prepare import Asked, read_experiment, write_lock
from tfslurm.submission.sweep_resume import of_run_folders
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

NAME = "jupyter"
"Of the notebook's experiment: that of the run stays the name of its runs."
FREE = ("resources.", "slurm.")
FREE_WHOLE = ("network", "packages", "secrets")
"Keys that --set changes here."
REQUIREMENTS = "requirements.txt"
OUTPUTS = "/job/out"
"Where the run's own are, unless something of it is there."


class OfRun(NamedTuple):
    """A run, its plan as the job saw it, and what --set says."""

    job: TrackedJob
    plan: JobPlan
    env: Mapping[str, str]
    parameters: Mapping[str, Any]
    added: tuple[str, ...]


def job_named(session: Session, name: str) -> TrackedJob | None:
    """The job that the argument of a command names; None: it is the file of an experiment.

    A path (``./digits``) and what ends in .yaml is a file, whatever jobs there are; else a job stands before a file.

    Raises:
        InputError: neither is there.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return None
    try:
        return find_job(session.tracker, name)
    except InputError:
        if Path(name).is_file():
            return None
        raise


def open_notebook(
    session: Session, job: TrackedJob, sets: Sequence[str], service: Service, *, port: int, seen: Seen
) -> Attached:
    """Submit a notebook in a run's environment, and wait until it answers.

    Raises:
        TfslurmError: as ``notebook_of`` and ``open_service``.
        KeyboardInterrupt: Ctrl-C.
    """
    asked, known = notebook_of(session, job, sets)
    with named_by_record(job.key):
        return open_service(session, asked, known, service, port=port, seen=seen)


def notebook_of(session: Session, job: TrackedJob, sets: Sequence[str]) -> tuple[Asked, Known]:
    """The experiment of a notebook in a run's environment, and the cluster that the run was on.

    It has the run's image and packages by their hashes, its code, mounts, variables, secrets, resources and options;
    its outputs are mounted read-only, which is said. A point of a sweep has its own values.

    Raises:
        InputError: it ran on this machine; a setting is none of ``FREE``; a secret is not set in this shell.
        RecordError: its plan or its code is not to be had any more.
        TfslurmError: it has not begun; its plan was read from a run folder, and the user does not agree.
    """
    if job.cluster == LOCAL:
        raise refuse(f"job {job.key}", "ran on this machine, where there are no nodes", "name a job of a cluster")
    free = [each for each in sets if not each.startswith((*FREE, *(f"{key}=" for key in FREE_WHOLE)))]
    if free:
        keys = ", ".join((*(f"{key}*" for key in FREE), *FREE_WHOLE))
        why = "would not be the environment of that job"
        raise refuse(f"--set {free[0]}", why, f"set {keys} alone, or write an exp.yaml")
    run, known = run_of(session, job, sets), known_for(job, session.tracker)
    ask_of_rebuilt(session, run)
    if run.plan.outputs:
        begun(session, known, [Run(job.key, {}, job, run.plan)])
    with named_by_record(job.key):
        asked = experiment(session, run, known, [each for each in sets if not each.startswith("packages=")])
    refuse_unset(job, asked)
    if run.plan.outputs:
        place = asked.experiment.mounts[-1].target
        session.say(f"{job.key}: its outputs are at {place}, read-only; yours are in {asked.experiment.outputs}")
    return asked, known


def run_of(session: Session, job: TrackedJob, sets: Sequence[str]) -> OfRun:
    """The run: of a point of a sweep with the point's own variables.

    Raises:
        InputError: --set packages= has no requirements.
        RecordError: its plan is not known.
    """
    tracker = session.tracker
    kept = tracker.plans(plan_id=job.plan_id)
    if not kept:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    plan = kept[0].plan
    entries = tracker.sweeps.entries(job.plan_id) if job.place is not None else ()
    own = entries[job.place].env if job.place is not None and job.place < len(entries) else {}
    words = [each.partition("=")[2] for each in sets if each.startswith("packages=")][-1:]
    try:
        added = [requirement(each).text for word in words for each in word.strip("[] ").split(",")]
    except Refused as error:
        raise refuse(f"--set packages={words[0]}", error.why, error.fix) from error
    return OfRun(job, plan, {**plan.env, **own}, parameters_of(job, tracker), tuple(added))


def ask_of_rebuilt(session: Session, run: OfRun) -> None:
    """Show a plan that was read from a run folder, and ask: this tracker was never told of it.

    Raises:
        TfslurmError: it is not wanted.
    """
    if not any(each.is_rebuilt for each in session.tracker.plans(plan_id=run.job.plan_id)):
        return
    session.say(f"{run.job.key} was read from its run folder, and not asked for with this tracker; its environment is:")
    for line in of_run_folders([run.plan]):
        session.say(f"  {printable(line)}")
    if not session.agree("start a notebook in that?"):
        raise TfslurmError(
            f"{run.job.key}: nothing was started: its plan, which was read from a folder, needs your word"
        )


def experiment(session: Session, run: OfRun, known: Known, sets: Sequence[str]) -> Asked:
    """The experiment, in this command's own folder, with its lock file and its code."""
    plan, pin = run.plan, by_digest(session.tracker, run.plan.pin)
    folder = Path(session.keep(TemporaryDirectory(prefix=PREFIX))).resolve()
    tree = tree_of(run, pin)
    if run.added:
        write_file(folder / REQUIREMENTS, "\n".join((*pinned_by_hash(plan.packages), *run.added, "")).encode())
    write_template(run, folder)
    write_file(folder / "exp.yaml", dump(tree).encode())
    lock = None if run.added else locked_as(plan.packages, tree.get("packages", ()))
    write_file(folder / "exp.lock.yaml", lock_text(pin, lock).encode())
    os.environ.pop("SQUEUE_FORMAT", None)  # simple_slurm fails to import where it holds an ordinary value
    asked = read_experiment(folder / "exp.yaml", sets)._replace(is_temporary=True, of_run=run.job.key)
    if run.added:
        packages = resolve_packages(session, asked.experiment, asked.file, pin, [known])
        write_lock(asked, pin, packages)
        session.say(f"locked {summary(packages)}")
    if plan.code is None:
        return asked
    return asked._replace(code=bring_code(session, run, known, folder / CODE))


def write_template(run: OfRun, folder: Path) -> None:
    """Write the run's own template beside its experiment.

    Raises:
        RecordError: the plan has not its text, or its name is none of a template.
    """
    name, text = run.plan.template, run.plan.template_text
    if not name:
        return
    try:
        fits = template_file(name) not in ("exp.yaml", "exp.lock.yaml", REQUIREMENTS, CODE)
    except Refused:
        fits = False
    if not fits:
        raise RecordError(f"{run.job.key}: template: {name[:80]!r} is not the name of a template")
    if not text:
        raise RecordError(f"{run.job.key}: an older tfslurm made its plan, without the text of its template {name}")
    write_file(folder / name, text.encode())


def tree_of(run: OfRun, pin: Pin) -> dict[str, Any]:
    """The tree of exp.yaml."""
    plan = run.plan
    options, _ = options_of(plan.options, is_same_cluster=True)
    wheels = plan.packages.wheels if plan.packages else ()
    resources = asdict(plan.resources)
    shm = f"{plan.resources.shm_mib}M" if plan.resources.shm_mib else None
    mounts = [mount_of(asdict(mount), {}) for mount in plan.mounts]
    if plan.outputs:
        taken = [plan.outputs, *(mount.target for mount in plan.mounts)]
        mounts.append({"source": f"run:{run.job.key}/out", "target": free_place(taken, OUTPUTS)})
    values: dict[str, Any] = {
        "name": NAME,
        "image": pin.reference,
        "command": ["true"],
        "packages": REQUIREMENTS if run.added else [f"{wheel.name}=={wheel.version}" for wheel in wheels],
        "code": {"path": CODE, "writable": plan.code.writable} if plan.code else None,
        "mounts": mounts,
        "outputs": plan.outputs or free_place([mount.target for mount in plan.mounts], "/out"),
        "env": {name: literally(value) for name, value in users_own(run.env).items()},
        "secrets": list(plan.secrets),
        "resources": resources_of(resources, shm),
        "network": plan.network,
        "prepull": plan.prepull,
        "gpu_check": plan.gpu_check,
        "template": plan.template,
        "slurm": options,
        "plugin_options": dict(plan.plugin_options),
        "parameters": dict(run.parameters),
    }
    return {key: value for key, value in values.items() if value not in (None, {}, [], "")}


def free_place(taken: Sequence[str], wanted: str) -> str:
    """A place in the container that is none of the taken ones, nor below or above one."""

    def is_free(place: str) -> bool:
        return not any(f"{place}/".startswith(f"{each}/") or f"{each}/".startswith(f"{place}/") for each in taken)

    head, _, tail = wanted[1:].partition("/")
    tail = f"/{tail}" if tail else ""
    return next(place for at in range(len(taken) + 1) if is_free(place := f"/{head}{at + 1 if at else ''}{tail}"))


def pinned_by_hash(lock: PackageLock | None) -> list[str]:
    """The requirements that only a run's own wheels satisfy."""
    return [f"{each.name}=={each.version} --hash=sha256:{each.sha256}" for each in (lock.wheels if lock else ())]


def bring_code(session: Session, run: OfRun, known: Known, folder: Path) -> Snapshot:
    """The code of the run as it lies in the new ``folder`` now: from its cluster, else from this folder's repository.

    Raises:
        RecordError: it is nowhere to be had.
    """
    code, place = run.plan.code, run.plan.code_dir
    assert code is not None and place is not None  # noqa: S101 - asked for where there is code
    found, why = whole(session.reach(known), place)
    if found and id_of(found, code.tree) != code.tree:
        found, why = None, f"{place}: {CHANGED}"
    found = found or tree_in_git(Path(), code.tree, LIMIT_BYTES, LIMIT_BYTES)
    if found is None:
        raise RecordError(f"{run.job.key}: code: {why}; run this in a clone of its repository")
    write_tree(found, folder, run.job.key)
    taken = take_all(folder)
    if taken.tree != code.tree:
        raise RecordError(f"{run.job.key}: code: {CHANGED}: {taken.tree}, not {code.tree}")
    return taken


def refuse_unset(job: TrackedJob, asked: Asked) -> None:
    """Refuse secrets of the run that are not in this shell: no record and no folder has their values.

    Raises:
        InputError: which ones.
    """
    missing = [name for name in asked.experiment.secrets if not os.environ.get(name)]
    if missing:
        fix = f"export {missing[0]}=… first, or start without: --set 'secrets=[]'"
        raise refuse(f"job {job.key}: secrets: {', '.join(missing)}", "not set in this shell", fix)
