"""How a command comes to the wheels of an experiment: the lock file, or a resolver where there is none."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfslurm.errors import InputError, Problem, TfslurmError
from tfslurm.image import PackageLock, Pin, Wheel
from tfslurm.image.packages import package_lock, package_mistakes, packages_to_json, requirements_sha256, summary
from tfslurm.local_files import read_text
from tfslurm.packages.facts import facts_of
from tfslurm.packages.refusals import Refusal
from tfslurm.packages.resolve import Found, NoSolution, resolve, second_tensorflow
from tfslurm.packages.wheels import Wanted, fetch, holds_tensorflow, sha256_of, work_folder
from tfslurm.spec import Experiment
from tfslurm.spec.requirements import Requirement, requirement, requirement_lines
from tfslurm.workspace.config import Known, known_clusters
from tfslurm.workspace.session import Session

MOST_BYTES = 2**20
"Of a requirements file."
_ADD_PIP = "use an image with pip, or build one: `build: {base: IMAGE, apt: [python3-pip]}` in place of `image`"


def asked_packages(experiment: Experiment, file: Path) -> tuple[Requirement, ...]:
    """The requirements of an experiment, be they in a file beside it or in a list; () where it has none.

    Raises:
        InputError: the file is not there, leads out of the folder, or has a line that is refused.
    """
    named = experiment.packages
    if not isinstance(named, str):
        return tuple(map(requirement, named or ()))
    folder = file.parent.resolve()
    path = folder / named
    if not os.path.lexists(path):
        fix = f"write it, or write a list: `packages: [{named}]`" if "." not in named else "write it there"
        raise InputError([experiment.problem(("packages",), f"{named!r} is not in {folder}", fix)])
    if not path.resolve().is_relative_to(folder):
        why = f"{named!r} is a link that leaves {folder}"
        raise InputError([experiment.problem(("packages",), why, "put the file itself there")])
    try:
        text = read_text(path, MOST_BYTES)
    except InputError as error:
        why, fix = f"{named!r} {error.problems[0].why}", error.problems[0].fix
        raise InputError([experiment.problem(("packages",), why, fix)]) from error
    return requirement_lines(text, str(file.with_name(named)))


def fits(lock: PackageLock | None, asked: Sequence[Requirement], pin: Pin) -> str:
    """Why a lock's packages are not those that are asked for; '' where they are. None are asked: any will do."""
    if not asked:
        return ""
    if lock is None:
        return "the lock has no packages"
    if lock.image != pin.digest:
        return f"the lock's packages are for another image ({lock.image[:19]}…)"
    return "" if lock.requirements_sha256 == asked_sha256(asked) else "the lock's packages are of other requirements"


def asked_sha256(asked: Sequence[Requirement]) -> str:
    """The hash of the requirements, in whatever order they stand."""
    return requirements_sha256([each.asked for each in asked])


def refuse_other_packages(experiment: Experiment, file: Path, lock: PackageLock | None, pin: Pin) -> None:
    """Refuse a lock whose packages are of other requirements, or of another image.

    Raises:
        InputError: they are.
    """
    if why := fits(lock, asked_packages(experiment, file), pin):
        first = f"write them into {file}, " if any(path[:1] == ("packages",) for path in experiment.overridden) else ""
        fix = f"{first}run `tfslurm pin {shlex.quote(str(file))}`, and commit the lock"
        raise InputError([experiment.problem(("packages",), why, fix)])


def resolve_packages(
    session: Session, experiment: Experiment, file: Path, pin: Pin, clusters: Sequence[Known]
) -> PackageLock:
    """The wheels that satisfy the experiment's requirements in its image, chosen now, and fetched into the cache.

    Raises:
        InputError: there are none: where the requirement stands, why, and what to do.
        TfslurmError: the image, an index or a program did not answer.
    """
    asked = asked_packages(experiment, file)
    facts = facts_of(session, pin, clusters)
    try:
        with work_folder() as work:
            found = resolve(asked, facts, work, session.say)
    except NoSolution as error:
        raise unsolved(experiment, file, asked, error.refused) from error
    files = {}
    if found.wheels:
        if "pip" not in facts.packages:
            session.say(f"note: {pin.reference} lists no pip, and to install packages needs one; {_ADD_PIP}")
        session.say(f"packages: fetching {len(found.wheels)} wheel{'s' if len(found.wheels) > 1 else ''}")
        files = fetch([_wanted(each) for each in found.wheels], facts)
    wheels = fetched(found.wheels, files)
    for each in wheels if facts.tensorflow else ():
        if holds_tensorflow(files[each.file]):
            raise unsolved(experiment, file, asked, second_tensorflow(each.name, f"what {each.file} holds", facts))
    refuse_other_hashes(experiment, file, asked, wheels)
    lock = package_lock(
        wheels,
        image=pin.digest,
        asked=asked_sha256(asked),
        python=facts.python,
        platform=facts.platform,
        resolver=found.resolver,
        index=found.first_index,
    )
    for mistake in package_mistakes(packages_to_json(lock)):
        raise TfslurmError(f"packages: the index's answer cannot be locked: {mistake.field}: {mistake.why}")
    return lock


def fetched(found: Sequence[Found], files: Mapping[str, Path]) -> tuple[Wheel, ...]:
    """The wheels as the lock names them: their bytes were hashed here."""
    return tuple(
        Wheel(
            each.name, each.version, each.file, sha256_of(files[each.file]), files[each.file].stat().st_size, each.url
        )
        for each in found
    )


def _wanted(found: Found) -> Wanted:
    return Wanted(found.name, found.version, found.file, found.sha256)


def refuse_other_hashes(
    experiment: Experiment, file: Path, asked: Sequence[Requirement], wheels: Sequence[Wheel]
) -> None:
    """Refuse a wheel with another hash than its requirement names.

    Raises:
        InputError: every such requirement.
    """
    problems = []
    for each in asked:
        for wheel in wheels:
            if each.hashes and wheel.name == each.name and wheel.sha256 not in each.hashes:
                why = f"the index has {wheel.file} with sha256 {wheel.sha256}, which is none of the hashes here"
                problems.append(
                    _problem(experiment, file, each, why, "correct the hashes, or ask whoever runs the index")
                )
    if problems:
        raise InputError(problems)


def unsolved(experiment: Experiment, file: Path, asked: Sequence[Requirement], refused: Refusal) -> TfslurmError:
    """The error for requirements that nothing satisfies, at the line of the one that is named."""
    named = next((each for each in asked if each.name == refused.name), None)
    problem = _problem(experiment, file, named, refused.why, refused.fix)
    return TfslurmError(str(problem), transient=True) if refused.outside else InputError([problem])


def _problem(experiment: Experiment, file: Path, at: Requirement | None, why: str, fix: str) -> Problem:
    if at and isinstance(experiment.packages, str):
        return Problem(str(file.with_name(experiment.packages)), at.line, "", why, fix)
    if at and isinstance(experiment.packages, tuple) and at.text in experiment.packages:
        return experiment.problem(("packages", experiment.packages.index(at.text)), why, fix)
    return experiment.problem(("packages",), why, fix)


def packages_now(
    session: Session, experiment: Experiment, file: Path, pin: Pin, had: PackageLock | None, *, update: bool
) -> tuple[PackageLock | None, bool]:
    """The packages that the lock file is to hold, and whether they are others than it ``had``; what is done is said.

    Raises:
        InputError, TfslurmError: as ``resolve_packages``.
    """
    if experiment.packages is None:
        if had:
            session.say("packages: the experiment asks for none any more; they are removed from the lock file")
        return None, had is not None
    why = fits(had, asked_packages(experiment, file), pin)
    if had and not why and not update:
        session.say(f"packages: as locked: {summary(had)}")
        return had, False
    found = resolve_packages(session, experiment, file, pin, known_clusters(experiment.clusters, session.say))
    if had and not why and found.key == had.key:
        session.say(f"packages: nothing newer: {summary(had)}")
        return had, False
    session.say(f"packages: locked {summary(found)}", *changes(had, found))
    return found, True


def changes(had: PackageLock | None, found: PackageLock) -> Iterator[str]:
    """A line for each wheel that is another than before."""
    old = {wheel.name: wheel for wheel in (had.wheels if had else ())}
    new = {wheel.name: wheel for wheel in found.wheels}
    for name in sorted(old.keys() | new.keys()) if had else ():
        then, now = old.get(name), new.get(name)
        if then is None or now is None or then.sha256 != now.sha256:
            yield f"  {name}: {then.version if then else 'none'} -> {now.version if now else 'none'}"
