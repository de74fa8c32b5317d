"""Checks before two models are compared: their inputs and outputs are alike, and declared inputs exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Protocol

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.draw import Input


class Argument(Protocol):
    """An input or an output, as onnxruntime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class Signature(Protocol):
    """The inputs and outputs of a model, as a session of onnxruntime has them."""

    def get_inputs(self) -> Sequence[Argument]:
        """The inputs in the order of the graph."""

    def get_outputs(self) -> Sequence[Argument]:
        """The outputs in the order of the graph."""


def check_signatures(reference: Signature, optimized: Signature) -> None:
    """Raise UserError unless inputs and outputs have the same names and types, and inputs the same ranks.

    The order is free here; that of the outputs is for `order_of_outputs`.
    """
    inputs = _problems("input", reference.get_inputs(), optimized.get_inputs())
    outputs = _problems("output", reference.get_outputs(), optimized.get_outputs())
    for problem in (*inputs, *outputs):
        raise UserError(
            f"the models cannot be compared: {problem}",
            "Give a model and the one that was made from it, with the options that it was made with, such as -u, "
            "--request-index or --user-model.",
        )


def order_of_outputs(reference: Signature, optimized: Signature) -> tuple[str, str] | None:
    """The first output that is in another place, and what is wrong, in words; None where the order is the same.

    The names are those of both. A caller may take outputs by their places: `session.run(None, feeds)` is a list.
    Inputs are sent by name, so that their order is nothing to a caller.
    """
    expected, got = ([each.name for each in model.get_outputs()] for model in (reference, optimized))
    pairs = zip_longest(expected, got)  # of one name there may be several
    other = next((name or there for name, there in pairs if name != there), None)
    if other is None:
        return None
    names = [
        ", ".join(f"`{name}`" for name in some[:SHOWN]) + ", ..." * (len(some) > SHOWN) for some in (got, expected)
    ]
    return other, f"the outputs come in another order: {names[0]}, and from the reference {names[1]}"


SHOWN = 6
"""How many names a message has at most."""


def check_tiled(tiled: Collection[str], inputs: Sequence[Input]) -> None:
    """Raise UserError for a name in `tiled` that is no input of the model."""
    if unknown := sorted(set(tiled) - {each.name for each in inputs}):
        raise UserError(
            f"the model has no input `{unknown[0]}`, which is declared to be tiled",
            f"Its inputs are: {', '.join(each.name for each in inputs)}.",
        )


def _problems(kind: str, expected: Sequence[Argument], got: Sequence[Argument]) -> Iterator[str]:
    a, b = {each.name: each for each in expected}, {each.name: each for each in got}
    for name in dict.fromkeys((*a, *b)):
        problem = _problem(kind, name, a, b)
        if problem is not None:
            yield f"{kind} `{name}` {problem}"


def _problem(kind: str, name: str, a: Mapping[str, Argument], b: Mapping[str, Argument]) -> str | None:
    if name not in a or name not in b:
        return f"is only in the {'reference' if name in a else 'optimized'} model"
    if a[name].type != b[name].type:
        return f"is {a[name].type} in the reference, {b[name].type} in the optimized model"
    if kind == "input" and len(a[name].shape) != len(b[name].shape):
        return f"has shape {a[name].shape} in the reference, {b[name].shape} in the optimized model"
    return None
