"""A linear model of n-grams is a run like any other: its record, its files, its name, and how it can fail."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pytorch_lightning.loggers import Logger
from safetensors.numpy import load_file

import bench
from bench.compose import compose
from bench.errors import UserError
from bench.runs.claim import claim
from bench.runs.execute import execute
from bench.runs.identity import resolve
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import Store
from bench.tracking.description import describe_record, describe_run
from bench.verbs.reproduce import reproduce
from tests.conftest import Study
from tests.test_execute import ABSENT

# Beside what any run on a CPU leaves empty: what belongs to networks and to training in steps.
NO_STEPS = {
    "embedding_dimension", "hidden_size_resolved", "best_epoch", "epochs_run", "warmup_steps", "steps",
    "step_milliseconds_p50", "step_milliseconds_p95", "samples_per_second", "tokens_per_second",
    "padded_tokens_per_second", "padding_fraction", "achieved_flops_per_second", "kernel_operators", "clipped_fraction",
    "gradient_norm_p50", "gradient_norm_max",
}  # fmt: skip


def run(study: Study, *more: str) -> RunRecord:
    return bench.run(study.overrides("model=linear", *more))


def folder_of(study: Study, record: RunRecord) -> Path:
    return Store(study.results).folder(record.run_id, record.execution_id)


def write(study: Study, split: str, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (study.data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def test_a_linear_run_leaves_a_complete_record(study: Study) -> None:
    record = run(study, "data.target_accuracy=0.4")
    assert record.status is Status.FINISHED
    empty = {name for name, value in vars(record).items() if value is None}
    assert NO_STEPS <= empty <= (ABSENT | NO_STEPS) - {"inverse_regularisation", "seconds_to_target"}
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.9
    assert record.stop_reason == "solved"
    assert record.train_seconds is not None
    assert record.train_seconds > 0
    assert record.inverse_regularisation in (1.0, 3.0, 10.0, 30.0, 100.0)
    assert "scikit-learn" in record.packages
    assert RunRecord.from_json((folder_of(study, record) / "record.json").read_text()) == record
    assert Store(study.results).table().inverse_regularisation.tolist() == [record.inverse_regularisation]


def test_it_keeps_the_strength_that_does_best_on_validation(study: Study) -> None:
    record = run(study, "model.inverse_regularisation=[10,0.0001,1]")
    curve = pq.read_table(folder_of(study, record) / "curve.parquet").to_pandas()
    assert list(curve.split) == ["validation"] * 3
    best = curve.sort_values(["accuracy", "loss"], ascending=[False, True]).index[0]
    assert record.inverse_regularisation == [0.0001, 1.0, 10.0][best]
    assert record.validation_accuracy == pytest.approx(curve.accuracy[best])
    assert record.validation_log_loss == pytest.approx(curve.loss[best])
    assert curve.loss.nunique() == 3
    assert curve.train_seconds.is_monotonic_increasing
    assert record.train_seconds == pytest.approx(curve.train_seconds.iloc[-1])
    assert record.validation_curve is not None
    assert [accuracy for _, accuracy in record.validation_curve] == pytest.approx(curve.accuracy.tolist())


def test_predictions_agree_with_the_record(study: Study) -> None:
    record = run(study)
    kept = pq.read_table(folder_of(study, record) / "predictions.parquet").to_pydict()
    assert len(kept["id"]) == record.test_texts == 30
    hits = [label == predicted for label, predicted in zip(kept["label"], kept["predicted"], strict=True)]
    assert np.mean(hits) == pytest.approx(record.test_accuracy)
    confusion = np.array(record.test_confusion)
    assert confusion.trace() / confusion.sum() == pytest.approx(record.test_accuracy)


def test_it_reads_what_networks_read(study: Study) -> None:
    cut = ["data.max_length=5", "data.truncation=tail", "data.vocabulary_size=20", "data.train_fraction=0.5"]
    mine, theirs = run(study, *cut), bench.run(study.overrides("model=bag", "training.epochs=1", *cut))
    for name in ("train_texts", "train_tokens", "truncated_fraction", "vocabulary_words", "unknown_token_fraction",
                 "validation_texts", "test_texts", "data_fingerprint"):  # fmt: skip
        assert getattr(mine, name) == getattr(theirs, name), name
    columns = ["id", "label", "length"]
    kept = [pq.read_table(folder_of(study, one) / "predictions.parquet", columns=columns) for one in (mine, theirs)]
    assert kept[0].equals(kept[1])


def test_weights_are_arrays_as_many_as_the_record_says(study: Study) -> None:
    record = run(study)
    weights = load_file(folder_of(study, record) / "weights.safetensors")
    assert set(weights) == {"keys", "inverse_frequency", "weight", "bias"}
    assert weights["weight"].shape == (3, len(weights["keys"]))
    assert record.parameters_total == record.parameters_trainable == weights["weight"].size + weights["bias"].size
    unigrams = run(study, "model.ngrams=1", "model.minimum_texts=1")
    assert unigrams.parameters_total is not None
    assert unigrams.vocabulary_words is not None
    assert unigrams.parameters_total == 3 * unigrams.vocabulary_words + 3 < record.parameters_total
    assert not (folder_of(study, run(study, "keep=none", "seed=5")) / "weights.safetensors").exists()


def test_one_seed_is_bit_equal_and_reproduce_says_so(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(study)
    assert reproduce([record.run_id, f"results={study.results}"]) == 0
    assert "bit-equal" in capsys.readouterr().out
    assert len(Store(study.results).executions(record.run_id)) == 2


def test_the_seed_decides_the_split_alone(study: Study) -> None:
    (study.data / "dev.jsonl").unlink()
    first, second = run(study, "seed=1"), run(study, "seed=2")
    assert first.run_id != second.run_id
    assert first.arm == second.arm
    assert first.test_log_loss != second.test_log_loss


def test_keys_of_networks_make_no_other_run(study: Study) -> None:
    idle = [
        "model.hidden_size=99", "model.num_layers=3", "model.bidirectional=true", "model.dropout=0.9", "model.heads=7",
        "model.pooling=last", "model.kernel=step", "model.match=parameters", "model.output=softmax",
        "training.epochs=9", "training.batch_size=64", "training.learning_rate=0.5", "training.optimizer=sgd",
        "training.max_seconds=1", "embedding.dimension=99", "embedding.trainable=false", "embedding=glove",
        "hardware.precision=bf16", "hardware=ddp", "hardware.devices=1",
    ]  # fmt: skip
    plain = resolve(compose(study.overrides("model=linear")))
    for key in idle:
        more = [key] if key != "embedding=glove" else [key, "embedding.dimension=null"]
        other = resolve(compose(study.overrides("model=linear", *more)))
        assert other.run_id == plain.run_id, key
        assert other.config.training == plain.config.training, key
        assert other.vectors is None
    for key in ("model.ngrams=1", "model.minimum_texts=3", "model.inverse_regularisation=[1]", "data.max_length=9",
                "data.vocabulary_size=30", "seed=3"):  # fmt: skip
        assert resolve(compose(study.overrides("model=linear", key))).run_id != plain.run_id, key


def test_its_own_keys_name_no_other_model_anew(study: Study) -> None:
    for model in ("gru", "bag", "attention"):
        runs = [
            resolve(compose(study.overrides(f"model={model}", *more)))
            for more in ((), ("model.ngrams=3", "model.minimum_texts=5", "model.inverse_regularisation=[7]"))
        ]
        assert len({(one.run_id, one.pair_key, one.arm) for one in runs}) == 1
        assert runs[0].config == runs[1].config


def test_it_pairs_with_cells_on_the_same_texts(study: Study) -> None:
    def key(*more: str) -> str:
        return resolve(compose(study.overrides(*more))).pair_key

    for shared in ((), ("training.epochs=7",), ("model.pooling=last", "embedding.dimension=5")):
        cell = key("model=gru", *shared)
        assert cell == key("model=linear", *shared) == key("model=linear", "model.ngrams=1", *shared)
    assert key("model=linear", "data.max_length=9") != key("model=gru")


def test_a_record_leads_back_to_its_run(study: Study) -> None:
    record = run(study, "model.inverse_regularisation=[0.5,2]", "model.ngrams=3")
    config = config_of(record)
    assert config.model.inverse_regularisation == [0.5, 2.0]
    assert resolve(config).run_id == record.run_id
    before, after = describe_run(resolve(config)), describe_record(record)
    assert replace(before, config={}) == replace(after, config={})
    assert after.tags == ("linear", "local")


def test_a_finished_run_is_not_repeated(study: Study) -> None:
    first, second = run(study), run(study, "model.hidden_size=64", "training.epochs=2")
    assert first == second


def test_progress_and_the_closing_table_speak_of_strengths(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(study, "model.inverse_regularisation=[1,30]")
    shown = capsys.readouterr().out
    assert "n-grams of up to 2 tokens" in shown
    assert "strength 2/2  validation accuracy" in shown
    assert f"(best inverse regularisation: {record.inverse_regularisation:g})" in shown
    assert not {"epoch", "unknown", "None", "tokens/s"} & set(shown.replace(",", " ").split())


def test_empty_texts_are_texts(study: Study) -> None:
    rows = [("goal striker", "sport"), ("<br />", "money"), ("bank bond", "money"), ("...", "sport")] * 5
    for split in ("train", "dev", "test"):
        write(study, split, rows)
    record = run(study, "data.strip_html=true")
    assert record.status is Status.FINISHED
    assert record.test_accuracy == 1.0


def test_a_test_text_of_unseen_words_gets_an_answer(study: Study) -> None:
    write(study, "train", [("goal striker", "sport"), ("bank bond", "money")] * 9 + [("goal", "sport")] * 9)
    write(study, "dev", [("goal", "sport"), ("bank", "money")])
    write(study, "test", [("guitar chorus", "sport"), ("<br />", "money")])
    kept = pq.read_table(folder_of(study, run(study, "data.strip_html=true")) / "predictions.parquet").to_pydict()
    assert kept["probabilities"][0] == kept["probabilities"][1]
    assert kept["predicted"] == ["sport", "sport"]  # the more frequent class


def test_one_class_in_the_training_part_is_one_line(study: Study) -> None:
    write(study, "train", [("goal striker", "sport")] * 9)
    with pytest.raises(UserError, match=r"train\.jsonl holds one class only \('sport'\)"):
        run(study)
    assert study.records() == []


def test_no_word_that_is_frequent_enough_is_one_line(study: Study) -> None:
    with pytest.raises(UserError, match=r"model\.minimum_texts=1000: no word stands in so many of the 90 training"):
        run(study, "model.minimum_texts=1000")


def test_other_tasks_than_classification_are_refused_in_one_line(study: Study) -> None:
    with pytest.raises(UserError, match=r"model=linear labels whole texts, and data=pos is for tagging: choose"):
        compose(["model=linear", "data=pos"])


class Impatient(Logger):
    """A tracker that ends the run when the first strength has been tried."""

    name, version, loggers = "impatient", "1", property(lambda self: [self])

    def log_hyperparams(self, *arguments: object, **more: object) -> None:
        """Nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        signal.raise_signal(signal.SIGTERM)

    def finish(self, record: RunRecord) -> None:
        """Nothing."""


def test_a_solver_that_breaks_off_leaves_a_record_and_the_next_run_begins_afresh(study: Study) -> None:
    resolved, store = resolve(compose(study.overrides("model=linear"))), Store(study.results)
    store.prepare()
    with claim(store, resolved.run_id) as claimed:
        record = execute(resolved, store, claimed, lambda _: Impatient())  # type: ignore[arg-type, return-value]
    assert record.status is Status.INTERRUPTED
    assert record.test_accuracy is None
    assert record.train_seconds is not None
    assert record.parameters_total is not None
    again = run(study)
    assert again.status is Status.FINISHED
    assert (again.run_id, again.resumed_from) == (record.run_id, None)
