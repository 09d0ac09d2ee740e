"""The house's plan: imports point only up the list of rooms, and the rooms above the line touch nothing outside."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfslurm"
ROOMS = (
    *("errors", "document", "spec", "cluster", "sweep", "image", "plan", "render", "slurm", "run_folder", "record"),
    *("export", "local_files", "remote_programs", "registry", "host", "snapshot", "tracker", "workspace", "handoff"),
    *("monitoring", "retrieval", "submission", "services", "check", "reap", "api", "cli"),
)
PURE = ROOMS[: ROOMS.index("local_files")]
IMPURE = {
    "subprocess",
    "socket",
    "paramiko",
    "docker",
    "os",
    "shutil",
    "time",
    "tempfile",
    "click",
    "requests",
    "sqlite3",
    "threading",
}
OWNERS = {
    "jinja2": {"render"},
    "simple_slurm": {"slurm"},
    "requests": {"registry"},
    "docker": {"registry"},
    "paramiko": {"host"},
    "click": {"cli"},
    "rich": {"cli"},
    "sqlite3": {"tracker"},
    "yaml": {"document"},
    "pydantic": {"document", "spec", "cluster"},
    "rfc8785": {"document"},
}
# What stands in shell programs and in no sentence.
SHELL = re.compile(
    r"""\$[{(]|"\$[@*0-9a-z]|[;\n]\s*(then|fi|done|esac)\b|[<>]&[0-9]|[<>] ?/dev/null"""
    r"""|\|\| [a-z:{]|&& [a-z[{]|\(\) *\{"""
)
PATHS = PACKAGE / "run_folder" / "paths.py"
SAYS_WHAT_TO_WRITE = PACKAGE / "spec" / "program_text.py"  # in exp.yaml


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
    )


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write tfslurm.…"
            found.append((node.lineno, node.module or ""))
    return found


def strings(path: Path) -> list[tuple[int, str]]:
    """Line and text of each string that is not there for a reader."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    for_a_reader = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in for_a_reader]
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_and_pure_rooms_stay_pure(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{path} is in no room of the list; add it where it belongs"
    wrong = []
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        if top == "tfslurm" and rest:
            target = rest.split(".")[0]
            if target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
                wrong.append(f"{path}:{line}: {room} imports {target}, which comes after it")
        if room in PURE and top in IMPURE:
            wrong.append(f"{path}:{line}: {room} is pure and imports {top}")
        if top in OWNERS and room not in OWNERS[top]:
            wrong.append(f"{path}:{line}: {top} belongs to {', '.join(sorted(OWNERS[top]))}, not to {room}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400, f"{path} has {text.count(chr(10))} lines; split it by what it does"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{path}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_string_is_a_shell_program(path: Path) -> None:
    """They are files: job_templates/remote holds those of a login node, which shellcheck sees and tests run."""
    found = [line for line, text in strings(path) if SHELL.search(text)]
    assert not found or path == SAYS_WHAT_TO_WRITE, f"{path}:{found[0]}: put it into job_templates/remote"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_run_folder_holds_is_named_in_one_module(path: Path) -> None:
    own = {text for _, text in strings(PATHS) if "/" in text or "-" in text or "." in text} - {"slurm-", ".out"}
    found = [line for line, text in strings(path) if text in own]
    assert not found or path == PATHS, f"{path}:{found[0]}: take the name from run_folder/paths.py"
