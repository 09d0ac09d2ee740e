"""The machine: what of NVIDIA's is here, by the files of its kernel and by the programs in PATH."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.gpu.commands import Commands
from tests.gpu.rows import Row, compared, held, not_run, seen
from tests.gpu.smi import Gpus

PLACES = ("/usr/local/nvidia/bin", "/usr/lib/wsl/lib", "/run/current-system/sw/bin")
TOOLS = ("docker", "podman", "crun", "runc", "nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime-hook")
CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
MAJOR = 195  # of /dev/nvidia0. Source: Documentation/admin-guide/devices.txt of Linux


@dataclass(frozen=True)
class Machine:
    """Where nvidia-smi is ('' if nowhere), whether it is a stand-in, and what the kernel says of each GPU."""

    program: str
    is_script: bool
    minors: Mapping[str, str]  # uuid -> number of the device file


def look(commands: Commands) -> Machine:
    """What can be seen without asking a GPU; raw copies are kept."""
    program = shutil.which("nvidia-smi", path=os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))) or ""
    minors = {}
    files = [
        Path("/proc/driver/nvidia/version"),
        Path("/proc/driver/nvidia/params"),
        Path("/sys/module/nvidia/version"),
    ]
    for file in [*files, *sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]:
        text = read(file)
        if text:
            commands.keep(str(file).strip("/"), text)
        uuid, minor = (re.search(rf"^{key}:\s*(\S+)", text, re.MULTILINE) for key in ("GPU UUID", "Device Minor"))
        if uuid and minor:
            minors[uuid[1]] = minor[1]
    return Machine(program, bool(program) and is_script(Path(program)), minors)


def read(path: Path) -> str:
    """A small file, whatever is in it; '' where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def is_script(program: Path) -> bool:
    """Whether a program is text: NVIDIA's is none."""
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def rows(machine: Machine, gpus: Gpus) -> Iterator[Row]:
    """The kernel's files beside what nvidia-smi says."""
    step = "machine"
    tools = [name for name in TOOLS if shutil.which(name)]
    cgroup = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1 or none"
    system = f"{platform.release()}, Python {platform.python_version()}, uid {os.geteuid()}, cgroup {cgroup}"
    yield seen(step, "system", f"{system}; {', '.join(tools) or 'no container engine'}")
    yield from _devices(machine, gpus)
    for name in ("/proc/driver/nvidia/version", "/sys/module/nvidia/version"):
        text, driver = read(Path(name)), gpus.rows[0].get("driver_version", "")
        if text:
            yield held(
                step, name, f"names driver {driver}", text.splitlines()[0], holds=bool(driver) and driver in text
            )
        else:
            yield not_run(step, name, "the file is not there")
    if machine.minors:
        yield compared(step, "UUIDs of /proc/driver/nvidia/gpus", sorted(machine.minors), sorted(gpus.uuids))
    else:
        yield not_run(step, "UUIDs of /proc/driver/nvidia/gpus", "the files are not there")
    described = [
        str(path) for folder in CDI_FOLDERS for path in sorted(folder.glob("*")) if "nvidia.com/gpu" in read(path)
    ]
    yield seen(step, "CDI descriptions", described)


def _devices(machine: Machine, gpus: Gpus) -> Iterator[Row]:
    """The device files, which the bed has as files that nothing drives."""
    for place, uuid in enumerate(gpus.uuids):
        path = Path(f"/dev/nvidia{machine.minors.get(uuid, place)}")
        what = f"{path} of {uuid}"
        try:
            found = path.stat()
            with path.open("rb"):
                opened = "can be opened"
        except OSError as error:
            yield compared("machine", what, f"character device {MAJOR}, can be opened", f"{error.strerror}")
            continue
        kind = "character device" if stat.S_ISCHR(found.st_mode) else "no character device"
        found_text = f"{kind} {os.major(found.st_rdev)}, {opened}"
        yield compared("machine", what, f"character device {MAJOR}, can be opened", found_text)
