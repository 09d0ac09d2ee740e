"""The sentences of a manuscript -> what they claim: digests, versions, GPUs, seeds, values of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tfslurm.export.manuscript.reading import Manuscript

DIGEST = re.compile(r"sha256:\s?((?:[0-9a-f]{8}\s?){7}[0-9a-f]{8}|[0-9a-f]{12,64})(?![0-9a-f])")
CODE = re.compile(r"swh:1:(dir|rev):((?:[0-9a-f]{8}\s?){4}[0-9a-f]{8}|[0-9a-f]{40})(?![0-9a-f])")
TAG = re.compile(
    r"(?<![\w./:-])((?:[a-z0-9.:-]{1,80}/)?[a-z0-9._-]{1,80}/[a-z0-9._-]{1,80}):([A-Za-z0-9_][\w.-]{0,127})"
)
BETWEEN = (
    r"[\s\-~]{0,3}(?:(?:toolkit|runtime|library|version|versions|release|v\.?|ver\.?|driver|[=(:])[\s=(:]{0,3}){0,3}"
)
NUMBER = r"v?([0-9]{1,4}(?:\.[0-9]{1,6}){1,4})(?![0-9])"
WHOLE = r"v?([0-9]{1,3}(?:\.[0-9]{1,6}){0,4})(?![0-9]|\.[0-9])"
SOFTWARE = {
    "tensorflow": r"(?<![\w/.-])(?:TensorFlow|TF)",
    "python": r"(?<![\w/.-])Python",
    "driver": r"(?<![\w/.-])drivers?",
    "os": r"Ubuntu|Debian(?: GNU/Linux)?|Rocky(?: Linux)?|AlmaLinux|CentOS|Red Hat Enterprise Linux|RHEL",
}
LIBRARIES = {"cuda": r"(?<![\w/.-])CUDA", "cudnn": r"(?<![\w/.-])cuDNN"}
GPU = re.compile(
    r"(?P<maker>NVIDIA\s+)?(?P<family>Tesla\s+|GeForce\s+|Quadro\s+)?(?<![A-Za-z0-9])"
    r"(?P<model>[GA]?[ABHVP][1-9]00|[GB]?[HB]200|L40S?|A10G?|A16|A30|A40|H20|K[48]0|M[46]0|T4|L4|P40?|RTX\s?(?:PRO\s?)?A?[0-9]{4}"
    r"|A[2456]000|GTX\s?[0-9]{3,4}|TITAN\s(?:RTX|Xp?|V))(?:\s?(?P<kind>Ti|SUPER|Ada))?(?![A-Za-z0-9])"
    r"(?:[\s-]?(?P<form>SXM[0-9]?|PCIe|NVL))?(?:[\s-]{0,2}\(?(?P<memory>[0-9]{1,3})\s?GB)?(?P<gpu>\s?\)?\s?GPUs?)?"
)
ORDINARY = re.compile(r"(?:[TLP][0-9]{1,2}|[AKMHL][0-9]{2}S?)", re.ASCII)
"Models that are also names of sections, norms or sheets of paper: they count only with NVIDIA, a family or `GPU`."
SEEDS = re.compile(
    r"\bseeds?\b(?:\s(?:of|is|was|are|were|set to|fixed to|from|=|:|in))?[\s=:({\[]{0,3}"
    r"([0-9]{1,10}(?:\s?(?:,\s?and|,|and|to|through|–|---?|-|…|\.\.\.?)\s?[0-9]{1,10}){0,50})(?![0-9.]*[0-9%])",
    re.IGNORECASE,
)
WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MANY = {word: count for count, word in enumerate(WORDS, 2)}
SEED_COUNT = re.compile(
    rf"\b([0-9]{{1,4}}|{'|'.join(MANY)})\s(?:different |distinct |independent |random |training |fixed ){{0,3}}seeds\b",
    re.IGNORECASE,
)
VALUE = r"(?P<value>[-−]?[0-9]{1,12}(?:\.[0-9]{1,15})?(?:[eE]-?[0-9]{1,3})?)\s?(?P<percent>%|percent\b)?"
SPREAD = r"(?:\s?(?:±|\+/-|\+-)\s?(?P<spread>[0-9]{1,12}(?:\.[0-9]{1,15})?)\s?(?P<spread_percent>%|percent\b)?)?"


class Claim(NamedTuple):
    """One thing that the text says: its kind, the name and the value as they are typed, and where they stand."""

    place: int
    kind: str  # 'digest' | 'code' | 'tag' | 'gpu' | 'seeds' | 'seed count' | 'metric', or what a version is of
    name: str
    value: str
    words: str
    spread: str = ""  # of a metric, after ±


def claims_in(manuscript: Manuscript, packages: Sequence[str], metrics: Sequence[str]) -> list[Claim]:
    """All claims in the order of the text; ``packages`` and ``metrics`` are the names that the records know."""
    text = manuscript.text
    found = [*identities(text), *versions(text, packages), *gpus(text), *seeds(text), *values(text, metrics)]
    return sorted(found)


def identities(text: str) -> Iterator[Claim]:
    """Digests of images, tags, and the ids of the code."""
    for each in DIGEST.finditer(text):
        yield Claim(each.start(), "digest", "sha256", re.sub(r"\s", "", each[1]), each[0])
    for each in CODE.finditer(text):
        yield Claim(each.start(), "code", each[1], re.sub(r"\s", "", each[2]), each[0])
    for each in TAG.finditer(text):
        yield Claim(each.start(), "tag", each[1], each[2].rstrip("."), each[0].rstrip("."))


def versions(text: str, packages: Sequence[str]) -> Iterator[Claim]:
    """A name, and the version right behind it."""
    kinds = [*((kind, name, NUMBER) for kind, name in SOFTWARE.items()), *((k, n, WHOLE) for k, n in LIBRARIES.items())]
    named = "|".join(sorted(map(re.escape, packages), key=len, reverse=True))
    kinds += [("package", rf"(?<![\w/.-])(?:{named})", NUMBER)] if named else []
    for kind, name, number in kinds:
        for each in re.finditer(rf"(?P<name>{name}){BETWEEN}{number}", text, re.IGNORECASE):
            yield Claim(each.start(), kind, each["name"], each[2], each[0])


def gpus(text: str) -> Iterator[Claim]:
    """Models of GPUs, with their form and memory where they are named."""
    for each in GPU.finditer(text):
        if ORDINARY.fullmatch(each["model"]) and not (each["maker"] or each["family"] or each["gpu"]):
            continue
        parts = [each["model"], each["kind"], each["form"], each["memory"] and f"{each['memory']}GB"]
        yield Claim(each.start(), "gpu", "GPU", " ".join(filter(None, parts)), each[0].strip())


def seeds(text: str) -> Iterator[Claim]:
    """Seeds by their numbers, and how many there were."""
    for each in SEEDS.finditer(text):
        yield Claim(each.start(), "seeds", "seed", each[1], each[0])
    for each in SEED_COUNT.finditer(text):
        yield Claim(each.start(), "seed count", "seeds", str(MANY.get(each[1].lower(), each[1])), each[0])


def values(text: str, metrics: Sequence[str]) -> Iterator[Claim]:
    """The value of a metric, behind its name or right before it, in one sentence."""
    spelt = {re.sub(r"[_ .-]+", " ", name.lower()): name for name in metrics}
    if not spelt:
        return
    names = "|".join(re.escape(each).replace(r"\ ", "[_ .-]") for each in sorted(spelt, key=len, reverse=True))
    word = rf"(?<![A-Za-z0-9_.-])(?P<name>{names})(?![A-Za-z0-9_-])"
    behind = rf"{word}(?P<between>[^0-9.;!?]{{0,40}}?)(?<![0-9A-Za-z.-]){VALUE}{SPREAD}(?![0-9A-Za-z]|\.[0-9])"
    before = rf"(?<![0-9A-Za-z.±-]){VALUE}{SPREAD}\s(?:[a-z]{{1,12}}\s){{0,2}}{word}"
    taken: set[int] = set()
    for pattern in (before, behind):
        for each in re.finditer(pattern, text, re.IGNORECASE):
            if each.start("value") in taken or not is_a_value(each):
                continue
            taken.add(each.start("value"))
            spread = (each["spread"] or "") + ("%" if each["spread"] and each["spread_percent"] else "")
            value = each["value"].replace("−", "-") + ("%" if each["percent"] else "")
            name = spelt[re.sub(r"[_ .-]+", " ", each["name"].lower())]
            yield Claim(each.start("value"), "metric", name, value, each[0].strip(), spread)


def is_a_value(found: re.Match[str]) -> bool:
    """Whether a number is one of a metric, and no count or year: it has a fraction, a percent sign, or follows `=`."""
    between = found.groupdict().get("between") or ""
    return "." in found["value"] or bool(found["percent"]) or "=" in between or "e" in found["value"].lower()
