"""The name that a user types for an image, read as docker reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tfslurm.errors import InputError, Problem

DOCKER_HUB = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_REPOSITORY = 255
_FILE = re.compile(r"\.(?:sif|simg|sqsh|squashfs|img|tar|tar\.gz|tgz|ext3|def|oci|ova)$", re.IGNORECASE)
_OTHER_STORES = {
    **dict.fromkeys(("library", "shub"), "Singularity's own library"),
    **dict.fromkeys(("dockerd", "docker-daemon", "podman", "containers-storage"), "the images of one machine"),
    **dict.fromkeys(("docker-archive", "oci-archive", "oci", "dir", "file", "localimage"), "a file or folder"),
    "instance": "a container that runs",
}
_PUSH = "push the image that it was made from to a registry, and write HOST/REPOSITORY:TAG"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as named: ``docker.io/library/ubuntu:22.04``. ``tag`` and ``digest``: empty when not typed.

    ``typed`` is the text it was read from; two references that mean the same are equal, however they were typed.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""
    typed: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """``registry/repository``, the part that tag and digest hang on."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.name + tag + (f"@{self.digest}" if self.digest else "")


class _NotAReference(ValueError):
    """Why a text names no image, and the fix; leaves this module as an InputError that knows its place."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.fix = fix


def parse_reference(text: str, *, file: str = "", line: int = 0, key: str = "image") -> Reference:
    """The image that ``text`` names, with docker's defaults: no host is ``docker.io``, no folder there is ``library/``.

    Both a tag and a digest may stand (``name:tag@sha256:…``); both are kept. ``file``, ``line`` and ``key`` say where
    the text stands. Raises InputError with one problem. Grammar: github.com/distribution/reference, reference.go and
    regexp.go; where a first component is a host: normalize.go, splitDockerDomain.
    """
    try:
        return _read(text)
    except _NotAReference as bad:
        shown = without_login(text)
        where = file or f"image {shown!r}"
        why = bad.why if not file else f"{shown!r}: {bad.why}"
        raise InputError([Problem(where, line, key if file else "", why, bad.fix)]) from None


def check_digest(text: str) -> str:
    """Why ``text`` is not a sha256 digest, or an empty string when it is one."""
    if _DIGEST.fullmatch(text):
        return ""
    algorithm, colon, encoded = text.partition(":")
    if not colon:
        return "a digest begins with `sha256:`"
    if algorithm != "sha256":
        return f"digests are checked with sha256 here, not with {algorithm!r}"
    if re.fullmatch(r"[0-9a-fA-F]{64}", encoded):
        return "the hexadecimal digits of a digest are lower case"
    return f"a sha256 digest has 64 hexadecimal digits, this one has {len(encoded)} characters after `sha256:`"


def without_login(text: str) -> str:
    """The name of an image or a registry as it can be shown: without `USER:PASSWORD@` before its host."""
    return re.sub(r"^((?:[a-z]+://)?)[^/@]*@(?=[^/]*/)", r"\1", text)


def _read(text: str) -> Reference:
    _refuse_shapes(text)
    named, at, digest = text.partition("@")
    if at and (why := check_digest(digest)):
        raise _NotAReference(why, "copy the digest from `docker buildx imagetools inspect` or `tfslurm pin`")
    name, tag = _split_tag(named)
    registry, repository = _split_host(name)
    _check_repository(repository)
    return Reference(registry, repository, tag, digest, text)


def _refuse_shapes(text: str) -> None:
    if not text:
        raise _NotAReference("no image is named", "write one such as tensorflow/tensorflow:2.16.1-gpu")
    if any(character.isspace() for character in text):
        raise _NotAReference("an image name holds no white space", f"write {''.join(text.split())!r}")
    if "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme in _OTHER_STORES:
            raise _NotAReference(f"{scheme}:// names {_OTHER_STORES[scheme]}, which has no digest of a registry", _PUSH)
        bare = without_login(rest)
        raise _NotAReference("an image name has no scheme", f"write {bare.replace('#', '/', 1)!r}")
    if text != without_login(text):
        raise _NotAReference("a login stands in no image name", "run `docker login`, and write the name without it")
    last, store = text.rpartition("/")[2], text.partition(":")[0]
    if store in _OTHER_STORES and "/" not in store and store != text:
        raise _NotAReference(f"{store}: names {_OTHER_STORES[store]}, which has no digest of a registry", _PUSH)
    if (":" not in last and _FILE.search(last)) or text.startswith(("/", "./", "../", "~")):
        raise _NotAReference("a file cannot be pinned: only a registry has digests that each node can compare", _PUSH)
    if "#" in text:
        raise _NotAReference("`#` is enroot's way to write a registry", f"write {text.replace('#', '/', 1)!r}")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise _NotAReference("this is a bare image id", "name the repository: REPOSITORY@sha256:…")


def _split_tag(named: str) -> tuple[str, str]:
    """The colon of a tag stands after the last slash; any other belongs to ``host:port``."""
    slash = named.rfind("/")
    name, colon, tag = named[slash + 1 :].partition(":")
    if colon and not _TAG.fullmatch(tag):
        why = "the tag after `:` is empty" if not tag else f"{tag[:40]!r} is not a tag"
        raise _NotAReference(why, "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, and begins with none of `.-`")
    return named[: slash + 1] + name, tag


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not (set(".:[") & set(first) or first == "localhost" or first.lower() != first):
        return DOCKER_HUB, name if slash else f"library/{name}"
    if not re.fullmatch(_HOST, first):
        raise _NotAReference(f"{first!r} is not a registry host", "write HOST or HOST:PORT before the first `/`")
    registry = DOCKER_HUB if first == "index.docker.io" else first
    return registry, f"library/{rest}" if registry == DOCKER_HUB and rest and "/" not in rest else rest


def _check_repository(repository: str) -> None:
    if repository.lower() != repository:
        raise _NotAReference("a repository name is lower case", f"write {repository.lower()!r}")
    if not _REPOSITORY.fullmatch(repository):
        raise _NotAReference(
            f"{repository!r} is not a repository name",
            "its parts are lower-case letters and digits, joined by `.`, `_`, `__` or `-`, with `/` between them",
        )
    if len(repository) > _LONGEST_REPOSITORY:
        raise _NotAReference(f"a repository name has at most {_LONGEST_REPOSITORY} characters, not {len(repository)}")


def refuse_moving(reference: Reference) -> str | None:
    """Why the tag cannot be pinned, and the fix; ``None`` when it can. A digest settles it, whatever the tag.

    ``latest``, no tag (which docker reads as ``latest``) and nightly builds are written anew on a schedule, so the
    experiment file would not say which TensorFlow it means.
    """
    if reference.digest:
        return None
    fix = "name a release such as 2.16.1-gpu, or a digest (@sha256:…)"
    if not reference.tag:
        return f"{reference.name}: no tag means `latest`, which moves; {fix}"
    words = re.split(r"[._-]", reference.tag.lower())
    for moving, what in (("latest", "moves with each release"), ("nightly", "is built again every night")):
        if moving in words:
            return f"{reference}: `{reference.tag}` {what}; {fix}"
    return None
