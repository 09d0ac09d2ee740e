"""What came of a job that was struck."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.cluster.bed import CLUSTERS, wait_until
from tests.cluster.jobs import plan, ran
from tests.cluster.slurm import node_states, well
from tests.cluster.users import run_as
from tests.faults.case import Case
from tests.faults.job import USER, Job
from tfslurm.record.model import record_sha256

KILL_WAIT_S = 5
GONE_WITHIN_S = KILL_WAIT_S + 10


@dataclass(frozen=True)
class Row:
    """One line of the table; an empty tuple: as it has to be."""

    fault: str
    cluster: str
    engine: str
    gone_s: float | None
    record: tuple[str, ...] = ()
    ending: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def is_green(self) -> bool:
        """Whether everything is as it has to be."""
        return self.gone_s is not None and self.gone_s <= GONE_WITHIN_S and not (self.record + self.ending + self.left)

    def as_markdown(self) -> str:
        """The line, faults in words where there are any."""
        gone = "NO" if self.gone_s is None else f"{self.gone_s:.1f}"
        cells = ("; ".join(found) or "yes" for found in (self.record, self.ending, self.left))
        return f"| {self.fault} | {self.cluster} | {self.engine} | {gone} | {' | '.join(cells)} |"


def judge(case: Case, job: Job) -> Row:
    """Everything that has to hold after the fault; the job has ended then."""
    happened = wait_until(job.is_gone, GONE_WITHIN_S * 2)
    gone_s = time.monotonic() - job.struck_at if happened else None
    if case.expects(job.engine, job.cluster).attempts > 1:
        job.begin_now()
    code = job.desk.tfslurm("wait", job.key, cluster=job.cluster, timeout_s=60).returncode
    record = job.record()
    return Row(
        case.name,
        job.cluster,
        job.engine.name,
        gone_s,
        tuple(missing(case, job, record)),
        tuple(wrong(case, job, record, code)),
        tuple(left(job)),
    )


def missing(case: Case, job: Job, record: dict[str, Any]) -> Iterator[str]:
    """What the record does not know of the attempt that was struck and should."""
    if len(record["attempts"]) != case.expects(job.engine, job.cluster).attempts:
        yield f"{len(record['attempts'])} attempts"
    for key in ("state", "exit_code", "started_at", "ended_at", "elapsed_s", "restarts", "nodes", "script_sha256"):
        if record["job"][key] in (None, []):
            yield f"no job.{key}"
    tasks = record["attempts"][0]["tasks"] if record["attempts"] else []
    container = (tasks[0]["container"] if tasks else None) or {}
    for key in ("id", "exit_code", "oom_killed", "started_at", "ended_at"):
        is_known_gap = (key == "oom_killed" and is_blind(case, job)) or (key == "exit_code" and is_unseen(case, job))
        if container.get(key) is None and not is_known_gap:
            yield f"no container.{key}"
    if "kept" not in {output["path"] for output in record["experiment"]["outputs"] or ()}:
        yield "outputs/kept is not listed"
    if record["integrity"]["record_sha256"] != record_sha256(record):
        yield "its hash is another"


def wrong(case: Case, job: Job, record: dict[str, Any], code: int) -> Iterator[str]:
    """In what the end is told otherwise than it was."""
    expected = case.expects(job.engine, job.cluster)
    first = record["attempts"][0] if record["attempts"] else {}
    container = (first["tasks"][0]["container"] if first.get("tasks") else None) or {}
    shown = job.desk.tfslurm("status", job.key, cluster=job.cluster).stdout
    pairs = (
        ("state", record["job"]["state"], expected.state),
        ("exit code", record["job"]["exit_code"], expected.code),
        ("`wait`", code, expected.code),
        ("container", container.get("exit_code"), expected.container),
        (
            "OOM",
            None if is_blind(case, job) else container.get("oom_killed"),
            None if is_blind(case, job) else expected.oom,
        ),
        ("ended by", first.get("ended_by"), expected.ended_by),
    )
    for what, found, wanted in pairs:
        if found != wanted and not (what == "container" and found is None and is_unseen(case, job)):
            yield f"{what} {found}, not {wanted}"
    if expected.words not in shown:
        yield f"`status` does not say {expected.words!r}: {shown.splitlines()[-1:]}"


def is_blind(case: Case, job: Job) -> bool:
    """Whether the program was killed and the engine cannot tell whether for want of memory."""
    return not job.engine.sees_oom and case.expected.container == 137


def is_unseen(case: Case, job: Job) -> bool:
    """Whether the engine may not learn how the container ended; the record says so then, and no number."""
    return (job.engine.name, job.cluster) in case.unseen


def left(job: Job) -> Iterator[str]:
    """What is still there and should not be; the next job on the node is tried."""
    run = job.folder.parent
    if (job.folder / "out" / "kept").read_text() != "kept\n":
        yield "outputs/kept was not kept"
    if not wait_until(lambda: not job.left_processes(), 10):
        yield f"processes: {job.left_processes()}"
    if found := job.engine.containers(job.plan_id):
        yield f"containers: {found}"
    paths = [run, *run.rglob("*"), *(run.parent.parent / "images").glob("*")]
    yield from (f"root owns {path}" for path in paths if path.lstat().st_uid == 0)
    yield from (f"half a file: {path.name}" for path in paths if path.name.endswith(".tmp"))
    yield from next_job(job)


def next_job(job: Job) -> Iterator[str]:
    """What is wrong with the next job on the node."""
    site = CLUSTERS[job.cluster]
    if not wait_until(lambda: well(site), 20):
        yield f"nodes: {node_states(site)}"
    after = ran(plan(job.cluster, engine=job.engine.name, command=("true",), options={"nodelist": job.node}))
    if (code := after.end()["exit_code"]) != 0:
        yield f"the next job ended with {code}: {after.end()['reason']}"
    run_as(USER, ["rm", "-rf", after.folder.parent])
