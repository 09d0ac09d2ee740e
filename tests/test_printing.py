"""What is printed for a reader acts on no terminal and hides nothing; what is data stays as it is."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfslurm.cli import run
from tfslurm.cli.console import agreed, deliver, emit, json_text, plain_table, pour, say, show, table
from tfslurm.cli.failure import report_failure
from tfslurm.cli.results import as_csv, as_text
from tfslurm.document.visible import visible, visible_json, visible_output
from tfslurm.errors import Completed, HostError, InputError, Problem, SubmitRejected, TfslurmError
from tfslurm.record.metrics import metrics_in
from tfslurm.retrieval.logs import Reader
from tfslurm.retrieval.results import Result
from tfslurm.tracker import TrackedJob

PACKAGE = Path(__file__).parent.parent / "tfslurm"
HOSTILE = {
    "title": "\x1b]0;TITLE\x07",
    "clear": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred\x1b[0m",
    "c1": "\x9b2J\x9d0;T\x9c",
    "bell and delete": "\x07\x7f\x08\x0b\x0c\x0e\x0f\x00",
    "return": "good\rbad",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200f\u061c",
    "lines": "a\u2028b\u2029c\x85d",
    "unseen": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh",
    "fillers": "a\u115f\u1160\u3164\uffa0\u2800\u034f",
    "tags": "a\U000e0041\U000e0042\U000e007f\U000e0100",
    "surrogates": "a\ud800b\udc80c\udfff",
    "private": "\ue000\U000f0000",
}
BAD_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def is_harmless(text: str, keep: str = "\n\t") -> bool:
    return all(char in keep or unicodedata.category(char) not in BAD_CATEGORIES for char in text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_would_act_on_a_terminal_is_written_out(text: str) -> None:
    shown = visible(f"before {text} after")
    assert is_harmless(shown)
    assert shown.startswith("before ") and shown.endswith(" after") and "\\" in shown
    assert not set("\u115f\u1160\u3164\uffa0\u2800\u034f\U000e0100") & set(shown)
    shown.encode("utf-8")


@pytest.mark.slow
@given(st.text())
def test_nothing_that_acts_or_hides_is_left_of_any_text(text: str) -> None:
    assert is_harmless(visible(text))
    assert is_harmless(visible(text, ""), "")
    assert is_harmless(re.sub(r"\x1b\[[0-9;:]*m", "", visible_output(text)), "\n\t\r\b")
    assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    "text", ["plain", "été 数字 שלום 🧪", "a\tb\nc", "全\u3000角 5\u00a0%", "e\u0301", "'\\x1b'", ""]
)
def test_what_stands_for_itself_stays(text: str) -> None:
    assert visible(text) == text
    assert visible_output(text) == text


def test_a_programs_colours_and_progress_stay_and_nothing_else() -> None:
    bar = "\x1b[1;38;5;10mstep 1/9\x1b[0m\r\b\bstep 2/9\n"
    assert visible_output(bar) == bar
    assert visible_output("\x1b[2J\x1b[31") == "\\x1b[2J\\x1b[31"
    assert visible_output("\x1b[?25lx\x1b[5A\x1b]0;t\x07") == "\\x1b[?25lx\\x1b[5A\\x1b]0;t\\x07"


@pytest.mark.parametrize("hiding", ["8", "08", "008", "1;8", "8;1", "38;8", "48;2;1;8", "31;5;8", "58;8", "38;5;8;8"])
def test_no_colour_hides_what_a_program_prints(hiding: str) -> None:
    assert visible_output(f"a\x1b[{hiding}mb") == f"a\\x1b[{hiding}mb"


@pytest.mark.parametrize("colour", ["31", "01;31", "1;38;5;8", "38;2;8;8;8", "38:2::8:8:8", "4:3", "28", "108"[:2]])
def test_a_colour_ends_with_the_text_that_it_stands_in(colour: str) -> None:
    assert visible_output(f"a\x1b[{colour}mb") == f"a\x1b[{colour}mb\x1b[0m"
    for end in ("\x1b[0m", "\x1b[m"):
        assert visible_output(f"a\x1b[{colour}mb{end}c") == f"a\x1b[{colour}mb{end}c"


@pytest.mark.parametrize("mark", ["\u0301", "\u0336", "\u20dd", "\u0e49", "\u1161", "\ud7b0"])
def test_marks_that_cover_other_lines_or_what_stands_before_are_written_out(mark: str) -> None:
    shown = visible("a" + mark * 1000)
    assert shown.count(mark) == 4 and shown.count(ascii(mark)[1:-1]) == 996
    for text in (mark, f" {mark}", f"\n{mark}", f"\u200b{mark}"):
        assert mark not in visible(text)


@pytest.mark.parametrize("chooser", ["\ufe00", "\ufe0e", "\ufe0f", "\U000e0100"])
def test_a_mark_that_only_chooses_a_form_makes_no_two_names_alike(chooser: str) -> None:
    assert chooser not in visible(f"run{chooser}")
    assert chooser not in visible_json(json.dumps(f"run{chooser}", ensure_ascii=False))
    assert visible("\u26a0\ufe0f") == "\u26a0\ufe0f", "a symbol has two forms"


# --- every way out


class Stream(io.TextIOWrapper):
    """A stream of a process, which may be a terminal."""

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding, write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        return self.raw_bytes.getvalue().decode(self.encoding)


Streams = Callable[[], tuple[Stream, Stream]]


@pytest.fixture(params=["terminal", "pipe"])
def streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Called in a test, for pytest sets its own when that begins: stdout and stderr, both a terminal or both pipes."""

    def replaced() -> tuple[Stream, Stream]:
        out, err = Stream(request.param == "terminal"), Stream(request.param == "terminal")
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # rich makes headings bold elsewhere
    return replaced


ALL = " ".join(HOSTILE.values())
PROBLEM = Problem(ALL, 1, ALL, ALL, ALL)
WAYS: dict[str, Callable[[], object]] = {
    "say": lambda: say(ALL),
    "show": lambda: show(ALL, (ALL, "red")),
    "table": lambda: table([ALL, "B"], [[ALL, ALL], ["x", "y\nz"]]),
    "plain table": lambda: show(plain_table([["A"], [ALL]])),
    "deliver": lambda: deliver(ALL, None),
    "input error": lambda: report_failure(InputError([PROBLEM]), whole=False),
    "host error": lambda: report_failure(HostError(ALL, transient=True), whole=False),
    "command failed": lambda: report_failure(SubmitRejected(Completed((ALL,), 1, "", ALL, ALL)), whole=False),
    "emit": lambda: emit({ALL: [ALL, {"x": ALL}]}),
    "an unknown command": lambda: run([ALL]),
    "an unknown option": lambda: run(["status", f"--{ALL}"]),
    "a file that is not there": lambda: run(["plan", re.sub("[\0\ud800\udfff]", "", ALL)]),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_out_makes_it_visible(way: Callable[[], object], streams: Streams) -> None:
    both = streams()
    way()
    out, err = (stream.text() for stream in both)
    assert is_harmless((out + err).replace("\x1b[1m", "").replace("\x1b[0m", ""), "\n")  # a table's head is bold
    assert "TITLE" in out + err


@pytest.mark.parametrize("verbose", [[], ["-vv"]])
@pytest.mark.parametrize("error", [RuntimeError(ALL), TfslurmError(ALL), InputError([PROBLEM])])
def test_so_do_a_defect_and_a_traceback(
    error: Exception, verbose: list[str], streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("tfslurm.cli.group.get_command", lambda *_: click.Command("x", callback=fail, params=[]))
    arguments = ["status"] if not verbose else ["status", "-vv"]
    monkeypatch.setattr("tfslurm.cli.group.parse_args", lambda context, args: args)
    monkeypatch.setattr("tfslurm.cli.group.invoke", lambda context: fail())
    _, err = streams()
    assert run(arguments) == (2 if isinstance(error, InputError) else 1)
    shown = err.text()
    assert is_harmless(shown, "\n")
    assert ("Traceback" in shown) == bool(verbose)


FORGED = "it said\nerror: forged\nalpha:1 COMPLETED\n  command: x"


@pytest.mark.parametrize(
    "error",
    [
        TfslurmError(FORGED),
        HostError(FORGED, transient=True),
        SubmitRejected(Completed(("x",), 1, "", FORGED, "alpha")),
    ],
)
def test_what_an_error_repeats_begins_no_line(error: TfslurmError, streams: Streams) -> None:
    _, err = streams()
    report_failure(error, whole=False)
    first, *others = err.text().splitlines()
    assert first.startswith("error: ") and len(others) >= 3
    assert all(line.startswith("  ") for line in others)


def test_a_log_without_end_is_no_json_document(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader.__new__(Reader)
    reader.job, reader.attempt = cast(TrackedJob, SimpleNamespace(key="alpha:1")), 1
    monkeypatch.setattr("tfslurm.retrieval.logs.MOST_IN_JSON", 10 * 2**20)
    monkeypatch.setattr(Reader, "all", lambda _: repeat(("stdout", "x" * 2**20), 10))
    assert len(reader.everything()["stdout"]) == 10 * 2**20
    monkeypatch.setattr(Reader, "all", lambda _: repeat(("stderr", "x" * 2**20)))
    with pytest.raises(HostError, match="alpha:1: wrote more than 10 MiB, too much for one JSON document; leave out"):
        reader.everything()


def test_nothing_in_a_message_breaks_its_line(streams: Streams) -> None:
    _, err = streams()
    say("note: a\nerror: forged\tcolumn", "second")
    assert err.text() == "note: a\\nerror: forged\\tcolumn\nsecond\n"


def test_nor_does_a_defect(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(FORGED)

    monkeypatch.setattr("tfslurm.cli.group.main", fail)
    _, err = streams()
    assert run(["status"]) == 1
    assert len(err.text().splitlines()) == 1


LIBRARY = """\
import logging; from tfslurm.cli import group
group.get_command(None, "status"); logging.getLogger("paramiko.transport").error("\\x1b]0;TITLE\\x07")
"""


@pytest.mark.slow
def test_a_library_does_not_print() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_what_a_program_printed_goes_into_a_pipe_byte_for_byte(streams: Streams) -> None:
    data = bytes(range(256)) + ALL.encode("utf-8", "replace")
    out, _ = streams()
    pour(data.decode("utf-8", "surrogateescape"), err=False)
    deliver("a\x1b[2J,b\n", None, is_data=True)
    if out.isatty():
        assert is_harmless(re.sub(r"\x1b\[[0-9;]*m", "", out.text()), "\n\t\r\b")
    else:
        assert out.raw_bytes.getvalue() == data + b"a\x1b[2J,b\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_encoding_of_the_terminal_ends_a_command(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Stream(True, encoding)
    monkeypatch.setattr(sys, "stdout", out)
    show(f"数字 été {ALL}")
    assert is_harmless(out.text(), "\n")


def test_json_is_strict_and_says_what_it_said() -> None:
    value = {"a": list(HOSTILE.values()), "ü": {"n": -0.5}}
    assert json.loads(json_text(value)) == value
    assert is_harmless(json_text(value), "\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"a": float("nan")})


@pytest.mark.slow
def test_only_the_console_prints() -> None:
    forbidden = {"echo", "secho", "prompt", "confirm", "style", "clear", "pause", "progressbar", "edit"}
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "cli" / "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", where
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "click":
                assert node.attr not in forbidden, where
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
                assert not any(name.split(".")[0] == "rich" for name in names), where
            if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines"):
                to = ast.unparse(node.value)
                answers = path.name == "render_apart.py"  # to its other process
                assert answers or to not in ("sys.stdout", "sys.stderr", "sys.stdout.buffer", "sys.stderr.buffer"), (
                    where
                )


def test_json_is_read_in_one_place() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("bounded_json.py", "render_apart.py"):
            assert not re.search(r"\bjson\.loads?\(|\.json\(\)", path.read_text("utf-8")), path


# --- results


def result(metrics: dict[str, object]) -> Result:
    return Result("p1", {"=seed": "=1+1", "lr": "-0.5"}, "alpha:1", "alpha", "COMPLETED", None, None, "d", 1, metrics)


def test_a_formula_in_a_table_is_a_text() -> None:
    from tfslurm.retrieval.results_table import table_of

    text = '{"acc": 0.5, "loss": -0.25, "nan": NaN, "big": 1e999, "low": -Infinity'
    text += ', "note": "=HYPERLINK(1)", "at": "@SUM(1)"'
    text += ', "plus": "+1+cmd|x", "minus": "-2+3", "tab": "\\t=1", "cr": "\\r=1", "wide": "\uff1d1", "blank": " =1"'
    text += ', "=name": 1, "ok": "a=b", "minus number": "-1e-3", '
    before = ('"', "'", '"\'"', "\ufeff", "\u200b", "\u00a0", "\0", "\u202e", "`")
    text += json.dumps({'"=quoted': 2, "it said": '"a" = b'} | {f"hidden {each!a}": f"{each}=1+1" for each in before})[
        1:
    ]
    metrics, why = metrics_in(text.encode(), "metrics.json")
    assert not why
    one = [result(metrics)]
    import csv

    (names, row) = list(csv.reader(io.StringIO(as_csv(table_of(one)), newline="")))
    found = dict(zip(names, row, strict=True))
    assert (found["acc"], found["loss"], found["minus number"], found["lr"]) == ("0.5", "-0.25", "-1e-3", "-0.5")
    assert (found["nan"], found["big"], found["low"], found["ok"]) == ("NaN", "1e999", "-Infinity", "a=b")
    hidden = [name for name in found if name.startswith("hidden")]
    assert len(hidden) == len(before)
    for name in ("note", "at", "plus", "minus", "tab", "cr", "wide", "blank", "'=seed", *hidden):
        assert found[name].startswith("'"), name
    assert {"'=name", "'\"=quoted"} <= set(found)
    assert found['hidden "\'"'] == "''=1+1" and found["it said"] == '"a" = b'
    assert is_harmless(as_text(table_of(one)), "\n")
    json_text(metrics)


@pytest.mark.parametrize("text", ["[" * 60000, '{"a":' * 60000, '{"a": ' + "9" * 5000 + "}", '{"a":1,"a":2}', "\xff"])
def test_metrics_of_any_shape_are_read_or_told_of(text: str) -> None:
    metrics, why = metrics_in(text.encode("latin-1"), "metrics.json")
    assert why or metrics == {"a": "9" * 5000}
    json_text(metrics)


# --- Ctrl-C


@pytest.mark.slow
def test_ctrl_c_at_any_early_moment_shows_no_traceback(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tfslurm", "status"]
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),  # a folder `tfslurm` here would be taken for the package
    }
    whole = time.monotonic()
    subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True)
    whole = time.monotonic() - whole
    for step in range(12):
        done = interrupted(program, environment, tmp_path, whole * step / 12)
        assert b"Traceback" not in done, done


def interrupted(program: Sequence[str], environment: dict[str, str], folder: Path, after_s: float) -> bytes:
    """What a program says that is interrupted so long after its own first line of code ran."""
    begin = (
        "import os, sys; sys.argv = sys.argv[1:]; import tfslurm.__main__ as m\n"
        "try: os.write(1, b'.'); m.main()\n"
        "except KeyboardInterrupt as stop: os.write(2, b'Traceback' if stop.__traceback__.tb_next else b'')\n"
    )
    with subprocess.Popen(
        [program[0], "-c", begin, "x", *program[3:]],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.read(1)
        time.sleep(after_s)  # the moment is what is tried, no event is waited for
        process.send_signal(signal.SIGINT)
        return process.stderr.read()


def test_ctrl_c_within_a_callback_of_python_is_not_lost(tmp_path: Path) -> None:
    program = """
import signal, time
import tfslurm.__main__ as m, tfslurm.cli
class Gone:
    def __del__(self): signal.raise_signal(signal.SIGINT)
def command():
    gone = Gone()
    del gone
    time.sleep(60)
    print("went on")
tfslurm.cli.main = command
m.main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_at_the_very_end_shows_no_traceback(tmp_path: Path) -> None:
    program = """
import gc, signal, sys
import tfslurm.__main__ as m, tfslurm.cli
gc.freeze = lambda: signal.raise_signal(signal.SIGINT)
tfslurm.cli.main = lambda: sys.exit(0)
m.main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_terminal_gets_no_escape_of_an_error() -> None:
    out = b""

    def read(descriptor: int) -> bytes:
        nonlocal out
        out += (data := os.read(descriptor, 65536))
        return b""[: len(data) * 0]

    pty.spawn([sys.executable, "-m", "tfslurm", "plan", "\x1b]0;TITLE\x07.yaml"], read)
    assert b"TITLE" in out and b"\x1b]0" not in out


def test_where_nobody_can_be_asked_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert not agreed("go on?")
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # as in a batch job, or behind `</dev/null`
    with pytest.raises(InputError, match="there is no terminal to ask on; add --yes"):
        agreed("go on?")
