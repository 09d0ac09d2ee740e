"""What of tfslurm's own an experiment cannot reach from here: by `code`, or by the roots that its plan names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tests.made import CLUSTER, EXPERIMENT
from tfslurm.cluster import Login
from tfslurm.errors import InputError
from tfslurm.snapshot import take
from tfslurm.submit.own_folders import other_roots, refuse_own_files


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
    for file in ("root/runs/victim-0123456789ab/secrets/TOKEN", "data/tfslurm/tracker.sqlite", "project/src/a.py"):
        (tmp_path / file).write_text("x")
    (tmp_path / "beta" / "runs" / "node.sh").write_text("x")
    return tmp_path


def test_a_plan_names_the_roots_of_the_other_clusters_and_what_shares_the_machine(home: Path) -> None:
    here = replace(CLUSTER, root=PurePosixPath(home / "root"))
    own = {str(home / "config" / "tfslurm"), str(home / "data" / "tfslurm")}
    assert set(other_roots(here)) == {str(home / "beta"), *own}
    assert set(other_roots(replace(here, login=Login("login.example")))) == {str(home / "beta")}


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
        refuse_own_files(EXPERIMENT, snapshot, cluster)
        return
    with pytest.raises(InputError, match=words):
        refuse_own_files(EXPERIMENT, snapshot, cluster)
