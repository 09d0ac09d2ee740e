"""What a rerun cannot have the same way: each loss, and its nearest relative that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests import made
from tests.test_verification import record as recorded
from tfslurm.check.probe_output import ProbeOutput
from tfslurm.cluster import Cluster
from tfslurm.errors import InputError, TfslurmError
from tfslurm.host.local import LocalHost
from tfslurm.image import lock_text
from tfslurm.record import Record
from tfslurm.record.model import Determinism, Input
from tfslurm.record.task_model import Gpu as RecordedGpu
from tfslurm.reruns.looking import CHEAP_BYTES, look_at_data, machine_of
from tfslurm.reruns.loss import Loss, refuse_stops
from tfslurm.reruns.losses import losses
from tfslurm.reruns.lost_inputs import Data, data_of
from tfslurm.reruns.place import Gpu, Lies, Machine, Place
from tfslurm.slurm import Account, Partition, SlurmConfig
from tfslurm.slurm.profile import SiteProfile
from tfslurm.spec import Experiment, Mount, Resources, Word
from tfslurm.tracker import SeenDriver

A100, V100 = "NVIDIA A100-SXM4-40GB", "Tesla V100-SXM2-16GB"
SUM, OTHER = "5e" * 32, "0f" * 32
GPU = Partition("gpu", True, True, 86400, 2, 2, ("gpu:4",), 16, 64000, 4)
DEBUG = Partition("debug", False, True, 300, 1, 1, ("gpu:1",), 4, 16384, 1)
ACCOUNTS = (Account("beta", "lab", "", ("normal", "long"), True),)
ENFORCES = SlurmConfig({"SLURM_VERSION": "22.05.8", "AccountingStorageEnforce": "associations,qos"})
BETA = Cluster(
    name="beta", root=PurePosixPath("/scratch/bob/tfslurm"), mounts_allow=(PurePosixPath("/lab"),),
    slurm={"partition": "gpu"}, data={"digits": PurePosixPath("/lab/digits")},
)  # fmt: skip
HERE = replace(BETA, name="local", slurm={})
SEEN = (SeenDriver("beta", "gpu", "beta1", "550.54.14", "2026-11-29T01:00:00Z", "beta:7"),)


def original(**changes: Any) -> Record:
    """A job of alpha on an A100; ``changes`` are of its record, ``asked__network`` of a part of it."""
    record = recorded()
    assert record.asked is not None
    task = replace(record.attempts[0].tasks[0], gpus=(RecordedGpu("GPU-1", A100, 40960),))
    mounts = ({"source": "/data/digits", "target": "/data", "read_only": True},)
    options = {"partition": "gpu", "gres": "gpu:1", "mem": "2000M", "time": "10"}
    asked = replace(record.asked, options=options, lock=lock_text(made.PIN))
    record = replace(
        record,
        asked=asked,
        image=replace(record.image, digest=made.DIGEST),
        attempts=(replace(record.attempts[0], tasks=(task,)),),
        experiment=replace(record.experiment, mounts=mounts),
        inputs=(Input(None, "/data/digits", 4096, None, SUM, "full", ""),),
        determinism=Determinism({}, {}, 4),
    )
    for path, value in changes.items():
        part, _, key = path.partition("__")
        record = replace(record, **{part: replace(getattr(record, part), **{key: value}) if key else value})
    return record


def experiment(**changes: Any) -> Experiment:
    given = {"mounts": (Mount("digits:", "/data", name="digits:", hash=True),)}
    return made.experiment(**{**given, "resources": resources(), **changes})


def resources(**changes: Any) -> Resources:
    return replace(Resources(gpus=1, cpus=4, memory_mib=16384, time_s=7200), **changes)


def beta(**changes: Any) -> Place:
    """A cluster that has everything; ``changes`` are of the place, or of its site."""
    site = SiteProfile(ENFORCES, (GPU, DEBUG), ACCOUNTS)
    of_site = {key: changes.pop(key) for key in ("partitions", "accounts", "config") if key in changes}
    given = {"site": replace(site, **of_site), "drivers": SEEN, "data": {"/lab/digits": Lies("folder", 4096, SUM)}}
    return Place(**{"cluster": BETA, "user": "bob", **given, **changes})


def here(**changes: Any) -> Place:
    """A workstation that has everything; ``changes`` are of the machine."""
    machine = Machine("desk", 8, 4, 32000, (Gpu(A100, 40960),), "550.54.14", "AMD EPYC", "x86_64")
    data = {"/lab/digits": Lies("folder", 4096, SUM)}
    return Place(HERE, "bob", data=data, machine=machine._replace(**changes))


def found(record: Record, asked: Experiment, place: Place, *, anyway: bool = False) -> list[Loss]:
    """All but that it is another cluster, which is true of each."""
    return [loss for loss in losses(record, asked, place, anyway=anyway) if loss.what != "cluster"]


def test_where_all_is_there_the_only_loss_is_that_it_is_another_cluster() -> None:
    assert losses(original(), experiment(), beta()) == [Loss("cluster", "alpha", "beta")]
    assert losses(original(), experiment(), here()) == [Loss("cluster", "alpha", "this machine")]
    assert losses(original(job=replace(original().job, cluster="beta")), experiment(), beta()) == []
    several = here(gpus=(Gpu(A100), Gpu(A100)), gpus_named=1)
    assert losses(original(), experiment(), several) == [Loss("cluster", "alpha", "this machine")]


def test_of_a_place_that_said_nothing_no_loss_is_made_up() -> None:
    silent = Place(BETA, "bob")
    assert found(original(), experiment(), silent) == []
    assert found(original(), experiment(), Place(HERE, "bob", machine=Machine("desk"))) == []
    first = original(asked=None, inputs=None, determinism=None)  # of the first schema
    assert found(first, experiment(), beta()) == []


@pytest.mark.parametrize(
    ("asked", "place", "what", "said", "fix"),
    [
        ({"gpus": 5}, beta(), "GPUs", "5 / a node of partition gpu has 4", "--set resources.gpus=4"),
        ({"gpus": 2}, here(), "GPUs", "2 / this machine has 1", "--set resources.gpus=1"),
        ({"gpus": 1}, here(gpus=()), "GPUs", "1 / this machine has 0", "--set resources.gpus=0"),
        ({"gpus": 1}, here(gpus=(Gpu(A100), Gpu(A100))), "GPUs", "1 / this machine has 2, and nobody says which",
         "set CUDA_VISIBLE_DEVICES to the UUIDs of 1 of them (nvidia-smi -L lists them)"),
        ({"gpus": 1}, here(gpus=(Gpu(A100),) * 4, gpus_named=2), "GPUs", "1 / CUDA_VISIBLE_DEVICES names 2",
         "set CUDA_VISIBLE_DEVICES to the UUIDs of 1 of them (nvidia-smi -L lists them)"),
        ({"gpus": 2}, here(gpus=(Gpu(A100),) * 4, gpus_named=1), "GPUs", "2 / CUDA_VISIBLE_DEVICES names 1",
         "--set resources.gpus=1, or another machine"),
        ({"cpus": 17}, beta(), "CPUs", "17 / a node of partition gpu has 16", "--set resources.cpus=16"),
        ({"memory_mib": 64001}, beta(), "memory", "62 GiB / a node", "--set resources.memory=64000M"),
        ({"nodes": 3}, beta(), "nodes", "3 / beta has 2", "--set resources.nodes=2"),
        ({"nodes": 2}, here(), "nodes", "2 / one task runs", "--set resources.nodes=1"),
        ({"tasks_per_node": 2}, here(), "tasks", "2 / one task runs", "--set resources.tasks_per_node=1"),
        ({"time_s": 86401}, beta(), "time limit", "1-00:00:01; it took 0-00:00:04 / partition gpu: 1-00:00:00",
         '--set resources.time="1-00:00:00"'),
        ({"gpu_type": "a100"}, beta(partitions=(GPU._replace(gres=("gpu:v100:4",)),)), "GPU kind",
         "a100 / a node of partition gpu has v100", "--set resources.gpus=1 takes any kind"),
    ],
)  # fmt: skip
def test_a_job_that_no_node_can_take_is_stopped(
    asked: dict[str, Any], place: Place, what: str, said: str, fix: str
) -> None:
    loss = next(loss for loss in found(original(), experiment(resources=resources(**asked)), place) if loss.stops)
    assert loss.what == what and str(loss).startswith(f"{what}: {said}") and fix in loss.fix
    with pytest.raises(TfslurmError, match=what):
        refuse_stops("alpha:146", [loss])


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"gpus": 4, "cpus": 16, "memory_mib": 64000, "nodes": 2, "time_s": 86400}, beta()),
        ({"memory_mib": 0}, beta()),  # all of a node's
        ({"time_s": 10**6}, beta(partitions=(GPU._replace(time_limit_s=None),))),
        ({"time_s": 10**6}, here()),  # nothing limits it
        ({"gpus": 0}, here(gpus=())),
        ({"gpus": 1}, here(gpus=None)),  # it did not answer
        ({"gpu_type": "a100"}, beta()),  # gres.conf names no kind
        ({"cpus": 17}, beta(partitions=(GPU, DEBUG._replace(cpus_per_node=32)), cluster=replace(
            BETA, slurm={"partition": "gpu,debug"}))),  # one of the two has it
    ],
)  # fmt: skip
def test_a_job_that_fits_is_not(asked: dict[str, Any], place: Place) -> None:
    assert [loss for loss in found(original(), experiment(resources=resources(**asked)), place) if loss.stops] == []


@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"cpus": 2, "cpus_schedulable": 2}, "CPUs", "4 / this machine has 2"),
        ({"memory_mib": 8192}, "memory", "16 GiB / this machine has 8 GiB"),
        ({"cpus_schedulable": 1}, "schedulable CPUs", "4 / 1"),
        ({"cpus_schedulable": 8}, "schedulable CPUs", "4 / 8; `taskset --cpu-list 0-3 tfslurm rerun …`"),
        ({"cpu_model": "Intel Xeon"}, "CPU model", "AMD EPYC / Intel Xeon"),
        ({"driver": "545.23.08"}, "driver", "550.54.14 / 545.23.08"),
        ({"gpus": (Gpu(V100, 16384),)}, "GPU kind", f"{A100} / {V100}"),
        ({"gpus": (Gpu(V100, 16384),)}, "GPU memory", "40 GiB / 16 GiB"),
    ],
)
def test_what_another_machine_has_less_of_or_otherwise_is_said_and_does_not_stop_it(
    changes: dict[str, Any], what: str, said: str
) -> None:
    loss = next(loss for loss in found(original(), experiment(), here(**changes)) if loss.what == what)
    assert not loss.stops and str(loss).startswith(f"{what}: {said}")
    refuse_stops("alpha:146", [loss])


def test_an_image_for_another_processor_stops_it_unless_that_is_wanted_anyway() -> None:
    loss, *_ = found(original(), experiment(), here(architecture="aarch64"))
    assert (loss.what, loss.asked, loss.here, loss.stops) == ("processor", "linux/amd64 by the image", "arm64", True)
    assert not found(original(), experiment(), here(architecture="aarch64"), anyway=True)[0].stops


def test_a_driver_that_is_too_old_for_the_cuda_of_the_image_stops_it() -> None:
    old = SEEN[0]._replace(version="470.57.02")
    loss, *_ = found(original(), experiment(), beta(drivers=(old,)))
    assert (loss.what, loss.asked, loss.stops) == ("driver", "550.54.14", True)
    assert "is older than" in loss.here and "beta1" in loss.here
    some, *_ = found(original(), experiment(), beta(drivers=(old, SEEN[0]._replace(node="beta2"))))
    assert (some.what, some.stops) == ("driver", False)
    elsewhere = old._replace(partition="debug")
    assert found(original(), experiment(), beta(drivers=(elsewhere,))) == []  # the job does not go there
    assert found(original(), experiment(resources=resources(gpus=0)), beta(drivers=(old,))) == []
    answered = experiment(env={"NVIDIA_DISABLE_REQUIRE": Word(("1",))})
    assert [loss.stops for loss in found(original(), answered, beta(drivers=(old,)))] == [False]
    looked = here(driver="470.57.02")
    assert found(original(), experiment(), looked)[0].stops  # of this machine, which was looked at


def test_a_kind_of_gpu_is_read_from_gres_where_no_node_was_looked_at() -> None:
    def kinds(*gres: str) -> list[str]:
        place = beta(partitions=(GPU._replace(gres=gres),))
        return [loss.here for loss in found(original(), experiment(), place) if loss.what == "GPU kind"]

    assert kinds("gpu:v100:4") == ["v100"]
    assert kinds("gpu:a100:4") == kinds("gpu:A100-SXM4:2", "gpu:v100:2") == kinds("gpu:4") == []
    assert kinds("gpu:a100_80g:4") == ["a100_80g"]


@pytest.mark.parametrize(
    ("slurm", "place", "what", "stops", "said"),
    [
        (
            {"partition": "gpu-a100"},
            beta(),
            "partition",
            True,
            "gpu / beta has no gpu-a100, but gpu, debug; --set slurm.partition=gpu",
        ),
        ({"partition": "debug"}, beta(), "partition", False, "gpu / debug"),
        (
            {"account": "physics"},
            beta(),
            "account",
            True,
            "physics / beta has no physics, but lab; --set slurm.account=lab",
        ),
        ({"account": "physics"}, beta(config=SlurmConfig({"SLURM_VERSION": "22.05.8"})), "account", False, "physics"),
        ({"qos": "lon"}, beta(), "qos", True, "lon / beta has no lon, but long, normal; --set slurm.qos=long"),
        ({"constraint": "nvlink"}, beta(), "constraint", False, "not asked for / nvlink"),
    ],
)
def test_options_of_another_cluster(slurm: dict[str, Any], place: Place, what: str, stops: bool, said: str) -> None:
    loss, *more = found(original(), experiment(slurm=slurm, resources=resources(time_s=60)), place)
    assert (loss.what, loss.stops, more) == (what, stops, []) and str(loss).startswith(f"{what}: {said}")
    if stops:
        with pytest.raises(InputError):
            refuse_stops("alpha:146", [loss])


def test_an_option_that_only_the_original_s_cluster_file_had_is_named_with_the_way_to_ask_for_it() -> None:
    options = {"partition": "gpu", "constraint": "nvlink", "account": "lab", "signal": "URG@60", "no-requeue": ""}
    told = [str(loss) for loss in found(original(asked__options=options), experiment(), beta())]
    assert told == [
        "constraint: nvlink / not asked for; --set slurm.constraint=nvlink, if beta has it",
        "account: lab / not asked for; --set slurm.account=lab, if beta has it",
    ]
    assert found(original(asked__options=options), experiment(), here()) == []  # there is no scheduler


def test_a_cluster_without_a_default_partition_needs_a_name() -> None:
    place = beta(cluster=replace(BETA, slurm={}), partitions=(GPU._replace(is_default=False), DEBUG))
    loss, *_ = found(original(), experiment(), place)
    assert (loss.what, loss.stops, loss.here) == ("partition", True, "beta has no default, but gpu, debug")


def test_engine_and_network() -> None:
    podman = beta(cluster=replace(BETA, engine="podman"))
    assert found(original(), experiment(), podman) == [Loss("engine", "docker", "podman")]
    told = found(original(asked__network="none"), experiment(), beta())
    assert told == [Loss("network", "none", "bridge", fix="--set network=none")]


@pytest.mark.parametrize(
    ("lies", "said"),
    [
        (Lies("gone"), "/lab/digits is not there"),
        (Lies("folder", 4000), "/lab/digits: 4000 bytes"),
        (Lies("folder", 4096, OTHER), f"/lab/digits: sha256 {OTHER}"),
        (Lies("folder", None, OTHER), f"/lab/digits: sha256 {OTHER}"),
        (Lies("file", 4096), "/lab/digits: a file"),
    ],
)
def test_missing_or_other_data_stops_it_with_its_size_its_hash_and_where_it_was(lies: Lies, said: str) -> None:
    loss, *more = found(original(), experiment(), beta(data={"/lab/digits": lies}))
    assert (loss.what, loss.here, loss.stops, more) == ("data /data", said, True, [])
    assert loss.asked == f"4096 bytes, sha256 of its list {SUM}, it was /data/digits on alpha"
    assert "--data /data=PATH names a copy on beta" in loss.fix
    anyway, *_ = found(original(), experiment(), beta(data={"/lab/digits": lies}), anyway=True)
    assert anyway.stops is (lies.kind == "gone")
    with pytest.raises(InputError, match=f"alpha:146: data /data: was 4096 bytes, sha256 of its list {SUM}"):
        refuse_stops("alpha:146", [loss])


@pytest.mark.parametrize(
    "lies", [Lies("folder", 4096, SUM), Lies("folder", 4096), Lies("folder"), Lies("unknown", why="denied")]
)
def test_data_that_is_the_same_or_was_not_read_is_no_loss(lies: Lies) -> None:
    assert found(original(), experiment(), beta(data={"/lab/digits": lies})) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("/elsewhere/digits", "'/elsewhere/digits' is outside what cluster beta allows (/lab)"),
        ("moons:", "'moons' is no data of cluster beta"),
    ],
)
def test_data_that_may_not_be_mounted_here_stops_it(source: str, why: str) -> None:
    name = source if source.endswith(":") else None
    loss, *_ = found(original(), experiment(mounts=(Mount(source, "/data", name=name),)), beta())
    assert loss.stops and loss.here == why and SUM in loss.asked and "--data /data=PATH" in loss.fix


def test_a_mount_that_the_original_did_not_have_is_only_looked_for() -> None:
    mounts = (Mount("/lab/more", "/more"),)
    gone = beta(data={"/lab/more": Lies("gone")})
    assert found(original(), experiment(mounts=mounts), gone)[0].asked == "without a recorded hash"
    assert found(original(), experiment(mounts=mounts), beta(data={"/lab/more": Lies("file", 7)})) == []


def test_each_secret_that_is_not_set_stops_it_by_its_name() -> None:
    asked = experiment(secrets=("WANDB_API_KEY", "TOKEN"))
    told = found(original(), asked, beta(secrets=frozenset(["TOKEN"])))
    assert told == [Loss("secret WANDB_API_KEY", "set", "not set in this shell", True, "export WANDB_API_KEY=… first")]


def test_what_stops_it_comes_first() -> None:
    told = found(original(), experiment(secrets=("A",)), beta(cluster=replace(BETA, engine="podman")))
    assert [loss.stops for loss in told] == [True, False]


# --- looking


def test_data_is_looked_at_with_one_question_and_hashed_where_that_is_cheap(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a").write_bytes(b"12345")
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("train")
    (tmp_path / "odd \n name").write_bytes(b"")
    host = LocalHost("here")
    names = ("train", "file", "link", "odd \n name", "gone", "file/below")

    def data(name: str, size: int | None = 5, tree: bool = False) -> Data:
        had = Input(None, "/x", size, None if tree else SUM, SUM if tree else None, "full", "")
        return Data("/data", str(tmp_path / name), had, "")

    seen = look_at_data(host, [data(name, tree=name in ("train", "link")) for name in names])
    kinds = {Path(path).name: (lies.kind, lies.bytes) for path, lies in seen.items()}
    assert kinds == {
        "train": ("folder", 5), "file": ("file", 5), "link": ("folder", 5), "odd \n name": ("file", 0),
        "gone": ("gone", None), "below": ("gone", None),
    }  # fmt: skip
    assert seen[str(tmp_path / "file")].sha256 == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    tree = seen[str(tmp_path / "train")].sha256
    assert tree and tree == seen[str(tmp_path / "link")].sha256 and tree != seen[str(tmp_path / "file")].sha256
    assert seen[str(tmp_path / "odd \n name")].why == "its size is another"
    other = data("file")._replace(had=None)
    assert look_at_data(host, [other])[other.path].why.startswith("the record has no hash")
    refused = data("file")._replace(why="outside", path="/etc/shadow")
    assert look_at_data(host, [refused, data("file")._replace(path="digits:")]) == {}
    with (tmp_path / "large").open("wb") as large:
        large.truncate(CHEAP_BYTES + 1)
    assert "it is large" in look_at_data(host, [data("large", CHEAP_BYTES + 1)])[str(tmp_path / "large")].why


def test_the_data_of_a_rerun_is_matched_by_its_place_in_the_container() -> None:
    (one,) = data_of(original(), experiment(), BETA)
    assert (one.path, one.sha256, one.was, one.why) == ("/lab/digits", SUM, "/data/digits on alpha", "")


@pytest.mark.parametrize(
    ("lines", "gpus"),
    [
        ({}, ()),
        ({"nvidia-smi": ("/usr/bin/nvidia-smi",), "gpu-row": ("550.54.14, Tesla V100, 16384 MiB",)},
         (Gpu("Tesla V100", 16384),)),
        ({"nvidia-smi": ("/usr/bin/nvidia-smi",), "gpu.error": ("exit 9: no devices",)}, None),
    ],
)  # fmt: skip
def test_a_machine_as_its_probe_saw_it(lines: dict[str, tuple[str, ...]], gpus: tuple[Gpu, ...] | None) -> None:
    common = {"node": ("desk",), "cpus": ("8",), "cpus-schedulable": ("2",), "memory-kib": ("2048",)}
    seen = ProbeOutput({**common, "cpu-info": ("model name : AMD EPYC",), **lines}, whole=True)
    machine = machine_of(seen, whole=True)
    assert machine[:5] == ("desk", 8, 2, 2, gpus) and machine.cpu_model == "AMD EPYC"
    assert machine_of(seen).cpus_schedulable is None  # a job's share says nothing
    named = ProbeOutput({**common, **lines, "granted": ("GPU-a,GPU-b",)}, whole=True)
    assert (machine_of(named, whole=True).gpus_named, machine_of(named).gpus_named) == (2, 0)
    assert machine_of(ProbeOutput({}, whole=False)) == Machine("")
