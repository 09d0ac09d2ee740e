"""For which Python and platform wheels are chosen: an image's, in the words of uv and of pip. Pure."""

from __future__ import annotations

from tfslurm.image.facts import ImageFacts

_UV_KNOWS = (17, 28, *range(31, 41))
"Minor versions of glibc. Source: uv pip compile --help, --python-platform."


def uv_words(facts: ImageFacts) -> tuple[str, ...]:
    """The words of `uv pip compile`: the image's Python, and the newest platform of its that uv has a name for."""
    minor = max((each for each in _UV_KNOWS if each <= glibc_minor(facts)), default=17)
    platform = f"{facts.machine}-manylinux_2_{minor}"
    return ("--python-version", facts.python, "--python-platform", platform, "--only-binary", ":all:")


def pip_words(facts: ImageFacts) -> tuple[str, ...]:
    """The words of `pip download` and `pip install --target`: every tag that suits the image, the best first."""
    minor = facts.python.split(".")[1]
    platforms = [f"manylinux_2_{each}_{facts.machine}" for each in range(glibc_minor(facts), 4, -1)]
    for old, since in (("manylinux2014", 17), ("manylinux2010", 12), ("manylinux1", 5)):
        platforms += [f"{old}_{facts.machine}"] if glibc_minor(facts) >= since else []
    platforms.append(f"linux_{facts.machine}")
    words = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", facts.python]
    for name, values in (("--abi", (f"cp3{minor}", "abi3", "none")), ("--platform", platforms)):
        words += [word for value in values for word in (name, value)]
    return tuple(words)


def markers(facts: ImageFacts) -> dict[str, str]:
    """The environment markers of the image, as uv has them too; "0" where only the node's kernel would know.

    Source: PEP 508, environment markers.
    """
    return {
        "implementation_name": "cpython",
        "implementation_version": facts.python,
        "os_name": "posix",
        "platform_machine": facts.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "0",
        "platform_system": "Linux",
        "platform_version": "0",
        "python_full_version": facts.python,
        "python_version": facts.python.rpartition(".")[0],
        "sys_platform": "linux",
    }


def glibc_minor(facts: ImageFacts) -> int:
    """36 of glibc 2.36."""
    return int(facts.glibc.partition(".")[2] or 0)
