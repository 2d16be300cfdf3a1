"""The same work, trained by others: contestants of `benchmarks/throughput.py`, each a process of its own."""
