"""install_packages.py as a container runs it, here with the pip of this Python."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.made_wheels import MadeWheel, wheel

PROGRAM = Path(__file__).parent.parent / "job_templates" / "inside" / "install_packages.py"
GIB = 2**30


def install(
    folder: Path, wheels: Sequence[MadeWheel], *, locked: Sequence[str] = (), most: int = GIB
) -> tuple[int, str]:
    """The exit code, and what was printed; ``locked`` are the hashes of the lock, where they are others."""
    (folder / "wheels").mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    for each in wheels:
        each.put(folder / "wheels")
    hashes = locked or [each.sha256 for each in wheels]
    words = [word for each, sha256 in zip(wheels, hashes, strict=True) for word in (each.file, sha256)]
    return run(folder, *words, most=most)


def run(folder: Path, *words: str, most: int = GIB) -> tuple[int, str]:
    """The same of these words, with the wheels that are there."""
    argv = [sys.executable, "-I", str(PROGRAM), str(most), f"{folder}/wheels", f"{folder}/work", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def said(answer: tuple[int, str]) -> str:
    """Why it was not installed."""
    assert answer[0] == 3 and answer[1].startswith("no: "), answer
    return answer[1].removeprefix("no: ").strip()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_packages", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_wheels_become_a_folder_that_python_can_import_from(tmp_path: Path) -> None:
    wheels = (wheel("greet", scripts={"greet": "greet:main"}), wheel("B-things", "2.0"))
    code, text = install(tmp_path, wheels)
    assert code == 0, text
    told = json.loads(text)
    assert told["packages"] == [{"name": "B-things", "version": "2.0"}, {"name": "greet", "version": "1.0"}]
    assert told["python"].startswith("3.") and told["pip"]
    site = tmp_path / "work" / "layer" / "site"
    found = subprocess.run(
        [sys.executable, "-B", "-c", "import greet, B_things; print(greet.VERSION, B_things.VERSION)"],
        env={"PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout == "1.0 2.0\n"
    assert (site / "bin" / "greet").exists() and not list(site.rglob("*.pyc"))


@pytest.mark.slow
def test_neither_variables_nor_settings_steer_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "zipfile.py").write_text("raise SystemExit('taken over')\n")
    assert install(tmp_path, [wheel("greet")])[0] == 0
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_a_wheel_that_does_not_fit_the_python_is_named(tmp_path: Path) -> None:
    why = said(install(tmp_path, [wheel("greet", tag="cp26-cp26-win32")]))
    assert "greet-1.0-cp26-cp26-win32.whl is not a supported wheel on this platform" in why
    assert why.endswith("; lock the packages again for this image: tfslurm pin EXP.yaml --update")


@pytest.mark.slow
def test_another_wheel_than_was_locked_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    why = said(install(tmp_path, [wheel("greet")], locked=["a" * 64]))
    assert why.startswith("greet-1.0-py3-none-any.whl has the sha256 ")
    assert "and the lock file says aaaaaaaaaaaaaaaa…; submit again: it is sent again" in why
    assert not (tmp_path / "work" / "layer").exists()


@pytest.mark.slow
def test_a_wheel_that_is_not_there_is_named(tmp_path: Path) -> None:
    gone = wheel("greet")
    install(tmp_path, [])
    why = said(run(tmp_path, gone.file, gone.sha256))
    assert why.startswith("greet-1.0-py3-none-any.whl cannot be read (No such file or directory); submit again")


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_wheel_is_refused(content: bytes, tmp_path: Path) -> None:
    odd = wheel("greet")._replace(content=content)
    assert "greet-1.0-py3-none-any.whl is no wheel" in said(install(tmp_path, [odd]))


@pytest.mark.slow
def test_wheels_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    large = wheel("greet", files={"greet.py": "#" * 5_000_000})
    assert len(large.content) < 100_000
    why = said(install(tmp_path, [large], most=1_000_000))
    assert why.startswith("the packages unpack to 0.0 GiB") and not (tmp_path / "work" / "layer").exists()


@pytest.mark.slow
def test_a_wheel_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    evil = wheel("greet", files={"greet.py": "", "../../../evil.py": "print()"})
    assert "outside the target directory" in said(install(tmp_path, [evil]))
    assert not list(tmp_path.rglob("evil.py"))


@pytest.mark.slow
def test_what_python_itself_has_is_left_out_as_its_own_folder_of_packages_would_hide_it(tmp_path: Path) -> None:
    hidden = ("typing.py", "json/__init__.py", "email/more.py", "sys.py")
    files = dict.fromkeys((*hidden, "greet.py", "json.txt"), "")
    assert install(tmp_path, [wheel("greet", files=files)])[0] == 0
    found = {path.name for path in (tmp_path / "work" / "layer" / "site").iterdir()}
    assert found == {"greet.py", "json.txt", "greet-1.0.dist-info"}


@pytest.mark.parametrize("member", ["tensorflow/__init__.py", "tensorflow.py", "greet-1.0.data/purelib/tensorflow.py"])
def test_a_tensorflow_under_another_name_is_refused_beside_the_images(
    member: str, tmp_path: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel("greet", files={member: ""})
    made.put(tmp_path)
    monkeypatch.setattr(program, "find_spec", lambda name: None)
    assert program.looked_at(str(tmp_path), made.file, made.sha256)
    monkeypatch.setattr(program, "find_spec", lambda name: object())
    with pytest.raises(program.Refused, match="holds a module `tensorflow`, which would take the place of the image's"):
        program.looked_at(str(tmp_path), made.file, made.sha256)


def test_a_full_disk_is_told_as_one(program: ModuleType, tmp_path: Path) -> None:
    full = "the file system of the run folders is full; free some space there, then submit again"
    for words in ("OSError: [Errno 28] No space left on device", "OSError: [Errno 122] Disk quota exceeded: '/x'"):
        assert program.reason(f"ERROR: Could not install packages due to an {words}") == full
    with pytest.raises(program.Refused, match=r"the packages need .* MiB, and the run folders' disk has .* MiB; free"):
        program.refuse_size(2**60, 2**61, str(tmp_path))


def test_without_pip_it_says_what_to_do(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.sys, "executable", "/usr/bin/false")
    with pytest.raises(program.Refused, match="the image's Python has no pip, which installs packages; use an image"):
        program.version_of_pip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Processing x\nERROR: Something is odd.\nmore", "Something is odd; lock other versions"),
        ("", "pip ended with an error; lock other versions"),
        ("ERROR: " + "x" * 1000, "x" * 400),
    ],
)
def test_the_first_error_of_pip_is_the_reason(program: ModuleType, text: str, why: str) -> None:
    assert program.reason(text).startswith(why)
