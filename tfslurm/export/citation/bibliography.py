"""Settings -> BibTeX and biblatex entries: each image, TensorFlow, each version of the code."""

from __future__ import annotations

from collections.abc import Mapping

from tfslurm.export.citation.settings import TENSORFLOW, TENSORFLOW_DOI, Authorship, Setting, Settings, key, url
from tfslurm.export.citation.tex import breakable, special
from tfslurm.image.reference import DOCKER_HUB
from tfslurm.record.model import Code

LOOSE = r"% Digests need loose lines; in the preamble: \AtBeginBibliography{\sloppy}" + "\n\n"
HOSTS = {"docker.io": "Docker Hub", "ghcr.io": "GitHub Packages", "nvcr.io": "NVIDIA NGC", "quay.io": "Quay.io"}


def bibtex(settings: Settings, by: Authorship, *, anonymous: bool) -> str:
    """Entries that every BibTeX style prints: all that a style might drop stands in ``howpublished`` and ``note``."""
    entries = [_image_bibtex(group, anonymous=anonymous) for group in distinct(settings)]
    entries += [_tensorflow(version, "misc") for version in versions(settings)[:1]]
    return "\n".join((*entries, *(_code(code, settings, by, "misc", anonymous=anonymous) for code in codes(settings))))


def biblatex(settings: Settings, by: Authorship, *, anonymous: bool) -> str:
    """Entries of biblatex's type @software."""
    entries = [_image_biblatex(group, anonymous=anonymous) for group in distinct(settings)]
    entries += [_tensorflow(version, "software") for version in versions(settings)[:1]]
    made = (_code(code, settings, by, "software", anonymous=anonymous) for code in codes(settings))
    return LOOSE + "\n".join((*entries, *made))


def distinct(settings: Settings) -> list[Setting]:
    """One group for each image; the same image may have run on several machines."""
    return list({group.image.digest: group for group in reversed(settings.groups)}.values())[::-1]


def versions(settings: Settings) -> list[str]:
    """The versions of TensorFlow that were found."""
    return list(dict.fromkeys(group.inside.tensorflow for group in settings.groups if group.inside.tensorflow))


def codes(settings: Settings) -> list[Code]:
    """The versions of the code."""
    return [code for code, _ in settings.codes if code]


def entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    """One entry; a field without a value is left out. Values are TeX already."""
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return f"@{kind}{{{key},\n" + "\n".join(lines) + "\n}\n"


def web_page(group: Setting) -> str:
    """The page of the image at its registry; '' where it has none that is known."""
    registry, repository = group.image.registry, group.image.repository
    if registry == DOCKER_HUB:
        official = repository.removeprefix("library/")
        at = "_/" if official != repository else "r/"
        return f"https://hub.docker.com/{at}{official}"
    return {"ghcr.io": f"https://ghcr.io/{repository}", "quay.io": f"https://quay.io/repository/{repository}"}.get(
        registry, ""
    )


def _origin(group: Setting, *, anonymous: bool) -> tuple[str, str, str]:
    """Name, registry and page of an image; nothing that says who used it, where nobody is to be named."""
    if anonymous and not group.publisher:
        return "container image of the experiments", "", ""
    return group.name, HOSTS.get(group.image.registry, group.image.registry), web_page(group)


def _pull(group: Setting, *, anonymous: bool) -> str:
    hidden = (anonymous and not group.publisher) or not group.is_in_registry
    command = group.image.digest if hidden else f"docker pull {group.name}@{group.image.digest}"
    return rf"\texttt{{{breakable(command)}}}"


def _image_bibtex(group: Setting, *, anonymous: bool) -> str:
    name, registry, page = _origin(group, anonymous=anonymous)
    tag = f":{group.image.tag}" if group.image.tag and registry else ""
    accessed = special((group.image.pinned_at or "")[:10])
    fields = {
        "author": f"{{{special(group.publisher)}}}" if group.publisher else "",
        "key": special(name) if not group.publisher else "",
        "title": f"{{{special(name + tag)}}}",
        "howpublished": special(", ".join(filter(None, ("Container image", group.image.platform, registry)))),
        "year": group.year,
        "url": url(page),
        "note": _pull(group, anonymous=anonymous) + (f"; accessed {accessed}" if accessed else ""),
    }
    return entry("misc", key("image", group.image.digest), fields)


def _image_biblatex(group: Setting, *, anonymous: bool) -> str:
    name, registry, page = _origin(group, anonymous=anonymous)
    fields = {
        "author": f"{{{special(group.publisher)}}}" if group.publisher else "",
        "title": special(name),
        "titleaddon": special(", ".join(filter(None, ("container image", group.image.platform)))),
        "version": special(group.image.tag or "") if registry else "",
        "date": group.year,
        "publisher": special(registry),
        "url": url(page),
        "urldate": special((group.image.pinned_at or "")[:10]) if page else "",
        "note": _pull(group, anonymous=anonymous),
    }
    return entry("software", key("image", group.image.digest), fields)


def _tensorflow(version: str, kind: str) -> str:
    fields = {
        "author": f"{{{TENSORFLOW}}}",
        "title": "{TensorFlow}",
        "version": special(version) if kind == "software" else "",
        "doi": TENSORFLOW_DOI,
        "note": f"Version {special(version)}" + (f"; doi:{TENSORFLOW_DOI}" if kind == "misc" else ""),
    }
    return entry(kind, "tensorflow", fields)


def _code(code: Code, settings: Settings, by: Authorship, kind: str, *, anonymous: bool) -> str:
    authors = ("Anonymous",) if anonymous else by.authors
    swhid = f"swh:1:dir:{code.tree}"
    commit = "" if anonymous or not code.commit else f"commit {code.commit}{' with changes' if code.dirty else ''}, "
    title = by.title or ("Code of the experiments" if anonymous else settings.name)
    fields = {
        "author": " and ".join(_author(name) for name in authors),
        "key": special(title) if not authors else "",
        "title": f"{{{special(title)}}}",
        "url": "" if anonymous else url(code.remote),
        "note": rf"\texttt{{{breakable(commit + swhid)}}}",
    }
    return entry(kind, key("code", code.tree), fields)


def _author(name: str) -> str:
    return special(name) if "," in name else f"{{{special(name)}}}"
