"""One file a verb: what `python -m bench VERB` does."""
