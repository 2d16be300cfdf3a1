"""What a record keeps of its predictions says the same as the predictions themselves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench
from bench.runs.digest import correct_texts, digest
from bench.runs.store import CURVE, PREDICTIONS, Store
from tests.conftest import Study


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), min_size=1, max_size=200))
def test_packed_bits_and_length_classes_hold_every_text_once(texts: list[tuple[bool, int]]) -> None:
    correct, lengths = (np.array(column) for column in zip(*texts, strict=True))
    packed = digest(correct, lengths)
    assert (correct_texts(packed.test_correct, len(texts)) == correct).all()
    shorter = 0
    for longest, count, right in packed.test_by_length:
        rows = (lengths > shorter) & (lengths <= longest)
        assert (count, right) == (rows.sum(), correct[rows].sum())
        shorter = longest
    assert sum(count for _, count, _ in packed.test_by_length) == len(texts)
    assert all(end in {8 * 2**power for power in range(20)} for end, _, _ in packed.test_by_length)


@pytest.mark.parametrize(("packed", "texts"), [("////", 40), ("////", 3), ("no base64!", 8)])
def test_bits_of_other_texts_are_refused(packed: str, texts: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        correct_texts(packed, texts)


def test_a_run_digests_its_own_predictions_and_curve(study: Study) -> None:
    record = bench.run(study.overrides())
    folder = Store(study.results).folder(record.run_id, record.execution_id)
    predictions = pd.read_parquet(folder / PREDICTIONS)
    right = (predictions.label == predictions.predicted).to_numpy()
    assert record.test_correct is not None
    assert record.test_texts is not None
    assert (correct_texts(record.test_correct, record.test_texts) == right).all()
    assert record.test_by_length == digest(right, predictions.length.to_numpy()).test_by_length
    curve = pd.read_parquet(folder / CURVE)
    evaluated = curve[curve.split == "validation"]
    assert record.validation_curve == evaluated[["train_seconds", "accuracy"]].to_numpy().tolist()
    row = bench.records(study.results).iloc[0]
    assert json.loads(row.validation_curve) == record.validation_curve
