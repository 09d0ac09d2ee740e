"""Records -> the statement of their environment for a paper, in the form that the paper needs. Pure.

settings      what the records observed, as groups of runs with the same image, software, GPUs and driver
statement     settings -> paragraphs of text, code and digests, in English or Chinese
markup        paragraphs -> plain text, Markdown, LaTeX
bibliography  settings -> BibTeX, biblatex
cff           settings -> CITATION.cff

Nothing is stated that a record did not observe: what was not seen is left out, or named as not observed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.export.citation.bibliography import biblatex, bibtex
from tfslurm.export.citation.cff import citation_file
from tfslurm.export.citation.markup import latex, markdown, text
from tfslurm.export.citation.settings import Authorship, settings_of
from tfslurm.export.citation.statement import statement
from tfslurm.record import Record

FORMS = ("text", "markdown", "latex", "bibtex", "biblatex", "cff")
LANGUAGES = ("en", "zh")


def citation(
    records: Sequence[Record], form: str, *, language: str = "en", anonymous: bool = False, by: Authorship | None = None
) -> str:
    """The citation of these runs, with a line end after it. ``by`` names the authors of the code.

    ``anonymous`` leaves out clusters, job ids, the code's origin, its authors and every registry that is not public.

    Raises:
        RecordError: no program of these runs began in an image that the node had verified.
        InputError: a CITATION.cff without authors.
    """
    settings = settings_of(records)
    by = Authorship() if by is None else by
    if form == "bibtex":
        return bibtex(settings, by, anonymous=anonymous)
    if form == "biblatex":
        return biblatex(settings, by, anonymous=anonymous)
    if form == "cff":
        return citation_file(settings, by, anonymous=anonymous)
    written = {"text": text, "markdown": markdown, "latex": latex}[form]
    return written(statement(settings, language, anonymous=anonymous))
