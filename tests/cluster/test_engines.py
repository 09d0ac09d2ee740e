"""What every engine gives a program on the test bed: GPUs, words, mounts, secrets, an identity and the pinned image.

Slurm, docker and podman are real; the GPUs, docker's hook and podman's CDI description of them are stand-ins.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.made import HOSTILE
from tfslurm.record.facts import parse_log_sums
from tfslurm.record.machine import count_of, parse_driver_cuda
from tfslurm.spec import Mount, Resources

from . import images, registry
from .bed import DOCKER_SOCKET, HOOK_LOG, MIRROR, REGISTRY, wait_until
from .desk import USER, Desk, as_yaml
from .gpus import of_node
from .jobs import PATIENCE_S, WAITING, Job, ask, data, fresh_image, owned, plan, ran, refused, sh, slurm, submit
from .users import run_as

pytestmark = [pytest.mark.usefixtures("bed"), pytest.mark.parametrize("engine", ["docker", "podman"])]


# ----------------------------------------------------------------------------------------------------------------- GPUs


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Another job, which holds GPU 0 of the second node of a cluster, once no test of another file has it."""
    cluster: str = request.param
    argv = ["sbatch", "--parsable", f"--nodelist={cluster}2", "--gres=gpu:1", "--mem=50M", "--output=/dev/null"]
    job_id = ""

    def holds_the_first() -> bool:
        nonlocal job_id
        job_id = run_as(USER, [*argv, "--wrap", "sleep 60"], cluster).stdout.strip()
        shown = ["scontrol", "-d", "show", "job", job_id]
        assert wait_until(lambda: "JobState=RUNNING" in run_as(USER, shown, cluster).stdout, PATIENCE_S)
        if "(IDX:0)" in run_as(USER, shown, cluster).stdout:
            return True
        run_as(USER, ["scancel", job_id], cluster)
        return False

    assert wait_until(holds_the_first, PATIENCE_S)
    yield cluster
    run_as(USER, ["scancel", job_id], cluster)


@pytest.mark.parametrize(
    ("tenant", "source"), [("alpha", "cgroup"), ("beta", "index-unconstrained")], indirect=["tenant"]
)
def test_beside_another_job_the_container_gets_the_very_gpus_that_slurm_gave(
    engine: str, tenant: str, source: str
) -> None:
    asked = plan(
        tenant, engine=engine, resources=Resources(gpus=2), options={"nodelist": f"{tenant}2"}, outputs="/out",
        command=sh(f"ls /dev/nvidia[0-9]*; {WAITING}"),
    )  # fmt: skip
    job = submit(asked)
    job.runs()
    shown = slurm(job, "scontrol", "-d", "show", "job", job.job_id)
    job.go()
    assert job.end()["exit_code"] == 0, job.said()
    match = re.search(r"GRES=gpu(?::\w+)?:2\(IDX:([0-9,-]+)\)", shown)
    assert match, shown
    indices = [n for part in match[1].split(",") for n in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)]
    assert 0 not in indices, "the other job holds GPU 0"
    gpus = [of_node(f"{tenant}2")[index] for index in indices]
    given = [gpu.uuid for gpu in gpus]
    assert hooked(job) == ([given] if engine == "docker" else []), "podman has them by CDI, without anybody's hook"
    assert job.output().split() == [f"/dev/nvidia{gpu.minor}" for gpu in gpus]
    assert job.fact("gpus.txt").split() == given
    assert job.fact("gpu-source.txt") == f"{source}\n"
    assert job.fact("container/gpu-check.txt") == "ok\n"
    assert re.findall(r"UUID: ([^)]+)", job.fact("container/nvidia-smi-L.txt")) == given
    assert job.fact("nvidia-smi-query.csv").startswith(
        "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id, compute_cap\n"
    )


def test_gpus_and_what_the_program_loaded_for_them_are_looked_at_while_it_runs(engine: str) -> None:
    """busybox by another name: what the kernel shows among the maps of its process is a file called so."""
    named = "cp /bin/busybox /out/libcuda.so.545.23.08; ln -s libcuda.so.545.23.08 /out/sh"
    script = f"{named}; exec /out/sh -c '{WAITING}'"
    job = submit(plan(engine=engine, outputs="/out", resources=Resources(gpus=2), command=sh(script)))
    job.runs()
    assert wait_until((job.facts() / "libcuda.txt").exists, 40), job.said()
    job.go()
    assert job.end()["exit_code"] == 0, job.said()
    head, *rows = job.fact("gpu-usage.csv").splitlines()
    assert head == "seconds, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]"
    assert [row.split(", ")[1] for row in rows[:2]] == job.fact("gpus.txt").split()
    assert all(row.endswith(", 41.27") for row in rows)
    assert job.fact("libcuda.txt") == "/out/libcuda.so.545.23.08\n"
    assert parse_driver_cuda(job.fact("nvidia-smi-driver.txt").encode()) == of_node("alpha1")[0].cuda
    assert count_of(job.fact("container/cpus.txt").strip()) >= 1
    sums = parse_log_sums(job.fact("logs.sha256").encode())
    assert sums == {"stdout.log": (0, sha256(b"").hexdigest()), "stderr.log": (0, sha256(b"").hexdigest())}


def hooked(job: Job) -> list[list[str]]:
    """The GPUs that docker's hook gave the job's container, at each call."""
    container = job.fact("container-id.txt").strip()
    lines = [json.loads(line) for line in HOOK_LOG.read_text().splitlines() if container in line]
    return [line["uuids"] for line in lines]


def test_without_gpus_the_container_is_told_void_and_has_none(engine: str) -> None:
    job = ran(plan(engine=engine, command=sh("ls /dev/nvidia* 2>/dev/null; echo $NVIDIA_VISIBLE_DEVICES")))
    assert job.output() == "void\n", job.said()
    host = job.inspected()["HostConfig"]
    assert not host.get("DeviceRequests") and not host.get("Devices")
    assert (job.fact("gpus.txt"), job.fact("gpu-source.txt")) == ("", "none\n")
    assert job.fact("container/gpu-check.txt") == "ok\n"


# --------------------------------------------------------------------------------------------- what reaches the program


def test_hostile_words_reach_the_program_byte_for_byte(engine: str) -> None:
    words = tuple(word for word in HOSTILE if word.isprintable() or word.isascii())
    env = {**{f"V{at}": word for at, word in enumerate(words)}, "V_DOS": "a\r\nb"}
    script = "cat /proc/$$/cmdline >/out/argv; cat /proc/$$/environ >/out/environ"
    job = ran(plan(engine=engine, command=sh(script, *words), env=env, outputs="/out"))
    assert job.end()["exit_code"] == 0, job.said()
    argv = (job.folder / "out" / "argv").read_bytes().split(b"\0")[4:-1]
    environ = (job.folder / "out" / "environ").read_bytes().split(b"\0")
    assert argv == [word.encode() for word in words]
    assert sorted(pair for pair in environ if re.match(rb"V([0-9]+|_DOS)=", pair)) == sorted(
        f"{key}={value}".encode() for key, value in env.items()
    )


def test_hostile_mounts_are_mounted_as_they_are_named(engine: str) -> None:
    allowed = data("alpha") / uuid.uuid4().hex
    names = ("a, b", 'say "x"', "it's", "$HOME `id`", "é", "a=b,readonly")
    for name in names:
        (allowed / name).mkdir(parents=True)
        (allowed / name / "here").write_text(name)
    owned(allowed)
    mounts = tuple(Mount(str(allowed / name), f"/in/{name}", at % 2 == 0) for at, name in enumerate(names))
    tried = 'touch "/in/$d/new" 2>/dev/null && echo writable || echo read-only'
    script = f'for d in "$@"; do cat "/in/$d/here"; echo; {tried}; done'
    job = ran(plan(engine=engine, command=sh(script, *names), mounts=mounts, mounts_allow=(str(allowed),)))
    wanted = [word for at, name in enumerate(names) for word in (name, "read-only" if at % 2 == 0 else "writable")]
    assert job.output().splitlines() == wanted, job.said()


def test_a_secret_reaches_the_program_and_nothing_else(engine: str) -> None:
    values = {"TOKEN": f"s3cret {uuid.uuid4().hex} 'q' $x\n\n", "OTHER": "2"}
    script = 'printf %s "$TOKEN" >/out/token; [ -n "$OTHER" ]'
    job = ran(plan(engine=engine, command=sh(script), secrets=tuple(values), outputs="/out"), values)
    assert job.end()["exit_code"] == 0, job.said()
    token = job.folder / "out" / "token"
    assert token.read_bytes() == values["TOKEN"].encode()
    token.unlink()
    run_dir = Path(job.plan.run_dir)
    word = values["TOKEN"].split()[1].encode()
    assert [path for path in run_dir.rglob("*") if path.is_file() and word in path.read_bytes()] == []
    assert not (run_dir / "secrets").exists(), "no later attempt needs them"


def test_the_program_is_the_user_with_a_home_and_no_way_to_more_and_what_it_writes_is_the_users(engine: str) -> None:
    script = "id -u; id -g; id -un; echo $HOME; touch $HOME/x /out/x && echo ok; id -G"
    asked = plan(engine=engine, outputs="/out", command=sh(f"{script}; grep -E 'NoNewPrivs|CapBnd' /proc/self/status"))
    job = ran(asked)
    entry = pwd.getpwnam(USER)
    lines = job.output().splitlines()
    assert lines[:5] == [str(entry.pw_uid), str(entry.pw_gid), USER, f"/home/{USER}", "ok"], job.said()
    assert [line.split()[1] for line in lines[6:]] == ["0000000000000000", "1"]
    written = (job.folder / "out" / "x").stat()
    assert (written.st_uid, written.st_gid) == (entry.pw_uid, entry.pw_gid)
    groups = set(os.getgrouplist(USER, entry.pw_gid))
    if engine == "docker":
        withheld = {DOCKER_SOCKET.stat().st_gid}  # whoever is in it may speak to the daemon, which is root
        assert withheld < groups
        assert {int(group) for group in lines[5].split()} == groups - withheld
    else:
        others = [str(gid) for gid in os.getgrouplist(USER, entry.pw_gid) if gid != entry.pw_gid]
        assert f"\tgroups-dropped\t{' '.join(others)}\n" in job.fact("events.tsv"), "runc cannot keep them"


def test_outputs_are_kept_listed_and_hashed_and_what_went_elsewhere_is_named(engine: str) -> None:
    script = "printf abc >/out/a; mkdir '/out/d\ne'; printf de '/out/d\ne/f'; : >'/out/d\ne/g'; echo lost >/tmp/lost"
    job = ran(plan(engine=engine, command=sh(script), outputs="/out"))
    assert job.end()["exit_code"] == 0, job.said()
    sums = (job.attempt() / "outputs.sha256").read_bytes().split(b"\0")[:-1]
    abc = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sums[0] == abc + b"  ./a"
    assert sums[1].endswith(b"  ./d\ne/g")
    assert sorted((job.attempt() / "outputs.sizes").read_bytes().split(b"\0")[:-1]) == [b"0 d\ne/g", b"3 a"]
    assert "A /tmp/lost" in job.fact("container-diff.txt").splitlines()
    assert (job.folder / "out" / "a").read_text() == "abc"


# ----------------------------------------------------------------------------------------------------- the pinned image


def test_a_digest_that_no_registry_has_any_more_ends_with_78(engine: str) -> None:
    repository, digest = fresh_image()
    registry.delete_manifest(REGISTRY, repository, digest)
    sources = tuple(f"{place}/{repository}@{digest}" for place in (MIRROR, REGISTRY))
    job = submit(plan(engine=engine, digest=digest, image_sources=sources))
    assert f"is not obtainable as {digest}" in refused(job)
    assert job.fact("events.tsv").count("\tpull\t") == 2, "an answer that cannot change is asked for once"


def test_what_the_first_source_does_not_have_is_pulled_from_the_next_by_the_same_digest(engine: str) -> None:
    repository, digest = fresh_image(MIRROR)
    sources = tuple(f"{place}/{repository}@{digest}" for place in ("127.0.0.1:9", REGISTRY, MIRROR))
    job = ran(plan(engine=engine, digest=digest, image_sources=sources, command=("cat", "/mark")))
    assert job.output() == repository, job.said()
    assert job.fact("image-source.txt") == f"{sources[2]}\n"
    assert job.fact("image-pulled.txt") == f"pulled from {sources[2]}\n"
    (image,) = json.loads(job.fact("image-inspect.json"))
    assert sources[2] in image["RepoDigests"]
    assert job.inspected()["Image"] == image["Id"]
    again = ran(plan(engine=engine, digest=digest, image_sources=sources))
    assert again.fact("image-pulled.txt") == "present\n"
    ask(engine, "image", "rm", "--force", sources[2])


def test_an_image_without_a_shell_ends_with_78_and_says_so(engine: str) -> None:
    repository = f"tfslurm/bare-{uuid.uuid4().hex[:12]}"
    digest = images.push(images.Image((images.layer_of({"/mark": "x"}, ("/tmp",)),)), repository, "1")
    source = f"{REGISTRY}/{repository}@{digest}"
    job = submit(plan(engine=engine, digest=digest, image_sources=(source,)))
    assert "has no /bin/sh" in refused(job)
    ask(engine, "image", "rm", "--force", source)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"entrypoint": ("sh", "-c", 'echo \t<é> & "x"')},
            r'entrypoint \["sh" "-c" "echo \\t<\\u00e9> & \\"x\\""\], the image has \[\]',
        ),
        ({"environment": {"CUDA_VERSION": "12.3.0"}}, 'variable "CUDA_VERSION=12.3.0", the image has none such'),
        ({"environment": {"PATH": "/evil"}}, 'variable "PATH=/evil", the image has "PATH=/usr'),
        ({"platform": "linux/arm64/v8"}, "platform linux/arm64, the image has linux/amd64"),
    ],
    ids=["entrypoint", "environment-added", "environment-changed", "platform"],
)
def test_a_lock_file_that_says_other_than_the_image_ends_with_78(
    engine: str, change: dict[str, Any], words: str
) -> None:
    pin = dataclasses.replace(plan().pin, **change)
    line = refused(submit(plan(pin=pin, engine=engine)))
    assert re.search(f": image: the lock file says {words}", line), line


# ---------------------------------------------------------------------------------------------------- without scheduler


def test_without_a_scheduler_the_same_experiment_runs_in_the_same_container(desk: Desk, engine: str) -> None:
    desk.set_up_podman()
    described = {"name": "local", "root": str(desk.root("alpha") / "local"), "engine": engine}
    desk.write("config/tfslurm/clusters/local.yaml", as_yaml(described))
    file = desk.experiment("here", ["sh", "-c", "echo here; id -u >/out/id; exit 3"])
    done = desk.tfslurm("run", file, cluster=None)
    assert (done.returncode, done.stdout) == (3, "here\n"), done.stderr
    (folder,) = (desk.root("alpha") / "local").glob("runs/*/1")
    assert (folder / "out" / "id").read_text() == f"{pwd.getpwnam(USER).pw_uid}\n"
    assert json.loads((folder / "attempt-1" / "begin.json").read_text())["cluster"] == "local"
    assert desk.record("local:1")["attempts"][0]["tasks"][0]["container"]["exit_code"] == 3
