"""Ask a cluster, or this machine, what it has for a rerun."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from tfslurm.check.node import driver_version, granted_count
from tfslurm.check.probe_output import ProbeOutput, parse_probe_output
from tfslurm.errors import CommandFailed, HostError, InputError
from tfslurm.host import Host
from tfslurm.host.files import input_contents
from tfslurm.record import Record
from tfslurm.record.facts import parse_cpu
from tfslurm.remote_programs import program
from tfslurm.reruns.lost_inputs import Data, data_of
from tfslurm.reruns.place import Gpu, Lies, Machine, Place
from tfslurm.slurm.nodes import engine_settings
from tfslurm.slurm.profile import SiteProfile
from tfslurm.slurm.values import number_or_none
from tfslurm.spec import Experiment
from tfslurm.submission.own_folders import with_run_outputs
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.packaged_files import probe
from tfslurm.workspace.session import Session
from tfslurm.workspace.site_cache import PATIENCE_S, site_profile

CHEAP_BYTES = 2**28
"Of data that is hashed before the job; the job itself hashes any amount."
HASH_S = 30
LOOK_S = 60
KINDS = {"f": "file", "d": "folder", "-": "gone"}


def look(
    session: Session,
    known: Known,
    record: Record,
    experiment: Experiment,
    *,
    machine: Machine | None = None,
    patience_s: float = PATIENCE_S,
) -> Place:
    """The place of a rerun of ``experiment``: asked once, and nothing is started there.

    The paths of runs' outputs are ``resolved`` in it. ``machine`` is one that was looked at already; ``patience_s``:
    for Slurm to answer, 0: it is not asked.

    Raises:
        HostError: the login node does not answer.
    """
    host, is_local = session.reach(known), known.cluster.name == LOCAL
    return Place(
        known.cluster,
        known.user,
        SiteProfile() if is_local or not patience_s else site_profile(known, host, patience_s=patience_s),
        session.tracker.drivers(known.cluster.name),
        machine or (this_machine(host, known) if is_local else None),
        look_at_data(host, data_of(record, experiment, known.cluster)),
        secrets_set(experiment.secrets),
    )


def resolved(experiment: Experiment, known: Known) -> Experiment:
    """The experiment with the paths of the runs' outputs that it mounts; as it is where one is not known there."""
    with suppress(InputError):
        return with_run_outputs(experiment, known.cluster)
    return experiment


def secrets_set(names: Iterable[str]) -> frozenset[str]:
    """Those that have a value in this command's environment."""
    return frozenset(name for name in names if os.environ.get(name))


def this_machine(host: Host, known: Known) -> Machine:
    """This machine, as the program says that looks at compute nodes.

    Raises:
        HostError: it did not end.
    """
    argv = (*engine_settings(known.cluster), "bash", "-s", "--", known.cluster.engine, str(known.cluster.root), "")
    done = host.run(argv, input=probe("check", known.cluster.engine).encode(), timeout_s=LOOK_S)
    return machine_of(parse_probe_output(done.stdout), whole=True)


def machine_of(seen: ProbeOutput, *, whole: bool = False) -> Machine:
    """The machine that a probe saw. ``whole``: it had all of it, and not a job's share, so its CPUs tell something."""
    memory = number_or_none(seen.one("memory-kib"))
    cpu_model = None
    if said := seen.one("cpu-info"):
        with suppress(ValueError):
            cpu_model = parse_cpu(said.encode())
    return Machine(
        seen.one("node"),
        number_or_none(seen.one("cpus")),
        number_or_none(seen.one("cpus-schedulable")) if whole else None,
        memory // 1024 if memory is not None else None,
        gpus_of(seen),
        driver_version(seen),
        cpu_model or "",
        seen.one("architecture"),
        gpus_named=(granted_count(seen) or 0) if whole else 0,
    )


def gpus_of(seen: ProbeOutput) -> tuple[Gpu, ...] | None:
    """The GPUs that nvidia-smi lists; () without it; None: it is there, and does not answer."""
    if not seen.one("nvidia-smi"):
        return () if seen.whole else None
    if seen.one("gpu.error") or seen.one("gpu-row.error"):
        return None
    rows = [line.split(", ") for line in seen.all("gpu-row")]
    return tuple(Gpu(row[1], number_or_none(row[2].partition(" ")[0])) for row in rows if len(row) == 3)


def look_at_data(host: Host, datas: Sequence[Data]) -> dict[str, Lies]:
    """Path -> what lies there, and its hash if it has the size that the record names, and reading it is cheap."""
    wanted = {each.path: each for each in datas if not each.why and each.path.startswith("/")}
    if not wanted:
        return {}
    asked = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in wanted)
    try:
        done = host.run(program("look-at-data"), input=asked, timeout_s=LOOK_S)
    except HostError as error:
        return {path: Lies("unknown", why=str(error).splitlines()[0]) for path in wanted}
    rows = [line.split(" ") for line in done.stdout.splitlines()]
    if len(rows) != len(wanted) or not all(len(row) == 2 for row in rows):
        return {
            path: Lies("unknown", why="its login node did not answer in the words that were asked") for path in wanted
        }
    found = {path: lies_as(row) for path, row in zip(wanted, rows, strict=True)}
    return {path: hashed(host, wanted[path], lies) for path, lies in found.items()}


def lies_as(row: Sequence[str]) -> Lies:
    """One line of the answer."""
    kind = KINDS.get(row[0], "unknown")
    return Lies(kind, number_or_none(row[1]), why="you may not look at it" if kind == "unknown" else "")


def hashed(host: Host, data: Data, lies: Lies) -> Lies:
    """The same with its hash, or the reason why it was not read."""
    if lies.kind not in ("file", "folder"):
        return lies
    if not data.sha256:
        return lies._replace(why="the record has no hash of it: it was mounted without `hash: true`")
    if data.bytes is not None and lies.bytes is not None and data.bytes != lies.bytes:
        return lies._replace(why="its size is another")
    if (lies.bytes or 0) > CHEAP_BYTES or lies.bytes is None:
        return lies._replace(why="it was not read: it is large; the job hashes it before the program starts")
    try:
        listed = input_contents(host, PurePosixPath(data.path), timeout_s=HASH_S)
    except (HostError, CommandFailed) as error:
        return lies._replace(why=f"it was not read: {str(error).splitlines()[0]}")
    sha256 = listed[:64].decode("ascii", "replace") if lies.kind == "file" else hashlib.sha256(listed).hexdigest()
    return lies._replace(sha256=sha256)
