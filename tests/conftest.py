"""For the whole suite: a skipped test is a failed run, and a unit test starts none of the programs of a cluster.

Only root can give a file away, say: an ordinary user sees those tests skipped, and CI, which is root, runs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = ("ssh", "docker", "podman", "sbatch", "squeue", "sacct", "scontrol", "scancel", "srun")
WITH_THE_BED = ("cluster", "faults", "bench")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were skipped."""
    for report in terminalreporter.stats.get("skipped", []) if os.geteuid() == 0 else ():
        terminalreporter.write_line(f"SKIPPED, which counts as failed: {report.nodeid}", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail root's run when a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.geteuid() == 0
        and reporter is not None
        and reporter.stats.get("skipped")
        and exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def real_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that do nothing but note, in `started` there, that they were started."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "started").touch()
    for name in PROGRAMS:
        note = f"printf '%s\\n' \"{name} $*\" >>'{folder}/started'"
        (folder / name).write_text(f"#!/bin/sh\n{note}\necho '{name}: not in a unit test' >&2\nexit 127\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _no_real_program(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, real_programs: Path
) -> Iterator[None]:
    """Fail a unit test that starts a program of a cluster by its name; its fakes come before these on PATH."""
    if request.path.parent.name in WITH_THE_BED:
        yield
        return
    monkeypatch.setenv("PATH", f"{real_programs}:{os.environ['PATH']}")
    yield
    refuse_started(real_programs)


def refuse_started(folder: Path) -> None:
    """Fail the test that started one of these programs."""
    started = (folder / "started").read_text()
    if started:
        (folder / "started").write_text("")
        pytest.fail(f"a unit test started what only a cluster has; use tests/fakes: {started}", pytrace=False)
