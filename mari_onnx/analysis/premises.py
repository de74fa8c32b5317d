"""The premises of an interpretation: roles of inputs, which of their rows are kept, and extents that are equal.

The interpretation does not prove them. They follow from the user's declarations and the serving mode.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.ir.axes import Refused
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import ROW, Extent
from mari_onnx.ir.policy import POLICY
from mari_onnx.serving.rows import FIRST_ROW, Rows

FAILED = Refused("its rewrite failed the verification", "see what the report says was left out; please report it")
"""The reason why a node stays as it is that computes a tensor in `Premises.whole`."""


@dataclass(frozen=True)
class Premises:
    """The roles of inputs, and what follows from them.

    `tiled` are the inputs whose rows the caller repeats, `repeated` the symbols that count those rows, and `rows`
    says which of them are kept: row 0, say. `candidates` are the symbols that count candidates, and `requests`
    those that count requests; `lists` are those of a listwise model, which the cost model prices for one request.
    `reasons` say why an input belongs to the request. `equal` are pairs of extents that are equal by declaration.
    `items` are inputs that depend on the item alone, if values that depend on these alone are to be told apart.
    `signature` is how the written model's inputs and outputs differ from the original's. `computes_all_rows` says
    that a row which no candidate has may make the written model fail: the user model of a split does not see the
    candidates. With `assume_masked`, scores of attention are taken to be small (see `rules.blocks`). The nodes that
    compute a tensor in `whole` stay as they are, because their rewrite failed the verification. `long_enough` are
    symbols of Slices that are as long as they are asked for (see `spans`). Without `cuts_at_symbols`, no axis is
    cut where a limit would have to be computed: some opsets cannot. Calls with `few` candidates count as much as
    those with many.
    """

    tiled: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    rows: Rows = FIRST_ROW
    signature: Signature = AS_IT_WAS
    reasons: Mapping[str, str] = field(default_factory=dict)
    equal: tuple[tuple[Extent, Extent], ...] = ()
    items: Collection[str] = ()
    computes_all_rows: bool = False
    assume_masked: bool = False
    whole: frozenset[str] = frozenset()
    long_enough: frozenset[str] = frozenset()
    cuts_at_symbols: bool = True
    few: int | None = None

    def cost_model(self, batch: int) -> CostModel:
        """The cost model of calls with `batch` candidates; its `alone` is that of a call with `few`, or with one."""
        counted = (*self.candidates, *self.repeated)
        one = dict.fromkeys((ROW, *self.lists), 1)
        many = {**one, **dict.fromkeys(self.requests, POLICY.requests), **dict.fromkeys(counted, batch)}
        few = self.few or 1
        return CostModel(batch, many, CostModel(few, {**dict.fromkeys(many, 1), **dict.fromkeys(counted, few)}))


NOTHING = Premises()
"""No input belongs to the request. With these premises the graph is interpreted to find roles."""
