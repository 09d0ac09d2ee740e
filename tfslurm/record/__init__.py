"""The record: what is written down about one job, from the raw files that the job left. Pure.

model      the record's keys, in the order of the wire contract
facts      one raw observation (a file's bytes) -> values
folder     the raw observations of one place, and why some are missing
engines    what an engine says of an image and a container, by its own adapter
task       one task's observations -> TaskFacts
build      the files of one job -> Record
verified   does each link of the chain hold
reading    the record back from its JSON
lost       what the program wrote where nothing keeps it
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
    SharedFolder,
    TaskFacts,
    Verdict,
    Verified,
    record_json,
    record_sha256,
    seal,
)
from tfslurm.record.reading import record_from_json

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
    "SharedFolder",
    "TaskFacts",
    "Verdict",
    "Verified",
    "build_record",
    "record_from_json",
    "record_json",
    "record_sha256",
    "seal",
]
