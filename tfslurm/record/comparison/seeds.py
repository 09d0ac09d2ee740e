"""The seeds of a run, as far as they can be seen from outside: parameters, and options of the command. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from tfslurm.record.asked import SEED
from tfslurm.record.model import Record

Relation = Literal["same", "other", "unknown"]


class Seeds(NamedTuple):
    """Whether two runs had the same seed, and how that is known."""

    relation: Relation
    why: str


def seeds_of(record: Record) -> dict[str, str]:
    """Name -> value of each seed: a parameter, or `--seed 7`, `--seed=7`, `data.seed=7` in the command."""
    named = {name: text_of(value) for name, value in record.experiment.parameters.items() if SEED.fullmatch(name)}
    return {**dict(in_command(record.experiment.command)), **named}


def in_command(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The seeds that stand in a command."""
    for index, word in enumerate(words):
        option, is_whole, value = word.partition("=")
        name = option.lstrip("-").replace("-", "_")
        if not SEED.fullmatch(name):
            continue
        if is_whole:
            yield name, value
        elif option.startswith("-") and index + 1 < len(words):
            yield name, words[index + 1]


def other_parameters(record: Record) -> dict[str, str]:
    """The parameters that are no seeds, as the command has them."""
    given = record.experiment.parameters.items()
    return {name: text_of(value) for name, value in given if not SEED.fullmatch(name)}


def text_of(value: Any) -> str:
    """A parameter's value as it stands in a command: text as it is, the others as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def seeds(a: Record, b: Record, is_one_command: bool) -> Seeds:
    """Whether the seeds are the same; ``is_one_command``: the commands differ by nothing but parameters."""
    in_a, in_b = seeds_of(a), seeds_of(b)
    if in_a.keys() != in_b.keys():
        names = ", ".join(sorted(in_a.keys() ^ in_b.keys()))
        return Seeds("unknown", f"only one of them names the seed {names}")
    differ = [f"{name} {in_a[name]} / {in_b[name]}" for name in in_a if in_a[name] != in_b[name]]
    if differ:
        return Seeds("other", ", ".join(differ))
    if in_a:
        return Seeds("same", ", ".join(f"{name} {value}" for name, value in in_a.items()))
    if is_one_command:
        return Seeds("same", "no parameter is a seed, and the command is the same")
    return Seeds("unknown", "no parameter is a seed, and the commands differ")
