"""node.sh by itself, in bash: which sources it mounts, what it finds of changed code, and whose the run folder is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node_side import sourced
from tests.test_node_functions import bash
from tfslurm.snapshot import take

RUN = "victim-0123456789ab"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A file system with a root of tfslurm's, data beside it, and another user's data with links."""
    own = ("root/code", "root/images", "root/inputs", "home")
    for folder in (f"root/runs/{RUN}/7/out/deep", *own, "data/set", "other/runs"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("node.sh", "plan.json", "job.sbatch"):
        (tmp_path / "root" / "runs" / RUN / name).write_text(name)
    (tmp_path / "data" / "file").write_text("x")
    links = {"to-root": "root", "to-run": f"root/runs/{RUN}", "to-all": "", "to-etc": "/etc", "to-set": "data/set"}
    for name, target in links.items():
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    (tmp_path / f"root/runs/{RUN}/7/out/link").symlink_to(tmp_path / "root")
    return tmp_path


def looked(site: Path, source: str, mode: str = "ro", *, before: str = "", more: str = "", **env: str) -> str:
    """What mount::check makes of one source: its real path, or the refusal."""
    script = f"""
user=alice run_dir={site}/root/runs/{RUN} own_dir=$run_dir code_dir='' outputs=/out
roots=({site}/other) mounts=("{source}" /m {mode}) mounts_allow=({site}) {more}
{before}
mount::check
printf 'mounted %s\\n' "${{mount_sources[@]}}"
"""
    return bash(site, script, HOME=str(site / "home"), **env).strip()


@pytest.mark.parametrize(
    "source",
    [
        "root", "root/runs", f"root/runs/{RUN}", f"root/runs/{RUN}/secrets", f"root/runs/{RUN}/7/out", "root/images",
        "root/inputs", "", "data/to-root", "data/to-run", "data/to-all", "data/to-root/runs", "data/../root", "other",
        "other/runs", "home", "home/.config/tfslurm", "home/.local",
    ],
)  # fmt: skip
def test_nothing_of_tfslurms_own_is_mounted_by_whatever_name(source: str, site: Path) -> None:
    (site / "root" / "runs" / RUN / "secrets").mkdir()
    for name in (".config/tfslurm", ".local/share/tfslurm"):
        (site / "home" / name).mkdir(parents=True)
    said = looked(site, f"{site}/{source}".rstrip("/"))
    assert "is, holds or lies in a folder of tfslurm's own" in said


@pytest.mark.parametrize("source", ["data", "data/set", "data/file", "data/to-set"])
def test_what_lies_beside_the_root_is_mounted_as_what_it_really_is(source: str, site: Path) -> None:
    assert looked(site, f"{site}/{source}") == f"mounted {(site / source).resolve()}"


@pytest.mark.parametrize(
    ("below", "wrong"),
    [
        (f"runs/{RUN}/7/out", ""), (f"runs/{RUN}/7/out/deep", ""), (f"runs/{RUN}/7/out/link", "is really"),
        (f"runs/{RUN}/7", "is not the outputs"), (f"runs/{RUN}", "is not the outputs"), ("runs", "is not the outputs"),
        (f"runs/{RUN}/7/out/../../node.sh", "is really"), ("code", "is not the outputs"), ("../data", "is really"),
        (f"runs/{RUN}/7/out/gone", "does not exist on this node"),
    ],
)  # fmt: skip
def test_of_a_root_only_the_outputs_of_a_run_are_mounted_and_through_no_link(
    below: str, wrong: str, site: Path
) -> None:
    said = looked(site, f"{site}/root/{below}", "run")
    if wrong:
        assert wrong in said
        assert "mounted" not in said
    else:
        assert said == f"mounted {site}/root/{below}"


@pytest.mark.parametrize("alias", ["root", "root/runs", f"root/runs/{RUN}", ""])
def test_a_second_mount_of_a_root_is_known_for_what_it_is(alias: str, site: Path) -> None:
    """As a site has it that exports one file system under two names."""
    (site / "data" / "alias").mkdir()
    script = f"mount --bind {site}/{alias} {site}/data/alias"
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets nobody have a mount namespace")
    said = in_namespace(site, f"{script} || exit 9", f"{site}/data/alias")
    assert "is, holds or lies in a folder of tfslurm's own" in said
    said = in_namespace(site, f"{script} || exit 9", f"{site}/data")
    assert said == f"mounted {site}/data", "what is mounted below it is not found by a look at the folder itself"


def in_namespace(site: Path, before: str, source: str) -> str:
    """The same as looked, where ``before`` has mounted something."""
    script = f"""
set -euo pipefail
{before}
{sourced()}
facts={site} where=alpha1 is_local='' job=145 rank=0 cluster=alpha
user=alice run_dir={site}/root/runs/{RUN} own_dir=$run_dir
code_dir='' roots=() mounts=("{source}" /m ro) mounts_allow=({site})
mount::check
printf 'mounted %s\\n' "${{mount_sources[@]}}"
"""
    argv = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script]
    done = subprocess.run(argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip()


def a_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")  # an address has 108 bytes at most
    os.close(folder)


@pytest.mark.parametrize("make", [a_socket, os.mkfifo], ids=["socket", "pipe"])
def test_a_source_that_is_neither_file_nor_folder_is_refused(make: Callable[[Path], None], site: Path) -> None:
    make(site / "data" / "odd")
    assert "is a socket, a device or a pipe" in looked(site, f"{site}/data/odd")


@pytest.mark.parametrize("source", ["data/run", "data/run/deep", "data", "data/link"])
@pytest.mark.parametrize("variable", ["DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR"])
def test_a_folder_that_holds_an_engines_socket_is_refused_at_any_depth_and_through_links(
    variable: str, source: str, site: Path
) -> None:
    deep = site / "data" / "run" / "deep"
    deep.mkdir(parents=True)
    (site / "data" / "link").symlink_to(site / "data" / "run")
    a_socket(deep / "docker.sock")
    (site / "elsewhere").symlink_to(deep)
    value = str(site / "elsewhere") if variable == "XDG_RUNTIME_DIR" else f"unix://{site}/elsewhere/docker.sock"
    assert "docker.sock, a socket that is root on the node" in looked(site, f"{site}/{source}", **{variable: value})


@pytest.mark.parametrize("source", ["/etc", "/run", "/proc/self/root", "/dev/shm", "/", "/var/lib", "/sys/kernel"])
def test_the_nodes_own_folders_are_not_mounted_where_everything_is_allowed(source: str, site: Path) -> None:
    said = looked(site, source, more="mounts_allow=(/)")
    assert "belongs to the node itself" in said or "tfslurm's own" in said or "is root on the node" in said


def test_the_groups_of_root_and_of_an_engines_socket_are_withheld(site: Path) -> None:
    script = """
groups::sockets() { engine_sockets=(/dev/null); }
stat() { echo 108; }
groups::look; groups::withhold; echo "[$withheld] $own_group"
"""
    said = bash(site, script).strip()
    assert said.startswith("[ 0 108 ] ")
    assert said.split()[-1] not in ("0", "108")


# ---------------------------------------------------------------------------------------------------------------- code

CHECK = """
user=alice run_dir=/nowhere own_dir=$run_dir code_dir={code} code_contents={sum} mounts=() roots=()
mount::check; code::look; code::check; cat "$facts/code-check.txt"
"""


def tree(folder: Path) -> tuple[Path, str]:
    """A tree as it lies on a cluster, and the sum that its plan has."""
    source = folder / "source"
    (source / "pkg").mkdir(parents=True)
    for name, text in {"a.py": "1", "pkg/b.py": "2", "two\nlines": "3", "x -> y": "4", "run.sh": "5", "é": ""}.items():
        (source / name).write_text(text)
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("pkg/b.py")
    made = folder / "tree"
    shutil.copytree(source, made, symlinks=True)
    return made, take(source).contents_sha256


def verified(folder: Path, code: Path, contents: str) -> str:
    return bash(folder, CHECK.format(code=code, sum=contents)).strip()


CHANGES = {
    "content": "printf 2 >a.py",
    "one file more": ": >pkg/__init__.py",
    "one file less": "rm é",
    "another name": "mv a.py b.py",
    "executable": "chmod u+x a.py",
    "not executable": "chmod a-x run.sh",
    "another link": "ln -sfn /etc/passwd link",
    "a link for a file": "ln -sfn pkg/b.py a.py",
    "a folder more": "mkdir json",
    "a pipe": "mkfifo pipe",
    "a file for a folder": "rm -r pkg; : >pkg",
    "another name with a newline": "mv two?lines two",
    "a file that others may write": "chmod o+w a.py",
    "a folder that a group may write": "chmod g+w pkg",
    "another user's file": "[ $EUID = 0 ] || exit 9; chown 12345 a.py",
    "another user's folder": "[ $EUID = 0 ] || exit 9; chown 12345 pkg",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_tree_that_differs_in_anything_is_refused(change: str, tmp_path: Path) -> None:
    code, contents = tree(tmp_path)
    assert verified(tmp_path, code, contents) == "ok: every file is what was sent"
    done = subprocess.run(["bash", "-c", CHANGES[change]], cwd=code)
    if done.returncode == 9:
        pytest.skip("root alone gives a file away")
    assert done.returncode == 0
    said = verified(tmp_path, code, contents)
    assert f"tfslurm: alpha1: code: {code} does not hold what was sent, no file more and none less; remove" in said


@pytest.mark.slow
def test_a_known_tree_is_known_until_an_inode_changes(tmp_path: Path) -> None:
    code, contents = tree(tmp_path)
    assert "known" not in verified(tmp_path, code, contents)
    time.sleep(3.2)  # as long as a change could have the ctime that was seen
    assert "known" not in verified(tmp_path, code, contents)
    assert "known on this node" in verified(tmp_path, code, contents)
    text = (code / "a.py").read_text()
    (code / "a.py").write_text("9")
    os.utime(code / "a.py", (1, 1))
    assert "does not hold what was sent" in verified(tmp_path, code, contents)
    (code / "a.py").write_text(text)
    assert verified(tmp_path, code, contents) == "ok: every file is what was sent"


def test_a_plan_of_an_older_tfslurm_is_not_verified_and_says_so(tmp_path: Path) -> None:
    code, _ = tree(tmp_path)
    assert verified(tmp_path, code, "''") == "unknown: not verified on the node: an older tfslurm made the plan"


# ------------------------------------------------------------------------------------------------------- whose folders


def shared(tmp_path: Path, run_dir: Path) -> str:
    script = f"user=$(id -un) run_dir={run_dir}; folders::own; printf '%s\\n' \"${{shared_folders[@]-}}\""
    return bash(tmp_path, script).strip()


@pytest.mark.parametrize(
    ("mode", "found"), [(0o755, False), (0o700, False), (0o777, True), (0o1777, False), (0o757, True), (0o3777, False)]
)
def test_a_folder_above_in_which_others_may_write_is_named_with_its_mode(
    mode: int, found: bool, tmp_path: Path
) -> None:
    run_dir = tmp_path / "project" / "root" / "runs" / RUN
    run_dir.mkdir(parents=True, mode=0o700)
    (tmp_path / "project").chmod(mode)
    (tmp_path / "way").symlink_to(tmp_path / "project")
    want = f"{mode:o} {os.geteuid()} {tmp_path}/project" if found else ""
    assert shared(tmp_path, run_dir) == want
    through = shared(tmp_path, tmp_path / "way" / "root" / "runs" / RUN)
    assert (f" {tmp_path}/project" in through) is found


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720])
def test_a_run_folder_in_which_others_may_write_is_refused(mode: int, tmp_path: Path) -> None:
    run_dir = tmp_path / "root" / "runs" / RUN
    run_dir.mkdir(parents=True)
    run_dir.chmod(mode)
    assert "is not a folder in which this user alone may write" in shared(tmp_path, run_dir)
    (tmp_path / "link").symlink_to(run_dir)
    run_dir.chmod(0o700)
    assert "is not a folder in which this user alone may write" in shared(tmp_path, tmp_path / "link")


@pytest.mark.parametrize("case", ["", "a link", "no run folder"])
def test_secrets_go_where_a_folder_above_is_not_accepted_and_nothing_else_does(case: str, tmp_path: Path) -> None:
    """Who can replace a folder above may put one of the user's own in the run folder's place."""
    run_dir, own = tmp_path / "runs" / RUN, tmp_path / "own"
    for folder in (run_dir, own):
        (folder / "secrets").mkdir(parents=True)
        (folder / "secrets" / "TOKEN").touch()
    (run_dir / "plan.json").touch()
    if case == "a link":
        run_dir.rename(tmp_path / "moved")
        run_dir.symlink_to(own)
    elif case:
        (run_dir / "plan.json").unlink()
    script = f"""
run_dir={run_dir} own_dir=$run_dir attempt_dir={tmp_path} shared_parents='' secrets=(TOKEN) began_at=''
shared_folders=('2775 0 /proj')
(folders::tell) || :
"""
    assert "/proj (mode 2775) is on the way to the run folder" in bash(tmp_path, script)
    assert (run_dir / "secrets").exists() is bool(case)
    assert (own / "secrets" / "TOKEN").exists()


def test_what_lets_one_speak_to_slurm_is_no_fact(tmp_path: Path) -> None:
    """The site's users have it where Slurm knows them by tokens, and sbatch hands its whole environment on."""
    env = {"SLURM_JOB_ID": "7", "SLURM_JWT": "eyJ", "SLURM_MY_TOKEN": "s3", "SLURMD_NODENAME": "n1"}
    bash(tmp_path, "facts::environment", **env)
    found = (tmp_path / "facts" / "slurm.env").read_text().split("\0")
    assert found == ["SLURMD_NODENAME=n1", "SLURM_JOB_ID=7", ""]


STARTED = """
run_dir={run} own_dir={run} attempt_dir={run}/7/attempt-1 shared_parents={accept} is_local=yes
batch::_runner
code=0; "${{script[@]}}" task || code=$?
echo $code
"""


@pytest.mark.parametrize("case", ["its own", "open to a group", "another's", "gone"])
def test_a_task_is_started_from_the_run_folder_and_from_no_other(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "runs" / RUN
    script = folder / "7" / "attempt-1" / "job.sbatch"
    script.parent.mkdir(parents=True)
    script.write_text("""echo "ran $1 $(tr '\\0' '|' </proc/$$/cmdline)"\n""")
    folder.chmod(0o2770 if case == "open to a group" else 0o700)
    if case == "another's":
        if os.geteuid() != 0:
            pytest.skip("root alone gives a folder away")
        os.chown(folder, 12345, -1)
    elif case == "gone":
        folder.rename(tmp_path / "moved")
    said = bash(tmp_path, STARTED.format(run=folder, accept="accept"))
    if case == "its own":
        assert "ran task " in said
        assert f"|{script}|\n" in said, "by which `tfslurm reap` knows that the job's script is alive"
    else:
        assert "another folder lies in the place of the run folder" in said
        assert said.startswith("78\n")
        assert "ran task" not in said
