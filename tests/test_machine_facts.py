"""What a task's node says of its GPUs beside their names: their power, their kind, their driver's CUDA, its libcuda."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.test_node_functions import bash
from tests.test_record import IMAGE_FACTS, TASK, case
from tfslurm.export.text import record_text
from tfslurm.image import lacking
from tfslurm.record import Record
from tfslurm.record.machine import count_of, parse_driver_cuda, parse_libcuda

UUID = "GPU-cc123f5f-7e45-5c05-b143-55ca82030d59"
HEAD = "seconds, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]\n"
START = int(datetime(2026, 11, 23, 8, 22, 57, tzinfo=timezone.utc).timestamp())  # of the recorded container
QUERY = "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id, compute_cap\n"
TASK_PATH = "attempts[0].tasks[0]"


def rows(*readings: tuple[int, str], uuid: str = UUID) -> str:
    return HEAD + "".join(f"{START + after}, {uuid}, 50, 512, {watts}\n" for after, watts in readings)


def of_task(record: Record) -> Any:
    return record.attempts[0].tasks[0]


def with_usage(text: str | None, name: str = "gpu") -> Record:
    own = {} if text is None else {TASK + "gpu-usage.csv": text.encode()}
    return case(name).build(files={**case(name).files, **own})


# ------------------------------------------------------------------------------------------------------------- energy


def test_energy_is_the_sum_of_power_over_the_time_that_each_reading_stands_for() -> None:
    record = with_usage(rows((5, "100.00"), (20, "300.5"), (35, "200")))
    assert record.energy is not None
    assert record.energy.joules == 5 * 100 + 15 * 300.5 + 15 * 200
    assert record.energy.source == (
        "nvidia-smi power.draw of 1 GPU: 3 readings, at most 15 s apart, summed over the 35 s from each start to its "
        "last reading; what came after that is not in it"
    )
    assert "energy" not in record.unknown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the program ended before nvidia-smi was asked"),
        (rows((5, "[N/A]")), "nvidia-smi says '[N/A]' for the power of GPU-"),
        (rows((5, "[Not Supported]")), "nvidia-smi says '[Not Supported]'"),
        (
            rows((5, "99"), (20, "[Unknown Error]")),
            "told the power of GPU-cc123f5f-7e45-5c05-b143-55ca82030d59 1 times",
        ),
        (rows((5, "99"), uuid="GPU-another"), "nvidia-smi said nothing of GPU-cc12"),
        (HEAD.replace(", power.draw [W]", "") + f"{START}, {UUID}, 5, 5\n", "which did not ask for the power"),
        ("Unable to determine the device handle", "gpu-usage.csv cannot be read"),
        (rows((5, "1e9")), "nvidia-smi says '1e9'"),
        (rows((5, "-4")), "nvidia-smi says '-4'"),
    ],
)
def test_energy_that_was_not_seen_is_null_with_the_reason(text: str | None, why: str) -> None:
    record = with_usage(text)
    assert record.energy is None
    assert why in record.unknown["energy"]


def test_a_part_of_a_gpu_and_a_job_without_one_have_no_energy() -> None:
    files = {**case("gpu").files, TASK + "gpus.txt": b"MIG-1\n", TASK + "gpu-usage.csv": rows((5, "99")).encode()}
    mig = case("gpu").build(files=files)
    assert mig.energy is None and "(MIG)" in mig.unknown["energy"]
    files = {**case("gpu").files, TASK + "gpus.txt": b""}
    none = case("gpu").build(files=files)
    assert none.energy is None and "no GPU" in none.unknown["energy"]
    refused = case("refused").build()
    assert "no program of the job was started" in refused.unknown["energy"]


def test_a_gpu_that_two_tasks_share_counts_once() -> None:
    record = case("tasks").build()
    uuids = [gpu.uuid for gpu in record.attempts[0].tasks[0].gpus or ()]
    assert len(uuids) == 2 and [gpu.uuid for gpu in record.attempts[0].tasks[1].gpus or ()] == uuids
    start = record.attempts[0].tasks[0].container
    assert start and start.started_at
    text = HEAD + "".join(f"{START + 10**6}, {uuid}, 1, 1, 10\n" for uuid in uuids)
    files = {f"attempt-1/facts/task-{rank}/gpu-usage.csv": text.encode() for rank in (0, 1)}
    both = case("tasks").build(files={**case("tasks").files, **files})
    one = case("tasks").build(files={**case("tasks").files, **dict(list(files.items())[:1])})
    assert both.energy is not None and "2 GPUs" in both.energy.source
    assert one.energy is None and "rank 1" in one.unknown["energy"]


# ------------------------------------------------------------------------------------------- the driver and its libcuda

SMI_535 = """
==============NVSMI LOG==============

Timestamp                                 : Sun Nov 26 21:17:25 2023
Driver Version                            : 535.129.03
CUDA Version                              : 12.2

Attached GPUs                             : 1
GPU 00000000:CA:00.0
    Compute Mode                          : Default

"""
SMI_610 = SMI_535.replace("Driver Version   ", "KMD Version      ").replace("CUDA Version    ", "CUDA UMD Version")


@pytest.mark.parametrize(("text", "cuda"), [(SMI_535, "12.2"), (SMI_610, "12.2")])
def test_the_newest_cuda_of_the_driver_is_in_the_head_of_its_tool(text: str, cuda: str) -> None:
    assert parse_driver_cuda(text.encode()) == cuda


@pytest.mark.parametrize("text", [SMI_535.replace("12.2", "N/A"), "", "CUDA Version : 12.2; rm\n", "No devices"])
def test_a_driver_that_does_not_say_it_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r"nvidia-smi says|does not say|empty"):
        parse_driver_cuda(text.encode())


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05", "535.104.05"),
        ("/usr/local/cuda-12.3/compat/libcuda.so.545.23.08", "545.23.08"),
        ("/usr/lib64/libcuda.so.550.54 (deleted)", "550.54"),
        ("/usr/lib/libcuda.so.1", None),
        ("libcuda.so.535.104.05", None),
        ("/x/libcuda.so.535.104.05\x1b[2J", None),
    ],
)
def test_the_version_of_libcuda_is_in_the_name_of_its_file(path: str, version: str | None) -> None:
    if version:
        assert parse_libcuda(path.encode() + b"\n") == version
    else:
        with pytest.raises(ValueError, match="has no version"):
            parse_libcuda(path.encode())


def test_a_task_has_the_drivers_word_and_the_containers_libcuda_beside_each_other() -> None:
    files = {
        "nvidia-smi-query.csv": f"{QUERY}0, {UUID}, A100, 40960, 535.129.03, 0:1, 8.0\n",
        "nvidia-smi-driver.txt": SMI_535,
        "libcuda.txt": "/usr/local/cuda/compat/libcuda.so.545.23.08\n",
        "container/cpus.txt": "0-3,8\n",
    }
    source = case("gpu")
    record = source.build(files={**source.files, **{TASK + name: text.encode() for name, text in files.items()}})
    task = of_task(record)
    assert (task.driver_version, task.driver_cuda, task.libcuda_in_container) == ("535.129.03", "12.2", "545.23.08")
    assert (task.compute_capability, task.cpus_schedulable) == ("8.0", 5)
    assert not [path for path in record.unknown if path.rpartition(".")[2] in ("driver_cuda", "compute_capability")]


@pytest.mark.parametrize(
    ("key", "files", "why"),
    [
        ("compute_capability", {}, "does not know compute_cap"),
        ("compute_capability", {"nvidia-smi-query.csv": f"{QUERY}0, {UUID}, A, 1, 5, 0, [N/A]\n"}, "no compute"),
        ("driver_cuda", {}, "nvidia-smi-driver.txt was not written"),
        ("driver_cuda", {"nvidia-smi-driver.txt.error": "exit 9\nno driver"}, "exit 9 no driver"),
        ("libcuda_in_container", {}, "nobody looked"),
        ("libcuda_in_container", {"libcuda.txt.error": "no process had loaded it"}, "no process had loaded it"),
        ("cpus_schedulable", {"container/cpus.txt": "0-3; rm"}, "no CPUs in"),
    ],
)
def test_each_that_was_not_seen_is_null_with_the_reason(key: str, files: dict[str, str], why: str) -> None:
    source = case("gpu")
    record = source.build(files={**source.files, **{TASK + name: text.encode() for name, text in files.items()}})
    assert getattr(of_task(record), key) is None
    assert why in record.unknown[f"{TASK_PATH}.{key}"]


def test_cpus_are_counted() -> None:
    assert [count_of(text) for text in ("0", "0-3,8", "2,4,6-7")] == [1, 5, 4]


def loaded(tmp_path: Path, name: str) -> str:
    """The node side's words on a process in another namespace that has mapped a file of this name."""
    library = tmp_path / name
    library.write_bytes(b"\0" * 8192)
    program = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); print(flush=True)"
    child = subprocess.Popen(
        ["unshare", "--pid", "--fork", sys.executable, "-c", f"{program}; input()", library],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stdout.readline()
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(child.pid)], capture_output=True, text=True).stdout
    (tmp_path / "procs").write_text(f"{os.getpid()}\n{children.strip()}\n")
    said = bash(tmp_path, f"set +e; libcuda_processes={tmp_path}/procs; libcuda::look")
    child.communicate(b"\n")
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="another namespace of processes needs root")
def test_the_libcuda_of_a_process_in_the_container_is_found_in_its_maps(tmp_path: Path) -> None:
    assert loaded(tmp_path, "libcuda.so.545.23.08") == ""
    assert (tmp_path / "facts" / "libcuda.txt").read_text() == f"{tmp_path}/libcuda.so.545.23.08\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="another namespace of processes needs root")
def test_where_no_process_has_it_the_reason_is_written(tmp_path: Path) -> None:
    assert loaded(tmp_path, "libcudart.so.12") == ""
    assert not (tmp_path / "facts" / "libcuda.txt").exists()
    assert "had loaded it" in (tmp_path / "facts" / "libcuda.txt.error").read_text()


SMI = """#!/bin/sh
case $* in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; echo; exit 2 ;; esac
echo 'index, uuid, name, memory.total [MiB], driver_version, pci.bus_id'
echo '0, GPU-1, Tesla V100, 16160, 470.57.02, 0:1'
"""


def test_a_driver_that_does_not_know_a_field_is_asked_without_it(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI)
    program.chmod(0o755)
    script = 'driver::_query; driver_version=""; driver::_read <"$facts/nvidia-smi-query.csv"; echo "$driver_version"'
    assert bash(tmp_path, script, PATH=f"{program.parent}:/usr/bin:/bin") == "470.57.02\n"


# ------------------------------------------------------------------------------ what TensorFlow was built with, and has


def probed(tmp_path: Path, built: dict[str, str], *libraries: str, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the probe says in a place with a TensorFlow of this build and these libraries."""
    site = tmp_path / "site"
    lib = tmp_path / "lib"
    for folder in (site / "tensorflow", lib):
        folder.mkdir(parents=True)
    (site / "tensorflow" / "__init__.py").write_text(
        f"__version__ = '2.18.0'\nclass sysconfig:\n    get_build_info = staticmethod(lambda: {built!r})\n"
    )
    for name in ("tensorflow-2.18.0", *packages):
        folder = site / f"{name.rpartition('-')[0].replace('-', '_')}-{name.rpartition('-')[2]}.dist-info"
        folder.mkdir()
        head, version = name.rpartition("-")[::2]
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {head}\nVersion: {version}\n")
    for name in libraries:
        (lib / name).write_bytes(b"")
        short = ".".join(name.split(".")[:3])
        if not (lib / short).exists():
            (lib / short).symlink_to(name)
    code = f"import runpy, sys; sys.path.insert(0, {str(site)!r}); runpy.run_path({PROBE!r}, run_name='__main__')"
    env = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": f":{lib}:"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


PROBE = str(Path(__file__).parent.parent / "job_templates" / "inside" / "probe.py")
BUILT = {"cuda_version": "12.5.1", "cudnn_version": "9"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("libraries", "packages", "present"),
    [
        (("libcudart.so.12.3.101", "libcudnn.so.8.9.6"), (), ("12.3.101", "8.9.6")),
        (("libcudart.so.12.3.101", "libcudart.so.12.5.82", "libcudart.so.13.0.96"), (), ("12.5.82", None)),
        ((), ("nvidia-cuda-runtime-cu12-12.5.82", "nvidia-cudnn-cu12-9.3.0.75"), ("12.5.82", "9.3.0.75")),
        (("libcudnn.so.8.9.6",), ("nvidia_cudnn_cu12-9.3.0.75",), (None, "9.3.0.75")),
        (("libcudart.so.12", "libcudnn.so"), (), (None, None)),
    ],
)
def test_the_probe_finds_the_libraries_of_cuda(
    libraries: tuple[str, ...], packages: tuple[str, ...], present: tuple[str | None, ...], tmp_path: Path
) -> None:
    found = probed(tmp_path, BUILT, *libraries, packages=packages)
    assert (found["cuda"], found["cudnn"]) == ("12.5.1", "9")
    assert (found["cuda_present"], found["cudnn_present"]) == present
    reasons = [error.partition(":")[0] for error in found["errors"]]
    names = ("cuda_present", "cudnn_present")
    assert [name for name in names if name in reasons] == [
        name for name, version in zip(names, present, strict=True) if not version
    ]


def test_a_build_without_cuda_lacks_none(tmp_path: Path) -> None:
    found = probed(tmp_path, {})
    assert (found["cuda"], found["cuda_present"]) == (None, None)
    assert not [error for error in found["errors"] if "present" in error]


LACKING = {"cuda": "12.5.1", "cuda_present": "12.3.101", "cudnn": "9", "cudnn_present": "8.9.6"}


@pytest.mark.parametrize(("gpus", "warned"), [(1, True), (0, False)])
def test_a_record_warns_of_libraries_that_are_too_old_for_a_job_with_gpus(gpus: int, warned: bool) -> None:
    source = case("gpu")
    plan = replace(source.plan, resources=replace(source.plan.resources, gpus=gpus))
    facts = json.dumps({**IMAGE_FACTS, **LACKING}).encode()
    found = source.build(plan=plan, image_facts=facts)
    assert (found.environment.cuda_present, found.environment.cudnn_present) == ("12.3.101", "8.9.6")
    said = [line for line in found.warnings if "was built with" in line]
    assert bool(said) is warned
    if warned:
        why = "CUDA 12.5.1 and cuDNN 9, and the image holds CUDA 12.3.101 and cuDNN 8.9.6"
        assert said == [f"image: TensorFlow 2.16.1 was built with {why}: it finds no GPU, or stops with an error"]


def test_what_an_older_tfslurm_found_in_an_image_is_still_read() -> None:
    record = case("gpu").build(image_facts=json.dumps(IMAGE_FACTS).encode())
    assert (record.environment.cuda, record.environment.cuda_present) == ("12.3", None)
    assert "older tfslurm" in record.unknown["environment.cuda_present"]
    assert not [line for line in record.warnings if "was built with" in line]


@pytest.mark.parametrize("odd", ["", "x", "12", "64_8", "12." + "9" * 400, "٣.١"])
def test_odd_versions_are_no_fault(odd: str) -> None:
    assert lacking(odd, odd, odd, odd) == ""
    assert lacking("12.3", odd, "8", odd) in (
        "",
        f"CUDA 12.3 and cuDNN 8, and the image holds CUDA {odd} and cuDNN {odd}",
    )


def test_the_screen_shows_energy_a_libcuda_of_the_image_and_its_libraries() -> None:
    source = case("gpu")
    files = {**source.files, TASK + "libcuda.txt": b"/usr/local/cuda/compat/libcuda.so.999.1.2"}
    files[TASK + "gpu-usage.csv"] = rows((5, "100")).encode()
    text = record_text(source.build(files=files, image_facts=json.dumps({**IMAGE_FACTS, **LACKING}).encode()))
    for words in (
        "CUDA 12.5.1 (the image has 12.3.101), cuDNN 9 (the image has 8.9.6)",
        "libcuda 999.1.2 in the container",
        "500 J by nvidia-smi power.draw of 1 GPU: 1 reading, at most 5 s apart",
    ):
        assert words in text
    plain = record_text(source.build())
    assert " J by " not in plain and "libcuda" not in plain
