"""Writes the tables "Does it pay?" of docs/embeddings.md from published records: `python docs/pretrained_table.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bench.analysis.statistics import t_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "embeddings.md"
RECORDS = ROOT / "results" / "reference"
MARK = "<!-- {}: made by docs/pretrained_table.py -->\n"
ARMS = {
    ("random", "true", False): "random, learned",
    ("glove", "false", False): "GloVe, frozen",
    ("glove", "true", False): "GloVe, tuned",
    ("glove", "false", True): "GloVe at the wrong words, frozen",
    ("glove", "true", True): "GloVe at the wrong words, tuned",
}
BASE = "random, learned"
SETTINGS = ["data.train_fraction", "model.pooling", "embedding_dimension"]


def question() -> str:
    """The answer to sweeps/pretrained.yaml: a row for each corpus and arm; differences are paired by seed."""
    runs = pd.read_parquet(RECORDS / "pretrained.parquet")
    columns = [runs[f"embedding.{key}"] for key in ("name", "trainable", "shuffle")]
    chosen = zip(*columns, strict=True)
    runs["arm_name"] = [ARMS[name, str(learned).lower(), bool(shuffled)] for name, learned, shuffled in chosen]
    head = ["corpus", "vectors", "test accuracy", "minus random, paired", "learning rate", "dropout", "norm"]
    return _table(head, _arm_rows(runs))


def reasons() -> str:
    """One recipe, and what the gain of pretrained vectors depends on: a row for each setting."""
    runs = pd.read_parquet(RECORDS / "pretrained_why.parquet")
    head = ["training texts", "read out", "pretrained vectors", "random", "pretrained", "gain, paired"]
    return _table(head, _setting_rows(runs))


def _arm_rows(runs: pd.DataFrame) -> Iterator[list[str]]:
    for corpus, part in runs.groupby("data.name", sort=False):
        arms = {str(arm): group.set_index("seed").sort_index() for arm, group in part.groupby("arm_name")}
        for arm in filter(arms.__contains__, ARMS.values()):
            recipe = arms[arm].iloc[0]
            yield [
                f"`{corpus}`", arm, _percent(arms[arm].test_accuracy),
                "" if arm == BASE else _percent(_difference(arms[arm], arms[BASE]), signed=True),
                f"{recipe['training.learning_rate']:.4f}", f"{recipe['model.dropout']:.2f}",
                f"{recipe['embedding.norm']:.1f}",
            ]  # fmt: skip


def _setting_rows(runs: pd.DataFrame) -> Iterator[list[str]]:
    for (fraction, pooling, dimension), part in runs.groupby(SETTINGS):
        drawn = part[part["embedding.name"] == "random"].set_index("seed").sort_index()
        pretrained = part[part["embedding.name"] != "random"]
        for (name, learned), group in pretrained.groupby(["embedding.name", "embedding.trainable"]):
            found = group.set_index("seed").sort_index()
            words = 100 * found.embedding_coverage_types.mean()
            since = "" if str(learned).lower() == "true" else f", `{learned}`"
            yield [
                f"{found.train_texts.iloc[0]:,} ({100 * float(fraction):.0f}%)", str(pooling),
                f"{name}, {dimension:.0f} dimensions, {words:.0f}% of the words{since}",
                _percent(drawn.test_accuracy), _percent(found.test_accuracy),
                _percent(_difference(found, drawn), signed=True),
            ]  # fmt: skip


def _difference(one: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    assert one.index.is_unique
    assert one.index.equals(other.index), "other seeds"
    return one.test_accuracy - other.test_accuracy


def _percent(values: pd.Series, *, signed: bool = False) -> str:
    """Mean and 95% t interval over seeds, in percent or percentage points."""
    mean, sign = 100 * values.mean(), "+" if signed else ""
    low, high = t_interval(mean, 100 * values.std(ddof=1), len(values))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def page() -> str:
    """The whole of docs/embeddings.md, with the tables of today."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in (("question", question()), ("reasons", reasons())):
        before, begin, rest = text.partition(MARK.format(name))
        _, end, after = rest.partition(MARK.format(f"end of {name}"))
        assert begin, f"{PAGE} has no place for {name}"
        assert end, f"{PAGE}: {name} has no end"
        text = before + begin + "\n" + made + "\n" + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
