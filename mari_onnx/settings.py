"""The options of a run, as the steps of the pipeline take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mari_onnx.arguments import candidates, flag, number
from mari_onnx.errors import UserError
from mari_onnx.report.model import Command, Configuration
from mari_onnx.report.split import Role
from mari_onnx.rounded import HALF
from mari_onnx.serving.mode import Mode

DEFAULT_BATCH = 500
"""The number of candidates at which costs are counted where nothing else is asked for."""


@dataclass(frozen=True)
class Settings:
    """The options of a run.

    `user_inputs` and `item_inputs` are globs over names of inputs. `batches` is the number of candidates of a call, or
    several: costs are counted at the largest, `batch`, and calls with the smallest, `few`, matter as much.

    With `allow_no_candidates` all inputs may be the user's, as those of a tower of the user alone are. With
    `dynamic_batch` a number of candidates that was fixed at export is made a symbol first. With `assume_masked` scores
    of attention are taken to be so small that a mask of -1e4 gives the weight 0. With `metadata` a changed model says
    what it was made from, and how. Tables of embeddings that are multiplied by weights in advance may take up to
    `fold_tables` bytes. What crosses between the models of a split does so in the type `crossing`, if one is named, and
    takes at most `max_bytes` for a request ("user") and for an item ("item").

    Raises UserError for values of another type, and for a batch without candidates.
    """

    user_inputs: tuple[str, ...]
    batches: int | Sequence[int]
    mode: Mode
    item_inputs: tuple[str, ...] = ()
    allow_no_candidates: bool = False
    dynamic_batch: bool = False
    assume_masked: bool = False
    metadata: bool = True
    fold_tables: int = 0
    crossing: str | None = None
    max_bytes: Mapping[Role, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        candidates("batch", self.batches)
        number("fold_tables", self.fold_tables, 0)
        for role, most in self.max_bytes.items():
            if role not in ("user", "item"):
                raise UserError(f"max_bytes has {role!r}", 'Give bytes for "user", "item" or both.')
            number(f"max_bytes of {role}", most, 1)
        for name in ("allow_no_candidates", "dynamic_batch", "assume_masked", "metadata"):
            flag(name, getattr(self, name))
        if self.crossing not in (None, HALF):
            raise UserError(f"nothing crosses in {self.crossing!r}", f"choose {HALF!r}, or leave `crossing` out")

    @property
    def batch(self) -> int:
        """The largest number of candidates."""
        return candidates("batch", self.batches)[0]

    @property
    def few(self) -> int | None:
        """The smallest of several numbers of candidates; None where there is one alone."""
        return candidates("batch", self.batches)[1]

    @property
    def asked(self) -> dict[str, object]:
        """The user's inputs and the numbers of candidates, as reports repeat them."""
        batch = self.batch if self.few is None else [self.few, self.batch]
        return {"user_inputs": self.user_inputs, "batch": batch}

    def configuration(self, command: Command) -> Configuration:
        """The options as the report repeats them."""
        options = {**self.asked, **asdict(self.mode.options)}
        if command == "split":
            options |= {"item_inputs": self.item_inputs, "crossing": self.crossing}
            options |= {"max_bytes": dict(self.max_bytes)}
        else:
            options["allow_no_candidates"] = self.allow_no_candidates
        options |= {"dynamic_batch": self.dynamic_batch, "assume_masked": self.assume_masked}
        if command in ("optimize", "split"):
            options |= {"metadata": self.metadata, "fold_tables": self.fold_tables}
        return Configuration(options)
