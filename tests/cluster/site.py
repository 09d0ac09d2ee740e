"""The whole bed: everything up in the right order, everything down, and how it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator

from . import accounting, daemons, docker, gpus, images, login, packages, podman, registry, slurm, tensorflow, users
from .bed import (
    BED,
    BED_JSON,
    BIN,
    CACHE,
    CLUSTERS,
    CONF,
    DOCKER_HOST,
    GPUS_TSV,
    HOME,
    HOOK_LOG,
    LOG,
    MIRROR,
    REGISTRY,
    RUN,
    SCRATCH,
    STATE,
    USERS,
    BedError,
    say,
    write_if_changed,
)

_NODES = [node for cluster in CLUSTERS.values() for node in cluster.nodes]
_SITES = list(CLUSTERS.values())
# In the order in which they are stopped.
NAMES = (
    *login.NAMES,
    *(f"slurmd-{node}" for node in _NODES),
    *(f"slurmctld-{cluster.name}" for cluster in _SITES),
    "slurmdbd",
    "mariadb",
    "dockerd",
    "containerd",
    "registry",
    "registry-mirror",
    "munged",
)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One `up` or `down` at a time; the next waits for it."""
    BED.mkdir(parents=True, exist_ok=True)
    with (BED / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `up` or `down`")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up() -> dict[str, object]:
    """Everything runs afterwards, and what is in bed.json comes out."""
    with _lock():
        for folder in (BIN, CACHE, CONF, HOME, LOG, RUN, SCRATCH, STATE):
            folder.mkdir(parents=True, exist_ok=True)
        packages.ensure()
        users.ensure()
        gpus.ensure()
        podman.ensure()
        with tensorflow.building() as built:
            _start()
            built.finish()
        facts = describe()
        write_if_changed(BED_JSON, json.dumps(facts, indent=1) + "\n")
        say("up")
    return facts


def _start() -> None:
    docker.bury()
    slurm.bury()
    started = daemons.start(
        [slurm.munged(), docker.containerd(), *registry.daemons(), accounting.mariadb(), *login.daemons()]
    )
    started += daemons.start([docker.dockerd(), *slurm.controllers([c for c in _SITES if not c.accounting])])
    accounting.grant()
    kept = [cluster for cluster in _SITES if cluster.accounting]
    for cluster in kept:
        slurm.write_conf(cluster)
    started += daemons.start([accounting.slurmdbd()])
    accounting.enroll()
    started += daemons.start(slurm.controllers(kept))
    started += daemons.start(slurm.nodes(_SITES))
    images.ensure_small()
    for cluster in _SITES:
        slurm.await_nodes(cluster)
    if started:
        say(f"started {' '.join(started)}")


def describe() -> dict[str, object]:
    """Every path, address and name of the bed that a test may need."""
    clusters = {
        cluster.name: {
            "slurm_conf": str(cluster.slurm_conf),
            "ssh_port": cluster.ssh_port,
            "nodes": list(cluster.nodes),
            "scratch": str(SCRATCH / cluster.name),
            "accounting": cluster.accounting,
            "confined": cluster.confined,
            "gpus_per_node": cluster.gpus_per_node,
            "driver": cluster.gpu.driver,
        }
        for cluster in _SITES
    }
    people = {
        user.name: {"uid": user.uid, "home": str(user.home), "key": str(user.home / ".ssh" / "id_ed25519")}
        for user in USERS
    }
    paths = {"bed": BED, "bin": BIN, "log": LOG, "scratch": SCRATCH, "hook_log": HOOK_LOG, "gpus_tsv": GPUS_TSV}
    addresses = {"docker_host": DOCKER_HOST, "registry": REGISTRY, "mirror": MIRROR}
    pulled = {"tensorflow_image": tensorflow.REFERENCE, "small_image": f"{REGISTRY}/{images.SMALL}:{images.SMALL_TAG}"}
    notes = (
        []
        if slurm.cgroup_version() == 1
        else ["cgroup v2: --gpus cannot inject devices, alpha's confinement is untried"]
    )
    return {
        **{key: str(path) for key, path in paths.items()},
        **addresses,
        **pulled,
        "clusters": clusters,
        "users": people,
        "notes": notes,
    }


def down(purge: bool = False) -> list[str]:
    """The names of the daemons that ran; nothing of the bed runs or is mounted afterwards."""
    with _lock():
        slurm.drain()
        docker.remove_containers()
        podman.stop()
        stopped = daemons.stop([name for name in NAMES if name.startswith(("sshd", "slurm"))])
        stopped += daemons.stop(name for name in NAMES if name not in stopped)
        swept = daemons.sweep()
        docker.clean()
        slurm.remove_cgroups()
        if purge:
            _purge()
        say(f"down: {len(stopped)} daemons stopped, {swept} leftovers killed")
    return stopped


def _purge() -> None:
    docker.purge()
    podman.purge()
    users.purge()
    login.purge()
    gpus.purge()
    shutil.rmtree(BED, ignore_errors=True)
    if BED.exists():
        raise BedError(f"purge: {BED} cannot be removed whole: see what is left in it")


def status() -> dict[str, str]:
    """Every daemon with its pid, every cluster with its nodes' states; what is amiss begins with NOT."""
    found = {name: f"pid {pid}" if (pid := daemons.running(name)) else "NOT running" for name in reversed(NAMES)}
    for cluster in _SITES:
        states = slurm.node_states(cluster) if daemons.running(f"slurmctld-{cluster.name}") else {}
        shown = " ".join(f"{node}={state}" for node, state in states.items())
        found[cluster.name] = shown if states and slurm.well(cluster) else f"NOT ready {shown}".strip()
    for address in (REGISTRY, MIRROR):
        digest = (
            registry.tag_digest(address, tensorflow.REPOSITORY, tensorflow.TAG) if registry.answers(address) else None
        )
        found[address] = (
            f"{tensorflow.REPOSITORY}:{tensorflow.TAG} {digest}" if digest else "NOT serving the TensorFlow image"
        )
    return found
