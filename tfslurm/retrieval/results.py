"""Read the metrics of a sweep's points, and where each ran, with one command for each cluster."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.job_plan.variables import OWN_VARIABLES
from tfslurm.record.folder import Folder
from tfslurm.record.metrics import LARGEST, METRICS, MOST_FILES, metrics_of
from tfslurm.record.task import read_driver, read_gpus
from tfslurm.remote_programs import program
from tfslurm.sweeps.confounding import Row
from tfslurm.tracker import PlacedPoint, TrackedSweep
from tfslurm.workspace.clusters_of_jobs import clusters_for
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once

FACTS = ("gpus.txt", "nvidia-smi-query.csv", "nvidia-smi-L.txt", "nvidia-driver-proc.txt", "nvidia-driver-module.txt")
MOST_FACTS = 2**14
"Bytes of one file of facts; there is a line for each GPU."
MOST_POINTS = 2000
"In one answer."
MOST_IN_ALL = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Result:
    """One point's result; None: not observed (yet). ``why``: the reason why metrics could not be read, else ''.

    ``code`` is the tree that ran, None for none; ``command`` the command as it was written, behind its variables.
    """

    point: str
    parameters: Mapping[str, Any]
    job: str | None
    cluster: str | None
    state: str
    gpu: str | None
    driver: str | None
    digest: str
    seconds: int | None
    metrics: Mapping[str, Any]
    why: str = ""
    code: str | None = None
    command: str = ""

    @property
    def row(self) -> Row:
        """The parameters of a point, where it ran and what ran, to look for confounding."""
        place = {"cluster": self.cluster, "GPU model": self.gpu, "driver": self.driver}
        return Row(
            self.parameters,
            {**place, "code": (self.code or "none")[:12], "image": self.digest[:19], "command": self.command},
        )


def read_results(
    points: Sequence[PlacedPoint], plans: Mapping[str, JobPlan], host: Host, glob: str = METRICS
) -> list[Result]:
    """The results of points whose jobs are on one machine, in their order; ``glob`` names the files in their outputs.

    Raises:
        HostError: the machine does not answer, or not for all of them.
    """
    starts = range(0, len(points), MOST_POINTS)
    return [result for start in starts for result in read_some(points[start : start + MOST_POINTS], plans, host, glob)]


def read_some(points: Sequence[PlacedPoint], plans: Mapping[str, JobPlan], host: Host, glob: str) -> list[Result]:
    """The same of so many points as are read with one command; what one of them left takes no other one's room."""
    jobs = [(point, point.job) for point in points if point.job]
    folders = [str(job_folder(plans[point.plan_id].run_dir, job.job_id)) for point, job in jobs]
    asked = b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in folders)
    room = MOST_IN_ALL // max(1, len(folders))
    argv = program("results", str(LARGEST), str(MOST_FILES), glob, str(room), str(MOST_FACTS), *FACTS)
    most = (room + len(FACTS) * (MOST_FACTS + 1) + len("101\0")) * len(folders)
    answer = host.run_bytes(argv, input=asked, timeout_s=60 + len(folders) / 20, max_bytes=most)
    said = iter(answer.split(b"\0"))
    made = []
    try:
        for point, _ in jobs:
            files = {next(said).decode("utf-8", "replace"): next(said) for _ in range(count_of(next(said)))}
            facts = {name: next(said) for name in FACTS}
            made.append(result_of(point, plans[point.plan_id], files, facts, glob))
    except (StopIteration, ValueError):
        made.clear()
    if len(made) != len(folders) or next(said, None) != b"":
        raise HostError(f"{host.name}: the results could not be read to their end", transient=True)
    return made


def count_of(text: bytes) -> int:
    """The number of files that follow; ValueError if that is none that the script prints."""
    count = int(text[:9])
    if not 0 <= count <= MOST_FILES + 1:
        raise ValueError(text)
    return count


def result_of(
    point: PlacedPoint, plan: JobPlan, files: Mapping[str, bytes], facts: Mapping[str, bytes], glob: str
) -> Result:
    """The result in one point's files."""
    folder = Folder({name: text for name, text in facts.items() if text}, "", "")
    metrics, why = metrics_of(files, glob)
    gpus = read_gpus(folder) or ()
    names = sorted({gpu.name for gpu in gpus if gpu.name})
    job = point.job
    return Result(
        point=point.entry.id,
        parameters=read_json(point.entry.text),
        job=job.key if job else None,
        cluster=job.cluster if job else None,
        state=job.state if job else "NOT SENT",
        gpu=", ".join(names) or None,
        driver=read_driver(folder)[0],
        digest=plan.pin.digest,
        seconds=job.status.get("elapsed_s") if job else None,
        metrics=metrics,
        why=why,
        code=plan.code.tree if plan.code else None,
        command=command_of(plan),
    )


def command_of(plan: JobPlan) -> str:
    """The command of a point's array as it was written, behind the variables that the experiment set."""
    own = {**OWN_VARIABLES, **plan.env}
    env = [f"{name}={value}" for name, value in sorted(own.items()) if OWN_VARIABLES.get(name) != value]
    return shlex.join([*env, *plan.command])


def gather(session: Session, sweep: TrackedSweep) -> tuple[list[Result], list[str]]:
    """The result of every point that was sent, by parameters; and a line for each cluster that did not answer."""
    tracker = session.tracker
    plans = {each.plan.plan_id: each.plan for each in tracker.sweeps.plans(sweep.sweep_id)}
    points = [point for point in tracker.sweeps.points(sweep.sweep_id) if point.job]
    known = clusters_for([point.job for point in points if point.job], tracker)
    here = {each.cluster.name: [p for p in points if p.job and p.job.cluster == each.cluster.name] for each in known}
    glob = str(sweep.given.get("results") or METRICS)
    works = [partial(read_there, session, each, here[each.cluster.name], plans, glob) for each in known]
    found: dict[str, Result] = {}
    unread: list[str] = []
    for answer in at_once(works):
        try:
            found.update((result.point, result) for result in answer())
        except HostError as error:
            unread.append(str(error).splitlines()[0])
    return sorted((found[point.entry.id] for point in points if point.entry.id in found), key=by_parameters), unread


def by_parameters(result: Result) -> list[tuple[str, bool, float, str]]:
    """The key to sort a result by: one parameter after the other, numbers by size and before texts."""
    values = sorted(result.parameters.items())
    return [
        (name, True, 0.0, value) if isinstance(value, str) else (name, False, float(value), "")
        for name, value in values
    ]


def read_there(
    session: Session, known: Known, points: Sequence[PlacedPoint], plans: Mapping[str, JobPlan], glob: str
) -> list[Result]:
    """The results of the points on one cluster."""
    return read_results(points, plans, session.reach(known), glob)
