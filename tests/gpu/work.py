"""The driver's library, a kernel under the eyes of the node side, frameworks, and GPUs that are cut into slices."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gpu.commands import Commands, Ran
from tests.gpu.machine import read
from tests.gpu.node import TEMPLATES, Node
from tests.gpu.rows import Row, compared, failed, held, not_run
from tests.gpu.smi import Gpus

PROGRAM = Path(__file__).with_name("cuda.py")
BUSY_S = 12  # the node side looks at a GPU 5 s after the start
LEAST_PERCENT = 50
TORCH = """\
import json, torch
count = torch.cuda.device_count()
names = [torch.cuda.get_device_name(place) for place in range(count)]
ones = torch.ones(256, 256, device="cuda") if count else torch.ones(256, 256)
print(json.dumps({"version": torch.__version__, "count": count, "names": names, "sum": float((ones @ ones).sum())}))
"""
NO_MODULE = "No module named"


def answer(ran: Ran) -> dict[str, Any]:
    """The JSON object in the last line of an output; otherwise an object with ``error``."""
    lines = ran.out.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"error": ran.said}


def library(commands: Commands, gpus: Gpus) -> Iterator[Row]:
    """Which GPUs libcuda lists, and that a UUID in CUDA_VISIBLE_DEVICES is the only one that is left."""
    step = "CUDA library"
    found = answer(commands.run("cuda-list", [sys.executable, str(PROGRAM), "list"], 30, env=order()))
    if "error" in found:
        yield absent(step, "libcuda.so.1", str(found["error"]))
        return
    yield compared(step, "version of CUDA", gpus.cuda, found.get("cuda"))
    devices = found.get("devices", [])
    whole = [uuid[4:] for uuid in gpus.uuids]
    if not gpus.mig:
        yield compared(step, "UUIDs, in the order of nvidia-smi", whole, [device["uuid"] for device in devices])
        yield compared(step, "names", [gpu["name"] for gpu in gpus.rows], [device["name"] for device in devices])
    for uuid in ((gpus.mig or gpus.uuids)[0], (gpus.mig or gpus.uuids)[-1]):
        ran = commands.run(f"cuda-list-{uuid}", [sys.executable, str(PROGRAM), "list"], 30, env=order(uuid))
        one = answer(ran)
        seen = [device["uuid"] for device in one.get("devices", [])] or one.get("error")
        yield compared(step, f"CUDA_VISIBLE_DEVICES={uuid}", [uuid[4:]], seen)


def order(devices: str = "") -> dict[str, str]:
    """As tfslurm's containers have it."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **({"CUDA_VISIBLE_DEVICES": devices} if devices else {})}


def absent(step: str, what: str, why: str) -> Row:
    """A library that is not on this machine is not asked; one that fails is a failure."""
    return (
        not_run(step, what, why)
        if "cannot open shared object" in why or "is not here" in why
        else failed(step, what, why)
    )


def load(node: Node, gpus: Gpus) -> Iterator[Row]:
    """A kernel of our own for some seconds, and what the node side writes of it."""
    step, uuid = "load", (gpus.mig or gpus.uuids)[0]
    words = ("use", uuid, sys.executable, str(PROGRAM), "busy", str(BUSY_S))
    ran = node.observe("load", "real", 1, *words, devices=uuid, limit_s=BUSY_S + 25)
    found = answer(ran)
    if "error" in found:
        yield absent(step, "a kernel on the GPU", str(found["error"]))
        return
    what = f"{found['launches']} launches in {found['seconds']} s, written for {found['target']}"
    yield held(step, "a kernel on the GPU", "each computes what it should", what, holds=found["launches"] > 0)
    yield from usage(read(node.work / "load-real" / "gpu-usage.csv"), uuid)
    yield from energy(found["energy_before"], found["energy_after"], float(found["seconds"]))


def usage(text: str, uuid: str) -> Iterator[Row]:
    """The samples as the record's reader has them; the stand-in always says 0 %."""
    step, rows = "load", text.splitlines()
    heading = "seconds, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]"
    yield compared(step, "heading of gpu-usage.csv", heading, rows[0] if rows else "no file")
    cells = [[cell.strip() for cell in row.split(",")] for row in rows[1:]]
    yield held(step, "samples of gpu-usage.csv", "one at least, of this GPU", f"{len(cells)}: {text[-120:]}",
               holds=bool(cells) and all(len(row) == 5 and row[1] == uuid for row in cells))  # fmt: skip
    percents = [row[2] for row in cells if len(row) == 5]
    if uuid.startswith("MIG-"):
        yield not_run(step, "utilisation", f"a slice of a GPU has none: {', '.join(percents)}")
        return
    most = max((int(percent) for percent in percents if percent.isdecimal()), default=-1)
    yield held(
        step,
        "utilisation under load",
        f"{LEAST_PERCENT} % or more",
        ", ".join(percents) or "none",
        holds=most >= LEAST_PERCENT,
    )


def energy(before: dict[str, Any], after: dict[str, Any], seconds: float) -> Iterator[Row]:
    """Does NVML's counter rise, and by about what the power says?"""
    step, what = "load", "energy counter"
    if before["energy_mj"] is None or after["energy_mj"] is None:
        yield not_run(step, what, before["why"] or after["why"] or "it has none")
        return
    joules = (after["energy_mj"] - before["energy_mj"]) / 1000
    shown = f"{joules:.0f} J in {seconds:.0f} s, {joules / max(seconds, 0.1):.0f} W; {after['power_mw']} mW at the end"
    yield held(step, what, "it rises", shown, holds=joules > 0)


def frameworks(commands: Commands, gpus: Gpus) -> Iterator[Row]:
    """The GPU check of tfslurm with TensorFlow, and torch, by every Python in PATH."""
    step, count = "framework", len(gpus.mig[:1] or gpus.uuids)  # CUDA lists one slice of a GPU, whatever there is
    pythons = dict.fromkeys(path for path in (sys.executable, *map(shutil.which, ("python3", "python"))) if path)
    done = False
    for at, python in enumerate(pythons):
        ran = commands.run(f"gpu-check-{at}", [python, str(TEMPLATES / "inside" / "gpu_check.py"), str(count)], 90)
        if ran.why:
            done = True
            yield failed(step, f"TensorFlow by {python}", ran.why)
        elif ran.code != 3:
            done = True
            yield held(
                step, f"TensorFlow by {python}", "ok: …", ran.out.strip() or ran.said, holds=ran.out.startswith("ok:")
            )
        ran = commands.run(f"torch-{at}", [python, "-c", TORCH], 90, env=order())
        if NO_MODULE in ran.err and ran.code:
            continue
        done, found = True, answer(ran)
        if ran.why:
            yield failed(step, f"torch by {python}", ran.why)
            continue
        seen = found.get("error") or (found["count"], found["names"], found["sum"])
        yield compared(
            step,
            f"torch {found.get('version', '')} by {python}",
            (count, [gpu["name"] for gpu in gpus.rows][:count], 256.0**3),
            seen,
        )
    if not done:
        yield not_run(step, "TensorFlow and torch", f"neither is in {', '.join(pythons)}")


def mig(commands: Commands, program: str, gpus: Gpus) -> Iterator[Row]:
    """The slices, where a GPU is cut: listed, never made or changed."""
    step = "MIG"
    modes = [gpu.get("mig.mode.current", "[N/A]") for gpu in gpus.rows]
    if "Enabled" not in modes:
        yield not_run(step, "slices", f"it is off: {', '.join(modes)}")
        return
    for words in (("-lgi",), ("-lci",), ("-lgip",)):  # they list
        commands.run(f"mig{words[0]}", [program, "mig", *words], 20)
    lines = [line for line in gpus.listed.splitlines() if line.lstrip().startswith("MIG ")]
    form = re.compile(r"\s+MIG \S+\s+Device\s+\d+: \(UUID: MIG-[0-9A-Za-z/-]+\)")
    odd = [line for line in lines if not form.fullmatch(line)]
    yield held(
        step,
        "lines of slices",
        "as NVIDIA's guide has them",
        odd or f"{len(lines)} slices",
        holds=bool(lines) and not odd,
    )
