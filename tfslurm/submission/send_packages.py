"""The wheels of an experiment's packages: once to each cluster, only what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from tfslurm.errors import CommandFailed, Completed, HostError, TfslurmError
from tfslurm.handoff.protocol import sharing
from tfslurm.host import Host
from tfslurm.host.files import patience_s
from tfslurm.job_plan import JobPlan
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths

if TYPE_CHECKING:
    from tfslurm.image import Wheel

INSTALLED = "installed"
PIECE_BYTES = 2**20


class Missing(NamedTuple):
    """A wheel of which the cluster has the first ``start`` bytes."""

    wheel: Wheel
    start: int


def send_wheels(wheels: Mapping[str, Path], plan: JobPlan, host: Host) -> None:
    """Put those wheels of the plan there that a node needs to install them; ``wheels`` are the files, by their names;
    each is looked for only where it is needed.

    Nothing is sent where the layer is installed, or of a wheel that is there: one question asks for all.

    Raises:
        CommandFailed: the machine refused (no space), or other bytes arrived.
        HostError: the machine could not be reached; what has arrived stays, and the next call goes on.
        TfslurmError: a wheel is neither there nor to be had here.
    """
    if plan.packages is None:
        return
    folder = paths.packages(PurePosixPath(plan.root), plan.packages.key)
    missing = ask(plan.packages.wheels, folder, host)
    if not missing:
        return
    files = {wheel.file: here(wheels, wheel, plan, host) for wheel, _ in missing}
    argv = program("put-wheels", str(folder.parent), folder.name, *sharing(plan))
    size = sum(wheel.bytes - start for wheel, start in missing)
    check(host.run(argv, input=stream(missing, files), timeout_s=patience_s(size)), "write", folder / "wheels")


def here(wheels: Mapping[str, Path], wheel: Wheel, plan: JobPlan, host: Host) -> Path:
    """The file of a wheel that the cluster lacks.

    Raises:
        TfslurmError: there is none.
    """
    why = f"{wheel.file} is needed to install the packages, and it is neither on {host.name} nor here"
    try:
        if wheel.file in wheels:
            return wheels[wheel.file]
    except TfslurmError as error:
        if plan.derived_from is None:
            raise
        said = str(error).partition("; ")[0].removeprefix("packages: ")
        fix = "if you have that file, put it into a folder, and `pip config set global.find-links FOLDER`"
        raise TfslurmError(f"{plan.derived_from.job}: {why}: {said}; {fix}") from error
    raise TfslurmError(f"{plan.name}: {why}; `tfslurm pin EXP.yaml --update` locks what there is now")


def ask(wheels: Sequence[Wheel], folder: PurePosixPath, host: Host) -> list[Missing]:
    """The wheels that are not there, or not whole; none where the layer is installed already."""
    listed = "".join(f"{wheel.sha256} {wheel.bytes} {wheel.file}\n" for wheel in wheels)
    size = sum(wheel.bytes for wheel in wheels)  # what is there is hashed
    done = host.run(program("wheels-there", str(folder)), input=listed.encode(), timeout_s=patience_s(size))
    words = check(done, "look into", folder).split()
    if words == [INSTALLED]:
        return []
    if len(words) not in (0, len(wheels)) or not all(word.isdigit() and len(word) < 20 for word in words):
        why = "what came does not say which wheels are there; does a start-up file print there?"
        raise HostError(f"{host.name}: {folder}: {why}")
    starts = [int(word) for word in words] or [0] * len(wheels)
    there = zip(wheels, starts, strict=True)
    return [Missing(wheel, start) for wheel, start in there if start != wheel.bytes]


def stream(missing: Sequence[Missing], wheels: Mapping[str, Path]) -> Iterator[bytes]:
    """What put-wheels.sh reads: which bytes come, and these.

    Raises:
        TfslurmError: a file cannot be read, or is shorter than it was.
    """
    lines = "".join(f"{wheel.sha256} {wheel.bytes} {wheel.file} {start}\n" for wheel, start in missing)
    yield f"{lines}\n".encode()
    for wheel, start in missing:
        left = wheel.bytes - start
        try:
            with wheels[wheel.file].open("rb") as content:
                content.seek(start)
                while left and (piece := content.read(min(left, PIECE_BYTES))):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise TfslurmError(f"{wheels[wheel.file]}: {error.strerror}; try again") from error
        if left:
            raise TfslurmError(f"{wheels[wheel.file]}: it has {left} bytes less than it had; try again")


def check(done: Completed, verb: str, folder: PurePosixPath) -> str:
    """What a command printed; its failure under what was meant."""
    if done.exit_code:
        raise CommandFailed(Completed((verb, str(folder)), done.exit_code, done.stdout, done.stderr, done.host))
    return done.stdout
