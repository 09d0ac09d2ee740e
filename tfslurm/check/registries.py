"""The registries that a cluster's images come from or go to, and whether they answer this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tfslurm.check.fact import Fact, one_line
from tfslurm.errors import RegistryError

HUB = "docker.io"
TRIED = "tfslurm-check"
"The repository below a cluster file's `registry` for which a push is asked; it is never made."
HUB_HOST = "registry-1.docker.io"


def registry_names(mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """``host[:port]`` of every mirror in the order they are tried, then of the registries that they stand for."""
    listed = [mirror for names in mirrors.values() for mirror in names]
    return tuple(dict.fromkeys(name.partition("/")[0] for name in (*listed, *mirrors, HUB)))


def address(registry: str) -> tuple[str, str]:
    """Host and port for a TCP connection: 443 unless a port is named, and Docker Hub's own host."""
    host, colon, port = registry.rpartition(":")
    if colon and port.isdecimal():
        return host.strip("[]"), port
    return (HUB_HOST if registry == HUB else registry).strip("[]"), "443"


def registry_facts(registries: Sequence[str], ping: Callable[[str], str]) -> list[Fact]:
    """Whether each registry answers from here, all asked at once."""
    with ThreadPoolExecutor(max_workers=len(registries)) as pool:
        answers = list(pool.map(lambda name: pinged(name, ping), registries))
    some = any(why == "" for _, why in answers)
    return [registry_fact(name, *answer, some) for name, answer in zip(registries, answers, strict=True)]


def pinged(registry: str, ping: Callable[[str], str]) -> tuple[str, str]:
    """The answer of a registry, or why there is none."""
    try:
        return ping(registry), ""
    except RegistryError as error:
        return "", one_line(str(error))


def registry_fact(registry: str, answer: str, why: str, some: bool) -> Fact:
    """One registry; ``some``: at least one of its neighbours answers."""
    name = f"registry {registry}"
    if not why:
        return Fact(name, "ok", f"{answer} (asked from this machine)")
    why = why.removeprefix(f"{registry}: ")
    if some:
        return Fact(name, "warn", why, "no action needed if another mirror of the list answers")
    return Fact(
        name, "warn", why, "no tag can be pinned from here; an experiment with its EXP.lock.yaml can be submitted"
    )


def push_facts(own: str, push: Callable[[str], None]) -> list[Fact]:
    """Whether the cluster file's `registry` takes a push of an image that was built; none where it names none.

    Warnings alone: jobs that use other images work without it.
    """
    if not own:
        return []
    name, repository = f"push {own}", f"{own}/{TRIED}"
    try:
        push(repository)
    except RegistryError as error:
        why, _, fix = one_line(str(error)).removeprefix(f"{repository}: ").removeprefix("a push: ").rpartition("; ")
        return [Fact(name, "warn", f"`tfslurm image build` cannot push there: {why}", fix)]
    return [Fact(name, "ok", "takes a push (asked from this machine; nothing was sent)")]
