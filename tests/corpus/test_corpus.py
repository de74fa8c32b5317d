"""Real exports of ranking models, kept outside the repository: the same scores, and almost the least arithmetic.

The folder comes from MARI_CORPUS; without it, `shared/corpus` beside the repository is taken where that exists. Its
`corpus.py` makes the models and `oracle.py` finds the least arithmetic by running them. A few models are tried by
default and all of them with MARI_ONNX_CORPUS=full (`make corpus`).
"""

from __future__ import annotations

import importlib.util
import math
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

from benchmarks.calls import declared
from benchmarks.timing import session
from mari_onnx import Optimized, optimize
from tests.reasons import unexplained

FOLDER = Path(os.environ.get("MARI_CORPUS", Path(__file__).parents[3] / "shared/corpus"))
FULL = os.environ.get("MARI_ONNX_CORPUS") == "full"

NAMES = sorted(path.name.removesuffix(".onnx.z") for path in FOLDER.glob("models/*.onnx.z"))
FEW = (
    "deepctrtf_deepfm_v", "fuxictr_sim_e", "mlgb_dsin_e", "rechub_dcn_e_fp16", "rechub_din_v", "rechub_mmoe_g",
    "rechub_ple_e", "rechub_widedeep_v",
)  # fmt: skip
TRIED = [name for name in NAMES if FULL or name in FEW]
PAIRED = [name for name in NAMES if name.startswith("rechub_") and name.endswith(("_v", "_e"))]

LIKE_AN_MLP = ("widedeep", "deepfm", "mmoe", "ple", "sharedbottom", "esmm", "aitm", "cold", "dcn", "dssm")
EACH, MEAN = 1.05, 1.08
"""Arithmetic against the least: of a model that is an MLP at heart, and the geometric mean over all in PAIRED."""

pytestmark = pytest.mark.skipif(not NAMES, reason=f"no corpus in {FOLDER}; set MARI_CORPUS to its folder")


@cache
def tool(name: str) -> ModuleType:
    """A module of the corpus folder."""
    spec = importlib.util.spec_from_file_location(f"mari_corpus_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Case(NamedTuple):
    model: onnx.ModelProto
    meta: dict[str, Any]
    optimized: Optimized


@cache
def case(name: str, *, verify: bool) -> Case:
    ((_, path, meta),) = tool("corpus").models(FOLDER / "models", name)
    model = tool("corpus").fill(path)
    return Case(model, meta, optimize(model, user_inputs=declared(meta, model), verify=verify))


class Arithmetic(NamedTuple):
    """Multiply-adds that are executed for 64 candidates, and the least that uniformity allows."""

    before: int
    after: int
    least: int


@cache
def arithmetic(name: str) -> Arithmetic:
    model, meta, optimized = case(name, verify=False)
    feeds = tool("corpus").feeds(meta, 64, model=model)
    request_of = feeds.get(meta["index_input"]) if meta.get("index_input") else None
    before, after = (tool("oracle").cost(m, feeds, 64, request_of) for m in (model, optimized.model))
    return Arithmetic(before["macs"], after["macs"], before["bound"])


@pytest.mark.parametrize("name", TRIED)
def test_the_same_scores(name: str) -> None:
    model, meta, optimized = case(name, verify=True)
    if not optimized.changed:
        assert optimized.model == model
        return
    verification = optimized.report.verification
    assert verification is not None
    assert verification.passed, verification
    onnx.checker.check_model(optimized.model, full_check=True)
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    before, after = session(model), session(optimized.model)
    ran = 0
    for batch in (1, 2, 7, 64):
        feeds = tool("corpus").feeds(meta, batch, seed=batch, model=model)
        try:
            expected = before.run(None, feeds)
        except Exception:  # a few exports do not run at batch 1 themselves
            assert batch == 1
            continue
        ran += 1
        for wanted, got in zip(expected, after.run(None, feeds), strict=True):
            assert got.shape == wanted.shape
            largest = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=(1e-2 if half else 1e-4) * largest)
    assert ran >= 3


@pytest.mark.parametrize("name", TRIED)
def test_arithmetic(name: str) -> None:
    found = arithmetic(name)
    assert found.after <= found.before
    if name in PAIRED and name.split("_")[1].removesuffix("raw") in LIKE_AN_MLP:
        assert found.after <= EACH * found.least


@pytest.mark.parametrize("name", TRIED)
def test_what_stays_is_explained(name: str) -> None:
    model, _, optimized = case(name, verify=False)
    assert unexplained(optimized.report, model) == []


@pytest.mark.parametrize("name", TRIED)
def test_a_second_run_changes_nothing(name: str) -> None:
    model, meta, optimized = case(name, verify=False)
    assert not optimize(optimized.model, user_inputs=declared(meta, model), verify=False).changed


@pytest.mark.skipif(not FULL, reason="runs every model: make corpus")
def test_arithmetic_on_the_whole() -> None:
    ratios = [math.log(found.after / found.least) for found in map(arithmetic, PAIRED)]
    assert math.exp(sum(ratios) / len(ratios)) <= MEAN
