"""What a program printed, by its hash: made on the node when it has ended, kept in the record."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from tests.test_node_functions import bash
from tests.test_record import TASK, case
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.facts import parse_log_sums
from tfslurm.record.model import Log

LOGS = "stdout_log={0}/stdout.log stderr_log={0}/stderr.log stopped='' checkpoint_signal=''; "
KEEP = LOGS + "logs::keep & log_sums=$!; logs::wait"


def hashed(tmp_path: Path, script: str = KEEP, **env: str) -> dict[str, tuple[int, str]]:
    assert bash(tmp_path, script.format(tmp_path), **env) == ""
    return dict(parse_log_sums((tmp_path / "facts" / "logs.sha256").read_bytes()))


def known(content: bytes) -> tuple[int, str]:
    return len(content), sha256(content).hexdigest()


@pytest.mark.parametrize("content", [b"", b"a\n", b"\0" * 100_000, b"no end"])
def test_both_logs_are_hashed_with_the_bytes_that_were_hashed(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(content)
    (tmp_path / "stderr.log").write_bytes(b"x" + content)
    assert hashed(tmp_path) == {"stdout.log": known(content), "stderr.log": known(b"x" + content)}


def test_a_log_that_was_never_begun_is_not_named(tmp_path: Path) -> None:
    assert hashed(tmp_path) == {}
    (tmp_path / "stderr.log").write_bytes(b"x")
    assert hashed(tmp_path) == {"stderr.log": known(b"x")}


def test_what_is_appended_after_the_hash_is_not_in_the_size(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"first\n")
    appends = tmp_path / "bin" / "sha256sum"
    appends.parent.mkdir()
    appends.write_text(f"#!/bin/sh\n/usr/bin/sha256sum\necho second >>{tmp_path}/stdout.log\n")
    appends.chmod(0o755)
    assert hashed(tmp_path, PATH=f"{appends.parent}:/usr/bin:/bin") == {"stdout.log": known(b"first\n")}
    assert (tmp_path / "stdout.log").read_bytes() == b"first\nsecond\n"


def test_a_log_that_is_cut_is_hashed_when_the_cutter_has_written_all(tmp_path: Path) -> None:
    """limits::log rings for each of the two logs."""
    slow = "log_mib=1; exec {{log_bell}}<> <(:); (sleep 0.5; echo late) | limits::log >>{0}/stdout.log & "
    quick = "limits::log </dev/null >>{0}/stderr.log; "
    assert hashed(tmp_path, slow + quick + KEEP) == {"stdout.log": known(b"late\n"), "stderr.log": known(b"")}


def test_a_log_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").mkdir()
    bash(tmp_path, KEEP.format(tmp_path))
    assert not (tmp_path / "facts" / "logs.sha256").exists()
    assert "could not be read" in (tmp_path / "facts" / "logs.sha256.error").read_text()


def test_a_job_that_is_being_stopped_does_not_wait_for_a_large_log(tmp_path: Path) -> None:
    script = LOGS + "stopped=TERM TFSLURM_KILL_WAIT=1; sleep 30 & log_sums=$!; SECONDS=0; logs::wait; ((SECONDS < 9))"
    assert "unbound" not in bash(tmp_path, script.format(tmp_path))
    assert "the job was being stopped" in (tmp_path / "facts" / "logs.sha256.error").read_text()


# ------------------------------------------------------------------------------------------------------ in the record


def line(rank: str, content: bytes = b"x") -> bytes:
    size, sum_ = known(content)
    return f"{size} {sum_} stdout{rank}.log\n0 {known(b'')[1]} stderr{rank}.log\n".encode()


def built(name: str, **sums: bytes) -> Record:
    """The record of a case, where these tasks (``task_1``) left sums."""
    source = case(name)
    own = {f"attempt-1/facts/{task.replace('_', '-')}/logs.sha256": raw for task, raw in sums.items()}
    return source.build(files={**source.files, **own})


def test_the_record_has_the_logs_of_each_task_by_rank() -> None:
    (attempt,) = built("tasks", task_0=line(""), task_1=line(".1", b"yz")).attempts
    assert attempt.logs is not None
    assert [log.name for log in attempt.logs] == ["stdout.log", "stderr.log", "stdout.1.log", "stderr.1.log"]
    assert attempt.logs[2] == Log("stdout.1.log", *known(b"yz"))


def test_a_task_that_was_killed_has_its_logs_with_the_reason() -> None:
    record = built("tasks", task_1=line(".1"))
    logs = record.attempts[0].logs
    assert logs is not None and (logs[0], logs[3].bytes) == (Log("stdout.log", None, None), 0)
    for place in (0, 1):
        assert record.unknown[f"attempts[0].logs[{place}].sha256"] == "logs.sha256 was not written"
    assert record_from_json(record_json(record)) == record


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "logs.sha256 was not written"),
        (b"1 2 stdout.log\n", "no hash in"),
        (line("")[:-20], "no hash in"),
        (b"1 " + b"0" * 64 + b" ../../exp.yaml\n", "no hash in"),
    ],
)
def test_logs_that_were_not_hashed_are_null_with_the_reason(raw: bytes | None, why: str) -> None:
    record = built("gpu", **({"task_0": raw} if raw else {}))
    assert record.attempts[0].logs is None
    assert why in record.unknown["attempts[0].logs"]


def test_a_task_without_a_container_printed_nothing() -> None:
    record = case("refused").build()
    assert record.attempts[0].logs == ()
    assert not [path for path in record.unknown if "logs" in path]
    assert TASK + "logs.sha256" not in case("refused").files
