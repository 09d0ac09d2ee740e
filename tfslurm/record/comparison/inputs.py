"""Are the inputs of two runs the same: code, parameters, command, variables, data? Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from tfslurm.record.asked import is_decisive
from tfslurm.record.comparison.answers import Answer, some
from tfslurm.record.comparison.seeds import text_of
from tfslurm.record.model import Input, Record

OF_PARAMETERS = "TFSLURM_PARAMS"
MOST_CHANGES = 100
"Parameters whose values are looked for in a command: a stranger's record may have any number."
MOST_WORDS = 64
"That a word may become with values in place of each other."


def inputs(a: Record, b: Record, changed: Sequence[str] | None = None) -> Answer:
    """The answer; ``changed`` are the files of the code that differ, None where the files are not known."""
    differs: list[str] = []
    lines: list[str] = []
    if line := code_line(a, b, changed):
        differs.append("code")
        lines.append(line)
    if changes := parameter_changes(a, b):
        differs.append("parameters")
        lines += [f"parameter {name}: {one} / {other}" for name, one, other in changes]
    if not is_one_command(a, b):
        differs.append("command")
        lines.append(f"command: {shlex.join(a.experiment.command)} / {shlex.join(b.experiment.command)}")
    if names := other_variables(a, b):
        differs.append("variables")
        lines.append(f"variables: {some(names)}")
    data = list(data_of(a, b))
    if any(kind == "differs" for kind, _, _ in data):
        differs.append("data")
    lines += [f"data at {target}: {why}" for kind, target, why in data if kind == "differs"]
    unknown = tuple((f"data at {target}", why) for kind, target, why in data if kind == "unknown")
    lines += [f"{name} is not known: {why}" for name, why in unknown]
    lines += same_lines(a, b, differs, [target for kind, target, _ in data if kind == "same"])
    return Answer("other" if differs else "unknown" if unknown else "identical", tuple(differs), unknown, tuple(lines))


def same_lines(a: Record, b: Record, differs: Sequence[str], data: Sequence[str]) -> Iterator[str]:
    """What is the same, on one line."""
    same = [] if "code" in differs else [f"code {a.code.tree[:12]}…" if a.code else "no code"]
    same += [] if "command" in differs else ["command"]
    count = len(a.experiment.parameters)
    same += [f"{count} parameter{'' if count == 1 else 's'}"] if count and "parameters" not in differs else []
    same += [f"data at {some(data)}"] if data else []
    same += ["no data is mounted"] if not a.experiment.mounts and not b.experiment.mounts else []
    if same:
        yield "the same: " + ", ".join(same)


def code_line(a: Record, b: Record, changed: Sequence[str] | None) -> str:
    """How the code differs; '' where it does not. A tree's id names all that is in it."""
    one, other = (record.code.tree if record.code else "none" for record in (a, b))
    if one == other:
        return ""
    return f"code: {one} / {other}" + (f": {some(changed)}" if changed else "")


def parameter_changes(a: Record, b: Record) -> list[tuple[str, str, str]]:
    """Name, value in A, value in B of each parameter that is not the same; 'none' where it is not there."""
    one, other = a.experiment.parameters, b.experiment.parameters
    texts = [(name, shown(one, name), shown(other, name)) for name in dict.fromkeys([*one, *other])]
    return [each for each in texts if each[1] != each[2]]


def shown(parameters: Mapping[str, object], name: str) -> str:
    """The value of a parameter."""
    return text_of(parameters[name]) if name in parameters else "none"


def is_one_command(a: Record, b: Record) -> bool:
    """Whether the commands differ by nothing but the values of parameters."""
    one, other = a.experiment.command, b.experiment.command
    changes = parameter_changes(a, b)
    return len(one) == len(other) and all(
        follows(word, with_value, changes) for word, with_value in zip(one, other, strict=True)
    )


def follows(one: str, other: str, changes: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a word of A becomes B's when the values that differ are put in place of each other."""
    if one == other:
        return True
    if len(changes) > MOST_CHANGES:
        return False
    made = {one}
    for _, old, new in changes:
        made |= {word.replace(old, new) for word in made if old}
        if len(made) > MOST_WORDS:
            return False
    return other in made


def other_variables(a: Record, b: Record) -> list[str]:
    """The experiment's own variables that differ by more than parameters, without those that the environment has."""
    one, other = a.experiment.env, b.experiment.env
    changes = parameter_changes(a, b)
    names = sorted(one.keys() | other.keys())
    own = [name for name in names if name != OF_PARAMETERS and not is_decisive(name)]
    return [
        name for name in own
        if name not in one or name not in other or not follows(one[name], other[name], changes)
    ]  # fmt: skip


def data_of(a: Record, b: Record) -> Iterator[tuple[str, str, str]]:
    """'same', 'differs' or 'unknown', where it is mounted, and why, of everything that is mounted."""
    one, other = mounted(a), mounted(b)
    for target in dict.fromkeys([*one, *other]):
        if target not in one or target not in other:
            yield "differs", target, f"only {'A' if target in one else 'B'} mounts it"
            continue
        (left, why_a), (right, why_b) = one[target], other[target]
        if left is None or right is None:
            yield "unknown", target, why_a or why_b
        elif left == right:
            yield "same", target, ""
        else:
            yield "differs", target, f"sha256 {left} / {right}"


def mounted(record: Record) -> dict[str, tuple[str | None, str]]:
    """Where it is mounted -> the hash of what was there, and why none is known."""
    hashed = iter(record.inputs or ())
    found: dict[str, tuple[str | None, str]] = {}
    for mount in record.experiment.mounts:
        target, source = str(mount.get("target")), mount.get("source")
        if not mount.get("read_only"):
            found[target] = (None, "the program could write there")
        elif record.inputs is None:
            found[target] = (None, "a record of this age does not say what was mounted")
        else:
            found[target] = of_input(next(hashed, None), source)
    return found


def of_input(given: Input | None, source: object) -> tuple[str | None, str]:
    """The hash of an input, and why there is none; inputs stand in the order of the read-only mounts."""
    if given is None or given.path != source:
        return None, "the record's inputs are not its mounts"
    digest = given.sha256 or given.tree_sha256
    return digest, "" if digest else given.why or "it was not hashed"
