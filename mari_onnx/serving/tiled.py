"""The serving modes in which the caller repeats rows as in the original: of one request, or of several with keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.signature import Signature
from mari_onnx.errors import UserError
from mari_onnx.ir.extents import symbol
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.guard import Guard, require_opset
from mari_onnx.serving.mode import DrawnRows, Mode
from mari_onnx.serving.names import TILED, Options
from mari_onnx.serving.rows import FIRST_ROW, KEYS, ByKey, Rows


@dataclass(frozen=True)
class Tiled(Mode):
    """A call holds one request: all rows of a tiled input are identical."""

    guard: Guard | None = field(default=None, kw_only=True)

    @property
    def options(self) -> Options:
        return Options(TILED, guard=self.guard.name if self.guard else None)

    @property
    def demanded(self) -> bool:
        return self.guard is not None

    def check(self, model: Model) -> None:
        """Every model is fit for this mode."""

    def check_tiled(self, model: Model, tiled: Sequence[str], inputs: Sequence[RequestInput]) -> None:
        if self.guard is None:
            return
        if not tiled:
            raise UserError(
                "there is nothing to guard: no input is declared whose rows the caller repeats",
                "declare the user's inputs with -u, or leave the guard out",
            )
        self.guard.check(model)

    def role(self, name: str, why: str) -> RequestInput:
        return RequestInput(name, TILED, f"{why}: the caller repeats its row")

    def rows(self, requests: str) -> Rows:
        return FIRST_ROW

    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        return Signature(outputs=self.guard.outputs if self.guard else ())

    def _sentences(self, names: str) -> tuple[str, ...]:
        return (
            f"{self._alike} must be identical, and whichever of them is at hand is used, in: {names}.",
            *([self.guard.sentence] if self.guard else ()),
        )

    @property
    def _alike(self) -> str:
        return "All rows"


@dataclass(frozen=True)
class TiledByKey(Tiled):
    """A call mixes requests. Rows with the same values of the inputs `keys`, such as `user_id`, are one request's."""

    keys: tuple[str, ...]

    @property
    def options(self) -> Options:
        return replace(super().options, request_key=self.keys)

    def check(self, model: Model) -> None:
        infos = {i.name: i for i in model.inputs}
        for key in self.keys:
            if key not in infos:
                raise UserError(
                    f"the model has no input {key!r} to be a request key", f"its inputs are: {', '.join(infos)}"
                )
            shape = shape_of(infos[key])
            if infos[key].type.tensor_type.elem_type not in KEYS:
                raise UserError(f"input `{key}` holds neither integers nor strings", "give an id as the request key")
            if not shape or isinstance(shape[0], int) or not all(isinstance(e, int) for e in shape[1:]):
                raise UserError(f"input `{key}` does not have one key for each candidate: its shape is {shape}", None)
        require_opset(model, "a request key")

    def check_tiled(self, model: Model, tiled: Sequence[str], inputs: Sequence[RequestInput]) -> None:
        others = [key for key in self.keys if key not in tiled]
        if others:
            raise UserError(f"input `{others[0]}` is not known to have the candidates as its leading axis", None)
        super().check_tiled(model, tiled, inputs)

    def declared(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The declared inputs, and the keys."""
        return {**dict.fromkeys(self.keys, "the key"), **reasons}

    def role(self, name: str, why: str) -> RequestInput:
        return RequestInput(
            name, TILED, f"{why}: the caller repeats its rows, the first of each {self._quoted_keys} is used"
        )

    def rows(self, requests: str) -> Rows:
        return ByKey(self.keys, symbol(requests))

    def drawn_rows(self, tiled: Sequence[str], keys: Sequence[str] = ()) -> DrawnRows:
        return super().drawn_rows(tiled, tuple(dict.fromkeys((*self.keys, *keys))))

    @property
    def _alike(self) -> str:
        return f"Rows with the same {self._quoted_keys}"

    @property
    def _quoted_keys(self) -> str:
        return " and ".join(f"`{key}`" for key in self.keys)


AS_EXPORTED = Tiled()
"""The default mode: the written model has the inputs and outputs of the original, and no guard."""
