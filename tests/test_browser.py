"""The address that leads this user's browser, once, to a service's URL. The browser is a stand-in: a program."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfslurm.services.browser import DISPLAYS, OneTime, open_page, uid_of

URL = "http://127.0.0.1:1/?token=0123456789abcdef"
ASK = (
    "import http.client, sys; line = http.client.HTTPConnection(*sys.argv[1].split('/')[2].split(':'), timeout=20); "
    "line.request('GET', '/' + sys.argv[1].split('/')[3]); print(line.getresponse().headers['Location'])"
)


def answer(lead: OneTime, path: str) -> tuple[int, str | None]:
    line = http.client.HTTPConnection("127.0.0.1", lead.server_port, timeout=20)
    line.request("GET", path)
    found = line.getresponse()
    line.close()
    return found.status, found.headers["Location"]


def test_the_address_leads_on_once_and_no_other_path_does() -> None:
    with OneTime(URL) as lead:
        path = "/" + lead.address.rpartition("/")[2]
        assert "0123456789abcdef" not in lead.address
        assert answer(lead, "/favicon.ico") == (404, None)
        assert answer(lead, path) == (302, URL)
        assert answer(lead, path) == (410, None), "a reload is told, and waits for nothing"
        assert answer(lead, "/") == (404, None)
    with pytest.raises(OSError, match="refused"):
        answer(lead, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_this_machine_who_knows_the_address_is_not_answered() -> None:
    with OneTime(URL) as lead:
        done = subprocess.run(
            [sys.executable, "-c", ASK, lead.address], user=65534, group=65534, capture_output=True, text=True, cwd="/"
        )
        assert (done.returncode, done.stdout) == (1, ""), done
        assert "Remote end closed connection" in done.stderr or "Connection reset" in done.stderr, done.stderr
        assert answer(lead, "/" + lead.address.rpartition("/")[2]) == (302, URL), "it was not used up"


def test_a_connection_that_the_kernel_does_not_know_is_nobodys() -> None:
    assert uid_of(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def open_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: str
) -> tuple[OneTime | None, list[str], threading.Event]:
    """The page opened by a browser of this text; '': there is no display."""
    program = tmp_path / "browser"
    program.write_text(f"#!/bin/sh\n{browser}\n")
    program.chmod(0o755)
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    if browser:
        monkeypatch.setenv("BROWSER", str(program))
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    return open_page(URL, say), said, heard


def test_the_browser_is_led_to_the_page_and_prints_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "seen")
    text = f'echo noise; echo noise >&2; echo "$@" >{tmp_path}/words; {sys.executable} -c "{ASK}" "$1" >{tmp_path}/seen'
    lead, said, _ = open_with(tmp_path, monkeypatch, text)
    assert lead
    with lead:
        assert (tmp_path / "seen").read_text() == f"{URL}\n"
        assert (tmp_path / "words").read_text() == f"{lead.address}\n"
    assert (said, *capfd.readouterr()) == ([], "", "")


def test_without_a_display_and_where_no_browser_starts_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead, said, _ = open_with(tmp_path, monkeypatch, "")
    assert (lead, said) == (None, ["no display here, so no browser was started; open the URL yourself"])
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("tfslurm.services.browser.CONNECTIONS", (("/nowhere", ""),))
        lead, (told,), _ = open_with(tmp_path, elsewhere, "exit 1")
        assert (lead, told.partition(",")[0]) == (None, "this system does not tell whose a connection is")
    lead, said, heard = open_with(tmp_path, monkeypatch, "exit 1")
    assert lead
    with lead:
        assert heard.wait(60)
    assert said == ["no browser could be started; open the URL yourself"]
