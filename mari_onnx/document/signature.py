"""How the inputs and outputs of a written model differ from the original's."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import GraphProto, ValueInfoProto


@dataclass(frozen=True)
class Signature:
    """How inputs and outputs differ from the original's: new leading extents by input, and what is new."""

    leading: tuple[tuple[str, int | str], ...] = ()
    inputs: tuple[ValueInfoProto, ...] = ()
    outputs: tuple[ValueInfoProto, ...] = ()

    def apply(self, graph: GraphProto) -> None:
        """Change the inputs and outputs of a graph that has the original's."""
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
