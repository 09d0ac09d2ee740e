"""What the node hashes of read-only mounts, in bash, on real folders: job_templates/parts/observe/inputs.sh."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.node_side import packed
from tfslurm.host.files import input_contents
from tfslurm.host.local import LocalHost
from tfslurm.record.inputs import parse_inputs
from tfslurm.run_folder.paths import input_list
from tfslurm.workspace.packaged_files import SHELL_SIDE

RUN = "digits-0123456789ab"
DOCS = Path(__file__).parent.parent / "docs" / "record.md"
# What has just been written counts as unchanged for long, where a test looks at what is remembered.
PATIENT: dict[str, Any] = {"INPUT_GRAIN_S": "-1000"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A root with a run, and a folder of data with names of any kind."""
    (tmp_path / "root" / "runs" / RUN).mkdir(parents=True)
    (tmp_path / "root" / "runs" / RUN / "node.sh").touch()
    data = tmp_path / "data"
    (data / "deep" / "er").mkdir(parents=True)
    names = {"a.bin": "1", "deep/b": "2" * 70_000, "deep/er/c d": "", "two\nlines": "4", "a\tb": "5", 'it\'s "$x"': "6"}
    for name, text in {**names, "-n": "7", "x -> y": "8", "a-b": "9", "a/b".replace("/", "."): "0"}.items():
        (data / name).write_text(text)
    (data / os.fsdecode(b"\xff\xfe")).write_text("no text")
    (data / "link").symlink_to("/etc/shadow")
    (data / "gone").symlink_to("nowhere\nat all")
    (data / "empty").mkdir()
    os.mkfifo(data / "pipe")
    return tmp_path


def node_side(folder: Path, constants: Mapping[str, str]) -> str:
    """The node side with other constants, in a folder; the words with which bash reads it."""
    folder.mkdir(exist_ok=True)
    for name in SHELL_SIDE:
        text = (packed() / name).read_text()
        for constant, value in constants.items():
            text = re.sub(rf"^readonly {constant}=\S+", f"readonly {constant}={value}", text, flags=re.MULTILINE)
        (folder / name).write_text(text)
    return "; ".join(f"source {folder / name}" for name in SHELL_SIDE)


def argv(site: Path, *mounts: str, hashed: str = "0", attempt: int = 1, **constants: str) -> list[str]:
    """A shell that looks at what is mounted, as a task would; a mount is `source mode`."""
    words = " ".join(f"{source} /m{at} {mode}" for at, (source, mode) in enumerate(map(str.split, mounts)))
    run_dir = site / "root" / "runs" / RUN
    script = f"""
set -euo pipefail
{node_side(site / "node", constants)}
where=alpha1 is_local='' job=145 rank=0 cpus=2 cluster=alpha user=alice code_dir='' outputs='' checkpoint_signal=''
stopped='' warned='' interrupted='' waited_for='' client='' roots=() run_dir={run_dir} own_dir=$run_dir
attempt_dir=$run_dir/145/attempt-{attempt} inputs_dir={site}/root/inputs images_dir={site}/root/images
facts=$attempt_dir/facts/task-0 mounts=({words}) mounts_hashed=({hashed}) mounts_allow=({site})
mkdir -p "$facts"; : >"$attempt_dir/shared-folders"
trap task::_told_to_stop TERM
mount::check
inputs::hash
"""
    return ["bash", "-c", script]


def looked(site: Path, *mounts: str, attempt: int = 1, path: str = "/usr/bin:/bin", **more: str) -> Any:
    """The entries of inputs.json, which the record can read; what it said on standard error is in `said`."""
    env = {"PATH": path, "HOME": str(site / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv(site, *mounts, attempt=attempt, **more), env=env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = attempt_folder(site, attempt)
    raw = (folder / "inputs.json").read_bytes()
    parse_inputs(raw)
    assert not (folder / "inputs.json.error").exists(), (folder / "inputs.json.error").read_text()
    assert not (folder / "inputs" / "tmp").exists()
    assert not list((site / "root").rglob("*tmp*"))
    return json.loads(raw)


def attempt_folder(site: Path, number: int = 1) -> Path:
    return site / "root" / "runs" / RUN / "145" / f"attempt-{number}"


def listed(folder: Path) -> bytes:
    """The list that the documents describe, by Python."""
    files, links, others = [], [], []
    for path in folder.rglob("*"):
        name = b"./" + os.fsencode(path.relative_to(folder))
        if path.is_symlink():
            target = os.fsencode(path.readlink())
            links.append(b"%d %s -> %s\0" % (len(target), name, target))
        elif path.is_file():
            files.append((name, b"%s  %s\0" % (sha256(path.read_bytes()).hexdigest().encode(), name)))
        elif not path.is_dir() or not any(path.iterdir()):
            others.append(b"? %s\0" % name)
    if not any(folder.iterdir()):
        others.append(b"? .\0")
    return b"".join([*(line for _, line in sorted(files)), *sorted(links), *sorted(others)])


def one_liner() -> str:
    """What docs/record.md tells a stranger to type."""
    (found,) = re.findall(r"^    (LC_ALL=C; cd DIR && .*?sha256sum)\n\n", DOCS.read_text("utf-8"), re.M | re.S)
    return str(found)


def test_a_folder_has_the_hash_that_a_stranger_computes(site: Path) -> None:
    (one,) = looked(site, f"{site}/data ro")
    want = listed(site / "data")
    assert one == {
        "mount": 0, "bytes": sum(path.stat().st_size for path in (site / "data").rglob("*") if regular(path)),
        "sha256": None, "tree_sha256": sha256(want).hexdigest(), "hashed": "full", "why": "",
    }  # fmt: skip
    assert (attempt_folder(site) / "inputs" / "0.list").read_bytes() == want
    kept = Path(input_list(PurePosixPath(site / "root"), one["tree_sha256"]))
    assert kept.read_bytes() == want
    assert {path.stat().st_mode & 0o777 for path in (kept.parent, kept.parent.parent)} == {0o700}
    typed = subprocess.run(
        ["bash", "-c", one_liner().replace("DIR", str(site / "data"))], capture_output=True, text=True, check=True
    )
    assert typed.stdout.split()[0] == one["tree_sha256"]
    assert input_contents(LocalHost("here", {}), PurePosixPath(site / "data"), timeout_s=60) == want
    assert input_contents(LocalHost("here", {}), PurePosixPath(site / "nothing"), timeout_s=60) == b""


def regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def test_the_code_of_the_same_files_has_a_list_that_begins_so(site: Path) -> None:
    """ADR 28: the lines of the files and the links are the same."""
    looked(site, f"{site}/data ro")
    text = (attempt_folder(site) / "inputs" / "0.list").read_bytes()
    script = (
        f"export LC_ALL=C; {'; '.join(f'source {packed() / name}' for name in SHELL_SIDE)}; cd {site}/data; tree::list"
    )
    code = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}).stdout
    assert [line for line in code.split(b"\0") if line[:1] not in b"?x"] == [
        line for line in text.split(b"\0") if line[:1] != b"?" and line
    ]


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_has_its_own_hash(size: int, site: Path) -> None:
    file = site / "data" / "one"
    file.write_bytes(b"x" * size)
    (one,) = looked(site, f"{file} ro")
    want = sha256(b"x" * size).hexdigest()
    assert (one["bytes"], one["sha256"], one["tree_sha256"], one["hashed"]) == (size, want, None, "full")
    assert not (attempt_folder(site) / "inputs").exists()


def test_an_empty_folder_has_a_hash_too(site: Path) -> None:
    (one,) = looked(site, f"{site}/data/empty ro")
    assert (one["bytes"], one["tree_sha256"]) == (0, sha256(b"? .\0").hexdigest())


def test_the_outputs_of_a_run_are_hashed_like_other_data(site: Path) -> None:
    out = site / "root" / "runs" / RUN / "7" / "out"
    out.mkdir(parents=True)
    (out / "model").write_text("weights")
    (one,) = looked(site, f"{out} run")
    assert one["tree_sha256"] == sha256(listed(out)).hexdigest()


def test_without_hash_a_file_has_its_size_and_a_folder_none(site: Path) -> None:
    found = looked(site, f"{site}/data ro", f"{site}/data/deep/b ro", f"{site}/data/deep rw", hashed="")
    assert [(one["mount"], one["bytes"], one["hashed"], one["sha256"]) for one in found] == [
        (0, None, "no", None),
        (1, 70_000, "no", None),
    ]
    assert found[0]["why"] == "it was not asked for: write `hash: true`"
    assert not (site / "root" / "inputs").exists()


@pytest.mark.slow
def test_only_the_first_task_looks_and_once(site: Path) -> None:
    (one,) = looked(site, f"{site}/data ro")
    script = argv(site, f"{site}/data ro")
    (site / "data" / "a.bin").unlink()
    subprocess.run(script, check=True, capture_output=True)  # what the step before several tasks has written counts
    assert json.loads((attempt_folder(site) / "inputs.json").read_text()) == [one]
    other = argv(site, f"{site}/data ro", attempt=2)[-1].replace("rank=0", "rank=1")
    subprocess.run(["bash", "-c", other], check=True, capture_output=True)
    assert not (attempt_folder(site, 2) / "inputs.json").exists()


# ------------------------------------------------------------------------------------------------------ what is known


def counting(site: Path, more: str = "") -> str:
    """A PATH on which sha256sum notes how many files it was given to read."""
    (site / "bin").mkdir(exist_ok=True)
    note = f'for one; do [[ $one != ./* ]] || echo "$one" >>{site}/read; done'
    (site / "bin" / "sha256sum").write_text(f'#!/bin/bash\n{note}\n{more}\nexec /usr/bin/sha256sum "$@"\n')
    (site / "bin" / "sha256sum").chmod(0o755)
    return f"{site}/bin:/usr/bin:/bin"


def read(site: Path) -> list[str]:
    """The files that were read since this was last asked."""
    found = (site / "read").read_bytes().decode("utf-8", "replace").splitlines() if (site / "read").exists() else []
    (site / "read").unlink(missing_ok=True)
    return found


@pytest.mark.slow
def test_what_is_known_is_not_read_again_and_what_has_changed_is(site: Path) -> None:
    path = counting(site)
    data = site / "data"
    (first,) = looked(site, f"{data} ro", path=path, **PATIENT)
    assert first["hashed"] == "full" and len(read(site)) >= 11
    (second,) = looked(site, f"{data} ro", path=path, attempt=2, **PATIENT)
    assert (second, read(site)) == ({**first, "hashed": "cached"}, [])
    kept = input_list(PurePosixPath(site / "root"), first["tree_sha256"])
    Path(kept).unlink()
    (second,) = looked(site, f"{data} ro", path=path, attempt=5, **PATIENT)  # by each file
    assert (second, read(site)) == ({**first, "hashed": "cached"}, [])
    for attempt in (2, 5):
        assert (attempt_folder(site, attempt) / "inputs" / "0.list").read_bytes() == Path(kept).read_bytes()
    before = (data / "deep" / "b").stat()
    (data / "deep" / "b").write_text("3" * 70_000)  # as large, and by its mtime as old
    os.utime(data / "deep" / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    (third,) = looked(site, f"{data} ro", path=path, attempt=3, **PATIENT)
    assert (third["hashed"], read(site)) == ("full", ["./deep/b"])
    assert third["tree_sha256"] == sha256(listed(data)).hexdigest() != first["tree_sha256"]
    (data / "a.bin").rename(data / "z.bin")  # which changes its ctime
    (data / "deep" / "er" / "c d").unlink()
    (fourth,) = looked(site, f"{data} ro", path=path, attempt=4, **PATIENT)
    assert (read(site), fourth["tree_sha256"]) == (["./z.bin"], sha256(listed(data)).hexdigest())


@pytest.mark.slow
def test_what_was_changed_a_moment_before_is_not_remembered(site: Path) -> None:
    path = counting(site)
    looked(site, f"{site}/data ro", path=path)
    assert read(site)
    (again,) = looked(site, f"{site}/data ro", path=path, attempt=2)
    assert again["hashed"] == "full" and len(read(site)) >= 11


@pytest.mark.slow
def test_names_of_one_file_are_known_together(site: Path) -> None:
    os.link(site / "data" / "a.bin", site / "data" / "deep" / "same")
    (first,) = looked(site, f"{site}/data ro", **PATIENT)
    (second,) = looked(site, f"{site}/data ro", attempt=2, **PATIENT)
    assert (first["hashed"], second["hashed"]) == ("full", "cached")
    assert first["tree_sha256"] == second["tree_sha256"] == sha256(listed(site / "data")).hexdigest()


def spoil(file: Path, how: str) -> None:
    raw = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how == "a link":
        (file.parent.parent / "elsewhere").write_bytes(raw)
        file.symlink_to("../elsewhere")
    elif how != "gone":
        file.write_bytes(
            {"a bit": raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:], "cut off": raw[:300], "empty": b""}[how]
        )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a bit", "cut off", "empty", "a link", "a folder", "gone"])
def test_what_is_known_counts_only_whole_and_as_it_was_written(how: str, site: Path) -> None:
    (first,) = looked(site, f"{site}/data ro", **PATIENT)
    (known,) = (site / "root" / "inputs" / "known").iterdir()
    spoil(known, how)
    (second,) = looked(site, f"{site}/data ro", attempt=2, **PATIENT)
    assert second == first


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_where_others_could_write_nothing_is_kept_and_nothing_believed(mode: int, site: Path) -> None:
    (first,) = looked(site, f"{site}/data ro", **PATIENT)
    (site / "root" / "inputs").chmod(mode)
    (second,) = looked(site, f"{site}/data ro", attempt=2, **PATIENT)
    assert second == first
    assert (attempt_folder(site, 2) / "inputs" / "0.list").exists()


@pytest.mark.slow
def test_of_several_jobs_at_once_one_reads(site: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(site / "home")}
    both = (f"{site}/data ro", f"{site}/data ro")
    words = [argv(site, *both, hashed="0 1", attempt=at, **PATIENT) for at in range(1, 5)]
    running = [subprocess.Popen(each, env=env) for each in words]
    assert [each.wait(120) for each in running] == [0] * 4
    found = [json.loads((attempt_folder(site, at) / "inputs.json").read_text()) for at in range(1, 5)]
    assert {one["tree_sha256"] for two in found for one in two} == {sha256(listed(site / "data")).hexdigest()}
    assert sorted(one["hashed"] for two in found for one in two) == ["cached"] * 7 + ["full"], (
        "one reads, the others wait"
    )


def test_a_long_list_is_in_the_root_alone(site: Path) -> None:
    (one,) = looked(site, f"{site}/data ro", INPUT_SHORT_BYTES="100")
    assert not (attempt_folder(site) / "inputs").exists()
    kept = input_list(PurePosixPath(site / "root"), one["tree_sha256"])
    assert Path(kept).read_bytes() == listed(site / "data")


@pytest.mark.slow
def test_batches_of_any_size_leave_no_file_out(site: Path) -> None:
    for number in range(300):
        (site / "data" / f"{number}").write_bytes(b"y" * (number**2))
    (one,) = looked(site, f"{site}/data ro", INPUT_LEAST_BATCH="1000", INPUT_FILE_WEIGHT="1")
    assert one["tree_sha256"] == sha256(listed(site / "data")).hexdigest()
    assert "2 processes" in (attempt_folder(site) / "facts" / "task-0" / "events.tsv").read_text()


# ------------------------------------------------------------------------------------------------- what is not hashed


def test_a_file_that_changes_while_it_is_read_leaves_no_hash(site: Path) -> None:
    path = counting(site, f'case " $* " in *"./"*) echo more >>{site}/data/deep/b ;; esac')
    (one,) = looked(site, f"{site}/data ro", path=path)
    assert (one["hashed"], one["tree_sha256"], one["bytes"]) == ("no", None, None)
    assert one["why"] == "it was changed while it was read: deep/b; submit again when nobody writes there"
    assert not list((site / "root" / "inputs").rglob("*-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["rm {0}/a.bin", ": >{0}/new", "ln -s x {0}/other", "ln -sfn x {0}/link", "mkfifo {0}/p"]
)
def test_a_folder_that_changes_while_it_is_read_leaves_no_hash(change: str, site: Path) -> None:
    once = f'case " $* " in *"./"*) {change.format(site / "data")} 2>/dev/null ;; esac'
    (one,) = looked(site, f"{site}/data ro", path=counting(site, once))
    assert one["hashed"] == "no" and one["tree_sha256"] is None and one["why"]


def test_a_file_that_cannot_be_read_leaves_no_hash_and_is_named(site: Path) -> None:
    path = counting(
        site, "if [[ $1 == --zero && -n ${3-} ]]; then echo 'sha256sum: ./x: Input/output error' >&2; exit 1; fi"
    )
    (one,) = looked(site, f"{site}/data ro", path=path)
    assert one["why"].startswith("it cannot be read: sha256sum: ./x: Input/output error; let alice read it")


def test_more_files_than_can_be_listed_are_not_hashed(site: Path) -> None:
    (one,) = looked(site, f"{site}/data ro", INPUT_MOST_FILES="5")
    assert one["why"].startswith("it holds more than 5 files, or their names are too long; pack them (tar)")
    (one,) = looked(site, f"{site}/data ro", attempt=2, INPUT_MOST_KIB="0")
    assert one["hashed"] == "no"


@pytest.mark.parametrize("writer", ["", "/deep", "/deep/b", "/.."])
def test_what_the_program_may_change_elsewhere_is_not_hashed(writer: str, site: Path) -> None:
    source = os.path.normpath(f"{site}/data{writer}") if writer != "/.." else f"{site}/all"
    if writer == "/..":
        (site / "all").mkdir()
        shutil.move(site / "data", site / "all" / "data")
    data = f"{site}/all/data" if writer == "/.." else f"{site}/data"
    (one,) = looked(site, f"{data} ro", f"{source} rw")
    assert one["why"] == "the program can change it at /m1, where it is mounted writable"


def test_a_socket_is_listed_and_nothing_is_read_of_it(site: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(site / "data" / "s"))
        looked(site, f"{site}/data ro")
    assert b"? ./pipe\0? ./s\0" in (attempt_folder(site) / "inputs" / "0.list").read_bytes()


def test_a_stop_ends_it_at_once_and_leaves_nothing(site: Path) -> None:
    path = counting(site, f'case " $* " in *"./"*) echo $$ >>{site}/reading; exec sleep 600 ;; esac')
    started = subprocess.Popen(
        argv(site, f"{site}/data ro"), env={"PATH": path, "HOME": str(site)}, stderr=subprocess.PIPE
    )
    patience = time.monotonic() + 60
    while not (site / "reading").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    _, said = started.communicate(timeout=30)
    assert started.returncode == 143 and b"stopped before the program started" in said
    readers = (site / "reading").read_text().split()
    while [pid for pid in readers if Path(f"/proc/{pid}").exists()] and time.monotonic() < patience:
        time.sleep(0.02)
    assert readers and not [pid for pid in readers if Path(f"/proc/{pid}").exists()]
    assert not (attempt_folder(site) / "inputs").exists() and not (attempt_folder(site) / "inputs.json").exists()
