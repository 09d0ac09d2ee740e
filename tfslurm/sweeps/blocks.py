"""The plain value of ``sweep`` -> blocks of axes. Every problem at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from tfslurm.document import Path, Refused, key_text, nearest, show
from tfslurm.errors import Problem
from tfslurm.spec import KEYS
from tfslurm.sweeps.values import Scalar, Values, drawn_from, values_of

if TYPE_CHECKING:
    from tfslurm.spec import axes

Given = Mapping[str, Scalar]
MOST = 100  # problems of one block that are looked for
_OWN = ("grid", "zip", "random", "exclude", "include")


class Source(Protocol):
    """A document or an experiment, which knows where each key was written."""

    def problem(self, path: Path, why: str, fix: str = "") -> Problem:
        """A problem at a key."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Parameters that advance together: one of a grid, a zipped group, or all that are drawn together."""

    names: tuple[str, ...]
    values: tuple[Values, ...]
    path: Path

    @property
    def count(self) -> int:
        """The number of its steps."""
        return self.values[0].count


@dataclass(frozen=True, slots=True)
class Block:
    """Axes that are crossed, sorted by their first name; ``exclude`` does not touch what ``include`` adds."""

    axes: tuple[Axis, ...]
    exclude: tuple[Given, ...]
    include: tuple[Given, ...]
    path: Path

    @property
    def names(self) -> tuple[str, ...]:
        """Its parameters, sorted."""
        given = [name for axis in self.axes for name in axis.names] or [name for each in self.include for name in each]
        return tuple(sorted(set(given)))

    @property
    def count(self) -> int:
        """The number of its points before any is left out or met twice; nothing is enumerated for it."""
        return (prod(axis.count for axis in self.axes) if self.axes else 0) + len(self.include)


def read(sweep: axes.Sweep, source: Source) -> tuple[tuple[Block, ...], list[Problem]]:
    """The blocks of a sweep in the order of the file, and what is wrong with them."""
    given: Sequence[axes.Block] = [sweep]
    places: list[Path] = [("sweep",)]
    if sweep.blocks:
        if both := [key for key in _OWN if getattr(sweep, key) is not None]:
            why = f"`{both[0]}` stands beside `blocks`, and would belong to none of them"
            return (), [source.problem(("sweep", both[0]), why, "move it into one of the blocks")]
        given = sweep.blocks
        places = [("sweep", "blocks", index) for index in range(len(given))]
    problems: list[Problem] = []
    blocks = tuple(_block(each, path, source, problems) for each, path in zip(given, places, strict=True))
    if not problems:
        problems += _different(blocks, source)
    return blocks, problems


def _block(given: axes.Block, path: Path, source: Source, problems: list[Problem]) -> Block:
    crossed: list[Axis] = []
    for place, values in _groups(given):
        try:
            crossed.append(_axis(values, (*path, *place)))
        except Refused as refused:
            problems += (source.problem((*path, *place, *each.at), each.why, each.fix) for each in refused.all)
    if given.random:
        _add_drawn(given.random, (*path, "random"), source, crossed, problems)
    block = Block(
        tuple(sorted(crossed, key=lambda axis: axis.names)),
        tuple(given.exclude or ()),
        tuple(given.include or ()),
        path,
    )
    broken = bool(problems)
    problems += _named(block, source, broken)
    if not broken:
        problems += islice(_points_named(block, source), MOST)
    return block


def _groups(given: axes.Block) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for name, values in (given.grid or {}).items():
        yield ("grid",), {name: values}
    for index, group in enumerate(given.zip or ()):
        yield ("zip", index), group


def _axis(group: Mapping[str, Any], path: Path) -> Axis:
    if not group:
        raise Refused("names no parameter", "write {depth: [2, 4], width: [64, 128]}")
    names, values, refusals = tuple(sorted(group)), [], []
    for name in names:
        try:
            values.append(values_of(group[name]))
        except Refused as refused:
            refusals.append(Refused(refused.why, refused.fix, (name,)))
    if refusals:
        raise Refused.together(refusals)
    if len({each.count for each in values}) > 1:
        lengths = ", ".join(f"{name} {each.count}" for name, each in zip(names, values, strict=True))
        raise Refused(f"its axes have different lengths: {lengths}", "give each as many values")
    return Axis(names, tuple(values), path)


def _add_drawn(given: Mapping[str, Any], path: Path, source: Source, axes: list[Axis], problems: list[Problem]) -> None:
    names = sorted(set(given) - {"samples", "seed"})
    if not names:
        problems.append(
            source.problem(path, "draws nothing", "add a parameter, such as dropout: {uniform: [0.1, 0.5]}")
        )
        return
    values: list[Values] = []
    for name in names:
        try:
            values.append(drawn_from(name, given[name], given["samples"], given.get("seed", 0)))
        except Refused as refused:
            problems.append(source.problem((*path, name), refused.why, refused.fix))
    if len(values) == len(names):
        axes.append(Axis(tuple(names), tuple(values), path))


def _named(block: Block, source: Source, broken: bool) -> Iterator[Problem]:
    """Axes that give one parameter twice, or that are keys of the file."""
    seen: dict[str, Path] = {}
    for axis in block.axes:
        for name in axis.names:
            here = (*axis.path, name)
            if name.split(".")[0] in KEYS:
                why = f"`{name}` is a key of this file, and all points of a sweep are tasks of equal jobs"
                yield source.problem(here, why, f"submit once for each value, with --set {name}=VALUE")
            elif name in seen:
                yield source.problem(here, f"has values already, in {key_text(seen[name])}", "keep one of them")
            seen.setdefault(name, here)
    if not block.axes and not block.include and not broken:
        yield source.problem(block.path, "has no axis", "write `grid: {lr: [0.1, 0.01]}`")


def _points_named(block: Block, source: Source) -> Iterator[Problem]:
    """A problem for each parameter of ``exclude`` or ``include`` that the block does not have, or that they lack."""
    names = block.names
    for index, given in enumerate(block.exclude):
        here: Path = (*block.path, "exclude", index)
        yield from unknown(given, names, here, source)
        if not given:
            yield source.problem(here, "would leave out every point", "name values, such as {lr: 0.1}")
    for index, given in enumerate(block.include):
        here = (*block.path, "include", index)
        yield from unknown(given, names, here, source)
        if lacks := [name for name in names if name not in given]:
            values = ", ".join(f"{name}: …" for name in lacks)
            yield source.problem(here, f"has no value for {', '.join(lacks)}", f"add {values}")


def unknown(given: Given, names: Sequence[str], path: Path, source: Source) -> Iterator[Problem]:
    """A problem for each name that is no parameter of the sweep."""
    for name in given:
        if name not in names:
            fix = f"{nearest(name, names)}the parameters are: {', '.join(names)}"
            yield source.problem((*path, name), f"{show(name)} is no parameter of this sweep", fix)


def _different(blocks: Sequence[Block], source: Source) -> Iterator[Problem]:
    """Blocks whose points would lack what the others have."""
    every = sorted({name for block in blocks for name in block.names})
    for block in blocks:
        if lacks := [name for name in every if name not in block.names]:
            fix = f"every block gives the same parameters; add `grid: {{{lacks[0]}: […]}}`, with one value if need be"
            yield source.problem(block.path, f"has no value for {', '.join(lacks)}", fix)
