"""What decides a run's numbers: the model, the corpus, the word vectors, the recipe."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bench.config.values import SCHEMA, Cell, Count, Fraction, NonNegative, Pooling, Positive, Probability, Probe, Task


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class ModelConfig:
    """A text classifier: embedding, an encoder (recurrent layers, or a baseline), pooling over time, linear output."""

    cell: Cell
    hidden_size: Count
    num_layers: Annotated[int, Field(ge=1, le=32)] = 1
    bidirectional: bool = False
    heads: Count = 4
    dropout: Probability = 0.0
    pooling: Pooling = "max"
    output: Literal["softmax", "sigmoid"] = "softmax"
    kernel: Literal["auto", "torch", "step"] = "auto"
    match: Literal["width", "parameters", "time"] = "width"
    forget_bias: float | None = None
    chrono: Annotated[int, Field(ge=2, le=100_000)] | None = None
    weight_drop: Probability = 0.0
    recurrent_dropout: Probability = 0.0
    variational: bool = False
    ngrams: Annotated[int, Field(ge=1, le=4)] = 2
    minimum_texts: Count = 2
    inverse_regularisation: Annotated[list[Positive], Field(min_length=1)] = field(
        default_factory=lambda: [1.0, 3.0, 10.0, 30.0, 100.0]
    )


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class DataConfig:
    """A labelled corpus: where it is found or how it is generated, what is asked, how its texts become tokens."""

    name: Annotated[str, Field(min_length=1)]
    task: Task = "classification"
    inputs: Literal["words", "numbers"] = "words"
    tolerance: Positive | None = None
    probe: Probe | None = None
    length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    test_length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    size: Annotated[int, Field(ge=10, le=100_000_000)] | None = None
    probe_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    path: str | None = None
    mirror: str | None = None
    package: str | None = None
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    hub_splits: dict[str, str] | None = None
    text_column: str = "text"
    label_column: str = "label"
    text_start_column: str | None = None
    labels: list[str] | None = None
    deduplicate: bool = False
    validation_fraction: Fraction = 0.1
    tokens: Literal["word", "char"] = "word"
    lowercase: bool = True
    strip_html: bool = False
    unicode_form: Literal["NFC", "NFKC"] | None = "NFC"
    max_length: Annotated[int, Field(ge=1, le=100_000)] = 256
    test_max_length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    truncation: Literal["head", "tail", "both"] = "head"
    shuffle_words: bool = False
    vocabulary_size: Annotated[int, Field(ge=3)] = 30_000
    minimum_count: Count = 1
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    use_test: bool = True
    epochs: Count = 8
    learning_rate: Positive = 0.004
    target_accuracy: Fraction | None = None
    licence: str | None = None
    citation: str | None = None


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class EmbeddingConfig:
    """Word vectors: drawn at random, read from a file, or trained on the training part."""

    name: Literal["random", "word2vec", "glove", "fasttext", "navec", "numbers"]
    source: Literal["file", "train"] = "file"
    dimension: Count | None = None
    path: str | None = None
    files: list[str] | None = None
    package: str | None = None
    url: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    member: str | None = None
    trainable: bool | Annotated[str, Field(pattern=r"^after_[1-9][0-9]{0,5}_epochs$")] = True
    scale: Positive = 0.1
    norm: Positive | None = None
    case_fallback: bool = True
    subwords: bool = True
    open_vocabulary: bool = False
    shuffle: bool = False
    algorithm: Literal["skipgram", "cbow"] = "skipgram"
    window: Annotated[int, Field(ge=1, le=100)] = 5
    passes: Annotated[int, Field(ge=1, le=1000)] = 5

    @property
    def frozen_epochs(self) -> int | None:
        """Epochs after which the vectors begin to learn: 0 from the start, None never."""
        if isinstance(self.trainable, bool):
            return 0 if self.trainable else None
        return int(self.trainable.split("_")[1])


@dataclass(frozen=True, kw_only=True, config=SCHEMA)
class TrainingConfig:
    """The recipe: how long, how fast, and when to stop."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Positive
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gradient_clip: Positive | None = 1.0
    tbptt: Count | None = None
    patience: Count | None = None
    stop_at_accuracy: Fraction | None = None
    max_seconds: Positive | None = None
    log_every_steps: Count = 10
    gradient_flow: bool = False
