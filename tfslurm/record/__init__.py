"""Build the record of a job from the raw files that the job left. Pure.

model      the record's keys, in the order of the wire contract; those of a task in task_model, its versions in schema
facts      one raw observation (a file's bytes) -> values
folder     the raw observations of one place, and why some are missing
engines    an engine's answers about an image and a container, by its own adapter
task       one task's observations -> TaskFacts
build      the files of one job -> Record
asked      all that its plan asked, and the settings that decide about equality to the bit
machine    the node's processor and engine
environment
           what is inside the image
energy     what the GPUs used of it
logs       what the programs printed, by its hashes
verified   the verdict on each link of the chain
reading    the record back from its JSON
unsaved_files
           the files that a program wrote where nothing keeps them
verification
           whether a record, and what it names, is unchanged
comparison two runs beside each other: environment, inputs, results
metrics    what a program measured, from its outputs
numbers    numbers that no record can hold
"""

from __future__ import annotations

from tfslurm.record.build import build_record
from tfslurm.record.model import Attempt, Record, record_json
from tfslurm.record.reading import record_from_json
from tfslurm.record.task_model import TaskFacts

__all__ = ["Attempt", "Record", "TaskFacts", "build_record", "record_from_json", "record_json"]
