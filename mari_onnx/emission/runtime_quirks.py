"""Workarounds for errors and slow paths of runtimes: places where the written model is not the simplest one.

`QUIRKS` lists all of them, in this module and elsewhere: the function with the workaround, the version in which the
error was seen, what happens without the workaround, and the test that shows it. A workaround can be removed when the
oldest supported version no longer has the error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnx import TensorProto

from mari_onnx.ir.expressions import Node, Tensor, is_slice
from mari_onnx.ir.extents import ROW, Extent, symbol

Readers: TypeAlias = Mapping[Tensor, Sequence[Node]]
"""The nodes that read each tensor."""

MATRIX, ATTENDED = range(3), range(3, 5)
"""The numbers of dimensions of a matrix, a vector or a scalar, and of the inputs of Attention."""

SLICE_KEEPS_SYMBOLS = 10
"""The opset of which shape inference has the extent of an axis for that of a slice of it."""

QUANTIZED_BEFORE = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "MaxPool"}
)
"""Operators through which onnxruntime moves a QuantizeLinear up: it quantizes their input instead of their output."""


@dataclass(frozen=True)
class Quirk:
    """One workaround.

    `workaround` is the function, as a path below `mari_onnx`. `without` says what happens without it. `test` is a test
    below `tests`, as `file::function`.
    """

    workaround: str
    seen_in: str
    without: str
    test: str


QUIRKS = (
    Quirk(
        "emission.runtime_quirks.is_lost_in_gemm",
        "onnxruntime 1.32.0",
        "Transpose, Gemm without a bias and Transpose become one Gemm; the model does not load, as an output between "
        "them is gone.",
        "emission/test_runtime_quirks.py::test_an_output_that_is_transposed_is_found",
    ),
    Quirk(
        "emission.runtime_quirks.is_rounded",
        "onnxruntime 1.32.0",
        "A QuantizeLinear is moved before the Transpose that it reads. If the input of the Transpose is an output of "
        "the graph, the caller gets it in the precision of 8 bits.",
        "emission/test_runtime_quirks.py::test_an_output_that_is_quantized_elsewhere_is_not_rounded",
    ),
    Quirk(
        "emission.quantization.keep_scales_apart",
        "onnxruntime 1.32.0",
        "A DequantizeLinear right before a QuantizeLinear with another scale become one pair with the finer scale, so "
        "that nearly every value is up to half a coarse step away from what it was.",
        "emission/test_quantization.py::test_a_part_is_quantized_again_by_its_own_scale",
    ),
    Quirk(
        "emission.quantization.keep_moves_apart",
        "onnxruntime 1.32.0",
        "From opset 21 on, what was dequantized from int8 is quantized again behind a Reshape or a Transpose, to "
        "another type than the new node says: the model does not load.",
        "emission/test_quantization.py::test_what_was_dequantized_is_moved",
    ),
    Quirk(
        "emission.quantization.keep_unfused",
        "onnxruntime 1.32.0",
        "DequantizeLinear and a product with a weight become MatMulNBits, which rounds the other operand to 8 bits: "
        "errors of half a percent. A product that a Relu follows stays exact, and its parts would not.",
        "emission/test_quantization.py::test_parts_of_an_exact_product_are_exact",
    ),
    Quirk(
        "emission.runtime_quirks.needs_unsqueeze",
        "onnxruntime 1.32.0",
        "Transpose, Reshape and MatMul in float16 end the process while the model is loaded.",
        "emission/test_runtime_quirks.py::test_a_transposed_matrix_of_half_precision_is_survived",
    ),
    Quirk(
        "emission.runtime_quirks.is_described",
        "onnxruntime 1.32.0",
        "Add and LayerNormalization of operands whose shapes are known to be equal become SkipLayerNormalization, "
        "which takes several times as long on a CPU (1.4 times the whole of BST).",
        "emission/test_state.py::test_shapes_are_written_of_matrices_alone",
    ),
    Quirk(
        "emission.runtime_quirks.attended",
        "onnx 1.23.2",
        "If an Expand or a Reshape leaves a width unknown, shape inference makes it 0 behind Attention, and the model "
        "does not pass the checker.",
        "analysis/rules/test_attention.py::test_the_width_of_what_is_reshaped_for_attention",
    ),
    Quirk(
        "emission.runtime_quirks.overwritten",
        "onnxruntime 1.32.0",
        "BatchNormalization in training mode writes the running mean into its input. If that is the bias as well, "
        "scores are wrong, and those of the next call more so.",
        "emission/test_runtime_quirks.py::test_a_running_mean_is_no_bias",
    ),
    Quirk(
        "emission.runtime_quirks.is_named_row",
        "onnxruntime 1.32.0",
        "Shape inference of a Slice of opset 10 keeps the symbol of an axis that it cuts: row 0 has as many rows as "
        "there are candidates, and its buffer is taken for what has them.",
        "emission/test_runtime_quirks.py::test_row_0_of_opset_10_has_an_extent_of_its_own",
    ),
    Quirk(
        "document.check.check",
        "onnx 1.23.2",
        "A valid model whose Attention reads a tensor of unknown width is refused as invalid.",
        "document/test_check.py::test_attention_of_which_onnx_knows_no_width",
    ),
    Quirk(
        "analysis.rules.product._of_vectors",
        "onnxruntime 1.32.0",
        "A Transpose and a product with a vector become a product with the matrix in another order: wrong scores.",
        "analysis/rules/test_product.py::test_a_transposed_matrix_and_a_vector",
    ),
    Quirk(
        "analysis.rules.spatial.pool",
        "onnxruntime 1.32.0",
        "Pooling takes a batch of 0 rows but fails for 0 channels. With candidates as channels, a call without "
        "candidates would fail.",
        "analysis/rules/test_spatial.py::test_candidates_are_not_pooled_as_channels",
    ),
    Quirk(
        "ir.builder._expand_in_float32",
        "onnxruntime 1.32.0",
        "There is no Expand and no Tile of bfloat16 on a CPU: the model does not load.",
        "emission/test_runtime_quirks.py::test_rows_of_bfloat16_are_repeated",
    ),
    Quirk(
        "ir.attention_heads.one_matrix",
        "openvino 2026.4.1",
        "A product of [1, B, k] with a dynamic B and stored weights [h, k, d] is compiled, and each call raises.",
        "ir/test_attention_heads.py::test_candidates_are_multiplied_by_the_weights_of_heads_as_openvino_can",
    ),
    Quirk(
        "ir.builder._strings_taken",
        "onnxruntime 1.32.0",
        "Of each row of strings that a Gather selects, the first string is there, and the others are empty.",
        "ir/test_builder.py::test_rows_of_strings_are_taken_along_the_last_axis",
    ),
    Quirk(
        "ir.sums._into_gemm",
        "onnxruntime 1.32.0",
        "A dequantized weight is no longer fused with its product once something computed is added in the same Gemm.",
        "emission/test_runtime_quirks.py::test_nothing_computed_is_added_in_a_product_with_a_quantized_weight",
    ),
)


def readers_of(nodes: Sequence[Node]) -> dict[Tensor, list[Node]]:
    """The nodes that read each tensor, in their inputs or in their bodies."""
    readers: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for tensor in (*node.inputs, *(t for _, t in node.captures)):
            if tensor is not None:
                readers.setdefault(tensor, []).append(node)
    return readers


def overlooked(nodes: Sequence[Node], outputs: Sequence[Tensor], opset: int) -> set[Tensor]:
    """The outputs that onnxruntime would fuse away, or change, because it takes their only reader for all.

    So are outputs of which the shape has to be written down (see `is_named_row`): that of an output is the original's.
    An Identity that also reads the tensor, and gives the output its name, prevents this.
    """
    readers = readers_of(nodes)
    computed = [t for t in outputs if not (t.node.is_source or t.stored)]
    with_one_reader = [t for t in computed if len(readers.get(t, ())) == 1]
    rows = {t for t in computed if t in readers and is_named_row(t, opset)}
    return rows | {t for t in with_one_reader if is_lost_in_gemm(t, readers) or is_rounded(t, readers)}


def is_lost_in_gemm(output: Tensor, readers: Readers) -> bool:
    """Whether an output comes from a Gemm without a bias that reads a Transpose, and a Transpose reads the output."""
    producer, (reader, *_) = output.node, readers[output]
    if producer.op_type != "Gemm" or reader.op_type != "Transpose" or any(t is not None for t in producer.inputs[2:]):
        return False
    return any(t is not None and t.op_type == "Transpose" for t in producer.inputs)


def is_rounded(output: Tensor, readers: Readers) -> bool:
    """Whether onnxruntime could move a QuantizeLinear up to an output, through operators of `QUANTIZED_BEFORE`."""
    behind = [node for node in readers[output] if node.op_type in QUANTIZED_BEFORE]
    while behind:
        found = readers.get(behind.pop().outputs[0], [])
        if any(node.op_type == "QuantizeLinear" for node in found):
            return True
        behind.extend(node for node in found if node.op_type in QUANTIZED_BEFORE)
    return False


def needs_unsqueeze(source: Tensor, shape: Sequence[Extent]) -> bool:
    """Whether a Reshape has to be an Unsqueeze: it adds dimensions of extent 1 to a transposed tensor in float16."""
    return source.dtype == TensorProto.FLOAT16 and source.op_type == "Transpose" and adds_units(source, shape)


def adds_units(source: Tensor, shape: Sequence[Extent]) -> bool:
    """Whether a shape is the source's shape with further dimensions of extent 1."""
    return [e for e in shape if e != 1] == list(source.known_shape)


def is_described(tensor: Tensor) -> bool:
    """Whether the shape of a new tensor is written down: for matrices, as runtimes then fuse a product and its bias."""
    return tensor.shape is not None and len(tensor.shape) in MATRIX


def is_named_row(tensor: Tensor, opset: int) -> bool:
    """Whether the extent of row 0 has to be written down as a symbol: 1, or 0 in a call without candidates."""
    return opset == SLICE_KEEPS_SYMBOLS and is_slice(tensor) and symbol(ROW) in tensor.known_shape


def unused_symbol(symbols: Collection[str]) -> str:
    """A name for an extent that no other has."""
    name = "mari.row"
    while name in symbols:
        name += "_"
    return name


def overwritten(node: Node, nodes: Sequence[Node]) -> list[tuple[int, Tensor]]:
    """The stored inputs that a BatchNormalization in training mode writes to, and that are read in another place, too.

    Each has its position before it. They are the running mean and variance. An exporter makes zeros and ones for them,
    as for the bias and for what other nodes read. Where the original has one tensor for bias and mean, it stays so.
    """
    if node.op_type != "BatchNormalization" or len(node.outputs) == 1 or node.proto is None:
        return []
    found = []
    for i in (3, 4):
        t, name = node.inputs[i], node.proto.input[i]
        if t is None or not t.stored or name in node.proto.input[1:3]:
            continue
        is_its_own = t.op_type == "<initializer>" and t.node.payload.name == name
        if not is_its_own and sum(each.inputs.count(t) for each in nodes) > 1:
            found.append((i, t))
    return found


def attended(node: Node) -> list[Tensor]:
    """The computed inputs of an Attention: their shapes are written down, although they have more dimensions."""
    if node.op_type != "Attention":
        return []
    computed = (t for t in dict.fromkeys(node.inputs) if t is not None and not (t.node.is_source or t.stored))
    return [t for t in computed if t.shape is not None and len(t.shape) in ATTENDED]
