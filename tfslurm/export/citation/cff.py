"""Settings -> CITATION.cff, version 1.2.0: the code, with the images and TensorFlow as its references.

Source of the keys: github.com/citation-file-format/citation-file-format, schema 1.2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfslurm.document import dump
from tfslurm.document.tree import printable
from tfslurm.errors import refuse
from tfslurm.export.citation.bibliography import distinct, web_page
from tfslurm.export.citation.settings import TENSORFLOW, TENSORFLOW_DOI, Authorship, Setting, Settings, url
from tfslurm.record.model import Code

MESSAGE = "If you use these results, please cite the software and the container image below."


def citation_file(settings: Settings, by: Authorship, *, anonymous: bool) -> str:
    """The text of CITATION.cff; texts that could be read as numbers or dates are quoted.

    Raises:
        InputError: nobody is named as an author, which the format demands.
    """
    authors = ("Anonymous",) if anonymous else by.authors
    if not authors:
        fix = 'name one with --author "Family, Given" or by `git config --global user.name`, or use --anonymous'
        raise refuse("cite --format cff", "has no author", fix)
    code = settings.codes[0][0]
    title = by.title or "" if anonymous else by.title or settings.name
    values: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": MESSAGE,
        "title": title or "Code and environment of the experiments",
        "type": "software",
        "authors": [_author(name, {} if anonymous else dict(by.orcids)) for name in authors],
        **(_code(code, anonymous=anonymous) if code else {}),
        **({"license": by.licence} if by.licence else {}),
        "references": [*references(settings, anonymous=anonymous)],
    }
    return dump(shown(values))


def shown(value: Any) -> Any:
    """The same value, its texts without characters that act on a terminal."""
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    return printable(value)


def _author(name: str, orcids: dict[str, str]) -> dict[str, str]:
    family, comma, given = (part.strip() for part in name.partition(","))
    orcid = {"orcid": orcids[name]} if name in orcids else {}
    return {"family-names": family, "given-names": given, **orcid} if comma and given else {"name": name, **orcid}


def _code(code: Code, *, anonymous: bool) -> dict[str, Any]:
    origin: dict[str, Any] = {}
    if not anonymous and code.commit:
        origin["version"] = code.commit[:12] + ("-dirty" if code.dirty else "")
        origin["commit"] = code.commit
    if not anonymous and url(code.remote):
        origin["repository-code"] = url(code.remote)
    description = "Git tree of the code that ran"
    return {
        **origin,
        "identifiers": [{"type": "swh", "value": f"swh:1:dir:{code.tree}", "description": description}],
    }


def references(settings: Settings, *, anonymous: bool) -> Iterator[dict[str, Any]]:
    """The images, and TensorFlow in each version that was found."""
    for group in distinct(settings):
        yield _image(group, hidden=anonymous and not group.publisher)
    for version in dict.fromkeys(group.inside.tensorflow for group in settings.groups if group.inside.tensorflow):
        yield {
            "type": "software",
            "title": "TensorFlow",
            "authors": [{"name": TENSORFLOW}],
            "version": version,
            "doi": TENSORFLOW_DOI,
            "license": "Apache-2.0",
        }


def _image(group: Setting, *, hidden: bool) -> dict[str, Any]:
    image = group.image
    where = (
        image.digest if hidden or not group.is_in_registry else f"{image.registry}/{image.repository}@{image.digest}"
    )
    kind = f"digest of the image {image.digest_kind}" + (f", {image.platform}" if image.platform else "")
    page = url(web_page(group))
    return {
        "type": "software-container",
        "title": "container image of the experiments" if hidden else group.name,
        "authors": [{"name": group.publisher or ("Anonymous" if hidden else image.repository.split("/")[0])}],
        **({"version": image.tag} if image.tag and not hidden else {}),
        **({"repository-artifact": page} if page and not hidden else {}),
        **({"date-accessed": image.pinned_at[:10]} if image.pinned_at else {}),
        "identifiers": [{"type": "other", "value": where, "description": kind}],
        **({} if hidden or not group.is_in_registry else {"notes": f"docker pull {group.name}@{image.digest}"}),
    }
