"""What a service needs of its image, asked before its job waits in a queue, as far as that is known without a job."""

from __future__ import annotations

from typing import NamedTuple

from tfslurm.errors import InputError, refuse
from tfslurm.image import PackageLock, Pin
from tfslurm.image.facts import ImageFacts, NoPython
from tfslurm.job_plan.holding import Service
from tfslurm.packages.facts import facts_without_a_job
from tfslurm.spec import Experiment
from tfslurm.submission.pinning import pin_on_first_use
from tfslurm.submission.prepare import Asked, locked
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

OLDEST = (3, 6)
"Of the Python that runs job_templates/inside/service.py."
OFFICIAL = "tensorflow"
"The last part of the official repository's name, and of its mirrors'; known_images.json has its variants."
VARIANT = "-jupyter"
OTHER_IMAGE = "name an image with Python 3.6 or later as `python3`"
HOMES = ("/usr", "/opt", "/root", "/home")
"A mount below one of them may bring Python or its modules."


class Need(NamedTuple):
    """What a kind of service is called, the distributions of which one is enough, and what to do where it has none."""

    name: str
    any_of: tuple[str, ...]
    fix: str


NEEDS = {
    "jupyter": Need(
        "Jupyter",
        ("jupyterlab", "notebook", "jupyter-server"),
        "write `packages: [jupyterlab]`, or name an image that has it",
    ),
    "tensorboard": Need(
        "TensorBoard",
        ("tensorboard", "tb-nightly"),
        "write `packages: [tensorboard]` for the next run; for this one `tfslurm fetch` its outputs, then "
        "`tfslurm tensorboard FOLDER --set image=IMAGE`",
    ),
    "serve": Need(
        "TensorFlow",
        ("tensorflow", "tensorflow-cpu", "tensorflow-rocm", "tf-nightly", "tf-nightly-cpu"),
        "name a run whose image has it",
    ),
}


def refuse_lacking(session: Session, asked: Asked, known: Known, service: Service) -> None:
    """Refuse a service whose image is known to have no Python for it, or not its program; unknown is no reason.

    If something in the experiment may bring what the image lacks, that is a warning.

    Raises:
        InputError: with the way out.
        TfslurmError: the image, or the packages, could not be pinned.
    """
    lock = locked(asked)
    if lock is None or (asked.experiment.packages is not None and lock.packages is None):
        pin_on_first_use(session, asked, [known])
        lock = locked(asked)
    need = NEEDS.get(service.kind)
    if lock is None or is_added(lock.packages, need):
        return
    lacks, fix = lacking(session, lock.image, known, need)
    name = lock.image.reference
    if lacks and may_bring(asked.experiment, lock.image):
        session.say(
            f"warning: image {name}: {lacks}, unless the experiment brings it; else the job ends at once: {fix}"
        )
    elif lacks and asked.of_run:
        add = f"`--set packages={need.any_of[0]}` adds it" if need and need.name in lacks else "name another job"
        raise refuse(f"job {asked.of_run}", f"its image {name} {lacks}", add)
    elif lacks and asked.is_temporary:  # its file is none that the user could open
        raise refuse(f"image {name}", lacks, fix)
    elif lacks:
        key = ("build",) if asked.experiment.build else ("image",)
        raise InputError([asked.experiment.problem(key, f"{name} {lacks}", fix)])


def is_added(packages: PackageLock | None, need: Need | None) -> bool:
    """Whether the experiment's packages bring the program."""
    return packages is not None and need is not None and any(each.name in need.any_of for each in packages.wheels)


def lacking(session: Session, pin: Pin, known: Known, need: Need | None) -> tuple[str, str]:
    """What an image lacks for a service, and what to do; '' where it lacks nothing, or nobody knows yet."""
    try:
        facts = facts_without_a_job(session, pin, known)
    except NoPython:
        return "has no Python, with which services run", OTHER_IMAGE
    if facts is None:
        return "", ""
    if version(facts) < OLDEST:
        return f"has Python {facts.python}, and services need 3.6 or later", OTHER_IMAGE
    if need is None or any(name in facts.packages for name in need.any_of):
        return "", ""
    return f"has no {need.name}", variant_or(pin, need)


def version(facts: ImageFacts) -> tuple[int, ...]:
    """(3, 11) of 3.11.2."""
    return tuple(map(int, facts.python.split(".")[:2]))


def variant_or(pin: Pin, need: Need) -> str:
    """What to do; of an official image of TensorFlow its variant with Jupyter is named."""
    is_official = pin.repository.rpartition("/")[2] == OFFICIAL and pin.tag and VARIANT not in pin.tag
    if need.name != "Jupyter" or not is_official:
        return need.fix
    return need.fix.replace("name an image that has it", f"`image: {pin.reference.partition('@')[0]}{VARIANT}`")


def may_bring(experiment: Experiment, pin: Pin) -> bool:
    """Whether a variable, a mount or the image's entrypoint could give the program what the image itself has not."""
    mounts = any(f"{mount.target}/".startswith(f"{home}/") for mount in experiment.mounts for home in HOMES)
    return mounts or bool(pin.entrypoint) or not {"PATH", "PYTHONPATH"}.isdisjoint(experiment.env)
