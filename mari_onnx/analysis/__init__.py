"""What is known of each value: roles of inputs, shapes, and forms, by one rule for each operator family."""
