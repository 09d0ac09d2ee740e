"""Experiment files: what they may say, what they become, and how every mistake is told."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tfslurm.cluster import parse_cluster
from tfslurm.document import Refused, dump
from tfslurm.errors import InputError, Problem
from tfslurm.spec import (
    Checkpoint,
    Code,
    Comparer,
    Experiment,
    Mount,
    Placeholder,
    Reproduce,
    Resources,
    Word,
    experiment_schema,
    fill,
    parsing,
)
from tfslurm.spec.parsing import parse_experiment
from tfslurm.spec.places import source, target
from tfslurm.spec.quantities import gpus, memory_mib, time_s
from tfslurm.spec.words import split

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
EXPECTED = re.compile(r"^# expect: (\d+) (\S+) \| (.*)$", re.MULTILINE)
JARGON = re.compile(r"pydantic|validat|input_value|_type\b|NoneType|\b(str|int|dict|bool|float)\b|Traceback|schema")

LEAST = "name: a\nimage: x:1\ncommand: python train.py\n"
CONTRACT = """\
name: digits-cnn                          # [a-z0-9-]+
image: tensorflow/tensorflow:2.16.1-gpu
command: python train.py --lr {{ lr }} --seed {{ seed }} --out /out
code: .
mounts:
  - {source: /data/digits, target: /data, read_only: true}   # source is a path on the cluster
outputs: /out
env: {TF_DETERMINISTIC_OPS: "1"}
secrets: [WANDB_API_KEY]
resources: {gpus: 1, cpus: 4, memory: 16G, time: "02:00:00", nodes: 1, tasks_per_node: 1, shm: 8G}
network: bridge
template: my.sbatch.j2
slurm: {partition: gpu, account: lab}
checkpoint: {signal: USR1, before_end: 120, requeue: true}
clusters: [alpha, beta]
"""
SWEEP = """\
sweep:
  grid: {lr: [0.1, 0.01, 0.001], seed: {range: [0, 10]}}
  zip: [{depth: [2, 4], width: [64, 128]}]
  random: {dropout: {uniform: [0.1, 0.5]}, samples: 20, seed: 7}
  exclude: [{lr: 0.1, depth: 4}]
  max_parallel: 32
  spread: idle
"""


def test_what_another_run_is_compared_by_is_read_and_set() -> None:
    keys = LEAST + "outputs: /out\nreproduce: {metric: val.accuracy, tolerance: 0, files: [a/model.weights.h5]}\n"
    read = parse_experiment(keys, "exp.yaml", {"reproduce.tolerance": "0.02"})
    assert read.reproduce == Reproduce("val.accuracy", 0.02, ("a/model.weights.h5",))
    assert parse_experiment(LEAST, "exp.yaml").reproduce is None


def test_how_single_files_are_compared_is_read() -> None:
    keys = LEAST + "code: .\noutputs: /out\n"
    keys += 'reproduce: {compare: {"*.npz": {absolute: 1.0e-6, relative: 0}, "t/*.parquet": a/compare.py}}\n'
    read = parse_experiment(keys, "exp.yaml")
    by = (Comparer("*.npz", None, 1e-6, 0.0), Comparer("t/*.parquet", "a/compare.py"))
    assert read.reproduce == Reproduce(compare=by)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("{compare: {x: {}}}", "reproduce.compare.x: names neither a script nor a tolerance; write `{absolute: 1e-6"),
        ("{compare: {x: {script: a.py, absolute: 1}}}", "reproduce.compare.x: names a script and a tolerance"),
        ("{compare: {x: a.py}}", "reproduce.compare.x: there is no `code`, so no run has the script; add `code: .`"),
        ("{compare: {x: {absolute: -1}}}", "the least is 0"),
        ("{compare: {x: {absolute: .nan}}}", "reproduce.compare.x.absolute"),
        ("{compare: {x: {relativ: 1}}}", "did you mean `relative`?"),
        ("{compare: {../x: {absolute: 1}}}", "'../x' is not a path below `outputs`"),
        ("{compare: {/x: {absolute: 1}}}", "'/x' is not a path below `outputs`"),
        ("{compare: [x]}", "reproduce.compare"),
        ("{compare: {}}", "reproduce: names neither a metric nor a file"),
    ],
)
def test_a_comparison_by_nothing_is_refused(keys: str, why: str) -> None:
    (line,) = said(f"{LEAST}outputs: /out\nreproduce: {keys}\n")
    assert line.startswith("exp.yaml:5: ") and why in line, line


@pytest.mark.parametrize("script", ["../a.py", "/bin/sh", "", "a//b"])
def test_a_script_is_below_the_code(script: str) -> None:
    (line,) = said(f"{LEAST}code: .\noutputs: /out\nreproduce: {{compare: {{x: '{script}'}}}}\n")
    assert "is not a path below `code`" in line


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("{tolerance: 0.1}", "reproduce.tolerance: it is not said of which metric; add `metric: accuracy`"),
        ("{}", "reproduce: names neither a metric nor a file; add `metric: accuracy`"),
        ("{metric: a, tolerance: .inf}", "reproduce.tolerance"),
        ("{metric: a, tolerance: '0.1'}", "reproduce.tolerance: '0.1' is text; a number is wanted"),
        ("{metric: a, tolerance: true}", "reproduce.tolerance: true is a yes-or-no value; a number is wanted"),
        ("accuracy", "reproduce: 'accuracy' is text; a mapping"),
    ],
)
def test_a_comparison_of_nothing_is_refused(keys: str, why: str) -> None:
    (line,) = said(f"{LEAST}outputs: /out\nreproduce: {keys}\n")
    assert line.startswith("exp.yaml:5: ") and why in line


def test_a_job_that_goes_on_keeps_something_to_go_on_from() -> None:
    keys = "name: a\nimage: a:1\ncommand: a\ncheckpoint: {requeue: true}\n"
    (line,) = said(keys)
    assert line.startswith("exp.yaml:4: checkpoint.requeue: the next attempt would find nothing of this one")
    assert parse_experiment(keys + "outputs: /out\n", "exp.yaml").checkpoint == Checkpoint(requeue=True)


def problems(text: str, overrides: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as refused:
        parse_experiment(text, "exp.yaml", overrides)
    return refused.value.problems


def said(text: str, overrides: Mapping[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in problems(text, overrides)]


def experiment(**keys: object) -> Experiment:
    return parse_experiment(dump({"name": "a", "image": "x:1", "command": "python train.py", **keys}), "exp.yaml")


def test_the_contract_s_example_is_read() -> None:
    read = parse_experiment(CONTRACT, "exp.yaml")
    assert read.name == "digits-cnn"
    assert [str(word) for word in read.command] == [
        *("python", "train.py", "--lr", "{{ lr }}", "--seed", "{{ seed }}", "--out", "/out")
    ]
    assert read.command[3] == Word((Placeholder("lr"),), line=3)
    assert read.code == Code(".", writable=False)
    assert read.mounts == (Mount("/data/digits", "/data", read_only=True),)
    assert read.outputs == "/out"
    assert read.env == {"TF_DETERMINISTIC_OPS": Word(("1",), line=8)}
    assert read.secrets == ("WANDB_API_KEY",)
    assert read.resources == Resources(1, None, 4, 16384, 7200, 1, 1, 8192)
    assert (read.network, read.template) == ("bridge", "my.sbatch.j2")
    assert read.slurm == {"partition": "gpu", "account": "lab"}
    assert read.checkpoint == Checkpoint("USR1", 120, requeue=True)
    assert read.clusters == ("alpha", "beta")
    assert read.lines["mounts", 0, "source"] == 6
    assert str(read.problem(("image",), "moves", "pin it")) == "exp.yaml:2: image: moves; pin it"


@pytest.mark.parametrize("pattern", ["*.h5", "notebooks/", "/data/**/raw", "./a b", "[ab]?", "#x"])
def test_what_is_no_code_is_named_by_patterns(pattern: str) -> None:
    assert experiment(code={"path": ".", "exclude": [pattern]}).code == Code(".", writable=False, exclude=(pattern,))


@pytest.mark.parametrize("pattern", ["", "!keep.py", "/", "./", "a/../../b", "..", "a\\b", "a\nb", "x" * 1001, 7, None])
def test_a_pattern_that_names_nothing_is_refused(pattern: object) -> None:
    with pytest.raises(InputError, match=r"code\.exclude\[0\]"):
        experiment(code={"path": ".", "exclude": [pattern]})


def test_what_is_absent_is_the_site_s_default_and_one_gpu() -> None:
    read = parse_experiment(LEAST, "exp.yaml")
    assert read.resources == Resources(gpus=1, cpus=1, memory_mib=None, time_s=None, nodes=1, tasks_per_node=1)
    assert (read.code, read.outputs, read.template, read.checkpoint, read.sweep) == (None, None, None, None, None)
    assert (read.mounts, read.secrets, read.clusters, read.env, read.slurm) == ((), (), (), {}, {})
    assert (read.network, read.prepull) == ("bridge", False)


def test_cpus_follow_the_tasks_of_a_node_where_they_are_not_given() -> None:
    assert experiment(resources={"tasks_per_node": 4}).resources.cpus == 4


def test_options_are_keyed_by_slurm_s_own_spelling() -> None:
    assert experiment(slurm={"mail_user": "a@b.example", "exclusive": True}).slurm == {
        "mail-user": "a@b.example",
        "exclusive": True,
    }


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_every_mistake_of_a_broken_file_is_told_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    expected = EXPECTED.findall(text)
    with pytest.raises(InputError) as refused:
        parse_cluster(text, path.name) if "-cluster-" in path.name else parse_experiment(text, path.name)
    assert expected
    left = list(refused.value.problems)
    for line, key, phrase in expected:
        fits = [
            problem
            for problem in left
            if (problem.line, problem.key) == (int(line), "" if key == "-" else key) and phrase in str(problem)
        ]
        assert fits, f"nothing says {line} {key}: {phrase}\n{refused.value}"
        left.remove(fits[0])
    assert not left
    for problem in refused.value.problems:
        assert not JARGON.search(f"{problem.why} {problem.fix}".replace("!!str", "")), problem
        assert problem.fix
        assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("gpus", "tasks", "fix"),
    [("3", 2, "write 2 or 4, "), ('"a100:8"', 3, "write 6 or 9, ")],
)
def test_gpus_that_the_tasks_of_a_node_cannot_share_evenly_are_refused(gpus: str, tasks: int, fix: str) -> None:
    text = LEAST + f"resources: {{gpus: {gpus}, tasks_per_node: {tasks}}}\n"
    (found,) = problems(text)
    assert (found.line, found.key) == (4, "resources.gpus")
    assert found.why.endswith(f"GPUs per node cannot be shared evenly by {tasks} tasks")
    assert found.fix == fix + "or let every task see all of them: `slurm: {gpu-bind: none}`"
    for bound in ("gpu-bind", "gpu_bind"):
        assert parse_experiment(text + f"slurm: {{{bound}: none}}\n", "exp.yaml").resources.tasks_per_node == tasks


def test_fewer_gpus_than_tasks_are_shared_by_all() -> None:
    assert experiment(resources={"gpus": 1, "tasks_per_node": 2}).resources.gpus == 1


@pytest.mark.parametrize("value", ["yes please", "on", 1])
def test_the_check_of_tensorflow_is_one_of_three_words(value: object) -> None:
    with pytest.raises(InputError, match="gpu_check"):
        experiment(gpu_check=value)


def test_a_check_that_is_off_is_written_in_quotes_and_set_without() -> None:
    assert parse_experiment(LEAST + 'gpu_check: "off"\n', "exp.yaml").gpu_check == "off"
    assert parse_experiment(LEAST, "exp.yaml", {"gpu_check": "off"}).gpu_check == "off"
    (found,) = problems(LEAST + "gpu_check: off\n")
    assert found.key == "gpu_check" and "quotes" in str(found)


@pytest.mark.parametrize("several", [{"nodes": 2}, {"tasks_per_node": 2}])
def test_several_tasks_share_the_hosts_network_unless_another_is_written(several: dict[str, int]) -> None:
    assert experiment(resources=several).network == "host"
    assert experiment(resources=several, network="none").network == "none"
    assert experiment(resources={"tasks_per_node": 2}, network="bridge").network == "bridge"


def test_a_bridge_between_nodes_is_refused_with_its_line() -> None:
    (found,) = problems(LEAST + "network: bridge\nresources: {nodes: 3}\n")
    assert (found.line, found.key) == (4, "network")
    assert found.why == "containers on 3 nodes cannot reach each other over bridges"


def test_there_are_thirty_broken_files_and_several_have_more_than_one_mistake() -> None:
    counts = [len(EXPECTED.findall(path.read_text())) for path in BROKEN]
    assert len(counts) >= 30
    assert sum(count > 1 for count in counts) >= 10


HOSTILE = [
    "", " ", "a b", "  two  spaces  ", "'", '"', "it's", 'say "hi"', "'\"'\"'", "$(touch /tmp/x)", "`id`", "$HOME",
    "${IFS}", "a;b", "a && b", "| cat", "> /dev/null", "#not a comment", "a #b", "\\", "\\\\", "a\\nb", "C:\\dir\\",
    "line one\nline two", "\n", "trailing\n", "tab\there", "-", "--", "-rf", "--privileged", "*", "?[a-z]", "~", "!!",
    "%j %% %s", "=", "a=b=c", ",", ":", "été", "数字", "שלום עולם", "\u202eevil", "🧪🏳️‍🌈", "e\u0301", "}}", "{", "{x}",
    "{{ '{{' }}", "null", "yes", "12:30:00", "1e-4", "010", "x" * 20_000, "\x07bell", "\x1b[31m", "\u2028", "\xa0",
]  # fmt: skip
SAME = {"{{ '{{' }}": "{{"}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_any_value_of_an_argument_or_a_variable_comes_through_exactly(value: str) -> None:
    read = experiment(command=["python", value, f"--x={value}"], env={"V": value})
    argv, env = fill(read, {})
    exact = SAME.get(value, value)
    assert argv == ("python", exact, f"--x={exact}")
    assert env == {"V": exact}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_any_parameter_stays_one_word_and_comes_through_exactly(value: str) -> None:
    read = experiment(command="train {{ p }} --x={{p}} 'a {{ p }}' \"{{ p.q }}\"", env={"V": "<{{ p }}>"})
    argv, env = fill(read, {"p": value, "p.q": value})
    assert argv == ("train", value, f"--x={value}", f"a {value}", value)
    assert env == {"V": f"<{value}>"}


@pytest.mark.parametrize(
    "value", ["{{", "{{ }}", "{{ 1x }}", "{{ a b }}", "{{.ID}}", "{{ lr", "{{ a-b }}", "{{ lr | e }}"]
)
def test_braces_that_are_no_placeholder_are_refused_with_their_line(value: str) -> None:
    text = dump({"name": "a", "image": "x:1", "command": ["python", value], "env": {"V": value}})
    assert [(problem.line, problem.key) for problem in problems(text)] == [(5, "command[1]"), (7, "env.V")]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_a_hostile_name_is_refused_with_its_line(value: str) -> None:
    if value in ("yes", "null", "010", "1e-4"):
        assert experiment(name=value).name == value
        return
    (problem,) = problems(dump({"image": "x:1", "command": "a", "name": value}))
    assert (problem.line, problem.key) == (3, "name")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_a_hostile_path_comes_through_exactly_or_is_refused_with_its_line(value: str) -> None:
    mount = {"source": f"/data/{value}", "target": f"/data/{value}"}
    text = dump({"name": "a", "image": "x:1", "command": "a", "mounts": [mount]})
    try:
        read = parse_experiment(text, "exp.yaml")
    except InputError as refused:
        assert {(problem.line, problem.key) for problem in refused.problems} == {
            (5, "mounts[0].source"),
            (6, "mounts[0].target"),
        }
        assert not value or len(value) > 4000 or any(ord(char) < 32 for char in value)
    else:
        assert read.mounts == (Mount(mount["source"], mount["target"]),)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_a_hostile_option_value_comes_through_exactly_or_is_refused_with_its_line(value: str) -> None:
    text = dump({"name": "a", "image": "x:1", "command": "a", "slurm": {"constraint": value}})
    try:
        assert parse_experiment(text, "exp.yaml").slurm == {"constraint": value}
    except InputError as refused:
        assert [(problem.line, problem.key) for problem in refused.problems] == [(5, "slurm.constraint")]
        assert not value or not value.isprintable() or "\\" in value


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_a_hostile_variable_name_is_refused_with_its_line(value: str) -> None:
    text = dump({"name": "a", "image": "x:1", "command": "a", "env": {value: "1"}})
    if value in ("null", "yes"):
        assert dict(experiment(env={value: "1"}).env) == {value: Word(("1",), line=5)}
        return
    assert [problem.line for problem in problems(text)] == [5]


LINE = st.text(alphabet="ab '\"\\\t=-,.é{}()[]*?~:", max_size=24)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(LINE)
@example("a\\ ")
@example('"a\\"b" c')
@example("''")
@example("a ''")
@example("\\'a b\\'")
@example('"\\a\\\\"')
def test_a_line_without_shell_syntax_is_split_as_shlex_does(line: str) -> None:
    assume("{{" not in line)
    try:
        expected = tuple(shlex.split(line))
    except ValueError:
        with pytest.raises(Refused):
            split(line)
        return
    if not expected or not expected[0]:
        with pytest.raises(Refused, match="names no program"):
            split(line)
        return
    try:
        words = split(line)
    except Refused as refused:
        assert "sets a variable" in refused.why
        return
    assert tuple("".join(str(part) for part in word) for word in words) == expected


@pytest.mark.parametrize(
    "line",
    [
        "python train.py \\\n  --lr 1 \\\n  --epochs 2\n",
        "python train.py \\\n--lr 1 \\\n\t--epochs 2 \\\n",
        "\\\npython train.py --l\\\nr 1 --epochs \\\n\\\n2",
    ],
)
def test_a_line_that_goes_on_adds_no_empty_argument(line: str) -> None:
    assert split(line) == (("python",), ("train.py",), ("--lr",), ("1",), ("--epochs",), ("2",))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab '\"\\$`|&;<>#\n=-", max_size=16))
@example('a "\\$x"')
@example("a\\\nb")
@example('a "x\\\ny"')
@example("a \\#b")
@example("\\\n#")
@example("a \\\n  b")
@example("a \\\n")
@example("a \\\n\\\n '' b")
def test_a_line_is_split_as_a_shell_does_or_refused(line: str) -> None:
    try:
        words = split(line)
    except Refused:
        return
    script = "set -f\nprintf '%s\\0' " + line.lstrip(" \n") + "\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert done.stdout.decode().split("\0")[:-1] == ["".join(map(str, word)) for word in words]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a | b", "| would"),
        ("a||b", "|| would"),
        ("a > b", "> would"),
        ("a 2>&1", "> and & would"),
        ("a <b", "< would"),
        ("a; b", "; would"),
        ("a && b", "&& would"),
        ("a &", "& would"),
        ("a http://x/?b=1&c=2", "& would"),
        ("a $HOME", "$HOME would"),
        ('a "$HOME"', "$HOME would"),
        ("a ${HOME}", "${HOME} would"),
        ("a $(b)", "$( would"),
        ('a "$(b)"', "$( would"),
        ("a `b`", "` would"),
        ('a "`b`"', "` would"),
        ("a $1", "$1 would"),
        ("a $$", "$$ would"),
        ("a >> b", ">> would"),
        ("A=1 b", "A=… sets a variable"),
        ("a #b", "'#b' begins a comment"),
        ("a\nb", "a line break ends a command"),
        ("a 'b", "the quote ' is opened"),
        ('a "b', 'the quote " is opened'),
        ("a \\", "ends in a backslash"),
        ("", "names no program"),
        ("   \n", "names no program"),
        ("'' b", "names no program"),
        ("a \0", "NUL"),
        ("a \\{{ b }}", "a backslash stands before {{"),
    ],
)
def test_a_line_that_needs_a_shell_is_refused(line: str, what: str) -> None:
    with pytest.raises(Refused) as refused:
        split(line)
    assert what in refused.value.why
    assert refused.value.fix


@pytest.mark.parametrize(
    "line", ["a '$HOME'", "a \\$HOME", 'a "\\$HOME"', "a 'b | c; d > e'", "a b#c", "a $", "a 5$", "a -x=A=1", "a ~ * ?"]
)
def test_a_line_whose_shell_characters_are_quoted_or_plain_is_accepted(line: str) -> None:
    assert len(split(line)) >= 2


def test_a_folded_block_is_one_line() -> None:
    text = "name: a\nimage: x:1\ncommand: >-\n  python train.py\n  --lr {{ lr }}\n"
    assert fill(parse_experiment(text, "exp.yaml"), {"lr": 0.1})[0] == ("python", "train.py", "--lr", "0.1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (3, "3"),
        (-1, "-1"),
        (0.1, "0.1"),
        (1e-4, "0.0001"),
        (1e-07, "1e-07"),
        (True, "true"),
        (False, "false"),
        (1e22, "1e+22"),
        ("", ""),
    ],
)
def test_numbers_and_switches_are_filled_in_as_json_writes_them(value: str | float | bool, text: str) -> None:
    assert fill(experiment(command="a {{ v }}"), {"v": value})[0] == ("a", text)


def test_names_without_a_value_are_refused_with_their_lines() -> None:
    read = parse_experiment(
        "name: a\nimage: x:1\ncommand:\n  - python\n  - --rate={{ learning_rat }}\nenv: {S: '{{ sede }}{{ sede }}'}\n",
        "exp.yaml",
    )
    with pytest.raises(InputError) as refused:
        fill(read, {"learning_rate": 0.1, "seed": 1})
    assert str(refused.value).splitlines() == [
        "exp.yaml:5: command[1]: {{ learning_rat }} has no value; did you mean `learning_rate`? "
        "the parameters are: learning_rate, seed",
        "exp.yaml:6: env.S: {{ sede }} has no value; did you mean `seed`? the parameters are: learning_rate, seed",
    ]
    with pytest.raises(InputError, match=r"give it one: --set \w+=VALUE"):
        fill(experiment(command="a {{ b }}"), {})


@pytest.mark.parametrize("value", ["a\0b", None, [1], {"a": 1}])
def test_a_parameter_that_no_argument_can_carry_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="cannot be put into a command"):
        fill(experiment(command="a {{ v }}"), {"v": value})


@pytest.mark.parametrize(
    ("text", "mib"),
    [("16G", 16384), ("512M", 512), ("1024K", 1), ("1K", 1), ("1025K", 2), ("2T", 2097152), ("16g", 16384)],
)
def test_memory_is_read_with_base_1024(text: str, mib: int) -> None:
    assert memory_mib(text) == mib


def test_a_job_may_ask_for_all_memory_and_dev_shm_may_not() -> None:
    assert parse_experiment(LEAST + "resources: {memory: all}\n", "exp.yaml").resources.memory_mib == 0
    for resources in ("{shm: all}", "{memory: 0}", "{memory: All}"):
        with pytest.raises(InputError, match=r"write `memory: all`|not an amount of memory"):
            parse_experiment(LEAST + f"resources: {resources}\n", "exp.yaml")


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (16, "write 16M or 16G"),
        ("16GB", "write 16G"),
        ("16 G", "write 16G"),
        ("16GiB", "write 16G"),
        ("1.5G", "write 1536M"),
        ("16", "a whole number and K, M, G or T"),
        ("", "such as 16G"),
        ("0G", "remove the key"),
        (-1, "write 16G"),
        (True, "such as 16G"),
        (1.5, "such as 16G"),
        ("-1G", "such as 16G"),
        ("１G", "such as 16G"),
    ],
)
def test_memory_in_another_form_is_refused_with_the_fix(value: object, mend: str) -> None:
    with pytest.raises(Refused) as refused:
        memory_mib(value)
    assert mend in refused.value.fix


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 5400),
        ("90", 5400),
        ("90:30", 5430),
        ("02:00:00", 7200),
        ("100:00:00", 360000),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("7-00:00:01", 604801),
        ("0:1", 1),
    ],
)
def test_times_are_read_as_slurm_reads_them(value: object, seconds: int) -> None:
    assert time_s(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["1h", "1:60", "1:2:60", "1:60:00", "1-24", "1-2:3:4:5", "", " 1", "-1", -5, 0, "0", "00:00:00", True, 1.5, "١:٠"],
)
def test_times_in_another_form_and_zero_are_refused(value: object) -> None:
    with pytest.raises(Refused):
        time_s(value)


def test_gpus_are_a_number_or_a_type_with_one() -> None:
    assert gpus(0) == (0, None)
    assert gpus("nvidia_a100-sxm4-80gb:8") == (8, "nvidia_a100-sxm4-80gb")
    for value in ["2", "a100", "a100:0", ":2", "gpu:a100:2", -1, 2000, True, 1.5, None]:
        with pytest.raises(Refused):
            gpus(value)


@pytest.mark.parametrize(
    "path", ["/data", "/data/x y", "/home/alice", "/etcetera", "/var/data", "/scratch/run", "/mnt/etc"]
)
def test_ordinary_folders_may_be_sources(path: str) -> None:
    assert source(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/shadow",
        "/root/.ssh",
        "/proc/1",
        "/sys",
        "/dev/nvidia0",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/var",
        "/var/lib",
        "/var/lib/docker/x",
        "/boot",
        "data",
        "./data",
        "~/data",
        "/data/../etc",
        "/data/",
        "//data",
        "/data/./x",
        "/data//x",
        "",
        "/data\n",
        "/" + "x" * 5000,
    ],
)
def test_places_that_hand_over_the_node_are_never_sources(path: str) -> None:
    with pytest.raises(Refused):
        source(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/workspace",
        "/workspace/x",
        "/etc",
        "/etc/passwd",
        "/run",
        "/run/tfslurm",
        "/run/tfslurm-x/y",
        "/dev/shm",
        "/var/run/nvidia-container-devices/all",
    ],
)
def test_what_a_container_needs_is_never_covered(path: str) -> None:
    with pytest.raises(Refused):
        target(path)
    assert target("/etc/ssl") == "/etc/ssl"


def test_overrides_replace_values_of_the_file() -> None:
    read = parse_experiment(
        CONTRACT,
        "exp.yaml",
        {
            "resources.time": "12:30:00",
            "resources.gpus": "a100:2",
            "resources.cpus": "8",
            "env.SEED": "007",
            "name": "7",
            "command": "[python, x.py]",
            "slurm.partition": "on",
            "checkpoint.requeue": "false",
            "clusters": "[gamma]",
            "slurm.nice": "100",
            "image": ["y:2", "#", "not", "a", "comment"][0],
        },
    )
    assert (read.resources.time_s, read.resources.gpus, read.resources.gpu_type) == (45000, 2, "a100")
    assert (read.resources.cpus, str(read.env["SEED"]), read.name) == (8, "007", "7")
    assert [str(word) for word in read.command] == ["python", "x.py"]
    assert (read.slurm["partition"], read.slurm["nice"]) == ("on", 100)
    assert read.checkpoint == Checkpoint("USR1", 120, requeue=False)
    assert (read.clusters, read.image) == (("gamma",), "y:2")


def test_an_override_fixes_what_is_wrong_in_the_file() -> None:
    text = LEAST + "resources: {time: 12:30:00, gpus: two}\n"
    read = parse_experiment(text, "exp.yaml", {"resources.time": "01:00:00", "resources.gpus": "0"})
    assert (read.resources.time_s, read.resources.gpus) == (3600, 0)


def test_problems_of_an_override_point_at_the_command_line() -> None:
    overrides = {"resources.time": "soon", "resources.gpu": "1", "code.writable": "true", "mounts": "[{source: /etc}]"}
    found = said(LEAST + "code: .\nnetwork: no one\n", overrides)
    assert found[0] == "--set code.writable: `code` is not a mapping of keys in exp.yaml; set `code` as a whole"
    assert found[1].startswith("--set mounts: mounts[0].source: '/etc' is never mounted")
    assert found[2].startswith("--set mounts: mounts[0].target: is missing")
    assert found[3].startswith("--set resources.gpu: is not a known key; did you mean `resources.gpus`")
    assert "resources.time" in found[3]
    assert found[4].startswith("--set resources.time: 'soon' is not a time limit")
    assert found[5].startswith("exp.yaml:5: network: 'no one' is not accepted")


@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("resources.cpus", "9007199254740992"),
        ("sweep", f"{{grid: {{lr: [{10**20}]}}}}"),
        ("checkpoint", "{requeue: .inf}"),
    ],
)
def test_a_number_of_an_override_that_other_programs_would_not_hold_is_refused(key: str, number: str) -> None:
    (problem,) = said(LEAST, {key: number})
    assert problem.startswith(f"--set {key}: ")
    assert problem.endswith("; write it as text, in quotes")


def test_a_problem_found_later_points_at_the_override_too() -> None:
    read = parse_experiment(LEAST, "exp.yaml", {"image": "y:latest"})
    assert str(read.problem(("image",), "moves")) == "--set image: moves"


@pytest.mark.parametrize("key", ["", ".", "resources.", "a.b.c", "mounts.0", "env.", "resources.time.x", "sweep.x"])
def test_a_key_that_cannot_be_set_is_refused(key: str) -> None:
    assert said(LEAST, {key: "1"})[0].startswith(f"--set {key}: is not a known key")


def test_the_schema_is_one_and_describes_every_field() -> None:
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "command"]
    assert schema["oneOf"] == [{"required": ["image"]}, {"required": ["build"]}]
    for mapping in [schema, *schema["$defs"].values()]:
        assert mapping["additionalProperties"] is False
        for key, field in mapping["properties"].items():
            assert field["title"] == key
            assert field["description"]
            assert field["examples"]
            assert "null" not in str(field)


def test_every_example_of_the_schema_is_one() -> None:
    schema = experiment_schema()
    for mapping in [schema, *schema["$defs"].values()]:
        for field in mapping["properties"].values():
            for instance in field["examples"]:
                jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]}).validate(instance)


def test_the_contract_s_example_fits_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    validator.validate(yaml.safe_load(CONTRACT + SWEEP))
    for text in [LEAST, LEAST + "code: {path: ., writable: true}\nresources: {gpus: 'a100:2', time: 90}\n"]:
        validator.validate(yaml.safe_load(text))
        parse_experiment(text, "exp.yaml")


@pytest.mark.parametrize(
    "keys",
    [
        {"nmae": "x"},
        {"name": "A B"},
        {"command": []},
        {"command": 1},
        {"network": "Host"},
        {"env": {"A": 1}},
        {"resources": {"memory": "16"}},
        {"resources": {"gpus": -1}},
        {"resources": {"time": "1h"}},
        {"mounts": [{"source": "/a"}]},
        {"code": {"writable": True}},
        {"outputs": "out"},
        {"clusters": ["A"]},
    ],
)
def test_what_the_schema_refuses_is_refused_here_too(keys: dict[str, object]) -> None:
    value = {"name": "a", "image": "x:1", "command": "a", **keys}
    assert not jsonschema.Draft202012Validator(experiment_schema()).is_valid(value)
    assert problems(dump(value))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(CONTRACT)),
    st.integers(0, 12),
    st.sampled_from(["", ":", "\n", "  ", "- ", "{", "]", "'", "~", "1:3"]),
)
def test_a_damaged_file_is_read_or_refused(position: int, length: int, put: str) -> None:
    text = CONTRACT[:position] + put + CONTRACT[position + length :]
    try:
        parse_experiment(text, "exp.yaml")
    except InputError as refused:
        assert not JARGON.search(" ".join(problem.why for problem in refused.problems))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 99)
    | st.floats(0, 2)
    | st.sampled_from(["a", "/data", "16G", "{{ x }}", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["source", "path", "gpus", "time", "range", "grid", "A"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(list(experiment_schema()["properties"])), JSON, max_size=5))
def test_values_of_any_kind_under_any_key_are_read_or_refused(value: dict[str, object]) -> None:
    try:
        parse_experiment(dump(value), "exp.yaml")
    except InputError as refused:
        for problem in refused.problems:
            assert problem.why
            assert not JARGON.search(problem.why)


def test_importing_the_rooms_loads_neither_yaml_nor_pydantic() -> None:
    code = "import sys, tfslurm.cluster, tfslurm.spec, tfslurm.document; print({'yaml', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_schema_is_built_once_and_a_caller_gets_a_copy_of_its_own() -> None:
    assert parsing.schema() is parsing.schema()
    experiment_schema()["properties"].clear()
    assert experiment_schema()["properties"] == parsing.schema()["properties"] != {}
