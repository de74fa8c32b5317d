"""A bounded part of `make mutate`: damaged models are seen, and the list of those that are not is kept."""

from __future__ import annotations

import re

import pytest

from tests.verification import mutate
from tests.verification.mutations import MUTATIONS

WAYS = (
    "an element of a weight off by 1 %", "two rows of a weight swapped", "a bias dropped", "Sub becomes Add",
    "two parts of a Concat swapped", "a_slice_off_by_one", "the_request_index_is_shifted", "a_stale_shape",
    "a_product_in_half_precision", "the_largest_id_is_another", "nan_is_swallowed", "the_candidates_turned_round",
)  # fmt: skip


def test_there_are_ways_enough() -> None:
    assert len(MUTATIONS) >= 30
    assert set(WAYS) <= set(MUTATIONS)


@pytest.mark.parametrize("name", ["din_requests", "two_tower_expanded"])
def test_what_is_wrong_is_seen(name: str) -> None:
    found = list(mutate.mutants(name, 1, WAYS))
    assert len(found) >= 8
    assert sum(m.damage > 1 for m in found) >= 6
    assert not [m for m in found if not m.seen and mutate.argument(m) == mutate.NOT_SEEN]


def test_what_is_right_is_not() -> None:
    given = mutate.sample("two_tower_requests")
    assert mutate.damage(given, given.optimized)[1] < 1e-6
    assert not mutate.seen(given, given.optimized, "quick")


def test_the_list_of_survivors_is_whole() -> None:
    text = mutate.SURVIVORS.read_text(encoding="utf-8")
    listed = re.findall(r"^\| \w+ \| [^|]+ \| `.* \|$", text, re.MULTILINE)
    (alive,) = re.findall(r"(\d+) were\s+not", text)
    assert len(listed) == int(alive)
    assert mutate.NOT_SEEN not in text
