"""Labels that are numbers: read, trained on by squared error, judged by a tolerance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import bench
from bench.compose import compose
from bench.config import DataConfig
from bench.data.sources import open_corpus
from bench.embeddings.numbers import number_vectors
from bench.errors import UserError
from bench.models.tasks import Regression
from bench.runs.digest import correct_texts
from bench.runs.identity import resolve
from bench.runs.record import RunRecord, Status
from bench.runs.store import PREDICTIONS, Store
from tests.conftest import Study

NUMBERS = ("data.task=regression", "data.tolerance=0.25")
ADDING = ("data=adding", "data.length=6", "data.size=400", "data.max_length=10", "model.pooling=last",
          "model.dropout=0", "logger=none", "hardware=cpu", "hardware.threads=1", "model.hidden_size=16",
          "training.batch_size=16", "training.epochs=2")  # fmt: skip


def write_numbers(study: Study) -> None:
    """Texts whose number is the count of `up` less that of `down`."""
    draw = np.random.default_rng(3)
    for split, size in (("train", 120), ("dev", 40), ("test", 40)):
        rows = [draw.choice(["up", "down", "on"], draw.integers(2, 7)).tolist() for _ in range(size)]
        lines = [
            json.dumps({"text": " ".join(row), "label": (row.count("up") - row.count("down")) / 2}) for row in rows
        ]
        (study.data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def predictions(results: Path, record: RunRecord) -> dict[str, list[float]]:
    folder = Store(results).folder(record.run_id, record.execution_id)
    return pq.read_table(folder / PREDICTIONS).to_pydict()  # type: ignore[no-any-return]


def check_agreement(results: Path, record: RunRecord, tolerance: float) -> None:
    """The record says what follows from the predictions."""
    kept = predictions(results, record)
    errors = np.array(kept["predicted"], np.float32) - np.array(kept["label"], np.float32)
    assert len(errors) == record.test_texts
    assert np.square(errors).mean() == pytest.approx(record.test_mean_squared_error, rel=1e-4)
    solved = np.abs(errors) < np.float32(tolerance)
    assert solved.mean() == pytest.approx(record.test_solved_fraction)
    assert record.test_accuracy == record.test_solved_fraction
    assert record.test_correct is not None
    assert correct_texts(record.test_correct, len(errors)).tolist() == solved.tolist()
    assert record.test_by_length is not None
    assert sum(correct for _, _, correct in record.test_by_length) == solved.sum()


def test_numbers_beside_texts_are_learnt(study: Study) -> None:
    write_numbers(study)
    record = bench.run(study.overrides(*NUMBERS, "model.dropout=0", "model.pooling=last", "training.epochs=25",
                                       "training.patience=null"))  # fmt: skip
    assert record.status is Status.FINISHED
    check_agreement(study.results, record, 0.25)
    kept = predictions(study.results, record)
    assert record.test_mean_squared_error is not None
    assert record.test_mean_squared_error < 0.3 * np.var(kept["label"]), "far better than the mean of all labels"
    assert record.classes is record.majority_share is record.test_log_loss is record.test_macro_f1 is None
    curve = json.loads(bench.records(study.results).iloc[0].validation_curve)
    assert len(curve) == 25


def test_the_loss_is_the_squared_error_and_the_tolerance_is_not_reached() -> None:
    task = Regression(tolerance=0.5)
    outputs, labels = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1.0, 2.5, 3.25])
    assert task.losses(outputs, labels).tolist() == [0.0, 0.25, 0.0625]
    assert task.correct(task.answers(outputs), labels).tolist() == [True, False, True], "an error of 0.5 is too much"


def test_the_adding_problem_runs_on_numbers_alone(study: Study) -> None:
    record = bench.run([*ADDING, f"results={study.results}"])
    assert record.status is Status.FINISHED
    check_agreement(study.results, record, 0.04)
    assert (record.embedding_dimension, record.config["embedding.name"]) == (2, "numbers")
    assert record.parameters_total is not None
    assert record.parameters_trainable == record.parameters_total - 2 * ((record.vocabulary_words or 0) + 2)
    assert record.unknown_token_fraction == 0, "also a number that training lacks is read as what it is"
    assert (record.parameters_recurrent or 0) == 3 * 16 * (2 + 16) + 2 * 3 * 16


def test_a_run_on_numbers_is_repeated_from_its_record(study: Study) -> None:
    record = bench.run([*ADDING, f"results={study.results}"])
    done = study.command("reproduce", record.run_id, f"results={study.results}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-equal" in done.stdout


@pytest.mark.parametrize(
    "key", ["embedding=glove", "embedding.dimension=7", "embedding.trainable=false", "data.minimum_count=3"]
)
def test_no_key_of_word_vectors_means_anything_to_numbers(key: str) -> None:
    plain, other = (resolve(compose([*ADDING, *more])) for more in ((), (key,)))
    assert (plain.run_id, plain.arm, plain.pair_key) == (other.run_id, other.arm, other.pair_key)
    assert plain.dimension == other.dimension == 2


def test_a_number_is_its_own_vector() -> None:
    table = number_vectors(["0.371", "0.650+", "-2", "1e3+"], special_rows=2)
    np.testing.assert_array_equal(
        table, np.array([[0, 0], [0, 0], [0.371, 0], [0.65, 1], [-2, 0], [1000, 1]], np.float32)
    )


@pytest.mark.parametrize("word", ["up", "+", "1,5", "nan", "inf+"])
def test_a_word_that_is_no_number_is_named(word: str) -> None:
    with pytest.raises(UserError, match="is no number, with or without a '\\+' behind it: mend the text") as caught:
        number_vectors(["1", word], special_rows=2)
    assert f"'{word}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_numbers(tmp_path: Path, kind: str) -> None:
    texts, labels = ["a b", "c", "d"], [0.5, -1.0, 2.25]
    if kind == "csv":
        rows = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
        (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    elif kind == "jsonl":
        rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
        (tmp_path / "train.jsonl").write_text("\n".join(rows) + "\n")
    else:
        pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "train.parquet")
    corpus = open_corpus(DataConfig(name="mine", task="regression", tolerance=0.1, path=str(tmp_path)))
    assert corpus.label_names == ()
    assert corpus.splits["train"].labels.tolist() == labels
    again = DataConfig(name="mine", task="regression", tolerance=0.1, path=str(tmp_path), deduplicate=True)
    assert open_corpus(again).fingerprint == corpus.fingerprint


def test_other_numbers_are_another_corpus(tmp_path: Path) -> None:
    found = set()
    for label in ("0.5", "0.25"):
        (tmp_path / "train.csv").write_text(f"text,label\na,{label}\nb,1\n")
        data = DataConfig(name="mine", task="regression", tolerance=0.1, path=str(tmp_path))
        found.add(open_corpus(data).fingerprint)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("label", "says"),
    [("high", "row 2: label 'high' is no number"), ("nan", "row 2: label 'nan' is no number"),
     ("", "1 rows without a label, first row 2")],
)  # fmt: skip
def test_a_label_that_is_no_number_is_placed(tmp_path: Path, label: str, says: str) -> None:
    (tmp_path / "train.csv").write_text(f"text,label\na,1.5\nb,{label}\n")
    with pytest.raises(UserError) as caught:
        open_corpus(DataConfig(name="mine", task="regression", tolerance=0.1, path=str(tmp_path)))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


REFUSED = {
    ("data.tolerance=null",): "data.task=regression: set data.tolerance=NUMBER",
    ("data.labels=[a,b]",): "data.labels names classes, and data.task=regression has numbers: use data.labels=null",
    ("model.output=sigmoid",): "model.output=sigmoid is for two classes, not for data.task=regression",
    ("protocol.metric=macro_f1",): "protocol.metric=macro_f1 needs classes",
    ("data.tokens=char",): "data.inputs=numbers reads whole numbers: use data.tokens=word",
    ("data.task=classification",): "data.probe=adding is a regression task: use data.task=regression",
    ("data.inputs=words", "embedding.name=numbers"): "embedding.name=numbers reads numbers, and texts are words",
    ("data.length=1",): "data.length=1: adding needs at least 2 tokens: type data.length=2",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_be_done_with_numbers_is_one_line(typed: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        resolve(compose([*ADDING, *typed]))
    assert REFUSED[typed] in str(caught.value)
    assert "\n" not in str(caught.value)
