"""`packages` of an experiment, from the file to the lock: real uv and pip, on a small index that the test makes."""

from __future__ import annotations

import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import CONFIG
from tests.made_wheels import wheel
from tests.test_image_facts import FACTS
from tfslurm.errors import TfslurmError
from tfslurm.image import PackageLock, lock_text, read_lock
from tfslurm.image.facts import ImageFacts
from tfslurm.image.packages import package_lock
from tfslurm.packages.refusals import refusal
from tfslurm.packages.wheels import WheelFiles, place, work_folder

PYTHON = ".".join(map(str, sys.version_info[:3]))
ON_INDEX = (
    wheel("pandas", "2.1.0", requires=["numpy>=1.22", "pytz"]),
    wheel("pandas", "3.0.0", requires=["numpy>=1.26", "pytz"]),
    wheel("pytz", "2025.2"),
    wheel("numpy", "1.26.4"),
    wheel("numpy", "2.2.0"),
    wheel("modern", "1.0", requires=["numpy>=2"]),
    wheel("greedy", "1.0", requires=["tensorflow-cpu"]),
    wheel("tensorflow-cpu", "2.17.0"),
    wheel("other", "1.0", tag="cp39-cp39-manylinux_2_17_x86_64"),
    wheel("newest", "1.0", tag=f"cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-manylinux_2_39_x86_64"),
)
HELD = {"tensorflow": "2.16.1", "numpy": "1.26.4", "ours": "0.1+lab", "pip": "24.0"}


@dataclass(frozen=True)
class Shop:
    """A laptop whose image is known, and a folder of wheels that is the only index."""

    laptop: Laptop
    wheels: Path

    def write(self, *packages: str, text: str = "") -> str:
        """The experiment with these packages, or with a requirements file; its lock is kept."""
        lock = self.laptop.folder / "exp.lock.yaml"
        kept = lock.read_bytes() if lock.exists() else b""
        if text:
            (self.laptop.folder / "requirements.txt").write_text(text)
        file = self.laptop.experiment(packages="requirements.txt" if text else list(packages))
        if kept:
            lock.write_bytes(kept)
        return file

    def lock(self) -> PackageLock:
        """The packages of the lock file."""
        found = read_lock((self.laptop.folder / "exp.lock.yaml").read_text(), "exp.lock.yaml").packages
        assert found is not None
        return found

    def versions(self) -> dict[str, str]:
        """Name -> version of the wheels of the lock."""
        return {each.name: each.version for each in self.lock().wheels}


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command said but for what it waited for."""
    (line,) = (each for each in capsys.readouterr().err.splitlines() if not each.startswith("packages: "))
    return line


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    laptop = Laptop.made(tmp_path, monkeypatch)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    made = Shop(laptop, tmp_path / "wheels")
    for each in ON_INDEX:
        each.put(made.wheels)
    (made.wheels / "sourceonly-1.0.tar.gz").write_bytes(b"")
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(made.wheels)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    facts = {**FACTS, "python": PYTHON, "packages": [{"name": k, "version": v} for k, v in HELD.items()]}
    file = laptop.root / "images" / f"{CONFIG.removeprefix('sha256:')}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(facts))
    return made


@pytest.mark.slow
def test_what_the_image_lacks_is_locked_with_hashes_by_the_first_command(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write("pandas", "ours")) == 0
    shown = capsys.readouterr()
    assert re.search(r"^packages 2 wheels, [0-9.]+ KiB: pandas 3\.0\.0, pytz 2025\.2 \(by ", shown.out, re.MULTILINE)
    assert "locked 2 wheels" in shown.err and "commit it" in shown.err
    lock, pytz = shop.lock(), ON_INDEX[2]
    assert lock.image == CONFIG and lock.python == PYTHON and lock.platform == "manylinux_2_36_x86_64"
    assert (lock.wheels[1].file, lock.wheels[1].sha256, lock.wheels[1].bytes) == (
        pytz.file,
        pytz.sha256,
        len(pytz.content),
    )
    assert WheelFiles(lock)[pytz.file].read_bytes() == pytz.content
    before = (shop.laptop.folder / "exp.lock.yaml").read_bytes()
    assert shop.laptop.type("plan", "exp.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["packages"]["sha256"] == lock.key
    assert (shop.laptop.folder / "exp.lock.yaml").read_bytes() == before


@pytest.mark.slow
def test_an_image_without_pip_is_named_before_a_job_waits_for_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write("pytz")) == 0 and "no pip" not in capsys.readouterr().err
    (shop.laptop.folder / "exp.lock.yaml").unlink()
    (facts,) = (shop.laptop.folder / "cache" / "tfslurm" / "images").iterdir()
    facts.write_text(facts.read_text().replace('"pip"', '"pap"'))
    assert shop.laptop.type("plan", shop.write("pytz")) == 0
    told = "lists no pip, and to install packages needs one; use an image with pip, or build one: `build: {base: "
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_lock_that_fits_is_used_and_one_of_other_requirements_or_another_image_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write("pandas<3")) == 0 and shop.versions()["pandas"] == "2.1.0"
    capsys.readouterr()
    assert shop.laptop.type("plan", shop.write("pandas <3")) == 0  # the same in other letters
    assert shop.laptop.type("submit", shop.write("pandas")) == 2
    told = "exp.yaml:1: packages: the lock's packages are of other requirements; run `tfslurm pin exp.yaml`"
    assert told in capsys.readouterr().err and shop.laptop.slurm.ids() == []
    lock = replace(shop.lock(), image="sha256:" + "0" * 64)
    other = package_lock(
        lock.wheels, image=lock.image, asked=lock.requirements_sha256, python=PYTHON, platform=lock.platform,
        resolver="", index="",
    )  # fmt: skip
    pin = read_lock((shop.laptop.folder / "exp.lock.yaml").read_text(), "").image
    (shop.laptop.folder / "exp.lock.yaml").write_text(lock_text(pin, other))
    assert shop.laptop.type("plan", shop.write("pandas<3")) == 2
    assert "the lock's packages are for another image (sha256:000000000000…)" in capsys.readouterr().err


@pytest.mark.slow
def test_other_packages_of_the_command_line_are_to_be_written_into_the_file(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write("pytz")) == 0
    assert shop.laptop.type("plan", "exp.yaml", "--set", "packages=[pandas]") == 2
    told = "--set packages: the lock's packages are of other requirements; write them into exp.yaml, run `tfslurm pin"
    assert told in capsys.readouterr().err
    assert shop.laptop.type("plan", "exp.yaml", "--review") == 0
    assert f"packages {ON_INDEX[2].file} (sha256 {ON_INDEX[2].sha256})" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_has_one_layer_for_all_its_points(shop: Shop) -> None:
    shop.laptop.experiment(packages=["pytz"], command=["python", "t.py", "{{ lr }}"], sweep={"grid": {"lr": [1, 2]}})
    assert shop.laptop.type("submit", "exp.yaml") == 0
    (plan,) = (shop.laptop.root / "runs").glob("*/plan.json")
    assert json.loads(plan.read_text())["packages"]["sha256"] == shop.lock().key
    sent = shop.laptop.root / "packages" / shop.lock().key / "wheels" / ON_INDEX[2].file
    assert sent.read_bytes() == ON_INDEX[2].content


@dataclass(frozen=True)
class Index:
    """A simple index that wants a login, served by HTTP from a folder; ``asked`` are the paths that had it."""

    address: str
    asked: list[str]


@pytest.fixture
def index(shop: Shop) -> Iterator[Index]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != f"Basic {b64encode(b'alice:hunter2').decode()}":
                return self.answer(401, b"")
            asked.append(self.path)
            _, place, name, *_ = [*self.path.split("/"), "", ""]
            if place == "files":
                return self.answer(200, (shop.wheels / name).read_bytes())
            files = [each.file for each in ON_INDEX if each.name == name]
            links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files)
            return self.answer(200 if files else 404, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

        do_HEAD = do_GET

        def answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            if code == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="lab"')
            self.send_header("Content-Type", "text/html" if body[:1] == b"<" else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Index(f"127.0.0.1:{server.server_port}", asked)
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["pip.conf", "netrc", "UV_DEFAULT_INDEX", "pip.conf, and no uv"])
def test_an_index_with_a_login_is_asked_with_it_and_the_login_is_written_nowhere(
    place: str, shop: Shop, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = shop.laptop.folder
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    if place == "pip.conf, and no uv":
        place = "pip.conf"
        monkeypatch.setattr("tfslurm.packages.resolve.find_uv", tuple)
    with_login = f"http://alice:hunter2@{index.address}/simple"
    settings = home / "pip.conf"
    settings.write_text(
        f"[global]\nindex-url = {with_login if place == 'pip.conf' else f'http://{index.address}/simple'}\n"
    )
    (home / "netrc").write_text("machine 127.0.0.1 login alice password hunter2\n" if place == "netrc" else "")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    if place == "UV_DEFAULT_INDEX":
        monkeypatch.setenv("UV_DEFAULT_INDEX", with_login)
    assert shop.laptop.type("submit", shop.write("pytz"), "-v") == 0, capsys.readouterr().err
    said = capsys.readouterr()
    (wheel,) = shop.lock().wheels
    assert wheel.sha256 == ON_INDEX[2].sha256 and wheel.url == f"http://{index.address}/files/{wheel.file}"
    assert shop.lock().index == f"http://{index.address}/simple" and f"/files/{wheel.file}" in index.asked
    assert "hunter2" not in said.out + said.err
    written = [path for folder in (home, shop.laptop.root) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if b"hunter2" in path.read_bytes()] in ([settings], [home / "netrc"], [])


def test_an_index_that_refuses_the_login_is_one_error(
    shop: Shop, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://alice:wrong@{index.address}/simple")
    assert shop.laptop.type("plan", shop.write("pytz")) == 1
    line = the_error(capsys)
    assert "the index refuses the login" in line and "~/.netrc" in line and "wrong" not in line


def test_what_a_killed_command_left_is_removed_after_a_day(shop: Shop) -> None:
    cache = shop.laptop.folder / "cache" / "tfslurm"
    for name in ("packages-old", "packages-new"):
        (cache / name / "new").mkdir(parents=True)
    (cache / "packages-elsewhere").symlink_to(shop.wheels)
    for name in ("packages-old", "packages-elsewhere"):
        os.utime(cache / name, (0, 0), follow_symlinks=False)
    with work_folder() as work:
        assert work.parent == cache and not list(work.iterdir())
        assert {path.name for path in cache.iterdir()} == {"packages-new", "packages-elsewhere", work.name}
    assert not work.exists() and list(shop.wheels.iterdir())


def test_an_image_that_holds_all_gets_no_layer(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.laptop.type("plan", shop.write("numpy>=1.20", "tensorflow", "ours==0.1+lab")) == 0
    assert "packages the image already holds all of them" in capsys.readouterr().out
    assert shop.lock().wheels == ()


@pytest.mark.slow
def test_another_numpy_than_the_images_comes_only_where_the_requirement_itself_says_so(shop: Shop) -> None:
    assert shop.laptop.type("plan", shop.write("modern", "numpy>=2")) == 0
    assert shop.versions() == {"modern": "1.0", "numpy": "2.2.0"}


WRONG = {
    "a typo": (("pandsa",), "packages[0]: no index has a package 'pandsa'; did you mean `pandas`?"),
    "a module's name": (("sklearn",), "no index has a package 'sklearn'; did you mean `scikit-learn`?"),
    "a conflict": (("pandas<3", "pandas>=3"), "packages[0]: cannot be had together: "),
    "a conflict with the image": (("modern",), "the image holds numpy 1.26.4: ask for a version that goes with it"),
    "a version that is not there": (("pandas==9",), "the index has no version of pandas that is asked for"),
    "no wheel": (("sourceonly",), "sourceonly has no wheel for the image's Python 3."),
    "a wheel for another Python": (("other",), "other has no wheel for the image's Python 3."),
    "a wheel for a newer system": (("newest",), "newest has no wheel for the image's Python 3."),
    "another TensorFlow": (
        ("tensorflow==2.17",),
        "'tensorflow==2.17' would be a second TensorFlow beside the image's 2.16.1",
    ),
    "a package with another TensorFlow": (
        ("greedy",),
        "tensorflow-cpu 2.17.0, which one of the packages needs, would be",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_requirements_that_nothing_satisfies_end_in_one_error(
    case: str, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    packages, told = WRONG[case]
    lock = shop.laptop.folder / "exp.lock.yaml"
    file = shop.write(*packages)
    before = lock.read_bytes()
    assert shop.laptop.type("plan", file) == 2
    line = the_error(capsys)
    assert line.startswith("error: exp.yaml:1: packages") and told in line and "; " in line
    assert lock.read_bytes() == before and str(shop.laptop.folder) not in line


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.mark.slow
def test_pip_chooses_where_there_is_no_uv_whatever_python_the_image_has(shop: Shop, without_uv: None) -> None:
    (facts,) = (shop.laptop.root / "images").iterdir()
    facts.write_text(facts.read_text().replace(PYTHON, "3.8.10"))
    assert shop.laptop.type("plan", shop.write("pandas", "ours", "pytz<1; python_version > '3.8'")) == 0
    assert shop.versions() == {"pandas": "3.0.0", "pytz": "2025.2"} and shop.lock().resolver.startswith("pip ")
    assert shop.lock().python == "3.8.10"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packages", "told"),
    [
        (("pandsa",), "no index has a package 'pandsa', or none of its wheels is for the image's Python"),
        (("modern",), "the image holds numpy 1.26.4: ask for a version that goes with it"),
        (("pandas==9",), "no such version of pandas for the image's Python"),
    ],
)
def test_pip_refuses_in_one_error_too(
    packages: tuple[str, ...], told: str, shop: Shop, without_uv: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write(*packages)) == 2
    line = the_error(capsys)
    assert line.startswith("error: exp.yaml:1: packages") and told in line


FILE = """
# for the tables
pandas>=2,<3   # the last that works
pytz \
    --hash=sha256:%s
"""


@pytest.mark.slow
def test_a_requirements_file_is_read_as_pip_reads_it_and_its_hashes_hold(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    pytz = ON_INDEX[2]
    assert shop.laptop.type("plan", shop.write(text=FILE % pytz.sha256)) == 0
    assert shop.versions() == {"pandas": "2.1.0", "pytz": "2025.2"}
    (shop.laptop.folder / "exp.lock.yaml").unlink()
    capsys.readouterr()
    assert shop.laptop.type("plan", shop.write(text=FILE % ("0" * 64))) == 2
    assert f"requirements.txt:4: the index has {pytz.file} with sha256 {pytz.sha256}" in capsys.readouterr().err


REFUSED = {
    "-r more.txt": "-r reads another file",
    "-c limits.txt": "-c reads constraints",
    "-e .": "-e installs a folder",
    "--index-url https://me:hunter2@lab.example/simple": "--index-url says where packages are found",
    "--pre": "--pre allows every pre-release",
    "--global-option=x": "--global-option is an option of pip",
    "git+https://me:hunter2@github.com/a/b": "names sources, and only wheels are taken",
    "six @ https://me:hunter2@lab.example/six.whl": "names an address",
    "./six.whl": "is a path on this machine",
    "six==1 --config-settings=a=b": "--config-settings is an option for sources",
    "six ==": "is not a requirement",
    "six --hash=md5:12": "'md5:12' is not a hash that is checked here",
}


def test_every_line_that_is_no_requirement_is_told_with_what_to_do_and_no_login(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.laptop.type("plan", shop.write(text="".join(f"{line}\n" for line in REFUSED))) == 2
    lines = capsys.readouterr().err.splitlines()
    for number, (line, told) in enumerate(zip(lines, REFUSED.values(), strict=True), 1):
        assert f"requirements.txt:{number}: " in line and told in line and "; " in line and "hunter2" not in line


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ("requirements.txt", "'requirements.txt' is not in "),
        ("pandas", "write a list: `packages: [pandas]`"),
        ("../requirements.txt", "is not a path below the folder of this file"),
        ("link.txt", "is a link that leaves"),
        ("empty.txt", "empty.txt: names no package"),
        ([], "names no packages"),
        (["-r x", 7], "packages[0]: -r reads another file"),
    ],
)
def test_a_value_of_packages_that_names_none_is_refused(
    packages: Any, told: str, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop.laptop.folder / "link.txt").symlink_to("/etc/hostname")
    (shop.laptop.folder / "empty.txt").write_text("# nothing\n")
    assert shop.laptop.type("plan", shop.laptop.experiment(packages=packages)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_wheel_that_the_index_has_changed_is_refused_when_it_is_needed_again(shop: Shop) -> None:
    assert shop.laptop.type("plan", shop.write("pytz")) == 0
    lock = shop.lock()
    kept = place(lock.wheels[0].sha256, lock.wheels[0].file)
    kept.write_bytes(b"cut")
    assert WheelFiles(lock)[kept.name].read_bytes() == ON_INDEX[2].content  # fetched again
    kept.unlink()
    wheel("pytz", "2025.2", {"pytz.py": "evil = 1\n"}).put(shop.wheels)
    with pytest.raises(TfslurmError, match=r"pytz-2025.2-py3-none-any.whl: the index serves other bytes than the lock"):
        WheelFiles(lock)[kept.name]
    assert not kept.exists()


@pytest.mark.slow
def test_a_tensorflow_in_a_wheel_of_another_name_is_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    wheel("carrier", "1.0", {"tensorflow/__init__.py": ""}).put(shop.wheels)
    assert shop.laptop.type("plan", shop.write("carrier")) == 2
    told = "packages[0]: what carrier-1.0-py3-none-any.whl holds would be a second TensorFlow beside the image's 2.16.1"
    assert told in capsys.readouterr().err


def test_an_index_that_serves_other_bytes_than_its_own_page_says_is_told_as_such() -> None:
    said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    pytz==2025.2 from http://h/x.whl"
    refused = refusal(said, (), ImageFacts("3.11.2", "2.36", "x86_64", {}))
    assert (refused.name, refused.outside) == ("pytz", False)
    assert refused.why == "the index serves other bytes of pytz than its own page says"


def test_a_full_disk_of_a_resolvers_cache_is_told_as_one() -> None:
    said = "error: Failed to download `a==1` cause: failed to write to file `/c/x`: No space left on device"
    refused = refusal(said, (), ImageFacts("3.11.2", "2.36", "x86_64", {}))
    assert refused.why == "the disk of uv's and pip's caches is full" and refused.outside
