"""What podman needs on this host: each user's own settings, and a description of the GPUs (CDI) in /etc/cdi."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .bed import BED, BIN, GPUS_TSV, MIRROR, REGISTRY, USERS, BedError, User, say, write_if_changed
from .gpus import Gpu, inventory
from .users import run_as

# The folder is CDI's own, podman 4.3 reads no others; besides /dev/nvidia* the one file of the bed outside its folder.
CDI_FILE = Path("/etc/cdi/tfslurm-bed.json")
NVIDIA_SMI = BED / "cdi" / "nvidia-smi"
# What a site sets: crun refuses this host's mixture of cgroups, the hard limit of open files cannot be raised, and
# slirp4netns has no /dev/net/tun that an ordinary user may open.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
init_path = "/usr/bin/catatonit"
"""
# The folder is named, for the data folder of a user who sets XDG_DATA_HOME would be another one.
_STORAGE_CONF = '[storage]\ndriver = "overlay"\ngraphroot = "{home}/.local/share/containers/storage"\n'
_REGISTRIES_CONF = "".join(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n' for place in (REGISTRY, MIRROR))


def ensure() -> None:
    """Afterwards podman runs for the users, without root, and knows the GPUs by their UUIDs."""
    _describe_gpus()
    for user in USERS:
        _settle(user)
        done = podman(user.name, "info")  # starts the process that keeps the user's namespace, beside all jobs
        if done.returncode:
            raise BedError(f"podman: `podman info` failed for {user.name}: {done.stderr.strip()}")


def _settle(user: User) -> None:
    folder = user.home / ".config" / "containers"
    storage = _STORAGE_CONF.format(home=user.home)
    texts = {"containers": _CONTAINERS_CONF, "storage": storage, "registries": _REGISTRIES_CONF}
    for name, text in texts.items():
        write_if_changed(folder / f"{name}.conf", text)
    for path in (folder.parent, folder, *folder.iterdir()):
        os.chown(path, user.uid, user.uid)
    for name in ("subuid", "subgid"):
        lines = Path(f"/etc/{name}").read_text().splitlines()
        if not any(line.startswith(f"{user.name}:") for line in lines):
            raise BedError(f"podman: {user.name} has no range in /etc/{name}: have useradd give one")


def _describe_gpus() -> None:
    """As `nvidia-ctk cdi generate` would: a device per GPU, named by its UUID, and the driver's tool for all."""
    text = (BIN / "nvidia-smi").read_text()
    rows = GPUS_TSV.read_text().partition("\n")[2]
    own = f"inventory() {{ cat <<'END'\n{rows}END\n}}\n"
    lines = (own if line.startswith("inventory() ") else line for line in text.splitlines(keepends=True))
    write_if_changed(NVIDIA_SMI, "".join(lines), 0o755)
    tool = {"hostPath": str(NVIDIA_SMI), "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "bind"]}
    description = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": gpu.uuid, "containerEdits": {"deviceNodes": [_node(gpu)]}} for gpu in inventory()],
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "mounts": [tool]},
    }
    if write_if_changed(CDI_FILE, json.dumps(description, indent=1) + "\n"):
        say(f"podman: {CDI_FILE} written, a stand-in for what nvidia-ctk writes")


def _node(gpu: Gpu) -> dict[str, str]:
    return {"path": f"/dev/nvidia{gpu.minor}"}


def podman(user: str, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """What podman gave an ordinary user, whose containers and images nobody else sees."""
    return run_as(user, ["podman", *arguments], timeout_s=timeout_s)


def stop() -> None:
    """Nothing of podman's runs afterwards."""
    for user in USERS:
        if user.home.exists() and (user.home / ".local/share/containers").exists():
            podman(user.name, "rm", "--all", "--force", "--time", "0")
            podman(user.name, "system", "migrate")  # also ends the process that keeps the user's namespace


def purge() -> None:
    """Removes the description of the GPUs and the users' images, whose files belong to ids that only podman maps."""
    CDI_FILE.unlink(missing_ok=True)
    if CDI_FILE.parent.is_dir() and not any(CDI_FILE.parent.iterdir()):
        CDI_FILE.parent.rmdir()
