"""A crate of a stranger is read within bounds: nothing is written elsewhere, no link is followed, no bomb goes off."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfslurm.errors import InputError
from tfslurm.record.crate_metadata import METADATA, metadata_of
from tfslurm.retrieval import crate_files, zip_files
from tfslurm.retrieval.crate_files import crate_at, is_crate
from tfslurm.workspace.session import Session

SMALL = (Path(__file__).parent / "golden" / "foreign-crate.json").read_text()


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, str], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr(METADATA, SMALL)
        for each, content in members:
            made.writestr(each, content)
    return path


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("top", ["", "crate/"])
def test_a_zip_is_read_as_its_folder_is_and_leaves_nothing(tmp_path: Path, top: str) -> None:
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{top}{METADATA}", SMALL)
        made.writestr(f"{top}out/日本 1.txt", "text")
        made.writestr(member(f"{top}train.sh", stat.S_IFREG | 0o755), "#!/bin/sh\n")
    before = everything(tmp_path)
    with Session(print) as session:
        crate = crate_at(session, path)
        assert sorted(crate.files) == sorted([METADATA, "out/日本 1.txt", "train.sh"])
        assert crate.content("out/日本 1.txt") == b"text" and crate.metadata().name == "Run alpha:107 of digits-cnn"
        assert os.access(crate.folder / "train.sh", os.X_OK)
        assert stat.S_IMODE(crate.folder.stat().st_mode) == 0o700 or top
        folder = crate.folder
    assert not folder.exists() and everything(tmp_path) == before


def encrypted(path: Path) -> Path:
    data = bytearray(archive(path, ("a", "b")).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark, data.index(mark) + 1)
        data[at + place] |= 1
    path.write_bytes(data)
    return path


def renamed(path: Path, name: bytes) -> Path:
    """A member whose name Python would not write."""
    data = archive(path, ("x" * len(name), "y")).read_bytes()
    path.write_bytes(data.replace(b"x" * len(name), name))
    return path


def long_list(path: Path) -> Path:
    data = bytearray(archive(path).read_bytes())
    at = data.rindex(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<I", zip_files.MOST_LISTED + 1)
    path.write_bytes(data)
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "above": (lambda path: archive(path, ("../evil", "x")), "leads out of the crate"),
    "above within": (lambda path: archive(path, ("a/../../evil", "x")), "leads out of the crate"),
    "absolute": (lambda path: archive(path, ("/tmp/evil", "x")), "no name below the crate"),
    "empty part": (lambda path: archive(path, ("a//b", "x")), "no name below the crate"),
    "dot": (lambda path: archive(path, ("./a", "x")), "leads out of the crate"),
    "nul": (lambda path: renamed(path, b"a\0b"), "NUL|no .zip"),
    "link": (lambda path: archive(path, (member("l", stat.S_IFLNK | 0o777), "/etc/passwd")), "is a link"),
    "device": (lambda path: archive(path, (member("d", stat.S_IFCHR | 0o666), "")), "is a link, or another thing"),
    "below a file": (lambda path: archive(path, ("a", "x"), ("a/b", "y")), "lies below a file"),
    "file for a folder": (lambda path: archive(path, ("a/b", "x"), ("a", "y")), "stands in it twice"),
    "deep": (lambda path: archive(path, ("d/" * 70 + "f", "x")), "longer name"),
    "long": (lambda path: archive(path, ("d" * 2000, "x")), "longer name"),
    "encrypted": (encrypted, "is encrypted"),
    "other method": (lambda path: archive(path, ("a", "x"), method=zipfile.ZIP_LZMA), "not every program reads"),
    "long list": (long_list, "list of files has"),
    "no zip": (lambda path: (path.write_text("PK") and path) or path, "no .zip"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_is_refused_and_nothing_is_written_elsewhere(tmp_path: Path, kind: str) -> None:
    make, why = HOSTILE[kind]
    path = make(tmp_path / "run.zip")
    before = everything(tmp_path)
    with Session(print) as session, pytest.raises(InputError, match=why):
        crate_at(session, path)
    assert everything(tmp_path) == before and not Path("/tmp/evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "run.zip", ("record.json", "1"), ("record.json", "2"))
    with Session(print) as session, pytest.raises(InputError, match=r"record\.json.*stands in it twice"):
        crate_at(session, path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_files, "FREELY", 2**20)
    path = archive(tmp_path / "run.zip", ("zeros", "\0" * 2**23), method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**15
    with Session(print) as session, pytest.raises(InputError, match="bytes would come out of"):
        crate_at(session, path)


def test_a_member_that_lies_about_its_size_or_sum_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "run.zip", ("a", "some text"))
    path.write_bytes(path.read_bytes().replace(b"some text", b"same text"))
    with Session(print) as session, pytest.raises(InputError, match=r"no \.zip that can be read"):
        crate_at(session, path)


def test_of_a_folder_no_link_is_followed_and_what_is_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / METADATA).write_text(SMALL)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    with Session(print) as session:
        crate = crate_at(session, tmp_path)
        assert {path: each.kind for path, each in crate.files.items()} == {
            METADATA: "f",
            "link": "l",
            "folder": "l",
            "pipe": "o",
        }
        for name in ("link", "pipe", "folder/passwd"):
            with pytest.raises(InputError, match=r"is no regular file|no such file"):
                crate.content(name)
            assert crate.sha256(name) is None
        monkeypatch.setattr(crate_files, "MOST_FILES", 3)
        with pytest.raises(InputError, match="holds more than 3 files"):
            crate_at(session, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[]",
        "{}",
        '{"@graph": {}}',
        '{"@graph": [1]}',
        '{"@graph": [{"@id": "a"}, {"@id": "a"}]}',
        '{"@graph": []}',
        '{"@graph": [], "@graph": []}',
        '{"@graph": [{"@id": "./", "n": 1e999}]}',
        "\xff",
    ],
)
def test_metadata_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / METADATA).write_bytes(text.encode("latin-1"))
    with Session(print) as session, pytest.raises(InputError, match=METADATA):
        crate_at(session, tmp_path).metadata()


ODD: tuple[Any, ...] = (
    None,
    1,
    1.5,
    True,
    [],
    {},
    [[]],
    [{}],
    {"@id": 1},
    {"@id": "#nowhere"},
    "text",
    ["a", {"@id": "#b"}],
)


def test_values_of_any_kind_where_a_text_is_expected_make_no_error() -> None:
    values: Any = json.loads(SMALL)
    for odd in ODD:
        for entity in values["@graph"]:
            for key in [*entity]:
                if key != "@id" and not (entity["@id"] == METADATA and key in ("about", "@type")):
                    changed: Any = json.loads(SMALL)
                    next(each for each in changed["@graph"] if each["@id"] == entity["@id"])[key] = odd
                    assert metadata_of(changed).entities


def test_what_is_a_crate(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    file = tmp_path / "record.json"
    file.write_text("{}")
    assert is_crate(tmp_path) and not is_crate(tmp_path / "empty") and not is_crate(file)
    assert not is_crate(tmp_path / "none.zip")
    (tmp_path / "some.zip").write_bytes(io.BytesIO().getvalue())
    assert is_crate(tmp_path / "some.zip")
