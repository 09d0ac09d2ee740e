"""Data that is not there, or is other data, and secrets that are not set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.cluster.mounts import on_cluster, wrong_source
from tfslurm.record import Record
from tfslurm.record.model import Input
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.place import Lies, Place
from tfslurm.spec import Experiment, Mount

SHOWN = 12
"Characters of a hash; --json and the record have the whole."


class Data(NamedTuple):
    """One mount of the rerun, and what the original had there; ``why``: it may not be mounted here, and the fix."""

    target: str
    path: str
    had: Input | None
    was: str  # where it was
    why: str = ""
    fix: str = ""
    is_other_run: bool = False  # a run that has the same name here

    @property
    def sha256(self) -> str:
        """What it has to hash to; '' where the record has no hash."""
        return (self.had.sha256 or self.had.tree_sha256 or "") if self.had else ""

    @property
    def bytes(self) -> int | None:
        """How large it was."""
        return self.had.bytes if self.had else None

    @property
    def expected(self) -> str:
        """What it was, for a reader who has to find it again."""
        kind = "sha256 of its list" if self.had and self.had.tree_sha256 else "sha256"
        parts = (
            f"{self.bytes} bytes" if self.bytes is not None else "",
            f"{kind} {self.sha256}" if self.sha256 else "without a recorded hash",
            f"it was {self.was}" if self.was else "",
        )
        return ", ".join(filter(None, parts))


def data_of(record: Record, experiment: Experiment, cluster: Cluster) -> list[Data]:
    """The mounts of the rerun, with what the original mounted at the same place in its container."""
    return [one_of(record, mount, cluster) for mount in experiment.mounts]


def one_of(record: Record, mount: Mount, cluster: Cluster) -> Data:
    """One of them."""
    then: Any = next((each for each in record.experiment.mounts if each.get("target") == mount.target), {})
    path = str(then.get("source") or "")
    had = next((each for each in record.inputs or () if each.path == path), None)
    name = f" ({had.name})" if had and had.name and had.name != path else ""
    was = f"{path}{name} on {record.job.cluster}" if path else ""
    why, fix = wrong_source(mount, cluster)
    is_other_run = mount.run is not None and bool(then.get("run")) and mount.source != path
    return Data(mount.target, on_cluster(mount, cluster).source, had, was, why, fix, is_other_run)


def data_losses(record: Record, experiment: Experiment, place: Place, *, anyway: bool) -> Iterator[Loss]:
    """Each mount whose data cannot be had, or is not what the original read."""
    for data in data_of(record, experiment, place.cluster):
        if loss := data_loss(data, place.data.get(data.path), place, anyway=anyway):
            yield loss


def data_loss(data: Data, lies: Lies | None, place: Place, *, anyway: bool) -> Loss | None:
    """The loss of one mount; None where there is none, or nothing was seen.

    The outputs of another run are not looked at: they are refused as such.
    """
    what = f"data {data.target}"
    take = f"--data {data.target}=PATH names a copy on {place.name}"
    if data.why:
        return Loss(what, data.expected, data.why, True, f"{data.fix}; {take}")
    if lies is None or lies.kind == "unknown" or data.is_other_run:
        return None
    if lies.kind == "gone":
        return Loss(what, data.expected, f"{data.path} is not there", True, take)
    here = difference(data, lies)
    if not here:
        return None
    return Loss(what, data.expected, f"{data.path}: {here}", not anyway, f"{take}; --anyway takes this")


def difference(data: Data, lies: Lies) -> str:
    """How the data that is there differs from the original's; '' where it does not, as far as it was read."""
    had = data.had
    if had is None:
        return ""
    if (had.sha256 and lies.kind == "folder") or (had.tree_sha256 and lies.kind == "file"):
        return f"a {lies.kind}"
    if had.bytes is not None and lies.bytes is not None and had.bytes != lies.bytes:
        return f"{lies.bytes} bytes"
    if data.sha256 and lies.sha256 and data.sha256 != lies.sha256:
        return f"sha256 {lies.sha256}"
    return ""


def secret_losses(experiment: Experiment, place: Place) -> Iterator[Loss]:
    """Each secret that the job needs and this shell does not have."""
    for name in experiment.secrets:
        if name not in place.secrets:
            yield Loss(f"secret {name}", "set", "not set in this shell", True, f"export {name}=… first")
