"""Sweeps: which points a file means, what they are called, and how mistakes are told."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfslurm.document import Refused, dump, scan
from tfslurm.document.canonical import MOST
from tfslurm.errors import InputError
from tfslurm.spec import Experiment, Placeholder, Word
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.prepare import read_experiment
from tfslurm.sweeps.overrides import values_given, with_given
from tfslurm.sweeps.points import First, Sweep, point_of, sweep_of, wrong_sweep
from tfslurm.sweeps.values import drawn_from, values_of

HEAD = "name: a\nimage: x:1\ncommand: python train.py\n"


def swept(value: Mapping[str, Any], *, command: tuple[Word, ...] = (), text: str = "") -> Sweep:
    document = scan(HEAD + (text or dump({"sweep": value})), "exp.yaml")
    assert not document.problems
    return sweep_of(Experiment("a", "x:1", command, sweep=document.at(("sweep",)), lines=document.lines))


def parameters(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(point.parameters) for point in swept(value).points]


def told(text: str) -> list[str]:
    """The problems of a text as the check of a file finds them, else as the making of its points does."""
    document = scan(HEAD + text, "exp.yaml")
    found = [str(problem) for problem in wrong_sweep(document)]
    with pytest.raises(InputError) as refused:
        swept({}, text=text)
    assert not found or sorted(found) == [str(problem) for problem in refused.value.problems]
    return [str(problem) for problem in refused.value.problems]


# ------------------------------------------------------------------------------------------------------ which points


def test_axes_of_a_grid_are_crossed_and_the_last_by_name_varies_fastest() -> None:
    assert parameters({"grid": {"seed": [7, 3], "lr": [0.1, 0.01]}}) == [
        {"lr": 0.1, "seed": 7},
        {"lr": 0.1, "seed": 3},
        {"lr": 0.01, "seed": 7},
        {"lr": 0.01, "seed": 3},
    ]


def test_zipped_axes_advance_together_and_are_crossed_with_the_rest() -> None:
    assert parameters({"grid": {"lr": [1, 2]}, "zip": [{"width": [64, 128], "depth": [2, 4]}]}) == [
        {"depth": depth, "lr": lr, "width": width} for depth, width in ((2, 64), (4, 128)) for lr in (1, 2)
    ]


def test_the_contract_s_sweep_has_every_kind_of_axis() -> None:
    value = {
        "grid": {"lr": [0.1, 0.01, 0.001], "seed": {"range": [0, 10]}},
        "zip": [{"depth": [2, 4], "width": [64, 128]}],
        "random": {"dropout": {"uniform": [0.1, 0.5]}, "samples": 20, "seed": 7},
        "exclude": [{"lr": 0.1, "depth": 4}],
    }
    sweep = swept(value)
    assert (len(sweep.points), sweep.excluded, sweep.repeated) == (3 * 10 * 2 * 20 - 10 * 20, 200, 0)
    assert sweep.names == ("depth", "dropout", "lr", "seed", "width")
    assert all(0.1 <= float(point.parameters["dropout"]) <= 0.5 for point in sweep.points)


def test_what_is_excluded_goes_and_what_is_included_comes_after_the_block() -> None:
    value = {
        "grid": {"lr": [1, 2], "depth": [3, 4]},
        "exclude": [{"lr": 1.0, "depth": 4}],
        "include": [{"lr": 9, "depth": 9}],
    }
    assert parameters(value) == [
        {"depth": 3, "lr": 1},
        {"depth": 3, "lr": 2},
        {"depth": 4, "lr": 2},
        {"depth": 9, "lr": 9},
    ]


def test_blocks_are_joined_and_a_point_in_two_of_them_runs_once() -> None:
    sweep = swept({"blocks": [{"grid": {"lr": [1, 2]}}, {"grid": {"lr": [2, 3]}}, {"include": [{"lr": 1}]}]})
    assert [point.parameters["lr"] for point in sweep.points] == [1, 2, 3]
    assert sweep.repeated == 2
    assert "2 points had the values of an earlier one and run once" in sweep.notes


def test_points_are_matched_by_value_and_kind() -> None:
    first = First([{"a": True}, {"a": "1"}, {"b": 1}, {"a": 1.0}, {"a": 1}])
    assert [first.of({"a": value}) for value in (1, True, "1", 1.0, 2)] == [3, 0, 1, 3, None]
    assert First([{"a": 1, "b": 2}, {"b": 2}]).of({"a": 1, "b": 2.0}) == 0


@pytest.mark.parametrize(
    ("numbers", "values"),
    [
        ([3], [0, 1, 2]),
        ([1, 4], [1, 2, 3]),
        ([10, 0, -5], [10, 5]),
        ([0.1, 0.4, 0.1], [0.1, 0.2, 0.3]),
        ([0, 1, 0.25], [0.0, 0.25, 0.5, 0.75]),
        ([1, 0.95, -0.01], [1.0, 0.99, 0.98, 0.97, 0.96]),
        ([1e-5, 4e-5, 1e-5], [1e-5, 2e-5, 3e-5]),
    ],
)
def test_a_range_leaves_out_its_end_and_does_not_drift(numbers: list[float], values: list[float]) -> None:
    held = values_of({"range": numbers})
    found = [held.at(number) for number in range(held.count)]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_a_range_of_whole_numbers_is_python_s(first: int, end: int, step: int) -> None:
    if not (whole := range(first, end, step)):
        with pytest.raises(Refused, match="holds no value"):
            values_of({"range": [first, end, step]})
        return
    held = values_of({"range": [first, end, step]})
    assert [held.at(number) for number in range(held.count)] == list(whole)


# -------------------------------------------------------------------------------------------------- for ever the same


def test_draws_are_the_same_for_ever() -> None:
    def three(distribution: Mapping[str, Any]) -> list[Any]:
        held = drawn_from("x", distribution, 3, 7)
        return [held.at(number) for number in range(held.count)]

    first = int(hashlib.sha256(b"tfslurm.draw/1 7 x 0").hexdigest(), 16)
    assert three({"uniform": [0, 1]})[0] == first / 2**256
    assert three({"uniform": [0.1, 0.5]}) == [0.13110307878041286, 0.17599787150086843, 0.3009380189274859]
    assert three({"log_uniform": [1e-5, 0.1]}) == [2.046589717476545e-05, 5.75411735427075e-05, 0.0010218336239849325]
    assert three({"int": [1, 6]}) == [1, 2, 4]
    assert three({"choice": ["adam", "sgd", True]}) == ["adam", "adam", "sgd"]


def test_every_value_of_a_draw_of_whole_numbers_comes_with_both_bounds() -> None:
    held = drawn_from("k", {"int": [1, 6]}, 600, 0)
    counts = [[held.at(number) for number in range(600)].count(face) for face in range(1, 7)]
    assert sum(counts) == 600
    assert min(counts) > 70


def test_a_name_says_the_values_and_is_the_same_for_ever() -> None:
    point = point_of({"seed": 3, "lr": 0.1, "opt": "ädam", "flip": True})
    assert point.text == '{"flip":true,"lr":0.1,"opt":"ädam","seed":3}'
    assert point.id == "56d93329c3e8"
    assert point.id == hashlib.sha256(point.text.encode()).hexdigest()[:12]
    assert len({point_of({"a": value}).id for value in (1, 1.0, True, "1", "true")}) == 5


scalars = st.one_of(
    st.integers(-MOST, MOST),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
)
grids = st.dictionaries(st.sampled_from("abcdef"), st.lists(scalars, min_size=1, max_size=4), min_size=1, max_size=3)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(grids, st.randoms())
def test_the_order_of_a_mapping_changes_nothing(grid: dict[str, list[Any]], random: Any) -> None:
    names = list(grid)
    random.shuffle(names)
    one, other = swept({"grid": grid}), swept({"grid": {name: grid[name] for name in names}})
    assert [point.id for point in one.points] == [point.id for point in other.points]


@settings(deadline=None, max_examples=60)
@given(grids)
def test_no_two_points_are_the_same_and_none_is_lost(grid: dict[str, list[Any]]) -> None:
    sweep = swept({"grid": grid})
    assert len({point.id for point in sweep.points}) == len(sweep.points)
    assert {point.text for point in sweep.points} == {point_of(dict(p.parameters)).text for p in sweep.points}
    size = 1
    for values in grid.values():
        size *= len(values)
    assert len(sweep.points) + sweep.repeated == size
    assert all(json.loads(point.text) == dict(point.parameters) for point in sweep.points)


def test_a_point_keeps_its_name_when_the_sweep_grows() -> None:
    def ids(value: Mapping[str, Any]) -> set[str]:
        return {point.id for point in swept(value).points}

    drawn = {"lr": {"log_uniform": [1e-4, 1]}, "samples": 5}
    assert ids({"grid": {"s": [1, 2]}, "random": drawn}) < ids(
        {"grid": {"s": [1, 2, 3]}, "random": {**drawn, "samples": 9}}
    )


# ------------------------------------------------------------------------------------------------------------ mistakes


def test_a_huge_grid_is_refused_without_being_made() -> None:
    (line,) = told(f"sweep:\n  grid: {{lr: {{range: [{10**15}]}}, seed: [1, 2]}}\n")
    assert line.startswith(f"exp.yaml:4: sweep: has {2 * 10**15} points; the most is 100000; write fewer values")
    assert "the most is 3" in told("sweep:\n  max_points: 3\n  grid: {lr: [1, 2, 3, 4]}\n")[0]


@pytest.mark.parametrize(
    ("sweep", "where"),
    [
        ("grid: {s: [1, NUMBER]}", "grid.s[1]"),
        ("grid: {s: {range: [0, NUMBER]}}", "grid.s.range[1]"),
        ("zip: [{a: [1], b: [NUMBER]}]", "zip[0].b[0]"),
        ("random: {samples: 2, s: {int: [0, NUMBER]}}", "random.s.int[1]"),
        ("random: {samples: 2, s: {choice: [NUMBER]}}", "random.s.choice[0]"),
        ("grid: {s: [1]}\n  exclude: [{s: NUMBER}]", "exclude[0].s"),
        ("grid: {s: [1]}\n  include: [{s: NUMBER}]", "include[0].s"),
        ("grid: {s: [1]}\n  where: [{values: {s: NUMBER}, cluster: alpha}]", "where[0].values.s"),
    ],
)
@pytest.mark.parametrize(
    ("number", "why"), [(2**53, "is beyond 2^53"), (-(10**30), "is beyond 2^53"), (".inf", "is not a number")]
)
def test_a_number_that_other_programs_would_not_hold_is_refused_where_it_stands(
    sweep: str, where: str, number: object, why: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_experiment(f"{HEAD}sweep:\n  {sweep.replace('NUMBER', str(number))}\n", "exp.yaml")
    (line,) = map(str, caught.value.problems)
    assert re.match(rf"exp.yaml:\d+: sweep.{re.escape(where)}: {re.escape(str(number))} {re.escape(why)}", line)
    assert line.endswith("; write it as text, in quotes")


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**299])
def test_a_number_of_the_command_line_is_refused_the_same_way(number: int) -> None:
    with pytest.raises(Refused, match=r"is beyond 2\^53"):
        values_given(f"[1, {number}]")
    assert values_given(f'["{number}"]') == values_given(f"{number}") == (str(number),)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "grid: {lr: [1]}\n  exclude: [{lr: 1}]",
            ["4: sweep: has no point: `exclude` leaves out every one; leave out"],
        ),
        ("max_parallel: 3", ["4: sweep: has no axis; write `grid"]),
        ("random: {samples: 3}", ["5: sweep.random: draws nothing; add"]),
        ("grid: {s: {range: [3, 1]}}", ["5: sweep.grid.s: the range [3, 1] holds no value; write"]),
        ("grid: {s: {range: [3, 1, 0]}}", ["5: sweep.grid.s: the range [3, 1, 0] has a step of 0; write"]),
        ("zip: [{a: [1], b: [1, 2]}]", ["5: sweep.zip[0]: its axes have different lengths: a 1, b 2; give"]),
        (
            "grid: {lr: [1]}\n  zip: [{lr: [1]}]",
            ["6: sweep.zip[0].lr: has values already, in sweep.grid.lr; keep one of them"],
        ),
        (
            "grid:\n    resources.gpus: [1, 2]\n    name: [x]",
            [
                "6: sweep.grid.resources.gpus: `resources.gpus` is a key of this file",
                "7: sweep.grid.name: `name` is a key of this file",
            ],
        ),
        (
            "grid: {lr: [1], depth: [2]}\n  exclude: [{lrs: 1}, {}]\n  include: [{lr: 2}]",
            [
                "6: sweep.exclude[0].lrs: 'lrs' is no parameter of this sweep; did you mean `lr`?",
                "6: sweep.exclude[1]: would leave out every point; name values",
                "7: sweep.include[0]: has no value for depth; add depth: …",
            ],
        ),
        (
            "blocks:\n    - grid: {lr: [1]}\n    - grid: {lr: [1], depth: [2]}",
            ["6: sweep.blocks[0]: has no value for depth; every block gives the same parameters"],
        ),
        ("grid: {lr: [1]}\n  blocks: [{grid: {lr: [1]}}]", ["5: sweep.grid: `grid` stands beside `blocks`"]),
        (
            "random:\n    a: {uniform: [2, 1]}\n    b: {log_uniform: [0, 1]}\n    c: {int: [0.5, 3]}\n    samples: 2",
            [
                "6: sweep.random.a: uniform: [2, 1] holds no value",
                "7: sweep.random.b: log_uniform: [0, 1] has no logarithm at 0",
                "8: sweep.random.c: int: [0.5, 3] draws whole numbers",
            ],
        ),
        (
            "grid: {lr: [1]}\n  where: [{values: {rl: 1}, cluster: alpha}]",
            ["6: sweep.where[0].values.rl: 'rl' is no parameter of this sweep"],
        ),
    ],
)
def test_every_mistake_has_its_line_and_its_fix(text: str, lines: list[str]) -> None:
    found = told(f"sweep:\n  {text}\n")
    assert len(found) == len(lines)
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(f"exp.yaml:{beginning}")


def test_a_cluster_that_the_file_does_not_list_takes_no_points() -> None:
    where = "where: [{values: {lr: 1}, cluster: beta}]"
    text = f"clusters: [alpha]\nsweep:\n  grid: {{lr: [1]}}\n  {where}\n  spread: {{beta: 1}}\n"
    assert [str(problem) for problem in wrong_sweep(scan(HEAD + text, "exp.yaml"))] == [
        "exp.yaml:7: sweep.where[0].cluster: beta is not in `clusters`; write one of: alpha",
        "exp.yaml:8: sweep.spread.beta: beta is not in `clusters`; write one of: alpha",
    ]


@pytest.mark.parametrize(
    "text", ["sweep: 1\n", "sweep: {grid: [1]}\n", "sweep: {grid: {lr: 3}}\n", "sweep: {random: {}}\n"]
)
def test_nothing_is_said_of_meaning_where_the_shape_is_wrong(text: str) -> None:
    assert list(wrong_sweep(scan(HEAD + text, "exp.yaml"))) == []


def test_a_command_tells_the_mistakes_of_a_sweep_beside_the_others(tmp_path: Path) -> None:
    file = tmp_path / "exp.yaml"
    file.write_text("name: A\nimage: x:1\ncommand: python\nsweep:\n  grid: {lr: {range: [2, 1]}}\n")
    with pytest.raises(InputError) as refused:
        read_experiment(file)
    assert [(problem.line, problem.key) for problem in refused.value.problems] == [(1, "name"), (5, "sweep.grid.lr")]


def test_what_a_user_may_not_have_meant_is_noted() -> None:
    text = "sweep:\n  grid: {lr: [1, 2], seed: [1]}\n  exclude: [{lr: 5}]\n"
    notes = swept({}, text=text, command=(Word((Placeholder("lr"),)),)).notes
    assert notes[0] == "exp.yaml:6: sweep.exclude[0]: leaves out nothing that is not left out already"
    assert len(notes) == 1


# --------------------------------------------------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.10", ("0.10",)),
        ("", ("",)),
        ("0.1,0.01", ("0.1", "0.01")),
        (r"a\,b,c", ("a,b", "c")),
        (r"C:\x,\d+", (r"C:\x", r"\d+")),
        ('["a,b", 1, 0.5, true]', ("a,b", 1, 0.5, True)),
        ('["[a]"]', ("[a]",)),
        ("[1", ("[1",)),
    ],
)
def test_a_setting_gives_texts_between_commas_or_a_json_list(text: str, values: tuple[object, ...]) -> None:
    assert values_given(text) == values
    assert [type(value) for value in values_given(text)] == [type(value) for value in values]


@pytest.mark.parametrize(
    "text", ["a,", ",", "a,,b", "[a, b]", "[]", "[[1]]", "[null]", "[1e999]", '["\\u0000"]', "[" * 9999 + "]"]
)
def test_a_setting_that_is_unclear_is_refused_with_both_ways_to_say_it(text: str) -> None:
    with pytest.raises(Refused) as refused:
        values_given(text)
    assert "[" in refused.value.fix


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), min_size=1))
def test_any_texts_can_be_set_as_a_json_list(values: list[str]) -> None:
    assert values_given(json.dumps(values)) == tuple(values)


def test_values_of_the_command_line_replace_those_of_an_axis_or_make_one_more() -> None:
    sweep = {"grid": {"lr": [1]}, "random": {"d": {"uniform": [0, 1]}, "samples": 3}, "zip": [{"a": [1], "b": [2]}]}
    assert with_given(sweep, {"lr": (5,), "d": (0.5,), "new": ("x",)}) == {
        "grid": {"lr": [5], "d": [0.5], "new": ["x"]},
        "zip": sweep["zip"],
    }
    for refused in (sweep, {"blocks": [sweep]}):
        with pytest.raises(Refused, match=r"advances together|has blocks"):
            with_given(refused, {"a": (1, 2)})
