"""Read a job's stdout and stderr, each time from where the last reading stopped."""

from __future__ import annotations

import re
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tfslurm.errors import HostError, InputError, refuse
from tfslurm.host import Host
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_job, job_dir, plan_of
from tfslurm.monitoring.reasons import NO_FOLDER, is_kept
from tfslurm.monitoring.refresh import refresh
from tfslurm.remote_programs import program
from tfslurm.run_folder.paths import batch_log
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known

CHUNK = 2**20
MOST_IN_JSON = 256 * 2**20
HEAD = re.compile(rb"-?[0-9]{1,9}(?: +[0-9]{1,9}){3} *")  # the attempt, and how many bytes of each file follow
NO_ATTEMPT = -2
UTF8 = getincrementaldecoder("utf-8")
FILES = {"out": "stdout", "err": "stderr", "script": "stderr"}
PAUSE_S = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class Tails:
    """The new bytes of an attempt's log files; ``attempt`` 0: there is none yet."""

    attempt: int
    parts: tuple[tuple[str, bytes], ...]
    "by file: out, err, and script, which is empty where the program was started"

    @property
    def full(self) -> bool:
        """Whether there may be more to read at once."""
        return any(len(content) == CHUNK for _, content in self.parts)


class Reader:
    """The log files of one job, each read on from where it was left, all with one command."""

    def __init__(
        self, job: TrackedJob, tracker: Tracker, host: Host, attempt: int | None, rank: int, batch: bool
    ) -> None:
        self.job, self.tracker, self.host = job, tracker, host
        self.asked, self.rank, self.batch = attempt or 0, rank, batch
        self.plan = plan_of(job, tracker)
        tasks = self.plan.resources.nodes * self.plan.resources.tasks_per_node
        if rank >= tasks:
            many = f"{tasks} tasks, from 0 to {tasks - 1}" if tasks > 1 else "1 task: 0"
            raise self.has_only(many, f"--rank {rank}")
        self.attempt = self.asked
        self.offsets = dict.fromkeys(FILES, 0)
        self.decoders = {name: UTF8("surrogateescape") for name in FILES}
        self.has_printed = False

    def read_tails(self, attempt: int) -> Tails:
        """The bytes beyond those that were read; attempt 0: of the last one, from its start if that is a new one.

        Raises:
            HostError: the login node does not answer, the run folder is gone, or a file became shorter in between.
        """
        folder, script = job_dir(self.plan, self.job.job_id), self.plan.run_dir / batch_log(self.job.job_id)
        words = [folder, script, attempt, self.rank, int(self.batch), CHUNK, self.attempt, *self.offsets.values()]
        said = self.host.run_bytes(program("log-tails", *map(str, words)))
        head, _, body = said.partition(b"\n")
        number, *sizes = map(int, head.split()) if HEAD.fullmatch(head) else (0, -1)
        if number == NO_ATTEMPT:
            many = f"{sizes[0]} attempts, from 1" if sizes[0] != 1 else "1 attempt"
            raise self.has_only(many if sizes[0] else "no attempt yet", f"--attempt {attempt}")
        if number < 0:
            raise HostError(f"{self.job.key}: {self.job.state}: {NO_FOLDER} ({self.plan.run_dir})")
        if len(body) != sum(sizes):
            raise HostError(f"{self.job.key}: its logs were cut while they were read; try again", transient=True)
        ends = list(accumulate(sizes))
        spans = zip(FILES, [0, *ends], ends, strict=False)
        return Tails(number, tuple((name, body[start:end]) for name, start, end in spans))

    def has_only(self, what: str, option: str) -> InputError:
        """The error for a task or an attempt that the job does not have."""
        name, _, _ = option.partition(" ")
        return refuse(option, f"job {self.job.key} has {what}", f"leave out {name}, or name one of these")

    def once(self) -> Iterator[tuple[str, str]]:
        """Everything that was written since the last call; an unfinished character waits for its rest."""
        while True:
            tails = self.read_tails(self.asked)
            behind = bool(self.attempt) and tails.attempt != self.attempt
            if behind:  # requeued: the rest of the attempt before comes first
                tails = self.read_tails(self.attempt)
                if not any(content for name, content in tails.parts if name != "script"):
                    yield from self.ended()
                    self.attempt, self.offsets = 0, {**self.offsets, "out": 0, "err": 0}
                    continue
            self.attempt = tails.attempt
            for name, content in tails.parts:
                self.offsets[name] += len(content)
                if text := self.decoders[name].decode(content):
                    self.has_printed = True
                    yield FILES[name], text
            if not tails.full and not behind:
                return

    def ended(self) -> Iterator[tuple[str, str]]:
        """The bytes of a character that was never finished."""
        for name, decoder in self.decoders.items():
            if text := decoder.decode(b"", final=True):
                yield FILES[name], text

    def all(self) -> Iterator[tuple[str, str]]:
        """Everything that there is now."""
        yield from self.once()
        yield from self.ended()

    def follow(self, known: Known, seen: Callable[[TrackedJob], None]) -> Iterator[tuple[str, str]]:
        """Everything, also what is still to be written, until the job has ended, or its program has and its container
        is kept; a lost connection loses no text.

        The job is ``seen`` after each question about it, before what it wrote until then.
        """
        pause, failures = PAUSE_S[0], 0
        pace = Pace(first_s=PAUSE_S[0], factor=1.5, most_s=PAUSE_S[1])
        while True:
            try:
                if due := pace.due([known]):
                    pace.asked(due, changed=False)
                    refresh(known, self.tracker, self.host, [self.job])
                now = find_job(self.tracker, self.job.key)
                seen(now)
                ended = now.final or is_kept(now)
                before = dict(self.offsets)
                yield from self.once()
                failures = 0
            except HostError as error:
                failures += 1
                if not error.transient or failures > 10:
                    raise
                ended, before = False, dict(self.offsets)
            if ended:
                yield from self.ended()
                return
            pause = PAUSE_S[0] if before != self.offsets else min(pause * 1.5, PAUSE_S[1])
            time.sleep(pause)

    def everything(self) -> dict[str, Any]:
        """All of it as one value."""
        chunks: dict[str, list[str]] = {"stdout": [], "stderr": []}
        left = MOST_IN_JSON
        for stream, chunk in self.all():
            chunks[stream].append(chunk)
            left -= len(chunk)
            if left < 0:
                why = f"wrote more than {MOST_IN_JSON // 2**20} MiB, too much for one JSON document"
                raise HostError(f"{self.job.key}: {why}; leave out --json")
        said = {name: as_text("".join(parts)) for name, parts in chunks.items()}
        return {"job": self.job.key, "attempt": self.attempt, **said}


def as_text(said: str) -> str:
    """The text with U+FFFD for bytes that are no UTF-8."""
    return said.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
