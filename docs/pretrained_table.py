"""Writes the table "Does it pay?" of docs/embeddings.md from published records: `python docs/pretrained_table.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.analysis.statistics import t_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "embeddings.md"
RECORDS = ROOT / "results" / "reference" / "pretrained.parquet"
BEGIN, END = "<!-- made by docs/pretrained_table.py -->\n", "<!-- end -->\n"
ARMS = {
    ("random", "true", False): "random, learned",
    ("glove", "false", False): "GloVe, frozen",
    ("glove", "true", False): "GloVe, tuned",
    ("glove", "false", True): "GloVe at the wrong words, frozen",
    ("glove", "true", True): "GloVe at the wrong words, tuned",
}


def table() -> str:
    """One row a corpus and arm; differences are paired by seed."""
    records = pd.read_parquet(RECORDS)
    runs = records[records.status == "finished"].copy()
    keys = zip(
        runs["embedding.name"],
        runs["embedding.trainable"].astype(str).str.lower(),
        runs["embedding.shuffle"],
        strict=True,
    )
    runs["arm_name"] = [ARMS[name, trainable, bool(shuffled)] for name, trainable, shuffled in keys]
    head = ["corpus", "vectors", "test accuracy", "minus random, paired", "learning rate", "dropout", "words found"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *_rows(runs)]) + "\n"


def _rows(runs: pd.DataFrame) -> Iterator[str]:
    for corpus, part in runs.groupby("data.name", sort=False):
        arms = {str(arm): group.set_index("seed").sort_index() for arm, group in part.groupby("arm_name")}
        base = arms[ARMS["random", "true", False]]
        for arm in filter(arms.__contains__, ARMS.values()):
            group = arms[arm]
            assert group.index.is_unique
            assert group.index.equals(base.index), f"{corpus}, {arm}: other seeds"
            difference = _percent(group.test_accuracy - base.test_accuracy, signed=True)
            found = group.embedding_coverage_types.iloc[0]
            cells = [
                str(corpus), arm, _percent(group.test_accuracy), "" if arm == next(iter(ARMS.values())) else difference,
                f"{group['training.learning_rate'].iloc[0]:.4f}", f"{group['model.dropout'].iloc[0]:.2f}",
                "" if pd.isna(found) else f"{100 * found:.0f}%",
            ]  # fmt: skip
            yield "| " + " | ".join(cells) + " |"


def _percent(values: pd.Series, *, signed: bool = False) -> str:
    """Mean and 95% t interval over seeds, in percent or percentage points."""
    mean, sign = 100 * values.mean(), "+" if signed else ""
    low, high = t_interval(mean, 100 * values.std(ddof=1), len(values))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def page() -> str:
    """The whole of docs/embeddings.md, with the table of today."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
