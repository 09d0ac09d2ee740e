"""An image of one's own: its Dockerfile and its lock as text, its layers as bytes, and the command with stand-ins."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import digest_of
from tests.made import PIN
from tests.made import plan as made_plan
from tests.test_record import case
from tfslurm.errors import HostError, InputError, TfslurmError
from tfslurm.export.citation.settings import settings_of
from tfslurm.export.citation.statement import Table, plain, statement
from tfslurm.host import attended
from tfslurm.host.attended import attend
from tfslurm.image import lock_text, read_lock
from tfslurm.image.build_lock import (
    Base,
    BuildLock,
    BuiltLayer,
    DebianPackage,
    Inputs,
    build_from_json,
    build_to_json,
    changed,
    differences,
    text_sha256,
)
from tfslurm.image.dockerfile import composed, copied, marked, mistakes, statements
from tfslurm.images.building.layers import Archive, added, opened, relaid
from tfslurm.images.building.result import new_steps
from tfslurm.job_plan import from_json, identify, to_json

BASE = "tensorflow/tensorflow:2.16.1"
FAST = "docker.io/tensorflow/tensorflow@sha256:" + "ab" * 32
OTHER = "127.0.0.1:5000/x/y@sha256:" + "cd" * 32
OWN = f"""# escape=\\
ARG BASE
FROM {OTHER} AS tool
RUN <<EOF
FROM evil
EOF
FROM ${{BASE}} AS last
COPY --from=tool /a /b
COPY a.txt sub/*.py \\
   # a comment
   /dst/
FROM last
"""


def test_instructions_are_found_past_comments_continued_lines_and_here_documents() -> None:
    assert [(each.line, each.last, each.word) for each in statements(OWN)] == [
        *((2, 2, "ARG"), (3, 3, "FROM"), (4, 6, "RUN"), (7, 7, "FROM"), (8, 8, "COPY"), (9, 11, "COPY")),
        (12, 12, "FROM"),
    ]
    assert [each.text for each in statements("# escape=`\nRUN a `\n b\n")] == ["RUN a  b"]


def test_a_dockerfile_is_built_on_the_digest_of_its_base() -> None:
    assert not mistakes(OWN, "Dockerfile", BASE)
    text = composed(OWN, BASE, FAST, ["RUN x"])
    heads = [each.text for each in statements(text) if each.word == "FROM"]
    own = ["FROM tfslurm-packages AS last", "FROM last"]
    assert heads == [f"FROM {FAST} AS tfslurm-packages", f"FROM {OTHER} AS tool", *own]
    assert text.index("ARG BASE") < text.index("FROM") < text.index("RUN x") < text.index("AS tool")
    assert f"FROM {FAST} AS last" in composed(OWN, BASE, FAST, [])
    assert composed("", BASE, FAST, ["RUN x"]) == f"FROM {FAST}\nRUN x\n"
    assert marked(text, "a=b").count("\nLABEL a=b\n") == 4


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("FROM ubuntu:22.04", 1, "ubuntu:22.04 has no digest"),
        ("FROM ${IMAGE}", 1, "is a variable"),
        ("FROM ${BASE} AS a\nFROM " + OTHER, 2, "its last stage is made of"),
        ("FROM ${BASE}\nCOPY --from=alpine /a /b", 2, "alpine has no digest"),
        ("FROM ${BASE}\nRUN --mount=type=bind,from=alpine,target=/x ls", 2, "alpine has no digest"),
        ("# syntax=docker/dockerfile:1\nFROM ${BASE}", 1, "it has no digest"),
        ("FROM ${BASE}\nRUM ls", 2, "did you mean `RUN`?"),
        ("FROM a b c", 1, "cannot be read"),
        ("RUN ls", 0, "has no FROM"),
        ("", 0, "has no FROM"),
    ],
)
def test_an_image_without_a_digest_and_another_last_stage_are_refused(text: str, line: int, said: str) -> None:
    (found,) = mistakes(text, "Dockerfile", BASE)
    assert (found.file, found.line) == ("Dockerfile", line)
    assert said in str(found)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        (OWN, ("a.txt", "sub/*.py")),
        ("FROM ${BASE}\nRUN ls", ()),
        ("FROM ${BASE}\nCOPY . /x", None),
        ("FROM ${BASE}\nCOPY ../a /x", None),
        ("FROM ${BASE}\nCOPY $NAME /x", None),
        ('FROM ${BASE}\nCOPY ["a b", "/x"]', None),
        ("FROM ${BASE}\nRUN --mount=type=bind,target=/x ls", None),
        ("FROM ${BASE}\nRUN --mount=type=cache,target=/x ls", ()),
        ("FROM ${BASE}\nADD https://example.org/x ./a /x/", ("a",)),
        ("FROM ${BASE}\nCOPY --chown=1:1 a /x", ("a",)),
    ],
)
def test_the_files_that_a_dockerfile_reads_are_known_or_all(text: str, files: tuple[str, ...] | None) -> None:
    assert copied(text) == files


LOCK = BuildLock(
    base=Base(BASE, "docker.io/tensorflow/tensorflow", "sha256:" + "ab" * 32),
    dockerfile="FROM x\n",
    dockerfile_sha256=text_sha256("FROM x\n"),
    own_sha256="",
    context_sha256="",
    apt=("libgl1",),
    apt_installed=(DebianPackage("libgl1", "1.6.0-1"),),
    pip=(),
    packages=None,
    source_date_epoch=1,
    revision="",
    source="",
    builder="docker 99.1",
    layers=(BuiltLayer("sha256:" + "1" * 64, "sha256:" + "2" * 64, 10, "RUN apt"),),
    digest=PIN.digest,
    built_at="2026-11-29T06:00:00Z",
)


@pytest.mark.parametrize(
    "change",
    [("own_sha256", "own"), ("  base:", "  bas:"), ("digest: sha256:", "digest: 7"), ("schema: ", "schema: [")],
)
def test_a_broken_lock_of_a_built_image_is_written_again_by_a_build(change: tuple[str, str]) -> None:
    text = lock_text(PIN, build=LOCK)
    assert change[0] in text
    with pytest.raises(InputError) as caught:
        read_lock(text.replace(*change), "my exp.lock.yaml")
    assert "`tfslurm image build 'my exp.yaml'` writes this file again" in str(caught.value)
    assert "tfslurm pin" not in str(caught.value)


def test_a_lock_file_with_a_build_is_read_back_and_one_without_has_the_bytes_of_before() -> None:
    text = lock_text(PIN, build=LOCK)
    assert read_lock(text, "exp.lock.yaml").build == LOCK
    assert text.startswith(lock_text(PIN)) and read_lock(lock_text(PIN), "exp.lock.yaml").build is None
    with pytest.raises(InputError, match=r"build.digest: is not the digest of the pinned image"):
        read_lock(lock_text(replace(PIN, digest="sha256:" + "0" * 64, manifest_digest=""), build=LOCK), "exp.lock.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "sha256:x"}, "digest"),
        ({"dockerfile": "FROM y\n"}, "dockerfile_sha256 is of"),
        ({"base": {"reference": "A B", "name": "x", "digest": PIN.digest}}, "base.reference"),
        ({"layers": [{"digest": "x", "diff_id": "x", "bytes": 1, "made_by": ""}]}, "layers"),
        ({"builder": "x" * 9999}, "more than 2000 characters"),
        ({"source_date_epoch": "1"}, "source_date_epoch"),
        ({"more": 1}, "is not a field"),
    ],
)
def test_a_build_that_somebody_made_up_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_from_json({**build_to_json(LOCK), **change})


def test_a_plan_holds_its_build_beside_what_it_asks() -> None:
    plain = made_plan()
    built = identify(replace(plain, build=replace(LOCK, digest=plain.pin.digest)))
    assert from_json(json.loads(json.dumps(to_json(built)))) == built
    assert built.plan_sha256 == plain.plan_sha256
    assert built.plan_id != plain.plan_id
    assert "build" not in to_json(plain)


def test_a_citation_names_the_base_of_a_built_image_unless_nobody_is_to_be_named() -> None:
    record = case("gpu").build()
    assert record.asked
    settings = settings_of([replace(record, asked=replace(record.asked, build=LOCK))])
    for anonymous, told in ((False, 1), (True, 0)):
        parts = statement(settings, "en", anonymous=anonymous)
        said = "".join(plain(part) for part in parts if not isinstance(part, Table))
        assert said.count(f"The image was built from {BASE} ({LOCK.base.digest}).") == told


def test_what_has_changed_is_named() -> None:
    same = Inputs(BASE, "", "", ("libgl1",), ())
    assert not changed(LOCK, same)
    assert not changed(LOCK, same._replace(base=f"docker.io/{BASE}"))
    assert changed(LOCK, Inputs("a:1", "x", "y", ("libgl2",), ("six",))) == [
        *(f"base: {BASE} -> a:1", "apt: -libgl1 +libgl2", "pip: +six", "whether there is a Dockerfile"),
    ]


def test_two_builds_differ_in_packages_and_layers() -> None:
    assert not differences(LOCK, replace(LOCK, built_at="x"))
    other = replace(
        LOCK,
        digest="sha256:" + "0" * 64,
        apt_installed=(DebianPackage("libgl1", "2"), DebianPackage("more", "1")),
        layers=(replace(LOCK.layers[0], diff_id="sha256:" + "3" * 64), LOCK.layers[0]),
    )
    assert differences(LOCK, other) == [
        *("apt libgl1: 1.6.0-1 -> 2", "apt more: absent -> 1"),
        "layer 1: sha256:222222222222 -> sha256:333333333333 (RUN apt)",
        "layer 2: absent -> sha256:222222222222 (RUN apt)",
    ]
    assert differences(LOCK, replace(LOCK, digest="sha256:" + "0" * 64))[0].startswith("the settings of the image")


# --- the layers


def tar_of(files: dict[str, bytes | str], **more: Any) -> bytes:
    """A tar; a text is the target of a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def archive_of(layers: list[bytes], **config: Any) -> Archive:
    """What an engine saves."""
    files = {f"{number}/layer.tar": body for number, body in enumerate(layers)}
    listed = [{"Config": "c.json", "Layers": list(files), "RepoTags": None}]
    more = {"c.json": json.dumps(config).encode(), "manifest.json": json.dumps(listed).encode()}
    return opened(io.BytesIO(tar_of({**files, **more})))


def test_the_same_files_are_the_same_bytes_whenever_and_however_they_were_saved(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"etc/": b"", "etc/a": b"hello", "etc/b": "a", "etc/.wh.c": b""}
    first = tar_of(files, mtime=2_000_000_000, uname="alice")
    second = gzip.compress(tar_of(files, mtime=2_000_000_777, pax_headers={"mtime": "2000000777.5"}))
    made = [
        relaid(archive_of([body]), "0/layer.tar", "RUN", tmp_path / str(number), 1_000)[0]
        for number, body in enumerate([first, second])
    ]
    assert made[0].about == made[1].about
    assert made[0].file.read_bytes() == made[1].file.read_bytes()
    body = made[0].file.read_bytes()
    assert digest_of(body) == made[0].about.digest and len(body) == made[0].about.bytes
    assert digest_of(gzip.decompress(body)) == made[0].about.diff_id
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        assert [(each.name, each.mtime, each.uname) for each in tar] == [(name.rstrip("/"), 1000, "") for name in files]


def test_an_older_file_keeps_its_time_and_an_attribute_stays(tmp_path: Path) -> None:
    attribute = {"SCHILY.xattr.security.capability": "x", "LIBARCHIVE.creationtime": "1"}
    body = tar_of({"bin/ping": b"x"}, mtime=7, pax_headers=attribute, mode=0o4755, uid=3)
    made, _ = relaid(archive_of([body]), "0/layer.tar", "RUN", tmp_path / "l", 1_000)
    with tarfile.open(made.file, mode="r:gz") as tar:
        (found,) = tar.getmembers()
    assert (found.mtime, found.mode, found.uid) == (7, 0o4755, 3)
    assert "LIBARCHIVE.creationtime" not in found.pax_headers
    assert found.pax_headers["SCHILY.xattr.security.capability"] == "x"


def test_what_only_the_build_needed_is_in_no_layer_and_its_notes_are_read(tmp_path: Path) -> None:
    before, after = b"libc6\t2.36\tamd64\n", b"libc6\t2.36\tamd64\nlibgl1\t1.6\tamd64\n"
    files: dict[str, bytes | str] = {
        ".tfslurm-build/": b"",
        ".tfslurm-build/apt.before": before,
        ".tfslurm-build/apt.after": after,
        ".wh..tfslurm-build": b"",
        "./.tfslurm-build/x": b"",
        "etc/hostname": b"",
        "etc/resolv.conf": b"",
    }
    made, noted = relaid(archive_of([tar_of(files)]), "0/layer.tar", "RUN", tmp_path / "l", 1)
    assert noted.entries == 0
    assert list(added(noted.notes)) == [("libgl1", "1.6")]
    with tarfile.open(made.file) as tar:
        assert tar.getmembers() == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, "zstd"),
        (b"no tar" * 200, "cannot be read"),
        (gzip.compress(b"x" * 999, mtime=0)[:40], "cannot be read"),
    ],
)
def test_a_layer_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, body: bytes, said: str) -> None:
    with pytest.raises(TfslurmError, match=said) as refused:
        relaid(archive_of([body]), "0/layer.tar", "RUN", tmp_path / "l", 1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "files", [{}, {"manifest.json": b"[]"}, {"manifest.json": b'[{"Config": "../x"}]'}, {"a": b""}]
)
def test_what_is_no_archive_of_one_image_is_an_error(files: dict[str, bytes | str]) -> None:
    with pytest.raises(TfslurmError, match="the engine saved no archive of one image"):
        opened(io.BytesIO(tar_of(files)))


def test_a_layer_that_was_saved_as_a_link_is_found(tmp_path: Path) -> None:
    listed = [{"Config": "c.json", "Layers": ["b/layer.tar"], "RepoTags": None}]
    files: dict[str, bytes | str] = {"a/layer.tar": tar_of({"x": b"1"}), "b/layer.tar": "../a/layer.tar"}
    files |= {"c.json": b"{}", "manifest.json": json.dumps(listed).encode()}
    made, noted = relaid(opened(io.BytesIO(tar_of(files))), "b/layer.tar", "RUN", tmp_path / "l", 1)
    assert noted.entries == 1 and made.about.bytes


def test_a_history_that_does_not_fit_the_layers_gives_no_commands() -> None:
    base: dict[str, Any] = {"rootfs": {"diff_ids": ["a"]}, "history": [{"created_by": "ADD"}]}
    own = [{"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}]
    config = {"rootfs": {"diff_ids": ["a", "b"]}, "history": [*base["history"], *own]}
    assert new_steps(config, base) == [("ENV", None), ("RUN", 1)]
    assert new_steps({**config, "history": []}, base) == [("", 1)]


# --- a program that is watched


@pytest.mark.slow
def test_lines_come_as_they_are_printed_and_the_last_ones_are_kept() -> None:
    seen: list[str] = []
    done = attend(["sh", "-c", "echo a; printf 'b\\033[1m\\r'; printf c >&2; exit 3"], on_line=seen.append)
    assert (done.exit_code, done.lines) == (3, ("a", "b", "c"))
    assert seen == ["a", "b", "c"]
    many = attend(["sh", "-c", "seq 100000; head -c 300000 /dev/zero | tr '\\0' x"])
    assert len(many.lines) == attended.KEPT_LINES and all(len(line) <= attended.LONGEST_LINE for line in many.lines)


def test_a_program_that_is_interrupted_may_clean_up(tmp_path: Path) -> None:
    body = f"trap 'echo gone >{tmp_path}/gone; exit 1' TERM; echo ready; while :; do sleep 0.05; done"

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(["sh", "-c", body], on_line=interrupt)
    assert (tmp_path / "gone").read_text() == "gone\n"


def test_the_part_that_cleans_up_is_asked_first(tmp_path: Path) -> None:
    inner = f"trap 'echo inner >>{tmp_path}/order; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    outer = (
        f"trap 'echo outer >>{tmp_path}/order' TERM; bash -c 'exec -a runner bash -c \"$0\"' \"$1\" & wait; echo end"
    )

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(["bash", "-c", outer, "outer", inner], on_line=interrupt, first_to_stop="runner")
    assert (tmp_path / "order").read_text() == "inner\n"


def test_a_program_that_is_none_or_takes_too_long_is_an_error() -> None:
    with pytest.raises(HostError, match="is not a program there"):
        attend(["/no/such/program"])
    with pytest.raises(HostError, match=r"did not end within 0\.2 s"):
        attend(["sleep", "60"], timeout_s=0.2)
