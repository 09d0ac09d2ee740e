"""A record -> the exp.yaml that a user would have written for that one run. Pure.

The values are the record's own, as they were when the job began. Of the text that the user wrote the placeholders in
the command and the variables are kept, as far as the record's parameters make of them what ran: so ``--set`` still
reaches them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from tfslurm.document import dump, scan
from tfslurm.errors import InputError, RecordError
from tfslurm.image import read_lock
from tfslurm.job_plan.options import slurm_time
from tfslurm.job_plan.variables import OWN_VARIABLES
from tfslurm.record import Record
from tfslurm.record.model import Asked
from tfslurm.slurm.options import is_option
from tfslurm.spec import Comparer, fill

CODE = "code"
"The folder of the code beside exp.yaml."
OF_RESOURCES = frozenset(
    (
        *("nodes", "ntasks-per-node", "cpus-per-task", "gres", "gpus-per-node", "mem", "mem-per-cpu", "time"),
        *("signal", "requeue", "no-requeue"),
    )
)
"Options of sbatch that `resources` and `checkpoint` say."
OF_A_MOMENT = frozenset({"dependency", "begin", "deadline", "hold", "reservation"})
"Options of sbatch that were meant for the original's own time."
EVERYWHERE = frozenset(
    (
        *("exclusive", "oversubscribe", "overcommit", "hint", "threads-per-core", "gpu-bind", "gpus-per-task"),
        *("cpu-freq", "gpu-freq", "mem-bind", "distribution", "contiguous", "spread-job", "no-kill", "propagate"),
    )
)
"Options of sbatch that name nothing of one site; others are for the cluster where the original ran."
OF_TFSLURM = "TFSLURM_PARAMS"


class Text(NamedTuple):
    """The tree of exp.yaml. ``is_literal``: the command is the record's argv, in which no parameter has a place.

    ``left_out`` are the options of sbatch that are not kept, each with why.
    """

    tree: dict[str, Any]
    is_literal: bool
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The text of exp.yaml."""
        return dump(self.tree)


def experiment_text(
    record: Record,
    asked: Asked,
    *,
    is_same_cluster: bool,
    sources: Mapping[str, str] | None = None,
    sweep: Mapping[str, Any] | None = None,
) -> Text:
    """The exp.yaml of a record; ``asked`` is its own, or what stands for it in a record of the first schema.

    ``sources`` are the places of data by their targets, where they are not the record's. ``sweep`` is put in as it is.
    Without one, the files that hold a point's metrics are still those of its sweep.
    """
    written = written_tree(asked.spec)
    command, env, is_literal = words_of(record, asked, written)
    options, left_out = options_of(asked.options, is_same_cluster=is_same_cluster)
    values: dict[str, Any] = {
        "name": record.experiment.name,
        "image": record.image.reference,
        "command": command,
        "packages": packages_of(asked),
        "code": {"path": CODE, "writable": is_writable(written)} if record.code else None,
        "mounts": [mount_of(mount, sources or {}) for mount in record.experiment.mounts],
        "outputs": asked.outputs,
        "env": env,
        "secrets": list(asked.secrets),
        "resources": resources_of(asked.resources, asked.shm),
        "network": asked.network,
        "prepull": asked.prepull,
        "gpu_check": asked.gpu_check,
        "template": asked.template.name,
        "slurm": {name: value for name, value in options.items() if is_option(name)},
        "plugin_options": {name: value for name, value in options.items() if not is_option(name)},
        "checkpoint": checkpoint_of(asked),
        "parameters": dict(record.experiment.parameters),
        "reproduce": reproduce_of(asked),
        "scan": written.get("scan"),
        "sweep": sweep or metrics_of_one(written),
    }
    tree = {key: value for key, value in values.items() if value not in (None, {}, [])}
    return Text(tree, is_literal and bool(record.experiment.parameters), left_out)


def metrics_of_one(written: Mapping[str, Any]) -> dict[str, Any] | None:
    """The key ``sweep`` of one job, which makes no points: where its metrics are, if the text says so."""
    sweep = written.get("sweep")
    return {"results": sweep["results"]} if isinstance(sweep, Mapping) and "results" in sweep else None


def packages_of(asked: Asked) -> list[str]:
    """The packages that the experiment adds to its image, each in the version that its lock file names."""
    try:
        lock = read_lock(asked.lock, "exp.lock.yaml").packages
    except InputError:
        return []
    return [f"{wheel.name}=={wheel.version}" for wheel in lock.wheels] if lock else []


def written_tree(text: str | None) -> Mapping[str, Any]:
    """What the user wrote, as plain values; {} where it is not known, or is no such file."""
    document = scan(text or "", "exp.yaml")
    value = document.value
    return value if isinstance(value, dict) and not document.problems else {}


def words_of(record: Record, asked: Asked, written: Mapping[str, Any]) -> tuple[str | list[str], dict[str, str], bool]:
    """The command and the variables, and whether the command is the record's argv to the letter.

    Raises:
        RecordError: the command is not one of the image.
    """
    argv = [*record.experiment.command]
    front = [*asked.entrypoint]
    if argv[: len(front)] != front:
        raise RecordError(
            f"the command of the record does not begin with the entrypoint of its image: {front[0][:80]!r}"
        )
    argv = argv[len(front) :]
    env = users_own(record.experiment.env)
    found_argv, found_env = filled(record, written)
    texts = written.get("env")
    kept = {name: texts[name] for name in env if isinstance(texts, dict) and found_env.get(name) == env[name]}
    is_literal = not found_argv or list(found_argv) != argv
    command = [literally(word) for word in argv] if is_literal else written["command"]
    return command, {**{name: literally(value) for name, value in env.items()}, **kept}, is_literal


def users_own(env: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that tfslurm adds by itself."""
    return {name: value for name, value in env.items() if name != OF_TFSLURM and OWN_VARIABLES.get(name) != value}


def filled(record: Record, written: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argv and the variables that the user's text gives with the record's parameters; nothing if it gives none."""
    from tfslurm.spec.parsing import parse_experiment

    parts = {key: written[key] for key in ("command", "env") if key in written}
    parameters = dict(record.experiment.parameters)
    try:
        read = parse_experiment(dump({"name": "a", "image": "a:1", **parts}), "exp.yaml")
        return fill(read, parameters)
    except (InputError, TypeError):
        return (), {}


def literally(word: str) -> str:
    """A word in which nothing is a placeholder."""
    return word.replace("{{", '{{ "{{" }}')


def is_writable(written: Mapping[str, Any]) -> bool:
    """Whether each attempt had a private copy of the code."""
    code = written.get("code")
    return isinstance(code, dict) and code.get("writable") is True


def mount_of(mount: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    """A mount by the name that the user had for its source, so that another cluster may have it elsewhere."""
    target = str(mount.get("target"))
    source = sources.get(target) or mount.get("name") or mount.get("run") or mount.get("source")
    values = {"source": source, "target": target, "read_only": mount.get("read_only", True)}
    return {**values, **({"hash": True} if mount.get("hash") else {})}


def resources_of(given: Mapping[str, Any], shm: str | None) -> dict[str, Any]:
    """The resources, each written out."""
    gpus, kind, memory, time = (given.get(key) for key in ("gpus", "gpu_type", "memory_mib", "time_s"))
    values = {
        "gpus": f"{kind}:{gpus}" if kind and gpus else gpus,
        "cpus": given.get("cpus"),
        "memory": "all" if memory == 0 else None if memory is None else f"{memory}M",
        "time": slurm_time(time) if isinstance(time, int) and time > 0 else time,
        "nodes": given.get("nodes"),
        "tasks_per_node": given.get("tasks_per_node"),
        "shm": shm,
    }
    return {key: value for key, value in values.items() if value is not None}


def options_of(
    asked: Mapping[str, str], *, is_same_cluster: bool
) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """The options of sbatch that the original had beside its resources, and those that are left out."""
    others = {name: value or True for name, value in asked.items() if name not in OF_RESOURCES}
    left_out = {name: "it was meant for that time" for name in others if name in OF_A_MOMENT}
    if not is_same_cluster:
        elsewhere = [name for name in others if name not in EVERYWHERE and name not in left_out]
        left_out |= dict.fromkeys(elsewhere, "it is of the cluster where the original ran")
    return {name: value for name, value in others.items() if name not in left_out}, tuple(left_out.items())


def checkpoint_of(asked: Asked) -> dict[str, Any] | None:
    """The warning before the end."""
    ends = asked.checkpoint
    if ends is None:
        return None
    times = {"before_end": ends.before_end_s, "requeue": ends.requeue, "max_requeues": ends.max_requeues}
    return {"signal": ends.signal, **times}


def reproduce_of(asked: Asked) -> dict[str, Any] | None:
    """What the author declared that a rerun is compared by."""
    if asked.reproduce is None:
        return None
    compare = {each.files: each.script or tolerance_of(each) for each in asked.reproduce.compare}
    values = {**asdict(asked.reproduce), "files": list(asked.reproduce.files), "compare": compare}
    return {key: value for key, value in values.items() if value not in (None, [], {})}


def tolerance_of(by: Comparer) -> dict[str, float]:
    """How far the numbers in a file may be apart."""
    return {"absolute": by.absolute, "relative": by.relative}
