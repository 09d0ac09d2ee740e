"""What is inside an image: as this machine or a cluster already knows it, else from a container of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from shutil import which
from typing import get_args

from tfslurm.cluster import Engine
from tfslurm.errors import Completed, HostError, InputError, TfslurmError
from tfslurm.host import Host, read_from
from tfslurm.host.local import LocalHost
from tfslurm.image import Pin, sources
from tfslurm.image.facts import MOST_BYTES, ImageFacts, NoPython, image_facts
from tfslurm.local_files import make_folder, read_file, write_file
from tfslurm.remote_programs import packaged, program
from tfslurm.slurm.nodes import engine_settings, is_busy, probe_argv, small
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.folders import cache_folder
from tfslurm.workspace.packaged_files import probe
from tfslurm.workspace.session import Session

PATIENCE_S = 1800.0  # a node may have to pull the image
WAIT_S = 600  # for a node that is free
MINUTES = 30  # of the short job
NOT_HERE, NO_IMAGE, NO_PYTHON = 66, 69, 127  # exit codes of the program

NO_PACKAGES = "and `packages` are for one; name an image with Python 3, or leave `packages` out"

Ask = Callable[[], bytes]


def facts_of(session: Session, pin: Pin, clusters: Sequence[Known]) -> ImageFacts:
    """The facts of a pinned image. An image does not change, so they are asked once and kept in the user's cache.

    Asked in turn: the cache; each cluster's own file, which its first job with the image wrote; the engine of this
    machine, if it has the image; then one short Slurm job on the first cluster that takes it.

    Raises:
        TfslurmError: nobody could be asked, or the image has no Python that answers; it says what was tried.
    """
    tried: list[str] = []
    for place, ask in (*_cheap(session, pin, clusters), *_jobs(session, pin, clusters)):
        try:
            if found := _answer(pin, ask):
                return found
        except NoPython:
            raise TfslurmError(f"image {pin.reference}: has no Python, {NO_PACKAGES}") from None
        except (HostError, ValueError) as error:
            tried.append(f"{place}: {str(error).splitlines()[0]}")
    why = "; ".join(dict.fromkeys(tried)) or "no cluster is known, and no docker or podman here has it"
    raise TfslurmError(f"{pin.reference}: which Python and packages it holds is not known: {why}", transient=False)


def facts_without_a_job(session: Session, pin: Pin, known: Known) -> ImageFacts | None:
    """The same as far as this machine and a cluster can say it without a job; None: they cannot.

    Raises:
        NoPython: the image has none.
    """
    for _, ask in _cheap(session, pin, [known]):
        try:
            if found := _answer(pin, ask):
                return found
        except NoPython:
            raise
        except (HostError, ValueError):
            continue
    return None


def _answer(pin: Pin, ask: Ask) -> ImageFacts | None:
    """The facts from the cache, or from one place, whose answer is then kept; None: it has none.

    Raises:
        HostError, ValueError: as the place and ``image_facts``.
    """
    kept = cache_folder() / "images" / f"{pin.digest.removeprefix('sha256:')}.json"
    with suppress(InputError, ValueError):
        return image_facts(read_file(kept, MOST_BYTES), pin.platform)
    if not (text := ask()):
        return None
    found = image_facts(text, pin.platform)
    make_folder(kept.parent)
    write_file(kept, text)
    return found


def _cheap(session: Session, pin: Pin, clusters: Sequence[Known]) -> Iterator[tuple[str, Ask]]:
    """Each place that answers at once, and how it is asked."""
    name = f"{pin.digest.removeprefix('sha256:')}.json"
    for known in clusters:
        path = known.cluster.root / "images" / name
        yield known.cluster.name, lambda known=known, path=path: read_from(session.reach(known), path, 0, MOST_BYTES)  # type: ignore[misc]
    engine = next((name for name in get_args(Engine) if which(name)), "")
    if engine:
        yield "here", lambda: _container(LocalHost("here"), (), engine, "here", sources(pin, {}))


def _jobs(session: Session, pin: Pin, clusters: Sequence[Known]) -> Iterator[tuple[str, Ask]]:
    """Each cluster, which runs a short job to say it."""
    for known in clusters:
        yield known.cluster.name, lambda known=known: _on_cluster(session, known, pin)  # type: ignore[misc]


def _on_cluster(session: Session, known: Known, pin: Pin) -> bytes:
    """The answer of a container on a node of the cluster, or of this machine where the cluster is `local`."""
    cluster = known.cluster
    names = sources(pin, cluster.mirrors)
    if cluster.name == LOCAL:
        session.say(f"looking into {pin.reference}: a container of it, here")
        return _container(session.reach(known), (), cluster.engine, "pull", names)
    session.say(f"looking into {pin.reference}: a short job on {cluster.name} runs a container of it")
    where: dict[str, str | int] = {"job_name": "tfslurm-image", "time": MINUTES, **small(cluster, "4G")}
    where |= {"partition": str(cluster.slurm["partition"])} if "partition" in cluster.slurm else {}
    srun = probe_argv(cluster.slurm, engine_settings(cluster), immediate=WAIT_S, **where)
    return _container(session.reach(known), program("without-steering", *srun), cluster.engine, "pull", names)


def _container(host: Host, before: Sequence[str], engine: str, how: str, names: Sequence[str]) -> bytes:
    """What the probe prints in a container; b'' where the image is not there and is not to be fetched.

    Raises:
        HostError: the machine, its Slurm or its engine refused.
    """
    inside = packaged("inside/probe.py").replace("\\", "\\\\").replace("\n", "\\n")
    argv = (*before, "bash", "-s", "--", engine, inside, how, *names)
    script = probe("image_facts", engine).encode()
    done = host.run(argv, input=script, timeout_s=PATIENCE_S, max_bytes=MOST_BYTES)
    if done.exit_code == NOT_HERE and how == "here":
        return b""
    if done.exit_code == NO_PYTHON and not _own_words(done):
        raise NoPython("the image has no Python")
    if done.exit_code:
        raise HostError(_why(done), transient=is_busy(done.stderr))
    said = done.stdout.encode("utf-8", "surrogateescape")
    return said[said.find(b"{") : said.rfind(b"}") + 1]  # what a site's prolog prints stands around it


def _why(done: Completed) -> str:
    if is_busy(done.stderr):
        return f"no node was free within {WAIT_S} s"
    said = _own_words(done)
    if done.exit_code == NO_IMAGE and not said:
        return "no place served the image"
    return (said or done.stderr.strip() or f"the container ended with exit {done.exit_code}")[-300:]


def _own_words(done: Completed) -> str:
    """The last line on stderr that is not srun's."""
    return next((line for line in done.stderr.strip().splitlines()[::-1] if not line.startswith("srun: ")), "")
