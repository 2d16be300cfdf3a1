"""Keys that have no effect in a run take their defaults there: neither its name nor its record depends on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from bench.config import BenchConfig, DataConfig, EmbeddingConfig, TrainingConfig
from bench.embeddings.vectors import VectorFile
from bench.models.sizes import LINEAR, settled_model

Section = TypeVar("Section", EmbeddingConfig, DataConfig)


def _looks_up(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    return file is not None or _trains(embedding, file)


def _trains(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    return embedding.source == "train"


def _composes(embedding: EmbeddingConfig, file: VectorFile | None) -> bool:
    if _trains(embedding, file):
        return embedding.name == "fasttext"
    return file is not None and file.kind == "fasttext_binary"


# What a linear model has instead: it reads no word vectors, and is not trained in steps.
_NO_VECTORS = EmbeddingConfig(name="random", dimension=1)
_NO_STEPS = TrainingConfig(epochs=1, batch_size=1, learning_rate=1.0)

# When a key has an effect; the others always have.
_EMBEDDING: Mapping[str, Callable[[EmbeddingConfig, VectorFile | None], bool]] = {
    "scale": lambda embedding, file: embedding.norm is None,
    "case_fallback": _looks_up,
    "shuffle": _looks_up,
    "subwords": _composes,
    "algorithm": _trains,
    "window": _trains,
    "passes": _trains,
}
_DATA: Mapping[str, Callable[[DataConfig, Collection[str]], bool]] = {
    "length": lambda data, splits: data.probe is not None,
    "test_length": lambda data, splits: data.probe is not None and data.test_length != data.length,
    "size": lambda data, splits: data.probe is not None,
    "probe_seed": lambda data, splits: data.probe is not None,
    "validation_fraction": lambda data, splits: "dev" not in splits,
}


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
    cuts = window is not None and window < data.max_length
    return replace(
        config,
        model=settled_model(config.model, dimension),
        training=config.training if cuts else replace(config.training, tbptt=None),
        embedding=_by_default(embedding, idle_embedding),
        data=_by_default(data, idle_data),
    )


def _without_network(config: BenchConfig) -> BenchConfig:
    """A solver's work: one process on the processor, in double precision, whatever a network would have been given."""
    hardware = replace(config.hardware, accelerator="cpu", devices=1, strategy="auto", precision="32")
    return replace(config, embedding=_NO_VECTORS, training=_NO_STEPS, hardware=hardware)


def _by_default(section: Section, names: Collection[str]) -> Section:
    """A part of the configuration with these keys at their defaults."""
    defaults: dict[str, Any] = {item.name: item.default for item in fields(section) if item.name in names}
    return replace(section, **defaults)
