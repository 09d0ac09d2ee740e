"""A record, and files, without what says who ran it and where: for a double-blind review. Pure.

names       record, and files of its run folder -> the names in them
spelling    a name -> the bytes by which a file may spell it
opening     a file, and what is packed in it
stand_ins   names -> what stands in for each, in texts and in the bytes of files
record      record -> its anonymous form

    table = stand_ins_of([record], names_in_files(files), who_am_i())
    anonymous(record, table)                  the record
    table.scrub(data)                         a file; None: leave it out
    table.leaks(data)                         the names that are still in a file's bytes
    table.planted, table.unclear              those that are looked for; ordinary words that cannot be told apart

Digests, versions, times, hardware, the command, its parameters and the text of the program stay. If the code or the
image is public, they lead to you.
"""

from __future__ import annotations

from tfslurm.export.anonymous.names import Name, names_in_files, names_of, person_names
from tfslurm.export.anonymous.record import anonymous, planted, stand_ins_of
from tfslurm.export.anonymous.stand_ins import StandIns

__all__ = [
    "Name",
    "StandIns",
    "anonymous",
    "names_in_files",
    "names_of",
    "person_names",
    "planted",
    "stand_ins_of",
]
