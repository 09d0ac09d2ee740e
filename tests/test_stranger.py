"""What an exp.yaml from a stranger may take along: code and templates that came with it, and no more."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.made import plan
from tfslurm.errors import InputError, TfslurmError
from tfslurm.remote_programs import packaged
from tfslurm.render import render
from tfslurm.spec import Experiment
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.code_folder import code_folder, private_looking, snapshot
from tfslurm.submission.prepare import Asked, find_templates, read_experiment
from tfslurm.submission.render_apart import render_apart
from tfslurm.workspace.packaged_files import BUILT_IN_TEMPLATE
from tfslurm.workspace.project import own_folders

BASE = "name: a\nimage: a:1\ncommand: [true]\n".replace("[true]", '["true"]')


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with private files, and a stranger's project in it."""
    folder = tmp_path / "home" / "alice"
    for name in (".config", ".ssh", "own", "projects/stranger/src", "projects/other"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def folder_of(file: Path, code: str, sets: dict[str, str] | None = None) -> Path:
    return code_folder(parse_experiment(f"{BASE}code: {code!r}\n", str(file), sets or {}), file)


def links(home: Path) -> None:
    project = home / "projects" / "stranger"
    (project / "out").symlink_to(home / ".ssh")
    (project / "up").symlink_to("..")
    (project / "chain").symlink_to("up/../.config")


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "../../.config",
        "../..",
        "..",
        "../other",
        "out",
        "up",
        "chain",
        "src/../../other",
        "/",
        "/etc",
        "@/.ssh",
        "@",
        "@/own",
    ],
)
@pytest.mark.parametrize("git", ["none", "at home", "above home", "in home by a link", "beside"])
def test_a_folder_outside_is_refused_unless_the_command_line_names_it(home: Path, code: str, git: str) -> None:
    links(home)
    file, code = home / "projects" / "stranger" / "exp.yaml", code.replace("@", str(home))
    where = {"none": None, "at home": home, "above home": home.parent, "in home by a link": home, "beside": file.parent}
    if (top := where[git]) and "link" in git:
        (top / ".git").symlink_to("/")
    elif top:
        (top / ".git").mkdir()
    with pytest.raises(InputError, match=rf"exp.yaml:4: code: .*outside the folder of exp.yaml.*--set code={code}$"):
        folder_of(file, code)
    assert folder_of(file, ".", {"code": code}) == (file.parent / code).resolve()
    text = BASE + "code: {path: .}\n"
    assert code_folder(parse_experiment(text, str(file), {"code.path": code}), file) == (file.parent / code).resolve()


def test_a_folder_that_becomes_a_link_after_it_was_judged_is_not_sent(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, code = home / "projects" / "stranger" / "exp.yaml", home / "projects" / "stranger" / "src"
    file.write_text(BASE + "code: src\n")
    (home / ".ssh" / "id").write_text("secret")

    def judged(experiment: Experiment, file: Path) -> Path:
        folder = code_folder(experiment, file)
        folder.rmdir()
        folder.symlink_to(home / ".ssh")
        return folder

    monkeypatch.setattr("tfslurm.submission.code_folder.code_folder", judged)
    with pytest.raises(TfslurmError, match=f"{code}: became a link"):
        snapshot(read_experiment(file))


def test_how_code_is_mounted_says_nothing_of_the_folder(home: Path) -> None:
    file = home / "projects" / "stranger" / "exp.yaml"
    text = BASE + "code: {path: ../other}\n"
    (home / "projects" / "other").mkdir(exist_ok=True)
    with pytest.raises(InputError, match="outside the folder"):
        code_folder(parse_experiment(text, str(file), {"code.writable": "true"}), file)


@pytest.mark.parametrize("code", [".", "src", "./src/../src", "../stranger", "@/projects/stranger/src"])
def test_a_folder_beside_the_file_is_its_own(home: Path, code: str) -> None:
    file, code = home / "projects" / "stranger" / "exp.yaml", code.replace("@", str(home))
    assert folder_of(file, code).is_relative_to(file.parent)


@pytest.mark.parametrize("kind", ["folder", "worktree"])
def test_so_is_one_of_its_repository_as_it_lies_on_disk(home: Path, kind: str) -> None:
    top = home / "projects" / "stranger"
    (top / "exps" / "deep").mkdir(parents=True)
    file = top / "exps" / "deep" / "exp.yaml"
    with pytest.raises(InputError):
        folder_of(file, "../../src")
    if kind == "folder":
        (top / ".git").mkdir()
        (top / ".git" / "config").write_text(f"[core]\n\tworktree = {home}\n")
    else:
        (top / ".git").write_text(f"gitdir: {home}/.git\n")
    assert folder_of(file, "../../src") == top / "src"
    assert folder_of(file, "../..") == top
    for outside in ("../../../other", "../../../../.ssh", "../../../.."):
        with pytest.raises(InputError):
            folder_of(file, outside)


def test_a_repository_that_somebody_else_made_above_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "projects" / ".git").mkdir()
    folder = home / "projects" / "stranger"
    assert own_folders(folder) == [folder, home / "projects"]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert own_folders(folder) == [folder]


@pytest.mark.parametrize("code", [".ssh", ".config", ".", "own/../.ssh"])
def test_a_file_that_was_saved_at_home_does_not_own_what_is_hidden_there(home: Path, code: str) -> None:
    assert folder_of(home / "exp.yaml", "own") == home / "own"
    if code == ".":
        (home / "exp.yaml").write_text(f"{BASE}code: .\n")
        (home / "t.py").write_text("1")
        assert snapshot(read_experiment(home / "exp.yaml"))
        (home / ".ssh" / "id_rsa").write_text("1")
        with pytest.raises(InputError, match=r"exp.yaml:4: code: .* holds your home, .*: \.ssh; .*--set code=."):
            snapshot(read_experiment(home / "exp.yaml"))
        assert snapshot(read_experiment(home / "exp.yaml", ["code=."]))
        return
    with pytest.raises(InputError, match="outside the folder"):
        folder_of(home / "exp.yaml", code)
    assert folder_of(home / "exp.yaml", ".", {"code": code}) == (home / code).resolve()


@pytest.mark.parametrize("key", ["code.writable", "command", "name"])
def test_another_key_on_the_command_line_does_not_name_the_folder(home: Path, key: str) -> None:
    file = home / "projects" / "stranger" / "exp.yaml"
    text = f"{BASE}code: {{path: ../../.ssh}}\n"
    with pytest.raises(InputError, match="outside the folder"):
        code_folder(parse_experiment(text, str(file), {key: "true"}), file)


def test_files_that_look_private_are_found() -> None:
    private = [".env", "a/.env.local", ".netrc", "x/id_rsa", "id_ed25519_work", "server.pem", "tls.key", ".ssh/config"]
    private += ["kaggle.json", "credentials.json", ".aws/credentials", "secrets.yaml", ".git-credentials", "a.p12"]
    private += ["my-service-account.json", ".pypirc", ".bash_history", "SECRET.TXT", "hf_token", ".config/gh/hosts.yml"]
    harmless = ["train.py", "id_rsa.pub", "environment.yml", "keys.py", "tokenizer.py", "tokens.py", "env", "a.keras"]
    assert private_looking([*private, *harmless]) == private


# --- templates


def asked(folder: Path, name: str = "t.j2") -> Asked:
    (folder / "exp.yaml").write_text(f"{BASE}template: {name}\n")
    return read_experiment(folder / "exp.yaml")


def test_a_template_lies_beside_the_experiment_or_in_job_templates_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    for folder in (mine / "job_templates", elsewhere / "job_templates"):
        folder.mkdir(parents=True)
        (folder / "t.j2").write_text(folder.parent.name)
    monkeypatch.chdir(elsewhere)
    assert find_templates(asked(mine))[0]["t.j2"] == "mine"
    (mine / "job_templates" / "t.j2").unlink()
    with pytest.raises(InputError, match=r"exp.yaml:4: template: 't.j2' is not in .*mine"):
        find_templates(asked(mine))
    (mine / "real.j2").write_text("real")
    (mine / "t.j2").symlink_to("real.j2")
    assert find_templates(asked(mine))[0]["t.j2"] == "real"


def large(path: Path) -> None:
    path.write_text("x" * 2**20)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "is a link that leaves"),
        (
            lambda path: path.symlink_to("../" * (1 + (path.parent.name != "project")) + "key.txt"),
            "is a link that leaves",
        ),
        (lambda path: path.symlink_to("/proc/self/environ"), "is a link that leaves"),
        (lambda path: path.symlink_to("/dev/zero"), "is a link that leaves"),
        (lambda path: path.symlink_to("gone"), "cannot be read"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is a pipe"),
        (large, "is larger than 256 KiB"),
    ],
    ids=["absolute", "up", "proc", "device", "dangling", "folder", "pipe", "large"],
)
@pytest.mark.parametrize("inner", ["", "job_templates"])
def test_a_template_that_is_no_small_file_of_this_folder_is_refused(
    tmp_path: Path, make: Callable[[Path], None], why: str, inner: str
) -> None:
    project = tmp_path / "project"
    (project / inner).mkdir(parents=True)
    for place in (tmp_path, project):
        (place / "key.txt").write_text("private")
    make(project / inner / "t.j2")
    with pytest.raises(InputError, match=rf"exp.yaml:4: template: 't.j2' {why}"):
        find_templates(asked(project))


def test_a_folder_of_templates_that_is_a_link_does_not_leave_either(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "t.j2").write_text("private")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "job_templates").symlink_to("../private")
    with pytest.raises(InputError, match="is a link that leaves"):
        find_templates(asked(tmp_path / "project"))


@pytest.mark.parametrize("name", ["../t.j2", "/etc/passwd", "a/b", "..", "-x", "a\\nb"])
def test_a_templates_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="template"):
        asked(tmp_path, f'"{name}"')


def rendered(text: str) -> str:
    return render_apart(plan(), {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE), "t.j2": text}, "t.j2", {})


@pytest.mark.slow
def test_a_template_of_ones_own_gives_what_it_gave() -> None:
    text = '{% extends "job.sbatch.j2" %}{% block prologue %}echo {{ plan.name | sh }} {{ plan.run_dir }}{% endblock %}'
    texts = {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE), "t.j2": text}
    assert rendered(text) == render(plan(), texts, "t.j2", {})
    with pytest.raises(InputError, match=r"t.j2:2: template: .*no attribute 'nam'"):
        rendered("\n{{ plan.nam }}")


ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ 10**(10**10) }}",
    "{{ [0] * 10**10 }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ 'a' | center(10**10) }}",
    "{{ ('a' * 10**6) | replace('a', 'a' * 10**6) }}",
    "{{ range(99999) | batch(10**9, 'x') | list }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% extends 't.j2' %}",
    "{% import 't.j2' as x %}",
    "{% include 't.j2' %}",
    "{{ 'a' * 5000000 }}",
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ '{0.__class__}'.format(plan) }}x{{ self.__init__.__globals__ }}",
    "{% include '/etc/passwd' %}",
]


@pytest.mark.slow
@pytest.mark.parametrize("text", ENDLESS, ids=lambda text: text[:40])
def test_a_template_without_end_is_refused_in_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.submission.render_apart.CPU_S", 2)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"t.j2.*template"):
        rendered(text)
    assert time.monotonic() - began < 45


@pytest.mark.slow
def test_the_other_process_takes_nothing_from_the_environment_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "jinja2.py", "tfslurm.py", "sitecustomize.py"):
        (tmp_path / name).write_text("import os; os.system('touch ' + __file__ + '.ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert rendered("hello\n") == "hello\n"
    assert not list(tmp_path.glob("*.ran"))
    assert subprocess.run(["true"], check=True).returncode == 0
