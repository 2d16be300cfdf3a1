"""Word vectors in whole runs: trained on the training part, learning from an epoch on, in records and in names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import bench
from bench.compose import compose
from bench.data.module import prepare
from bench.data.sources import open_corpus
from bench.embeddings.table import EmbeddingTable, build_table
from bench.errors import UserError
from bench.files import cache_root
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.record import RunRecord, Status
from bench.runs.sentences import Sentences
from bench.runs.store import CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST, Store
from tests.conftest import TOPICS, Study
from tests.test_resume import cut_off

VECTORS = "embedding.weight"
TRAINED = ("embedding=word2vec", "embedding.source=train", "embedding.passes=2")
TWO = ("hardware=ddp", "hardware.devices=2", "hardware.accelerator=cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has trained, another one trains again."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def run(study: Study, *more: str) -> RunRecord:
    return bench.run(study.overrides("keep=all", "training.log_every_steps=5", *more))


def weights(study: Study, record: RunRecord, name: str = WEIGHTS_LAST) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(Store(study.results).folder(record.run_id, record.execution_id) / name)
    return found


def table_of(study: Study, *more: str) -> EmbeddingTable:
    """The vectors that a run would begin with."""
    config = compose(study.overrides(*more))
    prepared = prepare(open_corpus(config.data), config.data, config.seed)
    words, counts = prepared.vocabulary.words, prepared.vocabulary.counts
    return build_table(config.embedding, words, counts, None, config.seed, training=Sentences(prepared.train))


def trained_files() -> list[Path]:
    return sorted((cache_root() / "trained").glob("*/vectors.npy"))


def resolved(study: Study, *more: str) -> ResolvedRun:
    return resolve(compose(study.overrides(*more)))


def glove_file(folder: Path, *words: str) -> Path:
    path = folder / "tiny.txt"
    path.write_text("".join(f"{word} {k + 1} 0.5 -{k + 1} 0.25\n" for k, word in enumerate(words)))
    return path


# -- trained here --------------------------------------------------------------------------------------------------


IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from bench.config import EmbeddingConfig
from bench.embeddings.table import build_table
out, words, texts, kinds = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
for number, kind in enumerate(kinds):
    embedding = EmbeddingConfig(**kind, source="train", dimension=8)
    training = [np.array(text) for text in texts]
    table = build_table(embedding, words, np.ones(len(words)), None, 5, training=training)
    np.save(out / f"{number}.npy", table.values)
"""


def test_vectors_are_trained_to_the_bit_whatever_the_process(tmp_path: Path) -> None:
    words = [word for topic in TOPICS.values() for word in topic]
    texts = [[(7 * text + 5 * step * step) % len(words) for step in range(12)] for text in range(80)]
    kinds = [{"name": "word2vec"}, {"name": "word2vec", "algorithm": "cbow"}, {"name": "fasttext"}]
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        out.mkdir()
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, str(out), *map(json.dumps, (words, texts, kinds))],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "BENCH_CACHE": str(out)}, check=True, timeout=240,
        )  # fmt: skip
        assert len(list(out.glob("trained/*/vectors.npy"))) == len(kinds), "each process has trained its own"
    tables = [[np.load(tmp_path / hash_seed / f"{number}.npy") for number in range(3)] for hash_seed in ("1", "2")]
    np.testing.assert_array_equal(tables[0], tables[1])
    skipgram, cbow, fasttext = (table[2:] for table in tables[0])
    assert (skipgram != cbow).all()
    assert (skipgram != fasttext).all()


def test_every_setting_of_the_training_counts_and_so_does_the_seed(study: Study) -> None:
    plain = table_of(study, *TRAINED)
    for other in (
        "embedding=fasttext",
        "embedding.algorithm=cbow",
        "embedding.window=1",
        "embedding.passes=3",
        "seed=1",
    ):
        changed = table_of(study, *TRAINED, other)
        assert (changed.values[2:] != plain.values[2:]).any(axis=1).mean() > 0.9, other
    assert len(trained_files()) == 6


def test_trained_vectors_read_no_validation_and_no_test_text(study: Study) -> None:
    before = table_of(study, *TRAINED)
    for split in ("dev", "test"):
        path = study.data / f"{split}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "text": "the goal " + row["text"][::-1]}) + "\n" for row in rows))
    np.testing.assert_array_equal(table_of(study, *TRAINED).values, before.values)
    assert len(trained_files()) == 1, "it is what was trained before"
    path = study.data / "train.jsonl"
    path.write_text(path.read_text().replace(" the ", " of ", 3))
    assert (table_of(study, *TRAINED).values != before.values).any()


def test_trained_vectors_read_the_texts_that_are_used_as_the_run_sees_them(study: Study) -> None:
    config = compose(study.overrides("data.train_fraction=0.5", "data.max_length=4", "data.vocabulary_size=12"))
    prepared = prepare(open_corpus(config.data), config.data, config.seed)
    texts = [[prepared.vocabulary.words[k] for k in text] for text in Sentences(prepared.train)]
    assert len(texts) == 45
    assert sum(map(len, texts)) < prepared.train_tokens, "unknown words are left out"
    assert max(map(len, texts)) <= 4
    known = set(prepared.vocabulary.words)
    rows = [json.loads(line) for line in (study.data / "train.jsonl").read_text().splitlines()]
    seen = [[word for word in row["text"].split()[:4] if word in known] for row in rows]
    assert all(text in seen for text in texts)


def test_without_a_dev_split_the_texts_set_aside_are_not_trained_on(study: Study) -> None:
    (study.data / "dev.jsonl").unlink()
    path = study.data / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["text"] = f"only{number} " + row["text"]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = compose(study.overrides())
    prepared = prepare(open_corpus(config.data), config.data, config.seed)
    words = {prepared.vocabulary.words[k] for text in Sentences(prepared.train) for k in text}
    assert len({word for word in words if word.startswith("only")}) == len(prepared.train) == 81


def test_words_beyond_the_cut_are_made_of_n_grams_by_fasttext_and_drawn_by_word2vec(study: Study) -> None:
    path = study.data / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["text"] = "goals and " + " ".join(["of"] * 20) + " goalkeeper"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = compose(study.overrides(*TRAINED, "embedding=fasttext"))
    words, texts = ["goals", "and", "goalkeeper"], [np.array([0, 1])] * 40
    counts = np.ones(3)
    made = build_table(config.embedding, words, counts, None, 0, training=texts)
    assert (made.words_exact, made.words_subwords, made.words_drawn) == (2, 1, 0)
    assert made.coverage_types == pytest.approx(2 / 3)
    drawn = build_table(replace(config.embedding, name="word2vec"), words, counts, None, 0, training=texts)
    assert (drawn.words_exact, drawn.words_subwords, drawn.words_drawn) == (2, 0, 1)
    without = build_table(replace(config.embedding, subwords=False), words, counts, None, 0, training=texts)
    np.testing.assert_array_equal(without.values[4], drawn.values[4])
    assert (made.values[4] != drawn.values[4]).all()


def test_what_was_trained_is_read_back_and_trained_again_when_damaged(study: Study) -> None:
    first = table_of(study, *TRAINED).values
    (path,) = trained_files()
    written = path.stat().st_mtime_ns
    np.testing.assert_array_equal(table_of(study, *TRAINED).values, first)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:-8])
    np.testing.assert_array_equal(table_of(study, *TRAINED).values, first)
    assert path.stat().st_size > 0
    assert np.load(path).shape[1] == 8


def test_trained_vectors_know_which_words_keep_company(study: Study) -> None:
    table = table_of(study, "embedding=word2vec", "embedding.source=train", "embedding.passes=30", "embedding.norm=1")
    config = compose(study.overrides())
    words = prepare(open_corpus(config.data), config.data, 0).vocabulary.words
    rows = {topic: table.values[[2 + words.index(word) for word in TOPICS[topic]]] for topic in TOPICS}
    within = np.mean([(rows[topic] @ rows[topic].T)[~np.eye(8, dtype=bool)].mean() for topic in TOPICS])
    across = np.mean([(rows[a] @ rows[b].T).mean() for a in TOPICS for b in TOPICS if a != b])
    assert within > across


def test_a_run_on_trained_vectors_says_so_in_its_record(study: Study) -> None:
    record = run(study, *TRAINED, "embedding.trainable=false")
    assert record.status is Status.FINISHED
    assert record.embedding_origin == "word2vec trained on the training part"
    assert record.embedding_fingerprint is None
    assert (record.embedding_words_exact, record.embedding_words_drawn) == (record.vocabulary_words, 0)
    assert (record.embedding_coverage_types, record.embedding_coverage_tokens) == (1.0, 1.0)
    np.testing.assert_array_equal(
        weights(study, record)[VECTORS], table_of(study, *TRAINED, "embedding.trainable=false").values
    )


def test_two_processes_get_the_same_trained_vectors(study: Study) -> None:
    recipe = (*TRAINED, "embedding.trainable=false", "model.dropout=0", "keep=all")
    elsewhere = Study(study.folder / "one")
    alone = run(study, *recipe, f"results={elsewhere.results}")
    done = study.command(*study.overrides(*recipe, *TWO))
    assert done.returncode == 0, done.stdout + done.stderr
    (together,) = study.records()
    assert together.devices == 2
    np.testing.assert_array_equal(weights(study, together)[VECTORS], weights(elsewhere, alone)[VECTORS])
    assert together.test_log_loss == pytest.approx(alone.test_log_loss, abs=1e-4)
    assert len(trained_files()) == 1


def test_without_gensim_one_line_says_what_to_install(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(UserError, match=r"needs gensim.*pip install 'recurrent-bench\[gensim\]'$") as error:
        resolved(study, *TRAINED)
    assert "\n" not in str(error.value)


# -- learning from an epoch on -------------------------------------------------------------------------------------


def curve(study: Study, record: RunRecord) -> pd.DataFrame:
    path = Store(study.results).folder(record.run_id, record.execution_id) / CURVE
    return pd.read_parquet(path).drop(columns="train_seconds")


def test_vectors_stay_as_they_were_for_so_many_epochs_and_learn_afterwards(study: Study) -> None:
    never = run(study, "embedding.trainable=false", "training.epochs=4")
    later = run(study, "embedding.trainable=after_2_epochs", "training.epochs=4")
    until = run(study, "embedding.trainable=after_2_epochs", "training.epochs=2")
    start = weights(study, never)[VECTORS]
    np.testing.assert_array_equal(weights(study, until)[VECTORS], start)
    learned = weights(study, later)[VECTORS]
    assert (learned[1:] != start[1:]).any(axis=1).mean() > 0.9
    assert not learned[0].any(), "padding stays zero"
    frozen, thawed = curve(study, never), curve(study, later)
    pd.testing.assert_frame_equal(frozen[frozen.epoch <= 2], thawed[thawed.epoch <= 2], check_exact=True)
    assert (frozen[frozen.epoch == 4].loss.to_numpy() != thawed[thawed.epoch == 4].loss.to_numpy()).all()


def test_vectors_that_would_learn_after_the_last_epoch_never_do(study: Study) -> None:
    never = run(study, "embedding.trainable=false")
    later = run(study, "embedding.trainable=after_99_epochs")
    for name, values in weights(study, never).items():
        np.testing.assert_array_equal(weights(study, later)[name], values)
    assert never.parameters_trainable < later.parameters_trainable == later.parameters_total  # type: ignore[operator]
    assert set(bench.records(str(study.results))["embedding.trainable"]) == {"false", "after_99_epochs"}


def test_weight_decay_and_momentum_wait_for_the_vectors_too(study: Study) -> None:
    for optimizer in ("adamw", "sgd"):
        recipe = (f"training.optimizer={optimizer}", "training.weight_decay=0.1", "training.epochs=1")
        start = weights(study, run(study, *recipe, "embedding.trainable=false"))[VECTORS]
        np.testing.assert_array_equal(
            weights(study, run(study, *recipe, "embedding.trainable=after_1_epochs"))[VECTORS], start
        )


@pytest.mark.parametrize("epoch", [2, 3, 5])
def test_a_resumed_run_ends_as_the_unbroken_one(study: Study, epoch: int) -> None:
    """Cut off in the last frozen epoch, in the first one that learns, and later."""
    recipe = ("embedding.trainable=after_2_epochs", "training.epochs=6", "model.dropout=0.3", "keep=all")
    elsewhere = Study(study.folder / "whole")
    whole = run(study, *recipe, f"results={elsewhere.results}")
    cut = cut_off(study, epoch, *recipe)
    assert cut.status is Status.INTERRUPTED
    again = run(study, *recipe)
    assert (again.resumed_from, again.resumed_epochs) == (cut.execution_id, epoch - 1)
    for name in (WEIGHTS, WEIGHTS_LAST, PREDICTIONS):
        folders = (Store(place.results).folder(of.run_id, of.execution_id) / name
                   for place, of in ((elsewhere, whole), (study, again)))  # fmt: skip
        first, second = (path.read_bytes() for path in folders)
        assert first == second, name
    pd.testing.assert_frame_equal(curve(elsewhere, whole), curve(study, again), check_exact=True)


def test_two_processes_thaw_the_vectors_together(study: Study) -> None:
    """The same global batches give the same gradients up to the order of additions."""
    recipe = ("embedding.trainable=after_1_epochs", "model.dropout=0", "training.epochs=3", "training.batch_size=7")
    elsewhere = Study(study.folder / "one")
    alone = run(study, *recipe, f"results={elsewhere.results}")
    frozen = run(study, *recipe, "training.epochs=1", f"results={elsewhere.results}")
    done = study.command(*study.overrides(*recipe, *TWO, "keep=all", "training.log_every_steps=5"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("Warning") == 0, done.stderr
    (together,) = study.records()
    assert (together.devices, together.status) == (2, Status.FINISHED)
    start, learned = weights(elsewhere, frozen)[VECTORS], weights(study, together)[VECTORS]
    assert (learned[1:] != start[1:]).any(axis=1).mean() > 0.9
    np.testing.assert_allclose(learned, weights(elsewhere, alone)[VECTORS], atol=1e-3)
    first = [curve(*of).query("epoch == 1 and split == 'validation'") for of in ((elsewhere, alone), (study, together))]
    np.testing.assert_allclose(first[0].loss, first[1].loss, atol=1e-5)


# -- the record and the name of a run ------------------------------------------------------------------------------


def test_how_words_got_their_vectors_stands_in_the_record(study: Study) -> None:
    path = glove_file(study.folder, "the", "GOAL", "Bank", "nowhere")
    record = run(study, "embedding=glove", f"embedding.path={path}", "embedding.dimension=null")
    assert (record.embedding_words_exact, record.embedding_words_other_case) == (1, 2)
    assert (record.embedding_words_subwords, record.embedding_words_drawn) == (0, record.vocabulary_words - 3)  # type: ignore[operator]
    assert record.embedding_coverage_types == pytest.approx(3 / record.vocabulary_words)  # type: ignore[operator]
    assert record.embedding_origin is not None
    assert record.embedding_fingerprint is not None


def test_duplicate_texts_stand_in_the_record(study: Study) -> None:
    train, dev = study.data / "train.jsonl", study.data / "dev.jsonl"
    lines = train.read_text().splitlines()
    train.write_text("\n".join([*lines, lines[0], lines[1]]) + "\n")
    dev.write_text(dev.read_text() + lines[0] + "\n")
    record = run(study, "training.epochs=1")
    assert (record.duplicates_train, record.duplicates_dev, record.duplicates_test) == (2, 0, 0)
    assert (record.shared_train_dev, record.shared_train_test, record.shared_dev_test) == (1, 0, 0)


IDLE = [
    ((), ("embedding.case_fallback=false", "embedding.subwords=false", "embedding.shuffle=true",
          "embedding.algorithm=cbow", "embedding.window=2", "embedding.passes=9", "data.validation_fraction=0.3",
          "data.length=7", "data.test_length=8", "data.size=99", "data.probe_seed=4", "embedding.url=http://x",
          "embedding.member=x", "embedding.package=x", "embedding.files=[x]", "embedding.open_vocabulary=true",
          "data.tolerance=0.5")),
    (("embedding=glove",), ("embedding.algorithm=cbow", "embedding.window=2", "embedding.subwords=false")),
    (("embedding.norm=1",), ("embedding.scale=0.5",)),
    (TRAINED, ("embedding.subwords=false",)),
]  # fmt: skip
AT_WORK = [
    ((), ("embedding.scale=0.5", "embedding.norm=2", "embedding.trainable=false", "embedding.trainable=after_1_epochs",
          "embedding.trainable=after_2_epochs")),
    (("embedding=glove",), ("embedding.case_fallback=false", "embedding.shuffle=true",
                            "embedding.open_vocabulary=true")),
    (TRAINED, ("embedding.algorithm=cbow", "embedding.window=2", "embedding.passes=9", "embedding.shuffle=true")),
    ((*TRAINED, "embedding=fasttext"), ("embedding.subwords=false",)),
]  # fmt: skip


def basis(study: Study, chosen: tuple[str, ...]) -> tuple[str, ...]:
    if chosen != ("embedding=glove",):
        return chosen
    return (*chosen, f"embedding.path={glove_file(study.folder, 'the')}", "embedding.dimension=null")


@pytest.mark.parametrize(("chosen", "idle"), IDLE, ids=lambda keys: " ".join(keys)[:30])
def test_a_key_without_effect_changes_neither_the_name_nor_the_record(
    study: Study, chosen: tuple[str, ...], idle: tuple[str, ...]
) -> None:
    plain = resolved(study, *basis(study, chosen))
    for key in idle:
        other = resolved(study, *basis(study, chosen), key)
        assert (other.run_id, other.arm, other.pair_key) == (plain.run_id, plain.arm, plain.pair_key), key
        if not key.startswith(("embedding.url", "embedding.member", "embedding.package", "embedding.files")):
            assert other.config == plain.config, key


@pytest.mark.parametrize(("chosen", "keys"), AT_WORK, ids=lambda keys: " ".join(keys)[:30])
def test_a_key_with_an_effect_names_another_run(study: Study, chosen: tuple[str, ...], keys: tuple[str, ...]) -> None:
    names = {resolved(study, *basis(study, chosen), *more).run_id for more in [(), *((key,) for key in keys)]}
    assert len(names) == len(keys) + 1


def test_the_share_set_aside_counts_where_there_is_no_dev_split(study: Study) -> None:
    (study.data / "dev.jsonl").unlink()
    assert resolved(study).run_id != resolved(study, "data.validation_fraction=0.3").run_id
