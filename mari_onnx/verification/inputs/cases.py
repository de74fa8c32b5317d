"""The cases that are run, with their numbers of candidates and styles of inputs, and the efforts that choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal[
    "drawn", "changed rows", "largest ids", "zeros", "padding", "large", "large user", "not finite", "not finite user",
    "far", "centred", "given",
]  # fmt: skip

EDGE_BATCH = 7
"""Candidates of an edge case: few, but enough that some differ where others agree."""

MANY = 64
"""Candidates of an edge case in which each row has another unusual value, such as a NaN in another feature."""


@dataclass(frozen=True)
class Case:
    """One call of both models: `batch` candidates, drawn in a `style` from a `seed`, and the runtime it is run in."""

    name: str
    batch: int
    style: Style = "drawn"
    seed: tuple[int, ...] = (0,)
    runtime: str = "onnxruntime"

    @property
    def label(self) -> str:
        """The name of the case in reports, with the runtime where that is not onnxruntime: `drawn, openvino`."""
        return self.name if self.runtime == "onnxruntime" else f"{self.name}, {self.runtime}"

    @property
    def usual(self) -> bool:
        """Whether the scores of this case are of their usual size: features are small and finite."""
        return self.style in ("drawn", "changed rows", "largest ids", "zeros", "padding")

    @property
    def where(self) -> str:
        """The case in notes: `batch 7`, `largest ids at batch 7`, or the name of a recorded call."""
        if self.style == "given":
            return self.name
        return f"batch {self.batch}" if self.name == "drawn" else f"{self.name} at batch {self.batch}"

    @property
    def group(self) -> str:
        """The cases that are judged together, because their outputs are of comparable size."""
        return f"{self.runtime} {'drawn' if self.usual else self.style}"


AROUND_POWERS_OF_TWO = (3, 63, 65, 128)
"""Candidates at which kernels take another path, or end with a rest: what works at 2 and 64 may fail at 3 and 65."""


@dataclass(frozen=True)
class Effort:
    """How much is run: `draws` calls at each number of candidates in `batches`, one call at each in `further`, and edge
    cases where `edges` is set.

    The first draw at each number of candidates is always run. The others are left out when all took `seconds`.
    """

    batches: tuple[int, ...]
    draws: int
    edges: bool
    seconds: float
    further: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """What is run, in words: `1, 7 candidates, for 2 seconds`."""
        further = f", then {', '.join(map(str, self.further))}" if self.further else ""
        drawn = f", drawn {self.draws} times" if self.draws > 1 else ""
        edges = ", and edge cases" if self.edges else ""
        return f"{', '.join(map(str, self.batches))}{further} candidates{drawn}{edges}, for {self.seconds:g} seconds"


EFFORTS: dict[str, Effort] = {
    "quick": Effort((1, 7), 1, False, 2),
    "standard": Effort((1, 2, 7, 64), 1, True, 10, AROUND_POWERS_OF_TWO),
    "thorough": Effort((1, 2, 7, 64, 500), 4, True, 120, AROUND_POWERS_OF_TWO),
}
DEFAULT_EFFORT = "standard"


@dataclass(frozen=True)
class Batches:
    """Numbers of candidates: those that are always run, the one that is meant, and those that are run in the end.

    The one that is meant, as by `optimize --batch`, comes after those that are always run, and before edge cases. These
    have `least` candidates or more.
    """

    needed: Sequence[int]
    meant: int | None = None
    further: Sequence[int] = ()
    least: int = 1


def plan(effort: Effort, batches: Batches, seed: int, edges: Sequence[Style]) -> list[Case]:
    """The cases in the order in which they are run: first draws, edge cases of these styles, further draws.

    Each case has a seed of its own, derived from `seed`.
    """
    needed = list(dict.fromkeys(batches.needed))
    meant = [] if batches.meant in (None, *needed) else [batches.meant]
    further = [batch for batch in batches.further if batch not in (*needed, *meant)]
    cases = [Case("drawn", batch, seed=(seed, batch)) for batch in (*needed, *meant) if batch is not None]
    if effort.edges:
        for i, style in enumerate(edges, 1):
            usual = MANY if style in ("changed rows", "large", "not finite", "far", "centred") else EDGE_BATCH
            batch = min(max(usual, batches.least), max(needed))
            cases += [Case(style, batch, style, (seed, batch, i))] if batch else []
    cases += [Case("drawn", batch, seed=(seed, batch)) for batch in further]
    for draw in range(2, effort.draws + 1):
        cases += [Case(f"drawn, {draw}", batch, seed=(seed, batch, 0, draw)) for batch in needed]
    return cases
