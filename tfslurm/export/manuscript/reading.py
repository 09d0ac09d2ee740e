"""The source of a manuscript, in TeX, Markdown or plain words, as the text that a reader sees, line by line."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

IGNORED = re.compile(r"^.*tfslurm: not ours.*$", re.MULTILINE)
"A line with these words, in a comment, speaks of somebody else's runs."

TEX = re.compile(
    r"(?P<comment>(?<!\\)%[^\n]*(?:\n[ \t]*)?)"
    r"|(?P<elsewhere>\\(?:label|(?:eq|auto|c|C|page)?ref|[a-zA-Z]*cite[a-zA-Z]*|includegraphics|input|include"
    r"|bibliography(?:style)?|usepackage|documentclass|begin|end)\*?(?:\[[^][]*\])?\{[^{}]*\})"
    r"|(?P<glue>\\(?:allowbreak|linebreak|nolinebreak|hspace\*?\{[^{}]*\}|penalty[0-9]+)(?![a-zA-Z])\s*(?:\{\})?|\\[-/])"
    r"|(?P<blank>~|\\[,;:! ]|\\(?:quad|qquad|par|newline|thinspace)(?![a-zA-Z])|\\\\)"
    r"|\\(?P<itself>[%&#_{}$])"
    r"|(?P<pm>\\pm(?![a-zA-Z]))"
    r"|(?P<times>\\times(?![a-zA-Z]))"
    r"|(?P<command>\\[a-zA-Z@]+\*?[ \t]*)"
    r"|(?P<mark>[{}$])"
)
MARKDOWN = re.compile(r"(?P<mark>[`*|\\])|(?P<blank>&nbsp;)|(?P<pm>&plusmn;)")
STANDS_FOR = {"blank": " ", "elsewhere": " ", "pm": "±", "times": "×"}


class Manuscript(NamedTuple):
    """The text without marks, white space as single blanks, and where in it each piece of the source begins."""

    text: str
    starts: tuple[int, ...]
    lines: tuple[int, ...]

    def line(self, place: int) -> int:
        """The line of the source, from 1, that a place of the text stands on."""
        return self.lines[bisect_right(self.starts, place) - 1]


def read_manuscript(source: str, *, is_tex: bool) -> Manuscript:
    """The source as text."""
    source = IGNORED.sub(lambda found: " " * len(found[0]), source)
    pieces: list[str] = []
    starts, lines = [0], [1]
    length, line, place, is_blank = 0, 1, 0, True

    def add(words: str) -> None:
        nonlocal length, is_blank
        for part in re.split(r"(\s+)", words):
            shown = part if part.strip() else " " * (bool(part) and not is_blank)
            if shown:
                starts.append(length)
                lines.append(line)
                pieces.append(shown)
                length += len(shown)
                is_blank = shown == " "
            nextline(part)

    def nextline(part: str) -> None:
        nonlocal line
        line += part.count("\n")

    for found in (TEX if is_tex else MARKDOWN).finditer(source):
        add(source[place : found.start()])
        kind = found.lastgroup or ""
        _put(kind, found, add, nextline)
        place = found.end()
    add(source[place:])
    return Manuscript("".join(pieces), tuple(starts), tuple(lines))


def _put(kind: str, found: re.Match[str], add: Callable[[str], None], nextline: Callable[[str], None]) -> None:
    """What a mark of the source stands for in the text."""
    if kind == "itself":
        add(found["itself"])
        return
    if words := STANDS_FOR.get(kind, ""):
        add(words)
    nextline(found[0])
