"""Functions of job_templates/parts by themselves, in bash, on recorded and handmade text."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.node_side import packed, sourced
from tfslurm.record.facts import parse_hashes, parse_sizes
from tfslurm.workspace.packaged_files import SHELL_SIDE

NODE_SH, TASK_SH = (packed() / name for name in SHELL_SIDE)
A100 = "NVIDIA A100-SXM4-40GB"
WHOLE = [f"GPU-{digit * 8}-1111-2222-3333-444444444444" for digit in "abc"]
MIG = [f"MIG-{digit * 8}-5555-6666-7777-888888888888" for digit in "def"]
# The format is that of NVIDIA's MIG User Guide, "Device enumeration": a GPU, then its devices, indented.
# Source: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/getting-started-with-mig.html
SLICED = f"""\
GPU 0: {A100} (UUID: {WHOLE[0]})
  MIG 3g.20gb     Device  0: (UUID: {MIG[0]})
  MIG 1c.2g.10gb  Device  1: (UUID: {MIG[1]})
GPU 1: {A100} (UUID: {WHOLE[1]})
GPU 2: {A100} (UUID: {WHOLE[2]})
  MIG 3g.20gb     Device  0: (UUID: {MIG[2]})
"""
OLD_MIG = f"GPU 0: A100-SXM4-40GB (UUID: {WHOLE[0]})\n  MIG 1g.5gb Device 0: (UUID: MIG-{WHOLE[0]}/7/0)\n"


def bash(tmp_path: Path, script: str, listed: str = "", engine: str = "docker", **env: str) -> str:
    """What a script prints that has node.sh's functions; ``nvidia-smi -L`` said ``listed``."""
    facts = tmp_path / "facts"
    (facts / "container").mkdir(parents=True, exist_ok=True)
    (facts / "nvidia-smi-L.txt").write_text(listed)
    settings = (
        f"facts={facts} where=alpha1 is_local='' job=145 rank=0 gpus=1 gpus_per_task=0 tasks_per_node=1 cluster=alpha\n"
        "run_dir=/nowhere own_dir=/nowhere packages_key=''\n"
    )
    whole = f"set -euo pipefail\n{sourced(engine)}\n{settings}{script}"
    clean = {"PATH": "/usr/bin:/bin", **env}
    done = subprocess.run(["bash", "-c", whole], env=clean, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


SOCKET = 'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.41/containers/c/json"'
DAEMONS = {
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": "gone",
    f"error during connect: {SOCKET}: EOF": "gone",
    f"error during connect: {SOCKET}: read unix @->/var/run/docker.sock: read: connection reset by peer": "gone",
    "Error: No such container: c": "there",
}


@pytest.mark.parametrize("said", DAEMONS, ids=["refused", "ends", "resets", "answers"])
def test_a_daemon_that_goes_away_while_it_is_asked_is_gone(tmp_path: Path, said: str) -> None:
    script = f"if engine::is_gone {shlex.quote(said)}; then echo gone; else echo there; fi"
    assert bash(tmp_path, script) == f"{DAEMONS[said]}\n"


# -------------------------------------------------------------------------------------------------- which GPUs are here


@pytest.mark.parametrize(
    ("listed", "uuids"),
    [
        ("No devices found.\n", []),
        (f"GPU 0: Tesla V100 (UUID: {WHOLE[0]})\nGPU 1: Tesla V100 (UUID: {WHOLE[1]})\n", WHOLE[:2]),
        (SLICED, [MIG[0], MIG[1], WHOLE[1], MIG[2]]),
        (OLD_MIG, [f"MIG-{WHOLE[0]}/7/0"]),
    ],
)
def test_a_gpu_that_is_cut_into_mig_devices_counts_as_those(listed: str, uuids: list[str], tmp_path: Path) -> None:
    said = bash(tmp_path, 'gpu::_listed; printf "%s\\n" "${listed[@]}"', listed)
    assert said.split() == uuids


def resolved(tmp_path: Path, listed: str, granted: str, *, count: int = 1) -> str:
    script = f'gpus={count} gpu_look="" user=alice; gpu::resolve; echo "$gpu_source ${{gpu_ids[*]-}}"'
    return bash(tmp_path, script, listed, CUDA_VISIBLE_DEVICES=granted).strip()


def test_mig_devices_are_taken_as_slurm_names_them(tmp_path: Path) -> None:
    assert resolved(tmp_path, SLICED, f"{MIG[2]},{MIG[0]}", count=2) == f"slurm-uuid {MIG[2]} {MIG[0]}"


def test_the_only_mig_device_that_a_task_can_see_is_its_own(tmp_path: Path) -> None:
    confined = SLICED.splitlines(keepends=True)
    assert resolved(tmp_path, confined[0] + confined[2], "0") == f"cgroup {MIG[1]}"


def test_a_mig_device_in_the_older_form_of_its_name_is_one(tmp_path: Path) -> None:
    assert resolved(tmp_path, OLD_MIG, f"MIG-{WHOLE[0]}/7/0") == f"slurm-uuid MIG-{WHOLE[0]}/7/0"


def test_a_position_among_mig_devices_of_others_says_nothing(tmp_path: Path) -> None:
    assert "gpus: CUDA_VISIBLE_DEVICES=1 cannot be told apart among 4 visible devices" in resolved(
        tmp_path, SLICED, "1"
    )


def test_fewer_gpus_than_were_granted_are_refused(tmp_path: Path) -> None:
    one = SLICED.splitlines(keepends=True)[3]
    assert "gpus: nvidia-smi lists 1 GPUs to this task, Slurm granted 2" in resolved(tmp_path, one, "0,1", count=2)


LOST = "Unable to determine the device handle for gpu 0000:0B:00.0: GPU is lost"


def with_a_gap(*, words: str = LOST, numbers: tuple[int, ...] = (0, 2, 3)) -> str:
    """The list of an unconfined node of four GPUs, one of which is lost."""
    lines = {number: f"GPU {number}: A100 (UUID: {FOUR[number]})" for number in numbers}
    gone = {1: words} if words else {}
    return "".join(f"{line}\n" for _, line in sorted({**lines, **gone}.items()))


FOUR = [f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "abcd"]


@pytest.mark.parametrize("words", [LOST, "", "WARNING: infoROM is corrupted at gpu 0000:3B:00.0", "[Unknown Error]"])
def test_the_number_that_a_line_carries_names_the_gpu_not_its_place(words: str, tmp_path: Path) -> None:
    gap = with_a_gap(words=words)
    assert resolved(tmp_path, gap, "2") == f"index-unconstrained {FOUR[2]}"
    assert resolved(tmp_path, gap, "3,0", count=2) == f"index-unconstrained {FOUR[3]} {FOUR[0]}"
    assert resolved(tmp_path, gap, "0,2,3", count=3) == f"cgroup {FOUR[0]} {FOUR[2]} {FOUR[3]}"


@pytest.mark.parametrize("words", [LOST, "", "GPU 1: A100"])
@pytest.mark.parametrize(("granted", "count"), [("1", 1), ("0,1,2", 3), ("1,2,3", 3), ("7", 1)])
def test_a_granted_gpu_that_is_lost_is_not_another_one(words: str, granted: str, count: int, tmp_path: Path) -> None:
    said = resolved(tmp_path, with_a_gap(words=words), granted, count=count)
    number = 7 if granted == "7" else 1
    assert f"gpus: Slurm granted GPU {number}, and nvidia-smi lists no GPU of that number" in said
    assert words in said
    assert "GPU-" not in said


def test_where_slurm_confines_a_task_its_gpus_count_from_0(tmp_path: Path) -> None:
    two = f"GPU 0: A100 (UUID: {FOUR[2]})\nGPU 1: A100 (UUID: {FOUR[3]})\n"
    for granted in ("0,1", "2,3"):
        assert resolved(tmp_path, two, granted, count=2) == f"cgroup {FOUR[2]} {FOUR[3]}"


@pytest.mark.parametrize("code", [14, 15, 255])
def test_a_list_counts_although_nvidia_smi_ends_with_a_code(code: int, tmp_path: Path) -> None:
    """14 and 15: the infoROM of a GPU is corrupted, a GPU is lost. Source: nvidia-smi(1)."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho 'GPU 0: A100 (UUID: {FOUR[0]})'\necho 'WARNING: infoROM' >&2\nexit {code}\n")
    smi.chmod(0o755)
    script = 'gpus=1; gpu::look; gpu::resolve; echo "$gpu_source ${gpu_ids[*]-}"; cat "$facts/nvidia-smi-L.txt"'
    said = bash(tmp_path, script, CUDA_VISIBLE_DEVICES="0", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert f"cgroup {FOUR[0]}" in said
    assert f"nvidia-smi ended with {code}" in said
    smi.write_text(f"#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk to the driver'\nexit {code}\n")
    said = bash(tmp_path, script, CUDA_VISIBLE_DEVICES="0", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert "nvidia-smi lists 0 GPUs to this task, Slurm granted 1: NVIDIA-SMI has failed" in said
    assert "nvidia-smi-L.txt.error" in said


# ----------------------------------------------------------------------------------------------------------- the driver


def test_a_task_that_was_not_given_its_share_alone_is_refused(tmp_path: Path) -> None:
    """As a Slurm that does not bind by --gpus-per-task would leave it."""
    two = "".join(f"GPU {n}: X (UUID: {uuid})\n" for n, uuid in enumerate(WHOLE[:2]))
    script = 'gpus=2 tasks_per_node=2 gpus_per_task=1 gpu_look="" user=alice; gpu::resolve; echo "${gpu_ids[*]}"'
    said = bash(tmp_path, script, two, CUDA_VISIBLE_DEVICES="0,1")
    assert "gpus: 2 granted to this task, whose share is 1 of the node's 2;" in said
    assert bash(tmp_path, script, f"GPU 0: X (UUID: {WHOLE[1]})\n", CUDA_VISIBLE_DEVICES="0").strip() == WHOLE[1]


@pytest.mark.parametrize(
    ("have", "want", "older"),
    [
        ("535.104.05", "535.104.05", False),
        ("535.104.05", "535.104.06", True),
        ("535.54.03", "535.104.05", True),
        ("535.104.09", "535.104.08", False),  # not octal
        ("580.65", "580", False),
        ("580.65", "580.65.06", True),
        ("1000.1", "999.9", False),
        ("470.57.02", "525.60.13", True),
    ],
)
def test_drivers_are_compared_part_by_part(have: str, want: str, older: bool, tmp_path: Path) -> None:
    said = bash(tmp_path, f"if driver::_is_older {have} {want}; then echo older; else echo not older; fi")
    assert said.strip() == ("older" if older else "not older")


QUERY = f"""\
index, uuid, name, memory.total [MiB], driver_version, pci.bus_id
0, {WHOLE[0]}, {A100}, 40960, 470.57.02, 00000000:07:00.0
"""


def test_a_driver_that_is_too_old_for_the_image_is_refused_in_words(tmp_path: Path) -> None:
    script = f"""
printf %s '{QUERY}' >"$facts/nvidia-smi-query.csv"
true & driver_look=$!
minimum_driver=525.60.13 minimum_driver_for='CUDA 12.3.0'
driver::check
"""
    words = (
        "driver: too old: driver 470.57.02 is older than 525.60.13, the oldest that the image (CUDA 12.3.0) admits; use"
    )
    assert words in bash(tmp_path, script)
    assert words in (tmp_path / "facts" / "refused.txt").read_text()


@pytest.mark.parametrize(
    ("version", "minimum"), [("470.57.02", ""), ("525.60.13", "525.60.13"), ("", "525.60.13"), ("[N/A]", "525.60.13")]
)
def test_a_driver_is_refused_only_when_both_versions_are_known(version: str, minimum: str, tmp_path: Path) -> None:
    script = f"driver_look='' driver_version='{version}' minimum_driver={minimum}\ndriver::check\necho goes on"
    assert bash(tmp_path, script) == "goes on\n"


# ----------------------------------------------------------------------------------------------------------- TensorFlow


def test_kinds_of_gpus_are_counted_and_a_mig_device_is_named_after_its_gpu(tmp_path: Path) -> None:
    ids = f"gpu_ids=({MIG[0]} {MIG[2]} {WHOLE[1]})"
    said = bash(tmp_path, f'{ids}; tensorflow::_kinds; echo "$kinds"', SLICED).strip()
    assert sorted(said.split(", ")) == [f"1 x {A100}", f"2 x {A100} MIG 3g.20gb"]


LOOK = """
images_dir={images} image_digest=sha256:{digest} tensorflow_check={mode} tensorflow_check_key={key}
gpu_ids=({uuid}) driver_version={driver}
tensorflow::look
echo "${{tensorflow_ask:-not asked}}"
"""
FRESH = """
printf '%s\\n' '{answer}' >"$facts/container/tensorflow-gpu.txt"
tensorflow::keep
"""


def look(tmp_path: Path, *, answer: str = "", **changes: str) -> str:
    """'yes' where TensorFlow must be asked, 'not asked' where not; then ``answer`` is what it said."""
    asked = {
        "images": str(tmp_path / "images"), "digest": "ab" * 32, "mode": "cached", "key": "0123456789ab",
        "uuid": WHOLE[1], "driver": "550.54.14", **changes,
    }  # fmt: skip
    keep = FRESH.format(answer=answer) if answer else ""
    return bash(tmp_path, LOOK.format(**asked) + keep, SLICED).strip()


def told(tmp_path: Path) -> str:
    return (tmp_path / "facts" / "container" / "tensorflow-gpu.txt").read_text()


def test_an_answer_is_kept_and_the_next_job_relies_on_it_and_says_so(tmp_path: Path) -> None:
    assert look(tmp_path, answer="ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU") == "yes"
    assert look(tmp_path) == "not asked"
    said = told(tmp_path)
    assert said.startswith("ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU (cached: observed 20")
    assert said.endswith(f" by job 145, alpha1, driver 550.54.14, 1 x {A100})\n")


@pytest.mark.parametrize(
    "change",
    [{"digest": "cd" * 32}, {"driver": "550.54.15"}, {"uuid": MIG[0]}, {"key": "ba9876543210"}, {"mode": "always"}],
    ids=str,
)
def test_another_question_is_asked_anew(change: dict[str, str], tmp_path: Path) -> None:
    look(tmp_path, answer="ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU")
    assert look(tmp_path, **change) == "yes"


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        ("failed: TensorFlow 2.16.1 lists 0 of 1 granted GPU", "yes"),
        ("unknown: TensorFlow cannot be asked: ImportError", "yes"),
        ("unknown: TensorFlow is not in the image", "not asked"),
    ],
)
def test_only_what_another_look_would_not_change_is_kept(answer: str, again: str, tmp_path: Path) -> None:
    look(tmp_path, answer=answer)
    assert look(tmp_path) == again


def test_without_the_drivers_version_nothing_is_kept_or_relied_on(tmp_path: Path) -> None:
    assert look(tmp_path, answer="ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU", driver="''") == "yes"
    assert not (tmp_path / "images").exists()


def test_a_cache_file_that_was_cut_off_is_not_relied_on(tmp_path: Path) -> None:
    look(tmp_path, answer="ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU")
    (file,) = (tmp_path / "images").glob("*.gpus/*")
    file.write_text(file.read_text().splitlines()[0])
    assert look(tmp_path) == "yes"


KEPT = "ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU"


@pytest.mark.parametrize(
    "case", ["link", "pipe", "folder", "control characters", "no verdict", "long", "linked folder"]
)
def test_a_cache_file_that_this_user_did_not_write_as_it_is_written_is_not_relied_on(case: str, tmp_path: Path) -> None:
    look(tmp_path, answer=KEPT)
    (file,) = (tmp_path / "images").glob("*.gpus/*")
    text = file.read_text()
    if case == "linked folder":
        file.parent.rename(tmp_path / "elsewhere")
        file.parent.symlink_to(tmp_path / "elsewhere")
        assert look(tmp_path, answer=KEPT) == "yes"
        assert (tmp_path / "elsewhere" / file.name).read_text() == text, "nothing is written through it either"
        return
    file.unlink()
    if case == "link":
        (tmp_path / "other").write_text(text)
        file.symlink_to(tmp_path / "other")
    elif case == "pipe":
        os.mkfifo(file)
    elif case == "folder":
        file.mkdir()
    else:
        changed = {"control characters": "ok: \033[2J", "no verdict": "hello", "long": "ok: " + "x" * 2000}[case]
        file.write_text(text.replace(KEPT, changed))
    assert look(tmp_path) == "yes"
    if case in ("link", "pipe"):
        assert look(tmp_path, answer=KEPT) == "yes"
        assert look(tmp_path) == "not asked", "what was there is replaced, not followed"


def test_an_answer_to_another_question_under_the_same_name_is_not_relied_on(tmp_path: Path) -> None:
    """Names of files are cut and cleaned; the question itself stands in the file."""
    look(tmp_path, answer="ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU")
    (file,) = (tmp_path / "images").glob("*.gpus/*")
    file.write_text(file.read_text().replace("driver 550.54.14", "driver 550_54_14"))
    assert look(tmp_path) == "yes"


def test_a_check_that_is_off_is_told_and_not_made(tmp_path: Path) -> None:
    assert look(tmp_path, mode="off") == "not asked"
    assert told(tmp_path) == "unknown: not checked: gpu_check is off\n"


def test_a_variable_that_only_changes_when_words_are_seen_does_not_lead_the_check_of_gpus_into_the_code(
    tmp_path: Path,
) -> None:
    script = """
environment=(PYTHONUNBUFFERED= PYTHONPATH=/x SEED=7 PYTHONUNBUFFERED=2) loader_variables=(PYTHON TF_)
attempt=1 outputs="" checkpoint_signal="" gpu_ids=() user=alice create=()
container::_environment
echo "${loader_words[*]} | ${other_words[*]}"
"""
    assert bash(tmp_path, script) == "PYTHONPATH=/x | PYTHONUNBUFFERED= SEED=7 PYTHONUNBUFFERED=2\n"


# ------------------------------------------------------------------------------------------------------------- engines


@pytest.mark.parametrize(
    ("line", "path"),
    [
        # Slurm on cgroup v2, its cgroup_v2 page: https://slurm.schedmd.com/cgroup_v2.html
        (
            "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
            "/system.slice/slurmstepd.scope/job_7/step_0/user",
        ),
        ("0::/system.slice/alpha1_slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_2", None),
        ("0::/user.slice/user-2001.slice/session-1.scope", ""),
        ("4:memory:/slurm/uid_2001/job_7/step_0/task_0\n0::/", ""),
    ],
)
def test_the_cgroup_above_a_container_is_that_of_the_step_not_of_the_task(
    line: str, path: str | None, tmp_path: Path
) -> None:
    said = bash(tmp_path, f"cgroup::of_step $'{line.encode('unicode_escape').decode()}'; echo \"[$cgroup_path]\"")
    wanted = line.partition("::")[2].removesuffix("/task_2") if path is None else path
    assert said == f"[{wanted}]\n"


INFO = {
    "docker with CDI": '{"CDISpecDirs":["/etc/cdi","/var/run/cdi"],"CgroupDriver":"systemd"}',
    "docker with CDI off": '{"CDISpecDirs":[],"CgroupDriver":"cgroupfs"}',
    "docker before CDI": '{"CgroupDriver":"cgroupfs"}',
}


@pytest.mark.parametrize(
    ("info", "is_named", "words"),
    [
        ("docker with CDI", True, f"--device nvidia.com/gpu={WHOLE[0]} --env NVIDIA_VISIBLE_DEVICES=void"),
        ("docker with CDI", False, f'--gpus "device={WHOLE[0]}"'),
        ("docker with CDI off", True, f'--gpus "device={WHOLE[0]}"'),
        ("docker before CDI", True, f'--gpus "device={WHOLE[0]}"'),
    ],
)
def test_docker_hands_out_gpus_by_cdi_only_where_it_reads_cdi_and_every_gpu_is_described(
    info: str, is_named: bool, words: str, tmp_path: Path
) -> None:
    """The test bed's docker daemon is older than CDI: its answers stand here as its API documents them."""
    spec = tmp_path / "gpus.json"
    spec.write_text(f'{{"devices": [{{"name": "{WHOLE[0] if is_named else WHOLE[1]}"}}]}}')
    script = (
        f"engine=docker engine_info='{INFO[info]}' engine_look='' gpu_ids=({WHOLE[0]})\n"
        f"create=() cdi_folders=({tmp_path})\n"
        'engine::add_gpus; echo "${create[*]}"'
    )
    assert bash(tmp_path, script) == words + "\n"


@pytest.mark.parametrize(
    ("info", "controller", "can"),
    [
        ('{"host":{"cgroupControllers":[],"security":{"rootless":true}}}', "memory", "no"),
        ('{"host":{"cgroupControllers":["cpu","memory"],"security":{"rootless": true}}}', "memory", "yes"),
        ('{"host":{"cgroupControllers":["cpu","memory"],"security":{"rootless": true}}}', "cpuset", "no"),
        ('{"host":{"cgroupControllers":["memory"],"security":{"rootless":false}}}', "cpuset", "yes"),
    ],
)
def test_podman_is_told_only_the_limits_that_it_can_hold(info: str, controller: str, can: str, tmp_path: Path) -> None:
    script = f"engine_info='{info}'; engine::can_limit {controller} && echo yes || echo no"
    assert bash(tmp_path, script, engine="podman") == f"{can}\n"


def test_podmans_container_has_ended_unseen_if_both_its_processes_are_gone(tmp_path: Path) -> None:
    script = """
        (:) & dead=$!; wait "$dead"
        coproc { me=$BASHPID; (until [[ $(<"/proc/$me/comm") == sleep ]]; do :; done) & echo "$!"; exec sleep 60; }
        read -r zombie <&"${COPROC[0]}"
        until [[ $(<"/proc/$zombie/stat") == *') Z '* ]]; do :; done
        engine::_ask() { echo "$said_of_it"; }
        while IFS= read -r said_of_it; do
            if engine::ended_unseen id; then echo yes; else echo no; fi
        done < <(printf '%s %s\\n' "$dead" "$dead" "$dead" "$zombie" "$dead" "$$" "$$" "$dead" "$zombie" "$dead" 0 0)
        kill "$COPROC_PID"
    """
    # A watcher that lives may still write the end; a number may be another's now; podman would still signal a zombie.
    assert bash(tmp_path, script, engine="podman").split() == ["yes", "yes", "no", "no", "no", "no"]


STORM = """\
trap 'interrupted=yes' TERM
sleep 60 & stays=$!
for round in {1..40}; do
    (exit 5) & short=$!
    (sleep 0.00$((RANDOM % 9)); exit 7) & long=$!
    (for _ in {1..6}; do kill -s TERM $$; done) & storm=$!
    for process in "$long" "$short" "$storm"; do
        node::_wait "$process"
        if kill -s 0 "$process" 2>/dev/null; then echo "$process is waited for no more"; fi
        echo "$((process == long)) $waited_code"
    done
done
kill -s KILL "$stays"
"""


def test_a_process_that_bash_forgets_between_signals_is_not_waited_for(tmp_path: Path) -> None:
    """In nearly every round bash forgets one: a plain `wait` for it never ends while another process runs."""
    said = bash(tmp_path, STORM).splitlines()
    assert len(said) == 120, said
    assert {line.partition(" ")[0] for line in said} == {"0", "1"}
    assert said.count("1 7") > 20


def test_a_wait_gives_the_code_of_its_process(tmp_path: Path) -> None:
    gone = "(exit 9) & process=$!\nsleep 0.1\nnode::_wait $process; echo $waited_code\n"
    goes = "(sleep 0.1; exit 127) & node::_wait $!; echo $waited_code\n"
    assert bash(tmp_path, gone + goes) == "9\n127\n"


# ---------------------------------------------------------------------------------------------------------------- locks

LOCK = """
user=alice images_dir={images} stopped='' warned='' interrupted=''
lock::take one
echo "$lock_folder"
lock::drop
"""


def locks(tmp_path: Path, temporary: str, **env: str) -> str:
    """Where a lock was taken; the folder in /tmp is one of the test's own."""
    text = (NODE_SH.read_text() + TASK_SH.read_text()).replace('"/tmp/tfslurm-$EUID"', f'"{temporary}"')
    (tmp_path / "node.sh").write_text(text)
    (tmp_path / "facts").mkdir(exist_ok=True)
    settings = f"source {tmp_path / 'node.sh'}; facts={tmp_path / 'facts'} where=alpha1\n"
    script = "set -euo pipefail\n" + settings + LOCK.format(images=tmp_path / "images")
    done = subprocess.run(["bash", "-c", script], env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_lock_is_in_a_folder_of_the_nodes_own_that_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    assert [locks(tmp_path, str(folder)) for _ in range(2)] == [str(folder)] * 2
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("case", ["open to all", "a link", "a file", "not there, and cannot be made"])
def test_a_folder_that_somebody_made_first_keeps_no_job_from_its_lock(case: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "tmp", tmp_path / "images" / "locks-alpha1"
    if case == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif case == "a link":
        (tmp_path / "target").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "target")
    elif case == "a file":
        folder.touch()
    else:
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "tmp"
    assert [locks(tmp_path, str(folder)) for _ in range(2)] == [str(other)] * 2
    assert not (tmp_path / "target").exists() or not list((tmp_path / "target").iterdir())


@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077])
@pytest.mark.parametrize("root", [0o755, 0o2755])
def test_the_folder_of_answers_is_the_users_alone_whatever_the_umask_says(
    umask: int, root: int, tmp_path: Path
) -> None:
    """It is made for the lock, where somebody else has that in /tmp; in a project's folder it has a set-gid bit."""
    tmp_path.chmod(root)
    (tmp_path / "tmp").touch()
    before = os.umask(umask)
    try:
        assert locks(tmp_path, str(tmp_path / "tmp")) == str(tmp_path / "images" / "locks-alpha1")
    finally:
        os.umask(before)
    assert (tmp_path / "images").stat().st_mode & 0o077 == 0


PROBE = """
images_dir={root}/images image_digest=sha256:ab rank=0 probe='' stopped='' warned='' interrupted=''
run_dir=/nowhere own_dir=$run_dir
image_source=x engine={engine} container_name=c job=7 plan_id=x user=alice attempt=1 own_group=1
memory_mib=0 raw_job_id=7 attempt_dir={root}/facts
probe::start
if [[ -n $probe ]]; then wait "$probe" || :; fi
"""


@pytest.mark.parametrize("case", ["open to all", "a link", "another's answer", "a link in its way", "nothing there"])
def test_an_image_is_probed_into_a_folder_of_ones_own_alone(case: str, tmp_path: Path) -> None:
    images, other = tmp_path / "images", tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "precious").write_text("whole")
    (tmp_path / "docker").write_text(
        '#!/bin/sh\ncase $1 in create) echo id ;; start) echo \'{"by": "probe"}\' ;; esac\n'
    )
    (tmp_path / "docker").chmod(0o755)
    if case == "a link":
        images.symlink_to(other)
    elif case != "nothing there":
        images.mkdir(mode=0o700)
    if case == "open to all":
        images.chmod(0o2775)
    elif case == "another's answer":
        (images / "ab.json").symlink_to(other / "precious")
    elif case == "a link in its way":
        (images / "ab.json.7.0.tmp").symlink_to(other / "precious")
    assert bash(tmp_path, PROBE.format(root=tmp_path, engine=tmp_path / "docker"), TMPDIR=str(tmp_path)) == ""
    assert (other / "precious").read_text() == "whole"
    assert [path.name for path in other.iterdir()] == ["precious"]
    if case in ("open to all", "a link"):
        assert not (images / "ab.json").exists()
    else:
        assert (images / "ab.json").read_text() == '{"by": "probe"}\n'
        assert not (images / "ab.json").is_symlink()


def test_without_any_place_for_locks_a_task_goes_on(tmp_path: Path) -> None:
    (tmp_path / "images").touch()
    (tmp_path / "tmp").touch()
    assert locks(tmp_path, str(tmp_path / "tmp")) == ""


# ----------------------------------------------------------------------------------------------- nothing can be written


def test_an_end_that_cannot_be_written_down_is_told_and_what_was_begun_is_removed(tmp_path: Path) -> None:
    """The facts are a file, so nothing can be written below them, whoever is asking."""
    removed = tmp_path / "removed"
    engine = tmp_path / "docker"
    engine.write_text(
        f"#!/bin/sh\n[ $1 = rm ] && echo $* >{removed}\n[ $2 = inspect ] || exit 0\n"
        'printf \'false 0 false "2026-01-01T00:00:00Z" "2026-01-01T00:00:01Z"\\n""\\n{}\\n\'\n'
    )
    engine.chmod(0o755)
    script = f"""
facts={tmp_path}/none/facts engine=docker container_id=abc started=yes stopped='' client='' grace_s=3 slow_facts=''
interrupted='' client_code=0 code=0 mount_wrong=''
PATH={tmp_path}:$PATH
container::end
echo "exit $exit_code"
"""
    said = bash(tmp_path, script)
    assert "exit 75" in said.splitlines()
    assert (
        f"root: {tmp_path}/none/facts/exit.json cannot be written: the file system is full, read-only or gone" in said
    )
    assert removed.read_text() == "rm --force --volumes abc\n", "an image's volumes are removed with its container"


@pytest.mark.parametrize(
    ("code", "end", "why"),
    [
        (75, "", "task-1 could not write"),
        (75, '{"exit_code": 75, "started_at": "2026-11-23T08:00:00Z"}', ""),
        (2, "", ""),
        *((code, f'{{"exit_code": {code}, "started_at": null}}', "task-1 ended before its") for code in (1, 75, 78)),
    ],
)
def test_a_task_that_could_not_write_its_end_is_not_taken_for_the_program(
    code: int, end: str, why: str, tmp_path: Path
) -> None:
    for rank in (0, 1):
        (tmp_path / f"facts/task-{rank}").mkdir(parents=True)
        if end or rank == 0:
            (tmp_path / f"facts/task-{rank}/exit.json").write_text(end or '{"exit_code": 75}')
    script = f"""
attempt_dir={tmp_path} job_dir={tmp_path} outputs='' stopped='' nodes=1 checkpoint_requeue='' began_at='' interrupted=''
secrets=() run_dir={tmp_path} own_dir=$run_dir checkpoint_signal='' tasks_per_node=1 user=alice read_group=''
batch::_end {code}
"""
    said = bash(tmp_path, script)
    assert (tmp_path / "exit.json").exists(), said
    reason = json.loads((tmp_path / "exit.json").read_text())["reason"]
    assert reason.startswith(why)
    assert bool(reason) is bool(why)


@pytest.mark.parametrize("size", ["10T", "1"])
def test_hashing_outputs_ends_when_the_job_is_told_to(size: str, tmp_path: Path) -> None:
    """A file of ten terabytes takes hours to read, and costs a program one call."""
    (tmp_path / "out").mkdir()
    script = f"""
cd {tmp_path}
job_dir={tmp_path} attempt_dir={tmp_path} outputs=/out stopped='' interrupted='' kill_wait=2
truncate --size={size} {tmp_path}/out/large
trap 'interrupted=yes stopped=TERM' TERM
main=$BASHPID
(
    until [[ -e outputs.sha256.tmp || -e outputs.sha256 ]]; do read -r -t 0.01 <> <(:) || :; done
    kill -s TERM $main
) & teller=$!
outputs::list
node::_wait $teller
"""
    assert bash(tmp_path, script) == ""
    assert (tmp_path / "outputs.sizes").exists()
    if size == "1":
        assert (tmp_path / "outputs.sha256").read_bytes().endswith(b"  ./large\0")
    else:
        assert (tmp_path / "outputs.sha256.error").read_text() == "not hashed: the job was being stopped\n"


# ---------------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize(("python", "code"), [("echo {}", 0), ("echo {}; echo why >&2; exit 3", 3), ("yes", 141)])
def test_the_probe_of_an_image_is_read_within_bounds(python: str, code: int, tmp_path: Path) -> None:
    """An engine whose image prints what it likes; without a bound it would fill the file system of the root."""
    engine = tmp_path / "docker"
    engine.write_text(f"#!/bin/sh\n{python}\n")
    engine.chmod(0o755)
    script = f"""
engine={engine} probe_id=abc temporary={tmp_path}/answer
said=0; probe::_ask || said=$?
echo $said
"""
    assert bash(tmp_path, script).strip() == str(code)
    answer = (tmp_path / "answer").read_bytes()
    assert answer == b"{}\n" if python != "yes" else len(answer) == 4 * 2**20
    assert (tmp_path / "facts" / "probe.stderr").read_text() == ("why\n" if code == 3 else "")


@pytest.mark.parametrize("name", SHELL_SIDE)
def test_what_the_script_reads_in_whole_ends_with_one_newline(name: str) -> None:
    """``$(<FILE)`` drops those at the end; the script puts a NUL there, which no file has, before it takes the sum."""
    text = (packed() / name).read_text()
    assert text.endswith("\n") and not text.endswith("\n\n") and "\0" not in text


# ----------------------------------------------------------------------------------------- what ends before a container

TASK = """
engine=true gpus=0 run_dir={folder} own_dir=$run_dir
user=alice stopped='' client='' started='' container_id='' probe='' slow_facts=''
warned=''
checkpoint_signal='' grace_s=2 home_dir={folder}/home program_dir={folder}/program attempt_dir={folder}
trap task::_left EXIT
"""


def test_a_task_that_is_refused_before_its_container_still_describes_its_node(tmp_path: Path) -> None:
    said = bash(tmp_path, TASK.format(folder=tmp_path) + "report::make; task::refuse image 'is not here'")
    assert "unbound" not in said
    for name in ("uname.txt", "cpuinfo.txt", "os-release", "exit.json"):
        assert (tmp_path / "facts" / name).stat().st_size, name
    assert not (tmp_path / "facts" / "report.pipe").exists()


def test_other_files_than_were_sent_are_a_refusal_and_not_the_programs_end(tmp_path: Path) -> None:
    bash(tmp_path, TASK.format(folder=tmp_path) + "sent::check() { return 1; }; report::make; container::create")
    refused = (tmp_path / "facts" / "refused.txt").read_text()
    assert refused == f"tfslurm: alpha1: script: {tmp_path} holds other files than were sent; submit again\n"


def test_a_program_that_never_starts_is_stopped_although_it_was_to_be_warned_first(tmp_path: Path) -> None:
    """As an image's shell has it that never comes to the program, or a slow check of TensorFlow."""
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\n[ "$1" != stop ] || kill -9 $(cat {tmp_path}/client)\n')
    engine.chmod(0o755)
    script = f"""
grace_s=2 engine={engine} container_id=c told_first=yes stopped=TERM checkpoint_signal=USR1
sleep 60 & client=$!
echo $client >{tmp_path}/client
sleep() {{ command sleep 0.01; }} # as often as always
( container::_stop ) & stopping=$!
SECONDS=0
wait $client || :
echo "after $SECONDS s"
wait $stopping
"""
    said = bash(
        tmp_path,
        f"timeout 20 bash -c {shlex.quote(f'{sourced()}; facts={tmp_path}/facts; {script}')}",
    )
    assert re.search(r"after [0-5] s", said), said


@pytest.mark.parametrize(("ended", "hidden"), [(True, False), (False, False), (True, True)])
def test_a_group_reads_outputs_only_when_nothing_there_runs_as_the_user(
    ended: bool, hidden: bool, tmp_path: Path
) -> None:
    """Not while a program may still write there, and not where find cannot look."""
    out, task = tmp_path / "out", tmp_path / "facts" / "task-0"
    (out / "open").mkdir(parents=True)
    task.mkdir(parents=True)
    if ended:
        (task / "exit.json").write_text("{}")
    modes = {"run": 0o6755, "open/all": 0o4677, "plain": 0o640}
    for name, mode in modes.items():
        (out / name).write_text(name)
        (out / name).chmod(mode)
    (out / "link").symlink_to("/etc/passwd")
    (out / "open").chmod(0o3333 if hidden else 0o3777)
    out.chmod(0o700)
    script = f"outputs::open 2>/dev/null || :; stat --format=%a {out} {out}/run {out}/open/all {out}/open {out}/plain"
    alone = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    whole = f"set -euo pipefail; source {NODE_SH}; read_group=lab job_dir={tmp_path} attempt_dir={tmp_path}; {script}"
    said = subprocess.run([*alone, "bash", "-c", whole], capture_output=True, text=True, check=True).stdout.split()
    if ended and not hidden:
        assert said == ["750", "755", "655", "3755", "640"]
    else:
        assert said[0] == "700"


def test_every_output_is_hashed_by_its_own_bytes_whatever_its_name(tmp_path: Path) -> None:
    """``-`` is standard input to sha256sum."""
    out = tmp_path / "job" / "out"
    (out / "sub").mkdir(parents=True)
    names = ("-", "--", "--help", "*", "sub/-", "a\nb", "\\", " ")
    for name in names:
        (out / name).write_text(f"in {name}")
    bash(tmp_path, f"outputs=/out stopped='' job_dir={tmp_path}/job attempt_dir={tmp_path}; outputs::list")
    sums = parse_hashes((tmp_path / "outputs.sha256").read_bytes())
    assert sums == {name: hashlib.sha256(f"in {name}".encode()).hexdigest() for name in names}
    assert parse_sizes((tmp_path / "outputs.sizes").read_bytes()) == {name: len(f"in {name}") for name in names}


# ----------------------------------------------------------------------------------------- what an image says of itself


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['"linux/amd64"', "[]", '"A=1"', '"B=2"'], "went on"),
        (['"linux/amd64"', "[]", '"A=1"', '"A=1"'], "went on"),
        (['"linux/amd64"', "[]", '"A=1"', '"A=2"'], 'variable "A=1", the image has "A=1" and "A=2"'),
        (['"linux/amd64"', "[]", '"A=2"', '"A=1"'], 'variable "A=1", the image has "A=2" and "A=1"'),
        (['"linux/amd64"', "[]", '"A=1"', '"B=2"', '"B=3"'], "went on"),
        (['"linux/amd64"', "[]", '"A=1"', '"CUDA_VERSION=12"'], 'no CUDA_VERSION, the image has "CUDA_VERSION='),
        ([r'"linux/amd64\\n[]\\n\\"A=1\\""', "[]", '"A=1"'], r"platform linux/amd64, the image has linux/amd64\\n[]"),
        (["linux/arm64", "[]", '"A=1"'], "platform linux/amd64, the image has linux/arm64"),
        ([], "platform linux/amd64, the image has "),
    ],
)
def test_an_image_is_what_the_lock_file_says_also_where_it_says_a_thing_twice(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    script = f"""
engine=docker image_json='{{}}' image_platform=linux/amd64 image_entrypoint='[]'
image_environment=('"A=1"') image_missing=(CUDA_VERSION) image_has=({shlex.join(lines)})
image::_compare
echo went on
"""
    assert said in bash(tmp_path, script)


def test_no_word_of_an_image_begins_a_line_of_its_own() -> None:
    """What image::_find reads line by line is written by the engine with escapes, all but names and JSON."""
    look = TASK_SH.read_text().partition("engine::has_image() {")[2].partition("\n}")[0]
    raw = re.findall(r"{{(\.[A-Za-z.]*)}}", look)
    assert raw == [".Id", "."]  # an id, and names, which hold no spaces


# ------------------------------------------------------------------------------------------------------ what has no end


@pytest.mark.slow
@pytest.mark.parametrize(("stopped", "why"), [("TERM", ""), ("", "this attempt changed nothing in its outputs")])
def test_near_sigkill_outputs_that_take_too_long_do_not_keep_a_job_from_going_on(
    stopped: str, why: str, tmp_path: Path
) -> None:
    """Here find does not end before it is ended, or needs a while for what it found at once before."""
    (tmp_path / "out").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/find").write_text(f"#!/bin/sh\nsleep {60 if stopped else 0.1}\nprintf '1 2 x\\0'\n")
    (tmp_path / "bin/find").chmod(0o755)
    (tmp_path / "outputs.before").write_bytes(b"1 2 x\0")
    script = f"""
PATH={tmp_path}/bin:$PATH SLURM_JOB_ID=1 stopped='{stopped}' job_dir={tmp_path} attempt_dir={tmp_path} outputs=/out
checkpoint_max_requeues=3 is_local=''
scontrol() {{ :; }}
type() {{ :; }}
timeout() {{ echo "$1 $2" >{tmp_path}/within; shift 2; command timeout 0.1 "$@"; }}
set +e
checkpoint::_forbidden
echo "$forbidden"
"""
    said = bash(tmp_path, script).rstrip("\n")
    assert said.startswith(why) and bool(said) is bool(why)
    assert (tmp_path / "within").exists() is bool(stopped)
    if stopped:
        assert (tmp_path / "within").read_text() == "--kill-after=1 3\n"


@pytest.mark.parametrize(
    ("engine", "limit", "words"),
    [("docker", "0", "--ulimit core=0"), ("docker", "8", "--ulimit core=8192"), ("docker", "unlimited", ""),
     ("podman", "0", "")],
)  # fmt: skip
def test_a_program_leaves_no_larger_core_than_the_job_may(engine: str, limit: str, words: str, tmp_path: Path) -> None:
    script = f"create=(); ulimit -S -c {limit}; limits::core; echo ${{create[*]-}}"
    assert bash(tmp_path, script, engine=engine).strip() == words


# ------------------------------------------------------------------------------------ where others can replace a folder


@pytest.mark.parametrize("shared", ["2775 0 /proj\n", ""])
def test_the_pipe_of_the_report_is_the_jobs_own_where_others_can_replace_a_folder(shared: str, tmp_path: Path) -> None:
    (tmp_path / "run/145/attempt-1/facts/task-0/container").mkdir(parents=True)
    (tmp_path / "run/145/attempt-1/home").mkdir()
    script = f"""
run_dir={tmp_path}/run; exec {{run_file}}<"$run_dir/."; own_dir=/proc/$$/fd/$run_file attempt_dir=$own_dir/145/attempt-1
facts=$attempt_dir/facts/task-0 program_dir=$attempt_dir/home home_dir=$attempt_dir/home user=alice create=() outputs=''
code_dir='' mounts=() mount_sources=() secrets=() tensorflow_ask='' report_next=''
printf '%s' '{shared}' >"$attempt_dir/shared-folders"
touch "$facts/passwd" "$facts/group" "$own_dir/entry.sh"
report::make
container::_mounts
mv "$run_dir" "$run_dir.moved"
for ((at = 0; at < ${{#admit_targets[@]}}; at++)); do
    if [[ ${{admit_targets[at]}} != /run/tfslurm-report ]]; then continue; fi
    [[ $run_dir.moved/145/attempt-1/facts/task-0/report.pipe -ef /proc/$$/fd/${{admit_files[at]}} ]] && echo the same
done
"""
    assert bash(tmp_path, script) == ("the same\n" if shared else "")


WHOLE_ANSWER = 'sha256:1 a/b@sha256:2 \n{}\n"linux/amd64"\n["run"]\n"A=1"\nworkdir ""\n\n'


def found_image(tmp_path: Path, answer: str, sources: str = "a/b@sha256:2") -> str:
    (tmp_path / "said").write_text(answer)
    (tmp_path / "fake").write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    (tmp_path / "fake").chmod(0o755)
    script = f"""
engine={tmp_path}/fake image_sources=({sources}) stopped='' warned='' image_look='' image_archive=''
image::_find || {{ echo none; exit; }}
image_platform=linux/amd64 image_entrypoint='["run"]' image_environment=() image_missing=()
image::_compare
echo "holds ${{#image_has[@]}}"
"""
    return bash(tmp_path, script)


@pytest.mark.slow
def test_what_an_engine_says_of_an_image_counts_only_as_a_whole(tmp_path: Path) -> None:
    """Where the file system fills at that moment it is cut off somewhere, which is no word of the lock file's."""
    other = 'sha256:9 c/d@sha256:9 \n{}\n"linux/amd64"\n[]\nworkdir ""\n\n'
    for whole in (WHOLE_ANSWER, other + WHOLE_ANSWER, WHOLE_ANSWER + other):
        assert found_image(tmp_path, whole).strip() == "holds 4"
    assert [found_image(tmp_path, nothing).strip() for nothing in ("", "\n", other)] == ["none"] * 3
    for length in range(len(WHOLE_ANSWER) - 1, WHOLE_ANSWER.index("@"), -7):
        said = found_image(tmp_path, WHOLE_ANSWER[:length])
        assert "fake: what it says of the image is cut off; look with df" in said, length


def test_an_image_puts_no_line_into_what_is_said_of_it(tmp_path: Path) -> None:
    assert "linux\\nx/amd64" in found_image(tmp_path, WHOLE_ANSWER.replace("linux", "linux\\nx"))


def test_a_refusal_that_cannot_be_written_down_is_a_refusal(tmp_path: Path) -> None:
    script = f'facts={tmp_path}/none\nevent() {{ :; }}\n( task::refuse image why fix ) || echo "ended with $?"'
    said = bash(tmp_path, script)
    assert "image: why; fix" in said
    assert "ended with 78" in said


def loaded(tmp_path: Path, content: bytes | None, answer: str = "exit 0") -> str:
    """What comes of an archive that was sent as ``content`` had to be; ``answer`` is the engine's to load."""
    images = tmp_path / "images"
    images.mkdir(mode=0o700)
    sent = hashlib.sha256(b"as it was sent").hexdigest()
    if content is not None:
        (images / f"{sent}.tar").write_bytes(content)
    (tmp_path / "fake").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n{answer}\n')
    (tmp_path / "fake").chmod(0o755)
    return bash(
        tmp_path,
        f"""
engine={tmp_path}/fake images_dir={images} image_archive={sent} stopped='' warned='' waited_for='' interrupted=''
lock_folder='' checkpoint_signal=''
image::_load
echo "$pulled_from, and $engine had: $(<{tmp_path}/asked)"
""",
    )


def test_an_archive_is_loaded_only_as_it_was_sent(tmp_path: Path) -> None:
    said = loaded(tmp_path, b"as it was sent")
    sent = hashlib.sha256(b"as it was sent").hexdigest()
    assert said.startswith(f"the archive sha256:{sent}, and ")
    assert said.strip().endswith(f"had: load --quiet --input {tmp_path}/images/{sent}.tar")


@pytest.mark.parametrize(
    ("content", "answer", "words"),
    [
        (None, "exit 0", ".tar is not there; give the same command again"),
        (b"as a disk has spoilt it", "exit 0", ".tar was changed after it was sent; give the same command again"),
        (b"as it was sent", "echo 'no space left on device' >&2; exit 1", "no space left on device; see whether"),
    ],
)
def test_an_archive_that_cannot_be_loaded_is_refused(
    tmp_path: Path, content: bytes | None, answer: str, words: str
) -> None:
    said = loaded(tmp_path, content, answer)
    assert "tfslurm: alpha1: image: " in said and words in said and ", and " not in said
    assert (tmp_path / "asked").exists() == (content == b"as it was sent"), "nothing else reaches the engine"


# ------------------------------------------------------------------------------------- what Slurm's SIGTERM reaches too


def test_an_answer_that_a_signal_cut_off_is_no_part_of_the_next_one(tmp_path: Path) -> None:
    """docker 28 ends with 1 then, and has printed an empty line: the container's end would be read from that."""
    script = (
        'engine::end_state() { if mkdir "$1" 2>/dev/null; then echo; return 1; fi; echo "false 137"; echo more; }\n'
        'stopped=TERM; task::insist engine::end_state "$facts/asked"'
    )
    assert bash(tmp_path, script) == "false 137\nmore\n"


def test_an_answer_of_an_engine_that_failed_by_itself_is_passed_on(tmp_path: Path) -> None:
    script = 'mute() { echo part; echo why >&2; return 3; }; stopped=""; task::insist mute || echo "code $?"'
    assert bash(tmp_path, script) == "part\ncode 3\nwhy\n"


@pytest.mark.parametrize(
    ("is_local", "fix"),
    [
        ("", "push it to a registry that the node reaches, under that digest, or see"),
        ("yes", "name a registry that has it in `mirrors` of local.yaml, or see"),
    ],
    ids=["on a node", "on this machine"],
)
def test_an_image_that_is_nowhere_is_refused_with_its_digest_once(is_local: str, fix: str, tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    script = f"""
        is_local={is_local} image_digest={digest} image_reference=lab:5000/small:1
        image_sources=(lab:5000/small@{digest})
        event() {{ :; }}; image::_note() {{ :; }}; task::_stop_if_told() {{ :; }}; engine::mute() {{ engine_mute=; }}
        task::_in_background() {{ "$@"; }}
        engine::pull() {{ echo "Error response from daemon: manifest for $1 not found" >&2; return 1; }}
        image::_pull"""
    (said,) = bash(tmp_path, script).splitlines()
    why = "lab:5000/small: Error response from daemon: manifest for lab:5000/small not found"
    begins = f"tfslurm: alpha1: image: lab:5000/small:1 is not obtainable as {digest}: {why}; {fix}"
    assert said == f"{begins} {tmp_path}/facts/image-pull.log"
