"""The data model of reports: every command fills in a `Report`, and text, JSON and the other formats are views of it.

Arithmetic is counted in multiply-adds of products (MatMul, Gemm, Conv, Einsum, recurrent cells).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mari_onnx.report.benchmark import Benchmark, Policy
from mari_onnx.report.graph import Graph
from mari_onnx.report.histogram import Bin
from mari_onnx.report.note import Note
from mari_onnx.report.precompute import Precomputed
from mari_onnx.report.replay import Replay
from mari_onnx.report.shown import Shown
from mari_onnx.report.split import Split
from mari_onnx.report.survey import Survey

SCHEMA_VERSION = 4

Status = Literal["applied", "refused", "as is", "broken"]
"""What became of a node; "broken": the rule raised an exception, which is a bug, and the node was left as it is."""

Failure = Literal["order", "another runtime", "does not run", "shape", "type", "another function", "accuracy"]
"""Why an output fails, the coarsest kind first.

"order": the outputs come in another order. "another runtime": the second runtime computes the reference itself
otherwise than onnxruntime, so that a comparison there tells nothing. "another function": it differs in float64 by more
than rounding can explain. "accuracy": the models are the same function in float64, and the optimized one is less
accurate in its own precision; or a plain tolerance is exceeded.
"""

Command = Literal["optimize", "verify", "inspect", "split", "bench", "inputs", "replay", "precompute"]


@dataclass(frozen=True)
class TensorFacts:
    """A graph input or output: its ONNX element type ("float", "int64") and its dims (None: unknown)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class ModelFacts:
    """The facts about a model as a file. `bytes` is the size of the file and of its external data together.

    `sha256` is the SHA-256 of the file, as `sha256sum` prints it, or of the bytes of a model in memory, and
    `data_sha256` has those of its external data by location. `opsets` are the versions of the imported operator sets by
    domain, `ai.onnx` for the standard one.
    """

    path: str | None
    producer: str
    ir_version: int
    opsets: dict[str, int]
    nodes: int
    initializers: int
    bytes: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    sha256: str = ""
    data_sha256: Mapping[str, str] = field(default_factory=dict)


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
    """What was done about one node, or why nothing was, in words.

    `tensor` is the name of its result, as Netron shows it. `forms` are the axes of the result and of its parts, in the
    notation of einops: "[(B L) 256] = user (L) + item (B L)". `because` is the chain of reasons from this node back to
    an input. `macs_before` and `macs_after` are multiply-adds at the number of candidates of `Cost.batch`.
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
    """The cost of one request with `batch` candidates.

    `macs` are multiply-adds: `macs = macs_fixed + batch * macs_per_candidate`.

    `macs_fixed` is computed once for the request, whatever the number of candidates. `nodes` are those that compute
    anything. `time_us` is an estimate in microseconds, which compares graphs and does not predict a time.
    """

    batch: int
    macs: int
    macs_fixed: int
    macs_per_candidate: float
    nodes: int
    time_us: float


LARGEST_SCORE = 4000
"""With `--assume-masked`, scores of attention are below this in magnitude. A mask of -1e4, the largest that is usual,
is then 2,000 below every score."""


@dataclass(frozen=True)
class Difference:
    """One output in one case, the optimized model against the reference.

    `case` says how the inputs were drawn, and `batch` is the number of candidates. `max_abs` is the largest absolute
    difference of an element, and `max_rel` is that divided by the reference's largest magnitude. `bound` is the largest
    absolute distance that is allowed. `float64` is the largest difference in float64, of which `float64_bound` is
    allowed. `error` is the largest distance of the optimized output, in its own precision, from the reference's float64
    result. These three are None where there is no float64 result. `failure` is the kind of failure, None for a
    comparison that passed, and `message` describes it, or why a value past the bound is no failure.
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
    def is_located(self) -> bool:
        """Whether the comparison failed by what nodes of the optimized model compute."""
        return not self.passed and self.failure not in ("order", "another runtime")

    @property
    def in_float64(self) -> bool:
        """Whether the comparison failed in float64."""
        return self.failure == "another function"


@dataclass(frozen=True)
class Ranking:
    """How the order of the candidates by one output, or by one column of it, changes over all cases.

    Candidates with equal scores share a range of places, and no order among them is a change. `candidates` is the
    largest number of candidates. Each of the following is the worst of all cases: `overlap` is the share of the
    reference's `top` best candidates that are still among the best, `tau` is Kendall's tau-b, `move` is the most places
    that a candidate moved, and `gap` is the largest difference of the reference's scores of two candidates that changed
    places. `quantiles` are those of |difference| of scores: half, 90 %, 99 % and all of them are at most so large.
    `differences` are the histogram of these, and `moves` that of the places by which candidates moved.
    """

    output: str
    candidates: int
    top: int
    overlap: float
    tau: float
    move: int
    gap: float
    quantiles: tuple[float, float, float, float]
    differences: tuple[Bin, ...] = ()
    moves: tuple[Bin, ...] = ()


@dataclass(frozen=True)
class Divergence:
    """Where a failure begins: the first tensor, in the order of the optimized graph, in which the models differ.

    `difference` is by how much, in float64 where `in_float64` is set. `nodes` made the tensor in the optimized model
    from the tensors in `agreeing`, which are the same in both; `rule` and `reason` say which rule of the optimizer did,
    as far as that is known. `output`, `case` and `batch` are those of the worst failure. `inputs` is the file with the
    smallest inputs that were found to fail, `candidates` is how many it has, and `command` shows the failure again.
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
class Moved:
    """Values of one output that moved by a whole step, in a model that rounds on the way, over all usual cases.

    Of `values`, `moved` are those in which the models differ by more than a sum in another order does. Without the
    runtime's optimizations the two are at most `apart_without` apart. These optimizations alone move `by_runtime`
    values of the reference, by at most `furthest_by_runtime`. Both distances are shares of the output's scale.
    """

    output: str
    values: int
    moved: int
    by_runtime: int
    furthest_by_runtime: float
    apart_without: float


@dataclass(frozen=True)
class Verification:
    """Every comparison that was made, and whether all of them passed. `notes` say what was not checked.

    `rtol` is the difference that is allowed in float64, as a share of an output's scale, and `basis` says why it is
    that. With tolerances that the caller gave, `rtol` and `atol` are those. The rows of
    `tiled` inputs were identical in every call, or with `keys`, which are inputs too, those with the same values of the
    keys: the result holds for such calls.
    """

    passed: bool
    seed: int
    rtol: float
    atol: float
    differences: tuple[Difference, ...]
    notes: tuple[Note, ...] = ()
    basis: str = ""
    effort: str = "standard"
    runtime: str = "onnxruntime"
    rankings: tuple[Ranking, ...] = ()
    moved: tuple[Moved, ...] = ()
    divergence: Divergence | None = None
    tiled: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """How many nodes of one operator in one scope were added, removed or changed.

    The scope is the part of a node's name before the last `/`.
    """

    op_type: str
    scope: str
    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class Structure:
    """How the graph of the second model differs from that of the first; `kept` nodes are the same in both.

    Two nodes correspond by the names of their outputs, else by their own names. A node is changed where its operator,
    attributes or inputs differ. An initializer is changed where its values differ. `initializer_bytes` are the bytes of
    all initializers in the first and in the second model.
    """

    kept: int
    changes: tuple[Change, ...]
    initializers_added: int
    initializers_removed: int
    initializers_changed: int
    initializer_bytes: tuple[int, int]


@dataclass(frozen=True)
class Configuration:
    """The options in effect, by parameter; `file` is the path of the file of settings that was read, if any."""

    options: Mapping[str, object]
    file: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """Rewrites without which a result passes its verification, where the one that has them does not.

    `tensors` are results of nodes of the original, which stayed as they are; if there are none, all did. `failure` and
    `message` are those of the worst comparison without that, or say why the model does not load. `rule` is the rule
    behind it, as far as that is known.
    """

    tensors: tuple[str, ...]
    rule: str
    failure: Failure | None
    message: str

    @property
    def is_bug(self) -> bool:
        """Whether it cannot be the rounding of a runtime."""
        return self.failure != "accuracy"


@dataclass(frozen=True)
class Report(Shown):
    """What a command did. Sections that a command does not have are None or empty.

    `calls` says in words what the caller of the written model has to send, and what the model returns. `changed` says
    whether anything could be gained; `written` is the path of the written model, None if none was written. `left_out`
    are rewrites that failed the verification and were left out. `assumed` are the nodes whose masks are believed
    because the caller vouched for the size of attention scores. `policies` are what the caller asked of the result; one
    that is not met fails the command. `versions` are those of mari-onnx, onnx and onnxruntime, and `seconds` is what it
    took. `graphs` are those of the original, and of what was made of it; JSON leaves them out, because the
    models themselves have them.
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
    left_out: tuple[LeftOut, ...] = ()
    assumed: tuple[str, ...] = ()
    benchmark: Benchmark | None = None
    policies: tuple[Policy, ...] = ()
    survey: Survey | None = None
    replay: Replay | None = None
    precomputed: Precomputed | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    graphs: Sequence[Graph] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def passed(self) -> bool:
        """Whether the verification and the replay passed, if there were such, and all policies are met."""
        verified = self.verification is None or self.verification.passed
        replayed = self.replay is None or self.replay.passed
        computed = self.precomputed is None or not self.precomputed.stopped
        return verified and replayed and computed and all(policy.met for policy in self.policies)
