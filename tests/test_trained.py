"""A finished run, loaded: it reads texts as training did, and answers as it did when it was evaluated."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

import bench
from bench.compose import compose
from bench.data.module import prepare
from bench.data.sources import open_corpus
from bench.errors import UserError
from bench.runs.record import RunRecord, Status
from bench.runs.store import PREDICTIONS, WEIGHTS, Store
from bench.runs.trained import TrainedRun
from bench.verbs.reproduce import reproduce
from tests.conftest import Study

# As texts come: capitals, markup, contractions, another script, decomposed accents, much longer than what is kept.
DISGUISES = (
    "{}", "<br />THE {}", "it wasn't {} <i>", "не плохо, ещё раз: {} cafe\N{COMBINING ACUTE ACCENT}", "{0} {0} {0}",
)  # fmt: skip
WAYS = {
    "last state": ["model.pooling=last"],
    "mean": ["model.pooling=mean"],
    "max": ["model.pooling=max"],
    "attention pooling": ["model.pooling=attention"],
    "both directions, two layers, last state": [
        "model=lstm", "model.bidirectional=true", "model.num_layers=2", "model.pooling=last",
    ],
    "hand-written recurrence": ["model=rnn", "model.kernel=step", "model.bidirectional=true"],
    "characters": ["data.tokens=char", "data.max_length=60"],
    "cut at the end": ["data.max_length=6"],
    "cut at the start": ["data.max_length=6", "data.truncation=tail"],
    "cut in the middle": ["data.max_length=7", "data.truncation=both"],
    "test texts read further": ["data.max_length=6", "data.test_max_length=12"],
    "capitals, markup taken out": ["data.lowercase=false", "data.strip_html=true", "data.unicode_form=NFKC"],
    "few words": ["data.vocabulary_size=12"],
    "equal parameters": ["model.match=parameters"],
    "bag": ["model=bag"],
    "attention": ["model=attention"],
    "linear": ["model=linear"],
    "linear, few words, longer n-grams": ["model=linear", "model.ngrams=3", "data.vocabulary_size=12"],
    "half precision": ["hardware.precision=bf16"],
}  # fmt: skip


def disguise(study: Study, labels: tuple[str, ...] = ("money", "music", "sport")) -> None:
    """Rewrite the corpus: every text in another manner, and only these classes."""
    for path in study.data.iterdir():
        rows = [row for row in map(json.loads, path.read_text().splitlines()) if row["label"] in labels]
        for number, row in enumerate(rows):
            row["text"] = DISGUISES[number % len(DISGUISES)].format(row["text"])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts_of_test(study: Study) -> list[str]:
    return [json.loads(line)["text"] for line in (study.data / "test.jsonl").read_text().splitlines()]


def loaded(study: Study, run: str) -> TrainedRun:
    return bench.load(run, study.results)


def assert_answers_as_evaluated(study: Study, record: RunRecord, trained: TrainedRun, within: float = 1e-6) -> None:
    """Answers to the texts of the test split are the recorded predictions, and these differ among themselves."""
    kept = pq.read_table(study.results / "runs" / record.run_id / record.execution_id / PREDICTIONS).to_pydict()
    answers = trained.predict(texts_of_test(study))
    found = np.array([[answer.probabilities[name] for name in trained.labels] for answer in answers])
    np.testing.assert_allclose(found, kept["probabilities"], rtol=0, atol=within)
    assert np.ptp(found, axis=0).max() > 0.01
    if within < 1e-3:
        assert [answer.label for answer in answers] == kept["predicted"]
    assert all(answer.probability == answer.probabilities[answer.label] == max(answer.probabilities.values())
               for answer in answers)  # fmt: skip
    assert trained.encode(texts_of_test(study)).lengths.tolist() == kept["length"]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_answers_are_those_of_the_evaluation(way: list[str], study: Study) -> None:
    disguise(study)
    overrides = study.overrides(*way)
    record = bench.run(overrides)
    trained = loaded(study, record.run_id)
    assert_answers_as_evaluated(study, record, trained, within=5e-3 if "hardware.precision=bf16" in way else 1e-6)
    config = compose(overrides)
    test = prepare(open_corpus(config.data), config.data, config.seed).test
    assert test is not None
    tokens, lengths = test.padded(np.arange(len(test)))
    encoded = trained.encode(texts_of_test(study))
    np.testing.assert_array_equal(encoded.tokens.numpy(), tokens)
    np.testing.assert_array_equal(encoded.lengths.numpy(), lengths)
    assert not trained.classifier.training


def test_one_logit_for_two_classes_answers_as_evaluated(study: Study) -> None:
    disguise(study, ("money", "sport"))
    record = bench.run(study.overrides("model.output=sigmoid"))
    trained = loaded(study, record.run_id)
    assert trained.labels == ["money", "sport"]
    assert_answers_as_evaluated(study, record, trained)


def test_the_company_of_a_text_changes_nothing(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides()).run_id)
    texts = [*texts_of_test(study), "", "goal " * 300]
    together, alone = trained.predict(texts), [trained.predict([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-6)
        assert one.unseen == other.unseen
    assert trained.predict([]) == []
    assert trained.encode([]).tokens.shape == (0, 0)


def test_more_texts_than_are_read_at_once_keep_their_order(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides()).run_id)
    topics = ["goal striker league", "bank shares profit", "album singer guitar"]
    expected = [answer.label for answer in trained.predict(topics)]
    assert sorted(expected) == ["money", "music", "sport"]
    texts = [topics[(number // 7) % 3] + " the" * (number % 11) for number in range(9000)]
    labels = [answer.label for answer in trained.predict(texts)]
    right = np.mean([label == expected[(number // 7) % 3] for number, label in enumerate(labels)])
    assert right > 0.95, "a text of topic words keeps its topic whatever fills it up"


def test_tokens_are_what_the_network_reads(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides("data.max_length=4", "data.truncation=both")).run_id)
    assert trained.tokens("The goal wasn't WON by the Team") == ["the", "goal", "the", "team"]
    assert trained.tokens("Goal") == ["goal"]
    assert trained.tokens("") == [""]
    rows = trained.encode(["The goal wasn't WON by the Team"]).tokens[0].tolist()
    assert rows == [trained.vocabulary[word] for word in ("the", "goal", "the", "team")]


def test_unseen_is_a_text_without_a_known_word_among_those_that_are_read(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides("data.max_length=3")).run_id)
    texts = ["", "   ", "zzz qqq", "zzz qqq goal", "zzz qqq xxx goal", "goal"]
    answers = trained.predict(texts)
    assert [answer.unseen for answer in answers] == [True, True, True, False, True, False]
    assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-6), "no token: one unknown word"
    assert sum(answers[0].probabilities.values()) == pytest.approx(1)


def test_shuffled_words_are_put_in_one_order_that_the_text_alone_decides(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides("data.shuffle_words=true")).run_id)
    text = "a b c d goal team bank album league coach"
    words = trained.tokens(text)
    assert sorted(words) == sorted(text.split())
    assert words != text.split()
    company = ["", text, "goal", text]
    answers = trained.predict(company)
    assert answers[1].probabilities == pytest.approx(answers[3].probabilities, abs=1e-6)


def test_one_text_in_the_place_of_many_is_a_mistake_of_the_caller(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides()).run_id)
    with pytest.raises(TypeError, match="a list of texts"):
        trained.predict("goal")
    with pytest.raises(TypeError, match="a list of texts"):
        trained.encode("goal")


def test_a_loaded_run_needs_its_corpus_no_more(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = bench.run(study.overrides("embedding.dimension=9"))
    texts = texts_of_test(study)
    before = loaded(study, record.run_id).predict(texts)
    study.data.rename(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trained = loaded(study, record.run_id)
    assert trained.predict(texts) == before
    assert trained.config.data.path == str(study.data)
    assert trained.record == record


def test_class_names_may_hold_commas_and_any_script(study: Study) -> None:
    names = {"money": "деньги, рынки", "music": 'a "b"', "sport": "sport"}
    for path in study.data.iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "label": names[row["label"]]}) + "\n" for row in rows))
    record = bench.run(study.overrides())
    assert sorted(loaded(study, record.run_id).labels) == sorted(names.values())


# -- which run ---------------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_the_beginning_of_its_id_or_as_the_latest(study: Study) -> None:
    first, second = (bench.run(study.overrides(f"seed={seed}")) for seed in (0, 1))
    bench.run(study.overrides("seed=2", "keep=none"))
    bench.run(study.overrides("seed=3", "training.learning_rate=1e38", "training.gradient_clip=null"))
    assert loaded(study, first.run_id[:7]).record == first
    assert bench.load(results=study.results).record == second


def test_what_cannot_be_loaded_is_said_in_one_line(study: Study) -> None:
    with pytest.raises(UserError, match="no runs in"):
        loaded(study, "abc")
    record = bench.run(study.overrides())
    with pytest.raises(UserError, match="no run 'xyz' in"):
        loaded(study, "xyz")
    with pytest.raises(UserError, match=r"device=warp cannot be used \(.+\): leave it out, or device=cpu"):
        bench.load(record.run_id, study.results, device="warp")
    diverged = bench.run(study.overrides("training.learning_rate=1e38", "training.gradient_clip=null"))
    assert diverged.status is Status.DIVERGED
    with pytest.raises(UserError, match=f"run {diverged.run_id} has not finished \\(diverged, .+another run") as caught:
        loaded(study, diverged.run_id)
    assert "\n" not in str(caught.value)


def test_a_run_without_weights_gets_them_by_the_command_that_is_named(study: Study) -> None:
    record = bench.run(study.overrides("keep=none"))
    with pytest.raises(UserError, match=r"no finished run in .+ kept its weights"):
        bench.load(results=study.results)
    with pytest.raises(UserError, match=f"run {record.run_id} kept no weights") as caught:
        loaded(study, record.run_id)
    command = shlex.split(str(caught.value).split("`")[1])
    assert command[:4] == ["python", "-m", "bench", "reproduce"]
    assert reproduce(command[4:]) == 0
    trained = loaded(study, record.run_id)
    assert trained.record.execution_id != record.execution_id
    assert_answers_as_evaluated(study, trained.record, trained)


def weights_of(study: Study, record: RunRecord) -> Path:
    return Store(study.results).folder(record.run_id, record.execution_id) / WEIGHTS


def without_vocabulary(path: Path) -> None:
    """Weights as versions before this one wrote them."""
    save_file(load_file(path), path)


def test_weights_of_earlier_versions_find_their_vocabulary_in_the_corpus(study: Study, tmp_path: Path) -> None:
    record = bench.run(study.overrides("data.vocabulary_size=20"))
    complete = loaded(study, record.run_id)
    without_vocabulary(weights_of(study, record))
    rebuilt = loaded(study, record.run_id)
    assert (rebuilt.vocabulary, rebuilt.labels) == (complete.vocabulary, complete.labels)
    assert_answers_as_evaluated(study, record, rebuilt)
    train = study.data / "train.jsonl"
    train.write_text(train.read_text().replace("league", "leagues"))
    with pytest.raises(UserError, match=r"whose weights came without vocabulary.+\(fingerprint"):
        loaded(study, record.run_id)
    study.data.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"whose weights came without vocabulary.+no such file") as caught:
        loaded(study, record.run_id)
    assert "\n" not in str(caught.value)


def test_a_model_without_states_is_not_looked_into(study: Study) -> None:
    trained = loaded(study, bench.run(study.overrides("model=linear")).run_id)
    with pytest.raises(UserError, match="is of model=linear, which has no states to look into"):
        _ = trained.network


def test_damaged_weights_are_said_to_be_damaged(study: Study) -> None:
    record = bench.run(study.overrides())
    path = weights_of(study, record)
    whole = path.read_bytes()
    for damage in (b"", b"nothing of the kind" * 9, whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"weights.safetensors cannot be read.+: delete it; ") as caught:
            loaded(study, record.run_id)
        assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(study: Study) -> None:
    record, other = (bench.run(study.overrides(f"model.hidden_size={size}")) for size in (12, 13))
    weights_of(study, record).write_bytes(weights_of(study, other).read_bytes())
    with pytest.raises(UserError, match="does not fit the run as this version of the program") as caught:
        loaded(study, record.run_id)
    assert "\n" not in str(caught.value)
