"""A crate of a recorded job, laid out as tfslurm lays one out, whose files are all there and whose sums all hold."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests import made
from tests.test_record import case
from tfslurm.document.canonical import canonical
from tfslurm.export.citation.settings import Authorship
from tfslurm.export.crate import graph
from tfslurm.export.crate.contents import Crate, CrateFile, Run
from tfslurm.image import lock_text
from tfslurm.job_plan import identify, to_json
from tfslurm.record import Record, build_record, record_json
from tfslurm.record.crate_metadata import METADATA
from tfslurm.snapshot.files import entry_of, tree_id

JOB = "59"
SPEC = "name: gpu\nimage: 127.0.0.1:5000/tfslurm/small:1\n"
SCRIPT = b"#!/bin/bash\n#SBATCH --gres=gpu:1\n"
CODE = {"train.py": b"print(1)\n", "lib/net.py": b"layers = 3\n"}
OUTPUTS = {"metrics.json": b"1\n", "sub/model.h5": b"2\n"}
LOGS = {"attempt-1/stdout.log": b"epoch 1\n", "attempt-1/stderr.log": b""}
LOG_SUMS = "".join(f"{len(text)} {sha256(text).hexdigest()} {name[10:]}\n" for name, text in LOGS.items())


def made_crate(folder: Path, **changes: Any) -> Record:
    """Write one; the record that is in it. ``changes`` are of the job's plan."""
    source = case("gpu")
    tree = written_code(folder)
    begin = json.loads(source.files["attempt-1/begin.json"]) | {"script_sha256": sha256(SCRIPT).hexdigest()}
    files = {**source.files, "attempt-1/begin.json": json.dumps(begin).encode()}
    files["attempt-1/facts/task-0/logs.sha256"] = LOG_SUMS.encode()
    code = replace(made.CODE, tree=tree, commit="c" * 40, files=len(CODE))
    spec_sha256 = sha256(SPEC.encode()).hexdigest()
    plan = identify(replace(source.plan, code=code, spec_text=SPEC, spec_sha256=spec_sha256, **changes))
    record = build_record(plan, JOB, files, source.status, image_facts=source.image_facts)
    values = record_json(record)
    held = {
        "record.json": json.dumps(values, indent=2).encode() + b"\n",
        "record.canonical.json": canonical(unsealed(values), "record"),
        "exp.yaml": SPEC.encode(),
        "exp.lock.yaml": lock_text(plan.pin).encode(),
        "job.sbatch": SCRIPT,
        "plan.json": json.dumps(to_json(plan)).encode(),
        **{f"{JOB}/{name}": content for name, content in (files | LOGS).items()},
        **{f"{JOB}/out/{name}": content for name, content in OUTPUTS.items()},
    }
    for name, content in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / METADATA).write_text(metadata(record, folder))
    summed(folder)
    return record


def unsealed(values: dict[str, Any]) -> dict[str, Any]:
    """What the hash of a record is of."""
    integrity = {key: each for key, each in values["integrity"].items() if key not in ("record_sha256", "signature")}
    return {**values, "integrity": integrity}


def written_code(folder: Path) -> str:
    """Write the code in its folder; its tree's id."""
    for name, content in CODE.items():
        (folder / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "new" / name).write_bytes(content)
    real = (folder / "new").resolve()
    tree = tree_id([entry_of(real, name, (real / name).lstat()) for name in CODE])
    (folder / "code").mkdir()
    (folder / "new").rename(folder / "code" / tree)
    return tree


def files_in(folder: Path) -> list[str]:
    """The paths of all files of a crate."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def summed(folder: Path) -> None:
    """Write its SHA256SUMS anew."""
    rows = [f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in files_in(folder)]
    (folder / "SHA256SUMS").write_text("".join(row for row in rows if not row.endswith("  SHA256SUMS\n")))


def metadata(record: Record, folder: Path) -> str:
    """The metadata, as tfslurm writes them."""
    held = ((name, (folder / name).read_bytes()) for name in files_in(folder))
    files = tuple(CrateFile(name, len(content), sha256(content).hexdigest()) for name, content in held)
    return graph.metadata(Crate("Run", (Run(record, "", "record.json"),), files, (), Authorship(("Doe, Alice",))))
