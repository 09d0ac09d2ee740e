"""A sweep as arrays: what is planned, what is written down before anything leaves, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.made import CLUSTER, PIN, SWEEP, SWEPT, array, entries, experiment, plan
from tfslurm.cluster import Login
from tfslurm.errors import InputError
from tfslurm.handoff.recovery import close
from tfslurm.job_plan import JobPlan, Points, from_json, identify, to_json
from tfslurm.job_plan.variables import gpu_check
from tfslurm.monitoring.lookup import find_job, find_jobs, find_sweep
from tfslurm.monitoring.rebuild_tracker import Found, rebuild
from tfslurm.retrieval.sweep_record import sweep_record, sweep_text
from tfslurm.spec import Placeholder, Word
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.submit import point_files
from tfslurm.submission.sweep_arrays import entries_of, parts_of, points_of
from tfslurm.submission.sweep_rebalance import unsent
from tfslurm.sweeps.points import sweep_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedPlan, Tracker
from tfslurm.workspace.config import Known

LATER = "2026-11-23T08:00:00.000000Z"


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "tracker.sqlite")


def added(tracker: Tracker, some: Sequence[Entry] = entries()) -> JobPlan:
    made = array(some)
    tracker.sweeps.add(SWEEP, [(made, "text", some)])
    return made


# ----------------------------------------------------------------------------------------------------------------- plan


def test_a_plan_of_points_has_their_array_and_survives_json() -> None:
    made = array(entries())
    assert made.directives["array"] == "0-2%5"
    assert made.directives["output"].endswith("/slurm-%A_%a.out")
    assert made.jobs("17") == ("17_0", "17_1", "17_2")
    assert made.command == ("python", "train.py", "--lr={{ lr }}", "--out", "/out")
    assert made.env == {"PYTHONUNBUFFERED": "1", "SEED": "7"}
    assert from_json(json.loads(json.dumps(to_json(made)))) == made


def test_a_plan_without_points_is_as_it_was_before_there_were_any() -> None:
    made = plan()
    assert "array" not in made.directives
    assert made.jobs("17") == ("17",)
    older = {key: value for key, value in to_json(made).items() if key != "points"}
    assert from_json(older) == made


def test_what_is_asked_does_not_depend_on_the_name_of_its_sweep() -> None:
    one, other = array(entries()), array(entries(), sweep_id="digits-ffffff")
    assert (one.plan_sha256, one.plan_id) == (other.plan_sha256, other.plan_id)
    assert array(entries(2)).plan_sha256 != one.plan_sha256
    later = identify(replace(one, planned_at=LATER))
    assert later.plan_id != one.plan_id
    assert later.plan_sha256 == one.plan_sha256


def test_variables_that_change_what_tensorflow_finds_are_looked_at_by_each_task() -> None:
    assert gpu_check(SWEPT) == "cached"
    differ = experiment(env={"TF_X": Word((Placeholder("lr"),))})
    assert gpu_check(differ) == "always"
    assert gpu_check(replace(differ, gpu_check="off")) == "off"


def test_points_have_the_words_and_the_variables_that_differ() -> None:
    asked = experiment(sweep=SWEPT.sweep, env={"LR": Word((Placeholder("lr"),)), "SAME": Word(("x",))})
    made = entries_of(asked, replace(PIN, entrypoint=("/enter",)), sweep_of(asked))
    assert [entry.argv for entry in made] == [
        ("/enter", "python", "train.py", f"--lr={lr}", "--out", "/out") for lr in ("0.1", "0.01", "0.001")
    ]
    assert [entry.env for entry in made] == [{"LR": "0.1"}, {"LR": "0.01"}, {"LR": "0.001"}]


def base(some: Sequence[Entry], most: int = 0) -> Prepared:
    return Prepared(array(some, max_parallel=most), "", None, CLUSTER, "text")


def test_arrays_are_cut_at_the_largest_index_and_share_what_may_run_at_once() -> None:
    some = entries(25)
    made = parts_of(base(some, 7), some, 10, "digits-0a1b2c", LATER)
    assert {each.points.of_sweep for each, _, _ in made if each.points} == {len(some)}, "each knows the whole sweep"
    (whole, _, _), *_ = parts_of(base(some, 7), some, len(some), "digits-0a1b2c", LATER)
    (again, _, _), *_ = parts_of(base(some, 7)._replace(plan=made[0][0]), some[:2], 10, "digits-0a1b2c", LATER)
    assert (whole.points and whole.points.of_sweep, again.points and again.points.of_sweep) == (0, len(some))
    assert [each[0].directives["array"] for each in made] == ["0-9%3", "0-9%2", "0-4%2"]
    assert [entry for _, _, own in made for entry in own] == list(some)
    assert len({each[0].plan_id for each in made}) == 3
    with pytest.raises(InputError, match="is 2, and the 25 points of alpha are 3 job arrays there"):
        parts_of(base(some, 2), some, 10, "digits-0a1b2c", LATER)


def test_packed_points_are_cut_by_tasks_and_each_has_its_place_in_its_name() -> None:
    some = entries(25)
    packed = base(some)._replace(plan=array(some, points_per_job=4, max_parallel=0))
    made = parts_of(packed, some, 5, "digits-0a1b2c", LATER)
    assert [each[0].directives["array"] for each in made] == ["0-4", "0-1"]
    assert [entry for _, _, own in made for entry in own] == list(some)
    assert made[1][0].jobs("17") == ("17_0.0", "17_0.1", "17_0.2", "17_0.3", "17_1.4")
    assert from_json(json.loads(json.dumps(to_json(made[1][0])))) == made[1][0]
    asked = experiment(sweep={"grid": {"lr": [1, 2]}, "points_per_job": 8})
    assert points_of(some, asked).points_per_job == 8


def test_the_run_folder_has_the_points_for_a_reader_and_for_the_tasks() -> None:
    some = entries()
    files = point_files(Prepared(array(some), "", None, CLUSTER, "", some))
    lines = [json.loads(line) for line in bytes(files["points.jsonl"].content).splitlines()]
    assert [(line["index"], line["id"], line["parameters"], line["command"]) for line in lines] == [
        (place, entry.id, {"lr": place}, list(entry.argv)) for place, entry in enumerate(some)
    ]
    assert bytes(files["points"].content).startswith(b"0000")


# -------------------------------------------------------------------------------------------------------------- tracker


def test_the_whole_intent_waits_until_it_is_sent_and_then_is_a_plan_as_any_other(tracker: Tracker) -> None:
    made = added(tracker)
    assert [each.plan for each in tracker.sweeps.waiting()] == [made]
    assert tracker.plans() == []
    assert not tracker.sweeps.is_any_waiting()  # its ids were not told: only submit goes on with it
    tracker.sweeps.tell(SWEEP.sweep_id)
    assert tracker.sweeps.is_any_waiting()
    tracker.plan(made, "text")
    assert tracker.sweeps.waiting() == []
    tracker.submit(made, "17")
    assert [job.key for job in tracker.jobs()] == ["alpha:17_0", "alpha:17_1", "alpha:17_2"]
    points = tracker.sweeps.points(SWEEP.sweep_id)
    assert [(point.entry, point.job and point.job.job_id) for point in points] == [
        (entry, f"17_{place}") for place, entry in enumerate(entries())
    ]


def test_points_of_a_plan_that_came_to_nothing_wait_as_another_plan(tracker: Tracker) -> None:
    made = added(tracker)
    tracker.plan(made, "text")
    close(TrackedPlan(made, "planned", "", "text"), None, tracker)
    (again,) = tracker.sweeps.waiting()
    assert again.plan.plan_id != made.plan_id
    assert again.plan.plan_sha256 == made.plan_sha256
    assert tracker.sweeps.entries(again.plan.plan_id) == entries()
    assert tracker.sweeps.entries(made.plan_id) == ()
    assert [(each.stage, each.note) for each in tracker.plans()] == [("refused", "never reached the scheduler")]


def test_a_plan_that_was_taken_after_all_has_its_jobs_and_waits_no_more(tracker: Tracker) -> None:
    made = added(tracker)
    tracker.plan(made, "text")
    close(TrackedPlan(made, "planned", "", "text"), "17", tracker)
    assert tracker.sweeps.waiting() == []
    assert len(tracker.jobs()) == 3


def test_a_point_that_is_run_again_has_its_last_job(tracker: Tracker) -> None:
    made = added(tracker)
    tracker.plan(made, "text")
    tracker.submit(made, "17")
    some = entries()[2:]
    again = identify(replace(array(some), planned_at=LATER))
    tracker.sweeps.add(SWEEP, [(again, "text", some)])
    assert [point.job is None for point in tracker.sweeps.points(SWEEP.sweep_id)] == [False, False, True]
    tracker.plan(again, "text")
    tracker.submit(again, "18")
    assert [point.job and point.job.job_id for point in tracker.sweeps.points(SWEEP.sweep_id)] == [
        "17_0",
        "17_1",
        "18_0",
    ]


def test_what_is_given_up_is_kept_for_a_resume_and_not_sent(tracker: Tracker) -> None:
    made = added(tracker)
    assert tracker.sweeps.drop(SWEEP.sweep_id) == 1
    assert tracker.sweeps.waiting() == []
    assert [(each.plan, each.stage) for each in tracker.sweeps.plans(SWEEP.sweep_id)] == [(made, "refused")]
    assert [point.job for point in tracker.sweeps.points(SWEEP.sweep_id)] == [None, None, None]


def test_points_that_wait_are_moved_as_a_whole_or_not_at_all(tracker: Tracker) -> None:
    some = entries()
    ruled = SWEEP._replace(given={"where": [{"values": {"lr": 1}, "cluster": "alpha"}]})
    made = array(some)
    tracker.sweeps.add(ruled, [(made, "text", some)])
    move, left, plan_ids = unsent(ruled, "alpha", tracker)
    assert (move, left, plan_ids) == ([some[0], some[2]], [some[1]], [made.plan_id])
    assert unsent(ruled, "beta", tracker) == ([], [], [])
    b, a = "b" * 12, "a" * 12
    there, here = (replace(identify(replace(made, planned_at=LATER)), cluster=name[0], plan_id=name) for name in (b, a))
    tracker.sweeps.add(ruled, [(there, "text", move), (here, "text", left)], instead_of=plan_ids)
    assert [each.plan.plan_id for each in tracker.sweeps.waiting()] == [b, a]
    (given_up,) = tracker.plans()
    assert (given_up.stage, given_up.note) == ("refused", "its points were moved before it was sent")
    places = {point.entry.id: point.plan_id for point in tracker.sweeps.points(SWEEP.sweep_id)}
    assert places == {some[0].id: b, some[1].id: a, some[2].id: b}


def test_jobs_are_named_by_point_by_task_by_array_and_by_sweep(tracker: Tracker) -> None:
    made = added(tracker)
    with pytest.raises(InputError, match="was not sent yet"):
        find_jobs(tracker, "digits")
    tracker.plan(made, "text")
    tracker.submit(made, "17")
    ids = [job.job_id for job in find_jobs(tracker, SWEEP.sweep_id)]
    assert ids == [job.job_id for job in find_jobs(tracker, "17")] == ["17_0", "17_1", "17_2"]
    assert ids == [job.job_id for job in find_jobs(tracker, "alpha:17")]
    assert find_job(tracker, f"digits:{entries()[1].id}").job_id == "17_1"
    assert find_job(tracker, f"digits:{entries()[1].id[:8]}").job_id == "17_1"
    assert find_job(tracker, "17_2").job_id == "17_2"
    with pytest.raises(InputError, match=r"such as alpha:17_0; `tfslurm status 17 --all` lists them"):
        find_job(tracker, "17")
    with pytest.raises(InputError, match="is no point of it"):
        find_job(tracker, "digits:zzz")
    with pytest.raises(InputError, match="not in the tracker"):
        find_jobs(tracker, "1")


def test_a_point_that_shares_its_job_is_named_by_its_task_and_its_place(tracker: Tracker) -> None:
    some = entries(5)
    made = array(some, points_per_job=2)
    tracker.sweeps.add(SWEEP, [(made, "text", some)])
    tracker.plan(made, "text")
    tracker.submit(made, "17")
    assert [job.job_id for job in find_jobs(tracker, "alpha:17_1")] == ["17_1.2", "17_1.3"]
    assert [job.job_id for job in find_jobs(tracker, "17_2")] == ["17_2.4"]
    found = find_job(tracker, "17_1.3")
    assert (found.slurm_id, found.is_packed, found.place) == ("17_1", True, 3)
    assert find_job(tracker, f"digits:{some[3].id}") == found
    assert len(find_jobs(tracker, "17")) == 5
    assert [point.place for point in tracker.sweeps.points(SWEEP.sweep_id)] == list(range(5))
    place = tracker.places("alpha")[made.plan_id]
    assert [place.is_last(job) for job in find_jobs(tracker, "17")] == [False, True, False, True, True]
    assert sweep_record(SWEEP, tracker)["jobs"][0]["points_per_job"] == 2


def test_a_name_that_two_sweeps_have_is_refused_with_both(tracker: Tracker) -> None:
    for sweep_id in ("digits-0a1b2c", "digits-333333"):
        tracker.sweeps.add(SWEEP._replace(sweep_id=sweep_id), [])
    assert find_sweep(tracker, "digits-333333").sweep_id == "digits-333333"
    with pytest.raises(
        InputError, match=r"is the name of 2, the last: digits-0a1b2c \(.*\), digits-333333 \(.*\); name one"
    ):
        find_sweep(tracker, "digits")


def test_points_know_the_most_that_run_at_once() -> None:
    assert points_of(entries(), SWEPT) == Points("", 3, array(entries()).points.sha256, 5)  # type: ignore[union-attr]


def test_the_record_of_a_sweep_has_its_jobs_what_waits_and_every_point(tracker: Tracker) -> None:
    made = added(tracker)
    tracker.plan(made, "text")
    tracker.submit(made, "17")
    more = tuple(entry._replace(id=f"{place:012d}") for place, entry in enumerate(entries(2)))
    tracker.sweeps.add(SWEEP, [(identify(replace(array(more), planned_at=LATER)), "text", more)])
    found = sweep_record(SWEEP, tracker)
    assert (found["count"], found["states"]) == (5, {"NOT SENT": 2, "PENDING": 3})
    assert [(job["cluster"], job["job_id"], job["points"]) for job in found["jobs"]] == [("alpha", "17", 3)]
    assert [(job["job_id"], job["points"]) for job in found["waiting"]] == [(None, 2)]
    assert [point["job_id"] for point in found["points"]] == ["17_0", "17_1", "17_2", None, None]
    assert found["points"][0]["parameters"] == {"lr": 0}
    assert "waits for alpha  2 points" in sweep_text(found)


def test_a_rebuilt_tracker_knows_a_sweep_by_its_run_folders(tracker: Tracker) -> None:
    some = entries()
    made = array(some)
    folder = made.run_dir.name
    prepared = Prepared(made, "", None, CLUSTER, "", some)
    files = {
        f"{folder}/plan.json": json.dumps(to_json(made)).encode(),
        f"{folder}/points.jsonl": bytes(point_files(prepared)["points.jsonl"].content),
        f"{folder}/17_1/attempt-1/exit.json": b'{"exit_code": 3, "signal": null}',
    }
    known = Known(replace(CLUSTER, login=Login("login", "alice")), "text", None)
    found = Found(files, jobs=(f"{folder}/17_1",))
    assert [rebuild(known, tracker, found) for _ in range(2)] == [(1, []), (1, [])]
    assert find_sweep(tracker, "digits").sweep_id == SWEEP.sweep_id
    points = tracker.sweeps.points(SWEEP.sweep_id)
    assert [(point.entry, point.job and point.job.state) for point in points] == [
        (some[0], "UNKNOWN"),
        (some[1], "FAILED"),
        (some[2], "UNKNOWN"),
    ]


def test_nothing_of_a_sweep_is_forgotten_once_one_of_its_plans_may_have_been_queued(tracker: Tracker) -> None:
    made = added(tracker)
    tracker.plan(made, "text")
    assert not tracker.sweeps.forget(SWEEP.sweep_id)
    close(TrackedPlan(made, "planned", "", "text"), None, tracker)
    assert tracker.sweeps.forget(SWEEP.sweep_id)
    assert (tracker.sweeps.all(), tracker.sweeps.waiting(), tracker.sweeps.points(SWEEP.sweep_id)) == ([], [], [])
