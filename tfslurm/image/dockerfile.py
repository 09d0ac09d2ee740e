"""A user's Dockerfile: which images it is made of, and the text that is built, in which each has its digest. Pure.

Source: docs.docker.com/reference/dockerfile, "Format", "FROM", "Here-documents", "Parser directives".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tfslurm.document import nearest, show
from tfslurm.errors import InputError, Problem
from tfslurm.image.reference import parse_reference

MOST_BYTES = 2**16
STAGE = "tfslurm-packages"
"The stage of what `apt` and `pip` add: a Dockerfile of the user's own begins with it."
FOLDER = ".tfslurm-build"
"The folder of the context, and of the image while it is built, with what only the build needs; in no layer at last."
_COMMENT = re.compile(r"\s*(#.*)?")
_DIRECTIVE = re.compile(r"\s*#\s*(?P<name>[a-z]+)\s*=\s*(?P<value>\S+)\s*", re.IGNORECASE)
_HERE = re.compile(r"<<-?[\"']?(?P<end>[A-Za-z_]\w*)[\"']?")
_FROM = re.compile(
    r"\s*FROM\s+(?P<flags>(?:--\S+\s+)*)(?P<image>\S+)(?:\s+AS\s+(?P<name>[A-Za-z0-9_.-]+))?\s*", re.IGNORECASE
)
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_OTHER = re.compile(r"--from=(?P<copied>\S+)|--mount=\S*\bfrom=(?P<mounted>[^,\s]+)")
INSTRUCTIONS = frozenset(
    (
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    )
)
_BASE = ("$BASE", "${BASE}")


class Statement(NamedTuple):
    """One instruction: its first line from 1, its last, its word in capitals, and its text without line breaks."""

    line: int
    last: int
    word: str
    text: str


def statements(text: str) -> Iterator[Statement]:
    """The instructions of a Dockerfile in order; comments, blank lines and the lines of here-documents are none."""
    lines = text.splitlines()
    mark = escape_of(lines)
    place = 0
    while place < len(lines):
        first = place
        if _COMMENT.fullmatch(lines[place]):
            place += 1
            continue
        whole = lines[place].rstrip()
        while whole.endswith(mark) and place + 1 < len(lines):
            place += 1
            if not _COMMENT.fullmatch(lines[place]):
                whole = whole[: -len(mark)] + lines[place].rstrip()
        place += 1
        word = (whole.split(maxsplit=1) or [""])[0].upper()
        ends = [found["end"] for found in _HERE.finditer(whole)] if word in ("RUN", "COPY", "ADD") else []
        for end in ends:
            while place < len(lines) and lines[place].strip() != end:
                place += 1
            place += 1
        yield Statement(first + 1, place, word, whole)


def escape_of(lines: Sequence[str]) -> str:
    """The character that continues a line: a directive at the very beginning may name it."""
    for line in lines:
        found = _DIRECTIVE.fullmatch(line)
        if not found:
            break
        if found["name"].lower() == "escape":
            return found["value"]
    return "\\"


def mistakes(text: str, file: str, base: str) -> list[Problem]:
    """Everything that keeps a Dockerfile from being built on ``base``: an image without a digest, another last FROM."""
    found = list(_of_directives(text, file))
    stages: dict[str, str] = {}
    last = None
    for each in statements(text):
        begins = _FROM.fullmatch(each.text) if each.word == "FROM" else None
        if each.word not in INSTRUCTIONS:
            fix = nearest(each.word, INSTRUCTIONS).strip() or "write one such as RUN, COPY or ENV"
            found.append(Problem(file, each.line, "", f"{show(each.word[:40])} is no instruction of a Dockerfile", fix))
        elif each.word == "FROM" and not begins:
            found.append(
                Problem(file, each.line, "FROM", "cannot be read", "write `FROM image` or `FROM image AS name`")
            )
        elif begins:
            last = each.line, begins["image"], stages.get(begins["image"].lower(), begins["image"])
            if begins["image"].lower() not in stages:
                found += _unfit(file, each.line, begins["image"], base)
            if begins["name"]:
                stages[begins["name"].lower()] = last[2]
        else:
            found += _of_others(file, each, stages)
    if last is None and not found:
        found.append(Problem(file, 0, "", "has no FROM", "begin it with `ARG BASE` and `FROM ${BASE}`"))
    elif last and not found and not is_base(last[2], base):
        why = f"its last stage is made of {last[1]}, not of the base {base}"
        found.append(Problem(file, last[0], "FROM", why, f"write `FROM {base}` there, or change `base`"))
    return found


def _of_directives(text: str, file: str) -> Iterator[Problem]:
    for number, line in enumerate(text.splitlines(), 1):
        found = _DIRECTIVE.fullmatch(line)
        if not found:
            return
        if found["name"].lower() == "syntax" and not _has_digest(found["value"]):
            why = f"{found['value'][:80]} would be pulled to read this file, and it has no digest"
            yield Problem(file, number, "syntax", why, "remove this line, or write NAME@sha256:…")


def _unfit(file: str, line: int, image: str, base: str) -> Iterator[Problem]:
    if image == "scratch" or is_base(image, base) or _has_digest(image):
        return
    if "$" in image:
        yield Problem(file, line, "FROM", f"{image[:80]} is a variable", "write `${BASE}`, or an image with its digest")
    else:
        yield Problem(
            file, line, "FROM", f"{image[:80]} has no digest", "write NAME@sha256:…; `tfslurm image inspect` says it"
        )


def _of_others(file: str, each: Statement, stages: dict[str, str]) -> Iterator[Problem]:
    """Images that a file is copied or mounted from."""
    if each.word not in ("COPY", "RUN"):
        return
    for found in _OTHER.finditer(each.text):
        name = found["copied"] or found["mounted"]
        if name.lower() not in stages and not name.isdigit() and not _has_digest(name):
            yield Problem(
                file, each.line, each.word, f"{name[:80]} has no digest", "write NAME@sha256:…, or a stage's name"
            )


def is_base(image: str, base: str) -> bool:
    """Whether a FROM names the base of the build."""
    if image in _BASE:
        return True
    try:
        named, wanted = parse_reference(image), parse_reference(base)
    except InputError:
        return False
    return named == wanted


def _has_digest(image: str) -> bool:
    try:
        return bool(parse_reference(image).digest)
    except InputError:
        return False


def composed(text: str, base: str, pinned: str, prelude: Sequence[str]) -> str:
    """The Dockerfile that is built: the user's, '' if there is none, on ``base``, whose place ``pinned`` takes.

    ``prelude`` are the instructions for `apt` and `pip`; they come first. ``pinned`` is ``name@sha256:…``.
    """
    if not text:
        return "\n".join([f"FROM {pinned}", *prelude]) + "\n"
    lines = text.splitlines()
    stages: set[str] = set()
    first = True
    for each in [each for each in statements(text) if each.word == "FROM"]:
        found = _FROM.fullmatch(each.text)
        if found is None:
            continue
        own = found["image"].lower() not in stages and is_base(found["image"], base)
        image = (STAGE if prelude else pinned) if own else found["image"]
        named = f" AS {found['name']}" if found["name"] else ""
        begins = [f"FROM {pinned} AS {STAGE}", *prelude] if first and prelude else []
        lines[each.line - 1] = "\n".join([*begins, f"FROM {found['flags']}{image}{named}"])
        lines[each.line : each.last] = [""] * (each.last - each.line)
        first = False
        if found["name"]:
            stages.add(found["name"].lower())
    return "\n".join(lines) + "\n"


def marked(text: str, label: str) -> str:
    """The same with a label in every stage, by which what an interrupted build leaves is found."""
    lines = text.splitlines()
    for each in statements(text):
        if each.word == "FROM":
            lines[each.last - 1] += f"\nLABEL {label}"
    return "\n".join(lines) + "\n"


def copied(text: str) -> tuple[str, ...] | None:
    """The patterns of the files of the context that a Dockerfile reads; None: they cannot be told, so it gets all."""
    found: list[str] = []
    for each in statements(text):
        if each.word == "RUN" and re.search(
            r"--mount=(?!\S*\bfrom=)(?!\S*type=(?:cache|tmpfs|secret|ssh)\b)", each.text
        ):
            return None
        if each.word not in ("COPY", "ADD") or "--from=" in each.text:
            continue
        words = [word for word in each.text.split()[1:] if not word.startswith("--")]
        if not words or words[0].startswith(("[", "<<")) or any(letter in each.text for letter in "$\"'\\"):
            return None
        found += [word.removeprefix("./").strip("/") for word in words[:-1] if "://" not in word]
    return None if any(word in ("", ".") or ".." in word for word in found) else tuple(dict.fromkeys(found))
