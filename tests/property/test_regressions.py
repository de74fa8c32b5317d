"""Graphs that were once wrong, as small as they get."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.property.graphs import read_case
from tests.property.invariant import check_forms, check_optimized


def check(text: str, user_inputs: Sequence[str] = (), *, opset: int = 17) -> None:
    for batch in (2, 500, 10**6):
        case = read_case(text, user_inputs, opset=opset, batch=batch)
        check_forms(case)
        check_optimized(case)


def test_rows_of_a_tiled_input_one_after_the_other() -> None:
    """The pieces' own axis is stored through the map of row 0, the whole's is not."""
    check(
        """g (float[B,2] item, float[B,2] user) => (float[N,2] y, float[B,2] z) {
            x = Concat <axis = 0> (user, user)
            y = Neg (x)
            z = Concat <axis = -2> (user)
        }""",
        ["user"],
    )


def test_concat_proves_nothing_about_the_axis_that_it_is_along() -> None:
    """Candidates after requests: as many of one as of the other would be a coincidence."""
    check(
        """g (float[B,2] item, float[R,2] user, int64[B] index) => (float[N,2] y, float[B,2] z) {
            z = Gather <axis = 0> (user, index)
            y = Concat <axis = 0> (user, item, z)
        }"""
    )


def test_a_row_that_becomes_the_rows_of_a_product() -> None:
    """Row 0 is stored through a map on either side of a batched product."""
    check(
        """g (float[B,4,1] item, float[B,4] user) => (float[B,N,1] y) {
            y = MatMul (user, item)
        }""",
        ["user"],
    )


def test_a_bias_that_an_index_selects() -> None:
    """Along the columns of the product, as each candidate meets each."""
    check(
        """g (float[B,1] item, float[R] user, int64[B] index) => (float[B,B] y) <int64[1] one = {1}> {
            x = Gather (user, index)
            t = Unsqueeze (x, one)
            y = Gemm <transB = 1> (t, t, x)
        }"""
    )


def test_rows_of_requests_by_an_index_of_another_shape() -> None:
    """A declared input whose rows are selected is not a tiled one, in whatever way they are."""
    check(
        """g (float[B,2] item, float[R,4] user, int64[B,1] index) => (float[B,2] y)
        <float[4,2] w = {1, 2, 0, -1, 1, 1, 2, 0}, int64[1] one = {1}> {
            h = MatMul (user, w)
            r = Gather (h, index)
            q = Squeeze (r, one)
            y = Add (q, item)
        }""",
        ["user"],
    )


def test_a_letter_of_einsum_that_one_operand_repeats_along() -> None:
    """ONNX has no broadcasting of letters: 1 against 2 is an invalid model, though onnxruntime runs it."""
    check(
        """g (float[B,4,1] item, float[2,1] w) => (float[1,2,4] y) <int64[2] two = {-1, 0}> {
            x = Gather <axis = 2> (item, two)
            y = Einsum <equation = "abc,cd->dcb"> (x, w)
        }"""
    )


def test_einsum_of_one_operand() -> None:
    check('g (float[B,3] item, float[1,3] user) => (float[3] y) { y = Einsum <equation = "ab->b"> (item) }')


def test_a_bias_that_repeats_within_the_columns() -> None:
    """Its columns are (3 B), and only B of that is stored."""
    check(
        """g (float[B] item, float[1,2] user) => (float[N,M] y) <int64[2] column = {-1, 1}> {
            x = Concat <axis = 0> (item, item, item)
            t = Reshape (x, column)
            y = Gemm <transB = 1> (t, t, x)
        }"""
    )


@pytest.mark.parametrize("opset", [11, 13, 14])
def test_an_axis_before_those_that_may_be_empty(opset: int) -> None:
    """Before opset 14 a 0 in the target of a Reshape copies the extent that the source has there."""
    axes, inputs = ("<axes = [0]>", "x") if opset < 13 else ("", "x, zero")
    check(
        f"""g (float[B,L,4] item, float[B,L,2] user) => (float[1,B,L,4] y, float[1,B,L,2] z, float[B,L,B] t)
        <int64[1] zero = {{0}}> {{
            x = Relu (item)
            y = Unsqueeze {axes} ({inputs})
            z = Unsqueeze {axes} ({inputs.replace("x", "user")})
            s = Shape (y)
            e = Expand (x, s)
            r = ReduceMax <axes = [3], keepdims = 0> (e)
            t = Transpose <perm = [1, 2, 0]> (r)
        }}""",
        ["user"],
        opset=opset,
    )


@pytest.mark.parametrize("opset", [13, 17])
def test_the_extent_of_a_merged_row(opset: int) -> None:
    """Rows and positions in one axis, cut apart again: how many rows there are must be known somewhere."""
    check(
        """g (float[B,2] item, float[B,L,2] user) => (float[B,L,3] y)
        <int64[2] merged = {-1, 2}, float[2,3] w = {1, 2, 0, -1, 1, 2},
         int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}> {
            x = Reshape (user, merged)
            m = MatMul (x, w)
            s = Shape (user)
            lead = Slice (s, zero, two)
            target = Concat <axis = 0> (lead, three)
            y = Reshape (m, target)
        }""",
        ["user"],
        opset=opset,
    )


def test_names_that_the_optimizer_would_have_given() -> None:
    check(
        """g (float[B,2] item, float[1,2] user) => (float[B,4] y, float[B,2] z)
        <int64[1] "mari.shape_0" = {0}, int64[1] "mari.shape_1" = {1}, int64[1] "mari.shape_m1" = {-1},
         int64[1] last = {2}, float[4,2] w = {1, 2, -1, 0, 2, 1, 1, 1}> {
            s = Shape (item)
            n = Slice (s, "mari.shape_0", "mari.shape_1")
            "user.expand" = Slice (item, "mari.shape_0", "mari.shape_1", "mari.shape_1")
            two = Concat <axis = 0> (n, last)
            "y.user" = Expand (user, two)
            "user.user" = Add ("y.user", "user.expand")
            y = Concat <axis = 1> ("user.user", "y.user")
            z = MatMul (y, w)
        }"""
    )


def test_a_shape_that_is_empty() -> None:
    check(
        """g (float[B,1] item, float[1,1] user) => (int64[2,0] y, float[B,1] z)
        <float[3] a = {1, 2, 3}, int64[2] two = {2, 1}> {
            s = Einsum <equation = "a->"> (a)
            n = Shape (s)
            y = Expand (n, two)
            z = Add (item, user)
        }"""
    )


def test_a_concatenation_with_nothing() -> None:
    check(
        """g (float[B,1] item, float[1,1] user) => (int64[1] y, float[B,1] z)
        <float[3] a = {1, 2, 3}, int64[1] k = {1}> {
            s = Einsum <equation = "a->"> (a)
            none = Shape (s)
            one, i = TopK <axis = 0> (a, k)
            y = Concat <axis = 0> (i, none)
            z = Add (item, user)
        }"""
    )


def test_names_of_nodes_that_the_optimizer_would_have_given() -> None:
    check(
        """g (float[B,2] item, float[R,2] user, int64[B] index) => (float[B,R] y, float[B,B] z) {
            [y] x = Transpose (user)
            [z] y = MatMul (item, x)
            [x] z = Gather <axis = 1> (y, index)
        }"""
    )


def test_one_node_twice_whose_extents_nobody_knows() -> None:
    check(
        """g (float[B,3] item, float[1,3] user) => (float[N] y, float[M] z) {
            v = Einsum <equation = "ab->b"> (item)
            t = Transpose <perm = [1, 0]> (item)
            y = MatMul (v, t)
            z = MatMul (v, t)
        }"""
    )


def test_row_0_four_times_without_candidates() -> None:
    """Slices of one tensor are gathered together, but for an empty batch there is no row 0 to gather."""
    check(
        """g (float[B,1,4] item, int64[B,L,4] user) => (int64[N,L,4] y) {
            shape = Shape (item)
            rows = Expand (user, shape)
            y = Concat <axis = 0> (rows, rows, user, rows)
        }""",
        ["user"],
    )


def test_a_node_that_has_the_name_of_an_output() -> None:
    """What is a constant now is written to the output by an Identity, whose name is not to be another node's."""
    check(
        """g (float[B,2] item, float[R,2] user) => (float[2,2] y, float[B,2] z)
        <float[2,2] w = {1, 0, 2, 2}, int64[2] perm = {1, 0}> {
            [y] z = MatMul (item, w)
            y = Transpose <perm = [1, 0]> (w)
        }"""
    )


def test_rows_of_requests_by_two_indices() -> None:
    """What one index selects cannot be the C of a product of rows that another selects."""
    check(
        """g (float[B,2] item, float[R,2] user, int64[B] index0, int64[B] index1) => (float[B,3] y)
        <float[4,3] w = {1, 2, 0, -1, 1, 1, 2, 0, 1, 0, -1, 1}> {
            a = Gather (user, index0)
            b = Gather (user, index1)
            x = Concat <axis = 1> (a, b)
            y = MatMul (x, w)
        }"""
    )


def test_rows_of_which_a_mask_selects_none() -> None:
    """Before opset 14 the -1 in the target of a Reshape is for how many there are, and not for what may be beside 0."""
    check(
        """g (float[B_item,2] item, float[B,2] user) => (float[N] y)
        <float hundred = {100}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
         int64[4] four = {0, -1, 2, 1}> {
            r = Reshape (user, four)
            f = Transpose <perm = [0, 2, 1, 3]> (r)
            shape = Shape (f)
            t = Expand (user, shape)
            largest = ReduceMax <axes = [1, 2, 3], keepdims = 0> (t)
            none = Greater (largest, hundred)
            mask = Unsqueeze <axes = [1, 2, 3]> (none)
            s = Shape (item)
            n = Slice (s, zero, one)
            target = Concat <axis = 0> (one, two, n, two)
            wide = Expand (mask, target)
            place = NonZero (wide)
            places = Transpose <perm = [1, 0]> (place)
            y = GatherND (t, places)
        }""",
        ["user"],
        opset=12,
    )


def test_repeated_columns_of_one_row() -> None:
    """Columns (2 2 k) of a row are not joined within their first axis, of however few rows."""
    check(
        """g (float[B,3] user, float[B,1] item) => (float[M,16] y)
        <float[3,2] w = {1, 0, 0, 0, -1, 0}, float[1,8] c = {-2, -1, 1, 2, -2, 1, 2, -2}> {
            h = MatMul (user, w)
            a = Concat <axis = 1> (h, h)
            r = Concat <axis = 0> (a, a, a)
            b = Concat <axis = 1> (r, r)
            d = Mul (c, b)
            y = Concat <axis = 1> (b, d)
        }""",
        ["user"],
    )


def test_ids_that_are_dequantized() -> None:
    """Constant, and yet not stored: what is read of it has to be computed."""
    check(
        """g (float[B,3] item, float[1,3] user) => (float[B,2] y)
        <int8[2] stored = {0, 1}, float scale = {1}, int64[1] one = {1}> {
            x = Add (item, user)
            f = DequantizeLinear (stored, scale)
            ids = Cast <to = 7> (f)
            y = Gather <axis = 1> (x, ids)
        }"""
    )


def test_row_0_beside_rows_that_an_index_selects() -> None:
    """Of no candidates there is no row 0 to be the C of a product of the requests' rows, which are there still."""
    check(
        """g (float[B,1] tiled, float[R,4,1] user, int64[B] index) => (float[B,2] y)
        <int64[2] shape = {-1, 4}, float[4,2] w = {0, 0, -1, 0, 1, -1, 0, -1}> {
            rows = Gather <axis = 0> (user, index)
            flat = Reshape (rows, shape)
            x = Add (tiled, flat)
            y = Gemm <transB = 0> (x, w)
        }""",
        ["tiled"],
    )


def test_selected_columns_that_are_put_back_as_rows() -> None:
    """A square of candidates: the updates have, as columns, the axis that is the target's rows."""
    check(
        """g (float[B,2] item, float[1,3] user) => (float[B,B] y) <bool[1] mask = {1}> {
            square = Gemm <transB = 1> (item, item)
            turned = Transpose <perm = [1, 0]> (square)
            place = NonZero (mask)
            places = Transpose <perm = [1, 0]> (place)
            rows = GatherND (turned, places)
            y = ScatterND (square, places, rows)
        }"""
    )


def test_a_branch_that_captures_what_is_stored_otherwise() -> None:
    """One number for all candidates is computed under a name of its own: the branch reads all of them."""
    check(
        """g (float[B,4,1] item) => (float[N,M,K] y) <float least = {-1}> {
            shape = Shape (item)
            x = ConstantOfShape <value: tensor = float[1] {-2}> (shape)
            square = Mul (x, x)
            smallest = ReduceMin <keepdims = 0> (x)
            large = Greater (smallest, least)
            y = If (large) <
                then_branch: graph = a () => (float[?,?,?] p) { p = Neg (square) },
                else_branch: graph = b () => (float[?,?,?] q) { q = Relu (square) }
            >
        }"""
    )


def test_a_product_of_two_vectors_and_a_bias() -> None:
    """It has no rows, and none to be those of a Gemm."""
    check("g (float[B] item) => (float y) <float c = {1}> { p = MatMul (item, item) y = Add (p, c) }")


def test_one_column_that_is_a_factor_as_often_as_the_other_is_wide() -> None:
    """The rows of the weight for the column itself are not those for its two copies."""
    check(
        """g (float[B,1] item, float[B,2] user) => (float[B,2] y)
        <int64[2] twice = {0, 0},
         float[9,2] w = {-1, 1, -1, 1, 0, -1, 1, 1, 0, 1, 0, -1, 0, 1, 1, 1, 2, 1}> {
            two = Gather <axis = 1> (item, twice)
            m = Mul (two, user)
            x = Concat <axis = 1> (m, item, m, two, user)
            y = MatMul (x, w)
        }""",
        ["user"],
    )


def test_a_bias_of_an_axis_that_the_product_has_not() -> None:
    """As many rows as a Loop has steps: there is one, which nobody has proven."""
    check(
        """g (float[1,4] user) => (float[1,1] y)
        <int64[1] one = {1}, int64 times = {1}, bool yes = {1}, float[1,1] w = {-2}> {
            s = ReduceSum (user, one)
            last, all = Loop (times, yes, s) <
                body: graph = b (int64 i, bool c, float[?] h) => (bool d, float[?] o, float[?] p) {
                    x = Gather (s, i) o = Max (h, x) p = Neg (x) d = Identity (c)
                }
            >
            y = Gemm <alpha = -1.0> (s, w, all)
        }""",
        opset=16,
    )


def test_a_transposed_tensor_of_unknown_rank_that_the_exporter_describes() -> None:
    """Turned back it is what no rank is known of."""
    check(
        """g (float[B,2,4] item) => (float[B,2,4] y)
        <float[2,B,4] t, int64[1] zero = {0}, float nothing = {0}, float[1] three = {3}> {
            z = Mul (item, nothing) f = ReduceMax <keepdims = 0> (z) a = Add (f, three) m = Cast <to = 7> (a)
            shape = Shape (item) s = Slice (shape, zero, m)
            n = Reshape (item, s)
            t = Transpose <perm = [1, 0, 2]> (n)
            y = Transpose <perm = [1, 0, 2]> (t)
        }"""
    )


def test_a_state_whose_width_is_the_batch_of_the_sequence() -> None:
    """As wide as the batch, and turned: one axis cannot be both."""
    check(
        """g (float[1,2,3] user) => (float[1,1,2,2] y)
        <float[3,2] v = {-1,0,2,1,0,-1}, float[1,2,3] w = {1,-1,0,1,0,-1}, float[1,2,2] r = {0,1,-1,1}> {
            p = MatMul (user, v)
            h = Transpose <perm = [0, 2, 1]> (p)
            y, last = RNN <hidden_size = 2> (user, w, r, "", "", h)
        }""",
        ["user"],
    )


def test_constants_that_are_taken_again_before_a_sum() -> None:
    """(x + 2575) - 2575 + y: the constants are not added to those of y first, where x would lose digits."""
    check(
        """g (float[B,4] item) => (float[B,1,B,4] y) <float[3,4] w = {-1,0,1,1,-1,1,1,-1,0,0,-1,0},
            float[3] b = {-1,0,1}, float large = {2575}, float one = {1}, float small = {-2}, int64[2] axes = {1,3}> {
            m = ReduceMax <axes = [1]> (item)
            d = Add (one, m)
            q = Div (item, d)
            p = Gemm <transB = 1> (item, w, b)
            t = Unsqueeze (p, axes)
            x = MaxPool <kernel_shape = [3, 1]> (t)
            up = Add (x, large)
            back = Sub (up, large)
            y = Sum (q, small, back)
        }"""
    )
