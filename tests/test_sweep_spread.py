"""Which cluster a point goes to, and what that choice may have confounded."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfslurm.errors import InputError
from tfslurm.sweeps.arrays import Array, arrays
from tfslurm.sweeps.confounding import Row, confounded
from tfslurm.sweeps.points import Point, point_of
from tfslurm.sweeps.spread import Room, Rule, spread

TWO = ("alpha", "beta")
THREE = (*TWO, "gamma")


def grid(*sizes: int) -> list[Point]:
    names = "abcdef"
    return [point_of(dict(zip(names, values, strict=False))) for values in product(*(range(size) for size in sizes))]


def rows(points: list[Point], clusters: tuple[str, ...]) -> list[Row]:
    return [Row(point.parameters, {"cluster": name}) for point, name in zip(points, clusters, strict=True)]


def worst(points: list[Point], clusters: tuple[str, ...], names: tuple[str, ...]) -> int:
    """The largest difference between clusters in how often they have one value of one parameter."""
    counts = Counter(
        (key, value, name)
        for point, name in zip(points, clusters, strict=True)
        for key, value in point.parameters.items()
    )
    levels = {(key, value) for key, value, _ in counts}
    return max(
        max(counts[key, value, name] for name in names) - min(counts[key, value, name] for name in names)
        for key, value in levels
    )


# -------------------------------------------------------------------------------------------------------- shares


@given(st.integers(1, 200), st.integers(1, 5))
def test_even_gives_no_cluster_two_more_than_another(points: int, clusters: int) -> None:
    names = THREE[:clusters] if clusters <= 3 else tuple("abcde"[:clusters])
    counts = Counter(spread(grid(points), names, "even"))
    assert max(counts.values()) - min(counts[name] for name in names) <= 1


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 9))
def test_weights_are_kept_within_one_point(points: int, first: int, second: int) -> None:
    counts = Counter(spread(grid(points), TWO, {"alpha": first, "beta": second}))
    assert abs(counts["alpha"] - points * first / (first + second)) < 1


def test_a_cluster_without_a_weight_gets_nothing_but_what_is_fixed_to_it() -> None:
    points = grid(5, 2)
    found = spread(points, THREE, {"alpha": 3, "beta": 1}, where=[Rule({"a": 0}, "gamma"), Rule({"a": 9}, "delta")])
    assert Counter(found) == {"alpha": 6, "beta": 2, "gamma": 2}
    assert found[:2] == ("gamma", "gamma")


def test_a_point_that_must_stay_where_nothing_is_sent_is_refused() -> None:
    with pytest.raises(InputError, match=r"stays on gamma, which is not among alpha, beta; add --cluster gamma"):
        spread(grid(2), TWO, "even", where=[Rule({"a": 1}, "gamma")])


def test_shares_of_other_clusters_say_nothing_of_these() -> None:
    assert spread(grid(2), TWO, {"gamma": 3}) == TWO


def test_fixed_points_count_for_their_cluster_s_share() -> None:
    points = grid(10)
    assert Counter(spread(points, TWO, "even", where=[Rule({"a": value}, "alpha") for value in range(5)])) == {
        "alpha": 5,
        "beta": 5,
    }


# ---------------------------------------------------------------------------------------------------------- idle


def test_points_go_where_they_begin_soonest() -> None:
    rooms = {"alpha": Room(free=2, most=2, starts_in_s=0), "beta": Room(free=0, most=4, starts_in_s=90)}
    assert spread(grid(3), TWO, "idle", rooms=rooms, point_s=60) == ("alpha", "alpha", "alpha")
    assert Counter(spread(grid(12), TWO, "idle", rooms=rooms, point_s=60)) == {"alpha": 6, "beta": 6}
    assert Counter(spread(grid(12), TWO, "idle", rooms=rooms, point_s=6000)) == {"alpha": 4, "beta": 8}


def test_a_cluster_of_which_nobody_knows_when_it_starts_gets_only_what_can_begin_now() -> None:
    rooms = {"alpha": Room(free=1, most=9), "beta": Room(free=0, most=1, starts_in_s=5)}
    assert spread(grid(2), TWO, "idle", rooms={"alpha": Room(0, 9), "beta": rooms["beta"]}) == ("beta", "beta")
    assert spread(grid(2), TWO, "idle", rooms=rooms, point_s=1) == ("alpha", "alpha")


def test_where_nothing_is_known_it_is_even() -> None:
    for rooms in ({}, {"alpha": Room(0, 5), "beta": Room(0, 0, 3)}):
        assert spread(grid(4), TWO, "idle", rooms=rooms) == ("alpha", "beta", "alpha", "beta")


def test_fixed_points_take_room_too() -> None:
    rooms = dict.fromkeys(TWO, Room(free=2, most=2, starts_in_s=0))
    where = [Rule({"a": 5}, "alpha"), Rule({"a": 4}, "alpha")]
    assert spread(grid(6), TWO, "idle", where=where, rooms=rooms) == (
        "beta",
        "beta",
        "alpha",
        "alpha",
        "alpha",
        "alpha",
    )


# ------------------------------------------------------------------------------------------------------- blocked


@pytest.mark.parametrize("clusters", [TWO, THREE])
@pytest.mark.parametrize(
    "sizes",
    [(3, 2), (3, 3), (3, 2, 3), (3, 3, 3), (5, 7), (2, 2, 2, 2), (4, 4, 4), (3, 2, 10), (10, 10, 10), (5, 5, 5)],
)
def test_a_blocked_grid_has_every_value_as_often_on_each_cluster(
    sizes: tuple[int, ...], clusters: tuple[str, ...]
) -> None:
    points = grid(*sizes)
    found = spread(points, clusters, "blocked")
    assert worst(points, found, clusters) <= 1
    assert max(Counter(found).values()) - min(Counter(found).values()) <= 1
    assert found == spread(points, clusters, "blocked")


@settings(deadline=None, max_examples=50)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4)), min_size=6), st.integers(2, 4))
def test_with_holes_in_the_grid_it_is_hardly_worse(combinations: set[tuple[int, int, int]], count: int) -> None:
    points = [point_of({"a": a, "b": b, "c": c}) for a, b, c in sorted(combinations)]
    names = tuple("wxyz"[:count])
    found = spread(points, names, "blocked")
    assert worst(points, found, names) <= 3
    assert len(found) == len(points)


def test_drawn_numbers_are_balanced_by_their_quarters() -> None:
    points = [point_of({"lr": 10.0 ** -(number * 7 % 40)}) for number in range(40)]
    found = spread(points, TWO, "blocked")
    quarters = sorted(zip((float(point.parameters["lr"]) for point in points), found, strict=True))
    for start in range(0, 40, 10):
        assert Counter(name for _, name in quarters[start : start + 10]) == {"alpha": 5, "beta": 5}


def test_fixed_points_stay_and_the_rest_makes_up_for_them() -> None:
    points = grid(4, 4)
    found = spread(points, TWO, "blocked", where=[Rule({"a": 0}, "alpha")])
    assert found[:4] == ("alpha",) * 4
    assert Counter(found) == {"alpha": 8, "beta": 8}
    assert worst([p for p in points if p.parameters["a"]], found[4:], TWO) <= 2


# --------------------------------------------------------------------------------------------------- confounding


@pytest.mark.parametrize("sizes", [(3, 4), (4, 3), (3, 2, 3), (5, 4), (3, 4, 5)])
@pytest.mark.parametrize("clusters", [TWO, THREE])
def test_a_blocked_spread_confounds_nothing(sizes: tuple[int, ...], clusters: tuple[str, ...]) -> None:
    points = grid(*sizes)
    found = confounded(rows(points, spread(points, clusters, "blocked")))
    assert [str(each) for each in found] == []


def test_a_parameter_whose_values_ran_on_one_cluster_each_is_confounded_with_it() -> None:
    points = grid(2, 4)
    found = confounded(
        rows(points, spread(points, TWO, "even", where=[Rule({"a": 0}, "alpha"), Rule({"a": 1}, "beta")]))
    )
    assert [str(each) for each in found] == [
        "a is confounded with cluster (Cramér's V 1.00, 8 points): a=0 only with alpha, a=1 only with beta"
    ]


def test_a_value_that_ran_on_one_cluster_only_is_named_although_the_others_ran_everywhere() -> None:
    points = grid(4, 6)
    placed = tuple(
        "alpha" if point.parameters["a"] == 2 else TWO[(number + number // 6) % 2]
        for number, point in enumerate(points)
    )
    (found,) = confounded(rows(points, placed))
    assert (found.parameter, found.place, dict(found.alone)) == ("a", "cluster", {"2": "alpha"})
    assert found.strength < 0.5


def test_the_strength_is_cramer_s() -> None:
    # a: 0 -> 6 alpha, 2 beta; 1 -> 2 alpha, 6 beta: chi-squared is 4 of 16 rows, V is 1/2
    points = grid(2, 8)
    placed = (("alpha",) * 6 + ("beta",) * 2) + (("beta",) * 6 + ("alpha",) * 2)
    (found,) = [each for each in confounded(rows(points, placed)) if each.parameter == "a"]
    assert found.strength == pytest.approx(0.5)


def test_gpu_and_driver_are_looked_at_and_what_was_not_observed_is_left_out() -> None:
    made = [
        Row(point.parameters, {"cluster": "alpha", "gpu": "A100" if point.parameters["a"] else "V100", "driver": None})
        for point in grid(2, 4)
    ]
    assert [(each.parameter, each.place) for each in confounded(made)] == [("a", "gpu")]


def test_of_very_few_points_and_of_names_that_are_all_different_nothing_is_said() -> None:
    assert confounded(rows(grid(3), ("alpha", "beta", "alpha"))) == ()
    assert confounded(rows([point_of({"a": letter}) for letter in "abcdef"], TWO * 3)) == ()
    assert confounded([]) == ()


def test_a_number_that_is_different_everywhere_is_compared_by_its_size() -> None:
    points = grid(20)
    assert confounded(rows(points, TWO * 10)) == ()
    (found,) = confounded(rows(points, ("alpha",) * 10 + ("beta",) * 10))
    assert found.strength == 1
    assert list(found.alone) == ["0 to 5", "5 to 10", "10 to 15", "15 to 19"]


# -------------------------------------------------------------------------------------------------------- arrays


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 20000), st.integers(2, 1001), st.integers(1, 9))
def test_every_point_is_in_exactly_one_task(points: int, max_array_size: int, points_per_job: int) -> None:
    made = list(arrays(points, max_array_size, points_per_job))
    assert [place for array in made for place in range(array.offset, array.offset + array.points)] == list(
        range(points)
    )
    assert all(array.points <= array.tasks * points_per_job < array.points + points_per_job for array in made)
    assert all(1 <= array.tasks <= max_array_size for array in made)
    assert len(made) == -(-points // (max_array_size * points_per_job))


def test_the_cap_is_on_the_index() -> None:
    assert list(arrays(1001, 1001)) == [Array(0, 1001)]
    assert list(arrays(1002, 1001)) == [Array(0, 1001), Array(1001, 1)]
    assert [array.option(32) for array in arrays(1002, 1001)] == ["0-1000%32", "0%32"]
    assert Array(0, 17, 8).option() == "0-2"


def test_a_cluster_without_arrays_says_so() -> None:
    with pytest.raises(InputError, match="takes no job arrays"):
        list(arrays(3, 1))
