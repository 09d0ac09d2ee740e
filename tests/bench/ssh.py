"""From a machine without Slurm: one job over ssh beside slurmster, and round trips on a line that has 50 ms."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench.measure import ROUND_TRIP_S, Row, turns
from tests.bench.processes import USER, VENV, hold_queue, prepare
from tests.cluster.bed import BED, CLUSTERS, HOME, BedError
from tests.cluster.desk import Desk, a_desk
from tests.cluster.line import Line
from tests.cluster.users import run_as

PEERS = BED / "bench-peers"
CODE_BYTES = 5_000_000
CONNECT = """\
import sys
from pathlib import Path
from tfslurm.cluster import parse_cluster
from tfslurm.host import open_host
with open_host(parse_cluster(Path(sys.argv[1]).read_text(), sys.argv[1])):
    pass
"""
SLURMSTER = """\
remote: {{base_dir: {base}}}
files: {{push: [job.sh]}}
slurm:
  directives: |
    #SBATCH --job-name=bench
    #SBATCH --partition=gpu
    #SBATCH --gres=gpu:1
    #SBATCH --time=00:05:00
run:
  command: sh job.sh {{seed}}
  grid: {{seed: [1]}}
"""


def rows(rounds: int) -> list[Row]:
    """One job beside slurmster's, and the round trips of a first and of a later submission."""
    prepare()
    with a_desk() as made, queue_held():
        desk = replace(made, program=VENV / "bin" / "tfslurm")
        return [beside_slurmster(desk, rounds), *slow_line(desk, rounds)]


@contextmanager
def queue_held() -> Iterator[None]:
    """Nothing that is submitted starts; it is gone afterwards."""
    hold_queue(True)
    try:
        yield
    finally:
        run_as(USER, ["scancel", "--user", USER], "alpha")
        hold_queue(False)


def beside_slurmster(desk: Desk, rounds: int) -> Row:
    """One job, from a laptop's command to its id."""
    reach(desk, port())
    file = desk.experiment("near", ["true"], resources={"gpus": 1})
    ours = submitting(desk, file)
    found = turns(rounds, {"tfslurm submit": ours, "slurmster": slurmster(desk)})
    return Row(
        "`tfslurm submit` over loopback ssh", found["tfslurm submit"], "slurmster, one job", found["slurmster"], 1.2
    )


def slurmster(desk: Desk) -> Callable[[], int]:
    """One job submitted by slurmster, in a virtual environment of its own."""
    program = PEERS / "bin" / "slurmster"
    if not program.exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(PEERS)], check=True)
        pip = [str(PEERS / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install", "--compile"]
        done = subprocess.run([*pip, "slurmster==0.2.26"], capture_output=True, text=True)
        if done.returncode:
            raise BedError(f"slurmster cannot be installed: {done.stderr.strip()[-400:]}")
    desk.write("slurmster/job.sh", "true\n")
    config = desk.write("slurmster/config.yaml", SLURMSTER.format(base=desk.root("alpha") / "slurmster"))
    key = HOME / USER / ".ssh" / "id_ed25519"
    who = ["--user", USER, "--host", "127.0.0.1", "--port", str(port()), "--key", str(key)]
    argv = [str(program), "--config", str(config), *who, "submit", "--no-monitor"]
    return lambda: run_as(USER, argv, cwd=config.parent).returncode


def slow_line(desk: Desk, rounds: int) -> list[Row]:
    """What a submission takes longer on the slow line than on the fast one, less what the handshake alone does."""
    names = ("connect", "first", "later")
    taken: dict[tuple[str, str], float] = {}
    for speed, delay_s in (("fast", 0.0), ("slow", ROUND_TRIP_S / 2)):
        with Line(port(), delay_s=delay_s) as line:
            reach(desk, line.port)
            found = turns(rounds, commands(desk), partial(new_code, desk))
        taken |= {(name, speed): found[name] for name in names}
    handshake, first, later = (taken[name, "slow"] - taken[name, "fast"] for name in names)
    what = "on a line with 50 ms, longer than without"
    return [
        Row(f"a first submit with 5 MB of code, {what}", first, "ssh's handshake, likewise", handshake, 10, TRIPS),
        Row("a later submit with the same code, likewise", later, "the same", handshake, 5, TRIPS),
    ]


TRIPS = "round trips"


def commands(desk: Desk) -> dict[str, Callable[[], int]]:
    """A connection alone, a submission whose code is new to the cluster, and the same again."""
    file = desk.experiment("far", ["true"], code="code", resources={"gpus": 1})
    connect = desk.write("connect.py", CONNECT)
    cluster = desk.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    python = VENV / "bin" / "python"

    def first() -> int:
        desk.write("code/changed.py", os.urandom(8).hex())
        return submitting(desk, file)()

    return {
        "connect": lambda: run_as(USER, [python, connect, cluster], cwd=desk.folder).returncode,
        "first": first,
        "later": submitting(desk, file),
    }


def new_code(desk: Desk) -> None:
    """5 MB that do not compress, in a code folder."""
    path = desk.folder / "code" / "data.bin"
    if not path.exists():
        desk.write("code/data.bin", "")
        path.write_bytes(os.urandom(CODE_BYTES))


def submitting(desk: Desk, file: Path) -> Callable[[], int]:
    """One submission from a machine without Slurm, started anew at each call."""
    return lambda: desk.tfslurm("submit", file, "--cluster", "alpha", "--again", cluster=None).returncode


def reach(desk: Desk, where: int) -> None:
    """Let alpha's login node be at that port of this machine."""
    desk.describe("alpha", login={"host": "alpha-by-proxy", "port": where})


def port() -> int:
    """Where alpha's login node listens."""
    found = CLUSTERS["alpha"].ssh_port
    if not found:
        raise BedError("bench: alpha has no sshd; see `make cluster-status`")
    return found
