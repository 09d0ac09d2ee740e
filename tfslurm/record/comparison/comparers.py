"""How each output is compared: as somebody declared, else as its format is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from tfslurm.record.comparison.answers import BY_HAND, Measure
from tfslurm.record.comparison.contents.findings import Content, Tolerance
from tfslurm.record.globs import is_meant
from tfslurm.spec import Comparer

IN_EXP_YAML = "exp.yaml"
Judged = Mapping[str, Content]
"What the scripts that the user gave said, by the file or the files that belong together."


class Declared(NamedTuple):
    """What somebody declared for a file, and who did."""

    by: Comparer
    source: str

    @property
    def tolerance(self) -> Tolerance:
        """How far its numbers may be apart."""
        return Tolerance(self.by.absolute, self.by.relative)


def merged(a: Iterable[Comparer], b: Iterable[Comparer]) -> tuple[Comparer, ...]:
    """What two runs declare, the longest globs first, so that the order of the runs means nothing.

    Where both have a tolerance for one glob, the smaller one counts.
    """
    found: dict[tuple[str, str], Comparer] = {}
    for each in (*a, *b):
        key = (each.files, each.script or "")
        seen = found.get(key, each)
        absolute, relative = min(each.absolute, seen.absolute), min(each.relative, seen.relative)
        found[key] = Comparer(each.files, each.script, absolute, relative)
    return tuple(found[key] for key in sorted(found, key=lambda key: (-len(key[0]), key)))


def declared_for(unit: str, paths: Iterable[str], measured: Measure) -> Declared | None:
    """What is declared for a file, or for files that belong together; None: nothing is."""
    names = (unit, *paths)
    for given, source in ((measured.given, BY_HAND), (measured.asked.compare, IN_EXP_YAML)):
        for each in given:
            if any(fits(name, each.files) for name in names):
                return Declared(each, source)
    return None


def fits(path: str, glob: str) -> bool:
    """Whether a path is one that a glob means; `**` is any number of folders."""
    if "/" not in glob:
        return fnmatchcase(path.rpartition("/")[2], glob)
    return is_meant(path, glob)


def by_script(unit: str, declared: Declared, judged: Judged) -> Content:
    """What a script says of a file; one that exp.yaml names is a stranger's program, and is not run."""
    script = declared.by.script or ""
    if declared.source == BY_HAND:
        return judged.get(unit) or Content("unread", f"script {script}", "it was not run")
    given = f"--compare '{declared.by.files}={script}'"
    why = f"exp.yaml says that {script} of its code compares it; read that program, then add {given} to `tfslurm diff`"
    return Content("unread", f"script {script}", why)
