"""tfslurm image pull."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, redraw, say, show
from tfslurm.cli.image.cells import SHORT
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.errors import TfslurmError, refuse
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import in_background

if TYPE_CHECKING:
    from tfslurm.image import Pin
    from tfslurm.images.pull import NodePull, Which
    from tfslurm.submission.prepare import Asked
    from tfslurm.workspace.config import Known

    Results = Mapping[str, Sequence[NodePull] | str]
    "Cluster -> what became of each node, or why nothing was pulled there."

LONGEST_MIN = 24 * 60


@click.command()
@click.argument("file", metavar="EXP.yaml", type=click.Path(path_type=Path))
@click.option("--cluster", "names", multiple=True, metavar="NAME", help="Pull on this cluster; may be repeated.")
@click.option("--nodes", "nodes", default="", metavar="LIST", help="On these nodes, as Slurm writes them: alpha[1-3].")
@click.option("--idle", is_flag=True, help="On the nodes of the job's partition that are idle now.")
@click.option("--all", "everywhere", is_flag=True, help="On all nodes of the job's partition (the default).")
@click.option(
    "--within",
    "minutes",
    type=click.IntRange(1, LONGEST_MIN),
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="Give up then: on nodes that had no room, and pulls that are not over.",
)
@common
def pull(
    session: Session,
    file: Path,
    names: tuple[str, ...],
    nodes: str,
    idle: bool,
    everywhere: bool,
    minutes: int,
    as_json: bool,
) -> int:
    """Have an experiment's image on the nodes before its jobs begin.

    On each node of the partition runs a short Slurm job of one CPU, without GPU, which pulls the pinned image by its
    digest, as a job would. Nodes that are down or drained are named and left out. These jobs are no runs: no list,
    record or sum of tfslurm's has them. Ctrl-C cancels them.

    Exit codes: 0 the image is on every node that gets jobs, 1 on some it is not.
    """
    from tfslurm.images.pull import Which
    from tfslurm.submission.pinning import pin_on_first_use
    from tfslurm.submission.prepare import read_experiment
    from tfslurm.workspace.config import choose_clusters

    if sum((bool(nodes), idle, everywhere)) > 1:
        raise refuse("--nodes, --idle, --all", "exclude each other", "give one of them")
    asked = read_experiment(file, sweeps=True)
    clusters = choose_clusters(names, asked.experiment.clusters, session.say)
    pin = pin_on_first_use(session, asked, clusters)
    shown = Shown(pin, minutes, quiet=as_json)
    found = pull_everywhere(session, asked, clusters, pin, Which(nodes, idle), shown)
    if as_json:
        emit(as_value(pin, found))
    return shown.ended(found)


def pull_everywhere(
    session: Session, asked: Asked, clusters: Sequence[Known], pin: Pin, which: Which, shown: Shown
) -> Results:
    """The pull on all clusters at once; at Ctrl-C the jobs are cancelled before this command ends."""
    from tfslurm.images.pull import pull_on

    stop = Event()
    works = [
        partial(pull_on, session, asked, known, pin, which, minutes=shown.minutes, tell=shown.node, stop=stop)
        for known in clusters
    ]
    begun = [in_background(work) for work in works]
    found: dict[str, Sequence[NodePull] | str] = {}
    try:
        for known, result in zip(clusters, begun, strict=True):
            try:
                found[known.cluster.name] = result()
            except TfslurmError as error:
                if len(clusters) == 1:
                    raise
                found[known.cluster.name] = str(error)
    except KeyboardInterrupt:
        stop.set()
        say("", "cancelling the jobs of this pull")
        for result in begun[len(found) :]:
            with suppress(TfslurmError):
                result()
        raise
    return found


class Shown:
    """What a reader sees of a pull: a line for each node that has said its last word, and on a terminal how many have.

    Clusters speak from threads of their own.
    """

    def __init__(self, pin: Pin, minutes: int, *, quiet: bool) -> None:
        self.minutes, self.quiet = minutes, quiet
        self._lock, self._states = Lock(), dict[tuple[str, str], str]()
        if not quiet:
            size = f", {size_text(pin.size_bytes)}" if pin.size_bytes else ""
            show(f"{pin.name}@{pin.digest[:SHORT]}…{size}")

    def node(self, cluster: str, found: NodePull) -> None:
        """Take a change of a node."""
        with self._lock:
            self._states[cluster, found.node] = found.state
            if self.quiet:
                return
            if found.state in ("waiting", "looking", "pulling"):
                self._progress()
                return
            if sys.stderr.isatty():
                redraw("")
            show(f"{cluster}:{found.node}  {text_of(found)}")
            self._progress()

    def _progress(self) -> None:
        if not sys.stderr.isatty():
            return
        states = list(self._states.values())
        open_ones = {state: states.count(state) for state in ("waiting", "looking", "pulling") if state in states}
        if open_ones:
            redraw(", ".join(f"{count} {state}" for state, count in open_ones.items()))

    def ended(self, found: Results) -> int:
        """The last line, and the exit code."""
        from tfslurm.images.pull import BAD, DONE

        if sys.stderr.isatty() and not self.quiet:
            redraw("")
        each = [one for nodes in found.values() if not isinstance(nodes, str) for one in nodes]
        good = sum(one.state in DONE for one in each)
        bad = sum(one.state in BAD for one in each)
        failures = {name: why for name, why in found.items() if isinstance(why, str)}
        for why in failures.values():
            say(why)
        if not self.quiet:
            out = len(each) - good - bad
            words = [f"on {good} of {good + bad} node{'' if good + bad == 1 else 's'}"]
            show(", ".join([*words, *([f"{out} left out"] if out else [])]))
        return 1 if bad or failures or not good else 0


def text_of(found: NodePull) -> str:
    """What became of it, for a reader."""
    if found.state == "present":
        return "present already"
    if found.state == "pulled":
        return f"pulled in {found.seconds} s{by_whom(found.words)}"
    return f"{found.state}: {found.words}"


def by_whom(words: str) -> str:
    """From which registry and repository, by whose pull."""
    place, at, _ = words.partition("@")
    return f" from {place}" if at else f", by {words}"


def as_value(pin: Pin, found: Results) -> dict[str, Any]:
    """The results as JSON values."""
    clusters = {
        name: {"error": nodes} if isinstance(nodes, str) else {"nodes": [each._asdict() for each in nodes]}
        for name, nodes in found.items()
    }
    return {"image": f"{pin.name}@{pin.digest}", "clusters": clusters}
