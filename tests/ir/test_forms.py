"""How an array has its axes, and what becomes of the forms of a value that is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np

from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Blocks, Factors, Form, IndexMap, Parts, Terms, Value, stores_only
from mari_onnx.ir.renaming import rename_value
from tests.ir.values import D, F, L, stored
from tests.property.evaluate import forms as evaluated
from tests.property.seen import KINDS

# States


def test_states(b: Builder) -> None:
    mapped = IndexMap(b.constant(np.array([0, 1, 0, 1, 1])), 2)
    array = replace(stored(b, (F,), (D,)), layout=((L,), (D,)), via=((L, mapped),))
    assert [array.state(a) for a in (L, D, F)] == [mapped, "stored", "absent"]
    assert array.names() == {(L, mapped), (D, "stored")}
    assert (array.stored_extent(L), array.stored_extent(D)) == (2, 3)


def test_an_extent_of_one_is_no_difference(b: Builder) -> None:
    one = Axis(1)
    assert stored(b, (one,), (D,)).names() == {(D, "stored")}


# The forms of a value


def test_every_field_that_has_a_form_is_one_of_the_forms(b: Builder) -> None:
    """What is missing in `forms` would be checked neither by `validate` nor by random graphs."""
    of_form = {name for name, hint in get_type_hints(Value).items() if {*get_args(hint), hint} & {*get_args(Form)}}
    value = known_in_every_form(b)
    assert {kind for kind, _ in value.forms()} == of_form
    assert all(getattr(value, kind) is form for kind, form in value.forms())
    assert {kind for kind, _ in value.stored_as(value.array).forms()} == {"array"}


def test_random_graphs_ask_for_each_kind_of_form(b: Builder) -> None:
    value = known_in_every_form(b)
    assert value.parts is not None
    apart = replace(value, parts=replace(value.parts, apart=(value.terms, None)))
    kinds = {kind for kind, _ in evaluated(apart)}
    assert kinds == {kind for kind, _ in value.forms()} | {"apart"}
    assert {f"{kind} missing an axis" for kind in kinds - {"array", "written"}} <= {*KINDS}


# Changing a value


def known_in_every_form(b: Builder) -> Value:
    """[L D], stored so; its parts along D are [1 2]."""
    one, two = Axis(1), Axis(2)
    whole = stored(b, (L,), (D,))
    parts = Parts(D, ((one, stored(b, (one,))), (two, stored(b, (L,), (two,)))))
    terms, factors = Terms(((1, whole), (-1, stored(b, (D,))))), Factors(whole, stored(b, (L,)))
    content = np.empty((5, 3), object)
    up, down, left, right = Axis(2), Axis(3), Axis(1), Axis(2)
    grid = tuple(tuple(stored(b, (row,), (column,)) for column in (left, right)) for row in (up, down))
    blocks = Blocks(L, D, (up, down), (left, right), grid)
    because = ("v was declared",)
    return Value("v", ((L,), (D,)), 1, whole, parts, terms, factors, content, because, whole, blocks=blocks)


def kinds(value: Value) -> list[str]:
    return [
        kind
        for kind in ("parts", "terms", "factors", "blocks", "written", "content")
        if getattr(value, kind) is not None
    ]


def test_a_name_is_all_that_an_identity_changes(b: Builder) -> None:
    before = known_in_every_form(b)
    assert before.named("w") == replace(before, name="w")


def test_other_dims_keep_every_form_but_the_content(b: Builder) -> None:
    turned = known_in_every_form(b).with_dims(((D,), (F,), (L,)))
    assert kinds(turned) == ["parts", "terms", "factors", "blocks", "written"]


def test_other_dims_keep_no_form_that_is_stored_along_an_axis_that_they_lack(b: Builder) -> None:
    """A mask that repeats along D is one along L alone; a form that is stored along D is none of that."""
    mask = replace(known_in_every_form(b), array=stored(b, (L,)), factors=Factors(stored(b, (L,)), stored(b, (L,))))
    assert kinds(mask.with_dims(((L,),))) == ["factors"]


def test_a_value_of_which_one_array_is_known_has_no_other_form(b: Builder) -> None:
    row = known_in_every_form(b).stored_as(stored(b, (D,)), ((D,),))
    assert (kinds(row), row.dims, row.name, row.because) == ([], ((D,),), "v", ("v was declared",))


def test_each_form_is_rewritten(b: Builder) -> None:
    before, called = known_in_every_form(b), Axis(5, "called")
    after = rename_value(b, before, {L: (called,)})
    assert kinds(after) == kinds(before)
    axes = {called, D}
    forms = (after.array, after.written, after.parts, after.terms, after.factors, after.blocks)
    assert all(form is not None and stores_only(form, axes) for form in forms)
    assert not any(form is None or stores_only(form, {L, D}) for form in (after.array, after.terms, after.factors))
