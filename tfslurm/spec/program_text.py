"""Which words of a command are program text for a shell or an interpreter, where a value must not be put in. Pure.

tfslurm starts no shell, so a value is one word, whatever it holds. But ``[bash, -c, "python t.py {{ a }}"]`` starts
one itself, and there the value ``x; rm -rf /`` is two commands. So a placeholder is refused in text that a shell or an
interpreter will run, where the program is named, and where a value such as ``-ccode`` would be read as an option of
these. Known programs are found wherever they stand in the command (``timeout 5 sh -c …``); a doubt is decided for
refusal. What a program that is not known here does with its words is its own matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tfslurm.document import Refused
from tfslurm.spec.experiment import Placeholder
from tfslurm.spec.programs import (
    ALL_AFTER,
    ALONE,
    CODE_OPTION,
    COMMON,
    DASH_C,
    EVAL,
    EXEC,
    LAUNCHERS,
    PYTHON,
    READERS,
    RUN_OPTIONS,
    RUNNING,
    SHELL,
    SKIPPED,
    USER_FIRST,
    VERBS,
    WRAPPERS,
    Reader,
    is_code_variable,
)

Parts = Sequence[str | Placeholder]


MODULE = re.compile("-[^-mcWXQ]*m(.*)")  # an option of Python's, with the module or before it
MOST_READERS = 100  # of a command: all the words after each are read for it
LONGEST_NAME = 100  # of a program
_SHELL_FIX = (
    """give the value a word of its own: [bash, -c, 'python t.py "$1"', bash, "{{ a }}"]; or read TFSLURM_PARAMS"""
)
_EVAL_FIX = "give the value a word of its own, after `--`, and read the program's arguments; or read TFSLURM_PARAMS"
_OPTION_FIX = "write what it begins with, such as ./{{ file }}, or put `--` before it"


def refuse_program_text(words: Sequence[Parts], before: Sequence[str] = ()) -> list[Refused]:
    """A refusal, with the word's index, for each placeholder that would become part of a program.

    ``before`` are words that come first: an image's entrypoint.
    """
    found: dict[int, Refused] = {}
    whole = [*((word,) for word in before), *words]
    if sum(reader_of(named(word)) is not None for word in whole) > MOST_READERS:
        return [Refused(f"names more than {MOST_READERS} shells and interpreters", "write a script")]
    for index, why, fix in [*_program(whole), *_known(whole)]:
        if index >= len(before):
            found.setdefault(index, Refused(why, fix, (index - len(before),)))
    return [found[index] for index in sorted(found)]


def program_texts(words: Sequence[str]) -> list[str]:
    """The words of a command that a shell or an interpreter would run as program text."""
    whole = [(word,) for word in words]
    places = {
        _read(whole, index, reader, strict=True)[1]
        for index, reader in enumerate(map(reader_of, map(named, whole)))
        if reader
    }
    return [words[place] for place in sorted(places - {0})]


def literal(word: Parts) -> str | None:
    """The word's text; None where it has a placeholder."""
    return None if any(isinstance(part, Placeholder) for part in word) else "".join(map(str, word))


def head(word: Parts) -> str:
    """The text that the word certainly begins with."""
    return word[0] if word and isinstance(word[0], str) else ""


def named(word: Parts) -> str:
    """The program that a word may name: `bash` of `/usr/bin/bash-5.2` and `--shell=bash`; '' with a placeholder."""
    last = re.split("[/=:]", literal(word) or "")[-1].removesuffix(".exe")
    if len(last) > LONGEST_NAME:
        return ""
    return re.sub(r"(?<=...)[-.]?[0-9][0-9.]*[a-z]?$", "", re.sub("-(static|dbg|debug)$", "", last))


def reader_of(name: str) -> Reader | None:
    """How a program of this name reads its options; each `…python` (`vtkpython`) as python does. None: not known."""
    return READERS.get(name) or (PYTHON if name.endswith("python") else None)


Found = tuple[int, str, str]


def _program(words: Sequence[Parts], start: int = 0) -> Iterator[Found]:
    """The mistakes up to the program that the command runs in the end, and in the words of one that runs text."""
    index, wrapper = start, ""
    while index < len(words):
        word, text = words[index], literal(words[index])
        if text is None:
            if not _is_harmless(words, index, wrapper):
                yield index, "a value would choose what runs", "write the program's name, such as python"
                return
        elif named(word) in WRAPPERS:
            wrapper = named(word)
        elif wrapper == "env" and re.match(r"-[a-zA-Z]*S|--s", text):
            yield from _all(words, index, "`env -S` splits this into words", "leave -S out, and write each word")
            return
        elif wrapper and named(words[index - 1]) == wrapper and (text in VERBS or wrapper in USER_FIRST):
            pass
        elif wrapper and SKIPPED.match(text):
            index += bool(re.fullmatch(rf"-[a-zA-Z]*[{WRAPPERS[wrapper]}]", text)) if WRAPPERS[wrapper] else 0
            if index < len(words) and _sets_code(words[index]):
                yield index, "a value would become code", "write the variable out"
        else:
            break
        index += 1
    if index < len(words):
        yield from _runs_text(words, index)
        place, module = _module(words, index) if reader_of(named(words[index])) is PYTHON else (0, "")
        if module:
            yield from _of_module([*words[:place], (module,), *words[place + 1 :]], place)


def _is_harmless(words: Sequence[Parts], index: int, wrapper: str) -> bool:
    """Whether a value before the program is the word of a wrapper's option, or a variable that is no code."""
    begins, after = head(words[index]), words[index + 1 :]
    if _sets_code(words[index]):
        return False
    if wrapper in LAUNCHERS:
        return _is_taken(words, index)
    if re.match("--[a-z][a-z-]*=", begins):
        return wrapper not in ("", "strace", "ltrace") and not (wrapper == "env" and begins.startswith("--s"))
    if wrapper in ("timeout", "taskset") and not begins:  # what must be said of them first
        return bool(after) and head(after[0])[:1] not in ("", "-") and literal(after[0]) is not None
    return bool(wrapper) and "=" in begins and not begins.startswith("-")


def _sets_code(word: Parts) -> bool:
    """Whether a value would go into a variable that is code: `BASH_ENV={{ a }}`."""
    return literal(word) is None and any(map(is_code_variable, re.findall(r"\b(\w+)=", head(word))))


def _is_taken(words: Sequence[Parts], index: int) -> bool:
    """Whether a value belongs to a launcher's option, `--nproc {{ n }}`, `--nproc={{ n }}`, and a program follows."""
    before, begins = literal(words[index - 1]) or "", head(words[index])
    if RUNNING.match(begins if begins.startswith("-") else before):
        return False
    option = re.match("--[a-z].*=", begins) or re.fullmatch("--?([a-z][^=]+)", before)
    if not option or (not begins and option[1] in ALONE):
        return bool(re.match(r"[A-Za-z_]\w*=", begins)) and before.startswith("-")
    return any(literal(word) is not None for word in words[index + 1 :])


def _module(words: Sequence[Parts], start: int) -> tuple[int, str]:
    """Where the module behind `python -m` is named, `-m NAME` or `-mNAME`, and its name; '': there is none."""
    index = start + 1
    while index < len(words):
        text = literal(words[index]) or ""
        if option := MODULE.fullmatch(text):
            index += not option[1]
            return index, option[1] or (named(words[index]) if index < len(words) else "")
        if not text.startswith("-"):
            break
        index += 2 if re.fullmatch("-[^-mcWXQ]*[WXQ]", text) else 1
    return 0, ""


def _of_module(words: Sequence[Parts], place: int) -> Iterator[Found]:
    """The mistakes in the words of a module that runs another program, or text."""
    name = named(words[place])
    if name in LAUNCHERS or name in ALL_AFTER or name in DASH_C:
        yield from _program(words, place)
    elif reader := reader_of(name):
        yield from _read(words, place, reader, strict=True)[0]


def _runs_text(words: Sequence[Parts], index: int) -> Iterator[Found]:
    """Placeholders in what a program such as ssh, su or find gives to a shell, or runs."""
    name = named(words[index])
    if name in ALL_AFTER:
        yield from _all(words, index + 1, f"`{name}` runs its words as program text", _SHELL_FIX)
    if name not in DASH_C and name not in RUN_OPTIONS and name != "find":
        return
    for place in range(index + 1, len(words)):
        before = literal(words[place - 1]) or ""
        if name in DASH_C and re.fullmatch(r"-[a-zA-Z]*[ce]|--command|--session-command", before):
            yield from _all(words, place, f"`{name} {before}` runs this as program text", _SHELL_FIX)
        if name in DASH_C and head(words[place]).startswith(("--command=", "--session-command=", "-c")):
            yield from _all(words, place, f"`{name}` runs this as program text", _SHELL_FIX)
        if name == "find" and before in EXEC:
            yield from _program(words, place)
        option = head(words[place]) if head(words[place]).startswith("-") else before
        if literal(words[place]) is None and _runs_its_word(option, RUN_OPTIONS.get(name, ())):
            yield place, f"`{name} {option.partition('=')[0]}` runs this", "write it out"


def _runs_its_word(option: str, known: Sequence[str]) -> bool:
    if option.startswith("--"):
        return len(option) > 3 and any(each.startswith(option.partition("=")[0]) for each in known)
    return option.startswith("-") and any(each[1] in option[1:] for each in known if each[1] != "-")


def _all(words: Sequence[Parts], start: int, why: str, fix: str) -> Iterator[Found]:
    yield from ((index, why, fix) for index in range(start, len(words)) if literal(words[index]) is None)


def _known(words: Sequence[Parts]) -> Iterator[Found]:
    """Placeholders in what the shells and interpreters read that stand anywhere in the command."""
    text_before = -2  # the word after a shell's text is `$0`, which names no program
    for index, word in enumerate(words):
        reader = reader_of(named(word))
        if reader:
            strict = index != text_before + 1 and (
                named(word) in COMMON or not index or named(words[index - 1]) in WRAPPERS
            )
            found, code = _read(words, index, reader, strict=strict)
            yield from found
            text_before = code if code > index and reader is SHELL else text_before


def _read(words: Sequence[Parts], start: int, reader: Reader, *, strict: bool) -> tuple[list[Found], int]:
    """The mistakes in an interpreter's options, and the index of its code (0: none)."""
    name, fix = named(words[start]), _SHELL_FIX if reader is SHELL else _EVAL_FIX
    found: list[Found] = []
    wants, code, index, given = "", 0, start + 1, False
    while index < len(words):
        word, text = words[index], literal(words[index])
        if reader is PYTHON and (module := MODULE.fullmatch(text or "")) and module[1]:
            break
        if head(word).startswith(("-", "+")) and text not in ("-", "--", "--args"):
            if text is None and not _is_plain(head(word), reader):
                found.append((index, f"a value would become an option of {name}", _OPTION_FIX))
            wants = head(word) if _is_code(head(word), reader) else wants if reader is SHELL else ""
            if _takes(head(word), reader):
                index += 1
                found += [] if _is_data(head(word), reader) else _option_word(words, index, name)
        elif text in ("--", "--args"):
            given = True  # what follows is code or a script, and then data
        elif reader is EVAL and text == "eval" and not code:
            wants = text
        elif name in ("deno", "bun") and text == "run" and index == start + 1:
            pass
        elif wants or (reader.first and not code):
            code, wants, why = index, "", f"`{name} {wants}`".replace(" `", "`") + " runs this as program text"
            found += [(index, why, fix)] if text is None else []
            if reader.exact or given:
                break
        elif strict and text is None and not head(word) and not given:
            found.append((index, f"{name} would read a value such as -c as an option", _OPTION_FIX))
        elif reader.exact or given or not _may_be_taken(words, index):
            break
        index += 1
    return found, code


def _is_code(option: str, reader: Reader) -> bool:
    if CODE_OPTION.match(option.lower()):
        return True
    return not option.startswith("--") and bool(set(option[1:]) & set(reader.code))


def _is_data(option: str, reader: Reader) -> bool:
    """Whether any value may be the word of this option."""
    return option.partition("=")[0] in reader.long_data or (option[:2] != "--" and option[1:2] in tuple(reader.data))


def _is_plain(option: str, reader: Reader) -> bool:
    """Whether an option may have a value in it: it is known to be harmless, or is a long one that is not known."""
    if _is_data(option, reader):
        return True
    long = re.match("--.+=", option) and not _is_code(option, reader)
    return bool(long) and option.partition("=")[0] not in (*reader.long, "--require", "--import", "--loader", "--load")


def _takes(option: str, reader: Reader) -> bool:
    """Whether the next word belongs to this option."""
    if option.startswith("--"):
        return option in (*reader.long, *reader.long_data)
    if reader is SHELL:
        return bool(set(option[1:]) & set(reader.takes))
    return option[-1] in reader.takes + reader.data and (reader is PYTHON or len(option) == 2)


def _option_word(words: Sequence[Parts], index: int, name: str) -> list[Found]:
    if index < len(words) and literal(words[index]) is None and not head(words[index]):
        return [(index, f"a value would choose an option of {name}", _OPTION_FIX)]
    return []


def _may_be_taken(words: Sequence[Parts], index: int) -> bool:
    """Whether a word may belong to the option before it rather than be the script: it does not look like a file."""
    before, text = literal(words[index - 1]) or "", literal(words[index]) or ""
    return before.startswith("-") and "=" not in before and not re.search(r"/|\.\w+$", text)
