"""How the evidence of a question stood at each look that it has reached."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.analysis.decision import Sample
from bench.analysis.evidence import Evidence
from bench.analysis.pairs import ladder_of
from bench.config import ProtocolConfig


def looks_reached(evidence: Sequence[Evidence], protocol: ProtocolConfig) -> pd.DataFrame:
    """A row per scene and look: task, seeds, mean difference with its repeated interval (low, high), margin; points."""
    ladder = ladder_of(protocol)
    rows = []
    for entry in evidence:
        for look, seeds in enumerate(ladder.looks[: entry.look], start=1):
            sample = Sample.of(entry.deltas[:seeds])
            assert sample is not None  # a look reads two seeds at least
            interval = ladder.interval(sample, look)
            rows.append((entry.scene.task, seeds, interval.estimate, interval.low, interval.high, entry.margin))
    return pd.DataFrame(rows, columns=["task", "seeds", "mean", "low", "high", "margin"])
