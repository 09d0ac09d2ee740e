"""What the engines need here: a description of the GPUs (CDI), and settings of podman's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.gpu.commands import Commands
from tests.gpu.machine import CDI_FOLDERS, PLACES, read
from tests.gpu.smi import Gpus

CDI_FILE = CDI_FOLDERS[1] / "tfslurm-gpu-check.json"  # in a folder that the next start of the machine empties
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")  # is there on cgroup v2 alone
LIBRARIES = ("libcuda.so*", "libnvidia-*.so*")
OPTIONS = ["ro", "nosuid", "nodev", "bind"]
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
netns = "none"
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = {conmon}
helper_binaries_dir = {folders}
{init}
[engine.runtimes]
{runtime} = ["{own}/runtime"]
"""


def described(uuid: str) -> list[str]:
    """The files of CDI that name a GPU."""
    return [str(path) for folder in CDI_FOLDERS for path in sorted(folder.glob("*")) if uuid in read(path)]


@contextlib.contextmanager
def description(commands: Commands, program: str, gpus: Gpus, uuid: str) -> Iterator[str]:
    """Where no description names the GPU, one of our own for as long as this lasts; how it is described."""
    if found := described(uuid):
        yield f"CDI: {', '.join(found)}"
    elif os.geteuid() != 0:
        yield "no CDI description names it, and only root can add one"
    elif gpus.mig:
        yield "no CDI description names the slice"
    else:
        CDI_FILE.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(devices(commands, program, gpus), indent=1)
        commands.keep("cdi.json", text)
        try:
            CDI_FILE.write_text(text)
            yield "CDI: this check's own description, removed afterwards"
        finally:
            CDI_FILE.unlink()


def devices(commands: Commands, program: str, gpus: Gpus) -> dict[str, Any]:
    """As `nvidia-ctk cdi generate` would: each GPU by its UUID, and what of the driver all of them need."""
    listing = commands.run("ldconfig", ["ldconfig", "-p"], 10).out
    system = next((Path(path).parent for path in re.findall(r"libc\.so\.6 .*=> (\S+)", listing)), Path("/usr/lib64"))
    folders = [Path(path).parent for path in re.findall(r"libcuda\.so\.1 .*=> (\S+)", listing)]
    folders += [Path(place).parent / "lib64" for place in PLACES]
    libraries = {path.name: path for folder in reversed(folders) for form in LIBRARIES for path in folder.glob(form)}
    mounts = [(str(path.resolve()), f"{system}/{name}") for name, path in sorted(libraries.items())]
    mounts.append((str(Path(program).resolve()), "/usr/bin/nvidia-smi"))
    common = [path for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools") if (path := Path("/dev", name)).exists()]
    each = [
        {"name": uuid, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{gpus.minors.get(uuid, place)}"}]}}
        for place, uuid in enumerate(gpus.uuids)
    ]
    edits = {
        "deviceNodes": [{"path": str(path)} for path in common],
        "mounts": [{"hostPath": host, "containerPath": inside, "options": OPTIONS} for host, inside in mounts],
    }
    return {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": each, "containerEdits": edits}


def podman(own: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The variables with which podman keeps its images and settings in a folder of the check's."""
    folders = [*env.get("PATH", os.defpath).split(os.pathsep), "/usr/libexec/podman", "/usr/lib/podman", "/usr/libexec"]
    path = os.pathsep.join(folders)
    order = ("crun", "runc") if UNIFIED.exists() else ("runc", "crun")  # crun refuses a mixture of cgroups
    runtime = next((found for name in order if (found := shutil.which(name, path=path))), "runc")
    init = shutil.which("catatonit", path=path)
    home = own / "home/.config/containers"
    home.mkdir(parents=True, exist_ok=True)
    (home / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
    library = env.get("LD_LIBRARY_PATH", "")  # which conmon does not pass on
    (own / "runtime").write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={library} exec {runtime} "$@"\n')
    (own / "runtime").chmod(0o755)
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{own}/storage"\nrunroot = "{own}/run"\n'
    (own / "storage.conf").write_text(storage)
    conf = CONTAINERS_CONF.format(
        files=min(1024, most(resource.RLIMIT_NOFILE)),
        processes=min(4096, most(resource.RLIMIT_NPROC)),
        runtime=Path(runtime).name,
        conmon=json.dumps([f"{folder}/conmon" for folder in folders]),
        folders=json.dumps(folders),
        init=f'init_path = "{init}"' if init else "",
        own=own,
    )
    (own / "containers.conf").write_text(conf)
    names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf", "HOME": "home"}
    return {name: str(own / file) for name, file in names.items()}


def most(limit: int) -> int:
    """The hard limit of this process."""
    hard = resource.getrlimit(limit)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
