"""Where a key belongs that an experiment file does not have at that place. Pure.

Users come with the names of sbatch's options and of other tools' files. Each is answered with what to write here.
"""

from __future__ import annotations

from tfslurm.spec.names import key_of_option


def _names(text: str) -> list[str]:
    return text.split()


_OPTIONS = frozenset(
    _names(
        "partition account qos constraint reservation exclude nodelist licenses dependency mail-type mail-user begin"
        " deadline exclusive nice priority wckey gpu-bind gpu-freq oversubscribe overcommit hint threads-per-core"
        " cores-per-socket sockets-per-node mincpus tmp profile switches distribution acctg-freq cpu-freq time-min"
        " use-min-nodes contiguous core-spec thread-spec spread-job kill-on-invalid-dep delay-boot mem-bind prefer"
    )
)
_RESOURCES = {
    **dict.fromkeys(("gpu", "gpus", "num-gpus", "gpus-per-job", "n-gpus", "gres", "accelerators"), "gpus"),
    **dict.fromkeys(("cpu", "cpus", "num-cpus", "cores", "threads", "ncpus"), "cpus"),
    **dict.fromkeys(("mem", "memory", "ram", "mem-per-node"), "memory"),
    **dict.fromkeys(("time", "walltime", "time-limit", "timelimit", "timeout", "duration", "runtime"), "time"),
    **dict.fromkeys(("nodes", "num-nodes", "nnodes"), "nodes"),
    **dict.fromkeys(("tasks", "ntasks", "tasks-per-node", "ntasks-per-node", "processes"), "tasks_per_node"),
    **dict.fromkeys(("shm", "shm-size", "shared-memory"), "shm"),
}
_OTHERS = {
    **dict.fromkeys(("queue", "partitions"), "write `slurm: {partition: …}`"),
    **dict.fromkeys(("mail", "email"), "write `slurm: {mail-user: …, mail-type: END}`"),
    **dict.fromkeys(("volumes", "volume", "binds", "bind", "data"), "write `mounts: [{source: …, target: …}]`"),
    **dict.fromkeys(("environment", "variables", "envs"), "write `env: {NAME: value}`"),
    **dict.fromkeys(("container", "container-image", "docker-image", "sif"), "write `image: repository:tag`"),
    **dict.fromkeys(("script", "run", "cmd", "args", "arguments", "program", "executable"), "write `command: …`"),
    **dict.fromkeys(("params", "hyperparameters", "fixed", "defaults"), "write `parameters: {NAME: value}`"),
    **dict.fromkeys(("grid", "random", "zip", "axes", "matrix", "array", "max-parallel"), "write it under `sweep:`"),
    **dict.fromkeys(("workdir", "working-dir", "cwd", "chdir"), "write `code: DIR`; it is the working directory"),
    **dict.fromkeys(
        ("steps", "prologue", "setup", "before", "pre"),
        'a job runs one command; for several write `command: [bash, -c, "A && B"]`',
    ),
    **dict.fromkeys(("metric", "tolerance", "compare"), "write `reproduce: {metric: …, tolerance: …}`"),
    "entrypoint": "the image's entrypoint stays in front of `command`; `plan` shows both",
    **dict.fromkeys(
        ("modules", "module", "conda", "venv", "pip", "requirements", "packages"),
        "what the program imports belongs into the image: build one, push it, and name it in `image`",
    ),
    **dict.fromkeys(("requeue", "signal"), "write it under `checkpoint:`"),
    **dict.fromkeys(("privileged", "devices", "user", "ports"), "no key gives a container that"),
}


def elsewhere(key: str, shown: str) -> str:
    """What to write in place of a key that is not known here, such as `partition`; '' where the name tells nothing.

    ``shown`` is its value as it would be typed.
    """
    name = key.lstrip("-").replace("_", "-").lower()
    if name in _RESOURCES:
        return f"write `resources: {{{_RESOURCES[name]}: …}}`"
    if name in _OPTIONS:
        return f"write `slurm: {{{name}: {shown}}}`"
    if name in _OTHERS:
        return _OTHERS[name]
    instead = key_of_option(name)
    return f"write it as {instead}" if instead else ""
