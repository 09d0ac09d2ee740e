"""The names that an anonymous export must not hold, beside those of a record: of this machine, and of the clusters."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfslurm.errors import RecordError, TfslurmError
from tfslurm.export.anonymous import Name, StandIns, anonymous, names_in_files, stand_ins_of
from tfslurm.export.anonymous.names import cluster_names, email_names, folder_names, host_names, person_names
from tfslurm.host import get, read_from
from tfslurm.job_plan.folders import job_folder
from tfslurm.record import Record, record_json
from tfslurm.record.verification import ANONYMOUS
from tfslurm.retrieval.evidence import Evidence, refuse_changed
from tfslurm.retrieval.records import NOT_NEEDED
from tfslurm.run_folder import paths
from tfslurm.snapshot.git import user_setting
from tfslurm.workspace.authorship import in_file
from tfslurm.workspace.clusters_of_jobs import known_named
from tfslurm.workspace.session import Session

MOST_BYTES = 2**24
"Of a plan."
FIRST_OF_USERS = 1000
"The groups below it are the system's own, on every machine."


def table_for(session: Session, records: Sequence[Record], files: Mapping[str, bytes] | None = None) -> StandIns:
    """The one table for all that is exported of these records.

    ``files`` are those of the run folders by path: plan.json, and what an attempt kept of its environment; a file's
    path may be that of several attempts and jobs.
    """
    return stand_ins_of(records, names_in_files(files or {}), names_of_clusters(session, records), who_am_i())


def without_names(session: Session, evidences: Sequence[Evidence]) -> list[Evidence]:
    """The records in their anonymous forms, with one table; their files are left behind.

    Raises:
        RecordError: a record was changed after it was made: an anonymous form would give it a hash that holds. Or one
            still holds a name of the table, which must not happen.
    """
    refuse_changed(evidences)
    records = [each.record for each in evidences]
    table = table_for(session, records, files_of(evidences))
    tell_unclear(session, table)
    made = [anonymous(record, table) for record in records]
    values = [record_json(record) for record in made]
    if found := table.leaks(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")):
        raise RecordError(f"--anonymous: the record would still hold {', '.join(found[:5])}: nothing is written")
    return [Evidence(record, each, why=ANONYMOUS) for record, each in zip(made, values, strict=True)]


def tell_unclear(session: Session, table: StandIns) -> None:
    """Say which names cannot be told from words of the trade."""
    if table.unclear:
        names = ", ".join(map(repr, table.unclear))
        session.say(
            f"note: {names}: tfslurm replaces these names where a key or a sign says that they are names. In other"
            " places they are ordinary words, and stay: look for them before you publish"
        )


def files_of(evidences: Sequence[Evidence]) -> dict[str, bytes]:
    """The files of the run folders in which further names are looked for; of several points, those of the first."""
    found: dict[str, bytes] = {}
    for each in {str(each.folder): each for each in reversed(evidences)}.values():
        if each.host is None or each.folder is None:
            continue
        try:
            files = get(each.host, job_folder(each.folder, each.record.job.job_id), exclude=NOT_NEEDED)
            plan = read_from(each.host, each.folder / paths.PLAN, 0, MOST_BYTES)
        except TfslurmError:
            continue  # what the record itself holds is known without them
        found |= {f"{each.folder}/{path}": raw for path, raw in files.items()} | {f"{each.folder}/{paths.PLAN}": plan}
    return found


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
    yield from (Name("user", user.pw_name),) if user.pw_uid else ()
    yield from person_names(user.pw_gecos.split(",")[0])
    yield from folder_names(user.pw_dir)
    for gid in os.getgroups():
        try:
            yield from (Name("group", grp.getgrgid(gid).gr_name),) if gid >= FIRST_OF_USERS else ()
        except KeyError:
            continue
