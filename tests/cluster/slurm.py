"""The clusters: munged, one slurmctld per cluster, one slurmd per pretend node, and their configuration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from . import daemons
from .bed import (
    BED,
    BIN,
    CLUSTERS,
    CONF,
    DOCKER_HOST,
    LOG,
    MUNGE_SOCKET,
    RUN,
    SLURMDBD_PORT,
    SOURCE,
    STATE,
    SYSTEM_PATH,
    BedError,
    Cluster,
    conf_text,
    say,
    wait_until,
    write_if_changed,
)
from .daemons import Daemon
from .gpus import device_files

_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "memory", "devices", "freezer")
_WELL = ("IDLE", "MIXED", "ALLOCATED", "COMPLETING", "PLANNED")


def cgroup_version() -> int:
    """1 where the controllers are mounted one by one, 2 where the one hierarchy is."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if any(line[1] == str(_CGROUPS) and line[2] == "cgroup2" for line in lines):
        return 2
    absent = [name for name in _CONTROLLERS if not (_CGROUPS / name).is_dir()]
    if absent:
        raise BedError(f"slurm: no cgroup v1 {' '.join(absent)} under {_CGROUPS}, and no cgroup v2: mount them first")
    return 1


def munged() -> Daemon:
    """The bed's own munged: its key and its socket, never the host's."""
    home = BED / "munge"
    for folder in (home, MUNGE_SOCKET.parent):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, "munge", "munge")
    home.chmod(0o700)
    key = home / "munge.key"
    if not key.exists():
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        shutil.chown(key, "munge", "munge")
    argv = (
        "/usr/sbin/munged",
        "--foreground",
        f"--socket={MUNGE_SOCKET}",
        f"--key-file={key}",
        f"--log-file={home}/munged.log",
        f"--pid-file={home}/munged.pid",
        f"--seed-file={home}/munged.seed",
    )
    lock = MUNGE_SOCKET.with_name(MUNGE_SOCKET.name + ".lock")
    return Daemon("munged", argv, MUNGE_SOCKET.is_socket, user="munge", stale=(MUNGE_SOCKET, lock))


def write_conf(cluster: Cluster) -> tuple[str, ...]:
    """The texts of the cluster's configuration; they are written, with the folders they name."""
    host = socket.gethostname()
    for folder in (STATE / cluster.name, *(BED / "spool" / node for node in cluster.nodes)):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.chown(STATE / cluster.name, "slurm", "slurm")
    slurm = conf_text(
        "slurm.conf",
        cluster=cluster.name,
        host=host,
        ctld_port=cluster.ctld_port,
        munge_socket=MUNGE_SOCKET,
        state=STATE / cluster.name,
        bed=BED,
        run=RUN,
        log=LOG,
        conf=CONF,
        gpus=cluster.gpus_per_node,
        forgets_after_s=300 if cluster.accounting else 5,  # so that a test can see a job that nobody knows any more
        nodes=f"{cluster.name}[1-{len(cluster.nodes)}]",
        node_ports=f"[{cluster.ctld_port + 1}-{cluster.ctld_port + len(cluster.nodes)}]",
        confinement=_confinement(cluster),
        accounting=_accounting(cluster),
        preemption=_preemption(cluster),
    )
    plugin = "cgroup/v1" if cgroup_version() == 1 else "cgroup/v2\nIgnoreSystemd=yes"
    cgroup = conf_text("cgroup.conf", plugin=plugin, confined="yes" if cluster.confined else "no")
    gres = "AutoDetect=off\n" + "".join(
        f"NodeName={node} Name=gpu File={device_files(node)}\n" for node in cluster.nodes
    )
    prolog = conf_text("task_prolog.sh", docker_host=DOCKER_HOST, system_path=SYSTEM_PATH, bin=BIN)
    write_if_changed(CONF / "task_prolog.sh", prolog, 0o755)
    if cluster.epilog:
        write_epilog(cluster)
    for name, text in (("slurm.conf", slurm), ("cgroup.conf", cgroup), ("gres.conf", gres)):
        write_if_changed(CONF / cluster.name / name, text)
    return slurm, cgroup, gres


def write_epilog(cluster: Cluster) -> Path:
    """The project's Epilog as an administrator installs it, told where the bed's docker is; read anew for each job."""
    path = CONF / cluster.name / "epilog.sh"
    shebang, rest = (SOURCE.parent.parent / "job_templates" / "probes" / "epilog.sh").read_text().split("\n", 1)
    write_if_changed(path, f"{shebang}\nexport DOCKER_HOST={DOCKER_HOST}\n{rest}", 0o755)
    return path


def _confinement(cluster: Cluster) -> str:
    if not cluster.confined:
        epilog = f"\nEpilog={CONF / cluster.name / 'epilog.sh'}" if cluster.epilog else ""
        return f"ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none{epilog}"
    return "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup,task/affinity\nPrologFlags=Contain"


def _accounting(cluster: Cluster) -> str:
    if not cluster.accounting:
        return "AccountingStorageType=accounting_storage/none"
    lines = [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={SLURMDBD_PORT}",
        f"AccountingStoragePass={MUNGE_SOCKET}",
        "AccountingStoreFlags=job_comment",
        "AccountingStorageTRES=gres/gpu",
    ]
    if cluster.enforce:
        lines.append(f"AccountingStorageEnforce={cluster.enforce}")
    return "\n".join(lines)


def _preemption(cluster: Cluster) -> str:
    """Two hidden partitions over the same nodes: a job in low is requeued for one that waits in high."""
    if not cluster.preempts:
        return ""
    lines = ("PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE", "PartitionName=DEFAULT PreemptMode=OFF")
    low = "PartitionName=low Nodes=ALL DefaultTime=00:10:00 Hidden=YES PriorityTier=1 PreemptMode=REQUEUE State=UP"
    high = "PartitionName=high Nodes=ALL DefaultTime=00:10:00 Hidden=YES PriorityTier=10 PreemptMode=OFF State=UP"
    return "\n".join((*lines, low, high))


def controllers(clusters: list[Cluster]) -> list[Daemon]:
    """One slurmctld per cluster."""
    return [
        Daemon(
            f"slurmctld-{cluster.name}",
            ("/usr/sbin/slurmctld", "-D", "-f", str(cluster.slurm_conf)),
            lambda cluster=cluster: slurm(cluster, "scontrol", "ping").returncode == 0,  # type: ignore[misc]
            texts=write_conf(cluster),
            ports=(cluster.ctld_port,),
            logs=(LOG / f"slurmctld-{cluster.name}.log",),
        )
        for cluster in clusters
    ]


def nodes(clusters: list[Cluster]) -> list[Daemon]:
    """One slurmd per pretend node. Its jobs live on in their slurmstepd when it is restarted."""
    return [
        Daemon(
            f"slurmd-{node}",
            ("/usr/sbin/slurmd", "-D", "-N", node, "-f", str(cluster.slurm_conf)),
            daemons.listening(cluster.node_port(node)),
            texts=write_conf(cluster),
            ports=(cluster.node_port(node),),
            logs=(LOG / f"slurmd-{node}.log",),
        )
        for cluster in clusters
        for node in cluster.nodes
    ]


def slurm(cluster: Cluster, *argv: str) -> subprocess.CompletedProcess[str]:
    """What a Slurm command of the administrator gave on this cluster."""
    environment = {"PATH": SYSTEM_PATH, "SLURM_CONF": str(cluster.slurm_conf), "LC_ALL": "C.UTF-8"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)


def node_states(cluster: Cluster) -> dict[str, str]:
    """Every node's state as `scontrol show node` writes it, e.g. `IDLE+DRAIN`; empty while nobody answers."""
    shown = slurm(cluster, "scontrol", "--oneliner", "show", "node").stdout
    pairs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in shown.splitlines()]
    return {pair["NodeName"]: pair["State"] for pair in pairs if "State" in pair}


def well(cluster: Cluster) -> bool:
    """Whether every node takes jobs."""
    states = node_states(cluster)
    return set(states) == set(cluster.nodes) and all(_is_well(state) for state in states.values())


def _is_well(state: str) -> bool:
    return all(part in _WELL for part in state.split("+"))


def await_nodes(cluster: Cluster, patience_s: float = 40.0) -> None:
    """Afterwards every node takes jobs: those that were down or drained are resumed."""

    def recovered() -> bool:
        sick = [node for node, state in node_states(cluster).items() if not _is_well(state)]
        for node in sick:
            slurm(cluster, "scontrol", "update", f"nodename={node}", "state=resume")
        return well(cluster)

    if wait_until(lambda: well(cluster), 3) or wait_until(recovered, patience_s):
        return
    states = " ".join(f"{node}={state}" for node, state in node_states(cluster).items())
    raise BedError(f"{cluster.name}: nodes are not ready after {patience_s:.0f} s: {states}; read {LOG}/slurmd-*.log")


def bury() -> None:
    """Kills the job steps of nodes whose slurmd crashed together with the slurmctld.

    The slurmctld's last seconds are lost, so it may start their jobs again and drain the node over the duplicate.
    """
    for cluster in CLUSTERS.values():
        if daemons.running(f"slurmctld-{cluster.name}") is None:
            for node in cluster.nodes:
                if daemons.running(f"slurmd-{node}") is None:
                    daemons.kill(daemons.holders(BED / "spool" / node))


def drain() -> None:
    """Cancels every job, so that the next `up` does not start old work again."""
    for cluster in CLUSTERS.values():
        if daemons.running(f"slurmctld-{cluster.name}") is None or not _jobs(cluster):
            continue
        say(f"{cluster.name}: cancelling {len(_jobs(cluster))} jobs")
        slurm(cluster, "scancel", *_jobs(cluster))
        wait_until(lambda cluster=cluster: not _jobs(cluster), 12)  # type: ignore[misc]


def _jobs(cluster: Cluster) -> list[str]:
    return slurm(cluster, "squeue", "--noheader", "--all", "--format=%A").stdout.split()


def remove_cgroups() -> None:
    """Removes the empty groups that slurmd leaves behind."""
    for cluster in CLUSTERS.values():
        for node in cluster.nodes:
            for top in _CGROUPS.glob(f"*/slurm_{node}"):
                for folder, _, _ in os.walk(top, topdown=False):
                    try:
                        Path(folder).rmdir()
                    except OSError:
                        say(f"slurm: {folder} is not empty, left")
