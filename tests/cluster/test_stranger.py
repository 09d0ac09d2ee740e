"""A downloaded repository brings cluster files; whatever is typed in it runs none of its programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .desk import USER, Desk, Done, ids
from .users import run_as

OWN_FIX = "copy what you need of it into your own"


class Stranger:
    """A folder with programs that write a marker, as `git clone` gives it to the user: everything in it is hers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.folder = desk.folder / "downloaded"
        self.marker = self.folder / "PWNED"
        for name in ("sh", "bash", "env", "timeout", "squeue", "sacct", "sbatch", "scontrol", "sinfo", "srun", "id"):
            desk.write(f"downloaded/bin/{name}", f"#!/bin/sh\nid >>{self.marker}\nexit 1\n", 0o755)
        desk.write("downloaded/rc", f"id >>{self.marker}\n")
        desk.write("downloaded/click.py", f"open('{self.marker}', 'a').write('x')\n")
        desk.write("downloaded/slurm.conf", "ClusterName=alpha\nPluginDir=/tmp\n")
        shutil.copy(desk.folder / "exp.yaml", self.folder)
        shutil.copy(desk.folder / "exp.lock.yaml", self.folder)

    def cluster(self, name: str, **more: object) -> Path:
        text = {"name": name, "root": str(self.desk.root(name)), "mounts": {"allow": ["/home"]}, **more}
        return self.desk.write(f"downloaded/cluster_configs/{name}.yaml", json.dumps(text))

    def typed(self, *words: str | Path) -> Done:
        env = self.desk.environment("alpha")
        done = run_as(USER, [self.desk.program, *words], cwd=self.folder, env=env)
        assert not self.marker.exists(), f"{words}: {done.stderr}"
        return done


@pytest.fixture
def stranger(desk: Desk) -> Stranger:
    file = desk.experiment("exp", "true", slurm={"begin": "now+1hour"})
    assert desk.tfslurm("pin", file).returncode == 0
    made = Stranger(desk)
    (desk.folder / "config" / "tfslurm" / "clusters" / "gamma.yaml").unlink()
    return made


def test_no_program_of_a_downloaded_folder_runs(desk: Desk, stranger: Stranger) -> None:
    job = desk.submit(desk.folder / "exp.yaml")
    path = str(stranger.folder / "bin")
    for name in ("alpha", "gamma", "local"):
        stranger.cluster(name, environment={"PATH": path, "BASH_ENV": str(stranger.folder / "rc")}, slurm_bin=path)
    for words in (
        ("status",),
        ("check", "alpha", "--no-node"),
        ("check", "gamma", "--no-node"),
        ("plan", "exp.yaml", "--cluster", "alpha"),
        ("submit", "exp.yaml", "--cluster", "gamma"),
        ("logs", job),
        ("provenance", job),
        ("reap", "--dry-run"),
        ("tracker", "rebuild"),
        ("status", "--clusters", "cluster_configs"),
        ("check", "--clusters", "cluster_configs", "--no-node", "gamma"),
        ("trust", "cluster_configs", "--yes"),
    ):
        done = stranger.typed(*words)
        if "gamma" in words or "trust" in words:
            assert done.returncode == 2, done.stderr
            assert "gamma" in done.stderr
    done = stranger.typed("cancel", job)
    assert done.returncode == 0, done.stderr
    note = "note: cluster_configs/alpha.yaml is not used: "
    assert note in stranger.typed("check", "alpha", "--no-node").stderr


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"environment": {"PATH": "@/bin"}}, "SLURM_CONF alone is; name the folder of Slurm's programs"),
        ({"environment": {"LD_PRELOAD": "@/x.so"}}, "SLURM_CONF alone is"),
        ({"environment": {"SLURM_CONF": "@/slurm.conf"}}, f"belongs to {USER}, and what it names runs on this machine"),
        ({"slurm_bin": "@/bin"}, f"belongs to {USER}, and what it names runs on this machine"),
    ],
)
def test_trust_does_not_reach_what_is_not_in_the_file(stranger: Stranger, more: dict[str, object], why: str) -> None:
    stranger.cluster("gamma", **json.loads(json.dumps(more).replace("@", str(stranger.folder))))
    for words in (
        ("trust", "cluster_configs", "--yes"),
        ("check", "gamma", "--no-node", "--clusters", "cluster_configs"),
    ):
        done = stranger.typed(*words)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert "is not used: you have not trusted it" in stranger.typed("check", "gamma", "--no-node").stderr


def test_a_folder_that_was_looked_at_works(desk: Desk, stranger: Stranger) -> None:
    own = desk.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    theirs = stranger.folder / "cluster_configs" / "alpha.yaml"
    theirs.parent.mkdir()
    own.rename(theirs)
    for path in (theirs.parent, theirs):
        shutil.chown(path, *ids())
    assert stranger.typed("trust", "cluster_configs", "--yes").returncode == 0
    done = stranger.typed("submit", "exp.yaml", "--cluster", "alpha")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    theirs.write_text(theirs.read_text() + "slurm_bin: /tmp\n")
    assert desk.tfslurm("status", job).returncode == 0  # by the text that it was submitted with
    assert stranger.typed("cancel", job).returncode == 0
    assert "it has changed since you trusted it" in stranger.typed("check", "alpha").stderr
    assert stranger.typed("trust", "cluster_configs", "--revoke").returncode == 0
    done = stranger.typed("status", job, "--json")
    assert json.loads(done.stdout)[0]["job"] == job
