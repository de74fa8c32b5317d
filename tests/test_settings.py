"""The options of a run: what they are made of, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx import UserError
from mari_onnx.serving.tiled import AS_EXPORTED
from mari_onnx.settings import Settings


@pytest.mark.parametrize(
    ("given", "batch", "few", "shown"),
    [(500, 500, None, 500), ([500], 500, None, 500), ([500, 1], 500, 1, [1, 500]), ((7, 7), 7, None, 7)],
)
def test_numbers_of_candidates(given: Any, batch: int, few: int | None, shown: object) -> None:
    settings = Settings((), given, AS_EXPORTED)
    assert (settings.batch, settings.few, settings.asked["batch"]) == (batch, few, shown)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batches", 0), ("batches", []), ("batches", "500"), ("fold_tables", -1), ("metadata", "no"),
        ("dynamic_batch", 1), ("crossing", "int8"), ("max_bytes", {"rank": 1}),
    ],
)  # fmt: skip
def test_wrong_values(option: str, value: Any) -> None:
    given: dict[str, Any] = {"user_inputs": (), "batches": 1, "mode": AS_EXPORTED, option: value}
    with pytest.raises(UserError):
        Settings(**given)
