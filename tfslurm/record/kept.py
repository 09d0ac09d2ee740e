"""The container of a program that failed, kept for who wants to look (`submit --keep-on-failure`). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfslurm.document.moments import datetime_of, parse_time, seconds_between
from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Attempt, Kept
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import parse_end, parse_kept

TASK = paths.task(0)
"It is kept of a job with one task alone."


def read_kept(folder: Folder) -> Kept | None:
    """How long an attempt's container was kept, and how many commands ran in it; None where it was not to be."""
    end = folder.quiet().fact("", paths.END, parse_end)
    task, name = folder.below(TASK, f"{folder.path}.kept"), paths.KEPT
    if task.raw(name) is None and not (end and end.kept_until_at):
        return None
    kept = task.fact("ended_at", name, parse_kept)
    if kept is None:
        return Kept(None, end.kept_until_at if end else None, None, None, None, 0)
    began_at, until_at, ended_at = map(whole, (kept.began_at, kept.until_at, kept.ended_at))
    commands = count_after(entries(task), kept.began_at)
    return Kept(began_at, until_at, ended_at, kept.ended_by, kept.reason, commands)


def whole(moment: str | None) -> str | None:
    """A moment in whole seconds."""
    return parse_time(moment) if moment else None


def entries(task: Folder) -> list[str]:
    """The moment of each command that was run in a task's container (tfslurm exec)."""
    return [line.partition("\t")[0] for line in facts.parse_lines(task.raw("entered.tsv") or b"")]


def count_after(moments: Sequence[str], began_at: str | None) -> int:
    """How many moments are not before another one; 0 where that is None."""
    try:
        return sum(datetime_of(each) >= datetime_of(began_at) for each in moments) if began_at else 0
    except (ValueError, TypeError):  # nobody writes such a line: it counts as after
        return len(moments)


def kept_s(kept: Kept) -> int:
    """The seconds for which it was kept; 0 where that is not known."""
    return max(0, seconds_between(kept.began_at, kept.ended_at) or 0)


def about_kept(attempts: Sequence[Attempt]) -> Iterator[str]:
    """The warnings of the last attempt's kept container."""
    kept = attempts[-1].kept if attempts else None
    if kept is None:
        return
    seconds = kept_s(kept)
    if seconds:
        told = f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
        yield f"container: it was kept for {told} after its program had failed; the job held its resources so long"
    if kept.reason:
        how = "kept no longer" if kept.began_at else "not kept"
        yield f"container: it was {how} after its program had failed: {kept.reason}"
    if kept.commands:
        what = f"{kept.commands} commands were" if kept.commands > 1 else "1 command was"
        why = "the outputs may differ from their sums, which are of the failure"
        yield f"container: {what} run in it after its program had failed (tfslurm exec); {why}"
