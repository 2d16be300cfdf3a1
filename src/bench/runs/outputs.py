"""What an execution leaves beside its record: learning curve, predictions, weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.runs.training import Fit
from bench.runs.weights import Learned, write_weights


def write_files(store: Store, record: RunRecord, fit: Fit | None) -> None:
    """Write what an execution leaves: curve, predictions and weights as far as it came, and the record."""
    if fit is None:
        store.write(record)
        return
    keep = fit.resolved.config.keep_weights
    best = fit.selection.weights if keep in ("best", "all") and fit.evaluation is not None else {}
    last = fit.last_weights if keep == "all" else {}
    store.write(
        record,
        curve=_curve_table(fit),
        predictions=_predictions_table(fit),
        weights=_weights_writer(best, fit),
        weights_last=_weights_writer(last, fit),
    )


def _weights_writer(weights: dict[str, Tensor], fit: Fit) -> Callable[[Path], object] | None:
    if not weights:
        return None
    learned = Learned(fit.data.vocabulary.words, fit.resolved.corpus.label_names)
    return lambda path: write_weights(path, weights, learned)


def _curve_table(fit: Fit) -> pa.Table | None:
    """A row per evaluation and per N steps, with the clock's reading at each where one machine took it."""
    if not fit.curve.rows:
        return None
    timing = None if fit.checkpoints.on_other_hardware else fit.timing
    seconds = [timing.seconds_after(row.step) if timing else None for row in fit.curve.rows]
    rows = [asdict(row) | {"train_seconds": second} for row, second in zip(fit.curve.rows, seconds, strict=True)]
    return pa.Table.from_pylist(rows)


def _predictions_table(fit: Fit) -> pa.Table | None:
    """A row per text of the test split (validation where there is none)."""
    if fit.evaluation is None:
        return None
    texts, predictions = fit.data.test or fit.data.validation, fit.evaluation.predictions
    names = fit.resolved.corpus.label_names
    predicted = predictions.probabilities.argmax(dim=1)
    return pa.table(
        {
            "id": [texts.names[row] for row in predictions.rows.tolist()],
            "label": [names[label] for label in predictions.labels.tolist()],
            "predicted": [names[label] for label in predicted.tolist()],
            "probabilities": predictions.probabilities.tolist(),
            "length": texts.lengths[predictions.rows.numpy()],
        }
    )
