"""The predictions of one split as a table: a row for each label, with the columns that its task has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from torch import Tensor

from bench.config import Task
from bench.data.batches import Texts
from bench.models.quality import Predictions


def predictions_table(task: Task, texts: Texts, predictions: Predictions, names: Sequence[str]) -> pa.Table:
    """texts: of the split;  names: of the classes.

    classification: id, label, predicted, probabilities (of all classes, in their order), length in tokens.
    tagging, a row for each token that is judged: id, position (from 0), label, predicted, probability (of the label),
    confidence (probability of what is predicted).
    regression: id, label, predicted, length in tokens.
    """
    return _TABLES[task](texts, predictions, names)


def _of_texts(texts: Texts, predictions: Predictions, names: Sequence[str]) -> pa.Table:
    return pa.table(
        {
            "id": _ids(texts, predictions.rows),
            "label": [names[label] for label in predictions.labels.tolist()],
            "predicted": [names[label] for label in predictions.answers.argmax(dim=1).tolist()],
            "probabilities": predictions.answers.tolist(),
            "length": texts.lengths[predictions.rows.numpy()],
        }
    )


def _of_tokens(texts: Texts, predictions: Predictions, names: Sequence[str]) -> pa.Table:
    confidence, predicted = predictions.answers.max(dim=1)
    probability = predictions.answers.gather(1, predictions.labels[:, None]).squeeze(1)
    return pa.table(
        {
            "id": pa.array(_ids(texts, predictions.rows)).dictionary_encode(),
            "position": predictions.positions.numpy().astype(np.int32),
            "label": _named(predictions.labels, names),
            "predicted": _named(predicted, names),
            "probability": probability.numpy(),
            "confidence": confidence.numpy(),
        }
    )


def _of_numbers(texts: Texts, predictions: Predictions, names: Sequence[str]) -> pa.Table:
    return pa.table(
        {
            "id": _ids(texts, predictions.rows),
            "label": predictions.labels.numpy(),
            "predicted": predictions.answers.numpy(),
            "length": texts.lengths[predictions.rows.numpy()],
        }
    )


_TABLES: Mapping[Task, Callable[[Texts, Predictions, Sequence[str]], pa.Table]] = {
    "classification": _of_texts,
    "tagging": _of_tokens,
    "regression": _of_numbers,
}


def _ids(texts: Texts, rows: Tensor) -> list[str]:
    return texts.names.take(rows.numpy())


def _named(classes: Tensor, names: Sequence[str]) -> pa.Array:
    """Names of classes, each of them stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(classes.numpy().astype(np.int32)), pa.array(names))
