"""Render a JobPlan as the text of job.sbatch. Pure, and the only user of jinja2.

Two parsers read the script, so values are written in two ways: bash reads the settings; sbatch's own reader, which is
no shell, reads the directives. A value that one of them cannot carry byte for byte is refused.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Protocol

from tfslurm.errors import InputError, Problem
from tfslurm.image import claims
from tfslurm.job_plan import JobPlan
from tfslurm.spec import Mount

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment
    from jinja2.bccache import Bucket

    from tfslurm.image import PackageLock

MAX_SCRIPT_BYTES = 4 * 2**20  # slurmctld's max_script_size, unless the site raised it
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
OPTION = re.compile(r"[a-z][a-z0-9_-]*")
SUM_BYTES = hashlib.sha256().digest_size
# Input variables of srun that Slurm sets in a job whose sbatch had the option; parts/environment.sh drops the others.
# Source: sbatch(1), OUTPUT ENVIRONMENT VARIABLES, and what the program of 20.11 to 26.05 sets.
BY_OPTION: Mapping[str, str] = {
    "acctg-freq": "ACCTG_FREQ",
    "cpu-freq": "CPU_FREQ_REQ",
    "distribution": "DISTRIBUTION DIST_PLANESIZE DIST_LLLP",
    "gpu-bind": "GPU_BIND",
    "gpu-freq": "GPU_FREQ",
    "gpus-per-node": "GPUS_PER_NODE",
    "hint": "HINT THREADS_PER_CORE",
    "mem": "MEM_PER_NODE",
    "mem-bind": "MEM_BIND MEM_BIND_LIST MEM_BIND_PREFER MEM_BIND_SORT MEM_BIND_TYPE MEM_BIND_VERBOSE",
    "mem-per-cpu": "MEM_PER_CPU",
    "network": "NETWORK",
    "oom-kill-step": "OOM_KILL_STEP OOMKILLSTEP",
    "overcommit": "OVERCOMMIT",
    "profile": "PROFILE",
    "threads-per-core": "THREADS_PER_CORE",
    "tres-bind": "TRES_BIND",
}


class Kept(Protocol):
    """A store of compiled templates from one command to the next; they are code, and the user's own."""

    def read(self, name: str) -> bytes | None:
        """The bytes under a name; None if there are none, or none that may be trusted."""

    def write(self, name: str, data: bytes) -> None:
        """Keep it, where that is possible."""


def render(
    plan: JobPlan, templates: Mapping[str, str], name: str, files: Mapping[str, str], kept: Kept | None = None
) -> str:
    """The batch script of a plan: the template ``name``, which may extend or include the others by their names.

    ``files`` are those that are sent beside it, name -> SHA-256: the script reads no other.

    Templates see the plan as ``plan`` and three ways to write a value: ``sh`` for bash, ``directive`` for ``#SBATCH``,
    ``remark`` for a comment. To compile one takes longer than all else here: ``kept`` spares it.

    Raises:
        InputError: a template does not parse or uses a name that is not there (with its line), or a value that cannot
            stand where it is written.
    """
    from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

    try:
        script = environment(templates, kept).get_template(name).render(plan=facts_of(plan), files=files)
    except TemplateNotFound as error:
        from difflib import get_close_matches

        known = tuple(templates)
        near = get_close_matches(str(error.name), known, 1) or known
        raise problem(name, 0, f"there is no template {error.name!r}", f"there is {', '.join(near)}") from error
    except TemplateSyntaxError as error:
        raise problem(error.name or name, error.lineno, error.message or "is not a template") from error
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        file, line = place(error.__traceback__, templates)
        raise problem(file or name, line, str(error) or type(error).__name__) from error
    size = len(script.encode("utf-8", "surrogateescape"))
    if size > MAX_SCRIPT_BYTES:
        why = f"the script has {size} bytes, Slurm takes {MAX_SCRIPT_BYTES}"
        raise problem(name, 0, why, "pass long values in a file")
    if "\r\n" in script:
        why = "the script has DOS line ends, which sbatch refuses"
        raise problem(name, 0, why, "save the template with Unix line ends")
    return script


class PlanFacts(SimpleNamespace):
    """What a template sees of a plan: values alone, with the names that the plan has for them."""


def facts_of(plan: JobPlan) -> PlanFacts:
    """Everything that a plan holds, and all that follows from it, worked out once.

    ``image_claims`` are the lock file's fields that the node compares with the image it has, as Go's ``%+q`` writes
    them.
    """
    following = [name for name, each in vars(type(plan)).items() if isinstance(each, property | cached_property)]
    values = {name: getattr(plan, name) for name in (*(each.name for each in fields(plan)), *following)}
    return PlanFacts(**values, image_claims=claims(plan.pin)._asdict())


def problem(file: str, line: int, why: str, fix: str = "") -> InputError:
    """One problem of a template."""
    return InputError([Problem(file, line, "template", why, fix)])


def place(traceback: TracebackType | None, templates: Mapping[str, str]) -> tuple[str, int]:
    """The innermost template line of a traceback; jinja2 rewrites the frames of templates to their own lines."""
    found = ("", 0)
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file in templates:
            found = (file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def environment(templates: Mapping[str, str], kept: Kept | None = None) -> Environment:
    """jinja2 over the given texts alone: undefined names are errors, nothing is escaped as HTML, no code is reached."""
    from jinja2 import FunctionLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def load(name: str) -> tuple[str, str, None] | None:
        return (templates[name], name, None) if name in templates else None

    made = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        autoescape=False,  # the output is a bash script, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=compiled(kept) if kept else None,
    )
    made.filters |= {
        filter.__name__: filter
        for filter in (sh, array, pairs, triples, hashed, wheels, slurm_variables, directive, remark)
    }
    return made


def compiled(kept: Kept) -> BytecodeCache:
    """jinja2's cache over the store: jinja2 compares their source, a sum finds damage."""
    import jinja2

    class Compiled(jinja2.BytecodeCache):
        def load_bytecode(self, bucket: Bucket) -> None:
            data = kept.read(name(bucket)) or b""
            if data[:SUM_BYTES] == hashlib.sha256(data[SUM_BYTES:]).digest():
                bucket.bytecode_from_string(data[SUM_BYTES:])

        def dump_bytecode(self, bucket: Bucket) -> None:
            code = bucket.bytecode_to_string()
            kept.write(name(bucket), hashlib.sha256(code).digest() + code)

    def name(bucket: Bucket) -> str:
        return f"{bucket.key}.{sys.implementation.cache_tag}-jinja2-{jinja2.__version__}"

    return Compiled()


def sh(value: object) -> str:
    """One word of bash that means exactly this text.

    Control characters are written ``$'\\r'``: sbatch refuses a script with CR LF anywhere in it.
    """
    text = str(value)
    if "\0" in text:
        raise ValueError(f"{text[:40]!r} has a NUL, which no argument and no variable can hold; pass it in a file")
    if not CONTROL.search(text):
        return shlex.quote(text)
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "$'" + CONTROL.sub(lambda found: named.get(found[0], f"\\{ord(found[0]):03o}"), text) + "'"


def array(values: Iterable[object], per_line: int = 1) -> str:
    """The right side of a bash array's assignment, ``per_line`` words a line."""
    words = [sh(value) for value in values]
    if not words:
        return "()"
    rows = [" ".join(words[start : start + per_line]) for start in range(0, len(words), per_line)]
    return "(\n" + "".join(f"    {row}\n" for row in rows) + ")"


def pairs(values: Mapping[str, str]) -> list[str]:
    """KEY=value for each variable."""
    return [f"{key}={value}" for key, value in values.items()]


def triples(mounts: Sequence[Mount]) -> list[str]:
    """Source, target and ro, rw or run (the outputs of a run) of each mount, in one list."""
    return [
        word
        for mount in mounts
        for word in (mount.source, mount.target, "run" if mount.run else "ro" if mount.read_only else "rw")
    ]


def hashed(mounts: Sequence[Mount]) -> tuple[int, ...]:
    """The places, from 0, of the mounts whose files are hashed before the program starts."""
    return tuple(place for place, mount in enumerate(mounts) if mount.hash)


def wheels(lock: PackageLock) -> list[str]:
    """Name and sha256 of each wheel of a layer, in one list."""
    return [word for wheel in lock.wheels for word in (wheel.file, wheel.sha256)]


def directive(key: str, value: str) -> str:
    """One option for ``#SBATCH``; an empty value is a flag.

    sbatch's reader cuts at ``#`` outside quotes, expands nothing, and drops a backslash even inside single quotes.
    Source: Slurm, src/sbatch/opt.c, _get_next_opt and _next_token.
    """
    if not OPTION.fullmatch(key):
        raise ValueError(f"{key!r} is not the long name of an sbatch option")
    if CONTROL.search(value) or "\\" in value:
        raise ValueError(f"{key}={value!r}: sbatch cannot read a backslash or a control character in a directive")
    return f"--{key}={shlex.quote(value)}" if value else f"--{key}"


def remark(value: object) -> str:
    """The text for a comment, which it cannot leave: control characters are written as Python writes them."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], str(value))


def slurm_variables(options: Iterable[str]) -> tuple[str, ...]:
    """The input variables of srun that Slurm sets in a job with these options of sbatch."""
    names = (name for option in options for name in BY_OPTION.get(option, "").split())
    return tuple(dict.fromkeys(f"SLURM_{name}" for name in names))
