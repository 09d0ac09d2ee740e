"""Is the environment of two runs the same: image, machine, engine, and the variables that TensorFlow obeys? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tfslurm.record.comparison.answers import Answer, reason, some
from tfslurm.record.model import Environment, Record
from tfslurm.record.task_model import Gpu, TaskFacts

INSIDE = {
    "tensorflow": "TensorFlow",
    "python": "Python",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "os": "OS",
    "glibc": "glibc",
}
NONE = "none"
"Of a fact about a thing that is not there."


class Fact(NamedTuple):
    """One thing that decides about bits, as a text to compare; ``text`` None: not observed.

    ``items`` are its parts where only those that differ are of interest.
    """

    name: str
    text: str | None
    why: str = ""
    items: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The fact for a list of what is the same; '' of what is not there."""
        if self.text == NONE:
            return "no GPU" if self.name == "GPU" else ""
        if not self.items:
            return f"{self.name} {self.text}"
        return f"{len(self.items)} {self.name if len(self.items) > 1 else self.name.removesuffix('s')}"

    def beside(self, other: Fact) -> str:
        """The fact and another run's, which is not the same."""
        if not self.items or not other.items:
            return f"{self.name}: {self.text} / {other.text}"
        one, two = (
            some(item for item in each.items if item not in but.items) or "no more"
            for each, but in ((self, other), (other, self))
        )
        return f"{self.name}: {one} / {two}"


def environment(a: Record, b: Record) -> Answer:
    """The answer. A fact that was not observed of both is never taken for equal.

    A libcuda that was not observed says nothing more where image and driver are the same: it comes from one of them.
    """
    image, why = same_image(a, b)
    facts = list(zip(facts_of(a), facts_of(b), strict=True))
    if image and (one := facts[0])[0].text is not None and one[0].text == one[1].text:
        facts = [each for each in facts if each[0].name != "libcuda" or None not in (each[0].text, each[1].text)]
    pairs = [(one, other) for one, other in facts if one.text is not None and other.text is not None]
    differs = [(one.name, one.beside(other)) for one, other in pairs if one.text != other.text]
    unknown = [(one.name, one.why or other.why) for one, other in facts if None in (one.text, other.text)]
    same = [one.short for one, other in pairs if one.text == other.text and one.short]
    lines = [line for _, line in differs]
    if image is False:
        lines = [f"image: {a.image.digest} / {b.image.digest}", *inside_lines(a.environment, b.environment), *lines]
        answer = "other image"
    elif image is None:
        unknown, answer = [("image", why), *unknown], "unknown"
    else:
        same = [f"image {a.image.digest[:19]}…", *same]
        answer = "same image" if differs else "unknown" if unknown else "identical"
    lines += [f"{name} is not known: {why}" for name, why in unknown]
    lines += ["the same: " + ", ".join(same)] if same else []
    return Answer(answer, tuple(name for name, _ in differs), tuple(unknown), tuple(lines))


def same_image(a: Record, b: Record) -> tuple[bool | None, str]:
    """Whether one image ran, and why that is not known. The config names it; a digest may be that of an index."""
    one, other = a.image, b.image
    if one.config_digest and other.config_digest:
        return one.config_digest == other.config_digest, ""
    if one.digest == other.digest:
        if one.digest_kind != "index" or (one.platform and one.platform == other.platform):
            return True, ""
        return None, "the digest is that of an index, and a record does not say the platform"
    if one.digest_kind == other.digest_kind:
        return False, ""
    return None, f"the digests are those of a {one.digest_kind} and of a {other.digest_kind}; a config is not known"


def inside_lines(a: Environment, b: Environment) -> Iterator[str]:
    """What the two images hold that is not the same."""
    for key, name in INSIDE.items():
        one, other = getattr(a, key), getattr(b, key)
        if one is None or other is None:
            yield f"{name} in the images: {one or 'not observed'} / {other or 'not observed'}"
        elif one != other:
            yield f"{name}: {one} / {other}"
    if a.packages is None or b.packages is None:
        yield "packages in the images: not observed of both"
        return
    changes = package_changes(a, b)
    kinds = Counter("added" if old is None else "removed" if new is None else "changed" for _, old, new in changes)
    if changes:
        yield "packages: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    else:
        yield "packages: the same"


def package_changes(a: Environment, b: Environment) -> list[tuple[str, str | None, str | None]]:
    """Name, version in A, version in B of each package that is not in both in one version; None: it is not there."""
    one = {package.name: package.version for package in a.packages or ()}
    other = {package.name: package.version for package in b.packages or ()}
    names = sorted(one.keys() | other.keys())
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def facts_of(record: Record) -> Iterator[Fact]:
    """What decides about bits, beside the image; of the last attempt, and of all its tasks."""
    tasks = record.attempts[-1].tasks if record.attempts else ()
    at = f"attempts[{len(record.attempts) - 1}].tasks" if record.attempts else "attempts"
    has_gpus = any(task.gpus != () for task in tasks)

    def of_tasks(name: str, key: str, get: Callable[[TaskFacts], str | None]) -> Fact:
        for index, task in enumerate(tasks):
            if get(task) is None:
                return Fact(name, None, reason(record, f"{at}[{index}].{key}"))
        if not tasks:
            return Fact(name, None, "no attempt left a fact")
        return Fact(name, ", ".join(sorted({get(task) or "" for task in tasks})))

    def of_gpus(name: str, key: str, get: Callable[[TaskFacts], str | None]) -> Fact:
        return of_tasks(name, key, get) if has_gpus or not tasks else Fact(name, NONE)

    yield of_gpus("driver", "driver_version", lambda task: task.driver_version)  # the first: see environment()
    yield of_tasks("GPU", "gpus", lambda task: gpu_text(task.gpus))
    yield of_gpus("libcuda", "libcuda_in_container", lambda task: task.libcuda_in_container)
    yield of_tasks("CPU model", "cpu_model", lambda task: task.cpu_model)
    flags = of_tasks("CPU flags", "cpu_flags", lambda task: flags_text(task.cpu_flags))
    yield flags._replace(items=tuple((flags.text or "").split()))
    yield of_tasks("schedulable CPUs", "cpus_schedulable", cpus_text)
    yield of_tasks("engine", "engine", engine_text)
    nodes = len({task.node for task in tasks})
    yield Fact("tasks", f"{len(tasks)} on {nodes} node{'' if nodes == 1 else 's'}" if tasks else None, "none began")
    yield variables(record)
    yield from added(record)


def added(record: Record) -> Iterator[Fact]:
    """The packages that the experiment adds to the image, and the files that came of installing them."""
    inside = record.environment
    if inside.layer is None:
        yield from (Fact("added packages", NONE), Fact("added files", NONE))
        return
    why = reason(record, "environment.layer")
    names = tuple(f"{each.name} {each.version}" for each in inside.layer_packages or ())
    yield Fact("added packages", ", ".join(names) or None, why, names)
    contents = inside.layer.contents_sha256
    yield Fact("added files", f"sha256:{contents[:19]}…" if contents else None, why)


def variables(record: Record) -> Fact:
    """The variables that TensorFlow and its libraries obey."""
    if record.determinism is None:
        return Fact("variables", None, "a record of this age does not have those of the image")
    pairs = sorted(record.determinism.variables.items())
    items = tuple(f"{name}={value}" for name, value in pairs)
    return Fact("variables", " ".join(items) or NONE, items=items)


def gpu_text(gpus: tuple[Gpu, ...] | None) -> str | None:
    """GPUs by their kinds; None where one was not observed."""
    if gpus is None or any(gpu.name is None for gpu in gpus):
        return None
    kinds = Counter(f"{gpu.name} ({gpu.memory_mib} MiB)" if gpu.memory_mib else str(gpu.name) for gpu in gpus)
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items())) or NONE


def flags_text(flags: tuple[str, ...] | None) -> str | None:
    """The processor's flags in an order of their own."""
    return None if flags is None else " ".join(sorted(flags))


def cpus_text(task: TaskFacts) -> str | None:
    """How many CPUs the container may run on."""
    return None if task.cpus_schedulable is None else str(task.cpus_schedulable)


def engine_text(task: TaskFacts) -> str | None:
    """The engine, its version, and the OCI runtime; None where one of them was not observed."""
    engine = task.engine
    if engine is None or engine.version is None or engine.runtime is None:
        return None
    return f"{engine.name} {engine.version} with {engine.runtime}"
