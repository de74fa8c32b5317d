"""The one report that every command fills in, and of which text and JSON are views.

Counts of arithmetic are multiply-adds of products (MatMul, Gemm, Conv, Einsum, recurrent cells).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

Status = Literal["applied", "refused", "as is"]
Command = Literal["optimize", "verify", "inspect"]


@dataclass(frozen=True)
class TensorFacts:
    """A graph input or output: its ONNX element type ("float", "int64") and its dims (None: unknown)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, before anything is done to it. `bytes` counts the file and its external data."""

    path: str | None
    producer: str
    ir_version: int
    opsets: dict[str, int]
    nodes: int
    initializers: int
    bytes: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


@dataclass(frozen=True)
class RequestInput:
    """An input that belongs to the request (the user), and why it was taken for one.

    `rows` says what its leading axis holds:
    "one" (literal extent 1), "tiled" (the caller repeats one row for each candidate; the first is used),
    "requests" (one row for each request of the batch), "shared" (no axis of candidates at all).
    """

    name: str
    rows: Literal["one", "tiled", "requests", "shared"]
    reason: str


@dataclass(frozen=True)
class Remark:
    """What was, or was not, done about one node, in words.

    `tensor` is a name that a user finds in Netron; `forms` the named axes of each part, einops-like:
    "[(B L) 256] = user (L) + item (B L)". `because` is the chain from this node back to an input.
    Multiply-adds are at the reference number of candidates.
    """

    status: Status
    rule: str
    node: str
    op_type: str
    tensor: str
    reason: str
    forms: str = ""
    next_step: str | None = None
    because: tuple[str, ...] = ()
    macs_before: int = 0
    macs_after: int = 0


@dataclass(frozen=True)
class Cost:
    """Arithmetic of one request at `batch` candidates: `macs = macs_fixed + batch * macs_per_candidate`.

    `macs_fixed` is what is computed once for the request, whatever the number of candidates.
    `time_us` is the cost model's estimate in microseconds, for comparing graphs and not for predicting.
    """

    batch: int
    macs: int
    macs_fixed: int
    macs_per_candidate: float
    nodes: int
    time_us: float


@dataclass(frozen=True)
class Difference:
    """One output at one batch, the optimized model against the reference.

    `max_rel` is the largest absolute difference over the reference's largest magnitude;
    `bound` is the largest absolute difference that would have passed.
    """

    batch: int
    output: str
    max_abs: float
    max_rel: float
    bound: float
    passed: bool
    message: str = ""


@dataclass(frozen=True)
class Verification:
    """Every comparison that was made, and whether all of them passed. `notes` say what was not checked."""

    passed: bool
    seed: int
    rtol: float
    atol: float
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a command did. Sections that a command does not have are None or empty."""

    command: Command
    version: str
    model: ModelFacts
    request_inputs: tuple[RequestInput, ...] = ()
    remarks: tuple[Remark, ...] = ()
    cost_before: Cost | None = None
    cost_after: Cost | None = None
    verification: Verification | None = None
    optimized: ModelFacts | None = None
    changed: bool = False
    written: str | None = None
    schema_version: int = SCHEMA_VERSION
