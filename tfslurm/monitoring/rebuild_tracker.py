"""Rebuild the tracker from the run folders on the clusters: they are the truth, it is only their index.

A folder that does not hold what it must, or that is somebody else's, is named and left out: see run_folder. Nothing
that is read here is ever settled or sent by itself; `resume` asks before it sends the like of it again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tfslurm import slurm
from tfslurm.errors import CommandFailed, Completed, HostError, RecordError, SlurmParseError
from tfslurm.host import Host
from tfslurm.host.fetching import Entry as File
from tfslurm.host.fetching import pack
from tfslurm.host.files import fitting, named
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import FOLDER
from tfslurm.monitoring.exit_files import LARGEST, last_end
from tfslurm.monitoring.poll import queued
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import STOPPED
from tfslurm.run_folder.plan_file import is_job_of, read_plan, read_points
from tfslurm.slurm.values import lines_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedSweep, Tracker
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

ATTEMPT = re.compile(r"([^/]+)/([^/]+)/(attempt-[0-9]{1,6}/exit\.json)")
MOST_LISTING = 2**26
LISTED = re.compile(r"(.) ([0-9]+) ([0-9]{1,18}) (.+)", re.DOTALL)  # kind, owner, bytes, path
MOST_READ = 2**29
AT_ONCE = 2**25
MOST_NAMED = 50
MOST_JOBS = 2_000_000
MOST_SENT = 20  # how often one plan was sent; by hand it may be again
MOST_BYTES = {paths.PLAN: 2**24, paths.POINTS: 2**27, paths.SBATCH_ANSWER: 4096, paths.END: LARGEST}


@dataclass(frozen=True, slots=True)
class Listed:
    """One thing that is there: find's letter for its kind, whether it is the caller's, its size in bytes."""

    kind: str
    is_own: bool
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """The run folders of a cluster: relative path -> content of each file that may be believed, and the jobs' folders.

    ``left_out`` is what may not be, one line each; ``queued`` the scheduler's own word: job name -> id.
    """

    files: Mapping[str, bytes]
    jobs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    queued: Mapping[str, str] = field(default_factory=dict)


def read_runs(session: Session, known: Known) -> Found:
    """Read the plans and jobs in a cluster's run folders, and its queue.

    Raises:
        HostError: the cluster does not answer.
    """
    runs = paths.runs(known.cluster.root)
    host = session.reach(known)
    try:
        said = host.run_bytes(program("list-runs", str(runs), str(MOST_LISTING)), timeout_s=600)
    except CommandFailed as failure:
        raise named(failure.completed, "look into", runs) from None
    there, lines = listed(said)
    wanted, more = believed(there)
    files: dict[str, bytes] = {}
    while wanted:
        some = wanted[: fitting((file.bytes for file in wanted), AT_ONCE)]
        wanted = wanted[len(some) :]
        files |= pack(host, runs, some)
    jobs = tuple(path for path, each in there.items() if path.count("/") == 1 and each.kind == "d" and each.is_own)
    return Found(files, jobs, (*lines, *more), in_queue(known, host))


def listed(said: bytes) -> tuple[dict[str, Listed], list[str]]:
    """The answer of list-runs.sh by path; and a line where it was cut off."""
    own, _, rest = said[: said.rfind(b"\0") + 1].decode("utf-8", "surrogateescape").partition("\0")
    found: dict[str, Listed] = {}
    strange = 0
    for word in lines_of(rest, "\0"):
        if row := LISTED.fullmatch(word):
            found[row[4]] = Listed(row[1], row[2] == own, int(row[3]))
        elif (strange := strange + 1) > MOST_NAMED:
            break
    lines = ["there is more here than rebuild reads; it leaves out the rest"] if len(said) >= MOST_LISTING else []
    there = {path: found[path] for path in sorted(found)}
    return there, [*lines, *(["not all of the list of what is here can be read"] if strange else [])]


def believed(there: Mapping[str, Listed]) -> tuple[list[File], list[str]]:
    """The files to read: those of real folders and regular files of the caller's, none too large; and what is not."""
    reasons = {path: refusal(path, each) for path, each in there.items() if "/" not in path}
    lines = [f"{path}: {why}" for path, why in reasons.items() if why]
    wanted: list[File] = []
    left = MOST_READ
    for path, each in there.items():
        folder, _, rest = path.partition("/")
        most = MOST_BYTES.get(rest.rpartition("/")[2])
        if reasons.get(folder) != "" or most is None:
            continue
        why = "is no regular file" if each.kind != "f" else "" if each.is_own else "is another user's"
        if not why and each.size > min(most, left):
            why = f"has {each.size} bytes, and at most {min(most, left)} are read"
        if why:
            lines.append(f"{path}: {why}")
        else:
            wanted.append(File("f", path, each.size))
            left -= each.size
    return wanted, lines


def refusal(name: str, each: Listed) -> str:
    """The reason why something in ROOT/runs is no run folder of the caller's; '' if it is one."""
    if each.kind != "d":
        return "is no folder"
    if not FOLDER.fullmatch(name):
        return "does not have the name of a run folder"
    return "" if each.is_own else "is another user's"


def in_queue(known: Known, host: Host) -> dict[str, str]:
    """Job name -> id of the user's jobs that the scheduler knows; nothing where it does not answer."""
    if known.cluster.name == LOCAL:
        return {}
    try:
        statuses = queued(known.cluster.name, host).values()
    except HostError:
        return {}
    ids = ((status.name, status.array_job_id or status.job_id) for status in statuses)
    return {name: job_id for name, job_id in ids if slurm.is_job_id(job_id)}


def rebuild(known: Known, tracker: Tracker, found: Found) -> tuple[int, list[str]]:
    """Put every job of a cluster's run folders into the tracker: how many, and what was left out, and why.

    Jobs that the tracker has are left as they are. The others are unfinished until the next `status` asks for them.
    """
    count, left_out = 0, list(found.left_out)
    begun: dict[str, dict[str, dict[str, bytes]]] = {}
    for folder, _, job_id in (path.partition("/") for path in found.jobs):
        begun.setdefault(folder, {})[job_id] = {}
    for path, content in found.files.items():
        match = ATTEMPT.fullmatch(path)
        if match and match[2] in begun.get(match[1], {}):
            begun[match[1]][match[2]][match[3]] = content
    for folder in (path.partition("/")[0] for path in found.files if path.endswith(f"/{paths.PLAN}")):
        try:
            count += restore(folder, begun.get(folder, {}), known, tracker, found)
        except RecordError as error:
            left_out.append(f"{folder}: {error}")
    more = len(left_out) - MOST_NAMED
    return count, [*left_out[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]


def restore(folder: str, begun: Mapping[str, Mapping[str, bytes]], known: Known, tracker: Tracker, found: Found) -> int:
    """Put one run folder's jobs into the tracker: how many have begun.

    Raises:
        RecordError: it does not hold, or nothing of it was ever queued as far as is known.
    """
    plan = read_plan(folder, found.files[f"{folder}/{paths.PLAN}"], known.cluster, known.user)
    sweep: TrackedSweep | None = None
    entries: tuple[Entry, ...] = ()
    if plan.points:
        refuse_strange(plan, tracker)
        entries = read_points(plan, found.files.get(f"{folder}/{paths.POINTS}", b""))
        sweep = TrackedSweep(plan.points.sweep_id, "", plan.name, plan.planned_at, "", {}, told=True)
    own = {job_id: files for job_id, files in begun.items() if is_job_of(plan, job_id)}
    ids = {job_id.partition("_")[0] for job_id in own}
    given = (found.queued.get(plan.job_name), answered(found.files.get(f"{folder}/{paths.SBATCH_ANSWER}", b"")))
    ids |= {job_id for job_id in given if job_id}
    if not ids:
        raise RecordError("no job of it is known: nothing of it was queued, or it was removed; it is not indexed")
    if len(ids) > MOST_SENT or len(ids) * (plan.points.count if plan.points else 1) > MOST_JOBS:
        raise RecordError(f"was sent {len(ids)} times: that is more than is indexed of one plan")
    refuse_taken(plan, ids - {found.queued.get(plan.job_name)}, tracker)
    # the points of an array that have no folder wait, or ended before they had one
    jobs = {each: "UNKNOWN" for job_id in sorted(ids) for each in plan.jobs(job_id)}
    jobs |= {job_id: state_of(plan.cluster, files) for job_id, files in own.items()}
    tracker.restore(plan, known.text, jobs, sweep, entries)
    return len(own)


def refuse_strange(plan: JobPlan, tracker: Tracker) -> None:
    """Refuse a plan that claims to be part of a sweep which this tracker submitted without it.

    Raises:
        RecordError: it does.
    """
    assert plan.points is not None  # noqa: S101 - the caller has looked
    sweep_id = plan.points.sweep_id
    known = [each for each in tracker.sweeps.named(sweep_id) if each.sweep_id == sweep_id and each.asked_sha256]
    if known and tracker.sweeps.owners([plan.plan_id]).get(plan.plan_id) != sweep_id:
        raise RecordError(f"says that it is part of {sweep_id}, which was asked for here without it")


def refuse_taken(plan: JobPlan, ids: Collection[str | None], tracker: Tracker) -> None:
    """Refuse an id that this tracker already uses for a job of another plan.

    Raises:
        RecordError: it would; the queue, where it knows the plan's job, was believed before.
    """
    for job_id in sorted(each for each in ids if each):
        jobs = tracker.jobs(cluster=plan.cluster, job_id=job_id) or tracker.jobs(cluster=plan.cluster, array=job_id)
        before = {job.plan_id for job in jobs if job.plan_id != plan.plan_id and job.submitted_at < plan.planned_at}
        own = [plan_id for plan_id in before for each in tracker.plans(plan_id=plan_id) if not each.is_rebuilt]
        if own:
            raise RecordError(f"says that it has {plan.cluster}:{job_id}, which is a job that was asked for here")


def answered(text: bytes) -> str | None:
    """The id that sbatch gave, as the far side wrote it down; None where it did not."""
    try:
        return slurm.parse_sbatch(Completed(("sbatch",), 0, text.decode("utf-8", "replace"), ""))
    except SlurmParseError:
        return None


def state_of(cluster: str, files: Mapping[str, bytes]) -> str:
    """The state of a job as its last attempt wrote it down."""
    end = last_end(files)
    is_over = end and not end.kept_until_at  # else its container may still be kept: the next question tells
    if not (end and is_over):
        return "UNKNOWN"
    return slurm.state_from_exit(end.exit_code, end.signal, cancelled=cluster == LOCAL and end.cause == STOPPED)
