"""The citation of jobs, sweeps and records, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfslurm.api.jobs import Job
from tfslurm.api.session import session
from tfslurm.api.sweeps import Sweep
from tfslurm.errors import refuse
from tfslurm.export.citation import FORMS, LANGUAGES, citation
from tfslurm.export.citation.settings import Authorship, settings_of
from tfslurm.record import Record
from tfslurm.retrieval.cited_records import cited_records
from tfslurm.workspace.authorship import authorship


def cite(
    *what: Job | Sweep | Record | str | Path,
    format: str = "text",
    lang: str = "en",
    anonymous: bool = False,
    authors: Sequence[str] = (),
    title: str = "",
    license: str = "",
) -> str:
    """Return the statement of the environment of jobs, sweeps and records for a paper, as ``tfslurm cite`` prints it.

    Args:
        what: jobs, sweeps, records, their names, or files with a record.
        format: text, markdown, latex, bibtex, biblatex or cff.
        lang: en or zh.
        anonymous: leave out what says who you are.
        authors: of the code, 'Family, Given (ORCID)'; by default those of ./CITATION.cff, else git's user.
        title: of the code; by default the experiment's name.
        license: of the code, a name of SPDX.

    Raises:
        InputError: an argument is wrong.
        RecordError: nothing was observed that can be stated, or a record in a file was changed.
    """
    for name, value, known in (("format", format, FORMS), ("lang", lang, LANGUAGES)):
        if value not in known:
            raise refuse(name, f"{value!r} is not known", f"one of {', '.join(known)}")
    by = Authorship(title=title, licence=license) if anonymous else authorship(Path(), authors, title, license)
    records = [each for each in what if isinstance(each, Record)]
    names = [named(each) for each in what if not isinstance(each, Record)]
    settings = settings_of([*cited_records(session(), names), *records])
    return citation(settings, format, language=lang, anonymous=anonymous, by=by)


def named(what: Job | Sweep | str | Path) -> str:
    """The word that means the same on the command line."""
    if isinstance(what, Job):
        return what.key
    if isinstance(what, Sweep):
        return what.id
    return what if isinstance(what, str) else str(what.absolute())
