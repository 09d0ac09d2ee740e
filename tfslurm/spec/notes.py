"""What a file says that its writer may not have meant: notes for `plan` and `submit`, which refuse none of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from tfslurm.document import nearest, show
from tfslurm.spec.experiment import Experiment, Word
from tfslurm.spec.places import inside
from tfslurm.spec.program_text import named, program_texts, reader_of
from tfslurm.spec.programs import LAUNCHERS, WRAPPERS

WORKSPACE = "/workspace"
_SHELL_WORDS = frozenset(
    ["source", ".", "cd", "export", "ulimit", "set", "unset", "eval", "alias", "trap", "module", "ml", "if", "for"]
)
_OUTSIDE = frozenset(["sbatch", "srun", "salloc", "docker", "podman", "singularity", "apptainer", "enroot", "sudo"])
_PROGRAMS = ("python", "python3", "bash", "torchrun", "horovodrun", "mpirun", "accelerate", "jupyter", "tensorboard")
_ALIKE = frozenset(["cython", "pytest", "batch"])  # programs with nearly such a name
_VARIABLE = re.compile(r"[$](?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)[^}]*\}|\()|`")
_SCRIPT = re.compile(r"[\w./+-]+\.(?:py|sh|bash|R|jl|lua|pl|ipynb)")
_KEEPING = re.compile(
    r"--?(?:[a-z]+[-_])*(?:outs?|outputs?|results?|save|save[-_]to"
    r"|(?:outs?|outputs?|results?|save|logs?|logging|ckpts?|checkpoints?|exports?|models?|runs?|tensorboard|tb|work)"
    r"[-_]?(?:dir|directory|path|folder|file|root))",
    re.IGNORECASE,
)
_NO_PLACE = re.compile(r"[0-9.]+|true|false|none|yes|no|x", re.IGNORECASE)
_TWO = 'for two programs write `[bash, -c, "A && B"]`'


def notes(experiment: Experiment, files: Collection[str] | None = None) -> Iterator[str]:
    """Each note in one line, with its key in front. ``files`` are the names in the snapshot of the code, if any."""
    writable = [mount.target for mount in experiment.mounts if not mount.read_only]
    if experiment.outputs is None and not writable:
        yield "outputs: none, so nothing that the program writes is kept; add `outputs: /out`, and write there"
    words = [_text(word) for word in experiment.command]
    yield from _of_program(words)
    yield from _of_script(words, experiment, files)
    yield from _of_results(words, experiment, writable)
    yield from _of_variables(words, experiment)


def _text(word: Word) -> str:
    """A word with something in the place of each value."""
    return "".join(part if isinstance(part, str) else "x" for part in word.parts)


def _of_program(words: list[str]) -> Iterator[str]:
    """What the first word names, if that is no program of an image; and a second program among its words."""
    first = words[0]
    if first in _SHELL_WORDS or words[:2] == ["conda", "activate"]:
        more = "; modules of the site do not reach into the container" if first in ("module", "ml") else ""
        yield f'command: `{first}` is a word of a shell, and no program: write `[bash, -c, "{first} A && B"]`{more}'
    elif first in _OUTSIDE:
        yield f"command: `{first}` would be a program of the image; tfslurm starts the container: write what runs in it"
    elif "/" not in first and not _is_known(first):
        near = nearest(first, _PROGRAMS).strip() if len(first) > 3 and _is_misspelt(first) else ""
        if near:
            yield f"command: no program is called `{first}`: {near} (if the image has none, the job ends with 127)"
    reader, texts = reader_of(named((first,))), program_texts(words)
    for place in range(2, len(words)):
        before = words[place - 1]
        if reader and words[place] == first and not before.startswith("-") and before not in texts:
            yield f"command: `{first}` is among the words of `{first}`: it is one program; {_TWO}"
            return


def _is_known(word: str) -> bool:
    name = named((word,))
    return bool(reader_of(name)) or name in WRAPPERS or name in LAUNCHERS or name in _PROGRAMS or name in _ALIKE


def _is_misspelt(word: str) -> bool:
    """Whether the letters are nearly those of a program that everybody has."""
    import difflib

    return bool(difflib.get_close_matches(word.lower(), _PROGRAMS, n=1, cutoff=0.8))


def _of_script(words: list[str], experiment: Experiment, files: Collection[str] | None) -> Iterator[str]:
    """A script that is nowhere: no code is brought, or it is not among it."""
    script = next((word for word in words[:4] if _SCRIPT.fullmatch(word)), "")
    placed = script.removeprefix("./").removeprefix(f"{WORKSPACE}/")
    if not script or (script.startswith("/") and not script.startswith(f"{WORKSPACE}/")) or placed.startswith("../"):
        return
    if experiment.code is None:
        yield f"code: none, so {show(script)} must be in the image; if it lies beside this file, add `code: .`"
    elif files is not None and placed not in files:
        near = nearest(placed, files).strip() or "correct the name"
        yield f"command: {show(script)} is not among the {len(files)} files of `code`; {near}"


def _of_results(words: list[str], experiment: Experiment, writable: list[str]) -> Iterator[str]:
    """Options and variables that name a place which is read-only, or kept nowhere."""
    named_places = [(f"command: {option}", value) for option, value in _pairs(words)]
    named_places += [
        (f"env: {name}", _text(word)) for name, word in experiment.env.items() if _KEEPING.fullmatch(f"--{name}")
    ]
    kept = [*writable, *([experiment.outputs] if experiment.outputs else [])]
    for where, value in named_places:
        path = value if value.startswith("/") else f"{WORKSPACE}/{value}"
        if any(path == place or inside(path, place) for place in kept):
            continue
        if experiment.code and not experiment.code.writable and (path == WORKSPACE or inside(path, WORKSPACE)):
            fix = f"write below {experiment.outputs or '`outputs: /out`'}"
            yield f"{where} {show(value)} lies in {WORKSPACE}, which is read-only; {fix}"
        elif experiment.outputs:
            yield f"{where} {show(value)} is not in `outputs` ({experiment.outputs}) or a writable mount: it is lost"


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """Options that say where something is written, each with its value."""
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if not equals and place + 1 < len(words):
            value = words[place + 1]
        is_place = value and not value.startswith("-") and "://" not in value and not _NO_PLACE.fullmatch(value)
        if is_place and _KEEPING.fullmatch(option):
            yield option, value


def _of_variables(words: list[str], experiment: Experiment) -> Iterator[str]:
    """Text that only a shell would replace, where no shell reads it."""
    texts = program_texts(words)
    places = [(f"env: {name}", _text(word)) for name, word in experiment.env.items()]
    places += [("command", word) for word in words[1:] if word not in texts]
    for where, text in places:
        found = _VARIABLE.search(text)
        name = (found[1] or found[2] or "") if found else ""
        if name.startswith("SLURM_"):
            yield f"{where}: {show(text)} is passed as it is, for no shell reads it; the program finds {name} itself"
        elif found:
            yield f"{where}: {show(text)} is passed as it is, for no shell reads it; write the value out"
        elif text.startswith("~/"):
            yield f"{where}: {show(text)} is passed as it is, for no shell reads it; write the whole path"
