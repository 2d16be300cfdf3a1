"""Which run is this: from a configuration to what it resolves to on this machine, and the hashes that name it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.config import BenchConfig, DataConfig, EmbeddingConfig, HardwareConfig, Kernel, Scalar, flatten
from bench.data.sources import Corpus, open_corpus
from bench.embeddings.lookup import find_vectors
from bench.embeddings.trained import check_gensim
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.models.sizes import LINEAR, LINEAR_KEYS, idle_keys, matched_width
from bench.runs.cell_sources import cell_fingerprint
from bench.runs.effects import settled, with_inputs
from bench.runs.environment import code_version
from bench.runs.kernel_table import KernelTable, fresh_table, has_kernels, is_timed

GROUPS = ("model", "data", "embedding", "training")  # of the configuration, that a run's numbers depend on
# What a run computes does not depend on these: where it looks, what it is called, how it is written down.
_NOT_SCIENCE = {
    "model.hidden_size", "model.match", "model.kernel",
    "data.name", "data.path", "data.mirror", "data.package", "data.hub_id", "data.hub_config", "data.hub_revision",
    "data.hub_splits", "data.text_column", "data.label_column", "data.text_start_column", "data.labels",
    "data.deduplicate", "data.probe", "data.epochs", "data.learning_rate", "data.target_accuracy", "data.licence",
    "data.citation",
    "embedding.path", "embedding.files", "embedding.package", "embedding.url", "embedding.sha256", "embedding.member",
    "embedding.dimension",
    "training.log_every_steps", "training.gradient_flow",
    "results", "force", "keep", "dry_run", "until", "retry",
}  # fmt: skip
# Tables tell generated corpora apart by these; in a run's name, the fingerprint of what they generate stands for them.
_GENERATED = {"data.length", "data.test_length", "data.size", "data.probe_seed"}
# Keys that came later, and what they do without: there they are left out, so that earlier runs keep names and partners.
_LATER: dict[str, Scalar] = {
    "training.tbptt": None, "data.inputs": "words", "data.tolerance": None, "embedding.open_vocabulary": False,
    "data.test_max_length": None, "training.stop_at_accuracy": None,
    "model.chrono": None, "model.weight_drop": 0.0, "model.recurrent_dropout": 0.0, "model.variational": False,
}  # fmt: skip
_NOT_SCIENCE_GROUPS = ("hardware.", "logger.", "sweep.", "protocol.", "tuning.", "duel.")
_LINEAR = {f"model.{name}" for name in LINEAR_KEYS}  # in the name of no other model
# What may differ between the two sides of a pair: the cell, its width, and values tuned for it.
_COMPARED = {
    "model.cell", "model.cell_fingerprint", "model.forget_bias", "model.heads", "model.hidden_size_resolved",
    "model.kernel_resolved",
    *_LINEAR,
}  # fmt: skip


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
    opened, config = opened or Opened(), with_inputs(config)
    corpus = opened.corpus(config.data)
    reads_vectors = config.model.cell != LINEAR
    vectors = opened.vectors(config.embedding) if reads_vectors else None
    if config.embedding.source == "train" and reads_vectors:
        check_gensim()
    typed, asked = config, config.model
    config = settled(config, corpus.sizes, vectors)
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
        **_science(config),
        "model.hidden_size_resolved": hidden_size,
        "model.kernel_resolved": kernel,
        "data.fingerprint": corpus.fingerprint,
        "embedding.dimension_resolved": dimension,
        "embedding.fingerprint": vectors.fingerprint if vectors else None,
        **_of_cell(config.model.cell),
        **_search(config),
    }
    matching: dict[str, Scalar] = {"model.hidden_size": config.model.hidden_size, "model.match": config.model.match}
    if asked.kernel != "auto":  # cells compare under the same declared execution
        matching["model.kernel"] = asked.kernel
    searched, budget = _tuning(config)
    idle = {f"model.{name}": getattr(asked, name) for name in idle_keys(asked.cell, asked.match) if name != "kernel"}
    if not reads_vectors:
        idle |= _of_networks(typed)
    declared = {
        key: value
        for key, value in {**science, **matching, **idle, **budget}.items()
        if key not in _COMPARED and key not in searched and not _is_idle(key, value)
    }
    return ResolvedRun(
        config=config,
        corpus=corpus,
        vectors=vectors,
        dimension=dimension,
        hidden_size=hidden_size,
        kernel=kernel,
        kernel_auto=kernel_auto,
        run_id=_digest({**science, "code": version}),
        pair_key=_digest(declared),
        arm=_arm(config, {**science, **(matching if reads_vectors else {}), **budget}),
        code_version=version,
    )


def _of_cell(cell: str) -> dict[str, Scalar]:
    """The sources of another package's cell."""
    fingerprint = cell_fingerprint(cell)
    return {} if fingerprint is None else {"model.cell_fingerprint": fingerprint}


def _of_networks(typed: BenchConfig) -> dict[str, Scalar]:
    """What networks were given beside a linear model, which reads none of it: their runs pair with its run.

    Vectors from files have fingerprints, which are not looked for here.
    """
    keys = {**_science(typed), "embedding.dimension_resolved": typed.embedding.dimension}
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


def is_science(key: str) -> bool:
    """Whether what a run computes depends on this dotted configuration key; the precision is added beside them."""
    return key not in _NOT_SCIENCE and not key.startswith(_NOT_SCIENCE_GROUPS)


def science_columns(columns: Iterable[str]) -> list[str]:
    """Of a table of records, the columns of the configuration that a run's numbers depend on, the seed included."""
    declared = (name for name in columns if "." in name or name == "seed")
    return [name for name in declared if is_science(name) or name == "hardware.precision"]


def _science(config: BenchConfig) -> dict[str, Scalar]:
    sections = {name: getattr(config, name) for name in GROUPS}  # no other group holds science
    leaves = [leaf for name, section in sections.items() for leaf in flatten(section, f"{name}.")]
    left_out = _GENERATED if config.model.cell == LINEAR else _GENERATED | _LINEAR
    return {
        **{key: value for key, value in leaves if is_science(key) and key not in left_out and not _is_idle(key, value)},
        "seed": config.seed,
        "precision": config.hardware.precision,
    }


def _is_idle(key: str, value: Scalar) -> bool:
    return key in _LATER and value == _LATER[key]


def _search(config: BenchConfig) -> dict[str, Scalar]:
    """What tells a run from the same one without this search.

    A winner's record names the budget that it came from, so another budget is another run. Whether a trial is stopped
    early depends on the other trials of its study. Any other trial is the same run whatever search it belongs to.
    """
    _, budget = _tuning(config)
    if not budget or config.tuning.trial is None:
        return budget
    if config.tuning.pruner == "none":
        return {}
    return {key: value for key, value in budget.items() if key != "tuning.trials"} | {"sweep.name": config.sweep.name}


def _tuning(config: BenchConfig) -> tuple[list[str], dict[str, Scalar]]:
    """The keys that were tuned, which may differ within a pair, and what must not: the space and the budget."""
    tuning = config.tuning
    if not tuning.trials:
        return [], {}
    budget = {key: value for key, value in flatten(tuning, "tuning.") if key not in ("tuning.storage", "tuning.trial")}
    return tuning.keys, budget


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
