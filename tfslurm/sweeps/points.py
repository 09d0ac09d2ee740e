"""Blocks of axes -> points: each once, named by its values, in an order that no dictionary decides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

from tfslurm.document import Document
from tfslurm.errors import InputError, Problem
from tfslurm.spec import Experiment, nearest_setting, read_sweep
from tfslurm.spec.words import as_json
from tfslurm.sweeps.blocks import MOST, Block, Given, Source, read, unknown
from tfslurm.sweeps.values import Scalar

if TYPE_CHECKING:
    from tfslurm.spec import axes

AXIS = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
MAX_TEXT = 2**28  # characters of all points of a sweep
MAX_LOOKS = 1_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """One value for each parameter, in the order of their names. ``text`` is that as JSON: TFSLURM_PARAMS."""

    parameters: Mapping[str, Scalar]
    text: str

    @property
    def id(self) -> str:
        """12 hex of the SHA-256 of ``text``: the same values have the same name in every file, for ever."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of an experiment in their order, and what was not made one.

    ``excluded`` were left out, ``repeated`` had the values of an earlier point; ``notes`` are what a user may not have
    meant, one line each.
    """

    names: tuple[str, ...]
    points: tuple[Point, ...]
    blocks: tuple[Block, ...]
    excluded: int
    repeated: int
    notes: tuple[str, ...]


def too_large(experiment: Experiment) -> InputError:
    """A sweep whose points nobody could hold."""
    why = f"its points have more than {MAX_TEXT // 2**20} MiB of words and values"
    fix = "put long values in a file of `code`, and sweep over names"
    return InputError([experiment.problem(("sweep",), why, fix)])


def point_of(parameters: Mapping[str, Scalar]) -> Point:
    """The point with these values."""
    return Point({name: parameters[name] for name in sorted(parameters)}, as_json(parameters))


def sweep_of(experiment: Experiment) -> Sweep:
    """The points of an experiment with a sweep.

    The first axis by name varies slowest, the last fastest, each in the order that its values were written; blocks
    come one after the other, each followed by what it includes. A point met again keeps its first place.

    Raises:
        InputError: everything that is wrong with the sweep; no point; more than ``max_points``, counted and not made.
    """
    blocks, problems = _checked(read_sweep(experiment.sweep), experiment.clusters, experiment)
    if problems:
        raise InputError(problems)
    met: dict[str, Point] = {}
    hits: dict[tuple[int, int], int] = {}
    size = 0
    for point in _made(blocks, hits, experiment.parameters):
        size += len(point.text)
        if size > MAX_TEXT:
            raise too_large(experiment)
        met.setdefault(point.text, point)
    _refuse_none_or_alike(met, experiment)
    total, excluded = sum(block.count for block in blocks), sum(hits.values())
    repeated = total - excluded - len(met)
    notes = tuple(_notes(experiment, blocks, hits, repeated))
    return Sweep(tuple(next(iter(met.values())).parameters), tuple(met.values()), blocks, excluded, repeated, notes)


def wrong_sweep(document: Document) -> Iterator[Problem]:
    """The problems of ``sweep`` beyond its shape, short of making its points; none where the shape is wrong."""
    from tfslurm.spec.axes import shape_of

    given, clusters = shape_of(document.at(("sweep",))), document.at(("clusters",))
    if given is not None:
        yield from _checked(given, clusters if isinstance(clusters, list) else (), document)[1]


def unused_axes(experiment: Experiment) -> Iterator[Problem]:
    """A problem for each axis that the program gets nothing of: its points would be one job, many times."""
    blocks, _ = read(read_sweep(experiment.sweep), experiment)
    for block in blocks:
        paths = {name: (*block.path, "include", at, name) for at, each in enumerate(block.include) for name in each}
        paths |= {name: (*axis.path, name) for axis in block.axes for name in axis.names}
        for name, path in paths.items():
            if name not in experiment.takes:
                why, fix = unused(name, experiment)
                yield experiment.problem(path, why, fix)


def unused(name: str, experiment: Experiment, near: str = "") -> tuple[str, str]:
    """Why a value of this name would change nothing, and what to write; ``near``: what is known to have been meant."""
    why = f"nothing uses it: no {{{{ {name} }}}} is in `command` or `env`, and `parameters` does not name it"
    takes = sorted(experiment.takes)
    known = f"the parameters are: {', '.join(takes)}; " if takes else ""
    declare = f"`parameters: {{{name}: VALUE}}`" if AXIS.fullmatch(name) else "its name under `parameters`"
    fix = f"if the program reads TFSLURM_PARAMS, write {declare}"
    return why, f"{near or nearest_setting(name, takes)}{known}{fix}"


class First:
    """Which of several givens a point has all values of, first; 1 is 1.0, but neither true nor the text 1.

    Those that name the same parameters are looked up together, so that a point is held against a kind, not against
    each of them.
    """

    def __init__(self, givens: Iterable[Given]) -> None:
        self.kinds: dict[tuple[str, ...], dict[tuple[object, ...], int]] = {}
        for index, given in enumerate(givens):
            names = tuple(sorted(given))
            self.kinds.setdefault(names, {}).setdefault(tuple(_kind_and(given[name]) for name in names), index)

    def of(self, parameters: Mapping[str, Scalar]) -> int | None:
        """The index of the first that fits; None where none does."""
        hits = (
            known.get(tuple(_kind_and(parameters[name]) for name in names))
            for names, known in self.kinds.items()
            if all(name in parameters for name in names)
        )
        return min((hit for hit in hits if hit is not None), default=None)


def _kind_and(value: Scalar) -> tuple[str, Scalar]:
    return "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number", value


def _made(blocks: Sequence[Block], hits: dict[tuple[int, int], int], defaults: Mapping[str, Scalar]) -> Iterator[Point]:
    """Every point, those that are met again too; ``hits`` counts what each `exclude` leaves out.

    ``defaults`` are the values of the parameters that are no axis.
    """
    for number, block in enumerate(blocks):
        exclude = First(block.exclude)
        for parameters in _crossed(block):
            left_out = exclude.of(parameters)
            if left_out is None:
                yield point_of({**defaults, **parameters})
            else:
                hits[number, left_out] = hits.get((number, left_out), 0) + 1
        yield from (point_of({**defaults, **each}) for each in block.include)


def _crossed(block: Block) -> Iterator[dict[str, Scalar]]:
    if not block.axes:
        return
    steps = [
        [
            tuple((name, values.at(number)) for name, values in zip(axis.names, axis.values, strict=True))
            for number in range(axis.count)
        ]
        for axis in block.axes
    ]
    for combination in product(*steps):
        yield {name: value for pairs in combination for name, value in pairs}


def _checked(given: axes.Sweep, clusters: Sequence[str], source: Source) -> tuple[tuple[Block, ...], list[Problem]]:
    blocks, problems = read(given, source)
    if problems:
        return blocks, problems
    names, count, most = blocks[0].names, sum(block.count for block in blocks), given.max_points
    if count > most:
        fix = f"write fewer values, or `max_points: {count}` if you mean it"
        problems.append(source.problem(("sweep",), f"has {count} points; the most is {most}", fix))
    rules = given.where or ()
    looks = sum(len(First(block.exclude).kinds) * block.count for block in blocks)
    looks += len(First(rule.values for rule in rules).kinds) * min(count, most)
    if looks > MAX_LOOKS:
        why = f"its `exclude` and `where` would be held against its points {looks} times; {MAX_LOOKS} is the most"
        problems.append(source.problem(("sweep",), why, "name the same parameters in more of them, or write fewer"))
    for index, rule in enumerate(rules):
        here = ("sweep", "where", index)
        problems += islice(unknown(rule.values, names, (*here, "values"), source), max(0, MOST - len(problems)))
        if clusters and rule.cluster not in clusters:
            fix = f"write one of: {', '.join(clusters)}"
            problems.append(source.problem((*here, "cluster"), f"{rule.cluster} is not in `clusters`", fix))
    for name in given.spread if isinstance(given.spread, Mapping) and clusters else ():
        if name not in clusters:
            fix = f"write one of: {', '.join(clusters)}"
            problems.append(source.problem(("sweep", "spread", name), f"{name} is not in `clusters`", fix))
    return blocks, problems


def _refuse_none_or_alike(met: Mapping[str, Point], experiment: Experiment) -> None:
    if not met:
        why, fix = "has no point: `exclude` leaves out every one", "leave out fewer"
        raise InputError([experiment.problem(("sweep",), why, fix)])
    if len({point.id for point in met.values()}) < len(met):  # 1 in 50,000 sweeps of 100,000 points
        why = "two of its points have the same id, the first 12 hex digits of a SHA-256"
        raise InputError([experiment.problem(("sweep",), why, "change a value, or draw with another seed")])


def _notes(
    experiment: Experiment, blocks: Sequence[Block], hits: Mapping[tuple[int, int], int], repeated: int
) -> Iterator[str]:
    for number, block in enumerate(blocks):
        for index in range(len(block.exclude)):
            if not hits.get((number, index)):
                here = (*block.path, "exclude", index)
                yield str(experiment.problem(here, "leaves out nothing that is not left out already"))
    if repeated:
        yield f"{repeated} points had the values of an earlier one and run once"
