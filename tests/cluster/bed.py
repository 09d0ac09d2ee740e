"""Where everything is: the folder of the test bed, its clusters, ports and users, and the one error the bed raises."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

BED = Path(os.environ.get("TFSLURM_BED") or "/var/tmp/tfslurm-bed").resolve()
BIN, CACHE, CONF, HOME, LOG, RUN, SCRATCH, STATE = (
    BED / part for part in ("bin", "cache", "conf", "home", "log", "run", "scratch", "state")
)
GPUS_TSV = BED / "gpus.tsv"
HOOK_LOG = BED / "hook.log"
BED_JSON = BED / "bed.json"
DOCKER_SOCKET = RUN / "docker.sock"
DOCKER_HOST = f"unix://{DOCKER_SOCKET}"
MUNGE_SOCKET = RUN / "munge" / "munge.socket"

REGISTRY = "127.0.0.1:5000"
MIRROR = "127.0.0.1:5001"
JUMP_PORT = 2203
OTP_PORT = 2204
MARIADB_PORT = 17306
SLURMDBD_PORT = 17619

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOGIN_PATH = f"{BIN}:/usr/local/bin:/usr/bin:/bin"

SOURCE = Path(__file__).resolve().parent
_BORN = time.monotonic()


class BedError(Exception):
    """One line a person can act on: what is wrong, why, and what to do."""


@dataclass(frozen=True)
class GpuModel:
    """What the stand-ins say about every GPU of one cluster."""

    name: str
    memory_mib: int
    driver: str
    cuda: str
    brand: str
    compute_cap: str
    vbios: str
    mig: str
    power_limit_w: str


@dataclass(frozen=True)
class Cluster:
    """One pretend site: its nodes, its GPUs, and in what it differs from the others."""

    name: str
    nodes: tuple[str, ...]
    gpus_per_node: int
    gpu: GpuModel
    ctld_port: int
    ssh_port: int | None = None
    confined: bool = False
    accounting: bool = False
    enforce: str = ""
    preempts: bool = False
    epilog: bool = False

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return CONF / self.name / "slurm.conf"

    def node_port(self, node: str) -> int:
        """The port on which the node's slurmd listens."""
        return self.ctld_port + 1 + self.nodes.index(node)


@dataclass(frozen=True)
class User:
    """One ordinary user of the clusters."""

    name: str
    uid: int

    @property
    def home(self) -> Path:
        """The user's home, inside the bed."""
        return HOME / self.name


_A100 = GpuModel(
    "NVIDIA A100-SXM4-40GB", 40960, "550.54.14", "12.4", "nvidia", "8.0", "92.00.45.00.03", "Disabled", "400.00"
)
_V100 = GpuModel(
    "Tesla V100-SXM2-16GB", 16384, "535.54.03", "12.2", "tesla", "7.0", "88.00.4F.00.09", "[N/A]", "300.00"
)
_T4 = GpuModel("Tesla T4", 15360, "545.23.06", "12.3", "tesla", "7.5", "90.04.38.00.03", "[N/A]", "70.00")

CLUSTERS: dict[str, Cluster] = {
    cluster.name: cluster
    for cluster in (
        Cluster("alpha", ("alpha1", "alpha2"), 4, _A100, 17100, 2201, True, True, "associations", preempts=True),
        Cluster("beta", ("beta1", "beta2"), 4, _V100, 17200, 2202, False, True, preempts=True),
        Cluster("gamma", ("gamma1",), 2, _T4, 17300, epilog=True),
    )
}
USERS = (User("alice", 2001), User("bob", 2002))
ACCOUNTS = ("lab", "guest")


def say(text: str) -> None:
    """One line of progress on stderr, with the seconds since the start."""
    print(f"{time.monotonic() - _BORN:6.1f} s  {text}", file=sys.stderr, flush=True)


def conf_text(name: str, **values: object) -> str:
    """The text of conf/NAME with $names replaced; a name without a value is a KeyError."""
    return Template((SOURCE / "conf" / name).read_text()).substitute({key: str(value) for key, value in values.items()})


def write_if_changed(path: Path, text: str, mode: int = 0o644) -> bool:
    """Whether the file had another text; afterwards it has this one, and this mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    changed = not path.is_file() or path.read_text() != text
    if changed:
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text)
        fresh.chmod(mode)
        fresh.rename(path)
    return changed


def wait_until(happened: Callable[[], bool], patience_s: float) -> bool:
    """Whether it happened within the time; looked at every 20 ms, at once first.

    A look that takes longer, for it starts a program, is repeated so seldom that it leaves two thirds of a processor to
    what is waited for.
    """
    deadline = time.monotonic() + patience_s
    while True:
        began = time.monotonic()
        if happened():
            return True
        now = time.monotonic()
        if now > deadline:
            return False
        time.sleep(min(max(0.02, 2 * (now - began)), 1.0))
