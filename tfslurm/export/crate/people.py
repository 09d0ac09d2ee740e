"""The people of a crate: authors, their institution, who ran the jobs, and the licence."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfslurm.export.citation.settings import Authorship
from tfslurm.export.crate.entities import Entity, Graph, local

WITH_PAGE = re.compile(r"(.*?)\s*\((https?://[A-Za-z0-9._~/-]{1,200})\)")
NOBODY = "urn:anonymous"
NO_LICENCE = "No licence was stated. Without one, nobody but the authors may copy or change what is here: ask them."
SPDX = "https://spdx.org/licenses/"


def anonymous(graph: Graph) -> Entity:
    """The one who is author, publisher and agent where nobody is to be named."""
    return graph.add({"@id": "#anonymous", "@type": "Organization", "name": "Anonymous", "url": NOBODY})


def authors(graph: Graph, by: Authorship) -> list[Entity]:
    """The authors."""
    orcids, institutions = dict(by.orcids), dict(by.affiliations)
    made = []
    for name in by.authors:
        orcid, institution = orcids.get(name, ""), institutions.get(name, "")
        if not is_person(name, by):
            made.append(organisation(graph, name))
            continue
        family, _, given = (part.strip() for part in name.partition(","))
        entity: Entity = {"@id": orcid or local("author", name), "@type": "Person"}
        entity["name"] = " ".join(filter(None, (given, family)))
        if given:
            entity |= {"familyName": family, "givenName": given}
        if institution:
            entity["affiliation"] = organisation(graph, institution)
        made.append(graph.add(entity))
    return made


def is_person(name: str, by: Authorship) -> bool:
    """Whether an author is a person: a name alone, of which nothing else is known, is an organisation's."""
    return "," in name or name in by.persons or name in dict(by.orcids) or name in dict(by.affiliations)


def organisation(graph: Graph, text: str) -> Entity:
    """An institution, 'Name' or 'Name (https://ror.org/…)'; its address is its id."""
    match = WITH_PAGE.fullmatch(text)
    name, page = (match[1], match[2]) if match else (text, "")
    return graph.add({"@id": page or local("institution", name), "@type": "Organization", "name": name, "url": page})


def publisher(graph: Graph, by: Authorship) -> Entity | None:
    """The first author's institution, or the organisation that is an author; None: none is known."""
    institutions = dict(by.affiliations)
    first = next((institutions[name] for name in by.authors if institutions.get(name)), "")
    return organisation(graph, first) if first else None


def licence(graph: Graph, name: str) -> Entity:
    """The licence by its name of SPDX; where none is known, that."""
    if not name:
        stated = {"name": "No licence was stated", "description": NO_LICENCE}
        return graph.add({"@id": "#no-licence", "@type": "CreativeWork", **stated})
    described = f"The licence {name}, by its SPDX name."
    return graph.add({"@id": SPDX + name, "@type": "CreativeWork", "name": name, "description": described})


def missing(by: Authorship) -> Iterator[str]:
    """What RO-Crate recommends to say and nobody has said, with what to do."""
    if not by.licence:
        yield "no licence is known, and the crate says so; name one with --license, or in CITATION.cff"
    if any(is_person(name, by) and name not in dict(by.affiliations) for name in by.authors):
        yield 'the institution of an author is not known; name it with --affiliation "Name (https://ror.org/…)"'
