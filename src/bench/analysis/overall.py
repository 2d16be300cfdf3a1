"""All tasks of the headline together, as one fixed set: each seed's mean difference over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from bench.analysis.executions import kernel_names
from bench.analysis.pairs import Pairs, Side, chosen


def overall_pairs(headline: Sequence[Pairs]) -> list[Pairs]:
    """For each two arms with several tasks, the pairs of their mean runs over all tasks.

    A seed counts where every task has it. Quality is the mean over tasks, time the geometric mean, the margin the mean
    of the tasks' margins. What it says holds for this set of tasks, not for others.
    """
    found = []
    for arms in dict.fromkeys((pairs.baseline, pairs.alternative) for pairs in headline):
        tasks = [pairs for pairs in headline if (pairs.baseline, pairs.alternative) == arms]
        seeds = reduce(np.intersect1d, [pairs.seeds.astype(int) for pairs in tasks])
        if len(tasks) < 2 or not len(seeds):
            continue
        runs = (_mean_runs(tasks, 0, seeds), _mean_runs(tasks, 1, seeds))
        scene = replace(tasks[0].scene, dataset=f"all {len(tasks)} tasks", embedding="", others="")
        metrics = {pairs.metric for pairs in tasks}
        found.append(
            replace(
                tasks[0],
                scene=scene,
                runs=runs,
                margin=float(np.mean([pairs.margin for pairs in tasks])),
                metric=metrics.pop() if len(metrics) == 1 else "accuracy or macro_f1",
                look=tasks[0].ladder.look_of(len(seeds)),
            )
        )
    return found


def _mean_runs(tasks: Sequence[Pairs], side: int, seeds: np.ndarray) -> Side:
    """The mean run of one arm over all tasks, for each seed."""
    runs = [_at(pairs.runs[side], seeds) for pairs in tasks]
    keys = np.array([task["hardware_key"] for task in runs])
    seconds = np.log(np.array([task["train_seconds"] for task in runs]))
    return {
        "seed": seeds,
        "quality": np.mean([task["quality"] for task in runs], axis=0),
        "parameters_recurrent": np.mean([task["parameters_recurrent"] for task in runs], axis=0),
        "test_texts": np.sum([task["test_texts"] for task in runs], axis=0),
        "train_seconds": np.exp(seconds.mean(axis=0)),
        "kernel": np.full(len(seeds), kernel_names(name for task in runs for name in task.get("kernel", ()))),
        "timing_disturbed": np.max([task.get("timing_disturbed", np.zeros(len(seeds))) for task in runs], axis=0),
        "hardware_key": np.where((keys == keys[0]).all(axis=0), keys[0], "several"),
    }


def _at(side: Side, seeds: np.ndarray) -> Side:
    return chosen(side, np.flatnonzero(np.isin(side["seed"].astype(int), seeds)))
