"""Speed alone: cells take turns, training step by training step, on the same batches in one process."""
