"""What two runs are compared by: outputs, order of candidates, graphs, and the tensor in which a difference begins."""
