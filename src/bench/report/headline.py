"""The part of a study that the headline speaks of: the scenes at the primary matching and reading."""

from __future__ import annotations

import pandas as pd

from bench.analysis.verdict import Verdict


def headline_runs(found: Verdict) -> pd.DataFrame:
    """The rows of the tidy table that belong to the headline's scenes."""
    runs = found.study.runs
    return runs[runs["scene"].isin(list(margins(found)))].reset_index(drop=True)


def margins(found: Verdict) -> dict[int, float]:
    """The margin in points of each headline scene, by its number."""
    numbers = {scene: number for number, scene in enumerate(found.study.scenes)}
    return {numbers[entry.scene]: entry.margin for entry in found.headline}


def pairs_of_arms(found: Verdict) -> list[tuple[str, str]]:
    """Every baseline and alternative that was compared, those of the headline first."""
    entries = (*found.headline, *found.evidence)
    return list(dict.fromkeys((entry.baseline, entry.alternative) for entry in entries))
