"""The node side's own observations: its bash parts and its probe, with the real nvidia-smi and with the stand-in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.gpu.commands import Commands, Ran
from tests.gpu.machine import read
from tests.gpu.rows import Row, compared, failed, held, not_run
from tests.gpu.smi import Gpus
from tfslurm.workspace.packaged_files import ENGINE_PARTS, NODE_PARTS, TASK_PARTS

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = CHECKOUT / "job_templates"
OBSERVE = Path(__file__).with_name("observe.sh")
STRANGER = "GPU-00000000-0000-0000-0000-000000000000"
FILES = ("nvidia-smi-L.txt", "nvidia-smi-query.csv", "gpus.txt", "gpu-source.txt")


def pack(folder: Path, engine: str = "docker") -> tuple[Path, Path]:
    """node.sh and task.sh of the parts of this checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = {"node.sh": NODE_PARTS, "task.sh": (*TASK_PARTS, *ENGINE_PARTS[engine])}
    for name, parts in packed.items():
        (folder / name).write_text("\n".join((TEMPLATES / "parts" / f"{part}.sh").read_text() for part in parts))
    return folder / "node.sh", folder / "task.sh"


class Node:
    """Runs observe.sh, with one nvidia-smi or the other."""

    def __init__(self, commands: Commands, work: Path, program: str, pretended: Path) -> None:
        self.commands, self.work = commands, work
        self.scripts = pack(work / "packed")
        self.paths = {"real": Path(program).parent, "stand-in": pretended.parent}

    def observe(self, name: str, whose: str, gpus: int, *words: str, devices: str | None, limit_s: float = 40) -> Ran:
        """What the functions print; their files are kept."""
        facts = self.work / f"{name}-{whose}"
        env = {**without_slurm(devices), "PATH": f"{self.paths[whose]}:{os.environ['PATH']}"}
        argv = ["env", *unset(), "bash", str(OBSERVE), *map(str, self.scripts), str(facts), str(gpus), *words]
        ran = self.commands.run(f"node-{name}-{whose}", argv, limit_s, env=env)
        if whose == "real" and facts.is_dir():
            for file in sorted(facts.rglob("*")):
                if file.is_file() and file.stat().st_size:
                    self.commands.keep(f"facts-{name}-{file.name}", read(file))
        return ran

    def facts(self, name: str, whose: str) -> Mapping[str, str]:
        """The files that matter, as text; one that was not written is left out."""
        folder = self.work / f"{name}-{whose}"
        return {file: read(folder / file) for file in FILES if (folder / file).exists()}


def unset() -> list[str]:
    """The words by which `env` takes away what a scheduler or a shell has set here."""
    return [f"--unset={name}" for name in os.environ if name.startswith(("SLURM", "TFSLURM")) or name == "BASH_ENV"]


def without_slurm(devices: str | None) -> dict[str, str]:
    """The one variable that says which GPUs; an empty one says nothing."""
    return {"CUDA_VISIBLE_DEVICES": devices or ""}


def rows(node: Node, gpus: Gpus) -> Iterator[Row]:
    """Everything that the node side does with nvidia-smi, /proc and /sys before a container begins."""
    step, count = "node side", len(gpus.mig or gpus.uuids)
    for whose in ("stand-in", "real"):
        ran = node.observe("whole", whose, count, "look", devices=None)
        if whose == "real" and ran.code:
            yield failed(step, "the whole machine", ran.said)
            return
    ours, theirs = node.facts("whole", "real"), node.facts("whole", "stand-in")
    for file in FILES:
        yield compared(step, file, theirs.get(file, "not written"), ours.get(file, "not written"))
    said = keys(ran.out)
    yield from _driver(said)
    yield held(
        step,
        "kinds of GPU",
        "a number and a name for each kind",
        said.get("kinds", ""),
        holds=" x " in said.get("kinds", ""),
    )
    yield from _choices(node, gpus, count)
    yield from _readers(ours, gpus, count)


def _driver(said: Mapping[str, str]) -> Iterator[Row]:
    """The driver by the kernel's module and by nvidia-smi."""
    step = "node side"
    if not said.get("module"):
        yield not_run(
            step, "driver by /sys/module/nvidia/version", "the file is not there; nvidia-smi is asked instead"
        )
    else:
        yield compared(step, "driver by /sys/module/nvidia/version", said.get("driver"), said["module"])
    number = re.fullmatch(r"\d+(\.\d+)+", said.get("driver", ""))
    yield held(step, "driver by nvidia-smi", "a version", said.get("driver", ""), holds=bool(number))
    orders = "older" not in said and "newer" not in said
    yield held(
        step,
        "driver compared with 100.0 and 9999.0",
        "newer, older",
        "as it should" if orders else "wrong",
        holds=orders,
    )


def _choices(node: Node, gpus: Gpus, count: int) -> Iterator[Row]:
    """What the task gets for each way in which a GPU can be granted; what is refused."""
    step, first = "node side", (gpus.mig or gpus.uuids)[0]
    ways = [("granted by UUID", "slurm", first, f"slurm-uuid {first}")]
    if not gpus.mig:
        number, uuid = gpus.rows[-1]["index"], gpus.uuids[-1]
        source = "cgroup" if count == 1 else "index-unconstrained"
        ways.append((f"granted as number {number}", "slurm", number, f"{source} {uuid}"))
    for what, mode, devices, expected in ways:
        ran = node.observe(what.replace(" ", "-"), "real", 1, mode, devices=devices)
        said = keys(ran.out)
        found = f"{said.get('source')} {said.get('gpu')}" if ran.code == 0 else ran.said
        yield compared(step, what, expected, found)
    for what, devices in (
        ("a UUID that is not here", STRANGER),
        ("two, one of which is not here", f"{first},{STRANGER}"),
    ):
        ran = node.observe(what.replace(" ", "-"), "real", devices.count(",") + 1, "slurm", devices=devices)
        yield held(step, what, "refused, exit 78", ran.said, holds=ran.code == 78)


def _readers(facts: Mapping[str, str], gpus: Gpus, count: int) -> Iterator[Row]:
    """The record's own readers of these files."""
    step = "record"
    if sys.version_info < (3, 10):
        yield not_run(step, "readers", "the package's own code needs Python 3.10")
        return
    from tfslurm.record import facts as readers

    listing, query = facts.get("nvidia-smi-L.txt", ""), facts.get("nvidia-smi-query.csv", "")
    found = [uuid for uuid, _ in readers.parse_list(listing.encode("utf-8", "surrogateescape"))]
    yield compared(
        step, "GPUs of nvidia-smi -L", gpus.uuids if not gpus.mig else count, found if not gpus.mig else len(found)
    )
    read_rows = readers.parse_query(query.encode("utf-8", "surrogateescape"))
    yield compared(step, "GPUs of the query", gpus.uuids, [row["uuid"] for row in read_rows])
    complaints = readers.parse_complaints(listing.encode("utf-8", "surrogateescape"))
    yield compared(step, "complaints of nvidia-smi -L", [], list(complaints))
    for name, reader in (("driver/nvidia/version", readers.parse_driver),):
        file = Path("/proc") / name
        if file.exists():
            yield held(step, f"/proc/{name}", "a version", reader(file.read_bytes()), holds=True)


def keys(text: str) -> dict[str, str]:
    """``key value`` lines; several values of one key stand between blanks."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def probe(node: Node, gpus: Gpus) -> Iterator[Row]:
    """The probe that `tfslurm check` sends to a node."""
    step = "tfslurm check"
    parts = [(TEMPLATES / "parts" / f"{part}.sh").read_text() for part in ENGINE_PARTS["docker"]]
    text = "\n".join([*parts, (TEMPLATES / "probes" / "check.sh").read_text()])
    env = {**without_slurm(None), "PATH": f"{node.paths['real']}:{os.environ['PATH']}"}
    ran = node.commands.run("probe", ["env", *unset(), "bash", "-s", "--", "docker", "/", ""], 60, env=env, text=text)
    said = [line[len("probe.") :].partition("\t")[::2] for line in ran.out.splitlines() if line.startswith("probe.")]
    if ("end", "1") not in said:
        yield failed(step, "the probe of a node", ran.said)
        return
    listed = [value for key, value in said if key == "gpu" and not value.lstrip().startswith("MIG ")]
    yield compared(step, "lines of gpu", len(gpus.uuids), len(listed))
    wanted = [f"{gpu.get('driver_version')}, {gpu['name']}, {gpu.get('memory.total')} MiB" for gpu in gpus.rows]
    yield compared(step, "lines of gpu-row", wanted, [value for key, value in said if key == "gpu-row"])
    for key, value in said:
        if key.startswith("driver-"):
            yield held(step, key, "the driver's version", value, holds=gpus.rows[0].get("driver_version", "?") in value)
    devices = dict(said).get("devices", "0")
    yield held(step, "device files", f"at least {len(gpus.uuids)}", devices, holds=int(devices) >= len(gpus.uuids))
