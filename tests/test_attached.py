"""Commands that have this process's own streams, on this machine and in one line of a login shell."""

from __future__ import annotations

import shutil

import pytest

from tests.test_host import ShellHost
from tfslurm.errors import HostError, NoProgram
from tfslurm.host import Host
from tfslurm.host.attached_output import MOST_BEFORE, Output
from tfslurm.host.local import LocalHost

MARK = b"<mark>"


@pytest.fixture(params=["local", *(name for name in ("sh", "bash", "zsh", "tcsh", "fish") if shutil.which(name))])
def host(request: pytest.FixtureRequest) -> Host:
    if request.param == "local":
        return LocalHost()
    return ShellHost(request.param, "echo noise\n" if request.param != "tcsh" else "echo noise;")


def test_what_comes_before_the_mark_is_not_the_commands(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    words = [
        "sh",
        "-c",
        "printf 'more noise<mark>'; printf '%s|' \"$@\"; echo told >&2; exit 4",
        "sh",
        "a b",
        "c\nd",
        "!",
    ]
    assert host.attach(words, mark=MARK) == 4
    assert capfd.readouterr() == ("a b|c\nd|!|", "told\n")


def test_a_command_that_never_printed_its_mark_did_not_begin(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError, match=r"the command was not started \(exit 7\): .*no room$"):
        host.attach(["sh", "-c", "echo no room; exit 7"], mark=MARK)
    assert capfd.readouterr().out == ""


def test_without_a_mark_everything_is_handed_on_and_a_signal_is_a_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert LocalHost().attach(["sh", "-c", "echo said; kill -9 $$"]) == 137
    assert capfd.readouterr().out == "said\n"
    with pytest.raises(NoProgram, match="nosuch"):
        LocalHost().attach(["nosuch"])


def test_a_mark_in_two_pieces_is_seen_and_noise_is_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    output = Output(MARK)
    for piece in (b"x" * 3 * MOST_BEFORE, b"<ma", b"rk>an", b"swer"):
        output.write(piece)
    assert (capfd.readouterr().out, output.has_begun) == ("answer", True)
    assert len(Output(MARK).before()) == 0
