"""The one report that every command fills in, and of which text, JSON and the others are views.

Counts of arithmetic are multiply-adds of products (MatMul, Gemm, Conv, Einsum, recurrent cells).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 3

Status = Literal["applied", "refused", "as is", "broken"]
"""What became of a node; "broken": the rule raised an exception, which is a bug, and the node was left as it is."""

Failure = Literal["order", "does not run", "shape", "type", "another function", "accuracy"]
"""Why an output fails, from the coarsest on; "another function": it differs in float64, where rounding is no excuse."""

Command = Literal["optimize", "verify", "inspect", "split"]
Role = Literal["user", "item", "rank"]


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
    "one" (literal extent 1), "tiled" (the caller repeats one row for each candidate),
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
    """One output in one case, the optimized model against the reference.

    `max_rel` is the largest absolute difference over the reference's largest magnitude;
    `bound` is the largest absolute difference that would have passed. `case` says how the inputs were drawn.
    `float64` is the largest difference in float64, of which `float64_bound` is allowed, and `error` the optimized
    output's largest distance, in its own precision, from the reference's float64 result; None where it is not known.
    `failure` is the kind of failure, None for what passed; `message` says it in words.
    """

    batch: int
    output: str
    max_abs: float
    max_rel: float
    bound: float
    passed: bool
    message: str = ""
    case: str = "drawn"
    float64: float | None = None
    float64_bound: float | None = None
    error: float | None = None
    failure: Failure | None = None

    @property
    def in_float64(self) -> bool:
        """Whether it is float64 in which the two differ by more than is allowed."""
        return self.failure == "another function"


@dataclass(frozen=True)
class Ranking:
    """What becomes of the order of the candidates by one output (one column of it), over all cases.

    Candidates with equal scores share a range of places, and no order among them is a change. `overlap` is the least
    share of the reference's `top` candidates that are still among them, `tau` the least of Kendall's tau-b, `move`
    the most places that a candidate moved, and `gap` the largest distance, in the reference's scores, of two
    candidates that changed places. `quantiles` are those of |difference|: the half, 90 %, 99 % and all of the scores
    are at most so far apart.
    """

    output: str
    candidates: int
    top: int
    overlap: float
    tau: float
    move: int
    gap: float
    quantiles: tuple[float, float, float, float]


@dataclass(frozen=True)
class Divergence:
    """Where a failure begins: the first tensor, in the order of the optimized graph, in which the models differ.

    `nodes` made it in the optimized model from tensors that both models agree on (`agreeing`); `rule` and `reason`
    are what the report remarks about it. `inputs` is the file with the smallest inputs that were found to fail,
    `candidates` how many there are in it, and `command` reproduces the failure with them.
    """

    tensor: str
    difference: float
    in_float64: bool
    output: str
    case: str
    batch: int
    nodes: tuple[str, ...] = ()
    agreeing: tuple[str, ...] = ()
    rule: str = ""
    reason: str = ""
    candidates: int | None = None
    inputs: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Verification:
    """Every comparison that was made, and whether all of them passed. `notes` say what was not checked.

    `rtol` is what the first question, in float64, allows of an output's scale, and `basis` why; with tolerances that
    were given, `rtol` and `atol` are those. The rows of `tiled` inputs were identical in every call, or with `keys`,
    which are inputs too, those with the same values of the keys: what was seen holds for such calls.
    """

    passed: bool
    seed: int
    rtol: float
    atol: float
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    basis: str = ""
    effort: str = "standard"
    runtime: str = "onnxruntime"
    rankings: tuple[Ranking, ...] = ()
    divergence: Divergence | None = None
    tiled: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """Nodes of one operator in one scope (the path before the last / of their names) that are not the same."""

    op_type: str
    scope: str
    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class Structure:
    """How the graph of the second model differs from the first's; `kept` nodes are the same in both.

    A node is found again by its outputs' names, else by its name; it is changed when its operator, its attributes or
    its inputs are others. Initializers are changed when their values are.
    """

    kept: int
    changes: tuple[Change, ...]
    initializers_added: int
    initializers_removed: int
    initializers_changed: int
    initializer_bytes: tuple[int, int]


@dataclass(frozen=True)
class Configuration:
    """What was asked for, by option, wherever that was said; `file` is the configuration that was read, if any."""

    options: Mapping[str, object]
    file: str | None = None


@dataclass(frozen=True)
class Crossing:
    """A value that the ranking model takes from the side `role`: one that is computed there, or an input as it is.

    `bytes` are those of one request, or of one item.
    """

    role: Role
    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    bytes: int
    computed: bool


@dataclass(frozen=True)
class Part:
    """One of the models that another was split into; multiply-adds at the reference number of candidates."""

    role: Role
    nodes: int
    macs: int
    bytes: int
    written: str | None = None


@dataclass(frozen=True)
class Split:
    """How a model was split, the ranking model last; `choice` says in words why there.

    `macs` are the multiply-adds of the optimized model that was not split.
    """

    parts: tuple[Part, ...]
    crossings: tuple[Crossing, ...]
    choice: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class Report:
    """What a command did. Sections that a command does not have are None or empty.

    `calls` says in words what the caller of the result has to send, and what it answers.
    """

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
    structure: Structure | None = None
    calls: tuple[str, ...] = ()
    configuration: Configuration | None = None
    split: Split | None = None
    schema_version: int = SCHEMA_VERSION
