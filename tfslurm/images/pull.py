"""Have an image on the nodes before jobs need it: a short job on each of them, which no tracker knows (ADR 71)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple

from tfslurm.errors import HostError, SlurmParseError, TfslurmError, refuse
from tfslurm.host import Host
from tfslurm.image import Pin, claims, sources
from tfslurm.job_plan.options import slurm_options
from tfslurm.remote_programs import program
from tfslurm.slurm import check_options
from tfslurm.slurm.node_jobs import (
    UNFIT,
    Node,
    cancel_named_argv,
    in_partitions,
    named_argv,
    node_job_options,
    parse_named,
    parse_states,
    states_argv,
)
from tfslurm.slurm.nodes import small
from tfslurm.slurm.states import is_final
from tfslurm.slurm.values import FIELD, GROUP, expand_hostlist, lines_of
from tfslurm.submission.prepare import Asked
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.packaged_files import pull_script
from tfslurm.workspace.session import Session

RECORD = "\x1e"
MEMORY = "1G"
"For a podman that unpacks a layer."
LOOK_EVERY_S = (0.5, 5.0)
"At first, and in the end, while nothing changes."
SILENT_S = 10.0
"A node's last word may reach the login node after Slurm has told that the job is over."
SLACK_S = 60
"Beyond its time limit, in which Slurm ends a job."
DONE = ("present", "pulled")
BAD = ("failed", "busy")


class NodePull(NamedTuple):
    """What became of the image on one node.

    ``state``: ``present`` (it was there), ``pulled``, ``failed``, ``busy`` (the node had no room in time), ``left out``
    (it gets no jobs), or on the way ``waiting``, ``looking``, ``pulling``. ``seconds``: of a pull. ``words``: from
    where, or why not.
    """

    node: str
    state: str
    seconds: int = 0
    words: str = ""


class Which(NamedTuple):
    """Which nodes: those of a list (Slurm's, ``n[1-3]``), or of the job's partition, with ``idle`` only idle ones."""

    nodes: str = ""
    idle: bool = False


@dataclass
class Pull:
    """One cluster's pull: what it asks for, how it waits, and what it knows of each node."""

    known: Known
    pin: Pin
    host: Host
    minutes: int
    tell: Callable[[str, NodePull], None]
    nodes: dict[str, NodePull] = field(default_factory=dict)
    pauses_s: tuple[float, float] = LOOK_EVERY_S
    silent_s: float = SILENT_S
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def name(self) -> str:
        """Of all of its jobs in Slurm's queue."""
        return f"tfslurm-pull-{self.token}"

    @property
    def folder(self) -> str:
        """Where its nodes say how it goes."""
        return str(self.known.cluster.root / "images" / f"pull-{self.token}")

    @property
    def open(self) -> list[str]:
        """The nodes that have not said their last word."""
        return [node for node, each in self.nodes.items() if each.state in ("waiting", "looking", "pulling")]

    def put(self, found: NodePull) -> None:
        """Take what is known of a node; what is new is told."""
        if self.nodes.get(found.node) != found:
            self.nodes[found.node] = found
            self.tell(self.known.cluster.name, found)


def pull_on(
    session: Session,
    asked: Asked,
    known: Known,
    pin: Pin,
    which: Which,
    *,
    minutes: int,
    tell: Callable[[str, NodePull], None],
    stop: Event,
) -> list[NodePull]:
    """Have the image on the nodes of one cluster; what became of it on each, in the cluster's order.

    ``tell`` is called with the cluster and each change of a node. Once ``stop`` is set, or whatever else happens, the
    jobs that are left are cancelled, and nothing of them stays on the cluster.

    Raises:
        InputError: the image is in no registry, or the list names a node that the partition does not have.
        HostError: the cluster does not answer, or has no node to pull on.
    """
    cluster = known.cluster
    if cluster.name == LOCAL:
        fix = f"`{cluster.engine} pull {pin.name}@{pin.digest}`"
        raise refuse(f"cluster {LOCAL}", "has no nodes: `image pull` is for clusters with Slurm", fix)
    if pin.pin_kind == "image-id":
        raise refuse(pin.reference, "is pinned by its id, and no registry has it", "load it on each node")
    options = check_options(slurm_options(asked.experiment, cluster), file=str(asked.file))
    host = session.reach(known)
    pull = Pull(known, pin, host, minutes, tell)
    wanted = chosen(pull, options, which)
    if not wanted or stop.is_set():
        return list(pull.nodes.values())
    limits = [node.limit_s // 60 for node in wanted if node.limit_s is not None]
    pull.minutes = max(1, min([minutes, *limits]))
    try:
        start(pull, [node.name for node in wanted], options)
        watch(pull, minutes * 60.0, stop)
    finally:
        end(pull)
    return list(pull.nodes.values())


def chosen(pull: Pull, options: Mapping[str, str], which: Which) -> list[Node]:
    """The nodes to pull on; those that get no jobs are told.

    Raises:
        InputError: the list names a node that is not there, or not of the partition.
        HostError: sinfo does not answer, or the partition has no node.
    """
    name = pull.known.cluster.name
    answer = pull.host.run(states_argv())
    if answer.exit_code != 0:
        said = " ".join(answer.stderr.split())[:300]
        raise HostError(f"{name}: sinfo: {said or f'exit {answer.exit_code}'}")
    there = parse_states(answer.stdout)
    partitions = [each for each in options.get("partition", "").split(",") if each]
    mine = in_partitions(there.values(), partitions)
    where = f"partition {', '.join(partitions)}" if partitions else "the default partition"
    if not mine:
        raise HostError(f"{name}: {where} is not up, or has no node; see `tfslurm check {name}`")
    left_out = set(listed(options.get("exclude", ""), "exclude"))
    wanted = [node for node in mine if node.name not in left_out]
    if only := listed(which.nodes or options.get("nodelist", ""), "--nodes"):
        have = {node.name: node for node in mine}
        if strange := [each for each in only if each not in have]:
            why = "is not a node of the cluster" if strange[0] not in there else f"is not in {where}, or that is down"
            fix = f"it has {', '.join([*have][:20])}{' …' if len(have) > 20 else ''}"
            raise refuse(f"{name}: {strange[0]}", why, fix)
        wanted = [have[each] for each in only]
    for node in wanted:
        if node.trouble or (which.idle and not node.is_idle):
            pull.put(NodePull(node.name, "left out", 0, node.trouble or f"it is not idle ({node.state})"))
    return [node for node in wanted if node.name not in pull.nodes]


def listed(text: str, where: str) -> tuple[str, ...]:
    """The nodes of a list.

    Raises:
        InputError: it is none.
    """
    try:
        return tuple(dict.fromkeys(expand_hostlist(text)))
    except SlurmParseError:
        raise refuse(where, f"{text[:80]!r} is no list of nodes", "write it as Slurm does: alpha[1-3],beta7") from None


def start(pull: Pull, nodes: Sequence[str], options: Mapping[str, str]) -> None:
    """Submit a job for each node.

    Raises:
        HostError: the cluster does not answer, or ROOT/images cannot be used.
    """
    cluster, pin = pull.known.cluster, pull.pin
    said, places = claims(pin), sources(pin, cluster.mirrors)
    asked = node_job_options(options, small(cluster, MEMORY), pull.name, pull.minutes)
    own = tuple(f"{name}={value}" for name, value in cluster.engine_environment.items())
    words = (
        *(str(cluster.root / "images"), cluster.engine, pin.pin_kind, pin.digest, pin.config_digest, pin.reference),
        *(said.platform, said.entrypoint),
        *(word for words in (places, said.environment, said.missing, own) for word in (str(len(words)), *words)),
    )
    accept = "accept" if cluster.shared_parents == "accept" else ""
    counted = (str(len(nodes)), *nodes, str(len(asked)), *asked)
    place = (str(cluster.root / "images"), f"pull-{pull.token}", cluster.read_group, accept)
    argv = program("start-pulls", *place, *counted, *words)
    done = pull.host.run(argv, input=pull_script(cluster.engine).encode(), timeout_s=120 + len(nodes))
    answers = [row.split(FIELD, 2) for row in lines_of(done.stdout, "\0")]
    for row in answers:
        if len(row) == 3 and row[0] in nodes:
            pull.put(submitted(*row))
    if missing := [node for node in nodes if node not in pull.nodes]:
        why = " ".join(done.stderr.split())[:300] or f"exit {done.exit_code}"
        raise HostError(f"{cluster.name}: no job could be submitted for {missing[0]}: {why}")


def submitted(node: str, code: str, answer: str) -> NodePull:
    """A node whose job waits, or why it has none."""
    said = " ".join(answer.replace("sbatch: error: ", "").split())[:300]
    if code == "0":
        return NodePull(node, "waiting")
    if UNFIT in said:
        return NodePull(node, "left out", 0, "the job's own options never fit there")
    return NodePull(node, "failed", 0, f"sbatch: {said or f'exit {code}'}")


def watch(pull: Pull, patience_s: float, stop: Event) -> None:
    """Look until each node has said its last word, the time is over, or somebody wants it to stop."""
    began, pause, changed_at = time.monotonic(), pull.pauses_s[0], time.monotonic()
    user = pull.known.user
    while pull.open and not stop.is_set():
        before = dict(pull.nodes)
        states: dict[str, tuple[str, str]] | None = None
        with suppress(HostError):  # the line may be back with the next look
            states = look(pull, user)
        if pull.nodes != before:
            pause, changed_at = pull.pauses_s[0], time.monotonic()
        elif states is not None and time.monotonic() - changed_at > pull.silent_s:
            silent(pull, states)
        over_s = time.monotonic() - began - patience_s
        for node in pull.open:
            if over_s > 0 and pull.nodes[node].state == "waiting":
                why = (states or {}).get(node, ("", ""))[1]
                words = f"no room there in {patience_s / 60:.0f} min{f' ({why})' if why not in ('', 'None') else ''}"
                pull.put(NodePull(node, "busy", 0, words))
            elif over_s > SLACK_S:
                pull.put(NodePull(node, "failed", 0, f"not over in {patience_s / 60:.0f} min"))
        stop.wait(pause)
        pause = min(pause * 1.3, pull.pauses_s[1])


def look(pull: Pull, user: str) -> dict[str, tuple[str, str]] | None:
    """Take what the nodes have said; the states of the jobs, None where Slurm did not answer.

    Raises:
        HostError: the login node does not answer.
    """
    argv = program("look-at-pulls", pull.folder, *named_argv(pull.name), f"--user={user}")
    done = pull.host.run(argv)
    files, separator, queue = done.stdout.partition(GROUP)
    logs: dict[str, str] = {}
    for row in lines_of(files, RECORD):
        file, _, text = row.partition(FIELD)
        node, _, kind = file.rpartition(".")
        if node in pull.open and kind == "said" and len(words := text.rstrip("\n").split("\t", 2)) == 3:
            seconds = int(words[1]) if words[1].isdecimal() and len(words[1]) < 7 else 0
            pull.put(
                NodePull(node, words[0] if words[0] in (*DONE, "pulling", "looking") else "failed", seconds, words[2])
            )
        elif kind == "log":
            logs[node] = " ".join(text.split())[-300:]
    if not separator or done.exit_code != 0:
        return None
    states = parse_named(queue)
    return {node: (state, logs.get(node) or why) for node, (state, why) in states.items()}


def silent(pull: Pull, states: dict[str, tuple[str, str]]) -> None:
    """Give up nodes whose jobs are over and have not said how it went."""
    for node in pull.open:
        state, why = states.get(node, ("", ""))
        if not state or is_final(state):
            words = f"its job ended{f' ({state})' if state else ''} without a word{f': {why}' if why else ''}"
            pull.put(NodePull(node, "failed", 0, words))


def end(pull: Pull) -> None:
    """Cancel what is left of the jobs, and remove the folder; on a cluster that is gone, the time limit ends them."""
    with suppress(TfslurmError):
        argv = cancel_named_argv(pull.name, pull.known.user)
        pull.host.run(program("end-pulls", pull.folder, *argv))
