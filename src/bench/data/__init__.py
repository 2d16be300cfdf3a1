"""Corpora: where they come from, how texts become tokens, and how tokens become batches."""
