"""Ask the nodes for containers and their holders, then the scheduler for their jobs, then the nodes to remove them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tfslurm.check.fact import one_line
from tfslurm.check.probe_output import ProbeOutput, parse_probe_output
from tfslurm.errors import Completed, HostError
from tfslurm.host import Host
from tfslurm.monitoring.poll import queued
from tfslurm.reap.verdict import Verdict, concerned, judge, outcome
from tfslurm.remote_programs import program
from tfslurm.slurm.nodes import engine_settings, is_busy, nodes_argv, parse_nodes, probe_argv, small
from tfslurm.tracker.submissions import ran_on
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.packaged_files import probe
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once

MOST_NODES = 32  # of those where jobs ran, the latest; --node names others
LONGEST_S = 90  # all that reap.sh may wait for, with a slow prolog before it


@dataclass(frozen=True, slots=True)
class ReapOptions:
    """``nodes``: by name, instead of those where jobs ran; ``wait_s``: how long a busy node is waited for."""

    nodes: tuple[str, ...] = ()
    dry_run: bool = False
    wait_s: int = 10


@dataclass(slots=True)
class Reaped:
    """The verdicts on one cluster; ``problems`` are the nodes that could not be inspected, and why."""

    cluster: str
    nodes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reap_clusters(session: Session, clusters: Sequence[Known], options: ReapOptions) -> Iterator[Reaped]:
    """Each cluster's containers, in the order given; all clusters are asked at once."""
    where = {name: ran_on(session.tracker, name) for name in {known.cluster.name for known in clusters}}
    asked = [partial(reap_cluster, session, known, options, where[known.cluster.name]) for known in clusters]
    for answer in at_once(asked):
        yield answer()


def reap_cluster(session: Session, known: Known, options: ReapOptions, ran_on: Sequence[str]) -> Reaped:
    """One cluster: inspect every node, ask the scheduler once, then remove. ``ran_on``: the last job's nodes first."""
    name = known.cluster.name
    reaped = Reaped(name)
    try:
        reaper = Reaper(session.reach(known), known, options, probe("reap", known.cluster.engine), reaped)
        reaper.reap(ran_on)
    except HostError as error:
        reaped.problems.append(one_line(str(error)))
    return reaped


@dataclass(frozen=True, slots=True)
class Reaper:
    """One cluster's reaping; what it finds goes to ``reaped``."""

    host: Host
    known: Known
    options: ReapOptions
    script: str
    reaped: Reaped

    @property
    def is_local(self) -> bool:
        """Whether there is no scheduler."""
        return self.known.cluster.name == LOCAL

    def reap(self, ran_on: Sequence[str]) -> None:
        """Inspect first and ask the scheduler afterwards: a job that began in between is held by its script."""
        partitions = {LOCAL: ("",)} if self.is_local else self.partitions(ran_on)
        seen = [(node, found) for node in partitions if (found := self.inspect(node, partitions[node]))]
        there = [(node, each) for node, one in seen for each in concerned(one, local=self.is_local)]
        if not there:
            return
        known = None if self.is_local else queued(self.reaped.cluster, self.host)
        verdicts = [(node, judge(each, known)) for node, each in there]
        for node in partitions:
            here = [verdict for place, verdict in verdicts if place == node]
            self.reaped.verdicts += self.remove(node, partitions[node], here)

    def partitions(self, ran_on: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The nodes to inspect -> the partitions that have them."""
        wanted = list(dict.fromkeys(self.options.nodes)) or ran_on[:MOST_NODES]
        if not wanted:
            return {}
        if not self.options.nodes and len(ran_on) > MOST_NODES:
            left = len(ran_on) - MOST_NODES
            self.reaped.problems.append(
                f"{left} more nodes where older jobs ran were not looked at; name them with --node"
            )
        answer = self.host.run(nodes_argv())
        if answer.exit_code != 0:
            raise HostError(f"{self.reaped.cluster}: sinfo: {one_line(answer.stderr) or f'exit {answer.exit_code}'}")
        known = parse_nodes(answer.stdout)
        for node in wanted:
            if not known.get(node):
                why = "no partition that is up has it" if node in known else "the cluster has no node of that name"
                self.reaped.problems.append(f"{node}: {why}")
        return {node: known[node] for node in wanted if known.get(node)}

    def inspect(self, node: str, partitions: Sequence[str]) -> ProbeOutput | None:
        """The containers on a node; None, and a problem, if it could not be inspected."""
        done = self.ask(node, partitions, ("look",))
        seen = parse_probe_output(done.stdout)
        error = seen.one("error")
        if seen.whole and not error:
            self.reaped.nodes.append(node)
            return seen
        self.reaped.problems.append(f"{node}: {error or self.refusal(done)}")
        return None

    def remove(self, node: str, partitions: Sequence[str], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts after what is to be removed was; the node looks again at who holds each."""
        ids = [verdict.container.id for verdict in verdicts if verdict.action == "remove"]
        if self.options.dry_run or not ids:
            return list(verdicts)
        done = self.ask(node, partitions, ("remove", *ids))
        after = parse_probe_output(done.stdout)
        if not after.whole:
            self.reaped.problems.append(f"{node}: {self.refusal(done)}")
        return [outcome(each, after) if each.action == "remove" else each for each in verdicts]

    def ask(self, node: str, partitions: Sequence[str], words: Sequence[str]) -> Completed:
        """Run reap.sh there; bash reads it on stdin."""
        cluster = self.known.cluster
        command = (*engine_settings(cluster), "bash", "-s", "--", cluster.engine, *words)
        if not self.is_local:
            preferred = str(cluster.slurm.get("partition", ""))
            partition = preferred if preferred in partitions else partitions[0]
            where = {"partition": partition, "nodelist": node, "job_name": "tfslurm-reap"}
            where |= small(cluster, "64M")
            probe = probe_argv(cluster.slurm, command, immediate=self.options.wait_s, **where)
            command = program("without-steering", *probe)
        return self.host.run(command, input=self.script.encode(), timeout_s=self.options.wait_s + LONGEST_S)

    def refusal(self, done: Completed) -> str:
        """The reason why there is no answer."""
        if is_busy(done.stderr):
            return f"nothing was free there within {self.options.wait_s} s; try again later, or with --wait 300"
        return one_line(done.stderr.replace("srun: error: ", "")) or f"exit {done.exit_code} and no answer"
