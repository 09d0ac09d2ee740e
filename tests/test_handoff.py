"""A submission that is cut anywhere, and the next command: no job is lost, and none is submitted twice.

The command, the tracker, the run folder and the programs of the login node are real; Slurm is tests/fakes/slurm.py.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from tests.fakes.cuts import Killed, Steps
from tests.fakes.desk import Desk
from tests.fakes.laptop import Laptop
from tests.made import CODE, plan
from tfslurm.errors import CommandFailed, HostError, SubmitRejected
from tfslurm.handoff.protocol import Left, hand_over, look_back
from tfslurm.handoff.recovery import settle
from tfslurm.host import File
from tfslurm.job_plan import Points, identify

SUBMIT = ("submit", "exp.yaml", "--cluster", "alpha")
PARTS = 4  # of the steps, so that several processes take turns


@dataclass(frozen=True)
class Cut:
    """A desk whose commands are cut at a step of the login node's."""

    laptop: Laptop
    steps: Steps

    def submit(self, at: int = 0) -> int:
        """The exit code of the command, killed on the login node before step ``at``, where one is named."""
        self.steps.cut(at)
        self.laptop.describe(self.steps.bin if at else self.laptop.slurm.bin)
        return self.laptop.type(*SUBMIT)

    def is_once(self) -> bool:
        """Whether the job is queued once, and known."""
        ids = self.laptop.slurm.ids()
        return len(ids) == 1 and self.laptop.known_ids() == ids

    def is_tidy(self) -> bool:
        """Whether no run folder but the job's holds anything, least of all the secrets."""
        runs = self.laptop.root / "runs"
        left = [path for path in runs.iterdir() if path.name.startswith(".")]
        return (len(self.laptop.folders()), len(list(runs.glob("*/secrets/TOKEN"))), left) == (1, 1, [])


@pytest.fixture(autouse=True)
def _nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real controller may take in what a killed sbatch said a moment later; the stand-in has it at once."""
    monkeypatch.setattr("tfslurm.handoff.recovery.ON_THE_WAY_S", 0)


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cut:
    """A desk of which each call of ``next_one`` makes another."""
    return next_one(tmp_path, monkeypatch)


def next_one(folder: Path, patch: pytest.MonkeyPatch, **keys: object) -> Cut:
    folder.mkdir(exist_ok=True)
    laptop = Laptop.made(folder, patch)
    steps = Steps.made(folder / "steps", laptop.slurm.bin)
    patch.setenv("TOKEN", "s3cret")
    laptop.experiment(secrets=["TOKEN"], **keys)
    return Cut(laptop, steps)


@pytest.mark.slow
def test_what_is_not_cut_is_one_job(cut: Cut, capsys: pytest.CaptureFixture[str]) -> None:
    assert cut.submit() == 0
    assert (capsys.readouterr().out, cut.is_once()) == ("alpha:101\n", True)
    assert cut.submit() == 1
    assert "the same job is there already: alpha:101 (PENDING)" in capsys.readouterr().err
    assert cut.laptop.type(*SUBMIT, "--again") == 0
    assert cut.laptop.known_ids() == ["101", "102"]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_before_any_step_the_same_command_then_leaves_one_job(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in count(1 + part, PARTS):
        cut = next_one(tmp_path / str(at), monkeypatch, code="code")
        code = cut.submit(at)
        if cut.steps.taken() < at:
            assert (code, at > 20) == (0, True)
            return
        told = capsys.readouterr().out
        if (code, told) == (0, "alpha:101\n"):  # it was queued and told, and looked at: can it start?
            assert at > 20
            return
        assert (code, told) == (1, ""), f"step {at}"
        assert len(cut.laptop.slurm.ids()) <= 1, f"step {at}"
        assert (cut.submit(), capsys.readouterr().out) == (0, "alpha:101\n"), f"step {at}"
        assert cut.is_once(), f"step {at}"
        assert cut.is_tidy(), f"step {at}"


@pytest.mark.slow
@pytest.mark.parametrize("is_queued", [False, True])
@pytest.mark.parametrize("part", range(PARTS))
def test_a_look_back_that_is_killed_before_any_step_loses_nothing_either(
    part: int, is_queued: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in count(1 + part, PARTS):
        cut = next_one(tmp_path / str(at), monkeypatch)
        sbatch = (cut.laptop.slurm.bin / "sbatch").read_text()
        real = sbatch.splitlines()[-1].removeprefix("exec ")
        cut.laptop.slurm.program("sbatch", f"{real if is_queued else ':'}; kill -9 0")
        assert cut.submit() == 1
        assert len(cut.laptop.slurm.ids()) == is_queued
        (cut.laptop.slurm.bin / "sbatch").write_text(sbatch)
        capsys.readouterr()
        cut.steps.cut(at)
        cut.laptop.describe(cut.steps.bin)
        cut.laptop.type("status")
        is_past = cut.steps.taken() < at
        assert (cut.submit(), cut.is_once()) == (0, True), f"step {at}"
        assert capsys.readouterr().out.endswith("alpha:101\n"), f"step {at}"
        assert cut.is_tidy(), f"step {at}"
        if is_past:
            return


# ------------------------------------------------------------------------------------ the line is lost, the client dies


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.made(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("accounting", [True, False])
@pytest.mark.parametrize("error", [HostError, Killed])
@pytest.mark.parametrize("arrives", [True, False])
def test_an_answer_that_nobody_heard_is_asked_for_by_the_next_command(
    tmp_path: Path, arrives: bool, error: type[BaseException], accounting: bool
) -> None:
    desk = Desk.made(tmp_path, accounting=accounting)
    made = desk.plan()
    with pytest.raises(error):
        desk.submit(made, desk.host(1, arrives=arrives, error=error))
    assert desk.stages() == ["planned"]
    with pytest.raises(error):
        desk.settle(desk.host(1, arrives=True, error=error))
    assert desk.settle() == ([("101", made.job_name)] if arrives else [])
    assert desk.stages() == ["submitted" if arrives else "refused"]
    assert desk.slurm.ids() == ["101"] * arrives
    assert desk.settle(desk.host(1)) == desk.settle(), "what is settled is asked nobody again"


# -------------------------------------------------------------------------------------- what a run folder says later on


def test_what_was_given_up_before_it_arrived_is_not_submitted_when_it_arrives(desk: Desk) -> None:
    made = desk.plan()
    assert look_back(desk.host(), made) == look_back(desk.host(), made) == Left(is_nothing=True)
    with pytest.raises(CommandFailed, match="it exists already"):
        desk.submit(made, desk.host())
    assert (desk.slurm.ids(), desk.stages()) == ([], ["refused"])


def test_a_look_back_waits_for_an_sbatch_that_is_still_called(desk: Desk, tmp_path: Path) -> None:
    sbatch = (desk.slurm.bin / "sbatch").read_text().splitlines()[-1]
    desk.slurm.program("sbatch", f"until [ -e {tmp_path}/asked ]; do sleep 0.01; done; {sbatch}")
    real = shutil.which("flock")
    desk.slurm.program("flock", f'[ "$1" = 9 ] && : >{tmp_path}/began || : >{tmp_path}/asked; exec {real} "$@"')
    made = desk.plan()
    files = {"job.sbatch": File(b"#!/bin/sh\n", 0o700)}
    first = Thread(target=hand_over, args=(desk.host(), made, files))
    first.start()
    while not (tmp_path / "began").exists():
        assert first.is_alive()
    assert look_back(desk.host(), made) == Left("101")
    first.join()
    desk.slurm.program("flock", "exit 75")
    with pytest.raises(HostError, match="sbatch is still being called there; try again in a moment"):
        look_back(desk.host(), made)


def test_a_plan_that_another_process_submits_at_this_moment_is_left_to_it(desk: Desk) -> None:
    made = desk.plan()
    desk.tracker.plan(made, "")
    with desk.tracker.claim(made.plan_id) as mine:
        assert mine
        assert desk.settle(desk.host(1)) == []
    assert desk.stages() == ["planned"]
    assert desk.settle() == []
    assert desk.stages() == ["refused"]


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (["101"], Left("101")),
        (["101_0", "101_7"], Left("101")),
        (["101", "102"], Left()),
        (["0"], Left()),
        ([], Left()),
    ],
)
def test_a_job_that_began_has_a_folder_of_its_own(desk: Desk, folders: list[str], found: Left) -> None:
    made = desk.plan()
    run = Path(made.run_dir)
    run.mkdir(parents=True)
    for name in ("sbatch.began", "job.sbatch"):
        (run / name).touch()
    for name in folders:
        (run / name).mkdir()
    assert look_back(desk.host(), made) == found


def test_a_controller_that_is_silent_leaves_the_plan_for_later(desk: Desk) -> None:
    made = desk.plan()
    desk.slurm.silent(True)
    with pytest.raises(HostError, match=r"Unable to contact .*; the plan .* is kept: run the same") as said:
        desk.submit(made, desk.host())
    assert said.value.transient
    with pytest.raises(HostError, match="Unable to contact slurm controller"):
        desk.settle()
    assert desk.stages() == ["planned"]
    desk.slurm.silent(False)
    assert desk.settle() == []
    assert desk.stages() == ["refused"]


REMOVALS = {"fails": "echo 'rm: cannot remove: Read-only file system' >&2; exit 1", "is killed": "kill -9 $PPID"}


@pytest.mark.slow
@pytest.mark.parametrize("removal", REMOVALS)
def test_a_run_folder_that_cannot_be_removed_keeps_its_plan_open(removal: str, desk: Desk) -> None:
    """A job that appears after all would run in it, beside the one that is submitted next."""
    made = identify(replace(desk.plan(), secrets=("TOKEN",)))
    desk.slurm.program("sbatch", "kill -9 $$")
    with pytest.raises(HostError):
        desk.submit(made, desk.host())
    real = shutil.which("rm")
    desk.slurm.program("rm", f'case "$*" in *.{made.run_dir.name}.*) exec {real} "$@" ;; esac; {REMOVALS[removal]}')
    for _ in range(2):
        with pytest.raises(HostError, match="could not be removed and stays, with the values of TOKEN: ") as said:
            desk.settle()
        assert "remove it there, and run the same command again" in str(said.value)
        assert desk.stages() == ["planned"]
    (desk.slurm.bin / "rm").unlink()
    assert (desk.settle(), desk.stages(), Path(made.run_dir).exists()) == ([], ["refused"], False)


@pytest.mark.parametrize("is_lost", [False, True])
def test_sbatchs_refusal_is_told_with_the_run_folder_that_could_not_be_removed(is_lost: bool, desk: Desk) -> None:
    made = identify(replace(desk.plan(), secrets=("TOKEN",)))
    desk.slurm.program("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos' >&2; exit 1")
    desk.slurm.program("rm", REMOVALS["fails"])
    words = "may still be there" if is_lost else "could not be removed and stays, with the values of TOKEN: rm: cannot"
    with pytest.raises(SubmitRejected, match=f"Invalid qos.*{made.run_dir} {words}"):
        desk.submit(made, desk.host(2 if is_lost else 0))
    assert desk.stages() == ["refused"]


def test_a_job_that_ended_and_was_forgotten_is_found_by_its_name_in_accounting(desk: Desk) -> None:
    made = desk.plan()
    with pytest.raises(Killed):
        desk.submit(made, desk.host(1, arrives=True, error=Killed))
    (Path(made.run_dir) / "sbatch.answer").unlink()
    desk.slurm.end("101")
    desk.slurm.forget("101")
    (left,) = desk.tracker.plans()
    assert settle(left, desk.host()) == "101"
    assert set(desk.slurm.calls()) == {"sbatch", "squeue", "sacct"}


def test_the_id_of_another_job_in_a_run_folder_is_a_doubt(desk: Desk) -> None:
    made = desk.plan()
    with pytest.raises(Killed):
        desk.submit(made, desk.host(1, arrives=True, error=Killed))
    (Path(made.run_dir) / "sbatch.answer").write_text("7\n")
    (left,) = desk.tracker.plans()
    assert settle(left, desk.host(), others=["7"]) == "101"
    assert settle(left, desk.host()) == "7", "nobody else has it"


def test_an_array_is_one_job_to_whoever_looks_for_it(desk: Desk) -> None:
    made = desk.plan(points=Points("s-1", 3, "x"), parameters={})
    script = f"#!/bin/sh\n#SBATCH --job-name={made.job_name}\n#SBATCH --array=0-2\n"
    with pytest.raises(Killed):
        desk.submit(made, desk.host(1, arrives=True, error=Killed), script)
    (Path(made.run_dir) / "sbatch.answer").unlink()
    desk.slurm.start("101_1")
    assert [job_id for job_id, _ in desk.settle()] == ["101_0", "101_1", "101_2"]


def test_a_cluster_without_the_code_says_so_and_one_with_half_of_it_too(desk: Desk) -> None:
    made = plan(cluster=desk.known.cluster, code=CODE)
    assert hand_over(desk.host(), made, {}) is None
    Path(str(made.code_dir)).mkdir(parents=True)
    with pytest.raises(CommandFailed, match="holds 0 of its 2 files; was it cleaned up"):
        hand_over(desk.host(), made, {})
    assert desk.slurm.ids() == []


@pytest.mark.slow
def test_code_that_was_cleaned_up_since_it_was_sent_is_sent_again(cut: Cut, capsys: pytest.CaptureFixture[str]) -> None:
    cut.laptop.experiment(code="code", secrets=["TOKEN"])
    assert cut.submit() == 0
    (tree,) = (path for path in (cut.laptop.root / "code").iterdir() if path.is_dir())
    subprocess.run(["chmod", "-R", "u+w", tree], check=True)
    shutil.rmtree(tree)
    assert cut.laptop.type(*SUBMIT, "--again") == 0
    assert (capsys.readouterr().out, tree.is_dir()) == ("alpha:101\nalpha:102\n", True)
