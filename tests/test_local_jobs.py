"""A job of this machine, from its first moment on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.site import Site
from tfslurm.monitoring.reasons import why
from tfslurm.monitoring.rebuild_tracker import state_of
from tfslurm.submission import local
from tfslurm.tracker import Tracker


def test_a_job_that_is_interrupted_as_it_begins_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is a stand-in: a process that would sleep for minutes."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    for name, answer in (("guard", None), ("refresh", ""), ("start", ("1", process))):
        monkeypatch.setattr(local, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(local, "find_job", lambda *_: SimpleNamespace(key="local:1"))
    session: Any = SimpleNamespace(tracker=None, reach=lambda _: None, say=interrupted)
    known: Any = SimpleNamespace(cluster=SimpleNamespace(name="local", login=None))
    job: Any = None
    try:
        with pytest.raises(KeyboardInterrupt):
            local.begin(session, known, job, {})
        assert process.poll() == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


END = '{"exit_code": 143, "signal": 15, "cause": "stopped", "reason": "stopped by SIGTERM"}'


def test_a_job_that_was_stopped_was_cancelled_also_in_a_tracker_that_was_rebuilt() -> None:
    files = {"attempt-1/exit.json": END.encode()}
    assert (state_of("local", files), state_of("alpha", files)) == ("CANCELLED", "FAILED")


def test_a_job_that_was_stopped_is_cancelled(tmp_path: Path) -> None:
    here = Site(tmp_path, Tracker(tmp_path / "tracker.sqlite"), name="local")
    (job,) = here.submit("1")
    here.ended(job, text=END)
    here.refresh()
    job = here.job("1")
    assert (job.state, job.final, job.status["exit_code"], why(job)) == ("CANCELLED", True, 143, "cancelled")
