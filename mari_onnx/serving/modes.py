"""How a model is called: what the caller sends of the request's rows, and whether the model checks it.

tiled       as exported: the caller repeats the request's row for each candidate
            with a key: rows of the same key are one request's, and the first row of each key is used
one         the caller sends the row once: the declared inputs have leading extent 1
requests    the caller sends a row for each of several requests, and an index says which one each candidate has
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from onnx import TensorProto

from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.errors import UserError

UserBatch: TypeAlias = Literal["tiled", "one", "requests"]


Guard: TypeAlias = Literal["nan", "output"]


GUARD_OUTPUT = "mari_guard"
"""The output that is false where rows that should be identical are not."""


INDEX_INPUT = "request_index"
"""What the index of several requests is called where the caller names none."""


OPSET = 11
"""The first with Unique, and in which Equal compares floats."""


INTEGERS = frozenset(
    {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.UINT16,
     TensorProto.UINT32, TensorProto.UINT64}
)  # fmt: skip


KEYS = INTEGERS | {TensorProto.BOOL, TensorProto.STRING}
"""Element types of keys: equal ones are the same, which 0.0 and -0.0 are not."""


@dataclass(frozen=True)
class Serving:
    """What is asked for beside the declaration of the request's inputs.

    Raises UserError for wishes that contradict each other.
    """

    user_batch: UserBatch = "tiled"
    request_index: str | None = None
    request_key: tuple[str, ...] = ()
    guard: Guard | None = None

    def __post_init__(self) -> None:
        if self.request_index is not None and self.user_batch == "tiled":
            object.__setattr__(self, "user_batch", "requests")
        if self.request_index is not None and self.user_batch == "one":
            raise UserError("one row for the call leaves an index nothing to select", "leave one of the two out")
        if self.request_key and self.user_batch != "tiled":
            raise UserError(
                "a request key tells tiled rows apart, and the rows are not to be tiled any more",
                "leave out the key, or the change of the user's batch",
            )
        if self.guard and self.user_batch != "tiled":
            raise UserError(
                "a guard compares tiled rows, and the rows are not to be tiled any more",
                "leave out the guard: rows that are sent once cannot differ",
            )

    @property
    def demanded(self) -> bool:
        """Whether the result is wanted even where it does not pay: it is called otherwise, or guarded."""
        return self.user_batch != "tiled" or self.guard is not None


AS_EXPORTED = Serving()


def check(model: Model, serving: Serving) -> None:
    """Raise `UserError` unless the model has the inputs that are asked for, and they are fit for it."""
    infos = {i.name: i for i in model.inputs}
    for key in serving.request_key:
        if key not in infos:
            raise UserError(
                f"the model has no input {key!r} to be a request key", f"its inputs are: {', '.join(infos)}"
            )
        shape = shape_of(infos[key])
        if infos[key].type.tensor_type.elem_type not in KEYS:
            raise UserError(f"input `{key}` holds neither integers nor strings", "give an id as the request key")
        if not shape or isinstance(shape[0], int) or not all(isinstance(e, int) for e in shape[1:]):
            raise UserError(f"input `{key}` does not have one key for each candidate: its shape is {shape}", None)
    if serving.request_key and model.opset < OPSET:
        raise UserError(
            f"a request key needs opset {OPSET}, and the model has {model.opset}", "export the model for a newer opset"
        )
    if serving.user_batch == "requests":
        _check_index(model, serving.request_index)


def _check_index(model: Model, index: str | None) -> None:
    infos = {i.name: i for i in model.inputs}
    if index is None:
        if INDEX_INPUT in model.names:
            raise UserError(f"the model has a `{INDEX_INPUT}` already", f"`--request-index {INDEX_INPUT}` uses it")
    elif index not in infos:
        step = f"its inputs are: {', '.join(infos)}; `--user-batch requests` alone adds an index"
        raise UserError(f"the model has no input {index!r} to be the request index", step)
    else:
        shape, dtype = shape_of(infos[index]), infos[index].type.tensor_type.elem_type
        if dtype not in INTEGERS or not shape or any(e != 1 for e in shape[1:]):
            raise UserError(f"input `{index}` does not have one integer for each candidate", "name another")
