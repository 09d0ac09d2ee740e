"""Names that a file may give: of jobs, images, variables, secrets, files and sbatch options; and those it may not."""

from __future__ import annotations

import re

from tfslurm.document import NotText, Refused, nearest, show

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_OPTION = re.compile(r"[a-z][a-z0-9_-]+")
# Source: Debian policy, 5.6.1 (names) and 5.6.12 (versions); the architecture stands behind a colon.
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]{1,200}(:[a-z0-9]{1,20})?(=[A-Za-z0-9][A-Za-z0-9.+:~-]{0,200})?")
LONGEST_METRIC = 500
"Characters of a metric's name."
_GPUS = "the job's GPUs are passed to the container by their UUIDs"
_OWN_VARIABLES = {
    "NVIDIA_VISIBLE_DEVICES": _GPUS,
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "CUDA_DEVICE_ORDER": _GPUS,
    "HOME": "the container runs as the job's user, with a home of its own",
    "USER": "the container runs as the job's user",
    "LOGNAME": "the container runs as the job's user",
}
_OWN_PREFIXES = {
    "TFSLURM_": "tfslurm tells the program about its job with these",
    "SLURM_": "Slurm tells the program about its job with these",
}
_GRES, _TASKS, _MEM = "`resources: {gpus: …}`", "`resources: {tasks_per_node: …}`", "`resources: {memory: …}`"
_LOGS = "leave it out; `tfslurm logs` shows what the job printed"
_READING_OPTIONS = ("bb", "bbf", "burst-buffer", "burst-buffer-file", "nodefile")
_OWN_OPTIONS = {
    "gpus-per-node": f"{_GRES} (and `ask: {{gpus: gpus-per-node}}` in the cluster file, if the site wants it so)",
    **dict.fromkeys(("gres", "gpus", "gpus-per-task", "gpus-per-socket", "tres-per-task"), _GRES),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "`resources: {cpus: …}`"),
    **dict.fromkeys(("mem", "mem-per-gpu"), _MEM),
    "mem-per-cpu": f"{_MEM} (and `ask: {{memory: mem-per-cpu}}` in the cluster file, if the site wants it so)",
    **dict.fromkeys(("ntasks", "ntasks-per-node", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket"), _TASKS),
    "nodes": "`resources: {nodes: …}`",
    "time": "`resources: {time: …}`",
    "signal": "`checkpoint: {signal: …, before_end: …}`",
    **dict.fromkeys(("requeue", "no-requeue"), "`checkpoint: {requeue: …}`"),
    "job-name": "`name`",
    "array": "`sweep`",
    **dict.fromkeys(("clusters", "cluster"), "`clusters`"),
    **dict.fromkeys(("export", "export-file", "get-user-env"), "`env`"),
    "chdir": "`code`, which is the working directory",
    **dict.fromkeys(("container", "container-id"), "`image`"),
    **dict.fromkeys(("output", "error", "open-mode"), _LOGS),
    "comment": "leave it out; tfslurm finds its jobs again by the comment",
    "wait": "`tfslurm submit --wait`",
    "hold": "leave it out; run `scontrol hold JOB` after the submission",
    "wrap": "`command`",
    **dict.fromkeys(("bb", "bbf", "burst-buffer", "burst-buffer-file"), "a `directives` block of your own template"),
    "nodefile": "`slurm: {nodelist: …}`",
    **dict.fromkeys(
        ("parsable", "test-only", "quiet", "verbose", "help", "usage", "version", "input", "uid", "gid"),
        "leave it out; it changes how sbatch is called, not the job",
    ),
}


def name(text: str) -> str:
    """The text, if it can name an experiment or a cluster: it becomes part of file, job and container names.

    Raises:
        Refused: other characters than a-z, 0-9 and -, a leading dash, or more than 64 characters.
    """
    if _NAME.fullmatch(text):
        return text
    fixed = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64]
    fix = f"write {fixed}" if fixed else "write a name such as digits-cnn"
    raise Refused(f"{show(text)} is not a name of a-z, 0-9 and - (64 characters at most, no dash in front)", fix)


def image(text: str) -> str:
    """The text, if it can be an image reference; the reference itself is read later.

    Raises:
        Refused: blanks, control characters, a leading dash, or nothing.
    """
    if text and text.isprintable() and not re.search(r"\s", text) and not text.startswith("-"):
        return text
    raise Refused(f"{show(text)} is not an image reference", "write repository:tag, with no blanks")


def variable(text: str) -> str:
    """The text, if it can name an environment variable that tfslurm does not set itself.

    Raises:
        Refused: it cannot, or it is one of tfslurm's or Slurm's own.
    """
    if not _VARIABLE.fullmatch(text):
        raise Refused(f"{show(text)} is not a variable's name", "use letters, digits and _; do not begin with a digit")
    why = _OWN_VARIABLES.get(text) or next((why for head, why in _OWN_PREFIXES.items() if text.startswith(head)), None)
    if why:
        raise Refused(f"{text} is set by the job itself: {why}", "remove it")
    return text


def debian_package(text: str) -> str:
    """The text, if it can name a package for apt-get, perhaps with its version: ``libgl1=1.6.0-1``.

    Raises:
        Refused: it cannot, and apt-get would read it as an option, a file or a pattern.
    """
    if _DEBIAN.fullmatch(text):
        return text
    raise Refused(f"{show(text)} is not the name of a package for apt", "write for example libgl1, or libgl1=1.6.0-1")


def beside_file(text: str) -> str:
    """The text, if it is the path of a file in the folder of the experiment's file.

    Raises:
        Refused: an absolute path, `..`, control characters, or nothing.
    """
    if _is_below(text):
        return text
    raise Refused(f"{show(text)} is not a path below this file's folder", "name a file there")


def template_file(text: str) -> str:
    """The text, if it is a file name without a folder.

    Raises:
        Refused: it is not.
    """
    if text and text.isprintable() and "/" not in text and text not in (".", "..") and not text.startswith("-"):
        return text
    fix = "write the name alone, such as my.sbatch.j2, of a file beside exp.yaml or in job_templates there"
    raise Refused(f"{show(text)} is not a file name", fix)


def code_path(value: object) -> object:
    """``code: .`` is short for ``code: {path: .}``."""
    return {"path": value} if isinstance(value, str) else value


def local_path(text: str) -> str:
    """The text, if it can be a path on this machine.

    Raises:
        Refused: nothing, or control characters.
    """
    if text and not any(ord(char) < 32 or ord(char) == 127 for char in text):
        return text
    raise Refused(f"{show(text)} is not a path", "write the folder of your code, such as `.`")


def left_out(text: str) -> str:
    """The text, if it is a pattern of files that are no code: as in .gitignore, and what it names stays left out.

    Raises:
        Refused: nothing, control characters, `!`, or what could name no file of the folder.
    """
    local_path(text)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("!"):
        raise Refused(f"{show(text)} would take something back in", "name only what is to be left out")
    if not parts or ".." in parts or "\\" in text or len(text) > 1000:
        raise Refused(f"{show(text)} names nothing in the folder", "write for example notebooks/ or *.h5")
    return text


def metric(text: str) -> str:
    """The text, if it can name a metric.

    Raises:
        Refused: nothing, control characters, or more than 500 characters.
    """
    if text and text.isprintable() and len(text) <= LONGEST_METRIC:
        return text
    raise Refused(f"{show(text)} is not the name of a metric", "write a key of metrics.json, such as accuracy")


def _is_below(text: str) -> bool:
    """Whether a path leads to something in its folder."""
    return text.isprintable() and all(part not in ("", ".", "..") for part in text.split("/"))


def output_file(text: str) -> str:
    """The text, if it is the path of a file below the outputs.

    Raises:
        Refused: an absolute path, `..`, control characters, or nothing.
    """
    if _is_below(text):
        return text
    raise Refused(f"{show(text)} is not a path below `outputs`", "write for example model.weights.h5")


def code_file(text: str) -> str:
    """The text, if it is the path of a file below the code.

    Raises:
        Refused: an absolute path, `..`, control characters, or nothing.
    """
    if _is_below(text):
        return text
    raise Refused(f"{show(text)} is not a path below `code`", "write for example compare.py")


def requirements_file(text: str) -> str:
    """The text, if it is the path of a file below the experiment's folder.

    Raises:
        Refused: an absolute path, `..`, control characters, or nothing.
    """
    if _is_below(text) and not text.startswith("-"):
        return text
    raise Refused(
        f"{show(text)} is not a path below the folder of this file",
        "put the file beside it: `packages: requirements.txt`; or write a list: `packages: [pandas]`",
    )


def option(text: str) -> str:
    """The text, if it is the form of a long sbatch option that tfslurm leaves to the writer.

    Raises:
        Refused: another form, or an option that another key of the file says.
    """
    long = text.replace("_", "-")
    if long in _OWN_OPTIONS:
        instead = _OWN_OPTIONS[long]
        fix = instead if instead.startswith("leave") else f"use {instead} instead"
        why = "would read or run files outside of the container" if long in _READING_OPTIONS else "tfslurm sets itself"
        raise Refused(f"{text} is an option that {why}", fix)
    if _OPTION.fullmatch(text):
        return text
    bare = text.lstrip("-").split("=")[0]
    fix = f"write `{bare}: …`" if _OPTION.fullmatch(bare) else "write the long name, such as partition or account"
    raise Refused(f"{show(text)} is not the long name of an sbatch option", nearest(bare, _OWN_OPTIONS) + fix)


def plugin_option(text: str) -> str:
    """The text, if it can be the long name of an option that a plugin adds to sbatch.

    Raises:
        Refused: another form, or an option that another key of the file says.
    """
    if text.replace("_", "-") in _OWN_OPTIONS:
        return option(text)
    if _OPTION.fullmatch(text):
        return text
    bare = text.lstrip("-").split("=")[0]
    fix = f"write `{bare}: …`" if _OPTION.fullmatch(bare) else "write its name without dashes in front"
    raise Refused(f"{show(text)} is not the long name of an option", fix)


def key_of_option(text: str) -> str:
    """The key of an experiment file that says what this sbatch option does; '' where none does."""
    instead = _OWN_OPTIONS.get(text.replace("_", "-"), "")
    return instead if instead.startswith("`") else ""


def option_value(value: object) -> str | int | bool:
    """The value, if an ``#SBATCH`` line can carry it; true is a flag, false leaves the option out.

    Raises:
        Refused: another type, or characters that sbatch's own reader would drop or break at.
    """
    if isinstance(value, bool | int):
        return value
    if not isinstance(value, str):
        if isinstance(value, float):
            raise NotText(value)
        raise Refused(f"{show(value)} is not a value for an option", "write one text, number, true or false")
    if not value or not value.isprintable() or "\\" in value:
        why = f"{show(value)} cannot stand in an #SBATCH line"
        raise Refused(why, "remove the key" if not value else "use no line breaks, control characters or backslashes")
    return value
