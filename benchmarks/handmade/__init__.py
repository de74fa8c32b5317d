"""Families of ranking models, each as exported, optimized, and in the fastest form that we know to write by hand."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from benchmarks.handmade import (
    autoint,
    bst,
    causal,
    cross_attention,
    dcn,
    decoder,
    deepfm,
    dien,
    din,
    dlrm,
    fragmented,
    hstu,
    mlp,
    mmoe,
    side_by_side,
    two_tower,
)
from benchmarks.handmade.family import Family
from benchmarks.timing import Feeds, paired, session
from mari_onnx import optimize

FAMILIES: dict[str, Callable[[], Family]] = {
    "mlp": mlp.family,
    "fragmented": fragmented.family,
    "mmoe": mmoe.family,
    "din": din.family,
    "cross_attention": cross_attention.family,
    "deepfm": deepfm.family,
    "dcn": dcn.family,
    "dlrm": dlrm.family,
    "bst": bst.family,
    "causal": causal.family,
    "hstu": hstu.family,
    "side_by_side": side_by_side.family,
    "decoder": decoder.family,
    "autoint": autoint.family,
    "two_tower": two_tower.family,
    "dien": dien.family,
}

BATCHES = (100, 500)
GOAL = 1.05
"""The time of the optimized model, against that of the form by hand."""
SAME = 1e-5
"""How far apart scores of the same function may be, of their scale: all is float32."""


def run(batches: Sequence[int], pattern: str) -> bool:
    """Time every family that the pattern names; whether the goal is met by all."""
    print("family            batch  export us  by hand us   ours us  ours/hand  quartiles    nodes")
    met = True
    for name, family in FAMILIES.items():
        if fnmatch.fnmatch(name, pattern):
            met &= _compared(name, family(), batches)
    return met


def _compared(name: str, family: Family, batches: Sequence[int]) -> bool:
    export, by_hand = family.model(family.export), family.model(family.by_hand)
    ours = optimize(export, user_inputs=family.tiled, verify=False).model
    models = [export, by_hand, ours]
    sessions = [session(model) for model in models]
    nodes = " -> ".join(str(len(model.graph.node)) for model in models)
    met = True
    for batch in batches:
        feeds = family.request(batch)
        assert_same(name, models, feeds)
        timing = paired(sessions, feeds, seconds=4.0)
        low, high = timing.quartiles(2, 1)
        within = timing.ratio(2, 1) <= GOAL
        met &= within
        print(
            f"{name:<17} {batch:>5} {timing.microseconds(0):>10.0f} {timing.microseconds(1):>11.0f} "
            f"{timing.microseconds(2):>9.0f} {timing.ratio(2, 1):>10.3f}  {low:.3f}-{high:.3f}  {nodes}"
            f"  {'met' if within else f'MISSED: at most {GOAL}'}",
            flush=True,
        )
    return met


def assert_same(name: str, models: Sequence[onnx.ModelProto], feeds: Feeds) -> None:
    """Raise AssertionError where the three do not compute the same scores."""
    export, *others = [session(model).run(None, dict(feeds)) for model in models]
    for form, outputs in zip(("by hand", "ours"), others, strict=True):
        for wanted, got in zip(export, outputs, strict=True):
            apart = np.abs(got - wanted).max() / np.abs(wanted).max()
            assert apart <= SAME, f"{name}: {form} is {apart:.1e} of the scores' scale apart from the export"
