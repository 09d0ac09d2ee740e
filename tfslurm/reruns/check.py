"""`tfslurm rerun NAME --check`: is all there that a rerun needs? In under a minute, and nothing of it is started."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tfslurm.audit.pins import pin_in
from tfslurm.check import CheckOptions, Fact, Look, check_clusters
from tfslurm.check.fact import one_line
from tfslurm.check.probe_output import ProbeOutput
from tfslurm.errors import HostError, InputError, TfslurmError
from tfslurm.host import Host
from tfslurm.image import Pin, mirror_names, read_lock
from tfslurm.job_plan.options import slurm_options
from tfslurm.packages.wheels import WheelFiles
from tfslurm.record import Record
from tfslurm.registry.served import served
from tfslurm.registry.wire import Patience
from tfslurm.reruns.check_facts import (
    Checked,
    code_fact,
    data_facts,
    disk_fact,
    image_fact,
    needed,
    secret_facts,
    time_fact,
)
from tfslurm.reruns.expected import compared, took
from tfslurm.reruns.image import archive_file
from tfslurm.reruns.looking import look, machine_of, resolved
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.losses import losses
from tfslurm.reruns.original import Original
from tfslurm.reruns.place import Machine, Place
from tfslurm.reruns.workspace import Wish, Workspace, make_workspace
from tfslurm.run_folder import paths
from tfslurm.slurm.values import number_or_none
from tfslurm.spec import Experiment
from tfslurm.submission.send_packages import ask
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import in_background

WAIT_S = 15
"For a compute node; one that is busy is not looked at."
NODE_S = 25
"For the node to answer."
SLURM_S = 20.0
PATIENCE = Patience(request_s=8.0, place_s=12.0)
"Of registries."
IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]{0,500}")
"A name that a stranger's record may give to an engine."


@dataclass
class Seen:
    """The words of the nodes that were looked at, and their drivers; written by other threads."""

    nodes: list[ProbeOutput] = field(default_factory=list)
    drivers: list[SeenDriver] = field(default_factory=list)


def check(session: Session, original: Original, known: Known, wish: Wish) -> Checked:
    """Everything that a rerun of ``original`` on a cluster, or here, needs.

    Raises:
        InputError: a setting or a place of data fits nothing.
    """
    record, pin, seen = original.record, pin_in(original.record), Seen()
    answer = in_background(partial(served, pin, known.cluster.mirrors, known.cluster.engine, PATIENCE))
    workspace, problem = workspace_or_why(session, original, known, wish)
    experiment = resolved(workspace.asked.experiment, known) if workspace else None
    partition = str(slurm_options(experiment, known.cluster).get("partition", "")) if experiment else ""
    facts = in_background(partial(facts_of, session, known, look_for(pin, known, partition, seen), seen))
    cluster_facts = needed(facts(), experiment.resources.gpus if experiment else 0)
    session.tracker.note_drivers(seen.drivers)
    found = [
        *cluster_facts,
        image_fact(pin, *has_image(seen), answer(), archive_of(original, wish, workspace)),
        *problem,
    ]
    lost: list[Loss] = []
    if workspace:
        found.append(code_fact(record, workspace.asked.code))
    failed = {fact.fact for fact in found if fact.status == "FAIL"}
    if workspace and experiment and "reach" not in failed:
        patience_s = 0 if "slurm" in failed else SLURM_S
        place = look(session, known, record, experiment, machine=machine_in(seen, known), patience_s=patience_s)
        lost = losses(record, experiment, place, anyway=wish.anyway)
        found += own_facts(record, experiment, place, lost)
        found += packages_facts(session, known, record)
        found.append(disk_fact(record, workspace.asked.code, free_mib(session.reach(known), known)))
    said = compared(record, wish.settings, lost)
    return Checked(original.name, known.cluster.name, tuple(found), tuple(lost), said, took(record))


def workspace_or_why(
    session: Session, original: Original, known: Known, wish: Wish
) -> tuple[Workspace | None, list[Fact]]:
    """What would be submitted; None where a part of the original is not to be had, with the fact that says so."""
    try:
        return make_workspace(session, original, known, wish), []
    except InputError:
        raise
    except TfslurmError as error:
        return None, [Fact("original", "FAIL", one_line(str(error)))]


def own_facts(record: Record, experiment: Experiment, place: Place, lost: Sequence[Loss]) -> list[Fact]:
    """The facts of data, secrets and time."""
    return [
        *data_facts(record, experiment, place, lost),
        *secret_facts(experiment, place, lost),
        time_fact(record, experiment, place, lost),
    ]


def packages_facts(session: Session, known: Known, record: Record) -> list[Fact]:
    """Whether the packages of the record are on the cluster, or their wheels are to be had here; [] where it has none.

    Wheels that are nowhere else are fetched, as the rerun would fetch them.
    """
    lock = read_lock(record.asked.lock, "exp.lock.yaml").packages if record.asked and record.asked.lock else None
    if lock is None:
        return []
    layer = f"{len(lock.wheels)} wheels, layer {lock.key[:12]}…"
    try:
        missing = ask(lock.wheels, paths.packages(known.cluster.root, lock.key), session.reach(known))
        files = WheelFiles(lock)
        here = [files[each.wheel.file] for each in missing]
    except TfslurmError as error:
        why, _, fix = str(error).splitlines()[0].removeprefix("packages: ").partition("; ")
        is_gone = not isinstance(error, HostError)
        return [Fact("packages", "FAIL" if is_gone else "unknown", f"{layer}: {why}", "" if is_gone else fix)]
    return [Fact("packages", "ok", f"{layer}: {f'{len(here)} are here, and are sent' if here else 'on the cluster'}")]


def machine_in(seen: Seen, known: Known) -> Machine | None:
    """The machine that was looked at; None: none was."""
    return machine_of(seen.nodes[0], whole=known.cluster.name == LOCAL) if seen.nodes else None


def look_for(pin: Pin, known: Known, partition: str, seen: Seen) -> Look:
    """The node to look at, and what it is asked beside the rest: whether it has the image."""
    names = [f"{name}@{pin.digest}" for name in mirror_names(pin.name, known.cluster.mirrors)]
    images = [name for name in (*names, pin.config_digest) if IMAGE.fullmatch(name)]
    return Look(partition.partition(",")[0], tuple(images), lambda partition, said: seen.nodes.append(said), NODE_S)


def facts_of(session: Session, known: Known, wanted: Look, seen: Seen) -> list[Fact]:
    """The facts of the cluster, one compute node of the partition that jobs go to among them."""
    options = CheckOptions(wait_s=WAIT_S, on_driver=seen.drivers.append, look=wanted, patience_s=SLURM_S)
    return next(facts for _, facts in check_clusters(session, [known], options))


def has_image(seen: Seen) -> tuple[tuple[str, ...], str]:
    """The names by which a node that was looked at has the image, and the node."""
    return next(((said.all("image"), said.one("node")) for said in seen.nodes if said.all("image")), ((), ""))


def archive_of(original: Original, wish: Wish, workspace: Workspace | None) -> str:
    """The archive that the image would come from, which was compared with the digest; '' where it comes from none."""
    file = archive_file(original, wish.image_archive) if workspace and workspace.asked.archive else None
    return file.name if file else ""


def free_mib(host: Host, known: Known) -> int | None:
    """The free space below the cluster's root; None where it is not known."""
    try:
        done = host.run(["df", "--block-size=1M", "--output=avail", "--", str(known.cluster.root)])
    except HostError:
        return None
    rows = done.stdout.split()
    return number_or_none(rows[-1]) if rows and done.exit_code == 0 else None
