"""What `tfslurm rerun --dry-run` shows: the job that would run, beside the original."""

from __future__ import annotations

from collections.abc import Iterator

from tfslurm.cli.console import emit, show
from tfslurm.cli.plan_lines import as_value, lines_of_job, notes_of, text_of
from tfslurm.export.text import clock
from tfslurm.reruns.run import Rerun, prepare_rerun
from tfslurm.submission.pinning import pin_to_show
from tfslurm.workspace.session import Session


def show_plan(session: Session, made: Rerun, as_json: bool) -> int:
    """Print the plan, what is not as it was, and what is not to be had; 1 if that would stop the rerun."""
    job = prepare_rerun(session, made, pin_to_show)
    asked = made.workspace.asked
    if as_json:
        origin = asked.derived_from
        emit(
            {
                "original": {"job": made.original.evidence.key, "record_id": origin.record_id if origin else None},
                "variation": dict(made.wish.settings) or None,
                "plan": as_value(job, asked),
                "warnings": list(made.workspace.warnings),
                "notes": list(made.workspace.notes),
                "losses": [loss._asdict() for loss in made.losses],
            }
        )
    else:
        noted = [("note", note) for note in notes_of(asked, job)]
        show(text_of([*original_lines(made), *lines_of_job(job, asked), *noted, *unlike_lines(made)]))
    return 1 if any(loss.stops for loss in made.losses) else 0


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
    yield from (("differs", line) for line in made.workspace.notes)
    for loss in made.losses:
        yield "MISSING" if loss.stops else "differs", f"{loss.what}: {loss.asked}; {loss.here}; {loss.fix}"
