"""Keras 3 as its documentation teaches it: `Sequential`, `compile`, `fit` over a `tf.data` or an in-memory data set.

usage (by the driver): KERAS_BACKEND=tensorflow|jax python -m peers.keras_fit fixed|masked|bucketed auto|jit

fixed: texts padded at their beginning to one length, as `pad_sequences` does by itself, and no mask. masked: padded at
their end, `mask_zero=True`; with TensorFlow to the longest of each batch (`padded_batch`), with JAX to one length,
because every other length would be compiled anew. bucketed: masked, in the batches that the program itself makes.
auto, jit: `jit_compile="auto"`, which decides against XLA for GRU and LSTM on TensorFlow and for it on JAX; or true.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from peers.protocol import serve
from peers.work import Ready, Texts, Turn, Work


def prepare(work: Work) -> tuple[Ready, Callable[[], Turn]]:
    """Build, compile, and load the data. Keras is imported here, when the threads are known."""
    way, compilation = sys.argv[1:3]
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(work.threads)
        tf.config.threading.set_inter_op_parallelism_threads(work.threads)
    import keras

    keras.utils.set_random_seed(work.seed)
    layer = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[work.cell]
    model = keras.Sequential([
        keras.layers.Embedding(work.rows, work.embedding, mask_zero=way != "fixed"),
        layer(work.hidden),
        keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile(
        optimizer=keras.optimizers.Adam(work.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=True if compilation == "jit" else "auto",
    )
    texts = Texts.load(work.folder)
    data = (as_dataset if keras.backend.backend() == "tensorflow" else as_arrays)(texts, work, way)

    def train() -> Turn:
        clock = EpochClock()
        data.fit(model, keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: clock.start()))
        for weight in model.trainable_variables:
            np.asarray(weight)  # what a device still computes is waited for
        return Turn(clock.stop(), len(texts.labels), int(texts.lengths.sum()), data.padded_tokens)

    model.build((work.batch, work.max_length))
    return Ready(model.count_params(), versions(), work.threads), train


class EpochClock:
    """From the start of an epoch, when `fit` has set itself up, until its result is there."""

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> float:
        return time.perf_counter() - self.began


@dataclass(frozen=True)
class Data:
    """fit: one pass of a model, with a callback;  padded_tokens: all tokens of such a pass, counted in one of them."""

    fit: Callable[[Any, Any], object]
    padded_tokens: int


def pad(texts: Texts, work: Work, way: str) -> np.ndarray:
    """(texts, max_length) int32, padded at the beginning without a mask, else at the end."""
    import keras

    side = "pre" if way == "fixed" else "post"
    padded: np.ndarray = keras.utils.pad_sequences(texts.tokens, work.max_length, padding=side)
    return padded


def as_arrays(texts: Texts, work: Work, way: str) -> Data:
    """Arrays in memory, which `fit` shuffles by itself."""
    inputs, labels = pad(texts, work, way), texts.labels.astype(np.float32)[:, None]

    def fit(model: Any, callback: Any) -> None:
        model.fit(inputs, labels, batch_size=work.batch, epochs=1, verbose=0, callbacks=[callback])

    return Data(fit, inputs.size)


def as_dataset(texts: Texts, work: Work, way: str) -> Data:
    """A `tf.data` pipeline: shuffle, batch, prefetch; batches sorted by length come from a generator."""
    import tensorflow as tf

    labels = texts.labels.astype(np.float32)[:, None]
    if way == "fixed":
        data = tf.data.Dataset.from_tensor_slices((pad(texts, work, way), labels)).shuffle(len(labels))
        data = data.batch(work.batch)
    elif way == "masked":
        data = tf.data.Dataset.from_tensor_slices((tf.ragged.stack(texts.tokens), labels))
        data = data.map(lambda tokens, label: (tf.convert_to_tensor(tokens), label)).shuffle(len(labels))
        data = data.padded_batch(work.batch, padded_shapes=([None], [1]))
    else:
        batches = list(sorted_batches(texts, labels, work))
        signature = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, 1), tf.float32))
        data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature).shuffle(len(batches))
    data = data.prefetch(tf.data.AUTOTUNE)
    padded = sum(int(tf.size(tokens)) for tokens, _ in data)
    return Data(lambda model, callback: model.fit(data, epochs=1, verbose=0, callbacks=[callback]), padded)


def sorted_batches(texts: Texts, labels: np.ndarray, work: Work) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches that the program makes of these texts: neighbours in length, padded to the longest of each batch."""
    order = np.argsort(texts.lengths, kind="stable")
    padded = pad(texts, work, "bucketed")
    for first in range(0, len(order), work.batch):
        rows = order[first : first + work.batch]
        yield padded[rows, : texts.lengths[rows].max()], labels[rows]


def versions() -> dict[str, str]:
    """Of whatever is here."""
    found = {}
    for name in ("keras", "tensorflow-cpu", "tensorflow", "jax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    serve(prepare)
