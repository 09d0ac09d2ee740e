"""An experiment file as frozen values. Pure data: no reading, no checking.

Paths stay text here: ``Mount.source`` is a path on the cluster, ``Mount.target`` and ``outputs`` are container paths,
``Code.path`` is a local one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from tfslurm.document import Path, locate
from tfslurm.errors import Problem

Option = str | int | bool

MAX_POINTS = 100_000  # of a sweep whose file says nothing else


class Placeholder(NamedTuple):
    """The place of one parameter, written ``{{ name }}``; a name may hold dots (``opt.lr``)."""

    name: str


class Word(NamedTuple):
    """One argument, or one variable's value: literal text and placeholders in order. ``line`` is where it stands."""

    parts: tuple[str | Placeholder, ...]
    line: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that this word needs, in order of appearance."""
        return tuple(part.name for part in self.parts if isinstance(part, Placeholder))

    def __str__(self) -> str:
        return "".join(f"{{{{ {part.name} }}}}" if isinstance(part, Placeholder) else part for part in self.parts)


class Code(NamedTuple):
    """The folder that becomes /workspace; ``path`` is as written, relative to the experiment file.

    ``exclude`` are patterns of what in it is not sent, as in .gitignore.
    """

    path: str
    writable: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """One folder or file of the cluster inside the container; both paths are absolute and normalised.

    ``run`` is the name that the file gives to the outputs of a run, ``run:alpha:1234/out``, and None for any other
    source. ``name`` is ``moons:train`` where the cluster's file says what moons is, and None too. In an experiment
    file's own values ``source`` is the run's or the data's name too: the plan knows the path. ``hash``: the sha256 of
    its files go into the record.
    """

    source: str
    target: str
    read_only: bool = True
    run: str | None = None
    name: str | None = None
    hash: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one job. ``gpus``, ``cpus`` and ``memory_mib`` are per node; None is the site's default.

    ``memory_mib`` 0 is all that a node has.
    """

    gpus: int = 1
    gpu_type: str | None = None
    cpus: int = 1
    memory_mib: int | None = None
    time_s: int | None = None
    nodes: int = 1
    tasks_per_node: int = 1
    shm_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The warning before the time limit: ``signal`` (without SIG) reaches the program ``before_end_s`` early.

    ``max_requeues`` is how often the job may ask to be queued again; what Slurm itself queues again does not count.
    """

    signal: str = "USR1"
    before_end_s: int = 60
    requeue: bool = False
    max_requeues: int = 20


@dataclass(frozen=True, slots=True)
class Comparer:
    """How files of the outputs are compared: by a program, or by their numbers, which may be so far apart.

    ``files`` is a glob; without a slash it is of names in any folder. ``script`` is a path below `code`, or here if the
    user gave it. Two numbers may be apart by ``absolute``, or by ``relative`` times the larger of the two.
    """

    files: str
    script: str | None = None
    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True)
class Reproduce:
    """What another run is compared by: the metric of metrics.json, how far it may be off, the files that stay equal.

    ``tolerance`` is the largest difference, in the metric's own unit; None: none is declared. ``files`` are paths below
    `outputs`. ``compare`` says how some of the outputs are compared.
    """

    metric: str | None = None
    tolerance: float | None = None
    files: tuple[str, ...] = ()
    compare: tuple[Comparer, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """A known vulnerability that does not hold a job: its id, the last day on which it counts, and why.

    ``until`` is YYYY-MM-DD, in UTC.
    """

    id: str
    until: str
    why: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The rule for what is known against an image.

    ``fail_on`` is the lowest severity that holds a job; ``none``: no severity does. ``max_age_s`` is how old the
    database of a scan may be. ``on_unknown`` says what becomes of a job whose image cannot be judged: ``warn``: it is
    submitted; ``refuse``: it is not.
    """

    fail_on: str = "CRITICAL"
    ignore: tuple[Ignored, ...] = ()
    max_age_s: int = 30 * 86400
    on_unknown: str = "warn"


@dataclass(frozen=True, slots=True)
class Build:
    """An image of one's own: a base, and what is added to it, in this order: ``apt``, ``pip``, ``dockerfile``.

    ``pip`` are requirements, or the path of a file of them. Paths are below the folder of the experiment's file.
    """

    base: str
    pip: tuple[str, ...] | str = ()
    apt: tuple[str, ...] = ()
    dockerfile: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment file, checked. ``image`` is '' where there is ``build``.

    ``sweep`` is the plain value of its key, in the shape that the schema describes.

    ``parameters`` are the values of those that nothing else gives one to. ``slurm`` is keyed by sbatch's long option
    names with dashes, ``plugin_options`` by names as written. ``packages`` is the path of a requirements file below the
    experiment's folder, or requirements in their one form; None: none are added. ``lines`` says where a key
    stands: ``("image",)``, ``("mounts", 0, "source")``; a key that was not written is absent.
    """

    name: str
    image: str
    command: tuple[Word, ...]
    code: Code | None = None
    mounts: tuple[Mount, ...] = ()
    outputs: str | None = None
    env: Mapping[str, Word] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    resources: Resources = Resources()
    network: str = "bridge"
    gpu_check: str = "cached"
    prepull: bool = False
    template: str | None = None
    slurm: Mapping[str, Option] = field(default_factory=dict)
    plugin_options: Mapping[str, Option] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    clusters: tuple[str, ...] = ()
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    reproduce: Reproduce | None = None
    packages: str | tuple[str, ...] | None = None
    scan: Scan | None = None
    build: Build | None = None
    sweep: Mapping[str, object] | None = None
    file: str = "exp.yaml"
    lines: Mapping[Path, int] = field(default_factory=dict)
    overridden: tuple[Path, ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        """The parameters that ``command`` and ``env`` have a placeholder for."""
        return frozenset(name for word in (*self.command, *self.env.values()) for name in word.names)

    @property
    def takes(self) -> frozenset[str]:
        """The parameters that a value may be given to: those that it reads, and those that it declares."""
        return self.reads | set(self.parameters)

    def problem(self, path: Path, why: str, fix: str = "") -> Problem:
        """A problem that stands where the key was written: its line, or the ``--set`` that replaced it."""
        return locate(self.file, self.lines, self.overridden, path, why, fix)


KEYS = frozenset(item.name for item in fields(Experiment)) - {"file", "lines", "overridden"}
