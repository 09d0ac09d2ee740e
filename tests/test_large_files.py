"""A file that is made to be slow or endless is refused in time, in few lines."""

from __future__ import annotations

import time

import pytest

from tfslurm.errors import InputError
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.spec_checks import wrong_image, wrong_options, wrong_sweep

BASE = "name: a\nimage: x:1\ncommand: [a]\n"
MANY = range(60_000)
FILES = {
    "aliases": BASE + 'a: &a ["x"]\n' + "".join(f"b{number}: &b{number} [*a, *a]\n" for number in range(300)),
    "nested lists": "name: a\nenv: " + "[" * 100_000 + "]" * 100_000,
    "nested keys": "".join(" " * depth + "k:\n" for depth in range(1400)),
    "unknown keys": BASE + "".join(f"k{number}: 1\n" for number in MANY),
    "keys without values": BASE + "".join(f"k{number}:\n" for number in MANY),
    "one key again and again": BASE + "k: 1\n" * 60_000,
    "variables of a wrong type": BASE + "env:\n" + "".join(f"  A{number}: 1\n" for number in range(1900)),
    "traps": BASE + "env:\n" + "".join(f"  A{number}: yes\n" for number in range(1900)),
    "mounts": BASE + "mounts:\n" + "  - {source: /a, target: /b}\n" * 15_000,
    "secrets": BASE + "secrets: [" + "A, " * 40_000 + "]\n",
    "options": BASE + "slurm: {" + ", ".join(f"k{number}: 1" for number in range(1900)) + "}\n",
    "a list": BASE + "clusters: [" + "a," * 500_000 + "]\n",
    "axes": BASE + "sweep: {grid: {" + ", ".join(f"a{number}: [1]" for number in MANY) + "}}\n",
    "blocks": BASE + "sweep: {blocks: [" + "{grid: {a: [1]}}, " * 40_000 + "]}\n",
    "points": BASE + "sweep: {grid: {a: {range: [0, 10000000]}}}\n",
    "points that are allowed": BASE + "sweep: {max_points: 10000000000, grid: {a: {range: [0, 1000000000]}}}\n",
    "samples": BASE + "sweep: {random: {samples: 1000000000, a: {uniform: [0, 1]}}}\n",
    "words": "name: a\nimage: x:1\ncommand: '" + "a " * 200_000 + "'\n",
    "shells": "name: a\nimage: x:1\ncommand: [" + 'sh, -c, "{{ a }}", ' * 3_000 + "]\n",
    "a number": BASE + "resources: {gpus: " + "9" * 500_000 + "}\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_it_is_refused_in_time_and_in_few_lines(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        parse_experiment(text, "exp.yaml", {}, (wrong_image, wrong_options, wrong_sweep))
    assert time.monotonic() - began < 20  # seconds on a busy machine; each took minutes, or did not end
    assert len(caught.value.problems) <= 101
    assert len(str(caught.value)) < 60_000


def test_how_many_problems_more_there_are_is_said() -> None:
    with pytest.raises(InputError, match=r"has 25 more problems; fix these first$"):
        parse_experiment(BASE + "env:\n" + "".join(f"  A{number}: 1\n" for number in range(125)), "exp.yaml")
