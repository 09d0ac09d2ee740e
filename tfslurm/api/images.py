"""What `tfslurm image` does, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfslurm.api.jobs import Job
from tfslurm.api.session import session
from tfslurm.api.sweeps import Sweep
from tfslurm.images.building.run import Outcome, Wish, build_image
from tfslurm.images.inspect import Inspection, inspect_image
from tfslurm.images.mirror import Mirrored, Wanted, mirror_image
from tfslurm.images.mirror_names import place_of, registry_of
from tfslurm.images.named import NamedImage, image_named
from tfslurm.images.scan import ScanResult, scan_image
from tfslurm.submission.prepare import read_experiment
from tfslurm.workspace.config import known_clusters

Image = Job | Sweep | str | Path
"A job or a sweep, its name, an exp.yaml, a record file, a crate, or an image with a tag or a digest."


def image_inspect(image: Image) -> Inspection:
    """Return what a registry tells of an image without a pull, and what a job of yours found in it.

    ``bytes`` is what a pull takes; ``layers`` have a ``digest``, ``bytes`` and a ``command`` each; ``inside`` is empty
    where no record says what a job found; ``known`` says what is wrong with it.

    Raises:
        InputError: it stands for no image.
        RegistryError: no registry has it.
    """
    return inspect_image(session().tracker, named(image))


def image_scan(image: Image, *, again: bool = False, archive: str | Path | None = None) -> ScanResult:
    """Return the scan of an image by trivy: the one that is kept, or a new one, or one that is wanted ``again``.

    ``report.findings`` have ``id``, ``severity``, ``package``, ``installed`` and ``fixed`` each. ``report`` is None
    where trivy could make none, and ``kept.why`` says why. ``archive`` is a file of `image save`.

    Raises:
        InputError: it stands for no image; the archive is of another one.
        RegistryError: no registry has it.
        HostError: trivy is not here, or could not even list the packages.
    """
    return scan_image(session(), named(image), again=again, archive=Path(archive) if archive is not None else None)


def image_mirror(
    image: Image, to: str = "", *, platforms: Sequence[str] = (), tag: str = "", referrers: bool = False,
    flat: bool = False, dry_run: bool = False,
) -> Mirrored:  # fmt: skip
    """Copy an image by its digest to another registry, and return what was sent; nothing is sent that is there.

    ``to`` is a registry and a path in it; '': the `registry` that your cluster files name. ``platforms`` of an index
    are all without it. ``referrers``: attestations and signatures too. The rest is as for `tfslurm image mirror`.

    Raises:
        InputError: it stands for no image; no registry is named.
        RegistryError: a registry refuses, or serves something else; calling again continues.
    """
    target = to or registry_of([known.cluster for known in known_clusters()])
    found = named(image)
    wanted = Wanted(tuple(platforms), tag, referrers, dry_run)
    return mirror_image(found, place_of(found.pin, target, flat=flat), wanted, tell=session().say)


def image_build(experiment: str | Path, *, cluster: str = "", builder: str = "", update: bool = False) -> Outcome:
    """Build the image that `build` of an experiment describes, push it and pin it; what came of it is returned.

    ``reference`` and ``build.digest`` name the image. ``is_pinned`` is False where nothing has changed and it came out
    different, in what ``differs`` says; None there: none was pinned before. The rest is as for `tfslurm image build`.

    Raises:
        InputError: the files; no cluster file names a `registry`.
        RegistryError: the registry takes no push, or the base is not to be had; nothing is pinned then.
        TfslurmError: the builder refused, with its own last words.
    """
    asked = read_experiment(Path(experiment), sweeps=True)
    return build_image(session(), asked, Wish(cluster, builder, update), lambda name, done, total: None)


def named(image: Image) -> NamedImage:
    """The image, pinned."""
    name = image.key if isinstance(image, Job) else image.id if isinstance(image, Sweep) else str(image)
    return image_named(session(), name)
