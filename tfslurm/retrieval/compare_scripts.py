"""The scripts that a user gives to compare outputs: run here, on copies, with an end. None of a record is ever run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tfslurm.errors import HostError, refuse
from tfslurm.host.local import LocalHost
from tfslurm.local_files import make_folder, write_file
from tfslurm.record.comparison import Run, measure_of
from tfslurm.record.comparison.answers import BY_HAND
from tfslurm.record.comparison.comparers import Declared, Judged, declared_for
from tfslurm.record.comparison.contents.findings import Content
from tfslurm.record.comparison.files import outputs_of, units
from tfslurm.spec import Comparer, Reproduce

MOST_SECONDS = 60
MOST_OUTPUT = 2**20
"Bytes that a script may print; its first line is shown."
MOST_RUNS = 100
"Of scripts, for two runs."
LONGEST = 200
SAME, DIFFERS = 0, 1


def comparers_of(options: tuple[str, ...]) -> tuple[Comparer, ...]:
    """``GLOB=SCRIPT`` as it is typed, each with the absolute path of the script.

    Raises:
        InputError: one has another form, or its script is no program here.
    """
    found = []
    for text in options:
        glob, _, script = text.partition("=")
        path = Path(script).absolute()
        if not glob or not script:
            raise refuse(f"--compare {text}", "is not GLOB=SCRIPT", "write for example '*.parquet=./compare.py'")
        if not path.is_file():
            raise refuse(f"--compare {text}", f"there is no file {script}", "name a program on this machine")
        if not os.access(path, os.X_OK):
            raise refuse(f"--compare {text}", f"{script} is not executable", f"chmod +x {script}; it begins with #!")
        found.append(Comparer(glob, str(path)))
    return tuple(found)


def judged(a: Run, b: Run, given: Reproduce | None) -> Judged:
    """What the scripts that the user gave say of the outputs of two runs."""
    found: dict[str, Content] = {}
    if not given or not given.compare:
        return found
    measured, one, other, outputs = measure_of(a, b, given), units(a), units(b), outputs_of(a, b)
    for unit in sorted(one.keys() & other.keys()):
        declared = declared_for(unit, (*one[unit], *other[unit]), measured)
        if declared and declared.source == BY_HAND and not outputs.are_equal(one[unit], other[unit]):
            if len(found) == MOST_RUNS:
                break  # of the others the verdict says that none was run
            found[unit] = said_of(a, b, declared, one[unit], other[unit])
    return found


def said_of(a: Run, b: Run, declared: Declared, one: list[str], other: list[str]) -> Content:
    """What a script says of a file, or of files that belong together: it gets the path of each side's copy."""
    from tempfile import TemporaryDirectory

    script = declared.by.script or ""
    rule = f"script {Path(script).name}"
    for run, paths in ((a, one), (b, other)):
        for path in paths:
            if path not in run.contents:
                return Content("unread", rule, f"{run.key}: {run.why_unread(path)}")
    with TemporaryDirectory(prefix="tfslurm-compare-") as folder:
        sides = ((Path(folder) / "a", a, one), (Path(folder) / "b", b, other))
        copies = [copied(place, run.contents, paths) for place, run, paths in sides]
        try:
            done = LocalHost("this machine").run([script, *copies], timeout_s=MOST_SECONDS, max_bytes=MOST_OUTPUT)
        except HostError as error:
            return Content("unread", rule, str(error).splitlines()[0][:LONGEST])
    line = next((each.strip() for each in done.stdout.splitlines() if each.strip()), "")[:LONGEST]
    if done.exit_code == SAME:
        return Content("same", rule, line or "what the script leaves out")
    if done.exit_code == DIFFERS and line:
        return Content("differs", rule, line)
    why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1][:LONGEST]
    return Content("unread", rule, f"the script ended with exit code {done.exit_code}: {why}")


def copied(folder: Path, contents: Mapping[str, bytes], paths: list[str]) -> str:
    """The copy of a file, or the folder with the copies of several, under their own names."""
    make_folder(folder)
    for path in paths:
        write_file(folder / Path(path).name, contents[path], mode=0o400)
    return str(folder if len(paths) > 1 else folder / Path(paths[0]).name)
