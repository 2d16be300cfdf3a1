"""Lengths of texts and of training: test texts may be read further than training texts, training may end once it is
accurate enough, and neither key, nor a window that cuts nothing, changes the name of a run that it cannot change."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

import bench
from bench.compose import compose
from bench.data.module import PreparedData, prepare
from bench.data.sources import open_corpus
from bench.errors import UserError
from bench.runs.identity import resolve
from bench.runs.record import Status
from bench.runs.store import CURVE, PREDICTIONS, Store
from tests.conftest import Study
from tests.tagged_corpus import TAGGED, write_tagged

SHORT = ("data.max_length=6", "data.test_max_length=12")


def prepared(study: Study, *more: str) -> PreparedData:
    data = compose(study.overrides(*more)).data
    return prepare(open_corpus(data), data, seed=0)


def run_id(overrides: list[str]) -> str:
    return resolve(compose(overrides)).run_id


# -- data.test_max_length ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("splits", [("train", "dev", "test"), ("train", "test")])
def test_test_texts_are_read_further_and_all_others_are_cut_as_before(study: Study, splits: tuple[str, ...]) -> None:
    for path in study.data.glob("*.jsonl"):
        path.unlink()
    study.write_corpus(splits=splits)
    data, before = prepared(study, *SHORT), prepared(study, "data.max_length=6")
    assert data.train.lengths.tolist() == before.train.lengths.tolist()
    assert data.validation.lengths.tolist() == before.validation.lengths.tolist()
    assert data.train.lengths.max() == data.validation.lengths.max() == 6
    assert data.vocabulary.words == before.vocabulary.words
    assert data.test is not None
    assert before.test is not None
    assert before.test.lengths.max() == 6
    whole = prepared(study, "data.max_length=1000").test
    assert whole is not None
    assert whole.lengths.max() > 12
    assert data.test.lengths.tolist() == np.minimum(whole.lengths, 12).tolist()


@pytest.mark.parametrize("truncation", ["head", "tail", "both"])
def test_which_tokens_of_a_test_text_are_kept_is_said_by_truncation(study: Study, truncation: str) -> None:
    cut = f"data.truncation={truncation}"
    short, long = (prepared(study, *keys, cut).test for keys in (SHORT, ("data.max_length=12",)))
    assert short is not None
    assert long is not None
    tokens, lengths = short.padded(np.arange(len(short)))
    expected = long.padded(np.arange(len(long)))
    assert tokens.tolist() == expected[0].tolist()
    assert lengths.tolist() == expected[1].tolist()
    assert lengths.max() == 12


def test_it_names_another_run_only_where_it_reads_something_else(study: Study) -> None:
    base = study.overrides("data.max_length=10")
    plain = resolve(compose(base))
    for idle in ("data.test_max_length=null", "data.test_max_length=10"):
        same = resolve(compose([*base, idle]))
        assert (same.run_id, same.pair_key, same.arm) == (plain.run_id, plain.pair_key, plain.arm)
        assert same.config.data.test_max_length is None
    other = resolve(compose([*base, "data.test_max_length=12"]))
    assert other.run_id != plain.run_id
    assert other.pair_key != plain.pair_key
    (study.data / "test.jsonl").unlink()
    assert run_id(base) == run_id([*base, "data.test_max_length=12"]), "without a test split there is nothing to read"


def test_words_that_are_tagged_are_judged_whole_whatever_it_says(study: Study) -> None:
    write_tagged(study)
    base = [*study.overrides(*TAGGED), "data.max_length=3"]
    assert run_id(base) == run_id([*base, "data.test_max_length=5"])


def test_generated_texts_are_refused_rather_than_cut(study: Study) -> None:
    base = ["data=parity", "data.size=40", "data.length=20", "recipe=probe", f"results={study.results}"]
    assert run_id(base) == run_id([*base, "data.test_max_length=50"]), "all texts are shorter"
    with pytest.raises(UserError, match=r"^data.test_max_length=30 cuts texts of data.test_length=40, .*=40$"):
        resolve(compose([*base, "data.test_length=40", "data.test_max_length=30"]))
    with pytest.raises(UserError, match=r"^data.max_length=20 cuts texts of data.test_length=40"):
        resolve(compose([*base, "data.test_length=40", "data.max_length=20"]))
    further = resolve(compose([*base, "data.test_length=40", "data.max_length=20", "data.test_max_length=40"]))
    assert further.config.data.test_max_length == 40, "the record's configuration can be composed again"


@pytest.mark.parametrize("model", ["gru", "attention", "linear"])
def test_a_run_trained_on_short_texts_is_tested_on_long_ones(study: Study, model: str) -> None:
    record = bench.run(study.overrides(f"model={model}", *SHORT, "training.epochs=1"))
    assert record.status is Status.FINISHED, record.error_message
    assert record.config["data.test_max_length"] == 12
    kept = pq.read_table(Store(study.results).folder(record.run_id, record.execution_id) / PREDICTIONS).to_pydict()
    assert max(kept["length"]) == 12
    assert record.truncated_fraction is not None
    assert record.truncated_fraction > 0


# -- training.stop_at_accuracy -------------------------------------------------------------------------------------


def test_training_ends_with_the_first_epoch_that_is_accurate_enough(study: Study) -> None:
    keys = ("training.epochs=30", "training.patience=null")
    record = bench.run(study.overrides(*keys, "training.stop_at_accuracy=0.6"))
    assert record.stop_reason == "accuracy"
    assert record.epochs_run is not None
    assert record.epochs_run < 30
    curve = pq.read_table(Store(study.results).folder(record.run_id, record.execution_id) / CURVE).to_pylist()
    curve = [row["accuracy"] for row in curve if row["split"] == "validation"]
    assert len(curve) == record.epochs_run
    assert curve[-1] >= 0.6
    assert all(accuracy < 0.6 for accuracy in curve[:-1])
    assert record.best_epoch == record.epochs_run


def test_training_that_never_gets_there_takes_all_its_epochs(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=2", "training.learning_rate=1e-6",
                                       "training.stop_at_accuracy=0.999"))  # fmt: skip
    assert (record.stop_reason, record.epochs_run) == ("epochs", 2)


def test_only_a_run_that_sets_it_has_another_name(study: Study) -> None:
    base = study.overrides()
    assert run_id(base) == run_id([*base, "training.stop_at_accuracy=null"])
    assert run_id(base) != run_id([*base, "training.stop_at_accuracy=0.9"])


# -- training.tbptt ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["parity", "adding", "copy"])
def test_a_window_longer_than_generated_texts_is_no_window(data: str) -> None:
    base = [f"data={data}", "data.length=30", "data.size=40", "recipe=probe"]
    whole = run_id(base)
    assert run_id([*base, "training.tbptt=30"]) == run_id([*base, "training.tbptt=5000"]) == whole
    assert run_id([*base, "training.tbptt=29"]) != whole
    assert run_id([*base, "data.test_length=90", "training.tbptt=30"]) == run_id([*base, "data.test_length=90"]), (
        "test texts send no gradient back"
    )


def test_characters_of_a_generated_text_are_more_than_its_words() -> None:
    base = ["data=parity", "data.length=30", "data.size=40", "recipe=probe", "data.tokens=char"]
    assert run_id([*base, "training.tbptt=40"]) != run_id(base)
