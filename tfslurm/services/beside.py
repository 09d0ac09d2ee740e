"""The experiment of a job that stands beside a run: with its image and its packages, and what it left mounted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tfslurm.document import dump
from tfslurm.errors import refuse
from tfslurm.image import PackageLock, Pin, lock_text, parse_reference
from tfslurm.job_plan import JobPlan
from tfslurm.local_files import write_file
from tfslurm.spec.requirements import requirement
from tfslurm.submission.packages import asked_sha256
from tfslurm.submission.pinning import lock_sha256
from tfslurm.submission.prepare import Asked, read_experiment
from tfslurm.tracker import Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.session import Session

FREE = ("resources.", "slurm.")
"Keys that --set changes here."


def refuse_sets(sets: Sequence[str], what: str) -> None:
    """Refuse a setting that is not of the job's own room: the rest is the run's.

    Raises:
        InputError: there is one.
    """
    for each in sets:
        if not each.startswith(FREE):
            raise refuse(f"--set {each}", f"is no key of {what}", "set resources.* or slurm.* alone")


def job_beside(
    session: Session,
    name: str,
    plan: JobPlan,
    mounts: Sequence[Mapping[str, object]],
    sets: Sequence[str],
    *,
    memory: str,
) -> Asked:
    """The experiment, in this command's own folder: the image and the packages of a run's plan, by their hashes.

    It has no code, secret, variable or GPU of the run's. Its program is put in later.
    """
    pin = by_digest(session.tracker, plan.pin)
    wheels = plan.packages.wheels if plan.packages else ()
    packages = [f"{wheel.name}=={wheel.version}" for wheel in wheels]
    account = {"account": plan.options["account"]} if plan.options.get("account") else {}
    tree = {
        "name": name,
        "image": pin.reference,
        "command": ["true"],
        "outputs": "/out",
        "mounts": [*mounts],
        "resources": {"gpus": 0, "memory": memory},
        **({"packages": packages} if packages else {}),
        **({"slurm": account} if account else {}),
    }
    folder = Path(session.keep(TemporaryDirectory(prefix=f"tfslurm-{name}-"))).resolve()
    write_file(folder / "exp.yaml", dump(tree).encode())
    lock = lock_text(pin, locked_as(plan.packages, packages))
    write_file(folder / "exp.lock.yaml", lock.encode())
    return read_experiment(folder / "exp.yaml", sets)


def by_digest(tracker: Tracker, pin: Pin) -> Pin:
    """The same image, named by its digest alone: where its tag points by now is of no interest here."""
    if pin.pin_kind != "registry":
        return pin
    reference = replace(parse_reference(pin.reference), tag="", digest=pin.digest)
    named = replace(pin, reference=str(reference), tag="")
    if tracker.knows_lock(lock_sha256(pin)):
        tracker.note_lock(lock_sha256(named), now())
    return named


def locked_as(lock: PackageLock | None, asked: Sequence[str]) -> PackageLock | None:
    """The lock of a run's packages, as that of a list of just these versions: the layer is the same."""
    if lock is None or not asked:
        return None
    return replace(lock, requirements_sha256=asked_sha256([requirement(each) for each in asked]))
