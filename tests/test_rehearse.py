"""The verdict of a rehearsal, from what two attempts wrote down."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.made import plan
from tfslurm.spec import Checkpoint
from tfslurm.submission.rehearsal import Attempt, judge, read_attempt

FILES = {
    "attempt-1/outputs.before": b"",
    "attempt-1/outputs.sizes": b"3 epochs 1\0" + b"7 backup/w.h5\0",
    "attempt-1/exit.json": json.dumps(
        {"exit_code": 0, "cause": "requeued", "reason": "requeued after SIGUSR1"}
    ).encode(),
    "attempt-1/facts/task-0/container/program-started-at.txt": b"2026-11-23T09:00:00Z\n",
    "attempt-1/facts/task-0/signal-delivered.txt": b"2026-11-23T09:00:30.500Z\n",
    "attempt-1/facts/task-0/exit.json": b'{"exit_code": 0, "oom_killed": false, "ended_at": "2026-11-23T09:00:32.7Z"}',
    "attempt-2/outputs.before": b"3 1795424432.1 epochs 1\0" + b"7 1795424432.2 backup/w.h5\0",
    "attempt-2/facts/task-0/container/program-started-at.txt": b"2026-11-23T09:00:40Z\n",
}
FIRST, SECOND = read_attempt(FILES, 1), read_attempt(FILES, 2)
ASKED = replace(plan(), checkpoint=Checkpoint("USR1", 60, requeue=True), outputs="/out")


def test_a_program_that_saves_and_goes_on_passes() -> None:
    seen = judge(ASKED, FIRST, SECOND, "CANCELLED")
    assert (seen.wrong, seen.final) == ("", "CANCELLED")
    assert seen.signal == "USR1 delivered at 2026-11-23T09:00:30.500Z, 30.5 s after the start"
    assert seen.exit == "code 0, 2.2 s later"
    assert seen.outputs == "0 files before, 2 after: backup/w.h5, epochs 1"
    assert seen.second == "started from 2 files of the first, was still running"


NONE = read_attempt({}, 2)
WRONG = {
    "not started": (replace(FIRST, began_at="", delivered_at=""), NONE, "the program was not started"),
    "too short": (replace(FIRST, delivered_at="", cause="program", reason=""), NONE, "ended before it was warned"),
    "not delivered": (replace(FIRST, delivered_at="", ended=False), NONE, "could not be delivered"),
    "too slow": (replace(FIRST, ended=False), NONE, "did not end within the 60 s of before_end"),
    "no handler": (replace(FIRST, exit_code=138, after=frozenset()), NONE, "has no handler yet"),
    "nothing saved": (replace(FIRST, after=frozenset()), NONE, "nothing was saved in /out"),
    "failed": (replace(FIRST, exit_code=3, cause="program", reason=""), NONE, "it ended with 3, for good"),
    "refused": (
        replace(FIRST, cause="unfinished", reason="not requeued after SIGUSR1: why"),
        NONE,
        "not requeued after SIGUSR1: why",
    ),
    "not again": (FIRST, NONE, "the second attempt did not start"),
    "lost": (FIRST, replace(SECOND, before=frozenset()), "did not find what the first left"),
    "failed again": (FIRST, replace(SECOND, ended=True, exit_code=1), "the second attempt failed with 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    first, second, words = WRONG[case]
    assert words in judge(ASKED, first, second, "FAILED").wrong


def test_a_signal_without_requeue_needs_no_second_attempt() -> None:
    alone = replace(ASKED, checkpoint=Checkpoint("USR1", 60, requeue=False))
    last = replace(FIRST, cause="program", reason="")
    assert judge(alone, last, NONE, "COMPLETED").wrong == ""
    assert judge(alone, replace(last, exit_code=1), NONE, "FAILED").wrong == "it ended with 1"


def test_files_that_are_cut_off_are_an_attempt_that_has_not_ended() -> None:
    cut = {**FILES, "attempt-1/exit.json": b'{"exit_'}
    seen = read_attempt(cut, 1)
    assert isinstance(seen, Attempt) and not seen.ended
