r"""Text of any origin -> text that a terminal shows as it is: what would act on the terminal, or hide, is written out.

A program, a job's reason, a file's name may hold escape sequences that set the title, clear the screen or overwrite a
line, and characters that turn the order of the text round or cannot be seen. They become `\x1b`, `\u202e`.
Source: Unicode's general categories: control, format, surrogate, private use, unassigned, line and paragraph separator.
"""

from __future__ import annotations

import re

# Blank although their category is that of a letter, a mark or a symbol; and marks that choose a form of what is before.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_CHOOSERS = range(0xE0100, 0xE01F0)
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # blanks: seen as such
_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,40}m")


def visible(text: str, keep: str = "\n\t") -> str:
    """The text, with escapes in place of the characters that do not stand for themselves, but for those in ``keep``."""
    bare = text
    for char in keep:
        bare = bare.replace(char, "")
    if bare.isascii() and bare.isprintable():
        return text
    return "".join(char if char in keep or _is_seen(char) else _written(char) for char in text)


def visible_output(text: str) -> str:
    """What a program prints, for a terminal: its colours, and the return and backspace of its progress bars, stay.

    They reach no further than the line that they stand in.
    """
    shown, end = [], 0
    for found in _COLOUR.finditer(text):
        shown += [visible(text[end : found.start()], "\n\t\r\b"), found[0]]
        end = found.end()
    return "".join([*shown, visible(text[end:], "\n\t\r\b")])


def visible_json(text: str) -> str:
    """A JSON text that means the same, with `\\uXXXX` for every such character; no blank in it but `\\n` and spaces."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char == "\n" or _is_seen(char) else _json_escape(char) for char in text)


def _is_seen(char: str) -> bool:
    if char.isprintable():
        return char not in _UNSEEN and ord(char) not in _CHOOSERS
    return bool(_SPACES.match(char))


def _written(char: str) -> str:
    return ascii(char)[1:-1]


def _json_escape(char: str) -> str:
    pair = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[start : start + 4]}" for start in range(0, len(pair), 4))
