from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tfslurm.check import Fact, failed
from tfslurm.check.engines import engine_facts
from tfslurm.check.node import Wanted, node_facts
from tfslurm.check.probe_output import ProbeOutput, parse_probe_output
from tfslurm.check.run import ssh
from tfslurm.cluster import Login
from tfslurm.workspace.packaged_files import probe

SCRIPT = probe("check", "docker")
UUIDS = ("GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5", "GPU-5268e3db-fd19-5116-96c3-4905bbba7e58")
MIG = "MIG-3f2b9c1a-7d5e-5b1c-9a53-2f0d8c7e6b4a"
VERSION: dict[str, Any] = {
    "Client": {"Version": "28.2.2"},
    "Server": {
        "Version": "20.10.24+dfsg1",
        "Components": [{"Name": "Engine", "Version": "20.10.24"}, {"Name": "docker-init", "Version": "0.19.0"}],
    },
}
INFO: dict[str, Any] = {
    "Driver": "overlay2",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "1",
    "Runtimes": {"runc": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "CDISpecDirs": None,
}
LINES: Mapping[str, tuple[str, ...]] = {
    "begin": ("1",),
    "node": ("alpha1",),
    "kernel": ("Linux 6.1.0 x86_64",),
    "user": ("alice",),
    "groups": ("alice docker",),
    "bash": ("5.2.15(1)-release",),
    "flock": ("flock from util-linux 2.38.1",),
    **{
        f"tool-{name}": (f"/usr/bin/{name}",) for name in ("flock", "timeout", "sha256sum", "find", "xargs", "realpath")
    },
    "tool-scontrol": ("/usr/bin/scontrol",),
    "token": ("t0k3n",),
    "root-type": ("nfs",),
    "root-writable": ("yes",),
    "granted": ("0",),
    "granted-count": ("1",),
    "devices": ("4",),
    "nvidia-smi": ("/usr/bin/nvidia-smi",),
    "gpu": (f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {UUIDS[0]})",),
    "gpu-row": ("550.54.14, NVIDIA A100-SXM4-40GB, 40960 MiB",),
    "driver-kernel": ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024",),
    "engine": ("/usr/bin/docker",),
    "engine-version": (json.dumps(VERSION),),
    "engine-info": ("WARNING: No swap limit support", json.dumps(INFO)),
    "engine-address": ("unix:///var/run/docker.sock",),
    "engine-socket": ("srw-rw---- root docker",),
    "images-free": ("Avail Mounted on", "78000 /var/lib"),
    "registry": ("127.0.0.1:5000 open",),
    "end": ("1",),
}
TWO = (f"GPU 0: A100 (UUID: {UUIDS[0]})", f"GPU 1: A100 (UUID: {UUIDS[1]})")
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.54.03  Release Build"


def look(gpus: int = 1, **changes: str | tuple[str, ...] | None) -> dict[str, Fact]:
    """The facts of LINES with some changed (None: not printed); ``_`` stands for ``-`` and ``__`` for ``.``."""
    lines = dict(LINES)
    for name, value in changes.items():
        key = name.replace("__", ".").replace("_", "-")
        if value is None:
            lines.pop(key, None)
        else:
            lines[key] = (value,) if isinstance(value, str) else value
    seen = ProbeOutput(lines, whole=True)
    wanted = Wanted("docker", "/scratch/alice", "t0k3n", gpus, "own:5000")
    return {fact.fact: fact for fact in node_facts(seen, wanted, 0.4)}


def info(**changes: object) -> str:
    return json.dumps({**INFO, **changes})


def server(**changes: object) -> str:
    return json.dumps({**VERSION, "Server": {**VERSION["Server"], **changes}})


def test_a_node_without_fault_has_one_unknown_the_hook_that_no_user_can_see() -> None:
    found = look()
    assert {fact.fact for fact in found.values() if fact.status != "ok"} == {"gpu-support"}
    assert found["gpu-support"].status == "unknown"
    assert found["node"].value == "alpha1 after 0.4 s; Linux 6.1.0 x86_64"
    assert found["devices"].value.startswith("confined: nvidia-smi lists 1 where 1 was granted")
    assert found["driver"].value == "550.54.14; NVIDIA A100-SXM4-40GB 40960 MiB"
    assert found["engine"].value == "docker 20.10.24+dfsg1 (client 28.2.2), storage overlay2"


def test_nothing_that_was_not_printed_is_ok() -> None:
    facts = node_facts(ProbeOutput({"node": ("n",)}, whole=True), Wanted("docker", "/r", "t", 1), 1.0)
    assert [fact.fact for fact in facts if fact.status == "ok"] == ["node"]


def test_a_registry_of_ones_own_that_a_node_does_not_reach_is_no_mirror_that_another_replaces() -> None:
    found = look(registry=("own:5000 refused", "h:443 open", "other:443 refused"))
    assert found["registry own:5000"].do == "nodes pull from there what `tfslurm image build` pushes"
    assert found["registry other:443"].do.startswith("no action needed if another mirror")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"gpu": TWO}, "warn", "unconfined: nvidia-smi lists 2 where 1 was granted"),
        ({"granted": "0,1", "gpu": TWO}, "ok", "lists 2 where 2"),
        ({"granted": "0,1"}, "FAIL", "lists 1 where 2"),
        ({"granted": "", "granted_count": ""}, "FAIL", "named none"),
        ({"granted": "NoDevFiles", "granted_count": "1"}, "ok", "lists 1 where 1"),
        ({"granted": UUIDS[0]}, "ok", "lists 1 where 1"),
        ({"granted": MIG, "gpu": (TWO[0], f"  MIG 1g.5gb Device 0: (UUID: {MIG})")}, "ok", "lists 1 where 1"),
        ({"devices": "1"}, "unknown", "no other to hide"),
        ({"devices": ""}, "unknown", "no other to hide"),
        ({"nvidia_smi": ""}, "FAIL", "no nvidia-smi"),
        ({"gpu": None, "gpu__error": "exit 18: Driver/library version mismatch"}, "FAIL", "version mismatch"),
    ],
)
def test_device_confinement(changes: dict[str, Any], status: str, words: str) -> None:
    fact = look(**changes)["devices"]
    assert fact.status == status
    assert words in fact.value
    assert fact.do or status in ("ok", "unknown")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"driver_kernel": None, "driver_module": "550.54.14"}, "ok", "550.54.14; "),
        ({"driver_kernel": OPEN_MODULE}, "warn", "535.54.03, 550.54.14"),
        ({"gpu_row": None, "gpu_row__error": "exit 9: NVML"}, "warn", "550.54.14 by the kernel module"),
        ({"gpu_row": None, "gpu_row__error": "exit 9: NVML", "driver_kernel": None}, "unknown", "NVML"),
        ({"gpu_row": None, "driver_kernel": None, "nvidia_smi": ""}, "unknown", "did not say"),
    ],
)
def test_driver(changes: dict[str, Any], status: str, words: str) -> None:
    fact = look(**changes)["driver"]
    assert (fact.status, words in fact.value) == (status, True), fact


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"token": None, "token__error": "exit 1: No such file"}, "root-shared", "FAIL", "No such file"),
        ({"token": "other"}, "root-shared", "FAIL", "another file"),
        ({"root_writable": "no"}, "root-shared", "FAIL", "may not write"),
        ({"tool_scontrol": ""}, "requeue", "warn", "no scontrol"),
        ({"overlap": "a step"}, "steps", "ok", "srun --overlap makes a step"),
        ({"overlap__error": "exit 1: srun: unrecognized option"}, "steps", "warn", "unrecognized option"),
        ({"overlap__error": "exit 124: no answer in 10 s"}, "steps", "warn", "no answer in 10 s"),
        ({"overlap": "a module was loaded"}, "steps", "warn", "a module was loaded"),
        ({"overlap__error": "no srun in PATH on the node"}, "steps", "unknown", "no srun in PATH"),
        ({"tool_flock": "", "flock": ""}, "tools", "FAIL", "missing: flock"),
        ({"bash": "4.1.2(1)-release"}, "tools", "FAIL", "4.1.2"),
        ({"bash": "4.2.46(2)-release"}, "tools", "ok", "4.2.46"),
        ({"registry": "h:443 no answer in 5 s"}, "registry h:443", "warn", "no answer"),
        (
            {"registry": "h:443 refused", "engine_info": info(HttpsProxy="http://proxy:3128")},
            "registry h:443",
            "unknown",
            "proxy of its own",
        ),
        ({"registry": None}, "registry", "unknown", "none was tried"),
    ],
)
def test_root_tools_and_registries(changes: dict[str, Any], name: str, status: str, words: str) -> None:
    fact = look(**changes)[name]
    assert (fact.status, words in fact.value) == (status, True), fact


DENIED = "exit 1: permission denied while trying to connect to the Docker daemon socket"
SILENT = "exit 1: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"engine": ""}, "engine", "FAIL", "no docker in PATH on alpha1"),
        ({"engine_version": None, "engine_version__error": DENIED}, "engine-access", "FAIL", "permission denied"),
        ({"engine_version": None, "engine_version__error": SILENT}, "engine", "FAIL", "Cannot connect"),
        ({"engine_version": '{"Client":{"Version":"1"},"Server":null}'}, "engine", "FAIL", "does not answer"),
        ({"engine_version": "{not json"}, "engine", "FAIL", "does not answer"),
        ({"engine_info": info(Driver="vfs")}, "engine", "warn", "storage vfs"),
        ({"engine_version": server(Version="18.09.1")}, "engine", "FAIL", "18.09.1"),
        ({"engine_info": info(SecurityOptions=["name=userns"])}, "engine-access", "warn", "remaps users"),
        ({"engine_info": info(SecurityOptions=["name=rootless"])}, "engine-access", "warn", "rootless"),
        ({"engine_info": info(CgroupDriver="systemd", CgroupVersion="2")}, "cgroup", "ok", "is outside the job's own"),
        (
            {"engine_info": info(CgroupDriver="cgroupfs", CgroupVersion="2")},
            "cgroup",
            "ok",
            "puts it below the job's own",
        ),
        ({"engine_info": info(CgroupDriver="cgroupfs", CgroupVersion="1")}, "cgroup", "ok", "is outside the job's own"),
        ({"engine_info": info(CgroupDriver="")}, "cgroup", "unknown", "did not say"),
        ({"engine_info": info(Runtimes={"nvidia": {}, "runc": {}})}, "gpu-support", "ok", "nvidia runtime"),
        (
            {"engine_info": info(Runtimes={"nvidia": {}}, DefaultRuntime="nvidia")},
            "gpu-support",
            "ok",
            "the default one",
        ),
        (
            {
                "engine_info": info(DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]),
                "engine_version": server(Version="29.0.1"),
            },
            "gpu-support",
            "ok",
            "lists CDI devices",
        ),
        (
            {
                "engine_info": info(CDISpecDirs=["/etc/cdi"]),
                "engine_version": server(Version="28.3.0"),
                "cdi": "/etc/cdi/nvidia.yaml",
            },
            "gpu-support",
            "ok",
            "/etc/cdi/nvidia.yaml",
        ),
        ({"engine_info": info(CDISpecDirs=["/etc/cdi"]), "cdi": "/etc/cdi/n.yaml"}, "gpu-support", "unknown", "hook"),
        ({"tool_nvidia_container_runtime_hook": "/usr/bin/h"}, "gpu-support", "unknown", "/usr/bin/h is installed"),
        ({"engine_version": server(Components=[])}, "init", "FAIL", "no docker-init"),
        ({"engine_version": server(Components=None)}, "init", "unknown", "does not list"),
        ({"images_free": ("Avail Mounted on", "900 /")}, "images-free", "warn", "900 MiB free on /"),
        ({"images_free": None, "images_free__error": "exit 1: denied"}, "images-free", "unknown", "denied"),
    ],
)
def test_docker(changes: dict[str, Any], name: str, status: str, words: str) -> None:
    fact = look(**changes)[name]
    assert (fact.status, words in fact.value) == (status, True), fact
    assert fact.do or status != "FAIL"


def test_what_hangs_on_an_absent_engine_is_unknown_and_not_ok() -> None:
    found = look(engine="")
    for name in ("engine-access", "cgroup", "gpu-support", "init", "images-free"):
        assert found[name].status == "unknown"


PODMAN: dict[str, dict[str, object]] = {
    "host": {"cgroupManager": "cgroupfs", "cgroupVersion": "v2", "ociRuntime": {"name": "crun"}},
    "store": {"graphDriverName": "overlay"},
    "version": {"Version": "4.3.1"},
}


def test_podman_is_seen_as_a_job_sees_it() -> None:
    printed = tuple(line.strip() for line in json.dumps(PODMAN, indent=2).splitlines())  # as podman does
    seen = ProbeOutput(
        {**LINES, "engine-info": ("a warning", *printed, "a warning"), "cdi": ("/etc/cdi/nvidia.yaml",)}, whole=True
    )
    found = {fact.fact: fact for fact in engine_facts(seen, "podman", gpus=True)}
    assert found["engine"].value == "podman 4.3.1, storage overlay, runtime crun"
    assert found["cgroup"].value.startswith("cgroupfs, v2")
    assert found["gpu-support"].status == "ok"
    assert not failed(found.values())
    without = ProbeOutput({**LINES, "engine-info": (json.dumps(PODMAN),)}, whole=True)
    assert engine_facts(without, "podman", gpus=True)[-1].status == "FAIL"
    broken = ProbeOutput({"engine": ("/usr/bin/podman",), "engine-info.error": ("exit 125: newuidmap",)}, whole=True)
    assert "newuidmap" in engine_facts(broken, "podman", gpus=True)[0].value


@pytest.mark.parametrize(
    ("version", "controllers", "status", "words"),
    [
        ("v1", [], "warn", "without root podman cannot limit memory and cpu"),
        ("v2", ["memory", "pids"], "warn", "without root podman cannot limit cpu"),
        ("v2", ["cpu", "memory", "pids"], "ok", "limits are given to each container, without root"),
    ],
)
def test_without_root_podman_limits_only_what_was_delegated(
    version: str, controllers: list[str], status: str, words: str
) -> None:
    host = {"cgroupManager": "cgroupfs", "cgroupVersion": version, "cgroupControllers": controllers}
    info = {**PODMAN, "host": {**PODMAN["host"], **host, "security": {"rootless": True}}}
    seen = ProbeOutput({**LINES, "engine-info": (json.dumps(info),)}, whole=True)
    found = {fact.fact: fact for fact in engine_facts(seen, "podman", gpus=False)}["cgroup"]
    assert (found.status, words in found.value) == (status, True)


def test_a_look_without_gpus_says_nothing_of_gpus() -> None:
    assert not {"devices", "driver", "gpu-support"} & set(look(gpus=0))


# --- what the script prints


def run_script(*arguments: str, env: dict[str, str] | None = None) -> str:
    argv = ["bash", "-s", "--", *arguments]
    path = {"PATH": "/usr/bin:/bin", **(env or {})}
    done = subprocess.run(argv, input=SCRIPT, capture_output=True, text=True, env=path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_script_prints_what_the_parser_reads(tmp_path: Path) -> None:
    (tmp_path / "a 'b' $(touch x)").mkdir()
    root = tmp_path / "a 'b' $(touch x)"
    (root / ".token").write_text("t0k3n")
    seen = parse_probe_output("prolog says hello" + run_script("nosuchengine", str(root), ".token", "127.0.0.1", "1"))
    assert seen.whole
    assert seen.one("token") == "t0k3n"
    assert seen.one("root-writable") == "yes"
    assert seen.one("engine") == ""
    assert seen.one("registry") == "127.0.0.1:1 Connection refused"
    assert seen.one("bash")
    assert not (Path.cwd() / "x").exists()


def test_the_script_tries_a_step_beside_its_own_without_what_steers_srun(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    job = {"SLURM_JOB_ID": "17", "SLURMD_NODENAME": "n1", "SLURM_CONF": "/c", "SLURM_STEP_ID": "0", "SRUN_DEBUG": "3"}
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", **job}
    srun.write_text('#!/bin/sh\nenv | grep -c "^SLURM_[JS]\\|^SRUN" \necho "$SLURM_CONF" "$@"\n')
    srun.chmod(0o755)
    left, said = parse_probe_output(run_script("none", "/", "", env=env)).all("overlap")
    assert (left, said.startswith("/c --jobid=17 --overlap ")) == ("0", True)
    assert "--nodelist=n1" in said.split()
    srun.write_text("#!/bin/sh\necho 'srun: unrecognized option' >&2\nexit 1\n")
    assert parse_probe_output(run_script("none", "/", "", env=env)).one("overlap.error").endswith("unrecognized option")
    assert not parse_probe_output(run_script("none", "/", "")).all("overlap")


def test_the_script_says_of_a_failure_what_the_command_said(tmp_path: Path) -> None:
    broken = tmp_path / "docker"
    broken.write_text('#!/bin/sh\necho \'{"Client":1}\'\necho "one\ttwo" >&2; exit 3\n')
    broken.chmod(0o755)
    text = run_script("docker", str(tmp_path), "nosuchtoken", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    seen = parse_probe_output(text)
    assert seen.one("engine-version.error") == "exit 3: one two"
    assert "No such file" in seen.one("token.error")
    assert not seen.all("engine-version")


def test_a_cut_answer_is_not_whole() -> None:
    assert not parse_probe_output("probe.begin\t1\nprobe.node\tn1\n").whole
    assert not parse_probe_output("").whole
    assert parse_probe_output("probe.begin\t1\r\nnoise\nprobe.end\t1\n").whole


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (Login("login.example"), "ssh login.example"),
        (Login("login.example", "alice", 2201), "ssh -p 2201 alice@login.example"),
        (Login("login.example", proxy_jump="bob@jump:22"), "ssh -J bob@jump:22 login.example"),
    ],
)
def test_the_login_to_try_by_hand_is_the_cluster_file_s(login: Login, words: str) -> None:
    assert ssh(login) == words
