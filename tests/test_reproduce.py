"""A run is repeated from its record alone, and what is said of it is what the numbers show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

import bench
from bench.analysis.repetition import QUALITY, Answer, compare
from bench.compose import compose
from bench.config import BenchConfig
from bench.errors import UserError
from bench.options import groups, options
from bench.runs.assemble import public_config
from bench.runs.identity import resolve
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import PREDICTIONS, RECORD, Store
from bench.verbs.reproduce import reproduce
from tests.conftest import Study
from tests.test_record import a_record


def edited(study: Study, record: RunRecord, **changes: Any) -> None:
    """Change fields of a record on disk."""
    path = Store(study.results).folder(record.run_id, record.execution_id) / RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def repeated(study: Study, record: RunRecord, *more: str) -> int:
    return reproduce([record.run_id[:6], f"results={study.results}", *more])


def executions(study: Study, record: RunRecord) -> list[RunRecord]:
    return Store(study.results).executions(record.run_id)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_run_on_one_cpu_is_bit_equal_and_becomes_one_more_execution(study: Study) -> None:
    record = bench.run(study.overrides("model=lstm", "model.bidirectional=true", "logger=csv", "keep=best"))
    done = study.command("reproduce", record.run_id[:5])
    assert done.returncode == 0, done.stderr
    closing = done.stdout.splitlines()[-1]
    assert closing.startswith("bit-equal: all 14 quality fields and every predicted probability are the same; training")
    assert "times as long" in closing
    first, second = executions(study, record)
    assert first == record
    assert second.test_log_loss == record.test_log_loss
    assert second.config["force"] is True
    assert second.sweep_name is None
    files = {path.name for path in Store(study.results).folder(second.run_id, second.execution_id).iterdir()}
    assert files == {"record.json", "predictions.parquet", "curve.parquet"}, "a check keeps no weights"
    assert len(list((study.results / "csv").rglob("metrics.csv"))) == 1, "a check writes to no tracker"


def test_one_different_probability_is_not_bit_equal(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    path = Store(study.results).folder(record.run_id, record.execution_id) / PREDICTIONS
    table = pq.read_table(path)
    rows = table["probabilities"].to_pylist()
    rows[7][0] += 1e-7
    pq.write_table(table.set_column(3, "probabilities", pa.array(rows)), path)
    assert repeated(study, record) == 0
    said = lines(capsys)
    assert "not equal predicted probabilities" in said
    assert said[-1].startswith("within seed noise: accuracy differs by +0.00 points")
    path.unlink()
    assert repeated(study, record) == 0
    assert lines(capsys)[-1].startswith("bit-equal: all 14 quality fields (no predictions were kept) are the same")


def test_seed_noise_is_the_prediction_interval_of_the_arms_other_seeds(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    record, *others = (
        bench.run(study.overrides(f"seed={seed}", "training.epochs=1", "model.hidden_size=3")) for seed in range(5)
    )
    bench.run(study.overrides("seed=7", "training.epochs=2"))  # another arm
    accuracies = [other.test_accuracy or 0 for other in others]
    noise = stats.t.ppf(0.975, 3) * stats.tstd(accuracies) * (1 + 1 / 4) ** 0.5
    assert noise > 0
    for share, answer, code in ((0.98, "within seed noise", 0), (1.02, "not reproduced", 1)):
        edited(study, record, test_accuracy=(record.test_accuracy or 0) + share * noise)
        assert repeated(study, record) == code
        closing = lines(capsys)[-1]
        assert closing.startswith(f"{answer}: accuracy differs by {-100 * share * noise:+.2f} points, ")
        assert f"seeds by up to {100 * noise:.2f} (95% prediction interval from 4 other seeds)" in closing


def test_with_few_seeds_the_size_of_the_test_set_speaks_and_says_so(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    bench.run(study.overrides("training.epochs=1", "seed=1"))
    true = record.test_accuracy or 0
    for recorded, code in ((true + 1 / 30, 0), (true + 0.6, 1)):
        edited(study, record, test_accuracy=recorded)
        assert repeated(study, record) == code
        middle = (true + recorded) / 2
        half = 100 * stats.norm.ppf(0.975) * (middle * (1 - middle) / 30) ** 0.5
        closing = lines(capsys)[-1]
        assert f"seeds by up to {half:.2f} (95% binomial interval of 30 texts, " in closing
        assert "only 1 other seed in the results folder" in closing


def test_other_texts_are_refused_before_anything_runs(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    train = study.data / "train.jsonl"
    train.write_text(train.read_text().replace("league", "leagues"))
    done = study.command("reproduce", record.run_id)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the data differ, fingerprint {record.data_fingerprint} recorded (folder), " in done.stderr
    assert len(executions(study, record)) == 1


def test_a_corpus_that_moved_is_found_where_it_is_said_to_be(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    moved = study.data.rename(study.folder / "elsewhere")
    with pytest.raises(UserError, match=r"no such file or folder; say where it is now: data\.path=PATH"):
        repeated(study, record)
    assert repeated(study, record, f"data.path={moved}") == 0
    assert lines(capsys)[-1].startswith("bit-equal")


def test_what_differs_is_said_in_a_line_each(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = study.folder / "vectors.txt"
    vectors.write_text("goal 0.1 0.2 0.3\nbank 0.3 0.1 -0.2\n")
    glove = ("embedding=glove", f"embedding.path={vectors}", "embedding.dimension=null", "training.epochs=1")
    record = bench.run([word for word in study.overrides(*glove) if not word.startswith("embedding.dimension")])
    edited(study, record, code_version="0" * 12, torch_version="1.0", commit="f" * 40, hardware_key="abacus")
    vectors.write_text("goal 0.1 0.2 0.3\nbank 0.3 0.1 -0.9\n")
    assert repeated(study, record) == 0
    said = lines(capsys)
    for start in (
        f"the word vectors differ: {record.embedding_fingerprint} recorded, ",
        f"the code differs: 000000000000 (commit ffffffffffff) recorded, {record.code_version} now: the answer is",
        f"torch differs: 1.0 recorded, {record.torch_version} now",
        f"the hardware differs: abacus recorded, {record.hardware_key} now",
    ):
        assert len([line for line in said if line.startswith(start)]) == 1, start
    assert "speeds are not compared: other hardware" in said[-1]
    assert said[-1].endswith(f"code {record.code_version} in place of 000000000000")


def test_an_edited_configuration_is_noticed(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    edited(study, record, **{"training.epochs": 2})
    repeated(study, record)
    (line,) = [line for line in lines(capsys) if "the record was edited" in line]
    assert line.startswith("the recorded settings name run ")


def test_a_diverged_run_ends_the_same_way(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = bench.run(
        study.overrides("training.learning_rate=1e38", "training.optimizer=sgd", "training.gradient_clip=null")
    )
    assert record.status is Status.DIVERGED
    assert repeated(study, record) == 0
    assert lines(capsys)[-1] == "ended the same way: both diverged (DivergedError)"


@pytest.mark.parametrize(("status", "error"), [("interrupted", "Interrupted"), ("failed", "RuntimeError")])
def test_a_run_that_ends_otherwise_is_not_reproduced(
    study: Study, capsys: pytest.CaptureFixture[str], status: str, error: str
) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    edited(study, record, status=status, error_type=error)
    assert repeated(study, record) == 1
    assert lines(capsys)[-1] == f"not reproduced: recorded: {status} ({error}), repeated: finished"


def test_as_many_threads_as_recorded_where_the_machine_has_them(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    edited(study, record, **{"hardware.threads": None, "hardware.accelerator": "auto"})
    repeated(study, record)
    assert executions(study, record)[-1].threads == 1
    assert "cores" not in "\n".join(lines(capsys))
    edited(study, record, threads=500)
    repeated(study, record, "hardware.devices=1")
    cores = executions(study, record)[-1].threads
    assert f"recorded with 500 threads, this machine has {cores} cores: " in "\n".join(lines(capsys))
    repeated(study, record, "hardware.threads=1")
    assert executions(study, record)[-1].threads == 1
    assert "cores" not in "\n".join(lines(capsys))


MISTAKES = {
    (): "reproduce: name one run, by its id or the beginning of it",
    ("a", "b"): "reproduce: name one run",
    ("a", "model=lstm"): "reproduce: model is taken from the record: choose one of: data.path, ",
    ("a", "reslts=x"): "did you mean 'results'?",
    ("a", "hardware=cpuu"): "unknown hardware 'cpuu': did you mean 'cpu'?",
    ("a", "data.path=/nowhere"): "data.path=/nowhere: no such file or folder",
    ("a", "results=nowhere"): "no runs in nowhere",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line(typed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        reproduce(typed)
    assert MISTAKES[typed] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_makes_it_another_run_is_refused(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=1"))
    with pytest.raises(UserError, match=r"hardware\.precision=32 is part of what the run is: leave it out"):
        repeated(study, record, "hardware.precision=bf16")
    edited(study, record, **{"model.gates": 5})
    with pytest.raises(UserError, match=r"a setting that this version does not know, model\.gates"):
        repeated(study, record)


def recorded(config: BenchConfig, **fields: object) -> RunRecord:
    """A record of this configuration, written and read again."""
    record = a_record(seed=config.seed, config=public_config(config), **fields)
    return RunRecord.from_json(record.to_json())


@pytest.mark.parametrize("group", [group for group in groups() if group != "protocol"])
def test_every_option_of_every_group_comes_back_from_its_record(group: str, tmp_path: Path) -> None:
    needs = {"local": [f"data.path={tmp_path}"]}
    for option in options(group):
        config = compose([f"{group}={option}", "seed=9", *needs.get(option, [])])
        assert config_of(recorded(config)) == config, f"{group}={option}"


def test_lists_mappings_and_the_home_folder_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = tmp_path / "my corpus"
    corpus.mkdir()
    config = compose(
        ["data=local", f"data.path='{corpus}'", "data.labels=[no,yes, maybe so]", "logger=[wandb,csv]",
         "data.hub_splits={train: 'a[:10%]', dev: 'b:c,d'}", "model=lstm", "model.forget_bias=1",
         "training.gradient_clip=null"]
    )  # fmt: skip
    record = recorded(config, classes=3)
    assert record.config["data.path"] == "~/my corpus"
    assert config_of(record) == config
    assert compose(["data=local", f"data.path='{corpus}'", "data.labels=[]"]) == config_of(
        recorded(compose(["data=local", f"data.path='{corpus}'", "data.labels=[]"]))
    )


def test_class_names_with_commas_are_refused_rather_than_guessed(tmp_path: Path) -> None:
    config = compose(["data=local", f"data.path={tmp_path}", "data.labels=['yes, please',no]"])
    with pytest.raises(UserError, match=r"a class name in data\.labels holds a comma"):
        config_of(recorded(config, classes=2))


def test_the_configuration_of_a_record_names_the_recorded_run(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=1", "model.match=parameters", "embedding.trainable=false"))
    assert resolve(config_of(record)).run_id == record.run_id


CHANGES: list[Callable[[RunRecord], dict[str, Any]]] = [
    lambda record: {"test_confusion": [[1]]},
    lambda record: {"test_log_loss": (record.test_log_loss or 0) + 1e-16},
    lambda record: {"test_correct": "AAAA"},
    lambda record: {"best_epoch": None},
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_quality_field_that_differs_is_not_bit_equal(change: Callable[[RunRecord], dict[str, Any]]) -> None:
    values = {"test_accuracy": 0.5, "test_log_loss": 0.1, "test_confusion": [[2]], "test_correct": "AAA=",
              "best_epoch": 2, "test_texts": 10}  # fmt: skip
    record = a_record(**values)
    assert compare(record, record, [], None).answer is Answer.BIT_EQUAL
    other = a_record(**{**values, **change(record)})
    found = compare(record, other, [], None)
    assert found.answer is Answer.WITHIN_NOISE
    assert set(found.unequal) == set(change(record))
    assert found.unequal[0] in QUALITY


def test_a_record_without_any_quality_is_never_called_bit_equal() -> None:
    assert compare(a_record(), a_record(), [], None).answer is Answer.NOT_REPRODUCED
