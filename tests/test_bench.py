"""What `python -m tests.bench` makes of its measurements, and `--before` of a commit. Nothing is measured here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.bench import before
from tests.bench.__main__ import main, table
from tests.bench.measure import turns
from tests.cluster.bed import BedError

# The python and the pip that stand in here note what they are asked for; pip also notes what it was to install.
FAKE_PYTHON = """\
#!/bin/sh
[ "$1 $2 $3" = "-m venv --clear" ] || exit 2
rm -rf "$4" && mkdir -p "$4/bin" && cp "{pip}" "$4/bin/pip" && echo "venv" >>"{log}"
"""
FAKE_PIP = """\
#!/bin/sh
case $* in
freeze*) echo click==8.3.3 ;;
*install*)
    for last; do :; done
    echo "installed $(cat "$last/version")" >>"{log}"
    [ ! -e "{log}.fails" ] || {{ echo no network >&2; exit 1; }} ;;
esac
"""


def test_commands_change_places_and_the_first_round_does_not_count() -> None:
    called: list[str] = []

    def command(name: str) -> int:
        called.append(name)
        return 0

    found = turns(2, {"now": lambda: command("now"), "then": lambda: command("then")}, lambda: called.append("-"))
    assert "".join(name[0] for name in called) == "-t-n-n-t-t-n"
    assert [*found] == ["now", "then"]


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(BedError, match="then ended with exit code 3"):
        turns(1, {"now": lambda: 0, "then": lambda: 3})


def test_a_row_beside_an_older_commit_holds_up_to_three_percent_more(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [before.beside("help", {"now": now, "then": 0.2}) for now in (0.1, 0.206, 0.21)]
    assert [row.holds for row in rows] == [True, True, False]
    assert table(rows) == (
        "| what | tfslurm (s) | beside it | (s) | result | bound | holds |\n"
        "|---|---|---|---|---|---|---|\n"
        "| help | 0.100 | the older commit | 0.200 | 0.50x | <= 1.03x | yes |\n"
        "| help | 0.206 | the older commit | 0.200 | 1.03x | <= 1.03x | yes |\n"
        "| help | 0.210 | the older commit | 0.200 | 1.05x | <= 1.03x | NO |"
    )
    assert capsys.readouterr().err.count("| help |") == 3
    assert json.loads(json.dumps(rows[2].as_value()))["holds"] is False


@pytest.mark.parametrize("commit", ["nowhere", "--all", "HEAD:setup.cfg", ""])
def test_what_is_no_commit_is_told_before_anything_is_installed(
    commit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(before, "prepare", lambda: pytest.fail("something was installed"))
    with pytest.raises(BedError, match=f"no commit {commit}"):
        before.rows(1, commit)
    if commit == "nowhere":
        monkeypatch.setattr("sys.argv", ["bench", "--before", commit])
        assert main() == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("bench: no commit nowhere: fatal: ")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two commits and a change on top; its python and pip are stand-ins."""
    folder, log = tmp_path / "checkout", tmp_path / "log"
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    folder.mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("old", "new"):
        (folder / "version").write_text(text)
        subprocess.run([*git, "add", "version"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], check=True)
    (folder / "version").write_text("changed")
    for name, text in (
        ("pip", FAKE_PIP.format(log=log)),
        ("python", FAKE_PYTHON.format(log=log, pip=tmp_path / "bin/pip")),
    ):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for constant, place in (
        ("CHECKOUT", folder),
        ("BED", tmp_path),
        ("VENV", tmp_path),
        ("PYTHON", tmp_path / "bin/python"),
    ):
        monkeypatch.setattr(before, constant, place)
    return tmp_path


def test_the_tfslurm_of_that_commit_is_installed_once(repository: Path) -> None:
    first = before.older(before.name("HEAD~1"))
    again = before.older(before.name("HEAD~1"))
    assert first == again == repository / "bench-before-venv"
    before.older(before.name("HEAD"))
    assert (repository / "log").read_text().split("\n") == ["venv", "installed old", "venv", "installed new", ""]


def test_an_installation_that_failed_is_tried_again(repository: Path) -> None:
    (repository / "log.fails").touch()
    commit = before.name("HEAD")
    with pytest.raises(BedError, match=f"{commit} cannot be installed: no network"):
        before.older(commit)
    (repository / "log.fails").unlink()
    before.older(commit)
    assert (repository / "log").read_text().count("installed new") == 2
