"""What `tfslurm rerun --dry-run` shows: the job that would run, beside the original."""

from __future__ import annotations

from collections.abc import Iterator

from tfslurm.cli.console import emit, show
from tfslurm.cli.plan_lines import as_value, lines_of_job, notes_of, text_of
from tfslurm.cli.rerun_check import expected_json, show_expected
from tfslurm.export.text import clock
from tfslurm.reruns.expected import compared, took
from tfslurm.reruns.run import Rerun, prepare_rerun, refuse_losses
from tfslurm.submission.pinning import pin_to_show
from tfslurm.workspace.session import Session


def show_plan(session: Session, made: Rerun, as_json: bool) -> int:
    """Print the plan, what is not as it was, and what would be compared.

    Raises:
        TfslurmError: something that it needs is not there; there is no plan then.
    """
    stops = any(loss.stops for loss in made.losses)
    job = None if stops else prepare_rerun(session, made, pin_to_show)
    record = made.original.record
    expected = compared(record, made.wish.settings, made.losses), took(record)
    asked = made.workspace.asked
    if as_json:
        origin = asked.derived_from
        emit(
            {
                "original": {"job": made.original.evidence.key, "record_id": origin.record_id if origin else None},
                "variation": dict(made.wish.settings) or None,
                "plan": as_value(job, asked) if job else None,
                "warnings": list(made.workspace.warnings),
                "notes": list(made.workspace.notes),
                **expected_json(made.losses, *expected),
            }
        )
    else:
        noted = [("note", note) for note in notes_of(asked, job)]
        planned = [*lines_of_job(job, asked), *noted] if job else []
        show(text_of([*original_lines(made), *planned, *unlike_lines(made)]))
        show_expected(*expected)
    refuse_losses(made)
    return 0


def original_lines(made: Rerun) -> Iterator[tuple[str, str]]:
    """The original, how long it took, and the settings that make a variation of it."""
    job = made.original.record.job
    took = f" in {clock(job.elapsed_s)}" if job.elapsed_s is not None else ""
    yield (
        "original",
        f"{made.original.evidence.key}, {job.state or 'unknown'}{took} on {', '.join(job.nodes) or 'no node'}",
    )
    if made.wish.settings:
        yield "changed", " ".join(f"{name}={value}" for name, value in made.wish.settings.items())


def unlike_lines(made: Rerun) -> Iterator[tuple[str, str]]:
    """What is not as it was."""
    yield from (("warning", line) for line in made.workspace.warnings)
    yield from (("note", line) for line in made.workspace.notes)
    for loss in made.losses:
        yield "MISSING" if loss.stops else "differs", str(loss)
