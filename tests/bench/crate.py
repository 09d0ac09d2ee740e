"""A job's record as a crate with every file, beside a plain copy of these files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tests.bench.measure import Row, turns
from tests.bench.processes import USER, VENV, command, prepare
from tests.cluster.bed import BedError
from tests.cluster.desk import Desk, a_desk

LEAVES = "head -c 50000000 /dev/urandom >/out/model.bin; for n in $(seq 100); do echo $n >/out/$n.txt; done"


def rows(rounds: int) -> list[Row]:
    """50 MB of outputs in 101 files: each is hashed on its way, and its hash is that of the record."""
    prepare()
    with a_desk() as made:
        desk = replace(made, program=VENV / "bin" / "tfslurm")
        desk.write("code/train.py", "print(1)\n")
        job = desk.submit(desk.experiment("crated", ["sh", "-c", LEAVES], code="code"))
        if desk.ended(job) != "COMPLETED":
            raise BedError(f"{job} did not end well")
        copy = ["cp", "-r", str(desk.run_folder(job).parent), str(desk.root("alpha") / "code"), "copy"]
        words = ["provenance", job, "--format", "rocrate", "-o", "crate", "--author", "Doe, Jane"]
        found = turns(
            rounds,
            {"crate": lambda: desk.tfslurm(*words).returncode, "copy": command(desk.folder, *copy)},
            before=lambda: emptied(desk),
        )
    what = "`provenance --format rocrate` of a job with 50 MB of outputs"
    return [Row(what, found["crate"], "`cp -r` of its files", found["copy"], 1.0, "s")]


def emptied(desk: Desk) -> None:
    """Neither copy is there."""
    for name in ("crate", "copy"):
        shutil.rmtree(desk.folder / name, ignore_errors=True)
    Path(desk.folder / "copy").mkdir()
    shutil.chown(desk.folder / "copy", USER)
