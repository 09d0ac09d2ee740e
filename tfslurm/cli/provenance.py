"""tfslurm provenance."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import deliver, json_text, plain_table, say, show
from tfslurm.cli.crate_options import CrateOptions, crate_options, save_crate
from tfslurm.cli.options import common
from tfslurm.cli.record_forms import STANDARDS
from tfslurm.errors import RecordError, refuse
from tfslurm.export.foreign_crate import claims_json, claims_rows
from tfslurm.export.rows import Row, lines_of, rows_text
from tfslurm.export.text import record_rows, record_text
from tfslurm.monitoring.lookup import find_sweep, one_name
from tfslurm.record import Record
from tfslurm.record.crate_metadata import Metadata
from tfslurm.retrieval.evidence import (
    Evidence,
    crate_named,
    gathered,
    named,
    of_crate,
    placed,
    refuse_changed,
)
from tfslurm.retrieval.sweep_record import sweep_record, sweep_text
from tfslurm.tracker import TrackedJob
from tfslurm.tracker.by_content import reruns_of
from tfslurm.workspace.session import Session


def json_form(record: Record, values: Mapping[str, Any]) -> str:
    """The record itself."""
    return json_text(values)


CRATE = "rocrate"
DOCKER_RUN = "the line of --docker"
FORMS: Mapping[str, Callable[[Record, Mapping[str, Any]], str]] = {"text": record_text, "json": json_form}
"Each form of one record: its name, and what writes it."
COLOURS = {"ok": "green", "failed": "red", "unknown": "yellow"}


@click.command()
@click.argument("name", metavar="JOB|SWEEP|RECORD|CRATE")
@click.option("--format", "form", type=click.Choice([*FORMS, CRATE, *STANDARDS]), default="text", help="Default: text.")
@click.option("--docker", is_flag=True, help="Print the `docker run` line that runs the job's program again.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of stdout.")
@click.option("--anonymous", is_flag=True, help="Leave out what says who you are, for a double-blind review.")
@crate_options
@common
def provenance(
    session: Session,
    name: str,
    form: str,
    docker: bool,
    output: Path | None,
    anonymous: bool,
    crate_asked: CrateOptions,
    as_json: bool,
) -> int:
    """Print a job's record: what ran, on which node, driver and GPUs, and the verdict on each link.

    JOB is a job, a point (`SWEEP:POINT`), a run folder, the digest of an image, a commit of the code (7 digits or more)
    or the id of a plan. If several jobs are meant, it lists them; as JSON, it prints a list of their records.

    RECORD is a file with a record. CRATE is the folder or the .zip of an RO-Crate. Of a crate that another tool made,
    it prints what that tool says of images, commands and files; tfslurm observed none of that.

    For a SWEEP, it prints what you asked for and which Slurm jobs it became. As JSON, it also has every point with its
    job and the id of its record.

    `--format rocrate -o FOLDER|FILE.zip` writes a crate for an archive: the records with every file that they name.
    Authors, license and institution come from the options, else from CITATION.cff in this folder, else git's user.name.

    `--format in-toto`, `prov` and `mlperf` write the record, or the records of all points, as other programs read it.
    """
    form = DOCKER_RUN if docker else "json" if as_json and form not in (CRATE, *STANDARDS) else form
    if form != CRATE:
        crate_asked.refuse_without_crate()
    crate = crate_named(session, name)
    if crate and not crate.records and form in ("text", "json") and not anonymous:
        said = crate.metadata()
        print_claims(said, name, form, output)
        return 0
    if not crate and form in ("text", "json") and not anonymous and (sweep := sweep_named(session, name)):
        whole = sweep_record(find_sweep(session.tracker, sweep), session.tracker)
        deliver(json_text(whole) if form == "json" else sweep_text(whole), output)
        return 0
    found = of_crate(crate) if crate else named(session, name)
    if form == "text" and len(found) > 1 and not anonymous:
        deliver(listed(found), output)
        return 0
    evidences = gathered(session, found, latest=True)
    if form == CRATE:
        return save_crate(session, name, evidences, crate_asked, output, anonymous=anonymous, as_json=as_json)
    if anonymous:
        evidences = nameless(session, evidences)
    if form == DOCKER_RUN:
        print_docker_run(only(evidences, name, "--docker"), output, as_json)
    elif form == "text":
        only_one = only(evidences, name, "--format text")
        known = [each.key for each in reruns_of(session.tracker, only_one.record.record_id)]
        if output:
            deliver(record_text(only_one.record, only_one.values, known), output)
        else:
            show_rows(record_rows(only_one.record, only_one.values, known))
    else:
        deliver(in_form(evidences, form, name), output)
    return 0


def nameless(session: Session, evidences: Sequence[Evidence]) -> list[Evidence]:
    """The records in their anonymous forms.

    Raises:
        RecordError: one would still hold a name.
    """
    from tfslurm.retrieval.anonymity import without_names  # costly, and seldom asked for

    return without_names(session, [each if each.host else placed(session, each) for each in evidences])


def sweep_named(session: Session, name: str) -> str | None:
    """The sweep that a name stands for as a whole."""
    sweep = one_name(session.tracker, name)
    return sweep if session.tracker.sweeps.named(sweep) else None


def listed(found: Sequence[TrackedJob | Evidence]) -> str:
    """One line for each of several jobs or records."""
    rows = [
        (each.key, each.name, each.state, each.submitted_at)
        if isinstance(each, TrackedJob)
        else (each.key, each.record.experiment.name, each.record.job.state or "", each.record.job.submitted_at or "")
        for each in found
    ]
    return plain_table([("JOB", "EXPERIMENT", "STATE", "SUBMITTED"), *rows]) + "\n"


def print_claims(said: Metadata, name: str, form: str, output: Path | None) -> None:
    """What a crate of another tool says of itself."""
    if form == "json":
        deliver(json_text(claims_json(said, name)), output)
    elif output:
        deliver(rows_text(claims_rows(said, name)), output)
    else:
        show_rows(claims_rows(said, name))


def show_rows(rows: Iterable[Row]) -> None:
    """The rows; on a terminal no line is wider than it, and each status has its colour."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines_of(rows, width):
        show((line.head if line.text else line.head.rstrip(), COLOURS.get(line.status, "")), line.text)


def print_docker_run(evidence: Evidence, output: Path | None, as_json: bool) -> None:
    """The command line, and on stderr what its reader must know.

    Raises:
        RecordError: the record was changed after it was made, which the line does not show; or has not what it needs.
    """
    from tfslurm.export.docker_run import docker_run

    refuse_changed([evidence])
    is_here = evidence.crate and evidence.code and Path(evidence.code).is_dir() and not evidence.crate.is_unpacked
    found = docker_run(evidence.record, code=str(evidence.code) if is_here else "")
    if as_json:
        deliver(json_text({"docker": found.line, "fill": dict(found.fill), "notes": list(found.notes)}), output)
        return
    for place, what in found.fill.items():
        say(f"note: replace {place} by {what}")
    for note in found.notes:
        say(f"note: {note}")
    deliver(f"{found.line}\n", output, is_data=True)


def in_form(evidences: Sequence[Evidence], form: str, name: str) -> str:
    """The records in a form.

    Raises:
        InputError: there are several, and the form is of one.
        RecordError: there is none, or one was changed after it was made, which a standard's form does not show.
    """
    if form in STANDARDS and evidences:
        refuse_changed(evidences)
        return STANDARDS[form]([each.record for each in evidences])
    if form == "json" and len(evidences) > 1:
        return json_text([each.values for each in evidences])
    found = only(evidences, name, f"--format {form}")
    return FORMS[form](found.record, found.values)


def only(evidences: Sequence[Evidence], name: str, wanted: str) -> Evidence:
    """The one record.

    Raises:
        InputError: there are several.
        RecordError: there is none.
    """
    if not evidences:
        raise RecordError(f"{name}: none of its jobs has a record that can be read")
    if len(evidences) > 1:
        some = ", ".join(each.key for each in evidences[:5])
        raise refuse(name, f"stands for {len(evidences)} records: {some}", f"name one of them for {wanted}")
    return evidences[0]
