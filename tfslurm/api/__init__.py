"""tfslurm from Python: jobs and sweeps as objects, each of whose calls does what the command of its name does.

One session serves a whole program: each cluster is logged in to once, and left when Python ends. Messages go to the
logger `tfslurm`. The session belongs to the thread that makes the first call, as its tracker does.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.document.tree import printable
from tfslurm.document.visible import visible
from tfslurm.errors import HostError, JobFailed, TfslurmError
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.monitoring.lookup import find_job, find_sweep, parameters_of
from tfslurm.monitoring.reasons import reason_of
from tfslurm.monitoring.refresh import refresh, refresh_all
from tfslurm.monitoring.sweep_states import state_of
from tfslurm.monitoring.wait import clusters_to_ask, exit_code, wait_for
from tfslurm.record import Record
from tfslurm.retrieval.endings import LINES, Ending, report, why_it_failed
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedJob, TrackedSweep
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.api.arguments import Value
    from tfslurm.job_plan import JobPlan
    from tfslurm.workspace.config import Known

LOG = logging.getLogger("tfslurm")
RECENT = 20


def session() -> Session:
    """The one session of this process: one that was forked neither speaks on its parent's lines nor ends them."""
    return session_of(os.getpid())


@cache
def session_of(process: int) -> Session:
    """The session of a process."""
    made = Session(lambda *lines: LOG.info("%s", "\n".join(map(printable, lines))), LOG.debug)
    atexit.register(made.__exit__, None, None, None)
    return made


class Planned(NamedTuple):
    """A job that was planned and not submitted: ``plan`` has all that it asks for, ``script`` is its batch script.

    The plan's id depends on the moment.
    """

    plan: JobPlan
    script: str

    def __repr__(self) -> str:
        return f"Planned({self.plan.job_name!r} on {self.plan.cluster})"


def plan(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    settings: Mapping[str, Value | Sequence[Value]] | None = None,
    **parameters: Value,
) -> Planned:
    """Return the job that ``submit`` would queue with these arguments, without asking a cluster.

    An image that was never pinned is pinned first, as by ``tfslurm pin``.

    Raises:
        InputError: a file or a value given here is wrong, or the experiment is a sweep.
        TfslurmError: the image was never pinned, and its registry does not answer.
    """
    from tfslurm.api.arguments import asked_for, only
    from tfslurm.submission.once import prepared_for

    asked, chosen = asked_for(session(), experiment, cluster, settings or {}, parameters, sweeps=False)
    (job,) = prepared_for(session(), asked, [only(experiment, chosen)])
    return Planned(job.plan, job.script)


def submit(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    force: bool = False,
    again: bool = False,
    settings: Mapping[str, Value | Sequence[Value]] | None = None,
    **parameters: Value | Sequence[Value],
) -> Job | Sweep:
    """Submit an experiment, and return a Job, or a Sweep if the experiment has several points.

    Args:
        experiment: the file exp.yaml.
        cluster: the name of a cluster, or several for a sweep; by default the file's, or the only one that is known.
        force: submit although every driver seen there is too old for the image's CUDA.
        again: submit although the same job is queued or running already.
        settings: keys of exp.yaml, such as ``{"resources.time": "01:00:00"}``.
        parameters: the values of ``{{ }}``: ``lr=0.1``, or ``lr=[0.1, 0.01]`` for a sweep.

    Raises:
        InputError: a file or a value given here is wrong.
        SubmitRejected: sbatch refused the job.
        TfslurmError: the job could not be queued, or the same job is queued or running already.
    """
    from tfslurm.api.arguments import asked_for, only
    from tfslurm.submission.once import submit_jobs

    asked, chosen = asked_for(session(), experiment, cluster, settings or {}, parameters, sweeps=True)
    if asked.experiment.sweep is not None:
        from tfslurm.submission.sweep_submit import submit_sweep

        sent = submit_sweep(
            session(), asked, chosen, force=force, again=again, told=LOG.info, shown=lambda sweep, jobs: None
        )
        return Sweep(sent.sweep_id)
    one = [only(experiment, chosen)]
    (key,) = submit_jobs(session(), asked, one, force=force, again=again, told=LOG.info, shown=lambda jobs: None)
    return Job(key)


def job(name: str | int) -> Job:
    """Return the job of this name: ``alpha:1234``, ``1234``, ``1234_7`` or ``SWEEP:POINT``.

    Raises:
        InputError: none of your jobs has this name, or several have it.
    """
    return Job(find_job(session().tracker, str(name)).key)


def sweep(name: str) -> Sweep:
    """Return the sweep of this id, such as ``digits-cnn-3fa85f``, or the only sweep of an experiment of this name.

    Raises:
        InputError: none of your sweeps has this name, or several have it.
    """
    return Sweep(find_sweep(session().tracker, name).sweep_id)


def jobs(*, recent: int | None = RECENT) -> list[Job]:
    """Return your jobs that have not ended, and the last ``recent`` that have (None: all), the oldest first."""
    refused: dict[str, str] = {}
    ask(clusters_to_ask(session().tracker, None, refused), refused)
    return [Job(each.key) for each in session().tracker.jobs(recent=recent)]


def ask(clusters: Sequence[Known], refused: Mapping[str, str]) -> None:
    """Bring their jobs up to date; a warning says which stay as last seen."""
    for line in {**refused, **refresh_all(session(), clusters)}.values():
        LOG.warning("%s", line)


class Job:
    """A job on a cluster; ``key`` is its name, such as ``alpha:1234``."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return f"Job({self.key!r}, {self._known.state})"

    def _repr_html_(self) -> str:
        return table([("job", "name", "state", "reason"), (self.key, self._known.name, self._known.state, self.reason)])

    @property
    def _known(self) -> TrackedJob:
        """The job as last seen, without a question to its cluster."""
        return find_job(session().tracker, self.key)

    def _now(self) -> TrackedJob:
        """The job as its cluster knows it now; one that has ended is not asked about again."""
        found = self._known
        if not found.final:
            known = known_for(found, session().tracker)
            refresh(known, session().tracker, session().reach(known), [found])
        return self._known

    @property
    def state(self) -> str:
        """The job's state now, as Slurm calls it: PENDING, RUNNING, COMPLETED, …; LOST if the scheduler has lost it.

        Raises:
            HostError: the cluster does not answer.
        """
        return self._now().state

    @property
    def reason(self) -> str:
        """Why the job waits or failed, as last seen (``state`` asks again); '' if no reason is known."""
        return reason_of(self._known)

    def wait(self, *, check: bool = False) -> Job:
        """Wait until the job has ended, and return the job.

        Raises:
            JobFailed: ``check`` is true, and the job did not end with exit code 0.
        """
        (ended,) = wait_for(session(), [self.key], send_waves)
        left = report(session(), [ended], tails=False).get(self.key, Ending())
        if check and (code := exit_code(ended)):
            raise failure(ended, code, left)
        return self

    def stdout(self) -> str:
        """Return what the program has printed on stdout until now (rank 0 of the last attempt).

        A byte that is not UTF-8 becomes U+FFFD.
        """
        return self._printed("stdout")

    def stderr(self) -> str:
        """Return what the program has printed on stderr until now; if it did not start, what the batch script did."""
        return self._printed("stderr")

    def _printed(self, stream: str) -> str:
        from tfslurm.retrieval.logs import Reader

        found = self._known
        host = session().reach(known_for(found, session().tracker))
        return str(Reader(found, session().tracker, host, None, 0, False).everything()[stream])

    def fetch(self, dest: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Bring the job's outputs here, verified, and return the folder that they are in (default: ./CLUSTER-ID).

        ``overwrite`` replaces local files that have the same name but different content.

        Raises:
            TfslurmError: not everything is here; the same call continues.
        """
        ((_, folder),) = fetched(self.key, dest, overwrite)
        return folder

    @property
    def record(self) -> Record:
        """The job's record: what ran, where, and what was verified. If the cluster does not answer, the last one read.

        Raises:
            RecordError: the job has not started.
            HostError: the cluster does not answer, and no record of the job was read before.
        """
        from tfslurm.retrieval.records import latest_record

        return latest_record(session(), self._known)

    @property
    def parameters(self) -> dict[str, Value]:
        """The values of ``{{ }}``; for a point of a sweep those of the point."""
        return parameters_of(self._known, session().tracker)

    def cancel(self) -> Job:
        """Cancel the job, and return it; its outputs are kept. A job that has ended stays as it is.

        Raises:
            HostError: the cluster does not answer.
        """
        stop(self.key)
        return self


class Sweep:
    """A sweep: many points of one experiment; ``id`` is its name, such as ``digits-cnn-3fa85f``."""

    def __init__(self, id: str) -> None:
        self.id = id

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self._counts().items())
        return f"Sweep({self.id!r}, {counts})"

    def _repr_html_(self) -> str:
        return table([("sweep", "state", "points"), *((self.id, state, n) for state, n in self._counts().items())])

    @property
    def _known(self) -> TrackedSweep:
        return find_sweep(session().tracker, self.id)

    def _counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for point in session().tracker.sweeps.points(self._known.sweep_id):
            found[state_of(point)] = found.get(state_of(point), 0) + 1
        return found

    @property
    def states(self) -> dict[str, int]:
        """How many points are in each state now; NOT SENT counts points that no job was queued for yet."""
        tracker = session().tracker
        ask(clusters_to_ask(tracker, tracker.sweeps.jobs(self.id)), {})
        return self._counts()

    @property
    def jobs(self) -> list[Job]:
        """The last job of each point for which a job was queued."""
        return [Job(point.job.key) for point in session().tracker.sweeps.points(self.id) if point.job]

    def wait(self, *, check: bool = False) -> Sweep:
        """Wait until all points have ended, send those that wait for room in the queue, and return the sweep.

        Raises:
            JobFailed: ``check`` is true, and a point did not end with exit code 0; the error is about the first one.
        """
        left = report(session(), jobs := wait_for(session(), [self.id], send_waves))
        for ended in jobs:
            if check and (code := exit_code(ended)):
                raise failure(ended, code, left.get(ended.key, Ending()))
        return self

    def results(self) -> list[dict[str, Any]]:
        """Return a dict for each point: its parameters, its metrics and where it ran, as ``tfslurm results`` does.

        Points for which no job was queued yet are left out. Metrics come from metrics.json in the outputs.

        Raises:
            HostError: a cluster does not answer.
        """
        from tfslurm.retrieval.results import gather
        from tfslurm.retrieval.results_table import table_of

        gathered, unread = gather(session(), self._known)
        if unread:
            raise HostError(unread[0], transient=True)
        return table_of(gathered)

    def frame(self) -> Any:
        """Return the results as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ModuleNotFoundError as error:
            why = "Sweep.frame needs pandas, which is not installed; `pip install pandas`, or use Sweep.results"
            raise ImportError(why) from error
        return pandas.DataFrame(self.results())

    def fetch(self, dest: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Bring the outputs of every point that has begun, and return their folders, each named by its parameters.

        Raises:
            TfslurmError: not everything is here; the same call continues.
        """
        return [folder for _, folder in fetched(self.id, dest, overwrite)]

    def cancel(self) -> Sweep:
        """Cancel the sweep's jobs, do not send the points that wait, and return the sweep; outputs are kept.

        Raises:
            HostError: a cluster does not answer.
        """
        stop(self.id)
        return self


def failure(job: TrackedJob, code: int, left: Ending) -> JobFailed:
    """The error of a job that did not end well: its reason, and the last lines that it printed."""
    said = "\n".join(visible(line, keep="\t") for line in left.lines[-LINES:])
    return JobFailed(job.key, job.state, code, printable(why_it_failed(job, left)), said)


def stop(name: str) -> None:
    """Cancel what a name stands for."""
    _, silent = cancel_named(session(), [name])
    if silent:
        raise HostError("; ".join(silent.values()), transient=True)


def fetched(name: str, dest: str | Path | None, overwrite: bool) -> list[tuple[str, Path]]:
    """Each job that a name stands for, and the folder that its outputs are in now."""
    from tfslurm.retrieval.fetch import Progress
    from tfslurm.retrieval.fetch_jobs import fetch_jobs, folders_for
    from tfslurm.retrieval.selection import BAD, Selection

    quiet = Progress(lambda what, done, total: None, LOG.info)
    wanted = folders_for(session().tracker, name, Path(dest) if dest is not None else None)
    found = fetch_jobs(session(), wanted, Selection(overwrite=overwrite), lambda: nullcontext(quiet))
    for one, folder, done in found:
        if not done.good:
            why = [f"{each.path}: {each.why}" for each in done.outcomes if each.status in BAD] or list(done.unread)
            raise TfslurmError(f"{one.key}: not everything is in {folder}: {why[0]}; fetch again", transient=True)
    return [(one.key, folder) for one, folder, _ in found]


def table(rows: Iterable[Sequence[object]]) -> str:
    """Rows as a table in HTML, the first one as its head."""
    first, *others = ([escape(str(cell)) for cell in row] for row in rows)
    head = "".join(f"<th>{cell}</th>" for cell in first)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in others)
    return f"<table><tr>{head}</tr>{body}</table>"
