"""What a site allows: asked with one command, kept for a day."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.no_lines import NoLines
from tests.made import CLUSTER
from tfslurm.errors import Completed, HostError, SlurmParseError
from tfslurm.remote_programs import program
from tfslurm.slurm import Account
from tfslurm.slurm.limits import SubmitLimit
from tfslurm.slurm.profile import SiteProfile, answers_in, parse_profile, profile_words
from tfslurm.workspace.config import Known
from tfslurm.workspace.site_cache import age, place, site_profile

KNOWN = Known(CLUSTER, "", None)
CONFIG = """SLURM_VERSION           = 22.05.8
ClusterName             = alpha
AccountingStorageType   = accounting_storage/{storage}
MaxArraySize            = 1001
MaxJobCount             = 10000
KillWait                = 30 sec
"""
FIELDS = ("gpu*", "up", "1-00:00:00", "0/2/0/2", "gpu:a100:4", "64", "257000")
ANSWERS = ("\x1f".join(FIELDS) + "\n", "gpu*\x1fREQUEUE\n", "alpha|lab||normal|lab\n", "alpha|lab||10|\n", "normal|5\n")


def said(*endings: str, storage: str = "slurmdbd") -> str:
    """What the script prints; ``endings`` stand for ``0`` with nothing on stderr."""
    answers = (CONFIG.format(storage=storage), *ANSWERS)
    ends = (*endings, *["0\x1f"] * (6 - len(endings)))
    return "".join(f"{answer}\x1d{end}\x1d" for answer, end in zip(answers, ends, strict=True))


class Login(NoLines):
    """Stands for a login node: says the same to every command, and counts them."""

    name = "alpha"

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def run(self, argv: Sequence[str], *, input: bytes | Iterable[bytes] = b"", **more: float) -> Completed:
        self.asked += 1
        return Completed(tuple(argv), 0, self.text, "", self.name)

    def run_bytes(self, argv: Sequence[str], *, input: bytes | Iterable[bytes] = b"", **more: float) -> bytes:
        raise AssertionError(argv)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


def test_the_script_prints_each_answer_with_its_exit_code_and_what_was_said_beside_it(tmp_path: Path) -> None:
    programs = {"scontrol": "echo config", "sinfo": "echo row; echo 'a warning' >&2", "sacctmgr": "echo no >&2; exit 3"}
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = program("ask-all", *profile_words("al ice; exit"))
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = answers_in(done.stdout)
    assert [(each.text, each.why) for each in found] == [
        ("config\n", ""),
        ("row\n", ""),
        ("row\n", ""),
        *[("", "exit 3: no")] * 3,
    ]


def test_one_command_tells_what_submit_and_sweeps_need() -> None:
    login = Login(said())
    found = site_profile(KNOWN, login)
    assert login.asked == 1
    assert (found.config and found.config.version, found.max_array_size) == ("22.05.8", 1001)
    assert found.max_submit_jobs() == 5
    assert [part.name for part in found.partitions or ()] == ["gpu"]
    assert dict(found.preemption) == {"gpu": "REQUEUE", "": "REQUEUE"}
    assert (dict(found.why), age(found)) == ({}, "")


def test_what_was_asked_is_kept_for_a_day_and_says_how_old_it_is() -> None:
    login = Login(said())
    first = site_profile(KNOWN, login)
    assert replace(site_profile(KNOWN, login), age_s=0) == first
    assert login.asked == 1
    site_profile(KNOWN, login, fresh=True)
    assert login.asked == 2
    for stamp, asked in (("2000-01-01T00:00:00Z", 3), ("2999-01-01T00:00:00Z", 4)):
        kept = json.loads(place(KNOWN).read_text())
        place(KNOWN).write_text(json.dumps({**kept, "asked_at": stamp}))
        site_profile(KNOWN, login)
        assert login.asked == asked
    assert [age(SiteProfile(age_s=seconds)) for seconds in (9, 180, 7300)] == ["9 s ago", "3 min ago", "2 h ago"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"site": 1}', "null"])
def test_a_kept_profile_that_cannot_be_read_is_asked_again(text: str) -> None:
    login = Login(said())
    site_profile(KNOWN, login)
    place(KNOWN).write_text(text)
    assert site_profile(KNOWN, login).max_array_size == 1001
    assert login.asked == 2


def test_another_login_user_or_controller_is_another_site(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login(said())
    site_profile(KNOWN, login)
    site_profile(KNOWN._replace(cluster=replace(CLUSTER, environment={"SLURM_CONF": "/b"})), login)
    assert login.asked == 2
    site_profile(KNOWN, login)
    monkeypatch.setenv("SLURM_CONF", "/c")
    site_profile(KNOWN, login)
    assert login.asked == 4


def test_what_was_only_partly_answered_is_given_and_not_kept() -> None:
    login = Login(said("0\x1f", "0\x1f", "0\x1f", "1\x1fConnection refused"))
    for asked in (1, 2):
        found = site_profile(KNOWN, login)
        assert (found.accounts, found.why["accounts"]) == (None, "exit 1: Connection refused")
        assert (found.max_array_size, login.asked) == (1001, asked)
    down = site_profile(KNOWN, Login(said("1\x1fUnable to contact slurm controller")))
    assert (down.config, down.max_array_size, down.max_submit_jobs()) == (None, None, None)
    assert down.why["config"] == "exit 1: Unable to contact slurm controller"


def test_a_site_without_accounting_is_whole_and_kept() -> None:
    login = Login(said("0\x1f", "0\x1f", "0\x1f", "1\x1fno", "1\x1fno", "1\x1fno", storage="none"))
    site_profile(KNOWN, login)
    kept = site_profile(KNOWN, login).config
    assert kept and kept.has_accounting is False
    assert login.asked == 1


def test_an_answer_that_was_cut_off_is_an_error_and_not_a_profile() -> None:
    with pytest.raises(SlurmParseError):
        parse_profile(said()[:-200], "")
    with pytest.raises(HostError, match="alpha: the site's profile"):
        site_profile(KNOWN, Login("noise"))


def test_the_smallest_limit_that_fits_counts() -> None:
    accounts = (Account("alpha", "lab", "", ("normal", "long"), True), Account("alpha", "guest", "", ("q",), False))
    limits = (
        SubmitLimit("lab", "", 50, 40),
        SubmitLimit("lab", "gpu", 30, None),
        SubmitLimit("guest", "", None, None),
    )
    found = SiteProfile(accounts=accounts, limits=limits, qos_limits={"long": 20, "q": 7})
    assert found.max_submit_jobs() == 40
    assert found.max_submit_jobs(partition="gpu") == 30
    assert found.max_submit_jobs(qos="long") == 20
    assert found.max_submit_jobs("guest") == 7
    assert SiteProfile().max_submit_jobs("lab") is None
