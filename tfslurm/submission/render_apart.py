"""A template of one's own -> the script, rendered in a process of its own with little time, memory and room.

A template is a program: a loop in a loop, a macro that calls itself, ``'a' * 10**10``. No list of what it must not say
is complete, so the system bounds it. tfslurm's own template is rendered here and at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, Problem
from tfslurm.job_plan import JobPlan, from_json, to_json
from tfslurm.render import MAX_SCRIPT_BYTES, problem, render

CPU_S = 5
WALL_S = 60
MEMORY_BYTES = 2**30
# The other process imports what this one would, whatever the environment and the current folder say.
BEGIN = (
    "import sys, json; asked = json.load(sys.stdin.buffer); sys.path[:] = asked['path']; "
    "from tfslurm.submission.render_apart import answer; answer(asked)"
)


def render_apart(plan: JobPlan, templates: Mapping[str, str], name: str, files: Mapping[str, str]) -> str:
    """As ``render``.

    Raises:
        InputError: as ``render`` says, or the template takes more than it may.
    """
    asked = {
        "path": sys.path,
        "plan": to_json(plan),
        "templates": dict(templates),
        "name": name,
        "files": dict(files),
        "cpu_s": CPU_S,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", BEGIN],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise too_much(name, f"more than {WALL_S} s") from None
    if done.returncode:
        raise too_much(name, f"more than {CPU_S} s or {MEMORY_BYTES // 2**20} MiB of memory")
    said = read_json(done.stdout)
    if "problem" in said:
        raise InputError([Problem(**said["problem"])])
    return str(said["script"])


def too_much(name: str, what: str) -> InputError:
    """A template that is no template any more."""
    return problem(name, 0, f"takes {what} to be rendered", "take its loops apart; it should be a page of text")


def answer(asked: Mapping[str, Any]) -> None:
    """In the other process: bound it, render, and print the script or what is wrong as JSON."""
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, asked["cpu_s"]),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (soft, soft))
    said: dict[str, Any]
    try:
        said = {"script": render(from_json(asked["plan"]), asked["templates"], asked["name"], asked["files"])}
    except InputError as error:
        found = error.problems[0]
        said = {"problem": {key: getattr(found, key) for key in ("file", "line", "key", "why", "fix")}}
        said["problem"]["why"] = found.why[: MAX_SCRIPT_BYTES // 1024]
    except RecursionError:
        said = {"problem": {"file": asked["name"], "line": 0, "key": "template", "why": "calls itself without end"}}
    sys.stdout.write(json.dumps(said))
