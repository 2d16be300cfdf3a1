"""Rules that span several keys of a configuration: what is asked for must mean something together."""

from __future__ import annotations

from pathlib import Path

from bench.claims import check_claim
from bench.config.run import DataConfig, EmbeddingConfig, ModelConfig
from bench.config.tree import BenchConfig
from bench.config.values import Probe, Task
from bench.declarations import declared, is_recurrent
from bench.errors import UserError

_TASKS: dict[Probe, Task] = {"adding": "regression", "copy": "tagging"}  # of the other probes: classification


def check_rules(config: BenchConfig) -> None:
    """Raise `UserError`, one line, for the first of these rules that a configuration breaks."""
    if config.sweep.claim is not None:
        check_claim(config.sweep.claim)
    _check_model(config)
    _check_surroundings(config)
    _check_task(config)
    _check_inputs(config.data, config.embedding)


def _check_model(config: BenchConfig) -> None:
    """Keys that mean nothing to the cell that was chosen, or to what it is asked."""
    model, data, cell = config.model, config.data, config.model.cell
    if model.output == "sigmoid" and data.labels is not None and len(data.labels) != 2:
        raise UserError(
            f"model.output=sigmoid needs two classes, data={data.name} has {len(data.labels)}: use model.output=softmax"
        )
    if model.forget_bias is not None and (not is_recurrent(cell) or declared(cell).forget_gate is None):
        raise UserError(f"model.forget_bias: the cell {cell} has no forget gate; remove it or use model=lstm")
    _check_regularisation(model)
    if cell == "linear" and data.task != "classification":
        raise UserError(
            f"model=linear labels whole texts, and data={data.name} is for {data.task}: "
            "choose a recurrent cell, as in model=gru"
        )
    if cell == "attention" and model.match != "parameters":
        _check_heads(model)
    if config.training.tbptt is not None and not is_recurrent(cell):
        raise UserError(
            f"training.tbptt={config.training.tbptt} cuts the gradient through time, and {cell} does not "
            "recur: remove it or use a recurrent cell, such as model=gru"
        )
    if model.match == "time" and config.training.max_seconds is None:
        raise UserError("model.match=time compares at equal wall-clock: set training.max_seconds=SECONDS")


def _check_surroundings(config: BenchConfig) -> None:
    """Keys of many runs in one run, devices without a strategy, looks out of order."""
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
    if data.probe is not None and task != (of_probe := _TASKS.get(data.probe, "classification")):
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
