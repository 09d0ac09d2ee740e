"""The lines of ssh's configuration files, with the file and number of each. Source: ssh_config(5)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import HostError

DEEPEST = 16
"How many files may include each other, as in OpenSSH."
SYSTEM = Path("/etc/ssh/ssh_config")
COMMANDS = frozenset(("proxycommand", "localcommand", "remotecommand", "knownhostscommand"))
"Keywords whose value is the rest of the line, for a shell."

OTHER_NAMES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
}
"Names that keywords had before."


class Line(NamedTuple):
    """One setting: its keyword in small letters, and its value as it stands there."""

    file: Path
    number: int
    key: str
    value: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of the value, free of quotes and without a comment.

        Raises:
            HostError: a quote is not closed.
        """
        if self.key in COMMANDS:
            return [self.value]
        try:
            return words_of(self.value)
        except ValueError as error:
            raise self.wrong(str(error), "close it") from None

    def wrong(self, why: str, fix: str) -> HostError:
        """The error for this line."""
        return HostError(f"{self.file}:{self.number}: `{self.text[:200]}`: {why}; {fix}")


def words_of(text: str) -> list[str]:
    r"""Return the words of a line up to its comment; ``"a b"``, ``'a b'`` and ``a\ b`` are one word, as in OpenSSH.

    Raises:
        ValueError: a quote is not closed.
    """
    words, word, quote, place = [], "", "", 0
    is_open = False
    while place < len(text):
        letter, after = text[place], text[place + 1 : place + 2]
        if letter == "\\" and after and (after in "\"'\\" or (not quote and after == " ")):
            word, place, is_open = word + after, place + 1, True
        elif letter in "\"'" and quote in ("", letter):
            quote, is_open = ("" if quote else letter), True
        elif not quote and letter in " \t":
            words += [word] if is_open else []
            word, is_open = "", False
        elif not quote and not is_open and letter == "#":
            break
        else:
            word, is_open = word + letter, True
        place += 1
    if quote:
        raise ValueError("a quote is not closed")
    return [*words, word] if is_open else words


def lines_of(file: Path, home: Path) -> Iterator[Line]:
    """Yield the settings of one file; one that does not exist has none.

    Raises:
        HostError: it is in the user's home, and others may write in it: ssh refuses it too.
    """
    try:
        text = file.read_text("utf-8", "replace")
        status = file.stat()
    except OSError:
        return
    if home in file.parents and (
        status.st_uid not in (0, os.getuid(), home.stat().st_uid) or stat.S_IMODE(status.st_mode) & 0o022
    ):
        raise HostError(f"{file}: others may change it, so ssh does not use it; chmod 600 {file}")
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"""\s*"?([A-Za-z][A-Za-z0-9]*)"?(?:[ \t]*=[ \t]*|[ \t]+|$)(.*?)\s*$""", line)
        key, value = (found[1].lower(), found[2]) if found else ("", line.strip())
        yield Line(file, number, key, value, line.strip())


def included(patterns: Sequence[str], base: Path, home: Path) -> Iterator[Path]:
    """Yield the files that an Include names; ``base`` is where a name without a folder is looked up."""
    for pattern in patterns:
        path = Path(at_home(pattern, home))
        root, relative = (Path("/"), str(path)[1:]) if path.is_absolute() else (base, str(path))
        yield from sorted(root.glob(relative)) if relative else ()


def at_home(path: str, home: Path) -> str:
    """Return a path whose ``~`` is replaced."""
    if path == "~" or path.startswith("~/"):
        return f"{home}{path[1:]}"
    return os.path.expanduser(path)  # noqa: PTH111  (~name, and a path may be relative)
