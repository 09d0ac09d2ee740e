"""The settings for one machine as ssh has them: asked of the ssh program (`ssh -G`), read here where there is none.

Both transports use what comes out, so both go where `ssh HOST` goes. Source: ssh(1), -G; ssh_config(5).
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from tfslurm.cluster import Login
from tfslurm.errors import HostError
from tfslurm.host.command import Received, run_process
from tfslurm.host.ssh_files import DEEPEST, OTHER_NAMES, SYSTEM, at_home, included, lines_of
from tfslurm.host.user import user_name
from tfslurm.local_files import write_file

Settings = Mapping[str, tuple[str, ...]]
"""Keyword in small letters -> its values, of which most keywords have one."""
PATIENCE_S = 20
KEPT_S = 60.0
CANNOT = ("No user exists for uid", "unknown option -- G", "illegal option -- G", "unknown option: -G")
"The words of an ssh that cannot answer here: too old, or without a name for this user."
PATHS = ("identityagent", "userknownhostsfile", "globalknownhostsfile", "revokedhostkeys")
"Keywords in whose values ssh itself puts the home; other file names it prints as they were written."
_kept: dict[tuple[Login, Path, int], tuple[float, Settings]] = {}


def settings_for(name: str, login: Login, home: Path, system: Path = SYSTEM) -> Settings:
    """Return the settings for one machine; what ``login`` says wins. Asked once in a minute.

    Raises:
        HostError: the files cannot be understood; names the file and its line.
    """
    key = (login, home, _changed(home / ".ssh" / "config"))
    kept = _kept.get(key)
    if kept and system is SYSTEM and time.monotonic() - kept[0] < KEPT_S:
        return kept[1]
    try:
        found = _from_ssh(name, login, home, system)
        if found is None:
            from tfslurm.host.ssh_reader import read_settings

            found = read_settings(login.host, given(login), home, system)
    except HostError as error:
        raise HostError(f"{name}: {error}", transient=error.transient) from None
    _kept[key] = (time.monotonic(), found)
    return found


@contextmanager
def asked_ahead(name: str, login: Login) -> Iterator[None]:
    """Ask ssh for the settings while the block is run, which has something else to wait for.

    Raises:
        HostError: as ``settings_for``.
    """
    failed: list[HostError] = []

    def ask() -> None:
        try:
            settings_for(name, login, Path.home())
        except HostError as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="ssh -G", daemon=True)
    asking.start()
    yield
    asking.join()
    if failed:
        raise failed[0]


def user_of(name: str, login: Login) -> str:
    """Return the name by which the user logs in.

    Raises:
        HostError: as ``settings_for``.
    """
    home = Path.home() if login.transport == "paramiko" else Path(pwd.getpwuid(os.getuid()).pw_dir)
    return next(iter(settings_for(name, login, home).get("user", ())), "") or user_name()


def given(login: Login) -> Mapping[str, str]:
    """What the cluster file says of the machine itself, by ssh's keywords."""
    said = {"user": login.user or "", "port": str(login.port) if login.port else ""}
    return {key: value for key, value in said.items() if value}


def options_for(login: Login) -> list[str]:
    """The same as options of the ssh program."""
    letters = {"user": "-l", "port": "-p"}
    return [word for key, value in given(login).items() for word in (letters[key], value)]


def parse_settings(text: str, home: Path) -> Settings:
    """Return what `ssh -G` printed, a keyword and a value a line."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        key = OTHER_NAMES.get(key, key)
        values = _paths(value, home) if key in ("userknownhostsfile", "globalknownhostsfile") else (value,)
        found[key] = (*found.get(key, ()), *values)
    return found


def _paths(text: str, home: Path) -> tuple[str, ...]:
    """Several file names; ssh prints a blank between them, and within one: the longest name that is there counts."""
    words, found = text.split(" "), []
    while words:
        sizes = range(len(words), 0, -1)
        size = next((size for size in sizes if Path(at_home(" ".join(words[:size]), home)).is_file()), 1)
        found.append(" ".join(words[:size]))
        del words[:size]
    return tuple(found)


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _from_ssh(name: str, login: Login, home: Path, system: Path) -> Settings | None:
    """Ask the ssh program; None where there is none that can answer."""
    program = shutil.which("ssh")
    if not program:
        return None
    with _files(home, system) as (options, originals):
        argv = [program, *options, "-G", *options_for(login), "--", login.host]
        try:
            raw = run_process(Received(name, argv), argv, b"", PATIENCE_S, {**os.environ, "HOME": str(home)})
        except HostError as error:
            why = "a `Match exec` of ~/.ssh/config, or the name service, does not answer; run it, then correct that"
            raise HostError(f"`ssh -G {login.host}` did not end: {why}", transient=error.transient) from None
    if raw.exit_code == 0:
        return parse_settings(raw.stdout.decode("utf-8", "replace"), home)
    said = raw.stderr.decode("utf-8", "replace").strip()
    if raw.exit_code in (126, 127) or any(words in said for words in CANNOT):
        return None
    raise misread(said, originals)


def misread(said: str, originals: Mapping[str, Path] = MappingProxyType({})) -> HostError:
    """The error in ssh's own words, with the line that it names."""
    found = re.search(r"^(\S.*?):? line (\d+): (.*)$", said, re.MULTILINE)
    if not found:
        return HostError(f"ssh does not understand its settings: {' '.join(said.split())[-400:]}; correct them")
    file = originals.get(found[1], Path(found[1]))
    shown = ""
    with suppress(OSError, IndexError):
        shown = f"`{file.read_text('utf-8', 'replace').splitlines()[int(found[2]) - 1].strip()[:200]}`: "
    reasons = dict.fromkeys([*said[: found.start()].split("\n"), found[3]])
    why = ": ".join(reason.strip() for reason in reasons if reason.strip())
    fix = "correct it, or use an ssh that knows it"
    return HostError(f"{file}:{found[2]}: {shown}{why[:300]}, says your ssh program; {fix}")


@contextmanager
def _files(home: Path, system: Path) -> Iterator[tuple[Sequence[str], Mapping[str, Path]]]:
    """Yield the options that name the files, and the file behind each name that ssh may complain of.

    ssh takes ~ from the password file. Where HOME is another folder, it gets copies in which that is written out.
    """
    try:
        own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        own = home
    if home == own and system is SYSTEM:
        yield (), {}
        return
    import tempfile  # 5 ms that few need

    with tempfile.TemporaryDirectory(prefix="tfslurm-ssh-") as folder:
        copies = _Copies(Path(folder), home)
        first = copies.copy(home / ".ssh" / "config", home / ".ssh")
        second = copies.copy(system, system.parent)
        places = " ".join(f'"{home}/.ssh/{known}"' for known in ("known_hosts", "known_hosts2"))
        lines = [f'Include "{first}"', "Match all", f'Include "{second}"', "Match all", f"UserKnownHostsFile {places}"]
        write_lines(copies.main, lines)
        yield ("-F", str(copies.main)), copies.originals


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a new file that is this user's alone, as the settings that it repeats may be."""
    write_file(path, "\n".join([*lines, ""]).encode("utf-8"), replace=False)


class _Copies:
    """Copies of configuration files in one folder, line for line, with the names of other files written out."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder, self._home = folder, home
        self.main = folder / "main"
        self.originals: dict[str, Path] = {}

    def copy(self, file: Path, base: Path, depth: int = 0) -> Path:
        """Copy a file, and those that it includes; return the copy's name."""
        target = self._folder / str(len(self.originals))
        self.originals[str(target)] = file
        text: list[str] = []
        for line in lines_of(file, self._home):
            shown = line.text
            if line.key == "include":
                found = included(line.words, base, self._home) if depth < DEEPEST else ()
                names = [f'"{self.copy(each, base, depth + 1)}"' for each in found]
                shown = f"Include {' '.join(names)}" if names else ""
            elif line.key in PATHS:
                shown = " ".join([line.key, *(self._written_out(word) for word in line.words)])
            text.append(shown)
        write_lines(target, text)
        return target

    def _written_out(self, path: str) -> str:
        """A file name with the home in place of `~` and `%d`, in quotes."""
        home = str(self._home).replace("%", "%%")
        at = f"{home}{path[1:]}" if path == "~" or path.startswith("~/") else path
        named = re.sub("%[%d]", lambda found: home if found[0] == "%d" else "%%", at)
        return '"' + re.sub(r'(["\\])', r"\\\1", named) + '"'
