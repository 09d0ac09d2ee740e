"""What other rooms know of the keys of an experiment: images, sbatch options, sweeps; told with its other problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tfslurm.document import Document
from tfslurm.errors import InputError, Problem
from tfslurm.image import parse_reference, refuse_moving
from tfslurm.slurm import check_options
from tfslurm.slurm.options import check_plugin_options, is_option
from tfslurm.spec import Experiment
from tfslurm.spec.names import key_of_option


def wrong_sweep(document: Document) -> Iterator[Problem]:
    """The problems of ``sweep`` beyond its shape, where there is one; with ``results`` alone it makes no points."""
    sweep = document.at(("sweep",))
    if sweep is not None and not is_of_one(sweep):
        from tfslurm.sweeps import points

        yield from points.wrong_sweep(document)


def is_of_one(sweep: object) -> bool:
    """Whether the plain value of ``sweep`` says where the metrics are, and makes no points."""
    return isinstance(sweep, Mapping) and set(sweep) == {"results"}


def wrong_image(document: Document) -> Iterator[Problem]:
    """The problems of `image`, or of a build's base: not a reference, or a tag that is meant to move."""
    for path in (("image",), ("build", "base")):
        typed = document.at(path)
        if not isinstance(typed, str):
            continue
        try:
            why = refuse_moving(parse_reference(typed)) or ""
        except InputError as error:
            why = "; ".join(filter(None, (error.problems[0].why, error.problems[0].fix)))
        if why:
            said, _, fix = why.partition("; ")
            yield document.problem(path, said, fix)


def wrong_options(document: Document) -> Iterator[Problem]:
    """Names under `slurm` that sbatch does not know, and of plugins that it does; values that it would misread."""
    for key, check in (("slurm", check_options), ("plugin_options", check_plugin_options)):
        asked = document.at((key,))
        given = asked.items() if isinstance(asked, dict) else ()
        options = {name: value for name, value in given if isinstance(name, str) and isinstance(value, str | int)}
        try:
            if options:
                check(options)
        except InputError as error:
            for each in error.problems:
                yield document.problem((key, each.key.partition(".")[2]), each.why, each.fix)


def of_sbatch(name: str) -> str:
    """``did you mean `slurm.partition`? `` for the name of an sbatch option; a key stands there as --set takes it."""
    key = re.sub(r"`(\w+): \{(\w+): …\}`", r"`\1.\2`", key_of_option(name))
    key = key or (f"`slurm.{name}`" if is_option(name) else "")
    return f"did you mean {key}? " if key else ""


def refuse_unused(experiment: Experiment, parameters: Mapping[str, str]) -> None:
    """Refuse values and axes of names that nothing uses: perhaps a key of exp.yaml was meant.

    Raises:
        InputError: all of them.
    """
    from tfslurm.sweeps.points import unused, unused_axes

    problems = list(unused_axes(experiment)) if experiment.sweep is not None else []
    for name in parameters:
        if name not in experiment.takes:
            problems.append(Problem(f"--set {name}", 0, "", *unused(name, experiment, of_sbatch(name))))
    if problems:
        raise InputError(problems)
