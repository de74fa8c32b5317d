"""The interface of serving modes.

A mode is a way of calling a written model. The tiled input `user` [B, 4] of the original becomes:

    Tiled           [B, 4]   as exported: the caller repeats the request's row, and the first row is used
    TiledByKey      [B, 4]   the same for calls that mix requests: the first row of each distinct key is used
    SingleRow       [1, 4]   the caller sends the row once
    ExistingIndex   [R, 4]   the caller sends R requests' rows, and an input of the model selects one per candidate
    AddedIndex      [R, 4]   the same, with a new input that selects

Each mode defines which rows are kept, the signature, checks of the model, instructions for the caller, and how the
written model is verified.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from mari_onnx.document.graph_view import Model
from mari_onnx.document.signature import Signature
from mari_onnx.errors import UserError
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.call_graph import CallGraph
from mari_onnx.serving.guard import Guard
from mari_onnx.serving.names import ONE, REQUESTS, Options
from mari_onnx.serving.rows import Rows

Feed: TypeAlias = Callable[[CallGraph, str], None]
"""Writes nodes that compute an input of the written model from the original's inputs, as a tensor of the given name."""


@dataclass(frozen=True)
class DrawnRows:
    """Which rows are identical in calls of the original that a verification generates.

    `tiled` and `keys` are names of inputs. Without keys, all rows of a tiled input are identical: the call holds one
    request. With keys, candidates with the same values of the keys have identical rows in each of the tiled inputs.
    """

    tiled: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Mode(ABC):
    """A way of calling a written model: what the caller sends where the original's caller repeats rows.

    In the methods, `tiled` are the inputs whose rows the caller of the original repeats, `leading` the symbols of all
    dynamic leading axes, by input, and `requests` is the symbol that counts several requests: with tiled `user` [B, 4]
    and `leading` {"user": "B", "item": "B"}, a mode of several requests makes `user` [requests, 4].
    """

    guard: Guard | None = None
    """The check that tiled rows are identical; None for no check."""

    @property
    @abstractmethod
    def options(self) -> Options:
        """The options that ask for this mode."""

    @property
    @abstractmethod
    def demanded(self) -> bool:
        """Whether the model is written even if nothing gets faster: its signature changes, or it gets a guard."""

    # The model and its inputs

    @abstractmethod
    def check(self, model: Model) -> None:
        """Raise `UserError` unless the model has the inputs that the mode needs, and they are fit for it."""

    @abstractmethod
    def check_tiled(self, model: Model, tiled: Sequence[str], inputs: Sequence[RequestInput]) -> None:
        """Raise `UserError` if these tiled inputs rule the mode out; `inputs` are all inputs of the request."""

    def declared(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The inputs that belong to the request in this mode, by name, with a reason each.

        `reasons` has the inputs that the user declared.
        """
        return dict(reasons)

    @abstractmethod
    def role(self, name: str, why: str) -> RequestInput:
        """The entry of the report for the tiled input `name`; `why` is the reason of `declared`."""

    # What is written

    @abstractmethod
    def rows(self, requests: str) -> Rows:
        """Which rows of a tiled input are kept."""

    @abstractmethod
    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        """How the inputs and outputs of the written model differ from the original's."""

    def counted(self, leading: Mapping[str, str], tiled: Sequence[str]) -> list[str]:
        """The symbols that must count candidates in this mode, in a fixed order."""
        return sorted({leading[name] for name in tiled})

    # Instructions for the caller

    def instructions(self, tiled: Sequence[str]) -> tuple[str, ...]:
        """What the caller has to send and may expect, one sentence each; empty if nothing is to be said."""
        return self._sentences(", ".join(f"`{name}`" for name in tiled)) if tiled else ()

    @abstractmethod
    def _sentences(self, names: str) -> tuple[str, ...]: ...

    # Verification

    def drawn_rows(self, tiled: Sequence[str], keys: Sequence[str] = ()) -> DrawnRows:
        """Which rows are identical in the calls by which the written model is verified.

        `keys` are inputs that tell the requests of a call apart, in addition to those that the mode itself uses.
        """
        return DrawnRows(tuple(tiled), tuple(keys))

    def feed(self, info: onnx.ValueInfoProto, original: onnx.ValueInfoProto | None) -> Feed | None:
        """How an input of the written model is computed from the original's inputs; None if it is the same.

        `info` is the input of the written model, and `original` the original's input of that name, None if there is
        none.
        """
        return None


class SentOnce(Mode):
    """The caller sends a request's row once, instead of repeating it."""

    @property
    def demanded(self) -> bool:
        return True

    def check_tiled(self, model: Model, tiled: Sequence[str], inputs: Sequence[RequestInput]) -> None:
        outputs = {o.name for o in model.graph.output}
        for name in tiled:
            if name in outputs:
                raise UserError(f"`{name}` is an output as well, and one of its shapes cannot change alone", None)
        if not tiled and not any(i.rows in (ONE, REQUESTS) for i in inputs):
            raise UserError(
                "no input is declared whose rows the caller repeats, so none can be sent otherwise",
                "declare the user's inputs: -u 'user_*'",
            )

    def instructions(self, tiled: Sequence[str]) -> tuple[str, ...]:
        """As for other modes; where all rows of the user are sent once already, that the calls stay what they are."""
        return super().instructions(tiled) or (
            "It is called as before: no input that is the user's has a row for each candidate.",
        )
