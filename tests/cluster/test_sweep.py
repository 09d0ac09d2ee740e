"""Sweeps on the bed: each point runs once, with its own values exactly, whatever is cut off meanwhile."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .desk import Desk

HOSTILE = ["a b", "$(id) `x`", "'\"\\", "é\n学", "*", "-n"]
SHOW = ["sh", "-c", 'printf "%s\\0" "$@" "$TFSLURM_PARAMS" >/out/words', "sh"]


def swept(desk: Desk, file: Path, *words: str) -> list[str]:
    """The lines that `tfslurm submit` printed, one for each Slurm job."""
    done = desk.tfslurm("submit", file, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(r"(alpha|beta):\d+", line) for line in lines), done.stdout
    return lines


def folders(desk: Desk) -> list[Path]:
    """The folders of the points that have ended."""
    return [path for cluster in ("alpha", "beta") for path in desk.root(cluster).glob("runs/*/[0-9]*_[0-9]*")]


def test_every_point_runs_once_over_two_clusters_with_its_own_words_exactly(desk: Desk) -> None:
    sweep = {"grid": {"text": HOSTILE, "lr": [0.1, 1]}, "spread": "even"}
    env = {"LR": "{{ lr }}", "SAME": "yes"}
    file = desk.experiment("words", [*SHOW, "{{ text }}", "--lr={{ lr }}"], sweep=sweep, env=env)
    jobs = swept(desk, file, "--cluster", "alpha", "--cluster", "beta", "--wait")
    assert [job.partition(":")[0] for job in jobs] == ["alpha", "beta"]
    seen = []
    for folder in folders(desk):
        text, lr, params, rest = (folder / "out" / "words").read_bytes().decode().split("\0")
        assert rest == ""
        assert json.loads(params) == {"lr": json.loads(lr.removeprefix("--lr=")), "text": text}
        seen.append((text, lr))
    assert sorted(seen) == sorted((text, f"--lr={lr}") for text in HOSTILE for lr in ("0.1", "1"))
