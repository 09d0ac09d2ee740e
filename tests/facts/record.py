"""`python3 -m tests.facts.record [CASE]...` (as root, test bed up): runs real jobs, keeps the raw files they left.

The Slurm, the docker daemon, the registry and the container are real; the GPUs, their driver and nvidia-smi are the
bed's stand-ins. Each CASE.json holds the plan, Slurm's word on the job, what was probed in the image, and every file
below the job's folder but its logs and outputs.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from tests import made
from tests.cluster.bed import SCRATCH
from tests.cluster.users import run_as
from tests.node_side import put_node_side
from tfslurm import slurm
from tfslurm.image import Pin, parse_reference
from tfslurm.job_plan import JobPlan, identify, make_plan, to_json
from tfslurm.registry import resolve
from tfslurm.render import render
from tfslurm.slurm import JobStatus
from tfslurm.spec import Experiment, Mount, Resources, Word
from tfslurm.submission.prepare import sent_files

HERE = Path(__file__).parent
TEMPLATES = HERE.parent.parent / "job_templates"
IMAGE = "127.0.0.1:5000/tfslurm/small:1"
TENSORFLOW = "tensorflow/tensorflow:2.16.1-gpu"
MIRRORS = {"docker.io": ("127.0.0.1:5000",)}
ROOT = SCRATCH / "alpha" / "alice" / "recorded"
DATA = SCRATCH / "alpha" / "alice" / "data"
WRITES = "echo 1 >/out/metrics.json; mkdir /out/sub; echo 2 >/out/sub/model.h5; echo 3 >/tmp/lost.h5; cat /data/x"

SEES = "python3 -c 'import tensorflow as tf; print(tf.config.list_physical_devices())'"


def case(name: str, script: str, *, gpus: int = 0, tasks: int = 1, image: str = IMAGE) -> Experiment:
    return Experiment(
        name=name,
        image=image,
        command=tuple(Word((word,)) for word in ("sh", "-c", script)),
        mounts=(Mount(str(DATA), "/data"),),
        outputs="/out",
        env={"SEED": Word(("7",))},
        resources=Resources(
            gpus=gpus, cpus=tasks, memory_mib=200 * tasks if image == IMAGE else 2000, time_s=600, tasks_per_node=tasks
        ),
    )


def alice(*argv: str) -> str:
    done = run_as("alice", argv, "alpha")
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def planned(experiment: Experiment, pin: Pin, **options: str) -> JobPlan:
    cluster = dataclasses.replace(
        made.CLUSTER, root=PurePosixPath(ROOT), mirrors=MIRRORS, mounts_allow=(PurePosixPath(DATA),)
    )
    resources = experiment.resources
    asked = {
        "partition": "gpu", "nodes": "1", "ntasks-per-node": str(resources.tasks_per_node), "cpus-per-task": "1",
        "mem": f"{resources.memory_mib}M", "time": "10",
        **({"gres": f"gpu:{resources.gpus}"} if resources.gpus else {}), **options,
    }  # fmt: skip
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return make_plan(
        experiment, cluster, pin, options=asked, code=None, parameters={"lr": 0.1}, user="alice", planned_at=now,
        spec_file="exp.yaml", spec_text=f"name: {experiment.name}\n", tfslurm_version="0.1.0",
    )  # fmt: skip


def submit(plan: JobPlan) -> str:
    """Writes the run folder as alice's and submits it; Slurm's id."""
    folder = Path(plan.run_dir)
    folder.mkdir(parents=True)
    texts = {path.name: path.read_text() for path in TEMPLATES.glob("*.j2")}
    (folder / "job.sbatch").write_text(render(plan, texts, "job.sbatch.j2", sent_files(plan)))
    put_node_side(folder, plan.engine, points=plan.points is not None)
    (folder / "plan.json").write_text(json.dumps(to_json(plan)))
    alice_owns(ROOT)
    done = run_as("alice", slurm.sbatch_argv(str(folder / "job.sbatch")), "alpha")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def alice_owns(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "alice", "alice")


def wait(what: str, holds: Callable[[], bool], timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.5)


def status_of(job_id: str) -> JobStatus | None:
    return next(iter(slurm.parse_sacct(alice(*slurm.sacct_argv(job_ids=[job_id])))), None)


def ended(job_id: str) -> bool:
    status = status_of(job_id)
    return status is not None and slurm.is_final(status.state)


def keep(name: str, plan: JobPlan, job_id: str) -> None:
    folder = Path(plan.run_dir) / job_id
    files = {
        str(path.relative_to(folder)): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not str(path.relative_to(folder)).startswith("out/") and path.suffix != ".log"
    }
    image = Path(plan.images_dir) / f"{plan.pin.digest.removeprefix('sha256:')}.json"
    status = status_of(job_id)
    assert status
    document = {
        "job_id": job_id,
        "plan": to_json(plan),
        "status": status._asdict(),
        "image_facts": image.read_text() if image.exists() else None,
        "files": files,
    }
    (HERE / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def main(wanted: Sequence[str]) -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    DATA.mkdir(exist_ok=True)
    (DATA / "x").write_text("x\n")
    alice_owns(DATA)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    pin = resolve(parse_reference(IMAGE), {}, "linux/amd64", now)
    tensorflow = resolve(parse_reference(TENSORFLOW), MIRRORS, "linux/amd64", now)
    gone = dataclasses.replace(pin, digest=made.DIGEST, manifest_digest=made.DIGEST)
    jobs = {
        "gpu": planned(case("gpu", WRITES, gpus=1), pin),
        "failed": planned(case("failed", "echo sorry >&2; exit 3"), pin),
        "refused": planned(case("refused", WRITES, gpus=1), gone),
        "tasks": planned(case("tasks", "nvidia-smi -L", gpus=2, tasks=2), pin),
        "requeued": planned(case("requeued", "sleep 20; echo 1 >/out/x", gpus=1), pin, requeue=""),
        "cancelled": planned(case("cancelled", "sleep 600", gpus=1), pin),
        "memory": planned(case("memory", "tail /dev/zero"), pin),
        "tensorflow": planned(case("tensorflow", f"{SEES} >/out/seen", gpus=1, image=TENSORFLOW), tensorflow),
    }
    jobs["podman"] = identify(dataclasses.replace(planned(case("podman", WRITES, gpus=1), pin), engine="podman"))
    jobs = {name: plan for name, plan in jobs.items() if not wanted or name in wanted}
    ids = {name: submit(plan) for name, plan in jobs.items()}
    for name in {"requeued", "cancelled"} & set(jobs):
        run_dir = Path(jobs[name].run_dir)
        wait(f"{name} starts", lambda run_dir=run_dir: any(run_dir.rglob("program-started-at.txt")))  # type: ignore[misc]
    if "requeued" in ids:
        alice("scontrol", "requeue", ids["requeued"])
    if "cancelled" in ids:
        alice(*slurm.cancel_argv([ids["cancelled"]]))
    for name, plan in jobs.items():
        wait(f"{name} ends", lambda name=name: ended(ids[name]))  # type: ignore[misc]
        keep(name, plan, ids[name])


if __name__ == "__main__":
    main(sys.argv[1:])
