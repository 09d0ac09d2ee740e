"""The tables of a verdict's report. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfslurm.export.difference import Diff, Pair
from tfslurm.export.markdown import MOST_CELL, cell, table
from tfslurm.job_plan import DerivedFrom
from tfslurm.record import Record
from tfslurm.record.comparison import Files
from tfslurm.record.comparison.environment import Fact, facts_of
from tfslurm.record.comparison.points import environment_text, inputs_text
from tfslurm.record.comparison.seeds import text_of

MOST_ROWS = 200
UNKNOWN = "not known"


def bounded(headers: list[str], rows: list[list[str]]) -> str:
    """A table of so many rows as a reader takes in; '' of none."""
    more = [[f"and {len(rows) - MOST_ROWS} more, in --json", *[""] * (len(headers) - 1)]]
    return table(headers, [*rows[:MOST_ROWS], *(more if len(rows) > MOST_ROWS else [])]) if rows else ""


# ---------------------------------------------------------------------------------------------------------------- runs


def runs_table(pair: Pair) -> str:
    """Who ran what, where, when, and how long it took."""
    if pair.records is None:
        return ""
    a, b = pair.records
    rows = [[name, *(cell(get(record) or UNKNOWN) for record in (a, b))] for name, get in RUN_ROWS.items()]
    stands_for = [name for name, record in ((pair.a, a), (pair.b, b)) if name != key_of(record)]
    note = "".join(
        f"\n{cell(name)} is many runs; the point that is least like the other run stands for them here, "
        "and its seeds decide about the results.\n"
        for name in stands_for
    )
    return table(["", *sides(a, b)], rows) + note


def sides(a: Record, b: Record) -> tuple[str, str]:
    """What A and B are to each other."""
    if b.derived_from and b.derived_from.record_sha256 == a.integrity.record_sha256:
        return "A, the original", "B, the rerun"
    if a.derived_from and a.derived_from.record_sha256 == b.integrity.record_sha256:
        return "A, the rerun", "B, the original"
    return "A", "B"


def key_of(record: Record) -> str:
    """The name of its job."""
    return f"{record.job.cluster}:{record.job.job_id}"


def took(record: Record) -> str:
    """How long the last attempt ran."""
    return f"{record.job.elapsed_s} s" if record.job.elapsed_s is not None else ""


def code_of(record: Record) -> str:
    """The code by its tree, and the commit."""
    code = record.code
    if code is None:
        return "none was sent"
    commit = f"commit {code.commit[:12]}{' with changes on top' if code.dirty else ''}" if code.commit else "no commit"
    return f"tree {code.tree}, {commit}"


def origin_of(given: DerivedFrom | None) -> str:
    """The run that another repeats, and what was set otherwise."""
    if given is None:
        return "none"
    return given.job + (f" with {with_values(given.set)}" if given.set else "")


def with_values(values: Mapping[str, Any]) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={text_of(value)}" for name, value in values.items()) or "none"


RUN_ROWS: dict[str, Callable[[Record], str | None]] = {
    "job": key_of,
    "record, sha256": lambda record: record.integrity.record_sha256,
    "user": lambda record: record.job.user,
    "node": lambda record: ", ".join(record.job.nodes),
    "state": lambda record: record.job.state,
    "began": lambda record: record.job.started_at,
    "took": took,
    "image": lambda record: record.image.reference,
    "digest": lambda record: record.image.digest,
    "code": code_of,
    "command": lambda record: shlex.join(record.experiment.command),
    "parameters": lambda record: with_values(record.experiment.parameters),
    "rerun of": lambda record: origin_of(record.derived_from),
}


SWEEP_ROWS = ("image", "digest", "code")
"What the points of a sweep have in common, as a rule."


def sweeps_table(found: Diff) -> str:
    """Which image and code the points of either sweep ran; where they are several, how many, and the first."""
    records = [pair.records for pair in found.pairs if pair.records]
    if not records:
        return ""
    rows = [["records", *([str(len(records))] * 2)]]
    for name in SWEEP_ROWS:
        get = RUN_ROWS[name]
        values = (list(dict.fromkeys(get(each[side]) or UNKNOWN for each in records)) for side in (0, 1))
        rows.append([name, *(cell(each[0] if len(each) == 1 else f"{len(each)}: {each[0]}, …") for each in values)])
    return table(["", "A", "B"], rows)


# --------------------------------------------------------------------------------------------------------- environment


def environment_table(pair: Pair) -> str:
    """Each thing that decides about bits, of both runs."""
    if pair.records is None:
        return ""
    rows = []
    for one, other in zip(*map(facts_of, pair.records), strict=True):
        same = one.text == other.text and one.text is not None
        answer = "same" if same else UNKNOWN if None in (one.text, other.text) else "**differs**"
        rows.append([one.name, *(cell(shown(each, same)) for each in (one, other)), answer])
    return table(["", "A", "B", ""], rows)


def shown(fact: Fact, is_same: bool) -> str:
    """A fact; of many parts that are the same, how many they are."""
    if fact.text is None:
        return f"{UNKNOWN}: {fact.why}" if fact.why else UNKNOWN
    return f"{len(fact.items)} {fact.name}" if is_same and len(fact.text) > MOST_CELL and fact.items else fact.text


# ------------------------------------------------------------------------------------------------------------- results


def metric_table(pair: Pair) -> str:
    """The metric that was compared, and the interval where there is one."""
    found = pair.comparison.results
    if not found.metric:
        return ""
    lacks = "of its seeds" if found.interval else UNKNOWN
    text = table(["metric", "A", "B"], [[cell(found.metric), *(cell(value or lacks) for value in found.values)]])
    if between := found.interval:
        headers = ["seeds (N)", "mean", "deviation", "95 % prediction interval"]
        numbers = [f"{between.mean:.6g}", f"{between.deviation:.3g}", f"{between.low:.6g} to {between.high:.6g}"]
        text += table(headers, [[str(between.runs), *numbers]])
    return text


def files_table(files: Files) -> str:
    """Each output, how it compares, by which rule, and how far its numbers are apart."""
    return bounded(["output", "", "rule", "why", "max abs", "max rel"], list(file_rows(files)))


BAD = ("differs", "only in A", "only in B")
FIRST = (*BAD, "not comparable", "not compared", "within tolerance", "same content", "identical")


def file_rows(files: Files) -> Iterator[list[str]]:
    """What differs first."""
    for answer in FIRST:
        for each in files.those(answer):
            shown = f"**{answer}**" if answer in BAD else answer
            numbers = ("" if value is None else f"{value:.3g}" for value in (each.max_abs, each.max_rel))
            yield [cell(each.path), shown, cell(each.rule), cell(each.why), *numbers]


# -------------------------------------------------------------------------------------------------------------- points


def points_table(found: Diff) -> str:
    """A row for each point that both have; those whose results do not agree first."""
    headers = ["point", "A", "B", "environment", "inputs", "results", "metric", "in A", "in B", "A took", "B took"]
    order = {False: 0, None: 1, True: 2}
    pairs = sorted(found.pairs, key=lambda pair: order[pair.comparison.results.agree])
    return bounded(headers, [point_row(pair) for pair in pairs])


def point_row(pair: Pair) -> list[str]:
    """One point."""
    verdict = pair.comparison
    results = verdict.results
    texts = [with_values(pair.parameters), pair.a, pair.b, environment_text(verdict.environment)]
    texts += [inputs_text(verdict.inputs), results.answer, results.metric, *(value or "" for value in results.values)]
    texts += [took(record) for record in pair.records] if pair.records else ["", ""]
    return [cell(text) for text in texts]


# ------------------------------------------------------------------------------------------------------ not comparable


def unlike_table(found: Diff) -> str:
    """What is not known, or could not be compared, and why."""
    rows = [row for pair in found.pairs for row in unlike_rows(pair, found)]
    return bounded(["of", "what", "why"], [*map(list, dict.fromkeys(map(tuple, rows)))])


def unlike_rows(pair: Pair, found: Diff) -> Iterator[list[str]]:
    """Of two runs."""
    verdict, of = pair.comparison, cell(f"{pair.a} / {pair.b}") if len(found.pairs) > 1 else "both"
    yield from ([of, cell(name), cell(why)] for name, why in (*verdict.environment.unknown, *verdict.inputs.unknown))
    if verdict.results.agree is None:
        yield [of, "the results", cell(next(iter(verdict.results.evidence), UNKNOWN))]
    yield from ([of, cell(each.path), cell(each.why)] for each in verdict.results.files.undecided)
