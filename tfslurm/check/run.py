"""Ask the registries from here, the login node, Slurm, and compute nodes; each answer becomes facts."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from tfslurm.check.fact import Fact, one_line, unknown
from tfslurm.check.node_probe import ANY, Look, NodeProbe, unseen
from tfslurm.check.registries import push_facts, registry_facts, registry_names
from tfslurm.check.site import CONFIG_FACTS, parents_fact, root_fact, site_facts
from tfslurm.cluster import Cluster, Login
from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.folder_permissions import shared_above
from tfslurm.registry.ping import ping, takes_a_push
from tfslurm.remote_programs import program
from tfslurm.slurm import parse_partitions, partitions_argv
from tfslurm.slurm.profile import Said, understood
from tfslurm.slurm.profile import SiteProfile as Site
from tfslurm.slurm.values import number_or_none
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.packaged_files import probe as packed_probe
from tfslurm.workspace.session import Session
from tfslurm.workspace.site_cache import PATIENCE_S, site_profile
from tfslurm.workspace.threads import at_once, in_background


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The options of a check: probe compute nodes, ignore settings that were kept, seconds to wait if a node is busy.

    ``on_driver`` gets each driver that is found; it is called from other threads, as is ``look.on_node``.
    ``patience_s``: for Slurm to answer.
    """

    nodes: bool = True
    fresh: bool = False
    wait_s: int = 20
    on_driver: Callable[[SeenDriver], None] = lambda seen: None
    look: Look = ANY
    patience_s: float = PATIENCE_S


def check_clusters(
    session: Session, clusters: Sequence[Known], options: CheckOptions
) -> Iterator[tuple[str, list[Fact]]]:
    """Each cluster's facts, in the order given; all are asked at once, and one that is down keeps no other waiting."""
    answers = at_once([partial(check_cluster, session, known, options) for known in clusters])
    for known, answer in zip(clusters, answers, strict=True):
        yield known.cluster.name, answer()


def check_cluster(session: Session, known: Known, options: CheckOptions) -> list[Fact]:
    """Everything about one cluster."""
    cluster = known.cluster
    registries = registry_names(cluster.mirrors)
    reached = in_background(partial(registry_facts, registries, ping))
    pushed = in_background(partial(push_facts, cluster.registry, partial(takes_a_push, engine=cluster.engine)))
    registries = tuple(dict.fromkeys((*registries, *filter(None, [cluster.registry.partition("/")[0]]))))
    begun = time.monotonic()
    try:
        site, nodes = ask_cluster(session.reach(known), known, options, registries, begun)
    except HostError as error:
        site, nodes = not_reached(cluster, one_line(str(error)))
    return [*site, *reached(), *pushed(), *nodes]


def not_reached(cluster: Cluster, why: str) -> tuple[list[Fact], list[Fact]]:
    """The facts of a cluster whose login node does not answer."""
    fix = f"see that `{ssh(cluster.login)}` works without a question" if cluster.login else "see what it says"
    names = [*CONFIG_FACTS, "partitions", "root", "root-parents"]
    down = Fact("reach", "FAIL", why, fix)
    return [down, *unknown(names, "not reached")], unseen(Fact("node", "unknown", "not reached"), None)


def ssh(login: Login) -> str:
    """The command that logs in there."""
    options = {"-p": login.port, "-J": login.proxy_jump}
    words = [word for option, value in options.items() if value for word in (option, str(value))]
    return shlex.join(["ssh", *words, f"{login.user}@{login.host}" if login.user else login.host])


def ask_cluster(
    host: Host, known: Known, options: CheckOptions, registries: Sequence[str], begun: float
) -> tuple[list[Fact], list[Fact]]:
    """The facts of the login node and of Slurm, and those of the compute nodes."""
    cluster = known.cluster
    who = ask(host, ["id", "--user", "--name"])
    if who.why:
        return not_reached(cluster, who.why)
    user, took_s = who.text.strip(), time.monotonic() - begun
    reach = reach_fact(known, user, ask(host, ["uname", "-n"]).text.strip(), took_s)
    has_slurm = cluster.name != LOCAL
    site = ask_slurm(host, known, options) if has_slurm else Site()
    facts = [reach, *(site_facts(site, cluster.slurm, user) if has_slurm else [])]
    token = f".tfslurm-check-{secrets.token_hex(8)}"
    try:
        root, written = ask_root(host, cluster.root, token)
        script, token = packed_probe("check", cluster.engine), token if written else ""
        asked = (registries, options.wait_s, options.on_driver, options.look)
        probe = NodeProbe(host, cluster, site, script, token, *asked)
        return [*facts, root, ask_parents(host, cluster)], probe_nodes(probe, options, has_slurm)
    finally:
        with suppress(HostError):
            host.run(["rm", "--force", "--", str(cluster.root / token)])


def probe_nodes(probe: NodeProbe, options: CheckOptions, has_slurm: bool) -> list[Fact]:
    """The compute nodes, or this machine where it is the one that runs the jobs."""
    if not options.nodes:
        return unseen(Fact("node", "unknown", "not looked at (--no-node)"), probe.site.config)
    if has_slurm and not probe.site.partitions:
        return unseen(Fact("node", "unknown", "no partition is known"), probe.site.config)
    return probe.nodes() if has_slurm else probe.here()


def reach_fact(known: Known, user: str, node: str, took_s: float) -> Fact:
    """The login node answers; how, how fast, as whom."""
    login = known.cluster.login
    how = f"{login.transport} to {login.host}" if login else "this machine"
    named = "" if user == known.user else f" (logged in as {known.user})"
    return Fact("reach", "ok", f"{how}, {took_s:.2f} s, as {user}{named} on {node}")


def ask(host: Host, argv: Sequence[str], *, input: bytes = b"") -> Said:
    """The answer of a command on the login node; never raises."""
    try:
        done = host.run(argv, input=input)
    except HostError as error:
        return Said("", one_line(str(error)))
    if done.exit_code != 0:
        said = one_line(done.stderr or done.stdout) or "it said nothing"
        return Said(done.stdout, f"exit {done.exit_code}: {said}")
    return Said(done.stdout)


def ask_slurm(host: Host, known: Known, options: CheckOptions) -> Site:
    """Configuration and what accounting knows of the user, as kept where it is not to be fresh; partitions as now.

    sinfo is answered by the controller: where it is silent, nothing that was kept is shown.
    """
    try:
        site = site_profile(known, host, fresh=options.fresh, patience_s=options.patience_s)
    except HostError as error:
        return Site(why={"config": one_line(str(error))})
    if not site.age_s:
        return site
    answer = ask(host, partitions_argv())
    if answer.why:
        return Site(why={"config": answer.why})
    why = dict(site.why)
    partitions = understood("partitions", answer, parse_partitions, why)
    return replace(site, partitions=partitions, why=why)


def ask_root(host: Host, root: PurePosixPath, token: str) -> tuple[Fact, bool]:
    """Make the root and write the token into it, as its name and its content; whether that went well."""
    made = ask(host, program("make-root", str(root)))
    written = made if made.why else ask(host, ["tee", "--", str(root / token)], input=token.encode())
    if written.why:
        fix = "name a folder of yours on the file system that the compute nodes share as `root:`"
        return Fact("root", "FAIL", f"{root} cannot be written: {written.why}", fix), False
    kind = ask(host, ["stat", "--file-system", "--format=%T", "--", str(root)]).text.strip()
    rows = ask(host, ["df", "--block-size=1M", "--output=avail", "--", str(root)]).text.split()
    free = number_or_none(rows[-1]) if rows else None
    return root_fact(str(root), kind, free), True


def ask_parents(host: Host, cluster: Cluster) -> Fact:
    """The other users who can replace the root."""
    try:
        shared = shared_above(host, cluster.root)
    except HostError as error:
        return Fact("root-parents", "unknown", one_line(str(error)))
    return parents_fact(str(cluster.root), shared, accepted=cluster.shared_parents == "accept")
