"""The current folder may be a stranger's: what of it is read, and what has to be said first."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import pytest

from tests.made import plan
from tfslurm.cli import run
from tfslurm.cluster import model
from tfslurm.errors import InputError, RecordError
from tfslurm.local_files import changed_by_others
from tfslurm.tracker import Tracker
from tfslurm.workspace import trust as trust_room
from tfslurm.workspace.cluster_files import cluster_files, name_folder
from tfslurm.workspace.clusters_of_jobs import known_from, known_named
from tfslurm.workspace.config import known_clusters, local_cluster
from tfslurm.workspace.folders import config_folder, data_folder, trust_file, user_folders
from tfslurm.workspace.trust import not_of_the_site

TEXT = "name: alpha\nroot: /scratch/a\n"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, `here`; home and XDG folders beside it."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")
    name_folder(None)
    return tmp_path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """`tfslurm …`: its exit code, stdout and stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def put(text: str = TEXT, name: str = "alpha", folder: Path = Path("cluster_configs")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def own(text: str = TEXT, name: str = "alpha") -> Path:
    return put(text, name, config_folder() / "clusters")


def used() -> dict[str, str]:
    return {name: file.origin for name, file in cluster_files(user_folders()).used.items()}


# --- what is not trusted


def test_the_current_folder_s_cluster_files_are_not_even_opened(say: Say) -> None:
    Path("cluster_configs").mkdir()
    os.mkfifo("cluster_configs/alpha.yaml")  # whoever opened it would wait for ever
    Path("cluster_configs/beta.yaml").symlink_to("/etc/shadow")
    assert used() == {}
    code, out, err = say("check", "alpha", "--no-node")
    assert (code, out) == (2, "")
    assert err == (
        "error: cluster 'alpha': cluster_configs/alpha.yaml is not used: you have not trusted it; "
        "look at it, then `tfslurm trust cluster_configs`\n"
    )


def test_commands_that_take_every_cluster_name_what_they_leave_out(say: Say) -> None:
    own(name="mine", text="name: mine\nroot: /scratch/a\nlogin: {host: 127.0.0.1, port: 1}\n")
    for name in ("alpha", "beta"):
        put(name=name)
    code, _, err = say("tracker", "rebuild", "mine")
    assert (code, "not used" in err) == (1, False)  # asked for by name, it is the only one that is meant
    _, _, err = say("tracker", "rebuild")
    note = "note: cluster_configs/alpha.yaml, cluster_configs/beta.yaml: not used: you have not trusted it; "
    assert f"{note}look at it, then `tfslurm trust cluster_configs`\n" in err


def test_the_only_cluster_there_is_comes_with_what_to_do(say: Say) -> None:
    put()
    Path("exp.yaml").write_text("name: a\nimage: a:1\ncommand: a\n")
    code, _, err = say("plan", "exp.yaml")
    assert code == 2
    assert "cluster_configs/alpha.yaml is not used: you have not trusted it" in err


@pytest.mark.parametrize("name", ["a\nerror: b", "\x1b[2J", "A", "-x", "a b", "", "a" * 65, "../a"])
def test_a_file_whose_name_no_cluster_has_is_not_spoken_of(name: str, say: Say) -> None:
    Path("cluster_configs").mkdir()
    Path("cluster_configs", f"{name.replace('/', '_')}.yaml").write_text(TEXT)
    _, _, err = say("tracker", "rebuild")
    assert "cluster_configs" not in err


# --- trusting


def test_what_is_trusted_is_used_until_its_content_changes(say: Say) -> None:
    path = put()
    put("name: beta\nroot: /scratch/b\n", "beta")
    code, out, _ = say("trust", "cluster_configs", "--yes")
    assert (code, out) == (0, f"{Path.cwd()}/cluster_configs: alpha, beta: trusted, as they are now\n")
    assert used() == {"alpha": "trusted", "beta": "trusted"}
    stat = path.stat()
    path.write_text(TEXT.replace("/scratch/a", "/scratch/x"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # neither size nor times tell it
    assert used() == {"beta": "trusted"}
    assert cluster_files(user_folders()).unused["alpha"].why == "it has changed since you trusted it"
    path.write_text(TEXT)
    assert used() == {"alpha": "trusted", "beta": "trusted"}


def test_a_file_that_is_added_or_exchanged_is_not_trusted(say: Say) -> None:
    first, second = put(), put("name: beta\nroot: /scratch/b\n", "beta")
    assert say("trust", "--yes")[0] == 0
    put("name: gamma\nroot: /scratch/c\n", "gamma")
    assert cluster_files(user_folders()).unused["gamma"].why == "it is new since you trusted its folder"
    first.rename("x")
    second.rename(first)
    Path("x").rename(second)
    assert used() == {}
    _, out, _ = say("trust", "--list")
    assert [line.partition(": ")[2] for line in out.splitlines()] == [
        "not used: it has changed since you trusted it",
        "not used: it has changed since you trusted it",
        "not used: it is new since you trusted its folder",
    ]


def test_another_folder_in_its_place_is_not_trusted(say: Say) -> None:
    put(folder=Path("good"))
    put("name: alpha\nroot: /scratch/evil\n", folder=Path("evil"))
    Path("cluster_configs").symlink_to("good")
    assert say("trust", "cluster_configs", "--yes")[0] == 0
    assert used() == {"alpha": "trusted"}
    Path("cluster_configs").unlink()
    Path("cluster_configs").symlink_to("evil")
    assert used() == {}
    Path("cluster_configs").unlink()
    Path("evil").rename("cluster_configs")
    assert used() == {}


def test_a_file_that_turns_into_a_link_or_a_pipe_is_not_waited_for(say: Say) -> None:
    path = put()
    assert say("trust", "--yes")[0] == 0
    path.rename("elsewhere")
    path.symlink_to(Path("elsewhere").resolve())
    assert used() == {"alpha": "trusted"}  # the same content
    path.unlink()
    os.mkfifo(path)
    assert cluster_files(user_folders()).unused["alpha"].why == "is a pipe, and a regular file is wanted"
    path.unlink()
    path.symlink_to("/dev/zero")
    assert used() == {}


def test_the_bytes_that_are_compared_are_the_bytes_that_are_read(say: Say) -> None:
    path = put()
    assert say("trust", "--yes")[0] == 0
    file = cluster_files(user_folders()).used["alpha"]
    path.write_text("name: alpha\nroot: /scratch/evil\n")
    assert file.data == TEXT.encode()
    with pytest.raises(InputError, match="it has changed since you trusted it"):
        known_clusters(["alpha"])


def test_nothing_is_trusted_without_an_answer_or_with_a_mistake_in_a_file(say: Say) -> None:
    put()
    code, out, err = say("trust")
    assert (code, out) == (2, "")
    assert "nothing was trusted: there is no terminal to ask on; add --yes" in err
    assert "root         /scratch/a" in err
    put("name: beta\nroot: /scratch/b\nenvironment: {PATH: /tmp/x}\n", "beta")
    code, _, err = say("trust", "--yes")
    assert (code, "slurm_bin" in err) == (2, True)
    assert not trust_file().exists()


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_is_asked(answer: str, code: int) -> None:
    put()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tfslurm", "trust", "--json"]
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, "trust these files? [y/N]" in done.stderr) == (code, True), done.stderr
    assert used() == ({"alpha": "trusted"} if answer == "y" else {})
    if answer == "y":
        assert json.loads(done.stdout)["files"][0]["cluster"] == "alpha"


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["revoke", "trust"])
def test_what_another_process_decides_while_it_is_asked_stays_so(
    meanwhile: str, say: Say, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    put(folder=desk / "two")
    if meanwhile == "revoke":
        assert say("trust", desk / "two", "--yes")[0] == 0

    def asked(folder: Path, yes: bool) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("XDG_DATA_HOME", str(desk / "data"))
        words = ["trust", str(desk / "two"), *(["--revoke"] if meanwhile == "revoke" else ["--yes"])]
        assert subprocess.run([sys.executable, "-m", "tfslurm", *words], capture_output=True).returncode == 0

    monkeypatch.setattr("tfslurm.cli.trust.confirm", asked)
    folder = Path("cluster_configs").resolve()
    assert say("trust", folder)[0] == 0
    trusted = trust_room.read_trusted(trust_file())
    assert trusted.knows(folder)
    assert trusted.knows(desk / "two") == (meanwhile == "trust")


def test_what_decides_where_programs_run_is_shown(say: Say) -> None:
    put(
        "name: alpha\nroot: /scratch/a\nlogin: {host: h.example, user: bob, port: 22, proxy_jump: j}\n"
        "environment: {SLURM_CONF: /x/slurm.conf}\nslurm_bin: /y/bin\nmounts: {allow: [/data]}\n"
        "mirrors: {docker.io: [m.example]}\nslurm: {partition: gpu}\n"
    )
    code, out, _ = say("trust", "--yes", "--json")
    assert code == 0
    (file,) = json.loads(out)["files"]
    told = {row["key"]: row["value"] for row in file["decides"]}
    assert told["login"] == "bob@h.example:22 over j (paramiko)"
    assert told["environment"].startswith("SLURM_CONF=/x/slurm.conf")
    assert told["slurm_bin"].startswith("/y/bin")
    assert (told["root"], told["mounts"]) == ("/scratch/a", "/data")
    assert (told["mirrors"], told["slurm"]) == ("docker.io from m.example", "partition: gpu")


KEYS = {
    "login": "{host: h}",
    "engine": "podman",
    "cgroup_parent": "require",
    "mirrors": "{docker.io: [m.example]}",
    "slurm": "{partition: gpu}",
    "plugin_options": "{quotatype: spot}",
    "ask": "{memory: mem-per-cpu}",
    "mounts": "{allow: [/data]}",
    "shared_parents": "accept",
    "read_group": "lab",
    "limits": "{pids: 100}",
    "poll": "{min_interval: 5}",
    "environment": "{SLURM_CONF: /x}",
    "engine_environment": "{DOCKER_HOST: unix:///x}",
    "slurm_bin": "/x",
    "registry": "r.example/lab",
    "scan": '{fail_on: HIGH, ignore: [{id: CVE-2024-1, until: "2027-01-01", why: not used}]}',
}


def test_no_key_of_a_file_is_left_out_of_what_is_shown(say: Say) -> None:
    assert set(KEYS) == set(model.Cluster.model_fields) - {"name", "root"}
    put(TEXT + "".join(f"{key}: {value}\n" for key, value in KEYS.items()))
    code, out, err = say("trust", "--yes", "--json")
    assert code == 0
    assert {row["key"] for row in json.loads(out)["files"][0]["decides"]} == {*KEYS, "root"}
    assert "shared_parents accept  (others may replace the root" in err


@pytest.mark.parametrize("columns", [30, 80, 200])
@pytest.mark.parametrize("blank", [" ", "-", "\u754c"])
def test_a_value_that_is_wider_than_the_terminal_looks_like_no_row(
    blank: str, columns: int, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    wide = 2 if blank == "\u754c" else 1
    pads = {blank * count for count in range(columns // wide - 30, columns // wide + 3)}
    options = "".join(f'  o{index}: "x{pad}  login        a@good"\n' for index, pad in enumerate(sorted(pads)))
    put(f"{TEXT}login: {{host: evil.example}}\nslurm:\n{options}")
    code, _, err = say("trust", "--yes")
    assert code == 0
    assert sum(line.startswith("  login ") for line in err.splitlines()) == 1
    for line in err.splitlines():
        if "slurm" in line or line.startswith(" " * 15):
            assert sum(2 if char == "\u754c" else 1 for char in line) < max(columns, 36), line


def test_a_folder_s_name_is_no_line_of_its_own(say: Say, monkeypatch: pytest.MonkeyPatch, desk: Path) -> None:
    """Whatever is said of a file in it: a note, an error, what it says, the list."""
    folder = desk / "here" / "a\nerror: forged"
    (folder / "cluster_configs").mkdir(parents=True)
    monkeypatch.chdir(folder)
    said: list[str | int] = [*say("trust", "--yes")]
    put("name: beta\n")
    for words in (["trust", "--list"], ["trust", str(folder / "x")], ["trust"], ["trust", "--revoke"]):
        said += say(*words)
    put()
    for words in (["trust", "--yes"], ["trust", "--list"], ["trust", "--revoke"], ["check", "alpha", "--no-node"]):
        said += say(*words)
    text = "\n".join(map(str, said))
    assert "\nerror: forged" not in text
    assert "\\nerror: forged" in text


def test_the_list_is_the_user_s_alone(say: Say) -> None:
    put()
    os.umask(0)
    try:
        assert say("trust", "--yes")[0] == 0
    finally:
        os.umask(0o022)
    assert trust_file().stat().st_mode & 0o777 == 0o600
    assert trust_file().parent.stat().st_mode & 0o777 == 0o700
    trust_file().chmod(0o666)
    with pytest.raises(InputError, match="can be changed by everybody here"):
        cluster_files(user_folders())


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"folders": 1, "past": {}, "revoked": []}', '{"folders": {}}', "[" * 100_000]
)
def test_a_list_that_cannot_be_read_trusts_nothing(text: str, say: Say) -> None:
    put()
    trust_file().parent.mkdir(parents=True)
    trust_file().write_text(text)
    code, _, err = say("trust", "--list")
    assert (code, "is not a list of trusted folders; remove it" in err) == (2, True)
    with pytest.raises(InputError):
        cluster_files(user_folders())


# --- whose file it is


def test_a_file_of_the_user_s_own_stands_before_every_other(say: Say) -> None:
    mine = own("name: alpha\nroot: /scratch/mine\n")
    put("name: alpha\nroot: /scratch/evil\n")
    for _ in range(2):  # not trusted, then trusted
        told: list[str] = []
        (known,) = known_clusters(["alpha"], told.append)
        assert (str(known.cluster.root), known.origin) == ("/scratch/mine", "own")
        assert told == [f"note: cluster_configs/alpha.yaml is not used: {mine} is yours and has that name"]
        code, _, err = say("trust", "--yes")
        assert (code, f"is not used all the same: {mine} is yours" in err) == (0, True)
    name_folder(Path("cluster_configs"))
    assert str(known_clusters(["alpha"])[0].cluster.root) == "/scratch/mine"
    put("name: alpha\nroot: /scratch/mine\nlogin: {host: 127.0.0.1, port: 1}\n", folder=mine.parent)
    for words in ((), ("--clusters", "cluster_configs")):
        _, out, _ = say("check", "alpha", "--no-node", "--json", *words)
        fact = json.loads(out)["alpha"][0]
        assert (fact["fact"], fact["status"]) == ("file", "warn")
        assert fact["value"] == (f"{mine}, your own; cluster_configs/alpha.yaml has that name too, and is not used")


def test_check_says_where_each_cluster_comes_from(say: Say) -> None:
    away = "login: {host: 127.0.0.1, port: 1}\n"
    own(f"name: mine\nroot: /scratch/a\n{away}", "mine")
    put(TEXT + away)
    assert say("trust", "--yes")[0] == 0
    put(f"name: other\nroot: /scratch/a\n{away}", "other", Path("named"))
    _, out, _ = say("check", "--no-node")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "alpha ok file cluster_configs/alpha.yaml, which you trust as it is now" in lines
    assert f"mine ok file {config_folder()}/clusters/mine.yaml, your own" in lines
    _, out, _ = say("check", "--no-node", "--clusters", "named", "other")
    assert "named/other.yaml, named with --clusters" in out
    name_folder(None)
    _, _, err = say("check", "--no-node", "other")
    assert "cluster 'other': is not known" in err  # it was for one command


def test_a_name_that_is_not_known_is_answered_with_those_that_are_wherever_they_are(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(TEXT)
    assert say("trust", "--yes")[0] == 0
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "cluster 'alfa': is not known (known: alpha); did you mean 'alpha'?" in say("check", "--no-node", "alfa")[2]


def test_a_folder_that_is_named_stands_for_one_command(say: Say) -> None:
    put(folder=Path("named"))
    put("name: x\nroot: /scratch/a\n", "x")
    assert "has no cluster file (NAME.yaml); did you mean cluster_configs?" in say("check", "--clusters", ".")[2]
    name_folder(Path("named"))
    assert used() == {"alpha": "named"}
    assert "error: named/alpha.yaml: is not a folder" in say("check", "--clusters", "named/alpha.yaml")[2]
    code, _, err = say("check", "--clusters", "absent")
    assert (code, "error: absent: cannot be read: No such file or directory; DIR is a folder" in err) == (2, True)
    name_folder(None)
    assert used() == {}


def test_a_trusted_folder_elsewhere_is_looked_in_for_a_cluster_that_is_named(say: Say, desk: Path) -> None:
    put(folder=desk / "lab")
    assert say("trust", desk / "lab", "--yes")[0] == 0
    assert used() == {}
    assert known_clusters() == []
    (known,) = known_clusters(["alpha"])
    assert (known.file, known.origin) == (desk / "lab" / "alpha.yaml", "trusted")
    put("name: alpha\nroot: /scratch/b\n", folder=desk / "two")
    assert say("trust", desk / "two", "--yes")[0] == 0
    with pytest.raises(InputError, match="name one folder with --clusters DIR"):
        known_clusters(["alpha"])
    put("name: alpha\nroot: /scratch/c\n", folder=desk / "two")
    assert known_clusters(["alpha"])[0].file == desk / "lab" / "alpha.yaml"
    put("name: alpha\nroot: /scratch/c\n", folder=desk / "lab")
    with pytest.raises(InputError, match="it has changed since you trusted it"):
        known_clusters(["alpha"])


@pytest.mark.parametrize("what", ["dangling", "looped", "parent", "fails"])
def test_an_own_folder_that_cannot_be_read_is_not_taken_for_none(
    what: str, say: Say, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another file of the name would stand in for the user's own while a network home is away."""
    put()
    assert say("trust", "--yes")[0] == 0
    mine = own().parent
    if what in ("dangling", "looped"):
        mine.rename(desk / "away")
        mine.symlink_to(desk / "nowhere" if what == "dangling" else mine)
    else:

        def away(path: Path) -> Any:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))

        for name in ("lstat", "stat") if what == "parent" else ("scandir",):
            place = os if name == "scandir" else Path
            there = getattr(place, name)
            gone = partial(lambda there, path, **named: away(path) if path == mine else there(path, **named), there)
            monkeypatch.setattr(place, name, partialmethod(gone) if place is Path else gone)
    code, out, err = say("check", "alpha", "--no-node")
    assert (code, out) == (2, "")
    assert f"error: {mine}: cannot be read: " in err
    assert "; fix that first, or remove it" in err


@pytest.mark.parametrize("what", ["file", "folder", "own file", "own folder", "named file", "named folder"])
@pytest.mark.parametrize(
    ("mode", "owner", "group", "why"),
    [
        (0o666, 0, 0, "can be changed by everybody here"),
        (0o664, 0, 7, "can be changed by the group lp"),
        (0o2664, 0, 7, "can be changed by the group lp"),
        (0o644, 7, 0, "belongs to lp"),
        (0o644, 987_654, 0, "belongs to uid 987654"),
    ],
)
def test_what_somebody_else_can_change_is_refused(
    what: str, mode: int, owner: int, group: int, why: str, say: Say, desk: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives files away, which only root can")
    whose, _, kind = what.rpartition(" ")
    folder = {"own": config_folder() / "clusters", "named": Path("named"), "": Path("cluster_configs")}[whose]
    path = put(folder=folder)
    if not whose:
        assert say("trust", "--yes")[0] == 0
    target = path if kind == "file" else folder
    os.chown(target, owner, group)
    target.chmod(mode | (0o111 if kind == "folder" else 0))
    if not whose:
        assert why in cluster_files(user_folders()).unused["alpha"].why
        assert why in say("trust", "--yes")[2]
        return
    name_folder(folder if whose == "named" else None)
    with pytest.raises(InputError, match=why):
        known_clusters(["alpha"])


def stat_of(uid: int, gid: int, mode: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 0, uid, gid, 0, 0, 0, 0))


def test_a_group_of_the_user_alone_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `git clone` with umask 002, where each user has a group of their own (useradd's USERGROUPS_ENAB)."""
    import grp
    import pwd

    def person(uid: int) -> pwd.struct_passwd:
        if uid not in (0, 1000):
            raise KeyError(uid)
        return pwd.struct_passwd((("alice" if uid else "root"), "x", uid, uid, "", "/", "/"))

    members: dict[int, tuple[str, list[str]]] = {1000: ("alice", []), 50: ("alice", []), 60: ("lab", ["alice"])}
    monkeypatch.setattr(pwd, "getpwuid", person)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((members[gid][0], "x", gid, members[gid][1])))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert changed_by_others(stat_of(1000, 1000, 0o100664)) == ""
    assert changed_by_others(stat_of(0, 1000, 0o100664)) == ""
    for gid in (50, 60):  # not her first group; a group of several
        assert "can be changed by the group" in changed_by_others(stat_of(1000, gid, 0o100664))
    members[1000] = ("alice", ["mallory"])
    assert changed_by_others(stat_of(1000, 1000, 0o100664)) == "can be changed by the group alice"


# --- what a file that is not the user's own may name on this machine


def foreign(key: str, path: Path) -> str:
    return f"name: alpha\nroot: /scratch/a\n{key.format(path)}\n"


@pytest.mark.parametrize("key", ["environment: {{SLURM_CONF: {}}}", "slurm_bin: {}"])
def test_what_a_trusted_file_runs_here_is_the_site_s(key: str, say: Say, desk: Path) -> None:
    """A slurm.conf, or a program, that is exchanged later is not part of the content that was trusted."""
    place = desk / "slurm"
    place.write_text("PluginDir=/tmp/x\n")
    text = foreign(key, place)
    put(text)
    place.parent.chmod(0o777)
    code, _, err = say("trust", "--yes")
    assert (code, "and what it names runs on this machine; if you want that, write it in your own" in err) == (2, True)
    name_folder(Path("cluster_configs"))
    with pytest.raises(InputError, match="what it names runs on this machine"):
        known_clusters(["alpha"])
    name_folder(None)
    with pytest.raises(InputError, match="what it names runs on this machine"):
        known_from("alpha", text)
    own(text)
    assert known_clusters(["alpha"])[0].origin == "own"
    put(text + "login: {host: h}\n", folder=Path("far"))
    assert say("trust", "far", "--yes")[0] == 0  # it is the login node's own


def test_a_list_that_would_be_too_long_to_read_is_not_written(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may have any number of files; once the list is not read any more, no command would work."""
    put(folder=Path("mine"))
    assert say("trust", "mine", "--yes")[0] == 0
    monkeypatch.setattr(trust_room, "LONGEST_LIST", 2048)
    for number in range(20):
        put(f"name: c{number}\nroot: /a\n", f"c{number}", Path("many"))
    code, _, err = say("trust", "many", "--yes")
    assert (code, "would be larger than 2 KiB: nothing has changed" in err) == (2, True)
    assert say("trust", "--list")[:2] == (0, f"{Path('mine').resolve()}/alpha.yaml\n")
    assert say("trust", "--revoke", "mine")[0] == 0


@pytest.mark.parametrize("key", ["environment: {{SLURM_CONF: {}}}", "slurm_bin: {}"])
@pytest.mark.parametrize("place", ["p/cluster_configs/bin", "p/tools/bin", "tools", "../link"])
def test_a_trusted_file_names_nothing_that_came_with_it(key: str, place: str, say: Say, desk: Path) -> None:
    """A login node may have the same folders: its programs would change with the next `git pull`, unnoticed."""
    (desk / "link").symlink_to(desk / "here" / "p" / "tools")
    if place == "tools":
        Path(".git").mkdir()
    text = foreign(key, Path(os.path.normpath(desk / "here" / place))) + "login: {host: localhost}\n"
    put(text, folder=Path("p/cluster_configs"))
    code, _, err = say("trust", "p/cluster_configs", "--yes")
    assert (code, "may change without a word, and what it names runs as you; if you" in err) == (2, True)


def test_a_place_of_the_site_s_is_root_s_all_the_way_up(desk: Path) -> None:
    assert not_of_the_site(Path("/etc/passwd")) == ""
    assert not_of_the_site(Path("/usr/bin/env")) == ""
    assert "cannot be looked at" in not_of_the_site(Path("/etc/absent/slurm.conf"))
    link = desk / "link"
    link.symlink_to("/etc/passwd")
    assert "is, or leads through, a link" in not_of_the_site(link)
    if os.geteuid() == 0:
        file = desk / "file"
        file.touch()
        os.chown(file, 7, 0)
        assert "belongs to lp" in not_of_the_site(file)


# --- what the tracker keeps


def test_a_text_that_was_revoked_is_not_taken_from_the_tracker(say: Say, desk: Path) -> None:
    put(TEXT + "login: {host: 127.0.0.1, port: 1}\n")
    assert say("trust", "--yes")[0] == 0
    (known,) = known_clusters(["alpha"])
    made = replace(plan(), cluster="alpha", root="/scratch/a")
    tracker = Tracker(data_folder() / "tracker.sqlite")
    tracker.plan(made, known.text)
    tracker.submit(made, "7")
    put(TEXT)
    assert say("trust", "--yes")[0] == 0  # what was trusted before is revoked with it
    Path("cluster_configs").rename("moved")
    assert known_from("alpha", known.text).origin == "kept"
    folder = Path("cluster_configs").resolve()
    code, out, _ = say("trust", "--revoke", folder, "--json")
    assert (code, json.loads(out)) == (0, {"folder": str(folder), "files": []})
    with pytest.raises(InputError, match="you have revoked the file that its jobs were submitted with"):
        known_from("alpha", known.text)
    code, out, err = say("status")
    assert (code, "alpha:7" in out) == (1, True)  # what is known is shown all the same
    assert "error: cluster 'alpha': you have revoked the file" in err
    own()
    assert known_from("alpha", known.text).origin == "own"
    assert "is not trusted" in say("trust", "--revoke", folder)[2]


def test_a_trusted_file_says_nothing_of_jobs_that_were_sent_elsewhere(say: Say, desk: Path) -> None:
    """Two projects have an `alpha`: in the one, jobs, waiting points and secrets of the other stay with their own."""
    texts = [f"name: alpha\nroot: /scratch/a\nlogin: {{host: {host}.example}}\n" for host in ("a", "b", "a2", "mine")]
    put(texts[0], folder=desk / "one")
    put(texts[1])
    for folder in (desk / "one", "cluster_configs"):
        assert say("trust", folder, "--yes")[0] == 0
    tracker = Tracker(data_folder() / "tracker.sqlite")
    made = replace(plan(), cluster="alpha", root="/scratch/a")
    tracker.plan(made, texts[0])

    def hosts() -> set[str]:
        found = known_from("alpha", texts[0]), known_named("alpha", made.plan_id, tracker)
        return {known.cluster.login.host for known in found if known.cluster.login}

    assert hosts() == {"a.example"}
    for other in ("beta", "nowhere"):  # a record can say so
        with pytest.raises(RecordError, match=f"^{other}: no cluster file of that name"):
            known_named(other, made.plan_id, tracker)
    put(texts[2], folder=desk / "one")
    assert say("trust", desk / "one", "--yes")[0] == 0
    assert known_from("alpha", texts[1]).origin == "trusted"
    (desk / "one").rename(desk / "here" / "moved")
    assert hosts() == {"a.example"}  # the folder's new name is not trusted
    Path("moved").rename(desk / "one")
    Path("cluster_configs").rename("other")
    Path("cluster_configs").symlink_to(desk / "one")
    assert hosts() == {"a2.example"}  # a later content of the same folder
    name_folder(Path("other"))
    assert hosts() == {"b.example"}  # named for this command
    own(texts[3])
    assert hosts() == {"mine.example"}


def test_a_trusted_local_yaml_says_nothing_of_runs_without_it(say: Say) -> None:
    put("name: local\nroot: /scratch/a\nlogin: {host: h.example}\n", "local")
    assert say("trust", "--yes")[0] == 0
    assert local_cluster().origin == "trusted"
    tracker = Tracker(data_folder() / "tracker.sqlite")
    made = replace(plan(), cluster="local", root="/scratch/b")
    tracker.plan(made, "name: local\nroot: /scratch/b\n")
    assert known_named("local", made.plan_id, tracker).origin == "built in"


@pytest.mark.parametrize(
    "text",
    [
        TEXT + "environment: {PATH: /tmp/x}\n",
        TEXT + "environment: {LD_PRELOAD: /tmp/x.so}\n",
        TEXT + "slurm_bin: /tmp\n",
        TEXT + "environment: {SLURM_CONF: /tmp/slurm.conf}\n",
        "name: beta\nroot: /scratch/a\n",
        "",
    ],
)
def test_a_text_of_the_tracker_may_say_no_more_than_a_file(text: str) -> None:
    with pytest.raises(InputError, match=r"as it was when it was submitted to"):
        known_from("alpha", text)


# --- what else the current folder could bring


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "XDG_DATA_HOME"])
@pytest.mark.parametrize("value", ["config", ".", "./x", "../here"])
def test_a_relative_xdg_folder_is_ignored(
    variable: str, value: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    place = config_folder() if variable == "XDG_CONFIG_HOME" else data_folder()
    assert place.is_relative_to(desk / "home")


HOSTILE = ("click", "yaml", "platformdirs", "pydantic", "json", "getpass", "sqlite3", "jinja2", "typing_extensions")


@pytest.mark.slow
def test_python_m_does_not_import_from_the_current_folder(desk: Path) -> None:
    for name in HOSTILE:
        Path(f"{name}.py").write_text(f"open({str(desk / 'PWNED')!r}, 'a').write({name!r})\n")
    put()
    for words in (["--help"], ["status"], ["check", "alpha"], ["trust", "--yes"]):
        done = subprocess.run([sys.executable, "-m", "tfslurm", *words], capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
    assert not (desk / "PWNED").exists()


def test_local_lets_the_current_folder_be_mounted_and_no_home(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = desk / "home"
    assert [str(path) for path in local_cluster().cluster.mounts_allow] == [str(desk / "here")]
    project = home / "project"
    hidden = [home / name for name in (".ssh", ".config/x", ".docker", ".gnupg", ".local/share", "project/.git")]
    for folder in (project, *hidden, data_folder(), config_folder()):
        folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project)
    assert [str(path) for path in local_cluster().cluster.mounts_allow] == [str(project)]
    for folder in (home, desk, Path("/"), *hidden, data_folder(), config_folder(), data_folder().parent):
        monkeypatch.chdir(folder)
        assert local_cluster().cluster.mounts_allow == (), folder
    (desk / "shortcut").symlink_to(home)
    monkeypatch.setenv("HOME", str(desk / "shortcut"))
    monkeypatch.chdir(home)
    assert local_cluster().cluster.mounts_allow == ()


def test_the_text_of_local_is_a_cluster_file_whatever_its_folder_is_called(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = desk / 'here"], names: {x: y}, z: ["'
    odd.mkdir()
    monkeypatch.chdir(odd)
    known = local_cluster()
    own(known.text, "local")
    assert local_cluster().cluster.mounts_allow == known.cluster.mounts_allow


@pytest.mark.parametrize(
    ("there", "engine"), [("docker podman", "docker"), ("docker", "docker"), ("podman", "podman"), ("", "docker")]
)
def test_without_a_file_local_runs_the_engine_that_is_there(
    desk: Path, monkeypatch: pytest.MonkeyPatch, there: str, engine: str
) -> None:
    programs = desk / "programs"
    programs.mkdir()
    for name in there.split():
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    known = local_cluster()
    assert known.cluster.engine == engine
    own(known.text, "local")
    assert local_cluster().cluster.engine == engine


def test_a_local_yaml_of_the_folder_is_not_taken_for_the_user_s(say: Say) -> None:
    put("name: local\nroot: /scratch/evil\nmounts: {allow: [/home]}\n", "local")
    told: list[str] = []
    assert local_cluster(told.append).origin == "built in"
    assert told == [
        "note: cluster_configs/local.yaml: not used: you have not trusted it; "
        "look at it, then `tfslurm trust cluster_configs`"
    ]


def test_nothing_of_the_list_is_in_the_way_where_there_is_no_such_folder() -> None:
    assert trust_room.read_trusted(trust_file()).folders == {}
    assert used() == {}
