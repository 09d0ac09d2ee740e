"""Data that experiments have one name for, and each cluster's file a folder: read, planned, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tests.fakes.laptop import Laptop
from tests.made import CLUSTER, PIN, experiment, plan
from tfslurm.cluster import Cluster, parse_cluster
from tfslurm.document import dump
from tfslurm.errors import InputError, TfslurmError
from tfslurm.job_plan import from_json, refuse_unfit, to_json
from tfslurm.spec import Experiment, Mount
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.own_folders import guarded_now, own_places
from tfslurm.submission.review import mount_text


def cluster(**mounts: object) -> Cluster:
    return parse_cluster(dump({"name": "alpha", "root": "/scratch/a/tfslurm", "mounts": mounts}), "alpha.yaml")


def asked(source: object, **keys: object) -> Experiment:
    mount = {"source": source, "target": "/data", **keys}
    return parse_experiment(dump({"name": "a", "image": "x:1", "command": "true", "mounts": [mount]}), "exp.yaml")


NAMES = {"moons": "/scratch/lab/moons", "image-net_1k": "/data/imagenet"}


# --- the cluster's file


def test_a_cluster_names_folders_and_lets_be_mounted_what_it_names() -> None:
    read = cluster(names=NAMES)
    assert read.data == {name: PurePosixPath(folder) for name, folder in NAMES.items()}
    assert read.mounts_allow == (PurePosixPath("/scratch/lab/moons"), PurePosixPath("/data/imagenet"))
    both = cluster(allow=["/scratch", "/data"], names=NAMES)
    assert (both.data, both.mounts_allow) == (read.data, (PurePosixPath("/scratch"), PurePosixPath("/data")))
    assert (cluster().data, cluster().mounts_allow) == ({}, ())


@pytest.mark.parametrize("allow", [[], ["/data"], ["/scratch/lab/moon"], ["/scratch/lab/moons/train"]])
def test_a_name_opens_nothing_that_the_same_file_does_not_allow(allow: list[str]) -> None:
    with pytest.raises(
        InputError, match=r"mounts\.names\.moons: '/scratch/lab/moons' is outside `mounts\.allow`; add it"
    ):
        cluster(allow=allow, names={"moons": "/scratch/lab/moons"})


@pytest.mark.parametrize("folder", ["/", "/etc", "/var/run/docker.sock", "data", "~/data", "/data/../etc", "/data/", 7])
def test_a_name_is_of_a_folder_that_may_be_mounted(folder: object) -> None:
    with pytest.raises(InputError, match=r"mounts\.names\.moons"):
        cluster(names={"moons": folder})


@pytest.mark.parametrize("name", ["run", "", "Moons", "a b", "/moons", "a:b", "../x", "-x", "x" * 65, "é"])
def test_a_name_can_stand_before_a_colon(name: str) -> None:
    with pytest.raises(InputError, match="is not a name of data"):
        cluster(names={name: "/data/x"})


# --- the experiment's


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("moons:", "/scratch/lab/moons"),
        ("moons:train", "/scratch/lab/moons/train"),
        ("moons:train/a b.npz", "/scratch/lab/moons/train/a b.npz"),
        ("moons:a:b", "/scratch/lab/moons/a:b"),
        ("image-net_1k:val", "/data/imagenet/val"),
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_plan_has_the_path_of_its_cluster_and_the_name(source: str, path: str, read_only: bool) -> None:
    given = asked(source, read_only=read_only)
    assert given.mounts == (Mount(source, "/data", read_only, None, source),)
    made = plan(given, cluster(names=NAMES))
    assert made.mounts == (Mount(path, "/data", read_only, None, source),)
    assert from_json(json.loads(json.dumps(to_json(made)))) == made
    mode = "ro" if read_only else "rw"
    assert mount_text(made.mounts[0]).replace("'", "") == f"{source} = {path} -> /data ({mode})"
    elsewhere = plan(given, cluster(names={"moons": "/other", "image-net_1k": "/data/imagenet"}))
    assert (elsewhere.mounts == made.mounts) is source.startswith("image")


@pytest.mark.parametrize(
    "source",
    [
        "moons:..", "moons:../x", "moons:a/../../x", "moons:/etc", "moons:./a", "moons:a/", "moons:a//b", "moons:a\nb",
        "moons:/", "Moons:a", ":a", "run:", "run:a", "m" * 70 + ":a", "moons",
    ],
)  # fmt: skip
def test_a_path_behind_a_name_stays_below_it(source: str) -> None:
    with pytest.raises(InputError, match=r"mounts\[0\]\.source"):
        asked(source)


def test_an_absolute_path_behind_a_name_comes_with_what_to_write() -> None:
    with pytest.raises(InputError, match=r"is not absolute; write moons:train, below the folder moons"):
        asked("moons:/train")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "moon",
            r"did you mean `moons`\? it names moons, image-net_1k; add `mounts: \{names: \{moon: /…\}\}` to the file",
        ),
        ("digits", r"no data of cluster alpha; it names moons, image-net_1k; add"),
    ],
)
def test_a_name_that_a_cluster_does_not_have_is_refused_with_those_that_it_has(name: str, said: str) -> None:
    there, given = cluster(names=NAMES), asked(f"{name}:")
    with pytest.raises(InputError, match=said):
        refuse_unfit(given, there, ())
    with pytest.raises(InputError, match=said) as caught:
        plan(given, there)
    assert "exp.yaml:" in str(caught.value)
    with pytest.raises(InputError, match=r"'moons' is no data of cluster alpha; add `mounts"):
        plan(asked("moons:"), cluster(allow=["/data"]))


def test_a_named_folder_that_meets_the_root_is_refused() -> None:
    for folder in ("/scratch/a", "/scratch/a/tfslurm", "/scratch/a/tfslurm/runs"):
        with pytest.raises(InputError, match="where tfslurm keeps the scripts and secrets of jobs"):
            plan(asked("moons:"), cluster(names={"moons": folder}))


def test_a_plan_that_is_sent_again_mounts_what_it_may_now() -> None:
    """Points that are resumed without a file: the name may stand for another folder now."""
    made = plan(asked("moons:"), cluster(names=NAMES))
    own = own_places(None)
    assert guarded_now(made, cluster(names={"moons": "/scratch/lab"}), own).mounts == made.mounts
    with pytest.raises(TfslurmError, match="'/scratch/lab/moons' is outside what cluster alpha allows"):
        guarded_now(made, cluster(names={"moons": "/data/moons"}), own)


def test_a_plan_without_names_is_what_it_was() -> None:
    given = experiment(mounts=(Mount("/data/d", "/data"),))
    values = to_json(plan(given, replace(CLUSTER, data={"d": PurePosixPath("/data/d")})))
    assert values["mounts"] == [{"source": "/data/d", "target": "/data", "read_only": True}]
    assert values["pin"]["reference"] == PIN.reference


def test_a_sweep_is_planned_as_it_would_be_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    sweep, mounts = {"grid": {"lr": [0.1, 0.01]}}, [{"source": "moons:", "target": "/data"}]
    file = laptop.experiment(command=["true", "{{ lr }}"], sweep=sweep, mounts=mounts)
    for command in ("plan", "submit"):
        assert laptop.type(command, file) == 2, command
        assert "mounts[0].source: 'moons' is no data of cluster alpha; add `mounts" in capsys.readouterr().err
    there = laptop.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    described = {**json.loads(there.read_text()), "mounts": {"names": {"moons": "/scratch/lab/moons"}}}
    there.write_text(json.dumps(described))
    assert laptop.type("plan", file) == 0
    assert "moons: = /scratch/lab/moons -> /data (ro)" in capsys.readouterr().out
