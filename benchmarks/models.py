"""Times of exported models, original against optimized: `python -m benchmarks models [--corpus DIR] [--batch N]`."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.calls import call, declared
from benchmarks.timing import paired, session
from mari_onnx import optimize

BATCHES = (50, 200, 1000)
SLOWER = 1.03

SAMPLES = Path(__file__).parents[1] / "sample_models"


def samples() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, file and description of each sample model."""
    for name, meta in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8")).items():
        yield name, SAMPLES / meta["file"], meta


def folder(path: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, file and description of each model in a folder of NAME.onnx, each with its NAME.json."""
    for file in sorted(path.glob("*.onnx")):
        yield file.stem, file, json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))


def run(batches: Sequence[int], corpus: Path | None, pattern: str) -> bool:
    print("model                        batch   before us    after us  ratio  quartiles    nodes")
    ratios: dict[int, list[float]] = {batch: [] for batch in batches}
    for name, file, meta in folder(corpus) if corpus else samples():
        if not fnmatch.fnmatch(name, pattern):
            continue
        model = onnx.load(file)
        optimized = optimize(model, user_inputs=declared(meta, model), verify=False)
        nodes = f"{len(model.graph.node)} -> {len(optimized.model.graph.node)}"
        if not optimized.changed:
            print(f"{name:<28} not changed")
            for batch in batches:
                ratios[batch].append(1.0)
            continue
        sessions = [session(model), session(optimized.model)]
        for batch in batches:
            feeds = call(meta, model, batch)
            try:
                sessions[0].run(None, feeds)
            except Exception:  # onnxruntime's exceptions have no common base
                print(f"{name:<28} {batch:>5}   the original does not run")
                continue
            timing = paired(sessions, feeds)
            low, high = timing.quartiles(1)
            print(
                f"{name:<28} {batch:>5} {timing.microseconds(0):>11.0f} {timing.microseconds(1):>11.0f} "
                f"{timing.ratio(1):>6.3f}  {low:.3f}-{high:.3f}  {nodes}",
                flush=True,
            )
            ratios[batch].append(timing.ratio(1))
    for batch, found in ratios.items():
        if found:
            mean, slower = np.exp(np.log(found).mean()), sum(ratio > SLOWER for ratio in found)
            print(f"geometric mean at {batch} candidates: {mean:.3f}, {slower} of {len(found)} slower by over 3 %")
    return True
