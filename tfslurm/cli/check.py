"""tfslurm check."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import click

from tfslurm.check import Fact, Look, check_clusters, failed
from tfslurm.cli.console import common, emit, say, tracer
from tfslurm.submit.places import known_clusters, local_cluster

COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red", "unknown": "cyan"}
EXPERIMENT = "exp.yaml"


@click.command(short_help="Say what works on each cluster, and what to do where it does not.")
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option("--no-node", is_flag=True, help="Ask the login node only; run nothing on a compute node.")
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(1, 480),
    default=20,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a free node in each partition with GPUs.",
)
@common
def check(clusters: tuple[str, ...], no_node: bool, wait_s: int, as_json: bool, verbose: int) -> int:
    """Say what works on each cluster, and what to do where it does not: one line per fact.

    Every configured cluster is asked, unless some are named. One short job per partition with GPUs looks at a compute
    node. Exit code 1 when a line says FAIL; what could not be observed is `unknown`, and says why.
    """
    known = known_clusters(clusters) or [local_cluster()]
    if not no_node:
        say(f"asking {', '.join(one.cluster.name for one in known)}; a compute node is waited for up to {wait_s} s")
    found: dict[str, list[Fact]] = {}
    for name, facts in check_clusters(known, Look(not no_node, wait_s), tracer(verbose)):
        found[name] = facts
        if not as_json:
            show(name, facts)
    if as_json:
        emit({name: [asdict(fact) for fact in facts] for name, facts in found.items()})
    else:
        click.echo(f"next: {next_step(found, Path(EXPERIMENT).exists())}")
    return int(any(failed(facts) for facts in found.values()))


def show(cluster: str, facts: Sequence[Fact]) -> None:
    """One line per fact; several that are unknown for one reason share theirs."""
    lines = shared(unrepeated(facts))
    width = max(len(fact.fact) for fact in lines)
    for fact in lines:
        mend = f" — {fact.do}" if fact.do else ""
        status = click.style(f"{fact.status:7}", fg=COLOURS[fact.status]) if coloured() else f"{fact.status:7}"
        click.echo(f"{cluster}  {status}  {fact.fact:{width}}  {fact.value}{mend}")


def unrepeated(facts: Sequence[Fact]) -> list[Fact]:
    """The facts without those of a node that are just as on the first node; that node's own line says how many."""
    first = next((place for fact in facts if (place := place_of(fact))), "")
    known = {bare(fact) for fact in facts if place_of(fact) == first}
    kept: list[Fact] = []
    counts: Counter[str] = Counter()
    for fact in facts:
        place = place_of(fact)
        if place not in ("", first) and bare(fact).fact != "node" and bare(fact) in known:
            counts[place] += 1
        else:
            kept.append(fact)
    return [with_count(fact, counts[place_of(fact)], first) if bare(fact).fact == "node" else fact for fact in kept]


def bare(fact: Fact) -> Fact:
    """The fact without the partition that it is of."""
    return replace(fact, fact=fact.fact.removeprefix(f"{place_of(fact)}/"))


def with_count(node: Fact, count: int, first: str) -> Fact:
    """A node's line that says for how many facts not to look below it."""
    return replace(node, value=f"{node.value}; {count} fact{'s' if count > 1 else ''} as in {first}") if count else node


def place_of(fact: Fact) -> str:
    """The partition that a fact of a node is of; '' for any other."""
    return fact.fact.partition("/")[0] if "/" in fact.fact.partition(" ")[0] else ""


def shared(facts: Sequence[Fact]) -> list[Fact]:
    """The facts with each run of unknowns of one reason as one."""
    lines: list[Fact] = []
    for (status, value, mend), run in groupby(facts, key=lambda fact: (fact.status, fact.value, fact.do)):
        same = list(run)
        if status != "unknown" or len(same) == 1:
            lines += same
            continue
        place = place_of(same[0])
        names = ", ".join(fact.fact.removeprefix(f"{place}/") for fact in same)
        lines.append(Fact(f"{place}/({len(same)} facts)".lstrip("/"), status, f"{names}: {value}", mend))
    return lines


def coloured() -> bool:
    """Whether colour is wanted: on a terminal, without NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def next_step(found: Mapping[str, Sequence[Fact]], has_experiment: bool) -> str:
    """The command that gets the user furthest now."""
    broken = [name for name, facts in found.items() if failed(facts)]
    whole = [name for name in found if name not in broken]
    mend = f"mend what FAILs, then `tfslurm check {' '.join(broken)}`" if broken else ""
    if not whole:
        return mend
    if not has_experiment:
        go = "`tfslurm init` writes an experiment to start from"
    elif whole == ["local"]:
        go = f"`tfslurm run {EXPERIMENT}`"
    else:
        go = f"`tfslurm submit {EXPERIMENT} --cluster {next(name for name in whole if name != 'local')} --wait`"
    return f"{go}; on {', '.join(broken)} {mend}" if broken else go
