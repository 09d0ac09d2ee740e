"""A folder that somebody else laid out, and commands that are run in it: nothing is written through what lies there."""

from __future__ import annotations

import os
import re
import stat
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.made import CLUSTER, PIN, plan
from tests.test_local_files import OTHERS
from tests.typed import Type, typed_in
from tfslurm.cli.console import deliver
from tfslurm.cli.results import write_parquet
from tfslurm.errors import InputError, TrackerError
from tfslurm.image import lock_text, parse_lock
from tfslurm.submission.prepare import read_experiment, write_lock
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known
from tfslurm.workspace.site_cache import keep, place

EXPERIMENT = """\
name: digits
image: tensorflow/tensorflow:2.16.1-gpu
command: python train.py
network: none
resources: {gpus: 0, cpus: 1, memory: 100M, time: "00:02:00"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment that is pinned, in a folder beside a file of the user's."""
    (tmp_path / "precious").write_text("mine")
    here = tmp_path / "repository"
    here.mkdir()
    (here / "exp.yaml").write_text(EXPERIMENT)
    (here / "exp.lock.yaml").write_text(lock_text(PIN))
    clusters = tmp_path / "config" / "tfslurm" / "clusters"
    clusters.mkdir(parents=True)
    (clusters / "alpha.yaml").write_text("name: alpha\nroot: /scratch/alice\n")
    return here


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """`tfslurm …` there."""
    environment = {"HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / "config", "XDG_DATA_HOME": tmp_path / "data"}
    return typed_in(folder, environment, monkeypatch, capsys)


# --- writing


@pytest.mark.parametrize("name", ["exp.lock.tmp", "exp.lock.yaml.tmp", ".exp.lock.yaml.tmp", "exp.tmp", "exp.lock"])
def test_a_lock_is_written_beside_whatever_has_a_name_like_its_own(folder: Path, name: str) -> None:
    (folder / name).symlink_to("../precious")
    (folder / "exp.lock.yaml").unlink()
    asked = read_experiment(folder / "exp.yaml")
    write_lock(asked, PIN)
    assert (folder.parent / "precious").read_text() == "mine"
    assert (folder / name).is_symlink()
    assert parse_lock(asked.lock_file.read_text(), "lock", asked.experiment.image) == PIN
    assert not asked.lock_file.is_symlink()


@pytest.mark.parametrize("target", ["../precious", "../absent", "exp.yaml"])
def test_a_lock_that_is_a_link_is_refused(folder: Path, target: str) -> None:
    (folder / "exp.lock.yaml").unlink()
    (folder / "exp.lock.yaml").symlink_to(target)
    before = sorted(path.name for path in folder.parent.iterdir())
    with pytest.raises(InputError, match=r"exp\.lock\.yaml: is a symbolic link.*; remove it, or name the file"):
        write_lock(read_experiment(folder / "exp.yaml"), PIN)
    assert (folder.parent / "precious").read_text() == "mine"
    assert (folder / "exp.yaml").read_text() == EXPERIMENT
    assert sorted(path.name for path in folder.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["out.json", "sub/out.json"])
def test_output_goes_into_no_link(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out.json").symlink_to("../precious")
    (folder / "sub").symlink_to("..")
    (folder.parent / "out.json").write_text("mine")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="is a symbolic link to"):
        deliver("theirs", Path(name))
    assert {(folder.parent / each).read_text() for each in ("precious", "out.json")} == {"mine"}
    deliver("text", Path("new.json"))
    assert (folder / "new.json").read_text() == "text"


class Parquet:
    """Stands for pyarrow, which is not installed with the tests: its writer opens a path, as the real one does."""

    ArrowException = ValueError
    Table = SimpleNamespace(from_pylist=list)

    @staticmethod
    def write_table(rows: list[object], where: Path | BytesIO) -> None:
        if isinstance(where, BytesIO):
            where.write(b"PAR1")
        else:
            where.write_bytes(b"PAR1")


@pytest.mark.parametrize("name", ["out.parquet", "sub/out.parquet"])
def test_a_parquet_file_goes_into_no_link(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out.parquet").symlink_to("../precious")
    (folder / "sub").symlink_to("..")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tfslurm.cli.results.import_module", lambda name: Parquet)
    with pytest.raises(InputError, match="is a symbolic link to"):
        write_parquet([{"a": 1}], Path(name))
    assert (folder.parent / "precious").read_text() == "mine"
    assert not (folder.parent / "out.parquet").exists()
    write_parquet([{"a": 1}], Path("new.parquet"))
    assert (folder / "new.parquet").read_bytes() == b"PAR1"


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("where", [".", "sub"])
def test_init_writes_into_no_link(folder: Path, run: Type, where: str, force: list[str]) -> None:
    (folder / "exp.yaml").unlink()
    (folder / "exp.yaml").symlink_to("../precious")
    (folder / "sub").symlink_to("..")
    done = run("init", where, *force)
    assert (done.returncode, "is a symbolic link to" in done.stderr) == (2, True)
    assert (folder.parent / "precious").read_text() == "mine"
    assert not (folder.parent / "exp.yaml").exists()


def test_what_is_kept_of_a_site_and_the_tracker_are_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    known = Known(CLUSTER, "", None)
    before = os.umask(0)
    try:
        place(known).parent.mkdir(parents=True)
        place(known).with_suffix(f".{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
        (tmp_path / "precious").write_text("mine")
        keep(known, "2026-11-23T07:50:01Z", "said")
        tracker = Tracker(tmp_path / "data" / "tfslurm" / "tracker.sqlite")
        with tracker.claim("a"):
            tracker.plan(plan(), "text")
    finally:
        os.umask(before)
    assert (tmp_path / "precious").read_text() == "mine"
    for path in [tmp_path / "data" / "tfslurm", *(tmp_path / "data" / "tfslurm").rglob("*")]:
        assert path.is_symlink() or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_a_tracker_that_is_somebody_elses_is_not_used(tmp_path: Path, what: str) -> None:
    """As root in a folder of nobody's for what nobody made; as anybody for what root did."""
    if os.geteuid() != 0:
        with pytest.raises(TrackerError, match="belongs to another user"):
            Tracker(Path("/usr/tracker.sqlite"))
        return
    folder = Path("/tmp") / f"tfslurm-test-{os.urandom(8).hex()}"
    folder.mkdir()
    theirs = folder / "tracker.sqlite"
    if what == "file":
        theirs.touch()
    elif what == "link":
        (folder / "real").touch()
        os.chown(folder / "real", 65534, -1)
        theirs.symlink_to("real")
    if what != "folder":
        os.chown(folder, 65534, -1)
    os.seteuid(65534)
    try:
        with pytest.raises(TrackerError, match="belongs to another user"):
            Tracker(theirs)
    finally:
        os.seteuid(0)
        for path in (*folder.iterdir(), folder):
            path.rmdir() if path.is_dir() else path.unlink()


# --- reading


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket", "a device", "too large"])
@pytest.mark.parametrize("name", ["exp.yaml", "exp.lock.yaml", "clusters/alpha.yaml", "own.sbatch.j2"])
def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path, run: Type, name: str, kind: str) -> None:
    if name == "own.sbatch.j2":
        (folder / "exp.yaml").write_text(f"{EXPERIMENT}template: own.sbatch.j2\n")
    path = (folder.parent / "config" / "tfslurm" if name.startswith("clusters/") else folder) / name
    path.unlink(missing_ok=True)
    if kind == "too large":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        OTHERS[kind](path)
    done = run("plan", "exp.yaml")
    said = f"is {kind}, and a regular file is wanted"
    if kind == "too large":
        said = f"is larger than {({'clusters/alpha.yaml': '64 KiB', 'own.sbatch.j2': '256 KiB'}).get(name, '4 MiB')}"
    if name == "own.sbatch.j2":
        name, said = "template", f"'own.sbatch.j2' {said if kind != 'a device' else 'is a link that leaves'}"
    assert (done.returncode, f"{name}: {said}" in done.stderr) == (2, True), done.stderr


def test_a_folders_name_forges_no_row_of_a_plan(folder: Path, run: Type) -> None:
    named = folder / "x\nnetwork  host\nerror: forged"
    (named / "code").mkdir(parents=True)
    (named / "code" / "train.py").write_text("")
    (named / "exp.yaml").write_text(EXPERIMENT + "code: code\n")
    (named / "exp.lock.yaml").write_text(lock_text(PIN))
    done = run("plan", str(named / "exp.yaml"))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("network")] == ["network  none"]
    assert "x\\nnetwork  host" in done.stdout
    done = run("plan", str(named / "exp.yaml"), "--cluster", "y\nerror: forged")
    assert done.returncode == 2
    assert not re.search("^error: forged", done.stdout + done.stderr, re.MULTILINE)
