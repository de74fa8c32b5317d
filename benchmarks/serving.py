"""The time of a whole request in each serving mode: as exported, optimized, guarded, and in two models.

In the last mode a request is a call of the user model and a call of the ranking model, and their sum counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from benchmarks.calls import call, declared
from benchmarks.models import samples
from benchmarks.timing import Feeds, session, turns_of
from mari_onnx import UserError, optimize, split

BATCHES = (200, 1000)

COLUMNS = ("original", "optimized", "guarded", "user + rank", "rank alone")


def run(batches: Sequence[int] = BATCHES) -> bool:
    print(f"{'model':<26} {'batch':>5} {'original us':>11}   of it: " + "  ".join(f"{c:>11}" for c in COLUMNS[1:]))
    for name, file, meta in samples():
        model = onnx.load(file)
        user = declared(meta, model)
        models = {"optimized": optimize(model, user_inputs=user, verify=False).model}
        try:
            models["guarded"] = optimize(model, user_inputs=user, guard="nan", verify=False).model
        except UserError:  # no rows are repeated
            models["guarded"] = models["optimized"]
        parts = split(model, user_inputs=user, verify=False).models
        sessions = [
            session(model),
            *(session(m) for m in models.values()),
            *map(session, (parts["user"], parts["rank"])),
        ]
        for batch in batches:
            feeds = _feeds(meta, model, parts, batch)
            turns = turns_of([(s, _own(s, f)) for s, f in zip(sessions, feeds, strict=True)])
            before, fast, guarded, user_part, rank = np.median(turns, axis=0)
            shares = (fast / before, guarded / before, (user_part + rank) / before, rank / before)
            shown = "  ".join(f"{share:>11.3f}" for share in shares)
            print(f"{name:<26} {batch:>5} {before / 1e3:>11.0f}          {shown}", flush=True)
    return True


def _feeds(meta: dict[str, Any], model: onnx.ModelProto, parts: Any, batch: int) -> list[Feeds]:
    """The inputs of each session. The ranking model gets what the user model computes."""
    whole = call(meta, model, batch)
    rows = {i.name: i.type.tensor_type.shape.dim[0] for part in parts.values() for i in part.graph.input if _dims(i)}
    once = {n: a[:1] if n in rows and rows[n].dim_value == 1 else a for n, a in whole.items()}
    user = session(parts["user"])
    computed = user.run(None, _own(user, once))
    crossing = dict(zip([o.name for o in user.get_outputs()], computed, strict=True))
    return [*itertools.repeat(whole, 3), once, {**once, **crossing}]


def _dims(info: onnx.ValueInfoProto) -> bool:
    return bool(info.type.tensor_type.shape.dim)


def _own(model: Any, feeds: Feeds) -> Feeds:
    return {i.name: feeds[i.name] for i in model.get_inputs()}
