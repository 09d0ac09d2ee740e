"""The same job with an early warning: what a checkpoint is worth, seen before it matters."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tfslurm import slurm
from tfslurm.document.moments import datetime_of
from tfslurm.errors import HostError, last_words
from tfslurm.handoff import local_process
from tfslurm.handoff.recovery import settle_all
from tfslurm.host import Host, get
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.options import WARNING
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_job, job_dir
from tfslurm.monitoring.refresh import refresh
from tfslurm.record.job import moment
from tfslurm.retrieval import records
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import NO_SCHEDULER, REQUEUED, parse_end, parse_task_end
from tfslurm.slurm import state_from_exit
from tfslurm.submission import local
from tfslurm.submission.prepare import Asked, Prepared
from tfslurm.submission.scan_gate import guard
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import submit_job
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known, local_cluster
from tfslurm.workspace.session import Session

NOT_NEEDED = (*records.NOT_NEEDED, f"attempt-*/{paths.OUTPUT_SUMS}")
PAUSE_S = (0.5, 5.0)
WAIT = "install one as its first step, or wait longer with --after"
ASK_EVERY_S = 4.0  # the scheduler, that is; the files tell more and cost it nothing
SLACK_S = 30  # beyond before_end: srun, the facts and the end of the attempt

T = TypeVar("T")


class Stage(Protocol):
    """Where the job is rehearsed."""

    def files(self) -> Mapping[str, bytes]:
        """The files that the job has written about itself so far, by path below its folder."""

    def warn(self) -> None:
        """Give the warning that Slurm gives before the time limit."""

    def go_on(self) -> bool:
        """See that a job that was queued again begins soon; False while it is not in the queue yet."""

    def over(self) -> bool:
        """Whether the job will not write anything more."""

    def stop(self) -> str:
        """End the job, if it has not ended; its final state."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as its files tell it; times as they stand there, '' for what has not happened."""

    began_at: str
    delivered_at: str
    program_ended_at: str
    ended: bool
    exit_code: int | None
    cause: str
    reason: str
    before: frozenset[tuple[int, str]]  # size and path of each file in outputs
    after: frozenset[tuple[int, str]]

    @property
    def goes_on(self) -> bool:
        """Whether another attempt follows."""
        return self.cause in (REQUEUED, NO_SCHEDULER)


def read_attempt(files: Mapping[str, bytes], index: int) -> Attempt:
    """The attempt as far as it has come."""
    attempt, first = paths.attempt(index), paths.task(0)

    def read(name: str, parse: Callable[[bytes], T]) -> T | None:
        try:
            return parse(files.get(f"{attempt}/{name}", b""))
        except ValueError:
            return None

    def text(name: str) -> str:
        found = files.get(f"{attempt}/{first}/{name}", b"").decode("utf-8", "replace").strip()
        return found if moment(found) else ""  # the program may have written it

    end, task = read(paths.END, parse_end), read(f"{first}/{paths.END}", parse_task_end)
    return Attempt(
        began_at=text("container/program-started-at.txt"),
        delivered_at=text("signal-delivered.txt"),
        program_ended_at=(task.ended_at if task else None) or "",
        ended=end is not None,
        exit_code=task.exit_code if task else end.exit_code if end else None,
        cause=end.cause if end else "",
        reason=end.reason if end else "",
        before=listed(files.get(f"{attempt}/outputs.before", b""), 2),
        after=listed(files.get(f"{attempt}/{paths.OUTPUT_SIZES}", b""), 1),
    )


def listed(raw: bytes, words: int) -> frozenset[tuple[int, str]]:
    """Size and path of each entry, ``SIZE [TIME] PATH`` between NULs."""
    entries = (entry.split(" ", words) for entry in raw.decode("utf-8", "surrogateescape").split("\0") if entry)
    return frozenset((int(entry[0]), entry[-1]) for entry in entries)


def rehearse(stage: Stage, plan: JobPlan, after_s: float, tell: Callable[[str], None]) -> tuple[Attempt, Attempt, str]:
    """The two attempts and the job's final state; the job is ended when it has shown what it was started for."""
    try:
        first = wait_for(stage, 1, lambda seen: bool(seen.began_at))
        if not first.ended:
            tell(f"the program has started; it is warned in {after_s:g} s")
            first = wait_for(stage, 1, lambda _: False, after_s)
        if not first.ended:
            stage.warn()
            assert plan.checkpoint is not None  # noqa: S101 - a rehearsal without one is refused
            tell(f"warned; it has {plan.checkpoint.before_end_s} s to save and end")
            first = wait_for(stage, 1, lambda _: False, plan.checkpoint.before_end_s + SLACK_S)
        second = read_attempt({}, 2)
        if first.ended and first.goes_on:
            tell(f"it ended with {first.exit_code}; waiting for the second attempt")
            second = second_attempt(stage, after_s, tell)
    except BaseException:
        stage.stop()
        raise
    return first, second, stage.stop()


def second_attempt(stage: Stage, after_s: float, tell: Callable[[str], None]) -> Attempt:
    """The second attempt, once it has ended or has run as long as the first was let."""
    while not stage.go_on():
        time.sleep(PAUSE_S[0])
    seen = wait_for(stage, 2, lambda seen: bool(seen.began_at))
    if seen.ended:
        return seen
    tell(f"the second attempt has started; it is watched for {after_s:g} s")
    return wait_for(stage, 2, lambda _: False, after_s)


def wait_for(stage: Stage, index: int, happened: Callable[[Attempt], bool], patience_s: float | None = None) -> Attempt:
    """The attempt when it has ended, when this has happened, or when the time is over."""
    began, pause, over, asked = time.monotonic(), PAUSE_S[0], False, 0.0
    while True:
        if time.monotonic() - asked > ASK_EVERY_S:
            over, asked = stage.over(), time.monotonic()
        seen = read_attempt(stage.files(), index)
        left = None if patience_s is None else patience_s - (time.monotonic() - began)
        if seen.ended or happened(seen) or over or (left is not None and left <= 0):
            return seen
        time.sleep(pause if left is None else min(PAUSE_S[0], left))
        pause = min(pause * 1.3, PAUSE_S[1])


class OnCluster:
    """A job in a cluster's queue."""

    def __init__(self, known: Known, key: str, plan: JobPlan, tracker: Tracker, host: Host) -> None:
        self.known, self.key, self.plan, self.tracker, self.host = known, key, plan, tracker, host
        self.pace = Pace(first_s=0.0, factor=1.0, most_s=0.0)

    def _job(self) -> TrackedJob:
        job = find_job(self.tracker, self.key)
        if not job.final and (due := self.pace.due([self.known])):
            self.pace.asked(due, changed=False)
            refresh(self.known, self.tracker, self.host, [job])
        return find_job(self.tracker, self.key)

    def files(self) -> Mapping[str, bytes]:
        """The files of the run folder on the cluster."""
        return get(self.host, job_dir(self.plan, self._id), exclude=NOT_NEEDED)

    @property
    def _id(self) -> str:
        return self.key.partition(":")[2]

    def _do(self, argv: tuple[str, ...]) -> None:
        answer = self.host.run(argv)
        if answer.exit_code != 0:
            raise HostError(f"{self.key}: {last_words(answer)}", transient=True)

    def warn(self) -> None:
        """As the controller does it: to the job's steps."""
        self._do(slurm.cancel_argv([self._id], signal=WARNING))

    def go_on(self) -> bool:
        """Shorten the two minutes for which Slurm holds such a job back; where that is refused, they pass."""
        if self._job().state != "PENDING":
            return self.over()
        self.host.run(slurm.begin_argv(self._id))
        return True

    def over(self) -> bool:
        """Whether Slurm has done with it."""
        return self._job().final

    def stop(self) -> str:
        """Cancel it unless its attempt has ended already; Slurm's word for it then."""
        ended = self.over() or all(seen.ended and not seen.goes_on for seen in [last_attempt(self.files())])
        if not ended:
            self._do(slurm.cancel_argv([self._id]))
        while not self.over():
            time.sleep(PAUSE_S[0])
        return self._job().state


class Here:
    """A job without a scheduler, on this machine: its second attempt is started from here."""

    def __init__(
        self,
        known: Known,
        plan: JobPlan,
        job_id: str,
        process: subprocess.Popen[bytes],
        host: Host,
        secrets: Mapping[str, str],
        tracker: Tracker,
    ) -> None:
        self.plan, self.job_id, self.process, self.host, self.secrets = plan, job_id, process, host, secrets
        self.known, self.tracker = known, tracker

    def files(self) -> Mapping[str, bytes]:
        """The files of the run folder."""
        return get(self.host, job_dir(self.plan, self.job_id), exclude=NOT_NEEDED)

    def warn(self) -> None:
        """To the batch script, which passes it on."""
        self.process.send_signal(getattr(signal, f"SIG{WARNING}"))

    def go_on(self) -> bool:
        """Start the second attempt."""
        self.process.wait()
        folder = Path(self.plan.run_dir)
        self.process = local_process.attempt(folder, self.job_id, self.secrets, local_process.held(folder))
        return True

    def over(self) -> bool:
        """Whether the script has ended."""
        return self.process.poll() is not None

    def stop(self) -> str:
        """End it as scancel would."""
        stopped = not self.over()
        local_process.stop(self.process)
        refresh(self.known, self.tracker, self.host)
        return "CANCELLED" if stopped else state_from_exit(self.process.returncode)


def last_attempt(files: Mapping[str, bytes]) -> Attempt:
    """The attempt that began last."""
    return read_attempt(files, 2 if 2 in paths.attempts_in(files) else 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a rehearsal: one text for each question, and what is wrong ('' where nothing is)."""

    signal: str
    exit: str
    outputs: str
    second: str
    final: str
    wrong: str


def judge(plan: JobPlan, first: Attempt, second: Attempt, final: str) -> Verdict:
    """The verdict; the first thing that is wrong is the one that is told."""
    assert plan.checkpoint is not None  # noqa: S101 - a rehearsal without one is refused
    name = plan.checkpoint.signal
    new = first.after - first.before
    told = f"{name} delivered at {first.delivered_at}, {seconds(first.began_at, first.delivered_at)} after the start"
    took = seconds(first.delivered_at, first.program_ended_at)
    left = f"{len(first.before)} files before, {len(first.after)} after: {names(new) or 'nothing new'}"
    wrongs = (
        (not first.began_at, f"the program was not started: {first.reason or 'see `tfslurm logs`'}"),
        (not first.delivered_at and first.ended, "the program ended before it was warned: use a shorter --after"),
        (not first.delivered_at, "the signal could not be delivered"),
        (not first.ended, f"the program did not end within the {plan.checkpoint.before_end_s} s of before_end"),
        (not new and bool(no_handler(plan, first)), f"{name} ended the program, which has no handler yet: {WAIT}"),
        (not new, f"nothing was saved in {plan.outputs}"),
        (plan.checkpoint.requeue and not first.goes_on, first.reason or f"it ended with {first.exit_code}, for good"),
        (not plan.checkpoint.requeue and first.exit_code != 0, f"it ended with {first.exit_code}"),
        (first.goes_on and not second.began_at, f"the second attempt did not start: {second.reason or final}"),
        (first.goes_on and not first.after <= second.before, "the second attempt did not find what the first left"),
        (second.ended and second.exit_code != 0, f"the second attempt failed with {second.exit_code}"),
    )
    return Verdict(
        signal=told if first.delivered_at else "not delivered",
        exit=f"code {first.exit_code}, {took} later{no_handler(plan, first)}" if first.ended else "it did not end",
        outputs=left,
        second=second_text(second, first.goes_on),
        final=final,
        wrong=next((words for is_wrong, words in wrongs if is_wrong), ""),
    )


def second_text(second: Attempt, expected: bool) -> str:
    """The second attempt in words."""
    if not expected:
        return "none"
    if not second.began_at:
        return "it did not start"
    how = f"ended with {second.exit_code}" if second.ended else "was still running"
    return f"started from {len(second.before)} files of the first, {how}"


def no_handler(plan: JobPlan, first: Attempt) -> str:
    """A note where the signal itself ended the program."""
    assert plan.checkpoint is not None  # noqa: S101 - as above
    number = int(getattr(signal, f"SIG{plan.checkpoint.signal}"))
    return ": it has no handler, so only what it had saved before counts" if first.exit_code == 128 + number else ""


def names(files: frozenset[tuple[int, str]], shown: int = 4) -> str:
    """The first few of the files."""
    paths = sorted(path for _, path in files)
    return ", ".join(paths[:shown]) + (f" and {len(paths) - shown} more" if len(paths) > shown else "")


def seconds(start: str, end: str) -> str:
    """The time between two moments; '?' where one is missing."""
    if not start or not end:
        return "? s"
    gone = datetime_of(end) - datetime_of(start)
    return f"{max(gone.total_seconds(), 0):.1f} s"


def staged(session: Session, asked: Asked, known: Known, job: Prepared) -> tuple[str, Stage]:
    """The job, begun: its name and what it can be told."""
    guard(session, [job])
    secrets = read_secrets(asked.experiment.secrets)
    tracker, host = session.tracker, session.reach(known)
    if known.cluster.name != local_cluster().cluster.name:
        settle_all(known, tracker, host)
        key = f"{known.cluster.name}:{submit_job(job, tracker, host, secrets)}"
        return key, OnCluster(known, key, job.plan, tracker, host)
    job_id, process = local.start(job, tracker, host, secrets)
    return f"{known.cluster.name}:{job_id}", Here(known, job.plan, job_id, process, host, secrets, tracker)
