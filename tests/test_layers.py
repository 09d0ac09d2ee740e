"""The house's plan: imports point only up the list of rooms, and the rooms above the line touch nothing outside."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest

from tests.fakes.desk import Desk
from tests.fakes.laptop import Laptop
from tfslurm.host.local import LocalHost

PACKAGE = Path(__file__).parent.parent / "tfslurm"
ROOMS = (
    *(
        "errors",
        "document",
        "spec",
        "cluster",
        "sweeps",
        "image",
        "job_plan",
        "render",
        "slurm",
        "run_folder",
        "record",
    ),
    *("export", "local_files", "remote_programs", "registry", "host", "snapshot", "tracker", "workspace", "handoff"),
    *(
        "monitoring",
        "retrieval",
        "packages",
        "submission",
        "images",
        "services",
        "audit",
        "check",
        "reruns",
        "reap",
        "api",
        "cli",
    ),
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
SAYS_WHAT_TO_WRITE = (
    PACKAGE / "spec" / "program_text.py",
    PACKAGE / "export" / "docker_run.py",
    PACKAGE / "image" / "dockerfile.py",
)
"In exp.yaml, at a prompt, and in a Dockerfile."


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
    )


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def parsed(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a module."""
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in parsed(path):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write tfslurm.…"
            found.append((node.lineno, node.module or ""))
    return found


@cache
def strings(path: Path) -> list[tuple[int, str]]:
    """Line and text of each string that is not there for a reader."""
    for_a_reader = {id(node.value) for node in parsed(path) if isinstance(node, ast.Expr)}
    constants = [node for node in parsed(path) if isinstance(node, ast.Constant) and id(node) not in for_a_reader]
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def wrong_imports(path: Path) -> Iterator[str]:
    """What is amiss with the imports of a module; a line each."""
    room = room_of(path)
    if room not in ROOMS:
        yield f"{path} is in no room of the list; add it where it belongs"
        return
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        if top == "tfslurm" and rest:
            target = rest.split(".")[0]
            if target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
                yield f"{path}:{line}: {room} imports {target}, which comes after it"
        if room in PURE and top in IMPURE:
            yield f"{path}:{line}: {room} is pure and imports {top}"
        if top in OWNERS and room not in OWNERS[top]:
            yield f"{path}:{line}: {top} belongs to {', '.join(sorted(OWNERS[top]))}, not to {room}"


def test_imports_point_up_and_pure_rooms_stay_pure() -> None:
    assert len(modules()) > 300
    wrong = [line for path in modules() for line in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def too_large(path: Path) -> Iterator[str]:
    """What of a module is longer than it may be; a line each."""
    lines = path.read_text("utf-8").count("\n")
    if lines > 400:
        yield f"{path} has {lines} lines; split it by what it does"
    for node in parsed(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0
            if length > 40:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_modules_and_functions_stay_small() -> None:
    wrong = [line for path in modules() for line in too_large(path)]
    assert not wrong, "\n".join(wrong)


def test_no_string_is_a_shell_program() -> None:
    """They are files: job_templates/remote holds those of a login node, which shellcheck sees and tests run."""
    others = [path for path in modules() if path not in SAYS_WHAT_TO_WRITE]
    found = [f"{path}:{line}" for path in others for line, text in strings(path) if SHELL.search(text)]
    assert not found, f"put these into job_templates/remote: {', '.join(found)}"


def test_what_a_run_folder_holds_is_named_in_one_module() -> None:
    own = {text for _, text in strings(PATHS) if "/" in text or "-" in text or "." in text} - {"slurm-", ".out"}
    others = [path for path in modules() if path != PATHS]
    found = [f"{path}:{line}" for path in others for line, text in strings(path) if text in own]
    assert not found, f"take these names from run_folder/paths.py: {', '.join(found)}"


# ------------------------------------------------------------------------------------------------------------- circles

# Module -> what it imports within a function although that one imports it too, and why. No line may be added.
CIRCLES: dict[str, dict[str, str]] = {
    "tfslurm.cluster": {"tfslurm.cluster.parsing": "pydantic is loaded only where a cluster's file is read"},
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports anywhere, in its functions too; not those for types alone."""
    for_types = {
        inner
        for node in parsed(path)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in parsed(path):
        if node not in for_types and isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from (each for each in (name if name in known else node.module,) if each in known)


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    whole = {name: set(imported(path, set(paths))) for name, path in paths.items()}
    arrows = {name: others - CIRCLES.get(name, {}).keys() for name, others in whole.items()}
    reached = {name: set(others) for name, others in arrows.items()}
    for middle, beyond in reached.items():  # after each turn a way through it counts as an arrow
        for others in reached.values():
            if middle in others:
                others.update(beyond)
    circle = {name for name, others in reached.items() if name in others}
    shown = [f"{name} imports {other}" for name in sorted(circle) for other in sorted(arrows[name] & circle)]
    assert not shown, "in a circle:\n" + "\n".join(shown)
    stale = [name for name, others in CIRCLES.items() if not others.keys() <= whole.get(name, set())]
    assert not stale, f"no circle any more; take it out of CIRCLES: {stale}"


# ------------------------------------------------------------------------------------------------------------- switches

# These may only fall. What they are made of, and why not less: docs/adr/0088.
MOST_IN_A_HAND_OVER = 17
MOST_IN_A_SUBMISSION = 100


def switches(work: Callable[[], object], *, without: str = "") -> int:
    """How often two functions of the package that are called one after the other are in different modules."""
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        is_ours = event == "call" and file.startswith(f"{PACKAGE}/") and frame.f_code.co_name[0] != "<"
        if is_ours and not (without and file.startswith(f"{PACKAGE}/{without}/")):
            called.append(file)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return sum(one != other for one, other in pairwise(called))


def test_the_hand_over_of_a_job_switches_modules_no_more_often(tmp_path: Path) -> None:
    desk = Desk.made(tmp_path)
    host = LocalHost("alpha", programs=str(desk.slurm.bin))
    desk.submit(desk.plan(0), host)  # imports what it needs
    made = desk.plan(1)
    script = desk.script(made)
    assert switches(lambda: desk.submit(made, host, script)) <= MOST_IN_A_HAND_OVER


def test_a_whole_submission_switches_modules_no_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    laptop.type("submit", laptop.experiment(code="code"))  # imports what it needs, and sends the code
    laptop.type("submit", laptop.experiment(code="code"), "--again")  # from here on the lock file has been checked
    file = laptop.experiment(code="code", command=["python", "train.py", "--more"])
    found = switches(lambda: laptop.type("submit", file), without="document")
    assert laptop.slurm.ids() == ["101", "102", "103"]
    assert found <= MOST_IN_A_SUBMISSION
