"""A command, or a shell, in the container of a job that runs. The node side is job_templates/parts/roles/exec.sh."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tfslurm.errors import CommandFailed, Completed, HostError, TfslurmError, refuse
from tfslurm.host import Host
from tfslurm.host.pipe import Pipe
from tfslurm.monitoring.lookup import find_job, job_dir, plan_of
from tfslurm.monitoring.reasons import why
from tfslurm.monitoring.refresh import refresh
from tfslurm.remote_programs import program
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL
from tfslurm.workspace.session import Session

MARK = b"<tfslurm-begin>"
"What the node prints on stdout before the command, where there is no terminal."
LONGEST_S = 7 * 86400.0
RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True)
class Entered:
    """How a command in a container ended, with what it printed."""

    job: str
    exit_code: int
    stdout: str
    stderr: str


class Way:
    """The way into the container of one task of a job that runs, over the login node, or on this machine.

    ``kind`` is `exec`, or `shell`: then the job ends with the command; or `service`: then nothing is typed by hand.

    Raises:
        InputError: there is no such job, or it is several, or it has no task of this rank.
        TfslurmError: it does not run.
        HostError: its cluster does not answer.
    """

    def __init__(self, session: Session, name: str, rank: int = 0, *, kind: str = "exec") -> None:
        self.job = self._running(session, find_job(session.tracker, name))
        plan = plan_of(self.job, session.tracker)
        tasks = plan.resources.nodes * plan.resources.tasks_per_node
        if rank >= tasks:
            many = f"{tasks} tasks, from 0 to {tasks - 1}" if tasks > 1 else "1 task: 0"
            raise refuse(f"--rank {rank}", f"job {self.job.key} has {many}", "leave out --rank, or name one of these")
        self._host: Host = session.reach(known_for(self.job, session.tracker))
        self._kind = kind
        self._step = self._new_step()
        folder = job_dir(plan, self.job.job_id)
        self._words = (self.job.slurm_id, plan.job_name, str(plan.run_dir), folder.name, str(rank))

    def _new_step(self) -> str:
        return f"tfslurm-{self._kind}-{secrets.token_hex(6)}"

    def _running(self, session: Session, job: TrackedJob) -> TrackedJob:
        if not job.final:
            known = known_for(job, session.tracker)
            if silence := refresh(known, session.tracker, session.reach(known), [job]):
                raise HostError(silence, transient=True)
            job = find_job(session.tracker, job.key)
        if job.final:
            raise TfslurmError(f"{job.key}: has ended ({job.state}), and its container with it; submit it again")
        if job.state != RUNNING:
            reason = why(job)
            fix = f"try again when `tfslurm status {job.key}` says RUNNING"
            raise TfslurmError(f"{job.key}: is {job.state}{f' ({reason})' if reason else ''}; {fix}")
        return job

    def enter(self, command: Sequence[str], *, terminal: bool) -> int:
        """Run a command with our own streams, or the image's shell where it has no words; its exit code.

        Ctrl-C without a terminal, and a line that is lost, end it there too.

        Raises:
            HostError: the cluster does not answer, Slurm makes no step, or the line was lost.
            KeyboardInterrupt: Ctrl-C, without a terminal.
        """
        try:
            return self._host.attach(self._argv(command, terminal=terminal), terminal=terminal, mark=MARK)
        except (KeyboardInterrupt, HostError):
            with suppress(TfslurmError):  # here it ends with its client
                if self.job.cluster != LOCAL:
                    self._host.run(program("end-step", self._words[0], self._step))
            raise

    def captured(self, command: Sequence[str]) -> Entered:
        """Run a command without input to its end, and keep what it prints.

        Raises:
            HostError: as enter, or it prints more than anybody could use.
        """
        done = self._host.run(self._argv(command, terminal=False), timeout_s=LONGEST_S)
        _, begun, said = done.stdout.partition(MARK.decode())
        if not begun:
            raise CommandFailed(Completed(("srun", *command), done.exit_code, "", done.stderr, done.host))
        return Entered(self.job.key, done.exit_code, said, done.stderr)

    def open_pipe(self, command: Sequence[str]) -> Pipe:
        """Start a command whose stdin and stdout stay open here; any thread may ask, and several one after the other.

        Raises:
            CommandFailed: the job has ended, or Slurm makes no step.
            HostError: the cluster does not answer.
        """
        self._step = self._new_step()  # a step that was killed has left its lifeline under the old name
        return self._host.open_pipe(self._argv(command, terminal=False), MARK)

    def _argv(self, command: Sequence[str], *, terminal: bool) -> tuple[str, ...]:
        how = ("terminal" if terminal else "", self._step, *command)
        if self.job.cluster == LOCAL:
            return program("exec-here", *self._words[2:], *how)
        return program("exec-step", *self._words, *how)
