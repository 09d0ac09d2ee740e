"""What of tfslurm's own an experiment cannot reach from here: by `code`, or by the roots that its plan names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tests.made import CLUSTER, EXPERIMENT, plan
from tfslurm.cluster import Cluster, Limits, Login
from tfslurm.errors import InputError, TfslurmError
from tfslurm.snapshot import take
from tfslurm.spec import Mount
from tfslurm.submission.own_folders import guarded_now, own_places, refuse_own_files
from tfslurm.tracker import JobUpdate, Tracker
from tfslurm.workspace.config import choose_clusters, tracker_if_made
from tfslurm.workspace.folders import trust_file
from tfslurm.workspace.trust import change_trusted


def other_roots(cluster: Cluster) -> tuple[str, ...]:
    return own_places(tracker_if_made()).beside(cluster)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders with two cluster files, one of them broken, and a root with a secret."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    clusters = tmp_path / "config" / "tfslurm" / "clusters"
    clusters.mkdir(parents=True)
    (clusters / "beta.yaml").write_text(f"name: beta\nroot: {tmp_path}/beta\n")
    (clusters / "gamma.yaml").write_text("name: gamma\nroot: [\n")
    for folder in ("root/runs/victim-0123456789ab/secrets", "beta/runs", "data/tfslurm", "project/src"):
        (tmp_path / folder).mkdir(parents=True)
    Tracker(tmp_path / "data" / "tfslurm" / "tracker.sqlite").close()
    for file in ("root/runs/victim-0123456789ab/secrets/TOKEN", "project/src/a.py"):
        (tmp_path / file).write_text("x")
    (tmp_path / "beta" / "runs" / "node.sh").write_text("x")
    return tmp_path


def test_a_plan_names_the_roots_of_the_other_clusters_and_what_shares_the_machine(home: Path) -> None:
    here = replace(CLUSTER, root=PurePosixPath(home / "root"))
    own = {str(home / "config" / "tfslurm"), str(home / "data" / "tfslurm")}
    assert set(other_roots(here)) == {str(home / "beta"), *own}
    assert set(other_roots(replace(here, login=Login("login.example")))) == {str(home / "beta")}


def test_a_plan_names_the_root_of_a_cluster_file_that_has_mistakes(home: Path) -> None:
    (home / "config/tfslurm/clusters/omega.yaml").write_text(f"name: other\nroot: {home}/omega\nengien: docker\n")
    (home / "config/tfslurm/clusters/sigma.yaml").write_text("name: sigma\nroot: 7\n")
    assert set(other_roots(replace(CLUSTER, login=Login("login.example")))) == {str(home / "beta"), str(home / "omega")}


@pytest.mark.parametrize(
    ("root", "named"), [("//srv//x/", "/srv/x"), ("/srv/../x", ""), ("/a\nb", ""), ("/" + 5000 * "x", "")]
)
def test_a_plan_names_no_root_that_would_keep_it_from_being_read_again(home: Path, root: str, named: str) -> None:
    (home / "config/tfslurm/clusters/omega.yaml").write_text(json.dumps({"name": "omega", "root": root}))
    others = set(other_roots(replace(CLUSTER, login=Login("login.example"))))
    assert others == {str(home / "beta")} | ({named} if named else set())


def test_a_plan_names_the_roots_of_clusters_that_are_trusted_in_other_folders(home: Path) -> None:
    text = f"name: delta\nroot: {home}/delta\n"
    (home / "lab").mkdir()
    (home / "lab" / "delta.yaml").write_text(text)
    change_trusted(trust_file(), lambda now: now.trusting(home / "lab", {"delta.yaml": text.encode()}))
    assert str(home / "delta") in other_roots(replace(CLUSTER, login=Login("login.example")))


def test_the_clusters_of_a_command_name_the_roots_that_a_look_at_all_files_names(home: Path) -> None:
    clusters = home / "config" / "tfslurm" / "clusters"
    (clusters / "gamma.yaml").write_text(f"name: gamma\nroot: {home}/gamma\nnope: 1\n")
    text = f"name: delta\nroot: {home}/delta\n"
    (home / "lab").mkdir()
    (home / "lab" / "delta.yaml").write_text(text)
    change_trusted(trust_file(), lambda now: now.trusting(home / "lab", {"delta.yaml": text.encode()}))
    chosen = choose_clusters(["beta", "delta"], ())
    expected = {str(home / name) for name in ("beta", "gamma", "delta")}
    assert own_places(None, chosen) == own_places(None) and own_places(None).roots == expected


def test_a_plan_names_the_roots_that_jobs_of_the_tracker_still_have(home: Path) -> None:
    """--clusters named their file, or it says another root now: they, and their secrets, are there all the same."""
    tracker = Tracker(home / "data" / "tfslurm" / "tracker.sqlite")
    for second, name in enumerate(("open", "runs", "over", "lost")):
        made = replace(plan(planned_at=f"2026-11-23T08:00:0{second}.000000Z"), root=f"{home}/{name}")
        tracker.plan(made, "")
        if name != "open":
            tracker.submit(made, str(second), "LOST" if name == "lost" else "RUNNING")
    (over,) = tracker.jobs(job_id="2")
    tracker.update_jobs([JobUpdate(over, "COMPLETED", True, {})])
    found = set(other_roots(replace(CLUSTER, login=Login("login.example"))))
    assert found == {str(home / name) for name in ("beta", "open", "runs")}
    assert str(home / "runs") in guarded_now(plan(), CLUSTER, own_places(tracker)).roots


@pytest.mark.parametrize(
    ("code", "root", "words"),
    [
        ("root/runs/victim-0123456789ab", "root", "lies in"),
        ("root/runs/victim-0123456789ab/secrets", "root", "lies in"),
        ("root", "root", "lies in"), (".", "root", "holds files of"), ("beta", "root", "lies in"),
        ("data/tfslurm", "root", "lies in"), ("config", "root", "holds files of"), ("project", "project/src", "holds"),
        ("project", "root", ""), ("project/src", "project/tfs", ""),
    ],
)  # fmt: skip
def test_code_holds_nothing_of_a_root_the_tracker_or_the_cluster_files(
    code: str, root: str, words: str, home: Path
) -> None:
    cluster = replace(CLUSTER, root=PurePosixPath(home / root))
    snapshot = take(home / code)
    if not words:
        refuse_own_files(EXPERIMENT, snapshot, cluster, own_places(tracker_if_made()))
        return
    with pytest.raises(InputError, match=words):
        refuse_own_files(EXPERIMENT, snapshot, cluster, own_places(tracker_if_made()))


RUN = f"{CLUSTER.root}/runs/digits-0123456789ab/17/out"


def test_a_plan_that_is_sent_again_is_guarded_as_the_cluster_file_says_now(home: Path) -> None:
    weak = replace(plan(), mounts_allow=("/",), roots=(), shared_parents="accept", read_group="others")
    weak = replace(weak, limits=Limits(pids=2**22), cgroup_parent="off")
    again = guarded_now(weak, CLUSTER, own_places(tracker_if_made()))
    assert again == replace(plan(), roots=other_roots(CLUSTER))
    assert str(home / "beta") in again.roots


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        (Mount("/data/digits", "/data"), ""),
        (Mount(RUN, "/old", run="run:alpha:17/out"), ""),
        (Mount(RUN, "/old", read_only=False, run="run:alpha:17/out"), "is not known as the outputs of a run"),
        (Mount("/scratch/alice/secret", "/old", run="run:alpha:17/out"), "is not known as the outputs of a run"),
        (Mount(f"{CLUSTER.root}/runs/digits-0123456789ab/17", "/old"), "where tfslurm keeps the scripts and secrets"),
        (Mount(str(CLUSTER.root.parent), "/old"), "where tfslurm keeps the scripts and secrets"),
        (Mount("/home/alice", "/old"), "is outside what cluster alpha allows"),
    ],
)
def test_a_plan_that_is_sent_again_mounts_what_it_may_now(home: Path, mount: Mount, why: str) -> None:
    before = replace(plan(), mounts=(mount,), mounts_allow=("/",))
    if not why:
        assert guarded_now(before, CLUSTER, own_places(tracker_if_made())).mounts == (mount,)
        return
    with pytest.raises(TfslurmError, match=why):
        guarded_now(before, CLUSTER, own_places(tracker_if_made()))
