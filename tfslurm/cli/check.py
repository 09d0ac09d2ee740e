"""tfslurm check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import click

from tfslurm.check import CheckOptions, Fact, check_clusters, failed
from tfslurm.check.fact import Status
from tfslurm.cli.console import emit, say
from tfslurm.cli.console import show as show_line
from tfslurm.cli.options import common, wait_option
from tfslurm.document.tree import printable
from tfslurm.image import Pin, parse_reference
from tfslurm.submission.preflight import sees_no_gpu, suits
from tfslurm.submission.prepare import pin_now, pinned, read_experiment, resolve_now
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.clock import now
from tfslurm.workspace.cluster_files import cluster_files
from tfslurm.workspace.config import Known, known_clusters, local_cluster
from tfslurm.workspace.folders import user_folders
from tfslurm.workspace.session import Session

COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red", "unknown": "cyan"}
ORIGINS = {"own": "your own", "trusted": "which you trust as it is now", "named": "named with --clusters"}
EXPERIMENT = "exp.yaml"
IMAGE_FACT = "image-driver"
IMAGE_STATUS: dict[str, Status] = {
    "full": "ok",
    "minor-version compatible": "ok",
    "some too old": "warn",
    "too old": "FAIL",
    "unknown": "unknown",
}


@click.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option("--fresh", is_flag=True, help="Ask again for site settings that tfslurm has kept for less than a day.")
@click.option("--no-node", is_flag=True, help="Ask the login node only; run nothing on a compute node.")
@wait_option(20, "How long to wait for a free node in each partition with GPUs.")
@click.option(
    "--image",
    metavar="REF|EXP.yaml",
    help="Also say for each partition whether its driver can run this image's CUDA.",
)
@common
def check(
    session: Session,
    clusters: tuple[str, ...],
    fresh: bool,
    no_node: bool,
    wait_s: int,
    image: str | None,
    as_json: bool,
) -> int:
    """Check each cluster: one line per fact, and how to fix what does not work.

    check asks every configured cluster, unless you name some. One short job for each partition with GPUs looks at a
    compute node. tfslurm keeps a site's settings for a day, and says how old they are. A fact that could not be
    observed is `unknown`, with the reason. The exit code is 1 if a line says FAIL.
    """
    known = known_clusters(clusters, say) or [local_cluster()]
    if not no_node:
        say(f"asking {', '.join(one.cluster.name for one in known)}; waiting up to {wait_s} s for a compute node")
    pin = pin_of(image, known) if image else None
    tracker = session.tracker
    seen: list[SeenDriver] = []
    found: dict[str, list[Fact]] = {}
    for name, facts in check_clusters(session, known, CheckOptions(not no_node, fresh, wait_s, seen.append)):
        tracker.note_drivers(seen)
        seen.clear()
        if pin:
            places = {place_of(fact) for fact in facts} - {""}
            facts.extend(image_facts(pin, places, tracker.drivers(name), sees_no_gpu(pin, tracker.image(pin.digest))))
        facts.insert(0, file_fact(next(one for one in known if one.cluster.name == name)))
        found[name] = facts
        if not as_json:
            show(name, facts)
    if as_json:
        emit({name: [asdict(fact) for fact in facts] for name, facts in found.items()})
    else:
        show_line(f"next: {next_step(found, Path(EXPERIMENT).exists())}")
    return int(any(failed(facts) for facts in found.values()))


def file_fact(known: Known) -> Fact:
    """Which file describes the cluster, and why that one counts."""
    if known.file is None:
        return Fact("file", "ok", "none: tfslurm's own for this machine")
    value = f"{known.file}, {ORIGINS[known.origin]}"
    hidden = cluster_files(user_folders()).shadowed.get(known.cluster.name)
    if hidden is None:
        return Fact("file", "ok", value)
    return Fact(
        "file", "warn", f"{value}; {hidden} has that name too, and is not used", "rename one of them to use both"
    )


def pin_of(image: str, clusters: Sequence[Known]) -> Pin:
    """The image of an experiment as its lock pins it, or any other as its registry says now; nothing is written."""
    if image.endswith((".yaml", ".yml")):
        asked = read_experiment(Path(image))
        return pinned(asked) or pin_now(asked, [one.cluster for one in clusters], now(), say)
    return resolve_now(parse_reference(image), [one.cluster for one in clusters], now(), say)


def image_facts(pin: Pin, places: Collection[str], seen: Sequence[SeenDriver], fault: str) -> list[Fact]:
    """Whether each partition's driver, seen now or last time, can run the CUDA of an image, which may have a fault."""
    by_place = {place: [one for one in seen if one.partition == place] for place in places}
    by_place |= {one.partition: [other for other in seen if other.partition == one.partition] for one in seen}
    if not by_place:
        return [Fact(IMAGE_FACT, "unknown", f"{pin.reference}: no driver was seen on this cluster yet")]
    return [image_fact(pin, by_place[place], fault).of(place) for place in sorted(by_place)]


def image_fact(pin: Pin, seen: Sequence[SeenDriver], fault: str) -> Fact:
    """The verdict on the drivers of one partition."""
    if not seen:
        return Fact(IMAGE_FACT, "unknown", f"{pin.reference}: no driver was seen there yet")
    verdict = suits(pin.environment, seen)
    fix = {"too old": "use an image with an older CUDA, or another partition", "some too old": "exclude those nodes"}
    status = IMAGE_STATUS[verdict.status]
    fixes = [fault, fix.get(verdict.status, "")]
    status = "warn" if fixes[0] and status == "ok" else status
    words = f"{pin.reference}: {verdict.status}: {verdict.words()}"
    return Fact(IMAGE_FACT, status, words, "; ".join(filter(None, fixes)))


def show(cluster: str, facts: Sequence[Fact]) -> None:
    """One line per fact; several that are unknown for one reason share theirs."""
    lines = shared(unrepeated(facts))
    width = max(len(fact.fact) for fact in lines)
    for fact in lines:
        fix = f" — {fact.do}" if fact.do else ""
        status = (f"{fact.status:7}", COLOURS[fact.status])
        show_line(f"{cluster}  ", status, f"  {printable(f'{fact.fact:{width}}  {fact.value}{fix}')}")


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
    for at, fact in enumerate(kept):
        if bare(fact).fact == "node" and (count := counts[place_of(fact)]):
            kept[at] = replace(fact, value=f"{fact.value}; {count} fact{'s' if count > 1 else ''} as in {first}")
    return kept


def bare(fact: Fact) -> Fact:
    """The fact without the partition that it is of."""
    return replace(fact, fact=fact.fact.removeprefix(f"{place_of(fact)}/"))


def place_of(fact: Fact) -> str:
    """The partition that a fact of a node is of; '' for any other."""
    return fact.fact.partition("/")[0] if "/" in fact.fact.partition(" ")[0] else ""


def shared(facts: Sequence[Fact]) -> list[Fact]:
    """The facts with each run of unknowns of one reason as one."""
    lines: list[Fact] = []
    for (status, value, fix), run in groupby(facts, key=lambda fact: (fact.status, fact.value, fact.do)):
        same = list(run)
        if status != "unknown" or len(same) == 1:
            lines += same
            continue
        place = place_of(same[0])
        names = ", ".join(fact.fact.removeprefix(f"{place}/") for fact in same)
        lines.append(Fact(f"{place}/({len(same)} facts)".lstrip("/"), status, f"{names}: {value}", fix))
    return lines


def next_step(found: Mapping[str, Sequence[Fact]], has_experiment: bool) -> str:
    """The command that gets the user furthest now."""
    broken = [name for name, facts in found.items() if failed(facts)]
    whole = [name for name in found if name not in broken]
    fix = f"fix what FAILs, then `tfslurm check {' '.join(broken)}`" if broken else ""
    if not whole:
        return fix
    if not has_experiment:
        go = "`tfslurm init` writes an experiment to start from"
    elif whole == ["local"]:
        go = f"`tfslurm run {EXPERIMENT}`"
    else:
        go = f"`tfslurm submit {EXPERIMENT} --cluster {next(name for name in whole if name != 'local')} --wait`"
    return f"{go}; on {', '.join(broken)} {fix}" if broken else go
