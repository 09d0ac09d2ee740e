"""A file of a megabyte is read, or refused, in seconds and within a gigabyte, whatever it holds."""

from __future__ import annotations

import subprocess
import sys

import pytest

BASE = "name: a\nimage: a:1\ncommand: [a]\n"
LOOK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from tests.made import PIN
from tfslurm.errors import InputError
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.sweep_arrays import entries_of, placed
from tfslurm.sweeps.points import sweep_of, wrong_sweep
try:
    experiment = parse_experiment(sys.stdin.read(), "exp.yaml", {}, (wrong_sweep,))
    if experiment.sweep:
        sweep = sweep_of(experiment)
        entries_of(experiment, PIN, sweep)
        placed(sweep, ["alpha", "beta"], {**experiment.sweep, "spread": "even"}, {}, None)
    print("taken")
except InputError as error:
    print(error)
"""
LONG = "x" * 800_000
HEX = "0x" + "f" * 5_000
RULE, OTHER = "{values: {a: #}, cluster: alpha}", "{values: {abcdefgi#: 1}, cluster: a}"
AXES = ", ".join(f"abcdefgh{number}: [1]" for number in range(1900))


def many(item: str, count: int) -> str:
    return "[" + ", ".join(item.replace("#", str(number)) for number in range(count)) + "]"


SIZES = {
    "one line of control characters": BASE + "#" + "\x01" * 1_000_000,
    "a key that is long": f"? {'k' * 400_000}\n: {{{', '.join(f'a{n}: yes' for n in range(100))}}}\n{BASE}",
    "base 60": f"{BASE}x: 1{':00' * 300_000}\n",
    **{
        f"hexadecimal {key}": f"{BASE}{key}: {value.replace('#', HEX)}\n"
        for key, value in {
            "resources": "{cpus: #}",
            "env": "{A: #}",
            "slurm": "{nice: #}",
            "sweep": "{grid: {a: [#], b: {range: [0, #]}}, random: {c: {int: [0, #]}, samples: #}, max_parallel: #}",
        }.items()
    },
    "interpreters": f"name: a\nimage: a:1\ncommand: {many('perl, -r', 4_990)[:-1]}, '{{{{ a }}}}']\n",
    "a long word": f"name: a\nimage: a:1\ncommand: [env, '{'1' * 800_000}!', '{'a' * 100_000}{{{{ a }}}}']\n",
    "long values": f"{BASE}sweep: {{grid: {{a: [{LONG}], b: {{range: [100000]}}}}}}\n",
    "long values that repeat": f"{BASE}sweep: {{blocks: {many('{grid: {a: [y], b: {range: [99]}}}', 300)}}}\n",
    "many places": f"name: a\nimage: a:1\ncommand: [a, {many('{{ a }}', 9_000)[1:]}\n".replace("{{ a }}", "'{{ a }}'")
    + f"sweep: {{grid: {{a: [{LONG}]}}}}\n",
    "many words": f"name: a\nimage: a:1\ncommand: {many('word', 9_999)}\nsweep: {{grid: {{a: {{range: [100000]}}}}}}\n",
    "exclude": f"{BASE}sweep: {{grid: {{a: {{range: [30000]}}}}, exclude: {many('{a: #}', 12_000)}}}\n",
    "include": f"{BASE}sweep: {{include: {many('{a: #}', 12_000)}}}\n",
    "where": f"{BASE}sweep: {{grid: {{a: {{range: [30000]}}}}, where: {many(RULE, 9_000)}}}\n",
    "unknown names": f"{BASE}sweep: {{grid: {{{AXES}}}, exclude: {many('{abcdefgi#: 1}', 9_000)}}}\n",
    "unknown names in where": f"{BASE}sweep: {{grid: {{{AXES}}}, where: {many(OTHER, 9_000)}}}\n",
    "kinds of exclude": f"{BASE}sweep: {{grid: {{{', '.join(f'a{n}: [1, 2]' for n in range(15))}}}, exclude: ["
    + ", ".join(f"{{a{one}: 1, a{two}: 3}}" for one in range(15) for two in range(15) if one != two)
    + "]}\n",
}
TAKEN = ("a long word", "include", "exclude", "where", "long values that repeat")


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_a_file_of_any_make_is_read_or_refused_in_bounds(name: str) -> None:
    command = [sys.executable, "-c", LOOK]
    done = subprocess.run(command, input=SIZES[name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout) < 2**20
    assert (done.stdout == "taken\n") == (name in TAKEN), done.stdout[:2000]
