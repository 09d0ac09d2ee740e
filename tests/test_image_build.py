"""`tfslurm image build` as it is typed, with a stand-in for docker and one for the registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import builder as stand_in
from tests.fakes.laptop import Laptop
from tests.fakes.registry import (
    CONFIG,
    MANIFEST,
    Asked,
    Registry,
    Said,
    StartRegistry,
    digest_of,
    no_settings_of_this_machine,
    start_registry,
)
from tests.test_building import tar_of
from tfslurm.image import read_lock
from tfslurm.images.building import engine
from tfslurm.registry.push import Target

__all__ = ["no_settings_of_this_machine", "start_registry"]

PAUSES: list[float] = []
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nCOPY hello.txt /opt/hello.txt\nENV A=1\n"


@dataclass
class Bench:
    """A user's folder with an experiment, a registry that has the base, and the program `docker`."""

    laptop: Laptop
    registry: Registry
    docker: Path
    capsys: pytest.CaptureFixture[str]

    def type(self, *words: str) -> tuple[int, str, str]:
        """What a command gave."""
        self.capsys.readouterr()
        code = self.laptop.type(*words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def experiment(self, **build: Any) -> str:
        """An experiment whose image is built."""
        base = {"base": f"{self.registry.address}/team/base:1", "dockerfile": "Dockerfile"}
        name = self.laptop.experiment()
        path = self.laptop.folder / name
        (self.laptop.folder / "exp.lock.yaml").unlink()
        value = json.loads(path.read_text())
        del value["image"]
        path.write_text(json.dumps({**value, "build": {**base, **build}}))
        return name

    def write(self, **files: str) -> None:
        """Files beside the experiment."""
        for name, text in files.items():
            (self.laptop.folder / name.replace("_", ".")).write_text(text)

    @property
    def lock(self) -> Path:
        """The lock file."""
        return next(self.laptop.folder.glob("*.lock.yaml"))

    def asked(self) -> list[list[str]]:
        """What docker was asked."""
        return [line.split() for line in (self.docker / "asked").read_text().splitlines()]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    no_settings_of_this_machine: None, start_registry: StartRegistry,
) -> Iterator[Bench]:  # fmt: skip
    laptop, registry, docker = Laptop.made(tmp_path, monkeypatch), start_registry(), tmp_path / "docker"
    (docker / "base").mkdir(parents=True)
    layer = tar_of({"etc/base": b"base"})
    config: dict[str, Any] = {
        "os": "linux",
        "architecture": "amd64",
        "created": "2024-03-08T00:00:00Z",
        "config": {"Env": ["PATH=/bin"]},
    }
    config |= {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}, "history": [{"created_by": "ADD base"}]}
    (docker / "base" / "0.tar").write_bytes(layer)
    (docker / "base" / "config.json").write_text(json.dumps(config))
    push_base(registry, json.dumps(config).encode(), layer)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text(stand_in.PROGRAM.format(python=sys.executable, file=stand_in.__file__))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_DOCKER", str(docker))
    known = next(laptop.folder.rglob("alpha.yaml"))
    known.write_text(json.dumps({**json.loads(known.read_text()), "registry": f"{registry.address}/alice"}))
    made = Bench(laptop, registry, docker, capsys)
    made.write(Dockerfile=DOCKERFILE, hello_txt="hello\n")
    yield made


def push_base(registry: Registry, config: bytes, layer: bytes) -> None:
    """The base as a registry has it."""
    with Target(f"{registry.address}/team/base", pause=PAUSES.append) as target:
        for body in (config, layer):
            target.push_blob(digest_of(body), len(body), lambda offset, body=body: iter([body[offset:]]))  # type: ignore[misc]
        about = {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}
        kind = "application/vnd.oci.image.layer.v1.tar"
        layers = [{"mediaType": kind, "digest": digest_of(layer), "size": len(layer)}]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": layers}
        target.push_manifest(json.dumps(value).encode(), MANIFEST, "1")


@pytest.mark.slow
def test_a_build_is_pushed_and_then_pinned_and_a_second_one_is_equal(bench: Bench) -> None:
    name = bench.experiment()
    code, out, _ = bench.type("image", "build", name)
    assert code == 0 and "built by docker 99.1: 1 layer above" in out
    text = bench.lock.read_text()
    lock = read_lock(text, "lock").build
    assert lock is not None and lock.source_date_epoch == 1709856000
    assert lock.dockerfile.count("@sha256:") == 1
    words = next(words for words in bench.asked() if words[0] == "build")
    assert "--no-cache" in words and "--network" not in words
    code, out, _ = bench.type("image", "build", name)
    assert code == 0 and "equal to the image that was pinned, byte for byte" in out
    assert bench.lock.read_text() == text
    assert bench.type("image", "build", name, "--check")[:2] == (0, "nothing has changed since the image was built\n")
    assert [words[:3] for words in bench.asked() if words[0] == "image"][-1] == ["image", "prune", "--force"]


def test_the_image_says_what_it_was_made_of(bench: Bench) -> None:
    code, out, _ = bench.type("image", "build", bench.experiment(), "--json")
    found = json.loads(out)
    assert code == 0 and found["is_pinned"] and found["differs"] is None
    repository, tag = found["reference"].rsplit(":", 1)
    with Target(repository, pause=PAUSES.append) as target:
        assert target.manifest_digest(tag) == found["digest"]
    code, out, _ = bench.type("image", "inspect", found["reference"], "--json")
    about = json.loads(out)
    labels = {key.rpartition("image.")[2]: value for key, value in about["labels"].items()}
    base = {"base.name": f"{bench.registry.address}/team/base:1", "base.digest": found["build"]["base"]["digest"]}
    assert labels == {**base, "created": "2024-03-08T00:00:00Z"}
    assert about["environment"] == {"PATH": "/bin", "A": "1"}
    assert [layer["command"] for layer in about["layers"]] == ["ADD base", "COPY hello.txt /opt/hello.txt"]


def test_submit_says_what_to_type_before_a_build_and_after_a_change(bench: Bench) -> None:
    name = bench.experiment()
    code, _, err = bench.type("submit", name)
    assert code == 2 and f"build: its image has not been built yet; run `tfslurm image build {name}`" in err
    assert bench.type("image", "build", name)[0] == 0
    assert bench.type("submit", name)[0] == 0
    bench.write(hello_txt="other\n")
    code, _, err = bench.type("submit", name)
    assert code == 2 and "changed since its image was built: the files that the Dockerfile copies" in err
    assert bench.type("image", "build", name, "--check")[:2] == (
        1,
        "since the image was built, this has changed:\n  the files that the Dockerfile copies\n"
        f"run `tfslurm image build {name}`\n",
    )
    code, out, _ = bench.type("image", "build", name)
    assert code == 0 and "not equal to the image that was pinned before:\n  layer 1: " in out


def test_an_unchanged_recipe_that_gives_another_image_is_neither_pushed_nor_pinned(bench: Bench) -> None:
    name = bench.experiment()
    assert bench.type("image", "build", name)[0] == 0
    text, held = bench.lock.read_text(), dict(bench.registry.blobs)
    (bench.docker / "extra").write_text("1")  # what an apt of another day would bring
    code, out, _ = bench.type("image", "build", name)
    assert code == 1 and "came out different" in out and "layer 1: sha256:" in out
    assert bench.lock.read_text() == text and dict(bench.registry.blobs) == held
    code, out, _ = bench.type("image", "build", name, "--update")
    assert code == 0 and bench.lock.read_text() != text


def test_a_failed_build_says_the_builders_own_words_and_pins_nothing(bench: Bench) -> None:
    name = bench.experiment()
    bench.write(Dockerfile="ARG BASE\nFROM ${BASE}\nRUN false\n")
    code, _, err = bench.type("image", "build", name)
    assert code == 1 and "docker: the build failed (exit 3); it said last:\n  Step " in err
    assert not list(bench.laptop.folder.glob("*.lock.yaml"))
    assert [words[:2] for words in bench.asked()[-2:]] == [["image", "prune"], ["images", "--all"]]


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 507])
def test_a_registry_that_takes_nothing_leaves_the_lock_file_as_it_was(bench: Bench, status: int) -> None:
    name = bench.experiment()
    assert bench.type("image", "build", name)[0] == 0
    text = bench.lock.read_text()
    bench.write(hello_txt="other\n")

    def refuse(asked: Asked) -> Said:
        return Said(status if asked.method in ("POST", "PUT", "PATCH") else 200)

    bench.registry.guard = refuse
    code, _, err = bench.type("image", "build", name)
    assert code == 1 and len(err.strip().splitlines()) <= 3
    assert bench.lock.read_text() == text


@pytest.mark.slow
def test_the_right_to_push_is_asked_for_before_anything_is_built(bench: Bench) -> None:
    name = bench.experiment()
    bench.registry.guard = lambda asked: Said(403 if asked.method == "POST" else 200)
    code, _, err = bench.type("image", "build", name)
    last = err.strip().splitlines()[-1]
    assert code == 1 and "/alice/" in last and "a push: HTTP 403" in last and last.endswith("; nothing was built")
    assert not [words for words in bench.asked() if words[0] == "build"]
    bench.registry.guard = None
    code, _, err = bench.type("image", "build", name)
    said = [line for line in err.splitlines() if "takes a push" in line or "building with" in line]
    assert code == 0 and [line.partition(" ")[2] for line in said] == [
        "takes a push",
        "with docker 99.1; this can take minutes",
    ]
    assert not bench.registry.uploads


def test_check_wants_no_registry_to_push_to(bench: Bench) -> None:
    name = bench.experiment()
    assert bench.type("image", "build", name)[0] == 0
    known = next(bench.laptop.folder.rglob("alpha.yaml"))
    known.write_text(json.dumps({k: v for k, v in json.loads(known.read_text()).items() if k != "registry"}))
    assert bench.type("image", "build", name, "--check")[:2] == (0, "nothing has changed since the image was built\n")
    bench.lock.unlink()
    code, out, _ = bench.type("image", "build", name, "--check")
    assert code == 1 and out == f"it was not built yet; run `tfslurm image build {name}`\n"


def test_a_registry_that_serves_something_else_is_not_believed(bench: Bench) -> None:
    name = bench.experiment()

    def lie(asked: Asked, said: Said) -> Said:
        if asked.method in ("GET", "HEAD") and "/alice/" in asked.path and "/manifests/" in asked.path:
            return Said(200, b"{}", {"Content-Type": MANIFEST, "Docker-Content-Digest": "sha256:" + "0" * 64})
        return said

    bench.registry.lies.append(lie)
    code, _, err = bench.type("image", "build", name)
    assert code == 1 and err
    assert not list(bench.laptop.folder.glob("*.lock.yaml"))


def test_a_moved_base_is_said_and_followed_only_with_update(bench: Bench) -> None:
    name = bench.experiment()
    assert bench.type("image", "build", name)[0] == 0
    layer = (bench.docker / "base" / "0.tar").read_bytes()
    config = json.loads((bench.docker / "base" / "config.json").read_text()) | {"created": "2025-01-01T00:00:00Z"}
    (bench.docker / "base" / "config.json").write_text(json.dumps(config))
    push_base(bench.registry, json.dumps(config).encode(), layer)
    code, out, _ = bench.type("image", "build", name, "--check")
    assert code == 1 and "with --update: its tag has moved" in out
    code, _, err = bench.type("image", "build", name)
    assert code == 0 and "the tag has moved" in err
    code, out, _ = bench.type("image", "build", name, "--update")
    assert code == 0 and "base: sha256:" in out


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ({"base": "a/b:latest"}, "build.base"),
        ({"apt": ["--help"]}, "is not the name of a package for apt"),
        ({"apt": ["lib gl"]}, "is not the name of a package for apt"),
        ({"dockerfile": "../Dockerfile"}, "is not a path below"),
        ({"dockerfile": "Missing"}, "'Missing' is not in"),
        ({"dockerfile": "link"}, "is a link that leaves"),
    ],
)
def test_what_is_wrong_with_the_keys_is_said_with_the_line(bench: Bench, build: dict[str, Any], said: str) -> None:
    (bench.laptop.folder / "link").symlink_to("/etc/hostname")
    code, _, err = bench.type("image", "build", bench.experiment(**build))
    assert code == 2 and said in err


def test_a_file_that_is_copied_and_not_there_is_said(bench: Bench) -> None:
    name = bench.experiment()
    bench.write(Dockerfile="ARG BASE\nFROM ${BASE}\nCOPY nothing.txt /x\n")
    code, _, err = bench.type("image", "build", name)
    assert code == 2 and "COPY: no file of " in err and "'nothing.txt'" in err


def test_buildah_says_its_version_in_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "buildah"
    said = "buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)"  # Debian 12's
    program.write_text(f'#!/bin/sh\n[ "$*" = --version ] && echo "{said}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert str(engine.find_builder("buildah", "docker")) == "buildah 1.28.2"


@pytest.mark.parametrize(
    ("given", "name"), [("1", "docker 99.1 (BuildKit)"), ("0", "docker 99.1"), ("", "docker 99.1")]
)
def test_the_newer_builder_of_docker_is_named_because_it_may_give_other_layers(
    given: str, name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", given)
    found = engine.find_builder("docker", "docker")
    assert str(found) == name and found.environment["DOCKER_BUILDKIT"] == (given or "0")


def test_without_an_engine_or_a_registry_the_way_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bench.experiment()
    with monkeypatch.context() as path:
        path.setattr(engine, "which", lambda program: None)
        code, _, err = bench.type("image", "build", name, "--builder", "buildah")
    assert code == 1 and "buildah is not on PATH; install one of them here" in err
    known = next(bench.laptop.folder.rglob("alpha.yaml"))
    known.write_text(json.dumps({k: v for k, v in json.loads(known.read_text()).items() if k != "registry"}))
    code, _, err = bench.type("image", "build", name)
    assert code == 2 and "no `registry` is named where the image is pushed to; add to a cluster file `registry: " in err


def test_pin_of_an_experiment_with_a_build_says_which_command_pins_it(bench: Bench) -> None:
    code, _, err = bench.type("pin", bench.experiment())
    assert code == 2 and "tfslurm image build" in err
