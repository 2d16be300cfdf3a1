"""Keys that have no effect in a run take their defaults there: neither its name nor its record depends on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from bench.config import BenchConfig, DataConfig, EmbeddingConfig, Pooling, TrainingConfig
from bench.embeddings.numbers import NUMBER_FEATURES
from bench.embeddings.vectors import VectorFile
from bench.models.sizes import LINEAR, settled_model

_UNPOOLED: Pooling = "mean"  # stands in the record where nothing is pooled

Section = TypeVar("Section", EmbeddingConfig, DataConfig)


def _looks_up(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    return file is not None or _trains(embedding, file)


def _trains(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    return embedding.source == "train"


def _composes(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    if _trains(embedding, file):
        return embedding.name == "fasttext"
    return file is not None and file.kind == "fasttext_binary"


def _cuts_test_texts(data: DataConfig) -> bool:
    """Whether `data.test_max_length` changes what is read of a test text.

    Generated texts are read whole or refused, and sentences whose words are tagged are read whole.
    """
    if data.test_max_length == data.max_length:
        return False
    longest = _longest_generated(data)
    if longest is not None:
        return (data.test_length or longest) > data.max_length
    return data.use_test and data.task != "tagging"


def _longest_generated(data: DataConfig) -> int | None:
    """Tokens that a generated training text has at most; None where only the texts tell."""
    return data.length if data.probe is not None and data.tokens == "word" else None


# What a linear model has instead: it reads no word vectors, and is not trained in steps.
_NO_VECTORS = EmbeddingConfig(name="random", dimension=1)
_NO_STEPS = TrainingConfig(epochs=1, batch_size=1, learning_rate=1.0)

# When a key has an effect; the others always have.
_EMBEDDING: Mapping[str, Callable[[EmbeddingConfig, VectorFile | None], bool]] = {
    "scale": lambda embedding, file: embedding.norm is None,
    "case_fallback": _looks_up,
    "shuffle": _looks_up,
    "open_vocabulary": lambda embedding, file: file is not None,
    "subwords": _composes,
    "algorithm": _trains,
    "window": _trains,
    "passes": _trains,
}
_DATA: Mapping[str, Callable[[DataConfig, Collection[str]], bool]] = {
    "length": lambda data, splits: data.probe is not None,
    "test_length": lambda data, splits: data.probe is not None and data.test_length != data.length,
    "test_max_length": lambda data, splits: "test" in splits and _cuts_test_texts(data),
    "size": lambda data, splits: data.probe is not None,
    "probe_seed": lambda data, splits: data.probe is not None,
    "validation_fraction": lambda data, splits: "dev" not in splits,
    "tokens": lambda data, splits: data.task != "tagging" and data.inputs != "numbers",
    "tolerance": lambda data, splits: data.task == "regression",
    "vocabulary_size": lambda data, splits: data.inputs != "numbers",
    "minimum_count": lambda data, splits: data.inputs != "numbers",
}
_NUMBERS = EmbeddingConfig(name="numbers", dimension=NUMBER_FEATURES, trainable=False)


def with_inputs(config: BenchConfig) -> BenchConfig:
    """The configuration with what its texts are read as: where they are numbers, no word vectors mean anything."""
    return replace(config, embedding=_NUMBERS) if config.data.inputs == "numbers" else config


def settled(config: BenchConfig, splits: Collection[str], file: VectorFile | None) -> BenchConfig:
    """The configuration with defaults in the place of values that change nothing.

    splits: names of those that the corpus has;  file: of vectors, None where none is read.
    """
    if config.model.cell == LINEAR:
        config = _without_network(config)
    embedding, data = config.embedding, config.data
    dimension = file.dimension if file else embedding.dimension
    assert dimension is not None  # build_config saw to it
    idle_embedding = {name for name, has_effect in _EMBEDDING.items() if not has_effect(embedding, file)}
    idle_data = {name for name, has_effect in _DATA.items() if not has_effect(data, splits)}
    window = config.training.tbptt
    cuts = window is not None and window < min(data.max_length, _longest_generated(data) or data.max_length)
    model = settled_model(config.model, dimension)
    return replace(
        config,
        model=replace(model, pooling=_UNPOOLED) if data.task == "tagging" else model,
        training=config.training if cuts else replace(config.training, tbptt=None),
        embedding=_by_default(embedding, idle_embedding),
        data=_by_default(data, idle_data),
    )


def _without_network(config: BenchConfig) -> BenchConfig:
    """A solver's work: one process on the processor, in double precision, whatever a network would have been given."""
    hardware = replace(config.hardware, accelerator="cpu", devices=1, strategy="auto", precision="32")
    data = replace(config.data, epochs=1)  # what `training.epochs` would have been; an estimate of time reads it
    return replace(config, data=data, embedding=_NO_VECTORS, training=_NO_STEPS, hardware=hardware)


def _by_default(section: Section, names: Collection[str]) -> Section:
    """A part of the configuration with these keys at their defaults."""
    defaults: dict[str, Any] = {item.name: item.default for item in fields(section) if item.name in names}
    return replace(section, **defaults)
