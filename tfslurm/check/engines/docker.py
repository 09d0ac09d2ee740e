"""docker's answers on a node -> facts. Pure.

Source: Docker Engine API, GET /info and /version. Which hook a daemon found when it started is in neither, so for some
nodes GPU support stays unknown until a job has run there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.check.fact import Fact, gib, numbers, one_line, unknown
from tfslurm.check.probe_output import ProbeOutput
from tfslurm.slurm.values import number_or_none

OLDEST_DOCKER = (19, 3)
CDI_DOCKER = (28, 3)  # from here on `--gpus` uses CDI where no hook was found
ROOMY_MIB = 20 * 1024
DAEMON_RELOAD = (
    "if a running job loses its GPU (`Failed to initialize NVML`), the node's systemd was reloaded: CDI fixes it"
)


def docker_says(seen: ProbeOutput, *, gpus: bool) -> list[Fact]:
    """Engine, access, cgroups, GPU support, init, and room for images."""
    version, info = seen.json("engine-version"), seen.json("engine-info")
    rest = ["engine-access", "cgroup", *(["gpu-support"] if gpus else []), "init", "images-free"]
    if is_podman(seen):
        other = Fact("engine", "FAIL", f"`docker` on {seen.one('node')} is podman", "write `engine: podman`")
        return [other, *unknown(rest, "docker is not there")]
    if not version.get("Server") or not info:
        refused, why = access_refused(seen)
        return [refused, *unknown([name for name in rest if name != refused.fact], why)]
    return [
        docker_fact(version, info),
        access_fact(seen, info),
        cgroup_fact(str(info.get("CgroupDriver") or ""), str(info.get("CgroupVersion") or "")),
        *([docker_gpu_fact(seen, version, info)] if gpus else []),
        init_fact(version),
        images_fact(seen),
    ]


def is_podman(seen: ProbeOutput) -> bool:
    """Whether podman answers under the name docker: its info has other keys. Source: podman-info(1)."""
    lines = [
        line for key in ("engine-version", "engine-info") for name in (key, f"{key}.error") for line in seen.all(name)
    ]
    return "host" in seen.json("engine-info") or any("Emulate Docker CLI using podman" in line for line in lines)


def access_refused(seen: ProbeOutput) -> tuple[Fact, str]:
    """The fact that says why the daemon did not answer, and the same in three words."""
    why = one_line(seen.one("engine-version.error") or seen.one("engine-info.error") or "it said nothing")
    if "permission denied" in why.lower():
        socket = seen.one("engine-socket") or "its socket"
        fix = f"ask the site to put you into the group that owns it ({socket}); that group is root's equal"
        return Fact(
            "engine-access", "FAIL", f"{seen.one('user')} may not talk to the docker daemon: {why}", fix
        ), "no access"
    fix = "start the docker daemon on the node, or name its socket: `engine_environment: {DOCKER_HOST: …}`"
    return Fact("engine", "FAIL", f"the docker daemon does not answer: {why}", fix), "the daemon does not answer"


def has_proxy(seen: ProbeOutput) -> bool:
    """Whether the daemon reaches registries by a proxy of its own; podman has none, and says nothing of one."""
    info = seen.json("engine-info")
    return bool(info.get("HttpsProxy") or info.get("HttpProxy"))


def docker_fact(version: Mapping[str, Any], info: Mapping[str, Any]) -> Fact:
    """Versions and storage driver."""
    server = str(version["Server"].get("Version") or "")
    client = str((version.get("Client") or {}).get("Version") or "")
    driver = str(info.get("Driver") or "unknown")
    value = f"docker {server} (client {client}), storage {driver}"
    if numbers(server) < OLDEST_DOCKER:
        return Fact("engine", "FAIL", value, "docker 19.03 or later is needed: older ones know no --gpus")
    if driver == "vfs":
        return Fact(
            "engine", "warn", value, "vfs copies the whole image for every container: the site can use overlay2"
        )
    return Fact("engine", "ok", value)


def access_fact(seen: ProbeOutput, info: Mapping[str, Any]) -> Fact:
    """The user may talk to the daemon; as whom do containers run?"""
    options = " ".join(str(option) for option in info.get("SecurityOptions") or ())
    groups = seen.one("groups").split()
    value = f"{seen.one('user')} may talk to {seen.one('engine-address')}" + (
        " (group docker)" if "docker" in groups else ""
    )
    if "name=userns" in options:
        return Fact(
            "engine-access", "warn", f"{value}; the daemon remaps users", "files that jobs write get other owners"
        )
    if "name=rootless" in options:
        fix = "GPUs need CDI, or no-cgroups=true in nvidia-container-runtime's config.toml"
        return Fact("engine-access", "warn", f"{value}; the daemon is rootless", fix)
    return Fact("engine-access", "ok", value)


def cgroup_fact(driver: str, version: str) -> Fact:
    """The engine's way to put containers into cgroups."""
    if not driver:
        return Fact("cgroup", "unknown", "the engine did not say")
    if driver == "cgroupfs" and version.removeprefix("v") == "2":
        where = "cgroup_parent: auto puts it below the job's own cgroup, where the docker client counts as well"
    else:
        where = "it is outside the job's own cgroup"
    value = f"{driver}, v{version or '1'}; limits are given to each container; {where}"
    return Fact("cgroup", "ok", value, DAEMON_RELOAD if driver == "systemd" else "")


def docker_gpu_fact(seen: ProbeOutput, version: Mapping[str, Any], info: Mapping[str, Any]) -> Fact:
    """Will `--gpus` work? Only an nvidia runtime or CDI devices can be seen from outside."""
    if "nvidia" in (info.get("Runtimes") or {}):
        default = ", the default one" if info.get("DefaultRuntime") == "nvidia" else ""
        return Fact("gpu-support", "ok", f"docker knows the nvidia runtime{default}")
    cdi = cdi_words(seen, info)
    if cdi and numbers(str(version["Server"].get("Version"))) >= CDI_DOCKER:
        return Fact("gpu-support", "ok", cdi)
    hook = seen.one("tool-nvidia-container-runtime-hook") or seen.one("tool-nvidia-cdi-hook")
    hint = f"{hook} is installed" if hook else "no nvidia hook is in the user's own PATH"
    shown = f"{cdi}, but before 28.3 `--gpus` needs a hook" if cdi else "no nvidia runtime or CDI device in docker info"
    value = f"{shown}; whether the daemon found a hook cannot be seen ({hint})"
    fix = "a job with `gpus: 1` shows it; if it stops with exit 75: install nvidia-container-toolkit"
    return Fact("gpu-support", "unknown", value, fix)


def cdi_words(seen: ProbeOutput, info: Mapping[str, Any]) -> str:
    """The CDI devices that docker lists, or the descriptions in the folders that it reads; '' where there are none."""
    devices = [str(item.get("ID")) for item in info.get("DiscoveredDevices") or () if isinstance(item, dict)]
    if any(device.startswith("nvidia.com/gpu") for device in devices):
        return "docker lists CDI devices nvidia.com/gpu"
    folders = [str(folder) for folder in info.get("CDISpecDirs") or ()]
    found = [file for file in seen.all("cdi") if any(file.startswith(f"{folder}/") for folder in folders)]
    return f"docker reads CDI descriptions of nvidia.com/gpu: {', '.join(found)}" if found else ""


def init_fact(version: Mapping[str, Any]) -> Fact:
    """docker-init is PID 1 of each container, so that TERM ends it."""
    components = version["Server"].get("Components")
    if not isinstance(components, list):
        return Fact("init", "unknown", "this daemon does not list its parts")
    for part in components:
        if (
            isinstance(part, dict)
            and part.get("Name") == "docker-init"
            and part.get("Version") not in (None, "", "N/A")
        ):
            return Fact("init", "ok", f"docker-init {part['Version']}")
    fix = "install docker-init (tini) beside the daemon: without it as PID 1, scancel leaves a container running"
    return Fact("init", "FAIL", "the daemon has no docker-init", fix)


def images_fact(seen: ProbeOutput) -> Fact:
    """Room where the daemon keeps images: `df` prints a heading, then MiB and the mount point."""
    rows = [line.split(None, 1) for line in seen.all("images-free")]
    found = next(
        ((free, row[1]) for row in rows if len(row) == 2 and (free := number_or_none(row[0])) is not None), None
    )
    if not found:
        return Fact(
            "images-free", "unknown", one_line(seen.one("images-free.error")) or "the daemon's folder is not said"
        )
    free, place = found
    value = f"{gib(free)} free on {place} of the node for images"
    if free < ROOMY_MIB:
        return Fact(
            "images-free", "warn", value, "a TensorFlow GPU image takes 4 to 8 GiB, twice that while it is unpacked"
        )
    return Fact("images-free", "ok", value)
