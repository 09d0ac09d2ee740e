"""Records -> the statement of their environment for a paper, in the form that the paper needs. Pure.

settings      what the records observed, as groups of runs with the same image, software, GPUs and driver
statement     settings -> paragraphs of text, code and digests, in English or Chinese
markup        paragraphs -> plain text, Markdown, LaTeX
bibliography  settings -> BibTeX, biblatex
cff           settings -> CITATION.cff

Nothing is stated that a record did not observe: what was not seen is left out, or named as not observed.
"""

from __future__ import annotations

from tfslurm.export.citation.bibliography import biblatex, bibtex
from tfslurm.export.citation.cff import citation_file
from tfslurm.export.citation.markup import latex, markdown, text
from tfslurm.export.citation.settings import Authorship, Settings
from tfslurm.export.citation.statement import statement

FORMS = ("text", "markdown", "latex", "bibtex", "biblatex", "cff")
LANGUAGES = ("en", "zh")


def citation(
    settings: Settings, form: str, *, language: str = "en", anonymous: bool = False, by: Authorship | None = None
) -> str:
    """The citation of the runs in ``settings_of(records)``, with a line end after it. ``by`` names the code's authors.

    ``anonymous`` leaves out clusters, job ids, the code's origin, its authors and every registry that is not public.

    Raises:
        InputError: a CITATION.cff without authors.
    """
    by = Authorship() if by is None else by
    if form == "bibtex":
        return bibtex(settings, by, anonymous=anonymous)
    if form == "biblatex":
        return biblatex(settings, by, anonymous=anonymous)
    if form == "cff":
        return citation_file(settings, by, anonymous=anonymous)
    written = {"text": text, "markdown": markdown, "latex": latex}[form]
    return written(statement(settings, language, anonymous=anonymous))
