"""The parts of `benchmarks/scale.py`: what is measured, one training step at work, and how growth is judged."""
