"""tfslurm results."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import deliver, json_text, plain_table, save, say
from tfslurm.cli.options import common
from tfslurm.document.tree import printable
from tfslurm.errors import refuse
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.retrieval.results import Result, gather
from tfslurm.retrieval.results_table import PLACE, WHAT_RAN, metric_names, mixed, most_columns, table_of
from tfslurm.sweeps.confounding import confounded
from tfslurm.workspace.session import Session

# What a spreadsheet takes away in front of a formula may stand there too: blanks, quotes, what cannot be seen.
FORMULA = re.compile(
    r"""[\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"'`]*[=+\-@\uff1d\uff0b\uff0d\uff20]"""
    r"|[\t\r\n]"
)
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|-Infinity")
NO_JSON = {text: float(text) for text in ("NaN", "Infinity", "-Infinity")}
CUT = {"digest": 19, "code": 12}
"The first characters of an id."
FORMATS = ("text", "csv", "json", "parquet")


@click.command()
@click.argument("sweep")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", help="Default: text.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file; parquet needs one.")
@common
def results(session: Session, sweep: str, form: str, output: Path | None, as_json: bool) -> int:
    """Print a table of what each point left in its outputs, with its parameters and where it ran.

    The metrics come from metrics.json, or from the files that `sweep: {results: GLOB}` names. Points without metrics
    have empty cells. If a parameter is confounded with the cluster, the GPU model or the driver, results prints a
    warning: the two effects cannot be told apart in these points. If the points ran different code, commands or images,
    results prints a warning too, and the table has a column `code` or `command`.

    The text table shows 4 digits of a number, and names the place once if it is the same for all points. The other
    formats have everything.
    """
    if form == "parquet" and not output:
        raise click.UsageError("--format parquet needs -o FILE")
    tracker = session.tracker
    found = find_sweep(tracker, sweep)
    silent = refresh_all(session, clusters_to_ask(tracker, tracker.sweeps.jobs(found.sweep_id)))
    gathered, unread = gather(session, found)
    for line in (*silent.values(), *unread):
        say(f"error: {line}")
    for result in gathered:
        if result.why:
            say(f"{result.job}: {printable(result.why)}")
    if (more := len(metric_names(gathered)) - most_columns(gathered)) > 0 and not as_json:
        say(f"warning: the table has no room for {more} more metrics; --json prints all of them")
    write(gathered, "json" if as_json else form, output)
    for line in mixed(gathered):
        say(f"warning: {line}")
    for warning in confounded([result.row for result in gathered if result.state == "COMPLETED"]):
        say(f"warning: {warning}")
    return 1 if silent or unread else 0


def write(gathered: Sequence[Result], form: str, output: Path | None) -> None:
    """The table in one of its forms, on stdout or into a file."""
    if form == "json":
        deliver(json_text([as_value(result) for result in gathered]), output, is_data=True)
    elif form == "parquet":
        assert output  # noqa: S101 - refused without
        write_parquet(table_of(gathered), output)
    else:
        rows = table_of(gathered)
        deliver(as_text(rows) if form == "text" else as_csv(rows), output, is_data=form != "text")


def as_value(result: Result) -> dict[str, Any]:
    """One point for JSON."""
    place = {key: getattr(result, key) for key in (*PLACE, *WHAT_RAN)}
    return {"point": result.point, "parameters": result.parameters, "metrics": result.metrics, **place}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated values as RFC 4180 has them, but for line ends, which are Unix's.

    A text that a spreadsheet would run as a formula has a quote in front, as spreadsheets write it themselves.
    """
    return "".join(map(csv_line, [list(rows[0]) if rows else ["point"], *(list(row.values()) for row in rows)]))


def csv_line(values: Sequence[object]) -> str:
    """One line; a text with a carriage return in it is quoted too, for readers end lines there."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow([cell(value) for value in values])
    return out.getvalue().removesuffix("\r\n") + "\n"


def cell(value: object) -> object:
    """A value for a cell of a spreadsheet: a formula becomes a text. Source: OWASP, CSV Injection."""
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for a person: numbers and ids are cut short; a place that is the same for all stands once below it."""
    if not rows:
        return "no point was sent yet\n"
    cells = [{name: short(name, value) for name, value in row.items()} for row in rows]
    same = {
        name: value
        for name, value in cells[0].items()
        if len(rows) > 1 and name in PLACE and all(row[name] == value for row in cells)
    }
    names = [name for name in cells[0] if name not in same]
    table = plain_table([names, *([row[name] for name in names] for row in cells)])
    once = ", ".join(f"{name} {value or 'not observed'}" for name, value in same.items())
    return f"{table}\n" + (f"all {len(rows)}: {printable(once)}\n" if once else "")


def short(name: str, value: object) -> str:
    """A value as a cell for a person."""
    if name in CUT:
        return str(value or "")[: CUT[name]]
    if isinstance(value, float) and isfinite(value):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return "" if value is None else printable(str(value))


def with_real_numbers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with NaN and infinity, which JSON has as texts, as numbers again in columns that hold numbers only."""
    numbers = {
        name
        for name in (rows[0] if rows else ())
        if all(row[name] is None or type(row[name]) in (int, float) or row[name] in NO_JSON for row in rows)
    }
    return [{name: NO_JSON.get(str(v), v) if name in numbers else v for name, v in row.items()} for row in rows]


def write_parquet(rows: Sequence[Mapping[str, Any]], output: Path) -> None:
    """The table as a Parquet file.

    Raises:
        InputError: pyarrow is not installed, or cannot hold a column whose values are of several kinds; or the file
            cannot be written.
    """
    try:
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise refuse("--format parquet", "needs pyarrow", "pip install pyarrow, or use csv") from error
    try:
        table = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(with_real_numbers(rows)), table)
    except pyarrow.ArrowException as error:
        raise refuse("--format parquet", str(error).splitlines()[0], "use csv") from error
    save(table.getvalue(), output)
