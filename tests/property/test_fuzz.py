"""Random graphs that are asked for by an operator."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.property.fuzz import drawn, main


@pytest.mark.parametrize("operator", ["Softmax", "LSTM"])
def test_a_graph_has_the_operator_that_was_asked_for(operator: str) -> None:
    graphs = [drawn(seed, operator).model for seed in range(3)]
    assert all(operator in {node.op_type for node in model.graph.node} for model in graphs)
    assert graphs[0] == drawn(0, operator).model


def test_an_operator_without_a_rule() -> None:
    result = CliRunner().invoke(main, ["10", "--operator", "Softmix"])
    assert result.exit_code == 2
    assert "there is no rule for Softmix" in result.output
