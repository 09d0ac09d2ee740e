"""`python -m tests.gpu [--raw FOLDER] [--packages FOLDER] [--json]`: tfslurm's node side on a machine with NVIDIA GPUs.

Compares what NVIDIA's driver, nvidia-smi and kernel files say here with the stand-ins of the test bed, and runs the
node side's own scripts. It needs an NVIDIA driver, Python 3.9 and bash: no Slurm, no network, no root. It takes less
than four minutes and changes no setting of a GPU.

Exit codes: 0: nothing differs. 1: something differs, or could not be asked. 2: no GPU is here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.gpu import container, machine, node, packages, smi, work
from tests.gpu.commands import Commands
from tests.gpu.rows import NOT_RUN, Row, as_value, failed, table, visible

# Seconds of each step; what a step does not need is left for those after it, and one that hangs takes none of theirs.
SHARES = {
    "list": 25, "machine": 5, "nvidia-smi": 25, "node side": 30, "tfslurm check": 10, "CUDA library": 15, "load": 30,
    "framework": 30, "MIG": 5, "job": 45,
}  # fmt: skip
STEPS = (
    "machine         the device files, /proc/driver/nvidia, /sys/module/nvidia, CDI descriptions",
    "nvidia-smi      lists, fields and errors, each beside the stand-in's, which is told of the same GPUs",
    "node side       which GPUs a task gets for each way of granting them, and what it refuses",
    "record          the record's readers on what the node side wrote",
    "tfslurm check   the probe of a node",
    "CUDA library    GPUs, UUIDs and their order by libcuda; a UUID in CUDA_VISIBLE_DEVICES",
    "load            a small kernel for 12 s: utilisation, memory, NVML's energy counter",
    "framework       the GPU check with TensorFlow; torch",
    "MIG             the slices, where MIG is on",
    "job             by podman and docker, in a container of this machine's files; without them entry.sh alone",
)


def main() -> int:
    """Look, print; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, metavar="FOLDER", help="keep raw outputs there (default: ./gpu-check-DATE)")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="Debian packages (podman's) to unpack and use")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    arguments = parser.parse_args()
    raw = arguments.raw or Path(f"gpu-check-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        raw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"gpu check: {raw}: cannot be made: {error.strerror}; name another folder with --raw", file=sys.stderr)
        return 1
    commands = Commands(raw, time.monotonic() + SHARES["list"])
    folder = tempfile.mkdtemp(prefix="tfslurm-gpu-check-")
    try:
        return check(commands, Path(folder), arguments.packages, as_json=arguments.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # where nothing was asked there is nothing to keep
            raw.rmdir()


def check(commands: Commands, folder: Path, packed: Path | None, *, as_json: bool) -> int:
    """Run every step; the exit code."""
    here = machine.look(commands)
    gpus, listing = smi.ask(commands, here.program, here.minors) if here.program else (None, None)
    if not gpus or not gpus.uuids:
        why = listing.said if listing else "nvidia-smi is not in PATH, nor where sites put it"
        return tell_none(why, as_json=as_json)
    rows: list[Row] = []
    for row in every(commands, folder, here, gpus, packed):
        rows.append(row)
        if not as_json:
            print(table([row]), flush=True)
    document = {
        "schema": "tfslurm.gpu-check/1",
        "stand_in": here.is_script,
        "nvidia_smi": here.program,
        "gpus": [dict(gpu) for gpu in gpus.rows],
        "raw": str(commands.raw),
        "rows": as_value(rows),
    }
    (commands.raw / "result.json").write_text(json.dumps(document, indent=1) + "\n")
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print(summary(rows, here, commands))
    return 0 if all(row.holds for row in rows) else 1


def tell_none(why: str, *, as_json: bool) -> int:
    """Say that there is no GPU, and what would have been done."""
    if as_json:
        print(
            json.dumps(
                {"schema": "tfslurm.gpu-check/1", "gpus": [], "why": why, "steps": [*STEPS], "rows": []}, indent=1
            )
        )
    else:
        print(f"gpu check: no NVIDIA GPU answers here: {visible(why)}\nOn a machine with one, it looks at:")
        print("\n".join(f"  {step}" for step in STEPS))
    return 2


def every(
    commands: Commands, folder: Path, here: machine.Machine, gpus: smi.Gpus, packed: Path | None
) -> Iterator[Row]:
    """The rows of every step; what goes wrong in one is a row, and the next begins."""
    pretended = smi.stand_in(folder / "stand-in", gpus)
    side = node.Node(commands, folder, here.program, pretended)
    steps: dict[str, Callable[[], Iterator[Row]]] = {
        "machine": lambda: machine.rows(here, gpus),
        "nvidia-smi": lambda: smi.beside(commands, here.program, pretended, gpus),
        "node side": lambda: node.rows(side, gpus),
        "tfslurm check": lambda: node.probe(side, gpus),
        "CUDA library": lambda: work.library(commands, gpus),
        "load": lambda: work.load(side, gpus),
        "framework": lambda: work.frameworks(commands, gpus),
        "MIG": lambda: work.mig(commands, here.program, gpus),
        "job": lambda: container.rows(side, here.program, gpus, carried(packed, folder)),
    }
    for name, step in steps.items():
        commands.deadline += SHARES[name]
        try:
            yield from step()
        except Exception as error:  # whatever a machine has that nobody thought of
            yield failed(name, "the step", f"{type(error).__name__}: {error}")


def carried(packed: Path | None, folder: Path) -> dict[str, str]:
    """The variables of what was carried along; none without it."""
    return packages.unpack(packed, folder / "packages") if packed else dict(os.environ)


def summary(rows: list[Row], here: machine.Machine, commands: Commands) -> str:
    """The last lines."""
    counts = {
        verdict: sum(row.verdict == verdict for row in rows) for verdict in dict.fromkeys(row.verdict for row in rows)
    }
    lines = [", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
    if here.is_script:
        lines.append(f"{here.program} is a script: a stand-in, or a site's wrapper; this is no result of a real GPU")
    if counts.get(NOT_RUN):
        lines.append("A row that was not run says nothing about it.")
    lines.append(f"raw outputs: {commands.raw} (they name this machine, its GPUs and their serial numbers)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
