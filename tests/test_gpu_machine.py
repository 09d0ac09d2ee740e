"""The check for real GPUs (tests/gpu) where there is none: beside stand-ins for nvidia-smi and libcuda.

Nothing here shows how a real GPU answers: only that each step says what it found, and that no step keeps the others.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.cuda import Libcuda
from tests.gpu import container, cuda, machine, packages, smi, work
from tests.gpu.__main__ import SHARES, every
from tests.gpu.commands import MOST_BYTES, Commands
from tests.gpu.node import Node
from tests.gpu.node import rows as node_rows
from tests.gpu.rows import DIFFERS, FAILED, NOT_RUN, SAME, Row, compared, table, visible

TEMPLATE = Path(__file__).parent.parent / "job_templates" / "job.sbatch.j2"
UUIDS = ("GPU-11111111-2222-3333-4444-555555555555", "GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
TOLD = {"name": "NVIDIA H100 80GB HBM3", "memory.total": "81559", "driver_version": "580.159.04", "compute_cap": "9.0"}
TWO = smi.Gpus(
    tuple(
        {"index": str(at), "uuid": uuid, "pci.bus_id": f"00000000:0{at}:00.0", "power.limit": "700.00", **TOLD}
        | {"vbios_version": "96.00.74.00.01", "mig.mode.current": "Disabled"}
        for at, uuid in enumerate(UUIDS)
    ),
    "",
    "13.0",
    {},
)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    raw = tmp_path / "raw"
    raw.mkdir()
    return Commands(raw, time.monotonic() + 60)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What plays the machine's nvidia-smi: the bed's stand-in, told of two GPUs."""
    return smi.stand_in(tmp_path / "machine", TWO)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def verdicts(rows: Iterator[Row] | list[Row]) -> dict[str, str]:
    return {f"{row.step}: {row.what}": row.verdict for row in rows}


# ------------------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("script", "limit_s", "why"),
    [
        ("exec sleep 60", 0.1, "no answer in 0 s"),
        ("trap '' TERM INT HUP; while :; do sleep 1; done", 0.1, "no answer in 0 s"),
        ("exec yes", 30, f"more than {MOST_BYTES} bytes"),
        ("exec >&- 2>&-; exec sleep 60", 0.1, "no answer in 0 s"),
    ],
    ids=range(4),
)
def test_a_command_that_hangs_or_never_ends_is_ended(
    script: str, limit_s: float, why: str, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.gpu.commands.LEAST_S", 0)
    ran = commands.run("odd", ["sh", "-c", script], limit_s)
    assert why in ran.why and ran.code == 124


def test_what_a_command_leaves_behind_with_its_output_open_is_ended_too(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.gpu.commands.LINGERS_S", 0.2)
    ran = commands.run("left", ["sh", "-c", "sleep 60 & echo $!"], 30)
    assert (ran.code, ran.why) == (0, "")
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        left = os.pidfd_open(int(ran.out))
        assert select.select([left], [], [], 10)[0] == [left]


def test_a_command_that_cannot_be_started_and_one_after_the_time_is_up_are_said(commands: Commands) -> None:
    assert "cannot be started" in commands.run("none", ["/nowhere/nvidia-smi"], 5).said
    commands.deadline = time.monotonic()
    assert "the time of this step is up" in commands.run("late", ["true"], 5).said


def test_raw_answers_are_kept_whatever_bytes_they_have(commands: Commands) -> None:
    commands.run("a b/c", ["printf", r"\377\000\033[2J"], 5)
    assert (commands.raw / "a_b_c.out").read_bytes() == b"\xff\0\x1b[2J"
    assert json.loads((commands.raw / "commands.json").read_text())[0]["argv"][0] == "printf"


def test_nothing_of_a_machines_words_reaches_the_terminal_as_an_order() -> None:
    row = compared("step", "what", "x", "\x1b[2J\r\n\u202e\udcff" + "y" * 1000)
    assert all(char.isprintable() or char == "\n" for char in table([row]))
    assert len(row.found) <= 400
    assert visible(["a", "b"]) == "a; b"


# ---------------------------------------------------------------------------------------------------------- nvidia-smi


HARMLESS = {"(UUID: $uuid)": "(UUID: $uuid) ", "echo P0": "echo P8", "echo Enabled": "echo Disabled"}
OTHERWISE = {
    "echo 'No devices found.'; exit 6": "echo 'No devices were found'; exit 6",
    "is not a valid field to query": "is not a valid field to query, at all",
    'echo "0${u:+ %}"': 'echo "[Not Supported]"',
    'echo "41.27${u:+ W}"': 'echo "41.27${u:+ watt}"',
    'echo "$1 [MiB]"': 'echo "$1 [GiB]"',
    "vbios_version | serial)": "serial)",
}


def beside(changes: dict[str, str], commands: Commands, program: Path, folder: Path) -> list[Row]:
    """The rows of a nvidia-smi that answers as the stand-in does but for these words."""
    text = program.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    program.write_text(text)
    gpus, _ = smi.ask(commands, str(program), {})
    return [*smi.beside(commands, str(program), smi.stand_in(folder, gpus), gpus)]


@pytest.mark.slow
def test_a_nvidia_smi_that_answers_otherwise_is_told(commands: Commands, program: Path, tmp_path: Path) -> None:
    rows = beside(OTHERWISE, commands, program, tmp_path / "stand-in")
    found = {row.what: row.found for row in rows if row.verdict != SAME}
    assert [*found] == [
        "a field that is none",
        "a GPU that is not here",
        "fields that it does not know",
        "26 fields as csv",
        "26 fields as csv,nounits",
    ]
    assert found["fields that it does not know"] == "vbios_version"
    assert "memory.total: memory.total [GiB], not memory.total [MiB]" in found["26 fields as csv"]
    assert "utilization.gpu: [Not Supported], not 0 %" in found["26 fields as csv"]
    assert "power.draw: 41.27 watt, not 41.27 W" in found["26 fields as csv"]


@pytest.mark.slow
def test_what_a_gpu_measures_and_blanks_that_nobody_reads_are_no_difference(
    commands: Commands, program: Path, tmp_path: Path
) -> None:
    rows = beside(HARMLESS, commands, program, tmp_path / "stand-in")
    assert {row.verdict for row in rows} == {SAME}, table(rows)
    assert len(rows) == 11


BROKEN = {
    "no driver": 'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9',
    "no devices": "echo 'No devices were found'; exit 6",
    "bytes": r"printf 'GPU 0: \377\000 (UUID: nothing)\n'",
    "an order to the terminal": r"printf '\033]0;x\007GPU 0: x (UUID: GPU-\033[2J)\n'",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", BROKEN.values(), ids=BROKEN)
def test_a_nvidia_smi_that_names_no_gpu_is_no_gpu(words: str, tmp_path: Path) -> None:
    written(tmp_path / "bin" / "nvidia-smi", f"#!/bin/sh\n{words}\n")
    done = check(tmp_path, tmp_path / "bin")
    assert done.returncode == 2, done.stderr
    assert "gpu check: no NVIDIA GPU answers here: exit " in done.stdout
    assert "CUDA library" in done.stdout
    assert "\x1b" not in done.stdout


def check(tmp_path: Path, tools: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The whole check as it is typed."""
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    argv = [sys.executable, "-S", "-m", "tests.gpu", "--raw", str(tmp_path / "raw"), *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200)


def test_without_nvidia_smi_it_says_what_it_would_have_done(tmp_path: Path) -> None:
    done = check(tmp_path, tmp_path, "--json")
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert (said["gpus"], said["rows"]) == ([], [])
    assert said["why"] == "nvidia-smi is not in PATH, nor where sites put it"
    assert len(said["steps"]) == 10


# ---------------------------------------------------------------------------------------------------------- every step


@pytest.mark.slow
def test_every_step_runs_and_one_that_fails_keeps_no_other(
    commands: Commands, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's own engines are out of PATH; the kernel's files and libcuda are what this machine has."""
    monkeypatch.setenv("PATH", str(without_engines(tmp_path)))
    here = machine.Machine(str(program), True, {})
    monkeypatch.setattr(work, "library", lambda *_: 1 / 0)
    rows = [*every(commands, tmp_path / "work", here, smi.ask(commands, str(program), {})[0], None)]
    found = verdicts(rows)
    assert found["CUDA library: the step"] == FAILED
    assert found["node side: nvidia-smi-query.csv"] == SAME
    assert found["node side: granted as number 1"] == SAME
    assert found["node side: two, one of which is not here"] == SAME
    assert found["record: GPUs of the query"] == SAME
    assert found["tfslurm check: lines of gpu-row"] == SAME
    assert found["MIG: slices"] == NOT_RUN
    assert found["job: by docker or podman"] == NOT_RUN
    assert [row for row in rows if row.verdict == DIFFERS and row.step not in ("machine", "tfslurm check")] == []
    assert (commands.raw / "facts-whole-nvidia-smi-query.csv").read_text().startswith("index, uuid, name, memory.total")


@pytest.mark.slow
def test_a_nvidia_smi_that_hangs_takes_no_time_of_the_other_steps(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = "".join(f"echo 'GPU {at}: {TOLD['name']} (UUID: {uuid})'; " for at, uuid in enumerate(UUIDS))
    script = f"#!/bin/sh\ncase $* in -L) {lists};; *) exec sleep 1000 ;; esac\n"
    program = written(tmp_path / "machine" / "nvidia-smi", script.replace("; ;;", " ;;"))
    monkeypatch.setenv("PATH", str(without_engines(tmp_path)))
    monkeypatch.setattr("tests.gpu.__main__.SHARES", dict.fromkeys(SHARES, 1.5))
    gpus = smi.Gpus(tuple({"index": str(at), "uuid": uuid, **TOLD} for at, uuid in enumerate(UUIDS)), "", "13.0", {})
    began = commands.deadline = time.monotonic()
    rows = [*every(commands, tmp_path / "work", machine.Machine(str(program), True, {}), gpus, None)]
    assert time.monotonic() - began < 30
    found = verdicts(rows)
    assert found["nvidia-smi: -L"] == SAME
    assert found["nvidia-smi: all fields"] == FAILED
    assert found["node side: the whole machine"] == FAILED
    assert found["tfslurm check: the probe of a node"] == FAILED
    assert {row.step for row in rows} >= {"CUDA library", "load", "framework", "MIG", "job"}
    for step in ("CUDA library", "load"):
        first = next(row for row in rows if row.step == step)
        assert "the time of this step is up" not in first.found, step


def without_engines(tmp_path: Path) -> Path:
    """A folder of links to what /usr/bin has, but for docker and podman."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for place in (Path("/usr/bin"), Path("/usr/sbin")):
        for path in place.iterdir():
            if path.name not in container.ENGINES and not (folder / path.name).is_symlink():
                (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
def test_a_gpu_that_is_lost_while_it_is_looked_at_is_told(commands: Commands, program: Path, tmp_path: Path) -> None:
    gpus, _ = smi.ask(commands, str(program), {})
    pretended = smi.stand_in(tmp_path / "stand-in", gpus)
    lost = "echo 'Unable to determine the device handle for gpu 0000:01:00.0: GPU is lost'; exit 15"
    program.write_text(program.read_text().replace("list() {", f"list() {{ {lost}; }}\nnever() {{"))
    (row,) = node_rows(Node(commands, tmp_path / "work", str(program), pretended), gpus)
    assert row.verdict == FAILED
    assert "GPU is lost" in (commands.raw / "facts-whole-nvidia-smi-L.txt.error").read_text()


# -------------------------------------------------------------------------------------------- libcuda, by its stand-in


def devices(*uuids: str) -> dict[bytes, bytes]:
    return {bytes.fromhex(uuid[4:].replace("-", "")): b"NVIDIA H100 80GB HBM3" for uuid in uuids}


def no_energy(_: str) -> dict[str, Any]:
    return {"energy_mj": None, "power_mw": None, "why": "a stand-in"}


def test_each_device_is_described_as_nvidia_smi_names_it() -> None:
    found = cuda.listed(cuda.Cuda(Libcuda(devices(*UUIDS))))
    assert (found["cuda"], found["count"]) == ("13.2", 2)
    assert [f"GPU-{device['uuid']}" for device in found["devices"]] == [*UUIDS]
    assert {device["name"] for device in found["devices"]} == {"NVIDIA H100 80GB HBM3"}


def test_a_call_that_fails_is_named_as_cuda_names_it() -> None:
    with pytest.raises(cuda.CudaError, match=r"cuInit: CUDA_ERROR_NO_DEVICE \(100\)"):
        cuda.Cuda(Libcuda({}))


@pytest.mark.parametrize(("takes", "target"), [(("sm_50", "sm_90"), "sm_50"), (("sm_90",), "sm_90")])
def test_a_gpu_is_kept_busy_for_the_time_and_let_go(takes: tuple[str, ...], target: str) -> None:
    loaded, ticks = Libcuda(devices(*UUIDS), takes), count()
    found = cuda.busy(cuda.Cuda(loaded), 20, no_energy, lambda: float(next(ticks)))
    assert (found["uuid"], found["target"]) == (UUIDS[0][4:], target)
    assert found["launches"] > 3
    assert (loaded.current, loaded.retained) == (False, False)


@pytest.mark.parametrize(
    ("loaded", "why"),
    [
        (Libcuda(devices(*UUIDS), targets=()), "CUDA_ERROR_INVALID_PTX"),
        (Libcuda(devices(*UUIDS), wrong=1), "the kernel computed"),
    ],
)
def test_a_kernel_that_is_not_taken_or_computes_wrongly_is_an_error(loaded: Libcuda, why: str) -> None:
    with pytest.raises(cuda.CudaError, match=why):
        cuda.busy(cuda.Cuda(loaded), 5, no_energy, time.monotonic)
    assert not loaded.retained


def test_the_end_of_the_chain_is_known_without_going_along_it() -> None:
    value = 1
    for turns in range(1, 300):
        value = (value * cuda.MULTIPLIER + cuda.INCREMENT) % 2**64
        assert cuda.chain(turns) == value


def test_a_machine_without_the_library_was_not_asked_and_one_that_fails_was(commands: Commands) -> None:
    gone = "libcuda.so.1: cannot open shared object file: No such file or directory"
    assert work.absent("load", "a kernel", gone).verdict == NOT_RUN
    assert work.absent("load", "a kernel", "cuInit: CUDA_ERROR_UNKNOWN (999)").verdict == FAILED


# ------------------------------------------------------------------------------------------------------------ the load

USAGE = "seconds, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]\n"


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (f"1, {UUIDS[0]}, 100, 512, 700.00\n", []),
        (f"1, {UUIDS[0]}, 0, 0, 700.00\n", ["utilisation under load"]),
        (f"1, {UUIDS[0]}, [N/A], 512, 700.00\n", ["utilisation under load"]),
        (f"1, {UUIDS[1]}, 100, 512, 700.00\n", ["samples of gpu-usage.csv"]),
        ("", ["samples of gpu-usage.csv", "utilisation under load"]),
    ],
)
def test_samples_under_load_name_the_gpu_and_its_use(rows: str, wrong: list[str]) -> None:
    assert [row.what for row in work.usage(USAGE + rows, UUIDS[0]) if row.verdict == DIFFERS] == wrong


def test_an_energy_counter_rises_or_is_not_there() -> None:
    before, after = ({"energy_mj": at, "power_mw": 700_000, "why": ""} for at in (1_000, 8_401_000))
    (row,) = work.energy(before, after, 12.0)
    assert (row.verdict, row.found) == (SAME, "8400 J in 12 s, 700 W; 700000 mW at the end")
    assert [row.verdict for row in work.energy(before, before, 12.0)] == [DIFFERS]
    assert [row.verdict for row in work.energy(no_energy(""), no_energy(""), 12.0)] == [NOT_RUN]


@pytest.mark.slow
def test_the_node_side_watches_a_program_that_runs_long_enough(
    commands: Commands, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is none of CUDA's; the watch and the stand-in, which says 0 %, are those that a job has."""
    said = {
        "launches": 9,
        "seconds": 6.5,
        "target": "sm_50",
        "energy_before": no_energy(""),
        "energy_after": no_energy(""),
    }
    busy = written(tmp_path / "busy.py", f"import time\ntime.sleep(6.5)\nprint({json.dumps(json.dumps(said))})\n")
    monkeypatch.setattr(work, "PROGRAM", busy)
    gpus, _ = smi.ask(commands, str(program), {})
    node = Node(commands, tmp_path / "work", str(program), smi.stand_in(tmp_path / "stand-in", gpus))
    rows = [*work.load(node, gpus)]
    assert [row.what for row in rows if row.verdict == DIFFERS] == ["utilisation under load"], table(rows)
    (sample,) = (tmp_path / "work" / "load-real" / "gpu-usage.csv").read_text().splitlines()[1:]
    assert re.fullmatch(rf"\d+, {UUIDS[0]}, 0, 0, 41\.27", sample)


# --------------------------------------------------------------------------------------------------------- frameworks


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("GPU 0: A100 (UUID: GPU-1)\n  MIG 3g.20gb     Device  0: (UUID: MIG-2)\n", SAME),
        ("GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-1/7/0)\n", SAME),
        ("GPU 0: A100 (UUID: GPU-1)\n", DIFFERS),
        ("GPU 0: A100 (UUID: GPU-1)\n  MIG 3g.20gb (UUID: MIG-2)\n", DIFFERS),
    ],
)
def test_slices_are_looked_at_where_mig_is_on(text: str, verdict: str, commands: Commands) -> None:
    gpus = smi.Gpus(({"uuid": "GPU-1", "mig.mode.current": "Enabled"},), text, "13.0", {})
    assert [row.verdict for row in work.mig(commands, "true", gpus)] == [verdict]
    asked = [entry["argv"] for entry in commands.log]
    assert asked == [["true", "mig", "-lgi"], ["true", "mig", "-lci"], ["true", "mig", "-lgip"]]


@pytest.mark.parametrize(("count_of_gpus", "verdict"), [(1, SAME), (0, DIFFERS)])
def test_torch_is_asked_where_a_python_has_it(
    count_of_gpus: int, verdict: str, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of torch's shape, which has no GPU either."""
    shape = f"""\
        __version__ = "2.11.0"
        class cuda:
            device_count = staticmethod(lambda: {count_of_gpus})
            get_device_name = staticmethod(lambda place: {TOLD["name"]!r})
        class ones:
            def __init__(self, *shape, device=""): pass
            def __matmul__(self, other): return self
            def sum(self): return 256.0 ** 3
        """
    written(tmp_path / "torch.py", "\n".join(line[8:] for line in shape.splitlines()))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    one = smi.Gpus(TWO.rows[:1], "", "13.0", {})
    (row,) = work.frameworks(commands, one)
    assert (row.what.split()[:2], row.verdict) == (["torch", "2.11.0"], verdict)


# ---------------------------------------------------------------------------------------------- what is carried along


def debian(path: Path, files: dict[str, str], compression: str = "xz") -> Path:
    """A package as dpkg-deb makes them: an ar archive of a version, control and data."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar.{compression}": data.getvalue()}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_packages_are_unpacked_beside_the_machines_own_files(compression: str, tmp_path: Path) -> None:
    debian(tmp_path / "podman_4.deb", {"usr/bin/podman": "#!/bin/sh\n"}, compression)
    debian(tmp_path / "lib_1.deb", {"usr/lib/x86_64-linux-gnu/libyajl.so.2": "x"}, compression)
    env = packages.unpack(tmp_path, tmp_path / "there")
    assert env["PATH"].split(os.pathsep)[0] == str(tmp_path / "there/usr/bin")
    assert (tmp_path / "there/usr/bin/podman").stat().st_mode & 0o111
    assert f"{tmp_path}/there/usr/lib/x86_64-linux-gnu" in env["LD_LIBRARY_PATH"]


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"PK\3\4", b"!<arch>\ndata.tar.xz     0           0     0     100644  9         `\nnot a tar"],
)
def test_what_is_no_package_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.deb").write_bytes(content)
    with pytest.raises(packages.PackageError, match=r"odd\.deb: "):
        packages.unpack(tmp_path, tmp_path / "there")


def test_a_folder_without_packages_is_named(tmp_path: Path) -> None:
    with pytest.raises(packages.PackageError, match=r"holds no \*\.deb"):
        packages.unpack(tmp_path, tmp_path / "there")


# ------------------------------------------------------------------------------------------------ the job's own script


def test_the_job_of_the_check_has_every_setting_of_a_real_one() -> None:
    """A setting that job.sbatch.j2 gains, and job.sh does not, would end the node side's scripts on a GPU's machine."""
    head = TEMPLATE.read_text().partition("sent=(")[0]
    wanted = {*re.findall(r"^([a-z_0-9]+)=", head, re.MULTILINE)} - {"points_sha256", "points_per_job"}
    found = {*re.findall(r"(?:^|\s)([a-z_0-9]+)=", container.JOB.read_text())}
    assert wanted <= found, f"tests/gpu/job.sh lacks {sorted(wanted - found)}"


def test_entry_runs_nowhere_but_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    """It ends every process that it sees."""
    done = subprocess.run(["sh", container.INSIDE, tmp_path / "r", "/nowhere", ""], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (75, "inside.sh: not in a process namespace of its own\n")
