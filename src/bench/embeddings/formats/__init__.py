"""Vector files as they are on disk: which format one has, and a reader for each."""
