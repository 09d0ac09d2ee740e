r"""Text of any origin -> text that a terminal shows as it is: what would act on the terminal, or hide, is written out.

A program, a job's reason, a file's name may hold escape sequences that set the title, clear the screen or overwrite a
line, and characters that turn the order of the text round or cannot be seen. They become `\x1b`, `\u202e`.
Source: Unicode's general categories: control, format, surrogate, private use, unassigned, line and paragraph separator.
"""

from __future__ import annotations

import re
from unicodedata import category

# Blank although their category is that of a letter, a mark or a symbol.
_UNSEEN = frozenset("\u034f\u115f\u1160\U00016fe4\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U0001d159")
_SYMBOL_CHOOSERS = "\ufe0e\ufe0f"  # of a symbol: whether it is drawn as a text or in colours
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000").union(map(chr, range(0x2000, 0x200B)))  # blanks: seen as such
MOST_MARKS = 4
"On one letter: more of them would cover the lines above and below."
# Colours and weights; not 8, which hides what follows. Source: ECMA-48, 8.3.117; ITU-T T.416, 13.1.8.
_CODE = (
    r"(?:[345]8(?:;5;[0-9]{1,3}|;2(?:;[0-9]{1,3}){3}|:[25](?::[0-9]{0,3}){1,5})"
    r"|4:[0-5]|0{0,2}(?:[0-79]|[1-9][0-79]|[12679]8|10[0-7])?)"
)
_COLOUR = rf"\x1b\[{_CODE}(?:;{_CODE}){{0,20}}m"
_PLAIN = r"\x1b\[[0;]*m"


def visible(text: str, keep: str = "\n\t") -> str:
    """The text, with escapes in place of the characters that do not stand for themselves, but for those in ``keep``."""
    bare = text
    for char in keep:
        bare = bare.replace(char, "")
    if bare.isascii() and bare.isprintable():
        return text
    shown, before, marks = [], "", 0
    for char in text:
        if char not in keep and _is_mark(char):
            marks += 1
            stays = bool(before) and marks <= MOST_MARKS and _is_seen(char, before)
        else:
            marks, stays = 0, char in keep or _is_seen(char, before)
            before = char if stays and char not in keep and not char.isspace() else ""
        shown.append(char if stays else _written(char))
    return "".join(shown)


def visible_output(text: str) -> str:
    """The output of a program, for a terminal: its colours, and the return and backspace of its progress bars, stay.

    Return and backspace reach no further than their line, colours no further than this text.
    """
    shown, end, last = [], 0, ""
    for found in re.finditer(_COLOUR, text):
        last = found[0]
        shown += [visible(text[end : found.start()], "\n\t\r\b"), last]
        end = found.end()
    is_open = bool(last) and not re.fullmatch(_PLAIN, last)
    return "".join([*shown, visible(text[end:], "\n\t\r\b"), "\x1b[0m" if is_open else ""])


def visible_json(text: str) -> str:
    """A JSON text that means the same, with `\\uXXXX` for every such character; no blank in it but `\\n` and spaces."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char == "\n" or _is_seen(char) else _json_escape(char) for char in text)


def _is_mark(char: str) -> bool:
    """Whether it takes no place of its own; vowels and finals of Korean that follow their consonant are such too."""
    if char < "\u0300":
        return False
    return category(char) in ("Mn", "Me") or "\u1161" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff"


def _is_seen(char: str, before: str = "") -> bool:
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":  # a form of what is before
        return char in _SYMBOL_CHOOSERS and before != "" and category(before)[0] == "S"
    return char not in _UNSEEN if char.isprintable() else char in _SPACES


def _written(char: str) -> str:
    return ascii(char)[1:-1]


def _json_escape(char: str) -> str:
    pair = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[start : start + 4]}" for start in range(0, len(pair), 4))
