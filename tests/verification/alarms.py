"""Is the verification ever wrong about a model that is right? `python -m tests.verification.alarms` (`make alarms`).

Each sample model, and each model of the corpus where that is at hand, is optimized and verified, with one seed after
the other. Whatever fails is a false alarm, or a mistake of the optimizer's.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from benchmarks.calls import declared
from benchmarks.models import samples
from mari_onnx import optimize
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import as_document
from tests.corpus import test_corpus as corpus
from tests.verification.models import judged


def models() -> Iterator[tuple[str, onnx.ModelProto, dict[str, Any]]]:
    """Name, model and description of everything that there is."""
    for name, path, meta in samples():
        yield name, onnx.load(path), meta
    for name in corpus.NAMES:
        ((_, path, meta),) = corpus.tool("corpus").models(Path(corpus.FOLDER) / "models", name)
        yield name, corpus.tool("corpus").fill(path), meta


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("runs", nargs="?", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    pairs = []
    for name, exported, meta in models():
        users = declared(meta, exported)
        made = optimize(exported, user_inputs=users, verify=False)
        model, optimized = as_document(exported), as_document(made.model)
        tiled = roles_of(Model(model), users, 500).tiled
        pairs.append((name, model, optimized, tiled, made.changed))
    alarms, longest, furthest = 0, (0.0, ""), 0.0
    start = time.monotonic()
    for seed, (name, model, optimized, tiled, _) in zip(
        range(given.first, given.first + given.runs), itertools.cycle(pairs), strict=False
    ):
        began = time.monotonic()
        verification = judged(model, optimized, tiled=tiled, seed=seed)
        longest = max(longest, (time.monotonic() - began, name))
        for one in verification.differences:
            if one.float64 and one.float64_bound and one.passed:
                furthest = max(furthest, one.float64 / one.float64_bound * verification.rtol)
        if not verification.passed:
            alarms += 1
            for one in verification.differences:
                if not one.passed:
                    sys.stdout.write(f"{name}, seed {seed}: {one.output} at {one.case} {one.batch}: {one.message}\n")
            sys.stdout.flush()
    took = time.monotonic() - start
    changed = sum(pair[-1] for pair in pairs)
    sys.stdout.write(
        f"{given.runs} runs over {len(pairs)} models ({changed} of them changed), each with a seed of its own: "
        f"{alarms} alarms, at most {furthest:.1e} of the scale apart in float64; "
        f"{took / given.runs:.2f} s each, at most {longest[0]:.1f} s ({longest[1]})\n"
    )
    return int(alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
