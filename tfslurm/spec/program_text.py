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
from dataclasses import dataclass

from tfslurm.document import Refused
from tfslurm.spec.experiment import Placeholder

Parts = Sequence[str | Placeholder]


@dataclass(frozen=True, slots=True)
class Reader:
    """How an interpreter reads its options: letters of those whose word is code, and of those that take another word.

    ``exact``: every other option stands alone, and after code all words are data. ``first``: without a code option the
    first word is code.
    """

    code: str
    takes: str = ""
    long: tuple[str, ...] = ()
    exact: bool = False
    first: bool = False


def _names(text: str) -> list[str]:
    return text.split()


_SHELL = Reader("c", "oO", ("--rcfile", "--init-file"), exact=True)
_PYTHON = Reader("c", "WXQ", ("--check-hash-based-pycs",), exact=True)
_EVAL = Reader("eEpP", "rILJlHtdcC", ("--require", "--import", "--loader", "--load"))
_AWK = Reader("eE", "vFfil", ("--assign", "--field-separator", "--file", "--include"), first=True)
_SED = Reader("e", "fl", ("--file", "--line-length"), first=True)
_CLIENT = Reader("ceEx")
_SHELLS = "sh bash rbash dash ash ksh mksh lksh zsh yash posh fish csh tcsh elvish nu xonsh pwsh powershell osh ysh"
_EVALS = (
    "perl ruby jruby irb node nodejs tsx deno bun lua luajit R Rscript littler julia octave matlab groovy scala ghc"
)
_CLIENTS = "expect tclsh wish clojure racket guile elixir erl swift osascript emacs vim vi ex gdb lldb mysql psql"
READERS = {
    **dict.fromkeys(_names(_SHELLS), _SHELL),
    **dict.fromkeys(_names("python pythonw pypy ipython bpython ptpython micropython graalpy jython sage"), _PYTHON),
    **dict.fromkeys(_names(_EVALS), _EVAL),
    **dict.fromkeys(_names(_CLIENTS), _CLIENT),
    "php": Reader("rBRE", "cdfgzt"),
    **dict.fromkeys(_names("awk gawk mawk nawk original-awk"), _AWK),
    **dict.fromkeys(_names("sed gsed"), _SED),
}
_COMMON = frozenset(_names("sh bash dash ash ksh zsh python pypy"))  # no other meaning of these is likely in a command
_CODE_OPTION = re.compile(r"--?(command|eval|execute|print|source|expression|run|batch|init-command|encodedcommand|ex)")

# Launchers of the field: they have many long options of their own, whose word may well be a value.
LAUNCHERS = {
    "srun": "nNcptwxJoeAGqD",
    **dict.fromkeys(_names("mpirun mpiexec orterun prterun horovodrun"), "npNcxHf"),
    **dict.fromkeys(_names("conda mamba micromamba"), "np"),
    **dict.fromkeys(_names("torchrun deepspeed accelerate uv poetry pipenv pixi pdm nsys ncu perf valgrind"), ""),
}
# Programs that run another one, with the letters of their options that take a word; the other one's name comes after.
WRAPPERS = {
    "env": "uC",
    "timeout": "sk",
    "nice": "n",
    "ionice": "cnpPu",
    "chrt": "TPD",
    "stdbuf": "ioe",
    "taskset": "",
    "numactl": "NmCipPl",
    "setarch": "",
    "time": "fo",
    "exec": "a",
    "sudo": "ughpCrtTDR",
    "doas": "uC",
    "xargs": "aEILnPsd",
    "strace": "aeEIoOpPsSuUX",
    "ltrace": "adeFlnopsux",
    **LAUNCHERS,
    "busybox": "",
    **dict.fromkeys(
        _names("nohup setsid command builtin toybox tini dumb-init catchsegv unbuffer chronic unshare"), ""
    ),
    **dict.fromkeys(_names("gosu su-exec setpriv chroot nsenter setuidgid chpst runcon capsh firejail bwrap"), ""),
}
_ALL_AFTER = frozenset(_names("eval ssh rsh dsh pdsh clush watch parallel make gmake ninja tmux screen entr at batch"))
_DASH_C = frozenset(_names("su runuser script flock sg newgrp xterm rxvt"))  # text after -c or -e, wherever that stands
_EXEC = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
_VERBS = frozenset(_names("run exec launch profile record stat"))  # of `conda run`, `nsys profile`
_USER_FIRST = frozenset(_names("gosu su-exec setuidgid chroot"))
_SKIPPED = re.compile(r"[A-Za-z_]\w*=|[0-9][0-9.,:x-]*[smhd]?$|--?|\+")

# Variables whose value is code, or says what code is loaded before the program's own.
VARIABLES = frozenset(
    (
        *("BASH_ENV", "ENV", "ZDOTDIR", "PS0", "PS1", "PS2", "PS4", "PROMPT_COMMAND", "SHELL", "SHELLOPTS", "BASHOPTS"),
        *(
            "PATH",
            "IFS",
            "CDPATH",
            "FPATH",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "BROWSER",
            "LESSOPEN",
            "LESSCLOSE",
            "MAKEFLAGS",
        ),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONUSERBASE", "PYTHONBREAKPOINT"),
        *("PYTHONWARNINGS", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"),
        *("PERL5OPT", "PERL5LIB", "PERL5DB", "PERLLIB", "RUBYOPT", "RUBYLIB", "NODE_OPTIONS", "NODE_PATH"),
        *("JULIA_LOAD_PATH", "JULIA_DEPOT_PATH", "LUA_INIT", "LUA_PATH", "LUA_CPATH", "R_PROFILE", "R_PROFILE_USER"),
        *("R_ENVIRON", "R_ENVIRON_USER", "R_LIBS", "R_LIBS_USER", "R_HOME", "PHPRC", "PHP_INI_SCAN_DIR", "AWKPATH"),
        *("AWKLIBPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "GCONV_PATH"),
        *("GIT_SSH_COMMAND", "GIT_SSH", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_EDITOR", "GIT_ASKPASS", "GIT_EXEC_PATH"),
        *("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", "PJRT_PLUGIN_LIBRARY_PATH", "LOCPATH", "NLSPATH", "SSH_ASKPASS"),
    )
)
_VARIABLE_HEADS = ("LD_", "BASH_FUNC_", "GLIBC_TUNABLES", "GIT_CONFIG", "OMPI_MCA_", "DYLD_")

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
    for index, why, fix in [*_program(whole), *_known(whole)]:
        if index >= len(before):
            found.setdefault(index, Refused(why, fix, (index - len(before),)))
    return [found[index] for index in sorted(found)]


def program_texts(words: Sequence[str]) -> list[str]:
    """The words of a command that a shell or an interpreter would run as program text."""
    whole = [(word,) for word in words]
    places = {
        _read(whole, index, READERS[name], strict=True)[1]
        for index, name in enumerate(map(named, whole))
        if name in READERS
    }
    return [words[place] for place in sorted(places - {0})]


def interpreters(words: Sequence[Parts]) -> int:
    """How many words may name a shell or an interpreter."""
    return sum(named(word) in READERS for word in words)


def is_code_variable(name: str) -> bool:
    """Whether a variable's value is run, or says what is loaded."""
    return name in VARIABLES or name.startswith(_VARIABLE_HEADS)


def literal(word: Parts) -> str | None:
    """The word's text; None where it has a placeholder."""
    return None if any(isinstance(part, Placeholder) for part in word) else "".join(map(str, word))


def head(word: Parts) -> str:
    """What the word certainly begins with."""
    return word[0] if word and isinstance(word[0], str) else ""


def named(word: Parts) -> str:
    """The program that a word may name: `bash` of `/usr/bin/bash-5.2` and `--shell=bash`; '' with a placeholder."""
    last = re.split("[/=:]", literal(word) or "")[-1].removesuffix(".exe")
    return re.sub(r"(?<=...)[-.]?[0-9][0-9.]*[a-z]?$", "", re.sub("-(static|dbg|debug)$", "", last))


Found = tuple[int, str, str]


def _program(words: Sequence[Parts]) -> Iterator[Found]:
    """What is wrong up to the program that the command runs in the end, and with the words of one that runs text."""
    index, wrapper = 0, ""
    while index < len(words):
        word, text = words[index], literal(words[index])
        if text is None:
            variable = head(word).partition("=")
            if wrapper in LAUNCHERS and _is_taken(words, index):
                index += 1
                continue
            if not (wrapper and variable[1] and not is_code_variable(variable[0]) and not head(word).startswith("-")):
                yield index, "a value would choose what runs", "write the program's name, such as python"
                return
        elif named(word) in WRAPPERS:
            wrapper = named(word)
        elif wrapper == "env" and re.match(r"-[a-zA-Z]*S|--split-string", text):
            yield from _all(words, index, "`env -S` splits this into words", "leave -S out, and write each word")
            return
        elif wrapper and named(words[index - 1]) == wrapper and (text in _VERBS or wrapper in _USER_FIRST):
            pass
        elif wrapper and _SKIPPED.match(text):
            index += bool(re.fullmatch(rf"-[a-zA-Z]*[{WRAPPERS[wrapper]}]", text)) if WRAPPERS[wrapper] else 0
        else:
            break
        index += 1
    if index < len(words):
        yield from _runs_text(words, index)


def _is_taken(words: Sequence[Parts], index: int) -> bool:
    """Whether a value belongs to a launcher's option, `--nproc {{ n }}`, `--nproc={{ n }}`, and a program follows."""
    before = literal(words[index - 1]) or ""
    option = re.match("--[a-z].*=", head(words[index])) or re.fullmatch("--?[a-z][^=]+", before)
    return bool(option) and any(literal(word) is not None for word in words[index + 1 :])


def _runs_text(words: Sequence[Parts], index: int) -> Iterator[Found]:
    """Placeholders in what a program such as ssh, su or find gives to a shell, or runs."""
    name = named(words[index])
    if name in _ALL_AFTER:
        yield from _all(words, index + 1, f"`{name}` runs its words as program text", _SHELL_FIX)
    for place in range(index + 1, len(words)):
        before = literal(words[place - 1]) or ""
        if name in _DASH_C and re.fullmatch(r"-[a-zA-Z]*[ce]|--command|--session-command", before):
            yield from _all(words, place, f"`{name} {before}` runs this as program text", _SHELL_FIX)
        if name in _DASH_C and head(words[place]).startswith(("--command=", "--session-command=", "-c")):
            yield from _all(words, place, f"`{name}` runs this as program text", _SHELL_FIX)
        if name == "find" and before in _EXEC and literal(words[place]) is None:
            yield place, "a value would choose what runs", "write the program's name"


def _all(words: Sequence[Parts], start: int, why: str, fix: str) -> Iterator[Found]:
    yield from ((index, why, fix) for index in range(start, len(words)) if literal(words[index]) is None)


def _known(words: Sequence[Parts]) -> Iterator[Found]:
    """Placeholders in what the shells and interpreters read that stand anywhere in the command."""
    text_before = -2  # the word after a shell's text is `$0`, which names no program
    for index, word in enumerate(words):
        reader = READERS.get(named(word))
        if reader:
            strict = index != text_before + 1 and (
                named(word) in _COMMON or not index or named(words[index - 1]) in WRAPPERS
            )
            found, code = _read(words, index, reader, strict=strict)
            yield from found
            text_before = code if code > index and reader is _SHELL else text_before


def _read(words: Sequence[Parts], start: int, reader: Reader, *, strict: bool) -> tuple[list[Found], int]:
    """What is wrong in an interpreter's options, and the index of its code (0: none)."""
    name, fix = named(words[start]), _SHELL_FIX if reader is _SHELL else _EVAL_FIX
    found: list[Found] = []
    wants, code, index, given = "", 0, start + 1, False
    while index < len(words):
        word, text = words[index], literal(words[index])
        if head(word).startswith(("-", "+")) and text not in ("-", "--", "--args"):
            if text is None and (_is_code(head(word), reader) or not re.match("--.+=", head(word))):
                found.append((index, f"a value would become an option of {name}", _OPTION_FIX))
            wants = head(word) if _is_code(head(word), reader) else wants if reader is _SHELL else ""
            if _takes(head(word), reader):
                index += 1
                found += _option_word(words, index, name)
        elif text in ("--", "--args"):
            given = True  # what follows is code or a script, and then data
        elif reader is _EVAL and text == "eval" and not code:
            wants = text
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
    if _CODE_OPTION.match(option.lower()):
        return True
    return not option.startswith("--") and bool(set(option[1:]) & set(reader.code))


def _takes(option: str, reader: Reader) -> bool:
    """Whether the next word belongs to this option."""
    if option.startswith("--"):
        return option in reader.long
    if reader is _SHELL:
        return bool(set(option[1:]) & set(reader.takes))
    return option[-1] in reader.takes and (reader is _PYTHON or len(option) == 2)


def _option_word(words: Sequence[Parts], index: int, name: str) -> list[Found]:
    if index < len(words) and literal(words[index]) is None and not head(words[index]):
        return [(index, f"a value would choose an option of {name}", _OPTION_FIX)]
    return []


def _may_be_taken(words: Sequence[Parts], index: int) -> bool:
    """Whether a word may belong to the option before it rather than be the script: it does not look like a file."""
    before, text = literal(words[index - 1]) or "", literal(words[index]) or ""
    return before.startswith("-") and "=" not in before and not re.search(r"/|\.\w+$", text)
