"""What a run *is*: frozen dataclasses with units and ranges, the schema of everything in `conf/`.

YAML composes, these classes validate: the composed tree becomes one `BenchConfig` at the door (`build_config`), and
no untyped configuration travels further. The comment above each key in `conf/` says what the key means.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bench.claims import ClaimConfig, check_claim
from bench.declarations import check_cell, declared, is_recurrent
from bench.errors import UserError, did_you_mean

Scalar = str | int | float | bool | None

Kernel = Literal["torch", "step"]  # executions of a recurrence
Cell = Annotated[str, AfterValidator(check_cell)]  # or a baseline, which does not recur
Pooling = Literal["last", "mean", "max", "attention"]
Keep = Literal["auto", "none", "best", "all"]
Probe = Literal["parity", "anbn", "negation", "agreement", "adding", "copy"]
Task = Literal["classification", "tagging", "regression"]

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]

_SCHEMA = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
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


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
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


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
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


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
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


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class HardwareConfig:
    """Where a run takes place. No key here is part of a run's identity except `precision`."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    threads: Count | None = None


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class WandbConfig:
    """Weights & Biases: `auto` is online where the person is logged in, offline elsewhere."""

    project: str = "bench"
    entity: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class LoggerConfig:
    """Which trackers receive a mirror of the run; the record is written whatever is chosen here."""

    wandb: WandbConfig | None = None
    csv: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class SweepConfig:
    """The question that a run belongs to. Set by the sweeper in the processes that it starts: `member`, and `kernel`,
    what `model.kernel=auto` comes to: that of the plan, wherever and whenever the run is carried out.

    claim: what its runs answer with yes or no;  parts: questions that it is made of, such as `claims/depth seed=0,1`.
    """

    name: str | None = None
    member: bool = False
    kernel: Kernel | None = None
    claim: ClaimConfig | None = None
    parts: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class TuningConfig:
    """The search for a recipe before arms are compared: the same space and budget for each of them.

    space: lines such as `training.learning_rate=0.001..0.01 log`, `model.dropout=0..0.5`, `training.batch_size=16|32`;
    trial: its number, set by the sweeper in trials.
    """

    trials: Annotated[int, Field(ge=0, le=100_000)] = 0
    sampler: Literal["random", "tpe"] = "random"
    pruner: Literal["none", "median", "halving"] = "none"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1000
    space: list[str] = field(default_factory=list)
    storage: str | None = None
    trial: int | None = None

    @property
    def keys(self) -> list[str]:
        """The configuration keys that are searched."""
        return [line.partition("=")[0].strip() for line in self.space]


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class ProtocolConfig:
    """How a verdict is reached; fixed before the runs. Margins are in percentage points of quality."""

    name: str = "default"
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    looks: Annotated[list[Count], Field(min_length=1)]
    spending: Literal["obrien_fleming", "power2", "power3", "pocock"]
    margin: Positive | None = None
    margins: list[Positive]
    metric: Literal["auto", "accuracy", "macro_f1"] = "auto"
    matching: Literal["width", "parameters", "time"] = "parameters"
    pooling: Pooling = "mean"
    power: Fraction = 0.8
    uncommitted: Literal["set_apart", "allow"] = "set_apart"


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class DuelConfig:
    """What a duel times: ladders of lengths (tokens), batch sizes (texts) and widths (hidden sizes of the LSTM).

    seconds: of measuring, over all repetitions;  repetitions: blocks of rounds, which intervals resample.
    """

    lengths: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [16, 64, 256])
    batch_sizes: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [16, 64])
    widths: Annotated[list[Count], Field(min_length=1)] = field(default_factory=lambda: [64, 128, 256])
    kernels: Annotated[list[Kernel], Field(min_length=1)] = field(default_factory=lambda: ["torch", "step"])
    matchings: Annotated[list[Literal["width", "parameters"]], Field(min_length=1)] = field(
        default_factory=lambda: ["width", "parameters"]
    )
    repetitions: Annotated[int, Field(ge=3, le=1000)] = 8
    seconds: Positive = 180.0


def protocol_hash(protocol: ProtocolConfig) -> str:
    """Twelve hexadecimal digits that tell protocols apart; what a protocol is called does not matter."""
    content = {key: value for key, value in asdict(protocol).items() if key != "name"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class BenchConfig:
    """One run, complete."""

    model: ModelConfig
    data: DataConfig
    embedding: EmbeddingConfig
    training: TrainingConfig
    hardware: HardwareConfig
    logger: LoggerConfig
    protocol: ProtocolConfig
    tuning: TuningConfig = TuningConfig()
    duel: DuelConfig = DuelConfig()
    sweep: SweepConfig = SweepConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    results: str = "results"
    force: bool = False
    keep: Keep = "auto"
    dry_run: bool = False
    until: Literal["verdict"] | None = None
    retry: Literal["failed", "diverged", "all"] | None = None

    @property
    def keep_weights(self) -> Literal["none", "best", "all"]:
        """`keep`, with `auto` resolved: the best weights of a single run, none of a sweep's members."""
        if self.keep != "auto":
            return self.keep
        return "none" if self.sweep.member else "best"


def build_config(tree: Mapping[str, object]) -> BenchConfig:
    """Validate a composed configuration tree.

    Raises: `UserError`, one line that names the first wrong key, its value and what it should be.
    """
    try:
        config = TypeAdapter(BenchConfig).validate_json(json.dumps(dict(tree)))
    except ValidationError as error:
        raise UserError(_describe(error)) from None
    _check_combinations(config)
    return config


def flatten(config: object, prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """The leaves of a configuration as (`model.hidden_size`, 128) pairs; lists and mappings as one short text."""
    if not is_dataclass(config):
        raise TypeError(f"not a configuration: {config!r}")
    for item in fields(config):
        value = getattr(config, item.name)
        key = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from flatten(value, f"{key}.")
        elif isinstance(value, list):
            yield key, ",".join(map(str, value))
        elif isinstance(value, dict):
            yield key, ",".join(f"{name}:{entry}" for name, entry in value.items())
        else:
            yield key, value


def known_keys() -> list[str]:
    """Every dotted key that a configuration may hold, for hints on misspelled ones."""
    return list(_schema_keys(BenchConfig, ""))


def _schema_keys(schema: type, prefix: str) -> Iterator[str]:
    nested = {
        "model": ModelConfig, "data": DataConfig, "embedding": EmbeddingConfig, "training": TrainingConfig,
        "hardware": HardwareConfig, "logger": LoggerConfig, "protocol": ProtocolConfig, "tuning": TuningConfig,
        "duel": DuelConfig, "sweep": SweepConfig, "wandb": WandbConfig, "claim": ClaimConfig,
    }  # fmt: skip
    for item in fields(schema):
        if item.name in nested and not (item.name == "wandb" and prefix != "logger."):
            yield from _schema_keys(nested[item.name], f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _describe(error: ValidationError) -> str:
    """The first problem of a validation as one line for people."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("list[", "dict[", "function-")))
    kind = problem["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = known_keys() if "." in key else [item.name for item in fields(BenchConfig)]
        return f"unknown key '{key}': {did_you_mean(key, known)}"
    if kind in ("missing", "missing_argument"):
        return f"{key} is not set: add {key}=VALUE"
    message = problem["msg"].removeprefix("Input ").removeprefix("should ")
    value = problem["input"]
    near = difflib.get_close_matches(str(value), re.findall("'([^']+)'", message), n=1) if "literal" in kind else []
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}={'null' if value is None else value}: should {message}{hint}"


def _check_combinations(config: BenchConfig) -> None:
    """Rules that span several keys."""
    if config.sweep.claim is not None:
        check_claim(config.sweep.claim)
    labels = config.data.labels
    if config.model.output == "sigmoid" and labels is not None and len(labels) != 2:
        raise UserError(
            f"model.output=sigmoid needs two classes, data={config.data.name} has {len(labels)}: "
            "use model.output=softmax"
        )
    cell = config.model.cell
    if config.model.forget_bias is not None and (not is_recurrent(cell) or declared(cell).forget_gate is None):
        raise UserError(f"model.forget_bias: the cell {cell} has no forget gate; remove it or use model=lstm")
    _check_regularisation(config.model)
    if cell == "linear" and config.data.task != "classification":
        raise UserError(
            f"model=linear labels whole texts, and data={config.data.name} is for {config.data.task}: "
            "choose a recurrent cell, as in model=gru"
        )
    if config.model.cell == "attention" and config.model.match != "parameters":
        _check_heads(config.model)
    if config.training.tbptt is not None and not is_recurrent(config.model.cell):
        raise UserError(
            f"training.tbptt={config.training.tbptt} cuts the gradient through time, and {config.model.cell} does not "
            "recur: remove it or use a recurrent cell, such as model=gru"
        )
    if config.model.match == "time" and config.training.max_seconds is None:
        raise UserError("model.match=time compares at equal wall-clock: set training.max_seconds=SECONDS")
    if config.until is not None:
        raise UserError(f"until={config.until} adds runs: add -m, and hydra/sweeper=bench where another one is chosen")
    if config.retry is not None and not config.sweep.member:
        raise UserError(f"retry={config.retry} chooses among the runs of a sweep: add -m; force=true repeats one run")
    if config.tuning.trials and not config.sweep.member:
        raise UserError(f"tuning.trials={config.tuning.trials} is many runs: add -m")
    if config.hardware.devices > 1 and config.hardware.strategy != "ddp":
        raise UserError(f"hardware.devices={config.hardware.devices}: several devices need hardware=ddp")
    if config.protocol.looks != sorted(set(config.protocol.looks)) or config.protocol.looks[0] < 2:
        raise UserError(
            f"protocol.looks={config.protocol.looks}: planned numbers of seeds, from 2 upwards, each larger than the "
            "one before, such as protocol.looks=[5,10]"
        )
    _check_task(config)
    _check_inputs(config.data, config.embedding)


def _check_regularisation(model: ModelConfig) -> None:
    """Keys that mean something to cells with a recurrent matrix, or with gates that keep the state."""
    declaration = declared(model.cell) if is_recurrent(model.cell) else None
    for key, probability in (("weight_drop", model.weight_drop), ("recurrent_dropout", model.recurrent_dropout)):
        if probability and not (declaration and declaration.recurrent_matrix):
            raise UserError(
                f"model.{key}={probability}: the cell {model.cell} has no recurrent matrix; remove it or use model=lstm"
            )
    if model.chrono is not None and not (declaration and declaration.chrono):
        raise UserError(
            f"model.chrono={model.chrono}: the cell {model.cell} has no gate that keeps its state; remove it or use "
            "model=lstm or model=gru"
        )


def _check_heads(model: ModelConfig) -> None:
    """Heads share the width evenly; a matched width is chosen so."""
    if rest := model.hidden_size % model.heads:
        nearest = model.hidden_size - rest or model.heads
        raise UserError(
            f"model.hidden_size={model.hidden_size}: attention divides it among model.heads={model.heads}; "
            f"use a multiple, such as model.hidden_size={nearest}"
        )


def _check_task(config: BenchConfig) -> None:
    """What can be asked of a model with these data."""
    data, task = config.data, config.data.task
    of_probe: Task = {"adding": "regression", "copy": "tagging"}.get(str(data.probe), "classification")  # type: ignore[assignment]
    if data.probe is not None and task != of_probe:
        raise UserError(f"data.task={task}: data.probe={data.probe} is a {of_probe} task: use data.task={of_probe}")
    if config.model.output == "sigmoid" and task != "classification":
        raise UserError(f"model.output=sigmoid is for two classes, not for data.task={task}: use model.output=softmax")
    if data.tokens == "char" and (task == "tagging" or data.inputs == "numbers"):
        what = (
            "data.task=tagging labels whole words" if task == "tagging" else "data.inputs=numbers reads whole numbers"
        )
        raise UserError(f"data.tokens=char divides words, and {what}: use data.tokens=word")
    if task == "regression" and data.labels is not None:
        raise UserError("data.labels names classes, and data.task=regression has numbers: use data.labels=null")
    if task == "regression" and data.tolerance is None:
        raise UserError("data.task=regression: set data.tolerance=NUMBER, the error below which an answer is right")
    if task == "regression" and config.protocol.metric == "macro_f1":
        raise UserError("protocol.metric=macro_f1 needs classes, and data.task=regression has none: use accuracy")


def _check_inputs(data: DataConfig, embedding: EmbeddingConfig) -> None:
    """Rules that span several keys of a corpus, or of word vectors."""
    if embedding.name == "numbers" and data.inputs != "numbers":
        raise UserError("embedding.name=numbers reads numbers, and texts are words: use embedding=random")
    if embedding.name == "random" and embedding.path is not None:
        raise UserError(
            "embedding.path means nothing to random vectors: add embedding=glove, word2vec, fasttext or navec"
        )
    if embedding.name == "random" and embedding.dimension is None:
        raise UserError("embedding=random has no file to take a size from: set embedding.dimension=N")
    if embedding.source == "train" and embedding.name not in ("word2vec", "fasttext"):
        raise UserError(
            f"embedding.source=train: {embedding.name} vectors are not trained here; "
            "use embedding=word2vec or embedding=fasttext"
        )
    if embedding.source == "train" and embedding.dimension is None:
        raise UserError("embedding.source=train has no file to take a size from: set embedding.dimension=N")
    if data.probe is not None and (data.length is None or data.size is None):
        raise UserError(f"data={data.name} is generated: set data.length=TOKENS and data.size=TEXTS")
    if data.name == "local" and data.path is None:
        raise UserError("data=local needs data.path=DIR, a folder with train.{parquet,csv,tsv,jsonl}")
    for key, path in (("data.path", data.path), ("embedding.path", embedding.path)):
        if path is not None and not Path(path).expanduser().exists():
            raise UserError(f"{key}={path}: no such file or folder")
