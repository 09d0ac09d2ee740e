"""Each claim of a manuscript beside the records: does one of them say the same?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from statistics import mean, median, pstdev, stdev
from typing import Any, NamedTuple

from tfslurm.export.manuscript.claims import Claim, claims_in
from tfslurm.export.manuscript.reading import read_manuscript
from tfslurm.record import Record

AGREES, DIFFERS, UNKNOWN = "agrees", "differs", "not observed"
FEW = 6  # values that are listed
MOST_SEEDS = 10_000


class Finding(NamedTuple):
    """What a manuscript says on one line, and whether the records say so too."""

    line: int
    status: str  # 'agrees' | 'differs' | 'not observed'
    kind: str
    words: str
    records: str  # what they say


class Known(NamedTuple):
    """The records and the metrics of each, as far as they could be read."""

    records: tuple[Record, ...]
    metrics: tuple[Mapping[str, Any], ...]

    def numbers(self, name: str) -> list[float]:
        """The values of a metric in all runs."""
        return [float(values[name]) for values in self.metrics if is_number(values.get(name))]


def is_number(value: object) -> bool:
    """Whether a metric's value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def checked(
    source: str, records: Sequence[Record], metrics: Sequence[Mapping[str, Any]], *, is_tex: bool
) -> list[Finding]:
    """What the source of a manuscript says of digests, versions, GPUs, seeds and metrics, line by line."""
    known = Known(tuple(records), tuple(metrics))
    manuscript = read_manuscript(source, is_tex=is_tex)
    packages = {each.name for record in records for each in record.environment.packages or ()}
    named = {name for values in metrics for name, value in values.items() if is_number(value)}
    claims = claims_in(manuscript, sorted(packages - {"tensorflow", "python"}), sorted(named))
    findings = []
    for claim in claims:
        if (answer := ANSWERS.get(claim.kind, version)(claim, known)) is not None:
            status, said = answer
            findings.append(Finding(manuscript.line(claim.place), status, claim.kind, claim.words, said))
    return findings


Answer = tuple[str, str]


def among(claim: Claim, said: Sequence[str], agrees: bool) -> Answer:
    """The answer by the values that the records have; UNKNOWN where they have none."""
    values = list(dict.fromkeys(said))
    shown = ", ".join(values[:FEW]) + (", …" if len(values) > FEW else "")
    return (AGREES if agrees else DIFFERS if values else UNKNOWN, shown or "no record has it")


def digest(claim: Claim, known: Known) -> Answer:
    """Some record's image, or one of its inputs or outputs, has this sha256."""
    images = [record.image.digest.removeprefix("sha256:") for record in known.records]
    others = {record.image.config_digest or "" for record in known.records}
    others |= {each.sha256 for record in known.records for each in record.experiment.outputs or ()}
    others |= {each.sha256 or each.tree_sha256 or "" for record in known.records for each in record.inputs or ()}
    agrees = any(each.removeprefix("sha256:").startswith(claim.value) for each in (*images, *others) if each)
    return among(claim, [f"sha256:{each}" for each in images], agrees)


def code(claim: Claim, known: Known) -> Answer:
    """The code's tree, or its commit."""
    said = [getattr(r.code, "tree" if claim.name == "dir" else "commit") for r in known.records if r.code]
    return among(claim, [each for each in said if each], claim.value in said)


def tag(claim: Claim, known: Known) -> Answer | None:
    """The tag of an image of the records; None for another image, or a word with a colon."""
    same = [r.image for r in known.records if f"{r.image.registry}/{r.image.repository}".endswith(claim.name)]
    said = [image.tag for image in same if image.tag]
    return among(claim, [f"{claim.name}:{each}" for each in said], claim.value in said) if same else None


def version(claim: Claim, known: Known) -> Answer | None:
    """A version of software, of the driver, or of an operating system; a shorter one agrees with a longer one."""
    said = list(dict.fromkeys(each for record in known.records for each in versions_of(claim, record) if each))
    if claim.kind == "os" and not said:
        return None
    return among(claim, said, any(is_part(claim.value, each) for each in said))


def versions_of(claim: Claim, record: Record) -> list[str]:
    """Those that a record has of what a claim names."""
    inside = record.environment
    tasks = record.attempts[-1].tasks if record.attempts else ()
    if claim.kind == "driver":
        return [task.driver_version or "" for task in tasks]
    if claim.kind == "os":
        systems = [inside.os or "", *(task.os or "" for task in tasks)]
        word = claim.name.split()[0].lower()
        return [each for each in systems if word in each.lower() or (word == "rhel" and "red hat" in each.lower())]
    if claim.kind == "package":
        return [each.version for each in inside.packages or () if each.name.lower() == claim.name.lower()]
    found = {
        "tensorflow": (inside.tensorflow,),
        "python": (inside.python,),
        "cuda": (inside.cuda, inside.cuda_present, *(task.driver_cuda for task in tasks)),
        "cudnn": (inside.cudnn, inside.cudnn_present),
    }
    return [each for each in found[claim.kind] if each]


def is_part(typed: str, observed: str) -> bool:
    """Whether a version is the observed one, or its beginning: 2.16 of 2.16.1. cuDNN says 8 where it has 8.9.6."""
    parts = [re.findall("[0-9]+", each) for each in (typed, version_in(observed))]
    count = min(len(parts[0]), len(parts[1]))
    return bool(parts[1]) and parts[0][:count] == parts[1][:count] and (len(parts[0]) <= len(parts[1]) or count == 1)


def version_in(observed: str) -> str:
    """The number in what was observed: `Ubuntu 22.04.4 LTS`."""
    found = re.search(r"[0-9]+(?:\.[0-9]+)*", observed)
    return found[0] if found else ""


def gpu(claim: Claim, known: Known) -> Answer:
    """A GPU of the records has the model, and the form and the memory where the text names them."""
    tasks = [task for record in known.records for attempt in record.attempts[-1:] for task in attempt.tasks]
    seen = [(gpu.name, gpu.memory_mib) for task in tasks for gpu in task.gpus or () if gpu.name]
    if not seen and tasks and all(task.gpus == () for task in tasks):
        return DIFFERS, "the runs had no GPU"
    agrees = any(has_all(claim.value, name, memory) for name, memory in seen)
    return among(claim, [name for name, _ in seen], agrees)


def has_all(words: str, name: str, memory_mib: int | None) -> bool:
    """Whether a GPU's name has all these words; its memory may be typed as the maker gives it."""
    parts = re.split(r"[\s-]+", name.lower())
    return all(has(word, parts, memory_mib) for word in words.lower().split())


def has(word: str, parts: Sequence[str], memory_mib: int | None) -> bool:
    """Whether one word is part of a GPU's name: `sxm` of SXM4, `rtx3090` of RTX 3090, `80gb` of one with 81920 MiB."""
    if word in parts or (len(word) > len("rtx") and word in "".join(parts)):
        return True
    if word.endswith("gb"):
        size = int(word.removesuffix("gb"))
        return memory_mib is not None and abs(memory_mib / 1024 - size) <= 0.1 * size
    return word == "sxm" and any(part.startswith(word) for part in parts)


def seeds(claim: Claim, known: Known) -> Answer:
    """Every seed that is typed is one of a run."""
    said = seeds_of(known)
    numbers = numbers_in(claim.value)
    return among(claim, sorted(said, key=lambda each: (len(each), each)), bool(numbers) and set(numbers) <= said)


def seed_count(claim: Claim, known: Known) -> Answer:
    """The runs have as many different seeds."""
    said = seeds_of(known)
    return among(claim, [str(len(said))] if said else [], int(claim.value) == len(said))


def seeds_of(known: Known) -> set[str]:
    """The seeds of all runs."""
    return {str(each) for r in known.records if r.determinism for each in r.determinism.seeds.values()}


def numbers_in(words: str) -> list[str]:
    """The numbers of `0, 1 and 2`, `0--9` or `0 to 9`."""
    found: list[str] = []
    for part in re.split(r"\s?(?:,\s?and|,|and)\s?", words):
        ends = [int(each) for each in re.findall("[0-9]+", part)]
        if len(ends) == 2 and 0 < ends[1] - ends[0] < MOST_SEEDS:
            found += map(str, range(ends[0], ends[1] + 1))
        else:
            found += map(str, ends)
    return found


def metric(claim: Claim, known: Known) -> Answer:
    """A run has the value, or all have it as their mean, median, least or most, rounded as it is typed."""
    numbers = known.numbers(claim.name)
    if not numbers:
        return among(claim, [], False)
    sums = [mean(numbers), median(numbers)] if len(numbers) > 1 else []
    spreads = [stdev(numbers), pstdev(numbers)] if len(numbers) > 1 else []
    agrees = any(rounds_to(claim.value, each) for each in (*numbers, *sums))
    agrees = agrees and (not claim.spread or any(rounds_to(claim.spread, each) for each in spreads))
    if len(numbers) == 1:
        return among(claim, [f"{numbers[0]:.6g}"], agrees)
    shown = f"{min(numbers):.6g} to {max(numbers):.6g}, mean {mean(numbers):.6g}, s {stdev(numbers):.3g}"
    return among(claim, [f"{shown} of {len(numbers)} runs"], agrees)


def rounds_to(typed: str, observed: float) -> bool:
    """Whether a value, or a hundred times it, is what is typed, rounded to as many digits."""
    is_percent = typed.endswith("%")
    try:
        said, value = Decimal(typed.rstrip("%")), Decimal(repr(observed))
    except InvalidOperation:
        return False
    step = Decimal(1).scaleb(int(said.as_tuple().exponent))
    scaled = [value, value * 100] if is_percent or abs(said) > 1 else [value]  # a metric may be a percentage already
    return any(abs(each - said) <= step / 2 for each in scaled)


ANSWERS = {
    "digest": digest,
    "code": code,
    "tag": tag,
    "gpu": gpu,
    "seeds": seeds,
    "seed count": seed_count,
    "metric": metric,
}
