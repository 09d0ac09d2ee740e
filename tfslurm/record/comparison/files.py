"""The outputs of two runs beside each other: each file by its hash, then by its content where that says more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tfslurm.record.comparison.answers import BY_HAND, FileResult, Files, Measure, Run, reason, some
from tfslurm.record.comparison.comparers import Declared, Judged, by_script, declared_for
from tfslurm.record.comparison.contents import (
    compare_contents,
    format_of,
    has_content,
    is_together,
    unit_of,
    why_not_compared,
)
from tfslurm.record.comparison.contents.findings import EXACT, Tolerance
from tfslurm.record.metrics import metric_files
from tfslurm.record.model import Output

ANSWERS = {"same": "same content", "within": "within tolerance", "differs": "differs", "unread": "not comparable"}
MOST_LINES = 10
"Of one kind, in the evidence."


class Outputs(NamedTuple):
    """The outputs of two runs by their paths, and the paths of both. Made once: a run may leave 100,000."""

    a: Mapping[str, Output]
    b: Mapping[str, Output]
    paths: Collection[str]

    def are_equal(self, one: Sequence[str], other: Sequence[str]) -> bool:
        """Whether files of A have the names and bytes of files of B."""
        return one == other and all(self.a[path].sha256 == self.b[path].sha256 for path in one)


def outputs_of(a: Run, b: Run) -> Outputs:
    """Those of two runs."""
    one, other = a.outputs, b.outputs
    return Outputs(one, other, one.keys() | other.keys())


def compare_files(a: Run, b: Run, measured: Measure, judged: Judged) -> Files:
    """The outputs of both. If the measure names files, only these count, and each of them must be comparable."""
    for run in (a, b):
        if run.record.experiment.outputs is None:
            return Files(why=f"the outputs of {run.key} are not known: {reason(run.record, 'experiment.outputs')}")
    one, other, outputs = units(a), units(b), outputs_of(a, b)
    asked = {unit_of(path, outputs.paths) for path in measured.asked.files}
    found = [
        compare_unit(a, b, unit, (one.get(unit, []), other.get(unit, [])), measured, judged, outputs)
        for unit in sorted(asked or one.keys() | other.keys())
    ]
    if asked:
        found = [each._replace(answer="not comparable") if each.answer == "not compared" else each for each in found]
    return Files(tuple(found)) if found else Files(why="neither run left a file in its outputs")


def units(run: Run) -> dict[str, list[str]]:
    """What is compared as one thing -> its files."""
    found: dict[str, list[str]] = {}
    outputs = run.outputs
    for path in sorted(outputs):
        found.setdefault(unit_of(path, outputs), []).append(path)
    return found


def compare_unit(
    a: Run,
    b: Run,
    unit: str,
    paths: tuple[list[str], list[str]],
    measured: Measure,
    judged: Judged,
    outputs: Outputs,
) -> FileResult:
    """How one file, or files that belong together, compare; ``paths`` are those in A and in B."""
    one, other = paths
    if not one and not other:
        return FileResult(unit, "differs", "bytes", "neither run left it")
    why = why_not_compared(unit, outputs.paths)
    if not one or not other:
        side = "A" if one else "B"
        if why or is_together(unit):  # the name of its folder may hold a time
            return FileResult(unit, "not compared", "", why or f"only {side} has it")
        return FileResult(unit, f"only in {side}", "bytes")
    if outputs.are_equal(one, other):
        return FileResult(unit, "identical", "bytes")
    declared = declared_for(unit, (*one, *other), measured)
    if declared and declared.by.script:
        found = by_script(unit, declared, judged)
        return FileResult(unit, ANSWERS[found.answer], found.rule, found.why, declared=declared.source)
    if why:
        return FileResult(unit, "not compared", "", why)
    return by_content(a, b, unit, paths, declared)


def by_content(a: Run, b: Run, unit: str, paths: tuple[list[str], list[str]], declared: Declared | None) -> FileResult:
    """How files with other hashes compare."""
    source, tolerance = (declared.source, declared.tolerance) if declared else ("", EXACT)
    if not has_content(unit):
        if declared:
            why = "a tolerance is declared, and no numbers are read in a file of this kind"
            return FileResult(unit, "not comparable", "bytes", why, declared=source)
        return FileResult(unit, "differs", "bytes", "its bytes differ")
    if why := unread(a, b, paths):
        kind = format_of(unit)
        answer = "differs" if kind and kind.is_exact and not declared else "not comparable"
        return FileResult(
            unit, answer, "bytes", f"its bytes differ, and its content was not read: {why}", declared=source
        )
    left, right = ({path: run.contents[path] for path in side} for run, side in zip((a, b), paths, strict=True))
    found = compare_contents(unit, left, right, tolerance)
    answer = ANSWERS[found.answer]
    if answer == "not comparable" and is_together(unit) and not declared:
        answer = "not compared"  # it holds more than is read of it, which is never the same twice
    if answer == "same content":
        source = ""
    rule = f"{found.rule}, {shown(tolerance)}" if source else found.rule
    return FileResult(unit, answer, rule, found.why, found.max_abs, found.max_rel, source)


def shown(tolerance: Tolerance) -> str:
    """A tolerance for a reader."""
    return f"within {tolerance.absolute:g} or, of the larger number, {tolerance.relative:g}"


def unread(a: Run, b: Run, paths: tuple[list[str], list[str]]) -> str:
    """Why a file's content is not here; '': it is."""
    for run, side in zip((a, b), paths, strict=True):
        for path in side:
            if path not in run.contents:
                return f"{run.key}: {run.why_unread(path)}"
    return ""


def wanted(a: Run, b: Run, measured: Measure) -> list[str]:
    """The outputs of both whose contents are needed: metrics, and files that differ and are looked into."""
    paths = [*metric_files(a.record)[0], *metric_files(b.record)[0]]
    one, other, outputs = units(a), units(b), outputs_of(a, b)
    for unit in sorted(one.keys() & other.keys()):
        if outputs.are_equal(one[unit], other[unit]):
            continue
        declared = declared_for(unit, (*one[unit], *other[unit]), measured)
        if has_content(unit) or (declared and declared.by.script and declared.source == BY_HAND):
            paths += [*one[unit], *other[unit]]
    return list(dict.fromkeys(paths))


def file_lines(files: Files) -> Iterator[str]:
    """The outputs beside each other, in lines."""
    if files.why:
        yield files.why
    if files.identical:
        yield f"identical: {some(files.identical)}"
    yield from lines_of(files.those("same content"), "identical but for {why}: {path} ({rule})")
    yield from lines_of(files.those("within tolerance"), "within its tolerance: {path}: {why} ({rule})")
    yield from lines_of(files.those("differs"), "differs: {path}: {why}")
    for name, paths in (("A", files.only_in_a), ("B", files.only_in_b)):
        if paths:
            yield f"only in {name}: {some(paths)}"
    for answer in ("not comparable", "not compared"):
        found = files.those(answer)
        for why in dict.fromkeys(each.why for each in found):
            yield f"{answer}: {some(each.path for each in found if each.why == why)}: {why}"


def lines_of(found: Sequence[FileResult], form: str) -> Iterable[str]:
    """A line for each of the first files, and one for the others."""
    shown = [form.format(**each._asdict()) for each in found[:MOST_LINES]]
    more = len(found) - len(shown)
    return [*shown, f"{form.partition(':')[0].partition(' {')[0]}: {more} more files"] if more else shown
