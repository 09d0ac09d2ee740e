"""The output of the commands: results on stdout, everything else on stderr. The only place that prints.

Much of what is printed was written by somebody else: a job's reason, a file's name, what a cluster or a program said.
So whatever is meant for a reader goes through ``visible`` here. Data for another program goes through as it is.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from tfslurm.document.tree import printable
from tfslurm.document.visible import visible, visible_json, visible_output
from tfslurm.errors import refuse
from tfslurm.local_files import refuse_links, write_file

LEAST_FOLDED = 30
"The width that the last column of a table gets at the expense of others."
GAP = 2
"The blanks between two columns."
BARS: list[Callable[[str], None]] = []
"What writes above a bar, for each that is drawn."
EMITTED: list[bool] = []
"Not empty where this command has printed its document."


STAND_INS = str.maketrans(
    {"…": "...", "→": "->", "—": "-", "–": "-", "×": "x", "␊": "\\n", "“": '"', "”": '"', "’": "'"}
)
"For a terminal or file whose encoding lacks these."


def stand_ins(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks: our own signs by plain ones, letters of names by their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(STAND_INS)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("tfslurm", stand_ins)


def accept_all() -> None:
    """Have stdout and stderr write any text, whatever their encoding: libraries write to them by themselves."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tfslurm")


def encoding_of(stream: TextIO) -> str:
    """The name of a stream's encoding, ``utf8`` for each way to write that."""
    return (stream.encoding or "utf-8").lower().replace("-", "").replace("_", "")


def write(text: str, *, err: bool = False) -> None:
    """Write a text just as it is; what the stream's encoding lacks is replaced."""
    stream = sys.stderr if err else sys.stdout
    try:
        data = text.encode("utf-8", "surrogateescape")  # bytes that were no UTF-8 are themselves again
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
    if encoding_of(stream) != "utf8":
        data = text.encode(stream.encoding, "tfslurm")
    click.echo(data, file=stream, nl=False)


def show(*parts: str | tuple[str, str]) -> None:
    """A line, or several, of a result for a reader; a part may be a text and its colour."""
    texts = [(part, "") if isinstance(part, str) else part for part in parts]
    line = "".join(click.style(visible(text), fg=fg) if fg and coloured() else visible(text) for text, fg in texts)
    write(f"{line}\n")


def say(*lines: str) -> None:
    """A message or progress, on stderr, above a bar that is drawn there. Each line is one; nothing in it breaks it."""
    text = "".join(f"{printable(line)}\n" for line in lines)
    if BARS:
        BARS[-1](text)
    else:
        write(text, err=True)


def redraw(line: str) -> None:
    """Replace the line on stderr, a terminal, that was drawn last; cut to the terminal's width."""
    shown = printable(line)[: max(1, shutil.get_terminal_size().columns - 1)]
    write(f"\r\x1b[K{shown}", err=True)


def emit(value: object) -> None:
    """The one JSON document of a command."""
    EMITTED.append(True)
    write(json_text(value))


def json_text(value: object) -> str:
    """The value as JSON: strict, indented, one line end after it; nothing in it acts on a terminal.

    Raises:
        ValueError: a number that JSON does not have.
    """
    return visible_json(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def deliver(text: str, output: Path | None, *, is_data: bool = False) -> None:
    """The text on stdout, or in the file that was named. Data is left as it is where no terminal shows it.

    Raises:
        InputError: the file cannot be written.
    """
    if output is None:
        write(text if is_data and not sys.stdout.isatty() else visible(text))
    else:
        save((text if is_data else visible(text)).encode("utf-8", "backslashreplace"), output)


def save(data: bytes, output: Path) -> None:
    """A file that the user named; nothing is written through a link.

    Raises:
        InputError: a link is on the way, or the file cannot be written.
    """
    refuse_links(output)
    write_file(output, data, mode=0o666)


def pour(text: str, *, err: bool) -> None:
    """A piece of what a program printed: on a terminal made visible, else byte for byte."""
    is_shown = (sys.stderr if err else sys.stdout).isatty()
    write(visible_output(text) if is_shown else text, err=err)


def agreed(question: str) -> bool:
    """Whether the user says yes.

    Raises:
        InputError: nobody can be asked.
    """
    try:
        return click.confirm(visible(question), err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        say("")
        raise refuse(question, "there is no terminal to ask on", "add --yes") from None


def clear() -> None:
    """Clear the terminal, where stdout is one."""
    click.clear()


def coloured() -> bool:
    """Whether colour is wanted: on a terminal, without NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows with their cells one below the other; no cell breaks its line."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown)
    return "\n".join(lines)


def fitting(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, drops: Sequence[str]) -> list[int]:
    """The columns that a terminal has room for: those of ``drops`` go first, in that order.

    If the last one has no room even then, it is not among them, and the others share its room.
    """
    sizes = [max(len(printable(row[column])) for row in [headers, *rows]) for column in range(len(headers))]
    sizes[-1] = min(sizes[-1], LEAST_FOLDED)
    kept: list[int] = []
    for columns in (len(headers), len(headers) - 1):
        for dropped in range(len(drops) + 1):
            kept = [column for column in range(columns) if headers[column] not in drops[:dropped]]
            if sum(sizes[column] + GAP for column in kept) - GAP <= width:
                return kept
    return kept


def narrow_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, styles: Callable[[str], str] | None
) -> None:
    """A table whose last column stands below its row, folded at its words."""
    sizes = [max(len(printable(row[column])) for row in [headers, *rows]) for column in range(len(headers) - 1)]
    for row in [headers, *rows]:
        cells = [(f"{printable(cell):{size}}", styles(cell) if styles else "") for cell, size in zip(row, sizes)]  # noqa: B905
        show(*(part for cell in cells for part in (cell, " " * GAP)))
        for line in textwrap.wrap(printable(row[-1]), max(20, width - 2)) if row is not headers else ():
            show(f"  {line}")


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Callable[[str], str] | None = None,
    drops: Sequence[str] = (),
) -> None:
    """A table on stdout; colour only on a terminal and without NO_COLOR (rich sees to both).

    On a narrow terminal the columns of ``drops`` are left out, in that order; the last column is folded at its words,
    or stands below its row. No other one breaks, so that an id can be copied.
    """
    if not sys.stdout.isatty() and not os.environ.get("FORCE_COLOR"):  # nothing to fold or to colour
        show(plain_table([headers, *rows]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    code = sys.stdout.encoding or "utf-8"
    if encoding_of(sys.stdout) != "utf8":  # before it is measured
        rows = [[printable(cell).encode(code, "tfslurm").decode(code) for cell in row] for row in rows]
    wide = None if sys.stdout.isatty() else 10_000
    console = Console(width=wide, highlight=False)
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    columns = fitting(headers, rows, console.width, drops)
    if len(headers) - 1 not in columns:
        columns.append(len(headers) - 1)
        fewer = [[row[column] for column in columns] for row in [headers, *rows]]
        narrow_table(fewer[0], fewer[1:], console.width, styles)
        return
    for column in columns:
        is_last = column == len(headers) - 1
        grid.add_column(printable(headers[column]), overflow="fold", no_wrap=not is_last)
    for row in rows:
        cells = [row[column] for column in columns]
        grid.add_row(*[Text(printable(cell), style=styles(cell) if styles else "") for cell in cells])
    console.print(grid, soft_wrap=wide is not None)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function of a name, the bytes done and the bytes in all, which moves a bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    with Progress(name, *columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("looking", total=None)
        BARS.append(lambda text: shown.console.out(text, end="", highlight=False))
        try:
            yield lambda what, done, total: shown.update(
                task, description=printable(what), completed=done, total=total or None
            )
        finally:
            BARS.pop()
