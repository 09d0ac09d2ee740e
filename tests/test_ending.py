"""The words in which a run folder tells how it ended, between the node scripts and their reader."""

from __future__ import annotations

import re

import pytest

from tfslurm.record.job import ENDED_BY
from tfslurm.run_folder.ending import CAUSES, parse_end, parse_task_end
from tfslurm.run_folder.paths import attempts_in
from tfslurm.workspace.packaged_files import node_side

OLDER = {
    "": "program",
    "requeued after SIGUSR1": "requeued",
    "stopped by SIGTERM": "stopped",
    "stopped by SIGTERM; the script ended with 143 before its tasks did": "stopped",
    "not requeued after SIGUSR1: it was queued again 3 times already": "unfinished",
    "not requeued after SIGUSR1: there is no scheduler here": "no_scheduler",
    "the container's memory was used up": "memory",
    "tfslurm: n1: docker: it went away": "",
}


def test_each_cause_that_the_node_scripts_write_has_a_meaning_here() -> None:
    text = "".join(node_side("docker", points=True).values())
    written = set(re.findall(r"(?:\b|_)cause=(?:\$\{\w+:[-+])?([a-z_]{4,})\b", text))
    written |= set(re.findall(r'batch::_exit_json "\S+" ([a-z_]+)', text))
    written |= set(re.findall(r'supervision::blame "\S+" ([a-z]+)', text)) | {"program", "engine"}
    assert written == set(CAUSES) == set(ENDED_BY)


@pytest.mark.parametrize("cause", [*CAUSES, "a_word_of_a_newer_version"])
def test_the_cause_is_the_word_and_never_the_sentence(cause: str) -> None:
    end = parse_end(f'{{"exit_code": 0, "cause": "{cause}", "reason": "requeued after SIGUSR1"}}')
    assert end.cause == cause


@pytest.mark.parametrize("reason", OLDER)
def test_an_older_script_told_its_cause_in_a_sentence(reason: str) -> None:
    assert parse_end(f'{{"exit_code": 75, "reason": "{reason}"}}').cause == OLDER[reason]


@pytest.mark.parametrize("cause", ["7", '""', '"A b"', '"$(x)"', "[]", '"%s"' % ("x" * 50)])
def test_a_cause_that_is_no_word_is_refused(cause: str) -> None:
    with pytest.raises(ValueError, match="cause is no word"):
        parse_end(f'{{"exit_code": 0, "cause": {cause}}}')


def test_moments_are_kept_as_they_were_written() -> None:
    end = parse_end('{"exit_code": 143, "signal": 15, "began_at": null, "ended_at": "2026-11-23T09:00:32.7Z"}')
    assert (end.exit_code, end.signal, end.began_at, end.ended_at) == (143, 15, None, "2026-11-23T09:00:32.7Z")
    task = parse_task_end(
        '{"exit_code": 0, "oom_killed": true, "started_at": null, "ended_at": "2026-11-23T09:00:32.7Z"}'
    )
    assert (task.oom_killed, task.started_at, task.ended_at) == (True, None, "2026-11-23T09:00:32.7Z")
    with pytest.raises(ValueError, match="oom_killed"):
        parse_task_end('{"exit_code": 0, "oom_killed": "no"}')


def test_attempts_are_ordered_by_their_numbers() -> None:
    names = ("attempt-10/a", "attempt-9/b/c", "attempt-9/d", "attempt-x/e", "attempt-1234567/f", "out/attempt-3/g")
    assert attempts_in(names) == [9, 10]
