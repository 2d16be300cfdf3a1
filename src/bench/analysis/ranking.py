"""Several arms over several tasks: average ranks, Friedman's test, and Nemenyi's critical difference.

Source: Demšar (2006), Statistical comparisons of classifiers over multiple data sets, JMLR 7, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from bench.analysis.across import complete


@dataclass(frozen=True)
class Ranking:
    """Arms from best to worst over tasks (a task is one `scene`); rank 1 is the best, ties share their mean rank.

    friedman_p: chance of ranks at least as uneven were all arms alike; None below three arms or two tasks.
    critical_difference: mean ranks further apart than this differ at `alpha`; None below two arms or one task.
    cliques: largest groups of arms, at least two, that the critical difference does not separate.
    tasks: scenes in which every arm has results.
    """

    arms: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    friedman_p: float | None
    critical_difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    tasks: int


def rank(runs: pd.DataFrame, arms: Sequence[str], alpha: float = 0.05) -> Ranking:
    """Rank those of the arms that have runs, by their mean quality in every task that all of them answered.

    runs: the tidy table at one matching and one pooling;  alpha: of the critical difference.
    """
    shared = complete(runs, arms)
    means = shared.groupby(["scene", "arm"])["quality"].mean().unstack("arm").round(10)
    means = means[[arm for arm in arms if arm in means]]
    ranks = means.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    tasks, names = len(means), tuple(str(arm) for arm in ranks.index)
    difference = critical_difference(len(names), tasks, alpha) if len(names) > 1 and tasks else None
    mean_ranks = tuple(float(value) for value in ranks)
    cliques = () if difference is None else _cliques(names, mean_ranks, difference)
    return Ranking(names, mean_ranks, _friedman(means), difference, cliques, tasks)


def critical_difference(arms: int, tasks: int, alpha: float = 0.05) -> float:
    """Nemenyi's CD = q_α √(k (k + 1) / 6N) for k arms over N tasks; q_α is the Studentised range over √2."""
    q_alpha = float(stats.studentized_range.ppf(1 - alpha, arms, np.inf)) / math.sqrt(2)
    return q_alpha * math.sqrt(arms * (arms + 1) / (6 * tasks))


def _friedman(means: pd.DataFrame) -> float | None:
    """The p-value of Friedman's test. means: (tasks, arms)."""
    tasks, arms = means.shape
    if arms < 3 or tasks < 2:
        return None
    if (means.nunique(axis=1) == 1).all():
        return 1.0  # ties everywhere: the statistic is 0 / 0
    return float(stats.friedmanchisquare(*means.to_numpy(float).T).pvalue)


def _cliques(arms: tuple[str, ...], ranks: tuple[float, ...], difference: float) -> tuple[tuple[str, ...], ...]:
    """Maximal runs of neighbours, best first, whose outermost ranks lie closer than the critical difference."""
    ends = np.searchsorted(ranks, np.array(ranks) + difference, side="left")
    reached, cliques = 0, []
    for start, end in enumerate(ends.tolist()):
        if end > reached and end - start > 1:
            cliques.append(arms[start:end])
        reached = max(reached, end)
    return tuple(cliques)
