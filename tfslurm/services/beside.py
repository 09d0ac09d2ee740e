"""The experiment of a job that stands beside a run: with its image and its packages, and what it left mounted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tfslurm.document import closest, dump, meant
from tfslurm.document.tree import told
from tfslurm.errors import InputError, Problem, refuse
from tfslurm.image import PackageLock, Pin, lock_text, parse_reference
from tfslurm.job_plan import JobPlan
from tfslurm.local_files import write_file
from tfslurm.spec import experiment_schema
from tfslurm.spec.overrides import keys
from tfslurm.spec.requirements import requirement
from tfslurm.submission.packages import asked_sha256
from tfslurm.submission.pinning import lock_sha256
from tfslurm.submission.prepare import Asked, read_experiment
from tfslurm.tracker import Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.session import Session

FREE = ("resources.", "slurm.")
"Keys that --set changes here."
IMAGE = "image="
"The key that it sets besides, where what is shown is no job's any more."
KEY_OF_MOUNT = re.compile(r"mounts\[([0-9]+)\]")


def refuse_sets(sets: Sequence[str], what: str, *more: str) -> None:
    """Refuse a setting that is not of the job's own room, and does not begin as one ``more``: the rest is the run's.

    Raises:
        InputError: there is one, with the keys that are.
    """
    taken = [key for key in keys(experiment_schema()) if key.startswith(FREE[0])]
    ends = {key.removeprefix(FREE[0]): key for key in taken}
    for each in sets:
        name = each.partition("=")[0]
        if name in taken or each.startswith((*FREE[1:], *more)):
            continue
        last = name.rpartition(".")[2]
        near = meant([ends[end] for end in closest(last, ends) if end[:1] == last[:1].lower()])
        all_of = ", ".join([*taken, "slurm.NAME", *(key.rstrip("=") for key in more)])
        raise refuse(f"--set {each}", f"is no key of {what}", f"{near}it takes {all_of}")


def job_beside(
    session: Session,
    name: str,
    plan: JobPlan | None,
    mounts: Sequence[Mapping[str, object]],
    sets: Sequence[str],
    *,
    memory: str,
) -> Asked:
    """The experiment, in this command's own folder: the image and the packages of a run's plan, by their hashes.

    It has no code, secret, variable or GPU of the run's, and no network. Its program is put in later. Without a plan a
    setting has the image.
    """
    tree: dict[str, object] = {
        "name": name,
        "command": ["true"],
        "outputs": "/out",
        "network": "none",
        "mounts": [*mounts],
        "resources": {"gpus": 0, "memory": memory},
    }
    folder = Path(session.keep(TemporaryDirectory(prefix=f"tfslurm-{name}-"))).resolve()
    if plan:
        pin = by_digest(session.tracker, plan.pin)
        packages = [f"{wheel.name}=={wheel.version}" for wheel in (plan.packages.wheels if plan.packages else ())]
        account = plan.options.get("account")
        tree |= {"image": pin.reference, **({"packages": packages} if packages else {})}
        tree |= {"slurm": {"account": account}} if account else {}
        write_file(folder / "exp.lock.yaml", lock_text(pin, locked_as(plan.packages, packages)).encode())
    write_file(folder / "exp.yaml", dump(tree).encode())
    with by_source(folder / "exp.yaml", [str(mount["source"]) for mount in mounts]):
        return read_experiment(folder / "exp.yaml", sets)._replace(is_temporary=True)


@contextmanager
def by_source(file: Path, sources: Sequence[str]) -> Iterator[None]:
    """What is wrong with a mount of an experiment that nobody can open is said of what it mounts.

    Raises:
        InputError: whatever is raised inside, so.
    """
    try:
        yield
    except InputError as error:
        mounts = [KEY_OF_MOUNT.match(each.key) if each.file == str(file) else None for each in error.problems]
        raise InputError(
            [
                Problem(told(sources[int(mount[1])]), 0, "", each.why, each.fix) if mount else each
                for mount, each in zip(mounts, error.problems, strict=True)
            ]
        ) from None


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
