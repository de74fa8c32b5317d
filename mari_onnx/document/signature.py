"""How the inputs and outputs of a written model differ from the original's."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import GraphProto, ValueInfoProto


@dataclass(frozen=True)
class Signature:
    """How inputs and outputs differ from the original's.

    `leading` are the new leading extents of inputs, `("user_id", 1)` or `("user_id", "requests")`; `inputs` and
    `outputs` are further ones.
    """

    leading: tuple[tuple[str, int | str], ...] = ()
    inputs: tuple[ValueInfoProto, ...] = ()
    outputs: tuple[ValueInfoProto, ...] = ()

    def apply(self, graph: GraphProto) -> None:
        """Change a graph with the original's inputs and outputs, in place."""
        leading = dict(self.leading)
        for info in graph.input:
            if info.name in leading:
                extent, dim = leading[info.name], info.type.tensor_type.shape.dim[0]
                dim.Clear()
                if isinstance(extent, int):
                    dim.dim_value = extent
                else:
                    dim.dim_param = extent
        graph.input.extend(self.inputs)
        graph.output.extend(self.outputs)


AS_IT_WAS = Signature()
