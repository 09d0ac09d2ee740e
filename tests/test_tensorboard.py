"""TensorBoard for runs: its experiment, the names of its runs, and what it is shown of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import PIN
from tests.test_channels import INSIDE
from tests.typed import Type
from tfslurm.errors import InputError, TfslurmError
from tfslurm.monitoring.lookup import find_job
from tfslurm.services.beside import by_digest, by_source
from tfslurm.services.service import serving
from tfslurm.services.shown_runs import MOST, Run, labels_of
from tfslurm.services.tensorboard import board_of
from tfslurm.snapshot.left_out import MARKER, marker
from tfslurm.submission.once import prepared_for
from tfslurm.submission.pinning import lock_sha256
from tfslurm.workspace.session import Session


def begun(laptop: Laptop, typed: Type, **keys: Any) -> str:
    """A job whose outputs are there."""
    done = typed("submit", laptop.experiment(outputs="/out", **keys), "--again")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    (folder,) = laptop.root.glob(f"runs/{find_job(laptop.tracker, job).job_name}")
    (folder / job.partition(":")[2] / "out").mkdir(parents=True)
    return job


@pytest.mark.slow
def test_its_job_has_the_runs_image_and_mounts_their_outputs_read_only(laptop: Laptop, typed: Type) -> None:
    said: list[str] = []
    jobs = [begun(laptop, typed), begun(laptop, typed)]
    later = typed("submit", laptop.experiment(outputs="/out"), "--again").stdout.strip()
    with Session(said.append) as session:
        asked, known, service = board_of(session, [*jobs, jobs[0], later], ["resources.memory=3G"], 60)
        (prepared,) = prepared_for(session, serving(asked, service), [known])
    plan, of_run = prepared.plan, laptop.tracker.plans(plan_id=find_job(laptop.tracker, jobs[0]).plan_id)[0].plan
    assert said == [f"note: 1 of 3 runs have no outputs yet, such as {later}"]
    assert (plan.name, plan.pin.digest, plan.resources.gpus) == ("tensorboard", of_run.pin.digest, 0)
    assert plan.resources.memory_mib == 3072
    assert [(each.run, each.target, each.read_only) for each in plan.mounts] == [
        (f"run:{job}/out", f"/runs/{at}", True) for at, job in enumerate(jobs)
    ]
    names = [f"digits-{job.partition(':')[2]}" for job in jobs]
    words = [json.dumps([name, {}]) for name in names]
    assert list(plan.command[-5:]) == ["/run/tfslurm-service.py", "tensorboard", "60", *words]


def test_what_has_no_outputs_and_what_a_board_cannot_be_is_refused(laptop: Laptop, typed: Type) -> None:
    waits = typed("submit", laptop.experiment(outputs="/out")).stdout.strip()
    done = typed("tensorboard", waits)
    assert (done.returncode, f"{waits}: has no outputs yet (PENDING); try again" in done.stderr) == (1, True), done
    kept_nothing = typed("submit", laptop.experiment()).stdout.strip()
    done = typed("tensorboard", kept_nothing)
    assert (done.returncode, "kept nothing: its experiment had no `outputs`" in done.stderr) == (2, True), done
    done = typed("tensorboard", waits, "--set", "image=other")
    assert (done.returncode, "no key of a TensorBoard's job; it takes resources.gpus," in done.stderr) == (2, True), (
        done
    )
    assert typed("tensorboard", "4711").returncode == 2
    assert typed("tensorboard", waits, "--idle-after", "soon").returncode == 2
    assert [each for each in laptop.folders() if "tensorboard" in each] == []


def test_runs_of_two_places_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = SimpleNamespace(tracker=None)

    def named(*clusters: str) -> None:
        found = [SimpleNamespace(key=f"{each}:{at}", cluster=each) for at, each in enumerate(clusters)]
        monkeypatch.setattr("tfslurm.services.shown_runs.find_jobs", lambda *_: found)

    for clusters, why in (
        (("alpha", "beta"), r"in several places \(alpha, beta\), and .*; name the runs of one; or `tfslurm fetch` all"),
        (("alpha", "local"), r"in several places \(alpha, local\)"),
        (("alpha",) * (MOST + 1), f"are {MOST + 1}, and {MOST} is the most"),
    ):
        named(*clusters)
        with pytest.raises(InputError, match=why):
            board_of(session, ["x"], (), 0)


def test_an_answer_that_is_none_is_no_silence(laptop: Laptop, typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begun(laptop, typed)
    host = SimpleNamespace(run_bytes=lambda *_, **__: b"Welcome!d")
    monkeypatch.setattr(Session, "reach", lambda *_: host)
    with Session(print) as session, pytest.raises(TfslurmError, match="the answer about files cannot be read"):
        board_of(session, [job], (), 0)


def test_an_image_is_named_by_its_digest_and_what_was_confirmed_stays_so(laptop: Laptop) -> None:
    tracker = laptop.tracker
    assert not tracker.knows_lock(lock_sha256(by_digest(tracker, PIN)))
    tracker.note_lock(lock_sha256(PIN), "2026-11-29T07:00:00Z")
    named = by_digest(tracker, PIN)
    assert (named.reference.endswith(f"@{PIN.digest}"), named.tag, named.digest) == (True, "", PIN.digest)
    assert tracker.knows_lock(lock_sha256(named))


def labels(*values: dict[str, Any]) -> list[str]:
    found: list[Any] = [
        Run(f"digits-{at}", each, SimpleNamespace(job_id=str(at)))  # type: ignore[arg-type]
        for at, each in enumerate(values)
    ]
    return labels_of(found)


def test_a_run_has_the_name_of_what_is_special_about_it() -> None:
    assert labels({"lr": 0.1, "n": 1}, {"lr": 0.2, "n": 1}) == ["lr=0.1", "lr=0.2"]
    assert labels({"lr": 0.1}, {"lr": 0.1}) == ["digits-0", "digits-1"]
    assert labels({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 3}) == ["b=2", "b=3,job=1", "b=3,job=2"]
    assert labels({"p": "../a b/$(x)"}, {"p": "é"}) == ["p=.._a_b_x_", "p=_"]
    assert labels({"p": "A"}, {"p": "a"}) == ["p=A,job=0", "p=a,job=1"], "a file system may not tell them apart"
    twins: list[dict[str, Any]] = [{"p": 1}, {"p": 1}, {"p": "1,job=0"}, {"p": "1,job=1"}, {"p": "1,job=1,1"}]
    assert len(set(labels(*twins))) == len(twins), "a run may be called as another one becomes"
    assert max(map(len, labels({"p": "x" * 999}, {"p": "y" * 999}))) < 200


def shown(laptop: Laptop, *names: str, sets: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """The runs of a TensorBoard here, with their parameters, and the folders that are mounted."""
    with Session(print) as session:
        board = board_of(session, names, sets, 60)
        (prepared,) = prepared_for(session, serving(board.asked, board.service), [board.known])
    assert board.is_here
    return [json.loads(each) for each in board.service.words], [each.source for each in prepared.plan.mounts]


def test_folders_of_this_machine_have_the_names_and_parameters_of_what_was_fetched(laptop: Laptop, typed: Type) -> None:
    file = laptop.experiment(outputs="/out", command=["true", "{{ lr }}"], sweep={"grid": {"lr": [0.1, 0.2]}})
    assert typed("submit", file).returncode == 0
    (sweep,) = laptop.tracker.sweeps.all()
    job = begun(laptop, typed, command=["true", "{{ lr }}"], parameters={"lr": 0.3})
    here = laptop.folder
    for name, text in (("all/points", marker(sweep.sweep_id)), ("all/one", marker(job)), ("all/none", "")):
        (here / name).mkdir(parents=True)
        (here / name / MARKER).write_text(text)
    for name in ("lr=0.1", "lr=0.2", "mine"):
        (here / "all/points" / name).mkdir()
    one, *points = (str(here / "all" / each) for each in ("one", "points/lr=0.1", "points/lr=0.2", "points/mine"))
    named = [["lr=0.3", {"lr": 0.3}], ["lr=0.1", {"lr": 0.1}], ["lr=0.2", {"lr": 0.2}], ["mine", {}]]
    assert shown(laptop, "all") == (named, [one, *points])
    assert shown(laptop, "./all/points", "all/points") == (named[1:], points), "each once"
    (here / "x").symlink_to("all/one")
    assert shown(laptop, "x") == ([[f"digits-{job.partition(':')[2]}", {"lr": 0.3}]], [one])


def test_a_folder_that_cannot_be_mounted_is_named_and_no_file_of_tfslurms_own(laptop: Laptop, typed: Type) -> None:
    (laptop.folder / "fine").mkdir()
    image = "image=" + PIN.reference
    done = typed("tensorboard", "fine", "/", "--set", image)
    assert done.returncode == 2, done
    assert done.stderr.startswith("error: /: '/' is the whole node, which is never mounted; "), done.stderr
    with Session(print) as session:
        asked = board_of(session, ["fine"], (image,), 60).asked
    found = [asked.experiment.problem(key, "is wrong") for key in (("mounts", 0, "source"), ("image",))]
    with pytest.raises(InputError) as raised, by_source(asked.file, [str(laptop.folder / "fine")]):
        raise InputError(found)
    assert {str(each) for each in raised.value.problems} == {f"{laptop.folder}/fine: is wrong", "--set image: is wrong"}


def test_what_a_marker_says_is_told_as_no_more_than_that(laptop: Laptop, typed: Type) -> None:
    """A stranger may have written it."""
    job, here = begun(laptop, typed), laptop.folder
    said: list[str] = []
    for name in ("all/one", "all/two"):
        (here / name).mkdir(parents=True)
        (here / name / MARKER).write_text(marker(job))
    with Session(said.append) as session:
        board_of(session, ["all/one"], (), 60)
        board_of(session, ["all"], (), 60)
    told = f"note: {here}/all/one is shown as {job}%s: a {MARKER} says so; no file was held against its sum"
    assert said == [told % "", told % ", and 1 more so"]


def test_a_folder_that_no_run_is_known_of_needs_an_image(laptop: Laptop, typed: Type) -> None:
    for name, text in (("logs", ""), ("of/another", marker("alpha:4711")), ("swept", marker("lr-sweep-3fa85f"))):
        (laptop.folder / name / "a").mkdir(parents=True)
        (laptop.folder / name / MARKER).write_text(text)
    done = typed("tensorboard", "logs")
    assert (done.returncode, "no run of yours that left this is known" in done.stderr) == (2, True), done
    assert "--set image=tensorflow/tensorflow:" in done.stderr
    laptop.experiment()  # whose image is pinned here
    image = ("image=" + PIN.reference,)
    folder = str(laptop.folder)
    with pytest.raises(InputError, match=r"is no folder|No such file"):
        shown(laptop, "./gone", sets=image)
    with pytest.raises(InputError, match="neither the id of a job nor"):
        shown(laptop, "gone", sets=image)
    with Session(print) as session:
        for name, runs in (("logs", ["logs"]), ("of", ["another"]), ("swept", ["a"])):
            board = board_of(session, [name], image, 0)
            assert [json.loads(each) for each in board.service.words] == [[each, {}] for each in runs]
            assert board.asked.experiment.image == PIN.reference
            assert all(str(mount.source).startswith(folder) for mount in board.asked.experiment.mounts)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program in the container, as a module."""
    monkeypatch.syspath_prepend(str(INSIDE))
    import board  # type: ignore[import-not-found,unused-ignore]

    yield board
    sys.modules.pop("board")


def test_its_door_lies_beside_it(board: Any) -> None:
    assert board.beside("door").__file__ == str(INSIDE / "door.py")


def test_what_a_run_writes_later_is_linked_and_nothing_else(board: Any, tmp_path: Path) -> None:
    logs, run = tmp_path / "logs" / "lr=0.1", tmp_path / "runs" / "0"
    logs.mkdir(parents=True)
    (run / "train").mkdir(parents=True)
    (run / "model.h5").touch()
    (run / "events.out.tfevents.1.n").touch()
    runs = [["lr=0.1", {}], ["gone", {}]]
    board.link(str(logs.parent), runs, {}, str(run.parent))
    assert sorted(each.name for each in logs.iterdir()) == ["events.out.tfevents.1.n", "train"]
    (run / "late").mkdir()
    board.link(str(logs.parent), runs, {}, str(run.parent))
    assert (logs / "late").resolve() == run / "late"


def test_what_leads_out_of_a_run_hides_nothing_else(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a stranger may have put it into a folder, at its top or deep in it."""
    logs, run, elsewhere = tmp_path / "logs" / "x", tmp_path / "runs" / "0", tmp_path / "elsewhere"
    for each in (logs, elsewhere / "deep", *(run / name for name in ("good/old", "good/new", "deep/er", "twice"))):
        each.mkdir(parents=True)
    (elsewhere / "events.out.tfevents.1.n").touch()
    (run / "root").symlink_to("/")
    (run / "up").symlink_to("..")
    (run / "events.out.tfevents.1.n").symlink_to(elsewhere / "events.out.tfevents.1.n")
    (run / "deep/er/proc").symlink_to("/proc")
    (run / "good/latest").symlink_to("new")
    (run / "good/gone").symlink_to("/job/out/checkpoints")
    (run / "good/python").symlink_to(sys.executable)
    (run / "latest").symlink_to("good")
    for name in ("a", "b"):
        (run / "twice" / name).symlink_to(".")
    monkeypatch.setattr(board, "MOST_ENTRIES", 1000)
    left: dict[str, str] = {}
    for _ in range(2):
        board.link(str(logs.parent), [["x", {}]], left, str(run.parent))
    assert sorted(each.name for each in logs.iterdir()) == ["good", "latest"]
    assert (logs / "good").resolve() == run / "good"
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[3] for line in said] == [
        f"'{name}' is not shown" for name in ("deep", "events.out.tfevents.1.n", "root", "twice", "up")
    ]
    assert said[0].endswith("'er/proc' in it leads out of the run")
    assert said[3].endswith("it holds more than 1000 files, or links that lead in circles")


def test_without_tensorboards_own_code_the_rest_is_shown(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board.note_parameters(str(tmp_path), "lr=0.1", {"lr": 0.1})
    assert "tfslurm: tensorboard: lr=0.1: no parameters for HParams: No module" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_whether_a_run_has_a_file_of_events_is_said_only_where_that_is_certain(board: Any, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1" / "a" / "train").mkdir(parents=True)
    assert not board.has_events(2, str(tmp_path))
    (tmp_path / "1" / "a" / "train" / "events.out.tfevents.1.n").touch()
    assert board.has_events(2, str(tmp_path)) and not board.has_events(1, str(tmp_path))
    (tmp_path / "0" / "elsewhere").symlink_to(tmp_path / "1")
    assert board.has_events(1, str(tmp_path))
    board.STATE = str(tmp_path)
    board.notice(board.NONE)
    assert (tmp_path / "notice").read_text() == board.NONE
