"""Arrays of a sweep are sent as many as a site takes, and the rest by the next command: each point once."""

from __future__ import annotations

import hashlib
import shlex
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.cuts import Killed
from tests.fakes.desk import Desk
from tests.fakes.laptop import Laptop
from tests.made import SWEEP, array, entries, session
from tfslurm.errors import CommandFailed, HostError, SubmitRejected, Untracked
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan, identify
from tfslurm.submission.image_archive import ImageArchive
from tfslurm.submission.prepare import pinned, read_with
from tfslurm.submission.sweep_batches import Wave, room_at, send_one, send_wave
from tfslurm.submission.sweep_submit import submit_sweep
from tfslurm.tracker import Tracker
from tfslurm.workspace.clock import now

REFUSAL = "echo 'sbatch: error: Batch job submission failed: Invalid account specified' >&2; exit 1"


@pytest.fixture(autouse=True)
def _nothing_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stand-in for sbatch took is in its queue at once: nobody need wait before the second question."""
    monkeypatch.setattr("tfslurm.handoff.recovery.ON_THE_WAY_S", 0)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Three arrays of two points each wait for `alpha`."""
    desk = Desk.made(tmp_path)
    some = entries(6)
    plans = [(part(desk, number), "", some[2 * number : 2 * number + 2]) for number in range(3)]
    desk.tracker.sweeps.add(SWEEP, plans)
    return desk


def part(desk: Desk, number: int) -> JobPlan:
    made = array(entries(6)[2 * number : 2 * number + 2])
    moment = f"{now()[:17]}{number:02d}.123456Z"
    return identify(replace(made, root=str(desk.known.cluster.root), code=None, planned_at=moment))


def send(desk: Desk, host: Host | None = None, told: list[str] | None = None, tracker: Tracker | None = None) -> Wave:
    heard = [] if told is None else told
    return send_wave(
        SWEEP, desk.known, tracker or desk.tracker, host or desk.host(), code=None, secrets=none, told=heard.append
    )


def none(names: tuple[str, ...]) -> Mapping[str, str]:
    """The values of no secrets."""
    assert names == ()
    return {}


def arrays(desk: Desk) -> list[str]:
    return [str(job["array"]) for job in desk.slurm.jobs()]


def test_all_that_fits_is_sent_and_each_job_is_told_at_once(desk: Desk) -> None:
    told: list[str] = []
    assert send(desk, told=told) == Wave(("alpha:101", "alpha:102", "alpha:103"), 0)
    assert told == ["alpha:101", "alpha:102", "alpha:103"]
    assert arrays(desk) == ["0-1%5"] * 3
    assert [job.job_id for job in desk.tracker.jobs()] == ["101_0", "101_1", "102_0", "102_1", "103_0", "103_1"]
    assert send(desk) == Wave((), 0)
    assert {point.entry.id for point in desk.tracker.sweeps.points(SWEEP.sweep_id) if point.job} == {
        entry.id for entry in entries(6)
    }


@pytest.mark.slow
def test_what_a_site_takes_no_more_of_waits_for_the_next_wave(desk: Desk) -> None:
    desk.slurm.limit(4)
    assert send(desk) == Wave(("alpha:101", "alpha:102"), 2)
    assert send(desk) == Wave((), 2)
    assert desk.stages() == ["refused", "refused", "submitted", "submitted"]
    desk.slurm.end("101")
    assert send(desk) == Wave(("alpha:103",), 0)
    assert (arrays(desk), desk.tracker.sweeps.waiting()) == (["0-1%5"] * 3, [])


def test_any_other_refusal_ends_the_wave_and_the_points_wait(desk: Desk) -> None:
    desk.slurm.program("sbatch", REFUSAL)
    with pytest.raises(SubmitRejected, match="sbatch refused digits: exit 1: Invalid account specified"):
        send(desk)
    assert sum(len(desk.tracker.sweeps.entries(each.plan.plan_id)) for each in desk.tracker.sweeps.waiting()) == 6
    assert list(Path(str(desk.known.cluster.root), "runs").iterdir()) == [], "it may hold secrets"


@pytest.mark.slow
@pytest.mark.parametrize("error", [HostError, Killed])
@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_wave_that_is_cut_goes_on_where_it_was(
    desk: Desk, at: int, arrives: bool, error: type[BaseException]
) -> None:
    told: list[str] = []
    with pytest.raises(error):
        send(desk, desk.host(at, arrives=arrives, error=error), told)
    assert told == [f"alpha:{100 + number}" for number in range(1, at)]
    desk.settle()
    assert send(desk).left == 0
    assert desk.slurm.ids() == ["101", "102", "103"]
    points = desk.tracker.sweeps.points(SWEEP.sweep_id)
    assert sorted(str(point.job and point.job.job_id) for point in points) == [
        *("101_0", "101_1", "102_0", "102_1", "103_0", "103_1")
    ]


@pytest.mark.slow
def test_two_commands_at_once_send_each_array_once(desk: Desk) -> None:
    waves: list[Wave] = []

    def other() -> None:
        tracker = Tracker(desk.tracker.path)
        waves.append(send(desk, tracker=tracker))
        tracker.close()

    threads = [threading.Thread(target=other) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(wave.jobs) for wave in waves) == [0, 3]
    assert desk.slurm.ids() == ["101", "102", "103"]


def test_a_plan_that_another_process_sends_or_has_sent_is_left_to_it(desk: Desk) -> None:
    first, *_ = desk.tracker.sweeps.waiting()
    with desk.tracker.claim(first.plan.plan_id):
        other = Tracker(desk.tracker.path)
        assert send_one(SWEEP, first, desk.known, other, desk.host(), code=None, secrets=none) is None
        other.close()
    assert send_one(SWEEP, first, desk.known, desk.tracker, desk.host(), code=None, secrets=none) == "101"
    assert send_one(SWEEP, first, desk.known, desk.tracker, desk.host(), code=None, secrets=none) is None


def test_a_job_that_the_tracker_could_not_keep_is_told_all_the_same(desk: Desk) -> None:
    real = (desk.slurm.bin / "sbatch").read_text().splitlines()[-1].removeprefix("exec ")
    desk.slurm.program("sbatch", f"{real} && printf damaged >{shlex.quote(str(desk.tracker.path))}")
    told: list[str] = []
    with pytest.raises(Untracked, match="alpha:101 was submitted, and the tracker does not know it"):
        send(desk, told=told)
    assert told == ["alpha:101"]


@pytest.mark.slow
def test_a_machine_that_refuses_the_run_folder_has_called_no_sbatch(desk: Desk) -> None:
    Path(str(desk.known.cluster.root)).write_text("a file")
    with pytest.raises(CommandFailed):
        send(desk)
    assert (desk.slurm.calls(), len(desk.tracker.sweeps.waiting())) == ([], 3)
    Path(str(desk.known.cluster.root)).unlink()
    assert send(desk).left == 0


def test_a_cluster_whose_room_is_not_understood_has_no_known_room(desk: Desk) -> None:
    desk.slurm.program("sinfo", "echo nonsense")
    assert room_at(part(desk, 0), desk.host()) is None


def test_a_sweep_is_submitted_in_waves_by_the_command_and_each_point_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    file = laptop.experiment(
        command=["python", "train.py", "--lr={{ lr }}"],
        sweep={"grid": {"lr": [1, 2, 3]}, "points_per_job": 2, "max_parallel": 1},
        template="own.sbatch.j2",
    )
    (laptop.folder / "own.sbatch.j2").write_text('{% extends "job.sbatch.j2" %}')
    laptop.slurm.silent(True)
    assert laptop.type("submit", file) == 1
    assert (laptop.slurm.jobs(), capsys.readouterr().out) == ([], "")
    laptop.slurm.silent(False)
    assert laptop.type("submit", file) == 0
    assert capsys.readouterr().out == "alpha:101\n"
    assert [job["array"] for job in laptop.slurm.jobs()] == ["0-1%1"]
    assert laptop.known_ids() == ["101_0.0", "101_0.1", "101_1.2"]
    assert laptop.type("submit", file) == 1
    assert len(laptop.slurm.jobs()) == 1


def test_a_sweep_brings_the_archive_of_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    laptop.experiment(command=["python", "train.py", "{{ lr }}"], sweep={"grid": {"lr": [1, 2]}})
    data = b"an archive of the image"
    digest = hashlib.sha256(data).hexdigest()
    asked = read_with(Path("exp.yaml"), {}, sweeps=True)
    known_pin = pinned(asked)
    assert known_pin
    asked = asked._replace(archive=ImageArchive(known_pin, digest, len(data), lambda: iter([data])))
    user = session(laptop.tracker)
    submit_sweep(user, asked, [laptop.known], force=False, again=False, told=print, shown=lambda sweep, jobs: None)
    assert laptop.slurm.ids() == ["101"]
    assert (laptop.root / "images" / f"{digest}.tar").read_bytes() == data
