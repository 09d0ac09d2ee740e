"""The shell programs that run on a cluster's login node: the files of job_templates/remote, as words for a `Host`.

A program travels as one word whose line breaks are escaped, because tcsh as a login shell takes none within quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

# --norc: a bash that sshd started reads .bashrc even for -c; -p: none reads BASH_ENV. What they print would stand in
# the answer.
SHELLS = {"#!/bin/sh": ("sh",), "#!/bin/bash": ("bash", "--norc", "-p")}
PART = re.compile(r"\. \./([a-z-]+)\.sh")


def program(name: str, *words: str) -> tuple[str, ...]:
    """Return the argv that runs job_templates/remote/NAME.sh with these words as $1, $2 …"""
    shell, text = packed(name)
    return (*shell, "-c", one_line("eval-program"), f"{name}.sh", text, *words)


@cache
def packed(name: str) -> tuple[tuple[str, ...], str]:
    """The shell that a program is for, and its text with the parts that it names, escaped for `printf %b`."""
    lines = "\n".join(lines_of(name, set()))
    return SHELLS[text_of(name).partition("\n")[0]], lines.replace("\\", "\\\\").replace("\n", "\\n")


@cache
def one_line(name: str) -> str:
    """A program whose lines are written so that they can stand on one."""
    return " ".join(lines_of(name, set()))


def lines_of(name: str, included: set[str]) -> Iterator[str]:
    """The lines that do something; each part once, where it is first named."""
    for line in map(str.strip, text_of(name).splitlines()):
        if part := PART.fullmatch(line):
            if part[1] not in included:
                included.add(part[1])
                yield from lines_of(part[1], included)
        elif line and not line.startswith("#"):
            yield line


def text_of(name: str) -> str:
    """The file as it was installed."""
    return packaged(f"remote/{name}.sh")


@cache
def packaged(name: str) -> str:
    """The text of a file of job_templates; not by importlib.resources, whose import takes longer than a command may."""
    (folder,) = import_module("tfslurm.job_templates").__path__
    return Path(folder, name).read_text("utf-8")
