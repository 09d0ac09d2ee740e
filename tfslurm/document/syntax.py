"""The characters that a YAML text must not hold, and the parser's complaints in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tfslurm.errors import Problem

MAX_DEPTH = 40

_BREAK = re.compile(r"\r\n|\r|\n")
# YAML takes U+0085, U+2028 and U+2029 as line breaks where a person sees none; U+FEFF is a byte order mark.
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_MOST_LINES = 10

# A part of the parser's words (libyaml's or PyYAML's own), what to say instead, the fix; the first that fits.

_WORDS = (
    ("maximum nesting depth", f"is nested deeper than {MAX_DEPTH} levels", ""),  # libyaml's own bound is 1000
    ("mapping values are not", "a `: ` stands where no key can", "put the text in quotes, or check the indentation"),
    ("unknown escape", "a backslash in double quotes begins an escape that YAML does not know", "use single quotes"),
    ("character escape", "a backslash in double quotes names a character that does not exist", "use single quotes"),
    ("escape sequence", "a backslash in double quotes begins an escape that is not complete", "use single quotes"),
    ("expected ':'", "a line without `:` stands among keys", "write `key: value`, or put a long text in quotes"),
    ("',' or ']'", "the list opened with [ is not closed", "add the ] or the comma that is missing"),
    ("',' or '}'", "the mapping opened with { is not closed", "add the } or the comma that is missing"),
    ("block scalar", "the text after | or > is not laid out as YAML wants", "begin it on the next line, indented"),
    ("tag", "a text that begins with ! is read as a tag", "write the value in quotes"),
    ("alphabetic or numeric", "a text that begins with & or * is read as an anchor", "write the value in quotes"),
    (
        "expected",
        "the line does not line up with the lines above it",
        "indent keys of one mapping equally; put a text that holds `: ` in quotes",
    ),
)
_BEGIN = ("expected ':'", "',' or ']'", "',' or '}'")  # told at the line where the unfinished thing began


def characters(text: str, file: str) -> Iterator[Problem]:
    """One problem for each line that holds control characters or bytes that are not UTF-8 (the first ten lines)."""
    found: dict[int, str] = {}
    line, counted = 1, 0
    for match in _FORBIDDEN.finditer(text):
        line += len(_BREAK.findall(text, counted, match.start()))
        counted = match.start()
        found.setdefault(line, match[0])
        if len(found) > _MOST_LINES:
            break
    for line, char in list(found.items())[:_MOST_LINES]:
        if "\ud800" <= char <= "\udfff":
            yield Problem(file, line, "", "holds bytes that are not UTF-8", "save the file as UTF-8")
        else:
            fix = f'remove it, or write "\\u{ord(char):04x}" in double quotes' if char != "\0" else "remove it"
            yield Problem(file, line, "", f"holds the control character U+{ord(char):04X}", fix)


def syntax_problem(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """The parser's complaint: the line to look at, what is wrong there, the fix."""
    said, lines = f"{error.problem} {error.context or ''}", _BREAK.split(text)
    mark = error.problem_mark
    row, column = (min(mark.line, len(lines) - 1), mark.column) if mark else (0, 0)
    began = error.context_mark.line + 1 if error.context_mark else row + 1
    if re.match(r" *\t", lines[row]):
        return row + 1, "is indented with a tab", "use spaces; YAML does not take tabs there"
    if "'\\t'" in said or ("cannot start any token" in said and lines[row][column:].startswith("\t")):
        return row + 1, "a tab stands where YAML takes only spaces", "write spaces"
    if "end of stream" in said or "document indicator" in said:
        return began, "a quote is opened and never closed", "add the closing quote"
    if "cannot start any token" in said:
        char = lines[row][column : column + 1]
        return row + 1, f"a plain text cannot begin with {char}", "write the value in quotes"
    for part, why, fix in _WORDS:
        if part in said:
            return (began if part in _BEGIN else row + 1), why, fix
    return row + 1, f"cannot be read as YAML: {error.problem}", ""
