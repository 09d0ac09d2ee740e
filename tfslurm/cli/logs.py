"""tfslurm logs, and following a program that runs here."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import click

from tfslurm.cli.console import common, emit, say, tracer
from tfslurm.errors import HostError, refuse
from tfslurm.host import Host, open_host, read_from
from tfslurm.slurm import state_from_exit
from tfslurm.submit.follow import find_job, job_dir, plan_of, refresh
from tfslurm.submit.places import Known, open_tracker
from tfslurm.submit.prepare import Prepared
from tfslurm.submit.reach import known_for
from tfslurm.tracker import TrackedJob, Tracker

CHUNK = 2**20
PAUSE_S = (0.2, 5.0)


@click.command(short_help="Print what a job wrote to stdout and stderr.")
@click.argument("job", metavar="JOB")
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the job ends.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt of a requeued job; default: the last.")
@click.option("--rank", type=click.IntRange(0), default=0, help="Which task of a job with several; default: 0.")
@click.option("--batch", is_flag=True, help="What the batch script itself said, instead of the program.")
@common
def logs(job: str, follow: bool, attempt: int | None, rank: int, batch: bool, as_json: bool, verbose: int) -> None:
    """Print what the program wrote: its stdout on stdout, its stderr on stderr.

    Where the program never started, what the batch script said is printed instead.
    """
    tracker = open_tracker()
    found = find_job(tracker, job)
    known = known_for(found, tracker)
    with open_host(known.cluster, trace=tracer(verbose)) as host:
        reader = Reader(found, tracker, host, attempt, rank, batch)
        if as_json:
            emit(reader.everything())
            return
        for stream, text in reader.follow(known) if follow else reader.once():
            click.echo(text, nl=False, err=stream == "stderr")
        if not reader.seen:
            say(f"{found.key}: {'wrote nothing' if found.final else 'has written nothing yet'} ({found.state})")


class Reader:
    """The log files of one attempt of one job, each read on from where it was left."""

    def __init__(
        self, job: TrackedJob, tracker: Tracker, host: Host, attempt: int | None, rank: int, batch: bool
    ) -> None:
        self.job, self.tracker, self.host = job, tracker, host
        self.attempt, self.rank, self.batch = attempt, rank, batch
        self.plan = plan_of(job, tracker)
        self.offsets: dict[PurePosixPath, int] = {}
        self.seen = False

    def files(self) -> list[tuple[str, PurePosixPath]]:
        """The streams of this attempt; the batch script's own output where asked for, or instead of nothing."""
        script = [("stderr", self.plan.run_dir / f"slurm-{self.job.job_id}.out")]
        if self.batch:
            return script
        attempt = self.attempt or self.last_attempt()
        if not attempt:
            return script
        folder = job_dir(self.plan, self.job.job_id) / f"attempt-{attempt}"
        mark = f".{self.rank}" if self.rank else ""
        program = [("stdout", folder / f"stdout{mark}.log"), ("stderr", folder / f"stderr{mark}.log")]
        return program if self.started(folder) else [*program, *script]

    def started(self, folder: PurePosixPath) -> bool:
        """Whether the program of this attempt was started: its container has an id and nothing refused it."""
        facts = folder / "facts" / f"task-{self.rank}"
        return bool(read_from(self.host, facts / "container-id.txt", 0, 1)) and not read_from(
            self.host, facts / "refused.txt", 0, 1
        )

    def last_attempt(self) -> int:
        """The number of the last attempt; 0 while there is none."""
        folder = job_dir(self.plan, self.job.job_id)
        names = self.host.run(["ls", "-1", str(folder)]).stdout.split()
        return max((int(name[8:]) for name in names if name.startswith("attempt-") and name[8:].isdigit()), default=0)

    def once(self) -> Iterator[tuple[str, str]]:
        """Everything that was written since the last call."""
        for stream, path in self.files():
            while chunk := read_from(self.host, path, self.offsets.get(path, 0), CHUNK):
                self.offsets[path] = self.offsets.get(path, 0) + len(chunk)
                self.seen = True
                yield stream, chunk.decode("utf-8", "replace")

    def follow(self, known: Known) -> Iterator[tuple[str, str]]:
        """What is written from now on too, until the job has ended; a line that drops is taken up where it was."""
        pause, failures = PAUSE_S[0], 0
        while True:
            try:
                refresh(known.cluster.name, known.user, self.tracker, self.host, [self.job])
                ended = find_job(self.tracker, self.job.key).final
                before = dict(self.offsets)
                yield from self.once()
                failures = 0
            except HostError as error:
                failures += 1
                if not error.transient or failures > 10:
                    raise
                ended, before = False, dict(self.offsets)
            if ended:
                return
            pause = PAUSE_S[0] if before != self.offsets else min(pause * 1.5, PAUSE_S[1])
            time.sleep(pause)

    def everything(self) -> dict[str, Any]:
        """All of it as one value."""
        text = {"stdout": "", "stderr": ""}
        for stream, chunk in self.once():
            text[stream] += chunk
        return {"job": self.job.key, "attempt": self.attempt or self.last_attempt(), **text}


def follow_process(
    known: Known, job: Prepared, tracker: Tracker, secrets: dict[str, str], *, show: bool, verbose: int
) -> dict[str, Any]:
    """Run a local job to its end, showing what its program prints; how it ended."""
    from tfslurm.submit.local import start, stop

    if known.cluster.login is not None:
        raise refuse("cluster local", "has a login", "`tfslurm run` runs on this machine; use submit for that cluster")
    with open_host(known.cluster, trace=tracer(verbose)) as host:
        job_id, process = start(job, tracker, host, secrets)
        found = find_job(tracker, f"{known.cluster.name}:{job_id}")
        say(f"{found.key}: started")
        reader = Reader(found, tracker, host, None, 0, False)
        for told in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(told, signal.default_int_handler)  # end the job as Ctrl-C does
        try:
            while process.poll() is None:
                print_streams(reader, show and reader.last_attempt() > 0)
                time.sleep(PAUSE_S[0])
        finally:
            stop(process)
            print_streams(reader, show)
            refresh(known.cluster.name, known.user, tracker, host, [found])
        code = process.returncode
        state = find_job(tracker, found.key).state
        final = state_from_exit(code, None) if state == "RUNNING" else state
        return {"job": found.key, "state": final, "exit_code": code if code >= 0 else 128 - code}


def print_streams(reader: Reader, show: bool) -> None:
    """Print what the program has written since the last call, each stream on its own."""
    for stream, text in reader.once() if show else ():
        click.echo(text, nl=False, err=stream == "stderr")
