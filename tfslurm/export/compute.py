"""Runs -> the compute paragraph that a venue asks for: hardware, hours of each run and in all, failed ones too. Pure.

Sources: NeurIPS paper checklist, item 8 (kind of workers, memory, compute of each run and in all, runs that are not in
the paper); CVPR's compute reporting form, section 1 (hardware); SC's artifact description (hardware, software, expected
reproduction time in minutes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

VENUES = ("text", "neurips", "cvpr", "sc", "json")
METER = "the sum of nvidia-smi's readings of their power, without what came after a run's last reading"
RULED = "Time is Slurm's, from the begin to the end of each job; a GPU counts for as long as the job held it."


class Run(NamedTuple):
    """One Slurm job. None: not observed; ``seconds`` are those of all its attempts."""

    job: str
    is_named: bool  # one of those that the paper reports; else another run of the same experiments
    state: str
    seconds: int | None
    nodes: int
    gpus: int  # of all nodes, as Slurm granted them
    cpus: int
    memory_mib: int | None  # None: as much as the partition gives
    gpu_names: tuple[str, ...] | None  # kind and memory; () of a job without GPUs
    cpu_names: tuple[str, ...] | None
    joules: float | None
    image: str

    @property
    def is_reported(self) -> bool:
        """Whether it is a result: named, and COMPLETED."""
        return self.is_named and self.state == "COMPLETED"


class Sum(NamedTuple):
    """What runs took together; ``unknown`` have no time and are not in it."""

    runs: int
    hours: float
    gpu_hours: float
    cpu_hours: float
    unknown: int


def summed(runs: Sequence[Run]) -> Sum:
    """Hours of wall clock, of GPUs and of CPUs."""
    known = [(run, run.seconds / 3600) for run in runs if run.seconds is not None]
    return Sum(
        len(runs),
        sum(hours for _, hours in known),
        sum(run.gpus * hours for run, hours in known),
        sum(run.cpus * hours for run, hours in known),
        len(runs) - len(known),
    )


def compute_text(runs: Sequence[Run], venue: str) -> str:
    """The paragraph, or the fields, for one of the ``VENUES`` but json."""
    written: Mapping[str, Callable[[Sequence[Run]], Iterator[str]]] = {
        "text": paragraph,
        "neurips": neurips,
        "cvpr": cvpr,
        "sc": artifact,
    }
    return "".join(f"{line}\n" for line in written[venue](runs))


def compute_json(runs: Sequence[Run]) -> dict[str, Any]:
    """The sums, and each run."""
    named = {"reported": reported(runs), "failed": failed(runs), "others": others(runs), "all": list(runs)}
    return {
        "schema": "tfslurm.compute/1",
        **{
            name: {key: rounded(value) for key, value in summed(part)._asdict().items()} for name, part in named.items()
        },
        "energy_joules": energy(runs),
        "jobs": [run._asdict() for run in runs],
    }


def rounded(value: float) -> float:
    """A number of hours that does not claim more digits than a second has."""
    return round(value, 4) if isinstance(value, float) else value


def reported(runs: Sequence[Run]) -> list[Run]:
    """The results."""
    return [run for run in runs if run.is_reported]


def failed(runs: Sequence[Run]) -> list[Run]:
    """Named runs that are no result."""
    return [run for run in runs if run.is_named and not run.is_reported]


def others(runs: Sequence[Run]) -> list[Run]:
    """Runs of the same experiments that were not named."""
    return [run for run in runs if not run.is_named]


def shown_of(runs: Sequence[Run]) -> list[Run]:
    """The runs whose hardware is told: the results; where there is none, what was named, else all."""
    return reported(runs) or failed(runs) or list(runs)


def hours(value: float) -> str:
    """3 significant digits, and no zero for a run of a second."""
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def energy(runs: Sequence[Run]) -> float | None:
    """Joules of all runs; None where those of one are not known."""
    known = [run.joules for run in runs if run.joules is not None]
    return sum(known) if known and len(known) == len(runs) else None


def energy_words(runs: Sequence[Run]) -> str:
    """`` used 2 kWh …``, of how many of the runs with GPUs, and how that was measured; '' where it is known of none."""
    with_gpus = [run for run in runs if run.gpus]
    known = [run.joules for run in with_gpus if run.joules is not None]
    if not known:
        return ""
    some = f" of {len(known)} of {counted(len(with_gpus), 'run')}" if len(known) < len(with_gpus) else ""
    return f"{some} used {sum(known) / 3.6e6:.3g} kWh, {METER}"


def kinds(runs: Sequence[Run], names: Callable[[Run], tuple[str, ...] | None]) -> str:
    """The kinds of hardware with their runs; 'not observed' among them where a run has none."""
    found = [names(run) for run in runs]
    seen = Counter(name for each in found for name in (("not observed",) if each is None else each))
    several = len(seen) > 1
    return ", ".join(f"{name} ({counted(count, 'run')})" if several else name for name, count in seen.most_common())


def gpu_kinds(runs: Sequence[Run]) -> str:
    """The GPUs."""
    return kinds(runs, lambda run: run.gpu_names) or "none"


def cpu_kinds(runs: Sequence[Run]) -> str:
    """The processors."""
    return kinds(runs, lambda run: run.cpu_names) or "not observed"


def span(values: Sequence[float], form: Callable[[float], str] = lambda value: f"{value:.3g}") -> str:
    """One value, or the least and the most of several."""
    least, most = form(min(values)), form(max(values))
    return least if least == most else f"{least} to {most}"


def several(values: Sequence[int], noun: str) -> str:
    """1 GPU, 2 GPUs, 1 to 4 GPUs."""
    return f"{span(values, str)} {noun}{'' if max(values) == 1 else 's'}"


def each_run(runs: Sequence[Run]) -> str:
    """What Slurm granted each run."""
    nodes = f" on {several([run.nodes for run in runs], 'node')}" if max(run.nodes for run in runs) > 1 else ""
    sizes = [run.memory_mib / 1024 for run in runs if run.memory_mib]
    memory = f"{span(sizes)} GiB of memory" if len(sizes) == len(runs) else "the partition's memory"
    return (
        f"{several([run.gpus for run in runs], 'GPU')}, {several([run.cpus for run in runs], 'CPU')}, {memory}{nodes}"
    )


def lengths(runs: Sequence[Run]) -> str:
    """How long a run took."""
    known = [run.seconds / 3600 for run in runs if run.seconds is not None]
    if not known:
        return "not observed"
    middle = f", median {hours(median(known))} h" if len(known) > 1 else ""
    return f"{span(known, hours)} h{middle}"


def paragraph(runs: Sequence[Run]) -> Iterator[str]:
    """Sentences for an appendix."""
    results, lost, more = reported(runs), failed(runs), others(runs)
    shown = shown_of(runs)
    yield f"Each run had {each_run(shown)}. GPU: {gpu_kinds(shown)}. CPU: {cpu_kinds(shown)}."
    if results:
        total = summed(results)
        yield f"{counted(total.runs, 'reported run')} took {spent(total)}: {lengths(results)} each."
    if lost:
        states = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in lost).most_common())
        yield f"{counted(len(lost), 'run')} gave no result ({states}) and took {spent(summed(lost))}."
    if more:
        whose = "of the same experiments, preliminary, failed or repeated,"
        yield f"{counted(len(more), 'other run')} {whose} took {spent(summed(more))}."
    total = summed(runs)
    used = f"{hours(total.gpu_hours)} GPU hours, {hours(total.cpu_hours)} CPU hours"
    yield f"In all: {used}, {counted(total.runs, 'run')}."
    if total.unknown:
        yield f"The time of {total.unknown} of them is not known, and is not in these sums."
    if used := energy_words(runs):
        yield f"The GPUs{used}."
    yield RULED


def counted(number: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spent(total: Sum) -> str:
    """The GPU hours; of runs without GPUs, the CPU hours."""
    return f"{hours(total.gpu_hours)} GPU hours" if total.gpu_hours else f"{hours(total.cpu_hours)} CPU hours"


def told(total: Sum) -> str:
    """How many runs, and their hours."""
    return f"{counted(total.runs, 'run')}, {spent(total)}"


def neurips(runs: Sequence[Run]) -> Iterator[str]:
    """The answer to item 8 of the checklist; its question is the venue's, the answer yours to check."""
    yield "Answer: [Yes]"
    yield "Justification: " + " ".join(line for line in paragraph(runs))


def cvpr(runs: Sequence[Run]) -> Iterator[str]:
    """The fields of hardware and compute."""
    shown, total = shown_of(runs), summed(runs)
    yield f"GPU: {gpu_kinds(shown)}"
    yield f"CPU: {cpu_kinds(shown)}"
    yield f"Each run: {each_run(shown)}"
    yield f"Time of a run: {lengths(shown)}"
    yield f"Reported runs: {told(summed(reported(runs)))}"
    yield f"Failed runs: {told(summed(failed(runs)))}"
    yield f"Other runs of the same experiments: {told(summed(others(runs)))}"
    yield f"All runs: {told(total)}" + (f"; of {total.unknown} the time is not known" if total.unknown else "")
    if used := energy_words(runs):
        yield f"Energy: the GPUs{used}"


def artifact(runs: Sequence[Run]) -> Iterator[str]:
    """The fields of an artifact description that a launcher knows; the others are the authors'."""
    shown = shown_of(runs)
    known = [run.seconds / 60 for run in shown if run.seconds is not None]
    yield "Expected Reproduction Time (in Minutes)"
    yield "  Artifact Setup: not observed"
    took = "not observed"
    if known:
        took = f"{span(known)} minutes for each run, {sum(known):.3g} in all"
    yield f"  Artifact Execution: {took}, {counted(len(shown), 'run')}"
    yield "  Artifact Analysis: not observed"
    yield f"Hardware: GPU: {gpu_kinds(shown)}; CPU: {cpu_kinds(shown)}; each run: {each_run(shown)}"
    yield f"Software: container image {', '.join(dict.fromkeys(run.image for run in shown))}"
