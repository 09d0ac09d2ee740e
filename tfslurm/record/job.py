"""The begin and end of a job and of its attempts: by Slurm where it knows them, else by the job's files. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tfslurm.cluster import Engine
from tfslurm.document.moments import datetime_of, parse_time
from tfslurm.errors import SlurmParseError
from tfslurm.job_plan import JobPlan
from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Job, SharedFolder
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import (
    ENGINE,
    LOST,
    MEMORY,
    NO_SCHEDULER,
    PROGRAM,
    REFUSED,
    REQUEUED,
    SCRIPT,
    STOPPED,
    UNFINISHED,
    End,
    parse_end,
    parse_kept,
    parse_task_end,
)
from tfslurm.slurm import JobStatus, is_final, state_from_exit
from tfslurm.slurm.values import expand_hostlist
from tfslurm.sweeps.arrays import slurm_id

LOCAL = "local"  # the cluster of `tfslurm run`, which has no queue: a job begins when it is submitted


@dataclass(frozen=True, slots=True)
class Ending:
    """One attempt, as it wrote itself down; None: it did not get to it."""

    begin: Mapping[str, Any]
    state: str | None
    exit_code: int | None
    signal: int | None
    began_at: str | None
    ended_at: str | None
    warned_at: str | None
    reason: str  # why it ended before its program did; '': it did not
    ended_by: str | None = None  # see ended_by()
    left_at: str | None = None  # when the job was over: later than that where its container was kept


def read_ending(folder: Folder, status: JobStatus | None, *, is_last: bool) -> Ending:
    """The end of one attempt. The last one has Slurm's state, and only without it its own; others were requeued."""
    own = folder.quiet()
    begin = own.fact("begin", paths.BEGIN, facts.parse_object) or {}
    end = own.fact("state", paths.END, parse_end)
    state = "REQUEUED" if not is_last else status.state if status else None
    if state is None and end is not None:
        cancelled = begin.get("cluster") == LOCAL and end.cause == STOPPED
        state = state_from_exit(end.exit_code, end.signal, oom_killed=was_oom_killed(folder), cancelled=cancelled)
    if state is None:
        folder.note("state", f"{own.why('state')}: the attempt did not get to writing its end")
    return Ending(
        begin=begin,
        state=state,
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
        began_at=moment(begin.get("began_at")),
        ended_at=moment(end.ended_at) if end else None,
        warned_at=moment(folder.text("warned")),
        reason=reason_of(end, state, status.signal if is_last and status else None),
        ended_by=ended_by(folder, end, state),
        left_at=left_at(folder, end),
    )


def left_at(folder: Folder, end: End | None) -> str | None:
    """When an attempt was over, its kept container with it; None where it is not, or nobody wrote that down."""
    if end is None or not end.kept_until_at:
        return moment(end.ended_at) if end else None
    kept = folder.quiet().fact("", f"{paths.task(0)}/{paths.KEPT}", parse_kept)
    return moment(kept.ended_at) if kept else None


def reason_of(end: End | None, state: str | None, signal: int | None) -> str:
    """Why an attempt ended before its program did; '' where it did not, or where Slurm's state says it.

    ``signal`` is what Slurm says that ended the batch script.
    """
    if end:
        return " ".join(end.reason.split()).removeprefix("tfslurm: ")
    unwritten = state is not None and is_final(state) and state not in BY_SLURM
    return "" if not unwritten else SIGNALLED.format(signal) if signal else NO_END


NO_END = "the job did not write down its end: its file system was full, read-only or gone, or its node failed"
SIGNALLED = "signal {} ended the batch script, so the job did not write down its end"
BY_SLURM = ("CANCELLED", "TIMEOUT", "PREEMPTED", "DEADLINE", "REQUEUED")  # stopped, whoever asked for it


ENDED_BY: Mapping[str, str] = {
    PROGRAM: "program",
    UNFINISHED: "program",
    NO_SCHEDULER: "program",
    MEMORY: "memory",
    STOPPED: "stop",
    REQUEUED: "stop",
    REFUSED: "chain",
    ENGINE: "engine",
    LOST: "node",
    SCRIPT: "node",
}


def ended_by(folder: Folder, end: End | None, state: str | None) -> str | None:
    """The cause of an attempt's end, as the record names it.

    ``program``: its own, whatever its exit code. ``memory``: the kernel ended it, its container's memory was used up.
    ``stop``: cancelled, out of time, preempted or requeued. ``chain``: a link did not hold, it was not started.
    ``engine``, ``node``: the container engine, or what attends the job on the node, failed. None: nothing says (yet).
    """
    ended = ENDED_BY.get(end.cause) if end else None
    if ended is None or end is None:
        ended = ended_by_files(folder) or (None if end is None else "program")
    if ended == "program" and was_oom_killed(folder):
        return "memory"
    if state in BY_SLURM and ended in ("program", None) and not (end and end.kept_until_at):
        return "stop"
    return "node" if ended is None and state is not None and is_final(state) else ended


def ended_by_files(folder: Folder) -> str | None:
    """The same for an attempt that wrote no end, or no cause of it, by its tasks' files; None if they have none."""
    pattern = re.compile(re.escape(folder.prefix) + r"(?:facts/task-\d+/)?(lost|refused)\.txt")
    for name in sorted(name for name in folder.files if pattern.fullmatch(name)):
        cause = folder.files.get(f"{name.rpartition('/')[0]}/cause", b"").decode("utf-8", "replace").strip()
        if cause in ENDED_BY:
            return ENDED_BY[cause]
        words = folder.files[name].decode("utf-8", "backslashreplace").split(": ")
        at_engine = len(words) > 2 and words[2] in get_args(Engine)
        return "engine" if at_engine else "node" if name.endswith("lost.txt") else "chain"
    return "memory" if was_oom_killed(folder) else None


def was_oom_killed(folder: Folder) -> bool:
    """Did the kernel end a task's container for its memory?"""
    own = folder.quiet()
    names = (f"{paths.task(rank)}/{paths.END}" for rank in paths.tasks_in(folder.names))
    ends = (own.fact("", name, parse_task_end) for name in names)
    return any(end.oom_killed for end in ends if end)


def moment(value: object) -> str | None:
    """The time, None for anything that is none."""
    try:
        return parse_time(value)
    except ValueError:
        return None


def read_job(
    plan: JobPlan,
    job_id: str,
    root: Folder,
    folders: list[Folder],
    endings: list[Ending],
    status: JobStatus | None,
) -> Job:
    """The job as a whole. ``started_at`` and ``elapsed_s`` are those of the last attempt, as Slurm counts them."""
    begin = endings[-1].begin if endings else {}
    own = from_files(endings)
    said = from_slurm(status)
    values = {key: said[key] if said[key] is not None else own[key] for key in own}
    array_job_id, _, array_task_id = slurm_id(job_id).partition("_")
    nodes = status.nodes if status and status.nodes else nodes_of(begin)
    is_local = plan.cluster == LOCAL
    values["submitted_at"] = values["started_at"] if is_local else status.submitted_at if status else None
    job = Job(
        cluster=plan.cluster,
        job_id=job_id,
        array_job_id=array_job_id if array_task_id else None,
        array_task_id=array_task_id or None,
        name=plan.job_name,
        user=plan.user,
        partition=(status.partition if status else None) or text_or_none(begin.get("partition")),
        nodes=nodes,
        time_limit_s=(status.time_limit_s if status else None) or plan.resources.time_s,
        script_sha256=text_or_none(begin.get("script_sha256")),
        shared_folders=shared_folders(root, folders),
        **values,
    )
    note_unknown(job, root, folders, status)
    return job


def shared_folders(root: Folder, folders: list[Folder]) -> tuple[SharedFolder, ...] | None:
    """The folders in which others could have replaced what the last attempt ran; None if no attempt looked."""
    if not folders:
        root.note("job.shared_folders", "no attempt of the job left a file")
        return None
    last = folders[-1].at("job")
    rows = last.fact("shared_folders", "shared-folders", facts.parse_shared)
    return None if rows is None else tuple(SharedFolder(name, mode, uid) for mode, uid, name in rows)


def from_files(endings: list[Ending]) -> dict[str, Any]:
    """The job as its own files have it."""
    last = endings[-1] if endings else Ending({}, None, None, None, None, None, None, "")
    elapsed = None
    if last.began_at and last.left_at:
        elapsed = int((datetime_of(last.left_at) - datetime_of(last.began_at)).total_seconds())
    return {
        "state": last.state,
        "exit_code": last.exit_code,
        "signal": last.signal,
        "started_at": last.began_at,
        "ended_at": last.left_at,
        "elapsed_s": elapsed,
        "restarts": last.begin.get("restart_count") if isinstance(last.begin.get("restart_count"), int) else None,
    }


def from_slurm(status: JobStatus | None) -> dict[str, Any]:
    """The job as Slurm has it; an estimate of a beginning or an end is not taken for one."""
    begun = status is not None and status.state != "PENDING"
    over = status is not None and is_final(status.state)
    return {
        "state": status.state if status else None,
        "exit_code": status.exit_code if status else None,
        "signal": status.signal if status else None,
        "started_at": status.started_at if status and begun else None,
        "ended_at": status.ended_at if status and over else None,
        "elapsed_s": status.elapsed_s if status and begun else None,
        "restarts": status.restarts if status else None,
    }


def note_unknown(job: Job, root: Folder, folders: list[Folder], status: JobStatus | None) -> None:
    """Note why each fact of the job that could be known is null."""
    over = job.state is None or is_final(job.state)
    absent = "Slurm does not know the job any more" if status is None else "Slurm does not say"
    absent = "there was no Slurm to ask" if job.cluster == LOCAL else absent
    own = f"{folders[-1].prefix}{paths.END} was not written" if folders else "no attempt of the job left a file"
    expected = {
        "submitted_at": job.cluster != LOCAL or bool(folders),
        "state": True,
        "partition": job.cluster != LOCAL,
        "script_sha256": bool(folders),
        "started_at": bool(folders),
        "ended_at": over,
        "exit_code": over,
        "elapsed_s": over,
        "restarts": True,
    }
    for key, is_expected in expected.items():
        if is_expected and getattr(job, key) is None:
            root.note(f"job.{key}", absent if key == "submitted_at" else f"{absent}; {own}")


def nodes_of(begin: Mapping[str, Any]) -> tuple[str, ...]:
    """The nodes that Slurm named to the job; () if it was not Slurm that started it."""
    try:
        return expand_hostlist(str(begin.get("nodelist") or ""))
    except SlurmParseError:  # a list that is not understood is no reason to lose the record
        return (str(begin["nodelist"]),)


def text_or_none(value: object) -> str | None:
    """The text; None for nothing or an empty one."""
    return str(value) if value else None
