"""Which run is this: from a configuration to what it resolves to on this machine, and the hashes that name it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from bench.config import BenchConfig, DataConfig, EmbeddingConfig, HardwareConfig, Kernel, Scalar
from bench.data.sources import Corpus, open_corpus
from bench.embeddings.lookup import find_vectors
from bench.embeddings.trained import check_gensim
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.models.sizes import LINEAR, idle_keys, matched_width
from bench.runs.cell_sources import cell_fingerprint
from bench.runs.effects import settled, with_inputs
from bench.runs.environment import code_version
from bench.runs.kernel_table import KernelTable, fresh_table, has_kernels, is_timed
from bench.runs.science import COMPARED, is_idle, science_of, search_of, tuning_of


@dataclass(frozen=True)
class ResolvedRun:
    """A run with everything settled that training depends on. config: with defaults where a key has no effect;
    hidden_size: after matching;  dimension: of vectors;  kernel: the execution of the recurrence;
    kernel_auto: the one that `model.kernel=auto` comes to."""

    config: BenchConfig
    corpus: Corpus
    vectors: VectorFile | None
    dimension: int
    hidden_size: int
    kernel: Kernel
    kernel_auto: Kernel
    run_id: str
    pair_key: str
    arm: str
    code_version: str


class Opened:
    """Corpora, vector files and kernel tables already opened: a sweep asks for the same ones with every member."""

    def __init__(self) -> None:
        self._corpora: dict[str, Corpus] = {}
        self._vectors: dict[str, VectorFile | None] = {}
        self._tables: dict[str, KernelTable | None] = {}

    def corpus(self, data: DataConfig) -> Corpus:
        """The corpus, opened at the first request."""
        key = repr(data)
        if key not in self._corpora:
            self._corpora[key] = open_corpus(data)
        return self._corpora[key]

    def vectors(self, embedding: EmbeddingConfig) -> VectorFile | None:
        """The vector file, found and fingerprinted at the first request."""
        key = repr(embedding)
        if key not in self._vectors:
            self._vectors[key] = find_vectors(embedding)
        return self._vectors[key]

    def kernel_table(self, hardware: HardwareConfig) -> KernelTable | None:
        """The table that says which execution is the faster one, read at the first request; None where none counts."""
        key = repr(hardware)
        if key not in self._tables:
            self._tables[key] = fresh_table(hardware)
        return self._tables[key]


def resolve(config: BenchConfig, opened: Opened | None = None) -> ResolvedRun:
    """Find the corpus and the vectors of a configuration, and name the run. Imports no torch.

    opened: shared between calls, so that a plan of many runs opens each file once.
    Raises: `UserError` if the corpus or the vectors cannot be had, or do not fit the configuration.
    """
    opened, typed = opened or Opened(), with_inputs(config)
    corpus, vectors = _inputs(typed, opened)
    config = settled(typed, corpus.sizes, vectors)
    dimension = vectors.dimension if vectors else config.embedding.dimension
    assert dimension is not None  # build_config saw to it
    if config.model.output == "sigmoid" and len(corpus.label_names) != 2:
        raise UserError(
            f"model.output=sigmoid needs two classes, data={corpus.name} has {len(corpus.label_names)}: "
            "use model.output=softmax"
        )
    hidden_size = matched_width(config.model, dimension)
    kernel_auto = _kernel_auto(config, hidden_size, opened)
    kernel = kernel_auto if config.model.kernel == "auto" else config.model.kernel
    version = code_version()
    science = {
        **science_of(config),
        "model.hidden_size_resolved": hidden_size,
        "model.kernel_resolved": kernel,
        "data.fingerprint": corpus.fingerprint,
        "embedding.dimension_resolved": dimension,
        "embedding.fingerprint": vectors.fingerprint if vectors else None,
        **_of_cell(config.model.cell),
        **search_of(config),
    }
    _, budget = tuning_of(config)
    matching = _matching(config, typed)
    return ResolvedRun(
        config=config,
        corpus=corpus,
        vectors=vectors,
        dimension=dimension,
        hidden_size=hidden_size,
        kernel=kernel,
        kernel_auto=kernel_auto,
        run_id=_digest({**science, "code": version}),
        pair_key=_digest(_paired({**science, **matching, **_idle(typed), **budget}, config)),
        arm=_arm(config, {**science, **({} if config.model.cell == LINEAR else matching), **budget}),
        code_version=version,
    )


def _inputs(config: BenchConfig, opened: Opened) -> tuple[Corpus, VectorFile | None]:
    """The corpus, and the file of vectors where one is read."""
    corpus = opened.corpus(config.data)
    if config.model.cell == LINEAR:
        return corpus, None
    vectors = opened.vectors(config.embedding)
    if config.embedding.source == "train":
        check_gensim()
    return corpus, vectors


def _matching(config: BenchConfig, typed: BenchConfig) -> dict[str, Scalar]:
    """What is held equal between cells: a width, how it is matched, an execution where one was asked for."""
    matching: dict[str, Scalar] = {"model.hidden_size": config.model.hidden_size, "model.match": config.model.match}
    return matching if typed.model.kernel == "auto" else {**matching, "model.kernel": typed.model.kernel}


def _idle(typed: BenchConfig) -> dict[str, Scalar]:
    """Keys as they were typed that have no effect on this cell, and have on those that it pairs with."""
    model = typed.model
    idle = {f"model.{name}": getattr(model, name) for name in idle_keys(model.cell, model.match) if name != "kernel"}
    return idle | _of_networks(typed) if model.cell == LINEAR else idle


def _paired(values: Mapping[str, Scalar], config: BenchConfig) -> dict[str, Scalar]:
    """Without what may differ between the two sides of a pair: what is compared, and what was tuned for each."""
    searched, _ = tuning_of(config)
    apart = {*COMPARED, *searched}
    return {key: value for key, value in values.items() if key not in apart and not is_idle(key, value)}


def _of_cell(cell: str) -> dict[str, Scalar]:
    """The sources of another package's cell."""
    fingerprint = cell_fingerprint(cell)
    return {} if fingerprint is None else {"model.cell_fingerprint": fingerprint}


def _of_networks(typed: BenchConfig) -> dict[str, Scalar]:
    """What networks were given beside a linear model, which reads none of it: their runs pair with its run.

    Vectors from files have fingerprints, which are not looked for here.
    """
    keys = {**science_of(typed), "embedding.dimension_resolved": typed.embedding.dimension}
    return {key: value for key, value in keys.items() if key.startswith(("training.", "embedding.", "precision"))}


def _kernel_auto(config: BenchConfig, hidden_size: int, opened: Opened) -> Kernel:
    """What `auto` comes to: as planned for members of a sweep, else as the table of this machine says."""
    if not has_kernels(config.model.cell):
        return "torch"
    if config.sweep.kernel is not None:
        return config.sweep.kernel
    if not is_timed(config.model.cell) or config.model.recurrent_dropout:  # PyTorch has no module of it
        return "step"
    table = opened.kernel_table(config.hardware)
    return "torch" if table is None else table.fastest(config.model.cell, hidden_size)


def _arm(config: BenchConfig, science: Mapping[str, Scalar]) -> str:
    """A readable name of the configuration without its seed, made unique by a short hash."""
    model = config.model
    digest = _digest({key: value for key, value in science.items() if key != "seed"})[:6]
    if model.cell == LINEAR:
        return f"{config.data.name}/none/{model.cell}-{model.ngrams}grams/{digest}"
    shape = f"{model.cell}-{model.hidden_size}" + (f"x{model.num_layers}" if model.num_layers > 1 else "")
    both = "-bidirectional" if model.bidirectional else ""
    both += f"-{science['model.kernel']}" if "model.kernel" in science else ""  # declared, and not left to the machine
    both += "" if config.data.task == "tagging" else f"-{model.pooling}"
    return f"{config.data.name}/{config.embedding.name}/{shape}{both}/{digest}"


def _digest(values: Mapping[str, Scalar]) -> str:
    """Twelve hexadecimal characters that depend on the values, not on their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
