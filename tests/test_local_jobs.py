"""A job of this machine, from its first moment on."""

from __future__ import annotations

import signal
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tfslurm.submission import local


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
