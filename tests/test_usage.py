"""What a container was allowed and used, from raw files in the form in which the node leaves them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.node_side import sourced
from tests.test_record import TASK, case
from tfslurm.cli.efficiency import row
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.efficiency import efficiency
from tfslurm.record.usage import count_cpus, mean, parse_allowed
from tfslurm.tracker import TrackedJob

UUID = "GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5"
HEAD = "seconds, uuid, utilization.gpu [%], memory.used [MiB]\n"
USAGE = (
    "memory_peak_bytes 41943041\nmemory_source memory.max_usage_in_bytes\ncpu_usage_usec 2137571\n"
    "cpu_source cpuacct.usage\nseen_at 2026-11-23T09:00:07.123Z\nsamples 9\n"
)


def built(usage: str | None = USAGE, gpus: str | None = None, **more: str) -> Record:
    """The record of the GPU job with these files."""
    files = dict(case("gpu").files)
    for name, text in {"container-usage.txt": usage, "gpu-usage.csv": gpus}.items():
        if text is not None:
            files[TASK + name] = text.encode()
    return case("gpu").build(files={**files, **{name: text.encode() for name, text in more.items()}})


def container(record: Record) -> Any:
    found = record.attempts[0].tasks[0].container
    assert found
    return found


def test_memory_is_rounded_up_and_cpu_time_is_in_seconds() -> None:
    found = container(built())
    assert (found.peak_memory_mib, found.cpu_time_s, found.usage_until) == (41, 2.138, "2026-11-23T09:00:07Z")


@pytest.mark.parametrize("usage", [None, "memory_peak_bytes\n", "memory_peak_bytes 4\n", "cpu_usage_usec x\n", ""])
def test_use_that_was_not_seen_is_null_with_the_reason(usage: str | None) -> None:
    record = built(usage)
    found = container(record)
    assert (found.peak_memory_mib, found.cpu_time_s, found.usage_until) == (None, None, None)
    for key in ("peak_memory_mib", "cpu_time_s", "usage_until"):
        assert "container-usage.txt" in record.unknown[f"attempts[0].tasks[0].container.{key}"]


def test_limits_are_those_that_docker_was_told() -> None:
    def limits(**host: object) -> Any:
        return parse_allowed(json.dumps([{"HostConfig": host}]).encode())

    assert limits(Memory=268435456, NanoCpus=2500000000) == {"memory_limit_mib": 256, "cpu_limit": 2.5}
    assert limits(Memory=0, NanoCpus=0, CpusetCpus="0-3,8") == {"memory_limit_mib": None, "cpu_limit": 5.0}
    assert limits() == {"memory_limit_mib": None, "cpu_limit": None}
    assert (count_cpus("7"), count_cpus("0-1,4-5,9")) == (1, 5)


def test_gpu_samples_are_weighed_by_the_time_between_them() -> None:
    rows = f"100, {UUID}, 100, 512\n115, {UUID}, 50, 1024\n175, {UUID}, 0, 16\n"
    (use,) = container(built(gpus=HEAD + rows)).gpu_utilisation
    assert (use.uuid, use.samples, use.peak_percent, use.peak_memory_mib) == (UUID, 3, 100, 1024)
    assert use.mean_percent == round((100 * 15 + 50 * 15 + 0 * 60) / 90, 1)
    assert mean([(5, 40)]) == 40.0


def test_a_gpu_of_which_nvidia_smi_tells_nothing_has_no_numbers() -> None:
    (use,) = container(built(gpus=f"{HEAD}100, {UUID}, [N/A], [N/A]\n")).gpu_utilisation
    assert (use.mean_percent, use.peak_percent, use.peak_memory_mib, use.samples) == (None, None, None, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "ended before the first look"),
        (HEAD, "spoke of none of its GPUs"),
        ("Unable to determine the device handle", "gpu-usage.csv cannot be read"),
        (HEAD + f"100, {UUID}, 7\n", "spoke of none of its GPUs"),
    ],
)
def test_gpu_use_that_was_not_seen_is_null_with_the_reason(text: str | None, why: str) -> None:
    record = built(gpus=text)
    assert container(record).gpu_utilisation is None
    assert why in record.unknown["attempts[0].tasks[0].container.gpu_utilisation"]


def test_a_record_from_before_these_keys_can_still_be_read() -> None:
    values = record_json(built())
    late = values["attempts"][0]["tasks"][0]["container"]
    for key in ("memory_limit_mib", "cpu_limit", "peak_memory_mib", "cpu_time_s", "usage_until", "gpu_utilisation"):
        del late[key]
    assert container(record_from_json(values)).peak_memory_mib is None
    del late["exit_code"]
    with pytest.raises(ValueError, match="exit_code"):
        record_from_json(values)


def test_files_of_others_are_the_first_warning() -> None:
    record = built(**{"attempt-1/foreign-files": "0 out/a b\0" + "0 out/c\nd\0"})
    assert record.warnings[0] == (
        "2 files in the job's folder do not belong to alice, who may be unable to remove them: out/a b (uid 0), "
        "out/c\\nd (uid 0)"
    )
    assert not any("do not belong" in line for line in built().warnings)


# --- asked and used


def test_efficiency_sets_what_was_used_against_what_was_asked() -> None:
    values = record_json(built(gpus=f"{HEAD}100, {UUID}, 25, 512\n"))
    box = values["attempts"][0]["tasks"][0]["container"]
    box |= {"started_at": "2026-11-23T09:00:00Z", "ended_at": "2026-11-23T09:00:10Z"}
    box |= {"memory_limit_mib": 164, "cpu_limit": 2.0}
    found = efficiency(values)
    assert (found.memory_asked_mib, found.memory_used_mib, found.memory_percent) == (164, 41, 25)
    assert (found.cpus_asked, found.cpus_used, found.cpu_percent) == (2.0, 0.21, 11)
    assert (found.gpus_asked, found.gpu_percent) == (1, 25)
    assert (efficiency(values, 4).cpus_asked, efficiency(values, 4).cpu_percent) == (4, 5)


def test_efficiency_of_what_was_not_seen_is_not_known() -> None:
    found = efficiency(record_json(built(None)))
    assert (found.memory_used_mib, found.cpus_used, found.gpu_percent) == (None, None, None)
    refused = efficiency(record_json(case("refused").build()))
    assert (refused.memory_asked_mib, refused.memory_used_mib, refused.cpus_used) == (None, None, None)


@pytest.mark.parametrize(
    ("elapsed_s", "told"),
    [(3, "not sampled (ended within 5 s)"), (9, "not sampled (first seen after 5 s)"), (None, "not sampled (first ")],
)
def test_gpus_that_were_not_looked_at_are_called_so(elapsed_s: int | None, told: str) -> None:
    job = TrackedJob("alpha", "7", "2026-11-23T09:00:00Z", "0" * 12, "a", "COMPLETED", True, {"elapsed_s": elapsed_s})
    used = replace(efficiency(record_json(built(None))), gpus_asked=1)
    assert row(job, used)[-1].startswith(told)
    assert row(job, replace(used, gpus_asked=0))[-1] == ""
    assert row(job, replace(used, gpu_percent=61.0))[-1] == "61 % of 1"


def test_efficiency_of_several_tasks_adds_cpus_and_takes_the_fullest_memory() -> None:
    values = record_json(built())
    tasks = values["attempts"][0]["tasks"]
    first = tasks[0]["container"]
    first |= {"started_at": "2026-11-23T09:00:00Z", "ended_at": "2026-11-23T09:00:10Z"}
    first |= {"memory_limit_mib": 100, "cpu_limit": 2.0, "cpu_time_s": 10.0, "peak_memory_mib": 50}
    tasks.append({**tasks[0], "rank": 1, "container": {**first, "cpu_time_s": 5.0, "peak_memory_mib": 80}})
    found = efficiency(values)
    assert (found.memory_used_mib, found.memory_percent) == (80, 80)
    assert (found.cpus_asked, found.cpus_used, found.cpu_percent) == (4.0, 1.5, 38)


# --- how the node reads a cgroup; the folders stand in for cgroup v2's, which the machine of the tests does not have


def looked_at(folder: Path, *looks: dict[str, str]) -> list[str]:
    """Memory, its source, CPU time in microseconds after these states of the cgroup."""
    names = " ".join(f"'{folder}/{index}'" for index in range(len(looks)))
    for index, files in enumerate(looks):
        (folder / str(index)).mkdir()
        for name, text in files.items():
            (folder / str(index) / name).write_text(text)
    script = f"""set -euo pipefail; {sourced()}
        memory=0 cpu='' seen_at='' memory_file='' memory_source='' cpu_file='' cpu_source=''; declare -i samples=0
        for state in {names}; do usage::_is_in "$state" "$state" && usage::_read; done
        echo "$memory $memory_source $cpu $samples" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


STAT = "usage_usec 7250001\nuser_usec 7000000\nsystem_usec 250001\nnr_periods 0\n"


def test_the_peak_is_the_kernels_own_where_it_keeps_one(tmp_path: Path) -> None:
    state = {"memory.peak": "52428800\n", "memory.current": "4096\n", "cpu.stat": STAT}
    assert looked_at(tmp_path, state) == ["52428800", "memory.peak", "7250001", "1"]


def test_where_the_kernel_keeps_no_peak_the_highest_look_counts(tmp_path: Path) -> None:
    states = [{"memory.current": f"{size}\n", "cpu.stat": STAT} for size in (100, 900, 300)]
    assert looked_at(tmp_path, *states) == ["900", "memory.current", "7250001", "3"]


def test_cgroup_v1_counts_nanoseconds(tmp_path: Path) -> None:
    state = {"memory.max_usage_in_bytes": "4083712\n", "cpuacct.usage": "21375710\n"}
    assert looked_at(tmp_path, state) == ["4083712", "memory.max_usage_in_bytes", "21375", "1"]
