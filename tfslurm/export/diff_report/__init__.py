"""A verdict as Markdown, for the report of an artifact evaluation. Pure.

tables     what was compared: the runs, the environment, metrics, files, points, and what could not be compared
judgement  what the verdict leaves to a reviewer, and ACM's words

Our own words stand as they are; all that came from a record or a file stands in code spans and blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfslurm import __version__
from tfslurm.export.diff_report.judgement import acm_lines, left_to_judge, names
from tfslurm.export.diff_report.tables import (
    environment_table,
    files_table,
    metric_table,
    points_table,
    runs_table,
    sweeps_table,
    unlike_table,
)
from tfslurm.export.difference import Diff, Pair, alone, rules
from tfslurm.export.markdown import block, cell, escaped, quoted, table

MOST_EVIDENCE = 100
"Lines of one answer."
AGREE = {True: "they agree by this rule", False: "they do not agree by this rule", None: "they cannot all be compared"}


def report(found: Diff) -> str:
    """The report: the verdict, then its evidence, then what is left to judge."""
    return "\n".join(part.rstrip("\n") + "\n" for part in parts(found) if part)


def parts(found: Diff) -> Iterator[str]:
    """The sections, one after the other."""
    yield f"# Comparison of {quoted(found.a)} and {quoted(found.b)}"
    yield (
        f"tfslurm {__version__} made this report from the records of both. It shows what was observed, and by which "
        "rule it was compared. It knows no claim of a paper: see the last sections."
    )
    yield "".join(f"- **Warning**: {quoted(text)}\n" for text in found.warnings[:MOST_EVIDENCE])
    yield section("Verdict", verdict_table(found))
    if len(found.pairs) == 1:
        yield from of_two(found.pairs[0], found)
    else:
        yield section("Runs", sweeps_table(found))
        yield section("Points", points_table(found))
        yield section("Points of one side", bullets(f"{label}: {names(keys)}" for label, keys in alone(found) if keys))
    yield section("What could not be compared", unlike_table(found))
    yield section("What is left to judge", bullets(left_to_judge(found)))
    yield section("ACM's words", bullets(acm_lines(found)))


def section(title: str, *texts: str) -> str:
    """A section; '' of one without a text."""
    body = "\n".join(text.rstrip("\n") + "\n" for text in texts if text)
    return f"## {title}\n\n{body}" if body else ""


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "".join(f"- {line}\n" for line in lines)


def verdict_table(found: Diff) -> str:
    """The three answers, the rule, and ACM's word where one is known to apply."""
    rows = [["environment", cell(found.environment)], ["inputs", cell(found.inputs)], ["results", cell(found.results)]]
    rows.append(["the results", AGREE[found.agree]])
    applied = [text.partition(": ") for text in rules(found)[:MOST_EVIDENCE]]
    rows += [["rule", f"**{rule}**: {cell(because)}"] for rule, _, because in applied]
    if not applied:
        rows.append(["rule", "none applies: the evidence below says why"])
    return table(["", "answer"], rows)


def of_two(pair: Pair, found: Diff) -> Iterator[str]:
    """The evidence of two runs."""
    verdict = pair.comparison
    yield section("Runs", runs_table(pair))
    yield section("Environment", environment_table(pair), evidence(verdict.environment.evidence))
    yield section("Inputs", evidence(verdict.inputs.evidence), changed_files(found))
    yield section("Results", metric_table(pair), files_table(verdict.results.files), evidence(verdict.results.evidence))


def evidence(lines: tuple[str, ...]) -> str:
    """The lines of an answer."""
    more = [f"and {len(lines) - MOST_EVIDENCE} more lines, in --json"] if len(lines) > MOST_EVIDENCE else []
    return block([*lines[:MOST_EVIDENCE], *more])


def changed_files(found: Diff) -> str:
    """The files of the code that differ."""
    if found.why_no_code:
        return f"The code cannot be compared line by line: {quoted(found.why_no_code)}"
    named = [[cell(each.path), escaped(each.change), cell(each.note)] for each in found.code]
    return table(["file of the code", "change", ""], named[:MOST_EVIDENCE]) if named else ""
