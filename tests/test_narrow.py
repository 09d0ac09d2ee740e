"""What commands print where the terminal is narrow, or its encoding has few letters. The programs are fakes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop
from tests.test_record import case
from tfslurm.cli.console import fitting, stand_ins
from tfslurm.cli.status import DROPS
from tfslurm.record import record_json

HEADERS = ["JOB", "NAME", "SUBMITTED", "STATE", "TIME", "NODES", "REASON"]
SWEEP = "a-sweep-with-a-long-name-25d82a"
ROWS = [
    ["alpha:1234567_12", "moons", "11-28 07:00", "RUNNING", "1:00:00", "alpha1", ""],
    [SWEEP, "moons", "11-28 07:00", "FAILED", "0:01:00", "alpha1,alpha2", "time limit of 0:01:00 reached… " * 4],
]
ENCODINGS = ["latin-1", "ascii", "cp1252", "iso8859-15", "koi8-r", "latin-1:strict"]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (200, []),
        (101, ["NODES"]),
        (88, ["NODES", "SUBMITTED"]),
        (72, [*DROPS]),
        (71, ["NODES", "REASON"]),
        (60, ["NODES", "SUBMITTED", "REASON"]),
        (40, [*DROPS, "REASON"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns(width: int, left_out: list[str]) -> None:
    kept = [HEADERS[column] for column in fitting(HEADERS, ROWS, width, DROPS)]
    assert kept == [name for name in HEADERS if name not in left_out]


def on_a_terminal(script: str, columns: int, **variables: str) -> str:
    """All that a program shows on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1", **variables})
        os.execv(sys.executable, [sys.executable, "-c", script])
    shown = b""
    try:
        while select.select([terminal], [], [], 30)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                break
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown.decode("latin-1")


@pytest.mark.slow
def test_no_column_is_folded_into_letters() -> None:
    rows = [["alpha:41888_2", "sw", "2026-11-28 21:08", "COMPLETED", "0:00:03", "alpha1", "exit 4"]]
    script = (
        f"import os; from tfslurm.cli.console import table; shown = {HEADERS!r}, {rows!r}, None, {DROPS!r}\n"
        "for columns in range(40, 101): os.environ['COLUMNS'] = str(columns); table(*shown)"
    )
    shown = re.sub(r"\x1b\[[0-9;]*m|\r", "", on_a_terminal(script, 80))
    assert shown.count("exit 4") == 61 and len(shown.splitlines()) <= 3 * 61, shown


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("columns", [40, 60, 80])
def test_an_id_is_never_broken_and_every_row_is_shown_on_a_terminal(columns: int, encoding: str) -> None:
    script = (
        "from tfslurm.cli.console import accept_all, table; from tfslurm.cli.status import DROPS; "
        f"accept_all(); table({HEADERS!r}, {ROWS!r}, None, DROPS)"
    )
    shown = on_a_terminal(script, columns, PYTHONIOENCODING=encoding)
    assert "Traceback" not in shown
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", shown).split("\n")
    assert any(line.startswith(f"{SWEEP} ") and "FAILED" in line for line in lines), shown
    assert any(line.startswith("alpha:1234567_12 ") and "RUNNING" in line for line in lines)
    assert " ".join(" ".join(lines).split()).count("time limit of") == 4 and len(lines) <= 10
    assert all(len(line.replace("\xe2\x80\xa6", "…")) <= columns for line in lines if columns > 40)


COMMANDS = [["--help"], ["status"], ["submit", "é….yaml"], ["status", "--json"], ["plan", "→"]]
# Each in a process of its own, which has no need to import the package again.
EACH = f"""
import os, sys
import tfslurm.__main__, tfslurm.cli.status, tfslurm.cli.submit
for words in {COMMANDS!r}:
    sys.argv[1:] = words
    sys.stdout.flush()
    child = os.fork()
    if not child:
        sys.exit(tfslurm.__main__.main())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("ended with", code, file=sys.stderr, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_with_few_letters_stops_no_command(tmp_path: Path, encoding: str) -> None:
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"}
    done = subprocess.run([sys.executable, "-c", EACH], capture_output=True, env=variables, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 0
    ends = re.findall(rb"^ended with (\d+)$", done.stderr, re.MULTILINE)
    assert len(ends) == len(COMMANDS) and set(ends) <= {b"0", b"2"}, done.stderr
    assert b"Traceback" not in said and b"a defect of tfslurm" not in said
    said.decode(encoding.partition(":")[0])


@pytest.mark.slow
def test_a_locale_without_letters_stops_no_command(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    for utf8 in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "tfslurm", "plan", "é….yaml"],
            capture_output=True,
            env={**variables, "PYTHONUTF8": utf8},
            cwd=tmp_path,
        )
        assert (done.returncode, b"Traceback" in done.stderr, b"defect" in done.stderr) == (2, False, False)


def test_our_own_signs_have_plain_ones_and_letters_of_names_are_kept_as_numbers() -> None:
    text = "a → b… — 3 × é 字"
    for encoding, shown in (
        ("latin-1", b"a -> b... - 3 \xd7 \xe9 \\u5b57"),
        ("ascii", b"a -> b... - 3 x \\xe9 \\u5b57"),
    ):
        assert text.encode(encoding, "tfslurm") == shown
    with pytest.raises(UnicodeDecodeError):
        stand_ins(UnicodeDecodeError("ascii", b"\xff", 0, 1, "x"))


def test_a_job_without_a_record_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    assert laptop.type("submit", laptop.experiment(), "--cluster", "alpha") == 0
    (job,) = laptop.known_ids()
    laptop.slurm.start(job)
    laptop.slurm.end(job, "FAILED", "3:0")
    capsys.readouterr()
    laptop.type("status", "--efficiency", job)
    said = capsys.readouterr()
    (line,) = (line for line in (said.out + said.err).splitlines() if f"alpha:{job}: " in line)
    assert line.count(f"alpha:{job}: ") == 1, line


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "no_color"), [(80, ""), (40, "1")])
def test_the_record_fits_the_terminal_and_has_colours_only_where_they_are_wanted(
    columns: int, no_color: str, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record_json(case("refused").build())))
    script = f"from tfslurm.cli import run; run(['provenance', {str(file)!r}])"
    shown = on_a_terminal(script, columns, NO_COLOR=no_color, XDG_DATA_HOME=str(tmp_path / "data"))
    coloured = {status: colour for colour, status in re.findall(r"\x1b\[(\d+)m (\w+) *\x1b\[0m", shown)}
    assert coloured == ({} if no_color else {"ok": "32", "failed": "31", "unknown": "33"})
    plain = re.sub(r"\x1b\[[0-9;]*m|\r", "", shown)
    assert max(map(len, plain.splitlines())) <= columns and " failed  | the program was not started" in plain
