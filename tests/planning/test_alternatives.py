"""What is chosen against the whole plan, and what is left of it."""

from __future__ import annotations

from tests.graphs import integers, parse, rewrite_and_check

TEXT = "g (int64[B, 3] user, float[B, 4] item) => (float[B, N] y)"


def test_a_reshape_of_what_was_chosen_reads_what_was_reshaped() -> None:
    """Rows of two columns are expanded in another shape than the one that the output is cut from."""
    body = "ids = Concat <axis = 1> (user, user) x = Gather (table, ids) y = Reshape (x, flat)"
    result = rewrite_and_check(parse(f"{TEXT} {{ {body} }}", table=integers(5, 2), flat=[-1, 12]))
    made_by = {o: n.op_type for n in result.model.graph.node for o in n.output}
    assert all(made_by.get(n.input[0]) != "Reshape" for n in result.nodes("Reshape"))


def test_a_reshape_to_the_shape_that_is_there_is_none() -> None:
    """What is expanded as [rows 3 4] is an output as [rows 3 4], though the plain form of it was one of [rows 12]."""
    text = "g (float[B, 4, 1] user, float[B, 4] item) => (float[B, 3, 4] y)"
    body = """
        x = Reshape (user, rows) twice = Add (x, x) all = Concat <axis = -1> (x, x, twice)
        three = Reshape (all, cut) y = Neg (three)
    """
    result = rewrite_and_check(parse(f"{text} {{ {body} }}", rows=[-1, 4], cut=[-1, 3, 4]))
    assert result.ops.count("Reshape") == 2
    assert result.ops[-1] == "Expand"
