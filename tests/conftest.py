"""For the whole suite: a skipped test is a failed run, and a unit test starts none of the programs of a cluster.

Only root can give a file away, say: an ordinary user sees those tests skipped, and CI, which is root, runs them.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.typed import Type, typed_in

PROGRAMS = ("ssh", "docker", "podman", "sbatch", "squeue", "sacct", "scontrol", "scancel", "srun")
WITH_THE_BED = ("cluster", "faults", "bench")


def pytest_configure() -> None:
    """Let tests of Ctrl-C pass where the tests were started in the background, by a shell that has SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have Python search for what is out of reach neither while the tests are collected, nor among them afterwards.

    They stay to the end. Else a sixth of the time of `make test-unit` goes into that.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


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
    """A folder of programs that do nothing but note, in `started` there, that they were started.

    `ssh -G`, which reads files and reaches nobody, is answered as by an ssh that is too old for it.
    """
    folder = tmp_path_factory.mktemp("real")
    (folder / "started").touch()
    old = "case \" $* \" in *' -G '*) echo 'unknown option -- G' >&2; exit 255 ;; esac"
    for name in PROGRAMS:
        note = f"printf '%s\\n' \"{name} $*\" >>'{folder}/started'"
        before = f"{old}\n" if name == "ssh" else ""
        (folder / name).write_text(f"#!/bin/sh\n{before}{note}\necho '{name}: not in a unit test' >&2\nexit 127\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A user's machine with one cluster, whose Slurm is a stand-in."""
    return Laptop.made(tmp_path, monkeypatch)


@pytest.fixture
def typed(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Commands that are typed there."""
    return typed_in(laptop.folder, {}, monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _only_root_gives_files_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip, for an ordinary user, a test that gives a file to another one."""
    give = os.chown

    def chown(path: str | Path, uid: int, gid: int, **more: Any) -> None:
        try:
            give(path, uid, gid, **more)
        except PermissionError:
            pytest.skip("only root can give a file away")

    if os.geteuid() != 0:
        monkeypatch.setattr(os, "chown", chown)


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
