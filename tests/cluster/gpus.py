"""The GPUs that are not there: an inventory, device nodes that nothing drives, and the programs that stand in."""

from __future__ import annotations

import os
import stat
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

from .bed import BED, BIN, CLUSTERS, GPUS_TSV, HOOK_LOG, SOURCE, BedError, say, write_if_changed

MAJOR = 195  # the kernel's number for NVIDIA; a real driver would answer there
HOOK_DIR = BED / "hook"
_NAMESPACE = uuid.UUID("7d3c2f6e-53b4-4d8b-9f0a-0d5bb2d1c0de")
_BUSES = (0x07, 0x0A, 0x47, 0x4D)


@dataclass(frozen=True)
class Gpu:
    """One line of the inventory; the order of the fields is the order of the columns."""

    node: str
    index: int
    minor: int
    uuid: str
    name: str
    memory_mib: int
    driver: str
    pci: str
    cuda: str
    brand: str
    compute_cap: str
    vbios: str
    mig: str
    power_limit_w: str


def inventory() -> list[Gpu]:
    """Every GPU of every node, in the order of the minor numbers; the same on every machine."""
    found: list[Gpu] = []
    for cluster in CLUSTERS.values():
        model = cluster.gpu
        for node in cluster.nodes:
            for index in range(cluster.gpus_per_node):
                found.append(
                    Gpu(
                        node,
                        index,
                        len(found),
                        f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}",
                        model.name,
                        model.memory_mib,
                        model.driver,
                        f"00000000:{_BUSES[index]:02X}:00.0",
                        model.cuda,
                        model.brand,
                        model.compute_cap,
                        model.vbios,
                        model.mig,
                        model.power_limit_w,
                    )
                )
    return found


def of_node(node: str) -> list[Gpu]:
    """The GPUs of one node, in the order of their index there."""
    return [gpu for gpu in inventory() if gpu.node == node]


def device_files(node: str) -> str:
    """The node's devices as gres.conf writes them."""
    minors = [gpu.minor for gpu in of_node(node)]
    return f"/dev/nvidia[{minors[0]}-{minors[-1]}]"


def ensure() -> None:
    """Afterwards the inventory, the device nodes and the stand-ins are there."""
    if Path("/proc/driver/nvidia/version").exists():
        raise BedError("gpus: this machine has a real NVIDIA driver, the pretend devices would be its: use another one")
    columns = [field.name for field in fields(Gpu)]
    rows = [[str(getattr(gpu, column)) for column in columns] for gpu in inventory()]
    write_if_changed(GPUS_TSV, "".join("\t".join(row) + "\n" for row in [columns, *rows]))
    for gpu in inventory():
        _make_node(Path(f"/dev/nvidia{gpu.minor}"), gpu.minor)
    _install("nvidia-smi", BIN)
    _install("nvidia-container-runtime-hook", HOOK_DIR)
    HOOK_LOG.touch()


def _make_node(path: Path, minor: int) -> None:
    device = os.makedev(MAJOR, minor)
    if path.exists():
        found = path.stat()
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != device:
            raise BedError(f"gpus: {path} exists and is not device {MAJOR}:{minor}: something else made it; remove it")
        return
    os.mknod(path, 0o666 | stat.S_IFCHR, device)
    path.chmod(0o666)


def _install(name: str, folder: Path) -> None:
    if write_if_changed(folder / name, (SOURCE / "standins" / name).read_text(), 0o755):
        say(f"gpus: {name} stand-in written")


def purge() -> None:
    """Removes the device nodes."""
    for gpu in inventory():
        path = Path(f"/dev/nvidia{gpu.minor}")
        if path.exists() and path.stat().st_rdev == os.makedev(MAJOR, gpu.minor):
            path.unlink()
