"""Paragraphs and tables -> plain text, Markdown, LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tfslurm.document.tree import printable
from tfslurm.export.citation.settings import key
from tfslurm.export.citation.statement import Mark, Paragraph, Table
from tfslurm.export.citation.tex import breakable, special
from tfslurm.export.markdown import code_span, escaped, table

COLUMNS = 100
SHARES = (0.03, 0.06, 0.25, 0.13, 0.12, 0.19, 0.11)
"Of the width of the text, for the columns of a table; 42 pt are left between them."


def text(parts: Sequence[Paragraph | Table]) -> str:
    """Lines of at most 100 columns, where no name or digest is broken."""
    return "\n".join(_plain(part) for part in parts)


def _plain(part: Paragraph | Table) -> str:
    if isinstance(part, Table):
        rows = [part.headers, *part.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "".join(f"{printable(line)}\n" for line in lines)
    whole = "".join(_doi(piece) if isinstance(piece, Mark) else piece for piece in part)
    wrapped = textwrap.wrap(printable(whole), COLUMNS, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{line}\n" for line in wrapped)


def _doi(mark: Mark) -> str:
    return f"https://doi.org/{mark.text}" if mark.kind == "tensorflow" else mark.text


def markdown(parts: Sequence[Paragraph | Table]) -> str:
    """Paragraphs for a README or an appendix."""
    return "\n".join(_table_lines(part) if isinstance(part, Table) else _marked_down(part) for part in parts)


def _marked_down(part: Paragraph) -> str:
    return "".join(_code_span(piece) if isinstance(piece, Mark) else escaped(piece) for piece in part) + "\n"


def _code_span(mark: Mark) -> str:
    if mark.kind == "tensorflow":
        return f"[doi:{mark.text}](https://doi.org/{mark.text})"
    return code_span(mark.text)


def _table_lines(part: Table) -> str:
    headers, *rows = ([escaped(cell) for cell in row] for row in (part.headers, *part.rows))
    return table(headers, rows).removesuffix("\n")


def latex(parts: Sequence[Paragraph | Table]) -> str:
    """Paragraphs that need no package; the keys of their \\cite are those of the BibTeX entries."""
    head = "% needs no package; `tfslurm cite --format bibtex` (or biblatex) prints the entries that are cited\n"
    return head + "\n".join(_tabular(part) if isinstance(part, Table) else _paragraph(part) for part in parts)


def _paragraph(part: Paragraph) -> str:
    """Digests give a line little to stretch: TeX may leave wide blanks rather than run over the margin."""
    return f"\\begin{{sloppypar}}\n{''.join(_set(part))}\n\\end{{sloppypar}}\n"


def _set(part: Paragraph) -> Iterator[str]:
    for place, piece in enumerate(part):
        if not isinstance(piece, Mark):
            yield special(piece)
        elif piece.kind == "tensorflow":
            yield rf"\texttt{{doi:{breakable(piece.text)}}}~\cite{{tensorflow}}"
        else:
            digest = next((each.text for each in part[place:] if isinstance(each, Mark) and "sha256:" in each.text), "")
            cited = rf"~\cite{{{key('image', digest)}}}" if piece.kind == "image" and digest else ""
            yield rf"\texttt{{{breakable(piece.text)}}}{cited}"


def _tabular(part: Table) -> str:
    columns = "".join(f"p{{{share}\\textwidth}}" for share in SHARES)
    head, *rows = (" & ".join(f"\\raggedright {breakable(cell)}" for cell in row) for row in (part.headers, *part.rows))
    body = "".join(f"{row} \\tabularnewline\n" for row in rows)
    return (
        "\\begin{table*}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\begin{{tabular}}{{{columns}}}\n{head} \\tabularnewline \\hline\n{body}\\end{{tabular}}\n\\end{{table*}}\n"
    )
