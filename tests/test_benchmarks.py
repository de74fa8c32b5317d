"""The benchmarks compare like with like: a form by hand computes what the export does, and so does ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.handmade import FAMILIES, assert_same, causal, side_by_side
from benchmarks.handmade.family import Family
from benchmarks.handmade.tokens import Sizes
from benchmarks.sequences import peak_of_a_call
from mari_onnx import optimize


@pytest.mark.parametrize("name", FAMILIES)
def test_all_forms_of_a_family_are_one_function(name: str) -> None:
    family = FAMILIES[name]()
    export, by_hand = family.model(family.export), family.model(family.by_hand)
    ours = optimize(export, user_inputs=family.tiled, verify=False)
    assert ours.changed
    for batch in (1, 7):
        assert_same(name, [export, by_hand, ours.model], family.request(batch))


@pytest.mark.parametrize("family", [causal.family, side_by_side.family])
def test_sequences_of_other_sizes(family: Callable[[Sizes], Family]) -> None:
    made = family(Sizes(5, 12, heads=3))
    export = made.model(made.export)
    ours = optimize(export, user_inputs=made.tiled, verify=False).model
    assert_same("sizes", [export, made.model(made.by_hand), ours], made.request(7))


def test_the_memory_of_a_call() -> None:
    family = FAMILIES["mlp"]()
    held = peak_of_a_call(family.model(family.export).SerializeToString(), family.request(7))
    assert held is None or held >= 0


def test_a_form_of_another_function_is_noticed() -> None:
    family = FAMILIES["deepfm"]()
    export = family.model(family.export)
    other = family.model(family.export.replace("Sub (square_of_sum, sum_of_squares)", "Sub (square_of_sum, sum)"))
    with pytest.raises(AssertionError, match="deepfm: by hand is"):
        assert_same("deepfm", [export, other, export], family.request(7))
