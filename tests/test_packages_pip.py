"""pip chooses packages for the Python of an image, whatever Python it runs in; a stranger's folder has no say in it.

uv and pip are real, the wheels are made by the tests, and a folder of them is the only index.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pip
import pytest

from tests.made_wheels import wheel
from tfslurm.errors import InputError
from tfslurm.image.facts import ImageFacts
from tfslurm.packages.resolve import Resolved, resolve
from tfslurm.packages.wheels import Wanted, fetch
from tfslurm.spec.requirements import requirement

MARKED = {
    "old": "python_version < '3.9'",
    "new": "python_full_version >= '3.99.1'",
    "newest": "implementation_version >= '3.99.2'",
    "arm": "platform_machine == 'aarch64'",
    "linux": "sys_platform == 'linux' and platform_system == 'Linux' and os_name == 'posix'",
    "pypy": "implementation_name == 'pypy' or platform_python_implementation == 'PyPy'",
    "kernel": "platform_release >= '4' or platform_version >= '1'",
    "more": "extra == 'more'",
    "less": "extra == 'less'",
}
ON_INDEX = (
    wheel("top", requires=[f"{name}; {marker}" for name, marker in MARKED.items()] + ["held>=1", "built"]),
    *map(wheel, MARKED),
    wheel("held", "9.0"),
    wheel("built", "1.0"),
    wheel("built", "1.5", tag="cp38-abi3-manylinux_2_17_x86_64"),
    wheel("built", "2.0", tag="cp399-cp399-manylinux_2_17_x86_64"),
    wheel("built", "3.0", tag="cp399-cp399-manylinux_2_40_x86_64"),
)
OLD = ImageFacts("3.8.10", "2.31", "aarch64", {"held": "1.0"})
NEW = ImageFacts("3.99.1", "2.36", "x86_64", {"held": "1.0"})
FOR_OLD = {"arm": "1.0", "built": "1.0", "linux": "1.0", "old": "1.0", "top": "1.0"}
FOR_NEW = {"built": "2.0", "linux": "1.0", "new": "1.0", "top": "1.0"}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of wheels, which settings and nothing else name; the cache is the test's own."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    for each in ON_INDEX:
        each.put(folder)
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    for name, value in {**own, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def chosen(facts: ImageFacts, work: Path, *asked: str) -> tuple[Resolved, list[str]]:
    """What is chosen for an image, and what was said meanwhile."""
    said: list[str] = []
    work.mkdir()
    return resolve([requirement(each) for each in asked], facts, work, said.append), said


def versions(found: Resolved) -> dict[str, str]:
    """Name -> version of what is added to the image."""
    return {each.name: each.version for each in found.wheels}


@pytest.mark.slow
@pytest.mark.parametrize(("facts", "added"), [(OLD, FOR_OLD), (NEW, FOR_NEW)], ids=["older", "newer"])
def test_pip_chooses_what_uv_chooses_for_an_image_of_any_python(
    facts: ImageFacts, added: dict[str, str], index: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = ("top[more]", "held", "arm; python_version >= '3.100'")
    by_uv, said = chosen(facts, tmp_path / "uv", *asked)
    request.getfixturevalue("without_uv")
    by_pip, told = chosen(facts, tmp_path / "pip", *asked)
    assert by_pip.wheels == by_uv.wheels and versions(by_pip) == {**added, "more": "1.0"}
    python = f"the image's Python {facts.python.rpartition('.')[0]} ({facts.platform})"
    assert said == [f"packages: {by_uv.resolver} asks the folders of wheels what suits {python}"]
    assert told == [f"packages: {by_pip.resolver} asks the folders of wheels what suits {python}"]
    assert by_uv.resolver.startswith("uv ") and by_pip.resolver.startswith("pip ")


@pytest.mark.slow
def test_pip_of_another_python_on_path_chooses_the_same(
    index: Path, tmp_path: Path, without_uv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho >>"{tmp_path}/called"\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert versions(chosen(OLD, tmp_path / "work", "top")[0]) == FOR_OLD and (tmp_path / "called").exists()


def test_without_uv_and_pip_one_error_says_what_to_install(
    index: Path, tmp_path: Path, without_uv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(index))
    told = "packages: pip is not installed beside tfslurm; pip install 'tfslurm[packages]' brings uv and pip"
    with pytest.raises(InputError, match=re.escape(told)):
        chosen(OLD, tmp_path / "work", "top")


FAKES = {  # stand-ins for a pip of another kind: what is run in place of pip
    "too old": ("import sys; sys.exit('no such option: --dry-run')", "0.1 is too old: pip 22.2 and later say what"),
    "made otherwise": ("", "0.1 cannot be told which Python the image has"),
}


@pytest.mark.parametrize("case", FAKES)
def test_a_pip_that_cannot_answer_for_an_image_is_one_error_that_says_what_to_install(
    case: str, index: Path, tmp_path: Path, without_uv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, told = FAKES[case]
    package = tmp_path / "fake" / "pip"
    package.mkdir(parents=True)
    vendored = f"__path__.append({str(Path(str(pip.__file__)).parent)!r})\n"
    (package / "__init__.py").write_text(vendored if case == "too old" else "")
    version = "import sys\nif sys.argv[1:] == ['--version']: sys.exit(print('pip 0.1'))\n"
    (package / "__main__.py").write_text(f"{version}if sys.argv[1] == 'config': sys.exit()\n{text}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    with pytest.raises(InputError, match=told) as error:
        chosen(OLD, tmp_path / "work", "top")
    assert "pip install 'tfslurm[packages]' brings uv and pip" in str(error.value)


@pytest.mark.slow
def test_nothing_of_the_current_folder_runs(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's folder has modules named pip and uv, and a Python of its own where uv looks for one."""
    stranger = tmp_path / "stranger"
    (stranger / ".venv" / "bin").mkdir(parents=True)
    for name in ("pip", "uv", "json", "runpy"):
        (stranger / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    (stranger / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for name in ("python", "python3"):
        program = stranger / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\ntouch "{tmp_path}/mark"\nexec /usr/bin/python3 "$@"\n')
        program.chmod(0o755)
    (stranger / "sub").mkdir()
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # so uv is found as a module of this Python
    for folder in (stranger, stranger / "sub"):
        monkeypatch.chdir(folder)
        found = chosen(OLD, tmp_path / f"work-{folder.name}", "top")[0]
        assert found.resolver.startswith("uv ")
        assert fetch([Wanted(each.name, each.version, each.file, each.sha256) for each in found.wheels], OLD)
    assert not (tmp_path / "mark").exists()
