"""The main job, as a user of cluster alpha types it: submit examples/digits, wait, read the record."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from .bed import HOME, SCRATCH, BedError
from .install import give_files, install
from .users import login_environment

USER = "alice"
CLUSTER = "alpha"


def demo() -> None:
    """Run the main job to its end and print its record.

    Raises:
        BedError: the job did not complete, or the accuracy it reached is not above 0.95.
    """
    started = time.monotonic()
    program = install()
    folder = give_files(USER) / "examples" / "digits"
    say(f"as {USER}, on a login node of {CLUSTER}, in {folder}:")
    say("(gpu_check=off: the bed's GPUs are stand-ins that nothing drives, so TensorFlow rightly lists none of them)")
    output = typed(folder, str(program), "submit", "exp.yaml", "--cluster", CLUSTER, "--set", "gpu_check=off", "--wait")
    job = output.split()[-1]
    typed(folder, str(program), "status", job)
    typed(folder, str(program), "provenance", job)
    record = json.loads(typed(folder, str(program), "provenance", job, "--json", quiet=True))
    accuracy = reached(record)
    say(f"accuracy {accuracy} in metrics.json; {time.monotonic() - started:.0f} s")
    if accuracy <= 0.95:
        raise BedError(f"demo: the training reached an accuracy of {accuracy} only; see `tfslurm logs {job}`")


def reached(record: dict[str, object]) -> float:
    """The accuracy in the metrics.json that the job left, found where its record says."""
    job = record["job"]
    assert isinstance(job, dict)
    name = f"{job['name']}/{job['job_id']}/out/metrics.json"
    found = sorted((SCRATCH / CLUSTER / USER).glob(f"**/runs/{name}"))
    if len(found) != 1:
        raise BedError(f"demo: no {name} among the run folders: the job did not complete")
    return float(json.loads(found[0].read_text("utf-8"))["accuracy"])


def typed(folder: Path, *argv: str, quiet: bool = False) -> str:
    """What a command of the user prints on stdout, shown as in a terminal unless ``quiet``."""
    if not quiet:
        say(f"\n$ {shlex.join(('tfslurm', *argv[1:]))}")
    environment = {"HOME": str(HOME / USER), "USER": USER, "LANG": "C.UTF-8", **login_environment(CLUSTER)}
    done = subprocess.run(
        ["runuser", "-u", USER, "--", "env", "-i", *(f"{key}={value}" for key, value in environment.items()), *argv],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not quiet:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        raise BedError(f"demo: `tfslurm {shlex.join(argv[1:])}` ended with exit code {done.returncode}")
    return done.stdout


def say(line: str) -> None:
    """One line of the demo's own words."""
    print(line, file=sys.stderr, flush=True)
