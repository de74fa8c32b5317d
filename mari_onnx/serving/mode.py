"""What every way of calling a written model defines: rows, signature, checks, instructions, verification.

Tiled           as exported: the caller repeats the request's row for each candidate, and the first row is used
TiledByKey      the same for calls that mix requests: the first row of each distinct key is used
SingleRow       the caller sends the row once: the inputs have leading extent 1
ExistingIndex   the caller sends a row for each of several requests, of which an input of the model selects
AddedIndex      the same, and the input that selects is new
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
"""Writes nodes that compute, from a call of the original, the input of a result, as a tensor of the given name."""


@dataclass(frozen=True)
class DrawnRows:
    """Which rows are identical in a generated call of the original.

    Without `keys`, all rows of a tiled input are identical: the call is one request's. With keys, which are inputs too,
    candidates with the same values of the keys have identical rows in each of the tiled inputs.
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
    """The check that repeated rows are identical, if there is to be one."""

    @property
    @abstractmethod
    def options(self) -> Options:
        """The options that ask for this mode."""

    @property
    @abstractmethod
    def demanded(self) -> bool:
        """Whether the result is wanted even where it does not pay: it is called otherwise, or guarded."""

    # The model and its inputs

    @abstractmethod
    def check(self, model: Model) -> None:
        """Raise `UserError` unless the model has the inputs that the mode needs, and they are fit for it."""

    @abstractmethod
    def check_tiled(self, model: Model, tiled: Sequence[str], inputs: Sequence[RequestInput]) -> None:
        """Raise `UserError` where the mode cannot be had with these tiled inputs; `inputs` are all of the request's."""

    def declared(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The inputs that belong to the request, each with a reason; `reasons` are those that the user declared."""
        return dict(reasons)

    @abstractmethod
    def role(self, name: str, why: str) -> RequestInput:
        """What the report says about a tiled input."""

    # What is written

    @abstractmethod
    def rows(self, requests: str) -> Rows:
        """The rows that are kept of a tiled input."""

    @abstractmethod
    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        """How inputs and outputs differ from the original's."""

    def counted(self, leading: Mapping[str, str], tiled: Sequence[str]) -> list[str]:
        """The symbols that count candidates by what is known of the inputs in this mode, in a fixed order."""
        return sorted({leading[name] for name in tiled})

    # What the caller has to know

    def instructions(self, tiled: Sequence[str]) -> tuple[str, ...]:
        """What the caller of the result has to send and may expect, a sentence each; nothing where nothing is tiled."""
        return self._sentences(", ".join(f"`{name}`" for name in tiled)) if tiled else ()

    @abstractmethod
    def _sentences(self, names: str) -> tuple[str, ...]: ...

    # Verification

    def drawn_rows(self, tiled: Sequence[str], keys: Sequence[str] = ()) -> DrawnRows:
        """Which rows are identical in the calls by which the result is verified.

        `keys` are inputs that tell the requests of a call apart, in addition to what the mode itself uses for that.
        """
        return DrawnRows(tuple(tiled), tuple(keys))

    def feed(self, info: onnx.ValueInfoProto, original: onnx.ValueInfoProto | None) -> Feed | None:
        """How an input of the result is computed in a call of the original; None where it is sent unchanged.

        `info` is the input, and `original` the original's input of that name, None where the original has none.
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
