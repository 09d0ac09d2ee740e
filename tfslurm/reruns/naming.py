"""Errors of a rerun name its record: the exp.yaml in the temporary folder is gone when somebody reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tfslurm.errors import InputError, Problem

PREFIX = "tfslurm-rerun-"
"Of the temporary folder's name."
OWN = re.compile(rf"/[^\s`'\"]*?/{PREFIX}[^/\s`'\"]+/(?P<file>[^\s`'\":,;]*)")
PARTS = {"exp.yaml": "", "exp.lock.yaml": ": lock file"}


@contextmanager
def named_by_record(name: str) -> Iterator[None]:
    """Within this, problems of files in the temporary folder are raised as those of the record ``name``.

    Raises:
        InputError: the same problems; no line is named, because nobody can open it.
    """
    try:
        yield
    except InputError as error:
        raise InputError([renamed(problem, name) for problem in error.problems]) from error


def renamed(problem: Problem, name: str) -> Problem:
    """A problem by the record's name."""
    is_own = OWN.search(problem.file) is not None

    def shown(text: str) -> str:
        return OWN.sub(lambda found: name + PARTS.get(found["file"], f": {found['file']}"), text)

    return Problem(
        shown(problem.file), 0 if is_own else problem.line, problem.key, shown(problem.why), shown(problem.fix)
    )
