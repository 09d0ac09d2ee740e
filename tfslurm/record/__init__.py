"""The record: what is written down about one job, from the raw files that the job left. Pure.

model     the record's keys, in the order of the wire contract
facts     one raw observation (a file's bytes) -> values
build     the files of one job -> Record
verified  does each link of the chain hold
"""

from __future__ import annotations

from tfslurm.record.build import build_record
from tfslurm.record.model import (
    Attempt,
    Code,
    Container,
    Environment,
    Experiment,
    Gpu,
    Image,
    Integrity,
    Job,
    LostFile,
    Output,
    Package,
    Record,
    TaskFacts,
    Verdict,
    Verified,
    canonical,
    record_json,
    record_sha256,
    seal,
)

__all__ = [
    "Attempt",
    "Code",
    "Container",
    "Environment",
    "Experiment",
    "Gpu",
    "Image",
    "Integrity",
    "Job",
    "LostFile",
    "Output",
    "Package",
    "Record",
    "TaskFacts",
    "Verdict",
    "Verified",
    "build_record",
    "canonical",
    "record_json",
    "record_sha256",
    "seal",
]
