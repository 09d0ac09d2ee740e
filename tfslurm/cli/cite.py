"""tfslurm cite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tfslurm.cli.console import deliver, emit, json_text, say, show
from tfslurm.cli.options import common
from tfslurm.export.citation import FORMS, LANGUAGES, citation
from tfslurm.export.citation.settings import Authorship, settings_of
from tfslurm.retrieval.cited_records import cited_records
from tfslurm.workspace.authorship import authorship
from tfslurm.workspace.session import Session


@click.command()
@click.argument("names", metavar="JOB|SWEEP|RECORD|CRATE...", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="Default: text.")
@click.option("--lang", "language", type=click.Choice(LANGUAGES), default="en", help="Default: en.")
@click.option("--anonymous", is_flag=True, help="Leave out what says who you are, for a double-blind review.")
@click.option("--author", "authors", multiple=True, metavar='"FAMILY, GIVEN (ORCID)"', help="An author of the code.")
@click.option("--title", default="", help="Of the code; default: the experiment's name.")
@click.option("--license", "licence", default="", metavar="SPDX", help="Of the code, such as Apache-2.0.")
@click.option(
    "--check",
    "manuscripts",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Print what a manuscript (TeX, Markdown, text) says that the records do not. Repeatable.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of stdout.")
@common
def cite(
    session: Session,
    names: tuple[str, ...],
    manuscripts: tuple[Path, ...],
    form: str,
    language: str,
    anonymous: bool,
    authors: tuple[str, ...],
    title: str,
    licence: str,
    output: Path | None,
    as_json: bool,
) -> int:
    """Print the statement of the environment for a paper, or its entries for a bibliography.

    It says only what was observed when the jobs ran. Jobs with the same image, software, GPUs and driver are one group;
    of a sweep, the points that COMPLETED count. RECORD is a file that `tfslurm provenance --json` wrote. A job
    may be named as for `tfslurm provenance`: by its image, commit or run folder too.

    Authors, title and license of the code come from these options, else from CITATION.cff in this folder, else from
    git's user.name.

    --check looks for digests, tags, versions, GPUs, seeds and values of metrics in a manuscript, and holds each against
    the records; a line with `tfslurm: not ours` is passed over. The exit code is 1 if one differs.
    """
    if manuscripts and output:
        raise click.UsageError("--check prints its findings; -o is for the statement: one of the two")
    if manuscripts:
        return check(session, names, manuscripts, as_json)
    by = Authorship(title=title, licence=licence) if anonymous else authorship(Path(), authors, title, licence)
    settings = settings_of(cited_records(session, names))
    text = citation(settings, form, language=language, anonymous=anonymous, by=by)
    if form not in ("text", "markdown", "latex"):
        for job, why in settings.left_out:
            say(f"note: {job}: nothing is stated of it: {why}")
    if as_json:
        runs = [[f"{run.job.cluster}:{run.job.job_id}" for run in group.runs] for group in settings.groups]
        deliver(json_text({"format": form, "citation": text, **({} if anonymous else {"groups": runs})}), output)
    else:
        deliver(text, output)
    return 0


def check(session: Session, names: Sequence[str], manuscripts: Sequence[Path], as_json: bool) -> int:
    """Print what manuscripts say, the exit code: whether all of it agrees."""
    from tfslurm.retrieval.manuscripts import check_manuscripts

    found = check_manuscripts(session, names, manuscripts)
    if as_json:
        emit([{"file": str(file), **each._asdict()} for file, findings in found.items() for each in findings])
    for file, findings in found.items():
        for each in () if as_json else findings:
            if each.status != "agrees":
                words = f"{file}:{each.line}: {each.words!r}: {each.records}"
                show((f"{each.status:<13}", "red" if each.status == "differs" else "yellow"), words)
        agree = sum(each.status == "agrees" for each in findings)
        say(f"{file}: {len(findings)} statements that a record could know, {agree} agree")
    return int(any(each.status == "differs" for findings in found.values() for each in findings))
