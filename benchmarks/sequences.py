"""Rankers over sequences against their exports: the share of a call's time, and of the most memory that it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from benchmarks.handmade import assert_same, causal, side_by_side
from benchmarks.handmade.family import Family
from benchmarks.handmade.tokens import Sizes
from benchmarks.timing import Feeds, paired, session
from mari_onnx import optimize, worker
from mari_onnx.measurement import memory


@dataclass(frozen=True)
class Case:
    """A family at some size, and the share of the export's time, or of its memory, that a call may take."""

    family: Callable[[Sizes], Family]
    sizes: Sizes
    batch: int
    goal: float


CASES = {
    "31 tokens of width 32": Case(causal.family, Sizes(31, 32), 200, 0.08),
    "99 tokens of width 64": Case(causal.family, Sizes(99, 64), 200, 0.016),
    "side by side, 64 tokens": Case(side_by_side.family, Sizes(64, 32, heads=4), 500, 0.15),
}
MEMORY = {"memory, 256 tokens": Case(causal.family, Sizes(256, 32), 500, 0.1)}


def run() -> bool:
    print("case                      batch      export     by hand       ours  hand/export  ours/export")
    met = True
    for name, case in CASES.items():
        models, feeds = _forms(name, case)
        timing = paired([session(model) for model in models], feeds, seconds=4.0)
        met &= _shown(name, case, [timing.microseconds(k) for k in range(3)], "us")
    for name, case in MEMORY.items():
        models, feeds = _forms(name, case)
        held = [worker.run(peak_of_a_call, model.SerializeToString(), feeds, alone=True) for model in models]
        if any(most is None for most in held):
            print(f"{name:<25} {case.batch:>5}   not known on this system")
            continue
        met &= _shown(name, case, [(most or 0) / 2**20 for most in held], "MB")
    return met


def _forms(name: str, case: Case) -> tuple[list[onnx.ModelProto], Feeds]:
    """The export, the form by hand and ours, and a call."""
    family = case.family(case.sizes)
    export, by_hand = family.model(family.export), family.model(family.by_hand)
    models = [export, by_hand, optimize(export, user_inputs=family.tiled, verify=False).model]
    feeds = family.request(case.batch)
    assert_same(name, models, feeds)
    return models, feeds


def _shown(name: str, case: Case, found: list[float], unit: str) -> bool:
    export, by_hand, ours = found
    met = ours / export <= case.goal
    print(
        f"{name:<25} {case.batch:>5} {export:>8.0f} {unit} {by_hand:>8.1f} {unit} {ours:>7.1f} {unit} "
        f"{by_hand / export:>12.4f} {ours / export:>12.4f}  {'met' if met else f'MISSED: at most {case.goal}'}",
        flush=True,
    )
    return met


def peak_of_a_call(model: bytes, feeds: Feeds) -> int | None:
    """By how many bytes the first call of a model lets this process grow; None where the system does not tell."""
    loaded = session(onnx.ModelProto.FromString(model))
    before = memory.now()
    return memory.peak(lambda: loaded.run(None, dict(feeds)), before)
