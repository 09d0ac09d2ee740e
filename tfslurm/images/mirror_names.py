"""Where a mirrored image lies, and what a cluster file says so that jobs find it there. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.errors import InputError, refuse
from tfslurm.image import Pin, mirror_names, parse_reference
from tfslurm.image.reference import DOCKER_HUB, without_login

PLAIN = re.compile(r"[a-z0-9][a-z0-9./_-]*")


class Place(NamedTuple):
    """Where a mirror is: ``name`` is REGISTRY/REPOSITORY.

    ``key`` and ``prefix`` are the pair under ``mirrors`` in a cluster file by which jobs come from the image's own name
    to it.
    """

    name: str
    key: str
    prefix: str

    @property
    def registry(self) -> str:
        """The registry alone."""
        return self.name.partition("/")[0]

    @property
    def repository(self) -> str:
        """The repository without its registry."""
        return self.name.partition("/")[2]


def place_of(pin: Pin, target: str, *, flat: bool = False) -> Place:
    """Where ``target``, REGISTRY[/PREFIX], has an image: its whole repository below the prefix, or with ``flat`` the
    last part of it alone. Docker Hub takes no more than two parts, and so is always flat.

    Raises:
        InputError: the target is no registry, or is where the image is.
    """
    prefix, bare = target.rstrip("/"), without_login(f"{target}/").rstrip("/")
    where = f"--to {bare}"
    fix = "write REGISTRY[:PORT][/PREFIX], such as registry.example.org/mirror"
    if "://" in prefix:
        raise refuse(where, "a registry has no scheme here", f"write {bare.partition('://')[2]}")
    if prefix != bare:
        raise refuse(where, "a login does not stand here", "run `docker login`, and write the registry without it")
    first, slash, below = prefix.partition("/")
    if "@" in prefix or ":" in below:
        raise refuse(where, "is to be a registry and a prefix, without a tag and a digest", fix)
    if not set(".:[") & set(first) and first != "localhost":
        raise refuse(where, f"{first!r} is no host of a registry", f"{fix}; Docker Hub is {DOCKER_HUB}/USER")
    if first.startswith("["):
        raise refuse(where, "a cluster file takes no address of IPv6 as a mirror", "write the host's name")
    is_flat = flat or first == DOCKER_HUB
    if first == DOCKER_HUB and not slash:
        raise refuse(where, "Docker Hub keeps images below the name of a user", f"write {DOCKER_HUB}/USER")
    above, _, last = pin.name.rpartition("/")
    key = above if is_flat else pin.registry
    try:
        reference = parse_reference(f"{prefix}/{last if is_flat else pin.repository}")
    except InputError as error:
        raise refuse(where, error.problems[0].why, error.problems[0].fix or fix) from None
    if reference.name == pin.name or (not is_flat and pin.name.startswith(f"{prefix}/")):
        raise refuse(where, f"that is where the image is: {pin.name}", "name another registry or prefix")
    return Place(reference.name, key, prefix)


def registry_of(clusters: Sequence[Cluster]) -> str:
    """The registry that the cluster files name for images of one's own.

    Raises:
        InputError: they name none, or several.
    """
    named = list(dict.fromkeys(cluster.registry for cluster in clusters if cluster.registry))
    if len(named) == 1:
        return named[0]
    why = f"the cluster files name {len(named)}: {', '.join(named)}" if named else "no cluster file names a registry"
    raise refuse("--to", why, "name one, such as --to registry.example.org/mirror")


def check_tag(place: Place, tag: str) -> None:
    """Refuse a tag that no registry could have.

    Raises:
        InputError: it is none.
    """
    try:
        is_tag = parse_reference(f"{place.name}:{tag}").tag == tag
    except InputError:
        is_tag = False
    if not is_tag:
        fix = "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, and begins with none of `.-`"
        raise refuse(f"--tag {tag}", "is not a tag", fix)


def mirrors_line(pin: Pin, place: Place, mirrors: Mapping[str, Sequence[str]]) -> str:
    """The line of a cluster file with which its jobs find the mirror first; '' where its mirrors name it already.

    ``mirrors``: as the file has them now. The longest key that fits an image counts, so that one gets the new name.
    """
    if place.name in mirror_names(pin.name, mirrors):
        return ""
    fitting = [key for key in mirrors if f"{pin.name}/".startswith(f"{key}/")]
    longest = max(fitting, key=len, default="")
    key, prefix, known = place.key, place.prefix, mirrors.get(longest, ())
    if len(longest) > len(key):
        key, prefix = longest, f"{prefix}{longest[len(key) :]}"
    elif longest:
        known = [f"{each}{key[len(longest) :]}" for each in known]
    changed = {**mirrors, key: (prefix, *known)}
    pairs = (f"{quoted(name)}: [{', '.join(map(quoted, names))}]" for name, names in changed.items())
    return f"mirrors: {{{', '.join(pairs)}}}"


def quoted(text: str) -> str:
    """A text as YAML takes it in a flow mapping."""
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def lines_for(pin: Pin, place: Place, clusters: Sequence[Cluster]) -> dict[str, tuple[str, ...]]:
    """What to write -> the names of the clusters that it is for; '': these name the place already.

    Without clusters, the line for a file that has no mirrors, and no name.
    """
    if not clusters:
        return {mirrors_line(pin, place, {}): ()}
    found: dict[str, tuple[str, ...]] = {}
    for cluster in clusters:
        line = mirrors_line(pin, place, cluster.mirrors)
        found[line] = (*found.get(line, ()), cluster.name)
    return found
