"""Classical machine learning (domain ai.onnx.ml): encoders, scalers, linear models and trees.

    LabelEncoder([a b])       = [LabelEncoder(a) LabelEncoder(b)]
    TreeEnsembleRegressor(x)  lacks the rows that x lacks
    OneHotEncoder(x)          lacks the axes that x lacks

Example: a user's country is a string, which a LabelEncoder turns into the row of an embedding table. The caller repeats
the country for each candidate. One string is looked up, and one row of the table.

Holds for rows of features, x (rows, features), where an operator reads a whole row, and where the width of its result
is stored in the model. Rounding: none.
"""

from __future__ import annotations

import onnx

from mari_onnx.analysis.context import FLOAT, INT64, Context, Derived, Op
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.rules.elementwise import Elementwise, with_forms
from mari_onnx.ir.axes import Dims, Refused, Renaming, dim, extent_of, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.forms import Array, Value

STRING = onnx.TensorProto.STRING

VALUES = {"values_strings": STRING, "values_int64s": INT64, "values_floats": FLOAT}
"""The element type of what a LabelEncoder gives, by the attribute that has it."""

WIDTHS = {"LinearRegressor": "targets", "TreeEnsemble": "n_targets", "TreeEnsembleRegressor": "n_targets"}
"""The attribute that says how many numbers a model gives for a row."""

LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
"""The attributes with the classes of a classifier."""


def encode(op: Op, ctx: Context) -> Derived:
    """LabelEncoder and CategoryMapper: each element is looked up among stored keys."""
    x, dtype = op.data, _encoded(op)
    if x.dims is None:
        return Refused("the rank of the input is unknown")
    dims, since = x.dims, ctx.b.count

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        return pointwise(ctx.b, arrays, [len(out)], out, lambda ts, shape: ctx.again(op, ts, [shape], [dtype])[0])

    return [with_forms(op, ctx, Elementwise([x], dims, dtype, run), since)]


def _encoded(op: Op) -> int:
    """The element type of what an encoder gives; strings become numbers, and numbers strings, unless it is said."""
    if "values_tensor" in op.attributes:
        return int(op.attribute("values_tensor").data_type)
    stated = next((dtype for name, dtype in VALUES.items() if name in op.attributes), None)
    return stated or (INT64 if op.data.dtype == STRING else STRING)


def by_row(op: Op, ctx: Context) -> Derived:
    """Scalers, linear models and trees: each row of features gives a row.

    Refused unless the input has two dimensions, and for a classifier of a single class, or of a number of classes
    that is not the number of its models.
    """
    x = op.data
    if x.dims is None or len(x.dims) != 2:
        return Refused(f"{op.op_type} of an input that is not known to be rows of features")
    outputs = _of_row(op, x, x.dims)
    return outputs if isinstance(outputs, Refused) else run_along(op, ctx, [1], outputs[: len(op.proto.output)])


def _of_row(op: Op, x: Value, dims: Dims) -> list[tuple[Dims, int]] | Refused:
    """The dims and the element type of each output."""
    rows = dims[0]
    match op.op_type:
        case "Imputer":
            return [(dims, x.dtype)]
        case "Normalizer" | "Scaler":
            return [(dims, FLOAT)]
        case "TreeEnsemble":
            return [((rows, dim(op.attribute("n_targets", 1))), x.dtype)]
        case "LinearClassifier" | "TreeEnsembleClassifier":
            name = next((name for name in LABELS if op.attribute(name)), LABELS[0])
            classes = len(op.attribute(name, []))
            models = len(op.attribute("intercepts", [])) or classes
            if classes < 2 or models not in (classes, 1):
                return Refused(f"{op.op_type} of {classes} classes")
            return [((rows,), STRING if name == LABELS[-1] else INT64), ((rows, dim(classes)), FLOAT)]
    return [((rows, dim(op.attribute(WIDTHS.get(op.op_type, ""), 1))), FLOAT)]


def one_hot_encoder(op: Op, ctx: Context) -> Derived:
    """OneHotEncoder: each element gives a row of zeros with a one at its category.

    Refused where other elements make it fail: there may be one in a row that no candidate has.
    """
    x = op.data
    if x.dims is None:
        return Refused("the rank of the input is unknown")
    if not op.attribute("zeros", 1):
        return Refused("OneHotEncoder that fails on what is no category")
    categories = len(op.attribute("cats_int64s", []) or op.attribute("cats_strings", []))
    return run_along(op, ctx, [], [((*x.dims, dim(categories)), FLOAT)])


def array_feature_extractor(op: Op, ctx: Context) -> Derived:
    """ArrayFeatureExtractor: columns at constant positions."""
    x, places = op.data, op.inputs[1]
    if x.dims is None or len(x.dims) < 2 or places is None or places.dims is None:
        return Refused(f"{op.op_type} of an input that is not known to be rows of features")
    columns = extent_of(a for d in places.dims for a in d)
    return run_along(op, ctx, [len(x.dims) - 1], [((*x.dims[:-1], dim(columns)), x.dtype)], op.inputs[1:])
