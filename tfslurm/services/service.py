"""A service on a compute node: an ordinary job whose program listens, and a port of this machine that leads to it.

The program listens on the loopback of its container's own network. The way there is a step of the job (Way), whose
input and output carry all connections (Channels); a Forward listens here. So nothing listens on the node.
"""

from __future__ import annotations

import http.client
import math
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from subprocess import Popen
from types import TracebackType
from typing import NamedTuple

from tfslurm.document import Refused
from tfslurm.errors import CommandFailed, HostError, InputError, TfslurmError, last_words, refuse
from tfslurm.handoff.local_process import stop
from tfslurm.host.forward import Forward, UnixSocket, listening
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.holding import Service, served_by, service_in
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.monitoring.lookup import find_job, plan_of
from tfslurm.monitoring.reasons import CANCELLED, reason_of
from tfslurm.monitoring.refresh import refresh
from tfslurm.monitoring.wait import exit_code
from tfslurm.retrieval.endings import report, why_it_failed
from tfslurm.services.channels import Channel, Channels
from tfslurm.services.enter import Way
from tfslurm.services.needs import refuse_lacking
from tfslurm.services.shell import Seen, held_job, refuse_local
from tfslurm.spec.experiment import Word
from tfslurm.spec.quantities import short_time_s
from tfslurm.submission.local import refuse_several_tasks
from tfslurm.submission.once import submit_jobs
from tfslurm.submission.prepare import Asked
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clock import seconds_until
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

RELAY = ("python3", "/run/tfslurm-relay.py")
FIRST_S, MOST_S = 1.0, 10.0
"Between two tries to come back."
DIAL_S = 20.0
LOOK_S = 30.0
ENDS_S = 10
ENDED = 78
"Of exec-step.sh, where there is no container any more."
WARNED_S = (600, 120)
MOST_BYTES = 64 * 2**20


class Answer(NamedTuple):
    """What a service answered: its status, such as 200, and the body."""

    status: int
    body: bytes


class Unled(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: the token goes nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


def serving(asked: Asked, service: Service) -> Asked:
    """The same experiment with a service as its program.

    Raises:
        InputError: it is for several tasks, keeps no outputs, or shares the node's network.
    """
    experiment = asked.experiment
    refuse_several_tasks(experiment, "a service is in one container")
    if experiment.network == "host":
        why = "is host: every user of the node could reach the service"
        raise refuse_at(asked, "network", why, "write bridge, or none")
    if not experiment.outputs:
        raise refuse_at(asked, "outputs", "is absent: what you write would be lost", "write `outputs: /out`")
    words = tuple(Word((word,)) for word in service.command)
    return asked._replace(experiment=replace(experiment, command=words, checkpoint=None))


def idle_s(name: str, text: str) -> int:
    """Seconds from ``30m``, ``1h``, ``90s`` or ``2d``; 0 is 0.

    Raises:
        InputError: anything else.
    """
    try:
        return 0 if text == "0" else short_time_s(text)
    except Refused as refused:
        raise refuse(f"{name} {text!r}", refused.why, f"{refused.fix}, or 0 for never") from refused


def refuse_at(asked: Asked, key: str, why: str, fix: str) -> InputError:
    """The error for a key of the experiment."""
    return InputError([asked.experiment.problem((key,), why, fix)])


def open_service(
    session: Session, asked: Asked, known: Known, service: Service, *, port: int = 0, seen: Seen
) -> Attached:
    """Submit a service, and wait until it answers. Ctrl-C meanwhile cancels the job, and so does every failure.

    Raises:
        TfslurmError: the job cannot be submitted, or ended before it answered.
        KeyboardInterrupt: Ctrl-C.
    """
    refuse_local(known)
    asked = serving(asked, service)
    listening(port).close()  # not after an hour in the queue
    refuse_lacking(session, asked, known, service)
    (job,) = submit_jobs(session, asked, [known], force=False, again=True, told=session.say)
    name = job.key
    try:
        return attach(session, name, port=port, seen=seen)
    except BaseException:
        with suppress(TfslurmError):
            if not find_job(session.tracker, name).final:
                cancel_named(session, [name])
                session.say(f"{name}: cancelled")
        raise


def attach(session: Session, name: str, *, port: int = 0, seen: Seen) -> Attached:
    """A port of this machine that leads to a service whose job waits or runs, once it answers.

    Raises:
        InputError: there is no such job, it is no service, or the port is taken.
        TfslurmError: the job has ended.
    """
    job = find_job(session.tracker, name)
    service = service_in(plan_of(job, session.tracker).command)
    if service is None:
        raise refuse(f"job {job.key}", "is no service", "`tfslurm services` lists those that run")
    if job.final:
        raise TfslurmError(f"{job.key}: has ended ({job.state}); `tfslurm services` lists those that run")
    job = held_job(session, job.key, seen)
    try:
        if not job.final:
            return Attached(session, Way(session, job.key, kind="service"), service, port)
    except InputError:
        raise
    except TfslurmError as error:
        job = settled(session, job)
        if not job.final:
            why = last_words(error.completed) if isinstance(error, CommandFailed) else str(error)
            raise TfslurmError(f"{job.key}: {why}") from None
    left = report(session, [job], reasons=False).get(job.key)
    reason = "" if job.state == "COMPLETED" else f": {why_it_failed(job, left)}"
    raise TfslurmError(f"{job.key}: has ended ({job.state}) before the service answered{reason}")


def settled(session: Session, job: TrackedJob) -> TrackedJob:
    """The job once it has ended, if it is about to: a container ends a little before its job."""
    known = known_for(job, session.tracker)
    for _ in range(ENDS_S):
        with suppress(HostError):
            refresh(known, session.tracker, session.reach(known), [job])
        job = find_job(session.tracker, job.key)
        if job.final:
            break
        time.sleep(1)
    return job


class Attached:
    """A service that answers, and the port of this machine that leads to it; a context manager, which closes the port.

    ``job`` is its name, ``url`` has the token in it. If the line is lost, the next connection waits until it is back;
    the port stays. ``ended`` is set when the job has ended, and the port is closed then.
    """

    def __init__(self, session: Session, way: Way, service: Service, port: int) -> None:
        self._session, self._way, self.service = session, way, service
        self.job = way.job.key
        self.process: Popen[bytes] | None = None  # that of a job of this machine, if it was started here
        self.ended, self._closing = threading.Event(), threading.Event()
        self._changed, self._channels = threading.Condition(), self._connected()
        try:
            self._token = self._channels.greeted("" if service.kind == "serve" else f"{service.kind} starts")
            self._forward = Forward(self.job, UnixSocket("/"), port, self, session.say)
        except BaseException:
            self._channels.close()
            raise
        self.port = self._forward.port
        threading.Thread(target=self._keep, name="service", daemon=True).start()

    def __repr__(self) -> str:
        return f"Attached({self.job!r}, {self.service.kind}, 127.0.0.1:{self.port})"

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What a browser opens. Whoever knows it can do in the job what you can."""
        return f"http://127.0.0.1:{self.port}{page_of(self.service)}?token={self._token}"

    def request(self, path: str, data: bytes | None = None, *, method: str = "", timeout_s: float = 60.0) -> Answer:
        """Ask the service by HTTP, with its token; what it answers, be it a refusal or a redirect.

        Raises:
            HostError: it does not answer.
        """
        if not path.startswith("/"):
            raise refuse(f"path {path!r}", "does not begin with /", "write the path behind the port")
        headers = {"Authorization": f"token {self._token}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, data, headers, method=method or None)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), Unled)
        try:
            with direct.open(asked, timeout=timeout_s) as answer:
                return Answer(answer.status, answer.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(MOST_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise HostError(f"{self.job}: does not answer: {error}", transient=True) from None

    # --- what carries the connections

    def dial(self) -> Channel:
        """Open a connection; it waits a while for a line that was lost.

        Raises:
            HostError: the line is not back, or the job has ended.
        """
        until = time.monotonic() + DIAL_S
        while True:
            with self._changed:
                self._changed.wait_for(self._is_usable, max(0.0, until - time.monotonic()))
                channels = self._channels
            try:
                return channels.dial()
            except HostError:  # nobody may have known before that it is lost
                if self._closing.is_set() or time.monotonic() > until:
                    raise

    def _is_usable(self) -> bool:
        return not self._channels.lost.is_set() or self._closing.is_set()

    def close(self) -> None:
        """Nothing is left of a connection when its pipe ends."""

    def stop(self) -> None:
        """Close the port and the way; the job goes on. A second call does nothing."""
        self._closing.set()
        self._forward.close()
        self._channels.close()

    def cancel(self) -> None:
        """Close the port, and end the job if it has not ended; outputs are kept.

        Raises:
            TfslurmError: its cluster does not answer.
        """
        self.stop()
        if self.process is None:
            _, silent = cancel_named(self._session, [self.job])
            if silent:
                raise HostError("; ".join(silent.values()), transient=True)
            return
        stop(self.process)
        settled(self._session, find_job(self._session.tracker, self.job))

    def _connected(self) -> Channels:
        return Channels(self._way.open_pipe(RELAY), lambda text: self._session.say(f"{self.job}: {text}"))

    def _keep(self) -> None:
        """Bring the way back whenever it is lost, until the job has ended or this is closed."""
        wait_s = FIRST_S
        while not self._closing.is_set():
            if not self._channels.lost.wait(1):
                wait_s = FIRST_S
                if self._channels.is_silent:
                    self._channels.close()
                continue
            if self._closing.is_set() or self.ended.is_set():
                return
            try:
                again = self._connected()
                again.greeted()
            except (TfslurmError, OSError) as error:
                if isinstance(error, CommandFailed) and error.completed.exit_code == ENDED:
                    self.ended.set()
                    self._forward.close()
                    return
                self._closing.wait(wait_s)
                wait_s = min(2 * wait_s, MOST_S)
                continue
            self._session.say(f"{self.job}: the line was lost, and is back")
            with self._changed:
                self._channels = again
                self._changed.notify_all()


def attend(session: Session, attached: Attached) -> int:
    """Stay until the job has ended; say what ended it, and warn before its time limit. Its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    job = find_job(session.tracker, attached.job)
    known = known_for(job, session.tracker)
    warned, looked = warnings_past(job)[0], time.monotonic()
    while not job.final:
        has_ended = attached.ended.wait(1)
        past, left = warnings_past(job)
        if past > warned and left > 0:
            session.say(f"{job.key}: its time limit ends it in {max(1, round(left / 60))} min")
        warned = max(warned, past)
        if has_ended or time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            with suppress(HostError):
                refresh(known, session.tracker, session.reach(known), [job])
            job = find_job(session.tracker, attached.job)
            if has_ended and not job.final:
                time.sleep(1)
    attached.stop()
    session.say(f"{job.key}: has ended ({job.state}){brings(attached)}")
    report(session, [job], tails=False, reasons=reason_of(job) != CANCELLED)
    return exit_code(job)


def page_of(service: Service) -> str:
    """The path that a user opens: of a model the status of that model."""
    model = served_by(service)
    return f"/v1/models/{model.name}" if model else "/"


def subject_of(plan: JobPlan, service: Service) -> str:
    """What a service is of: a model and its run, the runs of a TensorBoard, a notebook's experiment or run."""
    if served := served_by(service):
        return f"{served.name} ({served.run}{'' if served.path == '.' else f':{served.path}'})"
    runs = [mount.run.removeprefix("run:").removesuffix("/out") if mount.run else mount.source for mount in plan.mounts]
    if service.kind == "tensorboard" and runs:
        return f"{runs[0]} and {len(runs) - 1} more" if runs[1:] else runs[0]
    is_of_run = plan.name == service.kind and any(mount.run for mount in plan.mounts[-1:])  # by reruns.notebook
    return runs[-1] if is_of_run else plan.name


def brings(attached: Attached) -> str:
    """How the user gets what he wrote there; '' where he wrote nothing."""
    return f"; `tfslurm fetch {attached.job}` brings what you wrote" if attached.service.kind == "jupyter" else ""


def warnings_past(job: TrackedJob) -> tuple[int, float]:
    """How many of WARNED_S are past, and the seconds until the job's time limit; infinite where none is known."""
    left = seconds_until(job.status.get("ended_at"))
    left = math.inf if left is None else left
    return sum(left <= each for each in WARNED_S), left


def running_services(session: Session) -> list[tuple[TrackedJob, Service]]:
    """The services of this tracker that wait or run, as their clusters know them now."""
    from tfslurm.monitoring.refresh import refresh_all
    from tfslurm.monitoring.wait import clusters_to_ask

    tracker, refused = session.tracker, dict[str, str]()
    silent = refresh_all(session, clusters_to_ask(tracker, None, refused))
    for line in {**refused, **silent}.values():
        session.say(f"error: {line}; shown is what was last seen there")
    found = ((job, service_in(plan_of(job, tracker).command)) for job in tracker.jobs(unfinished=True))
    return [(job, service) for job, service in found if service]
