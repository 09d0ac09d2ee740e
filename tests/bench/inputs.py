"""The files of a mount with `hash: true`: hashed by the node's own part, and known from an earlier job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.measure import Row, turns
from tests.bench.processes import USER
from tests.cluster.bed import SCRATCH, BedError
from tests.cluster.desk import ids
from tests.cluster.users import run_as
from tests.test_node_inputs import RUN, argv, attempt_folder

SIZES = {2 * 10**9: 1, 10**8: 60, 10**6: 2000}
"Size of a file -> how many: 10 GB."
MANY = 100_000
PATIENCE_S = 1200.0
# Two processes, each with half of the bytes.
BOTH_CORES = "for half in {0} {1}; do xargs --null sha256sum --zero <$half >/dev/null & done; wait"


def rows(rounds: int) -> list[Row]:
    """10 GB beside `sha256sum` of the same files on two cores, after a first round; then known, and 100,000 files."""
    site = SCRATCH / "bench-inputs"
    shutil.rmtree(site, ignore_errors=True)
    if shutil.disk_usage(SCRATCH).free < 2 * 10**10:
        raise BedError(f"{SCRATCH} has no room for 10 GB")
    try:
        (site / "root" / "runs" / RUN).mkdir(parents=True)
        halves = make(site / "data")
        many(site / "many")
        for path in (site, *site.rglob("*")):
            os.chown(path, *ids())
        few = min(rounds, 3)
        read = turns(
            few,
            {"ours": looking(site, "data"), "sha256sum": command("bash", "-c", BOTH_CORES.format(*halves))},
            before=lambda: forget(site),
        )
        looking(site, "data")()
        known = turns(rounds, {"10 GB": looking(site, "data")}, before=lambda: forget(site, everything=False))
        forget(site)
        looking(site, "many")()
        known |= turns(few, {"many": looking(site, "many")}, before=lambda: forget(site, everything=False))
    finally:
        shutil.rmtree(site, ignore_errors=True)
    peer = "`sha256sum` of the same files, half on each core"
    return [
        Row("10 GB of inputs hashed by 2 processes", read["ours"], peer, read["sha256sum"], 1 / 0.9),
        Row("the same, known from an earlier job", known["10 GB"], "nothing", 0.0, 1.0, "s"),
        Row(f"{MANY:,} files of inputs, likewise", known["many"], "nothing", 0.0, unit="s"),
    ]


def make(data: Path) -> tuple[Path, Path]:
    """The files, and two lists of them with half of the bytes each."""
    data.mkdir(parents=True)
    left, right = list[bytes](), list[bytes]()
    weights = [0, 0]
    block = os.urandom(10**6)
    for size, count in SIZES.items():
        for number in range(count):
            path = data / f"{size}-{number}"
            with path.open("wb") as file:
                for at in range(size // 10**6):
                    file.write(at.to_bytes(8, "big") + block[8:])
            lighter = weights.index(min(weights))
            weights[lighter] += size
            (left, right)[lighter].append(os.fsencode(path))
    lists = data.with_name("left"), data.with_name("right")
    for path, names in zip(lists, (left, right), strict=True):
        path.write_bytes(b"\0".join(names))
    return lists


def many(folder: Path) -> None:
    """Small files, a thousand in a folder."""
    for number in range(MANY):
        path = folder / str(number // 1000) / str(number)
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(str(number))


def looking(site: Path, name: str) -> Callable[[], int]:
    """The part of the node side that looks at this folder, as a job's first task would."""
    return command(*argv(site, f"{site / name} ro", INPUT_GRAIN_S="-100000"))


def command(*words: str) -> Callable[[], int]:
    def run() -> int:
        return run_as(USER, [*words], "alpha", cwd=SCRATCH, timeout_s=PATIENCE_S).returncode

    return run


def forget(site: Path, *, everything: bool = True) -> None:
    """Remove what the last job left, and what is known."""
    shutil.rmtree(attempt_folder(site), ignore_errors=True)
    if everything:
        shutil.rmtree(site / "root" / "inputs", ignore_errors=True)
    for path in (site / "root", *site.glob("root/*"), *site.glob("root/runs/*"), *site.glob("root/runs/*/*")):
        os.chown(path, *ids())
