"""Do the results of two runs agree, by the rule that applies to their seeds and environments? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from tfslurm.record.comparison.answers import BY_HAND, Answer, Files, Measure, Results, Run, reason, some
from tfslurm.record.comparison.comparers import Judged, merged
from tfslurm.record.comparison.files import compare_files, file_lines
from tfslurm.record.comparison.prediction import FEWEST, interval
from tfslurm.record.comparison.seeds import Seeds
from tfslurm.record.metrics import metric_files, metrics_of
from tfslurm.spec import Reproduce

ENDED_WELL = "COMPLETED"
UNDETERMINED = "seed, environment and inputs are the same, so the program itself is not deterministic"
NAME_ONE = "give --metric and --tolerance, or write `reproduce: {metric: …, tolerance: …}` in exp.yaml"


class Metric(NamedTuple):
    """The value of a metric in one run; None: there is none, and why."""

    value: int | float | None
    why: str = ""

    @property
    def exact(self) -> Decimal:
        """The decimal number that was written: 0.98 - 0.96 is 0.02."""
        return Decimal(repr(self.value))


def measure(a: Reproduce | None, b: Reproduce | None, given: Reproduce | None) -> Measure:
    """What the results are compared by: what the user gave now, else what the runs declare.

    Where both declare a tolerance, the smaller one counts.
    """
    given = given or Reproduce()
    declared = [each for each in (a, b) if each]
    names = list(dict.fromkeys(each.metric for each in declared if each.metric))
    files = tuple(sorted({file for each in declared for file in each.files}))
    metric = given.metric or (names[0] if len(names) == 1 else None)
    own = [each.tolerance for each in declared if each.tolerance is not None and each.metric == metric]
    tolerance = given.tolerance if given.tolerance is not None else min(own, default=None)
    source = BY_HAND if given.tolerance is not None else "exp.yaml" if own else ""
    why = f"they declare other metrics: {' and '.join(sorted(names))}" if len(names) > 1 and not metric else ""
    compare = merged(*(each.compare if each else () for each in (a, b)))
    return Measure(Reproduce(metric, tolerance, files, compare), source, why, given.compare)


def results(
    a: Run, b: Run, environment: Answer, inputs: Answer, seeds: Seeds, measured: Measure, judged: Judged
) -> Results:
    """The answer for two single runs."""
    if why := unfinished(a) or unfinished(b):
        return Results("not comparable", evidence=(why,))
    files = compare_files(a, b, measured, judged)
    lines = tuple(file_lines(files))
    if files.agree and not files.declared:
        return with_metric(Results("bit-identical", "bits", True, lines, files), a, b, measured)
    if seeds.relation == "unknown":
        why = f"whether the seed is the same is not known: {seeds.why}"
        return Results("not comparable", evidence=(why, *lines), files=files)
    if seeds.relation == "other":
        why = f"another seed ({seeds.why}): one run is too few seeds to say, {FEWEST} of a sweep are needed"
        return with_metric(Results("not comparable", "interval", None, (why, *lines), files), a, b, measured)
    is_same_machine = environment.answer == "identical"
    held = by_declared(files, is_same_machine)
    if held and held.agree is not True:
        return with_metric(held, a, b, measured)
    bits_are_due = is_same_machine and files.agree is False and promises_bits(measured, inputs)
    if measured.asked.tolerance is not None and not bits_are_due:
        found = by_tolerance(a, b, measured, files)
        if found.agree is not None or files.agree is None or not is_same_machine:
            return found
    if held:
        return with_metric(held, a, b, measured)
    if is_same_machine and files.agree is False:
        lines = (UNDETERMINED, *lines) if inputs.answer == "identical" else lines
        return with_metric(Results("bits differ", "bits", False, lines, files), a, b, measured)
    why = files.why or ("a file cannot be compared" if files.those("not comparable") else "no file can be compared")
    if files.agree is False:
        why = "the bits differ, which says nothing where the environment is not known to be the same"
    why += f"; {measured.problem or 'no tolerance is declared'}; {NAME_ONE}"
    return with_metric(Results("not comparable", "", None, (why, *lines), files), a, b, measured)


def by_declared(files: Files, is_same_machine: bool) -> Results | None:
    """What the declared tolerances and scripts say of files; None: none is declared, or other files decide.

    On another machine the files that nothing is declared for say nothing.
    """
    answers = {each.answer for each in files.declared}
    lines = tuple(file_lines(files))
    if "differs" in answers:
        return Results("outside the tolerance", "tolerance", False, lines, files)
    if "not comparable" in answers:
        return Results("not comparable", "tolerance", None, lines, files)
    if answers and (files.agree or not is_same_machine):
        return Results("within tolerance", "tolerance", True, lines, files)
    return None


def promises_bits(measured: Measure, inputs: Answer) -> bool:
    """Whether bits must be the same on an equal machine: exp.yaml names files, and no input is known to differ."""
    return bool(measured.asked.files) and measured.source != BY_HAND and inputs.answer != "other"


def unfinished(run: Run) -> str:
    """Why a run has no results to compare; '': it ended well."""
    state = run.record.job.state
    return "" if state == ENDED_WELL else f"{run.key} is {state or 'in a state that is not known'}"


# ------------------------------------------------------------------------------------------------------------- metrics


def metrics(run: Run) -> tuple[dict[str, Any], str]:
    """The metrics of a run, and why it has none."""
    if run.record.experiment.outputs is None:
        return {}, reason(run.record, "experiment.outputs")
    paths, glob = metric_files(run.record)
    if not paths:
        return {}, f"it left no {glob}"
    for path in paths:
        if path not in run.contents:
            return {}, f"{path}: {run.why_unread(path)}"
    found, why = metrics_of({path: run.contents[path] for path in paths}, glob)
    return found, why if not found else ""


def metric_of(run: Run, name: str | None) -> Metric:
    """The value of a metric; a text, true or false, NaN and infinity are none."""
    found, why = metrics(run)
    if not name:
        return Metric(None, f"no metric is named; it has {some(found)}" if found else "no metric is named")
    if name not in found:
        return Metric(None, f"{run.key} has no {name}: {why or f'it has {some(found)}'}")
    value = found[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Metric(value)
    return Metric(None, f"{name} of {run.key} is {value!r}, which is no number to compare")


def with_metric(found: Results, a: Run, b: Run, measured: Measure) -> Results:
    """The same with the metric's values, where there is one."""
    name = measured.asked.metric
    one, other = metric_of(a, name), metric_of(b, name)
    if not name or (one.value is None and other.value is None):
        return found
    left, right = (None if each.value is None else repr(each.value) for each in (one, other))
    line = f"{name}: {left or one.why} / {right or other.why}"
    return found._replace(metric=name, values=(left, right), evidence=(*found.evidence[:1], line, *found.evidence[1:]))


def by_tolerance(a: Run, b: Run, measured: Measure, files: Files) -> Results:
    """The declared tolerance: how far the metric is off, exactly."""
    name, tolerance = measured.asked.metric, measured.asked.tolerance
    one, other = metric_of(a, name), metric_of(b, name)
    lines = tuple(file_lines(files))
    if one.value is None or other.value is None:
        why = (one.why or other.why) if name else f"{measured.problem or one.why}; {NAME_ONE}"
        return Results("not comparable", "tolerance", None, (why, *lines), files, name or "")
    off, most = abs(one.exact - other.exact), Decimal(repr(tolerance))
    is_within = off <= most
    line = f"{name}: {one.value!r} / {other.value!r}: they differ by {off.normalize():f}, and {most:f} is declared"
    line += f" ({measured.source})"
    answer = "within tolerance" if is_within else "outside the tolerance"
    values = (repr(one.value), repr(other.value))
    return Results(answer, "tolerance", is_within, (line, *lines), files, name or "", values)


def by_interval(group: Sequence[Run], run: Run, measured: Measure, names: tuple[str, str] = ("A", "B")) -> Results:
    """Whether one run lies where a sweep's runs with other seeds let expect it; ``names``: the sweep's, the run's."""
    if why := measured.problem or unfinished(run):
        return Results("not comparable", "interval", None, (why,))
    ended = [each for each in group if not unfinished(each)]
    name = measured.asked.metric
    found = [metric_of(each, name) for each in ended]
    values = [each.value for each in found if each.value is not None]
    missing = [each.why for each in found if each.value is None]
    lines = []
    if left := len(group) - len(ended):
        lines.append(f"{left} of {len(group)} runs of {names[0]} did not end well")
    lines += [f"{len(missing)} of {names[0]} have no value: {missing[0]}"] if missing else []
    one = metric_of(run, name)
    if one.value is None:
        why = one.why if name else f"{one.why}; {NAME_ONE}"
        return Results("not comparable", "interval", None, (why, *lines), metric=name or "")
    between = interval(values)
    if between is None:
        why = f"too few seeds to say: {len(values)} of {names[0]} have the metric {name}, and {FEWEST} are needed"
        why = why if len(values) < FEWEST else f"{name} has values beyond what an interval can be computed of"
        return Results("not comparable", "interval", None, (why, *lines), metric=name or "")
    is_within = between.low <= one.value <= between.high
    line = (
        f"{name}: {one.value!r}; {between.runs} seeds: mean {between.mean:.6g}, deviation {between.deviation:.3g}, "
        f"95 % prediction interval {between.low:.6g} to {between.high:.6g}"
    )
    answer = f"{'within' if is_within else 'outside'} the seeds' 95 % prediction interval"
    values_shown = (None, repr(one.value))
    return Results(answer, "interval", is_within, (line, *lines), Files(), name or "", values_shown, between)
