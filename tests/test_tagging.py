"""Labels of words: the loss is a mean over them, padding changes none, and a run says what became of each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import bench
from bench.analysis.pairing import study_of
from bench.analysis.pairs import pairs_of
from bench.compose import compose
from bench.config import DataConfig, ModelConfig
from bench.data.batches import Batch, BatchDataset, Share, Texts, share_of
from bench.data.splits import IGNORED
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings
from bench.data.tokens.text import TokenRules, encode_texts, tokenise
from bench.errors import UserError
from bench.models.encoder import TextClassifier
from bench.models.tasks import Tagging
from bench.runs.digest import correct_texts
from bench.runs.identity import resolve
from bench.runs.record import RunRecord, Status
from bench.runs.store import PREDICTIONS, WEIGHTS, Store
from tests.conftest import ROOT, Study
from tests.evaluate_weights import SIZES, evaluate
from tests.tagged_corpus import TAGGED, write_tagged

CLASSES = 3


def predictions(study: Study, record: RunRecord) -> dict[str, list[object]]:
    folder = Store(study.results).folder(record.run_id, record.execution_id)
    return pq.read_table(folder / PREDICTIONS).to_pydict()  # type: ignore[no-any-return]


# -- batches -----------------------------------------------------------------------------------------------------------


def tagged_texts(lengths: list[int], most: int, truncation: str, shuffle_seed: int | None = None) -> Texts:
    """Word k of all has row k + 2 and, where k is no multiple of five, the label k."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(offsets[-1], dtype=np.int32)
    return Texts(
        words=Ragged.of(ids, offsets),
        vector_rows=ids + 2,
        labels=np.where(ids % 5 == 0, IGNORED, ids).astype(np.int64),
        names=Strings.of(map(str, lengths)),
        max_length=most,
        truncation=truncation,  # type: ignore[arg-type]
        numbers=np.arange(len(lengths)),
        shuffle_seed=shuffle_seed,
        tagged=True,
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 14), st.sampled_from(["head", "tail", "both"]),
    st.none() | st.integers(0, 2**63 - 1), st.data(),
)  # fmt: skip
def test_every_word_keeps_its_label_however_texts_are_cut_chosen_and_shuffled(
    lengths: list[int], most: int, truncation: str, shuffle_seed: int | None, data: st.DataObject
) -> None:
    texts = tagged_texts(lengths, most, truncation, shuffle_seed)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5)))
    part = texts.subset(rows)
    batch = BatchDataset(part)[Share(np.arange(len(rows)), np.ones(len(rows), np.float32))]
    assert batch.labels.shape == batch.tokens.shape
    words = batch.tokens.numpy() - 2
    expected = np.where((words < 0) | (words % 5 == 0), IGNORED, words)
    assert batch.labels.tolist() == expected.tolist()
    assert part.judged is not None
    assert part.judged.tolist() == (expected != IGNORED).sum(axis=1).tolist()


def test_labels_of_all_words_are_counted() -> None:
    texts = tagged_texts([4, 7, 2], 3, "head")
    assert np.flatnonzero(texts.label_counts()).tolist() == [k for k in range(13) if k % 5]
    assert np.flatnonzero(texts.subset(np.array([2])).label_counts()).tolist() == [11, 12]


def network(model: ModelConfig) -> TextClassifier:
    vectors = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    made = TextClassifier(model, 5, vectors, trainable_vectors=True, classes=CLASSES, seed=2, task=Tagging())
    return made.double().eval()


def batch_of(lengths: list[int], padding: int = 0) -> Batch:
    time = max(lengths) + padding
    draw = torch.Generator().manual_seed(sum(lengths))
    valid = torch.arange(time) < torch.tensor(lengths)[:, None]
    tokens = torch.randint(2, 40, (len(lengths), time), generator=draw) * valid
    labels = torch.where(valid, tokens % CLASSES, IGNORED)
    return Batch(tokens, torch.tensor(lengths), labels, torch.arange(len(lengths)), torch.ones(len(lengths)))


CELLS = ("rnn", "gru", "lstm", "bag", "attention")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_neither_padding_nor_company_changes_a_words_logits(cell: str, bidirectional: bool) -> None:
    model = ModelConfig(cell=cell, hidden_size=5, heads=1, bidirectional=bidirectional)  # type: ignore[arg-type]
    tagger, batch = network(model), batch_of([3, 1, 7])
    with torch.no_grad():
        together = tagger(batch.tokens, batch.lengths)
        padded = tagger(torch.nn.functional.pad(batch.tokens, (0, 4)), batch.lengths)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = tagger(batch.tokens[row : row + 1, :length], batch.lengths[row : row + 1])
            assert alone.shape == (1, length, CLASSES)
            torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-12)
            torch.testing.assert_close(padded[row, :length], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["torch", "step"])
def test_a_direction_that_reads_from_the_end_sees_what_comes_behind_a_word(kernel: str) -> None:
    def first_word(bidirectional: bool, last: int) -> Tensor:
        model = ModelConfig(cell="gru", hidden_size=5, bidirectional=bidirectional)
        vectors = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
        tagger = TextClassifier(
            model, 5, vectors, trainable_vectors=True, classes=CLASSES, seed=2, kernel=kernel, task=Tagging()
        )  # type: ignore[arg-type]
        logits: Tensor = tagger.eval()(torch.tensor([[7, 8, last]]), torch.tensor([3]))
        return logits[0, 0]

    assert torch.equal(first_word(False, 9), first_word(False, 10))
    assert not torch.allclose(first_word(True, 9), first_word(True, 10))


def mean_by_hand(tagger: TextClassifier, batch: Batch) -> Tensor:
    """The mean of −log p(label) over all words that have one, word by word."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        logits = tagger(batch.tokens[row : row + 1, :length], batch.lengths[row : row + 1])[0]
        found += [-logits[k].log_softmax(0)[label] for k, label in enumerate(batch.labels[row, :length].tolist())
                  if label != IGNORED]  # fmt: skip
    return torch.stack(found).mean()


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_loss_is_the_mean_over_labels_whatever_share_a_process_has(world_size: int) -> None:
    tagger, batch = network(ModelConfig(cell="lstm", hidden_size=5)), batch_of([3, 1, 7])
    batch.labels[2, 1:4] = IGNORED
    judged = (batch.labels != IGNORED).sum(dim=1).numpy()
    parts = []
    for rank in range(world_size):
        rows, weights = share_of(np.arange(3), rank, world_size, judged)
        losses = tagger.task.losses(tagger(batch.tokens[rows], batch.lengths[rows]), batch.labels[rows])
        parts.append((losses * torch.from_numpy(weights).double()).sum())
    torch.testing.assert_close(torch.stack(parts).mean(), mean_by_hand(tagger, batch), rtol=0, atol=1e-6)


def test_padding_and_unlabelled_words_give_the_output_layer_no_gradient() -> None:
    tagger = network(ModelConfig(cell="gru", hidden_size=5))

    def gradient(batch: Batch) -> Tensor:
        tagger.zero_grad()
        tagger.task.losses(tagger(batch.tokens, batch.lengths), batch.labels).sum().backward()
        assert tagger.output.weight.grad is not None
        return tagger.output.weight.grad.clone()

    plain = batch_of([2, 5])
    padded = plain._replace(
        tokens=torch.nn.functional.pad(plain.tokens, (0, 3)),
        labels=torch.nn.functional.pad(plain.labels, (0, 3), value=IGNORED),
    )
    torch.testing.assert_close(gradient(padded), gradient(plain), rtol=0, atol=1e-12)
    silent = plain._replace(labels=torch.full_like(plain.labels, IGNORED))
    assert gradient(silent).abs().max() == 0
    assert gradient(plain).abs().max() > 0


# -- words -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), min_size=1, max_size=8))
def test_given_words_are_neither_divided_nor_lost(words: list[str]) -> None:
    rules = TokenRules.of(DataConfig(name="x", task="tagging", unicode_form="NFKC", strip_html=True))
    text = " ".join(words)
    if len(text.split()) == len(words):
        assert len(tokenise(text, rules)) == len(words)
        assert encode_texts([text, text], rules).lengths.tolist() == [len(words)] * 2


def test_given_words_stay_as_they_are() -> None:
    rules = TokenRules.of(DataConfig(name="x", task="tagging", lowercase=False))
    assert tokenise("Do n't e-mail 10.5% <b> …", rules) == ["Do", "n't", "e-mail", "10.5%", "<b>", "…"]


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tagged(study: Study) -> Study:
    write_tagged(study)
    return study


def test_a_run_learns_tags_that_need_their_neighbours_and_records_every_word(tagged: Study) -> None:
    record = bench.run(tagged.overrides(*TAGGED, "training.epochs=10"))
    assert record.status is Status.FINISHED
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.97, "the article or the pronoun before a word tells"
    sentences = [json.loads(line) for line in (tagged.data / "test.jsonl").read_text().splitlines()]
    kept = predictions(tagged, record)
    assert kept["label"] == [tag for sentence in sentences for tag in sentence["upos"]]
    assert kept["position"] == [place for sentence in sentences for place in range(len(sentence["upos"]))]
    assert kept["id"] == [f"test-{row}" for row, sentence in enumerate(sentences) for _ in sentence["upos"]]
    hits = np.array([label == said for label, said in zip(kept["label"], kept["predicted"], strict=True)])
    assert record.test_tokens == len(hits)
    assert hits.mean() == pytest.approx(record.test_accuracy)
    assert -np.log(kept["probability"]).mean() == pytest.approx(record.test_log_loss, abs=1e-5)  # type: ignore[arg-type]
    assert np.array(record.test_confusion).sum() == len(hits)
    ends = np.cumsum([len(sentence["upos"]) for sentence in sentences])[:-1]
    whole = [bool(part.all()) for part in np.split(hits, ends)]
    assert record.test_correct is not None
    assert record.test_texts is not None
    assert correct_texts(record.test_correct, record.test_texts).tolist() == whole
    assert [sum(column) for column in zip(*(row[1:] for row in record.test_by_length or ()), strict=True)] == [
        len(hits),
        hits.sum(),
    ]
    train = [tag for line in (tagged.data / "train.jsonl").read_text().splitlines() for tag in json.loads(line)["upos"]]
    assert record.majority_share == pytest.approx(max(map(train.count, set(train))) / len(train))


def test_cutting_shortens_training_sentences_and_no_sentence_that_is_judged(tagged: Study) -> None:
    record = bench.run(tagged.overrides(*TAGGED, "data.max_length=3", "training.epochs=1"))
    words = [len(json.loads(line)["upos"]) for line in (tagged.data / "test.jsonl").read_text().splitlines()]
    assert record.test_tokens == sum(words)
    assert max(words) > 3
    sentences = [len(json.loads(line)["upos"]) for line in (tagged.data / "train.jsonl").read_text().splitlines()]
    assert record.train_tokens == sum(min(length, 3) for length in sentences)


def test_without_a_dev_split_some_training_sentences_validate(tagged: Study) -> None:
    (tagged.data / "dev.jsonl").unlink()
    record = bench.run(tagged.overrides(*TAGGED, "training.epochs=1"))
    assert (record.train_texts, record.validation_texts) == (81, 9)


def test_two_processes_judge_every_word_once_and_as_one_does(tagged: Study) -> None:
    trained = bench.run(tagged.overrides(*TAGGED, "keep=best", "training.epochs=1"))
    (weights,) = tagged.results.glob(f"runs/{trained.run_id}/*/{WEIGHTS}")
    alone = evaluate(weights, tagged.folder, tagged.overrides(*TAGGED))
    out = tagged.folder / "qualities.json"
    two = ("hardware=ddp", "hardware.devices=2", "hardware.accelerator=cpu")
    subprocess.run(
        [sys.executable, "-m", "tests.evaluate_weights", str(weights), str(out), *tagged.overrides(*TAGGED, *two)],
        cwd=ROOT, check=True, timeout=240,
    )  # fmt: skip
    together = json.loads(out.read_text())
    assert len(together) == len(alone) == 1 + len(SIZES)
    assert sum(map(sum, together[0]["confusion"])) == trained.test_tokens
    for one, both in zip(map(asdict, alone), together, strict=True):
        assert one.pop("confusion") == both.pop("confusion")
        assert both == pytest.approx(one, abs=1e-6)


def test_cells_pair_and_are_judged_by_the_accuracy_of_words(tagged: Study) -> None:
    for model in ("gru", "lstm"):
        for seed in (0, 1):
            bench.run(tagged.overrides(*TAGGED, f"model={model}", f"seed={seed}", "training.epochs=1"))
    protocol = compose(["protocol.uncommitted=allow", "protocol.looks=[2,3]"]).protocol
    records = bench.records(tagged.results)
    study = study_of(records, protocol)
    assert list(study.metrics.values()) == ["accuracy"]
    (pairs,) = [pair for pair in pairs_of(study, protocol) if pair.scene.matching == "width"]
    by_seed = records.set_index(["model.cell", "seed"]).test_accuracy
    expected = [100 * (by_seed["lstm", seed] - by_seed["gru", seed]) for seed in (0, 1)]
    np.testing.assert_allclose(pairs.deltas(), np.array(expected, float))
    assert pairs.resolution == pytest.approx(100 / records.test_tokens.iloc[0])


IDLE = ("model.pooling=last", "model.pooling=attention", "data.tolerance=0.5")


@pytest.mark.parametrize("key", IDLE)
def test_keys_that_mean_nothing_to_a_tagger_name_no_other_run(tagged: Study, key: str) -> None:
    plain, other = (resolve(compose(tagged.overrides(*TAGGED, *more))) for more in ((), (key,)))
    assert (plain.run_id, plain.arm, plain.pair_key) == (other.run_id, other.arm, other.pair_key)
    assert plain.config == other.config


def test_words_of_other_splits_get_the_files_vectors_where_that_is_asked_for(tagged: Study) -> None:
    line = {"tokens": ["the", "Ocean", "zzz"], "upos": ["DET", "NOUN", "NOUN"]}
    with (tagged.data / "test.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    vectors = tagged.folder / "glove.txt"
    vectors.write_text("the 1 2\nocean 3 4\nboat 5 6\n")
    known = ("embedding=glove", f"embedding.path={vectors}", "embedding.dimension=null", "data.lowercase=false",
             "training.epochs=1")  # fmt: skip
    closed = bench.run(tagged.overrides(*TAGGED, *known))
    opened = bench.run(tagged.overrides(*TAGGED, *known, "embedding.open_vocabulary=true"))
    assert opened.vocabulary_words == (closed.vocabulary_words or 0) + 1
    assert opened.embedding_words_other_case == (closed.embedding_words_other_case or 0) + 1
    assert opened.run_id != closed.run_id
    assert (closed.unknown_token_fraction or 0) == pytest.approx(2 * (opened.unknown_token_fraction or 0))


REFUSED = {
    ("model.output=sigmoid",): "model.output=sigmoid is for two classes, not for data.task=tagging: use model.output=",
    ("data.tokens=char",): "data.tokens=char divides words, and data.task=tagging labels whole words: use data.tokens=",
    ("data.task=taging",): "did you mean 'tagging'?",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_be_done_with_words_is_one_line(tagged: Study, typed: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        compose(tagged.overrides(*TAGGED, *typed))
    assert "\n" not in str(caught.value)
    assert REFUSED[typed] in str(caught.value)


def test_a_task_that_a_probe_does_not_have_is_one_line() -> None:
    with pytest.raises(UserError, match=r"data\.probe=parity is a classification task: use data\.task=classification"):
        compose(["data=parity", "data.task=tagging"])


def test_texts_without_tags_say_which_column_they_lack(study: Study) -> None:
    with pytest.raises(UserError, match=r"the text column holds .*, not a list for each sentence") as caught:
        resolve(compose(study.overrides("data.task=tagging")))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_part_of_speech_tags_are_learnt_from_the_shell(
    study: Study, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    done = study.command(
        "data=pos", "data.train_fraction=0.2", "model.hidden_size=32", "training.epochs=2", "logger=none",
        "hardware=cpu", "hardware.threads=1", f"results={study.results}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = study.records()
    assert (record.test_texts, record.test_tokens, record.classes) == (2077, 25_094, 17)
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.6
