"""Probe one compute node of each partition with GPUs: a short srun that pipes check.sh into bash there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfslurm.check.fact import Fact, one_line, unknown
from tfslurm.check.node import NODE_FACTS, Wanted, driver_version, node_facts
from tfslurm.check.probe_output import ProbeOutput, parse_probe_output
from tfslurm.check.registries import address
from tfslurm.check.site import target
from tfslurm.cluster import Cluster
from tfslurm.errors import Completed, HostError
from tfslurm.host import Host
from tfslurm.remote_programs import program
from tfslurm.slurm import Partition, SlurmConfig
from tfslurm.slurm.nodes import engine_settings, is_busy, probe_argv, small
from tfslurm.slurm.profile import SiteProfile as Site
from tfslurm.slurm.rejection import explain_rejection
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.clock import now

LONGEST_LOOK_S = 90  # all that check.sh may wait for, with a slow prolog before it


class Look(NamedTuple):
    """The nodes to look at, and what they are asked beside the rest.

    ``partition``: the one whose node is looked at, '' for that which jobs go to, None for each. ``images``: names that
    the engine is asked for. ``on_node`` gets a partition, '' for this machine, and what a node of it said.
    ``longest_s``: how long a node may take to answer.
    """

    partition: str | None = None
    images: tuple[str, ...] = ()
    on_node: Callable[[str, ProbeOutput], None] = lambda partition, seen: None
    longest_s: int = LONGEST_LOOK_S


ANY = Look()


@dataclass(frozen=True, slots=True)
class NodeProbe:
    """The settings of every probe on one cluster. ``token``: the file in the root, '' if none could be written."""

    host: Host
    cluster: Cluster
    site: Site
    script: str
    token: str
    registries: Sequence[str]
    wait_s: int
    on_driver: Callable[[SeenDriver], None]
    look: Look = ANY

    def nodes(self) -> list[Fact]:
        """The facts of a node of each partition: ``gpu/driver``, ``debug/driver``."""
        facts = [fact.of(part.name) for part in self.partitions() for fact in self.partition(part)]
        return facts or unknown(["node"], "no partition to look at")

    def partitions(self) -> list[Partition]:
        """Those with GPUs, the one that jobs go to first; in a cluster without GPUs just that one."""
        have = self.site.partitions or ()
        first = target({"partition": wanted} if (wanted := self.look.partition) else self.cluster.slurm, have)
        if wanted is not None:
            return [first] if first else []
        chosen = [part for part in have if part.gpus_per_node] or [part for part in have if part == first]
        return sorted(chosen, key=lambda part: part != first)

    def partition(self, part: Partition) -> list[Fact]:
        """The facts of one node of a partition, or why none could be probed."""
        if not part.is_up:
            return unseen(Fact("node", "unknown", "the partition is not up"), self.site.config)
        gpus = 1 if part.gpus_per_node else 0
        where = {"partition": part.name, "job_name": "tfslurm-check", **small(self.cluster, "512M", gpus)}
        probe = probe_argv(self.cluster.slurm, self.command(), immediate=self.wait_s, **where)
        argv = program("without-steering", *probe)
        begun = time.monotonic()
        try:
            done = self.host.run(argv, input=self.script.encode(), timeout_s=self.wait_s + self.look.longest_s)
        except HostError as error:
            return unseen(Fact("node", "unknown", one_line(str(error))), self.site.config)
        seen = parse_probe_output(done.stdout)
        if not seen.whole:
            return unseen(self.refused(part, done), self.site.config)
        if version := driver_version(seen):
            self.on_driver(SeenDriver(self.cluster.name, part.name, seen.one("node"), version, now(), "tfslurm check"))
        self.look.on_node(part.name, seen)
        return node_facts(seen, self.wanted(gpus), time.monotonic() - begun)

    def here(self) -> list[Fact]:
        """The same facts of this machine, where there is no scheduler."""
        begun = time.monotonic()
        try:
            done = self.host.run(self.command(), input=self.script.encode(), timeout_s=self.look.longest_s)
        except HostError as error:
            return unseen(Fact("node", "unknown", one_line(str(error))), None)
        seen = parse_probe_output(done.stdout)
        self.look.on_node("", seen)
        return node_facts(seen, self.wanted(0), time.monotonic() - begun)

    def command(self) -> tuple[str, ...]:
        """bash reads the script on stdin."""
        places = [word for registry in self.registries for word in address(registry)]
        settings = engine_settings(self.cluster)
        images = ("--", *self.look.images) if self.look.images else ()
        return (
            *settings,
            "bash",
            "-s",
            "--",
            self.cluster.engine,
            str(self.cluster.root),
            self.token,
            *places,
            *images,
        )

    def wanted(self, gpus: int) -> Wanted:
        """The settings that the answer is compared with."""
        own = ":".join(address(self.cluster.registry.partition("/")[0])) if self.cluster.registry else ""
        return Wanted(self.cluster.engine, str(self.cluster.root), self.token, gpus, own)

    def refused(self, part: Partition, done: Completed) -> Fact:
        """srun gave no node: busy is no fault, and only the partition that jobs go to must take them."""
        if is_busy(done.stderr):
            value = f"nothing was free within {self.wait_s} s ({part.idle_nodes} of {part.nodes} nodes idle)"
            return Fact("node", "warn", value, "nothing is wrong; look again later, or with --wait 300")
        said = (
            one_line(done.stderr.replace("srun: error: ", "")) or f"srun ended with exit {done.exit_code} and no answer"
        )
        site = self.site
        more = explain_rejection(done.stderr, site.partitions or (), site.accounts or (), words(self.cluster, part))
        is_target = part == target(self.cluster.slurm, site.partitions or ())
        return Fact(
            "node", "FAIL" if is_target else "warn", f"srun: {said}", one_line(more) or "see that `srun` works there"
        )


def words(cluster: Cluster, part: Partition) -> dict[str, str]:
    """The resources that srun was asked for, to compare with those that there are."""
    asked = {key: str(cluster.slurm[key]) for key in ("account", "qos") if key in cluster.slurm}
    return {**asked, "partition": part.name, "nodes": "1", "cpus-per-task": "1", "mem": "512M", "gres": "gpu:1"}


def unseen(node: Fact, config: SlurmConfig | None) -> list[Fact]:
    """The facts of a node that was not probed; of its devices at least the configuration may be known."""
    names = [name for name in NODE_FACTS if name not in ("node", "devices")]
    confines = config.confines_devices if config else None
    said = "" if confines is None else f"; Slurm's configuration says ConstrainDevices={'yes' if confines else 'no'}"
    devices = Fact("devices", "unknown", f"no node was looked at{said}")
    return [node, devices, *unknown(names, "no node was looked at")]
