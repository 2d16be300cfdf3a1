"""Word vectors: reading their formats, and the table of vectors for a vocabulary."""
