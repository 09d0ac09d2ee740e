"""Build the record of a job from the raw files that the job left. Pure.

model      the record's keys, in the order of the wire contract
facts      one raw observation (a file's bytes) -> values
folder     the raw observations of one place, and why some are missing
engines    what an engine says of an image and a container, by its own adapter
task       one task's observations -> TaskFacts
build      the files of one job -> Record
asked      what its plan asked, and what decides about bits
machine    the node's processor and engine
verified   does each link of the chain hold
reading    the record back from its JSON
lost       what the program wrote where nothing keeps it
numbers    those that no record can hold
"""

from __future__ import annotations

from tfslurm.record.build import build_record
from tfslurm.record.model import Attempt, Record, TaskFacts, record_json
from tfslurm.record.reading import record_from_json

__all__ = ["Attempt", "Record", "TaskFacts", "build_record", "record_from_json", "record_json"]
