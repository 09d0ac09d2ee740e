"""The comparison of two runs, or of sweeps, as JSON and as lines for a reader. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.record import Record
from tfslurm.record.comparison import Answer, Comparison, Results
from tfslurm.record.comparison.answers import FileResult, some
from tfslurm.record.comparison.code import FileChange
from tfslurm.record.comparison.differences import Difference
from tfslurm.record.comparison.points import agreement, counts, environment_text, inputs_text

WIDTH = 13
MOST_EVIDENCE = 12
"Lines of one answer in the text."


class Pair(NamedTuple):
    """Two runs that were compared, by their names; of points of sweeps with their parameters.

    ``records`` are theirs; where a name is a sweep's, the record is that of the point that is most unlike the run.
    """

    a: str
    b: str
    comparison: Comparison
    parameters: Mapping[str, Any] = {}
    records: tuple[Record, Record] | None = None


class Diff(NamedTuple):
    """Two records, crates or sweeps beside each other.

    ``pairs`` has one element for two runs, and one for each point that both sweeps have. ``differences`` has the most
    telling first. ``code`` has the files that differ; ``why_no_code`` says why they cannot be shown.
    ``not_rerun`` are points that the reruns of some of a sweep's points leave out: they say nothing of the results.
    ``warnings`` say what the verdict rests on that is not to be trusted, such as a record that was changed.
    """

    a: str
    b: str
    pairs: tuple[Pair, ...]
    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    code: tuple[FileChange, ...] = ()
    why_no_code: str = ""
    is_of_sweeps: bool = False
    warnings: tuple[str, ...] = ()
    not_rerun: tuple[str, ...] = ()

    @property
    def agree(self) -> bool | None:
        """Whether the results agree by the rule that applies; None: that cannot be said."""
        return agreement([pair.comparison for pair in self.pairs], len(self.only_in_a) + len(self.only_in_b))

    @property
    def exit_code(self) -> int:
        """0: the results agree by the rule that applies; 1: they do not; 3: they cannot be compared."""
        return {True: 0, False: 1, None: 3}[self.agree]

    @property
    def environment(self) -> str:
        """The answer about the environments, of several pairs with their numbers."""
        return counts([environment_text(pair.comparison.environment) for pair in self.pairs]) or "unknown"

    @property
    def inputs(self) -> str:
        """The same about the inputs."""
        return counts([inputs_text(pair.comparison.inputs) for pair in self.pairs]) or "unknown"

    @property
    def results(self) -> str:
        """The same about the results."""
        return counts([pair.comparison.results.answer for pair in self.pairs]) or "not comparable"

    def _repr_html_(self) -> str:
        from html import escape

        rows = [("environment", self.environment), ("inputs", self.inputs), ("results", self.results)]
        rows = [*(("warning", text) for text in self.warnings), *rows]
        body = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        return f"<table><tr><th></th><th>{escape(self.a)} / {escape(self.b)}</th></tr>{body}</table>"


def diff_json(found: Diff) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "a": found.a,
        "b": found.b,
        "warnings": list(found.warnings),
        "agree": found.agree,
        "verdict": {"environment": found.environment, "inputs": found.inputs, "results": found.results},
        "pairs": [pair_json(pair) for pair in found.pairs],
        "only_in_a": list(found.only_in_a),
        "only_in_b": list(found.only_in_b),
        "not_rerun": list(found.not_rerun),
        "differences": [row._asdict() for row in found.differences],
        "code": {
            "files": [{"path": each.path, "change": each.change, "note": each.note} for each in found.code],
            "diff": "".join(f"{line}\n" for line in code_lines(found.code)),
            "why_not": found.why_no_code or None,
        },
    }


def pair_json(pair: Pair) -> dict[str, Any]:
    """Two runs."""
    verdict = pair.comparison
    return {
        "a": pair.a,
        "b": pair.b,
        "parameters": dict(pair.parameters),
        "environment": answer_json(verdict.environment),
        "inputs": answer_json(verdict.inputs),
        "results": {**results_json(verdict.results), "why_this_rule": verdict.because or None},
        "acm": verdict.acm or None,
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """One of the first two answers."""
    return {
        "answer": answer.answer,
        "differs": list(answer.differs),
        "unknown": dict(answer.unknown),
        "evidence": list(answer.evidence),
    }


def results_json(found: Results) -> dict[str, Any]:
    """The third answer."""
    files = found.files
    return {
        "answer": found.answer,
        "rule": found.rule or None,
        "agree": found.agree,
        "evidence": list(found.evidence),
        "metric": {"name": found.metric, "a": found.values[0], "b": found.values[1]} if found.metric else None,
        "interval": found.interval._asdict() if found.interval else None,
        "files": {
            "each": [file_json(each) for each in files.each],
            "why_not": files.why or None,
        },
    }


def file_json(found: FileResult) -> dict[str, Any]:
    """One output; differences of numbers are texts, as JSON has no infinity."""
    numbers = {"max_abs": found.max_abs, "max_rel": found.max_rel}
    return {**found._asdict(), **{name: None if value is None else repr(value) for name, value in numbers.items()}}


def verdict_lines(found: Diff) -> Iterator[tuple[str, str]]:
    """The warnings, then the three answers, each with its evidence: a label and a text."""
    yield from (("warning", text) for text in found.warnings)
    for name, answer in (("environment", found.environment), ("inputs", found.inputs), ("results", found.results)):
        yield name, answer
        evidence = getattr(found.pairs[0].comparison, name).evidence if len(found.pairs) == 1 else ()
        evidence = reasons(found) if name == "results" and len(found.pairs) > 1 else evidence
        yield from (("", line) for line in evidence[:MOST_EVIDENCE])
        if len(evidence) > MOST_EVIDENCE:
            yield "", f"and {len(evidence) - MOST_EVIDENCE} more lines, in --json"
    yield from (("rule", text) for text in rules(found)[:MOST_EVIDENCE])
    if len(found.pairs) == 1 and found.pairs[0].comparison.acm:
        yield "ACM v1.1", found.pairs[0].comparison.acm
    yield from ((label, some(keys, MOST_EVIDENCE)) for label, keys in alone(found) if keys)


def never_began(found: Diff) -> list[str]:
    """A line for each of two runs whose container never started: almost nothing of it is known, so nothing differs."""
    records = found.pairs[0].records if len(found.pairs) == 1 and not found.is_of_sweeps else None
    lines = []
    for record in records or ():
        last = record.attempts[-1] if record.attempts else None
        ran = record.job.state == "COMPLETED" or (last is not None and last.ended_by in ("program", "memory"))
        if not ran and all(task.container is None for task in (last.tasks if last else ())):
            why = last.reason if last else ""
            key = f"{record.job.cluster}:{record.job.job_id}"
            lines.append(f"the container of {key} never started{f': {why}' if why else ''}")
    return lines


def rules(found: Diff) -> list[str]:
    """The rules that were applied, each with why it is that one; of several pairs with how many it was for."""
    verdicts = (pair.comparison for pair in found.pairs)
    counted = Counter(f"{each.results.rule}: {each.because}" for each in verdicts if each.because)
    if len(found.pairs) == 1:
        return [*counted]
    return [f"{rule} ({count} of {len(found.pairs)})" for rule, count in counted.most_common()]


def reasons(found: Diff) -> tuple[str, ...]:
    """Why the results of those pairs do not agree that do not: the first line of the evidence of each."""
    pairs = sorted(found.pairs, key=lambda pair: pair.comparison.results.agree is None)
    lines = ((f"{pair.a} / {pair.b}", pair.comparison.results) for pair in pairs)
    return tuple(f"{names}: {next(iter(each.evidence), each.answer)}" for names, each in lines if not each.agree)


def alone(found: Diff) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The points that only one side has, by what is said of them."""
    return ("only in A", found.only_in_a), ("only in B", found.only_in_b), ("not rerun", found.not_rerun)


def point_rows(found: Diff) -> list[list[str]]:
    """A row for each point that both sweeps have."""
    rows = []
    for pair in found.pairs:
        results = pair.comparison.results
        values = [value or "" for value in results.values]
        point = " ".join(f"{name}={value}" for name, value in pair.parameters.items())
        rows.append([point, pair.a, pair.b, results.answer, *values])
    return rows


def code_lines(changes: Sequence[FileChange]) -> Iterator[str]:
    """The files that differ as `git diff` shows them; a file without lines in one line."""
    for each in changes:
        if each.note or not each.lines:
            yield f"{each.change}: {each.path}" + (f": {each.note}" if each.note else "")
        yield from each.lines
