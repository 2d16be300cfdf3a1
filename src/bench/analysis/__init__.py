"""From a table of runs to a verdict: intervals, tests, the decision table. No torch, no Lightning, no W&B."""
