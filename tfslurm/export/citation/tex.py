"""Text -> what TeX prints as that text."""

from __future__ import annotations

import re

from tfslurm.document.tree import printable

_PIECES = re.compile(r"(?:[0-9a-f]{8}(?=[0-9a-f]{8}|[^0-9a-zA-Z]|$)|[^/:@._-]{1,12})[/:@._-]*|[/:@._-]+")
"What stays together on a line: 8 digits of a digest, 12 characters of a name. 64 digits run 130 pt over a column."
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    **{stop: f"{stop}\\allowbreak " for stop in "、，。；："},  # before a Latin word CJK breaks no line by itself
    **{character: f"\\{character}" for character in "{}$&#%_"},
}


def special(words: str) -> str:
    """The text with what TeX would act on written out."""
    return "".join(SPECIAL.get(character, character) for character in printable(words))


def breakable(words: str) -> str:
    """Names, commands or digests that may be broken without a hyphen, so that no line of a narrow column runs over."""
    return " ".join(
        r"\allowbreak ".join(special(piece) for piece in _PIECES.findall(word)) for word in printable(words).split(" ")
    )
