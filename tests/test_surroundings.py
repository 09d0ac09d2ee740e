"""What the variables of a shell say: where one is relative, the current folder would decide, maybe a stranger's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfslurm.__main__ import settle

HOSTILE = ("click", "yaml", "platformdirs", "pydantic", "json", "getpass", "sqlite3", "jinja2", "typing_extensions")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, `here`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.slow
def test_what_is_relative_in_the_environment_does_not_count(desk: Path) -> None:
    """HOME, PATH and PYTHONPATH of a shell whose set-up went wrong: no ssh settings, programs or modules from here."""
    clusters = desk / "config/tfslurm/clusters"
    clusters.mkdir(parents=True)
    (clusters / "here.yaml").write_text("name: here\nroot: /scratch/a\n")
    (clusters / "far.yaml").write_text("name: far\nroot: /scratch/a\nlogin: {host: h.invalid}\n")
    mark = desk / "PWNED"
    Path(".ssh").mkdir()
    Path(".ssh/config").write_text(f"Host *\n  ProxyCommand touch {mark}\n")
    Path("bin").mkdir()
    for place in (Path(), Path("bin")):
        for name in ("sh", "squeue", "scontrol", "docker", "timeout", "df"):
            (place / name).write_text(f"#!/bin/bash\n/usr/bin/touch {mark}\n")
            (place / name).chmod(0o755)
        for name in HOSTILE:
            (place / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    (desk / "site/plugin-1.dist-info").mkdir(parents=True)  # what else is installed has no say either
    (desk / "site/plugin-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (desk / "site/plugin-1.dist-info/entry_points.txt").write_text("[pydantic]\nplugin = plugin\n")
    (desk / "site/plugin.py").write_text(f"open({str(mark)!r}, 'a').write('plugin')\n")
    program = [sys.executable, "-c", "import sys; sys.path.pop(0); from tfslurm.__main__ import main; main()"]
    folders = {"XDG_CONFIG_HOME": str(desk / "config"), "XDG_DATA_HOME": str(desk / "data"), "SHELL": "./sh"}
    for home, path, modules in ((".", ":/usr/bin:/bin", ":/nowhere"), ("", "bin:./bin:/usr/bin:/bin:", "bin")):
        variables = {**folders, "HOME": home, "PATH": path, "PYTHONPATH": f"{modules}:{desk}/site"}
        words = ["check", "here", "far", "--no-node"]
        done = subprocess.run([*program, *words], env=variables, capture_output=True, text=True)
        assert ("Traceback" in done.stderr, "not reached" in done.stdout) == (False, True), done.stderr
        assert not mark.exists(), variables


@pytest.mark.parametrize("name", ["HOME", "SHELL", "BASH_ENV", "ENV", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "PATH"])
def test_a_variable_that_names_a_relative_place_is_as_if_it_were_not_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"HOME": os.path.expanduser("~root"), "PATH": os.defpath} if os.geteuid() == 0 else {}  # noqa: PTH111
    for value in ("", ".", "x", "./x", "../x", "~", "x/../y"):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            settle(os.environ)
            assert os.environ.get(name) == usual.get(name, os.environ.get(name) if name in ("HOME", "PATH") else None)
    for value in ("/x", "/x y", "/"):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            settle(os.environ)
            assert os.environ[name] == value


def test_exit_codes_are_heard_where_whoever_started_tfslurm_ignored_them() -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); sys.argv = ['tfslurm', '--version']\n"
        "from tfslurm.__main__ import main\n"
        "try: main()\n"
        "finally: print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"
