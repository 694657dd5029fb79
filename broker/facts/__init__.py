"""What several rooms decide from the same objects: pure predicates over the model, no clock, no socket, no loop."""
