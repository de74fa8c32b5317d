"""What is run: how many candidates, drawn how, in which order; and how much of it, by effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal[
    "drawn", "changed rows", "largest ids", "zeros", "padding", "large", "large user", "not finite", "not finite user",
    "given",
]  # fmt: skip

EDGE_BATCH = 7
"""Candidates of an edge case: enough for some to differ where others agree."""

MANY = 64
"""Candidates where each is meant to meet something else."""


@dataclass(frozen=True)
class Case:
    """One call of both models. Cases of one `scale` are judged together: their outputs are of comparable size."""

    name: str
    batch: int
    style: Style = "drawn"
    seed: tuple[int, ...] = (0,)
    runtime: str = "onnxruntime"

    @property
    def label(self) -> str:
        """The case, and the runtime where it is not the usual one."""
        return self.name if self.runtime == "onnxruntime" else f"{self.name}, {self.runtime}"

    @property
    def usual(self) -> bool:
        """Whether scores are of the size that they usually have."""
        return self.style in ("drawn", "changed rows", "largest ids", "zeros", "padding")

    @property
    def where(self) -> str:
        """The case in words."""
        if self.style == "given":
            return self.name
        return f"batch {self.batch}" if self.name == "drawn" else f"{self.name} at batch {self.batch}"

    @property
    def scale(self) -> str:
        return f"{self.runtime} {'drawn' if self.usual else self.style}"


AROUND_POWERS_OF_TWO = (3, 63, 65, 128)
"""Candidates at which kernels take another path, or end with a rest: what works at 2 and 64 may fail at 3 and 65."""


@dataclass(frozen=True)
class Effort:
    """How much is run: so many draws at each of the batches, one at each of `further` ones, and edge cases or none.

    What is not the first draw at a batch is left out when the whole has taken so many `seconds`.
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

    The one that is meant, as by `optimize --batch`, comes after those that are always run, and before edge cases.
    """

    needed: Sequence[int]
    meant: int | None = None
    further: Sequence[int] = ()


def plan(effort: Effort, batches: Batches, seed: int, edges: Sequence[Style]) -> list[Case]:
    """The cases, most telling first. Each draw at each batch has a seed of its own."""
    needed = list(dict.fromkeys(batches.needed))
    meant = [] if batches.meant in (None, *needed) else [batches.meant]
    further = [batch for batch in batches.further if batch not in (*needed, *meant)]
    cases = [Case("drawn", batch, seed=(seed, batch)) for batch in (*needed, *meant) if batch is not None]
    if effort.edges:
        for i, style in enumerate(edges, 1):
            batch = min(MANY if style in ("changed rows", "large", "not finite") else EDGE_BATCH, max(needed))
            cases += [Case(style, batch, style, (seed, batch, i))] if batch else []
    cases += [Case("drawn", batch, seed=(seed, batch)) for batch in further]
    for draw in range(2, effort.draws + 1):
        cases += [Case(f"drawn, {draw}", batch, seed=(seed, batch, 0, draw)) for batch in needed]
    return cases
