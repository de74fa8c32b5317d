"""The intermediate representation: extents, named axes, forms, the expression graph, and what it costs."""
