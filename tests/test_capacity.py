"""How soon a cluster would begin jobs: what sinfo and sbatch --test-only printed, recorded from Slurm 22.05.8."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tfslurm.errors import SlurmParseError
from tfslurm.remote_programs import program
from tfslurm.slurm.capacity import Need, parse_room, room_words
from tfslurm.sweeps.spread import Room

NODES = "vm|mixed|6/10/0/16|8000|3000|gpu:4|gpu:1(IDX:0)|\nvm|idle|0/16/0/16|8000|0|gpu:4|gpu:0|\n"
STARTS = "sbatch: Job 1043 to start at 1795713281 using 1 processors on nodes alpha1 in partition gpu\n"
NOW = "1795713221\n"


@pytest.mark.parametrize(
    ("need", "free", "most"),
    [
        (Need(1, 1000, 0), 5 + 8, 8 + 8),
        (Need(1, 0, 1), 3 + 4, 4 + 4),
        (Need(8, 0, 1), 1 + 2, 2 + 2),
        (Need(16, 0, 0), 1, 2),
        (Need(1, 1000, 2, nodes=2), 1, 2),
        (Need(64, 0, 0), 0, 0),
    ],
)
def test_room_is_what_fits_on_each_node_now_and_at_most(need: Need, free: int, most: int) -> None:
    assert parse_room(f"{NODES}\x1d{STARTS}\x1d{NOW}", need) == Room(free, most, 60.0)


def test_nodes_that_take_no_jobs_do_not_count() -> None:
    down = NODES.replace("mixed", "down*").replace("idle", "drained")
    assert parse_room(f"{down}\x1dsbatch: error: no\n\x1d{NOW}", Need(1, 0, 0)) == Room(0, 0, None)


@pytest.mark.parametrize(
    "state",
    [
        *(
            "planned",
            "PLANNED",
            "mixed-",
            "idle-",
            "idle*",
            "idle+planned",
            "mixed+planned",
            "reserved",
            "maint",
            "idle$",
            "idle@",
        ),
        *("reboot_issued", "reboot^", "powering_down", "idle%", "powered_down", "powering_up", "completing", "idle!"),
        *("completing*", "idle+cloud+powering_down", "a_state_of_tomorrow"),
    ],
)
def test_nodes_that_take_jobs_later_count_for_the_most_and_not_as_free(state: str) -> None:
    node = f"n1|{state}|0/64/0/64|257000|0|gpu:a100:4(S:0-1)|gpu:a100:0(IDX:N/A)|\n"
    assert parse_room(f"{node}\x1d{STARTS}\x1d{NOW}", Need(2, 1000, 1)) == Room(0, 4, 60.0)


@pytest.mark.parametrize(
    "state", ["down*", "drained", "draining", "idle+drain", "mixed+drain", "fail", "inval", "unknown"]
)
def test_nodes_that_wait_for_an_administrator_count_for_nothing(state: str) -> None:
    node = f"n1|{state}|0/64/0/64|257000|0|gpu:4|gpu:0|\n"
    assert parse_room(f"{node}\x1d{STARTS}\x1d{NOW}", Need(2, 1000, 1)) == Room(0, 0, 60.0)


@pytest.mark.parametrize("state", ["idle", "mixed", "idle~", "idle#", "allocated", "MIXED", "idle+"])
def test_nodes_with_room_now_are_free(state: str) -> None:
    node = f"n1|{state}|0/64/0/64|257000|0|gpu:4|gpu:0|\n"
    assert parse_room(f"{node}\x1d{STARTS}\x1d{NOW}", Need(2, 1000, 1)) == Room(4, 4, 60.0)


def test_kinds_of_gpus_are_counted_together_and_not_their_places() -> None:
    node = "vm|idle|0/16/0/16|8000|0|gpu:a100:2(S:0-1),gpu:v100:1,mps:100|gpu:a100:1(IDX:0-3),gpu:v100:0(IDX:N/A)|\n"
    assert parse_room(f"{node}\x1d{STARTS}\x1d{NOW}", Need(1, 0, 1)).free == 2


@pytest.mark.parametrize(
    "text", ["", "\x1d\x1d", f"a|b|\n\x1d\x1d{NOW}", f"vm|idle|16|1|0|gpu:1|gpu:0|\n\x1d\x1d{NOW}"]
)
def test_another_answer_is_not_guessed_at(text: str) -> None:
    with pytest.raises(SlurmParseError):
        parse_room(text, Need(1, 0, 0))


def test_the_questions_are_of_the_jobs_own_partition_and_options() -> None:
    words = room_words({"partition": "a b", "gres": "gpu:1", "exclusive": ""})
    assert words.count("--partition=a b") == 2
    assert {"--gres=gpu:1", "--exclusive", "--test-only"} <= set(words)


def test_sbatch_is_asked_for_the_plan_s_job_alone(tmp_path: Path) -> None:
    for name in ("sinfo", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\nenv | grep -E '^(SBATCH|SLURM)_'\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SBATCH_TIMELIMIT": "1", "SLURM_HINT": "x", "SLURM_CONF": "/c"}
    done = subprocess.run(program("capacity", *room_words({})), env=env, capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\x1d")[1].split()) == {"SLURM_CONF=/c", "SLURM_TIME_FORMAT=%s"}


def test_the_answer_is_what_both_commands_said_and_the_time(tmp_path: Path) -> None:
    for name, body in {"sinfo": "echo nodes; echo aside >&2", "sbatch": "echo starts >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(program("capacity", *room_words({})), env=env, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"nodes\n\x1dstarts\n\x1d[0-9]+\n", done.stdout)
