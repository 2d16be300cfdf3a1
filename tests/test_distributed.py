"""Two processes train one model: no text repeated or lost, exact metrics, one record."""

from __future__ import annotations

import json

import pytest

import bench
from tests.conftest import Study


def test_two_processes_train_one_model_and_write_one_record(study: Study) -> None:
    alone = bench.run(study.overrides("model.dropout=0", "training.batch_size=9"))
    done = study.command(
        *study.overrides("model.dropout=0", "training.batch_size=9", "hardware=ddp", "hardware.accelerator=cpu",
                         "force=true", f"results={study.folder}/two")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = (study.folder / "two").glob("runs/*/*/record.json")
    together = json.loads(path.read_text())
    assert together["run_id"] == alone.run_id
    assert together["devices"] == 2
    assert together["steps"] == alone.steps
    assert together["test_confusion"] == alone.test_confusion
    # The same global batches give the same gradients up to the order of additions.
    assert together["test_log_loss"] == pytest.approx(alone.test_log_loss, abs=1e-4)
    assert sum(map(sum, together["test_confusion"])) == 30


def test_members_of_a_sweep_may_be_distributed_themselves(study: Study) -> None:
    done = study.command(
        "-m", *study.overrides("model=gru,lstm", "hardware=ddp", "hardware.accelerator=cpu", "training.epochs=1")
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in study.results.glob("runs/*/*/record.json")]
    assert sorted(record["model.cell"] for record in found) == ["gru", "lstm"]
    assert {(record["devices"], sum(map(sum, record["test_confusion"]))) for record in found} == {(2, 30)}
