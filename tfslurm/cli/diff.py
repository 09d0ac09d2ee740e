"""tfslurm diff."""

from __future__ import annotations

import shutil
import sys
from itertools import islice

import click

from tfslurm.cli.console import deliver, emit, say, show, table
from tfslurm.cli.options import common
from tfslurm.document.tree import printable
from tfslurm.document.visible import visible
from tfslurm.errors import InputError, TfslurmError, refuse
from tfslurm.export.difference import WIDTH, Diff, code_lines, diff_json, never_began, point_rows, verdict_lines
from tfslurm.export.rows import LEAST, folded
from tfslurm.retrieval.compare_scripts import comparers_of
from tfslurm.retrieval.comparing import diff_of
from tfslurm.spec import Reproduce
from tfslurm.workspace.session import Session

FORMS = ("text", "markdown")
NOT_COMPARABLE = 3
MOST_ROWS = 40
MOST_POINTS = 20
MOST_CODE = 100
WIDEST = 48
"Characters of a cell; --json has the whole."
COLOURS = {"+": "green", "-": "red", "@": "cyan"}
ANSWERS = {True: "green", False: "red", None: "yellow"}


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--metric", metavar="NAME", help="Compare by this metric; default: the one that exp.yaml declares.")
@click.option("--tolerance", type=float, metavar="NUMBER", help="How far that metric may be off.")
@click.option(
    "--compare",
    "scripts",
    multiple=True,
    metavar="GLOB=SCRIPT",
    help="Compare such outputs by this program of yours; it is run here.",
)
@click.option("--code", "all_code", is_flag=True, help=f"Show all of the code's difference, not {MOST_CODE} lines.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="Default: text.")
@click.option("--anyway", is_flag=True, help="Compare records that were changed too; the verdict says so.")
@common
def diff(
    session: Session,
    a: str,
    b: str,
    metric: str | None,
    tolerance: float | None,
    scripts: tuple[str, ...],
    all_code: bool,
    form: str,
    anyway: bool,
    as_json: bool,
) -> int:
    """Compare two runs: the verdict first, then what differs, the most telling first.

    A and B are jobs, sweeps, files with a record, or crates. The verdict has three answers: on the environment, the
    inputs and the results. Points of two sweeps are matched by their parameters. A run with a seed that a sweep does
    not have is held against the 95 % prediction interval of the sweep's seeds.

    --compare '*.parquet=./compare.py' runs that program with the two files, for each such output that differs. Its exit
    code is 0 if they are the same, and 1 if they are not; then it prints how they differ. No script of a record is run.

    --format markdown prints the verdict as a report for an artifact evaluation.

    Exit codes: 0 the results agree by the rule that applies, 1 they do not, 3 they cannot be compared. A record that
    was changed after it was made is not compared.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise refuse("--tolerance", f"{tolerance} is no tolerance", "write a number such as 0.02")
    if as_json and form != "text":
        raise click.UsageError("--json and --format exclude each other")
    if metric == "":
        raise refuse("--metric", "names no metric", "write a key of metrics.json, such as accuracy")
    try:
        given = Reproduce(metric, tolerance, compare=comparers_of(scripts))
        found = diff_of(session, a, b, given, anyway=anyway)
    except TfslurmError as error:
        error.exit_code = error.exit_code if isinstance(error, InputError) else NOT_COMPARABLE
        raise
    deliver_diff(found, form, all_code=all_code, as_json=as_json)
    return found.exit_code


def deliver_diff(found: Diff, form: str, *, all_code: bool, as_json: bool) -> None:
    """The verdict in the form that was asked for."""
    if as_json:
        emit(diff_json(found))
    elif form == "markdown":
        from tfslurm.export.diff_report import report

        deliver(report(found), None)
    else:
        show_diff(found, all_code)


def show_diff(found: Diff, all_code: bool) -> None:
    """The verdict, the points of sweeps, what differs, and the code."""
    width = shutil.get_terminal_size().columns - WIDTH if sys.stdout.isatty() else 0
    for label, text in verdict_lines(found):
        colour, head = colour_of(label, found), label
        for line in folded(printable(text), max(LEAST, width)) if width else (printable(text),):
            show(f"{head:<{WIDTH}}", (line, colour))
            head = ""
    if found.is_of_sweeps and found.pairs:
        show("")
        rows = point_rows(found)
        table(["point", "A", "B", "results", "in A", "in B"], rows[:MOST_POINTS])
        if len(rows) > MOST_POINTS:
            show(f"and {len(rows) - MOST_POINTS} more points, in --json")
    if never := never_began(found):
        show("")
        for line in never:
            show(f"{line}; what is known of both runs stands in --json")
        return
    if found.differences:
        show("")
        rows = [[row.what, cut(row.a), cut(row.b)] for row in found.differences]
        table(["what differs", f"A: {cut(found.a)}", f"B: {cut(found.b)}"], rows[:MOST_ROWS])
        if len(rows) > MOST_ROWS:
            show(f"and {len(rows) - MOST_ROWS} more differences, in --json")
    show_code(found, None if all_code else MOST_CODE)


def colour_of(label: str, found: Diff) -> str:
    """Of a line of the verdict."""
    return {"results": ANSWERS[found.agree], "warning": "red"}.get(label, "")


def cut(text: str) -> str:
    """A text that fits a cell."""
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def show_code(found: Diff, most: int | None) -> None:
    """The code's difference as `git diff` shows it."""
    if found.why_no_code:
        say(f"note: the code cannot be compared line by line: {found.why_no_code}")
    lines = code_lines(found.code)
    for number, line in enumerate(islice(lines, most)):
        if not number:
            show("")
        show((visible(line, "\t"), "" if line.startswith(("---", "+++")) else COLOURS.get(line[:1], "")))
    if more := sum(1 for _ in lines):
        show(f"and {more} more lines, with --code")
