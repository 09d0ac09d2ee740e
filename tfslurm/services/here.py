"""A service on this machine, without a scheduler: the program of a local job, in the container that `run` makes."""

from __future__ import annotations

from tfslurm.handoff.local_process import stop
from tfslurm.host.forward import listening
from tfslurm.job_plan.holding import Service
from tfslurm.services.needs import refuse_lacking
from tfslurm.services.service import Attached, attach, serving
from tfslurm.services.shell import Seen
from tfslurm.submission.local import begin
from tfslurm.submission.once import prepared_for
from tfslurm.submission.prepare import Asked
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def open_here(session: Session, asked: Asked, known: Known, service: Service, *, port: int = 0, seen: Seen) -> Attached:
    """Start a service, and wait until it answers. Ctrl-C meanwhile ends the job, and so does every failure.

    Raises:
        TfslurmError: the job cannot be started, or ended before it answered.
        KeyboardInterrupt: Ctrl-C.
    """
    asked = serving(asked, service)
    listening(port).close()  # not after the image was pulled
    refuse_lacking(session, asked, known, service)
    (job,) = prepared_for(session, asked, [known])
    found, process = begin(session, known, job, {})
    try:
        opened = attach(session, found.key, port=port, seen=seen)
    except BaseException:
        stop(process)
        raise
    opened.process = process
    return opened
