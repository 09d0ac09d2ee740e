"""`rerun` of what a stranger made, or what is old: clear refusals, nothing written elsewhere, nothing run unproved."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.crates import JOB, made_crate, summed
from tests.fakes.laptop import Laptop
from tests.test_crate_verification import fit_metadata
from tests.test_record import FACTS, case
from tfslurm.cli import run
from tfslurm.export.anonymous import anonymous
from tfslurm.job_plan import DerivedFrom, identify
from tfslurm.record import build_record, record_from_json, record_json
from tfslurm.record.crate_metadata import METADATA
from tfslurm.record.model import record_sha256
from tfslurm.reruns.image import HIDDEN
from tfslurm.snapshot.files import entry_of, tree_id

TREE = "code/*/"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crate that can be run again."""
    folder = tmp_path_factory.mktemp("whole") / "crate"
    made_crate(folder, mounts=())
    return folder


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A reader's machine, with a folder of its own for what is temporary."""
    made = Laptop.made(tmp_path, monkeypatch)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return made


@pytest.fixture
def crate(whole: Path, laptop: Laptop) -> Path:
    """A copy of it in the folder where the reader types."""
    return Path(shutil.copytree(whole, laptop.folder / "crate"))


def files(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder but tfslurm's own: path -> content."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        status = path.lstat()
        if not name.startswith(("home/data", "slurm/")) and not stat.S_ISDIR(status.st_mode):
            found[name] = path.read_bytes() if stat.S_ISREG(status.st_mode) else stat.filemode(status.st_mode)
    return found


def refused(laptop: Laptop, capsys: pytest.CaptureFixture[str], name: str, *words: str) -> str:
    """What `rerun` says as it refuses: nothing was written, nothing was submitted."""
    before = files(laptop.folder.parent)
    capsys.readouterr()
    assert run(["rerun", name, *words]) in (1, 2)
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: "), said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", said.err) and "Traceback" not in said.err
    assert files(laptop.folder.parent) == before and not laptop.slurm.calls()
    return said.err


@pytest.mark.slow
def test_a_whole_crate_runs(laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rerun", "crate"]) == 0
    said = capsys.readouterr()
    assert said.out == "alpha:101\n" and "tfslurm diff crate alpha:101" in said.err
    assert [path.name for path in (laptop.root / "code").iterdir() if path.is_dir()] == [
        path.name for path in (crate / "code").iterdir()
    ]


# -------------------------------------------------------------------------------------------------------- .zip archives


def zipped(crate: Path, path: Path, more: Callable[[zipfile.ZipFile], object] = lambda archive: None) -> Path:
    """The crate as a .zip with more in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(crate.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(crate)))
        more(archive)
    return path


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("record.json", "{}")


ZIPS: dict[str, tuple[Callable[[zipfile.ZipFile], object], str]] = {
    "leads out": (lambda made: made.writestr("../evil", "x"), "leads out of the crate"),
    "leads out later": (lambda made: made.writestr("code/a/../../../evil", "x"), "leads out of the crate"),
    "absolute": (lambda made: made.writestr(member("/tmp/evil"), "x"), "is no name below the crate"),
    "link": (lambda made: made.writestr(member("code/evil", stat.S_IFLNK | 0o777), "/etc/passwd"), "is a link"),
    "device": (lambda made: made.writestr(member("dev", stat.S_IFBLK | 0o600), ""), "is no file"),
    "pipe": (lambda made: made.writestr(member("pipe", stat.S_IFIFO | 0o600), ""), "is no file"),
    "twice": (twice, "stands in it twice"),
    "below a file": (lambda made: made.writestr("record.json/x", "x"), "below a file"),
    "deep": (lambda made: made.writestr("a/" * 70 + "x", "x"), "longer name"),
    "long": (lambda made: made.writestr("a" * 2000, "x"), "longer name"),
    "folder with a file's name": (lambda made: made.writestr("record.json/", ""), "stands in it twice"),
    "other packing": (lambda made: made.writestr("x", "x" * 99, zipfile.ZIP_LZMA), "not every program reads"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_an_archive_that_no_tool_makes_is_refused(
    name: str, laptop: Laptop, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, why = ZIPS[name]
    zipped(whole, laptop.folder / "crate.zip", more)
    assert why in refused(laptop, capsys, "crate.zip")


def ending(count: int, size: int, *, listed: bool = False) -> bytes:
    """The end of a .zip whose list of files has so many entries and bytes. Source: APPNOTE.TXT, 4.3.14 to 4.3.16."""
    whole = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, 0)
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, size if listed else 0, 1)
    return whole + place + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)


def claiming(path: Path, name: str, size: int) -> None:
    """Have a .zip's list say that a member has so many bytes."""
    data = bytearray(path.read_bytes())
    at = data.rfind(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = struct.pack("<L", size)
    path.write_bytes(data)


def bomb(path: Path, whole: Path) -> None:
    zipped(whole, path)
    claiming(path, "record.json", 2**31)


def liar(path: Path, whole: Path) -> None:
    """More comes out than its list says."""
    zipped(whole, path, lambda made: made.writestr("more", bytes(2**20)))
    claiming(path, "more", 10)


def many(path: Path, whole: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[20] * 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 100_001
    path.write_bytes(entry * count + ending(count, len(entry) * count, listed=True))


MADE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "bomb": (bomb, "would come out of"),
    "liar": (liar, "no .zip that can be read"),
    "many": (many, "holds more than 100000 files"),
    "two million entries": (lambda path, whole: path.write_bytes(ending(2_000_000, 2_000_000 * 47)), "94000000 bytes"),
    "empty": (lambda path, whole: path.write_bytes(b""), "no .zip that can be read"),
    "noise": (lambda path, whole: path.write_bytes(b"PK\x03\x04" + os.urandom(999)), "no .zip that can be read"),
    "cut short": (
        lambda path, whole: path.write_bytes(zipped(whole, path).read_bytes()[:-30]),
        "no .zip that can be read",
    ),
    "within another": (
        lambda path, whole: zipfile.ZipFile(path, "w").write(zipped(whole, whole.parent / "in.zip"), "in.zip"),
        "neither a record of tfslurm nor a crate's metadata; .* or unpack it and name in.zip",
    ),
    "nothing in it": (lambda path, whole: zipfile.ZipFile(path, "w").close(), "is no crate: it has neither"),
    "a folder": (lambda path, whole: path.mkdir(), "is neither a crate nor a run folder"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_that_is_no_crate_is_refused(
    name: str, laptop: Laptop, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, why = MADE[name]
    make(laptop.folder / "crate.zip", whole)
    assert re.search(why, refused(laptop, capsys, "crate.zip"))


# ------------------------------------------------------------------------------------------------------------- folders


def change(path: Path) -> None:
    """One byte of a file."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def recorded(crate: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record as a forger does: its hash is made anew, and so are the sums."""
    values = json.loads((crate / "record.json").read_text())
    change(values)
    values["integrity"]["record_sha256"] = record_sha256(values)
    (crate / "record.json").write_text(json.dumps(values))
    (crate / "exp.lock.yaml").write_text(values["asked"]["lock"])
    summed(crate)


def tree_of(crate: Path) -> Path:
    (found,) = (crate / "code").iterdir()
    return found


def link_in_code(crate: Path) -> None:
    """A link out of the code, in a tree whose id holds."""
    folder = tree_of(crate)
    (folder / "out").symlink_to("/etc/passwd")
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    tree = tree_id([entry_of(folder.resolve(), name, (folder / name).lstat()) for name in names])
    folder.rename(folder.parent / tree)
    recorded(crate, lambda values: values["code"].update(tree=tree))


def repository_in_code(crate: Path) -> None:
    """A repository's own folder in the code, whose programs Git would run."""
    folder = tree_of(crate)
    (folder / ".git" / "hooks").mkdir(parents=True)
    (folder / ".git" / "config").write_text("[core]\n\tfsmonitor = touch /tmp/evil\n")
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    tree = tree_id([entry_of(folder.resolve(), name, (folder / name).lstat()) for name in names])
    folder.rename(folder.parent / tree)
    recorded(crate, lambda values: values["code"].update(tree=tree))


def forged_code(crate: Path) -> None:
    change(tree_of(crate) / "train.py")
    fit_metadata(crate)


def link_to_code(crate: Path) -> None:
    tree_of(crate).rename(crate / "aside")
    (crate / "code" / "x").symlink_to("/etc")


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else into a file's place."""
    path.unlink()
    make(path)


def text(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda crate: (crate / path).write_bytes(content)


def lock(crate: Path) -> None:
    """The lock file of another image, in the record, which is sealed anew."""
    recorded(crate, lambda values: values["asked"].update(lock=values["asked"]["lock"].replace("43ac7b0d", "00000000")))


EVIL = "\x1b[2J\u202eevil"
FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte of the code": (lambda crate: change(tree_of(crate) / "train.py"), "are not those of the tree"),
    "a byte of the code and the sums": (
        forged_code,
        "are not those of the tree",
    ),
    "more code": (lambda crate: (tree_of(crate) / "sitecustomize.py").write_text("x"), "are not those of the tree"),
    "an x bit": (lambda crate: (tree_of(crate) / "train.py").chmod(0o755), "are not those of the tree"),
    "no code": (lambda crate: shutil.rmtree(crate / "code"), "code: .* is not there any more"),
    "a link out of the code": (link_in_code, "out.*/etc/passwd|leaves"),
    "a repository in the code": (repository_in_code, "'.git/.*' is no name of a file of code"),
    "the code is a link": (
        link_to_code,
        "code: ",
    ),
    "a byte of the record": (
        lambda crate: (crate / "record.json").write_bytes(
            (crate / "record.json").read_bytes().replace(b'"lr": 0.1', b'"lr": 0.2')
        ),
        "its record was changed after it was made",
    ),
    "another lock": (lock, "its lock file is of sha256:0000.*, and its image is sha256:43ac"),
    "an exp.yaml that somebody edited": (
        lambda crate: (crate / "exp.yaml").write_text("name: gpu\ncommand: evil\n"),
        "crate: exp.yaml is not the text that the record has; take the original, or add --anyway",
    ),
    "a lock file that somebody edited": (
        lambda crate: change(crate / "exp.lock.yaml"),
        "crate: exp.lock.yaml is not the text that the record has",
    ),
    "no record": (lambda crate: (crate / "record.json").unlink(), "without a record of tfslurm"),
    "the record is a link": (
        lambda crate: instead(crate / "record.json", lambda path: path.symlink_to("/etc/passwd")),
        "is no regular file",
    ),
    "the record is a pipe": (lambda crate: instead(crate / "record.json", os.mkfifo), "is no regular file"),
    "the record is a folder": (
        lambda crate: instead(crate / "record.json", Path.mkdir),
        "without a record of tfslurm",
    ),
    "UTF-16": (text("record.json", '{"schema": "tfslurm.record/2"}'.encode("utf-16")), "cannot be read"),
    "Latin-1": (text("record.json", b'{"schema": "\xe9"}'), "cannot be read|is no record"),
    "nested": (text("record.json", b"[" * 100_000), "cannot be read|is no record"),
    "a long number": (text("record.json", b'{"a": ' + b"9" * 100_000 + b"}"), "cannot be read|is no record"),
    "not a number": (text("record.json", b'{"a": NaN}'), "cannot be read|is no record"),
    "a key twice": (text("record.json", b'{"schema": 1, "schema": 2}'), "cannot be read|is no record"),
    "empty": (text("record.json", b""), "cannot be read|is no record"),
    "another schema": (text("record.json", b'{"schema": "tfslurm.record/99"}'), "is no record"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_crate_that_was_broken_is_refused(
    name: str, laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, why = FOLDERS[name]
    make(crate)
    assert re.search(why, said := refused(laptop, capsys, "crate")), said


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "tree": (lambda record: record["code"].update(tree="../../../etc"), "is not the id of a tree"),
    "cluster": (lambda record: record["job"].update(cluster="../../x"), "not known here"),
    "cluster that acts": (lambda record: record["job"].update(cluster=EVIL), "not known here"),
    "name": (lambda record: record["experiment"].update(name="../../x"), "name"),
    "name that acts": (lambda record: record["experiment"].update(name=EVIL), "name"),
    "image": (lambda record: record["image"].update(reference="evil.example/x:latest"), ""),
    "digest": (lambda record: record["image"].update(digest="sha256:" + "0" * 64), "its lock file is of"),
    "template": (
        lambda record: record["asked"].update(template={"name": "../../x", "sha256": None, "text": "x"}),
        "template",
    ),
    "template that acts": (
        lambda record: record["asked"].update(template={"name": f"{EVIL}.j2", "sha256": None, "text": "x"}),
        "template",
    ),
    "option": (lambda record: record["asked"].update(options={"wrap": "touch /tmp/evil"}), "wrap"),
    "mount": (
        lambda record: record["experiment"].update(
            mounts=[{"source": "/root", "target": "/x", "read_only": False, "hash": False, "name": None, "run": None}]
        ),
        "is never mounted|is outside what cluster alpha allows",
    ),
    "unfinished": (lambda record: record["job"].update(state="RUNNING"), "has not ended"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_reaches_nothing(
    name: str, laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge, why = FORGED[name]
    recorded(crate, forge)
    assert re.search(why, said := refused(laptop, capsys, "crate")), said


# ------------------------------------------------------------------------------------------------------------- --anyway


def plan_of(laptop: Laptop) -> dict[str, Any]:
    """The plan of the only job that was sent."""
    (folder,) = (laptop.root / "runs").iterdir()
    found: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    return found


@pytest.mark.slow
def test_changed_code_runs_only_anyway_and_the_new_record_has_another_tree(
    laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(tree_of(crate) / "train.py")
    assert run(["rerun", "crate", "--anyway"]) == 0
    assert "warning: code: " in capsys.readouterr().err
    record = json.loads((crate / "record.json").read_text())
    plan = plan_of(laptop)
    assert plan["derived_from"]["record_sha256"] == record["integrity"]["record_sha256"]
    assert plan["code"]["tree"] != record["code"]["tree"]


def test_a_changed_record_runs_only_anyway_and_the_new_one_does_not_name_its_hash(
    laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((crate / "record.json").read_text())
    values["experiment"]["parameters"]["lr"] = 0.2
    (crate / "record.json").write_text(json.dumps(values))
    assert run(["rerun", "crate", "--anyway"]) == 0
    assert "warning: alpha:59: its record was changed after it was made" in capsys.readouterr().err
    assert plan_of(laptop)["derived_from"] == {
        "job": "alpha:59", "record_sha256": None, "record_id": values["record_id"], "set": {}
    }  # fmt: skip


def test_the_record_of_such_a_rerun_says_so() -> None:
    source = case("gpu")
    for sha256, warns in (("0" * 64, False), (None, True)):
        origin = DerivedFrom("alpha:59", sha256, "urn:uuid:1f522cf4-ad30-87d2-ab1a-563d98247e26")
        plan = identify(replace(source.plan, derived_from=origin))
        record = build_record(plan, JOB, source.files, source.status)
        line = "it repeats alpha:59 by a record that was changed after it was made"
        assert (line in record.warnings) is warns


# ----------------------------------------------------------------------------------------------------------- old things


@pytest.mark.slow
def test_a_cluster_that_is_not_known_any_more_is_replaced_by_who_says_which(
    laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(crate, lambda record: record["job"].update(cluster="gone"))
    said = refused(laptop, capsys, "crate")
    assert "it ran on cluster 'gone', which is not known here; say where: --cluster NAME (alpha), or --local" in said
    assert run(["rerun", "crate", "--cluster", "alpha"]) == 0
    assert capsys.readouterr().out == "alpha:101\n"


@pytest.mark.parametrize("at", ["", "asked", "job"])
def test_a_record_of_a_newer_tfslurm_is_not_read_in_part(
    at: str, laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(crate, lambda record: (record[at] if at else record).update(futures=7))
    said = refused(laptop, capsys, "crate")
    assert "futures is not a field of it; if a newer tfslurm wrote it, update this one" in said


def test_an_anonymous_crate_whose_registry_is_hidden_asks_for_the_image(
    laptop: Laptop, crate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = anonymous(record_from_json(json.loads((crate / "record.json").read_text())))
    assert hidden.asked and hidden.asked.spec and hidden.image.registry.endswith(HIDDEN)
    texts = {"record.json": json.dumps(record_json(hidden)), "exp.yaml": hidden.asked.spec}
    for name, content in {**texts, "exp.lock.yaml": hidden.asked.lock}.items():
        (crate / name).write_text(content)
    summed(crate)
    assert "which is not known here; say where: --cluster NAME (alpha), or --local" in refused(laptop, capsys, "crate")
    said = refused(laptop, capsys, "crate", "--cluster", "alpha")
    assert f"--image-archive, or who serves it: --set image=HOST/NAME@{hidden.image.digest}" in said


def test_a_crate_of_another_tool_cannot_be_run_and_that_is_said(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    (laptop.folder / "other").mkdir()
    shutil.copy(Path(__file__).parent / "golden" / "foreign-crate.json", laptop.folder / "other" / METADATA)
    said = refused(laptop, capsys, "other")
    assert "is a crate without a record of tfslurm: another tool made it; `tfslurm provenance`" in said


@pytest.mark.parametrize("path", sorted((FACTS / "first").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_of_the_first_schema_whose_registry_is_gone_is_refused_by_its_digest(
    path: Path, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads(path.read_text())
    values["image"] |= {"reference": "127.0.0.1:9/small:1", "registry": "127.0.0.1:9"}
    values["integrity"]["record_sha256"] = record_sha256(values)
    (laptop.folder / "old.json").write_text(json.dumps(values))
    said = refused(laptop, capsys, "old.json")
    assert "127.0.0.1:9" in said or "older tfslurm" in said or "has not ended" in said
