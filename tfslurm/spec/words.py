"""Command lines and ``{{ name }}`` placeholders: text -> words, words + parameters -> the exact argv.

A command line is split before any value is put in, so a value never becomes a second word. There is no shell: what
only a shell would understand is refused rather than passed on as an argument that the writer did not mean.
Source: POSIX.1-2017, Shell Command Language, 2.2 Quoting and 2.3 Token Recognition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from tfslurm.document import NotText, Path, Refused, nearest, show
from tfslurm.errors import InputError, Problem
from tfslurm.spec.experiment import Experiment, Placeholder, Word
from tfslurm.spec.program_text import refuse_program_text

MAX_WORDS = 10_000  # of a command
MAX_SIZE = 2**21  # what Linux takes of arguments and variables together, where nobody changed it
Parts = tuple[str | Placeholder, ...]
Parameter = str | int | float | bool

_PLACE = re.compile(r"\{\{\s*(?:([A-Za-z_]\w*(?:\.\w+)*)|'\{\{'|\"\{\{\")\s*\}\}", re.ASCII)
_HOLE = "\0"  # stands for a placeholder while a line is split; no document and no argv can hold it
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)"""
    r"""|(?P<plain>[^ \t\r\n'"\\]+)""",
    re.DOTALL,
)
_EXPANSION = re.compile(r"`|\$\(|\$\{[^}]*\}?|\$[A-Za-z_0-9]+|\$[?@*#!$-]")
_OPERATOR = re.compile(rf"\|\|?|&&?|>>?|<<?|;|{_EXPANSION.pattern}")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_LINES = 'for two programs write `command: [bash, -c, "A && B"]`; for one, fold the lines with `>-`'
_SHELL = 'to use one write `command: [bash, -c, "…"]`; to pass it on as it is, put it in single quotes'


def command(value: object) -> tuple[Parts, ...]:
    """The words of a command line or an exact argv, as the file has it.

    Raises:
        Refused: each word that is none, or would become part of a program.
    """
    if isinstance(value, str):
        return _fixed(split(value), lines=False)
    if not isinstance(value, list):
        raise Refused(f"{show(value)} is not a command", "write a line, or a list of words")
    if not value or value[0] == "":
        raise Refused("names no program", "write `command: [python, train.py]`")
    parts: list[Parts] = []
    refusals: list[Refused] = []
    for index, word in enumerate(value):
        try:
            parts.append(argument(word))
        except Refused as refused:
            refused.at = (index,)
            refusals.append(refused)
    if refusals:
        raise Refused.together(refusals)
    return _fixed(tuple(parts), lines=True)


def _fixed(parts: tuple[Parts, ...], *, lines: bool) -> tuple[Parts, ...]:
    """The words, if no value can become part of a program; ``lines``: each word stands on a place of its own."""
    if len(parts) > MAX_WORDS:
        raise Refused(f"has {len(parts)} words; {MAX_WORDS} is the most", "read them from a file")
    if refusals := refuse_program_text(parts):
        for refused in refusals:
            refused.at = refused.at if lines else ()
        raise Refused.together(refusals)
    return parts


def argument(word: object) -> Parts:
    """One argument or variable: literal text and placeholders.

    Raises:
        Refused: it is no text, or as ``template``.
    """
    if not isinstance(word, str):
        raise NotText(word)
    return template(word)


def template(text: str) -> Parts:
    """Literal text and placeholders in order; ``{{ "{{" }}`` stands for two braces.

    Raises:
        Refused: ``{{`` that begins no placeholder, or a NUL.
    """
    if _HOLE in text:
        raise Refused("holds a NUL character, which no argument or variable can carry", "remove it")
    parts: list[str | Placeholder] = []
    literal, position = "", 0
    while (start := text.find("{{", position)) >= 0:
        found = _PLACE.match(text, start)
        if not found:
            why = f"{show(text[start : start + 24])} is not a placeholder"
            raise Refused(why, 'write {{ name }} with letters, digits, _ and dots; for the braces write {{ "{{" }}')
        literal += text[position:start] + ("" if found[1] else "{{")
        if found[1]:
            parts += [literal, Placeholder(found[1])] if literal else [Placeholder(found[1])]
            literal = ""
        position = found.end()
    literal += text[position:]
    return (*parts, literal) if literal else tuple(parts)


def split(line: str) -> tuple[Parts, ...]:
    """The words of a command line, as a shell would split and unquote it.

    Raises:
        Refused: an open quote, or what needs a shell: operators, variables, substitutions, assignments, comments.
    """
    parts = template(line)
    text = "".join(_HOLE if isinstance(part, Placeholder) else part for part in parts)
    holes = iter([part for part in parts if isinstance(part, Placeholder)])
    words = list(_words(text))
    if not words or not words[0]:
        raise Refused("names no program", "write `command: python train.py`")
    if refusals := list(_shell_only(text)):
        raise Refused.together(refusals)
    return tuple(_refilled(word, holes) for word in words)


def _words(text: str) -> Iterator[str]:
    word: str | None = None
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if not token:
            open_quote = text[position] in "'\""
            what = f"the quote {text[position]} is opened and never closed" if open_quote else "ends in a backslash"
            raise Refused(what, "close the quote" if open_quote else "remove it")
        position = token.end()
        kind, value = str(token.lastgroup), token[str(token.lastgroup)]
        if kind == "blank":
            if word is not None:
                yield word
            word = None
        elif (kind, value) != ("escaped", "\n"):  # a line that goes on begins no word
            word = (word or "") + _unquoted(kind, value)
    if word is not None:
        yield word


def _unquoted(kind: str, value: str) -> str:
    if kind == "escaped" and value == _HOLE:
        raise Refused("a backslash stands before {{", 'for the braces themselves write {{ "{{" }}')
    if kind == "double":
        # In double quotes a backslash is an escape only before these; before a line's end both vanish.
        return re.sub(r'\\(["\\$`\n])', lambda escape: escape[1].strip("\n"), value)
    return value


def _shell_only(text: str) -> Iterator[Refused]:
    """The parts of a line that a shell would act on, and that the program gets as they are."""
    found: dict[str, None] = {}
    before = ""
    for token in _TOKEN.finditer(text):
        kind, value = str(token.lastgroup), token[str(token.lastgroup)]
        if kind == "blank" and "\n" in value and before and token.end() < len(text):
            yield Refused("a line break ends a command in a shell, and no shell reads this", _LINES)
        if kind == "plain":
            yield from _shell_beginning(value, before)
            found.update(dict.fromkeys(_OPERATOR.findall(value)))
        elif kind == "double":
            found.update(dict.fromkeys(_EXPANSION.findall(re.sub(r"\\.", "", value, flags=re.DOTALL))))
        if (kind, value) == ("escaped", "\n"):
            continue  # both vanish: what comes next stands where this did
        before = "leading blank" if kind == "blank" and before in ("", "leading blank") else kind
    if found:
        yield Refused(f"{' and '.join(found)} would need a shell, and no shell reads this", _SHELL)


def _shell_beginning(text: str, before: str) -> Iterator[Refused]:
    """An assignment where the line begins, and a comment where a word does."""
    if before in ("", "leading blank") and (name := _ASSIGNMENT.match(text)):
        yield Refused(f"{name[0]}… sets a variable only in a shell", f'write `env: {{{name[0][:-1]}: "…"}}`')
    if before in ("", "leading blank", "blank") and text.startswith("#"):
        yield Refused(f"{show(text)} begins a comment in a shell, and no shell reads this", "put it in quotes")


def _refilled(word: str, holes: Iterator[Placeholder]) -> Parts:
    """The word with its holes turned back into placeholders, which come in the order of the line."""
    literals = word.split(_HOLE)
    parts: list[str | Placeholder] = [literals[0]]
    for literal in literals[1:]:
        parts += [next(holes), literal]
    return tuple(part for part in parts if part != "")


def fill(experiment: Experiment, parameters: Mapping[str, Parameter]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The exact argv and environment with the parameters put in: a value never becomes a second word.

    Text goes in as it is; numbers, true and false as JSON writes them.

    Raises:
        InputError: names without a value, each with its line and the nearest name; values that no argument can carry,
            or that are too long together.
    """
    texts = {name: _text(name, value) for name, value in parameters.items()}
    problems = list(_undefined(experiment, texts))
    if problems:
        raise InputError(problems)
    parts = [part for word in (*experiment.command, *experiment.env.values()) for part in word.parts]
    size = sum(len(texts[part.name]) if isinstance(part, Placeholder) else len(part) for part in parts)
    if size > MAX_SIZE:
        why = f"has {size} characters with the values put in, its variables among them; {MAX_SIZE} is the most"
        raise InputError([experiment.problem(("command",), why, "pass long values in a file")])
    argv = tuple(_filled(word, texts) for word in experiment.command)
    return argv, {name: _filled(word, texts) for name, word in experiment.env.items()}


def fill_one(experiment: Experiment, parameters: Mapping[str, Parameter]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The same for a job that is no point of a sweep: its parameters are in its environment as a point's are.

    Raises:
        InputError: as ``fill``.
    """
    argv, env = fill(experiment, parameters)
    return argv, {**env, **({"TFSLURM_PARAMS": as_json(parameters)} if parameters else {})}


def as_json(parameters: Mapping[str, Parameter]) -> str:
    """Parameters as a program finds them in TFSLURM_PARAMS: in the order of their names."""
    ordered = {name: parameters[name] for name in sorted(parameters)}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def _undefined(experiment: Experiment, texts: Mapping[str, str]) -> Iterator[Problem]:
    placed: list[tuple[Path, Word]] = [(("env", name), word) for name, word in experiment.env.items()]
    for index, word in enumerate(experiment.command):
        here: Path = ("command", index)
        placed.append((here if here in experiment.lines else ("command",), word))
    seen: set[tuple[Path, str]] = set()
    for path, word in placed:
        for part in word.parts:
            if isinstance(part, Placeholder) and part.name not in texts and (path, part.name) not in seen:
                seen.add((path, part.name))
                yield experiment.problem(path, f"{{{{ {part.name} }}}} has no value", _known(part.name, texts))


def _known(name: str, names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f"{nearest(name, names)}the parameters are: {known}" if known else f"give it one: --set {name}=VALUE"


def _filled(word: Word, texts: Mapping[str, str]) -> str:
    return "".join(texts[part.name] if isinstance(part, Placeholder) else part for part in word.parts)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str) and "\0" not in value:
        return value
    why = f"{show(value)} cannot be put into a command"
    raise InputError([Problem(f"parameter {name}", 0, "", why, "use text, a number, true or false")])
