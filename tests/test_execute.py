"""One run from configuration to record, in this process: what is written, and how runs end."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

import bench
from bench.compose import compose
from bench.errors import UserError
from bench.runs.claim import claim
from bench.runs.execute import execute
from bench.runs.failure import describe_failure
from bench.runs.identity import resolve
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from tests.conftest import Study


def folder_of(study: Study, record: RunRecord) -> Path:
    return Store(study.results).folder(record.run_id, record.execution_id)


def predictions(study: Study, record: RunRecord) -> dict[str, list[object]]:
    return pq.read_table(folder_of(study, record) / "predictions.parquet").to_pydict()  # type: ignore[no-any-return]


# Fields that a run on a CPU, with a test split and random vectors, at a first execution, leaves empty.
ABSENT = {
    "sweep_name", "error_type", "error_message", "data_revision", "embedding_fingerprint", "embedding_coverage_types",
    "embedding_coverage_tokens", "gpu_model", "gpu_driver", "dirty_hash", "commit", "seconds_to_target",
    "epochs_to_target", "resumed_from", "resumed_epochs", "embedding_origin", "embedding_words_exact",
    "embedding_words_other_case", "embedding_words_subwords", "embedding_words_drawn", "peak_gpu_memory_bytes",
    "peak_gpu_memory_reserved_bytes", "timing_disturbed", "inverse_regularisation", "test_mean_squared_error",
    "test_solved_fraction",
    "test_tokens", "validation_mean_squared_error",
}  # fmt: skip


def test_a_finished_run_leaves_a_complete_record(study: Study) -> None:
    record = bench.run(study.overrides("data.target_accuracy=0.4"))
    assert record.status is Status.FINISHED
    empty = {name for name, value in vars(record).items() if value is None}
    assert empty <= ABSENT
    assert record.seconds_to_target is not None
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.8
    assert record.samples_per_second is not None
    assert record.samples_per_second > 1
    assert record.padding_fraction is not None
    assert 0 <= record.padding_fraction < 0.5
    assert record.config["model.cell"] == "gru"
    assert RunRecord.from_json((folder_of(study, record) / "record.json").read_text()) == record


def test_curve_and_predictions_agree_with_the_record(study: Study) -> None:
    record = bench.run(study.overrides("training.log_every_steps=5"))
    curve = pq.read_table(folder_of(study, record) / "curve.parquet").to_pandas()
    evaluations = curve[curve.split == "validation"]
    assert list(evaluations.epoch) == [1, 2, 3]
    assert evaluations.accuracy.max() == pytest.approx(record.validation_accuracy)
    assert (curve[curve.split == "train"].step % 5 == 0).all()
    assert curve.train_seconds.is_monotonic_increasing
    kept = predictions(study, record)
    assert len(kept["id"]) == record.test_texts == 30
    hits = [label == predicted for label, predicted in zip(kept["label"], kept["predicted"], strict=True)]
    assert np.mean(hits) == pytest.approx(record.test_accuracy)
    true = [list(row).index(max(row)) for row in kept["probabilities"]]  # type: ignore[call-overload]
    assert [sorted({"sport", "money", "music"})[k] for k in true] == kept["predicted"]
    confusion = np.array(record.test_confusion)
    assert confusion.trace() / confusion.sum() == pytest.approx(record.test_accuracy)


def test_one_seed_on_one_cpu_is_bit_equal(study: Study) -> None:
    options = study.overrides("model.dropout=0.4", "model.bidirectional=true", "keep=best")
    first = bench.run(options)
    bench.run(study.overrides("seed=9"))  # something else in between: nothing may depend on what ran before
    second = bench.run([*options, "force=true"])
    assert first.execution_id != second.execution_id
    assert first.run_id == second.run_id
    assert predictions(study, first) == predictions(study, second)
    for name, weights in load_file(folder_of(study, first) / "weights.safetensors").items():
        np.testing.assert_array_equal(weights, load_file(folder_of(study, second) / "weights.safetensors")[name])


def test_another_seed_is_another_run_of_the_same_arm(study: Study) -> None:
    first, second = (resolve(compose(study.overrides(f"seed={seed}"))) for seed in (0, 1))
    assert first.arm == second.arm
    assert first.run_id != second.run_id
    assert first.pair_key != second.pair_key


def test_cells_pair_by_seed_and_other_settings_do_not(study: Study) -> None:
    def pair_key(*more: str) -> str:
        return resolve(compose(study.overrides(*more))).pair_key

    assert pair_key("model=gru") == pair_key("model=lstm") == pair_key("model=lstm", "model.forget_bias=0.5")
    for other in ("model.pooling=last", "training.epochs=4", "data.max_length=9", "embedding.dimension=9",
                  "model.hidden_size=13", "model.match=parameters"):  # fmt: skip
        assert pair_key(other) != pair_key("model=gru")


def test_identity_forgets_where_and_how_a_run_is_written_down(study: Study, tmp_path: Path) -> None:
    plain = resolve(compose(study.overrides()))
    moved = tmp_path / "elsewhere"
    study.data.rename(moved)
    elsewhere = resolve(
        compose(study.overrides(f"data.path={moved}", "keep=all", "hardware.threads=2", f"results={tmp_path}/other"))
    )
    assert elsewhere.run_id == plain.run_id


def test_a_finished_run_is_not_repeated(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    first = bench.run(study.overrides())
    assert bench.run(study.overrides()) == first
    assert "is finished already" in capsys.readouterr().out
    assert len(bench.records(study.results)) == 1


def test_weights_are_kept_as_asked(study: Study) -> None:
    def kept(*more: str) -> set[str]:
        record = bench.run(study.overrides(*more))
        return {path.name for path in folder_of(study, record).glob("*.safetensors")}

    assert kept() == {"weights.safetensors"}
    assert kept("keep=all", "seed=1") == {"weights.safetensors", "weights_last.safetensors"}
    assert kept("keep=none", "seed=2") == set()
    assert kept("sweep.member=true", "seed=3") == set()


def test_a_loss_that_is_no_number_ends_as_diverged_with_advice(study: Study) -> None:
    record = bench.run(
        study.overrides("training.learning_rate=1e38", "training.optimizer=sgd", "training.gradient_clip=null")
    )
    assert record.status is Status.DIVERGED
    assert "try training.learning_rate=" in str(record.error_message)
    assert record.test_accuracy is None
    assert record.parameters_total is not None
    assert (folder_of(study, record) / "record.json").is_file()


def test_an_interrupted_run_leaves_a_record(study: Study) -> None:
    resolved = resolve(compose(study.overrides("training.epochs=500", "training.patience=null")))
    store = Store(study.results)
    store.prepare()

    def interrupt() -> None:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with claim(store, resolved.run_id) as claimed:
        record = execute(resolved, store, claimed)
    assert record.status is Status.INTERRUPTED
    assert record.error_message == "stopped by SIGINT"
    assert record.steps
    assert store.finished(resolved.run_id) is None
    assert store.read(record.run_id, record.execution_id) == record


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce limits on memory")
def test_a_run_that_is_too_large_fails_with_advice_and_a_record(study: Study) -> None:
    limit = 3 * 2**30  # bytes; one weight of this network takes 10.8 GB
    done = subprocess.run(
        [sys.executable, "-m", "bench", *study.overrides("model.hidden_size=30000")],
        cwd=study.folder, capture_output=True, text=True, timeout=240, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (path,) = study.results.rglob("record.json")
    record = RunRecord.from_json(path.read_text())
    assert (record.status, record.error_type) == (Status.FAILED, "OutOfMemory")
    assert str(record.error_message).startswith("memory ran out: ")
    assert str(record.error_message).endswith("try a smaller training.batch_size or data.max_length")


def _raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        _raised(ValueError("no batch"), MemoryError()),
    ],
)
def test_memory_that_runs_out_is_told_from_other_errors(error: BaseException) -> None:
    recipe = compose([]).training
    found = describe_failure(_raised(error, error.__cause__), recipe)
    assert (found["status"], found["error_type"]) == (Status.FAILED, "OutOfMemory")
    other = describe_failure(_raised(RuntimeError("shapes do not match")), recipe)
    assert other["error_type"] == "RuntimeError"


def test_training_time_can_be_limited(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=1000", "training.patience=null", "training.max_seconds=0.5"))
    assert record.status is Status.FINISHED
    assert record.stop_reason == "max_seconds"
    assert record.train_seconds is not None
    assert 0.2 < record.train_seconds < 2.0


def test_patience_ends_a_run_that_gets_no_better(study: Study) -> None:
    record = bench.run(study.overrides("training.epochs=60", "training.patience=2"))
    assert record.stop_reason == "patience"
    assert record.epochs_run == record.best_epoch + 2  # type: ignore[operator]


def test_without_a_dev_split_a_stratified_tenth_validates(study: Study) -> None:
    (study.data / "dev.jsonl").unlink()
    record = bench.run(study.overrides())
    assert (record.train_texts, record.validation_texts, record.test_texts) == (81, 9, 30)


def test_without_a_test_split_validation_alone_is_reported(study: Study) -> None:
    (study.data / "test.jsonl").unlink()
    record = bench.run(study.overrides())
    assert record.status is Status.FINISHED
    assert record.test_accuracy is None
    assert record.validation_accuracy is not None
    assert len(predictions(study, record)["id"]) == 30  # the dev split


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "attention"])
def test_every_cell_and_pooling_trains(study: Study, cell: str, pooling: str) -> None:
    record = bench.run(study.overrides(f"model={cell}", f"model.pooling={pooling}", "model.num_layers=2"))
    assert record.status is Status.FINISHED
    assert record.kernel_operators


def test_two_classes_train_with_one_logit(study: Study) -> None:
    for split in ("train", "dev", "test"):
        path = study.data / f"{split}.jsonl"
        rows = [line for line in path.read_text().splitlines() if json.loads(line)["label"] != "music"]
        path.write_text("\n".join(rows) + "\n")
    record = bench.run(study.overrides("model.output=sigmoid"))
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.8
    with pytest.raises(UserError, match="two classes"):
        bench.run(study.overrides("model.output=sigmoid", "data=bbc_news", "data.path=null"))


def test_glove_vectors_and_their_coverage_reach_the_record(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text(
        "".join(f"{word} {' '.join(map(str, range(k, k + 6)))}\n" for k, word in enumerate(["the", "goal"]))
    )
    record = bench.run(
        study.overrides("embedding=glove", f"embedding.path={path}", "embedding.dimension=null",
                        "embedding.trainable=false")
    )  # fmt: skip
    assert record.embedding_dimension == 6
    assert record.embedding_coverage_types is not None
    assert 0 < record.embedding_coverage_types < 0.2
    assert record.parameters_trainable is not None
    assert record.parameters_total is not None
    assert record.parameters_total - record.parameters_trainable == 6 * (record.vocabulary_words + 2)  # type: ignore[operator]


def test_every_optimiser_and_schedule_trains(study: Study) -> None:
    for optimizer, schedule in (("adam", "cosine"), ("adamw", "linear"), ("sgd", "constant")):
        record = bench.run(
            study.overrides(f"training.optimizer={optimizer}", f"training.schedule={schedule}",
                            "training.warmup_fraction=0.2", "training.weight_decay=0.001")
        )  # fmt: skip
        assert record.status is Status.FINISHED
        assert math.isfinite(record.test_log_loss or math.nan)


def test_nothing_private_is_written(study: Study) -> None:
    record = bench.run(study.overrides(f"data.path={study.data}"))
    home, text = str(Path.home()), record.to_json()
    if home not in ("/", ""):
        assert home not in text
    for secret in (os.uname().nodename, *[value for name, value in os.environ.items() if "KEY" in name and value]):
        assert secret not in text


def test_a_run_leaves_the_callers_torch_as_it_was(study: Study) -> None:
    before = torch.get_num_threads(), torch.random.get_rng_state()
    bench.run(study.overrides())
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert float(torch.tensor(1e-40) * 1) != 0, "denormal numbers are still flushed"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import bench, sys; print([m for m in ('torch', 'wandb', 'hydra', 'pandas', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
