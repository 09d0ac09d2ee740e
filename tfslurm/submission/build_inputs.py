"""What `build` of an experiment asks to be made of: its Dockerfile, what this copies, packages; and its lock."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError, Problem, refuse
from tfslurm.image import Reference, parse_reference, read_lock
from tfslurm.image.build_lock import Inputs, changed, text_sha256
from tfslurm.image.dockerfile import MOST_BYTES, copied, mistakes
from tfslurm.image.lock import Lock
from tfslurm.job_plan import JobPlan, identify
from tfslurm.local_files import read_text
from tfslurm.snapshot import Snapshot, take_some
from tfslurm.snapshot.files import contents
from tfslurm.spec import Build, Experiment


class Recipe(NamedTuple):
    """What an image is to be made of. ``text``: the user's Dockerfile, '' if none; ``context``: the files that it
    reads, None if none."""

    build: Build
    text: str
    context: Snapshot | None
    inputs: Inputs


def recipe_of(experiment: Experiment, file: Path) -> Recipe:
    """The recipe as the files say now; nothing is built, and no network is asked.

    Raises:
        InputError: every problem of the Dockerfile; a file that is not there, leads elsewhere, or is too large.
    """
    build = experiment.build
    if build is None:
        raise refuse(str(file), "has no `build`", "write `build: {base: …, pip: […]}` in place of `image`")
    text = dockerfile_of(build, file)
    context = context_of(experiment, file, text) if text else None
    inputs = Inputs(
        base=build.base,
        own_sha256=text_sha256(text) if text else "",
        context_sha256=hashlib.sha256(contents(context.entries)).hexdigest() if context else "",
        apt=build.apt,
        pip=requirements_of(experiment, file),
    )
    return Recipe(build, text, context, inputs)


def dockerfile_of(build: Build, file: Path) -> str:
    """The text of the user's Dockerfile; '' if there is none.

    Raises:
        InputError: every reason why it cannot be built on the base with digests alone.
    """
    if not build.dockerfile:
        return ""
    text = read_text(beside(file, build.dockerfile, "dockerfile"), MOST_BYTES)
    if found := mistakes(text, build.dockerfile, build.base):
        raise InputError(found)
    return text


def beside(file: Path, name: str, key: str) -> Path:
    """The path of a file that the experiment names, below the experiment's own folder.

    Raises:
        InputError: it is not there, or is a link that leaves the folder.
    """
    folder = file.parent.resolve()
    path = folder / name
    if not path.resolve().is_relative_to(folder):
        raise refuse(f"{file}: build.{key}", f"{name!r} is a link that leaves {folder}", "put the file itself there")
    if not path.is_file():
        raise refuse(f"{file}: build.{key}", f"{name!r} is not in {folder}", "put it there, or correct the name")
    return path


def of_build(experiment: Experiment) -> Experiment:
    """The experiment as if `pip` of its build were its `packages`: they are read and resolved in one way."""
    return replace(experiment, packages=(experiment.build.pip or None) if experiment.build else None)


@contextmanager
def named_pip() -> Iterator[None]:
    """Have the problems of `packages` said of `build.pip`."""
    try:
        yield
    except InputError as error:
        found = [each._replace(key=each.key.replace("packages", "build.pip", 1)) for each in error.problems]
        raise InputError(found) from error


def requirements_of(experiment: Experiment, file: Path) -> tuple[str, ...]:
    """The requirements in their one form, with the hashes that they name.

    Raises:
        InputError: the file of them cannot be read, or has a line that is refused.
    """
    if not experiment.build or not experiment.build.pip:
        return ()
    from tfslurm.submission.packages import asked_packages

    with named_pip():
        return tuple(each.asked for each in asked_packages(of_build(experiment), file))


def context_of(experiment: Experiment, file: Path, text: str) -> Snapshot | None:
    """The files of the experiment's folder that a Dockerfile reads; None if it reads none.

    They are bounded as `code` is, and the experiment's file and its lock are never among them: the lock would change
    what it is the lock of.

    Raises:
        InputError: the folder cannot be read, or is too large.
    """
    patterns = copied(text)
    if patterns == ():
        return None
    exclude = experiment.code.exclude if experiment.code else ()
    own = (f"/{file.name}", f"/{file.stem}.lock.yaml")
    found: set[str] = set()

    def is_wanted(name: str) -> bool:
        fitting = [each for each in patterns or () if is_named(name, each)]
        found.update(fitting)
        return patterns is None or bool(fitting)

    try:
        taken = take_some(file.parent, (*exclude, *own), is_wanted)
    except InputError:
        if found or patterns is None:
            raise
        taken = None
    if missing := [each for each in patterns or () if each not in found]:
        where = str(experiment.build.dockerfile) if experiment.build else ""
        why = f"no file of {file.parent.resolve()} that is sent is {', '.join(map(repr, missing))}"
        raise InputError(
            [Problem(where, 0, "COPY", why, "correct the name; .gitignore and `code: {exclude}` leave out")]
        )
    return taken


def is_named(name: str, pattern: str) -> bool:
    """Whether a COPY of ``pattern`` takes the file, or a folder above it."""
    above = [name, *(str(path) for path in Path(name).parents)]
    return any(fnmatchcase(each, pattern) for each in above)


def lock_of(file: Path) -> Path:
    """EXP.lock.yaml beside EXP.yaml."""
    return file.with_name(f"{file.stem}.lock.yaml")


def lock_if_good(file: Path) -> Lock | None:
    """What the lock file holds; None where there is none, or it cannot be used: then the image is built anew.

    Raises:
        InputError: it is there, and is no text.
    """
    lock = lock_of(file)
    if not lock.exists():
        return None
    try:
        return read_lock(read_text(lock), str(lock))
    except InputError:
        return None


def built(experiment: Experiment, file: Path) -> Lock:
    """The lock of an experiment with `build`, whose image was made of what the files say now.

    Raises:
        InputError: it was not built yet, or something that it was made of has changed.
    """
    lock, again = lock_of(file), f"run `tfslurm image build {shlex.quote(str(file))}`"
    if not lock.exists():
        raise InputError([experiment.problem(("build",), "its image has not been built yet", again)])
    found = read_lock(read_text(lock), str(lock))
    if found.build is None:
        raise InputError([experiment.problem(("build",), f"{lock} is of an image that was not built", again)])
    if news := changed(found.build, recipe_of(experiment, file).inputs):
        why = f"changed since its image was built: {'; '.join(news)}"
        raise InputError([experiment.problem(("build",), why, again)])
    return found


def reference_of(experiment: Experiment, file: Path) -> Reference:
    """The image that is run: the one that is named, or the one that was built; the base until then."""
    lock = lock_if_good(file)
    if lock and lock.build:
        return parse_reference(lock.image.reference)
    return parse_reference(experiment.build.base if experiment.build else experiment.image)


def with_build(plan: JobPlan, file: Path) -> JobPlan:
    """The plan with how its image was made, where the lock file of this very image says it."""
    lock = lock_if_good(file)
    if not lock or not lock.build or lock.build.digest != plan.pin.digest:
        return plan
    return identify(replace(plan, build=lock.build))
