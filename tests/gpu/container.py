"""A job in a container of this machine's own files, by each engine here; without one, entry.sh in namespaces."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.gpu import engines, image
from tests.gpu.commands import Commands, Ran
from tests.gpu.machine import read
from tests.gpu.node import STRANGER, TEMPLATES, Node, pack, unset
from tests.gpu.rows import Row, compared, failed, held, not_run, seen
from tests.gpu.smi import Gpus
from tests.gpu.work import PROGRAM, answer

JOB, INSIDE = (Path(__file__).with_name(name) for name in ("job.sh", "inside.sh"))
ENGINES = ("docker", "podman")
NAME = "tfslurm-gpu-check:1"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
SHOW = "nvidia-smi -L >/out/list.txt; ls /dev >/out/dev.txt; {python} /{program} list >/out/cuda.json; exit 0"
# Root's podman asks for a million open files and processes where any limit is named, which a small virtual machine may
# not allow: with this limit of the stack the node side names none, and those of containers.conf count.
START = 'ulimit -s 32768; exec bash "$0"'


def rows(node: Node, program: str, gpus: Gpus, env: Mapping[str, str]) -> Iterator[Row]:
    """One job by each engine; entry.sh alone, where none could be tried."""
    path = env.get("PATH", os.defpath)
    here = [name for name in ENGINES if shutil.which(name, path=path)]
    if not here:
        yield not_run("job", "by docker or podman", "neither is here; --packages carries them along")
    done = False
    for engine in here:
        own = engines.podman(node.work / "podman", env) if engine == "podman" else {}
        for row in by_engine(node, program, gpus, engine, {**env, **own}):
            done = done or row.what == "GPUs that it got"
            yield row
    if not done:
        yield from entry(node, gpus)


def by_engine(node: Node, program: str, gpus: Gpus, engine: str, env: Mapping[str, str]) -> Iterator[Row]:
    """An image of this machine's files, a job of it, and the image is removed."""
    step, uuid = f"job by {engine}", (gpus.mig or gpus.uuids)[0]
    answered = node.commands.run(f"{engine}-ps", [engine, "ps"], 30, env=env)
    if answered.code:
        yield not_run(step, "a job", f"{engine} does not work here: {answered.said}")
        return
    imported = import_image(node, program, engine, env)
    if imported.code:
        yield failed(step, "an image of this machine's own files", imported.said)
        return
    try:
        with engines.description(node.commands, program, gpus, uuid) as how:
            yield seen(step, "how the GPU gets into the container", how)
            yield from job(node, engine, imported.out.split()[-1], uuid, env)
    finally:
        node.commands.run(f"{engine}-rmi", [engine, "image", "rm", "--force", NAME], 20, env=env)
        if engine == "podman" and os.geteuid():  # its folder holds files of ids that only podman maps
            node.commands.run("podman-rm", ["podman", "unshare", "rm", "-rf", str(node.work / "podman")], 20, env=env)


def import_image(node: Node, program: str, engine: str, env: Mapping[str, str]) -> Ran:
    """The image's id, in the last word of the output."""
    tar = node.work / "root.tar"
    if not tar.exists():
        image.write(node.commands, program, tar)
    return node.commands.run(f"{engine}-import", [engine, "import", str(tar), NAME], 60, env=env)


def job(node: Node, engine: str, image_id: str, uuid: str, env: Mapping[str, str]) -> Iterator[Row]:
    """A job of one GPU: what the container saw, and what its program did."""
    step, run = f"job by {engine}", node.work / f"run-{engine}"
    pack(run, engine)
    for file in ("entry.sh", "probe.py", "gpu_check.py"):
        shutil.copyfile(TEMPLATES / "inside" / file, run / file)
    run.chmod(0o755)
    told = {
        "GPU_CHECK_RUN": str(run),
        "GPU_CHECK_ENGINE": engine,
        "GPU_CHECK_IMAGE": image_id if image_id.startswith("sha256:") else f"sha256:{image_id}",
        "GPU_CHECK_PLATFORM": f"linux/{MACHINES.get(platform.machine(), platform.machine())}",
        "GPU_CHECK_COMMAND": f"sh\t-c\t{SHOW.format(python=image.python(), program=PROGRAM.name)}",
        "TFSLURM_LOCAL_JOB_ID": "local-1",
        "CUDA_VISIBLE_DEVICES": uuid,
        "PATH": f"{node.paths['real']}:{env.get('PATH', os.defpath)}",
    }
    argv = ["env", *unset(), "bash", "-c", START, str(JOB)]
    ran = node.commands.run(f"{engine}-job", argv, 90, env={**env, **told})
    keep(node.commands, f"{engine}-job", run / "local-1")
    facts, out = run / "local-1" / "attempt-1" / "facts" / "task-0", run / "local-1" / "out"
    if ran.code:
        yield failed(step, "the job", read(facts / "refused.txt") or ran.said)
        return
    verdict = read(facts / "container" / "gpu-check.txt").strip()
    yield compared(step, "GPUs that it got", uuid, " ".join(read(facts / "gpus.txt").split()))
    yield compared(step, "verdict of entry.sh in the container", "ok", verdict)
    listed = re.findall(rf"UUID: ({uuid[:3]}-[^)]+)\)", read(out / "list.txt"))
    yield compared(step, "GPUs that its program saw", [uuid], listed)
    if "error" in answer(Ran(0, read(node.commands.raw / "cuda-list.out"), "")):
        yield not_run(step, "GPUs of CUDA in the container", "this machine has no CUDA library that works")
        return
    found = answer(Ran(0, read(out / "cuda.json"), ""))
    got = [device["uuid"] for device in found.get("devices", [])] or found.get("error")
    yield compared(step, "GPUs of CUDA in the container", [uuid[4:]], got)


def keep(commands: Commands, name: str, folder: Path) -> None:
    """Keep the small files that a job left."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < 1 << 16:
            commands.keep(f"{name}-{path.relative_to(folder)}", read(path))


def entry(node: Node, gpus: Gpus) -> Iterator[Row]:
    """entry.sh in namespaces of its own: it sees every GPU of the machine."""
    step = "entry.sh"
    grants = {"all": (gpus.mig or gpus.uuids, "gpus ok"), "a stranger": ([STRANGER], "gpus failed: ")}
    ways = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", *(["--map-root-user"] if os.geteuid() else [])]
    for what, (granted, expected) in grants.items():
        report = node.work / f"report-{what.replace(' ', '-')}"
        report.touch()
        words = [str(INSIDE), str(report), str(TEMPLATES / "inside" / "entry.sh"), " ".join(granted), "true"]
        env = {"PATH": f"{node.paths['real']}:{os.environ.get('PATH', os.defpath)}"}
        ran = node.commands.run(f"entry-{what}", [*ways, "sh", *words], 30, env=env)
        text = read(report)
        node.commands.keep(f"entry-{what}.report", text)
        if not text and ran.code:
            yield not_run(step, "in namespaces of this machine", ran.said)
            return
        verdict = next((line for line in text.splitlines() if line.startswith("gpus ")), text or ran.said)
        yield held(step, f"granted: {what}", expected, verdict, holds=verdict.startswith(expected))
