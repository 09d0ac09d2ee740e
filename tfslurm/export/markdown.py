"""Texts of any origin -> Markdown that shows them as they are: GitHub's, which CommonMark and pandoc read too. Pure.

In a code span and a fenced block nothing is interpreted, no link is made of an address, and nobody is mentioned; so
whatever a record, a file or a cluster said stands in one of them.
Source: GitHub Flavored Markdown Spec 0.29, 4.5, 4.10, 6.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tfslurm.document.tree import printable

MOST_CELL = 200
"Characters of a cell."
MOST_LINE = 1000
"Characters of a line of a block."


def escaped(words: str) -> str:
    """Words of a sentence, of which none is interpreted."""
    return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", printable(words))


def code_span(text: str) -> str:
    """A text as it is, on one line; '' of no text."""
    shown = printable(text)
    if not shown:
        return ""
    fence = "`" * (1 + longest_run(shown))
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def quoted(text: str) -> str:
    """A text as it is, in a sentence, cut to what a reader takes in."""
    return code_span(shortened(text, MOST_CELL))


def cell(text: str) -> str:
    """A text as it is, in a table, cut to what a reader takes in.

    A bar ends a cell even in a code span, and ``\\|`` does where a backslash stands before it: such a text is HTML.
    """
    shown = shortened(text, MOST_CELL)
    if "|" not in shown:
        return code_span(shown)
    coded = (char if char.isalnum() or not char.isascii() else f"&#{ord(char)};" for char in printable(shown))
    return f"<code>{''.join(coded)}</code>"


def shortened(text: str, most: int) -> str:
    """The text, or its beginning with a sign that more follows."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, and the blank line after it; the cells are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def block(lines: Iterable[str]) -> str:
    """Lines as they are, and the blank line after them; nothing of no lines."""
    shown = [printable(shortened(line, MOST_LINE)) for line in lines]
    if not shown:
        return ""
    fence = "`" * max(3, 1 + max(map(longest_run, shown)))
    return "".join(f"{line}\n" for line in (f"{fence}text", *shown, fence, ""))


def longest_run(text: str) -> int:
    """The most backticks that stand beside each other."""
    return max((len(run) for run in re.findall("`+", text)), default=0)
