"""The parts of the node side among themselves: who calls whom, who speaks to an engine, who changes whose variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from tests.node_side import packed
from tfslurm.check import engines as checked
from tfslurm.cluster import Engine
from tfslurm.workspace.packaged_files import (
    ENGINE_PARTS,
    NODE_PARTS,
    POINT_PARTS,
    SHELL_SIDE,
    TASK_PARTS,
    probe,
    pull_script,
)

TEMPLATES = Path(__file__).parent.parent / "job_templates"
PARTS = TEMPLATES / "parts"
PACKAGE = TEMPLATES.parent / "tfslurm"


def test_every_part_is_sent_to_some_job() -> None:
    sent = {*NODE_PARTS, *POINT_PARTS, *TASK_PARTS, *(name for parts in ENGINE_PARTS.values() for name in parts)}
    assert sent == {str(path.relative_to(PARTS).with_suffix("")) for path in PARTS.rglob("*.sh")}


def test_the_batch_role_calls_nothing_that_it_does_not_read() -> None:
    """Bash finds a missing function only when it comes to it; in the batch role that is the end of somebody's job."""
    here = (packed(points=True) / "node.sh").read_text()
    code = re.sub(r"(^|\s)#.*", "", here, flags=re.M)
    defined = {*re.findall(r"^([a-z_]+::[a-z_]+)\(\)", here, re.M)}
    assert len(defined) > 40
    assert {*re.findall(r"[a-z_]+::[a-z_]+", code)} <= defined


@pytest.mark.parametrize("engine", ENGINE_PARTS)
def test_a_task_calls_nothing_that_it_does_not_read(engine: str) -> None:
    text = "".join((packed(engine, points=True) / name).read_text() for name in SHELL_SIDE)
    code = re.sub(r"(^|\s)#.*", "", text, flags=re.M)
    defined = re.findall(r"^([a-z_]+::[a-z_]+)\(\)", text, re.M)
    assert sorted(defined) == sorted(set(defined)), "each once"
    assert {*re.findall(r"[a-z_]+::[a-z_]+", code)} == {*defined, "sent::check"}, "job.sbatch has that one"


@pytest.mark.parametrize("engine", ENGINE_PARTS)
@pytest.mark.parametrize("name", ["check", "image_facts", "reap"])
def test_a_probe_of_a_node_calls_nothing_that_it_does_not_read(name: str, engine: str) -> None:
    """It is sent an engine's parts, of which it calls some; what those call must be there too."""
    code = re.sub(r"(^|\s)#.*", "", probe(name, engine), flags=re.M)
    body = {
        each[1]: each[0]
        for each in re.finditer(r"^([a-z_]+::[a-z_]+)\(\) .*?(?=^[a-z_]+::[a-z_]+\(\)|^main\(\))", code, re.M | re.S)
    }
    left, called = [code[code.index("\nmain() {") :]], set[str]()
    while left:
        new = {*re.findall(r"[a-z_]+::[a-z_]+", left.pop())} - called
        called |= new
        left += [body[each] for each in new]
    assert {"check": "engine::_ask", "image_facts": "engine::run_alone", "reap": "engine::_ask"}[name] in called


@pytest.mark.parametrize("engine", ENGINE_PARTS)
def test_a_pull_calls_nothing_that_it_does_not_read(engine: str) -> None:
    """It has no container: what ends one is not sent."""
    code = re.sub(r"(^|\s)#.*", "", pull_script(engine), flags=re.M)
    parts = re.split(r"^([a-z_]+::[a-z_]+)\(\) ", code, flags=re.M)
    body = dict(zip(parts[1::2], parts[2::2], strict=True))
    left, called = [body["pull::run"], body["pull::_left"], body["task::_told_to_stop"]], set[str]()
    while left:
        new = {*re.findall(r"[a-z_]+::[a-z_]+", left.pop())} - called
        called |= new
        left += [body[each] for each in new if each in body]
    assert called - {*body} == {"container::_stop"}
    assert {"image::ensure", "engine::pull"} <= called


def test_every_engine_has_the_same_functions() -> None:
    assert len({frozenset(functions(engine)) for engine in ENGINE_PARTS}) == 1


# How an engine is called, asked for by name, or told what to make; and what only an engine's own JSON has.
CALLED = re.compile(
    r'"\$\{?engine\}?" +[a-z-]|[!=]= *"?(docker|podman)\b|\bcase "?\$\{?engine\b|\$\{engine[:#%/]'
    r"|(^|[(;&|!]|\b(if|then|until|while|exec|do)) *(docker|podman|\$engine) |\bcreate\+?=\((?!\))"
    r"|--(init|label|env|mount|cap-drop|gpus|memory|cpus|pids-limit|ulimit|entrypoint|workdir|add-host|no-trunc) ",
    re.MULTILINE,
)
NAMED = re.compile(
    r"""[!=]= *["'](docker|podman)\b|\bin \(["'](docker|podman)\b|[(\[] *[a-z_.]*\bengine, *["'](ps|rm|info|start)\b"""
    r"""|["']label=tfslurm|HostConfig|RepoDigests|OCIRuntime|CgroupDriver|ociRuntime|OOMKilled|HttpsProxy|ServerVersion"""
)
APART = {
    "epilog.sh": "root runs it: an administrator copies it as it stands and reads it whole, so it is one short file",
    "registry": "the docker library is asked for the id of an image that no registry has",
    "build-image.sh": "it has a program build, which is another seam than to run a job: buildah is one too",
    "building": "the same on this machine",
    "trivy.py": "its image runs on this machine, where no job's guard has a part",
}


def test_nothing_on_the_node_but_an_engines_part_calls_one_or_asks_which_it_is() -> None:
    found = {}
    for path in sorted(TEMPLATES.rglob("*")):
        if path.suffix in (".sh", ".j2") and path.parent.name != "engines":
            code = re.sub(r"(^|\s)#.*", "", path.read_text(), flags=re.M)
            found[path.name] = [match[0] for match in CALLED.finditer(code)]
    for name in ("epilog.sh", "build-image.sh"):
        assert found.pop(name), f"take {name} out of APART"
    assert not {name: words for name, words in found.items() if words}


def test_what_a_trap_may_call_names_the_code_that_it_returns() -> None:
    """A bare `return` gives in a trap what ended before it: a warned program got its signal twice."""
    parts = [*sorted((TEMPLATES / "parts" / "engines").glob("*.sh")), TEMPLATES / "parts" / "lifecycle" / "warning.sh"]
    bare = [
        f"{path.name}:{number}"
        for path in parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<![\w:#])return *(;|$|#|\})", line.partition(" # ")[0])
    ]
    assert len(parts) == 4 and not bare, f"write `return 0`: {bare}"


def test_nothing_in_the_package_but_an_engines_adapter_calls_one_or_asks_which_it_is() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if not {path.name, path.parent.name} & {"engines", *APART}:
            found[str(path)] = [match[0] for match in NAMED.finditer(path.read_text("utf-8"))]
    assert not {name: words for name, words in found.items() if words}


def functions(engine: str) -> list[str]:
    """What the parts of an engine define for others."""
    text = "".join((PARTS / f"{name}.sh").read_text() for name in ENGINE_PARTS[engine])
    return re.findall(r"^(engine::[a-z][a-z_]*)\(\)", text, re.M)


def test_an_engine_of_the_cluster_file_is_known_wherever_one_is_asked() -> None:
    assert get_args(Engine) == tuple(ENGINE_PARTS) == tuple(checked.SAYS)


# --------------------------------------------------------------------------------------------------- variables

FUNCTION = r"^([a-z_]+(?:::[a-z_]+)?)\(\) (?:\{ ([^\n]*) \}$|([{(])\n(.*?)^[})]$)"
NAMES = r"(?:^|[\s;(!{&|])([A-Za-z_]\w*)(?:\[[^\]]*\])?\+?=(?!=)"
VALUE = r"\([^)]*\)|\"[^\"]*\"|'[^']*'|\$\([^)]*\)|[^\s;]*"
LOCAL = re.compile(rf"\blocal((?: +-[a-zA-Z]+)*)((?: +[A-Za-z_]\w*(?:=(?:{VALUE}))?)+)")
READ = re.compile(r"\bread((?: +-[a-zA-Z]+(?: +(?:\"[^\"]*\"|[\d.]+|''))?)*)((?: +[A-Za-z_]\w*)+)")


@dataclass(frozen=True)
class Function:
    """What a function declares, what it sets beside that, and which others it calls; one in a process of its own."""

    locals: frozenset[str]
    sets: frozenset[str]
    calls: frozenset[str]
    is_apart: bool


def read_functions() -> dict[str, Function]:
    found = {}
    for part in sorted(PARTS.rglob("*.sh")):
        code = re.sub(r"(^|\s)#.*", "", part.read_text(), flags=re.MULTILINE)
        for match in re.finditer(FUNCTION, code, re.MULTILINE | re.DOTALL):
            body = match[2] or match[4] or ""
            words = [f"{each[2]} " for each in LOCAL.finditer(body)]
            declared = {name for each in words for name in re.findall(r" ([A-Za-z_]\w*)(?==| |;|$)", each)}
            bare = re.sub(r"'[^']*'", "''", body)
            changed = {*re.findall(NAMES, bare, re.MULTILINE), *re.findall(r"\bexec \{(\w+)\}", bare)}
            changed |= {name for each in READ.finditer(bare) for name in each[2].split()}
            changed |= {*re.findall(r"printf -v (\w+)", bare), *re.findall(r"\(\(.*?(\w+)(?:\+\+|--|\+=)", bare)}
            calls = frozenset(re.findall(r"[a-z_]+::[a-z_]+", body))
            found[match[1]] = Function(frozenset(declared), frozenset(changed - declared), calls, match[3] == "(")
    return found


def test_no_function_changes_a_local_of_its_caller() -> None:
    """Bash would let it: what a function answers is in a variable of its own, which its comment names."""
    functions = read_functions()
    assert len(functions) > 200
    wrong = set()
    for name, function in functions.items():
        for variable in function.locals:
            left, seen = list(function.calls), {name}
            while left:
                called = left.pop()
                if called in seen or called not in functions:
                    continue
                seen.add(called)
                other = functions[called]
                if variable in other.locals or other.is_apart:
                    continue
                if variable in other.sets:
                    wrong.add(f"{called} changes {variable} of {name}")
                left += other.calls
    assert not wrong
