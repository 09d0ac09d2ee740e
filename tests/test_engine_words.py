"""What an engine says beside its answer: notices are no reasons, and a `docker` that is podman is named so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.node_side import sourced
from tfslurm.check.engines import engine_facts
from tfslurm.check.probe_output import ProbeOutput

NOTICE = "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg."
ERROR = "Error response from daemon: no such thing"


def refusal(tmp_path: Path, script: str, program: str = "", engine: str = "docker") -> str:
    """The one line with which a task refuses, where ``program`` is the engine's."""
    facts = tmp_path / "facts"
    facts.mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("podman", engine):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho {name} >&2; exit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    if program == "link":
        (tmp_path / "bin" / "docker").unlink()
        (tmp_path / "bin" / "docker").symlink_to("podman")
    elif program:
        (tmp_path / "bin" / "docker").write_text(program)
    settings = f"facts={facts} where=alpha1 own_dir=/r run_dir=/r engine={engine} image_sources=(a@b) image_look=''"
    more = "image_archive='' stopped='' warned='' interrupted=''; checkpoint::refuse_if_told() { :; }"
    done = subprocess.run(
        ["bash", "-c", f"{sourced(engine)}\nset -euo pipefail; {settings} {more}\n{script}"],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return f"{done.returncode} {done.stdout}{done.stderr}".strip()


IS_PODMAN = "78 tfslurm: alpha1: docker: `docker` on alpha1 is podman; write `engine: podman` in the cluster file"


@pytest.mark.parametrize(
    "program",
    [
        f'#!/bin/sh\n[ -e /etc/containers/nodocker ] || echo "{NOTICE}" >&2\nexec /usr/bin/podman "$@"\n',
        '#!/bin/bash\nexec podman "$@"\n',
        '#!/usr/bin/env python3\nimport os, sys\nos.execvp("/opt/podman/bin/podman", sys.argv)\n',
        "link",
    ],
)
def test_a_docker_that_is_podman_is_named_before_anything_is_asked(program: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, "engine::available; echo went on", program) == IS_PODMAN


@pytest.mark.parametrize(
    "script",
    [
        '# for docker and podman\nexec /opt/docker "$@"',
        '  # was: exec podman "$@"\nexec /usr/bin/docker.real --host "$H" "$@"',
        'if [ -n "$OLD" ]; then exec podman "$@"; fi\nexec /usr/bin/docker "$@"',
        'case $1 in podman) exit 1 ;; esac; shift; sudo -u engine docker "$@"',
    ],
)
def test_a_wrapper_of_docker_that_only_mentions_podman_is_asked(script: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, "engine::available; echo went on", f"#!/bin/sh\n{script}\n") == "0 went on"


@pytest.mark.parametrize("printed", ["", "a notice\\n", "abc\\n"])
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_create_that_prints_no_id_says_so(printed: str, engine: str, tmp_path: Path) -> None:
    settings = "create=(x) grace_s=1 engine_mute='' cluster=c container_name=n"
    script = f"engine::create() {{ printf '{printed}'; }}; {settings}; container::_ask_for_it"
    said = refusal(tmp_path, script, engine=engine)
    assert said.startswith(f"75 tfslurm: alpha1: {engine}: create: exit 0, and no id of a container; "), said


@pytest.mark.parametrize(
    "said", [NOTICE, "Error: inspecting object: a@b: image not known", "run `podman system migrate`"]
)
def test_a_docker_that_answers_in_podman_s_words_is_named_too(said: str, tmp_path: Path) -> None:
    program = f"#!/bin/sh\necho '{said}' >&2; exit 125\n".replace("podman", "pod''man")
    script = "engine::available; engine::mute() { engine_mute=''; }; image::_find && echo found || echo absent"
    assert refusal(tmp_path, script, program) == IS_PODMAN


def test_docker_itself_is_asked(tmp_path: Path) -> None:
    program = "#!/bin/sh\necho 'Error: No such image: a@b' >&2; exit 1\n"
    script = "engine::available; engine::mute() { engine_mute=''; }; image::_find && echo found || echo absent"
    assert refusal(tmp_path, script, program) == "0 absent"


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize(
    "notice",
    [
        *(
            "Emulate Docker CLI using something. Quiet it.",
            "WARNING: No swap limit support",
            "Warning: old",
            "WARN[0000] cgroup",
        ),
        *("DEPRECATED: The legacy builder", 'time="2026-11-28T00:00:00Z" level=warning msg="lost"', "What's next:"),
        "ERROR: ld.so: object '/x.so' from LD_PRELOAD cannot be preloaded (cannot open): ignored.",
    ],
)
def test_a_notice_is_never_taken_for_the_reason(notice: str, engine: str, tmp_path: Path) -> None:
    for text in (f"{notice}\n{ERROR}\n", f"{ERROR}\n{notice}", f"{ERROR}\n{notice}\n{ERROR}\n"):
        path = tmp_path / "said"
        path.write_text(text)
        done = subprocess.run(
            ["bash", "-c", f'{sourced(engine)}\nset -eu; engine::reason "$(<"$1")"; echo "$words"', "bash", str(path)],
            capture_output=True,
            text=True,
        )
        assert done.stdout == f"{ERROR}\n", done.stderr


def test_the_id_of_a_container_is_found_among_other_lines(tmp_path: Path) -> None:
    script = (
        f"engine::create() {{ printf '%s\\n' 'a notice' {'ab' * 32}; }}; create=(x); grace_s=1; engine_mute=''\n"
        'container::_ask_for_it; echo "$container_id"'
    )
    assert refusal(tmp_path, script) == f"0 {'ab' * 32}"


@pytest.mark.parametrize(
    "lines",
    [
        {"engine-info": ('{"host": {"arch": "amd64"}}',), "engine-version": ('{"Client": {"Version": "4.3.1"}}',)},
        {"engine-version": (NOTICE, '{"Client": {"Version": "5.0"}}'), "engine-info.error": (f"exit 125: {NOTICE}",)},
    ],
)
def test_check_says_that_docker_is_podman(lines: dict[str, tuple[str, ...]]) -> None:
    seen = ProbeOutput({"engine": ("/usr/bin/docker",), "node": ("n1",), **lines}, whole=True)
    first, *rest = engine_facts(seen, "docker", gpus=True)
    assert (first.status, first.value, first.do) == ("FAIL", "`docker` on n1 is podman", "write `engine: podman`")
    assert {fact.status for fact in rest} == {"unknown"}
