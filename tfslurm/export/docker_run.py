"""Record -> the one command line that runs the same program again in the same image, by docker alone. Pure.

The line is for a POSIX shell, and for any machine: a folder of the cluster stands in it as /PATH/TO/…, for its reader
to replace; docker refuses one that nobody replaced. A secret is passed on by its name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.document import read
from tfslurm.errors import InputError, RecordError
from tfslurm.job_plan.layer import LAYER_TARGET
from tfslurm.record import Record

IMAGE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:/-]*@)?sha256:[0-9a-f]{64}")
"The word that docker takes for an image; one that begins with a dash would be an option."
PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
TO_FILL = "/PATH/TO/"
WORKSPACE = "/workspace"


class DockerRun(NamedTuple):
    """The line; what its reader must put in place of each /PATH/TO/…; and what else the run had that it has not."""

    line: str
    fill: Mapping[str, str]
    notes: tuple[str, ...]


def docker_run(record: Record, *, code: str = "", outputs: str = "out", packages: str = "") -> DockerRun:
    """The line for one task of the record's job, to be typed in a folder that gets the outputs.

    ``code``, ``outputs`` and ``packages`` (those that the experiment adds to the image) are names in that folder, or
    absolute; without ``code`` or ``packages`` the reader has to say where it is.

    Raises:
        RecordError: the record does not have what it needs, or names no program.
    """
    asked, command = record.asked, record.experiment.command
    if asked is None:
        raise RecordError(
            "a record of this age does not have the network, the secrets and the GPUs that were asked for"
        )
    if not command:
        raise RecordError("the record names no program")
    fill: dict[str, str] = {}
    words = ["docker", "run", "--rm", "--init", *user(), *gpus(record)]
    words += [f"--network={asked.network}"]
    words += [f"--shm-size={asked.shm.lower()}"] if asked.shm else []
    words += [*mounts(record, code, outputs, fill), *layer(record, packages, fill)]
    words += [f"--env={name}={value}" for name, value in environment(record).items()]
    for name in asked.secrets:
        words += ["--env", name]
    if record.code:
        words.append(f"--workdir={WORKSPACE}")
    if record.image.digest_kind == "index" and record.image.platform:
        words.append(f"--platform={record.image.platform}")
    words += [f"--entrypoint={command[0]}", image(record), *command[1:]]
    before = [f"mkdir -p {quoted(outputs)} &&"] if asked.outputs else []
    return DockerRun(" ".join([*before, *map(quoted, words)]), fill, tuple(notes(record)))


class AsIs(str):
    """A word that the reader's shell is to replace."""

    __slots__ = ()


def quoted(word: str) -> str:
    """A word as a shell takes it for itself."""
    return word if isinstance(word, AsIs) or PLAIN.fullmatch(word) else shlex.quote(word)


def user() -> list[str]:
    """As the reader, who else would get outputs that are root's; without a home of that user there is /tmp."""
    return ["--user", AsIs('"$(id -u):$(id -g)"'), "--env=HOME=/tmp"]


def gpus(record: Record) -> list[str]:
    """As many GPUs as a task had."""
    tasks = [task for attempt in record.attempts[-1:] for task in attempt.tasks]
    asked = record.asked.resources.get("gpus") if record.asked else None
    count = len(tasks[0].gpus) if tasks and tasks[0].gpus is not None else asked
    return [f"--gpus={count}"] if count else []


def mounts(record: Record, code: str, outputs: str, fill: dict[str, str]) -> list[str]:
    """The code, the outputs and the experiment's mounts; docker refuses a source that is not there."""
    found = []
    if record.code:
        source = here(code) if code else f"{TO_FILL}code"
        if not code:
            where = f"; commit {record.code.commit} of {record.code.remote}" if record.code.remote else ""
            fill[source] = f"the code: the files of Git's tree {record.code.tree}{where}"
        found.append(mount(source, WORKSPACE, read_only=not writes_code(record)))
    if record.asked and record.asked.outputs:
        found.append(mount(here(outputs), record.asked.outputs, read_only=False))
    inputs = {each.path: each for each in record.inputs or ()}
    for each in record.experiment.mounts:
        target, origin = str(each.get("target")), str(each.get("source"))
        source = name_of(target, fill)
        known = inputs.get(origin)
        digest = known and (known.sha256 or known.tree_sha256)
        fill[source] = f"what was {origin} on {record.job.cluster}" + (f", sha256 {digest}" if digest else "")
        found.append(mount(source, target, read_only=bool(each.get("read_only"))))
    return [word for each in found for word in ("--mount", each)]


def layer(record: Record, packages: str, fill: dict[str, str]) -> list[str]:
    """The packages that the experiment adds to the image."""
    if record.environment.layer is None:
        return []
    source = here(packages) if packages else f"{TO_FILL}packages"
    if not packages:
        key = record.environment.layer.key
        fill[source] = f"the packages of layer {key[:16]}, installed by the hashes of the lock file with `pip --target`"
    return ["--mount", mount(source, LAYER_TARGET, read_only=True)]


def environment(record: Record) -> dict[str, str]:
    """The experiment's variables; Python finds the packages as in the job."""
    if record.environment.layer is None:
        return dict(record.experiment.env)
    own = record.experiment.env.get("PYTHONPATH")
    return {**record.experiment.env, "PYTHONPATH": f"{own}:{LAYER_TARGET}" if own else LAYER_TARGET}


def install_line(record: Record, listed: str, target: str) -> str:
    """The line that installs the packages of a list of requirements with hashes, in a container of the image.

    Raises:
        RecordError: the record names no image.
    """
    words = ["docker", "run", "--rm", *user(), "--mount", mount(here("."), "/crate", read_only=False)]
    words += ["--entrypoint=python3", image(record), "-m", "pip", "install", "--no-deps", "--no-compile"]
    words += ["--require-hashes", "--target", f"/crate/{target}", "--requirement", f"/crate/{listed}"]
    return " ".join(map(quoted, words))


def here(name: str) -> str:
    """A name as docker takes a source: from the top of the file system on."""
    return name if name.startswith("/") else AsIs(f'"$PWD"{quoted("/" + name)}')


def name_of(target: str, taken: Mapping[str, str]) -> str:
    """A name to fill in for the source of a mount, which no other one has."""
    name = TO_FILL + (re.sub(r"[^A-Za-z0-9._-]", "-", PurePosixPath(target).name) or "data")
    return next(each for each in (name, *(f"{name}-{number}" for number in range(2, 10_000))) if each not in taken)


def mount(source: str, target: str, *, read_only: bool) -> str:
    """The value of --mount, whose fields are CSV."""
    rest = f",{field(f'target={target}')}" + (",readonly" if read_only else "")
    if isinstance(source, AsIs):
        return AsIs(f"type=bind,source={source}{quoted(rest)}")
    return f"type=bind,{field(f'source={source}')}{rest}"


def field(text: str) -> str:
    """A field of CSV. Source: RFC 4180, 2."""
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n\r') else text


def writes_code(record: Record) -> bool:
    """Whether the program got a copy of the code that it may write to, as exp.yaml says."""
    try:
        values = read(record.asked.spec or "", "exp.yaml").value if record.asked else {}
    except InputError:
        return False
    code = values.get("code") if isinstance(values, dict) else None
    return isinstance(code, dict) and code.get("writable") is True


def image(record: Record) -> str:
    """The image by its digest; one that only a daemon has by its id.

    Raises:
        RecordError: the record is a stranger's, and names none.
    """
    about = record.image
    word = about.digest if about.digest_kind == "config" else f"{about.registry}/{about.repository}@{about.digest}"
    if not IMAGE.fullmatch(word):
        raise RecordError(f"the record names no image: {word[:200]!r}; take the original")
    return word


def notes(record: Record) -> Iterator[str]:
    """What the job had beside: more tasks, a queue, an image that no registry has."""
    if record.code and writes_code(record):
        yield "the program writes into the folder of its code: give it a copy"
    if record.image.digest_kind == "config":
        yield f"no registry has this image: it was on the node's own engine, as {record.image.reference}"
    tasks = [task for attempt in record.attempts[-1:] for task in attempt.tasks]
    if len(tasks) > 1:
        yield f"the job had {len(tasks)} tasks on {len({task.node for task in tasks})} nodes; this is one of them"
    for name in record.asked.secrets if record.asked else ():
        yield f"set {name} in your environment before: its value is secret, and in no record"
