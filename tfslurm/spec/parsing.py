"""Text -> document -> checked keys -> Experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from tfslurm.document import Document, Path, scan, validate
from tfslurm.errors import Problem
from tfslurm.spec import checks, model
from tfslurm.spec.experiment import Build, Checkpoint, Code, Comparer, Experiment, Mount, Reproduce, Resources, Word
from tfslurm.spec.overrides import override
from tfslurm.spec.places import RUN, is_named
from tfslurm.spec.scan import rule
from tfslurm.spec.schema import published

Check = Callable[[Document], Iterable[Problem]]
SCHEMA_ID = "urn:tfslurm:experiment:1"


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an experiment file: one object, which its readers leave as it is."""
    return published(model.Experiment, SCHEMA_ID, "tfslurm experiment (exp.yaml)")


def parse_experiment(
    text: str,
    file: str,
    overrides: Mapping[str, str] | None = None,
    more: Sequence[Check] = (),
) -> Experiment:
    """The experiment that a text describes; ``overrides`` are ``--set``'s dotted keys and their new values.

    ``more`` are checks that look at the plain values too, for what other rooms know; what they find is told with the
    rest.

    ``file`` names the text in messages. An override is read as YAML where its key takes what that gives (``2``,
    ``true``, ``[a, b]``), else as text.

    Raises:
        InputError: every problem of the text and of the overrides.
    """
    document = scan(text, file)
    if overrides:
        document = override(document, overrides, schema())
    return _experiment(document, validate(document, model.Experiment, *checks.ALL, *more))


def _experiment(document: Document, read: model.Experiment) -> Experiment:
    asked = read.resources
    gpus, gpu_type = asked.gpus or (1, None)
    return Experiment(
        name=read.name,
        image=read.image or "",
        command=tuple(Word(parts, _word_line(document, index)) for index, parts in enumerate(read.command)),
        code=Code(read.code.path, read.code.writable, tuple(read.code.exclude)) if read.code else None,
        mounts=tuple(_mount(mount) for mount in read.mounts),
        outputs=read.outputs,
        env={name: Word(parts, document.line(("env", name))) for name, parts in read.env.items()},
        secrets=tuple(read.secrets),
        resources=Resources(
            gpus=gpus,
            gpu_type=gpu_type,
            cpus=asked.cpus or asked.tasks_per_node,
            memory_mib=asked.memory,
            time_s=asked.time,
            nodes=asked.nodes,
            tasks_per_node=asked.tasks_per_node,
            shm_mib=asked.shm,
        ),
        gpu_check=read.gpu_check,
        network=read.network or ("host" if asked.nodes * asked.tasks_per_node > 1 else "bridge"),
        prepull=read.prepull,
        template=read.template,
        slurm={key.replace("_", "-"): value for key, value in read.slurm.items()},
        plugin_options=dict(read.plugin_options),
        checkpoint=_checkpoint(read.checkpoint),
        clusters=tuple(read.clusters),
        parameters=read.parameters,
        reproduce=_reproduce(read.reproduce),
        packages=read.packages,
        scan=rule(read.scan) if read.scan else None,
        build=_build(read.build),
        sweep=document.at(("sweep",)),
        file=document.file,
        lines=document.lines,
        overridden=document.overridden,
    )


def _mount(read: model.Mount) -> Mount:
    run = read.source if read.source.startswith(RUN) else None
    name = read.source if is_named(read.source) else None
    return Mount(read.source, read.target, read.read_only, run, name, read.hash)


def _checkpoint(read: model.Checkpoint | None) -> Checkpoint | None:
    return Checkpoint(read.signal, read.before_end, read.requeue, read.max_requeues) if read else None


def _build(read: model.Build | None) -> Build | None:
    if read is None:
        return None
    return Build(read.base, read.pip or (), tuple(read.apt), read.dockerfile)


def _reproduce(read: model.Reproduce | None) -> Reproduce | None:
    if read is None:
        return None
    compare = tuple(Comparer(glob, by.script, by.absolute, by.relative) for glob, by in read.compare.items())
    return Reproduce(read.metric, read.tolerance, tuple(read.files), compare)


def _word_line(document: Document, index: int) -> int:
    path: Path = ("command", index)
    return document.line(path)
