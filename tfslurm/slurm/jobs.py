"""Jobs: submit, list, cancel. argv goes out, what Slurm printed comes in. Pure.

Every argv but sbatch's begins with ``env``: a user's SQUEUE_FORMAT or SACCT_FORMAT would silently change what is asked,
and times are asked for as seconds since 1970, which no time zone or daylight saving can bend.
Source: squeue(1), sacct(1), sbatch(1), scancel(1), ENVIRONMENT VARIABLES; recorded from Slurm 22.05.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tfslurm.errors import Completed, SlurmParseError, SubmitRejected
from tfslurm.slurm.environment import clean
from tfslurm.slurm.states import is_final, parse_state
from tfslurm.slurm.values import (
    FIELD,
    MOST_JOBS,
    MOST_NODES,
    ROW,
    at_most,
    expand_hostlist,
    expand_tasks,
    fields_of,
    in_seconds,
    lines_of,
    parse_duration,
    parse_moment,
    parse_number,
)

QUEUE_FIELDS = ("%i", "%T", "%r", "%V", "%S", "%e", "%M", "%l", "%N", "%P", "%u", "%j", "%k")
SACCT_FIELDS = (
    *("JobID", "State", "Reason", "ExitCode", "Submit", "Start", "End", "ElapsedRaw", "TimelimitRaw"),
    *("NodeList", "Partition", "JobName", "Comment", "User"),  # User last: never a line break, so it ends the row
)
LAST_SIGNAL = 64  # SIGRTMAX of Linux
LAST_ID = 2**32 - 3
ID = re.compile(r"[1-9][0-9]{0,9}")
ROW_ID = r"(?P<job>[1-9][0-9]{0,9})(?:\+[0-9]{1,5}|_(?:(?P<task>0|[1-9][0-9]{0,9})|\[(?P<tasks>.+)\]))?"
GIVEN = re.compile(
    r"(?P<id>[0-9]+)(?:;[A-Za-z0-9_.-]+)?|Submitted batch job (?P<sentence>[0-9]+)(?: on cluster [\w.-]+)?"
)
LONGEST_TEXT = 1024  # characters of a name, a reason, a comment that are kept: each job has them in the tracker
LONGEST_ANSWER = 2**16  # of sbatch, as it is kept in the run folder
LONGEST_LINE = 64 * 1024  # of the 128 KiB that Linux lets one word have, and a command over ssh is one (MAX_ARG_STRLEN)
LATEST = "now+365days"  # a job that was cancelled before its --begin counts as of then
MOST_BYTES = 64 * 2**20  # of squeue and sacct: some 250,000 jobs
NO_LIMIT = ("UNLIMITED", "NOT_SET", "Partition_Limit", "INVALID", "")


class JobStatus(NamedTuple):
    """Slurm's state of one job, or of one task of an array. Times are RFC 3339 in UTC; None: not (yet) known."""

    job_id: str  # as the user types it: '1234', or '1234_7' for a task of an array
    array_job_id: str | None
    array_task_id: str | None
    name: str
    state: str  # one of STATES
    reason: str  # Slurm's own word, '' when there is none; explain_reason says it in English
    exit_code: int | None  # of the batch script; None: it did not end by itself (yet), or squeue listed it
    signal: int | None  # that ended the batch script; None: no signal
    submitted_at: str | None
    started_at: str | None  # an estimate while PENDING
    ended_at: str | None  # an estimate while not final
    elapsed_s: int | None
    time_limit_s: int | None  # None: unlimited, or not known
    nodes: tuple[str, ...]
    partition: str
    comment: str
    restarts: int | None  # how often it was requeued; None from squeue, which does not print it
    user: str


def sbatch_argv(script: str) -> tuple[str, ...]:
    """``sbatch --parsable SCRIPT``; who calls it takes the variables away that override the script's own directives."""
    return ("sbatch", "--parsable", script)


def parse_sbatch(completed: Completed) -> str:
    """The job id in sbatch's answer: the one id that stands alone on a line, whatever a site's wrapper says beside it.

    Such a line is ``1234``, ``1234;cluster`` or, of a wrapper, ``Submitted batch job 1234``.

    Raises:
        SubmitRejected: sbatch ended with a non-zero exit code.
        SlurmParseError: it ended with 0 and no line, or lines of several ids, are so: which job it is nobody knows.
    """
    if completed.exit_code != 0:
        raise SubmitRejected(completed, what="sbatch refused the job")
    ids = ids_in(completed.stdout)
    if len(ids) != 1 or len(completed.stdout) >= LONGEST_ANSWER or not is_job_id(*ids):
        raise SlurmParseError("sbatch", completed.stdout)
    return ids.pop()


def ids_in(answer: str) -> set[str]:
    """The ids that stand alone on a line of what sbatch printed."""
    found = (GIVEN.fullmatch(line.strip()) for line in answer[:LONGEST_ANSWER].split("\n"))
    return {match["sentence"] or match["id"] for match in found if match}


def is_job_id(text: str) -> bool:
    """Whether it is an id that Slurm can give: 32 bits, of which the last ones mean that there is none."""
    return bool(ID.fullmatch(text)) and int(text) <= LAST_ID


def queue_argv() -> tuple[str, ...]:
    """One squeue for all jobs of the user whom it runs as, those that ended less than MinJobAge ago included.

    The uid says who that is: a name may be another one there, and squeue answers a wrong one with no jobs.
    """
    wanted = FIELD.join(QUEUE_FIELDS) + ROW
    options = ("--noheader", "--all", "--states=all", "--me", f"--format={wanted}")
    return (*clean("squeue"), "squeue", *options)


def parse_queue(text: str) -> tuple[JobStatus, ...]:
    """The jobs of ``queue_argv``, a pending array as one entry per task, in squeue's order.

    Raises:
        SlurmParseError: a row with other fields than asked for, or a state that is not Slurm's.
    """
    rows = (row.removeprefix("\n") for row in at_most(2 * MOST_JOBS, lines_of(text, ROW), "squeue's rows"))
    return tuple(few(status for row in rows if row.strip() for status in queue_row(row)))


def few(jobs: Iterator[JobStatus]) -> Iterator[JobStatus]:
    """The jobs one by one.

    Raises:
        SlurmParseError: they, or their nodes together, are more than anybody has.
    """
    nodes = 0
    for status in at_most(MOST_JOBS, jobs, "jobs"):
        nodes += len(status.nodes)
        if nodes > 10 * MOST_NODES:
            why = f"there are more than {10 * MOST_NODES}; look at what the command prints there"
            raise SlurmParseError("the nodes of all jobs", "", why=why)
        yield status


def queue_row(row: str) -> Iterator[JobStatus]:
    """The job, or the pending tasks of an array, in one row of squeue."""
    fields = fields_of(row, len(QUEUE_FIELDS), FIELD, "squeue")
    job_id, state, reason, submitted, started, ended, elapsed, limit, nodes, partition, user, name, comment = fields
    status = JobStatus(
        job_id=job_id,
        array_job_id=None,
        array_task_id=None,
        name=name[:LONGEST_TEXT],
        state=parse_state(state),
        reason=absent(reason)[:LONGEST_TEXT],
        exit_code=None,
        signal=None,
        submitted_at=parse_moment(submitted),
        started_at=parse_moment(started),
        ended_at=parse_moment(ended),
        elapsed_s=None if elapsed in NO_LIMIT else parse_duration(elapsed),
        time_limit_s=None if limit in NO_LIMIT else parse_duration(limit),
        nodes=expand_hostlist(absent(nodes)),
        partition=partition[:LONGEST_TEXT],
        comment=absent(comment)[:LONGEST_TEXT],
        restarts=None,
        user=user[:LONGEST_TEXT],
    )
    return per_task(status)


def accounting_argv(user: str, job_ids: Sequence[str], since: str) -> tuple[str, ...]:
    """One sacct for any number of jobs that were submitted since then; with so many the user's other jobs come too."""
    # tasks as their array: sacct does not find by its own id one that was cancelled with others
    arrays = dict.fromkeys(job_id.partition("_")[0] for job_id in job_ids)
    asked = sacct_argv(job_ids=list(arrays), since=since)
    if sum(map(len, asked)) <= LONGEST_LINE:
        return asked
    return sacct_argv(user=user, since=since)


def sacct_argv(
    *, job_ids: Sequence[str] = (), names: Sequence[str] = (), user: str = "", since: str = ""
) -> tuple[str, ...]:
    """One sacct by ids, or by names or a user since a moment (RFC 3339 in UTC), without which it would begin today."""
    options = ["--noheader", "--parsable2", f"--delimiter={FIELD}", "--duplicates", "--allocations"]
    options += [f"--format={','.join(SACCT_FIELDS)}"]
    options += [f"--jobs={','.join(job_ids)}"] if job_ids else []
    options += [f"--name={','.join(names)}"] if names else []
    options += [f"--user={user}"] if user else []
    if since or not job_ids:
        options += [f"--starttime={since[:19] or '1970-01-01T00:00:00'}", f"--endtime={LATEST}"]
    return (*clean("sacct"), "sacct", *options)


def has_no_accounting(stderr: str) -> bool:
    """Whether sacct failed because the site keeps no accounting, rather than because it does not answer."""
    return "accounting storage is disabled" in stderr


def parse_sacct(text: str) -> tuple[JobStatus, ...]:
    """The jobs of ``sacct_argv``: the newest run of each, ``restarts`` counting those before it.

    A job that slurmdbd has not heard of yet is absent, not failed. slurmdbd hears of a comment when the run ends, so
    ``comment`` is '' until then; names are there from the beginning.

    Raises:
        SlurmParseError: a row with other fields than asked for, or a state that is not Slurm's.
    """
    latest: dict[str, JobStatus] = {}
    for status in few(status for row in sacct_rows(text) for status in sacct_row(row)):
        before = latest.get(status.job_id)
        if before is None or before.name != status.name or before.user != status.user:
            latest[status.job_id] = status  # another name under the same id: Slurm's ids began again
        else:
            latest[status.job_id] = status._replace(
                restarts=(before.restarts or 0) + 1,
                submitted_at=before.submitted_at,
                comment=status.comment or before.comment,
            )
    return tuple(latest.values())


def sacct_rows(text: str) -> Iterator[str]:
    """The rows, each whole again where a name or comment holds a line break."""
    parts: list[str] = []
    separators = 0
    for line in at_most(2 * MOST_JOBS, lines_of(text), "sacct's lines"):
        if parts or line:
            parts.append(line)
            separators += line.count(FIELD)
        if separators >= len(SACCT_FIELDS) - 1:
            yield "\n".join(parts)
            parts, separators = [], 0
    if rest := "\n".join(parts).strip():
        raise SlurmParseError("sacct", rest)


def sacct_row(row: str) -> Iterator[JobStatus]:
    """The job, or the pending tasks of an array, in one row of sacct."""
    fields = fields_of(row, len(SACCT_FIELDS), FIELD, "sacct")
    job_id, stated, reason, ending, submitted, started, ended, elapsed, minutes, nodes, *rest = fields
    partition, name, comment, user = rest
    state = parse_state(stated)
    exit_code, signal = parse_exit(ending, state) if is_final(state) else (None, None)
    status = JobStatus(
        job_id=job_id,
        array_job_id=None,
        array_task_id=None,
        name=name[:LONGEST_TEXT],
        state=state,
        reason=absent(reason)[:LONGEST_TEXT],
        exit_code=exit_code,
        signal=signal,
        submitted_at=parse_moment(submitted),
        started_at=parse_moment(started),
        ended_at=parse_moment(ended),
        elapsed_s=seconds_of(elapsed, 1),
        time_limit_s=seconds_of(minutes, 60),
        nodes=expand_hostlist("" if nodes == "None assigned" else nodes),
        partition=partition[:LONGEST_TEXT],
        comment=comment[:LONGEST_TEXT],
        restarts=0,
        user=user[:LONGEST_TEXT],
    )
    return per_task(status)


def seconds_of(text: str, unit_s: int) -> int | None:
    """So many units in seconds; None for a word such as UNLIMITED."""
    return in_seconds(parse_number(text, "duration") * unit_s, text) if text.isdecimal() else None


def parse_exit(text: str, state: str) -> tuple[int | None, int | None]:
    """Exit code and signal of sacct's ``1:0``; at most one of them is known.

    Slurm prints ``0`` for an exit code that there was not: for a script that a signal ended (``0:10``), and for one
    that was cancelled or ran out of time (``0:0``). Out of memory is ``0:125``, and 125 is no signal of Linux.
    """
    found = re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", text)
    if not found:
        raise SlurmParseError("exit code", text)
    code, signal = int(found[1]), int(found[2])
    if signal:
        return None, signal if signal <= LAST_SIGNAL else None
    return (code if code or state == "COMPLETED" else None), None


def per_task(status: JobStatus) -> Iterator[JobStatus]:
    """One status for each task in an id such as ``1234_[1-3,7%2]``; the status itself for a job that is no array."""
    found = re.fullmatch(ROW_ID, status.job_id)
    if not found or not is_job_id(found["job"]):
        raise SlurmParseError("job id", status.job_id)
    job, task, tasks = found["job"], found["task"], found["tasks"]
    if not task and not tasks:
        yield status
        return
    for each in (task,) if task else map(str, expand_tasks(tasks)):
        yield status._replace(job_id=f"{job}_{each}", array_job_id=job, array_task_id=each)


def absent(text: str) -> str:
    """'' for the words that Slurm prints in place of nothing."""
    return "" if text in ("None", "(null)", "N/A") else text


def begin_argv(job_id: str) -> tuple[str, ...]:
    """``scontrol update`` that lets a waiting job begin; Slurm holds one that was queued again back for two minutes."""
    return (*clean("scontrol"), "scontrol", "update", f"JobId={job_id}", "StartTime=now+3")


def hold_argv(job_ids: Sequence[str], *, release: bool = False) -> tuple[str, ...]:
    """``scontrol hold``: a job that waits does not begin, one that runs continues; or the ``release`` of both."""
    return (*clean("scontrol"), "scontrol", "release" if release else "hold", ",".join(job_ids))


def cancel_argv(job_ids: Sequence[str], *, signal: str = "") -> tuple[str, ...]:
    """``scancel`` of these jobs, or a signal such as USR1 to their steps.

    There is no choosing by state: `scancel --state=PENDING 1234_0` cancels every task of 1234 that waits (22.05.8).
    """
    return (*clean("scancel"), "scancel", *((f"--signal={signal}",) if signal else ()), *job_ids)
