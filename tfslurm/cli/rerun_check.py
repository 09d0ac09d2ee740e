"""The lines of `tfslurm rerun --check`, and the losses of every rerun, for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tfslurm.cli.check import COLOURS
from tfslurm.cli.console import show
from tfslurm.document.tree import printable
from tfslurm.record.comparison.answers import some
from tfslurm.reruns.check_facts import Checked
from tfslurm.reruns.expected import Compared, Took
from tfslurm.reruns.loss import Loss
from tfslurm.slurm.rejection import duration
from tfslurm.workspace.config import LOCAL

FACTS = ("data ", "secret ", "time limit")
"Losses that are among the facts of --check."


def show_checked(found: Checked, given: Sequence[str] = ()) -> None:
    """What is there, what is not as it was, what would be compared, and how long it took.

    ``given`` are the options that the rerun needs too.
    """
    width = max(len(fact.fact) for fact in found.facts)
    for fact in found.facts:
        fix = f" — {fact.do}" if fact.do else ""
        show((f"{fact.status:7}", COLOURS[fact.status]), f"  {printable(f'{fact.fact:{width}}  {fact.value}{fix}')}")
    show("")
    show_losses([loss for loss in found.losses if not loss.what.startswith(FACTS)])
    show_expected(found.compared, found.took)
    show("")
    show(f"{'next':<13}{printable(next_step(found, given))}")


def show_expected(said: Compared, time: Took) -> None:
    """What would be compared, and how long the original took."""
    for label, text in (*compared_lines(said), *took_lines(time)):
        show(f"{label:<13}{printable(text)}")


def show_losses(losses: Sequence[Loss]) -> None:
    """What a rerun cannot have the same way, a line for each; nothing where there is nothing."""
    for number, loss in enumerate(losses):
        head = "not the same" if number == 0 else ""
        show(f"{head:<13}", ("stops it: " if loss.stops else "", "red"), printable(str(loss)))
    if losses:
        show("")


def compared_lines(said: Compared) -> Iterator[tuple[str, str]]:
    """What the verdict would be made of."""
    if said.why_nothing:
        yield "compares", f"nothing: {said.why_nothing}"
    elif said.outputs:
        yield "compares", some(said.outputs)
    yield from (("", f"not {path}: {why}") for path, why in said.not_comparable[:10])
    if said.metric:
        within = f", within {said.tolerance}" if said.tolerance is not None else ", no tolerance is declared"
        yield "metric", said.metric + within
    yield "rule", said.rule


def took_lines(took: Took) -> Iterator[tuple[str, str]]:
    """How long the original ran and waited."""
    ran = "an unknown time" if took.ran_s is None else duration(took.ran_s)
    waited = "" if took.queued_s is None else f", after {duration(took.queued_s)} in the queue"
    again = f", in {took.attempts} attempts" if took.attempts > 1 else ""
    yield "took", f"{ran}{waited}{again}"


def next_step(found: Checked, given: Sequence[str] = ()) -> str:
    """The command to type now."""
    where = ["--local"] if found.place == LOCAL else ["--cluster", found.place, "--wait"]
    command = f"`{shlex.join(['tfslurm', 'rerun', found.original, *where, *given])}`"
    return command if found.can_start else f"set right what FAILs or stops it, then {command}"


def checked_json(found: Checked) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "original": found.original,
        "cluster": found.place,
        "can_start": found.can_start,
        "facts": [asdict(fact) for fact in found.facts],
        **expected_json(found.losses, found.compared, found.took),
    }


def expected_json(losses: Sequence[Loss], said: Compared, time: Took) -> dict[str, Any]:
    """What is not the same, what would be compared, and how long it took, as JSON values."""
    unlike = [{"path": path, "why": why} for path, why in said.not_comparable]
    return {
        "losses": [loss._asdict() for loss in losses],
        "compared": {**said._asdict(), "not_comparable": unlike},
        "took": time._asdict(),
    }
