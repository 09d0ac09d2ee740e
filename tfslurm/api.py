"""tfslurm from Python: jobs and sweeps as objects, each of whose calls does what the command of its name does.

One session serves a whole program: each cluster is logged in to once, and left when Python ends. Messages go to the
logger `tfslurm`. The session belongs to the thread that makes the first call, as its tracker does.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.document.tree import printable
from tfslurm.document.visible import visible
from tfslurm.errors import HostError, JobFailed, TfslurmError, refuse
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.monitoring.lookup import find_job, find_sweep, plan_of
from tfslurm.monitoring.reasons import reason_of
from tfslurm.monitoring.refresh import refresh, refresh_all
from tfslurm.monitoring.sweep_states import state_of
from tfslurm.monitoring.wait import clusters_to_ask, exit_code, wait_for
from tfslurm.record import Record
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedJob, TrackedSweep
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.job_plan import JobPlan
    from tfslurm.submission.prepare import Asked
    from tfslurm.workspace.config import Known

LOG = logging.getLogger("tfslurm")
RECENT = 20
LAST_WORDS = 2000
"Characters of a failed job's stderr that its error repeats."

Value = str | int | float | bool


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
    """A job as it would be submitted: all that is asked, and the batch script. The plan's id depends on the moment."""

    plan: JobPlan
    script: str


def plan(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    settings: dict[str, Value] | None = None,
    **parameters: Value,
) -> Planned:
    """The job that `submit` would queue with these arguments; no cluster is asked.

    Raises:
        InputError: what is wrong in the files, or in the values given here; or the experiment is a sweep.
        TfslurmError: the image was never pinned, and its registry does not answer.
    """
    from tfslurm.submission.once import prepared_for

    asked, chosen = asked_for(experiment, cluster, {**(settings or {}), **parameters}, sweeps=False)
    (job,) = prepared_for(session(), asked, [only(experiment, chosen)])
    return Planned(job.plan, job.script)


def submit(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    force: bool = False,
    again: bool = False,
    settings: dict[str, Value] | None = None,
    **parameters: Value | Sequence[Value],
) -> Job | Sweep:
    """Submit an experiment; a Job, or a Sweep where it has several points.

    ``parameters`` are the values of ``{{ }}``: ``lr=0.1``, or ``lr=[0.1, 0.01]`` for a sweep. ``settings`` are keys of
    exp.yaml: ``{"resources.time": "01:00:00"}``. ``cluster`` names where to, one cluster for a job; without it the file
    does. ``force`` and ``again`` are those of ``tfslurm submit``.

    Raises:
        InputError: what is wrong in the files, or in the values given here.
        SubmitRejected: sbatch refused the job.
        TfslurmError: anything else that keeps it from being queued.
    """
    from tfslurm.submission.once import submit_jobs

    asked, chosen = asked_for(experiment, cluster, {**(settings or {}), **parameters}, sweeps=True)
    if asked.experiment.sweep is not None:
        from tfslurm.submission.sweep_submit import submit_sweep

        sent = submit_sweep(
            session(), asked, chosen, force=force, again=again, told=LOG.info, shown=lambda sweep, jobs: None
        )
        return Sweep(sent.sweep_id)
    one = [only(experiment, chosen)]
    (key,) = submit_jobs(session(), asked, one, force=force, again=again, told=LOG.info, shown=lambda jobs: None)
    return Job(key)


def asked_for(
    experiment: str | Path, cluster: str | Sequence[str], given: Mapping[str, Value | Sequence[Value]], *, sweeps: bool
) -> tuple[Asked, list[Known]]:
    """The experiment with the given values, and the clusters it may go to."""
    from tfslurm.submission.prepare import read_experiment
    from tfslurm.sweeps.overrides import as_text
    from tfslurm.workspace.config import choose_clusters

    sets = [f"{name}={as_text(name, value)}" for name, value in given.items()]
    asked = read_experiment(Path(experiment), sets, sweeps=sweeps)
    names = [cluster] if isinstance(cluster, str) else list(cluster)
    return asked, choose_clusters(names, asked.experiment.clusters, session().say)


def only(experiment: str | Path, chosen: Sequence[Known]) -> Known:
    """The one cluster that a job goes to.

    Raises:
        InputError: there are several.
    """
    if len(chosen) > 1:
        raise refuse(str(experiment), "is one job, and several clusters could run it", "name one with cluster=")
    return chosen[0]


def job(name: str) -> Job:
    """The job ``alpha:1234``, ``1234``, ``1234_7`` or ``SWEEP:POINT``.

    Raises:
        InputError: it is not one of this user's jobs, or several.
    """
    return Job(find_job(session().tracker, name).key)


def sweep(name: str) -> Sweep:
    """The sweep of that id, such as ``digits-cnn-3fa85f``.

    Raises:
        InputError: it is not one of this user's sweeps.
    """
    return Sweep(find_sweep(session().tracker, name).sweep_id)


def jobs(*, recent: int | None = RECENT) -> list[Job]:
    """The jobs that have not ended, and the last ``recent`` that have (None: all), the oldest first."""
    refused: dict[str, str] = {}
    ask(clusters_to_ask(session().tracker, None, refused), refused)
    return [Job(each.key) for each in session().tracker.jobs(recent=recent)]


def ask(clusters: Sequence[Known], refused: Mapping[str, str]) -> None:
    """Bring their jobs up to date; a warning says which stay as last seen."""
    for line in {**refused, **refresh_all(session(), clusters)}.values():
        LOG.warning("%s", line)


class Job:
    """A job of a cluster; ``key`` is its name, such as ``alpha:1234``."""

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
        """Slurm's word for it now, such as PENDING, RUNNING or COMPLETED; LOST: nobody knows it.

        Raises:
            HostError: the cluster does not answer.
        """
        return self._now().state

    @property
    def reason(self) -> str:
        """The reason why it waits, or why it failed, as far as is known; '' if there is none."""
        return reason_of(self._known)

    def wait(self, *, check: bool = False) -> Job:
        """Wait until it has ended; itself.

        Raises:
            JobFailed: with ``check``: it did not end well.
        """
        (ended,) = wait_for(session(), [self.key], send_waves)
        if check and (code := exit_code(ended)):
            stderr = ""
            with suppress(TfslurmError):  # how it ended is known, whatever its cluster says now
                stderr = visible(self.stderr()[-LAST_WORDS:], keep="\n\t")
            raise JobFailed(self.key, ended.state, code, printable(reason_of(ended)), stderr)
        return self

    def stdout(self) -> str:
        """The output of its program (rank 0 of the last attempt) until now; bytes that are no UTF-8 are U+FFFD."""
        return self._printed("stdout")

    def stderr(self) -> str:
        """The same of its stderr; the batch script's words if the program did not start."""
        return self._printed("stderr")

    def _printed(self, stream: str) -> str:
        from tfslurm.retrieval.logs import Reader

        found = self._known
        host = session().reach(known_for(found, session().tracker))
        return str(Reader(found, session().tracker, host, None, 0, False).everything()[stream])

    def fetch(self, dest: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Bring its outputs here, verified; the folder that they are in (default: ./CLUSTER-ID).

        Raises:
            TfslurmError: not everything is here: call it again, and it continues.
        """
        ((_, folder),) = fetched(self.key, dest, overwrite)
        return folder

    @property
    def record(self) -> Record:
        """Its record, which says what ran, where, and what was verified; the last one read if its cluster is silent.

        Raises:
            RecordError: it has not started.
            HostError: the cluster does not answer, and no record of it was read before.
        """
        from tfslurm.retrieval.records import latest_record

        return latest_record(session(), self._known)

    @property
    def parameters(self) -> dict[str, Value]:
        """The values that ``{{ }}`` had; of a sweep's point see Sweep.results."""
        return dict(plan_of(self._known, session().tracker).parameters)

    def cancel(self) -> Job:
        """Cancel it; outputs are kept.

        Raises:
            HostError: its cluster does not answer.
        """
        stop(self.key)
        return self


class Sweep:
    """Points of one experiment; ``id`` is its name, such as ``digits-cnn-3fa85f``."""

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
        """State -> how many points have it now; NOT SENT: no job of theirs was queued yet."""
        tracker = session().tracker
        ask(clusters_to_ask(tracker, tracker.sweeps.jobs(self.id)), {})
        return self._counts()

    @property
    def jobs(self) -> list[Job]:
        """The last job of each point that was sent."""
        return [Job(point.job.key) for point in session().tracker.sweeps.points(self.id) if point.job]

    def wait(self, *, check: bool = False) -> Sweep:
        """Wait until all points have ended, and send those that wait for room in the queue. Itself.

        Raises:
            JobFailed: with ``check``: a point did not end well; the first.
        """
        for ended in wait_for(session(), [self.id], send_waves):
            if check and exit_code(ended):
                Job(ended.key).wait(check=True)
        return self

    def results(self) -> list[dict[str, Any]]:
        """A dict for each point that was sent: its parameters, its metrics, where it ran (see `tfslurm results`).

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
        """The results as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        pandas: Any = import_module("pandas")
        return pandas.DataFrame(self.results())

    def fetch(self, dest: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Bring the outputs of every point that has begun; their folders, each named by its parameters.

        Raises:
            TfslurmError: not everything is here: call it again, and it continues.
        """
        return [folder for _, folder in fetched(self.id, dest, overwrite)]

    def cancel(self) -> Sweep:
        """Cancel its jobs, and its points that were not sent yet; outputs are kept.

        Raises:
            HostError: a cluster does not answer.
        """
        stop(self.id)
        return self


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
