"""Rules that look at several keys of an experiment at once. They read plain values of any type: the model's own
complaints come beside theirs, so that one reading of the file tells everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfslurm.document import Document, Path, Refused, closest, show
from tfslurm.errors import Problem
from tfslurm.spec import quantities
from tfslurm.spec.dependency import dependency
from tfslurm.spec.experiment import KEYS
from tfslurm.spec.places import RUN, inside
from tfslurm.spec.programs import is_code_variable

BUILDING = ("pip", "apt", "dockerfile")
"What adds something to the base of a build."


def repeated_names(document: Document) -> Iterator[Problem]:
    """Clusters and secrets listed twice, and variables that are secrets too."""
    for key in ("clusters", "secrets"):
        for index, first in _repeats(_list(document, key)):
            yield document.problem((key, index), f"repeats {show(_list(document, key)[index])}", _first(key, first))
    env = document.at(("env",))
    for index, name in enumerate(_list(document, "secrets")):
        if isinstance(env, dict) and isinstance(name, str) and name in env:
            why = f"{name} is in `env` too (line {document.line(('env', name))})"
            yield document.problem(("secrets", index), why, "keep it in one of them")


def repeated_options(document: Document) -> Iterator[Problem]:
    """One sbatch option written with dashes and with underscores."""
    options = document.at(("slurm",))
    names = list(options) if isinstance(options, dict) else []
    for index, first in _repeats([name.replace("_", "-") for name in names]):
        yield document.problem(("slurm", names[index]), f"is the same option as `{names[first]}`", "keep one of them")


def covered_targets(document: Document) -> Iterator[Problem]:
    """Mounts with one target, and mounts and outputs inside each other."""
    mounts = _list(document, "mounts")
    targets = [mount.get("target") if isinstance(mount, dict) else None for mount in mounts]
    for index, first in _repeats(targets):
        where: Path = ("mounts", index, "target")
        yield document.problem(where, f"repeats {show(targets[index])}", _first("mounts", first))
    outputs = document.at(("outputs",))
    for index, target in enumerate(targets):
        if not isinstance(outputs, str) or not isinstance(target, str) or "/" in (outputs, target):
            continue
        where = ("mounts", index, "target")
        if inside(target, outputs):
            yield document.problem(where, f"{show(target)} lies in `outputs` {show(outputs)}", "mount it elsewhere")
        elif inside(outputs, target):
            why = (
                f"{show(outputs)} lies in the mount {show(target)}, so the outputs' folder would be made in its source"
            )
            yield document.problem(("outputs",), why, "choose a folder of its own, such as /out")


def code_variables(document: Document) -> Iterator[Problem]:
    """Variables that are code, or choose what is loaded, with a parameter in them."""
    env = document.at(("env",))
    for name, value in env.items() if isinstance(env, dict) else ():
        if isinstance(value, str) and is_code_variable(name) and "{{" in value.replace('{{ "{{" }}', ""):
            why = f"a value would become code: {name} says what runs, or what is loaded, before the program"
            yield document.problem(("env", name), why, "write it out, or use a variable that the program reads itself")


def written_outputs(document: Document) -> Iterator[Problem]:
    """Outputs of a run that the program could change."""
    for index, mount in enumerate(_list(document, "mounts")):
        source = mount.get("source") if isinstance(mount, dict) else None
        if isinstance(source, str) and source.startswith(RUN) and mount.get("read_only") is False:
            why = f"the outputs of a run ({show(source)}) are never writable: they are what its record names"
            yield document.problem(("mounts", index, "read_only"), why, "remove it, and copy what is to be changed")


def written_inputs(document: Document) -> Iterator[Problem]:
    """Mounts whose hash would say nothing, because the program could change them."""
    for index, mount in enumerate(_list(document, "mounts")):
        if isinstance(mount, dict) and mount.get("hash") is True and mount.get("read_only") is False:
            why = "the program could change what was hashed: this mount is writable"
            yield document.problem(("mounts", index, "hash"), why, "remove `read_only: false`, or `hash: true`")


def shares(document: Document) -> Iterator[Problem]:
    """CPUs that the tasks of a node cannot share evenly."""
    path: Path = ("resources", "cpus")
    cpus, tasks = document.at(path), document.at(("resources", "tasks_per_node"))
    if not _whole(cpus) or not _whole(tasks) or tasks < 1 or cpus < 1 or not cpus % tasks:
        return
    more = (cpus // tasks + 1) * tasks
    fix = f"write {more - tasks} or {more}" if more > tasks else f"write {more}"
    yield document.problem(path, f"{cpus} CPUs per node cannot be shared evenly by {tasks} tasks", fix)


def gpu_shares(document: Document) -> Iterator[Problem]:
    """GPUs that the tasks of a node cannot share evenly, unless the file says itself how they are bound."""
    path: Path = ("resources", "gpus")
    tasks, options = document.at(("resources", "tasks_per_node")), document.at(("slurm",))
    if not _whole(tasks) or (isinstance(options, dict) and {"gpu-bind", "gpu_bind"} & set(options)):
        return
    try:
        gpus, _ = quantities.gpus(document.at(path))
    except Refused:
        return
    if not 1 <= tasks <= gpus or not gpus % tasks:
        return
    fix = f"write {gpus // tasks * tasks} or {(gpus // tasks + 1) * tasks}, or let every task see all of them: "
    why = f"{gpus} GPUs per node cannot be shared evenly by {tasks} tasks"
    yield document.problem(path, why, fix + "`slurm: {gpu-bind: none}`")


def early_enough(document: Document) -> Iterator[Problem]:
    """A checkpoint's warning that would come before the job begins."""
    path: Path = ("checkpoint", "before_end")
    before = document.at(path)
    if not _whole(before):
        return
    try:
        limit_s = quantities.time_s(document.at(("resources", "time")))
    except Refused:
        return
    if before >= limit_s:
        why = f"{before} s before the end is before the job begins: `resources.time` is {limit_s} s"
        yield document.problem(path, why, "write fewer seconds or ask for more time")


def reachable(document: Document) -> Iterator[Problem]:
    """A bridge between containers on several nodes: none of them would reach another."""
    nodes = document.at(("resources", "nodes"))
    if document.at(("network",)) == "bridge" and _whole(nodes) and nodes > 1:
        why = f"containers on {nodes} nodes cannot reach each other over bridges"
        yield document.problem(("network",), why, "write host, or none if they need not talk; absent, it is host")


def kept_between_attempts(document: Document) -> Iterator[Problem]:
    """A job that is to go on in a second attempt, and keeps nothing of the first."""
    path: Path = ("checkpoint", "requeue")
    if document.at(path) is True and document.at(("outputs",)) is None:
        why = "the next attempt would find nothing of this one: there is no `outputs`"
        yield document.problem(path, why, "add `outputs: /out` and save there")


def parameters_that_are_keys(document: Document) -> Iterator[Problem]:
    """Parameters with the name of a key of the file, which is what `--set` would change."""
    given = document.at(("parameters",))
    for name in given if isinstance(given, dict) else ():
        if isinstance(name, str) and name.partition(".")[0] in KEYS:
            why = f"`{name}` is a key of this file, so `--set {name}=…` would set that"
            yield document.problem(("parameters", name), why, "give the parameter another name")


def comparable(document: Document) -> Iterator[Problem]:
    """A comparison of nothing: without outputs, a metric or a file; and a tolerance of no metric."""
    asked = document.at(("reproduce",))
    if not isinstance(asked, dict):
        return
    if document.at(("outputs",)) is None:
        why = "there is no `outputs`, so no run leaves what could be compared"
        yield document.problem(("reproduce",), why, "add `outputs: /out`")
    if "tolerance" in asked and "metric" not in asked:
        why = "it is not said of which metric"
        yield document.problem(("reproduce", "tolerance"), why, "add `metric: accuracy`")
    elif "metric" not in asked and not asked.get("files") and not asked.get("compare"):
        yield document.problem(("reproduce",), "names neither a metric nor a file", "add `metric: accuracy`")
    for index, first in _repeats(asked["files"] if isinstance(asked.get("files"), list) else []):
        where: Path = ("reproduce", "files", index)
        yield document.problem(where, f"repeats {show(asked['files'][index])}", _first("files", first))


def comparers(document: Document) -> Iterator[Problem]:
    """Files that are compared by nothing, or by two things, or by a script that is nowhere."""
    asked = document.at(("reproduce", "compare"))
    for glob, by in asked.items() if isinstance(asked, dict) else ():
        path: Path = ("reproduce", "compare", glob)
        keys = {"script"} if isinstance(by, str) else set(by) if isinstance(by, dict) else None
        if keys is not None and not keys:
            why = "names neither a script nor a tolerance"
            yield document.problem(path, why, "write `{absolute: 1e-6, relative: 1e-5}`, or a script's path")
        elif keys and "script" in keys and len(keys) > 1:
            yield document.problem(path, "names a script and a tolerance", "keep one of them")
        elif keys and "script" in keys and document.at(("code",)) is None:
            yield document.problem(path, "there is no `code`, so no run has the script", "add `code: .`")


def one_image(document: Document) -> Iterator[Problem]:
    """Neither `image` nor `build`, or both; and a build of nothing but its base."""
    value = document.value if isinstance(document.value, dict) else {}
    build = value.get("build")
    if "image" in value and "build" in value:
        yield document.problem(("build",), "stands beside `image`, and a job has one image", "keep one of them")
    elif "image" not in value and "build" not in value:
        misspelt = document.is_suspect(("image",)) or [
            key for key in value if isinstance(key, str) and key not in KEYS and closest(key, ["image", "build"])
        ]
        if not misspelt:
            yield document.problem(("image",), "is missing", "add `image: tensorflow/tensorflow:2.16.1-gpu`")
    elif isinstance(build, dict) and "base" in build and not any(build.get(key) for key in BUILDING):
        why = "adds nothing to its base"
        yield document.problem(("build",), why, f"write `image: {build['base']}`, or add `pip: [...]`")


def dependencies(document: Document) -> Iterator[Problem]:
    """A dependency in another form than sbatch's."""
    path: Path = ("slurm", "dependency")
    value = document.at(path)
    try:
        if isinstance(value, str):
            dependency(value)
    except Refused as refused:
        yield document.problem(path, refused.why, refused.fix)


ALL = (
    one_image,
    comparable,
    comparers,
    dependencies,
    parameters_that_are_keys,
    repeated_names,
    repeated_options,
    covered_targets,
    code_variables,
    written_outputs,
    written_inputs,
    shares,
    gpu_shares,
    early_enough,
    reachable,
    kept_between_attempts,
)


def _list(document: Document, key: str) -> list[Any]:
    value = document.at((key,))
    return value if isinstance(value, list) else []


def _repeats(items: list[Any]) -> Iterator[tuple[int, int]]:
    """The index of each text that came before, and where it came first."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if isinstance(item, str) and seen.setdefault(item, index) != index:
            yield index, seen[item]


def _first(key: str, index: int) -> str:
    return f"it is {key}[{index}] already; remove one of them"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
