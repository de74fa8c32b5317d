"""Reports of each kind, as the commands make them."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

from mari_onnx.report import PACKAGES, VIEWS
from mari_onnx.report.benchmark import Benchmark, BreakEven, Calls, NodeTime, PartTiming, Policy, Profile, Timing
from mari_onnx.report.histogram import Bin
from mari_onnx.report.model import (
    Change,
    Cost,
    Difference,
    Divergence,
    LeftOut,
    ModelFacts,
    Ranking,
    Remark,
    Report,
    RequestInput,
    Structure,
    TensorFacts,
    Verification,
)
from mari_onnx.report.note import Note
from mari_onnx.report.precompute import Precomputed, StoredOutput
from mari_onnx.report.replay import Broken, Latency, Replay, Replayed, Singled, StoppedGroup
from mari_onnx.report.survey import Declaration, Recorded, Survey, SurveyedInput, Within

HERE = tuple(view for view in VIEWS if all(map(find_spec, PACKAGES.get(view, ()))))
"""The views of which all packages are installed here."""

LONG = "tower/" + "very_long_scope/" * 8 + "fc1.MatMul"
INPUTS = tuple(TensorFacts(f"user_{name}", "int64", ("batch",)) for name in ("id", "age", "city", "level"))
MODEL = ModelFacts(
    "models/wide_deep.onnx",
    "pytorch 2.13.0",
    8,
    {"ai.onnx": 17, "com.acme": 1},
    142,
    36,
    1_636_722,
    (*INPUTS, TensorFacts("user_history", "int64", ("batch", 50)), TensorFacts("item_id", "float", (None, 4))),
    (TensorFacts("score", "float", ("batch", 1)), TensorFacts("scalar", "float", ())),
)
FASTER = ModelFacts(None, "pytorch 2.13.0", 8, {"ai.onnx": 17}, 139, 40, 1_640_100, MODEL.inputs, MODEL.outputs)
REQUEST = (
    *(RequestInput(tensor.name, "tiled", "matches 'user_*'") for tensor in INPUTS),
    RequestInput("user_history", "one", "its leading axis is 1"),
)
TILED = tuple(one.name for one in REQUEST if one.rows == "tiled")
REMARKS = (
    Remark(
        "applied",
        "product",
        "node_12",
        "Gemm",
        "tower/fc1",
        "12,300,000 multiply-adds become 4,100,000",
        "[B 256] = user () + item (B)",
        because=("user_emb has no candidate axis", "user_id was declared"),
        macs_before=12_300_000,
        macs_after=4_100_000,
    ),
    Remark(
        "applied",
        "product",
        "node_14",
        "MatMul",
        "attention/fc1",
        "6,000,000 multiply-adds become 1,500,000",
        "[(B L) 256] = q (B) + seq (L) + q*seq (B L)",
        macs_before=6_000_000,
        macs_after=1_500_000,
    ),
    Remark(
        "refused",
        "product",
        "node_20",
        "MatMul",
        LONG,
        "the width of part `a` is unknown, so its rows of the weight are too",
        next_step="give input `a` a fixed feature width, or export with dynamic axes on the batch only",
        macs_before=2_000_000,
        macs_after=2_000_000,
    ),
    Remark(
        "as is",
        "product",
        "node_30",
        "Gemm",
        "tower/fc2 [bold]not markup[/bold]",
        "every row and every column of it varies with the candidate",
        "[B 128] = item (B)",
        macs_before=3_800_000,
        macs_after=3_800_000,
    ),
    Remark("refused", "unknown", "node_31", "Secret", "secret/out", "nothing is known about operators of com.acme"),
)
BEFORE = Cost(500, 24_100_000, 0, 48_200.0, 142, 1034.0)
AFTER = Cost(500, 8_000_000, 16_000, 15_968.0, 139, 512.3)


def differences(passed: bool = True) -> tuple[Difference, ...]:
    made = [Difference(batch, "score", 2e-8, 3e-8, 1e-6, True) for batch in (1, 2, 7, 64)]
    if not passed:
        made[2] = Difference(
            7, "score", 0.31, 0.4, 1e-6, False, "in float64, row 3 differs", failure="another function"
        )
        made.append(
            Difference(
                64, "scalar", math.inf, math.nan, 0.0, False, "shape [64], but the reference has []", failure="shape"
            )
        )
    return tuple(made)


OPTIMIZED = Report(
    "optimize",
    "0.1.0",
    MODEL,
    REQUEST,
    REMARKS,
    BEFORE,
    AFTER,
    Verification(True, 0, 0.0, 0.0, differences(), tiled=TILED),
    FASTER,
    changed=True,
    written="out.onnx",
)
WRONG = Report(
    "optimize",
    "0.1.0",
    MODEL,
    REQUEST,
    REMARKS,
    BEFORE,
    AFTER,
    Verification(
        False, 7, 1e-5, 1e-8, differences(False), (Note("float32-only", "output ids: Unique has no float64 kernel"),)
    ),
    FASTER,
    changed=True,
)
LEFT_OUT = replace(
    OPTIMIZED,
    left_out=(
        LeftOut(
            ("attention/fc1", "attention/fc1 [bold]"),
            "product",
            "another function",
            "in float64 it differs by 0.31 at [3], where 1e-10 is allowed",
        ),
    ),
)
UNCHANGED = Report("optimize", "0.1.0", MODEL, (), (), BEFORE, BEFORE, None, MODEL, written="out.onnx")
UNVERIFIED = Report("optimize", "0.1.0", MODEL, REQUEST, REMARKS, BEFORE, AFTER, None, FASTER, True, "out.onnx")
INSPECTED = Report("inspect", "0.1.0", MODEL, REQUEST, REMARKS, BEFORE, AFTER, changed=True)
BARE = Report("inspect", "0.1.0", ModelFacts(None, "", 8, {}, 0, 0, 0, (), ()))
SAME = Report(
    "verify",
    "0.1.0",
    MODEL,
    verification=Verification(True, 0, 0.0, 0.0, differences()),
    optimized=FASTER,
    changed=True,
)
DIFFERENT = Report(
    "verify", "0.1.0", MODEL, verification=Verification(False, 0, 0.0, 0.0, differences(False)), optimized=FASTER
)
RANKINGS = (
    Ranking("score", 64, 10, 1.0, 1.0, 0, 0.0, (0.0, 1.2e-8, 3e-8, 3e-8)),
    Ranking(
        "tasks[1]",
        64,
        10,
        0.9,
        0.987654321,
        3,
        2.5e-7,
        (1e-8, 2e-7, 3e-6, 4e-5),
        (Bin(0.0, 0.0, 20), Bin(2.0**-27, 2.0**-26, 40), Bin(2.0**-15, 2.0**-14, 4)),
        (Bin(0.0, 0.0, 61), Bin(1.0, 2.0, 2), Bin(2.0, 4.0, 1)),
    ),
)
CHANGES = Structure(
    35,
    (Change("Gemm", "tower/fc1", 2, 1, 0), Change("Gemm", "tower/fc2", 0, 0, 1), Change("acme.Secret", "", 0, 3, 0)),
    17,
    4,
    0,
    (236_764, 236_876),
)
DIVERGENCE = Divergence(
    "tower/fc1",
    6.9e-4,
    True,
    "score",
    "drawn",
    7,
    ("Slice user.part", "Concat x | y", "Gemm tower/fc1.user", "Gemm tower/fc1.item", "Add tower/fc1"),
    ("user_emb", "item_emb"),
    "product",
    "[B 256] = user () + item (B): 12,300,000 multiply-adds become 4,100,000",
    1,
    "fast.failing.npz",
    "mari-onnx verify wide_deep.onnx fast.onnx -u 'user_*' --inputs fast.failing.npz",
)
VERIFIED = replace(
    SAME,
    request_inputs=REQUEST,
    cost_before=BEFORE,
    cost_after=AFTER,
    verification=Verification(
        True,
        3,
        1e-10,
        0.0,
        (
            *(replace(one, float64=2e-16, float64_bound=1e-10, error=2e-8) for one in differences()),
            Difference(7, "score", 2e-8, 3e-8, 1e-6, True, case="not finite", float64=0.0, float64_bound=1e-10),
        ),
        (Note("case-left-out", "left out, because 10 s were over: large"),),
        "both models store the same constants, so that only float64 rounds",
        rankings=RANKINGS,
        tiled=TILED[:2],
    ),
    optimized=replace(FASTER, path="out/fast.onnx"),
    structure=CHANGES,
)
LOCATED = replace(
    VERIFIED,
    verification=Verification(
        False,
        3,
        1e-10,
        0.0,
        (
            *(replace(one, float64=2e-16, float64_bound=1e-10, error=2e-8) for one in differences()[:2]),
            Difference(
                7,
                "score",
                0.31,
                0.4,
                1e-6,
                False,
                "not the same function: in float64 it differs by 0.31 at [3], where 1e-10 is allowed; "
                "--atol 0.32 or --rtol 0.41 would pass",
                "largest ids",
                0.31,
                1e-10,
                0.31,
                "another function",
            ),
        ),
        basis="both models store the same constants, so that only float64 rounds",
        rankings=RANKINGS,
        divergence=DIVERGENCE,
    ),
)
TIMINGS = (
    Timing(
        1, 1, 1, 400, 0.96, 0.951, 0.97,
        Calls(75.3, 78.6, 81.0, 114.0, 13_280.0, 13_280.0, 8192), Calls(78.2, 80.1, 84.2, 120.0, 12_788.0, 12_788.0, 0),
    ),
    Timing(
        1000, 2, 4, 15, 2.051, 2.01, 2.093,
        Calls(14_600.0, 16_000.0, 16_100.0, None, 68.493, 68_493.0, 36_400_000),
        Calls(7_120.0, 8_000.0, 8_100.0, None, 140.449, 140_449.0, 29_600_000),
    ),
)  # fmt: skip
BENCHMARK = Benchmark(
    "onnxruntime 1.32.0",
    "AMD EPYC, 2 cores",
    TIMINGS,
    (BreakEven(1, 1, None), BreakEven(2, 4, 1000)),
    0.95,
    0,
    profile=Profile(
        1000,
        (NodeTime(LONG, "Gemm", "candidates", 12_300.0), NodeTime("user | emb", "Gather", "request", 800.0)),
        tuple(NodeTime(f"node_{i}", "Gemm", "candidates", 900.0 - i) for i in range(10)),
    ),
    notes=(Note("threads-many", "4 threads share 2 cores"),),
)
TIMED = replace(
    OPTIMIZED, command="bench", written=None, benchmark=BENCHMARK,
    policies=(Policy("max-slowdown", 1.05, True, "1.042 (1.031 to 1.052) at 1 candidate"),),
)  # fmt: skip
OF_A_SPLIT = replace(
    TIMINGS[0],
    parts=(
        PartTiming("user", replace(TIMINGS[0].after, median_us=11.4), 6.6, 6.52, 6.71),
        PartTiming("rank", replace(TIMINGS[0].after, median_us=66.6), 1.131, 1.124, 1.142),
    ),
)
SLOWER = Report(
    "bench", "0.1.0", MODEL, REQUEST, cost_before=BEFORE, cost_after=AFTER, optimized=FASTER, changed=True,
    benchmark=replace(BENCHMARK, profile=None, notes=(), inputs="requests.jsonl", timings=(OF_A_SPLIT,)),
    policies=(Policy("min-speedup", 1.5, False, "0.960 (0.951 to 0.970) at 1 candidate"),),
)  # fmt: skip
NO_REPLAY = Replay(1, 1, 3, 0, 0, 0, 0, (), (), Singled(0, 0, ()), Singled(0, 0, ()), (), ())
NOTHING_STORED = Precomputed("store", "item_id", 0, 0, 0, 0, (), "", None)
SURVEYED = Report(
    "inputs", "0.1.0", MODEL, REQUEST[4:], cost_before=BEFORE, cost_after=AFTER, changed=True,
    survey=Survey(
        (
            SurveyedInput("user_id", "int64", ("batch",), "candidates", ("Gather table [400 16]", f"Concat {LONG}"),
                          Within(True)),
            SurveyedInput("user_ctr", "float", ("batch", None), "candidates", (),
                          Within(False, "request a|b: 0.5 in row 1, 0.25 in row 7")),
            SurveyedInput("user_history", "int64", (1, 50), "one", ("Gather table [400 16]",)),
        ),
        (
            Declaration(("user_id", "f[[]u_*"), ("user_id", "f[u_x"), "recorded", 4_000_000),
            Declaration(("user_*",), ("user_id", "user_ctr"), "prefix", 8_000_000),
            Declaration(("*",), ("user_id",), "prefix", None, "every candidate would get the same score"),
        ),
        Recorded("rows.parquet", "request", 1_200, 1_100, 54_000),
        2,
    ),
)  # fmt: skip
REPLAYED = Report(
    "replay", "0.1.0", MODEL, REQUEST, cost_before=BEFORE, cost_after=AFTER, optimized=FASTER, changed=True,
    verification=SAME.verification,
    replay=Replay(
        4, 201, 20_000, 20_000, 10_012_345, 750, 19_996,
        (
            Replayed("score", 10_012_345, (0.0, 6e-8, 1.2e-7, 2.4e-7), 4.8e-7, 0.98, 7.4e-7, 0, 0, 1, 0, 19_996, 812, 3,
                     2, 1),
            Replayed("tower/out|2", 10_012_345, (0.0, 6e-8, 1.2e-7, 2.4e-7), 4.8e-7, 0.98, None, 0, 0, 0, 0, 0, 0, 0, 0,
                     0),
        ),
        (), Singled(4, 1_904, (f"request a|7: indices element out of data bounds, {LONG}", "request 9: the same")),
        Singled(0, 0, ()), (),
        (Latency("reference", 1_200.0, 1_400.0, 2_100.0, 25.1), Latency("optimized", 610.0, 700.0, 990.0, 12.4)),
        "fast.worst.jsonl",
    ),
)  # fmt: skip
BROKEN = replace(
    REPLAYED,
    replay=replace(
        REPLAYED.replay or NO_REPLAY,
        broken=(Broken(LONG, Singled(1, 12, ("request 7: 1 in the first row, 3 in row 5",))),),
        failing=Singled(1, 500, ("request 8: output `y` is float32 [2], and the reference's is float32 [3]",)),
        stopped=(StoppedGroup("logs/a.parquet, row group 3", "onnxruntime stopped (signal 11); run it by itself"),),
    ),
)
NOT_REPLAYED = replace(REPLAYED, verification=None, replay=NO_REPLAY)
PRECOMPUTED = Report(
    "precompute", "0.1.0", MODEL,
    precomputed=Precomputed(
        "store", "item_id", 2_000_000, 40, 38, 512_000_000,
        (StoredOutput(LONG, "float", (64,)), StoredOutput("bias|2", "float", ())), "3f2a" * 16, "9c41" * 8,
    ),
)  # fmt: skip
NOT_COMPUTED = replace(
    PRECOMPUTED,
    precomputed=replace(
        PRECOMPUTED.precomputed or NOTHING_STORED, fingerprint=None,
        stopped=(StoppedGroup("items.parquet, row group 3", "onnxruntime stopped (signal 11); run it by itself"),),
    ),
)  # fmt: skip
EVERY = {
    "precomputed": PRECOMPUTED,
    "not_computed": NOT_COMPUTED,
    "replayed": REPLAYED,
    "broken": BROKEN,
    "not_replayed": NOT_REPLAYED,
    "surveyed": SURVEYED,
    "timed": TIMED,
    "slower": SLOWER,
    "verified": VERIFIED,
    "located": LOCATED,
    "optimized": OPTIMIZED,
    "wrong": WRONG,
    "left_out": LEFT_OUT,
    "unchanged": UNCHANGED,
    "unverified": UNVERIFIED,
    "inspected": INSPECTED,
    "bare": BARE,
    "same": SAME,
    "different": DIFFERENT,
}
