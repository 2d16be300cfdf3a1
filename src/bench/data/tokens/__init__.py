"""From texts to numbers: tokens, the encoded corpus in the cache, the vocabulary."""
