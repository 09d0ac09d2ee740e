"""Jobs, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tfslurm.api.session import LOG, session
from tfslurm.document.tree import printable
from tfslurm.document.visible import visible
from tfslurm.errors import HostError, JobFailed, TfslurmError
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.monitoring.lookup import find_job, parameters_of
from tfslurm.monitoring.reasons import reason_of
from tfslurm.monitoring.refresh import refresh, refresh_all
from tfslurm.monitoring.wait import clusters_to_ask, exit_code, wait_for
from tfslurm.record import Record
from tfslurm.retrieval.endings import LINES, Ending, report, why_it_failed
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clusters_of_jobs import known_for

if TYPE_CHECKING:
    from tfslurm.api.arguments import Value
    from tfslurm.workspace.config import Known

RECENT = 20


def job(name: str | int) -> Job:
    """Return the job of this name: ``alpha:1234``, ``1234``, ``1234_7`` or ``SWEEP:POINT``.

    Raises:
        InputError: none of your jobs has this name, or several have it.
    """
    return Job(find_job(session().tracker, str(name)).key)


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
