"""The output of check.sh on a compute node -> facts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tfslurm.check.engines import engine_facts, has_proxy
from tfslurm.check.fact import Fact, numbers, one_line, unknown
from tfslurm.check.probe_output import ProbeOutput
from tfslurm.slurm.values import number_or_none

NODE_FACTS = (
    "node",
    "root-shared",
    "devices",
    "driver",
    "engine",
    "gpu-support",
    "init",
    "registry",
    "tools",
    "requeue",
    "steps",
)
OLDEST_BASH = (4, 2)  # as node.sh
NEEDED = ("flock", "timeout", "sha256sum", "find", "xargs", "realpath")
UUID = re.compile(r"UUID: ((?:GPU|MIG)-[0-9a-zA-Z/-]+)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings of a probe: ``token`` as written to the root ('' = the root could not be written); ``own_registry``:
    host and port of the cluster file's `registry`."""

    engine: str
    root: str
    token: str
    gpus: int  # asked of Slurm; 0: none
    own_registry: str = ""


def node_facts(seen: ProbeOutput, wanted: Wanted, waited_s: float) -> list[Fact]:
    """All facts of one node.

    ``waited_s``: from asking for the node to its answer.
    """
    system = seen.one("kernel")
    return [
        Fact("node", "ok", f"{seen.one('node')} after {waited_s:.1f} s; {system}"),
        root_shared_fact(seen, wanted),
        *(gpu_facts(seen) if wanted.gpus else []),
        *engine_facts(seen, wanted.engine, gpus=wanted.gpus > 0),
        *registry_facts(seen, wanted.own_registry),
        tools_fact(seen),
        requeue_fact(seen),
        *steps_facts(seen),
    ]


def root_shared_fact(seen: ProbeOutput, wanted: Wanted) -> Fact:
    """Did the node read what the login node wrote a moment before?"""
    name = "root-shared"
    if not wanted.token:
        return Fact(name, "unknown", "the root could not be written, so there was nothing to look for")
    if seen.one("token") != wanted.token:
        why = one_line(seen.one("token.error") or "another file is there")
        fix = "name a folder that the compute nodes share as `root:`"
        return Fact(name, "FAIL", f"the node does not see what was written to {wanted.root} a moment ago: {why}", fix)
    if seen.one("root-writable") != "yes":
        fix = "jobs write their records there: ask the site why nodes may not"
        return Fact(name, "FAIL", f"the node sees {wanted.root} but may not write there", fix)
    kind = seen.one("root-type") or "file system unknown"
    return Fact(name, "ok", f"the node sees and may write {wanted.root} ({kind})")


def gpu_facts(seen: ProbeOutput) -> list[Fact]:
    """Which GPUs a job of one GPU can see, and their driver."""
    if not seen.one("nvidia-smi"):
        fix = "install the NVIDIA driver's nvidia-smi there: without it no job can tell which GPU is its own"
        absent = Fact("devices", "FAIL", f"no nvidia-smi in PATH on {seen.one('node')}", fix)
        return [absent, driver_fact(seen)]
    if why := seen.one("gpu.error"):
        fix = "the driver does not answer (often: it was updated and the node not restarted): tell the site"
        return [Fact("devices", "FAIL", f"nvidia-smi -L: {one_line(why)}", fix), driver_fact(seen)]
    return [devices_fact(seen), driver_fact(seen)]


def visible(seen: ProbeOutput) -> list[str]:
    """The UUIDs that nvidia-smi -L lists: those of the MIG slices where a GPU is cut into some."""
    found = [match[1] for line in seen.all("gpu") if (match := UUID.search(line))]
    sliced = [uuid for uuid in found if uuid.startswith("MIG-")]
    return sliced or found


def granted_count(seen: ProbeOutput) -> int | None:
    """The number of GPUs that Slurm says it gave; None if it says nothing."""
    named = [word for word in seen.one("granted").split(",") if word and word != "NoDevFiles"]
    if named:
        return len(named)
    return number_or_none(seen.one("granted-count"))


def devices_fact(seen: ProbeOutput) -> Fact:
    """Is a job kept to the GPUs that it was given?"""
    name, count, given = "devices", len(visible(seen)), granted_count(seen)
    if not given:
        fix = "gres.conf on the node needs File= (or AutoDetect) for its GPUs: tell the site"
        return Fact(name, "FAIL", f"Slurm granted a GPU but named none; nvidia-smi lists {count}", fix)
    words = f"nvidia-smi lists {count} where {given} was granted"
    if count < given:
        return Fact(
            name, "FAIL", words, "such a job would stop with exit 78: gres.conf and the node differ, tell the site"
        )
    if count > given:
        value = (
            f"unconfined: {words}: a job can see its neighbours' GPUs; tfslurm passes UUIDs, so its containers do not"
        )
        return Fact(name, "warn", value, "the site can set ConstrainDevices=yes in cgroup.conf")
    devices = number_or_none(seen.one("devices"))
    if devices is None or devices <= given:
        return Fact(name, "unknown", f"{words}, and the node has no other to hide")
    return Fact(name, "ok", f"confined: {words}; the node has {devices} device files")


def driver_fact(seen: ProbeOutput) -> Fact:
    """The driver's version by every witness, and the GPUs' names."""
    rows = [line.split(", ") for line in seen.all("gpu-row")]
    rows = [row for row in rows if len(row) == 3]
    said = {row[0] for row in rows} | set(kernel_versions(seen))
    names = ", ".join(dict.fromkeys(f"{row[1]} {row[2]}" for row in rows))
    if not said:
        why = (
            one_line(seen.one("gpu-row.error"))
            or "nvidia-smi did not say, and /proc/driver/nvidia/version is not there"
        )
        return Fact("driver", "unknown", why)
    value = ", ".join(sorted(said)) + (f"; {names}" if names else "")
    if len(said) > 1:
        return Fact(
            "driver", "warn", f"library and kernel module differ: {value}", "the node needs a restart: tell the site"
        )
    if not rows:
        return Fact("driver", "warn", f"{value} by the kernel module; nvidia-smi did not say", "tell the site")
    return Fact("driver", "ok", value)


def driver_version(seen: ProbeOutput) -> str:
    """The one version that nvidia-smi and the kernel module say; '' where they say none, or two."""
    said = {line.partition(",")[0] for line in seen.all("gpu-row")} | set(kernel_versions(seen))
    return said.pop() if len(said) == 1 else ""


def kernel_versions(seen: ProbeOutput) -> Iterator[str]:
    """The versions that the kernel module names, in up to two places."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]+)", seen.one("driver-kernel"))
    if found:
        yield found[1]
    if seen.one("driver-module"):
        yield seen.one("driver-module")


def registry_facts(seen: ProbeOutput, own: str) -> list[Fact]:
    """Which registries the node can open a TCP connection to; the engine may have a proxy that was not tried."""
    lines = [line.partition(" ") for line in seen.all("registry")]
    proxied = has_proxy(seen)
    some = any(state == "open" for _, _, state in lines)
    facts = [registry_fact(address, state, proxied, some, own) for address, _, state in lines]
    return facts or unknown(["registry"], "none was tried")


def registry_fact(address: str, state: str, proxied: bool, some: bool, own: str) -> Fact:
    """One registry as the node reaches it; ``some``: at least one of its neighbours can be reached."""
    name = f"registry {address}"
    if state == "open":
        return Fact(name, "ok", "a TCP connection opens from the node (no more was tried)")
    if proxied:
        return Fact(name, "unknown", f"from the node: {state}; the engine has a proxy of its own, which was not tried")
    if address == own:
        return Fact(name, "warn", f"from the node: {state}", "nodes pull from there what `tfslurm image build` pushes")
    if some:
        return Fact(name, "warn", f"from the node: {state}", "no action needed if another mirror of the list answers")
    fix = "name a mirror that nodes reach under `mirrors:`; images that are on the node already run all the same"
    return Fact(name, "warn", f"from the node: {state}", fix)


def tools_fact(seen: ProbeOutput) -> Fact:
    """The programs that a job's own script needs on the node."""
    version = seen.one("bash")
    missing = [name for name in NEEDED if not seen.one(f"tool-{name}")]
    value = f"bash {version}, {seen.one('flock') or 'no flock'}"
    if missing:
        return Fact(
            "tools", "FAIL", f"{value}; missing: {', '.join(missing)}", "install util-linux, coreutils and findutils"
        )
    if numbers(version) < OLDEST_BASH:
        return Fact("tools", "FAIL", value, "a job's script needs bash 4.2 or later on the node")
    return Fact("tools", "ok", value)


def requeue_fact(seen: ProbeOutput) -> Fact:
    """A job that saves a checkpoint asks for its own requeue with scontrol."""
    path = seen.one("tool-scontrol")
    if path:
        return Fact("requeue", "ok", f"scontrol is there ({path})")
    return Fact("requeue", "warn", "no scontrol in PATH on the node", "`checkpoint: {requeue: true}` cannot work there")


def steps_facts(seen: ProbeOutput) -> list[Fact]:
    """The way into a job's container is a step beside the job's own; none where no job of Slurm was there to try it."""
    if "a step" in seen.all("overlap"):
        return [Fact("steps", "ok", "srun --overlap makes a step beside a job's own: exec, shell and services work")]
    why = one_line(seen.one("overlap.error") or " ".join(seen.all("overlap")))
    if not why:
        return []
    if "no srun" in why:
        return unknown(["steps"], f"{why}, to try a step beside a job's own")
    needs = "exec, shell and services need Slurm 20.11 or later, and a site that lets a job have steps beside its own"
    return [Fact("steps", "warn", f"srun --overlap: {why}", f"{needs}: tell the site")]
