"""The records that the run folders give now, of many jobs of one machine together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RecordError, TooMuchOutput
from tfslurm.host import Host, get
from tfslurm.host.files import read_all
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.monitoring.lookup import plan_of
from tfslurm.record import Record, build_record
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.records import NOT_NEEDED, read_folder, status_of
from tfslurm.run_folder import paths
from tfslurm.run_folder.plan_file import read_points
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedJob, Tracker

AT_ONCE = 200
"Jobs whose facts are read in one answer."
MOST_POINTS = 2**27


class Tracked(NamedTuple):
    """A job of this machine's tracker, and its plan there."""

    job: TrackedJob
    plan: JobPlan


def facts_now(tracker: Tracker, host: Host, evidences: Sequence[Evidence]) -> list[Record | str | None]:
    """For each the record that its run folder gives now; None: the folder is gone; a text: why that cannot be known.

    Raises:
        HostError: the machine does not answer.
    """
    tracked = tracked_of(tracker, evidences)
    found: list[Record | str | None] = [each if isinstance(each, str) else None for each in tracked]
    known = [(place, each) for place, each in enumerate(tracked) if isinstance(each, Tracked)]
    if len(known) < 2:
        return [read_one(each, host) if isinstance(each, Tracked) else each for each in tracked]
    beside = Beside(host, [each.plan for _, each in known])
    for start in range(0, len(known), AT_ONCE):
        some = known[start : start + AT_ONCE]
        files = files_of(host, [job_dir(each) for _, each in some])
        for place, each in some:
            found[place] = beside.record(each, files[job_dir(each)])
    return found


def tracked_of(tracker: Tracker, evidences: Sequence[Evidence]) -> list[Tracked | str]:
    """The tracker's job of each record, with the plan that it was submitted from; a text: why there is none."""
    plans: dict[str, JobPlan] = {}
    found: list[Tracked | str] = []
    for each in evidences:
        about = each.record.job
        jobs = tracker.jobs(cluster=about.cluster, job_id=about.job_id)
        job = next((one for one in reversed(jobs) if one.plan_id == each.record.plan_id), None)
        if job is None:
            found.append(f"{about.cluster}:{about.job_id} is not a job of this machine's tracker")
            continue
        if job.plan_id not in plans:
            plans[job.plan_id] = plan_of(job, tracker)
        found.append(Tracked(job, plans[job.plan_id]))
    return found


def job_dir(each: Tracked) -> PurePosixPath:
    """The folder of a job."""
    return job_folder(each.plan.run_dir, each.job.job_id)


def read_one(each: Tracked, host: Host) -> Record | str | None:
    """The record of one job by itself."""
    try:
        return read_folder(each.job, each.plan, host)
    except RecordError as error:
        return str(error).splitlines()[0]


def files_of(host: Host, folders: Sequence[PurePosixPath]) -> dict[PurePosixPath, dict[str, bytes]]:
    """The facts in each job's folder, relative path -> content; none where they must be read alone."""
    found: dict[PurePosixPath, dict[str, bytes]] = {folder: {} for folder in folders}
    for runs in dict.fromkeys(folder.parent.parent for folder in folders):
        below = [str(folder.relative_to(runs)) for folder in folders if folder.parent.parent == runs]
        try:
            files = get(host, runs, below=below, exclude=NOT_NEEDED)
        except TooMuchOutput:
            continue
        for path, content in files.items():
            run, job, *rest = path.split("/")
            found[runs / run / job]["/".join(rest)] = content
    return {
        folder: {} if any(name.endswith(".error") and LEFT_OUT in text for name, text in files.items()) else files
        for folder, files in found.items()
    }


LEFT_OUT = b"more than is read of one job"


class Beside:
    """What lies beside the jobs' folders: what is inside their images, and the points of their sweeps."""

    def __init__(self, host: Host, plans: Iterable[JobPlan]) -> None:
        self.host = host
        by_id = {plan.plan_id: plan for plan in plans}
        images = list(dict.fromkeys(map(image_file, by_id.values())))
        self.images: Mapping[PurePosixPath, bytes] = read_all(host, images)
        self.points: dict[str, tuple[Entry, ...]] = {}
        self.why: dict[str, str] = {}
        for plan in by_id.values():
            if plan.points:
                self.read_points(plan)

    def read_points(self, plan: JobPlan) -> None:
        """The points of one plan, or why they are not to be had."""
        try:
            file = plan.run_dir / paths.POINTS
            self.points[plan.plan_id] = read_points(plan, read_all(self.host, [file], MOST_POINTS).get(file, b""))
        except (RecordError, TooMuchOutput) as error:
            self.why[plan.plan_id] = str(error).splitlines()[0]

    def record(self, each: Tracked, files: Mapping[str, bytes]) -> Record | str | None:
        """The record of one job; where its facts did not come with the others, they are read alone."""
        job, plan = each
        if not files:
            return read_one(each, self.host)
        if why := self.why.get(plan.plan_id):
            return why
        facts, point = self.images.get(image_file(plan)), self.point(each)
        return build_record(plan, job.job_id, files, status_of(job), image_facts=facts, point=point)

    def point(self, each: Tracked) -> dict[str, Any] | None:
        """The point that a task of an array ran."""
        if not each.plan.points:
            return None
        entry = self.points[each.plan.plan_id][each.job.place or 0]
        return {"parameters": read_json(entry.text), "command": list(entry.argv), "env": dict(entry.env)}


def image_file(plan: JobPlan) -> PurePosixPath:
    """The file with what is inside a plan's image."""
    return plan.images_dir / f"{plan.pin.digest.removeprefix('sha256:')}.json"
