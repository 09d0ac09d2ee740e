"""podman's answers on a node -> facts. Pure. Source: podman-info(1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.check.fact import Fact, one_line, unknown
from tfslurm.check.probe_output import ProbeOutput


def podman_says(seen: ProbeOutput, *, gpus: bool) -> list[Fact]:
    """podman: no daemon, so what is seen is what a job gets."""
    info = seen.json("engine-info")
    rest = ["cgroup", *(["gpu-support"] if gpus else [])]
    if not info:
        why = one_line(seen.one("engine-info.error") or "it said nothing")
        broken = Fact(
            "engine", "FAIL", f"podman info: {why}", "`podman info` must work for the user on the node: tell the site"
        )
        return [broken, *unknown(rest, "podman does not work")]
    host, store = info.get("host") or {}, info.get("store") or {}
    version = (info.get("version") or {}).get("Version") or "of unknown version"
    runtime = (host.get("ociRuntime") or {}).get("name") or "unknown"
    driver = store.get("graphDriverName") or "unknown"
    facts = [
        Fact("engine", "ok", f"podman {version}, storage {driver}, runtime {runtime}"),
        Fact("engine-access", "ok", "podman runs as the user; there is no daemon to ask"),
        podman_cgroup_fact(host),
    ]
    if not gpus:
        return facts
    if seen.all("cdi"):
        return [*facts, Fact("gpu-support", "ok", f"CDI descriptions of nvidia.com/gpu: {', '.join(seen.all('cdi'))}")]
    fix = "the site runs `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` on each node"
    return [
        *facts,
        Fact("gpu-support", "FAIL", "no CDI description of nvidia.com/gpu in /etc/cdi or /var/run/cdi", fix),
    ]


def podman_cgroup_fact(host: Mapping[str, Any]) -> Fact:
    """The limits that podman can set. Source: podman-create(1), --memory: none without root on cgroup v1."""
    driver, version = str(host.get("cgroupManager") or ""), str(host.get("cgroupVersion") or "").removeprefix("v")
    if driver == "systemd" and version == "2":
        value = "systemd, v2; podman has systemd put containers outside the job's own cgroup: Slurm's memory, devices, "
        value += "accounting and kill do not reach them; podman's own limits and CDI do"
        return Fact("cgroup", "warn", value, 'the site can try cgroup_manager = "cgroupfs" in containers.conf')
    if not driver or not (host.get("security") or {}).get("rootless"):
        return Fact(
            "cgroup",
            "ok" if driver else "unknown",
            f"{driver}, v{version or '1'}; the job's own cgroup" if driver else "the engine did not say",
        )
    missing = [name for name in ("memory", "cpu") if name not in (host.get("cgroupControllers") or ())]
    if not missing:
        return Fact("cgroup", "ok", f"{driver}, v{version}; limits are given to each container, without root")
    value = f"{driver}, v{version}; without root podman cannot limit {' and '.join(missing)}"
    fix = (
        "Slurm's own cgroup must confine the job (ConstrainRAMSpace in cgroup.conf); records say what held it: `limits`"
    )
    return Fact("cgroup", "warn", value, fix)
