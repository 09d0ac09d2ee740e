from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.made import CLUSTER, CODE, EXPERIMENT, array, entries, experiment, plan
from tfslurm.cluster import Ask
from tfslurm.errors import InputError
from tfslurm.job_plan import from_json, identify, to_json
from tfslurm.job_plan.options import ask_of, own_options, slurm_options, slurm_time
from tfslurm.spec import Checkpoint, Mount, Placeholder, Resources, Word
from tfslurm.submission.sweep_arrays import points_of


def test_a_plan_comes_back_from_its_json() -> None:
    made = plan()
    again = from_json(json.loads(json.dumps(to_json(made))))
    assert again == made
    assert again.command == ("python", "train.py", "--lr=0.1", "--out", "/out")


def test_a_plan_of_another_schema_is_refused() -> None:
    values = to_json(plan()) | {"schema": "tfslurm.plan/99"}
    with pytest.raises(ValueError, match="plan/99"):
        from_json(values)


def test_the_same_question_at_another_moment_has_the_same_hash_and_another_id() -> None:
    first, later = plan(), plan(planned_at="2026-11-23T07:50:01.123457Z", spec_file="/elsewhere/exp.yaml")
    assert first.plan_sha256 == later.plan_sha256
    assert first.plan_id != later.plan_id
    assert len(first.plan_id) == 12


@pytest.mark.parametrize(
    "change", [{"parameters": {"lr": "0.2"}}, {"template_sha256": "c3"}, {"spec_text": "x\n"}, {"code": None}]
)
def test_another_question_has_another_hash(change: dict[str, Any]) -> None:
    assert plan(**change).plan_sha256 != plan().plan_sha256


def test_the_archive_that_an_image_comes_from_is_beside_what_is_asked() -> None:
    without, with_archive = plan(), plan(image_archive="a" * 64)
    assert with_archive.plan_sha256 == without.plan_sha256 and with_archive.plan_id != without.plan_id
    assert "image_archive" not in to_json(without), "as a plan of an older version"
    assert from_json(json.loads(json.dumps(to_json(with_archive)))) == with_archive


def test_the_token_is_in_the_name_and_in_the_comment() -> None:
    made = plan()
    assert made.directives["job-name"] == f"digits-{made.plan_id}"
    assert made.directives["comment"] == f"tfslurm:{made.plan_id}"
    assert made.run_dir == PurePosixPath(f"/scratch/alice/tfslurm/runs/digits-{made.plan_id}")


def test_a_percent_sign_in_the_root_does_not_become_a_file_name_pattern() -> None:
    made = plan(cluster=replace(CLUSTER, root=PurePosixPath("/scratch/100%u")))
    assert made.directives["output"].startswith("/scratch/100%%u/runs/")


def test_every_mount_outside_the_allowed_folders_is_named() -> None:
    wrong = experiment(mounts=(Mount("/data/x", "/a"), Mount("/home/bob", "/b"), Mount("/database", "/c")))
    with pytest.raises(InputError) as caught:
        plan(wrong)
    assert [problem.key for problem in caught.value.problems] == ["mounts[1].source", "mounts[2].source"]
    assert "'/database' is outside what cluster alpha allows (/data)" in str(caught.value)


def test_resources_become_slurm_options() -> None:
    asked = experiment(
        slurm={"account": "lab", "partition": "long"},
        resources=Resources(gpus=2, gpu_type="a100", cpus=6, memory_mib=2048, time_s=90_061, nodes=2, tasks_per_node=4),
        checkpoint=Checkpoint(signal="USR2", before_end_s=90, requeue=True),
    )
    assert slurm_options(asked, CLUSTER) == {
        "partition": "long",
        "account": "lab",
        "nodes": 2,
        "ntasks-per-node": 4,
        "cpus-per-task": 2,
        "gres": "gpu:a100:2",
        "mem": "2048M",
        "time": "1-01:01:01",
        "signal": "URG@90",
        "requeue": True,
    }


def test_a_cpu_job_asks_for_no_gpu_and_is_not_requeued() -> None:
    options = slurm_options(experiment(resources=Resources(gpus=0)), CLUSTER)
    assert "gres" not in options
    assert options["no-requeue"] is True
    assert "mem" not in options


def test_all_memory_of_a_node_is_asked_for_as_sbatch_has_it() -> None:
    made = plan(experiment(resources=Resources(memory_mib=0)))
    assert slurm_options(experiment(resources=Resources(memory_mib=0)), CLUSTER)["mem"] == "0"
    assert from_json(to_json(made)) == made


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("afterok:1234", "afterok:1234"),
        ("afterok:alpha:1234", "afterok:1234"),
        ("afterok:alpha:1234_7:alpha:99:5", "afterok:1234_7:99:5"),
        ("afternotok:alpha:1,afterany:alpha:2_*", "afternotok:1,afterany:2_*"),
        ("afterok:1?afterok:alpha:2", "afterok:1?afterok:2"),
        ("after:alpha:1234+5", "after:1234+5"),
        ("singleton", "singleton"),
        ("1234:1235", "1234:1235"),
    ],
)
def test_a_dependency_takes_the_ids_that_tfslurm_prints(written: str, given: str) -> None:
    assert slurm_options(experiment(slurm={"dependency": written}), CLUSTER)["dependency"] == given


def test_a_dependency_on_a_job_of_another_cluster_is_refused() -> None:
    with pytest.raises(InputError, match="beta:1234 is a job of beta, and this one would run on alpha"):
        slurm_options(experiment(slurm={"dependency": "afterok:7:beta:1234"}), CLUSTER)


def test_options_of_plugins_follow_the_others_and_are_part_of_what_is_asked() -> None:
    made = plan(plugin_options={"quotatype": "spot", "ib": ""})
    assert list(made.directives.items())[-2:] == [("quotatype", "spot"), ("ib", "")]
    assert made.plan_sha256 != plan().plan_sha256
    assert from_json(to_json(made)) == made
    assert not {"plugin_options", "engine_environment"} & set(to_json(plan())), "older plans have the same hash"


@pytest.mark.parametrize(
    ("resources", "asked"),
    [
        (Resources(gpus=2, cpus=4, memory_mib=16384), {"mem-per-cpu": "4096M", "gpus-per-node": "2"}),
        (
            Resources(gpus=1, cpus=3, memory_mib=10000, gpu_type="a100"),
            {"mem-per-cpu": "3334M", "gpus-per-node": "a100:1"},
        ),
        (Resources(gpus=0, cpus=3, memory_mib=1024, tasks_per_node=2), {"mem-per-cpu": "256M"}),
        (Resources(gpus=0, cpus=2, memory_mib=0), {"mem": "0"}),
        (Resources(gpus=0, cpus=2), {}),
    ],
)
def test_a_site_s_own_options_for_memory_and_gpus_are_used(resources: Resources, asked: dict[str, str]) -> None:
    site = replace(CLUSTER, ask=Ask("mem-per-cpu", "gpus-per-node"))
    options = slurm_options(experiment(resources=resources), site)
    kinds = ("mem", "mem-per-cpu", "gres", "gpus-per-node")
    assert {key: options[key] for key in kinds if key in options} == asked
    assert own_options(resources, None, ask_of(options)).items() <= options.items()


@pytest.mark.parametrize(("seconds", "text"), [(60, "0-00:01:00"), (86_399, "0-23:59:59"), (172_800, "2-00:00:00")])
def test_times_are_written_in_full(seconds: int, text: str) -> None:
    assert slurm_time(seconds) == text


def test_a_placeholder_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="lr"):
        plan(EXPERIMENT, parameters={})


# --- what the node is told of GPUs


@pytest.mark.parametrize(
    ("gpus", "tasks", "options", "each"),
    [
        (4, 1, {}, 0),
        (4, 4, {}, 1),
        (4, 2, {}, 2),
        (1, 2, {}, 0),
        (0, 2, {}, 0),
        (4, 2, {"gpu-bind": "none"}, 0),
    ],
)
def test_tasks_share_the_gpus_of_their_node_evenly_or_all_see_all(
    gpus: int, tasks: int, options: dict[str, str], each: int
) -> None:
    shared = experiment(resources=Resources(gpus=gpus, tasks_per_node=tasks))
    assert plan(shared, options=options).gpus_per_task == each


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"env": {"SEED": Word(("8",))}}, True),
        ({"env": {"TF_DETERMINISTIC_OPS": Word(("1",))}}, False),
        ({"env": {"LD_LIBRARY_PATH": Word(("/opt/cuda",))}}, False),
        ({"mounts": (Mount("/data/digits", "/usr/local/cuda"),)}, False),
        ({"outputs": "/usr/lib/python3/dist-packages"}, False),
        ({"name": "other"}, True),
    ],
    ids=str,
)
def test_what_can_change_which_gpus_tensorflow_finds_asks_it_again(change: dict[str, Any], same: bool) -> None:
    assert (plan(experiment(**change)).gpu_check_key == plan().gpu_check_key) is same


@pytest.mark.parametrize(
    ("name", "same"),
    [("SEED", True), ("PYTHONUNBUFFERED", True), ("PYTHONPATH", False), ("LD_PRELOAD", False), ("PATH", False)],
)
def test_the_code_takes_part_in_that_only_where_a_variable_may_lead_into_it(name: str, same: bool) -> None:
    own = experiment(env={name: Word((".",))})
    other = plan(own, code=replace(CODE, tree="0" * 40))
    assert (plan(own).gpu_check_key == other.gpu_check_key) is same
    assert plan(own, code=None).gpu_check_key != other.gpu_check_key, "it may cover what the image has there"


@pytest.mark.parametrize("value", ["", "0", "1", "2"])
def test_python_prints_at_once_unless_the_experiment_sets_that_itself(value: str) -> None:
    own = {"TFSLURM_PARAMS": '{"lr":"0.1"}'}
    assert plan().env == {"PYTHONUNBUFFERED": "1", "SEED": "7", **own}
    assert plan(experiment(env={"PYTHONUNBUFFERED": Word((value,))})).env == {"PYTHONUNBUFFERED": value, **own}
    assert plan(experiment(env={}, secrets=("PYTHONUNBUFFERED",))).env == own
    swept = experiment(env={"PYTHONUNBUFFERED": Word((Placeholder("lr"),))}, sweep={"grid": {"lr": [0, 1]}})
    of_all = plan(swept, parameters={}, points=points_of(entries(), swept))
    assert "PYTHONUNBUFFERED" not in of_all.env, "each point has its own"
    assert of_all.gpu_check == "cached"


def test_the_check_of_tensorflow_is_part_of_what_is_asked_and_an_older_plan_had_the_default() -> None:
    off = plan(experiment(gpu_check="off"))
    assert off.plan_sha256 != plan().plan_sha256
    assert from_json(to_json(off)) == off
    older = {key: value for key, value in to_json(off).items() if key != "gpu_check"}
    assert from_json(older).gpu_check == "cached"


def test_how_many_points_the_sweep_has_is_of_the_submission_and_absent_where_the_array_has_all() -> None:
    alone, part = array(entries()), array(entries(), of_sweep=9)
    assert "of_sweep" not in to_json(alone)["points"] and alone.plan_id == identify(alone).plan_id
    assert from_json(to_json(part)) == part and to_json(part)["points"]["of_sweep"] == 9
    assert (part.plan_sha256 == alone.plan_sha256, part.plan_id == alone.plan_id) == (True, False)


# --- what is never mounted


ALLOWING = replace(CLUSTER, mounts_allow=(PurePosixPath("/scratch"), PurePosixPath("/data")))
RUN_OUT = "/scratch/alice/tfslurm/runs/digits-0123456789ab/7/out"


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("/scratch/alice/tfslurm", "is"), ("/scratch/alice", "holds"), ("/scratch", "holds"),
        ("/scratch/alice/tfslurm/runs", "lies in"), ("/scratch/alice/tfslurm/code/4b825dc6", "lies in"),
        (RUN_OUT, "lies in"),
    ],
)  # fmt: skip
def test_a_mount_keeps_clear_of_the_root_also_where_that_is_allowed(source: str, how: str) -> None:
    with pytest.raises(InputError, match=f"{source}' {how} /scratch/alice/tfslurm, where tfslurm keeps the scripts"):
        plan(experiment(mounts=(Mount(source, "/r"),)), ALLOWING)
    assert plan(experiment(mounts=(Mount("/scratch/alice/tfslurm2", "/r"),)), ALLOWING).mounts


def test_the_outputs_of_a_run_are_mounted_by_their_name_and_read_only() -> None:
    made = plan(experiment(mounts=(Mount(f"{RUN_OUT}/model", "/r", run="run:alpha:7/out/model"),)))
    assert from_json(json.loads(json.dumps(to_json(made)))) == made
    for mount in (
        Mount(RUN_OUT, "/r", read_only=False, run="run:alpha:7/out"),
        Mount("/etc", "/r", run="run:alpha:7/out"),
        Mount(f"{RUN_OUT}/../../secrets", "/r", run="run:alpha:7/out"),
        Mount(RUN_OUT.replace("/out", "/attempt-1"), "/r", run="run:alpha:7/out"),
        Mount("run:alpha:7/out", "/r", run="run:alpha:7/out"),
    ):
        with pytest.raises(InputError, match="is not known as the outputs of a run on alpha"):
            plan(experiment(mounts=(mount,)))


def test_what_guards_a_submission_does_not_change_what_is_asked() -> None:
    guarded = plan(cluster=replace(CLUSTER, shared_parents="accept", read_group="lab"), roots=("/scratch/other",))
    assert guarded.plan_sha256 == plan().plan_sha256
    assert (guarded.roots, guarded.shared_parents, guarded.read_group) == (("/scratch/other",), "accept", "lab")
    late = ("roots", "shared_parents", "read_group")
    older = {key: value for key, value in to_json(plan()).items() if key not in late}
    del older["code"]["contents_sha256"]
    read = from_json(older)
    assert (read.roots, read.shared_parents, read.code and read.code.contents_sha256) == ((), "", "")
