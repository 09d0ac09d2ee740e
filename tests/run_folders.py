"""Recorded jobs of tests/facts as run folders on this machine, from which crates are made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from tests.test_record import case
from tests.test_verification import record as recorded
from tfslurm.export.citation.settings import Authorship
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import to_json
from tfslurm.record import record_from_json, record_json
from tfslurm.record.model import Code, Output, seal
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.fetch import Progress

TREE = "86018365cab9c1065c35255c75604eacc2d8fc4d"
CODE = Code("https://github.com/doelab/digits", "c" * 40, "main", True, TREE)
DOE = "Doe, Alice"
BY = Authorship(
    (DOE,), "Digits", "MIT", ((DOE, "https://orcid.org/0000-0002-1825-0097"),),
    ((DOE, "Example University (https://ror.org/03yrm5c26)"),), (DOE,),
)  # fmt: skip
OUTPUTS = {"metrics.json": b'{"accuracy": 0.98}\n', "sub/model.h5": b"\x89HDF\r\n\x1a\n\0weights"}
LOGS = {"stdout.log": b"epoch 1: accuracy 0.98\n", "stderr.log": b""}


def evidence(
    folder: Path, name: str = "tensorflow", outputs: Mapping[str, bytes] | None = None, job_id: str = "", **changes: Any
) -> Evidence:
    """A recorded job as a run folder in ``folder``, its code beside it; ``changes`` are of its record."""
    outputs = OUTPUTS if outputs is None else outputs
    source = case(name)
    made = recorded(name)
    number = job_id or source.job_id
    run = folder / "runs" / source.plan.run_dir.name
    listed = tuple(Output(path, len(data), sha256(data).hexdigest()) for path, data in sorted(outputs.items()))
    experiment = replace(made.experiment, command=("python", "train.py", "--lr", "0.1"), outputs=listed)
    job = replace(made.job, job_id=number)
    record_id = f"{made.record_id[:-12]}{int(number.partition('_')[0]):06d}{int(number.partition('_')[2] or 0):06d}"
    made = replace(made, job=job, record_id=record_id, experiment=experiment, code=CODE, run_folder=str(run))
    record = record_from_json(record_json(seal(replace(made, **changes))))
    write(run, {"job.sbatch": b"#!/bin/bash\n", "plan.json": json.dumps(to_json(source.plan)).encode()})
    write(run / number, {**source.files, **{f"attempt-{each.index}/{log}": data for each in record.attempts
                                            for log, data in LOGS.items()}})  # fmt: skip
    (run / number / "out").mkdir(exist_ok=True)
    write(run / number / "out", outputs)
    write(folder / "code" / TREE, {"train.py": b"print(1)\n", "lib/net.py": b""})
    place = PurePosixPath(run)
    return Evidence(record, record_json(record), LocalHost("alpha"), place, PurePosixPath(folder / "code" / TREE))


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """These files below a folder."""
    for name, data in files.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextmanager
def quiet() -> Iterator[Progress]:
    """Progress that nobody sees."""
    yield Progress(lambda what, done, total: None, lambda line: None, ())
