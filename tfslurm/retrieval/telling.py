"""The line of what a program printed that tells why it failed, and what to do about it. Pure.

Python names the exception after its traceback, C++ after `terminate called`, TensorFlow in a line of severity F. Lines
after these, such as warnings of libraries that end too, do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 300
"Characters of a line that are repeated."
TRACEBACK = re.compile(r"^(?P<before>.{0,40}?)(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*$")
IGNORED = re.compile(r"^Exception ignored in")
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*(?P<name>[A-Za-z_]\w*)(?P<rest>: .*|:?)$")
GRAPH = "Graph execution error"
NOISE = re.compile(
    r"^\s*$|^\s*\^+|^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+: [IWE] |^[IWE]\d{4} |^WARNING|^INFO|^\s*\[\[\{\{"
    r"|\w*Warning: |^\s+warnings\.warn\(|^To enable the following instructions|^Detected at node"
    r"|^Stack trace for op|^\*\*\* (Begin|End) stack trace|^During handling of the above|^The above exception was"
)
STRONG = (
    re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+: F \S+\] (?P<said>.+)"),
    re.compile(r"^F\d{4} .*?\] (?P<said>.+)"),
    re.compile(r"^\s*what\(\):\s+(?P<said>.+)"),
    re.compile(r"^Fatal Python error: (?P<said>.+)"),
    re.compile(r"(?P<said>.*(: not found|: command not found|: [Pp]ermission denied|No such file or directory))$"),
    re.compile(r"(?P<said>.*error while loading shared libraries.*)"),
    re.compile(r"(?P<said>.*can't open file .*)"),
    re.compile(r"(?P<said>\S+: error: .+)"),  # argparse
    re.compile(
        r"(?:[A-Za-z_]\w*\.)*(?P<said>[A-Z]\w*(Error|Exception|Interrupt|Exit)(: .*)?)$"
    ),  # its traceback is cut
)
WEAK = re.compile(
    r"error|fatal|abort|denied|cannot|can't|could not|unable to|fail|killed|segmentation|exhausted|out of memory|assert"
    r"|undefined symbol|invalid|unknown|missing|no space left",
    re.IGNORECASE,
)
FIXES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"No module named '?(?P<what>[\w.]+)|ImportError: cannot import name '(?P<name>\w+)"),
        "the image has no such Python module: add its package to exp.yaml, `packages: [NAME]`, or use an image that "
        "has it",
    ),
    (
        re.compile(r"\.so[.\d]*: cannot open shared object file|loading shared libraries"),
        "the image lacks that library: use another image, or one made from it",
    ),
    (re.compile(r"Read-only file system"), "write to the folder of `outputs`; /workspace is read-only"),
    (re.compile(r"[Nn]o space left on device|Bus error"), "the disk, a quota or /dev/shm is full: see `shm`, and `df`"),
    (
        re.compile(r"OOM when allocating|RESOURCE_EXHAUSTED|ResourceExhaustedError|CUDA_ERROR_OUT_OF_MEMORY"),
        "the GPU's memory is used up: smaller batches, or a GPU with more",
    ),
    (re.compile(r"MemoryError|Cannot allocate memory|std::bad_alloc"), "its memory is used up: ask for more `memory`"),
    (
        re.compile(r"can't open file|No such file or directory|cannot stat|nonexistent directory"),
        "the container has your files at /workspace (`code: .`), the folders of `mounts`, and the image's own",
    ),
    (
        re.compile(r"[Pp]ermission denied"),
        "the program runs as you, not as root: it may write in `outputs`, and in writable `mounts`",
    ),
    (re.compile(r": (command )?not found$|executable file not found"), "it is not in the image: correct `command`"),
    (
        re.compile(
            r"name resolution|Name or service not known|Network is unreachable|getaddrinfo|Max retries exceeded"
        ),
        "there is no such network from the container: see `network`; often nodes reach no other machine",
    ),
    (re.compile(r"unrecognized arguments|arguments are required|: error: argument"), "correct `command`"),
)


def telling_line(lines: Sequence[str]) -> str:
    """The line that tells why a program failed; '' where none does."""
    heard = without_ignored(lines)
    for at in range(len(heard) - 1, -1, -1):
        if found := strong(heard, at):
            return found[:LONGEST]
    kept = [line.strip() for line in heard if not NOISE.search(line)]
    weak = [line for line in kept if WEAK.search(line)]
    return (weak or kept or [""])[-1][:LONGEST]


def without_ignored(lines: Sequence[str]) -> list[str]:
    """The lines without those of exceptions that Python ignored: those of `__del__` while it ends."""
    kept: list[str] = []
    is_ignored = False
    for line in lines:
        if IGNORED.match(line):
            is_ignored = True
        elif not is_ignored:
            kept.append(line)
        elif not line[:1].isspace() and not TRACEBACK.match(line):
            is_ignored = False  # its last line, which names it
    return kept


def strong(lines: Sequence[str], at: int) -> str:
    """The words of this line for certain: an exception after its traceback, or one of STRONG; '' for any other."""
    line = lines[at]
    if traceback := TRACEBACK.match(line):
        return exception(lines[at + 1 :], traceback["before"])
    if NOISE.search(line) or (line[:1].isspace() and "what():" not in line):
        return ""
    found = next((found["said"].strip() for pattern in STRONG if (found := pattern.match(line))), "")
    is_exception = found and EXCEPTION.fullmatch(line) and any(map(TRACEBACK.match, lines[:at]))
    return "" if is_exception else found  # its traceback, which comes next, says it whole


def exception(lines: Sequence[str], before: str) -> str:
    """The exception that a traceback ends with; '' where it was cut off."""
    for at, line in enumerate(lines):
        text = line.removeprefix(before)
        if not text or text[0] in " \t|+":
            continue
        found = EXCEPTION.match(text)
        if found is None:
            return ""
        said = f"{found['name']}{found['rest']}"
        if GRAPH in said or said.endswith(":"):
            more = (rest.strip() for rest in lines[at + 1 :] if rest[:1].strip() and not NOISE.search(rest))
            said = f"{found['name']}: {next(more, GRAPH)}"
        return said
    return ""


def fix_for(line: str) -> str:
    """What to do about a line that told; '' where that is the program's own affair."""
    return next((fix for pattern, fix in FIXES if pattern.search(line)), "")
