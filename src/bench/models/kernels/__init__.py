"""How a recurrence is executed: by PyTorch's own modules, or by one loop of equal quality for every cell."""
