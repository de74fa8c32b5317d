"""What an interpretation takes for granted: roles of inputs, what is kept of their rows, and equal extents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import ROW, Extent
from mari_onnx.ir.policy import POLICY
from mari_onnx.serving.rows import FIRST_ROW, Rows


@dataclass(frozen=True)
class Premises:
    """Of the inputs: who sends what.

    `tiled` are the inputs whose rows the caller repeats, `repeated` the symbols that count those rows, and `rows` what
    is kept of them. `candidates` are the symbols that count candidates, and `requests` those that count requests.
    `reasons` say why an input was taken for the request's. `equal` are extents that are the same by declaration.
    `items` are the inputs that hold what an item has whoever asks, where values that depend on them alone are to be
    kept apart.
    """

    tiled: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    rows: Rows = FIRST_ROW
    signature: Signature = AS_IT_WAS
    reasons: Mapping[str, str] = field(default_factory=dict)
    equal: tuple[tuple[Extent, Extent], ...] = ()
    items: Collection[str] = ()

    def cost_model(self, batch: int) -> CostModel:
        """The cost model of calls with `batch` candidates, beside that of a call with one."""
        counted = (*self.candidates, *self.repeated)
        many = {ROW: 1, **dict.fromkeys(self.requests, POLICY.requests), **dict.fromkeys(counted, batch)}
        return CostModel(batch, many, CostModel(1, dict.fromkeys(many, 1)))


NOTHING = Premises()
"""No input is known to be the request's: with these, roles are looked for."""
