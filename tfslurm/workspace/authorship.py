"""Who made the code: as the command line says, else the CITATION.cff of this folder, else the user's name in git."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tfslurm.document import scan
from tfslurm.document.tree import printable
from tfslurm.errors import InputError, refuse
from tfslurm.export.citation.settings import Authorship
from tfslurm.local_files import read_text
from tfslurm.snapshot.git import user_name

CITATION = "CITATION.cff"
MOST_AUTHORS = 200
LONGEST = 200  # characters of a name or a title
ORCID = re.compile(r"https://orcid\.org/[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]")
WITH_ORCID = re.compile(r"(.*?)\s*\((?:https://orcid\.org/)?([0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X])\)")
LICENCE = re.compile(r"[A-Za-z0-9.+-]{1,60}")  # a name of SPDX


def authorship(
    folder: Path, authors: Sequence[str] = (), title: str = "", licence: str = "", affiliation: str = ""
) -> Authorship:
    """The authors, title and licence to cite. ``authors`` are 'Family, Given', each with ' (ORCID)' or without.

    ``affiliation`` is the institution of every author who has none in the file: its name, with ' (https://…)' or
    without. Nothing in the file is believed beyond its form: what is no name, ORCID or licence is left out.

    Raises:
        InputError: one of the arguments is no name or licence.
    """
    given = [named(author) for author in authors]
    if licence and not LICENCE.fullmatch(licence):
        raise refuse("--license", f"{licence[:60]!r} is no name of SPDX", "for example Apache-2.0")
    if len(affiliation) > LONGEST or printable(affiliation) != affiliation:
        raise refuse("--affiliation", f"{affiliation[:60]!r} is no name", "for example 'Example University'")
    found = in_file(folder / CITATION)
    kept = given or list(zip(found.authors, (dict(found.orcids).get(name, "") for name in found.authors), strict=True))
    user = "" if kept else user_name(folder)
    kept = kept or [(name, "") for name in (user,) if name]
    known = {} if given else dict(found.affiliations)
    people = {name for name, orcid in kept if orcid or "," in name or name == user}
    institutions = {name: known.get(name, affiliation) for name, _ in kept if name in known or name in people}
    return Authorship(
        tuple(name for name, _ in kept),
        title or found.title,
        licence or found.licence,
        tuple((name, orcid) for name, orcid in kept if orcid),
        tuple((name, each) for name, each in institutions.items() if each),
        (user,) if user else (),
    )


def named(author: str) -> tuple[str, str]:
    """An author of the command line: name and ORCID, '' where it has none.

    Raises:
        InputError: it is empty, or longer than any name.
    """
    match = WITH_ORCID.fullmatch(author.strip())
    name = match[1] if match else author.strip()
    if not name or len(name) > LONGEST or printable(name) != name:
        raise refuse(
            "--author", f"{author[:60]!r} is no name", 'for example --author "Doe, Alice (0000-0002-1825-0097)"'
        )
    return name, f"https://orcid.org/{match[2]}" if match else ""


def in_file(path: Path) -> Authorship:
    """What a CITATION.cff says; nothing where there is none that can be read."""
    try:
        value = scan(read_text(path), str(path)).value
    except InputError:
        return Authorship()
    listed = value.get("authors") if isinstance(value, dict) else None
    people = (
        [each for each in islice(listed, MOST_AUTHORS) if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    kept = [(name, person) for person in people if (name := name_of(person))]
    licence = text_of(value, "license")
    return Authorship(
        tuple(name for name, _ in kept),
        text_of(value, "title"),
        licence if LICENCE.fullmatch(licence) else "",
        tuple((name, orcid) for name, person in kept if ORCID.fullmatch(orcid := text_of(person, "orcid"))),
        tuple((name, where) for name, person in kept if (where := text_of(person, "affiliation"))),
    )


def name_of(person: Mapping[str, Any]) -> str:
    """'Family, Given', or the name of an organisation."""
    family, given = text_of(person, "family-names"), text_of(person, "given-names")
    return ", ".join(filter(None, (family, given))) or text_of(person, "name")


def text_of(value: Mapping[str, Any], key: str) -> str:
    """The text under a key; '' where it is none that can be printed on a line."""
    text = value.get(key)
    return text if isinstance(text, str) and len(text) <= LONGEST and printable(text) == text else ""
