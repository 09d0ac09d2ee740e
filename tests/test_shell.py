"""What a shell completes, what is answered to a command that does not exist, and errors as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop
from tfslurm.cli import COMMANDS

PROGRAM = f"""#!/bin/sh
exec {sys.executable} -m tfslurm "$@"
"""


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    made = Laptop.made(tmp_path, monkeypatch)
    (made.folder / "bin").mkdir()
    (made.folder / "bin" / "tfslurm").write_text(PROGRAM)
    (made.folder / "bin" / "tfslurm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{made.folder}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    return made


def completed(*words: str) -> list[str]:
    """The words that bash would be offered for the last of these."""
    told = {"COMP_WORDS": "\n".join(["tfslurm", *words]), "COMP_CWORD": str(len(words))}
    environment = {**os.environ, **told, "_TFSLURM_COMPLETE": "bash_complete"}
    done = subprocess.run(["tfslurm"], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.slow
def test_jobs_sweeps_clusters_keys_and_states_are_completed(laptop: Laptop) -> None:
    assert laptop.type("submit", laptop.experiment(name="moons")) == 0
    sweep = {"command": ["true", "{{ lr }}"], "sweep": {"grid": {"lr": [1, 2]}}, "parameters": {"depth": 2}}
    assert laptop.type("submit", laptop.experiment(name="many", **sweep)) == 0
    sweep_id = laptop.tracker.sweeps.all()[0].sweep_id
    assert completed("logs", "") == ["last", sweep_id, "many", "moons", "102_1", "102_0", "101"]
    assert completed("wait", "101", "10") == ["102_1", "102_0", "101"]
    assert completed("diff", "many", "10") == ["102_1", "102_0", "101"]
    assert completed("cancel", "alpha:10") == ["alpha:102_1", "alpha:102_0", "alpha:101"]
    assert completed("results", "m") == [sweep_id] and completed("status", "--name", "mo") == ["moons"]
    assert completed("submit", "--cluster", "") == ["alpha"] == completed("check", "al")
    assert completed("submit", "--set", "resources.t") == ["resources.time=", "resources.tasks_per_node="]
    assert completed("plan", "--set", "l") == ["lr="] and completed("plan", "--set", "dep") == ["depth="]
    (laptop.folder / "exp.yaml").rename(laptop.folder / "moons.yaml")
    assert completed("jupyter", "m") == ["moons.yaml", sweep_id, "many", "moons"]
    for words in (
        ("plan", "moons.yaml"),
        ("jupyter", "moons.yaml"),
        ("resume", "many", "./moons.yaml"),
        ("submit", "moons.yaml", "--wait"),
    ):
        assert completed(*words, "--set", "dep") == ["depth="]
    assert completed("submit", "--set", "dep") == []
    assert completed("status", "--state", "OUT") == ["OUT_OF_MEMORY"]
    assert completed("sta") == ["status"] and completed("help", "canc") == ["cancel"]
    assert "--json" in completed("status", "--js")


@pytest.mark.slow
def test_where_anything_is_broken_nothing_is_offered_and_nothing_said(laptop: Laptop) -> None:
    (laptop.folder / "data" / "tfslurm").mkdir(parents=True)
    (laptop.folder / "data" / "tfslurm" / "tracker.sqlite").write_text("no database")
    (laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml").write_text("name: [")
    (laptop.folder / "exp.yaml").write_text("\x00")
    assert completed("logs", "a") == [] and completed("submit", "--set", "slurm.partition=") == []
    assert completed("submit", "--set", "nam") == ["name="]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_reads_what_completion_prints(laptop: Laptop, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert laptop.type("completion", shell) == 0
    script = capsys.readouterr().out
    assert "_TFSLURM_COMPLETE" in script
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n"], input=script, text=True, check=False).returncode == 0
    if shell == "bash":
        ask = 'COMP_WORDS=(tfslurm can) COMP_CWORD=1; _tfslurm_completion tfslurm; echo "${COMPREPLY[*]}"'
        done = subprocess.run(["bash", "-c", script + ask], capture_output=True, text=True, check=False)
        assert done.stdout == "cancel\n", done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hlep", "help"),
        ("st", "status"),
        ("list", "status"),
        ("squeue", "status"),
        ("kil", "cancel"),
        ("Submit", "submit"),
        ("prov", "provenance"),
        ("canecl", "cancel"),
        ("tail", "logs"),
        ("donwload", "fetch"),
    ],
)
def test_a_command_that_is_none_is_answered_with_the_nearest(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], typed: str, meant: str
) -> None:
    for words in ([typed], ["help", typed]):
        assert laptop.type(*words) == 2
        assert f"No such command {typed!r}. Did you mean {meant!r}? `tfslurm help` lists" in capsys.readouterr().err
    assert laptop.type("xyzzy") == 2
    assert "No such command 'xyzzy'. `tfslurm help` lists the commands." in capsys.readouterr().err


def test_help_is_a_command_and_makes_the_manual_page(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    assert laptop.type("--help") == 0
    whole = capsys.readouterr().out
    assert laptop.type("help") == 0
    assert capsys.readouterr().out.split() == whole.split()
    assert laptop.type("help", "status") == 0
    assert "Usage: tfslurm status" in capsys.readouterr().out
    assert laptop.type("help", "--man") == 0
    page = capsys.readouterr().out
    assert all(f".SS tfslurm {name}\n" in page for name in COMMANDS) and ".SS tfslurm tracker rebuild\n" in page
    if man := shutil.which("groff"):
        done = subprocess.run([man, "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=True)
        assert "--requeue" not in done.stderr and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "kind", "holds"),
    [
        (["plan", "absent.yaml"], 2, "InputError", "cannot be read"),
        (["plan", "exp.yaml", "--set", "gpu=3"], 2, "InputError", "nothing uses it"),
        (["logs", "77"], 2, "InputError", "is not in the tracker"),
        (["status", "--sate"], 2, "NoSuchOption", "--sate"),
        (["wait"], 2, "MissingParameter", "JOB"),
        (["completion"], 2, "MissingParameter", "zsh"),
        (["submit", "exp.yaml"], 1, "SubmitRejected", "sbatch"),
        (["hlep"], 2, "UsageError", "Did you mean"),
    ],
)
def test_an_error_is_a_document_too(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], words: list[str], code: int, kind: str, holds: str
) -> None:
    laptop.experiment()
    laptop.slurm.program("sbatch", "echo 'sbatch: error: no' >&2; exit 1")
    assert laptop.type(*words, "--json") == code
    told = capsys.readouterr()
    (error,) = json.loads(told.out).values()
    assert (error["kind"], error["exit_code"]) == (kind, code) and holds in error["message"]
    assert told.err and "\\t" not in told.err and (kind != "InputError" or error["problems"][0]["why"])
    assert laptop.type(*words) == code
    assert capsys.readouterr().out == ""


def test_the_current_folders_file_is_the_experiment(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "pin", "submit", "run", "rehearse"):
        assert laptop.type(command) == 2
        assert (
            "there is no exp.yaml in this folder; name the file, or write one: `tfslurm init`"
            in capsys.readouterr().err
        )
    laptop.experiment(name="here")
    assert laptop.type("plan", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "here"


def test_logs_of_a_task_or_an_attempt_that_is_not_there_are_refused(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptop.type("submit", laptop.experiment(resources={"nodes": 2, "tasks_per_node": 1, "cpus": 1})) == 0
    assert laptop.type("submit", laptop.experiment(name="one")) == 0
    laptop.slurm.end("102")
    (folder,) = (laptop.root / "runs").glob("one-*")
    (folder / "102" / "attempt-1").mkdir(parents=True)
    (folder / "102" / "attempt-1" / "stdout.log").write_text("it ran\n")
    (folder / "102" / "latest").symlink_to("attempt-1")
    capsys.readouterr()
    for words, why in (
        (["101", "--rank", "2"], "--rank 2: job alpha:101 has 2 tasks, from 0 to 1; leave out --rank"),
        (["102", "--rank", "3"], "--rank 3: job alpha:102 has 1 task: 0; leave out --rank"),
        (["102", "--attempt", "7"], "--attempt 7: job alpha:102 has 1 attempt; leave out --attempt"),
        (["101", "--attempt", "1"], "--attempt 1: job alpha:101 has no attempt yet; "),
    ):
        for more in ([], ["--json"], ["-f"]):
            assert laptop.type("logs", *words, *more) == 2
            assert why in capsys.readouterr().err
    assert laptop.type("logs", "102", "--attempt", "1") == 0
    assert capsys.readouterr().out == "it ran\n"
    shutil.rmtree(folder)
    assert laptop.type("logs", "one") == 1
    told = capsys.readouterr()
    assert "alpha:102: " in told.err and "run folder is not there" in told.err and "wrote nothing" not in told.err
