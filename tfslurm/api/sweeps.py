"""Sweeps, from Python."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from tfslurm.api.jobs import Job, ask, failure, fetched, stop, table
from tfslurm.api.session import session
from tfslurm.errors import HostError
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.sweep_states import state_of
from tfslurm.monitoring.wait import clusters_to_ask, exit_code, wait_for
from tfslurm.retrieval.endings import Ending, report
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedSweep


def sweep(name: str) -> Sweep:
    """Return the sweep of this id, such as ``digits-cnn-3fa85f``, or the only sweep of an experiment of this name.

    Raises:
        InputError: none of your sweeps has this name, or several have it.
    """
    return Sweep(find_sweep(session().tracker, name).sweep_id)


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
