"""What somebody else cannot do with a job on the test bed: read its root, replace what it runs, swap what it mounts."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bed import RUN, SCRATCH, wait_until
from .desk import USER, Desk
from .users import run_as

OTHER = "bob"  # an ordinary user who shares the group docker with alice
SWAP = """
import ctypes, os, sys, time
call = ctypes.CDLL(None).syscall
there, link = (os.fsencode(path) for path in sys.argv[1:3])
while True:
    call(316, -100, there, -100, link, 2)  # renameat2, RENAME_EXCHANGE
    time.sleep(0.04)
"""


def given(path: Path, user: str = USER, group: str = "docker", mode: int = 0o2775) -> Path:
    """A folder of one user's, for a group."""
    path.mkdir(parents=True, exist_ok=True)
    shutil.chown(path, user, group)
    path.chmod(mode)
    return path


def released(desk: Desk, job: str) -> str:
    """How a job ended that was to begin much later."""
    now = ["scontrol", "update", f"jobid={job.partition(':')[2]}", "StartTime=now"]
    assert run_as(USER, now, "alpha").returncode == 0
    return desk.ended(job)


def said(desk: Desk, job: str) -> str:
    """What a job wrote of itself, and its program."""
    shown = (desk.tfslurm("logs", job), desk.tfslurm("logs", job, "--batch"))
    return "".join(done.stdout + done.stderr for done in shown)


@pytest.fixture
def project(desk: Desk) -> Iterator[Path]:
    """A project folder in which the other user may write too, with the root in it."""
    folder = given(SCRATCH / "alpha" / f"project-{desk.token}")
    desk.describe("alpha", root=str(folder / "tfs"), shared_parents="accept")
    yield folder
    shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------------------- mounts


def test_a_mount_reaches_nothing_of_tfslurms_but_the_outputs_of_a_run(desk: Desk) -> None:
    victim = desk.submit(desk.experiment("victim", ["sh", "-c", "mkdir /out/deep; echo kept >/out/deep/file"]))
    assert desk.ended(victim) == "COMPLETED"
    root, data = desk.root("alpha"), given(desk.data("alpha"), mode=0o755)
    run = desk.run_folder(victim).parent
    for name, target in {"root": root, "run": run, "scratch": root.parent, "home": desk.folder, "out": run}.items():
        (data / name).symlink_to(target)
    (data / "real").mkdir()
    allow = {"allow": [str(data), str(root.parent), str(desk.folder)]}
    desk.describe("alpha", mounts=allow)
    for source in (root, root / "runs", root.parent, run / "secrets", root / "code"):
        file = desk.experiment("thief", "true", mounts=[{"source": str(source), "target": "/r", "read_only": False}])
        done = desk.tfslurm("submit", file, "--cluster", "alpha")
        assert (done.returncode, "where tfslurm keeps the scripts and secrets of jobs" in done.stderr) == (2, True)
    named = {name: str(data / name) for name in ("root", "run", "scratch")}
    jobs = {
        name: desk.submit(desk.experiment(f"thief-{name}", "ls /r", mounts=[{"source": source, "target": "/r"}]))
        for name, source in named.items()
    }
    for job in jobs.values():
        assert desk.ended(job) == "FAILED"
        assert " is, holds or lies in a folder of tfslurm's own (" in said(desk, job)
    mount = {"source": f"run:{victim}/out/deep", "target": "/r"}
    script = "cat /r/file; touch /r/new 2>/dev/null && echo writable"
    reader = desk.submit(desk.experiment("reader", ["sh", "-c", f"{script}; true"], mounts=[mount]))
    assert desk.ended(reader) == "COMPLETED", said(desk, reader)
    assert desk.tfslurm("logs", reader).stdout == "kept\n"
    assert desk.record(reader)["experiment"]["mounts"][0]["run"] == f"run:{victim}/out/deep"
    shutil.rmtree(run / victim.partition(":")[2] / "out" / "deep")
    (run / victim.partition(":")[2] / "out" / "deep").symlink_to(run)
    liar = desk.submit(desk.experiment("liar", "ls /r", mounts=[mount]))
    assert desk.ended(liar) == "FAILED"
    assert f"is really {run}, which is not the outputs of a run in {root}" in said(desk, liar)


def test_outputs_of_another_cluster_or_of_no_job_are_refused_with_the_way_out(desk: Desk) -> None:
    job = desk.submit(desk.experiment("other", "true"))
    for source, words in {
        f"run:{job}/out": f"--cluster alpha; or `tfslurm fetch {job}`",
        "run:beta:999999999/out": "`tfslurm status --all` lists those that are",
    }.items():
        file = desk.experiment("reader", "true", mounts=[{"source": source, "target": "/r"}])
        done = desk.tfslurm("submit", file, "--cluster", "beta", cluster="beta")
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    desk.ended(job)


def test_a_source_that_is_swapped_between_the_look_and_the_mount_is_never_given_to_the_program(desk: Desk) -> None:
    shared = given(desk.data("alpha") / "shared", OTHER, OTHER, 0o755)
    desk.data("alpha").chmod(0o755)
    folder, link = given(shared / "d", OTHER, OTHER, 0o755), shared / "l"
    (folder / "honest").touch()
    link.symlink_to(RUN)  # the docker daemon's socket is there
    entry = pwd.getpwnam(OTHER)
    argv = [sys.executable, "-c", SWAP, str(folder), str(link)]
    swapper = subprocess.Popen(argv, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
    try:
        files = [
            desk.experiment(f"race-{at}", ["sh", "-c", "ls /m"], mounts=[{"source": str(folder), "target": "/m"}])
            for at in range(8)
        ]
        jobs = [desk.submit(file) for file in files]
        desk.tfslurm("wait", *jobs)
    finally:
        swapper.kill()
        swapper.wait()
    seen = {desk.tfslurm("logs", job).stdout for job in jobs}
    assert all(text in ("", "honest\n") for text in seen), seen
    ways = ("honest\n", "is outside what this cluster allows", "its source was replaced", "does not exist on this node")
    other = [text for text in (said(desk, job) for job in jobs) if not any(words in text for words in ways)]
    assert not other


# ------------------------------------------------------------------------------------------- folders that others share


def test_a_root_that_others_can_replace_is_refused_with_the_way_out(desk: Desk, project: Path) -> None:
    desk.describe("alpha", root=str(project / "tfs"))
    done = desk.tfslurm("submit", desk.experiment("shared", "true"), "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        f"{project} (mode 2775) is on the way to {project}/tfs, and others can replace what lies there" in done.stderr
    )
    assert "shared_parents: accept in the cluster file" in done.stderr
    assert list((project / "tfs" / "runs").iterdir()) == []
    checked = desk.tfslurm("check", "alpha", "--no-node").stdout
    assert f"{project} (mode 2775, uid {project.stat().st_uid})" in checked


def test_what_others_put_in_the_place_of_code_or_of_a_run_folder_does_not_run(desk: Desk, project: Path) -> None:
    (desk.folder / "src").mkdir()
    (desk.folder / "src" / "train.sh").write_text("echo honest\n")
    held = {"slurm": {"begin": "now+3600"}, "code": "src"}
    first = desk.submit(desk.experiment("code", "sh train.sh", **held))
    second = desk.submit(desk.experiment("run", "sh train.sh", **held))
    tfs = project / "tfs"
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tfs, tfs / "runs", tfs / "code")}
    assert {mode & 0o777 for mode in modes.values()} == {0o700}, modes
    assert run_as(OTHER, ["mv", str(tfs / "code"), str(tfs / "aside")]).returncode != 0
    # The folder above is the other's to write in, so the whole root can go.
    aside = project / "aside"
    assert run_as(OTHER, ["mv", str(tfs), str(aside)]).returncode == 0
    shutil.copytree(aside, tfs, symlinks=True)
    for path in (tfs, *tfs.rglob("*")):
        shutil.chown(path, USER, USER)
    (code,) = filter(Path.is_dir, (tfs / "code").iterdir())
    (code / "train.sh").chmod(0o644)
    (code / "train.sh").write_text("echo evil\n")
    (run,) = (tfs / "runs").glob("run-*")
    (run / "node.sh").write_text(f"echo evil >{run}/ran\n")
    assert released(desk, first) == "FAILED"
    assert "does not hold what was sent, no file more and none less" in said(desk, first)
    verdict = desk.record(first)["verified"]["code"]
    assert verdict == {"status": "failed", "reason": f"{code} does not hold what was sent, no file more and none less"}
    assert released(desk, second) == "FAILED"
    assert f"{run}: holds other files than were sent" in said(desk, second)
    assert not (run / "ran").exists()


def test_a_record_names_the_folders_in_which_others_could_write(desk: Desk, project: Path) -> None:
    (desk.folder / "src").mkdir()
    (desk.folder / "src" / "train.sh").write_text("echo honest\n")
    job = desk.submit(desk.experiment("accepted", "sh train.sh", code="src"))
    assert desk.ended(job) == "COMPLETED", said(desk, job)
    assert desk.tfslurm("logs", job).stdout == "honest\n"
    record = desk.record(job)
    assert [each["folder"] for each in record["job"]["shared_folders"]] == [str(project)]
    assert record["verified"]["code"] == {"status": "ok", "reason": "every file is what was sent"}
    assert "warning  folders: others could replace the run folder" in desk.tfslurm("provenance", job).stdout


# $1 the root, $2 the run folder in it, $3 the job, $4 what every link leads to.
REPLACE = """
cd "${1%/*}" && mv "$1" aside && mkdir -p "$1/runs/$2/$3/attempt-1/facts/task-0" "$1/runs/$2/secrets" || exit
cd "$1/runs/$2" && : >secrets/kept && cd "$3/attempt-1" || exit
for name in exit.json exit.json.tmp outputs.sizes.tmp outputs.sha256.tmp foreign-files lost.txt.tmp \\
    facts/task-0/{exit.json.tmp,events.tsv,container-inspect.json,container-usage.txt.tmp}; do ln -s "$4" "$name"; done
"""


def test_a_run_writes_nothing_into_a_folder_that_takes_its_place(desk: Desk, project: Path) -> None:
    """Links in it would lead what the job writes at its end, as this user, into any of his files."""
    precious = given(desk.folder, mode=0o755) / "precious"
    precious.write_text("whole")
    shutil.chown(precious, USER, USER)
    script = "echo begun >/out/begun; until [ -e /out/go ]; do sleep 0.1; done"
    job = desk.submit(desk.experiment("replaced", ["sh", "-c", script], secrets=["TOKEN"]), env={"TOKEN": "s3cr3t"})
    assert wait_until(lambda: any((project / "tfs").glob("runs/*/*/out/begun")), 60)
    (folder,) = (project / "tfs").glob(f"runs/*/{job.partition(':')[2]}")
    words = [str(project / "tfs"), folder.parent.name, folder.name, str(precious)]
    done = run_as(OTHER, ["bash", "-c", REPLACE, "bash", *words])
    assert done.returncode == 0, done.stderr
    moved = project / "aside" / "runs" / folder.parent.name
    (moved / folder.name / "out" / "go").touch()
    assert wait_until((moved / folder.name / "attempt-1" / "exit.json").exists, 60)
    assert precious.read_text() == "whole"
    assert wait_until(lambda: not (moved / "secrets").exists(), 10)
    assert (project / "tfs" / "runs" / folder.parent.name / "secrets" / "kept").exists()


def test_a_group_may_read_what_a_run_leaves_and_no_more(desk: Desk) -> None:
    root = given(desk.root("alpha"), mode=0o755)
    desk.describe("alpha", read_group="docker")
    (desk.folder / "src").mkdir()
    (desk.folder / "src" / "private").write_text("x")
    script = "umask 077; echo $TOKEN >/dev/null; until [ -e /out/go ]; do sleep 0.1; done"
    left = "cp $(readlink -f /bin/sh) /out/run; chmod 6777 /out/run; mkdir -m 777 /out/open; echo result >/out/result"
    file = desk.experiment("read", ["sh", "-c", f"{left}; {script}"], secrets=["TOKEN"], code="src")
    job = desk.submit(file, env={"TOKEN": "s3cr3t"})
    assert wait_until(lambda: any(root.glob("runs/*/*/out/result")), 60)
    folder = desk.run_folder(job)
    readable = ("attempt-1/begin.json", "../plan.json")
    closed = ("../secrets/TOKEN", "../../../code", "attempt-1/home/0", "out", "out/run")
    assert [run_as(OTHER, ["cat", folder / name]).returncode for name in readable] == [0] * len(readable)
    assert all(run_as(OTHER, ["ls", folder / name]).returncode for name in closed)
    written = run_as(OTHER, ["find", root, "-writable", "!", "-type", "l"]).stdout
    assert written == ""
    (folder / "out" / "go").touch()
    assert desk.ended(job) == "COMPLETED"
    assert run_as(OTHER, ["cat", folder / "attempt-1" / "stdout.log"]).returncode == 0
    assert run_as(OTHER, ["cat", folder / "out" / "result"]).stdout == "result\n"
    assert not (folder / "out" / "run").stat().st_mode & 0o6022
    assert run_as(OTHER, ["find", root, "-writable", "!", "-type", "l"]).stdout == ""
