"""Find the mode: from options (`mode_of`), or from the signature of a written model (`mode_of_result`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mari_onnx.document.document import Document
from mari_onnx.errors import UserError
from mari_onnx.serving.call_graph import fed_inputs, leading_extent
from mari_onnx.serving.guard import Guard, NanGuard, OutputGuard
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.names import GUARD_OUTPUT, INDEX_INPUT, ONE, TILED, USER_BATCHES, GuardName, UserBatch
from mari_onnx.serving.requests import AddedIndex, ExistingIndex
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import Tiled, TiledByKey

GUARDS: dict[GuardName, Guard] = {guard.name: guard for guard in (NanGuard(), OutputGuard())}


def mode_of(
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    guard: GuardName | None = None,
) -> Mode:
    """The mode that options ask for. A request index implies the user batch "requests".

    Raises UserError for options that contradict each other, and for an unknown user batch or guard.
    """
    _check_word("user batch", user_batch, USER_BATCHES)
    if user_batch == TILED and request_index is None:
        if guard is not None:
            _check_word("guard", guard, GUARDS)
        return _tiled(request_key, None if guard is None else GUARDS[guard])
    if user_batch == ONE and request_index is not None:
        raise UserError("one row for the call leaves an index nothing to select", "leave one of the two out")
    if request_key:
        raise UserError(
            "a request key tells tiled rows apart, and the rows are not to be tiled any more",
            "leave out the key, or the change of the user's batch",
        )
    if guard is not None:
        raise UserError(
            "a guard compares tiled rows, and the rows are not to be tiled any more",
            "leave out the guard: rows that are sent once cannot differ",
        )
    if user_batch == ONE:
        return SingleRow()
    return AddedIndex() if request_index is None else ExistingIndex(request_index)


def mode_of_result(
    reference: Document, parts: Sequence[Document], request_index: str | None = None, request_key: Sequence[str] = ()
) -> Mode:
    """The mode of a written model, found by comparing its inputs and outputs with those of the reference.

    The model may consist of several parts; the last of them has the outputs. Two facts do not show in a signature and
    are given: the index, if it is an input of the reference too, and the keys. Example: `user` [1, 4] beside the
    reference's `user` [B, 4] shows the mode SingleRow.
    """
    if request_index is not None:
        return ExistingIndex(request_index)
    original = fed_inputs(reference.proto)
    inputs = [info for part in parts for info in fed_inputs(part.proto).values()]
    if INDEX_INPUT in {info.name for info in inputs} - original.keys():
        return AddedIndex()
    if any(
        leading_extent(info) == 1 != leading_extent(original[info.name]) for info in inputs if info.name in original
    ):
        return SingleRow()
    guarded = _has_guard(parts[-1]) and not _has_guard(reference)
    return _tiled(request_key, OutputGuard() if guarded else None)


def _tiled(keys: Sequence[str], guard: Guard | None) -> Tiled:
    return TiledByKey(tuple(keys), guard=guard) if keys else Tiled(guard=guard)


def _has_guard(document: Document) -> bool:
    return any(o.name == GUARD_OUTPUT for o in document.proto.graph.output)


def _check_word(what: str, word: str, words: Collection[str]) -> None:
    if word not in words:
        raise UserError(f"there is no {what} {word!r}", f"it is one of: {', '.join(words)}")
