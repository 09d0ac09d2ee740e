"""A stratified sample of a sweep's points: the same whenever it is drawn, and as the whole is in every parameter."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfslurm.sweeps.sample import stratified

GRID: list[dict[str, Any]] = [
    {"lr": lr, "optimizer": name, "seed": seed}
    for lr, name, seed in product((0.1, 0.01, 0.001), ("adam", "sgd"), range(4))
]


def counts(points: list[dict[str, Any]], places: tuple[int, ...], name: str) -> list[int]:
    found = Counter(points[place][name] for place in places)
    return sorted(found[value] for value in {point[name] for point in points})


@pytest.mark.parametrize("count", range(1, 25))
def test_every_value_is_there_as_often_as_it_can_be(count: int) -> None:
    places = stratified(GRID, count).places
    assert len(set(places)) == count and list(places) == sorted(places)
    for name in ("lr", "optimizer", "seed"):
        found = counts(GRID, places, name)
        assert found[-1] - found[0] <= 1, (name, found)


def test_the_sample_is_the_same_in_every_order_and_says_how_it_was_chosen() -> None:
    found = stratified(GRID, 5)
    chosen = [GRID[place] for place in found.places]
    turned = GRID[::-1]
    again = [turned[place] for place in stratified(turned, 5).places]
    assert sorted(map(repr, chosen)) == sorted(map(repr, again))
    assert found.said.startswith("5 of 24 points, so that each value is there as often as it can be: lr (0.")
    assert "seed (" in found.said and found.said.endswith("where several would do, by the SHA-256 of values")
    assert stratified(GRID, 24) == (tuple(range(24)), "all 24 points") == stratified(GRID, 99)
    assert [GRID[place] for place in stratified(GRID, 3).places] != GRID[:3]


def test_a_rare_value_gets_its_share_and_a_number_with_many_values_its_quarters() -> None:
    rare: list[dict[str, Any]] = [{"depth": 9 if number < 10 else 2} for number in range(100)]
    assert counts(rare, stratified(rare, 10).places, "depth") == [1, 9]
    drawn: list[dict[str, Any]] = [{"dropout": number * number / 7} for number in range(40)]
    places = stratified(drawn, 4).places
    assert [place // 10 for place in places] == [0, 1, 2, 3]
    texts: list[dict[str, Any]] = [{"path": f"/data/{number}"} for number in range(9)]
    assert "none of its parameters repeats a value" in stratified(texts, 3).said


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.one_of(st.booleans(), st.integers(0, 3), st.text(max_size=2))),
        min_size=1, max_size=30,
    ),
    st.integers(1, 40),
)  # fmt: skip
def test_any_points_have_a_sample(points: list[dict[str, Any]], count: int) -> None:
    found = stratified(points, count)
    assert len(set(found.places)) == len(found.places) == min(count, len(points))
