"""Services, from Python, as the commands of their names run them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tfslurm.api.arguments import Value, asked_for, only, texts_of
from tfslurm.api.citing import named as name_of
from tfslurm.api.jobs import Job
from tfslurm.api.session import LOG, session
from tfslurm.api.sweeps import Sweep
from tfslurm.errors import refuse
from tfslurm.job_plan.holding import Service as Kind
from tfslurm.reruns.notebook import job_named, open_notebook
from tfslurm.services.model import model_of
from tfslurm.services.service import Answer, Attached, idle_s, open_service
from tfslurm.services.tensorboard import board_of, open_board
from tfslurm.tracker import TrackedJob


class Service:
    """A service that answers: ``url`` opens it in a browser, ``job`` is the job that it runs in.

    A context manager: at its end the job is cancelled.
    """

    def __init__(self, attached: Attached) -> None:
        self._attached = attached
        self.job = Job(attached.job)

    def __repr__(self) -> str:
        return f"Service({self._attached.service.kind!r}, {self.job.key!r}, 127.0.0.1:{self._attached.port})"

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What a browser on this machine opens. It has the token in it: whoever knows it can do there what you can."""
        return self._attached.url

    def request(self, path: str, data: bytes | None = None, *, method: str = "") -> Answer:
        """Ask the service by HTTP with its token, and return its ``status`` and ``body``, be it a refusal.

        ``path`` is what stands behind the port, such as ``/api/status``. With ``data`` the method is POST by default.

        Raises:
            HostError: it does not answer.
        """
        return self._attached.request(path, data, method=method)

    def close(self) -> None:
        """Close the port of this machine, and cancel the job if it has not ended; outputs are kept."""
        self._attached.cancel()


def jupyter(
    experiment: str | Path | Job,
    *,
    cluster: str = "",
    port: int = 0,
    idle_after: str = "1h",
    settings: Mapping[str, Value] | None = None,
    **parameters: Value,
) -> Service:
    """Run Jupyter on a node with an experiment's image, packages, GPUs and mounts, and return it once it answers.

    Args:
        experiment: the file exp.yaml; or a job, or the name of one (``"alpha:1234"``), whose environment it is then,
            with the job's outputs read-only, and on the job's cluster.
        cluster: the name of a cluster; by default the file's, or the only one that is known.
        port: the port of this machine; 0 takes any that is free.
        idle_after: the job ends when nobody has used it for so long: ``30m``, ``1h``; ``0``: never.
        settings: keys of exp.yaml, such as ``{"resources.time": "01:00:00"}``.
        parameters: the values of ``{{ }}``.

    Raises:
        InputError: a file or a value given here is wrong.
        TfslurmError: the job could not be queued, or ended before it answered.
    """
    kind = Kind("jupyter", idle_s("idle_after", idle_after))
    named = experiment.key if isinstance(experiment, Job) else str(experiment)
    if job := None if isinstance(experiment, Path) else job_named(session(), named):
        if cluster and cluster != job.cluster:
            raise refuse(f"cluster={cluster!r}", f"{job.key} and its outputs are on {job.cluster}", "leave it out")
        sets = [f"{name}={value}" for name, value in texts_of(settings or {}, parameters).items()]
        return Service(open_notebook(session(), job, sets, kind, port=port, seen=log))
    asked, chosen = asked_for(session(), named, cluster or (), settings or {}, parameters, sweeps=False)
    known = only(named, chosen)
    return Service(open_service(session(), asked, known, kind, port=port, seen=log))


def tensorboard(
    *what: Job | Sweep | str | Path,
    port: int = 0,
    idle_after: str = "1h",
    settings: Mapping[str, Value] | None = None,
) -> Service:
    """Run TensorBoard where the outputs of runs are, with their image, and return it once it answers.

    Args:
        what: jobs, sweeps or their names; or folders of this machine, such as ``Job.fetch`` returns.
        port: the port of this machine; 0 takes any that is free.
        idle_after: it ends when nobody has used it for so long: ``30m``, ``1h``; ``0``: never.
        settings: ``resources.`` and ``slurm.`` keys of its job; for folders also ``image``.

    Raises:
        InputError: nothing is named, a name stands for nothing, or the runs are in several places.
        TfslurmError: no run has outputs yet, the job could not be queued, or ended before it answered.
    """
    if not what:
        raise refuse("tensorboard", "nothing is named", "name jobs, sweeps or folders")
    sets = [f"{name}={text}" for name, text in texts_of(settings or {}, {}).items()]
    board = board_of(session(), [name_of(each) for each in what], sets, idle_s("idle_after", idle_after))
    return Service(open_board(session(), board, port=port, seen=log))


def serve(
    model: Job | str,
    *,
    name: str = "",
    port: int = 0,
    idle_after: str = "1h",
    settings: Mapping[str, Value] | None = None,
) -> Service:
    """Serve a model that a job left, by TensorFlow Serving's REST API, and return it once it answers.

    ``service.request("/v1/models/NAME:predict", data)`` asks it.

    Args:
        model: the job; or ``JOB:PATH`` with the path of the model in its outputs.
        name: of the model in the URL; by default the experiment's.
        port: the port of this machine; 0 takes any that is free.
        idle_after: the job ends when nobody has asked it for so long: ``30m``, ``1h``; ``0``: never.
        settings: ``resources.`` and ``slurm.`` keys of its job, such as ``{"resources.gpus": 1}``.

    Raises:
        InputError: there is no such job or model, or a value given here is wrong.
        TfslurmError: the model has changed since its job ended; the job could not be queued, or ended before it
            answered.
    """
    sets = [f"{key}={text}" for key, text in texts_of(settings or {}, {}).items()]
    found = model_of(session(), name_of(model), name, sets, idle_s("idle_after", idle_after))
    return Service(open_service(session(), *found, port=port, seen=log))


def log(job: TrackedJob) -> None:
    """Say in the log what a job is waited for."""
    LOG.info("%s %s", job.key, job.state)
