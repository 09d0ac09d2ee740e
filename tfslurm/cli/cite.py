"""tfslurm cite."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import common, deliver, json_text, say
from tfslurm.export.citation import FORMS, LANGUAGES, citation
from tfslurm.export.citation.settings import Authorship, settings_of
from tfslurm.retrieval.cited_records import cited_records
from tfslurm.workspace.authorship import authorship
from tfslurm.workspace.session import Session


@click.command()
@click.argument("names", metavar="JOB|SWEEP|RECORD...", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="Default: text.")
@click.option("--lang", "language", type=click.Choice(LANGUAGES), default="en", help="Default: en.")
@click.option("--anonymous", is_flag=True, help="Leave out what says who you are, for a double-blind review.")
@click.option("--author", "authors", multiple=True, metavar='"FAMILY, GIVEN (ORCID)"', help="An author of the code.")
@click.option("--title", default="", help="Of the code; default: the experiment's name.")
@click.option("--license", "licence", default="", metavar="SPDX", help="Of the code, such as Apache-2.0.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of stdout.")
@common
def cite(
    session: Session,
    names: tuple[str, ...],
    form: str,
    language: str,
    anonymous: bool,
    authors: tuple[str, ...],
    title: str,
    licence: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the statement of the environment for a paper, or its entries for a bibliography.

    It says only what was observed when the jobs ran. Jobs with the same image, software, GPUs and driver are one group;
    of a sweep, the points that COMPLETED count. RECORD is a file that `tfslurm provenance --json` wrote.

    Authors, title and license of the code come from these options, else from CITATION.cff in this folder, else from
    git's user.name.
    """
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
