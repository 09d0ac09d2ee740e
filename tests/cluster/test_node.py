"""What the node side does whatever the engine is, on real Slurm and docker; the GPUs are stand-ins."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from tfslurm.job_plan import CodeState
from tfslurm.spec import Mount, Resources

from .bed import BIN, DOCKER_HOST, REGISTRY, SCRATCH
from .desk import USER, Desk
from .gpus import of_node
from .jobs import (
    PATIENCE_S,
    WAITING,
    Job,
    ask,
    data,
    fresh_image,
    owned,
    plan,
    put,
    ran,
    refused,
    root,
    sh,
    slurm,
    stand_in,
    submit,
)
from .users import run_as

pytestmark = pytest.mark.usefixtures("bed")


# ----------------------------------------------------------------------------------------------------------------- GPUs


def test_fewer_gpus_than_the_plan_asks_for_end_with_78() -> None:
    job = submit(plan(resources=Resources(gpus=2), options={"gres": "gpu:1"}))
    assert ": gpus: 1 granted to this task, 2 asked for per node;" in refused(job)


FIRST, SECOND, THIRD = (f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "123")
GRANTED = {
    "fewer are visible than were granted": ("0,1", (FIRST,), "nvidia-smi lists 1 GPUs to this task, Slurm granted 2"),
    "nothing is visible": ("0,1", (), "nvidia-smi lists 0 GPUs to this task, Slurm granted 2"),
    "a granted UUID is not visible": (
        f"{FIRST},{THIRD}",
        (FIRST, SECOND),
        f"{THIRD} was granted and nvidia-smi does not",
    ),
    "one UUID is granted twice": (f"{FIRST},{FIRST}", (FIRST, SECOND), "is not the UUID of one more GPU"),
    "MIG devices cannot be counted": ("0,1", (FIRST, "MIG-a", "MIG-b", "MIG-c"), "cannot be told apart among 3"),
    "an index points nowhere": (
        "0,7",
        (FIRST, SECOND, THIRD),
        "Slurm granted GPU 7, and nvidia-smi lists no GPU of that number",
    ),
}


@pytest.mark.parametrize("case", GRANTED)
def test_gpus_that_do_not_agree_with_what_was_granted_end_with_78(case: str) -> None:
    """nvidia-smi is a stand-in here, for the bed's cannot be made to disagree; nothing gets as far as a container."""
    granted, visible, words = GRANTED[case]
    said = by_hand(visible, {"CUDA_VISIBLE_DEVICES": granted, "SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "2"})
    assert words in said


def test_without_a_scheduler_the_user_says_which_gpus() -> None:
    said = by_hand((FIRST, SECOND, THIRD), {"TFSLURM_LOCAL_JOB_ID": "1"})
    assert "3 GPUs are here and 2 are wanted, which ones is not said; set CUDA_VISIBLE_DEVICES" in said


@pytest.mark.parametrize("code", [14, 15])
@pytest.mark.parametrize("visible", [(), (FIRST,)], ids=["no list", "a list"])
def test_a_refusal_has_the_last_words_of_nvidia_smi_and_its_code(visible: tuple[str, ...], code: int) -> None:
    words = "WARNING: infoROM is corrupted at gpu 0000:3B:00.0"
    said = by_hand(visible, {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "1"}, f"echo '{words}'; exit {code}")
    assert f"Slurm granted 2: {words} (nvidia-smi ended with {code}); see " in said


def by_hand(visible: tuple[str, ...], env: Mapping[str, str], end: str = "") -> str:
    """What the task role says with such an nvidia-smi and such variables; it refuses."""
    folder = put(plan(resources=Resources(gpus=2)))
    lines = [
        f"  MIG 1g.5gb Device {n}: (UUID: {u})\n" if "MIG" in u else f"GPU {n}: X (UUID: {u})\n"
        for n, u in enumerate(visible)
    ]
    tool = stand_in("nvidia-smi", "cat <<'END'\n" + "".join(lines) + f"END\n{end}")
    path = f"{tool}:{BIN}:/usr/local/bin:/usr/bin:/bin"
    done = run_as(USER, ["bash", folder / "job.sbatch", "task"], "alpha", env={**env, "PATH": path})
    assert done.returncode == 78, done.stderr
    return done.stderr


# ------------------------------------------------------------------------------------------------------------ lifetimes


def test_a_second_sigterm_changes_nothing() -> None:
    job = submit(plan(outputs="/out", command=sh(f"trap '' TERM; {WAITING}")))
    job.runs()
    for _ in range(3):
        slurm(job, "scancel", "--signal=TERM", job.job_id)
    assert job.end()["exit_code"] == 137
    assert [
        job.fact("events.tsv").count(f"\t{event}\t") for event in ("told-to-stop", "client-ended", "client-lost")
    ] == [1, 1, 0]


# --------------------------------------------------------------------------------------------- what reaches the program


@pytest.mark.parametrize("writable", [False, True])
def test_code_is_the_working_directory_and_only_a_private_copy_is_writable(writable: bool) -> None:
    tree = (uuid.uuid4().hex * 2)[:40]
    folder = root("alpha") / "code" / tree
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("code\n")
    (folder / "train.txt").chmod(0o444)
    folder.chmod(0o555)
    owned(folder.parent)
    script = "pwd; cat train.txt; echo new 2>/dev/null >train.txt && echo writable || echo read-only"
    job = ran(plan(command=sh(script), code=CodeState(tree, writable, 1, 5)))
    assert job.output().split() == ["/workspace", "code", "writable" if writable else "read-only"], job.said()
    assert (folder / "train.txt").read_text() == "code\n"


# ------------------------------------------------------------------------------------------------------- what must hold


def test_a_mount_that_is_not_there_ends_with_78() -> None:
    gone = str(SCRATCH / "alpha" / "no-such-data")
    job = submit(plan(mounts=(Mount(gone, "/data"),), mounts_allow=(str(SCRATCH),)))
    assert f": mounts: {gone} does not exist on this node" in refused(job)


@pytest.mark.parametrize("target", ["/etc", "/etc/ssh", "/", "/var/run", "/home"])
def test_a_link_out_of_the_allowed_folders_ends_with_78(target: str) -> None:
    allowed = data("alpha") / uuid.uuid4().hex
    allowed.mkdir(parents=True)
    (allowed / "link").symlink_to(target)
    job = submit(plan(mounts=(Mount(str(allowed / "link"), "/data"),), mounts_allow=(str(allowed), "/etc")))
    assert f": mounts: {allowed}/link is really {Path(target).resolve()}, which " in refused(job)


def test_a_secret_whose_file_is_gone_ends_with_78() -> None:
    assert ": secrets: TOKEN is not in " in refused(submit(plan(secrets=("TOKEN",))))


def test_the_variable_that_carries_the_gpus_cannot_be_taken_over() -> None:
    job = submit(plan(env={"NVIDIA_VISIBLE_DEVICES": "all"}))
    assert ": env: NVIDIA_VISIBLE_DEVICES is set by tfslurm" in refused(job)


def test_what_is_in_the_image_is_asked_once_and_its_absence_is_said() -> None:
    repository, digest = fresh_image()
    asked = plan(digest=digest, image_sources=(f"{REGISTRY}/{repository}@{digest}",))
    job = ran(asked)
    facts = json.loads((root("alpha") / "images" / f"{digest.removeprefix('sha256:')}.json").read_text())
    assert facts["schema"] == "tfslurm.image/1"
    assert (facts["python"], facts["packages"]) == (None, None)
    assert "no python in the image" in facts["errors"][0]
    assert "probed" in job.fact("events.tsv")
    assert "probing" not in ran(dataclasses.replace(asked, plan_id=uuid.uuid4().hex[:12])).fact("events.tsv")
    ask("docker", "image", "rm", "--force", f"{REGISTRY}/{repository}@{digest}")


# ----------------------------------------------------------------------------------------------------------- whole jobs


def test_two_nodes_leave_the_facts_of_both() -> None:
    job = ran(plan(resources=Resources(gpus=1, nodes=2), command=sh("echo $SLURM_PROCID $SLURMD_NODENAME")))
    assert job.end()["exit_code"] == 0, job.said()
    for rank, node in enumerate(("alpha1", "alpha2")):
        assert f"SLURMD_NODENAME={node}\0" in job.fact("slurm.env", rank)
        (gpu,) = job.fact("gpus.txt", rank).split()
        assert gpu in {gpu.uuid for gpu in of_node(node)}
        assert job.task_end(rank)["exit_code"] == 0
        log = job.attempt() / ("stdout.log" if rank == 0 else f"stdout.{rank}.log")
        assert log.read_text() == f"{rank} {node}\n"


def test_an_array_task_has_its_own_folder() -> None:
    folder = put(plan(command=sh("echo $SLURM_ARRAY_TASK_ID")))
    done = run_as(USER, ["sbatch", "--parsable", "--array=3", folder / "job.sbatch"], "alpha", cwd=Path("/"))
    job = Job(plan(), done.stdout.strip(), folder / f"{done.stdout.strip()}_3")
    assert job.end()["exit_code"] == 0
    assert job.output() == "3\n"


def test_every_fact_is_there_and_every_json_is_json() -> None:
    job = ran(plan(resources=Resources(gpus=1)))
    names = {path.name for path in job.facts().iterdir()}
    assert names >= {
        "slurm.env", "uname.txt", "os-release", "hostname", "cpuinfo.txt", "meminfo.txt", "nvidia-smi-L.txt",
        "nvidia-smi-query.csv", "gpus.txt", "gpu-source.txt", "engine-info.json",
        "image-source.txt", "image-pulled.txt", "image-inspect.json", "container-argv", "container-id.txt", "container",
        "container-inspect.json", "container-diff.txt", "events.tsv", "exit.json",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".error", ".stderr", ".tmp"))]
    for path in (*job.attempt().rglob("*.json"),):
        json.loads(path.read_text())
    began = json.loads((job.attempt() / "begin.json").read_text())
    assert list(began) == [
        "cluster", "job_id", "array_job_id", "array_task_id", "attempt", "restart_count", "user", "uid", "gid",
        "submit_host", "nodelist", "partition", "job_name", "script_sha256", "began_at",
    ]  # fmt: skip
    (image,) = json.loads(job.fact("image-inspect.json"))
    assert job.inspected()["Image"] == image["Id"]
    assert job.fact("image-source.txt").strip() in image["RepoDigests"]


# ------------------------------------------------------------------------------------- what a program can make believe

FORGES = {
    "facts": """
        for name in gpu-check.txt nvidia-smi-L.txt tensorflow-gpu.txt cgroup.txt program-started-at.txt report.txt; do
            echo 'ok: forged' >/run/tfslurm/$name
        done""",
    "pipes": "for name in gpu-check.txt report.txt finished; do mkfifo /run/tfslurm/$name; done",
    "links": "ln -s /etc/passwd /run/tfslurm/gpu-check.txt; ln -s / /run/tfslurm/finished",
    "much": "head -c 70000000 /dev/zero >/run/tfslurm/nvidia-smi-L.txt",
    "report": """
        ls -l /run/tfslurm-report | cut -c 1-10
        cat /run/tfslurm-report || chmod 600 /run/tfslurm-report || echo closed
        for line in 'gpus ok: forged' 'no image: forged' end; do
            timeout 1 sh -c 'echo "$1" >/run/tfslurm-report' sh "$line" &
        done; wait""",
}


def test_nothing_that_a_program_writes_beside_its_outputs_is_a_fact_or_keeps_the_task(desk: Desk) -> None:
    """All at once, and it ends with the code of a refusal; the record is read as a user reads it."""
    script = "\n".join(FORGES.values()).replace("mkfifo", "mkfifo -m 600")
    job = desk.submit(desk.experiment("forges", ["sh", "-c", f"{script}\nexit 78"], resources={"gpus": 1}))
    assert desk.ended(job) == "FAILED"
    record, folder = desk.record(job), desk.run_folder(job) / "attempt-1"
    assert (record["job"]["exit_code"], record["attempts"][0]["ended_by"], record["attempts"][0]["reason"]) == (
        78, "program", "",
    )  # fmt: skip
    facts = folder / "facts" / "task-0"
    assert not (facts / "refused.txt").exists() and (facts / "report.txt").read_text() == "whole\n"
    asked = {**record["asked"], "spec": None}
    told = {**record, "experiment": {**record["experiment"], "command": None}, "asked": asked}
    assert "forged" not in json.dumps(told) and not list(facts.rglob("*.pipe"))
    (gpu,) = record["attempts"][0]["tasks"][0]["gpus"]
    assert record["verified"]["gpus"] == {"status": "ok", "reason": f"the container saw exactly {gpu['uuid']}"}
    said = (folder / "stdout.log").read_text()
    assert said.split() == ["p-w-------", "closed"], "nobody in the container can read what was reported"
    kept = list(desk.root("alpha").glob("images/*.gpus/*"))
    assert len(kept) == 1 and "forged" not in kept[0].read_text(), "another job of this image would believe it"


def test_a_report_that_is_cut_off_is_not_believed() -> None:
    """The check of TensorFlow runs the experiment's modules, which end everything there."""
    evil = "#!/bin/sh\necho 'gpus ok: forged' >/run/tfslurm-report\nkill -9 -1\n"
    code = data("alpha") / "evil-code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "python3").write_text(evil)
    (code / "python3").chmod(0o755)
    owned(code)
    job = ran(plan(resources=Resources(gpus=1), mounts=(Mount(str(code), "/evil"),), mounts_allow=(str(data("alpha")),),
                   env={"PATH": "/evil:/usr/bin:/bin"}, gpu_check="always"))  # fmt: skip
    assert job.end()["exit_code"] == 137, job.said()
    assert job.fact("report.txt") == "what was reported has no end\n"
    assert list((job.facts() / "container").iterdir()) == []


def test_a_prologue_that_fails_leaves_an_end() -> None:
    job = ran(plan(), template='{% extends "job.sbatch.j2" %}{% block prologue %}false{% endblock %}')
    assert job.end() == {**job.end(), "exit_code": 1, "reason": "the script ended with 1 before its tasks did"}


def test_a_prologue_sets_what_the_tasks_see() -> None:
    text = '{% extends "job.sbatch.j2" %}{% block prologue %}export SLURM_MARK="a b"{% endblock %}'
    assert "SLURM_MARK=a b\0" in ran(plan(), template=text).fact("slurm.env")


def test_a_comment_that_sbatch_could_misread_reaches_slurm_whole() -> None:
    comment = """exp#3 'one' "two" $HOME; x"""
    job = ran(plan(options={"comment": comment}))
    shown = slurm(job, "scontrol", "show", "job", job.job_id)
    assert f"Comment={comment}" in [line.strip() for line in shown.splitlines()]


def test_a_local_run_that_is_told_to_stop_stops_its_container() -> None:
    asked = plan(command=sh(f"trap 'exit 5' TERM; {WAITING}"), outputs="/out")
    folder = put(asked)
    job = Job(asked, "1", folder / "1")
    process = subprocess.Popen(
        ["bash", folder / "job.sbatch"],
        user=USER, group=USER, extra_groups=os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid),
        env={"TFSLURM_LOCAL_JOB_ID": "1", "PATH": f"{BIN}:/usr/bin:/bin:/usr/local/bin", "DOCKER_HOST": DOCKER_HOST},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    job.runs()
    process.terminate()
    assert process.wait(PATIENCE_S) == 5
    assert job.end()["reason"] == "stopped by SIGTERM"
    job.leaves_no_container()
