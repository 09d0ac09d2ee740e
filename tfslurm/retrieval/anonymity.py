"""The names that an anonymous export must not hold, beside those of a record: of this machine, and of the clusters."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfslurm.errors import TfslurmError
from tfslurm.export.anonymous import Name, StandIns, names_in_files, stand_ins_of
from tfslurm.export.anonymous.names import cluster_names, email_names, folder_names, host_names, person_names
from tfslurm.record import Record
from tfslurm.snapshot.git import user_setting
from tfslurm.workspace.authorship import in_file
from tfslurm.workspace.clusters_of_jobs import known_named
from tfslurm.workspace.session import Session

FIRST_OF_USERS = 1000
"The groups below it are the system's own, on every machine."


def table_for(session: Session, records: Sequence[Record], files: Mapping[str, bytes] | None = None) -> StandIns:
    """The one table for all that is exported of these records.

    ``files`` are those of the run folders by path: plan.json, and what an attempt kept of its environment; a file's
    path may be that of several attempts and jobs.
    """
    return stand_ins_of(records, names_in_files(files or {}), names_of_clusters(session, records), who_am_i())


def names_of_clusters(session: Session, records: Sequence[Record]) -> Iterator[Name]:
    """Those in the files of the records' clusters, where they are known."""
    for name, plan_id in dict.fromkeys((record.job.cluster, record.plan_id or "") for record in records):
        try:
            yield from cluster_names(known_named(name, plan_id, session.tracker).cluster)
        except TfslurmError:
            continue


def who_am_i(folder: Path = Path()) -> Iterator[Name]:
    """The user of this machine, its name, the user's groups, and the author by git and by the folder's CITATION.cff."""
    yield from user_names()
    for host in dict.fromkeys((socket.gethostname(), os.uname().nodename)):
        yield from host_names(host, "host")
    yield from person_names(user_setting(folder, "user.name"))
    yield from email_names(user_setting(folder, "user.email"))
    by = in_file(folder / "CITATION.cff")
    yield from (name for author in by.authors for name in person_names(author))
    yield from (Name("person", orcid.rpartition("/")[2]) for _, orcid in by.orcids)


def user_names() -> Iterator[Name]:
    """The user's name, full name, home and groups, as this machine has them."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return
    yield Name("user", user.pw_name)
    yield from person_names(user.pw_gecos.split(",")[0])
    yield from folder_names(user.pw_dir)
    for gid in os.getgroups():
        try:
            yield from (Name("group", grp.getgrgid(gid).gr_name),) if gid >= FIRST_OF_USERS else ()
        except KeyError:
            continue
