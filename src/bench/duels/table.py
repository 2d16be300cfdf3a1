"""The turns of a duel as a table, one row a timed training step: what everything else is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from bench.analysis.duel_meetings import COLUMNS
from bench.duels.engine import TurnRow


def turns_table(turns: Sequence[TurnRow]) -> pd.DataFrame:
    """Columns: `bench.analysis.duel_meetings.COLUMNS`. seconds: of one training step."""
    rows = [
        {**asdict(turn.setting), **asdict(turn.contestant), "repetition": turn.repetition, "round": turn.round,
         "position": turn.position, "seconds": turn.seconds, "waited": turn.waited, "stolen": turn.stolen}
        for turn in turns
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)
