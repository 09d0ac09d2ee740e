"""Records, built from the raw files of real jobs (tests/facts/) and from what can go wrong with such files."""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import sys
from dataclasses import fields, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests import made
from tfslurm import job_plan as plans
from tfslurm.document.canonical import canonical
from tfslurm.document.moments import parse_time
from tfslurm.export.text import record_text
from tfslurm.image import parse_lock
from tfslurm.job_plan import JobPlan
from tfslurm.record import Record, build_record, facts, record_from_json, record_json
from tfslurm.record.asked import OLDER
from tfslurm.record.efficiency import efficiency
from tfslurm.record.model import Verdict, record_sha256, seal
from tfslurm.record.task import queried_driver
from tfslurm.record.task_model import Engine
from tfslurm.record.unsaved_files import lost_files
from tfslurm.retrieval.records import status_of
from tfslurm.slurm import JobStatus
from tfslurm.spec import Checkpoint, Reproduce, Word
from tfslurm.tracker import TrackedJob

FACTS = Path(__file__).parent / "facts"
CASES = tuple(sorted(path.stem for path in FACTS.glob("*.json")))
TASK = "attempt-1/facts/task-0/"
NOT_ASKED = {"compute_capability", "driver_cuda", "libcuda_in_container"}


class Case:
    """One recorded job; ``build`` makes its record, of files that a test may have changed."""

    def __init__(self, name: str) -> None:
        document = json.loads((FACTS / f"{name}.json").read_text())
        self.plan: JobPlan = plans.from_json(document["plan"])
        self.job_id: str = document["job_id"]
        self.status = JobStatus(**{**document["status"], "nodes": tuple(document["status"]["nodes"])})
        self.image_facts = document["image_facts"].encode() if document["image_facts"] else None
        self.files = {path: text.encode() for path, text in document["files"].items()}

    def build(self, **changes: Any) -> Record:
        wanted = {"plan": self.plan, "files": self.files, "status": self.status, "image_facts": self.image_facts}
        arguments = {**wanted, **changes}
        return build_record(arguments.pop("plan"), self.job_id, arguments.pop("files"), **arguments)

    def without(self, *names: str) -> dict[str, bytes]:
        return {path: raw for path, raw in self.files.items() if path not in names}


@cache
def case(name: str) -> Case:
    return Case(name)


@cache
def recorded(name: str) -> Record:
    """The record of a job as it was, for tests that replace what they need otherwise."""
    return case(name).build()


# --- the wire contract

CONTRACT = {
    "": "schema record_id plan_id plan_sha256 run_folder derived_from job experiment asked inputs determinism image "
    "code attempts environment energy verified warnings unknown integrity",
    "asked": "resources network options checkpoint template entrypoint secrets gpu_check prepull shm outputs spec lock "
    "reproduce",
    "asked.resources": "gpus gpu_type cpus memory_mib time_s nodes tasks_per_node",
    "asked.template": "name sha256 text",
    "inputs.0": "name path bytes sha256 tree_sha256 hashed why",
    "determinism": "variables seeds cpus_schedulable",
    "job": "cluster job_id array_job_id array_task_id name user partition nodes state exit_code signal submitted_at "
    "started_at ended_at elapsed_s time_limit_s restarts script_sha256 shared_folders",
    "experiment": "name spec_sha256 parameters command mounts env outputs lost",
    "experiment.outputs.0": "path bytes sha256",
    "experiment.lost.0": "path change",
    "image": "reference registry repository tag digest digest_kind config_digest platform served_by pinned_at",
    "code": "remote commit branch dirty tree",
    "attempts.0": "index state ended_by started_at ended_at exit_code reason warned_at tasks logs",
    "attempts.0.logs.0": "name bytes sha256",
    "attempts.0.tasks.0": "node rank driver_version driver_source gpus gpu_source image_digests image_source "
    "image_pulled container kernel os cpu_model memory_mib limits cpu_flags cpus_schedulable compute_capability "
    "driver_cuda libcuda_in_container engine",
    "attempts.0.tasks.0.engine": "name version runtime storage",
    "attempts.0.tasks.0.limits": "memory cpus cgroup_parent",
    "attempts.0.tasks.0.gpus.0": "uuid name memory_mib",
    "attempts.0.tasks.0.container": "id exit_code oom_killed started_at ended_at memory_limit_mib cpu_limit "
    "peak_memory_mib cpu_time_s usage_until gpu_utilisation",
    "environment": "python tensorflow cuda cudnn os glibc packages source cuda_present cudnn_present",
    "environment.packages.0": "name version",
    "verified": "image gpus driver tensorflow_gpu code",
    "verified.image": "status reason",
    "integrity": "previous record_sha256 signature",
}
IMAGE_FACTS = {
    "schema": "tfslurm.image/1",
    "python": "3.11.2",
    "tensorflow": "2.16.1",
    "cuda": "12.3",
    "cudnn": "8",
    "glibc": "2.35",
    "os": "Ubuntu 22.04.3 LTS",
    "packages": [{"name": "keras", "version": "3.0.5"}],
    "source": "importlib.metadata",
    "errors": [],
}


@pytest.mark.parametrize(("path", "keys"), CONTRACT.items())
def test_the_keys_are_those_of_the_contract_in_its_order(path: str, keys: str) -> None:
    plan = replace(case("gpu").plan, code=made.CODE)
    files = {**case("gpu").files, f"{TASK}logs.sha256": b"0 " + b"0" * 64 + b" stdout.log\n"}
    value: Any = record_json(case("gpu").build(plan=plan, files=files, image_facts=json.dumps(IMAGE_FACTS).encode()))
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdecimal() else value[step]
    assert list(value) == keys.split()


@pytest.mark.parametrize("name", CASES)
def test_a_record_survives_json(name: str) -> None:
    record = case(name).build()
    values = record_json(record)
    assert json.loads(json.dumps(values)) == values
    assert record_from_json(values) == record


@pytest.mark.parametrize("path", sorted((FACTS / "first").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_of_the_first_schema_is_read_and_stays_what_it_was(path: Path) -> None:
    values = json.loads(path.read_text())
    record = record_from_json(values)
    assert (record.schema, record.asked, record.plan_id) == ("tfslurm.record/1", None, None)
    assert record_json(record) == values
    assert record_json(seal(record)) == values, "its hash holds"
    assert record.record_id in record_text(record)
    assert efficiency(values).gpus_asked is not None


@pytest.mark.parametrize("path", sorted((FACTS / "first").glob("*.json")), ids=lambda path: path.stem)
def test_what_the_first_schema_had_is_in_this_one_with_its_name_and_meaning(path: Path) -> None:
    then, now = json.loads(path.read_text()), record_json(case(path.stem).build())

    def had(old: Any, new: Any, where: str) -> None:
        if isinstance(old, dict) and where != ".unknown":
            for key, value in old.items():
                had(value, new[key], f"{where}.{key}")
        elif isinstance(old, list):
            for index, (one, other) in enumerate(zip(old, new, strict=True)):
                had(one, other, f"{where}[{index}]")
        elif where not in (".schema", ".integrity.record_sha256"):
            assert old == new or old.items() <= new.items(), where

    had(then, now, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": "tfslurm.record/3"}, "'tfslurm.record/3' is not one that this version reads"),
        ({"schema": None}, "is not one that this version reads"),
        ({"more": 1}, "more is not a field of it"),
        ({"job": {}}, r"job\.cluster is missing"),
        ({"attempts": [1]}, r"attempts\[0\] is no object"),
        ({"plan_id": 7}, "plan_id is '7'"),
    ],
)
def test_a_record_of_another_version_is_refused_rather_than_read_in_part(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        record_from_json({**record_json(case("gpu").build()), **change})


def test_a_stranger_checks_the_hash_as_the_page_says(tmp_path: Path) -> None:
    page = (FACTS.parent.parent / "docs" / "record.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[-1]
    values = record_json(case("gpu").build())
    for given, said in ((values, "True\n"), ({**values, "warnings": ["x"]}, "False\n")):
        (tmp_path / "record.json").write_text(json.dumps(given))
        argv = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "record.json")]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == said


def test_slurms_word_is_found_among_what_the_tracker_keeps_of_a_job() -> None:
    status = case("gpu").status
    kept = {**status._asdict(), "cause": "program", "reason": "from exit.json"}
    job = TrackedJob("alpha", "59", "", "p", "n", "COMPLETED", True, kept)
    assert status_of(job) == status._replace(reason="from exit.json")
    assert status_of(job._replace(status={"reason": "x"})) is None


# --- what was asked


def test_a_record_says_where_it_came_from_and_all_that_a_rerun_needs() -> None:
    asked = replace(
        made.EXPERIMENT,
        secrets=("WANDB_API_KEY",),
        resources=replace(made.EXPERIMENT.resources, shm_mib=8192),
        template="my.sbatch.j2",
        checkpoint=Checkpoint(requeue=True),
        reproduce=Reproduce("accuracy", 0.02, ("model.weights.h5",)),
    )
    plan = made.plan(asked, pin=replace(made.PIN, entrypoint=("/entry",)), template_sha256="c3", template_text="text\n")
    values = record_json(case("gpu").build(plan=plan))
    assert (values["plan_id"], values["plan_sha256"]) == (plan.plan_id, plan.plan_sha256)
    assert values["run_folder"] == f"/scratch/alice/tfslurm/runs/digits-{plan.plan_id}"
    assert parse_lock(values["asked"].pop("lock"), "exp.lock.yaml") == plan.pin
    assert values["asked"] == {
        "resources": {
            "gpus": 1, "gpu_type": None, "cpus": 4, "memory_mib": 16384, "time_s": 7200, "nodes": 1, "tasks_per_node": 1
        },
        "network": "bridge",
        "options": {"partition": "gpu", "gres": "gpu:1", "no-requeue": ""},
        "checkpoint": {"signal": "USR1", "before_end_s": 60, "requeue": True, "max_requeues": 20},
        "template": {"name": "my.sbatch.j2", "sha256": "c3", "text": "text\n"},
        "entrypoint": ["/entry"],
        "secrets": ["WANDB_API_KEY"],
        "gpu_check": "cached",
        "prepull": False,
        "shm": "8192M",
        "outputs": "/out",
        "spec": "name: digits\n",
        "reproduce": {"metric": "accuracy", "tolerance": 0.02, "files": ["model.weights.h5"], "compare": []},
    }  # fmt: skip
    assert not [path for path in values["unknown"] if path.startswith("asked")]


def test_an_older_plan_has_no_texts_and_its_record_says_so() -> None:
    plan = replace(case("gpu").plan, template="my.sbatch.j2")
    record = case("gpu").build(plan=plan)
    assert record.asked is not None
    assert (record.asked.spec, record.asked.template.text, record.unknown["asked.spec"]) == (None, None, OLDER)
    assert record.unknown["asked.template.text"] == OLDER


def test_what_decides_about_bits_is_named_and_a_secret_is_not() -> None:
    pin = replace(made.PIN, environment={"TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONHASHSEED": "0", "PATH": "/bin"})
    names = (
        "TF_DETERMINISTIC_OPS",
        "XLA_FLAGS",
        "NVIDIA_TF32_OVERRIDE",
        "ONEDNN_MAX_CPU_ISA",
        "OMP_NUM_THREADS",
        "TFX",
    )
    asked = made.experiment(env={name: Word(("1",)) for name in names}, secrets=("TF_TOKEN",))
    plan = made.plan(asked, pin=pin, parameters={"seed": 7, "data.seed": "8", "np_seed": 9, "seeds": 1, "lr": "0.1"})
    record = case("gpu").build(plan=plan)
    assert record.determinism is not None
    assert record.determinism.variables == {
        **dict.fromkeys(names[:-1], "1"), "TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONHASHSEED": "0"
    }  # fmt: skip
    assert record.determinism.seeds == {"seed": 7, "data.seed": "8", "np_seed": 9}
    assert record.determinism.cpus_schedulable == 1
    point = {"parameters": {"seed": 3}, "command": ["true"], "env": {"OMP_NUM_THREADS": "4"}}
    packed = case("gpu").build(plan=plan, point=point).determinism
    assert packed is not None
    assert (packed.seeds, packed.variables["OMP_NUM_THREADS"]) == ({"seed": 3}, "4")


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("gpu", Engine("docker", "20.10.24+dfsg1", "runc", "overlay2")),
        ("podman", Engine("podman", "4.3.1", "runc", "overlay")),
    ],
)
def test_a_task_names_its_engine_and_what_its_processor_can_do(name: str, engine: Engine) -> None:
    record = case(name).build(files=case(name).without(f"{TASK}engine-version.json"))  # which older scripts kept too
    (task,) = record.attempts[0].tasks
    assert task.engine == engine
    assert task.cpu_flags is not None
    assert {"avx2", "avx512f"} <= set(task.cpu_flags)
    assert (task.cpus_schedulable is None) is ("attempts[0].tasks[0].cpus_schedulable" in record.unknown)


@pytest.mark.parametrize("size", [2**53, 10**40])
def test_a_number_that_no_record_can_hold_is_null_with_the_reason(size: int) -> None:
    files = case("gpu").files
    sizes = re.sub(rb"^\d+", str(size).encode(), files["attempt-1/outputs.sizes"])
    plan = replace(case("gpu").plan, parameters={"n": size})
    record = case("gpu").build(files={**files, "attempt-1/outputs.sizes": sizes}, plan=plan)
    assert [each.bytes for each in record.experiment.outputs or ()].count(None) == 1
    (path,) = [path for path in record.unknown if path.startswith("experiment.outputs[")]
    assert "is beyond 2^53" in record.unknown[path]
    assert record.experiment.parameters == {"n": None}
    assert "is beyond 2^53" in record.unknown["experiment.parameters.n"]
    assert record_sha256(record_json(record)) == record.integrity.record_sha256


@pytest.mark.parametrize("name", CASES)
def test_times_are_utc_and_digests_whole(name: str) -> None:
    text = json.dumps(record_json(case(name).build()))
    for time in re.findall(r'"(?:submitted|started|ended)_at": "([^"]*)"', text):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
    for digest in re.findall(r"sha256:(\w+)", text):
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


@pytest.mark.parametrize("name", CASES)
def test_every_reason_stands_at_the_path_of_a_null(name: str) -> None:
    record = record_json(case(name).build())
    for path in record["unknown"]:
        value: Any = record
        for step in re.findall(r"\w+", path):
            value = value[int(step)] if step.isdecimal() else value[step]
        empty = value is None or value == [] or (isinstance(value, dict) and None in value.values())
        assert empty, f"{path} is {value!r} and has a reason to be null"


# --- what real jobs left


def test_a_gpu_job_is_recorded_from_the_digest_to_the_uuid() -> None:
    record = case("gpu").build()
    (task,) = record.attempts[0].tasks
    assert (record.job.state, record.job.exit_code, record.job.signal) == ("COMPLETED", 0, None)
    assert record.job.nodes == (task.node,)
    assert task.gpus and len(task.gpus) == 1
    assert (
        task.gpus[0].uuid.startswith("GPU-")
        and task.gpus[0].name == "NVIDIA A100-SXM4-40GB"
        and task.gpus[0].memory_mib == 40960
    )
    assert (task.gpu_source, task.driver_version) == ("cgroup", "550.54.14")
    assert task.driver_source == "nvidia-smi --query-gpu=driver_version"
    assert any(digest.endswith(f"@{record.image.digest}") for digest in task.image_digests or ())
    assert task.container and task.container.exit_code == 0 and task.container.oom_killed is False
    assert task.os == "Debian GNU/Linux 12 (bookworm)" and task.kernel and task.kernel.startswith("Linux ")
    assert record.verified.image.status == record.verified.gpus.status == "ok"


def test_outputs_are_hashed_and_work_outside_them_is_named_as_lost() -> None:
    record = case("gpu").build()
    assert [(entry.path, entry.bytes, entry.sha256) for entry in record.experiment.outputs or ()] == [
        ("metrics.json", 2, sha256(b"1\n").hexdigest()),
        ("sub/model.h5", 2, sha256(b"2\n").hexdigest()),
    ]
    assert [(entry.path, entry.change) for entry in record.experiment.lost or ()] == [("/tmp/lost.h5", "added")]
    assert record.warnings == (
        "1 file was lost with the container: /tmp/lost.h5; only /out and writable mounts are kept",
    )


def test_a_cpu_job_needs_no_gpu() -> None:
    record = case("failed").build()
    assert record.attempts[0].tasks[0].gpus == ()
    assert (record.job.state, record.job.exit_code) == ("FAILED", 3)
    assert record.verified.gpus.status == record.verified.driver.status == "ok"
    assert record.experiment.outputs == () and record.experiment.lost == ()


def test_an_image_that_is_not_the_pinned_one_stops_the_job_and_says_so() -> None:
    record = case("refused").build()
    assert (record.job.exit_code, record.verified.image.status) == (78, "failed")
    assert "is not obtainable as sha256:" in record.verified.image.reason
    assert record.verified.gpus.reason == "the program was not started"
    assert record.attempts[0].tasks[0].container is None and record.experiment.lost == ()
    assert any("is not obtainable" in warning for warning in record.warnings)


def test_every_task_of_a_step_has_its_facts() -> None:
    record = case("tasks").build()
    assert [task.rank for task in record.attempts[0].tasks] == [0, 1]
    assert all(task.container and task.container.exit_code == 0 for task in record.attempts[0].tasks)
    assert "the program left nothing in /out" in record.warnings


def test_a_requeued_job_has_all_its_attempts() -> None:
    record = case("requeued").build()
    assert [(attempt.index, attempt.state) for attempt in record.attempts] == [(1, "REQUEUED"), (2, "COMPLETED")]
    first, second = record.attempts
    assert first.ended_at and second.started_at and first.ended_at < second.started_at
    assert (first.reason, second.reason, second.exit_code) == ("stopped by SIGTERM", "", 0)
    assert record.job.restarts == 1
    assert record.job.submitted_at and record.job.started_at and record.job.started_at > record.job.submitted_at
    assert [entry.path for entry in record.experiment.outputs or ()] == ["x"]


def test_a_cancelled_job_has_a_signal_and_no_exit_code() -> None:
    record = case("cancelled").build()
    assert (record.job.state, record.job.signal) == ("CANCELLED", 15)
    assert "stopped by SIGTERM" in record.warnings


def test_a_failed_job_that_wrote_no_end_says_why_that_may_be() -> None:
    made = case("failed")
    record = made.build(files=made.without("attempt-1/exit.json"))
    assert (record.job.state, record.attempts[0].ended_by) == ("FAILED", "node")
    assert any(warning.startswith("the job did not write down its end") for warning in record.warnings)
    assert record.attempts[0].reason in record.warnings


def test_a_job_whose_batch_script_was_killed_says_so() -> None:
    """As Slurm says it: FAILED, 0:9. The outputs may have been hashed at that moment."""
    made = case("failed")
    status = made.status._replace(exit_code=None, signal=9)
    record = made.build(files=made.without("attempt-1/exit.json"), status=status)
    assert (record.job.state, record.job.exit_code, record.job.signal) == ("FAILED", None, 9)
    assert record.attempts[0].reason == "signal 9 ended the batch script, so the job did not write down its end"
    assert record.attempts[0].reason in record.warnings


def test_a_job_out_of_memory_says_so() -> None:
    record = case("memory").build()
    container = record.attempts[0].tasks[0].container
    assert container and container.oom_killed is True
    assert any("memory was used up" in warning for warning in record.warnings)


# --- without Slurm's word


@pytest.mark.parametrize(
    ("name", "state", "exit_code"),
    [("gpu", "COMPLETED", 0), ("failed", "FAILED", 3), ("refused", "FAILED", 78), ("memory", "OUT_OF_MEMORY", None)],
)
def test_without_accounting_the_jobs_own_files_say_how_it_ended(name: str, state: str, exit_code: int | None) -> None:
    job = case(name).build(status=None).job
    assert job.state == state
    assert job.exit_code == (exit_code if exit_code is not None else job.exit_code)
    assert job.started_at and job.ended_at and job.elapsed_s is not None
    assert job.partition == "gpu" and job.nodes and job.restarts == 0


def test_what_only_slurm_knew_is_null_with_the_reason() -> None:
    record = case("gpu").build(status=None)
    assert record.job.submitted_at is None
    assert record.unknown["job.submitted_at"] == "Slurm does not know the job any more"


def test_a_job_that_never_began_is_a_record_all_the_same() -> None:
    pending = case("gpu").status._replace(state="PENDING", nodes=(), started_at="2026-11-24T00:00:00Z", ended_at=None)
    record = case("gpu").build(files={}, status=pending)
    assert (record.job.state, record.job.started_at, record.attempts) == ("PENDING", None, ())
    assert record.experiment.outputs is None and "experiment.outputs" in record.unknown
    assert record.verified.image.status == "unknown"
    nothing = case("gpu").build(files={}, status=None, image_facts=None)
    assert nothing.job.state is None and "job.state" in nothing.unknown


def test_a_node_that_died_leaves_an_attempt_without_an_end() -> None:
    record = case("gpu").build(files=case("gpu").without("attempt-1/exit.json"), status=None)
    assert record.attempts[0].state is None
    assert "did not get to writing its end" in record.unknown["attempts[0].state"]
    assert record.job.exit_code is None and "exit.json was not written" in record.unknown["job.exit_code"]


@pytest.mark.parametrize(("cluster", "state"), [("local", "CANCELLED"), ("alpha", "FAILED")])
def test_a_local_run_that_was_stopped_was_cancelled(cluster: str, state: str) -> None:
    """On a cluster it may have been the time limit, which only Slurm knows."""
    end = {"exit_code": 143, "signal": 15, "cause": "stopped", "reason": "stopped by SIGTERM"}
    begin = json.loads(case("gpu").files["attempt-1/begin.json"]) | {"cluster": cluster}
    files = {"attempt-1/begin.json": json.dumps(begin).encode(), "attempt-1/exit.json": json.dumps(end).encode()}
    made = case("gpu").build(
        plan=replace(case("gpu").plan, cluster=cluster), files={**case("gpu").files, **files}, status=None
    )
    assert (made.job.state, made.attempts[0].state, made.attempts[0].ended_by) == (state, state, "stop")


def test_a_local_run_has_no_queue_to_have_waited_in() -> None:
    begin = json.loads(case("gpu").files["attempt-1/begin.json"]) | {"nodelist": None, "partition": None}
    files = {**case("gpu").files, "attempt-1/begin.json": json.dumps(begin).encode()}
    record = case("gpu").build(plan=replace(case("gpu").plan, cluster="local"), files=files, status=None)
    assert record.job.submitted_at == record.job.started_at is not None
    used = "attempts[0].tasks[0].container."  # recorded before these were looked at
    unknown = {key: why for key, why in record.unknown.items() if not key.startswith(used)}
    older = {
        "job.shared_folders": "shared-folders was not written",
        "asked.spec": OLDER,
        "asked.template.sha256": OLDER,
    }
    for key in ("energy", "attempts[0].logs", *(f"attempts[0].tasks[0].{name}" for name in NOT_ASKED)):
        assert unknown.pop(key)
    assert unknown.pop("inputs[0].bytes") == "inputs.json was not written"
    assert unknown == {"environment": "probe ended with 127: no python in the image", **older}


def test_the_tasks_own_end_stands_in_where_docker_could_not_be_asked() -> None:
    files = case("gpu").without(TASK + "container-inspect.json")
    container = case("gpu").build(files=files).attempts[0].tasks[0].container
    assert container and (container.exit_code, container.oom_killed) == (0, False)
    assert container.id and container.started_at and len(container.started_at) == 20


def test_a_task_of_an_array_is_named_by_both_numbers() -> None:
    source = case("gpu")
    record = build_record(
        source.plan, "59_3", source.files, source.status, point={"parameters": {"lr": 0.5}, "command": ["true"]}
    )
    assert (record.job.job_id, record.job.array_job_id, record.job.array_task_id) == ("59_3", "59", "3")
    assert (record.experiment.parameters, record.experiment.command) == ({"lr": 0.5}, ("true",))


# --- files that are not what they should be


@pytest.mark.parametrize(
    "name", [path for path in case("gpu").files if "/facts/" in path or path.endswith((".json", ".sha256"))]
)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "garbage", "other"])
def test_no_damaged_file_breaks_the_record(name: str, damage: str) -> None:
    raw = case("gpu").files[name]
    damaged = {
        "gone": None,
        "empty": b"",
        "cut": raw[: len(raw) // 2],
        "garbage": b"\xff\x00\x80{]",
        "other": b'{"a": [1]}\n',
    }[damage]
    files = case("gpu").without(name) | ({} if damaged is None else {name: damaged})
    record = case("gpu").build(files=files)
    values = record_json(record)
    canonical(values, "record")
    assert values["job"]["state"] == "COMPLETED"
    if values["attempts"][0]["tasks"][0]["gpus"] is None:
        assert values["verified"]["gpus"]["status"] != "ok"


@pytest.mark.parametrize(
    "raw", [b"[]", b"[1]", b"null", b'[{"Id": 1}]', b'[{"State": null}]', b'[{"Mounts": 7, "HostConfig": 7}]']
)
def test_json_of_another_shape_is_no_fact(raw: bytes) -> None:
    for name in ("image-inspect.json", "container-inspect.json"):
        record = case("gpu").build(files={**case("gpu").files, TASK + name: raw})
        assert record.verified.image.status != "ok"


HALF = b'"\\ud800"'
GPU_USE = b"seconds, uuid, utilization.gpu [%], memory.used [MiB]\n"


@pytest.mark.parametrize(
    "said",
    [
        b'{"errors": 5}', b'{"errors": true}', b'{"errors": {"python": 1}}', b'{"errors": [null, [], {}]}',
        b'{"errors": ["python: \\ud800", "\\udfff: x"]}', b'{"python": ' + HALF + b"}", b'{"packages": 5}',
        b'{"packages": [{"name": ' + HALF + b"}]}", b'{"os": "\\uD83D\\uDE00 \\uDC00"}',
        json.dumps({"errors": ["x: " + "y" * 10**6] * 5}).encode()[: 4 * 2**20],
    ],
)  # fmt: skip
def test_an_image_that_lies_about_itself_does_not_break_the_record(said: bytes) -> None:
    """Its own Python answers the probe, and the answer is kept for every job of that image."""
    record = case("gpu").build(image_facts=said)
    canonical(record_json(record), "record")
    assert record.verified.image.status == "ok"
    assert len(json.dumps(record.unknown)) < 50_000


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("gpu-usage.csv", b"seconds, uuid\n1, GPU-x\n"),
        ("gpu-usage.csv", GPU_USE + b"abc, GPU-x, 5, 5\n"),
        ("gpu-usage.csv", GPU_USE + b"1, GPU-x, " + b"9" * 5000 + b", 5\n"),
        ("nvidia-smi-query.csv", b'index, uuid, name\n0, GPU-x, "' + b"a" * 200_000 + b'"\n'),
        ("nvidia-smi-query.csv", b"uuid, memory.total [MiB]\nGPU-cc123f5f, " + b"9" * 5000 + b"\n"),
        ("image-inspect.json", b'[{"Id": 5, "RepoDigests": 5}]'),
        ("image-inspect.json", b'[{"Id": "a", "RepoDigests": [5, ' + HALF + b"]}]"),
        ("container-inspect.json", b'[{"Id": ' + HALF + b', "Mounts": [{"Destination": ' + HALF + b"}]}]"),
    ],
)
def test_what_no_tool_prints_is_no_fact_and_breaks_no_record(name: str, raw: bytes) -> None:
    canonical(record_json(case("gpu").build(files={**case("gpu").files, TASK + name: raw})), "record")


def test_a_command_that_failed_gives_its_own_words_as_the_reason() -> None:
    files = case("gpu").without(TASK + "uname.txt") | {
        TASK + "uname.txt.error": b"exit 127\nuname: command not found\n"
    }
    record = case("gpu").build(files=files)
    path = "attempts[0].tasks[0].kernel"
    assert record.unknown[path] == "uname.txt: exit 127 uname: command not found"


def test_the_driver_is_told_by_the_kernel_module_where_nvidia_smi_does_not() -> None:
    proc = b"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U22)\n"
    files = case("gpu").without(TASK + "nvidia-smi-query.csv") | {TASK + "nvidia-driver-proc.txt": proc}
    task = case("gpu").build(files=files).attempts[0].tasks[0]
    assert (task.driver_version, task.driver_source) == ("570.86.15", "/proc/driver/nvidia/version")
    assert task.gpus and task.gpus[0].name == "NVIDIA A100-SXM4-40GB" and task.gpus[0].memory_mib is None


# --- the links


def gpu_with(**files: bytes) -> Record:
    names = {key.replace("__", "/").replace("_", "-").replace("DOT", "."): raw for key, raw in files.items()}
    return case("gpu").build(files={**case("gpu").files, **{TASK + name: raw for name, raw in names.items()}})


def test_a_container_of_another_image_is_a_failed_link() -> None:
    raw = case("gpu").files[TASK + "container-inspect.json"]
    other = json.loads(raw)
    other[0]["Image"] = made.CONFIG
    record = gpu_with(container_inspectDOTjson=json.dumps(other).encode())
    assert record.verified.image.status == "failed" and made.CONFIG in record.verified.image.reason


def test_an_image_of_another_digest_is_a_failed_link() -> None:
    plan = replace(case("gpu").plan, pin=replace(case("gpu").plan.pin, digest=made.DIGEST))
    record = case("gpu").build(plan=plan)
    assert record.verified.image.status == "failed" and f"not {made.DIGEST}" in record.verified.image.reason


def test_the_manifest_that_a_pinned_index_names_is_the_same_image_and_the_verdict_says_so() -> None:
    pin = case("gpu").plan.pin
    index = replace(pin, digest=made.DIGEST, digest_kind="index", manifest_digest=pin.digest)
    verdict = case("gpu").build(plan=replace(case("gpu").plan, pin=index)).verified.image
    assert verdict.status == "ok"
    assert f"the manifest that this index names for linux/amd64, {pin.digest}, as 127.0.0.1:5000/" in verdict.reason
    other = replace(index, manifest_digest=made.CONFIG)
    assert case("gpu").build(plan=replace(case("gpu").plan, pin=other)).verified.image.status == "failed"


def test_the_verdict_on_several_tasks_names_the_gpus_of_each() -> None:
    record = case("tasks").build()
    (first, second) = record.attempts[0].tasks
    assert first.gpus and second.gpus
    for gpu in (*first.gpus, *second.gpus):
        assert gpu.uuid in record.verified.gpus.reason
    assert record.verified.gpus.reason in record_text(record)


def test_a_task_says_where_its_image_came_from() -> None:
    (task,) = case("gpu").build().attempts[0].tasks
    assert task.image_source == f"127.0.0.1:5000/tfslurm/small@{case('gpu').plan.pin.digest}"
    assert task.image_pulled == "present"
    (task,) = gpu_with(image_pulledDOTtxt=b"pulled from m:5000/a@sha256:1\n").attempts[0].tasks
    assert task.image_pulled == "pulled from m:5000/a@sha256:1"


def test_an_image_pinned_by_its_id_is_held_to_its_id() -> None:
    image_id = json.loads(case("gpu").files[TASK + "image-inspect.json"])[0]["Id"]
    for kind in ("config", "manifest", "index"):  # the last two: docker with the image store of containerd
        pin = replace(case("gpu").plan.pin, digest=image_id, digest_kind=kind, pin_kind="image-id")
        record = case("gpu").build(plan=replace(case("gpu").plan, pin=pin))
        assert record.verified.image.status == "ok"
        assert any("nobody else can pull it" in warning for warning in record.warnings)
    assert not any("nobody else can pull it" in warning for warning in case("gpu").build().warnings)


def test_a_container_that_sees_another_gpu_is_a_failed_link() -> None:
    record = gpu_with(container__nvidia_smi_LDOTtxt=b"GPU 0: NVIDIA A100 (UUID: GPU-00000000-0000)\n")
    assert record.verified.gpus.status == "failed" and "GPU-00000000-0000" in record.verified.gpus.reason


def test_gpus_that_were_not_looked_at_inside_are_unknown() -> None:
    files = case("gpu").without(TASK + "container/nvidia-smi-L.txt")
    check = b"unknown: nvidia-smi is not in the container\n"
    record = case("gpu").build(files={**files, TASK + "container/gpu-check.txt": check})
    assert record.verified.gpus.status == "unknown"
    assert record.verified.gpus.reason == "nvidia-smi is not in the container"


@pytest.mark.parametrize(
    ("driver", "status"), [("550.54.14", "ok"), ("535.104.05", "ok"), ("470.57.02", "failed"), ("", "unknown")]
)
def test_the_driver_is_held_to_the_images_cuda(driver: str, status: str) -> None:
    pin = replace(case("gpu").plan.pin, environment={"CUDA_VERSION": "12.3.0"})
    query = case("gpu").files[TASK + "nvidia-smi-query.csv"].replace(b"550.54.14", driver.encode())
    files = {**case("gpu").files, TASK + "nvidia-smi-query.csv": query}
    record = case("gpu").build(plan=replace(case("gpu").plan, pin=pin), files=files)
    assert record.verified.driver.status == status, record.verified.driver.reason


def test_two_sources_that_name_two_drivers_are_a_failed_link() -> None:
    record = gpu_with(nvidia_driver_moduleDOTtxt=b"535.104.05\n")
    assert record.verified.driver.status == "failed"
    assert "550.54.14" in record.verified.driver.reason and "535.104.05" in record.verified.driver.reason


def test_tensorflows_own_check_is_believed_where_one_was_made() -> None:
    assert case("gpu").build().verified.tensorflow_gpu.reason == "not checked"
    assert gpu_with(container__tensorflow_gpuDOTtxt=b"failed: no GPU in 2\n").verified.tensorflow_gpu.status == "failed"
    assert gpu_with(container__tensorflow_gpuDOTtxt=b"ok\n").verified.tensorflow_gpu.status == "ok"


@pytest.mark.parametrize("link", ["gpus", "tensorflow_gpu"])
def test_only_a_report_with_its_end_is_believed_and_an_older_folder_is_told(link: str) -> None:
    """report.txt is node.sh's own word; before there was one, the program could write the verdicts."""
    said = {"container__tensorflow_gpuDOTtxt": b"ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU\n"}
    old = getattr(gpu_with(**said).verified, link)
    whole = getattr(gpu_with(**said, reportDOTtxt=b"whole\n").verified, link)
    cut = getattr(gpu_with(**said, reportDOTtxt=b"what was reported has no end\n").verified, link)
    assert (old.status, whole.status, cut.status) == ("ok", "ok", "unknown")
    assert old.reason == f"{whole.reason}, by its own word in a folder that the program could write"
    assert cut.reason == "the check in the container did not report to its end: what was reported has no end"


def test_a_loaded_image_is_known_by_its_config_alone_and_only_where_an_archive_was_sent() -> None:
    """As docker's own store knows it: without a digest, by an id that its manifest names."""
    raw = json.loads(case("gpu").files[TASK + "image-inspect.json"])
    raw[0]["RepoDigests"] = []
    config, sent = raw[0]["Id"], "a" * 64
    pulled = f"pulled from the archive sha256:{sent}"
    loaded = {"image-inspect.json": json.dumps(raw).encode(), "image-pulled.txt": f"{pulled}\n".encode()}
    files = {**case("gpu").files, **{TASK + name: text for name, text in loaded.items()}}

    def verdict(archive: str, config_digest: str) -> Verdict:
        pin = replace(case("gpu").plan.pin, config_digest=config_digest)
        made = replace(case("gpu").plan, pin=pin, image_archive=archive)
        return case("gpu").build(plan=made, files=files).verified.image

    good = verdict(sent, config)
    assert good.status == "ok" and f"loaded from the archive sha256:{sent}" in good.reason
    assert f"the image whose id is the digest of the config that the pinned manifest names, {config}" in good.reason
    assert verdict("", config).status == "failed"
    assert verdict(sent, "sha256:" + "0" * 64).status == "failed"


def test_an_image_with_another_id_than_the_lock_file_says_is_a_failed_link() -> None:
    pin = replace(case("gpu").plan.pin, config_digest="sha256:" + "0" * 64)
    verdict = case("gpu").build(plan=replace(case("gpu").plan, pin=pin)).verified.image
    assert verdict.status == "failed" and "the lock file says sha256:000" in verdict.reason


def test_one_task_that_fails_makes_the_link_fail() -> None:
    source = case("tasks")
    files = {**source.files, "attempt-1/facts/task-1/container/nvidia-smi-L.txt": b"No devices found.\n"}
    verdict = source.build(files=files).verified.gpus
    assert verdict.status == "failed" and verdict.reason.startswith("attempt 1, rank 1: the container saw none")


def test_code_and_gpus_that_are_less_certain_are_warned_of() -> None:
    dirty = replace(made.CODE, commit="c" * 40, remote=None, dirty=True)
    record = case("gpu").build(plan=replace(case("gpu").plan, code=dirty))
    assert any("differs from commit" in warning for warning in record.warnings)
    assert any("has no remote" in warning for warning in record.warnings)
    assert any(
        "does not confine" in warning for warning in gpu_with(gpu_sourceDOTtxt=b"index-unconstrained\n").warnings
    )


@pytest.mark.parametrize(
    ("commit", "remote", "dirty", "said"),
    [
        (None, None, None, ["it was in no git repository"]),
        (None, None, True, ["its git repository has no commit yet: the tree id names what ran"]),
        (None, "https://h/x", True, ["its git repository has no commit yet: the tree id names what ran"]),
        ("c" * 40, None, False, ["its git repository has no remote, so nobody else can fetch the commit"]),
        ("c" * 40, "https://h/x", False, []),
    ],
)
def test_each_lack_of_code_is_warned_of_once(
    commit: str | None, remote: str | None, dirty: bool | None, said: list[str]
) -> None:
    code = replace(made.CODE, commit=commit, remote=remote, dirty=dirty)
    record = case("gpu").build(plan=replace(case("gpu").plan, code=code))
    assert [warning for warning in record.warnings if "code: " in warning] == [f"code: {line}" for line in said]


# --- what is inside the image


def test_the_environment_is_what_the_probe_found() -> None:
    environment = case("gpu").build(image_facts=json.dumps(IMAGE_FACTS).encode()).environment
    assert (environment.tensorflow, environment.cuda, environment.glibc) == ("2.16.1", "12.3", "2.35")
    assert environment.packages and environment.packages[0].name == "keras"


def test_what_the_probe_could_not_ask_has_its_reason() -> None:
    found = {
        **IMAGE_FACTS,
        "tensorflow": None,
        "errors": ["tensorflow: no distribution of it is installed", "odd: thing"],
    }
    record = case("gpu").build(image_facts=json.dumps(found).encode())
    assert record.environment.tensorflow is None
    assert record.unknown["environment.tensorflow"] == "no distribution of it is installed"
    assert record.unknown["environment"] == "odd: thing"
    assert "was not written" in case("gpu").build(image_facts=None).unknown["environment"]


# --- integrity


def test_the_hash_covers_every_other_key() -> None:
    record = record_json(case("gpu").build())
    assert record["integrity"]["record_sha256"] == record_sha256(record)
    changed = json.loads(json.dumps(record))
    changed["attempts"][0]["tasks"][0]["driver_version"] = "550.54.15"
    assert record_sha256(changed) != record["integrity"]["record_sha256"]
    assert record_sha256({**record, "integrity": {**record["integrity"], "previous": "0" * 64}}) != record_sha256(
        record
    )
    assert record_sha256({**record, "integrity": {**record["integrity"], "signature": "x"}}) == record_sha256(record)


def test_building_twice_gives_the_same_record() -> None:
    first, second = case("gpu").build(), case("gpu").build()
    assert first == second
    assert seal(first) == first


def test_the_id_is_the_same_whatever_slurm_still_knows() -> None:
    assert case("gpu").build().record_id == case("gpu").build(status=None).record_id != case("failed").build().record_id
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", case("gpu").build().record_id
    )


def test_names_that_are_no_utf_8_are_kept_readable() -> None:
    raw = b"%s  ./\xff.h5\0" % (b"0" * 64)
    record = case("gpu").build(files={**case("gpu").files, "attempt-1/outputs.sha256": raw})
    assert [entry.path for entry in record.experiment.outputs or ()] == ["\\xff.h5"]
    canonical(record_json(record), "record")


# --- parsers


def test_slices_of_a_gpu_stand_in_its_place() -> None:
    listed = (
        b"GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n  MIG 3g.20gb     Device  0: (UUID: MIG-a)\n"
        b"  MIG 1g.5gb      Device  1: (UUID: MIG-b)\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2)\n"
    )
    assert [uuid for uuid, _ in facts.parse_list(listed)] == ["MIG-a", "MIG-b", "GPU-2"]
    assert facts.parse_list(listed)[0][1] == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert facts.parse_list(b"No devices found.\n") == ()


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        (
            b"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n",
            "535.129.03",
        ),
        (b"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n", "550.54.15"),
    ],
)
def test_both_kernel_modules_tell_their_version(raw: bytes, version: str) -> None:
    assert facts.parse_driver(raw) == version


def test_docker_never_is_no_time() -> None:
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("2026-11-23T09:59:04.123456789+02:00") == "2026-11-23T07:59:04Z"


QUERY = "uuid, name, memory.total [MiB], driver_version"
USE = "seconds, uuid, utilization.gpu [%], memory.used [MiB]"
ODD = {
    "a name of spaces": ("container/nvidia-smi-L.txt", "GPU 0: a (UUID: GPU-1)\nGPU 1: " + " " * 2**20),
    "a slice of spaces": ("container/nvidia-smi-L.txt", "GPU 0: a (UUID: GPU-1)\n  MIG x " + " " * 2**20),
    "a slice of brackets": ("nvidia-smi-L.txt", "  MIG x (UUID: " * 2**16),
    "a field of megabytes": ("nvidia-smi-query.csv", f"{QUERY}\n{'a' * 2**20}, b, 1, 1\n"),
    "a memory of many digits": ("nvidia-smi-query.csv", f"{QUERY}\nGPU-1, b, {'9' * 5000}, 535.1\n"),
    "a use of many digits": ("gpu-usage.csv", f"{USE}\n1, GPU-1, {'9' * 5000}, {'9' * 400}\n"),
    "a use without its second": ("gpu-usage.csv", "uuid, utilization.gpu [%], memory.used [MiB]\nGPU-1, 1, 1\n"),
    "a use at no second": ("gpu-usage.csv", f"{USE}\nx, GPU-1, 1, 1\n"),
    "a use of many": ("gpu-usage.csv", f"{USE}\n" + "".join(f"1, GPU-{each}, 1, 1\n" for each in range(20_000))),
    "digests that are a number": ("image-inspect.json", '[{"Id": "sha256:1", "RepoDigests": 7}]'),
    "an attempt of many digits": (f"../../../attempt-{'9' * 5000}/begin.json", "{}"),
    "a task of many digits": (f"../task-{'9' * 5000}/hostname", "x"),
}


@pytest.mark.parametrize(("name", "text"), ODD.values(), ids=ODD.keys())
def test_what_no_node_writes_is_a_fact_that_is_not_known(name: str, text: str) -> None:
    path = posixpath.normpath(TASK + name)
    files = {"attempt-1/begin.json": b"{}", f"{TASK}gpus.txt": b"GPU-1\n", path: text.encode()}
    began = monotonic()
    record = build_record(made.plan(), "17", files)
    assert [attempt.index for attempt in record.attempts] == [1]
    assert monotonic() - began < 5


def test_a_list_of_hashes_that_was_cut_off_is_no_list() -> None:
    whole = b"0" * 64 + b"  ./a\nb\0"
    assert facts.parse_hashes(whole) == {"a\nb": "0" * 64}
    with pytest.raises(ValueError, match="cut off"):
        facts.parse_hashes(whole[:-1])


@pytest.mark.parametrize(
    ("path", "is_lost"),
    [
        ("/opt/model.h5", True),
        ("/root/.keras/datasets/mnist.npz", True),
        ("/tmp/checkpoint", True),
        ("/out/model.h5", False),
        ("/scratch", False),  # made by docker on the way to a mount
        ("/usr/bin/nvidia-smi", False),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", False),
        ("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.14", False),
        ("/usr/lib/firmware/nvidia/550.54.14/gsp_ga10x.bin", False),
        ("/usr/local/lib/python3.11/dist-packages/nvidia_thing.txt", True),
        ("/etc/ld.so.cache", False),
        ("/etc/hostname", False),
        ("/etc/motd", True),
        ("/run/nvidia-persistenced/socket", False),
        ("/sbin/docker-init", False),
        ("/workspace/train.log", False),
        ("/usr/lib/python3/__pycache__/a.cpython-311.pyc", False),
        ("/root/.nv/ComputeCache/index", False),
        ("/libcuda_notes.txt", True),
    ],
)
def test_only_the_programs_own_work_counts_as_lost(path: str, is_lost: bool) -> None:
    found = lost_files([("A", path)], ("/out", "/scratch/alice", "/workspace"))
    assert bool(found) is is_lost


def test_folders_and_deletions_are_not_files_that_were_lost() -> None:
    changes = facts.parse_diff(b"C /opt\nA /opt/new\nA /opt/new/a\nb\nD /etc/motd\nC /etc/hosts.allow\n")
    assert [(entry.path, entry.change) for entry in lost_files(changes, ())] == [
        ("/etc/hosts.allow", "changed"),
        ("/opt/new/a\nb", "added"),
    ]


def test_the_record_has_no_field_that_the_contract_does_not_name() -> None:
    assert [field.name for field in fields(Record)] == CONTRACT[""].split()


# --- what held the container


def test_docker_holds_its_container_itself() -> None:
    (task,) = case("gpu").build().attempts[0].tasks
    assert (task.limits.memory, task.limits.cpus) == ("container", "container")


def test_a_container_of_podmans_is_held_by_the_cgroup_of_its_job_or_by_nothing() -> None:
    """Slurm confines memory on the cluster where this was recorded, and no CPUs."""
    record = case("podman").build()
    (task,) = record.attempts[0].tasks
    assert (task.limits.memory, task.limits.cpus) == ("job", "none")
    assert task.limits.cgroup_parent == "none: podman starts the container from the task, in the task's own cgroup"
    files = {**case("podman").files, TASK + "container/cgroup.txt": b"4:memory:/user.slice\n0::/\n"}
    free = case("podman").build(files=files)
    assert free.attempts[0].tasks[0].limits.memory == "none"
    assert [line for line in free.warnings if line.startswith("limits: nothing held a container")]
    assert [line for line in record.warnings if line.startswith("limits:")] == []


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (b"0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0/libpod-abc\n", "job"),
        (b"0::/user.slice/user-2001.slice\n", "none"),
        (b"4:memory:/slurm/uid_2001/job_7/step_0\n3:cpuset:/\n", "job"),
        (b"4:memory:/\n3:cpuset:/slurm/uid_2001/job_7\n", "none"),
        (b"0::/system.slice/um1_slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_0\n", "job"),
        (b"0::/\n", None),  # the root of a namespace of its own
        (b"no cgroup", None),
        (b"", None),
    ],
)
def test_the_cgroup_of_a_container_says_whether_slurm_holds_its_memory(text: bytes, held: str | None) -> None:
    record = case("podman").build(files={**case("podman").files, TASK + "container/cgroup.txt": text})
    assert record.attempts[0].tasks[0].limits.memory == held
    assert ("attempts[0].tasks[0].limits.memory" in record.unknown) is (held is None)


@pytest.mark.parametrize(
    ("outside", "held"),
    [
        (b"0::/system.slice/n1_slurmstepd.scope/sEKNKTV3WPV500/step_0/user/libpod-abc/container\n", "job"),
        (b"0::/user.slice/user-2101.slice/user@2101.service/user.slice/libpod-abc.scope/container\n", "none"),
        (b"5:memory:/slurm/uid_2101/job_7/step_0/task_0\n0::/\n", "job"),
    ],
)
def test_the_cgroup_that_was_seen_from_outside_stands_over_the_one_from_within(outside: bytes, held: str) -> None:
    files = {TASK + "container-cgroup.txt": outside, TASK + "container/cgroup.txt": b"0::/\n"}
    record = case("podman").build(files={**case("podman").files, **files})
    assert record.attempts[0].tasks[0].limits.memory == held


def test_below_the_jobs_cgroup_it_is_the_jobs_memory_that_holds_dockers_container() -> None:
    path = b"/system.slice/um1_slurmstepd.scope/s17XM/step_0/user\n"
    record = case("gpu").build(files={**case("gpu").files, TASK + "cgroup-parent.txt": path})
    (task,) = record.attempts[0].tasks
    assert (task.limits.memory, task.limits.cpus) == ("job", "container")


@pytest.mark.parametrize("code", ["137", "143", "-1"])
def test_a_kill_for_memory_that_only_the_kernel_counted_is_in_the_record(code: str) -> None:
    name = TASK + "container-inspect.json"
    text = case("podman").files[name].replace(b'"ExitCode":0', f'"ExitCode":{code}'.encode())
    end = b'{"exit_code": 137, "oom_killed": true, "started_at": null, "ended_at": null, "signal": 9}'
    record = case("podman").build(files={**case("podman").files, name: text, TASK + "exit.json": end})
    container = record.attempts[0].tasks[0].container
    assert container and container.oom_killed is True
    assert container.exit_code == (int(code) if code != "-1" else None)
    assert any("memory was used up" in warning for warning in record.warnings)


def test_a_job_under_podman_has_every_fact_that_one_under_docker_has() -> None:
    record = case("podman").build()
    (task,) = record.attempts[0].tasks
    assert (record.verified.image.status, record.verified.gpus.status) == ("ok", "ok")
    assert task.container is not None
    assert (task.container.exit_code, task.container.oom_killed) == (0, False)
    assert task.container.started_at and task.container.ended_at
    assert all("sha256:" in digest for digest in task.image_digests or ())
    assert [lost.path for lost in record.experiment.lost or ()] == ["/tmp/lost.h5"]
    missing = {path.rpartition(".")[2] for path in record.unknown if path.startswith("attempts")}
    used = {"peak_memory_mib", "cpu_time_s", "usage_until", "gpu_utilisation"}
    assert missing == used | {"cpus_schedulable", "logs"} | NOT_ASKED, "nothing but what it used, and may use"


def test_an_end_that_nobody_saw_is_null_with_the_reason() -> None:
    name = TASK + "container-inspect.json"
    text = case("podman").files[name].replace(b'"ExitCode":0', b'"ExitCode":-1')
    record = case("podman").build(files={**case("podman").files, name: text})
    container = record.attempts[0].tasks[0].container
    assert container is not None
    assert container.exit_code is None
    assert container.oom_killed is None
    assert "nobody saw its end" in record.unknown["attempts[0].tasks[0].container.exit_code"]


def test_the_code_of_a_task_that_was_lost_is_not_the_containers() -> None:
    files = {name: raw for name, raw in case("podman").files.items() if not name.endswith("container-inspect.json")}
    end = b'{"exit_code": 75, "oom_killed": false, "started_at": null, "ended_at": "2026-11-28T20:00:00Z"}'
    record = case("podman").build(files={**files, TASK + "exit.json": end, TASK + "lost.txt": b"tfslurm: n: lost\n"})
    container = record.attempts[0].tasks[0].container
    assert container and container.exit_code is None and container.ended_at
    assert "lost" in record.unknown["attempts[0].tasks[0].container.exit_code"]


# --- commands beside the program


@pytest.mark.parametrize(("lines", "what"), [(1, "1 command was"), (3, "3 commands were")])
def test_a_record_says_that_commands_ran_beside_the_program(lines: int, what: str) -> None:
    made = case("gpu")
    entered = {"attempt-1/facts/task-0/entered.tsv": b"2026-11-29T06:00:00Z\ttoken\n" * lines}
    why = "run in it beside the program (tfslurm exec), which may have changed what it did"
    assert f"container: {what} {why}" in made.build(files={**made.files, **entered}).warnings
    assert not [line for line in made.build().warnings if line.startswith("container: ")]
    way = {name: data.replace(b"token", b"tfslurm-service-0123456789ab") for name, data in entered.items()}
    assert not [line for line in made.build(files={**made.files, **way}).warnings if line.startswith("container: ")]


def test_a_record_says_that_its_program_was_typed() -> None:
    made = case("gpu")
    plan = replace(made.plan, command=("/entrypoint", "tfslurm-hold"))
    entered = {"attempt-1/facts/task-0/entered.tsv": b"2026-11-29T06:00:00Z\ttoken\n"}
    told = [
        line
        for line in made.build(plan=plan, files={**made.files, **entered}).warnings
        if line.startswith("container: ")
    ]
    assert told == ["container: what ran in it was typed in a terminal (tfslurm shell), and is not known here"]


# --- nvidia-smi that complains

QUERY = "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id"
ROW = "0, GPU-aaaaaaaa-0000-0000-0000-000000000001, Tesla V100-SXM2-16GB, 16384, 535.54.03, 00000000:07:00.0"
WARNING = "WARNING: infoROM is corrupted at gpu 0000:07:00.0"


@pytest.mark.parametrize(
    "lines",
    [
        (QUERY, ROW, WARNING),
        ("NOTICE: persistence mode is off", QUERY, ROW),
        (WARNING, "", QUERY, ROW, "nvidia-smi ended with 14"),
        (QUERY, ROW, ROW.replace("1, T", "2, T").replace("535.54.03", "[Unknown Error]")),
        (QUERY, ROW.replace("535.54.03", "[GPU is lost]").replace("1, T", "2, T"), ROW),
        (QUERY, "Unable to determine the device handle for GPU0: 0000:0A:00.0: Unknown Error, a, b, c, d, e", ROW),
    ],
)
def test_a_line_too_many_hides_no_row(lines: tuple[str, ...]) -> None:
    raw = "".join(f"{line}\n" for line in lines).encode()
    assert queried_driver(raw) == "535.54.03"
    rows = {row["uuid"][-1]: row for row in facts.parse_query(raw)}
    assert rows["1"]["memory.total"] == "16384"


@pytest.mark.parametrize("name", ["nvidia-smi-L.txt", "nvidia-smi-query.csv"])
def test_a_record_repeats_what_nvidia_smi_complained_of(name: str) -> None:
    made = case("gpu")
    listed = made.files[TASK + name]
    files = {**made.files, TASK + name: listed + f"{WARNING}\nnvidia-smi ended with 14\n".encode()}
    record = made.build(files=files)
    assert [line for line in record.warnings if line.startswith("nvidia-smi: ")] == [
        *(f"nvidia-smi: {WARNING}", "nvidia-smi: nvidia-smi ended with 14")
    ]
    assert not [line for line in made.build().warnings if line.startswith("nvidia-smi: ")]
    assert record.attempts[0].tasks[0].gpus == made.build().attempts[0].tasks[0].gpus
